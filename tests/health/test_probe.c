/* health/probe: each verdict, over every way, from peers that answer well, badly, endlessly and not at all. */
#include "health/probe.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/match.h"
#include "lb/cluster.h"
#include "tests/health/fake.h"
#include "tests/unit.h"

#define AT "10.0.0.1:80"

static struct fakes *f;
static struct fake *k;
static struct health_check check;
static struct probe_spec spec;
static struct addr at;

struct heard { struct probe *probe; uint32_t times; enum probe_verdict v; char why[256]; uint64_t ns; };

static void setup(void)
{
	f = fakes_new();
	health_check_default(&check);
	check.timeout_ns = SEC;
	at = simnet_addr(AT);
	spec = (struct probe_spec){.loop = f->loop, .limits = &f->lim, .account = &f->loop->memory, .check = &check, .addrs = &at, .naddrs = 1, .host = "demo"};
}

static void teardown(void)
{
	health_check_end(&check);
	fakes_free(&f);
}

static void heard(void *user, enum probe_verdict v, const char *why)
{
	struct heard *h = user;

	h->times++;
	h->v = v;
	h->ns = f->loop->now_ns;
	h->probe = NULL;
	strncpy(h->why, why, sizeof(h->why) - 1);
}

/* Asks, waits as long as it takes, and looks that it was told once, and not before probe_start had returned. */
static struct heard ask(void)
{
	struct heard h = {0};
	uint64_t began = f->loop->now_ns;

	h.probe = probe_start(&spec, heard, &h);
	ck_assert_ptr_nonnull(h.probe);
	ck_assert_uint_eq(h.times, 0);
	fakes_advance(f, check.timeout_ns + 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_uint_le(h.ns - began, check.timeout_ns + MS);
	fakes_advance(f, 10 * MS);
	return h;
}

static void expect(size_t row, struct heard h, enum probe_verdict v, const char *why)
{
	ck_assert_msg(h.v == v, "row %zu: verdict %d, not %d: %s", row, (int)h.v, (int)v, h.why);
	ck_assert_msg(strstr(h.why, why) != NULL, "row %zu: '%s' does not say '%s'", row, h.why, why);
	if (k && !spec.keep)
		ck_assert_msg(k->open == 0, "row %zu: %u connections are left", row, k->open);
}

static char *owned(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

/* ---- HTTP/1.1 --------------------------------------------------------------------------------------------------------------- */

START_TEST(a_status_makes_the_verdict)
{
	static const struct {
		const char *say;
		enum probe_verdict v;
		const char *why;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", PROBE_PASSED, ""},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", PROBE_PASSED, ""},
		{"HTTP/1.1 204 No Content\r\n\r\n", PROBE_BAD, "status 204"},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", PROBE_BAD, "status 503"},
		{"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", PROBE_BAD, "status 302"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", PROBE_PASSED, ""},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", PROBE_PASSED, ""},
		{"HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", PROBE_PASSED, ""},
		{"HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\nContent-Length: 0\r\n\r\n", PROBE_DEGRADED, "degraded"},
		{"HTTP/1.1 200 OK\r\nX-Envoy-Immediate-Health-Check-Fail: true\r\nContent-Length: 0\r\n\r\n", PROBE_BAD, "immediate"},
		/* what is no answer */
		{"SSH-2.0-OpenSSH_9.2\r\n", PROBE_BAD, "not HTTP/1.1"},
		{"SSH-2.0-OpenSSH_9.2", PROBE_BAD, "not HTTP/1.1"},
		{"\r\n", PROBE_BAD, "not HTTP/1.1"},
		{"HTTP/2.0 200 OK\r\n\r\n", PROBE_BAD, "status line"},
		{"HTTP/1.1 2x0 OK\r\n\r\n", PROBE_BAD, "status"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", PROBE_BAD, "content-length"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", PROBE_BAD, "transfer-encoding"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", PROBE_BAD, "chunks"},
		{"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", PROBE_BAD, "folded"},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n", PROBE_BAD, "protocol"},
	};

	check.kind = CHECK_HTTP;
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		k->say = str_of(rows[i].say);
		expect(i, ask(), rows[i].v, rows[i].why);
	}
	ck_assert_uint_eq(k->requests, UNIT_COUNT(rows));
}
END_TEST

START_TEST(a_body_that_ends_with_its_connection_is_whole)
{
	check.kind = CHECK_HTTP;
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	k->say = STR("HTTP/1.0 200 OK\r\n\r\nall is well");
	k->then_close = true;
	expect(0, ask(), PROBE_PASSED, "");
	k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nall is well");
	expect(1, ask(), PROBE_FAILED, "inside the answer");
	k->say = STR("");
	expect(2, ask(), PROBE_FAILED, "without an answer");
}
END_TEST

START_TEST(silence_drips_and_endless_answers_are_over_at_the_timeout_or_before)
{
	static char body[65536];

	memset(body, 'x', sizeof(body));
	check.kind = CHECK_HTTP;
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	expect(0, ask(), PROBE_FAILED, "no answer within 1000 ms");
	k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n................................................................................................");
	k->drip_ms = 20;
	expect(1, ask(), PROBE_FAILED, "no answer within 1000 ms");
	k->drip_ms = 0;
	k->say = str_n(body, sizeof(body)); /* garbage without an end */
	k->forever = true;
	expect(2, ask(), PROBE_BAD, "not HTTP/1.1");
	k->say = STR("HTTP/1.1 200 OK\r\nx: y\r\nx: y\r\nx: y\r\n");
	expect(3, ask(), PROBE_BAD, "");
	k->say = STR("HTTP/1.1 200 OK\r\n\r\n................................................................................................................................");
	expect(4, ask(), PROBE_BAD, "larger than 1 MiB");
}
END_TEST

START_TEST(expected_and_retriable_statuses_are_half_open_ranges)
{
	static const struct { int status; enum probe_verdict v; } rows[] = {
		{200, PROBE_PASSED}, {299, PROBE_PASSED}, {300, PROBE_BAD}, {404, PROBE_PASSED}, {405, PROBE_BAD}, {499, PROBE_BAD},
		{500, PROBE_FAILED}, {503, PROBE_FAILED}, {504, PROBE_BAD}};

	check.kind = CHECK_HTTP;
	check.nexpected = 2;
	check.expected = xalloc(2 * sizeof(struct check_range));
	check.expected[0] = (struct check_range){200, 300};
	check.expected[1] = (struct check_range){404, 405};
	check.nretriable = 1;
	check.retriable = xalloc(sizeof(struct check_range));
	check.retriable[0] = (struct check_range){500, 504};
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char say[64];

		snprintf(say, sizeof(say), "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", rows[i].status);
		k->say = str_of(say);
		expect(i, ask(), rows[i].v, rows[i].v == PROBE_PASSED ? "" : "status");
	}
}
END_TEST

