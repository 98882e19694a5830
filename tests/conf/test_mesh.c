/* conf/mesh: publishing, finding, and telling who watches. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/mesh.h"

#define NAME "demo.default.svc.cluster.local:50051"

static struct endpoint_set *set(const char *endpoint)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);

	ck_assert_int_eq(endpoints_group(b), 0);
	ck_assert_int_eq(endpoints_put_text(b, str_of(endpoint), 1), 0);
	ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
	return endpoints_done(&b, 0);
}

/* A service with one endpoint. */
static void put(struct mesh *m, const char *name, const char *endpoint, uint64_t timeout_ns)
{
	struct route_action *a = route_action_new(name);

	a->timeout_ns = timeout_ns;
	mesh_put_service(m, name, route_table_single(a), spec_new(name), set(endpoint));
}

struct seen {
	struct mesh_watch watch;
	int times;
	struct mesh *mesh;
	struct seen *other;
};
static void count(struct mesh_watch *w)
{
	container_of(w, struct seen, watch)->times++;
}

static int changes(struct mesh_cluster *c, int set)
{
	if (set >= 0)
		c->live = (void *)(intptr_t)(set + 1);
	return (int)(intptr_t)c->live - 1;
}

static void changed(struct mesh_cluster *c)
{
	changes(c, changes(c, -1) + 1);
}

START_TEST(what_is_published_is_found_by_its_exact_name)
{
	struct mesh *m = mesh_new(7);
	struct mesh_name *n;
	struct mesh_cluster *c;

	ck_assert_ptr_null(mesh_find(m, STR(NAME)));
	put(m, NAME, "10.0.0.1:1", 5);
	n = mesh_find(m, STR(NAME));
	ck_assert_ptr_nonnull(n);
	ck_assert_int_eq(n->state, MESH_PRESENT);
	ck_assert_str_eq(n->source, "services");
	ck_assert_uint_eq(route_match(n->routes, NULL, 0)->timeout_ns, 5);
	c = mesh_cluster_find(m, NULL, str_of(route_match(n->routes, NULL, 0)->cluster));
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(endpoints_count(c->endpoints), 1);
	ck_assert_uint_ne(c->spec->hash, 0);
	ck_assert_ptr_null(mesh_find(m, STR("demo.default.svc.cluster.local")));
	ck_assert_ptr_null(mesh_cluster_find(m, NULL, STR("other")));
	mesh_free(&m);
	ck_assert_ptr_null(m);
}
END_TEST

