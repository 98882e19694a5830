/* Routes from a mesh: each kind of match and action that is done, seen by a gRPC caller and by an HTTP one; what is not done is told, never silent. */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig_world.h"

#define EAST "outbound|50051|east|" HOST
#define WEST "outbound|50051|west|" HOST

/* ---- routes by hand: field numbers of envoy.config.route.v3 ---- */

struct vhost { struct sb b; };

static void vhost_begin(struct vhost *h)
{
	*h = (struct vhost){.b = {0}};
	pb_text(&h->b, 1, "by-hand");
	pb_text(&h->b, 2, "*");
}

/* header NULL: any; else "name: value", exactly. The action's messages are freed. */
static void vhost_route(struct vhost *h, const char *prefix, const char *header, uint32_t kind, struct sb *action)
{
	struct sb route = {0}, match = {0}, head = {0}, exact = {0};

	pb_text(&match, 1, prefix);
	if (header) {
		const char *colon = strstr(header, ": ");

		pb_bytes(&head, 1, header, (size_t)(colon - header));
		pb_text(&exact, 1, colon + 2);
		pb_sub(&head, 13, &exact);
		pb_sub(&match, 6, &head);
	}
	pb_sub(&route, 1, &match);
	pb_sub(&route, kind, action);
	pb_sub(&h->b, 3, &route);
}

enum { TO = 2, REDIRECT = 3, DIRECT = 7 };

static void vhost_to(struct vhost *h, const char *prefix, const char *header, const char *cluster)
{
	struct sb a = {0};

	pb_text(&a, 1, cluster);
	vhost_route(h, prefix, header, TO, &a);
}

static void vhost_put(struct world *w, struct vhost *h)
{
	struct sb b = {0};

	pb_text(&b, 1, DEMO);
	pb_sub(&b, 2, &h->b);
	world_put(w, XDS_RDS, DEMO, &b);
	rig_advance(w->r, 50);
}

/* East on the first provider, west on the second. */
static struct world two_sides(const char *yaml)
{
	struct world w = world_istio(yaml);

	plane_cluster(w.p, EAST, "10.0.0.1:1");
	plane_cluster(w.p, WEST, "10.0.0.2:1");
	return w;
}

static struct call *ask(struct world *w, const char *path, const char *more)
{
	struct call *k = call_begin(w->app, DEMO, path, more, true);

	rig_advance(w->r, 50);
	return k;
}

/* ---- where a call goes ---- */

START_TEST(the_first_route_that_matches_decides)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	static const struct { const char *path, *more; int to; } rows[] = {
		{"/pkg.Greeter/sayHello", NULL, 1}, {"/pkg.Greeter/sayHello", "x-version: v2\n", 2}, {"/pkg.Greeter/sayHello", "x-version: v3\n", 1},
		{"/other.Service/go", NULL, 2}, {"/none", NULL, 0}};

	vhost_begin(&h);
	vhost_to(&h, "/pkg.", "x-version: v2", WEST);
	vhost_to(&h, "/pkg.", NULL, EAST);
	vhost_to(&h, "/other.Service/", NULL, WEST);
	vhost_put(&w, &h);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint32_t one = w.one->requests, two = w.two->requests;
		struct call *k = ask(&w, rows[i].path, rows[i].more);
		int to = w.one->requests > one ? 1 : w.two->requests > two ? 2 : 0;

		ck_assert_msg(to == rows[i].to, "row %zu goes to %d: '%s'", i, to, call_text(k));
		if (!to)
			ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED && says(call_text(k), "/none"), "%d '%s'", k->grpc, call_text(k));
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(weights_share_the_calls_and_nothing_goes_where_the_weight_is_0)
{
	struct world w = two_sides(XDS(""));
	struct provider *three = provider_new(w.r, "10.0.0.3:1", ANSWERS);

	plane_cluster(w.p, "outbound|50051|idle|" HOST, "10.0.0.3:1");
	plane_route(w.p, HOST, 50051, EAST "=25 outbound|50051|idle|" HOST "=0 " WEST "=75");
	world_call(&w, DEMO);
	for (int i = 0; i < 1000; i++)
		ck_assert(call_ok(ask(&w, PATH, NULL)));
	ck_assert_uint_eq(three->requests, 0);
	ck_assert_uint_gt(w.one->requests, 190);
	ck_assert_uint_lt(w.one->requests, 310);
	ck_assert_uint_eq(w.one->requests + w.two->requests, 1001);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_header_may_name_the_cluster)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct sb a = {0};
	struct call *k;

	vhost_begin(&h);
	pb_text(&a, 2, "x-cluster");
	vhost_route(&h, "/", NULL, TO, &a);
	vhost_to(&h, "/never", "x: y", WEST); /* so that it is known: nobody can guess what a header will say */
	vhost_put(&w, &h);
	k = ask(&w, PATH, "x-cluster: " WEST "\n");
	ck_assert_msg(call_ok(k) && w.two->requests == 1, "'%s'", call_text(k));
	k = ask(&w, PATH, "x-cluster: nobody\n");
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "cluster"), "%d '%s'", k->grpc, call_text(k));
	k = ask(&w, PATH, NULL);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "header"), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

