/* sidecar/identities: see identities.h. What a reload makes of an identity:
 *
 *   its line changed, for all apps that have it  --> the same identity, another provider: transports, pools and connections stay
 *   its line changed for some of its apps        --> those get an identity of their own
 *   its trust domain changed, or there was none  --> another identity: who a peer may be is another thing now
 *
 * Spaces are the apps': an app that gets another identity gets another space with it, and the old one lives while calls of the app's earlier life find their way by it. */
#include "sidecar/identities_int.h"

#include <stdlib.h>
#include <string.h>

#include "net/secret_files.h"
#include "xds/csr.h"

const char *identity_kind_name(enum identity_kind k)
{
	static const char *const names[] = {"none", "files", "sds", "ca"};
	return (unsigned)k < sizeof names / sizeof *names ? names[k] : "?";
}

uint64_t identities_key(const struct conf_app *app)
{
	const struct conf_identity *id = &app->identity;
	if (id->kind != IDENTITY_CA)
		return id->hash;
	uint64_t h = str_hash_seeded(str_of(app->namespace_), id->hash); /* what a CA is asked for names it */
	return h ? h : 1;
}

/* ---- who waits -------------------------------------------------------------------------------------------------------------- */

static bool is_waited_for(const struct identity *id)
{
	return id->key && (id->cert->state == SECRET_WAITING || id->roots->state == SECRET_WAITING);
}

bool identities_prepared(struct identities *i)
{
	if (i->sc->loop->now_ns - i->begun_ns >= i->sc->conf->park.time_ns)
		return true;
	list_each(n, tmp, &i->spaces) {
		const struct space *s = list_entry(n, struct space, node);
		if (s->current && s->identity && is_waited_for(s->identity))
			return false;
	}
	return true;
}

static void prepared_now(struct task *t)
{
	struct identities *i = container_of(t, struct identities, prepared_task);
	void (*fn)(void *ctx) = i->prepared;
	if (!fn || !identities_prepared(i))
		return;
	i->prepared = NULL;
	timer_cancel(i->sc->loop, &i->patience);
	fn(i->prepared_ctx);
}

void identities_prepared_maybe(struct identities *i)
{
	if (i->prepared)
		loop_defer(i->sc->loop, &i->prepared_task, prepared_now);
}

static void patience_over(struct timer *t)
{
	struct identities *i = container_of(t, struct identities, patience);
	list_each(n, tmp, &i->identities) {
		const struct identity *id = list_entry(n, struct identity, node);
		if (is_waited_for(id))
			log_warn(i->sc->log, "app '%s': its %s has not come yet; ready without it, calls that need it wait or fail", id->app,
				id->cert->state == SECRET_WAITING ? "certificate" : "bundle of roots");
	}
	identities_prepared_maybe(i);
}

void identities_on_prepared(struct identities *i, void (*fn)(void *ctx), void *ctx)
{
	struct loop *l = i->sc->loop;
	uint64_t until = i->begun_ns + i->sc->conf->park.time_ns;
	timer_cancel(l, &i->patience);
	i->prepared = fn;
	i->prepared_ctx = ctx;
	if (!fn)
		return;
	timer_in(l, &i->patience, until > l->now_ns ? until - l->now_ns : 0, patience_over);
	identities_prepared_maybe(i);
}

/* ---- spaces ------------------------------------------------------------------------------------------------------------------ */

struct space *identities_space(const struct identities *i, const char *app)
{
	list_each(n, tmp, &i->spaces) {
		struct space *s = list_entry(n, struct space, node);
		if (s->current && s->app && strcmp(s->app, app) == 0)
			return s;
	}
	return NULL;
}

static bool space_is_used(const struct identities *i, const struct space *s)
{
	list_each(n, tmp, &i->sc->apps)
		if (list_entry(n, struct app, node)->space == &s->is)
			return true;
	list_each(m, tmp2, &i->sc->walking)
		if (list_entry(m, struct app, node)->space == &s->is)
			return true;
	return s->current || s == i->fixed;
}

