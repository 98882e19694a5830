/* net/loop: the turn itself, for every implementation of the seam (net/loop_real.c is libevent and the kernel).
 *
 * Objects: one struct loop; it owns the wheel, the pools and the scratch buffer. What is marked (dirty, grave, task, timer) belongs to
 * whoever embeds the node. Not here: anything that knows a descriptor. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/fields.h"
#include "net/h2_conn.h"
#include "net/loop.h"
#include "net/timer.h"

enum { FLUSH_PASSES = 2, BURY_MAX = 2048 /* about 100 us */ };
static const uint64_t trim_after_ns = UINT64_C(500000000), trim_apart_ns = UINT64_C(100000000), trim_burst_ns = UINT64_C(1000000000), trim_steady_ns = UINT64_C(10000000000);
/* A wait that ends so much too late means that we did not run at all: SIGSTOP, cgroup freezer, a paused VM. */
static const uint64_t thaw_gap_ns = UINT64_C(1000000000);
/* When in the wait we stopped nobody knows. Whoever waits for an answer shall have this much to get it, if he had it when the wait began. */
static const uint64_t thaw_grace_ns = UINT64_C(500000000);
/* Stops of less than the gap, told by SIGCONT alone, are made up for at most so often. */
static const uint64_t continued_apart_ns = UINT64_C(10000000000);
/* How often a freeze that was announced is looked for, and how many times; how often sleep is looked for. */
static const uint64_t frozen_tick_ns = UINT64_C(1000000000), asleep_apart_ns = UINT64_C(10000000);
enum { FROZEN_TICKS = 30 };

static void seed(struct loop *l)
{
	l->ops->random(l->ops_ctx, l->rng, sizeof(l->rng));
	l->rng[0] |= 1; /* all zeroes is the one state that xoshiro never leaves */
}

struct loop *loop_new(const struct loop_ops *ops, void *ctx, struct log *log)
{
	struct loop *l = xnew(struct loop);

	l->ops = ops;
	l->ops_ctx = ctx;
	l->log = log;
	l->now_ns = ops->now_ns(ctx);
	l->expected_ns = UINT64_MAX;
	l->awake = true;
	account_init(&l->memory, NULL, "process", SIZE_MAX);
	buf_pool_init(&l->bufs);
	list_init(&l->dirty);
	list_init(&l->graves);
	list_init(&l->tasks);
	l->wheel = wheel_new(l->now_ns);
	l->asleep_at_ns = l->now_ns;
	l->asleep_ns = ops->asleep_ns ? ops->asleep_ns(ctx) : 0;
	l->scratch = xalloc(LOOP_SCRATCH);
	l->fields = fields_pool_new();
	seed(l);
	return l;
}

/* ---- standing still ------------------------------------------------------------------------------------------------------ */

static int64_t wall_ahead_ns(const struct loop *l)
{
	return (int64_t)(l->ops->wall_ns(l->ops_ctx) - l->ops->now_ns(l->ops_ctx));
}

void loop_freeze(struct loop *l)
{
	if (l->frozen)
		return;
	l->frozen = true;
	l->frozen_ns = l->now_ns;
	l->frozen_tick_ns = l->now_ns + frozen_tick_ns;
	l->frozen_ticks = 0;
	l->frozen_wall_ns = wall_ahead_ns(l);
	stat_inc(&l->stats, STAT_FREEZES);
}

/* Over; lost_ns: by so much timers are late. */
static void stood(struct loop *l, uint64_t lost_ns, const char *how)
{
	if (l->frozen && l->now_ns - l->frozen_ns > lost_ns)
		lost_ns = l->now_ns - l->frozen_ns;
	l->frozen = false;
	l->thawed = l->tell_thaw = true;
	l->stood_ns = lost_ns;
	l->stood_all_ns += lost_ns;
	stat_inc(&l->stats, STAT_THAWS);
	seed(l); /* a VM may have been restored twice from one snapshot */
	wheel_shift(l, lost_ns);
	log_info(l->log, "loop: %s, timers are moved by %llu ms", how, (unsigned long long)(lost_ns / 1000000));
}

static uint64_t with_grace_ns(const struct loop *l, uint64_t late_ns)
{
	uint64_t waited_ns = l->now_ns - late_ns - l->waits_ns;

	return late_ns + (waited_ns < thaw_grace_ns ? waited_ns : thaw_grace_ns);
}

static void tell_thaw(struct loop *l)
{
	l->tell_thaw = false;
	if (l->on_thaw)
		l->on_thaw(l->hook_ctx);
}

void loop_thaw(struct loop *l)
{
	stood(l, 0, l->frozen ? "the freeze that was announced is over" : "a thaw was announced");
	tell_thaw(l);
}

