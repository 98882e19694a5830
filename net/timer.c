/* net/timer: a hierarchical wheel of 1 ms slots.
 *
 *   level 0: 64 slots of 1 ms, level 1: 64 slots of 64 ms, ... level 6: 64 slots of 2 years
 *
 * A tick is a millisecond since base_ns, and a number of seven digits to the base of 64. A timer lies at the level of the highest digit in
 * which its tick differs from the wheel's, in the slot of that digit. Hence: all timers of a lower level come before all of a higher
 * one, a slot's digit is above the wheel's, and the first busy slot of the lowest busy level has the next timer. Setting and
 * cancelling are a list operation and a bit; a timer is moved at most six times in its life, mostly once, and only if it lives so long.
 *
 * Most timers are deadlines that are cancelled long before: so the hot path is set + cancel, and the exact next expiry is only looked
 * for when a slot has few timers; else the slot's beginning is good enough (waking there moves them down). */
#include <stdlib.h>
#include "net/timer.h"

enum { LEVELS = 7, DIGIT = 6, SLOTS = 1 << DIGIT, SLOT_DUE = LEVELS * SLOTS, SLOT_NONE = 0xffff };
enum { LOOK_AT = 4 }; /* timers of a slot that are looked at for the exact next expiry */
static const uint64_t tick_ns = 1000000;
static const uint64_t tick_max = (UINT64_C(1) << (LEVELS * DIGIT)) - 1; /* 139 years */

struct wheel {
	uint64_t base_ns;     /* the clock at tick 0 */
	uint64_t tick;        /* all timers up to here are due */
	uint64_t next;        /* cached answer of next_tick, while next_slot is not SLOT_NONE */
	uint16_t next_slot;
	uint32_t armed;
	uint64_t busy[LEVELS];          /* a bit for each slot that has timers */
	struct list slot[SLOT_DUE + 1]; /* the last one: due */
};

struct wheel *wheel_new(uint64_t now_ns)
{
	struct wheel *w = xnew(struct wheel);

	w->base_ns = now_ns;
	w->next_slot = SLOT_NONE;
	for (int i = 0; i <= SLOT_DUE; i++)
		list_init(&w->slot[i]);
	return w;
}

void wheel_free(struct wheel **w)
{
	free(*w);
	*w = NULL;
}

uint32_t wheel_armed(const struct wheel *w)
{
	return w->armed;
}

/* Rounded up: a timer never fires before its time. */
static uint64_t tick_of(const struct wheel *w, uint64_t at_ns)
{
	if (at_ns <= w->base_ns)
		return 0;
	uint64_t past = at_ns - w->base_ns;
	uint64_t tick = past / tick_ns + (past % tick_ns != 0);
	return tick < tick_max ? tick : tick_max;
}

static void place(struct wheel *w, struct timer *t, uint64_t tick)
{
	unsigned slot = SLOT_DUE;

	if (tick > w->tick) {
		unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ w->tick)) / DIGIT;
		unsigned digit = (unsigned)(tick >> (level * DIGIT)) & (SLOTS - 1);
		slot = level * SLOTS + digit;
		w->busy[level] |= UINT64_C(1) << digit;
	}
	t->slot = (uint16_t)slot;
	list_push(&w->slot[slot], &t->node);
}

static void unplace(struct wheel *w, struct timer *t)
{
	unsigned slot = t->slot;

	list_del(&t->node);
	if (slot == SLOT_DUE)
		return;
	if (list_empty(&w->slot[slot]))
		w->busy[slot / SLOTS] &= ~(UINT64_C(1) << (slot % SLOTS));
	if (slot == w->next_slot)
		w->next_slot = SLOT_NONE;
}

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns, void (*fn)(struct timer *))
{
	struct wheel *w = l->wheel;
	uint64_t tick = tick_of(w, at_ns);

	if (t->armed)
		unplace(w, t);
	else
		w->armed++;
	t->armed = true;
	t->loose = false;
	t->at_ns = at_ns;
	t->fn = fn;
	place(w, t, tick);
	if (w->next_slot != SLOT_NONE && t->slot != SLOT_DUE && tick < w->next) {
		w->next = tick;
		w->next_slot = t->slot;
	}
}

