/* Calls of all shapes go through and come back as they were: relaying, half-close, early answers, trailers, cancellation both ways. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdlib.h>

#define ONE "10.0.0.1:50051"

struct world { struct rig *r; struct provider *p; struct caller *a; };

static struct world world(enum does does)
{
	struct world w = {.r = rig_demo(ONE, NULL, NULL)};

	w.p = provider_new(w.r, ONE, does);
	w.a = caller_new(w.r, DOOR);
	return w;
}

static void world_end(struct world *w)
{
	ck_assert_uint_eq(w->a->goaways, 0);
	rig_free(&w->r);
}

START_TEST(a_unary_call_reaches_its_provider_and_its_answer_comes_back)
{
	struct world w = world(ECHOES);
	struct call *c = call_unary(w.a, DEMO, "x-attachment: v1\ntoken-bin: AAECAw==\n");

	rig_settle(w.r);
	ck_assert_msg(call_ok(c), "cause %d status %d grpc %d %s", c->end.cause, c->status, c->grpc, call_text(c));
	ck_assert_uint_eq(c->bytes, 10);
	ck_assert(memcmp(c->data.p, "\0\0\0\0\5hello", 10) == 0);
	ck_assert_uint_eq(w.p->requests, 1);
	struct served *s = provider_last(w.p);
	ck_assert_str_eq(served_field(s, ":authority"), DEMO);
	ck_assert_str_eq(served_field(s, ":path"), PATH);
	ck_assert_str_eq(served_field(s, "x-attachment"), "v1");
	ck_assert_str_eq(served_field(s, "token-bin"), "AAECAw==");
	ck_assert_str_eq(served_field(s, "te"), "trailers");
	ck_assert(s->fin && s->end.cause == END_DONE);
	world_end(&w);
}
END_TEST

START_TEST(a_client_stream_arrives_whole_and_in_order)
{
	struct world w = world(ANSWERS);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	for (int i = 0; i < 300; i++) {
		call_fill(c, 1 + (size_t)(i * 97) % 5000, false);
		if (i % 7 == 0)
			rig_settle(w.r);
	}
	call_fill(c, 0, true);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(provider_last(w.p)->bytes, c->sent);
	ck_assert_uint_eq(provider_last(w.p)->hash, c->sent_hash);
	world_end(&w);
}
END_TEST

START_TEST(a_server_stream_arrives_whole_and_in_order)
{
	struct world w = world(HOLDS);
	struct call *c = call_unary(w.a, DEMO, NULL);
	uint64_t expected = 0;

	rig_settle(w.r);
	struct served *s = provider_last(w.p);
	served_head(s, 200, "content-type: application/grpc\n", false);
	for (int i = 0; i < 100; i++) {
		served_fill(s, 10000, false);
		expected += 10000;
		if (i % 9 == 0)
			rig_settle(w.r);
	}
	served_trailers(s, 0, NULL);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->bytes, expected);
	struct call *back = call_begin(w.a, DEMO, PATH, NULL, false); /* the same pattern, hashed by the sender */
	call_fill(back, expected, false);
	ck_assert_uint_eq(c->hash, back->sent_hash);
	call_cancel(back);
	world_end(&w);
}
END_TEST

START_TEST(a_conversation_goes_both_ways_at_once)
{
	struct world w = world(ECHOES);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	for (int i = 0; i < 50; i++) {
		call_fill(c, 777, false);
		rig_settle(w.r);
		ck_assert_uint_eq(c->bytes, c->sent); /* each message is answered before the next is asked */
		ck_assert(!c->fin);
	}
	call_fill(c, 0, true);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->hash, c->sent_hash);
	world_end(&w);
}
END_TEST

START_TEST(a_megabyte_each_way_arrives_byte_by_byte_the_same)
{
	struct world w = world(ECHOES);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	call_fill(c, 1 << 20, true);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->bytes, 1 << 20);
	ck_assert_uint_eq(c->hash, c->sent_hash);
	world_end(&w);
}
END_TEST

START_TEST(trailers_only_stays_trailers_only)
{
	struct world w = world(TRAILERS_ONLY);

	w.p->act.grpc = 5;
	w.p->act.head = "grpc-message: not here\n";
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_uint_eq(c->heads, 1);
	ck_assert_uint_eq(c->trailers.n, 0);
	ck_assert_int_eq(c->grpc, 5);
	ck_assert_str_eq(call_text(c), "not here");
	world_end(&w);
}
END_TEST

