/* conf/match: which calls a route is for, one condition at a time. */
#include "tests/unit.h"

#include "conf/match.h"

static struct fields_pool *pool;

static void setup(void)
{
	pool = fields_pool_new();
}

static void teardown(void)
{
	fields_pool_free(&pool);
}

static struct fields *head(const char *const *lines)
{
	struct fields *h = fields_new(pool, NULL);

	for (; *lines; lines++) {
		const char *sep = strstr(*lines, ": ");

		ck_assert_int_eq(fields_add(h, str_n(*lines, (size_t)(sep - *lines)), str_of(sep + 2)), 0);
	}
	return h;
}

static struct match_text text(enum text_form form, const char *p, bool no_case)
{
	return (struct match_text){.form = form, .p = (char *)p, .n = (uint32_t)strlen(p), .no_case = no_case};
}

static struct regex *regex(const char *pattern)
{
	struct ration r = {0};
	struct regex *re = NULL;
	char why[REGEX_WHY];

	ck_assert_int_eq(regex_new(&r, str_of(pattern), &re, why), 0);
	return re;
}

START_TEST(paths_fit_by_their_form)
{
	static const struct { enum path_form form; const char *path; bool no_case; const char *asked; bool fits; } rows[] = {
		{PATH_PREFIX, "/", false, "/", true}, {PATH_PREFIX, "/", false, "/a/b?c", true}, {PATH_PREFIX, "/", false, "*", false}, {PATH_PREFIX, "/", false, "", false},
		{PATH_PREFIX, "/a", false, "/a", true}, {PATH_PREFIX, "/a", false, "/abc", true}, {PATH_PREFIX, "/a", false, "/A", false}, {PATH_PREFIX, "/a", true, "/A/b", true},
		{PATH_PREFIX, "/a?q", false, "/a?q=1", true}, /* the query is seen */ {PATH_PREFIX, "", false, "anything", true}, {PATH_PREFIX, "/abc", false, "/ab", false},
		{PATH_EXACT, "/a", false, "/a", true}, {PATH_EXACT, "/a", false, "/a?q", true}, {PATH_EXACT, "/a", false, "/a#f", true}, {PATH_EXACT, "/a", false, "/a/", false},
		{PATH_EXACT, "/a", false, "/ab", false}, {PATH_EXACT, "/a", true, "/A?q", true}, {PATH_EXACT, "/a?q", false, "/a?q", false},
		{PATH_SEPARATED, "/a/b", false, "/a/b", true}, {PATH_SEPARATED, "/a/b", false, "/a/b/c", true}, {PATH_SEPARATED, "/a/b", false, "/a/bc", false},
		{PATH_SEPARATED, "/a/b", false, "/a/b?q", true}, {PATH_SEPARATED, "/a/b", true, "/A/B/", true}, {PATH_SEPARATED, "/a/b", false, "/a", false},
		{PATH_NEVER, "", false, "/", false}, {PATH_ANY, "", false, "", true},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match m = {.form = (uint8_t)rows[i].form, .no_case = rows[i].no_case, .path = (char *)rows[i].path, .n = (uint32_t)strlen(rows[i].path)};
		struct match_call c = {.path = str_of(rows[i].asked)};
		struct fields *h = fields_new(pool, NULL);

		ck_assert_int_eq(fields_add_token(h, FIELD_PATH, str_of(rows[i].asked)), 0);
		c = match_call(h, false, 0);
		ck_assert_msg(match_fits(&m, &c) == rows[i].fits, "form %d '%s' of '%s'", rows[i].form, rows[i].path, rows[i].asked);
		fields_unref(&h);
	}
}
END_TEST

START_TEST(an_expression_is_asked_about_the_path_without_its_query)
{
	static const struct { const char *asked; bool fits; } rows[] = {{"/v1/x", true}, {"/v1/x?y=/z", true}, {"/v1/x/y", false}, {"/v1/", false}, {"/V1/x", false}};
	struct match m = {.form = PATH_REGEX, .regex = regex("/v[0-9]/[^/]+"), .no_case = true /* not heeded */};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct fields *h = fields_new(pool, NULL);

		ck_assert_int_eq(fields_add_token(h, FIELD_PATH, str_of(rows[i].asked)), 0);
		struct match_call c = match_call(h, false, 0);
		ck_assert_msg(match_fits(&m, &c) == rows[i].fits, "%s", rows[i].asked);
		fields_unref(&h);
	}
	match_end(&m);
}
END_TEST

