/* lb/pool_int: what pool.c (pools, the calls that wait, back-off), pool_conn.c (the life of one connection) and pool_tls.c (what TLS adds to a pool) share, and nobody else. See lb/pool.h.
 *
 *   pools 1 --- n pool 1 --- n pool_conn 1 --- 0..1 dial (while CONNECTING)
 *                    |                     \-- 0..1 h2_conn (afterwards)
 *                    +-- n pool_wait (calls without a stream, first come first served; owned by their attempts)
 *                    +-- n pool_watch (hosts that mirror back-off and connection count)
 *
 * Owner of a pool: its references (hosts); it leaves the table with the last one and is buried once its connections are gone. Owner of a
 * pool_conn: its pool. The h2_conn frees itself after on_closed; our pointer to it is forgotten there. */
#pragma once
#include "base/map.h"
#include "lb/pool.h"

#define SECOND_NS UINT64_C(1000000000)
#define EARLY_NS (SECOND_NS / 10)

/* What makes two pools one, beside the addresses. Zeroed as a whole before it is filled: it is hashed and compared as bytes. */
struct pool_options {
	uint64_t connect_timeout_ns, idle_timeout_ns, verify_after_ns;
	uint32_t max_connections, max_streams;
};

struct pools {
	struct loop *loop; /* borrowed */
	const struct limits *limits; /* borrowed */
	struct map by_key; /* pool_key -> pool */
	struct list pools; /* all, those without references included */
	bool draining;
	const char *(*whose)(const struct pool_watch *w); /* NULL: nobody knows */
	uint32_t first_id, last_id; /* 0: as h2_conn has them */
};

struct pool {
	struct list node; /* in pools->pools */
	struct pools *pools; /* borrowed */
	uint32_t refs; /* hosts, waiting calls, and whoever of us is telling others right now */
	bool unlisted; /* no longer in by_key */
	struct pool_options options;
	struct addr *addrs;
	uint32_t addr_count;
	char *key;
	size_t key_len;
	struct list conns; /* oldest first: calls are packed onto the first one that has room */
	uint32_t conn_count; /* in conns */
	uint32_t opening; /* of these CONNECTING or VERIFYING: waiters wait for them */
	uint32_t up; /* UP or VERIFYING */
	uint32_t retiring;
	struct list waits;
	uint32_t pending; /* in waits */
	uint32_t may_connect; /* of these: without no_connect */
	struct list watches;
	uint32_t watchers, dead; /* in watches; of these: who say that it is dead */
	uint32_t failures; /* in a row */
	uint64_t failed_ns; /* the last one */
	uint64_t backoff_until_ns;
	struct timer backoff;
	int last_err;
	const char *last_why; /* static, or in tls */
	struct pool_tls *tls; /* owned; NULL: plaintext, which pays no more than this */
	struct task dial_failed; /* a dial that could not even start: told after the caller of pool_open has returned */
	struct grave grave;
};

/* Of a pool with TLS, or that none can be had for. */
struct pool_tls {
	struct transport *transport; /* counted; NULL: nobody may be connected to, and `unusable` says why */
	struct transport_watch watch;
	struct pool *pool;
	char *host, *unusable;
	char *why;                   /* last_why: what TLS says lives for one turn only */
	char *identity;              /* of the newest connection that came up */
	char version[16];
	bool resumed;
};

enum conn_state { CONN_CONNECTING, CONN_UP, CONN_VERIFYING, CONN_RETIRING };
struct pool_conn {
	struct list node; /* in pool->conns */
	struct pool *pool; /* NULL: the pools are gone, it only waits for on_closed */
	struct loop *loop; /* borrowed */
	enum conn_state state;
	struct dial *dial;
	struct h2_conn *h2;
	uint64_t up_ns; /* since when it is up */
	uint64_t used_ns; /* when it last opened or ended a stream */
	uint64_t thaws; /* STAT_THAWS when it was last known to be alive, */
	uint64_t asked_thaws; /* and when it was asked */
	uint64_t opened; /* streams */
	bool carried; /* one of its streams has ended while it stood */
	bool stale; /* of TLS: its peer was judged by roots that are no longer trusted: it serves until another one does */
	bool early_told; /* its early death has been counted (GOAWAY, then closed) */
	struct timer idle, verify;
	struct grave grave;
};

