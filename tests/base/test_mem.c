/* Memory: what accounts promise about limits, wherever they stand in the tree, and what arenas and pools do with blocks. */
#include "base/mem.h"
#include <stdio.h>
#include "tests/unit.h"

/* splitmix64: the tests need numbers that are the same each time */
static uint64_t rnd(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

START_TEST(xalloc_zeroes_and_accepts_nothing)
{
	char *p = xalloc(100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(p[i], 0);
	free(p);
	p = xalloc(0);
	ck_assert_ptr_nonnull(p);
	free(p);
	p = xstrndup("abcdef", 3);
	ck_assert_str_eq(p, "abc");
	free(p);
	p = xasprintf("%d-%s", 7, "x");
	ck_assert_str_eq(p, "7-x");
	free(p);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* which ends the process in its own way */
START_TEST(xalloc_dies_when_the_system_refuses)
{
	volatile size_t n = PTRDIFF_MAX;
	if (!freopen("/dev/null", "w", stderr))
		return;
	xalloc(n);
}
END_TEST
#endif

START_TEST(account_counts_to_the_last_byte_of_its_limit)
{
	struct account root, app;
	account_init(&root, NULL, "root", SIZE_MAX);
	account_init(&app, &root, "app", 1000);
	ck_assert(mem_try(&app, 999));
	ck_assert(mem_try(&app, 1));
	ck_assert(!mem_try(&app, 1));
	ck_assert_uint_eq(app.used, 1000);
	ck_assert_uint_eq(app.refused, 1);
	ck_assert_uint_eq(root.refused, 0);
	ck_assert_uint_eq(root.used, 1000); /* no more is taken than the limit lets it use */
	mem_give(&app, 1);
	ck_assert(mem_try(&app, 1));
	mem_give(&app, 1000);
	ck_assert_uint_eq(app.peak, 1000);
	account_end(&app);
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
}
END_TEST

START_TEST(account_says_no_for_the_limit_of_an_ancestor)
{
	struct account root, app, conn, brother;
	account_init(&root, NULL, "root", 10000);
	account_init(&app, &root, "app", SIZE_MAX);
	account_init(&conn, &app, "conn", SIZE_MAX);
	account_init(&brother, &app, "brother", SIZE_MAX);
	/* 10000 is no multiple of the granule: the last bytes are given exactly */
	ck_assert(mem_try(&conn, 9999));
	ck_assert(!mem_try(&conn, 2));
	ck_assert(!mem_try(&brother, 2));
	ck_assert_uint_eq(conn.refused, 1);
	ck_assert_uint_eq(brother.refused, 1);
	ck_assert_uint_eq(app.refused, 2);
	ck_assert_uint_eq(root.refused, 2);
	mem_give(&conn, 9999);
	ck_assert_uint_le(root.used, 4 * MEM_SLACK); /* conn and app may each hold back a little, no more */
	account_end(&conn);
	ck_assert(mem_try(&brother, 10000 - MEM_SLACK));
	mem_give(&brother, 10000 - MEM_SLACK);
	account_end(&brother);
	account_end(&app);
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
}
END_TEST

START_TEST(account_is_not_fooled_by_sizes_that_wrap)
{
	struct account root, app;
	account_init(&root, NULL, "root", SIZE_MAX);
	account_init(&app, &root, "app", SIZE_MAX);
	ck_assert(mem_try(&app, 100));
	ck_assert(!mem_try(&app, SIZE_MAX));
	ck_assert(!mem_try(&app, SIZE_MAX - 99));
	ck_assert_uint_eq(app.used, 100);
	ck_assert_ptr_null(acct_alloc(&app, SIZE_MAX));
	ck_assert_ptr_null(acct_alloc(&app, SIZE_MAX - 15));
	ck_assert_uint_eq(app.used, 100);
	mem_give(&app, 100);
	account_end(&app);
	account_end(&root);
}
END_TEST

START_TEST(account_forced_above_its_limit_refuses_until_it_is_below)
{
	struct account root, app;
	account_init(&root, NULL, "root", 5000);
	account_init(&app, &root, "app", 1000);
	mem_force(&app, 6000);
	ck_assert_uint_eq(app.used, 6000);
	ck_assert(account_above(&app, 1000));
	ck_assert(root.used >= 6000);
	ck_assert(!mem_try(&app, 0) || app.used == 6000); /* nothing may be charged for nothing */
	ck_assert(!mem_try(&app, 1));
	mem_give(&app, 5500);
	ck_assert(mem_try(&app, 500));
	ck_assert(!mem_try(&app, 1));
	mem_give(&app, 1000);
	account_end(&app);
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
}
END_TEST

START_TEST(account_end_with_a_debt_is_a_bug)
{
	struct account root;
	if (!freopen("/dev/null", "w", stderr))
		return;
	account_init(&root, NULL, "root", SIZE_MAX);
	(void)!mem_try(&root, 1);
	account_end(&root);
}
END_TEST

START_TEST(giving_twice_is_a_bug)
{
	struct account root;
	if (!freopen("/dev/null", "w", stderr))
		return;
	account_init(&root, NULL, "root", SIZE_MAX);
	(void)!mem_try(&root, 10);
	mem_give(&root, 10);
	mem_give(&root, 1);
}
END_TEST

START_TEST(charge_climbs_to_the_parent_when_its_account_ends)
{
	struct account root, conn;
	struct charge a, b, c;
	account_init(&root, NULL, "root", SIZE_MAX);
	account_init(&conn, &root, "conn", SIZE_MAX);
	ck_assert(mem_try(&conn, 600));
	charge_begin(&a, &conn, 100);
	charge_begin(&b, &conn, 200);
	charge_begin(&c, &conn, 300);
	charge_end(&b); /* out of the middle */
	ck_assert_uint_eq(conn.used, 400);
	account_end(&conn);
	ck_assert_ptr_eq(a.account, &root);
	ck_assert_ptr_eq(c.account, &root);
	ck_assert_uint_eq(root.used, 400);
	charge_end(&a);
	charge_end(&c);
	charge_end(&c); /* none any more */
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
}
END_TEST

/* The answer that the tree must give, said from its state alone. */
static bool model_allows(const struct account *a, size_t n)
{
	for (; a; a = a->parent) {
		if (a->used > a->limit || n > a->limit - a->used)
			return false;
		if (a->used + n <= a->taken && a->parent)
			return true;
		n = a->used + n > a->taken ? a->used + n - a->taken : 0;
	}
	return true;
}

enum { APPS = 3, CONNS = 4 };
struct tree { struct account root, app[APPS], conn[APPS][CONNS]; size_t own[APPS][CONNS], app_own[APPS]; };

/* Told by its value: millions of ck_assert would take seconds. */
static bool tree_is_sound(const struct tree *t, bool forced)
{
	bool ok = true;
	size_t root = 0;
	for (int i = 0; i < APPS; i++) {
		size_t app = t->app_own[i];
		for (int j = 0; j < CONNS; j++) {
			const struct account *c = &t->conn[i][j];
			ok &= c->used == t->own[i][j] && c->used <= c->taken && c->taken - c->used <= MEM_SLACK;
			ok &= forced || c->used <= c->limit;
			app += c->taken;
		}
		ok &= t->app[i].used == app && app <= t->app[i].taken;
		ok &= forced || app <= t->app[i].limit;
		root += t->app[i].taken;
	}
	return ok && t->root.used == root && (forced || root <= t->root.limit);
}

START_TEST(account_tree_agrees_with_the_model_in_100_random_lives)
{
	for (uint64_t seed = 1; seed <= 100; seed++) {
		uint64_t s = seed;
		struct tree t = {0};
		bool forced = false;
		size_t limits[] = {SIZE_MAX, 1000, 5000, 4096, 40000, 100001};
		unsigned said_no = 0;
		account_init(&t.root, NULL, "root", rnd(&s) % 2 ? 60000 + rnd(&s) % 60000 : SIZE_MAX);
		for (int i = 0; i < APPS; i++) {
			account_init(&t.app[i], &t.root, "app", rnd(&s) % 2 ? 20000 + rnd(&s) % 40000 : SIZE_MAX);
			for (int j = 0; j < CONNS; j++)
				account_init(&t.conn[i][j], &t.app[i], "conn", limits[rnd(&s) % UNIT_COUNT(limits)]);
		}
		for (int step = 0; step < 2000; step++) {
			int i = (int)(rnd(&s) % APPS), j = (int)(rnd(&s) % CONNS);
			bool at_app = rnd(&s) % 8 == 0;
			struct account *a = at_app ? &t.app[i] : &t.conn[i][j];
			size_t *own = at_app ? &t.app_own[i] : &t.own[i][j];
			size_t n = rnd(&s) % 3 ? rnd(&s) % 300 : rnd(&s) % 20000;
			unsigned what = (unsigned)(rnd(&s) % 16);
			if (what < 9) {
				bool expect = model_allows(a, n);
				uint64_t refused = a->refused;
				bool yes = mem_try(a, n);
				if (yes != expect || a->refused != refused + !yes)
					ck_abort_msg("seed %lu step %d: said %d of %zu bytes", (unsigned long)seed, step, yes, n);
				*own += yes ? n : 0;
				said_no += !yes;
			} else if (what < 15) {
				n = *own ? rnd(&s) % (*own + 1) : 0;
				mem_give(a, n);
				*own -= n;
			} else if (seed % 2) {
				forced = true;
				mem_force(a, n / 8);
				*own += n / 8;
			}
			if (!tree_is_sound(&t, forced))
				ck_abort_msg("seed %lu step %d: the sums are wrong", (unsigned long)seed, step);
		}
		ck_assert(said_no > 0 || t.root.limit == SIZE_MAX);
		for (int i = 0; i < APPS; i++) {
			for (int j = 0; j < CONNS; j++) {
				mem_give(&t.conn[i][j], t.own[i][j]);
				account_end(&t.conn[i][j]);
			}
			mem_give(&t.app[i], t.app_own[i]);
			ck_assert_uint_eq(t.app[i].used, 0);
			account_end(&t.app[i]);
		}
		ck_assert_uint_eq(t.root.used, 0);
		account_end(&t.root);
	}
}
END_TEST

START_TEST(acct_alloc_gives_back_what_it_took_and_keeps_what_it_may_not_grow)
{
	struct account a;
	account_init(&a, NULL, "a", 1000);
	char *p = acct_alloc(&a, 100);
	memset(p, 'x', 100);
	size_t head = a.used - 100;
	p = acct_realloc(&a, p, 500);
	ck_assert_uint_eq(a.used, 500 + head);
	ck_assert_int_eq(p[99], 'x');
	ck_assert_ptr_null(acct_realloc(&a, p, 2000));
	ck_assert_int_eq(p[99], 'x');
	ck_assert_uint_eq(a.used, 500 + head);
	p = acct_realloc(&a, p, 10);
	ck_assert_uint_eq(a.used, 10 + head);
	ck_assert_ptr_null(acct_alloc(&a, 990));
	acct_free(&a, p);
	acct_free(&a, NULL);
	ck_assert_uint_eq(a.used, 0);
	p = acct_realloc(&a, NULL, 5);
	ck_assert_ptr_nonnull(p);
	acct_free(&a, p);
	account_end(&a);
}
END_TEST

START_TEST(arena_gives_aligned_memory_that_does_not_overlap)
{
	struct account a;
	struct arena ar;
	uint64_t s = 7;
	unsigned char *got[500];
	size_t size[500];
	account_init(&a, NULL, "a", SIZE_MAX);
	arena_init(&ar, &a);
	for (int i = 0; i < 500; i++) {
		size[i] = i % 50 == 0 ? 100000 : rnd(&s) % 400;
		got[i] = arena_alloc(&ar, size[i]);
		ck_assert_ptr_nonnull(got[i]);
		ck_assert_uint_eq((uintptr_t)got[i] % 8, 0);
		memset(got[i], i & 255, size[i]);
	}
	size_t wrong = 0;
	for (int i = 0; i < 500; i++)
		for (size_t j = 0; j < size[i]; j++)
			wrong += got[i][j] != (i & 255);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(a.used, ar.total);
	arena_reset(&ar);
	ck_assert_uint_eq(a.used, 0);
	ck_assert_str_eq(arena_strndup(&ar, "hello world", 5), "hello");
	arena_reset(&ar);
	arena_reset(&ar);
	account_end(&a);
}
END_TEST

START_TEST(arena_stays_usable_after_its_account_said_no)
{
	struct account a;
	struct arena ar;
	account_init(&a, NULL, "a", 3 * ARENA_BLOCK);
	arena_init(&ar, &a);
	ck_assert_ptr_null(arena_alloc(&ar, SIZE_MAX));
	ck_assert_ptr_null(arena_strndup(&ar, "x", SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&ar, 4 * ARENA_BLOCK));
	ck_assert_ptr_nonnull(arena_alloc(&ar, 100));
	ck_assert_ptr_null(arena_alloc(&ar, 3 * ARENA_BLOCK));
	size_t n = 0;
	while (arena_alloc(&ar, 1000) && n < 100)
		n++;
	ck_assert_uint_eq(n, 5); /* three blocks: also the last one, though doubling would have asked for too much */
	arena_reset(&ar);
	ck_assert_uint_eq(a.used, 0);
	account_end(&a);
}
END_TEST

START_TEST(pool_recycles_zeroes_and_holds_back_only_what_it_may_keep)
{
	struct pool_mem p;
	void *o[10];
	pool_mem_init(&p, 40, 3);
	for (int i = 0; i < 10; i++) {
		o[i] = pool_mem_get(&p);
		memset(o[i], 0xff, 40);
	}
	ck_assert_uint_eq(p.live, 10);
	for (int i = 0; i < 10; i++)
		pool_mem_put(&p, o[i]);
	pool_mem_put(&p, NULL);
	ck_assert_uint_eq(p.live, 0);
	ck_assert_uint_eq(p.free_count, p.keep);
	ck_assert_uint_le(p.keep, 3);
	char *z = pool_mem_get(&p);
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(z[i], 0);
	pool_mem_put(&p, z);
	pool_mem_trim(&p, 1);
	ck_assert_uint_le(p.free_count, 1);
	pool_mem_end(&p);
	ck_assert_uint_eq(p.free_count, 0);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("mem");
	TCase *t = tcase_create("mem");
	tcase_add_test(t, xalloc_zeroes_and_accepts_nothing);
	tcase_add_test(t, account_counts_to_the_last_byte_of_its_limit);
	tcase_add_test(t, account_says_no_for_the_limit_of_an_ancestor);
	tcase_add_test(t, account_is_not_fooled_by_sizes_that_wrap);
	tcase_add_test(t, account_forced_above_its_limit_refuses_until_it_is_below);
	tcase_add_test(t, charge_climbs_to_the_parent_when_its_account_ends);
	tcase_add_test(t, account_tree_agrees_with_the_model_in_100_random_lives);
	tcase_add_test(t, acct_alloc_gives_back_what_it_took_and_keeps_what_it_may_not_grow);
	tcase_add_test(t, arena_gives_aligned_memory_that_does_not_overlap);
	tcase_add_test(t, arena_stays_usable_after_its_account_said_no);
	tcase_add_test(t, pool_recycles_zeroes_and_holds_back_only_what_it_may_keep);
#ifndef __SANITIZE_ADDRESS__
	tcase_add_test_raise_signal(t, xalloc_dies_when_the_system_refuses, 6);
#endif
	tcase_add_test_raise_signal(t, account_end_with_a_debt_is_a_bug, 6);
	tcase_add_test_raise_signal(t, giving_twice_is_a_bug, 6);
	suite_add_tcase(s, t);
	return s;
}
