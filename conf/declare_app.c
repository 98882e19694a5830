/* conf/declare_app: apps with their listeners, aliases and paths, out of their YAML.
 *
 * A conf_take_ function reads the node of one key; what it makes belongs to struct conf at once, or to a draft on its own stack that it ends
 * itself. Half-built apps are ended by conf_unref like whole ones, so every path may simply go on to the next problem. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/authority.h"

/* ---- lists of values ---------------------------------------------------------------------------------------------------- */

void declare_ids(struct schema *s, const struct yaml *node, struct conf_allow *allow)
{
	uint64_t id;
	size_t i = 0;

	if (!schema_is_list(s, node, "numbers"))
		return;
	if (node->count > CONF_IDS_MAX) {
		schema_problem(s, node, "%zu numbers, expected at most %d", node->count, CONF_IDS_MAX);
		return;
	}
	free(allow->ids);
	*allow = (struct conf_allow){.ids = xalloc((node->count + 1) * sizeof(uint32_t))};
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		if (!c->bad && schema_count(s, c, 0, UINT32_MAX - 1, &id))
			allow->ids[allow->count++] = (uint32_t)id;
		schema_pop(s, mark);
	}
	/* `uid: []` would let everybody in, which nobody means who writes it. */
	if (node->count == 0)
		schema_problem(s, node, "an empty list, expected at least one number, or no such key");
}

void conf_take_uids(struct schema *s, const struct yaml *node, void *base)
{
	declare_ids(s, node, &((struct draft_listen *)base)->uid);
}

void conf_take_gids(struct schema *s, const struct yaml *node, void *base)
{
	declare_ids(s, node, &((struct draft_listen *)base)->gid);
}

static int by_from(const void *x, const void *y)
{
	return strcmp(((const struct conf_pair *)x)->from, ((const struct conf_pair *)y)->from);
}

const struct conf_pair *conf_pair_find(const struct conf_pair *sorted, uint32_t count, struct str from)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct str key = str_of(sorted[middle].from);
		int c = memcmp(from.p ? from.p : "", key.p, from.n < key.n ? from.n : key.n);

		if (c == 0)
			c = from.n < key.n ? -1 : from.n > key.n;
		if (c == 0)
			return &sorted[middle];
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static bool take_from(struct schema *s, const struct yaml *c, bool authority, char **ret)
{
	char out[AUTHORITY_MAX];
	struct str key = str_of(c->key);
	size_t n;

	if (!authority) {
		while (key.n && key.p[0] == '/')
			key = str_cut(key, 1, key.n);
		if (key.n == 0 || key.n > 255 || str_find(key, '/') >= 0 || str_find(key, ' ') >= 0) {
			schema_problem(s, c, "no service of a path, expected one such as org.apache.dubbo.demo.GreeterService");
			return false;
		}
		*ret = xstrndup(key.p, key.n);
		return true;
	}
	if (authority_clean(key, out, &n) == AUTHORITY_BAD || n == 0 || memchr(out, '/', n)) {
		schema_problem(s, c, "no authority, expected a name such as demo or demo:50051");
		return false;
	}
	*ret = xstrndup(out, n);
	return true;
}

static void take_pairs(struct schema *s, const struct yaml *node, bool authority, struct conf_pair **pairs, uint32_t *count)
{
	if (node->kind != YAML_MAP) {
		schema_problem(s, node, "expected a map of %s to authority", authority ? "authority" : "service");
		return;
	}
	if (node->count > CONF_PAIRS_MAX) {
		schema_problem(s, node, "%zu entries, expected at most %d", node->count, CONF_PAIRS_MAX);
		return;
	}
	*pairs = xalloc((node->count + 1) * sizeof(struct conf_pair));
	for (const struct yaml *c = node->first; c; c = c->next) {
		size_t mark = schema_push(s, c->key);
		struct conf_pair pair = {0};

		if (!c->bad && take_from(s, c, authority, &pair.from) && declare_authority(s, c, &pair.to))
			(*pairs)[(*count)++] = pair;
		else
			free(pair.from);
		schema_pop(s, mark);
	}
	qsort(*pairs, *count, sizeof(struct conf_pair), by_from);
	/* YAML saw keys that are equal as written; these are equal once they are cleaned. */
	for (uint32_t i = 1; i < *count; i++)
		if (strcmp((*pairs)[i].from, (*pairs)[i - 1].from) == 0)
			schema_problem(s, node, "'%s' stands in it twice (in another spelling), expected once", (*pairs)[i].from);
}

