/* conf/declare_tls: what is wanted of TLS connections, out of YAML: services[].tls, apps[].inbound[].tls and allow, xds.tls. Each becomes a tls_want, sealed, which the
 * spec of the service, the inbound socket or conf_xds owns.
 *
 * Whether an app that is named has an identity is known once all files are read: conf_tls_finish. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/regex.h"

enum { SNI_MAX = 253, ALPN_MAX = 255, ALPN_LIST_MAX = 1024 };
static const uint16_t versions[] = {0x0303, 0x0304}; /* in the order of the words of conf.def */

/* ---- names of a certificate --------------------------------------------------------------------------------------------- */

static int want_regex_match(const void *regex, struct str text)
{
	return regex_match(regex, text);
}

static void want_regex_free(void *regex)
{
	struct regex *re = regex;

	regex_free(&re);
}

static void add_rule(struct schema *s, const struct yaml *at, struct tls_want *w, enum tls_name on, enum tls_rule_kind kind, struct str text)
{
	char why[REGEX_WHY];
	struct ration r = {0};
	struct regex *re = NULL;

	if (text.n == 0 || text.n > 2048) {
		schema_problem(s, at, "%s, expected a name of a certificate, such as demo.example.com or spiffe://cluster.local/ns/default/sa/demo", text.n ? "more than 2048 bytes" : "empty");
		return;
	}
	if (kind == TLS_REGEX) {
		if (regex_new(&r, text, &re, why) < 0) {
			schema_problem(s, at, "'%.60s' is no regular expression of RE2: %s", text.p, why);
			return;
		}
		w->regex_match = want_regex_match;
		w->regex_free = want_regex_free;
	}
	tls_want_rule(w, on, kind, text);
	w->rules[w->nrules - 1].regex = re;
}

/* {exact|prefix|suffix|contains|regex: TEXT, on: uri|dns|ip|email} */
static void take_rule_map(struct schema *s, const struct yaml *node, struct tls_want *w)
{
	static const char *const kinds[] = {"exact", "prefix", "suffix", "contains", "regex"}; /* as enum tls_rule_kind */
	static const char *const names[] = {"any", "uri", "dns", "ip", "email"}; /* as enum tls_name */
	const struct yaml *of = NULL;
	enum tls_rule_kind kind = TLS_EXACT;
	enum tls_name on = TLS_NAME_ANY;
	struct str text;
	bool sound = true;

	for (const struct yaml *c = node->first; c; c = c->next) {
		size_t mark = schema_push(s, c->key);
		size_t k = 0;

		if (c->bad || !schema_text(s, c, &text)) {
			sound = false;
		} else if (strcmp(c->key, "on") == 0) {
			while (k < sizeof(names) / sizeof(names[0]) && !str_is(text, names[k]))
				k++;
			on = (enum tls_name)k;
			if (k == sizeof(names) / sizeof(names[0])) {
				schema_problem(s, c, "'%.40s' is not known, expected one of uri, dns, ip, email", text.p);
				sound = false;
			}
		} else {
			while (k < sizeof(kinds) / sizeof(kinds[0]) && strcmp(c->key, kinds[k]) != 0)
				k++;
			if (k == sizeof(kinds) / sizeof(kinds[0]) || of) {
				schema_problem(s, c, "%s, expected exactly one of exact, prefix, suffix, contains, regex, and on", of ? "a second condition" : "unknown key");
				sound = false;
			} else {
				of = c;
				kind = (enum tls_rule_kind)k;
			}
		}
		schema_pop(s, mark);
	}
	if (sound && !of)
		schema_problem(s, node, "says nothing, expected one of exact, prefix, suffix, contains, regex");
	if (sound && of && schema_text(s, of, &text)) {
		size_t mark = schema_push(s, of->key);

		add_rule(s, of, w, on, kind, text);
		schema_pop(s, mark);
	}
}

