/* net/dial: who wins, when the next one is tried, and what is said when nobody answers, with TLS and without. Virtual clock, peers by hand. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/dial.h"
#include "tests/net/materialrig.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000;
static const struct limits limits = {.streams_per_connection = 1000, .header_bytes = 32768, .field_count = 200, .header_wire_bytes = 40960,
	.continuations = 64, .header_budget = 262144, .premature_resets = 2000, .control_frames = 10000, .empty_frames = 100, .outbound_queue = 1000,
	.window_down = 262144, .window_up = 1048576, .window_down_conn = 1048576, .window_up_conn = 16777216, .replay_bytes = 65536,
	.stall_ns = UINT64_C(30000000000), .stall_bytes = 1024, .preface_time_ns = UINT64_C(5000000000), .header_time_ns = UINT64_C(5000000000)};

enum manner { SILENT, POLITE, RUDE, GARBAGE };
/* ctx: it speaks TLS, and is so mannered behind the handshake. */
struct server { struct sock_listen *l; enum manner manner; struct sock *taken; int accepted; uint64_t at_ns; SSL_CTX *ctx; struct tls_far peer; };
struct caller { struct simnet *n; struct dial *d; struct h2_conn *conn; int told, err, closed; const char *why; char why_text[512]; uint64_t began_ns, told_ns; };

static void nothing(void *user)
{
	(void)user;
}

static void peer_connected(void *user, int err)
{
	(void)user, (void)err;
}

static bool accepted(void *user, struct sock *taken)
{
	static const struct sock_events events = {.connected = peer_connected, .readable = nothing, .writable = nothing};
	static char settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0}, garbage[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	struct iovec polite = {settings, sizeof(settings)}, rude = {garbage, sizeof(garbage) - 1};
	struct server *sv = user;

	sock_close(&sv->taken);
	sv->accepted++;
	sv->at_ns = taken->loop->now_ns;
	if (sv->ctx) {
		tls_far_end(&sv->peer);
		if (sv->manner == POLITE || sv->manner == GARBAGE) {
			sv->peer.greeting = sv->manner == POLITE ? settings : garbage;
			sv->peer.greeting_n = sv->manner == POLITE ? sizeof(settings) : sizeof(garbage) - 1;
		}
		tls_far_start(&sv->peer, sv->ctx, taken);
		return true;
	}
	sv->taken = taken;
	sock_set(taken, &events, sv);
	if (sv->manner == POLITE)
		ck_assert_int_eq(sock_writev(taken, &polite, 1), 9);
	else if (sv->manner == GARBAGE)
		sock_writev(taken, &rude, 1);
	else if (sv->manner == RUDE)
		sock_close(&sv->taken);
	return true;
}

static void serve(struct simnet *n, struct server *sv, const char *at, enum manner manner)
{
	static const struct sock_listen_events events = {.accepted = accepted};
	struct addr a = simnet_addr(at);

	*sv = (struct server){.manner = manner};
	ck_assert_int_eq(sock_listen(simnet_loop(n), -1, &a, &events, sv, &sv->l), 0);
}

static void server_end(struct server *sv)
{
	sock_close(&sv->taken);
	tls_far_end(&sv->peer);
	sock_listen_close(&sv->l);
}

static void conn_closed(void *owner, int err, uint64_t carried)
{
	struct caller *c = owner;

	(void)err, (void)carried;
	c->conn = NULL;
	c->closed++;
}

static void dialed(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	struct caller *c = owner;

	ck_assert_ptr_eq(d, c->d);
	c->d = NULL;
	c->conn = conn;
	c->told++;
	c->err = err;
	snprintf(c->why_text, sizeof(c->why_text), "%s", why ? why : ""); /* it may be valid here only */
	c->why = why ? c->why_text : NULL;
	c->told_ns = simnet_now_ns(c->n) - c->began_ns;
}

static void asker_name(const void *ctx, struct sb *out)
{
	(void)ctx;
	sb_str(out, "a caller of the test");
}

/* addrs: separated by blanks. */
static void dial_tls(struct simnet *n, struct caller *c, const char *addrs, uint64_t timeout_ns, struct transport *transport, const char *host)
{
	static const struct h2_client_events events = {.on_up = nothing, .on_room = nothing, .on_goaway = nothing, .on_closed = conn_closed};
	struct loop *l = simnet_loop(n);
	struct addr list[20];
	struct dial_spec spec = {.addrs = list, .timeout_ns = timeout_ns, .limits = &limits, .account = &l->memory, .transport = transport, .host_name = host, .asker = {.name = asker_name}};
	char *text = xstrdup(addrs), *rest = text;

	for (char *one; (one = strsep(&rest, " "));)
		list[spec.count++] = simnet_addr(one);
	free(text);
	*c = (struct caller){.n = n, .began_ns = simnet_now_ns(n)};
	ck_assert_int_eq(dial_start(l, &spec, &events, c, dialed, &c->d), 0);
	ck_assert_int_eq(c->told, 0);
	memset(list, 0xff, sizeof(list)); /* the spec is copied */
}

