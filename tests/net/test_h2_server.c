/* net/h2 in the server role against apps that speak bytes by hand: what is answered how, what is paced, what ends a connection, what costs what. */
#include "tests/net/h2rig.h"
#include "tests/unit.h"
#include <errno.h>

static struct h2_rig *raw_rig(struct h2_raw **w, struct h2_end **e)
{
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0};

	r->on_request = h2_answer;
	*e = h2_rig_server_for_raw(r, w);
	h2_put_preface(&b);
	h2_say(*w, &b);
	sb_end(&b);
	return r;
}

/* One call that works: the connection is in order, HPACK's state included. */
static bool serves(struct h2_rig *r, struct h2_raw *w, uint32_t id)
{
	struct sb b = {0};
	uint32_t before = h2_count(w, F_DATA, id);

	h2_put_head(&b, id, h2_get, FL_END_HEADERS | FL_END_STREAM);
	h2_say(w, &b);
	sb_end(&b);
	(void)r;
	return h2_count(w, F_DATA, id) == before + 1 && !w->eof;
}

enum { CONN = -1, FINE = -2 };
struct row { const char *name; int32_t where; uint32_t code; uint8_t type, flags; uint32_t id; const char *payload; size_t n; };
#define ROW(name, where, code, type, flags, id, payload) {name, where, code, type, flags, id, payload, sizeof(payload) - 1}

/* Sent after stream 1 was answered whole, 3 is open (a POST without its end), 5 was reset by the app. */
static const struct row rows[] = {
	ROW("DATA on a stream answered long ago", 1, H2_STREAM_CLOSED, F_DATA, 0, 1, "x"),
	ROW("DATA on a stream that the app reset", 5, H2_STREAM_CLOSED, F_DATA, 0, 5, "x"),
	ROW("DATA on an idle stream", CONN, H2_PROTOCOL_ERROR, F_DATA, 0, 9, "x"),
	ROW("DATA on stream 0", CONN, H2_PROTOCOL_ERROR, F_DATA, 0, 0, "x"),
	ROW("HEADERS on a stream answered long ago", CONN, H2_STREAM_CLOSED, F_HEADERS, 5, 1, "\x82\x86\x84\x41\x01x"),
	ROW("HEADERS with an even id", CONN, H2_PROTOCOL_ERROR, F_HEADERS, 5, 8, "\x82\x86\x84\x41\x01x"),
	ROW("HEADERS that HPACK does not know", CONN, H2_COMPRESSION_ERROR, F_HEADERS, 5, 7, "\xff\xff\xff\xff\xff\xff"),
	ROW("CONTINUATION without HEADERS", CONN, H2_PROTOCOL_ERROR, F_CONTINUATION, 4, 3, "\x82"),
	ROW("a head twice", 3, H2_PROTOCOL_ERROR, F_HEADERS, 4, 3, "\x82\x86\x84\x41\x01x"),
	ROW("RST_STREAM on an idle stream", CONN, H2_PROTOCOL_ERROR, F_RST, 0, 9, "\0\0\0\x8"),
	ROW("RST_STREAM on stream 0", CONN, H2_PROTOCOL_ERROR, F_RST, 0, 0, "\0\0\0\x8"),
	ROW("RST_STREAM of three bytes", CONN, H2_FRAME_SIZE_ERROR, F_RST, 0, 3, "\0\0\0"),
	ROW("RST_STREAM on a closed stream", FINE, 0, F_RST, 0, 1, "\0\0\0\x8"),
	ROW("WINDOW_UPDATE on a closed stream", FINE, 0, F_WINDOW, 0, 1, "\0\0\0\x8"),
	ROW("PRIORITY on a closed stream", FINE, 0, F_PRIORITY, 0, 1, "\0\0\0\0\x8"),
	ROW("PRIORITY on an idle stream", FINE, 0, F_PRIORITY, 0, 101, "\0\0\0\0\x8"),
	ROW("PRIORITY on stream 0", CONN, H2_PROTOCOL_ERROR, F_PRIORITY, 0, 0, "\0\0\0\x1\x8"),
	ROW("PRIORITY of a stream on itself", CONN, H2_PROTOCOL_ERROR, F_PRIORITY, 0, 3, "\0\0\0\x3\x8"),
	ROW("PRIORITY of four bytes", CONN, H2_FRAME_SIZE_ERROR, F_PRIORITY, 0, 3, "\0\0\0\x1"),
	ROW("SETTINGS of five bytes", CONN, H2_FRAME_SIZE_ERROR, F_SETTINGS, 0, 0, "\0\0\0\0\0"),
	ROW("SETTINGS on a stream", CONN, H2_PROTOCOL_ERROR, F_SETTINGS, 0, 3, "\0\x4\0\0\0\0"),
	ROW("SETTINGS with MAX_FRAME_SIZE 0", CONN, H2_PROTOCOL_ERROR, F_SETTINGS, 0, 0, "\0\x5\0\0\0\0"),
	ROW("SETTINGS with a window of 2^31", CONN, H2_FLOW_CONTROL_ERROR, F_SETTINGS, 0, 0, "\0\x4\x80\0\0\0"),
	ROW("SETTINGS with a header list of 1 byte (advice only)", FINE, 0, F_SETTINGS, 0, 0, "\0\x6\0\0\0\x1"),
	ROW("SETTINGS that nobody knows", FINE, 0, F_SETTINGS, 0, 0, "\0\x77\0\0\0\x1"),
	ROW("PUSH_PROMISE by an app", CONN, H2_PROTOCOL_ERROR, F_PUSH, 4, 3, "\0\0\0\x2\x82"),
	ROW("PING of seven bytes", CONN, H2_FRAME_SIZE_ERROR, F_PING, 0, 0, "1234567"),
	ROW("PING on a stream", CONN, H2_PROTOCOL_ERROR, F_PING, 0, 3, "12345678"),
	ROW("WINDOW_UPDATE of 0 on the connection", CONN, H2_PROTOCOL_ERROR, F_WINDOW, 0, 0, "\0\0\0\0"),
	ROW("WINDOW_UPDATE beyond 2^31 on the connection", CONN, H2_FLOW_CONTROL_ERROR, F_WINDOW, 0, 0, "\x7f\xff\xff\xff"),
	ROW("WINDOW_UPDATE beyond 2^31 on a stream", 3, H2_FLOW_CONTROL_ERROR, F_WINDOW, 0, 3, "\x7f\xff\xff\xff"),
	ROW("a frame type that nobody knows", FINE, 0, 0x42, 0xff, 3, "anything"),
	ROW("ALTSVC", FINE, 0, 10, 0, 0, "\0\0"),
	ROW("ORIGIN", FINE, 0, 12, 0, 0, "\0\x1x"),
	ROW("PRIORITY_UPDATE", FINE, 0, 16, 0, 0, "\0\0\0\x3u=1"),
	ROW("DATA with more padding than bytes", CONN, H2_PROTOCOL_ERROR, F_DATA, 8, 3, "\x09xx"),
};

