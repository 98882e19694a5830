/* net/h1: one HTTP/1.1 connection over a sock of the test's own, on a virtual clock.
 *
 * The rig is a loop whose only descriptor is a pair of buffers: what the client says, and what it has read. Each test plays both the
 * client (say, hears) and the relayer (the fixture's events note what comes up). */
#include "tests/unit.h"
#include "base/err.h"
#include "net/h1.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 1 << 20, CALLS = 4 };

struct call {
	struct stream *s;
	struct fields *head;
	bool fin;
	char body[BUFFER];
	size_t body_n, sent;
	int ends;
	struct stream_end end;
};

static struct rig {
	uint64_t now_ns;
	struct loop *loop;
	struct account account;
	struct limits lim;
	/* the client's side */
	struct sock sock;
	bool open;              /* as long as the connection has not closed it */
	char said[BUFFER];
	size_t said_n, said_at, recv_max;
	bool eof, gone;
	char heard[BUFFER];
	size_t heard_n, write_max, write_room;
	/* the relayer's side */
	struct h1_conn *conn;
	struct call calls[CALLS];
	int n_calls, n_closed, closed_err;
	void (*at_request)(struct call *call);
	void (*at_data)(struct call *call);
} *rig;

/* ---- the seam ------------------------------------------------------------------------------------------------------------- */

static uint64_t rig_now(void *ctx)
{
	return ((struct rig *)ctx)->now_ns;
}

static void rig_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

static int rig_wait(void *ctx, int64_t timeout_ns)
{
	struct rig *r = ctx;

	if (r->open && r->sock.want_read && (r->said_at < r->said_n || r->eof))
		r->sock.ev->readable(r->sock.user);
	else if (r->open && r->sock.want_write && r->write_room)
		r->sock.ev->writable(r->sock.user);
	else if (timeout_ns > 0)
		r->now_ns += (uint64_t)timeout_ns;
	return 0;
}

static const struct loop_ops rig_loop_ops = {.now_ns = rig_now, .wall_ns = rig_now, .random = rig_random, .wait = rig_wait};

static ssize_t rig_recv(struct sock *s, void *buf, size_t n)
{
	size_t left = rig->said_n - rig->said_at;

	ck_assert_ptr_eq(s, &rig->sock);
	ck_assert(rig->open);
	ck_assert_uint_gt(n, 0);
	if (rig->gone)
		return -ECONNRESET;
	if (!left)
		return rig->eof ? 0 : -EAGAIN;
	n = n < left ? n : left;
	n = n < rig->recv_max ? n : rig->recv_max;
	memcpy(buf, rig->said + rig->said_at, n);
	rig->said_at += n;
	return (ssize_t)n;
}

static ssize_t rig_writev(struct sock *s, const struct iovec *iov, int n)
{
	size_t took = 0;

	(void)s;
	ck_assert(rig->open);
	if (rig->gone)
		return -EPIPE;
	for (int i = 0; i < n; i++) {
		size_t now = iov[i].iov_len;

		now = now < rig->write_max - took ? now : rig->write_max - took;
		now = now < rig->write_room ? now : rig->write_room;
		memcpy(rig->heard + rig->heard_n, iov[i].iov_base, now);
		rig->heard_n += now;
		rig->write_room -= now;
		took += now;
	}
	return took || (n == 1 && !iov[0].iov_len) ? (ssize_t)took : -EAGAIN;
}

static void rig_want(struct sock *s, bool read, bool write)
{
	s->want_read = read;
	s->want_write = write;
}

static void rig_close(struct sock *s)
{
	(void)s;
	ck_assert(rig->open);
	rig->open = false;
}

static const struct sock_ops rig_sock_ops = {.recv = rig_recv, .writev = rig_writev, .want = rig_want, .close = rig_close};

/* ---- the relayer ---------------------------------------------------------------------------------------------------------- */

static void relay_data(void *user, struct chain *data, bool fin)
{
	struct call *call = user;
	size_t n = data->bytes;

	ck_assert(!call->fin);
	ck_assert_int_eq(call->ends, 0);
	call->body_n += chain_peek(data, 0, call->body + call->body_n, n);
	call->fin = fin;
	if (call->body_n && rig->at_data)
		rig->at_data(call);
}

static void relay_sent(void *user, size_t n)
{
	struct call *call = user;

	ck_assert_int_eq(call->ends, 0);
	call->sent += n;
}

