/* net/tls_verify, net/tls_trust, net/tls_names: who is believed: roots, bundles of trust domains, CRLs, uses, rules, pins. Each refusal says both values. Client and server are ours. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/tls_int.h"
#include "tests/net/tlspair.h"
#include "tests/unit.h"

enum { DAY = 86400 };

struct rig { struct tls_pair p; struct tls_ca ca, other; struct tls_paper paper, mine; struct tls_want *want; };

static void rig_new(struct rig *r)
{
	*r = (struct rig){.want = tls_want_new()};
	tls_pair_new(&r->p);
	tls_ca_new(&r->ca, "authority", r->p.now);
	tls_ca_new(&r->other, "other", r->p.now);
	tls_paper_new(&r->mine, &r->ca, "me", "URI:spiffe://own/ns/a/sa/b", -DAY, DAY);
	r->p.of_client.want = r->want;
	r->p.of_server.want = r->want;
}

static void rig_free(struct rig *r)
{
	tls_pair_free(&r->p);
	tls_want_unref(&r->want);
	if (r->paper.cert)
		tls_paper_end(&r->paper);
	tls_paper_end(&r->mine);
	tls_ca_end(&r->ca);
	tls_ca_end(&r->other);
}

static void shows(struct rig *r, const struct tls_ca *ca, const char *sans, const char *use)
{
	struct err err = ERR_INIT;

	if (r->paper.cert)
		tls_paper_end(&r->paper);
	tls_paper_use(&r->paper, ca, "server", sans, -DAY, DAY, use);
	struct tls_spec spec = {.cert = tls_cert_of(&r->paper), .server = true, .no_client_cert = true};
	tls_context_unref(&r->p.server);
	ck_assert_msg(tls_context_new(&spec, &r->p.server, &err) == 0, "%s", err_str(&err));
	tls_cert_unref(&spec.cert);
}

static void trusts(struct rig *r, struct tls_trust *taken, bool shown)
{
	struct err err = ERR_INIT;
	struct tls_spec spec = {.trust = taken, .cert = shown ? tls_cert_of(&r->mine) : NULL};

	tls_context_unref(&r->p.client);
	ck_assert_msg(tls_context_new(&spec, &r->p.client, &err) == 0, "%s", err_str(&err));
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
}

static void verdict_is(struct rig *r, bool good, const char *why, size_t row)
{
	tls_pair_meet(&r->p);
	ck_assert_msg(r->p.c.connected == (good ? 1 : -EKEYREJECTED), "row %zu: %d, %s", row, r->p.c.connected, r->p.c.why);
	if (!good)
		ck_assert_msg(strcmp(r->p.c.why, why) == 0, "row %zu: %s, not %s", row, r->p.c.why, why);
}

/* ---- names ---------------------------------------------------------------------------------------------------------------------------- */

static int is_text(const void *regex, struct str text)
{
	return strcmp(regex, "fail") == 0 ? -1 : str_is(text, regex);
}

