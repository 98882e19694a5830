/* net/fields and net/fields_check: header lists, their names, and what is refused. */
#include "tests/unit.h"
#include "net/fields.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fields_pool *pool;
static struct account account;

static void setup(void)
{
	pool = fields_pool_new();
	account_init(&account, NULL, "test", SIZE_MAX);
}

static void teardown(void)
{
	fields_pool_free(&pool);
	ck_assert_uint_eq(account.used, 0);
}

static const struct {
	enum field_token token;
	const char *name;
	unsigned flags;
} table[] = {
#define FIELD(id, name, flags) {FIELD_##id, name, flags},
#include "net/fields.def"
#undef FIELD
};

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

START_TEST(each_row_of_the_table_is_found_by_its_name)
{
	ck_assert_uint_eq(UNIT_COUNT(table), FIELD_TOKENS - 1);
	for (size_t i = 0; i < UNIT_COUNT(table); i++) {
		ck_assert_msg(field_token(table[i].name, strlen(table[i].name)) == table[i].token, "%s is not found", table[i].name);
		ck_assert(str_is(field_name(table[i].token), table[i].name));
		ck_assert_uint_eq(field_flags(table[i].token), table[i].flags);
	}
	ck_assert_uint_eq(field_name(FIELD_OTHER).n, 0);
}
END_TEST

/* A name that differs in one byte, is cut, or is longer: another name. The copies end where they end, so ASan sees a read beyond. */
START_TEST(no_other_name_is_taken_for_a_row)
{
	for (size_t i = 0; i < UNIT_COUNT(table); i++) {
		size_t n = strlen(table[i].name);
		char *copy = malloc(n + 1);

		for (size_t k = 0; k < n; k++) {
			memcpy(copy, table[i].name, n);
			copy[k] ^= 0x20;
			ck_assert_int_eq(field_token(copy, n), FIELD_OTHER);
		}
		memcpy(copy, table[i].name, n);
		copy[n] = 'x';
		ck_assert_int_eq(field_token(copy, n + 1), FIELD_OTHER);
		ck_assert_int_ne(field_token(copy, n - 1), table[i].token);
		free(copy);
	}
	for (size_t n = 0; n < 64; n++) {
		char *copy = malloc(n + 1);

		memset(copy, 'q', n);
		ck_assert_int_eq(field_token(copy, n), FIELD_OTHER);
		free(copy);
	}
}
END_TEST

/* ---- lists ---------------------------------------------------------------------------------------------------------------- */

START_TEST(a_list_copies_what_it_is_given)
{
	struct fields *f = fields_new(pool, &account);
	char name[] = "x-own", value[] = "hello";

	ck_assert_int_eq(fields_add(f, str_of(name), str_of(value)), 0);
	ck_assert_int_eq(fields_add(f, STR("content-type"), str_of(value)), 0);
	memset(name, '!', sizeof(name));
	memset(value, '!', sizeof(value));
	ck_assert(str_is(str_n(f->f[0].name, f->f[0].name_len), "x-own"));
	ck_assert_int_eq(f->f[0].token, FIELD_OTHER);
	ck_assert_int_eq(f->f[1].token, FIELD_CONTENT_TYPE);
	ck_assert_ptr_eq(f->f[1].name, field_name(FIELD_CONTENT_TYPE).p);
	ck_assert(str_is(fields_value(f, FIELD_CONTENT_TYPE), "hello"));
	ck_assert_uint_eq(f->size, 5 + 5 + 32 + 12 + 5 + 32);
	fields_unref(&f);
	ck_assert_ptr_null(f);
}
END_TEST

START_TEST(an_absent_field_reads_as_nothing)
{
	struct fields *f = fields_new(pool, NULL);

	ck_assert_ptr_null(fields_get(f, FIELD_PATH));
	ck_assert_ptr_null(fields_value(f, FIELD_PATH).p);
	ck_assert_ptr_null(fields_find(f, STR("x-none")));
	ck_assert_int_eq(fields_add(f, STR("x-none"), STR("")), 0);
	ck_assert_ptr_nonnull(fields_find(f, STR("x-none")));
	ck_assert_ptr_null(fields_find(f, STR("x-nine")));
	fields_unref(&f);
}
END_TEST

