/* net/tls, the server's side: who calls, what was agreed on, and that a caller who comes back is judged again. Client and server are ours. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/net/tlspair.h"
#include "tests/unit.h"

enum { DAY = 86400 };

struct rig { struct tls_pair p; struct tls_ca ca; struct tls_paper server, caller; struct tls_want *callers; };

static void offer(struct rig *r, const char *client_alpn, const char *server_alpn, uint16_t version, bool shows, bool without_ok)
{
	struct err err = ERR_INIT;
	struct tls_spec client = {.trust = tls_trust_of(&r->ca), .cert = shows ? tls_cert_of(&r->caller) : NULL, .alpn = client_alpn, .min = version, .max = version};
	struct tls_spec server = {.trust = client.trust, .cert = tls_cert_of(&r->server), .alpn = server_alpn, .server = true, .no_client_cert = without_ok};

	tls_context_unref(&r->p.client);
	tls_context_unref(&r->p.server);
	ck_assert_msg(tls_context_new(&client, &r->p.client, &err) == 0, "%s", err_str(&err));
	ck_assert_msg(tls_context_new(&server, &r->p.server, &err) == 0, "%s", err_str(&err));
	tls_cert_unref(&client.cert);
	tls_cert_unref(&server.cert);
	tls_trust_unref(&client.trust);
}

static void rig_new(struct rig *r, const char *caller_sans, int64_t caller_to)
{
	*r = (struct rig){.callers = tls_want_new()};
	tls_pair_new(&r->p);
	tls_ca_new(&r->ca, "authority", r->p.now);
	tls_paper_new(&r->server, &r->ca, "server", "DNS:a.b URI:spiffe://m/ns/x/sa/server", -DAY, DAY);
	tls_paper_new(&r->caller, &r->ca, "caller", caller_sans, -DAY, caller_to);
	r->p.of_server.want = r->callers;
}

static void rig_free(struct rig *r)
{
	tls_pair_free(&r->p);
	tls_want_unref(&r->callers);
	tls_paper_end(&r->server);
	tls_paper_end(&r->caller);
	tls_ca_end(&r->ca);
}

START_TEST(each_side_knows_who_the_other_is)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct rig r;
		unsigned char md[32];
		char hash[65];
		rig_new(&r, "DNS:c.d URI:spiffe://m/ns/x/sa/caller", DAY);
		offer(&r, "h2", "h2", version, true, false);
		tls_pair_meet(&r.p);
		ck_assert_msg(r.p.c.connected == 1 && r.p.d.connected == 1, "%s, %s", r.p.c.why, r.p.d.why);
		ck_assert_str_eq(tls_peer_uri(r.p.d.s), "spiffe://m/ns/x/sa/caller");
		ck_assert_str_eq(tls_peer_name(r.p.d.s), "spiffe://m/ns/x/sa/caller");
		ck_assert_str_eq(tls_peer_subject(r.p.d.s), "CN=caller");
		X509_digest(r.caller.cert, EVP_sha256(), md, NULL);
		for (int i = 0; i < 32; i++)
			snprintf(hash + 2 * i, 3, "%02x", md[i]);
		ck_assert_str_eq(tls_peer_hash(r.p.d.s), hash);
		ck_assert_str_eq(tls_own_uri(r.p.d.s), "spiffe://m/ns/x/sa/server");
		ck_assert_str_eq(tls_peer_uri(r.p.c.s), "spiffe://m/ns/x/sa/server");
		ck_assert_str_eq(tls_own_uri(r.p.c.s), "spiffe://m/ns/x/sa/caller");
		ck_assert_str_eq(tls_kind(r.p.c.s), "mtls");
		ck_assert_str_eq(tls_kind(r.p.d.s), "mtls");
		ck_assert_str_eq(tls_alpn(r.p.c.s), "h2");
		ck_assert_str_eq(tls_alpn(r.p.d.s), "h2");
		ck_assert_str_eq(tls_version(r.p.d.s), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
		tls_half_say(&r.p.c, "hello");
		tls_half_say(&r.p.d, "welcome");
		simnet_advance(r.p.sim, 1000000000);
		ck_assert(str_is(sb_view(&r.p.d.got), "hello") && str_is(sb_view(&r.p.c.got), "welcome"));
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_caller_without_a_certificate_is_told_so_or_let_in_nameless)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (int ok = 0; ok < 2; ok++) {
			struct rig r;
			rig_new(&r, "", DAY);
			offer(&r, "h2", "h2", version, false, ok);
			tls_pair_meet(&r.p);
			if (ok) {
				ck_assert(r.p.c.connected == 1 && r.p.d.connected == 1);
				ck_assert_str_eq(tls_kind(r.p.d.s), "tls");
				ck_assert_str_eq(tls_kind(r.p.c.s), "tls");
				ck_assert_str_eq(tls_peer_uri(r.p.d.s), "");
				ck_assert_str_eq(tls_peer_name(r.p.d.s), "");
				ck_assert_str_eq(tls_peer_hash(r.p.d.s), "");
				ck_assert_str_eq(tls_own_uri(r.p.c.s), "");
			} else {
				ck_assert_int_eq(r.p.d.connected, -EKEYREJECTED);
				ck_assert_str_eq(r.p.d.why, "the peer showed no certificate, wanted one");
				ck_assert_ptr_nonnull(strstr(r.p.c.why, "we showed no certificate"));
			}
			rig_free(&r);
		}
}
END_TEST

START_TEST(the_first_protocol_of_the_servers_list_that_the_client_has_is_chosen)
{
	static const struct { const char *client, *server, *chosen; } rows[] = {
		{"h2", "istio-h2,istio,h2", "h2"}, {"h2,istio-h2", "istio-h2,istio,h2", "istio-h2"}, {"istio-h2,istio,h2", "h2,istio", "h2"},
		{"x", "h2", ""}, {NULL, "h2", ""}, {"h2", NULL, ""}, {"h", "h2", ""}, {"h2x", "h2", ""}, {NULL, NULL, ""},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig r;
		rig_new(&r, "", DAY);
		offer(&r, rows[i].client, rows[i].server, 0, true, false);
		tls_pair_meet(&r.p);
		ck_assert(r.p.c.connected == 1 && r.p.d.connected == 1);
		ck_assert_msg(strcmp(tls_alpn(r.p.c.s), rows[i].chosen) == 0, "row %zu: '%s'", i, tls_alpn(r.p.c.s));
		ck_assert_str_eq(tls_alpn(r.p.d.s), rows[i].chosen);
		rig_free(&r);
	}
}
END_TEST

START_TEST(what_was_read_before_belongs_to_the_handshake)
{
	for (size_t first = 1; first < 200; first += first < 8 ? 1 : 61) {
		struct rig r;
		rig_new(&r, "", DAY);
		offer(&r, "h2", "h2", 0, true, false);
		r.p.first = first;
		tls_pair_meet(&r.p);
		ck_assert_msg(r.p.c.connected == 1 && r.p.d.connected == 1, "%zu bytes: %s, %s", first, r.p.c.why, r.p.d.why);
		rig_free(&r);
	}
}
END_TEST

START_TEST(an_account_without_room_for_what_was_read_takes_the_sock_with_it)
{
	struct rig r;
	static const struct sock_events none = {0};
	struct addr at = simnet_addr("10.0.0.9:443"); /* nobody is there */
	struct sock *below, *s = NULL;
	char first[3000] = {22};

	rig_new(&r, "", DAY);
	offer(&r, "h2", "h2", 0, true, false);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(sock_connect(r.p.l, &at, &none, NULL, &below), 0);
		struct account a;
		account_init(&a, NULL, "small", i ? 33 * 1024 : 1024);
		ck_assert_int_eq(tls_server(r.p.l, r.p.server, below, &r.p.of_server, first, sizeof(first), &a, &none, NULL, &s), -ENOMEM);
		ck_assert_ptr_null(s);
		ck_assert_uint_eq(a.used, 0);
		account_end(&a);
	}
	ck_assert_int_eq(sock_connect(r.p.l, &at, &none, NULL, &below), 0);
	ck_assert_int_eq(tls_server(r.p.l, r.p.client, below, &r.p.of_server, NULL, 0, &r.p.account, &none, NULL, &s), -EINVAL); /* the other role's */
	ck_assert_int_eq(sock_connect(r.p.l, &at, &none, NULL, &below), 0);
	ck_assert_int_eq(tls_client(r.p.l, r.p.server, below, &r.p.of_client, &r.p.account, &none, NULL, &s), -EINVAL);
	simnet_advance(r.p.sim, 100000000);
	rig_free(&r);
}
END_TEST

