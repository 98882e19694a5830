/* net/secret_files: real files in a folder of the test's own, on a virtual clock (changes are looked for by hand) and on the real one (they are told). */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/secret_files.h"
#include "net/timer.h"
#include "tests/net/materialrig.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000, second = UINT64_C(1000000000);

struct rig {
	struct simnet *n; struct loop *l; struct transports *all; struct secret_files *files; struct reader *reader;
	struct tls_ca ca, other; struct tls_paper paper, next, old, early;
	char dir[64]; int told, well; char why[SECRET_WHY];
};

static void tell(void *ctx, const struct secret *s, const char *why)
{
	struct rig *r = ctx;

	ck_assert_ptr_nonnull(s);
	r->told += why != NULL;
	r->well += why == NULL;
	snprintf(r->why, sizeof(r->why), "%s", why ? why : "");
}

static void rig_new(struct rig *r, bool real)
{
	*r = (struct rig){.n = real ? NULL : simnet_new(1), .dir = "/tmp/tm-secret-XXXXXX"};
	r->l = real ? loop_new_real(NULL) : simnet_loop(r->n);
	int64_t now = (int64_t)(r->l->ops->wall_ns(r->l->ops_ctx) / second);
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	r->all = transports_new(r->l);
	r->reader = reader_new(r->l);
	r->files = secret_files_new(r->l, r->all, r->reader);
	secret_files_set_tell(r->files, tell, r);
	tls_ca_new(&r->ca, "right", now);
	tls_ca_new(&r->other, "other", now);
	tls_paper_new(&r->paper, &r->ca, "paper", "URI:spiffe://a/paper", -3600, 3600);
	tls_paper_new(&r->next, &r->ca, "next", "URI:spiffe://a/next", -1800, 7200);
	tls_paper_new(&r->old, &r->ca, "old", "URI:spiffe://a/old", -7200, -100);
	tls_paper_new(&r->early, &r->ca, "early", "URI:spiffe://a/early", 100, 7200);
}

