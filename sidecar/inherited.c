/* sidecar/inherited: see inherited.h. */
#include "sidecar/inherited.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct handover_door *handed_at(const struct inherited *i, const struct addr *at)
{
	for (uint32_t k = 0; k < i->nhanded; k++)
		if (addr_eq(&i->handed[k].addr, at))
			return &i->handed[k];
	return NULL;
}

/* ---- what came ---- */

void inherited_open(struct inherited *i, struct log *log, struct notify *n, const struct handover *handed)
{
	*i = (struct inherited){.log = log, .notify = n, .pending = {.lock_fd = -1}};
	int rc = activation_parse(&i->table, getpid(), getenv("LISTEN_PID"), getenv("LISTEN_FDS"), getenv("LISTEN_FDNAMES"), ACTIVATION_FIRST_FD);
	if (rc != 0)
		log_warn(log, "LISTEN_FDS can't be used: %s", strerror(-rc));
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (!str_u64(str_of(getenv("FDSTORE")), &i->store_max))
		i->store_max = 0;
	if (!handed)
		return;
	i->handed = xalloc((handed->ndoors + 1) * sizeof *i->handed);
	for (uint32_t k = 0; k < handed->ndoors; k++) {
		const struct handover_door *d = &handed->doors[k];
		if (d->fd >= 0 && activation_add(&i->table, d->fd, &d->addr, d->name) == 0)
			i->handed[i->nhanded++] = *d;
		else if (d->lock_fd >= 0)
			close(d->lock_fd);
	}
}

void inherited_claim_names(struct inherited *i, struct conf *c)
{
	for (uint32_t a = 0; a < c->napps; a++)
		for (uint32_t k = 0; k < c->apps[a].listens; k++) {
			struct conf_listen *l = &c->apps[a].listen[k];
			bool by_addr = activation_find(&i->table, &l->addr);
			for (size_t s = 0; s < i->table.count && !by_addr; s++) {
				struct activation_socket *sock = &i->table.sockets[s];
				bool same_kind = (sock->addr.sa.sa_family == AF_UNIX) == l->is_unix, wanted = false;
				for (uint32_t j = 0; j < c->apps[a].listens; j++)
					wanted |= addr_eq(&sock->addr, &c->apps[a].listen[j].addr);
				if (sock->fd < 0 || sock->refused || strcmp(sock->name, c->apps[a].name) != 0 || !same_kind || wanted)
					continue;
				l->addr = sock->addr;
				break;
			}
		}
}

/* ---- names in the store ---- */

static bool is_stored(const struct inherited *i, const char *name)
{
	for (uint32_t k = 0; k < i->nstored; k++)
		if (strcmp(i->stored[k], name) == 0)
			return true;
	return false;
}

static void add_stored(struct inherited *i, const struct addr *at, uint64_t ino)
{
	char name[ACTIVATION_NAME];
	if (!activation_store_name(name, at, ino) || is_stored(i, name))
		return;
	i->stored = xrealloc(i->stored, (i->nstored + 1) * sizeof *i->stored);
	i->stored[i->nstored++] = xstrdup(name);
}

static void forget_stored(struct inherited *i, const struct addr *at, uint64_t ino)
{
	char name[ACTIVATION_NAME];
	if (activation_store_name(name, at, ino))
		notify_unstore(i->notify, name);
}

/* ---- taking ---- */

static struct sock_path path_handed(const struct handover_door *d)
{
	return (struct sock_path){.path = xstrdup(d->addr.un.sun_path), .lock_fd = d->lock_fd, .dev = (dev_t)d->dev, .ino = (ino_t)d->ino};
}

static bool has_file(const struct addr *at)
{
	return addr_is_unix(at) && at->un.sun_path[0];
}

static void set_pending(struct inherited *i, const struct addr *at, struct sock_path p)
{
	sock_path_forget(&i->pending);
	i->pending = p;
	i->pending_at = *at;
}

int inherited_take(struct inherited *i, const struct addr *at, const char *taker)
{
	const struct activation_socket *s = activation_find(&i->table, at);
	const struct handover_door *h = handed_at(i, at);
	struct sock_path p = {.lock_fd = -1};
	uint64_t ino = h ? h->ino : s ? s->ino : 0;
	char why[256];
	int fd = activation_take_addr(&i->table, at, taker);
	if (fd < 0)
		return -1;
	if (h && h->lock_fd >= 0 && has_file(at))
		p = path_handed(h);
	else if (!h && s->stored && ino && sock_path_adopt(at->un.sun_path, ino, &p, why, sizeof why) != 0) {
		log_warn(i->log, "socket '%s', which the manager has kept, can't be used: %s; it is made anew", at->un.sun_path, why);
		forget_stored(i, at, ino);
		close(fd);
		return -1;
	}
	set_pending(i, at, p);
	add_stored(i, at, ino);
	return fd;
}

