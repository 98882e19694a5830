/* Promise 6 and the retry policy: who refuses costs the caller nothing; who has begun is not tried twice unless policy says so. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <string.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"
#define BOTH ONE " " TWO
#define TURNS "    lb: round_robin\n"

/* Two providers in turns: one is trouble, the other one echoes. */
struct world { struct rig *r; struct provider *p[2]; struct caller *a; };

static struct world world(enum does first, const char *more)
{
	char text[512];
	snprintf(text, sizeof(text), TURNS "%s", more ? more : "");
	struct world w = {.r = rig_demo(BOTH, text, NULL)};

	w.p[0] = provider_new(w.r, ONE, first);
	w.p[1] = provider_new(w.r, TWO, ECHOES);
	w.a = caller_new(w.r, DOOR);
	return w;
}

static void world_end(struct world *w)
{
	ck_assert_uint_eq(w->a->goaways, 0);
	rig_free(&w->r);
}

START_TEST(a_refused_stream_moves_to_another_provider_unseen)
{
	struct world w = world(RESETS, NULL);

	w.p[0]->act.code = H2_REFUSED_STREAM;
	for (int i = 0; i < 20; i++) {
		struct call *c = call_unary(w.a, DEMO, NULL);
		rig_settle(w.r);
		ck_assert(call_ok(c));
	}
	ck_assert_uint_eq(w.p[1]->requests, 20);
	ck_assert_uint_ge(w.p[0]->requests, 9);
	ck_assert_uint_eq(rig_stat(w.r, STAT_MOVED), w.p[0]->requests);
	ck_assert_uint_eq(rig_stat(w.r, STAT_RETRIES), 0);
	world_end(&w);
}
END_TEST

START_TEST(a_connect_that_is_refused_moves_the_call)
{
	struct world w = world(ECHOES, NULL);

	provider_listen(w.p[0], false);
	for (int i = 0; i < 10; i++) {
		struct call *c = call_unary(w.a, DEMO, NULL);
		rig_settle(w.r);
		ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	}
	ck_assert_uint_eq(w.p[1]->requests, 10);
	world_end(&w);
}
END_TEST

START_TEST(a_connect_that_hangs_moves_the_call_when_its_time_is_over)
{
	struct world w = world(ECHOES, "    connect_timeout: 300ms\n");
	struct addr one = simnet_addr(ONE);

	simnet_on_connect(w.r->net, &one, SIMNET_HANG);
	struct call *c[4];
	for (int i = 0; i < 4; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 299);
	ck_assert_uint_eq(c[0]->ends + c[1]->ends, 1);
	rig_advance(w.r, 2);
	for (int i = 0; i < 4; i++)
		ck_assert(call_ok(c[i]));
	world_end(&w);
}
END_TEST

/* The body is sent in pieces while the first provider still thinks; then it refuses, and the second one gets all of it. */
static void replayed(size_t pieces, size_t each, bool fin_first)
{
	struct world w = world(HOLDS, NULL);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	rig_settle(w.r);
	struct provider *first = w.p[0]->requests ? w.p[0] : w.p[1];
	ck_assert_ptr_eq(first, w.p[0]);
	for (size_t i = 0; i < pieces; i++) {
		call_fill(c, each, fin_first && i + 1 == pieces);
		rig_settle(w.r);
	}
	served_reset(provider_last(first), H2_REFUSED_STREAM);
	rig_settle(w.r);
	if (!fin_first) {
		call_fill(c, 3, true);
		rig_settle(w.r);
	}
	ck_assert_msg(call_ok(c), "%zu x %zu: %d %s", pieces, each, c->grpc, call_text(c));
	ck_assert_uint_eq(c->bytes, c->sent);
	ck_assert_uint_eq(c->hash, c->sent_hash);
	world_end(&w);
}

