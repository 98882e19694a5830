/* health/life_check: the app's own check, as kubelet and istio-agent ask: after initial_delay, then once a period, `failure_threshold` failures or `success_threshold` successes in a row make what
 * is known of it. See health/life.h.
 *
 * Unlike a provider's (health/checker) every failure counts against the threshold, a definite one too: that is what kubelet does, and whoever writes a probe into a pod's
 * spec expects the same of it here. A period is counted from the beginning of a probe; one that takes longer is waited for. A probe that says nothing (PROBE_VOID: the clock jumped, no memory) is
 * asked again soon, and counts neither way. */
#include <stdio.h>
#include <string.h>
#include "health/life_int.h"

static const uint64_t again_ns = UINT64_C(100000000);

static void check_due(struct timer *t);

static void check_in(struct life *l, uint64_t ns)
{
	timer_in(l->spec.loop, &l->check_timer, ns, check_due);
}

/* The moment that the next one is due, and a little later where the configuration spreads them. */
static void check_next(struct life *l, uint64_t begun_ns)
{
	struct loop *loop = l->spec.loop;
	uint64_t at = begun_ns + l->check.interval_ns;
	if (l->check.interval_jitter_ns)
		at += loop_random_below(loop, l->check.interval_jitter_ns);
	timer_set(loop, &l->check_timer, at, check_due);
}

static void check_became(struct life *l, enum life_checked now)
{
	struct stats *stats = &l->spec.loop->stats;
	if (l->checked == now)
		return;
	stat_inc(stats, now == CHECKED_PASSED ? STAT_APP_CHECKS_PASSED : STAT_APP_CHECKS_FAILED);
	if (l->said == SAID_FAIL || l->leaving) /* no transition follows that would say it */
		log_info(l->spec.log, "app '%s': its check %s%s%s", l->name, now == CHECKED_PASSED ? "passes" : "fails", *l->check_why ? ": " : "", l->check_why);
	l->checked = now;
	if (now == CHECKED_PASSED && l->said == SAID_NOTHING)
		l->gone = false; /* who never says a word cannot say ok either: its check speaks for it */
	life_settle(l, NULL);
}

static void check_passed(struct life *l)
{
	l->failures = 0;
	l->check_why[0] = '\0';
	if (++l->passes >= l->check.healthy_threshold) {
		l->passes = l->check.healthy_threshold;
		check_became(l, CHECKED_PASSED);
	}
}

static void check_failed(struct life *l, const char *why)
{
	l->passes = 0;
	snprintf(l->check_why, sizeof l->check_why, "its %s check fails: %s", check_kind_name(l->check.kind), *why ? why : "no");
	if (++l->failures >= l->check.unhealthy_threshold) {
		l->failures = l->check.unhealthy_threshold;
		check_became(l, CHECKED_FAILED);
	}
}

static void check_done(void *user, enum probe_verdict v, const char *why)
{
	struct life *l = user;
	l->probe = NULL;
	switch (v) {
	case PROBE_PASSED:
	case PROBE_DEGRADED:
	case PROBE_ALIVE:
		check_next(l, l->check_begun_ns);
		check_passed(l);
		return;
	case PROBE_FAILED:
	case PROBE_BAD:
		check_next(l, l->check_begun_ns);
		check_failed(l, why);
		return;
	case PROBE_VOID:
		check_in(l, again_ns);
		return;
	}
}

static void check_due(struct timer *t)
{
	struct life *l = container_of(t, struct life, check_timer);
	struct probe_spec spec = {.loop = l->spec.loop, .limits = l->spec.limits, .account = l->spec.account, .check = &l->check, .addrs = &l->check.to_addr,
		.naddrs = l->check.to_addr.len ? 1 : 0, .host = l->check.to ? l->check.to : l->name, .keep = l->check.reuse_connection ? &l->keep : NULL};
	l->check_begun_ns = l->spec.loop->now_ns;
	l->probe = probe_start(&spec, check_done, l);
	if (!l->probe)
		check_in(l, again_ns);
}

static void check_stop(struct life *l)
{
	probe_cancel(&l->probe);
	timer_cancel(l->spec.loop, &l->check_timer);
}

static void check_begin(struct life *l)
{
	check_stop(l);
	l->passes = l->failures = 0;
	l->check_why[0] = '\0';
	l->checked = CHECKED_PENDING;
	check_in(l, l->check.initial_delay_ns);
}

void life_check_again(struct life *l)
{
	if (l->checked == CHECKED_NONE)
		return;
	probe_keep_close(&l->keep);
	check_begin(l);
}

void life_check_conf(struct life *l, const struct health_check *check)
{
	uint64_t hash = check ? health_check_hash(check) : 0;
	if (check && l->checked != CHECKED_NONE && l->check_hash == hash)
		return; /* an equal one goes on */
	life_check_free(l);
	if (!check)
		return;
	health_check_copy(&l->check, check);
	l->check_hash = hash;
	check_begin(l);
}

void life_check_free(struct life *l)
{
	check_stop(l);
	probe_keep_close(&l->keep);
	if (l->checked != CHECKED_NONE)
		health_check_end(&l->check);
	l->checked = CHECKED_NONE;
	l->check_why[0] = '\0';
}
