/* net/grpc_call against a server that speaks bytes by hand: framing at every cut, every end, and who is told what. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "net/grpc_call.h"
#include "tests/net/h2rig.h"
#include "tests/unit.h"

/* What the caller was told, as words: "head", "begin 5", "'bytes'" (pieces of one message joined), ".", "end STATUS answered|- 'message'". */
struct told {
	struct grpc_call *g;
	struct sb words;
	uint32_t most;            /* the largest message that is accepted */
	int ends, cancel_at;      /* cancel_at: in the n-th event, from 1 */
	int events;
	bool pause_at_bytes, in_message;
};
struct talk { struct h2_rig *r; struct h2_end *c; struct h2_raw *w; struct told t; };

static const char ok[] = ":status: 200\ncontent-type: application/grpc\n";

static void event(struct told *t)
{
	ck_assert_int_eq(t->ends, 0);
	if (++t->events == t->cancel_at) {
		grpc_call_cancel(&t->g);
		ck_assert_ptr_null(t->g);
		t->ends = 1; /* nothing may follow */
	}
}

static void on_head(void *user, struct fields *head)
{
	struct told *t = user;

	ck_assert(str_is(fields_value(head, FIELD_STATUS), "200"));
	sb_str(&t->words, "head ");
	event(t);
}

static bool on_begin(void *user, uint32_t n)
{
	struct told *t = user;

	sb_fmt(&t->words, "begin %u '", n);
	event(t);
	return n <= t->most;
}

static void on_bytes(void *user, const void *p, size_t n, bool whole)
{
	struct told *t = user;

	sb_add(&t->words, p, n);
	if (whole)
		sb_str(&t->words, "' ");
	if (t->pause_at_bytes)
		grpc_call_pause(t->g, true);
	event(t);
}

static void on_end(void *user, int status, const char *message, bool answered)
{
	struct told *t = user;

	sb_fmt(&t->words, "end %s %s '%s'", grpc_status_name(status), answered ? "answered" : "-", message);
	event(t);
	t->ends = 1;
	ck_assert_int_eq(grpc_call_send(t->g ? t->g : NULL, "x", 1), ERR_CLOSED);
	grpc_call_cancel(&t->g); /* harmless */
}

static const struct grpc_call_events call_events = {.on_head = on_head, .on_begin = on_begin, .on_bytes = on_bytes, .on_end = on_end};

static void call(struct talk *k, const struct grpc_call_spec *spec)
{
	static const struct grpc_call_spec usual = {.scheme = "http", .authority = "demo:1", .path = "/s/m"};

	k->t = (struct told){.most = 1 << 20};
	k->t.g = grpc_call_open(k->c->h2, spec ? spec : &usual, &call_events, &k->t);
	ck_assert_ptr_nonnull(k->t.g);
}

static void talk_new(struct talk *k, uint32_t window)
{
	struct sb b = {0};

	k->r = h2_rig_new();
	k->r->accept_raw = true;
	if (window)
		k->r->lim.window_up = window;
	k->c = h2_rig_client(k->r);
	k->w = k->r->raw_server;
	h2_put(&b, F_SETTINGS, 0, 0, NULL, 0);
	h2_put(&b, F_SETTINGS, FL_ACK, 0, NULL, 0);
	h2_say(k->w, &b);
	sb_end(&b);
	ck_assert_uint_eq(k->c->ups, 1);
}

static void talk_end(struct talk *k)
{
	if (k->t.g)
		grpc_call_cancel(&k->t.g);
	sb_end(&k->t.words);
	h2_rig_free(&k->r);
}

static const char *words(struct talk *k)
{
	sb_char(&k->t.words, 0);
	k->t.words.n--;
	return k->t.words.p;
}

