/* lb/levels: whom a pick asks: priority, then (where localities have weights) locality, then the policy.
 *
 * The rules are Envoy's. A priority's health is min(100, overprovisioning x healthy / total); calls go to the first priority as far as that reaches, the rest
 * to the next; degraded endpoints serve what the healthy ones of all priorities leave. A priority whose share of standing endpoints is below the panic
 * threshold is in panic, if all together cannot carry the calls: then its endpoints count whatever is said of them.
 *
 * Two things are ours. An endpoint in back-off (nobody could connect to it) counts as not available, so that calls go to the next priority without an outlier
 * detection; but it is no reason for panic, for panic would send calls where nobody can connect. Nor is one whose first check is awaited: it counts as not
 * available too, and in panic it is used as all are. And whatever the percentages say: as long as there is an endpoint that may serve, it is found, in the
 * order of the priorities. Endpoints that want TLS do not exist here. */
#include "lb/cluster_int.h"

static uint64_t percent_of(uint64_t part, uint64_t all, uint64_t factor)
{
	uint64_t n = all ? part * factor / all : 0;

	return n < 100 ? n : 100;
}

static uint32_t factor_of(const struct cluster *c)
{
	uint32_t factor = endpoints_overprovisioning(c->m.set);

	return factor ? factor : c->spec->overprovisioning ? c->spec->overprovisioning : 100;
}

struct sums {
	uint64_t total, counted /* without the excluded */, pending, standing, healthy, degraded;
};

static struct sums level_sums(const struct members *m, const struct level *l)
{
	struct sums s = {0};

	for (uint32_t i = l->first; i < l->first + l->count; i++) {
		const struct bucket *b = &m->buckets[i];

		s.total += b->total;
		s.counted += b->total - b->excluded;
		s.pending += b->pending;
		s.standing += b->standing;
		s.healthy += b->healthy;
		s.degraded += b->degraded;
	}
	return s;
}

/* Nobody is in a state to serve all over: who stands (and is only in back-off) comes first, else all by their number. */
static void share_in_panic(struct members *m, const struct sums *sums)
{
	uint64_t all = 0, left = 100;
	bool everywhere = true;

	for (uint32_t i = 0; i < m->level_count; i++) {
		everywhere &= m->levels[i].panic || !sums[i].total;
		all += sums[i].total;
	}
	for (uint32_t i = 0; i < m->level_count; i++) {
		struct level *l = &m->levels[i];

		l->healthy_percent = !everywhere ? (i == 0 ? 100 : 0) : all ? (uint32_t)(sums[i].total * 100 / all) : 0;
		left -= l->healthy_percent;
	}
	for (uint32_t i = 0; i < m->level_count && everywhere; i++)
		if (sums[i].total) { /* what rounding left over */
			m->levels[i].healthy_percent += (uint32_t)left;
			break;
		}
}

/* Of those of whom anything is known. */
static bool level_is_in_panic(const struct sums *s, uint32_t threshold)
{
	uint64_t known = s->counted - s->pending;

	if (!known && s->pending)
		return false;
	return s->total && percent_of(s->standing, known, 100) < threshold;
}

