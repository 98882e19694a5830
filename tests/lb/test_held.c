/* lb/held: the arbitration, case by case, on the virtual clock. */
#include "lb/cluster_int.h"
#include "tests/lb/checkrig.h"
#include "tests/unit.h"

#include <stdio.h>
#include <string.h>

#define HOLD (30 * SEC)

/* What was told, one letter each: h held, r released, x expired, e ended, k an empty assignment kept, o and over. */
struct told {
	char what[64];
	uint32_t n;
};

static void note(void *ctx, enum cluster_told what, const struct cluster *c, const char *host)
{
	struct told *t = ctx;

	(void)c, (void)host;
	ck_assert_uint_lt(t->n, sizeof(t->what) - 1);
	t->what[t->n++] = "hrxeko"[what];
	t->what[t->n] = '\0';
}

static struct lb_rig *held_rig(struct told *t, const char *endpoints)
{
	struct lb_rig *r = lb_rig_new();
	struct cluster_spec *spec = lb_rig_spec();

	*t = (struct told){0};
	spec->removal_hold_ns = HOLD;
	clusters_set_tell(r->clusters, note, t);
	lb_rig_declare(r, spec, endpoints);
	return r;
}

/* A call to its end, so that each endpoint that is picked has a connection. */
static void calls(struct lb_rig *r, int n)
{
	for (int i = 0; i < n; i++) {
		struct call c;

		call_start(r, &c);
		lb_rig_advance(r, 0);
		ck_assert_int_eq(c.state, CALL_ENDED);
	}
}

static uint32_t picked(struct lb_rig *r, const char *text, uint32_t n)
{
	uint32_t hits = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct host *h;

		if (cluster_pick(r->cluster, 0, NULL, &h) != PICK_OK)
			continue;
		hits += strcmp(h->text, text) == 0;
		host_done(&h, HOST_OK);
	}
	return hits;
}

#define ONE "10.0.0.1:1"
#define TWO "10.0.0.2:1"

enum then { NOTHING, CUT, GOAWAY };
static const struct {
	const char *why, *before;
	bool called; /* before it vanishes */
	enum then then;
	const char *after, *later; /* sets; later NULL: none */
	const char *told;
	bool picked; /* is TWO, in the end */
} cases[] = {
	{"it lives: it stays", ONE " " TWO, true, NOTHING, ONE, NULL, "h", true},
	{"nobody has ever called it", ONE " " TWO, false, NOTHING, ONE, NULL, "", false},
	{"its connection ends afterwards", ONE " " TWO, true, CUT, ONE, NULL, "he", false},
	{"its connection says GOAWAY", ONE " " TWO, true, GOAWAY, ONE, NULL, "he", false},
	{"it was draining before", ONE " " TWO "!d", true, NOTHING, ONE, NULL, "", false},
	{"it was unhealthy before", ONE " " TWO "!u", true, NOTHING, ONE, NULL, "", false},
	{"it was degraded before: that is no order", ONE " " TWO "!g", true, NOTHING, ONE, NULL, "h", true},
	{"it comes back", ONE " " TWO, true, NOTHING, ONE, ONE " " TWO, "hr", true},
	{"it comes back somewhere else", ONE " " TWO, true, NOTHING, ONE, TWO "%b " ONE, "hr", true},
	{"it comes back as draining", ONE " " TWO, true, NOTHING, ONE, ONE " " TWO "!d", "he", false},
	{"it comes back as unhealthy", ONE " " TWO, true, NOTHING, ONE, ONE " " TWO "!u", "he", false},
	{"it comes back as the same process", ONE " " TWO "#7", true, NOTHING, ONE, ONE " " TWO "#7", "hr", true},
	{"another process is at its address", ONE " " TWO "#7", true, NOTHING, ONE, ONE " " TWO "#8", "he", true},
	{"other endpoints come and go meanwhile", ONE " " TWO, true, NOTHING, ONE, ONE " 10.0.0.3:1", "h", true},
};