START_TEST(equal_content_changes_nothing_and_tells_nobody)
{
	struct mesh *m = mesh_new(7);
	struct seen name = {0}, cluster = {0};
	struct mesh_cluster *c;
	uint64_t generation;

	put(m, NAME, "10.0.0.1:1", 0);
	c = mesh_cluster_find(m, NULL, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_watch_name(mesh_find(m, STR(NAME)), &name.watch, count);
	mesh_watch_cluster(c, &cluster.watch, count);
	generation = mesh_generation(m);
	put(m, NAME, "10.0.0.1:1", 0);
	ck_assert_int_eq(name.times + cluster.times + changes(c, -1), 0);
	ck_assert_uint_eq(mesh_generation(m), generation);

	put(m, NAME, "10.0.0.2:1", 0);
	ck_assert_int_eq(name.times, 0);
	ck_assert_int_eq(cluster.times, 1);
	ck_assert_int_eq(changes(c, -1), 1);
	ck_assert_uint_eq(mesh_generation(m), generation);

	put(m, NAME, "10.0.0.2:1", 9);
	ck_assert_int_eq(name.times, 1);
	ck_assert_int_eq(cluster.times, 1);
	ck_assert_uint_gt(mesh_generation(m), generation);
	c->live = NULL;
	mesh_free(&m);
}
END_TEST

START_TEST(a_service_that_comes_back_is_the_same_entry_for_who_watches)
{
	struct mesh *m = mesh_new(7);
	struct seen seen = {0};
	struct mesh_name *n;
	struct mesh_cluster *c;

	put(m, NAME, "10.0.0.1:1", 0);
	n = mesh_find(m, STR(NAME));
	c = mesh_cluster_find(m, NULL, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_watch_name(n, &seen.watch, count);
	mesh_del_service(m, NAME);
	ck_assert_int_eq(seen.times, 1);
	ck_assert_int_eq(n->state, MESH_ABSENT);
	ck_assert_ptr_null(n->routes);
	ck_assert_ptr_null(c->spec);
	ck_assert_int_eq(changes(c, -1), 1);
	ck_assert_ptr_null(mesh_find(m, STR(NAME)));
	mesh_del_service(m, NAME);
	ck_assert_int_eq(seen.times, 1);
	put(m, "other", "10.0.0.9:1", 0);
	put(m, NAME, "10.0.0.1:1", 0);
	ck_assert_ptr_eq(mesh_find(m, STR(NAME)), n);
	ck_assert_ptr_eq(mesh_cluster_find(m, NULL, STR(NAME)), c);
	ck_assert_int_eq(seen.times, 2);
	ck_assert_int_eq(changes(c, -1), 2);
	mesh_unwatch(&seen.watch);
	c->live = NULL;
	mesh_free(&m);
}
END_TEST

START_TEST(entries_that_nobody_needs_are_dropped)
{
	struct mesh *m = mesh_new(7);
	struct seen seen = {0};
	struct mesh_cluster *c;

	for (int i = 0; i < 100; i++) {
		char name[20];
		snprintf(name, sizeof(name), "s%d", i);
		put(m, name, "10.0.0.1:1", 0);
		mesh_del_service(m, name);
	}
	put(m, "x", "10.0.0.1:1", 0);
	/* The next publishing has swept: of all that was, only this is left. */
	ck_assert_ptr_null(mesh_cluster_find(m, NULL, STR("s98")));
	c = mesh_cluster_find(m, NULL, STR("x"));
	c->live = m;
	mesh_watch_name(mesh_find(m, STR("x")), &seen.watch, count);
	mesh_del_service(m, "x");
	mesh_tell(m);
	ck_assert_ptr_eq(mesh_cluster_find(m, NULL, STR("x")), c);
	c->live = NULL;
	mesh_unwatch(&seen.watch);
	mesh_tell(m);
	ck_assert_ptr_null(mesh_cluster_find(m, NULL, STR("x")));
	mesh_free(&m);
}
END_TEST

static void unwatch_other(struct mesh_watch *w)
{
	struct seen *s = container_of(w, struct seen, watch);

	s->times++;
	mesh_unwatch(&s->other->watch);
	mesh_unwatch(w);
}

START_TEST(a_watch_may_unwatch_itself_and_its_neighbour)
{
	struct mesh *m = mesh_new(7);
	struct seen a = {0}, b = {0}, c = {0};
	struct mesh_name *n;

	put(m, NAME, "10.0.0.1:1", 0);
	n = mesh_find(m, STR(NAME));
	a.other = &b;
	mesh_watch_name(n, &a.watch, unwatch_other);
	mesh_watch_name(n, &b.watch, count);
	mesh_watch_name(n, &c.watch, count);
	ck_assert_uint_eq(n->holds, 3);
	put(m, NAME, "10.0.0.1:1", 1);
	ck_assert_int_eq(a.times, 1);
	ck_assert_int_eq(b.times, 0);
	ck_assert_int_eq(c.times, 1);
	ck_assert_uint_eq(n->holds, 1);
	put(m, NAME, "10.0.0.1:1", 2);
	ck_assert_int_eq(a.times, 1);
	ck_assert_int_eq(c.times, 2);
	mesh_unwatch(&a.watch);
	mesh_free(&m);
	/* The table went first: the watch is free, and may be unwatched again. */
	mesh_unwatch(&c.watch);
	ck_assert(!list_linked(&c.watch.node));
}
END_TEST

static void publish_again(struct mesh_watch *w)
{
	struct seen *s = container_of(w, struct seen, watch);

	s->times++;
	put(s->mesh, NAME, "10.0.0.1:1", (uint64_t)s->times + 100);
}

START_TEST(a_watch_that_always_publishes_does_not_hang_us)
{
	struct mesh *m = mesh_new(7);
	struct seen s = {.mesh = m};

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_watch_name(mesh_find(m, STR(NAME)), &s.watch, publish_again);
	put(m, NAME, "10.0.0.1:1", 1);
	ck_assert_int_eq(s.times, 16);
	mesh_free(&m);
}
END_TEST

static void delete_it(struct mesh_watch *w)
{
	struct seen *s = container_of(w, struct seen, watch);

	s->times++;
	mesh_unwatch(w);
	mesh_del_service(s->mesh, NAME);
	put(s->mesh, "another", "10.0.0.1:1", 0);
}

START_TEST(a_service_may_be_deleted_while_it_is_told)
{
	struct mesh *m = mesh_new(7);
	struct seen a = {.mesh = m}, b = {0};
	struct mesh_name *n;

	put(m, NAME, "10.0.0.1:1", 0);
	n = mesh_find(m, STR(NAME));
	mesh_watch_name(n, &a.watch, delete_it);
	mesh_watch_name(n, &b.watch, count);
	put(m, NAME, "10.0.0.1:1", 1);
	ck_assert_int_eq(a.times, 1);
	ck_assert_int_eq(b.times, 2);
	ck_assert_ptr_null(mesh_find(m, STR(NAME)));
	ck_assert_ptr_nonnull(mesh_find(m, STR("another")));
	mesh_free(&m);
}
END_TEST

static void asked(void *ctx)
{
	++*(int *)ctx;
}

START_TEST(with_a_hook_watches_wait_for_its_task)
{
	struct mesh *m = mesh_new(7);
	struct seen s = {0};
	struct mesh_cluster *c;
	int hook = 0;

	put(m, NAME, "10.0.0.1:1", 0);
	c = mesh_cluster_find(m, NULL, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_set_defer(m, asked, &hook);
	mesh_watch_name(mesh_find(m, STR(NAME)), &s.watch, count);
	put(m, NAME, "10.0.0.2:1", 1);
	put(m, NAME, "10.0.0.3:1", 2);
	/* Asked once for both, told once; but lb knew at once, each time. */
	ck_assert_int_eq(hook, 1);
	ck_assert_int_eq(s.times, 0);
	ck_assert_int_eq(changes(c, -1), 2);
	mesh_tell(m);
	ck_assert_int_eq(s.times, 1);
	mesh_tell(m);
	ck_assert_int_eq(s.times, 1);
	put(m, NAME, "10.0.0.3:1", 3);
	ck_assert_int_eq(hook, 2);
	c->live = NULL;
	mesh_free(&m);
}
END_TEST

START_TEST(with_a_hook_what_a_watch_publishes_is_the_next_task)
{
	struct mesh *m = mesh_new(7);
	struct seen s = {.mesh = m};
	int hook = 0;

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_set_defer(m, asked, &hook);
	mesh_watch_name(mesh_find(m, STR(NAME)), &s.watch, publish_again);
	put(m, NAME, "10.0.0.1:1", 1);
	mesh_tell(m);
	ck_assert_int_eq(s.times, 1);
	ck_assert_int_eq(hook, 2);
	mesh_free(&m);
}
END_TEST

START_TEST(an_entry_found_in_this_turn_outlives_its_deletion)
{
	struct mesh *m = mesh_new(7);
	struct mesh_name *n;
	int hook = 0;

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_set_defer(m, asked, &hook);
	n = mesh_find(m, STR(NAME));
	mesh_del_service(m, NAME);
	ck_assert_int_eq(n->state, MESH_ABSENT);
	mesh_free(&m);
}
END_TEST

/* A source that answers nothing by itself: it remembers what was wanted. */
struct source {
	struct mesh_name *wanted[8];
	uint32_t count;
};

static void remember(void *ctx, struct mesh_name *n)
{
	struct source *s = ctx;

	ck_assert_uint_lt(s->count, 8);
	s->wanted[s->count++] = n;
}

static const struct mesh_view_ops remembers = {.want = remember};

static struct route_table *table(const char *cluster)
{
	return route_table_single(route_action_new(cluster));
}

START_TEST(a_view_is_asked_once_for_a_name_and_answers_it_later)
{
	struct mesh *m = mesh_new(7);
	struct source s = {0};
	struct mesh_view *v = mesh_view_new(m, "shop", &remembers, &s);
	struct mesh_name *n = mesh_want(v, STR("a:1"));
	struct seen seen = {0};

	ck_assert_int_eq(n->state, MESH_UNKNOWN);
	ck_assert_ptr_eq(mesh_want(v, STR("a:1")), n);
	ck_assert_uint_eq(s.count, 1);
	ck_assert_ptr_eq(s.wanted[0], n);
	ck_assert_ptr_null(mesh_find(m, STR("a:1"))); /* what a view knows is no static service */
	mesh_watch_name(n, &seen.watch, count);
	uint64_t was = mesh_generation(m);
	mesh_view_put(n, table("c"), "xds", true);
	ck_assert_int_eq(n->state, MESH_PRESENT);
	ck_assert(n->stale);
	ck_assert_uint_eq(seen.times, 1);
	ck_assert_uint_gt(mesh_generation(m), was);
	mesh_view_put(n, table("c"), "xds", false); /* equal: nobody is told, but it is confirmed */
	ck_assert_uint_eq(seen.times, 1);
	ck_assert(!n->stale);
	mesh_view_absent(n, "xds", "it was deleted");
	ck_assert_int_eq(n->state, MESH_ABSENT);
	ck_assert_uint_eq(seen.times, 2);
	mesh_view_put(n, table("c"), "xds", false);
	ck_assert_int_eq(n->state, MESH_PRESENT);
	ck_assert_uint_eq(seen.times, 3);
	mesh_unwatch(&seen.watch);
	mesh_free(&m);
}
END_TEST

START_TEST(a_dropped_name_is_wanted_anew_also_while_somebody_holds_it)
{
	struct mesh *m = mesh_new(7);
	struct source s = {0};
	struct mesh_view *v = mesh_view_new(m, "shop", &remembers, &s);
	struct mesh_name *n = mesh_want(v, STR("a:1"));
	struct seen seen = {0};

	mesh_view_put(n, table("c"), "xds", false);
	mesh_watch_name(n, &seen.watch, count);
	mesh_view_drop(n);
	ck_assert_ptr_null(mesh_view_find(v, STR("a:1")));
	mesh_put_service(m, "other:1", table("other:1"), spec_new("other:1"), set("10.0.0.9:1")); /* sweeps */
	ck_assert_ptr_eq(mesh_want(v, STR("a:1")), n); /* held: the same entry, asked again */
	ck_assert_int_eq(n->state, MESH_UNKNOWN);
	ck_assert_ptr_null(n->routes);
	ck_assert_uint_eq(s.count, 2);
	mesh_unwatch(&seen.watch);
	mesh_view_drop(n);
	mesh_del_service(m, "other:1");
	mesh_put_service(m, "other:1", table("other:1"), spec_new("other:1"), set("10.0.0.9:1")); /* sweeps: n is freed, which the sanitizer would see */
	mesh_want(v, STR("a:1"));
	ck_assert_uint_eq(s.count, 3);
	mesh_free(&m);
}
END_TEST

START_TEST(views_keep_their_clusters_apart_and_a_static_one_serves_all)
{
	struct mesh *m = mesh_new(7);
	struct source s = {0};
	struct mesh_view *a = mesh_view_new(m, "a", &remembers, &s), *b = mesh_view_new(m, "b", &remembers, &s);
	struct mesh_cluster *of_a;

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_view_put_cluster(a, "c", spec_new("c"), set("10.0.0.2:1"));
	of_a = mesh_cluster_find(m, a, STR("c"));
	ck_assert_ptr_nonnull(of_a);
	ck_assert_ptr_eq(of_a->view, a);
	ck_assert_ptr_null(mesh_cluster_find(m, b, STR("c")));
	ck_assert_ptr_null(mesh_cluster_find(m, NULL, STR("c")));
	ck_assert_ptr_nonnull(mesh_cluster_find(m, b, STR(NAME)));
	of_a->live = &s; /* as lb does: it keeps its place */
	mesh_view_del_cluster(a, "c");
	ck_assert_ptr_null(of_a->spec);
	mesh_view_put_cluster(a, "c", spec_new("c"), set("10.0.0.2:1"));
	ck_assert_ptr_eq(mesh_cluster_find(m, a, STR("c")), of_a); /* declared again while it was in use */
	mesh_free(&m);
}
END_TEST

START_TEST(a_view_ends_and_leaves_what_is_held_to_who_holds_it)
{
	struct mesh *m = mesh_new(7);
	struct source s = {0};
	struct mesh_view *v = mesh_view_new(m, "shop", &remembers, &s);
	struct mesh_name *n = mesh_want(v, STR("a:1"));
	struct seen seen = {0};

	mesh_view_put_cluster(v, "c", spec_new("c"), set("10.0.0.2:1"));
	struct mesh_cluster *c = mesh_cluster_find(m, v, STR("c"));
	c->live = &seen; /* as lb does */
	mesh_watch_name(n, &seen.watch, count);
	mesh_view_free(&v);
	ck_assert_ptr_null(v);
	ck_assert_uint_eq(seen.times, 1);
	ck_assert_int_eq(n->state, MESH_ABSENT);
	ck_assert_ptr_null(c->spec);
	mesh_unwatch(&seen.watch);
	c->live = NULL;
	put(m, NAME, "10.0.0.1:1", 0); /* sweeps both */
	mesh_free(&m);
}
END_TEST

START_TEST(a_cluster_takes_its_secrets_from_its_view_or_as_a_static_one_and_from_nowhere_once_its_view_is_gone)
{
	static const char fixed, views; /* mesh never looks inside */
	const struct secret_space *of_static = (const void *)&fixed, *of_view = (const void *)&views;
	struct mesh *m = mesh_new(7);
	struct source s = {0};
	struct mesh_view *v = mesh_view_new(m, "shop", &remembers, &s);
	struct mesh_cluster *c, *view_c;
	struct seen seen = {0};

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_view_put_cluster(v, "a", spec_new("a"), set("10.0.0.2:1"));
	c = mesh_cluster_find(m, NULL, STR(NAME));
	view_c = mesh_cluster_find(m, v, STR("a"));
	ck_assert_ptr_null(mesh_cluster_space(c));
	ck_assert_ptr_null(mesh_cluster_space(view_c));
	mesh_set_space(m, of_static);
	ck_assert_ptr_null(mesh_cluster_space(view_c));
	mesh_view_set_space(v, of_view);
	ck_assert_ptr_eq(mesh_cluster_space(c), of_static);
	ck_assert_ptr_eq(mesh_cluster_space(view_c), of_view);
	mesh_watch_cluster(view_c, &seen.watch, count);
	mesh_view_free(&v);
	ck_assert_ptr_null(mesh_cluster_space(view_c));
	mesh_unwatch(&seen.watch);
	mesh_free(&m);
}
END_TEST

static void collect(void *ctx, struct mesh_name *n, struct mesh_cluster *c)
{
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(n->name, c->name);
	++*(int *)ctx;
}

START_TEST(each_service_that_is_present_is_visited)
{
	struct mesh *m = mesh_new(7);
	int visits = 0;

	put(m, "a", "10.0.0.1:1", 0);
	put(m, "b", "10.0.0.1:1", 0);
	put(m, "c", "10.0.0.1:1", 0);
	mesh_del_service(m, "b");
	ck_assert_uint_eq(mesh_each_service(m, collect, &visits), 2);
	ck_assert_int_eq(visits, 2);
	mesh_free(&m);
}
END_TEST

UNIT_SUITE("mesh", what_is_published_is_found_by_its_exact_name, equal_content_changes_nothing_and_tells_nobody,
	a_service_that_comes_back_is_the_same_entry_for_who_watches, entries_that_nobody_needs_are_dropped,
	a_watch_may_unwatch_itself_and_its_neighbour, a_watch_that_always_publishes_does_not_hang_us,
	a_service_may_be_deleted_while_it_is_told, with_a_hook_watches_wait_for_its_task,
	with_a_hook_what_a_watch_publishes_is_the_next_task, an_entry_found_in_this_turn_outlives_its_deletion,
	a_view_is_asked_once_for_a_name_and_answers_it_later, a_dropped_name_is_wanted_anew_also_while_somebody_holds_it,
	views_keep_their_clusters_apart_and_a_static_one_serves_all, a_view_ends_and_leaves_what_is_held_to_who_holds_it,
	a_cluster_takes_its_secrets_from_its_view_or_as_a_static_one_and_from_nowhere_once_its_view_is_gone,
	each_service_that_is_present_is_visited)