static void share(struct cluster *c, struct members *m, const struct sums *sums)
{
	const uint32_t factor = factor_of(c), panic = timer_armed(&c->empty) ? 0 : c->spec->panic_percent;
	uint64_t available = 0, left = 100;

	for (uint32_t i = 0; i < m->level_count; i++)
		available += percent_of(sums[i].healthy, sums[i].counted, factor) + percent_of(sums[i].degraded, sums[i].counted, factor);
	if (available > 100)
		available = 100;
	bool all_panic = true;
	for (uint32_t i = 0; i < m->level_count; i++) {
		m->levels[i].panic = available < 100 && level_is_in_panic(&sums[i], panic);
		all_panic &= m->levels[i].panic || !sums[i].total;
	}
	if (!available || all_panic) {
		share_in_panic(m, sums);
		return;
	}
	for (uint32_t i = 0; i < m->level_count; i++) {
		uint64_t n = percent_of(sums[i].healthy, sums[i].counted, factor) * 100 / available;

		m->levels[i].healthy_percent = (uint32_t)(n < left ? n : left);
		left -= m->levels[i].healthy_percent;
	}
	for (uint32_t i = 0; i < m->level_count; i++) {
		uint64_t n = percent_of(sums[i].degraded, sums[i].counted, factor) * 100 / available;

		m->levels[i].degraded_percent = (uint32_t)(n < left ? n : left);
		left -= m->levels[i].degraded_percent;
	}
	for (uint32_t i = 0; i < m->level_count && left; i++)
		if (sums[i].healthy) {
			m->levels[i].healthy_percent += (uint32_t)left;
			left = 0;
		}
	for (uint32_t i = 0; i < m->level_count && left; i++)
		if (sums[i].degraded) {
			m->levels[i].degraded_percent += (uint32_t)left;
			left = 0;
		}
}

/* Effective weight of a locality: its weight x min(100, overprovisioning x available / total). */
static void weigh_buckets(struct members *m, const struct level *l, uint32_t factor)
{
	uint64_t upto[3] = {0};

	for (uint32_t i = l->first; i < l->first + l->count; i++) {
		struct bucket *b = &m->buckets[i];
		uint32_t counted = b->total - b->excluded;

		upto[PICK_HEALTHY] += b->weight * percent_of(b->healthy, counted, factor);
		upto[PICK_DEGRADED] += b->weight * percent_of(b->degraded, counted, factor);
		upto[PICK_ALL] += b->total ? b->weight : 0;
		memcpy(b->upto, upto, sizeof(upto));
	}
}

static void refresh(struct cluster *c)
{
	struct members *m = &c->m;
	struct sums sums[LEVELS_MAX];
	uint64_t standing = 0, pending = 0;

	m->stale = false;
	for (uint32_t i = 0; i < m->level_count; i++) {
		struct level *l = &m->levels[i];

		sums[i] = level_sums(m, l);
		standing += sums[i].standing;
		pending += sums[i].pending;
		l->healthy_percent = l->degraded_percent = 0;
		l->panic = false;
		weigh_buckets(m, l, factor_of(c));
	}
	m->waiting = !standing && pending;
	if (!m->waiting)
		share(c, m, sums);
}

/* ---- picking -------------------------------------------------------------------------------------------------------------- */

static void set_class(struct pick *k, enum pick_class class, bool backoff_too)
{
	k->skip = (class == PICK_ALL ? HOT_UNUSABLE : HOT_UNUSABLE | HOT_DOWN | HOT_DEGRADED) | (backoff_too ? 0 : HOT_BACKOFF);
	k->want = class == PICK_DEGRADED ? HOT_DEGRADED : 0;
}

/* Indices of the policy are its bucket's; the number of draws grows with those that are ruled out, so that a scan (which is not fair) stays rare. */
static uint32_t bucket_pick(const struct bucket *b, const struct pick *k, enum pick_class class)
{
	enum { DRAWS_MAX = 256 };
	struct pick own = *k;
	uint32_t may = class == PICK_HEALTHY ? b->healthy : class == PICK_DEGRADED ? b->degraded : b->total, i;

	if (!b->policy)
		return PICK_NOBODY;
	for (uint32_t t = 0; t < own.tried_count; t++)
		own.tried[t] -= b->first; /* below 0: larger than any */
	own.draws = 0;
	if (may && may < b->count / 2)
		own.draws = b->count / may < DRAWS_MAX / 8 ? b->count / may * 8 : DRAWS_MAX;
	i = policy_pick(b->policy, &own);
	return i == PICK_NOBODY ? i : i + b->first;
}

static const struct bucket *choose_bucket(struct cluster *c, const struct level *l, enum pick_class class)
{
	const struct bucket *b = &c->m.buckets[l->first];
	uint64_t all = b[l->count - 1].upto[class], at;
	uint32_t low = 0, high = l->count;

	if (l->count == 1)
		return b;
	if (!all)
		return NULL;
	at = loop_random_below(c->all->loop, all);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (b[middle - 1].upto[class] <= at)
			low = middle;
		else
			high = middle;
	}
	return &b[low];
}

