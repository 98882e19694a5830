/* sidecar/control_xds: what the control socket's pages say of the control plane. See the header. */
#include "sidecar/control_xds.h"
#include "sidecar/page_stats.h"
#include "sidecar/sidecar.h"

struct page_part { struct sb *b; bool first; uint64_t now_ns; };

/* ---- /status ---- */

static void json_stream(void *ctx, const struct xds_stream_info *i)
{
	struct page_part *j = ctx;
	struct sb *b = j->b;
	sb_str(b, j->first ? "{\"view\":" : ",{\"view\":");
	j->first = false;
	sb_json(b, str_of(i->view));
	sb_str(b, ",\"server\":");
	sb_json(b, str_of(i->server));
	sb_fmt(b, ",\"state\":\"%s\",\"up\":%s,\"since_s\":%llu,\"profile\":\"%s\",\"experimental\":%s,\"protocol\":\"%s\",\"connects\":%llu,\"messages\":%llu,\"node\":", i->state,
		i->up ? "true" : "false", (unsigned long long)((j->now_ns - i->since_ns) / 1000000000), i->profile, i->experimental ? "true" : "false", i->protocol,
		(unsigned long long)i->connects, (unsigned long long)i->messages);
	sb_json(b, str_of(i->node));
	sb_str(b, ",\"last_error\":");
	sb_json(b, str_of(i->last_error));
	sb_fmt(b, ",\"names\":%u,\"names_unknown\":%u,\"names_absent\":%u,\"names_stale\":%u,\"clusters\":%u,\"snapshot\":{\"on_disk\":%s,\"state\":", i->names, i->names_unknown,
		i->names_absent, i->names_stale, i->clusters, i->snapshot ? "true" : "false");
	sb_json(b, str_of(i->snapshot_state));
	sb_fmt(b, ",\"records\":%u,\"bytes\":%llu},\"types\":[", i->snapshot_records, (unsigned long long)i->snapshot_bytes);
	for (int t = 0; t < XDS_INFO_TYPES; t++) {
		sb_fmt(b, "%s{\"type\":\"%s\",\"wanted\":%u,\"present\":%u,\"wildcard\":%s,\"version\":", t ? "," : "", i->type[t].type, i->type[t].wanted, i->type[t].present,
			i->type[t].wildcard ? "true" : "false");
		sb_json(b, str_of(i->type[t].version));
		sb_fmt(b, ",\"update_success\":%llu,\"update_rejected\":%llu,\"bytes\":%llu,\"last_reject\":", (unsigned long long)i->type[t].success,
			(unsigned long long)i->type[t].rejected, (unsigned long long)i->type[t].bytes);
		sb_json(b, str_of(i->type[t].last_reject));
		sb_char(b, '}');
	}
	sb_fmt(b, "],\"health\":{\"told\":\"%s\",\"ok\":%s,\"sent\":%llu,\"sent_s_ago\":", xds_told_name(i->health.told), i->health.told == XDS_TOLD_NOTHING ? "null" : i->health.ok ? "true" : "false",
		(unsigned long long)i->health.sent);
	if (i->health.sent)
		sb_fmt(b, "%llu", (unsigned long long)((j->now_ns - i->health.sent_ns) / 1000000000));
	else
		sb_str(b, "null");
	sb_fmt(b, ",\"registers\":%s,\"registered_again\":%llu}}", i->registers ? "true" : "false", (unsigned long long)i->registered_again);
}

void control_xds_json(struct sidecar *sc, struct sb *out)
{
	struct page_part part = {out, true, sc->loop->now_ns};
	if (sc->xds)
		xds_each(sc->xds, json_stream, &part);
}

/* ---- /config_dump ---- */

void control_config_dump(struct local_call *c)
{
	c->type = "application/json";
	if (c->sc->xds)
		xds_dump(c->sc->xds, &c->body);
	else
		sb_str(&c->body, "{\"views\":[]}\n");
}

/* ---- /stats: Envoy's words (control_plane.connected_state, <type>.update_success ...) ---- */

