/* lb/rebuild: large sets are taken over in slices, small ones at once; what stays keeps its hosts; every refusal leaves the old ones. Work is counted, not
 * timed: c->walked is what the last turn walked. */
#include "lb/cluster_int.h"
#include "tests/lb/checkrig.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIG = 20000 };

/* Turns until nothing is being taken over; each walks no more than its share (and the rest of a block). */
static uint32_t turns(struct lb_rig *r, uint32_t *ret_work)
{
	uint32_t n = 0;

	*ret_work = 0;
	while (r->cluster->rebuild || r->cluster->settle) {
		ck_assert_int_eq(loop_turn(r->loop, 0), 0);
		ck_assert_uint_le(r->cluster->walked, REBUILD_SLICE + ENDPOINT_BLOCK);
		*ret_work += r->cluster->walked;
		ck_assert_uint_lt(n++, 1000);
	}
	return n;
}

static struct lb_rig *big_rig(enum lb_kind kind)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	uint32_t work;

	spec->lb = kind;
	spec_seal(spec);
	lb_rig_declare(r, spec, "");
	lb_rig_publish(r, set_range(BIG, UINT32_MAX, NULL));
	turns(r, &work);
	return r;
}

START_TEST(a_small_set_is_taken_over_at_once_a_large_one_in_slices)
{
	static const enum lb_kind kinds[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST};

	for (size_t k = 0; k < UNIT_COUNT(kinds); k++)
		for (int unequal = 0; unequal < 2; unequal++) {
			struct cluster_spec *spec = lb_rig_spec();
			struct lb_rig *r = lb_rig_new();
			struct host *h;
			uint32_t work;

			spec->lb = kinds[k];
			lb_rig_declare(r, spec, "10.0.0.1:1");
			lb_rig_publish(r, set_range(REBUILD_AT_ONCE, UINT32_MAX, NULL));
			ck_assert_uint_eq(lb_rig_view(r).hosts, REBUILD_AT_ONCE);
			ck_assert(!lb_rig_view(r).building);
			lb_rig_publish(r, set_range(BIG, unequal ? 77 : UINT32_MAX, NULL));
			ck_assert_uint_eq(lb_rig_view(r).hosts, REBUILD_AT_ONCE); /* the old ones serve */
			ck_assert(lb_rig_view(r).building);
			ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
			host_done(&h, HOST_OK);
			turns(r, &work);
			ck_assert_uint_ge(work, BIG);
			ck_assert_uint_le(work, 8 * BIG);
			ck_assert_uint_eq(lb_rig_view(r).hosts, BIG);
			ck_assert(!lb_rig_view(r).building);
			lb_rig_free(&r);
		}
}
END_TEST

START_TEST(a_call_waits_for_the_first_endpoints_of_a_large_set)
{
	struct lb_rig *r = lb_rig_new();
	struct endpoint_set *set = set_range(BIG, UINT32_MAX, NULL);
	struct host *h;
	uint32_t work;

	lb_rig_declare(r, NULL, "");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_NONE);
	lb_rig_publish(r, set);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_WAIT);
	turns(r, &work);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	host_done(&h, HOST_OK);
	lb_rig_free(&r);
}
END_TEST

START_TEST(blocks_that_are_shared_are_not_read_again)
{
	static const enum lb_kind kinds[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST};

	for (size_t k = 0; k < UNIT_COUNT(kinds); k++) {
		struct lb_rig *r = big_rig(kinds[k]);
		uint32_t work;

		/* The policy walks all weights once to see that they are equal; the rest is a tenth of a full walk. */
		lb_rig_publish(r, set_range(BIG - 1, UINT32_MAX, r->decl.endpoints));
		turns(r, &work);
		ck_assert_uint_eq(lb_rig_view(r).hosts, BIG - 1);
		ck_assert_uint_lt(work, BIG + BIG / 5);
		lb_rig_free(&r);
	}
}
END_TEST

