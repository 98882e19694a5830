/* sidecar/app: see app.h. */
#include "sidecar/app.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/exchange.h"
#include "sidecar/group.h"
#include "sidecar/grpc_health.h"
#include "sidecar/health_door.h"
#include "sidecar/identities.h"
#include "sidecar/inbound.h"
#include "sidecar/sidecar.h"

/* What makes a door another one: everything that is fixed when it is opened. */
static uint64_t door_key(const struct conf_listen *c)
{
	uint64_t h = str_hash(str_of(c->text));
	h = h * 31 + c->mode;
	h = h * 31 + (c->group ? str_hash(str_of(c->group)) : 0);
	h = h * 31 + str_hash(str_n((char *)c->allow_uid.ids, c->allow_uid.count * sizeof(uint32_t)));
	h = h * 31 + str_hash(str_n((char *)c->allow_gid.ids, c->allow_gid.count * sizeof(uint32_t)));
	return h;
}

static void door_close(struct app_door **d);

/* A removed app is over with its last call and its last connection. */
static void app_maybe_over(struct app *a)
{
	if (a->removed && !a->calls)
		loop_defer(a->sc->loop, &a->end_task, a->end_task.fn);
}

static void door_left(struct task *t)
{
	struct app_door *d = container_of(t, struct app_door, end_task);
	struct app *a = d->app;
	if (uds_listener_clients(d->listener))
		return;
	door_close(&d);
	app_maybe_over(a);
}

/* A draining door has no client left: it is gone, or the removed app may be over. */
static void door_idle(void *user)
{
	struct app_door *d = user;
	if (list_linked(&d->node))
		loop_defer(d->app->sc->loop, &d->end_task, door_left);
	else
		app_maybe_over(d->app);
}

static void door_client_left(void *user)
{
	struct app *a = ((struct app_door *)user)->app;
	a->callers--;
	if (!a->sc->left) /* they go to the process that has taken over */
		life_connections(a->life, a->callers);
}

static const struct uds_events door_events = {.on_request = sidecar_request, .on_idle = door_idle, .on_left = door_client_left};

static struct app_door *door_open(struct app *a, const struct conf_listen *c, struct err *err)
{
	struct sidecar *sc = a->sc;
	struct uds_door d = {.is_unix = c->is_unix, .path = c->is_unix ? c->text : NULL, .addr = c->addr, .mode = c->mode, .uids = c->allow_uid.ids, .nuids = c->allow_uid.count,
		.gids = c->allow_gid.ids, .ngids = c->allow_gid.count};
	if (group_find(c->group, c->place, &d.group, err) != 0)
		return NULL;
	d.fd = sc->spec.inherit ? sc->spec.inherit(sc->spec.ctx, &c->addr, a->conf->name) : -1;
	struct app_door *door = xnew(struct app_door);
	char why[256];
	if (uds_listen(sc->doors, &d, &a->account, &door_events, door, &door->listener, why, sizeof why) != 0) {
		err_add(err, NULL, 0, 0, "%s: app '%s': cannot listen on '%s': %s", c->place, a->conf->name, c->text, why);
		free(door);
		return NULL;
	}
	door->app = a;
	door->conf = c;
	door->whole = conf_ref(a->whole);
	door->key = door_key(c);
	log_info(sc->log, "app '%s': listens on '%s'%s", a->conf->name, c->text, d.fd >= 0 ? " (inherited)" : "");
	return door;
}

static void door_close(struct app_door **d)
{
	loop_undefer(&(*d)->end_task);
	list_del(&(*d)->node);
	uds_listener_close(&(*d)->listener);
	conf_unref(&(*d)->whole);
	free(*d);
	*d = NULL;
}

static void door_keep(struct app_door *d, struct conf *whole, const struct conf_listen *c)
{
	conf_unref(&d->whole);
	d->whole = conf_ref(whole);
	d->conf = c;
}

/* Its address is free at once; its connections go on until they end. Those of a door that is not listed any more are told (GOAWAY), those of one
 * whose lines were changed are not: nothing of theirs has gone. */
