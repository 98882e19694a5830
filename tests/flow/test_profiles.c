/* Profiles: the same call beside each kind of control plane, and what each of them does in its own way. Consul and Nacos are doubles (reference istio.md 5). */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig_world.h"

#define NACOS "outbound|50051||demo.DEFAULT-GROUP.public.nacos"
#define NACOS_XDS ", profile: template, template: \"outbound|{port}||{app}.DEFAULT-GROUP.public.nacos\""

START_TEST(each_profile_finds_a_service_follows_it_and_tells_of_its_end)
{
	static const struct { enum plane_kind kind; const char *yaml; bool gone_is_absent; } rows[] = {
		{PLANE_ISTIO, XDS(", removal_hold: 0s, protocol: sotw"), true},
		{PLANE_ISTIO, XDS(", removal_hold: 0s, protocol: delta"), true},
		{PLANE_ISTIO, XDS(", removal_hold: 0s, cds: off"), true},
		{PLANE_ISTIO, XDS(", removal_hold: 0s, profile: istio-grpc"), true},
		{PLANE_GENERIC, XDS(", removal_hold: 0s, profile: generic, protocol: sotw"), true},
		{PLANE_GENERIC, XDS(", removal_hold: 0s, profile: generic, protocol: delta"), true},
		{PLANE_GENERIC, XDS(", removal_hold: 0s, profile: template, template: \"outbound|{port}||{host}\""), true},
		{PLANE_NACOS, XDS(", removal_hold: 0s" NACOS_XDS), true},
		{PLANE_NACOS, XDS(", removal_hold: 0s, template_eds_only: true" NACOS_XDS), false},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world_bare(rows[i].kind);
		struct call *k;

		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1");
		world_start(&w, rows[i].yaml);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k), "row %zu: '%s'", i, call_text(k));
		ck_assert_uint_eq(w.one->requests, 1);
		plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
		rig_advance(w.r, 100);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.two->requests == 1, "row %zu: %u '%s'", i, w.two->requests, call_text(k));
		plane_service_gone(w.p, HOST, 50051);
		rig_advance(w.r, 3000);
		k = world_call(&w, DEMO);
		if (rows[i].gone_is_absent)
			ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "row %zu: %d '%s'", i, k->grpc, call_text(k));
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		rig_advance(w.r, 3000);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 2, "row %zu again: '%s'", i, call_text(k));
		k = world_call(&w, "other:50051");
		ck_assert_msg(call_ok(k), "row %zu, other: '%s'", i, call_text(k));
		ck_assert_uint_eq(w.p->nacks, 0);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(cds_off_asks_for_no_cluster_and_takes_plain_defaults)
{
	struct world w = world_istio(XDS(", cds: off"));

	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(plane_count(w.p, XDS_CDS), 0);
	rig_free(&w.r);
}
END_TEST

/* Clients of gRPC never call what is UNHEALTHY (gRFC A27), and istiod, which says so to sidecars (a threshold of 0), says nothing to them. Elsewhere silence is Envoy's default. */
START_TEST(where_istiod_takes_us_for_a_client_of_grpc_what_is_unhealthy_is_not_called_in_panic)
{
	static const struct { enum plane_kind kind; const char *yaml; bool says, panics; } rows[] = {
		{PLANE_ISTIO, XDS(", profile: istio-grpc"), false, false},
		{PLANE_ISTIO, XDS(", profile: istio-grpc"), true, true},
		{PLANE_ISTIO, XDS(""), false, false},
		{PLANE_GENERIC, XDS(", profile: generic"), false, true},
	};
	static const char threshold[] = "\x0a\x09\x09\0\0\0\0\0\0\x49\x40"; /* {1: {1: 50.0}} */

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world_bare(rows[i].kind);
		struct sb b = {0};

		plane_service(w.p, HOST, 50051, "10.0.0.1:1!unhealthy 10.0.0.2:1!unhealthy");
		if (rows[i].says) {
			make_cluster(&b, CLUSTER, &(struct make_cluster){.type = 3, .plain = true});
			pb_bytes(&b, 27, threshold, sizeof(threshold) - 1);
			plane_put_in(w.p, DIALECT_GRPC, XDS_CDS, CLUSTER, b.p, b.n);
			sb_end(&b);
		}
		world_start(&w, rows[i].yaml);
		struct call *k = world_call(&w, DEMO);
		rig_advance(w.r, 30000);
		ck_assert_msg(call_ok(k) == rows[i].panics, "row %zu: %d '%s'", i, k->grpc, call_text(k));
		ck_assert_uint_eq(w.one->requests + w.two->requests, rows[i].panics);
		plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1!unhealthy 10.0.0.2:1");
		rig_advance(w.r, 1000);
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_uint_eq(w.p->nacks, 0);
		rig_free(&w.r);
	}
}
END_TEST

