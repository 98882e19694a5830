/* net/tls: handshakes, names, files, readiness and ends, in memory (any fragmentation, a virtual clock) and over loopback. The server is OpenSSL itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/pem.h>
#include "base/err.h"
#include "net/tls_int.h"
#include "tests/net/tlsrig.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

enum { PEERS = 4, DAY = 86400 };
static const uint64_t ms = 1000000;

struct rig {
	struct simnet *sim;        /* NULL: kernel sockets */
	struct loop *l;
	struct account account;
	struct addr at;
	struct sock_listen *listen;
	SSL_CTX *server;
	struct tls_ca ca, other_ca;
	struct tls_paper paper;
	struct tls_far peers[PEERS];
	int npeers;
	struct tls_want *want;     /* whom to accept; NULL: the server's name */
};
struct end { struct sock *s; int connected, end; bool ended, closes_at_connect; size_t read_max; struct sb got, left; uint64_t took; int readables; char why[TLS_WHY]; };

static bool accepted(void *user, struct sock *taken)
{
	struct rig *r = user;

	ck_assert_int_lt(r->npeers, PEERS);
	tls_far_start(&r->peers[r->npeers++], r->server, taken);
	return true;
}

static void rig_new(struct rig *r, bool real)
{
	static const struct sock_listen_events events = {.accepted = accepted};

	*r = (struct rig){.sim = real ? NULL : simnet_new(7)};
	r->l = real ? loop_new_real(NULL) : simnet_loop(r->sim);
	account_init(&r->account, NULL, "tls", SIZE_MAX);
	int64_t now = (int64_t)(r->l->ops->wall_ns(r->l->ops_ctx) / 1000000000);
	tls_ca_new(&r->ca, "right authority", now);
	tls_ca_new(&r->other_ca, "other authority", now);
	if (real)
		ck_assert_int_eq(addr_ip(STR("127.0.0.1"), 0, &r->at), 0);
	else
		r->at = simnet_addr("10.0.0.1:443");
	ck_assert_int_eq(sock_listen(r->l, -1, &r->at, &events, r, &r->listen), 0);
	r->at = r->listen->at;
}

/* What the server shows from now on. */
static void serve(struct rig *r, const struct tls_ca *ca, const char *sans, int64_t from_s, int64_t to_s, int version, const struct tls_ca *clients)
{
	if (r->server) {
		SSL_CTX_free(r->server);
		tls_paper_end(&r->paper);
	}
	tls_paper_new(&r->paper, ca, "server", sans, from_s, to_s);
	r->server = tls_server_new(&r->paper, version, clients);
}

static void rig_free(struct rig *r)
{
	for (int i = 0; i < r->npeers; i++)
		tls_far_end(&r->peers[i]);
	sock_listen_close(&r->listen);
	if (r->sim) {
		simnet_advance(r->sim, 100 * ms);
		ck_assert_int_eq(simnet_open(r->sim), 0);
		simnet_free(&r->sim);
	} else {
		loop_turn(r->l, 0);
		loop_free(&r->l);
	}
	ck_assert_uint_eq(r->account.used, 0);
	account_end(&r->account);
	tls_want_unref(&r->want);
	SSL_CTX_free(r->server);
	tls_paper_end(&r->paper);
	tls_ca_end(&r->ca);
	tls_ca_end(&r->other_ca);
}

static struct tls_context *trusting(struct rig *r)
{
	return tls_client_new(&r->ca, NULL, "h2");
}

static void end_say(struct end *e)
{
	while (e->s && e->left.n) {
		struct iovec iov = {e->left.p, e->left.n};
		ssize_t n = sock_writev(e->s, &iov, 1);
		if (n <= 0) {
			if (n != -EAGAIN) {
				e->left.n = 0;
				e->end = (int)n;
				snprintf(e->why, sizeof(e->why), "%s", tls_why(e->s));
			}
			break;
		}
		e->took += (uint64_t)n;
		memmove(e->left.p, e->left.p + n, e->left.n - (size_t)n);
		e->left.n -= (size_t)n;
	}
	if (e->s)
		sock_want(e->s, e->s->want_read, e->left.n > 0);
}

static void end_connected(void *user, int err)
{
	struct end *e = user;

	ck_assert_int_eq(e->connected, 0);
	e->connected = err ? err : 1;
	if (err || e->closes_at_connect) {
		snprintf(e->why, sizeof(e->why), "%s", tls_why(e->s));
		sock_close(&e->s);
		return;
	}
	sock_want(e->s, e->read_max > 0, false);
	end_say(e);
}

/* Once an event, as the contract has it: who does not read all is told again. */
static void end_readable(void *user)
{
	struct end *e = user;
	char buf[65536];
	ssize_t n = sock_recv(e->s, buf, e->read_max);

	e->readables++;
	ck_assert(!e->ended);
	if (n > 0) {
		sb_add(&e->got, buf, (size_t)n);
	} else if (n != -EAGAIN) {
		e->ended = true;
		e->end = (int)n;
		snprintf(e->why, sizeof(e->why), "%s", tls_why(e->s));
		sock_want(e->s, false, false);
	}
}

static void end_writable(void *user)
{
	end_say(user);
}

static const struct sock_events end_events = {.connected = end_connected, .readable = end_readable, .writable = end_writable};

