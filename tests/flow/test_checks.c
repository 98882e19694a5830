/* Active health checks in the whole sidecar, on the virtual clock: when providers are asked, what makes of their answers who is called, and each field of a check. What a single answer
 * means is tests/health/test_probe.c's. */
#include <stdio.h>
#include <string.h>
#include "net/grpc_health_message.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

enum { ASKED_MAX = 4096, PROVIDERS = 4 };
enum says { SERVING, NOT_SERVING, UNKNOWN_SERVICE, NO_SERVICE, SILENT, BREAKS, WATCHED /* and the stream stays */, NOBODY };
struct watched {
	struct rig *r;
	struct provider *p[PROVIDERS];
	enum says says[PROVIDERS];
	uint64_t asked_ns[PROVIDERS][ASKED_MAX];
	uint32_t asked[PROVIDERS];
	struct served *watch[PROVIDERS];
	struct caller *a;
};

static void say(struct served *s, int status)
{
	uint8_t message[5 + GRPC_HEALTH_STATUS_BYTES] = {0, 0, 0, 0, 2};

	grpc_health_response_encode((enum grpc_health)status, message + 5);
	served_data(s, message, sizeof(message), false);
}

static void served(void *ctx, void *of, int what)
{
	struct watched *w = ctx;
	struct served *s = of;
	uint32_t i = 0;

	const char *path = served_field(s, ":path");
	if (!path || (strncmp(path, "/grpc.health.v1.", 16) != 0 && strcmp(path, "/healthz") != 0))
		return;
	while (w->p[i] != s->p)
		i++;
	if (what == 2) {
		w->watch[i] = NULL;
		return;
	}
	ck_assert_uint_lt(w->asked[i], ASKED_MAX);
	w->asked_ns[i][w->asked[i]++] = w->r->loop->now_ns;
	s->act = (struct act){.does = HOLDS};
	if (*path == '/' && path[1] == 'h') {
		if (w->says[i] != SILENT)
			s->act = (struct act){.does = PLAIN, .status = w->says[i] == SERVING ? 200 : w->says[i] == BREAKS ? 503 : 500};
		return;
	}
	switch (w->says[i]) {
	case SERVING:
	case NOT_SERVING:
	case WATCHED:
		served_head(s, 200, "content-type: application/grpc\n", false);
		say(s, w->says[i] == NOT_SERVING ? GRPC_HEALTH_NOT_SERVING : GRPC_HEALTH_SERVING);
		if (w->says[i] != WATCHED)
			served_trailers(s, 0, NULL);
		w->watch[i] = s;
		break;
	case UNKNOWN_SERVICE:
		s->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_NOT_FOUND};
		break;
	case NO_SERVICE:
		s->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNIMPLEMENTED};
		break;
	case BREAKS:
		s->act = (struct act){.does = RESETS, .code = H2_INTERNAL_ERROR};
		break;
	case SILENT:
	case NOBODY:
		break;
	}
}

/* n providers at 10.0.0.1:1 and so on, with this health: of the service; all serve unless `says` says otherwise. */
static struct watched *watched_new(uint32_t n, const char *health, const char *more, enum says says)
{
	struct watched *w = xnew(struct watched);
	struct sb yaml = {0};

	w->r = rig_bare(7);
	w->r->on_served = served;
	w->r->ctx = w;
	sb_str(&yaml, "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nservices:\n  - name: " DEMO "\n    lb: round_robin\n    endpoints: [");
	for (uint32_t i = 0; i < n; i++) {
		char at[24];

		snprintf(at, sizeof(at), "10.0.0.%u:1", i + 1);
		w->p[i] = provider_new(w->r, at, ANSWERS);
		w->says[i] = says;
		if (says == NOBODY)
			provider_listen(w->p[i], false);
		sb_fmt(&yaml, "%s\"%s\"", i ? ", " : "", at);
	}
	sb_fmt(&yaml, "]\n    retries: {max: 0}\n    health: %s\n%s", health, more ? more : "");
	rig_start(w->r, yaml.p);
	sb_end(&yaml);
	w->a = caller_new(w->r, DOOR);
	rig_settle(w->r);
	return w;
}

