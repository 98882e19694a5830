/* Pools, hosts and clusters whose endpoints want TLS (lb/pool_tls, lb/wants): who shares a connection, what becomes of connections when secrets and wants change, and that nothing is ever
 * sent in plaintext instead. Handshakes are real, the network and the clock are not. */
#include "lb/cluster_int.h"
#include "tests/lb/lbrig.h"
#include "tests/net/materialrig.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE "10.0.0.1:1"
#define TWO "10.0.0.2:2"
#define ID(name) "spiffe://mesh.test/ns/n/sa/" name

/* Two authorities; a certificate of ours by each, one for providers `a` and one for `b` by each. */
struct world {
	struct lb_rig *r;
	struct endpoint_metas *metas;
	struct tls_ca ca[2];
	struct tls_paper ours[2], a[2], b[2];
	struct secret *cert, *roots;
	struct rig_space space;
	struct tls_context *contexts[16]; /* of providers */
	uint32_t ncontexts;
	struct tls_want *callers;         /* whom they accept: whoever their roots know */
};

static struct world *world_new(void)
{
	struct world *w = xnew(struct world);

	w->r = lb_rig_new();
	w->metas = endpoint_metas_new(NULL, 1);
	int64_t now = (int64_t)(w->r->loop->ops->wall_ns(w->r->loop->ops_ctx) / SEC);
	for (int i = 0; i < 2; i++) {
		tls_ca_new(&w->ca[i], i ? "second" : "first", now);
		tls_paper_new(&w->ours[i], &w->ca[i], "ours", "URI:" ID("us"), -3600, 86400);
		tls_paper_new(&w->a[i], &w->ca[i], "a", "URI:" ID("a") " DNS:a.test", -3600, 86400);
		tls_paper_new(&w->b[i], &w->ca[i], "b", "URI:" ID("b"), -3600, 86400);
	}
	w->cert = secret_new(w->r->transports, SECRET_CERT, "default", "sds unix:/run/x", NULL, NULL);
	w->roots = secret_new(w->r->transports, SECRET_ROOTS, "ROOTCA", "sds unix:/run/x", NULL, NULL);
	rig_space(&w->space, w->cert, w->roots);
	mesh_set_space(w->r->mesh, &w->space.space);
	w->callers = tls_want_new();
	tls_want_seal(w->callers);
	return w;
}

static void ready(struct world *w)
{
	rig_put_cert(w->cert, &w->ours[0]);
	rig_put_trust(w->roots, &w->ca[0]);
	lb_rig_advance(w->r, 0);
}

static void world_free(struct world **at)
{
	struct world *w = *at;

	*at = NULL;
	clusters_free(&w->r->clusters); /* who holds transports, and with them secrets */
	lb_rig_advance(w->r, 0);
	secret_unref(&w->cert);
	secret_unref(&w->roots);
	lb_rig_free(&w->r);
	for (uint32_t i = 0; i < w->ncontexts; i++)
		tls_context_unref(&w->contexts[i]);
	for (int i = 0; i < 2; i++) {
		tls_paper_end(&w->ours[i]);
		tls_paper_end(&w->a[i]);
		tls_paper_end(&w->b[i]);
		tls_ca_end(&w->ca[i]);
	}
	tls_want_unref(&w->callers);
	endpoint_metas_free(&w->metas);
	free(w);
}

/* It shows this paper, and demands one of callers that the authority gave. */
static void provider_shows(struct world *w, struct provider *p, const struct tls_paper *paper, const struct tls_ca *demands)
{
	struct tls_cert *cert = tls_cert_of(paper);
	struct tls_trust *trust = tls_trust_of(demands);
	struct tls_spec spec = {.cert = cert, .trust = trust, .alpn = "h2", .server = true};
	struct err err = ERR_INIT;

	ck_assert_uint_lt(w->ncontexts, UNIT_COUNT(w->contexts));
	ck_assert_msg(tls_context_new(&spec, &p->tls, &err) == 0, "%s", err_str(&err));
	w->contexts[w->ncontexts++] = p->tls;
	p->callers = (struct tls_peer){.want = w->callers};
	tls_cert_unref(&cert);
	tls_trust_unref(&trust);
}