/* ---- coming back ---------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_caller_who_comes_back_is_resumed_and_still_known)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct rig r;
		rig_new(&r, "URI:spiffe://m/ns/x/sa/caller", DAY);
		offer(&r, "h2", "h2", version, true, false);
		for (int i = 0; i < 5; i++) { /* each time with what the last one brought */
			tls_pair_meet(&r.p);
			ck_assert(r.p.c.connected == 1 && r.p.d.connected == 1);
			ck_assert_msg(tls_resumed(r.p.c.s) == (i > 0) && tls_resumed(r.p.d.s) == (i > 0), "time %d", i);
			ck_assert_str_eq(tls_peer_uri(r.p.d.s), "spiffe://m/ns/x/sa/caller");
			ck_assert_str_eq(tls_peer_uri(r.p.c.s), "spiffe://m/ns/x/sa/server");
			ck_assert_str_eq(tls_own_uri(r.p.c.s), "spiffe://m/ns/x/sa/caller");
			ck_assert_str_eq(tls_kind(r.p.c.s), "mtls");
			ck_assert_str_eq(tls_kind(r.p.d.s), "mtls");
		}
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_caller_who_comes_back_is_judged_again_by_the_rules_of_now)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct rig r;
		rig_new(&r, "URI:spiffe://m/ns/x/sa/caller", DAY);
		offer(&r, "h2", "h2", version, true, false);
		tls_pair_meet(&r.p);
		ck_assert_int_eq(r.p.d.connected, 1);
		r.callers->names = TLS_NAMES_RULES;
		tls_want_rule(r.callers, TLS_NAME_URI, TLS_PREFIX, STR("spiffe://m/ns/y/"));
		tls_pair_meet(&r.p);
		ck_assert_int_eq(r.p.d.connected, -EKEYREJECTED);
		ck_assert_str_eq(r.p.d.why, "the peer is 'spiffe://m/ns/x/sa/caller', wanted URI prefix 'spiffe://m/ns/y/'");
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_caller_whose_certificate_ended_is_not_resumed)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct rig r;
		rig_new(&r, "URI:spiffe://m/ns/x/sa/caller", 600);
		offer(&r, "h2", "h2", version, true, false);
		tls_pair_meet(&r.p);
		ck_assert_int_eq(r.p.d.connected, 1);
		simnet_advance(r.p.sim, UINT64_C(700) * 1000000000);
		tls_pair_meet(&r.p);
		ck_assert_int_eq(r.p.d.connected, -EKEYREJECTED);
		ck_assert_ptr_nonnull(strstr(r.p.d.why, "certificate has expired (CN=caller, not after"));
		rig_free(&r);
	}
}
END_TEST