START_TEST(hosts_calls_and_connections_go_on_across_a_large_update)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, "10.1.0.1:777", HOLDS);
	struct endpoint_set *big, *next;
	struct host *held, *h;
	struct call c;
	uint32_t work, accepted;

	lb_rig_declare(r, NULL, "10.1.0.1:777%b");
	call_start(r, &c);
	lb_rig_advance(r, 0);
	held = c.host;
	accepted = p->accepted;
	/* It is the 777th of the large ones; then one of another block is changed; then its own block. */
	big = set_range(BIG, UINT32_MAX, NULL);
	lb_rig_publish(r, big);
	turns(r, &work);
	ck_assert_uint_eq(held->index, 776);
	ck_assert_uint_eq(lb_rig_host(r, 776).active, 1);
	ck_assert_ptr_null(held->zone);
	next = set_range(BIG, 10000, big);
	lb_rig_publish(r, next);
	turns(r, &work);
	ck_assert_uint_eq(held->index, 776);
	next = set_range(BIG, 780, next);
	lb_rig_publish(r, next);
	turns(r, &work);
	ck_assert_uint_eq(held->index, 776);
	ck_assert_uint_eq(lb_rig_host(r, 776).active, 1);
	ck_assert_uint_eq(lb_rig_host(r, 776).connections, 1);
	ck_assert_uint_eq(lb_rig_host(r, 780).weight, 2);
	/* Picked while the next ones are made: born among the old, it is found among the new. */
	lb_rig_publish(r, set_range(BIG, 5, next));
	loop_turn(r->loop, 0);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	turns(r, &work);
	ck_assert_uint_ne(h->index, UINT32_MAX);
	ck_assert_uint_eq(lb_rig_host(r, h->index).active, 1);
	host_done(&h, HOST_OK);
	/* Gone from the set: it serves its call to the end. */
	lb_rig_publish(r, set_range(700, UINT32_MAX, NULL));
	ck_assert_uint_eq(held->index, UINT32_MAX);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, accepted);
	ck_assert_uint_eq(lb_rig_view(r).active, 0);
	lb_rig_free(&r);
}
END_TEST

/* A control plane that publishes in each turn: the cluster follows all the same, and in the end it has the last one. */
START_TEST(who_publishes_without_pause_starves_nobody)
{
	struct lb_rig *r = big_rig(LB_ROUND_ROBIN);
	uint32_t changes = 0, last = BIG, work;

	for (uint32_t i = 0; i < 60; i++) {
		lb_rig_publish(r, set_range(BIG + 1 + i, i, r->decl.endpoints));
		loop_turn(r->loop, 0);
		changes += lb_rig_view(r).hosts != last;
		last = lb_rig_view(r).hosts;
	}
	ck_assert_uint_ge(changes, 3);
	turns(r, &work);
	ck_assert_uint_eq(lb_rig_view(r).hosts, BIG + 60);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_small_set_or_a_withdrawal_does_not_wait_for_a_large_one)
{
	struct lb_rig *r = big_rig(LB_RANDOM);
	uint32_t work;

	lb_rig_publish(r, set_range(BIG, 3, NULL));
	loop_turn(r->loop, 0);
	lb_rig_publish(r, set_range(2 * BIG, 3, NULL));
	lb_rig_declare(r, NULL, "10.0.0.1:1");
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	ck_assert(!lb_rig_view(r).building);
	lb_rig_publish(r, set_range(BIG, 3, NULL));
	loop_turn(r->loop, 0);
	lb_rig_withdraw(r);
	lb_rig_advance(r, 0);
	ck_assert_ptr_null(r->decl.live);
	lb_rig_declare(r, NULL, "10.0.0.1:1");
	turns(r, &work);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_hundred_thousand_endpoints_are_held_in_96_bytes_each)
{
	static const enum lb_kind kinds[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST};
	enum { COUNT = 100000 };

	for (size_t k = 0; k < UNIT_COUNT(kinds); k++)
		for (int unequal = 0; unequal < 2; unequal++) {
			struct cluster_spec *spec = lb_rig_spec();
			struct lb_rig *r = lb_rig_new();
			struct endpoint_set *set;
			size_t before, held;
			uint32_t work;

			spec->lb = kinds[k];
			lb_rig_declare(r, spec, "10.0.0.1:1");
			before = r->clusters->account.used;
			set = set_range(COUNT, unequal ? 1 : UINT32_MAX, NULL);
			lb_rig_publish(r, set);
			turns(r, &work);
			ck_assert_uint_eq(lb_rig_view(r).hosts, COUNT);
			held = r->clusters->account.used - before + endpoints_memory(set);
			ck_assert_msg(held / COUNT <= 64, "%s: %zu bytes an endpoint", lb_kind_name(kinds[k]), held / COUNT);
			lb_rig_free(&r);
		}
}
END_TEST

