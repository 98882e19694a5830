/* How a process goes: in which order, for whom it waits, what becomes of what is left; and how it leaves to another one, and takes back. */
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "sidecar/sidecar.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define ONE "10.0.0.1:50051"
#define IN "10.9.0.1:20880"

struct told { char said[1024]; };

static void tell(void *ctx, const char *what, const char *text)
{
	struct told *t = ctx;
	size_t n = strlen(t->said);
	snprintf(t->said + n, sizeof t->said - n, "%s: %s\n", what, text);
}

static void hear(struct rig *r, struct told *t)
{
	*t = (struct told){""};
	r->sc->spec.tell = tell;
	r->sc->spec.ctx = t;
}

static void post_ok(struct rig *r, struct caller *a)
{
	struct call *c = call_plain(a, "POST", "any", "/healthcheck/ok", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 200);
}

/* ---- the order ---- */

START_TEST(the_mesh_hears_of_it_before_anybody_is_turned_away)
{
	struct world w = world_istio(APPS "drain: {announce: 5s, deadline: 10s}\nxds: {server: \"" PLANE "\"}\n");

	post_ok(w.r, w.app);
	ck_assert(call_ok(world_call(&w, HOST ":50051")));
	ck_assert(w.p->health.ok);
	sidecar_stop(w.r->sc);
	rig_settle(w.r);
	ck_assert(!w.p->health.ok);
	ck_assert_ptr_nonnull(strstr(w.p->health.text, "going"));
	for (int s = 0; s < 4; s++) {
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		struct caller *late = caller_new(w.r, DOOR);
		ck_assert(late->up);
		caller_close(late);
		ck_assert_uint_eq(w.app->goaways, 0);
		rig_advance(w.r, 1000);
	}
	ck_assert(!w.r->sc->stopped);
	rig_advance(w.r, 1000);
	ck_assert_uint_ge(w.app->goaways, 1);
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_hears_at_once_costs_nothing)
{
	struct world w = world_istio(XDS(""));

	post_ok(w.r, w.app);
	world_call(&w, HOST ":50051");
	caller_close(w.app);
	rig_settle(w.r);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 5);
	ck_assert(w.r->sc->stopped);
	ck_assert(!w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_cannot_hear_is_waited_for_a_second)
{
	struct world w = world_istio(XDS(""));

	post_ok(w.r, w.app);
	world_call(&w, HOST ":50051");
	plane_kill(w.p);
	rig_settle(w.r);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 900);
	ck_assert(!w.r->sc->stopped);
	ck_assert_uint_eq(w.app->goaways, 0);
	rig_advance(w.r, 200);
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_reads_late_has_heard_it_before_the_stream_goes)
{
	static const struct { const char *more; uint32_t after_ms; bool hears; } rows[] = {{"", 300, true}, {", protocol: delta", 300, true}, {", profile: istio-grpc", 900, true}, {"", 1100, false}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char yaml[512];
		snprintf(yaml, sizeof yaml, APPS "xds: {server: \"" PLANE "\"%s}\n", rows[i].more);
		struct world w = world_istio(yaml);
		post_ok(w.r, w.app);
		world_call(&w, HOST ":50051");
		caller_close(w.app);
		rig_settle(w.r);
		plane_stall(w.p, true);
		sidecar_stop(w.r->sc);
		rig_advance(w.r, rows[i].after_ms - 50);
		ck_assert(w.p->health.ok);
		ck_assert_int_eq(w.r->sc->stopped, !rows[i].hears); /* whoever does not read at all holds up nothing */
		plane_stall(w.p, false);
		rig_advance(w.r, 50);
		ck_assert(w.r->sc->stopped);
		if (rows[i].hears)
			ck_assert(!w.p->health.ok);
		ck_assert_uint_eq(w.p->nstreams, 1);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(calls_for_the_app_are_served_while_it_is_announced_and_new_ones_end_with_the_goaway)
{
	struct rig *r = rig_new("apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    inbound: [{tcp: \"" IN "\", to: \"10.0.0.1:50051\"}]\ndrain: {announce: 2s, deadline: 10s}\n");
	struct provider *server = provider_new(r, ONE, ECHOES);
	struct caller *app = caller_new(r, DOOR), *net = caller_new(r, IN);
	struct call *c;

	post_ok(r, app);
	sidecar_stop(r->sc);
	rig_advance(r, 1000);
	c = call_unary(net, "shop", NULL);
	rig_settle(r);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_ptr_nonnull(call_field(c, "x-envoy-immediate-health-check-fail")); /* who asks for more than an answer goes elsewhere already */
	ck_assert_uint_eq(net->goaways, 0);
	c = call_unary(caller_new(r, IN), "shop", NULL);
	rig_settle(r);
	ck_assert(call_ok(c));
	server->act.does = HOLDS;
	c = call_unary(net, "shop", NULL);
	rig_advance(r, 1100);
	ck_assert_uint_ge(net->goaways, 1);
	ck_assert(!caller_new(r, IN)->up);
	ck_assert(!r->sc->stopped);
	served_answer(provider_last(server));
	rig_advance(r, 10);
	ck_assert(call_ok(c));
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

/* ---- what is left ---- */

START_TEST(what_is_left_at_the_deadline_ends_as_unavailable_and_is_counted_apart)
{
	struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 3s}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *a = caller_new(r, DOOR);
	struct call *begun = call_unary(a, DEMO, NULL), *waits = call_unary(a, DEMO, NULL), *plain = call_plain(a, "GET", DEMO, "/x", NULL, true);
	struct told t;
	struct said s;

	hear(r, &t);
	rig_settle(r);
	served_head(provider_call(p, 0), 200, "content-type: application/grpc\n", false);
	served_fill(provider_call(p, 0), 1000, false);
	rig_settle(r);
	ck_assert_int_eq(begun->status, 200);
	said_begin(&s, r);
	sidecar_stop(r->sc);
	rig_advance(r, 2900);
	ck_assert_uint_eq(begun->ends + waits->ends + plain->ends, 0);
	ck_assert_ptr_nonnull(strstr(t.said, "STOPPING: draining\nDRAINING: draining: 3 calls and 1 connections are left, 2 s at most\nDRAINING: draining: 3 calls and 1 connections are left, 1 s at most\n"));
	rig_advance(r, 110);
	ck_assert_uint_eq(begun->ends, 1);
	ck_assert_int_eq(begun->end.cause, END_DONE);
	ck_assert_int_eq(begun->grpc, GRPC_UNAVAILABLE); /* trailers: its head was with the app already */
	ck_assert_uint_eq(begun->bytes, 1000);
	ck_assert_int_eq(waits->grpc, GRPC_UNAVAILABLE);
	ck_assert_int_eq(plain->status, 503);
	ck_assert_uint_eq(rig_stat(r, STAT_DRAIN_ENDED), 3);
	ck_assert_uint_eq(said_count(&s, "deadline has passed with 3 calls"), 1);
	ck_assert(r->sc->stopped);
	ck_assert_uint_eq(p->cancelled, 3);
	said_end(&s, r);
	rig_free(&r);
}
END_TEST

START_TEST(a_caller_that_reads_nothing_holds_nobody_beyond_the_deadline)
{
	struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 1s}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct raw *w = raw_new(r, DOOR);

	(void)p;
	raw_preface(w);
	raw_headers(w, 1, raw_request, true);
	rig_settle(r);
	raw_deaf(w, true);
	sidecar_stop(r->sc);
	rig_advance(r, 1700);
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

START_TEST(the_last_call_ends_it_in_the_same_turn_and_nothing_ticks_meanwhile)
{
	struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 30s}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *a = caller_new(r, DOOR);

	call_unary(a, DEMO, NULL);
	rig_settle(r);
	sidecar_stop(r->sc);
	rig_advance(r, 500);
	uint64_t turns = rig_stat(r, STAT_TURNS);
	rig_advance(r, 10000);
	ck_assert_uint_le(rig_stat(r, STAT_TURNS), turns + 40); /* once a second */
	served_answer(provider_last(p));
	rig_advance(r, 3);
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

START_TEST(with_nothing_left_it_ends_in_a_millisecond)
{
	struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 30s}\n");

	sidecar_stop(r->sc);
	rig_advance(r, 2);
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

START_TEST(a_second_word_ends_it_in_every_phase)
{
	for (int phase = 0; phase < 3; phase++) {
		struct rig *r = rig_demo(ONE, NULL, "drain: {announce: 1s, deadline: 1s}\n");
		struct provider *p = provider_new(r, ONE, HOLDS);
		struct raw *w = raw_new(r, DOOR);
		(void)p;
		raw_preface(w);
		raw_headers(w, 1, raw_request, true);
		rig_settle(r);
		raw_deaf(w, true);
		sidecar_stop(r->sc);
		rig_advance(r, 500 + (uint64_t)phase * 800);
		ck_assert(!r->sc->stopped);
		sidecar_stop(r->sc);
		ck_assert(r->sc->stopped);
		rig_free(&r);
	}
}
END_TEST

/* ---- another process ---- */

START_TEST(who_leaves_turns_nobody_away_and_says_nothing_to_the_mesh)
{
	struct world w = world_istio(XDS("") "drain: {deadline: 20s}\n");
	struct told t;

	post_ok(w.r, w.app);
	w.one->act.does = HOLDS;
	struct call *held = world_call(&w, HOST ":50051");
	uint32_t words = w.p->health.count;
	hear(w.r, &t);
	struct caller *silent = caller_new(w.r, DOOR); /* let in, not yet spoken */
	ck_assert(sidecar_lend(w.r->sc));
	sidecar_leave(w.r->sc);
	rig_settle(w.r);
	ck_assert_uint_ge(w.app->goaways, 1);
	ck_assert_uint_eq(silent->goaways, 0);
	w.one->act.does = ANSWERS;
	struct call *first = call_unary(silent, HOST ":50051", NULL);
	rig_settle(w.r);
	ck_assert_msg(call_ok(first), "%d %s", first->grpc, call_text(first));
	rig_advance(w.r, 1500);
	ck_assert_uint_ge(silent->goaways, 1);
	/* A stream that breaks comes back, but who is well and who is not is for the other process to say. */
	plane_cut(w.p);
	rig_advance(w.r, 5000);
	ck_assert_uint_eq(w.p->health.count, words);
	ck_assert_str_eq(t.said, ""); /* nor has the manager anything to hear */
	ck_assert(!w.r->sc->stopped);
	served_answer(provider_call(w.one, 0));
	rig_advance(w.r, 10);
	ck_assert(call_ok(held));
	ck_assert(!w.r->sc->stopped); /* the successor could die yet */
	sidecar_followed(w.r->sc);
	rig_advance(w.r, 10);
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

START_TEST(who_leaves_is_there_until_the_next_one_serves_whatever_the_deadline)
{
	for (int dies = 0; dies < 2; dies++) {
		struct world w = world_istio(XDS("") "drain: {deadline: 0s}\n");

		w.one->act.does = HOLDS;
		struct call *held = world_call(&w, HOST ":50051");
		ck_assert(sidecar_lend(w.r->sc));
		sidecar_leave(w.r->sc);
		rig_advance(w.r, 2500);
		ck_assert_int_eq(held->grpc, GRPC_UNAVAILABLE);
		ck_assert(!w.r->sc->stopped);
		if (dies)
			sidecar_take_back(w.r->sc);
		else
			sidecar_followed(w.r->sc);
		rig_advance(w.r, 2500);
		ck_assert(w.r->sc->stopped == !dies);
		if (dies) {
			w.one->act.does = ANSWERS;
			struct call *c = world_call(&(struct world){.r = w.r, .app = caller_new(w.r, DOOR)}, HOST ":50051");
			ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
		}
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(who_takes_back_serves_as_before)
{
	struct world w = world_istio(XDS("") "drain: {deadline: 5s}\n");

	post_ok(w.r, w.app);
	w.one->act.does = HOLDS;
	struct call *held = world_call(&w, HOST ":50051");
	w.one->act.does = ANSWERS;
	uint32_t words = w.p->health.count;
	ck_assert(sidecar_lend(w.r->sc));
	sidecar_leave(w.r->sc);
	rig_settle(w.r);
	struct caller *waits = caller_start(w.r, DOOR); /* stands in the backlog */
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CONNS_DOWN_TOTAL), 1);
	sidecar_take_back(w.r->sc);
	rig_settle(w.r);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CONNS_DOWN_TOTAL), 2);
	struct call *c = world_call(&(struct world){.r = w.r, .app = waits}, HOST ":50051");
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_uint_gt(w.p->health.count, words);
	ck_assert(w.p->health.ok);
	rig_advance(w.r, 20000); /* the deadline of a drain that was taken back is nobody's */
	ck_assert(!w.r->sc->stopped);
	ck_assert_uint_eq(held->ends, 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_DRAIN_ENDED), 0);
	served_answer(provider_call(w.one, 0));
	rig_settle(w.r);
	ck_assert(call_ok(held));
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	ck_assert(caller_new(w.r, DOOR)->up);
	rig_free(&w.r);
}
END_TEST

