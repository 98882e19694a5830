/* xds/archive: what the control plane said is kept out of the heap, found again by name, and after a restart; never at the price of a wrong byte. */
#include "tests/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/sim/simnet.h"
#include "xds/archive.h"

enum { CDS = 2, EDS = 3 };

/* ---- a bench: a loop, an account, a folder, and what the archive said ------------------------------------------------------------ */

struct bench {
	struct simnet *net;      /* NULL: the loop is real */
	struct loop *loop;
	struct log *log;
	struct offload *offload;
	struct account account;
	struct archive *a;
	char dir[64];
	char said[8192];
	uint64_t max_bytes, key_mask;
	const char *identity;
};

static void hear(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct bench *b = ctx;
	size_t have = strlen(b->said);

	(void)level;
	if (have + n < sizeof(b->said)) {
		memcpy(b->said + have, line, n);
		b->said[have + n] = '\0';
	}
}

static void bench_begin(struct bench *b, bool real)
{
	*b = (struct bench){.identity = "istiod:15010 me"};
	snprintf(b->dir, sizeof(b->dir), "/tmp/thinmesh-archive-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(b->dir));
	b->net = real ? NULL : simnet_new(7);
	b->log = log_new(LOG_INFO, 0);
	log_set_sink(b->log, hear, b);
	b->loop = real ? loop_new_real(b->log) : simnet_loop(b->net);
	b->offload = offload_new(b->loop);
	account_init(&b->account, NULL, "archive", SIZE_MAX);
}

static struct archive *opened(struct bench *b, bool files)
{
	struct archive_spec spec = {.loop = b->loop, .log = b->log, .offload = b->offload, .dir = files ? b->dir : NULL, .view = "shop",
		.identity = str_of(b->identity), .account = &b->account, .max_bytes = b->max_bytes, .files_in_simulation = true, .key_mask = b->key_mask};

	return archive_open(&spec);
}

static void settle(struct bench *b)
{
	if (b->net)
		simnet_advance(b->net, 200000000);
	else
		ck_assert(offload_drain(b->offload, 60000000000));
}

/* The daemon ends and starts again. */
static void restart(struct bench *b)
{
	archive_free(&b->a);
	ck_assert_uint_eq(b->account.used, 0);
	b->a = opened(b, true);
}

static void bench_end(struct bench *b)
{
	DIR *d = opendir(b->dir);
	struct dirent *e;

	archive_free(&b->a);
	offload_free(&b->offload);
	ck_assert_uint_eq(b->account.used, 0);
	account_end(&b->account);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(b->dir);
	if (b->net)
		simnet_free(&b->net);
	else
		loop_free(&b->loop);
	log_free(&b->log);
}

static const char *path_of(const struct bench *b)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/shop.snapshot", b->dir);
	return path;
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

static struct archive_info info_of(const struct bench *b)
{
	struct archive_info i;

	archive_info(b->a, &i);
	return i;
}

/* ---- records that can be told apart --------------------------------------------------------------------------------------------- */

static struct str name_nth(char buf[80], int nth)
{
	return str_n(buf, (size_t)snprintf(buf, 80, "outbound|50051||service-%d.default.svc.cluster.local", nth));
}

/* A body as a cluster's: mostly the same words, some of its own. */
static size_t body_nth(char *out, size_t cap, int nth, int version)
{
	size_t n = 0;

	for (int i = 0; n + 120 < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "cluster service-%d.default version %d line %d: type.googleapis.com/envoy.config.cluster; ", nth, version, i);
	return n;
}

enum { BODY = 1250 };
static int put_nth(struct archive *a, int kind, int nth, int version)
{
	char name[80], body[BODY];
	size_t n = body_nth(body, sizeof(body), nth, version);

	return archive_put(a, kind, name_nth(name, nth), (uint64_t)version << 32 | (uint32_t)nth, body, n);
}

static bool is_nth(struct archive *a, int kind, int nth, int version)
{
	char name[80], body[BODY];
	size_t n = body_nth(body, sizeof(body), nth, version), got_n, has_n = 0;
	uint64_t hash = 0;
	void *got;
	bool same;

	if (!archive_has(a, kind, name_nth(name, nth), &hash, &has_n) || archive_get(a, kind, name_nth(name, nth), &got, &got_n) < 0)
		return false;
	same = got_n == n && has_n == n && memcmp(got, body, n) == 0 && hash == ((uint64_t)version << 32 | (uint32_t)nth);
	archive_got(a, got, got_n);
	return same;
}

static bool has_nth(struct archive *a, int kind, int nth)
{
	char name[80];

	return archive_has(a, kind, name_nth(name, nth), NULL, NULL);
}

/* ---- what is promised in both places ------------------------------------------------------------------------------------------------ */

/* A small model beside it: versions by number, 0: not there. */
static void live_a_life(struct bench *b, uint64_t seed, bool restarts)
{
	enum { NAMES = 60, STEPS = 3000 };
	int model[NAMES] = {0}, version = 0;
	uint64_t x = seed;

	for (int step = 0; step < STEPS; step++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		int nth = (int)((x >> 33) % NAMES), what = (int)((x >> 50) % 100);
		char name[80];

		if (what < 60) {
			ck_assert_int_eq(put_nth(b->a, CDS, nth, ++version), 0);
			model[nth] = version;
		} else if (what < 80) {
			archive_del(b->a, CDS, name_nth(name, nth));
			model[nth] = 0;
		} else if (what < 82 && restarts) {
			restart(b);
		} else if (what < 84) {
			settle(b);
		} else if (what < 86) {
			/* A whole state without a tenth of it. */
			archive_mark(b->a, CDS);
			for (int i = 0; i < NAMES; i++) {
				uint64_t hash = (uint64_t)model[i] << 32 | (uint32_t)i;
				if (model[i] && (i + step) % 10 == 0)
					model[i] = 0;
				else if (model[i])
					ck_assert(archive_keep(b->a, CDS, name_nth(name, i), hash));
			}
			archive_sweep(b->a, CDS, NULL, NULL);
		} else {
			ck_assert_msg(model[nth] ? is_nth(b->a, CDS, nth, model[nth]) : !has_nth(b->a, CDS, nth), "step %d: %d", step, nth);
		}
	}
	for (int i = 0; i < NAMES; i++)
		ck_assert_msg(model[i] ? is_nth(b->a, CDS, i, model[i]) : !has_nth(b->a, CDS, i), "at the end: %d, version %d", i, model[i]);
}

START_TEST(what_was_put_is_what_one_gets_whatever_came_between)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct bench b;
		bench_begin(&b, false);
		b.a = opened(&b, seed & 1);
		live_a_life(&b, seed, seed & 1);
		if (seed & 1)
			ck_assert_uint_gt(info_of(&b).compactions + 1, 0);
		bench_end(&b);
	}
}
END_TEST