void conf_take_san_rules(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_tls *d = base;
	struct str text;
	size_t i = 0;

	if (!schema_is_list(s, node, "names, or maps such as {prefix: \"spiffe://cluster.local/ns/default/\"}"))
		return;
	if (node->count > CONF_RULES_MAX) {
		schema_problem(s, node, "%zu names, expected at most %d", node->count, CONF_RULES_MAX);
		return;
	}
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);

		if (!c->bad && c->kind == YAML_MAP)
			take_rule_map(s, c, d->want);
		else if (!c->bad && schema_text(s, c, &text))
			add_rule(s, c, d->want, TLS_NAME_ANY, TLS_EXACT, text);
		schema_pop(s, mark);
	}
}

/* ---- TLS to endpoints --------------------------------------------------------------------------------------------------- */

static bool is_sni(struct str t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] >= 0x7f || strchr("/:@[]\"\\", t.p[i]))
			return false;
	return t.n > 0 && t.n <= SNI_MAX;
}

static bool is_alpn(struct str t)
{
	size_t one = 0;

	if (t.n > ALPN_LIST_MAX)
		return false;
	for (size_t i = 0; i <= t.n; i++) {
		if (i < t.n && t.p[i] != ',') {
			if (t.p[i] <= ' ' || t.p[i] >= 0x7f)
				return false;
			one++;
		} else if (one == 0 || one > ALPN_MAX) {
			return false;
		} else {
			one = 0;
		}
	}
	return true;
}

static void set_roots(struct schema *s, const struct yaml *node, struct draft_tls *d, struct tls_want *w)
{
	const bool system = !d->roots || !*d->roots || strcmp(d->roots, "system") == 0;
	const bool own = d->roots && strcmp(d->roots, "identity") == 0;
	char *names;

	declare_file(s, node, "crl", &d->crl);
	if (d->crl && (system || own))
		declare_problem(s, node, "crl", "without a file of roots, expected roots: /PATH beside it");
	if (d->insecure && declare_has(node, "roots"))
		declare_problem(s, node, "insecure", "beside roots, expected one of the two: whoever answers is believed");
	if (own && !d->identity)
		declare_problem(s, node, "roots", "identity means the roots of `identity`, which is not written, expected identity: APP beside it");
	if (d->insecure) {
		secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_NOWHERE, STR(""));
	} else if (own) {
		secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_IDENTITY, str_of(d->identity));
	} else if (system) {
		secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_SYSTEM, STR(""));
	} else {
		declare_file(s, node, "roots", &d->roots);
		names = xasprintf("%s%s%s", d->roots ? d->roots : "", d->crl ? "\n" : "", d->crl ? d->crl : "");
		secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_FILES, str_of(names));
		free(names);
	}
}

static void set_rest(struct schema *s, const struct yaml *node, struct draft_tls *d, struct tls_want *w)
{
	const struct yaml *san = yaml_get(node, "san");

	declare_none_if_empty(&d->sni);
	declare_none_if_empty(&d->alpn);
	if (d->sni && !is_sni(str_of(d->sni)))
		declare_problem(s, node, "sni", "'%.60s' is no name of a server, expected one such as demo.example.com", d->sni);
	if (d->alpn && !is_alpn(str_of(d->alpn)))
		declare_problem(s, node, "alpn", "'%.60s' is no list of protocols, expected one such as h2 or istio-h2,istio,h2", d->alpn);
	if (d->min > d->max)
		declare_problem(s, node, "min_version", "above max_version, expected at most that");
	if (d->insecure && w->nrules)
		declare_problem(s, node, "insecure", "beside san, expected one of the two: a name that nobody vouches for says nothing");
	else if (san && san->kind == YAML_SEQ && san->count == 0)
		declare_problem(s, node, "san", "an empty list, expected at least one name, or no such key");
	w->names = d->insecure ? TLS_NAMES_ANY : w->nrules ? TLS_NAMES_RULES : TLS_NAMES_SERVER;
	free(w->sni);
	free(w->alpn);
	w->sni = d->sni;
	w->alpn = d->alpn;
	d->sni = d->alpn = NULL;
	w->min = versions[d->min];
	w->max = versions[d->max];
}

