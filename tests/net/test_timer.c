/* net/timer: the wheel under a clock of our own. */
#include <stdlib.h>
#include "net/timer.h"
#include "tests/unit.h"

enum { MANY = 3000 };
static const uint64_t ms = 1000000;

struct probe { struct timer t; struct loop *l; uint64_t fired_ns; int fired; uint64_t again_ns; struct timer *cancels; };

/* A struct loop with nothing but a wheel: timers ask for no more. */
static struct loop wheel_only(uint64_t now_ns)
{
	return (struct loop){.now_ns = now_ns, .wheel = wheel_new(now_ns)};
}

static void run_at(struct loop *l, uint64_t now_ns)
{
	l->now_ns = now_ns;
	wheel_run(l->wheel, now_ns);
}

static void fire(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, t);

	p->fired++;
	p->fired_ns = p->l->now_ns;
	if (p->cancels)
		timer_cancel(p->l, p->cancels);
	if (p->again_ns)
		timer_set(p->l, &p->t, p->again_ns, fire);
}

static uint64_t step(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return *state >> 17;
}

START_TEST(a_timer_fires_at_its_time_and_never_before)
{
	static const uint64_t after_ns[] = {1, 999999, 1000000, 1000001, 63000000, 64000000, 65000000, 4095000000, 4096000000, 262144000000,
		UINT64_C(3600000000000), UINT64_C(86400000000000000)};

	for (size_t i = 0; i < UNIT_COUNT(after_ns); i++) {
		struct loop l = wheel_only(123456789);
		struct probe p = {.l = &l};
		timer_set(&l, &p.t, l.now_ns + after_ns[i], fire);
		while (!p.fired) {
			uint64_t next_ns = wheel_next_ns(l.wheel);
			ck_assert_uint_ne(next_ns, UINT64_MAX);
			ck_assert_uint_gt(next_ns, l.now_ns); /* else the loop would spin */
			run_at(&l, next_ns);
		}
		ck_assert_uint_ge(p.fired_ns, 123456789 + after_ns[i]);
		ck_assert_uint_lt(p.fired_ns, 123456789 + after_ns[i] + ms);
		ck_assert_uint_eq(wheel_next_ns(l.wheel), UINT64_MAX);
		wheel_free(&l.wheel);
	}
}
END_TEST

START_TEST(a_lone_timer_wakes_the_process_once)
{
	struct loop l = wheel_only(77777777);
	struct probe p = {.l = &l};
	int wakes = 0;

	timer_set(&l, &p.t, l.now_ns + 30000 * ms, fire);
	for (; !p.fired; wakes++)
		run_at(&l, wheel_next_ns(l.wheel));
	ck_assert_int_eq(wakes, 1);
	wheel_free(&l.wheel);
}
END_TEST

START_TEST(thousands_of_random_timers_fire_in_order_each_once_and_cancelled_ones_never)
{
	struct loop l = wheel_only(5);
	struct probe *p = calloc(MANY, sizeof(*p));
	int late = 0, wrong = 0, early = 0;
	uint64_t state = 42, *at_ns = calloc(MANY, sizeof(*at_ns)), jumps = 0;

	for (int i = 0; i < MANY; i++) {
		p[i].l = &l;
		at_ns[i] = l.now_ns + step(&state) % (step(&state) % 3 ? 500 * ms : 400000 * ms);
		timer_set(&l, &p[i].t, at_ns[i], fire);
	}
	for (int i = 0; i < MANY; i += 3)
		timer_cancel(&l, &p[i].t);
	for (int i = 1; i < MANY; i += 3) { /* moved: earlier ones and later ones */
		at_ns[i] = step(&state) % (300000 * ms);
		timer_set(&l, &p[i].t, at_ns[i], fire);
	}
	ck_assert_uint_eq(wheel_armed(l.wheel), MANY - MANY / 3);
	for (uint64_t next_ns; (next_ns = wheel_next_ns(l.wheel)) != UINT64_MAX; jumps++) {
		if (jumps > 10 * MANY)
			ck_abort_msg("the wheel does not come to its end");
		/* Now and then the loop is late. */
		run_at(&l, (next_ns > l.now_ns ? next_ns : l.now_ns) + (step(&state) % 4 ? 0 : step(&state) % (200 * ms)));
		for (int i = 0; i < MANY; i++) /* counted, for an assert costs a message to the test's parent */
			late += i % 3 && !p[i].fired && at_ns[i] + ms <= l.now_ns;
	}
	for (int i = 0; i < MANY; i++) {
		wrong += p[i].fired != (i % 3 != 0);
		early += i % 3 && p[i].fired_ns < at_ns[i];
	}
	ck_assert_int_eq(late, 0);
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_eq(early, 0);
	free(p);
	free(at_ns);
	wheel_free(&l.wheel);
}
END_TEST

