/* conf/endpoint_meta: what is kept of endpoints' metadata, each distinct one once, and what it says about TLS.
 *
 *   endpoint_metas 1 --- n endpoint_meta (counted by the blocks that name it)
 *
 * One that nobody counts yet is kept in a ring of the fresh ones until ENDPOINT_META_FRESH others have come, so that who builds a set may
 * look it up and put it without a reference of its own. Pairs are sorted: control planes write maps in any order. */
#include "conf/endpoints_int.h"

#include <stdlib.h>

#include "base/map.h"

/* What the table needs for an entry: a slot, at most half of them used. */
enum { TABLE_SHARE = 2 * sizeof(struct map_slot) };

struct endpoint_metas {
	struct account *account; /* borrowed */
	struct map by_text;
	struct endpoint_meta *fresh[ENDPOINT_META_FRESH]; /* NULL: free place; refs may be more than 0 meanwhile */
	uint32_t next_fresh;
	size_t charged; /* to the account */
	bool ended; /* goes with its last entry */
};

/* text: the pairs one after the other, "key\0value\0"; lengths beside them, for a value may hold any byte. Also the key in the table. */
struct endpoint_meta {
	struct endpoint_metas *all; /* its owner */
	uint32_t refs;
	bool is_fresh;
	uint32_t npairs;
	uint64_t hash;
	size_t size; /* of the key below */
	char key[]; /* npairs of {u32 key length, u32 value length}, then the text */
};

struct endpoint_metas *endpoint_metas_new(struct account *a, uint64_t seed)
{
	struct endpoint_metas *m = xnew(struct endpoint_metas);

	m->account = a;
	map_init_borrowed(&m->by_text, seed);
	return m;
}

static void metas_end(struct endpoint_metas *all)
{
	map_end(&all->by_text);
	free(all);
}

static size_t meta_cost(const struct endpoint_meta *m)
{
	return sizeof(*m) + m->size + TABLE_SHARE;
}

static void meta_free(struct endpoint_meta *m)
{
	struct endpoint_metas *all = m->all;

	map_del(&all->by_text, str_n(m->key, m->size));
	if (all->account) {
		all->charged -= meta_cost(m);
		mem_give(all->account, meta_cost(m));
	}
	free(m);
	if (all->ended && !map_count(&all->by_text))
		metas_end(all);
}

/* Sets that are still in use (a cluster serves its last calls) keep their entries, and those the table; the account is free of them. */
void endpoint_metas_free(struct endpoint_metas **pm)
{
	struct endpoint_metas *all = *pm;

	*pm = NULL;
	if (!all)
		return;
	for (uint32_t i = 0; i < ENDPOINT_META_FRESH; i++) {
		struct endpoint_meta *m = all->fresh[i];

		if (!m)
			continue;
		m->is_fresh = false;
		if (!m->refs)
			meta_free(m);
	}
	if (all->account)
		mem_give(all->account, all->charged);
	all->account = NULL;
	all->ended = true;
	if (!map_count(&all->by_text))
		metas_end(all);
}

struct endpoint_meta *endpoint_meta_ref(struct endpoint_meta *m)
{
	if (m)
		m->refs++;
	return m;
}

void endpoint_meta_unref(struct endpoint_meta *m)
{
	if (m && --m->refs == 0 && !m->is_fresh)
		meta_free(m);
}

static void make_fresh(struct endpoint_metas *all, struct endpoint_meta *m)
{
	struct endpoint_meta **place = &all->fresh[all->next_fresh];

	if (m->is_fresh)
		return;
	all->next_fresh = (all->next_fresh + 1) % ENDPOINT_META_FRESH;
	if (*place) {
		(*place)->is_fresh = false;
		if (!(*place)->refs)
			meta_free(*place);
	}
	*place = m;
	m->is_fresh = true;
}

static int text_order(struct str a, struct str b)
{
	int order = memcmp(a.p ? a.p : "", b.p ? b.p : "", a.n < b.n ? a.n : b.n);

	return order ? order : a.n < b.n ? -1 : a.n > b.n;
}

static void sort_pairs(const struct str *pairs, uint32_t npairs, uint8_t order[ENDPOINT_META_PAIRS])
{
	for (uint32_t i = 0; i < npairs; i++) {
		uint32_t at = i;

		for (; at > 0; at--) {
			const struct str *before = &pairs[2 * order[at - 1]];
			int is = text_order(before[0], pairs[2 * i]);

			if (is < 0 || (is == 0 && text_order(before[1], pairs[2 * i + 1]) <= 0))
				break;
			order[at] = order[at - 1];
		}
		order[at] = (uint8_t)i;
	}
}

static char *put_text(char *to, struct str s)
{
	if (s.n)
		memcpy(to, s.p, s.n);
	to[s.n] = '\0';
	return to + s.n + 1;
}

