/* xds/wire: what is read is what was written, and what a peer cuts, nests or makes up ends as malformed, never behind the bytes. */
#include "xds/wire.h"
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "tests/unit.h"

static struct str view(const struct sb *b) { return sb_view(b); }

START_TEST(a_varint_is_read_as_it_was_written)
{
	static const uint64_t values[] = {0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX / 2, UINT64_MAX};
	for (size_t i = 0; i < UNIT_COUNT(values); i++) {
		struct sb out = {0};
		uint64_t v = 42;
		wire_put_raw(&out, values[i]);
		const uint8_t *p = (const uint8_t *)out.p;
		ck_assert_uint_eq(out.n, wire_varint_size(values[i]));
		ck_assert_int_eq(wire_varint(p, p + out.n, &v), (int)out.n);
		ck_assert_uint_eq(v, values[i]);
		for (size_t cut = 0; cut < out.n; cut++)
			ck_assert_int_eq(wire_varint(p, p + cut, &v), 0);
		sb_end(&out);
	}
}
END_TEST

START_TEST(what_is_no_message_is_malformed)
{
	static const struct { const char *what; struct str bytes; } rows[] = {
		{"a tag alone", STR("\x08")},
		{"a tag that is cut", STR("\x80")},
		{"field number 0", STR("\x00\x01")},
		{"field number 0, bytes", STR("\x02\x00")},
		{"a field number beyond 2^29", STR("\x80\x80\x80\x80\x10\x01")},
		{"a group begins", STR("\x0b\x0c")},
		{"a group ends", STR("\x0c")},
		{"wire type 6", STR("\x0e\x01")},
		{"wire type 7", STR("\x0f\x01")},
		{"a length beyond the end", STR("\x0a\x02x")},
		{"a length of 2^64-1", STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x")},
		{"a length that is cut", STR("\x0a\x80")},
		{"a varint of eleven bytes", STR("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")},
		{"a varint beyond 64 bits", STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")},
		{"seven bytes of fixed64", STR("\x09" "1234567")},
		{"three bytes of fixed32", STR("\x0d" "123")},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct wire w = wire_of(rows[i].bytes);
		struct wire_field f;
		const uint8_t *was = w.at;
		ck_assert_msg(wire_next(&w, &f) < 0, "%s", rows[i].what);
		ck_assert_msg(w.at == was, "%s: moved", rows[i].what);
		uint64_t v = 7;
		ck_assert_msg(wire_last_varint(rows[i].bytes, 1, &v) < 0 && v == 7, "%s", rows[i].what);
	}
}
END_TEST

START_TEST(every_kind_of_field_is_walked_in_order)
{
	struct sb out = {0};
	char long_text[300];
	memset(long_text, 'x', sizeof(long_text));
	wire_put_varint(&out, 1, 5);
	wire_put_bytes(&out, 15, STR("short"));
	wire_put_bytes(&out, 16, STR("number of two bytes"));
	wire_put_bytes(&out, 2, str_n(long_text, sizeof(long_text)));
	wire_put_bytes(&out, 3, str_n(NULL, 0));
	wire_put_fixed64(&out, 4, UINT64_C(0x0102030405060708));
	sb_add(&out, "\x2d\x04\x03\x02\x01", 5); /* 5: fixed32 */
	wire_put_varint(&out, WIRE_NUMBER_MAX, UINT64_MAX);
	static const struct { uint32_t number, type; uint64_t value; size_t n; } want[] = {
		{1, WIRE_VARINT, 5, 0}, {15, WIRE_BYTES, 0, 5}, {16, WIRE_BYTES, 0, 19}, {2, WIRE_BYTES, 0, 300}, {3, WIRE_BYTES, 0, 0},
		{4, WIRE_FIXED64, UINT64_C(0x0102030405060708), 0}, {5, WIRE_FIXED32, 0x01020304, 0}, {WIRE_NUMBER_MAX, WIRE_VARINT, UINT64_MAX, 0},
	};
	struct wire w = wire_of(view(&out));
	struct wire_field f;
	for (size_t i = 0; i < UNIT_COUNT(want); i++) {
		ck_assert_int_eq(wire_next(&w, &f), 1);
		ck_assert_uint_eq(f.number, want[i].number);
		ck_assert_uint_eq(f.type, want[i].type);
		ck_assert_uint_eq(f.value, want[i].value);
		ck_assert_uint_eq(f.bytes.n, want[i].n);
	}
	ck_assert_int_eq(wire_next(&w, &f), 0);
	ck_assert_int_eq(wire_next(&w, &f), 0);
	sb_end(&out);
}
END_TEST

START_TEST(the_size_of_a_field_is_told_before_it_is_written)
{
	static const struct { uint32_t number; size_t n; } rows[] = {{1, 0}, {15, 127}, {16, 128}, {2, 16383}, {2047, 16384}, {2048, 3}};
	static char bytes[16384];
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sb out = {0};
		wire_put_bytes(&out, rows[i].number, str_n(bytes, rows[i].n));
		ck_assert_uint_eq(out.n, wire_bytes_size(rows[i].number, rows[i].n));
		sb_end(&out);
	}
}
END_TEST

START_TEST(of_a_repeated_scalar_the_last_counts_and_other_types_do_not)
{
	struct sb out = {0};
	uint64_t v = 0;
	struct str text = STR("before");
	wire_put_varint(&out, 1, 3);
	wire_put_bytes(&out, 2, STR("a"));
	wire_put_varint(&out, 1, 4);
	wire_put_bytes(&out, 2, STR("b"));
	wire_put_bytes(&out, 1, STR("not a number"));
	wire_put_varint(&out, 2, 9);
	ck_assert_int_eq(wire_last_varint(view(&out), 1, &v), 0);
	ck_assert_uint_eq(v, 4);
	ck_assert_int_eq(wire_last_bytes(view(&out), 2, &text), 0);
	ck_assert(str_is(text, "b"));
	ck_assert_int_eq(wire_last_bytes(view(&out), 7, &text), 0);
	ck_assert(str_is(text, "b"));
	sb_end(&out);
}
END_TEST

START_TEST(a_duration_is_within_what_protobuf_allows)
{
	static const struct { int64_t seconds; int64_t nanos; int code; uint64_t ns; } rows[] = {
		{0, 0, 0, 0}, {10, 0, 0, UINT64_C(10000000000)}, {0, 1, 0, 1}, {1, 999999999, 0, 1999999999}, {1, 1000000000, -ERANGE, 0},
		{-1, 0, -ERANGE, 0}, {0, -1, -ERANGE, 0}, {INT64_C(315576000000), 0, 0, UINT64_MAX}, {INT64_C(315576000001), 0, -ERANGE, 0},
		{INT64_MIN, 0, -ERANGE, 0}, {18446744073, 0, 0, UINT64_C(18446744073000000000)}, {18446744074, 0, 0, UINT64_MAX},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sb out = {0};
		uint64_t ns = 0;
		wire_put_varint(&out, 1, (uint64_t)rows[i].seconds);
		wire_put_varint(&out, 2, (uint64_t)rows[i].nanos);
		ck_assert_int_eq(wire_duration_ns(view(&out), &ns), rows[i].code);
		ck_assert_uint_eq(ns, rows[i].ns);
		sb_end(&out);
	}
}
END_TEST

/* A walker enters what it knows: four thousand messages in each other cost it one field. */
START_TEST(a_nest_of_messages_is_one_field)
{
	struct sb in = {0};
	for (int i = 0; i < 4000; i++) {
		struct sb out = {0};
		wire_put_bytes(&out, 5, sb_view(&in));
		sb_end(&in);
		in = out;
	}
	struct wire w = wire_of(sb_view(&in));
	struct wire_field f;
	ck_assert_int_eq(wire_next(&w, &f), 1);
	ck_assert_int_eq(wire_next(&w, &f), 0);
	sb_end(&in);
}
END_TEST

START_TEST(random_bytes_end)
{
	uint64_t x = 88172645463325252u;
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[24];
		for (size_t i = 0; i < sizeof(bytes); i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			bytes[i] = (uint8_t)(x & 1 ? x >> 8 & 0x1f : x >> 8);
		}
		size_t n = (size_t)round % (sizeof(bytes) + 1);
		uint8_t *exact = malloc(n ? n : 1); /* a read behind the end is seen by AddressSanitizer */
		memcpy(exact, bytes, n);
		struct wire w = wire_of(str_n((const char *)exact, n));
		struct wire_field f;
		size_t fields = 0;
		while (wire_next(&w, &f) > 0) {
			ck_assert(f.number > 0 && f.number <= WIRE_NUMBER_MAX);
			ck_assert(f.type != WIRE_BYTES || ((const uint8_t *)f.bytes.p >= exact && (const uint8_t *)f.bytes.p + f.bytes.n <= exact + n));
			fields++;
		}
		ck_assert_uint_le(fields, n);
		free(exact);
	}
}
END_TEST

UNIT_SUITE("wire", a_varint_is_read_as_it_was_written, what_is_no_message_is_malformed, every_kind_of_field_is_walked_in_order,
	the_size_of_a_field_is_told_before_it_is_written, of_a_repeated_scalar_the_last_counts_and_other_types_do_not,
	a_duration_is_within_what_protobuf_allows, a_nest_of_messages_is_one_field, random_bytes_end)
