/* base/stats: the rows of stats.def as Prometheus text (exposition format 0.0.4). A counter's name ends in _total there, which
 * the row leaves out; durations are seconds. */
#include "base/stats.h"
#include <inttypes.h>

struct stat_row { const char *name, *help; bool gauge; };

enum { KIND_counter = 0, KIND_gauge = 1 };
static const struct stat_row rows[STAT_COUNT] = {
#define STAT(id, kind, name, help) [STAT_##id] = {"thinmesh_" name, help, KIND_##kind},
#include "base/stats.def"
#undef STAT
};

const char *stat_name(enum stat_id id)
{
	return rows[id].name;
}

const char *stat_help(enum stat_id id)
{
	return rows[id].help;
}

bool stat_is_gauge(enum stat_id id)
{
	return rows[id].gauge;
}

void stats_print(const struct stats *s, struct sb *out)
{
	for (int i = 0; i < STAT_COUNT; i++) {
		const struct stat_row *r = &rows[i];
		const char *total = r->gauge ? "" : "_total";
		sb_fmt(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", r->name, total, r->help, r->name, total, r->gauge ? "gauge" : "counter");
		/* a gauge may be told below zero by a bug; -1 says so, 18446744073709551615 ruins the graph */
		if (r->gauge)
			sb_fmt(out, "%s %" PRId64 "\n", r->name, (int64_t)s->v[i]);
		else
			sb_fmt(out, "%s_total %" PRIu64 "\n", r->name, s->v[i]);
	}
}

void hist_add(struct hist *h, uint64_t ns)
{
	h->count++;
	h->sum_ns += ns;
	/* bucket i holds what is <= 2^i us and not in bucket i - 1 */
	uint64_t us = ns / 1000 + (ns % 1000 != 0);
	unsigned i = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);
	if (i < HIST_BUCKETS)
		h->bucket[i]++;
}

void hist_print(const struct hist *h, struct sb *out, const char *name, const char *labels, const char *help)
{
	const char *own = labels ? labels : "", *comma = *own ? "," : "", *open = *own ? "{" : "", *close = *own ? "}" : "";
	uint64_t below = 0;
	if (help) /* once a name; further label sets of it pass NULL */
		sb_fmt(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
	for (int i = 0; i < HIST_BUCKETS; i++) {
		uint64_t us = 1ULL << i;
		below += h->bucket[i];
		sb_fmt(out, "%s_bucket{%s%sle=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name, own, comma, us / 1000000, us % 1000000, below);
	}
	sb_fmt(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, own, comma, h->count);
	sb_fmt(out, "%s_sum%s%s%s %" PRIu64 ".%09" PRIu64 "\n", name, open, own, close, h->sum_ns / 1000000000, h->sum_ns % 1000000000);
	sb_fmt(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, own, close, h->count);
}
