/* xds/workload in a whole sidecar: what istiod hears of the app, when, and when again (reference istio.md 2.1). */
#include <stdio.h>
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define ME "sidecar~10.0.0.7~shop-1.default~default.svc.cluster.local"
#define GROUP ", node: {id: \"" ME "\", metadata: {AUTO_REGISTER_GROUP: shops}}"
#define HEALTH_URL "type.googleapis.com/istio.v1.HealthInformation"

static struct mesh_view *view(struct world *w)
{
	return list_entry(w->r->sc->apps.next, struct app, node)->names.view;
}

static void say(struct world *w, bool ok, const char *text)
{
	xds_health_say(w->r->sc->xds, view(w), ok, text);
}

static struct xds_health told(struct world *w)
{
	struct xds_health h;

	xds_health_get(w->r->sc->xds, view(w), &h);
	return h;
}

struct waiting { struct xds_health_wait w; int ends; bool told; };
static void waited(struct xds_health_wait *w, bool is_told)
{
	struct waiting *x = container_of(w, struct waiting, w);

	x->ends++;
	x->told = is_told;
}

static void wait_for(struct world *w, struct waiting *x, uint64_t ms)
{
	xds_health_wait(w->r->sc->xds, view(w), &x->w, ms * MS, waited);
}

START_TEST(health_is_said_behind_the_first_question_of_each_stream_in_both_forms_and_dialects)
{
	static const char *const rows[] = {", protocol: sotw", ", protocol: delta", ", profile: istio-grpc"};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char yaml[512];
		snprintf(yaml, sizeof yaml, APPS "xds: {server: \"" PLANE "\"%s}\n", rows[i]);
		struct world w = world_new(PLANE_ISTIO, yaml);
		ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), 0); /* nobody calls, nobody has said anything: nothing is asked */
		say(&w, true, "");
		rig_settle(w.r);
		ck_assert_int_eq(plane_request(w.p, PLANE_ANY, 0)->type, XDS_EDS);
		ck_assert(plane_request(w.p, PLANE_ANY, 0)->has_node);
		ck_assert_str_eq(plane_request(w.p, PLANE_ANY, 1)->type_url, HEALTH_URL);
		ck_assert(!plane_last(w.p, PLANE_OTHER)->has_error); /* an empty one would be a fail as well */
		ck_assert_uint_eq(w.p->health.count, 1);
		ck_assert(w.p->health.ok);
		ck_assert_int_eq(told(&w).told, XDS_TOLD_SENT);
		say(&w, false, "the app said fail\n\xc3\xa4");
		rig_settle(w.r);
		ck_assert_uint_eq(w.p->health.count, 2);
		ck_assert(!w.p->health.ok);
		ck_assert_str_eq(w.p->health.text, "the app said fail???"); /* a text that is no UTF-8 would end the stream: ASCII alone goes out */
		plane_cut(w.p);
		rig_advance(w.r, 100);
		ck_assert_uint_eq(w.p->health.count, 3);
		ck_assert_uint_eq(w.p->health.stream, 2);
		ck_assert(!w.p->health.ok);
		rig_advance(w.r, 1500);
		plane_goaway(w.p); /* the older stream is still there: the newer one is told as well */
		rig_advance(w.r, 100);
		ck_assert_uint_eq(w.p->health.count, 4);
		ck_assert_uint_eq(w.p->health.stream, 3);
		ck_assert_uint_eq(w.p->health.early, 0);
		ck_assert_uint_eq(told(&w).sent, 4);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_word_is_with_the_kernel_in_the_turn_in_which_it_was_said)
{
	struct world w = world_istio(XDS(""));

	world_call(&w, HOST ":50051");
	say(&w, false, "going");
	ck_assert_int_eq(told(&w).told, XDS_TOLD_WAITS);
	loop_turn(w.r->loop, 0);
	ck_assert_int_eq(told(&w).told, XDS_TOLD_SENT);
	ck_assert_uint_eq(told(&w).sent_ns, w.r->loop->now_ns);
	rig_free(&w.r);
}
END_TEST

