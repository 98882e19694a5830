/* net/loop: the order and the bounds of a turn, on the virtual clock; and what only libevent and the kernel can show. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000;

struct diary { char text[512]; };
struct item { struct dirty d; struct grave g; struct task k; struct timer t; struct loop *l; struct diary *diary; char name; int times, more; };

static void note(struct item *i, char what)
{
	size_t n = strlen(i->diary->text);

	i->times++;
	if (n + 2 < sizeof(i->diary->text)) {
		i->diary->text[n] = what;
		i->diary->text[n + 1] = i->name;
	}
}

static void on_grave(struct grave *g)
{
	note(container_of(g, struct item, g), 'g');
}

static void on_dirty(struct dirty *d)
{
	struct item *i = container_of(d, struct item, d);

	note(i, 'd');
	if (i->more-- > 0)
		loop_dirty(i->l, &i->d, on_dirty);
}

static void on_task(struct task *k)
{
	struct item *i = container_of(k, struct item, k);

	note(i, 'k');
	if (i->more-- > 0)
		loop_defer(i->l, &i->k, on_task);
}

static void on_timer(struct timer *t)
{
	struct item *i = container_of(t, struct item, t);

	note(i, 't');
	loop_bury(i->l, &i->g, on_grave);
	loop_dirty(i->l, &i->d, on_dirty);
	loop_defer(i->l, &i->k, on_task);
}

START_TEST(a_turn_runs_timers_then_tasks_then_the_dirty_then_the_dead)
{
	struct simnet *n = simnet_new(1);
	struct diary diary = {""};
	struct item a = {.l = simnet_loop(n), .diary = &diary, .name = 'a'};

	timer_in(a.l, &a.t, 0, on_timer);
	ck_assert_int_eq(loop_turn(a.l, -1), 0);
	ck_assert_str_eq(diary.text, "takadaga");
	simnet_free(&n);
}
END_TEST

START_TEST(flushing_makes_two_passes_and_the_rest_is_for_a_turn_that_does_not_wait)
{
	struct simnet *n = simnet_new(1);
	struct diary diary = {""};
	struct item a = {.l = simnet_loop(n), .diary = &diary, .name = 'a', .more = 4};
	uint64_t began_ns = simnet_now_ns(n);

	loop_dirty(a.l, &a.d, on_dirty);
	loop_turn(a.l, 1000);
	ck_assert_int_eq(a.times, 2);
	loop_turn(a.l, 1000);
	ck_assert_int_eq(a.times, 4);
	loop_turn(a.l, 1000);
	ck_assert_int_eq(a.times, 5);
	ck_assert_uint_eq(simnet_now_ns(n), began_ns);
	loop_turn(a.l, 1000);
	ck_assert_uint_eq(simnet_now_ns(n), began_ns + 1000);
	simnet_free(&n);
}
END_TEST

START_TEST(a_task_that_defers_itself_runs_once_a_turn_and_can_be_taken_back)
{
	struct simnet *n = simnet_new(1);
	struct diary diary = {""};
	struct item a = {.l = simnet_loop(n), .diary = &diary, .name = 'a', .more = 100}, b = {.l = a.l, .diary = &diary, .name = 'b'};

	loop_defer(a.l, &a.k, on_task);
	loop_defer(a.l, &b.k, on_task);
	loop_undefer(&b.k);
	loop_turn(a.l, -1);
	loop_turn(a.l, -1);
	ck_assert_str_eq(diary.text, "kaka");
	loop_undefer(&a.k);
	simnet_free(&n);
}
END_TEST

START_TEST(the_dead_are_buried_in_slices_and_nobody_is_forgotten)
{
	enum { DEAD = 5000 };
	struct simnet *n = simnet_new(1);
	struct diary diary = {""};
	struct item *dead = calloc(DEAD, sizeof(*dead));
	int buried = 0, turns = 0;

	for (int i = 0; i < DEAD; i++) {
		dead[i] = (struct item){.l = simnet_loop(n), .diary = &diary, .name = 'x'};
		loop_bury(dead[i].l, &dead[i].g, on_grave);
		loop_bury(dead[i].l, &dead[i].g, on_grave); /* twice is once */
	}
	for (; buried < DEAD && turns < 100; turns++) {
		loop_turn(simnet_loop(n), 1);
		buried = 0;
		for (int i = 0; i < DEAD; i++)
			buried += dead[i].times;
		ck_assert(turns > 0 || buried < DEAD); /* all at once would be a long turn */
	}
	ck_assert_int_eq(buried, DEAD);
	ck_assert_uint_eq(simnet_now_ns(n), 1000000000); /* and no turn waited meanwhile */
	free(dead);
	simnet_free(&n);
}
END_TEST

