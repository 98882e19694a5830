/* sidecar/upgrade: the hot upgrade: a process of this daemon is followed by another one, with the same listening descriptors, without a call that notices.
 *
 *   the one that goes                                                     the one that comes
 *   IDLE --upgrade_begin--> LENDING   the snapshot is written out
 *        --lent-----------> STARTED   posix_spawn: the same arguments -->  FOLLOWS  reads the hand-over (sidecar/handover), opens its doors, accepts nothing
 *                                     drain.takeover                        |able: each identity that it has; prepared: control plane, or its snapshot, or PREPARE_NS
 *                           SERVED    <---------------- "ready" ----------  READY
 *                             |        MAINPID=; stops accepting, drains
 *                             |-------------------------- "go" ---------->  SERVES   accepts
 *                             |        may end    <----- "here" ----------
 *
 * Whoever dies, one of the two serves: a successor that ends before "ready" (or takes too long) changes nothing (`failed`); one that ends after it, while we still drain, gives the doors back
 * (`died`); a predecessor that ends before "go" leaves the successor alone with the descriptors, and it serves at once. "bye" says that an end is meant: SIGTERM, or a successor of its own.
 * What was drained to its end leaves as any process.
 *
 * Words go over a socket pair (SOCK_SEQPACKET, one a packet; unknown ones are passed over), state in a memfd; what an app says to the one that drains is sent behind it, a `life` line a packet. Owner: main's daemon. */
#pragma once
#include "net/loop.h"
#include "sidecar/handover.h"

struct upgrade;
struct upgrade_spec {
	struct loop *loop; struct log *log;   /* borrowed */
	char **argv;                          /* borrowed: of main */
	void *ctx;
	/* The one that goes. lend: true: everything that the successor will read is written. describe: its lines, and which descriptors they name (upgrade_give). */
	bool (*lend)(void *ctx);
	void (*describe)(void *ctx, struct upgrade *u, struct sb *out);
	void (*served)(void *ctx, pid_t pid); /* the successor is ready: tell the manager, stop accepting; it goes on once this has returned */
	void (*here)(void *ctx);              /* it accepts: we may end as soon as nothing is left */
	void (*failed)(void *ctx);            /* as if nothing had been (logged and counted already) */
	void (*died)(void *ctx);              /* served was wrong: take everything back */
	void (*bye)(void *ctx);               /* the successor ends by its own will: what we still hold for its sake may go */
	/* The one that comes. */
	bool (*able)(void *ctx);              /* to do what the predecessor could: else we are not ready, however long it takes, and it goes on */
	bool (*prepared)(void *ctx);          /* for the rest we do not wait for ever */
	void (*said)(void *ctx, const char *app, const char *text); /* of an app's life, later than what was handed */
	void (*go)(void *ctx, bool alone);    /* serve. alone: the predecessor is no more, nobody has told the manager */
};
/* At the start of every process, before anything is opened: the predecessor's hand-over is read, if there is one. */
struct upgrade *upgrade_new(const struct upgrade_spec *spec);
void upgrade_free(struct upgrade **u);    /* a successor that is not ready yet is ended with us; one that serves goes on */
const struct handover *upgrade_handed(const struct upgrade *u); /* NULL: this is a start like any other */
/* All doors are open: as soon as prepared says so, "ready"; then go. Only where something was handed. */
void upgrade_prepare(struct upgrade *u);

bool upgrade_binary_is_new(const struct upgrade *u);   /* another file lies where the running program was started from */
/* 0; -EBUSY: one is on its way or has taken over; -EPERM: as PID 1 (its end would end the container). Logged either way. within_ns: until "ready". */
int upgrade_begin(struct upgrade *u, uint64_t within_ns);
void upgrade_give(struct upgrade *u, int fd);          /* describe: this descriptor goes along, under its number */
void upgrade_say_life(struct upgrade *u, const char *app, struct str text); /* to a successor that serves */
void upgrade_abort(struct upgrade *u);                 /* we are told to end: a successor that is not ready yet ends too, the others are told that this end is meant */
bool upgrade_is_under_way(const struct upgrade *u);    /* LENDING or STARTED */
