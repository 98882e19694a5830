/* Text: tables of what is understood and what is refused. */
#include "base/str.h"
#include "tests/unit.h"

START_TEST(strings_compare_by_their_bytes)
{
	ck_assert(str_eq(STR("ab"), STR("ab")));
	ck_assert(!str_eq(STR("ab"), STR("abc")));
	ck_assert(!str_eq(STR("ab"), STR("aB")));
	ck_assert(str_eq(str_n(NULL, 0), STR("")));
	ck_assert(str_is(STR("x"), "x"));
	ck_assert(str_is(str_of(NULL), ""));
	ck_assert(str_eq_nocase(STR("Content-TYPE"), STR("content-type")));
	ck_assert(!str_eq_nocase(STR("a["), STR("A{"))); /* 0x20 apart, but no letters */
	ck_assert(!str_eq_nocase(STR("\xc4"), STR("\xe4")));
	ck_assert(!str_eq_nocase(STR("a"), STR("ab")));
	ck_assert(str_starts(STR("unix:/x"), STR("unix:")));
	ck_assert(str_starts(STR("x"), STR("")));
	ck_assert(!str_starts(STR("un"), STR("unix")));
	ck_assert(str_ends(STR("a.svc"), STR(".svc")));
	ck_assert(str_ends(str_n(NULL, 0), STR("")));
	ck_assert(!str_ends(STR("svc"), STR(".svc")));
}
END_TEST

START_TEST(strings_are_found_cut_and_trimmed_within_their_bounds)
{
	ck_assert_int_eq(str_find(STR("a:b:c"), ':'), 1);
	ck_assert_int_eq(str_rfind(STR("a:b:c"), ':'), 3);
	ck_assert_int_eq(str_find(STR("abc"), ':'), -1);
	ck_assert_int_eq(str_find(str_n("ab:", 2), ':'), -1);
	ck_assert_int_eq(str_rfind(str_n(NULL, 0), ':'), -1);
	ck_assert(str_is(str_cut(STR("hello"), 1, 3), "el"));
	ck_assert(str_is(str_cut(STR("hello"), 3, 99), "lo"));
	ck_assert(str_is(str_cut(STR("hello"), 99, 100), ""));
	ck_assert(str_is(str_cut(STR("hello"), 3, 1), ""));
	ck_assert(str_is(str_cut(str_n(NULL, 0), 1, 3), ""));
	ck_assert(str_is(str_trim(STR(" \t a b\t ")), "a b"));
	ck_assert(str_is(str_trim(STR(" \t ")), ""));
	ck_assert(str_is(str_trim(STR("\na")), "\na"));
	char up[] = "AbC-[\xc4";
	str_lower(up, sizeof(up) - 1);
	ck_assert_str_eq(up, "abc-[\xc4");
}
END_TEST

static const struct { const char *text; bool good; uint64_t v; } numbers[] = {
	{"0", true, 0}, {"007", true, 7}, {"18446744073709551615", true, UINT64_MAX},
	{"18446744073709551616", false, 0}, {"99999999999999999999", false, 0}, {"", false, 0}, {"-1", false, 0}, {"+1", false, 0},
	{" 1", false, 0}, {"1 ", false, 0}, {"0x10", false, 0}, {"1.0", false, 0}, {"\xd9\xa1", false, 0}, {":", false, 0}, {"/", false, 0},
};

START_TEST(numbers_are_decimal_and_nothing_else)
{
	for (size_t i = 0; i < UNIT_COUNT(numbers); i++) {
		uint64_t v = 4711;
		ck_assert_msg(str_u64(str_of(numbers[i].text), &v) == numbers[i].good, "'%s'", numbers[i].text);
		ck_assert_uint_eq(v, numbers[i].good ? numbers[i].v : 4711);
	}
}
END_TEST

static const struct { const char *text; bool good; uint64_t ns; } durations[] = {
	{"30s", true, 30000000000}, {"250ms", true, 250000000}, {"1m", true, 60000000000}, {"2h", true, 7200000000000},
	{"10us", true, 10000}, {"0", true, 0}, {"0s", true, 0}, {"5124095h", true, 18446742000000000000ULL},
	{"5124096h", false, 0}, {"30", false, 0}, {"1", false, 0}, {"", false, 0}, {"s", false, 0}, {"1.5s", false, 0}, {"-1s", false, 0},
	{"1 s", false, 0}, {" 1s", false, 0}, {"1s ", false, 0}, {"1S", false, 0}, {"1d", false, 0}, {"1m30s", false, 0}, {"1mss", false, 0},
	{"99999999999999999999s", false, 0}, {"inf", false, 0},
};

START_TEST(durations_need_their_unit)
{
	for (size_t i = 0; i < UNIT_COUNT(durations); i++) {
		uint64_t v = 4711;
		ck_assert_msg(str_duration_ns(str_of(durations[i].text), &v) == durations[i].good, "'%s'", durations[i].text);
		ck_assert_uint_eq(v, durations[i].good ? durations[i].ns : 4711);
	}
	uint64_t v;
	ck_assert(!str_duration_ns(str_n("1s\0", 3), &v));
	ck_assert(str_duration_ns(str_n("1sx", 2), &v)); /* counted: the x is not ours */
}
END_TEST

