/* net/reader: small files read beside the loop. On a virtual clock what is read; on the real one who waits for whom. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/reader.h"
#include "net/timer.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

enum { MOST = 1 << 20 };
static const uint64_t ms = 1000000, hour = UINT64_C(3600000000000);

struct rig { struct simnet *n; struct loop *l; struct reader *r; char dir[64]; int told; };

static void rig_new(struct rig *r, bool real)
{
	*r = (struct rig){.n = real ? NULL : simnet_new(1), .dir = "/tmp/tm-reader-XXXXXX"};
	r->l = real ? loop_new_real(NULL) : simnet_loop(r->n);
	r->r = reader_new(r->l);
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
}

static void remove_all(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static void rig_end(struct rig *r)
{
	reader_free(&r->r);
	ck_assert_ptr_null(r->r);
	ck_assert_uint_eq(r->l->memory.used, 0);
	ck_assert_uint_eq(wheel_armed(r->l->wheel), 0);
	if (r->n)
		simnet_free(&r->n);
	else
		loop_free(&r->l);
	remove_all(r->dir);
}

static const char *in(const struct rig *r, const char *name, char out[160])
{
	snprintf(out, 160, "%s/%s", r->dir, name);
	return out;
}

static void put(const struct rig *r, const char *name, const char *text, size_t n)
{
	char path[160];
	int fd = open(in(r, name, path), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
	close(fd);
}

/* One who asks: what was told, and when. */
struct asker { struct rig *rig; struct reading *g; int told, nth; bool same; enum file_fault fault[2]; size_t n[2]; char first[2], why[96]; struct file_stamp stamp[2]; struct asker *forgets, *asks; const char *asks_for; };

static void told(void *user, const struct reading *g);

static void ask(struct asker *a, struct rig *r, const char *one, const char *two, const struct file_stamp *known)
{
	char x[160], y[160];
	struct reading_spec spec = {.paths = {in(r, one, x), two ? in(r, two, y) : NULL}, .most = MOST, .known = known, .told = told, .user = a};

	a->rig = r;
	a->g = reader_ask(r->r, &spec);
}

static void told(void *user, const struct reading *g)
{
	struct asker *a = user;

	a->g = NULL;
	a->told++;
	a->nth = ++a->rig->told;
	a->same = g->same;
	for (uint32_t i = 0; i < g->nfiles; i++) {
		const struct file_read *f = &g->files[i];
		a->fault[i] = f->fault;
		a->stamp[i] = f->stamp;
		a->n[i] = f->n;
		if (!g->same && f->fault == FILE_OK) {
			a->first[i] = f->p[0];
			ck_assert(memcmp(f->p, f->p + 1, f->n - 1) == 0); /* all are equal */
		}
		if (f->fault)
			file_why(f, a->why);
	}
	if (a->forgets)
		reading_forget(&a->forgets->g);
	if (a->asks)
		ask(a->asks, a->rig, a->asks_for, NULL, NULL);
}

static void settle(struct rig *r)
{
	if (r->n)
		simnet_advance(r->n, 0);
	else
		for (int i = 0; i < 2000 && reader_pending(r->r); i++)
			loop_turn(r->l, (int64_t)(5 * ms));
	ck_assert_uint_eq(reader_pending(r->r), 0);
}

static void until_told(const struct asker *a)
{
	for (int i = 0; i < 2000 && !a->told; i++)
		loop_turn(a->rig->l, (int64_t)(5 * ms));
	ck_assert_int_eq(a->told, 1);
}