START_TEST(an_endpoint_that_vanishes_is_held_while_it_lives_and_nobody_orders_it_away)
{
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		struct told t;
		/* Where it is not to be picked before it vanishes, it is in the beginning, to have its connection. */
		struct lb_rig *r = held_rig(&t, cases[i].called ? ONE " " TWO : cases[i].before);
		struct provider *two = provider_new(r, TWO, ANSWERS);

		provider_new(r, ONE, ANSWERS);
		provider_new(r, "10.0.0.3:1", ANSWERS);
		if (cases[i].called)
			calls(r, 4);
		lb_rig_declare(r, NULL, cases[i].before);
		lb_rig_declare(r, NULL, cases[i].after);
		if (cases[i].then == CUT)
			provider_cut(two);
		if (cases[i].then == GOAWAY)
			provider_goaway(two);
		lb_rig_advance(r, 5 * MS);
		if (cases[i].later)
			lb_rig_declare(r, NULL, cases[i].later);
		ck_assert_msg(strcmp(t.what, cases[i].told) == 0, "%s: told '%s', expected '%s'", cases[i].why, t.what, cases[i].told);
		ck_assert_msg((picked(r, TWO, 20) > 0) == cases[i].picked, "%s", cases[i].why);
		lb_rig_advance(r, HOLD + SEC); /* whatever was held, it is not for longer */
		ck_assert_uint_eq(lb_rig_view(r).held, 0);
		lb_rig_free(&r);
	}
}
END_TEST

START_TEST(who_is_held_has_its_share)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO "*3");
	uint32_t hits;

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	calls(r, 8);
	lb_rig_declare(r, NULL, ONE);
	hits = picked(r, TWO, 1000);
	ck_assert(hits > 690 && hits < 810); /* 3 of 4 */
	ck_assert_uint_eq(lb_rig_view(r).hosts, 2);
	ck_assert_uint_eq(lb_rig_view(r).held, 1);
	ck_assert_str_eq(lb_rig_host(r, 1).text, TWO);
	lb_rig_free(&r);
}
END_TEST

static void last_state(void *ctx, const struct host_view *v)
{
	strcpy(ctx, v->state);
}

