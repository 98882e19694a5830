/* Active checks, ejections and truth, as lb sees them (lb/checked.c, and what members, levels, rebuild, host and pool do about it): who is used, who waits, who is told.
 * What is held because its check passes is in test_held.c. */
#include "lb/cluster_int.h"
#include "tests/lb/checkrig.h"
#include "tests/unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ONE "10.0.0.1:1"
#define TWO "10.0.0.2:2"
#define THREE "10.0.0.3:3"
#define FOUR "10.0.0.4:4"

struct world {
	struct check_rig k;
	struct lb_rig *r;
};

static void world_new(struct world *w, struct cluster_spec *spec, const char *endpoints)
{
	*w = (struct world){.r = lb_rig_new()};
	check_rig_begin(&w->k, w->r);
	lb_rig_declare(w->r, spec, endpoints);
}

/* What was lent to hosts has come back. */
static void world_free(struct world *w)
{
	lb_rig_free(&w->r);
	ck_assert_uint_eq(w->k.hosts, 0);
}

static enum pick_result pick(struct lb_rig *r)
{
	struct host *h = NULL;
	enum pick_result got = cluster_pick(r->cluster, 0, NULL, &h);

	host_done(&h, HOST_OK);
	return got;
}

/* Per cent of the picks for endpoints with this port. */
static double share(struct lb_rig *r, uint16_t port)
{
	uint32_t hits = 0, n = 20000;

	for (uint32_t i = 0; i < n; i++) {
		struct host *h;

		if (cluster_pick(r->cluster, 0, NULL, &h) != PICK_OK)
			continue;
		hits += addr_port(&h->addrs[0]) == port;
		host_done(&h, HOST_OK);
	}
	return hits * 100.0 / n;
}

static void woken(struct cluster_wait *w)
{
	w->fn = NULL;
}

/* ---- who begins how --------------------------------------------------------------------------------------------------------- */

START_TEST(calls_wait_for_the_first_pass_and_for_no_more)
{
	struct world w;
	struct cluster_wait wait;

	world_new(&w, check_rig_spec(), ONE " " TWO " " THREE);
	ck_assert_uint_eq(w.k.switched, 1);
	ck_assert_uint_eq(w.k.hosts, 3);
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	cluster_wait(w.r->cluster, &wait, woken);
	check_rig_say(w.r, ONE, HOST_FAILED); /* two are still to be heard of */
	lb_rig_advance(w.r, 0);
	ck_assert_ptr_nonnull(wait.fn);
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	check_rig_say(w.r, TWO, HOST_PASSED);
	lb_rig_advance(w.r, 0);
	ck_assert_ptr_null(wait.fn);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 30), 30); /* the third is not known yet, and one of two is no panic */
	check_rig_say(w.r, THREE, HOST_PASSED);
	ck_assert_uint_eq(check_rig_picks(w.r, THREE, 30), 15);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 30), 0);
	world_free(&w);
}
END_TEST

START_TEST(calls_wait_no_more_once_all_have_failed)
{
	struct world w;
	struct cluster_wait wait;
	struct cluster_spec *spec = check_rig_spec();

	spec->panic_percent = 0;
	world_new(&w, spec, ONE " " TWO);
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	cluster_wait(w.r->cluster, &wait, woken);
	check_rig_say(w.r, NULL, HOST_FAILED);
	lb_rig_advance(w.r, 0);
	ck_assert_ptr_null(wait.fn);
	ck_assert_int_eq(pick(w.r), PICK_UNHEALTHY);
	world_free(&w);
	/* And where there is a threshold for panic they are tried. */
	world_new(&w, check_rig_spec(), ONE " " TWO);
	check_rig_say(w.r, NULL, HOST_FAILED);
	ck_assert_uint_eq(check_rig_picks(w.r, NULL, 10), 10);
	ck_assert(lb_rig_view(w.r).panic);
	world_free(&w);
}
END_TEST

START_TEST(where_nobody_checks_nobody_is_pending)
{
	struct lb_rig *r = lb_rig_new();

	lb_rig_declare(r, check_rig_spec(), ONE " " TWO);
	ck_assert_int_eq(pick(r), PICK_OK);
	ck_assert(!lb_rig_view(r).checked);
	ck_assert_str_eq(lb_rig_host(r, 0).health, "healthy");
	lb_rig_free(&r);
}
END_TEST

