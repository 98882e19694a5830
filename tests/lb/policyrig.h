/* tests/lb/policyrig: a loop whose randomness is a seed's, and a policy over hot records that the test writes. */
#pragma once
#include "lb/policy.h"
#include "tests/sim/simnet.h"

struct policy_rig {
	struct simnet *net;
	struct loop *loop;
	struct hot *hot;
	uint32_t count;
	struct cluster_spec *spec;
	struct policy *policy;
	struct pick pick;          /* what is ruled out */
	uint32_t *hits;            /* picks of each endpoint */
};
/* weights NULL: all 1. */
struct policy_rig *policy_rig_new(enum lb_kind kind, uint32_t count, const uint32_t *weights);
void policy_rig_free(struct policy_rig **r);
void policy_rig_build(struct policy_rig *r);   /* anew, after the hot records have changed */
uint32_t policy_rig_pick(struct policy_rig *r);/* counted in hits */
void policy_rig_picks(struct policy_rig *r, uint32_t n);
/* Sum of (seen - expected)^2 / expected over the endpoints that weigh anything in `expect` (shares, any scale). */
double policy_rig_chi2(const struct policy_rig *r, const double *expect);
