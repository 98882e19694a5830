/* lb/pool: connections to providers, shared by all who call the same addresses with the same options.
 *
 *   pools 1 --- n pool 1 --- n pool_conn 1 --- 0..1 dial (while CONNECTING)
 *                    |                     \-- 0..1 h2_conn (afterwards)
 *                    +-- n pool_wait (calls without a stream, first come first served; owned by their attempts)
 *                    +-- n pool_watch (hosts that mirror back-off and connection count)
 *
 * The life of a pool_conn:
 *
 *   CONNECTING --dial--> UP <--> VERIFYING (a PING is out, no new streams)
 *       |                 |          |
 *       | failed          | GOAWAY, ids used up, idle, pool without refs
 *       v                 v          v no ACK: closed
 *      gone            RETIRING --last stream ended--> gone
 *
 * Owner of a pool: its references (hosts); it leaves the table with the last one and is buried once its connections are gone. Owner of a
 * pool_conn: its pool. The h2_conn frees itself after on_closed; our pointer to it is forgotten there.
 *
 * Who opens connections: only pool_grow, and only one at a time, when calls wait (or when a GOAWAY takes away a connection in use). So
 * nothing here spins: a dead connection is replaced when somebody wants it, and after a failure not before the back-off is over.
 *
 * What counts as a failed connect: a dial that failed, and a connection that ended (or said GOAWAY) within EARLY_NS without having carried
 * a stream to its end: otherwise a provider that accepts and hangs up would be dialled as fast as calls come. */
#include "lb/pool.h"
#include "base/err.h"
#include "base/map.h"
#include <errno.h>
#include <stdlib.h>

#define SECOND_NS UINT64_C(1000000000)
#define BACKOFF_FIRST_NS (SECOND_NS / 10)
#define BACKOFF_MAX_NS (10 * SECOND_NS)
#define HURRY_NS (SECOND_NS / 100) /* doubles to 160 ms */
#define EARLY_NS (SECOND_NS / 10)
#define VERIFY_ACK_NS SECOND_NS
#define THAW_ACK_NS (SECOND_NS / 2) /* short: to give up one that lives costs a connection, to wait for one that is dead costs calls */
enum { THAW_PINGS_MAX = 512 }; /* at once; further connections are asked when a call wants them */

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
	const char *last_why;
	struct task dial_failed; /* a dial that could not even start: told after the caller of pool_open has returned */
	struct grave grave;
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
	bool early_told; /* its early death has been counted (GOAWAY, then closed) */
	struct timer idle, verify;
	struct grave grave;
};

static void pool_grow(struct pool *p);
static void pool_pump(struct pool *p);

/* ---- who is told ---------------------------------------------------------------------------------------------------------- */

static void pool_tell(struct pool *p)
{
	/* A watcher may unhook itself or another one: the list is walked by moving those that were told to its other end. */
	struct list told;

	list_init(&told);
	while (!list_empty(&p->watches)) {
		struct list *n = list_pop(&p->watches);
		struct pool_watch *w = list_entry(n, struct pool_watch, node);

		list_push(&told, n);
		w->changed(w);
	}
	list_splice(&p->watches, &told);
}

void pool_watch(struct pool *p, struct pool_watch *w, void (*changed)(struct pool_watch *))
{
	w->changed = changed;
	w->pool = p;
	p->watchers++;
	list_push(&p->watches, &w->node);
}

void pool_unwatch(struct pool_watch *w)
{
	struct pool *p = w->pool;

	list_del(&w->node);
	if (!p)
		return;
	p->watchers--;
	p->dead -= w->dead;
	w->pool = NULL;
	w->dead = false;
}

/* A waiting call is a reference: a host that leaves for another pool (its cluster's options changed) leaves its waiting calls here. */
static void wait_over(struct pool_wait *w)
{
	struct pool *p = w->pool;

	list_del(&w->node);
	p->pending--;
	p->may_connect -= !w->no_connect;
	w->pool = NULL;
	if (w->counter)
		(*w->counter)--;
	pool_unref(&p);
}

void pool_unwait(struct pool_wait *w)
{
	if (w->pool)
		wait_over(w);
}

