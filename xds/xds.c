/* xds/xds: see the header. A view is made for the first app of its node and lives until the control plane is configured away. */
#include "xds/xds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "xds/ads.h"
#include "xds/dump.h"
#include "xds/node.h"
#include "xds/store.h"
#include "xds/view.h"

static const char path_sotw[] = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/* ---- views ------------------------------------------------------------------------------------------------------------------ */

static void view_want(void *ctx, struct mesh_name *n)
{
	struct view *v = ctx;

	store_want(v->store, n);
}

static bool view_make_room(void *ctx)
{
	struct view *v = ctx;

	return store_make_room(v->store);
}

static const struct mesh_view_ops view_ops = {.want = view_want, .make_room = view_make_room};

/* Reasons are printed into answers that may outlive the stream they come from. */
static void view_state(void *ctx, bool up, const char *why)
{
	struct view *v = ctx;

	snprintf(v->why, sizeof v->why, "%s", why ? why : "");
	snprintf(v->source, sizeof v->source, "xds %s", ads_server(v->ads));
	store_state(v->store, up, v->why);
}

static void view_came(void *ctx, enum xds_type t, struct str name)
{
	struct view *v = ctx;

	store_came(v->store, t, name);
}

/* Who may read the snapshot: the same servers, profile and node. */
static void identity_of(const struct conf_xds *c, const struct sb *node, struct sb *out)
{
	for (uint32_t i = 0; i < c->nservers; i++)
		sb_fmt(out, "%s ", c->servers[i]);
	sb_fmt(out, "%d %d ", (int)c->profile, (int)c->cds);
	if (c->cluster_template)
		sb_str(out, c->cluster_template);
	sb_add(out, node->p, node->n);
}

static void view_free(struct view *v)
{
	if (!v)
		return;
	list_del(&v->node);
	workload_free(&v->workload);
	if (v->resources)
		resources_save(v->resources);
	store_free(&v->store);
	secrets_free(&v->secrets);
	sub_free(&v->sub);
	ads_free(&v->ads);
	resources_free(&v->resources);
	archive_free(&v->archive);
	mesh_view_free(&v->mesh);
	sb_end(&v->node_bytes);
	free(v->name);
	free(v->node_id);
	free(v);
}

/* An agent serves one stream: all apps share the first one's. */
static bool is_behind_agent(const struct conf_xds *c)
{
	return c->nservers && str_starts(str_of(c->servers[0]), STR("unix:"));
}

static bool node_is_taken(const struct xds *x, struct str bytes)
{
	list_each(n, tmp, &x->views)
		if (str_eq(sb_view(&list_entry(n, struct view, node)->node_bytes), bytes))
			return true;
	return false;
}

static struct view *view_new(struct xds *x, const char *name, struct sb *node_taken, struct sb *id, uint64_t of, const struct secret_space *space)
{
	const struct conf_xds *c = &x->conf->xds;
	struct view *v = xnew(struct view);
	struct sb identity = {0};

