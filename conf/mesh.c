/* conf/mesh: the table of what is declared. See the header for the objects.
 *
 * A life of an entry:   put --> present --del--> absent --(nobody watches, lb is through)--> dropped
 * One that is put again before it is dropped is the same entry, so that watches and live clusters outlast a reload that takes a service
 * away and brings it back. Nothing is dropped inside a telling, nor in the call that made it absent: whoever found the entry in this turn may
 * still look at it. */
#include "conf/mesh.h"

#include <stdlib.h>

#include "base/mem.h"

struct mesh {
	uint64_t generation;
	struct map names, clusters; /* keys borrowed from the entries */
	struct list due_names, due_clusters; /* changed, watches not told yet */
	struct list gone_names, gone_clusters; /* absent: dropped by the next sweep that finds them unused */
	bool asked, telling; /* the hook was called, mesh_tell not yet; inside mesh_tell */
	void (*defer)(void *ctx);
	void *defer_ctx;
	struct mesh_name *(*want)(void *ctx, struct mesh_view *view, struct str name);
	void *want_ctx;
};
/* Without a hook, who publishes in a watch is told in the same call; two that answer each other forever would never let it return. */
enum { TELL_ROUNDS_MAX = 16 };

struct mesh *mesh_new(uint64_t seed)
{
	struct mesh *m = xnew(struct mesh);

	m->generation = 1;
	map_init_borrowed(&m->names, seed);
	map_init_borrowed(&m->clusters, seed + 1);
	list_init(&m->due_names);
	list_init(&m->due_clusters);
	list_init(&m->gone_names);
	list_init(&m->gone_clusters);
	return m;
}

/* ---- the end of entries ------------------------------------------------------------------------------------------------- */

static void orphan(struct list *watches)
{
	for (struct list *node; (node = list_pop(watches));) {
		struct mesh_watch *w = list_entry(node, struct mesh_watch, node);
		w->name = NULL;
		w->cluster = NULL;
	}
}

static void name_free(struct mesh_name *n)
{
	orphan(&n->watches);
	list_del(&n->due);
	route_table_unref(&n->routes);
	free(n->name);
	free(n);
}

static void cluster_free(struct mesh_cluster *c)
{
	orphan(&c->watches);
	list_del(&c->due);
	spec_unref(&c->spec);
	endpoints_unref(&c->endpoints);
	free(c->name);
	free(c);
}

void mesh_free(struct mesh **m)
{
	struct mesh *old = *m;
	struct str key;
	void *value;

	*m = NULL;
	if (!old)
		return;
	for (uint32_t i = 0; map_next(&old->names, &i, &key, &value);)
		name_free(value);
	for (uint32_t i = 0; map_next(&old->clusters, &i, &key, &value);)
		cluster_free(value);
	map_end(&old->names);
	map_end(&old->clusters);
	free(old);
}

static void sweep(struct mesh *m)
{
	if (m->telling)
		return;
	list_each(node, next, &m->gone_names)
	{
		struct mesh_name *n = list_entry(node, struct mesh_name, due);
		if (n->holds)
			continue;
		map_del(&m->names, str_of(n->name));
		name_free(n);
	}
	list_each(node, next, &m->gone_clusters)
	{
		struct mesh_cluster *c = list_entry(node, struct mesh_cluster, due);
		if (c->live || !list_empty(&c->watches))
			continue;
		map_del(&m->clusters, str_of(c->name));
		cluster_free(c);
	}
}

/* ---- telling ------------------------------------------------------------------------------------------------------------ */

/* Each watch once, in order; one that goes away meanwhile is not told, one that comes is not told either: it has seen the new state. */
static void tell_watches(struct list *watches)
{
	struct list rest;

	list_init(&rest);
	list_splice(&rest, watches);
	for (struct list *node; (node = list_pop(&rest));) {
		struct mesh_watch *w = list_entry(node, struct mesh_watch, node);
		list_push(watches, node);
		w->fn(w);
	}
}