START_TEST(one_rule_must_fit_one_name_of_its_kind)
{
	static const struct { const char *sans; enum tls_name on; enum tls_rule_kind kind; bool ignore_case; const char *text; bool fits; } rows[] = {
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_EXACT, false, "spiffe://m/a", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_EXACT, false, "spiffe://m/A", false},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_EXACT, true, "SPIFFE://m/A", true}, {"URI:spiffe://m/a", TLS_NAME_DNS, TLS_EXACT, false, "spiffe://m/a", false},
		{"URI:spiffe://m/a", TLS_NAME_ANY, TLS_EXACT, false, "spiffe://m/a", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_EXACT, false, "", false},
		{"URI:spiffe://m/a!", TLS_NAME_URI, TLS_EXACT, false, "spiffe://m/a", false}, {"URI:spiffe://m/a!", TLS_NAME_URI, TLS_PREFIX, false, "spiffe://m/", false},
		{"URI:spiffe://m/!a", TLS_NAME_URI, TLS_SUFFIX, false, "a", false}, {"URI:spiffe://m/!a", TLS_NAME_URI, TLS_CONTAINS, false, "m", false},
		{"URI:!", TLS_NAME_ANY, TLS_PREFIX, false, "", false},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_PREFIX, false, "spiffe://m/", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_PREFIX, false, "spiffe://n/", false},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_PREFIX, false, "spiffe://m/a/longer", false}, {"URI:spiffe://M/a", TLS_NAME_URI, TLS_PREFIX, true, "spiffe://m/", true},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_SUFFIX, false, "/a", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_SUFFIX, false, "/A", false},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_SUFFIX, true, "/A", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_CONTAINS, false, "//m", true},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_CONTAINS, false, "//n", false}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_CONTAINS, true, "//M/A", true},
		{"URI:spiffe://m/a", TLS_NAME_URI, TLS_REGEX, false, "spiffe://m/a", true}, {"URI:spiffe://m/a", TLS_NAME_URI, TLS_REGEX, false, "fail", false},
		{"DNS:x.y.z", TLS_NAME_DNS, TLS_EXACT, false, "X.y.z", true}, {"DNS:*.y.z", TLS_NAME_DNS, TLS_EXACT, false, "x.y.z", true}, {"DNS:*.y.z", TLS_NAME_ANY, TLS_EXACT, false, "x.y.z", true},
		{"DNS:*.y.z", TLS_NAME_DNS, TLS_EXACT, false, "y.z", false}, {"DNS:*.y.z", TLS_NAME_DNS, TLS_EXACT, false, "a.x.y.z", false}, {"DNS:*", TLS_NAME_DNS, TLS_EXACT, false, "x", false},
		{"DNS:*.com", TLS_NAME_DNS, TLS_EXACT, false, "x.com", false}, {"DNS:f*.a.b", TLS_NAME_DNS, TLS_EXACT, false, "fx.a.b", false}, {"DNS:*.*.b", TLS_NAME_DNS, TLS_EXACT, false, "x.a.b", false},
		{"DNS:x.y!.z", TLS_NAME_DNS, TLS_EXACT, false, "x.y", false}, {"DNS:x.y", TLS_NAME_URI, TLS_EXACT, false, "x.y", false}, {"DNS:x.y.z", TLS_NAME_DNS, TLS_SUFFIX, false, ".y.z", true},
		{"IP:10.0.0.1", TLS_NAME_IP, TLS_EXACT, false, "10.0.0.1", true}, {"IP:fd00::1", TLS_NAME_IP, TLS_EXACT, false, "fd00:0:0::1", true}, {"IP:10.0.0.1", TLS_NAME_DNS, TLS_EXACT, false, "10.0.0.1", false},
		{"DNS:10.0.0.1", TLS_NAME_ANY, TLS_EXACT, false, "10.0.0.1", false}, {"IP:10.0.0.1", TLS_NAME_IP, TLS_PREFIX, false, "10.0.", true}, {"IP:10.0.0.1", TLS_NAME_ANY, TLS_EXACT, false, "10.0.0.1", true},
		{"DNS:no URI:spiffe://m/b", TLS_NAME_ANY, TLS_EXACT, false, "spiffe://m/b", true}, {"", TLS_NAME_ANY, TLS_PREFIX, false, "", false},
	};
	struct rig r;

	rig_new(&r);
	r.want->names = TLS_NAMES_RULES;
	r.want->regex_match = is_text;
	trusts(&r, tls_trust_of(&r.ca), false);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		shows(&r, &r.ca, rows[i].sans, NULL);
		tls_want_rule(r.want, TLS_NAME_EMAIL, TLS_EXACT, STR("never@x")); /* one of several is enough */
		tls_want_rule(r.want, rows[i].on, rows[i].kind, str_of(rows[i].text));
		r.want->rules[1].ignore_case = rows[i].ignore_case;
		r.want->rules[1].regex = (void *)(uintptr_t)rows[i].text;
		r.p.of_client.hash = i; /* no session is of the same rules */
		tls_pair_meet(&r.p);
		ck_assert_msg((r.p.c.connected == 1) == rows[i].fits, "row %zu: %s", i, r.p.c.why);
		if (!rows[i].fits)
			ck_assert_msg(strstr(r.p.c.why, "wanted ") && strstr(r.p.c.why, rows[i].text), "row %zu: %s", i, r.p.c.why);
		for (int k = 0; k < 2; k++)
			free(r.want->rules[k].text);
		r.want->nrules = 0;
	}
	rig_free(&r);
}
END_TEST