START_TEST(what_was_sent_is_sent_again_byte_by_byte)
{
	replayed(1, 1, true);
	replayed(1, 10, false);
	replayed(1, 256, true);
	replayed(1, 257, true);
	replayed(2, 255, false);
	replayed(3, 100, false);
	replayed(50, 1000, false);
	replayed(1, 65536, true);
	replayed(1, 65533, false);
	replayed(64, 1023, true);
}
END_TEST

START_TEST(a_call_that_sent_more_than_replay_bytes_is_unavailable_when_refused)
{
	struct world w = world(HOLDS, NULL);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	call_fill(c, 65537, false);
	rig_settle(w.r);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REPLAY_OVERFLOW), 1);
	served_reset(provider_last(w.p[0]), H2_REFUSED_STREAM);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(w.p[1]->requests, 0);
	world_end(&w);
}
END_TEST

/* Found by the simulation: the body grows beyond replay_bytes just while the moved call waits for a connection. */
START_TEST(what_comes_while_a_moved_call_waits_for_its_connection_is_not_lost)
{
	struct world w = world(HOLDS, NULL);
	struct addr two = simnet_addr(TWO);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	(void)two;
	call_fill(c, 60000, false);
	rig_settle(w.r);
	simnet_knobs(w.r->net)->latency_ns = 5 * MS;
	served_reset(provider_last(w.p[0]), H2_REFUSED_STREAM);
	rig_advance(w.r, 6); /* the sidecar knows, and dials */
	ck_assert_uint_eq(w.p[1]->requests, 0);
	call_fill(c, 60000, true);
	rig_advance(w.r, 1000);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->bytes, 120000);
	ck_assert_uint_eq(c->hash, c->sent_hash);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REPLAY_OVERFLOW), 1);
	world_end(&w);
}
END_TEST