	list_init(&v->node);
	v->xds = x;
	v->name = xstrdup(name);
	v->identity = of;
	v->space = space;
	v->node_bytes = *node_taken;
	*node_taken = (struct sb){0};
	v->node_id = xstrndup(id->p, id->n);
	snprintf(v->source, sizeof v->source, "xds %s", c->servers[0]);
	snprintf(v->why, sizeof v->why, "it was not reached yet");
	v->mesh = mesh_view_new(x->spec.mesh, name, &view_ops, v);
	mesh_view_set_limit(v->mesh, c->names);
	mesh_view_set_space(v->mesh, space);
	identity_of(c, &v->node_bytes, &identity);
	/* What a control plane says depends on who asks. A lone view's snapshot is found again whoever it has become; only a second one with that node is told apart. */
	if (node_is_taken(x, sb_view(&v->node_bytes)))
		sb_fmt(&identity, " %llx", (unsigned long long)of);
	v->archive = archive_open(&(struct archive_spec){.loop = x->spec.loop, .log = x->spec.log, .offload = x->spec.offload,
		.dir = x->conf->snapshot_dir && x->conf->snapshot_dir[0] ? x->conf->snapshot_dir : NULL, .view = name, .identity = sb_view(&identity),
		.account = x->account, .max_bytes = UINT64_C(1) << 30, .takeover = x->spec.takeover});
	sb_end(&identity);
	v->resources = resources_new(&(struct resources_spec){.loop = x->spec.loop, .log = x->spec.log, .archive = v->archive, .account = x->account,
		.metas = x->spec.metas, .conf = c, .view = v->name});
	v->ads = ads_new(&(struct ads_spec){.loop = x->spec.loop, .log = x->spec.log, .dns = x->spec.dns, .limits = x->spec.limits, .conf = c,
		.transports = x->spec.transports, .reader = x->spec.reader, .space = space, .path = path_sotw, .view = v->name}, NULL, NULL); /* sub becomes its user */
	v->sub = sub_new(&(struct sub_spec){.loop = x->spec.loop, .log = x->spec.log, .ads = v->ads, .conf = c, .node = v->node_bytes.p,
		.node_n = v->node_bytes.n, .view = v->name}, &resources_events, v->resources);
	resources_set_sub(v->resources, v->sub);
	v->secrets = secrets_new(&(struct secrets_spec){.loop = x->spec.loop, .log = x->spec.log, .sub = v->sub, .transports = x->spec.transports, .account = x->account, .view = v->name,
		.source = v->source});
	resources_on_state(v->resources, view_state, v);
	resources_on_came(v->resources, view_came, v);
	v->store = store_new(&(struct store_spec){.loop = x->spec.loop, .log = x->spec.log, .resources = v->resources, .sub = v->sub, .view = v->mesh,
		.conf = c, .park_ns = x->conf->park.time_ns, .source = v->source});
	v->workload = workload_new(&(struct workload_spec){.loop = x->spec.loop, .log = x->spec.log, .sub = v->sub, .ads = v->ads, .resources = v->resources,
		.view = v->name, .node = sb_view(&v->node_bytes), .is_istio = c->profile == PROFILE_ISTIO || c->profile == PROFILE_ISTIO_GRPC, .behind_agent = is_behind_agent(c)});
	list_push(&x->views, &v->node);
	ads_start(v->ads);
	store_begin(v->store);
	return v;
}

static struct view *view_of(struct xds *x, const struct conf_app *app, uint64_t identity, const struct secret_space *space, struct err *err)
{
	struct sb bytes = {0}, id = {0};
	struct err told = ERR_INIT;
	struct view *found = NULL;
	int code;

	if (is_behind_agent(&x->conf->xds) && !list_empty(&x->views))
		return list_entry(x->views.next, struct view, node);
	code = node_build(&x->conf->xds, app, x->conf->mesh_domain, &x->env, &bytes, &id, &told);
	if (code < 0)
		err_add(err, NULL, 0, 0, "app '%s': its node: %.*s", app->name, (int)strcspn(err_str(&told), "\n"), err_str(&told));
	else if (err_any(&told)) /* a variable that is no JSON is no reason not to go on */
		log_warn(x->spec.log, "app '%s': left out of its node: %.*s", app->name, (int)strcspn(err_str(&told), "\n"), err_str(&told));
	err_clear(&told);
	if (code == 0) {
		list_each(n, tmp, &x->views)
		{
			struct view *v = list_entry(n, struct view, node);

			if (v->identity == identity && str_eq(sb_view(&v->node_bytes), sb_view(&bytes)))
				found = v;
		}
		if (!found)
			found = view_new(x, app->name, &bytes, &id, identity, space);
	}
	sb_end(&bytes);
	sb_end(&id);
	return found;
}

struct mesh_view *xds_view(struct xds *x, const struct conf_app *app, uint64_t identity, const struct secret_space *space, struct err *err)
{
	struct view *v = view_of(x, app, identity, space, err);

	return v ? v->mesh : NULL;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------- */

struct xds *xds_new(const struct xds_spec *spec, struct conf *conf)
{
	struct xds *x = xnew(struct xds);

