/* Chains: bytes come out as they went in, whatever happens to the slices in between, and the accounts agree at the end. */
#include "base/buf.h"
#include <errno.h>
#include "tests/unit.h"

static uint64_t rnd(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static struct buf_pool pool;
static struct account root, conn_a, conn_b;

static void begin(void)
{
	buf_pool_init(&pool);
	account_init(&root, NULL, "root", SIZE_MAX);
	account_init(&conn_a, &root, "a", SIZE_MAX);
	account_init(&conn_b, &root, "b", SIZE_MAX);
}

/* Each test must leave nothing behind: the asserts of the three ends are half of what is tested here. */
static void end(void)
{
	account_end(&conn_a);
	account_end(&conn_b);
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
	buf_pool_end(&pool);
}

static int slices(const struct chain *c)
{
	int n = 0;
	for (const struct slice *s = c->head; s; s = s->next)
		n++;
	return n;
}

static void is_text(const struct chain *c, const char *want)
{
	char got[256];
	size_t n = chain_peek(c, 0, got, sizeof(got) - 1);
	got[n] = '\0';
	ck_assert_str_eq(got, want);
	ck_assert_uint_eq(c->bytes, strlen(want));
}

START_TEST(chunk_is_charged_whole_and_pays_back_with_its_last_ref)
{
	struct chunk *c = chunk_new(&pool, &conn_a, 1);
	ck_assert_uint_eq(c->cap, CHUNK_SMALL);
	ck_assert_uint_eq(conn_a.used, sizeof(struct chunk) + CHUNK_SMALL);
	chunk_ref(c);
	chunk_unref(c);
	ck_assert_uint_eq(conn_a.used, sizeof(struct chunk) + CHUNK_SMALL);
	chunk_unref(c);
	ck_assert_uint_eq(conn_a.used, 0);
	ck_assert_uint_eq(pool.live, 0);
}
END_TEST

START_TEST(chunk_sizes_are_rounded_up)
{
	static const struct { size_t ask, cap; } rows[] = {
		{0, CHUNK_SMALL}, {2048, CHUNK_SMALL}, {2049, 4096}, {16384, 16384}, {16385, 32768},
		{65537, CHUNK_BIG}, {131072, CHUNK_BIG}, {131073, 135168}, {1000000, 1003520},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct chunk *c = chunk_new(&pool, NULL, rows[i].ask);
		ck_assert_uint_eq(c->cap, rows[i].cap);
		chunk_unref(c);
	}
	ck_assert_ptr_null(chunk_new(&pool, NULL, UINT32_MAX));
	ck_assert_ptr_null(chunk_new(&pool, NULL, SIZE_MAX));
}
END_TEST

START_TEST(pool_keeps_a_few_chunks_and_trims_to_none)
{
	struct chunk *c[100];
	for (int i = 0; i < 100; i++)
		c[i] = chunk_new(&pool, NULL, i % 2 ? CHUNK_BIG : CHUNK_SMALL);
	for (int i = 0; i < 100; i++)
		chunk_unref(c[i]);
	ck_assert_uint_eq(pool.n_big, pool.keep_big);
	ck_assert_uint_eq(pool.n_small, pool.keep_small < 50 ? pool.keep_small : 50);
	buf_pool_trim(&pool);
	ck_assert_uint_eq(pool.n_big + pool.n_small, 0);
	ck_assert_uint_eq(pool.nodes.free_count, 0);
	ck_assert_ptr_null(pool.free_big);
}
END_TEST

#ifndef __SANITIZE_ADDRESS__ /* with it nothing is kept */
START_TEST(pool_gives_the_same_chunk_and_slice_again)
{
	struct chain c = CHAIN_INIT;
	ck_assert_int_eq(chain_copy_in(&c, &pool, &conn_a, "x", 1), 0);
	struct slice *s = c.head;
	struct chunk *k = s->chunk;
	chain_clear(&c);
	ck_assert_int_eq(chain_copy_in(&c, &pool, &conn_a, "y", 1), 0);
	ck_assert_ptr_eq(c.head, s);
	ck_assert_ptr_eq(c.head->chunk, k);
	chain_clear(&c);
}
END_TEST
#endif

START_TEST(chunk_is_refused_at_the_limit_and_nothing_is_charged)
{
	conn_a.limit = 3000;
	struct chunk *c = chunk_new(&pool, &conn_a, 1);
	ck_assert_ptr_nonnull(c);
	ck_assert_ptr_null(chunk_new(&pool, &conn_a, 1));
	ck_assert_uint_eq(conn_a.used, sizeof(struct chunk) + CHUNK_SMALL);
	ck_assert_uint_eq(pool.live, 1);
	chunk_unref(c);
}
END_TEST

START_TEST(slices_that_follow_each_other_in_a_chunk_become_one)
{
	struct chain c = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, 100);
	memcpy(k->data, "abcdef", 6);
	chain_add(&c, k, k->data, 2);
	chain_add(&c, k, k->data + 2, 2);
	chain_add(&c, k, k->data + 4, 0);
	ck_assert_int_eq(slices(&c), 1);
	chain_add(&c, k, k->data + 5, 1);
	ck_assert_int_eq(slices(&c), 2);
	ck_assert_uint_eq(k->refs, 3);
	is_text(&c, "abcdf");
	chunk_unref(k);
	chain_drop(&c, 3);
	is_text(&c, "df");
	chain_drop(&c, 2);
	ck_assert_ptr_null(c.head);
	ck_assert_ptr_null(c.tail);
	ck_assert(chain_empty(&c));
}
END_TEST

