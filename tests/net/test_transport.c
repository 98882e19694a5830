/* net/transport: what is shared, what waits, what is told when certificates and roots change, and what it costs. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/tls_int.h"
#include "net/transport.h"
#include "tests/net/materialrig.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t second = UINT64_C(1000000000);

struct rig { struct simnet *n; struct transports *all; struct tls_ca ca, other; struct tls_paper paper, next; struct secret *cert, *roots; struct rig_space space; };
struct looker { struct transport_watch w; int told, drains; struct looker *other; struct transport *lets_go; };

static void rig_new(struct rig *r)
{
	*r = (struct rig){.n = simnet_new(1)};
	struct loop *l = simnet_loop(r->n);
	int64_t now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / second);
	r->all = transports_new(l);
	tls_ca_new(&r->ca, "right", now);
	tls_ca_new(&r->other, "other", now);
	tls_paper_new(&r->paper, &r->ca, "paper", "URI:spiffe://a/ns/b/sa/c", -3600, 3600);
	tls_paper_new(&r->next, &r->ca, "next", "URI:spiffe://a/ns/b/sa/c", -1800, 7200);
	r->cert = secret_new(r->all, SECRET_CERT, "default", "sds unix:/run/x", NULL, NULL);
	r->roots = secret_new(r->all, SECRET_ROOTS, "ROOTCA", "sds unix:/run/x", NULL, NULL);
	rig_space(&r->space, r->cert, r->roots);
}

static void ready(struct rig *r)
{
	rig_put_cert(r->cert, &r->paper);
	rig_put_trust(r->roots, &r->ca);
	simnet_advance(r->n, 0);
}

static struct transports_info info(const struct rig *r)
{
	struct transports_info i;

	transports_info(r->all, &i);
	return i;
}

static void rig_end(struct rig *r)
{
	secret_unref(&r->cert);
	secret_unref(&r->roots);
	ck_assert_uint_eq(info(r).transports, 0);
	ck_assert_uint_eq(info(r).contexts, 0);
	ck_assert_uint_eq(info(r).secrets, 0);
	transports_free(&r->all);
	simnet_free(&r->n);
	tls_paper_end(&r->paper);
	tls_paper_end(&r->next);
	tls_ca_end(&r->ca);
	tls_ca_end(&r->other);
}

static struct tls_want *want_of(const char *sni, const char *san, const char *alpn)
{
	struct tls_want *w = rig_want(true);

	w->sni = sni ? xstrdup(sni) : NULL;
	if (san) {
		w->names = TLS_NAMES_RULES;
		tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, str_of(san));
	}
	free(w->alpn);
	w->alpn = xstrdup(alpn);
	tls_want_seal(w);
	return w;
}

static struct transport *get(struct rig *r, struct tls_want *taken)
{
	const char *why = "";
	struct transport *t = transport_get(r->all, taken, &r->space.space, false, &why);

	tls_want_unref(&taken);
	ck_assert_msg(t != NULL, "%s", why);
	return t;
}

static struct tls_context *context(struct transport *t)
{
	const char *why = "";
	int err = 0;
	struct tls_context *c = transport_context(t, &err, &why);

	ck_assert_msg(c != NULL, "%d: %s", err, why);
	return c;
}

static void changed(struct transport_watch *w, bool drain)
{
	struct looker *k = container_of(w, struct looker, w);

	k->told++;
	k->drains += drain;
	if (k->other) {
		transport_unwatch(&k->other->w);
		transport_unwatch(w);
	}
	transport_unref(&k->lets_go);
}

START_TEST(equal_wants_over_the_same_secrets_are_one_transport_and_others_are_not)
{
	static const struct { const char *sni, *san, *alpn; bool server, domain, same; int contexts; } rows[] = {
		{"a", "spiffe://x", "h2", false, false, true, 1},
		{"b", "spiffe://x", "h2", false, false, false, 1},
		{NULL, "spiffe://x", "h2", false, false, false, 1},
		{"a", "spiffe://y", "h2", false, false, false, 1},
		{"a", NULL, "h2", false, false, false, 1},
		{"a", "spiffe://x", "istio", false, false, false, 2},
		{"a", "spiffe://x", "h2", true, false, false, 2},
		{"a", "spiffe://x", "h2", false, true, true, 1}, /* the space's domain does not matter to whoever lists names */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		const char *why;
		rig_new(&r);
		ready(&r);
		struct transport *a = get(&r, want_of("a", "spiffe://x", "h2"));
		struct tls_want *w = want_of(rows[i].sni, rows[i].san, rows[i].alpn);
		r.space.space.trust_domain = rows[i].domain ? "mesh" : NULL;
		struct transport *b = transport_get(r.all, w, &r.space.space, rows[i].server, &why);
		ck_assert_ptr_nonnull(b);
		ck_assert_msg((a == b) == rows[i].same, "row %zu", i);
		ck_assert(transport_shows(b));
		context(a);
		context(b);
		ck_assert_msg(info(&r).contexts == (uint32_t)rows[i].contexts, "row %zu: %u", i, info(&r).contexts);
		tls_want_unref(&w);
		transport_unref(&a);
		transport_unref(&b);
		rig_end(&r);
	}
}
END_TEST