	x->spec = *spec;
	x->conf = conf_ref(conf);
	x->env = (struct node_env){.get = spec->env, .each = spec->env_each, .ctx = spec->env_ctx};
	list_init(&x->views);
	x->account = &spec->loop->memory;
	return x;
}

void xds_free(struct xds **xds)
{
	struct xds *x = *xds;

	*xds = NULL;
	if (!x)
		return;
	list_each(n, tmp, &x->views)
		view_free(list_entry(n, struct view, node));
	loop_undefer(&x->finished);
	conf_unref(&x->conf);
	free(x);
}

static bool same(const char *a, const char *b)
{
	return str_eq(str_of(a), str_of(b));
}

/* Not the stream's: what is asked through it, who asks, and what becomes of the answers. */
static bool asks_the_same(const struct conf *was, const struct conf *now)
{
	const struct conf_xds *a = &was->xds, *b = &now->xds;

	return a->profile == b->profile && a->protocol == b->protocol && a->cds == b->cds && a->wildcard == b->wildcard && a->removal_hold_ns == b->removal_hold_ns &&
		a->template_eds_only == b->template_eds_only && same(a->cluster_template, b->cluster_template) && is_behind_agent(a) == is_behind_agent(b) &&
		same(a->node.id, b->node.id) && same(a->node.cluster, b->node.cluster) && same(a->node.region, b->node.region) && same(a->node.zone, b->node.zone) &&
		same(a->node.sub_zone, b->node.sub_zone) && same(a->node.metadata, b->node.metadata) && same(was->snapshot_dir, now->snapshot_dir) &&
		same(was->mesh_domain, now->mesh_domain);
}

static void view_conf(struct view *v, const struct conf *conf)
{
	ads_conf(v->ads, &conf->xds);
	sub_conf(v->sub, &conf->xds, v->node_bytes.p, v->node_bytes.n);
	resources_conf(v->resources, &conf->xds);
	store_conf(v->store, &conf->xds, conf->park.time_ns);
	mesh_view_set_limit(v->mesh, conf->xds.names);
}

bool xds_apply(struct xds *x, struct conf *conf)
{
	struct conf *was = x->conf;

	if (!asks_the_same(was, conf))
		return false;
	if (was->xds.hash == conf->xds.hash && was->park.time_ns == conf->park.time_ns)
		return true;
	list_each(n, tmp, &x->views)
		view_conf(list_entry(n, struct view, node), conf);
	x->conf = conf_ref(conf);
	list_each(n2, tmp3, &x->views)
		store_begin(list_entry(n2, struct view, node)->store); /* names to be fetched beforehand may be new */
	conf_unref(&was);
	return true;
}

void xds_sweep(struct xds *x, bool (*used)(void *ctx, const struct mesh_view *v), void *ctx)
{
	list_each(n, tmp, &x->views)
	{
		struct view *v = list_entry(n, struct view, node);

		if (!used(ctx, v->mesh))
			view_free(v);
	}
}

void xds_thaw(struct xds *x)
{
	list_each(n, tmp, &x->views) {
		struct view *v = list_entry(n, struct view, node);

		store_thaw(v->store, x->spec.loop->stood_ns);
		ads_thaw(v->ads);
	}
}

/* ---- hot upgrade ------------------------------------------------------------------------------------------------------------------ */

bool xds_lend(struct xds *x)
{
	bool all = true;

	list_each(n, tmp, &x->views) {
		struct view *v = list_entry(n, struct view, node);

		if (is_behind_agent(&x->conf->xds)) /* it serves one stream, the newest: the two of us would take it from each other by turns */
			ads_hold(v->ads, true);
		/* What waits for a quiet moment does not wait for this one. */
		if (!resources_save_soon(v->resources) || !archive_lend(v->archive))
			all = false;
	}
	return all;
}

void xds_hush(struct xds *x, bool hushed)
{
	list_each(n, tmp, &x->views)
		workload_hush(list_entry(n, struct view, node)->workload, hushed);
}

void xds_retake(struct xds *x)
{
	list_each(n, tmp, &x->views) {
		struct view *v = list_entry(n, struct view, node);

		ads_hold(v->ads, false);
		archive_retake(v->archive);
	}
}

void xds_settle(struct xds *x)
{
	list_each(n, tmp, &x->views)
		archive_settle(list_entry(n, struct view, node)->archive);
	x->spec.takeover = false;
}

bool xds_is_prepared(const struct xds *x)
{
	list_each(n, tmp, &x->views) {
		const struct view *v = list_entry(n, struct view, node);
		struct ads_info ads;
		struct archive_info archive;

		ads_info(v->ads, &ads);
		archive_info(v->archive, &archive);
		if (!ads.up && !(archive.on_disk && archive.records))
			return false;
	}
	return true;
}

/* ---- the workload's health ------------------------------------------------------------------------------------------------------ */

static struct view *view_at(const struct xds *x, const struct mesh_view *mesh)
{
	list_each(n, tmp, &x->views)
		if (list_entry(n, struct view, node)->mesh == mesh)
			return list_entry(n, struct view, node);
	return NULL;
}

struct secret *xds_secret_get(struct xds *x, const struct mesh_view *mesh, enum secret_kind kind, const char *name, const char **why)
{
	struct view *v = view_at(x, mesh);