START_TEST(a_usual_head_costs_one_block_and_a_recycled_one)
{
	struct fields *f = fields_new(pool, &account), *first = f;
	size_t one = account.used;

	for (int i = 0; i < 14; i++)
		ck_assert_int_eq(fields_add(f, STR("x-attachment"), STR("a value of some thirty-two bytes")), 0);
	ck_assert_uint_eq(account.used, one);
	ck_assert_uint_le(one, 2048);
	fields_unref(&f);
	ck_assert_uint_eq(account.used, 0);
	f = fields_new(pool, &account);
#ifndef __SANITIZE_ADDRESS__
	ck_assert_ptr_eq(f, first);
#else
	(void)first;
#endif
	ck_assert_uint_eq(f->count, 0);
	fields_unref(&f);
}
END_TEST

START_TEST(a_list_of_32_kib_keeps_all_its_fields)
{
	struct fields *f = fields_new(pool, &account);
	char name[16], value[1500];

	for (int i = 0; i < 200; i++) {
		size_t n = (size_t)(i * 37 % 1500);

		snprintf(name, sizeof(name), "x-%d", i);
		memset(value, 'a' + i % 26, n);
		ck_assert_int_eq(fields_add(f, str_of(name), str_n(value, n)), 0);
	}
	ck_assert_uint_eq(account.used, f->charge.n);
	/* Whatever lengths are chosen, what lies idle is bounded. */
	ck_assert_uint_le(f->charge.n, 2 * f->size + 4 * 2048);
	for (int i = 0; i < 200; i++) {
		size_t n = (size_t)(i * 37 % 1500);
		const struct field *e;

		snprintf(name, sizeof(name), "x-%d", i);
		e = fields_find(f, str_of(name));
		ck_assert_ptr_nonnull(e);
		ck_assert_uint_eq(e->value_len, n);
		for (size_t k = 0; k < n; k++)
			ck_assert_int_eq(e->value[k], 'a' + i % 26);
	}
	fields_unref(&f);
}
END_TEST

START_TEST(set_replaces_all_fields_of_a_name)
{
	struct fields *f = fields_new(pool, &account);
	uint32_t size;
	int seen = 0;

	fields_add(f, STR("host"), STR("a"));
	fields_add(f, STR("x-b"), STR("between"));
	fields_add(f, STR("host"), STR("second"));
	ck_assert_int_eq(fields_set(f, FIELD_HOST, STR("longer than before")), 0);
	ck_assert(str_is(fields_value(f, FIELD_HOST), "longer than before"));
	size = f->size;
	ck_assert_uint_eq(size, 4 + 18 + 32 + 3 + 7 + 32);
	fields_each(e, f) {
		ck_assert_ptr_nonnull(e->name);
		seen++;
	}
	ck_assert_int_eq(seen, 2);
	/* a part of its own old value */
	ck_assert_int_eq(fields_set(f, FIELD_HOST, str_cut(fields_value(f, FIELD_HOST), 7, 11)), 0);
	ck_assert(str_is(fields_value(f, FIELD_HOST), "than"));
	ck_assert_int_eq(fields_set(f, FIELD_TE, STR("trailers")), 0);
	ck_assert(str_is(fields_value(f, FIELD_TE), "trailers"));
	fields_unref(&f);
}
END_TEST

