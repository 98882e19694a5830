/* net/tls_cert: what we show: a chain, the leaf first, and its key. Immutable, counted; see net/tls.h.
 * Every problem of a text is told, because a person who mends one wants to know of the others. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net/tls_int.h"

/* ---- reading ---------------------------------------------------------------------------------------------------------------------- */

static void read_chain(struct tls_cert *c, const char *what, struct str pem, struct err *err)
{
	const struct tls_lib *o = c->lib;
	struct str label, block;
	bool asked = false;
	int n = 0;

	while (tls_pem_next(&pem, &label, &block)) {
		if (!str_is(label, "CERTIFICATE") && !str_is(label, "X509 CERTIFICATE"))
			continue;
		if (++n > TLS_CHAIN_MAX) {
			err_add(err, what, 0, 0, "the chain is longer than %d certificates", TLS_CHAIN_MAX);
			return;
		}
		BIO *b = o->BIO_new_mem_buf(block.p, (int)block.n);
		X509 *x = b ? o->PEM_read_bio_X509(b, NULL, tls_pem_no_password, &asked) : NULL;
		if (!x)
			err_add(err, what, 0, 0, "certificate %d cannot be read: %s", n, tls_pem_reason(o));
		else if (n == 1)
			c->leaf = x;
		else
			c->chain[c->nchain++] = x;
		if (b)
			o->BIO_free(b);
		o->ERR_clear_error();
	}
	if (n == 0)
		err_add(err, what, 0, 0, "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)");
}

static bool is_key(struct str label)
{
	return str_ends(label, STR("PRIVATE KEY"));
}

static void read_key(struct tls_cert *c, const char *what, struct str pem, struct err *err)
{
	const struct tls_lib *o = c->lib;
	struct str label, block = {NULL, 0};
	bool asked = false;
	BIO *b = NULL;

	while (tls_pem_next(&pem, &label, &block) && !is_key(label))
		block = str_n(NULL, 0);
	if (block.n && (b = o->BIO_new_mem_buf(block.p, (int)block.n)))
		c->key = o->PEM_read_bio_PrivateKey(b, NULL, tls_pem_no_password, &asked);
	if (!c->key && asked)
		err_add(err, what, 0, 0, "the key is encrypted: a daemon has nobody to ask for the password");
	else if (!c->key && !block.n)
		err_add(err, what, 0, 0, "there is no private key in it (PEM: -----BEGIN PRIVATE KEY-----)");
	else if (!c->key)
		err_add(err, what, 0, 0, "the private key cannot be read: %s", tls_pem_reason(o));
	else
		tls_lib_hold_key(c->lib);
	if (b)
		o->BIO_free(b);
	o->ERR_clear_error();
}

/* ---- who it is --------------------------------------------------------------------------------------------------------------------- */

static char *clean(struct str s)
{
	char *text = xalloc(s.n + 8);

	tls_add_clean(text, s.n + 8, s);
	return text;
}

static void read_names(struct tls_cert *c)
{
	const struct tls_lib *o = c->lib;
	GENERAL_NAMES *names = o->X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	int count = names ? o->OPENSSL_sk_num((const OPENSSL_STACK *)names) : 0;
	char subject[TLS_TEXT_MAX];
	char *dns = NULL;

	for (int i = 0; i < count; i++) {
		const GENERAL_NAME *name = o->OPENSSL_sk_value((const OPENSSL_STACK *)names, i);
		if (name->type == GEN_URI && !c->uri)
			c->uri = clean(tls_asn1_text(o, name->d.uniformResourceIdentifier));
		if (name->type == GEN_DNS && !dns)
			dns = clean(tls_asn1_text(o, name->d.dNSName));
	}
	o->GENERAL_NAMES_free(names);
	o->ERR_clear_error();
	c->id = c->uri ? xstrdup(c->uri) : dns ? xstrdup(dns) : xstrdup(tls_subject(o, o->X509_get_subject_name(c->leaf), subject, sizeof(subject)));
	if (!c->uri)
		c->uri = xstrdup("");
	free(dns);
}

