/* sidecar/sidecar: see sidecar.h. Start, reload, drain, end. */
#include "sidecar/sidecar.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "health/checker.h"
#include "sidecar/access.h"
#include "sidecar/advice.h"
#include "sidecar/attempt.h"
#include "sidecar/cgroup.h"
#include "sidecar/control.h"
#include "sidecar/drain.h"
#include "sidecar/exchange.h"
#include "sidecar/grpc_health.h"
#include "sidecar/expiry.h"
#include "sidecar/identities.h"
#include "sidecar/removals.h"

/* ---- a call comes in ---- */

void sidecar_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct app_door *d = user;
	struct exchange_door door = {.sc = d->app->sc, .app = d->app, .rows = local_app_rows, .default_authority = d->conf->default_authority,
		.cred = uds_client_cred(client), .client = client, .trusted = d->conf->trusted};
	exchange_start(&door, s, head, fin, refuse);
}

/* ---- memory: soft in exchange_forward; hard here, from a timer that runs only above the soft mark ---- */

static void memory_over(struct timer *t)
{
	struct sidecar *sc = container_of(t, struct sidecar, memory_timer);
	for (int i = 0; i < 64 && account_above(&sc->loop->memory, sc->memory_hard); i++)
		if (!uds_doors_shed(sc->doors)) {
			pools_shed(clusters_pools(sc->clusters));
			break;
		}
	sidecar_memory_check(sc);
}

void sidecar_memory_check(struct sidecar *sc)
{
	if (account_above(&sc->loop->memory, sc->memory_soft) && !timer_armed(&sc->memory_timer))
		timer_in(sc->loop, &sc->memory_timer, 100 * 1000000ull, memory_over);
}

enum { MEMORY_DEFAULT = 256 << 20 };

/* limits.memory, or the cgroup's, or 256 MiB. */
static uint64_t memory_given(const struct sidecar *sc)
{
	uint64_t all = sc->limits.memory;
	if (!all && loop_is_real(sc->loop))
		all = cgroup_memory("");
	return all ? all : MEMORY_DEFAULT;
}

static void sidecar_limits(struct sidecar *sc)
{
	sc->limits = sc->conf->limits;
	uint64_t all = memory_given(sc);
	sc->memory_soft = all / 100 * sc->limits.memory_soft_percent;
	sc->memory_hard = all / 100 * sc->limits.memory_hard_percent;
	sc->memory_outside = sc->memory_soft / 10 * 8;
	sc->memory_asked = sc->memory_soft / 10 * 9;
	sc->loop->memory.limit = all;
}

/* ---- what is declared ---- */

static void mesh_due(struct task *t)
{
	mesh_tell(container_of(t, struct sidecar, mesh_task)->mesh);
}

static void mesh_defer(void *ctx)
{
	struct sidecar *sc = ctx;
	loop_defer(sc->loop, &sc->mesh_task, mesh_due);
}

static void advise(void *ctx, const char *place, const char *whose, const char *text)
{
	const struct sidecar *sc = ctx;
	(void)place;
	log_warn(sc->log, "%s: %s", whose, text);
}

static void publish_services(struct sidecar *sc, const struct conf *was)
{
	const struct conf *now = sc->conf;
	advice_conf(now, &(struct advice){.say = advise, .ctx = sc}); /* as often as it is configured */
	for (uint32_t i = 0; was && i < was->nservices; i++) {
		bool stays = false;
		for (uint32_t k = 0; k < now->nservices && !stays; k++)
			stays = strcmp(was->services[i].name, now->services[k].name) == 0;
		if (!stays) {
			log_info(sc->log, "service '%s': removed", was->services[i].name);
			mesh_del_service(sc->mesh, was->services[i].name);
		}
	}
	for (uint32_t i = 0; i < now->nservices; i++) {
		const struct conf_service *s = &now->services[i];
		mesh_put_service(sc->mesh, s->name, route_table_single(route_action_ref(s->action)), spec_ref(s->spec), endpoints_ref(s->endpoints));
		if (s->spec->nchecks) /* asked before the first call wants to know */
			cluster_live(sc->clusters, mesh_cluster_find(sc->mesh, NULL, str_of(s->name)));
	}
}

