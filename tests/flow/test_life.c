/* Connections to providers over their life, reloads, and the end of the process: what goes on while something changes. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"

struct world { struct rig *r; struct provider *p; struct caller *a; };

static struct world world(enum does does, const char *more)
{
	struct world w = {.r = rig_demo(ONE, more, NULL)};

	w.p = provider_new(w.r, ONE, does);
	w.a = caller_new(w.r, DOOR);
	return w;
}

static struct call *answered(struct rig *r, struct caller *a, const char *authority)
{
	struct call *c = call_unary(a, authority, NULL);

	rig_settle(r);
	ck_assert_msg(call_ok(c), "cause %d grpc %d: %s", c->end.cause, c->grpc, call_text(c));
	return c;
}

/* ---- connections ---- */

START_TEST(calls_share_one_connection)
{
	struct world w = world(ECHOES, NULL);

	for (int i = 0; i < 50; i++)
		answered(w.r, w.a, DEMO);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_goaway_has_its_replacement_first_and_no_call_waits)
{
	struct world w = world(HOLDS, NULL);
	struct call *old = call_unary(w.a, DEMO, NULL);

	rig_settle(w.r);
	rig_advance(w.r, 200);
	provider_goaway(w.p);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->accepted, 2); /* opened, though nobody calls */
	ck_assert_uint_eq(old->ends, 0);
	struct call *fresh = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(provider_last(w.p)->conn_number, 2);
	served_answer(provider_call(w.p, 0));
	rig_settle(w.r);
	ck_assert(call_ok(old));
	ck_assert_uint_eq(provider_conns(w.p), 1);
	served_answer(provider_last(w.p));
	rig_settle(w.r);
	ck_assert(call_ok(fresh));
	rig_free(&w.r);
}
END_TEST

START_TEST(more_connections_are_opened_at_the_peers_stream_limit)
{
	struct rig *r = rig_demo(ONE, "    limits: {connections_per_host: 3}\n", NULL);
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *a = caller_new(r, DOOR);
	struct call *c[10];

	p->lim.streams_per_connection = 2;
	for (int i = 0; i < 10; i++)
		c[i] = call_unary(a, DEMO, NULL);
	rig_advance(r, 100);
	ck_assert_uint_eq(p->accepted, 3);
	ck_assert_uint_eq(p->open, 6); /* the rest waits */
	ck_assert_uint_eq(c[9]->ends, 0);
	for (int round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < p->requests; i++)
			served_answer(provider_call(p, i));
		rig_advance(r, 10);
	}
	for (int i = 0; i < 10; i++)
		ck_assert(call_ok(c[i]));
	ck_assert_uint_eq(p->requests, 10);
	ck_assert_uint_le(p->accepted, 3);
	rig_free(&r);
}
END_TEST

START_TEST(a_peer_that_allows_one_stream_gets_one)
{
	struct rig *r = rig_demo(ONE, "    limits: {connections_per_host: 1}\n", NULL);
	struct provider *p = provider_new(r, ONE, ANSWERS);
	struct caller *a = caller_new(r, DOOR);
	struct call *c[20];

	p->lim.streams_per_connection = 1;
	p->act.delay_ms = 1;
	for (int i = 0; i < 20; i++)
		c[i] = call_unary(a, DEMO, NULL);
	rig_advance(r, 1000);
	for (int i = 0; i < 20; i++)
		ck_assert_msg(call_ok(c[i]), "%d: %d %s", i, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(p->accepted, 1);
	rig_free(&r);
}
END_TEST

START_TEST(a_peer_that_allows_no_stream_gets_none_until_it_does)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct raw *p = raw_provider(r, ONE);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, "grpc-timeout: 10S\n"), *late = call_unary(a, DEMO, "grpc-timeout: 1S\n");

	rig_settle(r);
	raw_frame(p->accepted[0], F_SETTINGS, 0, 0, "\0\3\0\0\0\0", 6);
	rig_advance(r, 1500);
	ck_assert_uint_eq(raw_count(p->accepted[0], F_HEADERS, -1), 0);
	ck_assert_int_eq(late->grpc, GRPC_DEADLINE_EXCEEDED);
	for (uint32_t i = 0; i < p->naccepted; i++) {
		if (i)
			raw_frame(p->accepted[i], F_SETTINGS, 0, 0, "\0\3\0\0\0\0", 6);
		raw_frame(p->accepted[i], F_SETTINGS, 0, 0, "\0\3\0\0\0\1", 6);
	}
	rig_settle(r);
	uint32_t heads = 0;
	for (uint32_t i = 0; i < p->naccepted; i++)
		if (raw_count(p->accepted[i], F_HEADERS, -1)) {
			heads++;
			raw_headers(p->accepted[i], 1, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n", true);
		}
	ck_assert_uint_eq(heads, 1);
	rig_settle(r);
	ck_assert(call_ok(c));
	rig_free(&r);
}
END_TEST

