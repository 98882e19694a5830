/* xds/dump: see the header. */
#include "xds/dump.h"

#include "xds/notes.h"
#include "xds/view.h"

enum { ENDPOINTS_SHOWN = 1000 };

struct dump { struct sb *out; bool first; struct view *view; };

static void next(struct dump *d)
{
	if (!d->first)
		sb_char(d->out, ',');
	d->first = false;
}

static void text(struct sb *out, const char *key, const char *value)
{
	sb_fmt(out, ",\"%s\":", key);
	sb_json(out, str_of(value ? value : ""));
}

/* ---- names ---- */

struct clusters_seen { struct sb *out; bool first; };

static void one_cluster_name(void *ctx, const char *cluster)
{
	struct clusters_seen *c = ctx;

	if (!c->first)
		sb_char(c->out, ',');
	c->first = false;
	sb_json(c->out, str_of(cluster));
}

static void one_name(void *ctx, struct mesh_name *n)
{
	static const char *const states[] = {"unknown", "absent", "present"};
	struct dump *d = ctx;
	struct clusters_seen c = {d->out, true};

	next(d);
	sb_str(d->out, "{\"name\":");
	sb_json(d->out, str_of(n->name));
	text(d->out, "state", states[n->state]);
	if (n->why)
		text(d->out, "why", n->why);
	sb_fmt(d->out, ",\"stale\":%s,\"clusters\":[", n->stale ? "true" : "false");
	if (n->routes)
		route_table_clusters(n->routes, one_cluster_name, &c);
	sb_str(d->out, "]}");
}

/* ---- clusters ---- */

static void one_endpoint(struct sb *out, const struct endpoint *e)
{
	static const char *const health[] = {"unknown", "healthy", "unhealthy", "draining", "degraded"};
	char where[ADDR_TEXT];

	sb_str(out, "{\"address\":");
	if (e->host) {
		struct sb name = {0};

		sb_fmt(&name, "%s:%u", e->host, e->port);
		sb_json(out, sb_view(&name)); /* a control plane's text: anything */
		sb_end(&name);
	} else {
		sb_json(out, str_of(addr_text(&e->addr, where)));
	}
	sb_fmt(out, ",\"weight\":%u,\"priority\":%u,\"health\":\"%s\"", e->weight, e->priority, health[e->health <= EP_DEGRADED ? e->health : 0]);
	if (e->locality)
		text(out, "zone", e->locality->zone);
	sb_char(out, '}');
}

static void one_cluster(void *ctx, struct mesh_cluster *c)
{
	struct dump *d = ctx;
	uint32_t count = endpoints_count(c->endpoints);

	next(d);
	sb_str(d->out, "{\"name\":");
	sb_json(d->out, str_of(c->name));
	text(d->out, "lb", lb_kind_name(c->spec->lb));
	sb_fmt(d->out, ",\"connect_timeout_ms\":%llu,\"max_connections\":%u,\"max_pending\":%u,\"max_requests\":%u,\"panic_percent\":%u",
		(unsigned long long)(c->spec->connect_timeout_ns / 1000000), c->spec->max_connections, c->spec->max_pending, c->spec->max_requests,
		c->spec->panic_percent);
	sb_fmt(d->out, ",\"endpoint_count\":%u,\"endpoints\":[", count);
	for (uint32_t i = 0; i < count && i < ENDPOINTS_SHOWN; i++) {
		struct endpoint e;

		endpoint_get(c->endpoints, i, &e);
		if (i)
			sb_char(d->out, ',');
		one_endpoint(d->out, &e);
	}
	sb_str(d->out, "]}");
}

/* ---- resources ---- */

static void words(struct sb *out, const char *key, struct sb *ended)
{
	if (ended->n) {
		sb_fmt(out, ",\"%s\":", key);
		sb_json(out, sb_view(ended));
	}
	sb_end(ended);
}

static void one_resource(void *ctx, struct resource *q)
{
	static const char *const states[] = {"asked", "present", "absent"};
	struct dump *d = ctx;

	next(d);
	sb_str(d->out, "{\"name\":");
	sb_json(d->out, str_of(q->name));
	text(d->out, "type", xds_type_name[q->type]);
	text(d->out, "state", states[q->state]);
	sb_fmt(d->out, ",\"hash\":\"%016llx\",\"stale\":%s", (unsigned long long)q->hash, q->stale ? "true" : "false");
	if (q->refused)
		text(d->out, "refused", q->refused);
	const struct route_config *routes = q->routes ? q->routes : q->listener ? q->listener->inline_routes : NULL;
	struct sb none = {0}, cannot = {0};

	if (routes)
		notes_of_routes(routes, &none, &cannot);
	else if (q->cluster && q->cluster->notes)
		sb_str(&none, q->cluster->notes);
	words(d->out, "without_effect", &none);
	words(d->out, "unsupported", &cannot);
	sb_char(d->out, '}');
}

/* Who there is, and not what: it may be a key. */
static void one_secret(void *ctx, const struct secret *s, struct str version)
{
	static const char *const states[] = {[SECRET_WAITING] = "waiting", [SECRET_FAILING] = "failing", [SECRET_READY] = "ready"};
	struct dump *d = ctx;

	next(d);
	sb_str(d->out, "{\"name\":");
	sb_json(d->out, str_of(s->name));
	text(d->out, "kind", s->kind == SECRET_CERT ? "certificate" : "roots");
	text(d->out, "state", states[s->state]);
	sb_str(d->out, ",\"version\":");
	sb_json(d->out, version);
	if (s->why)
		text(d->out, "why", s->why);
	sb_char(d->out, '}');
}

void dump_view(struct view *v, struct sb *out)
{
	struct dump d = {out, true, v};

	sb_str(out, "{\"view\":");
	sb_json(out, str_of(v->name));
	text(out, "node", v->node_id);
	text(out, "server", ads_server(v->ads));
	text(out, "state", ads_state_name(v->ads));
	struct xds_stream_info i = {0};

	workload_info(v->workload, &i);
	sb_fmt(out, ",\"health\":{\"told\":\"%s\",\"ok\":%s,\"sent\":%llu,\"registers\":%s}", xds_told_name(i.health.told), i.health.told == XDS_TOLD_NOTHING ? "null" : i.health.ok ? "true" : "false",
		(unsigned long long)i.health.sent, i.registers ? "true" : "false");
	sb_str(out, ",\"names\":[");
	mesh_view_each(v->mesh, one_name, &d);
	sb_str(out, "],\"clusters\":[");
	d.first = true;
	mesh_view_each_cluster(v->mesh, one_cluster, &d);
	sb_str(out, "],\"resources\":[");
	d.first = true;
	for (int t = 0; t < XDS_TYPES; t++)
		resources_each(v->resources, (enum xds_type)t, one_resource, &d);
	sb_str(out, "],\"secrets\":[");
	d.first = true;
	secrets_each(v->secrets, one_secret, &d);
	sb_str(out, "]}");
}
