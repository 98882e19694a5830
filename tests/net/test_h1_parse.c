/* net/h1_parse: what is a request over HTTP/1.1, and what is doubt. */
#include "tests/unit.h"
#include "net/h1_parse.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fields_pool *pool;
static struct limits limits = {.header_bytes = 32768, .field_count = 200, .header_wire_bytes = 40960};

static void setup(void)
{
	pool = fields_pool_new();
}

static void teardown(void)
{
	fields_pool_free(&pool);
}

/* The status that a head is answered with, 0 where it is taken, -1 where its end was not found, 400 where it cannot have one. The
 * bytes are copied, so that ASan sees a read beyond them. */
static int parse(const char *bytes, size_t n, struct fields *f, struct h1_head *h)
{
	struct h1_scan scan = {0};
	const char *why = "";
	char *copy = malloc(n + 1);
	ptrdiff_t end;
	int status;

	memcpy(copy, bytes, n);
	end = h1_head_end(&scan, copy, n);
	status = end > 0 ? h1_head_parse(copy, (size_t)end, &limits, f, h, &why) : end < 0 ? 400 : -1;
	ck_assert(status <= 0 || end < 0 || *why);
	free(copy);
	return status;
}

/* "name: value|..." of the living fields, in their order. */
static void list_text(const struct fields *f, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	fields_each(e, f)
		n += (size_t)snprintf(out + n, cap - n, "%.*s: %.*s|", (int)e->name_len, e->name, (int)e->value_len, e->value);
}

START_TEST(requests_become_field_lists)
{
	static const struct {
		const char *head, *fields;
		enum h1_body body;
		uint64_t length;
		bool keep_alive;
	} rows[] = {
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ":method: GET|:scheme: http|:authority: localhost|:path: /|", H1_BODY_NONE, 0, true},
		{"POST /a.B/c HTTP/1.1\r\nhOsT: Demo:80\r\nContent-Type:application/json \t\r\nContent-Length: 12\r\n\r\n",
			":method: POST|:scheme: http|:authority: Demo:80|:path: /a.B/c|content-type: application/json|content-length: 12|",
			H1_BODY_LENGTH, 12, true},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", ":method: POST|:scheme: http|:authority: a|:path: /|",
			H1_BODY_CHUNKED, 0, true},
		{"\r\nGET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", ":method: GET|:scheme: http|:authority: a|:path: /a?b=c|", H1_BODY_NONE, 0, true},
		{"GET http://Demo:80/x?y HTTP/1.1\r\nHost: demo:80\r\n\r\n", ":method: GET|:scheme: http|:authority: Demo:80|:path: /x?y|",
			H1_BODY_NONE, 0, true},
		{"GET https://a HTTP/1.1\r\nHost: a\r\n\r\n", ":method: GET|:scheme: https|:authority: a|:path: /|", H1_BODY_NONE, 0, true},
		{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ":method: OPTIONS|:scheme: http|:authority: a|:path: *|", H1_BODY_NONE, 0, true},
		{"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", ":method: OPTIONS|:scheme: http|:authority: a|:path: *|", H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", ":method: GET|:scheme: http|:authority: |:path: /|", H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.0\r\n\r\n", ":method: GET|:scheme: http|:path: /|", H1_BODY_NONE, 0, false},
		{"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", ":method: GET|:scheme: http|:authority: a|:path: /|", H1_BODY_NONE, 0,
			false},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, close\r\n\r\n", ":method: GET|:scheme: http|:authority: a|:path: /|", H1_BODY_NONE, 0,
			false},
		{"GET / HTTP/1.1\r\nHost: a\r\nX-Own: 1\r\nConnection: , x-OWN ,keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Left: 2\r\n\r\n",
			":method: GET|:scheme: http|:authority: a|:path: /|x-left: 2|", H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, Trailers\r\nConnection: te\r\n\r\n",
			":method: GET|:scheme: http|:authority: a|:path: /|te: trailers|", H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n", ":method: GET|:scheme: http|:authority: a|:path: /|", H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
			":method: GET|:scheme: http|:authority: a|:path: /|", H1_BODY_NONE, 0, false},
		{"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ":method: PUT|:scheme: http|:authority: a|:path: /|content-length: 0|",
			H1_BODY_NONE, 0, true},
		{"GET / HTTP/1.1\r\nHost: a\r\nX-Utf: caf\xc3\xa9\tx\r\nX-Empty:\r\n\r\n",
			":method: GET|:scheme: http|:authority: a|:path: /|x-utf: caf\xc3\xa9\tx|x-empty: |", H1_BODY_NONE, 0, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct fields *f = fields_new(pool, NULL);
		struct h1_head h;
		char text[1024];

		ck_assert_msg(parse(rows[i].head, strlen(rows[i].head), f, &h) == 0, "refused: %s", rows[i].head);
		list_text(f, text, sizeof(text));
		ck_assert_str_eq(text, rows[i].fields);
		ck_assert_int_eq(h.body, rows[i].body);
		ck_assert_uint_eq(h.length, rows[i].length);
		ck_assert_int_eq(h.keep_alive, rows[i].keep_alive);
		ck_assert_ptr_null(fields_check(f, FIELDS_REQUEST));
		fields_unref(&f);
	}
}
END_TEST