START_TEST(the_request_says_what_is_declared)
{
	check.kind = CHECK_HTTP;
	check.path = (free(check.path), owned("/ready?x=1"));
	check.method = (free(check.method), owned("POST"));
	check.send.p = (uint8_t *)owned("ping");
	check.send.n = 4;
	check.nadd = 3;
	check.add = xalloc(3 * sizeof(struct check_field));
	check.add[0] = (struct check_field){owned("X-One"), owned("1"), true};
	check.add[1] = (struct check_field){owned("x-one"), owned("2"), true};
	check.add[2] = (struct check_field){owned("content-length"), owned("99"), false};
	check.nremove = 1;
	check.remove = xalloc(sizeof(char *));
	check.remove[0] = owned("User-Agent");
	k = fake_new(f, AT, false);
	k->after = "ping";
	k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	expect(0, ask(), PROBE_PASSED, "");
	ck_assert_msg(str_eq(sb_view(&k->got), STR("POST /ready?x=1 HTTP/1.1\r\nHost: demo\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 4\r\n\r\nping")), "%.*s", (int)k->got.n, k->got.p);
	/* The endpoint's own name wins over what the check says, and that over the cluster's. */
	check.host = owned("said.example");
	k->got.n = 0;
	ask();
	ck_assert_ptr_nonnull(memmem(k->got.p, k->got.n, "Host: said.example\r\n", 20));
	spec.endpoint_host = "own.example";
	k->got.n = 0;
	ask();
	ck_assert_ptr_nonnull(memmem(k->got.p, k->got.n, "Host: own.example\r\n", 19));
}
END_TEST

START_TEST(what_is_declared_with_a_line_break_is_never_sent)
{
	check.kind = CHECK_HTTP;
	check.path = (free(check.path), owned("/x\r\nx-injected: 1"));
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	expect(0, ask(), PROBE_BAD, "makes no request");
	check.path[2] = '\0';
	check.host = owned("a b");
	expect(1, ask(), PROBE_BAD, "makes no request");
	ck_assert_uint_eq(k->got.n, 0);
	check.http2 = true;
	k->h2 = true;
	expect(2, ask(), PROBE_BAD, "makes no request");
}
END_TEST

START_TEST(a_body_is_searched_for_all_pieces_in_their_order_within_the_buffer)
{
	static const struct { const char *body; uint32_t buffer; enum probe_verdict v; } rows[] = {
		{"one two", 1024, PROBE_PASSED}, {"..one....two..", 1024, PROBE_PASSED}, {"two one", 1024, PROBE_BAD}, {"one", 1024, PROBE_BAD},
		{"oneone two two", 1024, PROBE_PASSED}, {"one two", 6, PROBE_BAD}, {"one two", 7, PROBE_PASSED}, {"............one two", 0, PROBE_PASSED}, {"", 1024, PROBE_BAD}};

	check.kind = CHECK_HTTP;
	check.nreceive = 2;
	check.receive = xalloc(2 * sizeof(struct check_bytes));
	check.receive[0] = (struct check_bytes){(uint8_t *)owned("one"), 3};
	check.receive[1] = (struct check_bytes){(uint8_t *)owned("two"), 3};
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char say[128];

		snprintf(say, sizeof(say), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(rows[i].body), rows[i].body);
		k->say = str_of(say);
		check.response_buffer = rows[i].buffer;
		expect(i, ask(), rows[i].v, rows[i].v == PROBE_PASSED ? "" : "body");
	}
	ck_assert_uint_eq(stat_get(&f->loop->stats, STAT_CHECK_VERIFY_CLUSTER), 0);
}
END_TEST