void timer_cancel_armed(struct loop *l, struct timer *t)
{
	unplace(l->wheel, t);
	t->armed = false;
	l->wheel->armed--;
}

/* The first busy slot and the tick at which it begins; false: none. */
static bool first_slot(const struct wheel *w, unsigned *ret_slot, uint64_t *ret_tick)
{
	for (unsigned level = 0; level < LEVELS; level++) {
		if (!w->busy[level])
			continue;
		unsigned digit = (unsigned)__builtin_ctzll(w->busy[level]);
		unsigned above = (level + 1) * DIGIT;
		*ret_slot = level * SLOTS + digit;
		*ret_tick = (w->tick >> above << above) | ((uint64_t)digit << (level * DIGIT));
		return true;
	}
	return false;
}

uint64_t wheel_next_ns(struct wheel *w)
{
	unsigned slot;
	uint64_t tick;

	if (!list_empty(&w->slot[SLOT_DUE]))
		return 0;
	if (w->next_slot != SLOT_NONE)
		return w->base_ns + w->next * tick_ns;
	if (!first_slot(w, &slot, &tick))
		return UINT64_MAX;
	if (slot >= SLOTS) {
		uint64_t least = UINT64_MAX;
		int seen = 0;
		for (struct list *n = w->slot[slot].next; n != &w->slot[slot] && seen <= LOOK_AT; n = n->next, seen++) {
			uint64_t its = tick_of(w, list_entry(n, struct timer, node)->at_ns);
			if (its < least)
				least = its;
		}
		if (seen <= LOOK_AT)
			tick = least;
	}
	w->next = tick;
	w->next_slot = (uint16_t)slot;
	return w->base_ns + tick * tick_ns;
}

/* Moves the wheel's tick, slot by slot: what is due goes to the due list in order, the rest of a reached slot down a level. */
static void turn_to(struct wheel *w, uint64_t target)
{
	unsigned slot;
	uint64_t tick;

	while (first_slot(w, &slot, &tick) && tick <= target) {
		struct list moved;
		w->tick = tick;
		w->busy[slot / SLOTS] &= ~(UINT64_C(1) << (slot % SLOTS));
		if (slot == w->next_slot)
			w->next_slot = SLOT_NONE;
		list_init(&moved);
		list_splice(&moved, &w->slot[slot]);
		for (struct list *n; (n = list_pop(&moved));) {
			struct timer *t = list_entry(n, struct timer, node);
			place(w, t, tick_of(w, t->at_ns));
		}
	}
	/* No slot begins up to target, so target has the same digits as the tick wherever a level is busy. */
	if (target > w->tick)
		w->tick = target;
}

void wheel_run(struct wheel *w, uint64_t now_ns)
{
	struct list due;

	if (now_ns > w->base_ns)
		turn_to(w, (now_ns - w->base_ns) / tick_ns);
	list_init(&due);
	list_splice(&due, &w->slot[SLOT_DUE]);
	for (struct list *n; (n = list_pop(&due));) {
		struct timer *t = list_entry(n, struct timer, node);
		t->armed = false;
		w->armed--;
		t->fn(t);
	}
}

void timer_set_loose(struct loop *l, struct timer *t, uint64_t at_ns, void (*fn)(struct timer *))
{
	timer_set(l, t, at_ns, fn);
	t->loose = true;
}

/* Rare (a container was frozen), so each timer is visited: its at_ns stays the truth about it. */
void wheel_shift(struct loop *l, uint64_t gap_ns)
{
	struct wheel *w = l->wheel;
	struct list loose;

	list_init(&loose);
	w->base_ns += gap_ns;
	for (int i = 0; i <= SLOT_DUE; i++)
		list_each(n, tmp, &w->slot[i])
		{
			struct timer *t = list_entry(n, struct timer, node);

			t->at_ns += gap_ns;
			if (!t->loose || t->at_ns <= l->now_ns)
				continue;
			unplace(w, t);
			list_push(&loose, &t->node);
		}
	for (struct list *n; (n = list_pop(&loose));) {
		struct timer *t = list_entry(n, struct timer, node);

		t->at_ns = l->now_ns + 1 + loop_random_below(l, t->at_ns - l->now_ns);
		place(w, t, tick_of(w, t->at_ns));
	}
	w->next_slot = SLOT_NONE;
}