START_TEST(names_that_share_a_key_are_kept_apart)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;
		bench_begin(&b, false);
		b.key_mask = 3;
		b.a = opened(&b, files);
		live_a_life(&b, 99, files);
		bench_end(&b);
	}
}
END_TEST

START_TEST(kinds_empty_bodies_empty_names_and_bodies_of_megabytes_are_kept)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;
		char *big = xalloc(3000000);
		void *got;
		size_t n;

		bench_begin(&b, false);
		b.a = opened(&b, files);
		for (int i = 0; i < 3000000; i++)
			big[i] = (char)((uint64_t)i * (uint64_t)i >> 7);
		ck_assert_int_eq(archive_put(b.a, 1, STR(""), 5, "x", 1), 0);
		ck_assert_int_eq(archive_put(b.a, 2, STR(""), 6, NULL, 0), 0);
		ck_assert_int_eq(archive_put(b.a, 15, STR("big"), 7, big, 3000000), 0);
		ck_assert_int_eq(archive_put(b.a, 14, STR("edge"), 7, big, 65536), 0);
		for (int round = 0; round < 2; round++) {
			ck_assert_int_eq(archive_get(b.a, 1, STR(""), &got, &n), 0);
			ck_assert_uint_eq(n, 1);
			archive_got(b.a, got, n);
			ck_assert_int_eq(archive_get(b.a, 2, STR(""), &got, &n), 0);
			ck_assert_uint_eq(n, 0);
			archive_got(b.a, got, n);
			ck_assert_int_eq(archive_get(b.a, 15, STR("big"), &got, &n), 0);
			ck_assert_uint_eq(n, 3000000);
			ck_assert_int_eq(memcmp(got, big, n), 0);
			archive_got(b.a, got, n);
			ck_assert_int_eq(archive_get(b.a, 14, STR("edge"), &got, &n), 0);
			ck_assert_int_eq(memcmp(got, big, 65536), 0);
			archive_got(b.a, got, n);
			ck_assert_int_eq(archive_get(b.a, 3, STR("big"), &got, &n), -ENOENT);
			settle(&b);
			if (files)
				restart(&b);
		}
		ck_assert_uint_eq(info_of(&b).records, 4);
		/* Nothing at all, where the file ends. */
		ck_assert_int_eq(archive_put(b.a, 7, STR(""), 8, NULL, 0), 0);
		settle(&b);
		ck_assert_int_eq(archive_get(b.a, 7, STR(""), &got, &n), 0);
		archive_got(b.a, got, n);
		bench_end(&b);
		free(big);
	}
}
END_TEST

static bool count_names(void *ctx, struct str name, uint64_t hash, size_t n)
{
	int *left = ctx;

	ck_assert(str_starts(name, STR("outbound|50051||service-")));
	ck_assert_uint_gt(hash, 0);
	ck_assert_uint_gt(n, 1000);
	return --*left > 0;
}

START_TEST(names_of_a_kind_are_told_until_enough_is_enough)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;
		int left = 1000;

		bench_begin(&b, false);
		b.a = opened(&b, files);
		for (int i = 0; i < 100; i++) {
			put_nth(b.a, CDS, i, 1);
			put_nth(b.a, EDS, i, 1);
		}
		archive_each(b.a, CDS, count_names, &left);
		ck_assert_int_eq(left, 900);
		settle(&b);
		left = 7;
		archive_each(b.a, CDS, count_names, &left);
		ck_assert_int_eq(left, 0);
		bench_end(&b);
	}
}
END_TEST

static void sum_gone(void *ctx, uint64_t hash)
{
	*(uint64_t *)ctx ^= hash;
}

