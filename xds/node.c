/* xds/node: see the header. What istiod makes of each part: it needs an id of four parts with an IP, and NAMESPACE; DISABLE_HBONE_SEND keeps tunnels away that we
 * do not speak; INTERCEPTION_MODE NONE spares listeners that nobody listens on; an ISTIO_VERSION that is not true would be worse than none. */
#include "xds/node.h"

#include <stdlib.h>

#include "base/addr.h"
#include "base/mem.h"
#include "conf/bootstrap.h"
#include "conf/json.h"
#include "xds/wire.h"

/* envoy.config.core.v3.Node, Locality; google.protobuf.Struct, Value. */
enum { NODE_ID = 1, NODE_CLUSTER = 2, NODE_METADATA = 3, NODE_LOCALITY = 4, NODE_AGENT = 6, NODE_AGENT_VERSION = 7, NODE_FEATURES = 10 };
enum { LOCALITY_REGION = 1, LOCALITY_ZONE = 2, LOCALITY_SUB_ZONE = 3 };
enum { STRUCT_FIELDS = 1, ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { VALUE_NULL = 1, VALUE_NUMBER = 2, VALUE_TEXT = 3, VALUE_BOOL = 4, VALUE_STRUCT = 5, VALUE_LIST = 6, LIST_VALUES = 1 };
enum { ENTRIES_MAX = 4096, DOCS_MAX = 256, VARIABLES_MAX = 100000 };

/* What we understand beyond the least. Not envoy.lb.does_not_support_overprovisioning: we do support it. */
static const char *const features[] = {"xds.config.resource-in-sotw"};

/* One key of the metadata; who comes first wins. The texts are loans. */
struct entry {
	struct str key;
	struct str text;
	const struct yaml *value;    /* instead of text */
	bool probe;                  /* a map, to which `readinessProbe: {}` is added; of nothing else where value is NULL */
};
struct builder {
	const struct conf_xds *x;
	const struct conf_app *app;
	const struct node_env *env;
	struct err *err;
	struct bootstrap boot;
	struct entry *entries;
	uint32_t count, cap;
	struct yaml_doc docs[DOCS_MAX];  /* of values that are JSON */
	uint32_t ndocs;
	struct sb ips;                   /* "10.0.0.7,fd00::7" */
	bool has_ips;                    /* the environment names them */
};

static const char *variable(const struct builder *b, const char *name)
{
	const char *value = b->env->get ? b->env->get(b->env->ctx, name) : NULL;

	return value && *value ? value : NULL;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
	return a && *a ? a : b && *b ? b : c;
}

static bool is_istio(const struct builder *b)
{
	return b->x->profile == PROFILE_ISTIO || b->x->profile == PROFILE_ISTIO_GRPC;
}

/* ---- metadata ------------------------------------------------------------------------------------------------------------------ */

static void push(struct builder *b, struct str key, struct str text, const struct yaml *value)
{
	if (b->count == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 32;
		b->entries = xrealloc(b->entries, b->cap * sizeof(*b->entries));
	}
	b->entries[b->count++] = (struct entry){.key = key, .text = text, .value = value};
}

static void add(struct builder *b, struct str key, struct str text, const struct yaml *value)
{
	if (b->count == ENTRIES_MAX)
		return;
	/* The profile decides what istiod generates for us; an agent's or a pod's word about it is for another client. */
	if (str_is(key, "GENERATOR") && is_istio(b))
		return;
	for (uint32_t i = 0; i < b->count; i++)
		if (str_eq(b->entries[i].key, key))
			return;
	push(b, key, text, value);
}

static void add_text(struct builder *b, const char *key, const char *text)
{
	if (text && *text)
		add(b, str_of(key), str_of(text), NULL);
}

static void add_map(struct builder *b, const struct yaml *map)
{
	for (const struct yaml *c = map ? map->first : NULL; c; c = c->next)
		add(b, str_of(c->key), (struct str){0}, c);
}

/* A tree that lives as long as the builder; NULL: no JSON, told. */
static const struct yaml *json_of(struct builder *b, const char *name, struct str text)
{
	struct yaml_doc *d = &b->docs[b->ndocs];

	if (b->ndocs == DOCS_MAX) {
		err_add(b->err, NULL, 0, 0, "%s: more than %d values of JSON, this one is left out", name, DOCS_MAX);
		return NULL;
	}
	if (yaml_parse(name, text.p, text.n, yaml_literal, NULL, b->err, d) < 0)
		return NULL;
	b->ndocs++;
	return d->root;
}

/* istiod reads these into structs, and ends the stream where they are none. */
static bool must_be_map(struct str key)
{
	return str_is(key, "PROXY_CONFIG") || str_is(key, "LABELS") || str_is(key, "ANNOTATIONS");
}

static void add_json(struct builder *b, struct str key, const char *name, struct str text)
{
	const struct yaml *value = json_of(b, name, text);

	if (value && must_be_map(key) && value->kind != YAML_MAP)
		err_add(b->err, NULL, 0, 0, "%s: no map, which %.*s must be: left out", name, (int)key.n, key.p);
	else if (value)
		add(b, key, (struct str){0}, value);
}

static void add_environment(struct builder *b)
{
	static const struct str meta = STR("ISTIO_META_"), json = STR("ISTIO_METAJSON_");
	struct str name, value;

	for (uint32_t i = 0; b->env->each && i < VARIABLES_MAX && b->env->each(b->env->ctx, i, &name, &value); i++) {
		char shown[64] = "";
		bool is_json = str_starts(name, json), is_meta = str_starts(name, meta);
		struct str key = str_cut(name, is_json ? json.n : meta.n, name.n);

		if ((!is_json && !is_meta) || key.n == 0)
			continue;
		memcpy(shown, name.p, name.n < sizeof(shown) - 1 ? name.n : sizeof(shown) - 1);
		if (is_json || must_be_map(key))
			add_json(b, key, shown, value);
		else
			add(b, key, value, NULL);
	}
}

/* All that are valid, as istiod wants to have them; the first is part of the id. */
static void gather_ips(struct builder *b)
{
	const char *list = first_of(variable(b, "INSTANCE_IPS"), variable(b, "INSTANCE_IP"), variable(b, "POD_IP"));

	for (const char *at = list; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
		struct str ip = str_trim(str_n(at, strcspn(at, ",")));
		if (!addr_is_ip(ip) || ip.p[0] == '[')
			continue;
		if (b->ips.n)
			sb_char(&b->ips, ',');
		sb_add(&b->ips, ip.p, ip.n);
	}
	b->has_ips = b->ips.n > 0;
	sb_str(&b->ips, b->has_ips ? "" : "127.0.0.1");
	sb_char(&b->ips, '\0');
	b->ips.n--;
}

/* Several apps of a pod may be several accounts. */
static const char *account(const struct builder *b)
{
	const struct conf_identity *id = &b->app->identity;

	return id->kind != IDENTITY_NONE && strcmp(id->service_account, "default") != 0 ? id->service_account : variable(b, "SERVICE_ACCOUNT");
}

static void add_defaults(struct builder *b)
{
	const char *config = variable(b, "PROXY_CONFIG");

	if (!is_istio(b))
		return;
	add_text(b, "NAMESPACE", b->app->namespace_);
	add_text(b, "CLUSTER_ID", "Kubernetes");
	add_text(b, "INTERCEPTION_MODE", "NONE");
	add_text(b, "DISABLE_HBONE_SEND", "true");
	add_text(b, "NAME", variable(b, "POD_NAME"));
	add_text(b, "SERVICE_ACCOUNT", account(b));
	if (config)
		add_json(b, STR("PROXY_CONFIG"), "PROXY_CONFIG", str_of(config));
	/* They count more than the id's, so they must not speak against an id that somebody gave. */
	if (b->has_ips && !b->x->node.id && !b->boot.id)
		add(b, STR("INSTANCE_IPS"), sb_view(&b->ips), NULL);
}

static struct entry *entry_of(struct builder *b, const char *key)
{
	for (uint32_t i = 0; i < b->count; i++)
		if (str_is(b->entries[i].key, key))
			return &b->entries[i];
	return NULL;
}

static bool has_key(const struct yaml *map, const char *key)
{
	for (const struct yaml *c = map ? map->first : NULL; c; c = c->next)
		if (strcmp(c->key, key) == 0)
			return true;
	return false;
}

/* Who enters itself into the mesh counts as unhealthy until it says that it is well: istiod marks the entry so because of a readinessProbe in PROXY_CONFIG, whatever that holds
 * (istio.md 2.1.2). Who wants an entry that is healthy from the start writes `readinessProbe: null`; where a probe is written it stays as it is. */
static void add_probe(struct builder *b)
{
	struct entry *config;

	if (!is_istio(b) || !entry_of(b, "AUTO_REGISTER_GROUP"))
		return;
	config = entry_of(b, "PROXY_CONFIG");
	if (!config) {
		push(b, STR("PROXY_CONFIG"), (struct str){0}, NULL);
		b->entries[b->count - 1].probe = true;
		return;
	}
	config->probe = !has_key(config->value, "readinessProbe");
}

static int by_key(const void *x, const void *y)
{
	const struct entry *a = x, *b = y;
	size_t n = a->key.n < b->key.n ? a->key.n : b->key.n;
	int c = memcmp(a->key.p, b->key.p, n);

	return c ? c : a->key.n < b->key.n ? -1 : a->key.n > b->key.n;
}

/* What a person wrote and istiod would end the stream for. */
static int check_own(struct builder *b, const struct yaml *own)
{
	for (const struct yaml *c = own->first; c; c = c->next) {
		if (must_be_map(str_of(c->key)) && c->kind != YAML_MAP) {
			err_add(b->err, NULL, 0, 0, "xds.node.metadata.%s: expected a map, for istiod ends the stream otherwise", c->key);
			return ERR_MALFORMED;
		}
	}
	return 0;
}

/* ---- Struct ---------------------------------------------------------------------------------------------------------------------- */

static void write_entry(struct sb *out, struct str key, const struct sb *value)
{
	wire_put_head(out, STRUCT_FIELDS, wire_bytes_size(ENTRY_KEY, key.n) + wire_bytes_size(ENTRY_VALUE, value->n));
	wire_put_bytes(out, ENTRY_KEY, key);
	wire_put_bytes(out, ENTRY_VALUE, sb_view(value));
}

static void write_scalar(struct sb *out, const struct yaml *node)
{
	uint64_t bits;
	double number;

	switch (json_kind(node)) {
	case JSON_NULL:
		wire_put_varint(out, VALUE_NULL, 0);
		break;
	case JSON_BOOL:
		wire_put_varint(out, VALUE_BOOL, str_is(node->scalar, "true"));
		break;
	case JSON_NUMBER:
		number = strtod(node->scalar.p, NULL);
		memcpy(&bits, &number, sizeof(bits));
		wire_put_fixed64(out, VALUE_NUMBER, bits);
		break;
	case JSON_TEXT:
		wire_put_bytes(out, VALUE_TEXT, node->scalar);
		break;
	}
}

/* As deep as conf/yaml lets a tree be. */
static void write_value(struct sb *out, const struct yaml *node)
{
	struct sb inner = {0};

	if (node->kind == YAML_SCALAR) {
		write_scalar(out, node);
		return;
	}
	for (const struct yaml *c = node->first; c; c = c->next) {
		struct sb value = {0};
		write_value(&value, c);
		if (node->kind == YAML_MAP)
			write_entry(&inner, str_of(c->key), &value);
		else
			wire_put_bytes(&inner, LIST_VALUES, sb_view(&value));
		sb_end(&value);
	}
	wire_put_bytes(out, node->kind == YAML_MAP ? VALUE_STRUCT : VALUE_LIST, sb_view(&inner));
	sb_end(&inner);
}

static void write_probed(struct sb *out, const struct yaml *map)
{
	struct sb inner = {0}, value = {0};

	for (const struct yaml *c = map ? map->first : NULL; c; c = c->next) {
		value.n = 0;
		write_value(&value, c);
		write_entry(&inner, str_of(c->key), &value);
	}
	value.n = 0;
	wire_put_bytes(&value, VALUE_STRUCT, STR(""));
	write_entry(&inner, STR("readinessProbe"), &value);
	wire_put_bytes(out, VALUE_STRUCT, sb_view(&inner));
	sb_end(&value);
	sb_end(&inner);
}

static void write_metadata(struct sb *out, struct builder *b)
{
	struct sb fields = {0};

	if (!b->count)
		return;
	qsort(b->entries, b->count, sizeof(*b->entries), by_key);
	for (uint32_t i = 0; i < b->count; i++) {
		const struct entry *e = &b->entries[i];
		struct sb value = {0};

		if (e->probe)
			write_probed(&value, e->value);
		else if (e->value)
			write_value(&value, e->value);
		else
			wire_put_bytes(&value, VALUE_TEXT, e->text);
		write_entry(&fields, e->key, &value);
		sb_end(&value);
	}
	wire_put_bytes(out, NODE_METADATA, sb_view(&fields));
	sb_end(&fields);
}

/* ---- the node ---------------------------------------------------------------------------------------------------------------------- */

static void put_text(struct sb *out, uint32_t number, const char *text)
{
	if (text && *text)
		wire_put_bytes(out, number, str_of(text));
}

static void write_locality(struct sb *out, const struct builder *b)
{
	struct sb l = {0};

	/* All of one source: a region of one and a zone of another would be nowhere. */
	if (b->x->node.region || b->x->node.zone || b->x->node.sub_zone) {
		put_text(&l, LOCALITY_REGION, b->x->node.region);
		put_text(&l, LOCALITY_ZONE, b->x->node.zone);
		put_text(&l, LOCALITY_SUB_ZONE, b->x->node.sub_zone);
	} else {
		put_text(&l, LOCALITY_REGION, b->boot.region);
		put_text(&l, LOCALITY_ZONE, b->boot.zone);
		put_text(&l, LOCALITY_SUB_ZONE, b->boot.sub_zone);
	}
	if (l.n)
		wire_put_bytes(out, NODE_LOCALITY, sb_view(&l));
	sb_end(&l);
}

static void build_id(const struct builder *b, const char *domain, struct sb *out)
{
	const char *given = first_of(b->x->node.id, b->boot.id, NULL), *name = first_of(variable(b, "POD_NAME"), b->app->name, "thinmesh");
	const char *space = first_of(b->app->namespace_, "default", NULL);

	if (given)
		sb_str(out, given);
	else
		sb_fmt(out, "sidecar~%.*s~%s.%s~%s.svc.%s", (int)strcspn(b->ips.p, ","), b->ips.p, name, space, space, domain);
}

static void write_node(struct builder *b, struct str id, struct sb *out)
{
	const char *cluster = first_of(b->x->node.cluster, b->boot.cluster, NULL);
	char *own = xasprintf("%s.%s", first_of(b->app->name, "thinmesh", NULL), first_of(b->app->namespace_, "default", NULL));

	wire_put_bytes(out, NODE_ID, id);
	put_text(out, NODE_CLUSTER, cluster ? cluster : own);
	write_metadata(out, b);
	write_locality(out, b);
	put_text(out, NODE_AGENT, "thinmesh");
	put_text(out, NODE_AGENT_VERSION, TM_VERSION);
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		put_text(out, NODE_FEATURES, features[i]);
	free(own);
}

int node_build(const struct conf_xds *x, const struct conf_app *app, const char *domain, const struct node_env *env, struct sb *out, struct sb *id, struct err *err)
{
	struct builder *b = xnew(struct builder);
	const struct yaml *own = NULL;
	struct sb text = {0};
	int code;

	*b = (struct builder){.x = x, .app = app, .env = env, .err = err};
	code = bootstrap_read(env->get, env->ctx, err, &b->boot);
	if (code >= 0 && x->node.metadata) {
		own = json_of(b, "xds.node.metadata", str_of(x->node.metadata));
		code = own ? check_own(b, own) : ERR_MALFORMED;
	}
	if (code >= 0) {
		gather_ips(b);
		if (x->profile == PROFILE_ISTIO_GRPC)
			push(b, STR("GENERATOR"), STR("grpc"), NULL);
		add_map(b, own);
		add_map(b, b->boot.metadata);
		add_environment(b);
		add_defaults(b);
		add_probe(b);
		build_id(b, domain, &text);
		write_node(b, sb_view(&text), out);
		sb_add(id, text.p, text.n);
		code = 0;
	}
	for (uint32_t i = 0; i < b->ndocs; i++)
		yaml_end(&b->docs[i]);
	bootstrap_end(&b->boot);
	sb_end(&b->ips);
	sb_end(&text);
	free(b->entries);
	free(b);
	return code;
}
