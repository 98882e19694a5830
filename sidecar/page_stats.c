/* sidecar/page_stats: see the header. A metric has all its samples together, after one HELP and one TYPE: so the page goes through the services once a row. */
#include "sidecar/page_stats.h"
#include "lb/outlier.h"
#include "sidecar/control_xds.h"
#include "sidecar/inbound.h"
#include "sidecar/page_certs.h"
#include "sidecar/pages.h"

/* Label values: backslash, quote and newline are escaped (Prometheus text format). */
void page_label(struct sb *b, const char *key, const char *value)
{
	sb_fmt(b, "%s=\"", key);
	for (const char *p = value; *p; p++) {
		if (*p == '\\' || *p == '"')
			sb_char(b, '\\');
		sb_char(b, *p == '\n' ? ' ' : *p);
	}
	sb_char(b, '"');
}

static void head(struct sb *b, const char *name, const char *kind, const char *help)
{
	sb_fmt(b, "# HELP thinmesh_%s %s\n# TYPE thinmesh_%s %s\n", name, help, name, kind);
}

/* ---- services ---- */

enum only { ALL, CHECKED, OUTLIER };
struct row {
	const char *name, *kind, *help;
	enum only only;                /* services that have it */
	uint64_t (*of)(const struct cluster_view *v);
	enum cluster_counter count;    /* of NULL: this one */
};
static uint64_t of_hosts(const struct cluster_view *v) { return v->hosts; }
static uint64_t of_active(const struct cluster_view *v) { return v->active; }
static uint64_t of_pending(const struct cluster_view *v) { return v->pending; }
static uint64_t of_connections(const struct cluster_view *v) { return v->connections; }
static uint64_t of_calls(const struct cluster_view *v) { return v->calls; }
static uint64_t of_errors(const struct cluster_view *v) { return v->errors; }
static uint64_t of_full(const struct cluster_view *v) { return v->full; }
static uint64_t of_pending_full(const struct cluster_view *v) { return v->pending_full; }
static uint64_t of_connections_full(const struct cluster_view *v) { return v->connections_full; }
static uint64_t of_members(const struct cluster_view *v) { return v->hosts - v->held; }
static uint64_t of_healthy(const struct cluster_view *v) { return v->healthy; }
static uint64_t of_degraded(const struct cluster_view *v) { return v->degraded; }
static uint64_t of_held(const struct cluster_view *v) { return v->held; }
static uint64_t of_serving(const struct cluster_view *v) { return v->truth == TRUTH_SERVING; }
static uint64_t of_check_failed(const struct cluster_view *v) { return v->check_failed; }
static uint64_t of_check_pending(const struct cluster_view *v) { return v->check_pending; }
static uint64_t of_check_healthy(const struct cluster_view *v) { return v->hosts - v->held - v->check_failed - v->check_pending; }
static uint64_t of_ejected(const struct cluster_view *v) { return v->ejected; }

#define EJECTED_FOR(kind, name, what) \
	{"cluster_outlier_detection_ejections_enforced_" name "_total", "counter", "Endpoints of a service ejected for " what, OUTLIER, NULL, (enum cluster_counter)(COUNT_EJECTED_FOR + (kind))}