START_TEST(of_words_said_at_once_only_the_last_one_goes)
{
	struct world w = world_istio(XDS(""));

	world_call(&w, HOST ":50051");
	for (int i = 0; i < 1000; i++)
		say(&w, i & 1, "flapping");
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->health.count, 1);
	ck_assert(w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_word_is_said_again_every_thirty_seconds_not_quite)
{
	struct world w = world_istio(XDS(""));
	uint64_t last = 0, least = UINT64_MAX, most = 0;

	say(&w, true, "");
	rig_settle(w.r);
	for (uint32_t n = 1; n < 20; n++) {
		last = w.p->health.at_ns;
		while (w.p->health.count == n)
			rig_advance(w.r, 100);
		uint64_t gap = w.p->health.at_ns - last;
		least = gap < least ? gap : least;
		most = gap > most ? gap : most;
		ck_assert_int_eq(told(&w).told, XDS_TOLD_SENT); /* it was told before, and is told again: it never was not */
	}
	ck_assert_uint_ge(least, 27 * SEC);
	ck_assert_uint_le(most, 34 * SEC);
	ck_assert_uint_gt(most - least, SEC); /* a fleet that was started at one moment shall not speak at one moment */
	rig_free(&w.r);
}
END_TEST

START_TEST(control_planes_that_are_no_istiod_are_told_nothing)
{
	static const struct { enum plane_kind kind; const char *more; } rows[] = {{PLANE_GENERIC, ", profile: generic"}, {PLANE_NACOS, ", profile: template, template: \"outbound|{port}||{host}\""}, {PLANE_CONSUL, ", profile: consul"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char yaml[512];
		struct waiting x = {0};
		snprintf(yaml, sizeof yaml, APPS "xds: {server: \"" PLANE "\"%s}\n", rows[i].more);
		struct world w = world_new(rows[i].kind, yaml);
		uint32_t before = plane_count(w.p, PLANE_ANY);
		say(&w, false, "going");
		wait_for(&w, &x, 5000);
		ck_assert_int_eq(x.ends, 0); /* never from inside of the call */
		rig_settle(w.r);
		ck_assert_int_eq(x.ends, 1);
		ck_assert(x.told);
		ck_assert_int_eq(told(&w).told, XDS_TOLD_NOBODY);
		rig_advance(w.r, 60000);
		ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), before);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(who_enters_himself_asks_something_at_start_and_says_nothing_of_his_health)
{
	static const char *const rows[] = {XDS(GROUP), XDS(", node: {metadata: {WORKLOAD_ENTRY: shop-1}}"), XDS(", profile: istio-grpc, node: {metadata: {AUTO_REGISTER_GROUP: g}}")};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world_new(PLANE_ISTIO, rows[i]);
		struct plane_request *q = plane_request(w.p, PLANE_ANY, 0);
		bool group = strstr(rows[i], "AUTO_REGISTER_GROUP");
		ck_assert_ptr_nonnull(q);
		ck_assert_uint_eq(q->nsub, 1);
		ck_assert_int_eq(q->type, XDS_EDS);
		ck_assert(!!memmem(q->node_bytes.p, q->node_bytes.n, "readinessProbe", 14) == group); /* it is there, and not well yet */
		ck_assert_ptr_nonnull(strstr(world_page(&w, "/status"), "\"state\":\"connected\""));
		ck_assert_ptr_nonnull(strstr(world_page(&w, "/status"), "\"health\":{\"told\":\"nothing\",\"ok\":null,\"sent\":0,\"sent_s_ago\":null,\"registers\":true"));
		ck_assert_uint_eq(w.p->health.count + w.p->health.early, 0);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(the_question_that_nobody_needs_disturbs_no_name)
{
	static const char *const rows[] = {XDS(GROUP ", protocol: sotw"), XDS(GROUP ", protocol: delta"), XDS(GROUP ", profile: istio-grpc")};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world_istio(rows[i]);
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1");
		rig_advance(w.r, 60000); /* longer than a name may be silent, and than who vanished is held */
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		ck_assert_uint_eq(w.two->requests, 1);
		ck_assert_uint_eq(w.p->nacks, 0);
		plane_cut(w.p);
		rig_advance(w.r, 2000);
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(behind_an_agent_listeners_are_asked_for_first)
{
	for (int i = 0; i < 2; i++) {
		struct rig *r = rig_bare(7);
		struct world w = {.r = r, .p = rig_plane(r, "unix:/run/agent.sock", PLANE_ISTIO)};
		w.p->quirks.agent = true;
		rig_start(r, i ? APPS "xds: {server: \"unix:/run/agent.sock\", protocol: sotw}\n" : APPS "xds: {server: \"unix:/run/agent.sock\"}\n");
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		w.one = provider_new(r, "10.0.0.1:1", ANSWERS);
		w.app = caller_new(r, DOOR);
		world_call(&w, HOST ":50051"); /* routes, clusters and endpoints were asked for: not enough there */
		say(&w, true, "");
		rig_settle(r);
		ck_assert_uint_eq(w.p->health.early, 0);
		ck_assert_uint_eq(w.p->health.count, 1);
		ck_assert_uint_eq(plane_count(w.p, XDS_LDS), 1 + 1); /* and acknowledged */
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_waiter_is_told_when_the_kernel_has_it_or_the_time_is_over)
{
	struct world w = world_istio(XDS(""));
	struct waiting x = {0}, y = {0}, z = {0};

	wait_for(&w, &x, 1000); /* nothing was said: nothing is waited for */
	rig_settle(w.r);
	ck_assert(x.ends == 1 && x.told);
	plane_kill(w.p);
	rig_advance(w.r, 10);
	say(&w, false, "going");
	wait_for(&w, &x, 500);
	wait_for(&w, &y, 60000);
	wait_for(&w, &z, 60000);
	xds_health_unwait(&z.w);
	rig_advance(w.r, 1000);
	ck_assert_int_eq(told(&w).told, XDS_TOLD_WAITS);
	ck_assert(x.ends == 2 && !x.told);
	ck_assert_int_eq(y.ends, 0);
	plane_listen(w.p, true);
	rig_advance(w.r, 40000);
	ck_assert(y.ends == 1 && y.told);
	ck_assert_int_eq(z.ends, 0);
	ck_assert(!w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_waiter_outlives_its_view)
{
	struct world w = world_istio(XDS(""));
	struct waiting x = {0};

	plane_kill(w.p);
	rig_advance(w.r, 10);
	say(&w, false, "going");
	wait_for(&w, &x, 60000);
	ck_assert_int_eq(rig_reload(w.r, APPS), 0); /* no control plane any more */
	rig_settle(w.r);
	ck_assert(x.ends == 1 && !x.told);
	xds_health_unwait(&x.w);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_stream_that_was_refused_has_heard_nothing)
{
	struct world w = world_bare(PLANE_ISTIO);

	w.p->quirks.refuse = 14;
	w.p->quirks.refusals = 1;
	world_start(&w, XDS(""));
	say(&w, true, "");
	rig_advance(w.r, 5);
	ck_assert_uint_eq(w.p->health.count, 0);
	rig_advance(w.r, 3000);
	ck_assert_uint_eq(w.p->health.count, 1);
	ck_assert_int_eq(told(&w).told, XDS_TOLD_SENT);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_server_that_reads_nothing_has_not_been_told)
{
	struct world w = world_istio(XDS(""));
	struct waiting x = {0};

	world_call(&w, HOST ":50051");
	plane_stall(w.p, true);
	for (int i = 0; i < 3000; i++) {
		char text[600];
		memset(text, 'x', sizeof text);
		snprintf(text, sizeof text, "%d", i);
		text[strlen(text)] = 'x';
		text[sizeof text - 1] = 0;
		say(&w, false, text);
		rig_advance(w.r, 1);
	}
	ck_assert_int_eq(told(&w).told, XDS_TOLD_WAITS);
	wait_for(&w, &x, 1000);
	rig_advance(w.r, 1100);
	ck_assert(x.ends == 1 && !x.told);
	ck_assert_uint_lt(rig_memory(w.r), 2 << 20); /* what is not said yet is worked out anew, not queued */
	rig_free(&w.r);
}
END_TEST

START_TEST(an_entry_that_somebody_deleted_is_made_again_by_a_new_stream)
{
	struct world w = world_new(PLANE_ISTIO, XDS(GROUP));
	struct said s;

	said_begin(&s, w.r);
	plane_service(w.p, HOST, 50051, "10.0.0.1:1 10.0.0.7:1");
	world_call(&w, HOST ":50051"); /* our own service, called by ourselves */
	say(&w, true, "");
	rig_advance(w.r, 5000);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1");
	rig_advance(w.r, 1500);
	ck_assert_uint_eq(w.p->nstreams, 1);
	rig_advance(w.r, 2000);
	ck_assert_uint_eq(w.p->nstreams, 2);
	ck_assert_uint_eq(w.p->health.stream, 2);
	ck_assert_uint_eq(said_count(&s, "has lost our own endpoint"), 1);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1 10.0.0.7:1");
	rig_advance(w.r, 60000);
	ck_assert_uint_eq(w.p->nstreams, 2);
	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1"); /* whoever does it again and again means it */
	rig_advance(w.r, 300000);
	ck_assert_uint_eq(w.p->nstreams, 8);
	ck_assert_uint_eq(said_count(&s, "this was the last try"), 1);
	ck_assert_ptr_nonnull(strstr(world_page(&w, "/stats"), "thinmesh_xds_registered_again_total{view=\"shop\"} 7"));
	said_end(&s, w.r);
	rig_free(&w.r);
}
END_TEST

START_TEST(an_address_that_nobody_gave_is_not_looked_for)
{
	static const struct { const char *ip; uint32_t streams; } rows[] = {{"127.0.0.7", 2}, {"127.0.0.1", 1}, {"", 1}, {"shop", 1}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char yaml[512], has[64];
		snprintf(yaml, sizeof yaml, XDS(", node: {id: \"sidecar~%s~shop-1.default~default.svc.cluster.local\", metadata: {AUTO_REGISTER_GROUP: shops}}"), rows[i].ip);
		snprintf(has, sizeof has, "10.0.0.1:1 %s:1", i ? "127.0.0.1" : rows[i].ip);
		struct world w = world_new(PLANE_ISTIO, yaml);
		plane_service(w.p, HOST, 50051, has);
		world_call(&w, HOST ":50051");
		say(&w, true, "");
		rig_advance(w.r, 5000);
		plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1");
		rig_advance(w.r, 3500);
		ck_assert_uint_eq(w.p->nstreams, rows[i].streams);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(an_endpoint_that_left_because_we_are_not_well_is_not_missed)
{
	struct world w = world_new(PLANE_ISTIO, XDS(GROUP));

	plane_service(w.p, HOST, 50051, "10.0.0.1:1 10.0.0.7:1");
	world_call(&w, HOST ":50051");
	say(&w, true, "");
	rig_advance(w.r, 5000);
	say(&w, false, "fail");
	plane_endpoints(w.p, HOST, 50051, "10.0.0.1:1");
	rig_advance(w.r, 60000);
	say(&w, true, "");
	plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1"); /* not back yet */
	rig_advance(w.r, 60000);
	ck_assert_uint_eq(w.p->nstreams, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(people_are_told_what_the_mesh_was_told)
{
	struct world w = world_istio(XDS(""));

	say(&w, true, "");
	rig_advance(w.r, 3000);
	ck_assert_ptr_nonnull(strstr(world_page(&w, "/status"), "\"health\":{\"told\":\"sent\",\"ok\":true,\"sent\":1,\"sent_s_ago\":3,\"registers\":false,\"registered_again\":0}"));
	ck_assert_ptr_nonnull(strstr(world_page(&w, "/config_dump"), "\"health\":{\"told\":\"sent\",\"ok\":true,\"sent\":1,\"registers\":false}"));
	ck_assert_ptr_nonnull(strstr(world_page(&w, "/stats"), "thinmesh_xds_health_sent_total{view=\"shop\"} 1"));
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("registration", health_is_said_behind_the_first_question_of_each_stream_in_both_forms_and_dialects, a_word_is_with_the_kernel_in_the_turn_in_which_it_was_said,
	of_words_said_at_once_only_the_last_one_goes, a_word_is_said_again_every_thirty_seconds_not_quite, control_planes_that_are_no_istiod_are_told_nothing,
	who_enters_himself_asks_something_at_start_and_says_nothing_of_his_health, the_question_that_nobody_needs_disturbs_no_name, behind_an_agent_listeners_are_asked_for_first,
	a_waiter_is_told_when_the_kernel_has_it_or_the_time_is_over, a_waiter_outlives_its_view, a_stream_that_was_refused_has_heard_nothing, a_server_that_reads_nothing_has_not_been_told,
	an_entry_that_somebody_deleted_is_made_again_by_a_new_stream, an_address_that_nobody_gave_is_not_looked_for,
	an_endpoint_that_left_because_we_are_not_well_is_not_missed, people_are_told_what_the_mesh_was_told)
