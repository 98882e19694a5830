/* uds/listener: see uds/listener.h. Accepting pauses (it never refuses what it has not counted) at limits.connections and
 * limits.connections_per_listener; a uid beyond limits.connections_per_uid is closed at once, so that it can't starve the others. */
#include "uds/client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct uid_count { uint32_t n; };

struct uds_doors {
	struct loop *loop;
	const struct limits *lim;      /* borrowed */
	struct list listeners;
	struct map uids;               /* uid as 4 bytes -> struct uid_count, Unix clients only */
	uint32_t clients, others;      /* others: at doors for anybody */
	enum uds_hold hold;
	bool keep_files;
	bool (*path_of)(void *ctx, const struct addr *at, struct sock_path *ret); void *path_ctx;
	void (*empty)(void *ctx); void *empty_ctx;
};

struct uds_listener {
	struct uds_doors *doors;       /* borrowed */
	struct list node;
	struct sock_listen *listen;    /* owned; NULL once stopped */
	struct sock_path path;         /* the file, when we made it */
	bool has_path;
	struct addr addr;
	bool is_unix;
	uint32_t *uids, *gids; uint32_t nuids, ngids; /* owned */
	struct account *account;       /* borrowed */
	const uint64_t *memory_most;   /* borrowed; NULL: none */
	const struct uds_events *ev;
	void *user;
	struct list clients;
	uint32_t nclients;
	bool vital, anybody, draining, closed;
	struct handshakes handshakes;
	struct grave grave;
};

struct uds_doors *uds_doors_new(struct loop *l, const struct limits *lim)
{
	struct uds_doors *d = xnew(struct uds_doors);
	d->loop = l;
	d->lim = lim;
	list_init(&d->listeners);
	map_init(&d->uids, loop_random(l));
	return d;
}

void uds_doors_free(struct uds_doors **d)
{
	if (!*d)
		return;
	void *v;
	for (uint32_t i = 0; map_next(&(*d)->uids, &i, NULL, &v);)
		free(v);
	map_end(&(*d)->uids);
	free(*d);
	*d = NULL;
}

uint32_t uds_doors_clients(const struct uds_doors *d) { return d->clients; }
uint32_t uds_listener_clients(const struct uds_listener *l) { return l->nclients; }
struct loop *uds_listener_loop(const struct uds_listener *l) { return l->doors->loop; }
const struct limits *uds_listener_limits(const struct uds_listener *l) { return l->doors->lim; }
struct account *uds_listener_account(const struct uds_listener *l) { return l->account; }
struct handshakes *uds_listener_handshakes(struct uds_listener *l) { return &l->handshakes; }

bool uds_listener_spares(const struct uds_listener *l)
{
	return l->memory_most && account_above(&l->doors->loop->memory, *l->memory_most);
}

void uds_listener_request(struct uds_listener *l, struct uds_client *c, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	l->ev->on_request(l->user, c, s, head, fin, refuse);
}