START_TEST(a_trust_domain_is_that_of_the_space_or_our_own_or_an_alias)
{
	static const struct { const char *sans, *domain, *alias; bool shown, good; const char *why; } rows[] = {
		{"URI:spiffe://m/ns/a/sa/b", "m", NULL, false, true, NULL},
		{"URI:spiffe://own/ns/x/sa/y", NULL, NULL, true, true, NULL},
		{"URI:spiffe://m/ns/a/sa/b", NULL, NULL, true, false, "the peer is 'spiffe://m/ns/a/sa/b', wanted 'spiffe://own/...'"},
		{"URI:spiffe://m/ns/a/sa/b", "own", "m", true, true, NULL},
		{"URI:spiffe://m/ns/a/sa/b", NULL, "m", false, true, NULL},
		{"URI:spiffe://n/ns/a/sa/b", "m", "k", false, false, "the peer is 'spiffe://n/ns/a/sa/b', wanted 'spiffe://m/...' or 'spiffe://k/...'"},
		{"URI:spiffe://m/ns/a/sa/b", NULL, NULL, false, false, "there is no trust domain to judge the peer by: our own certificate names none"},
		{"URI:spiffe://m", "m", NULL, false, false, "the peer is 'spiffe://m', wanted 'spiffe://m/...'"},
		{"URI:spiffe://m/", "m", NULL, false, false, "the peer is 'spiffe://m/', wanted 'spiffe://m/...'"},
		{"URI:spiffe://mm/a", "m", NULL, false, false, "the peer is 'spiffe://mm/a', wanted 'spiffe://m/...'"},
		{"URI:spiffe://m.evil/a", "m", NULL, false, false, "the peer is 'spiffe://m.evil/a', wanted 'spiffe://m/...'"},
		{"URI:spiffe://m!/a", "m", NULL, false, false, "the peer is 'spiffe://m?/a', wanted 'spiffe://m/...'"},
		{"URI:https://m/a", "m", NULL, false, false, "the peer is 'https://m/a', wanted 'spiffe://m/...'"},
		{"DNS:spiffe://m/a", "m", NULL, false, false, "the peer is 'spiffe://m/a', wanted 'spiffe://m/...'"},
		{"URI:spiffe://m/a!b", "m", NULL, false, false, "the peer is 'spiffe://m/a?b', wanted 'spiffe://m/...'"},
		{"URI:SPIFFE://m/a", "m", NULL, false, false, "the peer is 'SPIFFE://m/a', wanted 'spiffe://m/...'"},
		{"URI:spiffe://M/a", "m", NULL, false, false, "the peer is 'spiffe://M/a', wanted 'spiffe://m/...'"},
		{"URI:spiffe://m/a", "", NULL, false, false, "there is no trust domain to judge the peer by: our own certificate names none"},
		{"URI:spiffe:///a", "", NULL, false, false, "there is no trust domain to judge the peer by: our own certificate names none"},
		{"URI:spiffe://x/a URI:spiffe://m/a", "m", NULL, false, true, NULL}, /* Istio accepts one of several */
		{"", "m", NULL, false, false, "the peer's certificate (CN=server) has no name in it (subjectAltName), wanted 'spiffe://m/...'"},
	};
	struct rig r;

	rig_new(&r);
	r.want->names = TLS_NAMES_DOMAIN;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		trusts(&r, tls_trust_of(&r.ca), rows[i].shown);
		shows(&r, &r.ca, rows[i].sans, NULL);
		r.p.of_client = (struct tls_peer){.server_name = "a.b", .want = r.want, .trust_domain = rows[i].domain, .aliases = &rows[i].alias, .naliases = rows[i].alias != NULL};
		verdict_is(&r, rows[i].good, rows[i].why, i);
	}
	rig_free(&r);
}
END_TEST

START_TEST(what_is_checked_may_be_another_name_than_what_is_asked_for)
{
	struct rig r;

	rig_new(&r);
	r.p.of_client = (struct tls_peer){.server_name = "outbound_.80_._.x", .check_name = "a.b"};
	trusts(&r, tls_trust_of(&r.ca), false);
	shows(&r, &r.ca, "DNS:a.b", NULL);
	verdict_is(&r, true, NULL, 0);
	r.p.of_client.check_name = "10.0.0.7"; /* an address of a provider without a name */
	verdict_is(&r, false, "the peer is 'a.b', wanted '10.0.0.7'", 1);
	rig_free(&r);
}
END_TEST

START_TEST(a_hosts_name_is_no_uri_and_a_uri_is_no_host)
{
	static const struct { const char *sans, *wanted; bool good; const char *why; } rows[] = {
		{"URI:a.b", "a.b", false, "the peer is 'a.b', wanted 'a.b'"}, {"DNS:spiffe://m/a", "spiffe://m/a", false, "the peer is 'spiffe://m/a', wanted 'spiffe://m/a'"},
		{"URI:spiffe://m/a", "spiffe://m/a", true, NULL}, {"URI:10.0.0.1", "10.0.0.1", false, "the peer is '10.0.0.1', wanted '10.0.0.1'"},
	};
	struct rig r;

	rig_new(&r);
	trusts(&r, tls_trust_of(&r.ca), false);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		shows(&r, &r.ca, rows[i].sans, NULL);
		r.p.of_client = (struct tls_peer){.server_name = "x", .check_name = rows[i].wanted};
		verdict_is(&r, rows[i].good, rows[i].why, i);
	}
	rig_free(&r);
}
END_TEST

/* `names` DNS names of some 70 letters, and a.b */
static void shows_many(struct rig *r, int names)
{
	struct sb sans = {0};

	sb_str(&sans, "DNS:a.b");
	for (int i = 0; i < names; i++)
		sb_fmt(&sans, " DNS:n%d.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", i);
	shows(r, &r->ca, sans.p, NULL);
	sb_end(&sans);
}