void identities_sweep(struct identities *i)
{
	list_each(n, tmp, &i->spaces) {
		struct space *s = list_entry(n, struct space, node);
		if (!space_is_used(i, s))
			space_free(&s);
	}
}

const struct secret_space *identities_static(struct identities *i)
{
	return &i->fixed->is;
}

const struct secret_space *identities_of(struct identities *i, const struct conf_app *app)
{
	struct space *s = identities_space(i, app->name);
	return s ? &s->is : NULL;
}

uint64_t identities_view(const struct secret_space *of_app)
{
	const struct space *s = of_app ? of_app->ctx : NULL;
	return s && s->identity ? s->identity->id : 0;
}

/* ---- a reload ---------------------------------------------------------------------------------------------------------------- */

static struct identity *identity_at(struct identities *i, uint64_t key)
{
	list_each(n, tmp, &i->identities) {
		struct identity *id = list_entry(n, struct identity, node);
		if (id->key == key)
			return id;
	}
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_domain(const struct conf_identity *a, const struct conf_identity *b)
{
	bool same = same_text(a->trust_domain, b->trust_domain) && a->naliases == b->naliases;
	for (uint32_t i = 0; same && i < a->naliases; i++)
		same = strcmp(a->aliases[i], b->aliases[i]) == 0;
	return same;
}

static struct space *space_before(const struct identities *i, const char *app)
{
	list_each(n, tmp, &i->spaces) {
		struct space *s = list_entry(n, struct space, node);
		if (s->was && strcmp(s->app, app) == 0)
			return s;
	}
	return NULL;
}

/* Of each identity: does anybody still have its line; do all who had it want the same other one? */
static void look_at_wishes(struct identities *i, const struct conf *conf)
{
	list_each(n, tmp, &i->spaces) {
		struct space *s = list_entry(n, struct space, node);
		s->was = s->current && s->app;
		s->current = false;
	}
	list_each(m, tmp2, &i->identities) {
		struct identity *id = list_entry(m, struct identity, node);
		id->kept = id->split = id->wished = false;
		id->advised = 0;
		for (uint32_t k = 0; k < conf->napps; k++) {
			uint64_t key = identities_key(&conf->apps[k]);
			const struct space *s = space_before(i, conf->apps[k].name);
			id->kept |= key == id->key;
			if (!s || s->identity != id)
				continue;
			id->split |= (id->wished && id->wish != key) || !same_domain(id->conf, &conf->apps[k].identity);
			id->wished = true;
			id->wish = key;
		}
	}
}

static struct identity *identity_for(struct identities *i, struct conf *conf, const struct conf_app *app)
{
	uint64_t key = identities_key(app);
	struct identity *id = identity_at(i, key);
	const struct space *was = space_before(i, app->name);
	if (id) {
		return id;
	} else if (key && was && was->identity->key && !was->identity->kept && !was->identity->split) {
		identity_change(was->identity, conf, app);
		return was->identity;
	}
	return identity_new(i, conf, app);
}

/* One stream, one identity: that of the app which is there first. */
static void warn_of_agent(struct identities *i, const struct conf *conf)
{
	const struct conf_app *first = conf->napps ? &conf->apps[0] : NULL, *other = NULL;
	bool agent = conf->xds.nservers && str_starts(str_of(conf->xds.servers[0]), STR("unix:"));
	for (uint32_t k = 1; agent && k < conf->napps && !other; k++)
		if (identities_key(&conf->apps[k]) != identities_key(first))
			other = &conf->apps[k];
	if (other && !i->warned)
		log_warn(i->sc->log, "apps '%s' and '%s' have different identities, but the agent '%s' serves one stream: what the mesh says is called with the identity of the app that came first", first->name,
			other->name, conf->xds.servers[0]);
	i->warned = other != NULL;
}

void identities_apply(struct identities *i, struct conf *conf)
{
	look_at_wishes(i, conf);
	for (uint32_t k = 0; k < conf->napps; k++) {
		const struct conf_app *app = &conf->apps[k];
		struct space *was = space_before(i, app->name);
		struct identity *id = identity_for(i, conf, app);
		if (was && was->identity == id)
			was->current = true;
		else
			space_new(i, app, id);
	}
	/* The old configuration is let go of. */
	for (uint32_t k = conf->napps; k-- > 0;)
		identity_borrow(identities_space(i, conf->apps[k].name)->identity, conf, &conf->apps[k]);
	warn_of_agent(i, conf);
	identities_files_look(i);
	list_each(n, tmp, &i->identities)
		identity_advise(list_entry(n, struct identity, node));
}

/* ---- the whole --------------------------------------------------------------------------------------------------------------- */

struct identities *identities_new(struct sidecar *sc, struct transports *t)
{
	struct identities *i = xnew(struct identities);
	i->sc = sc;
	i->transports = t;
	i->begun_ns = sc->loop->now_ns;
	list_init(&i->identities);
	list_init(&i->spaces);
	i->fixed = space_new(i, NULL, NULL);
	return i;
}

void identities_free(struct identities **at)
{
	struct identities *i = *at;
	*at = NULL;
	if (!i)
		return;
	timer_cancel(i->sc->loop, &i->patience);
	loop_undefer(&i->prepared_task);
	list_each(n, tmp, &i->spaces)
		space_free(&(struct space *){list_entry(n, struct space, node)});
	secret_unref(&i->system);
	secret_files_free(&i->files);
	free(i);
}

void identities_thaw(struct identities *i)
{
	identities_files_look(i);
	list_each(n, tmp, &i->identities) {
		identity_thaw(list_entry(n, struct identity, node));
	}
}

/* ---- for people -------------------------------------------------------------------------------------------------------------- */

static void info_of(const struct identity *id, struct identity_info *ret)
{
	*ret = (struct identity_info){.app = id->app, .kind = id->conf->kind, .name = id->cert->cert ? tls_cert_id(id->cert->cert) : id->spiffe_id, .cert = id->cert, .roots = id->roots,
		.renews_wall_ns = id->csr ? csr_renews_wall_ns(id->csr) : 0, .last_error = id->csr ? csr_last_error(id->csr) : id->cert->why ? id->cert->why : id->roots->why ? id->roots->why : ""};
}

bool identities_info(const struct identities *i, const char *app, struct identity_info *ret)
{
	const struct space *s = identities_space(i, app);
	if (!s || !s->identity->key)
		return false;
	info_of(s->identity, ret);
	return true;
}

bool identities_good(const struct identities *i, const char *app)
{
	struct identity_info info;
	int64_t from, to;
	if (!identities_info(i, app, &info) || info.cert->state != SECRET_READY || info.roots->state != SECRET_READY)
		return false;
	tls_cert_times(info.cert->cert, &from, &to);
	return to > (int64_t)(i->sc->loop->ops->wall_ns(i->sc->loop->ops_ctx) / 1000000000);
}

bool identities_own(const struct identities *i, const struct secret *s, struct identity_info *ret)
{
	list_each(n, tmp, &i->identities) {
		const struct identity *id = list_entry(n, struct identity, node);
		if (!id->key || (id->cert != s && id->roots != s))
			continue;
		info_of(id, ret);
		return true;
	}
	return false;
}

void identities_each(const struct identities *i, void (*fn)(void *ctx, const struct identity_info *info), void *ctx)
{
	list_each(n, tmp, &i->identities) {
		struct identity_info info;
		if (!list_entry(n, struct identity, node)->key)
			continue;
		info_of(list_entry(n, struct identity, node), &info);
		fn(ctx, &info);
	}
}