/* ---- a connection's end --------------------------------------------------------------------------------------------------- */

static void conn_bury(struct grave *g)
{
	free(container_of(g, struct pool_conn, grave));
}

static void pool_bury(struct grave *g)
{
	struct pool *p = container_of(g, struct pool, grave);

	free(p->addrs);
	free(p->key);
	free(p);
}

/* Out of the table with the last reference, out of memory with the last connection. */
static void pool_maybe_end(struct pool *p)
{
	if (p->refs || !list_empty(&p->conns) || p->grave.dug)
		return;
	timer_cancel(p->pools->loop, &p->backoff);
	loop_undefer(&p->dial_failed);
	list_del(&p->node);
	loop_bury(p->pools->loop, &p->grave, pool_bury);
}

/* The counts of a state: every change of state passes here. */
static void conn_count(struct pool_conn *c, int32_t by)
{
	struct pool *p = c->pool;

	if (c->state == CONN_CONNECTING || c->state == CONN_VERIFYING)
		p->opening += (uint32_t)by;
	if (c->state == CONN_UP || c->state == CONN_VERIFYING)
		p->up += (uint32_t)by;
	if (c->state == CONN_RETIRING)
		p->retiring += (uint32_t)by;
}

static void conn_set(struct pool_conn *c, enum conn_state state)
{
	conn_count(c, -1);
	c->state = state;
	conn_count(c, 1);
}

/* Unhooks it; its dial and its h2_conn are gone or dealt with by the caller. */
static void conn_gone(struct pool_conn *c)
{
	struct pool *p = c->pool;
	struct loop *l = p->pools->loop;

	conn_count(c, -1);
	p->conn_count--;
	list_del(&c->node);
	timer_cancel(l, &c->idle);
	timer_cancel(l, &c->verify);
	loop_bury(l, &c->grave, conn_bury);
}

static bool conn_is_good(const struct pool_conn *c)
{
	return c->carried || c->pool->pools->loop->now_ns - c->up_ns >= EARLY_NS;
}

/* No new streams on it; it closes by itself when its last one has ended. */
static void conn_retire(struct pool_conn *c)
{
	if (c->state == CONN_RETIRING || c->state == CONN_CONNECTING)
		return;
	timer_cancel(c->pool->pools->loop, &c->idle);
	timer_cancel(c->pool->pools->loop, &c->verify);
	conn_set(c, CONN_RETIRING);
	h2_conn_drain(c->h2);
}

/* ---- failure and back-off ------------------------------------------------------------------------------------------------- */

static bool pool_must_not_dial(const struct pool *p)
{
	return p->backoff_until_ns > p->pools->loop->now_ns;
}

static void pool_fail_waits(struct pool *p, int err, const char *why)
{
	struct list failing;

	/* Only those that wait now: a call that comes back from its `failed` is refused by the back-off, but must not make this endless. */
	list_init(&failing);
	list_splice(&failing, &p->waits);
	while (!list_empty(&failing)) {
		struct pool_wait *w = list_entry(failing.next, struct pool_wait, node);

		wait_over(w);
		w->failed(w, err, why);
	}
}

static void backoff_over(struct timer *t)
{
	struct pool *p = container_of(t, struct pool, backoff);

	p->refs++;
	p->backoff_until_ns = 0;
	pool_tell(p);
	pool_grow(p);
	pool_unref(&p);
}

/* Full jitter: many sidecars that lost the same provider shall not come back to it together. */
static void pool_back_off(struct pool *p, int err, const char *why)
{
	struct loop *l = p->pools->loop;
	uint64_t most = p->failures < 7 ? BACKOFF_FIRST_NS << p->failures : BACKOFF_MAX_NS;

	if (most > BACKOFF_MAX_NS)
		most = BACKOFF_MAX_NS;
	if (p->failures < UINT32_MAX)
		p->failures++;
	p->last_err = err;
	p->last_why = why;
	p->failed_ns = l->now_ns;
	p->backoff_until_ns = l->now_ns + 1 + loop_random_below(l, most);
	timer_set(l, &p->backoff, p->backoff_until_ns, backoff_over);
	stat_inc(&l->stats, STAT_CONNECT_FAILED);
}

