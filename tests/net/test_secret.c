/* net/secret: what is put, who is told, and what a failure or a worse successor does not take away. */
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include "net/secret.h"
#include "tests/net/materialrig.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t second = UINT64_C(1000000000);

struct rig { struct simnet *n; struct transports *all; struct tls_ca ca, other; struct tls_paper first, second, old; int gone; };
struct looker { struct secret_watch w; int told; enum secret_state state; struct secret *lets_go; struct looker *other; };

static void rig_new(struct rig *r)
{
	*r = (struct rig){.n = simnet_new(1)};
	struct loop *l = simnet_loop(r->n);
	int64_t now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / second);
	r->all = transports_new(l);
	tls_ca_new(&r->ca, "right", now);
	tls_ca_new(&r->other, "other", now);
	tls_paper_new(&r->first, &r->ca, "first", "URI:spiffe://a/ns/b/sa/c", -3600, 3600);
	tls_paper_new(&r->second, &r->ca, "second", "URI:spiffe://a/ns/b/sa/c", -1800, 7200);
	tls_paper_new(&r->old, &r->ca, "old", "URI:spiffe://a/ns/b/sa/c", -7200, -10);
}

static void rig_end(struct rig *r)
{
	struct transports_info info;

	transports_info(r->all, &info);
	ck_assert_uint_eq(info.secrets, 0);
	ck_assert_uint_eq(info.stores, 0);
	transports_free(&r->all);
	simnet_free(&r->n);
	tls_paper_end(&r->first);
	tls_paper_end(&r->second);
	tls_paper_end(&r->old);
	tls_ca_end(&r->ca);
	tls_ca_end(&r->other);
}

static void gone(void *ctx, struct secret *s)
{
	struct rig *r = ctx;

	ck_assert_ptr_nonnull(s->name);
	r->gone++;
}

static struct secret *secret(struct rig *r, enum secret_kind kind)
{
	return secret_new(r->all, kind, "default", "sds unix:/run/x", gone, r);
}

static void told(struct secret_watch *w)
{
	struct looker *k = container_of(w, struct looker, w);

	k->told++;
	k->state = w->secret->state;
	if (k->other) {
		secret_unwatch(&k->other->w);
		secret_unwatch(w);
	}
	secret_unref(&k->lets_go);
}

START_TEST(no_core_is_dumped_from_the_moment_a_key_is_asked_for)
{
	struct rig r;

	rig_new(&r);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	struct secret *roots = secret(&r, SECRET_ROOTS);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	struct secret *a = secret(&r, SECRET_CERT), *b = secret(&r, SECRET_CERT);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0); /* before any came */
	rig_put_cert(a, &r.first);
	secret_unref(&a);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
	secret_unref(&b);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

START_TEST(who_watches_is_told_when_something_is_put_and_when_the_state_changes)
{
	struct rig r;
	struct looker k = {.told = 0};

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT);
	secret_watch(s, &k.w, told);
	ck_assert_int_eq(k.told, 0);
	ck_assert_int_eq(s->state, SECRET_WAITING);
	secret_fail(s, "connection refused");
	ck_assert_int_eq(k.told, 1);
	ck_assert_int_eq(k.state, SECRET_FAILING);
	secret_fail(s, "no answer");
	ck_assert_int_eq(k.told, 1);
	ck_assert_str_eq(s->why, "no answer");
	ck_assert_uint_eq(s->failures, 2);
	rig_put_cert(s, &r.first);
	ck_assert_int_eq(k.told, 2);
	ck_assert_int_eq(k.state, SECRET_READY);
	ck_assert_ptr_null(s->why);
	ck_assert_uint_eq(s->generation, 1);
	rig_put_cert(s, &r.second);
	ck_assert_int_eq(k.told, 3);
	ck_assert_uint_eq(s->generation, 2);
	ck_assert_str_eq(tls_cert_id(s->cert), "spiffe://a/ns/b/sa/c");
	secret_unwatch(&k.w);
	secret_unwatch(&k.w);
	rig_put_cert(s, &r.first);
	ck_assert_int_eq(k.told, 3);
	secret_unref(&s);
	ck_assert_ptr_null(s);
	ck_assert_int_eq(r.gone, 1);
	rig_end(&r);
}
END_TEST