static void watched_free(struct watched *w)
{
	rig_free(&w->r);
	free(w);
}

static bool works(struct watched *w)
{
	struct call *c = call_unary(w->a, DEMO, NULL);

	rig_advance(w->r, 20);
	return call_ok(c);
}

/* How many of n calls each provider got. */
static void calls(struct watched *w, uint32_t n, uint32_t got[PROVIDERS])
{
	uint32_t before[PROVIDERS] = {0}, asked[PROVIDERS];

	for (uint32_t i = 0; i < PROVIDERS && w->p[i]; i++) {
		before[i] = w->p[i]->requests;
		asked[i] = w->asked[i];
	}
	for (uint32_t i = 0; i < n; i++)
		ck_assert(works(w));
	for (uint32_t i = 0; i < PROVIDERS && w->p[i]; i++)
		got[i] = w->p[i]->requests - before[i] - (w->asked[i] - asked[i]);
}

static uint64_t gap_ms(struct watched *w, uint32_t p, uint32_t n)
{
	ck_assert_uint_lt(n, w->asked[p]);
	return (w->asked_ns[p][n] - w->asked_ns[p][n - 1] + MS / 2) / MS;
}

/* Until the next question to provider p; how long it took. */
static uint64_t next_ms(struct watched *w, uint32_t p)
{
	uint32_t n = w->asked[p];

	for (int i = 0; i < 200000 && w->asked[p] == n; i++)
		rig_advance(w->r, 1);
	ck_assert_msg(w->asked[p] == n + 1, "asked %u times", w->asked[p] - n);
	return gap_ms(w, p, n);
}

static uint64_t stat(struct watched *w, enum stat_id id)
{
	return rig_stat(w->r, id);
}

#define NEAR(got, want) do { uint64_t g_ = (got); ck_assert_msg(g_ + 2 >= (want) && g_ <= (want) + 2, "%llu ms, not %llu", (unsigned long long)g_, (unsigned long long)(want)); } while (0)

/* ---- when ------------------------------------------------------------------------------------------------------------------- */

START_TEST(providers_are_asked_before_anybody_calls_and_the_first_answer_decides)
{
	struct watched *w = watched_new(2, "{grpc: {}, healthy_threshold: 3, unhealthy_threshold: 3}", NULL, SERVING);
	uint32_t got[PROVIDERS];

	ck_assert_uint_eq(w->asked[0], 1);
	ck_assert_uint_eq(w->asked[1], 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	ck_assert_uint_eq(stat(w, STAT_CHECK_ENDPOINTS), 2);
	calls(w, 10, got);
	ck_assert_uint_eq(got[0], 5);
	ck_assert_uint_eq(got[1], 5);
	watched_free(w);
	w = watched_new(1, "{grpc: {}, unhealthy_threshold: 3}", NULL, NOBODY);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_NETWORK_FAILURE), 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	watched_free(w);
}
END_TEST

START_TEST(until_there_is_traffic_the_intervals_are_the_long_ones)
{
	struct watched *w = watched_new(1, "{grpc: {}, interval: 5s, unhealthy_interval: 7s, no_traffic_interval: 20s, no_traffic_healthy_interval: 40s, healthy_threshold: 2, unhealthy_threshold: 1}", NULL, SERVING);

	NEAR(next_ms(w, 0), 40000);
	w->says[0] = NOT_SERVING;
	NEAR(next_ms(w, 0), 40000);
	NEAR(next_ms(w, 0), 20000);
	w->says[0] = SERVING;
	NEAR(next_ms(w, 0), 20000);
	NEAR(next_ms(w, 0), 20000); /* a change is pending: not settled */
	NEAR(next_ms(w, 0), 40000);
	/* the first call ends that at once, not when the long one is over */
	rig_advance(w->r, 1000);
	ck_assert(works(w));
	NEAR(next_ms(w, 0), 6000);
	NEAR(next_ms(w, 0), 5000);
	watched_free(w);
	w = watched_new(1, "{grpc: {}}", NULL, SERVING); /* the defaults */
	NEAR(next_ms(w, 0), 60000);
	ck_assert(works(w));
	NEAR(next_ms(w, 0), 5000);
	watched_free(w);
}
END_TEST