void conf_take_alias(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app *a = base;

	take_pairs(s, node, true, &a->alias, &a->aliases);
}

void conf_take_paths(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app *a = base;

	take_pairs(s, node, false, &a->paths, &a->npaths);
}

/* ---- listeners ---------------------------------------------------------------------------------------------------------- */

bool declare_unix(struct schema *s, const struct yaml *node, const char *text, struct addr *ret)
{
	struct str path = str_of(text);
	int code;

	if (path.n < 2 || (path.p[0] != '/' && path.p[0] != '@')) {
		declare_problem(
			s, node, "unix", "'%.60s' is no socket, expected an absolute path, or \"@name\" for an abstract one", text);
		return false;
	}
	code = addr_unix(path, ret);
	if (code < 0) {
		declare_problem(s, node, "unix", "too long (%zu bytes), expected at most %zu: the kernel takes no more", path.n,
			sizeof(ret->un.sun_path) - 1);
		return false;
	}
	return true;
}

static bool tcp_listen(struct schema *s, const struct yaml *node, const struct draft_listen *d, struct conf_listen *l)
{
	static const char *const unix_only[] = {"mode", "group", "allow"};

	for (size_t i = 0; i < sizeof(unix_only) / sizeof(unix_only[0]); i++)
		if (declare_has(node, unix_only[i]))
			declare_problem(s, node, unix_only[i], "only for a unix socket, expected no such key beside tcp");
	if (addr_parse(str_of(d->tcp), &l->addr) < 0 || addr_is_unix(&l->addr) || addr_port(&l->addr) == 0) {
		declare_problem(s, node, "tcp", "'%.60s' is no address, expected 127.0.0.1:PORT or [::1]:PORT", d->tcp);
		return false;
	}
	if (!addr_is_loopback(&l->addr)) {
		declare_problem(s, node, "tcp",
			"'%.60s' can be reached from outside, expected a loopback address: 127.0.0.1:PORT or [::1]:PORT", d->tcp);
		return false;
	}
	return true;
}

static void draft_listen_end(struct draft_listen *d)
{
	free(d->unix_path);
	free(d->tcp);
	free(d->group);
	free(d->default_authority);
	free(d->uid.ids);
	free(d->gid.ids);
}

static void take_listen(struct schema *s, const struct yaml *node, struct conf_app *a)
{
	struct draft_listen d = {.trusted = -1};
	struct conf_listen *l = &a->listen[a->listens];
	bool both = declare_has(node, "unix") && declare_has(node, "tcp");
	bool neither = declare_misses(node, "unix") && declare_misses(node, "tcp");
	const struct yaml *named;
	bool sound = false;

	schema_init(s, MAP_LISTEN, &d);
	schema_read(s, MAP_LISTEN, node, &d);
	if (both || neither)
		schema_problem(s, node, "%s, expected exactly one of unix, tcp", both ? "both unix and tcp" : "neither unix nor tcp");
	else if (d.unix_path)
		sound = declare_unix(s, node, d.unix_path, &l->addr);
	else if (d.tcp)
		sound = tcp_listen(s, node, &d, l);
	if (sound) {
		l->is_unix = d.unix_path != NULL;
		l->mode = d.mode;
		l->trusted = d.trusted < 0 ? l->is_unix : d.trusted;
		l->text = xstrdup(l->is_unix ? d.unix_path : d.tcp);
		l->place = schema_place(s, node);
		l->group = d.group && *d.group ? d.group : NULL;
		if (l->group)
			d.group = NULL;
		l->allow_uid = d.uid;
		l->allow_gid = d.gid;
		d.uid = d.gid = (struct conf_allow){0};
		a->listens++;
		declare_claim_address(s, node, &l->addr, l->place);
	}
	if (d.default_authority && (named = yaml_get(node, "default"))) {
		size_t mark = schema_push(s, "default");
		char *cleaned = NULL;

		if (declare_authority(s, named, &cleaned) && sound)
			l->default_authority = cleaned;
		else
			free(cleaned);
		schema_pop(s, mark);
	}
	draft_listen_end(&d);
}

