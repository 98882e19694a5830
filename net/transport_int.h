/* net/transport_int: what net/secret and net/transport share: the list of all secrets, and the trust of equal content that is kept once.
 *
 *   struct store   one a distinct bundle of roots (tls_trust_same) that any secret holds; counted by those secrets. A thousand clusters that are each told
 *                  the same roots cost one. */
#pragma once
#include "base/map.h"
#include "net/transport.h"

struct store { struct list node; struct tls_trust *trust; uint32_t uses; };
struct transports {
	struct loop *loop;
	struct list secrets, footings, contexts, stores, touched;
	struct map by_key, footing_by_key; /* keys lie in what they lead to */
	struct tls_trust *system;          /* a ref; NULL: not asked for yet */
	struct task told_later;            /* watches are told of touched footings */
	bool used;                         /* a transport was asked for: the maps have their seeds */
	uint32_t ntransports, ncontexts, nstores, nsecrets;
	void (*tell)(void *ctx, const struct transport_failure *f);
	void *tell_ctx;
	void (*look)(void *ctx);
	void *look_ctx;
};
/* The trust of that content, to be given back by store_leave; `taken` is it, or is gone. */
struct tls_trust *store_enter(struct transports *t, struct tls_trust *taken);
void store_leave(struct transports *t, struct tls_trust **trust);