static const struct { const char *text; bool good; uint64_t n; } sizes[] = {
	{"512", true, 512}, {"0", true, 0}, {"1B", true, 1}, {"64KiB", true, 65536}, {"1MiB", true, 1048576}, {"1GiB", true, 1073741824},
	{"3TiB", true, 3298534883328}, {"10KB", true, 10000}, {"2MB", true, 2000000}, {"1GB", true, 1000000000}, {"1TB", true, 1000000000000},
	{"16777215TiB", true, 18446742974197923840ULL},
	{"16777216TiB", false, 0}, {"64K", false, 0}, {"64kib", false, 0}, {"64 KiB", false, 0}, {"1.5MiB", false, 0}, {"", false, 0},
	{"KiB", false, 0}, {"-1", false, 0}, {"1KiBs", false, 0}, {"60%", false, 0},
};

START_TEST(sizes_tell_1024_from_1000)
{
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		uint64_t v = 4711;
		ck_assert_msg(str_bytes(str_of(sizes[i].text), &v) == sizes[i].good, "'%s'", sizes[i].text);
		ck_assert_uint_eq(v, sizes[i].good ? sizes[i].n : 4711);
	}
}
END_TEST

static const struct { const char *a, *b; unsigned cap, distance; } words[] = {
	{"listen", "listen", 3, 0}, {"", "", 3, 0}, {"listen", "lisen", 3, 1}, {"listen", "litsen", 3, 1}, {"listen", "listens", 3, 1},
	{"listen", "lasten", 3, 1}, {"services", "sevrices", 3, 1}, {"abc", "cab", 3, 2}, {"ca", "abc", 9, 3}, {"timeout", "retries", 3, 3},
	{"", "abc", 9, 3}, {"", "abc", 2, 2}, {"a", "b", 0, 0}, {"kitten", "sitting", 9, 3},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaa", 4, 4},
};

START_TEST(distance_counts_typos_as_people_make_them)
{
	for (size_t i = 0; i < UNIT_COUNT(words); i++) {
		ck_assert_msg(str_distance(words[i].a, words[i].b, words[i].cap) == words[i].distance, "%s %s", words[i].a, words[i].b);
		ck_assert_uint_eq(str_distance(words[i].b, words[i].a, words[i].cap), words[i].distance);
	}
}
END_TEST

START_TEST(hashes_depend_on_all_bytes_and_on_the_seed)
{
	ck_assert_uint_eq(str_hash(STR("demo")), str_hash(str_n("demo!", 4)));
	ck_assert_uint_ne(str_hash(STR("demo")), str_hash(STR("demp")));
	ck_assert_uint_ne(str_hash_seeded(STR("demo"), 1), str_hash_seeded(STR("demo"), 2));
	ck_assert_uint_eq(str_hash_seeded(str_n(NULL, 0), 7), str_hash_seeded(STR(""), 7));
	ck_assert_uint_eq(str_hash(STR("")), 0x2d06800538d394c2ULL); /* xxh3's own value: ring positions must not move with a release */
}
END_TEST

START_TEST(sb_grows_and_always_ends_with_nul)
{
	struct sb b = {0};
	ck_assert_uint_eq(sb_view(&b).n, 0);
	sb_str(&b, "a");
	sb_char(&b, 'b');
	sb_add(&b, NULL, 0);
	sb_fmt(&b, "%d-%s", 12, "x");
	ck_assert_str_eq(b.p, "ab12-x");
	for (int i = 0; i < 300; i++) { /* each width once across the growth */
		sb_fmt(&b, "%*d", i, 1);
		ck_assert_uint_eq(strlen(b.p), b.n);
		ck_assert_int_eq(b.p[b.n - 1], '1');
	}
	ck_assert_uint_eq(b.n, 6 + 1 + 299 * 300 / 2);
	sb_end(&b);
	ck_assert_ptr_null(b.p);
	sb_end(&b);
}
END_TEST

#define BAD "\xef\xbf\xbd"
static const struct { const char *in, *out; } json[] = {
	{"plain", "\"plain\""}, {"", "\"\""}, {"a\"b\\c/", "\"a\\\"b\\\\c/\""}, {"\n\r\t", "\"\\n\\r\\t\""},
	{"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""}, {"gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x98\x80", "\"gr\xc3\xbcn \xe2\x82\xac \xf0\x9f\x98\x80\""},
	{"\xff", "\"" BAD "\""}, {"a\xc3", "\"a" BAD "\""}, {"\xc3(", "\"" BAD "(\""}, {"\xc0\xaf", "\"" BAD BAD "\""},
	{"\xe0\x80\xaf", "\"" BAD BAD BAD "\""}, {"\xed\xa0\x80", "\"" BAD BAD BAD "\""}, {"\xf0\x80\x80\x80", "\"" BAD BAD BAD BAD "\""},
	{"\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""}, {"\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""}, {"\xf5\x80", "\"" BAD BAD "\""},
	{"\xe2\x82", "\"" BAD BAD "\""},
};

START_TEST(json_is_always_valid)
{
	for (size_t i = 0; i < UNIT_COUNT(json); i++) {
		struct sb b = {0};
		sb_json(&b, str_of(json[i].in));
		ck_assert_str_eq(b.p, json[i].out);
		sb_end(&b);
	}
	struct sb b = {0};
	sb_json(&b, str_n("a\0b", 3));
	ck_assert_str_eq(b.p, "\"a\\u0000b\"");
	sb_end(&b);
}
END_TEST

UNIT_SUITE("str", strings_compare_by_their_bytes, strings_are_found_cut_and_trimmed_within_their_bounds,
	   numbers_are_decimal_and_nothing_else, durations_need_their_unit, sizes_tell_1024_from_1000,
	   distance_counts_typos_as_people_make_them, hashes_depend_on_all_bytes_and_on_the_seed, sb_grows_and_always_ends_with_nul,
	   json_is_always_valid)