START_TEST(who_answers_must_belong_to_the_cluster)
{
	check.kind = CHECK_HTTP;
	check.cluster_matcher = xnew(struct match_text);
	*check.cluster_matcher = (struct match_text){.form = TEXT_PREFIX, .p = owned("demo"), .n = 4};
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	k->say = STR("HTTP/1.1 200 OK\r\nx-envoy-upstream-healthchecked-cluster: demo-v1\r\nContent-Length: 0\r\n\r\n");
	expect(0, ask(), PROBE_PASSED, "");
	k->say = STR("HTTP/1.1 200 OK\r\nx-envoy-upstream-healthchecked-cluster: other\r\nContent-Length: 0\r\n\r\n");
	expect(1, ask(), PROBE_BAD, "'other'");
	k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	expect(2, ask(), PROBE_BAD, "''");
	ck_assert_uint_eq(stat_get(&f->loop->stats, STAT_CHECK_VERIFY_CLUSTER), 3);
}
END_TEST

/* ---- connecting ------------------------------------------------------------------------------------------------------------- */

START_TEST(who_cannot_be_connected_to_has_failed_over_every_way)
{
	static const enum check_kind kinds[] = {CHECK_HTTP, CHECK_GRPC, CHECK_TCP, CHECK_UNIX, CHECK_HTTP};

	k = fake_new(f, AT, false);
	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		check.kind = kinds[i];
		check.http2 = i == 4;
		fake_listen(k, false);
		expect(i, ask(), PROBE_FAILED, "refused");
		fake_listen(k, true);
		simnet_on_connect(f->net, &at, SIMNET_HANG);
		expect(i, ask(), PROBE_FAILED, "no connection within 1000 ms");
		simnet_on_connect(f->net, &at, -EMFILE);
		expect(i, ask(), PROBE_VOID, "");
		simnet_on_connect(f->net, &at, SIMNET_NORMAL);
	}
}
END_TEST

START_TEST(the_next_address_is_tried_when_the_first_one_does_not_answer)
{
	struct addr two[2] = {simnet_addr("10.0.0.9:80"), at};

	check.kind = CHECK_TCP;
	spec.addrs = two;
	spec.naddrs = 2;
	k = fake_new(f, AT, false);
	expect(0, ask(), PROBE_PASSED, "");
	simnet_on_connect(f->net, &two[0], SIMNET_HANG);
	expect(1, ask(), PROBE_PASSED, "");
	fake_listen(k, false);
	simnet_on_connect(f->net, &two[0], SIMNET_NORMAL);
	expect(2, ask(), PROBE_FAILED, "refused");
	spec.naddrs = 0;
	expect(3, ask(), PROBE_FAILED, "");
}
END_TEST

START_TEST(tcp_sends_and_looks_for_what_comes_back)
{
	static const struct { const char *after, *say; bool close; enum probe_verdict v; const char *why; } rows[] = {
		{"PING\r\n", "+PONG\r\n", false, PROBE_PASSED, ""}, {"PING\r\n", "xx+PONGxx", true, PROBE_PASSED, ""}, {"PING\r\n", "-LOADING\r\n", false, PROBE_FAILED, "no answer"},
		{"PING\r\n", "-LOADING\r\n", true, PROBE_FAILED, "something else"}, {"PING\r\n", "", true, PROBE_FAILED, "without a word"}, {NULL, "+PONG", false, PROBE_PASSED, ""},
		{"other", "", false, PROBE_FAILED, "no answer"}};

	check.kind = CHECK_TCP;
	k = fake_new(f, AT, false);
	expect(100, ask(), PROBE_PASSED, "");
	check.send = (struct check_bytes){(uint8_t *)owned("PING\r\n"), 6};
	expect(101, ask(), PROBE_PASSED, "");
	ck_assert(str_is(sb_view(&k->got), "PING\r\n"));
	check.nreceive = 1;
	check.receive = xalloc(sizeof(struct check_bytes));
	check.receive[0] = (struct check_bytes){(uint8_t *)owned("+PONG"), 5};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		k->after = rows[i].after;
		k->say = str_of(rows[i].say);
		k->then_close = rows[i].close;
		k->drip_ms = i == 0;
		expect(i, ask(), rows[i].v, rows[i].why);
	}
	k->then_close = false;
	k->after = NULL;
	k->forever = true;
	k->say = STR("................................................................................................................................................................");
	expect(102, ask(), PROBE_BAD, "1 MiB");
}
END_TEST

