/* Connections to providers: when they are opened, shared, replaced, verified, closed, and when they are not. */
#include <stdlib.h>
#include "tests/lb/lbrig.h"
#include "tests/unit.h"
#include "base/err.h"
#include <stdio.h>

#define ONE "10.0.0.1:1"

static struct lb_rig *rig_with(struct cluster_spec *spec, enum behave behave, struct provider **ret)
{
	struct lb_rig *r = lb_rig_new();

	*ret = provider_new(r, ONE, behave);
	lb_rig_declare(r, spec, ONE);
	return r;
}

START_TEST(the_first_call_waits_for_the_connection_and_the_next_one_does_not)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call a, b;

	ck_assert_int_eq(call_start(r, &a), CALL_WAITS);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "connecting");
	ck_assert_uint_eq(lb_rig_view(r).pending, 1);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(a.state, CALL_ENDED);
	ck_assert_int_eq(a.cause, END_DONE);
	ck_assert_uint_eq(lb_rig_view(r).pending, 0);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "up");
	ck_assert_int_eq(call_start(r, &b), CALL_OPEN);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(b.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 1);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNS_UP_TOTAL), 1);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(calls_that_wait_share_the_connection_in_their_order)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, HOLDS, &p);
	struct call c[20];

	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(call_start(r, &c[i]), CALL_WAITS);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 1);
	ck_assert_uint_eq(p->held, 20);
	ck_assert_uint_eq(lb_rig_view(r).active, 20);
	provider_answer(p);
	lb_rig_advance(r, 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(c[i].cause, END_DONE);
	ck_assert_uint_eq(lb_rig_view(r).active, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_second_connection_is_opened_when_the_peers_stream_limit_is_reached_and_no_more_than_allowed)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct call c[10];

	p->lim.streams_per_connection = 3;
	spec->max_connections_per_host = 2;
	lb_rig_declare(r, spec, ONE);
	/* The first call brings the connection up, so that the others know the limit. */
	call_start(r, &c[0]);
	lb_rig_advance(r, 0);
	for (int i = 1; i < 10; i++)
		call_start(r, &c[i]);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 2);
	ck_assert_uint_eq(p->held, 6);
	ck_assert_uint_eq(lb_rig_view(r).pending, 4);
	ck_assert_int_eq(c[5].state, CALL_OPEN);
	ck_assert_int_eq(c[6].state, CALL_WAITS);
	/* Room comes with each answer; nobody is passed over. */
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->held, 4);
	ck_assert_uint_eq(lb_rig_view(r).pending, 0);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c[9].cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(calls_are_packed_onto_the_first_connection_that_has_room)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct call c[4];

	spec->max_streams = 2; /* ours, where the peer has no limit */
	lb_rig_declare(r, spec, ONE);
	for (int i = 0; i < 4; i++)
		call_start(r, &c[i]);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 2);
	ck_assert_uint_eq(lb_rig_view(r).connections, 2);
	provider_answer(p);
	lb_rig_advance(r, 0);
	for (int i = 0; i < 2; i++)
		call_start(r, &c[i]);
	lb_rig_advance(r, 0);
	/* Both on one: the other is idle and can be closed. */
	lb_rig_advance(r, 3601 * SEC);
	ck_assert_uint_eq(provider_conns(p), 1);
	ck_assert_uint_eq(p->held, 2);
	call_cancel(&c[0]);
	call_cancel(&c[1]);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_goaway_brings_the_replacement_before_the_old_one_is_done)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, HOLDS, &p);
	struct call old, new;

	call_start(r, &old);
	lb_rig_advance(r, SEC);
	provider_goaway(p);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 2);
	ck_assert_int_eq(old.state, CALL_OPEN);
	/* The next call does not wait, and the old one is answered where it is. */
	ck_assert_int_eq(call_start(r, &new), CALL_OPEN);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->held, 2);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(old.cause, END_DONE);
	ck_assert_int_eq(new.cause, END_DONE);
	ck_assert_uint_eq(provider_conns(p), 1);
	ck_assert_uint_eq(lb_rig_view(r).connections, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_goaway_on_an_idle_connection_brings_nothing_until_a_call_comes)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, SEC);
	provider_goaway(p);
	lb_rig_advance(r, 10 * SEC);
	ck_assert_uint_eq(p->accepted, 1);
	ck_assert_uint_eq(lb_rig_view(r).connections, 0);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "idle");
	call_start(r, &c);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_idle_connection_that_dies_is_noticed_and_not_replaced_until_a_call_comes)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, SEC);
	provider_cut(p);
	lb_rig_advance(r, 100 * SEC);
	ck_assert_uint_eq(p->accepted, 1);
	ck_assert_uint_eq(lb_rig_view(r).connections, 0);
	ck_assert(!(lb_rig_host(r, 0).flags & HOT_BACKOFF));
	call_start(r, &c);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_failed_connect_fails_all_who_wait_with_its_reason_and_begins_a_backoff)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c[3];

	provider_close(p);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(call_start(r, &c[i]), CALL_WAITS);
	lb_rig_advance(r, 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(c[i].state, CALL_FAILED);
		ck_assert_str_eq(c[i].why, "connection refused");
	}
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 1);
	ck_assert_uint_eq(lb_rig_host(r, 0).flags, HOT_BACKOFF);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "backoff");
	/* Nobody else to pick: it is picked anyway, and the call fails only by a dial that was made for it, a little later. */
	ck_assert_int_eq(call_start(r, &c[0]), CALL_WAITS);
	lb_rig_advance(r, 9 * MS);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 1);
	lb_rig_advance(r, 2 * MS);
	ck_assert_int_eq(c[0].state, CALL_FAILED);
	ck_assert_str_eq(c[0].why, "connection refused");
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 2);
	/* 200 ms later it is over. */
	lb_rig_advance(r, 100 * MS);
	lb_rig_advance(r, 101 * MS);
	ck_assert_uint_eq(lb_rig_host(r, 0).flags, HOT_USABLE);
	provider_open(p);
	ck_assert_int_eq(call_start(r, &c[0]), CALL_WAITS);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c[0].cause, END_DONE);
	ck_assert_ptr_null(lb_rig_host(r, 0).why);
	lb_rig_free(&r);
}
END_TEST

