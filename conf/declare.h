/* conf/declare: what the takers of conf.def's LIST rows share. Private to conf/: only its .c files include this. */
#pragma once
#include "conf/schema.h"

/* About a key of the map, at its value, or at the map where it is not written. */
void declare_problem(struct schema *s, const struct yaml *map, const char *key, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool declare_has(const struct yaml *map, const char *key);   /* written, and with something in it */
bool declare_misses(const struct yaml *map, const char *key); /* not written, nor in a spelling that was told as unknown: one mistake, one line */
bool declare_is_label(struct str t, bool dots);              /* a name of ours: letters, digits, inner '-' and '_' (and '.'), at most 63 */
void declare_grow(void **array, uint32_t *cap, uint32_t count, size_t size);
/* A value that must be an authority; *ret becomes its cleaned form (the old text is freed). False: told. */
bool declare_authority(struct schema *s, const struct yaml *node, char **ret);

/* The same name, or the same socket, twice: told with both places. place is borrowed from the conf. */
void declare_claim_name(struct schema *s, const struct yaml *node, struct map *names, const char *what, const char *name, char *place);
void declare_claim_address(struct schema *s, const struct yaml *at, const struct addr *addr, char *place);
/* `unix:` of the map, "/path" or "@name". False: told. */
bool declare_unix(struct schema *s, const struct yaml *node, const char *text, struct addr *ret);
void declare_ids(struct schema *s, const struct yaml *node, struct conf_allow *allow);
/* Who listens at that address of this machine: its place; NULL: nobody of ours. */
bool declare_is_wildcard(const struct addr *a);   /* of TCP: all addresses of the machine */
const char *declare_listened(const struct schema *s, const struct addr *addr);
/* take() for each map of a list that may hold `max` in all files together. */
void declare_each(struct schema *s, const struct yaml *node, const char *of, uint32_t have, uint32_t max, void (*take)(struct schema *, const struct yaml *));

/* A list of texts, in place of what is there. make: the text that is kept, or NULL once its problem is told. Of a few (max <= CONF_XDS_SANS_MAX) the same one twice is told too. */
void declare_texts(struct schema *s, const struct yaml *node, const char *of, uint32_t max, char ***list, uint32_t *count, char *(*make)(struct schema *, const struct yaml *));
void declare_texts_end(char ***list, uint32_t *count);
char *declare_san(struct schema *s, const struct yaml *node);     /* a name in a certificate */
char *declare_server(struct schema *s, const struct yaml *node);  /* "host:port", "unix:/path"; conf/declare_xds.c */
void declare_none_if_empty(char **text);
/* A file that is watched: an absolute path, or nothing (told as `key` of the map). */
void declare_file(struct schema *s, const struct yaml *map, const char *key, char **text);

uint64_t declare_hash_texts(uint64_t h, char *const *list, uint32_t count);
uint64_t declare_hash_text(uint64_t h, const char *z);       /* NULL differs from "" */
uint64_t declare_hash_value(uint64_t h, uint64_t v);
uint64_t declare_hash_ids(uint64_t h, const struct conf_allow *a);
uint64_t declare_hash_listen(uint64_t h, const struct conf_listen *l);