START_TEST(an_early_answer_ends_the_call_and_tells_the_app_to_stop_sending)
{
	struct world w = world(ANSWERS_EARLY);
	struct call *c;

	w.p->act.bytes = 100;
	c = call_begin(w.a, DEMO, PATH, NULL, false);
	call_fill(c, 1000, false);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(c->bytes, 105);
	ck_assert(provider_last(w.p)->ended);
	world_end(&w);
}
END_TEST

START_TEST(after_an_early_answer_the_app_sees_rst_no_error_on_the_wire)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ANSWERS_EARLY);
	struct raw *w = raw_new(r, DOOR);

	raw_preface(w);
	raw_headers(w, 1, raw_request, false);
	rig_settle(r);
	ck_assert_uint_eq(p->requests, 1);
	ck_assert_uint_eq(raw_count(w, F_HEADERS, 1), 2);
	ck_assert_uint_eq(raw_code(w, 1), H2_NO_ERROR);
	ck_assert_uint_eq(raw_count(w, F_GOAWAY, -1), 0);
	raw_frame(w, F_DATA, FL_END_STREAM, 1, "late", 4); /* on its way when the reset came: no offence */
	raw_headers(w, 3, raw_request, true);
	rig_settle(r);
	ck_assert_uint_eq(p->requests, 2);
	ck_assert(!w->eof);
	rig_free(&r);
}
END_TEST

START_TEST(the_request_may_end_long_before_its_answer_begins)
{
	struct world w = world(HOLDS);
	struct call *c = call_unary(w.a, DEMO, NULL);

	rig_advance(w.r, 3600 * 1000);
	ck_assert_uint_eq(c->ends, 0);
	ck_assert(provider_last(w.p)->fin);
	served_answer(provider_last(w.p));
	rig_settle(w.r);
	ck_assert(call_ok(c));
	world_end(&w);
}
END_TEST

START_TEST(request_trailers_reach_the_provider)
{
	struct world w = world(ECHOES);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	call_fill(c, 10, false);
	call_trailers(c, "x-checksum: 42\n");
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_str_eq(served_field(provider_last(w.p), "x-checksum"), "42");
	world_end(&w);
}
END_TEST

START_TEST(request_trailers_sent_before_a_connection_stands_reach_the_provider_too)
{
	struct world w = world(ECHOES);
	struct call *c;

	simnet_knobs(w.r->net)->latency_ns = 10 * MS;
	c = call_begin(w.a, DEMO, PATH, NULL, false);
	call_fill(c, 10, false);
	call_trailers(c, "x-checksum: 42\n");
	rig_advance(w.r, 1000);
	ck_assert_msg(call_ok(c), "%d %d %d %s", c->end.cause, c->status, c->grpc, call_text(c));
	ck_assert_uint_eq(provider_last(w.p)->bytes, 10);
	ck_assert_str_eq(served_field(provider_last(w.p), "x-checksum"), "42");
	world_end(&w);
}
END_TEST

START_TEST(an_app_that_cancels_is_seen_by_the_provider_at_once)
{
	struct world w = world(HEAD_ONLY);
	struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);

	rig_settle(w.r);
	ck_assert_uint_eq(c->heads, 1);
	call_cancel(c);
	rig_settle(w.r); /* no time passes */
	struct served *s = provider_last(w.p);
	ck_assert(s->ended);
	ck_assert_int_eq(s->end.cause, END_RESET);
	ck_assert_uint_eq(s->end.h2_code, H2_CANCEL);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_ACTIVE), 0);
	ck_assert_uint_eq(provider_conns(w.p), 1);
	world_end(&w);
}
END_TEST

START_TEST(an_app_that_dies_cancels_all_its_calls)
{
	struct world w = world(HOLDS);

	for (int i = 0; i < 20; i++)
		call_begin(w.a, DEMO, PATH, NULL, false);
	rig_settle(w.r);
	caller_close(w.a);
	rig_settle(w.r);
	ck_assert_uint_eq(w.p->requests, 20);
	ck_assert_uint_eq(w.p->cancelled, 20);
	ck_assert_uint_eq(w.p->open, 0);
	world_end(&w);
}
END_TEST

START_TEST(a_provider_that_resets_before_its_answer_is_unavailable_to_the_app)
{
	struct world w = world(RESETS);

	w.p->act.code = H2_INTERNAL_ERROR;
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(call_text(c), "reset"));
	ck_assert_uint_eq(w.p->requests, 1);
	world_end(&w);
}
END_TEST