START_TEST(streams_beyond_the_last_id_of_a_goaway_move_and_the_others_go_on)
{
	struct rig *r = rig_demo(BOTH, TURNS "    limits: {connections_per_host: 1}\n", NULL);
	struct raw *raw = raw_provider(r, ONE);
	struct provider *p = provider_new(r, TWO, ECHOES);
	struct caller *a = caller_new(r, DOOR);
	struct call *c[6];

	for (int i = 0; i < 6; i++)
		c[i] = call_unary(a, DEMO, NULL);
	rig_settle(r);
	ck_assert_uint_eq(raw->naccepted, 1);
	struct raw *on = raw->accepted[0];
	raw_frame(on, F_SETTINGS, 0, 0, NULL, 0);
	rig_settle(r);
	ck_assert_uint_eq(raw_count(on, F_HEADERS, -1), 3);
	raw_goaway(on, 1, 0);
	rig_settle(r);
	/* 1 is still theirs; 3 and 5 were never processed. A second connection to the same host is allowed to them, or the other host. */
	if (raw->naccepted == 2) {
		raw_frame(raw->accepted[1], F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		for (uint32_t id = 1; id <= 5; id += 2) {
			if (!raw_find(raw->accepted[1], F_HEADERS, id, NULL))
				continue;
			raw_headers(raw->accepted[1], id, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n", true);
		}
	}
	raw_headers(on, 1, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n", true);
	rig_settle(r);
	for (int i = 0; i < 6; i++)
		ck_assert_msg(call_ok(c[i]), "call %d: %d %s", i, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(raw_count(on, F_HEADERS, -1), 3);
	(void)p;
	rig_free(&r);
}
END_TEST

START_TEST(a_provider_that_stops_with_grace_loses_no_call)
{
	struct world w = world(ECHOES, NULL);
	struct call *c[200];
	int n = 0;

	simnet_knobs(w.r->net)->latency_ns = 1 * MS;
	w.p[0]->act.delay_ms = w.p[1]->act.delay_ms = 3;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 10; i++) {
			c[n++] = call_unary(w.a, DEMO, NULL);
			rig_advance(w.r, (uint64_t)(i % 3));
		}
		provider_goaway(w.p[round & 1]);
	}
	rig_advance(w.r, 1000);
	for (int i = 0; i < n; i++)
		ck_assert_msg(call_ok(c[i]), "call %d: cause %d grpc %d %s", i, c[i]->end.cause, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(w.p[0]->requests + w.p[1]->requests, (unsigned)n);
	world_end(&w);
}
END_TEST

START_TEST(a_killed_provider_fails_only_what_was_in_flight_and_nothing_runs_twice)
{
	struct world w = world(HOLDS, NULL);
	struct call *c[20];

	w.p[1]->act.does = HOLDS;
	for (int i = 0; i < 20; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	uint32_t on_first = w.p[0]->requests;
	ck_assert_uint_eq(on_first, 10);
	provider_listen(w.p[0], false);
	provider_cut(w.p[0]);
	rig_settle(w.r);
	uint32_t failed = 0;
	for (int i = 0; i < 20; i++)
		if (c[i]->ends) {
			ck_assert_int_eq(c[i]->grpc, GRPC_UNAVAILABLE);
			ck_assert_int_eq(c[i]->status, 200);
			failed++;
		}
	ck_assert_uint_eq(failed, on_first);
	ck_assert_uint_eq(w.p[1]->requests, 10);
	w.p[1]->act.does = ECHOES;
	for (int i = 0; i < 10; i++) {
		struct call *after = call_unary(w.a, DEMO, NULL);
		rig_settle(w.r);
		ck_assert(call_ok(after));
	}
	world_end(&w);
}
END_TEST

START_TEST(moves_end_where_the_budget_ends)
{
	struct rig *r = rig_demo(BOTH, TURNS, NULL);
	struct provider *p[2] = {provider_new(r, ONE, RESETS), provider_new(r, TWO, RESETS)};
	struct caller *a = caller_new(r, DOOR);

	p[0]->act.code = p[1]->act.code = H2_REFUSED_STREAM;
	for (int i = 0; i < 1500; i++) {
		struct call *c = call_unary(a, DEMO, NULL);
		rig_settle(r);
		ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	}
	ck_assert_uint_gt(rig_stat(r, STAT_RETRY_BUDGET_EMPTY), 0);
	/* 1000 in the beginning, and a fifth of one a call. */
	ck_assert_uint_le(rig_stat(r, STAT_MOVED), 1000 + 300);
	ck_assert_uint_ge(rig_stat(r, STAT_MOVED), 1000);
	rig_free(&r);
}
END_TEST

/* As behind a machine that stood still for some seconds: much is on its way, and the cluster has carried nothing before. */
START_TEST(all_that_a_young_cluster_has_in_flight_at_a_provider_that_dies_goes_on_at_another_one)
{
	enum { CALLS = 700 };
	struct world w = world(HOLDS, "    retries: {max: 2, on: [reset, connect-failure]}\n");
	struct call *c[CALLS];

	w.p[1]->act.does = HOLDS;
	for (int i = 0; i < CALLS; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p[0]->requests, CALLS / 2);
	w.p[1]->act.does = ECHOES;
	provider_listen(w.p[0], false);
	provider_cut(w.p[0]);
	rig_advance(w.r, 2000);
	uint32_t answered = 0;
	for (int i = 0; i < CALLS; i++) {
		ck_assert_msg(!c[i]->ends || call_ok(c[i]), "call %d: %d %s", i, c[i]->grpc, call_text(c[i]));
		answered += c[i]->ends;
	}
	ck_assert_uint_eq(answered, CALLS / 2); /* what the other one holds it holds on */
	ck_assert_uint_eq(rig_stat(w.r, STAT_RETRY_BUDGET_EMPTY), 0);
	world_end(&w);
}
END_TEST

START_TEST(a_status_is_retried_only_where_policy_says_so)
{
	static const struct { const char *policy; const char *head; int status, grpc; bool plain, retried; } rows[] = {
		{"", "", 200, 14, false, true},
		{"", "", 200, 1, false, true},
		{"", "", 200, 13, false, false},
		{"    retries: {max: 0}\n", "", 200, 14, false, false},
		{"    retries: {max: 1}\n", "", 200, 14, false, true},
		{"    retries: {max: 1, on: [connect-failure]}\n", "", 200, 14, false, false},
		{"    retries: {max: 1}\n", "tri-exception-code: 1\n", 200, 14, false, false},
		{"    retries: {max: 1}\n", "", 200, 13, false, false},
		{"    retries: {max: 1, on: [internal]}\n", "", 200, 13, false, true},
		{"    retries: {max: 1, on: [resource-exhausted]}\n", "", 200, 8, false, true},
		{"    retries: {max: 1, on: [deadline-exceeded]}\n", "", 200, 4, false, true},
		{"    retries: {max: 1, on: [cancelled]}\n", "", 200, 1, false, true},
		{"    retries: {max: 1, on: [5xx]}\n", "", 500, 0, true, true},
		{"    retries: {max: 1, on: [gateway-error]}\n", "", 500, 0, true, false},
		{"    retries: {max: 1, on: [gateway-error]}\n", "", 503, 0, true, true},
		{"    retries: {max: 1, on: [retriable-4xx]}\n", "", 409, 0, true, true},
		{"    retries: {max: 1, statuses: [418]}\n", "", 418, 0, true, true},
		{"    retries: {max: 1, statuses: [418]}\n", "", 419, 0, true, false},
		{"    retries: {max: 1, statuses: [404]}\n", "", 404, 12, false, true},
		{"    retries: {max: 1, statuses: [404]}\n", "", 200, 12, false, false},
		{"    retries: {max: 1, statuses: [404]}\n", "tri-exception-code: 1\n", 404, 12, false, false},
		{"    retries: {max: 0, on: [5xx]}\n", "", 500, 0, true, false},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(rows[i].plain ? PLAIN : TRAILERS_ONLY, rows[i].policy);
		w.p[0]->act.head = rows[i].head;
		w.p[0]->act.status = rows[i].status;
		w.p[0]->act.grpc = rows[i].grpc;
		struct call *c = rows[i].plain ? call_plain(w.a, "GET", DEMO, "/x", NULL, true) : call_unary(w.a, DEMO, NULL);
		rig_advance(w.r, 1000);
		ck_assert_msg(w.p[1]->requests == rows[i].retried, "row %zu", i);
		ck_assert_uint_eq(c->ends, 1);
		ck_assert_msg((rows[i].plain ? c->status == 200 : c->grpc == 0) == rows[i].retried, "row %zu", i);
		ck_assert_uint_eq(rig_stat(w.r, STAT_RETRIES), rows[i].retried);
		world_end(&w);
	}
}
END_TEST

START_TEST(envoys_headers_ask_for_retries_where_the_caller_is_trusted)
{
	for (int trusted = 0; trusted < 2; trusted++) {
		struct rig *r = rig_new(trusted ? "apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\nservices: [{name: \"" DEMO "\", lb: round_robin, retries: {max: 0}, endpoints: [\"" ONE "\", \"" TWO "\"]}]\n"
			: "apps: [{name: shop, listen: [{unix: /run/shop.sock, trusted: false}]}]\nservices: [{name: \"" DEMO "\", lb: round_robin, retries: {max: 0}, endpoints: [\"" ONE "\", \"" TWO "\"]}]\n");
		struct provider *p[2] = {provider_new(r, ONE, TRAILERS_ONLY), provider_new(r, TWO, ECHOES)};
		struct caller *a = caller_new(r, DOOR);
		p[0]->act.grpc = 14;
		struct call *c = call_unary(a, DEMO, "x-envoy-retry-grpc-on: unavailable\nx-envoy-max-retries: 3\n");
		rig_advance(r, 1000);
		ck_assert_int_eq(c->grpc, trusted ? 0 : 14);
		ck_assert_ptr_null(served_field(provider_last(p[0]), "x-envoy-retry-grpc-on"));
		ck_assert_uint_eq(p[1]->requests, trusted);
		rig_free(&r);
	}
}
END_TEST

START_TEST(each_of_envoys_retry_headers_is_obeyed_and_goes_no_further)
{
	static const struct { enum does first; int status, grpc; const char *policy, *ask; bool retried; } rows[] = {
		{PLAIN, 500, 0, "    retries: {max: 0}\n", "x-envoy-retry-on: 5xx\n", true},
		{PLAIN, 500, 0, "    retries: {max: 0}\n", "x-envoy-retry-on: gateway-error\n", false},
		{PLAIN, 503, 0, "    retries: {max: 0}\n", "x-envoy-retry-on: connect-failure, gateway-error\n", true},
		{PLAIN, 409, 0, "", "x-envoy-retry-on: retriable-4xx\n", true},
		{PLAIN, 500, 0, "", "x-envoy-retry-on: whatever-comes,retriable-headers\n", false},
		{PLAIN, 500, 0, "", "x-envoy-retry-on: 5xx\nx-envoy-max-retries: 0\n", false},
		{PLAIN, 418, 0, "", "x-envoy-retry-on: retriable-status-codes\nx-envoy-retriable-status-codes: 404, 418\n", true},
		{PLAIN, 418, 0, "", "x-envoy-retry-on: retriable-status-codes\nx-envoy-retriable-status-codes: 404\n", false},
		{PLAIN, 418, 0, "", "x-envoy-retriable-status-codes: 418\n", false},
		{TRAILERS_ONLY, 200, 13, "", "x-envoy-retry-grpc-on: cancelled,internal\n", true},
		{TRAILERS_ONLY, 200, 13, "", "x-envoy-retry-on: internal\n", false},
		{TRAILERS_ONLY, 200, 14, "", "x-envoy-max-retries: 0\n", false},
		{HOLDS, 200, 0, "", "x-envoy-retry-on: 5xx\nx-envoy-upstream-rq-per-try-timeout-ms: 50\n", true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(rows[i].first, rows[i].policy);
		w.p[0]->act.status = rows[i].status;
		w.p[0]->act.grpc = rows[i].grpc;
		struct call *c = rows[i].first == PLAIN ? call_plain(w.a, "GET", DEMO, "/x", rows[i].ask, true) : call_unary(w.a, DEMO, rows[i].ask);
		rig_advance(w.r, 1000);
		ck_assert_msg(w.p[0]->requests == 1 && w.p[1]->requests == rows[i].retried, "row %zu", i);
		ck_assert_uint_eq(c->ends, 1);
		ck_assert_msg((rows[i].first == PLAIN ? c->status == 200 : c->grpc == 0) == rows[i].retried, "row %zu", i);
		ck_assert_uint_eq(rig_stat(w.r, STAT_RETRIES), rows[i].retried);
		for (int k = 0; k <= rows[i].retried; k++) {
			const struct served *s = provider_last(w.p[k]);
			ck_assert_ptr_null(served_field(s, "x-envoy-retry-on"));
			ck_assert_ptr_null(served_field(s, "x-envoy-max-retries"));
			ck_assert_ptr_null(served_field(s, "x-envoy-retriable-status-codes"));
			ck_assert_ptr_null(served_field(s, "x-envoy-upstream-rq-per-try-timeout-ms"));
		}
		if (rows[i].first == HOLDS)
			ck_assert_uint_eq(provider_last(w.p[0])->ended_ns - provider_last(w.p[0])->begun_ns, 50 * MS);
		world_end(&w);
	}
}
END_TEST

START_TEST(a_retry_waits_for_its_back_off)
{
	struct world w = world(TRAILERS_ONLY, "    retries: {max: 3, on: [unavailable], backoff: {base: 100ms, max: 200ms}}\n");

	w.p[0]->act.grpc = w.p[1]->act.grpc = 14;
	w.p[1]->act.does = TRAILERS_ONLY;
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_eq(w.p[0]->requests + w.p[1]->requests, 1);
	rig_advance(w.r, 600);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_int_eq(c->grpc, 14);
	ck_assert_uint_le(c->ended_ns - c->begun_ns, 100 * MS + 200 * MS + 200 * MS);
	world_end(&w);
}
END_TEST

START_TEST(a_per_try_timeout_gives_the_next_provider_a_chance)
{
	struct world w = world(HOLDS, "    retries: {max: 1, on: [5xx], per_try_timeout: 50ms}\n");
	struct call *c = call_unary(w.a, DEMO, NULL);

	rig_advance(w.r, 49);
	ck_assert(!provider_last(w.p[0])->ended);
	rig_advance(w.r, 1000);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_uint_eq(provider_last(w.p[0])->end.h2_code, H2_CANCEL);
	ck_assert_uint_eq(provider_last(w.p[0])->ended_ns - provider_last(w.p[0])->begun_ns, 50 * MS);
	world_end(&w);
}
END_TEST

START_TEST(a_connection_lost_before_the_answer_is_not_tried_again_without_a_policy)
{
	struct world w = world(CRASHES, NULL);
	struct call *c = call_unary(w.a, DEMO, NULL);

	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(w.p[0]->requests + w.p[1]->requests, 1);
	ck_assert_ptr_nonnull(strstr(call_text(c), "lost"));
	world_end(&w);
}
END_TEST

START_TEST(a_connection_lost_in_the_answer_ends_the_call_as_unavailable)
{
	struct world w = world(CRASHES_LATE, NULL);
	struct call *c = call_unary(w.a, DEMO, NULL);

	w.p[0]->act.bytes = 10;
	rig_advance(w.r, 10);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_gt(c->bytes, 0);
	world_end(&w);
}
END_TEST

START_TEST(garbage_of_a_provider_hurts_only_the_calls_on_that_connection)
{
	struct rig *r = rig_demo(BOTH, TURNS, NULL);
	struct raw *raw = raw_provider(r, ONE);
	struct provider *p = provider_new(r, TWO, HOLDS);
	struct caller *a = caller_new(r, DOOR);
	struct call *c[2] = {call_unary(a, DEMO, NULL), call_unary(a, DEMO, NULL)};

	rig_settle(r);
	raw_frame(raw->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
	rig_settle(r);
	raw_text(raw->accepted[0], "HTTP/1.1 400 Bad Request\r\n\r\nwhat do you want from me?");
	rig_settle(r);
	int lost = c[0]->ends ? 0 : 1;
	ck_assert_uint_eq(c[lost]->ends, 1);
	ck_assert_int_eq(c[lost]->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(c[!lost]->ends, 0);
	served_answer(provider_last(p));
	rig_settle(r);
	ck_assert(call_ok(c[!lost]));
	rig_free(&r);
}
END_TEST

UNIT_SUITE("moves", a_refused_stream_moves_to_another_provider_unseen, a_connect_that_is_refused_moves_the_call,
	a_connect_that_hangs_moves_the_call_when_its_time_is_over, what_was_sent_is_sent_again_byte_by_byte,
	a_call_that_sent_more_than_replay_bytes_is_unavailable_when_refused, what_comes_while_a_moved_call_waits_for_its_connection_is_not_lost,
	streams_beyond_the_last_id_of_a_goaway_move_and_the_others_go_on, a_provider_that_stops_with_grace_loses_no_call,
	a_killed_provider_fails_only_what_was_in_flight_and_nothing_runs_twice, moves_end_where_the_budget_ends,
	all_that_a_young_cluster_has_in_flight_at_a_provider_that_dies_goes_on_at_another_one,
	a_status_is_retried_only_where_policy_says_so, envoys_headers_ask_for_retries_where_the_caller_is_trusted, each_of_envoys_retry_headers_is_obeyed_and_goes_no_further, a_retry_waits_for_its_back_off,
	a_per_try_timeout_gives_the_next_provider_a_chance, a_connection_lost_before_the_answer_is_not_tried_again_without_a_policy,
	a_connection_lost_in_the_answer_ends_the_call_as_unavailable, garbage_of_a_provider_hurts_only_the_calls_on_that_connection)