START_TEST(removed_fields_are_skipped_and_not_counted)
{
	struct fields *f = fields_new(pool, &account);
	int seen = 0;

	fields_add(f, STR("te"), STR("trailers"));
	fields_add(f, STR("x-keep"), STR("1"));
	fields_add(f, STR("te"), STR("trailers"));
	fields_add(f, STR("x-drop"), STR("2"));
	fields_del(f, FIELD_TE);
	fields_each(e, f)
		if (str_is(str_n(e->name, e->name_len), "x-drop"))
			fields_del_field(f, e);
	fields_each(e, f) {
		ck_assert(str_is(str_n(e->name, e->name_len), "x-keep"));
		seen++;
	}
	ck_assert_int_eq(seen, 1);
	ck_assert_ptr_null(fields_get(f, FIELD_TE));
	ck_assert_uint_eq(f->size, 6 + 1 + 32);
	fields_unref(&f);
}
END_TEST

START_TEST(a_refusing_account_leaves_the_list_as_it_was)
{
	struct account small;
	struct fields *f;
	char value[4000];

	memset(value, 'v', sizeof(value));
	account_init(&small, NULL, "small", 3000);
	f = fields_new(pool, &small);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fields_add(f, STR("x-a"), STR("1")), 0);
	ck_assert_int_eq(fields_add(f, STR("x-b"), str_n(value, sizeof(value))), -ENOMEM);
	ck_assert_int_eq(fields_set(f, FIELD_HOST, str_n(value, sizeof(value))), -ENOMEM);
	ck_assert_uint_eq(f->count, 1);
	ck_assert_uint_eq(f->size, 3 + 1 + 32);
	ck_assert_ptr_null(fields_new(pool, &small));
	ck_assert_ptr_null(fields_copy(f, &small));
	fields_unref(&f);
	ck_assert_uint_eq(small.used, 0);
}
END_TEST

START_TEST(a_copy_that_is_refused_half_way_gives_all_back)
{
	struct account small;
	struct fields *f = fields_new(pool, &account);
	char value[900];

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 10; i++)
		fields_add(f, STR("x-a"), str_n(value, sizeof(value)));
	account_init(&small, NULL, "small", 5000);
	ck_assert_ptr_null(fields_copy(f, &small));
	ck_assert_uint_eq(small.used, 0);
	fields_unref(&f);
}
END_TEST

START_TEST(a_copy_has_the_living_fields_and_its_own_bytes)
{
	struct fields *f = fields_new(pool, &account), *copy;

	fields_add(f, STR(":path"), STR("/a.B/c"));
	fields_add(f, STR("te"), STR("trailers"));
	fields_add(f, STR("x-own"), STR("value"));
	fields_del(f, FIELD_TE);
	copy = fields_copy(f, &account);
	fields_unref(&f);
	ck_assert_uint_eq(copy->count, 2);
	ck_assert(str_is(fields_value(copy, FIELD_PATH), "/a.B/c"));
	ck_assert(str_is(str_n(copy->f[1].name, copy->f[1].name_len), "x-own"));
	fields_unref(&copy);
}
END_TEST

START_TEST(a_list_outlives_its_first_holder_and_its_account)
{
	struct account connection;
	struct fields *f, *held;

	account_init(&connection, &account, "connection", 4096);
	f = fields_new(pool, &connection);
	fields_add(f, STR("host"), STR("a"));
	held = fields_ref(f);
	fields_unref(&f);
	ck_assert_uint_gt(connection.used, 0);
	account_end(&connection);
	ck_assert_uint_eq(account.used, held->charge.n);
	ck_assert(str_is(fields_value(held, FIELD_HOST), "a"));
	fields_unref(&held);
}
END_TEST

START_TEST(a_trimmed_pool_makes_new_blocks)
{
	struct fields *many[600];

	for (size_t i = 0; i < UNIT_COUNT(many); i++)
		many[i] = fields_new(pool, &account);
	for (size_t i = 0; i < UNIT_COUNT(many); i++)
		fields_unref(&many[i]);
	fields_pool_trim(pool);
	many[0] = fields_new(pool, &account);
	ck_assert_ptr_nonnull(many[0]);
	fields_unref(&many[0]);
}
END_TEST

/* ---- characters ----------------------------------------------------------------------------------------------------------- */

