/* net/tls_verify: is the peer who we think it is? The chain (OpenSSL's own judgement, by the loop's clock and in the store of the peer's trust domain), then the CRLs, then names and pins.
 * Each refusal is told with both values: what the peer is or shows, and what was wanted.
 *
 * Trust domains: where roots come as bundles of several domains, the peer's URI SAN chooses the bundle, and all URI SANs must lie in that domain: who may sign for a.example shall not speak
 * for b.example in a second name.
 *
 * CRLs: who is in a CRL of its issuer is refused, even if that CRL is overdue (what was revoked stays revoked); an issuer without a CRL, and a CRL whose time is over, are no failure: else a
 * CRL that was not renewed would end the mesh. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "net/tls_int.h"

static void __attribute__((format(printf, 3, 4))) why_is(struct tls_verify *v, enum tls_reason reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->why, v->why_cap, fmt, ap);
	va_end(ap);
	v->reason = reason;
}

static bool refuse(struct tls_verify *v, const char *text)
{
	if (!v->why[0])
		why_is(v, TLS_UNTRUSTED, "%s", text);
	return false;
}

/* ---- texts for people ------------------------------------------------------------------------------------------------------------- */

static const char *peer_subject(const struct tls_verify *v, const X509 *x, char out[TLS_TEXT_MAX])
{
	return tls_subject(v->context->lib, v->context->lib->X509_get_subject_name(x), out, TLS_TEXT_MAX);
}

static void add_name(const struct tls_lib *o, char *out, size_t cap, const GENERAL_NAME *name)
{
	char ip[64];
	struct str text;

	tls_add_clean(out, cap, tls_name_text(o, name, ip, sizeof(ip), &text) ? text : STR("(another kind)"));
}

static const char *own_domain(const struct tls_verify *v, struct str *ret)
{
	if (v->peer.trust_domain)
		*ret = str_of(v->peer.trust_domain);
	else
		*ret = v->context->cert ? tls_uri_domain(str_of(v->context->cert->uri)) : str_n("", 0);
	return ret->n ? ret->p : NULL;
}

static void say_wanted(const struct tls_verify *v, char *out, size_t cap)
{
	const struct tls_want *w = v->peer.want;
	enum tls_names names = w ? w->names : TLS_NAMES_SERVER;
	struct str domain;

	if (names == TLS_NAMES_RULES) {
		for (uint32_t i = 0; i < w->nrules && strlen(out) + 8 < cap; i++) {
			tls_add_clean(out, cap, i ? STR(" or ") : STR(""));
			tls_rule_say(&w->rules[i], out, cap);
		}
		return;
	}
	tls_add_clean(out, cap, STR("'"));
	if (names == TLS_NAMES_DOMAIN) {
		own_domain(v, &domain);
		tls_add_clean(out, cap, STR("spiffe://"));
		tls_add_clean(out, cap, domain);
		tls_add_clean(out, cap, STR("/..."));
		for (uint32_t i = 0; i < v->peer.naliases && strlen(out) + 8 < cap; i++) {
			tls_add_clean(out, cap, STR("' or 'spiffe://"));
			tls_add_clean(out, cap, str_of(v->peer.aliases[i]));
			tls_add_clean(out, cap, STR("/..."));
		}
	} else {
		tls_add_clean(out, cap, str_of(v->peer.check_name ? v->peer.check_name : v->peer.server_name));
	}
	tls_add_clean(out, cap, STR("'"));
}

static void tell_names(struct tls_verify *v, const X509 *leaf, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	char has[TLS_TEXT_MAX] = "", wanted[TLS_TEXT_MAX] = "", subject[TLS_TEXT_MAX];
	int count = names ? o->OPENSSL_sk_num(names) : 0;

	for (int i = 0; i < count && strlen(has) + 8 < sizeof(has); i++) {
		tls_add_clean(has, sizeof(has), i ? STR("', '") : STR(""));
		add_name(o, has, sizeof(has), o->OPENSSL_sk_value(names, i));
	}
	say_wanted(v, wanted, sizeof(wanted));
	if (count > 0)
		why_is(v, TLS_WRONG_NAME, "the peer is '%s', wanted %s", has, wanted);
	else
		why_is(v, TLS_WRONG_NAME, "the peer's certificate (%s) has no name in it (subjectAltName), wanted %s", peer_subject(v, leaf, subject), wanted);
}

