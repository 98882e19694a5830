/* health/life: an app's own life: what it says of itself (ok, fail), what is seen of it (its processes, its checks), and what follows from both.
 *
 *                 ok            fail, a lease that ran out, no connection for gone_after
 *   UNKNOWN ----------> OK -----------------------------------------------> FAILING --nothing inbound in flight, announced--> DRAINED
 *      |                ^ |  last watched process ended                        ^
 *      +----------------+ +---------------------------> GONE                  |  checks: OK <--> FAILING; what was posted as fail stays until ok is posted
 *                       +---- ok from any state
 *
 * The state is open (calls may come in, the mesh is told "healthy") in OK only. Each transition is logged once, counted, and told to `changed` in the same turn.
 * One a declared app. Owner: sidecar/app. Knows no socket and no mesh. */
#pragma once
#include "base/limits.h"
#include "conf/health.h"
#include "net/proc.h"
#include "net/sock.h"

enum life_state { LIFE_UNKNOWN, LIFE_OK, LIFE_FAILING, LIFE_GONE, LIFE_DRAINED };
enum { LIFE_STATES = LIFE_DRAINED + 1, LIFE_PIDS_MAX = 64 };
const char *life_state_name(enum life_state s);   /* "unknown", "ok", "failing", "gone", "drained" */
struct life;
struct life_spec {
	struct loop *loop; struct log *log; const struct limits *limits; struct account *account; /* borrowed */
	const char *name;                      /* the app's; borrowed */
	void (*changed)(void *ctx, struct life *l, enum life_state was);
	void (*closed)(void *ctx, struct life *l); /* it was said that it is closed (fail, the end of a lease, the daemon goes): whoever announces it does so now, then life_announced. NULL: nobody */
	void (*idle)(void *ctx, struct life *l);   /* nothing inbound is in flight any more, and all watchers of it were told (life_wait) */
	void *ctx;
};
struct life_conf {                             /* of apps[].health; copied but for check */
	const struct health_check *check;      /* NULL: none; borrowed from the counted conf: life_conf is called before that goes */
	uint64_t gone_after_ns;                /* 0: off */
	bool watch;                            /* processes that carry calls are watched */
};
struct life *life_new(const struct life_spec *spec);
void life_close(struct life *l);           /* looks at nothing any more: no check, no process, no timer. A few turns later life_free is allowed: connections of a check are gone then */
void life_free(struct life **l);
void life_conf(struct life *l, const struct life_conf *c);  /* at start and at each reload: an equal check goes on */

/* What the app says. by: who asked (may be unknown), for the log. Repeated posts renew what they say and are no transition. */
int life_ok(struct life *l, const struct sock_cred *by, uint64_t ttl_ns /* 0: for good; else it fails by itself when it is not renewed in time */); /* 0, or -ESRCH: the word of a watched process whose
	end was seen before it, with nobody else left: it was not heard */
void life_fail(struct life *l, const struct sock_cred *by, const char *why);
/* What is seen. A process is counted once, however often it is named. 0, or negative: can't be watched (net/proc.h), which is logged once and changes nothing. */
int life_watch_peer(struct life *l, const struct sock *peer);
int life_watch_pid(struct life *l, pid_t pid);
int life_watch_caller(struct life *l, const struct sock *peer); /* a connection that carries calls: as life_watch_peer where life_conf.watch allows it, else 0 */
void life_connections(struct life *l, uint32_t count);       /* of the app, on its own doors: for gone_after */
/* Calls that came in for the app. */
void life_inbound(struct life *l, int by /* +1, -1 */);
uint32_t life_in_flight(const struct life *l);
/* Everybody outside who is to hear of a fail has heard of it, and the time for that to spread (drain.announce) is over: the other half of DRAINED. Harmless in other states. */
void life_announced(struct life *l);
/* The daemon goes. */
void life_leave(struct life *l);           /* as a fail, without being one of the app's: state FAILING, "the daemon is going" */

enum life_state life_state(const struct life *l);
static inline bool life_is_open_state(enum life_state s) { return s == LIFE_OK; }
bool life_is_open(const struct life *l);
struct life_view {
	enum life_state state; uint64_t since_ns, since_wall_ns, transitions[LIFE_STATES]; const char *why; /* "" */
	uint32_t uid; int pid; bool known;     /* who asked last */
	uint64_t lease_until_ns;               /* 0: none */
	uint32_t in_flight, processes;
	const char *check;                     /* NULL: none; "pending", "passed", "failed" */
};
void life_view(const struct life *l, struct life_view *ret);
/* One line for another process of this daemon that takes over (hot upgrade): state, since, lease, processes; and back. restore: false: not understood, nothing was changed. */
void life_save(const struct life *l, struct sb *out);
bool life_restore(struct life *l, struct str text);
/* fn once, when nothing inbound is in flight, or after at most max_ns; never before return. drained: nothing was. */
struct life_wait { struct list node; struct timer timer; struct task task; void (*fn)(struct life_wait *w, bool drained); struct life *life; };
void life_wait(struct life *l, struct life_wait *w, uint64_t max_ns, void (*fn)(struct life_wait *w, bool drained));
void life_unwait(struct life_wait *w);     /* harmless when not waiting */
