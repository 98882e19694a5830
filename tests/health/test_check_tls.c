/* Checks of providers that want TLS: each kind of probe by the transport of the calls, by another one where the check says so, and never in plaintext. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "health/checker.h"
#include "lb/cluster.h"
#include "tests/health/fake.h"
#include "tests/net/materialrig.h"
#include "tests/unit.h"

#define AT "10.0.0.1:80"
#define ID(name) "spiffe://mesh.test/ns/n/sa/" name

static struct fakes *f;
static struct fake *k;
static struct transports *transports;
static struct tls_ca ca, other;
static struct tls_paper ours, theirs;
static struct secret *cert, *roots;
static struct rig_space space;
static struct tls_want *callers;
static struct tls_context *server;
static struct health_check check;
static struct addr at;
static struct probe_spec spec;

struct heard { struct probe *probe; /* NULL: it is over */ uint32_t times; enum probe_verdict v; char why[300]; };

static struct tls_context *context_of(const struct tls_paper *paper, const struct tls_ca *demands, const char *alpn)
{
	struct tls_cert *c = tls_cert_of(paper);
	struct tls_trust *t = tls_trust_of(demands);
	struct tls_spec s = {.cert = c, .trust = t, .alpn = alpn, .server = true};
	struct tls_context *made = NULL;
	struct err err = ERR_INIT;

	ck_assert_msg(tls_context_new(&s, &made, &err) == 0, "%s", err_str(&err));
	tls_cert_unref(&c);
	tls_trust_unref(&t);
	return made;
}

static struct tls_want *accepts(const char *san)
{
	struct tls_want *w = rig_want(true);

	w->names = TLS_NAMES_RULES;
	tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, str_of(san));
	tls_want_seal(w);
	return w;
}

static struct transport *transport_for(const char *san)
{
	struct tls_want *w = accepts(san);
	const char *why = "";
	struct transport *t = transport_get(transports, w, &space.space, false, &why);

	ck_assert_msg(t != NULL, "%s", why);
	tls_want_unref(&w);
	return t;
}

static void setup(void)
{
	f = fakes_new();
	transports = transports_new(f->loop);
	int64_t now = (int64_t)(f->loop->ops->wall_ns(f->loop->ops_ctx) / SEC);
	tls_ca_new(&ca, "ours", now);
	tls_ca_new(&other, "other", now);
	tls_paper_new(&ours, &ca, "us", "URI:" ID("us"), -3600, 86400);
	tls_paper_new(&theirs, &ca, "them", "URI:" ID("them"), -3600, 86400);
	cert = secret_new(transports, SECRET_CERT, "default", "sds unix:/run/x", NULL, NULL);
	roots = secret_new(transports, SECRET_ROOTS, "ROOTCA", "sds unix:/run/x", NULL, NULL);
	rig_space(&space, cert, roots);
	callers = tls_want_new();
	tls_want_seal(callers);
	server = context_of(&theirs, &ca, "h2,http/1.1,istio-http/1.1");
	health_check_default(&check);
	check.timeout_ns = SEC;
	at = simnet_addr(AT);
	spec = (struct probe_spec){.loop = f->loop, .limits = &f->lim, .account = &f->loop->memory, .check = &check, .addrs = &at, .naddrs = 1, .host = "demo"};
}

static void teardown(void)
{
	transport_unref(&spec.transport);
	fakes_advance(f, 10 * MS);
	health_check_end(&check);
	secret_unref(&cert);
	secret_unref(&roots);
	fakes_advance(f, MS);
	transports_free(&transports);
	tls_context_unref(&server);
	tls_want_unref(&callers);
	tls_paper_end(&ours);
	tls_paper_end(&theirs);
	tls_ca_end(&ca);
	tls_ca_end(&other);
	fakes_free(&f);
}

static void ready(void)
{
	rig_put_cert(cert, &ours);
	rig_put_trust(roots, &ca);
	fakes_advance(f, 0);
}

static void heard(void *user, enum probe_verdict v, const char *why)
{
	struct heard *h = user;

	h->times++;
	h->v = v;
	h->probe = NULL;
	snprintf(h->why, sizeof(h->why), "%s", why);
}