/* Client and server whose leaves live longer than the root above them; only one of them looks at the other's chain. */
static void offer_long(struct rig *r, uint16_t version, bool client_looks)
{
	struct err err = ERR_INIT;
	struct tls_trust *trust = tls_trust_of(&r->ca);
	struct tls_spec client = {.trust = client_looks ? trust : NULL, .cert = tls_cert_of(&r->caller), .min = version, .max = version};
	struct tls_spec server = {.trust = client_looks ? NULL : trust, .cert = tls_cert_of(&r->server), .server = true};

	ck_assert_int_eq(tls_context_new(&client, &r->p.client, &err), 0);
	ck_assert_int_eq(tls_context_new(&server, &r->p.server, &err), 0);
	tls_cert_unref(&client.cert);
	tls_cert_unref(&server.cert);
	tls_trust_unref(&trust);
}

START_TEST(who_comes_back_after_a_root_has_ended_is_not_resumed_however_long_the_leaf_lives)
{
	for (int i = 0; i < 4; i++) {
		struct rig r;
		bool client_looks = i / 2;
		rig_new(&r, "URI:spiffe://m/ns/x/sa/caller", 100 * DAY);
		tls_paper_end(&r.server);
		tls_paper_new(&r.server, &r.ca, "server", "DNS:a.b", -DAY, 100 * DAY);
		offer_long(&r, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION, client_looks);
		for (int k = 0; k < 3; k++) {
			tls_pair_meet(&r.p);
			ck_assert_msg(r.p.c.connected == 1 && r.p.d.connected == 1 && tls_resumed(r.p.d.s) == (k > 0), "%d", i);
		}
		simnet_advance(r.p.sim, UINT64_C(11) * DAY * 1000000000);
		tls_pair_meet(&r.p);
		const struct tls_half *judge = client_looks ? &r.p.c : &r.p.d;
		ck_assert_msg(judge->connected == -EKEYREJECTED, "%d: %d", i, judge->connected);
		ck_assert_msg(strstr(judge->why, "certificate has expired (CN=authority, not after"), "%s", judge->why);
		rig_free(&r);
	}
}
END_TEST