static void dial(struct simnet *n, struct caller *c, const char *addrs, uint64_t timeout_ns)
{
	dial_tls(n, c, addrs, timeout_ns, NULL, NULL);
}

static void hang(struct simnet *n, const char *to)
{
	struct addr a = simnet_addr(to);

	simnet_on_connect(n, &a, SIMNET_HANG);
}

static void over(struct simnet *n, struct caller *c)
{
	if (c->conn)
		h2_conn_close(c->conn, H2_NO_ERROR);
	simnet_advance(n, 100 * ms);
	ck_assert_ptr_null(c->conn);
}

START_TEST(a_connection_is_handed_over_once_its_settings_came)
{
	struct simnet *n = simnet_new(1);
	struct server sv;
	struct caller c;

	serve(n, &sv, "10.0.0.1:80", POLITE);
	simnet_knobs(n)->latency_ns = 10 * ms;
	dial(n, &c, "10.0.0.1:80", 5000 * ms);
	simnet_advance(n, 100 * ms);
	ck_assert_int_eq(c.told, 1);
	ck_assert_int_eq(c.err, 0);
	ck_assert(h2_conn_is_up(c.conn));
	ck_assert_uint_eq(c.told_ns, 20 * ms); /* the server speaks when the connect arrives */
	simnet_advance(n, 10000 * ms);
	ck_assert_int_eq(c.told, 1);
	/* Its owner is the caller now. */
	sock_close(&sv.taken);
	simnet_advance(n, 100 * ms);
	ck_assert_int_eq(c.closed, 1);
	server_end(&sv);
	ck_assert_int_eq(simnet_open(n), 0);
	simnet_free(&n);
}
END_TEST

START_TEST(failures_are_told_once_with_what_they_were)
{
	static const struct { const char *to, *why; int rule, err; enum manner manner; uint64_t at_ms; } rows[] = {
		{"10.0.0.9:80", "connection refused", 0, -ECONNREFUSED, POLITE, 0},
		{"unix:/run/none.sock", "no such socket", 0, -ENOENT, POLITE, 0},
		{"10.0.0.1:80", "connection timeout", SIMNET_HANG, ERR_TIMEOUT, POLITE, 5000},
		{"10.0.0.1:80", "no route to host", -EHOSTUNREACH, -EHOSTUNREACH, POLITE, 0},
		{"10.0.0.1:80", "no SETTINGS from the peer", 0, ERR_TIMEOUT, SILENT, 5000},
		{"10.0.0.1:80", "the peer does not speak HTTP/2", 0, ERR_MALFORMED, GARBAGE, 0},
		{"10.0.0.1:80", "closed before SETTINGS (does it want TLS?)", 0, 0 /* any */, RUDE, 0},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct simnet *n = simnet_new(1);
		struct server sv;
		struct caller c;
		struct addr a = simnet_addr(rows[i].to);
		serve(n, &sv, "10.0.0.1:80", rows[i].manner);
		simnet_on_connect(n, &a, rows[i].rule);
		dial(n, &c, rows[i].to, 5000 * ms);
		simnet_advance(n, 20000 * ms);
		ck_assert_int_eq(c.told, 1);
		ck_assert_ptr_null(c.conn);
		ck_assert_str_eq(c.why, rows[i].why);
		ck_assert_int_lt(c.err, 0);
		if (rows[i].err)
			ck_assert_int_eq(c.err, rows[i].err);
		ck_assert_uint_eq(c.told_ns, rows[i].at_ms * ms);
		server_end(&sv);
		simnet_advance(n, 0);
		ck_assert_int_eq(simnet_open(n), 0);
		simnet_free(&n);
	}
}
END_TEST

START_TEST(families_take_turns_ipv6_first_250_ms_apart)
{
	struct simnet *n = simnet_new(1);
	struct server v4[2], v6[2];
	struct caller c;
	uint64_t began_ns = simnet_now_ns(n);

	serve(n, &v4[0], "10.0.0.1:80", SILENT);
	serve(n, &v4[1], "10.0.0.2:80", POLITE);
	serve(n, &v6[0], "[fd00::1]:80", SILENT);
	serve(n, &v6[1], "[fd00::2]:80", SILENT);
	dial(n, &c, "10.0.0.1:80 10.0.0.2:80 [fd00::1]:80 [fd00::2]:80", 5000 * ms);
	simnet_advance(n, 2000 * ms);
	ck_assert_uint_eq(v6[0].at_ns - began_ns, 0);
	ck_assert_uint_eq(v4[0].at_ns - began_ns, 250 * ms);
	ck_assert_uint_eq(v6[1].at_ns - began_ns, 500 * ms);
	ck_assert_uint_eq(v4[1].at_ns - began_ns, 750 * ms);
	ck_assert_int_eq(c.told, 1);
	ck_assert_int_eq(c.err, 0);
	over(n, &c);
	for (int i = 0; i < 2; i++) {
		server_end(&v4[i]);
		server_end(&v6[i]);
	}
	simnet_advance(n, 0);
	ck_assert_int_eq(simnet_open(n), 0); /* the losers were closed */
	simnet_free(&n);
}
END_TEST

