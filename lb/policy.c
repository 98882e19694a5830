/* lb/policy: what the policies share: construction, the scan of last resort, the table of policies by kind. */
#include "lb/policy.h"

const struct policy_ops *policy_ops_of(enum lb_kind kind)
{
	static const struct policy_ops *const ops[] = {
		[LB_ROUND_ROBIN] = &policy_round_robin,
		[LB_RANDOM] = &policy_random,
		[LB_LEAST_REQUEST] = &policy_least_request,
	};

	return (size_t)kind < sizeof(ops) / sizeof(ops[0]) ? ops[kind] : &policy_random;
}

struct policy *policy_begin(
	enum lb_kind kind, struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	return policy_ops_of(kind)->begin(l, a, hot, count, spec);
}

struct policy *policy_build(
	enum lb_kind kind, struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	struct policy *p = policy_begin(kind, l, a, hot, count, spec);
	uint32_t work = UINT32_MAX; /* more than any policy walks: a few times count */

	if (p && policy_step(p, &work) < 0)
		policy_free(&p);
	return p;
}

void policy_free(struct policy **p)
{
	if (*p)
		(*p)->ops->free(*p);
	*p = NULL;
}

void *policy_new(const struct policy_ops *ops, size_t size, struct loop *l, struct account *a, const struct hot *hot, uint32_t count)
{
	struct policy *p = acct_alloc(a, size);

	if (!p)
		return NULL;
	memset(p, 0, size);
	*p = (struct policy){.ops = ops, .loop = l, .account = a, .hot = hot, .count = count};
	return p;
}

uint32_t policy_scan(const struct policy *p, const struct pick *k, uint32_t from)
{
	for (uint32_t i = from; i < p->count; i++)
		if (policy_may(p, k, i))
			return i;
	for (uint32_t i = 0; i < from; i++)
		if (policy_may(p, k, i))
			return i;
	return PICK_NOBODY;
}
