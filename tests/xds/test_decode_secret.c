/* xds/decode_secret: what certificates, bundles and trust domains become, in each form in which servers send them; what is refused, with its field; what is cut or damaged, without a trace. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "tests/flow/rig_ca.h"
#include "tests/unit.h"
#include "xds/decode_secret.h"
#include "xds/wire.h"

#define SPIFFE_TYPE "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
enum { AS_BYTES = 2, AS_STRING = 3 };

struct rig { struct authority *a, *b; struct sb chain, key; };

static void rig_begin(struct rig *r)
{
	*r = (struct rig){.a = authority_new("a", 1700000000), .b = authority_new("b", 1700000000)};
	authority_leaf(r->a, &(struct paper){.sans = "URI:spiffe://a.test/shop"}, &r->chain, &r->key);
}

static void rig_end(struct rig *r)
{
	authority_free(&r->a);
	authority_free(&r->b);
	sb_end(&r->chain);
	sb_end(&r->key);
}

/* ---- messages ---- */

static void put(struct sb *out, uint32_t number, struct sb *taken)
{
	wire_put_bytes(out, number, sb_view(taken));
	sb_end(taken);
}

static void put_data(struct sb *out, uint32_t number, int as, struct str text)
{
	struct sb data = {0};
	wire_put_bytes(&data, (uint32_t)as, text);
	put(out, number, &data);
}

static void secret(struct sb *out, const char *name, uint32_t type, struct sb *body_taken)
{
	out->n = 0;
	wire_put_bytes(out, 1, str_of(name));
	put(out, type, body_taken);
}

static void cert_secret(struct sb *out, int as, struct str chain, struct str key)
{
	struct sb body = {0};
	put_data(&body, 1, as, chain);
	put_data(&body, 2, as, key);
	secret(out, "default", 2, &body);
}

static void trust_domain(struct sb *config, const char *name, const char *pem)
{
	struct sb domain = {0};
	wire_put_bytes(&domain, 1, str_of(name));
	put_data(&domain, 2, AS_BYTES, str_of(pem));
	put(config, 1, &domain);
}

static void validator(struct sb *body, const char *type, struct sb *config_taken)
{
	struct sb any = {0}, extension = {0};
	wire_put_bytes(&any, 1, str_of(type));
	put(&any, 2, config_taken);
	wire_put_bytes(&extension, 1, STR("envoy.tls.cert_validator.spiffe"));
	put(&extension, 2, &any);
	put(body, 12, &extension);
}

struct result { int code; struct tls_cert *cert; struct tls_trust *trust; char name[64], why[512], notes[256]; };

