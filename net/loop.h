/* net/loop: the turn.
 *
 *   one turn:  read the ready sockets (128 KiB each at most) -> timers -> deferred work -> flush the dirty (at most two
 *              passes: a flush makes new work, the rest goes to the next turn, which does not block) -> bury the dead
 *
 * Everything that is time, randomness or I/O comes through `struct loop_ops` (the seam): loop_new_real() is libevent and the
 * kernel, the simulation in tests/sim/simnet.c is a virtual clock and in-memory sockets. So a whole sidecar runs in one process,
 * and a seed reproduces any run. One loop a daemon; everything mutable hangs on it or on struct sidecar.
 * Owner of the loop: sidecar (or a test). It outlives everything else. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/stats.h"

struct loop;
struct sock;
struct sock_listen;
struct proc_watch;
struct proc_child;

/* The seam. ctx is the implementation's own. Sockets: see net/sock.h for what each function promises. */
struct loop_ops {
	uint64_t (*now_ns)(void *ctx);                       /* monotonic */
	uint64_t (*wall_ns)(void *ctx);                      /* since 1970; for logs, and to see a machine that was stopped and restored */
	void (*random)(void *ctx, void *out, size_t n);
	/* Waits until something is ready, at most timeout_ns (<0: for ever, 0: not at all); calls the readiness events of
	 * socks and listeners and the signal functions. Returns 0, or a negative errno when it can't go on. */
	int (*wait)(void *ctx, int64_t timeout_ns);
	int (*sock_connect)(void *ctx, struct loop *l, const struct addr *to, struct sock **ret);
	int (*sock_listen)(void *ctx, struct loop *l, int fd_or_minus1, const struct addr *at, int backlog, struct sock_listen **ret);
	/* Processes: net/proc.h, net/proc_int.h. NULL: there are none. peer NULL: by the number in w. proc_began: what tells a process from a later one of its number; 0: not known. */
	int (*proc_watch)(void *ctx, struct proc_watch *w, const struct sock *peer);
	void (*proc_unwatch)(void *ctx, struct proc_watch *w);
	uint64_t (*proc_began)(void *ctx, pid_t pid);
	int (*proc_owner)(void *ctx, pid_t pid, uid_t *ret);
	int (*proc_run)(void *ctx, struct proc_child *c, char *const *argv);
	void (*proc_kill)(void *ctx, struct proc_child *c);
	void (*end)(void *ctx);
	uint64_t (*asleep_ns)(void *ctx);                    /* time that now_ns left out: the machine slept; NULL: none ever */
};

/* Timers: a hierarchical wheel of 1 ms slots. The node is part of its owner's struct; zero-initialised = unarmed. */
struct timer { struct list node; uint64_t at_ns; void (*fn)(struct timer *t); uint16_t slot; bool armed, loose; };
/* Marked objects: flushed or buried at the end of the turn. Zero-initialised = not marked. */
struct dirty { struct list node; void (*flush)(struct dirty *d); bool marked; };
struct grave { struct list node; void (*bury)(struct grave *g); bool dug; };
struct task { struct list node; void (*fn)(struct task *t); bool queued; }; /* deferred: runs after the timers of this turn (or the next) */

struct loop {
	const struct loop_ops *ops;
	void *ops_ctx;
	uint64_t now_ns;          /* cached once a turn, and after the wait */
	uint64_t turn;            /* number of the turn */
	struct stats stats;
	struct log *log;          /* borrowed; may be NULL */
	struct account memory;    /* the process account: the root */
	struct buf_pool bufs;
	uint64_t rng[4];          /* xoshiro256**, seeded from ops->random */
	struct list dirty, graves, tasks;
	struct wheel *wheel;
	struct chunk *reading;    /* net/sock_read: what sockets are read into, one after the other; NULL: none */
	uint32_t reading_at;
	void *scratch;            /* LOOP_SCRATCH bytes for whoever runs right now; contents die with the function that fills it */
	struct fields_pool *fields; /* net/fields: free blocks of header lists */
	void *h2;                 /* net/h2_conn: shared callbacks, free lists */
	uint64_t expected_ns;     /* when this turn's wait has to end; UINT64_MAX: nobody knows */
	uint64_t waits_ns;        /* when it began */
	uint64_t continued_ns;    /* the last SIGCONT that was heeded; 0: none */
	bool busy;                /* this turn does more than relay small messages: its length is looked at (STAT_TURN_LONGEST) */
	bool awake;               /* this turn's wait is over: now_ns is fresh (loop_wake) */
	struct timer trim;
	uint64_t trimmed_ns;
	/* The sidecar's: its own pools; the clock jumped (told in that turn, before its timers). Either may be NULL. */
	void (*on_trim)(void *ctx), (*on_thaw)(void *ctx); void *hook_ctx;
	bool stopping;
	bool thawed;              /* the process stood still until this turn (see loop_freeze): timers were moved, connections shall verify */
	uint64_t stood_ns;        /* and they were moved by so much; */
	uint64_t stood_all_ns;    /* by all standstills together by so much */
	uint64_t asleep_ns, asleep_at_ns; /* what ops->asleep_ns said last, and when */
	bool tell_thaw;           /* on_thaw has not been told yet */
	bool frozen;              /* announced (loop_freeze): timers do not run */
	uint64_t frozen_ns;       /* since when */
	uint64_t frozen_tick_ns;  /* the next look at whether it came */
	int64_t frozen_wall_ns;   /* by how much the wall's clock was ahead of ours then */
	uint32_t frozen_ticks;
};
enum { LOOP_SCRATCH = 131072, LOOP_READ_MAX = 131072 };