START_TEST(each_bad_frame_is_answered_where_it_belongs)
{
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct row *row = &rows[i];
		struct h2_raw *w;
		struct h2_end *e;
		struct h2_rig *r = raw_rig(&w, &e);
		struct sb b = {0};

		h2_put_head(&b, 1, h2_get, FL_END_HEADERS | FL_END_STREAM);
		h2_say(w, &b);
		r->on_request = NULL;
		h2_put_head(&b, 3, h2_post, FL_END_HEADERS);
		h2_put_head(&b, 5, h2_post, FL_END_HEADERS);
		h2_say(w, &b);
		h2_put_u32(&b, F_RST, 0, 5, H2_CANCEL);
		h2_say(w, &b);
		r->on_request = h2_answer;
		h2_put(&b, row->type, row->flags, row->id, row->payload, row->n);
		h2_say(w, &b);
		sb_end(&b);
		if (row->where == CONN) {
			ck_assert_msg(h2_code_of(w, 0) == row->code, "%s: GOAWAY %u", row->name, h2_code_of(w, 0));
			ck_assert_msg(w->eof && e->closed == 1, "%s: still open", row->name);
		} else {
			if (row->where != FINE)
				ck_assert_msg(h2_code_of(w, (uint32_t)row->where) == row->code, "%s: RST %u", row->name, h2_code_of(w, (uint32_t)row->where));
			else
				ck_assert_msg(h2_count(w, F_RST, -1) == 0, "%s: a reset", row->name);
			ck_assert_msg(serves(r, w, 11), "%s: the connection does not serve any more", row->name);
			ck_assert_uint_eq(h2_count(w, F_GOAWAY, -1), 0);
		}
		h2_rig_free(&r);
	}
}
END_TEST