static struct provider *secure(struct world *w, const char *at, enum behave behave, const struct tls_paper *paper)
{
	struct provider *p = provider_new(w->r, at, behave);

	provider_shows(w, p, paper, &w->ca[0]);
	return p;
}

static struct tls_want *accepts(const char *san)
{
	struct tls_want *want = rig_want(true);

	want->names = TLS_NAMES_RULES;
	tls_want_rule(want, TLS_NAME_URI, TLS_EXACT, str_of(san));
	tls_want_seal(want);
	return want;
}

/* Endpoints of tlsMode istio by `want`, those of "other" by `other`, all others in plaintext. */
static struct cluster_spec *spec_tls(struct tls_want *want_taken, struct tls_want *other_taken)
{
	struct cluster_spec *spec = lb_rig_spec();
	const char *const modes[] = {"istio", "other"};
	struct tls_want *wants[] = {want_taken, other_taken};

	spec->tls = xalloc(2 * sizeof(*spec->tls));
	for (uint32_t i = 0; i < 2 && wants[i]; i++) {
		spec->tls[i] = (struct tls_row){.name = xstrdup(modes[i]), .pairs = xnew(struct tls_pair), .npairs = 1, .want = wants[i]};
		spec->tls[i].pairs[0] = (struct tls_pair){xstrdup("tlsMode"), xstrdup(modes[i])};
		spec->ntls++;
	}
	spec_seal(spec);
	return spec;
}

static struct endpoint_set *set_of(struct world *w, const char *text)
{
	return set_text(text, w->metas, NULL);
}

static void declare(struct world *w, struct cluster_spec *spec, const char *endpoints)
{
	lb_rig_declare(w->r, spec, "");
	lb_rig_publish(w->r, set_of(w, endpoints));
}

/* One call, to its end. */
static void call(struct world *w, struct call *c)
{
	call_start(w->r, c);
	lb_rig_advance(w->r, SEC / 10);
}

#define call_goes(w) \
	do { \
		struct call c_; \
		call(w, &c_); \
		ck_assert_msg(c_.state == CALL_ENDED && c_.cause == END_DONE, "state %d, picked %d: %s", c_.state, c_.picked, c_.why); \
	} while (0)

static struct host *host(struct world *w, uint32_t i)
{
	struct host *h = cluster_host_at(w->r->cluster, i);

	ck_assert_ptr_nonnull(h);
	return h;
}

START_TEST(a_call_goes_over_mtls_and_people_see_who_answered)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]);
	struct pool_peer peer;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	pool_peer(host(w, 0)->pool, &peer);
	ck_assert_str_eq(peer.kind, "mtls");
	ck_assert_str_eq(peer.identity, "");
	call_goes(w);
	ck_assert_uint_eq(p->shaken, 1);
	pool_peer(host(w, 0)->pool, &peer);
	ck_assert_str_eq(peer.kind, "mtls");
	ck_assert_str_eq(peer.identity, ID("a"));
	ck_assert_str_eq(peer.version, "TLSv1.3");
	ck_assert(!peer.resumed);
	call_goes(w);
	ck_assert_uint_eq(p->accepted, 1);
	provider_cut(p);
	lb_rig_advance(w->r, SEC);
	call_goes(w);
	pool_peer(host(w, 0)->pool, &peer);
	ck_assert(peer.resumed);
	world_free(&w);
}
END_TEST