/* It answers what was asked beside the name: so it was reached, and whoever waited is not told otherwise. */
START_TEST(a_server_that_answers_but_not_this_name_is_named_as_one_that_was_reached)
{
	struct world w = world_istio(XDS(", profile: consul"));
	struct call *k = world_call(&w, DEMO);

	rig_advance(w.r, 6000);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	ck_assert_msg(strstr(call_text(k), "has not answered yet") != NULL, "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(the_four_types_of_the_grpc_dialect_are_asked_in_one_flight)
{
	struct world w = world_istio(XDS(", profile: istio-grpc"));
	struct call *k;

	w.p->quirks.slow_ms = 20;
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 15);
	for (int t = 0; t <= XDS_EDS; t++)
		ck_assert_msg(plane_count(w.p, t) == 1, "%s: %u", xds_type_name[t], plane_count(w.p, t));
	rig_advance(w.r, 20);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

/* ---- generic ---- */

static void put_inline_listener(struct world *w, const char *name, const char *cluster)
{
	struct sb hcm = {0}, routes = {0}, api = {0}, b = {0};

	pb_text(&b, 1, name);
	make_routes(&routes, "inline", "*", cluster);
	pb_sub(&hcm, 4, &routes);
	pb_any(&api, 1, "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", &hcm);
	pb_sub(&b, 19, &api);
	world_put(w, XDS_LDS, name, &b);
}

START_TEST(routes_inside_of_a_listener_and_named_ones_may_take_turns)
{
	static const char *const yaml[] = {XDS(", profile: generic, protocol: sotw"), XDS(", profile: generic, protocol: delta")};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_bare(PLANE_GENERIC);
		struct sb b = {0};
		struct call *k;

		plane_cluster(w.p, "east", "10.0.0.1:1");
		plane_cluster(w.p, "west", "10.0.0.2:1");
		put_inline_listener(&w, DEMO, "east");
		world_start(&w, yaml[i]);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 1, "%zu: '%s'", i, call_text(k));
		ck_assert_uint_eq(plane_count(w.p, XDS_RDS), 0);
		/* Now by name: until the routes are there the old ones serve. */
		make_listener(&b, DEMO, "routes-of-demo");
		world_put(&w, XDS_LDS, DEMO, &b);
		rig_advance(w.r, 50);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 2, "%zu: '%s'", i, call_text(k));
		make_routes(&b, "routes-of-demo", "*", "west");
		world_put(&w, XDS_RDS, "routes-of-demo", &b);
		rig_advance(w.r, 50);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.two->requests == 1, "%zu: '%s'", i, call_text(k));
		put_inline_listener(&w, DEMO, "east");
		rig_advance(w.r, 50);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k) && w.one->requests == 3, "%zu: '%s'", i, call_text(k));
		ck_assert(!plane_asks(w.p, XDS_RDS, "routes-of-demo"));
		rig_free(&w.r);
	}
}
END_TEST

static void add_host(struct sb *config, const char *name, const char *domains, const char *cluster)
{
	struct sb one = {0};

	make_routes(&one, name, domains, cluster);
	/* Its name stands first; of the rest only field 2, the virtual host, may come more than once, and the later of the others count. */
	sb_add(config, one.p + 2 + strlen(name), one.n - 2 - strlen(name));
	sb_end(&one);
}