static const struct { const char *name, *lines; uint8_t flags; } malformed[] = {
	{"no path", ":method: GET\n:scheme: http\n:authority: a\n", 5},
	{"an empty path", ":method: GET\n:scheme: http\n:authority: a\n:path: \n", 5},
	{"two methods", ":method: GET\n:method: GET\n:scheme: http\n:path: /\n", 5},
	{"a response's pseudo-header", ":method: GET\n:scheme: http\n:path: /\n:status: 200\n", 5},
	{"an unknown pseudo-header", ":method: GET\n:scheme: http\n:path: /\n:x: 1\n", 5},
	{"a pseudo-header after a field", ":method: GET\n:scheme: http\nx: 1\n:path: /\n", 5},
	{"an upper-case name", ":method: GET\n:scheme: http\n:path: /\nX: 1\n", 5},
	{"connection", ":method: GET\n:scheme: http\n:path: /\nconnection: close\n", 5},
	{"te other than trailers", ":method: GET\n:scheme: http\n:path: /\nte: gzip\n", 5},
	{"transfer-encoding", ":method: GET\n:scheme: http\n:path: /\ntransfer-encoding: chunked\n", 5},
	{"content-length with END_STREAM", ":method: POST\n:scheme: http\n:path: /\ncontent-length: 1\n", 5},
	{"a signed content-length", ":method: POST\n:scheme: http\n:path: /\ncontent-length: +1\n", 4},
	{"two content-lengths", ":method: POST\n:scheme: http\n:path: /\ncontent-length: 1\ncontent-length: 1\n", 4},
	{"a CR in a value", ":method: GET\n:scheme: http\n:path: /\nx: a\rb\n", 5},
	{"a blank at the end of a value", ":method: GET\n:scheme: http\n:path: /\nx: a \n", 5},
};

START_TEST(a_malformed_request_is_reset_and_nobody_hears_of_it)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	uint32_t id = 1;

	for (size_t i = 0; i < UNIT_COUNT(malformed); i++, id += 2) {
		struct sb b = {0};

		h2_put_head(&b, id, malformed[i].lines, malformed[i].flags);
		h2_say(w, &b);
		sb_end(&b);
		ck_assert_msg(h2_code_of(w, id) == H2_PROTOCOL_ERROR, "%s: %u", malformed[i].name, h2_code_of(w, id));
		ck_assert_msg(e->requests == 0, "%s: told", malformed[i].name);
	}
	ck_assert(serves(r, w, id));
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_body_that_is_not_as_long_as_said_is_reset)
{
	static const struct { const char *said; size_t first, second; bool trailers; } lengths[] = {
		{"4", 3, 0, false}, {"4", 5, 0, false}, {"4", 4, 1, false}, {"0", 1, 0, false}, {"4", 3, 0, true},
	};
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	uint32_t id = 1;

	r->on_request = NULL;
	for (size_t i = 0; i < UNIT_COUNT(lengths); i++, id += 2) {
		struct sb b = {0}, lines = {0};

		sb_fmt(&lines, "%scontent-length: %s\n", h2_post, lengths[i].said);
		sb_char(&lines, 0);
		h2_put_head(&b, id, lines.p, FL_END_HEADERS);
		h2_put(&b, F_DATA, lengths[i].second || lengths[i].trailers ? 0 : FL_END_STREAM, id, "xxxxxxxx", lengths[i].first);
		if (lengths[i].second)
			h2_put(&b, F_DATA, FL_END_STREAM, id, "xxxxxxxx", lengths[i].second);
		if (lengths[i].trailers)
			h2_put_head(&b, id, "x-end: 1\n", FL_END_HEADERS | FL_END_STREAM);
		h2_say(w, &b);
		sb_end(&b);
		sb_end(&lines);
		ck_assert_msg(h2_code_of(w, id) == H2_PROTOCOL_ERROR, "row %zu", i);
		struct h2_talk *t = h2_talk_of(e, (uint32_t)i);
		ck_assert(t && t->how.cause == END_MALFORMED && !t->fin);
	}
	r->on_request = h2_answer;
	ck_assert(serves(r, w, id));
	h2_rig_free(&r);
}
END_TEST