START_TEST(each_interval_follows_the_result_before_it)
{
	/* What is answered, and when the next question comes, once there is traffic. */
	static const struct { enum says says; uint64_t then_ms; uint64_t healthy; } rows[] = {
		{SERVING, 5000, 1},
		{BREAKS, 11000, 1}, {BREAKS, 11000, 1}, {BREAKS, 7000, 0},   /* two more are needed; the third is it */
		{BREAKS, 7000, 0},
		{SERVING, 13000, 0}, {SERVING, 13000, 0}, {SERVING, 5000, 1},
		{BREAKS, 11000, 1}, {SERVING, 5000, 1}, {BREAKS, 11000, 1}, {BREAKS, 11000, 1}, {SERVING, 5000, 1}, /* in a row, or it does not count */
		{NOT_SERVING, 7000, 0},                                     /* no threshold for a definite answer */
		{SERVING, 13000, 0}, {BREAKS, 7000, 0}, {SERVING, 13000, 0}, {SERVING, 13000, 0}, {SERVING, 5000, 1},
		{UNKNOWN_SERVICE, 7000, 0}, {NO_SERVICE, 13000, 0}, {NO_SERVICE, 13000, 0}, {NO_SERVICE, 5000, 1},
	};
	struct watched *w = watched_new(1, "{grpc: {}, interval: 5s, unhealthy_interval: 7s, unhealthy_edge_interval: 11s, healthy_edge_interval: 13s, unhealthy_threshold: 3, healthy_threshold: 3}", NULL, SERVING);

	ck_assert(works(w));
	next_ms(w, 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		w->says[0] = rows[i].says;
		if (i)
			NEAR(next_ms(w, 0), rows[i - 1].then_ms);
		else
			NEAR(next_ms(w, 0), 5000);
		rig_settle(w->r);
		ck_assert_msg(stat(w, STAT_CHECK_HEALTHY) == rows[i].healthy, "row %zu", i);
	}
	watched_free(w);
}
END_TEST

START_TEST(a_timeout_begins_the_next_interval_when_it_is_over)
{
	struct watched *w = watched_new(1, "{grpc: {}, timeout: 3s, interval: 5s, unhealthy_threshold: 2}", NULL, SERVING);

	ck_assert(works(w));
	next_ms(w, 0);
	w->says[0] = SILENT;
	NEAR(next_ms(w, 0), 5000);
	rig_advance(w->r, 2990);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	rig_advance(w->r, 20);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	NEAR(next_ms(w, 0), 8000);
	rig_advance(w->r, 3010);
	ck_assert_uint_eq(stat(w, STAT_CHECK_NETWORK_FAILURE), 2);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	watched_free(w);
}
END_TEST

START_TEST(jitter_lengthens_each_interval_within_its_bounds)
{
	struct watched *w = watched_new(1, "{grpc: {}, interval: 5s, interval_jitter: 1s, interval_jitter_percent: 50, initial_jitter: 4s}", NULL, SERVING);
	uint64_t least = UINT64_MAX, most = 0;

	ck_assert_uint_eq(w->asked[0], 0);
	rig_advance(w->r, 4010);
	ck_assert_uint_eq(w->asked[0], 1);
	ck_assert(works(w));
	next_ms(w, 0);
	for (int i = 0; i < 100; i++) {
		uint64_t gap = next_ms(w, 0);

		least = gap < least ? gap : least;
		most = gap > most ? gap : most;
	}
	ck_assert_uint_ge(least, 4999);
	ck_assert_uint_le(most, 8502);
	ck_assert_uint_lt(least, 5600);
	ck_assert_uint_gt(most, 7700);
	watched_free(w);
}
END_TEST

