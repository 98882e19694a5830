/* conf/regex: RE2's syntax and no other, whole texts only, and an end to every match. */
#include "tests/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "conf/regex.h"

START_TEST(whole_texts_match_or_do_not)
{
	static const struct { const char *pattern; struct str text; int fits; } rows[] = {
		{"abc", STR("abc"), 1}, {"abc", STR("xabc"), 0}, {"abc", STR("abcx"), 0}, {"", STR(""), 1}, {"", STR("a"), 0},
		{"a|ab", STR("ab"), 1}, {"a*?", STR("aaa"), 1}, {"a+b?", STR("aab"), 1}, {"^a$", STR("a"), 1}, {"a$", STR("a\n"), 0}, {"a.c", STR("a\nc"), 0},
		{"(?s)a.c", STR("a\nc"), 1}, {"(?i)abc", STR("aBC"), 1}, {"(?i:a)b", STR("Ab"), 1}, {"(?i:a)b", STR("AB"), 0}, {"(?P<n>a)(?:b)(?<m>c)", STR("abc"), 1},
		{"\\d{2,3}", STR("123"), 1}, {"\\d{2,3}", STR("1"), 0}, {"a{,2}", STR("a{,2}"), 1}, {"a{x", STR("a{x"), 1}, {"[a-c]+", STR("abcb"), 1}, {"[^a-c]", STR("d"), 1},
		{"[]a]+", STR("]a"), 1}, {"[[:alpha:]_]+", STR("ab_"), 1}, {"[\\d\\-]+", STR("1-2"), 1}, {"\\Qa.b\\E", STR("a.b"), 1}, {"\\Qa.b\\E", STR("axb"), 0},
		{"\\x41\\x{42}", STR("AB"), 1}, {"\\pL+", STR("a\xc3\xa4"), 1}, {"\\p{Greek}", STR("\xce\xb1"), 1}, {".", STR("\xc3\xa4"), 1}, {".", STR("\xff"), 0},
		{"a.*", STR("a\xff"), 0}, {".*a", STR("\xff""a"), 0}, {"a?", STR("\xff"), 0}, {"a", STR("\xff""a"), 0}, {"[^b]*", STR("a\xffz"), 0}, {"\\Aab\\z", STR("ab"), 1}, {"a\\bb|a", STR("a"), 1}, {"\\.\\/\\_", STR("./_"), 1}, {"(a|b)*", STR("abba"), 1}, {"(?m)^a$", STR("a"), 1},
		{"\\000?", STR("\0"), 1}, {"a{2}{", STR("aa{"), 1},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct ration r = {0};
		struct regex *re = NULL;
		char why[REGEX_WHY] = "";

		ck_assert_msg(regex_new(&r, str_of(rows[i].pattern), &re, why) == 0, "%s: %s", rows[i].pattern, why);
		ck_assert_msg(regex_match(re, rows[i].text) == rows[i].fits, "'%s' of '%.*s'", rows[i].pattern, (int)rows[i].text.n, rows[i].text.p);
		ck_assert_str_eq(regex_pattern(re), rows[i].pattern);
		regex_free(&re);
		ck_assert_ptr_null(re);
	}
}
END_TEST

