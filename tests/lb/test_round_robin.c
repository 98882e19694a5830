/* Each in turn; exact proportions over a cycle, evenly spread. */
#include "tests/lb/policyrig.h"
#include "tests/unit.h"
#include <stdlib.h>

START_TEST(equal_weights_come_in_turn_from_a_random_start)
{
	uint32_t starts[10] = {0}, seen = 0;
	struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, 10, NULL);

	for (int build = 0; build < 100; build++) {
		uint32_t first;

		policy_rig_build(r);
		first = policy_rig_pick(r);
		starts[first]++;
		for (uint32_t i = 1; i < 30; i++)
			ck_assert_uint_eq(policy_rig_pick(r), (first + i) % 10);
	}
	for (int i = 0; i < 10; i++)
		seen += starts[i] > 0;
	ck_assert_uint_ge(seen, 9);
	policy_rig_free(&r);
}
END_TEST

START_TEST(the_turn_of_one_that_is_out_is_shared_by_all)
{
	struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, 5, NULL);

	r->hot[2].flags = HOT_BACKOFF;
	policy_rig_picks(r, 4000);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_uint_eq(r->hits[i], i == 2 ? 0 : 1000);
	policy_rig_free(&r);
}
END_TEST

static const struct {
	uint32_t n, weight[8];
} rows[] = {
	{2, {1, 2}},
	{2, {1, 100}},
	{3, {5, 1, 1}},
	{3, {50, 50, 100}},
	{4, {1, 2, 3, 4}},
	{8, {1, 50, 3, 50, 7, 100, 1, 2}},
	{5, {16, 17, 31, 32, 33}},
	{4, {128, 127, 129, 1}},
	{6, {3, 3, 3, 3, 3, 4}},
};

START_TEST(over_a_cycle_each_is_picked_exactly_as_often_as_it_weighs)
{
	for (size_t k = 0; k < UNIT_COUNT(rows); k++) {
		struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, rows[k].n, rows[k].weight);
		uint32_t sum = 0;

		for (uint32_t i = 0; i < rows[k].n; i++)
			sum += rows[k].weight[i];
		for (uint32_t cycle = 1; cycle <= 5; cycle++) {
			policy_rig_picks(r, sum);
			for (uint32_t i = 0; i < rows[k].n; i++)
				ck_assert_msg(r->hits[i] == cycle * rows[k].weight[i], "row %zu cycle %u: endpoint %u has %u", k, cycle, i,
					r->hits[i]);
		}
		policy_rig_free(&r);
	}
}
END_TEST

/* At each moment nobody is far ahead of or behind its share: what bursts would show. Smooth schemes stay within two or three. */
START_TEST(at_each_moment_nobody_is_far_from_its_share)
{
	for (size_t k = 0; k < UNIT_COUNT(rows); k++) {
		struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, rows[k].n, rows[k].weight);
		uint32_t sum = 0;

		for (uint32_t i = 0; i < rows[k].n; i++)
			sum += rows[k].weight[i];
		for (uint32_t at = 1; at <= 2 * sum; at++) {
			policy_rig_pick(r);
			for (uint32_t i = 0; i < rows[k].n; i++) {
				double lag = (double)at * rows[k].weight[i] / sum - r->hits[i];

				ck_assert_msg(lag < 3 && lag > -3, "row %zu, pick %u: endpoint %u is %.2f behind", k, at, i, lag);
			}
		}
		policy_rig_free(&r);
	}
}
END_TEST

START_TEST(the_heavy_one_is_spread_between_the_light_ones)
{
	static const uint32_t weight[] = {5, 1, 1, 1, 1, 1};
	struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, 6, weight);
	uint32_t run = 0;

	for (int i = 0; i < 1000; i++) {
		run = policy_rig_pick(r) == 0 ? run + 1 : 0;
		ck_assert_uint_le(run, 1);
	}
	policy_rig_free(&r);
}
END_TEST

START_TEST(the_others_keep_their_proportions_when_a_weighted_one_is_out)
{
	static const uint32_t weight[] = {10, 20, 30, 40};
	struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, 4, weight);

	r->hot[3].flags = HOT_BACKOFF;
	policy_rig_picks(r, 6000);
	ck_assert_int_le(abs((int)r->hits[0] - 1000), 5);
	ck_assert_int_le(abs((int)r->hits[1] - 2000), 5);
	ck_assert_int_le(abs((int)r->hits[2] - 3000), 5);
	policy_rig_free(&r);
}
END_TEST

START_TEST(weights_of_any_size_are_kept_apart)
{
	static const uint32_t weight[] = {1, 4294967295u, 2147483648u};
	struct policy_rig *r = policy_rig_new(LB_ROUND_ROBIN, 3, weight);

	policy_rig_picks(r, 30000);
	ck_assert_uint_le(r->hits[0], 1);
	ck_assert_int_le(abs((int)r->hits[1] - 20000), 3);
	ck_assert_int_le(abs((int)r->hits[2] - 10000), 3);
	policy_rig_free(&r);
}
END_TEST

START_TEST(a_hundred_thousand_endpoints_are_exact_as_well)
{
	enum { N = 100000 };
	uint32_t *weight = malloc(N * sizeof(*weight)), sum = 0;
	struct policy_rig *r;

	for (uint32_t i = 0; i < N; i++)
		sum += weight[i] = 1 + i * 7919 % 10;
	r = policy_rig_new(LB_ROUND_ROBIN, N, weight);
	policy_rig_picks(r, sum);
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(r->hits[i], weight[i]);
	policy_rig_free(&r);
	free(weight);
}
END_TEST

UNIT_SUITE("round_robin", equal_weights_come_in_turn_from_a_random_start, the_turn_of_one_that_is_out_is_shared_by_all,
	over_a_cycle_each_is_picked_exactly_as_often_as_it_weighs, at_each_moment_nobody_is_far_from_its_share,
	the_heavy_one_is_spread_between_the_light_ones, the_others_keep_their_proportions_when_a_weighted_one_is_out,
	weights_of_any_size_are_kept_apart, a_hundred_thousand_endpoints_are_exact_as_well)