/* The sock below is still connecting when TLS takes it over. */
static void dial(struct rig *r, struct end *e, struct tls_context *c, const char *name)
{
	static const struct sock_events none = {0};
	struct sock *below;

	ck_assert_int_eq(sock_connect(r->l, &r->at, &none, NULL, &below), 0);
	if (!e->read_max)
		e->read_max = 65536;
	ck_assert_int_eq(tls_client(r->l, c, below, &(struct tls_peer){.server_name = name, .want = r->want}, &r->account, &end_events, e, &e->s), 0);
	ck_assert_int_eq(e->connected, 0);
	ck_assert(tls_is(e->s) && !tls_is(below));
}

static void end_over(struct end *e)
{
	sock_close(&e->s);
	sb_end(&e->got);
	sb_end(&e->left);
}

/* In memory: until nothing happens any more. Kernel sockets: until pred holds; the bound only ends a test that has failed. */
static void run(struct rig *r, bool (*pred)(struct rig *, struct end *), struct end *e)
{
	if (r->sim) {
		simnet_advance(r->sim, 1000 * ms);
		ck_assert(pred(r, e));
		return;
	}
	for (int i = 0; i < 20000 && !pred(r, e); i++)
		loop_turn(r->l, 10 * (int64_t)ms);
	ck_assert(pred(r, e));
}

static bool is_told(struct rig *r, struct end *e)
{
	return e->connected != 0 && (e->connected < 0 || r->npeers == 0 || r->peers[r->npeers - 1].shaken || r->peers[r->npeers - 1].failed);
}

static void pattern(struct sb *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sb_char(b, (char)(i * 131 + (i >> 8) * 7));
}

/* ---- who is believed --------------------------------------------------------------------------------------------------------------- */

START_TEST(a_peer_is_accepted_or_refused_with_the_reason)
{
	static const struct { const char *sans; const char *name; const char *want; bool other_ca; int64_t from, to; bool no_names; int err; const char *why[2]; } rows[] = {
		{"DNS:a.b", "a.b", NULL, false, -DAY, DAY, false, 1, {0}},
		{"DNS:a.b", "A.B.", NULL, false, -DAY, DAY, false, 1, {0}},
		{"DNS:x.y DNS:*.b.c", "a.b.c", NULL, false, -DAY, DAY, false, 1, {0}},
		{"IP:10.0.0.1", "10.0.0.1", NULL, false, -DAY, DAY, false, 1, {0}},
		{"IP:fd00::1", "fd00::1", NULL, false, -DAY, DAY, false, 1, {0}},
		{"URI:spiffe://m/ns/a/sa/b", "a.b", "spiffe://m/ns/a/sa/b", false, -DAY, DAY, false, 1, {0}},
		{"DNS:c.d", "a.b", "c.d", false, -DAY, DAY, false, 1, {0}}, /* the list counts, not the server's name */
		{"DNS:c.d", NULL, "c.d", false, -DAY, DAY, false, 1, {0}},
		{"DNS:c.d", "a.b", NULL, false, -DAY, DAY, true, 1, {0}},
		{"", NULL, NULL, false, -DAY, DAY, true, 1, {0}},
		{"DNS:c.d DNS:e.f", "a.b", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"the peer is 'c.d', 'e.f'", "wanted 'a.b'"}},
		{"DNS:a.b", "a.b", "c.d", false, -DAY, DAY, false, -EKEYREJECTED, {"the peer is 'a.b'", "wanted 'c.d'"}},
		{"URI:spiffe://m/ns/a/sa/c", NULL, "spiffe://m/ns/a/sa/b", false, -DAY, DAY, false, -EKEYREJECTED, {"spiffe://m/ns/a/sa/c", "spiffe://m/ns/a/sa/b"}},
		{"URI:spiffe://m/ns/a/sa/b!", NULL, "spiffe://m/ns/a/sa/b", false, -DAY, DAY, false, -EKEYREJECTED, {"sa/b?'", "sa/b'"}},
		{"DNS:spiffe://m/x", NULL, "spiffe://m/x", false, -DAY, DAY, false, -EKEYREJECTED, {"the peer is", "wanted"}},
		{"DNS:a.b!.evil.org", "a.b", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"'a.b?.evil.org'", "'a.b'"}},
		{"DNS:a.b!", "a.b", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"'a.b?'", "'a.b'"}},
		{"DNS:10.0.0.1", "10.0.0.1", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"'10.0.0.1'", "wanted"}},
		{"IP:10.0.0.2", "10.0.0.1", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"'10.0.0.2'", "'10.0.0.1'"}},
		{"", "server", NULL, false, -DAY, DAY, false, -EKEYREJECTED, {"CN=server", "wanted 'server'"}}, /* a common name is no name */
		{"DNS:a.b", "a.b", NULL, true, -DAY, DAY, false, -EKEYREJECTED, {"no root of '/proc/self/fd/", "issued by CN=other authority"}},
		{"DNS:a.b", "a.b", NULL, true, -DAY, DAY, true, -EKEYREJECTED, {"no root of", "CN=server"}},
		{"DNS:a.b", "a.b", NULL, false, -DAY, -60, false, -EKEYREJECTED, {"certificate has expired (CN=server, not after 2025-12-31T23:59:01Z", "now 2026-01-01T00:00:01Z"}},
		{"DNS:a.b", "a.b", NULL, false, 60, DAY, false, -EKEYREJECTED, {"not yet valid (CN=server, not before 2026-01-01T00:01:01Z", "now 2026-01-01T00:00:01Z"}},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			struct rig r;
			struct end e = {0};
			rig_new(&r, false);
			serve(&r, rows[i].other_ca ? &r.other_ca : &r.ca, rows[i].sans, rows[i].from, rows[i].to, version, NULL);
			struct tls_context *c = trusting(&r);
			if (rows[i].want || rows[i].no_names)
				r.want = tls_want_new();
			if (rows[i].want) {
				r.want->names = TLS_NAMES_RULES;
				tls_want_rule(r.want, TLS_NAME_ANY, TLS_EXACT, str_of(rows[i].want));
			}
			dial(&r, &e, c, rows[i].name);
			tls_context_unref(&c); /* the sock has its own */
			run(&r, is_told, &e);
			ck_assert_msg(e.connected == rows[i].err, "row %zu: %d, %s", i, e.connected, e.why);
			for (int w = 0; w < 2; w++)
				ck_assert_msg(!rows[i].why[w] || strstr(e.why, rows[i].why[w]), "row %zu: %s", i, e.why);
			if (e.s) {
				ck_assert_str_eq(tls_version(e.s), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
				ck_assert_str_eq(tls_why(e.s), "");
			} else {
				ck_assert(r.peers[0].failed || !r.peers[0].s || r.peers[0].eof); /* it was told, and nothing goes on */
			}
			end_over(&e);
			rig_free(&r);
		}
}
END_TEST