START_TEST(equal_wants_share_a_pool_and_others_never_do)
{
	struct world *w = world_new();

	ready(w);
	/* One address in four ways: twice as one want has it, once as the other, once in plaintext. */
	declare(w, spec_tls(accepts(ID("a")), accepts(ID("b"))), ONE "+istio " ONE "+istio " ONE "+other " ONE);
	ck_assert_ptr_eq(host(w, 0)->pool, host(w, 1)->pool);
	ck_assert_ptr_ne(host(w, 0)->pool, host(w, 2)->pool);
	ck_assert_ptr_ne(host(w, 0)->pool, host(w, 3)->pool);
	ck_assert_ptr_ne(host(w, 2)->pool, host(w, 3)->pool);
	ck_assert_ptr_null(pool_transport(host(w, 3)->pool));
	/* Another cluster that wants the same is on the same connections; one of another identity is not. */
	struct mesh *other = mesh_new(9);
	struct secret *cert = secret_new(w->r->transports, SECRET_CERT, "default", "sds unix:/run/y", NULL, NULL);
	struct rig_space space;
	struct mesh_cluster same = {.mesh = w->r->mesh, .name = (char *)"same", .spec = spec_tls(accepts(ID("a")), NULL), .endpoints = set_of(w, ONE "+istio")};
	struct mesh_cluster foreign = {.mesh = other, .name = (char *)"foreign", .spec = spec_tls(accepts(ID("a")), NULL), .endpoints = set_of(w, ONE "+istio")};
	rig_space(&space, cert, w->roots);
	mesh_set_space(other, &space.space);
	ck_assert_ptr_eq(cluster_host_at(cluster_live(w->r->clusters, &same), 0)->pool, host(w, 0)->pool);
	ck_assert_ptr_ne(cluster_host_at(cluster_live(w->r->clusters, &foreign), 0)->pool, host(w, 0)->pool);
	clusters_free(&w->r->clusters);
	lb_rig_advance(w->r, 0);
	spec_unref(&same.spec);
	spec_unref(&foreign.spec);
	endpoints_unref(&same.endpoints);
	endpoints_unref(&foreign.endpoints);
	secret_unref(&cert);
	mesh_free(&other);
	world_free(&w);
}
END_TEST

START_TEST(plaintext_and_tls_live_beside_each_other_in_one_cluster)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]), *plain = provider_new(w->r, TWO, ANSWERS);
	struct pool_peer peer;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio " TWO);
	for (int i = 0; i < 8; i++)
		call_goes(w);
	ck_assert_uint_eq(p->requests, 4);
	ck_assert_uint_eq(plain->requests, 4);
	pool_peer(host(w, 1)->pool, &peer);
	ck_assert_str_eq(peer.kind, "plain");
	ck_assert_str_eq(peer.identity, "");
	world_free(&w);
}
END_TEST

START_TEST(a_provider_of_another_identity_is_not_called_and_the_call_says_who_it_was)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->b[0]);
	struct call c;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call(w, &c);
	ck_assert_int_eq(c.state, CALL_FAILED);
	ck_assert_msg(strstr(c.why, ID("a")) && strstr(c.why, ID("b")), "'%s'", c.why);
	ck_assert_uint_eq(p->requests, 0);
	ck_assert_ptr_nonnull(strstr(lb_rig_host(w->r, 0).why, ID("b")));
	world_free(&w);
}
END_TEST

START_TEST(a_secret_that_comes_late_keeps_the_call_waiting_and_no_longer)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]);
	struct call c;

	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_start(w->r, &c);
	lb_rig_advance(w->r, SEC);
	ck_assert_int_eq(c.state, CALL_WAITS);
	ck_assert_uint_eq(p->accepted, 0); /* nothing was sent meanwhile */
	rig_put_cert(w->cert, &w->ours[0]);
	lb_rig_advance(w->r, 0);
	ck_assert_int_eq(c.state, CALL_WAITS);
	rig_put_trust(w->roots, &w->ca[0]);
	lb_rig_advance(w->r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_uint_eq(p->accepted, 1);
	world_free(&w);
}
END_TEST

START_TEST(a_secret_that_cannot_be_had_fails_the_call_with_its_reason_and_no_back_off_outlives_its_coming)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]);
	struct call c;

	rig_put_trust(w->roots, &w->ca[0]);
	secret_fail(w->cert, "the CA says no");
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	for (int i = 0; i < 12; i++) { /* until the back-off is a long one */
		call_start(w->r, &c);
		for (int n = 0; n < 50 && c.state == CALL_WAITS; n++)
			lb_rig_advance(w->r, 10 * MS);
		ck_assert_int_eq(c.state, CALL_FAILED);
		ck_assert_msg(strstr(c.why, "the CA says no"), "'%s'", c.why);
	}
	ck_assert_str_eq(lb_rig_host(w->r, 0).state, "backoff");
	rig_put_cert(w->cert, &w->ours[0]);
	lb_rig_advance(w->r, 0);
	ck_assert_str_eq(lb_rig_host(w->r, 0).state, "idle");
	call_start(w->r, &c);
	lb_rig_advance(w->r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_int_eq(c.state, CALL_ENDED);
	ck_assert_uint_eq(p->accepted, 1);
	world_free(&w);
}
END_TEST