void conf_take_service_tls(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_service *of = base;
	struct draft_tls d = {0};

	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map; {} will do: the system's roots, and the endpoint's host name in its certificate");
		return;
	}
	d.want = tls_want_new();
	schema_init(s, MAP_SERVICE_TLS, &d);
	schema_read(s, MAP_SERVICE_TLS, node, &d);
	declare_none_if_empty(&d.identity);
	set_roots(s, node, &d, d.want);
	if (d.identity)
		secret_ref_set(&d.want->cert, SECRET_CERT, SECRET_IDENTITY, str_of(d.identity));
	set_rest(s, node, &d, d.want);
	tls_want_seal(d.want);
	tls_want_unref(&of->want);
	of->want = d.want;
	free(d.roots);
	free(d.crl);
	free(d.sni);
	free(d.identity);
	free(d.alpn);
}

/* ---- calls that come in ------------------------------------------------------------------------------------------------- */

void conf_take_inbound_tls(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_inbound *d = base;
	struct conf_inbound *in = d->in;

	schema_init(s, MAP_INBOUND_TLS, d);
	if (node->kind == YAML_MAP) {
		schema_read(s, MAP_INBOUND_TLS, node, d);
	} else if (node->kind == YAML_SCALAR && (str_is(node->scalar, "strict") || str_is(node->scalar, "permissive"))) {
		d->tls_mode = str_is(node->scalar, "permissive");
	} else {
		schema_problem(s, node, "%s%.40s%sexpected strict, permissive, or a map with mode and client_certificate", node->kind == YAML_SCALAR ? "'" : "",
			node->kind == YAML_SCALAR ? node->scalar.p : "", node->kind == YAML_SCALAR ? "' is not known, " : "");
		return;
	}
	in->tls = d->tls_mode ? INBOUND_PERMISSIVE : INBOUND_STRICT;
	tls_want_unref(&in->want);
	in->want = tls_want_new();
	secret_ref_set(&in->want->cert, SECRET_CERT, SECRET_IDENTITY, STR(""));
	secret_ref_set(&in->want->roots, SECRET_ROOTS, SECRET_IDENTITY, STR(""));
	in->want->names = TLS_NAMES_DOMAIN;
	in->want->no_client_cert = d->client_certificate != 0;
	free(in->want->alpn);
	in->want->alpn = xstrdup("h2,http/1.1");
	tls_want_seal(in->want);
}

/* '*' at the end only: what is let in must be plain to see. */
static char *make_pattern(struct schema *s, const struct yaml *node, const char *begins, const char *such_as)
{
	ptrdiff_t star;
	struct str text;

	if (!schema_text(s, node, &text))
		return NULL;
	star = str_find(text, '*');
	if (star >= 0 && (size_t)star + 1 != text.n)
		schema_problem(s, node, "'%.80s': '*' stands for any rest, expected it at the end only", text.p);
	else if (text.n == 0 || text.n > 2048 || (star != 0 && !str_starts(text, str_of(begins)) && !(star > 0 && str_starts(str_of(begins), str_cut(text, 0, (size_t)star)))))
		schema_problem(s, node, "'%.80s' would fit nothing, expected %s", text.p, such_as);
	else
		return xstrndup(text.p, text.n);
	return NULL;
}

static char *make_peer_id(struct schema *s, const struct yaml *node)
{
	return make_pattern(s, node, "spiffe://", "a SPIFFE id such as spiffe://cluster.local/ns/default/sa/shop, with '*' at the end for any rest");
}

static char *make_peer_path(struct schema *s, const struct yaml *node)
{
	return make_pattern(s, node, "/", "a path such as /org.apache.dubbo.demo.GreeterService/*, with '*' at the end for any rest");
}