START_TEST(equal_material_tells_nobody_but_clears_what_was_wrong)
{
	struct rig r;
	struct looker k = {.told = 0};

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT), *roots = secret(&r, SECRET_ROOTS);
	rig_put_cert(s, &r.first);
	rig_put_trust(roots, &r.ca);
	uint64_t at = s->put_wall_ns;
	ck_assert_uint_gt(at, 0);
	secret_watch(s, &k.w, told);
	secret_fail(s, "connection refused");
	simnet_advance(r.n, second);
	rig_put_cert(s, &r.first);
	rig_put_trust(roots, &r.ca);
	ck_assert_int_eq(k.told, 0);
	ck_assert_ptr_null(s->why);
	ck_assert_uint_eq(s->generation, 1);
	ck_assert_uint_eq(roots->generation, 1);
	ck_assert_uint_eq(s->puts, 2);
	ck_assert_uint_eq(s->put_wall_ns, at); /* since when it is in use */
	secret_unwatch(&k.w);
	secret_unref(&s);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

START_TEST(an_expired_successor_is_refused_while_the_one_in_use_is_good)
{
	struct rig r;
	const char *why = NULL;

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT);
	rig_put_cert(s, &r.first);
	ck_assert_int_eq(secret_put_cert(s, tls_cert_of(&r.old), &why), -EKEYEXPIRED);
	ck_assert_ptr_nonnull(strstr(why, "expired"));
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(s->generation, 1);
	simnet_advance(r.n, 3700 * second); /* now the one in use has ended, too: what is asked for now may be answered so */
	rig_put_cert(s, &r.old);
	ck_assert_uint_eq(s->generation, 2);
	secret_unref(&s);
	s = secret(&r, SECRET_CERT); /* with nothing to keep it is better than nothing: the peer's clock may be another */
	rig_put_cert(s, &r.old);
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(a_successor_that_begins_later_is_refused_while_the_one_in_use_is_good)
{
	struct rig r;
	struct tls_paper early, soon;
	const char *why = NULL;

	rig_new(&r);
	tls_paper_new(&early, &r.ca, "early", "URI:spiffe://a/ns/b/sa/c", 400, 7200);
	tls_paper_new(&soon, &r.ca, "soon", "URI:spiffe://a/ns/b/sa/c", 200, 7200);
	struct secret *s = secret(&r, SECRET_CERT);
	rig_put_cert(s, &r.first);
	ck_assert_int_eq(secret_put_cert(s, tls_cert_of(&early), &why), -EKEYEXPIRED);
	ck_assert_ptr_nonnull(strstr(why, "not valid yet"));
	ck_assert_uint_eq(s->generation, 1);
	rig_put_cert(s, &soon); /* clocks differ by so much */
	ck_assert_uint_eq(s->generation, 2);
	secret_unref(&s);
	s = secret(&r, SECRET_CERT);
	rig_put_cert(s, &early); /* nothing to keep */
	ck_assert_int_eq(s->state, SECRET_READY);
	secret_unref(&s);
	tls_paper_end(&early);
	tls_paper_end(&soon);
	rig_end(&r);
}
END_TEST

START_TEST(a_failure_takes_nothing_away)
{
	struct rig r;
	struct looker k = {.told = 0};

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_ROOTS);
	rig_put_trust(s, &r.ca);
	secret_watch(s, &k.w, told);
	secret_fail(s, "the stream broke");
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_ptr_nonnull(s->trust);
	ck_assert_str_eq(s->why, "the stream broke");
	ck_assert_int_eq(k.told, 0);
	secret_fail(s, s->why);
	ck_assert_str_eq(s->why, "the stream broke");
	secret_unwatch(&k.w);
	secret_unref(&s);
	rig_end(&r);
}
END_TEST

START_TEST(a_watch_may_end_others_itself_and_the_secret)
{
	struct rig r;
	struct looker a = {.told = 0}, b = {.told = 0}, c = {.told = 0};

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT);
	secret_watch(s, &a.w, told);
	secret_watch(s, &b.w, told);
	secret_watch(s, &c.w, told);
	a.other = &b;
	a.lets_go = s;
	rig_put_cert(s, &r.first);
	ck_assert_int_eq(a.told, 1);
	ck_assert_int_eq(b.told, 0);
	ck_assert_int_eq(c.told, 1);
	ck_assert_int_eq(r.gone, 1);
	ck_assert_ptr_null(c.w.secret); /* it is not there any more */
	secret_unwatch(&c.w);
	rig_end(&r);
}
END_TEST

