/* sidecar/handover: what a process of this daemon tells the one that takes over from it (hot upgrade): a text of lines, and which descriptors belong to them.
 *
 *   thinmesh-handover 1                                                    the first line; another number: nothing of it is understood
 *   from pid=312 upgrades=4 failed=1
 *   door fd=7 lock=8 dev=21 ino=9917 name=shop at=unix:/run/x.sock         a listening descriptor, and the lock beside its file (-1: none)
 *   life app=shop text=v1%20state=ok...                                    health/life's own line
 *   identity app=shop                                                      has a certificate and roots that are good
 *
 * Words are key=value; what is no printable ASCII, a blank or '%' is written %XX. A line or a key that is not known is passed over, so that a version may go back to the one before it. The
 * text lies in a memfd, whole before the new process begins: nobody has to wait for the rest of it. Descriptors are inherited under the numbers that the lines name; this room touches none.
 * Owner of a struct handover: sidecar/upgrade. */
#pragma once
#include <sys/types.h>
#include "base/addr.h"

enum { HANDOVER_DOORS_MAX = 4096, HANDOVER_LIVES_MAX = 4096, HANDOVER_TEXT_MAX = 4 << 20, HANDOVER_NAME = 256 };
struct handover_door { int fd, lock_fd; uint64_t dev, ino; struct addr addr; char name[HANDOVER_NAME]; /* of its socket unit, "" where it was ours */ };
struct handover_life { char *app, *text; };
struct handover {
	pid_t pid;                            /* 0: not told */
	uint64_t upgrades, failed;
	struct handover_door *doors; uint32_t ndoors;
	struct handover_life *lives; uint32_t nlives;
	char **identities; uint32_t nidentities; /* apps */
	uint32_t unknown, bad;                /* lines that were passed over: of a kind we do not know; that say nothing we could use */
};
/* 0; -EPROTO: no such text, or of a version that cannot be read (and `ret` is empty). */
int handover_parse(struct handover *ret, struct str text);
void handover_end(struct handover *h);    /* its descriptors are the caller's */

/* The other way. */
void handover_write_head(struct sb *out, pid_t pid, uint64_t upgrades, uint64_t failed);
void handover_write_door(struct sb *out, const struct handover_door *d);
void handover_write_life(struct sb *out, const char *app, struct str text);
void handover_write_identity(struct sb *out, const char *app);