static int verdict(struct rig *r, struct tls_context *c, char why[TLS_WHY])
{
	struct end e = {0};

	dial(r, &e, c, "a.b");
	run(r, is_told, &e);
	snprintf(why, TLS_WHY, "%s", e.why);
	int told = e.ended ? e.end : e.connected;
	end_over(&e);
	simnet_advance(r->sim, 100 * ms);
	while (r->npeers)
		tls_far_end(&r->peers[--r->npeers]);
	return told;
}

START_TEST(a_chain_ends_at_whatever_the_roots_file_has_and_ours_is_shown_whole)
{
	struct rig r;
	struct tls_ca middle;
	struct tls_paper mine;
	char why[TLS_WHY], *pem;

	rig_new(&r, false);
	tls_ca_below(&middle, &r.ca, "middle");
	serve(&r, &middle, "DNS:a.b", -DAY, DAY, 0, NULL); /* the leaf alone */
	struct tls_context *root = trusting(&r), *anchor = tls_client_new(&middle, NULL, NULL);
	ck_assert_int_eq(verdict(&r, root, why), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(why, "issued by CN=middle"));
	ck_assert_int_eq(verdict(&r, anchor, why), 1);
	ck_assert_int_eq(SSL_CTX_add1_chain_cert(r.server, middle.cert), 1);
	ck_assert_int_eq(verdict(&r, root, why), 1);
	/* The other way round: a server that knows the root only. */
	tls_paper_new(&mine, &middle, "me", "", -DAY, DAY);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, &r.ca);
	for (int whole = 0; whole < 2; whole++) {
		struct tls_paper shown = mine;
		BIO *b = BIO_new(BIO_s_mem());
		PEM_write_bio_X509(b, mine.cert);
		if (whole)
			PEM_write_bio_X509(b, middle.cert);
		long n = BIO_get_mem_data(b, &pem);
		tls_file(pem, (size_t)n, &shown.cert_fd, shown.cert_path);
		BIO_free(b);
		struct tls_context *c = tls_client_new(&r.ca, &shown, NULL);
		ck_assert_int_eq(verdict(&r, c, why), whole ? 1 : ERR_REFUSED);
		tls_context_unref(&c);
		close(shown.cert_fd);
	}
	tls_context_unref(&root);
	tls_context_unref(&anchor);
	tls_paper_end(&mine);
	tls_ca_end(&middle);
	rig_free(&r);
}
END_TEST

START_TEST(without_a_roots_file_the_systems_roots_count)
{
	struct rig r;
	char why[TLS_WHY];

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
	setenv("SSL_CERT_FILE", r.ca.path, 1);
	setenv("SSL_CERT_DIR", "/none", 1);
	struct tls_context *c = tls_client_new(NULL, NULL, NULL);
	ck_assert_int_eq(verdict(&r, c, why), 1);
	tls_context_unref(&c);
	setenv("SSL_CERT_FILE", r.other_ca.path, 1);
	c = tls_client_new(NULL, NULL, NULL);
	ck_assert_int_eq(verdict(&r, c, why), -EKEYREJECTED);
	ck_assert_ptr_nonnull(strstr(why, "no root of 'the system'"));
	tls_context_unref(&c);
	unsetenv("SSL_CERT_FILE");
	unsetenv("SSL_CERT_DIR");
	rig_free(&r);
}
END_TEST

START_TEST(nothing_older_than_tls_1_2_is_spoken)
{
	struct rig r;
	char why[TLS_WHY];

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, TLS1_1_VERSION, NULL);
	struct tls_context *c = trusting(&r);
	ck_assert_int_eq(verdict(&r, c, why), ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(why, "the peer refuses: "));
	tls_context_unref(&c);
	rig_free(&r);
}
END_TEST

static bool is_connected(struct rig *r, struct end *e)
{
	(void)r;
	return e->connected != 0;
}