static void tell_expired(struct tls_verify *v, const X509 *bad, const char *whose, bool early)
{
	const struct tls_lib *o = v->context->lib;
	char subject[TLS_TEXT_MAX], limit[32], now[32];

	peer_subject(v, bad, subject);
	if (early)
		why_is(v, TLS_EXPIRED, "the %s's certificate is not yet valid (%s, not before %s, now %s)", whose, subject, tls_time_text(tls_time(o, o->X509_get0_notBefore(bad)), limit),
			tls_time_text(v->now, now));
	else
		why_is(v, TLS_EXPIRED, "the %s's certificate has expired (%s, not after %s, now %s)", whose, subject, tls_time_text(tls_time(o, o->X509_get0_notAfter(bad)), limit),
			tls_time_text(v->now, now));
}

/* What we trust, named: the bundle's place and its first root. */
static void say_roots(const struct tls_trust *t, const struct tls_bundle *b, char *out, size_t cap)
{
	char subject[TLS_TEXT_MAX], more[32] = "";

	out[0] = 0;
	tls_add_clean(out, cap, STR("'"));
	tls_add_clean(out, cap, str_of(t->what));
	tls_add_clean(out, cap, STR("'"));
	if (b->ncerts == 0)
		return;
	tls_subject(t->lib, t->lib->X509_get_subject_name(b->certs[0]), subject, sizeof(subject));
	if (b->ncerts > 1)
		snprintf(more, sizeof(more), " and %u more", b->ncerts - 1);
	tls_add_clean(out, cap, STR(" ("));
	tls_add_clean(out, cap, str_of(subject));
	tls_add_clean(out, cap, str_of(more));
	tls_add_clean(out, cap, STR(")"));
}

/* No root that was looked at stands for it: another one may. */
static bool is_of_nobody(int err)
{
	switch (err) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE: /* a root of that name, but with another key */
		return true;
	default:
		return false;
	}
}

static void tell_chain(struct tls_verify *v, const struct tls_bundle *b, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;
	int err = o->X509_STORE_CTX_get_error(x);
	const X509 *bad = o->X509_STORE_CTX_get_current_cert(x);
	const char *whose = bad && bad != o->X509_STORE_CTX_get0_cert(x) ? "issuer" : "peer";
	char subject[TLS_TEXT_MAX] = "no certificate", issuer[TLS_TEXT_MAX] = "?", roots[TLS_TEXT_MAX];

	if (bad) {
		peer_subject(v, bad, subject);
		tls_subject(o, o->X509_get_issuer_name(bad), issuer, sizeof(issuer));
	}
	if (bad && is_of_nobody(err)) {
		say_roots(v->context->trust, b, roots, sizeof(roots));
		why_is(v, TLS_UNTRUSTED, "no root of %s stands for the %s's certificate (%s, issued by %s): %s", roots, whose, subject, issuer, o->X509_verify_cert_error_string(err));
		return;
	}
	switch (bad ? err : X509_V_ERR_UNSPECIFIED) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		tell_expired(v, bad, whose, err == X509_V_ERR_CERT_NOT_YET_VALID);
		return;
	case X509_V_ERR_INVALID_PURPOSE:
		why_is(v, TLS_UNTRUSTED, "the usage of the peer's certificate (keyUsage, extendedKeyUsage) does not allow it to be a TLS %s (%s)", v->context->server ? "client" : "server",
			subject);
		return;
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		why_is(v, TLS_UNTRUSTED, "the peer's chain is longer than %d certificates (%s)", TLS_DEPTH_MAX, subject);
		return;
	default:
		why_is(v, TLS_UNTRUSTED, "certificate is refused: %s (%s)", o->X509_verify_cert_error_string(err), subject);
	}
}

/* ---- trust domains ------------------------------------------------------------------------------------------------------------------ */

static struct str uri_of(const struct tls_lib *o, const OPENSSL_STACK *names, int i)
{
	const GENERAL_NAME *name = o->OPENSSL_sk_value(names, i);
	struct str uri = name->type == GEN_URI ? tls_asn1_text(o, name->d.uniformResourceIdentifier) : str_n("", 0);