#define HOST "Host: a\r\n"
START_TEST(any_doubt_is_refused)
{
	static const struct {
		const char *about;
		int status;
		const char *head;
	} rows[] = {
		{"bare LF behind the request line", 400, "GET / HTTP/1.1\n" HOST "\r\n"},
		{"bare LF behind a field", 400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
		{"bare LF as the empty line", 400, "GET / HTTP/1.1\r\n" HOST "\n"},
		{"bare LF before the request", 400, "\nGET / HTTP/1.1\r\n" HOST "\r\n"},
		{"two empty lines before", 400, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"},
		{"bare CR in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n"},
		{"bare CR in a name", 400, "GET / HTTP/1.1\r\n" HOST "X\rY: a\r\n\r\n"},
		{"CR CR LF", 400, "GET / HTTP/1.1\r\n" HOST "X: a\r\r\n\r\n"},
		{"bare CR in the target", 400, "GET /\rx HTTP/1.1\r\n" HOST "\r\n"},
		{"obs-fold", 400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"},
		{"obs-fold with a tab", 400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb: c\r\n\r\n"},
		{"a fold before the first field", 400, "GET / HTTP/1.1\r\n X: y\r\n" HOST "\r\n"},
		{"space before the colon", 400, "GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n"},
		{"tab before the colon", 400, "GET / HTTP/1.1\r\n" HOST "X\t: a\r\n\r\n"},
		{"a space in a name", 400, "GET / HTTP/1.1\r\n" HOST "X Y: a\r\n\r\n"},
		{"no colon", 400, "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n"},
		{"no name", 400, "GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n"},
		{"a pseudo-header", 400, "GET / HTTP/1.1\r\n" HOST ":path: /x\r\n\r\n"},
		{"UTF-8 in a name", 400, "GET / HTTP/1.1\r\n" HOST "caf\xc3\xa9: a\r\n\r\n"},
		{"a control byte in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: a\x01" "b\r\n\r\n"},
		{"DEL in a value", 400, "GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n"},

		{"no host", 400, "GET / HTTP/1.1\r\n\r\n"},
		{"two hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
		{"two hosts in 1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"},
		{"userinfo in host", 400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
		{"a space in host", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
		{"target and host differ", 400, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"},

		{"HTTP/0.9", 400, "GET /\r\n\r\n"},
		{"no target", 400, "GET  HTTP/1.1\r\n" HOST "\r\n"},
		{"two spaces", 400, "GET  / HTTP/1.1\r\n" HOST "\r\n"},
		{"a space behind", 400, "GET / HTTP/1.1 \r\n" HOST "\r\n"},
		{"a space before", 400, " GET / HTTP/1.1\r\n" HOST "\r\n"},
		{"a tab between", 400, "GET\t/ HTTP/1.1\r\n" HOST "\r\n"},
		{"a space in the target", 400, "GET /a b HTTP/1.1\r\n" HOST "\r\n"},
		{"a fragment", 400, "GET /a#b HTTP/1.1\r\n" HOST "\r\n"},
		{"no slash", 400, "GET a HTTP/1.1\r\n" HOST "\r\n"},
		{"a query without a path", 400, "GET http://a?b HTTP/1.1\r\n" HOST "\r\n"},
		{"an authority that is none", 400, "GET http:/// HTTP/1.1\r\n" HOST "\r\n"},
		{"another scheme", 400, "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n"},
		{"GET *", 400, "GET * HTTP/1.1\r\n" HOST "\r\n"},
		{"a method that is no token", 400, "G@T / HTTP/1.1\r\n" HOST "\r\n"},
		{"a small http", 400, "GET / http/1.1\r\n" HOST "\r\n"},
		{"a version of two digits", 400, "GET / HTTP/1.10\r\n" HOST "\r\n"},
		{"a version without its point", 400, "GET / HTTP/1,1\r\n" HOST "\r\n"},
		{"HTTP/2.0", 505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
		{"HTTP/1.2", 505, "GET / HTTP/1.2\r\n" HOST "\r\n"},
		{"CONNECT", 501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
		{"upgrade to h2c twice", 501, "GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: h2c\r\n\r\n"},
		{"upgrade to h2c or something", 501, "GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"},
		{"upgrade to websocket", 501, "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"},

		{"content-length and chunked", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"chunked and content-length", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
		{"a bad content-length and chunked", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"chunked, identity", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n"},
		{"gzip, chunked", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
		{"chunked twice", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"identity", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n"},
		{"an empty coding", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"},
		{"VT before chunked", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b" "chunked\r\n\r\n"},
		{"chunked with a parameter", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n"},
		{"quoted chunked", 400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n"},
		{"chunked in HTTP/1.0", 400, "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"},
		{"+5", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n"},
		{"-5", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n"},
		{"5,5", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5,5\r\n\r\n"},
		{"two lengths", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
		{"two equal lengths", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
		{"2^64", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n"},
		{"an empty length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"},

		{"connection names host", 400, "GET / HTTP/1.1\r\n" HOST "Connection: :authority\r\n\r\n"},
		{"connection names content-length", 400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nConnection: content-length\r\n\r\n"},
		{"another expectation", 417, "POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\nContent-Length: 5\r\n\r\n"},
		{"two expectations", 417, "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct fields *f = fields_new(pool, NULL);
		struct h1_head h;
		int status = parse(rows[i].head, strlen(rows[i].head), f, &h);

		ck_assert_msg(status == rows[i].status, "%s: %d", rows[i].about, status);
		fields_unref(&f);
	}
}
END_TEST

START_TEST(a_nul_is_refused_wherever_it_stands)
{
	const char head[] = "GET /abc HTTP/1.1\r\nHost: abc\r\nX-Y: z\r\n\r\n";

	for (size_t i = 0; i + 3 < sizeof(head); i++) {
		struct fields *f = fields_new(pool, NULL);
		struct h1_head h;
		char copy[sizeof(head)];

		memcpy(copy, head, sizeof(head));
		copy[i] = '\0';
		ck_assert_msg(parse(copy, sizeof(head) - 1, f, &h) == 400, "at %zu", i);
		fields_unref(&f);
	}
}
END_TEST

/* The same bytes, cut at each place: the same end. */
START_TEST(a_head_that_drips_in_ends_where_a_whole_one_does)
{
	const char head[] = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest\n";
	struct h1_scan scan = {0};
	size_t end = 0;

	for (size_t n = 0; n < sizeof(head) && !end; n++) {
		char *copy = malloc(n + 1);
		ptrdiff_t r;

		memcpy(copy, head, n);
		r = h1_head_end(&scan, copy, n);
		ck_assert_int_ge(r, 0);
		end = (size_t)r;
		free(copy);
	}
	ck_assert_uint_eq(end, strlen(head) - 5);
	scan = (struct h1_scan){0};
	ck_assert_int_eq(h1_head_end(&scan, head, sizeof(head) - 1), (ptrdiff_t)end);
}
END_TEST

START_TEST(lists_beyond_a_limit_are_told_apart_from_malformed_ones)
{
	static const struct limits tight = {.header_bytes = 400, .field_count = 7, .header_wire_bytes = 40960};
	struct fields *f = fields_new(pool, NULL);
	struct limits before = limits;
	struct h1_head h;
	char head[1024];

	limits = tight;
	strcpy(head, "GET / HTTP/1.1\r\n" HOST "A: 1\r\nB: 1\r\n\r\n");
	ck_assert_int_eq(parse(head, strlen(head), f, &h), 0);
	fields_unref(&f);
	f = fields_new(pool, NULL);
	strcpy(head, "GET / HTTP/1.1\r\n" HOST "A: 1\r\nB: 1\r\nC: 1\r\n\r\n");
	ck_assert_int_eq(parse(head, strlen(head), f, &h), 431);
	ck_assert_uint_gt(f->count, 7);
	fields_unref(&f);
	f = fields_new(pool, NULL);
	snprintf(head, sizeof(head), "GET / HTTP/1.1\r\n" HOST "A: %0300d\r\n\r\n", 0);
	ck_assert_int_eq(parse(head, strlen(head), f, &h), 431);
	ck_assert_uint_gt(f->size, 400);
	fields_unref(&f);
	f = fields_new(pool, NULL);
	snprintf(head, sizeof(head), "GET /%0400d HTTP/1.0\r\n\r\n", 0);
	ck_assert_int_eq(parse(head, strlen(head), f, &h), 431);
	fields_unref(&f);
	limits = before;
}
END_TEST

START_TEST(a_refusing_account_answers_503)
{
	struct account small;
	struct fields *f;
	struct h1_head h;
	char head[8192];

	account_init(&small, NULL, "small", 4096);
	f = fields_new(pool, &small);
	snprintf(head, sizeof(head), "GET / HTTP/1.1\r\n" HOST "X: %06000d\r\n\r\n", 0);
	ck_assert_int_eq(parse(head, strlen(head), f, &h), 503);
	fields_unref(&f);
}
END_TEST

/* ---- chunked bodies ------------------------------------------------------------------------------------------------------- */

/* Decodes in pieces of `piece` bytes. Returns the last step; *ret_used all that was used. */
static enum h1_step decode(const char *bytes, size_t n, size_t piece, char *out, size_t *ret_out, size_t *ret_used)
{
	struct h1_chunked c = {0};
	enum h1_step step = H1_STEP_MORE;
	size_t at = 0, made = 0;

	while (at < n && step == H1_STEP_MORE) {
		size_t now = n - at < piece ? n - at : piece, in = 0;
		char *copy = malloc(now);

		memcpy(copy, bytes + at, now);
		do {
			struct str data;
			size_t used;

			step = h1_chunked_step(&c, copy + in, now - in, &used, &data);
			if (step == H1_STEP_DATA) {
				memcpy(out + made, data.p, data.n);
				made += data.n;
			}
			in += used;
		} while (step == H1_STEP_DATA);
		at += in;
		free(copy);
	}
	*ret_out = made;
	*ret_used = at;
	return step;
}

START_TEST(chunked_bodies_are_the_same_however_they_are_cut)
{
	const char body[] = "5\r\nhello\r\n00A;ext=\"x\"\r\n, chunked!\r\n0;last\r\nX-Trailer: dropped\r\nY: \r\n\r\nGET /";

	for (size_t piece = 1; piece < sizeof(body); piece++) {
		char out[64];
		size_t made, used;

		ck_assert_int_eq(decode(body, sizeof(body) - 1, piece, out, &made, &used), H1_STEP_END);
		ck_assert(str_is(str_n(out, made), "hello, chunked!"));
		ck_assert_uint_eq(used, sizeof(body) - 1 - 5);
	}
}
END_TEST

START_TEST(malformed_chunks_are_refused)
{
	static const struct {
		const char *about, *body;
	} rows[] = {
		{"no size", "\r\n"}, {"no digit", "g\r\n"}, {"0x", "0x5\r\nhello"}, {"a sign", "+5\r\n"}, {"a minus", "-1\r\n"}, {"a space before", " 5\r\n"},
		{"a space behind", "5 \r\nhello"}, {"bare LF behind the size", "5\nhello"}, {"CR CR", "5\r\rhello"}, {"an extension without a size", ";a\r\n"},
		{"bare LF in an extension", "5;a\nhello"}, {"CR in an extension", "5;a\rb\r\nhello"}, {"a control byte in an extension", "5;a\x01\r\n"},
		{"data longer than its size", "5\r\nhello!\r\n"}, {"data without CR", "5\r\nhello\n0\r\n\r\n"}, {"data with CR alone", "5\r\nhello\r0\r\n\r\n"},
		{"16 digits", "0000000000000005\r\nhello"}, {"an overflow", "ffffffffffffffffffff\r\n"}, {"2^64 + 5", "10000000000000005\r\n"},
		{"a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"}, {"a trailer without a name", "0\r\n: b\r\n\r\n"}, {"a trailer without a colon", "0\r\nA\r\n\r\n"},
		{"a blank before the colon", "0\r\nA : b\r\n\r\n"}, {"bare LF in trailers", "0\r\nA: b\n\r\n"}, {"bare LF at the end", "0\r\n\n"},
		{"bare CR at the end", "0\r\n\rx"}, {"CR in a trailer", "0\r\nA: b\rc\r\n\r\n"}, {"a pseudo-header", "0\r\n:a: b\r\n\r\n"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		for (size_t piece = 1; piece < 4; piece++) {
			char out[64];
			size_t made, used;

			ck_assert_msg(decode(rows[i].body, strlen(rows[i].body), piece, out, &made, &used) == H1_STEP_BAD, "%s", rows[i].about);
		}
	}
}
END_TEST

START_TEST(framing_without_a_body_is_bounded)
{
	struct h1_chunked c = {0};
	enum h1_step step = H1_STEP_MORE;
	struct str data;
	size_t used, total = 0;

	/* One byte of body for each chunk of extensions: CPU for nothing. */
	for (int i = 0; i < 1000 && step != H1_STEP_BAD; i++) {
		const char chunk[] = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n";
		size_t at = 0;

		do {
			step = h1_chunked_step(&c, chunk + at, sizeof(chunk) - 1 - at, &used, &data);
			at += used;
		} while (step == H1_STEP_DATA);
		total += at;
	}
	ck_assert_int_eq(step, H1_STEP_BAD);
	ck_assert_uint_le(total, 2 * H1_OVERHEAD_MAX);
	c = (struct h1_chunked){0};
	step = h1_chunked_step(&c, "0\r\n", 3, &used, &data);
	for (int i = 0; i < 3000 && step == H1_STEP_MORE; i++)
		step = h1_chunked_step(&c, "a: b\r\n", 6, &used, &data);
	ck_assert_int_eq(step, H1_STEP_BAD);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {
		requests_become_field_lists,
		any_doubt_is_refused,
		a_nul_is_refused_wherever_it_stands,
		a_head_that_drips_in_ends_where_a_whole_one_does,
		lists_beyond_a_limit_are_told_apart_from_malformed_ones,
		a_refusing_account_answers_503,
		chunked_bodies_are_the_same_however_they_are_cut,
		malformed_chunks_are_refused,
		framing_without_a_body_is_bounded,
	};
	Suite *made = suite_create("h1_parse");
	TCase *tcase = tcase_create("h1_parse");

	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(made, tcase);
	return made;
}
