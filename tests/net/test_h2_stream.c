/* net/h2_stream, both roles talking to each other: the stream contract, its order, its windows and its ends. */
#include "tests/net/h2rig.h"
#include "tests/unit.h"
#include <errno.h>

static const char ok_head[] = ":status: 200\ncontent-type: application/grpc\n";

START_TEST(a_call_goes_over_and_comes_back_with_each_event_once)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);

	r->on_request = h2_answer;
	ck_assert_uint_eq(c->ups, 1);
	struct h2_talk *t = h2_talk_open(c, NULL, true);
	h2_rig_run(r, 0);
	ck_assert_str_eq(h2_talk_words(t), "head data trailers end:done");
	ck_assert_str_eq(h2_talk_words(h2_talk_of(r->server, 0)), "head fin sent end:done");
	ck_assert_uint_eq(t->got, 5);
	ck_assert_uint_eq(h2_talk_of(r->server, 0)->how.bytes_sent, 5);
	ck_assert_uint_eq(h2_conn_streams(c->h2), 0);
	ck_assert_uint_eq(h2_conn_streams(r->server->h2), 0);
	h2_rig_free(&r);
}
END_TEST

START_TEST(all_shapes_end_as_done_on_both_sides)
{
	static const struct { bool head_fin, body, trailers, answer_head_fin, answer_body, answer_trailers; } rows[] = {
		{true, false, false, true, false, false},   /* nothing but heads */
		{true, false, false, false, true, false},
		{true, false, false, false, false, true},
		{true, false, false, false, true, true},
		{false, true, false, true, false, false},
		{false, true, false, false, true, true},
		{false, true, true, false, true, true},
		{false, false, true, false, false, true},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct h2_rig *r = h2_rig_new();
		struct h2_end *c = h2_rig_client(r);
		struct h2_talk *t = h2_talk_open(c, NULL, rows[i].head_fin);

		if (rows[i].body)
			h2_talk_fill(t, 70000, !rows[i].trailers);
		if (rows[i].trailers)
			h2_talk_trailers(t, "x-end: 1\n");
		h2_rig_run(r, 0);
		struct h2_talk *s = h2_talk_of(r->server, 0);
		ck_assert_msg(s && s->fin && s->s, "row %zu", i);
		h2_talk_head(s, ok_head, rows[i].answer_head_fin);
		if (rows[i].answer_body)
			h2_talk_fill(s, 90000, !rows[i].answer_trailers);
		if (rows[i].answer_trailers)
			h2_talk_trailers(s, "grpc-status: 0\n");
		h2_rig_run(r, 0);
		ck_assert_msg(t->ends == 1 && t->how.cause == END_DONE && t->fin && t->heads == 1, "row %zu: %s", i, h2_talk_words(t));
		ck_assert_msg(s->ends == 1 && s->how.cause == END_DONE, "row %zu: %s", i, h2_talk_words(s));
		ck_assert_uint_eq(s->got, rows[i].body ? 70000 : 0);
		ck_assert_uint_eq(t->got, rows[i].answer_body ? 90000 : 0);
		ck_assert(h2_talk_pattern(s) && h2_talk_pattern(t));
		ck_assert_uint_eq(t->sent, s->got);
		ck_assert_uint_eq(s->sent, t->got);
		ck_assert_uint_eq(s->trailers.n > 0, rows[i].trailers);
		ck_assert_uint_eq(t->trailers.n > 0, rows[i].answer_trailers);
		h2_rig_free(&r);
	}
}
END_TEST