START_TEST(a_whole_state_sweeps_what_was_not_in_it_and_only_of_its_kind)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;
		char name[80];
		uint64_t gone = 0, expected = 0;

		bench_begin(&b, false);
		b.a = opened(&b, files);
		for (int i = 0; i < 10; i++) {
			put_nth(b.a, CDS, i, 1);
			put_nth(b.a, EDS, i, 1);
		}
		if (files) {
			settle(&b);
			restart(&b);
		}
		archive_mark(b.a, CDS);
		for (int i = 0; i < 4; i++)
			ck_assert(archive_keep(b.a, CDS, name_nth(name, i), UINT64_C(1) << 32 | (uint32_t)i));
		ck_assert(!archive_keep(b.a, CDS, name_nth(name, 4), 12345)); /* another content: it must be put */
		put_nth(b.a, CDS, 4, 2);
		put_nth(b.a, CDS, 5, 1); /* equal, counts as put */
		for (int i = 6; i < 10; i++)
			expected ^= str_hash(name_nth(name, i));
		ck_assert_uint_eq(archive_sweep(b.a, CDS, sum_gone, &gone), 4);
		ck_assert_uint_eq(gone, expected);
		if (files)
			restart(&b);
		for (int i = 0; i < 10; i++) {
			ck_assert_int_eq(has_nth(b.a, CDS, i), i < 6);
			ck_assert(has_nth(b.a, EDS, i));
		}
		ck_assert(is_nth(b.a, CDS, 4, 2));
		bench_end(&b);
	}
}
END_TEST

START_TEST(an_equal_hash_writes_nothing)
{
	struct bench b;
	uint64_t bytes;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	put_nth(b.a, CDS, 1, 1);
	bytes = info_of(&b).bytes;
	put_nth(b.a, CDS, 1, 1);
	ck_assert_uint_eq(info_of(&b).bytes, bytes);
	ck_assert_uint_eq(info_of(&b).dead, 0);
	bench_end(&b);
}
END_TEST

/* ---- how much memory ----------------------------------------------------------------------------------------------------------------- */

START_TEST(two_thousand_clusters_cost_less_than_a_mebibyte_without_a_file_and_their_index_with_one)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;

		bench_begin(&b, false);
		b.a = opened(&b, files);
		b.account.peak = 0;
		for (int i = 0; i < 2000; i++) {
			ck_assert_int_eq(put_nth(b.a, CDS, i, 1), 0);
			if (i % 50 == 49)
				simnet_advance(b.net, files ? 60000000 : 0); /* as they come from the wire */
		}
		settle(&b);
		ck_assert_msg(b.account.peak < 1 << 20, "peak %zu", b.account.peak);
		ck_assert_msg(b.account.used < (files ? 120u << 10 : 500u << 10), "used %zu", b.account.used);
		ck_assert_uint_le(info_of(&b).memory, b.account.used);
		ck_assert_uint_ge(info_of(&b).memory + 40 * 128, b.account.used); /* but for the headers of allocations */
		for (int i = 0; i < 2000; i += 37)
			ck_assert(is_nth(b.a, CDS, i, 1));
		bench_end(&b);
	}
}
END_TEST

START_TEST(who_may_have_no_memory_is_told_and_keeps_nothing_stale)
{
	for (int files = 0; files < 2; files++) {
		struct bench b;
		char *big = xalloc(1 << 20), name[80];
		int kept = 0;

		bench_begin(&b, false);
		b.a = opened(&b, files);
		ck_assert_int_eq(put_nth(b.a, CDS, 0, 1), 0);
		settle(&b);
		b.account.limit = b.account.used + 8192;
		ck_assert_int_eq(archive_put(b.a, CDS, name_nth(name, 0), 77, big, 1 << 20), -ENOMEM);
		ck_assert(!has_nth(b.a, CDS, 0));
		for (int i = 0; i < 500; i++)
			kept += archive_put(b.a, EDS, name_nth(name, i), 1, big + i, 100) == 0;
		ck_assert_int_lt(kept, 500);
		ck_assert_uint_eq(info_of(&b).refused, 501 - (unsigned)kept);
		b.account.limit = SIZE_MAX;
		settle(&b);
		ck_assert_int_eq(put_nth(b.a, CDS, 0, 2), 0);
		ck_assert(is_nth(b.a, CDS, 0, 2));
		if (files) {
			restart(&b);
			ck_assert(is_nth(b.a, CDS, 0, 2));
		}
		bench_end(&b);
		free(big);
	}
}
END_TEST

START_TEST(memory_of_what_is_gone_comes_back)
{
	struct bench b;
	size_t before;
	char name[80];

	bench_begin(&b, false);
	b.a = opened(&b, false);
	for (int i = 0; i < 2000; i++)
		put_nth(b.a, CDS, i, 1);
	settle(&b);
	before = b.account.used;
	/* One in ten stays, so that no block is without a living one. */
	for (int i = 0; i < 2000; i++)
		if (i % 10)
			archive_del(b.a, CDS, name_nth(name, i));
	settle(&b);
	for (int i = 0; i < 2000; i += 10)
		ck_assert(is_nth(b.a, CDS, i, 1));
	ck_assert_uint_lt(info_of(&b).dead, 300000);
	ck_assert_uint_lt(b.account.used, before * 6 / 10); /* the index keeps its size */
	for (int i = 0; i < 2000; i += 10)
		archive_del(b.a, CDS, name_nth(name, i));
	ck_assert_uint_eq(info_of(&b).bytes, 0);
	ck_assert_uint_eq(info_of(&b).records, 0);
	bench_end(&b);
}
END_TEST

/* ---- the file -------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_record_is_read_while_it_is_on_its_way_and_after)
{
	struct bench b;

	bench_begin(&b, true);
	b.a = opened(&b, true);
	for (int i = 0; i < 300; i++)
		put_nth(b.a, CDS, i, 1);
	for (int i = 0; i < 300; i += 7)
		ck_assert(is_nth(b.a, CDS, i, 1));
	archive_flush(b.a);
	for (int i = 0; i < 300; i += 7)
		ck_assert(is_nth(b.a, CDS, i, 1));
	ck_assert_uint_gt(offload_pending(b.offload), 0);
	settle(&b);
	ck_assert_int_eq(size_of(path_of(&b)), (off_t)info_of(&b).bytes);
	ck_assert_uint_gt(info_of(&b).written_ns, 0);
	for (int i = 0; i < 300; i += 7)
		ck_assert(is_nth(b.a, CDS, i, 1));
	/* And what waits at the end is written. */
	put_nth(b.a, CDS, 3, 2);
	restart(&b);
	ck_assert_str_eq(info_of(&b).state, "loaded");
	ck_assert_uint_eq(info_of(&b).records, 300);
	ck_assert(is_nth(b.a, CDS, 3, 2));
	ck_assert_str_eq(b.said, "");
	bench_end(&b);
}
END_TEST

