/* lb/outlier: each way to be judged with its exact numbers, on the virtual clock. What comes of calls is told by hand (host_outcome), so that a row of a table is
 * the whole history of a host. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/health.h"
#include "lb/cluster_int.h"
#include "tests/lb/lbrig.h"
#include "tests/unit.h"

enum { HOSTS_MOST = 20 };
struct court {
	struct lb_rig *r;
	struct outlier rules;      /* copied at declare */
	struct host *h[HOSTS_MOST];/* in the order of their addresses */
	uint32_t count;
	char told[256];            /* "1:consecutive_5xx", "1:back" ... */
};

static void note(void *ctx, const struct cluster *c, const char *host, const struct outlier_tale *tale)
{
	struct court *t = ctx;
	static const char *const words[] = {[TOLD_NOT_ENFORCED] = "spared", [TOLD_RETURNED] = "back", [TOLD_RETURNED_CHECKED] = "checked", [TOLD_DEGRADED] = "degraded",
		[TOLD_NOT_DEGRADED] = "well"};
	size_t n = strlen(t->told);

	(void)c;
	snprintf(t->told + n, sizeof(t->told) - n, "%s%s:%s", n ? " " : "", host + strlen("10.0.0."), tale->what == TOLD_EJECTED ? outlier_kind_name(tale->kind) : words[tale->what]);
	char *port = strstr(t->told + n, ":80:"); /* "1:80:back" reads worse than "1:back" */
	if (port)
		memmove(port, port + 3, strlen(port + 3) + 1);
}