START_TEST(sent_is_told_for_what_the_kernel_took_and_not_before)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t = h2_talk_open(c, NULL, false);

	h2_rig_run(r, 0);
	simnet_stall(r->server->sock, true); /* reads nothing: the kernel's 64 KiB fill up */
	h2_talk_fill(t, 200000, false);
	h2_rig_run(r, 0);
	ck_assert_uint_gt(t->sent, 30000);
	ck_assert_uint_le(t->sent, 65536);
	simnet_stall(r->server->sock, false);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(t->sent, 200000);
	struct h2_talk *s = h2_talk_of(r->server, 0);
	ck_assert_uint_eq(s->got, 200000);
	ck_assert(h2_talk_pattern(s));
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_kernel_that_takes_a_byte_at_a_time_changes_nothing)
{
	static const uint32_t rooms[] = {1, 2, 7, 8, 9, 10, 100, 4099};
	for (size_t i = 0; i < UNIT_COUNT(rooms); i++) {
		struct h2_rig *r = h2_rig_new();
		simnet_knobs(r->net)->capacity = rooms[i];
		struct h2_end *c = h2_rig_client(r);
		h2_rig_run(r, 0);
		struct h2_talk *t = h2_talk_open(c, NULL, false);
		h2_talk_fill(t, 3000, false);
		h2_talk_fill(t, 9000, false); /* above what is copied: by reference */
		h2_talk_trailers(t, "x-end: 1\n");
		h2_rig_run(r, 1);
		struct h2_talk *s = h2_talk_of(r->server, 0);
		ck_assert_msg(s && s->fin, "%u bytes at a time", rooms[i]);
		ck_assert_uint_eq(s->got, 12000);
		ck_assert(h2_talk_pattern(s));
		h2_answer(s);
		h2_rig_run(r, 1);
		ck_assert_str_eq(h2_talk_words(t), "sent head data trailers end:done");
		ck_assert_uint_eq(t->sent, 12000);
		ck_assert_uint_eq(s->sent, 5);
		ck_assert_int_eq(s->how.cause, END_DONE);
		h2_rig_free(&r);
	}
}
END_TEST

START_TEST(a_stream_that_gets_no_credit_stops_at_its_window_and_the_others_go_on)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *slow = h2_talk_open(c, NULL, false), *fast = h2_talk_open(c, NULL, false);

	h2_rig_run(r, 0);
	struct h2_talk *slow_in = h2_talk_of(r->server, 0), *fast_in = h2_talk_of(r->server, 1);
	slow_in->hold = true;
	h2_talk_fill(slow, 3 << 20, false);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(slow_in->got, r->lim.window_down);
	ck_assert_uint_eq(slow->sent, r->lim.window_down);
	h2_talk_fill(fast, 5 << 20, true); /* five times the connection's window: it comes back at receipt */
	h2_rig_run(r, 0);
	ck_assert_uint_eq(fast_in->got, 5 << 20);
	ck_assert(fast_in->fin);
	ck_assert_uint_eq(slow_in->got, r->lim.window_down);
	h2_talk_credit(slow_in);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(slow_in->got, 3 << 20);
	ck_assert(h2_talk_pattern(slow_in));
	h2_rig_free(&r);
}
END_TEST

START_TEST(streams_that_die_uncredited_leave_the_connections_window_whole)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);

	for (int i = 0; i < 20; i++) { /* together five times the connection's window */
		struct h2_talk *t = h2_talk_open(c, NULL, false);
		h2_rig_run(r, 0);
		struct h2_talk *s = h2_talk_of(r->server, (uint32_t)i);
		s->hold = true;
		h2_talk_fill(t, 1 << 20, false);
		h2_rig_run(r, 0);
		ck_assert_uint_eq(s->got, r->lim.window_down);
		if (i & 1)
			h2_talk_reset(t, H2_CANCEL);
		else
			h2_talk_reset(s, H2_CANCEL);
		h2_rig_run(r, 0);
		ck_assert_uint_eq(i & 1 ? s->ends : t->ends, 1);
		ck_assert_int_eq((i & 1 ? s : t)->how.cause, END_RESET);
		ck_assert_uint_eq((i & 1 ? s : t)->how.h2_code, H2_CANCEL);
	}
	h2_rig_free(&r);
}
END_TEST

START_TEST(after_a_reset_nothing_is_told_not_even_within_the_event_that_made_it)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);

	r->on_request = h2_answer;
	struct h2_talk *at_head = h2_talk_open(c, NULL, true), *at_data = h2_talk_open(c, NULL, true), *whole = h2_talk_open(c, NULL, true);
	at_head->reset_at_head = true;
	at_data->reset_at_data = true;
	h2_rig_run(r, 0);
	ck_assert_str_eq(h2_talk_words(at_head), "head");
	ck_assert_str_eq(h2_talk_words(at_data), "head data");
	ck_assert_str_eq(h2_talk_words(whole), "head data trailers end:done");
	ck_assert_uint_eq(at_head->after + at_data->after, 0);
	ck_assert_uint_eq(h2_conn_streams(c->h2), 0);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_stream_reset_before_its_head_left_never_reaches_the_other_side)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);

	for (int i = 0; i < 50; i++)
		h2_talk_reset(h2_talk_open(c, NULL, i & 1), H2_CANCEL);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(h2_conn_streams(c->h2), 0);
	ck_assert_uint_eq(r->server->requests, 0);
	r->on_request = h2_answer;
	struct h2_talk *t = h2_talk_open(c, NULL, true);
	h2_rig_run(r, 0);
	ck_assert_int_eq(t->how.cause, END_DONE);
	h2_rig_free(&r);
}
END_TEST