START_TEST(file_and_folder_are_for_the_daemon_alone)
{
	struct bench b;
	struct stat st;
	char *inner, *outer;

	bench_begin(&b, false);
	inner = xasprintf("%s/state", b.dir);
	outer = xasprintf("%s/no/such/state", b.dir);
	struct archive_spec spec = {.loop = b.loop, .log = b.log, .offload = b.offload, .dir = inner, .view = "unix:/run/a b", .identity = STR("x"),
		.account = &b.account, .files_in_simulation = true};
	b.a = archive_open(&spec);
	ck_assert(info_of(&b).on_disk);
	ck_assert_int_eq(stat(inner, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	DIR *d = opendir(inner);
	struct dirent *e;
	int files = 0;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		files++;
		ck_assert(str_starts(str_of(e->d_name), STR("unix__run_a_b-")));
		ck_assert_int_eq(fstatat(dirfd(d), e->d_name, &st, 0), 0);
		ck_assert_int_eq(st.st_mode & 07777, 0600);
		unlinkat(dirfd(d), e->d_name, 0);
	}
	ck_assert_int_eq(files, 1);
	closedir(d);
	rmdir(inner);
	archive_free(&b.a);
	spec.dir = outer;
	b.a = archive_open(&spec);
	ck_assert(!info_of(&b).on_disk);
	ck_assert_str_eq(info_of(&b).state, "off: No such file or directory");
	ck_assert_ptr_nonnull(strstr(b.said, "No such file or directory: going on without, in memory only"));
	ck_assert_int_eq(put_nth(b.a, CDS, 1, 1), 0);
	ck_assert(is_nth(b.a, CDS, 1, 1));
	bench_end(&b);
	free(inner);
	free(outer);
}
END_TEST

START_TEST(a_simulated_loop_has_no_files_unless_a_test_says_so)
{
	struct bench b;

	bench_begin(&b, false);
	struct archive_spec spec = {.loop = b.loop, .log = b.log, .offload = b.offload, .dir = b.dir, .view = "shop", .account = &b.account};
	b.a = archive_open(&spec);
	ck_assert(!info_of(&b).on_disk);
	ck_assert_str_eq(info_of(&b).state, "off");
	put_nth(b.a, CDS, 1, 1);
	settle(&b);
	ck_assert_int_eq(size_of(path_of(&b)), -1);
	ck_assert_str_eq(b.said, "");
	bench_end(&b);
}
END_TEST

START_TEST(of_two_daemons_on_one_file_the_second_goes_without)
{
	struct bench b, c;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	put_nth(b.a, CDS, 1, 1);
	settle(&b);
	bench_begin(&c, false);
	rmdir(c.dir);
	memcpy(c.dir, b.dir, sizeof(c.dir));
	c.a = opened(&c, true);
	ck_assert(!info_of(&c).on_disk);
	ck_assert_str_eq(info_of(&c).state, "off: another daemon holds it");
	ck_assert_ptr_nonnull(strstr(c.said, "another daemon holds it: going on without"));
	put_nth(c.a, CDS, 2, 1);
	ck_assert(is_nth(c.a, CDS, 2, 1));
	settle(&c);
	restart(&b);
	ck_assert(is_nth(b.a, CDS, 1, 1));
	ck_assert(!has_nth(b.a, CDS, 2));
	memcpy(c.dir, "/nowhere", 9);
	bench_end(&c);
	bench_end(&b);
}
END_TEST

START_TEST(a_link_or_a_pipe_of_that_name_is_not_followed)
{
	struct bench b;

	bench_begin(&b, false);
	ck_assert_int_eq(symlink("/dev/null", path_of(&b)), 0);
	b.a = opened(&b, true);
	ck_assert(!info_of(&b).on_disk);
	archive_free(&b.a);
	unlink(path_of(&b));
	ck_assert_int_eq(mkfifo(path_of(&b), 0600), 0);
	b.a = opened(&b, true);
	ck_assert_str_eq(info_of(&b).state, "off: no ordinary file");
	bench_end(&b);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------------------------------------------------- */

static char *slurp(const char *path, size_t *ret_n)
{
	off_t n = size_of(path);
	char *p = xalloc((size_t)n + 1);
	FILE *f = fopen(path, "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fread(p, 1, (size_t)n, f), (size_t)n);
	fclose(f);
	*ret_n = (size_t)n;
	return p;
}

static void spill(const char *path, const char *p, size_t n)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	fclose(f);
}

START_TEST(a_file_that_was_cut_anywhere_in_its_last_record_keeps_the_others)
{
	struct bench b;
	size_t n;
	char *whole;
	off_t two;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	put_nth(b.a, CDS, 0, 1);
	put_nth(b.a, CDS, 1, 1);
	settle(&b);
	two = size_of(path_of(&b));
	put_nth(b.a, CDS, 2, 1);
	archive_free(&b.a);
	whole = slurp(path_of(&b), &n);
	for (size_t cut = (size_t)two; cut < n; cut++) {
		spill(path_of(&b), whole, cut);
		b.said[0] = '\0';
		b.a = opened(&b, true);
		ck_assert_uint_eq(info_of(&b).records, 2);
		ck_assert(is_nth(b.a, CDS, 1, 1));
		ck_assert(!has_nth(b.a, CDS, 2));
		ck_assert_int_eq(strstr(b.said, "damaged or cut at byte") != NULL, cut > (size_t)two);
		/* What comes next stands where the torn one stood. */
		put_nth(b.a, CDS, 2, 3);
		restart(&b);
		ck_assert_str_eq(info_of(&b).state, "loaded");
		ck_assert_uint_eq(info_of(&b).records, 3);
		ck_assert(is_nth(b.a, CDS, 2, 3));
		archive_free(&b.a);
	}
	free(whole);
	bench_end(&b);
}
END_TEST

START_TEST(a_flipped_bit_never_comes_back_as_an_answer)
{
	struct bench b;
	size_t n;
	char *whole;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	for (int i = 0; i < 3; i++)
		put_nth(b.a, CDS, i, 1);
	archive_free(&b.a);
	whole = slurp(path_of(&b), &n);
	for (size_t at = 0; at < n; at++) {
		whole[at] ^= (char)(1 << at % 8);
		spill(path_of(&b), whole, n);
		b.a = opened(&b, true);
		ck_assert_uint_lt(info_of(&b).records, 3);
		/* The header: all is refused. A record: it and what follows. */
		if (at < 32)
			ck_assert_msg(strncmp(info_of(&b).state, "refused: ", 9) == 0 && info_of(&b).records == 0, "byte %zu: %s", at, info_of(&b).state);
		for (int i = 0; i < (int)info_of(&b).records; i++)
			ck_assert(is_nth(b.a, CDS, i, 1));
		archive_free(&b.a);
		whole[at] ^= (char)(1 << at % 8);
	}
	free(whole);
	bench_end(&b);
}
END_TEST

/* Inline in a cluster: found again while we run, by nobody in the file, and not by the next start, which does not have the older one either. */
START_TEST(a_private_key_is_never_in_the_file)
{
	static const char *const keys[] = {
		"..-----BEGIN PRIVATE KEY-----\nMHcCAQEEIBsomething\n-----END PRIVATE KEY-----\n..",
		"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBsomething\n-----END EC PRIVATE KEY-----",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHcCAQEEIBsomething\n",
	};
	struct str plain = STR("just a cluster"), names[3] = {STR("one"), STR("two"), STR("three")};
	struct bench b;
	size_t n, got_n;
	void *got;

	bench_begin(&b, true);
	b.a = opened(&b, true);
	ck_assert_int_eq(archive_put(b.a, CDS, names[0], 1, plain.p, plain.n), 0); /* it gets its key later */
	ck_assert_int_eq(archive_put(b.a, CDS, STR("other"), 1, plain.p, plain.n), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(archive_put(b.a, CDS, names[i], 10 + (uint64_t)i, keys[i], strlen(keys[i])), 0);
	archive_flush(b.a);
	settle(&b);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(archive_get(b.a, CDS, names[i], &got, &got_n), 0);
		ck_assert(str_eq(str_n(got, got_n), str_of(keys[i])));
		archive_got(b.a, got, got_n);
		ck_assert(archive_keep(b.a, CDS, names[i], 10 + (uint64_t)i));
	}
	ck_assert_ptr_nonnull(strstr(b.said, "'one' has a private key in it"));
	ck_assert_ptr_null(strstr(b.said, "'two'")); /* said once */
	/* Back: without a key it is as others are. */
	ck_assert_int_eq(archive_put(b.a, CDS, names[2], 20, plain.p, plain.n), 0);
	ck_assert(info_of(&b).on_disk);
	restart(&b);
	char *bytes = slurp(path_of(&b), &n);
	ck_assert_uint_gt(n, plain.n);
	ck_assert_ptr_nonnull(memmem(bytes, n, plain.p, plain.n));
	ck_assert_ptr_null(memmem(bytes, n, "PRIVATE", 7));
	ck_assert_ptr_null(memmem(bytes, n, "MHcCAQEE", 8));
	free(bytes);
	ck_assert(!archive_has(b.a, CDS, names[0], NULL, NULL));
	ck_assert(!archive_has(b.a, CDS, names[1], NULL, NULL));
	ck_assert(archive_has(b.a, CDS, names[2], NULL, NULL));
	ck_assert(archive_has(b.a, CDS, STR("other"), NULL, NULL));
	bench_end(&b);
}
END_TEST

START_TEST(a_foreign_or_old_file_is_refused_whole_and_begun_anew)
{
	static const struct {
		int at;
		const char *bytes, *said;
	} rows[] = {{0, "ELF", "no snapshot"}, {8, "\x63", "of another version"}, {24, "\x01\x02\x03", "damaged"}};
	struct bench b;
	size_t n;
	char *whole;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	put_nth(b.a, CDS, 1, 1);
	archive_free(&b.a);
	whole = slurp(path_of(&b), &n);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char was[8];
		memcpy(was, whole + rows[i].at, strlen(rows[i].bytes));
		memcpy(whole + rows[i].at, rows[i].bytes, strlen(rows[i].bytes));
		spill(path_of(&b), whole, n);
		memcpy(whole + rows[i].at, was, strlen(rows[i].bytes));
		b.said[0] = '\0';
		b.a = opened(&b, true);
		ck_assert_msg(strstr(b.said, rows[i].said) != NULL, "%s", b.said);
		ck_assert(info_of(&b).on_disk);
		ck_assert_uint_eq(info_of(&b).records, 0);
		put_nth(b.a, CDS, 2, 1);
		restart(&b);
		ck_assert_str_eq(info_of(&b).state, "loaded");
		ck_assert(is_nth(b.a, CDS, 2, 1));
		archive_free(&b.a);
	}
	spill(path_of(&b), whole, n);
	b.identity = "istiod:15010 somebody else";
	b.a = opened(&b, true);
	ck_assert_str_eq(info_of(&b).state, "refused: of another control plane or node");
	ck_assert(!has_nth(b.a, CDS, 1));
	free(whole);
	bench_end(&b);
}
END_TEST

START_TEST(a_record_that_is_damaged_while_we_run_is_dropped)
{
	struct bench b;
	char name[80];
	void *got;
	size_t n;
	int fd;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	put_nth(b.a, CDS, 0, 1);
	put_nth(b.a, CDS, 1, 1);
	settle(&b);
	fd = open(path_of(&b), O_RDWR);
	ck_assert_int_eq(pwrite(fd, "XXXX", 4, 32 + 32 + 200), 4);
	close(fd);
	ck_assert_int_eq(archive_get(b.a, CDS, name_nth(name, 0), &got, &n), -EIO);
	ck_assert_int_eq(archive_get(b.a, CDS, name_nth(name, 0), &got, &n), -ENOENT);
	ck_assert_uint_eq(info_of(&b).damaged, 1);
	ck_assert_ptr_nonnull(strstr(b.said, "service-0.default.svc.cluster.local' is damaged: dropped"));
	ck_assert(is_nth(b.a, CDS, 1, 1));
	bench_end(&b);
}
END_TEST

/* ---- a full or broken disk ---------------------------------------------------------------------------------------------------------------- */

static void may_write(off_t n)
{
	struct rlimit l;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &l), 0);
	l.rlim_cur = n < 0 ? l.rlim_max : (rlim_t)n;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &l), 0);
}