	return uri.n && memchr(uri.p, 0, uri.n) ? str_n("", 0) : uri;
}

static const struct tls_bundle *bundle_for(const struct tls_trust *t, struct str domain)
{
	for (uint32_t i = 0; i < t->nbundles; i++)
		if (t->bundles[i].domain && str_is(domain, t->bundles[i].domain))
			return &t->bundles[i];
	return NULL;
}

static const struct tls_bundle *bundle_any(const struct tls_trust *t)
{
	for (uint32_t i = 0; i < t->nbundles; i++)
		if (!t->bundles[i].domain)
			return &t->bundles[i];
	return NULL;
}

static void tell_domains(struct tls_verify *v, struct str first)
{
	const struct tls_trust *t = v->context->trust;
	char has[TLS_TEXT_MAX] = "", ours[TLS_TEXT_MAX] = "";

	tls_add_clean(has, sizeof(has), first);
	for (uint32_t i = 0; i < t->nbundles && strlen(ours) + 8 < sizeof(ours); i++) {
		tls_add_clean(ours, sizeof(ours), i ? STR("', '") : STR(""));
		tls_add_clean(ours, sizeof(ours), str_of(t->bundles[i].domain));
	}
	if (first.n)
		why_is(v, TLS_UNTRUSTED, "the peer's trust domain is '%s', and '%s' has bundles for '%s'", has, t->what, ours);
	else
		why_is(v, TLS_UNTRUSTED, "the peer's certificate names no trust domain (a URI spiffe://...), and '%s' has bundles for '%s'", t->what, ours);
}

/* NULL: none stands for it; told. */
static const struct tls_bundle *choose_bundle(struct tls_verify *v, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	const struct tls_trust *t = v->context->trust;
	const struct tls_bundle *b = NULL;
	int count = names ? o->OPENSSL_sk_num(names) : 0;
	struct str first = str_n("", 0);

	if (t->nbundles == 1 && !t->bundles[0].domain)
		return &t->bundles[0];
	for (int i = 0; i < count && !b; i++) {
		struct str domain = tls_uri_domain(uri_of(o, names, i));
		if (!first.n)
			first = domain;
		b = domain.n ? bundle_for(t, domain) : NULL;
	}
	if (!b) {
		b = bundle_any(t);
		if (!b)
			tell_domains(v, first);
		return b;
	}
	for (int i = 0; i < count; i++) {
		const GENERAL_NAME *name = o->OPENSSL_sk_value(names, i);
		if (name->type != GEN_URI || str_is(tls_uri_domain(uri_of(o, names, i)), b->domain))
			continue;
		char other[TLS_TEXT_MAX] = "";
		add_name(o, other, sizeof(other), name);
		why_is(v, TLS_UNTRUSTED, "the peer's certificate is of trust domain '%s' and names '%s', too", b->domain, other);
		return NULL;
	}
	return b;
}

/* ---- CRLs --------------------------------------------------------------------------------------------------------------------------- */

/* Has this key signed it? Looked at once for each key: a CRL may have megabytes. */
static bool crl_is_by(const struct tls_lib *o, struct tls_crl *c, const X509 *issuer)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (o->X509_get_key_usage((X509 *)(uintptr_t)issuer) != UINT32_MAX && !(o->X509_get_key_usage((X509 *)(uintptr_t)issuer) & KU_CRL_SIGN))
		return false;
	if (o->X509_pubkey_digest(issuer, o->EVP_sha256(), md, &n) != 1 || n != sizeof(c->signer))
		return false;
	if (c->signer_known && memcmp(md, c->signer, sizeof(c->signer)) == 0)
		return true;
	if (o->X509_CRL_verify(c->crl, o->X509_get0_pubkey(issuer)) != 1)
		return false;
	memcpy(c->signer, md, sizeof(c->signer));
	c->signer_known = true;
	return true;
}