/* Of a watch: it goes on while it passes. */
static void watch_heard(void *user, enum probe_verdict v, const char *why)
{
	struct heard *h = user;
	struct probe *p = h->probe;

	heard(user, v, why);
	h->probe = v == PROBE_PASSED ? p : NULL;
}

static struct heard ask(void)
{
	struct heard h = {0};

	h.probe = probe_start(&spec, heard, &h);
	fakes_advance(f, check.timeout_ns + 10 * MS);
	ck_assert_uint_eq(h.times, 1);
	fakes_advance(f, 10 * MS);
	return h;
}

enum way { WAY_CONNECT, WAY_BYTES, WAY_HTTP1, WAY_HTTP2, WAY_GRPC, WAYS };

static void secure(struct fake *fake)
{
	fake->tls = server;
	fake->callers = (struct tls_peer){.want = callers};
}

/* A peer that is well by this way, with TLS, and the check that asks it. */
static void peer_for(enum way way)
{
	k = fake_new(f, AT, way == WAY_HTTP2 || way == WAY_GRPC);
	secure(k);
	check.kind = way == WAY_GRPC ? CHECK_GRPC : way == WAY_HTTP1 || way == WAY_HTTP2 ? CHECK_HTTP : CHECK_TCP;
	check.http2 = way == WAY_HTTP2;
	if (way == WAY_BYTES) {
		check.send = (struct check_bytes){(uint8_t *)xstrdup("ping"), 4};
		check.receive = xnew(struct check_bytes);
		check.receive[check.nreceive++] = (struct check_bytes){(uint8_t *)xstrdup("pong"), 4};
		k->after = "ping";
		k->say = STR("pong");
	} else if (way == WAY_HTTP1) {
		k->after = "\r\n\r\n";
		k->say = STR("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
	} else if (way == WAY_CONNECT) {
		k->after = "never";
	} else if (way == WAY_HTTP2) {
		k->head = ":status: 200\n";
		k->body = STR("");
		k->trailers = NULL;
	}
}

static void each_way(void (*fn)(enum way way))
{
	for (enum way way = 0; way < WAYS; way++) {
		setup();
		peer_for(way);
		fn(way);
		teardown();
	}
}

static void asks_well(enum way way)
{
	ready();
	spec.transport = transport_for(ID("them"));
	struct heard h = ask();
	ck_assert_msg(h.v == PROBE_PASSED, "way %d: %d %s", way, h.v, h.why);
	if (way != WAY_CONNECT) /* connecting is enough: it closes before the peer has heard that it was accepted */
		ck_assert_uint_eq(k->shaken, 1);
	if (way == WAY_HTTP2 || way == WAY_GRPC)
		ck_assert_ptr_nonnull(strstr(k->got.p, ":scheme: https"));
}

START_TEST(each_kind_of_check_asks_over_tls)
{
	each_way(asks_well);
}
END_TEST

static void finds_another(enum way way)
{
	ready();
	spec.transport = transport_for(ID("somebody-else"));
	struct heard h = ask();
	ck_assert_msg(h.v == PROBE_FAILED && strstr(h.why, ID("them")) && strstr(h.why, ID("somebody-else")), "way %d: %d %s", way, h.v, h.why);
	ck_assert_uint_eq(k->requests, 0);
}

START_TEST(a_peer_of_another_identity_fails_its_check_and_both_names_are_told)
{
	each_way(finds_another);
}
END_TEST

static void is_refused(enum way way)
{
	if (way != WAY_HTTP2 && way != WAY_GRPC) /* TLS 1.3: bytes alone do not tell whether the peer has taken our certificate */
		return;
	tls_context_unref(&server);
	server = k->tls = context_of(&theirs, &other, "h2");
	ready();
	spec.transport = transport_for(ID("them"));
	struct heard h = ask();
	ck_assert_msg(h.v == PROBE_FAILED && !strstr(h.why, "does it want TLS"), "way %d: %d %s", way, h.v, h.why);
	ck_assert_uint_eq(k->requests, 0);
}

START_TEST(a_peer_that_refuses_our_certificate_fails_its_check)
{
	each_way(is_refused);
}
END_TEST

static void waits(enum way way)
{
	struct heard h = {0};

	spec.transport = transport_for(ID("them"));
	h.probe = probe_start(&spec, heard, &h);
	fakes_advance(f, SEC / 2);
	ck_assert_uint_eq(h.times, 0);
	ck_assert_uint_eq(k->accepted, 0);
	ready();
	fakes_advance(f, SEC);
	ck_assert_msg(h.times == 1 && h.v == PROBE_PASSED, "way %d: %d %s", way, h.v, h.why);
}

START_TEST(a_check_waits_for_secrets_as_long_as_it_may)
{
	each_way(waits);
}
END_TEST

static void waits_in_vain(enum way way)
{
	spec.transport = transport_for(ID("them"));
	struct heard h = ask();
	ck_assert_msg(h.v == PROBE_FAILED && strstr(h.why, "has not come"), "way %d: %d %s", way, h.v, h.why);
	secret_fail(cert, "the CA says no");
	fakes_advance(f, 0);
	h = ask();
	ck_assert_msg(h.v == PROBE_FAILED && strstr(h.why, "the CA says no"), "way %d: %d %s", way, h.v, h.why);
	ck_assert_uint_eq(k->accepted, 0);
}

START_TEST(without_secrets_nothing_is_asked_and_the_reason_is_told)
{
	each_way(waits_in_vain);
}
END_TEST

static struct heard cancel_at(uint64_t ns)
{
	struct heard h = {0};

	h.probe = probe_start(&spec, heard, &h);
	fakes_advance(f, ns);
	probe_cancel(&h.probe);
	fakes_advance(f, SEC);
	return h;
}

static void is_cancelled(enum way way)
{
	(void)way;
	spec.transport = transport_for(ID("them"));
	ck_assert_uint_eq(cancel_at(10 * MS).times, 0); /* while it waits for secrets */
	ready();
	simnet_knobs(f->net)->latency_ns = 10 * MS;
	for (uint64_t ms = 0; ms < 60; ms += 5)
		cancel_at(ms * MS); /* in every state: what is left is told by fakes_free */
}

START_TEST(a_check_can_be_cancelled_at_any_time)
{
	each_way(is_cancelled);
}
END_TEST

START_TEST(what_is_kept_between_two_checks_ends_with_the_roots_it_was_judged_by)
{
	struct probe_keep *keep = NULL;

	setup();
	peer_for(WAY_HTTP2);
	ready();
	spec.transport = transport_for(ID("them"));
	spec.keep = &keep;
	ck_assert_int_eq(ask().v, PROBE_PASSED);
	ck_assert_int_eq(ask().v, PROBE_PASSED);
	ck_assert_uint_eq(k->shaken, 1);
	rig_put_trust(roots, &other);
	fakes_advance(f, 10 * MS);
	ck_assert_uint_eq(k->open, 0);
	ck_assert_int_eq(ask().v, PROBE_FAILED);
	rig_put_trust(roots, &ca);
	fakes_advance(f, 10 * MS);
	ck_assert_int_eq(ask().v, PROBE_PASSED);
	probe_keep_close(&keep);
	teardown();
}
END_TEST

START_TEST(a_watch_is_opened_anew_when_other_roots_are_trusted)
{
	struct heard h = {0};

	setup();
	peer_for(WAY_GRPC);
	k->hold_end = true;
	ready();
	spec.transport = transport_for(ID("them"));
	h.probe = probe_watch(&spec, watch_heard, &h);
	fakes_advance(f, 100 * MS);
	ck_assert_int_eq(h.v, PROBE_PASSED);
	rig_put_trust(roots, &other);
	fakes_advance(f, 10 * MS);
	ck_assert_int_eq(h.v, PROBE_VOID);
	ck_assert_uint_eq(k->open, 0);
	probe_cancel(&h.probe);
	teardown();
}
END_TEST

/* ---- the checker ------------------------------------------------------------------------------------------------------------- */

struct cluster_world { struct dns *dns; struct mesh *mesh; struct clusters *clusters; struct checker *checker; struct mesh_cluster decl; struct cluster *cluster; };

static void world_begin(struct cluster_world *w, struct cluster_spec *taken)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);

	*w = (struct cluster_world){.dns = dns_new_table(f->loop, MS), .mesh = mesh_new(1)};
	mesh_set_space(w->mesh, &space.space);
	w->clusters = clusters_new(f->loop, &f->lim, w->mesh, w->dns, transports);
	w->checker = checker_new(f->loop, NULL, &f->lim, w->clusters);
	spec_seal(taken);
	ck_assert_int_eq(endpoints_group(b), 0);
	ck_assert_int_eq(endpoints_put_text(b, STR(AT), 1), 0);
	ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
	w->decl = (struct mesh_cluster){.mesh = w->mesh, .name = (char *)"demo", .spec = taken, .endpoints = endpoints_done(&b, 0)};
	w->cluster = cluster_live(w->clusters, &w->decl);
}