START_TEST(the_view_says_how_long_it_is_held)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	char state[64];

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	lb_rig_advance(r, 18 * SEC);
	cluster_each_host(r->cluster, last_state, state);
	ck_assert_str_eq(state, "held, 12 s left");
	lb_rig_advance(r, 12 * SEC + MS);
	ck_assert_str_eq(t.what, "hx");
	ck_assert_uint_eq(picked(r, TWO, 10), 0);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(calls_of_a_held_endpoint_go_on_when_its_time_is_over)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, TWO);
	struct provider *two = provider_new(r, TWO, HOLDS);
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, 0);
	provider_new(r, ONE, ANSWERS);
	lb_rig_declare(r, NULL, ONE);
	lb_rig_advance(r, HOLD + SEC);
	ck_assert_str_eq(t.what, "hx");
	provider_answer(two);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(lb_rig_view(r).active, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(nothing_is_held_where_nothing_is_asked_for)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	struct cluster_spec *spec = lb_rig_spec(); /* removal_hold 0, as of services */

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	lb_rig_declare(r, spec, ONE " " TWO);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	ck_assert_uint_eq(picked(r, TWO, 10), 0);
	lb_rig_declare(r, NULL, "");
	ck_assert_uint_eq(picked(r, ONE, 10), 0);
	ck_assert_str_eq(t.what, "");
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_cluster_that_is_withdrawn_holds_nobody)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	lb_rig_withdraw(r);
	ck_assert_str_eq(t.what, "he");
	ck_assert_ptr_null(r->decl.live);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_assignment_that_becomes_empty_keeps_the_last_one_for_a_while)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO "!u 10.0.0.3:1");
	struct host *h;

	provider_new(r, ONE, ANSWERS);
	lb_rig_declare(r, NULL, "");
	ck_assert_str_eq(t.what, "k");
	ck_assert(lb_rig_view(r).empty_kept);
	ck_assert_uint_gt(picked(r, ONE, 10), 0);
	ck_assert_uint_gt(picked(r, "10.0.0.3:1", 10), 0);
	ck_assert_uint_eq(picked(r, TWO, 100), 0); /* only those that stood, though there is a threshold for panic */
	lb_rig_advance(r, 20 * SEC);
	lb_rig_declare(r, NULL, ""); /* said again: no longer than the first time */
	lb_rig_advance(r, 10 * SEC + MS);
	ck_assert_str_eq(t.what, "ko");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_NONE);
	ck_assert(!lb_rig_view(r).empty_kept);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_assignment_that_is_filled_again_in_time_was_never_empty)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	uint32_t accepted;
	struct provider *one = provider_new(r, ONE, ANSWERS);

	provider_new(r, TWO, ANSWERS);
	calls(r, 4);
	accepted = one->accepted;
	lb_rig_declare(r, NULL, "");
	lb_rig_advance(r, 5 * SEC);
	lb_rig_declare(r, NULL, ONE " " TWO);
	calls(r, 4);
	ck_assert_uint_eq(one->accepted, accepted);
	lb_rig_advance(r, HOLD);
	ck_assert_uint_eq(picked(r, ONE, 10), 5);
	ck_assert_str_eq(t.what, "k");
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_assignment_in_which_nobody_stood_is_empty_at_once)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE "!u " TWO "!d");
	struct host *h;

	lb_rig_declare(r, NULL, "");
	ck_assert_str_eq(t.what, "");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_NONE);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_held_endpoint_that_was_tried_is_not_picked_again)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	struct tried tried = {0};
	struct host *h;

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(cluster_pick(r->cluster, 0, &tried, &h), PICK_OK);
		for (uint32_t k = 0; k < tried.count; k++)
			ck_assert_ptr_ne(tried.host[k], h);
		tried.host[tried.count++] = h;
		host_done(&h, HOST_OK);
	}
	ck_assert_int_eq(cluster_pick(r->cluster, 0, &tried, &h), PICK_NONE);
	lb_rig_free(&r);
}
END_TEST

/* Other timeouts are another pool: its connections have gone with the old one. */
START_TEST(a_new_spec_that_needs_new_connections_ends_what_is_held)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	struct cluster_spec *spec = lb_rig_spec();

	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	spec->removal_hold_ns = HOLD;
	spec->connect_timeout_ns++;
	spec_seal(spec);
	lb_rig_declare(r, spec, ONE);
	ck_assert_str_eq(t.what, "he");
	ck_assert_uint_eq(picked(r, TWO, 10), 0);
	lb_rig_advance(r, HOLD + SEC);
	lb_rig_free(&r);
}
END_TEST

START_TEST(each_decision_is_counted)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	struct provider *two = provider_new(r, TWO, ANSWERS);
	const struct stats *s = &r->loop->stats;

	provider_new(r, ONE, ANSWERS);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	lb_rig_declare(r, NULL, ONE " " TWO);
	lb_rig_declare(r, NULL, ONE);
	lb_rig_advance(r, HOLD + SEC);
	lb_rig_declare(r, NULL, ONE " " TWO);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	provider_cut(two);
	lb_rig_advance(r, 5 * MS);
	lb_rig_declare(r, NULL, "");
	ck_assert_uint_eq(stat_get(s, STAT_REMOVAL_HELD), 3);
	ck_assert_uint_eq(stat_get(s, STAT_REMOVAL_RELEASED), 1);
	ck_assert_uint_eq(stat_get(s, STAT_REMOVAL_EXPIRED), 1);
	ck_assert_uint_eq(stat_get(s, STAT_REMOVAL_ENDED), 1);
	ck_assert_uint_eq(stat_get(s, STAT_REMOVAL_EMPTY_KEPT), 1);
	lb_rig_free(&r);
}
END_TEST

