/* sidecar/door: see door.h. */
#include "sidecar/door.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net/transport.h"
#include "sidecar/group.h"
#include "sidecar/sidecar.h"

static uint64_t key_ids(uint64_t h, const struct conf_allow *a)
{
	return h * 31 + (a && a->count ? str_hash(str_n((char *)a->ids, a->count * sizeof(uint32_t))) : 0);
}

static uint64_t line_key(const struct door_line *l)
{
	uint64_t h = str_hash(str_of(l->text)) * 31 + l->mode;
	h = h * 31 + (l->group ? str_hash(str_of(l->group)) : 0);
	return key_ids(key_ids(h, l->uids), l->gids);
}

/* ---- one door ---- */

/* False: its callers must be encrypted and cannot be, which is told: such a door is not open. */
static bool door_transport(struct door_set *s, const struct door_line *l, struct transport **ret, bool *permissive, struct err *err)
{
	const char *why = NULL;
	*permissive = false;
	*ret = s->kind->transport ? s->kind->transport(s, l->line, permissive, &why) : NULL;
	if (*ret || !why)
		return true;
	err_add(err, NULL, 0, 0, "%s: app '%s': '%s' cannot be encrypted, and is not open: %s", l->place, s->app->conf->name, l->text, why);
	return false;
}

static const char *tls_word(bool tls, bool permissive)
{
	return !tls ? "off" : permissive ? "permissive" : "strict";
}

static struct door *door_open(struct door_set *s, const struct door_line *l, struct err *err)
{
	struct app *a = s->app;
	struct sidecar *sc = a->sc;
	struct uds_door d = {.is_unix = l->is_unix, .path = l->is_unix ? l->text : NULL, .addr = l->addr, .mode = l->mode, .anybody = true, .memory_most = s->kind->asks ? &sc->memory_asked : &sc->memory_outside};
	char why[256];
	if (l->uids) {
		d.uids = l->uids->ids;
		d.nuids = l->uids->count;
	}
	if (l->gids) {
		d.gids = l->gids->ids;
		d.ngids = l->gids->count;
	}
	if (group_find(l->group, l->place, &d.group, err) != 0)
		return NULL;
	d.fd = sc->spec.inherit ? sc->spec.inherit(sc->spec.ctx, &l->addr, a->conf->name) : -1;
	if (!door_transport(s, l, &d.transport, &d.permissive, err))
		return NULL;
	struct door *door = xnew(struct door);
	int rc = uds_listen(sc->doors, &d, &a->account, &s->kind->ev, door, &door->listener, why, sizeof why);
	const bool tls = d.transport;
	transport_unref(&d.transport); /* the listener has its own */
	if (rc != 0) {
		err_add(err, NULL, 0, 0, "%s: app '%s': cannot listen on '%s': %s", l->place, a->conf->name, l->text, why);
		free(door);
		return NULL;
	}
	door->set = s;
	door->line = l->line;
	door->text = l->text;
	door->whole = conf_ref(s->whole);
	door->key = line_key(l);
	log_info(sc->log, "app '%s': takes %s on '%s'%s%s%s", a->conf->name, s->kind->what, l->text, tls ? ", TLS " : "", tls ? tls_word(tls, d.permissive) : "", d.fd >= 0 ? " (inherited)" : "");
	return door;
}

static void door_free(struct door **d)
{
	conf_unref(&(*d)->whole);
	free(*d);
	*d = NULL;
}

/* It is in no list of its set any more. */
static void door_close(struct door *d)
{
	struct door_set *s = d->set;
	loop_undefer(&d->end_task);
	list_del(&d->node);
	uds_listener_close(&d->listener);
	if (s->kind->closed)
		s->kind->closed(s, d);
	door_free(&d);
}

/* A removed app is over with its last call and its last connection. */
static void app_may_be_over(struct app *a)
{
	if (a->removed && !a->calls)
		loop_defer(a->sc->loop, &a->end_task, a->end_task.fn);
}

static void door_left(struct task *t)
{
	struct door *d = container_of(t, struct door, end_task);
	struct app *a = d->set->app;
	if (uds_listener_clients(d->listener))
		return;
	door_close(d);
	app_may_be_over(a);
}

void door_idle(void *user)
{
	struct door *d = user;
	if (list_linked(&d->node))
		loop_defer(d->set->app->sc->loop, &d->end_task, door_left);
	else
		app_may_be_over(d->set->app);
}

static void door_leave(struct door_set *s, struct door *d)
{
	log_info(s->app->sc->log, "app '%s': takes %s on '%s' no more; %u connections are told to go", s->app->conf->name, s->kind->what, d->text, uds_listener_clients(d->listener));
	list_push(&s->leaving, &d->node);
	uds_listener_drain(d->listener, true);
	if (uds_listener_clients(d->listener) == 0)
		loop_defer(s->app->sc->loop, &d->end_task, door_left);
}

/* ---- the set ---- */

void door_set_init(struct door_set *s, struct app *a, const struct door_kind *kind)
{
	*s = (struct door_set){.app = a, .kind = kind};
	list_init(&s->leaving);
}