/* Istio's agent serves one stream, the newest: two processes would take it from each other by turns. */
START_TEST(behind_an_agent_the_stream_is_left_to_the_successor)
{
	for (int agent = 0; agent < 2; agent++) {
		const char *at = agent ? "unix:/run/agent.sock" : PLANE;
		char yaml[512];
		struct world w = {.r = rig_bare(7)};
		snprintf(yaml, sizeof yaml, APPS "xds: {server: \"%s\"}\n", at);
		w.p = rig_plane(w.r, at, PLANE_ISTIO);
		w.one = provider_new(w.r, "10.0.0.1:1", ANSWERS);
		world_start(&w, yaml);
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		ck_assert(sidecar_lend(w.r->sc));
		ck_assert_uint_eq(plane_open(w.p), 1); /* it goes on while it may */
		plane_cut(w.p);
		rig_advance(w.r, 30000);
		ck_assert_uint_eq(plane_open(w.p), !agent);
		ck_assert(call_ok(world_call(&w, HOST ":50051")));
		sidecar_take_back(w.r->sc);
		rig_advance(w.r, 3000);
		ck_assert_uint_eq(plane_open(w.p), 1);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(what_changes_while_a_successor_begins_is_read_when_it_has_failed)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);

	ck_assert(sidecar_lend(r->sc));
	ck_assert_int_lt(rig_reload(r, "apps: [{name: bag, listen: [{unix: /run/bag.sock}]}]\n"), 0);
	ck_assert(!caller_new(r, "unix:/run/bag.sock")->up);
	sidecar_take_back(r->sc);
	rig_settle(r);
	ck_assert(caller_new(r, "unix:/run/bag.sock")->up);
	rig_free(&r);
}
END_TEST

