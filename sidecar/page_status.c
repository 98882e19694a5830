/* sidecar/page_status: see the header. */
#include "sidecar/page_status.h"
#include <unistd.h>
#include "health/checker.h"
#include "lb/outlier.h"
#include "sidecar/control_xds.h"
#include "sidecar/health_door.h"
#include "sidecar/inbound.h"
#include "sidecar/page_certs.h"
#include "sidecar/pages.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static const char *yes(bool b) { return b ? "true" : "false"; }

static void member(struct sb *b, const char *key, const char *text)
{
	sb_fmt(b, ",\"%s\":", key);
	sb_json(b, str_of(text));
}

static void number(struct sb *b, const char *key, uint64_t n)
{
	sb_fmt(b, ",\"%s\":%llu", key, (unsigned long long)n);
}

/* ---- the daemon ---- */

static void json_daemon(struct sidecar *sc, struct sb *b)
{
	const struct stats *st = &sc->loop->stats;
	uint64_t up_ns = sc->loop->now_ns - sc->started_ns;
	sb_fmt(b, "\"version\":\"%s\",\"pid\":%d,\"uptime_s\":%llu,\"uptime_ms\":%llu,\"ready\":%s,\"draining\":%s,\"memory_bytes\":%zu", TM_VERSION, (int)getpid(), (unsigned long long)(up_ns / SECOND),
		(unsigned long long)(up_ns / MS), yes(sc->ready), yes(sc->draining), sc->loop->memory.used);
	number(b, "calls", stat_get(st, STAT_CALLS));
	number(b, "calls_active", stat_get(st, STAT_CALLS_ACTIVE));
	number(b, "calls_failed", stat_get(st, STAT_CALLS_FAILED));
	number(b, "inbound_calls", stat_get(st, STAT_INBOUND_CALLS));
	number(b, "inbound_refused", stat_get(st, STAT_INBOUND_REFUSED));
	sb_fmt(b, ",\"freeze\":{\"frozen\":%s,\"settling\":%s", yes(sc->loop->frozen), yes(freeze_is_settling(sc)));
	number(b, "thaws", stat_get(st, STAT_THAWS));
	number(b, "stood_ms", sc->freeze.stood_ns / MS);
	/* waiting: another process of this daemon serves yet, and we are to follow; lending, left: one begins, or serves, and we go. */
	sb_fmt(b, "},\"upgrade\":{\"state\":\"%s\"", sc->waiting ? "waiting" : sc->left ? "left" : sc->lent ? "lending" : "none");
	number(b, "upgrades", stat_get(st, STAT_UPGRADES));
	number(b, "failed", stat_get(st, STAT_UPGRADES_FAILED));
	sb_char(b, '}');
}

/* ---- apps ---- */

/* Who has heard of it: as GET /healthcheck says. */
static void json_told(struct sb *b, const struct app *a)
{
	struct xds_health h;
	sb_fmt(b, ",\"registry\":\"%s\"", readiness_registry(a));
	if (!readiness_get(a, &h)) {
		sb_str(b, ",\"told\":null");
		return;
	}
	sb_fmt(b, ",\"told\":%s,\"told_state\":\"%s\"", yes(h.told == XDS_TOLD_SENT), xds_told_name(h.told));
	if (h.told == XDS_TOLD_SENT)
		sb_fmt(b, ",\"told_ok\":%s,\"told_s_ago\":%llu", yes(h.ok), (unsigned long long)((a->sc->loop->now_ns - h.sent_ns) / SECOND));
}

static void json_life(struct sb *b, const struct app *a)
{
	uint64_t now = a->sc->loop->now_ns;
	struct life_view v;
	life_view(a->life, &v);
	sb_fmt(b, ",\"state\":\"%s\",\"since_unix_ms\":%llu", life_state_name(v.state), (unsigned long long)(v.since_wall_ns / MS));
	member(b, "why", v.why);
	if (v.known)
		sb_fmt(b, ",\"by\":{\"uid\":%u,\"pid\":%d}", v.uid, v.pid);
	if (v.lease_until_ns)
		number(b, "lease_ms", v.lease_until_ns > now ? (v.lease_until_ns - now) / MS : 0);
	if (v.check)
		sb_fmt(b, ",\"check\":{\"kind\":\"%s\",\"state\":\"%s\"}", a->conf->health.check ? check_kind_name(a->conf->health.check->kind) : "", v.check);
	number(b, "processes", v.processes);
	sb_str(b, ",\"transitions\":{");
	for (int s = 0; s < LIFE_STATES; s++)
		sb_fmt(b, "%s\"%s\":%llu", s ? "," : "", life_state_name((enum life_state)s), (unsigned long long)v.transitions[s]);
	sb_char(b, '}');
}

