/* net/h2_memo and net/h2_said: a header block that came before is not decoded again, a list that went out before is not encoded again, and nobody can tell by
 * anything but the counters. */
#include "tests/net/h2rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <string.h>

#define PLAIN "\x82\x86\x84\x01\x01" "d"    /* GET http / of authority d; changes no table */
#define X_A "\x40\x03" "x-a\x01" "1"         /* x-a: 1, into the table */
#define X_B "\x40\x03" "x-b\x01" "2"
#define NEWEST "\xbe"                        /* the newest entry of the table */
enum { GET = FL_END_HEADERS | FL_END_STREAM };

struct world { struct h2_rig *r; struct h2_raw *w; struct h2_end *e; uint32_t id; };

static struct world world(void)
{
	struct world w = {.r = h2_rig_new(), .id = 1};
	struct sb b = {0};

	w.r->on_request = h2_answer;
	w.e = h2_rig_server_for_raw(w.r, &w.w);
	h2_put_preface(&b);
	h2_say(w.w, &b);
	h2_rig_run(w.r, 0);
	sb_end(&b);
	return w;
}

/* A request with this block; what the server was told of it, or NULL if it saw none. */
static const char *ask_n(struct world *w, const char *block, size_t n)
{
	uint32_t before = w->e->requests;
	struct sb b = {0};

	h2_put(&b, F_HEADERS, GET, w->id, block, n);
	h2_say(w->w, &b);
	h2_rig_run(w->r, 0);
	sb_end(&b);
	w->id += 2;
	if (w->e->requests == before)
		return NULL;
	struct h2_talk *t = h2_talk_of(w->e, before);
	sb_char(&t->head, '\0');
	t->head.n--;
	return t->head.p;
}
#define ask(w, block) ask_n((w), (block), sizeof(block) - 1)
#define known(w) stat_get(&(w).r->loop->stats, STAT_H2_HEADS_KNOWN)

static void raw_put(struct world *w, uint8_t type, uint8_t flags, uint32_t id, const char *payload, size_t n)
{
	struct sb b = {0};
	h2_put(&b, type, flags, id, payload, n);
	h2_say(w->w, &b);
	h2_rig_run(w->r, 0);
	sb_end(&b);
}

START_TEST(a_block_that_came_before_says_the_same_and_is_not_decoded)
{
	struct world w = world();
	static const char block[] = PLAIN "\x10\x03" "x-c\x05" "hello" "\x0f\x12\x02" "12"; /* and date, a name of ours, never to be indexed */
	char first[500];

	snprintf(first, sizeof(first), "%s", ask(&w, block));
	ck_assert_ptr_nonnull(strstr(first, ":path: /\n:authority: d\nx-c: hello\ndate: 12\n"));
	for (int i = 1; i < 10; i++) {
		ck_assert_str_eq(ask(&w, block), first);
		ck_assert_uint_eq(known(w), (uint64_t)i);
	}
	ck_assert_uint_eq(w.e->requests, 10);
	h2_rig_free(&w.r);
}
END_TEST