START_TEST(endpoints_that_come_later_are_used_after_their_first_pass)
{
	struct world w;

	world_new(&w, check_rig_spec(), ONE);
	check_rig_say(w.r, ONE, HOST_PASSED);
	lb_rig_declare(w.r, NULL, ONE " " TWO " " THREE);
	ck_assert_uint_eq(w.k.switched, 2);
	ck_assert_uint_eq(w.k.hosts, 3);
	ck_assert_int_eq(check_rig_host(w.r, ONE)->check, HOST_PASSED);
	ck_assert_int_eq(check_rig_host(w.r, TWO)->check, HOST_PENDING);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 30), 30); /* one of three: but two are not known to be bad */
	ck_assert(!lb_rig_view(w.r).panic);
	check_rig_say(w.r, TWO, HOST_PASSED);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 30), 15);
	check_rig_say(w.r, ONE, HOST_FAILED);
	check_rig_say(w.r, TWO, HOST_FAILED); /* nobody is known to be well: the third is waited for */
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	check_rig_say(w.r, THREE, HOST_FAILED);
	ck_assert_int_eq(pick(w.r), PICK_OK);
	world_free(&w);
}
END_TEST

START_TEST(in_panic_those_that_are_not_known_are_used_too)
{
	struct world w;

	world_new(&w, check_rig_spec(), "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.4:1");
	check_rig_say(w.r, "10.0.0.1:1", HOST_PASSED);
	check_rig_say(w.r, "10.0.0.2:1", HOST_FAILED);
	check_rig_say(w.r, "10.0.0.3:1", HOST_FAILED);
	ck_assert(lb_rig_view(w.r).panic); /* one of the three that are known */
	ck_assert_uint_eq(check_rig_picks(w.r, "10.0.0.4:1", 40), 10);
	world_free(&w);
}
END_TEST

START_TEST(who_serves_already_serves_on_when_checks_begin)
{
	struct world w;
	struct cluster_spec *without = lb_rig_spec();

	spec_seal(without);
	world_new(&w, without, ONE " " TWO);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	ck_assert_uint_eq(w.k.hosts, 0);
	lb_rig_declare(w.r, check_rig_spec(), ONE " " TWO);
	ck_assert_uint_eq(w.k.hosts, 2);
	ck_assert_int_eq(check_rig_host(w.r, TWO)->check, HOST_PASSED);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 10), 5);
	check_rig_say(w.r, TWO, HOST_FAILED);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 10), 0);
	world_free(&w);
}
END_TEST

START_TEST(a_spec_that_loses_its_checks_gives_all_back)
{
	struct world w;
	struct cluster_spec *without = lb_rig_spec();

	world_new(&w, check_rig_spec(), ONE " " TWO);
	check_rig_say(w.r, ONE, HOST_FAILED);
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	spec_seal(without);
	lb_rig_declare(w.r, without, ONE " " TWO);
	ck_assert_uint_eq(w.k.gone, 2);
	ck_assert_uint_eq(w.k.hosts, 0);
	ck_assert_int_eq(check_rig_host(w.r, ONE)->check, HOST_UNCHECKED);
	ck_assert_ptr_null(check_rig_host(w.r, ONE)->checks);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	check_rig_say(w.r, ONE, HOST_FAILED); /* a checker that is late says nothing */
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	world_free(&w);
}
END_TEST

START_TEST(an_endpoint_that_is_not_to_be_checked_is_as_good_as_one_that_passed)
{
	struct endpoint_metas *metas = endpoint_metas_new(NULL, 1);
	struct world w;

	world_new(&w, check_rig_spec(), "");
	lb_rig_publish(w.r, set_text(ONE "=off " TWO, metas, NULL));
	ck_assert_uint_eq(w.k.hosts, 1);
	ck_assert_int_eq(cluster_host_at(w.r->cluster, 0)->check, HOST_UNCHECKED);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 10);
	check_rig_say(w.r, NULL, HOST_PASSED);
	ck_assert_int_eq(cluster_host_at(w.r->cluster, 0)->check, HOST_UNCHECKED);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 10), 5);
	/* The other way round: the one is checked from now on, the other no more. */
	lb_rig_publish(w.r, set_text(ONE " " TWO "=off", metas, NULL));
	ck_assert_uint_eq(w.k.gone, 1);
	ck_assert_uint_eq(w.k.hosts, 1);
	ck_assert_int_eq(check_rig_host(w.r, ONE)->check, HOST_PENDING);
	ck_assert_uint_eq(check_rig_picks(w.r, TWO, 10), 10);
	world_free(&w);
	endpoint_metas_free(&metas);
}
END_TEST

START_TEST(checks_may_begin_and_end_under_clusters_that_serve)
{
	struct world w = {.r = lb_rig_new()};

	lb_rig_declare(w.r, check_rig_spec(), ONE " " TWO);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	check_rig_begin(&w.k, w.r);
	ck_assert_uint_eq(w.k.hosts, 2);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	check_rig_say(w.r, ONE, HOST_FAILED);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 0);
	for (uint32_t i = 0; i < 2; i++)
		free(cluster_host_at(w.r->cluster, i)->checks); /* as checker_free does */
	clusters_set_events(w.r->clusters, NULL, NULL);
	ck_assert_int_eq(check_rig_host(w.r, ONE)->check, HOST_UNCHECKED);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 5);
	ck_assert_uint_eq(w.k.gone, 0); /* who goes is not told */
	lb_rig_free(&w.r);
	ck_assert_uint_eq(w.k.ended, 0);
}
END_TEST