START_TEST(files_of_any_size_are_read_whole_and_together)
{
	static const size_t sizes[] = {1, 8191, 8192, 8193, 100000, MOST};
	static char text[MOST + 1];
	struct rig r;

	rig_new(&r, false);
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		struct asker a = {0}, again = {0};
		memset(text, (int)('a' + i), sizes[i]);
		put(&r, "one", text, sizes[i]);
		put(&r, "two", "zz", 2);
		ask(&a, &r, "one", "two", NULL);
		ck_assert_int_eq(a.told, 0); /* never at once */
		settle(&r);
		ck_assert_int_eq(a.told, 1);
		ck_assert_uint_eq(a.n[0], sizes[i]);
		ck_assert_int_eq(a.first[0], (int)('a' + i));
		ck_assert_uint_eq(a.n[1], 2);
		ck_assert_int_eq(a.first[1], 'z');
		ck_assert_uint_eq(r.l->memory.used, 0);
		ask(&again, &r, "one", "two", a.stamp);
		settle(&r);
		ck_assert(again.same && again.told == 1);
		put(&r, "two", "yyy", 3);
		again.told = 0;
		ask(&again, &r, "one", "two", a.stamp);
		settle(&r);
		ck_assert(!again.same && again.told == 1);
		ck_assert_int_eq(again.first[1], 'y');
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_cannot_be_read_says_why)
{
	static char text[MOST + 1];
	static const struct { const char *name; enum file_fault fault; const char *why; } rows[] = {{"none", FILE_ERRNO, "cannot be read: No such file"}, {".", FILE_FOLDER, "is a folder"},
		{"fifo", FILE_ODD, "is not a file"}, {"empty", FILE_EMPTY, "is empty"}, {"large", FILE_LARGE, "is too large"}, {"small/none", FILE_ERRNO, "cannot be read: Not a directory"}};
	struct rig r;
	char path[160];

	rig_new(&r, false);
	put(&r, "empty", "", 0);
	put(&r, "small", "aa", 2);
	put(&r, "large", text, MOST + 1);
	ck_assert_int_eq(mknod(in(&r, "fifo", path), S_IFIFO | 0600, 0), 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct asker a = {0};
		ask(&a, &r, rows[i].name, "small", NULL);
		settle(&r);
		ck_assert_int_eq(a.fault[0], rows[i].fault);
		ck_assert_int_eq(a.fault[1], FILE_OK);
		ck_assert_msg(strstr(a.why, rows[i].why) == a.why, "%s: %s", rows[i].name, a.why);
	}
	struct asker poor = {0}; /* at the memory limit */
	r.l->memory.limit = r.l->memory.taken = r.l->memory.used;
	ask(&poor, &r, "small", NULL, NULL);
	settle(&r);
	ck_assert_int_eq(poor.fault[0], FILE_NO_MEMORY);
	r.l->memory.limit = SIZE_MAX;
	rig_end(&r);
}
END_TEST

START_TEST(who_is_told_may_ask_and_forget)
{
	struct rig r;

	rig_new(&r, false);
	put(&r, "a", "a", 1);
	struct asker a = {0}, b = {0}, c = {0};
	a.forgets = &b;
	a.asks = &c;
	a.asks_for = "a";
	ask(&a, &r, "a", NULL, NULL);
	ask(&b, &r, "a", NULL, NULL);
	settle(&r);
	ck_assert(a.told == 1 && b.told == 0 && c.told == 1);
	ck_assert_ptr_null(b.g);
	ask(&b, &r, "a", NULL, NULL);
	ask(&c, &r, "a", NULL, NULL);
	reading_forget(&b.g); /* under way */
	reading_forget(&c.g); /* queued */
	settle(&r);
	ck_assert(b.told == 0 && c.told == 1);
	ask(&b, &r, "a", NULL, NULL);
	rig_end(&r); /* nobody is told at the end */
	ck_assert_int_eq(b.told, 0);
}
END_TEST

/* ---- who hangs ------------------------------------------------------------------------------------------------------------------------------ */

/* A mount that does not answer: what is to be read in this lane waits until it is let go. */
struct hang { struct offload_job job; sem_t go; bool over; };

static void hang_work(struct offload_job *j)
{
	while (sem_wait(&((struct hang *)j)->go) < 0)
		;
}

static void hang_over(struct offload_job *j)
{
	((struct hang *)j)->over = true;
}

static void hang_begin(struct hang *h, struct rig *r, uint32_t lane)
{
	*h = (struct hang){.job = {.work = hang_work, .done = hang_over}};
	sem_init(&h->go, 0, 0);
	offload_run(reader_lane(r->r, lane), &h->job);
}

static void hang_end(struct hang *h, struct rig *r)
{
	sem_post(&h->go);
	for (int i = 0; i < 2000 && !h->over; i++)
		loop_turn(r->l, (int64_t)(5 * ms));
	ck_assert(h->over);
}

static void folders(struct rig *r, int n)
{
	for (int i = 0; i < n; i++) {
		char name[16], path[160];
		snprintf(name, sizeof(name), "%d", i);
		ck_assert_int_eq(mkdir(in(r, name, path), 0700), 0);
		snprintf(name, sizeof(name), "%d/f", i);
		put(r, name, "f", 1);
		snprintf(name, sizeof(name), "%d/g", i);
		put(r, name, "g", 1);
	}
}