/* While another connection stands, the waiters go on waiting for room there. */
static void pool_connect_failed(struct pool *p, int err, const char *why)
{
	pool_back_off(p, err, why);
	pool_tell(p);
	if (!p->up && !p->opening)
		pool_fail_waits(p, err, why);
}

/* A connection that has stood its time ends the row of failures, but not of those that came after it: an old connection that lives says
 * nothing about whether a second one can be had. */
static void conn_proves(const struct pool_conn *c)
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

/* ---- idle connections ----------------------------------------------------------------------------------------------------- */

static void conn_idle(struct timer *t)
{
	struct pool_conn *c = container_of(t, struct pool_conn, idle);
	struct loop *l = c->pool->pools->loop;
	uint64_t after = c->pool->options.idle_timeout_ns;

	/* Looked at only when the timer comes: a call costs no timer. */
	if (h2_conn_streams(c->h2))
		timer_in(l, &c->idle, after, conn_idle);
	else if (l->now_ns - c->used_ns < after)
		timer_set(l, &c->idle, c->used_ns + after, conn_idle);
	else
		conn_retire(c);
}

/* A daemon that ends keeps no connection that nobody uses. */
static void conn_last_call(struct pool_conn *c)
{
	if (c->pool->pools->draining && c->state == CONN_UP && !c->pool->pending && !h2_conn_streams(c->h2))
		conn_retire(c);
}

/* ---- verifying ------------------------------------------------------------------------------------------------------------ */

static void conn_verify_dead(struct timer *t)
{
	struct pool_conn *c = container_of(t, struct pool_conn, verify);

	h2_conn_close(c->h2, H2_NO_ERROR); /* on_closed does the rest */
}

static bool is_asked_by_thaw(const struct pool_conn *c)
{
	return c->thaws != c->asked_thaws;
}

/* After a thaw: whoever waits goes to another provider now, for the connect timeout of an address that is gone is longer than calls live. Streams that were there before may
 * still be answered; they have the time of a connect. */
static void conn_lost_in_thaw(struct pool_conn *c)
{
	struct pool *p = c->pool;
	bool in_use = h2_conn_streams(c->h2) > 0;

	stat_inc(&c->loop->stats, STAT_THAW_CONNS);
	p->refs++;
	c->early_told = true;
	if (in_use) {
		conn_retire(c);
		timer_in(c->loop, &c->verify, p->options.connect_timeout_ns, conn_verify_dead);
	} else {
		conn_set(c, CONN_RETIRING);
		h2_conn_close(c->h2, H2_NO_ERROR);
	}
	pool_connect_failed(p, -ETIMEDOUT, "no answer to a PING after the process had stood still");
	pool_unref(&p);
}

static void conn_verify_late(struct timer *t)
{
	struct pool_conn *c = container_of(t, struct pool_conn, verify);

	if (is_asked_by_thaw(c))
		conn_lost_in_thaw(c);
	else
		conn_verify_dead(t);
}

static void conn_ponged(void *user, bool acked)
{
	struct pool_conn *c = user;
	struct pool *p = c->pool;

	if (!acked)
		return; /* lost: on_closed follows */
	timer_cancel(c->loop, &c->verify);
	if (c->state != CONN_VERIFYING)
		return; /* retiring: nobody waits for it */
	c->thaws = c->asked_thaws; /* an answer to what was asked before a thaw says nothing about now */
	conn_set(c, CONN_UP);
	p->refs++;
	pool_pump(p);
	conn_last_call(c);
	pool_unref(&p);
}

/* Is it in doubt whether the other side is still there? After a freeze all connections are, otherwise one that has been silent for long
 * and that no call depends on: with calls on it a provider that is busy for a while would lose them. */
static bool conn_is_doubtful(const struct pool_conn *c)
{
	const struct loop *l = c->pool->pools->loop;
	uint64_t after = c->pool->options.verify_after_ns;

	if (c->thaws != stat_get(&l->stats, STAT_THAWS))
		return true;
	return after && l->now_ns - h2_conn_last_read_ns(c->h2) > after && h2_conn_streams(c->h2) == 0;
}