START_TEST(settings_announce_exactly_the_limit_and_beyond_it_is_refused)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0};
	struct h2_frame f;
	uint32_t announced = 0;

	ck_assert(h2_find(w, F_SETTINGS, 0, &f));
	for (uint32_t i = 0; i + 6 <= f.n; i += 6)
		if (f.p[i + 1] == 3)
			announced = h2_u32(f.p + i + 2);
	ck_assert_uint_eq(announced, r->lim.streams_per_connection);
	r->on_request = NULL;
	for (uint32_t i = 0; i < announced + 10; i++)
		h2_put_head(&b, 1 + 2 * i, h2_post, FL_END_HEADERS);
	h2_say(w, &b);
	ck_assert_uint_eq(e->requests, announced);
	for (uint32_t i = 0; i < announced + 10; i++)
		ck_assert_uint_eq(h2_code_of(w, 1 + 2 * i), i < announced ? UINT32_MAX : H2_REFUSED_STREAM);
	ck_assert_uint_eq(r->loop->stats.v[STAT_STREAMS_REFUSED], 10);
	h2_put_u32(&b, F_RST, 0, 1, H2_CANCEL); /* one ends: one more may come */
	h2_say(w, &b);
	r->on_request = h2_answer;
	ck_assert(serves(r, w, 1 + 2 * (announced + 10)));
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(floods_end_the_connection_or_are_paced_each_with_its_counter)
{
	static const struct { const char *name; uint8_t type, flags; bool in_block, ends; enum stat_id stat; const char *payload; size_t n; uint32_t times; } floods[] = {
		{"empty DATA", F_DATA, 0, false, true, STAT_EMPTY_FRAMES, "", 0, 101},
		{"DATA of padding alone", F_DATA, FL_PADDED, false, true, STAT_EMPTY_FRAMES, "\x3\0\0\0", 4, 101},
		{"CONTINUATION without end", F_CONTINUATION, 0, true, true, STAT_CONTINUATIONS, "\x82", 1, 66},
		{"CONTINUATION without bytes", F_CONTINUATION, 0, true, true, STAT_CONTINUATIONS, "", 0, 66},
		{"PING", F_PING, 0, false, false, STAT_CONTROL_PACED, "12345678", 8, 10100},
		{"empty SETTINGS", F_SETTINGS, 0, false, false, STAT_CONTROL_PACED, "", 0, 10100},
		{"PRIORITY", F_PRIORITY, 0, false, false, STAT_CONTROL_PACED, "\0\0\0\x1\x8", 5, 10100},
	};
	for (size_t i = 0; i < UNIT_COUNT(floods); i++) {
		struct h2_raw *w;
		struct h2_end *e;
		struct h2_rig *r = raw_rig(&w, &e);
		struct sb b = {0};

		r->on_request = NULL;
		if (floods[i].in_block)
			h2_put(&b, F_HEADERS, 0, 3, "\x82", 1);
		else
			h2_put_head(&b, 3, h2_post, FL_END_HEADERS);
		for (uint32_t k = 0; k < floods[i].times; k++)
			h2_put(&b, floods[i].type, floods[i].flags, floods[i].type == F_PING || floods[i].type == F_SETTINGS ? 0 : 3, floods[i].payload, floods[i].n);
		h2_say(w, &b);
		ck_assert_msg(r->loop->stats.v[floods[i].stat] >= 1, "%s: not counted", floods[i].name);
		if (floods[i].ends) {
			ck_assert_msg(h2_code_of(w, 0) == H2_ENHANCE_YOUR_CALM && w->eof, "%s: GOAWAY %u", floods[i].name, h2_code_of(w, 0));
		} else {
			h2_rig_run(r, 3000); /* the bucket is full again: read on */
			r->on_request = h2_answer;
			ck_assert_msg(serves(r, w, 5), "%s: nothing is read any more", floods[i].name);
			ck_assert_uint_eq(h2_count(w, F_GOAWAY, -1), 0);
		}
		sb_end(&b);
		h2_rig_free(&r);
	}
}
END_TEST

