/* Every row of `limits:` is reached by somebody who misbehaves, is counted, and hurts only him. The app's side; most of it in raw frames. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE "10.0.0.1:50051"

struct world { struct rig *r; struct provider *p; struct caller *a; struct raw *w; };

static struct world world(enum does does, const char *limits)
{
	char top[512];
	snprintf(top, sizeof(top), "limits: {%s}\n", limits);
	struct world w = {.r = rig_demo(ONE, NULL, top)};

	w.p = provider_new(w.r, ONE, does);
	w.a = caller_new(w.r, DOOR);
	w.w = raw_new(w.r, DOOR);
	return w;
}

/* Whoever else is connected never feels it. */
static void world_end(struct world *w)
{
	w->p->act = (struct act){.does = ECHOES};
	struct call *c = call_unary(w->a, DEMO, NULL);
	rig_advance(w->r, 1);
	ck_assert_msg(call_ok(c), "the other app: cause %d grpc %d %s", c->end.cause, c->grpc, call_text(c));
	ck_assert_uint_eq(w->a->goaways, 0);
	rig_free(&w->r);
}

#define counted(w, id, n) ck_assert_uint_eq(rig_stat((w).r, STAT_##id), (n))

static uint32_t goaway_code(const struct raw *w)
{
	struct frame f;

	if (!raw_find(w, F_GOAWAY, 0, &f))
		return UINT32_MAX;
	return (uint32_t)f.p[4] << 24 | (uint32_t)f.p[5] << 16 | (uint32_t)f.p[6] << 8 | f.p[7];
}

START_TEST(streams_beyond_the_limit_of_a_connection_are_refused)
{
	struct world w = world(HOLDS, "streams_per_connection: 3");

	raw_preface(w.w);
	for (uint32_t i = 0; i < 5; i++)
		raw_headers(w.w, 1 + 2 * i, raw_request, true);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 3);
	ck_assert_uint_eq(raw_code(w.w, 7), H2_REFUSED_STREAM);
	ck_assert_uint_eq(raw_code(w.w, 9), H2_REFUSED_STREAM);
	counted(w, STREAMS_REFUSED, 2);
	raw_rst(w.w, 1, H2_CANCEL);
	rig_settle(w.r);
	raw_headers(w.w, 11, raw_request, true);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 4);
	ck_assert_uint_eq(raw_count(w.w, F_GOAWAY, -1), 0);
	/* and the limit was announced */
	struct frame f;
	ck_assert(raw_find(w.w, F_SETTINGS, 0, &f));
	bool told = false;
	for (uint32_t i = 0; i + 6 <= f.n; i += 6)
		told |= f.p[i + 1] == 3 && f.p[i + 5] == 3;
	ck_assert(told);
	world_end(&w);
}
END_TEST

/* What a stream asked for is with the provider until our RST_STREAM is: one that does not read keeps its callers' places. */
START_TEST(a_stream_that_its_caller_reset_keeps_its_place_until_its_provider_is_rid_of_it)
{
	struct world w = world(HOLDS, "streams_per_connection: 3, stall: 1h");

	raw_preface(w.w);
	raw_headers(w.w, 1, raw_request, true);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 1);
	provider_stall(w.p, true);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);
	call_fill(c, 3000000, true); /* the way to the provider is full */
	rig_settle(w.r);
	raw_headers(w.w, 3, raw_request, true);
	raw_headers(w.w, 5, raw_request, true);
	rig_settle(w.r);
	for (uint32_t id = 1; id <= 5; id += 2)
		raw_rst(w.w, id, H2_CANCEL);
	raw_headers(w.w, 7, raw_request, true);
	rig_settle(w.r);
	ck_assert_uint_eq(raw_code(w.w, 7), H2_REFUSED_STREAM);
	counted(w, STREAMS_REFUSED, 1);
	provider_stall(w.p, false);
	rig_advance(w.r, 100);
	raw_headers(w.w, 9, raw_request, true);
	raw_headers(w.w, 11, raw_request, true);
	raw_headers(w.w, 13, raw_request, true);
	rig_settle(w.r);
	counted(w, STREAMS_REFUSED, 1);
	ck_assert_uint_eq(raw_count(w.w, F_GOAWAY, -1), 0);
	/* A connection that ends forgets the places that are kept for it, and a provider's that ends gives them back. */
	provider_stall(w.p, true);
	call_fill(call_begin(w.a, DEMO, PATH, NULL, false), 3000000, true);
	rig_settle(w.r);
	for (uint32_t id = 9; id <= 13; id += 2)
		raw_rst(w.w, id, H2_CANCEL);
	rig_settle(w.r);
	raw_close(w.w);
	rig_settle(w.r);
	provider_stall(w.p, false);
	rig_advance(w.r, 100);
	world_end(&w);
}
END_TEST

