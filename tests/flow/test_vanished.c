/* Endpoints that a control plane takes away while they live: who is kept for how long, what is obeyed at once, and that each decision is told once and counted. */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig_world.h"

#define BOTH "10.0.0.1:1 10.0.0.2:1"

/* Both providers serve and have a connection. */
static struct world both(const char *yaml, struct said *log)
{
	struct world w = world_istio(yaml);

	said_begin(log, w.r);
	plane_endpoints(w.p, HOST, 50051, BOTH);
	for (int i = 0; i < 20; i++)
		ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_gt(w.one->requests, 0);
	ck_assert_uint_gt(w.two->requests, 0);
	return w;
}

static void end(struct world *w, struct said *log)
{
	said_end(log, w->r);
	rig_free(&w->r);
}

/* Calls that the provider gets of 40, none of which may fail. */
static uint32_t share(struct world *w, const struct provider *p)
{
	uint32_t before = p->requests;

	for (int i = 0; i < 40; i++) {
		struct call *k = call_unary(w->app, DEMO, NULL);

		rig_advance(w->r, 5);
		ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	}
	return p->requests - before;
}

static void endpoints(struct world *w, const char *list)
{
	plane_endpoints(w->p, HOST, 50051, list);
	rig_advance(w->r, 20);
}

START_TEST(one_that_vanishes_alive_goes_on_until_its_time_is_over)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 10s"), &log);

	endpoints(&w, "10.0.0.2:1");
	ck_assert_uint_gt(share(&w, w.one), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_HELD), 1);
	ck_assert_msg(said_count(&log, "10.0.0.1:1 is no longer listed") == 1, "%s", log.lines.p);
	rig_advance(w.r, 10000);
	ck_assert_uint_eq(share(&w, w.one), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_EXPIRED), 1);
	ck_assert_uint_eq(said_count(&log, "10.0.0.1:1 was not listed again"), 1);
	end(&w, &log);
}
END_TEST

START_TEST(one_that_says_goaway_or_dies_is_believed)
{
	for (int how = 0; how < 2; how++) {
		struct said log;
		struct world w = both(XDS(", removal_hold: 60s"), &log);

		endpoints(&w, "10.0.0.2:1");
		ck_assert_uint_gt(share(&w, w.one), 0);
		if (how) {
			provider_listen(w.one, false);
			provider_cut(w.one);
		} else {
			provider_goaway(w.one);
		}
		rig_advance(w.r, 20);
		ck_assert_uint_eq(share(&w, w.one), 0);
		ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_ENDED), 1);
		ck_assert_uint_eq(said_count(&log, "10.0.0.1:1 is not listed and shows no sign of life"), 1);
		end(&w, &log);
	}
}
END_TEST

START_TEST(one_that_is_listed_again_was_never_away)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 10s"), &log);
	uint32_t accepted = w.one->accepted;

	for (int i = 0; i < 10; i++) { /* a control plane that cannot make up its mind */
		endpoints(&w, "10.0.0.2:1");
		ck_assert_uint_gt(share(&w, w.one), 0);
		endpoints(&w, BOTH);
		ck_assert_uint_gt(share(&w, w.one), 0);
	}
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_RELEASED), 10);
	ck_assert_uint_eq(w.one->accepted, accepted); /* its connection is the same all the time */
	end(&w, &log);
}
END_TEST

START_TEST(one_that_nobody_is_connected_to_goes_at_once)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 60s"), &log);
	struct provider *three = provider_new(w.r, "10.0.0.3:1", ANSWERS);

	endpoints(&w, BOTH " 10.0.0.3:1"); /* not called yet */
	endpoints(&w, BOTH);
	share(&w, three);
	ck_assert_uint_eq(three->accepted, 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_HELD), 0);
	end(&w, &log);
}
END_TEST

START_TEST(an_assignment_that_becomes_empty_keeps_the_last_one_for_a_while)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 10s"), &log);
	struct call *k;

	endpoints(&w, "");
	ck_assert_uint_gt(share(&w, w.one), 0);
	ck_assert_uint_gt(share(&w, w.two), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_EMPTY_KEPT), 1);
	ck_assert_uint_eq(said_count(&log, "its assignment is empty: the last endpoints are used on"), 1);
	rig_advance(w.r, 10000);
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE, "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(said_count(&log, "stayed empty"), 1);
	endpoints(&w, BOTH);
	ck_assert_uint_gt(share(&w, w.one), 0);
	end(&w, &log);
}
END_TEST

