/* sidecar/exchange_park: a call that waits for its name (3 WANT), or for the addresses of its cluster (5 PICK): limited in number, bytes and time (park.*), and never holding a table.
 * The time is one for all that it waits for. */
#include <stdio.h>
#include <stdlib.h>
#include "sidecar/exchange_int.h"

/* Of a call that waited for its name: where it came in (the door may be gone by then), and why it failed in words of the name's source. */
struct parking {
	char *default_authority;
	char why[160];
};

void parking_free(struct parking **p)
{
	if (!*p)
		return;
	free((*p)->default_authority);
	free(*p);
	*p = NULL;
}

void exchange_unpark(struct exchange *x)
{
	if (!x->parked)
		return;
	x->parked = false;
	app_unpark(x->app);
	x->sc->parked_bytes -= x->parked_bytes;
	x->app->parked_bytes -= x->parked_bytes;
	x->parked_bytes = 0;
	cluster_unwait(&x->wait);
	mesh_unwatch(&x->watch);
}

/* A copy: its text may change, the call's does not. */
const char *exchange_reason(struct exchange *x, const struct mesh_name *n)
{
	if (!n->source && !n->why)
		return NULL;
	if (!x->parking)
		x->parking = xnew(struct parking);
	snprintf(x->parking->why, sizeof x->parking->why, "%s%s%s", n->source ? n->source : "", n->source && n->why ? ": " : "", n->why ? n->why : "");
	return x->parking->why;
}

static void park_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, backoff);
	stat_inc(&x->sc->loop->stats, STAT_PARK_TIMEOUT);
	exchange_fail(x, FAULT_PARK_TIME, x->watch.name ? exchange_reason(x, x->watch.name) : NULL);
}

/* park.bytes is an app's, as park.calls is (app_park). */
bool exchange_park_bytes(struct exchange *x, size_t n)
{
	struct sidecar *sc = x->sc;
	uint64_t most = sc->conf->park.bytes;
	if (x->app->parked_bytes + n > most || sc->parked_bytes + n > most * PARK_APPS) {
		stat_inc(&sc->loop->stats, STAT_PARK_LIMIT);
		return false;
	}
	sc->parked_bytes += n;
	x->app->parked_bytes += n;
	x->parked_bytes += (uint32_t)n;
	return true;
}

/* False: there is no place, and the call was answered so. The caller says what it waits for. */
static bool exchange_park(struct exchange *x)
{
	struct sidecar *sc = x->sc;
	if (!app_park(x->app)) {
		exchange_fail(x, FAULT_PARK_FULL, NULL);
		return false;
	}
	if (!exchange_park_bytes(x, x->head->size + x->held.bytes)) {
		app_unpark(x->app);
		exchange_fail(x, FAULT_PARK_FULL, NULL);
		return false;
	}
	x->parked = true;
	if (!x->waited || !timer_armed(&x->backoff)) { /* one time for all that it waits for: its name, then its cluster's DNS */
		x->waited = true;
		timer_in(sc->loop, &x->backoff, sc->conf->park.time_ns, park_over);
	}
	return true;
}

/* ---- for a name ---- */

static void name_known(struct mesh_watch *w)
{
	struct exchange *x = container_of(w, struct exchange, watch);
	struct parking *p = x->parking;
	x->parking = NULL; /* it may wait again: for another spelling */
	exchange_unpark(x);
	exchange_name(x, p->default_authority);
	parking_free(&p);
}

/* The caller's own deadline holds while it waits; the route's comes with the route. */
void exchange_want(struct exchange *x, struct mesh_name *name, const char *default_authority)
{
	if (!x->deadline_ns && !exchange_is_in_time(x, 0))
		return;
	if (!exchange_park(x))
		return;
	exchange_set_deadline(x);
	if (!x->parking)
		x->parking = xnew(struct parking);
	free(x->parking->default_authority);
	x->parking->default_authority = default_authority ? xstrdup(default_authority) : NULL;
	mesh_watch_name(name, &x->watch, name_known);
}

/* ---- for its cluster ---- */

static void wait_over(struct cluster_wait *w)
{
	struct exchange *x = container_of(w, struct exchange, wait);
	exchange_unpark(x);
	exchange_pick(x);
}

void exchange_wait(struct exchange *x)
{
	if (exchange_park(x))
		cluster_wait(x->cluster, &x->wait, wait_over);
}