START_TEST(names_are_lower_case_tokens)
{
	static const struct {
		const char *name;
		size_t n;
		bool good;
	} names[] = {
		{"a", 1, true}, {"x-b3-traceid", 12, true}, {":path", 5, true}, {"0!#$%&'*+-.^_`|~9", 17, true}, {"-bin", 4, true},
		{"", 0, false}, {":", 1, false}, {"::a", 3, false}, {"a:b", 3, false}, {"A", 1, false}, {"x-Own", 5, false}, {"a b", 3, false},
		{"a ", 2, false}, {" a", 2, false}, {"a\0b", 3, false}, {"a\r", 2, false}, {"a\n", 2, false}, {"a\tb", 3, false},
		{"a\x7f", 2, false}, {"a\x80", 2, false}, {"caf\xc3\xa9", 5, false}, {"a(", 2, false}, {"a/b", 3, false}, {"a\"", 2, false},
		{"a{", 2, false}, {"a@", 2, false}, {"a[", 2, false}, {"a,", 2, false}, {"a;", 2, false}, {"a=", 2, false}, {"a?", 2, false},
	};

	for (size_t i = 0; i < UNIT_COUNT(names); i++)
		ck_assert_msg(field_name_valid(names[i].name, names[i].n) == names[i].good, "row %zu: '%s'", i, names[i].name);
}
END_TEST

/* Each byte value at each place of lengths around the eight bytes that are looked at in one step. */
START_TEST(values_may_hold_all_but_nul_cr_lf_and_outer_blanks)
{
	for (size_t n = 1; n <= 19; n++) {
		for (size_t at = 0; at < n; at++) {
			for (unsigned c = 0; c < 256; c++) {
				char *value = malloc(n);
				bool blank = (c == ' ' || c == '\t') && (at == 0 || at == n - 1);
				bool good = c != 0 && c != '\r' && c != '\n' && !blank;

				memset(value, 'v', n);
				value[at] = (char)c;
				ck_assert_msg(field_value_valid(value, n) == good, "byte %u at %zu of %zu", c, at, n);
				free(value);
			}
		}
	}
	ck_assert(field_value_valid("", 0));
	ck_assert(field_value_valid("\t" + 1, 0));
	ck_assert(field_value_valid("a\tb\tc\td\te\tf\xc3\xa9", 13));
	ck_assert(!field_value_valid("a\tb\tc\td\te\tf\n\xc3", 13));
}
END_TEST

/* ---- messages ------------------------------------------------------------------------------------------------------------- */

/* "name: value" lines; "" ends. */
struct message {
	const char *about;
	bool good;
	const char *lines[14];
};
#define REQ ":method: POST", ":scheme: http", ":path: /a.B/c"
#define REQ_A REQ, ":authority: demo.default.svc.cluster.local:50051"

static void check_messages(const struct message *m, size_t n, enum fields_kind kind)
{
	for (size_t i = 0; i < n; i++) {
		struct fields *f = fields_new(pool, &account);
		const char *wrong;

		for (const char *const *line = m[i].lines; *line; line++) {
			const char *colon = strstr(*line, ": ");

			ck_assert_int_eq(fields_add(f, str_n(*line, (size_t)(colon - *line)), str_of(colon + 2)), 0);
		}
		wrong = fields_check(f, kind);
		ck_assert_msg((wrong == NULL) == m[i].good, "%s: %s", m[i].about, wrong ? wrong : "accepted");
		fields_unref(&f);
	}
}

