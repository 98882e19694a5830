/* conf/route_table: the routes of one virtual host, in their order. See conf/route.h. */
#include "conf/route.h"

#include <stdlib.h>

#include "base/map.h"

static struct route_table *table_new(void)
{
	struct route_table *t = xnew(struct route_table);

	t->refs = 1;
	return t;
}

static uint64_t table_hash(const struct route_table *t)
{
	uint64_t h = t->count * UINT64_C(2) + t->cut_params;

	h = str_hash_seeded(str_of(t->name), h);
	for (uint32_t i = 0; i < t->count; i++)
		h = route_action_hash(t->routes[i].action, match_hash(&t->routes[i].match, h));
	return h ? h : 1;
}

struct route_table *route_table_single(struct route_action *taken)
{
	struct route_table *t = table_new();

	t->routes = xnew(struct route);
	t->routes[0].action = taken;
	t->count = t->cap = 1;
	t->hash = table_hash(t);
	return t;
}

void route_table_unref(struct route_table **t)
{
	struct route_table *old = *t;

	*t = NULL;
	if (!old || --old->refs > 0)
		return;
	for (uint32_t i = 0; i < old->count; i++) {
		match_end(&old->routes[i].match);
		route_action_unref(&old->routes[i].action);
	}
	free(old->routes);
	free(old->name);
	route_action_unref(&old->undecided);
	charge_end(&old->charge);
	free(old);
}

bool route_table_eq(const struct route_table *a, const struct route_table *b)
{
	return a == b || (a && b && a->hash == b->hash);
}

/* ---- building ----------------------------------------------------------------------------------------------------------- */

struct route_table *route_table_new(struct ration *r, struct str name)
{
	if (!ration_take(r, sizeof(struct route_table) + RATION_HEAD))
		return NULL;
	struct route_table *t = table_new();
	t->name = name.n ? ration_text(r, name) : NULL;
	if (r->refused)
		route_table_unref(&t);
	return t;
}

bool route_table_add(struct ration *r, struct route_table *t, struct match *moved, struct route_action *taken)
{
	if (t->count == t->cap) {
		uint32_t cap = t->cap ? t->cap * 2 : 1;

		if (!ration_grow(r, (void **)&t->routes, sizeof(struct route), t->cap, cap)) {
			match_end(moved);
			route_action_unref(&taken);
			return false;
		}
		t->cap = cap;
	}
	t->routes[t->count++] = (struct route){*moved, taken};
	*moved = (struct match){0};
	return true;
}

bool route_table_seal(struct ration *r, struct route_table *t)
{
	bool regex = false;

	for (uint32_t i = 0; i < t->count; i++)
		regex |= match_has_regex(&t->routes[i].match);
	if (regex) {
		if (!ration_take(r, sizeof(struct route_action) + 128))
			return false;
		t->undecided = route_action_new(NULL);
		t->undecided->kind = ROUTE_UNSUPPORTED;
		t->undecided->unsupported = xstrdup("a safe_regex that takes too many steps for what it was asked about");
	}
	if (t->cap > t->count) {
		ration_give(r, (t->cap - t->count) * sizeof(struct route));
		t->routes = xrealloc(t->routes, t->count * sizeof(struct route));
		t->cap = t->count;
	}
	t->hash = table_hash(t);
	ration_pay(r, &t->charge);
	return true;
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

struct route_action *route_match(const struct route_table *t, const struct fields *head, uint64_t random)
{
	if (!t || t->count == 0)
		return NULL;
	if (t->routes[0].match.form == PATH_ANY && !t->routes[0].match.extra)
		return t->routes[0].action;
	struct match_call c = match_call(head, t->cut_params, random);
	for (uint32_t i = 0; i < t->count; i++) {
		int rc = match_fits(&t->routes[i].match, &c);

		if (rc != 0)
			return rc > 0 ? t->routes[i].action : t->undecided;
	}
	return NULL;
}

static void tell_once(struct map *seen, const char *cluster, void (*fn)(void *ctx, const char *cluster), void *ctx)
{
	if (map_get(seen, str_of(cluster)))
		return;
	map_put(seen, str_of(cluster), (void *)(uintptr_t)1);
	fn(ctx, cluster);
}

void route_table_clusters(const struct route_table *t, void (*fn)(void *ctx, const char *cluster), void *ctx)
{
	struct map seen;

	if (t->count == 1 && t->routes[0].action->kind == ROUTE_CLUSTER) {
		fn(ctx, t->routes[0].action->cluster);
		return;
	}
	map_init_borrowed(&seen, t->hash);
	for (uint32_t i = 0; i < t->count; i++) {
		const struct route_action *a = t->routes[i].action;

		if (a->kind == ROUTE_CLUSTER)
			tell_once(&seen, a->cluster, fn, ctx);
		for (uint32_t w = 0; a->kind == ROUTE_WEIGHTED && w < a->nweighted; w++)
			if (!a->weighted[w].by_header && a->weighted[w].weight)
				tell_once(&seen, a->weighted[w].cluster, fn, ctx);
	}
	map_end(&seen);
}