static bool revoked_by(const struct tls_lib *o, const struct tls_bundle *b, X509 *x, const X509 *issuer)
{
	X509_REVOKED *entry;

	for (uint32_t i = 0; i < b->ncrls; i++)
		if (o->X509_NAME_cmp(o->X509_CRL_get_issuer(b->crls[i].crl), o->X509_get_issuer_name(x)) == 0 && o->X509_CRL_get0_by_cert(b->crls[i].crl, &entry, x) == 1 &&
			crl_is_by(o, &b->crls[i], issuer))
			return true;
	return false;
}

/* The anchor's own issuer is not in the chain where the anchor is an intermediate, but may be in the bundle. */
static bool is_revoked(const struct tls_lib *o, const struct tls_bundle *b, X509 *x, const X509 *issuer)
{
	if (issuer)
		return revoked_by(o, b, x, issuer);
	for (uint32_t i = 0; i < b->ncerts; i++)
		if (o->X509_NAME_cmp(o->X509_get_subject_name(b->certs[i]), o->X509_get_issuer_name(x)) == 0 && revoked_by(o, b, x, b->certs[i]))
			return true;
	return false;
}

static bool none_revoked(struct tls_verify *v, const struct tls_bundle *b, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;
	const OPENSSL_STACK *chain = (const OPENSSL_STACK *)o->X509_STORE_CTX_get0_chain(x);
	int n = chain ? o->OPENSSL_sk_num(chain) : 0;
	char subject[TLS_TEXT_MAX], issuer[TLS_TEXT_MAX];

	for (int i = 0; i < n && b->ncrls; i++) {
		X509 *one = o->OPENSSL_sk_value(chain, i);
		if (!is_revoked(o, b, one, i + 1 < n ? o->OPENSSL_sk_value(chain, i + 1) : NULL))
			continue;
		tls_subject(o, o->X509_get_issuer_name(one), issuer, sizeof(issuer));
		why_is(v, TLS_REVOKED, "certificate is revoked (%s, by the CRL of %s)", peer_subject(v, one, subject), issuer);
		return false;
	}
	o->ERR_clear_error();
	return true;
}

/* ---- names and pins ------------------------------------------------------------------------------------------------------------------ */

static bool in_domain(struct str uri, struct str domain)
{
	struct str has = tls_uri_domain(uri);

	/* a workload of it, not the domain itself */
	return domain.n && str_eq(has, domain) && uri.n > 9 + has.n + 1 && !memchr(uri.p, 0, uri.n);
}

static bool domain_fits(const struct tls_verify *v, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	int count = names ? o->OPENSSL_sk_num(names) : 0;
	struct str own;

	own_domain(v, &own);
	for (int i = 0; i < count; i++) {
		struct str uri = uri_of(o, names, i);
		if (in_domain(uri, own))
			return true;
		for (uint32_t a = 0; a < v->peer.naliases; a++)
			if (in_domain(uri, str_of(v->peer.aliases[a])))
				return true;
	}
	return false;
}

static bool names_fit(const struct tls_verify *v, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	const struct tls_want *w = v->peer.want;
	int count = names ? o->OPENSSL_sk_num(names) : 0;

	switch (w ? w->names : TLS_NAMES_SERVER) {
	case TLS_NAMES_ANY:
		return true;
	case TLS_NAMES_DOMAIN:
		return domain_fits(v, names);
	case TLS_NAMES_RULES:
		for (int i = 0; i < count; i++)
			for (uint32_t r = 0; r < w->nrules; r++)
				if (tls_rule_fits(o, w, &w->rules[r], o->OPENSSL_sk_value(names, i)))
					return true;
		return false;
	case TLS_NAMES_SERVER:
		for (int i = 0; i < count; i++)
			if (tls_name_is(o, o->OPENSSL_sk_value(names, i), str_of(v->peer.check_name ? v->peer.check_name : v->peer.server_name)))
				return true;
		return false;
	}
	return false;
}