START_TEST(a_unix_socket_is_well_when_it_can_be_connected_to)
{
	at = simnet_addr("unix:/run/app.sock");
	check.kind = CHECK_UNIX;
	expect(0, ask(), PROBE_FAILED, "no such socket");
	k = fake_new(f, "unix:/run/app.sock", false);
	expect(1, ask(), PROBE_PASSED, "");
}
END_TEST

/* ---- gRPC ------------------------------------------------------------------------------------------------------------------- */

START_TEST(only_serving_with_status_0_is_well)
{
	static const struct { const char *head; struct str body; const char *trailers; enum probe_verdict v; const char *why; } rows[] = {
#define GRPC_HEAD ":status: 200\ncontent-type: application/grpc\n"
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x01"), "grpc-status: 0\n", PROBE_PASSED, ""},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x02"), "grpc-status: 0\n", PROBE_BAD, "NOT_SERVING"},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x03"), "grpc-status: 0\n", PROBE_BAD, "SERVICE_UNKNOWN"},
		{GRPC_HEAD, STR("\0\0\0\0\0"), "grpc-status: 0\n", PROBE_BAD, "UNKNOWN"},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x01"), "grpc-status: 5\ngrpc-message: unknown service\n", PROBE_BAD, "grpc-status 5 NOT_FOUND: unknown service"},
		{GRPC_HEAD, STR(""), "grpc-status: 0\n", PROBE_BAD, "without an answer"},
		{GRPC_HEAD "grpc-status: 14\n", STR(""), NULL, PROBE_BAD, "grpc-status 14 UNAVAILABLE"},
		{GRPC_HEAD "grpc-status: 4\n", STR(""), NULL, PROBE_BAD, "grpc-status 4"},
		{GRPC_HEAD "grpc-status: 12\n", STR(""), NULL, PROBE_ALIVE, "no health service"},
		{":status: 404\ncontent-type: text/plain\n", STR("not found"), NULL, PROBE_ALIVE, "no health service"},
		{":status: 404\ngrpc-status: 12\n", STR(""), NULL, PROBE_ALIVE, "no health service"},
		{":status: 503\n", STR(""), NULL, PROBE_BAD, "grpc-status 14"},
		{":status: 200\ncontent-type: text/html\n", STR("<html>"), NULL, PROBE_BAD, "not gRPC"},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x01\0\0\0\0\2\x08\x01"), "grpc-status: 0\n", PROBE_BAD, "more than one"},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x80"), "grpc-status: 0\n", PROBE_BAD, "no HealthCheckResponse"},
		{GRPC_HEAD, STR("\0\xff\xff\xff\xff\x08\x01"), "grpc-status: 0\n", PROBE_BAD, "too large"},
		{GRPC_HEAD, STR("\1\0\0\0\2\x08\x01"), "grpc-status: 0\n", PROBE_BAD, "compressed"},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08"), "grpc-status: 0\n", PROBE_BAD, ""},
		{GRPC_HEAD, STR("\0\0\0\0\2\x08\x01"), NULL, PROBE_BAD, "without trailers"},
		{GRPC_HEAD "x-envoy-immediate-health-check-fail: 1\n", STR("\0\0\0\0\2\x08\x01"), "grpc-status: 0\n", PROBE_BAD, "immediate"},
		{GRPC_HEAD "x-envoy-degraded: 1\n", STR("\0\0\0\0\2\x08\x01"), "grpc-status: 0\n", PROBE_DEGRADED, "degraded"},
	};

	check.kind = CHECK_GRPC;
	k = fake_new(f, AT, true);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		k->head = rows[i].head;
		k->body = rows[i].body;
		k->trailers = rows[i].trailers;
		expect(i, ask(), rows[i].v, rows[i].why);
	}
}
END_TEST

START_TEST(a_grpc_check_asks_as_the_specification_says)
{
	const char *want = ":method: POST\n:scheme: http\n:path: /grpc.health.v1.Health/Check\n:authority: demo.example\nte: trailers\ngrpc-timeout: 1500m\n"
		"content-type: application/grpc\nuser-agent: thinmesh/HC\nx-token: a\n";
	size_t n = strlen(want);

	check.kind = CHECK_GRPC;
	check.timeout_ns = 1500 * MS;
	check.service = owned("Greeter");
	check.authority = owned("demo.example");
	check.nadd = 1;
	check.add = xalloc(sizeof(struct check_field));
	check.add[0] = (struct check_field){owned("X-Token"), owned("a"), true};
	k = fake_new(f, AT, true);
	expect(0, ask(), PROBE_PASSED, "");
	ck_assert_msg(k->got.n == n + 14 && memcmp(k->got.p, want, n) == 0, "%.*s", (int)k->got.n, k->got.p);
	ck_assert(memcmp(k->got.p + n, "\0\0\0\0\x09\x0a\x07" "Greeter", 14) == 0);
}
END_TEST