START_TEST(a_folder_that_hangs_holds_its_own_files_in_their_order_and_nobody_else)
{
	struct rig r;
	struct hang h;
	struct asker a = {0}, b = {0}, c = {0}, d = {0};

	rig_new(&r, true);
	reader_set_patience(r.r, 2 * ms, hour);
	folders(&r, 3);
	hang_begin(&h, &r, 0);
	ask(&a, &r, "0/f", NULL, NULL);
	ask(&b, &r, "0/g", NULL, NULL); /* beside it */
	ask(&c, &r, "1/f", "2/f", NULL);
	ask(&d, &r, "2/f", "0/f", NULL); /* of two folders, one hangs */
	until_told(&c);
	ck_assert_int_eq(c.first[1], 'f');
	ck_assert(a.told == 0 && b.told == 0 && d.told == 0);
	ck_assert_uint_eq(reader_pending(r.r), 3);
	hang_end(&h, &r);
	settle(&r);
	ck_assert_int_eq(a.nth, 2);
	ck_assert_int_eq(b.nth, 3);
	ck_assert_int_eq(d.nth, 4);
	rig_end(&r);
}
END_TEST

START_TEST(a_lane_that_moves_is_enough_for_all)
{
	struct rig r;
	struct asker a[12] = {0};
	char name[16];

	rig_new(&r, true);
	reader_set_patience(r.r, hour, 2 * hour);
	folders(&r, 3);
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "%d/f", i % 3);
		ask(&a[i], &r, name, NULL, NULL);
	}
	settle(&r);
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(a[i].nth, i + 1);
	struct hang h; /* the second lane is made only now */
	hang_begin(&h, &r, 1);
	hang_end(&h, &r);
	rig_end(&r);
}
END_TEST

START_TEST(who_waits_for_what_hangs_is_told_in_time_and_what_comes_then_is_nobodys)
{
	struct rig r;
	struct hang h[READER_LANES];
	struct asker a[READER_LANES + 2] = {0}, after = {0};
	char name[16];

	rig_new(&r, true);
	reader_set_patience(r.r, ms, 30 * ms);
	folders(&r, READER_LANES + 1);
	for (uint32_t i = 0; i < READER_LANES; i++)
		hang_begin(&h[i], &r, i);
	ck_assert_ptr_null(reader_lane(r.r, READER_LANES));
	for (int i = 0; i < READER_LANES + 1; i++) {
		snprintf(name, sizeof(name), "%d/f", i);
		ask(&a[i], &r, name, NULL, NULL);
	}
	ask(&a[READER_LANES + 1], &r, "0/f", NULL, NULL);
	for (int i = 0; i < READER_LANES + 2; i++) {
		until_told(&a[i]);
		ck_assert_int_eq(a[i].fault[0], FILE_LATE);
		ck_assert_ptr_nonnull(strstr(a[i].why, "does not answer"));
	}
	reader_set_patience(r.r, ms, hour);
	ask(&after, &r, "0/f", NULL, NULL);
	for (int i = 0; i < 5; i++)
		loop_turn(r.l, 0);
	ck_assert_int_eq(after.told, 0);
	for (uint32_t i = 0; i < READER_LANES; i++)
		hang_end(&h[i], &r);
	settle(&r);
	ck_assert_int_eq(after.told, 1);
	ck_assert_int_eq(after.first[0], 'f');
	for (int i = 0; i < READER_LANES + 2; i++)
		ck_assert_int_eq(a[i].told, 1);
	rig_end(&r);
}
END_TEST

START_TEST(the_end_does_not_wait_for_a_lane_that_hangs)
{
	static struct hang h; /* stays behind: its thread ends with the process */
	struct rig r;
	struct asker a = {0}, b = {0};

	rig_new(&r, true);
	reader_set_patience(r.r, ms, hour);
	folders(&r, 2);
	hang_begin(&h, &r, 0);
	ask(&a, &r, "0/f", NULL, NULL);
	ask(&b, &r, "0/g", NULL, NULL);
	reader_free(&r.r);
	ck_assert(a.told == 0 && b.told == 0);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0);
	remove_all(r.dir);
}
END_TEST

UNIT_SUITE("reader", files_of_any_size_are_read_whole_and_together, what_cannot_be_read_says_why, who_is_told_may_ask_and_forget,
	a_folder_that_hangs_holds_its_own_files_in_their_order_and_nobody_else, a_lane_that_moves_is_enough_for_all,
	who_waits_for_what_hangs_is_told_in_time_and_what_comes_then_is_nobodys, the_end_does_not_wait_for_a_lane_that_hangs)
