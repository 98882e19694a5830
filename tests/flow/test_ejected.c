/* Passive health in the whole sidecar: what answers make of a provider, be they gRPC's, Triple's or plain HTTP's, or none at all. The arithmetic is tests/lb/test_outlier.c's. */
#include <stdio.h>
#include <string.h>
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define TURNS "    lb: round_robin\n"
#define NO_RETRY "    retries: {max: 0}\n"
#define OUTLIER(more) TURNS "    outlier: {max_ejection_percent: 67" more "}\n"

struct three { struct rig *r; struct provider *p[3]; struct caller *a; };

static struct three three_new(const char *more)
{
	struct three w = {.r = rig_demo("10.0.0.1:1 10.0.0.2:1 10.0.0.3:1", more, NULL)};

	for (int i = 0; i < 3; i++) {
		char at[24];

		snprintf(at, sizeof(at), "10.0.0.%d:1", i + 1);
		w.p[i] = provider_new(w.r, at, ANSWERS);
	}
	w.a = caller_new(w.r, DOOR);
	return w;
}

/* n calls, one after the other; how many of them ended well. */
static uint32_t calls(struct three *w, uint32_t n)
{
	uint32_t well = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct call *c = call_unary(w->a, DEMO, NULL);

		rig_advance(w->r, 10);
		well += call_ok(c);
	}
	return well;
}

static bool is_ejected(struct three *w)
{
	return rig_stat(w->r, STAT_OUTLIER_ACTIVE) == 1;
}

