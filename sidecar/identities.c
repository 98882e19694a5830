/* sidecar/identities: see identities.h. What a reload makes of an identity:
 *
 *   its line changed, for all apps that have it  --> the same identity, another provider: transports, pools and connections stay
 *   its line changed for some of its apps        --> those get an identity of their own
 *   its trust domain changed, or there was none  --> another identity: who a peer may be is another thing now
 *
 * Spaces are the apps': an app that gets another identity gets another space with it, and the old one lives while calls of the app's earlier life find their way by it. */
#include "sidecar/identities.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/secret_files.h"
#include "sidecar/advice.h"
#include "sidecar/sidecar.h"
#include "xds/csr.h"
#include "xds/node.h"
#include "xds/sds.h"
#include "xds/secrets.h"

enum { WHYS = 8, WHY_MAX = 500, LOOK_S = 3600 /* how long the wall's clock is trusted to go with ours */ };
struct identity {
	struct list node;
	uint64_t key;                      /* identities_key of the line that it has; 0: it is nobody */
	uint64_t id;                       /* what views know it by: stays */
	uint32_t refs;                     /* spaces */
	struct identities *all;
	struct conf *whole;                /* counted: what conf lies in */
	const struct conf_identity *conf;
	char *app, *spiffe_id;             /* of the first app that has it */
	struct secret *cert, *roots;       /* refs: its own for all of its life; NULL: it is nobody */
	struct secret_watch cert_watch, roots_watch;
	uint64_t cert_told, roots_told, end_told; /* generations: what the log knows */
	uint64_t advised;                  /* a hash of the name that advice was given on since the last reload; 0: none */
	struct timer ends;                 /* of what is shown, where no CSR looks after it */
	struct sds *sds;                   /* its provider, one of them; or secret_files */
	struct csr *csr;
	bool kept, split, wished;          /* identities_apply's own */
	uint64_t wish;
};
struct space {
	struct secret_space is;
	struct list node;
	struct identities *all;
	char *app;                         /* NULL: of static services */
	bool current, was;                 /* of a line that is there; was: before this reload */
	struct identity *identity;         /* counted; NULL: of static services */
	char *trust_domain, **aliases;
	char (*why)[WHY_MAX];              /* the last few, WHYS of them: a reason is looked at after the call, and is nobody's to free; NULL: there was none yet */
	uint32_t nwhy;
};
struct identities {
	struct sidecar *sc;                /* borrowed: the owner */
	struct transports *transports;     /* borrowed */
	struct secret_files *files;        /* NULL: nobody has asked for one yet */
	struct secret *system;             /* a ref; NULL: nobody has asked by a name yet */
	struct list identities, spaces;
	struct space *fixed;
	uint64_t begun_ns;
	void (*prepared)(void *ctx);
	void *prepared_ctx;
	struct task prepared_task;
	struct timer patience;
	bool warned;                       /* of apps that an agent does not tell apart */
};

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

/* ---- the log, and who waits ------------------------------------------------------------------------------------------------ */

static const char *day_text(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "?", 2);
	return out;
}

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

static void prepared_maybe(struct identities *i)
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
	prepared_maybe(i);
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
	prepared_maybe(i);
}

/* It was used to its end. An agent may have had another one that could not be taken then: it is asked anew. */
static void cert_ended(struct timer *t)
{
	struct identity *id = container_of(t, struct identity, ends);
	struct loop *l = id->all->sc->loop;
	int64_t from, to, now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000);
	char day[32], text[WHY_MAX];
	if (id->csr || !id->cert->cert) /* xds/csr does so itself */
		return;
	tls_cert_times(id->cert->cert, &from, &to);
	if (now <= to) {
		uint64_t left = (uint64_t)(to - now) + 1;
		timer_in(l, &id->ends, (left < LOOK_S ? left : LOOK_S) * UINT64_C(1000000000), cert_ended);
		return;
	}
	if (id->end_told == id->cert->generation)
		return;
	id->end_told = id->cert->generation;
	snprintf(text, sizeof text, "the certificate has expired at %s, and no other one has come from %s%s%.300s", day_text(to, day), id->cert->source, id->cert->why ? ": " : "",
		id->cert->why ? id->cert->why : "");
	log_error(id->all->sc->log, "app '%s': %s; peers will refuse it", id->app, text);
	secret_fail(id->cert, text);
	if (id->sds)
		sds_again(id->sds, "what it brought has expired");
	if (id->all->files)
		secret_files_look(id->all->files);
}