/* False: it could not be asked, so it is taken as it is. */
static bool conn_verify(struct pool_conn *c)
{
	struct loop *l = c->pool->pools->loop;
	uint64_t patience = c->pool->options.connect_timeout_ns;

	if (h2_conn_ping(c->h2, conn_ponged, c) < 0)
		return false;
	c->asked_thaws = stat_get(&l->stats, STAT_THAWS);
	if (patience > (is_asked_by_thaw(c) ? THAW_ACK_NS : VERIFY_ACK_NS))
		patience = is_asked_by_thaw(c) ? THAW_ACK_NS : VERIFY_ACK_NS;
	conn_set(c, CONN_VERIFYING);
	timer_in(l, &c->verify, patience, conn_verify_late);
	return true;
}

/* ---- giving streams ------------------------------------------------------------------------------------------------------- */

static uint32_t conn_room(const struct pool_conn *c)
{
	uint32_t room = h2_conn_room(c->h2), most = c->pool->options.max_streams, open;

	if (!most)
		return room;
	open = h2_conn_streams(c->h2);
	if (open >= most)
		return 0;
	return room < most - open ? room : most - open;
}

static struct stream *conn_open(struct pool_conn *c, const struct stream_events *ev, void *user)
{
	struct stream *s = h2_conn_open(c->h2, ev, user);

	if (!s)
		return NULL;
	c->opened++;
	c->used_ns = c->loop->now_ns;
	conn_proves(c);
	return s;
}

/* A stream on the first connection that has room and is known to be alive; those in doubt are asked on the way. */
static struct stream *pool_stream(struct pool *p, const struct stream_events *ev, void *user)
{
	list_each(n, tmp, &p->conns)
	{
		struct pool_conn *c = list_entry(n, struct pool_conn, node);
		struct stream *s;

		if (c->state != CONN_UP || !conn_room(c))
			continue;
		if (conn_is_doubtful(c) && conn_verify(c))
			continue;
		s = conn_open(c, ev, user);
		if (s)
			return s;
	}
	return NULL;
}

/* Room has come: first come, first served. The caller holds the pool. */
static void pool_pump(struct pool *p)
{
	while (!list_empty(&p->waits)) {
		struct pool_wait *w = list_entry(p->waits.next, struct pool_wait, node);
		struct stream *s = pool_stream(p, w->ev, w->user);

		if (!s)
			break;
		wait_over(w);
		w->ready(w, s);
	}
	pool_grow(p);
}

/* The policy chooses a pool in back-off only where no other host is left: then calls wait for a dial that begins soon after the last failure, so
 * that a provider that is back is found by the first call and not by the end of the back-off, and a call fails only by a dial made for it. */
static void pool_hurry(struct pool *p)
{
	struct loop *l = p->pools->loop;
	uint64_t gap_ns = HURRY_NS << (p->failures < 5 ? p->failures : 5) >> 1, at_ns = p->failed_ns + gap_ns;

	if (at_ns >= p->backoff_until_ns)
		return;
	p->backoff_until_ns = at_ns > l->now_ns ? at_ns : l->now_ns + 1;
	timer_set(l, &p->backoff, p->backoff_until_ns, backoff_over);
}

struct stream *pool_open(
	struct pool *p, struct pool_wait *w, const struct stream_events *ev, void *user, int *ret_err, const char **ret_why)
{
	struct stream *s = pool_stream(p, ev, user);

	*ret_err = 0;
	if (s)
		return s;
	if (!p->up && !p->opening) {
		if (w->no_connect) {
			*ret_err = ERR_LIMIT;
			*ret_why = "the cluster's max_connections";
			return NULL;
		}
		if (pool_must_not_dial(p))
			pool_hurry(p);
	}
	if (w->counter && *w->counter >= w->counter_max) {
		*ret_err = ERR_LIMIT;
		*ret_why = "the cluster's max_pending";
		return NULL;
	}
	w->pool = pool_ref(p);
	w->ev = ev;
	w->user = user;
	if (w->counter)
		(*w->counter)++;
	p->pending++;
	p->may_connect += !w->no_connect;
	list_push(&p->waits, &w->node);
	pool_grow(p);
	return NULL;
}

/* ---- connections come and go ---------------------------------------------------------------------------------------------- */