START_TEST(a_kernel_that_cannot_connect_says_so_through_tls)
{
	struct rig r;
	struct end e = {0};

	rig_new(&r, true);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
	sock_listen_close(&r.listen);
	struct tls_context *c = trusting(&r);
	dial(&r, &e, c, "a.b");
	run(&r, is_connected, &e);
	ck_assert_int_eq(e.connected, -ECONNREFUSED);
	ck_assert_str_eq(e.why, ""); /* nothing that TLS would know better */
	end_over(&e);
	tls_context_unref(&c);
	rig_free(&r);
}
END_TEST

START_TEST(dns_names_match_by_rfc_6125)
{
	static const struct { const char *pattern, *name; bool matches; } rows[] = {
		{"a.b", "a.b", true}, {"A.b", "a.B", true}, {"a.b", "a.b.", true}, {"a.b.", "a.b", false}, {"a.b", "a.bc", false}, {"a.b", "x.a.b", false},
		{"*.b.c", "a.b.c", true}, {"*.b.c", "A.B.C.", true}, {"*.b.c", "b.c", false}, {"*.b.c", ".b.c", false}, {"*.b.c", "x.a.b.c", false},
		{"*.c", "b.c", false}, {"*", "a", false}, {"*.", "a.", false}, {"*", "", false}, {"", "", false}, {"", "a", false}, {"*.*.c", "a.b.c", false},
		{"a*.b.c", "ax.b.c", false}, {"*a.b.c", "xa.b.c", false}, {"a.*.c", "a.b.c", false}, {"*.b.c", "xn--a.b.c", true}, {"*.b.c", "*.b.c", true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(tls_dns_matches(str_of(rows[i].pattern), str_of(rows[i].name)) == rows[i].matches, "'%s' and '%s'", rows[i].pattern, rows[i].name);
	ck_assert(!tls_dns_matches(str_n("a.b\0", 4), STR("a.b")));
	ck_assert(!tls_dns_matches(str_n("*\0.b.c", 6), STR("a.b.c")));
}
END_TEST

START_TEST(without_a_name_to_check_nothing_is_begun)
{
	static const struct sock_events none = {0};
	struct rig r;
	struct sock *below, *s = NULL;
	char longest[400];

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
	struct tls_context *c = trusting(&r);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(sock_connect(r.l, &r.at, &none, NULL, &below), 0);
		r.account.limit = i == 2 ? 1000 : SIZE_MAX;
		ck_assert_int_eq(tls_client(r.l, c, below, &(struct tls_peer){.server_name = i == 0 ? NULL : i == 1 ? longest : "a.b"}, &r.account, &end_events, NULL, &s), i == 2 ? -ENOMEM : -EINVAL);
		ck_assert_ptr_null(s);
	}
	simnet_advance(r.sim, 0);
	ck_assert_int_eq(simnet_open(r.sim), r.npeers); /* the sock below went with it */
	tls_context_unref(&c);
	rig_free(&r);
}
END_TEST

START_TEST(client_certificates_are_shown_and_their_lack_is_told_whenever_the_server_says_so)
{
	static const struct { int version; int shown; /* 0: none, 1: good, 2: of another authority */ bool good; } rows[] = {
		{TLS1_2_VERSION, 1, true}, {TLS1_3_VERSION, 1, true}, {TLS1_2_VERSION, 0, false}, {TLS1_3_VERSION, 0, false}, {TLS1_2_VERSION, 2, false}, {TLS1_3_VERSION, 2, false},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows) * 2; i++) {
		const size_t row = i / 2;
		struct rig r;
		struct end e = {0};
		struct tls_paper mine;
		bool writes = i & 1; /* meets the refusal in a write */
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, rows[row].version, &r.ca);
		tls_paper_new(&mine, rows[row].shown == 2 ? &r.other_ca : &r.ca, "me", "URI:spiffe://m/me", -DAY, DAY - 5);
		struct tls_context *c = tls_client_new(&r.ca, rows[row].shown ? &mine : NULL, NULL);
		ck_assert(tls_context_shows(c) == (rows[row].shown != 0));
		if (writes)
			pattern(&e.left, 300000);
		dial(&r, &e, c, "a.b");
		run(&r, is_told, &e);
		if (rows[row].good) {
			ck_assert_int_eq(e.connected, 1);
			ck_assert_int_eq(e.ended, false);
			ck_assert(r.peers[0].shaken);
		} else {
			ck_assert(r.peers[0].failed);
			if (rows[row].version == TLS1_2_VERSION) {
				ck_assert_int_eq(e.connected, ERR_REFUSED);
			} else { /* our part is done before the server has looked */
				ck_assert_int_eq(e.connected, 1);
				ck_assert_int_eq(e.end, ERR_REFUSED);
			}
			ck_assert_msg(strstr(e.why, "the peer refuses: ") != NULL, "%s", e.why);
			if (rows[row].version != TLS1_2_VERSION && !rows[row].shown)
				ck_assert_msg(strstr(e.why, "the peer refuses: certificate required") != NULL, "%s", e.why);
			ck_assert_msg(strstr(e.why, rows[row].shown ? "we showed 'spiffe://m/me'" : "we showed no certificate") != NULL, "%s", e.why);
		}
		end_over(&e);
		tls_context_unref(&c);
		tls_paper_end(&mine);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_server_that_asked_for_a_certificate_and_closes_without_a_word_is_understood)
{
	static const struct { bool shown; long to; const char *says; } rows[] = {
		{false, 0, "it had asked for a certificate, and we showed none"}, {true, DAY, "the peer closed after the TLS handshake; we showed 'spiffe://m/me'"},
		{true, -5, "the peer closed after the TLS handshake; we showed 'spiffe://m/me', which has expired at "},
	};

	for (size_t row = 0; row < UNIT_COUNT(rows); row++) {
		struct rig r;
		struct end e = {0};
		struct tls_paper mine;
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, TLS1_3_VERSION, &r.ca);
		tls_paper_new(&mine, &r.other_ca, "me", "URI:spiffe://m/me", -DAY, rows[row].to);
		struct tls_context *c = tls_client_new(&r.ca, rows[row].shown ? &mine : NULL, NULL);
		r.peers[0].mute = true;
		dial(&r, &e, c, "a.b");
		run(&r, is_told, &e);
		ck_assert_int_eq(e.connected, 1);
		ck_assert(e.ended);
		ck_assert_msg(strstr(e.why, rows[row].says) != NULL, "%s", e.why);
		ck_assert_msg(row != 1 || strstr(e.why, "expired") == NULL, "%s", e.why);
		end_over(&e);
		tls_context_unref(&c);
		tls_paper_end(&mine);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_peer_that_speaks_no_tls_or_nothing_or_closes_is_told_so)
{
	static const struct { const char *bytes; int err; const char *why; } rows[] = {
		{"HTTP/1.1 400 Bad Request\r\n\r\n", ERR_MALFORMED, "the peer does not speak TLS"},
		{"\0\0\0\4\0\0\0\0\0", ERR_MALFORMED, "TLS"},
		{"", ERR_CLOSED, "the peer closed the connection in the TLS handshake"},
		{NULL, -ECONNREFUSED, ""},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		struct end e = {0};
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
		struct tls_context *c = trusting(&r);
		if (rows[i].bytes)
			simnet_knobs(r.sim)->latency_ns = ms;
		else
			simnet_on_connect(r.sim, &r.at, -ECONNREFUSED);
		dial(&r, &e, c, "a.b");
		simnet_advance(r.sim, ms); /* accepted, nothing answered yet */
		if (rows[i].bytes) {
			struct iovec iov = {(void *)(uintptr_t)rows[i].bytes, rows[i].bytes[0] || i == 1 ? (i == 1 ? 9 : strlen(rows[i].bytes)) : 0};
			if (iov.iov_len)
				ck_assert_int_gt(sock_writev(r.peers[0].s, &iov, 1), 0);
			sock_close(&r.peers[0].s);
		}
		simnet_advance(r.sim, 1000 * ms);
		ck_assert_msg(e.connected == rows[i].err, "row %zu: %d %s", i, e.connected, e.why);
		ck_assert_msg(strstr(e.why, rows[i].why) != NULL, "row %zu: %s", i, e.why);
		end_over(&e);
		tls_context_unref(&c);
		rig_free(&r);
	}
}
END_TEST