static void world_end(struct cluster_world *w)
{
	checker_free(&w->checker);
	clusters_free(&w->clusters);
	fakes_advance(f, 10 * MS);
	mesh_free(&w->mesh);
	dns_free(&w->dns);
	spec_unref(&w->decl.spec);
	endpoints_unref(&w->decl.endpoints);
}

static struct cluster_spec *spec_checked(void)
{
	struct cluster_spec *s = spec_new("demo");

	s->want = accepts(ID("them"));
	s->nchecks = 1;
	s->checks = xnew(struct health_check);
	health_check_copy(&s->checks[0], &check);
	health_check_settle(&s->checks[0]);
	return s;
}

static enum host_check state_after(struct cluster_world *w, uint64_t ns)
{
	fakes_advance(f, ns);
	return cluster_host_at(w->cluster, 0)->check;
}

START_TEST(checks_go_by_the_transport_of_calls_and_http_1_is_offered_where_it_is_spoken)
{
	const struct { enum way way; const char *calls_alpn, *alpn, *agreed; } rows[] = {
		{WAY_GRPC, "h2", NULL, "h2"},
		{WAY_HTTP1, "h2", NULL, "http/1.1"},
		{WAY_HTTP1, "istio-h2,istio,h2", NULL, "istio-http/1.1"},
		{WAY_HTTP1, "h2", "istio-http/1.1", "istio-http/1.1"},
		{WAY_BYTES, "h2", "http/1.1", "http/1.1"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_world w;
		struct cluster_spec *s;

		setup();
		tls_context_unref(&server);
		server = context_of(&theirs, &ca, strstr(rows[i].agreed, "istio") ? "istio-http/1.1,http/1.1,h2" : "h2,http/1.1");
		peer_for(rows[i].way);
		check.alpn = rows[i].alpn ? xstrdup(rows[i].alpn) : NULL;
		ready();
		s = spec_checked();
		free(s->want->alpn);
		s->want->alpn = xstrdup(rows[i].calls_alpn);
		tls_want_seal(s->want);
		world_begin(&w, s);
		ck_assert_msg(state_after(&w, SEC) == HOST_PASSED, "row %zu: %d", i, state_after(&w, 0));
		ck_assert_msg(strcmp(k->alpn, rows[i].agreed) == 0, "row %zu: '%s'", i, k->alpn);
		world_end(&w);
		teardown();
	}
}
END_TEST

static void opened(struct pool_wait *w, struct stream *s)
{
	(void)w;
	stream_reset(s, H2_CANCEL);
}

static void not_opened(struct pool_wait *w, int err, const char *why)
{
	(void)w, (void)err;
	ck_abort_msg("%s", why);
}

static void ignored(void *user, const struct stream_end *end)
{
	(void)user, (void)end;
}

START_TEST(a_check_with_an_alpn_of_its_own_does_not_ask_on_the_connection_of_calls)
{
	for (int own = 0; own < 2; own++) {
		static const struct stream_events nothing = {.on_end = ignored};
		struct pool_wait wait = {.ready = opened, .failed = not_opened};
		struct cluster_world w;
		const char *why;
		uint32_t before;
		int err;

		setup();
		peer_for(WAY_GRPC);
		check.alpn = own ? xstrdup("h2,http/1.1") : NULL;
		check.no_traffic_interval_ns = SEC; /* a connection that is silent for long is not lent */
		ready();
		world_begin(&w, spec_checked());
		ck_assert_int_eq(state_after(&w, SEC), HOST_PASSED);
		ck_assert_ptr_null(host_open(cluster_host_at(w.cluster, 0), &wait, &nothing, NULL, &err, &why));
		ck_assert_int_eq(err, 0);
		fakes_advance(f, SEC);
		before = k->shaken;
		ck_assert_int_eq(state_after(&w, 30 * SEC), HOST_PASSED);
		ck_assert_int_eq(k->shaken > before + 2, own);
		world_end(&w);
		teardown();
	}
}
END_TEST

START_TEST(a_check_may_choose_its_transport_socket_by_criteria)
{
	struct cluster_world w;
	struct cluster_spec *s;

	setup();
	peer_for(WAY_GRPC);
	ready();
	check.criteria = xnew(struct tls_pair);
	check.criteria[check.ncriteria++] = (struct tls_pair){xstrdup("for"), xstrdup("checks")};
	s = spec_checked();
	tls_want_unref(&s->want);
	s->want = accepts(ID("nobody")); /* what calls want: the check would fail by it */
	s->tls = xnew(struct tls_row);
	s->ntls = 1;
	s->tls[0] = (struct tls_row){.name = xstrdup("checks"), .pairs = xnew(struct tls_pair), .npairs = 1, .want = accepts(ID("them"))};
	s->tls[0].pairs[0] = (struct tls_pair){xstrdup("for"), xstrdup("checks")};
	world_begin(&w, s);
	ck_assert_int_eq(state_after(&w, SEC), HOST_PASSED);
	world_end(&w);
	teardown();
}
END_TEST

START_TEST(a_check_whose_tls_cannot_be_had_fails_with_the_reason_and_connects_to_nobody)
{
	struct cluster_world w;
	struct cluster_spec *s;
	struct check_view view;

	setup();
	peer_for(WAY_GRPC);
	k->tls = NULL; /* it would answer in plaintext */
	check.criteria = xnew(struct tls_pair);
	check.criteria[check.ncriteria++] = (struct tls_pair){xstrdup("for"), xstrdup("checks")};
	s = spec_checked();
	tls_want_unref(&s->want); /* calls go in plaintext */
	s->tls = xnew(struct tls_row);
	s->ntls = 1;
	s->tls[0] = (struct tls_row){.name = xstrdup("checks"), .pairs = xnew(struct tls_pair), .npairs = 1, .want = accepts(ID("them"))};
	s->tls[0].want->unbuilt = xstrdup("quic is not built");
	tls_want_seal(s->tls[0].want);
	s->tls[0].pairs[0] = (struct tls_pair){xstrdup("for"), xstrdup("checks")};
	world_begin(&w, s);
	ck_assert_int_eq(state_after(&w, SEC), HOST_FAILED);
	ck_assert(checker_host(cluster_host_at(w.cluster, 0), &view));
	ck_assert_ptr_nonnull(strstr(view.why, "not built"));
	ck_assert_uint_eq(k->accepted, 0);
	world_end(&w);
	teardown();
}
END_TEST

UNIT_SUITE("check_tls", each_kind_of_check_asks_over_tls, a_peer_of_another_identity_fails_its_check_and_both_names_are_told, a_peer_that_refuses_our_certificate_fails_its_check,
	a_check_waits_for_secrets_as_long_as_it_may, without_secrets_nothing_is_asked_and_the_reason_is_told, a_check_can_be_cancelled_at_any_time,
	what_is_kept_between_two_checks_ends_with_the_roots_it_was_judged_by, a_watch_is_opened_anew_when_other_roots_are_trusted,
	checks_go_by_the_transport_of_calls_and_http_1_is_offered_where_it_is_spoken,
	a_check_with_an_alpn_of_its_own_does_not_ask_on_the_connection_of_calls, a_check_may_choose_its_transport_socket_by_criteria,
	a_check_whose_tls_cannot_be_had_fails_with_the_reason_and_connects_to_nobody)
