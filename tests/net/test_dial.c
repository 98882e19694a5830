/* net/dial: who wins, when the next one is tried, and what is said when nobody answers, with TLS and without. Virtual clock, peers by hand. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/dial.h"
#include "tests/net/tlsrig.h"
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

/* addrs: separated by blanks. */
static void dial_tls(struct simnet *n, struct caller *c, const char *addrs, uint64_t timeout_ns, struct tls_context *tls, const char *name)
{
	static const struct h2_client_events events = {.on_up = nothing, .on_room = nothing, .on_goaway = nothing, .on_closed = conn_closed};
	struct loop *l = simnet_loop(n);
	struct addr list[20];
	struct dial_spec spec = {.addrs = list, .timeout_ns = timeout_ns, .limits = &limits, .account = &l->memory, .tls = tls, .server_name = name};
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

struct tls_rig { struct simnet *n; struct tls_ca ca, other; struct tls_paper paper, wrong; SSL_CTX *plain, *asking, *untrusted; struct tls_context *client; };

static void tls_rig_new(struct tls_rig *t)
{
	t->n = simnet_new(1);
	struct loop *l = simnet_loop(t->n);
	int64_t now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000);
	tls_ca_new(&t->ca, "right", now);
	tls_ca_new(&t->other, "other", now);
	tls_paper_new(&t->paper, &t->ca, "server", "DNS:a.b", -3600, 3600);
	tls_paper_new(&t->wrong, &t->other, "server", "DNS:a.b", -3600, 3600);
	t->plain = tls_server_new(&t->paper, 0, NULL);
	t->asking = tls_server_new(&t->paper, TLS1_3_VERSION, &t->ca);
	t->untrusted = tls_server_new(&t->wrong, 0, NULL);
	t->client = tls_client_new(&t->ca, NULL, "h2");
}

static void tls_rig_free(struct tls_rig *t)
{
	simnet_advance(t->n, 100 * ms);
	ck_assert_int_eq(simnet_open(t->n), 0);
	ck_assert_uint_eq(simnet_loop(t->n)->memory.used, 0);
	simnet_free(&t->n);
	tls_context_unref(&t->client);
	SSL_CTX_free(t->plain);
	SSL_CTX_free(t->asking);
	SSL_CTX_free(t->untrusted);
	tls_paper_end(&t->paper);
	tls_paper_end(&t->wrong);
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
	ck_assert_int_eq(c.err, 0);
	ck_assert(h2_conn_is_up(c.conn));
	ck_assert_uint_eq(c.told_ns, 60 * ms); /* connect, hello, Finished: TLS 1.3 */
	SSL_get0_alpn_selected(sv.peer.ssl, &alpn, &alpn_n);
	ck_assert(alpn_n == 2 && memcmp(alpn, "h2", 2) == 0);
	ck_assert(sv.peer.got.n > 24 && memcmp(sv.peer.got.p, "PRI * HTTP/2.0", 14) == 0);
	over(t.n, &c);
	server_end(&sv);
	tls_rig_free(&t);
}
END_TEST

START_TEST(with_tls_failures_are_told_with_what_tls_knows)
{
	static const struct { int server; /* 0: plaintext, 1: TLS, 2: asks for a certificate, 3: of an authority that we do not trust */ enum manner manner; const char *name; int err; const char *why; bool hold; } rows[] = {
		{1, POLITE, "c.d", -EKEYREJECTED, "the peer is 'a.b', wanted 'c.d'", false},
		{3, POLITE, "a.b", -EKEYREJECTED, "no root of '/proc/self/fd/", false},
		{2, POLITE, "a.b", ERR_REFUSED, "the peer refuses: ", false},
		{0, POLITE, "a.b", ERR_MALFORMED, "the peer does not speak TLS", false},
		{0, GARBAGE, "a.b", ERR_MALFORMED, "the peer does not speak TLS", false},
		{0, RUDE, "a.b", 0 /* any */, "connection", false},
		{0, SILENT, "a.b", ERR_TIMEOUT, "the peer does not finish the TLS handshake", false},
		{1, SILENT, "a.b", ERR_TIMEOUT, "no SETTINGS from the peer", false},
		{1, GARBAGE, "a.b", ERR_MALFORMED, "the peer does not speak HTTP/2", false},
		{1, POLITE, NULL, -EINVAL, "no name to verify the peer by", false},
		{1, POLITE, "a.b", ERR_TIMEOUT, "connection timeout", true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_rig t;
		struct server sv;
		struct caller c;
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
		server_end(&sv);
		tls_rig_free(&t);
	}
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
	for (uint64_t at_ms = 0; at_ms < 70; at_ms += 5) {
		struct tls_rig t;
		struct server sv;
		struct caller c;
		tls_rig_new(&t);
		serve(t.n, &sv, "10.0.0.1:443", SILENT);
		sv.ctx = t.plain;
		simnet_knobs(t.n)->latency_ns = 10 * ms;
		dial_tls(t.n, &c, "10.0.0.1:443 10.0.0.9:443", 5000 * ms, t.client, "a.b");
		simnet_advance(t.n, at_ms * ms);
		dial_cancel(&c.d);
		simnet_advance(t.n, 6000 * ms);
		ck_assert_int_eq(c.told, 0);
		server_end(&sv);
		tls_rig_free(&t);
	}
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
	with_tls_failures_are_told_with_what_tls_knows, an_address_with_a_wrong_certificate_brings_the_next_at_once,
	a_dial_with_tls_may_be_cancelled_at_any_moment)
