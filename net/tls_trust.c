/* net/tls_trust: whom we believe: roots and CRLs, or the bundles of several trust domains. Immutable once shared, counted; see net/tls.h.
 * A bundle's X509_STORE is used by all contexts that hold the trust: one store for a thousand clusters. Any certificate in it is an anchor, self-signed or not, as for Go and Envoy: meshes hand
 * out intermediates.
 *
 * Roots of one name and different keys (a CA that was made anew under its old name) lie in stores of their own: the second of each name in the second one, and so on. A certificate that does not
 * say which key has signed it (AuthorityKeyIdentifier) leads OpenSSL to the first of that name, and if that is the wrong one, to no other. So a chain is judged in one store after the other.
 *
 * CRLs are not given to the store but kept here: net/tls_verify looks them up, because OpenSSL would refuse a chain for the lack of a CRL of an issuer that has none. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net/tls_int.h"

enum { TEXT_ROOTS_MAX = 100 };

struct str tls_uri_domain(struct str uri)
{
	if (!str_starts(uri, STR("spiffe://")))
		return str_n("", 0);
	struct str rest = str_cut(uri, 9, uri.n);
	ptrdiff_t slash = str_find(rest, '/');
	return slash < 0 ? rest : str_cut(rest, 0, (size_t)slash);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------ */

static void bundle_free(const struct tls_lib *o, struct tls_bundle *b)
{
	for (uint32_t i = 0; i < b->ncerts; i++)
		o->X509_free(b->certs[i]);
	for (uint32_t i = 0; i < b->ncrls; i++)
		o->X509_CRL_free(b->crls[i].crl);
	for (uint32_t i = 0; i < b->nstores; i++)
		o->X509_STORE_free(b->stores[i]);
	free(b->stores);
	free(b->certs);
	free(b->crls);
	free(b->ids);
	free(b->domain);
}

static void *grown(void *p, uint32_t n, size_t each)
{
	return (n & (n - 1)) == 0 ? xrealloc(p, (n ? 2 * (size_t)n : 1) * each) : p;
}

static bool has_cert(const struct tls_bundle *b, const struct tls_id *id)
{
	for (uint32_t i = 0; i < b->ncerts; i++)
		if (tls_id_eq(&b->ids[i], id))
			return true;
	return false;
}

static bool has_crl(const struct tls_bundle *b, const struct tls_id *id)
{
	for (uint32_t i = 0; i < b->ncrls; i++)
		if (tls_id_eq(&b->crls[i].id, id))
			return true;
	return false;
}

static X509_STORE *add_store(const struct tls_lib *o, struct tls_bundle *b)
{
	X509_STORE *s = o->X509_STORE_new();

	if (s && o->X509_STORE_set_flags(s, X509_V_FLAG_PARTIAL_CHAIN) != 1) {
		o->X509_STORE_free(s);
		s = NULL;
	}
	if (!s)
		return NULL;
	b->stores = grown(b->stores, b->nstores, sizeof(X509_STORE *));
	return b->stores[b->nstores++] = s;
}

/* The first one that has no root of this name. NULL: no memory. */
static X509_STORE *store_for(const struct tls_lib *o, struct tls_bundle *b, const X509 *x)
{
	uint32_t nth = 0;

	for (uint32_t i = 0; i < b->ncerts; i++)
		nth += o->X509_NAME_cmp(o->X509_get_subject_name(b->certs[i]), o->X509_get_subject_name(x)) == 0;
	return nth < b->nstores ? b->stores[nth] : add_store(o, b);
}

/* Bundles are often put together from several, so the same root is often there twice. */
static bool add_cert(const struct tls_lib *o, struct tls_bundle *b, struct str block)
{
	bool asked = false;
	BIO *bio = o->BIO_new_mem_buf(block.p, (int)block.n);
	X509 *x = bio ? o->PEM_read_bio_X509(bio, NULL, tls_pem_no_password, &asked) : NULL;
	bool taken = x != NULL;
	struct tls_id id = x ? tls_x509_id(o, x) : (struct tls_id){{0}};

	if (x && !has_cert(b, &id)) {
		X509_STORE *s = store_for(o, b, x);
		taken = s && o->X509_STORE_add_cert(s, x) == 1;
		b->ids = grown(b->ids, b->ncerts, sizeof(*b->ids));
		b->ids[b->ncerts] = id;
		b->certs = grown(b->certs, b->ncerts, sizeof(*b->certs));
		b->certs[b->ncerts++] = x;
	} else if (x) {
		o->X509_free(x);
	}
	if (bio)
		o->BIO_free(bio);
	return taken;
}

