/*
 * What every unit and flow test program includes: libcheck and the one function that it defines.
 *
 * A program is one file test_*.c, linked with tests/main.c. It builds its suite of sentences:
 *
 *	START_TEST(ring_moves_only_its_share_when_a_host_leaves) { ... } END_TEST
 *
 *	Suite *suite(void)
 *	{
 *		Suite *s = suite_create("ring");
 *		TCase *t = tcase_create("ring");
 *		tcase_add_test(t, ring_moves_only_its_share_when_a_host_leaves);
 *		suite_add_tcase(s, t);
 *		return s;
 *	}
 *
 * Or shorter: UNIT_SUITE("ring", ring_moves_only_its_share_when_a_host_leaves, ...) makes that function.
 */
#pragma once

#include <check.h>
#include <stddef.h>

Suite *suite(void);

#define UNIT_COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* START_TEST(name) defines the pointer `name` that tcase_add_test takes. */
#define UNIT_SUITE(title, ...)                                                                                                             \
	Suite *suite(void)                                                                                                                 \
	{                                                                                                                                  \
		const TTest *const tests[] = {__VA_ARGS__};                                                                                \
		Suite *made = suite_create(title);                                                                                         \
		TCase *tcase = tcase_create(title);                                                                                        \
		tcase_set_timeout(tcase, 60); /* a loaded machine is no failure: who hangs is told all the same */ \
		for (size_t i = 0; i < UNIT_COUNT(tests); i++)                                                                             \
			tcase_add_test(tcase, tests[i]);                                                                                   \
		suite_add_tcase(made, tcase);                                                                                              \
		return made;                                                                                                               \
	}