/* In every turn of a large update somebody fails: of those that are copied, read anew, or in both sets at another place. And who was not there is pending. */
START_TEST(what_a_check_says_while_a_large_set_is_made_is_known_in_it)
{
	for (int shared = 0; shared < 2; shared++) {
		struct cluster_spec *spec = check_rig_spec();
		struct check_rig k = {0};
		struct lb_rig *r = lb_rig_new();
		uint32_t failed = 0, work;

		check_rig_begin(&k, r);
		lb_rig_declare(r, spec, "");
		lb_rig_publish(r, set_range(BIG, UINT32_MAX, NULL));
		turns(r, &work);
		ck_assert_uint_eq(lb_rig_view(r).check_pending, BIG);
		check_rig_say(r, NULL, HOST_PASSED);
		ck_assert_uint_eq(lb_rig_view(r).healthy, BIG);
		lb_rig_publish(r, set_range(BIG + 1000, 100, shared ? r->decl.endpoints : NULL));
		while (r->cluster->rebuild) {
			host_set_check(cluster_host_at(r->cluster, failed * 700 + 99), HOST_FAILED, false);
			failed++;
			loop_turn(r->loop, 0);
		}
		ck_assert_uint_gt(failed, 3);
		turns(r, &work);
		ck_assert_uint_eq(lb_rig_view(r).hosts, BIG + 1000);
		ck_assert_uint_eq(lb_rig_view(r).check_failed, failed);
		ck_assert_uint_eq(lb_rig_view(r).check_pending, 1000);
		ck_assert_uint_eq(lb_rig_view(r).healthy, BIG - failed);
		for (uint32_t i = 0; i < failed; i++)
			ck_assert_int_eq(cluster_host_at(r->cluster, i * 700 + 99)->check, HOST_FAILED);
		ck_assert_uint_eq(k.gone, 0);
		ck_assert_uint_eq(k.hosts, BIG + 1000);
		lb_rig_free(&r);
		ck_assert_uint_eq(k.hosts, 0);
	}
}
END_TEST

/* Checks that begin under a hundred thousand which serve: nobody stops, and until then nobody is born. */
START_TEST(checks_that_begin_under_a_large_set_stop_nobody)
{
	struct lb_rig *r = big_rig(LB_RANDOM);
	struct check_rig k = {0};
	struct cluster_spec *before = r->decl.spec;
	uint32_t work;

	check_rig_begin(&k, r);
	ck_assert_uint_eq(r->cluster->host_count, 0);
	r->decl.spec = check_rig_spec();
	lb_rig_publish(r, set_range(BIG, UINT32_MAX, NULL));
	spec_unref(&before);
	while (r->cluster->rebuild) {
		ck_assert_uint_eq(check_rig_picks(r, NULL, 1), 1);
		loop_turn(r->loop, 0);
	}
	turns(r, &work);
	ck_assert_uint_eq(k.hosts, BIG);
	ck_assert_uint_eq(check_rig_picks(r, NULL, 100), 100);
	ck_assert_uint_eq(lb_rig_view(r).healthy, BIG);
	lb_rig_declare(r, lb_rig_spec(), "10.0.0.1:1");
	ck_assert_uint_eq(k.gone, BIG);
	ck_assert_uint_eq(check_rig_picks(r, NULL, 1), 1);
	lb_rig_free(&r);
}
END_TEST

/* At every allocation of an update, small or large: the old endpoints stay, nothing is lost, and the next one may succeed. */
START_TEST(whatever_memory_is_refused_the_old_endpoints_serve_on)
{
	static const uint32_t counts[] = {300, REBUILD_AT_ONCE + 500};

	for (size_t k = 0; k < UNIT_COUNT(counts) * 2; k++) {
		struct cluster_spec *spec = lb_rig_spec();
		struct lb_rig *r = lb_rig_new();
		struct endpoint_set *set = set_range(counts[k / 2], 7, NULL);
		uint32_t refused = 0, work;
		size_t used;

		spec->lb = k % 2 ? LB_LEAST_REQUEST : LB_ROUND_ROBIN;
		lb_rig_declare(r, spec, "10.0.0.1:1 10.0.0.2:1");
		used = r->clusters->account.used;
		for (size_t limit = used;; limit += counts[k / 2]) {
			struct host *h;

			r->clusters->account.limit = limit;
			lb_rig_publish(r, endpoints_ref(set));
			turns(r, &work);
			ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
			host_done(&h, HOST_OK);
			if (lb_rig_view(r).hosts != 2)
				break;
			ck_assert_uint_eq(lb_rig_view(r).updates_refused, ++refused);
			ck_assert_uint_eq(r->clusters->account.used, used);
			ck_assert_uint_lt(refused, 2000);
		}
		ck_assert_uint_gt(refused, 20);
		ck_assert_uint_eq(lb_rig_view(r).hosts, counts[k / 2]);
		endpoints_unref(&set);
		lb_rig_free(&r);
	}
}
END_TEST