START_TEST(when_the_disk_is_full_all_goes_on_in_memory_and_the_file_stays_an_older_truth)
{
	for (int real = 0; real < 2; real++) {
		struct bench b;
		char name[80], *told;

		bench_begin(&b, real);
		b.a = opened(&b, true);
		for (int i = 0; i < 100; i++)
			put_nth(b.a, CDS, i, 1);
		archive_flush(b.a);
		settle(&b);
		may_write(size_of(path_of(&b)) + 100000);
		/* Several pieces on their way when the first of them fails. */
		for (int i = 50; i < 400; i++)
			put_nth(b.a, CDS, i, 2);
		archive_del(b.a, CDS, name_nth(name, 0));
		archive_flush(b.a);
		settle(&b);
		may_write(-1);
		ck_assert(!info_of(&b).on_disk);
		ck_assert_str_eq(info_of(&b).state, "failed: File too large");
		told = strstr(b.said, "cannot be written: File too large; it stays as it was, from now on only memory is used");
		ck_assert_ptr_nonnull(told);
		ck_assert_ptr_null(strstr(told + 1, "cannot be written"));
		for (int i = 400; i < 500; i++)
			ck_assert_int_eq(put_nth(b.a, CDS, i, 2), 0);
		ck_assert(!has_nth(b.a, CDS, 0));
		for (int i = 1; i < 500; i++)
			ck_assert_msg(is_nth(b.a, CDS, i, i < 50 ? 1 : 2), "%d", i);
		archive_del(b.a, CDS, name_nth(name, 1));
		ck_assert(!has_nth(b.a, CDS, 1));
		/* The next start finds what was written whole before. */
		restart(&b);
		for (int i = 0; i < 100; i++)
			ck_assert(is_nth(b.a, CDS, i, 1) || is_nth(b.a, CDS, i, 2));
		ck_assert(!has_nth(b.a, CDS, 450));
		bench_end(&b);
	}
}
END_TEST