/* Calls every 10 ms for `ns`; how many dials failed. */
static uint64_t call_for(struct lb_rig *r, uint64_t ns)
{
	uint64_t before = stat_get(&r->loop->stats, STAT_CONNECT_FAILED);
	size_t n = ns / (10 * MS) * 4;
	struct call *c = calloc(n + 4, sizeof(*c)); /* some wait for a while */

	for (size_t i = 0; i < n; i += 4) {
		for (size_t k = 0; k < 4; k++)
			call_start(r, &c[i + k]);
		lb_rig_advance(r, 10 * MS);
	}
	uint64_t failed = stat_get(&r->loop->stats, STAT_CONNECT_FAILED) - before;
	lb_rig_advance(r, 200 * MS);
	free(c);
	return failed;
}

/* Where another provider answers, a dead one is left alone for longer and longer. */
START_TEST(backoff_doubles_to_ten_seconds_and_success_resets_it)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	uint64_t first, later;

	provider_new(r, "10.9.9.9:1", ANSWERS);
	lb_rig_declare(r, NULL, ONE " 10.9.9.9:1");
	provider_close(p);
	first = call_for(r, 10 * SEC);
	ck_assert_uint_ge(first, 4);
	ck_assert_uint_le(first, 40);
	call_for(r, 100 * SEC);
	later = call_for(r, 100 * SEC);
	/* Full jitter below 10 s: 20 in the mean. */
	ck_assert_uint_ge(later, 10);
	ck_assert_uint_le(later, 40);
	provider_open(p);
	call_for(r, 11 * SEC);
	ck_assert_uint_ge(p->requests, 4);
	provider_close(p);
	provider_cut(p);
	ck_assert_uint_ge(call_for(r, SEC), 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(with_nobody_else_a_dead_provider_is_found_soon_after_it_is_back_without_a_storm)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	provider_close(p);
	/* One dial in 160 ms, however many calls wait for it. */
	call_for(r, 60 * SEC);
	ck_assert_uint_le(call_for(r, 16 * SEC), 101);
	lb_rig_advance(r, SEC);
	provider_open(p);
	ck_assert_int_eq(call_start(r, &c), CALL_WAITS);
	lb_rig_advance(r, 161 * MS);
	ck_assert_int_eq(c.cause, END_DONE);
	lb_rig_free(&r);
}
END_TEST