static void json_app(struct sb *b, const struct app *a)
{
	sb_str(b, "{\"name\":");
	sb_json(b, str_of(a->conf->name));
	json_life(b, a);
	json_told(b, a);
	page_certs_identity(a->sc, a->conf->name, b);
	sb_fmt(b, ",\"calls_active\":%u,\"calls_parked\":%u,\"listen\":[", a->calls, a->parked);
	for (uint32_t i = 0; i < a->ndoors; i++) {
		sb_str(b, i ? ",{\"address\":" : "{\"address\":");
		sb_json(b, str_of(a->doors[i]->conf->text));
		sb_fmt(b, ",\"connections\":%u}", uds_listener_clients(a->doors[i]->listener));
	}
	sb_fmt(b, "],\"in_flight\":%u,\"inbound\":[", life_in_flight(a->life));
	inbound_json(a->inbound, b);
	sb_str(b, "],\"health\":[");
	health_door_json(a->health_door, b);
	sb_str(b, "]}");
}

/* ---- services ---- */

/* Whose word it is that keeps an endpoint back, or lets it serve on. */
static const char *who_says(const char *health)
{
	static const struct { const char *health, *who; } rows[] = {{"no TLS", "mesh"}, {"eds unhealthy", "mesh"}, {"draining", "mesh"}, {"check failed", "check"}, {"check pending", "check"},
		{"ejected", "outlier"}, {"backoff", "connection"}, {"held", "removal"}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (str_is(str_of(health), rows[i].health))
			return rows[i].who;
	return NULL;
}

static void json_check(struct sb *b, const struct check_view *v, uint64_t now_ns)
{
	sb_fmt(b, ",\"check\":{\"kind\":\"%s\",\"state\":\"%s\"", v->kind, v->state);
	if (*v->why)
		member(b, "why", v->why);
	number(b, "since_s", now_ns > v->since_ns ? (now_ns - v->since_ns) / SECOND : 0);
	number(b, "successes", v->successes);
	number(b, "failures", v->failures);
	sb_char(b, '}');
}

static void json_outlier(struct sb *b, const struct outlier_view *v)
{
	sb_fmt(b, ",\"outlier\":{\"ejected\":%s,\"degraded\":%s", yes(v->ejected), yes(v->degraded));
	if (v->ejected || v->degraded)
		number(b, "left_ms", v->left_ns / MS);
	if (v->why)
		member(b, "why", v->why);
	if (v->success_rate >= 0)
		sb_fmt(b, ",\"success_rate\":%.1f", v->success_rate);
	if (v->local_success_rate >= 0)
		sb_fmt(b, ",\"local_success_rate\":%.1f", v->local_success_rate);
	number(b, "ejections", v->ejections);
	sb_char(b, '}');
}

static void json_host(void *ctx, const struct host_view *h)
{
	struct page *p = ctx;
	struct sb *b = &p->body;
	const char *who = who_says(h->health);
	struct check_view check;
	struct outlier_view outlier;
	sb_str(b, p->told++ ? ",{\"address\":" : "{\"address\":");
	sb_json(b, str_of(h->text));
	sb_fmt(b, ",\"state\":\"%s\",\"health\":\"%s\"", h->state, h->health);
	if (who)
		sb_fmt(b, ",\"by\":\"%s\"", who);
	number(b, "weight", h->weight);
	number(b, "active", h->active);
	number(b, "connections", h->connections);
	number(b, "calls", h->total);
	number(b, "errors", h->errors);
	if (h->peer.kind)
		member(b, "tls", h->peer.kind);
	if (h->peer.kind && *h->peer.version)
		member(b, "tls_version", h->peer.version);
	if (h->peer.kind && *h->peer.identity)
		member(b, "peer", h->peer.identity);
	if (h->zone)
		member(b, "zone", h->zone);
	if (h->why)
		member(b, "why", h->why);
	if (h->held)
		sb_str(b, ",\"held\":true");
	if (h->host && checker_host(h->host, &check))
		json_check(b, &check, p->sc->loop->now_ns);
	if (h->host && outlier_host_view(h->host, &outlier))
		json_outlier(b, &outlier);
	sb_char(b, '}');
}

static const char *truth_name(enum cluster_truth t)
{
	return t == TRUTH_SERVING ? "serving" : t == TRUTH_NOT_SERVING ? "not serving" : "unknown";
}

static void json_cluster(struct page *p, struct cluster *c)
{
	struct sb *b = &p->body;
	struct cluster_view v;
	cluster_view(c, &v);
	sb_str(b, p->at ? ",{\"name\":" : "{\"name\":");
	sb_json(b, str_of(v.name));
	sb_fmt(b, ",\"lb\":\"%s\",\"active\":%u,\"pending\":%u,\"connections\":%u,\"calls\":%llu,\"errors\":%llu,\"retry_tokens\":%u", v.lb, v.active, v.pending, v.connections,
		(unsigned long long)v.calls, (unsigned long long)v.errors, v.retry_tokens);
	sb_fmt(b, ",\"truth\":\"%s\",\"checked\":%s,\"panic\":%s,\"healthy\":%u,\"degraded\":%u,\"check_pending\":%u,\"check_failed\":%u,\"ejected\":%u,\"held\":%u,\"unusable\":%u", truth_name(v.truth),
		yes(v.checked), yes(v.panic), v.healthy, v.degraded, v.check_pending, v.check_failed, v.ejected, v.held, v.unusable);
	number(b, "ejections", v.counts[COUNT_EJECTED]);
	if (*v.names)
		member(b, "dns", v.names);
	if (v.building)
		sb_str(b, ",\"building\":true");
	if (v.empty_kept)
		sb_str(b, ",\"empty_kept\":true");
	if (v.note)
		member(b, "note", v.note);
	sb_fmt(b, ",\"endpoints_total\":%u,\"endpoints\":[", v.hosts);
}

static uint32_t status_slice(struct page *p, struct cluster *c, uint32_t most)
{
	uint32_t told;
	if (!p->round)
		json_cluster(p, c);
	p->round = 1;
	if (!page_hosts(p, c, most, json_host, &told)) {
		sb_str(&p->body, "]}");
		p->round = 0;
		page_next(p);
	}
	return told + 1;
}

static void status_begin(struct page *p)
{
	struct sb *b = &p->body;
	bool first = true;
	sb_char(b, '{');
	json_daemon(p->sc, b);
	sb_str(b, ",\"apps\":[");
	list_each(n, tmp, &p->sc->apps) {
		if (!first)
			sb_char(b, ',');
		first = false;
		json_app(b, list_entry(n, struct app, node));
	}
	sb_str(b, "],\"services\":[");
}

static void status_end(struct page *p)
{
	sb_str(&p->body, "],\"xds\":[");
	control_xds_json(p->sc, &p->body);
	sb_str(&p->body, "]}\n");
}

/* Services that no call has asked for yet are live only once somebody looks: here. */
static void live_name(void *ctx, struct mesh_name *n, struct mesh_cluster *mc)
{
	(void)n;
	if (mc)
		cluster_live(ctx, mc);
}

void page_status(struct local_call *c)
{
	static const struct page_kind kind = {status_begin, status_slice, status_end, "application/json"};
	mesh_each_service(c->sc->mesh, live_name, c->sc->clusters);
	page_write(c, &kind);
}

/* ---- text ---- */

static void text_host(void *ctx, const struct host_view *h)
{
	struct page *p = ctx;
	struct sb *b = &p->body;
	const char *who = who_says(h->health);
	struct check_view check;
	struct outlier_view outlier;
	p->told++;
	sb_fmt(b, "  %-28s %-13s %-8s weight %-5u active %-5u connections %-3u calls %-8llu errors %llu", h->text, h->state, str_is(str_of(h->health), h->state) ? "" : h->health, h->weight, h->active,
		h->connections, (unsigned long long)h->total, (unsigned long long)h->errors);
	if (who)
		sb_fmt(b, ", says %s", who);
	if (h->peer.kind && !str_is(str_of(h->peer.kind), "plain"))
		sb_fmt(b, ", %s%s%s%s%s", h->peer.kind, *h->peer.version ? " " : "", h->peer.version, *h->peer.identity ? " with " : "", h->peer.identity);
	if (h->zone)
		sb_fmt(b, " zone %s", h->zone);
	if (h->host && checker_host(h->host, &check))
		sb_fmt(b, ", %s check %s%s%s, %llu passed, %llu failed", check.kind, check.state, *check.why ? ": " : "", check.why, (unsigned long long)check.successes, (unsigned long long)check.failures);
	if (h->host && outlier_host_view(h->host, &outlier) && outlier.ejections)
		sb_fmt(b, ", ejected %u times, last for %s", outlier.ejections, outlier.why ? outlier.why : "");
	if (h->why)
		sb_fmt(b, " (%s)", h->why);
	sb_char(b, '\n');
}

static void text_cluster(struct page *p, struct cluster *c)
{
	struct sb *b = &p->body;
	struct cluster_view v;
	cluster_view(c, &v);
	sb_fmt(b, "%s  %s, %s, %u endpoints, %u healthy", v.name, v.lb, truth_name(v.truth), v.hosts, v.healthy);
	const struct { uint32_t n; const char *what; } more[] = {{v.degraded, "degraded"}, {v.check_pending, "check pending"}, {v.check_failed, "check failed"}, {v.ejected, "ejected"}, {v.held, "held"},
		{v.unusable, "without TLS"}};
	for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
		if (more[i].n)
			sb_fmt(b, ", %u %s", more[i].n, more[i].what);
	sb_fmt(b, "%s%s%s, active %u, pending %u, connections %u\n", v.panic ? ", panic" : "", *v.names ? ", names " : "", v.names, v.active, v.pending, v.connections);
}

static uint32_t clusters_slice(struct page *p, struct cluster *c, uint32_t most)
{
	struct cluster_view v;
	uint32_t told;
	if (!p->round)
		text_cluster(p, c);
	p->round = 1;
	if (!page_hosts(p, c, most, text_host, &told)) {
		cluster_view(c, &v);
		if (p->told < v.hosts)
			sb_fmt(&p->body, "  and %u more\n", v.hosts - p->told);
		p->round = 0;
		page_next(p);
	}
	return told + 1;
}

static void nothing(struct page *p)
{
	(void)p;
}

void page_clusters(struct local_call *c)
{
	static const struct page_kind kind = {nothing, clusters_slice, nothing, "text/plain; charset=utf-8"};
	page_write(c, &kind);
}
