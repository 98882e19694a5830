/* base/map: from byte strings to pointers, open addressing, seeded hash (peers choose keys). Keys are copied into the map
 * (xalloc) unless map_init_borrowed was used (then keys must outlive their entry). */
#pragma once
#include "base/str.h"

struct map_slot { uint64_t hash; const char *key; uint32_t key_len; void *value; };
struct map { struct map_slot *slots; uint32_t cap, count, used; uint64_t seed; bool borrowed; };

void map_init(struct map *m, uint64_t seed);
void map_init_borrowed(struct map *m, uint64_t seed);
void map_end(struct map *m);                         /* values are the caller's */
void *map_get(const struct map *m, struct str key);  /* NULL: none */
void *map_put(struct map *m, struct str key, void *value); /* the old value or NULL; value must not be NULL */
void *map_del(struct map *m, struct str key);        /* the old value or NULL */
static inline uint32_t map_count(const struct map *m) { return m->count; }
/* for (uint32_t i = 0; map_next(&m, &i, &key, &value);) ... ; no put or del of other keys meanwhile */
bool map_next(const struct map *m, uint32_t *i, struct str *ret_key, void **ret_value);
