/* sidecar/control: see control.h. Here are the doors and the small pages; what grows with the mesh is in page_status.c, page_stats.c and control_xds.c. */
#include "sidecar/control.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/control_xds.h"
#include "sidecar/exchange.h"
#include "sidecar/group.h"
#include "sidecar/page_certs.h"
#include "sidecar/page_stats.h"
#include "sidecar/page_status.h"

#define CONTROL_DEFAULT "/run/thinmesh/control.sock"

struct control_door { struct uds_listener *listener; struct control *control; bool read_only; char *text; uint64_t key; /* mode and group that were asked for */ };
struct control {
	struct sidecar *sc;            /* borrowed: the owner */
	struct account account;
	struct control_door doors[2];  /* the Unix socket, its TCP twin */
};

static const struct local_row twin_rows[];

static void control_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct control_door *d = user;
	struct exchange_door door = {.sc = d->control->sc, .rows = d->read_only ? twin_rows : local_control_rows, .cred = uds_client_cred(client), .trusted = true, .read_only = d->read_only};
	exchange_start(&door, s, head, fin, refuse);
}

static const struct uds_events control_events = {.on_request = control_request};

static void control_listen(struct control *c, struct control_door *d, struct uds_door *door, const char *text, struct err *err)
{
	struct sidecar *sc = c->sc;
	char why[256];
	d->control = c;
	door->fd = sc->spec.inherit ? sc->spec.inherit(sc->spec.ctx, &door->addr, "control") : -1;
	if (uds_listen(sc->doors, door, &c->account, &control_events, d, &d->listener, why, sizeof why) == 0)
		d->text = xstrdup(text);
	else if (strcmp(text, CONTROL_DEFAULT) == 0) /* nobody asked for it: several daemons, or one without rights on /run, still serve */
		log_warn(sc->log, "control: cannot listen on '%s': %s; goes on without (set control.unix)", text, why);
	else
		err_add(err, NULL, 0, 0, "control: cannot listen on '%s': %s", text, why);
}

static void control_shut(struct control_door *d)
{
	if (d->listener)
		uds_listener_close(&d->listener);
	free(d->text);
	d->text = NULL;
}

int control_apply(struct control *c, struct err *err)
{
	const struct conf *conf = c->sc->conf;
	int before = err->count;
	const char *unix_path = conf->control.unix_path, *tcp = conf->control.has_tcp ? conf->control.tcp_text : NULL;
	struct control_door *u = &c->doors[0], *t = &c->doors[1];
	uint64_t key = conf->control.mode * 31ull + (conf->control.group ? str_hash(str_of(conf->control.group)) : 0);
	if (u->text && (!unix_path || strcmp(u->text, unix_path) != 0))
		control_shut(u);
	else if (u->text && u->key != key && unix_path[0] == '/' && loop_is_real(c->sc->loop)) { /* another mode or group: the connections stay */
		int64_t group;
		if (group_find(conf->control.group, "control.group", &group, err) == 0 && (chmod(unix_path, conf->control.mode) != 0 || (group >= 0 && chown(unix_path, (uid_t)-1, (gid_t)group) != 0)))
			err_add(err, NULL, 0, 0, "control: mode or group of '%s': %s", unix_path, strerror(errno));
	}
	u->key = key;
	if (t->text && (!tcp || strcmp(t->text, tcp) != 0))
		control_shut(t);
	if (unix_path && !u->text) {
		if (strcmp(unix_path, CONTROL_DEFAULT) == 0 && loop_is_real(c->sc->loop))
			mkdir("/run/thinmesh", 0755); /* systemd makes it (RuntimeDirectory=); elsewhere it may not be there yet */
		struct uds_door door = {.is_unix = true, .vital = true, .path = unix_path, .mode = conf->control.mode};
		if (addr_unix(str_of(unix_path), &door.addr) != 0)
			err_add(err, NULL, 0, 0, "control.unix: the path is too long (at most 107 bytes): '%s'", unix_path);
		else if (group_find(conf->control.group, "control.group", &door.group, err) == 0)
			control_listen(c, u, &door, unix_path, err);
	}
	if (tcp && !t->text) {
		struct uds_door door = {.addr = conf->control.tcp, .vital = true, .group = -1};
		t->read_only = true;
		control_listen(c, t, &door, tcp, err);
	}
	return err->count == before ? 0 : -EINVAL;
}