/* Only those due now: what their watches publish is due next time. Entries outlive the call, for nothing is swept inside it. */
static void tell_round(struct mesh *m)
{
	struct list names, clusters;

	list_init(&names);
	list_init(&clusters);
	list_splice(&names, &m->due_names);
	list_splice(&clusters, &m->due_clusters);
	for (struct list *node; (node = list_pop(&names));) {
		struct mesh_name *n = list_entry(node, struct mesh_name, due);
		if (n->state != MESH_PRESENT)
			list_push(&m->gone_names, node);
		tell_watches(&n->watches);
	}
	for (struct list *node; (node = list_pop(&clusters));) {
		struct mesh_cluster *c = list_entry(node, struct mesh_cluster, due);
		if (!c->spec)
			list_push(&m->gone_clusters, node);
		tell_watches(&c->watches);
	}
}

static bool something_due(const struct mesh *m)
{
	return !list_empty(&m->due_names) || !list_empty(&m->due_clusters);
}

void mesh_tell(struct mesh *m)
{
	if (m->telling)
		return;
	m->asked = false;
	sweep(m);
	m->telling = true;
	tell_round(m);
	for (int round = 1; !m->defer && something_due(m) && round < TELL_ROUNDS_MAX; round++)
		tell_round(m);
	m->telling = false;
	if (m->defer && something_due(m) && !m->asked) {
		m->asked = true;
		m->defer(m->defer_ctx);
	}
}

void mesh_set_defer(struct mesh *m, void (*fn)(void *ctx), void *ctx)
{
	m->defer = fn;
	m->defer_ctx = ctx;
	m->asked = false;
}

/* At the end of each publishing call. */
static void published(struct mesh *m)
{
	if (!something_due(m) || m->telling || m->asked)
		return;
	if (!m->defer) {
		mesh_tell(m);
		return;
	}
	m->asked = true;
	m->defer(m->defer_ctx);
}

static void make_due(struct list *due, struct list *node)
{
	list_del(node);
	list_push(due, node);
}

/* ---- publishing --------------------------------------------------------------------------------------------------------- */

static struct mesh_name *name_entry(struct mesh *m, const char *name)
{
	struct mesh_name *n = map_get(&m->names, str_of(name));

	if (n)
		return n;
	n = xnew(struct mesh_name);
	n->mesh = m;
	n->name = xstrdup(name);
	list_init(&n->watches);
	list_init(&n->due);
	map_put(&m->names, str_of(n->name), n);
	return n;
}

static struct mesh_cluster *cluster_entry(struct mesh *m, const char *name)
{
	struct mesh_cluster *c = map_get(&m->clusters, str_of(name));

	if (c)
		return c;
	c = xnew(struct mesh_cluster);
	c->mesh = m;
	c->name = xstrdup(name);
	list_init(&c->watches);
	list_init(&c->due);
	map_put(&m->clusters, str_of(c->name), c);
	return c;
}

static void put_name(struct mesh *m, const char *name, struct route_table *taken)
{
	struct mesh_name *n = name_entry(m, name);
	struct route_table *old = n->routes;

	if (n->state == MESH_PRESENT && route_table_eq(old, taken)) {
		route_table_unref(&taken);
		return;
	}
	n->routes = taken;
	n->state = MESH_PRESENT;
	n->source = "services";
	m->generation++;
	route_table_unref(&old);
	make_due(&m->due_names, &n->due);
}