START_TEST(of_several_virtual_hosts_the_one_that_fits_the_authority_best_counts)
{
	struct world w = world_bare(PLANE_GENERIC);
	static const struct { const char *authority; int to; } rows[] = {
		{DEMO, 1}, {"demo.default.svc.cluster.local:8080", 1}, {"x.default.svc.cluster.local:50051", 2}, {"demo.other.svc.cluster.local:50051", 0}};
	struct sb b = {0};

	plane_cluster(w.p, "east", "10.0.0.1:1");
	plane_cluster(w.p, "west", "10.0.0.2:1");
	pb_text(&b, 1, "all");
	add_host(&b, "exact", HOST, "east");
	add_host(&b, "suffix", "*.default.svc.cluster.local", "west");
	world_put(&w, XDS_RDS, "all", &b);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		make_listener(&b, rows[i].authority, "all");
		world_put(&w, XDS_LDS, rows[i].authority, &b);
	}
	world_start(&w, XDS(", profile: generic"));
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint32_t one = w.one->requests, two = w.two->requests;
		struct call *k = world_call(&w, rows[i].authority);
		int to = w.one->requests > one ? 1 : w.two->requests > two ? 2 : 0;

		ck_assert_msg(to == rows[i].to, "row %zu goes to %d: '%s'", i, to, call_text(k));
		if (!to) {
			ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
			ck_assert_msg(says(call_text(k), "virtual host"), "'%s'", call_text(k));
		}
	}
	ck_assert_uint_eq(plane_count(w.p, XDS_RDS), 2); /* four listeners, one resource: asked once, acknowledged once */
	rig_free(&w.r);
}
END_TEST

START_TEST(a_name_that_nobody_has_is_in_doubt_for_15_seconds_and_then_told_at_once)
{
	static const char *const yaml[] = {XDS(", profile: generic, protocol: delta"), XDS(", profile: generic, protocol: sotw")};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_bare(PLANE_GENERIC);
		struct call *k;

		w.p->quirks.silent_absent = true;
		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1");
		world_start(&w, yaml[i]);
		ck_assert(call_ok(world_call(&w, "other:50051"))); /* the stream has answered something */
		w.p->quirks.mute = true;
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 4900);
		ck_assert_int_eq(k->ends, 0);
		rig_advance(w.r, 200);
		ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE); /* its own time was over first */
		ck_assert_msg(says(call_text(k), DEMO), "'%s'", call_text(k));
		rig_advance(w.r, 9000);
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 500);
		ck_assert_int_eq(k->ends, 0);
		rig_advance(w.r, 600); /* 15 s after it was asked */
		ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%zu: %d '%s'", i, k->grpc, call_text(k));
		k = call_unary(w.app, DEMO, NULL);
		rig_settle(w.r);
		ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
		w.p->quirks.mute = false;
		plane_service(w.p, HOST, 50051, "10.0.0.1:1"); /* it stays watched */
		rig_advance(w.r, 100);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k), "%zu: '%s'", i, call_text(k));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(names_of_the_new_kind_are_passed_through)
{
	static const char *const yaml[] = {XDS(", profile: generic, protocol: sotw"), XDS(", profile: generic, protocol: delta")};
	static const char routes[] = "xdstp://control.example/envoy.config.route.v3.RouteConfiguration/demo?zone=a",
		cluster[] = "xdstp://control.example/envoy.config.cluster.v3.Cluster/demo";

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++)
		for (int quirk = 0; quirk < 3; quirk++) {
			struct world w = world_bare(PLANE_GENERIC);
			struct sb b = {0};
			struct call *k;

			w.p->quirks.wrap = quirk == 1; /* a Resource around each */
			w.p->quirks.no_nonce = quirk == 2;
			plane_cluster(w.p, cluster, "10.0.0.1:1");
			make_routes(&b, routes, "*", cluster);
			world_put(&w, XDS_RDS, routes, &b);
			make_listener(&b, DEMO, routes);
			world_put(&w, XDS_LDS, DEMO, &b);
			world_start(&w, yaml[i]);
			k = world_call(&w, DEMO);
			ck_assert_msg(call_ok(k), "%zu, quirk %d: %u %d '%s'", i, quirk, k->ends, k->grpc, call_text(k));
			plane_cluster(w.p, cluster, "10.0.0.2:1 10.0.0.1:1!draining");
			rig_advance(w.r, 50);
			ck_assert(call_ok(world_call(&w, DEMO)));
			ck_assert_uint_eq(w.two->requests, 1);
			rig_free(&w.r);
		}
}
END_TEST

/* ---- template ---- */