static void end_watch(struct identity *id)
{
	if (id->key && !id->csr && id->cert->cert)
		timer_in(id->all->sc->loop, &id->ends, 0, cert_ended);
}

static void advise(void *ctx, const char *place, const char *whose, const char *text)
{
	const struct identity *id = ctx;
	(void)place;
	log_warn(id->all->sc->log, "%s: %s", whose, text);
}

/* At each reload, and when a certificate of another name has come; not at each renewal. */
static void cert_advise(struct identity *id)
{
	uint64_t name = id->key && id->cert->cert ? str_hash(str_of(tls_cert_id(id->cert->cert))) : 0;
	if (id->advised == name)
		return;
	id->advised = name;
	if (!name)
		return;
	advice_cert(id->conf, id->app, id->spiffe_id, id->cert->cert, &(struct advice){.say = advise, .ctx = id});
}

static void cert_came(struct secret_watch *w)
{
	struct identity *id = container_of(w, struct identity, cert_watch);
	const struct secret *s = id->cert;
	int64_t from, to;
	char day[32];
	if (s->cert && s->generation != id->cert_told) {
		id->cert_told = s->generation;
		tls_cert_times(s->cert, &from, &to);
		log_info(id->all->sc->log, "app '%s': certificate '%s' until %s, of %s", id->app, tls_cert_id(s->cert), day_text(to, day), s->source);
		cert_advise(id);
		end_watch(id);
	}
	prepared_maybe(id->all);
}

static void roots_came(struct secret_watch *w)
{
	struct identity *id = container_of(w, struct identity, roots_watch);
	const struct secret *s = id->roots;
	if (s->trust && s->generation != id->roots_told) {
		if (id->roots_told)
			log_info(id->all->sc->log, "app '%s': other roots, of %s", id->app, s->source);
		id->roots_told = s->generation;
	}
	prepared_maybe(id->all);
}

static void files_tell(void *ctx, const struct secret *s, const char *why)
{
	struct identities *i = ctx;
	const char *of = "";
	list_each(n, tmp, &i->identities) {
		const struct identity *id = list_entry(n, struct identity, node);
		if (id->cert == s || id->roots == s)
			of = id->app;
	}
	char name[160];
	snprintf(name, sizeof name, "%s", s->name);
	for (char *p = name; *p; p++)
		if (*p == '\n')
			*p = ' ';
	const char *what = s->kind == SECRET_CERT ? "certificate" : "roots";
	if (why)
		log_warn(i->sc->log, "%s%s%s%s '%s': %s; %s", *of ? "app '" : "", of, *of ? "': " : "", what, name, why,
			s->state == SECRET_READY ? "what there was stays in use" : "what needs it fails until it is there");
	else
		log_info(i->sc->log, "%s%s%s%s '%s': well again", *of ? "app '" : "", of, *of ? "': " : "", what, name);
}

/* ---- providers --------------------------------------------------------------------------------------------------------------- */

static struct secret_ref ref_of(enum secret_kind kind, enum secret_from from, char *name)
{
	return (struct secret_ref){.kind = kind, .from = from, .name = name};
}

/* Made with the first who asks: where there is no TLS, nothing of it is there, and no chance is drawn. */
static struct secret_files *files_of(struct identities *i)
{
	if (!i->files) {
		i->files = secret_files_new(i->sc->loop, i->transports, sidecar_reader(i->sc));
		secret_files_set_tell(i->files, files_tell, i);
	}
	return i->files;
}

static void files_look(struct identities *i)
{
	if (i->files)
		secret_files_look(i->files);
}

static void fill_files(struct identities *i, enum secret_kind kind, const char *a, const char *b, struct secret *s)
{
	char *name = xasprintf("%s%s%s", a, b ? "\n" : "", b ? b : "");
	struct secret_ref ref = ref_of(kind, SECRET_FILES, name);
	secret_files_fill(files_of(i), &ref, s);
	free(name);
}