/* R6 of the Dubbo proposal: what its EnvoyFilter sets, number by number. */
START_TEST(the_numbers_of_the_dubbo_proposal_are_kept)
{
	for (int healthy = 1; healthy <= 20; healthy += 19) { /* the proposal's, the sample's */
		char health[512];
		struct watched *w;
		uint64_t least = UINT64_MAX, most = 0;

		snprintf(health, sizeof(health), "{grpc: {authority: demo.default.svc.cluster.local}, timeout: 5s, interval: 5s, initial_jitter: 1s, interval_jitter: 1s, interval_jitter_percent: 50, "
			"unhealthy_threshold: 1, healthy_threshold: %d, reuse_connection: true, no_traffic_interval: 2s, no_traffic_healthy_interval: 4s, unhealthy_interval: 5s, "
			"unhealthy_edge_interval: 10s, healthy_edge_interval: 10s}", healthy);
		w = watched_new(1, health, NULL, SERVING);
		rig_advance(w->r, 1010);
		ck_assert_uint_eq(w->asked[0], 1);
		ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1); /* the first success is enough, be the threshold 20 */
		ck_assert_str_eq(served_field(provider_last(w->p[0]), ":authority"), "demo.default.svc.cluster.local");
		ck_assert_str_eq(served_field(provider_last(w->p[0]), "grpc-timeout"), "5000m");
		for (int i = 0; i < 20; i++) {
			uint64_t gap = next_ms(w, 0);

			least = gap < least ? gap : least;
			most = gap > most ? gap : most;
		}
		ck_assert_uint_ge(least, 3999); /* 4 s + [0, 2 s) + [0, 1 s) */
		ck_assert_uint_le(most, 7002);
		ck_assert_uint_eq(w->p[0]->accepted, 1); /* reused */
		ck_assert(works(w));
		next_ms(w, 0);
		w->says[0] = NOT_SERVING;
		uint64_t gap = next_ms(w, 0);
		ck_assert(gap >= 4999 && gap <= 8502);
		rig_settle(w->r);
		ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
		w->says[0] = SERVING;
		for (int i = 1; i <= healthy; i++) {
			gap = next_ms(w, 0);
			rig_settle(w->r);
			ck_assert_msg(i == 1 ? gap >= 4999 && gap <= 8502 : gap >= 9999 && gap <= 16002, "%d: %llu", i, (unsigned long long)gap);
			ck_assert_msg(stat(w, STAT_CHECK_HEALTHY) == (i == healthy), "after %d", i);
		}
		watched_free(w);
	}
}
END_TEST

/* ---- who is called ---------------------------------------------------------------------------------------------------------- */

START_TEST(who_fails_is_not_called_and_who_passes_again_is)
{
	struct watched *w = watched_new(3, "{grpc: {}, interval: 1s, no_traffic_interval: 1s}", NULL, SERVING);
	uint32_t got[PROVIDERS];

	calls(w, 9, got);
	ck_assert_uint_eq(got[1], 3);
	w->says[1] = NOT_SERVING;
	rig_advance(w->r, 1100);
	calls(w, 10, got);
	ck_assert_uint_eq(got[1], 0);
	ck_assert_uint_eq(got[0] + got[2], 10);
	w->says[1] = SERVING;
	rig_advance(w->r, 1100);
	calls(w, 9, got);
	ck_assert_uint_eq(got[1], 3);
	watched_free(w);
}
END_TEST

START_TEST(a_killed_one_a_hung_one_and_one_that_talks_nonsense_cost_no_call)
{
	struct watched *w = watched_new(4, "{grpc: {}, interval: 1s, timeout: 500ms, no_traffic_interval: 1s, unhealthy_threshold: 1}", NULL, SERVING);
	uint32_t got[PROVIDERS];

	calls(w, 8, got);
	provider_cut(w->p[0]);
	provider_listen(w->p[0], false);
	w->says[1] = SILENT;
	rig_advance(w->r, 1700);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	calls(w, 20, got);
	ck_assert_uint_eq(got[2] + got[3], 20);
	provider_listen(w->p[0], true);
	w->says[1] = SERVING;
	w->says[2] = BREAKS;
	rig_advance(w->r, 1700);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 3);
	calls(w, 21, got);
	ck_assert_uint_eq(got[2], 0);
	ck_assert_uint_gt(got[0], 0);
	w->says[2] = SERVING;
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 4);
	calls(w, 20, got);
	ck_assert_uint_eq(got[0], 5);
	ck_assert_uint_eq(got[1], 5);
	ck_assert_uint_eq(got[2], 5);
	watched_free(w);
}
END_TEST

