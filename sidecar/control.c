/* sidecar/control: see control.h. Pages are written from the live structs at the moment they are asked for. */
#include "sidecar/control.h"
#include <errno.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/control_xds.h"
#include "sidecar/exchange.h"
#include "sidecar/health_door.h"
#include "sidecar/inbound.h"

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

static int64_t control_group(const char *name, struct err *err)
{
	if (!name)
		return -1;
	uint64_t gid;
	if (str_u64(str_of(name), &gid))
		return (int64_t)gid;
	struct group *g = getgrnam(name);
	if (g)
		return g->gr_gid;
	err_add(err, NULL, 0, 0, "control.group: no group is named '%s'", name);
	return -2;
}

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
		int64_t group = control_group(conf->control.group, err);
		if (chmod(unix_path, conf->control.mode) != 0 || (group >= 0 && chown(unix_path, (uid_t)-1, (gid_t)group) != 0))
			err_add(err, NULL, 0, 0, "control: mode or group of '%s': %s", unix_path, strerror(errno));
	}
	u->key = key;
	if (t->text && (!tcp || strcmp(t->text, tcp) != 0))
		control_shut(t);
	if (unix_path && !u->text) {
		if (strcmp(unix_path, CONTROL_DEFAULT) == 0 && loop_is_real(c->sc->loop))
			mkdir("/run/thinmesh", 0755); /* systemd makes it (RuntimeDirectory=); elsewhere it may not be there yet */
		struct uds_door door = {.is_unix = true, .vital = true, .path = unix_path, .mode = conf->control.mode, .group = control_group(conf->control.group, err)};
		if (addr_unix(str_of(unix_path), &door.addr) != 0)
			err_add(err, NULL, 0, 0, "control.unix: the path is too long (at most 107 bytes): '%s'", unix_path);
		else if (door.group != -2)
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

/* Label values: backslash, quote and newline are escaped (Prometheus text format). */
void control_label(struct sb *b, const char *key, const char *value)
{
	sb_fmt(b, "%s=\"", key);
	for (const char *p = value; *p; p++) {
		if (*p == '\\' || *p == '"')
			sb_char(b, '\\');
		sb_char(b, *p == '\n' ? ' ' : *p);
	}
	sb_char(b, '"');
}

struct stats_row { const char *name, *kind, *help; uint64_t (*of)(const struct cluster_view *v); };
static uint64_t of_hosts(const struct cluster_view *v) { return v->hosts; }
static uint64_t of_active(const struct cluster_view *v) { return v->active; }
static uint64_t of_pending(const struct cluster_view *v) { return v->pending; }
static uint64_t of_connections(const struct cluster_view *v) { return v->connections; }
static uint64_t of_calls(const struct cluster_view *v) { return v->calls; }
static uint64_t of_errors(const struct cluster_view *v) { return v->errors; }
static uint64_t of_full(const struct cluster_view *v) { return v->full; }
static uint64_t of_pending_full(const struct cluster_view *v) { return v->pending_full; }
static uint64_t of_connections_full(const struct cluster_view *v) { return v->connections_full; }
static const struct stats_row stats_rows[] = {
	{"cluster_hosts", "gauge", "Endpoints of a service", of_hosts},
	{"cluster_active", "gauge", "Calls in progress to a service", of_active},
	{"cluster_pending", "gauge", "Calls that wait for a connection to a service", of_pending},
	{"cluster_connections", "gauge", "Connections to a service", of_connections},
	{"cluster_calls_total", "counter", "Attempts at a service's providers", of_calls},
	{"cluster_errors_total", "counter", "Attempts that a service's providers failed", of_errors},
	{"cluster_limited_requests_total", "counter", "Calls refused at the service's limits.requests", of_full},
	{"cluster_limited_pending_total", "counter", "Calls refused at the service's limits.pending", of_pending_full},
	{"cluster_limited_connections_total", "counter", "Calls refused at the service's limits.connections", of_connections_full},
};
struct stats_ctx { struct sb *b; const struct stats_row *row; };

static void stats_cluster(void *ctx, struct cluster *cl, const struct cluster_view *v)
{
	(void)cl;
	struct stats_ctx *s = ctx;
	sb_fmt(s->b, "thinmesh_%s{", s->row->name);
	control_label(s->b, "service", v->name);
	sb_fmt(s->b, "} %llu\n", (unsigned long long)s->row->of(v));
}

static void page_stats(struct local_call *c)
{
	struct sidecar *sc = c->sc;
	struct sb *b = &c->body;
	c->type = "text/plain; version=0.0.4; charset=utf-8";
	stats_print(&sc->loop->stats, b);
	for (size_t i = 0; i < sizeof stats_rows / sizeof *stats_rows; i++) {
		const struct stats_row *r = &stats_rows[i];
		sb_fmt(b, "# HELP thinmesh_%s %s\n# TYPE thinmesh_%s %s\n", r->name, r->help, r->name, r->kind);
		struct stats_ctx ctx = {b, r};
		clusters_each(sc->clusters, stats_cluster, &ctx);
	}
	sb_str(b, "# HELP thinmesh_app_state State of an app: 0 unknown, 1 ok, 2 failing, 3 gone, 4 drained\n# TYPE thinmesh_app_state gauge\n");
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		sb_str(b, "thinmesh_app_state{");
		control_label(b, "app", a->conf->name);
		sb_fmt(b, "} %d\n", (int)life_state(a->life));
	}
	control_xds_stats(sc, b);
	hist_print(&sc->added, b, "thinmesh_added_seconds", "", "The sidecar's own added time of calls (sampled)");
	sb_fmt(b, "# HELP thinmesh_memory_bytes Bytes charged to accounts\n# TYPE thinmesh_memory_bytes gauge\nthinmesh_memory_bytes %zu\n", sc->loop->memory.used);
	sb_fmt(b, "# HELP thinmesh_uptime_seconds Time since the start\n# TYPE thinmesh_uptime_seconds gauge\nthinmesh_uptime_seconds %llu\n",
		(unsigned long long)((sc->loop->now_ns - sc->started_ns) / 1000000000));
}