static void dialled(void *owner, struct dial *d, struct h2_conn *h2, int err, const char *why);
static const struct h2_client_events conn_events;
static const char goaway_at_once[] = "the provider sent GOAWAY at once";

static void dial_failed(struct task *t)
{
	struct pool *p = container_of(t, struct pool, dial_failed);

	p->refs++;
	pool_tell(p);
	if (!p->up && !p->opening)
		pool_fail_waits(p, p->last_err, p->last_why);
	pool_unref(&p);
}

static void pool_dial(struct pool *p)
{
	struct loop *l = p->pools->loop;
	struct pool_conn *c = xnew(struct pool_conn);
	struct dial_spec spec = {
		.addrs = p->addrs,
		.count = p->addr_count,
		.timeout_ns = p->options.connect_timeout_ns,
		.limits = p->pools->limits,
		.account = &l->memory,
	};
	int err;

	c->pool = p;
	c->loop = l;
	c->state = CONN_CONNECTING;
	conn_count(c, 1);
	p->conn_count++;
	list_push(&p->conns, &c->node);
	err = dial_start(l, &spec, &conn_events, c, dialled, &c->dial);
	if (err < 0) {
		conn_gone(c);
		pool_back_off(p, err, err_text(err));
		loop_defer(l, &p->dial_failed, dial_failed);
		return;
	}
	pool_tell(p);
}

/* One more connection if calls wait, nothing is on its way for them already, and the limits allow. */
static void pool_grow(struct pool *p)
{
	bool first = p->conn_count == p->retiring;

	if (list_empty(&p->waits) || p->opening || pool_must_not_dial(p))
		return;
	if (p->conn_count - p->retiring >= p->options.max_connections)
		return;
	/* Calls of a cluster that is at its max_connections wait for room, but where there is nothing left to wait for, they may have one. */
	if (p->may_connect || first)
		pool_dial(p);
}

static void dialled(void *owner, struct dial *d, struct h2_conn *h2, int err, const char *why)
{
	struct pool_conn *c = owner;
	struct pool *p = c->pool;
	struct loop *l = c->loop;

	(void)d;
	c->dial = NULL;
	p->refs++;
	if (!h2) {
		conn_gone(c);
		pool_connect_failed(p, err, why);
		pool_unref(&p);
		return;
	}
	c->h2 = h2;
	if (p->pools->first_id)
		h2_conn_set_ids(h2, p->pools->first_id, p->pools->last_id);
	c->up_ns = c->used_ns = l->now_ns;
	c->thaws = c->asked_thaws = stat_get(&l->stats, STAT_THAWS);
	conn_set(c, CONN_UP);
	stat_inc(&l->stats, STAT_CONNS_UP_TOTAL);
	if (p->options.idle_timeout_ns)
		timer_in(l, &c->idle, p->options.idle_timeout_ns, conn_idle);
	if (!h2_conn_is_up(h2)) { /* SETTINGS and GOAWAY in one */
		c->early_told = true;
		conn_retire(c);
		pool_connect_failed(p, ERR_REFUSED, goaway_at_once);
	} else {
		pool_tell(p);
		pool_pump(p);
		conn_last_call(c);
	}
	pool_unref(&p);
}

static void on_up(void *owner)
{
	(void)owner; /* net/dial hands the connection over when it is up */
}

/* A stream ended, or the peer allows more. */
static void on_room(void *owner)
{
	struct pool_conn *c = owner;
	struct pool *p = c->pool;

	if (!p || !c->h2)
		return;
	c->used_ns = c->loop->now_ns;
	c->carried |= h2_conn_is_up(c->h2) && h2_conn_streams(c->h2) < c->opened;
	if (list_empty(&p->waits) && !p->pools->draining)
		return;
	p->refs++;
	pool_pump(p);
	conn_last_call(c);
	pool_unref(&p);
}

/* Calls wait, but there is no connection to wait for and none may be made before the back-off is over. */
static bool pool_is_lost(const struct pool *p)
{
	return !p->up && !p->opening && pool_must_not_dial(p);
}

static void pool_give_up(struct pool *p)
{
	if (pool_is_lost(p))
		pool_fail_waits(p, p->last_err, p->last_why);
}