START_TEST(a_cluster_tells_who_checks_of_its_first_call_and_of_its_end)
{
	struct world w;

	world_new(&w, check_rig_spec(), ONE);
	ck_assert(!cluster_has_traffic(w.r->cluster));
	cluster_set_checks(w.r->cluster, &w);
	ck_assert_ptr_eq(cluster_checks(w.r->cluster), &w);
	ck_assert_int_eq(pick(w.r), PICK_WAIT);
	check_rig_say(w.r, ONE, HOST_PASSED);
	ck_assert_int_eq(pick(w.r), PICK_OK);
	ck_assert_uint_eq(w.k.traffic, 1);
	ck_assert(cluster_has_traffic(w.r->cluster));
	lb_rig_withdraw(w.r);
	ck_assert_uint_eq(w.k.gone, 1);
	ck_assert_uint_eq(w.k.ended, 1);
	ck_assert_uint_eq(w.k.switched, 1);
	world_free(&w);
}
END_TEST

START_TEST(who_left_the_set_is_checked_no_more_though_calls_are_on_it)
{
	struct world w;
	struct host *h;
	struct endpoint e;

	world_new(&w, check_rig_spec(), ONE);
	check_rig_say(w.r, ONE, HOST_PASSED);
	ck_assert_int_eq(cluster_pick(w.r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert(host_endpoint(h, &e));
	ck_assert_uint_eq(addr_port(&e.addr), 1);
	lb_rig_declare(w.r, NULL, TWO);
	ck_assert_uint_eq(w.k.gone, 1);
	ck_assert_ptr_null(h->checks);
	ck_assert(!host_endpoint(h, &e));
	host_set_check(h, HOST_FAILED, false); /* too late to mean anything */
	host_fail_now(h);
	ck_assert_uint_eq(w.k.failed_now, 0);
	/* It comes back: what was known is old. */
	lb_rig_declare(w.r, NULL, ONE " " TWO);
	ck_assert_ptr_eq(check_rig_host(w.r, ONE), h);
	ck_assert_int_eq(h->check, HOST_PENDING);
	host_done(&h, HOST_OK);
	world_free(&w);
}
END_TEST

/* ---- whom they rule out ------------------------------------------------------------------------------------------------------- */

START_TEST(priorities_fail_over_by_failed_checks_as_by_the_control_planes_word)
{
	static const struct {
		uint32_t failed, ejected, ordered, degraded; /* of ten in the first priority */
		double first;
	} rows[] = {{0, 0, 0, 0, 100}, {2, 0, 0, 0, 100}, {5, 0, 0, 0, 70}, {0, 5, 0, 0, 70}, {2, 2, 1, 0, 70}, {9, 0, 0, 0, 14}, {10, 0, 0, 0, 0}, {5, 0, 0, 5, 100}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_spec *spec = check_rig_spec();
		char text[1024] = "";
		struct world w;
		uint32_t n = 0;

		spec->panic_percent = 0;
		spec->lb = LB_RANDOM;
		for (uint32_t k = 0; k < 20; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s10.0.%u.%u:%u%s^%u", k ? " " : "", k / 10, k % 10 + 1, k / 10 + 1,
				k < 10 && k >= 10 - rows[i].ordered ? "!u" : "", k / 10);
		world_new(&w, spec, text);
		check_rig_say(w.r, NULL, HOST_PASSED);
		for (uint32_t k = 0; k < rows[i].failed; k++)
			host_set_check(cluster_host_at(w.r->cluster, n++), HOST_FAILED, false);
		for (uint32_t k = 0; k < rows[i].ejected; k++)
			cluster_flag(w.r->cluster, n++, HOT_EJECTED, 0);
		for (uint32_t k = 0; k < rows[i].degraded; k++)
			host_set_check(cluster_host_at(w.r->cluster, n++), HOST_PASSED, true);
		if (rows[i].degraded) { /* behind the healthy ones of all priorities */
			ck_assert_double_eq_tol(share(w.r, 1), 0, 1e-9);
			for (uint32_t k = 10; k < 20; k++)
				host_set_check(cluster_host_at(w.r->cluster, k), HOST_FAILED, false);
		}
		ck_assert_msg(fabs(share(w.r, 1) - rows[i].first) < 1.1, "row %zu", i);
		world_free(&w);
	}
}
END_TEST

START_TEST(panic_counts_failed_and_ejected_ones)
{
	struct world w;

	world_new(&w, check_rig_spec(), "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.4:1");
	check_rig_say(w.r, NULL, HOST_PASSED);
	check_rig_say(w.r, "10.0.0.1:1", HOST_FAILED);
	cluster_flag(w.r->cluster, 1, HOT_EJECTED, 0);
	ck_assert(!lb_rig_view(w.r).panic); /* one half */
	ck_assert_uint_eq(check_rig_picks(w.r, "10.0.0.1:1", 40) + check_rig_picks(w.r, "10.0.0.2:1", 40), 0);
	ck_assert_uint_eq(lb_rig_view(w.r).healthy, 2);
	ck_assert_uint_eq(lb_rig_view(w.r).check_failed, 1);
	ck_assert_uint_eq(lb_rig_view(w.r).ejected, 1);
	check_rig_say(w.r, "10.0.0.3:1", HOST_FAILED);
	ck_assert(lb_rig_view(w.r).panic);
	ck_assert_uint_eq(check_rig_picks(w.r, "10.0.0.1:1", 40), 10);
	check_rig_say(w.r, "10.0.0.1:1", HOST_PASSED);
	ck_assert(!lb_rig_view(w.r).panic);
	cluster_flag(w.r->cluster, 1, 0, HOT_EJECTED);
	check_rig_say(w.r, "10.0.0.3:1", HOST_PASSED);
	ck_assert_uint_eq(lb_rig_view(w.r).healthy, 4);
	ck_assert_uint_eq(lb_rig_view(w.r).check_failed + lb_rig_view(w.r).ejected, 0);
	world_free(&w);
}
END_TEST

START_TEST(localities_weigh_less_by_failed_checks)
{
	struct cluster_spec *spec = check_rig_spec();
	struct world w;

	spec->locality_weighted = true;
	spec->lb = LB_RANDOM;
	world_new(&w, spec, "10.0.0.1:1%a~50 10.0.0.2:1%a~50 10.0.0.3:2%b~50 10.0.0.4:2%b~50");
	check_rig_say(w.r, NULL, HOST_PASSED);
	ck_assert_double_eq_tol(share(w.r, 1), 50, 1.2);
	check_rig_say(w.r, "10.0.0.1:1", HOST_FAILED);
	ck_assert_double_eq_tol(share(w.r, 1), 100.0 * 70 / 170, 1.2); /* half of it is there, by 140 per cent */
	check_rig_say(w.r, "10.0.0.2:1", HOST_FAILED);
	ck_assert_double_eq_tol(share(w.r, 1), 0, 1e-9);
	world_free(&w);
}
END_TEST

START_TEST(who_says_itself_that_it_goes_is_not_counted_in_the_fractions)
{
	struct cluster_spec *spec = check_rig_spec();
	struct world w;

	spec->lb = LB_RANDOM;
	world_new(&w, spec, "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1 10.0.0.4:1 10.0.1.1:2^1");
	w.k.fails_now = true;
	check_rig_say(w.r, NULL, HOST_PASSED);
	for (uint32_t i = 0; i < 3; i++)
		host_fail_now(cluster_host_at(w.r->cluster, i));
	ck_assert_uint_eq(w.k.failed_now, 3);
	ck_assert_uint_eq(lb_rig_view(w.r).check_failed, 3);
	ck_assert_uint_eq(check_rig_picks(w.r, "10.0.0.4:1", 100), 100); /* one of one that counts, not one of four */
	/* It is one that failed once it has been asked again and failed after a pass. */
	check_rig_say(w.r, "10.0.0.1:1", HOST_PASSED);
	check_rig_say(w.r, "10.0.0.1:1", HOST_FAILED);
	ck_assert_double_eq_tol(share(w.r, 2), 30, 1.2); /* one of two, by 140 per cent */
	world_free(&w);
}
END_TEST

START_TEST(a_provider_that_says_it_goes_is_told_to_who_checks_and_only_there)
{
	struct lb_rig *r = lb_rig_new();
	struct world w;

	lb_rig_declare(r, NULL, ONE);
	host_fail_now(cluster_host_at(r->cluster, 0));
	ck_assert_int_eq(pick(r), PICK_OK);
	lb_rig_free(&r);
	world_new(&w, NULL, ONE);
	host_fail_now(cluster_host_at(w.r->cluster, 0));
	ck_assert_uint_eq(w.k.failed_now, 0);
	world_free(&w);
}
END_TEST

/* What the control plane says, what the check says, and what follows. */
START_TEST(an_order_stays_an_order_whatever_a_check_says)
{
	static const struct {
		const char *said;
		enum host_check check;
		bool degraded, used;
		const char *health;
	} rows[] = {
		{"", HOST_PASSED, false, true, "healthy"}, {"!h", HOST_PASSED, false, true, "healthy"}, {"", HOST_FAILED, false, false, "check failed"},
		{"!h", HOST_FAILED, false, false, "check failed"}, {"", HOST_PENDING, false, false, "check pending"},
		{"!d", HOST_PASSED, false, false, "draining"}, {"!d", HOST_FAILED, false, false, "draining"},
		{"!u", HOST_PASSED, false, false, "eds unhealthy"}, {"!u", HOST_PENDING, false, false, "eds unhealthy"},
		{"!g", HOST_PASSED, false, false, "degraded"}, {"!g", HOST_PASSED, true, false, "degraded"}, {"", HOST_PASSED, true, false, "degraded"},
		{"!g", HOST_FAILED, false, false, "check failed"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char text[128];
		struct world w;

		snprintf(text, sizeof(text), ONE "%s " TWO " " THREE " " FOUR, rows[i].said);
		world_new(&w, check_rig_spec(), text);
		check_rig_say(w.r, NULL, HOST_PASSED);
		host_set_check(cluster_host_at(w.r->cluster, 0), rows[i].check, rows[i].degraded);
		for (int round = 0; round < 2; round++) { /* and so it stays under another spec and another set */
			ck_assert_msg((check_rig_picks(w.r, ONE, 30) > 0) == rows[i].used, "row %zu", i);
			ck_assert_msg(strcmp(lb_rig_host(w.r, 0).health, rows[i].health) == 0, "row %zu: %s", i, lb_rig_host(w.r, 0).health);
			lb_rig_declare(w.r, check_rig_spec(), text);
		}
		/* And the control plane takes its word back. */
		lb_rig_declare(w.r, NULL, ONE " " TWO " " THREE " " FOUR);
		ck_assert_msg((check_rig_picks(w.r, ONE, 30) > 0) == (rows[i].check == HOST_PASSED && !rows[i].degraded), "row %zu", i);
		world_free(&w);
	}
}
END_TEST

START_TEST(degraded_by_its_check_serves_only_where_the_others_are_not_enough)
{
	struct world w;

	world_new(&w, check_rig_spec(), ONE " " TWO);
	check_rig_say(w.r, NULL, HOST_PASSED);
	host_set_check(check_rig_host(w.r, ONE), HOST_PASSED, true);
	ck_assert_double_eq_tol(share(w.r, 1), 30, 1.2); /* the other is half of it: 70 per cent */
	ck_assert_uint_eq(lb_rig_view(w.r).degraded, 1);
	check_rig_say(w.r, TWO, HOST_FAILED);
	ck_assert_uint_eq(check_rig_picks(w.r, ONE, 10), 10);
	host_set_check(check_rig_host(w.r, ONE), HOST_PASSED, false);
	ck_assert_uint_eq(lb_rig_view(w.r).degraded, 0);
	world_free(&w);
}
END_TEST

/* ---- sets --------------------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_known_goes_along_into_the_next_set)
{
	static const char *const sets[] = {
		TWO " " ONE " " THREE, ONE "*7 " TWO "*7 " THREE "*7", ONE "%b " TWO "%a " THREE, THREE "^1 " ONE " " TWO, ONE " " TWO " " THREE " 10.0.0.4:4",
	};

	for (size_t i = 0; i < UNIT_COUNT(sets); i++)
		for (int shared = 0; shared < 2; shared++) {
			struct world w;
			struct host *failed, *ejected;

			world_new(&w, check_rig_spec(), ONE " " TWO " " THREE);
			check_rig_say(w.r, NULL, HOST_PASSED);
			failed = check_rig_host(w.r, ONE);
			ejected = check_rig_host(w.r, TWO);
			host_set_check(failed, HOST_FAILED, false);
			if (shared) /* its blocks are copied */
				lb_rig_publish(w.r, set_text(ONE " " TWO " " THREE, NULL, w.r->decl.endpoints));
			lb_rig_publish(w.r, set_text(sets[i], NULL, shared ? w.r->decl.endpoints : NULL));
			ck_assert_ptr_eq(check_rig_host(w.r, ONE), failed);
			ck_assert_int_eq(failed->check, HOST_FAILED);
			ck_assert_ptr_eq(check_rig_host(w.r, TWO), ejected);
			ck_assert_uint_eq(w.k.gone, 0);
			ck_assert_uint_eq(lb_rig_view(w.r).check_failed, 1);
			ck_assert_uint_eq(lb_rig_view(w.r).check_pending, i == 4);
			ck_assert_uint_eq(check_rig_picks(w.r, ONE, 30), 0);
			world_free(&w);
		}
}
END_TEST

START_TEST(in_a_large_set_who_is_checked_stays_born)
{
	enum { MANY = HOSTS_KEPT + 300 };
	struct world w;
	struct host *first;

	world_new(&w, check_rig_spec(), "");
	lb_rig_publish(w.r, set_range(MANY, UINT32_MAX, NULL));
	ck_assert_uint_eq(w.k.hosts, MANY);
	check_rig_say(w.r, NULL, HOST_PASSED);
	first = cluster_host_at(w.r->cluster, 0);
	ck_assert_uint_eq(check_rig_picks(w.r, NULL, MANY), MANY);
	lb_rig_publish(w.r, set_range(MANY - 1, 5, w.r->decl.endpoints));
	ck_assert_uint_eq(w.k.gone, 1);
	ck_assert_ptr_eq(cluster_host_at(w.r->cluster, 0), first);
	ck_assert_uint_eq(w.r->cluster->host_count, MANY - 1);
	ck_assert_uint_eq(lb_rig_view(w.r).check_pending, 0);
	ck_assert_uint_eq(lb_rig_view(w.r).healthy, MANY - 1);
	world_free(&w);
}
END_TEST

START_TEST(whom_there_is_no_memory_to_check_counts_as_well)
{
	struct world w;

	*(&w) = (struct world){.r = lb_rig_new()};
	check_rig_begin(&w.k, w.r);
	lb_rig_declare(w.r, check_rig_spec(), "");
	lb_rig_publish(w.r, set_range(100, UINT32_MAX, NULL));
	check_rig_say(w.r, NULL, HOST_FAILED);
	w.r->clusters->account.limit = w.r->clusters->account.used + 400 * 100; /* the next members, and no hosts beyond */
	lb_rig_publish(w.r, set_range(200, UINT32_MAX, w.r->decl.endpoints));
	ck_assert_uint_eq(lb_rig_view(w.r).hosts, 200);
	ck_assert_uint_lt(w.k.hosts, 200);
	ck_assert_uint_gt(stat_get(&w.r->loop->stats, STAT_CHECK_UNAFFORDABLE), 0);
	ck_assert_uint_eq(lb_rig_view(w.r).check_pending, w.k.hosts - 100);
	ck_assert_uint_eq(lb_rig_view(w.r).healthy, 200 - w.k.hosts);
	ck_assert_int_eq(pick(w.r), PICK_OK);
	w.r->clusters->account.limit = SIZE_MAX;
	world_free(&w);
}
END_TEST

/* ---- connections ---------------------------------------------------------------------------------------------------------------- */

START_TEST(a_provider_that_fails_loses_its_connections_but_no_call)
{
	struct world w;
	struct provider *p;
	struct call idle, busy;

	world_new(&w, check_rig_spec(), ONE);
	p = provider_new(w.r, ONE, ANSWERS);
	check_rig_say(w.r, ONE, HOST_PASSED);
	call_start(w.r, &idle);
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(provider_conns(p), 1);
	check_rig_say(w.r, ONE, HOST_FAILED); /* nobody uses it: it goes */
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(provider_conns(p), 0);
	check_rig_say(w.r, ONE, HOST_PASSED);
	p->behave = HOLDS;
	call_start(w.r, &busy);
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(p->held, 1);
	check_rig_say(w.r, ONE, HOST_FAILED);
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(provider_conns(p), 1);
	call_start(w.r, &idle); /* in panic: on a connection of its own */
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(provider_conns(p), 2);
	provider_answer(p);
	lb_rig_advance(w.r, MS);
	ck_assert_int_eq(busy.state, CALL_ENDED);
	ck_assert_int_eq(busy.cause, END_DONE);
	ck_assert_int_eq(idle.cause, END_DONE);
	ck_assert_uint_eq(provider_conns(p), 1);
	ck_assert_uint_eq(p->accepted, 3);
	world_free(&w);
}
END_TEST

START_TEST(a_connection_that_another_cluster_knows_as_good_stays)
{
	struct world w;
	struct provider *p;
	struct call c;
	struct mesh_cluster other = {.name = (char *)"other", .spec = check_rig_spec(), .endpoints = lb_rig_set(ONE)};
	struct cluster *second;

	world_new(&w, check_rig_spec(), ONE);
	p = provider_new(w.r, ONE, ANSWERS);
	second = cluster_live(w.r->clusters, &other);
	check_rig_say(w.r, ONE, HOST_PASSED);
	call_start(w.r, &c);
	lb_rig_advance(w.r, 0);
	host_set_check(cluster_host_at(second, 0), HOST_PASSED, false);
	ck_assert_ptr_eq(cluster_host_at(second, 0)->pool, cluster_host_at(w.r->cluster, 0)->pool);
	check_rig_say(w.r, ONE, HOST_FAILED);
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(provider_conns(p), 1);
	host_set_check(cluster_host_at(second, 0), HOST_FAILED, false); /* and now both say so */
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(provider_conns(p), 0);
	world_free(&w);
	spec_unref(&other.spec);
	endpoints_unref(&other.endpoints);
}
END_TEST

START_TEST(a_connection_is_lent_while_it_stands_and_is_not_in_doubt)
{
	struct world w;
	struct provider *p;
	struct pool *pool;
	struct call c;

	world_new(&w, check_rig_spec(), ONE);
	p = provider_new(w.r, ONE, ANSWERS);
	check_rig_say(w.r, ONE, HOST_PASSED);
	pool = cluster_host_at(w.r->cluster, 0)->pool;
	ck_assert_ptr_null(pool_lend(pool));
	call_start(w.r, &c);
	ck_assert_ptr_null(pool_lend(pool)); /* on its way */
	lb_rig_advance(w.r, 0);
	ck_assert_ptr_nonnull(pool_lend(pool));
	ck_assert_ptr_eq(pool_lend(pool), pool_lend(pool));
	lb_rig_advance(w.r, 11 * SEC); /* silent for long */
	ck_assert_ptr_null(pool_lend(pool));
	provider_goaway(p);
	lb_rig_advance(w.r, MS);
	ck_assert_ptr_null(pool_lend(pool));
	world_free(&w);
}
END_TEST

/* ---- truth ------------------------------------------------------------------------------------------------------------------------ */

struct watch {
	struct cluster_watch w;
	struct lb_rig *r;
	uint32_t told;
	enum cluster_truth truth;
};

static void truth_changed(struct cluster_watch *cw)
{
	struct watch *w = container_of(cw, struct watch, w);

	w->told++;
	w->truth = cluster_truth(w->r->cluster);
}

static void watch_begin(struct watch *w, struct lb_rig *r)
{
	*w = (struct watch){.r = r, .truth = cluster_truth(r->cluster)};
	cluster_hold(r->cluster);
	cluster_watch(r->cluster, &w->w, truth_changed);
}

static void watch_end(struct watch *w, struct cluster *c)
{
	cluster_unwatch(&w->w);
	cluster_release(&c);
}

/* Each line is a fact of its own. */
START_TEST(a_cluster_serves_while_somebody_may_be_used_whom_nobody_knows_to_be_dead)
{
	struct world w;
	struct provider *p;
	struct call c;

	world_new(&w, NULL, ONE " " TWO "!u");
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_SERVING); /* one is enough, called or not */
	call_start(w.r, &c);                                         /* nobody listens there */
	lb_rig_advance(w.r, MS);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_NOT_SERVING);
	p = provider_new(w.r, ONE, ANSWERS);
	lb_rig_advance(w.r, 10 * SEC); /* its back-off is over: a call may find out */
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_SERVING);
	call_start(w.r, &c);
	lb_rig_advance(w.r, MS);
	ck_assert_uint_eq(p->requests, 1);
	lb_rig_declare(w.r, NULL, "");
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_NOT_SERVING);
	lb_rig_declare(w.r, NULL, ONE "!d");
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_NOT_SERVING); /* though panic would try it */
	ck_assert_int_eq(pick(w.r), PICK_OK);
	lb_rig_declare(w.r, NULL, ONE "!g");
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_SERVING);
	lb_rig_publish(w.r, NULL); /* its endpoints are not known (any more) */
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_UNKNOWN);
	lb_rig_declare(w.r, check_rig_spec(), ONE " " TWO);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_UNKNOWN); /* the first checks are awaited */
	check_rig_say(w.r, ONE, HOST_FAILED);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_UNKNOWN);
	check_rig_say(w.r, TWO, HOST_FAILED);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_NOT_SERVING);
	check_rig_say(w.r, TWO, HOST_PASSED);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_SERVING);
	cluster_flag(w.r->cluster, 1, HOT_EJECTED, 0);
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_NOT_SERVING);
	world_free(&w);
}
END_TEST

