/* xds/guard: what protobuf-c must never be given is refused before it allocates, and what it allocates is paid for and comes back. */
#include "tests/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "xds/guard.h"
#include "xds/proto/base.pb-c.h"
#include "xds/proto/discovery.pb-c.h"
#include "xds/proto/route.pb-c.h"

/* Bytes are written from the end to the front: what stands inside is there before its length is. */
struct back { uint8_t *p; size_t cap, at; };

static struct back back_new(size_t cap)
{
	return (struct back){malloc(cap), cap, cap};
}

static void back_byte(struct back *b, uint8_t byte)
{
	if (b->at == 0)
		abort(); /* five million checks would take five seconds */
	b->p[--b->at] = byte;
}

static void back_head(struct back *b, unsigned number, size_t n)
{
	uint8_t len[10];
	int i = 0;

	do {
		len[i++] = (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
		n >>= 7;
	} while (n);
	while (i > 0)
		back_byte(b, len[--i]);
	back_byte(b, (uint8_t)(number << 3 | 2));
}

static struct str back_view(const struct back *b)
{
	return str_n((const char *)b->p + b->at, b->cap - b->at);
}

/* levels in each other: Value { list_value { values { list_value ... (an odd number begins with a ListValue) */
static struct back nested(size_t levels)
{
	struct back b = back_new(levels * 12 + 16);

	for (size_t i = 0; i < levels; i++)
		back_head(&b, i % 2 ? 6 : 1, b.cap - b.at);
	return b;
}

static struct account root_account(size_t limit)
{
	struct account a;

	account_init(&a, NULL, "test", limit);
	return a;
}

START_TEST(a_million_messages_in_each_other_are_refused_before_anything_is_allocated)
{
	struct back b = nested(1000000);
	struct account root = root_account(SIZE_MAX);
	struct guard g;
	const char *why = NULL;
	int code = 0;

	guard_begin(&g, &root, b.cap - b.at);
	ck_assert_ptr_null(guard_unpack(&g, &pb__value__descriptor, back_view(&b), &code, &why));
	ck_assert_int_eq(code, -ELOOP);
	ck_assert_str_eq(why, "more than 32 messages in each other");
	ck_assert_uint_eq(g.account.peak, 0);
	guard_end(&g);
	ck_assert_uint_eq(root.used, 0);
	free(b.p);
}
END_TEST

START_TEST(thirty_two_levels_are_read_and_one_more_is_not)
{
	for (size_t levels = 31; levels <= 32; levels++) {
		struct back b = nested(levels);
		size_t estimate;
		const char *why;

		/* an odd number of heads ends in `values`: what holds them all is a ListValue, itself the first level */
		int rc = guard_check(levels % 2 ? &pb__list_value__descriptor : &pb__value__descriptor, back_view(&b), SIZE_MAX / 2, &estimate, &why);

		ck_assert_int_eq(rc, levels == 31 ? 0 : -ELOOP);
		free(b.p);
	}
}
END_TEST

START_TEST(two_bytes_that_cost_hundreds_are_refused_within_the_budget)
{
	/* 2 MiB of empty values: 85 bytes and more each in memory */
	size_t n = 2 * 1024 * 1024;
	struct account root = root_account(SIZE_MAX);
	struct guard g;
	const char *why = NULL;
	int code = 0;
	uint8_t *p = malloc(n);

	for (size_t i = 0; i < n; i += 2) {
		p[i] = 0x0a;
		p[i + 1] = 0;
	}
	guard_begin(&g, &root, n);
	ck_assert_ptr_null(guard_unpack(&g, &pb__list_value__descriptor, str_n((char *)p, n), &code, &why));
	ck_assert_int_eq(code, -ENOMEM);
	ck_assert_uint_eq(g.account.peak, 0);
	guard_end(&g);
	free(p);
}
END_TEST

START_TEST(packed_numbers_are_counted_by_what_they_take_in_memory)
{
	size_t n = 3 * 1024 * 1024, estimate;
	uint8_t *p = calloc(1, n + 16);
	const char *why;

	/* RetryPolicy.retriable_status_codes, one byte each on the wire, four in memory */
	p[0] = 7 << 3 | 2;
	p[1] = 0x80 | (n & 0x7f);
	p[2] = 0x80 | (n >> 7 & 0x7f);
	p[3] = 0x80 | (n >> 14 & 0x7f);
	p[4] = (uint8_t)(n >> 21);
	ck_assert_int_eq(guard_check(&pb__retry_policy__descriptor, str_n((char *)p, n + 5), 2 * n + GUARD_BASE, &estimate, &why), -ENOMEM);
	ck_assert_int_eq(guard_check(&pb__retry_policy__descriptor, str_n((char *)p, n + 5), 5 * n, &estimate, &why), 0);
	ck_assert_uint_ge(estimate, 4 * n);
	p[5] = 0x80; /* the first number goes on, the last one does not end: eleven bytes */
	memset(p + 5, 0x80, n);
	ck_assert_int_eq(guard_check(&pb__retry_policy__descriptor, str_n((char *)p, n + 5), 5 * n, &estimate, &why), ERR_MALFORMED);
	ck_assert_str_eq(why, "a packed list is malformed");
	free(p);
}
END_TEST

START_TEST(what_is_malformed_is_refused_with_what_is_wrong)
{
	static const struct {
		const char *what;
		const ProtobufCMessageDescriptor *d;
		const char *bytes;
		size_t n;
		const char *why; /* NULL: fine */
	} rows[] = {
#define ROW(what, d, bytes, why) {what, d, bytes, sizeof(bytes) - 1, why}
		ROW("nothing", &pb__address__descriptor, "", NULL),
		ROW("a length beyond the end", &pb__pipe__descriptor, "\x0a\x05/a", "malformed wire"),
		ROW("a tag that does not end", &pb__pipe__descriptor, "\x80", "malformed wire"),
		ROW("a length of 2^63", &pb__pipe__descriptor, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "malformed wire"),
		ROW("field 0", &pb__pipe__descriptor, "\x02\x01x", "malformed wire"),
		ROW("a group", &pb__pipe__descriptor, "\x1b\x1c", "malformed wire"),
		ROW("text where a number belongs", &pb__pipe__descriptor, "\x12\x01x", "a field has the wrong wire type"),
		ROW("a number where text belongs", &pb__pipe__descriptor, "\x08\x01", "a field has the wrong wire type"),
		ROW("a number where a message belongs", &pb__address__descriptor, "\x10\x01", "a field has the wrong wire type"),
		ROW("fixed32 where a varint belongs", &pb__pipe__descriptor, "\x15\x01\0\0\0", "a field has the wrong wire type"),
		ROW("text with a NUL", &pb__pipe__descriptor, "\x0a\x03/\0a", "a text is not UTF-8, or holds a NUL"),
		ROW("text that is not UTF-8", &pb__pipe__descriptor, "\x0a\x02/\xff", "a text is not UTF-8, or holds a NUL"),
		ROW("a NUL in bytes", &pb__data_source__descriptor, "\x12\x03/\0a", NULL),
		ROW("a message twice", &pb__address__descriptor, "\x12\x00\x12\x00", "a message is given twice"),
		ROW("two messages of a oneof", &pb__address__descriptor, "\x12\x00\x0a\x00", NULL),
		ROW("text twice: the last counts", &pb__pipe__descriptor, "\x0a\x01x\x0a\x01y", NULL),
		ROW("what is not known is skipped", &pb__pipe__descriptor, "\xfa\x01\x03\xff\xff\xff\x0a\x01y", NULL),
		ROW("malformed inside of a message", &pb__address__descriptor, "\x12\x02\x0a\x05", "malformed wire"),
#undef ROW
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct account root = root_account(SIZE_MAX);
		struct guard g;
		const char *why = NULL;
		int code = 0;

		guard_begin(&g, &root, rows[i].n);
		void *m = guard_unpack(&g, rows[i].d, str_n(rows[i].bytes, rows[i].n), &code, &why);
		if (rows[i].why) {
			ck_assert_msg(!m, "%s was taken", rows[i].what);
			ck_assert_msg(code == ERR_MALFORMED && strcmp(why, rows[i].why) == 0, "%s: %d %s", rows[i].what, code, why);
		} else {
			ck_assert_msg(m != NULL, "%s: %s", rows[i].what, why);
		}
		guard_free(&g, m);
		guard_end(&g);
		ck_assert_uint_eq(root.used, 0);
	}
}
END_TEST

START_TEST(utf8_is_what_the_rfc_says)
{
	static const struct { struct str s; bool valid; } rows[] = {
		{STR(""), true}, {STR("plain"), true}, {STR("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), true}, {STR("\xf4\x8f\xbf\xbf"), true},
		{STR("\xc0\x80"), false}, {STR("\xc1\xbf"), false}, {STR("\xe0\x9f\xbf"), false}, {STR("\xed\xa0\x80"), false}, {STR("\xf0\x8f\xbf\xbf"), false},
		{STR("\xf4\x90\x80\x80"), false}, {STR("\xf5\x80\x80\x80"), false}, {STR("\x80"), false}, {STR("\xc3"), false}, {STR("\xe2\x82"), false},
		{STR("\xe2\x28\xa1"), false}, {STR("\xf0\x9f\x98"), false}, {STR("a\0b"), false},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(guard_text_valid(rows[i].s) == rows[i].valid, "row %zu", i);
}
END_TEST

START_TEST(a_message_is_unpacked_paid_for_and_given_back)
{
	Pb__DiscoveryRequest out = PB__DISCOVERY_REQUEST__INIT;
	char *names[] = {(char *)"one", (char *)"two"};
	uint8_t bytes[64];
	struct account root = root_account(SIZE_MAX);
	struct guard g;
	const char *why;
	int code;

	out.type_url = (char *)"type";
	out.resource_names = names;
	out.n_resource_names = 2;
	size_t n = pb__discovery_request__pack(&out, bytes), estimate;
	guard_begin(&g, &root, n);
	ck_assert_int_eq(guard_check(&pb__discovery_request__descriptor, str_n((char *)bytes, n), GUARD_BASE, &estimate, &why), 0);
	Pb__DiscoveryRequest *in = guard_unpack(&g, &pb__discovery_request__descriptor, str_n((char *)bytes, n), &code, &why);
	ck_assert_ptr_nonnull(in);
	ck_assert_str_eq(in->type_url, "type");
	ck_assert_uint_eq(in->n_resource_names, 2);
	ck_assert_str_eq(in->resource_names[1], "two");
	ck_assert_uint_gt(g.account.used, sizeof(*in));
	ck_assert_uint_ge(estimate, g.account.peak);
	guard_free(&g, in);
	ck_assert_uint_eq(g.account.used, 0);
	guard_end(&g);
}
END_TEST

START_TEST(an_account_above_that_says_no_is_heard_and_nothing_is_left)
{
	/* a tree of which every allocation in turn is the one that fails */
	static const char bytes[] = "\x0a\x12\x0a\x03one\x1a\x0b\x0a\x09\x0a\x03key\x12\x02\x20\x01\x1a\x03two\x1a\x05three";
	bool whole = false;

	for (size_t limit = 0; limit < 4096 && !whole; limit += 8) {
		struct account root = root_account(limit);
		struct guard g;
		const char *why = NULL;
		int code = 0;

		guard_begin(&g, &root, sizeof(bytes) - 1);
		void *m = guard_unpack(&g, &pb__delta_discovery_request__descriptor, str_n(bytes, sizeof(bytes) - 1), &code, &why);
		if (m)
			whole = true;
		else
			ck_assert_int_eq(code, -ENOMEM);
		guard_free(&g, m);
		ck_assert_uint_eq(g.account.used, 0);
		guard_end(&g);
		ck_assert_uint_eq(root.used, 0);
	}
	ck_assert(whole);
}
END_TEST

UNIT_SUITE("guard", a_million_messages_in_each_other_are_refused_before_anything_is_allocated, thirty_two_levels_are_read_and_one_more_is_not,
	two_bytes_that_cost_hundreds_are_refused_within_the_budget, packed_numbers_are_counted_by_what_they_take_in_memory,
	what_is_malformed_is_refused_with_what_is_wrong, utf8_is_what_the_rfc_says, a_message_is_unpacked_paid_for_and_given_back,
	an_account_above_that_says_no_is_heard_and_nothing_is_left)