START_TEST(a_certificate_of_too_many_names_or_bytes_is_refused_and_a_large_one_is_not_kept_for_a_session)
{
	struct rig r;

	rig_new(&r);
	trusts(&r, tls_trust_of(&r.ca), false);
	shows_many(&r, 50);
	verdict_is(&r, true, NULL, 4);
	verdict_is(&r, true, NULL, 5);
	ck_assert(tls_resumed(r.p.c.s));
	shows_many(&r, 500);
	verdict_is(&r, true, NULL, 6);
	uint32_t kept = r.p.client->nsessions;
	verdict_is(&r, true, NULL, 7);
	ck_assert(!tls_resumed(r.p.c.s) && r.p.client->nsessions <= kept);
	shows_many(&r, 1200);
	tls_pair_meet(&r.p);
	ck_assert_int_lt(r.p.c.connected, 0);
	ck_assert_msg(strstr(r.p.c.why, "excessive message size"), "%s", r.p.c.why);
	struct sb sans = {0};
	sb_str(&sans, "DNS:a.b");
	for (int i = 0; i < TLS_SANS_MAX; i++)
		sb_fmt(&sans, " DNS:n%d.b", i);
	shows(&r, &r.ca, sans.p, NULL);
	sb_end(&sans);
	verdict_is(&r, false, "the peer's certificate has 1001 names in it, more than 1000", 8);
	rig_free(&r);
}
END_TEST

START_TEST(a_pin_is_of_the_certificate_or_of_its_key)
{
	struct rig r;
	unsigned char md[32], *der = NULL;
	char pin[2][80] = {"SHA256:", "spki:"}, why[512];
	char *pins[2] = {(char *)"sha256:00", NULL};

	rig_new(&r);
	trusts(&r, tls_trust_of(&r.ca), false);
	shows(&r, &r.ca, "DNS:a.b", NULL);
	X509_digest(r.paper.cert, EVP_sha256(), md, NULL);
	for (int i = 0; i < 32; i++)
		snprintf(pin[0] + 7 + 2 * i, 3, "%02X", md[i]);
	int n = i2d_PUBKEY(r.paper.key, &der);
	ck_assert(EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL) == 1);
	OPENSSL_free(der);
	for (int i = 0; i < 32; i++)
		snprintf(pin[1] + 5 + 2 * i, 3, "%02x", md[i]);
	r.want->pins = pins;
	r.want->npins = 2;
	for (int i = 0; i < 2; i++) {
		pins[1] = pin[i];
		verdict_is(&r, true, NULL, (size_t)i);
		r.p.of_client.hash++;
	}
	r.want->npins = 1;
	tls_pair_meet(&r.p);
	str_lower(pin[0], strlen(pin[0]));
	snprintf(why, sizeof(why), "the peer's certificate is %s, its key %s, wanted sha256:00", pin[0], pin[1]);
	ck_assert_int_eq(r.p.c.connected, -EKEYREJECTED);
	ck_assert_str_eq(r.p.c.why, why);
	r.want->pins = NULL;
	r.want->npins = 0;
	rig_free(&r);
}
END_TEST

/* ---- chains ---------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_use_that_the_certificate_does_not_allow_is_told_for_either_role)
{
	struct rig r;

	rig_new(&r);
	trusts(&r, tls_trust_of(&r.ca), true);
	shows(&r, &r.ca, "DNS:a.b", "clientAuth");
	verdict_is(&r, false, "the usage of the peer's certificate (keyUsage, extendedKeyUsage) does not allow it to be a TLS server (CN=server)", 0);
	shows(&r, &r.ca, "DNS:a.b", "serverAuth,clientAuth");
	verdict_is(&r, true, NULL, 1);
	/* And the caller's. */
	struct tls_spec spec = {.cert = tls_cert_of(&r.paper), .trust = tls_trust_of(&r.ca), .server = true};
	struct err err = ERR_INIT;
	tls_context_unref(&r.p.server);
	ck_assert_int_eq(tls_context_new(&spec, &r.p.server, &err), 0);
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
	tls_paper_end(&r.mine);
	tls_paper_use(&r.mine, &r.ca, "me", "URI:spiffe://own/x", -DAY, DAY, "serverAuth");
	trusts(&r, tls_trust_of(&r.ca), true);
	tls_pair_meet(&r.p);
	ck_assert_int_eq(r.p.d.connected, -EKEYREJECTED);
	ck_assert_str_eq(r.p.d.why, "the usage of the peer's certificate (keyUsage, extendedKeyUsage) does not allow it to be a TLS client (CN=me)");
	ck_assert_ptr_nonnull(strstr(r.p.c.why, "the peer refuses: "));
	ck_assert_ptr_nonnull(strstr(r.p.c.why, "we showed 'spiffe://own/x'"));
	rig_free(&r);
}
END_TEST