START_TEST(a_name_that_nacos_did_not_notice_on_an_acknowledgement_is_answered_all_the_same)
{
	static const char *const yaml[] = {XDS(NACOS_XDS), XDS(", template_eds_only: true" NACOS_XDS)};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_bare(PLANE_NACOS);
		char name[64];
		struct call *k;

		for (int n = 0; n < 5; n++) {
			snprintf(name, sizeof name, "svc%d.default.svc.cluster.local", n);
			plane_service(w.p, name, 50051, n % 2 ? "10.0.0.2:1" : "10.0.0.1:1");
		}
		world_start(&w, yaml[i]);
		for (int n = 0; n < 5; n++) {
			snprintf(name, sizeof name, "svc%d:50051", n);
			k = world_call(&w, name);
			ck_assert_msg(call_ok(k), "%zu, %s: %u '%s'", i, name, k->ends, call_text(k));
		}
		/* And those that were asked first are followed still. */
		plane_endpoints(w.p, "svc0.default.svc.cluster.local", 50051, "10.0.0.2:1");
		rig_advance(w.r, 100);
		uint32_t two = w.two->requests;
		ck_assert(call_ok(world_call(&w, "svc0:50051")));
		ck_assert_uint_eq(w.two->requests, two + (w.two->requests > two));
		ck_assert_uint_eq(w.p->nstreams, 1);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_push_of_nacos_with_what_changed_alone_takes_nothing_else_away)
{
	struct world w = world_bare(PLANE_NACOS);

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1");
	world_start(&w, XDS(NACOS_XDS));
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert(call_ok(world_call(&w, "other:50051")));
	for (int i = 0; i < 20; i++) {
		char name[64];
		struct call *k[2] = {call_unary(w.app, DEMO, NULL), call_unary(w.app, "other:50051", NULL)};

		snprintf(name, sizeof name, "new%d.default.svc.cluster.local", i);
		plane_service(w.p, name, 50051, "10.0.0.1:1");
		rig_advance(w.r, 20);
		ck_assert_msg(call_ok(k[0]) && call_ok(k[1]), "%d: '%s' '%s'", i, call_text(k[0]), call_text(k[1]));
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(the_name_of_a_template_that_nobody_has_is_absent_and_appears)
{
	static const char *const yaml[] = {XDS(NACOS_XDS), XDS(", template_eds_only: true" NACOS_XDS)};

	for (size_t i = 0; i < UNIT_COUNT(yaml); i++) {
		struct world w = world_bare(PLANE_NACOS);
		struct call *k;

		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1");
		world_start(&w, yaml[i]);
		call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 16000); /* where only endpoints are asked, silence is all that there is */
		k = world_call(&w, DEMO);
		ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%zu: %d '%s'", i, k->grpc, call_text(k));
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		rig_advance(w.r, 1000);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k), "%zu: %d '%s'", i, k->grpc, call_text(k));
		rig_free(&w.r);
	}
}
END_TEST

/* ---- Consul ---- */

/* As Consul calls them: an upstream's listener with the address it shall have, its cluster with datacentre and trust domain. */
static void consul_service(struct world *w, const char *name, const char *endpoints)
{
	char listener[128], cluster[128];
	struct sb b = {0};

	snprintf(listener, sizeof listener, "%s:127.0.0.1:9191", name);
	snprintf(cluster, sizeof cluster, "%s.default.dc1.internal.trust.consul", name);
	plane_cluster(w->p, cluster, endpoints);
	make_listener_http(&b, listener, 9191, name);
	world_put(w, XDS_LDS, listener, &b);
	make_routes(&b, name, "*", cluster);
	world_put(w, XDS_RDS, name, &b);
}