START_TEST(an_early_answer_ends_the_call_as_done_and_the_upload_stops)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t = h2_talk_open(c, NULL, false);

	h2_rig_run(r, 0);
	struct h2_talk *s = h2_talk_of(r->server, 0);
	s->hold = true;
	h2_talk_fill(t, 2 << 20, false);
	h2_rig_run(r, 0);
	h2_answer(s);
	h2_rig_run(r, 0);
	ck_assert_int_eq(t->how.cause, END_DONE);
	ck_assert_int_eq(s->how.cause, END_DONE);
	ck_assert_uint_lt(t->sent, 2 << 20);
	ck_assert_uint_eq(h2_conn_streams(c->h2) + h2_conn_streams(r->server->h2), 0);
	t = h2_talk_open(c, NULL, true); /* the connection is as good as before */
	r->on_request = h2_answer;
	h2_rig_run(r, 0);
	ck_assert_int_eq(t->how.cause, END_DONE);
	h2_rig_free(&r);
}
END_TEST

START_TEST(both_sides_may_cancel_at_once)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);

	for (uint32_t i = 0; i < 30; i++) {
		struct h2_talk *t = h2_talk_open(c, NULL, false);
		h2_rig_run(r, 0);
		struct h2_talk *s = h2_talk_of(r->server, i);
		h2_talk_fill(t, 1000, false);
		h2_talk_reset(t, H2_CANCEL);
		h2_talk_reset(s, H2_CANCEL);
		h2_rig_run(r, 0);
		ck_assert_uint_eq(t->ends + s->ends, 0);
	}
	ck_assert(c->h2 && r->server->h2);
	ck_assert_uint_eq(h2_conn_streams(c->h2) + h2_conn_streams(r->server->h2), 0);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_byte_that_waits_does_not_hold_the_big_chunk_it_came_in)
{
	struct h2_rig *r = h2_rig_new();
	r->lim.window_down = 65535;
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t = h2_talk_open(c, NULL, false);

	h2_rig_run(r, 0);
	h2_talk_of(r->server, 0)->hold = true;
	h2_talk_fill(t, 65535, false); /* the window is used up */
	h2_rig_run(r, 0);
	size_t before = r->account.used;
	for (int i = 0; i < 100; i++) {
		struct chunk *big = chunk_new(&r->loop->bufs, NULL, CHUNK_BIG);
		struct chain one = CHAIN_INIT;
		chain_add(&one, big, big->data + i, 1);
		chunk_unref(big);
		stream_send_data(t->s, &one, false);
		h2_rig_run(r, 0);
	}
	ck_assert_uint_lt(r->account.used - before, 16384 + 100 * 2400);
	ck_assert_uint_gt(r->account.used - before, 99);
	h2_rig_free(&r);
}
END_TEST

START_TEST(no_more_streams_than_the_other_side_allows_and_room_is_told_when_one_ends)
{
	struct h2_rig *r = h2_rig_new();
	r->lim.streams_per_connection = 3;
	struct h2_end *c = h2_rig_client(r);

	ck_assert_uint_eq(h2_conn_room(c->h2), 3);
	struct h2_talk *t[3];
	for (int i = 0; i < 3; i++)
		t[i] = h2_talk_open(c, NULL, false);
	ck_assert_ptr_null(h2_talk_open(c, NULL, false));
	h2_rig_run(r, 0);
	ck_assert_uint_eq(r->server->requests, 3);
	uint32_t rooms = c->rooms;
	h2_talk_reset(t[1], H2_CANCEL);
	h2_rig_run(r, 0);
	ck_assert_uint_gt(c->rooms, rooms);
	ck_assert_uint_eq(h2_conn_room(c->h2), 1);
	h2_rig_free(&r);
}
END_TEST