/* ---- bytes -------------------------------------------------------------------------------------------------------------------------- */

static size_t expected;

static bool all_came(struct rig *r, struct end *e)
{
	return e->got.n == expected && r->npeers == 1 && r->peers[0].got.n == expected;
}

START_TEST(bytes_arrive_whole_and_in_order_however_they_are_cut)
{
	static const struct { struct simnet_knobs k; size_t n, read_max; bool real; } rows[] = {
		{{.capacity = 65536}, 1000000, 65536, false},
		{{.capacity = 1}, 3000, 65536, false},                 /* a byte at a time, handshake and tickets too */
		{{.capacity = 1}, 3000, 1, false},
		{{.capacity = 65536}, 100000, 7, false},               /* the reader takes crumbs: it is told again until all is out */
		{{.capacity = 20000, .short_percent = 50, .again_percent = 30, .hold_percent = 20, .shuffle = true, .latency_ns = 100000}, 400000, 5000, false},
		{{.capacity = 333, .short_percent = 70, .again_percent = 30, .shuffle = true}, 60000, 16384, false},
		{{0}, 4000000, 65536, true},
		{{0}, 60000, 7, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			struct rig r;
			struct end e = {.read_max = rows[i].read_max};
			struct sb all = {0};
			rig_new(&r, rows[i].real);
			serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, version, NULL);
			if (r.sim) {
				*simnet_knobs(r.sim) = rows[i].k;
				simnet_knobs(r.sim)->cred.known = true;
			}
			struct tls_context *c = trusting(&r);
			expected = rows[i].n;
			pattern(&all, expected);
			sb_add(&e.left, all.p, all.n);
			r.peers[0].greeting = all.p; /* sent as soon as the server may: behind its Finished in one flight */
			r.peers[0].greeting_n = all.n;
			dial(&r, &e, c, "a.b");
			run(&r, all_came, &e);
			ck_assert_mem_eq(e.got.p, all.p, all.n);
			ck_assert_mem_eq(r.peers[0].got.p, all.p, all.n);
			ck_assert_uint_eq(e.took, expected);
			ck_assert(!e.ended);
			end_over(&e);
			if (r.sim)
				simnet_advance(r.sim, 1000 * ms);
			tls_context_unref(&c);
			sb_end(&all);
			rig_free(&r);
		}
}
END_TEST

