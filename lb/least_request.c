/* lb/least_request: of a few endpoints drawn at random (spec->choices, 2), the one with the least to do. Two choices are nearly as
 * good as knowing all queues, cost two cache lines, and do not send everybody to the same idle endpoint at once.
 *
 * Weights. With unequal weights the candidates are drawn by weight, and compared by active / weight: without load (all ties, the
 * first drawn wins) calls spread exactly by weight, under load each endpoint gets work in proportion to its weight. Envoy reaches
 * the same two ends by a heap keyed by weight / (active + 1); drawing by weight and comparing by that would count the weight twice.
 *
 * Of an even match the first drawn wins, which is random already. What is ruled out is drawn again; see lb/random for the scan. */
#include "lb/alias.h"

enum { DRAWS = 16, CHOICES_MAX = 16 };

struct least {
	struct policy p;
	uint32_t choices;
	struct alias alias;
};

static struct policy *least_begin(struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	struct least *r = policy_new(&policy_least_request, sizeof(*r), l, a, hot, count);

	if (!r)
		return NULL;
	r->choices = spec->choices < 2 ? 2 : spec->choices > CHOICES_MAX ? CHOICES_MAX : spec->choices;
	r->alias.hot = hot;
	r->alias.count = count;
	return &r->p;
}

static int least_step(struct policy *p, uint32_t *work)
{
	return alias_step(&((struct least *)p)->alias, p->account, work);
}

/* a/wa < b/wb without a division; both factors are 32 bits wide. */
static inline bool less_busy(const struct hot *a, const struct hot *b)
{
	return (uint64_t)a->active * b->weight < (uint64_t)b->active * a->weight;
}

static uint32_t least_pick(struct policy *p, const struct pick *k)
{
	struct least *r = (struct least *)p;
	uint32_t best = PICK_NOBODY, found = 0, draws = k->draws ? k->draws : DRAWS;

	if (p->count == 1)
		return policy_may(p, k, 0) ? 0 : PICK_NOBODY;
	/* A draw that hits the best one again is no choice: it is drawn anew, or two endpoints would often be one. */
	for (uint32_t draw = 0; draw < draws && found < r->choices; draw++) {
		uint64_t n = loop_random(p->loop);
		uint32_t i = r->alias.slots ? alias_draw(r->alias.slots, p->count, n) : (uint32_t)(((n >> 32) * p->count) >> 32);

		if (i == best || !policy_may(p, k, i))
			continue;
		found++;
		if (best == PICK_NOBODY || less_busy(&p->hot[i], &p->hot[best]))
			best = i;
		else if (p->count == 2)
			break; /* both have been seen */
	}
	return best != PICK_NOBODY ? best : policy_scan(p, k, (uint32_t)loop_random_below(p->loop, p->count));
}

static void least_free(struct policy *p)
{
	struct least *r = (struct least *)p;

	alias_end(&r->alias, p->account);
	acct_free(p->account, r);
}

const struct policy_ops policy_least_request = {"least_request", least_begin, least_step, least_pick, least_free};