/* ---- the control plane ---- */

struct offload *sidecar_offload(struct sidecar *sc)
{
	if (!sc->offload)
		sc->offload = offload_new(sc->loop);
	return sc->offload;
}

struct reader *sidecar_reader(struct sidecar *sc)
{
	if (!sc->reader)
		sc->reader = reader_new(sc->loop);
	return sc->reader;
}

/* One that is configured anew takes the place of the old one: its names are asked again, calls in progress go on. */
static void apply_xds(struct sidecar *sc)
{
	if (sc->xds && (!sc->conf->xds.nservers || !xds_apply(sc->xds, sc->conf))) {
		list_each(n, tmp, &sc->apps)
			list_entry(n, struct app, node)->names.view = NULL;
		list_each(m, tmp2, &sc->walking)
			list_entry(m, struct app, node)->names.view = NULL;
		xds_free(&sc->xds);
	}
	if (sc->xds || !sc->conf->xds.nservers)
		return;
	if (!sc->metas)
		sc->metas = endpoint_metas_new(&sc->loop->memory, loop_random(sc->loop));
	struct xds_spec spec = {.loop = sc->loop, .log = sc->log, .mesh = sc->mesh, .dns = sc->dns, .offload = sidecar_offload(sc), .reader = sidecar_reader(sc), .transports = sc->transports, .limits = &sc->limits, .metas = sc->metas, .takeover = sc->waiting,
		.env = sc->spec.env, .env_each = sc->spec.env_each, .env_ctx = sc->spec.ctx};
	sc->xds = xds_new(&spec, sc->conf);
}

/* ---- apps ---- */

static struct app *sidecar_app(struct sidecar *sc, const char *name)
{
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		if (strcmp(a->conf->name, name) == 0)
			return a;
	}
	return NULL;
}

static bool view_is_used(void *ctx, const struct mesh_view *v)
{
	struct sidecar *sc = ctx;
	list_each(n, tmp, &sc->apps)
		if (list_entry(n, struct app, node)->names.view == v)
			return true;
	list_each(m, tmp2, &sc->walking)
		if (list_entry(m, struct app, node)->names.view == v)
			return true;
	return false;
}

/* A view outlives the app that it was made for while others use it: its space is that of the first who is there. */
static void views_space(struct sidecar *sc, struct list *apps)
{
	for (struct list *n = apps->prev; n != apps; n = n->prev) {
		struct app *a = list_entry(n, struct app, node);
		if (a->names.view)
			xds_view_space(sc->xds, a->names.view, a->space);
	}
}

void sidecar_views_left(struct sidecar *sc)
{
	if (sc->xds) {
		xds_sweep(sc->xds, view_is_used, sc);
		views_space(sc, &sc->walking);
		views_space(sc, &sc->apps);
	}
	identities_sweep(sc->identities);
}

static void apply_apps(struct sidecar *sc, struct err *err)
{
	struct conf *now = sc->conf;
	list_each(n, tmp, &sc->apps) { /* the removed first: their paths may be wanted by others */
		struct app *a = list_entry(n, struct app, node);
		bool stays = false;
		for (uint32_t i = 0; i < now->napps && !stays; i++)
			stays = strcmp(now->apps[i].name, a->conf->name) == 0;
		if (!stays)
			app_remove(a);
	}
	for (uint32_t i = 0; i < now->napps; i++) {
		struct app *a = sidecar_app(sc, now->apps[i].name);
		if (!a)
			a = app_new(sc, now, &now->apps[i]);
		app_apply(a, now, &now->apps[i]);
	}
	list_each(n, tmp, &sc->apps)
		app_open(list_entry(n, struct app, node), err);
	list_each(n, tmp, &sc->apps) /* names, paths, routes: all may be others now */
		grpc_health_life(list_entry(n, struct app, node));
	sidecar_views_left(sc);
	readiness_apply(sc);
}

/* ---- watching folders ---- */

static void folder_changed(void *user)
{
	struct sidecar *sc = user;
	log_info(sc->log, "configuration: a watched folder has changed");
	sidecar_reload(sc);
}

