/* conf/declare_identity: who apps are in the mesh (`apps[].identity`, and `identity` of the root for those that say nothing else), out of YAML.
 *
 *   the app's own map --(names no source)--> source of the root's map --(there is none)--> certificate provider of gRPC's bootstrap, where `xds` takes that --> nobody
 *
 * A map may say just the service account: what it does not write is the root's. The root may stand in a later file, so apps get theirs once all files are
 * read (conf_identity_finish), and their hash is whole only then. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"

/* What stands in a map (conf_identity.wrote). */
enum { WROTE_ACCOUNT = 1, WROTE_DOMAIN = 2, WROTE_ALIASES = 4, WROTE_NOBODY = 8, WROTE_WRONG = 16 /* and was told: nothing more is said of it */ };

/* ---- the struct --------------------------------------------------------------------------------------------------------- */

/* All texts of it but the place, for hash, copy and end alike. */
enum { IDENTITY_TEXTS = 17 };
static void texts_of(struct conf_identity *id, char **out[IDENTITY_TEXTS])
{
	char **const all[IDENTITY_TEXTS] = {&id->service_account, &id->trust_domain, &id->files.cert, &id->files.key, &id->files.roots, &id->files.crl, &id->sds.server, &id->sds.cert,
		&id->sds.roots, &id->ca.server, &id->ca.roots, &id->ca.server_name, &id->ca.token_file, &id->ca.cert, &id->ca.key, &id->ca.cluster_id, &id->ca.output};

	memcpy(out, all, sizeof(all));
}

void conf_identity_end(struct conf_identity *id)
{
	char **texts[IDENTITY_TEXTS];

	texts_of(id, texts);
	for (int i = 0; i < IDENTITY_TEXTS; i++)
		free(*texts[i]);
	declare_texts_end(&id->aliases, &id->naliases);
	declare_texts_end(&id->ca.san, &id->ca.nsan);
	free(id->ca.signer);
	free(id->place);
	*id = (struct conf_identity){0};
}

static uint64_t identity_hash(struct conf_identity *id)
{
	char **texts[IDENTITY_TEXTS];
	uint64_t h = declare_hash_value(declare_hash_value(5, id->kind), id->ca.ttl_ns);

	texts_of(id, texts);
	for (int i = 0; i < IDENTITY_TEXTS; i++)
		h = declare_hash_text(h, *texts[i]);
	h = declare_hash_texts(declare_hash_texts(declare_hash_text(h, id->ca.signer), id->aliases, id->naliases), id->ca.san, id->ca.nsan);
	return h ? h : 1;
}