START_TEST(texts_fit_by_their_form)
{
	static const struct { enum text_form form; const char *p; bool no_case; const char *asked; bool fits; } rows[] = {
		{TEXT_EXACT, "ab", false, "ab", true}, {TEXT_EXACT, "ab", false, "abc", false}, {TEXT_EXACT, "ab", false, "AB", false}, {TEXT_EXACT, "ab", true, "AB", true},
		{TEXT_EXACT, "", false, "", true}, {TEXT_EXACT, "", false, "a", false}, {TEXT_PREFIX, "ab", false, "abc", true}, {TEXT_PREFIX, "ab", false, "a", false},
		{TEXT_PREFIX, "ab", true, "ABC", true}, {TEXT_SUFFIX, "bc", false, "abc", true}, {TEXT_SUFFIX, "bc", false, "bcd", false}, {TEXT_SUFFIX, "bc", true, "aBC", true},
		{TEXT_SUFFIX, "abc", false, "bc", false}, {TEXT_CONTAINS, "b", false, "abc", true}, {TEXT_CONTAINS, "B", false, "abc", false}, {TEXT_CONTAINS, "B", true, "abc", true},
		{TEXT_CONTAINS, "bc", true, "aBC", true}, {TEXT_CONTAINS, "cd", true, "abc", false}, {TEXT_CONTAINS, "x", false, "", false}, {TEXT_CONTAINS, "abcd", true, "abc", false},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_text t = text(rows[i].form, rows[i].p, rows[i].no_case);

		ck_assert_msg(match_text_fits(&t, str_of(rows[i].asked)) == rows[i].fits, "form %d '%s' of '%s'", rows[i].form, rows[i].p, rows[i].asked);
	}
}
END_TEST

static struct match_header header(const char *name, enum header_form form)
{
	return (struct match_header){.form = form, .name = (char *)name, .name_n = (uint32_t)strlen(name), .token = (uint16_t)field_token(name, strlen(name)), .present = true};
}

static bool asked(struct match_extra *e, struct fields *h, uint64_t random)
{
	struct match m = {.form = PATH_ANY, .extra = e};
	struct match_call c = match_call(h, false, random);

	return match_fits(&m, &c) > 0;
}

START_TEST(headers_fit_as_they_are_there_joined_missing_or_inverted)
{
	static const char *const lines[] = {":method: POST", ":path: /", ":authority: demo", "x-one: a", "x-many: a", "x-many: b", "cookie: a=1", "cookie: b=2", "x-empty: ", "user-agent: u", NULL};
	static const struct { const char *name, *value; bool invert, empty, fits; } rows[] = {
		{"x-one", "a", false, false, true}, {"x-one", "a", true, false, false}, {"x-one", "b", false, false, false}, {"x-one", "b", true, false, true},
		{"x-many", "a,b", false, false, true}, {"x-many", "a", false, false, false}, {"cookie", "a=1; b=2", false, false, true}, {"user-agent", "u", false, false, true},
		{"x-none", "", false, false, false}, {"x-none", "", true, false, false}, /* a header that is not there fits nothing, the other way round neither */
		{"x-none", "", false, true, true}, {"x-none", "a", false, true, false}, {"x-none", "a", true, true, true}, {"x-empty", "", false, false, true},
		{":method", "POST", false, false, true}, {":authority", "demo", false, false, true}, {"host", "demo", false, false, true},
	};
	struct fields *h = head(lines);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_header x = header(rows[i].name, HEADER_TEXT);
		struct match_extra e = {.nheaders = 1, .headers = &x};

		x.text = text(TEXT_EXACT, rows[i].value, false);
		x.invert = rows[i].invert;
		x.empty_if_missing = rows[i].empty;
		ck_assert_msg(asked(&e, h, 0) == rows[i].fits, "row %zu: %s is '%s'", i, rows[i].name, rows[i].value);
	}
	fields_unref(&h);
}
END_TEST