/* ---- answers of the route itself ---- */

START_TEST(a_direct_response_is_the_answer_for_both_kinds_of_callers)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct sb a = {0}, body = {0};
	struct call *k;

	vhost_begin(&h);
	pb_num(&a, 1, 403);
	pb_text(&body, 3, "not here");
	pb_sub(&a, 2, &body);
	vhost_route(&h, "/closed", NULL, DIRECT, &a);
	vhost_to(&h, "/", NULL, EAST);
	vhost_put(&w, &h);
	k = ask(&w, "/closed/now", NULL);
	ck_assert_msg(k->grpc == GRPC_PERMISSION_DENIED && k->status == 200 && says(call_text(k), "not here"), "%d %d '%s'", k->status, k->grpc, call_text(k));
	k = call_plain(w.app, "GET", DEMO, "/closed/now", NULL, true);
	rig_advance(w.r, 50);
	ck_assert_msg(k->status == 403 && k->data.n == 8 && memcmp(k->data.p, "not here", 8) == 0, "%d '%s'", k->status, call_text(k));
	ck_assert(call_ok(ask(&w, PATH, NULL)));
	ck_assert_uint_eq(w.one->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_redirect_tells_where_to_go_for_both_kinds_of_callers)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct sb a = {0};
	struct call *k;

	vhost_begin(&h);
	pb_text(&a, 1, "new.example.com");
	pb_num(&a, 3, 3); /* 307 */
	vhost_route(&h, "/", NULL, REDIRECT, &a);
	vhost_put(&w, &h);
	k = call_plain(w.app, "GET", DEMO, "/a/b?c=d", NULL, true);
	rig_advance(w.r, 50);
	ck_assert_int_eq(k->status, 307);
	ck_assert_msg(says(call_field(k, "location"), "://new.example.com/a/b?c=d"), "%s", call_field(k, "location"));
	k = ask(&w, PATH, NULL);
	ck_assert_msg(k->status == 200 && k->grpc > 0 && says(call_text(k), "new.example.com"), "%d %d '%s'", k->status, k->grpc, call_text(k));
	ck_assert_uint_eq(w.one->requests + w.two->requests, 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_time_of_a_route_is_the_calls)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct sb a = {0}, timeout = {0};
	struct call *k;

	w.one->act.does = HOLDS;
	vhost_begin(&h);
	pb_text(&a, 1, EAST);
	pb_num(&timeout, 1, 2);
	pb_sub(&a, 8, &timeout);
	vhost_route(&h, "/", NULL, TO, &a);
	vhost_put(&w, &h);
	world_call(&w, DEMO);
	k = ask(&w, PATH, NULL);
	rig_advance(w.r, 1900);
	ck_assert_int_eq(k->ends, 0);
	rig_advance(w.r, 100);
	ck_assert_int_eq(k->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&w.r);
}
END_TEST

/* ---- what is not done ---- */

