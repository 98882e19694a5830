/* lb/alias: draws an index with probability weight / sum of weights in constant time: Walker's alias table as built by Vose.
 * Each slot holds a threshold and a second index: draw a slot uniformly, then the slot's own index below the threshold, else the other.
 * Eight bytes an endpoint. Owner: a policy. Equal weights need no table: then slots stays NULL. */
#pragma once
#include "lb/policy.h"

struct alias_slot { uint32_t below, other; };  /* below: of 2^32 */
/* In the making and made; zero and `hot`, `count`: not begun. */
struct alias {
	const struct hot *hot;     /* borrowed */
	uint32_t count;
	struct alias_slot *slots;  /* NULL: weights are equal (or not looked at yet) */
	uint8_t phase;
	bool equal;
	uint32_t at, small, large;
	double sum;
	double *share;
	uint32_t *pile;
};
/* As policy_ops.step. */
int alias_step(struct alias *b, struct account *a, uint32_t *work);
void alias_end(struct alias *b, struct account *a);

/* One 64-bit random number serves both draws: the upper half chooses the slot, the lower half decides inside it. */
static inline uint32_t alias_draw(const struct alias_slot *slots, uint32_t count, uint64_t random)
{
	uint32_t i = (uint32_t)(((random >> 32) * count) >> 32);

	return (uint32_t)random < slots[i].below ? i : slots[i].other;
}
