/* net/watch: changes of real files, told once each, on the real loop; and poked in the simulation. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/timer.h"
#include "net/watch.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000;

struct place { char dir[64]; };

static struct place place_new(void)
{
	struct place p = {.dir = "/tmp/tm-watch-XXXXXX"};

	ck_assert_ptr_nonnull(mkdtemp(p.dir));
	return p;
}

static const char *in(const struct place *p, const char *name, char out[160])
{
	snprintf(out, 160, "%s/%s", p->dir, name);
	return out;
}

static void put(const struct place *p, const char *name, const char *text)
{
	char path[160];
	int fd = open(in(p, name, path), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void take_away(const struct place *p, const char *name)
{
	char path[160];

	ck_assert_int_eq(remove(in(p, name, path)), 0);
}

static void place_end(struct place *p)
{
	ck_assert_int_eq(rmdir(p->dir), 0);
}

static void changed(void *user)
{
	++*(int *)user;
}

/* Until it was told `want` times; the bound only ends a test that has failed. */
static void turn_until(struct loop *l, const int *told, int want)
{
	for (int i = 0; i < 100 && *told < want; i++)
		loop_turn(l, (int64_t)(100 * ms));
	ck_assert_int_eq(*told, want);
}

/* Inotify queues its events before the call that caused them returns, and a change that concerns us arms the gathering. */
static bool is_quiet(struct loop *l)
{
	loop_turn(l, 0);
	loop_turn(l, 0);
	return wheel_armed(l->wheel) == 0;
}

START_TEST(changes_in_a_folder_are_gathered_and_told_once)
{
	struct place p = place_new();
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	int told = 0;

	ck_assert_int_eq(watch_new(l, p.dir, changed, &told, &w), 0);
	put(&p, "a.yaml", "x: 1\n");
	put(&p, "b.yaml", "x: 1\n");
	put(&p, "a.yaml", "x: 2\n");
	turn_until(l, &told, 1);
	ck_assert(is_quiet(l));
	take_away(&p, "a.yaml");
	turn_until(l, &told, 2);
	watch_free(&w);
	take_away(&p, "b.yaml");
	loop_free(&l);
	place_end(&p);
}
END_TEST

START_TEST(of_a_file_its_neighbours_do_not_matter_but_its_replacement_does)
{
	struct place p = place_new();
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	char path[160], from[160];
	int told = 0;

	put(&p, "conf.yaml", "x: 1\n");
	ck_assert_int_eq(watch_new(l, in(&p, "conf.yaml", path), changed, &told, &w), 0);
	put(&p, "other.yaml", "y: 1\n");
	ck_assert(is_quiet(l));
	ck_assert_int_eq(rename(in(&p, "other.yaml", from), path), 0); /* as editors save */
	turn_until(l, &told, 1);
	watch_free(&w);
	take_away(&p, "conf.yaml");
	loop_free(&l);
	place_end(&p);
}
END_TEST

START_TEST(a_kubernetes_swap_of_the_data_link_is_seen)
{
	struct place p = place_new();
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	char path[160], to[160];
	int told = 0;

	ck_assert_int_eq(mkdir(in(&p, "..v1", path), 0755), 0);
	ck_assert_int_eq(mkdir(in(&p, "..v2", path), 0755), 0);
	put(&p, "..v1/cert.pem", "1");
	put(&p, "..v2/cert.pem", "2");
	ck_assert_int_eq(symlink("..v1", in(&p, "..data", path)), 0);
	ck_assert_int_eq(symlink("..data/cert.pem", in(&p, "cert.pem", path)), 0);
	ck_assert_int_eq(watch_new(l, path, changed, &told, &w), 0);
	ck_assert_int_eq(symlink("..v2", in(&p, "..data_tmp", path)), 0);
	ck_assert_int_eq(rename(path, in(&p, "..data", to)), 0);
	turn_until(l, &told, 1);
	watch_free(&w);
	take_away(&p, "cert.pem");
	take_away(&p, "..data");
	take_away(&p, "..v1/cert.pem");
	take_away(&p, "..v2/cert.pem");
	take_away(&p, "..v1");
	take_away(&p, "..v2");
	loop_free(&l);
	place_end(&p);
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_an_error)
{
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	int told = 0;

	ck_assert_int_eq(watch_new(l, "/tmp/tm-none/conf.yaml", changed, &told, &w), -ENOENT);
	loop_free(&l);
}
END_TEST

START_TEST(a_folder_that_went_and_came_back_is_watched_again)
{
	struct place p = place_new();
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	int told = 0;

	ck_assert_int_eq(watch_new(l, p.dir, changed, &told, &w), 0);
	place_end(&p);
	turn_until(l, &told, 1);
	ck_assert_int_eq(mkdir(p.dir, 0755), 0);
	turn_until(l, &told, 2);
	put(&p, "a.yaml", "x: 1\n");
	turn_until(l, &told, 3);
	take_away(&p, "a.yaml");
	watch_free(&w);
	loop_free(&l);
	place_end(&p);
}
END_TEST

START_TEST(a_link_that_is_put_elsewhere_is_seen_where_the_entry_is_watched)
{
	struct place p = place_new();
	struct loop *l = loop_new_real(NULL);
	struct watch *w;
	char link[160], fresh[160];
	int told = 0;

	ck_assert_int_eq(mkdir(in(&p, "v1", link), 0755), 0);
	ck_assert_int_eq(mkdir(in(&p, "v2", link), 0755), 0);
	ck_assert_int_eq(symlink("v1", in(&p, "now", link)), 0);
	ck_assert_int_eq(watch_new_entry(l, link, changed, &told, &w), 0);
	put(&p, "v1/a", "x");
	put(&p, "other", "x");
	ck_assert(is_quiet(l));
	ck_assert_int_eq(symlink("v2", in(&p, "next", fresh)), 0);
	ck_assert_int_eq(rename(fresh, link), 0);
	turn_until(l, &told, 1);
	watch_free(&w);
	take_away(&p, "v1/a");
	take_away(&p, "v1");
	take_away(&p, "v2");
	take_away(&p, "now");
	take_away(&p, "other");
	loop_free(&l);
	place_end(&p);
}
END_TEST

START_TEST(in_simulation_a_poke_is_told_after_the_gathering)
{
	struct simnet *n = simnet_new(1);
	struct watch *w;
	int told = 0;

	ck_assert_int_eq(watch_new(simnet_loop(n), "/nowhere/conf.yaml", changed, &told, &w), 0);
	watch_poke(w);
	simnet_advance(n, 60 * ms);
	watch_poke(w);
	ck_assert_int_eq(told, 0);
	simnet_advance(n, 41 * ms);
	ck_assert_int_eq(told, 1);
	simnet_advance(n, 1000 * ms);
	ck_assert_int_eq(told, 1);
	watch_poke(w);
	watch_free(&w);
	simnet_advance(n, 1000 * ms);
	ck_assert_int_eq(told, 1);
	simnet_free(&n);
}
END_TEST

UNIT_SUITE("watch", changes_in_a_folder_are_gathered_and_told_once, of_a_file_its_neighbours_do_not_matter_but_its_replacement_does,
	a_kubernetes_swap_of_the_data_link_is_seen, a_folder_that_is_not_there_is_an_error, a_folder_that_went_and_came_back_is_watched_again,
	a_link_that_is_put_elsewhere_is_seen_where_the_entry_is_watched, in_simulation_a_poke_is_told_after_the_gathering)