START_TEST(a_refusal_brings_the_next_at_once_and_a_hanging_one_costs_250_ms)
{
	static const struct { const char *to; bool hangs; uint64_t at_ms; } rows[] = {
		{"10.0.0.8:80 10.0.0.9:80 10.0.0.1:80", false, 0},
		{"10.0.0.9:80 10.0.0.1:80", true, 250},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct simnet *n = simnet_new(1);
		struct server sv;
		struct caller c;
		serve(n, &sv, "10.0.0.1:80", POLITE);
		if (rows[i].hangs)
			hang(n, "10.0.0.9:80");
		dial(n, &c, rows[i].to, 5000 * ms);
		simnet_advance(n, 3000 * ms);
		ck_assert_int_eq(c.err, 0);
		ck_assert_ptr_nonnull(c.conn);
		ck_assert_uint_eq(c.told_ns, rows[i].at_ms * ms);
		over(n, &c);
		server_end(&sv);
		simnet_free(&n);
	}
}
END_TEST

START_TEST(one_timeout_holds_for_all_addresses_together)
{
	struct simnet *n = simnet_new(1);
	struct caller c;

	for (int i = 1; i <= 9; i++) {
		char text[32] = "10.0.0.0:80";
		text[7] = (char)('0' + i);
		hang(n, text);
	}
	dial(n, &c, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80", 1000 * ms);
	simnet_advance(n, 10000 * ms);
	ck_assert_int_eq(c.told, 1);
	ck_assert_uint_eq(c.told_ns, 1000 * ms);
	ck_assert_int_eq(simnet_open(n), 0);
	simnet_free(&n);
}
END_TEST

START_TEST(a_cancelled_dial_leaves_nothing_open_at_any_moment)
{
	for (uint64_t at_ms = 0; at_ms < 60; at_ms += 5) {
		struct simnet *n = simnet_new(1);
		struct server sv, other;
		struct caller c;
		serve(n, &sv, "[fd00::1]:80", SILENT);
		serve(n, &other, "10.0.0.1:80", SILENT);
		simnet_knobs(n)->latency_ns = 10 * ms;
		dial(n, &c, "[fd00::1]:80 10.0.0.1:80", 5000 * ms);
		simnet_advance(n, at_ms * ms + (at_ms > 40) * 250 * ms);
		dial_cancel(&c.d);
		ck_assert_ptr_null(c.d);
		simnet_advance(n, 6000 * ms);
		ck_assert_int_eq(c.told, 0);
		server_end(&sv);
		server_end(&other);
		simnet_advance(n, 100 * ms);
		ck_assert_int_eq(simnet_open(n), 0);
		simnet_free(&n);
	}
}
END_TEST

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------ */

struct tls_rig {
	struct simnet *n;
	struct loop *l;
	struct tls_ca ca, other;
	struct tls_paper paper, wrong, provider, mine, stranger;
	SSL_CTX *plain, *asking, *untrusted, *mesh;
	struct transports *all;
	struct secret *cert, *roots;
	struct rig_space space;
	struct transport *client;  /* shows nothing; checks the server's name */
	int failures;
	char failure[512];
};

static void failed(void *ctx, const struct transport_failure *f)
{
	struct tls_rig *r = ctx;

	ck_assert_ptr_nonnull(f->transport);
	ck_assert_uint_eq(addr_port(f->peer), 443);
	ck_assert_str_eq(f->whom, "a caller of the test");
	r->failures++;
	snprintf(r->failure, sizeof(r->failure), "%s", f->why);
}

static struct transport *transport_of(struct tls_rig *t, struct tls_want *taken)
{
	const char *why = "";

	tls_want_seal(taken);
	struct transport *x = transport_get(t->all, taken, &t->space.space, false, &why);
	ck_assert_msg(x != NULL, "%s", why);
	tls_want_unref(&taken);
	return x;
}

static struct tls_want *server_want(bool shows)
{
	struct tls_want *w = rig_want(shows);

	w->names = TLS_NAMES_SERVER;
	return w;
}

static struct tls_want *uri_want(const char *uri, const char *sni)
{
	struct tls_want *w = rig_want(true);

	w->names = TLS_NAMES_RULES;
	w->sni = xstrdup(sni);
	tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, str_of(uri));
	return w;
}

