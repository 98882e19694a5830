/* net/h2 in the client role against providers that speak bytes by hand. A provider's garbage hurts only the calls on that connection; each of them
 * ends exactly once (h2rig looks), with a cause that says whether it may go to another provider. */
#include "tests/net/h2rig.h"
#include "tests/unit.h"
#include <errno.h>

/* Two calls are open: 1 (its request has not ended) and 3 (its request is whole). */
struct said {
	struct h2_rig *r;
	struct h2_end *c;
	struct h2_raw *w;
	struct h2_talk *one, *three;
};

static struct said said_new(void)
{
	struct said s = {.r = h2_rig_new()};
	struct sb b = {0};

	s.r->accept_raw = true;
	s.c = h2_rig_client(s.r);
	s.w = s.r->raw_server;
	h2_put(&b, F_SETTINGS, 0, 0, NULL, 0);
	h2_put(&b, F_SETTINGS, FL_ACK, 0, NULL, 0);
	h2_say(s.w, &b);
	sb_end(&b);
	ck_assert_uint_eq(s.c->ups, 1);
	s.one = h2_talk_open(s.c, NULL, false);
	s.three = h2_talk_open(s.c, NULL, true);
	h2_rig_run(s.r, 0);
	return s;
}

static const char ok[] = ":status: 200\ncontent-type: application/grpc\n";

static bool lives(struct said *s)
{
	struct h2_talk *t = h2_talk_open(s->c, NULL, true);
	struct sb b = {0};

	if (!t)
		return false;
	h2_rig_run(s->r, 0);
	h2_put_head(&b, 5, ok, FL_END_HEADERS);
	h2_put_head(&b, 5, "grpc-status: 0\n", FL_END_HEADERS | FL_END_STREAM);
	h2_say(s->w, &b);
	sb_end(&b);
	return t->ends && t->how.cause == END_DONE;
}

