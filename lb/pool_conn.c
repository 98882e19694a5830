/* lb/pool_conn: the life of one connection to a provider. See lb/pool_int.h.
 *
 *   CONNECTING --dial--> UP <--> VERIFYING (a PING is out, no new streams)
 *       |                 |          |
 *       | failed          | GOAWAY, ids used up, idle, pool without refs
 *       v                 v          v no ACK: closed
 *      gone            RETIRING --last stream ended--> gone
 *
 * What counts as a failed connect: a dial that failed, and a connection that ended (or said GOAWAY) within EARLY_NS without having carried
 * a stream to its end: otherwise a provider that accepts and hangs up would be dialled as fast as calls come. */
#include "base/err.h"
#include "lb/pool_int.h"
#include <errno.h>
#include <stdlib.h>

#define VERIFY_ACK_NS SECOND_NS
#define THAW_ACK_NS (SECOND_NS / 2) /* short: to give up one that lives costs a connection, to wait for one that is dead costs calls */

/* ---- its states, and its end ----------------------------------------------------------------------------------------------- */

static void conn_bury(struct grave *g)
{
	free(container_of(g, struct pool_conn, grave));
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

void conn_retire(struct pool_conn *c)
{
	if (c->state == CONN_RETIRING || c->state == CONN_CONNECTING)
		return;
	timer_cancel(c->pool->pools->loop, &c->idle);
	timer_cancel(c->pool->pools->loop, &c->verify);
	conn_set(c, CONN_RETIRING);
	h2_conn_drain(c->h2);
}

void conn_give_up(struct pool_conn *c)
{
	dial_cancel(&c->dial);
	conn_gone(c);
}

/* Whether on_closed comes during h2_conn_close or later, it finds a pool_conn without a pool. */
void conn_abandon(struct pool_conn *c)
{
	list_del(&c->node);
	timer_cancel(c->loop, &c->idle);
	timer_cancel(c->loop, &c->verify);
	c->pool = NULL;
	if (c->state == CONN_CONNECTING) {
		dial_cancel(&c->dial);
		loop_bury(c->loop, &c->grave, conn_bury);
	} else {
		h2_conn_close(c->h2, H2_NO_ERROR);
	}
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

void conn_last_call(struct pool_conn *c)
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

bool conn_verify(struct pool_conn *c)
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

/* ---- it comes and goes ----------------------------------------------------------------------------------------------------- */

static void dialled(void *owner, struct dial *d, struct h2_conn *h2, int err, const char *why);
static const struct h2_client_events conn_events;
static const char goaway_at_once[] = "the provider sent GOAWAY at once";

void pool_dial(struct pool *p)
{
	struct loop *l = p->pools->loop;
	struct pool_conn *c = xnew(struct pool_conn);
	struct dial_spec spec = {
		.addrs = p->addrs,
		.count = p->addr_count,
		.timeout_ns = p->options.connect_timeout_ns,
		.limits = p->pools->limits,
		.account = &l->memory,
		.transport = p->tls ? p->tls->transport : NULL,
		.host_name = p->tls ? p->tls->host : NULL,
		.asker = {.name = pool_asker, .ctx = p},
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
		pool_failed_later(p);
		return;
	}
	pool_tell(p);
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
		if (p->tls)
			pool_tls_failed(p);
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
		if (p->tls)
			pool_tls_failed(p);
		pool_connect_failed(p, ERR_REFUSED, goaway_at_once);
	} else {
		if (__builtin_expect(p->tls != NULL, 0))
			pool_tls_up(c);
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
	c->carried |= h2_conn_has_answered(c->h2); /* the answer and the GOAWAY may have come in one read, before on_room */
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
			pool_failed_later(p);
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
