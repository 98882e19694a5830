/* net/tls_verify: is the peer who we think it is? The chain (OpenSSL's own judgement, by the loop's clock), then its names.
 *
 * Names are compared by their ASN.1 lengths, never as C strings: "good.example\0.evil.example" is one name, and it is not good.example.
 * The common name is not looked at (RFC 9525 1.2: gone since 2011). What was wanted may be
 *   a URI ("spiffe://..."), which must be there byte for byte,
 *   an IP, which must be there as an IP (RFC 9110 4.3.5), or
 *   a DNS name, without regard to case; in the certificate "*" may stand for the whole first label (RFC 6125 6.4.3). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/addr.h"
#include "net/tls_int.h"

enum { TEXT_MAX = 200 };

/* ---- matching -------------------------------------------------------------------------------------------------------------------- */

static struct str without_dot(struct str s)
{
	return s.n > 1 && s.p[s.n - 1] == '.' ? str_n(s.p, s.n - 1) : s;
}

bool tls_dns_matches(struct str pattern, struct str wanted)
{
	wanted = without_dot(wanted); /* "a.b." is the absolute form of the same name; a certificate has no such form */
	if (pattern.n == 0 || memchr(pattern.p, 0, pattern.n))
		return false;
	if (str_eq_nocase(pattern, wanted))
		return true;
	if (pattern.n < 3 || pattern.p[0] != '*' || pattern.p[1] != '.')
		return false;
	struct str rest = str_cut(pattern, 1, pattern.n);
	ptrdiff_t dot = str_find(wanted, '.');
	/* "*.com" would be somebody who may be everybody. */
	if (dot < 1 || str_find(str_cut(rest, 1, rest.n), '.') < 1 || memchr(rest.p, '*', rest.n))
		return false;
	return str_eq_nocase(rest, str_cut(wanted, (size_t)dot, wanted.n));
}

static struct str text_of(const struct tls_lib *o, const ASN1_STRING *s)
{
	int n = o->ASN1_STRING_length(s);

	return str_n((const char *)o->ASN1_STRING_get0_data(s), n > 0 ? (size_t)n : 0);
}

static bool ip_matches(struct str in_certificate, struct str wanted)
{
	struct addr a;

	if (addr_ip(wanted, 0, &a) < 0)
		return false;
	if (addr_is_v6(&a))
		return str_eq(in_certificate, str_n((const char *)&a.in6.sin6_addr, 16));
	return str_eq(in_certificate, str_n((const char *)&a.in4.sin_addr, 4));
}

static bool is_uri(struct str s)
{
	ptrdiff_t colon = str_find(s, ':');

	return colon > 0 && str_starts(str_cut(s, (size_t)colon, s.n), STR("://"));
}

static bool name_matches(const struct tls_lib *o, const GENERAL_NAME *name, struct str wanted)
{
	if (wanted.n == 0)
		return false;
	if (is_uri(wanted))
		return name->type == GEN_URI && str_eq(text_of(o, name->d.uniformResourceIdentifier), wanted);
	if (addr_is_ip(wanted))
		return name->type == GEN_IPADD && ip_matches(text_of(o, name->d.iPAddress), wanted);
	return name->type == GEN_DNS && tls_dns_matches(text_of(o, name->d.dNSName), wanted);
}

/* ---- texts for people ---------------------------------------------------------------------------------------------------------- */

/* What a peer wrote goes into a log: printable ASCII only. */
static void add_clean(char *out, size_t cap, struct str s)
{
	size_t n = strlen(out);

	for (size_t i = 0; i < s.n; i++) {
		if (n + 4 >= cap) {
			memcpy(out + n, "...", 4 <= cap - n ? 4 : 1);
			break;
		}
		out[n++] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
		out[n] = 0;
	}
}

static void add_name(const struct tls_lib *o, char *out, size_t cap, const GENERAL_NAME *name)
{
	struct addr a = {0};
	char text[ADDR_TEXT];
	struct str raw;

	if (name->type == GEN_DNS) {
		add_clean(out, cap, text_of(o, name->d.dNSName));
	} else if (name->type == GEN_URI) {
		add_clean(out, cap, text_of(o, name->d.uniformResourceIdentifier));
	} else if (name->type == GEN_IPADD && ((raw = text_of(o, name->d.iPAddress)).n == 4 || raw.n == 16)) {
		struct str host;
		int port;
		a.sa.sa_family = raw.n == 4 ? AF_INET : AF_INET6;
		a.len = raw.n == 4 ? sizeof(a.in4) : sizeof(a.in6);
		memcpy(raw.n == 4 ? (void *)&a.in4.sin_addr : (void *)&a.in6.sin6_addr, raw.p, raw.n);
		addr_text(&a, text);
		if (addr_split(str_of(text), &host, &port) == 0)
			add_clean(out, cap, host);
	} else {
		add_clean(out, cap, STR("(another kind)"));
	}
}