static const struct row rows[] = {
	{"cluster_hosts", "gauge", "Endpoints of a service, held ones included", ALL, of_hosts, 0},
	{"cluster_active", "gauge", "Calls in progress to a service", ALL, of_active, 0},
	{"cluster_pending", "gauge", "Calls that wait for a connection to a service", ALL, of_pending, 0},
	{"cluster_connections", "gauge", "Connections to a service", ALL, of_connections, 0},
	{"cluster_calls_total", "counter", "Attempts at a service's providers", ALL, of_calls, 0},
	{"cluster_errors_total", "counter", "Attempts that a service's providers failed", ALL, of_errors, 0},
	{"cluster_limited_requests_total", "counter", "Calls refused at the service's limits.requests", ALL, of_full, 0},
	{"cluster_limited_pending_total", "counter", "Calls refused at the service's limits.pending", ALL, of_pending_full, 0},
	{"cluster_limited_connections_total", "counter", "Calls refused at the service's limits.connections", ALL, of_connections_full, 0},
	{"cluster_membership_total", "gauge", "Endpoints in the assignment of a service", ALL, of_members, 0},
	{"cluster_membership_healthy", "gauge", "Endpoints of a service that may serve now", ALL, of_healthy, 0},
	{"cluster_membership_degraded", "gauge", "Endpoints of a service that serve where the healthy ones are not enough", ALL, of_degraded, 0},
	{"cluster_membership_held", "gauge", "Endpoints that left the assignment of a service and are used on because they live", ALL, of_held, 0},
	{"cluster_serving", "gauge", "1 while a call to the service would find a provider", ALL, of_serving, 0},
	{"cluster_lb_healthy_panic_total", "counter", "Choices of a provider in panic: too few were healthy, so all were used", ALL, NULL, COUNT_PANIC},
	{"cluster_health_check_attempt_total", "counter", "Health checks of a service's providers begun", CHECKED, NULL, COUNT_CHECK_ATTEMPT},
	{"cluster_health_check_success_total", "counter", "Health checks of a service's providers that passed", CHECKED, NULL, COUNT_CHECK_SUCCESS},
	{"cluster_health_check_failure_total", "counter", "Health checks of a service's providers that failed", CHECKED, NULL, COUNT_CHECK_FAILURE},
	{"cluster_health_check_network_failure_total", "counter", "Health checks of a service's providers that failed because nobody answered", CHECKED, NULL, COUNT_CHECK_NETWORK_FAILURE},
	{"cluster_health_check_passive_failure_total", "counter", "Answers to calls that said that their provider fails", CHECKED, NULL, COUNT_CHECK_PASSIVE_FAILURE},
	{"cluster_health_check_healthy", "gauge", "Endpoints of a service whom no check keeps back", CHECKED, of_check_healthy, 0},
	{"cluster_health_check_failed", "gauge", "Endpoints of a service that fail their checks", CHECKED, of_check_failed, 0},
	{"cluster_health_check_pending", "gauge", "Endpoints of a service whose first check is awaited", CHECKED, of_check_pending, 0},
	{"cluster_outlier_detection_ejections_active", "gauge", "Endpoints of a service that are ejected now", OUTLIER, of_ejected, 0},
	{"cluster_outlier_detection_ejections_enforced_total", "counter", "Endpoints of a service ejected", OUTLIER, NULL, COUNT_EJECTED},
	{"cluster_outlier_detection_ejections_overflow_total", "counter", "Ejections of a service's endpoints that max_ejection_percent forbade", OUTLIER, NULL, COUNT_EJECTIONS_OVERFLOW},
	EJECTED_FOR(OUTLIER_5XX, "consecutive_5xx", "too many 5xx in a row"),
	EJECTED_FOR(OUTLIER_GATEWAY, "consecutive_gateway_failure", "too many gateway failures in a row"),
	EJECTED_FOR(OUTLIER_LOCAL_ORIGIN, "consecutive_local_origin_failure", "too many connect failures, resets and timeouts in a row"),
	EJECTED_FOR(OUTLIER_SUCCESS_RATE, "success_rate", "a success rate far below that of the others"),
	EJECTED_FOR(OUTLIER_LOCAL_SUCCESS_RATE, "local_origin_success_rate", "a success rate of connecting far below that of the others"),
	EJECTED_FOR(OUTLIER_FAILURE_PERCENTAGE, "failure_percentage", "too high a percentage of failures"),
	EJECTED_FOR(OUTLIER_LOCAL_FAILURE_PERCENTAGE, "local_origin_failure_percentage", "too high a percentage of connect failures, resets and timeouts"),
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static uint32_t stats_slice(struct page *p, struct cluster *c, uint32_t most)
{
	const struct row *r = &rows[p->round];
	struct cluster_view v;
	(void)most;
	if (p->at == 0)
		head(&p->body, r->name, r->kind, r->help);
	cluster_view(c, &v);
	if (r->only == ALL || (r->only == CHECKED ? v.checked : v.outlier)) {
		sb_fmt(&p->body, "thinmesh_%s{", r->name);
		page_label(&p->body, "service", v.name);
		sb_fmt(&p->body, "} %llu\n", (unsigned long long)(r->of ? r->of(&v) : v.counts[r->count]));
	}
	page_next(p);
	if (p->at == p->count && ++p->round < ROWS)
		p->at = 0;
	return 1;
}

/* ---- apps ---- */

static void app_sample(struct sb *b, const char *name, const struct app *a, const char *state, uint64_t n)
{
	sb_fmt(b, "thinmesh_%s{", name);
	page_label(b, "app", a->conf->name);
	if (state) {
		sb_char(b, ',');
		page_label(b, "state", state);
	}
	sb_fmt(b, "} %llu\n", (unsigned long long)n);
}

static uint64_t of_state(const struct app *a, const struct life_view *v) { (void)a; return v->state; }
static uint64_t of_calls_active(const struct app *a, const struct life_view *v) { (void)v; return a->calls; }
static uint64_t of_in_flight(const struct app *a, const struct life_view *v) { (void)a; return v->in_flight; }
static uint64_t of_inbound(const struct app *a, const struct life_view *v) { (void)v; return inbound_connections(a->inbound); }
static uint64_t of_watched(const struct app *a, const struct life_view *v) { (void)a; return v->processes; }
static uint64_t of_check(const struct app *a, const struct life_view *v) { (void)a; return v->check && str_is(str_of(v->check), "passed"); }
static const struct { const char *name, *help; uint64_t (*of)(const struct app *a, const struct life_view *v); } app_rows[] = {
	{"app_state", "State of an app: 0 unknown, 1 ok, 2 failing, 3 gone, 4 drained", of_state},
	{"app_calls_active", "Calls of an app in progress", of_calls_active},
	{"app_inbound_in_flight", "Calls to an app in progress", of_in_flight},
	{"app_inbound_connections", "Connections of those who call an app", of_inbound},
	{"app_processes_watched", "Processes of an app that are watched until they end", of_watched},
	{"app_check_passed", "1 while the own check of an app passes", of_check},
};

static void stats_apps(struct sidecar *sc, struct sb *b)
{
	struct life_view v;
	for (size_t i = 0; i < sizeof app_rows / sizeof app_rows[0]; i++) {
		head(b, app_rows[i].name, "gauge", app_rows[i].help);
		list_each(n, tmp, &sc->apps) {
			const struct app *a = list_entry(n, struct app, node);
			life_view(a->life, &v);
			app_sample(b, app_rows[i].name, a, NULL, app_rows[i].of(a, &v));
		}
	}
	head(b, "app_transitions_total", "counter", "Times an app came into a state");
	list_each(n, tmp, &sc->apps) {
		const struct app *a = list_entry(n, struct app, node);
		life_view(a->life, &v);
		for (int s = 0; s < LIFE_STATES; s++)
			app_sample(b, "app_transitions_total", a, life_state_name((enum life_state)s), v.transitions[s]);
	}
}

/* ---- the page ---- */

static void stats_begin(struct page *p)
{
	stats_print(&p->sc->loop->stats, &p->body);
	for (size_t i = 0; !p->count && i < ROWS; i++)
		head(&p->body, rows[i].name, rows[i].kind, rows[i].help);
}

static void stats_end(struct page *p)
{
	struct sidecar *sc = p->sc;
	struct sb *b = &p->body;
	stats_apps(sc, b);
	page_certs_stats(sc, b);
	control_xds_stats(sc, b);
	hist_print(&sc->added, b, "thinmesh_added_seconds", "", "The sidecar's own added time of calls (sampled)");
	head(b, "memory_bytes", "gauge", "Bytes charged to accounts");
	sb_fmt(b, "thinmesh_memory_bytes %zu\n", sc->loop->memory.used);
	head(b, "uptime_seconds", "gauge", "Time since the start");
	sb_fmt(b, "thinmesh_uptime_seconds %llu\n", (unsigned long long)((sc->loop->now_ns - sc->started_ns) / 1000000000));
}

void page_stats(struct local_call *c)
{
	static const struct page_kind kind = {stats_begin, stats_slice, stats_end, "text/plain; version=0.0.4; charset=utf-8"};
	page_write(c, &kind);
}
