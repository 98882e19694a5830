/* base/str: counted strings and small text tools. `struct str` is a loan: it never owns its bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str { const char *p; size_t n; };
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
static inline struct str str_of(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
static inline struct str str_n(const char *p, size_t n) { return (struct str){p, n}; }
static inline bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_is(struct str a, const char *z) { return str_eq(a, str_of(z)); }
bool str_eq_nocase(struct str a, struct str b);   /* ASCII */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
ptrdiff_t str_find(struct str s, char c);         /* -1: not there */
ptrdiff_t str_rfind(struct str s, char c);
struct str str_cut(struct str s, size_t from, size_t to); /* clamped */
struct str str_trim(struct str s);                /* spaces and tabs */
/* Decimal without sign or blanks; false on overflow, on no digit, on anything else. */
bool str_u64(struct str s, uint64_t *ret);
/* "30s", "250ms", "1m", "2h", "10us", "0": to nanoseconds. False: bad or overflow. A bare number other than 0 is bad. */
bool str_duration_ns(struct str s, uint64_t *ret_ns);
/* "64KiB", "1MiB", "512", "1GiB", "10KB" (1000) ...: to bytes. */
bool str_bytes(struct str s, uint64_t *ret);
/* Damerau-Levenshtein distance, capped at `cap` (for "did you mean"). */
unsigned str_distance(const char *a, const char *b, unsigned cap);
void str_lower(char *p, size_t n);                /* ASCII, in place */
uint64_t str_hash(struct str s);                  /* xxh3_64, seedless: only for ring positions and change detection */
uint64_t str_hash_seeded(struct str s, uint64_t seed);

/* A growing text. xalloc'ed: for start-up, admin pages and log lines of ours (their size is ours). */
struct sb { char *p; size_t n, cap; };
void sb_add(struct sb *b, const char *p, size_t n);
void sb_str(struct sb *b, const char *z);
void sb_char(struct sb *b, char c);
void sb_fmt(struct sb *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sb_json(struct sb *b, struct str s);         /* quoted and escaped; bytes that are not UTF-8 become U+FFFD */
void sb_end(struct sb *b);                        /* frees */
static inline struct str sb_view(const struct sb *b) { return str_n(b->p ? b->p : "", b->n); }