static char *long_field(const char *name, size_t n)
{
	struct sb b = {0};

	sb_fmt(&b, "%s%s: ", raw_request, name);
	for (size_t i = 0; i < n; i++)
		sb_char(&b, 'x');
	sb_char(&b, '\n');
	return b.p;
}

static struct call *local_answer(struct world *w, const char *more, bool plain)
{
	struct call *c = plain ? call_plain(w->a, "GET", DEMO, "/x", more, true) : call_begin(w->a, DEMO, PATH, more, true);

	rig_settle(w->r);
	ck_assert_int_eq(c->end.cause, END_DONE);
	return c;
}

START_TEST(a_header_list_that_is_too_large_is_answered_on_its_stream)
{
	struct world w = world(ECHOES, "header_bytes: 2KiB, header_wire_bytes: 40KiB");
	struct sb more = {0};

	sb_str(&more, "x-big: ");
	for (int i = 0; i < 3000; i++)
		sb_char(&more, 'b');
	sb_char(&more, '\n');
	sb_char(&more, 0);
	ck_assert_int_eq(local_answer(&w, more.p, false)->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_int_eq(local_answer(&w, more.p, true)->status, 431);
	counted(w, HEADER_BYTES, 2);
	ck_assert_uint_eq(w.p->requests, 0);
	sb_end(&more);
	world_end(&w); /* HPACK's state is whole: the same connection goes on */
}
END_TEST

START_TEST(too_many_fields_are_answered_on_their_stream)
{
	struct world w = world(ECHOES, "field_count: 40");
	struct sb more = {0};

	for (int i = 0; i < 50; i++)
		sb_fmt(&more, "x-%d: v\n", i);
	ck_assert_int_eq(local_answer(&w, more.p, false)->grpc, GRPC_RESOURCE_EXHAUSTED);
	counted(w, FIELD_COUNT, 1);
	sb_end(&more);
	world_end(&w);
}
END_TEST

START_TEST(cookie_crumbs_are_counted_each)
{
	struct world w = world(ECHOES, "field_count: 100");
	struct sb more = {0};

	for (int i = 0; i < 120; i++)
		sb_str(&more, "cookie: a=b\n");
	ck_assert_int_eq(local_answer(&w, more.p, false)->grpc, GRPC_RESOURCE_EXHAUSTED);
	counted(w, FIELD_COUNT, 1);
	sb_end(&more);
	world_end(&w);
}
END_TEST

START_TEST(a_block_beyond_header_wire_bytes_ends_the_connection)
{
	struct world w = world(ECHOES, "header_wire_bytes: 4KiB");
	char *lines = long_field("x-big", 5000);

	raw_preface(w.w);
	raw_headers(w.w, 1, lines, true);
	rig_settle(w.r);
	ck_assert(w.w->eof);
	ck_assert_uint_eq(goaway_code(w.w), H2_ENHANCE_YOUR_CALM);
	counted(w, HEADER_WIRE, 1);
	free(lines);
	world_end(&w);
}
END_TEST

START_TEST(continuations_without_end_end_the_connection)
{
	struct world w = world(ECHOES, "continuations: 8");

	raw_preface(w.w);
	raw_frame(w.w, F_HEADERS, 0, 1, "\x82", 1);
	for (int i = 0; i < 9; i++)
		raw_frame(w.w, F_CONTINUATION, 0, 1, "\x86", 1);
	rig_settle(w.r);
	ck_assert(w.w->eof);
	ck_assert_uint_eq(goaway_code(w.w), H2_ENHANCE_YOUR_CALM);
	counted(w, CONTINUATIONS, 1);
	ck_assert_uint_eq(w.p->requests, 0);
	world_end(&w);
}
END_TEST

START_TEST(reading_pauses_while_heads_that_wait_exceed_their_budget)
{
	struct rig *r = rig_demo("late.example:50051", NULL, "limits: {header_bytes: 4KiB, header_budget: 8KiB}\n");
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct raw *w = raw_new(r, DOOR);
	char *lines = long_field("x-big", 3000);

	/* Until DNS answers (5 ms) calls are parked, and their heads held. */
	dns_table_set(r->dns, "late.example", "10.0.0.1", 60 * SEC);
	raw_preface(w);
	for (uint32_t i = 0; i < 10; i++) {
		raw_headers(w, 1 + 2 * i, lines, true);
		rig_settle(r);
	}
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 3);
	ck_assert_uint_eq(rig_stat(r, STAT_HEADER_BUDGET), 1);
	rig_advance(r, 100);
	ck_assert_uint_eq(p->requests, 10);
	ck_assert(!w->eof);
	free(lines);
	rig_free(&r);
}
END_TEST

