/* sidecar/health_door: see health_door.h. Everything is answered from what the process knows in that moment; nothing is asked of anybody.
 *
 *   GET /healthz/ready, /ready   200 or 503 with the reason, as JSON                 kubelet's readinessProbe, load balancers
 *   GET /healthz/live, /live     200                                                 kubelet's livenessProbe: the process turns
 *   grpc.health.v1.Health        sidecar/grpc_health                                 gRPC's, Dubbo's and Envoy's checkers
 *   anything else                200, or UNAVAILABLE / 503 with the flag LH          Envoy's checkers: whatever path they are configured with (envoy.md 1e: the filter is asked by header rules of
 *                                                                                    its own; here the door is the rule)
 *
 * health.needs (the filter's cluster_min_healthy_percentages) counts for the first and the last of them, after the app's own life; grpc.health.v1 speaks of the app alone. The filter's
 * pass_through_mode and cache_time have no place here: no question goes through to the app, who is asked by health.check with its own period. */
#include "sidecar/health_door.h"
#include <stdlib.h>
#include <string.h>
#include "sidecar/door.h"
#include "sidecar/exchange.h"
#include "sidecar/health_truth.h"
#include "sidecar/inbound.h"
#include "sidecar/sidecar.h"

/* A service without whose providers the app is not ready (health.needs). Looked at when somebody asks; between two questions its name is held, so that it is known by the next one. */
struct need { const struct conf_need *conf; /* borrowed from the app's */ struct truth truth; struct fields *head; /* counted; of the call that would be made */ };
struct health_door { struct app *app; /* borrowed: owner */ struct door_set set; /* door->line: struct conf_listen */ struct need *needs; uint32_t nneeds; };

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

/* ---- what the app needs ---- */

static void need_changed(struct truth *t)
{
	(void)t; /* who asks next hears of it */
}

static void needs_end(struct health_door *d)
{
	for (uint32_t i = 0; i < d->nneeds; i++) {
		truth_end(&d->needs[i].truth);
		fields_unref(&d->needs[i].head);
	}
	free(d->needs);
	d->needs = NULL;
	d->nneeds = 0;
}

static void needs_apply(struct health_door *d, const struct conf_app_health *h)
{
	needs_end(d);
	d->needs = xalloc((h->nneeds + 1) * sizeof *d->needs);
	for (; d->nneeds < h->nneeds; d->nneeds++) {
		struct need *n = &d->needs[d->nneeds];
		*n = (struct need){.conf = &h->needs[d->nneeds], .truth = {.app = d->app, .changed = need_changed}, .head = fields_new(d->app->sc->loop->fields, NULL)};
		fields_add_token(n->head, FIELD_METHOD, STR("POST"));
		fields_add_token(n->head, FIELD_AUTHORITY, str_of(n->conf->name));
		fields_add_token(n->head, FIELD_PATH, STR("/"));
	}
}

static char *need_misses(struct need *n)
{
	char *why = NULL;
	switch (truth_look(&n->truth, n->head, STR(""), NULL)) {
	case SAYS_SERVING:
	case SAYS_NOT_SERVING:
		break;
	case SAYS_WAIT:
		if (n->truth.named) /* none has passed yet, or is known yet: none is healthy */
			break;
		return xasprintf("service '%s' is not known yet", n->conf->name);
	case SAYS_UNKNOWN:
		return xasprintf("there is no service '%s'%s%s", n->conf->name, n->truth.why[0] ? ": " : "", n->truth.why);
	case SAYS_UNREACHED:
		return xasprintf("service '%s' was not resolved%s%s", n->conf->name, n->truth.why[0] ? ": " : "", n->truth.why);
	case SAYS_FULL:
	case SAYS_BAD:
		return xasprintf("service '%s' cannot be asked for", n->conf->name);
	}
	truth_has(&n->truth, n->conf->percent, &why);
	return why;
}

/* The first that misses, for people; to be freed. NULL: the app has what it needs. */
static char *needs_miss(const struct app *a)
{
	struct health_door *d = a->health_door;
	char *why = NULL;
	for (uint32_t i = 0; d && i < d->nneeds && !why; i++)
		why = need_misses(&d->needs[i]);
	return why;
}

/* ---- pages ---- */

static void page_ready(struct local_call *c)
{
	struct app *a = c->app;
	const char *why = !plane_has_answered(a) ? "the control plane has not answered yet" : app_is_unwell(a);
	char *misses = why ? NULL : needs_miss(a);
	why = why ? why : misses;
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
	free(misses);
}

static void page_live(struct local_call *c)
{
	sb_str(&c->body, "live\n");
}

static void page_open(struct local_call *c)
{
	char *misses = needs_miss(c->app);
	c->status = misses ? 503 : 200;
	c->as_grpc = misses && c->is_grpc;
	sb_fmt(&c->body, "%s\n", misses ? misses : "ok");
	free(misses);
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
	needs_apply(d, h);
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
	if (!d)
		return;
	door_set_close(&d->set);
	needs_end(d);
}

void health_door_free(struct health_door **d)
{
	if (!*d)
		return;
	door_set_end(&(*d)->set);
	needs_end(*d);
	free(*d);
	*d = NULL;
}

bool health_door_is_idle(const struct health_door *d) { return !d || door_set_is_idle(&d->set); }

void health_door_json(const struct health_door *d, struct sb *out)
{
	if (d)
		door_set_json(&d->set, out);
}