START_TEST(requests_are_judged_as_the_table_says)
{
	static const struct message table_of_requests[] = {
		{"a call of gRPC", true, {REQ_A, "te: trailers", "content-type: application/grpc", "grpc-timeout: 1S"}},
		{"no authority", true, {REQ}},
		{"an empty authority", true, {REQ, ":authority: "}},
		{"a raw path as authority", true, {REQ, ":authority: /run/thinmesh/shop.sock"}},
		{"an abstract name as authority", true, {REQ, ":authority: @shop"}},
		{"an escaped path as authority", true, {REQ, ":authority: run%2Fthinmesh%2Fshop.sock"}},
		{"an IPv6 authority", true, {REQ, ":authority: [::1]:50051"}},
		{"a trailing dot", true, {REQ, ":authority: demo.default.svc.cluster.local."}},
		{"host alone", true, {REQ, "host: demo"}},
		{"host equal but for its case", true, {REQ, ":authority: Demo:80", "host: dEMO:80"}},
		{"OPTIONS *", true, {":method: OPTIONS", ":scheme: http", ":path: *"}},
		{"a query", true, {":method: GET", ":scheme: https", ":path: /a?b=c&d=%20"}},
		{"a method of its own", true, {":method: M-SEARCH", ":scheme: http", ":path: /"}},
		{"raw UTF-8 in the path", true, {":method: GET", ":scheme: http", ":path: /caf\xc3\xa9"}},
		{"content-length", true, {REQ_A, "content-length: 5"}},
		{"TE in capitals", true, {REQ_A, "te: Trailers"}},
		{"fields of its own", true, {REQ_A, "x-own-bin: AAEC", "tri-header-convert: {\"a\":\"A\"}", "expect: 100-continue"}},

		{"no method", false, {":scheme: http", ":path: /", ":authority: a"}},
		{"no scheme", false, {":method: GET", ":path: /", ":authority: a"}},
		{"no path", false, {":method: GET", ":scheme: http", ":authority: a"}},
		{"nothing", false, {"x-own: 1"}},
		{"method twice", false, {REQ_A, ":method: POST"}},
		{"scheme twice", false, {REQ_A, ":scheme: http"}},
		{"path twice", false, {REQ_A, ":path: /a.B/c"}},
		{"authority twice", false, {REQ_A, ":authority: a"}},
		{"an empty authority twice", false, {REQ, ":authority: ", ":authority: "}},
		{"a response pseudo-header", false, {REQ_A, ":status: 200"}},
		{"an unknown pseudo-header", false, {REQ_A, ":foo: bar"}},
		{"extended CONNECT", false, {":method: CONNECT", ":protocol: websocket", ":scheme: http", ":path: /", ":authority: a"}},
		{":protocol alone", false, {REQ_A, ":protocol: websocket"}},
		{"a pseudo-header behind a field", false, {REQ, "te: trailers", ":authority: a"}},
		{"an empty path", false, {":method: GET", ":scheme: http", ":path: "}},
		{"an absolute path", false, {":method: GET", ":scheme: http", ":path: http://a/b"}},
		{"a path without its slash", false, {":method: GET", ":scheme: http", ":path: a.B/c"}},
		{"a path with a space", false, {":method: GET", ":scheme: http", ":path: /a b"}},
		{"a path with a fragment", false, {":method: GET", ":scheme: http", ":path: /a#b"}},
		{"a path with DEL", false, {":method: GET", ":scheme: http", ":path: /a\x7f"}},
		{"GET *", false, {":method: GET", ":scheme: http", ":path: *"}},
		{"CONNECT", false, {":method: CONNECT", ":authority: a:80"}},
		{"CONNECT with all", false, {":method: CONNECT", ":scheme: http", ":path: /", ":authority: a:80"}},
		{"an empty method", false, {":method: ", ":scheme: http", ":path: /"}},
		{"a method with a space", false, {":method: GET /", ":scheme: http", ":path: /"}},
		{"a method with a colon", false, {":method: GE:T", ":scheme: http", ":path: /"}},
		{"an odd scheme", false, {":method: GET", ":scheme: ftp", ":path: /"}},
		{"a scheme with more behind", false, {":method: GET", ":scheme: http://a/?", ":path: /"}},
		{"userinfo", false, {REQ, ":authority: a@b"}},
		{"authority with a space", false, {REQ, ":authority: a b"}},
		{"authority with a fragment", false, {REQ, ":authority: a#b"}},
		{"authority with a query", false, {REQ, ":authority: a?b"}},
		{"authority with a back slash", false, {REQ, ":authority: a\\b"}},
		{"authority in UTF-8", false, {REQ, ":authority: caf\xc3\xa9"}},
		{"userinfo in host", false, {REQ, "host: a@b"}},
		{"two hosts", false, {REQ, "host: a", "host: a"}},
		{"authority and host differ", false, {REQ, ":authority: a", "host: b"}},
		{"an empty authority and a host", false, {REQ, ":authority: ", "host: b"}},
		{"connection", false, {REQ_A, "connection: keep-alive"}},
		{"keep-alive", false, {REQ_A, "keep-alive: 5"}},
		{"proxy-connection", false, {REQ_A, "proxy-connection: close"}},
		{"transfer-encoding", false, {REQ_A, "transfer-encoding: chunked"}},
		{"upgrade", false, {REQ_A, "upgrade: h2c"}},
		{"http2-settings", false, {REQ_A, "http2-settings: AAMAAABk"}},
		{"te with more", false, {REQ_A, "te: trailers, deflate"}},
		{"te with something else", false, {REQ_A, "te: gzip"}},
		{"an empty te", false, {REQ_A, "te: "}},
		{"a field without a name", false, {REQ_A, ": a"}},
		{"a bad content-length", false, {REQ_A, "content-length: +5"}},
		{"two content-lengths", false, {REQ_A, "content-length: 5", "content-length: 5"}},
	};

	check_messages(table_of_requests, UNIT_COUNT(table_of_requests), FIELDS_REQUEST);
}
END_TEST