START_TEST(a_freeze_moves_the_timers_and_is_told_for_one_turn)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct diary diary = {""};
	struct item near = {.l = l, .diary = &diary, .name = 'n'}, far = {.l = l, .diary = &diary, .name = 'f'};

	loop_turn(l, 0);
	timer_in(l, &near.t, 1000 * ms, on_timer);
	timer_in(l, &far.t, 5000 * ms, on_timer);
	uint64_t left_ns = far.t.at_ns - l->now_ns - 500 * ms; /* it waited for a second, and froze in the last half of that, as far as we know */
	simnet_freeze(n, 60000 * ms);
	loop_turn(l, -1);
	ck_assert(l->thawed);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_THAWS), 1);
	ck_assert_int_eq(far.times, 0);
	ck_assert_uint_eq(far.t.at_ns - l->now_ns, left_ns);
	loop_turn(l, 0);
	ck_assert(!l->thawed);
	/* Late by less than a second is only late. */
	timer_cancel(l, &near.t);
	loop_turn(l, 0);
	uint64_t at_ns = far.t.at_ns;
	simnet_freeze(n, 900 * ms);
	loop_turn(l, 10 * ms);
	ck_assert(!l->thawed);
	ck_assert_uint_eq(far.t.at_ns, at_ns);
	timer_cancel(l, &far.t);
	simnet_free(&n);
}
END_TEST

START_TEST(a_standstill_draws_loose_timers_anew_and_never_later)
{
	enum { COUNT = 64 };
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct item near = {.l = l, .diary = &(struct diary){""}}, loose[COUNT];
	uint64_t least = UINT64_MAX, most = 0;

	timer_in(l, &near.t, 1000 * ms, on_timer);
	for (int i = 0; i < COUNT; i++) {
		loose[i] = (struct item){.l = l, .diary = near.diary};
		timer_set_loose(l, &loose[i].t, l->now_ns + 30000 * ms, on_timer);
	}
	loop_turn(l, 0); /* the first turn has no past */
	simnet_freeze(n, 60000 * ms);
	loop_turn(l, -1);
	ck_assert(l->thawed);
	for (int i = 0; i < COUNT; i++) {
		uint64_t left = loose[i].t.at_ns - l->now_ns;

		ck_assert(left > 0 && left <= 29500 * ms);
		least = left < least ? left : least;
		most = left > most ? left : most;
	}
	ck_assert(least < 5000 * ms && most > 24000 * ms);
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(loose[i].times, 0);
		timer_cancel(l, &loose[i].t);
	}
	timer_cancel(l, &near.t);
	simnet_free(&n);
}
END_TEST

static void count_thaw(void *ctx)
{
	++*(int *)ctx;
}