START_TEST(a_file_has_a_bound)
{
	struct bench b;
	int kept = 0;

	bench_begin(&b, false);
	b.max_bytes = 100000;
	b.a = opened(&b, true);
	for (int i = 0; i < 200; i++)
		kept += put_nth(b.a, CDS, i, 1) == 0;
	ck_assert_int_gt(kept, 70);
	ck_assert_int_lt(kept, 85);
	ck_assert_int_eq(put_nth(b.a, CDS, 199, 1), -ENOSPC);
	ck_assert_uint_eq(info_of(&b).refused, 201 - (unsigned)kept);
	settle(&b);
	ck_assert_int_le(size_of(path_of(&b)), 100000);
	/* A newer one that finds no room is no reason to go on with the older. */
	ck_assert(has_nth(b.a, CDS, 0));
	ck_assert_int_eq(put_nth(b.a, CDS, 0, 2), -ENOSPC);
	ck_assert(!has_nth(b.a, CDS, 0));
	restart(&b);
	ck_assert(!has_nth(b.a, CDS, 0));
	bench_end(&b);
}
END_TEST

/* ---- compaction ------------------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_file_of_mostly_dead_records_is_written_anew_while_all_goes_on)
{
	for (int real = 0; real < 2; real++) {
		struct bench b;
		ino_t before;
		struct stat st;
		char name[80];
		int version[200];

		bench_begin(&b, real);
		b.a = opened(&b, true);
		ck_assert_int_eq(stat(path_of(&b), &st), 0);
		before = st.st_ino;
		/* Until one begins: from then on everything happens to a running compaction. */
		for (int round = 1; round < 30; round++)
			for (int i = 0; i < 200; i++) {
				put_nth(b.a, CDS, i, round);
				version[i] = round;
			}
		for (int i = 0; i < 40; i++) {
			archive_del(b.a, CDS, name_nth(name, i));
			version[i] = 0;
		}
		for (int i = 30; i < 60; i++) {
			put_nth(b.a, CDS, i, 77);
			version[i] = 77;
		}
		for (int i = 0; i < 200; i++)
			ck_assert_msg(version[i] ? is_nth(b.a, CDS, i, version[i]) : !has_nth(b.a, CDS, i), "meanwhile: %d", i);
		settle(&b);
		archive_flush(b.a);
		settle(&b);
		ck_assert_uint_gt(info_of(&b).compactions, 0);
		ck_assert_int_eq(stat(path_of(&b), &st), 0);
		ck_assert(st.st_ino != before);
		ck_assert_int_eq(st.st_mode & 07777, 0600);
		for (int i = 0; i < 200; i++)
			ck_assert_msg(version[i] ? is_nth(b.a, CDS, i, version[i]) : !has_nth(b.a, CDS, i), "then: %d", i);
		ck_assert_uint_eq(info_of(&b).records, 170);
		restart(&b);
		ck_assert_str_eq(info_of(&b).state, "loaded");
		for (int i = 0; i < 200; i++)
			ck_assert_msg(version[i] ? is_nth(b.a, CDS, i, version[i]) : !has_nth(b.a, CDS, i), "after a restart: %d", i);
		ck_assert_str_eq(b.said, "");
		bench_end(&b);
	}
}
END_TEST