START_TEST(a_header_block_too_large_on_the_wire_ends_the_connection)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0}, part = {0};

	for (int i = 0; i < 100; i++)
		h2_hpack(&part, "x-long: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n");
	h2_put(&b, F_HEADERS, 0, 1, part.p, part.n);
	for (int i = 0; i < 4; i++)
		h2_put(&b, F_CONTINUATION, 0, 1, part.p, part.n);
	h2_say(w, &b);
	ck_assert_uint_eq(h2_code_of(w, 0), H2_ENHANCE_YOUR_CALM);
	ck_assert_uint_eq(r->loop->stats.v[STAT_HEADER_WIRE], 1);
	ck_assert_uint_eq(e->requests, 0);
	sb_end(&b);
	sb_end(&part);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_list_beyond_the_limits_is_told_as_such_and_hpack_goes_on)
{
	static const struct { const char *name; int fields; const char *field; enum stat_id stat; } lists[] = {
		{"many cookie crumbs", 300, "cookie: a\n", STAT_FIELD_COUNT},
		{"a list of 33 KiB", 150, "x: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
			"012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n", STAT_HEADER_BYTES},
	};
	for (size_t i = 0; i < UNIT_COUNT(lists); i++) {
		struct h2_raw *w;
		struct h2_end *e;
		struct h2_rig *r = raw_rig(&w, &e);
		struct sb b = {0}, block = {0};

		h2_hpack(&block, h2_post);
		for (int k = 0; k < lists[i].fields; k++)
			h2_hpack(&block, lists[i].field);
		sb_add(&block, "\x40\x05x-new\x05later", 13); /* into the dynamic table: what comes last must still be decoded */
		for (size_t at = 0; at < block.n; at += 16384) {
			size_t n = block.n - at < 16384 ? block.n - at : 16384;
			h2_put(&b, at ? F_CONTINUATION : F_HEADERS, (uint8_t)((at ? 0 : FL_END_STREAM) | (at + n == block.n ? FL_END_HEADERS : 0)), 1, block.p + at, n);
		}
		h2_say(w, &b);
		ck_assert_msg(e->requests == 1 && e->refuse, "%s", lists[i].name);
		ck_assert_uint_eq(r->loop->stats.v[lists[i].stat], 1);
		/* index 62 is what was added last */
		struct sb next = {0};
		h2_hpack(&next, h2_get);
		sb_char(&next, (char)0xbe);
		h2_put(&b, F_HEADERS, FL_END_HEADERS | FL_END_STREAM, 3, next.p, next.n);
		h2_say(w, &b);
		ck_assert_uint_eq(e->requests, 2);
		ck_assert_ptr_nonnull(strstr(h2_talk_of(e, 1)->head.p, "x-new: later"));
		sb_end(&next);
		sb_end(&b);
		sb_end(&block);
		h2_rig_free(&r);
	}
}
END_TEST