static void declare(struct court *t, uint32_t count, bool judged)
{
	struct cluster_spec *spec = lb_rig_spec();
	char text[HOSTS_MOST * 16] = "";

	for (uint32_t i = 1; i <= count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s10.0.0.%u:80", i > 1 ? " " : "", i);
	if (judged) {
		spec->outlier = xnew(struct outlier);
		*spec->outlier = t->rules;
	}
	spec_seal(spec);
	lb_rig_declare(t->r, spec, text);
}

/* All hosts are born by a pick of each. */
static void meet(struct court *t, uint32_t count)
{
	t->count = count;
	for (uint32_t n = 0; n < count * 4; n++) {
		struct host *h;
		int at;

		if (cluster_pick(t->r->cluster, 0, NULL, &h) != PICK_OK)
			break;
		ck_assert_int_eq(sscanf(h->text, "10.0.0.%d:80", &at), 1);
		t->h[at - 1] = h;
		host_done(&h, HOST_NEUTRAL);
	}
	for (uint32_t i = 0; i < count; i++)
		ck_assert_ptr_nonnull(t->h[i]);
}

static struct court *court_new(uint32_t count, void (*rules)(struct outlier *o))
{
	struct court *t = xnew(struct court);

	t->r = lb_rig_new();
	outlier_default(&t->rules);
	t->rules.max_ejection_percent = 100;
	if (rules)
		rules(&t->rules);
	clusters_set_outlier_tell(t->r->clusters, note, t);
	declare(t, count, true);
	if (!t->r->cluster)
		t->r->cluster = cluster_live(t->r->clusters, &t->r->decl);
	meet(t, count);
	return t;
}

static void court_free(struct court **pt)
{
	lb_rig_free(&(*pt)->r);
	free(*pt);
	*pt = NULL;
}

static uint64_t stat(const struct court *t, enum stat_id id)
{
	return stat_get(&t->r->loop->stats, id);
}

/* One letter an answer: digits are a status of that hundred, b 502, u 503, t 504; c could not connect, r reset, o timeout (nobody answered); d 200 and degraded. */
static void says(struct court *t, uint32_t host, const char *answers)
{
	for (const char *a = answers; *a; a++) {
		struct host_outcome o = {.http_status = *a >= '1' && *a <= '9' ? (*a - '0') * 100 : *a == 'b' ? 502 : *a == 'u' ? 503 : *a == 't' ? 504 : *a == 'd' ? 200 : 0};

		o.degraded = *a == 'd';
		if (strchr("cro", *a)) {
			o.local_origin = true;
			o.http_status = *a == 'c' ? 503 : *a == 'r' ? 502 : 504;
		}
		if (*a != ' ')
			host_outcome(t->h[host - 1], &o);
	}
}

/* So many calls, of which so many are good; in no row of failures. */
static void rate(struct court *t, uint32_t host, uint32_t calls, uint32_t good)
{
	for (uint32_t i = 0; i < calls; i++)
		says(t, host, (uint64_t)(i + 1) * good / calls > (uint64_t)i * good / calls ? "2" : "5");
}

/* ---- in a row ---------------------------------------------------------------------------------------------------------------- */

static void split(struct outlier *o) { o->split_local_origin = true; }
static void gateway(struct outlier *o) { o->enforcing_consecutive_gateway = 100, o->consecutive_gateway = 3; }
static void no_5xx(struct outlier *o) { o->consecutive_5xx = 0; }
static void none_enforced(struct outlier *o) { o->enforcing_consecutive_5xx = 0; }
static void split_unenforced(struct outlier *o) { split(o), o->enforcing_consecutive_local_origin = 0; }

START_TEST(failures_in_a_row_eject)
{
	static const struct {
		void (*rules)(struct outlier *o);
		const char *answers, *told;
	} rows[] = {
		{NULL, "5555", ""},
		{NULL, "55555", "1:consecutive_5xx"},
		{NULL, "5555255555", "1:consecutive_5xx"},
		{NULL, "5555 2 5555 3 5555 4 5555", ""},            /* 4xx are no failures */
		{NULL, "ubtub", "1:spared 1:consecutive_5xx"},      /* gateway failures are detected, and by default not enforced */
		{NULL, "crocr", "1:spared 1:consecutive_5xx"},      /* unsplit, nobody's answer counts as 503, 502 and 504 */
		{NULL, "55555 55555", "1:consecutive_5xx"},         /* ejected is ejected */
		{gateway, "ubt", "1:consecutive_gateway_failure"},
		{gateway, "ub5ub5", "1:consecutive_5xx"},           /* a 500 ends a row of gateway failures, and goes on with that of 5xx */
		{gateway, "ub2ub", ""},
		{no_5xx, "5555555555", ""},
		{none_enforced, "555555555555555", "1:spared 1:spared 1:spared"},
		{split, "crocr", "1:consecutive_local_origin_failure"},
		{split, "croc", ""},
		{split, "croc5croc", ""},                           /* somebody answered, be it with a failure */
		{split, "5c5c5c5c5", "1:consecutive_5xx"},          /* of the answers, all are failures */
		{split, "5555", ""},
		{split, "55555", "1:consecutive_5xx"},
		{split_unenforced, "ccccc", "1:spared"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct court *t = court_new(2, rows[i].rules);

		says(t, 1, rows[i].answers);
		ck_assert_msg(strcmp(t->told, rows[i].told) == 0, "row %zu (%s): told '%s', not '%s'", i, rows[i].answers, t->told, rows[i].told);
		ck_assert_int_eq(host_is_ejected(t->h[0]), strstr(rows[i].told, "consecutive") != NULL);
		ck_assert_uint_eq(stat(t, STAT_OUTLIER_ACTIVE), host_is_ejected(t->h[0]));
		ck_assert_uint_eq(stat(t, STAT_OUTLIER_ENFORCED), host_is_ejected(t->h[0]));
		court_free(&t);
	}
}
END_TEST

START_TEST(an_ejected_host_is_picked_no_more_until_its_time_is_over)
{
	struct court *t = court_new(3, NULL);
	struct host *h;

	says(t, 2, "55555");
	for (int i = 0; i < 30; i++) {
		ck_assert_int_eq(cluster_pick(t->r->cluster, 0, NULL, &h), PICK_OK);
		ck_assert_ptr_ne(h, t->h[1]);
		host_done(&h, HOST_OK);
	}
	lb_rig_advance(t->r, 30 * SEC - MS);
	ck_assert(host_is_ejected(t->h[1]));
	lb_rig_advance(t->r, 2 * MS);
	ck_assert(!host_is_ejected(t->h[1]));
	ck_assert_str_eq(t->told, "2:consecutive_5xx 2:back");
	bool seen = false;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(cluster_pick(t->r->cluster, 0, NULL, &h), PICK_OK);
		seen |= h == t->h[1];
		host_done(&h, HOST_OK);
	}
	ck_assert(seen);
	court_free(&t);
}
END_TEST

START_TEST(who_returns_begins_without_debts)
{
	struct court *t = court_new(2, NULL);

	says(t, 1, "5555");
	says(t, 1, "5");
	says(t, 1, "5555"); /* while ejected: in panic it may get calls */
	lb_rig_advance(t->r, 31 * SEC);
	says(t, 1, "5555");
	ck_assert(!host_is_ejected(t->h[0]));
	says(t, 1, "5");
	ck_assert(host_is_ejected(t->h[0]));
	court_free(&t);
}
END_TEST

/* ---- how long ------------------------------------------------------------------------------------------------------------------ */

/* Ejects host 1 now; how long it stays away. */
static uint64_t sentence(struct court *t)
{
	uint64_t from = t->r->loop->now_ns;

	says(t, 1, "55555");
	ck_assert(host_is_ejected(t->h[0]));
	for (int i = 0; i < 10000 && host_is_ejected(t->h[0]); i++)
		lb_rig_advance(t->r, 100 * MS);
	ck_assert(!host_is_ejected(t->h[0]));
	return (t->r->loop->now_ns - from) / SEC;
}

static void short_max(struct outlier *o) { o->base_ejection_ns = 30 * SEC, o->max_ejection_ns = 100 * SEC; }

START_TEST(each_ejection_lasts_longer_up_to_the_most)
{
	static const uint64_t seconds[] = {30, 60, 90, 100, 100, 100};
	struct court *t = court_new(2, short_max);

	for (size_t i = 0; i < UNIT_COUNT(seconds); i++)
		ck_assert_uint_eq(sentence(t), seconds[i]);
	court_free(&t);
}
END_TEST

START_TEST(the_multiplier_falls_by_one_for_each_interval_that_the_host_stands)
{
	struct court *t = court_new(2, NULL);

	ck_assert_uint_eq(sentence(t), 30);
	ck_assert_uint_eq(sentence(t), 60);
	ck_assert_uint_eq(sentence(t), 90);
	lb_rig_advance(t->r, 9 * SEC);
	ck_assert_uint_eq(sentence(t), 120);
	lb_rig_advance(t->r, 20 * SEC + 500 * MS); /* 4 - 2 + 1 */
	ck_assert_uint_eq(sentence(t), 90);
	lb_rig_advance(t->r, 3600 * SEC);
	ck_assert_uint_eq(sentence(t), 30);
	court_free(&t);
}
END_TEST

static void jitter(struct outlier *o) { o->max_ejection_jitter_ns = 10 * SEC; }

START_TEST(a_jitter_comes_on_top_and_differs)
{
	uint64_t least = UINT64_MAX, most = 0;
	struct court *t = court_new(2, jitter);

	for (int i = 0; i < 20; i++) {
		uint64_t s = sentence(t);

		ck_assert(s >= 30 && s <= 40);
		least = s < least ? s : least;
		most = s > most ? s : most;
		lb_rig_advance(t->r, 60 * SEC);
	}
	ck_assert_uint_ge(most - least, 4);
	court_free(&t);
}
END_TEST

/* ---- how many ------------------------------------------------------------------------------------------------------------------- */

static void percent(struct court *t, uint32_t most, bool one)
{
	t->rules.max_ejection_percent = most;
	t->rules.always_eject_one = one;
	declare(t, t->count, true);
}

START_TEST(no_more_are_ejected_than_the_percentage_says)
{
	static const struct {
		uint32_t hosts, percent, one, ejected;
	} rows[] = {{10, 10, 0, 1}, {10, 9, 0, 0}, {10, 9, 1, 1}, {10, 29, 0, 2}, {10, 30, 0, 3}, {3, 10, 0, 0}, {3, 10, 1, 1}, {3, 34, 0, 1}, {3, 67, 0, 2}, {3, 0, 0, 0}, {3, 0, 1, 1}, {3, 100, 0, 3}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct court *t = court_new(rows[i].hosts, NULL);

		percent(t, rows[i].percent, rows[i].one);
		for (uint32_t h = 1; h <= rows[i].hosts; h++)
			says(t, h, "55555");
		ck_assert_msg(outlier_ejected(t->r->cluster) == rows[i].ejected, "row %zu: %u", i, outlier_ejected(t->r->cluster));
		ck_assert_uint_eq(stat(t, STAT_OUTLIER_OVERFLOW), rows[i].hosts - rows[i].ejected);
		ck_assert_uint_eq(stat(t, STAT_OUTLIER_DETECTED_5XX), rows[i].hosts);
		ck_assert_uint_eq(stat(t, STAT_OUTLIER_ENFORCED_5XX), rows[i].ejected);
		court_free(&t);
	}
}
END_TEST

static void half(struct outlier *o) { o->enforcing_consecutive_5xx = 50, o->base_ejection_ns = SEC; }

START_TEST(what_is_enforced_by_half_is_drawn)
{
	struct court *t = court_new(2, half);

	for (int i = 0; i < 200; i++) {
		says(t, 1, "55555");
		lb_rig_advance(t->r, 301 * SEC);
	}
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_DETECTED_5XX), 200);
	ck_assert(stat(t, STAT_OUTLIER_ENFORCED_5XX) > 70 && stat(t, STAT_OUTLIER_ENFORCED_5XX) < 130);
	court_free(&t);
}
END_TEST