START_TEST(a_provider_that_resets_in_its_answer_ends_a_grpc_call_with_trailers)
{
	struct world w = world(RESETS_LATE);

	w.p->act.code = H2_INTERNAL_ERROR;
	w.p->act.bytes = 100;
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_uint_eq(c->bytes, 105);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	world_end(&w);
}
END_TEST

START_TEST(a_provider_that_resets_in_its_answer_ends_a_plain_call_with_a_reset)
{
	struct world w = world(RESETS_LATE);

	w.p->act.code = H2_INTERNAL_ERROR;
	struct call *c = call_plain(w.a, "GET", DEMO, "/page", NULL, true);
	rig_advance(w.r, 10);
	ck_assert_int_eq(c->end.cause, END_RESET);
	ck_assert_int_eq(c->status, 200);
	world_end(&w);
}
END_TEST

START_TEST(both_sides_may_give_up_in_the_same_turn)
{
	for (int n = 0; n < 2; n++) {
		struct world w = world(HEAD_ONLY);
		struct call *c = call_begin(w.a, DEMO, PATH, NULL, false);
		rig_settle(w.r);
		if (n)
			served_reset(provider_last(w.p), H2_CANCEL);
		call_cancel(c);
		if (!n)
			served_reset(provider_last(w.p), H2_CANCEL);
		rig_settle(w.r);
		ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_ACTIVE), 0);
		struct call *again = call_begin(w.a, DEMO, PATH, NULL, true);
		rig_settle(w.r);
		ck_assert_uint_eq(again->heads, 1);
		world_end(&w);
	}
}
END_TEST

START_TEST(alt_svc_and_closing_are_not_relayed_but_te_and_raw_utf8_are)
{
	struct world w = world(ECHOES);

	w.p->act.head = "alt-svc: h2=\":1\"\nclosing: true\nte: trailers\nx-other: stays\n";
	w.p->act.trailers = "grpc-message: zażółć 你好\ntri-status-bin: AAA=\n";
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_ptr_null(call_field(c, "alt-svc"));
	ck_assert_ptr_null(call_field(c, "closing"));
	ck_assert_str_eq(call_field(c, "te"), "trailers");
	ck_assert_str_eq(call_field(c, "x-other"), "stays");
	ck_assert_str_eq(call_field(c, "grpc-message"), "zażółć 你好");
	ck_assert_str_eq(call_field(c, "tri-status-bin"), "AAA=");
	world_end(&w);
}
END_TEST

START_TEST(informational_answers_of_a_provider_are_swallowed)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct raw *p = raw_provider(r, ONE), *w = raw_new(r, DOOR);

	raw_preface(w);
	raw_headers(w, 1, raw_request, true);
	rig_settle(r);
	ck_assert_uint_eq(p->naccepted, 1);
	raw_frame(p->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
	rig_settle(r);
	raw_headers(p->accepted[0], 1, ":status: 103\nlink: x\n", false);
	raw_headers(p->accepted[0], 1, ":status: 100\n", false);
	raw_headers(p->accepted[0], 1, ":status: 200\ncontent-type: application/grpc\n", false);
	raw_headers(p->accepted[0], 1, "grpc-status: 0\n", true);
	rig_settle(r);
	ck_assert_uint_eq(raw_count(w, F_HEADERS, 1), 2);
	ck_assert_uint_eq(rig_stat(r, STAT_H2_INFORMATIONAL), 2);
	rig_free(&r);
}
END_TEST

START_TEST(header_lists_of_thirty_kibibytes_pass_both_ways)
{
	struct world w = world(ECHOES);
	struct sb big = {0};

	sb_str(&big, "x-big: ");
	for (int i = 0; i < 30000; i++)
		sb_char(&big, (char)('a' + i % 26));
	sb_char(&big, '\n');
	w.p->act.head = NULL;
	struct call *c = call_unary(w.a, DEMO, big.p);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(strlen(served_field(provider_last(w.p), "x-big")), 30000);
	w.p->act.does = HOLDS;
	c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	served_head(provider_last(w.p), 200, big.p, false);
	served_trailers(provider_last(w.p), 0, big.p);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(strlen(call_field(c, "x-big")), 30000);
	sb_end(&big);
	world_end(&w);
}
END_TEST