START_TEST(a_call_asks_as_the_specification_says)
{
	struct talk k;
	struct h2_frame f;
	struct sb b = {0}, head = {0};
	const struct str metadata[][2] = {{STR("authorization"), STR("Bearer t")}, {STR("x-bin"), STR("AAE=")}};

	talk_new(&k, 0);
	call(&k, &(struct grpc_call_spec){.scheme = "https", .authority = "istiod:15012", .path = "/a.B/C", .user_agent = "thinmesh", .metadata = metadata,
		.nmetadata = 2, .timeout_ns = 1500 * MS});
	ck_assert_int_eq(grpc_call_send(k.t.g, "hello", 5), 0); /* before any answer */
	ck_assert_int_eq(grpc_call_send(k.t.g, NULL, 0), 0);
	ck_assert_uint_eq(grpc_call_unsent(k.t.g), 15);
	h2_rig_run(k.r, 0);
	ck_assert_uint_eq(grpc_call_unsent(k.t.g), 0);
	ck_assert(h2_find(k.w, F_HEADERS, 1, &f));
	ck_assert_int_eq(f.flags, FL_END_HEADERS);
	ck_assert(h2_find(k.w, F_DATA, 1, &f));
	ck_assert_uint_eq(f.n, 10); /* a message is one frame */
	ck_assert_mem_eq(f.p, "\0\0\0\0\5hello", 10);
	ck_assert_uint_eq(h2_count(k.w, F_DATA, 1), 2);
	grpc_call_half_close(k.t.g);
	ck_assert_int_eq(grpc_call_send(k.t.g, "x", 1), ERR_CLOSED);
	grpc_call_half_close(k.t.g);
	h2_rig_run(k.r, 0);
	for (k.w->at = 0; h2_next(k.w, &f);)
		if (f.type == F_DATA)
			ck_assert_int_eq(f.flags, f.n ? 0 : FL_END_STREAM);
	ck_assert_str_eq(words(&k), "");
	/* The head as a server of ours reads it. */
	struct h2_rig *r = h2_rig_new();
	struct h2_end *c = h2_rig_client(r);
	struct told t = {.most = 100};
	h2_rig_run(r, 0);
	t.g = grpc_call_open(c->h2, &(struct grpc_call_spec){.scheme = "https", .authority = "istiod:15012", .path = "/a.B/C", .user_agent = "thinmesh", .metadata = metadata,
		.nmetadata = 2, .timeout_ns = 1500 * MS}, &call_events, &t);
	r->on_request = h2_answer;
	h2_rig_run(r, 0);
	sb_add(&head, h2_talk_of(r->server, 0)->head.p, h2_talk_of(r->server, 0)->head.n);
	sb_char(&head, 0);
	ck_assert_str_eq(head.p, ":method: POST\n:scheme: https\n:path: /a.B/C\n:authority: istiod:15012\nte: trailers\ngrpc-timeout: 1500m\n"
		"content-type: application/grpc\nuser-agent: thinmesh\nauthorization: Bearer t\nx-bin: AAE=\n");
	sb_end(&head);
	sb_end(&t.words);
	h2_rig_free(&r);
	sb_end(&b);
	talk_end(&k);
}
END_TEST

START_TEST(messages_are_told_the_same_at_every_cut)
{
	static const char body[] = "\0\0\0\0\5hello\0\0\0\0\0\0\0\0\0\2yo\0\0\0\0\0";

	for (size_t cut = 0; cut < sizeof(body); cut++)
		for (size_t second = cut; second < sizeof(body); second += cut % 3 + 1) {
			struct talk k;
			struct sb b = {0};
			talk_new(&k, 0);
			call(&k, NULL);
			h2_rig_run(k.r, 0);
			h2_put_head(&b, 1, ok, FL_END_HEADERS);
			h2_put(&b, F_DATA, 0, 1, body, cut);
			h2_say(k.w, &b);
			h2_put(&b, F_DATA, 0, 1, body + cut, second - cut);
			h2_put(&b, F_DATA, 0, 1, body + second, sizeof(body) - 1 - second);
			h2_put_head(&b, 1, "grpc-status: 0\n", FL_END_HEADERS | FL_END_STREAM);
			h2_say(k.w, &b);
			ck_assert_str_eq(words(&k), "head begin 5 'hello' begin 0 '' begin 2 'yo' begin 0 '' end OK answered ''");
			sb_end(&b);
			talk_end(&k);
		}
}
END_TEST