/* ---- at the end of an interval ------------------------------------------------------------------------------------------------------ */

static void by_rate(struct outlier *o) { o->consecutive_5xx = 0, o->consecutive_gateway = 0, o->failure_percentage_hosts = 100; }
static void by_rate_factor(struct outlier *o) { by_rate(o), o->success_rate_stdev_factor = 2100; }
static void by_rate_hosts(struct outlier *o) { by_rate(o), o->success_rate_hosts = 6; }
static void by_rate_volume(struct outlier *o) { by_rate(o), o->success_rate_volume = 101; }
static void by_rate_split(struct outlier *o) { by_rate(o), split(o), o->consecutive_local_origin = 0; }
static void by_failures(struct outlier *o) { by_rate(o), o->enforcing_success_rate = 0, o->enforcing_failure_percentage = 100, o->failure_percentage_hosts = 5; }

START_TEST(a_success_rate_far_below_the_others_ejects)
{
	/* Of 100 calls each. Mean 90, deviation 20: below 52 with 1.9, below 48 with 2.1. */
	static const struct {
		void (*rules)(struct outlier *o);
		uint32_t good[5];
		const char *told;
	} rows[] = {
		{by_rate, {50, 100, 100, 100, 100}, "1:success_rate"},
		{by_rate_factor, {50, 100, 100, 100, 100}, ""},
		{by_rate_hosts, {50, 100, 100, 100, 100}, ""},
		{by_rate_volume, {50, 100, 100, 100, 100}, ""},
		{by_rate, {50, 50, 50, 50, 50}, ""},               /* all alike: the deviation is 0, and nobody is below the mean */
		{by_rate, {90, 91, 92, 93, 94}, ""},
		{by_rate, {0, 0, 100, 100, 100}, ""},              /* mean 60, deviation 49: nobody can be so bad */
		{by_failures, {15, 16, 100, 100, 0}, "1:failure_percentage 5:failure_percentage"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct court *t = court_new(5, rows[i].rules);

		for (uint32_t h = 1; h <= 5; h++)
			rate(t, h, 100, rows[i].good[h - 1]);
		lb_rig_advance(t->r, 10 * SEC - MS);
		ck_assert_str_eq(t->told, "");
		lb_rig_advance(t->r, 2 * MS);
		ck_assert_msg(strcmp(t->told, rows[i].told) == 0, "row %zu: told '%s', not '%s'", i, t->told, rows[i].told);
		court_free(&t);
	}
}
END_TEST

START_TEST(a_host_with_too_few_calls_is_neither_judged_nor_a_measure)
{
	struct court *t = court_new(6, by_rate);

	rate(t, 1, 99, 0);
	for (uint32_t h = 2; h <= 6; h++)
		rate(t, h, 100, 100);
	lb_rig_advance(t->r, 10 * SEC + MS);
	ck_assert_str_eq(t->told, "");
	rate(t, 1, 100, 0); /* the calls of the interval before are forgotten */
	for (uint32_t h = 2; h <= 6; h++)
		rate(t, h, 100, 100);
	lb_rig_advance(t->r, 10 * SEC + MS);
	ck_assert_str_eq(t->told, "1:success_rate");
	court_free(&t);
}
END_TEST

START_TEST(failures_to_connect_have_rates_of_their_own_where_they_are_split_off)
{
	struct court *t = court_new(5, by_rate_split);
	struct outlier_view v;

	for (uint32_t h = 1; h <= 5; h++)
		for (int i = 0; i < 100; i++)
			says(t, h, h == 1 && i % 2 ? "c" : "2");
	lb_rig_advance(t->r, 10 * SEC + MS);
	ck_assert_str_eq(t->told, "1:local_origin_success_rate");
	ck_assert(outlier_host_view(t->h[0], &v));
	ck_assert(v.ejected && v.local_success_rate == 50 && v.success_rate == 100);
	ck_assert_str_eq(v.why, "local_origin_success_rate");
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_DETECTED_LOCAL_SUCCESS_RATE), 1);
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_ENFORCED_LOCAL_SUCCESS_RATE), 1);
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_DETECTED_SUCCESS_RATE), 0);
	court_free(&t);
}
END_TEST