static void fill_system(struct secret *s)
{
	struct err err = ERR_INIT;
	struct tls_trust *trust = tls_trust_system(&err);
	const char *why;
	char text[SECRET_WHY];
	secret_hand(s, "the system", NULL, NULL);
	if (trust)
		(void)secret_put_trust(s, trust, &why);
	else
		secret_fail(s, secret_why(&err, text));
	err_clear(&err);
}

static void begin_sds(struct identity *id, const struct conf_app *app)
{
	struct sidecar *sc = id->all->sc;
	struct node_env env = {.get = sc->spec.env, .each = sc->spec.env_each, .ctx = sc->spec.ctx};
	struct sb node = {0}, name = {0};
	struct err err = ERR_INIT;
	/* An agent that wants to be told who asks does not take no node; SPIRE needs none. */
	if (node_build(&id->whole->xds, app, id->whole->mesh_domain, &env, &node, &name, &err) < 0)
		log_warn(sc->log, "app '%s': asks its agent without a node: %.*s", app->name, (int)strcspn(err_str(&err), "\n"), err_str(&err));
	err_clear(&err);
	struct sds_spec spec = {.loop = sc->loop, .log = sc->log, .dns = sc->dns, .limits = &sc->limits, .transports = id->all->transports, .server = id->conf->sds.server,
		.node = node.p, .node_n = node.n, .app = id->app};
	id->sds = sds_new(&spec);
	sds_take(id->sds, id->cert, id->conf->sds.cert);
	sds_take(id->sds, id->roots, id->conf->sds.roots);
	sb_end(&node);
	sb_end(&name);
}

static void begin_csr(struct identity *id)
{
	struct sidecar *sc = id->all->sc;
	struct csr_spec spec = {.loop = sc->loop, .log = sc->log, .dns = sc->dns, .limits = &sc->limits, .transports = id->all->transports, .offload = sidecar_offload(sc), .reader = sidecar_reader(sc),
		.conf = id->conf, .spiffe_id = id->spiffe_id, .app = id->app, .space = &id->all->fixed->is, .cert = id->cert, .roots = id->roots};
	id->csr = csr_new(&spec);
}

static void provider_begin(struct identity *id, const struct conf_app *app)
{
	const struct conf_identity *c = id->conf;
	secret_ask_as(id->cert, NULL);
	secret_ask_as(id->roots, NULL);
	switch (c->kind) {
	case IDENTITY_NONE:
		break;
	case IDENTITY_FILES:
		fill_files(id->all, SECRET_CERT, c->files.cert, c->files.key, id->cert);
		if (c->files.roots)
			fill_files(id->all, SECRET_ROOTS, c->files.roots, c->files.crl, id->roots);
		else
			fill_system(id->roots);
		break;
	case IDENTITY_SDS:
		begin_sds(id, app);
		break;
	case IDENTITY_CA:
		begin_csr(id);
		break;
	}
	end_watch(id);
}

/* What there is stays. Files need no end: whoever takes a secret over tells them that it is gone. */
static void provider_end(struct identity *id)
{
	sds_free(&id->sds);
	csr_free(&id->csr);
}

/* ---- identities -------------------------------------------------------------------------------------------------------------- */

static struct identity *identity_at(struct identities *i, uint64_t key)
{
	list_each(n, tmp, &i->identities) {
		struct identity *id = list_entry(n, struct identity, node);
		if (id->key == key)
			return id;
	}
	return NULL;
}

/* Two lines may have had one key, at two times. */
static uint64_t free_id(struct identities *i, uint64_t id)
{
	bool taken = id != 0;
	while (taken) {
		taken = false;
		list_each(n, tmp, &i->identities)
			taken |= list_entry(n, struct identity, node)->id == id;
		if (taken && ++id == 0)
			id = 1;
	}
	return id;
}

static void identity_borrow(struct identity *id, struct conf *whole, const struct conf_app *app)
{
	struct conf *was = id->whole;
	id->whole = conf_ref(whole);
	id->conf = &app->identity;
	free(id->spiffe_id);
	id->spiffe_id = conf_spiffe_id(app);
	if (id->csr)
		csr_conf(id->csr, id->conf, id->spiffe_id);
	conf_unref(&was);
}