/* ---- rotation --------------------------------------------------------------------------------------------------------------- */

START_TEST(a_new_certificate_of_ours_is_for_connections_to_come)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]);
	struct tls_paper next;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_goes(w);
	tls_paper_new(&next, &w->ca[0], "next", "URI:" ID("us"), -1800, 90000);
	rig_put_cert(w->cert, &next);
	lb_rig_advance(w->r, SEC);
	call_goes(w);
	ck_assert_uint_eq(p->accepted, 1);
	ck_assert_uint_eq(provider_conns(p), 1);
	tls_paper_end(&next);
	world_free(&w);
}
END_TEST

/* Both authorities, or the second alone. */
static void trust_also(struct world *w, bool first_too)
{
	char *first = rig_text(w->ca[0].path), *second = rig_text(w->ca[1].path);
	struct sb pem = {0};
	struct tls_trust *trust;
	struct err err = ERR_INIT;
	const char *why;

	sb_str(&pem, second);
	if (first_too)
		sb_str(&pem, first);
	ck_assert_msg(tls_trust_new("both", str_n(pem.p, pem.n), NULL, &trust, &err) == 0, "%s", err_str(&err));
	ck_assert_int_eq(secret_put_trust(w->roots, trust, &why), 0);
	sb_end(&pem);
	free(first);
	free(second);
}

START_TEST(other_roots_close_idle_connections_and_replace_busy_ones_before_they_drain)
{
	struct world *w = world_new();
	struct provider *idle = secure(w, ONE, ANSWERS, &w->a[0]), *busy = secure(w, TWO, HOLDS, &w->a[0]);
	struct call c[3];

	ready(w);
	trust_also(w, true);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio " TWO "+istio");
	call_start(w->r, &c[0]);
	call_start(w->r, &c[1]);
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(idle->requests, 1);
	ck_assert_uint_eq(busy->held, 1);
	rig_put_trust(w->roots, &w->ca[0]); /* one root less */
	lb_rig_advance(w->r, SEC / 10);
	ck_assert_uint_eq(provider_conns(idle), 0);
	ck_assert_uint_eq(idle->accepted, 1);    /* nobody needs another one yet */
	ck_assert_uint_eq(busy->accepted, 2);    /* the replacement is up */
	ck_assert_uint_eq(provider_conns(busy), 2);
	ck_assert_uint_eq(busy->held, 1);
	/* The next call there is on the new connection at once, the old one has its call to the end. */
	call_start(w->r, &c[2]);
	if (c[2].host && strcmp(c[2].host->text, TWO) != 0) { /* round robin: the idle one's turn */
		lb_rig_advance(w->r, 0);
		call_start(w->r, &c[2]);
	}
	ck_assert_int_eq(c[2].state, CALL_OPEN);
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(busy->accepted, 2);
	provider_answer(busy);
	lb_rig_advance(w->r, SEC);
	ck_assert_int_eq(c[1].cause, END_DONE);
	ck_assert_int_eq(c[2].cause, END_DONE);
	ck_assert_uint_eq(provider_conns(busy), 1);
	ck_assert_uint_eq(stat_get(&w->r->loop->stats, STAT_CONNECT_FAILED), 0);
	world_free(&w);
}
END_TEST

START_TEST(one_that_is_being_made_when_roots_change_twice_is_the_replacement_and_no_further_one_is_needed)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, HOLDS, &w->a[0]);
	struct call held, next;

	ready(w);
	trust_also(w, true);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_start(w->r, &held);
	lb_rig_advance(w->r, SEC);
	ck_assert_uint_eq(p->held, 1);
	simnet_knobs(w->r->net)->latency_ns = 300 * MS;
	rig_put_trust(w->roots, &w->ca[0]);
	lb_rig_advance(w->r, SEC + SEC / 10); /* a handshake is under way */
	trust_also(w, true);
	rig_put_trust(w->roots, &w->ca[0]);
	lb_rig_advance(w->r, 4 * SEC);
	ck_assert_uint_eq(p->accepted, 3); /* it was begun again, by the roots of now */
	call_start(w->r, &next);
	ck_assert_int_eq(next.state, CALL_OPEN); /* at once */
	lb_rig_advance(w->r, SEC);
	ck_assert_uint_eq(p->accepted, 3);
	provider_answer(p);
	provider_answer(p);
	lb_rig_advance(w->r, SEC);
	world_free(&w);
}
END_TEST

