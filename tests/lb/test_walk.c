/* lb/cluster: endpoints told in pieces, for pages: each once, those that are not well first, whatever the size of a piece, and to an end whatever happens between two of them. */
#include <stdio.h>
#include "tests/lb/lbrig.h"
#include "tests/unit.h"

enum { SEEN_MAX = 70000 };
struct seen { char text[64][ADDR_TEXT]; const char *health[64]; uint32_t count; };

static void see(void *ctx, const struct host_view *v)
{
	struct seen *s = ctx;

	if (s->count < 64) {
		snprintf(s->text[s->count], ADDR_TEXT, "%s", v->text);
		s->health[s->count] = v->health;
	}
	s->count++;
}

START_TEST(each_is_told_once_and_those_that_are_not_well_first)
{
	struct lb_rig *r = lb_rig_new();
	static const char *const order[] = {"10.0.0.2:1", "10.0.0.4:1", "10.0.0.5:1", "10.0.0.1:1", "10.0.0.3:1", "10.0.0.6:1"};
	static const char *const health[] = {"eds unhealthy", "degraded", "draining", "healthy", "healthy", "healthy"};

	lb_rig_declare(r, lb_rig_spec(), "10.0.0.1:1 10.0.0.2:1!u 10.0.0.3:1 10.0.0.4:1!g 10.0.0.5:1!d 10.0.0.6:1");
	for (uint32_t most = 1; most < 9; most++) {
		struct host_walk w = {0};
		struct seen s = {.count = 0};
		bool more = true;

		for (int pieces = 0; more; pieces++) {
			uint32_t before = s.count;
			more = cluster_walk_hosts(r->cluster, &w, most, see, &s);
			ck_assert_uint_le(s.count - before, most);
			ck_assert_int_lt(pieces, 20);
		}
		ck_assert_uint_eq(s.count, 6);
		for (uint32_t i = 0; i < 6; i++) {
			ck_assert_str_eq(s.text[i], order[i]);
			ck_assert_str_eq(s.health[i], health[i]);
		}
	}
	lb_rig_free(&r);
}
END_TEST

START_TEST(held_ones_are_told_too)
{
	struct lb_rig *r = lb_rig_new();
	struct cluster_spec *spec = lb_rig_spec();
	struct call c;

	spec->removal_hold_ns = 20 * SEC;
	provider_new(r, "10.0.0.1:1", HOLDS);
	lb_rig_declare(r, spec, "10.0.0.1:1");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	lb_rig_declare(r, NULL, "10.0.0.2:1!u 10.0.0.3:1");
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(lb_rig_view(r).held, 1);
	for (uint32_t most = 1; most < 5; most++) {
		struct host_walk w = {0};
		struct seen s = {.count = 0};

		while (cluster_walk_hosts(r->cluster, &w, most, see, &s))
			ck_assert_uint_le(s.count, 3);
		ck_assert_uint_eq(s.count, 3);
		ck_assert_str_eq(s.text[0], "10.0.0.2:1");
		ck_assert_str_eq(s.text[1], "10.0.0.1:1");
		ck_assert_str_eq(s.health[1], "held");
		ck_assert_str_eq(s.text[2], "10.0.0.3:1");
	}
	call_cancel(&c);
	call_clear(&c);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_set_that_becomes_another_one_ends_the_walk_all_the_same)
{
	struct lb_rig *r = lb_rig_new();
	struct host_walk w = {0};
	struct seen s = {.count = 0};

	lb_rig_declare(r, lb_rig_spec(), NULL);
	lb_rig_publish(r, set_range(SEEN_MAX, UINT32_MAX, NULL));
	lb_rig_advance(r, SEC);
	for (int i = 0; i < 20; i++)
		ck_assert(cluster_walk_hosts(r->cluster, &w, 1000, see, &s));
	ck_assert_uint_ge(s.count, 18000); /* a piece looks at so many and no more: the first ones may tell nobody */
	lb_rig_declare(r, NULL, "10.0.0.1:1");
	lb_rig_advance(r, SEC);
	ck_assert(!cluster_walk_hosts(r->cluster, &w, 1000, see, &s));
	ck_assert(!cluster_walk_hosts(r->cluster, &w, 1000, see, &s)); /* and it stays ended */
	lb_rig_declare(r, NULL, "");
	lb_rig_advance(r, SEC);
	w = (struct host_walk){0};
	ck_assert(!cluster_walk_hosts(r->cluster, &w, 1000, see, &s));
	lb_rig_free(&r);
}
END_TEST

START_TEST(picks_in_panic_are_counted)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	lb_rig_declare(r, lb_rig_spec(), "10.0.0.1:1 10.0.0.2:1");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	host_done(&h, HOST_OK);
	ck_assert_uint_eq(lb_rig_view(r).counts[COUNT_PANIC], 0);
	lb_rig_declare(r, NULL, "10.0.0.1:1!u 10.0.0.2:1!u");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
		host_done(&h, HOST_OK);
	}
	ck_assert(lb_rig_view(r).panic);
	ck_assert_uint_eq(lb_rig_view(r).counts[COUNT_PANIC], 3);
	lb_rig_free(&r);
}
END_TEST

UNIT_SUITE("walk", each_is_told_once_and_those_that_are_not_well_first, held_ones_are_told_too, a_set_that_becomes_another_one_ends_the_walk_all_the_same, picks_in_panic_are_counted)