static struct identity *identity_new(struct identities *i, struct conf *whole, const struct conf_app *app)
{
	struct identity *id = xnew(struct identity);
	id->all = i;
	id->key = identities_key(app);
	id->id = free_id(i, id->key);
	id->app = xstrdup(app->name);
	list_push(&i->identities, &id->node);
	identity_borrow(id, whole, app);
	if (!id->key)
		return id;
	char *source = xasprintf("identity of '%s'", app->name);
	id->cert = secret_new(i->transports, SECRET_CERT, id->spiffe_id, source, NULL, NULL);
	id->roots = secret_new(i->transports, SECRET_ROOTS, id->spiffe_id, source, NULL, NULL);
	free(source);
	secret_watch(id->cert, &id->cert_watch, cert_came);
	secret_watch(id->roots, &id->roots_watch, roots_came);
	provider_begin(id, app);
	return id;
}

static void identity_change(struct identity *id, struct conf *whole, const struct conf_app *app)
{
	log_info(id->all->sc->log, "app '%s': its identity is another one from now on (%s); what there is of the old one stays until the new one has come", app->name,
		identity_kind_name(app->identity.kind));
	bool asks_on = id->csr && app->identity.kind == IDENTITY_CA;
	if (!asks_on)
		provider_end(id);
	id->key = identities_key(app);
	identity_borrow(id, whole, app);
	if (!asks_on)
		provider_begin(id, app);
}