/* What the server says on stream 1, and what the caller is told. */
struct step { char what; uint8_t type, flags; uint32_t id; const char *text; size_t n; };
#define FRAME(type, flags, id, payload) {'F', type, flags, id, payload, sizeof(payload) - 1}
#define HEAD(flags, lines) {'H', F_HEADERS, flags, 1, lines, 0}
#define END (FL_END_HEADERS | FL_END_STREAM)
START_TEST(each_end_is_mapped_as_the_specification_says)
{
	static const struct { struct step steps[4]; const char *told; uint32_t rst; } rows[] = {
		{{HEAD(END, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\ngrpc-message: no%20such%25\n")}, "end UNIMPLEMENTED answered 'no such%'", UINT32_MAX},
		{{HEAD(END, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n")}, "end OK answered ''", UINT32_MAX},
		{{HEAD(END, ":status: 503\ncontent-type: application/grpc\ngrpc-status: 7\n")}, "end PERMISSION_DENIED answered ''", UINT32_MAX},
		{{HEAD(END, ":status: 200\ncontent-type: application/grpc\n")}, "end INTERNAL answered 'the server ended the call without trailers'", UINT32_MAX},
		{{HEAD(4, ok), HEAD(END, "grpc-status: 8\ngrpc-message: too many\n")}, "head end RESOURCE_EXHAUSTED answered 'too many'", UINT32_MAX},
		{{HEAD(4, ok), HEAD(END, "x: y\n")}, "head end UNKNOWN answered 'the server's trailers have no grpc-status'", UINT32_MAX},
		{{HEAD(4, ok), HEAD(END, "grpc-status: -1\n")}, "head end UNKNOWN answered 'the server's grpc-status '-1' is no number'", UINT32_MAX},
		{{HEAD(4, ok), HEAD(END, "grpc-status: 77\n")}, "head end ? answered ''", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\0\0\0\1x"), FRAME(F_DATA, FL_END_STREAM, 1, "")},
			"head begin 1 'x' end INTERNAL answered 'the server ended the call without trailers'", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\0\0\0\2x"), HEAD(END, "grpc-status: 0\n")},
			"head begin 2 'xend INTERNAL answered 'the server ended the call inside a message'", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\0\0"), HEAD(END, "grpc-status: 0\n")},
			"head end INTERNAL answered 'the server ended the call inside a message'", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\0\0\0\2x"), HEAD(END, "grpc-status: 14\ngrpc-message: dying\n")}, "head begin 2 'xend UNAVAILABLE answered 'dying'", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\1\0\0\0\2xx")}, "head end INTERNAL answered 'the server sent a compressed message, though we accept none'", H2_CANCEL},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\x80\0\0\0\2xx")}, "head end INTERNAL answered 'the server sent a frame with unknown flags'", H2_CANCEL},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\0\x10\0\1xx")}, "head begin 1048577 'end RESOURCE_EXHAUSTED answered 'a message of 1048577 bytes is too large for us'", H2_CANCEL},
		{{HEAD(4, ok), FRAME(F_DATA, 0, 1, "\0\xff\xff\xff\xff")}, "head begin 4294967295 'end RESOURCE_EXHAUSTED answered 'a message of 4294967295 bytes is too large for us'", H2_CANCEL},
		{{HEAD(4, ":status: 200\ncontent-type: text/html\n")}, "end UNKNOWN answered 'the server answers with content-type 'text/html', which is not gRPC'", H2_CANCEL},
		{{HEAD(4, ":status: 401\ncontent-type: text/html\n")}, "end UNAUTHENTICATED answered 'the server answers with HTTP status 401 and no grpc-status'", H2_CANCEL},
		{{HEAD(END, ":status: 404\n")}, "end UNIMPLEMENTED answered 'the server answers with HTTP status 404 and no grpc-status'", UINT32_MAX},
		{{HEAD(4, ":status: 503\n")}, "end UNAVAILABLE answered 'the server answers with HTTP status 503 and no grpc-status'", H2_CANCEL},
		{{FRAME(F_RST, 0, 1, "\0\0\0\7")}, "end UNAVAILABLE - 'the server refused the stream'", UINT32_MAX},
		{{FRAME(F_RST, 0, 1, "\0\0\0\10")}, "end CANCELLED - 'the server reset the stream (HTTP/2 code 8)'", UINT32_MAX},
		{{FRAME(F_RST, 0, 1, "\0\0\0\13")}, "end RESOURCE_EXHAUSTED - 'the server reset the stream (HTTP/2 code 11)'", UINT32_MAX},
		{{HEAD(4, ok), FRAME(F_RST, 0, 1, "\0\0\0\2")}, "head end INTERNAL answered 'the server reset the stream (HTTP/2 code 2)'", UINT32_MAX},
		{{FRAME(F_RST, 0, 1, "\0\0\0\14")}, "end PERMISSION_DENIED - 'the server reset the stream (HTTP/2 code 12)'", UINT32_MAX},
		{{FRAME(F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0")}, "end UNAVAILABLE - 'the connection goes away, the call was not processed'", UINT32_MAX},
		{{FRAME(F_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0"), HEAD(4, ok), HEAD(END, "grpc-status: 0\n")}, "head end OK answered ''", UINT32_MAX},
		{{HEAD(4, ok), {'X', 0, 0, 0, NULL, 0}}, "head end UNAVAILABLE answered 'the connection was lost'", UINT32_MAX},
		{{{'X', 0, 0, 0, NULL, 0}}, "end UNAVAILABLE - 'the connection was lost'", UINT32_MAX},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct talk k;
		struct sb b = {0};
		talk_new(&k, 0);
		call(&k, NULL);
		ck_assert_int_eq(grpc_call_send(k.t.g, "ask", 3), 0);
		grpc_call_half_close(k.t.g);
		h2_rig_run(k.r, 0);
		for (int s = 0; s < 4 && rows[i].steps[s].what; s++) {
			const struct step *at = &rows[i].steps[s];
			if (at->what == 'F')
				h2_put(&b, at->type, at->flags, at->id, at->text, at->n);
			else if (at->what == 'H')
				h2_put_head(&b, at->id, at->text, at->flags);
			h2_say(k.w, &b);
			if (at->what == 'X') {
				sock_close(&k.w->s);
				h2_rig_run(k.r, 0);
			}
		}
		ck_assert_msg(strcmp(words(&k), rows[i].told) == 0, "row %zu: %s", i, words(&k));
		ck_assert_msg(h2_code_of(k.w, 1) == rows[i].rst, "row %zu: %u", i, h2_code_of(k.w, 1));
		sb_end(&b);
		talk_end(&k);
	}
}
END_TEST

START_TEST(a_call_may_be_cancelled_in_any_of_its_events)
{
	static const char body[] = "\0\0\0\0\5hello\0\0\0\0\0\0\0\0\0\2yo";

	for (int at = 1; at <= 8; at++) {
		struct talk k;
		struct sb b = {0};
		talk_new(&k, 0);
		call(&k, NULL);
		k.t.cancel_at = at;
		h2_rig_run(k.r, 0);
		h2_put_head(&b, 1, ok, FL_END_HEADERS);
		h2_put(&b, F_DATA, 0, 1, body, sizeof(body) - 1);
		if (at != 8) {
			h2_put_head(&b, 1, "grpc-status: 0\n", FL_END_HEADERS | FL_END_STREAM);
			h2_say(k.w, &b);
			ck_assert_int_eq(k.t.events, at);
		} else { /* from outside */
			h2_say(k.w, &b);
			grpc_call_cancel(&k.t.g);
			h2_rig_run(k.r, 0);
			ck_assert_uint_eq(h2_code_of(k.w, 1), H2_CANCEL);
			ck_assert_int_eq(k.t.events, 7);
		}
		sb_end(&b);
		talk_end(&k);
	}
	struct grpc_call *none = NULL;
	grpc_call_cancel(&none);
}
END_TEST

static uint64_t credited(struct talk *k)
{
	struct h2_frame f;
	uint64_t n = 0;

	k->w->at = 0;
	while (h2_next(k->w, &f))
		if (f.type == F_WINDOW && f.id == 1)
			n += h2_u32(f.p);
	return n;
}

START_TEST(a_paused_call_gives_no_credit_until_it_goes_on)
{
	for (int paused = 0; paused < 2; paused++) {
		struct talk k;
		struct sb b = {0}, body = {0};
		talk_new(&k, 65535);
		call(&k, NULL);
		k.t.pause_at_bytes = paused;
		h2_rig_run(k.r, 0);
		sb_add(&body, "\0\0\0\xea\x60", 5); /* 60000 */
		for (int i = 0; i < 60000; i++)
			sb_char(&body, 'x');
		h2_put_head(&b, 1, ok, FL_END_HEADERS);
		for (size_t at = 0; at < body.n; at += 15000)
			h2_put(&b, F_DATA, 0, 1, body.p + at, body.n - at < 15000 ? body.n - at : 15000);
		h2_say(k.w, &b);
		if (paused) {
			ck_assert_uint_eq(credited(&k), 0);
			k.t.pause_at_bytes = false;
			grpc_call_pause(k.t.g, false);
			h2_rig_run(k.r, 0);
		}
		ck_assert_uint_ge(credited(&k), 32768); /* nghttp2 gives it back by half windows */
		ck_assert_uint_eq(k.t.words.n, strlen("head begin 60000 ''") + 1 + 60000);
		sb_end(&b);
		sb_end(&body);
		talk_end(&k);
	}
}
END_TEST

START_TEST(the_deadline_is_kept_here_too)
{
	struct talk k;

	talk_new(&k, 0);
	call(&k, &(struct grpc_call_spec){.scheme = "http", .authority = "a", .path = "/s/m", .timeout_ns = 200 * MS});
	h2_rig_run(k.r, 150);
	ck_assert_str_eq(words(&k), "");
	h2_rig_run(k.r, 100);
	ck_assert_str_eq(words(&k), "end DEADLINE_EXCEEDED - 'the deadline is over'");
	ck_assert_uint_eq(h2_code_of(k.w, 1), H2_CANCEL);
	talk_end(&k);
}
END_TEST

START_TEST(what_the_account_refuses_was_not_queued_and_the_call_goes_on)
{
	struct talk k;
	struct sb b = {0};
	char *big = xalloc(100000);

	talk_new(&k, 0);
	call(&k, NULL);
	h2_rig_run(k.r, 0);
	k.r->account.limit = k.r->account.used + 50000;
	ck_assert_int_eq(grpc_call_send(k.t.g, big, 100000), -ENOMEM);
	ck_assert_uint_eq(grpc_call_unsent(k.t.g), 0);
	ck_assert_int_eq(grpc_call_send(k.t.g, "small", 5), 0);
	h2_rig_run(k.r, 0);
	ck_assert_uint_eq(h2_count(k.w, F_DATA, 1), 1);
	/* No room for a call at all. */
	k.r->account.limit = 1;
	for (int i = 0; i < 100; i++) { /* what the connection has in hand is used up first */
		struct told t = {.most = 1};
		t.g = grpc_call_open(k.c->h2, &(struct grpc_call_spec){.scheme = "http", .authority = "a", .path = "/b"}, &call_events, &t);
		if (!t.g)
			goto refused;
		grpc_call_cancel(&t.g);
	}
	ck_abort_msg("a call was never refused");
refused:
	k.r->account.limit = SIZE_MAX;
	h2_put_head(&b, 1, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 0\n", FL_END_HEADERS | FL_END_STREAM);
	h2_say(k.w, &b);
	ck_assert_str_eq(words(&k), "end OK answered ''");
	sb_end(&b);
	free(big);
	talk_end(&k);
}
END_TEST

START_TEST(without_room_on_the_connection_there_is_no_call)
{
	struct talk k;
	struct sb b = {0};

	talk_new(&k, 0);
	h2_put(&b, F_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
	h2_say(k.w, &b);
	if (k.c->h2)
		ck_assert_ptr_null(grpc_call_open(k.c->h2, &(struct grpc_call_spec){.scheme = "http", .authority = "a", .path = "/b"}, &call_events, &k.t));
	k.t = (struct told){0};
	sb_end(&b);
	talk_end(&k);
}
END_TEST

START_TEST(unsent_bytes_are_those_that_the_window_or_the_kernel_holds_back)
{
	struct talk k;
	struct sb b = {0};
	char *big = xalloc(200000);

	talk_new(&k, 0);
	call(&k, NULL);
	ck_assert_int_eq(grpc_call_send(k.t.g, big, 200000), 0);
	h2_rig_run(k.r, 0);
	ck_assert_uint_eq(grpc_call_unsent(k.t.g), 200005 - 65535); /* the server's first window */
	h2_put_u32(&b, F_WINDOW, 0, 1, 1 << 20);
	h2_put_u32(&b, F_WINDOW, 0, 0, 1 << 20);
	h2_say(k.w, &b);
	ck_assert_uint_eq(grpc_call_unsent(k.t.g), 0);
	sb_end(&b);
	free(big);
	talk_end(&k);
}
END_TEST

UNIT_SUITE("grpc_call", a_call_asks_as_the_specification_says, messages_are_told_the_same_at_every_cut, each_end_is_mapped_as_the_specification_says,
	a_call_may_be_cancelled_in_any_of_its_events, a_paused_call_gives_no_credit_until_it_goes_on, the_deadline_is_kept_here_too,
	what_the_account_refuses_was_not_queued_and_the_call_goes_on, without_room_on_the_connection_there_is_no_call,
	unsent_bytes_are_those_that_the_window_or_the_kernel_holds_back)