START_TEST(a_provider_is_judged_by_grpc_status_and_not_by_http)
{
	static const struct {
		struct act act;
		bool ejected;
	} rows[] = {
		{{.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE}, true},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_INTERNAL}, true},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_UNKNOWN}, true},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_DEADLINE_EXCEEDED}, true},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_NOT_FOUND}, false},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_RESOURCE_EXHAUSTED}, false},
		{{.does = TRAILERS_ONLY, .grpc = GRPC_INVALID_ARGUMENT}, false},
		{{.does = ANSWERS, .messages = 1, .bytes = 5, .grpc = GRPC_INTERNAL}, true},              /* in trailers */
		{{.does = ANSWERS, .messages = 1, .bytes = 5, .grpc = GRPC_OK}, false},
		{{.does = ANSWERS, .messages = 1, .bytes = 5, .head = "tri-exception-code: 3\n"}, false}, /* a business exception */
		{{.does = ANSWERS, .messages = 1, .bytes = 5, .grpc = GRPC_UNKNOWN, .head = "tri-exception-code: 3\n"}, false},
		{{.does = ANSWERS, .messages = 1, .bytes = 5, .grpc = GRPC_UNKNOWN, .trailers = "tri-exception-code: 3\n"}, false},
		{{.does = PLAIN, .status = 503}, true},
		{{.does = PLAIN, .status = 404}, false},
		{{.does = RESETS, .code = H2_INTERNAL_ERROR}, true},
		{{.does = RESETS_LATE, .code = H2_INTERNAL_ERROR, .messages = 1, .bytes = 5}, true},
		{{.does = CRASHES}, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct three w = three_new(OUTLIER("") NO_RETRY);

		w.p[0]->act = rows[i].act;
		for (int n = 0; n < 3 || (rows[i].act.does == CRASHES && n < 20); n++) { /* a provider that hangs up rests before it is connected to again */
			calls(&w, 10);
			rig_advance(w.r, 1000);
		}
		ck_assert_msg(is_ejected(&w) == rows[i].ejected, "row %zu: after %u requests ejected is %d", i, w.p[0]->requests, is_ejected(&w));
		ck_assert_uint_eq(w.p[0]->requests, rows[i].ejected ? 5 : 10);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(one_bad_provider_among_three_is_avoided_and_comes_back)
{
	struct three w = three_new(OUTLIER(", base_ejection_time: 5s") NO_RETRY);
	struct said log;

	said_begin(&log, w.r);
	w.p[1]->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE};
	ck_assert_uint_eq(calls(&w, 15), 10);
	ck_assert_uint_eq(w.p[1]->requests, 5);
	ck_assert_uint_eq(calls(&w, 60), 60);
	ck_assert_uint_eq(w.p[1]->requests, 5);
	ck_assert_uint_eq(said_count(&log, "10.0.0.2:1 is ejected (consecutive_5xx): not used for 5.0 s"), 1);
	w.p[1]->act = (struct act){.does = ANSWERS};
	rig_advance(w.r, 5000);
	ck_assert_uint_eq(said_count(&log, "10.0.0.2:1 was ejected (consecutive_5xx) and is used again"), 1);
	ck_assert_uint_eq(calls(&w, 30), 30);
	ck_assert_uint_eq(w.p[1]->requests, 15);
	said_end(&log, w.r);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_answers_too_late_is_ejected_and_a_caller_that_gives_up_is_no_failure)
{
	struct three w = three_new(OUTLIER("") NO_RETRY);

	w.p[2]->act = (struct act){.does = HOLDS};
	for (int i = 0; i < 30; i++) {
		struct call *c = call_unary(w.a, DEMO, NULL);

		rig_advance(w.r, 10);
		if (!c->ends)
			call_cancel(c);
		rig_advance(w.r, 10);
	}
	ck_assert(!is_ejected(&w));
	ck_assert_uint_eq(w.p[2]->requests, 10);
	for (int i = 0; i < 30; i++) {
		call_unary(w.a, DEMO, "grpc-timeout: 20m\n");
		rig_advance(w.r, 30);
	}
	ck_assert(is_ejected(&w));
	ck_assert_uint_eq(w.p[2]->requests, 15);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_is_retried_counts_too)
{
	struct three w = three_new(OUTLIER("") "    retries: {max: 2, on: [unavailable]}\n");

	w.p[0]->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE};
	for (int i = 0; i < 60; i++) {
		struct call *c = call_unary(w.a, DEMO, NULL);

		rig_advance(w.r, 1000);
		ck_assert(call_ok(c));
		if (w.p[0]->requests == 5)
			break;
	}
	ck_assert(is_ejected(&w));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_says_goaway_does_not_fail)
{
	struct three w = three_new(OUTLIER(", consecutive_5xx: 1") NO_RETRY);

	for (int i = 0; i < 3; i++)
		w.p[i]->act = (struct act){.does = LEAVES};
	for (int i = 0; i < 30; i++) {
		struct call *c = call_unary(w.a, DEMO, NULL);

		rig_advance(w.r, 1000);
		ck_assert(call_ok(c));
	}
	ck_assert(!is_ejected(&w));
	ck_assert_uint_eq(rig_stat(w.r, STAT_OUTLIER_DETECTED_5XX), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(without_outlier_detection_nothing_is_counted)
{
	struct three w = three_new(TURNS NO_RETRY);

	w.p[0]->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE};
	calls(&w, 60);
	ck_assert_uint_eq(w.p[0]->requests, 20);
	ck_assert_uint_eq(rig_stat(w.r, STAT_OUTLIER_DETECTED_5XX), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_says_it_is_degraded_is_spared_while_others_do)
{
	struct three w = three_new(OUTLIER(", detect_degraded_hosts: true, base_ejection_time: 5s") NO_RETRY);

	w.p[0]->act.head = "x-envoy-degraded: true\n";
	ck_assert_uint_eq(calls(&w, 30), 30);
	ck_assert_uint_eq(w.p[0]->requests, 1);
	w.p[0]->act.head = NULL;
	rig_advance(w.r, 5000);
	ck_assert_uint_eq(calls(&w, 30), 30);
	ck_assert_uint_eq(w.p[0]->requests, 11);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_says_it_fails_is_left_at_once_where_it_is_checked)
{
	struct three w = three_new(OUTLIER("") NO_RETRY "    health: {tcp: {}, interval: 60s}\n");

	rig_advance(w.r, 70000);
	w.p[1]->act.head = "x-envoy-immediate-health-check-fail: true\n";
	ck_assert_uint_eq(calls(&w, 30), 30);
	ck_assert_uint_eq(w.p[1]->requests, 1);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CHECK_PASSIVE_FAILURE), 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_was_lost_in_a_standstill_is_no_failure)
{
	struct three w = three_new(OUTLIER(", consecutive_5xx: 1") NO_RETRY);
	struct call *c[3];

	for (int i = 0; i < 3; i++)
		w.p[i]->act = (struct act){.does = HOLDS};
	for (int i = 0; i < 3; i++)
		c[i] = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	simnet_freeze(w.r->net, 60 * SEC);
	rig_advance(w.r, 1);
	for (int i = 0; i < 3; i++)
		provider_cut(w.p[i]);
	rig_advance(w.r, 10);
	for (int i = 0; i < 3; i++)
		ck_assert(c[i]->ends);
	ck_assert_uint_eq(rig_stat(w.r, STAT_OUTLIER_DETECTED_5XX), 0);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("ejected", a_provider_is_judged_by_grpc_status_and_not_by_http, one_bad_provider_among_three_is_avoided_and_comes_back,
	a_provider_that_answers_too_late_is_ejected_and_a_caller_that_gives_up_is_no_failure, what_is_retried_counts_too, a_provider_that_says_goaway_does_not_fail,
	without_outlier_detection_nothing_is_counted, a_provider_that_says_it_is_degraded_is_spared_while_others_do,
	a_provider_that_says_it_fails_is_left_at_once_where_it_is_checked, what_was_lost_in_a_standstill_is_no_failure)