START_TEST(a_business_exception_is_relayed_as_it_came)
{
	struct world w = world(TRAILERS_ONLY);

	w.p->act.grpc = 13;
	w.p->act.head = "tri-exception-code: 102\ngrpc-message: boom\n";
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, 13);
	ck_assert_str_eq(call_field(c, "tri-exception-code"), "102");
	ck_assert_uint_eq(w.p->requests, 1);
	world_end(&w);
}
END_TEST

START_TEST(a_head_request_has_its_answer_without_a_body)
{
	struct world w = world(PLAIN);

	w.p->act.head = "content-length: 500\n";
	struct call *c = call_plain(w.a, "HEAD", DEMO, "/page", NULL, true);
	rig_settle(w.r);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_int_eq(c->status, 200);
	ck_assert_str_eq(call_field(c, "content-length"), "500");
	world_end(&w);
}
END_TEST

START_TEST(two_hundred_calls_and_a_hundred_and_fifty_watches_fit_one_connection)
{
	struct world w = world(HEAD_ONLY);
	struct call *watch[150], *call[200];

	for (int i = 0; i < 150; i++)
		watch[i] = call_begin(w.a, DEMO, "/org.x.Events/Watch", NULL, true); /* grpc.health.v1 is answered here: test_grpc_health.c */
	rig_settle(w.r);
	w.p->act.does = ECHOES;
	for (int i = 0; i < 200; i++)
		call[i] = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	for (int i = 0; i < 200; i++)
		ck_assert(call_ok(call[i]));
	for (int i = 0; i < 150; i++) {
		ck_assert_uint_eq(watch[i]->heads, 1);
		ck_assert_uint_eq(watch[i]->ends, 0);
	}
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_advance(w.r, 3600 * 1000);
	ck_assert_uint_eq(watch[149]->ends, 0);
	world_end(&w);
}
END_TEST

START_TEST(settings_may_change_in_the_middle_of_a_stream)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct raw *w = raw_new(r, DOOR);
	struct frame f;
	size_t got = 0;

	raw_preface(w);
	raw_frame(w, F_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6); /* INITIAL_WINDOW_SIZE 0 */
	raw_headers(w, 1, raw_request, true);
	rig_settle(r);
	served_head(provider_last(p), 200, "content-type: application/grpc\n", false);
	served_fill(provider_last(p), 1000, false);
	served_trailers(provider_last(p), 0, NULL);
	rig_settle(r);
	ck_assert_uint_eq(raw_count(w, F_DATA, 1), 0);
	raw_frame(w, F_SETTINGS, 0, 0, "\0\4\0\0\1\54", 6); /* 300 */
	rig_settle(r);
	while (raw_next(w, &f))
		if (f.type == F_DATA)
			got += f.n;
	ck_assert_uint_eq(got, 300);
	raw_frame(w, F_SETTINGS, 0, 0, "\0\4\0\0\377\377", 6);
	rig_settle(r);
	while (raw_next(w, &f))
		if (f.type == F_DATA)
			got += f.n;
	ck_assert_uint_eq(got, 1000);
	ck_assert_uint_eq(raw_count(w, F_HEADERS, 1), 2);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("relay", a_unary_call_reaches_its_provider_and_its_answer_comes_back, a_client_stream_arrives_whole_and_in_order,
	a_server_stream_arrives_whole_and_in_order, a_conversation_goes_both_ways_at_once, a_megabyte_each_way_arrives_byte_by_byte_the_same,
	trailers_only_stays_trailers_only, an_early_answer_ends_the_call_and_tells_the_app_to_stop_sending,
	after_an_early_answer_the_app_sees_rst_no_error_on_the_wire, the_request_may_end_long_before_its_answer_begins, request_trailers_reach_the_provider,
	request_trailers_sent_before_a_connection_stands_reach_the_provider_too, an_app_that_cancels_is_seen_by_the_provider_at_once,
	an_app_that_dies_cancels_all_its_calls, a_provider_that_resets_before_its_answer_is_unavailable_to_the_app,
	a_provider_that_resets_in_its_answer_ends_a_grpc_call_with_trailers, a_provider_that_resets_in_its_answer_ends_a_plain_call_with_a_reset,
	both_sides_may_give_up_in_the_same_turn, alt_svc_and_closing_are_not_relayed_but_te_and_raw_utf8_are,
	informational_answers_of_a_provider_are_swallowed, header_lists_of_thirty_kibibytes_pass_both_ways, a_business_exception_is_relayed_as_it_came,
	a_head_request_has_its_answer_without_a_body, two_hundred_calls_and_a_hundred_and_fifty_watches_fit_one_connection,
	settings_may_change_in_the_middle_of_a_stream)