START_TEST(a_freeze_that_is_announced_stops_the_timers_until_the_thaw)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct item a = {.l = l, .diary = &(struct diary){""}};
	uint64_t before[4], ran;
	int told = 0;

	l->on_thaw = count_thaw;
	l->hook_ctx = &told;
	timer_in(l, &a.t, 100 * ms, on_timer);
	loop_freeze(l);
	loop_freeze(l);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_FREEZES), 1);
	memcpy(before, l->rng, sizeof(before));
	simnet_advance(n, 5000 * ms);
	ck_assert_int_eq(a.times, 0);
	ran = loop_ran_ns(l);
	loop_thaw(l);
	ck_assert_int_eq(told, 1);
	ck_assert_uint_eq(l->stood_ns, 5000 * ms);
	ck_assert_uint_eq(loop_ran_ns(l), ran - 5000 * ms);
	ck_assert(memcmp(before, l->rng, sizeof(before)) != 0); /* two copies of one snapshot shall differ */
	simnet_advance(n, 99 * ms);
	ck_assert_int_eq(a.times, 0);
	simnet_advance(n, 2 * ms);
	ck_assert_int_gt(a.times, 0);
	loop_thaw(l); /* again: nothing is moved */
	ck_assert_int_eq(told, 2);
	ck_assert_uint_eq(l->stood_ns, 0);
	loop_turn(l, 0);
	a.times = 0;
	timer_in(l, &a.t, 100 * ms, on_timer);
	loop_turn(l, -1);
	loop_turn(l, 0);
	timer_in(l, &a.t, 100 * ms, on_timer);
	loop_continued(l); /* SIGCONT: told by the turn */
	ck_assert_int_eq(told, 2);
	loop_turn(l, 0);
	ck_assert_int_eq(told, 3);
	loop_turn(l, 0);
	ck_assert_int_eq(told, 3);
	timer_cancel(l, &a.t);
	l->on_thaw = NULL;
	simnet_free(&n);
}
END_TEST

START_TEST(who_is_stopped_ten_times_a_second_has_timers_all_the_same)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct item a = {.l = l, .diary = &(struct diary){""}};
	int told = 0;

	l->on_thaw = count_thaw;
	l->hook_ctx = &told;
	simnet_advance(n, 5000 * ms);
	timer_in(l, &a.t, 20000 * ms, on_timer);
	for (int i = 0; i < 212 && !a.times; i++) {
		loop_continued(l);
		simnet_advance(n, 100 * ms);
	}
	ck_assert_int_gt(a.times, 0);
	ck_assert_int_le(told, 3);
	timer_cancel(l, &a.t);
	l->on_thaw = NULL;
	simnet_free(&n);
}
END_TEST

static void count_trim(void *user)
{
	++*(int *)user;
}

START_TEST(memory_goes_back_soon_after_callers_and_now_and_then_while_connections_of_ours_come_and_go)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	int trims = 0;

	l->on_trim = count_trim;
	l->hook_ctx = &trims;
	simnet_advance(n, 1000 * ms);
	for (int much = 0; much < 2; much++) {
		trims = 0;
		for (int i = 0; i < 200; i++) { /* 30 s */
			loop_trim_later(l, much);
			simnet_advance(n, 150 * ms);
		}
		ck_assert_int_ge(trims, much ? 20 : 3);
		ck_assert_int_le(trims, much ? 30 : 4);
	}
	simnet_advance(n, 11000 * ms);
	loop_trim_later(l, false);
	simnet_advance(n, 1000 * ms);
	trims = 0;
	loop_trim_later(l, false);
	simnet_advance(n, 1500 * ms);
	ck_assert_int_eq(trims, 0);
	loop_trim_later(l, true); /* many went: it is not waited for the ten seconds of one */
	simnet_advance(n, 1000 * ms);
	ck_assert_int_eq(trims, 1);
	trims = 0;
	loop_trim_later(l, false);
	loop_trim_soon(l); /* the last caller: its time comes first */
	simnet_advance(n, 500 * ms);
	ck_assert_int_eq(trims, 1);
	l->on_trim = NULL;
	simnet_free(&n);
}
END_TEST

START_TEST(random_numbers_stay_below_their_bound_and_reach_every_value)
{
	struct simnet *n = simnet_new(7);
	int seen[10] = {0};

	for (int i = 0; i < 10000; i++) {
		uint64_t r = loop_random_below(simnet_loop(n), 10);
		ck_assert_uint_lt(r, 10);
		seen[r]++;
	}
	for (int i = 0; i < 10; i++)
		ck_assert(seen[i] > 800 && seen[i] < 1200);
	ck_assert_uint_eq(loop_random_below(simnet_loop(n), 1), 0);
	simnet_free(&n);
}
END_TEST

/* ---- the real one ---- */

struct seen { struct loop *l; int signals, fds; struct loop_fd *fd; };

static void signal_came(void *user, int signo)
{
	struct seen *s = user;

	ck_assert_int_eq(signo, SIGUSR2);
	s->signals++;
	loop_stop(s->l);
}