void conf_take_listens(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app *a = base;
	size_t i = 0;

	if (!schema_is_list(s, node, "maps, each with unix or tcp"))
		return;
	if (node->count > CONF_LISTENS_MAX) {
		schema_problem(s, node, "%zu listeners, expected at most %d an app", node->count, CONF_LISTENS_MAX);
		return;
	}
	a->listen = xalloc((node->count + 1) * sizeof(*a->listen));
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);

		if (!c->bad && c->kind == YAML_MAP)
			take_listen(s, c, a);
		else if (!c->bad)
			schema_problem(s, c, "expected a map with unix or tcp");
		schema_pop(s, mark);
	}
}

/* ---- apps --------------------------------------------------------------------------------------------------------------- */

uint64_t declare_hash_ids(uint64_t h, const struct conf_allow *a)
{
	return str_hash_seeded(str_n((const char *)a->ids, a->count * sizeof(uint32_t)), declare_hash_value(h, a->count));
}

static uint64_t hash_pairs(uint64_t h, const struct conf_pair *p, uint32_t n)
{
	h = declare_hash_value(h, n);
	for (uint32_t i = 0; i < n; i++)
		h = declare_hash_text(declare_hash_text(h, p[i].from), p[i].to);
	return h;
}

uint64_t declare_hash_listen(uint64_t h, const struct conf_listen *l)
{
	h = declare_hash_text(declare_hash_text(declare_hash_text(h, l->text), l->group), l->default_authority);
	h = declare_hash_value(declare_hash_value(declare_hash_value(h, l->is_unix), l->mode), l->trusted);
	return declare_hash_ids(declare_hash_ids(h, &l->allow_uid), &l->allow_gid);
}

static uint64_t app_hash(const struct conf_app *a)
{
	uint64_t h = declare_hash_text(declare_hash_text(1, a->name), a->namespace_);

	for (uint32_t i = 0; i < a->listens; i++)
		h = declare_hash_listen(h, &a->listen[i]);
	return conf_app_health_hash(a, hash_pairs(hash_pairs(h, a->alias, a->aliases), a->paths, a->npaths));
}

static void pairs_end(struct conf_pair *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		free(p[i].from);
		free(p[i].to);
	}
	free(p);
}

void conf_listen_end(struct conf_listen *l)
{
	free(l->text);
	free(l->group);
	free(l->allow_uid.ids);
	free(l->allow_gid.ids);
	free(l->default_authority);
	free(l->place);
}

void conf_app_end(struct conf_app *a)
{
	for (uint32_t i = 0; i < a->listens; i++)
		conf_listen_end(&a->listen[i]);
	free(a->listen);
	conf_app_health_end(a);
	conf_identity_end(&a->identity);
	pairs_end(a->alias, a->aliases);
	pairs_end(a->paths, a->npaths);
	free(a->name);
	free(a->namespace_);
	free(a->place);
}

static void take_app(struct schema *s, const struct yaml *node)
{
	const struct yaml *listen = yaml_get(node, "listen");
	struct conf *c = s->conf;
	struct conf_app *a;

	declare_grow((void **)&c->apps, &s->apps_cap, c->napps, sizeof(*c->apps));
	a = &c->apps[c->napps++];
	*a = (struct conf_app){.place = schema_place(s, node)};
	schema_init(s, MAP_APP, a);
	schema_read(s, MAP_APP, node, a);
	if (declare_misses(node, "name"))
		schema_problem(s, node, "has no name, expected name: TEXT");
	else if (a->name && !declare_is_label(str_of(a->name), true))
		declare_problem(s, node, "name", "'%.60s' is no name, expected letters, digits, '-', '_' and '.', at most 63", a->name);
	else if (a->name)
		declare_claim_name(s, node, &s->apps, "the app", a->name, a->place);
	if (!a->namespace_ || !declare_is_label(str_of(a->namespace_), false))
		declare_problem(s, node, "namespace", "'%.60s' is no namespace, expected letters, digits and '-', at most 63",
			a->namespace_ ? a->namespace_ : "");
	else
		str_lower(a->namespace_, strlen(a->namespace_));
	if (declare_misses(node, "listen") || (listen && listen->kind == YAML_SEQ && listen->count == 0))
		declare_problem(s, node, "listen", "no socket, expected at least one, such as [{unix: /run/thinmesh/%.40s.sock}]",
			a->name ? a->name : "shop");
	conf_app_health_settle(a);
	a->hash = app_hash(a);
}

void conf_take_apps(struct schema *s, const struct yaml *node, void *base)
{
	(void)base;
	declare_each(s, node, "apps", s->conf->napps, CONF_APPS_MAX, take_app);
}