/* ---- where they are checked ---------------------------------------------------------------------------------------------------- */

static struct cluster_spec *checked_spec(bool ignore_health)
{
	struct cluster_spec *spec = check_rig_spec();

	spec->removal_hold_ns = HOLD;
	spec->ignore_health_on_removal = ignore_health;
	spec_seal(spec);
	return spec;
}

enum later { NOT_AT_ALL, FAILS, IS_CUT, RETURNS, IS_ANOTHER, LOSES_CHECKS };
static const struct {
	const char *why, *before;
	enum host_check check; /* of TWO, before it vanishes */
	bool called, ejected, ignore_health;
	enum later then;
	const char *told;
	bool picked, gone; /* is TWO picked in the end; was it given up by who checks it */
} checked[] = {
	{"it passes: it stays, though nobody has called it", ONE " " TWO, HOST_PASSED, .told = "h", .picked = true},
	{"nothing is known of it", ONE " " TWO, HOST_PENDING, .told = "", .gone = true},
	{"it fails: that settles it", ONE " " TWO, HOST_FAILED, .told = "", .gone = true},
	{"it fails, and a connection that stands is no excuse", ONE " " TWO, HOST_FAILED, .called = true, .told = "", .gone = true},
	{"it fails later", ONE " " TWO, HOST_PASSED, .then = FAILS, .told = "he", .gone = true},
	{"it fails later, with a connection", ONE " " TWO, HOST_PASSED, .called = true, .then = FAILS, .told = "he", .gone = true},
	{"its connection ends: the check knows better", ONE " " TWO, HOST_PASSED, .called = true, .then = IS_CUT, .told = "h", .picked = true},
	{"it comes back", ONE " " TWO, HOST_PASSED, .then = RETURNS, .told = "hr", .picked = true},
	{"another process is at its address, and not known yet", ONE " " TWO "#7", HOST_PASSED, .then = IS_ANOTHER, .told = "he", .gone = true},
	{"it was ordered away before, though it passes", ONE " " TWO "!d", HOST_PASSED, .called = true, .told = "", .gone = true},
	{"outlier detection had ejected it", ONE " " TWO, HOST_PASSED, .called = true, .ejected = true, .told = "", .gone = true},
	{"health is not to be looked at", ONE " " TWO, HOST_PASSED, .called = true, .ignore_health = true, .told = "", .gone = true},
	{"nobody checks any more, and nobody had called it", ONE " " TWO, HOST_PASSED, .then = LOSES_CHECKS, .told = "he", .gone = true},
	{"nobody checks any more, but it lives", ONE " " TWO, HOST_PASSED, .called = true, .then = LOSES_CHECKS, .told = "h", .picked = true, .gone = true},
};