static void tls_rig_bare(struct tls_rig *t)
{
	*t = (struct tls_rig){.n = simnet_new(1)};
	struct loop *l = t->l = simnet_loop(t->n);
	int64_t now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000);
	tls_ca_new(&t->ca, "right", now);
	tls_ca_new(&t->other, "other", now);
	tls_paper_new(&t->paper, &t->ca, "server", "DNS:a.b IP:10.0.0.2", -3600, 3600);
	tls_paper_new(&t->wrong, &t->other, "server", "DNS:a.b", -3600, 3600);
	tls_paper_new(&t->provider, &t->ca, "provider", "URI:spiffe://mesh/ns/x/sa/v1", -3600, 3600);
	tls_paper_new(&t->mine, &t->ca, "mine", "URI:spiffe://mesh/ns/x/sa/me", -3600, 3600);
	tls_paper_new(&t->stranger, &t->other, "stranger", "URI:spiffe://mesh/ns/x/sa/me", -3600, 3600);
	t->plain = tls_server_new(&t->paper, 0, NULL);
	t->asking = tls_server_new(&t->paper, TLS1_3_VERSION, &t->ca);
	t->untrusted = tls_server_new(&t->wrong, 0, NULL);
	t->mesh = tls_server_new(&t->provider, 0, &t->ca);
	t->all = transports_new(l);
	transports_set_tell(t->all, failed, t);
	t->cert = secret_new(t->all, SECRET_CERT, "default", "sds unix:/run/x", NULL, NULL);
	t->roots = secret_new(t->all, SECRET_ROOTS, "ROOTCA", "sds unix:/run/x", NULL, NULL);
	rig_space(&t->space, t->cert, t->roots);
	t->client = transport_of(t, server_want(false));
}

static void tls_rig_new(struct tls_rig *t)
{
	tls_rig_bare(t);
	rig_put_cert(t->cert, &t->mine);
	rig_put_trust(t->roots, &t->ca);
	simnet_advance(t->n, 0);
}

static void tls_rig_free(struct tls_rig *t)
{
	simnet_advance(t->n, 100 * ms);
	transport_unref(&t->client);
	secret_unref(&t->cert);
	secret_unref(&t->roots);
	transports_free(&t->all); /* nobody holds a transport any more, or it would say so */
	ck_assert_int_eq(simnet_open(t->n), 0);
	ck_assert_uint_eq(t->l->memory.used, 0);
	simnet_free(&t->n);
	SSL_CTX_free(t->plain);
	SSL_CTX_free(t->asking);
	SSL_CTX_free(t->untrusted);
	SSL_CTX_free(t->mesh);
	tls_paper_end(&t->paper);
	tls_paper_end(&t->wrong);
	tls_paper_end(&t->provider);
	tls_paper_end(&t->mine);
	tls_paper_end(&t->stranger);
	tls_ca_end(&t->ca);
	tls_ca_end(&t->other);
}

