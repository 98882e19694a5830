/* tests/sim/simnet: a network and a clock that are ours: struct loop_ops in memory.
 *
 * One simnet has one loop; app, sidecar and providers of a test all live on it. Listeners are found by address (any kind, Unix paths
 * included); a connection is two byte queues of bounded size. Time moves only inside the wait of a turn and jumps from event to
 * event: nothing sleeps. All chance comes from the seed, and every event goes into a running hash: same seed, same hash.
 * Owner of the simnet: the test; it owns the loop, listeners and connections that are left at the end. */
#pragma once
#include "net/loop.h"
#include "net/sock.h"

struct simnet;
struct simnet *simnet_new(uint64_t seed);
void simnet_free(struct simnet **n);           /* the loop too; what hangs on the loop must be gone, or its accounts tell */
struct loop *simnet_loop(struct simnet *n);

/* ---- time ---- */
void simnet_advance(struct simnet *n, uint64_t ns);  /* turns until so much time has passed, and all that is to be done then is done; 0: settle */
bool simnet_run_until(struct simnet *n, bool (*pred)(void *ctx), void *ctx, uint64_t max_ns); /* false: it did not come true in max_ns */
void simnet_freeze(struct simnet *n, uint64_t ns);   /* the clock jumps during the next wait, as if the process had been stopped */
uint64_t simnet_now_ns(const struct simnet *n);
void simnet_after_turn(struct simnet *n, void (*fn)(void *ctx), void *ctx); /* called after each turn: for what must always hold */

/* ---- what the network is like; may be changed at any time ---- */
struct simnet_knobs {
	uint32_t capacity;       /* bytes a direction holds unread: 65536 */
	uint32_t backlog;        /* connections a listener holds unaccepted (0: as it asked for); a Unix client beyond it gets EAGAIN */
	uint64_t latency_ns;     /* one way: 0 */
	bool shuffle;            /* what is ready is served in random order */
	uint32_t hold_percent;   /* a ready socket is not served in this turn */
	uint32_t short_percent;  /* recv and writev take a random part */
	uint32_t again_percent;  /* recv and writev say EAGAIN though ready */
	uint32_t cut_ppm;        /* a recv or writev resets the connection (both ends) */
	uint32_t refuse_ppm;     /* a connect is refused */
	struct sock_cred cred;   /* of Unix clients to come: uid 1000, gid 1000, pid 1 */
};
struct simnet_knobs *simnet_knobs(struct simnet *n);

/* ---- trouble on purpose ---- */
enum { SIMNET_NORMAL = 0, SIMNET_HANG = 1 }; /* or a negative errno */
void simnet_on_connect(struct simnet *n, const struct addr *to, int outcome); /* what connects to this address get from now on */
void simnet_cut(struct sock *s, int err);             /* the connection of this end: both ends see err (0: the end of the stream) after what has arrived */
int simnet_cut_all(struct simnet *n, const struct addr *to, int err); /* all connections to an address (a dead provider); how many */
void simnet_fail_next(struct sock *s, int err);       /* the next recv or writev of this end returns err, once; the connection stays */
void simnet_stall(struct sock *s, bool stalled);      /* this end tells no readiness: a process that hangs */

/* ---- raw ends for misbehaving peers: connected at once, no events, no chance; recv and writev by hand. NULL: nobody listens ---- */
struct sock *simnet_connect(struct simnet *n, const struct addr *to);
struct addr simnet_addr(const char *text);            /* "10.0.0.1:80", "unix:/run/x.sock"; a bad text ends the test */

/* ---- looking ---- */
uint64_t simnet_trace(const struct simnet *n);        /* the hash of all that happened */
void simnet_note(struct simnet *n, uint64_t what);    /* the test's own events into the hash */
int simnet_open(const struct simnet *n);              /* ends that are not closed */
uint64_t simnet_random(struct simnet *n);             /* the seed's own, for tests that choose */
