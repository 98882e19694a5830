/* lb/pool: connections to providers, shared by all who call the same addresses with the same options, and the calls that wait for them. A connection's life: lb/pool_conn.c.
 *
 * Who opens connections: only pool_grow, and only one at a time, when calls wait (or when a GOAWAY takes away a connection in use). So
 * nothing here spins: a dead connection is replaced when somebody wants it, and after a failure not before the back-off is over. */
#include "base/err.h"
#include "lb/pool_int.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BACKOFF_FIRST_NS (SECOND_NS / 10)
#define BACKOFF_MAX_NS (10 * SECOND_NS)
#define HURRY_NS (SECOND_NS / 100) /* doubles to 160 ms */
enum { WHY_MAX = 256 }; /* of a reason that is told to the calls that waited */
enum { THAW_PINGS_MAX = 512 }; /* at once; further connections are asked when a call wants them */

/* ---- who is told ---------------------------------------------------------------------------------------------------------- */

void pool_tell(struct pool *p)
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

void pools_set_whose(struct pools *p, const char *(*fn)(const struct pool_watch *w))
{
	p->whose = fn;
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

/* ---- failure and back-off ------------------------------------------------------------------------------------------------- */

void pool_fail_waits(struct pool *p, int err, const char *why)
{
	struct list failing;
	char text[WHY_MAX];

	if (p->tls && why) { /* what comes of a failure may be another failure of this pool */
		snprintf(text, sizeof(text), "%s", why);
		why = text;
	}
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
void pool_back_off(struct pool *p, int err, const char *why)
{
	struct loop *l = p->pools->loop;
	uint64_t most = p->failures < 7 ? BACKOFF_FIRST_NS << p->failures : BACKOFF_MAX_NS;

	if (most > BACKOFF_MAX_NS)
		most = BACKOFF_MAX_NS;
	if (p->failures < UINT32_MAX)
		p->failures++;
	p->last_err = err;
	p->last_why = p->tls ? pool_tls_why(p, why) : why;
	p->failed_ns = l->now_ns;
	p->backoff_until_ns = l->now_ns + 1 + loop_random_below(l, most);
	timer_set(l, &p->backoff, p->backoff_until_ns, backoff_over);
	stat_inc(&l->stats, STAT_CONNECT_FAILED);
}

/* While another connection stands, the waiters go on waiting for room there. */
void pool_connect_failed(struct pool *p, int err, const char *why)
{
	pool_back_off(p, err, why);
	pool_tell(p);
	if (!p->up && !p->opening)
		pool_fail_waits(p, err, why);
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

void pool_pump(struct pool *p)
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
		if (pool_unusable(p)) {
			*ret_err = -ENOKEY;
			*ret_why = pool_unusable(p);
			return NULL;
		}
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

/* ---- one more connection --------------------------------------------------------------------------------------------------- */

static void dial_failed(struct task *t)
{
	struct pool *p = container_of(t, struct pool, dial_failed);

	p->refs++;
	pool_tell(p);
	if (!p->up && !p->opening)
		pool_fail_waits(p, p->last_err, p->last_why);
	pool_unref(&p);
}

void pool_failed_later(struct pool *p)
{
	loop_defer(p->pools->loop, &p->dial_failed, dial_failed);
}

void pool_grow(struct pool *p)
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
		pool_failed_later(p);
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
void pool_forgive(struct pool *p)
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

/* By what two pools are told apart: takes the key over. */
static struct pool *pool_by_key(struct pools *ps, struct sb *key, bool *ret_made)
{
	struct pool *p = map_get(&ps->by_key, sb_view(key));

	*ret_made = !p;
	if (p) {
		sb_end(key);
		return pool_ref(p);
	}
	p = xnew(struct pool);
	p->pools = ps;
	p->refs = 1;
	p->key = key->p; /* the map borrows it from here */
	p->key_len = key->n;
	list_init(&p->conns);
	list_init(&p->waits);
	list_init(&p->watches);
	list_push(&ps->pools, &p->node);
	map_put(&ps->by_key, str_n(p->key, p->key_len), p);
	return p;
}

/* Behind the addresses; each of these begins with the number of its family, which none of the two letters is. */
static void key_transport(struct sb *key, const struct transport *t, const char *host)
{
	if (!t)
		return;
	sb_add(key, "T", 1);
	sb_add(key, (const char *)&t, sizeof(t));
	sb_str(key, host ? host : "");
}

struct pool *pool_get(struct pools *ps, const struct addr *addrs, uint32_t n, const struct cluster_spec *spec, struct transport *transport, const char *host)
{
	struct pool_options options;
	struct sb key = {0};
	struct pool *p;
	bool made;

	if (!transport || !transport_asks_host(transport)) /* then nobody asks for the name, and endpoints that differ in it alone share a pool */
		host = NULL;
	memset(&options, 0, sizeof(options));
	options.connect_timeout_ns = spec->connect_timeout_ns;
	options.idle_timeout_ns = spec->idle_timeout_ns;
	options.verify_after_ns = spec->verify_after_ns;
	options.max_connections = spec->max_connections_per_host ? spec->max_connections_per_host : 1;
	options.max_streams = spec->max_streams;
	sb_add(&key, (const char *)&options, sizeof(options));
	for (uint32_t i = 0; i < n; i++)
		key_addr(&key, &addrs[i]);
	key_transport(&key, transport, host);
	p = pool_by_key(ps, &key, &made);
	if (!made)
		return p;
	p->options = options;
	p->addrs = xalloc((n ? n : 1) * sizeof(*addrs));
	if (n)
		memcpy(p->addrs, addrs, n * sizeof(*addrs));
	p->addr_count = n;
	if (transport)
		pool_tls_begin(p, transport, host, NULL);
	return p;
}

struct pool *pool_none(struct pools *ps, const char *why)
{
	struct sb key = {0};
	struct pool *p;
	bool made;

	sb_str(&key, "none ");
	sb_str(&key, why);
	p = pool_by_key(ps, &key, &made);
	if (made)
		pool_tls_begin(p, NULL, NULL, why);
	return p;
}

struct pool *pool_ref(struct pool *p)
{
	p->refs++;
	return p;
}

/* ---- its end ---------------------------------------------------------------------------------------------------------------- */

static void pool_bury(struct grave *g)
{
	struct pool *p = container_of(g, struct pool, grave);

	pool_tls_end(p);
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
	pool_tls_end(p); /* now: a transport that nobody uses any more has nobody to tell */
	list_del(&p->node);
	loop_bury(p->pools->loop, &p->grave, pool_bury);
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

		if (c->state == CONN_CONNECTING)
			conn_give_up(c);
		else
			conn_retire(c);
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

/* The connections end now. */
static void pool_abandon(struct pool *p)
{
	struct loop *l = p->pools->loop;

	while (!list_empty(&p->conns))
		conn_abandon(list_entry(p->conns.next, struct pool_conn, node));
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

/* After a failure one call tries again, and until its connection is up the others go elsewhere: each would pay a move for what one finds out. */
bool pool_in_backoff(const struct pool *p)
{
	if (p->up)
		return false;
	if (__builtin_expect(p->tls != NULL, 0) && p->tls->unusable)
		return true; /* a call that comes here fails: for when there is nobody else */
	return p->opening ? p->failures > 0 : p->backoff_until_ns > 0;
}

const char *pool_state(const struct pool *p)
{
	if (p->up)
		return "up";
	if (p->opening)
		return "connecting";
	if (pool_unusable(p))
		return "no TLS";
	return p->backoff_until_ns ? "backoff" : "idle";
}

const char *pool_last_error(const struct pool *p)
{
	return p->up ? NULL : pool_unusable(p) ? pool_unusable(p) : p->last_why;
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
