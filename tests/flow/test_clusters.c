/* Clusters from a mesh: each kind of discovery, what of their endpoints is used, what is never done in plaintext, and what a refused one leaves. */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig_world.h"

enum { STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST };

/* HOST leads to a cluster of that kind with these endpoints inside. */
static void put_cluster(struct world *w, const char *name, int type, const char *inline_endpoints)
{
	struct sb b = {0};

	make_cluster(&b, name, &(struct make_cluster){.type = type, .lb = 1, .endpoints = inline_endpoints});
	world_put(w, XDS_CDS, name, &b);
}

static struct world of_kind(int type, const char *inline_endpoints)
{
	struct world w = world_bare(PLANE_ISTIO);

	plane_service(w.p, HOST, 50051, "");
	put_cluster(&w, CLUSTER, type, inline_endpoints);
	world_start(&w, XDS(""));
	return w;
}

START_TEST(a_cluster_of_addresses_has_them_inside)
{
	struct world w = of_kind(STATIC, "10.0.0.1:1 10.0.0.2:1");

	for (int i = 0; i < 20; i++)
		ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_gt(w.one->requests, 0);
	ck_assert_uint_gt(w.two->requests, 0);
	ck_assert_msg(!plane_asks(w.p, XDS_EDS, CLUSTER), "its endpoints are asked for all the same");
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_of_dns_names_follows_their_addresses)
{
	for (int type = STRICT_DNS; type <= LOGICAL_DNS; type++) {
		struct world w = world_bare(PLANE_ISTIO);
		struct call *k;

		dns_table_set(w.r->dns, "db.example.com", "10.0.0.1", 10 * SEC);
		plane_service(w.p, HOST, 50051, ""); /* istiod answers its endpoints empty: only CDS can tell (istio.md 1.8.5) */
		put_cluster(&w, CLUSTER, type, "db.example.com:1");
		world_start(&w, XDS(", removal_hold: 0s"));
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 1, "%d: '%s'", type, call_text(k));
		dns_table_set(w.r->dns, "db.example.com", "10.0.0.2", 10 * SEC);
		provider_cut(w.one); /* LOGICAL_DNS keeps an address while it is connected */
		provider_listen(w.one, false);
		rig_advance(w.r, 70000);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.two->requests == 1, "%d: '%s'", type, call_text(k));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_dns_name_that_does_not_exist_is_told)
{
	struct world w = of_kind(STRICT_DNS, "nobody.example.com:1");
	struct call *k = call_unary(w.app, DEMO, NULL);

	rig_advance(w.r, 6000);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), CLUSTER), "%d '%s'", k->grpc, call_text(k));
	ck_assert_msg(says(call_text(k), "the provider's name does not resolve"), "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_headless_service_is_asked_for_by_its_name)
{
	struct world w = of_kind(ORIGINAL_DST, NULL);
	struct call *k;

	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1");
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && w.one->requests == 1, "'%s'", call_text(k));
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
	rig_advance(w.r, 50);
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_free(&w.r);
}
END_TEST