START_TEST(a_flood_of_resets_is_paced_and_never_ends_the_connection)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0};
	uint32_t id = 1;

	r->on_request = NULL;
	for (int i = 0; i < 20000; i++, id += 2) {
		h2_put_head(&b, id, h2_get, FL_END_HEADERS | FL_END_STREAM);
		h2_put_u32(&b, F_RST, 0, id, H2_CANCEL);
	}
	h2_say(w, &b);
	uint32_t at_once = e->requests;
	ck_assert_uint_lt(at_once, 6000); /* the burst of 2000, and what was read with it */
	h2_rig_run(r, 2000);
	ck_assert_uint_le(e->requests - at_once, 2 * 2000 + 2000);
	h2_rig_run(r, 12000);
	ck_assert_uint_eq(e->requests, 20000);
	ck_assert_uint_ge(r->loop->stats.v[STAT_RESETS_PACED], 3);
	r->on_request = h2_answer;
	ck_assert(serves(r, w, id));
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, -1), 0);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(resets_that_the_app_makes_us_send_are_paced_too)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0};
	uint32_t id = 1;

	r->on_request = NULL;
	for (int i = 0; i < 5000; i++, id += 2) {
		h2_put_head(&b, id, h2_get, FL_END_HEADERS | FL_END_STREAM);
		h2_put_u32(&b, F_WINDOW, 0, id, 0x7fffffff); /* overflows: RST_STREAM(FLOW_CONTROL_ERROR) by us */
	}
	h2_say(w, &b);
	ck_assert_uint_lt(h2_count(w, F_RST, -1), 5000);
	ck_assert_uint_ge(r->loop->stats.v[STAT_RESETS_PACED], 1);
	h2_rig_run(r, 10000);
	ck_assert_uint_eq(h2_count(w, F_RST, -1), 5000); /* or refused: beyond streams_per_connection within one read */
	ck_assert(e->h2);
	r->on_request = h2_answer;
	ck_assert(serves(r, w, id));
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(answers_that_nobody_reads_end_the_connection_at_the_queues_limit)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_raw *w;
	simnet_knobs(r->net)->capacity = 2000;
	r->lim.control_frames = 1000000;
	struct h2_end *e = h2_rig_server_for_raw(r, &w);
	struct sb b = {0};

	h2_put_preface(&b);
	for (int i = 0; i < 20000; i++)
		h2_put(&b, F_PING, 0, 0, "12345678", 8);
	for (size_t at = 0; at < b.n && !e->closed;) { /* writes and reads nothing */
		struct iovec iov = {b.p + at, b.n - at};
		ssize_t n = sock_writev(w->s, &iov, 1);
		if (n > 0)
			at += (size_t)n;
		else if (n != -EAGAIN)
			break;
		simnet_advance(r->net, 0);
	}
	ck_assert_uint_eq(e->closed, 1);
	ck_assert_uint_eq(r->loop->stats.v[STAT_OUTBOUND_QUEUE], 1);
	ck_assert_uint_lt(r->account.peak, 600000);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(heads_that_are_held_pause_reading_until_they_are_forwarded)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0}, lines = {0};

	r->lim.header_budget = 20000;
	e = h2_rig_server_for_raw(r, &w);
	h2_put_preface(&b);
	sb_str(&lines, h2_post);
	for (int i = 0; i < 40; i++)
		sb_fmt(&lines, "x-%d: %0100d\n", i, i);
	sb_char(&lines, 0);
	r->hold_heads = true;
	h2_say(w, &b);
	for (uint32_t i = 0; i < 50; i++) { /* one at a time: what is read at once is not cut */
		h2_put_head(&b, 1 + 2 * i, lines.p, FL_END_HEADERS | FL_END_STREAM);
		h2_say(w, &b);
	}
	ck_assert_uint_eq(e->requests, 4);
	ck_assert_uint_ge(r->loop->stats.v[STAT_HEADER_BUDGET], 1);
	r->hold_heads = false;
	for (uint32_t i = 0; i < 4; i++)
		stream_forwarded(h2_talk_of(e, i)->s);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(e->requests, 50);
	sb_end(&b);
	sb_end(&lines);
	h2_rig_free(&r);
}
END_TEST

