/* lb/alias: building the table. Vose's two piles (slots with less and with more than the mean weight) share one array, one from
 * each end; every step fills one slot for good, so it is linear. */
#include "lb/alias.h"

struct alias_slot *alias_build(struct account *a, const struct hot *hot, uint32_t count)
{
	struct alias_slot *slots = acct_alloc(a, count * sizeof(*slots));
	double *share = acct_alloc(a, count * sizeof(*share));
	uint32_t *pile = acct_alloc(a, count * sizeof(*pile));
	uint32_t small = 0, large = count;
	double sum = 0;

	if (!slots || !share || !pile) {
		acct_free(a, slots);
		slots = NULL;
		goto end;
	}
	for (uint32_t i = 0; i < count; i++)
		sum += hot[i].weight;
	for (uint32_t i = 0; i < count; i++) {
		share[i] = hot[i].weight * (double)count / sum;
		if (share[i] < 1)
			pile[small++] = i;
		else
			pile[--large] = i;
		slots[i] = (struct alias_slot){UINT32_MAX, i}; /* what rounding leaves over stays with itself */
	}
	while (small > 0 && large < count) {
		uint32_t s = pile[--small], g = pile[large];

		slots[s] = (struct alias_slot){(uint32_t)(share[s] * 4294967296.0), g};
		share[g] -= 1 - share[s];
		if (share[g] < 1) {
			/* The giver has become small: its place on the large pile falls free, its new one takes the place of s. */
			large++;
			pile[small++] = g;
		}
	}
end:
	acct_free(a, share);
	acct_free(a, pile);
	return slots;
}