static void split_failures(struct outlier *o) { by_rate_split(o), o->enforcing_local_success_rate = 0, o->enforcing_local_failure_percentage = 100, o->failure_percentage_hosts = 1; } /* of enough calls */

START_TEST(a_percentage_of_failures_to_connect_ejects)
{
	struct court *t = court_new(2, split_failures);

	for (int i = 0; i < 60; i++)
		says(t, 1, i < 51 ? "c" : "5"); /* 85 % */
	for (int i = 0; i < 49; i++)
		says(t, 2, "c");                /* too few to say */
	lb_rig_advance(t->r, 10 * SEC + MS);
	ck_assert_str_eq(t->told, "1:local_origin_failure_percentage");
	court_free(&t);
}
END_TEST

/* ---- around it ----------------------------------------------------------------------------------------------------------------- */

START_TEST(a_check_that_passes_brings_an_ejected_host_back_where_that_is_asked_for)
{
	struct court *t = court_new(2, NULL);

	says(t, 1, "55555");
	outlier_checked(t->h[0], false);
	ck_assert(host_is_ejected(t->h[0]));
	outlier_checked(t->h[0], true);
	ck_assert(!host_is_ejected(t->h[0]));
	outlier_checked(t->h[0], true);
	ck_assert_str_eq(t->told, "1:consecutive_5xx 1:checked");
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_ACTIVE), 0);
	t->rules.uneject_on_check = false;
	declare(t, 2, true);
	says(t, 1, "55555");
	outlier_checked(t->h[0], true);
	ck_assert(host_is_ejected(t->h[0]));
	court_free(&t);
}
END_TEST