START_TEST(the_lock_goes_with_the_new_file)
{
	struct bench b, c;

	bench_begin(&b, false);
	b.a = opened(&b, true);
	for (int round = 1; round < 30; round++)
		for (int i = 0; i < 100; i++)
			put_nth(b.a, CDS, i, round);
	settle(&b);
	ck_assert_uint_gt(info_of(&b).compactions, 0);
	bench_begin(&c, false);
	rmdir(c.dir);
	memcpy(c.dir, b.dir, sizeof(c.dir));
	c.a = opened(&c, true);
	ck_assert_str_eq(info_of(&c).state, "off: another daemon holds it");
	memcpy(c.dir, "/nowhere", 9);
	bench_end(&c);
	bench_end(&b);
}
END_TEST

START_TEST(a_compaction_that_fails_leaves_the_old_file_in_its_place)
{
	struct bench b;
	char temp[160];

	bench_begin(&b, false);
	b.a = opened(&b, true);
	/* A folder stands where the new file would be written. */
	snprintf(temp, sizeof(temp), "%s.new", path_of(&b));
	ck_assert_int_eq(mkdir(temp, 0700), 0);
	for (int round = 1; round < 30; round++) {
		for (int i = 0; i < 100; i++)
			put_nth(b.a, CDS, i, round);
		settle(&b);
	}
	ck_assert_uint_eq(info_of(&b).compactions, 0);
	ck_assert(info_of(&b).on_disk);
	ck_assert_ptr_nonnull(strstr(b.said, "cannot be written anew: Is a directory; it goes on growing"));
	rmdir(temp);
	for (int i = 0; i < 100; i++)
		ck_assert(is_nth(b.a, CDS, i, 29));
	restart(&b);
	for (int i = 0; i < 100; i++)
		ck_assert(is_nth(b.a, CDS, i, 29));
	/* Tried again once it has grown by half. */
	for (int round = 30; round < 60; round++) {
		for (int i = 0; i < 100; i++)
			put_nth(b.a, CDS, i, round);
		settle(&b);
	}
	ck_assert_uint_gt(info_of(&b).compactions, 0);
	ck_assert(is_nth(b.a, CDS, 99, 59));
	bench_end(&b);
}
END_TEST

START_TEST(an_archive_that_ends_in_a_compaction_loses_nothing)
{
	for (int real = 0; real < 2; real++) {
		struct bench b;

		bench_begin(&b, real);
		b.a = opened(&b, true);
		for (int round = 1; round < 30; round++)
			for (int i = 0; i < 100; i++)
				put_nth(b.a, CDS, i, round);
		restart(&b);
		ck_assert_uint_eq(info_of(&b).records, 100);
		for (int i = 0; i < 100; i++)
			ck_assert(is_nth(b.a, CDS, i, 29));
		bench_end(&b);
	}
}
END_TEST

/* ---- hot upgrade: two processes, one file ---- */

static struct archive *successor(struct bench *b)
{
	struct archive_spec spec = {.loop = b->loop, .log = b->log, .offload = b->offload, .dir = b->dir, .view = "shop", .identity = str_of(b->identity), .account = &b->account,
		.files_in_simulation = true, .takeover = true};

	return archive_open(&spec);
}