START_TEST(small_copies_share_a_chunk_but_never_one_that_is_still_read_into)
{
	struct chain c = CHAIN_INIT, d = CHAIN_INIT;
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(chain_copy_in(&c, &pool, &conn_a, "0123456789", 10), 0);
	ck_assert_int_eq(slices(&c), 1);
	ck_assert_uint_eq(pool.live, 1);

	struct chunk *k = chunk_new(&pool, &conn_a, 100); /* the reader goes on writing behind "ab" */
	memcpy(k->data, "ab", 2);
	chain_add(&d, k, k->data, 2);
	ck_assert_int_eq(chain_copy_in(&d, &pool, &conn_a, "cd", 2), 0);
	memcpy(k->data + 2, "XX", 2);
	is_text(&d, "abcd");
	chunk_unref(k);
	chain_clear(&c);
	chain_clear(&d);
}
END_TEST

START_TEST(copy_of_another_account_does_not_use_a_paid_chunk)
{
	struct chain c = CHAIN_INIT;
	chain_copy_in(&c, &pool, &conn_a, "a", 1);
	chain_copy_in(&c, &pool, &conn_b, "b", 1);
	ck_assert_uint_eq(conn_b.used, conn_a.used);
	is_text(&c, "ab");
	chain_clear(&c);
}
END_TEST

START_TEST(copy_that_is_refused_half_way_adds_nothing)
{
	static char big[200000];
	struct chain c = CHAIN_INIT;
	chain_copy_in(&c, &pool, &conn_a, "hello", 5);
	conn_a.limit = 150000;
	ck_assert_int_eq(chain_copy_in(&c, &pool, &conn_a, big, sizeof(big)), -ENOMEM);
	is_text(&c, "hello");
	ck_assert_uint_eq(pool.live, 1);
	ck_assert_int_eq(chain_copy_in(&c, &pool, &conn_a, " you", 4), 0);
	is_text(&c, "hello you");
	chain_clear(&c);
}
END_TEST

START_TEST(moving_empties_the_source_and_splits_where_asked)
{
	struct chain a = CHAIN_INIT, b = CHAIN_INIT;
	chain_copy_in(&a, &pool, &conn_a, "abc", 3);
	chain_copy_in(&a, &pool, &conn_b, "def", 3);
	chain_move_n(&b, &a, 4);
	is_text(&b, "abcd");
	is_text(&a, "ef");
	chain_move_n(&b, &a, 100);
	is_text(&b, "abcdef");
	ck_assert_ptr_null(a.head);
	chain_move(&b, &a);
	is_text(&b, "abcdef");
	chain_move(&a, &b);
	is_text(&a, "abcdef");
	chain_clear(&a);
}
END_TEST