/* A session says that a server was accepted by certain rules: by others it is worth nothing. */
START_TEST(a_server_is_never_resumed_under_other_rules_or_another_name)
{
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (int i = 0; i < 7; i++) {
			static const char *const aliases[] = {"other"};
			struct rig r;
			struct tls_want *any = tls_want_new();
			rig_new(&r, "", DAY);
			offer(&r, "h2", "h2", version, true, false);
			r.p.of_client.want = any;
			tls_want_seal(any);
			tls_pair_meet(&r.p);
			switch (i) {
			case 0: r.p.of_client.hash = 1; break;
			case 1: r.p.of_client.server_name = "a.c"; break;
			case 2: r.p.of_client.server_name = NULL; break;
			case 3: r.p.of_client.check_name = "a.b"; break;
			case 4: r.p.of_client.trust_domain = "m"; break;
			case 5: any->names = TLS_NAMES_DOMAIN; tls_want_seal(any); break;
			case 6: r.p.of_client.aliases = aliases; r.p.of_client.naliases = 1; break;
			}
			tls_pair_meet(&r.p);
			ck_assert_msg(!(r.p.c.s && tls_resumed(r.p.c.s)) && !(r.p.d.s && tls_resumed(r.p.d.s)), "change %d", i);
			rig_free(&r);
			tls_want_unref(&any);
		}
}
END_TEST

START_TEST(other_material_knows_no_ticket_of_the_old)
{
	struct rig r;

	rig_new(&r, "URI:spiffe://m/ns/x/sa/caller", DAY);
	offer(&r, "h2", "h2", 0, true, false);
	tls_pair_meet(&r.p);
	struct tls_context *client = tls_context_ref(r.p.client);
	offer(&r, "h2", "h2", 0, true, false);
	tls_context_unref(&r.p.client);
	r.p.client = client; /* it offers what the old server gave */
	tls_pair_meet(&r.p);
	ck_assert(r.p.c.connected == 1 && r.p.d.connected == 1 && !tls_resumed(r.p.c.s) && !tls_resumed(r.p.d.s));
	tls_pair_meet(&r.p);
	ck_assert(tls_resumed(r.p.c.s));
	rig_free(&r);
}
END_TEST

UNIT_SUITE("tls_server", each_side_knows_who_the_other_is, a_caller_without_a_certificate_is_told_so_or_let_in_nameless,
	the_first_protocol_of_the_servers_list_that_the_client_has_is_chosen,
	what_was_read_before_belongs_to_the_handshake, an_account_without_room_for_what_was_read_takes_the_sock_with_it, a_caller_who_comes_back_is_resumed_and_still_known,
	a_caller_who_comes_back_is_judged_again_by_the_rules_of_now, a_caller_whose_certificate_ended_is_not_resumed,
	who_comes_back_after_a_root_has_ended_is_not_resumed_however_long_the_leaf_lives,
	a_server_is_never_resumed_under_other_rules_or_another_name, other_material_knows_no_ticket_of_the_old)