START_TEST(a_listener_of_consul_is_called_by_what_stands_before_its_address)
{
	struct world w = world_bare(PLANE_CONSUL);
	struct call *k;

	consul_service(&w, "demo", "10.0.0.1:1");
	consul_service(&w, "other", "10.0.0.2:1");
	world_start(&w, XDS(", profile: consul, removal_hold: 0s"));
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && w.one->requests == 1, "'%s'", call_text(k));
	k = world_call(&w, "other:50051");
	ck_assert_msg(call_ok(k) && w.two->requests == 1, "'%s'", call_text(k));
	/* Nothing comes while an answer is not acknowledged; clusters are asked first, then their endpoints. */
	ck_assert_int_eq(plane_request(w.p, PLANE_ANY, 0)->type, XDS_CDS);
	for (int t = 0; t < XDS_TYPES; t++)
		ck_assert_uint_eq(plane_stream(w.p)->watch[t].unacked, 0);
	consul_service(&w, "demo", "10.0.0.2:1");
	rig_advance(w.r, 50);
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && w.two->requests == 2, "'%s'", call_text(k));
	plane_del(w.p, XDS_LDS, "demo:127.0.0.1:9191");
	rig_advance(w.r, 50);
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%d '%s'", k->grpc, call_text(k));
	k = world_call(&w, "nobody:50051");
	ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%d '%s'", k->grpc, call_text(k));
	consul_service(&w, "nobody", "10.0.0.1:1");
	rig_advance(w.r, 50);
	k = world_call(&w, "nobody:50051");
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(w.p->nacks, 0);
	rig_free(&w.r);
}
END_TEST

/* ---- all at once ---- */

START_TEST(wildcard_knows_every_name_before_it_is_called)
{
	static const struct { enum plane_kind kind; const char *yaml; } rows[] = {
		{PLANE_ISTIO, XDS(", wildcard: true, idle: 5s, protocol: sotw")},
		{PLANE_ISTIO, XDS(", wildcard: true, idle: 5s, protocol: delta")},
		{PLANE_ISTIO, XDS(", wildcard: true, idle: 5s, profile: istio-grpc")},
		{PLANE_GENERIC, XDS(", wildcard: true, idle: 5s, profile: generic, protocol: sotw")},
		{PLANE_GENERIC, XDS(", wildcard: true, idle: 5s, profile: generic, protocol: delta")},
		{PLANE_GENERIC, XDS(", wildcard: true, idle: 5s, profile: template, template: \"outbound|{port}||{host}\"")},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world_bare(rows[i].kind);
		struct call *k;

		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.2:1");
		world_start(&w, rows[i].yaml);
		rig_advance(w.r, 30000); /* and nobody calling is no reason to give it up */
		plane_service(w.p, "late.default.svc.cluster.local", 50051, "10.0.0.2:1");
		rig_advance(w.r, 1000);
		plane_kill(w.p);
		static const char *const names[] = {DEMO, "other:50051", "late:50051"};
		for (size_t n = 0; n < UNIT_COUNT(names); n++) {
			k = world_call(&w, names[n]);
			ck_assert_msg(call_ok(k), "row %zu, %s: '%s'", i, names[n], call_text(k));
		}
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(wildcard_gives_up_what_is_gone)
{
	struct world w = world_istio(XDS(", wildcard: true, idle: 5s"));
	char name[64];

	rig_advance(w.r, 100);
	for (int i = 0; i < 40; i++) { /* services that come and go */
		snprintf(name, sizeof name, "svc%d.default.svc.cluster.local", i);
		plane_service(w.p, name, 50051, "10.0.0.2:1");
		rig_advance(w.r, 50);
		plane_service_gone(w.p, name, 50051);
		rig_advance(w.r, 50);
	}
	rig_advance(w.r, 30000);
	ck_assert_msg(says(world_page(&w, "/status"), "\"names\":1,"), "%s", world_page(&w, "/status"));
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("profiles", each_profile_finds_a_service_follows_it_and_tells_of_its_end, cds_off_asks_for_no_cluster_and_takes_plain_defaults,
	where_istiod_takes_us_for_a_client_of_grpc_what_is_unhealthy_is_not_called_in_panic,
	a_server_that_answers_but_not_this_name_is_named_as_one_that_was_reached,
	the_four_types_of_the_grpc_dialect_are_asked_in_one_flight, routes_inside_of_a_listener_and_named_ones_may_take_turns,
	of_several_virtual_hosts_the_one_that_fits_the_authority_best_counts, a_name_that_nobody_has_is_in_doubt_for_15_seconds_and_then_told_at_once,
	names_of_the_new_kind_are_passed_through,
	a_name_that_nacos_did_not_notice_on_an_acknowledgement_is_answered_all_the_same, a_push_of_nacos_with_what_changed_alone_takes_nothing_else_away,
	the_name_of_a_template_that_nobody_has_is_absent_and_appears, a_listener_of_consul_is_called_by_what_stands_before_its_address,
	wildcard_knows_every_name_before_it_is_called, wildcard_gives_up_what_is_gone)