START_TEST(sharing_copies_no_byte)
{
	struct chain a = CHAIN_INIT, b = CHAIN_INIT;
	chain_copy_in(&a, &pool, &conn_a, "abc", 3);
	chain_share(&b, &a);
	ck_assert_ptr_eq(a.head->p, b.head->p);
	chain_copy_in(&a, &pool, &conn_a, "def", 3); /* b reads the chunk too: it must not see this */
	chain_clear(&a);
	is_text(&b, "abc");
	chain_share(&b, &b);
	is_text(&b, "abcabc");
	chain_clear(&b);
}
END_TEST

START_TEST(iov_respects_entries_and_limit)
{
	struct chain c = CHAIN_INIT;
	struct iovec v[4];
	chain_copy_in(&c, &pool, &conn_a, "abc", 3);
	chain_copy_in(&c, &pool, &conn_b, "defg", 4);
	chain_copy_in(&c, &pool, &conn_a, "h", 1);
	ck_assert_int_eq(chain_iov(&c, v, 4, 100), 3);
	ck_assert_int_eq(chain_iov(&c, v, 2, 100), 2);
	ck_assert_int_eq(chain_iov(&c, v, 4, 5), 2);
	ck_assert_uint_eq(v[1].iov_len, 2);
	ck_assert_int_eq(memcmp(v[1].iov_base, "de", 2), 0);
	ck_assert_int_eq(chain_iov(&c, v, 4, 0), 0);
	ck_assert_int_eq(chain_iov(&c, v, 0, 9), 0);
	chain_clear(&c);
	ck_assert_int_eq(chain_iov(&c, v, 4, 9), 0);
}
END_TEST

START_TEST(peek_starts_anywhere)
{
	struct chain c = CHAIN_INIT;
	char out[8] = "";
	chain_copy_in(&c, &pool, &conn_a, "abc", 3);
	chain_copy_in(&c, &pool, &conn_b, "def", 3);
	ck_assert_uint_eq(chain_peek(&c, 2, out, 3), 3);
	ck_assert_int_eq(memcmp(out, "cde", 3), 0);
	ck_assert_uint_eq(chain_peek(&c, 5, out, 3), 1);
	ck_assert_uint_eq(chain_peek(&c, 6, out, 3), 0);
	ck_assert_uint_eq(chain_peek(&c, 60, out, 3), 0);
	chain_clear(&c);
}
END_TEST

START_TEST(one_stalled_byte_does_not_hold_a_big_chunk)
{
	struct chain c = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG);
	memset(k->data, 'x', k->cap);
	chain_add(&c, k, k->data + 1000, 1);
	chunk_unref(k);
	ck_assert_int_eq(chain_settle(&c, &pool, &conn_b), 0);
	ck_assert_uint_eq(conn_a.used, 0);
	ck_assert_uint_eq(conn_b.used, sizeof(struct chunk) + CHUNK_SMALL);
	is_text(&c, "x");
	const char *p = c.head->p;
	ck_assert_int_eq(chain_settle(&c, &pool, &conn_b), 0); /* and settled is settled */
	ck_assert_ptr_eq(c.head->p, p);
	chain_clear(&c);
}
END_TEST

START_TEST(settling_gathers_what_trickles_in_into_few_chunks)
{
	struct chain c = CHAIN_INIT;
	for (int i = 0; i < 1000; i++) {
		struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG);
		memcpy(k->data, "abcd", 4);
		chain_add(&c, k, k->data, 4);
		chunk_unref(k);
		ck_assert_int_eq(chain_settle(&c, &pool, &conn_a), 0);
		ck_assert_uint_le(pool.live, 10);
	}
	ck_assert_uint_eq(c.bytes, 4000);
	chain_clear(&c);
}
END_TEST

