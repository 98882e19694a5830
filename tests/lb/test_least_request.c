/* The less busy of two drawn at random; by weight when nobody is busy, in proportion to weight when all are. */
#include "tests/lb/policyrig.h"
#include "tests/unit.h"
#include <stdlib.h>

START_TEST(without_load_equal_weights_are_uniform)
{
	double expect[16];
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 16, NULL);

	for (int i = 0; i < 16; i++)
		expect[i] = 1;
	policy_rig_picks(r, 160000);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 37.7); /* 15 degrees */
	policy_rig_free(&r);
}
END_TEST

START_TEST(without_load_calls_spread_by_weight)
{
	static const uint32_t weight[] = {1, 50, 3, 50, 7, 100};
	static const double expect[] = {1, 50, 3, 50, 7, 100};
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 6, weight);

	policy_rig_picks(r, 400000);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 20.6); /* 5 degrees */
	policy_rig_free(&r);
}
END_TEST

START_TEST(of_two_endpoints_the_less_busy_one_is_always_picked)
{
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 2, NULL);

	r->hot[0].active = 1;
	policy_rig_picks(r, 1000);
	/* 16 draws of the same one of two: never in a thousand picks. */
	ck_assert_uint_eq(r->hits[1], 1000);
	policy_rig_free(&r);
}
END_TEST

/* The one that is busy is taken only if it is drawn twice, which is not allowed: never. The others share. */
START_TEST(a_busy_endpoint_among_idle_ones_gets_nothing)
{
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 8, NULL);
	double expect[8] = {1, 1, 1, 0, 1, 1, 1, 1};

	r->hot[3].active = 5;
	policy_rig_picks(r, 70000);
	ck_assert_uint_eq(r->hits[3], 0);
	ck_assert_double_lt(policy_rig_chi2(r, expect), 22.5);
	policy_rig_free(&r);
}
END_TEST

/* Calls come and stay: what each holds in the end. */
static void fill(struct policy_rig *r, uint32_t calls)
{
	for (uint32_t i = 0; i < calls; i++)
		r->hot[policy_rig_pick(r)].active++;
}

START_TEST(under_load_two_choices_keep_the_queues_level)
{
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 100, NULL);
	uint32_t most = 0, least = UINT32_MAX;

	fill(r, 10000);
	for (uint32_t i = 0; i < 100; i++) {
		most = r->hot[i].active > most ? r->hot[i].active : most;
		least = r->hot[i].active < least ? r->hot[i].active : least;
	}
	/* Random would be 100 +- 30; two choices: the mean + ln ln n. */
	ck_assert_uint_le(most, 103);
	ck_assert_uint_ge(least, 95);
	policy_rig_free(&r);
}
END_TEST

START_TEST(under_load_each_holds_in_proportion_to_its_weight)
{
	static const uint32_t weight[] = {100, 50, 50, 25, 25, 10, 200};
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 7, weight);

	fill(r, 4600);
	for (uint32_t i = 0; i < 7; i++)
		ck_assert_msg(abs((int)r->hot[i].active - (int)weight[i] * 10) <= 5 + (int)weight[i] / 10,
			"endpoint %u of weight %u holds %u", i, weight[i], r->hot[i].active);
	policy_rig_free(&r);
}
END_TEST

START_TEST(a_slow_endpoint_gets_less)
{
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 4, NULL);
	uint32_t held[4] = {0};

	/* A step: one call comes; the fast ones finish theirs at once, the slow one a tenth of the time. */
	for (uint32_t step = 0; step < 40000; step++) {
		uint32_t i = policy_rig_pick(r);

		r->hot[i].active++;
		held[i]++;
		for (uint32_t e = 0; e < 4; e++)
			if (e != 0 || step % 40 == 0)
				r->hot[e].active -= r->hot[e].active > 0;
	}
	ck_assert_uint_lt(held[0], 2000);
	ck_assert_uint_gt(held[1], 12000);
	policy_rig_free(&r);
}
END_TEST

START_TEST(more_choices_find_the_idle_one_more_often)
{
	struct policy_rig *r = policy_rig_new(LB_LEAST_REQUEST, 16, NULL);
	uint32_t two, eight;

	for (uint32_t i = 1; i < 16; i++)
		r->hot[i].active = 9;
	policy_rig_picks(r, 16000);
	two = r->hits[0];
	r->spec->choices = 8;
	policy_rig_build(r);
	r->hits[0] = 0;
	policy_rig_picks(r, 16000);
	eight = r->hits[0];
	ck_assert_uint_ge(two, 1700);
	ck_assert_uint_le(two, 2300);
	ck_assert_uint_ge(eight, 5500);
	policy_rig_free(&r);
}
END_TEST

UNIT_SUITE("least_request", without_load_equal_weights_are_uniform, without_load_calls_spread_by_weight,
	of_two_endpoints_the_less_busy_one_is_always_picked, a_busy_endpoint_among_idle_ones_gets_nothing,
	under_load_two_choices_keep_the_queues_level, under_load_each_holds_in_proportion_to_its_weight, a_slow_endpoint_gets_less,
	more_choices_find_the_idle_one_more_often)
