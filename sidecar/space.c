/* sidecar/space: where the names of certificates and roots lead that a cluster, a service or a door asks for: to the app's own identity, its agent, files, the control plane's stream. One an app, one
 * for static services. See identities_int.h. */
#include "sidecar/identities_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/secret_files.h"
#include "xds/sds.h"
#include "xds/secrets.h"

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
	const struct space *of = *ref->name ? identities_space(s->all, ref->name) : s;
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
	struct secret_ref ref = {.kind = kind, .from = SECRET_FILES, .name = name};
	struct secret *ret = secret_files_get(identities_files(s->all), &ref);
	free(name);
	return ret;
}

static struct secret *get_system(struct space *s)
{
	struct identities *i = s->all;
	if (!i->system) {
		i->system = secret_new(i->transports, SECRET_ROOTS, "system", "the system", NULL, NULL);
		identities_fill_system(i->system);
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
		*why = because(s, "certificate provider '%.80s' has a spiffe_trust_bundle_map_file, which is not built, and no ca_certificate_file beside it", ref->name);
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
		return secret_files_get(identities_files(s->all), ref);
	case SECRET_SYSTEM:
		return get_system(s);
	case SECRET_NOWHERE:
		break;
	}
	*why = "nothing is named";
	return NULL;
}

/* ---- its life ---------------------------------------------------------------------------------------------------------------- */

struct space *space_new(struct identities *i, const struct conf_app *app, struct identity *identity)
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

void space_free(struct space **at)
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