START_TEST(what_has_expired_is_accepted_where_that_is_asked_for)
{
	struct rig r;
	struct err err = ERR_INIT;

	rig_new(&r);
	tls_paper_new(&r.paper, &r.ca, "server", "DNS:a.b", -DAY, -60);
	struct tls_spec server = {.cert = tls_cert_of(&r.paper), .server = true, .no_client_cert = true}, client = {.trust = tls_trust_of(&r.ca), .expired_ok = true};
	ck_assert_int_eq(tls_context_new(&server, &r.p.server, &err), 0);
	ck_assert_int_eq(tls_context_new(&client, &r.p.client, &err), 0);
	verdict_is(&r, true, NULL, 0);
	verdict_is(&r, true, NULL, 1); /* resumed */
	ck_assert(tls_resumed(r.p.c.s));
	trusts(&r, tls_trust_ref(client.trust), false);
	tls_pair_meet(&r.p);
	ck_assert_ptr_nonnull(strstr(r.p.c.why, "certificate has expired (CN=server, not after 2025-12-31T23:59"));
	tls_trust_unref(&client.trust);
	tls_cert_unref(&server.cert);
	rig_free(&r);
}
END_TEST

START_TEST(without_trust_the_chain_is_not_looked_at_but_names_are)
{
	struct rig r;

	rig_new(&r);
	trusts(&r, NULL, false);
	shows(&r, &r.other, "DNS:a.b", NULL);
	verdict_is(&r, true, NULL, 0);
	r.p.of_client.want = NULL;
	verdict_is(&r, true, NULL, 1);
	r.p.of_client.server_name = "c.d";
	verdict_is(&r, false, "the peer is 'a.b', wanted 'c.d'", 2);
	rig_free(&r);
}
END_TEST

START_TEST(a_chain_that_is_too_long_is_refused_before_it_is_walked)
{
	enum { LONG = 20 };
	struct rig r;
	struct tls_ca chain[LONG];
	struct sb pem = {0};
	struct err err = ERR_INIT;
	struct tls_cert *cert;

	rig_new(&r);
	for (int i = 0; i < LONG; i++) {
		char cn[16];
		snprintf(cn, sizeof(cn), "middle %d", i);
		tls_ca_below(&chain[i], i ? &chain[i - 1] : &r.ca, cn);
	}
	tls_paper_new(&r.paper, &chain[LONG - 1], "server", "DNS:a.b", -DAY, DAY);
	char *text = tls_text(r.paper.cert_fd), *key = tls_text(r.paper.key_fd);
	sb_str(&pem, text);
	free(text);
	for (int i = LONG; i-- > 0;) {
		text = tls_text(chain[i].fd);
		sb_str(&pem, text);
		free(text);
	}
	ck_assert_int_eq(tls_cert_new("c", sb_view(&pem), str_of(key), &cert, &err), 0);
	struct tls_spec spec = {.cert = cert, .server = true, .no_client_cert = true};
	ck_assert_int_eq(tls_context_new(&spec, &r.p.server, &err), 0);
	tls_cert_unref(&cert);
	trusts(&r, tls_trust_of(&r.ca), false);
	tls_pair_meet(&r.p);
	ck_assert_int_eq(r.p.c.connected, -EKEYREJECTED);
	ck_assert_msg(strstr(r.p.c.why, "the peer's chain is longer than 16 certificates") != NULL, "%s", r.p.c.why);
	free(key);
	sb_end(&pem);
	for (int i = 0; i < LONG; i++)
		tls_ca_end(&chain[i]);
	rig_free(&r);
}
END_TEST

/* Envoy's words: "This number does not include the leaf but includes the trust anchor, so a depth of 1 allows the leaf and one CA certificate." */
START_TEST(a_chain_may_be_no_longer_than_is_wanted)
{
	static const struct { bool anchor_is_middle; uint32_t issuers; bool good; const char *why; } rows[] = {
		{false, 0, true, NULL},
		{false, 4, true, NULL},
		{false, 3, true, NULL},
		{false, 2, false, "2 certificates stand above the peer's (CN=server), the root among them, more than max_verify_depth: 1"},
		{false, 1, false, "2 certificates stand above the peer's (CN=server), the root among them, more than max_verify_depth: 0"},
		{true, 2, true, NULL}, /* where the one in the middle is trusted, the chain ends with it */
		{true, 1, false, "1 certificates stand above the peer's (CN=server), the root among them, more than max_verify_depth: 0"},
	};
	struct rig r;
	struct tls_ca middle;
	struct sb pem = {0};
	struct err err = ERR_INIT;
	struct tls_cert *cert;

	rig_new(&r);
	tls_ca_below(&middle, &r.ca, "middle");
	tls_paper_new(&r.paper, &middle, "server", "DNS:a.b", -DAY, DAY);
	char *leaf = tls_text(r.paper.cert_fd), *key = tls_text(r.paper.key_fd), *between = tls_text(middle.fd);
	sb_fmt(&pem, "%s%s", leaf, between);
	ck_assert_int_eq(tls_cert_new("c", sb_view(&pem), str_of(key), &cert, &err), 0);
	struct tls_spec spec = {.cert = cert, .server = true, .no_client_cert = true};
	ck_assert_int_eq(tls_context_new(&spec, &r.p.server, &err), 0);
	tls_cert_unref(&cert);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		r.want->issuers = rows[i].issuers;
		tls_want_seal(r.want);
		trusts(&r, tls_trust_of(rows[i].anchor_is_middle ? &middle : &r.ca), false);
		verdict_is(&r, rows[i].good, rows[i].why, i);
	}
	free(leaf);
	free(key);
	free(between);
	sb_end(&pem);
	tls_ca_end(&middle);
	rig_free(&r);
}
END_TEST