static bool add_crl(const struct tls_lib *o, struct tls_bundle *b, struct str block)
{
	bool asked = false;
	BIO *bio = o->BIO_new_mem_buf(block.p, (int)block.n);
	X509_CRL *crl = bio ? o->PEM_read_bio_X509_CRL(bio, NULL, tls_pem_no_password, &asked) : NULL;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct tls_id id = {{0}};

	if (bio)
		o->BIO_free(bio);
	if (!crl)
		return false;
	if (o->X509_CRL_digest(crl, o->EVP_sha256(), md, &n) == 1 && n == sizeof(id.sha))
		memcpy(id.sha, md, sizeof(id.sha));
	if (has_crl(b, &id)) {
		o->X509_CRL_free(crl);
		return true;
	}
	b->crls = grown(b->crls, b->ncrls, sizeof(*b->crls));
	b->crls[b->ncrls++] = (struct tls_crl){.crl = crl, .id = id};
	return true;
}

static void bundle_read(const struct tls_lib *o, struct tls_bundle *b, const char *what, struct str pem, struct err *err)
{
	struct str label, block;
	int n = 0, crls = 0;

	while (tls_pem_next(&pem, &label, &block)) {
		bool crl = str_is(label, "X509 CRL");
		if (!crl && !str_is(label, "CERTIFICATE") && !str_is(label, "X509 CERTIFICATE"))
			continue;
		if (n + crls == TLS_CERTS_MAX) {
			err_add(err, what, 0, 0, "more than %d certificates and CRLs", TLS_CERTS_MAX);
			return;
		}
		o->ERR_clear_error();
		if (crl && (crls++, !add_crl(o, b, block)))
			err_add(err, what, 0, 0, "CRL %d cannot be read: %s", crls, tls_pem_reason(o));
		if (!crl && (n++, !add_cert(o, b, block)))
			err_add(err, what, 0, 0, "certificate %d cannot be read: %s", n, tls_pem_reason(o));
	}
	o->ERR_clear_error();
	if (n == 0)
		err_add(err, what, 0, 0, "there is no certificate in it (PEM: -----BEGIN CERTIFICATE-----)");
}

/* ---- the beginning and the end ------------------------------------------------------------------------------------------------------- */

static void trust_free(struct tls_trust *t)
{
	for (uint32_t i = 0; i < t->nbundles; i++)
		bundle_free(t->lib, &t->bundles[i]);
	tls_lib_unref(&t->lib);
	free(t->bundles);
	free(t->what);
	free(t);
}

static struct tls_trust *trust_make(const char *what, struct err *err)
{
	struct tls_lib *o = tls_lib_get(err);
	struct tls_trust *t;

	if (!o)
		return NULL;
	t = xnew(struct tls_trust);
	t->refs = 1;
	t->lib = o;
	t->what = xstrdup(what);
	return t;
}

static struct tls_bundle *bundle_make(struct tls_trust *t, const char *name)
{
	const struct tls_lib *o = t->lib;

	t->bundles = xrealloc(t->bundles, (t->nbundles + 1) * sizeof(*t->bundles));
	struct tls_bundle *b = &t->bundles[t->nbundles];
	*b = (struct tls_bundle){.domain = name ? xstrdup(name) : NULL};
	if (!add_store(o, b)) {
		bundle_free(o, b);
		return NULL;
	}
	t->nbundles++;
	return b;
}

/* The sum, for the order says nothing. */
static void trust_count(struct tls_trust *t, const struct tls_bundle *b)
{
	uint64_t domain = b->domain ? str_hash(str_of(b->domain)) : 0;
	const X509 *last = NULL;
	int64_t until = 0;

	for (uint32_t i = 0; i < b->ncerts; i++)
		t->hash += str_hash_seeded(str_n((const char *)b->ids[i].sha, sizeof(b->ids[i].sha)), domain);
	for (uint32_t i = 0; i < b->ncrls; i++)
		t->hash += str_hash_seeded(str_n((const char *)b->crls[i].id.sha, sizeof(b->crls[i].id.sha)), domain);
	t->hash += str_hash_seeded(STR("domain"), domain);
	for (uint32_t i = 0; i < b->ncerts; i++) {
		int64_t ends = tls_time(t->lib, t->lib->X509_get0_notAfter(b->certs[i]));
		if (ends && (t->expires == 0 || ends < t->expires))
			t->expires = ends;
		if (!last || ends > until) {
			last = b->certs[i];
			until = ends;
		}
	}
	if (last && (!t->last || until < t->until)) {
		t->last = last;
		t->until = until;
		t->last_domain = b->domain;
	}
}