START_TEST(a_name_that_dns_has_not_answered_is_unknown_and_then_what_it_says)
{
	struct world w;
	struct watch watch;

	w = (struct world){.r = lb_rig_new()};
	dns_table_set(w.r->dns, "db.example", "10.0.0.1", SEC);
	lb_rig_declare(w.r, NULL, "db.example:1");
	ck_assert_int_eq(cluster_truth(w.r->cluster), TRUTH_UNKNOWN);
	watch_begin(&watch, w.r);
	lb_rig_advance(w.r, 20 * MS);
	ck_assert_int_eq(watch.truth, TRUTH_SERVING);
	watch_end(&watch, w.r->cluster);
	world_free(&w);
	world_new(&w, NULL, "nobody.example:1");
	watch_begin(&watch, w.r);
	lb_rig_advance(w.r, 20 * MS);
	ck_assert_int_eq(watch.truth, TRUTH_NOT_SERVING);
	/* Nobody calls, for he is told that it does not serve: it is asked for all the same, as long as somebody watches. */
	dns_table_set(w.r->dns, "nobody.example", "10.0.0.1", SEC);
	lb_rig_advance(w.r, 5 * SEC);
	ck_assert_int_eq(watch.truth, TRUTH_SERVING);
	watch_end(&watch, w.r->cluster);
	lb_rig_advance(w.r, 60 * SEC);
	ck_assert(((struct names_use *)w.r->cluster->names)->due); /* and then for nobody */
	world_free(&w);
}
END_TEST

