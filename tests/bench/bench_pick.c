/* tests/bench/bench_pick: what one pick costs, as JSON lines: policy, endpoints, weights, nanoseconds a pick.
 *
 *	{"bench": "pick", "lb": "round_robin", "endpoints": 1000, "weights": "equal", "ns": 3.1}
 *
 * The policies alone, over hot records; least_request with a load that changes at each pick (the picked endpoint gains a call, one that
 * was picked a while ago loses it), as calls do. The best of five rounds is printed: what disturbs a round is not the policy's.
 * Linked with the library like a unit test, but without libcheck. */
#include "lb/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PICKS = 1000000, ROUNDS = 5, IN_FLIGHT = 256 };

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double round_ns(struct policy *p, struct hot *hot)
{
	struct pick k = {.skip = HOT_BACKOFF | HOT_DRAINING | HOT_UNHEALTHY};
	uint32_t flying[IN_FLIGHT], n = 0;
	uint64_t start;

	for (n = 0; n < IN_FLIGHT; n++)
		hot[flying[n] = policy_pick(p, &k)].active++;
	start = now_ns();
	for (n = 0; n < PICKS; n++) {
		uint32_t i = policy_pick(p, &k);

		hot[flying[n % IN_FLIGHT]].active--;
		hot[flying[n % IN_FLIGHT] = i].active++;
	}
	start = now_ns() - start;
	for (n = 0; n < IN_FLIGHT; n++)
		hot[flying[n]].active--;
	return (double)start / PICKS;
}

static void bench(struct loop *l, enum lb_kind kind, uint32_t count, bool equal)
{
	struct cluster_spec *spec = spec_new("bench");
	struct hot *hot = xalloc(count * sizeof(*hot));
	struct policy *p;
	double best = 1e9;

	for (uint32_t i = 0; i < count; i++)
		hot[i] = (struct hot){.weight = equal ? 1 : 1 + (uint32_t)loop_random_below(l, 100), .flags = HOT_USABLE};
	p = policy_build(kind, l, &l->memory, hot, count, spec);
	for (int i = 0; i < ROUNDS; i++) {
		double ns = round_ns(p, hot);

		best = ns < best ? ns : best;
	}
	printf("{\"bench\": \"pick\", \"lb\": \"%s\", \"endpoints\": %u, \"weights\": \"%s\", \"ns\": %.1f}\n", p->ops->name, count,
		equal ? "equal" : "1..100", best);
	policy_free(&p);
	free(hot);
	spec_unref(&spec);
}

int main(void)
{
	static const uint32_t counts[] = {10, 64, 1000, 100000};
	struct loop *l = loop_new_real(NULL);

	for (int kind = LB_ROUND_ROBIN; kind <= LB_LEAST_REQUEST; kind++)
		for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
			for (int equal = 1; equal >= 0; equal--)
				bench(l, (enum lb_kind)kind, counts[c], equal);
	loop_free(&l);
	return 0;
}