int control_open(struct sidecar *sc, struct control **ret, struct err *err)
{
	struct control *c = xnew(struct control);
	c->sc = sc;
	account_init(&c->account, &sc->loop->memory, "control", SIZE_MAX);
	*ret = c;
	return control_apply(c, err);
}

void control_drain(struct control *c)
{
	for (int i = 0; i < 2; i++)
		if (c->doors[i].listener)
			uds_listener_drain(c->doors[i].listener, true);
}

void control_shut_doors(struct control *c)
{
	for (int i = 0; i < 2; i++)
		control_shut(&c->doors[i]);
}

void control_close(struct control **control)
{
	struct control *c = *control;
	if (!c)
		return;
	*control = NULL;
	control_shut_doors(c);
	account_end(&c->account);
	free(c);
}

/* ---- pages ---- */

static void page_live(struct local_call *c) { sb_str(&c->body, "live\n"); }

static void page_ready(struct local_call *c)
{
	bool ready = c->sc->ready && !c->sc->draining;
	c->status = ready ? 200 : 503;
	sb_str(&c->body, ready ? "ready\n" : c->sc->draining ? "draining\n" : "starting\n");
}

static void page_log(struct local_call *c)
{
	struct log *log = c->sc->log;
	char *ring = xalloc(65536);
	size_t n = log_ring_copy(log, ring, 65536);
	sb_fmt(&c->body, "level %s\n", log_level_name(log_get_level(log)));
	sb_add(&c->body, ring, n);
	free(ring);
}

static void page_log_set(struct local_call *c)
{
	struct str level = local_query(c->query, "level");
	char name[16];
	snprintf(name, sizeof name, "%.*s", (int)(level.n < 15 ? level.n : 15), level.n ? level.p : "");
	int lv = (int)log_level_parse(name);
	if (lv < 0) {
		c->status = 400;
		sb_str(&c->body, "level=off|error|warn|info|debug|trace is expected\n");
		return;
	}
	log_set_level(c->sc->log, (enum log_level)lv);
	sb_fmt(&c->body, "level %s\n", log_level_name((enum log_level)lv));
}

static void page_help(struct local_call *c)
{
	for (const struct local_row *r = local_control_rows; r->path; r++)
		sb_fmt(&c->body, "%-5s %-12s %s\n", r->method, r->path, r->help);
}

/* Whoever can reach a port may see no more than a probe and a scraper need: addresses and log lines stay on the socket. Certificates are what every peer is shown anyway; keys are nowhere. */
static const struct local_row twin_rows[] = {
	{"GET", "/live", page_live, false, "200 while the loop turns"},
	{"GET", "/ready", page_ready, false, "200 when the listeners are open and nothing drains"},
	{"GET", "/stats", page_stats, false, "Prometheus text"},
	{"GET", "/certs", page_certs, false, "certificates and roots: whose, from where, until when, and why there is none; JSON, without keys"},
	{NULL, NULL, NULL, false, NULL},
};

const struct local_row local_control_rows[] = {
	{"GET", "/live", page_live, false, "200 while the loop turns"},
	{"GET", "/ready", page_ready, false, "200 when the listeners are open and nothing drains"},
	{"GET", "/stats", page_stats, false, "Prometheus text"},
	{"GET", "/certs", page_certs, false, "certificates and roots: whose, from where, until when, and why there is none; JSON, without keys"},
	{"GET", "/clusters", page_clusters, false, "services and endpoints with their health and load; ?service=WORD, ?endpoints=N|all (of each at most 1000)"},
	{"GET", "/status", page_status, false, "what `thinmesh status` shows, as JSON; ?service=WORD, ?endpoints=N|all"},
	{"GET", "/config_dump", control_config_dump, false, "what the control plane said: names, clusters, resources, as JSON"},
	{"GET", "/log", page_log, false, "level and the last records"},
	{"POST", "/log", page_log_set, true, "?level=off|error|warn|info|debug|trace"},
	{"POST", "/freeze", freeze_page, true, "the process is about to be frozen: nothing new is begun"},
	{"POST", "/thaw", freeze_page_thaw, true, "it goes on: connections are verified, calls keep the time that they had"},
	{"GET", "/help", page_help, false, "this"},
	{NULL, NULL, NULL, false, NULL},
};
