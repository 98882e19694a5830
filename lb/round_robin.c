/* lb/round_robin: each in turn.
 *
 * Equal weights: a plain rotation from a random start, so that a fleet of sidecars does not begin at the same endpoint.
 *
 * Unequal weights: exact proportions over a cycle of sum(weight) picks, evenly spread, and constant work a pick however many
 * endpoints there are (a heap of deadlines would cost log n cache misses, nginx' way n). Two steps:
 *
 *   1  Endpoints are grouped by weight: class c holds the weights [2^c, 2^(c+1)). Among the classes (at most 32, mostly 1 to 4) the
 *      next is chosen by credit: each gains its total weight, the richest is picked and pays the sum of all. Exact and smooth.
 *   2  Inside a class its endpoints come round in order; each visit adds the endpoint's weight to its phase, and it is picked when
 *      the phase passes the class's largest weight. No weight is below half of that, so no endpoint is passed over twice running
 *      and a pick costs two visits at most on average; over `largest` rounds each endpoint is picked exactly `weight` times.
 *
 * An endpoint that is ruled out loses its turn and the next one has it: the others come round sooner and keep their proportions.
 * Where most are out, after REDRAWS turns a scan from a random place finds what there is. */
#include "lb/policy.h"
#include <errno.h>

enum { CLASSES = 32, REDRAWS = 64 };

struct turn {
	uint32_t index, weight, phase;
};
struct class
{
	uint64_t weight; /* of all its endpoints */
	int64_t credit;
	uint32_t first, count; /* in turns[] */
	uint32_t next; /* of these */
	uint32_t largest; /* weight */
};
struct round_robin {
	struct policy p;
	uint32_t next;
	struct turn *turns; /* NULL: weights are equal */
	uint32_t class_count;
	uint64_t weight; /* of all */
	struct class classes[CLASSES]; /* while it is built: by class; then without the empty ones */
	bool placing, built, equal; /* building: first counted, then placed */
	uint32_t at;
	uint32_t place[CLASSES];
};

static uint32_t class_of(uint32_t weight)
{
	return 31 - (uint32_t)__builtin_clz(weight | 1);
}

static int count_step(struct round_robin *r, uint32_t to)
{
	const struct policy *p = &r->p;
	uint32_t first = 0;

	for (; r->at < to; r->at++) {
		uint32_t weight = p->hot[r->at].weight;
		struct class *c = &r->classes[class_of(weight)];

		c->count++;
		c->weight += weight;
		if (weight > c->largest)
			c->largest = weight;
		r->weight += weight;
		r->equal &= weight == p->hot[0].weight;
	}
	if (r->at < p->count)
		return 1;
	if (r->equal) {
		r->built = true;
		return 0;
	}
	r->turns = acct_alloc(p->account, p->count * sizeof(*r->turns));
	if (!r->turns)
		return -ENOMEM;
	for (uint32_t c = 0; c < CLASSES; c++) {
		r->place[c] = r->classes[c].first = first;
		first += r->classes[c].count;
	}
	r->placing = true;
	r->at = 0;
	return 1;
}

static int place_step(struct round_robin *r, uint32_t to)
{
	const struct policy *p = &r->p;

	for (; r->at < to; r->at++) {
		uint32_t weight = p->hot[r->at].weight, c = class_of(weight);

		/* Phases start spread out: neighbours of one weight are not passed over in the same round. */
		r->turns[r->place[c]++] = (struct turn){r->at, weight, (uint32_t)loop_random_below(p->loop, r->classes[c].largest)};
	}
	if (r->at < p->count)
		return 1;
	for (uint32_t c = 0; c < CLASSES; c++) {
		if (!r->classes[c].count)
			continue;
		r->classes[c].next = (uint32_t)loop_random_below(p->loop, r->classes[c].count);
		r->classes[r->class_count++] = r->classes[c];
	}
	r->built = true;
	return 0;
}

static struct policy *rr_begin(struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec)
{
	struct round_robin *r = policy_new(&policy_round_robin, sizeof(*r), l, a, hot, count);

	(void)spec;
	if (!r)
		return NULL;
	r->next = (uint32_t)loop_random_below(l, count);
	r->equal = true;
	return &r->p;
}

static int rr_step(struct policy *p, uint32_t *work)
{
	struct round_robin *r = (struct round_robin *)p;
	int err = r->built ? 0 : 1;

	while (err > 0 && *work) {
		uint32_t left = p->count - r->at, n = left < *work ? left : *work;

		*work -= n;
		err = r->placing ? place_step(r, r->at + n) : count_step(r, r->at + n);
	}
	return err;
}

static struct class *richest(struct round_robin *r)
{
	struct class *best = &r->classes[0];

	if (r->class_count == 1)
		return best;
	for (uint32_t c = 0; c < r->class_count; c++) {
		struct class *at = &r->classes[c];

		at->credit += (int64_t)at->weight;
		if (at->credit > best->credit)
			best = at;
	}
	best->credit -= (int64_t)r->weight;
	return best;
}

static uint32_t by_weight(struct round_robin *r)
{
	struct class *c = richest(r);

	for (;;) { /* ends within two rounds of the class: see the head of the file */
		struct turn *t = &r->turns[c->first + c->next];
		uint32_t phase = t->phase;

		if (++c->next == c->count)
			c->next = 0;
		if (phase >= c->largest - t->weight) {
			t->phase = phase - (c->largest - t->weight);
			return t->index;
		}
		t->phase = phase + t->weight;
	}
}

static uint32_t rr_pick(struct policy *p, const struct pick *k)
{
	struct round_robin *r = (struct round_robin *)p;

	if (r->turns) {
		for (int draw = 0; draw < REDRAWS; draw++) {
			uint32_t i = by_weight(r);

			if (policy_may(p, k, i))
				return i;
		}
		return policy_scan(p, k, (uint32_t)loop_random_below(p->loop, p->count));
	}
	for (uint32_t turn = 0; turn < p->count; turn++) {
		uint32_t i = r->next;

		r->next = i + 1 == p->count ? 0 : i + 1;
		if (policy_may(p, k, i))
			return i;
	}
	return PICK_NOBODY;
}

static void rr_free(struct policy *p)
{
	struct round_robin *r = (struct round_robin *)p;

	acct_free(p->account, r->turns);
	acct_free(p->account, r);
}

const struct policy_ops policy_round_robin = {"round_robin", rr_begin, rr_step, rr_pick, rr_free};