static void on_goaway(void *owner)
{
	struct pool_conn *c = owner;
	struct pool *p = c->pool;
	bool in_use;

	if (!p || !c->h2 || c->state == CONN_RETIRING)
		return;
	in_use = h2_conn_streams(c->h2) > 0;
	p->refs++;
	if (conn_is_good(c)) {
		conn_proves(c);
		/* The replacement goes out first: the next call shall find it up and not wait for it. */
		if (in_use && !p->opening && !pool_must_not_dial(p) && !p->pools->draining)
			pool_dial(p);
		conn_retire(c);
		pool_tell(p);
		pool_grow(p);
		if (pool_is_lost(p)) /* told later: ids that run out say so while a stream is being given, perhaps to the first who waits */
			loop_defer(c->loop, &p->dial_failed, dial_failed);
	} else {
		c->early_told = true;
		conn_retire(c);
		pool_connect_failed(p, ERR_REFUSED, goaway_at_once);
	}
	pool_unref(&p);
}

static void on_closed(void *owner, int err, uint64_t streams_carried)
{
	struct pool_conn *c = owner;
	struct pool *p = c->pool;
	bool early;

	(void)streams_carried; /* says nothing about whether they were answered */
	c->h2 = NULL;
	if (!p) {
		loop_bury(c->loop, &c->grave, conn_bury);
		return;
	}
	p->refs++;
	early = c->state != CONN_RETIRING && !conn_is_good(c);
	if (!early && !c->early_told)
		conn_proves(c);
	conn_gone(c);
	if (early) {
		pool_connect_failed(p, err ? err : ERR_CLOSED, "the provider closed the connection at once");
	} else {
		pool_tell(p);
		pool_grow(p);
		pool_give_up(p);
	}
	pool_unref(&p);
}

static const struct h2_client_events conn_events = {on_up, on_room, on_goaway, on_closed};

/* ---- what checks of the provider have to do with it ------------------------------------------------------------------------ */

struct h2_conn *pool_lend(struct pool *p)
{
	list_each(n, tmp, &p->conns)
	{
		const struct pool_conn *c = list_entry(n, struct pool_conn, node);

		if (c->state == CONN_UP && conn_room(c) && !conn_is_doubtful(c))
			return c->h2;
	}
	return NULL;
}

/* A dial that is on its way goes on: whether it succeeds says more than a check of before. */
void pool_retire(struct pool *p)
{
	p->refs++;
	list_each(n, tmp, &p->conns) conn_retire(list_entry(n, struct pool_conn, node));
	pool_tell(p);
	pool_grow(p);
	if (pool_is_lost(p))
		loop_defer(p->pools->loop, &p->dial_failed, dial_failed);
	pool_unref(&p);
}

void pool_says_dead(struct pool_watch *w, bool dead)
{
	struct pool *p = w->pool;

	if (!p || w->dead == dead)
		return;
	w->dead = dead;
	p->dead += dead ? 1 : UINT32_MAX;
	if (dead && p->dead == p->watchers)
		pool_retire(p);
}

/* ---- standing still --------------------------------------------------------------------------------------------------------- */

/* What was known of a provider that could not be reached is old: the next call may try it. */
static void pool_forgive(struct pool *p)
{
	p->failures = 0;
	if (!p->backoff_until_ns)
		return;
	p->backoff_until_ns = 0;
	timer_cancel(p->pools->loop, &p->backoff);
	pool_tell(p);
	pool_grow(p);
}

void pools_thaw(struct pools *all)
{
	uint32_t pings = 0;

	list_each(n, tmp, &all->pools)
	{
		struct pool *p = list_entry(n, struct pool, node);

		p->refs++;
		pool_forgive(p);
		list_each(m, tmp2, &p->conns)
		{
			struct pool_conn *c = list_entry(m, struct pool_conn, node);

			if (c->state == CONN_UP && pings < THAW_PINGS_MAX && conn_is_doubtful(c))
				pings += conn_verify(c);
		}
		pool_unref(&p);
	}
}

