/* Maps, against a plain array that knows the truth. */
#include "base/map.h"
#include <stdio.h>
#include "base/mem.h"
#include "tests/unit.h"

static uint64_t rnd(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

START_TEST(map_gives_back_what_was_put)
{
	struct map m;
	int a, b;
	map_init(&m, 1);
	ck_assert_ptr_null(map_get(&m, STR("x")));
	ck_assert_ptr_null(map_del(&m, STR("x")));
	ck_assert_ptr_null(map_put(&m, STR("x"), &a));
	ck_assert_ptr_eq(map_put(&m, STR("x"), &b), &a);
	ck_assert_ptr_eq(map_get(&m, STR("x")), &b);
	ck_assert_ptr_null(map_get(&m, STR("X")));
	ck_assert_uint_eq(map_count(&m), 1);
	ck_assert_ptr_eq(map_del(&m, STR("x")), &b);
	ck_assert_ptr_null(map_get(&m, STR("x")));
	ck_assert_uint_eq(map_count(&m), 0);
	map_end(&m);
}
END_TEST

START_TEST(map_takes_any_bytes_as_key)
{
	struct map m;
	int v[4];
	map_init(&m, 9);
	map_put(&m, str_n("a\0b", 3), &v[0]);
	map_put(&m, str_n("a\0c", 3), &v[1]);
	map_put(&m, str_n("a", 1), &v[2]);
	map_put(&m, str_n(NULL, 0), &v[3]);
	ck_assert_ptr_eq(map_get(&m, str_n("a\0b", 3)), &v[0]);
	ck_assert_ptr_eq(map_get(&m, str_n("a\0c", 3)), &v[1]);
	ck_assert_ptr_eq(map_get(&m, str_n("a", 1)), &v[2]);
	ck_assert_ptr_eq(map_get(&m, str_n("", 0)), &v[3]);
	map_end(&m);
}
END_TEST

START_TEST(map_copies_its_keys_unless_they_are_borrowed)
{
	struct map m;
	char key[] = "key", again[] = "key";
	struct str got;
	uint32_t i = 0;
	map_init(&m, 3);
	map_put(&m, str_of(key), &m);
	key[0] = 'K';
	ck_assert_ptr_nonnull(map_get(&m, STR("key")));
	map_end(&m);

	map_init_borrowed(&m, 3);
	map_put(&m, str_of(again), &m);
	ck_assert(map_next(&m, &i, &got, NULL));
	ck_assert_ptr_eq(got.p, again);
	char third[] = "key";
	map_put(&m, str_of(third), &m); /* `again` may end with the value it came with */
	i = 0;
	ck_assert(map_next(&m, &i, &got, NULL));
	ck_assert_ptr_eq(got.p, third);
	map_end(&m);
}
END_TEST

enum { KEYS = 500 };

START_TEST(map_agrees_with_an_array_in_100_random_lives)
{
	static char value[KEYS][2];
	for (uint64_t seed = 1; seed <= 100; seed++) {
		uint64_t s = seed;
		struct map m;
		void *truth[KEYS] = {0};
		uint32_t count = 0;
		size_t keys = 1 + rnd(&s) % KEYS;
		map_init(&m, seed);
		for (int step = 0; step < 4000; step++) {
			size_t k = rnd(&s) % keys;
			char key[16];
			int n = snprintf(key, sizeof(key), "key-%zu", k);
			void *got, *v = &value[k][rnd(&s) % 2];
			switch (rnd(&s) % 4) {
			case 0:
			case 1:
				got = map_put(&m, str_n(key, (size_t)n), v);
				count += !got;
				if (got != truth[k])
					ck_abort_msg("seed %lu step %d: put", (unsigned long)seed, step);
				truth[k] = v;
				break;
			case 2:
				got = map_del(&m, str_n(key, (size_t)n));
				count -= got != NULL;
				if (got != truth[k])
					ck_abort_msg("seed %lu step %d: del", (unsigned long)seed, step);
				truth[k] = NULL;
				break;
			default:
				if (map_get(&m, str_n(key, (size_t)n)) != truth[k])
					ck_abort_msg("seed %lu step %d: get", (unsigned long)seed, step);
			}
			if (map_count(&m) != count || m.used > m.cap / 4 * 3)
				ck_abort_msg("seed %lu step %d: count", (unsigned long)seed, step);
		}
		void *v;
		struct str key;
		uint32_t seen = 0;
		for (uint32_t i = 0; map_next(&m, &i, &key, &v); seen++)
			ck_assert_ptr_eq(map_get(&m, key), v);
		ck_assert_uint_eq(seen, count);
		map_end(&m);
	}
}
END_TEST

START_TEST(map_may_lose_the_current_key_while_it_is_walked)
{
	struct map m;
	uint32_t seen = 0;
	map_init(&m, 5);
	for (int i = 0; i < 100; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i);
		map_put(&m, str_of(key), &m);
	}
	struct str key;
	for (uint32_t i = 0; map_next(&m, &i, &key, NULL); seen++) {
		char z[16]; /* the key dies with its entry */
		memcpy(z, key.p, key.n);
		ck_assert_ptr_eq(map_del(&m, str_n(z, key.n)), &m);
	}
	ck_assert_uint_eq(seen, 100);
	ck_assert_uint_eq(map_count(&m), 0);
	map_end(&m);
}
END_TEST

START_TEST(map_does_not_grow_by_coming_and_going)
{
	struct map m;
	map_init(&m, 5);
	for (int i = 0; i < 100000; i++) {
		char key[16];
		snprintf(key, sizeof(key), "%d", i);
		map_put(&m, str_of(key), &m);
		map_del(&m, str_of(key));
	}
	ck_assert_uint_le(m.cap, 8);
	map_end(&m);
}
END_TEST

UNIT_SUITE("map", map_gives_back_what_was_put, map_takes_any_bytes_as_key, map_copies_its_keys_unless_they_are_borrowed,
	   map_agrees_with_an_array_in_100_random_lives, map_may_lose_the_current_key_while_it_is_walked,
	   map_does_not_grow_by_coming_and_going)
