/* sidecar/cli_json: what is read comes out as it was meant; what is torn or wrong ends every loop and is told. */
#include "sidecar/cli_json.h"
#include <stdlib.h>
#include "tests/unit.h"

static const struct { const char *json, *text; bool bad; } texts[] = {
	{"\"plain\"", "plain", false},
	{" \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", false},
	{"\"\\u00e9\\u20AC\"", "\xc3\xa9\xe2\x82\xac", false},
	{"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", false},
	{"\"\\ud83dx\"", "\xef\xbf\xbdx", false},
	{"\"\\ude00\"", "\xef\xbf\xbd", false},
	{"\"\\ud83d\\u0041\"", "\xef\xbf\xbd" "A", false},
	{"\"${HOME} $${x}\"", "${HOME} $${x}", false},
	{"12", "12", false},
	{"null", "", false},
	{"\"torn", NULL, true},
	{"\"\\q\"", NULL, true},
	{"\"\\u12g4\"", NULL, true},
	{"\"\\u12", NULL, true},
	{"\"line\nbreak\"", NULL, true},
	{"\"end\\", NULL, true},
	{"", NULL, true},
	{",", NULL, true},
};

START_TEST(a_text_comes_out_as_it_was_meant)
{
	struct json r = json_of(str_of(texts[_i].json));
	struct sb out = {0};

	json_text(&r, &out);
	ck_assert_msg(r.bad == texts[_i].bad, "%s: bad is %d", texts[_i].json, r.bad);
	if (!r.bad)
		ck_assert_msg(str_is(sb_view(&out), texts[_i].text), "%s: '%.*s'", texts[_i].json, (int)out.n, out.p);
	sb_end(&out);
}
END_TEST

static const struct { const char *json; bool bad; uint64_t sum; } maps[] = {
	{"{}", false, 0},
	{" { \"n\" : 1 , \"x\":[1,{\"n\":5},\"]}\"],\"n\": 2 } ", false, 3},
	{"{\"x\":{\"a\":{\"b\":[[],[],{}]}},\"n\":7}", false, 7},
	{"{\"x\":null,\"y\":true,\"z\":-1.5e3,\"n\":1}", false, 1},
	{"{\"n\":18446744073709551615}", false, UINT64_MAX},
	{"{\"n\":18446744073709551616}", true, 0},
	{"{\"n\":-1}", true, 0},
	{"{\"n\":1 \"n\":2}", true, 0},
	{"{\"n\":1,}", true, 0},
	{"{,\"n\":1}", true, 0},
	{"{\"n\" 1}", true, 0},
	{"{n:1}", true, 0},
	{"{\"x\":[1,2", true, 0},
	{"{\"n\":1", true, 0},
	{"[1]", true, 0},
	{"", true, 0},
};

START_TEST(a_map_is_read_key_by_key_and_what_is_not_wanted_is_skipped)
{
	struct json r = json_of(str_of(maps[_i].json));
	struct sb key = {0};
	uint64_t sum = 0;

	json_open(&r, '{');
	while (json_key(&r, &key)) {
		if (str_is(sb_view(&key), "n"))
			sum += json_u64(&r);
		else
			json_skip(&r);
	}
	ck_assert_msg(r.bad == maps[_i].bad, "%s: bad is %d", maps[_i].json, r.bad);
	if (!r.bad)
		ck_assert_uint_eq(sum, maps[_i].sum);
	sb_end(&key);
}
END_TEST

START_TEST(a_million_open_brackets_are_skipped_without_a_stack)
{
	enum { N = 1000000 };
	char *text = malloc(2 * N);
	memset(text, '[', N);
	memset(text + N, ']', N);
	struct json r = json_of(str_n(text, 2 * N));
	json_skip(&r);
	ck_assert(!r.bad && r.p == r.end);
	r = json_of(str_n(text, N));
	json_skip(&r);
	ck_assert(r.bad);
	free(text);
}
END_TEST

START_TEST(a_list_is_read_item_by_item)
{
	struct json r = json_of(STR("[1, 2,3 ]"));
	uint64_t sum = 0;

	json_open(&r, '[');
	while (json_item(&r))
		sum = 10 * sum + json_u64(&r);
	ck_assert(!r.bad);
	ck_assert_uint_eq(sum, 123);
}
END_TEST

START_TEST(every_cut_of_a_page_is_told_as_bad)
{
	static const char page[] = "{\"a\":[{\"b\":\"c\\u00e9\",\"d\":12},true],\"e\":null}";

	for (size_t n = 0; n < sizeof(page) - 1; n++) {
		struct json r = json_of(str_n(page, n));
		json_skip(&r);
		ck_assert_msg(r.bad, "%zu bytes of it", n);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("cli_json");
	TCase *t = tcase_create("cli_json");
	tcase_add_loop_test(t, a_text_comes_out_as_it_was_meant, 0, UNIT_COUNT(texts));
	tcase_add_loop_test(t, a_map_is_read_key_by_key_and_what_is_not_wanted_is_skipped, 0, UNIT_COUNT(maps));
	tcase_add_test(t, a_million_open_brackets_are_skipped_without_a_stack);
	tcase_add_test(t, a_list_is_read_item_by_item);
	tcase_add_test(t, every_cut_of_a_page_is_told_as_bad);
	suite_add_tcase(s, t);
	return s;
}
