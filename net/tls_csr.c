/* net/tls_csr: our own key, and the request for a certificate of it. The key leaves as text, because who asks a CA puts it together with the answer (tls_cert_new); until that text is
 * wiped it counts as a key that is held, so no core is dumped meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "net/tls_int.h"

struct tls_csr_key { struct list node; const char *text; };

void tls_wipe_free(char **p, size_t n)
{
	struct tls_lib *o = tls_lib_found();

	if (!*p)
		return;
	explicit_bzero(*p, n);
	if (o) {
		list_each(at, next, &o->csrs) {
			struct tls_csr_key *k = list_entry(at, struct tls_csr_key, node);
			if (k->text != *p)
				continue;
			list_del(&k->node);
			free(k);
			tls_lib_drop_key(o);
			tls_lib_unref(&o);
			break;
		}
	}
	free(*p);
	*p = NULL;
}

/* The whole of a memory BIO, as a text of ours. */
static char *text_of(const struct tls_lib *o, BIO *b, size_t *ret_n)
{
	size_t n = o->BIO_ctrl_pending(b);
	char *text = xalloc(n + 1);
	int got = o->BIO_read(b, text, (int)n);

	*ret_n = got > 0 ? (size_t)got : 0;
	return text;
}

/* Critical, because the subject is empty (RFC 5280 4.2.1.6). */
static bool add_san(const struct tls_lib *o, X509_REQ *req, const char *uri)
{
	GENERAL_NAMES *names = (GENERAL_NAMES *)o->OPENSSL_sk_new_null();
	STACK_OF(X509_EXTENSION) *extensions = (STACK_OF(X509_EXTENSION) *)o->OPENSSL_sk_new_null();
	GENERAL_NAME *name = o->GENERAL_NAME_new();
	ASN1_IA5STRING *text = o->ASN1_IA5STRING_new();
	X509_EXTENSION *san = NULL;
	bool done = false;

	if (names && extensions && name && text && o->ASN1_STRING_set(text, uri, -1) == 1) {
		o->GENERAL_NAME_set0_value(name, GEN_URI, text);
		o->OPENSSL_sk_push((OPENSSL_STACK *)names, name);
		san = o->X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
		done = san && o->OPENSSL_sk_push((OPENSSL_STACK *)extensions, san) > 0 && o->X509_REQ_add_extensions(req, extensions) == 1;
	} else {
		o->GENERAL_NAME_free(name);
	}
	if (san)
		o->X509_EXTENSION_free(san);
	o->OPENSSL_sk_free((OPENSSL_STACK *)extensions);
	o->GENERAL_NAMES_free(names);
	return done;
}

int tls_csr_new(const char *uri, struct sb *csr, char **key_pem, size_t *key_n, struct err *err)
{
	struct tls_lib *o = tls_lib_get(err);

	if (!o)
		return -ENOMEM;
	tls_lib_hold_key(o);
	EVP_PKEY *key = o->EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509_REQ *req = o->X509_REQ_new();
	BIO *request = o->BIO_new(o->BIO_s_mem()), *secret = o->BIO_new(o->BIO_s_secmem());
	bool made = key && req && request && secret && o->X509_REQ_set_version(req, 0) == 1 && o->X509_REQ_set_pubkey(req, key) == 1 && add_san(o, req, uri) &&
		o->X509_REQ_sign(req, key, o->EVP_sha256()) > 0 && o->PEM_write_bio_X509_REQ(request, req) == 1 &&
		o->PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1;

	if (made) {
		struct tls_csr_key *k = xnew(struct tls_csr_key);
		size_t n;
		char *text = text_of(o, request, &n);
		sb_add(csr, text, n);
		free(text);
		*key_pem = text_of(o, secret, key_n);
		k->text = *key_pem;
		list_push(&o->csrs, &k->node);
	} else {
		err_add(err, NULL, 0, 0, "TLS: no key and no certificate request can be made: %s", tls_pem_reason(o));
	}
	o->BIO_free(request);
	o->BIO_free(secret); /* wipes */
	o->X509_REQ_free(req);
	o->EVP_PKEY_free(key);
	o->ERR_clear_error();
	if (!made) {
		tls_lib_drop_key(o);
		tls_lib_unref(&o);
		return -ENOMEM;
	}
	return 0; /* the key's text holds the ref and the count */
}