static void fd_ready(void *user, int fd, int what)
{
	struct seen *s = user;
	char c;

	ck_assert_int_eq(what, 1);
	ck_assert_int_eq(read(fd, &c, 1), 1);
	s->fds++;
	loop_fd_del(&s->fd);
	loop_stop(s->l);
}

START_TEST(the_real_loop_hears_signals_and_descriptors)
{
	struct seen s = {.l = loop_new_real(NULL)};
	int ends[2];

	ck_assert_ptr_nonnull(s.l);
	ck_assert(loop_is_real(s.l));
	ck_assert_int_eq(loop_signal(s.l, SIGUSR2, signal_came, &s), 0);
	kill(getpid(), SIGUSR2);
	loop_run(s.l);
	ck_assert_int_eq(s.signals, 1);
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(loop_fd_add(s.l, ends[0], 1, fd_ready, &s, &s.fd), 0);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	loop_run(s.l);
	ck_assert_int_eq(s.fds, 1);
	ck_assert_ptr_null(s.fd);
	close(ends[0]);
	close(ends[1]);
	loop_free(&s.l);
	ck_assert_ptr_null(s.l);
}
END_TEST

START_TEST(a_timer_of_the_real_loop_costs_few_turns)
{
	struct loop *l = loop_new_real(NULL);
	struct diary diary = {""};
	struct item a = {.l = l, .diary = &diary, .name = 'a'};
	uint64_t set_ns;

	loop_turn(l, 0);
	set_ns = l->now_ns;
	timer_in(l, &a.t, 30 * ms, on_timer);
	while (a.times == 0)
		loop_turn(l, -1);
	ck_assert_uint_ge(l->now_ns - set_ns, 30 * ms);
	ck_assert_uint_le(l->turn, 4);
	loop_free(&l);
}
END_TEST

START_TEST(the_simulation_has_no_signals_and_no_descriptors)
{
	struct simnet *n = simnet_new(1);
	struct seen s = {.l = simnet_loop(n)};

	ck_assert(!loop_is_real(s.l));
	ck_assert_int_eq(loop_signal(s.l, SIGUSR2, signal_came, &s), -ENOSYS);
	ck_assert_int_eq(loop_fd_add(s.l, 0, 1, fd_ready, &s, &s.fd), -ENOSYS);
	simnet_free(&n);
}
END_TEST

/* A clock that stands still but where a task moves it. */
struct slow { struct task k; struct loop *l; uint64_t now_ns, takes_ns; };

static uint64_t slow_now(void *ctx)
{
	return ((struct slow *)ctx)->now_ns;
}

static void slow_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 7, n);
}

static int slow_wait(void *ctx, int64_t timeout_ns)
{
	struct slow *s = ctx;

	s->now_ns += timeout_ns > 0 ? (uint64_t)timeout_ns : 0;
	return 0;
}

static const struct loop_ops slow_ops = {.now_ns = slow_now, .wall_ns = slow_now, .random = slow_random, .wait = slow_wait};

/* The wall's clock is set by people and by NTP: each wait it is another one. */
static uint64_t set_wall(void *ctx)
{
	uint64_t now_ns = slow_now(ctx);

	return UINT64_C(1767225600000000000) + (now_ns / (300 * ms) % 2 ? 3600000 * ms : 0) - now_ns;
}

static void count_tick(struct timer *t)
{
	struct item *i = container_of(t, struct item, t);

	i->times++;
	timer_in(i->l, t, 100 * ms, count_tick);
}

/* A machine that is restored from a snapshot twice must not draw the same numbers twice. */
struct seeded { struct slow slow; uint32_t asked; };

static void seeded_random(void *ctx, void *out, size_t n)
{
	struct seeded *s = ctx;

	memset(out, (int)++s->asked, n);
}