START_TEST(who_is_trusted_no_more_serves_no_call_that_comes_after)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, HOLDS, &w->a[0]);
	struct call held, c;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_start(w->r, &held);
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(p->held, 1);
	trust_also(w, false);
	lb_rig_advance(w->r, SEC / 10);
	ck_assert_int_eq(held.state, CALL_OPEN);
	call(w, &c);
	ck_assert_int_eq(c.state, CALL_FAILED);
	ck_assert_uint_eq(p->requests, 1);
	provider_answer(p);
	lb_rig_advance(w->r, 0);
	ck_assert_int_eq(held.cause, END_DONE); /* begun when it was trusted */
	ck_assert_uint_eq(provider_conns(p), 0);
	world_free(&w);
}
END_TEST

/* Roots, certificates of both sides and names change all the time under calls, and none is lost. */
START_TEST(no_call_is_lost_while_everything_rotates)
{
	struct world *w = world_new();
	struct provider *p[2] = {secure(w, ONE, ANSWERS, &w->a[0]), secure(w, TWO, ANSWERS, &w->a[0])};
	struct call c[20];
	uint32_t done = 0;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio " TWO "+istio");
	simnet_knobs(w->r->net)->latency_ns = MS;
	for (int round = 0; round < 40; round++) {
		switch (round % 4) {
		case 0:
			trust_also(w, true);
			break;
		case 1:
			rig_put_trust(w->roots, &w->ca[0]);
			break;
		case 2:
			rig_put_cert(w->cert, &w->ours[0]);
			break;
		default: {
			struct tls_want *want = accepts(ID("a"));
			char san[64];

			snprintf(san, sizeof(san), ID("r%d"), round);
			tls_want_rule(want, TLS_NAME_URI, TLS_EXACT, str_of(san));
			tls_want_seal(want);
			lb_rig_declare(w->r, spec_tls(want, NULL), "");
			lb_rig_publish(w->r, set_of(w, ONE "+istio " TWO "+istio"));
		}
		}
		for (size_t i = 0; i < UNIT_COUNT(c); i++) {
			call_start(w->r, &c[i]);
			if (i % 4 == 0)
				lb_rig_advance(w->r, MS);
		}
		lb_rig_advance(w->r, SEC / 10);
		for (size_t i = 0; i < UNIT_COUNT(c); i++) {
			ck_assert_msg(c[i].state == CALL_ENDED && c[i].cause == END_DONE, "round %d, call %zu: state %d, %s", round, i, c[i].state, c[i].why);
			done++;
		}
	}
	ck_assert_uint_eq(p[0]->requests + p[1]->requests, done);
	ck_assert_uint_eq(stat_get(&w->r->loop->stats, STAT_CONNECT_FAILED), 0);
	ck_assert_uint_le(provider_conns(p[0]), 2);
	world_free(&w);
}
END_TEST

START_TEST(other_names_are_another_pool_and_the_old_one_drains)
{
	struct world *w = world_new();
	struct provider *p = secure(w, ONE, HOLDS, &w->a[0]);
	struct call held, c;
	struct tls_want *more = accepts(ID("a"));
	struct pool *old;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_start(w->r, &held);
	lb_rig_advance(w->r, 0);
	old = host(w, 0)->pool;
	tls_want_rule(more, TLS_NAME_URI, TLS_EXACT, STR(ID("b")));
	tls_want_seal(more);
	lb_rig_declare(w->r, spec_tls(more, NULL), "");
	lb_rig_publish(w->r, set_of(w, ONE "+istio"));
	ck_assert_ptr_ne(host(w, 0)->pool, old);
	call_start(w->r, &c);
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(p->accepted, 2);
	ck_assert_uint_eq(p->held, 2);
	provider_answer(p);
	lb_rig_advance(w->r, 0);
	ck_assert_int_eq(held.cause, END_DONE);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(provider_conns(p), 1);
	/* Names that the provider does not have: it is called no more. */
	lb_rig_declare(w->r, spec_tls(accepts(ID("b")), NULL), "");
	lb_rig_publish(w->r, set_of(w, ONE "+istio"));
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(provider_conns(p), 0);
	call(w, &c);
	ck_assert_int_eq(c.state, CALL_FAILED);
	world_free(&w);
}
END_TEST