START_TEST(a_connection_that_was_silent_for_long_answers_a_ping_before_it_carries_a_call)
{
	struct world w = world(ECHOES, NULL);

	answered(w.r, w.a, DEMO);
	rig_advance(w.r, 20000);
	answered(w.r, w.a, DEMO);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_advance(w.r, 20000);
	provider_stall(w.p, true); /* the other side is gone without a word */
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 900);
	ck_assert_uint_eq(w.p->requests, 2);
	rig_advance(w.r, 1000); /* no ACK in a second: it is closed, the call goes on a new one */
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_uint_eq(w.p->accepted, 2);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_freeze_and_thaw_fails_no_call)
{
	struct world w = world(ECHOES, NULL);

	answered(w.r, w.a, DEMO);
	simnet_freeze(w.r->net, 600 * SEC);
	rig_advance(w.r, 1);
	ck_assert_uint_ge(rig_stat(w.r, STAT_THAWS), 1);
	answered(w.r, w.a, DEMO);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(an_idle_connection_is_closed_in_time_and_opened_again)
{
	struct world w = world(ECHOES, "    idle_timeout: 10s\n");

	answered(w.r, w.a, DEMO);
	rig_advance(w.r, 9000);
	ck_assert_uint_eq(provider_conns(w.p), 1);
	rig_advance(w.r, 2000);
	ck_assert_uint_eq(provider_conns(w.p), 0);
	answered(w.r, w.a, DEMO);
	ck_assert_uint_eq(w.p->accepted, 2);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_cannot_be_reached_is_not_dialled_by_each_call)
{
	struct world w = world(ECHOES, NULL);

	struct call *c[100];
	w.p->hangs_up = true;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 100; i++)
			c[i] = call_unary(w.a, DEMO, NULL);
		rig_advance(w.r, 100);
	}
	ck_assert_uint_lt(w.p->accepted, 150); /* in ten seconds, by ten thousand calls */
	rig_advance(w.r, 1000);
	for (int i = 0; i < 100; i++)
		ck_assert_msg(c[i]->grpc == GRPC_UNAVAILABLE, "call %d: ends %u grpc %d %s", i, c[i]->ends, c[i]->grpc, call_text(c[i]));
	w.p->hangs_up = false;
	rig_advance(w.r, 11000);
	answered(w.r, w.a, DEMO);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_limits_of_a_service_answer_at_once)
{
	struct world w = world(HOLDS, "    limits: {requests: 3}\n");
	struct call *c[5];

	for (int i = 0; i < 5; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 3);
	ck_assert_int_eq(c[4]->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(call_text(c[4]), "limit"));
	rig_free(&w.r);
	w = world(ECHOES, "    limits: {pending: 2}\n");
	for (int i = 0; i < 5; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	unsigned ok = 0;
	for (int i = 0; i < 5; i++)
		ok += call_ok(c[i]);
	ck_assert_uint_eq(ok, 2);
	rig_free(&w.r);
}
END_TEST

/* ---- reload ---- */

#define APP(name) "  - {name: " name ", listen: [{unix: /run/" name ".sock}]}\n"
#define SERVICE(name, at) "  - {name: \"" name ":1\", endpoints: [" at "]}\n"

START_TEST(a_reload_of_one_service_leaves_the_others_alone)
{
	struct rig *r = rig_new("apps:\n" APP("shop") "services:\n" SERVICE("a.b", "\"" ONE "\"") SERVICE("c.d", "\"" TWO "\""));
	struct provider *p[2] = {provider_new(r, ONE, HOLDS), provider_new(r, TWO, HOLDS)};
	struct caller *a = caller_new(r, DOOR);
	struct call *one = call_unary(a, "a.b:1", NULL), *two = call_unary(a, "c.d:1", NULL);

	rig_settle(r);
	/* c.d goes; its call in progress may end well, a new one has no name. a.b is untouched. e.f comes. */
	ck_assert_int_eq(rig_reload(r, "apps:\n" APP("shop") "services:\n" SERVICE("a.b", "\"" ONE "\"") SERVICE("e.f", "\"" TWO "\"")), 0);
	ck_assert_uint_eq(one->ends + two->ends, 0);
	struct call *gone = call_unary(a, "c.d:1", NULL), *fresh = call_unary(a, "e.f:1", NULL);
	rig_settle(r);
	ck_assert_int_eq(gone->grpc, GRPC_UNIMPLEMENTED);
	served_answer(provider_call(p[0], 0));
	served_answer(provider_call(p[1], 0));
	rig_settle(r);
	ck_assert(call_ok(one));
	ck_assert(call_ok(two));
	ck_assert_uint_eq(p[0]->accepted, 1);
	ck_assert_uint_eq(p[1]->requests, 2);
	served_answer(provider_last(p[1]));
	rig_settle(r);
	ck_assert(call_ok(fresh));
	p[0]->act.does = ECHOES;
	answered(r, a, "a.b:1");
	ck_assert_uint_eq(p[0]->accepted, 1);
	ck_assert_uint_eq(a->goaways, 0);
	ck_assert_uint_eq(rig_stat(r, STAT_RELOADS), 1);
	rig_free(&r);
}
END_TEST

START_TEST(endpoints_come_and_go_while_calls_run)
{
	struct rig *r = rig_new("apps:\n" APP("shop") "services:\n" SERVICE("a.b", "\"" ONE "\""));
	struct provider *p[2] = {provider_new(r, ONE, HOLDS), provider_new(r, TWO, ECHOES)};
	struct caller *a = caller_new(r, DOOR);
	struct call *held = call_unary(a, "a.b:1", NULL);

	rig_settle(r);
	ck_assert_int_eq(rig_reload(r, "apps:\n" APP("shop") "services:\n" SERVICE("a.b", "\"" TWO "\"")), 0);
	for (int i = 0; i < 10; i++)
		answered(r, a, "a.b:1");
	ck_assert_uint_eq(p[0]->requests, 1);
	ck_assert_uint_eq(held->ends, 0);
	served_answer(provider_last(p[0]));
	rig_settle(r);
	ck_assert(call_ok(held));
	rig_advance(r, 1000);
	ck_assert_uint_eq(provider_conns(p[0]), 0); /* nobody wants it any more */
	rig_free(&r);
}
END_TEST

START_TEST(a_broken_reload_changes_nothing)
{
	struct world w = world(ECHOES, NULL);

	answered(w.r, w.a, DEMO);
	ck_assert_int_lt(rig_reload(w.r, "apps: [{name: shop, listen: [{unx: /run/shop.sock}]}]\n"), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_RELOADS_FAILED), 1);
	answered(w.r, w.a, DEMO);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(apps_come_and_go_and_the_others_keep_their_connections)
{
	struct rig *r = rig_new("apps:\n" APP("shop") APP("till") "services:\n" SERVICE("a.b", "\"" ONE "\""));
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *shop = caller_new(r, DOOR), *till = caller_new(r, "unix:/run/till.sock");

	answered(r, shop, "a.b:1");
	answered(r, till, "a.b:1");
	p->act.does = HOLDS;
	struct call *held = call_unary(till, "a.b:1", NULL);
	rig_settle(r);
	ck_assert_int_eq(rig_reload(r, "apps:\n" APP("shop") APP("cash") "services:\n" SERVICE("a.b", "\"" ONE "\"")), 0);
	p->act.does = ECHOES;
	struct caller *cash = caller_new(r, "unix:/run/cash.sock");
	answered(r, cash, "a.b:1");
	answered(r, shop, "a.b:1");
	ck_assert_uint_eq(shop->goaways, 0);
	ck_assert_uint_ge(till->goaways, 1); /* its app is gone: the one case beside the end of the process */
	ck_assert_uint_eq(held->ends, 0);
	served_answer(provider_call(p, 2));
	rig_settle(r);
	ck_assert(call_ok(held));
	rig_advance(r, 100);
	ck_assert(till->h2 == NULL);
	ck_assert(!caller_new(r, "unix:/run/till.sock")->up);
	/* and it may come back */
	ck_assert_int_eq(rig_reload(r, "apps:\n" APP("shop") APP("till") "services:\n" SERVICE("a.b", "\"" ONE "\"")), 0);
	answered(r, caller_new(r, "unix:/run/till.sock"), "a.b:1");
	answered(r, shop, "a.b:1");
	rig_free(&r);
}
END_TEST

START_TEST(an_app_may_come_back_before_its_last_call_has_ended)
{
	static const char both[] = "apps:\n" APP("shop") APP("till") "services:\n" SERVICE("a.b", "\"" ONE "\"");
	struct rig *r = rig_new(both);
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *till = caller_new(r, "unix:/run/till.sock");
	struct call *held = call_unary(till, "a.b:1", NULL);

	rig_settle(r);
	ck_assert_int_eq(rig_reload(r, "apps:\n" APP("shop") "services:\n" SERVICE("a.b", "\"" ONE "\"")), 0);
	ck_assert_int_eq(rig_reload(r, both), 0);
	struct caller *again = caller_new(r, "unix:/run/till.sock");
	p->act.does = ECHOES;
	answered(r, again, "a.b:1");
	served_answer(provider_call(p, 0));
	rig_settle(r);
	ck_assert(call_ok(held));
	rig_free(&r);
}
END_TEST

START_TEST(a_thousand_reloads_leave_nothing_behind)
{
	struct world w = world(ECHOES, NULL);
	char yaml[2][600];
	size_t after_ten = 0;

	for (int i = 0; i < 2; i++)
		snprintf(yaml[i], sizeof(yaml[i]), "apps:\n" APP("shop") "services:\n  - {name: \"" DEMO "\", timeout: %ds, endpoints: [\"" ONE "\"%s]}\n", i + 1, i ? ", \"" TWO "\"" : "");
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(rig_reload(w.r, yaml[i & 1]), 0);
		answered(w.r, w.a, DEMO);
		if (i == 10)
			after_ten = rig_memory(w.r);
	}
	ck_assert_uint_le(rig_memory(w.r), after_ten + 16384);
	ck_assert_uint_eq(w.a->goaways, 0);
	rig_free(&w.r);
}
END_TEST

