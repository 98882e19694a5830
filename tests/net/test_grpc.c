/* net/grpc: status names and mappings, grpc-timeout, grpc-message. */
#include "tests/unit.h"
#include "net/grpc.h"
#include <stdlib.h>
#include <string.h>

START_TEST(statuses_have_their_names)
{
	ck_assert_str_eq(grpc_status_name(0), "OK");
	ck_assert_str_eq(grpc_status_name(GRPC_DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED");
	ck_assert_str_eq(grpc_status_name(14), "UNAVAILABLE");
	ck_assert_str_eq(grpc_status_name(16), "UNAUTHENTICATED");
	ck_assert_str_eq(grpc_status_name(17), "?");
	ck_assert_str_eq(grpc_status_name(-1), "?");
}
END_TEST

START_TEST(a_status_is_digits)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = {{"0", 0}, {"14", 14}, {"16", 16}, {"99", 99}, {"014", 14}, {"", -1}, {"-1", -1}, {"+1", -1}, {" 1", -1}, {"1 ", -1},
		{"1a", -1}, {"0x1", -1}, {"999999999", 999999999}, {"9999999999", -1}, {"18446744073709551616", -1}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(grpc_status_parse(str_of(rows[i].text)) == rows[i].want, "'%s'", rows[i].text);
}
END_TEST

START_TEST(http_and_grpc_statuses_map_as_the_table_says)
{
	static const int from_http[][2] = {{400, 13}, {401, 16}, {403, 7}, {404, 12}, {429, 14}, {502, 14}, {503, 14}, {504, 14}, {500, 2},
		{200, 2}, {431, 2}, {302, 2}, {0, 2}};
	static const int to_http[] = {200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401};

	for (size_t i = 0; i < UNIT_COUNT(from_http); i++)
		ck_assert_int_eq(grpc_from_http(from_http[i][0]), from_http[i][1]);
	for (int i = 0; i < (int)UNIT_COUNT(to_http); i++)
		ck_assert_int_eq(http_from_grpc(i), to_http[i]);
	ck_assert_int_eq(http_from_grpc(17), 500);
	ck_assert_int_eq(http_from_grpc(-1), 500);
}
END_TEST

START_TEST(timeouts_are_read_as_the_specification_says)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t ns;
	} rows[] = {
		{"1n", true, 1}, {"0n", true, 0}, {"0H", true, 0}, {"1u", true, 1000}, {"250m", true, 250000000}, {"3S", true, 3000000000},
		{"2M", true, 120000000000}, {"1H", true, 3600000000000}, {"99999999n", true, 99999999}, {"00000001S", true, 1000000000},
		{"99999999S", true, 99999999000000000}, {"99999999M", true, 5999999940000000000}, {"99999999H", true, UINT64_MAX},
		{"5124095H", true, 18446742000000000000u}, {"5124096H", true, UINT64_MAX},
		{"", false, 0}, {"S", false, 0}, {"1", false, 0}, {"100", false, 0}, {"123456789S", false, 0}, {"000000001S", false, 0},
		{"-1S", false, 0}, {"+1S", false, 0}, {" 1S", false, 0}, {"1S ", false, 0}, {"1 S", false, 0}, {"1.5S", false, 0}, {"1s", false, 0},
		{"1h", false, 0}, {"1N", false, 0}, {"1U", false, 0}, {"1ms", false, 0}, {"0x1S", false, 0}, {"1e3m", false, 0},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t ns = 77;

		ck_assert_msg(grpc_timeout_parse(str_of(rows[i].text), &ns) == rows[i].good, "'%s'", rows[i].text);
		ck_assert_msg(ns == (rows[i].good ? rows[i].ns : 77), "'%s' is %llu", rows[i].text, (unsigned long long)ns);
	}
	ck_assert(!grpc_timeout_parse(str_n("1\0S", 3), &(uint64_t){0}));
}
END_TEST