START_TEST(presence_is_what_was_wanted_unless_inverted)
{
	static const struct { const char *name; bool present, invert, fits; } rows[] = {
		{"x-one", true, false, true}, {"x-one", true, true, false}, {"x-one", false, false, false}, {"x-one", false, true, true},
		{"x-none", true, false, false}, {"x-none", true, true, true}, {"x-none", false, false, true}, {"x-none", false, true, false},
	};
	struct fields *h = head((const char *const[]){"x-one: a", NULL});

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_header x = header(rows[i].name, HEADER_PRESENT);
		struct match_extra e = {.nheaders = 1, .headers = &x};

		x.present = rows[i].present;
		x.invert = rows[i].invert;
		ck_assert_msg(asked(&e, h, 0) == rows[i].fits, "row %zu", i);
	}
	fields_unref(&h);
}
END_TEST

START_TEST(a_range_takes_whole_signed_numbers_its_end_left_out)
{
	static const struct { const char *value; bool fits; } rows[] = {
		{"-3", true}, {"-4", false}, {"0", true}, {"+2", true}, {"2", true}, {"3", false}, {"02", true}, {"1.5", false}, {"1 ", false}, {"", false}, {"-", false}, {"x", false},
		{"--1", false}, {"99999999999999999999", false}, {"0x1", false},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_header x = header("x-n", HEADER_RANGE);
		struct match_extra e = {.nheaders = 1, .headers = &x};
		struct fields *h = fields_new(pool, NULL);

		x.start = -3;
		x.end = 3;
		ck_assert_int_eq(fields_add(h, STR("x-n"), str_of(rows[i].value)), 0);
		ck_assert_msg(asked(&e, h, 0) == rows[i].fits, "'%s'", rows[i].value);
		x.invert = true;
		ck_assert_msg(asked(&e, h, 0) != rows[i].fits, "not '%s'", rows[i].value);
		fields_unref(&h);
	}
	struct match_header x = header("x-n", HEADER_RANGE);
	struct match_extra e = {.nheaders = 1, .headers = &x};
	struct fields *h = head((const char *const[]){"x-n: -9223372036854775808", NULL});
	x.start = INT64_MIN;
	x.end = INT64_MAX;
	ck_assert(asked(&e, h, 0));
	fields_unref(&h);
}
END_TEST

START_TEST(the_first_value_of_a_parameter_counts)
{
	static const struct { const char *path, *name, *value; bool fits; } rows[] = {
		{"/?a=1", "a", "1", true}, {"/?a=1&a=2", "a", "1", true}, {"/?a=2&a=1", "a", "1", false}, {"/?b=1&a=1", "a", "1", true}, {"/?a", "a", "", true}, {"/?a=", "a", "", true},
		{"/?aa=1", "a", "1", false}, {"/a=1", "a", "1", false}, {"/?a=1#b=2", "a", "1", true}, {"/?#a=1", "a", "1", false}, {"/?a=%31", "a", "1", false}, {"/?&&a=1&", "a", "1", true},
		{"/?a=1=2", "a", "1=2", true}, {"/?", "a", "", false},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_param p = {.name = (char *)rows[i].name, .name_n = (uint32_t)strlen(rows[i].name), .by_text = true, .text = text(TEXT_EXACT, rows[i].value, false)};
		struct match_extra e = {.nqueries = 1, .queries = &p};
		struct fields *h = fields_new(pool, NULL);

		ck_assert_int_eq(fields_add_token(h, FIELD_PATH, str_of(rows[i].path)), 0);
		ck_assert_msg(asked(&e, h, 0) == rows[i].fits, "%s in %s", rows[i].name, rows[i].path);
		fields_unref(&h);
	}
}
END_TEST