/* lb/pool_conn.c. What changes a connection's state leaves it to the caller to tell the pool's watchers (pool_tell). */
void pool_dial(struct pool *p);               /* one more connection */
void conn_retire(struct pool_conn *c);        /* no new streams on it; it closes by itself when its last one has ended */
bool conn_verify(struct pool_conn *c);        /* a PING first. False: it could not be asked, so it is taken as it is */
void conn_last_call(struct pool_conn *c);     /* a daemon that ends keeps no connection that nobody uses */
void conn_give_up(struct pool_conn *c);       /* CONNECTING: the dial ends */
void conn_abandon(struct pool_conn *c);       /* it ends now, whatever is on it, and knows its pool no more */

/* lb/pool_tls.c */
void pool_tls_begin(struct pool *p, struct transport *transport, const char *host, const char *unusable);
void pool_tls_end(struct pool *p);
void pool_asker(const void *pool, struct sb *out); /* which services it is for: a transport_asker's */
void pool_tls_up(struct pool_conn *c);        /* a connection came up: who is it, and whom does it replace */
void pool_tls_failed(struct pool *p);         /* a dial failed: nobody replaces those whose peers are trusted no more */
const char *pool_tls_why(struct pool *p, const char *why); /* a copy, until the next one */

/* lb/pool.c */
void pool_forgive(struct pool *p);            /* what was known of it is old: no back-off any more */
void pool_tell(struct pool *p);
void pool_pump(struct pool *p);               /* room has come: first come, first served. The caller holds the pool */
void pool_grow(struct pool *p);               /* one more connection if calls wait, nothing is on its way for them already, and the limits allow */
void pool_connect_failed(struct pool *p, int err, const char *why);
void pool_back_off(struct pool *p, int err, const char *why);
void pool_fail_waits(struct pool *p, int err, const char *why);
void pool_failed_later(struct pool *p);       /* who waits is told of last_why by a task, unless a connection stands or is on its way by then */

static inline bool pool_must_not_dial(const struct pool *p)
{
	return p->backoff_until_ns > p->pools->loop->now_ns;
}

/* Calls wait, but there is no connection to wait for and none may be made before the back-off is over. */
static inline bool pool_is_lost(const struct pool *p)
{
	return !p->up && !p->opening && pool_must_not_dial(p);
}

static inline bool conn_is_good(const struct pool_conn *c)
{
	return c->carried || c->pool->pools->loop->now_ns - c->up_ns >= EARLY_NS;
}

/* A connection that has stood its time ends the row of failures, but not of those that came after it: an old connection that lives says
 * nothing about whether a second one can be had. */
static inline void conn_proves(const struct pool_conn *c)
{
	struct pool *p = c->pool;

	if (__builtin_expect(!p->failures, 1) || c->up_ns < p->failed_ns || !conn_is_good(c))
		return;
	p->failures = 0;
	p->last_err = 0;
	p->last_why = NULL;
	p->backoff_until_ns = 0;
	timer_cancel(c->loop, &p->backoff);
}

/* Is it in doubt whether the other side is still there? After a freeze all connections are, otherwise one that has been silent for long
 * and that no call depends on: with calls on it a provider that is busy for a while would lose them. */
static inline bool conn_is_doubtful(const struct pool_conn *c)
{
	const struct loop *l = c->pool->pools->loop;
	uint64_t after = c->pool->options.verify_after_ns;

	if (c->thaws != stat_get(&l->stats, STAT_THAWS))
		return true;
	return after && l->now_ns - h2_conn_last_read_ns(c->h2) > after && h2_conn_streams(c->h2) == 0;
}
