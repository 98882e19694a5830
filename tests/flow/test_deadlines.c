/* Promise 5: the least of all deadlines, the remaining time upstream, cancellation at that very time. And parking: calls that wait for a name. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdlib.h>
#include <string.h>

#define ONE "10.0.0.1:50051"

struct world { struct rig *r; struct provider *p; struct caller *a; };

static struct world world(enum does does, const char *more)
{
	struct world w = {.r = rig_demo(ONE, more, NULL)};

	w.p = provider_new(w.r, ONE, does);
	w.a = caller_new(w.r, DOOR);
	struct call *warm = call_unary(w.a, DEMO, NULL); /* the connection stands */
	rig_settle(w.r);
	call_cancel(warm);
	rig_settle(w.r);
	return w;
}

static void world_end(struct world *w)
{
	rig_free(&w->r);
}

START_TEST(the_least_of_all_deadlines_wins_whoever_says_it)
{
	static const struct { const char *route, *head; uint64_t us; const char *grpc, *tri, *triple; } rows[] = {
		{NULL, "grpc-timeout: 200m\n", 200000, "200m", NULL, NULL},
		{NULL, "grpc-timeout: 250000u\n", 250000, "250000u", NULL, NULL},
		{NULL, "grpc-timeout: 3S\n", 3000000, "3S", NULL, NULL},
		{NULL, "grpc-timeout: 5000000n\n", 5000, "5000000n", NULL, NULL},
		{NULL, "tri-service-timeout: 70\n", 70000, NULL, "70", NULL},
		{NULL, "triple-timeout-ms: 80\n", 80000, NULL, NULL, "80"},
		{NULL, "grpc-timeout: 1S\ntri-service-timeout: 70\n", 70000, "", "70", NULL},
		{NULL, "grpc-timeout: 1S\ntri-service-timeout: 70\ntriple-timeout-ms: 60\n", 60000, "", "60", "60"},
		{NULL, "grpc-timeout: 50m\ntri-service-timeout: 0\n", 50000, NULL, NULL, NULL},
		{"    timeout: 100ms\n", "", 100000, "", NULL, NULL},
		{"    timeout: 100ms\n", "grpc-timeout: 1S\n", 100000, "", NULL, NULL},
		{"    timeout: 100ms\n", "grpc-timeout: 40m\n", 40000, "40m", NULL, NULL},
		{"    timeout: 100ms\n", "x-envoy-upstream-rq-timeout-ms: 300\n", 300000, "", NULL, NULL},
		{"    timeout: 100ms\n", "x-envoy-upstream-rq-timeout-ms: 300\ngrpc-timeout: 200m\n", 200000, "200m", NULL, NULL},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(HOLDS, rows[i].route);
		struct call *c = call_unary(w.a, DEMO, rows[i].head);
		rig_settle(w.r);
		struct served *s = provider_last(w.p);
		rig_advance(w.r, rows[i].us / 1000 ? rows[i].us / 1000 - 1 : 0);
		ck_assert_msg(c->ends == 0, "row %zu ends early", i);
		rig_advance(w.r, 3);
		ck_assert_msg(c->ends == 1 && c->grpc == GRPC_DEADLINE_EXCEEDED, "row %zu: ends %u grpc %d", i, c->ends, c->grpc);
		/* The wheel has slots of a millisecond. */
		ck_assert_msg(c->ended_ns - c->begun_ns >= rows[i].us * 1000 && c->ended_ns - c->begun_ns <= rows[i].us * 1000 + 2 * MS, "row %zu: after %llu us", i,
			(unsigned long long)(c->ended_ns - c->begun_ns) / 1000);
		ck_assert_msg(s->ended && s->end.h2_code == H2_CANCEL && s->ended_ns == c->ended_ns, "row %zu: the provider", i);
		if (rows[i].grpc && *rows[i].grpc)
			ck_assert_str_eq(served_field(s, "grpc-timeout"), rows[i].grpc);
		else if (rows[i].grpc)
			ck_assert_ptr_nonnull(served_field(s, "grpc-timeout"));
		if (rows[i].tri)
			ck_assert_str_eq(served_field(s, "tri-service-timeout"), rows[i].tri);
		if (rows[i].triple)
			ck_assert_str_eq(served_field(s, "triple-timeout-ms"), rows[i].triple);
		ck_assert_ptr_null(served_field(s, "x-envoy-upstream-rq-timeout-ms"));
		ck_assert_uint_eq(rig_stat(w.r, STAT_DEADLINE), 1);
		world_end(&w);
	}
}
END_TEST

START_TEST(every_deadline_header_tells_the_least_that_is_left)
{
	struct world w = world(HOLDS, NULL);
	uint64_t ns = 0;
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 1S\ntri-service-timeout: 70\n");

	rig_settle(w.r);
	ck_assert(grpc_timeout_parse(str_of(served_field(provider_last(w.p), "grpc-timeout")), &ns));
	ck_assert_uint_le(ns, 70 * MS);
	ck_assert_uint_ge(ns, 69 * MS);
	call_cancel(c);
	world_end(&w);
}
END_TEST

START_TEST(the_remaining_time_goes_upstream_not_the_whole)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *a = caller_new(r, DOOR);
	uint64_t left = 0;

	simnet_knobs(r->net)->latency_ns = 20 * MS; /* connect: there and back */
	struct call *c = call_unary(a, DEMO, "grpc-timeout: 500m\n");
	rig_advance(r, 300);
	ck_assert_uint_eq(p->requests, 1);
	ck_assert(grpc_timeout_parse(str_of(served_field(provider_last(p), "grpc-timeout")), &left));
	ck_assert_uint_le(left, 460 * MS);
	ck_assert_uint_ge(left, 380 * MS);
	rig_advance(r, 1000);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&r);
}
END_TEST

