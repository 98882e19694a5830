/* sidecar/exchange_int: what the files of sidecar/exchange share, and nobody else. See sidecar/exchange.h for the object that all of them work on.
 *
 *   exchange          the way of a call from its head to its end, and every failure
 *   exchange_park     3 WANT: it waits for its name, or for the addresses of its cluster
 *   exchange_relay    7 RELAY: the bytes of both ends, and what is kept of the request for another attempt
 *   exchange_again    another attempt: moves, retries, and what a thaw holds back
 *   exchange_inbound  calls to the app, and questions about it
 *
 * Each room ends a call by exchange_fail alone, or goes on with it by exchange_name (from 2), exchange_go (from the route) or exchange_pick (from 5): a call that has been handed on may be
 * over when those return. */
#pragma once
#include "sidecar/deadline.h"
#include "sidecar/exchange.h"
#include "sidecar/sidecar.h"

/* ---- exchange ---- */
void exchange_finish(struct exchange *x);     /* the down end is gone (ended, or reset by us) and nothing is owed to anybody: the last step */
void exchange_drop_down(struct exchange *x);  /* no memory even for the answer: a reset is all that the app can be told */
void exchange_flag(struct exchange *x, const char *flag);
void exchange_name(struct exchange *x, const char *default_authority);
/* False: there is no such cluster, and the call was answered so. */
bool exchange_holds(struct exchange *x, struct mesh_cluster *mc, const char *why);
/* Its action and its cluster are there. hit: its name; NULL: it came in for the app. */
void exchange_go(struct exchange *x, const struct name_hit *hit);
/* retry: a policy's may go to where the call has been, if there is nobody else; a call that was refused may not. */
void exchange_pick_for(struct exchange *x, bool retry);
bool exchange_give_authority(struct exchange *x, struct str authority); /* to a head without one. False: no memory for it */
void exchange_deadline_over(struct timer *t);

/* ---- exchange_park ---- */
void exchange_want(struct exchange *x, struct mesh_name *name, const char *default_authority); /* goes on with exchange_name */
void exchange_wait(struct exchange *x);       /* for its cluster; goes on with exchange_pick */
void exchange_unpark(struct exchange *x);     /* nothing where it is not parked */
bool exchange_park_bytes(struct exchange *x, size_t n); /* n bytes more against park.bytes. False: they are too many */
const char *exchange_reason(struct exchange *x, const struct mesh_name *n); /* why the name's source has not answered, or what it answered; NULL. The call's own text */
void parking_free(struct parking **p);

/* ---- exchange_relay ---- */
extern const struct stream_events exchange_down_events;

/* ---- exchange_again ---- */
bool exchange_retry(struct exchange *x);      /* by policy. False: no retry; the caller tells the failure */
bool exchange_hold(struct exchange *x);       /* after a thaw: tried again in a moment. False: no */

/* ---- exchange_inbound ---- */
void exchange_inbound(struct exchange *x, const struct conf_inbound *to);
bool exchange_dress_inbound(struct exchange *x); /* what the app sees of the caller's head. False: no memory for it */
void exchange_asks(struct exchange *x);       /* a question has begun, and not ended */
void exchange_ask(struct exchange *x, const struct exchange_door *door);    /* gRPC's: is it well? */
void exchange_health(struct exchange *x, const struct exchange_door *door); /* HTTP's */

/* ---- what most calls pass ---- */

static inline void exchange_pick(struct exchange *x)
{
	exchange_pick_for(x, false);
}

/* Reads the deadline; timeout_ns: the route's. False: it was over on arrival, and the call was answered so. */
static inline bool exchange_is_in_time(struct exchange *x, uint64_t timeout_ns)
{
	if (deadline_read(x, x->head, timeout_ns))
		return true;
	exchange_fail(x, FAULT_DEADLINE, "it was over on arrival");
	return false;
}

static inline void exchange_set_deadline(struct exchange *x)
{
	if (x->deadline_ns)
		timer_set(x->sc->loop, &x->deadline, x->deadline_ns, exchange_deadline_over);
}

static inline bool exchange_has_whole_body(const struct exchange *x)
{
	return x->replayable || x->received == x->held.bytes;
}

static inline void exchange_drop_body(struct exchange *x)
{
	chain_clear(&x->held);
	chain_clear(&x->replay);
	x->replayable = false;
}

/* Its request has ended, or it has. */
static inline void exchange_asked(struct exchange *x)
{
	if (!list_linked(&x->question))
		return;
	list_del(&x->question);
	x->app->nquestions--;
}

/* True: the soft limit of the memory is passed, and the call was answered so. Those outside come to theirs first: what they hold must not end the app's own calls. */
static inline bool exchange_is_too_much(struct exchange *x)
{
	struct sidecar *sc = x->sc;
	if (!account_above(&sc->loop->memory, x->inbound ? sc->memory_outside : sc->memory_soft))
		return false;
	stat_inc(&sc->loop->stats, STAT_MEMORY_SOFT);
	sidecar_memory_check(sc);
	exchange_fail(x, FAULT_MEMORY, NULL);
	return true;
}