START_TEST(settling_moves_the_charge_of_a_chunk_that_is_all_ours)
{
	struct chain c = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG);
	chain_add(&c, k, k->data, 40000);
	chain_add(&c, k, k->data + 60000, 40000);
	chunk_unref(k);
	size_t all = conn_a.used;
	ck_assert_int_eq(chain_settle(&c, &pool, &conn_b), 0);
	ck_assert_uint_eq(conn_a.used, 0);
	ck_assert_uint_eq(conn_b.used, all);
	ck_assert_ptr_eq(c.head->chunk, k);
	chain_clear(&c);
}
END_TEST

START_TEST(chunk_of_two_holders_stays_with_its_first_account_and_outlives_it)
{
	struct chain c = CHAIN_INIT, d = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG);
	chain_add(&c, k, k->data, 40000);
	chain_add(&d, k, k->data + 40000, 40000);
	chunk_unref(k);
	size_t all = conn_a.used;
	ck_assert_int_eq(chain_settle(&c, &pool, &conn_a), 0);
	ck_assert_int_eq(chain_settle(&d, &pool, &conn_b), 0);
	ck_assert_uint_eq(conn_a.used, all);
	ck_assert_uint_eq(conn_b.used, 0);
	chain_clear(&c);
	account_end(&conn_a); /* the connection that read it goes first */
	ck_assert_uint_eq(root.used, all);
	ck_assert_int_eq(chain_settle(&d, &pool, &conn_b), 0); /* now nobody else holds it */
	ck_assert_uint_eq(conn_b.used, all);
	chain_clear(&d);
	account_init(&conn_a, &root, "a", SIZE_MAX);
}
END_TEST

START_TEST(settling_that_is_refused_leaves_the_chain_as_it_was)
{
	struct chain c = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG), *l = chunk_new(&pool, &conn_a, CHUNK_BIG);
	memset(k->data, 'k', k->cap);
	memset(l->data, 'l', l->cap);
	chain_add(&c, k, k->data, 60000);
	chain_add(&c, l, l->data, 10);
	chunk_unref(k);
	chunk_unref(l);
	size_t used = conn_a.used;
	for (size_t limit = 0; limit < 135000; limit += 1000) { /* no room for the move, then none for the copy */
		conn_b.limit = limit;
		if (chain_settle(&c, &pool, &conn_b) == 0) {
			ck_assert_uint_ge(limit, 132000);
			break;
		}
		ck_assert_uint_eq(conn_a.used, used);
		ck_assert_uint_eq(conn_b.used, 0);
		ck_assert_ptr_eq(c.head->chunk, k);
		ck_assert_ptr_eq(c.tail->chunk, l);
		ck_assert_uint_eq(c.bytes, 60010);
	}
	chain_clear(&c);
}
END_TEST

/* ---- pieces ---- */

START_TEST(sealed_pieces_stay_apart_whatever_is_done_to_their_chain)
{
	enum { N = 20 };
	struct chain a = CHAIN_INIT, b = CHAIN_INIT, c = CHAIN_INIT;
	bool sealed;
	for (uint32_t i = 0; i < N; i++) { /* of i + 1 bytes each, in one small chunk */
		ck_assert_int_eq(chain_copy_in(&a, &pool, &conn_a, "abcdefghijklmnopqrstuvwxyz", i + 1), 0);
		chain_seal(&a);
	}
	ck_assert_uint_eq(pool.live, 1);
	chain_share(&b, &a);
	ck_assert_int_eq(chain_settle(&b, &pool, &conn_b), 0);
	chain_move_n(&c, &b, 4); /* one, two, and a byte of three */
	chain_move(&c, &b);
	for (struct chain *t = &a; t; t = t == &a ? &c : NULL) {
		for (uint32_t i = 0; i < N; i++) {
			ck_assert_uint_eq(chain_piece(t, 1000, &sealed), i + 1);
			ck_assert(sealed);
			chain_drop(t, i + 1);
		}
		ck_assert_uint_eq(chain_piece(t, 1000, &sealed), 0);
		ck_assert(!sealed);
	}
}
END_TEST