static void watch_folders(struct sidecar *sc)
{
	for (uint32_t i = 0; i < sc->nwatches; i++)
		watch_free(&sc->watches[i]);
	free(sc->watches);
	sc->watches = xalloc((sc->conf->nfolders + 1) * sizeof *sc->watches);
	sc->nwatches = 0;
	for (uint32_t i = 0; i < sc->conf->nfolders; i++) {
		int rc = watch_new(sc->loop, sc->conf->folders[i], folder_changed, sc, &sc->watches[sc->nwatches]);
		if (rc == 0)
			sc->nwatches++;
		else
			log_warn(sc->log, "configuration: folder '%s' can't be watched (%s); SIGHUP still reloads", sc->conf->folders[i], strerror(-rc));
	}
}

/* ---- start ---- */

static void sidecar_trim(void *ctx)
{
	struct sidecar *sc = ctx;
	pool_mem_trim(&sc->exchanges, 16);
	pool_mem_trim(&sc->attempts, 16);
}

static void sidecar_thaw(void *ctx)
{
	struct sidecar *sc = ctx;
	freeze_thaw(sc);
	identities_thaw(sc->identities);
	expiry_thaw(sc->expiry);
}

static void tell(struct sidecar *sc, const char *what, const char *text)
{
	if (sc->spec.tell)
		sc->spec.tell(sc->spec.ctx, what, text);
}

static void tell_ready(struct sidecar *sc)
{
	char text[128];
	snprintf(text, sizeof text, "%u apps, %u services", sc->conf->napps, sc->conf->nservices);
	tell(sc, "READY", text);
}

static void begin_to_serve(void *ctx)
{
	struct sidecar *sc = ctx;
	sc->ready = true;
	log_info(sc->log, "ready: %u apps, %u services", sc->conf->napps, sc->conf->nservices);
	tell_ready(sc);
}

/* Ready is who can call: the doors are open, and the first certificates have come or were waited for long enough (park.time). */
static void serve_when_prepared(struct sidecar *sc)
{
	if (identities_prepared(sc->identities))
		begin_to_serve(sc);
	else
		identities_on_prepared(sc->identities, begin_to_serve, sc);
}

/* Once for each transport, user and reason, until a handshake of that transport succeeds, and then at most once a minute. */
static void handshake_failed(void *ctx, const struct transport_failure *f)
{
	const struct sidecar *sc = ctx;
	const struct tls_want *w = transport_want(f->transport);
	const bool named = w->cert.from == SECRET_IDENTITY && w->cert.name && *w->cert.name;
	char peer[ADDR_TEXT] = "", more[96] = "";
	struct sb line = {0};
	if (f->untold)
		snprintf(more, sizeof more, "; %llu others that failed before it were not told", (unsigned long long)f->untold);
	if (!f->peer || !addr_text(f->peer, peer))
		snprintf(peer, sizeof peer, "?");
	if (transport_serves(f->transport)) {
		log_warn(sc->log, "TLS to %s from %s failed: %s; the connection is closed; callers that fail for the same reason are not told until one succeeds%s", *f->whom ? f->whom : "us", peer, f->why,
			more);
		return;
	}
	sb_fmt(&line, "TLS to %s (%s", *f->whom ? f->whom : "a peer", peer);
	if (w->sni)
		sb_fmt(&line, ", sni %s", w->sni);
	if (*f->what)
		sb_fmt(&line, ", %s", f->what);
	sb_str(&line, ")");
	if (named)
		sb_fmt(&line, " as app '%s'", w->cert.name);
	log_warn(sc->log, "%s failed: %s; the connection is closed, nothing goes out in plain text; told once until it succeeds%s", line.p, f->why, more);
	sb_end(&line);
}