START_TEST(an_action_that_is_not_done_is_a_clear_error_that_names_it)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct sb a = {0}, rewrite = {0}, pattern = {0};
	struct said log;
	struct call *k;

	said_begin(&log, w.r);
	vhost_begin(&h);
	pb_text(&a, 1, EAST);
	pb_text(&pattern, 2, "^/a");
	pb_sub(&rewrite, 1, &pattern);
	pb_text(&rewrite, 2, "/b");
	pb_sub(&a, 32, &rewrite);
	vhost_route(&h, "/re", NULL, TO, &a);
	vhost_to(&h, "/", NULL, EAST);
	vhost_put(&w, &h);
	k = ask(&w, "/re/x", NULL);
	ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED && says(call_text(k), "regex_rewrite"), "%d '%s'", k->grpc, call_text(k));
	k = call_plain(w.app, "GET", DEMO, "/re/x", NULL, true);
	rig_advance(w.r, 50);
	ck_assert_msg(k->status >= 500 && says(call_text(k), "regex_rewrite"), "%d '%s'", k->status, call_text(k));
	ck_assert(call_ok(ask(&w, PATH, NULL))); /* the others of the same table go on */
	ck_assert_uint_eq(w.one->requests, 1);
	ck_assert_uint_eq(w.p->nacks, 0);
	ck_assert_uint_eq(said_count(&log, "regex_rewrite"), 1);
	ck_assert_msg(says(world_page(&w, "/config_dump"), "\"unsupported\":\"regex_rewrite\""), "%s", world_page(&w, "/config_dump"));
	said_end(&log, w.r);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_has_no_effect_is_told_once_and_stands_in_the_dump)
{
	struct world w = two_sides(XDS(""));
	struct vhost h;
	struct said log;

	said_begin(&log, w.r);
	for (int i = 0; i < 3; i++) { /* changed twice, and still with the same note */
		struct sb a = {0}, mirror = {0};

		vhost_begin(&h);
		for (int k = 0; k <= i; k++) {
			char prefix[16];

			pb_text(&a, 1, EAST);
			pb_text(&mirror, 1, WEST);
			pb_sub(&a, 30, &mirror);
			snprintf(prefix, sizeof prefix, "/%d", k);
			vhost_route(&h, prefix, NULL, TO, &a);
		}
		vhost_to(&h, "/", NULL, EAST);
		vhost_put(&w, &h);
		ck_assert(call_ok(ask(&w, PATH, NULL)));
	}
	ck_assert_uint_eq(w.two->requests, 0);
	ck_assert_msg(said_count(&log, "request_mirror_policies") == 1, "%s", log.lines.p);
	ck_assert(says(world_page(&w, "/config_dump"), "\"without_effect\":\"request_mirror_policies\""));
	plane_route(w.p, HOST, 50051, NULL);
	rig_advance(w.r, 50);
	ck_assert(!says(world_page(&w, "/config_dump"), "request_mirror_policies"));
	said_end(&log, w.r);
	rig_free(&w.r);
}
END_TEST

/* ---- clusters of routes ---- */

START_TEST(a_route_that_names_a_cluster_nobody_has_is_told_and_goes_on_when_it_comes)
{
	struct world w = world_istio(XDS(""));
	struct call *k;

	plane_route(w.p, HOST, 50051, EAST);
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "cluster") && says(call_text(k), EAST), "%d '%s'", k->grpc, call_text(k));
	k = call_plain(w.app, "GET", DEMO, "/", NULL, true);
	rig_advance(w.r, 50);
	ck_assert_int_eq(k->status, 503);
	plane_cluster(w.p, EAST, "10.0.0.2:1");
	rig_advance(w.r, 50);
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && w.two->requests == 1, "'%s'", call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_call_that_runs_keeps_its_way_when_the_route_changes_and_its_cluster_goes)
{
	struct world w = two_sides(XDS(", removal_hold: 0s"));
	struct call *k;

	w.one->act.does = ECHOES;
	plane_route(w.p, HOST, 50051, EAST);
	k = call_begin(w.app, DEMO, PATH, NULL, false);
	rig_advance(w.r, 50);
	ck_assert_uint_eq(w.one->requests, 1);
	plane_hold(w.p, true);
	plane_route(w.p, HOST, 50051, WEST);
	plane_del(w.p, XDS_CDS, EAST);
	plane_del(w.p, XDS_EDS, EAST);
	plane_hold(w.p, false);
	rig_advance(w.r, 5000);
	ck_assert(!plane_asks(w.p, XDS_EDS, EAST));
	call_data(k, "still", 5, true);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(k) && k->data.n == 5, "'%s'", call_text(k));
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(w.two->requests, 1);
	rig_free(&w.r);
}
END_TEST

