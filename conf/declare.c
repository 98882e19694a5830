/* conf/declare: what the takers of conf.def's LIST rows share: checks of names and authorities, claims of what may exist once, hashes of what is
 * declared. The takers: declare_app.c, declare_service.c; conf/finish.c looks at the whole. */
#include "conf/declare.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/authority.h"

/* ---- small checks ------------------------------------------------------------------------------------------------------- */

void declare_problem(struct schema *s, const struct yaml *map, const char *key, const char *fmt, ...)
{
	const struct yaml *node = yaml_get(map, key);
	size_t mark = schema_push(s, key);
	char text[300];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	schema_problem(s, node ? node : map, "%s", text);
	schema_pop(s, mark);
}

/* Written, and with something in it. */
bool declare_has(const struct yaml *map, const char *key)
{
	const struct yaml *node = yaml_get(map, key);

	return node && !yaml_is_null(node);
}

bool declare_misses(const struct yaml *map, const char *key)
{
	if (declare_has(map, key))
		return false;
	for (const struct yaml *c = map->first; c; c = c->next)
		if (strlen(c->key) < 40 && str_distance(c->key, key, 3) <= 2)
			return !c->bad && yaml_is_null(c);
	return true;
}

bool declare_is_label(struct str t, bool dots)
{
	for (size_t i = 0; i < t.n; i++) {
		char c = t.p[i];
		bool edge = i == 0 || i + 1 == t.n;

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    (!edge && (c == '-' || c == '_' || (dots && c == '.')))))
			return false;
	}
	return t.n > 0 && t.n <= 63;
}

void declare_grow(void **array, uint32_t *cap, uint32_t count, size_t size)
{
	if (count < *cap)
		return;
	/* Most lists of a configuration have one element: it is all that is kept of them. */
	*cap = *cap ? *cap * 2 : 1;
	*array = xrealloc(*array, *cap * size);
}

/* A value that must be an authority, cleaned. False: told. */
bool declare_authority(struct schema *s, const struct yaml *node, char **ret)
{
	char out[AUTHORITY_MAX];
	struct str text;
	size_t n;
	enum authority_kind kind;

	if (!schema_text(s, node, &text))
		return false;
	kind = authority_clean(text, out, &n);
	if (kind == AUTHORITY_BAD || n == 0 || out[0] == ':' || memchr(out, '/', n) || memchr(out, '%', n)) {
		schema_problem(s, node, "'%.60s' is no authority, expected a name such as demo.default.svc.cluster.local:50051", text.p);
		return false;
	}
	free(*ret);
	*ret = xstrndup(out, n);
	return true;
}

/* ---- once ---------------------------------------------------------------------------------------------------------------- */

void declare_claim_name(struct schema *s, const struct yaml *node, struct map *names, const char *what, const char *name, char *place)
{
	const char *other = map_get(names, str_of(name));

	if (other)
		declare_problem(s, node, "name", "%s '%.80s' is defined twice, expected once (it stands in %s already)", what, name, other);
	else
		map_put(names, str_of(name), place);
}

bool declare_is_wildcard(const struct addr *a)
{
	return addr_is_v6(a) ? IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) : a->in4.sin_addr.s_addr == INADDR_ANY;
}

/* 0.0.0.0:80 and 127.0.0.1:80 are not to be had both. Who took the port of a family first, and who took all of it, stand in the map under keys of their own. */
static const char *port_taken(struct schema *s, const struct addr *addr, char *place)
{
	const int family = addr_is_v6(addr) ? 6 : 4;
	char any[32], all[32];
	const char *other;

	snprintf(any, sizeof(any), "any%d:%u", family, addr_port(addr));
	snprintf(all, sizeof(all), "all%d:%u", family, addr_port(addr));
	other = map_get(&s->listens, str_of(declare_is_wildcard(addr) ? any : all));
	if (other)
		return other;
	if (!map_get(&s->listens, str_of(any)))
		map_put(&s->listens, str_of(any), place);
	if (declare_is_wildcard(addr))
		map_put(&s->listens, str_of(all), place);
	return NULL;
}

const char *declare_listened(const struct schema *s, const struct addr *addr)
{
	char text[ADDR_TEXT], all[32];
	const char *place = map_get(&s->listens, str_of(addr_text(addr, text)));

	if (place || addr_is_unix(addr) || !addr_is_loopback(addr))
		return place;
	snprintf(all, sizeof(all), "all%d:%u", addr_is_v6(addr) ? 6 : 4, addr_port(addr));
	return map_get(&s->listens, str_of(all));
}