static void lend(struct bench *b)
{
	for (int i = 0; i < 100 && !archive_lend(b->a); i++)
		settle(b);
	ck_assert(archive_lend(b->a));
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

START_TEST(a_successor_knows_all_that_was_lent_and_the_file_is_its_own_once_it_serves)
{
	struct bench b;

	bench_begin(&b, true);
	b.a = opened(&b, true);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(put_nth(b.a, CDS, i, 1), 0);
	ck_assert(!archive_lend(b.a)); /* it is on its way yet */
	lend(&b);
	ino_t first = inode_of(path_of(&b));
	struct archive *next = successor(&b);
	for (int i = 0; i < 50; i++)
		ck_assert(is_nth(next, CDS, i, 1));
	/* Each goes on by itself; the name is the old one's until the new one serves. */
	ck_assert_int_eq(put_nth(next, CDS, 100, 2), 0);
	ck_assert_int_eq(put_nth(b.a, CDS, 200, 3), 0);
	archive_flush(next);
	settle(&b);
	ck_assert_uint_eq(inode_of(path_of(&b)), first);
	archive_settle(next);
	ck_assert_uint_ne(inode_of(path_of(&b)), first);
	ck_assert(is_nth(b.a, CDS, 7, 1)); /* who drains still reads what it wrote */
	ck_assert(is_nth(b.a, CDS, 200, 3));
	archive_free(&b.a);
	b.a = next;
	restart(&b);
	ck_assert(is_nth(b.a, CDS, 100, 2));
	ck_assert(is_nth(b.a, CDS, 49, 1));
	ck_assert(!has_nth(b.a, CDS, 200));
	bench_end(&b);
}
END_TEST

START_TEST(a_successor_that_dies_before_it_serves_has_changed_nothing)
{
	struct bench b;
	char next_path[160];

	bench_begin(&b, true);
	b.a = opened(&b, true);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(put_nth(b.a, CDS, i, 1), 0);
	lend(&b);
	ino_t first = inode_of(path_of(&b));
	b.identity = "somebody else";  /* it would begin anew: in its copy */
	struct archive *next = successor(&b);
	ck_assert(!has_nth(next, CDS, 1));
	snprintf(next_path, sizeof(next_path), "%s.next", path_of(&b));
	ck_assert_int_ge(size_of(next_path), 0);
	archive_free(&next);
	ck_assert_int_eq(size_of(next_path), -1);
	b.identity = "istiod:15010 me";
	archive_retake(b.a);
	ck_assert_uint_eq(inode_of(path_of(&b)), first);
	ck_assert_int_eq(put_nth(b.a, CDS, 1, 2), 0);
	settle(&b);
	restart(&b);
	ck_assert(is_nth(b.a, CDS, 1, 2));
	ck_assert(is_nth(b.a, CDS, 19, 1));
	bench_end(&b);
}
END_TEST

START_TEST(who_takes_back_from_a_successor_that_served_has_its_file_under_the_name_again)
{
	struct bench b;

	bench_begin(&b, true);
	b.a = opened(&b, true);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(put_nth(b.a, CDS, i, 1), 0);
	lend(&b);
	struct archive *next = successor(&b);
	ck_assert_int_eq(put_nth(next, CDS, 5, 9), 0);
	archive_settle(next);
	archive_free(&next);
	ck_assert_int_eq(put_nth(b.a, CDS, 6, 2), 0);
	archive_retake(b.a);
	settle(&b);
	ck_assert_uint_eq(info_of(&b).compactions, 1);
	restart(&b);
	ck_assert(is_nth(b.a, CDS, 5, 1));
	ck_assert(is_nth(b.a, CDS, 6, 2));
	bench_end(&b);
}
END_TEST

START_TEST(what_is_lent_is_not_written_anew_under_the_successors_feet)
{
	struct bench b;

	bench_begin(&b, true);
	b.a = opened(&b, true);
	lend(&b);
	for (int version = 1; version < 60; version++)
		for (int i = 0; i < 40; i++)
			ck_assert_int_eq(put_nth(b.a, CDS, i, version), 0);
	settle(&b);
	ck_assert_uint_eq(info_of(&b).compactions, 0);
	archive_retake(b.a);
	ck_assert_int_eq(put_nth(b.a, CDS, 0, 60), 0);
	archive_flush(b.a);
	settle(&b);
	archive_mark(b.a, EDS);
	archive_sweep(b.a, EDS, NULL, NULL); /* looks whether it is worth it */
	settle(&b);
	ck_assert_uint_eq(info_of(&b).compactions, 1);
	for (int i = 1; i < 40; i++)
		ck_assert(is_nth(b.a, CDS, i, 59));
	bench_end(&b);
}
END_TEST

UNIT_SUITE("archive", a_successor_knows_all_that_was_lent_and_the_file_is_its_own_once_it_serves, a_successor_that_dies_before_it_serves_has_changed_nothing,
	who_takes_back_from_a_successor_that_served_has_its_file_under_the_name_again, what_is_lent_is_not_written_anew_under_the_successors_feet, what_was_put_is_what_one_gets_whatever_came_between, names_that_share_a_key_are_kept_apart,
	kinds_empty_bodies_empty_names_and_bodies_of_megabytes_are_kept, names_of_a_kind_are_told_until_enough_is_enough,
	a_whole_state_sweeps_what_was_not_in_it_and_only_of_its_kind, an_equal_hash_writes_nothing,
	two_thousand_clusters_cost_less_than_a_mebibyte_without_a_file_and_their_index_with_one, who_may_have_no_memory_is_told_and_keeps_nothing_stale,
	memory_of_what_is_gone_comes_back, a_record_is_read_while_it_is_on_its_way_and_after, file_and_folder_are_for_the_daemon_alone,
	a_simulated_loop_has_no_files_unless_a_test_says_so, of_two_daemons_on_one_file_the_second_goes_without, a_link_or_a_pipe_of_that_name_is_not_followed,
	a_file_that_was_cut_anywhere_in_its_last_record_keeps_the_others, a_flipped_bit_never_comes_back_as_an_answer,
	a_private_key_is_never_in_the_file, a_foreign_or_old_file_is_refused_whole_and_begun_anew, a_record_that_is_damaged_while_we_run_is_dropped,
	when_the_disk_is_full_all_goes_on_in_memory_and_the_file_stays_an_older_truth, a_file_has_a_bound,
	a_file_of_mostly_dead_records_is_written_anew_while_all_goes_on, the_lock_goes_with_the_new_file,
	a_compaction_that_fails_leaves_the_old_file_in_its_place, an_archive_that_ends_in_a_compaction_loses_nothing)