START_TEST(streams_that_break_off_count_and_those_that_were_never_looked_at_do_not)
{
	check.kind = CHECK_GRPC;
	for (int http = 0; http < 2; http++) {
		k = fake_new(f, http ? "10.0.0.2:80" : AT, true);
		at = k->at;
		if (http) {
			check.kind = CHECK_HTTP;
			check.http2 = true;
			fake_says_grpc(k, ":status: 200\n");
			expect(0, ask(), PROBE_PASSED, "");
		}
		k->goaway = true; /* and answered all the same */
		expect(1, ask(), PROBE_PASSED, "");
		k->hold = true; /* and never answered: that is the provider's fault */
		expect(2, ask(), PROBE_FAILED, "");
		k->goaway = false;
		expect(3, ask(), PROBE_FAILED, "no answer within");
		k->hold = false;
		k->reset = true;
		k->code = H2_INTERNAL_ERROR;
		expect(4, ask(), PROBE_FAILED, "reset the stream");
		k->code = H2_REFUSED_STREAM;
		expect(5, ask(), PROBE_FAILED, "stream");
		k->reset = false;
		k->cut = true;
		expect(6, ask(), PROBE_FAILED, "lost");
		k->cut = false;
		k->hold_end = true;
		expect(7, ask(), PROBE_FAILED, "no answer within");
	}
}
END_TEST

/* SETTINGS, and GOAWAY that names no stream, by hand. */
START_TEST(a_connection_that_goes_away_before_it_looked_says_nothing)
{
	check.kind = CHECK_GRPC;
	k = fake_new(f, AT, false);
	k->say = STR("\0\0\0\4\0\0\0\0\0" "\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0");
	expect(0, ask(), PROBE_VOID, "go");
	k->after = "PRI * HTTP/2.0";
	expect(1, ask(), PROBE_VOID, "go");
	k->after = NULL;
	k->say = STR("HTTP/1.1 400 Bad Request\r\n\r\n");
	expect(2, ask(), PROBE_BAD, "HTTP/2");
}
END_TEST

/* Types of the frames that came behind the client's preface, in order. */
static const char *frames_got(char *ret, size_t room)
{
	const unsigned char *p = (const unsigned char *)k->got.p;
	size_t n = 0;

	for (size_t i = 24; i + 9 <= k->got.n && n + 1 < room; i += 9 + ((size_t)p[i] << 16 | (size_t)p[i + 1] << 8 | p[i + 2]))
		ret[n++] = p[i + 3] == 4 && p[i + 4] & 1 ? 'A' : (char)('0' + p[i + 3]);
	ret[n] = '\0';
	return ret;
}

#define SETTINGS "\0\0\0\4\0\0\0\0\0"
#define SERVING "\0\0\x14\1\4\0\0\0\1" "\x88\x0f\x10\x10" "application/grpc" "\0\0\7\0\0\0\0\0\1" "\0\0\0\0\2\x08\1" "\0\0\x0f\1\5\0\0\0\1" "\0\x0bgrpc-status\1" "0"

START_TEST(the_request_leaves_with_the_preface_and_nothing_behind_the_answer)
{
	char got[16];

	check.kind = CHECK_GRPC;
	k = fake_new(f, AT, false);
	expect(0, ask(), PROBE_FAILED, "no SETTINGS from the peer within 1000 ms");
	ck_assert_str_eq(frames_got(got, sizeof(got)), "4810");
	k->after = "PRI * HTTP/2.0"; /* SETTINGS and the answer in one piece: nobody waits for the acknowledgement any more */
	k->say = STR(SETTINGS SERVING);
	k->got.n = 0;
	expect(1, ask(), PROBE_PASSED, "");
	ck_assert_str_eq(frames_got(got, sizeof(got)), "4810");
	k->say = STR(SETTINGS); /* who waits for it gets it */
	k->got.n = 0;
	expect(2, ask(), PROBE_FAILED, "no answer within 1000 ms");
	ck_assert_str_eq(frames_got(got, sizeof(got)), "4810A");
}
END_TEST

START_TEST(what_ends_a_connection_before_its_settings_is_told_as_that)
{
	static const struct {
		struct str say;
		bool close;
		enum probe_verdict v;
		const char *why;
	} rows[] = {
		{STR(""), true, PROBE_FAILED, "closed before SETTINGS"},
		{STR(SERVING), false, PROBE_BAD, "does not speak HTTP/2"},
		{STR("SSH-2.0-OpenSSH_9.2\r\n"), false, PROBE_BAD, "does not speak HTTP/2"},
		{STR("\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0"), false, PROBE_BAD, "does not speak HTTP/2"},
		/* no stream is allowed, which our request could not know; and one that is refused all the same */
		{STR("\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0" "\0\0\4\3\0\0\0\0\1\0\0\0\7"), false, PROBE_VOID, "takes no stream"},
		{STR(SETTINGS "\0\0\4\3\0\0\0\0\1\0\0\0\7"), false, PROBE_FAILED, "stream"},
	};

	k = fake_new(f, AT, false);
	for (size_t i = 0; i < 2 * UNIT_COUNT(rows); i++) {
		size_t row = i / 2;

		check.kind = i % 2 ? CHECK_HTTP : CHECK_GRPC;
		check.http2 = i % 2;
		k->after = "PRI * HTTP/2.0";
		k->say = rows[row].say;
		k->then_close = rows[row].close;
		expect(i, ask(), rows[row].v, rows[row].why);
	}
}
END_TEST