START_TEST(rules_that_are_taken_back_with_an_update_that_does_not_come_to_serve_leave_no_timer_that_spins)
{
	for (int refused = 0; refused < 2; refused++) {
		struct court *t = court_new(2, NULL);
		struct cluster_spec *spec = lb_rig_spec();

		says(t, 1, "55555");
		ck_assert(host_is_ejected(t->h[0]));
		spec->removal_hold_ns = 100 * SEC;
		spec_seal(spec);
		if (refused) {
			t->r->clusters->account.limit = 1;
			lb_rig_declare(t->r, spec, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
			ck_assert_uint_eq(lb_rig_view(t->r).updates_refused, 1);
		} else {
			lb_rig_declare(t->r, spec, ""); /* kept */
		}
		uint64_t turns = stat(t, STAT_TURNS);
		lb_rig_advance(t->r, 11 * SEC);
		ck_assert_uint_lt(stat(t, STAT_TURNS) - turns, 20);
		ck_assert(host_is_ejected(t->h[0]));
		lb_rig_advance(t->r, 20 * SEC);
		ck_assert(!host_is_ejected(t->h[0]));
		t->r->clusters->account.limit = SIZE_MAX;
		court_free(&t);
	}
}
END_TEST

static void degraded(struct outlier *o) { o->detect_degraded = true; }

START_TEST(a_host_that_says_it_is_degraded_serves_behind_the_others_for_a_while)
{
	struct court *t = court_new(2, NULL);
	struct host *h;

	says(t, 1, "d");
	ck_assert(!outlier_degraded(t->h[0]));
	degraded(&t->rules);
	declare(t, 2, true);
	says(t, 1, "d");
	ck_assert(outlier_degraded(t->h[0]) && !host_is_ejected(t->h[0]));
	says(t, 1, "dd");
	ck_assert_str_eq(t->told, "1:degraded");
	lb_rig_advance(t->r, 30 * SEC + MS);
	ck_assert_str_eq(t->told, "1:degraded 1:well");
	says(t, 1, "d");
	lb_rig_advance(t->r, 59 * SEC);
	ck_assert(outlier_degraded(t->h[0]));
	says(t, 2, "55555"); /* nobody else: it serves */
	ck_assert_int_eq(cluster_pick(t->r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert_ptr_eq(h, t->h[0]);
	host_done(&h, HOST_OK);
	court_free(&t);
}
END_TEST

START_TEST(without_detection_all_return_and_nothing_is_kept)
{
	struct court *t = court_new(3, NULL);

	says(t, 1, "55555");
	says(t, 2, "55");
	declare(t, 3, false);
	ck_assert(!host_is_ejected(t->h[0]));
	ck_assert_str_eq(t->told, "1:consecutive_5xx 1:back");
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_ACTIVE), 0);
	ck_assert_ptr_null(t->h[1]->outlier);
	says(t, 1, "55555 55555");
	ck_assert(!host_is_ejected(t->h[0]));
	court_free(&t);
}
END_TEST

START_TEST(who_leaves_the_set_is_ejected_no_more_and_who_stays_is)
{
	struct court *t = court_new(3, NULL);
	struct host *h;

	says(t, 3, "55555");
	says(t, 1, "55555");
	declare(t, 2, true);
	ck_assert_uint_eq(outlier_ejected(t->r->cluster), 1);
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_ACTIVE), 1);
	ck_assert(host_is_ejected(t->h[0]));
	for (int i = 0; i < 10; i++) { /* the hot records are new ones */
		ck_assert_int_eq(cluster_pick(t->r->cluster, 0, NULL, &h), PICK_OK);
		ck_assert_ptr_eq(h, t->h[1]);
		host_done(&h, HOST_OK);
	}
	lb_rig_withdraw(t->r);
	lb_rig_advance(t->r, SEC);
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_ACTIVE), 0);
	court_free(&t);
}
END_TEST