START_TEST(with_tls_a_connection_is_up_when_settings_came_through_it)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;
	const unsigned char *alpn;
	unsigned alpn_n;

	tls_rig_new(&t);
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	sv.ctx = t.plain;
	simnet_knobs(t.n)->latency_ns = 10 * ms;
	dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, t.client, "a.b");
	simnet_advance(t.n, 1000 * ms);
	ck_assert_int_eq(c.told, 1);
	ck_assert_msg(c.err == 0, "%s", c.why);
	ck_assert(h2_conn_is_up(c.conn));
	ck_assert_uint_eq(c.told_ns, 60 * ms); /* connect, hello, Finished: TLS 1.3 */
	SSL_get0_alpn_selected(sv.peer.ssl, &alpn, &alpn_n);
	ck_assert(alpn_n == 2 && memcmp(alpn, "h2", 2) == 0);
	ck_assert(sv.peer.got.n > 24 && memcmp(sv.peer.got.p, "PRI * HTTP/2.0", 14) == 0);
	ck_assert_uint_eq(stat_get(&t.l->stats, STAT_TLS_HANDSHAKES), 1);
	ck_assert_uint_eq(stat_get(&t.l->stats, STAT_TLS_FAILURES), 0);
	over(t.n, &c);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(with_tls_failures_are_told_with_what_tls_knows_and_counted_by_reason)
{
	static const struct { int server; /* 0: plaintext, 1: TLS, 2: asks for a certificate, 3: of an authority that we do not trust */ enum manner manner; const char *name; int err; const char *why; enum stat_id stat; bool hold; } rows[] = {
		{1, POLITE, "c.d", -EKEYREJECTED, "the peer is 'a.b', '10.0.0.2', wanted 'c.d'", STAT_TLS_FAILED_NAME, false},
		{1, POLITE, NULL, -EKEYREJECTED, "the peer is 'a.b', '10.0.0.2', wanted '10.0.0.1'", STAT_TLS_FAILED_NAME, false}, /* then its address is its name */
		{3, POLITE, "a.b", -EKEYREJECTED, "no root of ", STAT_TLS_FAILED_UNTRUSTED, false},
		{2, POLITE, "a.b", ERR_REFUSED, "the peer refuses: ", STAT_TLS_FAILED_REFUSED, false},
		{0, POLITE, "a.b", ERR_MALFORMED, "the peer does not speak TLS", STAT_TLS_FAILED_PROTOCOL, false},
		{0, GARBAGE, "a.b", ERR_MALFORMED, "the peer does not speak TLS", STAT_TLS_FAILED_PROTOCOL, false},
		{0, RUDE, "a.b", 0 /* any */, "connection", STAT_TLS_FAILED_PROTOCOL, false},
		{0, SILENT, "a.b", ERR_TIMEOUT, "the peer does not finish the TLS handshake", STAT_TLS_FAILED_TIMEOUT, false},
		{1, SILENT, "a.b", ERR_TIMEOUT, "no SETTINGS from the peer", STAT_COUNT, false},
		{1, GARBAGE, "a.b", ERR_MALFORMED, "the peer does not speak HTTP/2", STAT_COUNT, false},
		{1, POLITE, "a.b", ERR_TIMEOUT, "connection timeout", STAT_COUNT, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_rig t;
		struct server sv;
		struct caller c;
		bool tls_failed = rows[i].stat != STAT_COUNT;
		tls_rig_new(&t);
		serve(t.n, &sv, "10.0.0.1:443", rows[i].manner);
		sv.ctx = rows[i].server == 0 ? NULL : rows[i].server == 1 ? t.plain : rows[i].server == 2 ? t.asking : t.untrusted;
		if (rows[i].hold)
			hang(t.n, "10.0.0.1:443");
		dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, t.client, rows[i].name);
		simnet_advance(t.n, 20000 * ms);
		ck_assert_int_eq(c.told, 1);
		ck_assert_ptr_null(c.conn);
		ck_assert_msg(strstr(c.why, rows[i].why) != NULL, "row %zu: %s", i, c.why);
		ck_assert_msg(c.err < 0 && (!rows[i].err || c.err == rows[i].err), "row %zu: %d", i, c.err);
		ck_assert_msg(stat_get(&t.l->stats, STAT_TLS_FAILURES) == tls_failed, "row %zu", i);
		ck_assert_msg(!tls_failed || stat_get(&t.l->stats, rows[i].stat) == 1, "row %zu", i);
		ck_assert_msg(t.failures == tls_failed, "row %zu", i);
		ck_assert_msg(!tls_failed || strcmp(t.failure, c.why) == 0, "row %zu: %s", i, t.failure);
		server_end(&sv);
		tls_rig_free(&t);
	}
}
END_TEST

START_TEST(a_unix_socket_has_no_name_to_check)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;

	tls_rig_new(&t);
	serve(t.n, &sv, "unix:/run/x.sock", POLITE);
	sv.ctx = t.plain;
	dial_tls(t.n, &c, "unix:/run/x.sock", 5000 * ms, t.client, NULL);
	simnet_advance(t.n, 100 * ms);
	ck_assert_int_eq(c.err, -EINVAL);
	ck_assert_str_eq(c.why, "no name to verify the peer by");
	dial_tls(t.n, &c, "unix:/run/x.sock", 5000 * ms, t.client, "a.b");
	simnet_advance(t.n, 100 * ms);
	ck_assert_msg(c.err == 0, "%s", c.why);
	over(t.n, &c);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(an_address_with_a_wrong_certificate_brings_the_next_at_once)
{
	struct tls_rig t;
	struct server bad, good;
	struct caller c;

	tls_rig_new(&t);
	serve(t.n, &bad, "10.0.0.1:443", POLITE);
	serve(t.n, &good, "10.0.0.2:443", POLITE);
	bad.ctx = t.untrusted;
	good.ctx = t.plain;
	dial_tls(t.n, &c, "10.0.0.1:443 10.0.0.2:443", 5000 * ms, t.client, "a.b");
	simnet_advance(t.n, 1000 * ms);
	ck_assert_int_eq(c.err, 0);
	ck_assert_uint_eq(c.told_ns, 0);
	ck_assert_int_eq(good.accepted, 1);
	over(t.n, &c);
	server_end(&bad);
	server_end(&good);
	tls_rig_free(&t);
}
END_TEST