START_TEST(ids_that_run_out_ask_for_a_replacement_while_the_last_streams_go_on)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t[16];
	uint32_t n = 0;

	h2_conn_set_ids(c->h2, 0x7fffffe1, 0x7ffffff1);
	while (n < 16 && (t[n] = h2_talk_open(c, NULL, false)))
		n++;
	ck_assert_uint_ge(n, 4);
	ck_assert_uint_lt(n, 16);
	ck_assert_uint_eq(c->goaways, 1);
	ck_assert_uint_eq(h2_conn_room(c->h2), 0);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(r->server->requests, n);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(c->closed, 0);
		h2_answer(h2_talk_of(r->server, i));
		h2_rig_run(r, 0);
		ck_assert_int_eq(t[i]->how.cause, END_DONE);
	}
	ck_assert_uint_eq(c->closed, 1);
	ck_assert_uint_eq(c->carried, n);
	h2_rig_free(&r);
}
END_TEST

static void note_ping(void *user, bool acked)
{
	*(int *)user += acked ? 1 : 100;
}

START_TEST(a_ping_is_answered_once_and_a_lost_connection_answers_it_too)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	int told = 0;

	ck_assert_int_eq(h2_conn_ping(c->h2, note_ping, &told), 0);
	ck_assert_int_eq(h2_conn_ping(c->h2, note_ping, &told), -EBUSY);
	h2_rig_run(r, 0);
	ck_assert_int_eq(told, 1);
	ck_assert_int_eq(h2_conn_ping(c->h2, note_ping, &told), 0);
	simnet_cut(c->sock, -ECONNRESET);
	h2_rig_run(r, 0);
	ck_assert_int_eq(told, 101);
	ck_assert_uint_eq(c->closed, 1);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_lost_connection_says_of_each_stream_whether_it_left)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *left = h2_talk_open(c, NULL, true);

	h2_rig_run(r, 0);
	struct h2_talk *not_left = h2_talk_open(c, NULL, true);
	simnet_fail_next(c->sock, -EPIPE);
	h2_rig_run(r, 0);
	ck_assert_int_eq(left->how.cause, END_LOST);
	ck_assert_int_eq(not_left->how.cause, END_UNPROCESSED);
	ck_assert_int_eq(h2_talk_of(r->server, 0)->how.cause, END_LOST);
	ck_assert_uint_eq(r->server->requests, 1);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_reader_that_drips_is_reset_when_too_little_moved_for_too_long)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t = h2_talk_open(c, NULL, true), *other = h2_talk_open(c, NULL, true);

	t->hold = true;
	h2_rig_run(r, 0);
	struct h2_talk *s = h2_talk_of(r->server, 0), *o = h2_talk_of(r->server, 1);
	h2_talk_head(s, ok_head, false);
	h2_talk_fill(s, 2 << 20, true);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(s->sent, r->lim.window_up);
	h2_rig_run(r, 59000); /* in the first 30 s a megabyte went, in the next nothing */
	ck_assert_uint_eq(s->ends, 0);
	h2_rig_run(r, 2000);
	ck_assert_int_eq(s->how.cause, END_LIMIT);
	ck_assert_int_eq(t->how.cause, END_RESET);
	h2_answer(o);
	h2_rig_run(r, 0);
	ck_assert_int_eq(other->how.cause, END_DONE);
	h2_rig_free(&r);
}
END_TEST

START_TEST(shedding_takes_the_stream_with_the_longest_queue)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct h2_talk *t[3];

	for (int i = 0; i < 3; i++)
		(t[i] = h2_talk_open(c, NULL, true))->hold = true;
	h2_rig_run(r, 0);
	ck_assert_uint_eq(h2_conn_shed(r->server->h2), 0);
	for (uint32_t i = 0; i < 3; i++) {
		struct h2_talk *s = h2_talk_of(r->server, i);
		h2_talk_head(s, ok_head, false);
		h2_talk_fill(s, (2u + (i == 1)) << 20, true);
	}
	h2_rig_run(r, 0);
	ck_assert_uint_eq(h2_conn_shed(r->server->h2), 2u << 20);
	h2_rig_run(r, 0);
	ck_assert_int_eq(h2_talk_of(r->server, 1)->how.cause, END_LIMIT);
	ck_assert_int_eq(t[1]->how.cause, END_RESET);
	ck_assert_uint_eq(t[0]->ends + t[2]->ends, 0);
	h2_rig_free(&r);
}
END_TEST