START_TEST(a_provider_without_a_health_service_is_what_the_check_says)
{
	check.kind = CHECK_GRPC;
	k = fake_new(f, AT, true);
	fake_says_grpc(k, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\n");
	check.unimplemented = UNIMPLEMENTED_ALIVE;
	expect(0, ask(), PROBE_ALIVE, "no health service");
	check.unimplemented = UNIMPLEMENTED_FAILS;
	expect(1, ask(), PROBE_BAD, "UNIMPLEMENTED");
	check.unimplemented = UNIMPLEMENTED_CONNECTS; /* it has just been connected to */
	expect(2, ask(), PROBE_ALIVE, "");
	ck_assert_uint_eq(k->accepted, 3);
}
END_TEST

/* ---- lent and kept connections ---------------------------------------------------------------------------------------------- */

static void quiet(void *owner)
{
	(void)owner;
}

static void lent_closed(void *owner, int err, uint64_t carried)
{
	(void)err, (void)carried;
	*(struct h2_conn **)owner = NULL;
}

static void lent_up(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	(void)d, (void)err, (void)why;
	*(struct h2_conn **)owner = conn;
}

static struct h2_conn *lend(struct h2_conn **where)
{
	static const struct h2_client_events events = {.on_up = quiet, .on_room = quiet, .on_goaway = quiet, .on_closed = lent_closed};
	struct dial_spec ds = {.addrs = &at, .count = 1, .timeout_ns = SEC, .limits = &f->lim, .account = &f->loop->memory};
	struct dial *d;

	*where = NULL;
	ck_assert_int_eq(dial_start(f->loop, &ds, &events, where, lent_up, &d), 0);
	fakes_advance(f, 10 * MS);
	ck_assert_ptr_nonnull(*where);
	return *where;
}

START_TEST(on_a_lent_connection_a_probe_is_one_stream_and_leaves_it_as_it_was)
{
	struct h2_conn *lent;

	check.kind = CHECK_GRPC;
	k = fake_new(f, AT, true);
	spec.lent = lend(&lent);
	spec.keep = (struct probe_keep *[]){NULL};
	ck_assert_int_eq(ask().v, PROBE_PASSED);
	ck_assert_int_eq(ask().v, PROBE_PASSED);
	ck_assert_uint_eq(k->accepted, 1);
	ck_assert_uint_eq(k->open, 1);
	ck_assert_ptr_null(*spec.keep);
	k->hold = true;
	ck_assert_int_eq(ask().v, PROBE_FAILED);
	ck_assert_ptr_nonnull(lent);
	ck_assert_uint_eq(h2_conn_streams(lent), 0);
	k->hold = false;
	fake_says_grpc(k, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\n");
	check.unimplemented = UNIMPLEMENTED_CONNECTS; /* it stands since long ago: is it still there? */
	ck_assert_int_eq(ask().v, PROBE_ALIVE);
	ck_assert_uint_eq(k->accepted, 2);
	k->hold = true; /* that it goes says nothing of the provider */
	struct heard h = {0};
	h.probe = probe_start(&spec, heard, &h);
	fakes_advance(f, 10 * MS);
	h2_conn_close(lent, H2_NO_ERROR);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_int_eq(h.v, PROBE_VOID);
}
END_TEST

START_TEST(a_kept_connection_is_used_again_until_it_ends)
{
	static const bool kinds[] = {true, false};

	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		struct probe_keep *keep = NULL;

		check.kind = kinds[i] ? CHECK_GRPC : CHECK_HTTP;
		k = fake_new(f, kinds[i] ? AT : "10.0.0.2:80", kinds[i]);
		at = k->at;
		k->after = "\r\n\r\n";
		k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		spec.keep = &keep;
		for (int n = 0; n < 3; n++)
			ck_assert_int_eq(ask().v, PROBE_PASSED);
		ck_assert_uint_eq(k->accepted, 1);
		ck_assert_uint_eq(k->requests, 3);
		ck_assert_uint_eq(fake_cut(k), 1);
		fakes_advance(f, MS);
		ck_assert_int_eq(ask().v, PROBE_PASSED);
		ck_assert_uint_eq(k->accepted, 2);
		if (kinds[i]) { /* a kept one that goes away at once */
			fake_goaway(k);
			fakes_advance(f, 10 * MS);
			ck_assert_int_eq(ask().v, PROBE_PASSED);
			ck_assert_uint_eq(k->accepted, 3);
		}
		k->hold = k->cut = true;
		k->then_close = true;
		k->say = STR("");
		struct heard h = ask(); /* the kept one broke when it was used: perhaps for its age */
		ck_assert_int_eq(h.v, PROBE_VOID);
		ck_assert_int_eq(ask().v, PROBE_FAILED);
		probe_keep_close(&keep);
		ck_assert_ptr_null(keep);
		fakes_advance(f, 10 * MS);
		ck_assert_uint_eq(k->open, 0);
		spec.keep = NULL;
	}
}
END_TEST

START_TEST(what_is_not_reusable_is_not_kept)
{
	static const char *const rows[] = {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!"};

	check.kind = CHECK_HTTP;
	k = fake_new(f, AT, false);
	k->after = "\r\n\r\n";
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct probe_keep *keep = NULL;

		spec.keep = &keep;
		k->say = str_of(rows[i]);
		ck_assert_int_eq(ask().v, PROBE_PASSED);
		ck_assert_uint_eq(k->open, 0);
		probe_keep_close(&keep);
	}
}
END_TEST

START_TEST(a_probe_that_is_cancelled_tells_nothing_at_whatever_point)
{
	static const enum check_kind kinds[] = {CHECK_HTTP, CHECK_GRPC, CHECK_TCP, CHECK_HTTP};

	check.nreceive = 1;
	check.receive = xalloc(sizeof(struct check_bytes));
	check.receive[0] = (struct check_bytes){(uint8_t *)owned("x"), 1};
	simnet_knobs(f->net)->latency_ns = 10 * MS;
	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.0.1.%zu:80", i + 1);
		at = simnet_addr(text);
		k = fake_new(f, text, kinds[i] == CHECK_GRPC || i == 3);
		k->after = "\r\n\r\n";
		k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		check.kind = kinds[i];
		check.http2 = i == 3;
		for (uint64_t after = 0; after < 120; after += 7) {
			struct heard h = {0};

			h.probe = probe_start(&spec, heard, &h);
			fakes_advance(f, after * MS);
			uint32_t told = h.times;
			probe_cancel(&h.probe);
			ck_assert_ptr_null(h.probe);
			fakes_advance(f, 100 * MS);
			ck_assert_uint_eq(h.times, told);
			ck_assert_uint_eq(k->open, 0);
		}
	}
	probe_cancel(&(struct probe *){NULL});
}
END_TEST