int sidecar_new(const struct sidecar_spec *spec, struct sidecar **ret, struct err *err)
{
	struct sidecar *sc = xnew(struct sidecar);
	struct loop *l = spec->loop;
	int before = err->count;
	sc->spec = *spec;
	sc->loop = l;
	sc->log = spec->log;
	sc->conf = spec->conf;
	sc->started_ns = l->now_ns;
	sc->started_wall_ns = l->ops->wall_ns(l->ops_ctx);
	list_init(&sc->apps);
	list_init(&sc->walking);
	pool_mem_init(&sc->exchanges, sizeof(struct exchange), 4096);
	pool_mem_init(&sc->attempts, sizeof(struct attempt), 4096);
	l->on_trim = sidecar_trim;
	l->on_thaw = sidecar_thaw;
	l->hook_ctx = sc;
	freeze_open(sc);
	log_set_level(sc->log, sc->conf->log.level);
	sidecar_limits(sc);
	sc->access = access_new(sc);
	access_apply(sc->access, sc->conf);
	sc->mesh = mesh_new(loop_random(l));
	mesh_set_defer(sc->mesh, mesh_defer, sc);
	sc->dns = spec->dns;
	if (!sc->dns) {
		sc->dns = dns_new(l);
		sc->own_dns = true;
	}
	sc->transports = transports_new(l);
	transports_set_tell(sc->transports, handshake_failed, sc);
	sc->identities = identities_new(sc, sc->transports);
	sc->expiry = expiry_new(sc);
	identities_apply(sc->identities, sc->conf);
	mesh_set_space(sc->mesh, identities_static(sc->identities));
	sc->clusters = clusters_new(l, &sc->limits, sc->mesh, sc->dns, sc->transports);
	sc->checker = checker_new(l, sc->log, &sc->limits, sc->clusters);
	removals_log(sc);
	sc->doors = uds_doors_new(l, &sc->limits);
	sc->drain = drain_new(sc);
	sc->waiting = spec->takeover;
	if (spec->takeover)
		uds_doors_wait(sc->doors);
	if (spec->inherit_path)
		uds_doors_paths(sc->doors, spec->inherit_path, spec->ctx);
	publish_services(sc, NULL);
	apply_xds(sc);
	apply_apps(sc, err);
	control_open(sc, &sc->control, err);
	*ret = sc;
	if (err->count != before)
		return -EINVAL;
	watch_folders(sc);
	if (!sc->waiting)
		serve_when_prepared(sc);
	return 0;
}

/* ---- hot upgrade: the one that comes (the one that goes: sidecar/drain) ---- */

bool sidecar_is_prepared(const struct sidecar *sc)
{
	return identities_prepared(sc->identities) && (!sc->xds || xds_is_prepared(sc->xds));
}

bool sidecar_is_who_it_was(const struct sidecar *sc, const char *app)
{
	struct identity_info info;
	return !identities_info(sc->identities, app, &info) || identities_good(sc->identities, app);
}

void sidecar_each_identity(const struct sidecar *sc, void (*fn)(void *ctx, const char *app), void *ctx)
{
	for (uint32_t i = 0; i < sc->conf->napps; i++)
		if (identities_good(sc->identities, sc->conf->apps[i].name))
			fn(ctx, sc->conf->apps[i].name);
}

bool sidecar_restore_life(struct sidecar *sc, const char *app, struct str text)
{
	struct app *a = sidecar_app(sc, app);
	return a && life_restore(a->life, text);
}

void sidecar_go(struct sidecar *sc)
{
	if (!sc->waiting)
		return;
	sc->waiting = false;
	if (sc->xds)
		xds_settle(sc->xds);
	uds_doors_ours(sc->doors);
	serve_when_prepared(sc);
	if (sc->reload_owed) {
		sc->reload_owed = false;
		sidecar_reload(sc);
	}
}

bool sidecar_lend(struct sidecar *sc)
{
	sc->lent = true;
	return !sc->xds || xds_lend(sc->xds);
}

void sidecar_each_life(struct sidecar *sc, void (*fn)(void *ctx, const char *app, struct str text), void *ctx)
{
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		struct sb text = {0};
		life_save(a->life, &text);
		fn(ctx, a->conf->name, sb_view(&text));
		sb_end(&text);
	}
}

/* ---- reload ---- */

static void log_lines(struct log *log, const char *lines)
{
	while (*lines) {
		const char *end = strchr(lines, '\n');
		int n = end ? (int)(end - lines) : (int)strlen(lines);
		log_error(log, "configuration: %.*s", n, lines);
		lines += n + (end ? 1 : 0);
	}
}