/* A door of these very lines that no other line has taken yet. */
static struct door *door_taken(struct door **old, uint32_t nold, uint64_t key)
{
	for (uint32_t k = 0; k < nold; k++)
		if (old[k] && old[k]->key == key) {
			struct door *d = old[k];
			old[k] = NULL;
			return d;
		}
	return NULL;
}

static void door_keep(struct door *d, struct conf *whole, const struct door_line *l)
{
	conf_unref(&d->whole);
	d->whole = conf_ref(whole);
	d->line = l->line;
	d->text = l->text;
}

void door_set_apply(struct door_set *s, struct conf *whole, struct door_line *lines_taken, uint32_t n)
{
	struct door **old = s->doors;
	uint32_t nold = s->count;
	struct conf *was = s->whole;
	s->whole = conf_ref(whole);
	free(s->lines);
	s->lines = lines_taken;
	s->nlines = n;
	s->doors = xalloc((n + 1) * sizeof *s->doors);
	s->count = n;
	for (uint32_t i = 0; i < n; i++) {
		s->doors[i] = door_taken(old, nold, line_key(&s->lines[i]));
		if (s->doors[i])
			door_keep(s->doors[i], whole, &s->lines[i]);
	}
	for (uint32_t k = 0; k < nold; k++)
		if (old[k])
			door_leave(s, old[k]);
	free(old);
	conf_unref(&was);
}

/* A door that is kept, with the lines of now. */
static struct door *door_secure(struct door_set *s, struct door *d, const struct door_line *l, struct err *err)
{
	struct transport *t;
	bool permissive;
	if (!door_transport(s, l, &t, &permissive, err)) {
		door_leave(s, d);
		return NULL;
	}
	struct uds_tls_info was;
	uds_listener_tls_info(d->listener, &was);
	if (was.tls != (t != NULL) || was.permissive != permissive)
		log_info(s->app->sc->log, "app '%s': '%s' goes from TLS %s to %s", s->app->conf->name, d->text, tls_word(was.tls, was.permissive), tls_word(t, permissive));
	uds_listener_tls(d->listener, t, permissive);
	transport_unref(&t);
	return d;
}

void door_set_open(struct door_set *s, struct err *err)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < s->count; i++) {
		struct door *d = s->doors[i] ? door_secure(s, s->doors[i], &s->lines[i], err) : door_open(s, &s->lines[i], err);
		if (d)
			s->doors[n++] = d;
	}
	s->count = n;
}

void door_set_drain(struct door_set *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		uds_listener_drain(s->doors[i]->listener, true);
	list_each(n, tmp, &s->leaving)
		uds_listener_drain(list_entry(n, struct door, node)->listener, true);
}

void door_set_send_off(struct door_set *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		uds_listener_send_off(s->doors[i]->listener);
}

void door_set_close(struct door_set *s)
{
	while (s->count)
		door_close(s->doors[--s->count]);
	list_each(n, tmp, &s->leaving)
		door_close(list_entry(n, struct door, node));
}

void door_set_end(struct door_set *s)
{
	conf_unref(&s->whole);
	free(s->doors);
	free(s->lines);
	s->doors = NULL;
	s->lines = NULL;
	s->nlines = 0;
}

static bool count_clients(void *ctx, const struct door *d)
{
	*(uint32_t *)ctx += uds_listener_clients(d->listener);
	return false;
}

uint32_t door_set_clients(const struct door_set *s)
{
	uint32_t n = 0;
	door_set_each(s, count_clients, &n);
	return n;
}

bool door_set_is_idle(const struct door_set *s)
{
	return list_empty(&s->leaving) && !door_set_clients(s);
}

bool door_set_each(const struct door_set *s, bool (*fn)(void *ctx, const struct door *d), void *ctx)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (s->doors[i] && fn(ctx, s->doors[i]))
			return true;
	list_each(n, tmp, &s->leaving)
		if (fn(ctx, list_entry(n, struct door, node)))
			return true;
	return false;
}

static void door_tls_json(const struct door *d, struct sb *out)
{
	struct uds_tls_info i;
	uds_listener_tls_info(d->listener, &i);
	if (i.tls || i.handshakes || i.failures || i.plaintext_refused) /* what it was before a reload is told, too */
		sb_fmt(out, ",\"tls\":\"%s\",\"handshakes\":%llu,\"handshakes_failed\":%llu,\"handshakes_in_flight\":%u,\"plaintext_refused\":%llu", tls_word(i.tls, i.permissive),
			(unsigned long long)i.handshakes, (unsigned long long)i.failures, i.in_flight, (unsigned long long)i.plaintext_refused);
}

void door_set_json(const struct door_set *s, struct sb *out)
{
	for (uint32_t i = 0; i < s->count; i++) {
		sb_str(out, i ? ",{\"address\":" : "{\"address\":");
		sb_json(out, str_of(s->doors[i]->text));
		sb_fmt(out, ",\"connections\":%u", uds_listener_clients(s->doors[i]->listener));
		door_tls_json(s->doors[i], out);
		sb_char(out, '}');
	}
}