static void relay_end(void *user, const struct stream_end *end)
{
	struct call *call = user;

	call->ends++;
	call->end = *end;
	/* Whatever a relayer still does with a stream that has ended goes nowhere. */
	struct chain none = CHAIN_INIT;
	stream_send_data(call->s, &none, true);
	stream_credit(call->s, 1);
	stream_reset(call->s, H2_CANCEL);
	ck_assert_int_eq(stream_send_head(call->s, call->head, true), 0);
	ck_assert_int_eq(stream_send_trailers(call->s, call->head), 0);
}

static const struct stream_events relay = {.on_data = relay_data, .on_sent = relay_sent, .on_end = relay_end};

static void on_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct call *call = &rig->calls[rig->n_calls++];

	ck_assert_ptr_eq(owner, rig);
	ck_assert_int_le(rig->n_calls, CALLS);
	ck_assert_ptr_null(refuse);
	call->s = s;
	call->head = fields_ref(head);
	call->fin = fin;
	s->ev = &relay;
	s->user = call;
	if (rig->at_request)
		rig->at_request(call);
}

static void on_closed(void *owner, int err)
{
	ck_assert_ptr_eq(owner, rig);
	for (int i = 0; i < rig->n_calls; i++)
		ck_assert_int_le(rig->calls[i].ends, 1);
	rig->n_closed++;
	rig->closed_err = err;
}

static const struct stream_server server = {.on_request = on_request, .on_closed = on_closed};

/* ---- the play ------------------------------------------------------------------------------------------------------------- */

static void setup(void)
{
	rig = calloc(1, sizeof(*rig));
	rig->now_ns = 1000000000;
	rig->lim = (struct limits){.header_bytes = 32768, .field_count = 200, .header_wire_bytes = 40960, .window_down = 262144,
		.header_time_ns = 5000000000, .stall_ns = 30000000000, .stall_bytes = 1024};
	rig->loop = loop_new(&rig_loop_ops, rig, NULL);
	account_init(&rig->account, &rig->loop->memory, "app", SIZE_MAX);
	rig->sock = (struct sock){.ops = &rig_sock_ops, .loop = rig->loop, .fd = -1};
	rig->recv_max = rig->write_max = rig->write_room = SIZE_MAX;
	rig->open = true;
}

/* Ends what is left and finds that nothing of it is left. */
static void teardown(void)
{
	if (rig->conn && !rig->n_closed)
		h1_conn_close(rig->conn);
	for (int i = 0; i < rig->n_calls; i++)
		fields_unref(&rig->calls[i].head);
	loop_turn(rig->loop, 0);
	loop_turn(rig->loop, 0);
	ck_assert(!rig->open);
	ck_assert_uint_eq(rig->account.used, 0);
	account_end(&rig->account);
	loop_free(&rig->loop);
	free(rig);
}

static void turns(void)
{
	for (int i = 0; i < 64; i++)
		loop_turn(rig->loop, 0);
}

static void advance(uint64_t ns)
{
	uint64_t until_ns = rig->now_ns + ns;

	for (int i = 0; i < 1000 && rig->now_ns < until_ns; i++)
		loop_turn(rig->loop, (int64_t)(until_ns - rig->now_ns));
	turns();
}

static void start_with(const char *first)
{
	rig->conn = h1_conn_server(rig->loop, &rig->sock, &rig->lim, &rig->account, &server, rig, first, strlen(first));
	ck_assert_ptr_nonnull(rig->conn);
	ck_assert_int_eq(rig->n_calls, 0); /* no event before it returns */
}

static void say(const char *text)
{
	size_t n = strlen(text);

	memcpy(rig->said + rig->said_n, text, n);
	rig->said_n += n;
	turns();
}

static void start(const char *text)
{
	start_with("");
	say(text);
}

static bool hears(const char *text)
{
	bool yes = rig->heard_n == strlen(text) && memcmp(rig->heard, text, rig->heard_n) == 0;

	if (!yes)
		fprintf(stderr, "heard: '%.*s'\n", (int)rig->heard_n, rig->heard);
	rig->heard_n = 0;
	return yes;
}

static bool heard_begins(const char *text)
{
	return str_starts(str_n(rig->heard, rig->heard_n), str_of(text));
}