static char *copied(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void copy_texts(char ***to, uint32_t *nto, char *const *from, uint32_t nfrom)
{
	declare_texts_end(to, nto);
	*to = xalloc((nfrom + 1) * sizeof(char *));
	for (uint32_t i = 0; i < nfrom; i++)
		(*to)[(*nto)++] = xstrdup(from[i]);
}

/* Where the certificate comes from; who it is of stays as it was. */
static void copy_source(struct conf_identity *to, const struct conf_identity *from)
{
	struct conf_identity source = *from;
	char **a[IDENTITY_TEXTS], **b[IDENTITY_TEXTS];

	to->kind = from->kind;
	to->ca.ttl_ns = from->ca.ttl_ns;
	texts_of(to, a);
	texts_of(&source, b);
	for (int i = 2; i < IDENTITY_TEXTS; i++) {
		free(*a[i]);
		*a[i] = copied(*b[i]);
	}
	free(to->ca.signer);
	to->ca.signer = copied(from->ca.signer);
	copy_texts(&to->ca.san, &to->ca.nsan, from->ca.san, from->ca.nsan);
}

static void copy_text(char **to, const char *from)
{
	free(*to);
	*to = copied(from);
}

char *conf_spiffe_id(const struct conf_app *a)
{
	const struct conf_identity *id = &a->identity;

	return xasprintf("spiffe://%s/ns/%s/sa/%s", id->trust_domain ? id->trust_domain : "cluster.local", a->namespace_ ? a->namespace_ : "default",
		id->service_account ? id->service_account : "default");
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

/* What may stand between two slashes of a SPIFFE id. */
static bool is_segment(struct str t, bool upper)
{
	for (size_t i = 0; i < t.n; i++) {
		char c = t.p[i];

		if (!((c >= 'a' && c <= 'z') || (upper && c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
			return false;
	}
	return t.n > 0 && t.n <= 253 && !str_is(t, ".") && !str_is(t, "..");
}

static char *make_trust_domain(struct schema *s, const struct yaml *node)
{
	struct str text;

	if (!schema_text(s, node, &text))
		return NULL;
	if (is_segment(text, false))
		return xstrndup(text.p, text.n);
	schema_problem(s, node, "'%.60s' is no trust domain, expected one such as cluster.local, in lower case", text.p);
	return NULL;
}

void conf_take_trust_domains(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_identity *id = base;

	declare_texts(s, node, "trust domains", CONF_ALIASES_MAX, &id->aliases, &id->naliases, make_trust_domain);
}

static void check_names(struct schema *s, const struct yaml *node, struct conf_identity *id)
{
	declare_none_if_empty(&id->trust_domain);
	declare_none_if_empty(&id->service_account);
	if (!id->service_account || !is_segment(str_of(id->service_account), true))
		declare_problem(s, node, "service_account", "'%.60s' is no service account, expected letters, digits, '-', '_' and '.', such as default",
			id->service_account ? id->service_account : "");
	if (id->trust_domain && !is_segment(str_of(id->trust_domain), false))
		declare_problem(s, node, "trust_domain", "'%.60s' is no trust domain, expected one such as cluster.local, in lower case", id->trust_domain);
}

/* ---- an agent ----------------------------------------------------------------------------------------------------------- */

/* A name there may be anything that the server knows: "default", a SPIFFE id, "file-root:/path". */
static void check_secret_name(struct schema *s, const struct yaml *node, const char *key, const char *name)
{
	if (!name || !*name || strlen(name) > 2048)
		declare_problem(s, node, key, "'%.60s' is no name of a secret, expected one such as default or ROOTCA", name ? name : "");
}

void conf_take_identity_sds(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_identity *id = base;
	const struct yaml *at = node;
	size_t mark = s->path.n;
	char *server;

	schema_init(s, MAP_IDENTITY_SDS, id);
	if (node->kind == YAML_MAP) {
		schema_read(s, MAP_IDENTITY_SDS, node, id);
		check_secret_name(s, node, "cert", id->sds.cert);
		check_secret_name(s, node, "roots", id->sds.roots);
		at = yaml_get(node, "server");
		if (!at || yaml_is_null(at) || at->bad) {
			if (declare_misses(node, "server"))
				schema_problem(s, node, "has no server, expected server: unix:/PATH of the agent");
			return;
		}
		schema_push(s, "server");
	}
	/* Keys go through it, in plain text: it is asked who we are by our process, which only a Unix socket can tell. */
	if (at->kind == YAML_SCALAR && !str_starts(str_trim(at->scalar), STR("unix:"))) {
		schema_problem(s, at, "'%.80s' is no Unix socket, expected unix:/PATH of an agent such as unix:/var/run/secrets/workload-spiffe-uds/socket", at->scalar.p);
	} else if ((server = declare_server(s, at))) {
		free(id->sds.server);
		id->sds.server = server;
	}
	schema_pop(s, mark);
}

/* ---- a CA --------------------------------------------------------------------------------------------------------------- */

void conf_take_ca_server(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_identity *id = base;
	char *server = declare_server(s, node);

	if (server) {
		free(id->ca.server);
		id->ca.server = server;
	}
}

void conf_take_ca_san(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_identity *id = base;

	declare_texts(s, node, "names", CONF_XDS_SANS_MAX, &id->ca.san, &id->ca.nsan, declare_san);
}

static void check_pair(struct schema *s, const struct yaml *node)
{
	if (declare_has(node, "cert") && declare_misses(node, "key"))
		declare_problem(s, node, "cert", "has no key, expected key: /PATH beside it");
	if (declare_has(node, "key") && declare_misses(node, "cert"))
		declare_problem(s, node, "key", "has no certificate, expected cert: /PATH beside it");
}

void conf_take_identity_ca(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_identity *d = base;
	struct conf_identity *id = &d->of;

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map with server and token_file");
		return;
	}
	schema_init(s, MAP_IDENTITY_CA, d);
	schema_read(s, MAP_IDENTITY_CA, node, d);
	if (declare_has(node, "token") && declare_has(node, "token_file"))
		declare_problem(s, node, "token", "beside token_file, expected one of the two: they are the same");
	else if (d->token) {
		free(id->ca.token_file);
		id->ca.token_file = d->token;
		d->token = NULL;
		declare_file(s, node, "token", &id->ca.token_file);
	} else {
		declare_file(s, node, "token_file", &id->ca.token_file);
	}
	declare_file(s, node, "roots", &id->ca.roots);
	declare_file(s, node, "cert", &id->ca.cert);
	declare_file(s, node, "key", &id->ca.key);
	declare_file(s, node, "output", &id->ca.output);
	declare_none_if_empty(&id->ca.server_name);
	declare_none_if_empty(&id->ca.signer);
	check_pair(s, node);
	if (declare_misses(node, "server"))
		schema_problem(s, node, "has no server, expected server: HOST:PORT, such as istiod.istio-system.svc:15012");
	if (declare_misses(node, "token_file") && declare_misses(node, "token") && declare_misses(node, "cert") && declare_misses(node, "key"))
		schema_problem(s, node, "has neither token_file nor cert and key, expected one of them: the CA asks who we are");
}

/* ---- the map ------------------------------------------------------------------------------------------------------------ */

static const char *const file_keys[] = {"cert", "key", "roots", "crl"};

static bool names_files(const struct yaml *node)
{
	return declare_has(node, "cert") || declare_has(node, "key");
}

static void check_files(struct schema *s, const struct yaml *node, struct conf_identity *id)
{
	check_pair(s, node);
	for (size_t i = 0; i < sizeof(file_keys) / sizeof(file_keys[0]); i++) {
		char **const at[] = {&id->files.cert, &id->files.key, &id->files.roots, &id->files.crl};

		declare_file(s, node, file_keys[i], at[i]);
	}
	if (id->files.crl && !id->files.roots)
		declare_problem(s, node, "crl", "without roots, expected roots: /PATH beside it: the system's are revoked by nobody's list");
}

/* Which source is named; IDENTITY_NONE: none is, or several (told). */
static enum identity_kind choose(struct schema *s, const struct yaml *node)
{
	const char *named[3];
	enum identity_kind kind = IDENTITY_NONE;
	int n = 0;

	if (declare_has(node, "ca")) {
		named[n++] = "ca";
		kind = IDENTITY_CA;
	}
	if (declare_has(node, "sds")) {
		named[n++] = "sds";
		kind = IDENTITY_SDS;
	}
	if (names_files(node)) {
		named[n++] = declare_has(node, "cert") ? "cert" : "key";
		kind = IDENTITY_FILES;
	}
	if (n > 1) {
		declare_problem(s, node, named[0], "beside %s, expected exactly one of cert (with key), sds, ca", named[1]);
		return IDENTITY_NONE;
	}
	for (size_t i = 2; i < sizeof(file_keys) / sizeof(file_keys[0]) && kind != IDENTITY_FILES; i++)
		if (declare_has(node, file_keys[i]))
			declare_problem(s, node, file_keys[i], "only beside cert and key, expected no such key%s", kind == IDENTITY_NONE ? ", or a certificate" : ": roots come with the certificate");
	return kind;
}

static void take(struct schema *s, const struct yaml *node, struct conf_identity *ret)
{
	struct draft_identity d = {0};
	const uint32_t problems = s->problems->count;

	schema_init(s, MAP_IDENTITY, &d);
	d.of.place = schema_place(s, node);
	if (node->kind == YAML_SCALAR && str_is(node->scalar, "none")) {
		d.of.wrote = WROTE_NOBODY;
	} else if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map with cert and key, sds, or ca; or none");
	} else {
		schema_read(s, MAP_IDENTITY, node, &d);
		d.of.kind = choose(s, node);
		if (d.of.kind == IDENTITY_FILES)
			check_files(s, node, &d.of);
		check_names(s, node, &d.of);
		d.of.wrote = (declare_has(node, "service_account") ? WROTE_ACCOUNT : 0) | (declare_has(node, "trust_domain") ? WROTE_DOMAIN : 0) |
			(declare_has(node, "trust_domain_aliases") ? WROTE_ALIASES : 0);
	}
	if (s->problems->count != problems)
		d.of.wrote |= WROTE_WRONG;
	free(d.token);
	conf_identity_end(ret);
	*ret = d.of;
}

void conf_take_identity(struct schema *s, const struct yaml *node, void *base)
{
	take(s, node, &((struct conf_app *)base)->identity);
}

void conf_take_default_identity(struct schema *s, const struct yaml *node, void *base)
{
	take(s, node, &((struct conf *)base)->identity);
}

/* ---- who has which ------------------------------------------------------------------------------------------------------ */

void conf_instances_end(struct conf_instance **list, uint32_t *count)
{
	for (uint32_t i = 0; i < *count; i++) {
		struct conf_instance *x = &(*list)[i];

		free(x->name);
		free(x->plugin);
		free(x->cert);
		free(x->key);
		free(x->roots);
		free(x->bundle_map);
	}
	free(*list);
	*list = NULL;
	*count = 0;
}

const struct conf_instance *conf_instance_find(const struct conf *c, const char *name)
{
	for (uint32_t i = 0; i < c->ninstances; i++)
		if (strcmp(c->instances[i].name, name) == 0)
			return &c->instances[i];
	return NULL;
}

/* `default`, else the first that watches a certificate: an istio-agent writes just one. */
static const struct conf_instance *bootstraps(const struct conf *c)
{
	const struct conf_instance *i = c->xds.bootstrap ? conf_instance_find(c, "default") : NULL;

	for (uint32_t k = 0; k < c->ninstances && c->xds.bootstrap && !(i && i->cert && i->key); k++)
		i = &c->instances[k];
	return i && i->cert && i->key ? i : NULL;
}

static void inherit_names(struct conf_identity *id, const struct conf_identity *root)
{
	if (!(id->wrote & WROTE_ACCOUNT) && root->service_account)
		copy_text(&id->service_account, root->service_account);
	if (!(id->wrote & WROTE_DOMAIN) && root->trust_domain)
		copy_text(&id->trust_domain, root->trust_domain);
	if (!(id->wrote & WROTE_ALIASES))
		copy_texts(&id->aliases, &id->naliases, root->aliases, root->naliases);
}

static void inherit_source(struct schema *s, struct conf_identity *id, uint32_t nth)
{
	const struct conf_identity *root = &s->conf->identity;
	const struct conf_instance *i = bootstraps(s->conf);

	if (root->kind != IDENTITY_NONE) {
		copy_source(id, root);
	} else if (i) {
		id->kind = IDENTITY_FILES;
		copy_text(&id->files.cert, i->cert);
		copy_text(&id->files.key, i->key);
		copy_text(&id->files.roots, i->roots);
	} else if (id->place && !((id->wrote | root->wrote) & WROTE_WRONG)) {
		problems_add(s->problems, id->place, 0, 0, "apps[%u].identity: names no source, expected one of cert (with key), sds, ca, here or in `identity` of the root", nth);
	}
}

void conf_identity_finish(struct schema *s)
{
	struct conf *c = s->conf;
	const struct conf_identity *root = &c->identity;

	if (root->place && root->kind == IDENTITY_NONE && root->wrote && !(root->wrote & (WROTE_NOBODY | WROTE_WRONG)) && !bootstraps(c))
		schema_section_problem(s, "identity", "identity: names no source, expected one of cert (with key), sds, ca");
	for (uint32_t i = 0; i < c->napps; i++) {
		struct conf_identity *id = &c->apps[i].identity;

		if (!id->place) {
			schema_init(s, MAP_IDENTITY, id);
			declare_none_if_empty(&id->trust_domain);
		}
		if (!((id->place ? id->wrote : root->wrote) & WROTE_NOBODY)) {
			inherit_names(id, root);
			if (id->kind == IDENTITY_NONE)
				inherit_source(s, id, i);
		}
		id->hash = id->kind == IDENTITY_NONE ? 0 : identity_hash(id);
		c->apps[i].hash = declare_hash_value(c->apps[i].hash, id->hash);
	}
}
