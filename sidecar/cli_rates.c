/* sidecar/cli_rates: see the header. */
#include "sidecar/cli_rates.h"
#include <stdlib.h>
#include "base/mem.h"

struct rate_counts { uint64_t calls, errors; };

static void forget(struct map *m)
{
	struct str key;
	void *value;

	for (uint32_t i = 0; map_next(m, &i, &key, &value);)
		free(value);
	map_end(m);
	map_init(m, 1); /* a page of our own daemon, read by one person: nobody chooses names against us */
}

void rates_init(struct rates *r)
{
	*r = (struct rates){0};
	map_init(&r->before, 1);
	map_init(&r->now, 1);
}

void rates_end(struct rates *r)
{
	forget(&r->before);
	forget(&r->now);
	map_end(&r->before);
	map_end(&r->now);
}

void rates_begin(struct rates *r, uint64_t pid, uint64_t uptime_ms)
{
	struct map old = r->before;

	r->before = r->now;
	r->before_ms = r->now_ms;
	r->now = old;
	forget(&r->now);
	r->fits = r->pid == pid && uptime_ms > r->before_ms && map_count(&r->before);
	r->pid = pid;
	r->now_ms = uptime_ms;
}

static double rate(const struct rates *r, uint64_t before, uint64_t now)
{
	return now > before ? (double)(now - before) * 1000 / (double)(r->now_ms - r->before_ms) : 0;
}

bool rates_take(struct rates *r, struct str name, uint64_t calls, uint64_t errors, double *ret_calls, double *ret_errors)
{
	struct rate_counts *c = xnew(struct rate_counts);
	const struct rate_counts *b = r->fits ? map_get(&r->before, name) : NULL;

	*c = (struct rate_counts){calls, errors};
	free(map_put(&r->now, name, c));
	/* Fewer than before: it was given up as idle and born anew in between. */
	if (!b || calls < b->calls || errors < b->errors)
		return false;
	*ret_calls = rate(r, b->calls, calls);
	*ret_errors = rate(r, b->errors, errors);
	return true;
}

void rates_text(struct sb *out, double a_second)
{
	if (a_second <= 0)
		sb_char(out, '0');
	else
		sb_fmt(out, a_second < 9.95 ? "%.1f" : "%.0f", a_second);
}