/* "name: value" lines, ":status" first, NULL ends. */
static struct fields *make(const char *const *lines)
{
	struct fields *f = fields_new(rig->loop->fields, NULL);

	for (; *lines; lines++) {
		const char *colon = strchr(*lines + 1, ':');

		ck_assert_int_eq(fields_add(f, str_n(*lines, (size_t)(colon - *lines)), str_of(colon + 2)), 0);
	}
	return f;
}
#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void send_head(struct call *call, const char *const *lines, bool fin)
{
	struct fields *f = make(lines);

	ck_assert_int_eq(stream_send_head(call->s, f, fin), 0);
	fields_unref(&f);
}

static void send_trailers(struct call *call, const char *const *lines)
{
	struct fields *f = make(lines);

	ck_assert_int_eq(stream_send_trailers(call->s, f), 0);
	fields_unref(&f);
}

static void send_data(struct call *call, const char *bytes, bool fin)
{
	struct chain c = CHAIN_INIT;

	ck_assert_int_eq(chain_copy_in(&c, &rig->loop->bufs, &rig->account, bytes, strlen(bytes)), 0);
	stream_send_data(call->s, &c, fin);
	ck_assert(chain_empty(&c));
}

static bool ended(const struct call *call, enum stream_cause cause, uint32_t code)
{
	return call->ends == 1 && call->end.cause == cause && call->end.h2_code == code;
}

static struct call *first(void)
{
	return &rig->calls[0];
}

#define GET "GET /a HTTP/1.1\r\nHost: demo\r\n\r\n"

/* ---- requests and answers ------------------------------------------------------------------------------------------------- */

START_TEST(a_request_is_answered_and_the_connection_is_kept)
{
	start(GET);
	ck_assert_int_eq(rig->n_calls, 1);
	ck_assert(first()->fin);
	ck_assert(str_is(fields_value(first()->head, FIELD_AUTHORITY), "demo"));
	send_head(first(), LINES(":status: 200", "content-type: text/plain", "content-length: 2"), false);
	ck_assert_uint_eq(rig->heard_n, 0); /* nothing is written inside of a call */
	send_data(first(), "ok", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert_uint_eq(first()->sent, 2);
	ck_assert_uint_eq(first()->end.bytes_sent, 2);
	say(GET);
	ck_assert_int_eq(rig->n_calls, 2);
	send_head(&rig->calls[1], LINES(":status: 404"), true);
	turns();
	ck_assert(hears("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"));
	ck_assert_int_eq(rig->n_closed, 0);
}
END_TEST

START_TEST(the_sniffed_first_bytes_are_part_of_the_request)
{
	start_with("GET /a HT");
	say("TP/1.1\r\nHost: demo\r\n\r\n");
	ck_assert_int_eq(rig->n_calls, 1);
	ck_assert(str_is(fields_value(first()->head, FIELD_PATH), "/a"));
}
END_TEST

START_TEST(a_whole_request_may_come_as_first_bytes)
{
	start_with(GET);
	turns();
	ck_assert_int_eq(rig->n_calls, 1);
}
END_TEST

START_TEST(a_request_that_drips_in_is_the_same_request)
{
	rig->recv_max = 1;
	start_with("");
	say("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\n\r\n");
	say("he");
	say("llo");
	ck_assert_int_eq(rig->n_calls, 1);
	ck_assert(first()->fin);
	ck_assert(str_is(str_n(first()->body, first()->body_n), "hello"));
}
END_TEST

START_TEST(a_body_follows_its_head_with_fin_at_its_end)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 10\r\n\r\nhello");
	ck_assert_int_eq(rig->n_calls, 1);
	ck_assert(!first()->fin);
	ck_assert_uint_eq(first()->body_n, 5);
	say("world");
	ck_assert(first()->fin);
	ck_assert(str_is(str_n(first()->body, first()->body_n), "helloworld"));
}
END_TEST

START_TEST(a_chunked_body_comes_up_without_its_framing)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
	say("lo\r\n5;x\r\nworld\r\n0\r\nT: x\r\n");
	ck_assert(!first()->fin);
	say("\r\n");
	ck_assert(first()->fin);
	ck_assert(str_is(str_n(first()->body, first()->body_n), "helloworld"));
}
END_TEST

