/* net/h1_client: answers of every shape, in every piece, over a simulated network; the other end is bytes by hand. */
#include "net/h1_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

#define MS UINT64_C(1000000)

static struct simnet *net;
static struct loop *loop;
static struct sock_listen *listening;
static struct sock *peer;
static struct h1_client *client;
static struct account account;

struct heard { uint32_t heads, dones; int status, err; bool reusable; char why[128]; struct sb fields, body; bool close_at_head, close_at_body, close_at_done, again_at_done; };
static struct heard heard;

static void on_head(void *user, int status, struct fields *head)
{
	struct heard *h = user;

	h->heads++;
	h->status = status;
	fields_each(e, head)
		sb_fmt(&h->fields, "%.*s: %.*s\n", (int)e->name_len, e->name, (int)e->value_len, e->value);
	if (h->close_at_head)
		h1_client_close(&client);
}

static void on_body(void *user, const char *p, size_t n)
{
	struct heard *h = user;

	ck_assert_uint_gt(n, 0);
	sb_add(&h->body, p, n);
	if (h->close_at_body)
		h1_client_close(&client);
}

static const struct h1_client_events events;

static int ask(const char *method)
{
	return h1_client_send(client, method, "/ready", "demo", NULL, 0, NULL, 0, &events, &heard);
}

static void on_done(void *user, int err, const char *why, bool reusable)
{
	struct heard *h = user;

	h->dones++;
	h->err = err;
	h->reusable = reusable;
	snprintf(h->why, sizeof(h->why), "%s", why);
	if (h->close_at_done)
		h1_client_close(&client);
	else if (h->again_at_done)
		ck_assert_int_eq(ask("GET"), 0);
	h->again_at_done = false;
}

static const struct h1_client_events events = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

static bool accepted(void *user, struct sock *taken)
{
	(void)user;
	peer = taken;
	return true;
}

static void nothing(void *user)
{
	(void)user;
}

static void connected(void *user, int err)
{
	(void)user;
	ck_assert_int_eq(err, 0);
}

static void open_client(void)
{
	static const struct sock_events quiet = {.connected = connected, .readable = nothing, .writable = nothing};
	struct addr at = simnet_addr("10.0.0.1:80");
	struct sock *s;

	peer = NULL;
	ck_assert_int_eq(sock_connect(loop, &at, &quiet, NULL, &s), 0);
	simnet_advance(net, 0);
	ck_assert_ptr_nonnull(peer);
	sock_want(peer, false, false);
	client = h1_client_new(loop, s, &account);
	ck_assert_ptr_nonnull(client);
	sb_end(&heard.fields);
	sb_end(&heard.body);
	heard = (struct heard){0};
}

static void close_client(void)
{
	h1_client_close(&client);
	sock_close(&peer);
	simnet_advance(net, MS);
	ck_assert_uint_eq(account.used, 0);
}

static void setup(void)
{
	static const struct sock_listen_events accepting = {.accepted = accepted};
	struct addr at = simnet_addr("10.0.0.1:80");

	net = simnet_new(3);
	loop = simnet_loop(net);
	account_init(&account, NULL, "client", SIZE_MAX);
	sock_listen(loop, -1, &at, &accepting, NULL, &listening);
}

static void teardown(void)
{
	sock_listen_close(&listening);
	sb_end(&heard.fields);
	sb_end(&heard.body);
	account_end(&account);
	simnet_free(&net);
}

static void say_n(const char *p, size_t n)
{
	while (n && peer) {
		struct iovec v = {(void *)(uintptr_t)p, n};
		ssize_t w = sock_writev(peer, &v, 1);

		if (w > 0) {
			p += w;
			n -= (size_t)w;
		} else if (w != -EAGAIN) {
			return;
		}
		simnet_advance(net, 0);
	}
}

static void say(const char *text)
{
	say_n(text, strlen(text));
}