static void text_host(void *ctx, const struct host_view *h)
{
	struct sb *b = ctx;
	sb_fmt(b, "  %-28s %-11s weight %-5u active %-5u connections %-3u calls %-8llu errors %llu", h->text, h->state, h->weight, h->active, h->connections,
		(unsigned long long)h->total, (unsigned long long)h->errors);
	if (h->zone)
		sb_fmt(b, " zone %s", h->zone);
	if (h->why)
		sb_fmt(b, " (%s)", h->why);
	sb_char(b, '\n');
}

static void text_cluster(void *ctx, struct cluster *cl, const struct cluster_view *v)
{
	struct sb *b = ctx;
	sb_fmt(b, "%s  %s, %u endpoints%s%s, active %u, pending %u, connections %u\n", v->name, v->lb, v->hosts, *v->names ? ", names " : "", v->names, v->active, v->pending,
		v->connections);
	cluster_each_host(cl, text_host, b);
}

static void page_clusters(struct local_call *c) { clusters_each(c->sc->clusters, text_cluster, &c->body); }

struct json_ctx { struct sb *b; bool first; };

static void json_host(void *ctx, const struct host_view *h)
{
	struct json_ctx *j = ctx;
	sb_str(j->b, j->first ? "{\"address\":" : ",{\"address\":");
	j->first = false;
	sb_json(j->b, str_of(h->text));
	sb_fmt(j->b, ",\"state\":\"%s\",\"weight\":%u,\"active\":%u,\"connections\":%u,\"calls\":%llu,\"errors\":%llu", h->state, h->weight, h->active, h->connections,
		(unsigned long long)h->total, (unsigned long long)h->errors);
	if (h->zone) {
		sb_str(j->b, ",\"zone\":");
		sb_json(j->b, str_of(h->zone));
	}
	if (h->why) {
		sb_str(j->b, ",\"why\":");
		sb_json(j->b, str_of(h->why));
	}
	sb_char(j->b, '}');
}

static void json_cluster(void *ctx, struct cluster *cl, const struct cluster_view *v)
{
	struct json_ctx *j = ctx;
	sb_str(j->b, j->first ? "{\"name\":" : ",{\"name\":");
	j->first = false;
	sb_json(j->b, str_of(v->name));
	sb_fmt(j->b, ",\"lb\":\"%s\",\"active\":%u,\"pending\":%u,\"connections\":%u,\"calls\":%llu,\"errors\":%llu,\"retry_tokens\":%u,\"endpoints\":[", v->lb, v->active, v->pending,
		v->connections, (unsigned long long)v->calls, (unsigned long long)v->errors, v->retry_tokens);
	struct json_ctx hosts = {j->b, true};
	cluster_each_host(cl, json_host, &hosts);
	sb_str(j->b, "]}");
}