/* Of one host chance hides the steps; of fifty the mean shows them: below 100, 200, 400, 800 ms... with full jitter a host fails
 * about 5 times in its first second, and 8 times if the steps stayed at 100 ms. */
START_TEST(backoff_doubles_from_a_tenth_of_a_second)
{
	struct lb_rig *r = lb_rig_new();
	char text[1024] = "";
	struct call c[50];
	uint64_t failed;

	for (int i = 0; i < 50; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s10.0.0.1:%d", i ? " " : "", i + 1);
	provider_new(r, "10.9.9.9:1", ANSWERS);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), " 10.9.9.9:1");
	lb_rig_declare(r, NULL, text);
	for (int step = 0; step < 100; step++) {
		for (int i = 0; i < 50; i++)
			call_start(r, &c[i]);
		lb_rig_advance(r, 10 * MS);
	}
	failed = stat_get(&r->loop->stats, STAT_CONNECT_FAILED);
	ck_assert_uint_ge(failed, 50 * 4);
	ck_assert_uint_le(failed, 50 * 6);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_provider_that_answers_and_goes_in_one_write_has_not_failed)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, HOLDS, &p);
	struct call a, b;

	ck_assert_int_eq(call_start(r, &a), CALL_WAITS);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->held, 1);
	provider_answer(p);
	provider_goaway(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(a.cause, END_DONE);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 0);
	p->behave = ANSWERS;
	call_start(r, &b);
	lb_rig_advance(r, 0); /* no back-off: at once */
	ck_assert_int_eq(b.state, CALL_ENDED);
	ck_assert_int_eq(b.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_provider_that_takes_connections_and_lets_them_die_is_not_dialled_in_a_storm)
{
	static const struct {
		enum behave behave;
		const char *why;
	} rows[] = {
		{HANGS_UP, NULL},
		{GOES_AT_ONCE, "the provider sent GOAWAY at once"},
		{CRASHES, "the provider closed the connection at once"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct provider *p;
		struct lb_rig *r = rig_with(NULL, rows[i].behave, &p);

		ck_assert_uint_ge(call_for(r, 20 * SEC), 4);
		/* 2,000 rounds of four calls: a storm would be thousands. */
		ck_assert_msg(p->accepted <= 160, "row %zu: %u connections", i, p->accepted);
		ck_assert_uint_ge(p->accepted, 4);
		lb_rig_advance(r, 20 * SEC);
		p->behave = ANSWERS;
		call_for(r, 20 * MS);
		ck_assert_uint_ge(p->requests, 4);
		lb_rig_free(&r);
	}
}
END_TEST

START_TEST(a_provider_that_answers_may_go_away_often_without_a_backoff)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	for (int i = 0; i < 20; i++) {
		call_start(r, &c);
		lb_rig_advance(r, 2 * MS);
		ck_assert_int_eq(c.cause, END_DONE);
		provider_goaway(p);
		lb_rig_advance(r, 2 * MS);
	}
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 0);
	ck_assert_uint_eq(p->accepted, 20);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_idle_connection_closes_after_its_time_and_a_used_one_does_not)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct provider *p;
	struct lb_rig *r;
	struct call c;

	spec->idle_timeout_ns = 10 * SEC;
	r = rig_with(spec, ANSWERS, &p);
	call_start(r, &c);
	for (int i = 0; i < 5; i++) {
		lb_rig_advance(r, 8 * SEC);
		call_start(r, &c);
		lb_rig_advance(r, 0);
		ck_assert_int_eq(c.cause, END_DONE);
	}
	ck_assert_uint_eq(p->accepted, 1);
	p->behave = HOLDS;
	call_start(r, &c);
	lb_rig_advance(r, 100 * SEC);
	ck_assert_uint_eq(provider_conns(p), 1);
	provider_answer(p);
	lb_rig_advance(r, 9 * SEC);
	ck_assert_uint_eq(provider_conns(p), 1);
	lb_rig_advance(r, 12 * SEC);
	ck_assert_uint_eq(provider_conns(p), 0);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "idle");
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_silent_connection_answers_a_ping_before_it_carries_a_call)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, 11 * SEC);
	ck_assert_int_eq(call_start(r, &c), CALL_WAITS);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 1);
	/* It has just been heard. */
	ck_assert_int_eq(call_start(r, &c), CALL_OPEN);
	lb_rig_advance(r, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_connection_whose_peer_is_gone_is_replaced_within_a_second_and_the_call_goes_to_the_new_one)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, 11 * SEC);
	provider_stall(p, true);
	ck_assert_int_eq(call_start(r, &c), CALL_WAITS);
	lb_rig_advance(r, 900 * MS);
	ck_assert_int_eq(c.state, CALL_WAITS);
	lb_rig_advance(r, 200 * MS);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 2);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNECT_FAILED), 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(after_a_freeze_every_connection_is_verified_before_use)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, HOLDS, &p);
	struct call held, c;

	call_start(r, &held);
	lb_rig_advance(r, SEC);
	simnet_freeze(r->net, 60 * SEC);
	lb_rig_advance(r, SEC);
	ck_assert_uint_ge(stat_get(&r->loop->stats, STAT_THAWS), 1);
	/* Even with a call on it: the one that is there is not harmed. */
	ck_assert_int_eq(call_start(r, &c), CALL_WAITS);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.state, CALL_OPEN);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(held.cause, END_DONE);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(p->accepted, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_call_that_waits_can_leave)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call a, b;

	call_start(r, &a);
	call_start(r, &b);
	call_cancel(&a);
	ck_assert_uint_eq(lb_rig_view(r).pending, 1);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(b.cause, END_DONE);
	ck_assert_uint_eq(p->requests, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(pending_calls_and_connections_are_limited_per_cluster)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct provider *a = provider_new(r, "10.0.0.1:1", HOLDS), *b = provider_new(r, "10.0.0.2:1", HOLDS);
	struct call c[6];

	spec->max_pending = 2;
	spec->max_connections = 1;
	lb_rig_declare(r, spec, "10.0.0.1:1 10.0.0.2:1");
	ck_assert_int_eq(call_start(r, &c[0]), CALL_WAITS);
	ck_assert_int_eq(call_start(r, &c[1]), CALL_WAITS);
	ck_assert_int_eq(call_start(r, &c[2]), CALL_REFUSED);
	ck_assert_int_eq(c[2].err, ERR_LIMIT);
	ck_assert_uint_eq(lb_rig_view(r).pending_full, 1);
	lb_rig_advance(r, 0);
	/* One connection only: round robin would have asked for two, the calls go where it is. */
	for (int i = 2; i < 6; i++)
		ck_assert_int_eq(call_start(r, &c[i]), CALL_OPEN);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(a->accepted + b->accepted, 1);
	ck_assert_uint_eq(a->held + b->held, 6);
	ck_assert_uint_eq(lb_rig_view(r).connections, 1);
	ck_assert_uint_eq(lb_rig_view(r).pending, 0);
	for (int i = 0; i < 6; i++)
		call_cancel(&c[i]);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_drained_daemon_closes_each_connection_with_its_last_call)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, HOLDS, &p);
	struct call a, b;

	call_start(r, &a);
	lb_rig_advance(r, SEC);
	clusters_drain(r->clusters);
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(provider_conns(p), 1);
	ck_assert_int_eq(call_start(r, &b), CALL_OPEN); /* a retry of a call that goes on */
	lb_rig_advance(r, 0);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(a.cause, END_DONE);
	ck_assert_int_eq(b.cause, END_DONE);
	ck_assert_uint_eq(provider_conns(p), 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(two_hosts_of_one_address_share_connections_and_the_last_one_takes_them_along)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct mesh_cluster other = {.name = "other", .spec = spec_new("other"), .endpoints = lb_rig_set(ONE)};
	struct cluster *first = r->cluster;
	struct call c;

	call_start(r, &c);
	lb_rig_advance(r, 0);
	r->cluster = cluster_live(r->clusters, &other);
	ck_assert_int_eq(call_start(r, &c), CALL_OPEN);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 1);
	r->cluster = first;
	lb_rig_declare(r, NULL, "");
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(provider_conns(p), 1);
	r->cluster = other.live;
	endpoints_unref(&other.endpoints);
	other.endpoints = lb_rig_set("");
	other.changed(&other);
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(provider_conns(p), 0);
	lb_rig_free(&r);
	spec_unref(&other.spec);
	endpoints_unref(&other.endpoints);
}
END_TEST