START_TEST(responses_are_judged_as_the_table_says)
{
	static const struct message responses[] = {
		{"plain", true, {":status: 200", "content-type: application/grpc"}},
		{"te from Dubbo Java", true, {":status: 200", "te: trailers"}},
		{"raw UTF-8 in grpc-message", true, {":status: 200", "grpc-status: 2", "grpc-message: na\xc3\xafve"}},
		{"alt-svc and closing", true, {":status: 200", "alt-svc: h3=\":50052\"", "closing: true"}},
		{"an interim one", true, {":status: 103", "link: </a>"}},
		{"an unusual code", true, {":status: 999"}},
		{"204 with length 0", true, {":status: 204", "content-length: 0"}},
		{"304 with a length", true, {":status: 304", "content-length: 5"}},
		{"no status", false, {"content-type: application/grpc"}},
		{"nothing", false, {NULL}},
		{"status twice", false, {":status: 200", ":status: 200"}},
		{"status behind a field", false, {"te: trailers", ":status: 200"}},
		{"an empty status", false, {":status: "}},
		{"two digits", false, {":status: 20"}},
		{"four digits", false, {":status: 2000"}},
		{"a sign", false, {":status: +20"}},
		{"a reason", false, {":status: 200 OK"}},
		{"below 100", false, {":status: 099"}},
		{"a request pseudo-header", false, {":status: 200", ":path: /"}},
		{"an unknown pseudo-header", false, {":status: 200", ":foo: 1"}},
		{"connection", false, {":status: 200", "connection: close"}},
		{"transfer-encoding", false, {":status: 200", "transfer-encoding: chunked"}},
		{"a bad content-length", false, {":status: 200", "content-length: 5,5"}},
		{"204 with a length", false, {":status: 204", "content-length: 5"}},
		{"103 with a length", false, {":status: 103", "content-length: 5"}},
	};

	check_messages(responses, UNIT_COUNT(responses), FIELDS_RESPONSE);
}
END_TEST