START_TEST(without_memory_nothing_is_said_and_nothing_is_left)
{
	static const enum check_kind kinds[] = {CHECK_HTTP, CHECK_GRPC, CHECK_TCP, CHECK_HTTP};

	check.nreceive = 1;
	check.receive = xalloc(sizeof(struct check_bytes));
	check.receive[0] = (struct check_bytes){(uint8_t *)owned("ok"), 2};
	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		char text[32];
		bool passed = false;

		snprintf(text, sizeof(text), "10.0.2.%zu:80", i + 1);
		at = simnet_addr(text);
		k = fake_new(f, text, kinds[i] == CHECK_GRPC || i == 3);
		k->after = "\r\n\r\n";
		k->say = STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
		if (i == 3) {
			k->head = ":status: 200\n";
			k->body = STR("ok");
			k->trailers = NULL;
		} else if (i == 2) {
			k->after = NULL;
		}
		check.kind = kinds[i];
		check.http2 = i == 3;
		for (size_t room = 0; room < 200000 && !passed; room += 499) {
			struct account tight;
			struct heard h = {0};

			account_init(&tight, NULL, "tight", room);
			spec.account = &tight;
			h.probe = probe_start(&spec, heard, &h);
			fakes_advance(f, SEC + 10 * MS);
			ck_assert_uint_eq(h.times, h.probe || h.times ? 1 : 0);
			passed = h.times && h.v == PROBE_PASSED;
			fakes_advance(f, 10 * MS);
			account_end(&tight);
		}
		ck_assert_msg(passed, "kind %zu", i);
		spec.account = &f->loop->memory;
	}
}
END_TEST

/* ---- Watch ------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_watch_tells_each_status_and_its_end)
{
	struct heard h = {0};

	check.kind = CHECK_GRPC;
	check.watch = true;
	check.interval_ns = 5 * SEC;
	k = fake_new(f, AT, true);
	k->hold_end = true;
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_int_eq(h.v, PROBE_PASSED);
	ck_assert_ptr_nonnull(memmem(k->got.p, k->got.n, "/grpc.health.v1.Health/Watch", 28));
	ck_assert_ptr_null(memmem(k->got.p, k->got.n, "grpc-timeout", 12));
	fake_push(k, "\x08\x02", 2);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 2);
	ck_assert_int_eq(h.v, PROBE_BAD);
	ck_assert_str_eq(h.why, "it says NOT_SERVING");
	fakes_advance(f, 60 * SEC); /* PINGs are answered */
	ck_assert_uint_eq(h.times, 2);
	fake_push(k, "\x08\x01", 2);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 3);
	fake_end(k, "grpc-status: 1\n");
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 4);
	ck_assert_int_eq(h.v, PROBE_FAILED);
	ck_assert_uint_eq(k->open, 0);
}
END_TEST