START_TEST(draining_is_an_order_and_what_vanishes_after_it_is_gone)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 60s"), &log);

	endpoints(&w, "10.0.0.1:1!draining 10.0.0.2:1");
	ck_assert_uint_eq(share(&w, w.one), 0);
	endpoints(&w, "10.0.0.2:1");
	ck_assert_uint_eq(share(&w, w.one), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_HELD), 0);
	/* And for one that is held. */
	endpoints(&w, BOTH);
	ck_assert_uint_gt(share(&w, w.one), 0);
	endpoints(&w, "10.0.0.2:1");
	ck_assert_uint_gt(share(&w, w.one), 0);
	endpoints(&w, "10.0.0.1:1!unhealthy 10.0.0.2:1");
	ck_assert_uint_eq(share(&w, w.one), 0);
	end(&w, &log);
}
END_TEST

START_TEST(a_service_that_is_deleted_is_gone_at_once_whoever_lives)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 60s"), &log);
	struct call *k;

	plane_service_gone(w.p, HOST, 50051); /* EDS comes empty in the same push, before RDS */
	rig_advance(w.r, 50);
	k = world_call(&w, DEMO);
	ck_assert_msg(k->grpc == GRPC_UNIMPLEMENTED, "%d '%s'", k->grpc, call_text(k));
	rig_advance(w.r, 70000);
	ck_assert_uint_eq(provider_conns(w.one), 0); /* nothing holds a connection to who is gone */
	end(&w, &log);
}
END_TEST

START_TEST(a_hold_of_0_believes_every_word)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 0s"), &log);
	struct call *k;

	endpoints(&w, "10.0.0.2:1");
	ck_assert_uint_eq(share(&w, w.one), 0);
	endpoints(&w, "");
	k = world_call(&w, DEMO);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_HELD) + rig_stat(w.r, STAT_REMOVAL_EMPTY_KEPT), 0);
	ck_assert_uint_eq(said_count(&log, "listed"), 0);
	end(&w, &log);
}
END_TEST

/* The workload's name is what tells two processes at one address apart. */
static void put_workload(struct world *w, const char *workload)
{
	static const char *const usual = "demo;default;demo;;Kubernetes";
	struct sb b = {0};

	make_assignment(&b, CLUSTER, "10.0.0.1:1", false);
	char *at = memmem(b.p, b.n, usual, strlen(usual));
	ck_assert_ptr_nonnull(at);
	memcpy(at, workload, strlen(workload));
	plane_put(w->p, XDS_EDS, CLUSTER, b.p, b.n);
	sb_end(&b);
	rig_advance(w->r, 20);
}

START_TEST(another_process_at_the_address_of_one_that_is_held_takes_its_place)
{
	struct said log;
	struct world w = world_istio(XDS(", removal_hold: 60s"));
	struct call *running;

	said_begin(&log, w.r);
	put_workload(&w, "dem1");
	w.one->act.does = ECHOES;
	running = call_begin(w.app, DEMO, PATH, NULL, false);
	rig_advance(w.r, 50);
	w.one->act.does = ANSWERS;
	endpoints(&w, "10.0.0.2:1");
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_HELD), 1);
	put_workload(&w, "dem2"); /* no release: what was held is not the one that came. 10.0.0.2 was not connected to */
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_ENDED), 1);
	ck_assert_uint_eq(rig_stat(w.r, STAT_REMOVAL_RELEASED), 0);
	ck_assert_uint_eq(share(&w, w.one), 40);
	call_data(running, "still", 5, true);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(running), "'%s'", call_text(running));
	end(&w, &log);
}
END_TEST

START_TEST(a_thousand_decisions_are_not_a_thousand_lines)
{
	struct said log;
	struct world w = both(XDS(", removal_hold: 60s"), &log);

	for (int i = 0; i < 500; i++) {
		plane_endpoints(w.p, HOST, 50051, i % 2 ? BOTH : "10.0.0.2:1");
		rig_advance(w.r, 10);
	}
	ck_assert_uint_gt(rig_stat(w.r, STAT_REMOVAL_HELD), 200);
	ck_assert_uint_lt(said_count(&log, "10.0.0.1:1"), 100);
	ck_assert_uint_gt(share(&w, w.one), 0);
	end(&w, &log);
}
END_TEST

UNIT_SUITE("vanished", one_that_vanishes_alive_goes_on_until_its_time_is_over, one_that_says_goaway_or_dies_is_believed, one_that_is_listed_again_was_never_away,
	one_that_nobody_is_connected_to_goes_at_once, an_assignment_that_becomes_empty_keeps_the_last_one_for_a_while,
	draining_is_an_order_and_what_vanishes_after_it_is_gone, a_service_that_is_deleted_is_gone_at_once_whoever_lives, a_hold_of_0_believes_every_word,
	another_process_at_the_address_of_one_that_is_held_takes_its_place, a_thousand_decisions_are_not_a_thousand_lines)