/* ---- what cannot be had ------------------------------------------------------------------------------------------------------ */

START_TEST(where_tls_cannot_be_had_nothing_is_sent_and_the_reason_is_told)
{
	struct world *w = world_new();
	struct provider *one = provider_new(w->r, ONE, ANSWERS), *two = provider_new(w->r, TWO, ANSWERS);
	struct call c;

	w->space.cert = NULL; /* no identity */
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio " TWO);
	for (int i = 0; i < 6; i++) /* the others serve */
		call_goes(w);
	ck_assert_uint_eq(one->accepted, 0);
	ck_assert_uint_eq(two->requests, 6);
	ck_assert_uint_eq(lb_rig_view(w->r).unusable, 1);
	ck_assert_str_eq(lb_rig_host(w->r, 0).state, "no TLS");
	lb_rig_publish(w->r, set_of(w, ONE "+istio"));
	ck_assert_int_eq(call_start(w->r, &c), CALL_NEW);
	ck_assert_int_eq(c.picked, PICK_UNUSABLE);
	ck_assert_str_eq(cluster_unusable(w->r->cluster), "'demo' wants TLS ('istio') with a certificate of ours (identity): the app has no identity");
	ck_assert_str_eq(lb_rig_host(w->r, 0).why, cluster_unusable(w->r->cluster));
	ck_assert_int_eq(cluster_truth(w->r->cluster), TRUTH_NOT_SERVING);
	/* The app is given one. */
	provider_shows(w, one, &w->a[0], &w->ca[0]);
	w->space.cert = w->cert;
	ready(w);
	clusters_secrets_changed(w->r->clusters);
	call_goes(w);
	ck_assert_uint_eq(one->shaken, 1);
	/* And it is taken away again: who is called by it is called no more. */
	w->space.cert = NULL;
	clusters_secrets_changed(w->r->clusters);
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(provider_conns(one), 0);
	ck_assert_int_eq(call_start(w->r, &c), CALL_NEW);
	ck_assert_int_eq(c.picked, PICK_UNUSABLE);
	world_free(&w);
}
END_TEST

START_TEST(without_a_space_of_secrets_there_is_no_tls)
{
	struct world *w = world_new();
	struct call c;

	mesh_set_space(w->r->mesh, NULL);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE "+istio");
	call_start(w->r, &c);
	ck_assert_int_eq(c.picked, PICK_UNUSABLE);
	ck_assert_ptr_nonnull(strstr(cluster_unusable(w->r->cluster), "this service's app has no identity"));
	world_free(&w);
}
END_TEST

START_TEST(an_endpoint_that_joins_the_mesh_gets_no_plaintext_from_then_on)
{
	struct world *w = world_new();
	struct provider *p = provider_new(w->r, ONE, ANSWERS);
	struct call waits;

	ready(w);
	declare(w, spec_tls(accepts(ID("a")), NULL), ONE);
	call_goes(w);
	provider_shows(w, p, &w->a[0], &w->ca[0]);
	lb_rig_publish(w->r, set_of(w, ONE "+istio")); /* the same address, the same spec, other metadata */
	lb_rig_advance(w->r, 0);
	ck_assert_uint_eq(provider_conns(p), 0);
	call_goes(w);
	ck_assert_uint_eq(p->shaken, 1);
	ck_assert_uint_eq(p->unshaken, 0);
	/* And back. */
	p->tls = NULL;
	lb_rig_publish(w->r, set_of(w, ONE));
	call_start(w->r, &waits);
	lb_rig_advance(w->r, SEC / 10);
	ck_assert_int_eq(waits.cause, END_DONE);
	ck_assert_uint_eq(p->shaken, 1);
	world_free(&w);
}
END_TEST

