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
	struct list views;
	uint64_t seed;
	const struct secret_space *space; /* of static clusters; borrowed */
};
struct mesh_view {
	struct mesh *mesh;
	struct list node;
	char *name;
	struct map names, clusters; /* keys borrowed from the entries */
	const struct mesh_view_ops *ops;
	void *ctx;
	uint32_t wanted, limit; /* names that are not dropped; how many there may be */
	const struct secret_space *space; /* borrowed */
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
	list_init(&m->views);
	m->seed = seed + 2;
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

static struct map *names_of(struct mesh *m, struct mesh_view *view)
{
	return view ? &view->names : &m->names;
}

static struct map *clusters_of(struct mesh *m, struct mesh_view *view)
{
	return view ? &view->clusters : &m->clusters;
}

static void maps_free(struct map *names, struct map *clusters)
{
	struct str key;
	void *value;

	for (uint32_t i = 0; map_next(names, &i, &key, &value);)
		name_free(value);
	for (uint32_t i = 0; map_next(clusters, &i, &key, &value);)
		cluster_free(value);
	map_end(names);
	map_end(clusters);
}

static void view_end(struct mesh_view *v)
{
	list_del(&v->node);
	free(v->name);
	free(v);
}

void mesh_free(struct mesh **m)
{
	struct mesh *old = *m;

	*m = NULL;
	if (!old)
		return;
	list_each(node, next, &old->views)
	{
		struct mesh_view *v = list_entry(node, struct mesh_view, node);

		maps_free(&v->names, &v->clusters);
		view_end(v);
	}
	maps_free(&old->names, &old->clusters);
	/* What a view left behind, which is in no map any more. */
	list_each(node, next, &old->gone_names)
		name_free(list_entry(node, struct mesh_name, due));
	list_each(node, next, &old->gone_clusters)
		cluster_free(list_entry(node, struct mesh_cluster, due));
	list_each(node, next, &old->due_names)
		name_free(list_entry(node, struct mesh_name, due));
	list_each(node, next, &old->due_clusters)
		cluster_free(list_entry(node, struct mesh_cluster, due));
	free(old);
}

/* A static name ends when it is declared no more; one of a view is its source's to give up. */
static bool name_is_over(const struct mesh_name *n)
{
	return n->view ? n->dropped : n->state != MESH_PRESENT;
}

/* The entry of that name may be another one by now: a view's, or none. */
static void map_forget(struct map *map, const char *name, const void *entry)
{
	if (map_get(map, str_of(name)) == entry)
		map_del(map, str_of(name));
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
		map_forget(names_of(m, n->view), n->name, n);
		name_free(n);
	}
	list_each(node, next, &m->gone_clusters)
	{
		struct mesh_cluster *c = list_entry(node, struct mesh_cluster, due);
		if (c->live || !list_empty(&c->watches))
			continue;
		map_forget(clusters_of(m, c->view), c->name, c);
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
		if (name_is_over(n))
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

/* ---- spaces ------------------------------------------------------------------------------------------------------------- */

void mesh_set_space(struct mesh *m, const struct secret_space *space)
{
	m->space = space;
}

void mesh_view_set_space(struct mesh_view *v, const struct secret_space *space)
{
	v->space = space;
}

/* One whose view is gone must not pass for a static one: it would show the certificate of another. */
const struct secret_space *mesh_cluster_space(const struct mesh_cluster *c)
{
	return c->left ? NULL : c->view ? c->view->space : c->mesh->space;
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

static struct mesh_name *name_entry(struct mesh *m, struct mesh_view *view, struct str name)
{
	struct mesh_name *n = map_get(names_of(m, view), name);

	if (n)
		return n;
	n = xnew(struct mesh_name);
	n->mesh = m;
	n->view = view;
	n->name = xstrndup(name.p, name.n);
	list_init(&n->watches);
	list_init(&n->due);
	map_put(names_of(m, view), str_of(n->name), n);
	return n;
}

static struct mesh_cluster *cluster_entry(struct mesh *m, struct mesh_view *view, const char *name)
{
	struct mesh_cluster *c = map_get(clusters_of(m, view), str_of(name));

	if (c)
		return c;
	c = xnew(struct mesh_cluster);
	c->mesh = m;
	c->view = view;
	c->name = xstrdup(name);
	list_init(&c->watches);
	list_init(&c->due);
	map_put(clusters_of(m, view), str_of(c->name), c);
	return c;
}

static void set_name(struct mesh_name *n, enum mesh_state state, struct route_table *taken, const char *source, const char *why)
{
	struct route_table *old = n->routes;

	n->routes = taken;
	n->state = state;
	n->source = source;
	n->why = why;
	n->failed = false;
	n->mesh->generation++;
	route_table_unref(&old);
	make_due(&n->mesh->due_names, &n->due);
}

static void put_name(struct mesh_name *n, struct route_table *taken, const char *source)
{
	if (n->state == MESH_PRESENT && route_table_eq(n->routes, taken)) {
		route_table_unref(&taken);
		return;
	}
	set_name(n, MESH_PRESENT, taken, source, NULL);
}

static void put_cluster(struct mesh *m, struct mesh_view *view, const char *name, struct cluster_spec *spec_taken, struct endpoint_set *eps_taken)
{
	struct mesh_cluster *c = cluster_entry(m, view, name);
	struct cluster_spec *old_spec = c->spec;
	struct endpoint_set *old_eps = c->endpoints;

	if (!spec_taken->hash)
		spec_seal(spec_taken);
	if (old_spec && old_spec->hash == spec_taken->hash && endpoints_hash(old_eps) == endpoints_hash(eps_taken)) {
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

static void del_cluster(struct mesh_cluster *c)
{
	struct cluster_spec *old_spec = c->spec;
	struct endpoint_set *old_eps = c->endpoints;

	c->spec = NULL;
	c->endpoints = NULL;
	make_due(&c->mesh->due_clusters, &c->due);
	if (c->changed)
		c->changed(c);
	spec_unref(&old_spec);
	endpoints_unref(&old_eps);
}

void mesh_put_service(struct mesh *m, const char *name, struct route_table *routes, struct cluster_spec *spec, struct endpoint_set *eps)
{
	sweep(m);
	/* The cluster first: a watch of the name finds what its route names. */
	put_cluster(m, NULL, name, spec, eps);
	put_name(name_entry(m, NULL, str_of(name)), routes, "services");
	published(m);
}

void mesh_del_service(struct mesh *m, const char *name)
{
	struct mesh_name *n = map_get(&m->names, str_of(name));
	struct mesh_cluster *c = map_get(&m->clusters, str_of(name));

	if (n && n->state == MESH_PRESENT)
		set_name(n, MESH_ABSENT, NULL, n->source, NULL);
	if (c && c->spec)
		del_cluster(c);
	published(m);
}

void mesh_put_cluster(struct mesh *m, const char *name, struct cluster_spec *spec, struct endpoint_set *eps)
{
	sweep(m);
	put_cluster(m, NULL, name, spec, eps);
	published(m);
}

void mesh_del_cluster(struct mesh *m, const char *name)
{
	struct mesh_cluster *c = map_get(&m->clusters, str_of(name));

	if (c && c->spec)
		del_cluster(c);
	published(m);
}

/* ---- views -------------------------------------------------------------------------------------------------------------- */

struct mesh_view *mesh_view_new(struct mesh *m, const char *name, const struct mesh_view_ops *ops, void *ctx)
{
	struct mesh_view *v = xnew(struct mesh_view);

	v->mesh = m;
	v->name = xstrdup(name);
	v->ops = ops;
	v->ctx = ctx;
	map_init_borrowed(&v->names, m->seed++);
	map_init_borrowed(&v->clusters, m->seed++);
	list_push(&m->views, &v->node);
	return v;
}

/* Entries leave the maps at once and go with the next sweep that finds them unused; nobody can find them meanwhile. */
void mesh_view_free(struct mesh_view **view)
{
	struct mesh_view *v = *view;
	struct str key;
	void *value;

	*view = NULL;
	if (!v)
		return;
	struct mesh *m = v->mesh;
	for (uint32_t i = 0; map_next(&v->names, &i, &key, &value);) {
		struct mesh_name *n = value;

		n->dropped = true;
		set_name(n, MESH_ABSENT, NULL, NULL, NULL);
		n->view = NULL;
	}
	for (uint32_t i = 0; map_next(&v->clusters, &i, &key, &value);) {
		struct mesh_cluster *c = value;

		if (c->spec)
			del_cluster(c);
		else
			make_due(&m->due_clusters, &c->due);
		c->view = NULL;
		c->left = true;
	}
	map_end(&v->names);
	map_end(&v->clusters);
	m->generation++;
	view_end(v);
	published(m);
}

const char *mesh_view_name(const struct mesh_view *v)
{
	return v->name;
}

void mesh_view_set_limit(struct mesh_view *v, uint32_t names)
{
	v->limit = names;
}

bool mesh_view_is_full(struct mesh_view *v)
{
	return v->limit && v->wanted >= v->limit && !(v->ops->make_room && v->ops->make_room(v->ctx));
}

struct mesh_name *mesh_want(struct mesh_view *v, struct str name)
{
	struct mesh_name *n = map_get(&v->names, name);

	if (n && !n->dropped)
		return n;
	if (!n)
		n = name_entry(v->mesh, v, name);
	n->dropped = false;
	list_del(&n->due); /* it was among the gone */
	n->state = MESH_UNKNOWN;
	n->failed = false;
	v->wanted++;
	v->ops->want(v->ctx, n);
	return n;
}

struct mesh_name *mesh_view_find(struct mesh_view *v, struct str name)
{
	struct mesh_name *n = map_get(&v->names, name);

	return n && !n->dropped ? n : NULL;
}

void mesh_view_each(struct mesh_view *v, void (*fn)(void *ctx, struct mesh_name *n), void *ctx)
{
	struct str key;
	void *value;

	for (uint32_t i = 0; map_next(&v->names, &i, &key, &value);)
		if (!((struct mesh_name *)value)->dropped)
			fn(ctx, value);
}

void mesh_view_put(struct mesh_name *n, struct route_table *taken, const char *source, bool stale)
{
	sweep(n->mesh);
	n->stale = stale;
	n->tentative = false;
	put_name(n, taken, source);
	published(n->mesh);
}

void mesh_view_absent(struct mesh_name *n, const char *source, const char *why)
{
	n->stale = false;
	if (n->state == MESH_ABSENT)
		return;
	set_name(n, MESH_ABSENT, NULL, source, why);
	published(n->mesh);
}

void mesh_view_why(struct mesh_name *n, const char *why)
{
	n->why = why;
}

void mesh_view_fail(struct mesh_name *n, bool failed, const char *why)
{
	n->why = why;
	if (n->state != MESH_UNKNOWN || n->failed == failed)
		return;
	n->failed = failed;
	make_due(&n->mesh->due_names, &n->due);
	published(n->mesh);
}

void mesh_view_drop(struct mesh_name *n)
{
	if (n->dropped)
		return;
	n->dropped = true;
	n->stale = n->tentative = n->alone = false;
	n->view->wanted--;
	n->data = NULL;
	set_name(n, MESH_ABSENT, NULL, NULL, NULL); /* the generation moves: no cache keeps the entry */
	published(n->mesh);
}

void mesh_view_put_cluster(struct mesh_view *v, const char *name, struct cluster_spec *taken, struct endpoint_set *eps_taken)
{
	sweep(v->mesh);
	put_cluster(v->mesh, v, name, taken, eps_taken);
	published(v->mesh);
}

void mesh_view_del_cluster(struct mesh_view *v, const char *name)
{
	struct mesh_cluster *c = map_get(&v->clusters, str_of(name));

	if (c && c->spec)
		del_cluster(c);
	published(v->mesh);
}

uint32_t mesh_view_each_cluster(struct mesh_view *v, void (*fn)(void *ctx, struct mesh_cluster *c), void *ctx)
{
	struct str key;
	void *value;
	uint32_t count = 0;

	for (uint32_t i = 0; map_next(&v->clusters, &i, &key, &value);) {
		struct mesh_cluster *c = value;

		if (!c->spec)
			continue;
		fn(ctx, c);
		count++;
	}
	return count;
}

/* ---- finding ------------------------------------------------------------------------------------------------------------ */

uint64_t mesh_generation(const struct mesh *m)
{
	return m->generation;
}

struct mesh_name *mesh_find(struct mesh *m, struct str name)
{
	struct mesh_name *n = map_get(&m->names, name);

	/* An entry that waits for its end is not declared any more. */
	return n && n->state == MESH_PRESENT ? n : NULL;
}

struct mesh_cluster *mesh_cluster_find(struct mesh *m, struct mesh_view *view, struct str name)
{
	struct mesh_cluster *c = view ? map_get(&view->clusters, name) : NULL;

	return c ? c : map_get(&m->clusters, name);
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
