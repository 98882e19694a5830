/* sidecar/names: see names.h. Order (product.md, promise 4): alias and normalising (conf/authority), the full authority, then without its port; where
 * no app is named: an exact entry all the same, the path map, the listener's default. */
#include "sidecar/names.h"
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
	free(n->scratch_authority);
	n->scratch_authority = NULL;
}

/* The first of the candidates that is declared. */
static struct mesh_name *names_declared(struct names *n, const struct authority *a)
{
	for (uint32_t i = 0; i < a->count; i++) {
		struct mesh_name *m = mesh_find(n->mesh, NULL, a->candidate[i]);
		if (m)
			return m;
	}
	return NULL;
}

static const struct name_hit *names_fallback(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str path,
	const struct name_hit *none)
{
	struct authority a;
	const char *to = NULL;
	struct str service = authority_path_service(path);
	for (uint32_t i = 0; i < app->npaths && service.n; i++)
		if (str_is(service, app->paths[i].from))
			to = app->paths[i].to;
	if (!to)
		to = default_authority;
	if (!to)
		return none;
	authority_candidates(app, domain, str_of(to), &a);
	struct mesh_name *m = names_declared(n, &a);
	free(n->scratch_authority);
	n->scratch_authority = xstrndup(a.best.p, a.best.n);
	n->scratch = (struct name_hit){.name = m, .fault = m ? FAULT_NONE : FAULT_NO_NAME, .rewrite = true, .authority = n->scratch_authority};
	return &n->scratch;
}

const struct name_hit *names_find(struct names *n, const struct conf_app *app, const char *domain, const char *default_authority, struct str authority, struct str path)
{
	if (n->generation != mesh_generation(n->mesh)) {
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
		h = xnew(struct name_hit);
		h->name = names_declared(n, &a);
		h->authority = xstrndup(a.best.p, a.best.n);
		h->rewrite = !str_eq(authority, a.best);
		h->fault = a.kind == AUTHORITY_BAD ? FAULT_BAD_AUTHORITY : h->name ? FAULT_NONE : a.kind == AUTHORITY_NAME ? FAULT_NO_NAME : FAULT_NO_APP;
		if (map_count(&n->cache) >= NAMES_CACHE)
			names_clear(n);
		map_put(&n->cache, authority, h);
	}
	if (h->fault == FAULT_NO_APP)
		return names_fallback(n, app, domain, default_authority, path, h);
	return h;
}
