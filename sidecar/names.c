/* sidecar/names: see names.h. Order (product.md, promise 4): alias and normalising (conf/authority), the full authority, then without its port; where
 * no app is named: an exact entry all the same, the path map, the listener's default. */
#include "sidecar/names.h"
#include <stdio.h>
#include <stdlib.h>

enum { NAMES_CACHE = 1024 }; /* authorities are the caller's to invent */

void names_init(struct names *n, struct mesh *mesh, uint64_t seed)
{
	map_init(&n->cache, seed);
	n->mesh = mesh;
}

static void hit_free(struct name_hit *h)
{
	free(h->authority);
	free(h);
}

void names_clear(struct names *n)
{
	uint64_t seed = n->cache.seed;
	void *v;
	for (uint32_t i = 0; map_next(&n->cache, &i, NULL, &v);)
		hit_free(v);
	map_end(&n->cache);
	map_init(&n->cache, seed);
}

void names_end(struct names *n)
{
	names_clear(n);
	map_end(&n->cache);
}

/* What the control plane is asked for has a port: istiod knows no route without one. NULL: there is no place for one more name. */
static struct mesh_name *names_want(struct names *n, struct str authority)
{
	struct str host;
	char text[AUTHORITY_MAX + 4];
	int port;

	if (addr_split(authority, &host, &port) != 0)
		return NULL;
	if (port < 0)
		authority = str_n(text, (size_t)snprintf(text, sizeof text, "%.*s:80", (int)authority.n, authority.p));
	struct mesh_name *m = mesh_view_find(n->view, authority);
	if (m || !mesh_view_is_full(n->view))
		return m ? m : mesh_want(n->view, authority);
	return NULL;
}

/* `a.b` may be a host of the world as well as a service `a` of namespace `b`; a name with no dot, or with more, is no such riddle. */
static bool names_is_riddle(struct str authority)
{
	struct str host;
	int port, dots = 0;

	if (addr_split(authority, &host, &port) != 0)
		return false;
	for (size_t i = 0; i < host.n; i++)
		dots += host.p[i] == '.';
	return dots == 1;
}

/* One spelling at a time: istiod answers two of one host on one stream with a false "unknown" for one of them (istio.md 1.8). The full name first; what was
 * written is asked only once the full name does not exist, for a moment, and again when it is called after that. */
static struct mesh_name *names_of_mesh(struct names *n, const struct authority *a)
{
	struct mesh_name *best = names_want(n, a->best), *written;

	if (!best || best->state != MESH_ABSENT || str_eq(a->candidate[0], a->best) || !names_is_riddle(a->candidate[0]))
		return best;
	written = names_want(n, a->candidate[0]);
	if (!written || written->state == MESH_PRESENT)
		return written ? written : best;
	if (written->state == MESH_ABSENT)
		best->alone = true;
	else
		written->tentative = true;
	return best->alone ? best : written; /* what was known a moment ago is answered at once; the other spelling is looked at again beside it */
}

/* Is it the control plane that is asked for what no file declares? */
static bool names_asked(const struct names *n, const struct authority *a)
{
	return n->view && a->kind == AUTHORITY_NAME && a->count;
}

/* Why names_declared found nothing: where the control plane is asked there is always an entry, but for want of a place. */
static enum fault names_missing(const struct names *n, const struct authority *a)
{
	return names_asked(n, a) ? FAULT_NAMES_FULL : FAULT_NO_NAME;
}

/* The first of the candidates that is declared; else what the control plane knows, or is asked for by this. */
static struct mesh_name *names_declared(struct names *n, const struct authority *a)
{
	for (uint32_t i = 0; i < a->count; i++) {
		struct mesh_name *m = mesh_find(n->mesh, a->candidate[i]);
		if (m)
			return m;
	}
	return names_asked(n, a) ? names_of_mesh(n, a) : NULL;
}

static struct name_hit *hit_new(struct mesh_name *name, const struct authority *a, enum fault none)
{
	struct name_hit *h = xnew(struct name_hit);
	h->name = name;
	h->authority = xstrndup(a->best.p, a->best.n);
	h->fault = name ? FAULT_NONE : none;
	return h;
}

/* What the path map or the listener says. */
static struct name_hit *names_mapped(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str service)
{
	struct authority a;
	const char *to = default_authority;
	for (uint32_t i = 0; i < app->npaths && service.n; i++)
		if (str_is(service, app->paths[i].from))
			to = app->paths[i].to;
	a.best = STR("");
	if (!to)
		return hit_new(NULL, &a, FAULT_NO_APP);
	authority_candidates(app, domain, str_of(to), &a);
	struct name_hit *h = hit_new(names_declared(n, &a), &a, names_missing(n, &a));
	h->rewrite = true;
	return h;
}

/* There is a place again as soon as a call ends that waited for its name, which moves no generation. */
static const struct name_hit *names_not_kept(struct names *n, struct name_hit *h)
{
	n->scratch = (struct name_hit){.fault = h->fault};
	hit_free(h);
	return &n->scratch;
}

/* Such calls come as often as others (Kitex, dubbo-go), so their answers are kept too, by service and default. No authority has a NUL in it, these keys begin
 * with one. */
static const struct name_hit *names_fallback(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str path,
	const struct name_hit *none)
{
	struct str service = authority_path_service(path);
	if (service.n >= AUTHORITY_MAX) /* no key of the map is so long */
		service = STR("");
	char text[2 * AUTHORITY_MAX];
	int len = snprintf(text, sizeof text, "%c%.*s%c%s", 0, (int)service.n, service.n ? service.p : "", 0, default_authority ? default_authority : "");
	struct str key = str_n(text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
	struct name_hit *h = map_get(&n->cache, key);
	if (!h) {
		h = names_mapped(n, app, domain, default_authority, service);
		if (h->fault == FAULT_NAMES_FULL)
			return names_not_kept(n, h);
		map_put(&n->cache, key, h);
	}
	return h->fault == FAULT_NO_APP ? none : h;
}

const struct name_hit *names_find(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str authority, struct str path)
{
	/* Room for two: what is found first must stay while the second is made. */
	if (n->generation != mesh_generation(n->mesh) || map_count(&n->cache) + 2 > NAMES_CACHE) {
		names_clear(n);
		n->generation = mesh_generation(n->mesh);
	}
	if (authority.n >= AUTHORITY_MAX) { /* no name is so long, and what a caller makes up is not to be kept */
		n->scratch = (struct name_hit){.fault = FAULT_BAD_AUTHORITY};
		return &n->scratch;
	}
	struct name_hit *h = map_get(&n->cache, authority);
	if (!h) {
		struct authority a;
		authority_candidates(app, domain, authority, &a);
		h = hit_new(names_declared(n, &a), &a, a.kind == AUTHORITY_NAME ? names_missing(n, &a) : FAULT_NO_APP);
		h->rewrite = !str_eq(authority, a.best);
		if (a.kind == AUTHORITY_BAD)
			h->fault = FAULT_BAD_AUTHORITY;
		if (h->fault == FAULT_NAMES_FULL)
			return names_not_kept(n, h);
		map_put(&n->cache, authority, h);
	}
	if (h->fault == FAULT_NO_APP)
		return names_fallback(n, app, domain, default_authority, path, h);
	return h;
}
