/* A control plane that lies, stutters or falls silent in the middle of a word: what it said before is not what it says now, and nothing of it is touched once it is gone. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/flow/rig.h"
#include "tests/flow/rig_ads.h"
#include "sidecar/sidecar.h"
#include "xds/xds.h"

#define HOST "demo.default.svc.cluster.local"
#define ECHO_HOST "echo.default.svc.cluster.local"
#define LAST_HOST "last.default.svc.cluster.local"
#define ECHO ECHO_HOST ":50051"
#define PLANE "10.9.9.9:15010"
#define CLUSTER "outbound|50051||" HOST
#define APPS "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"
#define XDS(more) APPS "snapshot: {dir: \"\"}\nxds: {server: \"" PLANE "\"" more "}\n"

struct world {
	struct rig *r;
	struct plane *p;
	struct provider *one, *two;
	struct caller *app;
};

static struct world begin(enum plane_kind kind, const char *yaml)
{
	struct world w = {.r = rig_bare(11)};

	w.p = rig_plane(w.r, PLANE, kind);
	w.one = provider_new(w.r, "10.0.0.1:1", ANSWERS);
	w.two = provider_new(w.r, "10.0.0.2:1", ANSWERS);
	rig_start(w.r, yaml);
	w.app = caller_new(w.r, DOOR);
	rig_settle(w.r);
	return w;
}

static struct call *call_after(struct world *w, const char *authority, uint64_t ms)
{
	struct call *k = call_unary(w->app, authority, NULL);

	rig_advance(w->r, ms);
	return k;
}

START_TEST(the_reason_of_a_refusal_is_not_told_once_what_was_refused_is_good)
{
	struct world w = begin(PLANE_GENERIC, XDS(", profile: generic"));
	struct sb bad = {0}, good = {0};
	struct call *k;

	pb_text(&bad, 1, DEMO);
	pb_num(&bad, 19, 1); /* api_listener: no message */
	plane_put(w.p, XDS_LDS, DEMO, bad.p, bad.n);
	k = call_after(&w, DEMO, 100);
	ck_assert_int_eq(k->grpc, 14);
	ck_assert_ptr_nonnull(strstr(call_text(k), "api_listener"));
	/* It names routes that nobody has yet: who calls now waits for them. */
	make_listener(&good, DEMO, "routes-to-come");
	plane_put(w.p, XDS_LDS, DEMO, good.p, good.n);
	rig_advance(w.r, 100);
	k = call_after(&w, DEMO, 100);
	ck_assert_msg(k->ends == 0, "%d '%s'", k->grpc, call_text(k));
	sb_end(&good);
	make_routes(&good, "routes-to-come", "*", CLUSTER);
	plane_put(w.p, XDS_RDS, "routes-to-come", good.p, good.n);
	plane_cluster(w.p, CLUSTER, "10.0.0.1:1");
	rig_advance(w.r, 100);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	sb_end(&bad);
	sb_end(&good);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_that_comes_twice_takes_no_other_one_away)
{
	struct world w = begin(PLANE_ISTIO, XDS(", protocol: sotw"));
	struct call *k;

	plane_service(w.p, ECHO_HOST, 50051, "10.0.0.2:1");
	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	plane_service(w.p, LAST_HOST, 50051, "10.0.0.1:1");
	k = call_after(&w, DEMO, 100);
	ck_assert(call_ok(k));
	plane_say(w.p, XDS_CDS, "outbound|50051||" ECHO_HOST " " CLUSTER " " CLUSTER " outbound|50051||" LAST_HOST);
	rig_advance(w.r, 100);
	ck_assert_uint_eq(w.p->nacks, 1);
	k = call_after(&w, ECHO, 100);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(what_was_seen_in_an_answer_that_was_cut_off_may_be_gone_in_the_next)
{
	struct world w = begin(PLANE_GENERIC, XDS(", profile: generic"));
	struct sb listener = {0}, m = {0}, raw = {0};
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	k = call_after(&w, DEMO, 100);
	ck_assert(call_ok(k));
	make_listener(&listener, DEMO, CLUSTER);
	pb_text(&m, 1, "77");
	pb_any(&m, 2, plane_type_url[XDS_LDS], &listener);
	size_t whole = m.n + 1000; /* of which no more comes */
	const unsigned char prefix[5] = {0, 0, 0, (unsigned char)(whole >> 8), (unsigned char)whole};
	sb_add(&raw, (const char *)prefix, sizeof prefix);
	sb_add(&raw, m.p, m.n);
	plane_raw(w.p, raw.p, raw.n);
	rig_advance(w.r, 10);
	plane_kill(w.p);
	plane_service_gone(w.p, HOST, 50051);
	rig_advance(w.r, 100);
	plane_listen(w.p, true);
	rig_advance(w.r, 5000);
	k = call_after(&w, DEMO, 100);
	ck_assert_msg(k->grpc == 12, "%d '%s'", k->grpc, call_text(k));
	sb_end(&m);
	sb_end(&raw);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_resource_that_is_renamed_behind_its_bytes_is_an_answer_without_sense)
{
	struct world w = begin(PLANE_ISTIO, XDS(", protocol: delta"));
	struct sb value = {0}, resource = {0}, m = {0};
	char name[3000];
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	k = call_after(&w, DEMO, 100);
	ck_assert(call_ok(k));
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = 0;
	pb_num(&value, 2, 1); /* no name, no message */
	pb_text(&resource, 3, CLUSTER);
	pb_any(&resource, 2, plane_type_url[XDS_EDS], &value);
	pb_text(&resource, 3, name);
	pb_text(&m, 1, "78");
	pb_sub(&m, 2, &resource);
	pb_text(&m, 4, plane_type_url[XDS_EDS]);
	pb_text(&m, 5, "nonce");
	plane_message(w.p, m.p, m.n);
	rig_advance(w.r, 3000);
	k = call_after(&w, DEMO, 100);
	ck_assert(call_ok(k));
	sb_end(&m);
	rig_free(&w.r);
}
END_TEST

static void records_of(void *ctx, const struct xds_stream_info *i)
{
	*(uint32_t *)ctx = i->snapshot_records;
}

START_TEST(what_a_control_plane_calls_by_another_name_is_not_kept_under_the_old_one)
{
	struct world w = begin(PLANE_GENERIC, XDS(", profile: generic"));
	uint32_t first = 0, last = 0;
	char name[64], cluster[64];

	for (int i = 0; i < 40; i++) {
		struct sb listener = {0}, routes = {0};
		struct call *k;

		snprintf(name, sizeof name, "routes-of-%d", i);
		snprintf(cluster, sizeof cluster, "cluster-of-%d", i);
		plane_hold(w.p, true);
		plane_cluster(w.p, cluster, "10.0.0.1:1");
		make_routes(&routes, name, "*", cluster);
		plane_put(w.p, XDS_RDS, name, routes.p, routes.n);
		make_listener(&listener, DEMO, name);
		plane_put(w.p, XDS_LDS, DEMO, listener.p, listener.n);
		plane_hold(w.p, false);
		rig_advance(w.r, 60000);
		k = call_after(&w, DEMO, 100);
		ck_assert_msg(call_ok(k), "%d: %d '%s'", i, k->grpc, call_text(k));
		xds_each(w.r->sc->xds, records_of, i ? &last : &first);
		sb_end(&listener);
		sb_end(&routes);
	}
	ck_assert_uint_gt(first, 0);
	ck_assert_uint_le(last, first + 3); /* a life of each may still be on its way out */
	rig_free(&w.r);
}
END_TEST

START_TEST(a_name_that_found_no_place_finds_one_when_a_call_has_stopped_waiting)
{
	struct world w = begin(PLANE_ISTIO, XDS(", names: 1"));
	struct call *first, *k;

	w.p->quirks.mute = true;
	first = call_after(&w, DEMO, 100);
	k = call_after(&w, ECHO, 100);
	ck_assert_int_eq(first->ends, 0);
	ck_assert_int_eq(k->grpc, 8);
	rig_advance(w.r, 5000);
	ck_assert_int_eq(first->grpc, 14);
	k = call_after(&w, ECHO, 100);
	ck_assert_msg(k->ends == 0 || k->grpc == 14, "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_cluster_that_is_refused_is_no_cluster_that_does_not_exist)
{
	struct world w = begin(PLANE_NACOS, XDS(", profile: template, template: \"outbound|{port}||{host}\""));
	struct sb bad = {0};
	struct call *k;

	pb_text(&bad, 1, CLUSTER);
	pb_num(&bad, 2, 77); /* no type that there is */
	plane_put(w.p, XDS_CDS, CLUSTER, bad.p, bad.n);
	k = call_after(&w, DEMO, 100);
	ck_assert_msg(k->grpc == 14, "%d '%s'", k->grpc, call_text(k));
	plane_hold(w.p, true);
	plane_del(w.p, XDS_CDS, CLUSTER);
	plane_cluster(w.p, CLUSTER, "10.0.0.1:1");
	plane_hold(w.p, false);
	rig_advance(w.r, 100);
	k = call_after(&w, DEMO, 100);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	sb_end(&bad);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("bad_planes", the_reason_of_a_refusal_is_not_told_once_what_was_refused_is_good,
	a_cluster_that_comes_twice_takes_no_other_one_away,
	what_was_seen_in_an_answer_that_was_cut_off_may_be_gone_in_the_next,
	a_resource_that_is_renamed_behind_its_bytes_is_an_answer_without_sense,
	what_a_control_plane_calls_by_another_name_is_not_kept_under_the_old_one,
	a_name_that_found_no_place_finds_one_when_a_call_has_stopped_waiting,
	a_cluster_that_is_refused_is_no_cluster_that_does_not_exist)