/* ---- names of servers -------------------------------------------------------------------------------------------------------- */

static struct cluster_spec *spec_of_server(void)
{
	struct cluster_spec *spec = lb_rig_spec();

	spec->want = rig_want(true);
	spec->want->names = TLS_NAMES_SERVER;
	tls_want_seal(spec->want);
	spec_seal(spec);
	return spec;
}

START_TEST(a_provider_by_name_must_have_that_name)
{
	const struct { const char *host; bool ok; } rows[] = {{"a.test", true}, {"b.test", false}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		struct provider *p = secure(w, ONE, ANSWERS, &w->a[0]);
		struct sb endpoint = {0};
		struct call c;

		ready(w);
		dns_table_set(w->r->dns, rows[i].host, "10.0.0.1", 60 * SEC);
		sb_fmt(&endpoint, "%s:1", rows[i].host);
		lb_rig_declare(w->r, spec_of_server(), "");
		lb_rig_publish(w->r, set_of(w, endpoint.p));
		call_start(w->r, &c);
		lb_rig_advance(w->r, SEC / 10);
		call(w, &c);
		if (rows[i].ok)
			ck_assert_msg(c.state == CALL_ENDED && c.cause == END_DONE, "%s", c.why);
		else
			ck_assert_msg(c.state == CALL_FAILED && strstr(c.why, "b.test"), "%d %s", c.state, c.why);
		ck_assert_uint_eq(p->requests > 0, rows[i].ok);
		sb_end(&endpoint);
		world_free(&w);
	}
}
END_TEST