/* The block says "the newest entry of the table"; what passes between two of them says which one that is. */
START_TEST(what_changes_the_table_makes_all_forgotten)
{
	static const struct { const char *what; uint8_t type, flags; const char *payload; size_t n; const char *more; size_t nmore; const char *want; } rows[] = {
#define P(s) s, sizeof(s) - 1
		{"nothing", F_HEADERS, GET, P(PLAIN), NULL, 0, "x-a: 1\n"},
		{"an entry", F_HEADERS, GET, P(PLAIN X_B), NULL, 0, "x-b: 2\n"},
		{"an entry, padded", F_HEADERS, GET | FL_PADDED, P("\x02" PLAIN X_B "\0\0"), NULL, 0, "x-b: 2\n"},
		{"an entry, with a priority", F_HEADERS, GET | 0x20, P("\0\0\0\0\x10" PLAIN X_B), NULL, 0, "x-b: 2\n"},
		{"an entry in a CONTINUATION", F_HEADERS, FL_END_STREAM, P(PLAIN), P(X_B), "x-b: 2\n"},
		{"an entry cut by a CONTINUATION", F_HEADERS, FL_END_STREAM, P(PLAIN "\x40\x03" "x-"), P("b\x01" "2"), "x-b: 2\n"},
		{"an entry, its name by index", F_HEADERS, GET, P(PLAIN "\x7e\x01" "9"), NULL, 0, "x-a: 9\n"},
		{"a smaller table and back", F_HEADERS, GET, P("\x20\x3f\xe1\x1f" PLAIN X_B), NULL, 0, "x-b: 2\n"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int cut = 0; cut < 2; cut++) {
			struct world w = world();
			if (cut)
				simnet_knobs(w.r->net)->capacity = 5; /* no frame comes whole */
			ck_assert_ptr_nonnull(ask(&w, PLAIN X_A));
			for (int k = 0; k < 3; k++)
				ck_assert_ptr_nonnull(strstr(ask(&w, PLAIN NEWEST), "x-a: 1\n"));
			ck_assert_uint_eq(known(w), cut ? 0 : 2);
			raw_put(&w, rows[i].type, rows[i].flags, w.id, rows[i].payload, rows[i].n);
			if (rows[i].more)
				raw_put(&w, F_CONTINUATION, FL_END_HEADERS, w.id, rows[i].more, rows[i].nmore);
			w.id += 2;
			for (int k = 0; k < 3; k++) {
				const char *got = ask(&w, PLAIN NEWEST);
				ck_assert_msg(got && strstr(got, rows[i].want), "%s: %s", rows[i].what, got ? got : "(nothing)");
			}
			h2_rig_free(&w.r);
		}
}
END_TEST

START_TEST(a_table_that_was_emptied_makes_a_known_block_an_error_again)
{
	struct world w = world();

	ask(&w, PLAIN X_A);
	ask(&w, PLAIN NEWEST);
	ask(&w, PLAIN NEWEST);
	ck_assert_uint_eq(known(w), 1);
	ck_assert_ptr_nonnull(ask(&w, "\x20" PLAIN));
	ck_assert_ptr_null(ask(&w, PLAIN NEWEST));
	ck_assert_uint_eq(h2_code_of(w.w, 0), H2_COMPRESSION_ERROR);
	h2_rig_free(&w.r);
}
END_TEST

START_TEST(blocks_of_streams_that_are_refused_or_reset_count_for_the_table_too)
{
	struct world w = world();

	w.r->lim.streams_per_connection = 1;
	w.r->on_request = NULL;
	ask(&w, PLAIN X_A); /* stays open */
	uint32_t requests = w.e->requests;
	ck_assert_ptr_null(ask(&w, PLAIN X_B));
	ck_assert_uint_eq(w.e->requests, requests);
	w.r->lim.streams_per_connection = 10;
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(strstr(ask(&w, PLAIN NEWEST), "x-b: 2\n"));
	ck_assert_uint_eq(known(w), 2);
	h2_rig_free(&w.r);
}
END_TEST

START_TEST(what_is_wrong_is_wrong_each_time)
{
	static const char upper[] = PLAIN "\x10\x03" "X-C\x01" "1", no_path[] = "\x82\x86\x01\x01" "d";
	struct world w = world();

	for (int i = 0; i < 5; i++) {
		uint32_t id = w.id;
		ck_assert_ptr_null(ask(&w, upper));
		ck_assert_uint_eq(h2_code_of(w.w, id), H2_PROTOCOL_ERROR);
		id = w.id;
		ck_assert_ptr_null(ask(&w, no_path));
		ck_assert_uint_eq(h2_code_of(w.w, id), H2_PROTOCOL_ERROR);
	}
	ck_assert_uint_eq(known(w), 0);
	ck_assert_ptr_nonnull(ask(&w, PLAIN));
	h2_rig_free(&w.r);
}
END_TEST

/* What is a good head is no good as trailers, and the other way round. */
START_TEST(a_block_is_judged_by_what_it_is_used_for)
{
	struct world w = world();

	for (int i = 0; i < 3; i++)
		ask(&w, PLAIN);
	ck_assert_uint_eq(known(w), 2);
	w.r->on_request = NULL;
	raw_put(&w, F_HEADERS, FL_END_HEADERS, w.id, PLAIN, sizeof(PLAIN) - 1);
	raw_put(&w, F_HEADERS, GET, w.id, PLAIN, sizeof(PLAIN) - 1);
	ck_assert_uint_eq(h2_code_of(w.w, w.id), H2_PROTOCOL_ERROR);
	w.id += 2;
	for (int i = 0; i < 3; i++, w.id += 2) {
		raw_put(&w, F_HEADERS, FL_END_HEADERS, w.id, PLAIN, sizeof(PLAIN) - 1);
		raw_put(&w, F_HEADERS, GET, w.id, "\x10\x03" "x-t\x01" "1", 7);
		ck_assert_uint_eq(h2_code_of(w.w, w.id), UINT32_MAX);
		ck_assert_str_eq(h2_talk_of(w.e, w.e->requests - 1)->trailers.p, "x-t: 1\n");
	}
	uint32_t id = w.id;
	ck_assert_ptr_null(ask(&w, "\x10\x03" "x-t\x01" "1"));
	ck_assert_uint_eq(h2_code_of(w.w, id), H2_PROTOCOL_ERROR);
	h2_rig_free(&w.r);
}
END_TEST

static void strip(void *talk) { (void)talk; }

START_TEST(a_known_block_obeys_limits_that_became_lower)
{
	static const char block[] = PLAIN "\x10\x03" "x-c\x05" "hello";
	struct world w = world();

	for (int i = 0; i < 3; i++)
		ask(&w, block);
	ck_assert_ptr_null(w.e->refuse);
	w.r->lim.field_count = 4;
	w.r->on_request = strip;
	ask(&w, block);
	ck_assert_ptr_nonnull(w.e->refuse);
	ck_assert_uint_eq(known(w), 2);
	h2_rig_free(&w.r);
}
END_TEST

START_TEST(blocks_that_are_new_each_time_are_not_learned_for_long_and_cost_no_memory)
{
	struct world w = world();
	char block[32];
	size_t used = 0;

	for (int i = 0; i < 400; i++) {
		int n = snprintf(block, sizeof(block), PLAIN "%c%cx-c%c%04d", 0x10, 3, 4, i);
		ck_assert_ptr_nonnull(ask_n(&w, block, (size_t)n));
		if (i == 20)
			used = w.r->account.used;
	}
	ck_assert_uint_le(w.r->account.used, used + 8192);
	ck_assert_uint_eq(known(w), 0);
	for (int i = 0; i < 600; i++) /* and when they stop, they are again */
		ck_assert_ptr_nonnull(ask(&w, PLAIN));
	ck_assert_uint_gt(known(w), 200);
	h2_rig_free(&w.r);
}
END_TEST

/* Our own encoder against our own decoder: lists of few and of many words, with and without an index, both ways. */
START_TEST(thousands_of_lists_arrive_as_they_were_sent)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	uint64_t seed = 5;

	for (uint32_t i = 0; i < 4000; i++) {
		char lines[600];
		int n = snprintf(lines, sizeof(lines), "%s", h2_post);
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		unsigned bits = (unsigned)(seed >> 40);
		uint32_t kinds = i / 500 % 2 ? 2 : 40; /* times when much is the same, and others */
		for (int k = 0; k < 3; k++, bits >>= 4)
			if (bits & 1)
				n += snprintf(lines + n, sizeof(lines) - (size_t)n, "%s: %u\n", k ? "x-word" : "grpc-timeout", (bits >> 1 & 7) % kinds + (bits & 2 ? i % kinds : 0));
		struct h2_talk *t = h2_talk_open(c, lines, true);
		h2_rig_run(r, 0);
		struct h2_talk *s = h2_talk_of(r->server, i);
		ck_assert_msg(s && s->head.n == (size_t)n && memcmp(s->head.p, lines, s->head.n) == 0, "call %u: sent\n%s", i, lines);
		n = snprintf(lines, sizeof(lines), ":status: 200\ncontent-type: application/grpc\nx-n: %u\n", i % kinds);
		h2_talk_head(s, lines, false);
		h2_talk_trailers(s, i % 3 ? "grpc-status: 0\n" : "grpc-status: 7\ngrpc-message: no\n");
		h2_rig_run(r, 0);
		ck_assert_msg(t->head.n == (size_t)n && memcmp(t->head.p, lines, t->head.n) == 0, "answer %u", i);
		ck_assert_int_eq(t->trailers.p[13], i % 3 ? '0' : '7');
		ck_assert_int_eq(t->how.cause, END_DONE);
	}
	ck_assert_uint_gt(stat_get(&r->loop->stats, STAT_H2_HEADS_KNOWN), 3000);
	h2_rig_free(&r);
}
END_TEST