START_TEST(one_address_a_thousand_times_is_taken_over_all_the_same)
{
	struct lb_rig *r = lb_rig_new();
	uint32_t work;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	for (int round = 0; round < 2; round++) {
		struct endpoints_builder *b = endpoints_build(NULL, NULL);
		struct addr a = simnet_addr("10.0.0.1:1");

		ck_assert_int_eq(endpoints_group(b), 0);
		for (uint32_t i = 0; i < BIG; i++)
			ck_assert_int_eq(
				endpoints_put(b, &(struct endpoint_item){.addrs = &a, .naddrs = 1, .weight = 1 + (uint32_t)round}), 0);
		ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
		lb_rig_publish(r, endpoints_done(&b, 0));
		turns(r, &work);
		ck_assert_uint_eq(lb_rig_view(r).hosts, BIG);
		for (int i = 0; i < 100; i++) {
			struct host *h;

			ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
			host_done(&h, HOST_OK);
		}
	}
	lb_rig_free(&r);
}
END_TEST

/* Large and small sets, with and without what was there before, while calls come and go: the counts stay right. */
START_TEST(whatever_is_published_in_any_turn_the_counts_stay_right)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct host *flying[64] = {0};
	uint32_t active = 0, work;

	spec->removal_hold_ns = SEC;
	spec->max_requests = 60;
	lb_rig_declare(r, spec, "10.0.0.1:1");
	for (uint32_t step = 0; step < 3000; step++) {
		uint32_t what = (uint32_t)(simnet_random(r->net) % 20), i = (uint32_t)(simnet_random(r->net) % 64);

		if (what == 0)
			lb_rig_publish(r,
				set_range(4000 + (uint32_t)(simnet_random(r->net) % 3000), (uint32_t)(simnet_random(r->net) % 7000),
					simnet_random(r->net) % 2 ? r->decl.endpoints : NULL));
		else if (what == 1 && simnet_random(r->net) % 10 == 0)
			lb_rig_declare(r, NULL, simnet_random(r->net) % 2 ? "" : "10.1.0.1:5 10.1.0.1:6^1 10.1.0.1:7!d");
		else if (flying[i])
			host_done(&flying[i], HOST_OK), active--;
		else if (cluster_pick(r->cluster, 0, NULL, &flying[i]) == PICK_OK)
			active++;
		if (what < 8)
			loop_turn(r->loop, 0);
		if (what == 7)
			lb_rig_advance(r, 300 * MS);
		ck_assert_uint_eq(lb_rig_view(r).active, active);
		if (step % 100 == 0) {
			uint64_t sum = 0, gone = 0;

			for (uint32_t n = 0; n < r->cluster->m.count; n++) {
				uint32_t born = r->cluster->m.hot[n].born;

				sum += r->cluster->m.hot[n].active;
				ck_assert(!born || r->cluster->hosts[born - 1]->index == n);
			}
			for (uint32_t n = 0; n < r->cluster->host_count; n++)
				gone += r->cluster->hosts[n]->index == UINT32_MAX ? r->cluster->hosts[n]->active : 0;
			ck_assert_uint_eq(sum + gone, active);
		}
	}
	for (int i = 0; i < 64; i++)
		host_done(&flying[i], HOST_OK);
	turns(r, &work);
	lb_rig_withdraw(r);
	lb_rig_advance(r, 0);
	ck_assert_ptr_null(r->decl.live);
	lb_rig_free(&r);
}
END_TEST

UNIT_SUITE("rebuild", a_small_set_is_taken_over_at_once_a_large_one_in_slices, a_call_waits_for_the_first_endpoints_of_a_large_set,
	blocks_that_are_shared_are_not_read_again, hosts_calls_and_connections_go_on_across_a_large_update,
	who_publishes_without_pause_starves_nobody, a_small_set_or_a_withdrawal_does_not_wait_for_a_large_one,
	a_hundred_thousand_endpoints_are_held_in_96_bytes_each, whatever_memory_is_refused_the_old_endpoints_serve_on,
	what_a_check_says_while_a_large_set_is_made_is_known_in_it, checks_that_begin_under_a_large_set_stop_nobody,
	one_address_a_thousand_times_is_taken_over_all_the_same, whatever_is_published_in_any_turn_the_counts_stay_right)