START_TEST(when_all_fail_there_is_panic)
{
	struct watched *w = watched_new(2, "{grpc: {}, interval: 1s, no_traffic_interval: 1s}", NULL, NOT_SERVING);
	uint32_t got[PROVIDERS];

	calls(w, 10, got); /* all are as bad as each other, so all are tried: Envoy's threshold of 50 % */
	ck_assert_uint_eq(got[0], 5);
	w->says[0] = SERVING;
	rig_advance(w->r, 1100);
	calls(w, 10, got); /* one of two is not below 50 % */
	ck_assert_uint_eq(got[0], 10);
	watched_free(w);
}
END_TEST

START_TEST(an_answer_that_says_it_fails_counts_at_once_until_the_next_check_passes)
{
	struct watched *w = watched_new(2, "{grpc: {}, interval: 5s, unhealthy_interval: 3s, unhealthy_threshold: 9}", NULL, SERVING);
	uint32_t got[PROVIDERS];

	ck_assert(works(w));
	rig_advance(w->r, 6000);
	provider_next(w->p[0], (struct act){.does = ANSWERS, .messages = 1, .bytes = 5, .head = "x-envoy-immediate-health-check-fail: true\n"});
	calls(w, 2, got);
	ck_assert_uint_eq(stat(w, STAT_CHECK_PASSIVE_FAILURE), 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	calls(w, 10, got);
	ck_assert_uint_eq(got[0], 0);
	rig_advance(w->r, 3100);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	calls(w, 10, got);
	ck_assert_uint_eq(got[0], 5);
	watched_free(w);
}
END_TEST

START_TEST(a_provider_without_a_health_service_is_alive_or_not_as_declared)
{
	static const struct { const char *health; enum says says; uint64_t healthy; } rows[] = {
		{"{grpc: {}}", NO_SERVICE, 1}, {"{grpc: {unimplemented: alive}}", NO_SERVICE, 1}, {"{grpc: {unimplemented: fails}}", NO_SERVICE, 0}, {"{grpc: {unimplemented: connects}}", NO_SERVICE, 1},
		{"{grpc: {unimplemented: alive}}", UNKNOWN_SERVICE, 0}, {"{grpc: {watch: true}}", NO_SERVICE, 1}, {"{grpc: {unimplemented: fails}, watch: true}", NO_SERVICE, 0}, {"{grpc: {}, watch: true}", NO_SERVICE, 1}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		if (strstr(rows[i].health, "{grpc: {watch"))
			continue;
		struct watched *w = watched_new(1, rows[i].health, NULL, rows[i].says);

		ck_assert_msg(stat(w, STAT_CHECK_HEALTHY) == rows[i].healthy, "row %zu", i);
		watched_free(w);
	}
}
END_TEST

START_TEST(http_checks_know_expected_and_retriable_statuses)
{
	struct watched *w = watched_new(1, "{http: {path: /healthz, http2: true, expect: [200], retriable: [503]}, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 2}", NULL, SERVING);

	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	w->says[0] = BREAKS; /* 503 */
	next_ms(w, 0);
	rig_settle(w->r);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	next_ms(w, 0);
	rig_settle(w->r);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	w->says[0] = SERVING;
	next_ms(w, 0);
	rig_settle(w->r);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	w->says[0] = NOT_SERVING; /* 500 */
	next_ms(w, 0);
	rig_settle(w->r);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	watched_free(w);
}
END_TEST

START_TEST(tcp_checks_connect)
{
	struct watched *w = watched_new(2, "{tcp: {}, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 1}", NULL, SERVING);
	uint32_t got[PROVIDERS];

	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	provider_listen(w->p[0], false);
	rig_advance(w->r, 1100);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	calls(w, 4, got);
	ck_assert_uint_eq(got[1], 4);
	watched_free(w);
}
END_TEST

/* ---- connections ------------------------------------------------------------------------------------------------------------ */

START_TEST(a_probe_uses_the_connection_that_calls_use_and_makes_its_own_only_without_one)
{
	struct watched *w = watched_new(1, "{grpc: {}, interval: 1s, no_traffic_interval: 1s}", NULL, SERVING);

	rig_advance(w->r, 3100);
	ck_assert_uint_eq(w->asked[0], 4);
	ck_assert_uint_eq(w->p[0]->accepted, 4); /* one each, closed right after it */
	ck_assert_uint_eq(provider_conns(w->p[0]), 0);
	ck_assert(works(w));
	rig_advance(w->r, 5000);
	ck_assert_uint_ge(w->asked[0], 8);
	ck_assert_uint_eq(w->p[0]->accepted, 5);
	ck_assert_uint_eq(provider_conns(w->p[0]), 1);
	watched_free(w);
	w = watched_new(1, "{grpc: {}, interval: 1s, no_traffic_interval: 1s, reuse_connection: true}", NULL, SERVING);
	rig_advance(w->r, 5100);
	ck_assert_uint_eq(w->asked[0], 6);
	ck_assert_uint_eq(w->p[0]->accepted, 1);
	provider_cut(w->p[0]);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(w->p[0]->accepted, 2);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	watched_free(w);
}
END_TEST

START_TEST(a_lent_connection_that_is_dead_is_not_asked_twice)
{
	struct watched *w = watched_new(1, "{grpc: {}, interval: 1s, timeout: 500ms, no_traffic_interval: 1s, unhealthy_threshold: 3}", NULL, SERVING);

	ck_assert(works(w));
	rig_advance(w->r, 2000);
	w->says[0] = SILENT;
	next_ms(w, 0);
	uint32_t accepted = w->p[0]->accepted;
	rig_advance(w->r, 510);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 1);
	w->says[0] = SERVING;
	next_ms(w, 0);
	rig_settle(w->r);
	ck_assert_uint_eq(w->p[0]->accepted, accepted + 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	watched_free(w);
}
END_TEST

START_TEST(goaway_is_no_failure_and_does_not_spin)
{
	struct watched *w = watched_new(1, "{grpc: {}, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 1}", NULL, SERVING);
	uint64_t before;

	ck_assert(works(w));
	for (int i = 0; i < 10; i++) {
		provider_goaway(w->p[0]);
		rig_advance(w->r, 700);
		ck_assert(works(w));
	}
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	watched_free(w);
	/* one that says it to whoever comes, by hand: SETTINGS, GOAWAY of no stream */
	struct rig *r = rig_bare(7);
	struct raw *p = raw_provider(r, "10.0.0.1:1");
	rig_start(r, "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nservices:\n  - name: " DEMO "\n    endpoints: [\"10.0.0.1:1\"]\n"
		"    health: {grpc: {}, interval: 1s, no_traffic_interval: 1s}\n");
	for (int i = 0; i < 16; i++) {
		rig_advance(r, 1);
		for (uint32_t k = 0; k < p->naccepted; k++)
			if (p->accepted[k]->sock && p->accepted[k]->in.n && !p->accepted[k]->eof && !p->accepted[k]->deaf) {
				p->accepted[k]->deaf = true;
				raw_send(p->accepted[k], "\0\0\0\4\0\0\0\0\0" "\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", 26);
			}
	}
	before = rig_stat(r, STAT_CHECK_ATTEMPT);
	ck_assert_uint_ge(before, 2);
	ck_assert_uint_le(before, 4);
	ck_assert_uint_eq(rig_stat(r, STAT_CHECK_FAILURE), 1); /* nobody knew it: calls are not to wait for ever */
	rig_free(&r);
}
END_TEST

/* ---- Watch ------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_watch_tells_at_once_and_asks_nothing)
{
	struct watched *w = watched_new(2, "{grpc: {}, watch: true, interval: 5s}", NULL, WATCHED);
	uint32_t got[PROVIDERS];

	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	ck_assert(works(w));
	rig_advance(w->r, 60000);
	ck_assert_uint_eq(w->asked[0], 1);
	say(w->watch[0], GRPC_HEALTH_NOT_SERVING);
	rig_advance(w->r, 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	calls(w, 10, got);
	ck_assert_uint_eq(got[0], 0);
	say(w->watch[0], GRPC_HEALTH_SERVING);
	rig_advance(w->r, 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	watched_free(w);
}
END_TEST

START_TEST(who_says_it_fails_is_asked_anew_by_a_watch_too)
{
	struct watched *w = watched_new(2, "{grpc: {}, watch: true, interval: 5s, unhealthy_interval: 3s}", NULL, WATCHED);
	uint32_t got[PROVIDERS];

	ck_assert(works(w));
	provider_next(w->p[0], (struct act){.does = ANSWERS, .messages = 1, .bytes = 5, .head = "x-envoy-immediate-health-check-fail: true\n"});
	provider_next(w->p[1], (struct act){.does = ANSWERS});
	calls(w, 2, got);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	rig_advance(w->r, 3100);
	ck_assert_uint_eq(w->asked[0], 2); /* the stream that was open had nothing new to say */
	ck_assert_uint_eq(w->asked[1], 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	calls(w, 10, got);
	ck_assert_uint_eq(got[0], 5);
	watched_free(w);
}
END_TEST

START_TEST(a_watch_that_was_lost_is_opened_again_with_back_off)
{
	struct watched *w = watched_new(1, "{grpc: {}, watch: true, interval: 8s, no_traffic_interval: 8s, unhealthy_threshold: 2}", NULL, WATCHED);

	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	provider_cut(w->p[0]);
	rig_advance(w->r, 1);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1); /* one of two */
	rig_advance(w->r, 1010);
	ck_assert_uint_eq(w->asked[0], 2); /* half a second to one */
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	provider_listen(w->p[0], false);
	provider_cut(w->p[0]);
	rig_advance(w->r, 1010);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	rig_advance(w->r, 60000);
	uint64_t tries = stat(w, STAT_CHECK_ATTEMPT);
	ck_assert_uint_ge(tries, 9);
	ck_assert_uint_le(tries, 22); /* 1, 2, 4, 8, 8 ... seconds, half of it chance */
	provider_listen(w->p[0], true);
	rig_advance(w->r, 8100);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	watched_free(w);
}
END_TEST