static void tell_names(struct tls_verify *v, const X509 *leaf, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	char has[TEXT_MAX] = "", wanted[TEXT_MAX] = "", subject[TEXT_MAX];
	int count = names ? o->OPENSSL_sk_num(names) : 0;

	for (int i = 0; i < count && strlen(has) + 8 < sizeof(has); i++) {
		add_clean(has, sizeof(has), i ? STR("', '") : STR(""));
		add_name(o, has, sizeof(has), o->OPENSSL_sk_value(names, i));
	}
	for (size_t i = 0; i < v->context->nsans && strlen(wanted) + 8 < sizeof(wanted); i++) {
		add_clean(wanted, sizeof(wanted), i ? STR("' or '") : STR(""));
		add_clean(wanted, sizeof(wanted), str_of(v->context->sans[i]));
	}
	if (v->context->nsans == 0)
		add_clean(wanted, sizeof(wanted), str_of(v->server_name));
	if (count > 0)
		snprintf(v->why, v->why_cap, "the peer is '%s', wanted '%s'", has, wanted);
	else
		snprintf(v->why, v->why_cap, "the peer's certificate (%s) has no name in it (subjectAltName), wanted '%s'",
			tls_subject(o, o->X509_get_subject_name(leaf), subject, sizeof(subject)), wanted);
}

static const char *time_text(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "?", 2);
	return out;
}

static void tell_chain(struct tls_verify *v, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;
	int err = o->X509_STORE_CTX_get_error(x);
	const X509 *bad = o->X509_STORE_CTX_get_current_cert(x);
	char subject[TEXT_MAX] = "no certificate", issuer[TEXT_MAX] = "?", limit[32], now[32];

	if (bad) {
		tls_subject(o, o->X509_get_subject_name(bad), subject, sizeof(subject));
		tls_subject(o, o->X509_get_issuer_name(bad), issuer, sizeof(issuer));
	}
	switch (bad ? err : X509_V_ERR_UNSPECIFIED) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		snprintf(v->why, v->why_cap, "certificate has expired (%s, not after %s, now %s)", subject,
			time_text(tls_time(o, o->X509_get0_notAfter(bad)), limit), time_text(v->now, now));
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(v->why, v->why_cap, "certificate is not yet valid (%s, not before %s, now %s)", subject,
			time_text(tls_time(o, o->X509_get0_notBefore(bad)), limit), time_text(v->now, now));
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE: /* a root of that name, but with another key */
		snprintf(v->why, v->why_cap, "no root of '%s' stands for the peer's certificate (%s, issued by %s): %s",
			v->context->roots_file ? v->context->roots_file : "the system", subject, issuer, o->X509_verify_cert_error_string(err));
		return;
	default:
		snprintf(v->why, v->why_cap, "certificate is refused: %s (%s)", o->X509_verify_cert_error_string(err), subject);
	}
}

/* ---- the judgement ------------------------------------------------------------------------------------------------------------- */

static bool has_wanted_name(const struct tls_verify *v, const OPENSSL_STACK *names)
{
	const struct tls_lib *o = v->context->lib;
	int count = names ? o->OPENSSL_sk_num(names) : 0;

	for (int i = 0; i < count; i++) {
		const GENERAL_NAME *name = o->OPENSSL_sk_value(names, i);
		for (size_t s = 0; s < v->context->nsans; s++)
			if (name_matches(o, name, str_of(v->context->sans[s])))
				return true;
		if (v->context->nsans == 0 && name_matches(o, name, str_of(v->server_name)))
			return true;
	}
	return false;
}

bool tls_verify_chain(struct tls_verify *v, X509_STORE_CTX *x)
{
	const struct tls_lib *o = v->context->lib;

	o->X509_VERIFY_PARAM_set_time(o->X509_STORE_CTX_get0_param(x), (time_t)v->now);
	if (o->X509_verify_cert(x) != 1) {
		if (o->X509_STORE_CTX_get_error(x) == X509_V_OK)
			o->X509_STORE_CTX_set_error(x, X509_V_ERR_UNSPECIFIED);
		tell_chain(v, x);
		return false;
	}
	if (v->context->no_names)
		return true;
	X509 *leaf = o->X509_STORE_CTX_get0_cert(x);
	GENERAL_NAMES *names = o->X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool right = has_wanted_name(v, (const OPENSSL_STACK *)names);
	if (!right) {
		o->X509_STORE_CTX_set_error(x, X509_V_ERR_HOSTNAME_MISMATCH); /* the alert: bad_certificate */
		tell_names(v, leaf, (const OPENSSL_STACK *)names);
	}
	o->GENERAL_NAMES_free(names);
	return right;
}