void conf_take_peer_ids(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_allow_peer *p = base;

	declare_texts(s, node, "SPIFFE ids", CONF_ALLOW_MAX, &p->ids, &p->nids, make_peer_id);
	if (node->kind == YAML_SEQ && node->count == 0)
		schema_problem(s, node, "an empty list, expected at least one id, or no such key");
}

void conf_take_peer_paths(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_allow_peer *p = base;

	declare_texts(s, node, "paths", CONF_ALLOW_MAX, &p->paths, &p->npaths, make_peer_path);
	if (node->kind == YAML_SEQ && node->count == 0)
		schema_problem(s, node, "an empty list, expected at least one path, or no such key");
}

void conf_take_inbound_allow(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_inbound *in = ((struct draft_inbound *)base)->in;
	size_t i = 0;

	if (!schema_is_list(s, node, "maps, each with ids, paths or both"))
		return;
	if (node->count == 0)
		schema_problem(s, node, "an empty list, expected at least one map with ids or paths, or no such key");
	if (node->count > CONF_ALLOW_MAX) {
		schema_problem(s, node, "%zu entries, expected at most %d", node->count, CONF_ALLOW_MAX);
		return;
	}
	in->allow = xalloc((node->count + 1) * sizeof(*in->allow));
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);

		if (!c->bad && c->kind != YAML_MAP) {
			schema_problem(s, c, "expected a map with ids, paths or both");
		} else if (!c->bad) {
			schema_read(s, MAP_INBOUND_ALLOW, c, &in->allow[in->nallow++]);
			if (declare_misses(c, "ids") && declare_misses(c, "paths"))
				schema_problem(s, c, "allows everything, expected ids, paths or both");
		}
		schema_pop(s, mark);
	}
}

/* Without a certificate nobody has an id: such a rule would fit nothing, and look as if it let somebody in. */
void conf_inbound_tls_settle(struct schema *s, const struct yaml *node, const struct conf_inbound *in)
{
	bool ids = false;

	for (uint32_t i = 0; i < in->nallow; i++)
		ids |= in->allow[i].nids > 0;
	if (ids && in->tls == INBOUND_PLAIN)
		declare_problem(s, node, "allow", "ids would fit nobody, expected tls: strict or permissive beside it: callers show who they are by a certificate");
}

void conf_inbound_tls_end(struct conf_inbound *in)
{
	for (uint32_t i = 0; i < in->nallow; i++) {
		declare_texts_end(&in->allow[i].ids, &in->allow[i].nids);
		declare_texts_end(&in->allow[i].paths, &in->allow[i].npaths);
	}
	free(in->allow);
	in->allow = NULL;
	in->nallow = 0;
	tls_want_unref(&in->want);
	in->tls = INBOUND_PLAIN;
}

uint64_t conf_inbound_tls_hash(const struct conf_inbound *in, uint64_t h)
{
	h = declare_hash_value(declare_hash_value(declare_hash_value(h, in->tls), in->want ? in->want->hash : 0), in->nallow);
	for (uint32_t i = 0; i < in->nallow; i++)
		h = declare_hash_texts(declare_hash_texts(h, in->allow[i].ids, in->allow[i].nids), in->allow[i].paths, in->allow[i].npaths);
	return h;
}

/* ---- the control plane --------------------------------------------------------------------------------------------------- */

void conf_take_xds_identity(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_xds *x = &((struct conf *)base)->xds;
	struct str text;

	if (!schema_text(s, node, &text))
		return;
	x->tls.identity_wrote = true;
	x->tls.identity = x->tls.identity_demanded = !(str_is(text, "false") || str_is(text, "no") || str_is(text, "off"));
	free(x->tls.identity_app);
	x->tls.identity_app = NULL;
	if (x->tls.identity && !str_is(text, "true") && !str_is(text, "yes") && !str_is(text, "on"))
		x->tls.identity_app = xstrndup(text.p, text.n);
}

static struct tls_want *xds_want(const struct conf_xds *x, bool identity)
{
	struct tls_want *w = tls_want_new();
	char *pair;