START_TEST(pieces_that_are_sealed_leave_as_frames_of_their_own_and_others_fill_frames)
{
	static const struct { uint32_t n, times; bool seal; uint32_t frames; } rows[] = {
		{5, 40, true, 40}, {5, 40, false, 1}, {3000, 10, true, 10}, {3000, 10, false, 2}, {20000, 2, true, 4},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct h2_rig *r = h2_rig_new();
		r->accept_raw = true;
		struct h2_end *c = h2_rig_client(r);
		struct sb settings = {0};
		h2_put(&settings, F_SETTINGS, 0, 0, NULL, 0);
		h2_say(r->raw_server, &settings);
		h2_rig_run(r, 0);
		struct h2_talk *t = h2_talk_open(c, NULL, false);
		static char bytes[20000];
		struct chain data = CHAIN_INIT;
		for (uint32_t k = 0; k < rows[i].times; k++) {
			ck_assert_int_eq(chain_copy_in(&data, &r->loop->bufs, &r->account, bytes, rows[i].n), 0);
			if (rows[i].seal)
				chain_seal(&data);
		}
		stream_send_data(t->s, &data, false);
		h2_rig_run(r, 0);
		ck_assert_msg(h2_count(r->raw_server, F_DATA, 1) == rows[i].frames, "row %zu: %u frames", i, h2_count(r->raw_server, F_DATA, 1));
		ck_assert_uint_eq(t->sent, rows[i].n * rows[i].times);
		h2_talk_reset(t, H2_CANCEL);
		sb_end(&settings);
		h2_rig_free(&r);
	}
}
END_TEST

/* One call each way with bodies and trailers, whatever becomes of it. */
static void some_calls(struct h2_rig *r)
{
	r->on_request = h2_answer;
	struct h2_end *c = h2_rig_client(r);

	for (int i = 0; i < 3 && c->h2; i++) {
		struct h2_talk *t = h2_talk_open(c, NULL, false);
		h2_rig_run(r, 0);
		if (!t)
			continue;
		h2_talk_fill(t, 40000, false);
		h2_talk_fill(t, 10, i != 1);
		if (i == 1)
			h2_talk_trailers(t, "x-end: 1\n");
		h2_rig_run(r, 0);
	}
	h2_rig_run(r, 100);
}

START_TEST(an_account_that_refuses_at_any_point_ends_what_it_must_and_leaks_nothing)
{
	struct h2_rig *r = h2_rig_new();
	some_calls(r);
	size_t most = r->account.peak;
	h2_rig_free(&r);
	uint32_t whole = 0, broken = 0;
	for (size_t limit = 0; limit <= most + 4096; limit += limit < 4096 ? 61 : 157) {
		r = h2_rig_new();
		r->account.limit = limit;
		some_calls(r);
		uint32_t done = 0;
		list_each(n, tmp, &r->talks)
			done += list_entry(n, struct h2_talk, node)->how.cause == END_DONE && list_entry(n, struct h2_talk, node)->ends;
		*(done == 6 ? &whole : &broken) += 1;
		r->account.limit = SIZE_MAX;
		h2_rig_free(&r); /* looks that all ended once and nothing is left */
	}
	ck_assert_uint_gt(whole, 0);
	ck_assert_uint_gt(broken, 100);
}
END_TEST

UNIT_SUITE("h2_stream", a_call_goes_over_and_comes_back_with_each_event_once, all_shapes_end_as_done_on_both_sides,
	sent_is_told_for_what_the_kernel_took_and_not_before, a_kernel_that_takes_a_byte_at_a_time_changes_nothing,
	a_stream_that_gets_no_credit_stops_at_its_window_and_the_others_go_on, streams_that_die_uncredited_leave_the_connections_window_whole,
	after_a_reset_nothing_is_told_not_even_within_the_event_that_made_it, a_stream_reset_before_its_head_left_never_reaches_the_other_side,
	an_early_answer_ends_the_call_as_done_and_the_upload_stops, both_sides_may_cancel_at_once,
	a_byte_that_waits_does_not_hold_the_big_chunk_it_came_in, no_more_streams_than_the_other_side_allows_and_room_is_told_when_one_ends,
	ids_that_run_out_ask_for_a_replacement_while_the_last_streams_go_on, a_ping_is_answered_once_and_a_lost_connection_answers_it_too,
	a_lost_connection_says_of_each_stream_whether_it_left, a_reader_that_drips_is_reset_when_too_little_moved_for_too_long,
	shedding_takes_the_stream_with_the_longest_queue, pieces_that_are_sealed_leave_as_frames_of_their_own_and_others_fill_frames,
	an_account_that_refuses_at_any_point_ends_what_it_must_and_leaks_nothing)
