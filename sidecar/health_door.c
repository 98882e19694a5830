/* sidecar/health_door: see health_door.h. Everything is answered from what the process knows in that moment; nothing is asked of anybody.
 *
 *   GET /healthz/ready, /ready   200 or 503 with the reason, as JSON                 kubelet's readinessProbe, load balancers
 *   GET /healthz/live, /live     200                                                 kubelet's livenessProbe: the process turns
 *   grpc.health.v1.Health        sidecar/grpc_health                                 gRPC's, Dubbo's and Envoy's checkers
 *   anything else                200, or UNAVAILABLE / 503 with the flag LH          Envoy's checkers: whatever path they are configured with (envoy.md 1e: the filter is asked by header rules of
 *                                                                                    its own; here the door is the rule) */
#include "sidecar/health_door.h"
#include <stdlib.h>
#include <string.h>
#include "sidecar/door.h"
#include "sidecar/exchange.h"
#include "sidecar/inbound.h"
#include "sidecar/sidecar.h"

struct health_door { struct app *app; /* borrowed: owner */ struct door_set set; /* door->line: struct conf_listen */ };

/* ---- what is known ---- */

struct plane_seen { const char *view; bool there, answered; };

/* A view that nobody has asked for anything gets no answer: there the stream that stands is one. What a snapshot has is as good: calls are carried with it. */
static void plane_look(void *ctx, const struct xds_stream_info *i)
{
	struct plane_seen *s = ctx;
	uint32_t wanted = 0;
	if (strcmp(i->view, s->view) != 0)
		return;
	for (size_t t = 0; t < sizeof i->type / sizeof *i->type; t++)
		wanted += i->type[t].wanted + i->type[t].wildcard;
	s->there = true;
	bool stands = i->up || strcmp(i->state, "open") == 0; /* open: up, and nothing was to be said */
	s->answered |= i->messages > 0 || (stands && !wanted) || i->snapshot_records > 0;
}

static bool plane_has_answered(const struct app *a)
{
	struct sidecar *sc = a->sc;
	if (!sc->xds)
		return true;
	if (!a->names.view) /* its files could not be read, which was told */
		return false;
	struct plane_seen s = {.view = mesh_view_name(a->names.view)};
	xds_each(sc->xds, plane_look, &s);
	return s.there && s.answered;
}

/* ---- pages ---- */

static void page_ready(struct local_call *c)
{
	struct app *a = c->app;
	const char *why = !plane_has_answered(a) ? "the control plane has not answered yet" : app_is_unwell(a);
	c->type = "application/json";
	c->status = why ? 503 : 200;
	sb_str(&c->body, "{\"app\":");
	sb_json(&c->body, str_of(a->conf->name));
	sb_fmt(&c->body, ",\"ready\":%s,\"state\":\"%s\"", why ? "false" : "true", life_state_name(life_state(a->life)));
	if (why) {
		sb_str(&c->body, ",\"why\":");
		sb_json(&c->body, str_of(why));
	}
	sb_str(&c->body, "}\n");
}

static void page_live(struct local_call *c)
{
	sb_str(&c->body, "live\n");
}

static void page_open(struct local_call *c)
{
	sb_str(&c->body, "ok\n");
}

static const struct local_row rows[] = {
	{"GET", "/healthz/ready", page_ready, false, "200 when calls may come: the control plane has answered, and the app is ok"},
	{"GET", "/healthz/live", page_live, false, "200 while the process turns"},
	{"GET", "/ready", page_ready, false, "as /healthz/ready"},
	{"GET", "/live", page_live, false, "as /healthz/live"},
	{NULL, NULL, NULL, false, NULL},
};
const struct local_row health_door_open_row = {"", "", page_open, false, ""};

/* A node's cluster that only a bootstrap file names is not known here. */
void health_door_mark(const struct app *a, struct fields *head)
{
	const char *given = a->sc->xds ? a->sc->conf->xds.node.cluster : NULL;
	char *own = given ? NULL : xasprintf("%s.%s", a->conf->name, a->conf->namespace_ && a->conf->namespace_[0] ? a->conf->namespace_ : "default");
	fields_add(head, STR("x-envoy-upstream-healthchecked-cluster"), str_of(given ? given : own));
	free(own);
}

/* ---- the room ---- */

/* What is still open here is a Watch, which never ends by itself: a door that leaves would wait for it for ever. Those of the other doors begin anew. */
static void watches_end(struct app *a)
{
	list_each(n, tmp, &a->exchanges) {
		struct exchange *x = list_entry(n, struct exchange, node);
		if (x->health)
			exchange_shut(x, FAULT_DRAINING);
	}
}

static void health_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct door *d = user;
	struct app *a = d->set->app;
	struct exchange_door door = {.sc = a->sc, .app = a, .rows = rows, .health = true, .cred = uds_client_cred(client), .read_only = true};
	exchange_start(&door, s, head, fin, refuse);
}

static const struct door_kind health_doors = {"health checks", {.on_request = health_request, .on_idle = door_idle}, true, NULL, NULL};

struct health_door *health_door_new(struct app *a)
{
	struct health_door *d = xnew(struct health_door);
	d->app = a;
	door_set_init(&d->set, a, &health_doors);
	return d;
}

void health_door_apply(struct health_door *d, struct conf *whole, const struct conf_app *conf)
{
	const struct conf_app_health *h = &conf->health;
	struct door_line *lines = xalloc((h->listens + 1) * sizeof *lines);
	for (uint32_t i = 0; i < h->listens; i++) {
		const struct conf_listen *c = &h->listen[i];
		lines[i] = (struct door_line){.line = c, .text = c->text, .place = c->place, .group = c->group, .is_unix = c->is_unix, .addr = c->addr, .mode = c->mode,
			.uids = &c->allow_uid, .gids = &c->allow_gid};
	}
	door_set_apply(&d->set, whole, lines, h->listens);
	if (!list_empty(&d->set.leaving))
		watches_end(d->app);
}

void health_door_open(struct health_door *d, struct err *err)
{
	door_set_open(&d->set, err);
}

void health_door_drain(struct health_door *d)
{
	if (d)
		door_set_drain(&d->set);
}

void health_door_close(struct health_door *d)
{
	if (d)
		door_set_close(&d->set);
}

void health_door_free(struct health_door **d)
{
	if (!*d)
		return;
	door_set_end(&(*d)->set);
	free(*d);
	*d = NULL;
}

bool health_door_is_idle(const struct health_door *d) { return !d || door_set_is_idle(&d->set); }

void health_door_json(const struct health_door *d, struct sb *out)
{
	if (d)
		door_set_json(&d->set, out);
}
