/* sidecar/inbound: see inbound.h. A call's way is the exchange's (exchange_inbound); here are the doors, the clusters of the app's own server, and the gate.
 *
 *   life         open                 not open
 *   a new call   goes to the app      UNAVAILABLE / 503, flag LH, x-envoy-immediate-health-check-fail: true
 *   in progress  -                    goes on to its end; a head that comes now has the same mark
 *   connections  -                    those that were there when it closed: GOAWAY, connection: close. New ones are accepted all the time: the same doors serve again after ok
 *
 * Encrypted callers (apps[].inbound[].tls): uds/ shakes hands by the app's own identity (sidecar/identities); who they are goes to the app as x-forwarded-client-cert (sidecar/xfcc) and decides
 * what they may call (sidecar/allow). Health doors and the app's own doors know no TLS.
 *
 * A cluster is published under the name of its spec ("inbound|APP|TEXT") while any door uses it, those that leave included. */
#include "sidecar/inbound.h"
#include <stdlib.h>
#include <string.h>
#include "net/transport.h"
#include "sidecar/door.h"
#include "sidecar/exchange.h"
#include "sidecar/sidecar.h"

struct inbound {
	struct app *app;               /* borrowed: owner */
	struct door_set set;           /* door->line: struct conf_inbound */
	bool open;                     /* as it was at the last inbound_gate */
};

const char *app_is_unwell(const struct app *a)
{
	if (a->sc->draining)
		return "the sidecar is going away";
	switch (life_state(a->life)) {
	case LIFE_OK:
		return NULL;
	case LIFE_UNKNOWN:
		return a->conf->health.check ? "its own check has not passed yet" : "it has not said ok yet";
	case LIFE_FAILING:
		return "it is failing";
	case LIFE_GONE:
		return "its process has ended";
	case LIFE_DRAINED:
		return "it is drained";
	}
	return "it is not open";
}

const char *inbound_closed(const struct app *a)
{
	return a->serves_on ? NULL : app_is_unwell(a);
}

static void inbound_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct door *d = user;
	struct app *a = d->set->app;

	/* It crossed our GOAWAY: refused so that HTTP/2 says it was not begun (RFC 9113 8.7), and its client takes it elsewhere by itself. An answer would be the end of it. */
	if (inbound_closed(a) && uds_client_was_sent_off(client)) {
		stat_inc(&a->sc->loop->stats, STAT_INBOUND_REFUSED);
		stream_reset(s, H2_REFUSED_STREAM);
		return;
	}
	struct exchange_door door = {.sc = a->sc, .app = a, .inbound = d->line, .cred = uds_client_cred(client), .caller = uds_client_identity(client)};
	exchange_start(&door, s, head, fin, refuse);
}

/* ---- clusters ---- */

static bool door_uses(void *ctx, const struct door *d)
{
	const struct conf_inbound *c = d->line;
	return strcmp(c->spec->name, ctx) == 0;
}

/* An app that was removed and came back while its last calls end has the same names once more. */
static bool cluster_is_used(struct list *apps, char *name)
{
	list_each(n, tmp, apps) {
		struct app *a = list_entry(n, struct app, node);
		if (a->inbound && door_set_each(&a->inbound->set, door_uses, name))
			return true;
	}
	return false;
}

static void inbound_closed_door(struct door_set *s, const struct door *d)
{
	struct sidecar *sc = s->app->sc;
	char *name = ((const struct conf_inbound *)d->line)->spec->name;
	if (!cluster_is_used(&sc->apps, name) && !cluster_is_used(&sc->walking, name))
		mesh_del_cluster(sc->mesh, name);
}

static struct transport *inbound_transport(struct door_set *s, const void *line, bool *permissive, const char **why)
{
	const struct conf_inbound *c = line;
	if (c->tls == INBOUND_PLAIN)
		return NULL;
	*permissive = c->tls == INBOUND_PERMISSIVE;
	return transport_get(s->app->sc->transports, c->want, s->app->space, true, why);
}

static void inbound_name(const void *user, struct sb *out)
{
	const struct door *d = user;
	sb_fmt(out, "app '%.80s' inbound '%.120s'", d->set->app->conf->name, d->text);
}

static const struct door_kind inbound_doors = {"calls", {.on_request = inbound_request, .on_idle = door_idle, .name = inbound_name}, false, inbound_closed_door, inbound_transport};

/* ---- the room ---- */

struct inbound *inbound_new(struct app *a)
{
	struct inbound *i = xnew(struct inbound);
	i->app = a;
	i->open = life_is_open(a->life);
	door_set_init(&i->set, a, &inbound_doors);
	return i;
}

void inbound_apply(struct inbound *i, struct conf *whole, const struct conf_app *conf)
{
	struct door_line *lines = xalloc((conf->ninbound + 1) * sizeof *lines);
	for (uint32_t k = 0; k < conf->ninbound; k++) {
		const struct conf_inbound *c = &conf->inbound[k];
		lines[k] = (struct door_line){.line = c, .text = c->text, .place = c->place, .is_unix = c->is_unix, .addr = c->addr, .mode = c->mode};
		mesh_put_cluster(i->app->sc->mesh, c->spec->name, spec_ref(c->spec), endpoints_ref(c->endpoints));
	}
	door_set_apply(&i->set, whole, lines, conf->ninbound);
}

void inbound_open(struct inbound *i, struct err *err)
{
	door_set_open(&i->set, err);
}

void inbound_gate(struct inbound *i)
{
	if (!i)
		return;
	bool open = life_is_open(i->app->life) || i->app->serves_on;
	if (i->open && !open)
		door_set_send_off(&i->set);
	i->open = open;
}

void inbound_drain(struct inbound *i)
{
	if (i)
		door_set_drain(&i->set);
}

void inbound_close(struct inbound *i)
{
	if (i)
		door_set_close(&i->set);
}

void inbound_free(struct inbound **i)
{
	if (!*i)
		return;
	door_set_end(&(*i)->set);
	free(*i);
	*i = NULL;
}

bool inbound_is_there(const struct inbound *i) { return i && i->set.count; }
uint32_t inbound_connections(const struct inbound *i) { return i ? door_set_clients(&i->set) : 0; }
bool inbound_is_idle(const struct inbound *i) { return !i || door_set_is_idle(&i->set); }

void inbound_json(const struct inbound *i, struct sb *out)
{
	if (i)
		door_set_json(&i->set, out);
}