/* The three pushes of a canary in every order, each alone, with calls all the time: old or new, never neither. */
START_TEST(in_whatever_order_a_new_version_comes_and_the_old_one_goes_no_call_fails)
{
	static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static const char *const yaml[] = {XDS(", protocol: sotw, removal_hold: 0s"), XDS(", protocol: delta, removal_hold: 0s"), XDS(", profile: istio-grpc, removal_hold: 0s")};

	for (size_t y = 0; y < UNIT_COUNT(yaml); y++)
		for (size_t o = 0; o < 12; o++) {
			struct world w = world_istio(yaml[y]);
			const int *order = orders[o % 6];
			struct sb cds = {0}, grpc = {0}, eds = {0};

			/* East is there in the beginning. In the second half the old one goes too, in the same order, before or after the route. */
			plane_cluster(w.p, EAST, "10.0.0.1:1");
			plane_route(w.p, HOST, 50051, EAST);
			ck_assert(call_ok(world_call(&w, DEMO)));
			make_cluster(&cds, WEST, NULL);
			make_cluster(&grpc, WEST, &(struct make_cluster){.type = 3, .plain = true});
			make_assignment(&eds, WEST, "10.0.0.2:1", false);
			for (int i = 0; i < 3; i++) {
				if (order[i] == 0) {
					plane_put_in(w.p, DIALECT_SIDECAR, XDS_CDS, WEST, cds.p, cds.n);
					plane_put_in(w.p, DIALECT_GRPC, XDS_CDS, WEST, grpc.p, grpc.n);
					if (o >= 6)
						plane_del(w.p, XDS_CDS, EAST);
				} else if (order[i] == 1) {
					plane_put(w.p, XDS_EDS, WEST, eds.p, eds.n);
				} else {
					plane_route(w.p, HOST, 50051, WEST);
				}
				for (int n = 0; n < 10; n++) {
					struct call *k = call_unary(w.app, DEMO, NULL);

					rig_advance(w.r, 3);
					ck_assert_msg(call_ok(k), "profile %zu, order %zu, step %d: %d '%s'", y, o, i, k->grpc, call_text(k));
				}
			}
			rig_advance(w.r, 3000);
			uint32_t two = w.two->requests;
			ck_assert(call_ok(world_call(&w, DEMO)));
			ck_assert_msg(w.two->requests == two + 1, "profile %zu, order %zu", y, o);
			sb_end(&cds);
			sb_end(&grpc);
			sb_end(&eds);
			rig_free(&w.r);
		}
}
END_TEST

START_TEST(each_new_route_waits_15_seconds_for_endpoints_and_no_longer)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));
	static const char other[] = "other.default.svc.cluster.local";

	plane_service(w.p, other, 50051, "10.0.0.1:1");
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert(call_ok(world_call(&w, "other:50051")));
	/* Two names, ten seconds between them: each to a cluster that stays without endpoints. */
	plane_cluster(w.p, EAST, "");
	plane_cluster(w.p, WEST, "");
	plane_route(w.p, HOST, 50051, EAST);
	rig_advance(w.r, 10000);
	plane_route(w.p, other, 50051, WEST);
	rig_advance(w.r, 4900);
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_advance(w.r, 100);
	ck_assert_int_eq(world_call(&w, DEMO)->grpc, GRPC_UNAVAILABLE); /* it is what the control plane says after all */
	ck_assert(call_ok(world_call(&w, "other:50051")));
	rig_advance(w.r, 9600);
	ck_assert(call_ok(world_call(&w, "other:50051")));
	rig_advance(w.r, 400);
	ck_assert_int_eq(world_call(&w, "other:50051")->grpc, GRPC_UNAVAILABLE);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("routes", each_new_route_waits_15_seconds_for_endpoints_and_no_longer, the_first_route_that_matches_decides, weights_share_the_calls_and_nothing_goes_where_the_weight_is_0, a_header_may_name_the_cluster,
	a_direct_response_is_the_answer_for_both_kinds_of_callers, a_redirect_tells_where_to_go_for_both_kinds_of_callers, the_time_of_a_route_is_the_calls,
	an_action_that_is_not_done_is_a_clear_error_that_names_it, what_has_no_effect_is_told_once_and_stands_in_the_dump,
	a_route_that_names_a_cluster_nobody_has_is_told_and_goes_on_when_it_comes, a_call_that_runs_keeps_its_way_when_the_route_changes_and_its_cluster_goes,
	in_whatever_order_a_new_version_comes_and_the_old_one_goes_no_call_fails)