static void judge(struct tls_cert *c, const char *what, struct err *err)
{
	const struct tls_lib *o = c->lib;

	if (c->leaf && c->key && o->X509_check_private_key(c->leaf, c->key) != 1)
		err_add(err, what, 0, 0, "the key does not fit the certificate: %s", tls_pem_reason(o));
	if (c->leaf && o->X509_check_purpose(c->leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1 && o->X509_check_purpose(c->leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
		err_add(err, what, 0, 0, "the certificate's usage (keyUsage, extendedKeyUsage) allows neither a TLS client nor a TLS server");
	o->ERR_clear_error();
}

static struct tls_id id_of_all(const struct tls_cert *c)
{
	const struct tls_lib *o = c->lib;
	struct tls_id all[1 + TLS_CHAIN_MAX], id = {{0}};

	all[0] = tls_x509_id(o, c->leaf);
	for (uint32_t i = 0; i < c->nchain; i++)
		all[1 + i] = tls_x509_id(o, c->chain[i]);
	o->EVP_Digest(all, (1 + c->nchain) * sizeof(*all), id.sha, NULL, o->EVP_sha256(), NULL);
	return id;
}

/* ---- the beginning and the end ------------------------------------------------------------------------------------------------------ */

static void cert_free(struct tls_cert *c)
{
	struct tls_lib *o = c->lib;

	if (c->leaf)
		o->X509_free(c->leaf);
	for (uint32_t i = 0; i < c->nchain; i++)
		o->X509_free(c->chain[i]);
	if (c->key) {
		o->EVP_PKEY_free(c->key); /* wipes it, once no SSL_CTX holds it */
		tls_lib_drop_key(o);
	}
	tls_lib_unref(&c->lib);
	free(c->id);
	free(c->uri);
	free(c);
}

int tls_cert_new(const char *what, struct str chain, struct str key, struct tls_cert **ret, struct err *err)
{
	int problems = err->count;

	if (chain.n > TLS_PEM_MAX || key.n > TLS_PEM_MAX) {
		err_add(err, what, 0, 0, "larger than 4 MiB");
		return -EINVAL;
	}
	struct tls_lib *o = tls_lib_get(err);
	if (!o)
		return -ENOMEM;
	struct tls_cert *c = xnew(struct tls_cert);
	c->refs = 1;
	c->lib = o;
	o->ERR_clear_error();
	read_chain(c, what, chain, err);
	read_key(c, what, key.n ? key : chain, err);
	judge(c, what, err);
	if (err->count > problems) {
		cert_free(c);
		return -EINVAL;
	}
	c->id_of_all = id_of_all(c);
	c->not_before = tls_time(o, o->X509_get0_notBefore(c->leaf));
	c->not_after = tls_time(o, o->X509_get0_notAfter(c->leaf));
	read_names(c);
	*ret = c;
	return 0;
}

struct tls_cert *tls_cert_ref(struct tls_cert *c)
{
	c->refs++;
	return c;
}

void tls_cert_unref(struct tls_cert **at)
{
	struct tls_cert *c = *at;

	*at = NULL;
	if (c && --c->refs == 0)
		cert_free(c);
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------------ */

uint64_t tls_cert_hash(const struct tls_cert *c)
{
	return tls_id_hash(&c->id_of_all);
}

bool tls_cert_same(const struct tls_cert *a, const struct tls_cert *b)
{
	return a == b || tls_id_eq(&a->id_of_all, &b->id_of_all);
}

void tls_cert_times(const struct tls_cert *c, int64_t *not_before, int64_t *not_after)
{
	*not_before = c->not_before;
	*not_after = c->not_after;
}

const char *tls_cert_id(const struct tls_cert *c)
{
	return c->id;
}

static void add_sans(const struct tls_cert *c, struct sb *out)
{
	const struct tls_lib *o = c->lib;
	GENERAL_NAMES *names = o->X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	int count = names ? o->OPENSSL_sk_num((const OPENSSL_STACK *)names) : 0, shown = 0;
	struct str text;
	char ip[64];

	for (int i = 0; i < count; i++)
		if (tls_name_text(o, o->OPENSSL_sk_value((const OPENSSL_STACK *)names, i), ip, sizeof(ip), &text)) {
			if (shown++)
				sb_char(out, ',');
			sb_json(out, text);
		}
	o->GENERAL_NAMES_free(names);
	o->ERR_clear_error();
}

const char *tls_cert_text(const struct tls_cert *c, struct sb *out)
{
	const struct tls_lib *o = c->lib;
	char text[1024], when[32];
	BIGNUM *serial = o->ASN1_INTEGER_to_BN(o->X509_get0_serialNumber(c->leaf), NULL);
	char *hex = serial ? o->BN_bn2hex(serial) : NULL;

	sb_str(out, "\"subject\":");
	sb_json(out, str_of(tls_subject(o, o->X509_get_subject_name(c->leaf), text, sizeof(text))));
	sb_str(out, ",\"issuer\":");
	sb_json(out, str_of(tls_subject(o, o->X509_get_issuer_name(c->leaf), text, sizeof(text))));
	sb_fmt(out, ",\"serial\":\"%s\",\"sans\":[", hex ? hex : "");
	add_sans(c, out);
	sb_fmt(out, "],\"not_before\":\"%s\"", tls_time_text(c->not_before, when));
	sb_fmt(out, ",\"not_after\":\"%s\"", tls_time_text(c->not_after, when));
	const char *type = o->EVP_PKEY_get0_type_name(c->key);
	sb_fmt(out, ",\"key\":\"%s %d\",\"chain\":%u", type ? type : "?", o->EVP_PKEY_get_bits(c->key), c->nchain + 1);
	if (hex)
		o->CRYPTO_free(hex, __FILE__, __LINE__);
	o->BN_free(serial);
	o->ERR_clear_error();
	return out->p;
}