/* ---- the end ---- */

START_TEST(a_drain_says_goodbye_in_two_steps_and_lets_streams_finish)
{
	struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 10s}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct raw *w = raw_new(r, DOOR);
	struct frame f;

	raw_preface(w);
	raw_headers(w, 1, raw_request, true);
	rig_settle(r);
	sidecar_stop(r->sc);
	rig_advance(r, 2); /* drain.announce is nothing, and the wheel has slots of a millisecond */
	ck_assert_uint_eq(raw_count(w, F_GOAWAY, -1), 1);
	ck_assert(raw_find(w, F_GOAWAY, 0, &f));
	ck_assert(memcmp(f.p, "\177\377\377\377\0\0\0\0", 8) == 0);
	raw_frame(w, F_PING, FL_ACK, 0, "tm-drain", 8);
	raw_headers(w, 3, raw_request, true); /* was on its way */
	rig_settle(r);
	ck_assert_uint_eq(raw_count(w, F_GOAWAY, -1), 1);
	raw_frame(w, F_PING, FL_ACK, 0, "tm-drain", 8);
	rig_settle(r);
	ck_assert_uint_eq(raw_count(w, F_GOAWAY, -1), 2);
	for (w->at = 0; raw_next(w, &f);)
		if (f.type == F_GOAWAY && f.p[0] == 0)
			ck_assert_uint_eq(f.p[3], 3);
	ck_assert_uint_eq(p->requests, 2);
	raw_headers(w, 5, raw_request, true); /* too late */
	rig_settle(r);
	ck_assert_uint_eq(p->requests, 2);
	rig_advance(r, 5000);
	ck_assert(!w->eof && !r->sc->stopped);
	served_answer(provider_call(p, 0));
	served_answer(provider_call(p, 1));
	rig_advance(r, 100);
	ck_assert_uint_eq(raw_count(w, F_HEADERS, 1), 2);
	ck_assert_uint_eq(raw_count(w, F_HEADERS, 3), 2);
	ck_assert(!w->eof && !r->sc->stopped); /* the app closes when it has read that; for a second it may */
	rig_advance(r, 1000);
	ck_assert(w->eof);
	ck_assert(r->sc->stopped);
	rig_free(&r);
}
END_TEST