static void hex_of(const unsigned char *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static bool pins_fit(struct tls_verify *v, X509 *leaf)
{
	const struct tls_lib *o = v->context->lib;
	const struct tls_want *w = v->peer.want;
	unsigned char md[EVP_MAX_MD_SIZE], *der = NULL;
	char cert[8 + 2 * EVP_MAX_MD_SIZE] = "sha256:", key[8 + 2 * EVP_MAX_MD_SIZE] = "spki:";
	unsigned n = 0;

	if (!w || w->npins == 0)
		return true;
	if (o->X509_digest(leaf, o->EVP_sha256(), md, &n) == 1)
		hex_of(md, n, cert + strlen(cert));
	int size = o->i2d_X509_PUBKEY(o->X509_get_X509_PUBKEY(leaf), &der);
	if (size > 0 && o->EVP_Digest(der, (size_t)size, md, &n, o->EVP_sha256(), NULL) == 1)
		hex_of(md, n, key + strlen(key));
	if (der)
		o->CRYPTO_free(der, __FILE__, __LINE__);
	for (uint32_t i = 0; i < w->npins; i++)
		if (str_eq_nocase(str_of(w->pins[i]), str_of(cert)) || str_eq_nocase(str_of(w->pins[i]), str_of(key)))
			return true;
	why_is(v, TLS_WRONG_NAME, "the peer's certificate is %s, its key %s, wanted %s%s", cert, key, w->pins[0], w->npins > 1 ? " or another of the list" : "");
	return false;
}

/* ---- the judgement ------------------------------------------------------------------------------------------------------------------- */

static bool judge_leaf(struct tls_verify *v, X509 *leaf, const OPENSSL_STACK *names)
{
	struct str domain;

	int count = names ? v->context->lib->OPENSSL_sk_num(names) : 0;

	if (count > TLS_SANS_MAX) { /* each is asked of each rule */
		why_is(v, TLS_WRONG_NAME, "the peer's certificate has %d names in it, more than %d", count, TLS_SANS_MAX);
		return false;
	}
	if (v->peer.want && v->peer.want->names == TLS_NAMES_DOMAIN && !own_domain(v, &domain) && v->peer.naliases == 0)
		return refuse(v, "there is no trust domain to judge the peer by: our own certificate names none");
	if (!names_fit(v, names)) {
		tell_names(v, leaf, names);
		return false;
	}
	return pins_fit(v, leaf);
}

/* A session is worth no more than the chain it was given for, of which it keeps the leaf alone. */
static void note_ends(struct tls_verify *v, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;
	const OPENSSL_STACK *chain = (const OPENSSL_STACK *)o->X509_STORE_CTX_get0_chain(x);
	int n = chain ? o->OPENSSL_sk_num(chain) : 0;

	for (int i = 0; i < n && !v->context->expired_ok; i++) {
		int64_t ends = tls_time(o, o->X509_get0_notAfter(o->OPENSSL_sk_value(chain, i)));
		if (ends < v->ends)
			v->ends = ends;
	}
}

/* Envoy's max_verify_depth counts the root, which OpenSSL's own depth has not done since 1.1: so the chain that was found is counted. */
static bool is_short_enough(struct tls_verify *v, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;
	const OPENSSL_STACK *chain = (const OPENSSL_STACK *)o->X509_STORE_CTX_get0_chain(x);
	int above = (chain ? o->OPENSSL_sk_num(chain) : 1) - 1;
	uint32_t issuers = v->peer.want ? v->peer.want->issuers : 0;
	char subject[TLS_TEXT_MAX];

	if (issuers == 0 || above < 0 || (uint32_t)above < issuers)
		return true;
	why_is(v, TLS_UNTRUSTED, "%d certificates stand above the peer's (%s), the root among them, more than max_verify_depth: %u", above,
		peer_subject(v, o->X509_STORE_CTX_get0_cert(x), subject), issuers - 1);
	return false;
}

/* OpenSSL's judgement in one store. False: told, where nothing was told that says more; *ret_err is what OpenSSL calls it, which chooses the alert. */
static bool judge_in(struct tls_verify *v, const struct tls_bundle *b, X509_STORE *store, X509 *leaf, X509_STORE_CTX *outer, SSL *ssl, int *ret_err)
{
	const struct tls_lib *o = v->context->lib;
	X509_STORE_CTX *x = o->X509_STORE_CTX_new();
	bool right = false;

	*ret_err = X509_V_ERR_OUT_OF_MEM;
	if (x && o->X509_STORE_CTX_init(x, store, leaf, o->X509_STORE_CTX_get0_untrusted(outer)) == 1 &&
		o->X509_STORE_CTX_set_default(x, v->context->server ? "ssl_client" : "ssl_server") == 1) {
		X509_VERIFY_PARAM *param = o->X509_STORE_CTX_get0_param(x);
		if (!v->context->expired_ok) /* a time that is given counts more than the flag not to look at it */
			o->X509_VERIFY_PARAM_set_time(param, (time_t)v->now);
		o->X509_VERIFY_PARAM_set_depth(param, TLS_DEPTH_MAX);
		o->X509_VERIFY_PARAM_set_auth_level(param, o->SSL_get_security_level(ssl));
		if (v->context->expired_ok)
			o->X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME);
		right = o->X509_verify_cert(x) == 1;
		*ret_err = o->X509_STORE_CTX_get_error(x);
		if (!right && *ret_err == X509_V_OK)
			*ret_err = X509_V_ERR_UNSPECIFIED;
		if (!right && (!v->why[0] || !is_of_nobody(*ret_err)))
			tell_chain(v, b, x);
		if (right && !none_revoked(v, b, x)) {
			right = false;
			*ret_err = X509_V_ERR_CERT_REVOKED;
		}
		if (right && !is_short_enough(v, x)) {
			right = false;
			*ret_err = X509_V_ERR_CERT_CHAIN_TOO_LONG;
		}
		if (right)
			note_ends(v, x);
	}
	if (x)
		o->X509_STORE_CTX_free(x);
	return right || refuse(v, "out of memory");
}

