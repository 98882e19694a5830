/* What is known stays in use, whatever a control plane does: dead, silent, half-way through a change. Found by the simulation (tests/sim/sim_mesh.c). */
#include "tests/unit.h"

#include "tests/flow/rig_world.h"

#define EAST "outbound|50051|east|" HOST
#define WEST "outbound|50051|west|" HOST

/* The route's change is heard, but nobody answers what its clusters are. */
static void half_a_change(enum plane_kind kind, const char *yaml)
{
	struct world w = world_new(kind, yaml);
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	plane_stall(w.p, true); /* what it says now is on its way; what it is asked it does not hear */
	plane_cluster(w.p, EAST, "10.0.0.1:1");
	plane_cluster(w.p, WEST, "10.0.0.2:1");
	plane_route(w.p, HOST, 50051, EAST "=50 " WEST "=50");
	for (int i = 0; i < 90; i++) {
		rig_advance(w.r, 500);
		k = call_unary(w.app, DEMO, NULL);
		rig_settle(w.r);
		ck_assert_msg(call_ok(k), "%d: '%s'", i, call_text(k));
	}
	plane_stall(w.p, false);
	rig_advance(w.r, 60000);
	uint32_t two = w.two->requests;
	for (int i = 0; i < 20; i++) {
		k = call_unary(w.app, DEMO, NULL);
		rig_settle(w.r);
		ck_assert_msg(call_ok(k), "%d: '%s'", i, call_text(k));
	}
	ck_assert_uint_gt(w.two->requests, two); /* it is taken once all of it is there */
	rig_free(&w.r);
}

START_TEST(a_route_stays_while_nobody_answers_for_the_clusters_of_the_next_one)
{
	half_a_change(PLANE_ISTIO, XDS(""));
	half_a_change(PLANE_ISTIO, XDS(", protocol: sotw"));
	half_a_change(PLANE_GENERIC, XDS(", profile: generic"));
	half_a_change(PLANE_GENERIC, XDS(", profile: generic, protocol: delta")); /* where 15 s of silence would mean that they do not exist */
}
END_TEST

START_TEST(a_name_is_not_idle_by_the_time_in_which_the_process_stood_still)
{
	struct world w = world_istio(XDS(", idle: 60s"));
	struct call *k;

	call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 100);
	plane_kill(w.p);
	simnet_freeze(w.r->net, 3600 * SEC);
	rig_advance(w.r, 3600000);
	rig_advance(w.r, 20000);
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 10);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_call_still_moves_within_a_cluster_that_its_route_has_just_left)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));
	struct call *k;

	world_call(&w, DEMO);
	plane_cluster(w.p, EAST, "10.0.0.1:1 10.0.0.2:1");
	plane_route(w.p, HOST, 50051, EAST);
	rig_advance(w.r, 100);
	for (int i = 0; i < 8; i++) { /* half of them pick the dead one first */
		provider_listen(w.one, false);
		provider_cut(w.one);
		simnet_knobs(w.r->net)->latency_ns = 5 * MS;
		rig_advance(w.r, 12000);
		k = call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 6); /* it has come in, and dials */
		plane_route(w.p, HOST, 50051, i % 2 ? EAST : NULL);
		plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
		rig_advance(w.r, 200);
		ck_assert_msg(call_ok(k), "%d: '%s'", i, call_text(k));
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(a_route_stays_while_the_endpoints_of_the_next_one_are_refused)
{
	struct world w = world_istio(XDS(""));
	struct sb bad = {0};
	struct call *k = world_call(&w, DEMO);

	ck_assert(call_ok(k));
	plane_hold(w.p, true);
	plane_cluster(w.p, EAST, "10.0.0.2:1");
	make_assignment(&bad, EAST, "999.0.0.1:1", false);
	plane_put(w.p, XDS_EDS, EAST, bad.p, bad.n);
	sb_end(&bad);
	plane_route(w.p, HOST, 50051, EAST);
	plane_hold(w.p, false);
	for (int i = 0; i < 40; i++) {
		rig_advance(w.r, 500);
		k = world_call(&w, DEMO);
		ck_assert_msg(call_ok(k), "%d: '%s'", i, call_text(k));
	}
	ck_assert_uint_eq(w.two->requests, 0);
	plane_cluster(w.p, EAST, "10.0.0.2:1");
	rig_advance(w.r, 100);
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(w.two->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_that_nobody_called_yet_stays_known_when_its_control_plane_garbles_it)
{
	static const char *const yaml[] = {XDS(", protocol: sotw"), XDS("")};

	for (size_t i = 0; i < 2; i++) {
		struct world w = world_istio(yaml[i]);
		struct call *k;

		plane_service(w.p, "echo.default.svc.cluster.local", 50051, "10.0.0.2:1");
		k = world_call(&w, DEMO); /* all clusters come */
		ck_assert(call_ok(k));
		plane_put_in(w.p, DIALECT_SIDECAR, XDS_CDS, "outbound|50051||echo.default.svc.cluster.local", "\x0a\x7f", 2);
		rig_advance(w.r, 100);
		ck_assert_uint_ge(w.p->nacks, 1);
		k = world_call(&w, "echo.default.svc.cluster.local:50051");
		ck_assert_msg(call_ok(k), "'%s'", call_text(k));
		rig_free(&w.r);
	}
}
END_TEST

UNIT_SUITE("last_good", a_route_stays_while_nobody_answers_for_the_clusters_of_the_next_one, a_name_is_not_idle_by_the_time_in_which_the_process_stood_still,
	a_call_still_moves_within_a_cluster_that_its_route_has_just_left, a_route_stays_while_the_endpoints_of_the_next_one_are_refused,
	a_cluster_that_nobody_called_yet_stays_known_when_its_control_plane_garbles_it)
