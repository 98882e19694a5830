/* Names on demand: the whole sidecar beside a control plane of istiod's kind. Given this mesh, when the app calls, then the control plane is asked so much and the app gets
 * that. */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig.h"
#include "tests/flow/rig_ads.h"

#define HOST "demo.default.svc.cluster.local"
#define PLANE "10.9.9.9:15010"
#define CLUSTER "outbound|50051||" HOST
#define APPS "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\n"
#define XDS(more) APPS "xds: {server: \"" PLANE "\"" more "}\n"

struct world {
	struct rig *r;
	struct plane *p;
	struct provider *one, *two;
	struct caller *app;
};

static struct world begin(enum plane_kind kind, const char *yaml)
{
	struct world w = {.r = rig_bare(7)};

	w.p = rig_plane(w.r, PLANE, kind);
	w.one = provider_new(w.r, "10.0.0.1:1", ANSWERS);
	w.two = provider_new(w.r, "10.0.0.2:1", ANSWERS);
	rig_start(w.r, yaml);
	w.app = caller_new(w.r, DOOR);
	rig_settle(w.r);
	return w;
}

static struct world istio(const char *yaml)
{
	struct world w = begin(PLANE_ISTIO, yaml);

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	return w;
}

START_TEST(the_first_call_waits_for_its_name_and_is_answered_after_one_flight)
{
	static const char *const yaml[] = {XDS(""), XDS(", protocol: sotw"), XDS(", protocol: delta"), XDS(", profile: istio-grpc")};

	for (size_t i = 0; i < sizeof yaml / sizeof *yaml; i++) {
		struct world w = istio(yaml[i]);
		struct call *k;

		ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), 0); /* it knows nothing that it was not asked for */
		w.p->quirks.slow_ms = 20;
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 19);
		ck_assert_int_eq(k->ends, 0);
		ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 1);
		ck_assert_uint_eq(plane_count(w.p, XDS_EDS), 1); /* in the same flight as the route */
		ck_assert_uint_eq(plane_count(w.p, XDS_RDS), 1);
		rig_advance(w.r, 11);
		ck_assert_msg(call_ok(k), "%zu: %d '%s'", i, k->grpc, call_text(k));
		ck_assert_uint_eq(w.one->requests, 1);
		ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 0);
		ck_assert_uint_eq(w.p->nacks, 0);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(calls_to_the_same_name_wait_together_and_spellings_are_one_name)
{
	struct world w = istio(XDS(""));
	static const char *const spelled[] = {DEMO, "DEMO.default.svc.cluster.local:50051", "demo:50051", "demo.default:50051", "demo.default.svc:50051", HOST ".:50051"};
	struct call *k[12];

	for (size_t i = 0; i < 12; i++)
		k[i] = call_unary(w.app, spelled[i % 6], NULL);
	rig_advance(w.r, 100);
	for (size_t i = 0; i < 12; i++)
		ck_assert_msg(call_ok(k[i]), "%zu: '%s'", i, call_text(k[i]));
	ck_assert_uint_eq(plane_count(w.p, XDS_RDS), 2); /* the question, the ACK */
	ck_assert(plane_asks(w.p, XDS_RDS, DEMO));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_told_at_once_and_appears_when_it_is_created)
{
	static const char *const yaml[] = {XDS(""), XDS(", protocol: sotw"), XDS(", profile: istio-grpc")};

	for (size_t i = 0; i < sizeof yaml / sizeof *yaml; i++) {
		struct world w = begin(PLANE_ISTIO, yaml[i]);
		struct call *k = call_unary(w.app, DEMO, NULL);

		rig_advance(w.r, 1000);
		ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
		ck_assert_ptr_nonnull(strstr(call_text(k), DEMO));
		ck_assert_ptr_nonnull(strstr(call_text(k), "xds " PLANE));
		k = call_unary(w.app, DEMO, NULL); /* again: from what is known */
		rig_settle(w.r);
		ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		rig_advance(w.r, 50);
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 50);
		ck_assert_msg(call_ok(k), "%zu: '%s'", i, call_text(k));
		plane_service_gone(w.p, HOST, 50051);
		rig_advance(w.r, 1000);
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 50);
		ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%zu: %d '%s'", i, k->grpc, call_text(k));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(two_spellings_of_a_service_are_not_asked_for_side_by_side)
{
	static const struct { const char *spelled, *service; bool riddle; } rows[] = {
		{"ghost:7000", "ghost.default.svc.cluster.local", false},
		{"ghost.default.svc:7000", "ghost.default.svc.cluster.local", false},
		{"ghost.shop:7000", "ghost.shop.svc.cluster.local", true}, /* it may be a host of the world */
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world w = begin(PLANE_ISTIO, XDS(""));
		struct call *k = call_unary(w.app, rows[i].spelled, NULL);

		rig_advance(w.r, 50);
		ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
		ck_assert_msg(plane_asks(w.p, XDS_RDS, rows[i].spelled) == rows[i].riddle, "%s", rows[i].spelled);
		rig_advance(w.r, 1500); /* and the riddle not for long */
		ck_assert_msg(!plane_asks(w.p, XDS_RDS, rows[i].spelled), "%s", rows[i].spelled);
		plane_service(w.p, rows[i].service, 7000, "10.0.0.1:1");
		rig_advance(w.r, 50);
		for (int n = 0; n < 5; n++) { /* each change makes istiod answer anew, with one spelling of them at random */
			k = call_unary(w.app, rows[i].spelled, NULL);
			rig_advance(w.r, 50);
			ck_assert_msg(call_ok(k), "%s: '%s'", rows[i].spelled, call_text(k));
			plane_endpoints(w.p, rows[i].service, 7000, n & 1 ? "10.0.0.1:1" : "10.0.0.2:1");
			rig_advance(w.r, 50);
		}
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_riddle_that_was_solved_once_is_answered_at_once_and_solved_anew_beside_it)
{
	struct world w = begin(PLANE_ISTIO, XDS(""));
	struct call *k = call_unary(w.app, "example.test:443", NULL);

	rig_advance(w.r, 50);
	ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
	rig_advance(w.r, 5000); /* its second spelling is given up by now */
	w.p->quirks.mute = true;
	k = call_unary(w.app, "example.test:443", NULL);
	rig_settle(w.r);
	ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%d '%s'", k->grpc, call_text(k)); /* known: nobody has to be asked for that */
	w.p->quirks.mute = false;
	rig_advance(w.r, 5000);
	plane_service(w.p, "example.test", 443, "10.0.0.1:1"); /* a host of the world comes */
	rig_advance(w.r, 2000);
	call_unary(w.app, "example.test:443", NULL);
	rig_advance(w.r, 50);
	k = call_unary(w.app, "example.test:443", NULL);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(an_endpoint_that_comes_or_goes_is_followed_at_once)
{
	struct world w = istio(XDS(", removal_hold: 0s"));
	struct call *k;

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
	rig_advance(w.r, 20);
	for (int i = 0; i < 4; i++) {
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 20);
		ck_assert(call_ok(k));
	}
	ck_assert_uint_eq(w.one->requests, 1);
	ck_assert_uint_eq(w.two->requests, 4);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_route_by_weights_waits_for_all_its_clusters_and_shares_as_it_says)
{
	struct world w = istio(XDS(""));
	struct call *k;

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	plane_hold(w.p, true);
	plane_cluster(w.p, "outbound|50051|v1|" HOST, "10.0.0.1:1");
	plane_cluster(w.p, "outbound|50051|v2|" HOST, "10.0.0.2:1");
	plane_route(w.p, HOST, 50051, "outbound|50051|v1|" HOST "=80 outbound|50051|v2|" HOST "=20");
	plane_hold(w.p, false);
	w.p->quirks.slow_ms = 10;
	for (int i = 0; i < 40; i++) { /* while the new clusters come, the old route serves */
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 1);
		ck_assert(call_ok(k));
	}
	uint32_t one = w.one->requests, two = w.two->requests;
	for (int i = 0; i < 500; i++) {
		k = call_unary(w.app, DEMO, NULL);
		rig_settle(w.r);
		ck_assert(call_ok(k));
	}
	one = w.one->requests - one;
	two = w.two->requests - two;
	ck_assert_uint_eq(one + two, 500);
	ck_assert_uint_gt(two, 60);
	ck_assert_uint_lt(two, 140);
	rig_free(&w.r);
}
END_TEST