void loop_continued(struct loop *l)
{
	uint64_t late_ns = l->expected_ns != UINT64_MAX && l->now_ns > l->expected_ns ? l->now_ns - l->expected_ns : 0;

	/* Who is throttled by stops (cpulimit: ten times a second) stands still for no second: were each of them made up for, no timer would ever come. */
	bool again = l->continued_ns && l->now_ns - l->continued_ns < continued_apart_ns;
	if (again && !l->frozen && l->now_ns - l->waits_ns < thaw_gap_ns)
		return;
	l->continued_ns = l->now_ns;
	if (!l->thawed)
		stood(l, with_grace_ns(l, late_ns), "the process was stopped and goes on");
}

/* The clock of timers does not count while a machine sleeps. */
static bool has_slept(struct loop *l)
{
	uint64_t was_ns = l->asleep_ns;

	if (!l->ops->asleep_ns || l->now_ns - l->asleep_at_ns < asleep_apart_ns)
		return false;
	l->asleep_at_ns = l->now_ns;
	l->asleep_ns = l->ops->asleep_ns(l->ops_ctx);
	return l->asleep_ns > was_ns + thaw_gap_ns;
}

/* True: what was announced is over, or never came. A machine that is restored from a snapshot has lost no time of its own, but the wall's clock tells. */
static bool freeze_is_over(struct loop *l, const char **ret_how)
{
	if (!l->frozen || l->now_ns < l->frozen_tick_ns)
		return false;
	l->frozen_tick_ns = l->now_ns + frozen_tick_ns;
	*ret_how = "the machine was stopped for a while";
	if (wall_ahead_ns(l) > l->frozen_wall_ns + (int64_t)thaw_gap_ns)
		return true;
	*ret_how = "the freeze that was announced did not come";
	return ++l->frozen_ticks >= FROZEN_TICKS;
}

void loop_wake_slow(struct loop *l)
{
	uint64_t now_ns = l->ops->now_ns(l->ops_ctx);
	const char *how = "the machine slept";

	l->awake = true;
	if (now_ns > l->now_ns)
		l->now_ns = now_ns;
	if (l->expected_ns != UINT64_MAX && now_ns > l->expected_ns && now_ns - l->expected_ns > thaw_gap_ns)
		stood(l, with_grace_ns(l, now_ns - l->expected_ns), "the process stood still");
	else if (has_slept(l) || freeze_is_over(l, &how))
		stood(l, 0, how);
}

/* ---- the turn ----------------------------------------------------------------------------------------------------------- */

static int64_t wait_for_ns(struct loop *l, int64_t max_wait_ns)
{
	int64_t wait_ns = max_wait_ns < 0 ? -1 : max_wait_ns;

	if (!list_empty(&l->dirty) || !list_empty(&l->tasks) || !list_empty(&l->graves))
		return 0;
	uint64_t next_ns = l->frozen ? l->frozen_tick_ns : wheel_next_ns(l->wheel);
	if (next_ns == UINT64_MAX)
		return wait_ns;
	uint64_t left_ns = next_ns > l->now_ns ? next_ns - l->now_ns : 0;
	if (wait_ns < 0 || left_ns < (uint64_t)wait_ns)
		wait_ns = (int64_t)left_ns;
	return wait_ns;
}

/* Only what was deferred before: a task that defers itself again runs once a turn. */
static void run_tasks(struct loop *l)
{
	struct list now;

	if (list_empty(&l->tasks))
		return;
	l->busy = true;
	list_init(&now);
	list_splice(&now, &l->tasks);
	for (struct list *n; (n = list_pop(&now));) {
		struct task *t = list_entry(n, struct task, node);
		t->queued = false;
		t->fn(t);
	}
}

static void flush_dirty(struct loop *l)
{
	for (int pass = 0; pass < FLUSH_PASSES && !list_empty(&l->dirty); pass++) {
		struct list now;
		list_init(&now);
		list_splice(&now, &l->dirty);
		for (struct list *n; (n = list_pop(&now));) {
			struct dirty *d = list_entry(n, struct dirty, node);
			d->marked = false;
			d->flush(d);
		}
	}
}

static void bury(struct loop *l, int max)
{
	for (struct list *n; max > 0 && (n = list_pop(&l->graves)); max--) {
		struct grave *g = list_entry(n, struct grave, node);
		g->dug = false;
		g->bury(g);
	}
}

/* The read chunk goes back to its pool between turns, so that an idle loop holds nothing. */
static void loop_let_go_of_reading(struct loop *l)
{
	if (!l->reading || (l->reading->refs > 1 && !l->stopping))
		return;
	chunk_unref(l->reading);
	l->reading = NULL;
}