START_TEST(cookies_are_found_in_all_crumbs)
{
	static const struct { const char *name, *value; bool invert, fits; } rows[] = {
		{"a", "1", false, true}, {"b", "two", false, true}, {"c", "3", false, true}, {"d", "", false, true}, {"e", "1", false, false}, {"e", "1", true, true}, {"a", "1", true, false},
		{"A", "1", false, false}, {"a", "9", false, false},
	};
	struct fields *h = head((const char *const[]){"cookie: a=1; b=\"two\"", "x: a=5", "cookie: c=3;d", "cookie: a=9", NULL});

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct match_param p = {.name = (char *)rows[i].name, .name_n = (uint32_t)strlen(rows[i].name), .by_text = true, .invert = rows[i].invert, .text = text(TEXT_EXACT, rows[i].value, false)};
		struct match_extra e = {.ncookies = 1, .cookies = &p};

		ck_assert_msg(asked(&e, h, 0) == rows[i].fits, "%s=%s", rows[i].name, rows[i].value);
	}
	fields_unref(&h);
}
END_TEST

START_TEST(a_fraction_takes_its_share_and_says_nothing_about_the_weights)
{
	struct match_extra e = {.part = 10, .of = 100};
	unsigned taken = 0, low = 0;

	for (uint64_t random = 0; random < 100000; random++)
		if (asked(&e, NULL, random)) {
			taken++;
			low += random % 100 < 50; /* who goes to the first of two halves */
		}
	ck_assert_msg(taken > 9500 && taken < 10500, "%u", taken);
	ck_assert_msg(low > taken * 45 / 100 && low < taken * 55 / 100, "%u of %u", low, taken);
	e.part = 0;
	ck_assert(!asked(&e, NULL, 0) && !asked(&e, NULL, 12345));
	e.part = 100;
	ck_assert(asked(&e, NULL, 0) && asked(&e, NULL, 12345));
}
END_TEST

START_TEST(all_conditions_must_hold)
{
	struct match_header x[2] = {header("x-a", HEADER_PRESENT), header("x-b", HEADER_PRESENT)};
	struct match_extra e = {.nheaders = 2, .headers = x, .grpc = true};
	struct fields *h = head((const char *const[]){"content-type: application/grpc", "x-a: 1", NULL});

	ck_assert(!asked(&e, h, 0));
	ck_assert_int_eq(fields_add(h, STR("x-b"), STR("1")), 0);
	ck_assert(asked(&e, h, 0));
	ck_assert_int_eq(fields_set(h, FIELD_CONTENT_TYPE, STR("application/json")), 0);
	ck_assert(!asked(&e, h, 0));
	ck_assert(!asked(&e, NULL, 0));
	fields_unref(&h);
}
END_TEST

START_TEST(an_expression_that_gives_up_is_no_answer_whatever_is_inverted)
{
	struct match_header x = header("x-a", HEADER_TEXT);
	struct match_extra e = {.nheaders = 1, .headers = &x};
	struct match m = {.form = PATH_ANY, .extra = &e};
	struct fields *h = head((const char *const[]){"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", NULL});
	struct match_call c = match_call(h, false, 0);

	x.text = (struct match_text){.form = TEXT_REGEX, .regex = regex("(a?){1000}[bd]")};
	ck_assert_int_lt(match_fits(&m, &c), 0);
	x.invert = true;
	ck_assert_int_lt(match_fits(&m, &c), 0);
	ck_assert(match_has_regex(&m));
	regex_free(&x.text.regex);
	ck_assert(!match_has_regex(&m));
	fields_unref(&h);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("match");
	TCase *t = tcase_create("match");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, paths_fit_by_their_form);
	tcase_add_test(t, an_expression_is_asked_about_the_path_without_its_query);
	tcase_add_test(t, texts_fit_by_their_form);
	tcase_add_test(t, headers_fit_as_they_are_there_joined_missing_or_inverted);
	tcase_add_test(t, presence_is_what_was_wanted_unless_inverted);
	tcase_add_test(t, a_range_takes_whole_signed_numbers_its_end_left_out);
	tcase_add_test(t, the_first_value_of_a_parameter_counts);
	tcase_add_test(t, cookies_are_found_in_all_crumbs);
	tcase_add_test(t, a_fraction_takes_its_share_and_says_nothing_about_the_weights);
	tcase_add_test(t, all_conditions_must_hold);
	tcase_add_test(t, an_expression_that_gives_up_is_no_answer_whatever_is_inverted);
	suite_add_tcase(s, t);
	return s;
}
