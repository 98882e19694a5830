/* net/grpc_health_message: what goes over the wire byte by byte, and what of a peer's bytes is believed. */
#include "net/grpc_health_message.h"
#include "tests/unit.h"

static struct str bytes(const char *p, size_t n)
{
	return str_n(p, n);
}
#define B(lit) bytes(lit, sizeof(lit) - 1)

START_TEST(a_request_is_the_name_alone_and_nothing_for_the_whole_server)
{
	struct sb out = {0};
	struct str service;

	grpc_health_request_encode(STR(""), &out);
	ck_assert_uint_eq(out.n, 0);
	grpc_health_request_encode(STR("demo"), &out);
	ck_assert(str_eq(sb_view(&out), B("\x0a\x04" "demo")));
	ck_assert(grpc_health_request_decode(sb_view(&out), &service));
	ck_assert(str_is(service, "demo"));
	ck_assert(grpc_health_request_decode(STR(""), &service));
	ck_assert_uint_eq(service.n, 0);
	sb_end(&out);
}
END_TEST

START_TEST(a_name_of_any_length_comes_back)
{
	static const size_t lengths[] = {1, 127, 128, 16383, 16384, 70000};
	static char long_name[70000];

	memset(long_name, 'x', sizeof(long_name));
	for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
		struct sb out = {0};
		struct str back;
		int status = -1;

		grpc_health_request_encode(str_n(long_name, lengths[i]), &out);
		ck_assert(grpc_health_request_decode(sb_view(&out), &back));
		ck_assert_uint_eq(back.n, lengths[i]);
		sb_end(&out);
		out = (struct sb){0};
		grpc_health_list_add(&out, str_n(long_name, lengths[i]), GRPC_HEALTH_NOT_SERVING);
		struct str rest = sb_view(&out);
		ck_assert_int_eq(grpc_health_list_next(&rest, &back, &status), 1);
		ck_assert_uint_eq(back.n, lengths[i]);
		ck_assert_int_eq(status, GRPC_HEALTH_NOT_SERVING);
		ck_assert_int_eq(grpc_health_list_next(&rest, &back, &status), 0);
		sb_end(&out);
	}
}
END_TEST

START_TEST(responses_are_read_as_proto3_says)
{
	static const struct { struct str in; bool good; int want; } rows[] = {
		{STR(""), true, 0}, {STR("\x08\x01"), true, 1}, {STR("\x08\x02"), true, 2}, {STR("\x08\x03"), true, 3}, {STR("\x08\x07"), true, 7},
		{STR("\x08\x02\x08\x01"), true, 1},                                        /* the last one counts */
		{STR("\x12\x03" "abc\x08\x01"), true, 1}, {STR("\x08\x01\x1d" "abcd"), true, 1}, {STR("\x19" "abcdefgh\x08\x01"), true, 1}, /* unknown fields */
		{STR("\x0a\x01\x01"), true, 0},                                            /* the number of status, but no number: not known */
		{STR("\x08\x81\x00"), true, 1},                                            /* a longer form than needed is allowed */
		{STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, -1},           /* a negative enum is not SERVING */
		{STR("\x08\x81\x80\x80\x80\x10"), true, 1},
		{STR("\x08"), false, 0}, {STR("\x08\x80"), false, 0}, {STR("\x00\x01"), false, 0}, {STR("\x0b\x0c"), false, 0}, {STR("\x0f"), false, 0},
		{STR("\x12\x05" "abc"), false, 0}, {STR("\x1d" "abc"), false, 0}, {STR("\x19" "abcdefg"), false, 0}, {STR("hello world"), false, 0},
		{STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), false, 0}, {STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), false, 0},
		{STR("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "a"), false, 0}, {STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01"), false, 0},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int status = -99;

		ck_assert_msg(grpc_health_response_decode(rows[i].in, &status) == rows[i].good, "row %zu", i);
		ck_assert_msg(status == (rows[i].good ? rows[i].want : -99), "row %zu: %d", i, status);
	}
}
END_TEST

START_TEST(a_response_is_two_bytes_and_none_for_unknown)
{
	for (int s = GRPC_HEALTH_UNKNOWN; s <= GRPC_HEALTH_SERVICE_UNKNOWN; s++) {
		uint8_t out[GRPC_HEALTH_STATUS_BYTES];
		size_t n = grpc_health_response_encode((enum grpc_health)s, out);
		int back = -1;

		ck_assert_uint_eq(n, s ? 2 : 0);
		ck_assert(grpc_health_response_decode(str_n((const char *)out, n), &back));
		ck_assert_int_eq(back, s);
	}
	ck_assert_str_eq(grpc_health_name(GRPC_HEALTH_NOT_SERVING), "NOT_SERVING");
	ck_assert_str_eq(grpc_health_name(4), "?");
	ck_assert_str_eq(grpc_health_name(-1), "?");
}
END_TEST

START_TEST(a_list_is_read_entry_by_entry_and_refused_where_it_is_broken)
{
	struct sb out = {0};
	struct str rest, service;
	int status;

	grpc_health_list_add(&out, STR(""), GRPC_HEALTH_SERVING);
	grpc_health_list_add(&out, STR("a"), GRPC_HEALTH_UNKNOWN);
	ck_assert(str_eq(sb_view(&out), B("\x0a\x06\x0a\x00\x12\x02\x08\x01" "\x0a\x05\x0a\x01" "a\x12\x00")));
	sb_add(&out, "\x12\x01x", 3); /* what is not known is skipped */
	rest = sb_view(&out);
	ck_assert_int_eq(grpc_health_list_next(&rest, &service, &status), 1);
	ck_assert_uint_eq(service.n, 0);
	ck_assert_int_eq(status, GRPC_HEALTH_SERVING);
	ck_assert_int_eq(grpc_health_list_next(&rest, &service, &status), 1);
	ck_assert(str_is(service, "a"));
	ck_assert_int_eq(status, GRPC_HEALTH_UNKNOWN);
	ck_assert_int_eq(grpc_health_list_next(&rest, &service, &status), 0);
	rest = B("\x0a\x04\x12\x02\x08\x80");
	ck_assert_int_eq(grpc_health_list_next(&rest, &service, &status), -1);
	rest = B("\x0a\x00");
	ck_assert_int_eq(grpc_health_list_next(&rest, &service, &status), 1);
	ck_assert_uint_eq(service.n, 0);
	ck_assert_int_eq(status, GRPC_HEALTH_UNKNOWN);
	sb_end(&out);
}
END_TEST

UNIT_SUITE("grpc_health_message", a_request_is_the_name_alone_and_nothing_for_the_whole_server, a_name_of_any_length_comes_back, responses_are_read_as_proto3_says,
	a_response_is_two_bytes_and_none_for_unknown, a_list_is_read_entry_by_entry_and_refused_where_it_is_broken)
