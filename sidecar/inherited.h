/* sidecar/inherited: listening descriptors that are older than this process: of a socket unit, out of the manager's store, or handed over by the process before us. And the other way: what
 * the next process is to inherit.
 *
 *   struct inherited 1 --- 1 struct activation   all of them, by address; a descriptor is the table's until a listener takes it
 *                    1 --- n struct handover_door what belongs to those that were handed over: the lock of a file
 *                    1 --- n names                what the manager's store has of us, by what we sent and what came out of it
 *
 * Owner: main's daemon. */
#pragma once
#include "conf/conf.h"
#include "sidecar/upgrade.h"
#include "systemd/activation.h"
#include "systemd/notify.h"
#include "uds/listener.h"

struct inherited {
	struct log *log;               /* borrowed */
	struct notify *notify;         /* borrowed */
	struct activation table;
	struct handover_door *handed; uint32_t nhanded;
	struct sock_path pending;      /* of the descriptor that was taken last; path NULL: none */
	struct addr pending_at;
	uint64_t store_max;            /* descriptors that the manager keeps; 0: it keeps none */
	char **stored; uint32_t nstored;
};
/* handed NULL: nobody. The environment's variables are taken and unset. */
void inherited_open(struct inherited *i, struct log *log, struct notify *n, const struct handover *handed);
/* A listener whose address nobody has takes the socket of its app's name, and that socket's address with it. */
void inherited_claim_names(struct inherited *i, struct conf *c);
int inherited_take(struct inherited *i, const struct addr *at, const char *taker);           /* sidecar_spec.inherit: the descriptor, or -1 */
bool inherited_path(struct inherited *i, const struct addr *at, struct sock_path *ret);      /* sidecar_spec.inherit_path */
void inherited_close_rest(struct inherited *i);  /* told; files of ours that nobody serves any more go too */
void inherited_end(struct inherited *i);         /* closes what is left, removes nothing */

/* A line and the descriptors for each door. */
void inherited_describe(struct inherited *i, struct uds_doors *doors, struct upgrade *u, struct sb *out);
/* The manager keeps what we have opened ourselves, so that a restart or a crash finds it again (FileDescriptorStoreMax=); what we have closed it forgets. Where it keeps any says the variable
 * FDSTORE: of systemd 254 and later, of our units for older ones. */
void inherited_store(struct inherited *i, struct uds_doors *doors);
bool inherited_is_stored(const struct inherited *i);   /* there is a manager, and it keeps descriptors */