START_TEST(a_standstill_seeds_randomness_again)
{
	static const struct loop_ops ops = {.now_ns = slow_now, .wall_ns = slow_now, .random = seeded_random, .wait = slow_wait};
	struct seeded s = {.slow.now_ns = 5000 * ms}, twin = {.slow.now_ns = 5000 * ms};
	struct loop *l = s.slow.l = loop_new(&ops, &s, NULL), *t = twin.slow.l = loop_new(&ops, &twin, NULL);
	struct item a = {.l = l}, b = {.l = t};

	timer_in(l, &a.t, 100 * ms, count_tick);
	timer_in(t, &b.t, 100 * ms, count_tick);
	loop_turn(l, -1);
	loop_turn(t, -1);
	ck_assert_uint_eq(s.asked, 1);
	ck_assert_uint_eq(loop_random(l), loop_random(t)); /* the same until one of them stands still */
	s.slow.now_ns += 60000 * ms;
	loop_turn(l, -1);
	loop_turn(t, -1);
	ck_assert(l->thawed && !t->thawed);
	ck_assert_uint_eq(s.asked, 2);
	ck_assert_uint_ne(loop_random(l), loop_random(t));
	timer_cancel(l, &a.t);
	timer_cancel(t, &b.t);
	loop_free(&s.slow.l);
	loop_free(&twin.slow.l);
}
END_TEST

START_TEST(a_wall_clock_that_is_set_moves_no_timer_and_is_no_thaw)
{
	static const struct loop_ops ops = {.now_ns = slow_now, .wall_ns = set_wall, .random = slow_random, .wait = slow_wait};
	struct slow s = {.now_ns = 5000 * ms};
	struct loop *l = s.l = loop_new(&ops, &s, NULL);
	struct item a = {.l = l};
	int told = 0;

	l->on_thaw = count_thaw;
	l->hook_ctx = &told;
	timer_in(l, &a.t, 100 * ms, count_tick);
	while (l->now_ns < 15000 * ms)
		loop_turn(l, -1);
	ck_assert_int_ge(a.times, 99);
	ck_assert_int_eq(told, 0);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_THAWS), 0);
	timer_cancel(l, &a.t);
	loop_free(&s.l);
}
END_TEST

static void slow_task(struct task *k)
{
	struct slow *s = container_of(k, struct slow, k);

	s->now_ns += s->takes_ns;
}

START_TEST(the_longest_turn_is_known_and_waiting_does_not_count)
{
	struct slow s = {.now_ns = 5 * ms};

	s.l = loop_new(&slow_ops, &s, NULL);
	loop_turn(s.l, 900 * (int64_t)ms);
	ck_assert_uint_eq(stat_get(&s.l->stats, STAT_TURN_LONGEST), 0);
	static const struct { uint64_t takes_ms, longest_ms; } rows[] = {{3, 3}, {1, 3}, {4, 4}, {0, 4}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		s.takes_ns = rows[i].takes_ms * ms;
		loop_defer(s.l, &s.k, slow_task);
		loop_turn(s.l, 900 * (int64_t)ms);
		ck_assert_uint_eq(stat_get(&s.l->stats, STAT_TURN_LONGEST), rows[i].longest_ms * ms);
		loop_turn(s.l, 900 * (int64_t)ms);
		ck_assert_uint_eq(stat_get(&s.l->stats, STAT_TURN_LONGEST), rows[i].longest_ms * ms);
	}
	loop_free(&s.l);
}
END_TEST

UNIT_SUITE("loop", a_turn_runs_timers_then_tasks_then_the_dirty_then_the_dead,
	flushing_makes_two_passes_and_the_rest_is_for_a_turn_that_does_not_wait, a_task_that_defers_itself_runs_once_a_turn_and_can_be_taken_back,
	the_dead_are_buried_in_slices_and_nobody_is_forgotten, a_standstill_draws_loose_timers_anew_and_never_later, a_standstill_seeds_randomness_again, a_freeze_that_is_announced_stops_the_timers_until_the_thaw, who_is_stopped_ten_times_a_second_has_timers_all_the_same, a_wall_clock_that_is_set_moves_no_timer_and_is_no_thaw,
	a_freeze_moves_the_timers_and_is_told_for_one_turn, memory_goes_back_soon_after_callers_and_now_and_then_while_connections_of_ours_come_and_go,
	random_numbers_stay_below_their_bound_and_reach_every_value, the_real_loop_hears_signals_and_descriptors,
	a_timer_of_the_real_loop_costs_few_turns, the_longest_turn_is_known_and_waiting_does_not_count, the_simulation_has_no_signals_and_no_descriptors)