START_TEST(a_secret_that_is_handed_on_keeps_what_it_has)
{
	struct rig r, second_provider = {.gone = 0};
	struct looker k = {.told = 0};

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT), *none = secret(&r, SECRET_CERT);
	rig_put_cert(s, &r.first);
	secret_fail(none, "connection refused");
	secret_watch(none, &k.w, told);
	secret_hand(s, "files", gone, &second_provider);
	ck_assert_int_eq(r.gone, 1); /* the first one shall not fill it any more */
	ck_assert_str_eq(s->source, "files");
	ck_assert_int_eq(s->state, SECRET_READY);
	secret_hand(none, "files", gone, &second_provider);
	ck_assert_int_eq(k.told, 1);
	ck_assert_int_eq(none->state, SECRET_WAITING); /* what the first one failed with says nothing of the second */
	ck_assert_ptr_null(none->why);
	secret_unwatch(&k.w);
	secret_hand(s, "files", NULL, NULL); /* the second one ends: it knows */
	ck_assert_int_eq(second_provider.gone, 0);
	secret_unref(&s);
	secret_unref(&none);
	ck_assert_int_eq(r.gone, 2);
	ck_assert_int_eq(second_provider.gone, 1);
	rig_end(&r);
}
END_TEST

START_TEST(roots_are_no_certificate_and_a_certificate_no_roots)
{
	struct rig r;
	const char *why;

	rig_new(&r);
	struct secret *s = secret(&r, SECRET_CERT), *roots = secret(&r, SECRET_ROOTS);
	ck_assert_int_eq(secret_put_trust(s, tls_trust_of(&r.ca), &why), -EINVAL);
	ck_assert_int_eq(secret_put_cert(roots, tls_cert_of(&r.first), &why), -EINVAL);
	ck_assert_int_eq(s->state, SECRET_WAITING);
	ck_assert_int_eq(roots->state, SECRET_WAITING);
	secret_unref(&s);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

static void count(void *ctx, struct secret *s)
{
	ck_assert_str_eq(s->name, "default");
	++*(int *)ctx;
}

START_TEST(equal_roots_of_many_secrets_are_kept_once)
{
	struct rig r;
	struct secret *s[100];
	struct transports_info info;
	int listed = 0;

	rig_new(&r);
	for (size_t i = 0; i < UNIT_COUNT(s); i++) {
		s[i] = secret(&r, SECRET_ROOTS);
		rig_put_trust(s[i], i % 2 ? &r.ca : &r.other);
	}
	transports_info(r.all, &info);
	ck_assert_uint_eq(info.secrets, 100);
	ck_assert_uint_eq(info.stores, 2);
	ck_assert_ptr_eq(s[1]->trust, s[99]->trust);
	ck_assert_ptr_ne(s[0]->trust, s[1]->trust);
	transports_each_secret(r.all, count, &listed);
	ck_assert_int_eq(listed, 100);
	for (size_t i = 0; i < UNIT_COUNT(s); i += 2)
		rig_put_trust(s[i], &r.ca);
	transports_info(r.all, &info);
	ck_assert_uint_eq(info.stores, 1);
	for (size_t i = 0; i < UNIT_COUNT(s); i++)
		secret_unref(&s[i]);
	rig_end(&r);
}
END_TEST

START_TEST(problems_are_told_in_one_line)
{
	struct err err = ERR_INIT;
	char why[SECRET_WHY];

	ck_assert_str_eq(secret_why(&err, why), "");
	err_add(&err, "/etc/a", 0, 0, "is empty");
	ck_assert_str_eq(secret_why(&err, why), "/etc/a: is empty");
	err_add(&err, "/etc/b", 0, 0, "is a folder");
	ck_assert_str_eq(secret_why(&err, why), "/etc/a: is empty; /etc/b: is a folder");
	for (int i = 0; i < 100; i++)
		err_add(&err, "/etc/b", 0, 0, "is a folder");
	ck_assert_uint_lt(strlen(secret_why(&err, why)), sizeof(why));
	err_clear(&err);
}
END_TEST

UNIT_SUITE("secret", no_core_is_dumped_from_the_moment_a_key_is_asked_for, who_watches_is_told_when_something_is_put_and_when_the_state_changes, equal_material_tells_nobody_but_clears_what_was_wrong,
	an_expired_successor_is_refused_while_the_one_in_use_is_good, a_successor_that_begins_later_is_refused_while_the_one_in_use_is_good, a_failure_takes_nothing_away, a_watch_may_end_others_itself_and_the_secret,
	a_secret_that_is_handed_on_keeps_what_it_has, roots_are_no_certificate_and_a_certificate_no_roots, equal_roots_of_many_secrets_are_kept_once,
	problems_are_told_in_one_line)