/* ---- trust domains ------------------------------------------------------------------------------------------------------------------------ */

static struct tls_trust *bundles(struct rig *r, bool with_any)
{
	struct err err = ERR_INIT;
	struct tls_trust *t = NULL;
	char *ca = tls_text(r->ca.fd), *other = tls_text(r->other.fd);

	ck_assert_int_eq(tls_trust_new("map", str_of(ca), "m", &t, &err), 0);
	ck_assert_int_eq(tls_trust_more(t, "map", str_of(other), with_any ? NULL : "n", &err), 0);
	ck_assert_int_eq(tls_trust_more(t, "map", str_of(other), "m", &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err_str(&err), "two bundles for trust domain m"));
	err_clear(&err);
	free(ca);
	free(other);
	return t;
}

START_TEST(the_peers_trust_domain_chooses_the_bundle_and_binds_all_its_names)
{
	static const struct { const char *sans; bool other, any, good; const char *why; } rows[] = {
		{"URI:spiffe://m/a", false, false, true, NULL},
		{"URI:spiffe://n/a", true, false, true, NULL},
		{"URI:spiffe://n/a", false, false, false, "no root of 'map' (CN=other) stands for the peer's certificate (CN=server, issued by CN=authority): unable to get local issuer certificate"},
		{"URI:spiffe://m/a", true, false, false, "no root of 'map' (CN=authority) stands for the peer's certificate (CN=server, issued by CN=other): unable to get local issuer certificate"},
		{"URI:spiffe://k/a", false, false, false, "the peer's trust domain is 'k', and 'map' has bundles for 'm', 'n'"},
		{"DNS:a.b", false, false, false, "the peer's certificate names no trust domain (a URI spiffe://...), and 'map' has bundles for 'm', 'n'"},
		{"URI:spiffe://m/a URI:spiffe://n/a", false, false, false, "the peer's certificate is of trust domain 'm' and names 'spiffe://n/a', too"},
		{"URI:spiffe://m/a URI:https://x/", false, false, false, "the peer's certificate is of trust domain 'm' and names 'https://x/', too"},
		{"URI:spiffe://m/a DNS:a.b", false, false, true, NULL},
		{"DNS:a.b", true, true, true, NULL},
		{"URI:spiffe://k/a", true, true, true, NULL},
		{"URI:spiffe://m/a", true, true, false, "no root of 'map' (CN=authority) stands for the peer's certificate (CN=server, issued by CN=other): unable to get local issuer certificate"},
	};
	struct rig r;

	rig_new(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		trusts(&r, bundles(&r, rows[i].any), false);
		shows(&r, rows[i].other ? &r.other : &r.ca, rows[i].sans, NULL);
		verdict_is(&r, rows[i].good, rows[i].why, i);
	}
	rig_free(&r);
}
END_TEST

/* ---- a CA that was made anew under its old name ------------------------------------------------------------------------------------------ */

static struct tls_trust *trust_of_all(const struct tls_ca *const *cas, size_t n)
{
	struct err err = ERR_INIT;
	struct sb pem = {0};
	struct tls_trust *t = NULL;

	for (size_t i = 0; i < n; i++) {
		char *text = tls_text(cas[i]->fd);
		sb_str(&pem, text);
		free(text);
	}
	ck_assert_msg(tls_trust_new("bundle", sb_view(&pem), NULL, &t, &err) == 0, "%s", err_str(&err));
	sb_end(&pem);
	return t;
}

static bool trust_verifies(const struct tls_trust *t, const struct tls_paper *p, int64_t now)
{
	struct err err = ERR_INIT;
	struct tls_cert *c = tls_cert_of(p);
	bool right = tls_trust_verifies(t, c, now, &err) == 0;

	ck_assert_int_eq(err_any(&err), !right);
	tls_cert_unref(&c);
	err_clear(&err);
	return right;
}