START_TEST(without_a_control_plane_calls_wait_so_long_and_then_fail_at_once)
{
	struct world w = istio(XDS(""));
	struct call *k;

	plane_kill(w.p);
	rig_advance(w.r, 10);
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 4900);
	ck_assert_int_eq(k->ends, 0);
	rig_advance(w.r, 200);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(call_text(k), DEMO));
	rig_advance(w.r, 5000);
	k = call_unary(w.app, DEMO, NULL); /* it is known by now that waiting is no use */
	rig_settle(w.r);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	ck_assert_msg(strstr(call_text(k), PLANE), "%s", call_text(k));
	plane_listen(w.p, true);
	rig_advance(w.r, 31000);
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_is_lost_is_not_missed_by_names_that_are_known)
{
	struct world w = istio(XDS(""));

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	plane_kill(w.p);
	for (int i = 0; i < 100; i++) {
		struct call *k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 500);
		ck_assert(call_ok(k));
	}
	plane_listen(w.p, true);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
	rig_advance(w.r, 70000); /* back-off of up to 30 s, and what vanished alive is held for 30 s more */
	uint32_t before = w.two->requests;
	struct call *k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(k));
	ck_assert_uint_eq(w.two->requests, before + 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_callers_deadline_holds_while_its_name_is_asked)
{
	struct world w = istio(XDS(""));
	struct call *k;

	w.p->quirks.mute = true;
	k = call_unary(w.app, DEMO, "grpc-timeout: 30m\n");
	rig_advance(w.r, 29);
	ck_assert_int_eq(k->ends, 0);
	rig_advance(w.r, 2);
	ck_assert_int_eq(k->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(parked_calls_are_bounded_in_number_and_bytes)
{
	struct world w = istio(XDS("") "park: {calls: 3, bytes: 100KiB}\n");
	struct call *k[4], *big;

	w.p->quirks.mute = true;
	for (int i = 0; i < 4; i++)
		k[i] = call_unary(w.app, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_int_eq(k[3]->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 3);
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARK_LIMIT), 1);
	call_cancel(k[0]);
	rig_settle(w.r);
	big = call_begin(w.app, DEMO, PATH, NULL, false);
	call_fill(big, 200000, false);
	rig_settle(w.r);
	ck_assert_int_eq(big->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARK_LIMIT), 2);
	w.p->quirks.mute = false;
	rig_free(&w.r);
}
END_TEST