START_TEST(an_answer_of_unknown_length_is_chunked)
{
	start(GET);
	send_head(first(), LINES(":status: 200"), false);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"));
	send_data(first(), "hello", false);
	send_data(first(), " there", false);
	turns();
	ck_assert(hears("b\r\nhello there"));
	send_data(first(), "!", false);
	turns();
	ck_assert(hears("\r\n1\r\n!"));
	send_data(first(), "", true);
	turns();
	ck_assert(hears("\r\n0\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert_uint_eq(first()->sent, 12);
}
END_TEST

START_TEST(an_answer_without_a_byte_of_body_ends_its_chunks)
{
	start(GET);
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
}
END_TEST

START_TEST(trailers_go_to_those_who_asked_for_them)
{
	start("GET /a HTTP/1.1\r\nHost: demo\r\nTE: trailers\r\n\r\n");
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "hi", false);
	send_trailers(first(), LINES("grpc-status: 0", "x-own: 1"));
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\nx-own: 1\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	say(GET);
	send_head(&rig->calls[1], LINES(":status: 200"), false);
	send_trailers(&rig->calls[1], LINES("grpc-status: 0"));
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
	ck_assert(ended(&rig->calls[1], END_DONE, 0));
}
END_TEST

START_TEST(http_1_0_gets_its_body_until_the_close)
{
	start("GET /a HTTP/1.0\r\n\r\n");
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "hello", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(head_204_and_304_have_no_body)
{
	static const struct {
		const char *method, *status, *want;
	} rows[] = {
		{"HEAD", ":status: 200", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"},
		{"GET", ":status: 304", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"},
		{"GET", ":status: 204", "HTTP/1.1 204 No Content\r\n\r\n"},
	};

	start_with("");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char text[128];

		snprintf(text, sizeof(text), "%s /a HTTP/1.1\r\nHost: demo\r\n\r\n", rows[i].method);
		say(text);
		send_head(&rig->calls[i], LINES(rows[i].status, "content-length: 5"), false);
		send_data(&rig->calls[i], "hello", true);
		turns();
		ck_assert(hears(rows[i].want));
		ck_assert(ended(&rig->calls[i], END_DONE, 0));
		/* What nobody gets counts as sent: its sender waits for that. */
		ck_assert_uint_eq(rig->calls[i].sent, 5);
	}
	ck_assert_int_eq(rig->n_closed, 0);
}
END_TEST

START_TEST(an_answer_longer_than_promised_is_cut_and_the_connection_closed)
{
	start(GET);
	send_head(first(), LINES(":status: 200", "content-length: 5"), false);
	send_data(first(), "helloHTTP/1.1 200 OK", false);
	send_data(first(), "more", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"));
	ck_assert(!rig->open);
	ck_assert_uint_eq(first()->sent, 24);
}
END_TEST

START_TEST(an_answer_shorter_than_promised_closes_the_connection)
{
	start(GET);
	send_head(first(), LINES(":status: 200", "content-length: 9"), false);
	send_data(first(), "hello", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(only_what_means_something_to_the_client_is_relayed)
{
	start(GET);
	send_head(first(), LINES(":status: 100"), false);
	send_head(first(), LINES(":status: 103", "link: </x>"), false);
	send_head(first(), LINES(":status: 200", "te: trailers", "connection: close", "transfer-encoding: gzip", "keep-alive: 5", "upgrade: h2c",
		"x-split: a\r\nset-cookie: b", "grpc-message: na\xc3\xafve", "content-length: x"), true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ngrpc-message: na\xc3\xafve\r\ncontent-length: 0\r\n\r\n"));
}
END_TEST

START_TEST(partial_writes_say_the_same)
{
	char big[5001];

	memset(big, 'x', 5000);
	big[5000] = '\0';
	rig->write_max = 1;
	start("GET /a HTTP/1.1\r\nHost: demo\r\nTE: trailers\r\n\r\n");
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "hello", false);
	turns();
	send_data(first(), big, false);
	send_data(first(), "end", false);
	send_trailers(first(), LINES("grpc-status: 0"));
	for (int i = 0; i < 20; i++)
		turns();
	ck_assert_uint_eq(rig->heard_n, strlen("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n138b\r\n") + 5003 +
		strlen("\r\n0\r\ngrpc-status: 0\r\n\r\n"));
	ck_assert(str_ends(str_n(rig->heard, rig->heard_n), STR("xxend\r\n0\r\ngrpc-status: 0\r\n\r\n")));
	ck_assert_uint_eq(first()->sent, 5008);
	ck_assert(ended(first(), END_DONE, 0));
}
END_TEST

/* ---- one at a time -------------------------------------------------------------------------------------------------------- */

START_TEST(the_next_request_waits_for_the_answer_of_the_first)
{
	start(GET "GET /b HTTP/1.1\r\nHost: demo\r\n\r\n");
	ck_assert_int_eq(rig->n_calls, 1);
	say(GET);
	ck_assert(!rig->sock.want_read); /* what a pipeline piles up stays in the kernel */
	ck_assert_int_eq(rig->n_calls, 1);
	send_head(first(), LINES(":status: 200"), true);
	turns();
	ck_assert_int_eq(rig->n_calls, 2);
	ck_assert(str_is(fields_value(rig->calls[1].head, FIELD_PATH), "/b"));
	send_head(&rig->calls[1], LINES(":status: 200"), true);
	turns();
	ck_assert_int_eq(rig->n_calls, 3);
}
END_TEST

/* Takes everything and credits nothing, as an exchange does whose provider does not read. */
static void relay_take(void *user, struct chain *data, bool fin)
{
	struct call *call = user;
	struct chain kept = CHAIN_INIT;

	call->body_n += chain_peek(data, 0, call->body + call->body_n, data->bytes);
	call->fin = fin;
	chain_move(&kept, data);
	chain_clear(&kept);
}
static const struct stream_events taker = {.on_data = relay_take, .on_sent = relay_sent, .on_end = relay_end};

static void use_taker(struct call *call)
{
	call->s->ev = &taker;
}

static void credits_open_the_window(const char *head, const char *body, size_t want)
{
	rig->lim.window_down = 1000;
	rig->at_request = use_taker;
	start(head);
	say(body);
	ck_assert_uint_le(first()->body_n, 1000);
	ck_assert_uint_gt(first()->body_n, 0);
	ck_assert(!rig->sock.want_read);
	for (int i = 0; i < 100 && !first()->fin; i++) {
		size_t before = first()->body_n;

		stream_credit(first()->s, 500);
		turns();
		ck_assert_uint_le(first()->body_n - before, 500);
	}
	ck_assert(first()->fin);
	ck_assert_uint_eq(first()->body_n, want);
}

START_TEST(credits_open_the_window_of_a_body_with_a_length)
{
	char big[10001];

	memset(big, 'x', 10000);
	big[10000] = '\0';
	credits_open_the_window("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 10000\r\n\r\n", big, 10000);
}
END_TEST

START_TEST(credits_open_the_window_of_a_chunked_body)
{
	char big[10020];

	snprintf(big, sizeof(big), "%x\r\n%08000d\r\n0\r\n\r\n", 8000, 0);
	credits_open_the_window("POST /a HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n", big, 8000);
}
END_TEST

START_TEST(credits_open_the_window_of_a_body_that_came_with_its_head)
{
	char big[10100];

	snprintf(big, sizeof(big), "POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 5000\r\n\r\n%05000d", 0);
	credits_open_the_window(big, "", 5000);
}
END_TEST

/* ---- 100-continue --------------------------------------------------------------------------------------------------------- */

#define EXPECT "POST /a HTTP/1.1\r\nHost: demo\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

START_TEST(a_client_that_waits_is_told_to_continue)
{
	start(EXPECT);
	ck_assert(hears("HTTP/1.1 100 Continue\r\n\r\n"));
	ck_assert_ptr_null(fields_get(first()->head, FIELD_EXPECT));
	say("hello");
	ck_assert(first()->fin);
	send_head(first(), LINES(":status: 200"), true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
}
END_TEST

START_TEST(a_client_that_does_not_wait_is_not_told)
{
	start(EXPECT "hello");
	ck_assert(hears(""));
	ck_assert(first()->fin);
}
END_TEST

static void answer_413(struct call *call)
{
	send_head(call, LINES(":status: 413"), true);
}

START_TEST(a_client_whose_body_is_not_wanted_gets_the_answer_at_once)
{
	rig->at_request = answer_413;
	start(EXPECT);
	ck_assert(hears("HTTP/1.1 413 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert(!rig->open);
}
END_TEST

/* ---- refusals ------------------------------------------------------------------------------------------------------------- */

START_TEST(malformed_requests_are_answered_400_and_the_connection_closed)
{
	start("GET / HTTP/1.1\nHost: a\n\n");
	ck_assert_int_eq(rig->n_calls, 0);
	ck_assert(heard_begins("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: "));
	ck_assert_ptr_nonnull(strstr(rig->heard, "connection: close\r\n\r\n{\"status\":400,\"message\":\""));
	ck_assert_int_eq(rig->n_closed, 1);
	ck_assert(!rig->open);
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_H1_BAD), 1);
}
END_TEST

START_TEST(nothing_behind_a_malformed_request_is_served)
{
	start("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET);
	ck_assert_int_eq(rig->n_calls, 0);
	ck_assert(heard_begins("HTTP/1.1 400 "));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_tcp_peer_may_finish_saying_what_nobody_hears)
{
	ck_assert_int_eq(addr_parse(STR("127.0.0.1:4711"), &rig->sock.peer), 0);
	start("GET / HTTP/1.1\nHost: a\n\n");
	ck_assert(rig->open); /* closed with bytes unread, TCP would take the answer back */
	say("and so on");
	ck_assert(rig->open);
	advance(1000000000);
	ck_assert(!rig->open);
	ck_assert_int_eq(rig->n_calls, 0);
}
END_TEST

START_TEST(a_malformed_body_ends_the_call_and_answers_400)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello");
	say("!");
	ck_assert(ended(first(), END_MALFORMED, H2_PROTOCOL_ERROR));
	ck_assert(heard_begins("HTTP/1.1 400 "));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_malformed_body_under_an_answer_cuts_the_answer)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello");
	send_head(first(), LINES(":status: 200"), false);
	turns();
	say("!");
	ck_assert(ended(first(), END_MALFORMED, H2_PROTOCOL_ERROR));
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(too_many_header_bytes_are_answered_431_and_counted)
{
	char big[3000];

	rig->lim.header_bytes = 2000;
	snprintf(big, sizeof(big), "GET / HTTP/1.1\r\nHost: a\r\nX: %02000d\r\n\r\n", 0);
	start(big);
	ck_assert(heard_begins("HTTP/1.1 431 "));
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_HEADER_BYTES), 1);
	ck_assert_int_eq(rig->n_calls, 0);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(too_many_fields_are_answered_431_and_counted)
{
	rig->lim.field_count = 5;
	start("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 1\r\n\r\n");
	ck_assert(heard_begins("HTTP/1.1 431 "));
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_FIELD_COUNT), 1);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_head_without_an_end_is_read_to_its_limit_and_no_further)
{
	static char endless[200001];

	memset(endless, 'a', 200000);
	memcpy(endless, "GET /", 5);
	start(endless);
	ck_assert(heard_begins("HTTP/1.1 431 "));
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_HEADER_BYTES), 1);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_slow_head_is_answered_408_and_counted)
{
	start("GET / HT");
	advance(4900000000);
	say("TP/1.1\r\n");
	ck_assert_uint_eq(rig->heard_n, 0);
	advance(200000000); /* a byte now and then gains nothing */
	ck_assert(heard_begins("HTTP/1.1 408 "));
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_HEADER_TIME), 1);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(an_idle_connection_may_be_idle)
{
	start(GET);
	send_head(first(), LINES(":status: 200"), true);
	turns();
	advance(3600000000000);
	ck_assert(rig->open);
	say(GET);
	ck_assert_int_eq(rig->n_calls, 2);
}
END_TEST

START_TEST(an_account_that_refuses_ends_what_it_must_and_no_more)
{
	rig->account.limit = 600;
	ck_assert_ptr_null(h1_conn_server(rig->loop, &rig->sock, &rig->lim, &rig->account, &server, rig, "", 0));
	ck_assert(!rig->open);
	rig->open = true;
	rig->account.limit = 4000; /* the connection and a chunk to read into, no list of fields beside them */
	start(GET);
	ck_assert_int_eq(rig->n_calls, 0);
	ck_assert_int_eq(rig->n_closed, 1);
	ck_assert(!rig->open);
}
END_TEST

/* ---- ends ----------------------------------------------------------------------------------------------------------------- */

START_TEST(a_caller_that_goes_while_it_uploads_cancels_its_call)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 10\r\n\r\nhello");
	rig->eof = true;
	turns();
	ck_assert(ended(first(), END_RESET, H2_CANCEL));
	ck_assert_int_eq(rig->n_closed, 1);
}
END_TEST