START_TEST(roots_of_one_name_are_all_asked_who_has_signed)
{
	enum { TWINS = 3 };
	struct rig r;
	struct tls_ca twin[TWINS], stranger;
	const struct tls_ca *all[TWINS + 1];

	rig_new(&r);
	for (int i = 0; i < TWINS; i++) {
		tls_ca_new(&twin[i], "authority", r.p.now);
		all[i] = &twin[i];
	}
	all[TWINS] = &r.other; /* and another one between them */
	tls_ca_new(&stranger, "authority", r.p.now);
	for (size_t turn = 0; turn <= TWINS; turn++) {
		struct tls_trust *t = trust_of_all(all, TWINS + 1);
		trusts(&r, tls_trust_ref(t), false);
		for (size_t i = 0; i <= TWINS; i++) {
			shows(&r, all[i], "DNS:a.b", NULL); /* these say nothing of the key that has signed them */
			verdict_is(&r, true, NULL, turn * 10 + i);
			ck_assert_str_eq(r.p.c.why, "");
			ck_assert(trust_verifies(t, &r.paper, r.p.now));
		}
		shows(&r, &stranger, "DNS:a.b", NULL);
		char why[200];
		snprintf(why, sizeof(why), "no root of 'bundle' (CN=%s and 3 more) stands for the peer's certificate (CN=server, issued by CN=authority): certificate signature failure",
			all[0] == &r.other ? "other" : "authority");
		verdict_is(&r, false, why, turn * 10 + 8);
		ck_assert(!trust_verifies(t, &r.paper, r.p.now));
		tls_trust_unref(&t);
		const struct tls_ca *first = all[0]; /* in another order */
		memmove(all, all + 1, TWINS * sizeof(all[0]));
		all[TWINS] = first;
	}
	for (int i = 0; i < TWINS; i++)
		tls_ca_end(&twin[i]);
	tls_ca_end(&stranger);
	rig_free(&r);
}
END_TEST

START_TEST(a_certificate_of_the_second_root_of_a_name_is_told_what_is_wrong_with_it)
{
	struct rig r;
	struct tls_ca twin;
	char text[32], why[200];

	rig_new(&r);
	tls_ca_new(&twin, "authority", r.p.now);
	const struct tls_ca *both[] = {&r.ca, &twin};
	for (size_t i = 0; i < 2; i++) {
		struct err err = ERR_INIT;
		trusts(&r, trust_of_all(both, 2), false);
		if (r.paper.cert)
			tls_paper_end(&r.paper);
		tls_paper_use(&r.paper, both[i], "server", "DNS:a.b", -DAY, -60, NULL);
		struct tls_spec spec = {.cert = tls_cert_of(&r.paper), .server = true, .no_client_cert = true};
		tls_context_unref(&r.p.server);
		ck_assert_int_eq(tls_context_new(&spec, &r.p.server, &err), 0);
		tls_cert_unref(&spec.cert);
		snprintf(why, sizeof(why), "the peer's certificate has expired (CN=server, not after %s, now ", tls_time_text(r.p.now - 60, text));
		tls_pair_meet(&r.p);
		ck_assert_int_eq(r.p.c.connected, -EKEYREJECTED);
		ck_assert_msg(strstr(r.p.c.why, why) == r.p.c.why, "%s", r.p.c.why);
	}
	tls_ca_end(&twin);
	rig_free(&r);
}
END_TEST

START_TEST(a_crl_of_the_second_root_of_a_name_is_heeded)
{
	struct rig r;
	struct tls_ca twin;
	struct err err = ERR_INIT;

	rig_new(&r);
	tls_ca_new(&twin, "authority", r.p.now);
	const struct tls_ca *both[] = {&r.ca, &twin};
	for (size_t i = 0; i < 2; i++) {
		struct tls_trust *t = NULL;
		struct sb pem = {0};
		shows(&r, both[i], "DNS:a.b", NULL);
		char *one = tls_text(r.ca.fd), *two = tls_text(twin.fd), *crl = tls_crl_text(both[i], r.paper.cert, DAY);
		sb_fmt(&pem, "%s%s%s", one, crl, two);
		ck_assert_int_eq(tls_trust_new("bundle", sb_view(&pem), NULL, &t, &err), 0);
		trusts(&r, t, false);
		verdict_is(&r, false, "certificate is revoked (CN=server, by the CRL of CN=authority)", i);
		sb_end(&pem);
		free(one);
		free(two);
		free(crl);
	}
	tls_ca_end(&twin);
	rig_free(&r);
}
END_TEST