static void identity_unref(struct identity **at)
{
	struct identity *id = *at;
	*at = NULL;
	if (!id || --id->refs > 0)
		return;
	list_del(&id->node);
	timer_cancel(id->all->sc->loop, &id->ends);
	secret_unwatch(&id->cert_watch);
	secret_unwatch(&id->roots_watch);
	provider_end(id);
	secret_unref(&id->cert);
	secret_unref(&id->roots);
	conf_unref(&id->whole);
	free(id->app);
	free(id->spiffe_id);
	free(id);
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

/* ---- names ------------------------------------------------------------------------------------------------------------------- */

static const char *because(struct space *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const char *because(struct space *s, const char *fmt, ...)
{
	if (!s->why)
		s->why = xalloc(WHYS * sizeof *s->why);
	char *text = s->why[s->nwhy++ % WHYS];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, WHY_MAX, fmt, args);
	va_end(args);
	return text;
}

static struct space *space_of(const struct identities *i, const char *app)
{
	list_each(n, tmp, &i->spaces) {
		struct space *s = list_entry(n, struct space, node);
		if (s->current && s->app && strcmp(s->app, app) == 0)
			return s;
	}
	return NULL;
}

static const char *kind_name(enum secret_kind kind)
{
	return kind == SECRET_CERT ? "certificate" : "roots";
}

static struct secret *own(const struct identity *id, enum secret_kind kind)
{
	return secret_ref(kind == SECRET_CERT ? id->cert : id->roots);
}

/* name "": of the app whose space it is. */
static struct secret *get_identity(struct space *s, const struct secret_ref *ref, const char **why)
{
	const struct space *of = *ref->name ? space_of(s->all, ref->name) : s;
	if (!of || !of->identity)
		*why = of ? "no app is named whose identity is meant (tls.identity)" : because(s, "no app has the name '%.80s' (tls.identity)", ref->name);
	else if (!of->identity->key)
		*why = because(s, "app '%.80s' has no identity (apps[].identity)", of->app);
	else
		return own(of->identity, ref->kind);
	return NULL;
}

static struct secret *get_files(struct space *s, enum secret_kind kind, struct str a, struct str b)
{
	char *name = xasprintf("%.*s%s%.*s", (int)a.n, a.p, b.n ? "\n" : "", (int)b.n, b.n ? b.p : "");
	struct secret_ref ref = ref_of(kind, SECRET_FILES, name);
	struct secret *ret = secret_files_get(files_of(s->all), &ref);
	free(name);
	return ret;
}

static struct secret *get_system(struct space *s)
{
	struct identities *i = s->all;
	if (!i->system) {
		i->system = secret_new(i->transports, SECRET_ROOTS, "system", "the system", NULL, NULL);
		fill_system(i->system);
	}
	return secret_ref(i->system);
}

/* Names that istio-agent reads files by: "file-cert:CHAIN~KEY", "file-root:PATH", "file-root:system". */
static bool get_named_file(struct space *s, const struct secret_ref *ref, struct secret **ret, const char **why)
{
	struct str name = str_of(ref->name), cert = STR("file-cert:"), root = STR("file-root:");
	bool is_cert = str_starts(name, cert), is_root = str_starts(name, root);
	if (!is_cert && !is_root)
		return false;
	struct str path = str_cut(name, is_cert ? cert.n : root.n, name.n);
	ptrdiff_t tilde = str_find(path, '~');
	*ret = NULL;
	if (is_cert != (ref->kind == SECRET_CERT) || (is_cert && tilde <= 0) || path.n == 0 || str_find(path, '\n') >= 0)
		*why = because(s, "'%.200s' names no %s", ref->name, kind_name(ref->kind));
	else if (is_cert)
		*ret = get_files(s, SECRET_CERT, str_cut(path, 0, (size_t)tilde), str_cut(path, (size_t)tilde + 1, path.n));
	else
		*ret = str_is(path, "system") ? get_system(s) : get_files(s, SECRET_ROOTS, path, STR(""));
	return true;
}

/* Is that what the identity itself is called? "default" and "ROOTCA" are istio-agent's names; its SPIFFE id and its trust domain are SPIRE's. */
static bool is_own_name(const struct identity *id, const struct secret_ref *ref)
{
	const char *spiffe = id->cert->cert ? tls_cert_id(id->cert->cert) : id->spiffe_id, *domain = id->conf->trust_domain;
	struct str name = str_of(ref->name);
	if (ref->kind == SECRET_CERT)
		return str_is(name, "default") || str_is(name, spiffe) || str_is(name, id->spiffe_id);
	if (str_is(name, "ROOTCA") || (domain && str_is(name, domain)))
		return true;
	if (!str_starts(name, STR("spiffe://")))
		return false;
	struct str rest = str_cut(name, 9, name.n), of = str_of(spiffe);
	return (domain && str_is(rest, domain)) || (str_starts(of, name) && (of.n == name.n || of.p[name.n] == '/') && str_find(rest, '/') < 0);
}

static struct secret *get_sds(struct space *s, const struct secret_ref *ref, const char **why)
{
	const struct identity *id = s->identity;
	struct secret *file;
	if (get_named_file(s, ref, &file, why))
		return file;
	if (!id || !id->key) {
		*why = id ? because(s, "app '%.80s' has no identity (apps[].identity), and %s '%.120s' is asked for", s->app, kind_name(ref->kind), ref->name)
			  : because(s, "%s '%.120s' is asked for, and static services have no SDS server", kind_name(ref->kind), ref->name);
		return NULL;
	}
	if (is_own_name(id, ref) || (id->sds && strcmp(ref->name, ref->kind == SECRET_CERT ? id->conf->sds.cert : id->conf->sds.roots) == 0))
		return own(id, ref->kind);
	if (id->sds)
		return sds_get(id->sds, ref->kind, ref->name);
	*why = because(s, "%s '%.120s' is known to an SDS server only, and the identity of app '%.80s' comes from %s", kind_name(ref->kind), ref->name, s->app, identity_kind_name(id->conf->kind));
	return NULL;
}

static const struct mesh_view *view_of(const struct space *s)
{
	struct sidecar *sc = s->all->sc;
	list_each(n, tmp, &sc->apps)
		if (list_entry(n, struct app, node)->space == &s->is)
			return list_entry(n, struct app, node)->names.view;
	list_each(m, tmp2, &sc->walking)
		if (list_entry(m, struct app, node)->space == &s->is)
			return list_entry(m, struct app, node)->names.view;
	return NULL;
}

static struct secret *get_ads(struct space *s, const struct secret_ref *ref, const char **why)
{
	const struct mesh_view *view = view_of(s);
	if (s->all->sc->xds && view)
		return xds_secret_get(s->all->sc->xds, view, ref->kind, ref->name, why);
	*why = because(s, "%s '%.120s' is the control plane's, and there is none", kind_name(ref->kind), ref->name);
	return NULL;
}

static struct secret *get_instance(struct space *s, const struct secret_ref *ref, const char **why)
{
	const struct conf_instance *i = conf_instance_find(s->all->sc->conf, ref->name);
	const char *path = i ? ref->kind == SECRET_CERT ? i->cert : i->roots : NULL;
	if (!i)
		*why = because(s, "no certificate provider '%.80s' in the bootstrap of gRPC", ref->name);
	else if (strcmp(i->plugin, "file_watcher") != 0)
		*why = because(s, "certificate provider '%.80s' is a '%.80s', which is not built; file_watcher is", ref->name, i->plugin);
	else if (!path && ref->kind == SECRET_ROOTS && i->bundle_map)
		*why = because(s, "certificate provider '%.80s' has a SPIFFE bundle map, which is not built", ref->name);
	else if (!path || (ref->kind == SECRET_CERT && !i->key))
		*why = because(s, "certificate provider '%.80s' names no %s", ref->name, kind_name(ref->kind));
	else
		return get_files(s, ref->kind, str_of(path), ref->kind == SECRET_CERT ? str_of(i->key) : STR(""));
	return NULL;
}

static struct secret *space_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct space *s = ctx;
	switch (ref->from) {
	case SECRET_IDENTITY:
		return get_identity(s, ref, why);
	case SECRET_SDS:
		return get_sds(s, ref, why);
	case SECRET_ADS:
		return get_ads(s, ref, why);
	case SECRET_INSTANCE:
		return get_instance(s, ref, why);
	case SECRET_FILES:
	case SECRET_INLINE:
		return secret_files_get(files_of(s->all), ref);
	case SECRET_SYSTEM:
		return get_system(s);
	case SECRET_NOWHERE:
		break;
	}
	*why = "nothing is named";
	return NULL;
}