START_TEST(a_dial_with_tls_may_be_cancelled_at_any_moment)
{
	for (int late = 0; late < 2; late++)
		for (uint64_t at_ms = 0; at_ms < 70; at_ms += 5) {
			struct tls_rig t;
			struct server sv;
			struct caller c;
			tls_rig_bare(&t);
			serve(t.n, &sv, "10.0.0.1:443", SILENT);
			sv.ctx = t.plain;
			simnet_knobs(t.n)->latency_ns = 10 * ms;
			if (!late)
				rig_put_trust(t.roots, &t.ca);
			dial_tls(t.n, &c, "10.0.0.1:443 10.0.0.9:443", 5000 * ms, t.client, "a.b");
			simnet_advance(t.n, at_ms * ms / 2);
			if (late)
				rig_put_trust(t.roots, &t.ca);
			simnet_advance(t.n, at_ms * ms / 2);
			dial_cancel(&c.d);
			simnet_advance(t.n, 6000 * ms);
			ck_assert_int_eq(c.told, 0);
			server_end(&sv);
			tls_rig_free(&t);
		}
}
END_TEST

START_TEST(a_dial_waits_for_secrets_and_goes_on_when_they_come)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;

	tls_rig_bare(&t);
	struct transport *mesh = transport_of(&t, uri_want("spiffe://mesh/ns/x/sa/v1", "outbound_.80_._.v"));
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	sv.ctx = t.mesh;
	dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, mesh, NULL);
	simnet_advance(t.n, 1000 * ms);
	rig_put_cert(t.cert, &t.mine);
	simnet_advance(t.n, 1000 * ms);
	ck_assert_int_eq(c.told, 0);
	ck_assert_int_eq(sv.accepted, 0); /* nothing is begun before all is there */
	rig_put_trust(t.roots, &t.ca);
	simnet_advance(t.n, 0);
	ck_assert_msg(c.told == 1 && c.err == 0, "%s", c.why);
	ck_assert_uint_eq(c.told_ns, 2000 * ms);
	over(t.n, &c);
	transport_unref(&mesh);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(what_does_not_come_in_time_or_cannot_be_had_is_told_with_its_reason)
{
	static const struct { int64_t fails_at_ms; /* -1: never */ uint64_t told_at_ms; int err; const char *why; } rows[] = {
		{-1, 5000, ERR_TIMEOUT, "no certificate yet: 'default' of sds unix:/run/x has not come"},
		{0, 0, -ENOKEY, "no certificate yet: 'default' of sds unix:/run/x: connection refused"},
		{700, 700, -ENOKEY, "no certificate yet: 'default' of sds unix:/run/x: connection refused"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_rig t;
		struct caller c;
		tls_rig_bare(&t);
		struct transport *mesh = transport_of(&t, uri_want("spiffe://mesh/ns/x/sa/v1", "v"));
		if (rows[i].fails_at_ms == 0)
			secret_fail(t.cert, "connection refused");
		dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, mesh, NULL);
		if (rows[i].fails_at_ms > 0) {
			simnet_advance(t.n, (uint64_t)rows[i].fails_at_ms * ms);
			secret_fail(t.cert, "connection refused");
		}
		simnet_advance(t.n, 6000 * ms);
		ck_assert_int_eq(c.told, 1);
		ck_assert_int_eq(c.err, rows[i].err);
		ck_assert_str_eq(c.why, rows[i].why);
		ck_assert_uint_eq(c.told_ns, rows[i].told_at_ms * ms);
		ck_assert_uint_eq(stat_get(&t.l->stats, STAT_TLS_FAILED_SECRET), 1);
		transport_unref(&mesh);
		tls_rig_free(&t);
	}
}
END_TEST

START_TEST(a_certificate_that_is_refused_after_the_handshake_is_told_with_the_peers_reason)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;

	tls_rig_new(&t);
	rig_put_cert(t.cert, &t.stranger);
	struct transport *shows = transport_of(&t, server_want(true));
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	sv.ctx = t.asking;
	for (int i = 0; i < 3; i++) {
		dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, shows, "a.b");
		simnet_advance(t.n, 100 * ms);
		ck_assert_int_eq(c.err, ERR_REFUSED);
		ck_assert_msg(strstr(c.why, "the peer refuses: ") && strstr(c.why, "we showed"), "%s", c.why);
	}
	ck_assert_uint_eq(stat_get(&t.l->stats, STAT_TLS_FAILED_REFUSED), 3);
	ck_assert_int_eq(t.failures, 1); /* told once */
	rig_put_cert(t.cert, &t.mine);
	dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, shows, "a.b");
	simnet_advance(t.n, 100 * ms);
	ck_assert_msg(c.err == 0, "%s", c.why);
	over(t.n, &c);
	transport_unref(&shows);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(two_clusters_of_one_context_accept_each_its_own_names)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;
	struct transports_info info;

	tls_rig_new(&t);
	struct transport *v1 = transport_of(&t, uri_want("spiffe://mesh/ns/x/sa/v1", "v")), *v2 = transport_of(&t, uri_want("spiffe://mesh/ns/x/sa/v2", "v"));
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	sv.ctx = t.mesh;
	for (int i = 0; i < 2; i++) { /* the other one's session is worth nothing here */
		dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, v1, NULL);
		simnet_advance(t.n, 100 * ms);
		ck_assert_msg(c.err == 0, "%s", c.why);
		ck_assert_str_eq(SSL_get_servername(sv.peer.ssl, TLSEXT_NAMETYPE_host_name), "v");
		over(t.n, &c);
		dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, v2, NULL);
		simnet_advance(t.n, 100 * ms);
		ck_assert_int_eq(c.err, -EKEYREJECTED);
		ck_assert_str_eq(c.why, "the peer is 'spiffe://mesh/ns/x/sa/v1', wanted URI 'spiffe://mesh/ns/x/sa/v2'");
	}
	transports_info(t.all, &info);
	ck_assert_uint_eq(info.contexts, 1);
	ck_assert_uint_eq(info.transports, 3);
	transport_unref(&v1);
	transport_unref(&v2);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

