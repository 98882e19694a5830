/* What all policies promise: who is ruled out is never picked, who is not is found, and no memory is forgotten. */
#include "tests/lb/policyrig.h"
#include "tests/unit.h"

static const enum lb_kind kinds[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST};
static const uint32_t weights[] = {1, 50, 3, 50, 7, 100, 1, 2};
#define each_policy(r) \
	for (size_t k = 0; k < UNIT_COUNT(kinds) * 2; k++) \
		for (struct policy_rig *r = policy_rig_new(kinds[k / 2], UNIT_COUNT(weights), k % 2 ? weights : NULL); r; \
			policy_rig_free(&r))

START_TEST(who_is_in_backoff_draining_or_unhealthy_is_not_picked)
{
	each_policy(r)
	{
		r->hot[1].flags = HOT_BACKOFF;
		r->hot[3].flags = HOT_DRAINING;
		r->hot[5].flags = HOT_UNHEALTHY;
		policy_rig_picks(r, 2000);
		for (uint32_t i = 0; i < r->count; i++)
			ck_assert_msg((r->hits[i] > 0) == (i != 1 && i != 3 && i != 5), "%s: endpoint %u", r->policy->ops->name, i);
	}
}
END_TEST

START_TEST(who_was_tried_is_not_picked_again)
{
	each_policy(r)
	{
		r->pick.tried_count = 3;
		r->pick.tried[0] = 5;
		r->pick.tried[1] = 1;
		r->pick.tried[2] = 3;
		policy_rig_picks(r, 2000);
		ck_assert_uint_eq(r->hits[5] + r->hits[1] + r->hits[3], 0);
	}
}
END_TEST

START_TEST(the_only_one_left_is_always_found)
{
	each_policy(r)
	{
		for (uint32_t i = 0; i < r->count; i++)
			r->hot[i].flags = HOT_BACKOFF;
		r->hot[6].flags = HOT_USABLE; /* the lightest of the weighted ones */
		policy_rig_picks(r, 500);
		ck_assert_uint_eq(r->hits[6], 500);
	}
}
END_TEST

START_TEST(nobody_is_picked_when_all_are_ruled_out)
{
	each_policy(r)
	{
		for (uint32_t i = 0; i < r->count; i++)
			r->hot[i].flags = HOT_UNHEALTHY;
		ck_assert_uint_eq(policy_rig_pick(r), PICK_NOBODY);
	}
}
END_TEST

START_TEST(one_endpoint_alone_is_picked_or_ruled_out)
{
	for (size_t k = 0; k < UNIT_COUNT(kinds); k++) {
		struct policy_rig *r = policy_rig_new(kinds[k], 1, NULL);

		ck_assert_uint_eq(policy_rig_pick(r), 0);
		r->pick.tried_count = 1;
		ck_assert_uint_eq(policy_rig_pick(r), PICK_NOBODY);
		policy_rig_free(&r);
	}
}
END_TEST

START_TEST(memory_that_is_refused_leaves_nothing_behind)
{
	struct policy_rig *r = policy_rig_new(LB_RANDOM, UNIT_COUNT(weights), weights);

	/* From nothing to enough, in steps smaller than any of the allocations. */
	for (size_t k = 0; k < UNIT_COUNT(kinds); k++) {
		uint32_t refused = 0, built = 0;

		for (size_t limit = 0; limit < 4096; limit += 16) {
			struct account a;
			struct policy *p;

			account_init(&a, NULL, "small", limit);
			p = policy_build(kinds[k], r->loop, &a, r->hot, r->count, r->spec);
			built += p != NULL;
			refused += p == NULL;
			policy_free(&p);
			ck_assert_uint_eq(a.used, 0);
			account_end(&a);
		}
		ck_assert_uint_gt(refused, 0);
		ck_assert_uint_gt(built, 0);
	}
	policy_rig_free(&r);
}
END_TEST

START_TEST(a_policy_is_built_in_slices_that_walk_no_more_than_they_may)
{
	enum { COUNT = 5000, SLICE = 700 };
	uint32_t heavy[COUNT];

	for (uint32_t i = 0; i < COUNT; i++)
		heavy[i] = 1 + i % 100;
	for (size_t k = 0; k < UNIT_COUNT(kinds) * 2; k++) {
		struct policy_rig *r = policy_rig_new(kinds[k / 2], COUNT, k % 2 ? heavy : NULL);
		struct policy *p = policy_begin(kinds[k / 2], r->loop, &r->loop->memory, r->hot, COUNT, r->spec);
		uint32_t slices = 0, none = 0;
		int err;

		ck_assert_int_eq(policy_step(p, &none), 1);
		do {
			uint32_t work = SLICE;

			err = policy_step(p, &work);
			ck_assert_uint_le(work, SLICE);
			ck_assert(err <= 0 || work == 0); /* what is not used up is not stopped */
			slices++;
		} while (err > 0);
		ck_assert_int_eq(err, 0);
		ck_assert_uint_ge(slices, COUNT / SLICE);
		ck_assert_uint_le(slices, 4 * COUNT / SLICE);
		policy_free(&r->policy);
		r->policy = p;
		policy_rig_picks(r, 20 * COUNT);
		for (uint32_t i = COUNT / 2; i < COUNT / 2 + 100; i++)
			ck_assert(r->hits[i] > 0 || r->hot[i].weight < 20);
		policy_rig_free(&r);
	}
}
END_TEST

UNIT_SUITE("policy", who_is_in_backoff_draining_or_unhealthy_is_not_picked, who_was_tried_is_not_picked_again,
	the_only_one_left_is_always_found, nobody_is_picked_when_all_are_ruled_out, one_endpoint_alone_is_picked_or_ruled_out,
	memory_that_is_refused_leaves_nothing_behind, a_policy_is_built_in_slices_that_walk_no_more_than_they_may)