START_TEST(a_plain_call_that_is_late_is_504)
{
	struct world w = world(HOLDS, "    timeout: 50ms\n");
	struct call *c = call_plain(w.a, "GET", DEMO, "/x", NULL, true);

	rig_advance(w.r, 60);
	ck_assert_int_eq(c->status, 504);
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"flag\":\"UT\""));
	world_end(&w);
}
END_TEST

START_TEST(a_deadline_in_the_middle_of_an_answer_ends_it_with_status_4)
{
	struct world w = world(HEAD_ONLY, NULL);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 30m\n");

	rig_advance(w.r, 40);
	ck_assert_uint_eq(c->heads, 1);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(provider_last(w.p)->end.h2_code, H2_CANCEL);
	world_end(&w);
}
END_TEST

START_TEST(a_deadline_that_is_over_on_arrival_reaches_nobody)
{
	struct world w = world(HOLDS, NULL);
	uint32_t before = w.p->requests;
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 0m\n");

	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(w.p->requests, before);
	world_end(&w);
}
END_TEST

START_TEST(a_malformed_timeout_is_no_deadline)
{
	struct world w = world(HOLDS, NULL);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: soon\n");

	rig_advance(w.r, 100000);
	ck_assert_uint_eq(c->ends, 0);
	world_end(&w);
}
END_TEST

/* ---- parking ---- */

#define NAMED "late.example:50051"

START_TEST(a_call_waits_for_its_name_and_goes)
{
	struct rig *r = rig_demo(NAMED, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *a = caller_new(r, DOOR);

	dns_table_set(r->dns, "late.example", "10.0.0.1", 60 * SEC);
	struct call *c = call_begin(a, DEMO, PATH, NULL, false);
	call_fill(c, 5000, false);
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 1);
	call_fill(c, 5000, true);
	rig_advance(r, 10);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_uint_eq(c->hash, c->sent_hash);
	ck_assert_uint_eq(p->requests, 1);
	rig_free(&r);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_unavailable_and_told)
{
	struct rig *r = rig_demo(NAMED, NULL, NULL);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL);

	rig_advance(r, 6000);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(call_text(c), DEMO));
	ck_assert_msg(strstr(call_text(c), "the provider's name does not resolve"), "'%s'", call_text(c));
	rig_free(&r);
}
END_TEST

START_TEST(who_may_wait_is_limited_in_number_bytes_and_time)
{
	static const struct { const char *park; unsigned waiting; } rows[] = {{"park: {calls: 3}\n", 3}, {"park: {bytes: 2KiB}\n", 2}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_demo(NAMED, NULL, rows[i].park);
		struct caller *a = caller_new(r, DOOR);
		struct call *c[6];
		dns_table_set(r->dns, "late.example", "10.0.0.1", 60 * SEC);
		struct provider *p = provider_new(r, ONE, ECHOES);
		char more[700] = "x-filler: ";
		memset(more + 10, 'f', 500);
		for (int n = 0; n < 6; n++)
			c[n] = call_unary(a, DEMO, more);
		rig_settle(r);
		unsigned refused = 0;
		for (int n = 0; n < 6; n++)
			refused += c[n]->ends && c[n]->grpc == GRPC_UNAVAILABLE;
		ck_assert_uint_eq(refused, 6 - rows[i].waiting);
		ck_assert_uint_eq(rig_stat(r, STAT_PARK_LIMIT), refused);
		rig_advance(r, 100);
		ck_assert_uint_eq(p->requests, rows[i].waiting);
		rig_free(&r);
	}
}
END_TEST

START_TEST(parking_ends_with_its_time_or_with_the_callers_deadline)
{
	struct sb top = {0};
	sb_str(&top, "park: {time: 3ms}\n");
	struct rig *r = rig_demo(NAMED, NULL, top.p);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL), *d = call_unary(a, DEMO, "grpc-timeout: 1m\n");

	rig_advance(r, 2);
	ck_assert_int_eq(d->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(c->ends, 0);
	rig_advance(r, 2);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(rig_stat(r, STAT_PARK_TIMEOUT), 1);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 0);
	sb_end(&top);
	rig_free(&r);
}
END_TEST

START_TEST(an_app_that_dies_leaves_nothing_parked)
{
	struct rig *r = rig_demo(NAMED, NULL, NULL);
	struct caller *a = caller_new(r, DOOR);

	for (int i = 0; i < 10; i++)
		call_unary(a, DEMO, NULL);
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 10);
	caller_close(a);
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 0);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("deadlines", the_least_of_all_deadlines_wins_whoever_says_it, every_deadline_header_tells_the_least_that_is_left,
	the_remaining_time_goes_upstream_not_the_whole, a_plain_call_that_is_late_is_504, a_deadline_in_the_middle_of_an_answer_ends_it_with_status_4,
	a_deadline_that_is_over_on_arrival_reaches_nobody, a_malformed_timeout_is_no_deadline, a_call_waits_for_its_name_and_goes,
	a_name_that_does_not_exist_is_unavailable_and_told, who_may_wait_is_limited_in_number_bytes_and_time,
	parking_ends_with_its_time_or_with_the_callers_deadline, an_app_that_dies_leaves_nothing_parked)