/* What `thinmesh status` reads. Services that no call has asked for yet are live only once somebody looks: here. */
static void json_name(void *ctx, struct mesh_name *n, struct mesh_cluster *mc)
{
	(void)n;
	if (mc)
		cluster_live(ctx, mc);
}

static void page_status(struct local_call *c)
{
	struct sidecar *sc = c->sc;
	struct sb *b = &c->body;
	c->type = "application/json";
	mesh_each_service(sc->mesh, json_name, sc->clusters);
	sb_fmt(b, "{\"version\":\"%s\",\"pid\":%d,\"uptime_s\":%llu,\"ready\":%s,\"draining\":%s,\"memory_bytes\":%zu,\"calls\":%llu,\"calls_active\":%llu,\"calls_failed\":%llu,\"apps\":[",
		TM_VERSION, (int)getpid(), (unsigned long long)((sc->loop->now_ns - sc->started_ns) / 1000000000), sc->ready ? "true" : "false", sc->draining ? "true" : "false",
		sc->loop->memory.used, (unsigned long long)stat_get(&sc->loop->stats, STAT_CALLS), (unsigned long long)stat_get(&sc->loop->stats, STAT_CALLS_ACTIVE),
		(unsigned long long)stat_get(&sc->loop->stats, STAT_CALLS_FAILED));
	bool first = true;
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		struct life_view v;
		life_view(a->life, &v);
		sb_str(b, first ? "{\"name\":" : ",{\"name\":");
		first = false;
		sb_json(b, str_of(a->conf->name));
		sb_fmt(b, ",\"state\":\"%s\",\"since_unix_ms\":%llu,\"calls_active\":%u,\"calls_parked\":%u,\"listen\":[", life_state_name(v.state), (unsigned long long)(v.since_wall_ns / 1000000), a->calls,
			a->parked);
		for (uint32_t i = 0; i < a->ndoors; i++) {
			sb_str(b, i ? ",{\"address\":" : "{\"address\":");
			sb_json(b, str_of(a->doors[i]->conf->text));
			sb_fmt(b, ",\"connections\":%u}", uds_listener_clients(a->doors[i]->listener));
		}
		sb_fmt(b, "],\"in_flight\":%u,\"inbound\":[", v.in_flight);
		inbound_json(a->inbound, b);
		sb_str(b, "],\"health\":[");
		health_door_json(a->health_door, b);
		sb_str(b, "]}");
	}
	sb_str(b, "],\"services\":[");
	struct json_ctx j = {b, true};
	clusters_each(sc->clusters, json_cluster, &j);
	sb_str(b, "],\"xds\":[");
	control_xds_json(sc, b);
	sb_str(b, "]}\n");
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

/* Whoever can reach a port may see no more than a probe and a scraper need: names, addresses and log lines stay on the socket. */
static const struct local_row twin_rows[] = {
	{"GET", "/live", page_live, false, "200 while the loop turns"},
	{"GET", "/ready", page_ready, false, "200 when the listeners are open and nothing drains"},
	{"GET", "/stats", page_stats, false, "Prometheus text"},
	{NULL, NULL, NULL, false, NULL},
};

const struct local_row local_control_rows[] = {
	{"GET", "/live", page_live, false, "200 while the loop turns"},
	{"GET", "/ready", page_ready, false, "200 when the listeners are open and nothing drains"},
	{"GET", "/stats", page_stats, false, "Prometheus text"},
	{"GET", "/clusters", page_clusters, false, "services and endpoints with their state and load"},
	{"GET", "/status", page_status, false, "what `thinmesh status` shows, as JSON"},
	{"GET", "/config_dump", control_config_dump, false, "what the control plane said: names, clusters, resources, as JSON"},
	{"GET", "/log", page_log, false, "level and the last records"},
	{"POST", "/log", page_log_set, true, "?level=off|error|warn|info|debug|trace"},
	{"POST", "/freeze", freeze_page, true, "the process is about to be frozen: nothing new is begun"},
	{"POST", "/thaw", freeze_page_thaw, true, "it goes on: connections are verified, calls keep the time that they had"},
	{"GET", "/help", page_help, false, "this"},
	{NULL, NULL, NULL, false, NULL},
};