static void trim_now(struct timer *t)
{
	struct loop *l = container_of(t, struct loop, trim);
	l->trimmed_ns = l->now_ns;
	h2_loop_trim(l);
	fields_pool_trim(l->fields);
	buf_pool_trim(&l->bufs);
	if (l->on_trim)
		l->on_trim(l->hook_ctx);
	malloc_trim(0);
}

void loop_trim_soon(struct loop *l)
{
	uint64_t at = l->now_ns + trim_after_ns;

	if (stat_get(&l->stats, STAT_CONNS_DOWN) == 0) /* the last caller went: at once, but callers that come and go one by one shall not pay for it each time */
		at = l->trimmed_ns + trim_apart_ns;
	if (!timer_armed(&l->trim) || l->trim.at_ns > at)
		timer_set(l, &l->trim, at, trim_now);
}

/* A thousand providers that are asked for their health on connections of their own end two hundred of them a second, and the next ones want all that the last ones let go:
 * ten times a second would be three madvise a check, and once a second still a tenth of what a check costs. But what a burst of them leaves (3 MB) shall not stay. */
void loop_trim_later(struct loop *l, bool much)
{
	uint64_t at = l->now_ns + trim_after_ns, steady = l->trimmed_ns + (much ? trim_burst_ns : trim_steady_ns);

	if (l->trimmed_ns && steady > at)
		at = steady;
	if (!timer_armed(&l->trim) || l->trim.at_ns > at)
		timer_set(l, &l->trim, at, trim_now);
}

/* A turn that only relays is many times shorter than what would be worth telling, and reading the clock once more costs a call one percent. */
static void measure(struct loop *l)
{
	uint64_t took_ns = l->ops->now_ns(l->ops_ctx) - l->now_ns;

	l->busy = false;
	if (took_ns > stat_get(&l->stats, STAT_TURN_LONGEST))
		l->stats.v[STAT_TURN_LONGEST] = took_ns;
}

int loop_turn(struct loop *l, int64_t max_wait_ns)
{
	int64_t wait_ns = wait_for_ns(l, max_wait_ns);

	/* The first turn has no past: what start-up took is no freeze. */
	l->expected_ns = wait_ns < 0 || l->turn == 0 ? UINT64_MAX : l->now_ns + (uint64_t)wait_ns;
	l->waits_ns = l->now_ns;
	l->turn++;
	l->awake = false;
	l->thawed = false;
	stat_inc(&l->stats, STAT_TURNS);
	int r = l->ops->wait(l->ops_ctx, wait_ns);
	loop_wake(l);
	if (__builtin_expect(l->tell_thaw, 0))
		tell_thaw(l);
	if (!__builtin_expect(l->frozen, 0))
		wheel_run(l->wheel, l->now_ns);
	run_tasks(l);
	flush_dirty(l);
	bury(l, BURY_MAX);
	loop_let_go_of_reading(l);
	if (l->busy)
		measure(l);
	return r;
}

void loop_run(struct loop *l)
{
	l->stopping = false;
	while (!l->stopping) {
		int r = loop_turn(l, -1);
		if (r < 0) {
			log_error(l->log, "loop: cannot wait for events, stopping: %s", err_text(r));
			return;
		}
	}
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
}

void loop_free(struct loop **at)
{
	struct loop *l = *at;

	if (!l)
		return;
	*at = NULL;
	l->stopping = true;
	timer_cancel(l, &l->trim);
	/* A burial may dig another grave (a connection's sock); who digs for ever has a bug that a leak tells better than a hang. */
	for (int i = 0; i < 1000 && !list_empty(&l->graves); i++)
		bury(l, 1 << 20);
	loop_let_go_of_reading(l);
	h2_loop_end(l);
	fields_pool_free(&l->fields);
	buf_pool_end(&l->bufs);
	account_end(&l->memory);
	if (l->ops->end)
		l->ops->end(l->ops_ctx);
	wheel_free(&l->wheel);
	free(l->scratch);
	free(l);
}

/* ---- randomness: xoshiro256** (Blackman and Vigna, public domain algorithm); not for secrets --------------------------------- */

static uint64_t rotate(uint64_t x, int n)
{
	return (x << n) | (x >> (64 - n));
}

uint64_t loop_random(struct loop *l)
{
	uint64_t *s = l->rng;
	uint64_t out = rotate(s[1] * 5, 7) * 9, shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate(s[3], 45);
	return out;
}

/* The high half of the 128-bit product is uniform once the few low halves that would be over-represented are thrown away. */
uint64_t loop_random_below(struct loop *l, uint64_t n)
{
	unsigned __int128 product = (unsigned __int128)loop_random(l) * n;

	if ((uint64_t)product < n) {
		uint64_t reject_below = -n % n;
		while ((uint64_t)product < reject_below)
			product = (unsigned __int128)loop_random(l) * n;
	}
	return (uint64_t)(product >> 64);
}