static const char *no_env(void *ctx, const char *name)
{
	(void)ctx, (void)name;
	return NULL;
}

START_TEST(who_comes_serves_when_it_is_told_and_knows_what_the_app_has_said)
{
	struct rig *r = rig_bare(7);
	struct err err = ERR_INIT;
	struct told t = {""};
	struct conf *c = conf_load_text("rig.yaml", "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n", no_env, NULL, &err);
	struct sidecar_spec spec = {.loop = r->loop, .log = r->log, .dns = r->dns, .conf = c, .takeover = true, .tell = tell, .ctx = &t};

	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(sidecar_new(&spec, &r->sc, &err), 0);
	ck_assert(sidecar_restore_life(r->sc, "shop", STR("v1 state=ok said=ok gone=0 announced=0 since=1 lease=0 pids= why=")));
	ck_assert(!sidecar_restore_life(r->sc, "bag", STR("v1")));
	ck_assert(!sidecar_restore_life(r->sc, "shop", STR("v9 what=ever")));
	struct caller *a = caller_start(r, DOOR);
	rig_advance(r, 1000);
	ck_assert_uint_eq(rig_stat(r, STAT_CONNS_DOWN_TOTAL), 0);
	ck_assert_str_eq(t.said, "");
	ck_assert(sidecar_is_prepared(r->sc));
	sidecar_go(r->sc);
	rig_settle(r);
	struct call *get = call_plain(a, "GET", "any", "/healthcheck", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(get->status, 200);
	ck_assert_ptr_nonnull(strstr(call_text(get), "\"state\":\"ok\""));
	ck_assert_str_eq(t.said, "READY: 1 apps, 0 services\n");
	rig_free(&r);
}
END_TEST

START_TEST(who_comes_and_is_stopped_before_its_turn_is_gone_at_once)
{
	struct rig *r = rig_bare(7);
	struct err err = ERR_INIT;
	struct conf *c = conf_load_text("rig.yaml", "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\ndrain: {announce: 10s}\n", no_env, NULL, &err);
	struct sidecar_spec spec = {.loop = r->loop, .log = r->log, .dns = r->dns, .conf = c, .takeover = true};

	ck_assert_int_eq(sidecar_new(&spec, &r->sc, &err), 0);
	sidecar_stop(r->sc);
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("drain", the_mesh_hears_of_it_before_anybody_is_turned_away, a_control_plane_that_hears_at_once_costs_nothing,
	a_control_plane_that_cannot_hear_is_waited_for_a_second, a_control_plane_that_reads_late_has_heard_it_before_the_stream_goes, calls_for_the_app_are_served_while_it_is_announced_and_new_ones_end_with_the_goaway,
	what_is_left_at_the_deadline_ends_as_unavailable_and_is_counted_apart, a_caller_that_reads_nothing_holds_nobody_beyond_the_deadline,
	the_last_call_ends_it_in_the_same_turn_and_nothing_ticks_meanwhile, with_nothing_left_it_ends_in_a_millisecond, a_second_word_ends_it_in_every_phase,
	who_leaves_turns_nobody_away_and_says_nothing_to_the_mesh, who_leaves_is_there_until_the_next_one_serves_whatever_the_deadline, who_takes_back_serves_as_before, behind_an_agent_the_stream_is_left_to_the_successor, what_changes_while_a_successor_begins_is_read_when_it_has_failed,
	who_comes_serves_when_it_is_told_and_knows_what_the_app_has_said, who_comes_and_is_stopped_before_its_turn_is_gone_at_once)