/* The same socket twice, be it of two apps or of the control socket. */
void declare_claim_address(struct schema *s, const struct yaml *at, const struct addr *addr, char *place)
{
	char text[ADDR_TEXT];
	const char *other;

	addr_text(addr, text);
	other = map_get(&s->listens, str_of(text));
	if (!other && !addr_is_unix(addr))
		other = port_taken(s, addr, place);
	if (other)
		schema_problem(s, at, "%s is listened on twice, expected once (it stands in %s already)", text, other);
	else
		map_put(&s->listens, str_of(text), place);
}

void declare_each(struct schema *s, const struct yaml *node, const char *of, uint32_t have, uint32_t max,
	void (*take)(struct schema *, const struct yaml *))
{
	size_t i = 0;

	if (!schema_is_list(s, node, of))
		return;
	if (node->count > max - have) {
		schema_problem(s, node, "%zu %s, expected at most %u in all", node->count + have, of, max);
		return;
	}
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);

		if (!c->bad && c->kind == YAML_MAP)
			take(s, c);
		else if (!c->bad)
			schema_problem(s, c, "expected a map with name: TEXT");
		schema_pop(s, mark);
	}
}

/* ---- texts -------------------------------------------------------------------------------------------------------------- */

void declare_texts_end(char ***list, uint32_t *count)
{
	for (uint32_t i = 0; i < *count; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
	*count = 0;
}

void declare_texts(struct schema *s, const struct yaml *node, const char *of, uint32_t max, char ***list, uint32_t *count,
	char *(*make)(struct schema *, const struct yaml *))
{
	const bool few = max <= CONF_XDS_SANS_MAX;
	size_t i = 0;

	if (!schema_is_list(s, node, of))
		return;
	if (node->count > max) {
		schema_problem(s, node, "%zu entries, expected at most %u", node->count, max);
		return;
	}
	declare_texts_end(list, count);
	*list = xalloc((node->count + 1) * sizeof(char *));
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		char *text = c->bad ? NULL : make(s, c);

		for (uint32_t k = 0; text && few && k < *count; k++) {
			if (strcmp((*list)[k], text) == 0) {
				schema_problem(s, c, "'%.80s' stands in it twice, expected once", text);
				break;
			}
		}
		if (text)
			(*list)[(*count)++] = text;
		schema_pop(s, mark);
	}
}

char *declare_san(struct schema *s, const struct yaml *node)
{
	struct str text;

	if (!schema_text(s, node, &text))
		return NULL;
	if (text.n == 0 || text.n > 2048 || str_find(text, ' ') >= 0) {
		schema_problem(s, node, "'%.60s' is no name of a certificate, expected one such as istiod.istio-system.svc or spiffe://...",
			text.p);
		return NULL;
	}
	return xstrndup(text.p, text.n);
}

void declare_none_if_empty(char **text)
{
	if (*text && !**text) {
		free(*text);
		*text = NULL;
	}
}

/* A relative path would be below / under systemd, and below somebody's home in a shell. */
void declare_file(struct schema *s, const struct yaml *map, const char *key, char **text)
{
	declare_none_if_empty(text);
	if (!*text)
		return;
	if (**text == '/' && strlen(*text) < 4096 && !strpbrk(*text, "\n\r"))
		return;
	declare_problem(s, map, key, "'%.80s' is no file, expected an absolute path", *text);
	free(*text);
	*text = NULL;
}

/* ---- hashes of what is declared ------------------------------------------------------------------------------------------- */

uint64_t declare_hash_text(uint64_t h, const char *z)
{
	/* With the NUL, and told apart from none. */
	return z ? str_hash_seeded(str_n(z, strlen(z) + 1), h) : h * 31 + 7;
}

uint64_t declare_hash_value(uint64_t h, uint64_t v)
{
	return str_hash_seeded(str_n((const char *)&v, sizeof(v)), h);
}

uint64_t declare_hash_texts(uint64_t h, char *const *list, uint32_t count)
{
	h = declare_hash_value(h, count);
	for (uint32_t i = 0; i < count; i++)
		h = declare_hash_text(h, list[i]);
	return h;
}