int tls_trust_more(struct tls_trust *t, const char *what, struct str pem, const char *name, struct err *err)
{
	int problems = err->count;

	if (pem.n > TLS_PEM_MAX) {
		err_add(err, what, 0, 0, "larger than 4 MiB");
		return -EINVAL;
	}
	if (t->nbundles == TRUST_DOMAINS_MAX) {
		err_add(err, what, 0, 0, "more than %d trust domains", TRUST_DOMAINS_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < t->nbundles; i++)
		if (name && t->bundles[i].domain ? strcmp(name, t->bundles[i].domain) == 0 : name == t->bundles[i].domain) {
			err_add(err, what, 0, 0, "two bundles for %s%s", name ? "trust domain " : "any peer", name ? name : "");
			return -EINVAL;
		}
	struct tls_bundle *b = bundle_make(t, name);
	if (!b)
		return -ENOMEM;
	bundle_read(t->lib, b, what, pem, err);
	if (err->count > problems) {
		bundle_free(t->lib, b);
		t->nbundles--;
		return -EINVAL;
	}
	trust_count(t, b);
	return 0;
}

int tls_trust_new(const char *what, struct str pem, const char *name, struct tls_trust **ret, struct err *err)
{
	struct tls_trust *t = trust_make(what, err);
	int r = t ? tls_trust_more(t, what, pem, name, err) : -ENOMEM;

	if (r < 0)
		tls_trust_unref(&t);
	else
		*ret = t;
	return r;
}

struct tls_trust *tls_trust_system(struct err *err)
{
	struct tls_trust *t = trust_make("the system", err);
	struct tls_bundle *b = t ? bundle_make(t, NULL) : NULL;

	if (b && t->lib->X509_STORE_set_default_paths(b->stores[0]) == 1) { /* a folder of hashed names: read when a chain asks for one */
		t->lib->ERR_clear_error();
		t->hash = str_hash(STR("the system's roots"));
		t->system = true;
		return t;
	}
	if (t) {
		err_add(err, NULL, 0, 0, "TLS: the system's roots cannot be used: %s", tls_pem_reason(t->lib));
		t->lib->ERR_clear_error();
	}
	tls_trust_unref(&t);
	return NULL;
}

struct tls_trust *tls_trust_ref(struct tls_trust *t)
{
	t->refs++;
	return t;
}

void tls_trust_unref(struct tls_trust **at)
{
	struct tls_trust *t = *at;

	*at = NULL;
	if (t && --t->refs == 0)
		trust_free(t);
}

/* ---- looking -------------------------------------------------------------------------------------------------------------------------- */

uint64_t tls_trust_hash(const struct tls_trust *t)
{
	return t->hash;
}

static bool domain_eq(const struct tls_bundle *a, const struct tls_bundle *b)
{
	return a->domain && b->domain ? strcmp(a->domain, b->domain) == 0 : a->domain == b->domain;
}

static const struct tls_bundle *bundle_like(const struct tls_trust *t, const struct tls_bundle *b)
{
	for (uint32_t i = 0; i < t->nbundles; i++)
		if (domain_eq(&t->bundles[i], b))
			return &t->bundles[i];
	return NULL;
}

/* All of older's roots are here, and no CRL that it had not. */
static bool bundle_includes(const struct tls_bundle *b, const struct tls_bundle *older)
{
	for (uint32_t i = 0; i < older->ncerts; i++)
		if (!has_cert(b, &older->ids[i]))
			return false;
	for (uint32_t i = 0; i < b->ncrls; i++)
		if (!has_crl(older, &b->crls[i].id))
			return false;
	return true;
}

bool tls_trust_same(const struct tls_trust *a, const struct tls_trust *b)
{
	if (a == b)
		return true;
	if (a->hash != b->hash || a->nbundles != b->nbundles || a->system != b->system)
		return false;
	for (uint32_t i = 0; i < a->nbundles; i++) {
		const struct tls_bundle *x = &a->bundles[i], *y = bundle_like(b, x);
		if (!y || x->ncerts != y->ncerts || x->ncrls != y->ncrls || !bundle_includes(x, y) || !bundle_includes(y, x))
			return false;
	}
	return true;
}

bool tls_trust_includes(const struct tls_trust *t, const struct tls_trust *older)
{
	bool any = false;

	if (tls_trust_same(t, older))
		return true;
	if (t->system || older->system)
		return false;
	for (uint32_t i = 0; i < older->nbundles; i++) {
		const struct tls_bundle *b = bundle_like(t, &older->bundles[i]);
		if (!b || !bundle_includes(b, &older->bundles[i]))
			return false;
		any |= !b->domain;
	}
	/* Peers of a domain that has a bundle of its own now were judged by that for any peer. */
	return !any || t->nbundles == older->nbundles;
}

int64_t tls_trust_expires(const struct tls_trust *t)
{
	return t->expires;
}

bool tls_trust_last_root(const struct tls_trust *t, struct tls_last_root *ret)
{
	if (!t->last || !t->until)
		return false;
	*ret = (struct tls_last_root){.begins = tls_time(t->lib, t->lib->X509_get0_notBefore(t->last)), .ends = t->until, .domain = t->last_domain};
	tls_subject(t->lib, t->lib->X509_get_subject_name(t->last), ret->subject, sizeof(ret->subject));
	return true;
}

static const struct tls_bundle *bundle_of(const struct tls_trust *t, struct str domain)
{
	const struct tls_bundle *any = NULL;

	for (uint32_t i = 0; i < t->nbundles; i++)
		if (!t->bundles[i].domain)
			any = &t->bundles[i];
		else if (domain.n && str_is(domain, t->bundles[i].domain))
			return &t->bundles[i];
	return any;
}

static int chain_verify(const struct tls_lib *o, X509_STORE_CTX *x, X509_STORE *store, const struct tls_cert *c, int64_t now, struct err *err)
{
	OPENSSL_STACK *more = o->OPENSSL_sk_new_null();
	bool whole = more != NULL;
	char subject[TLS_TEXT_MAX] = "no certificate", issuer[TLS_TEXT_MAX] = "?";
	int r = -ENOMEM;

	for (uint32_t i = 0; i < c->nchain && whole; i++)
		whole = o->OPENSSL_sk_push(more, c->chain[i]) > 0; /* borrowed */
	if (whole && o->X509_STORE_CTX_init(x, store, c->leaf, (STACK_OF(X509) *)more) == 1) {
		o->X509_VERIFY_PARAM_set_time(o->X509_STORE_CTX_get0_param(x), (time_t)now);
		o->X509_VERIFY_PARAM_set_depth(o->X509_STORE_CTX_get0_param(x), TLS_DEPTH_MAX);
		r = o->X509_verify_cert(x) == 1 ? 0 : -EKEYREJECTED;
	}
	if (r == -EKEYREJECTED) {
		const X509 *bad = o->X509_STORE_CTX_get_current_cert(x);
		if (bad) {
			tls_subject(o, o->X509_get_subject_name(bad), subject, sizeof(subject));
			tls_subject(o, o->X509_get_issuer_name(bad), issuer, sizeof(issuer));
		}
		err_add(err, NULL, 0, 0, "%s (%s, issued by %s)", o->X509_verify_cert_error_string(o->X509_STORE_CTX_get_error(x)), subject, issuer);
	}
	if (more)
		o->OPENSSL_sk_free(more);
	return r;
}

int tls_trust_verifies(const struct tls_trust *t, const struct tls_cert *c, int64_t now, struct err *err)
{
	const struct tls_lib *o = t->lib;
	const struct tls_bundle *b = bundle_of(t, tls_uri_domain(str_of(c->uri)));
	int r = -EKEYREJECTED;

	if (!b) {
		err_add(err, NULL, 0, 0, "there is no bundle for the trust domain of '%s'", c->id);
		return -EKEYREJECTED;
	}
	for (uint32_t i = 0; i < b->nstores && r == -EKEYREJECTED; i++) {
		struct err of_it = ERR_INIT;
		X509_STORE_CTX *x = o->X509_STORE_CTX_new();
		r = x ? chain_verify(o, x, b->stores[i], c, now, i + 1 < b->nstores ? &of_it : err) : -ENOMEM;
		if (x)
			o->X509_STORE_CTX_free(x);
		err_clear(&of_it);
	}
	if (r == -ENOMEM)
		err_add(err, NULL, 0, 0, "out of memory");
	o->ERR_clear_error();
	return r;
}

const char *tls_trust_text(const struct tls_trust *t, struct sb *out)
{
	const struct tls_lib *o = t->lib;
	uint32_t shown = 0, roots = 0, crls = 0;
	char text[1024], when[32];
	bool first = true;

	sb_str(out, "\"roots\":[");
	for (uint32_t i = 0; i < t->nbundles; i++) {
		const struct tls_bundle *b = &t->bundles[i];
		roots += b->ncerts;
		crls += b->ncrls;
		for (uint32_t c = 0; c < b->ncerts && shown < TEXT_ROOTS_MAX; c++) {
			sb_str(out, shown++ ? ",{\"subject\":" : "{\"subject\":");
			sb_json(out, str_of(tls_subject(o, o->X509_get_subject_name(b->certs[c]), text, sizeof(text))));
			sb_fmt(out, ",\"not_after\":\"%s\"}", tls_time_text(tls_time(o, o->X509_get0_notAfter(b->certs[c])), when));
		}
	}
	sb_fmt(out, "],\"count\":%u,\"crls\":%u,\"trust_domains\":[", roots, crls);
	for (uint32_t i = 0; i < t->nbundles; i++)
		if (t->bundles[i].domain) {
			if (!first)
				sb_char(out, ',');
			sb_json(out, str_of(t->bundles[i].domain));
			first = false;
		}
	sb_char(out, ']');
	return out->p;
}