/* Dials, and tells whether the session of an earlier time was taken up again. */
static bool resumes(struct tls_rig *t, struct transport *by, const char *to)
{
	uint64_t before = stat_get(&t->l->stats, STAT_TLS_RESUMED);
	struct caller c;

	dial_tls(t->n, &c, to, 5000 * ms, by, "a.b");
	simnet_advance(t->n, 100 * ms);
	ck_assert_msg(c.err == 0, "%s", c.why);
	over(t->n, &c);
	return stat_get(&t->l->stats, STAT_TLS_RESUMED) > before;
}

START_TEST(a_second_dial_resumes_but_not_under_other_roots_names_or_papers)
{
	struct tls_rig t;
	struct server sv, there;

	tls_rig_new(&t);
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	serve(t.n, &there, "10.0.0.2:443", POLITE);
	sv.ctx = there.ctx = t.plain;
	struct transport *again = transport_of(&t, server_want(false)), *other = transport_of(&t, server_want(true));
	ck_assert_ptr_eq(again, t.client);
	ck_assert(!resumes(&t, t.client, "10.0.0.1:443"));
	ck_assert(resumes(&t, again, "10.0.0.1:443"));
	ck_assert(resumes(&t, t.client, "10.0.0.1:443"));
	ck_assert(!resumes(&t, other, "10.0.0.1:443"));
	ck_assert(!resumes(&t, t.client, "10.0.0.2:443")); /* what a provider gave is its own */
	ck_assert(resumes(&t, t.client, "10.0.0.1:443")); /* and keeps */
	rig_put_cert(t.cert, &t.stranger);
	simnet_advance(t.n, 0);
	ck_assert(resumes(&t, t.client, "10.0.0.1:443")); /* it shows none */
	ck_assert(!resumes(&t, other, "10.0.0.1:443"));
	/* The same roots with one more: what was judged without it is judged again. */
	char *one = rig_text(t.ca.path), *two = rig_text(t.other.path), *both = xasprintf("%s%s", one, two);
	struct tls_trust *more = NULL;
	struct err err = ERR_INIT;
	const char *why;
	ck_assert_int_eq(tls_trust_new("both", str_of(both), NULL, &more, &err), 0);
	ck_assert_int_eq(secret_put_trust(t.roots, more, &why), 0);
	simnet_advance(t.n, 0);
	ck_assert(!resumes(&t, t.client, "10.0.0.1:443"));
	ck_assert(resumes(&t, t.client, "10.0.0.1:443"));
	free(one);
	free(two);
	free(both);
	transport_unref(&again);
	transport_unref(&other);
	server_end(&sv);
	server_end(&there);
	tls_rig_free(&t);
}
END_TEST