/* ---- spaces ------------------------------------------------------------------------------------------------------------------ */

static struct space *space_new(struct identities *i, const struct conf_app *app, struct identity *identity)
{
	struct space *s = xnew(struct space);
	s->all = i;
	s->is = (struct secret_space){.get = space_get, .ctx = s};
	list_push(&i->spaces, &s->node);
	if (!app)
		return s;
	const struct conf_identity *c = &app->identity;
	s->app = xstrdup(app->name);
	s->current = true;
	s->identity = identity;
	identity->refs++;
	s->trust_domain = c->trust_domain ? xstrdup(c->trust_domain) : NULL;
	s->aliases = c->naliases ? xalloc(c->naliases * sizeof *s->aliases) : NULL;
	for (uint32_t k = 0; k < c->naliases; k++)
		s->aliases[k] = xstrdup(c->aliases[k]);
	s->is.trust_domain = s->trust_domain;
	s->is.aliases = (const char *const *)s->aliases;
	s->is.naliases = c->naliases;
	return s;
}

static void space_free(struct space **at)
{
	struct space *s = *at;
	*at = NULL;
	list_del(&s->node);
	identity_unref(&s->identity);
	for (uint32_t k = 0; k < s->is.naliases; k++)
		free(s->aliases[k]);
	free(s->aliases);
	free(s->trust_domain);
	free(s->why);
	free(s->app);
	free(s);
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
	struct space *s = space_of(i, app->name);
	return s ? &s->is : NULL;
}

uint64_t identities_view(const struct secret_space *of_app)
{
	const struct space *s = of_app ? of_app->ctx : NULL;
	return s && s->identity ? s->identity->id : 0;
}

/* ---- a reload ---------------------------------------------------------------------------------------------------------------- */

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
		identity_borrow(space_of(i, conf->apps[k].name)->identity, conf, &conf->apps[k]);
	warn_of_agent(i, conf);
	files_look(i);
	list_each(n, tmp, &i->identities)
		cert_advise(list_entry(n, struct identity, node));
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
	files_look(i);
	list_each(n, tmp, &i->identities) {
		struct identity *id = list_entry(n, struct identity, node);
		if (id->sds)
			sds_thaw(id->sds);
		if (id->csr)
			csr_thaw(id->csr);
		end_watch(id);
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
	const struct space *s = space_of(i, app);
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