START_TEST(what_re2_does_not_have_or_means_otherwise_is_refused_with_the_reason)
{
	static const struct { const char *pattern, *why; } rows[] = {
		{"(a)\\1", "a back-reference"}, {"\\12", "a back-reference"}, {"a(?=b)", "look-ahead"}, {"a(?!b)", "look-ahead"}, {"(?<=a)b", "look-behind"}, {"(?<!a)b", "look-behind"},
		{"(?>a)", "a kind of group"}, {"(?#c)", "a kind of group"}, {"(?R)", "a kind of group"}, {"(?1)", "a kind of group"}, {"(?&n)", "a kind of group"},
		{"(?(1)a)", "a kind of group"}, {"(?x) a", "a kind of group"}, {"(?P=n)", "a kind of group"}, {"(?P>n)", "a kind of group"}, {"(?C)", "a kind of group"}, {"(?", "a kind of group"},
		{"(*UTF)a", "a verb"}, {"(*LIMIT_MATCH=9999999)a", "a verb"}, {"a(*FAIL)", "a verb"}, {"a*+", "a repetition of a repetition"}, {"a++", "a repetition of a repetition"},
		{"a?+", "a repetition of a repetition"}, {"a**", "a repetition of a repetition"}, {"a*?*", "a repetition of a repetition"}, {"a{2}{3}", "a repetition of a repetition"},
		{"a{1001}", "more than 1000"}, {"a{1,1001}", "more than 1000"}, {"a{99999999999999999999}", "more than 1000"}, {"\\h", "an escape"}, {"\\R", "an escape"}, {"\\X", "an escape"},
		{"\\K", "an escape"}, {"\\G", "an escape"}, {"\\v", "an escape"}, {"\\e", "an escape"}, {"\\cA", "an escape"}, {"\\Z", "an escape"}, {"\\C", "an escape"}, {"\\N", "an escape"},
		{"\\g1", "an escape"}, {"\\k<n>", "an escape"}, {"\\o{1}", "an escape"}, {"\\u0041", "an escape"}, {"[\\b]", "in a class"}, {"[\\Qa]", "in a class"}, {"[\\1]", "a back-reference"},
		{"[a", "a class without its ]"}, {"[]", "a class without its ]"}, {"[[.a.]]", "a collating element"}, {"[[=a=]]", "a collating element"}, {"a\\", "a backslash at the end"},
		{"\\x4", "\\x without two digits"}, {"\\p", "\\p without a class"}, {"\\\xc3\xa4", "needs none"}, {"(?P<1>a)", "look-behind"}, {"(?P<n", "a group's name"},
		/* PCRE2's own words */
		{"(a", "missing closing parenthesis"}, {"a)", "unmatched closing parenthesis"}, {"*a", "quantifier does not follow"}, {"[z-a]", "range out of order"},
		{"\\p{Nonsense}", "unknown property"}, {"a{3,2}", "numbers out of order"}, {"\xff", "UTF-8 error"}, {"(?i-", "a kind of group"}, {"((abc){900}){900}", "too large"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct ration r = {0};
		struct regex *re = NULL;
		char why[REGEX_WHY] = "";
		int rc = regex_new(&r, str_of(rows[i].pattern), &re, why);

		ck_assert_msg(rc == ERR_MALFORMED && !re, "taken: %s", rows[i].pattern);
		ck_assert_msg(strstr(why, rows[i].why) != NULL, "%s: said '%s', expected '%s'", rows[i].pattern, why, rows[i].why);
	}
}
END_TEST

START_TEST(a_pattern_is_at_most_four_kilobytes)
{
	char text[REGEX_MAX + 1], why[REGEX_WHY];
	struct ration r = {0};
	struct regex *re = NULL;

	memset(text, 'a', sizeof(text));
	ck_assert_int_eq(regex_new(&r, str_n(text, REGEX_MAX), &re, why), 0);
	ck_assert_int_eq(regex_match(re, str_n(text, REGEX_MAX)), 1);
	regex_free(&re);
	ck_assert_int_eq(regex_new(&r, str_n(text, REGEX_MAX + 1), &re, why), ERR_MALFORMED);
	ck_assert_str_eq(why, "longer than 4096 bytes");
}
END_TEST

static struct regex *compiled(const char *pattern)
{
	struct ration r = {0};
	struct regex *re = NULL;
	char why[REGEX_WHY];

	ck_assert_int_eq(regex_new(&r, str_of(pattern), &re, why), 0);
	return re;
}

START_TEST(backtracking_for_ever_is_answered_all_the_same_or_not_at_all)
{
	static const struct { const char *pattern; bool gives_up; /* with a long text: each repetition is a path of its own */ } rows[] = {
		{"(a*)*[bd]", false}, {"(a|aa)+[bd]", false}, {"(a|a)*[bd]", false}, {"a*a*a*a*a*a*a*[bd]", false}, {".*.*.*[bd]", false}, {"(a+)+[bd]", true}, {"([a-c]+){2,}[bd]", true},
	};
	static const size_t lengths[] = {30, 1024, 1025, 32768};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (size_t k = 0; k < UNIT_COUNT(lengths); k++) {
			struct regex *re = compiled(rows[i].pattern);
			bool may = rows[i].gives_up && lengths[k] > 30;
			char *text = malloc(lengths[k]);

			for (int fits = 0; fits < 2; fits++) {
				memset(text, 'a', lengths[k]);
				text[lengths[k] - 1] = fits ? 'd' : 'e';
				int rc = regex_match(re, str_n(text, lengths[k]));
				ck_assert_msg(rc == fits || (may && rc < 0), "%s, %zu: %d", rows[i].pattern, lengths[k], rc);
			}
			text[0] = '\xff';
			ck_assert_msg(regex_match(re, str_n(text, lengths[k])) == 0, "%s, %zu, no UTF-8", rows[i].pattern, lengths[k]);
			free(text);
			regex_free(&re);
		}
}
END_TEST

START_TEST(what_has_too_many_paths_has_no_answer)
{
	struct regex *re = compiled("(a?){1000}[bd]");

	ck_assert_int_lt(regex_match(re, STR("aaaaaaaac")), 0);
	regex_free(&re);
}
END_TEST

START_TEST(what_it_takes_is_asked_of_the_account)
{
	struct account a;
	struct regex *re = NULL;
	char why[REGEX_WHY];
	bool made = false;

	/* ten bytes that compile to as many kilobytes */
	account_init(&a, NULL, "test", 4096);
	struct ration big = {.account = &a};
	ck_assert_int_eq(regex_new(&big, STR("(abc){900}"), &re, why), -ENOMEM);
	ration_drop(&big);
	ck_assert_uint_eq(a.used, 0);
	for (size_t limit = 0; limit < 8192 && !made; limit += 8) {
		account_init(&a, NULL, "test", limit);
		struct ration r = {.account = &a};
		int rc = regex_new(&r, STR("a[0-9]+"), &re, why);

		ck_assert(rc == 0 || rc == -ENOMEM);
		made = rc == 0;
		regex_free(&re);
		ration_drop(&r);
		ck_assert_uint_eq(a.used, 0);
	}
	ck_assert(made);
}
END_TEST

UNIT_SUITE("regex", whole_texts_match_or_do_not, what_re2_does_not_have_or_means_otherwise_is_refused_with_the_reason, a_pattern_is_at_most_four_kilobytes,
	backtracking_for_ever_is_answered_all_the_same_or_not_at_all, what_has_too_many_paths_has_no_answer, what_it_takes_is_asked_of_the_account)