/* In each store of the bundle, until one says yes. */
static bool judge_chain(struct tls_verify *v, const struct tls_bundle *b, X509 *leaf, X509_STORE_CTX *outer, SSL *ssl, int *ret_err)
{
	bool right = judge_in(v, b, b->stores[0], leaf, outer, ssl, ret_err);

	for (uint32_t i = 1; i < b->nstores && !right && *ret_err != X509_V_ERR_CERT_REVOKED; i++) {
		int err;
		right = judge_in(v, b, b->stores[i], leaf, outer, ssl, &err);
		if (right || !is_of_nobody(err))
			*ret_err = err;
	}
	if (right) {
		v->why[0] = 0; /* of a root that it was not */
		v->reason = TLS_FINE;
	}
	return right;
}

bool tls_verify_chain(struct tls_verify *v, X509_STORE_CTX *outer, SSL *ssl)
{
	const struct tls_lib *o = v->context->lib;
	X509 *leaf = o->X509_STORE_CTX_get0_cert(outer);
	GENERAL_NAMES *names = o->X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	const struct tls_bundle *b = v->context->trust ? choose_bundle(v, (const OPENSSL_STACK *)names) : NULL;
	int err = X509_V_ERR_CERT_UNTRUSTED;
	v->ends = INT64_MAX; /* not that of a session which the peer did not want */
	bool right = !v->context->trust || (b && judge_chain(v, b, leaf, outer, ssl, &err));

	if (right && !judge_leaf(v, leaf, (const OPENSSL_STACK *)names)) {
		err = X509_V_ERR_HOSTNAME_MISMATCH; /* the alert: bad_certificate */
		right = false;
	}
	o->X509_STORE_CTX_set_error(outer, right ? X509_V_OK : err);
	o->GENERAL_NAMES_free(names);
	return right;
}

bool tls_verify_again(struct tls_verify *v, X509 *leaf)
{
	const struct tls_lib *o = v->context->lib;
	int64_t from, to;

	if (!leaf)
		return (v->context->server && v->context->no_client_cert) || refuse(v, "the resumed session has no certificate of the peer's");
	from = tls_time(o, o->X509_get0_notBefore(leaf));
	to = tls_time(o, o->X509_get0_notAfter(leaf));
	if (v->context->trust && !v->context->expired_ok && (v->now < from || v->now > to)) {
		tell_expired(v, leaf, "peer", v->now < from);
		return false;
	}
	GENERAL_NAMES *names = o->X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool right = judge_leaf(v, leaf, (const OPENSSL_STACK *)names);
	o->GENERAL_NAMES_free(names);
	return right;
}