START_TEST(a_caller_that_half_closes_gets_its_answer)
{
	start_with("");
	rig->eof = true;
	say(GET);
	ck_assert_int_eq(first()->ends, 0);
	send_head(first(), LINES(":status: 200"), true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_caller_that_closes_both_ways_cancels_its_call)
{
	start(GET);
	rig->gone = rig->eof = true;
	turns();
	ck_assert(ended(first(), END_RESET, H2_CANCEL));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_caller_that_goes_while_it_is_answered_cancels_its_call)
{
	start(GET);
	send_head(first(), LINES(":status: 200"), false);
	turns();
	rig->gone = true;
	send_data(first(), "hello", false);
	turns();
	ck_assert(ended(first(), END_RESET, H2_CANCEL));
	ck_assert_int_eq(rig->n_closed, 1);
	ck_assert_int_eq(rig->closed_err, -EPIPE);
}
END_TEST

START_TEST(an_idle_connection_that_ends_is_no_error)
{
	start("");
	rig->eof = true;
	turns();
	ck_assert_int_eq(rig->n_closed, 1);
	ck_assert_int_eq(rig->closed_err, 0);
}
END_TEST

START_TEST(a_call_that_is_reset_before_its_answer_is_answered_502)
{
	start(GET);
	stream_reset(first()->s, H2_INTERNAL_ERROR);
	turns();
	ck_assert(heard_begins("HTTP/1.1 502 "));
	ck_assert_int_eq(first()->ends, 0);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(an_answer_that_is_reset_does_not_look_complete)
{
	start(GET);
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "hello", false);
	turns();
	stream_reset(first()->s, H2_INTERNAL_ERROR);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello"));
	ck_assert_int_eq(first()->ends, 0);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(an_early_answer_goes_out_whole_and_ends_the_connection)
{
	start("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 100\r\n\r\nhello");
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "early", true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert(!rig->open);
}
END_TEST

static void reset_now(struct call *call)
{
	stream_reset(call->s, H2_CANCEL);
}

static void close_now(struct call *call)
{
	(void)call;
	h1_conn_close(rig->conn);
}

START_TEST(an_event_may_reset_its_own_call)
{
	rig->at_data = reset_now;
	start("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 100\r\n\r\nhello");
	ck_assert(heard_begins("HTTP/1.1 502 "));
	ck_assert_int_eq(first()->ends, 0);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(an_event_may_close_its_connection)
{
	rig->at_data = close_now;
	start("POST /a HTTP/1.1\r\nHost: demo\r\nContent-Length: 100\r\n\r\nhello");
	ck_assert(ended(first(), END_LOST, 0));
	ck_assert_int_eq(rig->n_closed, 1);
}
END_TEST

START_TEST(a_request_event_may_close_its_connection)
{
	rig->at_request = close_now;
	start(GET GET);
	ck_assert_int_eq(rig->n_calls, 1);
	ck_assert(ended(first(), END_LOST, 0));
}
END_TEST

START_TEST(a_closed_connection_loses_its_call)
{
	start(GET);
	h1_conn_close(rig->conn);
	ck_assert(ended(first(), END_LOST, 0));
	ck_assert_int_eq(rig->n_closed, 1);
	ck_assert_int_eq(rig->closed_err, ERR_CLOSED);
}
END_TEST

START_TEST(a_drained_connection_answers_what_it_has_and_closes)
{
	start(GET);
	h1_conn_drain(rig->conn);
	turns();
	ck_assert(rig->open);
	send_head(first(), LINES(":status: 200"), true);
	turns();
	ck_assert(hears("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert(!rig->open);
}
END_TEST

START_TEST(an_idle_connection_drains_at_once)
{
	start("");
	h1_conn_drain(rig->conn);
	loop_turn(rig->loop, 0);
	ck_assert_int_eq(rig->n_closed, 1);
}
END_TEST

START_TEST(a_caller_that_does_not_read_is_given_up_and_counted)
{
	rig->write_room = 50;
	start(GET);
	send_head(first(), LINES(":status: 200", "content-length: 3000"), false);
	for (int i = 0; i < 300; i++)
		send_data(first(), "0123456789", i == 299);
	turns();
	ck_assert(rig->sock.want_write);
	advance(29000000000);
	rig->write_room = 100; /* a drip */
	advance(500000000);
	ck_assert_int_eq(first()->ends, 0);
	advance(600000000);
	ck_assert(ended(first(), END_LIMIT, 0));
	ck_assert_uint_eq(stat_get(&rig->loop->stats, STAT_STALLED), 1);
	ck_assert(!rig->open);
}
END_TEST

START_TEST(a_caller_that_reads_slowly_is_served)
{
	rig->write_room = 50;
	start(GET);
	send_head(first(), LINES(":status: 200", "content-length: 5000"), false);
	for (int i = 0; i < 500; i++)
		send_data(first(), "0123456789", i == 499);
	for (int i = 0; i < 6; i++) {
		advance(20000000000);
		rig->write_room = 1500;
	}
	turns();
	ck_assert(ended(first(), END_DONE, 0));
	ck_assert_uint_eq(first()->sent, 5000);
	ck_assert(rig->open);
}
END_TEST

START_TEST(what_a_caller_does_not_read_stays_bounded_by_what_was_sent)
{
	rig->write_room = 0;
	start(GET);
	send_head(first(), LINES(":status: 200"), false);
	send_data(first(), "x", false);
	turns();
	ck_assert_uint_eq(first()->sent, 0); /* no credit goes on before the kernel took it */
	rig->write_room = SIZE_MAX;
	turns();
	ck_assert_uint_eq(first()->sent, 1);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {
		a_request_is_answered_and_the_connection_is_kept,
		the_sniffed_first_bytes_are_part_of_the_request,
		a_whole_request_may_come_as_first_bytes,
		a_request_that_drips_in_is_the_same_request,
		a_body_follows_its_head_with_fin_at_its_end,
		a_chunked_body_comes_up_without_its_framing,
		an_answer_of_unknown_length_is_chunked,
		an_answer_without_a_byte_of_body_ends_its_chunks,
		trailers_go_to_those_who_asked_for_them,
		http_1_0_gets_its_body_until_the_close,
		head_204_and_304_have_no_body,
		an_answer_longer_than_promised_is_cut_and_the_connection_closed,
		an_answer_shorter_than_promised_closes_the_connection,
		only_what_means_something_to_the_client_is_relayed,
		partial_writes_say_the_same,
		the_next_request_waits_for_the_answer_of_the_first,
		credits_open_the_window_of_a_body_with_a_length,
		credits_open_the_window_of_a_chunked_body,
		credits_open_the_window_of_a_body_that_came_with_its_head,
		a_client_that_waits_is_told_to_continue,
		a_client_that_does_not_wait_is_not_told,
		a_client_whose_body_is_not_wanted_gets_the_answer_at_once,
		malformed_requests_are_answered_400_and_the_connection_closed,
		nothing_behind_a_malformed_request_is_served,
		a_tcp_peer_may_finish_saying_what_nobody_hears,
		a_malformed_body_ends_the_call_and_answers_400,
		a_malformed_body_under_an_answer_cuts_the_answer,
		too_many_header_bytes_are_answered_431_and_counted,
		too_many_fields_are_answered_431_and_counted,
		a_head_without_an_end_is_read_to_its_limit_and_no_further,
		a_slow_head_is_answered_408_and_counted,
		an_idle_connection_may_be_idle,
		an_account_that_refuses_ends_what_it_must_and_no_more,
		a_caller_that_goes_while_it_uploads_cancels_its_call,
		a_caller_that_half_closes_gets_its_answer,
		a_caller_that_closes_both_ways_cancels_its_call,
		a_caller_that_goes_while_it_is_answered_cancels_its_call,
		an_idle_connection_that_ends_is_no_error,
		a_call_that_is_reset_before_its_answer_is_answered_502,
		an_answer_that_is_reset_does_not_look_complete,
		an_early_answer_goes_out_whole_and_ends_the_connection,
		an_event_may_reset_its_own_call,
		an_event_may_close_its_connection,
		a_request_event_may_close_its_connection,
		a_closed_connection_loses_its_call,
		a_drained_connection_answers_what_it_has_and_closes,
		an_idle_connection_drains_at_once,
		a_caller_that_does_not_read_is_given_up_and_counted,
		a_caller_that_reads_slowly_is_served,
		what_a_caller_does_not_read_stays_bounded_by_what_was_sent,
	};
	Suite *made = suite_create("h1");
	TCase *tcase = tcase_create("h1");

	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(made, tcase);
	return made;
}