START_TEST(a_call_that_waits_when_its_clusters_options_change_is_still_served)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct cluster_spec *spec = lb_rig_spec();
	struct call c;

	ck_assert_int_eq(call_start(r, &c), CALL_WAITS);
	spec->connect_timeout_ns = SEC;
	lb_rig_declare(r, spec, ONE);
	lb_rig_advance(r, SEC);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(lb_rig_view(r).pending, 0);
	ck_assert_uint_eq(provider_conns(p), 0); /* the old pool has gone with its last call */
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_provider_that_never_answers_the_connect_costs_the_connect_timeout)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;

	simnet_on_connect(r->net, &p->at, SIMNET_HANG);
	call_start(r, &c);
	lb_rig_advance(r, 4900 * MS);
	ck_assert_int_eq(c.state, CALL_WAITS);
	lb_rig_advance(r, 200 * MS);
	ck_assert_int_eq(c.state, CALL_FAILED);
	ck_assert_str_eq(c.why, "connection timeout");
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_idle_pool_does_not_wake_the_daemon)
{
	struct provider *p;
	struct lb_rig *r = rig_with(NULL, ANSWERS, &p);
	struct call c;
	uint64_t turns;

	call_start(r, &c);
	lb_rig_advance(r, SEC);
	turns = stat_get(&r->loop->stats, STAT_TURNS);
	lb_rig_advance(r, 1000 * SEC);
	ck_assert_uint_le(stat_get(&r->loop->stats, STAT_TURNS) - turns, 5);
	lb_rig_free(&r);
}
END_TEST