	*why = "there is no control plane for this app";
	return v ? secrets_get(v->secrets, kind, name, why) : NULL;
}

void xds_view_space(struct xds *x, struct mesh_view *mesh, const struct secret_space *space)
{
	struct view *v = view_at(x, mesh);

	if (!v)
		return;
	v->space = space;
	ads_space(v->ads, space);
	mesh_view_set_space(mesh, space);
}

void xds_health_say(struct xds *x, struct mesh_view *mesh, bool ok, const char *text)
{
	struct view *v = view_at(x, mesh);

	if (v)
		workload_say(v->workload, ok, text);
}

void xds_health_get(const struct xds *x, const struct mesh_view *mesh, struct xds_health *ret)
{
	const struct view *v = view_at(x, mesh);

	*ret = (struct xds_health){.told = XDS_TOLD_NOBODY};
	if (v)
		workload_get(v->workload, ret);
}

void xds_health_wait(struct xds *x, struct mesh_view *mesh, struct xds_health_wait *w, uint64_t max_ns, void (*fn)(struct xds_health_wait *w, bool told))
{
	struct view *v = view_at(x, mesh);

	workload_wait(v ? v->workload : NULL, x->spec.loop, w, max_ns, fn);
}

void xds_health_unwait(struct xds_health_wait *w)
{
	workload_unwait(w);
}

static void finished(struct task *t)
{
	struct xds *x = container_of(t, struct xds, finished);

	if (x->over)
		x->over(x->over_ctx);
}

static void stream_over(void *ctx)
{
	struct xds *x = ctx;

	if (--x->unfinished == 0)
		loop_defer(x->spec.loop, &x->finished, finished);
}

bool xds_finish(struct xds *x, void (*over)(void *ctx), void *ctx)
{
	x->over = over;
	x->over_ctx = ctx;
	list_each(n, tmp, &x->views) {
		struct view *v = list_entry(n, struct view, node);
		struct xds_health h;

		workload_get(v->workload, &h);
		if (over && h.told == XDS_TOLD_SENT)
			x->unfinished += ads_finish(v->ads, stream_over, x);
	}
	return x->unfinished > 0;
}

/* ---- for people ----------------------------------------------------------------------------------------------------------------- */

static void view_info(const struct view *v, struct xds_stream_info *i)
{
	const struct conf_xds *c = &v->xds->conf->xds;
	struct ads_info ads;
	struct archive_info archive;
	struct store_counts counts;

	ads_info(v->ads, &ads);
	archive_info(v->archive, &archive);
	store_counts(v->store, &counts);
	*i = (struct xds_stream_info){.view = v->name, .server = ads_server(v->ads), .state = ads_state_name(v->ads), .profile = xds_profile_name(c->profile),
		.protocol = sub_protocol(v->sub), .node = v->node_id, .last_error = ads_last_error(v->ads), .experimental = profiles[c->profile].experimental,
		.up = ads.up, .since_ns = ads.since_ns, .connects = ads.connects, .messages = ads.messages, .failures = ads.failed, .names = counts.names, .names_unknown = counts.unknown,
		.names_stale = counts.stale, .names_absent = counts.absent, .clusters = counts.clusters, .snapshot = archive.on_disk,
		.snapshot_state = archive.state, .snapshot_bytes = archive.bytes, .snapshot_records = archive.records};
	workload_info(v->workload, i);
	_Static_assert((int)XDS_INFO_TYPES == (int)XDS_TYPES, "a row a type");
	for (int t = 0; t < XDS_TYPES; t++) {
		struct sub_info s;

		sub_info(v->sub, (enum xds_type)t, &s);
		i->type[t].type = xds_type_name[t];
		i->type[t].wanted = resources_count(v->resources, (enum xds_type)t, &i->type[t].present);
		i->type[t].wildcard = s.wildcard;
		i->type[t].success = s.success;
		i->type[t].rejected = s.rejected;
		i->type[t].bytes = s.bytes;
		snprintf(i->type[t].version, sizeof i->type[t].version, "%s", s.version);
		snprintf(i->type[t].last_reject, sizeof i->type[t].last_reject, "%s", s.last_reject);
	}
	struct secrets_counts secrets;

	secrets_count(v->secrets, &secrets);
	i->type[XDS_SDS].wanted = secrets.wanted;
	i->type[XDS_SDS].present = secrets.present;
}

void xds_each(struct xds *x, void (*fn)(void *ctx, const struct xds_stream_info *i), void *ctx)
{
	list_each(n, tmp, &x->views)
	{
		struct xds_stream_info i;

		view_info(list_entry(n, struct view, node), &i);
		fn(ctx, &i);
	}
}

void xds_dump(struct xds *x, struct sb *out)
{
	sb_str(out, "{\"views\":[");
	list_each(n, tmp, &x->views)
	{
		if (n != x->views.next)
			sb_char(out, ',');
		dump_view(list_entry(n, struct view, node), out);
	}
	sb_str(out, "]}\n");
}