static void remove_all(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Until all has been read that was asked for. */
static void turns(struct rig *r)
{
	if (r->n)
		simnet_advance(r->n, 0);
	else
		for (int i = 0; i < 3 || (reader_pending(r->reader) && i < 1000); i++)
			loop_turn(r->l, (int64_t)(i < 3 ? 0 : 10 * ms));
	ck_assert_uint_eq(reader_pending(r->reader), 0);
}

static void rig_end(struct rig *r)
{
	secret_files_free(&r->files);
	transports_free(&r->all);
	turns(r);
	reader_free(&r->reader);
	ck_assert_uint_eq(r->l->memory.used, 0);
	ck_assert_uint_eq(wheel_armed(r->l->wheel), 0);
	if (r->n)
		simnet_free(&r->n);
	else
		loop_free(&r->l);
	tls_paper_end(&r->paper);
	tls_paper_end(&r->next);
	tls_paper_end(&r->old);
	tls_paper_end(&r->early);
	tls_ca_end(&r->ca);
	tls_ca_end(&r->other);
	remove_all(r->dir);
}

static const char *in(const struct rig *r, const char *name, char out[160])
{
	snprintf(out, 160, "%s/%s", r->dir, name);
	return out;
}

static void put(const struct rig *r, const char *name, const char *text)
{
	char path[160];
	int fd = open(in(r, name, path), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A copy of a memfd's text; cut: only the first half of it. */
static void copy(const struct rig *r, const char *name, const char *from, bool cut)
{
	char *text = rig_text(from);

	if (cut)
		text[strlen(text) / 2] = 0;
	put(r, name, text);
	free(text);
}

static void put_pair(const struct rig *r, const struct tls_paper *p)
{
	copy(r, "cert.pem", p->cert_path, false);
	copy(r, "key.pem", p->key_path, false);
}

static void put_both(const struct rig *r, const char *name, const struct tls_paper *p)
{
	char *cert = rig_text(p->cert_path), *key = rig_text(p->key_path), *both = xasprintf("%s%s", cert, key);

	put(r, name, both);
	free(cert);
	free(key);
	free(both);
}

/* Without a turn: it is still being read. */
static struct secret *ask(struct rig *r, enum secret_kind kind, const char *one, const char *two)
{
	char a[160], b[160];
	struct secret_ref ref = {0};
	char *name = two ? xasprintf("%s\n%s", in(r, one, a), in(r, two, b)) : xstrdup(in(r, one, a));

	secret_ref_set(&ref, kind, SECRET_FILES, str_of(name));
	struct secret *s = secret_files_get(r->files, &ref);
	free(name);
	free(ref.name);
	return s;
}

static struct secret *get(struct rig *r, enum secret_kind kind, const char *one, const char *two)
{
	struct secret *s = ask(r, kind, one, two);

	turns(r);
	return s;
}

static struct secret *get_pair(struct rig *r)
{
	return get(r, SECRET_CERT, "cert.pem", "key.pem");
}

static struct secret *get_inline(struct rig *r, enum secret_kind kind, const char *pem)
{
	struct secret_ref ref = {0};

	secret_ref_set(&ref, kind, SECRET_INLINE, str_of(pem));
	struct secret *s = secret_files_get(r->files, &ref);
	free(ref.name);
	return s;
}

#define ck_id(s, want) ck_assert_str_eq((s)->cert ? tls_cert_id((s)->cert) : "none", want)

/* The file system's times may be coarse: what a test changes twice at once would look the same by time alone. Inode and size tell, too, but not always. */
static void look(struct rig *r)
{
	secret_files_look(r->files);
	turns(r);
}

START_TEST(what_is_there_is_ready_in_a_moment_and_wakes_nobody)
{
	struct rig r;

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	copy(&r, "roots.pem", r.ca.path, false);
	struct secret *s = get_pair(&r), *roots = get(&r, SECRET_ROOTS, "roots.pem", NULL);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_id(s, "spiffe://a/paper");
	ck_assert_ptr_nonnull(strstr(s->name, "/cert.pem"));
	ck_assert_str_eq(s->source, "files");
	ck_assert_int_eq(roots->state, SECRET_READY);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0);
	look(&r);
	ck_assert_uint_eq(s->puts, 1); /* what did not change is not read */
	secret_unref(&s);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

START_TEST(equal_refs_are_one_secret_while_somebody_holds_it)
{
	struct rig r;

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	put_both(&r, "both.pem", &r.next);
	struct secret *a = get_pair(&r), *b = get_pair(&r), *c = get(&r, SECRET_CERT, "both.pem", NULL), *d = get(&r, SECRET_ROOTS, "both.pem", NULL);
	ck_assert_ptr_eq(a, b);
	ck_assert_ptr_ne(a, c);
	ck_assert_ptr_ne(c, d);
	ck_id(c, "spiffe://a/next");
	ck_assert_int_eq(d->state, SECRET_READY); /* a key beside roots does no harm */
	secret_unref(&a);
	secret_unref(&b);
	secret_unref(&c);
	secret_unref(&d);
	a = get_pair(&r);
	ck_assert_uint_eq(a->puts, 1);
	secret_unref(&a);
	rig_end(&r);
}
END_TEST

static void big(const struct rig *r, const char *name)
{
	char path[160];

	put(r, name, "-----BEGIN CERTIFICATE-----\n");
	ck_assert_int_eq(truncate(in(r, name, path), (4 << 20) + 1), 0);
}

START_TEST(what_cannot_be_used_says_which_file_and_why)
{
	static const struct { const char *what, *why; } rows[] = {
		{"missing", "cert.pem: cannot be read: No such file"}, {"nokey", "key.pem: cannot be read: No such file"}, {"folder", "cert.pem: is a folder"},
		{"fifo", "cert.pem: is not a file"}, {"empty", "key.pem: is empty"}, {"big", "cert.pem: is larger than 4 MiB"}, {"garbage", "cert.pem"},
		{"half", "cert.pem"}, {"otherkey", "key"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		char path[160];
		rig_new(&r, false);
		const char *what = rows[i].what;
		put_pair(&r, &r.paper);
		in(&r, "cert.pem", path);
		if (strcmp(what, "nokey") != 0 && strcmp(what, "empty") != 0 && strcmp(what, "otherkey") != 0)
			unlink(path);
		if (strcmp(what, "nokey") == 0)
			unlink(in(&r, "key.pem", path));
		else if (strcmp(what, "folder") == 0)
			ck_assert_int_eq(mkdir(path, 0755), 0);
		else if (strcmp(what, "fifo") == 0)
			ck_assert_int_eq(mkfifo(path, 0600), 0);
		else if (strcmp(what, "empty") == 0)
			put(&r, "key.pem", "");
		else if (strcmp(what, "big") == 0)
			big(&r, "cert.pem");
		else if (strcmp(what, "garbage") == 0)
			put(&r, "cert.pem", "hello\n");
		else if (strcmp(what, "half") == 0)
			copy(&r, "cert.pem", r.paper.cert_path, true);
		else if (strcmp(what, "otherkey") == 0)
			copy(&r, "key.pem", r.next.key_path, false);
		struct secret *s = get_pair(&r);
		ck_assert_int_eq(s->state, SECRET_FAILING);
		ck_assert_msg(strstr(s->why, rows[i].why) != NULL, "%s: %s", what, s->why);
		ck_assert_ptr_null(strchr(s->why, '\n'));
		ck_assert_int_eq(r.told, 1);
		ck_assert_str_eq(r.why, s->why);
		rmdir(in(&r, "cert.pem", path));
		unlink(path);
		put_pair(&r, &r.next);
		look(&r);
		ck_id(s, "spiffe://a/next");
		ck_assert_int_eq(r.well, 1);
		ck_assert_ptr_null(s->why);
		secret_unref(&s);
		rig_end(&r);
	}
}
END_TEST

START_TEST(a_pair_is_taken_over_whole_or_not_at_all)
{
	struct rig r;

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	struct secret *s = get_pair(&r);
	copy(&r, "cert.pem", r.next.cert_path, false); /* its key is still to come */
	look(&r);
	ck_id(s, "spiffe://a/paper");
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_ptr_nonnull(s->why);
	copy(&r, "key.pem", r.next.key_path, true); /* and comes in two pieces */
	look(&r);
	ck_id(s, "spiffe://a/paper");
	copy(&r, "key.pem", r.next.key_path, false);
	look(&r);
	ck_id(s, "spiffe://a/next");
	ck_assert_ptr_null(s->why);
	ck_assert_int_eq(r.told, 0); /* it was but a moment */
	ck_assert_int_eq(r.well, 0);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0);
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(what_stays_broken_is_told_once_and_tried_again_ever_more_seldom)
{
	static const uint64_t at_s[] = {1, 3, 7, 15, 31, 61, 91};
	struct rig r;
	char path[160];

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	struct secret *s = get_pair(&r);
	ck_assert_int_eq(unlink(in(&r, "key.pem", path)), 0);
	look(&r);
	uint64_t began = r.l->now_ns;
	ck_assert_uint_eq(s->failures, 1);
	ck_assert_int_eq(r.told, 0);
	for (size_t i = 0; i < UNIT_COUNT(at_s); i++) {
		simnet_advance(r.n, began + at_s[i] * second - r.l->now_ns - 10 * ms);
		ck_assert_uint_eq(s->failures, i + 1);
		simnet_advance(r.n, 20 * ms);
		ck_assert_uint_eq(s->failures, i + 2);
	}
	ck_assert_int_eq(r.told, 1);
	ck_assert_ptr_nonnull(strstr(r.why, "key.pem"));
	ck_id(s, "spiffe://a/paper"); /* all the time */
	ck_assert_int_eq(s->state, SECRET_READY);
	copy(&r, "key.pem", r.paper.key_path, false);
	simnet_advance(r.n, 30 * second); /* seen without any sign */
	ck_assert_ptr_null(s->why);
	ck_assert_int_eq(r.well, 1);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0);
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(a_successor_that_has_ended_or_has_not_begun_does_not_replace_one_that_is_good)
{
	struct rig r;

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	struct secret *s = get_pair(&r);
	put_pair(&r, &r.old);
	look(&r);
	ck_id(s, "spiffe://a/paper");
	ck_assert_ptr_nonnull(strstr(s->why, "has expired"));
	put_pair(&r, &r.early);
	look(&r);
	ck_id(s, "spiffe://a/paper");
	ck_assert_ptr_nonnull(strstr(s->why, "not valid before"));
	simnet_advance(r.n, 150 * second); /* its time has come */
	ck_id(s, "spiffe://a/early");
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(roots_may_lie_in_two_files)
{
	struct rig r;

	rig_new(&r, false);
	copy(&r, "roots.pem", r.ca.path, false);
	copy(&r, "more.pem", r.other.path, false);
	struct secret *both = get(&r, SECRET_ROOTS, "roots.pem", "more.pem"), *one = get(&r, SECRET_ROOTS, "roots.pem", NULL);
	ck_assert_int_eq(both->state, SECRET_READY);
	ck_assert_uint_ne(tls_trust_hash(both->trust), tls_trust_hash(one->trust));
	char path[160];
	unlink(in(&r, "more.pem", path));
	look(&r);
	ck_assert_ptr_nonnull(strstr(both->why, "more.pem"));
	ck_assert_ptr_null(one->why);
	secret_unref(&both);
	secret_unref(&one);
	rig_end(&r);
}
END_TEST

START_TEST(pem_that_is_written_inline_is_shared_by_content_and_never_shown)
{
	struct rig r;

	rig_new(&r, false);
	put_both(&r, "both.pem", &r.paper);
	char path[160], *pem = rig_text(in(&r, "both.pem", path)), *roots = rig_text(r.ca.path);
	struct secret *a = get_inline(&r, SECRET_CERT, pem), *b = get_inline(&r, SECRET_CERT, pem), *c = get_inline(&r, SECRET_ROOTS, roots),
		*bad = get_inline(&r, SECRET_CERT, "-----BEGIN hello");
	ck_assert_ptr_eq(a, b);
	ck_id(a, "spiffe://a/paper");
	ck_assert_str_eq(a->name, "PEM");
	ck_assert_str_eq(a->source, "inline");
	ck_assert_int_eq(c->state, SECRET_READY);
	ck_assert_int_eq(bad->state, SECRET_FAILING);
	ck_assert_ptr_nonnull(strstr(bad->why, "inline PEM"));
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0); /* it will not get better */
	look(&r);
	free(pem);
	free(roots);
	secret_unref(&a);
	secret_unref(&b);
	secret_unref(&c);
	secret_unref(&bad);
	rig_end(&r);
}
END_TEST

START_TEST(a_link_to_another_folder_is_looked_at_each_minute)
{
	struct rig r;
	char link[160], to[160];

	rig_new(&r, false);
	ck_assert_int_eq(mkdir(in(&r, "live", link), 0755), 0);
	ck_assert_int_eq(mkdir(in(&r, "archive", link), 0755), 0);
	put_both(&r, "archive/both.pem", &r.paper);
	ck_assert_int_eq(symlink(in(&r, "archive/both.pem", to), in(&r, "live/both.pem", link)), 0);
	struct secret *s = get(&r, SECRET_CERT, "live/both.pem", NULL);
	ck_id(s, "spiffe://a/paper");
	put_both(&r, "archive/new.pem", &r.next);
	ck_assert_int_eq(rename(in(&r, "archive/new.pem", link), to), 0);
	simnet_advance(r.n, 70 * second);
	ck_id(s, "spiffe://a/next");
	secret_unref(&s);
	simnet_advance(r.n, 70 * second);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0); /* only while it is needed */
	rig_end(&r);
}
END_TEST

START_TEST(where_changes_are_not_told_they_are_looked_for_each_minute)
{
	struct rig r;
	struct secret_ref ref = {0};

	rig_new(&r, false);
	secret_ref_set(&ref, SECRET_ROOTS, SECRET_FILES, str_of(r.ca.path)); /* below /proc, of which nobody knows whether it tells */
	struct secret *s = secret_files_get(r.files, &ref);
	turns(&r);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 1);
	char *text = rig_text(r.other.path);
	ck_assert_int_eq(ftruncate(r.ca.fd, 0), 0);
	ck_assert_int_eq(pwrite(r.ca.fd, text, strlen(text), 0), (ssize_t)strlen(text));
	simnet_advance(r.n, 50 * second);
	ck_assert_uint_eq(s->generation, 1);
	simnet_advance(r.n, 11 * second);
	ck_assert_uint_eq(s->generation, 2);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 1);
	free(text);
	free(ref.name);
	secret_unref(&s);
	simnet_advance(r.n, 60 * second);
	rig_end(&r);
}
END_TEST

START_TEST(a_folder_that_comes_later_is_found)
{
	struct rig r;
	char path[160];

	rig_new(&r, false);
	struct secret *s = get(&r, SECRET_CERT, "later/both.pem", NULL);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_int_eq(mkdir(in(&r, "later", path), 0755), 0);
	put_both(&r, "later/both.pem", &r.paper);
	simnet_advance(r.n, 2 * second);
	ck_assert_int_eq(s->state, SECRET_READY);
	simnet_advance(r.n, 120 * second);
	ck_assert_uint_eq(wheel_armed(r.l->wheel), 0); /* and watched from then on */
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(secrets_outlive_their_provider_and_may_get_another)
{
	struct rig r;
	char path[160];
	struct secret_ref ref = {0};

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	put_both(&r, "both.pem", &r.next);
	struct secret *s = get_pair(&r), *none = get(&r, SECRET_CERT, "none.pem", NULL);
	secret_files_free(&r.files);
	ck_id(s, "spiffe://a/paper");
	ck_assert_int_eq(none->state, SECRET_FAILING);
	r.files = secret_files_new(r.l, r.all, r.reader);
	secret_ref_set(&ref, SECRET_CERT, SECRET_FILES, str_of(in(&r, "both.pem", path)));
	secret_files_fill(r.files, &ref, s);
	turns(&r);
	ck_id(s, "spiffe://a/next");
	put_both(&r, "both.pem", &r.paper);
	look(&r);
	ck_id(s, "spiffe://a/paper");
	struct secret *own = secret_files_get(r.files, &ref); /* who asks by name gets one of its own */
	ck_assert_ptr_ne(own, s);
	free(ref.name);
	secret_unref(&own);
	secret_unref(&s);
	secret_unref(&none);
	rig_end(&r);
}
END_TEST

START_TEST(at_the_memory_limit_nothing_is_taken_over_and_nothing_lost)
{
	struct rig r;

	rig_new(&r, false);
	put_pair(&r, &r.paper);
	struct secret *s = get_pair(&r);
	size_t used = r.l->memory.used;
	ck_assert_uint_gt(used, 500);
	put_pair(&r, &r.next);
	r.l->memory.limit = used;
	r.l->memory.taken = used;
	look(&r);
	ck_id(s, "spiffe://a/paper");
	ck_assert_ptr_nonnull(strstr(s->why, "memory limit"));
	ck_assert_uint_eq(r.l->memory.used, used);
	r.l->memory.limit = SIZE_MAX;
	look(&r);
	ck_id(s, "spiffe://a/next");
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

/* ---- on the real loop: changes are told ------------------------------------------------------------------------------------------------- */

static void until_id(struct rig *r, const struct secret *s, const char *id)
{
	for (int i = 0; i < 100 && (!s->cert || strcmp(tls_cert_id(s->cert), id) != 0); i++)
		loop_turn(r->l, (int64_t)(100 * ms));
	ck_id(s, id);
}

START_TEST(files_that_are_replaced_or_written_in_place_are_read_again)
{
	struct rig r;
	char from[160], to[160];

	rig_new(&r, true);
	put_pair(&r, &r.paper);
	struct secret *s = get_pair(&r);
	ck_id(s, "spiffe://a/paper");
	put_pair(&r, &r.next);
	until_id(&r, s, "spiffe://a/next");
	copy(&r, "new-key", r.paper.key_path, false);
	copy(&r, "new-cert", r.paper.cert_path, false);
	ck_assert_int_eq(rename(in(&r, "new-key", from), in(&r, "key.pem", to)), 0);
	ck_assert_int_eq(rename(in(&r, "new-cert", from), in(&r, "cert.pem", to)), 0);
	until_id(&r, s, "spiffe://a/paper");
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(a_kubernetes_swap_changes_certificate_and_key_together)
{
	struct rig r;
	char a[160], b[160];

	rig_new(&r, true);
	ck_assert_int_eq(mkdir(in(&r, "..v1", a), 0755), 0);
	ck_assert_int_eq(mkdir(in(&r, "..v2", a), 0755), 0);
	copy(&r, "..v1/cert.pem", r.paper.cert_path, false);
	copy(&r, "..v1/key.pem", r.paper.key_path, false);
	copy(&r, "..v2/cert.pem", r.next.cert_path, false);
	copy(&r, "..v2/key.pem", r.next.key_path, false);
	ck_assert_int_eq(symlink("..v1", in(&r, "..data", a)), 0);
	ck_assert_int_eq(symlink("..data/cert.pem", in(&r, "cert.pem", a)), 0);
	ck_assert_int_eq(symlink("..data/key.pem", in(&r, "key.pem", a)), 0);
	struct secret *s = get_pair(&r);
	ck_id(s, "spiffe://a/paper");
	ck_assert_int_eq(symlink("..v2", in(&r, "..tmp", a)), 0);
	ck_assert_int_eq(rename(a, in(&r, "..data", b)), 0);
	until_id(&r, s, "spiffe://a/next");
	ck_assert_uint_eq(s->failures, 0);
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(a_folder_that_is_a_link_may_be_put_elsewhere)
{
	struct rig r;
	char a[160], b[160];

	rig_new(&r, true);
	ck_assert_int_eq(mkdir(in(&r, "v1", a), 0755), 0);
	ck_assert_int_eq(mkdir(in(&r, "v2", a), 0755), 0);
	put_both(&r, "v1/both.pem", &r.paper);
	put_both(&r, "v2/both.pem", &r.next);
	ck_assert_int_eq(symlink("v1", in(&r, "certs", a)), 0);
	struct secret *s = get(&r, SECRET_CERT, "certs/both.pem", NULL);
	ck_id(s, "spiffe://a/paper");
	ck_assert_int_eq(symlink("v2", in(&r, "tmp", a)), 0);
	ck_assert_int_eq(rename(a, in(&r, "certs", b)), 0);
	until_id(&r, s, "spiffe://a/next");
	put_both(&r, "v2/both.pem", &r.paper); /* what lies behind the link is watched now */
	until_id(&r, s, "spiffe://a/paper");
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

/* ---- while files are read ------------------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_let_go_of_while_it_is_read_is_nobodys)
{
	for (int i = 0; i < 4; i++) {
		struct rig r;
		rig_new(&r, i & 1);
		put_pair(&r, &r.paper);
		struct secret *s = ask(&r, SECRET_CERT, "cert.pem", "key.pem"), *waits = ask(&r, SECRET_CERT, "key.pem", "cert.pem");
		ck_assert_int_eq(s->state, SECRET_WAITING);
		if (i & 2)
			secret_files_free(&r.files);
		else
			secret_unref(&s);
		turns(&r);
		ck_assert_int_eq(r.told, i & 2 ? 0 : 1); /* the one that waits has key and certificate the wrong way round */
		if (i & 2)
			ck_assert_int_eq(s->state, SECRET_FAILING);
		secret_unref(&s);
		secret_unref(&waits);
		rig_end(&r);
	}
}
END_TEST

/* A mount that does not answer. */
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

static void hang_begin(struct hang *h, struct rig *r)
{
	*h = (struct hang){.job = {.work = hang_work, .done = hang_over}};
	sem_init(&h->go, 0, 0);
	offload_run(reader_lane(r->reader, 0), &h->job);
}

static void until_state(struct rig *r, const struct secret *s, enum secret_state state)
{
	for (int i = 0; i < 1000 && s->state != state; i++)
		loop_turn(r->l, (int64_t)(10 * ms));
	ck_assert_int_eq(s->state, state);
}

START_TEST(a_file_system_that_does_not_answer_is_told_and_found_again_when_it_does)
{
	struct rig r;
	struct hang h;
	char path[160];

	rig_new(&r, true);
	put_pair(&r, &r.paper);
	ck_assert_int_eq(mkdir(in(&r, "well", path), 0755), 0);
	put_both(&r, "well/both.pem", &r.next);
	hang_begin(&h, &r);
	reader_set_patience(r.reader, ms, 20 * ms);
	struct secret *s = ask(&r, SECRET_CERT, "cert.pem", "key.pem");
	reader_set_patience(r.reader, ms, 3600 * second);
	struct secret *other = ask(&r, SECRET_CERT, "well/both.pem", NULL);
	until_id(&r, other, "spiffe://a/next"); /* of a folder that is well */
	until_state(&r, s, SECRET_FAILING);
	ck_assert_msg(strstr(s->why, "cert.pem: cannot be read: its file system does not answer") != NULL, "%s", s->why);
	ck_assert_int_eq(r.told, 1);
	sem_post(&h.go);
	look(&r);
	ck_assert(h.over);
	ck_id(s, "spiffe://a/paper");
	ck_assert_int_eq(r.well, 1);
	/* What changes while it is being read is read behind it, whether it was seen or not. */
	hang_begin(&h, &r);
	put_pair(&r, &r.next);
	secret_files_look(r.files);
	put_pair(&r, &r.early);
	put_pair(&r, &r.paper);
	secret_files_look(r.files);
	put_pair(&r, &r.next);
	secret_files_look(r.files);
	sem_post(&h.go);
	turns(&r);
	ck_id(s, "spiffe://a/next");
	ck_assert_ptr_null(s->why);
	secret_unref(&s);
	secret_unref(&other);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("secret_files", what_is_there_is_ready_in_a_moment_and_wakes_nobody, equal_refs_are_one_secret_while_somebody_holds_it,
	what_cannot_be_used_says_which_file_and_why, a_pair_is_taken_over_whole_or_not_at_all, what_stays_broken_is_told_once_and_tried_again_ever_more_seldom,
	a_successor_that_has_ended_or_has_not_begun_does_not_replace_one_that_is_good, roots_may_lie_in_two_files,
	pem_that_is_written_inline_is_shared_by_content_and_never_shown, a_link_to_another_folder_is_looked_at_each_minute,
	where_changes_are_not_told_they_are_looked_for_each_minute, a_folder_that_comes_later_is_found, secrets_outlive_their_provider_and_may_get_another, at_the_memory_limit_nothing_is_taken_over_and_nothing_lost,
	files_that_are_replaced_or_written_in_place_are_read_again, a_kubernetes_swap_changes_certificate_and_key_together,
	a_folder_that_is_a_link_may_be_put_elsewhere, what_is_let_go_of_while_it_is_read_is_nobodys,
	a_file_system_that_does_not_answer_is_told_and_found_again_when_it_does)