static void door_leave(struct app *a, struct app_door *d, bool listed)
{
	log_info(a->sc->log, "app '%s': leaves '%s'; %u connections are left to it", a->conf->name, d->conf->text, uds_listener_clients(d->listener));
	list_push(&a->leaving, &d->node);
	uds_listener_drain(d->listener, !listed);
	if (uds_listener_clients(d->listener) == 0)
		loop_defer(a->sc->loop, &d->end_task, door_left);
}

static bool conf_lists(const struct conf_app *c, const char *text)
{
	for (uint32_t i = 0; i < c->listens; i++)
		if (strcmp(c->listen[i].text, text) == 0)
			return true;
	return false;
}

/* A door of these very lines that no other line has taken yet. */
static struct app_door *door_taken(struct app_door **old, uint32_t nold, uint64_t key)
{
	for (uint32_t k = 0; k < nold; k++)
		if (old[k] && old[k]->key == key) {
			struct app_door *d = old[k];
			old[k] = NULL;
			return d;
		}
	return NULL;
}

void app_apply(struct app *a, struct conf *whole, const struct conf_app *conf)
{
	struct app_door **old = a->doors;
	uint32_t nold = a->ndoors;
	struct conf *was = a->whole;
	a->conf = conf;
	a->whole = conf_ref(whole);
	a->space = identities_of(a->sc->identities, conf);
	a->doors = xalloc((conf->listens + 1) * sizeof *a->doors);
	a->ndoors = conf->listens;
	for (uint32_t i = 0; i < conf->listens; i++) {
		a->doors[i] = door_taken(old, nold, door_key(&conf->listen[i]));
		if (a->doors[i])
			door_keep(a->doors[i], whole, &conf->listen[i]);
	}
	for (uint32_t k = 0; k < nold; k++)
		if (old[k])
			door_leave(a, old[k], conf_lists(conf, old[k]->conf->text));
	free(old);
	names_clear(&a->names);
	struct life_conf life = {.check = conf->health.check, .gone_after_ns = conf->health.gone_after_ns, .watch = conf->health.watch};
	life_conf(a->life, &life);
	if (!a->inbound && conf->ninbound)
		a->inbound = inbound_new(a);
	if (a->inbound)
		inbound_apply(a->inbound, whole, conf);
	if (!a->health_door && conf->health.listens)
		a->health_door = health_door_new(a);
	if (a->health_door)
		health_door_apply(a->health_door, whole, conf);
	conf_unref(&was);
}

void app_open(struct app *a, struct err *err)
{
	uint32_t n = 0;
	a->names.view = a->sc->xds ? xds_view(a->sc->xds, a->conf, identities_view(a->space), a->space, err) : NULL;
	for (uint32_t i = 0; i < a->ndoors; i++) {
		struct app_door *d = a->doors[i] ? a->doors[i] : door_open(a, &a->conf->listen[i], err);
		if (d)
			a->doors[n++] = d;
	}
	a->ndoors = n;
	if (a->inbound)
		inbound_open(a->inbound, err);
	if (a->health_door)
		health_door_open(a->health_door, err);
}

void app_free(struct app **app)
{
	struct app *a = *app;
	if (!a)
		return;
	*app = NULL;
	loop_undefer(&a->end_task);
	names_end(&a->names);
	inbound_free(&a->inbound);
	health_door_free(&a->health_door);
	life_free(&a->life);
	conf_unref(&a->whole);
	free(a->doors);
	list_del(&a->node);
	account_end(&a->account);
	free(a);
}

static void app_bury(struct grave *g)
{
	struct app *a = container_of(g, struct app, grave);
	struct sidecar *sc = a->sc;
	app_free(&a);
	sidecar_views_left(sc);
}

/* The last call of a removed app has ended: its doors' clients were told to go; those that stay are closed now. */
static void app_over(struct task *t)
{
	struct app *a = container_of(t, struct app, end_task);
	for (uint32_t i = 0; i < a->ndoors; i++)
		if (a->doors[i]->listener && uds_listener_clients(a->doors[i]->listener))
			return; /* on_idle comes again */
	if (!list_empty(&a->leaving) || !inbound_is_idle(a->inbound) || !health_door_is_idle(a->health_door))
		return; /* door_left comes again */
	for (uint32_t i = 0; i < a->ndoors; i++)
		door_close(&a->doors[i]);
	a->ndoors = 0;
	inbound_close(a->inbound);
	health_door_close(a->health_door);
	readiness_end(&a->readiness);
	life_close(a->life);
	loop_bury(a->sc->loop, &a->grave, app_bury); /* after its connections, which are charged to it */
}