START_TEST(rapid_resets_are_paced_and_never_end_the_connection)
{
	struct world w = world(HOLDS, "premature_resets: 50");

	raw_preface(w.w);
	for (uint32_t i = 0; i < 400; i++) {
		raw_headers(w.w, 1 + 2 * i, raw_request, true);
		raw_rst(w.w, 1 + 2 * i, H2_CANCEL);
		if (i % 10 == 0)
			rig_settle(w.r);
	}
	rig_settle(w.r);
	uint32_t at_once = w.p->requests;
	ck_assert_uint_lt(at_once, 120);
	ck_assert_uint_gt(rig_stat(w.r, STAT_RESETS_PACED), 0);
	rig_advance(w.r, 10000);
	ck_assert_uint_eq(rig_stat(w.r, STAT_H2_RESETS_IN), 400);
	ck_assert(!w.w->eof);
	ck_assert_uint_eq(raw_count(w.w, F_GOAWAY, -1), 0);
	raw_headers(w.w, 1001, raw_request, true);
	rig_advance(w.r, 20000);
	ck_assert(!provider_last(w.p)->ended);
	world_end(&w);
}
END_TEST

START_TEST(a_thousand_cancellations_a_second_for_a_minute_are_nothing)
{
	struct world w = world(HOLDS, "streams_per_connection: 1000");

	for (int ms = 0; ms < 60000; ms += 20) {
		struct call *c[20];
		for (int i = 0; i < 20; i++)
			c[i] = call_unary(w.a, DEMO, NULL);
		rig_advance(w.r, 20);
		for (int i = 0; i < 20; i++)
			call_cancel(c[i]);
		ck_assert_ptr_nonnull(w.a->h2);
	}
	rig_advance(w.r, 10);
	counted(w, RESETS_PACED, 0);
	ck_assert_uint_eq(w.p->requests, 60000);
	ck_assert_uint_eq(w.p->cancelled, 60000);
	world_end(&w);
}
END_TEST

START_TEST(a_flood_of_pings_is_paced)
{
	struct world w = world(HOLDS, "control_frames: 100");

	raw_preface(w.w);
	for (int i = 0; i < 1000; i++)
		raw_frame(w.w, F_PING, 0, 0, "12345678", 8);
	rig_settle(w.r);
	ck_assert_uint_le(raw_count(w.w, F_PING, 0), 1000);
	ck_assert_uint_gt(rig_stat(w.r, STAT_CONTROL_PACED), 0);
	rig_advance(w.r, 20000);
	ck_assert_uint_eq(raw_count(w.w, F_PING, 0), 1000);
	ck_assert(!w.w->eof);
	world_end(&w);
}
END_TEST

START_TEST(grpcs_bandwidth_probing_is_not_paced)
{
	struct world w = world(HOLDS, "control_frames: 10000");

	raw_preface(w.w);
	for (int i = 0; i < 5000; i++)
		raw_frame(w.w, F_PING, 0, 0, "\2\4\20\20\11\16\7\7", 8);
	rig_settle(w.r);
	counted(w, CONTROL_PACED, 0);
	ck_assert_uint_eq(raw_count(w.w, F_PING, 0), 5000);
	world_end(&w);
}
END_TEST

START_TEST(empty_frames_in_a_row_end_the_connection)
{
	struct world w = world(HOLDS, "empty_frames: 20");

	raw_preface(w.w);
	raw_headers(w.w, 1, raw_request, false);
	for (int i = 0; i < 15; i++)
		raw_frame(w.w, F_DATA, 0, 1, NULL, 0);
	raw_frame(w.w, F_DATA, 0, 1, "x", 1);
	for (int i = 0; i < 20; i++)
		raw_frame(w.w, F_DATA, 0, 1, NULL, 0);
	rig_settle(w.r);
	ck_assert(!w.w->eof);
	raw_frame(w.w, F_DATA, 0, 1, NULL, 0);
	rig_settle(w.r);
	ck_assert(w.w->eof);
	ck_assert_uint_eq(goaway_code(w.w), H2_ENHANCE_YOUR_CALM);
	counted(w, EMPTY_FRAMES, 1);
	world_end(&w);
}
END_TEST