/* ---- CRLs ------------------------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_crl_speaks_for_its_issuer_alone_and_for_ever)
{
	/* crl: r revokes the server, e nobody, o of the other authority (revokes the same serial), f forged in our authority's name by the other */
	static const struct { char crl; int64_t next; bool good; } rows[] = {
		{'r', DAY, false}, {'e', DAY, true}, {'r', -60, false}, {'e', -60, true}, {'o', DAY, true}, {'f', DAY, true},
	};
	struct rig r;
	struct err err = ERR_INIT;

	rig_new(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_trust *t = NULL;
		struct sb pem = {0};
		struct tls_ca forger = r.ca;
		shows(&r, &r.ca, "DNS:a.b", NULL);
		forger.key = r.other.key;
		char *ca = tls_text(r.ca.fd);
		char *crl = tls_crl_text(rows[i].crl == 'o' ? &r.other : rows[i].crl == 'f' ? &forger : &r.ca, rows[i].crl == 'e' ? NULL : r.paper.cert, rows[i].next);
		sb_str(&pem, i & 1 ? ca : crl); /* in any order */
		sb_str(&pem, i & 1 ? crl : ca);
		ck_assert_msg(tls_trust_new("bundle", sb_view(&pem), NULL, &t, &err) == 0, "%s", err_str(&err));
		trusts(&r, t, false);
		verdict_is(&r, rows[i].good, "certificate is revoked (CN=server, by the CRL of CN=authority)", i);
		r.p.of_client.hash++;
		verdict_is(&r, rows[i].good, "certificate is revoked (CN=server, by the CRL of CN=authority)", i); /* the signature is remembered */
		free(ca);
		free(crl);
		sb_end(&pem);
	}
	rig_free(&r);
}
END_TEST

START_TEST(a_revoked_intermediate_takes_its_certificates_along_even_where_it_is_an_anchor)
{
	struct rig r;
	struct tls_ca middle;
	struct err err = ERR_INIT;
	struct sb chain = {0};
	struct tls_cert *cert;

	rig_new(&r);
	tls_ca_below(&middle, &r.ca, "middle");
	tls_paper_new(&r.paper, &middle, "server", "DNS:a.b", -DAY, DAY);
	char *leaf = tls_text(r.paper.cert_fd), *mid = tls_text(middle.fd), *root = tls_text(r.ca.fd), *key = tls_text(r.paper.key_fd), *crl = tls_crl_text(&r.ca, middle.cert, DAY);
	sb_str(&chain, leaf);
	sb_str(&chain, mid);
	ck_assert_int_eq(tls_cert_new("c", sb_view(&chain), str_of(key), &cert, &err), 0);
	struct tls_spec spec = {.cert = cert, .server = true, .no_client_cert = true};
	ck_assert_int_eq(tls_context_new(&spec, &r.p.server, &err), 0);
	tls_cert_unref(&cert);
	for (int anchor = 0; anchor < 2; anchor++) {
		struct tls_trust *t = NULL;
		struct sb pem = {0};
		sb_str(&pem, root);
		sb_str(&pem, crl);
		if (anchor)
			sb_str(&pem, mid);
		ck_assert_int_eq(tls_trust_new("bundle", sb_view(&pem), NULL, &t, &err), 0);
		trusts(&r, t, false);
		verdict_is(&r, false, "certificate is revoked (CN=middle, by the CRL of CN=authority)", (size_t)anchor);
		sb_end(&pem);
	}
	free(leaf);
	free(mid);
	free(root);
	free(key);
	free(crl);
	sb_end(&chain);
	tls_ca_end(&middle);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("tls_verify", one_rule_must_fit_one_name_of_its_kind, a_trust_domain_is_that_of_the_space_or_our_own_or_an_alias, what_is_checked_may_be_another_name_than_what_is_asked_for,
	a_pin_is_of_the_certificate_or_of_its_key, a_hosts_name_is_no_uri_and_a_uri_is_no_host,
	a_certificate_of_too_many_names_or_bytes_is_refused_and_a_large_one_is_not_kept_for_a_session, a_use_that_the_certificate_does_not_allow_is_told_for_either_role, what_has_expired_is_accepted_where_that_is_asked_for,
	without_trust_the_chain_is_not_looked_at_but_names_are, a_chain_that_is_too_long_is_refused_before_it_is_walked, a_chain_may_be_no_longer_than_is_wanted,
	the_peers_trust_domain_chooses_the_bundle_and_binds_all_its_names, a_crl_speaks_for_its_issuer_alone_and_for_ever,
	a_revoked_intermediate_takes_its_certificates_along_even_where_it_is_an_anchor, roots_of_one_name_are_all_asked_who_has_signed,
	a_certificate_of_the_second_root_of_a_name_is_told_what_is_wrong_with_it, a_crl_of_the_second_root_of_a_name_is_heeded)
