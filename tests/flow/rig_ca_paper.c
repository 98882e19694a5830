/* tests/flow/rig_ca_paper: the authorities of rig_ca.h, by OpenSSL itself: nothing of net/tls is used to make what net/tls is tried with. */
#include <stdio.h>
#include <stdlib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "tests/flow/rig_ca.h"

struct authority { EVP_PKEY *key; X509 *cert; int64_t now; uint64_t serial; struct sb pem; };

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "rig_ca_paper: %s\n", what);
	abort();
}

static void add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);

	need(e && X509_add_ext(x, e, -1) == 1, value);
	X509_EXTENSION_free(e);
}

static X509 *certificate(struct authority *a, EVP_PKEY *key, const char *cn, bool ca, const char *sans, int usage, int64_t from, int64_t to)
{
	static const char *const usages[] = {"serverAuth,clientAuth", "clientAuth", "serverAuth", "codeSigning"};
	X509 *x = X509_new(), *issuer = a->cert ? a->cert : x;
	X509_NAME *name = X509_get_subject_name(x);

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), ++a->serial);
	if (cn)
		X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer));
	ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(a->now + from));
	ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(a->now + to));
	X509_set_pubkey(x, key);
	add_ext(x, issuer, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	add_ext(x, issuer, NID_key_usage, ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature,keyEncipherment");
	add_ext(x, issuer, NID_subject_key_identifier, "hash");
	if (issuer != x) /* as all CAs of meshes say it: of two roots with one name, this tells which */
		add_ext(x, issuer, NID_authority_key_identifier, "keyid");
	if (!ca)
		add_ext(x, issuer, NID_ext_key_usage, usages[usage]);
	if (sans)
		add_ext(x, issuer, NID_subject_alt_name, sans);
	need(X509_sign(x, a->key, EVP_sha256()) > 0, "signature");
	return x;
}

static void add_pem(struct sb *out, X509 *x, EVP_PKEY *key)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;

	if (x)
		PEM_write_bio_X509(b, x);
	else
		PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
	long n = BIO_get_mem_data(b, &p);
	sb_add(out, p, (size_t)n);
	BIO_free(b);
}

enum { YEARS_5 = 5 * 365 * 86400 };

struct authority *authority_new(const char *cn, int64_t now_s)
{
	struct authority *a = xnew(struct authority);

	a->now = now_s;
	a->key = EVP_EC_gen("P-256");
	a->cert = certificate(a, a->key, cn, true, NULL, 0, -YEARS_5, YEARS_5);
	add_pem(&a->pem, a->cert, NULL);
	return a;
}

struct authority *authority_below(struct authority *above, const char *cn)
{
	struct authority *a = xnew(struct authority);

	a->now = above->now;
	a->key = EVP_EC_gen("P-256");
	a->cert = certificate(above, a->key, cn, true, NULL, 0, -YEARS_5, YEARS_5);
	add_pem(&a->pem, a->cert, NULL);
	return a;
}

void authority_free(struct authority **pa)
{
	struct authority *a = *pa;

	if (!a)
		return;
	*pa = NULL;
	EVP_PKEY_free(a->key);
	X509_free(a->cert);
	sb_end(&a->pem);
	free(a);
}

const char *authority_pem(const struct authority *a)
{
	return a->pem.p;
}

void authority_set_now(struct authority *a, int64_t now_s)
{
	a->now = now_s;
}

void authority_leaf(struct authority *a, const struct paper *how, struct sb *chain, struct sb *key)
{
	EVP_PKEY *k = how->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	bool usual = !how->from_s && !how->to_s;
	X509 *x = certificate(a, k, NULL, false, how->sans, how->usage, usual ? -120 : how->from_s, usual ? 86400 : how->to_s);

	add_pem(chain, x, NULL);
	add_pem(key, NULL, k);
	X509_free(x);
	EVP_PKEY_free(k);
}

/* The first URI of a request. */
static void request_uri(X509_REQ *r, struct sb *out)
{
	STACK_OF(X509_EXTENSION) *all = X509_REQ_get_extensions(r);
	GENERAL_NAMES *names = all ? X509V3_get_d2i(all, NID_subject_alt_name, NULL, NULL) : NULL;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		if (g->type == GEN_URI && !out->n)
			sb_add(out, (const char *)ASN1_STRING_get0_data(g->d.uniformResourceIdentifier), (size_t)ASN1_STRING_length(g->d.uniformResourceIdentifier));
	}
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
}

int authority_sign(struct authority *a, const char *csr_pem, const char *uri, int64_t from_s, int64_t to_s, struct sb *chain, struct sb *ret_uri)
{
	BIO *b = BIO_new_mem_buf(csr_pem, -1);
	X509_REQ *r = PEM_read_bio_X509_REQ(b, NULL, NULL, NULL);
	EVP_PKEY *key = r ? X509_REQ_get_pubkey(r) : NULL;
	struct sb sans = {0};
	int rc = -1;

	if (key && X509_REQ_verify(r, key) == 1) {
		request_uri(r, ret_uri);
		if (uri || ret_uri->n)
			sb_fmt(&sans, "URI:%s", uri ? uri : ret_uri->p);
		X509 *x = certificate(a, key, NULL, false, sans.n ? sans.p : NULL, PAPER_BOTH, from_s, to_s);
		add_pem(chain, x, NULL);
		X509_free(x);
		rc = 0;
	}
	sb_end(&sans);
	EVP_PKEY_free(key);
	X509_REQ_free(r);
	BIO_free(b);
	return rc;
}