START_TEST(who_stopped_reading_is_told_of_what_lies_in_here_when_it_wants_again)
{
	struct rig r;
	struct end e = {.read_max = 10};

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
	struct tls_context *c = trusting(&r);
	dial(&r, &e, c, "a.b");
	run(&r, is_told, &e);
	sock_want(e.s, false, false);
	tls_far_send(&r.peers[0], "0123456789abcdefghij", 20); /* one record: the first recv empties the kernel */
	simnet_advance(r.sim, 100 * ms);
	ck_assert_uint_eq(e.got.n, 0);
	char first[5];
	ck_assert_int_eq(sock_recv(e.s, first, 5), 5);
	simnet_advance(r.sim, 100 * ms);
	ck_assert_uint_eq(e.got.n, 0); /* not wanted: not told */
	sock_want(e.s, true, false);
	simnet_advance(r.sim, 0);
	ck_assert_uint_eq(e.got.n, 15);
	int told = e.readables;
	simnet_advance(r.sim, 100 * ms);
	ck_assert_int_eq(e.readables, told); /* and nothing spins */
	end_over(&e);
	tls_context_unref(&c);
	rig_free(&r);
}
END_TEST

START_TEST(bytes_are_taken_only_when_their_record_is_out_and_a_stalled_peer_costs_one_write)
{
	struct rig r;
	struct end e = {0};
	struct sb all = {0};

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, TLS1_3_VERSION, NULL);
	struct tls_context *c = trusting(&r);
	dial(&r, &e, c, "a.b");
	run(&r, is_told, &e);
	tls_far_hold(&r.peers[0], true);
	size_t used = r.account.used;
	simnet_knobs(r.sim)->capacity = 40000;
	pattern(&all, 200000);
	struct iovec iov = {all.p, all.n};
	ssize_t took = sock_writev(e.s, &iov, 1);
	ck_assert_int_eq(took, 2 * 16384); /* the third record found room for a part of it only */
	for (int i = 0; i < 3; i++) {
		iov = (struct iovec){all.p + took, all.n - (size_t)took};
		ck_assert_int_eq(sock_writev(e.s, &iov, 1), -EAGAIN);
	}
	ck_assert_uint_le(r.account.used - used, TLS_PIECES * 17000);
	simnet_advance(r.sim, 100 * ms);
	tls_far_hold(&r.peers[0], false);
	tls_far_pump(&r.peers[0]);
	/* What is offered again comes in other pieces, fewer bytes first. */
	for (size_t at = (size_t)took, step = 1; at < all.n; step = step * 3 % 40009) {
		struct iovec two[2] = {{all.p + at, step / 2 < all.n - at ? step / 2 : all.n - at}, {NULL, 0}};
		two[1] = (struct iovec){all.p + at + two[0].iov_len, step < all.n - at - two[0].iov_len ? step : all.n - at - two[0].iov_len};
		ssize_t n = sock_writev(e.s, two, 2);
		if (n == -EAGAIN) {
			simnet_advance(r.sim, ms);
			continue;
		}
		ck_assert_int_gt(n, 0);
		at += (size_t)n;
		simnet_advance(r.sim, 0);
	}
	simnet_advance(r.sim, 100 * ms);
	ck_assert_uint_eq(r.peers[0].got.n, all.n);
	ck_assert_mem_eq(r.peers[0].got.p, all.p, all.n);
	ck_assert_uint_eq(r.account.used, used); /* what was kept for the stall is gone */
	end_over(&e);
	tls_context_unref(&c);
	sb_end(&all);
	rig_free(&r);
}
END_TEST

START_TEST(an_account_that_refuses_ends_the_connection_and_nothing_else)
{
	struct rig r;
	struct end e = {0};
	struct sb all = {0};

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
	struct tls_context *c = trusting(&r);
	dial(&r, &e, c, "a.b");
	run(&r, is_told, &e);
	tls_far_hold(&r.peers[0], true);
	simnet_knobs(r.sim)->capacity = 5000;
	r.account.limit = r.account.used;
	pattern(&all, 20000);
	struct iovec iov = {all.p, all.n};
	ck_assert_int_eq(sock_writev(e.s, &iov, 1), -ENOMEM);
	ck_assert_int_eq(sock_writev(e.s, &iov, 1), -ENOMEM);
	end_over(&e);
	ck_assert_uint_eq(r.account.used, 0);
	/* The same where what was read finds no room to wait in. */
	r.account.limit = SIZE_MAX;
	simnet_knobs(r.sim)->capacity = 65536;
	struct end f = {.read_max = 10};
	dial(&r, &f, c, "a.b");
	run(&r, is_told, &f);
	r.account.limit = r.account.used;
	tls_far_send(&r.peers[1], all.p, 20000);
	simnet_advance(r.sim, 100 * ms);
	ck_assert(f.ended);
	ck_assert_int_eq(f.end, -ENOMEM);
	end_over(&f);
	tls_context_unref(&c);
	sb_end(&all);
	rig_free(&r);
}
END_TEST