START_TEST(a_piece_that_is_not_sealed_goes_on_and_none_is_looked_at_beyond_what_was_asked)
{
	struct chain c = CHAIN_INIT;
	bool sealed;
	chain_seal(&c); /* nothing to seal */
	chain_copy_in(&c, &pool, &conn_a, "abc", 3);
	chain_copy_in(&c, &pool, &conn_b, "def", 3);
	ck_assert_uint_eq(chain_piece(&c, 1000, &sealed), 6);
	ck_assert(!sealed);
	ck_assert_uint_eq(chain_piece(&c, 2, &sealed), 3);
	chain_seal(&c);
	chain_copy_in(&c, &pool, &conn_b, "g", 1);
	ck_assert_uint_eq(chain_piece(&c, 1000, &sealed), 6);
	ck_assert(sealed);
	is_text(&c, "abcdefg");
	chain_clear(&c);
}
END_TEST

START_TEST(very_many_very_small_pieces_are_joined_when_they_must_wait)
{
	struct chain c = CHAIN_INIT;
	struct chunk *k = chunk_new(&pool, &conn_a, CHUNK_BIG);
	for (uint32_t i = 0; i < 10000; i++) { /* a byte a frame, ten on the wire */
		k->data[i * 10] = (char)i;
		chain_add(&c, k, k->data + i * 10, 1);
		chain_seal(&c);
	}
	chunk_unref(k);
	ck_assert_int_eq(chain_settle(&c, &pool, &conn_a), 0);
	ck_assert_int_le(slices(&c), 1000);
	ck_assert_int_ge(slices(&c), 128);
	ck_assert_uint_lt(conn_a.used, 20000);
	for (uint32_t i = 0; i < 10000; i++) {
		char x;
		chain_peek(&c, i, &x, 1);
		ck_assert_int_eq(x, (char)i);
	}
	chain_clear(&c);
}
END_TEST

/* ---- against a model ---- */

enum { CHAINS = 4, MODEL = 400000 };
struct model { unsigned char *p; size_t n; };

static bool model_agrees(const struct chain *c, const struct model *m)
{
	static unsigned char got[MODEL];
	size_t sum = 0;
	const struct slice *last = NULL;
	if (c->bytes != m->n || chain_peek(c, 0, got, sizeof(got)) != m->n || memcmp(got, m->p, m->n) != 0)
		return false;
	for (const struct slice *s = c->head; s; last = s, s = s->next) {
		if (s->n == 0)
			return false;
		sum += s->n;
	}
	return sum == c->bytes && last == c->tail;
}