START_TEST(held_heads_of_streams_that_end_give_the_budget_back)
{
	struct h2_raw *w;
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0};

	r->lim.header_budget = 200;
	r->hold_heads = true;
	struct h2_end *e = h2_rig_server_for_raw(r, &w);
	h2_put_preface(&b);
	h2_say(w, &b);
	for (uint32_t i = 0; i < 10; i++) {
		h2_put_head(&b, 1 + 2 * i, h2_get, FL_END_HEADERS | FL_END_STREAM);
		h2_say(w, &b);
		for (uint32_t k = 0; k <= i; k++) { /* the user ends what it holds */
			struct h2_talk *t = h2_talk_of(e, k);
			if (t)
				h2_talk_reset(t, H2_INTERNAL_ERROR);
		}
		h2_rig_run(r, 0);
	}
	ck_assert_uint_eq(e->requests, 10);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(who_does_not_answer_the_notice_of_a_drain_is_not_waited_for)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0};

	r->on_request = NULL;
	h2_conn_drain(e->h2);
	h2_rig_run(r, 1900);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 1);
	ck_assert_uint_eq(e->closed, 0);
	h2_rig_run(r, 300);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 2);
	h2_rig_run(r, 1000);
	ck_assert_uint_eq(e->closed, 1);
	sb_end(&b);
	h2_rig_free(&r);

	/* A call that is open goes on to its end. */
	r = raw_rig(&w, &e);
	r->on_request = NULL;
	h2_put_head(&b, 1, h2_post, FL_END_HEADERS | FL_END_STREAM);
	h2_say(w, &b);
	h2_conn_drain(e->h2);
	h2_rig_run(r, 3000);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 2);
	ck_assert_uint_eq(e->closed, 0);
	h2_answer(h2_talk_of(e, 0));
	h2_rig_run(r, 900);
	ck_assert_int_eq(h2_talk_of(e, 0)->how.cause, END_DONE);
	ck_assert_uint_eq(e->closed, 0);
	h2_rig_run(r, 200);
	ck_assert_uint_eq(e->closed, 1);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_drain_says_goaway_twice_and_serves_what_was_on_its_way)
{
	struct h2_raw *w;
	struct h2_end *e;
	struct h2_rig *r = raw_rig(&w, &e);
	struct sb b = {0};
	struct h2_frame f;

	r->on_request = NULL;
	h2_put_head(&b, 1, h2_post, FL_END_HEADERS | FL_END_STREAM);
	h2_say(w, &b);
	h2_conn_drain(e->h2);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 1);
	ck_assert(h2_find(w, F_GOAWAY, 0, &f) && h2_u32(f.p) == 0x7fffffff);
	ck_assert(h2_find(w, F_PING, 0, &f) && f.flags == 0);
	h2_put(&b, F_PING, FL_ACK, 0, f.p, 8);
	h2_put_head(&b, 3, h2_post, FL_END_HEADERS | FL_END_STREAM); /* was on its way, and gRPC writes it behind the ACK */
	h2_say(w, &b);
	ck_assert_uint_eq(e->requests, 2);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 1);
	ck_assert_uint_eq(h2_count(w, F_PING, 0), 2);
	h2_put(&b, F_PING, FL_ACK, 0, f.p, 8);
	h2_say(w, &b);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, 0), 2);
	while (h2_next(w, &f))
		if (f.type == F_GOAWAY && h2_u32(f.p) != 0x7fffffff)
			ck_assert_uint_eq(h2_u32(f.p), 3);
	h2_put_head(&b, 5, h2_post, FL_END_HEADERS | FL_END_STREAM); /* too late: it may be sent elsewhere, so it must not run */
	h2_say(w, &b);
	ck_assert_uint_eq(e->requests, 2);
	ck_assert_uint_eq(e->closed, 0);
	h2_answer(h2_talk_of(e, 0));
	h2_answer(h2_talk_of(e, 1));
	h2_rig_run(r, 0);
	ck_assert_int_eq(h2_talk_of(e, 0)->how.cause, END_DONE);
	ck_assert_int_eq(h2_talk_of(e, 1)->how.cause, END_DONE);

	/* All is said. Who writes just now would read nothing more, not even the answers, if its socket were closed meanwhile: it closes first. */
	h2_put_head(&b, 7, h2_post, FL_END_HEADERS | FL_END_STREAM);
	h2_say(w, &b);
	ck_assert_uint_eq(e->requests, 2);
	ck_assert_uint_eq(e->closed, 0);
	ck_assert(!w->eof);
	sock_close(&w->s);
	h2_rig_run(r, 0);
	ck_assert_uint_eq(e->closed, 1);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_preface_or_a_head_that_does_not_come_in_time_ends_the_connection)
{
	for (int what = 0; what < 3; what++) {
		struct h2_rig *r = h2_rig_new();
		struct h2_raw *w;
		struct h2_end *e = h2_rig_server_for_raw(r, &w);
		struct sb b = {0};

		h2_put_preface(&b);
		if (what == 0)
			b.n = 10;
		if (what == 1)
			b.n = 24; /* no SETTINGS */
		if (what == 2)
			h2_put(&b, F_HEADERS, 0, 1, "\x82", 1);
		h2_say(w, &b);
		for (int i = 0; i < 4; i++) {
			h2_rig_run(r, 1000);
			ck_assert_uint_eq(e->closed, 0);
			if (what == 2) { /* a byte a second does not help */
				h2_put(&b, F_CONTINUATION, 0, 1, "\x86", 1);
				h2_say(w, &b);
			}
		}
		h2_rig_run(r, 1100);
		ck_assert_uint_eq(e->closed, 1);
		ck_assert_uint_eq(r->loop->stats.v[what == 2 ? STAT_HEADER_TIME : STAT_PREFACE_TIME], 1);
		sb_end(&b);
		h2_rig_free(&r);
	}
}
END_TEST

