/* Frames that break the rules of HTTP/2, from either side: the right code, the right counter, and nobody else hurt. RFC 9113; reliability S1-S7. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <string.h>

#define ONE "10.0.0.1:50051"

struct row { const char *what; const char *lines; uint32_t code; };

START_TEST(a_malformed_request_ends_its_stream_only)
{
	static const struct row rows[] = {
		{"no :path", ":method: POST\n:scheme: http\n:authority: a\n", H2_PROTOCOL_ERROR},
		{"no :method", ":scheme: http\n:authority: a\n:path: /\n", H2_PROTOCOL_ERROR},
		{"no :scheme", ":method: POST\n:authority: a\n:path: /\n", H2_PROTOCOL_ERROR},
		{"empty :path", ":method: POST\n:scheme: http\n:authority: a\n:path: \n", H2_PROTOCOL_ERROR},
		{"two :path", ":method: POST\n:scheme: http\n:path: /a\n:path: /b\n", H2_PROTOCOL_ERROR},
		{":status", ":method: POST\n:scheme: http\n:path: /a\n:status: 200\n", H2_PROTOCOL_ERROR},
		{"unknown pseudo", ":method: POST\n:scheme: http\n:path: /a\n:what: x\n", H2_PROTOCOL_ERROR},
		{"pseudo behind a field", ":method: POST\n:scheme: http\nx-a: 1\n:path: /a\n", H2_PROTOCOL_ERROR},
		{"upper case", ":method: POST\n:scheme: http\n:path: /a\nX-A: 1\n", H2_PROTOCOL_ERROR},
		{"connection", ":method: POST\n:scheme: http\n:path: /a\nconnection: close\n", H2_PROTOCOL_ERROR},
		{"transfer-encoding", ":method: POST\n:scheme: http\n:path: /a\ntransfer-encoding: chunked\n", H2_PROTOCOL_ERROR},
		{"te", ":method: POST\n:scheme: http\n:path: /a\nte: gzip\n", H2_PROTOCOL_ERROR},
		{"CR in a value", ":method: POST\n:scheme: http\n:path: /a\nx: a\rb\n", H2_PROTOCOL_ERROR},
		{"a blank in a name", ":method: POST\n:scheme: http\n:path: /a\nx y: a\n", H2_PROTOCOL_ERROR},
		{"content-length twice", ":method: POST\n:scheme: http\n:path: /a\ncontent-length: 1\ncontent-length: 2\n", H2_PROTOCOL_ERROR},
		{"content-length without a body", ":method: POST\n:scheme: http\n:path: /a\ncontent-length: 7\n", H2_PROTOCOL_ERROR},
	};
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct raw *w = raw_new(r, DOOR);
	uint32_t id = 1;

	raw_preface(w);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++, id += 2) {
		raw_headers(w, id, rows[i].lines, true);
		rig_settle(r);
		ck_assert_msg(raw_code(w, id) == rows[i].code, "%s: code %u", rows[i].what, raw_code(w, id));
		ck_assert_msg(!w->eof, "%s", rows[i].what);
	}
	ck_assert_uint_eq(p->requests, 0);
	ck_assert_uint_eq(rig_stat(r, STAT_H2_STREAM_ERRORS), UNIT_COUNT(rows));
	raw_headers(w, id, raw_request, true);
	rig_settle(r);
	ck_assert_uint_eq(p->requests, 1);
	ck_assert_uint_eq(raw_count(w, F_GOAWAY, -1), 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_body_that_is_not_as_long_as_was_said_is_no_request)
{
	static const struct { const char *length; const char *body; } rows[] = {{"content-length: 5\n", "1234"}, {"content-length: 5\n", "123456"}};
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ANSWERS);
	struct raw *w = raw_new(r, DOOR);

	raw_preface(w);
	for (uint32_t i = 0; i < UNIT_COUNT(rows); i++) {
		char lines[512];
		snprintf(lines, sizeof(lines), "%s%s", raw_request, rows[i].length);
		raw_headers(w, 1 + 2 * i, lines, false);
		raw_frame(w, F_DATA, FL_END_STREAM, 1 + 2 * i, rows[i].body, strlen(rows[i].body));
		rig_settle(r);
		ck_assert_uint_eq(raw_code(w, 1 + 2 * i), H2_PROTOCOL_ERROR);
	}
	ck_assert_uint_eq(p->open, 0);
	ck_assert(!w->eof);
	rig_free(&r);
}
END_TEST

START_TEST(a_connection_error_is_told_by_goaway_and_counted)
{
	static const struct { const char *what; uint8_t type, flags; uint32_t id; const char *payload; size_t n; uint32_t code; } rows[] = {
		{"DATA on stream 0", F_DATA, 0, 0, "x", 1, H2_PROTOCOL_ERROR},
		{"HEADERS on stream 0", F_HEADERS, 4, 0, "\x82", 1, H2_PROTOCOL_ERROR},
		{"HEADERS on an even stream", F_HEADERS, 5, 2, "\x82", 1, H2_PROTOCOL_ERROR},
		{"DATA on an idle stream", F_DATA, 0, 5, "x", 1, H2_PROTOCOL_ERROR},
		{"a PING of 7 bytes", F_PING, 0, 0, "1234567", 7, H2_FRAME_SIZE_ERROR},
		{"a PING on a stream", F_PING, 0, 1, "12345678", 8, H2_PROTOCOL_ERROR},
		{"SETTINGS of 5 bytes", F_SETTINGS, 0, 0, "12345", 5, H2_FRAME_SIZE_ERROR},
		{"a window above 2^31-1", F_SETTINGS, 0, 0, "\0\4\377\377\377\377", 6, H2_FLOW_CONTROL_ERROR},
		{"an increment of 0", F_WINDOW, 0, 0, "\0\0\0\0", 4, H2_PROTOCOL_ERROR},
		{"a connection window above 2^31-1", F_WINDOW, 0, 0, "\177\377\377\377", 4, H2_FLOW_CONTROL_ERROR},
		{"RST on an idle stream", F_RST, 0, 9, "\0\0\0\0", 4, H2_PROTOCOL_ERROR},
		{"PUSH_PROMISE", F_PUSH, 4, 1, "\0\0\0\2\x82", 5, H2_PROTOCOL_ERROR},
		{"CONTINUATION alone", F_CONTINUATION, 4, 1, "\x82", 1, H2_PROTOCOL_ERROR},
		{"HPACK out of its table", F_HEADERS, 5, 1, "\xff\xff\x03", 3, H2_COMPRESSION_ERROR},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_demo(ONE, NULL, NULL);
		struct raw *w = raw_new(r, DOOR);
		struct frame f;
		raw_preface(w);
		rig_settle(r);
		raw_frame(w, rows[i].type, rows[i].flags, rows[i].id, rows[i].payload, rows[i].n);
		rig_settle(r);
		ck_assert_msg(raw_find(w, F_GOAWAY, 0, &f), "%s: no GOAWAY", rows[i].what);
		ck_assert_msg(f.p[7] == rows[i].code, "%s: code %u", rows[i].what, f.p[7]);
		ck_assert_msg(w->eof, "%s: it stays open", rows[i].what);
		ck_assert_msg(rig_stat(r, STAT_H2_PROTOCOL_ERRORS) == 1, "%s: counted %llu", rows[i].what, (unsigned long long)rig_stat(r, STAT_H2_PROTOCOL_ERRORS));
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_malformed_answer_is_unavailable_to_the_app_and_502_to_a_browser)
{
	static const char *const rows[] = {":status: abc\n", "x: 1\n", ":status: 200\n:path: /\n", ":status: 200\nConnection: x\n", ":status: 200\nx: a\rb\n", ":status: 101\n"};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_demo(ONE, NULL, NULL);
		struct raw *p = raw_provider(r, ONE);
		struct caller *a = caller_new(r, DOOR);
		struct call *c[2] = {call_unary(a, DEMO, NULL), call_plain(a, "GET", DEMO, "/", NULL, true)};
		rig_settle(r);
		raw_frame(p->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		raw_headers(p->accepted[0], 1, rows[i], false);
		raw_headers(p->accepted[0], 3, rows[i], true);
		rig_settle(r);
		ck_assert_msg(c[0]->grpc == GRPC_UNAVAILABLE, "row %zu: %d", i, c[0]->grpc);
		ck_assert_msg(c[1]->status == 502, "row %zu: %d", i, c[1]->status);
		ck_assert_msg(strstr(call_text(c[1]), "UPE") != NULL, "row %zu", i);
		ck_assert_uint_eq(raw_code(p->accepted[0], 1), H2_PROTOCOL_ERROR);
		ck_assert(!p->accepted[0]->eof);
		ck_assert_uint_eq(a->goaways, 0);
		rig_free(&r);
	}
}
END_TEST

START_TEST(an_answer_whose_header_list_is_too_large_is_told_as_such)
{
	struct rig *r = rig_demo(ONE, NULL, "limits: {header_bytes: 2KiB}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL);
	char big[3100] = "x-big: ";

	memset(big + 7, 'b', 3000);
	rig_settle(r);
	served_head(provider_last(p), 200, big, false);
	rig_settle(r);
	ck_assert_int_eq(c->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert(provider_last(p)->ended);
	ck_assert_uint_eq(rig_stat(r, STAT_HEADER_BYTES), 1);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("frames", a_malformed_request_ends_its_stream_only, a_body_that_is_not_as_long_as_was_said_is_no_request,
	a_connection_error_is_told_by_goaway_and_counted, a_malformed_answer_is_unavailable_to_the_app_and_502_to_a_browser,
	an_answer_whose_header_list_is_too_large_is_told_as_such)
