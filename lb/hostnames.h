/* lb/hostnames: the host names of an endpoint set and what DNS says of them.
 *
 *   names 1 --- n name (an endpoint with a host) 1 --- 0..1 dns_query
 *
 * DNS is asked only while the cluster is used: names_use() at each pick asks what is due; an answer is good for its TTL (1 s to 1 h). When
 * that is over and the cluster was used meanwhile (or somebody watches its truth: names_keep()), it is asked again at once, so a used cluster always has fresh answers and an unused one
 * never wakes the daemon. A failure keeps the last good answer and is tried again after 1 s, doubling to 30 s, with jitter.
 * Owner: cluster. */
#pragma once
#include "net/loop.h"
#include "conf/spec.h"
#include "net/dns.h"

struct names;
/* old (may be NULL) gives its answers for names that are still there, and ends. changed: the answers are not what they were. settled:
 * also after a failure that changed nothing. */
struct names *names_new(struct loop *l, struct dns *dns, const struct endpoint_set *set, struct names **old, void (*changed)(void *ctx), void (*settled)(void *ctx), void *ctx);
void names_free(struct names **n);
void names_use_slow(struct names *n);
struct names_use { bool used, due, kept; };   /* the head of struct names: read at each pick */
static inline void names_use(struct names *n)
{
	struct names_use *u = (struct names_use *)n;

	u->used = true;
	if (__builtin_expect(u->due, 0))
		names_use_slow(n);
}
static inline void names_keep(struct names *n, bool kept)
{
	((struct names_use *)n)->kept = kept;
	if (kept)
		names_use(n);
}
void names_thaw(struct names *n);             /* the process stood still: what was answered before is old, whatever its TTL was */
bool names_waiting(const struct names *n);    /* a name has never been answered, not even with a failure */
const char *names_state(const struct names *n); /* "asked", "resolved", "failed" */
/* The set with each name replaced by an endpoint for each of its answers; a v6 and a v4 answer are alternates pairwise. A set of its own,
 * charged to the account; groups without answers are empty. one: of each name only one pair, the same while it is answered (spec.one_address). 0, or negative (-ENOMEM, -EINVAL: answers times weight beyond 2^32 - 1). */
/* metas: each answer's metadata says its name (ENDPOINT_HOSTNAME), as TLS may ask for it; NULL: nobody does. */
int names_expand(const struct names *n, const struct endpoint_set *set, bool one, struct account *account, struct endpoint_metas *metas, struct endpoint_set **ret);
