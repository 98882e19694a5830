/* lb/alias: drawing an index with probability weight / sum of weights in constant time: Walker's alias table as built by Vose.
 * Each slot holds a threshold and a second index: draw a slot uniformly, then the slot's own index below the threshold, else the other.
 * Eight bytes an endpoint. Owner: a policy. */
#pragma once
#include "lb/policy.h"

struct alias_slot { uint32_t below, other; };  /* below: of 2^32 */
/* NULL: the account refused. */
struct alias_slot *alias_build(struct account *a, const struct hot *hot, uint32_t count);

/* One 64-bit random number serves both draws: the upper half chooses the slot, the lower half decides inside it. */
static inline uint32_t alias_draw(const struct alias_slot *slots, uint32_t count, uint64_t random)
{
	uint32_t i = (uint32_t)(((random >> 32) * count) >> 32);

	return (uint32_t)random < slots[i].below ? i : slots[i].other;
}