UNIT_SUITE("pool", the_first_call_waits_for_the_connection_and_the_next_one_does_not, calls_that_wait_share_the_connection_in_their_order,
	a_second_connection_is_opened_when_the_peers_stream_limit_is_reached_and_no_more_than_allowed,
	calls_are_packed_onto_the_first_connection_that_has_room, a_goaway_brings_the_replacement_before_the_old_one_is_done,
	a_goaway_on_an_idle_connection_brings_nothing_until_a_call_comes,
	an_idle_connection_that_dies_is_noticed_and_not_replaced_until_a_call_comes,
	a_failed_connect_fails_all_who_wait_with_its_reason_and_begins_a_backoff, backoff_doubles_to_ten_seconds_and_success_resets_it, with_nobody_else_a_dead_provider_is_found_soon_after_it_is_back_without_a_storm,
	backoff_doubles_from_a_tenth_of_a_second, a_provider_that_takes_connections_and_lets_them_die_is_not_dialled_in_a_storm,
	a_provider_that_answers_and_goes_in_one_write_has_not_failed, a_provider_that_answers_may_go_away_often_without_a_backoff, an_idle_connection_closes_after_its_time_and_a_used_one_does_not,
	a_silent_connection_answers_a_ping_before_it_carries_a_call,
	a_connection_whose_peer_is_gone_is_replaced_within_a_second_and_the_call_goes_to_the_new_one,
	after_a_freeze_every_connection_is_verified_before_use, a_call_that_waits_can_leave,
	pending_calls_and_connections_are_limited_per_cluster, a_drained_daemon_closes_each_connection_with_its_last_call,
	two_hosts_of_one_address_share_connections_and_the_last_one_takes_them_along,
	a_call_that_waits_when_its_clusters_options_change_is_still_served,
	a_provider_that_never_answers_the_connect_costs_the_connect_timeout, an_idle_pool_does_not_wake_the_daemon)