struct endpoint_meta *endpoint_meta_get(struct endpoint_metas *all, const struct str *pairs, uint32_t npairs)
{
	uint8_t order[ENDPOINT_META_PAIRS];
	size_t size = npairs * 2 * sizeof(uint32_t);
	struct endpoint_meta *m, *known;
	char *text;

	if (npairs > ENDPOINT_META_PAIRS)
		return NULL;
	/* The key is made before it is asked for: what a peer sizes here is a copy of what it sent, which is charged already. */
	for (uint32_t i = 0; i < 2 * npairs; i++) {
		if (pairs[i].n > UINT32_MAX / 256)
			return NULL;
		size += pairs[i].n + 1;
	}
	m = malloc(sizeof(*m) + size);
	if (!m)
		return NULL;
	*m = (struct endpoint_meta){.all = all, .npairs = npairs, .size = size};
	sort_pairs(pairs, npairs, order);
	text = m->key + npairs * 2 * sizeof(uint32_t);
	for (uint32_t i = 0; i < npairs; i++) {
		const struct str *pair = &pairs[2 * order[i]];
		const uint32_t lengths[2] = {(uint32_t)pair[0].n, (uint32_t)pair[1].n};

		memcpy(m->key + i * sizeof(lengths), lengths, sizeof(lengths));
		text = put_text(put_text(text, pair[0]), pair[1]);
	}
	known = map_get(&all->by_text, str_n(m->key, size));
	if (known || (all->account && !mem_try(all->account, meta_cost(m)))) {
		free(m);
		if (known && !known->refs)
			make_fresh(all, known);
		return known;
	}
	if (all->account)
		all->charged += meta_cost(m);
	m->hash = str_hash(str_n(m->key, size));
	map_put(&all->by_text, str_n(m->key, size), m);
	make_fresh(all, m);
	return m;
}

uint64_t endpoint_meta_hash(const struct endpoint_meta *m)
{
	return m->hash;
}

const char *endpoint_meta_value(const struct endpoint_meta *m, const char *key)
{
	const char *at;

	if (!m)
		return NULL;
	at = m->key + m->npairs * 2 * sizeof(uint32_t);
	for (uint32_t i = 0; i < m->npairs; i++) {
		uint32_t lengths[2];

		memcpy(lengths, m->key + i * sizeof(lengths), sizeof(lengths));
		if (str_is(str_n(at, lengths[0]), key))
			return at + lengths[0] + 1;
		at += (size_t)lengths[0] + lengths[1] + 2;
	}
	return NULL;
}

uint32_t endpoint_meta_pairs(const struct endpoint_meta *m, struct str *pairs, uint32_t max)
{
	const char *at;

	if (!m)
		return 0;
	at = m->key + m->npairs * 2 * sizeof(uint32_t);
	for (uint32_t i = 0; i < m->npairs && i < max; i++) {
		uint32_t lengths[2];

		memcpy(lengths, m->key + i * sizeof(lengths), sizeof(lengths));
		pairs[2 * i] = str_n(at, lengths[0]);
		pairs[2 * i + 1] = str_n(at + lengths[0] + 1, lengths[1]);
		at += (size_t)lengths[0] + lengths[1] + 2;
	}
	return m->npairs;
}

/* What rows are held against: an endpoint's metadata, or pairs. */
struct said {
	const struct endpoint_meta *meta;
	const struct tls_pair *pairs;
	uint32_t npairs;
};

static const char *said_value(const struct said *said, const char *key)
{
	for (uint32_t i = 0; i < said->npairs; i++)
		if (strcmp(said->pairs[i].key, key) == 0)
			return said->pairs[i].value;
	return endpoint_meta_value(said->meta, key);
}

static bool row_matches(const struct tls_row *row, const struct said *said)
{
	for (uint32_t i = 0; i < row->npairs; i++) {
		const char *value = said_value(said, row->pairs[i].key);

		if (!value || strcmp(value, row->pairs[i].value) != 0)
			return false;
	}
	return true; /* a row without pairs is everybody's */
}

static struct tls_want *want_of(const struct cluster_spec *spec, const struct said *said, const char **ret_row)
{
	const char *row = spec->tls_name;
	struct tls_want *want = spec->want;

	for (uint32_t i = 0; i < spec->ntls; i++)
		if (row_matches(&spec->tls[i], said)) {
			row = spec->tls[i].name;
			want = spec->tls[i].want;
			break;
		}
	if (ret_row)
		*ret_row = row;
	return want;
}

struct tls_want *endpoint_want(const struct cluster_spec *spec, const struct endpoint_meta *meta, const char **ret_row)
{
	return want_of(spec, &(struct said){.meta = meta}, ret_row);
}

struct tls_want *endpoint_want_by(const struct cluster_spec *spec, const struct tls_pair *pairs, uint32_t npairs, const char **ret_row)
{
	return want_of(spec, &(struct said){.pairs = pairs, .npairs = npairs}, ret_row);
}
