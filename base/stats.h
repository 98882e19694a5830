/* base/stats: counters and gauges, one row each in base/stats.def with its help text; /stats prints them from there.
 * A `struct stats` is owned by the loop; rows about clusters are counted at the cluster and printed with labels. */
#pragma once
#include <stdint.h>
#include "base/str.h"

enum stat_id {
#define STAT(id, kind, name, help) STAT_##id,
#include "base/stats.def"
#undef STAT
	STAT_COUNT
};
struct stats { uint64_t v[STAT_COUNT]; };
static inline void stat_add(struct stats *s, enum stat_id id, uint64_t n) { s->v[id] += n; }
static inline void stat_inc(struct stats *s, enum stat_id id) { s->v[id]++; }
static inline void stat_dec(struct stats *s, enum stat_id id) { s->v[id]--; }
static inline uint64_t stat_get(const struct stats *s, enum stat_id id) { return s->v[id]; }
const char *stat_name(enum stat_id id);   /* "thinmesh_..." without _total */
const char *stat_help(enum stat_id id);
bool stat_is_gauge(enum stat_id id);
void stats_print(const struct stats *s, struct sb *out); /* Prometheus text, HELP and TYPE included */

/* Histogram of durations with fixed log2 buckets from 1 us to ~8 s. */
enum { HIST_BUCKETS = 24 };
struct hist { uint64_t bucket[HIST_BUCKETS]; uint64_t count, sum_ns; };
void hist_add(struct hist *h, uint64_t ns);
void hist_print(const struct hist *h, struct sb *out, const char *name, const char *labels, const char *help);