START_TEST(an_idle_cluster_keeps_no_timer)
{
	struct court *t = court_new(2, NULL);

	says(t, 1, "55555 5");
	says(t, 2, "2");
	lb_rig_advance(t->r, 31 * SEC);
	ck_assert(!host_is_ejected(t->h[0]));
	uint64_t turns = stat(t, STAT_TURNS);
	ck_assert(!timer_armed(&t->r->cluster->empty));
	lb_rig_advance(t->r, 3600 * SEC);
	ck_assert_uint_le(stat(t, STAT_TURNS) - turns, 2);
	court_free(&t);
}
END_TEST

START_TEST(without_memory_nobody_is_judged)
{
	struct court *t = court_new(2, NULL);
	struct account *a = &t->r->cluster->all->account;
	size_t limit = a->limit;

	a->limit = a->used;
	says(t, 1, "55555");
	ck_assert_uint_eq(stat(t, STAT_OUTLIER_UNJUDGED), 5);
	ck_assert(!host_is_ejected(t->h[0]));
	a->limit = limit;
	says(t, 1, "55555");
	ck_assert(host_is_ejected(t->h[0]));
	court_free(&t);
}
END_TEST

START_TEST(after_a_standstill_rows_and_rates_begin_anew_and_ejections_go_on)
{
	struct court *t = court_new(6, by_rate);

	t->rules.consecutive_5xx = 5;
	declare(t, 6, true);
	says(t, 6, "55555");
	says(t, 1, "5555");
	for (uint32_t h = 2; h <= 5; h++)
		rate(t, h, 100, 100);
	outlier_thaw(t->r->cluster);
	says(t, 1, "5");
	lb_rig_advance(t->r, 11 * SEC);
	ck_assert_str_eq(t->told, "6:consecutive_5xx");
	lb_rig_advance(t->r, 20 * SEC);
	ck_assert_str_eq(t->told, "6:consecutive_5xx 6:back");
	court_free(&t);
}
END_TEST

UNIT_SUITE("outlier", failures_in_a_row_eject, an_ejected_host_is_picked_no_more_until_its_time_is_over, who_returns_begins_without_debts,
	each_ejection_lasts_longer_up_to_the_most, the_multiplier_falls_by_one_for_each_interval_that_the_host_stands, a_jitter_comes_on_top_and_differs,
	no_more_are_ejected_than_the_percentage_says, what_is_enforced_by_half_is_drawn, a_success_rate_far_below_the_others_ejects,
	a_host_with_too_few_calls_is_neither_judged_nor_a_measure, failures_to_connect_have_rates_of_their_own_where_they_are_split_off,
	a_percentage_of_failures_to_connect_ejects, a_check_that_passes_brings_an_ejected_host_back_where_that_is_asked_for, rules_that_are_taken_back_with_an_update_that_does_not_come_to_serve_leave_no_timer_that_spins,
	a_host_that_says_it_is_degraded_serves_behind_the_others_for_a_while, without_detection_all_return_and_nothing_is_kept,
	who_leaves_the_set_is_ejected_no_more_and_who_stays_is, an_idle_cluster_keeps_no_timer, without_memory_nobody_is_judged,
	after_a_standstill_rows_and_rates_begin_anew_and_ejections_go_on)