static uint32_t level_pick(struct cluster *c, const struct level *l, enum pick_class class, struct pick *k)
{
	const struct bucket *b = choose_bucket(c, l, class);

	if (!b)
		return PICK_NOBODY;
	set_class(k, class, false);
	return bucket_pick(b, k, class);
}

/* By the percentages. They may not sum up to 100 where nothing is available. */
static uint32_t pick_by_share(struct cluster *c, struct pick *k)
{
	const struct members *m = &c->m;
	uint32_t at = 0;

	if (m->level_count > 1 || m->levels[0].degraded_percent)
		at = (uint32_t)loop_random_below(c->all->loop, 100);
	for (uint32_t i = 0; i < m->level_count; i++) {
		const struct level *l = &m->levels[i];

		if (at < l->healthy_percent) {
			c->counts[COUNT_PANIC] += l->panic;
			return level_pick(c, l, l->panic ? PICK_ALL : PICK_HEALTHY, k);
		}
		at -= l->healthy_percent;
	}
	for (uint32_t i = 0; i < m->level_count; i++) {
		const struct level *l = &m->levels[i];

		if (at < l->degraded_percent)
			return level_pick(c, l, l->panic ? PICK_ALL : PICK_DEGRADED, k);
		at -= l->degraded_percent;
	}
	return PICK_NOBODY;
}

/* Whoever is left, the first priorities first: the better ones have all been tried. */
static uint32_t pick_whoever(struct cluster *c, struct pick *k, bool backoff_too)
{
	const struct members *m = &c->m;

	for (uint32_t i = 0; i < m->level_count; i++)
		for (int class = m->levels[i].panic ? PICK_ALL : PICK_HEALTHY; class <= (m->levels[i].panic ? PICK_ALL : PICK_DEGRADED);
			class ++) {
			const struct level *l = &m->levels[i];
			uint32_t from = l->count > 1 ? (uint32_t)loop_random_below(c->all->loop, l->count) : 0;

			set_class(k, (enum pick_class) class, backoff_too);
			for (uint32_t n = 0; n < l->count; n++) {
				const struct bucket *b = &m->buckets[l->first + (from + n) % l->count];
				uint32_t index = !b->weight ? PICK_NOBODY : bucket_pick(b, k, (enum pick_class) class);

				if (index != PICK_NOBODY)
					return index;
			}
		}
	return PICK_NOBODY;
}

uint32_t levels_pick(struct cluster *c, struct pick *k)
{
	struct members *m = &c->m;
	uint32_t usable = 0, i;

	k->want = k->draws = 0;
	if (!m->level_count)
		return PICK_NOBODY;
	if (__builtin_expect(m->stale, 0))
		refresh(c);
	i = pick_by_share(c, k);
	if (__builtin_expect(i != PICK_NOBODY, 1))
		return i;
	if (m->waiting)
		return PICK_NOBODY;
	i = pick_whoever(c, k, false);
	if (i != PICK_NOBODY)
		return i;
	for (uint32_t b = 0; b < m->bucket_count; b++)
		usable += m->buckets[b].healthy + m->buckets[b].degraded;
	/* All in back-off: one of them says why, and the call fails with that reason. But where others are only tried, they are the reason. */
	return usable ? PICK_NOBODY : pick_whoever(c, k, true);
}

bool levels_panic(struct cluster *c)
{
	bool panic = false;

	if (c->m.stale && c->m.level_count)
		refresh(c);
	for (uint32_t i = 0; i < c->m.level_count; i++)
		panic |= c->m.levels[i].panic;
	return panic;
}

bool levels_may(const struct cluster *c, const struct pick *k, uint32_t index)
{
	if ((c->m.hot[index].flags & k->skip) != k->want)
		return false;
	for (uint32_t t = 0; t < k->tried_count; t++)
		if (k->tried[t] == index)
			return false;
	return true;
}