START_TEST(chains_agree_with_plain_bytes_in_60_random_lives)
{
	static unsigned char noise[70000];
	struct model m[CHAINS];
	for (int i = 0; i < CHAINS; i++)
		m[i].p = malloc(MODEL);
	for (uint64_t seed = 1; seed <= 60; seed++) {
		uint64_t s = seed;
		struct chain c[CHAINS] = {0};
		struct account *accounts[] = {&conn_a, &conn_b, NULL};
		conn_a.limit = seed % 3 ? SIZE_MAX : 200000;
		conn_b.limit = seed % 2 ? SIZE_MAX : 100000;
		for (int i = 0; i < CHAINS; i++)
			m[i].n = 0;
		for (int step = 0; step < 600; step++) {
			int i = (int)(rnd(&s) % CHAINS), j = (int)(rnd(&s) % CHAINS);
			struct account *a = accounts[rnd(&s) % 3];
			size_t n = rnd(&s) % 4 ? rnd(&s) % 600 : rnd(&s) % sizeof(noise);
			for (size_t b = 0; b < 64; b++)
				noise[rnd(&s) % sizeof(noise)] = (unsigned char)rnd(&s);
			if (rnd(&s) % 8 == 0)
				chain_seal(&c[j]);
			switch (rnd(&s) % 9) {
			case 0:
				if (m[i].n + n <= MODEL && chain_copy_in(&c[i], &pool, a, noise, n) == 0) {
					memcpy(m[i].p + m[i].n, noise, n);
					m[i].n += n;
				}
				break;
			case 1: { /* a read: one chunk, cut into slices for several chains */
				struct chunk *k = chunk_new(&pool, a, n);
				if (!k)
					break;
				memcpy(k->data, noise, n);
				for (size_t at = 0, cut; at < n; at += cut) {
					int t = (int)(rnd(&s) % CHAINS);
					cut = 1 + rnd(&s) % (n - at);
					if (m[t].n + cut > MODEL)
						continue;
					chain_add(&c[t], k, k->data + at, cut);
					memcpy(m[t].p + m[t].n, noise + at, cut);
					m[t].n += cut;
				}
				chunk_unref(k);
				break;
			}
			case 2:
				if (i == j || m[i].n + m[j].n > MODEL)
					break;
				chain_move(&c[i], &c[j]);
				memcpy(m[i].p + m[i].n, m[j].p, m[j].n);
				m[i].n += m[j].n;
				m[j].n = 0;
				break;
			case 3:
				n = n < m[j].n ? n : m[j].n;
				if (i == j || m[i].n + n > MODEL)
					break;
				chain_move_n(&c[i], &c[j], n);
				memcpy(m[i].p + m[i].n, m[j].p, n);
				m[i].n += n;
				m[j].n -= n;
				memmove(m[j].p, m[j].p + n, m[j].n);
				break;
			case 4:
				if (m[i].n + m[j].n > MODEL)
					break;
				chain_share(&c[i], &c[j]);
				memmove(m[i].p + m[i].n, m[j].p, m[j].n);
				m[i].n += m[j].n;
				break;
			case 5:
			case 6:
				n = n < m[i].n ? n : m[i].n;
				chain_drop(&c[i], n);
				m[i].n -= n;
				memmove(m[i].p, m[i].p + n, m[i].n);
				break;
			case 7:
				(void)chain_settle(&c[i], &pool, a);
				break;
			default:
				if (rnd(&s) % 4 == 0) {
					chain_clear(&c[i]);
					m[i].n = 0;
				}
			}
			if (!model_agrees(&c[i], &m[i]) || !model_agrees(&c[j], &m[j]) || conn_a.used > conn_a.limit || conn_b.used > conn_b.limit)
				ck_abort_msg("seed %lu step %d", (unsigned long)seed, step);
		}
		for (int i = 0; i < CHAINS; i++) {
			ck_assert(model_agrees(&c[i], &m[i]));
			chain_clear(&c[i]);
		}
		ck_assert_uint_eq(conn_a.used, 0);
		ck_assert_uint_eq(conn_b.used, 0);
		ck_assert_uint_eq(pool.live, 0);
		ck_assert_uint_eq(pool.nodes.live, 0);
	}
	for (int i = 0; i < CHAINS; i++)
		free(m[i].p);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {
		chunk_is_charged_whole_and_pays_back_with_its_last_ref,
		chunk_sizes_are_rounded_up,
		pool_keeps_a_few_chunks_and_trims_to_none,
#ifndef __SANITIZE_ADDRESS__
		pool_gives_the_same_chunk_and_slice_again,
#endif
		chunk_is_refused_at_the_limit_and_nothing_is_charged,
		slices_that_follow_each_other_in_a_chunk_become_one,
		small_copies_share_a_chunk_but_never_one_that_is_still_read_into,
		copy_of_another_account_does_not_use_a_paid_chunk,
		copy_that_is_refused_half_way_adds_nothing,
		moving_empties_the_source_and_splits_where_asked,
		sharing_copies_no_byte,
		iov_respects_entries_and_limit,
		peek_starts_anywhere,
		one_stalled_byte_does_not_hold_a_big_chunk,
		settling_gathers_what_trickles_in_into_few_chunks,
		settling_moves_the_charge_of_a_chunk_that_is_all_ours,
		chunk_of_two_holders_stays_with_its_first_account_and_outlives_it,
		settling_that_is_refused_leaves_the_chain_as_it_was,
		sealed_pieces_stay_apart_whatever_is_done_to_their_chain,
		a_piece_that_is_not_sealed_goes_on_and_none_is_looked_at_beyond_what_was_asked,
		very_many_very_small_pieces_are_joined_when_they_must_wait,
		chains_agree_with_plain_bytes_in_60_random_lives,
	};
	Suite *s = suite_create("buf");
	TCase *t = tcase_create("buf");
	tcase_add_checked_fixture(t, begin, end);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(s, t);
	return s;
}