START_TEST(nothing_is_passed_through_blindly)
{
	struct world w = world_istio(XDS(""));
	struct call *k;

	plane_route(w.p, HOST, 50051, "PassthroughCluster");
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "PassthroughCluster"), "%d '%s'", k->grpc, call_text(k));
	plane_route(w.p, HOST, 50051, "BlackHoleCluster");
	rig_advance(w.r, 50);
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "BlackHoleCluster"), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(an_endpoint_may_be_a_pipe)
{
	struct world w = world_istio(XDS(""));
	struct provider *pipe = provider_new(w.r, "unix:/run/demo.sock", ANSWERS);
	struct call *k;

	plane_endpoints(w.p, HOST, 50051, "unix:/run/demo.sock");
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && pipe->requests == 1, "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(endpoints_that_are_ordered_away_get_no_calls)
{
	static const char *const health[] = {"unhealthy", "draining", "timeout"};

	for (size_t i = 0; i < UNIT_COUNT(health); i++) {
		struct world w = world_istio(XDS(", removal_hold: 0s"));
		char endpoints[64];

		plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1 10.0.0.2:1");
		for (int n = 0; n < 10; n++)
			ck_assert(call_ok(world_call(&w, DEMO)));
		uint32_t one = w.one->requests;
		snprintf(endpoints, sizeof endpoints, "10.0.0.1:1!%s 10.0.0.2:1", health[i]);
		plane_endpoints(w.p, HOST, 50051, endpoints);
		rig_advance(w.r, 50);
		for (int n = 0; n < 20; n++)
			ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_msg(w.one->requests == one, "%s: %u", health[i], w.one->requests - one);
		/* And all of them: said so, not tried. */
		snprintf(endpoints, sizeof endpoints, "10.0.0.1:1!%s", health[i]);
		plane_endpoints(w.p, HOST, 50051, endpoints);
		rig_advance(w.r, 50);
		struct call *k = world_call(&w, DEMO);
		ck_assert_msg(k->grpc == GRPC_UNAVAILABLE, "%s: %d '%s'", health[i], k->grpc, call_text(k));
		ck_assert_uint_eq(w.one->requests, one);
		rig_free(&w.r);
	}
}
END_TEST

/* ---- TLS ---- */

static void put_tls(struct world *w, const char *plain, const char *tls)
{
	struct sb b = {0}, eds = {0}, more = {0};

	make_cluster(&b, CLUSTER, &(struct make_cluster){.type = EDS, .lb = 1, .tls = true});
	world_put(w, XDS_CDS, CLUSTER, &b);
	make_assignment(&eds, CLUSTER, plain, false);
	make_assignment(&more, CLUSTER, tls, true);
	/* Field 1 is the name, again: the same. */
	sb_add(&eds, more.p, more.n);
	plane_put(w->p, XDS_EDS, CLUSTER, eds.p, eds.n);
	sb_end(&eds);
	sb_end(&more);
	rig_advance(w->r, 50);
}

START_TEST(where_the_mesh_wants_tls_nothing_is_sent_in_plaintext)
{
	static const char *const yaml[] = {XDS(", protocol: sotw"), XDS("")};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_istio(yaml[i]);
		struct call *k;

		put_tls(&w, "", "10.0.0.1:1 10.0.0.2:1");
		k = world_call(&w, DEMO);
		ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "TLS"), "%d '%s'", k->grpc, call_text(k));
		ck_assert_uint_eq(w.one->requests + w.two->requests, 0); /* they speak no TLS: nothing but a greeting comes to them */
		/* Those that have no sidecar take no TLS: the same cluster says so, endpoint by endpoint. */
		put_tls(&w, "10.0.0.2:1@a", "10.0.0.1:1@b");
		for (int n = 0; n < 10; n++) {
			k = world_call(&w, DEMO);
			ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
		}
		ck_assert_uint_eq(w.one->requests, 0);
		ck_assert_uint_eq(w.two->requests, 10);
		/* One that served in plaintext and asks for TLS from now on. */
		put_tls(&w, "", "10.0.0.2:1@a");
		k = world_call(&w, DEMO);
		ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "TLS"), "%d '%s'", k->grpc, call_text(k));
		ck_assert_uint_eq(w.two->requests, 10);
		rig_free(&w.r);
	}
}
END_TEST

/* ---- what is refused ---- */