static const char *seen(void)
{
	static char bytes[4096];
	ssize_t n = sock_recv(peer, bytes, sizeof(bytes) - 1);

	bytes[n > 0 ? n : 0] = '\0';
	return bytes;
}

static const struct { const char *answer; int status; const char *body; bool close, reusable; } whole[] = {
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false, true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", false, true},
	{"HTTP/1.1 503 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 503, "", false, false},
	{"HTTP/1.1 204 No Content\r\n\r\n", 204, "", false, true},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "", false, true},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: x\r\n\r\n", 200, "hello", false, true},
	{"HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello", true, false},
	{"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false, false},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false, true},
	{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more", 200, "hello", false, false},
};

START_TEST(an_answer_is_the_same_in_whatever_pieces_it_comes)
{
	for (size_t i = 0; i < UNIT_COUNT(whole); i++) {
		size_t n = strlen(whole[i].answer);

		for (size_t cut = 0; cut <= n; cut++) { /* n: byte by byte */
			open_client();
			ck_assert_int_eq(ask("GET"), 0);
			simnet_advance(net, 0);
			if (cut < n) {
				say_n(whole[i].answer, cut);
				say_n(whole[i].answer + cut, n - cut);
			} else {
				for (size_t b = 0; b < n; b++)
					say_n(whole[i].answer + b, 1);
			}
			if (whole[i].close) {
				ck_assert_uint_eq(heard.dones, 0);
				seen(); /* what is unread makes a close a reset */
				sock_close(&peer);
				simnet_advance(net, 0);
			}
			ck_assert_msg(heard.dones == 1 && heard.err == 0 && heard.heads == 1 && heard.status == whole[i].status, "row %zu at %zu: %u %d %s", i, cut, heard.dones, heard.err, heard.why);
			ck_assert(str_is(sb_view(&heard.body), whole[i].body));
			/* Bytes behind the answer that come later find the connection idle, and make it unfit as well. */
			ck_assert_msg(h1_client_is_open(client) == whole[i].reusable, "row %zu at %zu", i, cut);
			close_client();
		}
	}
}
END_TEST

START_TEST(a_request_is_one_head_and_its_body)
{
	static const struct str fields[][2] = {{{"x-one", 5}, {"1", 1}}, {{"Host", 4}, {"evil", 4}}, {{"Transfer-Encoding", 17}, {"chunked", 7}}};

	open_client();
	ck_assert_int_eq(h1_client_send(client, "POST", "/a?b", "demo:80", fields, 3, "ping", 4, &events, &heard), 0);
	ck_assert_int_eq(ask("GET"), ERR_CLOSED); /* one at a time */
	simnet_advance(net, 0);
	ck_assert_str_eq(seen(), "POST /a?b HTTP/1.1\r\nHost: demo:80\r\nx-one: 1\r\nContent-Length: 4\r\n\r\nping");
	say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	ck_assert(heard.reusable);
	ck_assert_int_eq(ask("HEAD"), 0);
	simnet_advance(net, 0);
	ck_assert_str_eq(seen(), "HEAD /ready HTTP/1.1\r\nHost: demo\r\n\r\n");
	say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"); /* of the body that GET would have */
	ck_assert_uint_eq(heard.dones, 2);
	ck_assert(heard.reusable);
	close_client();
}
END_TEST

START_TEST(a_request_with_a_line_break_or_a_blank_is_refused)
{
	static const struct { const char *method, *target, *host, *name, *value; } rows[] = {
		{"GET x", "/", "h", "a", "b"}, {"", "/", "h", "a", "b"}, {"GET", "/\r\nx: y", "h", "a", "b"}, {"GET", "/ x", "h", "a", "b"}, {"GET", "", "h", "a", "b"}, {"GET", "/", "h\r\nx: y", "a", "b"},
		{"GET", "/", "h", "a b", "c"}, {"GET", "/", "h", "", "c"}, {"GET", "/", "h", ":path", "c"}, {"GET", "/", "h", "a", "b\r\nc: d"}, {"GET", "/", "h", "a\r\n", "b"}, {"GET", "/", "h", "a", "b\x01"}};

	open_client();
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct str f[1][2] = {{str_of(rows[i].name), str_of(rows[i].value)}};

		ck_assert_msg(h1_client_send(client, rows[i].method, rows[i].target, rows[i].host, f, 1, NULL, 0, &events, &heard) == -EINVAL, "row %zu", i);
	}
	simnet_advance(net, 0);
	ck_assert_str_eq(seen(), "");
	ck_assert(h1_client_is_open(client));
	close_client();
}
END_TEST

START_TEST(what_is_no_answer_is_refused_and_the_connection_ends)
{
	static const struct { const char *answer; int err; } rows[] = {
		{"HTTP/1.1 200 OK\nContent-Length: 0\n\n", -EBADMSG}, {"\r\nHTTP/1.1 200 OK\r\n\r\n", -EBADMSG}, {"HTTP/1.1  200 OK\r\n\r\n", -EBADMSG}, {"HTTP/1.1 2000 OK\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 20\r\n\r\n", -EBADMSG}, {"HTTP/1.1 099 X\r\n\r\n", -EBADMSG}, {"HTTP/1.2 200 OK\r\n\r\n", -EBADMSG}, {"HTTP/3.0 200 OK\r\n\r\n", -EBADMSG}, {"ICY 200 OK\r\n", -EBADMSG},
		{"HTTP/1.1 200 OK\r\nname : x\r\n\r\n", -EBADMSG}, {"HTTP/1.1 200 OK\r\n: x\r\n\r\n", -EBADMSG}, {"HTTP/1.1 200 OK\r\nx\r\n\r\n", -EBADMSG}, {"HTTP/1.1 200 OK\r\na: \x01\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", -EBADMSG}, {"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", -EBADMSG}, {"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", -EBADMSG}, {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", -EBADMSG}, {"HTTP/1.1 200 O\rK\r\n\r\n", -EBADMSG}, {"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\nx", -EBADMSG},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n", -EBADMSG},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		open_client();
		ck_assert_int_eq(ask("GET"), 0);
		simnet_advance(net, 0);
		say(rows[i].answer);
		ck_assert_msg(heard.dones == 1 && heard.err == rows[i].err && *heard.why, "row %zu: %u %d '%s'", i, heard.dones, heard.err, heard.why);
		ck_assert(!h1_client_is_open(client));
		ck_assert_int_eq(ask("GET"), ERR_CLOSED);
		close_client();
	}
}
END_TEST

START_TEST(a_head_has_at_most_64_kib_in_whatever_shape)
{
	static char big[70000];

	memset(big, 'x', sizeof(big));
	for (int shape = 0; shape < 3; shape++) {
		open_client();
		ck_assert_int_eq(ask("GET"), 0);
		simnet_advance(net, 0);
		say("HTTP/1.1 200 OK\r\n");
		if (shape == 0) { /* one line without an end */
			say("x: ");
			say_n(big, sizeof(big));
		} else if (shape == 1) { /* many lines */
			for (int i = 0; i < 7000 && !heard.dones; i++)
				say("aaaa: bbbb\r\n");
			say("\r\n");
		} else { /* many fields within 64 KiB */
			for (int i = 0; i < 2000; i++)
				say("a: b\r\n");
			say("\r\n");
		}
		ck_assert_uint_eq(heard.dones, 1);
		ck_assert_int_eq(heard.err, ERR_LIMIT);
		ck_assert_uint_lt(account.peak, 512 * 1024);
		close_client();
	}
	open_client(); /* and a body may be larger than a head, also where it comes with it */
	ck_assert_int_eq(ask("GET"), 0);
	simnet_advance(net, 0);
	simnet_knobs(net)->capacity = 1 << 20;
	say("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n");
	say_n(big, sizeof(big));
	ck_assert_uint_eq(heard.dones, 1);
	ck_assert_int_eq(heard.err, 0);
	ck_assert_uint_eq(heard.body.n, sizeof(big));
	close_client();
}
END_TEST

START_TEST(a_connection_that_ends_too_early_is_told_as_lost)
{
	static const char *const rows[] = {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int cut = 0; cut < 2; cut++) {
			open_client();
			ck_assert_int_eq(ask("GET"), 0);
			simnet_advance(net, 0);
			say(rows[i]);
			ck_assert_uint_eq(heard.dones, 0);
			seen();
			if (cut)
				simnet_cut(peer, -ECONNRESET);
			else
				sock_close(&peer);
			simnet_advance(net, 0);
			ck_assert_msg(heard.dones == 1 && heard.err == (cut ? -ECONNRESET : ERR_CLOSED), "row %zu: %d", i, heard.err);
			close_client();
		}
	/* one that ends while nothing is asked is not open any more, and nobody is told */
	open_client();
	sock_close(&peer);
	simnet_advance(net, 0);
	ck_assert(!h1_client_is_open(client));
	ck_assert_uint_eq(heard.dones, 0);
	close_client();
	/* nor is one whose peer speaks first */
	open_client();
	say("HTTP/1.1 408 Request Timeout\r\n\r\n");
	ck_assert(!h1_client_is_open(client));
	close_client();
}
END_TEST

START_TEST(each_callback_may_close_and_the_last_one_may_ask_again)
{
	for (int where = 0; where < 4; where++) {
		open_client();
		heard.close_at_head = where == 0;
		heard.close_at_body = where == 1;
		heard.close_at_done = where == 2;
		heard.again_at_done = where == 3;
		ck_assert_int_eq(ask("GET"), 0);
		simnet_advance(net, 0);
		say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
		ck_assert_msg(heard.dones == (where >= 2), "%d: %u %d %s", where, heard.dones, heard.err, heard.why);
		if (where == 3) {
			say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
			ck_assert_uint_eq(heard.dones, 2);
		} else {
			ck_assert_ptr_null(client);
		}
		close_client();
	}
}
END_TEST

START_TEST(an_account_that_says_no_ends_the_request)
{
	bool passed = false;

	for (size_t room = 0; room < 20000 && !passed; room += 61) {
		static const struct sock_events quiet = {.connected = connected, .readable = nothing, .writable = nothing};
		struct addr at = simnet_addr("10.0.0.1:80");
		struct account tight;
		struct sock *s;

		account_init(&tight, NULL, "tight", room);
		ck_assert_int_eq(sock_connect(loop, &at, &quiet, NULL, &s), 0);
		simnet_advance(net, 0);
		sock_want(peer, false, false);
		sb_end(&heard.fields);
		sb_end(&heard.body);
		heard = (struct heard){0};
		client = h1_client_new(loop, s, &tight);
		if (client && ask("GET") == 0) {
			simnet_advance(net, 0);
			say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
			ck_assert_uint_eq(heard.dones, 1);
			ck_assert(heard.err == 0 || heard.err == -ENOMEM);
			passed = heard.err == 0;
		}
		h1_client_close(&client);
		sock_close(&peer);
		simnet_advance(net, MS);
		account_end(&tight);
	}
	ck_assert(passed);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {an_answer_is_the_same_in_whatever_pieces_it_comes, a_request_is_one_head_and_its_body, a_request_with_a_line_break_or_a_blank_is_refused,
		what_is_no_answer_is_refused_and_the_connection_ends, a_head_has_at_most_64_kib_in_whatever_shape, a_connection_that_ends_too_early_is_told_as_lost,
		each_callback_may_close_and_the_last_one_may_ask_again, an_account_that_says_no_ends_the_request};
	Suite *made = suite_create("h1_client");
	TCase *t = tcase_create("h1_client");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(made, t);
	return made;
}