START_TEST(a_drain_ends_at_its_deadline_or_at_the_second_word)
{
	for (int twice = 0; twice < 2; twice++) {
		struct rig *r = rig_demo(ONE, NULL, "drain: {deadline: 3s}\n");
		struct provider *p = provider_new(r, ONE, HOLDS);
		struct caller *a = caller_new(r, DOOR);
		struct call *c = call_unary(a, DEMO, NULL);
		rig_settle(r);
		(void)p;
		sidecar_stop(r->sc);
		rig_advance(r, 2900);
		ck_assert(!r->sc->stopped);
		ck_assert_uint_eq(c->ends, 0);
		if (twice)
			sidecar_stop(r->sc);
		else
			rig_advance(r, 200);
		ck_assert(r->sc->stopped);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_drain_takes_no_new_connection)
{
	struct world w = world(HOLDS, NULL);

	call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 2);
	ck_assert(!caller_new(w.r, DOOR)->up);
	rig_free(&w.r);
}
END_TEST

START_TEST(an_idle_daemon_that_is_stopped_is_gone_at_once)
{
	struct world w = world(ECHOES, NULL);

	answered(w.r, w.a, DEMO);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 100);
	ck_assert(w.r->sc->stopped);
	ck_assert(w.a->h2 == NULL);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_end_in_the_middle_of_everything_leaves_nothing)
{
	struct world w = world(HOLDS, NULL);

	for (int i = 0; i < 30; i++) {
		struct call *c = call_begin(w.a, DEMO, PATH, i % 3 ? "grpc-timeout: 5S\n" : NULL, false);
		call_fill(c, (size_t)i * 1000, i & 1);
	}
	rig_settle(w.r);
	for (uint32_t i = 0; i < 30; i += 4) {
		served_head(provider_call(w.p, i), 200, "content-type: application/grpc\n", false);
		served_fill(provider_call(w.p, i), 10000, false);
	}
	rig_settle(w.r);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("life", calls_share_one_connection, a_goaway_has_its_replacement_first_and_no_call_waits, more_connections_are_opened_at_the_peers_stream_limit,
	a_peer_that_allows_one_stream_gets_one, a_peer_that_allows_no_stream_gets_none_until_it_does,
	a_connection_that_was_silent_for_long_answers_a_ping_before_it_carries_a_call, a_freeze_and_thaw_fails_no_call,
	an_idle_connection_is_closed_in_time_and_opened_again, a_provider_that_cannot_be_reached_is_not_dialled_by_each_call,
	the_limits_of_a_service_answer_at_once, a_reload_of_one_service_leaves_the_others_alone, endpoints_come_and_go_while_calls_run,
	a_broken_reload_changes_nothing, apps_come_and_go_and_the_others_keep_their_connections, an_app_may_come_back_before_its_last_call_has_ended,
	a_thousand_reloads_leave_nothing_behind, a_drain_says_goodbye_in_two_steps_and_lets_streams_finish,
	a_drain_ends_at_its_deadline_or_at_the_second_word, a_drain_takes_no_new_connection, an_idle_daemon_that_is_stopped_is_gone_at_once,
	the_end_in_the_middle_of_everything_leaves_nothing)