START_TEST(trailers_are_judged_as_the_table_says)
{
	static const struct message trailers[] = {
		{"of gRPC", true, {"grpc-status: 0", "grpc-message: "}},
		{"grpc-status twice", true, {"grpc-status: 0", "grpc-status: 2"}},
		{"bad escapes and bad base64", true, {"grpc-status: 2", "grpc-message: 100%zz%", "x-a-bin: ***"}},
		{"none", true, {NULL}},
		{"a pseudo-header", false, {"grpc-status: 0", ":status: 200"}},
		{"an unknown pseudo-header", false, {":a: 0"}},
		{"connection", false, {"connection: close"}},
	};

	check_messages(trailers, UNIT_COUNT(trailers), FIELDS_TRAILERS);
}
END_TEST

START_TEST(content_length_is_digits_once)
{
	static const struct {
		const char *first, *second;
		int64_t want;
	} lengths[] = {
		{NULL, NULL, -1}, {"0", NULL, 0}, {"5", NULL, 5}, {"005", NULL, 5}, {"922337203685477580", NULL, 922337203685477580},
		{"", NULL, -2}, {"+5", NULL, -2}, {"-5", NULL, -2}, {" 5", NULL, -2}, {"5 ", NULL, -2}, {"5,5", NULL, -2}, {"5, 5", NULL, -2},
		{"0x5", NULL, -2}, {"5a", NULL, -2}, {"9223372036854775808", NULL, -2}, {"18446744073709551616", NULL, -2},
		{"99999999999999999999999999999999999999999", NULL, -2}, {"5", "5", -2}, {"5", "6", -2},
	};

	for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
		struct fields *f = fields_new(pool, &account);

		if (lengths[i].first)
			fields_add_token(f, FIELD_CONTENT_LENGTH, str_of(lengths[i].first));
		if (lengths[i].second)
			fields_add_token(f, FIELD_CONTENT_LENGTH, str_of(lengths[i].second));
		ck_assert_msg(fields_content_length(f) == lengths[i].want, "row %zu", i);
		fields_unref(&f);
	}
}
END_TEST

START_TEST(only_application_grpc_and_its_codecs_are_grpc)
{
	static const struct {
		const char *type;
		bool grpc;
	} types[] = {
		{"application/grpc", true}, {"application/grpc+proto", true}, {"application/grpc+", true}, {"application/grpc-web", false},
		{"application/grpc;charset=utf-8", false}, {"Application/grpc", false}, {"application/triple+wrapper", false},
		{"application/json", false}, {"application/grp", false}, {"", false}, {NULL, false},
	};

	for (size_t i = 0; i < UNIT_COUNT(types); i++) {
		struct fields *f = fields_new(pool, &account);

		if (types[i].type)
			fields_add_token(f, FIELD_CONTENT_TYPE, str_of(types[i].type));
		ck_assert_msg(fields_is_grpc(f) == types[i].grpc, "%s", types[i].type);
		fields_unref(&f);
	}
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {
		each_row_of_the_table_is_found_by_its_name,
		no_other_name_is_taken_for_a_row,
		a_list_copies_what_it_is_given,
		an_absent_field_reads_as_nothing,
		a_usual_head_costs_one_block_and_a_recycled_one,
		a_list_of_32_kib_keeps_all_its_fields,
		set_replaces_all_fields_of_a_name,
		removed_fields_are_skipped_and_not_counted,
		a_refusing_account_leaves_the_list_as_it_was,
		a_copy_that_is_refused_half_way_gives_all_back,
		a_copy_has_the_living_fields_and_its_own_bytes,
		a_list_outlives_its_first_holder_and_its_account,
		a_trimmed_pool_makes_new_blocks,
		names_are_lower_case_tokens,
		values_may_hold_all_but_nul_cr_lf_and_outer_blanks,
		requests_are_judged_as_the_table_says,
		responses_are_judged_as_the_table_says,
		trailers_are_judged_as_the_table_says,
		content_length_is_digits_once,
		only_application_grpc_and_its_codecs_are_grpc,
	};
	Suite *made = suite_create("fields");
	TCase *tcase = tcase_create("fields");

	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(made, tcase);
	return made;
}