START_TEST(a_provider_without_watch_is_polled)
{
	struct watched *w = watched_new(1, "{grpc: {}, watch: true, interval: 1s, no_traffic_interval: 1s}", NULL, NO_SERVICE);

	ck_assert_uint_eq(w->asked[0], 2); /* Watch, then Check */
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	w->says[0] = SERVING;
	rig_advance(w->r, 3100);
	ck_assert_uint_eq(w->asked[0], 5);
	ck_assert_str_eq(served_field(provider_last(w->p[0]), ":path"), GRPC_HEALTH_CHECK);
	watched_free(w);
}
END_TEST

START_TEST(a_watched_provider_that_leaves_is_let_go)
{
	struct watched *w = watched_new(1, "{grpc: {}, watch: true, interval: 5s, no_traffic_interval: 5s}", NULL, WATCHED);

	provider_goaway(w->p[0]);
	rig_advance(w->r, 5);
	ck_assert_uint_eq(provider_conns(w->p[0]), 0);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 1);
	rig_advance(w->r, 1010);
	ck_assert_uint_eq(w->asked[0], 2);
	watched_free(w);
}
END_TEST

/* ---- reload, freeze, memory -------------------------------------------------------------------------------------------------- */

#define SERVICE(health) "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nservices:\n  - name: " DEMO "\n    lb: round_robin\n    endpoints: [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n    retries: {max: 0}\n" health