bool inherited_path(struct inherited *i, const struct addr *at, struct sock_path *ret)
{
	if (!i->pending.path || !addr_eq(&i->pending_at, at))
		return false;
	*ret = i->pending;
	i->pending = (struct sock_path){.lock_fd = -1};
	return true;
}

/* ---- what nobody took ---- */

static void rest_told(void *ctx, const struct activation_socket *s)
{
	struct inherited *i = ctx;
	const struct handover_door *h = handed_at(i, &s->addr);
	struct sock_path p = {.lock_fd = -1};
	char text[ADDR_TEXT], why[256];
	addr_text(&s->addr, text);
	if (!s->stored && (!h || h->name[0])) {
		log_warn(i->log, "inherited socket '%s' (%s): no listener wants it%s%s; closed", s->name, text, s->refused ? ": " : "", s->refused ? s->refused : "");
	} else {
		log_info(i->log, "'%s': no listener wants it any more; closed", text);
		forget_stored(i, &s->addr, h ? h->ino : s->ino);
		if (h && h->lock_fd >= 0 && has_file(&s->addr))
			p = path_handed(h);
		else if (!h && has_file(&s->addr))
			(void)!sock_path_adopt(s->addr.un.sun_path, s->ino, &p, why, sizeof why);
		sock_path_unbind(&p);
	}
}

void inherited_close_rest(struct inherited *i)
{
	activation_close_unclaimed(&i->table, rest_told, i);
}

void inherited_end(struct inherited *i)
{
	sock_path_forget(&i->pending);
	activation_free(&i->table);
	for (uint32_t k = 0; k < i->nstored; k++)
		free(i->stored[k]);
	free(i->stored);
	free(i->handed);
	*i = (struct inherited){.pending = {.lock_fd = -1}};
}

/* ---- what the next one inherits ---- */

struct describing { struct inherited *i; struct upgrade *u; struct sb *out; };

static void describe_door(void *ctx, const struct uds_held *h)
{
	struct describing *d = ctx;
	const struct activation_socket *s = activation_find(&d->i->table, h->addr);
	struct handover_door door = {.fd = h->fd, .lock_fd = h->lock_fd, .dev = h->dev, .ino = h->ino, .addr = *h->addr};
	if (s)
		memcpy(door.name, s->name, sizeof door.name);
	handover_write_door(d->out, &door);
	upgrade_give(d->u, h->fd);
	upgrade_give(d->u, h->lock_fd);
}

_Static_assert((int)HANDOVER_NAME == (int)ACTIVATION_NAME, "a name goes from one to the other");

void inherited_describe(struct inherited *i, struct uds_doors *doors, struct upgrade *u, struct sb *out)
{
	struct describing d = {i, u, out};
	uds_doors_each(doors, describe_door, &d);
}

struct storing { struct inherited *i; char **names; uint32_t n; };

static void store_door(void *ctx, const struct uds_held *h)
{
	struct storing *s = ctx;
	char name[ACTIVATION_NAME];
	if (!activation_store_name(name, h->addr, h->path ? h->ino : 0))
		return;
	if (s->n >= s->i->store_max || (!is_stored(s->i, name) && !notify_store(s->i->notify, name, h->fd)))
		return;
	s->names = xrealloc(s->names, (s->n + 1) * sizeof *s->names);
	s->names[s->n++] = xstrdup(name);
}

bool inherited_is_stored(const struct inherited *i)
{
	return i->store_max && i->notify->fd >= 0;
}

void inherited_store(struct inherited *i, struct uds_doors *doors)
{
	struct storing now = {.i = i};
	if (!inherited_is_stored(i))
		return;
	uds_doors_each(doors, store_door, &now);
	for (uint32_t k = 0; k < i->nstored; k++) {
		bool stays = false;
		for (uint32_t j = 0; j < now.n && !stays; j++)
			stays = strcmp(now.names[j], i->stored[k]) == 0;
		if (!stays)
			notify_unstore(i->notify, i->stored[k]);
		free(i->stored[k]);
	}
	free(i->stored);
	i->stored = now.names;
	i->nstored = now.n;
}
