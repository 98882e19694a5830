/* Each with the probability of its weight. The bounds are the 99.9 % quantiles of chi-square; the seed is fixed, so they never waver. */
#include "tests/lb/policyrig.h"
#include "lb/alias.h"
#include "tests/unit.h"
#include <math.h>

START_TEST(equal_weights_are_uniform)
{
	double expect[64];
	struct policy_rig *r = policy_rig_new(LB_RANDOM, 64, NULL);

	for (int i = 0; i < 64; i++)
		expect[i] = 1;
	policy_rig_picks(r, 640000);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 103.4); /* 63 degrees */
	/* And not too even to be chance. */
	ck_assert_double_gt(policy_rig_chi2(r, expect), 32.0);
	policy_rig_free(&r);
}
END_TEST

START_TEST(picks_do_not_depend_on_the_one_before)
{
	struct policy_rig *r = policy_rig_new(LB_RANDOM, 4, NULL);
	uint32_t pairs[4][4] = {{0}}, last = policy_rig_pick(r);
	double chi2 = 0;

	for (int i = 0; i < 160000; i++) {
		uint32_t next = policy_rig_pick(r);

		pairs[last][next]++;
		last = next;
	}
	for (int i = 0; i < 16; i++)
		chi2 += (pairs[i / 4][i % 4] - 10000.0) * (pairs[i / 4][i % 4] - 10000.0) / 10000;
	ck_assert_double_lt(chi2, 37.7);
	policy_rig_free(&r);
}
END_TEST

START_TEST(unequal_weights_are_probabilities)
{
	static const uint32_t weight[] = {1, 50, 3, 50, 7, 100, 1, 2};
	static const double expect[] = {1, 50, 3, 50, 7, 100, 1, 2};
	struct policy_rig *r = policy_rig_new(LB_RANDOM, 8, weight);

	policy_rig_picks(r, 400000);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 24.3); /* 7 degrees */
	policy_rig_free(&r);
}
END_TEST

START_TEST(the_others_keep_their_proportions_when_one_is_out)
{
	static const uint32_t weight[] = {10, 20, 30, 40};
	static const double expect[] = {10, 20, 30, 0};
	struct policy_rig *r = policy_rig_new(LB_RANDOM, 4, weight);

	r->hot[3].flags = HOT_UNHEALTHY;
	policy_rig_picks(r, 60000);
	ck_assert_uint_eq(r->hits[3], 0);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 13.8);
	policy_rig_free(&r);
}
END_TEST

/* What the table gives to each index, summed up slot by slot, is its weight: for all tables, not by sampling. */
START_TEST(the_alias_table_holds_the_weights)
{
	enum { N = 1000 };
	struct policy_rig *r = policy_rig_new(LB_RANDOM, N, NULL);

	for (int round = 0; round < 20; round++) {
		double share[N] = {0}, sum = 0;
		struct alias made = {.hot = r->hot, .count = N};
		const struct alias_slot *t;
		int err = 1;

		for (int i = 0; i < N; i++) {
			r->hot[i].weight = 1 + (uint32_t)loop_random_below(r->loop, round % 2 ? 1000000 : 3);
			sum += r->hot[i].weight;
		}
		while (err > 0) { /* in slices of any size, where each phase ends in the middle of one */
			uint32_t work = 1 + (uint32_t)loop_random_below(r->loop, 300);

			err = alias_step(&made, &r->loop->memory, &work);
		}
		ck_assert_int_eq(err, 0);
		t = made.slots;
		ck_assert_ptr_nonnull(t);
		for (int i = 0; i < N; i++) {
			share[i] += t[i].below / 4294967296.0 / N;
			share[t[i].other] += (1 - t[i].below / 4294967296.0) / N;
		}
		for (int i = 0; i < N; i++)
			ck_assert_double_lt(fabs(share[i] - r->hot[i].weight / sum), 1e-9);
		alias_end(&made, &r->loop->memory);
	}
	for (int i = 0; i < N; i++)
		r->hot[i].weight = 1;
	policy_rig_free(&r);
}
END_TEST

UNIT_SUITE("random", equal_weights_are_uniform, picks_do_not_depend_on_the_one_before, unequal_weights_are_probabilities,
	the_others_keep_their_proportions_when_one_is_out, the_alias_table_holds_the_weights)
