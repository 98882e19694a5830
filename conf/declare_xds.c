/* conf/declare_xds: the control plane (`xds:`) out of its YAML: its lists and maps, what must fit together in it, and its hash.
 *
 * Everything is made into struct conf_xds at once, which conf_unref ends whole or half-built. What can only go wrong on the wire (a template that
 * names no cluster, a token that is refused) is not judged here; what a person would find out an hour later is. */
#include "conf/declare.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/authority.h"
#include "conf/bootstrap.h"
#include "conf/json.h"

/* ---- servers ------------------------------------------------------------------------------------------------------------ */

static bool is_unix(const char *server)
{
	return str_starts(str_of(server), STR("unix:"));
}

/* Nobody but this machine reads what goes there. */
static bool is_here(const char *server)
{
	struct addr addr;
	struct str host;
	int port;

	if (is_unix(server))
		return true;
	if (addr_parse(str_of(server), &addr) == 0)
		return addr_is_loopback(&addr);
	return addr_split(str_of(server), &host, &port) == 0 && str_eq_nocase(host, STR("localhost"));
}

static char *make_unix(struct schema *s, const struct yaml *node, struct str path)
{
	struct addr addr;

	/* gRPC writes unix:///path, which is the path behind an empty host. */
	if (str_starts(path, STR("//")) && path.n > 2 && path.p[2] == '/')
		path = str_cut(path, 2, path.n);
	if (path.n < 2 || (path.p[0] != '/' && path.p[0] != '@')) {
		schema_problem(s, node, "'unix:%.*s' is no socket, expected unix:/PATH, or unix:@NAME for an abstract one",
			(int)(path.n > 80 ? 80 : path.n), path.p);
		return NULL;
	}
	if (addr_unix(path, &addr) < 0) {
		schema_problem(s, node, "the path is too long, expected at most %zu bytes: the kernel takes no more",
			sizeof(addr.un.sun_path) - 1);
		return NULL;
	}
	return xasprintf("unix:%.*s", (int)path.n, path.p);
}

static char *make_server_text(struct schema *s, const struct yaml *node, struct str text)
{
	static const char expected[] = "expected HOST:PORT, [IPV6]:PORT or unix:/PATH, such as istiod.istio-system.svc:15010";
	char cleaned[AUTHORITY_MAX];
	const struct str written = text;
	struct str host;
	int port;
	size_t n;

	text = str_trim(text);
	if (str_starts(text, STR("unix:")))
		return make_unix(s, node, str_cut(text, 5, text.n));
	/* As gRPC writes it. */
	if (str_starts(text, STR("dns:")))
		text = str_cut(text, str_starts(text, STR("dns:///")) ? 7 : 4, text.n);
	if (str_starts(text, STR("http://")) || str_starts(text, STR("https://"))) {
		schema_problem(s, node, "'%.80s' is a URL, %s%s", written.p, expected, str_starts(sb_view(&s->path), STR("xds")) ? "; TLS: a section xds.tls" : "");
		return NULL;
	}
	if (addr_split(text, &host, &port) < 0 || host.n == 0 || authority_clean(text, cleaned, &n) == AUTHORITY_BAD ||
		memchr(cleaned, '/', n) || memchr(cleaned, '%', n)) {
		schema_problem(s, node, "'%.80s' is no server, %s", written.p, expected);
		return NULL;
	}
	if (port <= 0) {
		schema_problem(s, node, "'%.80s' has no port, expected HOST:PORT (istiod: 15010 in plain text, 15012 with TLS)", written.p);
		return NULL;
	}
	return xstrndup(cleaned, n);
}

char *declare_server(struct schema *s, const struct yaml *node)
{
	struct str text;

	return schema_text(s, node, &text) ? make_server_text(s, node, text) : NULL;
}

void conf_take_xds_server(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;
	char *server = declare_server(s, node);

	/* Beside `servers` it is told as a whole (conf_check_xds). */
	if (server && x->nservers == 0) {
		free(x->servers);
		x->servers = xalloc(sizeof(char *));
		x->servers[x->nservers++] = server;
		return;
	}
	free(server);
}

