/* Errors: what a person reads. */
#include "base/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit.h"

START_TEST(every_code_has_a_text)
{
	static const struct { int code; const char *text; } rows[] = {
		{0, "success"}, {3, "success"}, {-ENOENT, "No such file or directory"}, {ERR_LIMIT, "a limit was reached"},
		{ERR_MALFORMED, "malformed"}, {ERR_CLOSED, "closed"}, {ERR_TIMEOUT, "timed out"},
		{ERR_NAME, "the name does not resolve"}, {ERR_REFUSED, "refused"},
		{-900, "unknown error"}, {-1007, "unknown error"}, {-2147483647 - 1, "unknown error"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_str_eq(err_text(rows[i].code), rows[i].text);
}
END_TEST

START_TEST(problems_stand_one_a_line_with_their_place)
{
	struct err e = ERR_INIT;
	ck_assert(!err_any(&e));
	ck_assert_str_eq(err_str(&e), "");
	err_add(&e, "a.yaml", 3, 7, "apps: %s", "expected a list");
	err_add(&e, "a.yaml", 4, 0, "no column");
	err_add(&e, "a.yaml", 0, 5, "no line");
	err_add(&e, NULL, 9, 9, "no file");
	ck_assert(err_any(&e));
	ck_assert_int_eq(e.count, 4);
	ck_assert_str_eq(err_str(&e), "a.yaml:3:7: apps: expected a list\na.yaml:4: no column\na.yaml: no line\nno file\n");
	err_clear(&e);
	ck_assert_str_eq(err_str(&e), "");
	ck_assert_int_eq(e.count, 0);
	err_clear(&e);
}
END_TEST

START_TEST(a_long_text_is_kept_whole)
{
	struct err e = ERR_INIT;
	char *long_text = malloc(100001);
	memset(long_text, 'x', 100000);
	long_text[100000] = '\0';
	err_add(&e, NULL, 0, 0, "%s", long_text);
	ck_assert_uint_eq(strlen(err_str(&e)), 100001);
	err_clear(&e);
	free(long_text);
}
END_TEST

static int lines(const char *z)
{
	int n = 0;
	for (; *z; z++)
		n += *z == '\n';
	return n;
}

START_TEST(problems_beyond_the_cap_are_only_counted)
{
	struct err e = ERR_INIT;
	for (int i = 0; i < ERR_MAX_KEPT; i++)
		err_add(&e, NULL, 0, 0, "problem %d", i);
	ck_assert_int_eq(lines(err_str(&e)), ERR_MAX_KEPT);
	ck_assert_ptr_null(strstr(err_str(&e), "more"));
	err_add(&e, NULL, 0, 0, "one too many");
	ck_assert_ptr_nonnull(strstr(err_str(&e), "problem 99\n1 more problem is not shown\n"));
	for (int i = 0; i < 899; i++)
		err_add(&e, NULL, 0, 0, "far too many");
	ck_assert_ptr_nonnull(strstr(err_str(&e), "problem 99\n900 more problems are not shown\n"));
	ck_assert_int_eq(lines(err_str(&e)), ERR_MAX_KEPT + 1);
	ck_assert_int_eq(e.count, 1000);
	err_clear(&e);
}
END_TEST

UNIT_SUITE("err", every_code_has_a_text, problems_stand_one_a_line_with_their_place, a_long_text_is_kept_whole,
	   problems_beyond_the_cap_are_only_counted)
