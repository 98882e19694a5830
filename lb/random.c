/* lb/random: each endpoint with the probability of its weight, whatever came before. Without state that callers share it needs no
 * memory for equal weights and an alias table (lb/alias) for others.
 *
 * An endpoint that is ruled out is drawn again, which keeps the proportions among the others; after DRAWS misses (with half of the
 * endpoints out: one pick in 65,000) a scan from a random place finds what there is. */
#include "lb/alias.h"

enum { DRAWS = 16 };

struct random {
	struct policy p;
	struct alias alias;
};

static struct policy *random_begin(
	struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	struct random *r = policy_new(&policy_random, sizeof(*r), l, a, hot, count);

	(void)spec;
	if (!r)
		return NULL;
	r->alias.hot = hot;
	r->alias.count = count;
	return &r->p;
}

static int random_step(struct policy *p, uint32_t *work)
{
	return alias_step(&((struct random *)p)->alias, p->account, work);
}

static uint32_t random_pick(struct policy *p, const struct pick *k)
{
	struct random *r = (struct random *)p;

	uint32_t draws = k->draws ? k->draws : DRAWS;

	for (uint32_t draw = 0; draw < draws; draw++) {
		uint64_t n = loop_random(p->loop);
		uint32_t i = r->alias.slots ? alias_draw(r->alias.slots, p->count, n) : (uint32_t)(((n >> 32) * p->count) >> 32);

		if (policy_may(p, k, i))
			return i;
	}
	return policy_scan(p, k, (uint32_t)loop_random_below(p->loop, p->count));
}

static void random_free(struct policy *p)
{
	struct random *r = (struct random *)p;

	alias_end(&r->alias, p->account);
	acct_free(p->account, r);
}

const struct policy_ops policy_random = {"random", random_begin, random_step, random_pick, random_free};