START_TEST(who_watches_is_told_of_each_change_once_a_turn)
{
	struct world w;
	struct watch one, two;

	world_new(&w, check_rig_spec(), ONE " " TWO);
	watch_begin(&one, w.r);
	check_rig_say(w.r, ONE, HOST_FAILED);
	check_rig_say(w.r, ONE, HOST_PASSED);
	ck_assert_uint_eq(one.told, 0); /* deferred */
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(one.told, 1);
	ck_assert_int_eq(one.truth, TRUTH_SERVING);
	check_rig_say(w.r, TWO, HOST_PASSED); /* that is no news */
	check_rig_say(w.r, ONE, HOST_FAILED);
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(one.told, 1);
	/* It fails and recovers within a turn; who came between knows otherwise. */
	check_rig_say(w.r, TWO, HOST_FAILED);
	watch_begin(&two, w.r);
	ck_assert_int_eq(two.truth, TRUTH_NOT_SERVING);
	check_rig_say(w.r, TWO, HOST_PASSED);
	lb_rig_advance(w.r, 0);
	ck_assert_int_eq(two.truth, TRUTH_SERVING);
	lb_rig_declare(w.r, NULL, ONE);
	lb_rig_advance(w.r, 0);
	ck_assert_int_eq(one.truth, TRUTH_NOT_SERVING);
	ck_assert_int_eq(two.truth, TRUTH_NOT_SERVING);
	struct cluster *c = w.r->cluster;
	lb_rig_withdraw(w.r);
	lb_rig_advance(w.r, 0);
	ck_assert_int_eq(cluster_truth(c), TRUTH_NOT_SERVING);
	ck_assert_ptr_nonnull(w.r->decl.live); /* held by those who watch */
	watch_end(&one, c);
	watch_end(&two, c);
	ck_assert_ptr_null(w.r->decl.live);
	world_free(&w);
}
END_TEST