START_TEST(names_that_callers_make_up_are_bounded_and_those_that_do_not_exist_make_room)
{
	struct world w = istio(XDS(", names: 4"));
	struct call *k;
	char name[64];

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 50);
	for (int i = 0; i < 20; i++) { /* none of them exists: each makes room for the next */
		snprintf(name, sizeof name, "made-up-%d.default.svc.cluster.local:1", i);
		k = call_unary(w.app, name, NULL);
		rig_advance(w.r, 50);
		ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
	}
	ck_assert_uint_eq(rig_stat(w.r, STAT_NAMES_LIMIT), 0);
	ck_assert(!plane_asks(w.p, XDS_RDS, "made-up-3.default.svc.cluster.local:1"));
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof name, "real-%d.default.svc.cluster.local", i);
		plane_service(w.p, name, 1, "10.0.0.1:1");
		snprintf(name, sizeof name, "real-%d.default.svc.cluster.local:1", i);
		k = call_unary(w.app, name, NULL);
		rig_advance(w.r, 50);
		ck_assert(call_ok(k));
	}
	k = call_unary(w.app, "made-up-20.default.svc.cluster.local:1", NULL);
	rig_advance(w.r, 50);
	ck_assert_int_eq(k->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_uint_eq(rig_stat(w.r, STAT_NAMES_LIMIT), 1);
	k = call_unary(w.app, DEMO, NULL); /* what exists is never given up for it */
	rig_settle(w.r);
	ck_assert(call_ok(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(an_idle_name_is_given_up_and_its_memory_with_it)
{
	struct world w = istio(XDS(", idle: 60s"));
	struct call *k;
	size_t before = rig_memory(w.r);

	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(k));
	ck_assert(plane_asks(w.p, XDS_EDS, CLUSTER));
	for (int i = 0; i < 10; i++) { /* used: it stays */
		rig_advance(w.r, 20000);
		call_unary(w.app, DEMO, NULL);
	}
	ck_assert(plane_asks(w.p, XDS_EDS, CLUSTER));
	rig_advance(w.r, 90000);
	ck_assert(!plane_asks(w.p, XDS_EDS, CLUSTER));
	ck_assert(!plane_asks(w.p, XDS_RDS, DEMO));
	(void)before;
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(prefetched_names_are_asked_at_start_and_stay)
{
	struct world w = istio(XDS(", idle: 60s, prefetch: [\"" DEMO "\"]"));

	rig_advance(w.r, 300000);
	ck_assert(plane_asks(w.p, XDS_RDS, DEMO));
	struct call *k = call_unary(w.app, DEMO, NULL);
	w.p->quirks.mute = true;
	rig_settle(w.r);
	ck_assert(call_ok(k)); /* nothing was asked for it */
	w.p->quirks.mute = false;
	rig_free(&w.r);
}
END_TEST

START_TEST(a_refused_route_keeps_the_last_good_one_and_tells_the_control_plane_why)
{
	struct world w = istio(XDS(", protocol: sotw"));
	struct sb bad = {0}, vhost = {0};
	struct call *k = call_unary(w.app, DEMO, NULL);

	rig_advance(w.r, 100);
	ck_assert(call_ok(k));
	/* Two virtual hosts with one domain. */
	pb_text(&bad, 1, DEMO);
	for (int i = 0; i < 2; i++) {
		pb_text(&vhost, 1, i ? "a" : "b");
		pb_text(&vhost, 2, "*");
		pb_sub(&bad, 2, &vhost);
	}
	plane_put_in(w.p, DIALECT_SIDECAR, XDS_RDS, DEMO, bad.p, bad.n);
	sb_end(&bad);
	rig_advance(w.r, 100);
	ck_assert_uint_eq(w.p->nacks, 1);
	ck_assert_ptr_nonnull(strstr(plane_last(w.p, XDS_RDS)->error_text, DEMO));
	k = call_unary(w.app, DEMO, NULL);
	rig_settle(w.r);
	ck_assert(call_ok(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(after_a_freeze_the_stream_is_looked_at_once)
{
	struct world w = istio(XDS(""));
	struct call *k;

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	plane_kill(w.p); /* while the container stands still: it hears nothing of it */
	plane_listen(w.p, true);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
	simnet_freeze(w.r->net, 60 * SEC);
	rig_advance(w.r, 5000);
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(k));
	ck_assert_uint_eq(w.two->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_stalled_stream_is_found_dead_soon_after_a_freeze)
{
	struct world w = istio(XDS(""));

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	uint32_t streams = w.p->nstreams;
	plane_stall(w.p, true); /* a middlebox forgot the connection */
	simnet_freeze(w.r->net, 60 * SEC);
	rig_advance(w.r, 1000); /* over before it began: the frost */
	rig_advance(w.r, 2500);
	plane_stall(w.p, false);
	rig_advance(w.r, 2500);
	ck_assert_uint_gt(w.p->nstreams, streams);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_reload_that_names_another_control_plane_keeps_what_is_known_and_moves_the_stream)
{
	struct world w = istio(XDS(""));
	struct plane *other = rig_plane(w.r, "10.9.9.8:15010", PLANE_ISTIO);
	struct call *k;

	plane_service(other, HOST, 50051, "10.0.0.2:1");
	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 50);
	other->quirks.slow_ms = 500;
	ck_assert_int_eq(rig_reload(w.r, APPS "xds: {server: \"10.9.9.8:15010\"}\n"), 0);
	for (int i = 0; i < 5; i++) { /* while it is asked, the old answers serve */
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 50);
		ck_assert(call_ok(k));
	}
	ck_assert_uint_eq(w.two->requests, 0);
	ck_assert_uint_eq(plane_open(w.p), 1); /* until the new one has answered */
	rig_advance(w.r, 2000);
	ck_assert_uint_eq(plane_open(w.p), 0);
	ck_assert_uint_eq(plane_open(other), 1);
	for (int i = 0; i < 40; i++) {
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 1000);
		ck_assert(call_ok(k));
	}
	ck_assert_uint_ge(w.two->requests, 5); /* the other one's endpoint; the first is held for removal_hold */
	uint32_t held = w.one->requests;
	for (int i = 0; i < 5; i++) {
		call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 100);
	}
	ck_assert_uint_eq(w.one->requests, held);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_view_ends_with_its_last_app)
{
#define SECOND "  - name: till\n    listen: [{unix: /run/till.sock}]\n"
	static const char both[] = "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n" SECOND "snapshot: {dir: \"\"}\nxds: {server: \"" PLANE "\"}\n";
	struct world w = istio(both);
	struct caller *till = caller_new(w.r, "unix:/run/till.sock");
	struct call *a = call_unary(w.app, DEMO, NULL), *b = call_unary(till, DEMO, NULL);

	rig_advance(w.r, 100);
	ck_assert(call_ok(a) && call_ok(b));
	ck_assert_uint_eq(plane_open(w.p), 2);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	caller_close(till);
	rig_advance(w.r, 100);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	rig_advance(w.r, 100);
	ck_assert_uint_eq(plane_open(w.p), 1);
	a = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(a));
	rig_free(&w.r);
}
END_TEST

START_TEST(static_services_come_before_the_mesh)
{
	struct world w = istio(XDS("") "services:\n  - name: " DEMO "\n    endpoints: [\"10.0.0.2:1\"]\n");
	struct call *k = call_unary(w.app, DEMO, NULL);

	rig_settle(w.r);
	ck_assert(call_ok(k));
	ck_assert_uint_eq(w.two->requests, 1);
	ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), 0);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("on_demand", the_first_call_waits_for_its_name_and_is_answered_after_one_flight, calls_to_the_same_name_wait_together_and_spellings_are_one_name,
	a_name_that_does_not_exist_is_told_at_once_and_appears_when_it_is_created,
	two_spellings_of_a_service_are_not_asked_for_side_by_side,
	a_riddle_that_was_solved_once_is_answered_at_once_and_solved_anew_beside_it, an_endpoint_that_comes_or_goes_is_followed_at_once,
	a_route_by_weights_waits_for_all_its_clusters_and_shares_as_it_says, without_a_control_plane_calls_wait_so_long_and_then_fail_at_once,
	a_control_plane_that_is_lost_is_not_missed_by_names_that_are_known, the_callers_deadline_holds_while_its_name_is_asked,
	parked_calls_are_bounded_in_number_and_bytes,
	names_that_callers_make_up_are_bounded_and_those_that_do_not_exist_make_room, an_idle_name_is_given_up_and_its_memory_with_it, prefetched_names_are_asked_at_start_and_stay,
	a_refused_route_keeps_the_last_good_one_and_tells_the_control_plane_why, after_a_freeze_the_stream_is_looked_at_once,
	a_stalled_stream_is_found_dead_soon_after_a_freeze, a_reload_that_names_another_control_plane_keeps_what_is_known_and_moves_the_stream,
	a_view_ends_with_its_last_app, static_services_come_before_the_mesh)