int sidecar_reload(struct sidecar *sc)
{
	if (sc->draining || sc->left)
		log_info(sc->log, "configuration: not read again, %s", sc->left ? "another process has taken over" : "the daemon is going");
	if (!sc->spec.reload || sc->draining || sc->left)
		return -ENOSYS;
	if (sc->waiting || sc->lent) { /* the one that comes has read it; whoever stays reads it again */
		log_info(sc->log, "configuration: an upgrade is under way; read again behind it");
		sc->reload_owed = true;
		return -EBUSY;
	}
	tell(sc, "RELOADING", "reading the configuration");
	struct err err = ERR_INIT;
	struct conf *now = sc->spec.reload(sc->spec.ctx, &err);
	if (!now) {
		stat_inc(&sc->loop->stats, STAT_RELOADS_FAILED);
		log_lines(sc->log, err_str(&err));
		log_error(sc->log, "configuration: refused with %d problems; the old one stays in force", err.count);
		err_clear(&err);
		tell_ready(sc);
		return -EINVAL;
	}
	struct conf *was = sc->conf;
	sc->conf = now;
	sidecar_limits(sc);
	uds_doors_limits(sc->doors, &sc->limits);
	log_set_level(sc->log, now->log.level);
	access_apply(sc->access, now);
	identities_apply(sc->identities, now);
	publish_services(sc, was);
	apply_xds(sc);
	apply_apps(sc, &err);
	clusters_secrets_changed(sc->clusters); /* an app has an identity now, or another one, or none */
	control_apply(sc->control, &err);
	watch_folders(sc);
	if (err_any(&err)) { /* doors that can't be opened: all the rest is in force */
		log_lines(sc->log, err_str(&err));
		err_clear(&err);
	}
	conf_unref(&was);
	stat_inc(&sc->loop->stats, STAT_RELOADS);
	log_info(sc->log, "configuration: reloaded: %u apps, %u services", now->napps, now->nservices);
	tell_ready(sc);
	return 0;
}

void sidecar_reopen_logs(struct sidecar *sc)
{
	access_reopen(sc->access);
}

/* ---- the end (and before it: sidecar/drain) ---- */

void sidecar_close(struct sidecar *sc)
{
	list_each(n, tmp, &sc->apps)
		app_close(list_entry(n, struct app, node));
	list_each(m, tmp2, &sc->walking)
		app_close(list_entry(m, struct app, node));
	if (sc->control)
		control_shut_doors(sc->control);
	clusters_drain(sc->clusters);
}

bool sidecar_idle(const struct sidecar *sc)
{
	return sc->nexchanges == 0 && uds_doors_clients(sc->doors) == 0;
}

void sidecar_free(struct sidecar **sidecar)
{
	struct sidecar *sc = *sidecar;
	if (!sc)
		return;
	*sidecar = NULL;
	struct loop *l = sc->loop;
	drain_free(&sc->drain);
	timer_cancel(l, &sc->memory_timer);
	l->on_trim = l->on_thaw = NULL;
	checker_free(&sc->checker);
	sidecar_close(sc);
	for (int i = 0; i < 1000 && (i < 4 || !sidecar_idle(sc)); i++) /* connections end in the flush, and are buried at the end of the turn */
		loop_turn(l, 0);
	xds_free(&sc->xds);
	clusters_free(&sc->clusters);
	for (int i = 0; i < 4; i++)
		loop_turn(l, 0);
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		app_free(&a);
	}
	list_each(m, tmp2, &sc->walking) {
		struct app *a = list_entry(m, struct app, node);
		app_free(&a);
	}
	control_close(&sc->control);
	for (uint32_t i = 0; i < sc->nwatches; i++)
		watch_free(&sc->watches[i]);
	free(sc->watches);
	uds_doors_free(&sc->doors);
	loop_undefer(&sc->mesh_task);
	mesh_free(&sc->mesh);
	expiry_free(&sc->expiry);
	identities_free(&sc->identities);
	for (int i = 0; i < 4; i++)
		loop_turn(l, 0);
	offload_free(&sc->offload);
	reader_free(&sc->reader);
	transports_free(&sc->transports);
	endpoint_metas_free(&sc->metas);
	if (sc->own_dns)
		dns_free(&sc->dns);
	access_free(&sc->access);
	conf_unref(&sc->conf);
	pool_mem_end(&sc->exchanges);
	pool_mem_end(&sc->attempts);
	free(sc);
}
