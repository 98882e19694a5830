/* Everything at once, by a seed: calls come, are cancelled, endpoints and options change, providers die, hang, refuse and come back, checks begin and end, pass
 * and fail, hosts are ejected and return.
 * Whatever happens, each call ends, and in the end all counts are what they were in the beginning. */
#include "conf/health.h"
#include "lb/cluster_int.h"
#include "tests/lb/checkrig.h"
#include "tests/unit.h"
#include "base/err.h"
#include <stdio.h>

enum { PROVIDERS = 5, CALLS = 64, STEPS = 1500 };
static const char *const addresses[PROVIDERS] = {"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[fd00::4]:1", "unix:/run/p5.sock"};

static uint32_t below(struct lb_rig *r, uint32_t n)
{
	return (uint32_t)(simnet_random(r->net) % n);
}

static bool is_over(const struct call *c)
{
	return c->state == CALL_NEW || c->state >= CALL_ENDED;
}

static void redeclare(struct lb_rig *r)
{
	struct cluster_spec *spec = lb_rig_spec();
	char text[512] = "";
	uint32_t subset = below(r, 1 << PROVIDERS);

	spec->lb = (enum lb_kind)below(r, 3);
	spec->max_streams = below(r, 4);
	spec->max_connections_per_host = 1 + below(r, 3);
	spec->max_connections = 1 + below(r, 8);
	spec->max_pending = 1 + below(r, 40);
	spec->idle_timeout_ns = below(r, 2) ? SEC : 0;
	spec->removal_hold_ns = below(r, 2) ? below(r, 2000) * MS : 0;
	spec->locality_weighted = below(r, 2);
	spec->one_address = below(r, 2);
	spec->panic_percent = below(r, 2) ? 50 : 0;
	spec->ignore_health_on_removal = below(r, 8) == 0;
	if (below(r, 2)) {
		spec->checks = xnew(struct health_check);
		spec->nchecks = 1;
		health_check_default(spec->checks);
		health_check_settle(spec->checks);
	}
	if (below(r, 2)) { /* two answers that failed are enough, and half of them may go */
		spec->outlier = xnew(struct outlier);
		outlier_default(spec->outlier);
		spec->outlier->consecutive_5xx = 2;
		spec->outlier->max_ejection_percent = 60;
		spec->outlier->base_ejection_ns = 500 * MS;
		spec->outlier->interval_ns = SEC;
		spec->outlier->detect_degraded = below(r, 2);
	}
	if (below(r, 2))
		spec_seal(spec); /* else nothing is taken over as it is */
	for (uint32_t i = 0; i < PROVIDERS; i++)
		if (subset >> i & 1)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s*%u%s%%z%u~%u^%u#%u", *text ? " " : "", addresses[i],
				1 + below(r, 5), below(r, 6) ? "" : &"!d\0!u\0!g"[3 * below(r, 3)], below(r, 2), below(r, 3), below(r, 2), below(r, 8) ? 7 : 8);
	if (subset % 3 == 0)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%sdb.example:1", *text ? " " : "");
	lb_rig_declare(r, spec, text);
}

static void somebody_says(struct lb_rig *r)
{
	uint32_t n = r->cluster->host_count;
	struct host *h = n ? r->cluster->hosts[below(r, n)] : NULL; /* held ones and those that only serve their calls, too */

	if (!h)
		return;
	switch (below(r, 5)) {
	case 0:
		host_set_check(h, HOST_FAILED, false);
		break;
	case 1:
	case 2:
		host_set_check(h, HOST_PASSED, below(r, 4) == 0);
		break;
	case 3:
		host_fail_now(h);
		break;
	case 4:
		for (uint32_t i = 0; i < 3; i++)
			host_outcome(h, &(struct host_outcome){.http_status = below(r, 4) ? 503 : 200, .degraded = below(r, 4) == 0});
	}
}

static void something_happens(struct lb_rig *r, struct provider **p)
{
	struct provider *some = p[below(r, PROVIDERS)];

	switch (below(r, 16)) {
	case 12:
	case 13:
	case 14:
	case 15:
		somebody_says(r);
		break;
	case 0:
		redeclare(r);
		break;
	case 1:
		provider_cut(some);
		break;
	case 2:
		provider_goaway(some);
		break;
	case 3:
		provider_close(some);
		break;
	case 4:
	case 5:
		provider_open(some);
		break;
	case 6:
		some->behave = (enum behave)below(r, REFUSES + 1);
		break;
	case 7:
		some->behave = ANSWERS;
		break;
	case 8:
		provider_answer(some);
		break;
	case 9:
		provider_stall(some, below(r, 2));
		break;
	case 10:
		simnet_freeze(r->net, below(r, 30) * SEC);
		break;
	case 11:
		if (below(r, 8) == 0) {
			lb_rig_withdraw(r);
			redeclare(r);
		}
		break;
	}
}