START_TEST(answers_that_a_peer_provokes_and_does_not_read_end_its_connection)
{
	struct world w = world(HOLDS, "outbound_queue: 100, control_frames: 100000");

	simnet_knobs(w.r->net)->capacity = 4096;
	raw_preface(w.w);
	rig_settle(w.r);
	raw_deaf(w.w, true);
	for (int i = 0; i < 20000 && !w.w->eof; i++) {
		raw_frame(w.w, F_PING, 0, 0, "12345678", 8);
		if (i % 50 == 0)
			rig_settle(w.r);
	}
	rig_settle(w.r);
	counted(w, OUTBOUND_QUEUE, 1);
	ck_assert(w.w->eof || w.w->out.n == 0);
	world_end(&w);
}
END_TEST

START_TEST(a_stalled_app_stops_its_provider_within_the_window)
{
	struct world w = world(ANSWERS_EARLY, "window_up: 64KiB, window_down: 64KiB, stall: 1h");
	struct call *c;

	w.p->act.bytes = 100000;
	w.p->act.messages = 50; /* five megabytes */
	c = call_begin(w.a, DEMO, PATH, NULL, true);
	c->hold = true;
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_le(c->bytes, 65535);
	/* One window of the stream at most waits in us, in whole chunks. */
	ck_assert_uint_le(rig_memory(w.r), 64 * 1024 + 512 * 1024);
	struct call *other = call_unary(w.a, DEMO, NULL); /* on the same connections, both of them */
	other->hold = false;
	rig_advance(w.r, 100);
	ck_assert_uint_eq(w.p->accepted, 1);
	ck_assert_msg(call_ok(other), "%d %llu", other->ends, (unsigned long long)other->bytes);
	call_credit(c);
	rig_advance(w.r, 1000);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->bytes, 50 * 100005);
	world_end(&w);
}
END_TEST

START_TEST(a_stalled_provider_stops_its_app_within_the_window)
{
	struct world w = world(ECHOES, "window_up: 64KiB, window_down: 64KiB, stall: 1h");

	w.p->act.hold = true;
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);
	call_fill(c, 3000000, true);
	rig_advance(w.r, 1000);
	/* The provider's window, and ours. */
	ck_assert_uint_le(c->on_sent, 65535 + 65536);
	ck_assert_uint_le(rig_memory(w.r), 700 * 1024);
	w.p->act.hold = false;
	struct call *other = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 100);
	ck_assert(call_ok(other));
	ck_assert_uint_eq(w.p->accepted, 1);
	served_credit(provider_call(w.p, 0));
	rig_advance(w.r, 1000);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->hash, c->sent_hash);
	world_end(&w);
}
END_TEST

START_TEST(a_stream_whose_bytes_do_not_move_is_reset)
{
	struct world w = world(ANSWERS_EARLY, "stall: 10s");

	w.p->act.bytes = 200000;
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, true);
	c->hold = true;
	rig_advance(w.r, 9000);
	ck_assert_uint_eq(c->ends, 0);
	counted(w, STALLED, 0);
	rig_advance(w.r, 12000);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_int_eq(c->end.cause, END_RESET);
	counted(w, STALLED, 1);
	ck_assert(provider_last(w.p)->ended);
	world_end(&w);
}
END_TEST

START_TEST(an_app_that_hangs_altogether_loses_its_streams_too)
{
	struct world w = world(ANSWERS_EARLY, "stall: 10s");
	struct caller *hung = caller_new(w.r, DOOR);

	w.p->act.bytes = 400000;
	hung->rig->lim.window_up = 1 << 20;
	struct call *c = call_begin(hung, DEMO, PATH, NULL, true);
	rig_settle(w.r);
	(void)c;
	w.p->act.bytes = 60000;
	for (int i = 0; i < 20; i++)
		call_begin(hung, DEMO, PATH, NULL, true);
	rig_settle(w.r);
	caller_stall(hung, true);
	for (int i = 0; i < 20; i++)
		call_begin(hung, DEMO, PATH, NULL, true);
	rig_advance(w.r, 30000);
	caller_stall(hung, false);
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_ACTIVE), 0);
	world_end(&w);
}
END_TEST