static bool in_list(const uint32_t *ids, uint32_t n, uint32_t id)
{
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* allow: by what the kernel says of the caller at connect time; the primary gid counts. */
static bool listener_allows(const struct uds_listener *l, const struct sock_cred *cred)
{
	if (!l->is_unix || (!l->nuids && !l->ngids))
		return true;
	return cred->known && (in_list(l->uids, l->nuids, cred->uid) || in_list(l->gids, l->ngids, cred->gid));
}

static struct uid_count *doors_uid(struct uds_doors *d, uint32_t uid)
{
	struct str key = str_n((char *)&uid, sizeof uid);
	struct uid_count *u = map_get(&d->uids, key);
	if (!u) {
		u = xnew(struct uid_count);
		map_put(&d->uids, key, u);
	}
	return u;
}

static bool listener_counts_uids(const struct uds_listener *l)
{
	return !l->vital && !l->anybody;
}

/* Whoever is not the app gets four fifths of limits.connections: outside one may open as many as one likes, and the app must still come in. */
static bool doors_have_room(const struct uds_doors *d, const struct uds_listener *l)
{
	uint32_t most = d->lim->connections;
	return d->clients < most && (!l->anybody || d->others < most - most / 5);
}

static bool listener_has_room(struct uds_listener *l)
{
	struct uds_doors *d = l->doors;
	if (l->vital)
		return l->nclients < UDS_VITAL_MAX;
	if (!doors_have_room(d, l)) {
		stat_inc(&d->loop->stats, STAT_CONNS_REFUSED_LIMIT);
		return false;
	}
	if (l->nclients >= d->lim->connections_per_listener) {
		stat_inc(&d->loop->stats, STAT_CONNS_REFUSED_LISTENER);
		return false;
	}
	return true;
}

static bool listener_accepted(void *user, struct sock *taken)
{
	struct uds_listener *l = user;
	struct uds_doors *d = l->doors;
	struct stats *stats = &d->loop->stats;
	if (!listener_allows(l, &taken->cred)) {
		stat_inc(stats, STAT_CONNS_REFUSED_ALLOW);
		sock_close(&taken);
		return true;
	}
	if (taken->cred.known && listener_counts_uids(l)) {
		struct uid_count *u = doors_uid(d, taken->cred.uid);
		if (u->n >= d->lim->connections_per_uid) {
			stat_inc(stats, STAT_CONNS_REFUSED_UID);
			sock_close(&taken);
			return true;
		}
		u->n++;
	}
	stat_inc(stats, STAT_CONNS_DOWN_TOTAL);
	d->clients += !l->vital;
	d->others += l->anybody;
	l->nclients++;
	struct uds_client *c = uds_client_new(l, taken);
	list_push(&l->clients, &c->node);
	return d->hold == DOORS_OURS && listener_has_room(l);
}

static const struct sock_listen_events listener_events = {listener_accepted};

static void listener_free(struct uds_listener *l)
{
	free(l->uids);
	free(l->gids);
	free(l);
}

static void listener_bury(struct grave *g)
{
	listener_free(container_of(g, struct uds_listener, grave));
}

static void listener_check_end(struct uds_listener *l)
{
	if (l->nclients)
		return;
	if (l->closed)
		loop_bury(l->doors->loop, &l->grave, listener_bury);
	else if (l->draining && l->ev->on_idle)
		l->ev->on_idle(l->user);
}

/* Listeners that waited for room go on where there is some. */
static void doors_resume(struct uds_doors *d)
{
	if (d->hold != DOORS_OURS)
		return;
	list_each(n, tmp, &d->listeners) {
		struct uds_listener *w = list_entry(n, struct uds_listener, node);
		if (w->listen && w->listen->paused && (w->vital ? w->nclients < UDS_VITAL_MAX : doors_have_room(d, w) && w->nclients < d->lim->connections_per_listener))
			sock_listen_resume(w->listen);
	}
}

void uds_doors_limits(struct uds_doors *d, const struct limits *lim)
{
	d->lim = lim;
	doors_resume(d);
}

void uds_listener_forget(struct uds_listener *l, struct uds_client *c)
{
	struct uds_doors *d = l->doors;
	d->clients -= !l->vital;
	d->others -= l->anybody;
	l->nclients--;
	if (c->cred.known && listener_counts_uids(l)) {
		uint32_t uid = c->cred.uid;
		struct uid_count *u = doors_uid(d, uid);
		if (--u->n == 0)
			free(map_del(&d->uids, str_n((char *)&uid, sizeof uid)));
	}
	if (c->carries && !l->closed && l->ev->on_left)
		l->ev->on_left(l->user);
	doors_resume(d);
	listener_check_end(l);
	if (d->clients == 0 && d->empty)
		d->empty(d->empty_ctx);
}

void uds_listener_name(const void *listener, struct sb *out)
{
	const struct uds_listener *l = listener;
	if (l->ev->name)
		l->ev->name(l->user, out);
}

/* A configuration's arrays go with it; a door outlives many of them. */
static uint32_t *ids_copy(const uint32_t *ids, uint32_t n)
{
	uint32_t *copy = xalloc((n ? n : 1) * sizeof *ids);
	if (n)
		memcpy(copy, ids, n * sizeof *ids);
	return copy;
}

/* A file that another process serves, or will, is not ours to remove. */
static void listener_unbind(struct uds_listener *l)
{
	if (l->has_path && l->doors->hold == DOORS_OURS && !l->doors->keep_files)
		sock_path_unbind(&l->path);
	else if (l->has_path)
		sock_path_forget(&l->path);
	l->has_path = false;
}

int uds_listen(struct uds_doors *d, const struct uds_door *door, struct account *account, const struct uds_events *ev, void *user,
	struct uds_listener **ret, char *why, size_t why_len)
{
	struct uds_listener *l = xnew(struct uds_listener);
	l->doors = d;
	l->addr = door->addr;
	l->is_unix = door->is_unix;
	l->vital = door->vital;
	l->anybody = door->anybody;
	l->memory_most = door->memory_most;
	l->uids = ids_copy(door->uids, door->nuids);
	l->nuids = door->nuids;
	l->gids = ids_copy(door->gids, door->ngids);
	l->ngids = door->ngids;
	l->account = account;
	l->ev = ev;
	l->user = user;
	list_init(&l->clients);
	handshakes_init(&l->handshakes, l);
	int fd = door->fd, rc = 0;
	if (fd < 0 && door->is_unix && door->path[0] != '@' && loop_is_real(d->loop)) {
		rc = sock_path_bind(door->path, door->mode, (gid_t)door->group, SOCK_BACKLOG, &l->path, &fd, why, why_len);
		l->has_path = rc == 0;
		if (rc == 0 && *why)
			log_warn(d->loop->log, "socket '%s': %s", door->path, why);
	} else if (fd >= 0 && door->is_unix && d->path_of) {
		l->has_path = d->path_of(d->path_ctx, &door->addr, &l->path);
	}
	if (rc == 0) {
		rc = sock_listen(d->loop, fd, &door->addr, &listener_events, l, &l->listen);
		if (rc < 0)
			snprintf(why, why_len, "%s", strerror(-rc));
	}
	if (rc < 0) {
		listener_unbind(l);
		listener_free(l);
		return rc;
	}
	handshakes_set(&l->handshakes, door->transport, door->permissive);
	l->listen->vital = door->vital;
	if (d->hold != DOORS_OURS) /* before the loop looks at it for the first time */
		sock_listen_pause(l->listen);
	list_push(&d->listeners, &l->node);
	*ret = l;
	return 0;
}

void uds_listener_stop(struct uds_listener *l)
{
	sock_listen_close(&l->listen);
	listener_unbind(l);
}

void uds_listener_drain(struct uds_listener *l, bool goaway)
{
	uds_listener_stop(l);
	l->draining = true;
	list_each(n, tmp, &l->clients)
		uds_client_drain(list_entry(n, struct uds_client, node), goaway);
}

/* Who has not spoken yet has no call that could be lost, and learns from the answer to its first one how things are. */
void uds_listener_send_off(struct uds_listener *l)
{
	list_each(n, tmp, &l->clients) {
		struct uds_client *c = list_entry(n, struct uds_client, node);
		if (!c->sock)
			uds_client_drain(c, true);
	}
}

void uds_listener_judged_anew(struct uds_listener *l, bool tls, bool plain)
{
	list_each(n, tmp, &l->clients) {
		struct uds_client *c = list_entry(n, struct uds_client, node);
		if ((tls && c->tls && c->tls->state != UDS_TLS_WAITS) || (plain && c->plain))
			uds_client_leave(c);
	}
}

void uds_listener_tls(struct uds_listener *l, struct transport *transport, bool permissive)
{
	struct handshakes *h = &l->handshakes;
	bool alike = !transport || handshakes_judge_alike(h->transport, transport), strict = transport && !permissive;
	handshakes_set(h, transport, permissive);
	if (!alike || strict)
		uds_listener_judged_anew(l, !alike, strict);
}

void uds_listener_tls_info(const struct uds_listener *l, struct uds_tls_info *ret)
{
	const struct handshakes *h = &l->handshakes;
	*ret = (struct uds_tls_info){.tls = h->transport, .permissive = h->permissive, .in_flight = h->nshaking, .handshakes = h->done, .failures = h->failed, .plaintext_refused = h->refused};
}

void uds_listener_close(struct uds_listener **listener)
{
	struct uds_listener *l = *listener;
	if (!l)
		return;
	*listener = NULL;
	uds_listener_stop(l);
	handshakes_end(&l->handshakes);
	l->closed = true;
	list_del(&l->node);
	if (l->nclients == 0) {
		listener_check_end(l);
		return;
	}
	list_each(n, tmp, &l->clients)
		uds_client_close(list_entry(n, struct uds_client, node));
}

/* ---- two processes, one set of doors ---- */

void uds_doors_wait(struct uds_doors *d)
{
	d->hold = DOORS_WAITING;
}

void uds_doors_leave(struct uds_doors *d)
{
	d->hold = DOORS_LEFT;
	list_each(n, tmp, &d->listeners) {
		struct uds_listener *l = list_entry(n, struct uds_listener, node);
		if (l->listen)
			sock_listen_pause(l->listen);
		list_each(m, tmp2, &l->clients)
			uds_client_leave(list_entry(m, struct uds_client, node));
	}
}

void uds_doors_ours(struct uds_doors *d)
{
	d->hold = DOORS_OURS;
	doors_resume(d);
}

void uds_doors_keep_files(struct uds_doors *d)
{
	d->keep_files = true;
}

void uds_doors_let_go(struct uds_doors *d)
{
	list_each(n, tmp, &d->listeners)
		uds_listener_stop(list_entry(n, struct uds_listener, node));
}

void uds_doors_each(const struct uds_doors *d, void (*fn)(void *ctx, const struct uds_held *h), void *ctx)
{
	list_each(n, tmp, &d->listeners) {
		const struct uds_listener *l = list_entry(n, struct uds_listener, node);
		struct uds_held h = {.addr = &l->addr, .lock_fd = -1};
		if (!l->listen || l->listen->fd < 0)
			continue;
		h.fd = l->listen->fd;
		if (l->has_path) {
			h.path = l->path.path;
			h.lock_fd = l->path.lock_fd;
			h.dev = l->path.dev;
			h.ino = l->path.ino;
		}
		fn(ctx, &h);
	}
}

void uds_doors_paths(struct uds_doors *d, bool (*fn)(void *ctx, const struct addr *at, struct sock_path *ret), void *ctx)
{
	d->path_of = fn;
	d->path_ctx = ctx;
}

void uds_doors_on_empty(struct uds_doors *d, void (*fn)(void *ctx), void *ctx)
{
	d->empty = fn;
	d->empty_ctx = ctx;
}

/* The connection that holds the most, among those that hold less than `below`. */
static struct h2_conn *doors_largest(struct uds_doors *d, size_t below, size_t *ret_held)
{
	struct h2_conn *largest = NULL;
	size_t most = 0;
	list_each(n, tmp, &d->listeners) {
		struct uds_listener *l = list_entry(n, struct uds_listener, node);
		list_each(m, tmp2, &l->clients) {
			struct uds_client *c = list_entry(m, struct uds_client, node);
			size_t held = c->h2 ? h2_conn_memory(c->h2) : 0;
			if (held > most && held < below) {
				most = held;
				largest = c->h2;
			}
		}
	}
	*ret_held = most;
	return largest;
}

size_t uds_doors_shed(struct uds_doors *d)
{
	enum { TRIES = 8 }; /* what a connection holds need not be a stream's queue: then the next largest */
	size_t held = SIZE_MAX, shed = 0;
	for (int i = 0; i < TRIES && !shed; i++) {
		struct h2_conn *c = doors_largest(d, held, &held);
		if (!c)
			break;
		shed = h2_conn_shed(c);
	}
	return shed;
}