void pool_turn_away(struct pool *p, const void *from, const char *why)
{
	struct list leaving;

	if (p->up)
		return;
	list_init(&leaving);
	p->refs++;
	list_each(n, tmp, &p->waits)
	{
		if (list_entry(n, struct pool_wait, node)->from != from)
			continue;
		list_del(n);
		list_push(&leaving, n);
	}
	while (!list_empty(&leaving)) {
		struct pool_wait *w = list_entry(leaving.next, struct pool_wait, node);

		wait_over(w);
		stat_inc(&p->pools->loop->stats, STAT_TURNED_AWAY);
		w->failed(w, ERR_CLOSED, why);
	}
	pool_unref(&p);
}

/* ---- pools ---------------------------------------------------------------------------------------------------------------- */

struct pools *pools_new(struct loop *l, const struct limits *lim)
{
	struct pools *p = xnew(struct pools);

	p->loop = l;
	p->limits = lim;
	map_init_borrowed(&p->by_key, loop_random(l));
	list_init(&p->pools);
	return p;
}

/* The parts of an address that make it one: what else lies in a sockaddr must not split a pool in two. */
static void key_addr(struct sb *key, const struct addr *a)
{
	char family = (char)a->sa.sa_family;

	sb_add(key, &family, 1);
	if (a->sa.sa_family == AF_INET) {
		sb_add(key, (const char *)&a->in4.sin_port, sizeof(a->in4.sin_port));
		sb_add(key, (const char *)&a->in4.sin_addr, sizeof(a->in4.sin_addr));
	} else if (a->sa.sa_family == AF_INET6) {
		sb_add(key, (const char *)&a->in6.sin6_port, sizeof(a->in6.sin6_port));
		sb_add(key, (const char *)&a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
		sb_add(key, (const char *)&a->in6.sin6_scope_id, sizeof(a->in6.sin6_scope_id));
	} else {
		sb_add(key, (const char *)&a->len, sizeof(a->len)); /* abstract names may hold any byte */
		sb_add(key, (const char *)&a->un, a->len);
	}
}

struct pool *pool_get(struct pools *ps, const struct addr *addrs, uint32_t n, const struct cluster_spec *spec)
{
	struct pool_options options;
	struct sb key = {0};
	struct pool *p;

	memset(&options, 0, sizeof(options));
	options.connect_timeout_ns = spec->connect_timeout_ns;
	options.idle_timeout_ns = spec->idle_timeout_ns;
	options.verify_after_ns = spec->verify_after_ns;
	options.max_connections = spec->max_connections_per_host ? spec->max_connections_per_host : 1;
	options.max_streams = spec->max_streams;
	sb_add(&key, (const char *)&options, sizeof(options));
	for (uint32_t i = 0; i < n; i++)
		key_addr(&key, &addrs[i]);

	p = map_get(&ps->by_key, sb_view(&key));
	if (p) {
		sb_end(&key);
		return pool_ref(p);
	}
	p = xnew(struct pool);
	p->pools = ps;
	p->refs = 1;
	p->options = options;
	p->addrs = xalloc((n ? n : 1) * sizeof(*addrs));
	if (n)
		memcpy(p->addrs, addrs, n * sizeof(*addrs));
	p->addr_count = n;
	p->key = key.p; /* taken: the map borrows it from here */
	p->key_len = key.n;
	list_init(&p->conns);
	list_init(&p->waits);
	list_init(&p->watches);
	list_push(&ps->pools, &p->node);
	map_put(&ps->by_key, str_n(p->key, p->key_len), p);
	return p;
}

struct pool *pool_ref(struct pool *p)
{
	p->refs++;
	return p;
}

/* A dial in progress is of no use to anybody any more, a connection lives until its streams are done. */
void pool_unref(struct pool **pp)
{
	struct pool *p = *pp;

	*pp = NULL;
	if (!p || --p->refs)
		return;
	if (!p->unlisted) {
		p->unlisted = true;
		map_del(&p->pools->by_key, str_n(p->key, p->key_len));
	}
	list_each(n, tmp, &p->conns)
	{
		struct pool_conn *c = list_entry(n, struct pool_conn, node);

		if (c->state == CONN_CONNECTING) {
			dial_cancel(&c->dial);
			conn_gone(c);
		} else {
			conn_retire(c);
		}
	}
	pool_maybe_end(p);
}

void pools_ids(struct pools *ps, uint32_t next, uint32_t last)
{
	ps->first_id = next;
	ps->last_id = last;
}

void pools_drain(struct pools *ps)
{
	ps->draining = true;
	list_each(n, tmp, &ps->pools)
	{
		struct pool *p = list_entry(n, struct pool, node);

		list_each(m, next, &p->conns) conn_last_call(list_entry(m, struct pool_conn, node));
	}
}

/* The connections end now. Whether on_closed comes during h2_conn_close or later, it finds a pool_conn without a pool. */
static void pool_abandon(struct pool *p)
{
	struct loop *l = p->pools->loop;

	while (!list_empty(&p->conns)) {
		struct pool_conn *c = list_entry(p->conns.next, struct pool_conn, node);

		list_del(&c->node);
		timer_cancel(l, &c->idle);
		timer_cancel(l, &c->verify);
		c->pool = NULL;
		if (c->state == CONN_CONNECTING) {
			dial_cancel(&c->dial);
			loop_bury(l, &c->grave, conn_bury);
		} else {
			h2_conn_close(c->h2, H2_NO_ERROR);
		}
	}
	timer_cancel(l, &p->backoff);
	loop_undefer(&p->dial_failed);
	p->refs++; /* not the last one's cue to end it: that is done here */
	while (!list_empty(&p->waits))
		wait_over(list_entry(p->waits.next, struct pool_wait, node));
	for (struct list *n; (n = list_pop(&p->watches));)
		list_entry(n, struct pool_watch, node)->pool = NULL;
	list_del(&p->node);
	pool_bury(&p->grave);
}

void pools_free(struct pools **pps)
{
	struct pools *ps = *pps;

	*pps = NULL;
	if (!ps)
		return;
	while (!list_empty(&ps->pools))
		pool_abandon(list_entry(ps->pools.next, struct pool, node));
	map_end(&ps->by_key);
	free(ps);
}

/* ---- views ---------------------------------------------------------------------------------------------------------------- */

uint32_t pool_connections(const struct pool *p)
{
	return p->conn_count;
}

uint32_t pool_streams(const struct pool *p)
{
	uint32_t streams = 0;

	for (struct list *n = p->conns.next; n != &p->conns; n = n->next) {
		const struct pool_conn *c = list_entry(n, struct pool_conn, node);

		streams += c->h2 ? h2_conn_streams(c->h2) : 0;
	}
	return streams;
}

uint32_t pool_pending(const struct pool *p)
{
	return p->pending;
}

/* After a failure one call tries again, and until its connection is up the others go elsewhere: each would pay a move for what one finds out. */
bool pool_in_backoff(const struct pool *p)
{
	if (p->up)
		return false;
	return p->opening ? p->failures > 0 : p->backoff_until_ns > 0;
}

const char *pool_state(const struct pool *p)
{
	if (p->up)
		return "up";
	if (p->opening)
		return "connecting";
	return p->backoff_until_ns ? "backoff" : "idle";
}

const char *pool_last_error(const struct pool *p)
{
	return p->up ? NULL : p->last_why;
}

/* The connection that holds the most, among those that hold less than `below`. */
static struct pool_conn *pools_largest(struct pools *ps, size_t below, size_t *ret_held)
{
	struct pool_conn *largest = NULL;
	size_t most = 0;

	list_each(n, tmp, &ps->pools)
	{
		struct pool *p = list_entry(n, struct pool, node);

		list_each(m, next, &p->conns)
		{
			struct pool_conn *c = list_entry(m, struct pool_conn, node);
			size_t held = c->h2 ? h2_conn_memory(c->h2) : 0;

			if (held > most && held < below) {
				most = held;
				largest = c;
			}
		}
	}
	*ret_held = most;
	return largest;
}

void pools_shed(struct pools *ps)
{
	enum { TRIES = 8 }; /* what a connection holds need not be a stream's: then the next largest */
	size_t held = SIZE_MAX;

	for (int i = 0; i < TRIES; i++) {
		struct pool_conn *c = pools_largest(ps, held, &held);

		if (!c || h2_conn_shed(c->h2))
			return;
	}
}