START_TEST(who_says_nothing_is_gone_after_preface_time)
{
	struct world w = world(ECHOES, "preface_time: 3s");
	struct raw *half = raw_new(w.r, DOOR), *pri = raw_new(w.r, DOOR);

	raw_text(half, "PR");
	raw_text(pri, "PRI * HTTP/2.0\r\n\r\n");
	rig_advance(w.r, 2900);
	ck_assert(!w.w->eof && !half->eof && !pri->eof);
	rig_advance(w.r, 200);
	ck_assert(w.w->eof && half->eof && pri->eof);
	counted(w, PREFACE_TIME, 3);
	world_end(&w);
}
END_TEST

START_TEST(who_begins_a_head_and_does_not_end_it_is_gone_after_header_time)
{
	struct world w = world(ECHOES, "header_time: 3s");

	raw_preface(w.w);
	raw_frame(w.w, F_HEADERS, 0, 1, "\x82", 1);
	rig_advance(w.r, 2900);
	ck_assert(!w.w->eof);
	rig_advance(w.r, 200);
	ck_assert(w.w->eof);
	counted(w, HEADER_TIME, 1);
	world_end(&w);
}
END_TEST

/* Trailers on their way to a stream that we have reset are skipped: they are no head that never ends. */
START_TEST(late_trailers_do_not_end_a_connection_after_header_time)
{
	struct world w = world(ANSWERS_EARLY, "header_time: 3s");

	raw_preface(w.w);
	raw_headers(w.w, 1, raw_request, false);
	rig_settle(w.r);
	ck_assert_uint_eq(raw_code(w.w, 1), H2_NO_ERROR);
	raw_headers(w.w, 1, "x-late: 1\n", true);
	rig_advance(w.r, 10000);
	ck_assert(!w.w->eof);
	counted(w, HEADER_TIME, 0);
	raw_headers(w.w, 3, raw_request, true);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 2);
	world_end(&w);
}
END_TEST