START_TEST(timeouts_are_written_in_the_unit_that_loses_nothing)
{
	static const struct {
		uint64_t ns;
		const char *want;
	} rows[] = {
		{0, "0n"}, {1, "1n"}, {999, "999n"}, {1000, "1u"}, {1001, "1001n"}, {250000, "250u"}, {1999000000, "1999m"},
		{99999999, "99999999n"}, {100000000, "100m"}, {100000001, "100m"}, {123456789, "123456u"}, {2999123456, "2999123u"},
		{3000000000, "3000m"}, {99999999000, "99999999u"}, {100000000000, "100000m"}, {99999999000000, "99999999m"},
		{100000000000000, "100000S"}, {100000000999999, "100000S"}, {99999999000000000, "99999999S"}, {100000000000000000, "1666666M"},
		{5999999940000000000, "99999999M"}, {6000000000000000000, "1666666H"}, {UINT64_MAX, "5124095H"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char out[10];
		size_t n = grpc_timeout_format(rows[i].ns, out);

		ck_assert_msg(n == strlen(rows[i].want) && memcmp(out, rows[i].want, n) == 0, "%llu became %.*s", (unsigned long long)rows[i].ns,
			(int)n, out);
	}
}
END_TEST

/* What is written is read back as no more than it was, never as nothing, and at most one part in 100,000 is lost below a day. */
START_TEST(a_written_timeout_is_never_longer_and_never_nothing)
{
	uint64_t x = 88172645463325252u;

	for (int i = 0; i < 200000; i++) {
		uint64_t ns, back;
		char out[10];
		size_t n;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		ns = x >> (x & 63);
		if (ns == 0)
			continue;
		n = grpc_timeout_format(ns, out);
		ck_assert_uint_le(n, 9);
		ck_assert(grpc_timeout_parse(str_n(out, n), &back));
		ck_assert_uint_le(back, ns);
		ck_assert_uint_gt(back, 0);
		if (ns < 86400ull * 1000000000)
			ck_assert_uint_le(ns - back, ns / 100000 + 1);
	}
}
END_TEST

static void encodes_to(const char *text, size_t n, const char *want)
{
	struct sb out = {0};

	grpc_message_encode(str_n(text, n), &out);
	ck_assert_msg(str_is(sb_view(&out), want), "'%s' became '%.*s'", text, (int)out.n, out.p ? out.p : "");
	sb_end(&out);
}

static void decodes_to(const char *text, const char *want, size_t n)
{
	struct sb out = {0};

	grpc_message_decode(str_of(text), &out);
	ck_assert_msg(str_eq(sb_view(&out), str_n(want, n)), "'%s' became '%.*s'", text, (int)out.n, out.p ? out.p : "");
	sb_end(&out);
}

START_TEST(messages_keep_printable_ascii_and_escape_the_rest)
{
	encodes_to("", 0, "");
	encodes_to("all is well ~!", 14, "all is well ~!");
	encodes_to("100%", 4, "100%25");
	encodes_to("a\r\nb\tc", 6, "a%0D%0Ab%09c");
	encodes_to("na\xc3\xafve", 6, "na%C3%AFve");
	encodes_to("\0\x7f\xff", 3, "%00%7F%FF");
}
END_TEST

START_TEST(bad_escapes_stay_as_they_are)
{
	decodes_to("", "", 0);
	decodes_to("plain", "plain", 5);
	decodes_to("100%25", "100%", 4);
	decodes_to("na%C3%afve", "na\xc3\xafve", 6);
	decodes_to("%00x", "\0x", 2);
	decodes_to("100%", "100%", 4);
	decodes_to("%2", "%2", 2);
	decodes_to("%zz%2x%%41", "%zz%2x%A", 8);
	decodes_to("na\xc3\xafve", "na\xc3\xafve", 6);
	decodes_to("%25%32%35", "%25", 3);
}
END_TEST

START_TEST(any_bytes_survive_there_and_back)
{
	char all[256];
	struct sb wire = {0}, back = {0};

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	grpc_message_encode(str_n(all, sizeof(all)), &wire);
	for (size_t i = 0; i < wire.n; i++)
		ck_assert(wire.p[i] >= 0x20 && wire.p[i] <= 0x7e);
	grpc_message_decode(sb_view(&wire), &back);
	ck_assert(str_eq(sb_view(&back), str_n(all, sizeof(all))));
	sb_end(&wire);
	sb_end(&back);
}
END_TEST

UNIT_SUITE("grpc", statuses_have_their_names, a_status_is_digits, http_and_grpc_statuses_map_as_the_table_says,
	timeouts_are_read_as_the_specification_says, timeouts_are_written_in_the_unit_that_loses_nothing,
	a_written_timeout_is_never_longer_and_never_nothing, messages_keep_printable_ascii_and_escape_the_rest, bad_escapes_stay_as_they_are,
	any_bytes_survive_there_and_back)