START_TEST(what_is_refused_leaves_its_last_good_version_and_the_rest_of_its_answer_counts)
{
	static const char *const yaml[] = {XDS(", protocol: sotw"), XDS(", protocol: delta")};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_istio(yaml[i]);
		struct said log;
		struct sb b = {0};
		struct call *k;

		said_begin(&log, w.r);
		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.1:1");
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert(call_ok(world_call(&w, "other:50051")));
		/* Endpoints: an address that is none; in the same push another assignment that is well. */
		plane_hold(w.p, true);
		plane_endpoints(w.p, HOST, 50051, "nowhere");
		plane_endpoints(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1 10.0.0.1:1!draining");
		plane_hold(w.p, false);
		rig_advance(w.r, 50);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 3, "%zu: '%s'", i, call_text(k));
		k = world_call(&w, "other:50051");
		ck_assert_msg(call_ok(k) && w.two->requests == 1, "%zu: '%s'", i, call_text(k));
		ck_assert_uint_eq(w.p->nacks, 1);
		ck_assert_msg(says(plane_last(w.p, XDS_EDS)->error_text, CLUSTER) && says(plane_last(w.p, XDS_EDS)->error_text, "endpoint.address"), "'%s'", plane_last(w.p, XDS_EDS)->error_text);
		ck_assert_msg(says(world_page(&w, "/config_dump"), "endpoint.address"), "%s", world_page(&w, "/config_dump"));
		ck_assert_msg(says(world_page(&w, "/stats"), "thinmesh_xds_update_rejected_total{view=\"shop\",type=\"EDS\"} 1"), "%s", world_page(&w, "/stats"));
		/* A cluster: a load balancing policy that is no number of one. */
		make_cluster(&b, CLUSTER, &(struct make_cluster){.type = EDS, .lb = 99});
		world_put(&w, XDS_CDS, CLUSTER, &b);
		rig_advance(w.r, 50);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k), "%zu: '%s'", i, call_text(k));
		ck_assert_uint_gt(w.p->nacks, 1);
		/* Good ones end it. */
		plane_service(w.p, HOST, 50051, "10.0.0.2:1");
		rig_advance(w.r, 50);
		uint32_t two = w.two->requests;
		for (int n = 0; n < 20; n++)
			ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_uint_gt(w.two->requests, two);
		ck_assert(!says(world_page(&w, "/config_dump"), "\"refused\""));
		said_end(&log, w.r);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(endpoints_beyond_the_memory_that_is_left_are_refused_and_the_last_ones_serve)
{
	struct world w = world_istio(XDS(", removal_hold: 0s") "limits: {memory: 4MiB}\n");
	struct sb list = {0}, b = {0};
	struct call *k;

	ck_assert(call_ok(world_call(&w, DEMO)));
	size_t before = rig_memory(w.r);
	for (uint32_t i = 0; i < 200000; i++) { /* a zone for every 250: what reads such a list goes to its end too often for one of 200,000 */
		sb_fmt(&list, "10.%u.%u.%u:1@z%u ", 1 + (i >> 16), i >> 8 & 255, i & 255, i / 250);
		if (i % 250 == 249) {
			make_assignment(&b, CLUSTER, list.p, false);
			list.n = 0;
		}
	}
	plane_put(w.p, XDS_EDS, CLUSTER, b.p, b.n);
	sb_end(&list);
	sb_end(&b);
	rig_advance(w.r, 3000);
	ck_assert_uint_eq(w.p->nacks, 1);
	ck_assert_msg(says(plane_last(w.p, XDS_EDS)->error_text, "memory"), "'%s'", plane_last(w.p, XDS_EDS)->error_text);
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_msg(rig_memory(w.r) < before + 262144, "%zu, %zu", before, rig_memory(w.r));
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
	rig_advance(w.r, 50);
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(w.two->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_first_version_that_is_refused_fails_its_calls_at_once)
{
	struct world w = world_istio(XDS(""));
	struct call *k;

	plane_endpoints(w.p, HOST, 50051, "nowhere");
	k = world_call(&w, DEMO);
	ck_assert_msg(k->ends == 1 && k->grpc == GRPC_UNAVAILABLE, "%u %d '%s'", k->ends, k->grpc, call_text(k));
	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1");
	rig_advance(w.r, 50);
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_that_changes_its_kind_does_so_under_calls)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));

	dns_table_set(w.r->dns, "db.example.com", "10.0.0.2", 10 * SEC);
	ck_assert(call_ok(world_call(&w, DEMO)));
	static const int kinds[] = {STATIC, EDS, STRICT_DNS, ORIGINAL_DST, LOGICAL_DNS, EDS};
	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		const char *inside = kinds[i] == STATIC ? "10.0.0.2:1" : kinds[i] == STRICT_DNS || kinds[i] == LOGICAL_DNS ? "db.example.com:1" : NULL;

		put_cluster(&w, CLUSTER, kinds[i], inside);
		for (int n = 0; n < 20; n++) {
			struct call *k = call_unary(w.app, DEMO, NULL);

			rig_advance(w.r, 10);
			ck_assert_msg(call_ok(k), "kind %d: %u %d '%s'", kinds[i], k->ends, k->grpc, call_text(k));
		}
		struct provider *to = inside ? w.two : w.one;
		uint32_t before = to->requests;
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_msg(to->requests == before + 1, "kind %d", kinds[i]);
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_that_calls_its_endpoints_otherwise_keeps_the_old_ones_until_the_new_ones_come)
{
	static const char *const yaml[] = {XDS(", protocol: sotw, removal_hold: 0s"), XDS(", protocol: delta, removal_hold: 0s")};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_istio(yaml[i]);
		struct sb b = {0}, eds = {0};

		w.p->quirks.no_absent = true; /* nothing is said of it until it is there */
		w.p->quirks.no_force_eds = true;
		ck_assert(call_ok(world_call(&w, DEMO)));
		struct sb source = {0}, ads = {0};
		pb_text(&b, 1, CLUSTER);
		pb_num(&b, 2, EDS);
		pb_sub(&source, 3, &ads);
		pb_sub(&eds, 1, &source);
		pb_text(&eds, 2, "elsewhere");
		pb_sub(&b, 3, &eds);
		world_put(&w, XDS_CDS, CLUSTER, &b);
		for (int n = 0; n < 20; n++) {
			struct call *k = world_call(&w, DEMO);

			ck_assert_msg(call_ok(k) && w.two->requests == 0, "%zu, %d: '%s'", i, n, call_text(k));
		}
		ck_assert(plane_asks(w.p, XDS_EDS, "elsewhere"));
		make_assignment(&eds, "elsewhere", "10.0.0.2:1", false);
		plane_put(w.p, XDS_EDS, "elsewhere", eds.p, eds.n);
		sb_end(&eds);
		rig_advance(w.r, 50);
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_uint_eq(w.two->requests, 1);
		ck_assert(!plane_asks(w.p, XDS_EDS, CLUSTER));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(the_time_for_waiting_is_one_for_a_name_and_its_addresses)
{
	struct world w = world_bare(PLANE_ISTIO);
	uint64_t ms = 0;
	struct call *k;

	plane_service(w.p, HOST, 50051, "");
	dns_table_set(w.r->dns, "db.example.com", "10.0.0.1", 10 * SEC);
	put_cluster(&w, CLUSTER, STRICT_DNS, "db.example.com:1"); /* whose answer takes 5 ms */
	w.p->quirks.slow_ms = 97;
	world_start(&w, XDS("") "park: {time: 100ms}\n");
	k = call_unary(w.app, DEMO, NULL);
	for (; !k->ends && ms < 1000; ms++)
		rig_advance(w.r, 1);
	ck_assert_msg(ms <= 101 && k->grpc == GRPC_UNAVAILABLE, "%d after %d ms: '%s'", k->grpc, (int)ms, call_text(k));
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("clusters", a_cluster_that_calls_its_endpoints_otherwise_keeps_the_old_ones_until_the_new_ones_come, a_cluster_of_addresses_has_them_inside, a_cluster_of_dns_names_follows_their_addresses, a_dns_name_that_does_not_exist_is_told,
	a_headless_service_is_asked_for_by_its_name, nothing_is_passed_through_blindly, an_endpoint_may_be_a_pipe, endpoints_that_are_ordered_away_get_no_calls,
	where_the_mesh_wants_tls_nothing_is_sent_in_plaintext, what_is_refused_leaves_its_last_good_version_and_the_rest_of_its_answer_counts,
	endpoints_beyond_the_memory_that_is_left_are_refused_and_the_last_ones_serve, a_first_version_that_is_refused_fails_its_calls_at_once, a_cluster_that_changes_its_kind_does_so_under_calls,
	the_time_for_waiting_is_one_for_a_name_and_its_addresses)