struct loop *loop_new(const struct loop_ops *ops, void *ctx, struct log *log);
struct loop *loop_new_real(struct log *log);       /* libevent; NULL when the kernel refuses */
void loop_free(struct loop **l);
/* For implementations of `wait`: to be called before the first event of a wait is told, so that its listener sees a fresh now_ns. */
void loop_wake_slow(struct loop *l);
static inline void loop_wake(struct loop *l) { if (!l->awake) loop_wake_slow(l); }
int loop_turn(struct loop *l, int64_t max_wait_ns); /* one turn; waits no longer than max_wait (<0: as long as the timers allow) */
void loop_run(struct loop *l);                     /* turns until loop_stop */
void loop_stop(struct loop *l);
/* ---- standing still ----
 *
 * A process may stop for a while without knowing: SIGSTOP, the cgroup freezer, a machine that sleeps or is restored from a snapshot. What the peers did meanwhile is unknown, and what
 * did not happen meanwhile says nothing about anybody. Four things tell: a wait that ends more than a second late (so nothing is seen while no timer is armed), a clock that
 * counts sleep too, SIGCONT, and a runtime that announces it. All end in the same: timers are moved by the time that was lost, so each has left what it had (when exactly it began is
 * not known: it is taken for late in the wait, but so that half a second is left to what would be due at once, if it had as much); those that are
 * loose are drawn anew, for many copies of one snapshot would fire together; randomness is seeded anew; STAT_THAWS counts, and on_thaw is told.
 *
 * From loop_freeze to the thaw no timer runs: nothing new is begun, what is under way in sockets is finished. Whoever announced it and never froze gets its timers back after half
 * a minute. A thaw that nothing had gone before is one all the same: connections are verified before they carry calls. */
void loop_freeze(struct loop *l);                  /* again: harmless */
void loop_thaw(struct loop *l);                    /* tells on_thaw before it returns; not from within it */
void loop_continued(struct loop *l);               /* SIGCONT came: for handlers of signals, which run inside the wait */
/* A clock that stands still when the process does: for times that are kept and compared without a timer. */
static inline uint64_t loop_ran_ns(const struct loop *l) { return l->now_ns - l->stood_all_ns; }
/* As timer_set: but nobody minds if a standstill makes it come at any time before its own. */
void timer_set_loose(struct loop *l, struct timer *t, uint64_t at_ns, void (*fn)(struct timer *));
/* Callers went away: half a second later (at once when it was the last one) free lists go back to libc, and libc's free pages to the kernel. One timer, armed by this only. */
void loop_trim_soon(struct loop *l);
void loop_trim_later(struct loop *l, bool much); /* a connection of ours went: likewise, but once in ten seconds where they go all the time; once a second where many went together */

void timer_set(struct loop *l, struct timer *t, uint64_t at_ns, void (*fn)(struct timer *)); /* re-arms; at or before now: next turn's timers */
static inline void timer_in(struct loop *l, struct timer *t, uint64_t in_ns, void (*fn)(struct timer *)) { timer_set(l, t, l->now_ns + in_ns, fn); }
void timer_cancel_armed(struct loop *l, struct timer *t);
static inline bool timer_armed(const struct timer *t) { return t->armed; }
static inline void timer_cancel(struct loop *l, struct timer *t) { if (t->armed) timer_cancel_armed(l, t); } /* harmless when unarmed */

static inline void loop_dirty(struct loop *l, struct dirty *d, void (*flush)(struct dirty *))
{
	if (d->marked)
		return;
	d->marked = true;
	d->flush = flush;
	list_push(&l->dirty, &d->node);
}
static inline void loop_clean(struct dirty *d) { if (d->marked) { d->marked = false; list_del(&d->node); } }
static inline void loop_bury(struct loop *l, struct grave *g, void (*bury)(struct grave *))
{
	if (g->dug)
		return;
	g->dug = true;
	g->bury = bury;
	list_push(&l->graves, &g->node);
}
static inline void loop_defer(struct loop *l, struct task *t, void (*fn)(struct task *))
{
	if (t->queued)
		return;
	t->queued = true;
	t->fn = fn;
	list_push(&l->tasks, &t->node);
}
static inline void loop_undefer(struct task *t) { if (t->queued) { t->queued = false; list_del(&t->node); } }

uint64_t loop_random(struct loop *l);                          /* 64 bits */
uint64_t loop_random_below(struct loop *l, uint64_t n);        /* [0, n), n > 0 */

bool loop_is_real(const struct loop *l);            /* false in simulation: no files, no descriptors */
/* Real loop only (simulation: no-ops that return -ENOSYS). fn runs inside the wait of a turn. */
struct loop_signal;
int loop_signal(struct loop *l, int signo, void (*fn)(void *user, int signo), void *user);
/* Readiness of a descriptor that is no sock (c-ares, inotify, offload's pipe). what: 1 read, 2 write. */
struct loop_fd;
int loop_fd_add(struct loop *l, int fd, int what, void (*fn)(void *user, int fd, int what), void *user, struct loop_fd **ret);
void loop_fd_del(struct loop_fd **f);