START_TEST(a_reader_that_takes_not_even_heads_loses_its_connection)
{
	struct h2_rig *r = h2_rig_new();
	struct h2_raw *w;
	simnet_knobs(r->net)->capacity = 300;
	struct h2_end *e = h2_rig_server_for_raw(r, &w);
	struct sb b = {0};

	h2_put_preface(&b);
	for (int i = 0; i < 100; i++)
		h2_put(&b, F_PING, 0, 0, "12345678", 8);
	for (size_t at = 0; at < b.n;) { /* writes and reads nothing */
		struct iovec iov = {b.p + at, b.n - at};
		ssize_t n = sock_writev(w->s, &iov, 1);
		at += n > 0 ? (size_t)n : 0;
		simnet_advance(r->net, 0);
	}
	simnet_advance(r->net, 29 * SEC);
	ck_assert_uint_eq(e->closed, 0);
	simnet_advance(r->net, 40 * SEC);
	ck_assert_uint_eq(e->closed, 1);
	ck_assert_uint_eq(r->loop->stats.v[STAT_STALLED], 1);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(a_script_read_byte_by_byte_is_understood_alike)
{
	struct h2_raw *w;
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0};

	r->on_request = h2_answer;
	struct h2_end *e = h2_rig_server_for_raw(r, &w);
	h2_put_preface(&b);
	for (uint32_t i = 0; i < 5; i++) {
		h2_put_head(&b, 1 + 2 * i, h2_post, FL_END_HEADERS);
		h2_put(&b, F_PRIORITY, 0, 1 + 2 * i, "\0\0\0\0\x8", 5);
		h2_put(&b, F_DATA, FL_END_STREAM, 1 + 2 * i, "hello", 5);
		h2_put(&b, F_DATA, FL_END_STREAM, 1 + 2 * i, "again", 5);
	}
	struct sb one = {0};
	for (size_t i = 0; i < b.n; i++) {
		sb_add(&one, b.p + i, 1);
		h2_say(w, &one);
	}
	ck_assert_uint_eq(e->requests, 5);
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert_uint_eq(h2_count(w, F_DATA, 1 + 2 * i), 1);
		/* the answer was early, so RST(NO_ERROR) went out with it: what follows on the stream is no fault */
		ck_assert_uint_eq(h2_code_of(w, 1 + 2 * i), H2_NO_ERROR);
	}
	ck_assert(serves(r, w, 21));
	sb_end(&one);
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

START_TEST(late_frames_on_a_thousand_streams_that_we_ended_are_no_fault)
{
	struct h2_raw *w;
	struct h2_rig *r = h2_rig_new();
	struct sb b = {0};

	r->lim.streams_per_connection = 1000;
	struct h2_end *e = h2_rig_server_for_raw(r, &w);
	h2_put_preface(&b);
	for (uint32_t i = 0; i < 1000; i++)
		h2_put_head(&b, 1 + 2 * i, h2_post, FL_END_HEADERS);
	h2_say(w, &b);
	for (uint32_t i = 0; i < 1000; i++)
		h2_talk_reset(h2_talk_of(e, i), H2_CANCEL);
	h2_rig_run(r, 0);
	for (uint32_t i = 0; i < 1000; i++) /* were on their way: trailers too */
		if (i & 1)
			h2_put(&b, F_DATA, FL_END_STREAM, 1 + 2 * i, "late", 4);
		else
			h2_put_head(&b, 1 + 2 * i, "x-end: 1\n", FL_END_HEADERS | FL_END_STREAM);
	h2_say(w, &b);
	ck_assert_uint_eq(h2_count(w, F_GOAWAY, -1), 0);
	ck_assert_uint_eq(h2_count(w, F_RST, -1), 1000);
	r->on_request = h2_answer;
	ck_assert(serves(r, w, 3001));
	sb_end(&b);
	h2_rig_free(&r);
}
END_TEST

UNIT_SUITE("h2_server", each_bad_frame_is_answered_where_it_belongs, a_malformed_request_is_reset_and_nobody_hears_of_it,
	a_body_that_is_not_as_long_as_said_is_reset, settings_announce_exactly_the_limit_and_beyond_it_is_refused,
	floods_end_the_connection_or_are_paced_each_with_its_counter, a_header_block_too_large_on_the_wire_ends_the_connection,
	a_list_beyond_the_limits_is_told_as_such_and_hpack_goes_on, a_flood_of_resets_is_paced_and_never_ends_the_connection,
	resets_that_the_app_makes_us_send_are_paced_too, answers_that_nobody_reads_end_the_connection_at_the_queues_limit,
	heads_that_are_held_pause_reading_until_they_are_forwarded, held_heads_of_streams_that_end_give_the_budget_back,
	a_drain_says_goaway_twice_and_serves_what_was_on_its_way, who_does_not_answer_the_notice_of_a_drain_is_not_waited_for, a_preface_or_a_head_that_does_not_come_in_time_ends_the_connection,
	a_reader_that_takes_not_even_heads_loses_its_connection, a_script_read_byte_by_byte_is_understood_alike, late_frames_on_a_thousand_streams_that_we_ended_are_no_fault)
