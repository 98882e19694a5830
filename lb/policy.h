/* lb/policy: which endpoint of a cluster gets the next call.
 *
 * A policy is four functions (begin, step, pick, free) and one file. It works on packed hot records by index and knows neither hosts nor
 * connections: 100,000 endpoints cost 16 bytes each, plus what the policy itself needs. It is built anew whenever members or weights
 * change; what changes from call to call (active, flags) it reads from the hot records at each pick.
 *
 * Owner of a policy: its cluster. The hot records are the cluster's, borrowed, and outlive the policy. */
#pragma once
#include "net/loop.h"
#include "conf/spec.h"

enum {
	HOT_USABLE = 1,    /* none of the flags below */
	HOT_BACKOFF = 2,   /* connect failed, not to be tried before its time unless all are so */
	HOT_DRAINING = 4,
	HOT_UNHEALTHY = 8,
	HOT_UNUSABLE = 16, /* it wants TLS that cannot be had (lb/wants.c): nothing is sent to it, least of all in plaintext */
	HOT_CHECK = 64,    /* its active check failed, or has not passed yet: not used but in panic */
	HOT_EJECTED = 128, /* by outlier detection; the same */
	HOT_DEGRADED = 32, /* only where the healthy ones are not enough; usable all the same */
	/* From 256 on: the cluster's own, of no meaning to a policy (lb/cluster_int.h). */
};
/* born: 1 + the place in the cluster's table of hosts; 0: no host yet. */
struct hot { uint32_t weight, active; uint32_t flags; uint32_t born; };

enum { PICK_TRIED_MAX = 4 };
#define PICK_NOBODY UINT32_MAX
struct pick {
	uint64_t hash;
	uint32_t skip;             /* HOT_* flags that rule an endpoint out, */
	uint32_t want;             /* but for these of them, which it must have */
	uint32_t draws;            /* how often to draw before a scan: more where many are ruled out; 0: the policy's own */
	uint32_t tried_count;
	uint32_t tried[PICK_TRIED_MAX];
};

struct policy;
struct policy_ops {
	const char *name;
	struct policy *(*begin)(struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec); /* walks nothing; NULL: no memory */
	/* Builds on until *work (endpoints walked) is used up, and lowers it. 1: more to do, 0: it may be picked from, -ENOMEM. */
	int (*step)(struct policy *p, uint32_t *work);
	uint32_t (*pick)(struct policy *p, const struct pick *k);  /* an index, or PICK_NOBODY when all are ruled out */
	void (*free)(struct policy *p);
};
/* The head of each policy's own struct. */
struct policy {
	const struct policy_ops *ops;
	struct loop *loop;         /* borrowed: randomness */
	struct account *account;   /* borrowed: what the policy allocates is charged here */
	const struct hot *hot;     /* borrowed */
	uint32_t count;            /* > 0 */
};

extern const struct policy_ops policy_round_robin, policy_random, policy_least_request;
const struct policy_ops *policy_ops_of(enum lb_kind kind);
/* count > 0. NULL: the account refused. policy_build does both at once. */
struct policy *policy_begin(enum lb_kind kind, struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec);
static inline int policy_step(struct policy *p, uint32_t *work) { return p->ops->step(p, work); }
struct policy *policy_build(enum lb_kind kind, struct loop *l, struct account *a, const struct hot *hot, uint32_t count, const struct cluster_spec *spec);
static inline uint32_t policy_pick(struct policy *p, const struct pick *k) { return p->ops->pick(p, k); }
void policy_free(struct policy **p);

/* For the policies. */
static inline bool policy_may(const struct policy *p, const struct pick *k, uint32_t i)
{
	if (__builtin_expect((p->hot[i].flags & k->skip) != k->want, 0))
		return false;
	for (uint32_t t = 0; t < k->tried_count; t++)
		if (k->tried[t] == i)
			return false;
	return true;
}
/* The first endpoint at or after `from`, going round once, that is not ruled out; PICK_NOBODY: there is none. */
uint32_t policy_scan(const struct policy *p, const struct pick *k, uint32_t from);
void *policy_new(const struct policy_ops *ops, size_t size, struct loop *l, struct account *a, const struct hot *hot, uint32_t count);
