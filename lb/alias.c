/* lb/alias: building the table. Vose's two piles (slots with less and with more than the mean weight) share one array, one from
 * each end; every step fills one slot for good, so it is linear. It stops whenever its work is used up and goes on where it was. */
#include "lb/alias.h"
#include <errno.h>

enum { ALIAS_SUM, ALIAS_SHARE, ALIAS_PAIR, ALIAS_MADE };

static void scratch_end(struct alias *b, struct account *a)
{
	acct_free(a, b->share);
	acct_free(a, b->pile);
	b->share = NULL;
	b->pile = NULL;
}

void alias_end(struct alias *b, struct account *a)
{
	scratch_end(b, a);
	acct_free(a, b->slots);
	b->slots = NULL;
}

/* What a phase may walk now of what it has left. */
static uint32_t stretch(const struct alias *b, uint32_t *work)
{
	uint32_t left = b->count - b->at, n = left < *work ? left : *work;

	*work -= n;
	return b->at + n;
}

static int sum_step(struct alias *b, struct account *a, uint32_t *work)
{
	uint32_t to = stretch(b, work);

	if (b->at == 0)
		b->equal = true;
	for (; b->at < to; b->at++) {
		b->sum += b->hot[b->at].weight;
		b->equal &= b->hot[b->at].weight == b->hot[0].weight;
	}
	if (b->at < b->count)
		return 1;
	b->phase = ALIAS_MADE;
	if (b->equal)
		return 0;
	b->slots = acct_alloc(a, b->count * sizeof(*b->slots));
	b->share = acct_alloc(a, b->count * sizeof(*b->share));
	b->pile = acct_alloc(a, b->count * sizeof(*b->pile));
	if (!b->slots || !b->share || !b->pile) {
		alias_end(b, a);
		return -ENOMEM;
	}
	b->phase = ALIAS_SHARE;
	b->at = b->small = 0;
	b->large = b->count;
	return 1;
}

static int share_step(struct alias *b, uint32_t *work)
{
	uint32_t to = stretch(b, work);

	for (; b->at < to; b->at++) {
		uint32_t i = b->at;

		b->share[i] = b->hot[i].weight * (double)b->count / b->sum;
		if (b->share[i] < 1)
			b->pile[b->small++] = i;
		else
			b->pile[--b->large] = i;
		b->slots[i] = (struct alias_slot){UINT32_MAX, i}; /* what rounding leaves over stays with itself */
	}
	if (b->at == b->count)
		b->phase = ALIAS_PAIR;
	return 1;
}

static int pair_step(struct alias *b, struct account *a, uint32_t *work)
{
	for (; b->small > 0 && b->large < b->count; --*work) {
		uint32_t s, g;

		if (!*work)
			return 1;
		s = b->pile[--b->small];
		g = b->pile[b->large];
		b->slots[s] = (struct alias_slot){(uint32_t)(b->share[s] * 4294967296.0), g};
		b->share[g] -= 1 - b->share[s];
		if (b->share[g] < 1) {
			/* The giver has become small: its place on the large pile falls free, its new one takes the place of s. */
			b->large++;
			b->pile[b->small++] = g;
		}
	}
	scratch_end(b, a);
	b->phase = ALIAS_MADE;
	return 0;
}

int alias_step(struct alias *b, struct account *a, uint32_t *work)
{
	int err = b->phase == ALIAS_MADE ? 0 : 1;

	while (err > 0 && *work)
		err = b->phase == ALIAS_SUM ? sum_step(b, a, work) : b->phase == ALIAS_SHARE ? share_step(b, work) : pair_step(b, a, work);
	return err;
}
