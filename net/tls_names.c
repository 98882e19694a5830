/* net/tls_names: one name of a certificate against one name that is wanted, or one rule.
 *
 * Names are compared by their ASN.1 lengths, never as C strings: "good.example\0.evil.example" is one name, and it is not good.example; a name with a NUL in it fits nothing.
 * The common name is not looked at (RFC 9525 1.2: gone since 2011). What is wanted exactly may be
 *   a URI ("spiffe://..."), which must be there byte for byte,
 *   an IP, which must be there as an IP (RFC 9110 4.3.5), or
 *   a DNS name, without regard to case; in the certificate "*" may stand for the whole first label (RFC 6125 6.4.3). */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "base/addr.h"
#include "net/tls_int.h"

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

static bool has_nul(struct str s)
{
	return s.n && memchr(s.p, 0, s.n);
}

bool tls_name_is(const struct tls_lib *o, const GENERAL_NAME *name, struct str wanted)
{
	struct str has;

	if (wanted.n == 0)
		return false;
	if (name->type == GEN_URI) {
		has = tls_asn1_text(o, name->d.uniformResourceIdentifier);
		return is_uri(wanted) && str_eq(has, wanted) && !has_nul(has); /* "a.b" as a URI is no host: who may sign for names of hosts did not say it */
	}
	if (name->type == GEN_IPADD)
		return addr_is_ip(wanted) && ip_matches(tls_asn1_text(o, name->d.iPAddress), wanted);
	return name->type == GEN_DNS && !is_uri(wanted) && !addr_is_ip(wanted) && tls_dns_matches(tls_asn1_text(o, name->d.dNSName), wanted);
}

bool tls_name_text(const struct tls_lib *o, const GENERAL_NAME *name, char *ip_text, size_t cap, struct str *ret)
{
	struct addr a = {0};
	struct str raw, host;
	char text[ADDR_TEXT];
	int port;

	switch (name->type) {
	case GEN_DNS:
	case GEN_URI:
	case GEN_EMAIL:
		*ret = tls_asn1_text(o, name->d.ia5);
		return true;
	case GEN_IPADD:
		raw = tls_asn1_text(o, name->d.iPAddress);
		if (raw.n != 4 && raw.n != 16)
			return false;
		a.sa.sa_family = raw.n == 4 ? AF_INET : AF_INET6;
		a.len = raw.n == 4 ? sizeof(a.in4) : sizeof(a.in6);
		memcpy(raw.n == 4 ? (void *)&a.in4.sin_addr : (void *)&a.in6.sin6_addr, raw.p, raw.n);
		addr_text(&a, text);
		if (addr_split(str_of(text), &host, &port) < 0 || host.n >= cap)
			return false;
		memcpy(ip_text, host.p, host.n);
		*ret = str_n(ip_text, host.n);
		return true;
	default:
		return false;
	}
}

/* ---- rules ------------------------------------------------------------------------------------------------------------------------ */

static bool on_fits(enum tls_name on, int type)
{
	switch (on) {
	case TLS_NAME_URI:
		return type == GEN_URI;
	case TLS_NAME_DNS:
		return type == GEN_DNS;
	case TLS_NAME_IP:
		return type == GEN_IPADD;
	case TLS_NAME_EMAIL:
		return type == GEN_EMAIL;
	default:
		return type == GEN_URI || type == GEN_DNS || type == GEN_IPADD;
	}
}

static bool eq(struct str a, struct str b, bool ignore_case)
{
	return ignore_case ? str_eq_nocase(a, b) : str_eq(a, b);
}

static bool contains(struct str s, struct str part, bool ignore_case)
{
	for (size_t i = 0; i + part.n <= s.n; i++)
		if (eq(str_n(s.p + i, part.n), part, ignore_case))
			return true;
	return false;
}

static bool exact(const struct tls_lib *o, const struct tls_rule *rule, const GENERAL_NAME *name, struct str has)
{
	struct str wanted = str_of(rule->text);

	/* An IP is compared as an address, however it is written; a DNS name as RFC 6125 has it. */
	if (name->type == GEN_IPADD || name->type == GEN_DNS)
		return tls_name_is(o, name, wanted);
	return wanted.n && eq(has, wanted, rule->ignore_case);
}

bool tls_rule_fits(const struct tls_lib *o, const struct tls_want *want, const struct tls_rule *rule, const GENERAL_NAME *name)
{
	struct str has, text = str_of(rule->text);
	char ip[64];

	if (!on_fits(rule->on, name->type) || !tls_name_text(o, name, ip, sizeof(ip), &has) || has.n == 0 || has_nul(has))
		return false;
	switch (rule->kind) {
	case TLS_EXACT:
		return exact(o, rule, name, has);
	case TLS_PREFIX:
		return has.n >= text.n && eq(str_n(has.p, text.n), text, rule->ignore_case);
	case TLS_SUFFIX:
		return has.n >= text.n && eq(str_cut(has, has.n - text.n, has.n), text, rule->ignore_case);
	case TLS_CONTAINS:
		return contains(has, text, rule->ignore_case);
	case TLS_REGEX:
		return want->regex_match && rule->regex && want->regex_match(rule->regex, has) == 1;
	}
	return false;
}

void tls_rule_say(const struct tls_rule *rule, char *out, size_t cap)
{
	static const char *const on[] = {[TLS_NAME_ANY] = "", [TLS_NAME_URI] = "URI ", [TLS_NAME_DNS] = "DNS ", [TLS_NAME_IP] = "IP ", [TLS_NAME_EMAIL] = "email "};
	static const char *const kind[] = {[TLS_EXACT] = "", [TLS_PREFIX] = "prefix ", [TLS_SUFFIX] = "suffix ", [TLS_CONTAINS] = "part ", [TLS_REGEX] = "regex "};

	tls_add_clean(out, cap, str_of(rule->kind == TLS_EXACT && rule->on == TLS_NAME_ANY ? "" : on[rule->on]));
	tls_add_clean(out, cap, str_of(kind[rule->kind]));
	tls_add_clean(out, cap, STR("'"));
	tls_add_clean(out, cap, str_of(rule->text));
	tls_add_clean(out, cap, STR("'"));
}