void conf_take_xds_servers(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;

	declare_texts(s, node, "HOST:PORT", CONF_XDS_SERVERS_MAX, &x->servers, &x->nservers, declare_server);
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

void conf_take_xds_san(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;

	declare_texts(s, node, "names", CONF_XDS_SANS_MAX, &x->tls.san, &x->tls.nsan, declare_san);
}

static char *make_authority(struct schema *s, const struct yaml *node)
{
	char *cleaned = NULL;
	struct str host;
	int port;

	if (!declare_authority(s, node, &cleaned))
		return NULL;
	if (addr_split(str_of(cleaned), &host, &port) == 0 && port > 0)
		return cleaned;
	schema_problem(s, node, "'%.80s' has no port, expected NAME:PORT, as calls name it", cleaned);
	free(cleaned);
	return NULL;
}

void conf_take_xds_prefetch(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;

	declare_texts(s, node, "NAME:PORT", CONF_XDS_PREFETCH_MAX, &x->prefetch, &x->nprefetch, make_authority);
}

/* ---- headers ------------------------------------------------------------------------------------------------------------ */

static bool is_token(struct str t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", t.p[i]))
			return false;
	return t.n > 0 && t.n <= 128;
}

static bool is_value(struct str t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] < ' ' || t.p[i] >= 0x7f)
			return false;
	return t.n <= 8192;
}

/* What gRPC and HTTP/2 write themselves. */
static bool is_ours(const char *name)
{
	static const char *const ours[] = {"te", "content-type", "user-agent", "host", "connection", "transfer-encoding", "content-length",
		"keep-alive", "upgrade", "proxy-connection"};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(name, ours[i]) == 0)
			return true;
	return str_starts(str_of(name), STR("grpc-"));
}

void conf_take_xds_headers(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;

	if (node->kind != YAML_MAP || node->count > CONF_XDS_HEADERS_MAX) {
		schema_problem(s, node, "expected a map of at most %d names and texts", CONF_XDS_HEADERS_MAX);
		return;
	}
	x->headers = xalloc((node->count + 1) * sizeof(*x->headers));
	for (const struct yaml *c = node->first; c; c = c->next) {
		size_t mark = schema_push(s, c->key);
		char *name = xstrdup(c->key);
		struct str value;

		str_lower(name, strlen(name));
		if (c->bad || !schema_text(s, c, &value)) {
			free(name);
		} else if (!is_token(str_of(name)) || is_ours(name)) {
			schema_problem(s, c, "no header of yours, expected letters, digits and '-', and none that gRPC writes itself");
			free(name);
		} else if (!is_value(value)) {
			schema_problem(s, c, "no value of a header, expected printable ASCII");
			free(name);
		} else {
			x->headers[x->nheaders++] = (struct conf_pair){.from = name, .to = xstrndup(value.p, value.n)};
		}
		schema_pop(s, mark);
	}
}

/* ---- metadata of the node ------------------------------------------------------------------------------------------------- */

void conf_take_node_metadata(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;
	struct sb json = {0};

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map, such as {NETWORK: network1}");
		return;
	}
	json_write(&json, node);
	free(x->node.metadata);
	x->node.metadata = xstrndup(json.p, json.n);
	sb_end(&json);
}

/* ---- what must fit together ------------------------------------------------------------------------------------------------ */

static void give(char **to, char **from)
{
	free(*to);
	*to = *from;
	*from = NULL;
}

/* Where `xds:` names no server, that of gRPC's bootstrap is meant; its credentials count unless `tls` is written. False: there is none. */
static bool take_bootstrap(struct schema *s, const struct yaml *node, struct conf_xds *x)
{
	struct err e = ERR_INIT;
	struct bootstrap b;
	int code = bootstrap_read(s->env, s->env_ctx, &e, &b);
	char *server;

	if (code == 0)
		return false;
	if (code < 0) {
		schema_problem(s, node, "has no server, and the bootstrap of gRPC in the environment cannot be read: %.*s",
			(int)strcspn(err_str(&e), "\n"), err_str(&e));
		err_clear(&e);
		return true;
	}
	if (b.server) {
		server = make_server_text(s, node, str_of(b.server));
		if (server) {
			x->servers = xalloc(sizeof(char *));
			x->servers[x->nservers++] = server;
		}
		x->bootstrap = true;
		if (b.tls && !declare_has(node, "tls")) {
			x->tls.on = true;
			give(&x->tls.roots, &b.tls_roots);
			give(&x->tls.cert, &b.tls_cert);
			give(&x->tls.key, &b.tls_key);
		}
	} else {
		schema_problem(s, node, "has no server, nor has the bootstrap of gRPC in the environment, expected server: HOST:PORT");
	}
	bootstrap_end(&b);
	return true;
}