/* One row a metric: of a view (type < 0), or of each of its types. */
static uint64_t of_up(const struct xds_stream_info *i, int t) { (void)t; return i->up; }
static uint64_t of_connects(const struct xds_stream_info *i, int t) { (void)t; return i->connects; }
static uint64_t of_messages(const struct xds_stream_info *i, int t) { (void)t; return i->messages; }
static uint64_t of_failures(const struct xds_stream_info *i, int t) { (void)t; return i->failures; }
static uint64_t of_names(const struct xds_stream_info *i, int t) { (void)t; return i->names; }
static uint64_t of_unknown(const struct xds_stream_info *i, int t) { (void)t; return i->names_unknown; }
static uint64_t of_absent(const struct xds_stream_info *i, int t) { (void)t; return i->names_absent; }
static uint64_t of_stale(const struct xds_stream_info *i, int t) { (void)t; return i->names_stale; }
static uint64_t of_snapshot(const struct xds_stream_info *i, int t) { (void)t; return i->snapshot_bytes; }
static uint64_t of_health_sent(const struct xds_stream_info *i, int t) { (void)t; return i->health.sent; }
static uint64_t of_health_told(const struct xds_stream_info *i, int t) { (void)t; return i->health.told == XDS_TOLD_SENT; }
static uint64_t of_again(const struct xds_stream_info *i, int t) { (void)t; return i->registered_again; }
static uint64_t of_success(const struct xds_stream_info *i, int t) { return i->type[t].success; }
static uint64_t of_rejected(const struct xds_stream_info *i, int t) { return i->type[t].rejected; }
static uint64_t of_bytes(const struct xds_stream_info *i, int t) { return i->type[t].bytes; }
static uint64_t of_wanted(const struct xds_stream_info *i, int t) { return i->type[t].wanted; }
static uint64_t of_present(const struct xds_stream_info *i, int t) { return i->type[t].present; }

struct xds_row { const char *name, *kind, *help; bool by_type; uint64_t (*of)(const struct xds_stream_info *i, int t); };
static const struct xds_row rows[] = {
	{"control_plane_connected_state", "gauge", "1 while a stream to the control plane has answered", false, of_up},
	{"control_plane_connects_total", "counter", "Streams to the control plane that were opened", false, of_connects},
	{"control_plane_messages_total", "counter", "Messages from the control plane", false, of_messages},
	{"xds_update_failure_total", "counter", "Tries to reach the control plane that failed, and streams that were lost", false, of_failures},
	{"xds_names", "gauge", "Names that were asked for and not given up", false, of_names},
	{"xds_names_unknown", "gauge", "Names that nobody has answered yet", false, of_unknown},
	{"xds_names_absent", "gauge", "Names that do not exist, watched all the same", false, of_absent},
	{"xds_names_stale", "gauge", "Names served from the snapshot, not confirmed yet", false, of_stale},
	{"xds_snapshot_bytes", "gauge", "Size of the snapshot", false, of_snapshot},
	{"xds_health_sent_total", "counter", "Times that the app's health was given to the control plane", false, of_health_sent},
	{"xds_health_told", "gauge", "1 while the control plane has the app's last word on its health", false, of_health_told},
	{"xds_registered_again_total", "counter", "Streams ended because the app's own endpoint had vanished", false, of_again},
	{"xds_update_success_total", "counter", "Answers that were accepted (ACK)", true, of_success},
	{"xds_update_rejected_total", "counter", "Answers that were refused, wholly or in part (NACK)", true, of_rejected},
	{"xds_update_bytes_total", "counter", "Bytes of resources received", true, of_bytes},
	{"xds_resources_wanted", "gauge", "Resources that names or clusters need", true, of_wanted},
	{"xds_resources_present", "gauge", "Of these the ones that are there", true, of_present},
};
struct stats_part { struct sb *b; const struct xds_row *row; };

static void stats_stream(void *ctx, const struct xds_stream_info *i)
{
	struct stats_part *s = ctx;
	for (int t = 0; t < (s->row->by_type ? XDS_INFO_TYPES : 1); t++) {
		sb_fmt(s->b, "thinmesh_%s{", s->row->name);
		page_label(s->b, "view", i->view);
		if (s->row->by_type) {
			sb_char(s->b, ',');
			page_label(s->b, "type", i->type[t].type);
		}
		sb_fmt(s->b, "} %llu\n", (unsigned long long)s->row->of(i, t));
	}
}

void control_xds_stats(struct sidecar *sc, struct sb *out)
{
	for (size_t r = 0; sc->xds && r < sizeof rows / sizeof *rows; r++) {
		struct stats_part s = {out, &rows[r]};
		sb_fmt(out, "# HELP thinmesh_%s %s\n# TYPE thinmesh_%s %s\n", rows[r].name, rows[r].help, rows[r].name, rows[r].kind);
		xds_each(sc->xds, stats_stream, &s);
	}
}