static bool flags_say(const struct cluster *c, uint32_t flags, const struct host *h)
{
	if (flags != flags_settled(flags) || (!c->m.checked && flags & (HOT_CHECKED | HOT_OF_CHECK)))
		return false;
	if (!h)
		return !(flags & HOT_EJECTED);
	return !(flags & HOT_CHECKED) == (h->check == HOST_UNCHECKED) && !(flags & HOT_CHECK) == (h->check != HOST_PENDING && h->check != HOST_FAILED) &&
		!(flags & HOT_PENDING) == (h->check != HOST_PENDING) && !(flags & HOT_EXCLUDED) == !(h->check == HOST_FAILED && h->excluded) &&
		!(flags & HOT_EJECTED) == !host_is_ejected(h) && !(flags & HOT_DEGRADED_OUTLIER) == !outlier_degraded(h) &&
		(!h->checks || h->check != HOST_UNCHECKED);
}

static bool counted_alike(const struct bucket *a, const struct bucket *b)
{
	return a->total == b->total && a->excluded == b->excluded && a->pending == b->pending && a->standing == b->standing && a->healthy == b->healthy &&
		a->degraded == b->degraded;
}

/* What is counted of the endpoints is what they are; what they are is what is known of their hosts. NULL: all is well. An assertion each would be a
 * thousand times slower. */
static const char *flags_wrong(const struct cluster *c)
{
	struct members sum = {0};
	struct bucket b[16] = {0}, none = {0};

	if (c->m.bucket_count > 16)
		return "too many buckets for this test";
	for (uint32_t i = 0; i < c->m.count; i++) {
		struct bucket *of = members_bucket(&c->m, i);

		members_count(&sum, of ? &b[of - c->m.buckets] : &none, c->m.hot[i].flags, 1);
		if (!flags_say(c, c->m.hot[i].flags, c->m.hot[i].born ? c->hosts[c->m.hot[i].born - 1] : NULL))
			return "flags";
	}
	for (uint32_t i = 0; i < c->m.bucket_count; i++)
		if (!counted_alike(&c->m.buckets[i], &b[i]))
			return "counts of a bucket";
	if (c->m.unusable != sum.unusable || c->m.pending != sum.pending || c->m.failed != sum.failed || c->m.ejected != sum.ejected)
		return "counts of all";
	for (uint32_t i = 0; i < c->host_count; i++) {
		const struct host *h = c->hosts[i];

		if (host_is_held(h) && (h->index != UINT32_MAX || h->check == HOST_FAILED || host_is_ejected(h)))
			return "somebody is held who should not be";
		if (h->index == UINT32_MAX && !host_is_held(h) && h->checks && !c->settle)
			return "somebody is checked who has gone";
	}
	return NULL;
}

static void check_flags(struct lb_rig *r)
{
	const char *wrong = flags_wrong(r->cluster);

	ck_assert_msg(!wrong, "%s", wrong);
}

/* Nobody is called who is known to be bad, unless panic is, and nobody is forgotten. */
static void check_pick(struct lb_rig *r, const struct host *h)
{
	uint32_t flags = h->index == UINT32_MAX ? HOT_USABLE : r->cluster->m.hot[h->index].flags;

	if (flags & HOT_UNUSABLE || (flags & HOT_DOWN && !levels_panic(r->cluster)))
		ck_abort_msg("%s was picked, with flags %u", h->text, flags);
}

/* A truth that serves is one by which a call finds somebody. */
static void check_truth(struct lb_rig *r)
{
	enum cluster_truth truth = cluster_truth(r->cluster);
	struct host *h = NULL;
	enum pick_result got = cluster_pick(r->cluster, 0, NULL, &h);

	if ((truth == TRUTH_SERVING && got != PICK_OK) || (got == PICK_WAIT && truth != TRUTH_UNKNOWN))
		ck_abort_msg("truth %d, picked %d", truth, got);
	host_done(&h, HOST_NEUTRAL);
}