	if (x->tls.cert && x->tls.key) {
		pair = xasprintf("%s\n%s", x->tls.cert, x->tls.key);
		secret_ref_set(&w->cert, SECRET_CERT, SECRET_FILES, str_of(pair));
		free(pair);
	} else if (identity) {
		secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, str_of(x->tls.identity_app ? x->tls.identity_app : ""));
	}
	secret_ref_set(&w->roots, SECRET_ROOTS, x->tls.roots ? SECRET_FILES : SECRET_SYSTEM, str_of(x->tls.roots ? x->tls.roots : ""));
	w->sni = x->tls.server_name ? xstrdup(x->tls.server_name) : NULL;
	w->names = x->tls.nsan ? TLS_NAMES_RULES : TLS_NAMES_SERVER;
	for (uint32_t i = 0; i < x->tls.nsan; i++)
		tls_want_rule(w, TLS_NAME_ANY, TLS_EXACT, str_of(x->tls.san[i]));
	tls_want_seal(w);
	return w;
}

/* ---- who is named has to be somebody ------------------------------------------------------------------------------------- */

static const struct conf_app *app_of(const struct conf *c, const char *name)
{
	for (uint32_t i = 0; i < c->napps; i++)
		if (c->apps[i].name && strcmp(c->apps[i].name, name) == 0)
			return &c->apps[i];
	return NULL;
}

/* What is wrong with naming it; NULL: nothing. */
static const char *no_identity(const struct conf *c, const char *name)
{
	const struct conf_app *a = app_of(c, name);

	return !a ? "no app has that name" : a->identity.kind == IDENTITY_NONE ? "that app has no identity" : NULL;
}

static void finish_xds(struct schema *s)
{
	struct conf_xds *x = &s->conf->xds;
	bool any = false;
	const char *wrong;

	for (uint32_t i = 0; i < s->conf->napps; i++)
		any |= s->conf->apps[i].identity.kind != IDENTITY_NONE;
	if (x->tls.identity && (x->tls.cert || x->tls.key))
		schema_section_problem(s, "xds", "xds.tls.identity: beside cert and key, expected one of the two");
	else if (x->tls.identity_app && (wrong = no_identity(s->conf, x->tls.identity_app)))
		schema_section_problem(s, "xds", "xds.tls.identity: '%.60s': %s, expected an app with apps[].identity, or true", x->tls.identity_app, wrong);
	else if (x->tls.identity && !x->tls.identity_app && !any)
		schema_section_problem(s, "xds", "xds.tls.identity: no app has an identity, expected one (apps[].identity)");
	if (!x->tls.on)
		return;
	if (!x->tls.identity_wrote)
		x->tls.identity = any && !x->tls.cert;
	x->tls.want = xds_want(x, x->tls.identity);
	x->tls.bare = xds_want(x, false);
}

void conf_tls_finish(struct schema *s)
{
	const struct conf *c = s->conf;
	const char *wrong;

	for (uint32_t i = 0; i < c->napps; i++) {
		const struct conf_app *a = &c->apps[i];

		for (uint32_t k = 0; k < a->ninbound; k++)
			if (a->inbound[k].tls != INBOUND_PLAIN && a->identity.kind == IDENTITY_NONE)
				problems_add(s->problems, a->inbound[k].place, 0, 0, "apps[%u].inbound[%u].tls: the app has no identity, expected apps[%u].identity with a certificate to show", i, k, i);
	}
	for (uint32_t i = 0; i < c->nservices; i++) {
		const struct tls_want *w = c->services[i].spec->want;

		if (w && w->cert.from == SECRET_IDENTITY && (wrong = no_identity(c, w->cert.name)))
			problems_add(s->problems, c->services[i].place, 0, 0, "services[%u].tls.identity: '%.60s': %s, expected an app with apps[].identity", i, w->cert.name, wrong);
	}
	finish_xds(s);
}
