/* lb/held: the arbitration, case by case, on the virtual clock. */
#include "tests/lb/lbrig.h"
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

UNIT_SUITE("held", an_endpoint_that_vanishes_is_held_while_it_lives_and_nobody_orders_it_away, who_is_held_has_its_share,
	the_view_says_how_long_it_is_held, calls_of_a_held_endpoint_go_on_when_its_time_is_over, nothing_is_held_where_nothing_is_asked_for,
	a_cluster_that_is_withdrawn_holds_nobody, an_assignment_that_becomes_empty_keeps_the_last_one_for_a_while,
	an_assignment_that_is_filled_again_in_time_was_never_empty, an_assignment_in_which_nobody_stood_is_empty_at_once,
	a_held_endpoint_that_was_tried_is_not_picked_again, a_new_spec_that_needs_new_connections_ends_what_is_held,
	each_decision_is_counted)
