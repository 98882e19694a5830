/* lb/random: each endpoint with the probability of its weight, whatever came before. Without state that callers share it needs no
 * memory for equal weights and an alias table (lb/alias) for others.
 *
 * An endpoint that is ruled out is drawn again, which keeps the proportions among the others; after DRAWS misses (with half of the
 * endpoints out: one pick in 65,000) a scan from a random place finds what there is. */
#include "lb/alias.h"

enum { DRAWS = 16 };

struct random {
	struct policy p;
	struct alias_slot *alias; /* NULL: weights are equal */
};

static struct policy *random_build(
	struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	struct random *r = policy_new(&policy_random, sizeof(*r), l, a, hot, count);

	(void)spec;
	if (!r)
		return NULL;
	if (!policy_weights_equal(hot, count)) {
		r->alias = alias_build(a, hot, count);
		if (!r->alias) {
			acct_free(a, r);
			return NULL;
		}
	}
	return &r->p;
}

static uint32_t random_pick(struct policy *p, const struct pick *k)
{
	struct random *r = (struct random *)p;

	for (int draw = 0; draw < DRAWS; draw++) {
		uint64_t n = loop_random(p->loop);
		uint32_t i = r->alias ? alias_draw(r->alias, p->count, n) : (uint32_t)(((n >> 32) * p->count) >> 32);

		if (policy_may(p, k, i))
			return i;
	}
	return policy_scan(p, k, (uint32_t)loop_random_below(p->loop, p->count));
}

static void random_free(struct policy *p)
{
	struct random *r = (struct random *)p;

	acct_free(p->account, r->alias);
	acct_free(p->account, r);
}

const struct policy_ops policy_random = {"random", random_build, random_pick, random_free};