/* Several lists in one flush: one that is known when it is submitted may not be any more when it is packed. */
START_TEST(lists_of_one_flush_arrive_as_they_were_sent_whatever_they_do_to_the_table)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	uint64_t seed = 9;
	uint32_t served = 0;

	for (uint32_t round = 0; round < 1500; round++) {
		char lines[5][500];
		uint32_t many = 1 + round % 5;
		for (uint32_t k = 0; k < many; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			uint32_t kind = (uint32_t)(seed >> 40);
			snprintf(lines[k], sizeof(lines[k]), "%sx-word: %0*u\n", h2_post, kind & 1 ? 200 : 1, kind >> 3 & (kind & 6 ? 1 : 255));
			ck_assert_ptr_nonnull(h2_talk_open(c, lines[k], true));
		}
		h2_rig_run(r, 0);
		for (uint32_t k = 0; k < many; k++) {
			struct h2_talk *s = h2_talk_of(r->server, served++);
			ck_assert_msg(s && s->head.n == strlen(lines[k]) && memcmp(s->head.p, lines[k], s->head.n) == 0, "round %u: sent\n%s", round, lines[k]);
			h2_answer(s);
		}
		h2_rig_run(r, 0);
	}
	ck_assert_uint_gt(stat_get(&r->loop->stats, STAT_H2_HEADS_SAID), 1000);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_list_that_is_changed_after_it_was_given_is_not_taken_for_what_went_out)
{
	static const struct stream_events none;
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	char want[400];
	uint32_t served = 0;

	for (int i = 0; i < 12; i++) {
		struct fields *f = h2_fields(r, h2_post);
		for (int k = 0; k < 2; k++) { /* the second value comes in between submitting and packing; then the list goes out once more as it is now */
			if (k == 0)
				ck_assert_int_eq(fields_set(f, FIELD_TRI_SERVICE_GROUP, STR("11S")), 0);
			struct stream *s = h2_conn_open(c->h2, &none, NULL);
			ck_assert_int_eq(stream_send_head(s, f, true), 0);
			if (k == 0)
				ck_assert_int_eq(fields_set(f, FIELD_TRI_SERVICE_GROUP, STR("22S")), 0);
			h2_rig_run(r, 0);
			struct h2_talk *got = h2_talk_of(r->server, served++);
			snprintf(want, sizeof(want), "%stri-service-group: %s\n", h2_post, k ? "22S" : "11S");
			ck_assert_msg(got->head.n == strlen(want) && memcmp(got->head.p, want, got->head.n) == 0, "%d, %d: %.*s", i, k, (int)got->head.n, got->head.p);
			stream_reset(s, H2_CANCEL);
			h2_rig_run(r, 0);
		}
		fields_unref(&f);
	}
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_table_that_the_other_side_takes_away_is_told_and_used_no_more)
{
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0};
	struct h2_frame f;

	r->accept_raw = true;
	struct h2_end *c = h2_rig_client(r);
	h2_put(&b, F_SETTINGS, 0, 0, NULL, 0);
	h2_say(r->raw_server, &b);
	h2_rig_run(r, 0);
	for (uint32_t i = 0; i < 6; i++) {
		if (i == 4) {
			h2_put(&b, F_SETTINGS, 0, 0, "\0\1\0\0\0\0", 6); /* HEADER_TABLE_SIZE 0 */
			h2_say(r->raw_server, &b);
			h2_rig_run(r, 0);
		}
		struct h2_talk *t = h2_talk_open(c, NULL, true);
		h2_rig_run(r, 0);
		ck_assert(h2_find(r->raw_server, F_HEADERS, 1 + 2 * i, &f));
		ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_H2_HEADS_SAID), i < 2 ? 0 : i < 4 ? i - 1 : 2);
		if (i == 3)
			ck_assert_uint_lt(f.n, 20); /* all but the path is in the table */
		if (i == 4)
			ck_assert_uint_eq(f.p[0], 0x20); /* RFC 7541 4.2: the new size first */
		if (i >= 4)
			ck_assert_uint_gt(f.n, 30);
		h2_talk_reset(t, H2_CANCEL);
		h2_rig_run(r, 0);
	}
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

UNIT_SUITE("h2_memo", a_block_that_came_before_says_the_same_and_is_not_decoded, what_changes_the_table_makes_all_forgotten,
	a_table_that_was_emptied_makes_a_known_block_an_error_again, blocks_of_streams_that_are_refused_or_reset_count_for_the_table_too,
	what_is_wrong_is_wrong_each_time, a_block_is_judged_by_what_it_is_used_for, a_known_block_obeys_limits_that_became_lower,
	blocks_that_are_new_each_time_are_not_learned_for_long_and_cost_no_memory, thousands_of_lists_arrive_as_they_were_sent,
	lists_of_one_flush_arrive_as_they_were_sent_whatever_they_do_to_the_table, a_list_that_is_changed_after_it_was_given_is_not_taken_for_what_went_out,
	a_table_that_the_other_side_takes_away_is_told_and_used_no_more)