START_TEST(checks_come_change_and_go_with_a_reload_and_no_call_pays)
{
	struct watched *w = watched_new(2, "{grpc: {}, interval: 1s, no_traffic_interval: 1s}", NULL, SERVING);

	rig_advance(w->r, 100);
	ck_assert_int_eq(rig_reload(w->r, SERVICE("    health: {grpc: {}, interval: 1s, no_traffic_interval: 1s}\n    timeout: 9s\n")), 0); /* the same checks: nothing begins anew */
	rig_advance(w->r, 1);
	ck_assert_uint_eq(w->asked[0], 1);
	ck_assert(works(w));
	ck_assert_int_eq(rig_reload(w->r, SERVICE("    health: {http: {path: /healthz, http2: true}, interval: 1s, no_traffic_interval: 1s}\n")), 0);
	ck_assert(works(w));
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	ck_assert_uint_eq(w->asked[0], 2);
	ck_assert_int_eq(rig_reload(w->r, SERVICE("")), 0);
	rig_settle(w->r);
	ck_assert_uint_eq(stat(w, STAT_CHECK_ENDPOINTS), 0);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 0);
	ck_assert(works(w));
	uint64_t attempts = stat(w, STAT_CHECK_ATTEMPT);
	rig_advance(w->r, 60000);
	ck_assert_uint_eq(stat(w, STAT_CHECK_ATTEMPT), attempts);
	ck_assert_int_eq(rig_reload(w->r, SERVICE("    health: {grpc: {}, interval: 1s, no_traffic_interval: 1s}\n")), 0);
	ck_assert(works(w)); /* who served yesterday need not wait for a first check */
	rig_advance(w->r, 1000);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	watched_free(w);
}
END_TEST