START_TEST(a_key_update_in_the_middle_is_answered_even_while_the_way_out_is_full)
{
	struct rig r;
	struct end e = {0};
	struct sb all = {0};

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, TLS1_3_VERSION, NULL);
	struct tls_context *c = trusting(&r);
	dial(&r, &e, c, "a.b");
	run(&r, is_told, &e);
	pattern(&all, 300000);
	expected = all.n;
	for (int i = 0; i < 5; i++) {
		tls_far_hold(&r.peers[0], i % 2 == 0);
		sb_add(&e.left, all.p + i * 60000, 60000);
		end_say(&e);
		ck_assert_int_eq(SSL_key_update(r.peers[0].ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		tls_far_send(&r.peers[0], all.p + i * 60000, 60000);
		simnet_advance(r.sim, 100 * ms);
	}
	tls_far_hold(&r.peers[0], false);
	run(&r, all_came, &e);
	ck_assert_mem_eq(e.got.p, all.p, all.n);
	ck_assert_mem_eq(r.peers[0].got.p, all.p, all.n);
	end_over(&e);
	tls_context_unref(&c);
	sb_end(&all);
	rig_free(&r);
}
END_TEST

START_TEST(a_peer_that_sends_key_updates_and_nothing_else_is_left_and_one_that_sends_some_is_not)
{
	for (int flood = 0; flood < 2; flood++) {
		struct rig r;
		struct end e = {0};
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, TLS1_3_VERSION, NULL);
		struct tls_context *c = trusting(&r);
		dial(&r, &e, c, "a.b");
		run(&r, is_told, &e);
		for (int i = 0; i < 8000 && !e.ended; i++) {
			ck_assert_int_eq(SSL_key_update(r.peers[0].ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
			ck_assert_int_eq(SSL_do_handshake(r.peers[0].ssl), 1);
			if (!flood && i % 400 == 0)
				tls_far_send(&r.peers[0], "x", 1);
			if (i % 100 == 0) {
				tls_far_pump(&r.peers[0]);
				simnet_advance(r.sim, 10 * ms);
			}
		}
		ck_assert_int_eq(e.ended, flood);
		ck_assert_uint_eq(stat_get(&r.l->stats, STAT_LIMIT_TLS_NOISE), (uint64_t)flood);
		if (flood) {
			ck_assert_int_eq(e.end, ERR_LIMIT);
			ck_assert_str_eq(tls_why(e.s), "TLS: the peer sends messages of TLS without end");
		}
		end_over(&e);
		tls_context_unref(&c);
		rig_free(&r);
	}
}
END_TEST

/* ---- ends --------------------------------------------------------------------------------------------------------------------------- */

START_TEST(ends_are_told_once_after_all_that_came_before)
{
	static const struct { int how; int end; } rows[] = {
		{0, 0},           /* close_notify, FIN */
		{1, 0},           /* FIN alone: HTTP/2 frames itself */
		{2, -ECONNRESET}, /* FIN in the middle of a record */
		{3, -ECONNRESET}, /* RST */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		struct end e = {.read_max = 100};
		struct sb all = {0};
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
		struct tls_context *c = trusting(&r);
		dial(&r, &e, c, "a.b");
		run(&r, is_told, &e);
		pattern(&all, 20000);
		if (rows[i].how == 2)
			simnet_knobs(r.sim)->capacity = 18000; /* a record and a part of the next */
		sock_want(e.s, false, false);
		tls_far_send(&r.peers[0], all.p, all.n);
		r.peers[0].rude = rows[i].how != 0;
		if (rows[i].how == 3)
			simnet_cut(r.peers[0].s, -ECONNRESET);
		else
			tls_far_end(&r.peers[0]);
		sock_want(e.s, true, false);
		simnet_advance(r.sim, 100 * ms);
		ck_assert(e.ended);
		ck_assert_int_eq(e.end, rows[i].end);
		ck_assert_uint_eq(e.got.n, rows[i].how == 2 ? 16384 : all.n);
		ck_assert_mem_eq(e.got.p, all.p, e.got.n);
		char one;
		ck_assert_int_eq(sock_recv(e.s, &one, 1), rows[i].end); /* and said again to who asks */
		end_over(&e);
		tls_context_unref(&c);
		sb_end(&all);
		rig_free(&r);
	}
}
END_TEST

static bool peer_ended(struct rig *r, struct end *e)
{
	(void)e;
	return r->npeers == 1 && r->peers[0].eof;
}

START_TEST(our_close_says_close_notify_and_may_come_from_any_event)
{
	for (int real = 0; real < 2; real++)
		for (int at_connect = 0; at_connect < 2; at_connect++) {
			struct rig r;
			struct end e = {.closes_at_connect = at_connect};
			rig_new(&r, real);
			serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
			struct tls_context *c = trusting(&r);
			dial(&r, &e, c, "a.b");
			tls_context_unref(&c);
			if (!at_connect) {
				run(&r, is_told, &e);
				sock_close(&e.s);
			}
			run(&r, peer_ended, &e);
			ck_assert(r.peers[0].got_notify);
			end_over(&e);
			rig_free(&r);
		}
}
END_TEST

START_TEST(a_close_at_any_moment_leaves_nothing)
{
	for (int i = 0; i < 40; i++) {
		struct rig r;
		struct end e = {0};
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, 0, NULL);
		*simnet_knobs(r.sim) = (struct simnet_knobs){.capacity = 300, .latency_ns = ms};
		struct tls_context *c = trusting(&r);
		pattern(&e.left, 5000);
		dial(&r, &e, c, "a.b");
		tls_context_unref(&c);
		simnet_advance(r.sim, (uint64_t)i * ms);
		end_over(&e);
		rig_free(&r);
	}
}
END_TEST

START_TEST(damage_anywhere_ends_the_connection_with_a_reason)
{
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (int at = 1; at < 1800; at += 41) {
			struct rig r;
			struct end e = {0};
			rig_new(&r, false);
			serve(&r, &r.ca, "DNS:a.b", -DAY, DAY, version, NULL);
			struct tls_context *c = trusting(&r);
			r.peers[0].flip_at = at;
			r.peers[0].greeting = "hello";
			r.peers[0].greeting_n = 5;
			dial(&r, &e, c, "a.b");
			simnet_advance(r.sim, 1000 * ms);
			if (r.peers[0].flip_at == 0) { /* what was damaged has been sent */
				bool waits = e.connected == 0 && e.s; /* a length that grew: the rest never comes */
				ck_assert(waits || e.connected < 0 || e.ended || e.got.n == 0);
				ck_assert(waits || e.connected == 1 || e.why[0]);
			}
			end_over(&e);
			tls_context_unref(&c);
			rig_free(&r);
		}
}
END_TEST

/* ---- coming back ------------------------------------------------------------------------------------------------------------------- */

static bool come_back(struct rig *r, struct tls_context *c, const char *name)
{
	struct end e = {0};

	dial(r, &e, c, name);
	run(r, is_told, &e);
	ck_assert_int_eq(e.connected, 1);
	bool resumed = tls_resumed(e.s);
	end_over(&e);
	simnet_advance(r->sim, 100 * ms);
	return resumed;
}

START_TEST(sessions_are_resumed_for_the_same_context_and_name_while_the_certificate_is_valid)
{
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct rig r;
		rig_new(&r, false);
		serve(&r, &r.ca, "DNS:a.b DNS:c.d", -DAY, 3600, version, NULL);
		struct tls_context *c = trusting(&r), *other = trusting(&r);
		ck_assert(!come_back(&r, c, "a.b"));
		ck_assert(come_back(&r, c, "a.b"));
		ck_assert(!come_back(&r, c, "c.d"));
		while (r.npeers)
			tls_far_end(&r.peers[--r.npeers]);
		ck_assert(!come_back(&r, other, "a.b"));
		simnet_advance(r.sim, UINT64_C(3700) * 1000 * ms);
		struct end e = {0}; /* resumed, it would have been accepted */
		dial(&r, &e, c, "a.b");
		run(&r, is_told, &e);
		ck_assert_int_eq(e.connected, -EKEYREJECTED);
		ck_assert_ptr_nonnull(strstr(e.why, "expired"));
		end_over(&e);
		tls_context_unref(&c);
		tls_context_unref(&other);
		rig_free(&r);
	}
}
END_TEST