static struct result decode(struct str bytes, enum secret_kind want)
{
	struct result r = {0};
	struct sb problems = {0}, notes = {0};
	struct str name;
	char *exact = malloc(bytes.n ? bytes.n : 1);
	memcpy(exact, bytes.p ? bytes.p : "", bytes.n);
	r.code = secret_decode(str_n(exact, bytes.n), want, &r.cert, &r.trust, &name, &problems, &notes);
	snprintf(r.name, sizeof(r.name), "%.*s", (int)name.n, name.n ? name.p : "");
	free(exact); /* what was made borrows nothing of it */
	snprintf(r.why, sizeof(r.why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	snprintf(r.notes, sizeof(r.notes), "%.*s", (int)notes.n, notes.n ? notes.p : "");
	ck_assert((r.code == 0) == (r.cert || r.trust));
	ck_assert((r.code == 0) == (problems.n == 0));
	ck_assert(!(r.cert && r.trust));
	sb_end(&problems);
	sb_end(&notes);
	return r;
}

static void end(struct result *r)
{
	tls_cert_unref(&r->cert);
	tls_trust_unref(&r->trust);
}

/* ---- what is taken ---- */

START_TEST(a_certificate_comes_as_bytes_or_as_a_string)
{
	struct rig rig;
	struct sb m = {0};
	rig_begin(&rig);
	for (int as = AS_BYTES; as <= AS_STRING; as++) {
		cert_secret(&m, as, sb_view(&rig.chain), sb_view(&rig.key));
		struct result r = decode(sb_view(&m), SECRET_CERT);
		ck_assert_msg(r.code == 0, "%s", r.why);
		ck_assert_str_eq(r.name, "default");
		ck_assert_str_eq(tls_cert_id(r.cert), "spiffe://a.test/shop");
		end(&r);
	}
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

START_TEST(roots_come_as_a_bundle_or_as_those_of_trust_domains)
{
	struct rig rig;
	struct sb m = {0}, body = {0}, config = {0}, text = {0};
	rig_begin(&rig);
	put_data(&body, 1, AS_BYTES, str_of(authority_pem(rig.a)));
	secret(&m, "ROOTCA", 4, &body);
	struct result bundle = decode(sb_view(&m), SECRET_ROOTS);
	ck_assert_msg(bundle.code == 0, "%s", bundle.why);
	ck_assert_str_eq(bundle.name, "ROOTCA");
	trust_domain(&config, "a.test", authority_pem(rig.a));
	trust_domain(&config, "b.test", authority_pem(rig.b));
	validator(&body, SPIFFE_TYPE, &config);
	secret(&m, "ROOTCA", 4, &body);
	struct result domains = decode(sb_view(&m), SECRET_ROOTS);
	ck_assert_msg(domains.code == 0, "%s", domains.why);
	tls_trust_text(domains.trust, &text);
	sb_char(&text, '\0');
	ck_assert_ptr_nonnull(strstr(text.p, "a.test"));
	ck_assert_ptr_nonnull(strstr(text.p, "b.test"));
	ck_assert_uint_ne(tls_trust_hash(domains.trust), tls_trust_hash(bundle.trust));
	ck_assert_str_eq(domains.notes, "");
	end(&bundle);
	end(&domains);
	sb_end(&text);
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

/* Names, hashes and leniency are the cluster's business: whoever serves secrets does not loosen what a cluster demands. */
START_TEST(what_roots_say_beside_themselves_has_no_effect_and_is_told)
{
	struct rig rig;
	struct sb m = {0}, body = {0}, name = {0};
	rig_begin(&rig);
	put_data(&body, 1, AS_BYTES, str_of(authority_pem(rig.a)));
	wire_put_bytes(&name, 1, STR("spiffe://a.test/x"));
	put(&body, 9, &name);
	wire_put_varint(&body, 10, 1);
	secret(&m, "ROOTCA", 4, &body);
	struct result r = decode(sb_view(&m), SECRET_ROOTS);
	ck_assert_msg(r.code == 0, "%s", r.why);
	ck_assert_str_eq(r.notes, "validation_context: names and hashes are taken from clusters alone; validation_context: trust_chain_verification and allow_expired_certificate are taken from "
				  "clusters alone");
	end(&r);
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

/* ---- what is not ---- */

START_TEST(what_breaks_a_rule_is_refused_with_its_field)
{
	struct rig rig;
	struct sb m = {0}, other = {0}, none = {0};
	rig_begin(&rig);
	authority_leaf(rig.b, &(struct paper){.sans = "DNS:x"}, &none, &other);
	struct str chain = sb_view(&rig.chain), key = sb_view(&rig.key);
	const struct { enum secret_kind want; uint32_t type, field; int as; struct str text; uint32_t field2; int as2; struct str text2; const char *why; } rows[] = {
		{SECRET_CERT, 2, 1, AS_BYTES, chain, 0, 0, STR(""), "tls_certificate.private_key: missing"},
		{SECRET_CERT, 2, 2, AS_BYTES, key, 0, 0, STR(""), "tls_certificate.certificate_chain: missing"},
		{SECRET_CERT, 2, 1, AS_BYTES, STR(""), 2, AS_BYTES, key, "tls_certificate.certificate_chain: empty"},
		{SECRET_CERT, 2, 1, 1, STR("/etc/chain.pem"), 2, AS_BYTES, key, "tls_certificate.certificate_chain: a file of the server's: its bytes have to be sent"},
		{SECRET_CERT, 2, 1, AS_BYTES, chain, 2, 1, STR("/etc/shadow"), "tls_certificate.private_key: a file of the server's: its bytes have to be sent"},
		{SECRET_CERT, 2, 1, AS_BYTES, chain, 2, 4, STR("HOME"), "tls_certificate.private_key: a variable of the environment"},
		{SECRET_CERT, 2, 1, AS_BYTES, chain, 3, AS_BYTES, STR("word"), "tls_certificate.password: not supported"},
		{SECRET_CERT, 2, 8, AS_BYTES, STR("p12"), 0, 0, STR(""), "tls_certificate.pkcs12: not supported"},
		{SECRET_CERT, 2, 1, AS_BYTES, chain, 2, AS_BYTES, sb_view(&other), "tls_certificate: "},
		{SECRET_CERT, 2, 1, AS_BYTES, STR("garbage"), 2, AS_BYTES, key, "tls_certificate: "},
		{SECRET_CERT, 4, 1, AS_BYTES, STR("x"), 0, 0, STR(""), "validation_context: it is roots, where a certificate was asked for"},
		{SECRET_ROOTS, 2, 1, AS_BYTES, chain, 2, AS_BYTES, key, "tls_certificate: it is a certificate, where roots were asked for"},
		{SECRET_ROOTS, 4, 1, AS_BYTES, STR("garbage"), 0, 0, STR(""), "validation_context.trusted_ca: "},
		{SECRET_ROOTS, 4, 1, 1, STR("/etc/ca.pem"), 0, 0, STR(""), "validation_context.trusted_ca: a file of the server's: its bytes have to be sent"},
		{SECRET_ROOTS, 4, 11, 9, STR(""), 0, 0, STR(""), "validation_context: it has no roots"},
		{SECRET_ROOTS, 5, 1, AS_BYTES, STR("word"), 0, 0, STR(""), "generic_secret: not supported"},
		{SECRET_CERT, 3, 1, 9, STR(""), 0, 0, STR(""), "session_ticket_keys: not supported"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sb body = {0};
		put_data(&body, rows[i].field, rows[i].as, rows[i].text);
		if (rows[i].field2)
			put_data(&body, rows[i].field2, rows[i].as2, rows[i].text2);
		secret(&m, "x", rows[i].type, &body);
		struct result r = decode(sb_view(&m), rows[i].want);
		ck_assert_msg(r.code < 0 && strncmp(r.why, rows[i].why, strlen(rows[i].why)) == 0, "row %zu: %s", i, r.why);
		ck_assert_msg(!strchr(r.why, '\n') && !strstr(r.why, "PRIVATE"), "row %zu: %s", i, r.why);
		ck_assert_str_eq(r.name, "x");
	}
	m.n = 0;
	wire_put_bytes(&m, 1, STR("x"));
	struct result r = decode(sb_view(&m), SECRET_CERT);
	ck_assert_str_eq(r.why, "secret: it holds nothing");
	sb_end(&none);
	sb_end(&other);
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

START_TEST(a_validator_that_is_none_of_ours_is_refused)
{
	struct rig rig;
	struct sb m = {0};
	rig_begin(&rig);
	const struct { const char *type, *domain, *pem, *why; } rows[] = {
		{"x/Mine", "a.test", authority_pem(rig.a), "validation_context.custom_validator_config: a validator that is not built"},
		{SPIFFE_TYPE, NULL, NULL, "validation_context.custom_validator_config: trust_domains: empty"},
		{SPIFFE_TYPE, "", authority_pem(rig.a), "validation_context.custom_validator_config.trust_domains: name: empty, or none"},
		{SPIFFE_TYPE, "a/b", authority_pem(rig.a), "validation_context.custom_validator_config.trust_domains: name: empty, or none"},
		{SPIFFE_TYPE, "a.test", "", "validation_context.custom_validator_config.trust_domains.trust_bundle: empty"},
		{SPIFFE_TYPE, "a.test", "garbage", "validation_context.custom_validator_config.trust_domains: "},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sb body = {0}, config = {0};
		if (rows[i].domain)
			trust_domain(&config, rows[i].domain, rows[i].pem);
		validator(&body, rows[i].type, &config);
		secret(&m, "ROOTCA", 4, &body);
		struct result r = decode(sb_view(&m), SECRET_ROOTS);
		ck_assert_msg(r.code < 0 && strncmp(r.why, rows[i].why, strlen(rows[i].why)) == 0, "row %zu: %s", i, r.why);
	}
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

START_TEST(more_trust_domains_than_there_may_be_are_refused)
{
	struct rig rig;
	struct sb m = {0}, body = {0}, config = {0};
	char name[32];
	rig_begin(&rig);
	for (int i = 0; i <= SECRET_DOMAINS_MAX; i++) {
		snprintf(name, sizeof(name), "d%d.test", i);
		trust_domain(&config, name, authority_pem(rig.a));
	}
	validator(&body, SPIFFE_TYPE, &config);
	secret(&m, "ROOTCA", 4, &body);
	struct result r = decode(sb_view(&m), SECRET_ROOTS);
	ck_assert_int_eq(r.code, ERR_LIMIT);
	ck_assert_str_eq(r.why, "validation_context.custom_validator_config: too many trust_domains");
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

START_TEST(a_secret_that_is_cut_or_damaged_is_refused_or_a_whole_one)
{
	struct rig rig;
	struct sb m = {0};
	uint32_t refused = 0;
	rig_begin(&rig);
	cert_secret(&m, AS_BYTES, sb_view(&rig.chain), sb_view(&rig.key));
	for (size_t n = 0; n < m.n; n++) {
		struct result r = decode(str_n(m.p, n), SECRET_CERT);
		ck_assert_msg(r.code < 0, "cut at %zu", n);
		refused++;
		end(&r);
	}
	for (size_t i = 0; i < m.n; i += 7) {
		m.p[i] ^= 0x40;
		struct result r = decode(sb_view(&m), SECRET_CERT);
		end(&r);
		m.p[i] ^= 0x40;
	}
	ck_assert_uint_gt(refused, 100);
	sb_end(&m);
	rig_end(&rig);
}
END_TEST

UNIT_SUITE("decode_secret", a_certificate_comes_as_bytes_or_as_a_string, roots_come_as_a_bundle_or_as_those_of_trust_domains, what_roots_say_beside_themselves_has_no_effect_and_is_told,
	what_breaks_a_rule_is_refused_with_its_field, a_validator_that_is_none_of_ours_is_refused, more_trust_domains_than_there_may_be_are_refused,
	a_secret_that_is_cut_or_damaged_is_refused_or_a_whole_one)
