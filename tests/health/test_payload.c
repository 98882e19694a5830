/* health/payload: pieces in their order, in whatever portions the bytes come. */
#include "health/payload.h"
#include "tests/unit.h"

static bool found(const char *const *pieces, uint32_t n, const char *text, size_t portion, struct account *a)
{
	struct check_bytes want[8];
	struct payload p;
	size_t len = strlen(text);

	for (uint32_t i = 0; i < n; i++)
		want[i] = (struct check_bytes){(uint8_t *)(uintptr_t)pieces[i], (uint32_t)strlen(pieces[i])};
	ck_assert_int_eq(payload_begin(&p, want, n, a), 0);
	for (size_t at = 0; at < len; at += portion)
		payload_feed(&p, text + at, portion < len - at ? portion : len - at);
	bool all = payload_is_found(&p);
	payload_end(&p);
	payload_end(&p);
	return all;
}

START_TEST(pieces_are_found_in_their_order_with_anything_in_between)
{
	static const struct { const char *pieces[3]; uint32_t n; const char *text; bool found; } rows[] = {
		{{0}, 0, "", true}, {{""}, 1, "", true}, {{"", "a", ""}, 3, "a", true}, {{"a"}, 1, "", false}, {{"ab"}, 1, "aab", true}, {{"ab"}, 1, "a", false}, {{"aab"}, 1, "aaab", true},
		{{"a", "a"}, 2, "a", false}, {{"a", "a"}, 2, "aa", true}, {{"ab", "bc"}, 2, "abc", false}, {{"ab", "bc"}, 2, "ab-bc", true}, {{"abab"}, 1, "ababab", true}, {{"one", "two", "three"}, 3, "..one.two..three", true},
		{{"one", "two", "three"}, 3, "..three.two..one", false}, {{"x", "aaaa"}, 2, "aaaaxaaa-aaaa", true}, {{"x", "aaaa"}, 2, "aaaaxaaa", false}, {{"abcabd"}, 1, "abcabcabd", true}};
	struct account a;

	account_init(&a, NULL, "payload", SIZE_MAX);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (size_t portion = 1; portion < 20; portion++)
			ck_assert_msg(found(rows[i].pieces, rows[i].n, rows[i].text, portion, &a) == rows[i].found, "row %zu in portions of %zu", i, portion);
	ck_assert_uint_lt(a.peak, 200);
	account_end(&a);
}
END_TEST

START_TEST(what_is_held_has_a_bound_whatever_comes)
{
	struct check_bytes want = {(uint8_t *)(uintptr_t)"aaaaaaaab", 9};
	struct account a;
	struct payload p;
	char bytes[1000];

	account_init(&a, NULL, "payload", 100);
	memset(bytes, 'a', sizeof(bytes));
	ck_assert_int_eq(payload_begin(&p, &want, 1, &a), 0);
	for (int i = 0; i < 1000; i++)
		ck_assert(!payload_feed(&p, bytes, sizeof(bytes)));
	ck_assert(payload_feed(&p, "b", 1));
	payload_end(&p);
	account_end(&a);
	account_init(&a, NULL, "payload", 1);
	ck_assert_int_lt(payload_begin(&p, &want, 1, &a), 0);
	payload_end(&p);
	account_end(&a);
}
END_TEST

UNIT_SUITE("payload", pieces_are_found_in_their_order_with_anything_in_between, what_is_held_has_a_bound_whatever_comes)