START_TEST(where_an_endpoint_is_checked_the_check_is_the_evidence_of_its_life)
{
	for (size_t i = 0; i < UNIT_COUNT(checked); i++) {
		struct told t = {0};
		struct check_rig k = {0};
		struct lb_rig *r = lb_rig_new();
		struct provider *two = provider_new(r, TWO, ANSWERS);
		struct cluster_spec *without = lb_rig_spec();

		without->removal_hold_ns = HOLD;
		spec_seal(without);
		provider_new(r, ONE, ANSWERS);
		clusters_set_tell(r->clusters, note, &t);
		check_rig_begin(&k, r);
		lb_rig_declare(r, checked_spec(false), checked[i].called ? ONE " " TWO : checked[i].before);
		check_rig_say(r, NULL, HOST_PASSED);
		if (checked[i].called)
			calls(r, 4);
		lb_rig_declare(r, checked_spec(checked[i].ignore_health), checked[i].before);
		if (checked[i].ejected)
			cluster_flag(r->cluster, 1, HOT_EJECTED, 0);
		host_set_check(cluster_host_at(r->cluster, 1), checked[i].check, false);
		lb_rig_declare(r, NULL, ONE);
		switch (checked[i].then) {
		case FAILS:
			check_rig_say(r, TWO, HOST_FAILED);
			ck_assert_uint_eq(picked(r, TWO, 20), 0); /* at once */
			ck_assert_uint_eq(k.gone, 0);             /* who says so may go on with what it has of it */
			break;
		case IS_CUT:
			provider_cut(two);
			break;
		case RETURNS:
			lb_rig_declare(r, NULL, TWO "%b " ONE);
			ck_assert_int_eq(check_rig_host(r, TWO)->check, HOST_PASSED);
			break;
		case IS_ANOTHER:
			lb_rig_declare(r, NULL, ONE " " TWO "#8");
			break;
		case LOSES_CHECKS:
			lb_rig_declare(r, spec_ref(without), ONE);
			break;
		default:
			break;
		}
		lb_rig_advance(r, 5 * MS);
		ck_assert_msg(strcmp(t.what, checked[i].told) == 0, "%s: told '%s', expected '%s'", checked[i].why, t.what, checked[i].told);
		ck_assert_msg((picked(r, TWO, 20) > 0) == checked[i].picked, "%s", checked[i].why);
		ck_assert_msg((k.gone > 0) == checked[i].gone, "%s: %u", checked[i].why, k.gone);
		lb_rig_advance(r, HOLD + SEC);
		ck_assert_uint_eq(lb_rig_view(r).held, 0);
		spec_unref(&without);
		lb_rig_free(&r);
		ck_assert_uint_eq(k.hosts, 0);
	}
}
END_TEST

START_TEST(without_checks_health_is_not_looked_at_where_it_is_not_to_be)
{
	struct told t;
	struct lb_rig *r = held_rig(&t, ONE " " TWO);
	struct cluster_spec *spec = lb_rig_spec();

	spec->removal_hold_ns = HOLD;
	spec->ignore_health_on_removal = true;
	provider_new(r, ONE, ANSWERS);
	provider_new(r, TWO, ANSWERS);
	lb_rig_declare(r, spec, ONE " " TWO);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	ck_assert_uint_eq(picked(r, TWO, 10), 0);
	ck_assert_str_eq(t.what, "");
	lb_rig_free(&r);
}
END_TEST

/* M and N follow each other at one address (a node's), and M's deletion comes late, when N serves already: it takes away N. The control plane knows no
 * incarnations. N passes its checks, so no call is lost, neither while it is missing nor when it is put again. */