START_TEST(a_freeze_in_the_middle_of_a_check_fails_nobody)
{
	struct watched *w = watched_new(2, "{grpc: {}, interval: 5s, timeout: 1s, unhealthy_threshold: 1}", NULL, SERVING);

	ck_assert(works(w));
	rig_advance(w->r, 4000);
	w->says[0] = SILENT;
	next_ms(w, 0);
	ck_assert_uint_eq(stat(w, STAT_CHECK_ACTIVE), 1);
	w->says[0] = SERVING;
	simnet_freeze(w->r->net, 60 * SEC);
	rig_advance(w->r, 10);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	rig_advance(w->r, 5100); /* all are asked again within an interval */
	ck_assert_uint_ge(w->asked[0], 3);
	ck_assert_uint_ge(w->asked[1], 2);
	ck_assert_uint_eq(stat(w, STAT_CHECK_FAILURE), 0);
	ck_assert_uint_eq(stat(w, STAT_CHECK_HEALTHY), 2);
	watched_free(w);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {providers_are_asked_before_anybody_calls_and_the_first_answer_decides, until_there_is_traffic_the_intervals_are_the_long_ones, each_interval_follows_the_result_before_it,
		a_timeout_begins_the_next_interval_when_it_is_over, jitter_lengthens_each_interval_within_its_bounds, the_numbers_of_the_dubbo_proposal_are_kept, who_fails_is_not_called_and_who_passes_again_is,
		a_killed_one_a_hung_one_and_one_that_talks_nonsense_cost_no_call, when_all_fail_there_is_panic, an_answer_that_says_it_fails_counts_at_once_until_the_next_check_passes,
		a_provider_without_a_health_service_is_alive_or_not_as_declared, http_checks_know_expected_and_retriable_statuses, tcp_checks_connect,
		a_probe_uses_the_connection_that_calls_use_and_makes_its_own_only_without_one, a_lent_connection_that_is_dead_is_not_asked_twice, goaway_is_no_failure_and_does_not_spin,
		a_watch_tells_at_once_and_asks_nothing, who_says_it_fails_is_asked_anew_by_a_watch_too, a_watch_that_was_lost_is_opened_again_with_back_off, a_provider_without_watch_is_polled, a_watched_provider_that_leaves_is_let_go,
		checks_come_change_and_go_with_a_reload_and_no_call_pays, a_freeze_in_the_middle_of_a_check_fails_nobody};
	Suite *made = suite_create("checks");
	TCase *t = tcase_create("checks");

	tcase_set_timeout(t, 60);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(made, t);
	return made;
}
