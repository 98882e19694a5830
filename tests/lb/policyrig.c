/* tests/lb/policyrig: see the header. */
#include "tests/lb/policyrig.h"
#include <stdlib.h>

struct policy_rig *policy_rig_new(enum lb_kind kind, uint32_t count, const uint32_t *weights)
{
	struct policy_rig *r = xnew(struct policy_rig);

	r->net = simnet_new(42);
	r->loop = simnet_loop(r->net);
	r->hot = xalloc(count * sizeof(*r->hot));
	r->hits = xalloc(count * sizeof(*r->hits));
	r->count = count;
	for (uint32_t i = 0; i < count; i++)
		r->hot[i] = (struct hot){.weight = weights ? weights[i] : 1, .flags = HOT_USABLE};
	r->spec = spec_new("demo");
	r->spec->lb = kind;
	r->pick.skip = HOT_BACKOFF | HOT_DRAINING | HOT_UNHEALTHY;
	policy_rig_build(r);
	return r;
}

void policy_rig_build(struct policy_rig *r)
{
	policy_free(&r->policy);
	r->policy = policy_build(r->spec->lb, r->loop, &r->loop->memory, r->hot, r->count, r->spec);
	if (!r->policy)
		abort();
}

uint32_t policy_rig_pick(struct policy_rig *r)
{
	uint32_t i = policy_pick(r->policy, &r->pick);

	if (i != PICK_NOBODY)
		r->hits[i]++;
	return i;
}

void policy_rig_picks(struct policy_rig *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		policy_rig_pick(r);
}

double policy_rig_chi2(const struct policy_rig *r, const double *expect)
{
	double sum = 0, all = 0, chi2 = 0;

	for (uint32_t i = 0; i < r->count; i++) {
		sum += expect[i];
		all += r->hits[i];
	}
	for (uint32_t i = 0; i < r->count; i++) {
		double e = all * expect[i] / sum;

		if (e > 0)
			chi2 += (r->hits[i] - e) * (r->hits[i] - e) / e;
	}
	return chi2;
}

void policy_rig_free(struct policy_rig **pr)
{
	struct policy_rig *r = *pr;

	*pr = NULL;
	policy_free(&r->policy);
	spec_unref(&r->spec);
	free(r->hot);
	free(r->hits);
	simnet_free(&r->net); /* its loop's accounts tell what a policy forgot */
	free(r);
}
