/* lb/pool: all connections to one (address list, transport, protocol options). Hosts of several clusters and apps share a pool by
 * reference; two that want other TLS, or have other certificates, never do. Fills one connection to its limit before it opens the next; opens the replacement before a GOAWAY'd one retires; rolls stream ids over;
 * verifies a silent connection by PING before it carries a call; closes idle ones; backs off with jitter after failed connects. */
#pragma once
#include "base/limits.h"
#include "base/list.h"
#include "net/dial.h"
#include "net/stream.h"
#include "net/transport.h"
#include "conf/spec.h"

struct pools;
struct pool;
struct pools *pools_new(struct loop *l, const struct limits *lim);
void pools_free(struct pools **p);
void pools_drain(struct pools *p);
/* The process stood still: connections are asked for a PING now, all at once, and those that do not answer soon are given up; who waited for them fails and goes elsewhere. No back-off
 * outlives it. */
void pools_thaw(struct pools *p);
/* Connections to come number their streams from `next`, and are replaced towards `last` (tests reach the roll-over with it). */
void pools_ids(struct pools *p, uint32_t next, uint32_t last);

/* The pool for these addresses and options, counted. transport: NULL is plaintext; else its connections speak TLS by it (a ref is taken). host: the endpoint's own name, which TLS may ask
 * for (transport_asks_host); NULL: it has none. */
struct pool *pool_get(struct pools *p, const struct addr *addrs, uint32_t n, const struct cluster_spec *spec, struct transport *transport, const char *host);
/* The pool of those to whom no connection may be made: each call fails with `why` (copied). Counted; one for each reason. */
struct pool *pool_none(struct pools *p, const char *why);
struct pool *pool_ref(struct pool *p);
void pool_unref(struct pool **p);

/* A call that wants a stream. Owned by the attempt; zero = not waiting. */
struct pool_wait {
	struct list node;
	struct pool *pool;             /* set while waiting */
	const struct stream_events *ev; void *user;  /* for the stream, once there is one */
	void (*ready)(struct pool_wait *w, struct stream *s);
	void (*failed)(struct pool_wait *w, int err, const char *why); /* connect failed, timed out, limit; the call was not sent */
	uint32_t *counter, counter_max;/* set by host_open: the cluster's pending calls and their limit; counted here; NULL: none */
	const void *from;              /* set by host_open: the host; see pool_turn_away */
	bool no_connect;               /* set by host_open: the cluster may open no more connections, wait for those that are there */
};
/* A stream at once (returned; w is not used), or NULL with *ret_err 0: w waits, ready or failed follow later (never before return), or NULL with
 * *ret_err: ERR_LIMIT (cluster's max_pending / max_connections and nothing to wait for), and in back-off the call waits for a dial that is hurried (see pool.c).
 * Exchanges call host_open (lb/cluster.h), which knows the cluster's limits; this is what lies below it. */
struct stream *pool_open(struct pool *p, struct pool_wait *w, const struct stream_events *ev, void *user, int *ret_err, const char **ret_why);
void pool_unwait(struct pool_wait *w);
/* Who waits here by this host fails (and goes to another one), unless a connection stands. For hosts that left their set. */
void pool_turn_away(struct pool *p, const void *from, const char *why);
/* A stream of this pool ended: room may be given to waiters (h2's on_room tells; callers need nothing here). */
uint32_t pool_connections(const struct pool *p);  /* up or on their way, retiring ones included */
bool pool_in_backoff(const struct pool *p);    /* or trying the first time after one */
const char *pool_state(const struct pool *p); /* "idle", "connecting", "up", "backoff", "no TLS" (pool_none) */
const char *pool_last_error(const struct pool *p); /* why there is no connection; NULL: there is one, or nothing failed */
struct transport *pool_transport(const struct pool *p);   /* NULL: plaintext, or pool_none */
const char *pool_host(const struct pool *p);              /* as it was got; NULL */
const char *pool_unusable(const struct pool *p);          /* of pool_none: why; NULL: connections may be made */
/* Who answers, as the newest connection that came up has found. Texts live as long as the pool, and until its next connection. */
struct pool_peer { const char *kind; /* "plain", "tls" (we show nothing), "mtls" */ const char *identity, *version; /* "": none came up yet, or none is shown */ bool resumed; };
void pool_peer(const struct pool *p, struct pool_peer *ret);
/* Told when back-off begins or ends and when the number of connections changes, so that the cluster's hot records and counts follow. */
struct pool_watch { struct list node; void (*changed)(struct pool_watch *w); struct pool *pool; /* watched; NULL: none */ bool dead; };
void pool_watch(struct pool *p, struct pool_watch *w, void (*changed)(struct pool_watch *));
void pool_unwatch(struct pool_watch *w);
/* Of which cluster a watch is, for what is told of a connection that could not be made. Set once. */
void pools_set_whose(struct pools *p, const char *(*fn)(const struct pool_watch *w));
/* Who watches says whether the provider is dead, by what it knows (active checks). Once all who watch say so the pool retires (pool_retire); its watchers are told. */
void pool_says_dead(struct pool_watch *w, bool dead);
/* A connection that stands, has room for a stream and is not in doubt: for a probe, which opens one stream on it. NULL: there is none. Borrowed for this turn.
 * A probe's stream counts as use: a connection that carries probes does not become idle. */
struct h2_conn *pool_lend(struct pool *p);
/* The provider is said to be dead: connections without streams close now, the others after their last stream; the next call dials anew, and so do those that wait. */
void pool_retire(struct pool *p);
void pools_shed(struct pools *p);             /* hard memory limit: the largest stream of all connections ends */