struct watcher {
	struct cluster_watch w;
	enum cluster_truth knows;
};

static void learns(struct cluster_watch *w)
{
	container_of(w, struct watcher, w)->knows = cluster_truth(w->cluster);
}

static void check_counts(struct lb_rig *r, const struct call *calls)
{
	uint32_t waiting = 0, active = 0, streams = 0;
	struct cluster_view v = lb_rig_view(r);

	for (int i = 0; i < CALLS; i++) {
		waiting += calls[i].state == CALL_WAITS;
		streams += calls[i].stream != NULL;
		active += calls[i].host != NULL;
	}
	ck_assert_uint_eq(v.pending, waiting);
	ck_assert_uint_eq(v.active, active);
	ck_assert_uint_eq(active, waiting + streams);
}

static void churn(uint32_t seed)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p[PROVIDERS];
	struct call calls[CALLS] = {0};
	struct check_rig k = {.fails_now = true};
	struct watcher watcher = {0};
	uint32_t done = 0;

	for (uint32_t i = 0; i < seed; i++)
		simnet_random(r->net);
	simnet_knobs(r->net)->shuffle = true;
	simnet_knobs(r->net)->short_percent = 20;
	simnet_knobs(r->net)->hold_percent = 20;
	for (int i = 0; i < PROVIDERS; i++) {
		p[i] = provider_new(r, addresses[i], ANSWERS);
		p[i]->lim.streams_per_connection = 1 + below(r, 8);
	}
	dns_table_set(r->dns, "db.example", "10.0.0.1,fd00::4", SEC);
	check_rig_begin(&k, r);
	k.at_once = seed % 2 ? HOST_PASSED : HOST_PENDING;
	redeclare(r);
	cluster_hold(r->cluster);
	cluster_watch(r->cluster, &watcher.w, learns);
	learns(&watcher.w);
	for (int step = 0; step < STEPS; step++) {
		for (int i = 0; i < 4; i++) {
			struct call *c = &calls[below(r, CALLS)];

			if (is_over(c)) {
				done += c->state == CALL_ENDED && c->cause == END_DONE;
				call_start(r, c);
				if (c->host)
					check_pick(r, c->host);
			} else if (below(r, 4) == 0) {
				call_cancel(c);
			}
		}
		if (below(r, 3) == 0)
			something_happens(r, p);
		check_flags(r);
		lb_rig_advance(r, below(r, 4) ? 0 : below(r, 200) * MS);
		check_counts(r, calls);
		check_flags(r);
		check_truth(r);
		ck_assert(watcher.knows == cluster_truth(r->cluster) || r->cluster->tell.queued);
	}
	/* All is well again: what is on its way comes to its end. */
	for (int i = 0; i < PROVIDERS; i++) {
		provider_stall(p[i], false);
		p[i]->behave = ANSWERS;
		provider_open(p[i]);
	}
	for (int round = 0; round < 20; round++) {
		check_rig_say(r, NULL, HOST_PASSED);
		for (int i = 0; i < PROVIDERS; i++)
			provider_answer(p[i]);
		lb_rig_advance(r, SEC);
	}
	for (int i = 0; i < CALLS; i++)
		ck_assert_msg(is_over(&calls[i]), "seed %u: call %d is in state %d for ever, host %s %s", seed, i, calls[i].state,
			calls[i].host ? calls[i].host->text : "-", calls[i].host ? pool_state(calls[i].host->pool) : "-");
	check_counts(r, calls);
	ck_assert_uint_gt(done, 300);
	/* And when nobody wants it any more, nothing is left. */
	lb_rig_withdraw(r);
	lb_rig_advance(r, SEC);
	ck_assert_int_eq(watcher.knows, TRUTH_NOT_SERVING);
	ck_assert_uint_eq(k.hosts, 0);
	cluster_unwatch(&watcher.w);
	cluster_release(&r->cluster);
	ck_assert_ptr_null(r->decl.live);
	ck_assert_uint_eq(k.ended, 1);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNS_UP), 0);
	lb_rig_free(&r);
}

START_TEST(whatever_happens_each_call_ends_and_the_counts_balance)
{
	churn((uint32_t)_i);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("churn");
	TCase *t = tcase_create("churn");

	tcase_add_loop_test(t, whatever_happens_each_call_ends_and_the_counts_balance, 0, 12);
	suite_add_tcase(s, t);
	return s;
}