/* Its certificate providers are there for whom the control plane names one, whoever the server is; one that cannot be read has none, and is told where it is needed. */
static void take_instances(struct schema *s)
{
	struct conf *c = s->conf;
	struct err e = ERR_INIT;
	struct bootstrap b;

	if (bootstrap_read(s->env, s->env_ctx, &e, &b) != 1) {
		err_clear(&e);
		return;
	}
	conf_instances_end(&c->instances, &c->ninstances);
	c->instances = b.instances;
	c->ninstances = b.ninstances;
	b.instances = NULL;
	b.ninstances = 0;
	bootstrap_end(&b);
}

static void check_servers(struct schema *s, const struct yaml *node, struct conf_xds *x)
{
	const struct yaml *list = yaml_get(node, "servers");

	if (declare_has(node, "server") && declare_has(node, "servers"))
		declare_problem(s, node, "servers", "beside server, expected one of the two");
	else if (declare_misses(node, "server") && declare_misses(node, "servers") && !take_bootstrap(s, node, x))
		schema_problem(s, node, "has no server, expected server: HOST:PORT, such as istiod.istio-system.svc:15010");
	else if (list && list->kind == YAML_SEQ && list->count == 0)
		declare_problem(s, node, "servers", "an empty list, expected at least one HOST:PORT");
}

static void check_tls(struct schema *s, const struct yaml *node, struct conf_xds *x)
{
	const struct yaml *tls = yaml_get(node, "tls");
	bool far = false, written = tls && tls->kind == YAML_MAP, only_token;
	size_t mark;

	declare_none_if_empty(&x->tls.roots);
	declare_none_if_empty(&x->tls.cert);
	declare_none_if_empty(&x->tls.key);
	declare_none_if_empty(&x->tls.token_file);
	declare_none_if_empty(&x->tls.server_name);
	for (uint32_t i = 0; i < x->nservers; i++)
		far |= !is_here(x->servers[i]);
	/* An agent on this machine takes a token in plain text; to anywhere else a token alone is reason enough for TLS. */
	only_token = x->tls.token_file && !x->tls.roots && !x->tls.cert && !x->tls.key && !x->tls.server_name && !x->tls.nsan;
	x->tls.on |= written && (far || !only_token);
	mark = schema_push(s, "tls");
	if (written && x->tls.cert && !x->tls.key)
		declare_problem(s, tls, "cert", "has no key, expected tls.key beside it");
	if (written && x->tls.key && !x->tls.cert)
		declare_problem(s, tls, "key", "has no certificate, expected tls.cert beside it");
	schema_pop(s, mark);
	mark = schema_push(s, "headers");
	for (uint32_t i = 0; i < x->nheaders; i++)
		if (strcmp(x->headers[i].from, "authorization") == 0 && far && !x->tls.on)
			schema_problem(s, yaml_get(node, "headers"),
				"authorization would go out in the clear, expected a section xds.tls, or a server on this machine");
	schema_pop(s, mark);
}