START_TEST(two_identities_never_share_a_transport_and_equal_ones_share_a_context)
{
	struct rig r;
	struct rig_space second_space;

	rig_new(&r);
	ready(&r);
	struct secret *cert = secret_new(r.all, SECRET_CERT, "default", "files", NULL, NULL), *roots = secret_new(r.all, SECRET_ROOTS, "ROOTCA", "files", NULL, NULL);
	rig_space(&second_space, cert, roots);
	struct transport *a = get(&r, want_of("a", NULL, "h2"));
	rig_put_cert(cert, &r.next);
	rig_put_trust(roots, &r.ca);
	r.space.space.ctx = &second_space;
	struct transport *b = get(&r, want_of("a", NULL, "h2"));
	ck_assert_ptr_ne(a, b);
	ck_assert_ptr_ne(context(a), context(b));
	rig_put_cert(cert, &r.paper);
	simnet_advance(r.n, 0);
	ck_assert_ptr_eq(context(a), context(b));
	ck_assert_uint_eq(info(&r).contexts, 1);
	ck_assert_uint_eq(info(&r).stores, 1);
	transport_unref(&a);
	transport_unref(&b);
	secret_unref(&cert);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

START_TEST(what_has_not_come_is_waited_for_and_what_cannot_be_had_says_why)
{
	struct rig r;
	struct looker k = {.told = 0};
	const char *why = NULL;
	int err = 0;

	rig_new(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transport_watch(t, &k.w, changed);
	ck_assert_ptr_null(transport_context(t, &err, &why));
	ck_assert_int_eq(err, -EAGAIN);
	ck_assert_str_eq(why, "no certificate yet: 'default' of sds unix:/run/x has not come");
	rig_put_cert(r.cert, &r.paper);
	ck_assert_ptr_null(transport_context(t, &err, &why));
	ck_assert_int_eq(err, -EAGAIN);
	ck_assert_str_eq(why, "no roots yet: 'ROOTCA' of sds unix:/run/x has not come");
	secret_fail(r.roots, "connection refused");
	ck_assert_ptr_null(transport_context(t, &err, &why));
	ck_assert_int_eq(err, -ENOKEY);
	ck_assert_str_eq(why, "no roots yet: 'ROOTCA' of sds unix:/run/x: connection refused");
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 1); /* what happens in one turn is one change */
	rig_put_trust(r.roots, &r.ca);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 2);
	ck_assert_int_eq(k.drains, 0); /* nothing stood before */
	ck_assert(tls_context_shows(context(t)));
	secret_fail(r.roots, "connection refused");
	context(t); /* the last good ones are used */
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

START_TEST(who_waits_in_vain_is_told_so_though_something_else_may_still_come)
{
	struct rig r;
	const char *why;
	int err = 0;

	rig_new(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	secret_fail(r.roots, "refused");
	ck_assert_ptr_null(transport_context(t, &err, &why));
	ck_assert_int_eq(err, -ENOKEY);
	ck_assert_ptr_nonnull(strstr(why, "ROOTCA"));
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

START_TEST(other_roots_drain_and_another_certificate_does_not)
{
	struct rig r;
	struct looker k = {.told = 0};

	rig_new(&r);
	ready(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transport_watch(t, &k.w, changed);
	struct tls_context *before = tls_context_ref(context(t)), *after;
	rig_put_cert(r.cert, &r.next);
	ck_assert_int_eq(k.told, 0); /* not from inside of the provider's call */
	after = context(t);
	ck_assert_ptr_ne(after, before);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 1);
	ck_assert_int_eq(k.drains, 0);
	rig_put_trust(r.roots, &r.other);
	rig_put_cert(r.cert, &r.paper);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 2);
	ck_assert_int_eq(k.drains, 1);
	rig_put_trust(r.roots, &r.other); /* the same once more */
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 2);
	ck_assert_ptr_ne(context(t), before);
	transport_unwatch(&k.w);
	transport_unwatch(&k.w);
	rig_put_trust(r.roots, &r.ca);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.told, 2);
	tls_context_unref(&before);
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

static void put_roots(struct secret *s, const struct tls_ca *a, const struct tls_ca *b, const struct tls_ca *crl_of)
{
	struct tls_trust *t;
	struct err err = ERR_INIT;
	const char *why;
	char *ta = tls_text(a->fd), *tb = b ? tls_text(b->fd) : xstrdup(""), *crl = crl_of ? tls_crl_text(crl_of, NULL, 3600) : xstrdup(""), *all = xasprintf("%s%s%s", ta, tb, crl);

	ck_assert_int_eq(tls_trust_new("t", str_of(all), NULL, &t, &err), 0);
	ck_assert_int_eq(secret_put_trust(s, t, &why), 0);
	free(ta);
	free(tb);
	free(crl);
	free(all);
}

START_TEST(roots_that_have_only_grown_drain_nobody_and_all_others_do)
{
	/* 'a' right, 'b' both, 'o' other, 'c' both and a CRL */
	static const struct { char from, to; bool drains; } rows[] = {{'a', 'b', false}, {'o', 'b', false}, {'b', 'a', true}, {'a', 'o', true}, {'b', 'c', true}, {'a', 'c', true}, {'c', 'b', false}, {'c', 'a', true}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		struct looker k = {.told = 0};
		rig_new(&r);
		rig_put_cert(r.cert, &r.paper);
		struct transport *t = get(&r, want_of("a", NULL, "h2"));
		transport_watch(t, &k.w, changed);
		for (int step = 0; step < 2; step++) {
			char which = step ? rows[i].to : rows[i].from;
			bool two = which == 'b' || which == 'c';
			put_roots(r.roots, which == 'o' ? &r.other : &r.ca, two ? &r.other : NULL, which == 'c' ? &r.ca : NULL);
			simnet_advance(r.n, 0);
			context(t);
		}
		ck_assert_int_eq(k.told, 2);
		ck_assert_msg(k.drains == rows[i].drains, "row %zu", i);
		transport_unref(&t);
		rig_end(&r);
	}
}
END_TEST

START_TEST(who_becomes_somebody_else_drains_though_certificates_came_between_that_nobody_used)
{
	struct rig r;
	struct looker k = {.told = 0};
	struct tls_paper else_;

	rig_new(&r);
	ready(&r);
	tls_paper_new(&else_, &r.ca, "else", "URI:spiffe://a/ns/b/sa/else", -3600, 3600);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transport_watch(t, &k.w, changed);
	context(t);
	rig_put_cert(r.cert, &r.next);
	simnet_advance(r.n, second);
	ck_assert_int_eq(k.drains, 0);
	rig_put_cert(r.cert, &else_);
	simnet_advance(r.n, second);
	ck_assert_int_eq(k.drains, 1);
	transport_unref(&t);
	tls_paper_end(&else_);
	rig_end(&r);
}
END_TEST

START_TEST(roots_that_flap_drain_at_once_and_then_once_a_second)
{
	struct rig r;
	struct looker k = {.told = 0};

	rig_new(&r);
	ready(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transport_watch(t, &k.w, changed);
	for (int i = 0; i < 2500; i++) {
		rig_put_trust(r.roots, i % 2 ? &r.ca : &r.other);
		simnet_advance(r.n, second / 1000);
		ck_assert_int_ge(k.drains, 1);
	}
	ck_assert_int_eq(k.drains, 3);
	ck_assert_int_ge(k.told, 2500); /* who waits for roots is told each time */
	simnet_advance(r.n, second);
	ck_assert_int_eq(k.drains, 4); /* the last change, too */
	simnet_advance(r.n, 10 * second);
	ck_assert_int_eq(k.drains, 4);
	rig_put_trust(r.roots, &r.other);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(k.drains, 5); /* and at once again */
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

START_TEST(a_bundle_or_a_certificate_that_was_made_to_have_anothers_hash_does_not_stand_for_it)
{
	struct rig r;
	struct rig_space second_space;

	rig_new(&r);
	struct secret *cert = secret_new(r.all, SECRET_CERT, "default", "evil", NULL, NULL), *roots = secret_new(r.all, SECRET_ROOTS, "ROOTCA", "evil", NULL, NULL);
	rig_space(&second_space, cert, roots);
	struct tls_trust *evil = tls_trust_of(&r.other), *good = tls_trust_of(&r.ca);
	const char *why;
	evil->hash = good->hash;
	ck_assert_int_eq(secret_put_trust(roots, evil, &why), 0); /* first: whoever comes later would get it */
	rig_put_cert(cert, &r.paper);
	ck_assert_int_eq(secret_put_trust(r.roots, good, &why), 0);
	rig_put_cert(r.cert, &r.paper);
	ck_assert_uint_eq(info(&r).stores, 2);
	struct transport *a = get(&r, want_of("a", NULL, "h2"));
	r.space.space.ctx = &second_space;
	struct transport *b = get(&r, want_of("a", NULL, "h2"));
	ck_assert_ptr_eq(context(a)->trust, good);
	ck_assert_ptr_eq(context(b)->trust, evil);
	ck_assert_ptr_ne(context(a), context(b));
	evil = tls_trust_of(&r.other); /* as a successor it is not taken for the same, either */
	evil->hash = good->hash;
	ck_assert_int_eq(secret_put_trust(r.roots, evil, &why), 0);
	ck_assert_uint_eq(r.roots->generation, 2);
	struct tls_cert *one = tls_cert_of(&r.paper), *two = tls_cert_of(&r.next);
	memcpy(two->id_of_all.sha, one->id_of_all.sha, 24); /* all that any shorter hash could have */
	ck_assert(!tls_cert_same(one, two));
	tls_cert_unref(&one);
	tls_cert_unref(&two);
	transport_unref(&a);
	transport_unref(&b);
	secret_unref(&cert);
	secret_unref(&roots);
	rig_end(&r);
}
END_TEST

START_TEST(a_watch_may_end_others_itself_and_the_transport)
{
	struct rig r;
	struct looker a = {.told = 0}, b = {.told = 0}, c = {.told = 0};

	rig_new(&r);
	ready(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2")), *u = get(&r, want_of("b", NULL, "h2"));
	transport_watch(t, &a.w, changed);
	transport_watch(t, &b.w, changed);
	transport_watch(u, &c.w, changed);
	a.other = &b;
	a.lets_go = t;
	c.lets_go = u;
	rig_put_trust(r.roots, &r.other);
	simnet_advance(r.n, 0);
	ck_assert_int_eq(a.told, 1);
	ck_assert_int_eq(b.told, 0);
	ck_assert_int_eq(c.told, 1);
	ck_assert_uint_eq(info(&r).transports, 0);
	rig_end(&r);
}
END_TEST

START_TEST(what_nobody_can_give_or_nobody_has_built_is_refused_at_once_with_the_reason)
{
	static const struct { enum secret_from cert, roots; const char *unbuilt; bool server, no_space; const char *why; } rows[] = {
		{SECRET_IDENTITY, SECRET_NOWHERE, NULL, false, false, "the app has no identity"},
		{SECRET_NOWHERE, SECRET_SDS, NULL, false, false, "the app has no identity"},
		{SECRET_IDENTITY, SECRET_IDENTITY, NULL, false, true, "nobody knows here where a certificate or roots come from"},
		{SECRET_NOWHERE, SECRET_NOWHERE, "transport socket quic is not built", false, false, "transport socket quic is not built"},
		{SECRET_NOWHERE, SECRET_NOWHERE, NULL, true, false, "a door that speaks TLS needs a certificate, and none is declared"},
		{SECRET_NOWHERE, SECRET_NOWHERE, NULL, false, true, NULL},
		{SECRET_NOWHERE, SECRET_SYSTEM, NULL, false, true, NULL},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		const char *why = NULL;
		struct tls_want *w = tls_want_new();
		rig_new(&r);
		rig_space(&r.space, NULL, NULL);
		secret_ref_set(&w->cert, SECRET_CERT, rows[i].cert, STR(""));
		secret_ref_set(&w->roots, SECRET_ROOTS, rows[i].roots, STR(""));
		w->unbuilt = rows[i].unbuilt ? xstrdup(rows[i].unbuilt) : NULL;
		tls_want_seal(w);
		struct transport *t = transport_get(r.all, w, rows[i].no_space ? NULL : &r.space.space, rows[i].server, &why);
		ck_assert_msg((t == NULL) == (rows[i].why != NULL), "row %zu", i);
		if (!t) {
			ck_assert_str_eq(why, rows[i].why);
		} else {
			ck_assert(!tls_context_shows(context(t)));
			ck_assert(!transport_shows(t));
		}
		transport_unref(&t);
		tls_want_unref(&w);
		rig_end(&r);
	}
}
END_TEST

START_TEST(at_the_memory_limit_there_is_no_further_transport_and_those_that_are_there_stay)
{
	struct rig r;
	const char *why = NULL;

	rig_new(&r);
	ready(&r);
	struct account *memory = &simnet_loop(r.n)->memory;
	struct transport *t = get(&r, want_of("a", NULL, "h2")), *again;
	struct tls_want *other = want_of("b", NULL, "h2");
	ck_assert_uint_gt(memory->used, 200);
	memory->limit = memory->taken = memory->used;
	ck_assert_ptr_null(transport_get(r.all, other, &r.space.space, false, &why));
	ck_assert_str_eq(why, "the memory limit is reached");
	again = get(&r, want_of("a", NULL, "h2"));
	ck_assert_ptr_eq(t, again);
	context(t);
	memory->limit = SIZE_MAX;
	tls_want_unref(&other);
	transport_unref(&t);
	transport_unref(&again);
	ck_assert_uint_eq(memory->used, 0);
	rig_end(&r);
}
END_TEST

START_TEST(whom_to_accept_says_the_want_and_the_spaces_domain)
{
	static const char *const aliases[] = {"old.local", "older.local"};
	struct rig r;
	struct tls_peer p, q, third;

	rig_new(&r);
	struct tls_want *w = tls_want_mesh("outbound_.80_._.a");
	tls_want_seal(w);
	r.space.space.trust_domain = "cluster.local";
	struct transport *a = get(&r, tls_want_ref(w));
	r.space.space.aliases = aliases;
	r.space.space.naliases = 2;
	struct transport *b = get(&r, tls_want_ref(w)), *c = get(&r, want_of("a", "spiffe://x", "h2"));
	r.space.space.trust_domain = NULL; /* the space is used in the call only */
	r.space.space.naliases = 0;
	transport_peer(a, &p);
	transport_peer(b, &q);
	transport_peer(c, &third);
	ck_assert_ptr_ne(a, b);
	ck_assert_str_eq(p.server_name, "outbound_.80_._.a");
	ck_assert_str_eq(p.trust_domain, "cluster.local");
	ck_assert_uint_eq(p.naliases, 0);
	ck_assert_uint_eq(q.naliases, 2);
	ck_assert_str_eq(q.aliases[1], "older.local");
	ck_assert_ptr_eq(p.want, w);
	ck_assert_ptr_null(third.trust_domain);
	ck_assert(p.hash != q.hash && p.hash != third.hash && q.hash != third.hash); /* a session of one is none of the other */
	transport_unref(&a);
	transport_unref(&b);
	transport_unref(&c);
	tls_want_unref(&w);
	rig_end(&r);
}
END_TEST

START_TEST(wants_of_equal_hash_but_other_names_stay_apart)
{
	struct rig r;
	struct tls_peer p, q;

	rig_new(&r);
	struct tls_want *forged = want_of("a", "spiffe://evil", "h2"), *w = want_of("a", "spiffe://good", "h2");
	forged->hash = w->hash;
	struct transport *a = get(&r, w), *b = get(&r, forged);
	ck_assert_ptr_ne(a, b);
	transport_peer(a, &p);
	transport_peer(b, &q);
	ck_assert(p.hash != q.hash);
	transport_unref(&b);
	w = want_of("a", "spiffe://good", "h2");
	b = get(&r, w);
	ck_assert_ptr_eq(a, b);
	transport_unref(&a);
	transport_unref(&b);
	rig_end(&r);
}
END_TEST

struct teller { int told; uint64_t untold; char whom[64], what[64]; };
static void tell(void *ctx, const struct transport_failure *f)
{
	struct teller *k = ctx;

	ck_assert_ptr_nonnull(f->why);
	k->told++;
	k->untold = f->untold;
	snprintf(k->whom, sizeof(k->whom), "%s", f->whom);
	snprintf(k->what, sizeof(k->what), "%s", f->what);
}

START_TEST(a_failed_handshake_is_told_once_for_each_reason_until_one_succeeds)
{
	struct rig r;
	struct addr peer = simnet_addr("10.0.0.1:443");
	struct teller k = {0};
	char text[64];

	rig_new(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2")), *u = get(&r, want_of("b", NULL, "h2"));
	transport_failed(t, &peer, NULL, "nobody listens to this");
	transports_set_tell(r.all, tell, &k);
	transport_failed(t, &peer, NULL, "certificate has expired (CN=x, now 12:00:01)");
	transport_failed(t, &peer, NULL, "certificate has expired (CN=x, now 12:00:02)"); /* a second later */
	ck_assert_int_eq(k.told, 1);
	transport_failed(t, &peer, NULL, "the peer refuses: unknown ca");
	ck_assert_uint_eq(k.untold, 1);
	transport_failed(t, &peer, NULL, "certificate has expired (CN=x, now 12:00:03)");
	ck_assert_int_eq(k.told, 2);
	transport_failed(u, &peer, NULL, "the peer refuses: unknown ca");
	ck_assert_int_eq(k.told, 3);
	ck_assert_uint_eq(k.untold, 0);
	for (char c = 'A'; c <= 'Z'; c++) { /* who thinks of ever new names fills no log */
		snprintf(text, sizeof(text), "the peer is '%c'", c);
		transport_failed(t, &peer, NULL, text);
	}
	ck_assert_int_le(k.told, 11);
	simnet_advance(r.n, 300 * UINT64_C(1000000000));
	transport_failed(t, &peer, NULL, "the peer refuses: unknown ca"); /* time alone changes nothing */
	ck_assert_int_le(k.told, 11);
	transport_unref(&t);
	transport_unref(&u);
	rig_end(&r);
}
END_TEST

START_TEST(who_fails_between_successes_is_told_of_once_a_minute_with_how_often)
{
	struct rig r;
	struct addr peer = simnet_addr("10.0.0.1:443");
	struct teller k = {0};

	rig_new(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transports_set_tell(r.all, tell, &k);
	for (int minute = 0; minute < 5; minute++) {
		for (int i = 0; i < 20; i++) { /* a scanner each three seconds, a good caller after it */
			transport_failed(t, &peer, NULL, "the peer closed in the handshake");
			transport_succeeded(t);
			simnet_advance(r.n, 3 * UINT64_C(1000000000));
		}
		ck_assert_int_eq(k.told, minute + 1);
		ck_assert_uint_eq(k.untold, minute ? 19 : 0);
	}
	transport_failed(t, &peer, NULL, "certificate has expired"); /* another reason is no repetition */
	ck_assert_int_eq(k.told, 6);
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

static void asked_by(const void *ctx, struct sb *out)
{
	sb_str(out, ctx);
}

/* Two services whose TLS is alike share a transport: what fails for one says nothing of the other. */
START_TEST(a_failed_handshake_is_told_with_whom_it_was_for_and_once_for_each_of_them)
{
	struct rig r;
	struct addr peer = simnet_addr("10.0.0.1:443");
	struct teller k = {0};
	const struct transport_asker demo = {.name = asked_by, .ctx = "service 'demo'"}, check = {.name = asked_by, .ctx = "service 'demo'", .what = "health check"},
		cart = {.name = asked_by, .ctx = "service 'cart'"};

	rig_new(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	transports_set_tell(r.all, tell, &k);
	transport_failed(t, &peer, &check, "certificate has expired");
	ck_assert_int_eq(k.told, 1);
	ck_assert_str_eq(k.whom, "service 'demo'");
	ck_assert_str_eq(k.what, "health check");
	for (int i = 0; i < 3; i++)
		transport_failed(t, &peer, &demo, "certificate has expired");
	ck_assert_int_eq(k.told, 1);
	transport_failed(t, &peer, &cart, "certificate has expired");
	ck_assert_int_eq(k.told, 2);
	ck_assert_str_eq(k.whom, "service 'cart'");
	ck_assert_str_eq(k.what, "");
	transport_failed(t, &peer, NULL, "certificate has expired"); /* nobody says for whom */
	ck_assert_str_eq(k.whom, "");
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

START_TEST(a_thousand_transports_have_one_context_and_cost_little)
{
	struct rig r;
	struct transport *t[1000];
	struct tls_want *w[1000];
	char name[64];

	rig_new(&r);
	ready(&r);
	for (size_t i = 0; i < UNIT_COUNT(t); i++) {
		snprintf(name, sizeof(name), "outbound_.80_._.s%zu", i);
		w[i] = want_of(name, "spiffe://a/ns/b/sa/c", "h2");
	}
	t[0] = get(&r, tls_want_ref(w[0]));
	context(t[0]);
	size_t before = mallinfo2().uordblks;
	for (size_t i = 1; i < UNIT_COUNT(t); i++)
		t[i] = get(&r, tls_want_ref(w[i]));
	size_t each = (mallinfo2().uordblks - before) / (UNIT_COUNT(t) - 1);
	ck_assert_msg(each < 300, "%zu bytes a transport", each);
	for (size_t i = 0; i < UNIT_COUNT(t); i++)
		ck_assert_ptr_eq(context(t[i]), context(t[0]));
	ck_assert_uint_eq(info(&r).transports, 1000);
	ck_assert_uint_eq(info(&r).contexts, 1);
	ck_assert_uint_eq(info(&r).stores, 1);
	for (size_t i = 0; i < UNIT_COUNT(t); i++) {
		transport_unref(&t[i]);
		tls_want_unref(&w[i]);
	}
	rig_end(&r);
}
END_TEST

static void rotate(struct rig *r, struct transport *t, int times)
{
	for (int i = 0; i < times; i++) {
		rig_put_cert(r->cert, i % 2 ? &r->paper : &r->next);
		if (i % 4 == 0)
			rig_put_trust(r->roots, i % 8 ? &r->ca : &r->other);
		context(t);
		simnet_advance(r->n, second / 100);
		ck_assert_uint_eq(info(r).contexts, 1);
		ck_assert_uint_eq(info(r).stores, 1);
	}
}

START_TEST(a_thousand_rotations_leave_nothing_behind)
{
	struct rig r;
	size_t least = SIZE_MAX / 2;

	rig_new(&r);
	ready(&r);
	struct transport *t = get(&r, want_of("a", NULL, "h2"));
	/* libc's own caches fill at random: whatever is lost each time shows in each window, and they do not. */
	for (int i = 0; i < 5; i++) {
		size_t before = mallinfo2().uordblks;
		rotate(&r, t, 250);
		size_t after = mallinfo2().uordblks;
		if (after < before + least)
			least = after > before ? after - before : 0;
	}
	ck_assert_msg(least < 4096, "grew by %zu bytes", least);
	transport_unref(&t);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("transport", equal_wants_over_the_same_secrets_are_one_transport_and_others_are_not,
	two_identities_never_share_a_transport_and_equal_ones_share_a_context, what_has_not_come_is_waited_for_and_what_cannot_be_had_says_why,
	who_waits_in_vain_is_told_so_though_something_else_may_still_come, other_roots_drain_and_another_certificate_does_not,
	roots_that_have_only_grown_drain_nobody_and_all_others_do, roots_that_flap_drain_at_once_and_then_once_a_second,
	who_becomes_somebody_else_drains_though_certificates_came_between_that_nobody_used,
	a_bundle_or_a_certificate_that_was_made_to_have_anothers_hash_does_not_stand_for_it, a_watch_may_end_others_itself_and_the_transport, what_nobody_can_give_or_nobody_has_built_is_refused_at_once_with_the_reason,
	at_the_memory_limit_there_is_no_further_transport_and_those_that_are_there_stay, whom_to_accept_says_the_want_and_the_spaces_domain, wants_of_equal_hash_but_other_names_stay_apart,
	a_failed_handshake_is_told_once_for_each_reason_until_one_succeeds, a_failed_handshake_is_told_with_whom_it_was_for_and_once_for_each_of_them, who_fails_between_successes_is_told_of_once_a_minute_with_how_often, a_thousand_transports_have_one_context_and_cost_little,
	a_thousand_rotations_leave_nothing_behind)