START_TEST(a_watch_ends_as_its_peer_does)
{
	struct heard h = {0};

	check.kind = CHECK_GRPC;
	check.interval_ns = 5 * SEC;
	k = fake_new(f, AT, true);
	k->hold_end = true;
	/* killed */
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, 10 * MS);
	fake_cut(k);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 2);
	ck_assert_int_eq(h.v, PROBE_FAILED);
	/* leaves: the watch must not keep it */
	h = (struct heard){0};
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, 10 * MS);
	fake_goaway(k);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 2);
	ck_assert_int_eq(h.v, PROBE_VOID);
	ck_assert_uint_eq(k->open, 0);
	/* has no Watch, whatever the check says of that */
	fake_says_grpc(k, ":status: 200\ncontent-type: application/grpc\ngrpc-status: 12\n");
	k->hold_end = false;
	check.unimplemented = UNIMPLEMENTED_FAILS;
	h = (struct heard){0};
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_int_eq(h.v, PROBE_ALIVE);
	/* says nothing at all */
	fake_serves(k, 1);
	k->hold = true;
	h = (struct heard){0};
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, SEC + 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_int_eq(h.v, PROBE_FAILED);
	/* chatters */
	k->hold = false;
	k->hold_end = true;
	h = (struct heard){0};
	h.probe = probe_watch(&spec, heard, &h);
	for (int i = 0; i < 200 && h.v != PROBE_FAILED; i++) {
		fake_push(k, "\x08\x01", 2);
		fakes_advance(f, MS);
	}
	ck_assert_int_eq(h.v, PROBE_FAILED);
	ck_assert_uint_le(h.times, 102);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(k->open, 0);
}
END_TEST

START_TEST(a_watched_provider_that_hangs_is_found_by_a_ping)
{
	struct heard h = {0};

	check.kind = CHECK_GRPC;
	check.interval_ns = 5 * SEC;
	k = fake_new(f, AT, true);
	k->hold_end = true;
	h.probe = probe_watch(&spec, heard, &h);
	fakes_advance(f, 7 * SEC);
	ck_assert_uint_eq(h.times, 1);
	simnet_knobs(f->net)->latency_ns = 3600 * SEC; /* nothing arrives any more */
	fakes_advance(f, 5 * SEC);
	ck_assert_uint_eq(h.times, 2);
	ck_assert_int_eq(h.v, PROBE_FAILED);
	ck_assert_str_eq(h.why, "no answer to a PING");
}
END_TEST

/* A PING that is out when its watch is cancelled is answered to nobody. */
START_TEST(a_watch_may_be_cancelled_while_its_ping_is_out)
{
	struct heard h = {0};

	check.kind = CHECK_GRPC;
	check.interval_ns = 5 * SEC;
	simnet_knobs(f->net)->latency_ns = 100 * MS;
	k = fake_new(f, AT, true);
	k->hold_end = true;
	struct probe *p = probe_watch(&spec, heard, &h);
	fakes_advance(f, SEC);
	ck_assert_uint_eq(h.times, 1);
	fakes_advance(f, 4 * SEC + 500 * MS);
	probe_cancel(&p);
	fakes_advance(f, SEC);
	ck_assert_uint_eq(h.times, 1);
	ck_assert_uint_eq(k->open, 0);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {a_status_makes_the_verdict, a_body_that_ends_with_its_connection_is_whole, silence_drips_and_endless_answers_are_over_at_the_timeout_or_before,
		expected_and_retriable_statuses_are_half_open_ranges, the_request_says_what_is_declared, what_is_declared_with_a_line_break_is_never_sent,
		a_body_is_searched_for_all_pieces_in_their_order_within_the_buffer, who_answers_must_belong_to_the_cluster, who_cannot_be_connected_to_has_failed_over_every_way,
		the_next_address_is_tried_when_the_first_one_does_not_answer, tcp_sends_and_looks_for_what_comes_back, a_unix_socket_is_well_when_it_can_be_connected_to,
		only_serving_with_status_0_is_well, a_grpc_check_asks_as_the_specification_says, streams_that_break_off_count_and_those_that_were_never_looked_at_do_not,
		a_connection_that_goes_away_before_it_looked_says_nothing, the_request_leaves_with_the_preface_and_nothing_behind_the_answer, what_ends_a_connection_before_its_settings_is_told_as_that, a_provider_without_a_health_service_is_what_the_check_says,
		on_a_lent_connection_a_probe_is_one_stream_and_leaves_it_as_it_was, a_kept_connection_is_used_again_until_it_ends, what_is_not_reusable_is_not_kept,
		a_probe_that_is_cancelled_tells_nothing_at_whatever_point, without_memory_nothing_is_said_and_nothing_is_left, a_watch_tells_each_status_and_its_end,
		a_watch_ends_as_its_peer_does, a_watched_provider_that_hangs_is_found_by_a_ping, a_watch_may_be_cancelled_while_its_ping_is_out};
	Suite *made = suite_create("probe");
	TCase *t = tcase_create("probe");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(made, t);
	return made;
}