static void ends_both(struct cluster_watch *cw)
{
	struct watch *w = container_of(cw, struct watch, w);

	w->told++;
	cluster_unwatch(&w[0].w);
	cluster_unwatch(&w[1].w);
}

START_TEST(one_that_is_told_may_take_itself_and_others_away)
{
	struct world w;
	struct watch watches[3];

	world_new(&w, check_rig_spec(), ONE);
	for (int i = 0; i < 3; i++)
		watch_begin(&watches[i], w.r);
	watches[0].w.changed = ends_both;
	check_rig_say(w.r, ONE, HOST_PASSED);
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(watches[0].told, 1);
	ck_assert_uint_eq(watches[1].told, 0);
	ck_assert_uint_eq(watches[2].told, 1);
	check_rig_say(w.r, ONE, HOST_FAILED);
	lb_rig_advance(w.r, 0);
	ck_assert_uint_eq(watches[0].told, 1);
	ck_assert_uint_eq(watches[2].told, 2);
	for (int i = 0; i < 3; i++)
		watch_end(&watches[i], w.r->cluster);
	world_free(&w);
}
END_TEST

UNIT_SUITE("checked", calls_wait_for_the_first_pass_and_for_no_more, calls_wait_no_more_once_all_have_failed, where_nobody_checks_nobody_is_pending,
	endpoints_that_come_later_are_used_after_their_first_pass, in_panic_those_that_are_not_known_are_used_too,
	who_serves_already_serves_on_when_checks_begin, a_spec_that_loses_its_checks_gives_all_back,
	an_endpoint_that_is_not_to_be_checked_is_as_good_as_one_that_passed, checks_may_begin_and_end_under_clusters_that_serve,
	a_cluster_tells_who_checks_of_its_first_call_and_of_its_end, who_left_the_set_is_checked_no_more_though_calls_are_on_it,
	priorities_fail_over_by_failed_checks_as_by_the_control_planes_word, panic_counts_failed_and_ejected_ones, localities_weigh_less_by_failed_checks,
	who_says_itself_that_it_goes_is_not_counted_in_the_fractions, a_provider_that_says_it_goes_is_told_to_who_checks_and_only_there,
	an_order_stays_an_order_whatever_a_check_says, degraded_by_its_check_serves_only_where_the_others_are_not_enough,
	what_is_known_goes_along_into_the_next_set, in_a_large_set_who_is_checked_stays_born, whom_there_is_no_memory_to_check_counts_as_well,
	a_provider_that_fails_loses_its_connections_but_no_call, a_connection_that_another_cluster_knows_as_good_stays,
	a_connection_is_lent_while_it_stands_and_is_not_in_doubt, a_cluster_serves_while_somebody_may_be_used_whom_nobody_knows_to_be_dead,
	a_name_that_dns_has_not_answered_is_unknown_and_then_what_it_says, who_watches_is_told_of_each_change_once_a_turn,
	one_that_is_told_may_take_itself_and_others_away)