START_TEST(a_providers_late_trailers_do_not_end_its_connection)
{
	struct rig *r = rig_demo(ONE, NULL, "limits: {header_time: 3s}\n");
	struct raw *p = raw_provider(r, ONE);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL), *other = call_unary(a, DEMO, NULL);

	rig_settle(r);
	raw_frame(p->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
	rig_settle(r);
	call_cancel(c);
	rig_settle(r);
	raw_headers(p->accepted[0], 1, ":status: 200\ncontent-type: application/grpc\n", false);
	raw_headers(p->accepted[0], 1, "grpc-status: 0\n", true);
	rig_advance(r, 10000);
	ck_assert(!p->accepted[0]->eof);
	raw_headers(p->accepted[0], 3, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n", true);
	rig_settle(r);
	ck_assert(call_ok(other));
	rig_free(&r);
}
END_TEST

START_TEST(accepting_pauses_at_the_number_of_connections_and_goes_on)
{
	static const struct { const char *limit; enum stat_id stat; } rows[] = {
		{"connections: 4", STAT_CONNS_REFUSED_LIMIT},
		{"connections_per_listener: 4", STAT_CONNS_REFUSED_LISTENER},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(ECHOES, rows[i].limit); /* two are there */
		struct caller *more[4];
		for (int n = 0; n < 4; n++)
			more[n] = caller_new(w.r, DOOR);
		rig_advance(w.r, 100);
		ck_assert(more[0]->up && more[1]->up && !more[2]->up && !more[3]->up);
		ck_assert_uint_ge(rig_stat(w.r, rows[i].stat), 1);
		caller_close(more[0]);
		rig_advance(w.r, 10);
		ck_assert(more[2]->up && !more[3]->up);
		world_end(&w);
	}
}
END_TEST

START_TEST(a_uid_beyond_its_share_is_closed_and_others_are_not)
{
	struct world w = world(ECHOES, "connections_per_uid: 3");
	struct caller *three = caller_new(w.r, DOOR), *four = caller_new(w.r, DOOR);

	ck_assert(three->up);
	ck_assert(!four->up);
	counted(w, CONNS_REFUSED_UID, 1);
	simnet_knobs(w.r->net)->cred.uid = 2000;
	ck_assert(caller_new(w.r, DOOR)->up);
	caller_close(three);
	rig_settle(w.r);
	simnet_knobs(w.r->net)->cred.uid = 1000;
	ck_assert(caller_new(w.r, DOOR)->up);
	world_end(&w);
}
END_TEST

START_TEST(only_those_who_are_allowed_come_in)
{
	struct rig *r = rig_new("apps: [{name: shop, listen: [{unix: /run/shop.sock, allow: {uid: [7], gid: [8]}}]}]\nservices: [{name: a, endpoints: []}]\n");
	struct simnet_knobs *k = simnet_knobs(r->net);

	ck_assert(!caller_new(r, DOOR)->up);
	ck_assert_uint_eq(rig_stat(r, STAT_CONNS_REFUSED_ALLOW), 1);
	k->cred.uid = 7;
	ck_assert(caller_new(r, DOOR)->up);
	k->cred.uid = 9;
	k->cred.gid = 8;
	ck_assert(caller_new(r, DOOR)->up);
	rig_free(&r);
}
END_TEST

START_TEST(above_the_soft_mark_new_calls_are_refused_and_old_ones_go_on)
{
	struct world w = world(ANSWERS_EARLY, "memory: 4MiB, memory_soft: 10%, memory_hard: 90%, window_up: 1MiB, stall: 1h");
	struct call *big[2];

	w.p->act.bytes = 700000;
	for (int i = 0; i < 2; i++) {
		big[i] = call_begin(w.a, DEMO, PATH, NULL, true);
		big[i]->hold = true;
	}
	rig_advance(w.r, 100);
	ck_assert_uint_gt(rig_memory(w.r), 4 * 1024 * 1024 / 10);
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_ptr_nonnull(strstr(call_text(c), "memory"));
	ck_assert_uint_ge(rig_stat(w.r, STAT_MEMORY_SOFT), 1);
	for (int i = 0; i < 2; i++)
		call_credit(big[i]);
	rig_advance(w.r, 1000);
	ck_assert(call_ok(big[0]) && call_ok(big[1]));
	world_end(&w);
}
END_TEST

START_TEST(above_the_hard_mark_the_largest_streams_end)
{
	struct world w = world(ANSWERS_EARLY, "memory: 4MiB, memory_soft: 40%, memory_hard: 50%, window_up: 1MiB, stall: 1h");
	struct call *big[6];

	w.p->act.bytes = 900000;
	for (int i = 0; i < 6; i++) {
		big[i] = call_begin(w.a, DEMO, PATH, NULL, true);
		big[i]->hold = true;
	}
	rig_settle(w.r);
	w.p->act.bytes = 1;
	call_unary(w.a, DEMO, NULL); /* who is refused starts the watch */
	rig_advance(w.r, 3000);
	ck_assert_uint_ge(rig_stat(w.r, STAT_MEMORY_HARD), 1);
	ck_assert_uint_le(rig_memory(w.r), 4 * 1024 * 1024 / 2);
	uint32_t ended = 0;
	for (int i = 0; i < 6; i++) {
		ended += big[i]->ends;
		call_credit(big[i]);
	}
	ck_assert_uint_gt(ended, 0);
	ck_assert_uint_lt(ended, 6);
	rig_advance(w.r, 1000);
	world_end(&w);
}
END_TEST

UNIT_SUITE("limits", streams_beyond_the_limit_of_a_connection_are_refused, a_stream_that_its_caller_reset_keeps_its_place_until_its_provider_is_rid_of_it,
	a_header_list_that_is_too_large_is_answered_on_its_stream,
	too_many_fields_are_answered_on_their_stream, cookie_crumbs_are_counted_each, a_block_beyond_header_wire_bytes_ends_the_connection,
	continuations_without_end_end_the_connection, reading_pauses_while_heads_that_wait_exceed_their_budget,
	rapid_resets_are_paced_and_never_end_the_connection, a_thousand_cancellations_a_second_for_a_minute_are_nothing, a_flood_of_pings_is_paced,
	grpcs_bandwidth_probing_is_not_paced, empty_frames_in_a_row_end_the_connection, answers_that_a_peer_provokes_and_does_not_read_end_its_connection,
	a_stalled_app_stops_its_provider_within_the_window, a_stalled_provider_stops_its_app_within_the_window, a_stream_whose_bytes_do_not_move_is_reset,
	an_app_that_hangs_altogether_loses_its_streams_too, who_says_nothing_is_gone_after_preface_time,
	who_begins_a_head_and_does_not_end_it_is_gone_after_header_time, late_trailers_do_not_end_a_connection_after_header_time,
	a_providers_late_trailers_do_not_end_its_connection, accepting_pauses_at_the_number_of_connections_and_goes_on,
	a_uid_beyond_its_share_is_closed_and_others_are_not, only_those_who_are_allowed_come_in, above_the_soft_mark_new_calls_are_refused_and_old_ones_go_on,
	above_the_hard_mark_the_largest_streams_end)