START_TEST(sessions_are_bounded_in_number)
{
	struct rig r;

	rig_new(&r, false);
	serve(&r, &r.ca, "DNS:*.b.c", -DAY, DAY, 0, NULL);
	struct tls_context *c = trusting(&r);
	for (int i = 0; i < TLS_SESSIONS + 10; i++) {
		char name[32];
		snprintf(name, sizeof(name), "n%d.b.c", i);
		come_back(&r, c, name);
		tls_far_end(&r.peers[0]);
		r.npeers = 0;
	}
	ck_assert_uint_eq(c->nsessions, TLS_SESSIONS);
	ck_assert(!come_back(&r, c, "n0.b.c")); /* the oldest went */
	char last[32];
	snprintf(last, sizeof(last), "n%d.b.c", TLS_SESSIONS + 9);
	ck_assert(come_back(&r, c, last));
	snprintf(last, sizeof(last), "n%d.b.c", TLS_SESSIONS + 10 - TLS_SESSIONS / TLS_SESSIONS_EACH + 10); /* a server gives two */
	ck_assert(come_back(&r, c, last));
	tls_context_unref(&c);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("tls", a_peer_is_accepted_or_refused_with_the_reason, a_chain_ends_at_whatever_the_roots_file_has_and_ours_is_shown_whole,
	without_a_roots_file_the_systems_roots_count, nothing_older_than_tls_1_2_is_spoken, a_kernel_that_cannot_connect_says_so_through_tls,
	dns_names_match_by_rfc_6125, without_a_name_to_check_nothing_is_begun,
	client_certificates_are_shown_and_their_lack_is_told_whenever_the_server_says_so, a_peer_that_speaks_no_tls_or_nothing_or_closes_is_told_so,
	a_server_that_asked_for_a_certificate_and_closes_without_a_word_is_understood,
	bytes_arrive_whole_and_in_order_however_they_are_cut, who_stopped_reading_is_told_of_what_lies_in_here_when_it_wants_again,
	bytes_are_taken_only_when_their_record_is_out_and_a_stalled_peer_costs_one_write, an_account_that_refuses_ends_the_connection_and_nothing_else,
	a_key_update_in_the_middle_is_answered_even_while_the_way_out_is_full, ends_are_told_once_after_all_that_came_before,
	our_close_says_close_notify_and_may_come_from_any_event, a_close_at_any_moment_leaves_nothing, damage_anywhere_ends_the_connection_with_a_reason,
	a_peer_that_sends_key_updates_and_nothing_else_is_left_and_one_that_sends_some_is_not,
	sessions_are_resumed_for_the_same_context_and_name_while_the_certificate_is_valid, sessions_are_bounded_in_number)
