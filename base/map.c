/* base/map: open addressing with linear probing. Three kinds of slots: taken (value), grave (no value, hash 1), empty (no
 * value, hash 0). `used` counts taken and graves: together they stay below 3/4, so each probe ends at an empty slot. A
 * deletion only leaves a grave, which is why map_next goes on safely over a map whose current key is deleted. */
#include "base/map.h"
#include "base/mem.h"

enum { CAP_MIN = 8, GRAVE = 1 };

void map_init(struct map *m, uint64_t seed)
{
	*m = (struct map){.seed = seed};
}

void map_init_borrowed(struct map *m, uint64_t seed)
{
	*m = (struct map){.seed = seed, .borrowed = true};
}

void map_end(struct map *m)
{
	for (uint32_t i = 0; i < m->cap && !m->borrowed; i++)
		if (m->slots[i].value)
			free((char *)m->slots[i].key);
	free(m->slots);
	m->slots = NULL;
	m->cap = m->count = m->used = 0;
}

/* The slot of key, or NULL. */
static struct map_slot *map_find(const struct map *m, struct str key, uint64_t hash)
{
	if (!m->count)
		return NULL;
	for (uint32_t i = (uint32_t)hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_slot *s = &m->slots[i];
		if (s->value) {
			if (s->hash == hash && str_eq(str_n(s->key, s->key_len), key))
				return s;
		} else if (s->hash != GRAVE) {
			return NULL;
		}
	}
}

/* The first slot without a value on the way of hash. */
static struct map_slot *map_gap(const struct map *m, uint64_t hash)
{
	uint32_t i = (uint32_t)hash & (m->cap - 1);
	while (m->slots[i].value)
		i = (i + 1) & (m->cap - 1);
	return &m->slots[i];
}

/* Room for one more, without graves. It also shrinks: a map that was large once must not be walked at that size for ever. */
static void map_rehash(struct map *m)
{
	uint32_t cap = CAP_MIN, old_cap = m->cap;
	struct map_slot *old = m->slots;
	while (cap / 2 < m->count + 1)
		cap *= 2;
	m->slots = xalloc((size_t)cap * sizeof(*m->slots));
	m->cap = cap;
	m->used = m->count;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i].value)
			*map_gap(m, old[i].hash) = old[i];
	free(old);
}

void *map_get(const struct map *m, struct str key)
{
	if (!m->count)
		return NULL;
	struct map_slot *s = map_find(m, key, str_hash_seeded(key, m->seed));
	return s ? s->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value)
{
	assert(value && key.n <= UINT32_MAX);
	uint64_t hash = str_hash_seeded(key, m->seed);
	struct map_slot *s = map_find(m, key, hash);
	if (s) {
		void *old = s->value;
		if (m->borrowed)
			s->key = key.p; /* the old loan may end with the old value */
		s->value = value;
		return old;
	}
	if (m->used + 1 > m->cap / 4 * 3)
		map_rehash(m);
	s = map_gap(m, hash);
	if (s->hash != GRAVE)
		m->used++;
	m->count++;
	*s = (struct map_slot){hash, m->borrowed ? key.p : xstrndup(key.p, key.n), (uint32_t)key.n, value};
	return NULL;
}

void *map_del(struct map *m, struct str key)
{
	if (!m->count)
		return NULL;
	struct map_slot *s = map_find(m, key, str_hash_seeded(key, m->seed));
	if (!s)
		return NULL;
	void *old = s->value;
	if (!m->borrowed)
		free((char *)s->key);
	*s = (struct map_slot){.hash = GRAVE};
	m->count--;
	return old;
}

bool map_next(const struct map *m, uint32_t *i, struct str *ret_key, void **ret_value)
{
	for (; *i < m->cap; ++*i) {
		const struct map_slot *s = &m->slots[*i];
		if (!s->value)
			continue;
		if (ret_key)
			*ret_key = str_n(s->key, s->key_len);
		if (ret_value)
			*ret_value = s->value;
		++*i;
		return true;
	}
	return false;
}