START_TEST(a_timer_set_for_the_past_by_a_timer_waits_for_the_next_run)
{
	struct loop l = wheel_only(0);
	struct probe p = {.l = &l, .again_ns = 1};

	timer_set(&l, &p.t, 1 * ms, fire);
	run_at(&l, 2 * ms);
	ck_assert_int_eq(p.fired, 1);
	ck_assert_uint_le(wheel_next_ns(l.wheel), l.now_ns);
	run_at(&l, 2 * ms);
	ck_assert_int_eq(p.fired, 2);
	timer_cancel(&l, &p.t);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), UINT64_MAX);
	wheel_free(&l.wheel);
}
END_TEST

START_TEST(a_timer_may_cancel_another_that_is_due_in_the_same_run)
{
	struct loop l = wheel_only(0);
	struct probe second = {.l = &l}, first = {.l = &l, .cancels = &second.t};

	timer_set(&l, &first.t, 5 * ms, fire);
	timer_set(&l, &second.t, 5 * ms, fire);
	run_at(&l, 9 * ms);
	ck_assert_int_eq(first.fired, 1);
	ck_assert_int_eq(second.fired, 0);
	ck_assert(!timer_armed(&second.t));
	wheel_free(&l.wheel);
}
END_TEST

START_TEST(cancelling_the_due_timer_leaves_no_wake_up_behind)
{
	struct loop l = wheel_only(0);
	struct probe due = {.l = &l}, late = {.l = &l};

	timer_set(&l, &late.t, 100 * ms, fire);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 100 * ms);
	timer_set(&l, &due.t, 0, fire);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 0);
	timer_cancel(&l, &due.t);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 100 * ms);
	timer_set(&l, &due.t, 50 * ms, fire);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 50 * ms);
	timer_cancel(&l, &due.t);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 100 * ms);
	wheel_free(&l.wheel);
}
END_TEST

START_TEST(a_shift_keeps_the_time_that_each_timer_had_left)
{
	struct loop l = wheel_only(0);
	struct probe near = {.l = &l}, far = {.l = &l};

	timer_set(&l, &near.t, 10 * ms, fire);
	timer_set(&l, &far.t, 7000 * ms, fire);
	wheel_shift(&l, 60000 * ms);
	run_at(&l, 60009 * ms);
	ck_assert_int_eq(near.fired, 0);
	run_at(&l, 60010 * ms);
	ck_assert_int_eq(near.fired, 1);
	ck_assert_uint_eq(far.t.at_ns, 67000 * ms);
	ck_assert_uint_eq(wheel_next_ns(l.wheel), 67000 * ms);
	run_at(&l, 67000 * ms);
	ck_assert_int_eq(far.fired, 1);
	wheel_free(&l.wheel);
}
END_TEST

UNIT_SUITE("timer", a_timer_fires_at_its_time_and_never_before, a_lone_timer_wakes_the_process_once,
	thousands_of_random_timers_fire_in_order_each_once_and_cancelled_ones_never,
	a_timer_set_for_the_past_by_a_timer_waits_for_the_next_run, a_timer_may_cancel_another_that_is_due_in_the_same_run,
	cancelling_the_due_timer_leaves_no_wake_up_behind, a_shift_keeps_the_time_that_each_timer_had_left)