/* Two names of one address: who is asked for is another one. Where nobody asks for the name, it is one. */
START_TEST(two_names_of_one_address_share_a_pool_unless_tls_asks_for_them)
{
	static const struct { enum tls_names names; const char *sni; bool host_sni, plain, one; } rows[] = {
		{TLS_NAMES_SERVER, NULL, .one = false},     {TLS_NAMES_SERVER, "x.test", .one = true}, {TLS_NAMES_SERVER, "x.test", .host_sni = true, .one = false},
		{TLS_NAMES_ANY, "x.test", .host_sni = true}, {TLS_NAMES_ANY, NULL, .host_sni = true},   {TLS_NAMES_ANY, NULL, .one = true},
		{TLS_NAMES_ANY, "x.test", .one = true},      {.plain = true, .one = true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		struct cluster_spec *spec = lb_rig_spec();
		struct call c;

		ready(w);
		dns_table_set(w->r->dns, "a.test", "10.0.0.1", 60 * SEC);
		dns_table_set(w->r->dns, "b.test", "10.0.0.1", 60 * SEC);
		if (!rows[i].plain) {
			spec->want = rig_want(true);
			spec->want->names = rows[i].names;
			spec->want->sni = rows[i].sni ? xstrdup(rows[i].sni) : NULL;
			spec->want->host_sni = rows[i].host_sni;
			tls_want_seal(spec->want);
		}
		spec_seal(spec);
		lb_rig_declare(w->r, spec, "");
		lb_rig_publish(w->r, set_of(w, "a.test:1 b.test:1"));
		call_start(w->r, &c); /* now somebody wants to know their addresses */
		lb_rig_advance(w->r, SEC / 10);
		struct pool *a = host(w, 0)->pool, *b = host(w, 1)->pool;
		ck_assert_msg((a == b) == rows[i].one, "row %zu", i);
		if (rows[i].one)
			ck_assert_ptr_null(pool_host(a));
		else
			ck_assert_msg(pool_host(a) && pool_host(b) && strcmp(pool_host(a), "a.test") == 0 && strcmp(pool_host(b), "b.test") == 0, "row %zu", i);
		world_free(&w);
	}
}
END_TEST

/* ---- many ---------------------------------------------------------------------------------------------------------------------- */

static void not_ready(struct pool_wait *w, struct stream *s)
{
	(void)w, (void)s;
	ck_abort_msg("nobody listens there");
}

static void not_connected(struct pool_wait *w, int err, const char *why)
{
	(void)w, (void)err, (void)why;
}

static const char *wants_name(const struct host *h)
{
	return transport_want(pool_transport(h->pool))->rules[0].text;
}

/* Whose turn to be settled has not come: opened all the same, it goes by what is declared now. */
static void opens_by_the_new_names(struct host *h)
{
	static const struct stream_events nothing;
	struct pool_wait wait = {.ready = not_ready, .failed = not_connected};
	const char *why = NULL;
	int err = 0;

	ck_assert_str_eq(wants_name(h), ID("a"));
	ck_assert_ptr_null(host_open(h, &wait, &nothing, NULL, &err, &why));
	ck_assert_int_eq(err, 0);
	ck_assert_str_eq(wants_name(h), ID("b"));
	pool_unwait(&wait);
}

START_TEST(a_hundred_thousand_endpoints_with_other_names_are_taken_over_in_slices_and_by_two_transports)
{
	enum { MANY = 100000 };
	struct world *w = world_new();
	struct cluster_spec *spec = lb_rig_spec();
	struct transports_info info;
	uint32_t turns = 0, early = 0;

	ready(w);
	spec->want = accepts(ID("a"));
	spec_seal(spec);
	lb_rig_declare(w->r, spec, "");
	lb_rig_publish(w->r, set_range(MANY, UINT32_MAX, NULL));
	while (w->r->cluster->rebuild || w->r->cluster->settle)
		ck_assert_int_eq(loop_turn(w->r->loop, 0), 0);
	for (int i = 0; i < 5000; i++)
		host(w, (uint32_t)i);
	transports_info(w->r->transports, &info);
	ck_assert_uint_eq(info.transports, 1);
	spec = lb_rig_spec();
	spec->want = accepts(ID("b"));
	spec_seal(spec);
	struct cluster_spec *old = w->r->decl.spec;
	w->r->decl.spec = spec;
	w->r->decl.changed(&w->r->decl);
	spec_unref(&old);
	while (w->r->cluster->rebuild || w->r->cluster->settle) {
		ck_assert_int_eq(loop_turn(w->r->loop, 0), 0);
		ck_assert_uint_le(w->r->cluster->walked, REBUILD_SLICE + ENDPOINT_BLOCK);
		ck_assert_uint_lt(turns++, 1000);
		if (w->r->cluster->settle)
			opens_by_the_new_names(w->r->cluster->hosts[early++]);
	}
	ck_assert_uint_gt(early, 0);
	ck_assert_uint_gt(turns, MANY / REBUILD_SLICE);
	lb_rig_advance(w->r, 0);
	transports_info(w->r->transports, &info);
	ck_assert_uint_eq(info.transports, 1);
	world_free(&w);
}
END_TEST

UNIT_SUITE("pool_tls", a_call_goes_over_mtls_and_people_see_who_answered, equal_wants_share_a_pool_and_others_never_do, plaintext_and_tls_live_beside_each_other_in_one_cluster,
	a_provider_of_another_identity_is_not_called_and_the_call_says_who_it_was, a_secret_that_comes_late_keeps_the_call_waiting_and_no_longer,
	a_secret_that_cannot_be_had_fails_the_call_with_its_reason_and_no_back_off_outlives_its_coming, a_new_certificate_of_ours_is_for_connections_to_come,
	other_roots_close_idle_connections_and_replace_busy_ones_before_they_drain,
	one_that_is_being_made_when_roots_change_twice_is_the_replacement_and_no_further_one_is_needed, who_is_trusted_no_more_serves_no_call_that_comes_after, no_call_is_lost_while_everything_rotates,
	other_names_are_another_pool_and_the_old_one_drains, where_tls_cannot_be_had_nothing_is_sent_and_the_reason_is_told, without_a_space_of_secrets_there_is_no_tls,
	an_endpoint_that_joins_the_mesh_gets_no_plaintext_from_then_on, a_provider_by_name_must_have_that_name, two_names_of_one_address_share_a_pool_unless_tls_asks_for_them,
	a_hundred_thousand_endpoints_with_other_names_are_taken_over_in_slices_and_by_two_transports)
