/* conf/mesh: publishing, finding, and telling who watches. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/mesh.h"

#define NAME "demo.default.svc.cluster.local:50051"

/* A service with one endpoint. */
static void put(struct mesh *m, const char *name, const char *endpoint, uint64_t timeout_ns)
{
	struct route_action *a = route_action_new(name);
	struct endpoint_set *eps = endpoints_new(1, NULL);

	a->timeout_ns = timeout_ns;
	ck_assert_int_eq(endpoints_add_text(eps, str_of(endpoint), 1, NULL), 0);
	mesh_put_service(m, name, route_table_single(a), spec_new(name), eps);
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

	ck_assert_ptr_null(mesh_find(m, NULL, STR(NAME)));
	put(m, NAME, "10.0.0.1:1", 5);
	n = mesh_find(m, NULL, STR(NAME));
	ck_assert_ptr_nonnull(n);
	ck_assert_int_eq(n->state, MESH_PRESENT);
	ck_assert_str_eq(n->source, "services");
	ck_assert_uint_eq(route_match(n->routes, NULL)->timeout_ns, 5);
	c = mesh_cluster_find(m, str_of(route_match(n->routes, NULL)->cluster));
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->endpoints->count, 1);
	ck_assert_uint_ne(c->spec->hash, 0);
	ck_assert_ptr_null(mesh_find(m, NULL, STR("demo.default.svc.cluster.local")));
	ck_assert_ptr_null(mesh_cluster_find(m, STR("other")));
	/* Every view sees what the files declare. */
	ck_assert_ptr_eq(mesh_find(m, (struct mesh_view *)m, STR(NAME)), n);
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
	c = mesh_cluster_find(m, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_watch_name(mesh_find(m, NULL, STR(NAME)), &name.watch, count);
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
	n = mesh_find(m, NULL, STR(NAME));
	c = mesh_cluster_find(m, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_watch_name(n, &seen.watch, count);
	mesh_del_service(m, NAME);
	ck_assert_int_eq(seen.times, 1);
	ck_assert_int_eq(n->state, MESH_ABSENT);
	ck_assert_ptr_null(n->routes);
	ck_assert_ptr_null(c->spec);
	ck_assert_int_eq(changes(c, -1), 1);
	ck_assert_ptr_null(mesh_find(m, NULL, STR(NAME)));
	mesh_del_service(m, NAME);
	ck_assert_int_eq(seen.times, 1);
	put(m, "other", "10.0.0.9:1", 0);
	put(m, NAME, "10.0.0.1:1", 0);
	ck_assert_ptr_eq(mesh_find(m, NULL, STR(NAME)), n);
	ck_assert_ptr_eq(mesh_cluster_find(m, STR(NAME)), c);
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
	ck_assert_ptr_null(mesh_cluster_find(m, STR("s98")));
	c = mesh_cluster_find(m, STR("x"));
	c->live = m;
	mesh_watch_name(mesh_find(m, NULL, STR("x")), &seen.watch, count);
	mesh_del_service(m, "x");
	mesh_tell(m);
	ck_assert_ptr_eq(mesh_cluster_find(m, STR("x")), c);
	c->live = NULL;
	mesh_unwatch(&seen.watch);
	mesh_tell(m);
	ck_assert_ptr_null(mesh_cluster_find(m, STR("x")));
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
	n = mesh_find(m, NULL, STR(NAME));
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
	mesh_watch_name(mesh_find(m, NULL, STR(NAME)), &s.watch, publish_again);
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
	n = mesh_find(m, NULL, STR(NAME));
	mesh_watch_name(n, &a.watch, delete_it);
	mesh_watch_name(n, &b.watch, count);
	put(m, NAME, "10.0.0.1:1", 1);
	ck_assert_int_eq(a.times, 1);
	ck_assert_int_eq(b.times, 2);
	ck_assert_ptr_null(mesh_find(m, NULL, STR(NAME)));
	ck_assert_ptr_nonnull(mesh_find(m, NULL, STR("another")));
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
	c = mesh_cluster_find(m, STR(NAME));
	changes(c, 0);
	c->changed = changed;
	mesh_set_defer(m, asked, &hook);
	mesh_watch_name(mesh_find(m, NULL, STR(NAME)), &s.watch, count);
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
	mesh_watch_name(mesh_find(m, NULL, STR(NAME)), &s.watch, publish_again);
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
	n = mesh_find(m, NULL, STR(NAME));
	mesh_del_service(m, NAME);
	ck_assert_int_eq(n->state, MESH_ABSENT);
	mesh_free(&m);
}
END_TEST

static struct mesh_name *resolve(void *ctx, struct mesh_view *view, struct str name)
{
	struct mesh_name *answer = ctx;

	(void)view;
	return str_is(name, "wanted") ? answer : NULL;
}

START_TEST(a_resolver_is_asked_for_what_no_file_declares)
{
	struct mesh *m = mesh_new(7);
	struct mesh_name other = {.state = MESH_UNKNOWN};

	put(m, NAME, "10.0.0.1:1", 0);
	mesh_set_resolver(m, resolve, &other);
	ck_assert_ptr_eq(mesh_find(m, NULL, STR("wanted")), &other);
	ck_assert_ptr_null(mesh_find(m, NULL, STR("unwanted")));
	ck_assert_ptr_ne(mesh_find(m, NULL, STR(NAME)), &other);
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
	a_resolver_is_asked_for_what_no_file_declares, each_service_that_is_present_is_visited)