static void put_cluster(struct mesh *m, const char *name, struct cluster_spec *spec_taken, struct endpoint_set *eps_taken)
{
	struct mesh_cluster *c = cluster_entry(m, name);
	struct cluster_spec *old_spec = c->spec;
	struct endpoint_set *old_eps = c->endpoints;

	if (!spec_taken->hash)
		spec_seal(spec_taken);
	if (!eps_taken->hash)
		endpoints_seal(eps_taken);
	if (old_spec && old_spec->hash == spec_taken->hash && old_eps->hash == eps_taken->hash) {
		spec_unref(&spec_taken);
		endpoints_unref(&eps_taken);
		return;
	}
	c->spec = spec_taken;
	c->endpoints = eps_taken;
	make_due(&m->due_clusters, &c->due);
	/* The old ones live through the hook: lb compares. */
	if (c->changed)
		c->changed(c);
	spec_unref(&old_spec);
	endpoints_unref(&old_eps);
}

void mesh_put_service(struct mesh *m, const char *name, struct route_table *routes, struct cluster_spec *spec, struct endpoint_set *eps)
{
	sweep(m);
	/* The cluster first: a watch of the name finds what its route names. */
	put_cluster(m, name, spec, eps);
	put_name(m, name, routes);
	published(m);
}

void mesh_del_service(struct mesh *m, const char *name)
{
	struct mesh_name *n = map_get(&m->names, str_of(name));
	struct mesh_cluster *c = map_get(&m->clusters, str_of(name));

	if (n && n->state == MESH_PRESENT) {
		n->state = MESH_ABSENT;
		route_table_unref(&n->routes);
		m->generation++;
		make_due(&m->due_names, &n->due);
	}
	if (c && c->spec) {
		struct cluster_spec *old_spec = c->spec;
		struct endpoint_set *old_eps = c->endpoints;

		c->spec = NULL;
		c->endpoints = NULL;
		make_due(&m->due_clusters, &c->due);
		if (c->changed)
			c->changed(c);
		spec_unref(&old_spec);
		endpoints_unref(&old_eps);
	}
	published(m);
}

/* ---- finding ------------------------------------------------------------------------------------------------------------ */

uint64_t mesh_generation(const struct mesh *m)
{
	return m->generation;
}

void mesh_set_resolver(struct mesh *m, struct mesh_name *(*want)(void *ctx, struct mesh_view *view, struct str name), void *ctx)
{
	m->want = want;
	m->want_ctx = ctx;
}

struct mesh_name *mesh_find(struct mesh *m, struct mesh_view *view, struct str name)
{
	struct mesh_name *n = map_get(&m->names, name);

	/* What the files declare comes before what the mesh says; an entry that waits for its end is not declared any more. */
	if (n && n->state == MESH_PRESENT)
		return n;
	return m->want ? m->want(m->want_ctx, view, name) : NULL;
}

struct mesh_cluster *mesh_cluster_find(struct mesh *m, struct str name)
{
	return map_get(&m->clusters, name);
}

uint32_t mesh_each_service(struct mesh *m, void (*fn)(void *ctx, struct mesh_name *n, struct mesh_cluster *c), void *ctx)
{
	struct str key;
	void *value;
	uint32_t count = 0;

	for (uint32_t i = 0; map_next(&m->names, &i, &key, &value);) {
		struct mesh_name *n = value;
		if (n->state != MESH_PRESENT)
			continue;
		fn(ctx, n, map_get(&m->clusters, str_of(n->name)));
		count++;
	}
	return count;
}

/* ---- watching ----------------------------------------------------------------------------------------------------------- */

void mesh_watch_name(struct mesh_name *n, struct mesh_watch *w, void (*fn)(struct mesh_watch *))
{
	mesh_unwatch(w);
	*w = (struct mesh_watch){.fn = fn, .name = n};
	list_push(&n->watches, &w->node);
	n->holds++;
}

void mesh_watch_cluster(struct mesh_cluster *c, struct mesh_watch *w, void (*fn)(struct mesh_watch *))
{
	mesh_unwatch(w);
	*w = (struct mesh_watch){.fn = fn, .cluster = c};
	list_push(&c->watches, &w->node);
}

void mesh_unwatch(struct mesh_watch *w)
{
	if (w->name)
		w->name->holds--;
	list_del(&w->node);
	*w = (struct mesh_watch){0};
}