START_TEST(a_restart_at_the_same_address_with_a_late_deletion_loses_no_call)
{
	struct told t = {0};
	struct check_rig k = {0};
	struct lb_rig *r = lb_rig_new();
	struct provider *m = provider_new(r, TWO, ANSWERS), *n;
	uint32_t requests;

	clusters_set_tell(r->clusters, note, &t);
	check_rig_begin(&k, r);
	k.at_once = HOST_PASSED;
	lb_rig_declare(r, checked_spec(false), TWO);
	calls(r, 4);
	/* M ends; its check fails; N is there in its place, and passes. The control plane has not moved. */
	provider_close(m);
	provider_cut(m);
	check_rig_say(r, TWO, HOST_FAILED);
	lb_rig_advance(r, SEC);
	n = provider_new(r, TWO, ANSWERS);
	check_rig_say(r, TWO, HOST_PASSED);
	lb_rig_advance(r, 15 * SEC); /* what there was of a back-off */
	calls(r, 4);
	/* Add(N) changes nothing: the address is the same. Then Del(M): with others there, and as the last one. */
	lb_rig_declare(r, NULL, TWO);
	provider_new(r, ONE, ANSWERS);
	lb_rig_declare(r, NULL, ONE " " TWO);
	calls(r, 4);
	lb_rig_declare(r, NULL, ONE);
	requests = n->requests;
	calls(r, 20);
	ck_assert_uint_gt(n->requests, requests);
	provider_cut(n); /* nor does an idle connection's end mean anything */
	lb_rig_advance(r, 5 * MS);
	calls(r, 20);
	lb_rig_declare(r, NULL, "");
	calls(r, 20);
	lb_rig_advance(r, 10 * SEC);
	lb_rig_declare(r, NULL, ONE " " TWO); /* registered again */
	calls(r, 20);
	ck_assert_str_eq(t.what, "hkr");
	ck_assert_uint_eq(k.gone, 0);
	lb_rig_advance(r, HOLD);
	ck_assert_uint_eq(picked(r, TWO, 20), 10);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_call_on_a_held_endpoint_that_fails_goes_on)
{
	struct told t = {0};
	struct check_rig k = {0};
	struct lb_rig *r = lb_rig_new();
	struct provider *two = provider_new(r, TWO, HOLDS);
	struct call c;

	clusters_set_tell(r->clusters, note, &t);
	check_rig_begin(&k, r);
	lb_rig_declare(r, checked_spec(false), TWO);
	check_rig_say(r, TWO, HOST_PASSED);
	call_start(r, &c);
	lb_rig_advance(r, 0);
	lb_rig_declare(r, NULL, ONE);
	check_rig_say(r, TWO, HOST_FAILED);
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(k.gone, 1);
	provider_answer(two);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_int_eq(c.cause, END_DONE);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(provider_conns(two), 0);
	lb_rig_free(&r);
	ck_assert_uint_eq(k.hosts, 0);
}
END_TEST

START_TEST(when_its_time_is_over_a_held_endpoint_is_checked_no_more)
{
	struct told t = {0};
	struct check_rig k = {0};
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	clusters_set_tell(r->clusters, note, &t);
	check_rig_begin(&k, r);
	lb_rig_declare(r, checked_spec(false), ONE " " TWO);
	check_rig_say(r, NULL, HOST_PASSED);
	lb_rig_declare(r, NULL, "10.0.0.3:1");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK); /* a call is on one of them */
	ck_assert_uint_eq(k.hosts, 3);
	ck_assert_int_eq(cluster_truth(r->cluster), TRUTH_SERVING);
	lb_rig_advance(r, HOLD + SEC);
	ck_assert_str_eq(t.what, "hhxx");
	ck_assert_uint_eq(k.hosts, 1);
	ck_assert_uint_eq(k.gone, 2);
	ck_assert_int_eq(cluster_truth(r->cluster), TRUTH_UNKNOWN); /* the third one is pending */
	host_done(&h, HOST_OK);
	lb_rig_free(&r);
}
END_TEST

UNIT_SUITE("held", an_endpoint_that_vanishes_is_held_while_it_lives_and_nobody_orders_it_away, who_is_held_has_its_share,
	the_view_says_how_long_it_is_held, calls_of_a_held_endpoint_go_on_when_its_time_is_over, nothing_is_held_where_nothing_is_asked_for,
	a_cluster_that_is_withdrawn_holds_nobody, an_assignment_that_becomes_empty_keeps_the_last_one_for_a_while,
	an_assignment_that_is_filled_again_in_time_was_never_empty, an_assignment_in_which_nobody_stood_is_empty_at_once,
	a_held_endpoint_that_was_tried_is_not_picked_again, a_new_spec_that_needs_new_connections_ends_what_is_held,
	each_decision_is_counted, where_an_endpoint_is_checked_the_check_is_the_evidence_of_its_life,
	without_checks_health_is_not_looked_at_where_it_is_not_to_be, a_restart_at_the_same_address_with_a_late_deletion_loses_no_call,
	a_call_on_a_held_endpoint_that_fails_goes_on, when_its_time_is_over_a_held_endpoint_is_checked_no_more)