/* ---- its life ---- */

static void life_changed(void *ctx, struct life *l, enum life_state was)
{
	struct app *a = ctx;
	(void)l;
	inbound_gate(a->inbound);
	grpc_health_life(a);
	readiness_changed(a, was);
	healthcheck_changed(a);
}

static void life_closed(void *ctx, struct life *l)
{
	(void)l;
	readiness_announce(ctx);
}

/* A tool of ours that a person tries something with is not the app: its end would be taken for the app's. */
static bool is_our_tool(struct fields *head)
{
	return str_starts(fields_value(head, FIELD_USER_AGENT), STR("thinmesh-call/"));
}

bool app_park(struct app *a)
{
	struct sidecar *sc = a->sc;
	uint64_t most = sc->conf->park.calls;
	if (a->parked >= most || sc->parked >= most * PARK_APPS) {
		stat_inc(&sc->loop->stats, STAT_PARK_LIMIT);
		return false;
	}
	a->parked++;
	sc->parked++;
	stat_inc(&sc->loop->stats, STAT_PARKED);
	return true;
}

void app_unpark(struct app *a)
{
	a->parked--;
	a->sc->parked--;
	stat_dec(&a->sc->loop->stats, STAT_PARKED);
}

void app_carries(struct app *a, struct uds_client *client, struct fields *head)
{
	if (__builtin_expect(uds_client_carries(client), 1) || is_our_tool(head))
		return;
	const struct sock *peer = uds_client_peer(client);
	uds_client_carry(client);
	a->callers++;
	life_connections(a->life, a->callers);
	if (peer)
		life_watch_caller(a->life, peer);
}

struct app *app_new(struct sidecar *sc, struct conf *whole, const struct conf_app *conf)
{
	struct app *a = xnew(struct app);
	a->sc = sc;
	a->whole = conf_ref(whole);
	a->conf = conf;
	account_init(&a->account, &sc->loop->memory, "app", SIZE_MAX);
	names_init(&a->names, sc->mesh, loop_random(sc->loop));
	list_init(&a->exchanges);
	list_init(&a->asks);
	list_init(&a->questions);
	list_init(&a->leaving);
	healthcheck_init(&a->healthcheck);
	readiness_init(&a->readiness, a);
	struct life_spec life = {.loop = sc->loop, .log = sc->log, .limits = &sc->limits, .account = &a->account, .name = conf->name, .changed = life_changed, .closed = life_closed, .ctx = a};
	a->life = life_new(&life);
	a->end_task.fn = app_over;
	list_push(&sc->apps, &a->node);
	return a;
}

void app_drain(struct app *a)
{
	for (uint32_t i = 0; i < a->ndoors; i++)
		uds_listener_drain(a->doors[i]->listener, true);
	list_each(n, tmp, &a->leaving)
		uds_listener_drain(list_entry(n, struct app_door, node)->listener, true);
	inbound_drain(a->inbound);
	health_door_drain(a->health_door);
	grpc_health_end(a);
}

void app_remove(struct app *a)
{
	struct sidecar *sc = a->sc;
	log_info(sc->log, "app '%s': removed; %u calls are left to finish", a->conf->name, a->calls);
	a->removed = true;
	list_del(&a->node);
	list_push(&sc->walking, &a->node);
	app_drain(a);
	app_maybe_over(a);
}

void app_close(struct app *a)
{
	list_each(n, tmp, &a->exchanges)
		exchange_shut(list_entry(n, struct exchange, node), FAULT_DRAINING);
	for (uint32_t i = 0; i < a->ndoors; i++)
		door_close(&a->doors[i]);
	a->ndoors = 0;
	list_each(m, tmp2, &a->leaving)
		door_close(&(struct app_door *){list_entry(m, struct app_door, node)});
	inbound_close(a->inbound);
	health_door_close(a->health_door);
	readiness_end(&a->readiness);
	life_close(a->life);
	loop_undefer(&a->end_task);
}