/* A step: 'F' a frame, 'H' a head of lines. */
struct step { char what; uint8_t type, flags; uint32_t id; const char *text; size_t n; };
#define FRAME(type, flags, id, payload) {'F', type, flags, id, payload, sizeof(payload) - 1}
#define HEAD(id, flags, lines) {'H', F_HEADERS, flags, id, lines, 0}
enum { OPEN = -1 };
static const struct { const char *name; struct step steps[6]; int one, three; bool lives; } rows[] = {
	{"an answer", {HEAD(3, 4, ":status: 200\n"), FRAME(F_DATA, 0, 3, "abc"), HEAD(3, 5, "grpc-status: 0\n")}, OPEN, END_DONE, true},
	{"DATA before a head", {FRAME(F_DATA, 0, 3, "abc")}, END_LOST, END_LOST, false},
	{"the end before a head", {FRAME(F_DATA, 1, 3, "")}, END_LOST, END_LOST, false},
	{"trailers that do not end the stream", {HEAD(3, 4, ":status: 200\n"), HEAD(3, 4, "grpc-status: 0\n")}, OPEN, END_MALFORMED, true},
	{"a second head", {HEAD(3, 4, ":status: 200\n"), HEAD(3, 4, ":status: 200\n")}, OPEN, END_MALFORMED, true},
	{"a pseudo-header in trailers", {HEAD(3, 4, ":status: 200\n"), HEAD(3, 5, ":status: 200\n")}, OPEN, END_MALFORMED, true},
	{"no status", {HEAD(3, 4, "content-type: a\n")}, OPEN, END_MALFORMED, true},
	{"two statuses", {HEAD(3, 4, ":status: 200\n:status: 200\n")}, OPEN, END_MALFORMED, true},
	{"a status of two digits", {HEAD(3, 4, ":status: 20\n")}, OPEN, END_MALFORMED, true},
	{"a request's pseudo-header", {HEAD(3, 4, ":status: 200\n:path: /\n")}, OPEN, END_MALFORMED, true},
	{"an upper-case name", {HEAD(3, 4, ":status: 200\nX: 1\n")}, OPEN, END_MALFORMED, true},
	{"a line feed in a value", {HEAD(3, 4, ":status: 200\nx: a\rb\n")}, OPEN, END_MALFORMED, true},
	{"less body than said", {HEAD(3, 4, ":status: 200\ncontent-length: 4\n"), FRAME(F_DATA, 1, 3, "abc")}, OPEN, END_MALFORMED, true},
	{"more body than said", {HEAD(3, 4, ":status: 200\ncontent-length: 2\n"), FRAME(F_DATA, 0, 3, "abc")}, OPEN, END_MALFORMED, true},
	{"a body where none was said", {HEAD(3, 5, ":status: 200\ncontent-length: 2\n")}, OPEN, END_MALFORMED, true},
	{"304 says a length and has no body", {HEAD(3, 5, ":status: 304\ncontent-length: 2\n")}, OPEN, END_DONE, true},
	{"101", {HEAD(3, 4, ":status: 101\n")}, OPEN, END_MALFORMED, true},
	{"100 that ends the stream", {HEAD(3, 5, ":status: 100\n")}, OPEN, END_MALFORMED, true},
	{"100, 103, then an answer", {HEAD(3, 4, ":status: 100\n"), HEAD(3, 4, ":status: 103\nlink: a\n"), HEAD(3, 5, ":status: 200\n")}, OPEN, END_DONE, true},
	{"an early answer without a word about the upload", {HEAD(1, 5, ":status: 200\n")}, END_DONE, OPEN, true},
	{"an early answer, then RST(NO_ERROR)", {HEAD(1, 5, ":status: 200\n"), FRAME(F_RST, 0, 1, "\0\0\0\0")}, END_DONE, OPEN, true},
	{"RST(NO_ERROR) before the answer is whole", {HEAD(1, 4, ":status: 200\n"), FRAME(F_RST, 0, 1, "\0\0\0\0")}, END_RESET, OPEN, true},
	{"RST(CANCEL)", {FRAME(F_RST, 0, 3, "\0\0\0\x8")}, OPEN, END_RESET, true},
	{"RST(REFUSED_STREAM)", {FRAME(F_RST, 0, 3, "\0\0\0\x7")}, OPEN, END_REFUSED, true},
	{"RST(CANCEL) twice", {FRAME(F_RST, 0, 3, "\0\0\0\x8"), FRAME(F_RST, 0, 3, "\0\0\0\x8")}, OPEN, END_RESET, true},
	{"DATA after the end", {HEAD(3, 5, ":status: 200\n"), FRAME(F_DATA, 0, 3, "abc")}, OPEN, END_DONE, true},
	{"a head after the end", {HEAD(3, 5, ":status: 200\n"), HEAD(3, 5, ":status: 200\n")}, OPEN, END_DONE, true},
	{"WINDOW_UPDATE of 0", {FRAME(F_WINDOW, 0, 1, "\0\0\0\0")}, END_LOST, END_LOST, false},
	{"WINDOW_UPDATE beyond 2^31 on a stream", {FRAME(F_WINDOW, 0, 1, "\x7f\xff\xff\xff")}, END_MALFORMED, OPEN, true},
	{"WINDOW_UPDATE beyond 2^31 on the connection", {FRAME(F_WINDOW, 0, 0, "\x7f\xff\xff\xff")}, END_LOST, END_LOST, false},
	{"DATA on an idle stream", {FRAME(F_DATA, 0, 9, "abc")}, END_LOST, END_LOST, false},
	{"a head on an idle stream", {HEAD(9, 5, ":status: 200\n")}, END_LOST, END_LOST, false},
	{"a head on a stream of its own", {HEAD(2, 5, ":status: 200\n")}, END_LOST, END_LOST, false},
	{"PUSH_PROMISE", {FRAME(F_PUSH, 4, 1, "\0\0\0\x2\x82\x86\x84\x41\x01x")}, END_LOST, END_LOST, false},
	{"SETTINGS with MAX_FRAME_SIZE 0", {FRAME(F_SETTINGS, 0, 0, "\0\x5\0\0\0\0")}, END_LOST, END_LOST, false},
	{"SETTINGS with ENABLE_PUSH 2", {FRAME(F_SETTINGS, 0, 0, "\0\x2\0\0\0\x2")}, END_LOST, END_LOST, false},
	{"SETTINGS with MAX_FRAME_SIZE 8 MiB (Java)", {FRAME(F_SETTINGS, 0, 0, "\0\x5\0\x80\0\0")}, OPEN, OPEN, true},
	{"SETTINGS with MAX_HEADER_LIST_SIZE 1", {FRAME(F_SETTINGS, 0, 0, "\0\x6\0\0\0\x1")}, OPEN, OPEN, true},
	{"SETTINGS with a window of 2^31", {FRAME(F_SETTINGS, 0, 0, "\0\x4\x80\0\0\0")}, END_LOST, END_LOST, false},
	{"SETTINGS with HEADER_TABLE_SIZE 0, then the most", {FRAME(F_SETTINGS, 0, 0, "\0\x1\0\0\0\0"), FRAME(F_SETTINGS, 0, 0, "\0\x1\xff\xff\xff\xff")}, OPEN, OPEN, true},
	{"CONTINUATION without HEADERS", {FRAME(F_CONTINUATION, 4, 3, "\x88")}, END_LOST, END_LOST, false},
	{"DATA inside of a header block", {FRAME(F_HEADERS, 0, 3, "\x88"), FRAME(F_DATA, 0, 3, "x")}, END_LOST, END_LOST, false},
	{"HPACK that is none", {FRAME(F_HEADERS, 4, 3, "\xff\xff\xff\xff\xff")}, END_LOST, END_LOST, false},
	{"HTTP/1.1", {{'B', 0, 0, 0, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 47}}, END_LOST, END_LOST, false},
	{"a frame larger than allowed", {{'B', 0, 0, 0, "\x01\0\0\0\0\0\0\0\x3", 9}}, END_LOST, END_LOST, false},
	{"GOAWAY for nothing", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0")}, END_UNPROCESSED, END_UNPROCESSED, false},
	{"GOAWAY beyond the first", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x1\0\0\0\0")}, OPEN, END_UNPROCESSED, false},
	{"GOAWAY that lets all finish", {FRAME(F_GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0")}, OPEN, OPEN, false},
	{"two-phase GOAWAY", {FRAME(F_GOAWAY, 0, 0, "\x7f\xff\xff\xff\0\0\0\0"), FRAME(F_GOAWAY, 0, 0, "\0\0\0\x1\0\0\0\0")}, OPEN, END_UNPROCESSED, false},
	{"GOAWAY, then a higher id", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x1\0\0\0\0"), FRAME(F_GOAWAY, 0, 0, "\0\0\0\x3\0\0\0\0")}, END_LOST, END_UNPROCESSED, false},
	{"GOAWAY, then RST on what it left (F19)", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x1\0\0\0\0"), FRAME(F_RST, 0, 3, "\0\0\0\x8"), FRAME(F_RST, 0, 1, "\0\0\0\x8")},
		END_RESET, END_UNPROCESSED, false},
	{"RST, then GOAWAY for nothing", {FRAME(F_RST, 0, 3, "\0\0\0\x8"), FRAME(F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0")}, END_UNPROCESSED, END_RESET, false},
	{"GOAWAY with an even id", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x2\0\0\0\0")}, END_LOST, END_LOST, false},
	{"GOAWAY, then the answer that it promised", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x3\0\0\0\0"), HEAD(3, 5, ":status: 200\n"), HEAD(1, 5, ":status: 200\n")}, END_DONE, END_DONE, false},
	{"ENHANCE_YOUR_CALM", {FRAME(F_GOAWAY, 0, 0, "\0\0\0\x3\0\0\0\x0b")}, OPEN, OPEN, false},
	{"ALTSVC, ORIGIN and what nobody knows", {FRAME(10, 0, 0, "\0\0"), FRAME(12, 0, 0, "\0\x1x"), FRAME(0x77, 0xff, 3, "anything")}, OPEN, OPEN, true},
	{"PRIORITY", {FRAME(F_PRIORITY, 0, 3, "\0\0\0\x1\x8")}, OPEN, OPEN, true},
};

static void step(struct sb *b, const struct step *s)
{
	if (s->what == 'H')
		h2_put_head(b, s->id, s->text, s->flags);
	else if (s->what == 'B')
		sb_add(b, s->text, s->n);
	else
		h2_put(b, s->type, s->flags, s->id, s->text, s->n);
}

static void check_talk(const char *name, uint32_t id, const struct h2_talk *t, int cause)
{
	if (cause == OPEN)
		ck_assert_msg(t->ends == 0, "%s: stream %u: %s", name, id, h2_talk_words(t));
	else
		ck_assert_msg(t->ends == 1 && (int)t->how.cause == cause, "%s: stream %u: %s", name, id, h2_talk_words(t));
}

START_TEST(what_a_provider_does_wrong_ends_the_calls_that_it_hits_and_says_how)
{
	for (int cut = 0; cut < 2; cut++) /* at once, and frame by frame */
		for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
			struct said s = said_new();
			struct sb b = {0};

			for (size_t k = 0; k < UNIT_COUNT(rows[i].steps) && rows[i].steps[k].what; k++) {
				step(&b, &rows[i].steps[k]);
				if (cut)
					h2_say(s.w, &b);
			}
			h2_say(s.w, &b);
			sb_end(&b);
			check_talk(rows[i].name, 1, s.one, rows[i].one);
			check_talk(rows[i].name, 3, s.three, rows[i].three);
			ck_assert_msg(lives(&s) == rows[i].lives, "%s: lives", rows[i].name);
			if (rows[i].one != OPEN && rows[i].three != OPEN && !rows[i].lives)
				ck_assert_msg(s.c->closed == 1, "%s: not closed", rows[i].name);
			h2_rig_free(&s.r);
		}
}
END_TEST

START_TEST(a_goaway_is_told_once_however_often_it_comes)
{
	struct said s = said_new();
	struct sb b = {0};

	for (int i = 0; i < 5; i++)
		h2_put(&b, F_GOAWAY, 0, 0, "\0\0\0\x3\0\0\0\0", 8);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.c->goaways, 1);
	ck_assert_uint_eq(h2_conn_room(s.c->h2), 0);
	ck_assert(!h2_conn_is_up(s.c->h2));
	sb_end(&b);
	h2_rig_free(&s.r);
}
END_TEST

START_TEST(calls_that_wait_when_goaway_and_resets_come_are_unprocessed_and_leak_nothing)
{
	/* F19: RST right after GOAWAY with requests pending leaked in another proxy. The accounts tell in h2_rig_free. */
	for (int i = 0; i < 500; i++) {
		struct said s = said_new();
		struct sb b = {0};
		struct h2_talk *more[200];

		for (int k = 0; k < 98; k++)
			more[k] = h2_talk_open(s.c, NULL, k & 1); /* not sent yet when what follows is read */
		h2_put(&b, F_GOAWAY, 0, 0, "\0\0\0\x1\0\0\0\0", 8);
		h2_put_u32(&b, F_RST, 0, 3, H2_CANCEL);
		h2_put_u32(&b, F_RST, 0, 1, H2_CANCEL);
		h2_say(s.w, &b);
		for (int k = 0; k < 98; k++)
			ck_assert_msg(more[k]->ends == 1 && more[k]->how.cause == END_UNPROCESSED, "%d: %s", k, h2_talk_words(more[k]));
		ck_assert_uint_eq(s.c->closed, 1);
		sb_end(&b);
		h2_rig_free(&s.r);
	}
}
END_TEST

START_TEST(a_flood_of_informational_answers_resets_the_call)
{
	struct said s = said_new();
	struct sb b = {0};

	for (int i = 0; i < 10000; i++)
		h2_put_head(&b, 3, ":status: 103\nlink: a\n", FL_END_HEADERS);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.three->ends, 1);
	ck_assert_int_eq(s.three->how.cause, END_LIMIT);
	ck_assert_uint_ge(s.r->loop->stats.v[STAT_H2_INFORMATIONAL], 8);
	ck_assert_uint_eq(s.one->ends, 0);
	ck_assert(lives(&s));
	sb_end(&b);
	h2_rig_free(&s.r);
}
END_TEST

START_TEST(an_answers_list_beyond_the_limits_ends_that_call_alone)
{
	struct said s = said_new();
	struct sb b = {0}, lines = {0};

	sb_str(&lines, ":status: 200\n");
	for (int i = 0; i < 250; i++)
		sb_fmt(&lines, "x-%d: a\n", i);
	sb_char(&lines, 0);
	h2_put_head(&b, 3, lines.p, FL_END_HEADERS);
	h2_put(&b, F_DATA, 0, 3, "late", 4);
	h2_say(s.w, &b);
	ck_assert_int_eq(s.three->how.cause, END_LIMIT);
	ck_assert_uint_eq(h2_code_of(s.w, 3), H2_CANCEL);
	ck_assert(lives(&s));
	sb_end(&b);
	sb_end(&lines);
	h2_rig_free(&s.r);
}
END_TEST

START_TEST(no_stream_goes_out_while_the_provider_allows_none)
{
	struct said s = said_new();
	struct sb b = {0};

	h2_put(&b, F_SETTINGS, 0, 0, "\0\x3\0\0\0\0", 6);
	h2_say(s.w, &b);
	ck_assert_uint_eq(h2_conn_room(s.c->h2), 0);
	ck_assert_ptr_null(h2_talk_open(s.c, NULL, true));
	uint32_t rooms = s.c->rooms;
	h2_put(&b, F_SETTINGS, 0, 0, "\0\x3\0\0\0\x3", 6);
	h2_say(s.w, &b);
	ck_assert_uint_gt(s.c->rooms, rooms);
	ck_assert_uint_eq(h2_conn_room(s.c->h2), 1);
	ck_assert(lives(&s));
	sb_end(&b);
	h2_rig_free(&s.r);
}
END_TEST

START_TEST(a_window_that_shrinks_below_zero_stops_the_body_until_it_is_above)
{
	struct said s = said_new();
	struct sb b = {0};

	h2_talk_fill(s.one, 30000, false);
	h2_rig_run(s.r, 0);
	ck_assert_uint_eq(s.one->sent, 30000);
	h2_put(&b, F_SETTINGS, 0, 0, "\0\x4\0\0\0\x1", 6); /* 1 - 30000 */
	h2_say(s.w, &b);
	h2_talk_fill(s.one, 1000, true);
	h2_rig_run(s.r, 0);
	ck_assert_uint_eq(s.one->sent, 30000);
	h2_put_u32(&b, F_WINDOW, 0, 1, 29999);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.one->sent, 30000);
	h2_put_u32(&b, F_WINDOW, 0, 1, 10);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.one->sent, 30010);
	h2_put_u32(&b, F_WINDOW, 0, 1, 990);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.one->sent, 31000);
	sb_end(&b);
	h2_rig_free(&s.r);
}
END_TEST

START_TEST(a_provider_that_floods_is_paced_and_its_answers_still_come)
{
	struct said s = said_new();
	struct sb b = {0};

	for (int i = 0; i < 30000; i++)
		h2_put(&b, F_PING, 0, 0, "12345678", 8);
	h2_put_head(&b, 3, ok, FL_END_HEADERS | FL_END_STREAM);
	h2_say(s.w, &b);
	ck_assert_uint_eq(s.three->ends, 0);
	ck_assert_uint_ge(s.r->loop->stats.v[STAT_CONTROL_PACED], 1);
	h2_rig_run(s.r, 5000);
	ck_assert_int_eq(s.three->how.cause, END_DONE);
	sb_end(&b);
	h2_rig_free(&s.r);
}
END_TEST

UNIT_SUITE("h2_client", what_a_provider_does_wrong_ends_the_calls_that_it_hits_and_says_how, a_goaway_is_told_once_however_often_it_comes,
	calls_that_wait_when_goaway_and_resets_come_are_unprocessed_and_leak_nothing, a_flood_of_informational_answers_resets_the_call,
	an_answers_list_beyond_the_limits_ends_that_call_alone, no_stream_goes_out_while_the_provider_allows_none,
	a_window_that_shrinks_below_zero_stops_the_body_until_it_is_above, a_provider_that_floods_is_paced_and_its_answers_still_come)