static void check_protocol(struct schema *s, const struct yaml *node, const struct conf_xds *x)
{
	static const struct {
		enum xds_profile profile;
		enum xds_protocol not;
		const char *why;
	} rows[] = {
		{PROFILE_ISTIO_GRPC, PROTOCOL_DELTA, "istiod forgets names there, expected sotw or auto with profile istio-grpc"},
		{PROFILE_TEMPLATE, PROTOCOL_DELTA, "its servers do not speak it, expected sotw or auto with profile template"},
		{PROFILE_CONSUL, PROTOCOL_SOTW, "consul speaks delta only, expected delta or auto with profile consul"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (x->profile == rows[i].profile && x->protocol == rows[i].not)
			declare_problem(s, node, "protocol", "%s", rows[i].why);
}

/* NULL, or what is wrong with it. */
static const char *template_wrong(struct str t)
{
	static const char *const known[] = {"{host}", "{port}", "{app}", "{namespace}"};
	bool names = false;

	for (size_t i = 0; i < t.n;) {
		size_t n = 0;

		if (t.p[i] == '}')
			return "a '}' without its '{'";
		if (t.p[i] != '{') {
			i++;
			continue;
		}
		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && !n; k++) {
			if (str_starts(str_cut(t, i, t.n), str_of(known[k]))) {
				n = strlen(known[k]);
				names |= k == 0 || k == 2;
			}
		}
		if (!n)
			return "something in braces that is none of {host} {port} {app} {namespace}";
		i += n;
	}
	return names ? t.n > 512 ? "more than 512 bytes" : NULL : "neither {host} nor {app}: every name would be one cluster";
}

static void check_template(struct schema *s, const struct yaml *node, struct conf_xds *x)
{
	static const char samples[] = "outbound|{port}||{host}, or for Nacos outbound|{port}||{app}.DEFAULT-GROUP.public.nacos";
	const char *wrong;

	declare_none_if_empty(&x->cluster_template);
	if (x->profile == PROFILE_TEMPLATE) {
		if (!x->cluster_template)
			declare_problem(s, node, "template", "missing with profile template, expected one such as %s", samples);
		else if ((wrong = template_wrong(str_of(x->cluster_template))))
			declare_problem(s, node, "template", "%s, expected one such as %s", wrong, samples);
		return;
	}
	if (x->cluster_template)
		declare_problem(s, node, "template", "only for profile template, expected no such key, or profile: template");
	if (x->template_eds_only)
		declare_problem(s, node, "template_eds_only", "only for profile template, expected no such key, or profile: template");
}

void conf_check_xds(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;

	check_servers(s, node, x);
	take_instances(s);
	check_tls(s, node, x);
	check_protocol(s, node, x);
	check_template(s, node, x);
	declare_none_if_empty(&x->node.id);
	declare_none_if_empty(&x->node.cluster);
	declare_none_if_empty(&x->node.region);
	declare_none_if_empty(&x->node.zone);
	declare_none_if_empty(&x->node.sub_zone);
	if (x->node.id && strlen(x->node.id) > 1024)
		declare_problem(s, yaml_get(node, "node"), "id", "longer than 1024 bytes, expected less");
	if (!x->cds && x->profile != PROFILE_ISTIO)
		declare_problem(s, node, "cds", "off only with profile istio, expected no such key: elsewhere clusters are asked for by name");
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------ */

uint64_t conf_xds_hash(const struct conf_xds *x)
{
	const char *const texts[] = {x->tls.roots, x->tls.cert, x->tls.key, x->tls.token_file, x->tls.server_name, x->node.id, x->node.cluster,
		x->node.region, x->node.zone, x->node.sub_zone, x->node.metadata, x->cluster_template};
	const uint64_t values[] = {x->profile, x->protocol, x->tls.on, x->idle_ns, x->names, x->removal_hold_ns, x->wildcard, x->cds,
		x->template_eds_only, x->connect_timeout_ns, x->nheaders, x->tls.want ? x->tls.want->hash : 0};
	uint64_t h = declare_hash_texts(declare_hash_texts(declare_hash_texts(4, x->servers, x->nservers), x->tls.san, x->tls.nsan), x->prefetch, x->nprefetch);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		h = declare_hash_text(h, texts[i]);
	for (uint32_t i = 0; i < x->nheaders; i++)
		h = declare_hash_text(declare_hash_text(h, x->headers[i].from), x->headers[i].to);
	return str_hash_seeded(str_n((const char *)values, sizeof(values)), h);
}

void conf_xds_end(struct conf_xds *x)
{
	char *const texts[] = {x->tls.roots, x->tls.cert, x->tls.key, x->tls.token_file, x->tls.server_name, x->node.id, x->node.cluster,
		x->node.region, x->node.zone, x->node.sub_zone, x->node.metadata, x->cluster_template};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	for (uint32_t i = 0; i < x->nheaders; i++) {
		free(x->headers[i].from);
		free(x->headers[i].to);
	}
	free(x->headers);
	free(x->tls.identity_app);
	tls_want_unref(&x->tls.want);
	tls_want_unref(&x->tls.bare);
	declare_texts_end(&x->servers, &x->nservers);
	declare_texts_end(&x->tls.san, &x->tls.nsan);
	declare_texts_end(&x->prefetch, &x->nprefetch);
}