START_TEST(the_name_that_is_asked_for_is_the_wants_or_the_hosts_and_never_an_ip)
{
	static const struct { const char *sni; enum tls_names names; const char *host, *asked; bool host_sni; const char *wrong; } rows[] = {
		{"x.y", TLS_NAMES_ANY, "a.b", .asked = "x.y"}, {NULL, TLS_NAMES_ANY, "a.b", .asked = NULL}, {NULL, TLS_NAMES_SERVER, "a.b", .asked = "a.b"}, {"a.b", TLS_NAMES_SERVER, "c.d", .asked = "a.b"},
		{NULL, TLS_NAMES_SERVER, NULL, .asked = NULL}, {NULL, TLS_NAMES_SERVER, "10.0.0.2", .asked = NULL}, {"10.0.0.2", TLS_NAMES_SERVER, "c.d", .asked = NULL}, {"10.0.0.9", TLS_NAMES_ANY, NULL, .asked = NULL},
		/* auto_host_sni: the endpoint's goes first, and with auto_sni_san_validation it is what is checked */
		{"x.y", TLS_NAMES_ANY, "a.b", .asked = "a.b", .host_sni = true}, {"x.y", TLS_NAMES_ANY, NULL, .asked = "x.y", .host_sni = true}, {NULL, TLS_NAMES_ANY, "a.b", .asked = "a.b", .host_sni = true}, {NULL, TLS_NAMES_ANY, NULL, .asked = NULL, .host_sni = true},
		{"c.d", TLS_NAMES_SERVER, "a.b", .asked = "a.b", .host_sni = true}, {"a.b", TLS_NAMES_SERVER, NULL, .asked = "a.b", .host_sni = true}, {"a.b", TLS_NAMES_SERVER, "c.d", .asked = NULL, .host_sni = true, .wrong = "c.d"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_rig t;
		struct server sv;
		struct caller c;
		struct tls_want *w = rig_want(false);
		tls_rig_new(&t);
		w->names = rows[i].names;
		w->sni = rows[i].sni ? xstrdup(rows[i].sni) : NULL;
		w->host_sni = rows[i].host_sni;
		struct transport *x = transport_of(&t, w);
		serve(t.n, &sv, "10.0.0.2:443", POLITE);
		sv.ctx = t.plain;
		dial_tls(t.n, &c, "10.0.0.2:443", 5000 * ms, x, rows[i].host);
		simnet_advance(t.n, 100 * ms);
		if (rows[i].wrong)
			ck_assert_msg(c.err < 0 && strstr(c.why, rows[i].wrong), "row %zu: %s", i, c.why);
		else
			ck_assert_msg(c.err == 0, "row %zu: %s", i, c.why);
		const char *asked = rows[i].wrong ? NULL : SSL_get_servername(sv.peer.ssl, TLSEXT_NAMETYPE_host_name);
		ck_assert_msg(rows[i].asked ? asked && strcmp(asked, rows[i].asked) == 0 : asked == NULL, "row %zu: %s", i, asked ? asked : "none");
		over(t.n, &c);
		transport_unref(&x);
		server_end(&sv);
		tls_rig_free(&t);
	}
}
END_TEST

START_TEST(a_handshake_that_began_under_other_roots_begins_again)
{
	struct tls_rig t;
	struct server sv;
	struct caller c;

	tls_rig_new(&t);
	serve(t.n, &sv, "10.0.0.1:443", POLITE);
	sv.ctx = t.plain;
	simnet_knobs(t.n)->latency_ns = 10 * ms;
	dial_tls(t.n, &c, "10.0.0.1:443", 5000 * ms, t.client, "a.b");
	simnet_advance(t.n, 45 * ms); /* the server was accepted, its SETTINGS are on their way */
	rig_put_cert(t.cert, &t.stranger); /* nothing of ours is at stake */
	simnet_advance(t.n, 5 * ms);
	ck_assert_int_eq(sv.accepted, 1);
	rig_put_trust(t.roots, &t.other);
	simnet_advance(t.n, 1000 * ms);
	ck_assert_int_eq(sv.accepted, 2);
	ck_assert_int_eq(c.told, 1);
	ck_assert_int_eq(c.err, -EKEYREJECTED);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(nothing_to_dial_is_an_error_at_once)
{
	struct simnet *n = simnet_new(1);
	struct dial_spec spec = {.timeout_ns = ms};
	struct dial *d;

	ck_assert_int_eq(dial_start(simnet_loop(n), &spec, NULL, NULL, dialed, &d), -EINVAL);
	simnet_free(&n);
}
END_TEST

UNIT_SUITE("dial", a_connection_is_handed_over_once_its_settings_came, failures_are_told_once_with_what_they_were,
	families_take_turns_ipv6_first_250_ms_apart, a_refusal_brings_the_next_at_once_and_a_hanging_one_costs_250_ms,
	one_timeout_holds_for_all_addresses_together, a_cancelled_dial_leaves_nothing_open_at_any_moment,
	nothing_to_dial_is_an_error_at_once, with_tls_a_connection_is_up_when_settings_came_through_it,
	with_tls_failures_are_told_with_what_tls_knows_and_counted_by_reason, a_unix_socket_has_no_name_to_check, an_address_with_a_wrong_certificate_brings_the_next_at_once,
	a_dial_with_tls_may_be_cancelled_at_any_moment, a_dial_waits_for_secrets_and_goes_on_when_they_come,
	what_does_not_come_in_time_or_cannot_be_had_is_told_with_its_reason, a_certificate_that_is_refused_after_the_handshake_is_told_with_the_peers_reason,
	two_clusters_of_one_context_accept_each_its_own_names, a_second_dial_resumes_but_not_under_other_roots_names_or_papers,
	the_name_that_is_asked_for_is_the_wants_or_the_hosts_and_never_an_ip, a_handshake_that_began_under_other_roots_begins_again)
