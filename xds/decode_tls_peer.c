/* xds/decode_tls_peer: whom a connection trusts and accepts: CertificateValidationContext, whole, from a secret, or both together, to the roots, names and pins of a tls_want.
 *
 * Together means as in Envoy: what the secret brings goes before the roots that stand in the cluster, and the names of the cluster stay. What the secret itself says of names is not
 * known here, and has no effect (decode_secret notes it).
 *
 * Without names: a mesh's roots accept the trust domain, others whoever they have signed, as in Envoy. Names without roots are refused, as there: anybody can write them. */
#include <errno.h>

#include "base/err.h"
#include "conf/regex.h"
#include "xds/decode_tls.h"

enum { NAMES_MAX = 2048, NAME_BYTES = 4096, PINS_MAX = 256, SHA256 = 32, DEPTH_MAX = 100 };
#define VALIDATION "common_tls_context.validation_context"

/* ---- names ---- */

static int rule_fits(const void *regex, struct str text)
{
	return regex_match(regex, text);
}

static void rule_free(void *regex)
{
	struct regex *re = regex;
	regex_free(&re);
}

static int rule_regex(struct tls_reading *t, struct tls_rule *rule, const char *field)
{
	struct ration ration = {.account = &t->r->guard.account};
	struct regex *re = NULL;
	char why[REGEX_WHY] = "no memory";
	int code = regex_new(&ration, str_of(rule->text), &re, why);
	t->r->kept += ration.n; /* asked for again with all that is kept */
	ration_drop(&ration);
	if (code < 0)
		return tls_refuse(t, code, field, "safe_regex '%.64s': %s", rule->text, why);
	rule->regex = re;
	t->want->regex_match = rule_fits;
	t->want->regex_free = rule_free;
	return 0;
}

static int name_rule(struct tls_reading *t, enum tls_name on, const Pb__StringMatcher *m, const char *field)
{
	const char *text;
	enum tls_rule_kind kind;
	switch (m->match_pattern_case) {
	case PB__STRING_MATCHER__MATCH_PATTERN_EXACT: text = m->exact, kind = TLS_EXACT; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_PREFIX: text = m->prefix, kind = TLS_PREFIX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_SUFFIX: text = m->suffix, kind = TLS_SUFFIX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_CONTAINS: text = m->contains, kind = TLS_CONTAINS; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX: text = m->safe_regex->regex, kind = TLS_REGEX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_CUSTOM: tls_note(t, "match_subject_alt_names: a custom matcher fits nobody"); return 0;
	default: return tls_refuse(t, -EINVAL, field, "match_pattern: missing");
	}
	if (!text[0] && kind != TLS_EXACT) /* it would fit everybody */
		return tls_refuse(t, -EINVAL, field, "empty");
	if (strlen(text) > NAME_BYTES)
		return tls_refuse(t, ERR_LIMIT, field, "%zu bytes", strlen(text));
	tls_want_rule(t->want, on, kind, str_of(text));
	struct tls_rule *rule = &t->want->rules[t->want->nrules - 1];
	rule->ignore_case = m->ignore_case;
	t->r->kept += sizeof(*rule) + strlen(text) + 1;
	return kind == TLS_REGEX ? rule_regex(t, rule, field) : 0;
}

static int typed_rule(struct tls_reading *t, const Pb__SubjectAltNameMatcher *m)
{
	static const char field[] = VALIDATION ".match_typed_subject_alt_names";
	static const enum tls_name on[] = {[1] = TLS_NAME_EMAIL, [2] = TLS_NAME_DNS, [3] = TLS_NAME_URI, [4] = TLS_NAME_IP};
	enum { OTHER_NAME = 5 };
	if (m->san_type < 1 || m->san_type > OTHER_NAME)
		return tls_refuse(t, -EINVAL, field, "san_type: %d is none", m->san_type);
	if (!m->matcher)
		return tls_refuse(t, -EINVAL, field, "matcher: missing");
	if (m->san_type == OTHER_NAME) {
		tls_note(t, "match_typed_subject_alt_names: OTHER_NAME fits nobody");
		return 0;
	}
	return name_rule(t, on[m->san_type], m->matcher, field);
}

static int names(struct tls_reading *t, const Pb__CertificateValidationContext *v)
{
	size_t typed = v->n_match_typed_subject_alt_names, plain = v->n_match_subject_alt_names;
	int code = 0;
	if (typed && plain)
		return tls_refuse(t, -EINVAL, VALIDATION, "match_typed_subject_alt_names and match_subject_alt_names together");
	if (typed + plain > NAMES_MAX)
		return tls_refuse(t, ERR_LIMIT, VALIDATION ".match_subject_alt_names", "%zu, more than %d", typed + plain, NAMES_MAX);
	for (size_t i = 0; code == 0 && i < typed; i++)
		code = typed_rule(t, v->match_typed_subject_alt_names[i]);
	for (size_t i = 0; code == 0 && i < plain; i++)
		code = name_rule(t, TLS_NAME_ANY, v->match_subject_alt_names[i], VALIDATION ".match_subject_alt_names");
	if (code == 0 && typed + plain)
		t->want->names = TLS_NAMES_RULES; /* also where none of them can fit */
	return code;
}

/* ---- pins ---- */

static void pin(struct tls_reading *t, const char *kind, const uint8_t hash[SHA256])
{
	struct sb text = {0};
	sb_fmt(&text, "%s:", kind);
	for (int i = 0; i < SHA256; i++)
		sb_fmt(&text, "%02x", hash[i]);
	t->want->pins = xrealloc(t->want->pins, (t->want->npins + 1) * sizeof(*t->want->pins));
	t->want->pins[t->want->npins++] = xstrndup(text.p, text.n);
	t->r->kept += sizeof(char *) + text.n + 1;
	sb_end(&text);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "aabb..." or "AA:BB:...". */
static bool hex_hash(const char *text, uint8_t out[SHA256])
{
	for (int i = 0; i < SHA256; i++) {
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
		text += 2;
		if (*text == ':' && i < SHA256 - 1)
			text++;
	}
	return *text == '\0';
}

static int base64_digit(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* 44 digits, the last of which is "=": 32 bytes. */
static bool base64_hash(const char *text, uint8_t out[SHA256])
{
	enum { DIGITS = 43 };
	uint32_t bits = 0;
	int held = 0, n = 0;
	for (int i = 0; i < DIGITS; i++) {
		int digit = base64_digit(text[i]);
		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		held += 6;
		if (held >= 8 && n < SHA256) {
			held -= 8;
			out[n++] = (uint8_t)(bits >> held);
		}
	}
	return n == SHA256 && (bits & ((1U << held) - 1)) == 0 && strcmp(text + DIGITS, "=") == 0;
}

static int pins(struct tls_reading *t, const Pb__CertificateValidationContext *v)
{
	uint8_t hash[SHA256];
	if (v->n_verify_certificate_hash + v->n_verify_certificate_spki > PINS_MAX)
		return tls_refuse(t, ERR_LIMIT, VALIDATION ".verify_certificate_hash", "more than %d", PINS_MAX);
	for (size_t i = 0; i < v->n_verify_certificate_hash; i++) {
		if (!hex_hash(v->verify_certificate_hash[i], hash))
			return tls_refuse(t, -EINVAL, VALIDATION ".verify_certificate_hash", "'%.96s' is no SHA-256", v->verify_certificate_hash[i]);
		pin(t, "sha256", hash);
	}
	for (size_t i = 0; i < v->n_verify_certificate_spki; i++) {
		if (strlen(v->verify_certificate_spki[i]) != 44 || !base64_hash(v->verify_certificate_spki[i], hash))
			return tls_refuse(t, -EINVAL, VALIDATION ".verify_certificate_spki", "'%.48s' is no SHA-256 in base 64", v->verify_certificate_spki[i]);
		pin(t, "spki", hash);
	}
	return 0;
}

/* ---- roots ---- */

/* A list of revoked certificates that is not heeded lets them in: it stands with its roots, or connections fail. */
static int given_roots(struct tls_reading *t, const Pb__CertificateValidationContext *v, const Pb__DataSource *source, const char *field)
{
	struct data roots, crl;
	int code = tls_data(t, source, field, &roots);
	if (code == 0)
		code = tls_data(t, v->crl, VALIDATION ".crl", &crl);
	if (code < 0)
		return code;
	if (roots.kind == DATA_OTHER || (crl.kind && crl.kind != roots.kind)) {
		tls_unbuilt(t, roots.kind == DATA_OTHER ? "trusted_ca: environment_variable" : "crl from another kind of source than trusted_ca");
		return 0;
	}
	struct sb both = {0};
	sb_add(&both, roots.text.p, roots.text.n);
	if (crl.kind)
		sb_char(&both, '\n');
	sb_add(&both, crl.text.n ? crl.text.p : "", crl.text.n);
	tls_secret(t, &t->want->roots, SECRET_ROOTS, roots.kind == DATA_FILE ? SECRET_FILES : SECRET_INLINE, sb_view(&both));
	sb_end(&both);
	return 0;
}

static int validator(struct tls_reading *t, const Pb__CertificateValidationContext *v)
{
	static const char field[] = VALIDATION ".custom_validator_config";
	const Pb__TypedExtensionConfig *c = v->custom_validator_config;
	int code = 0;
	if (!cluster_any_is(c->typed_config, "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig")) {
		tls_unbuilt(t, "custom_validator_config '%.64s'", c->name);
		return 0;
	}
	Pb__SpiffeCertValidatorConfig *s = cluster_unpack(t->r, &pb__spiffe_cert_validator_config__descriptor, c->typed_config, field, &code);
	if (!s)
		return code;
	if (s->trust_bundles)
		tls_unbuilt(t, "custom_validator_config: trust_bundles");
	else if (s->n_trust_domains > 1) /* one bundle of several domains would let each of them speak for the others; as a secret they stay apart */
		tls_unbuilt(t, "custom_validator_config: several trust_domains ('%.64s', '%.64s'%s) inside of a cluster, instead of in a secret,", s->trust_domains[0]->name, s->trust_domains[1]->name,
			s->n_trust_domains > 2 ? ", ..." : "");
	else if (!s->n_trust_domains)
		code = tls_refuse(t, -EINVAL, field, "trust_domains: empty");
	else if (!s->trust_domains[0]->name[0] || strlen(s->trust_domains[0]->name) > 255 || strchr(s->trust_domains[0]->name, '/'))
		code = tls_refuse(t, -EINVAL, field, "trust_domains.name: '%.64s' is none", s->trust_domains[0]->name);
	else if (!s->trust_domains[0]->trust_bundle)
		code = tls_refuse(t, -EINVAL, field, "trust_domains.trust_bundle: missing");
	else
		code = given_roots(t, v, s->trust_domains[0]->trust_bundle, VALIDATION ".custom_validator_config.trust_domains.trust_bundle");
	if (code == 0 && s->n_trust_domains) {
		struct sb prefix = {0};
		sb_fmt(&prefix, "spiffe://%s/", s->trust_domains[0]->name);
		t->domain = str_n(prefix.p, prefix.n); /* freed by tls_peer_read */
	}
	guard_free(&t->r->guard, s);
	return code;
}

/* Beside roots that come as a secret there is one case in which both are files after all: the root that istiod names for its agent, with a rule's caCrl. */
static int crl_beside(struct tls_reading *t, const Pb__DataSource *source)
{
	struct secret_ref *roots = &t->want->roots;
	struct data crl;
	int code = tls_data(t, source, VALIDATION ".crl", &crl);
	if (code < 0 || !crl.kind)
		return code;
	if (roots->from != SECRET_FILES || crl.kind != DATA_FILE || strchr(roots->name, '\n')) {
		tls_unbuilt(t, "crl beside roots of a secret");
		return 0;
	}
	struct sb both = {0};
	sb_fmt(&both, "%s\n%.*s", roots->name, (int)crl.text.n, crl.text.p);
	tls_secret(t, roots, SECRET_ROOTS, SECRET_FILES, sb_view(&both));
	sb_end(&both);
	return 0;
}

/* secret_follows: the roots, and what becomes of a CRL beside them, are said after this. */
static int roots(struct tls_reading *t, const Pb__CertificateValidationContext *v, bool secret_follows)
{
	bool beside = secret_follows;
	int code = 0;
	if (v->ca_certificate_provider_instance) {
		code = tls_secret_instance(t, v->ca_certificate_provider_instance, VALIDATION ".ca_certificate_provider_instance", &t->want->roots, SECRET_ROOTS);
	} else if (v->custom_validator_config) {
		beside = true;
		code = validator(t, v);
	} else if (v->trusted_ca) {
		beside = true;
		code = given_roots(t, v, v->trusted_ca, VALIDATION ".trusted_ca");
	} else if (v->system_root_certs) {
		tls_secret(t, &t->want->roots, SECRET_ROOTS, SECRET_SYSTEM, STR(""));
	}
	if (code == 0 && v->crl && !beside)
		tls_unbuilt(t, "crl without trusted_ca beside it");
	return code;
}

/* ---- the whole ---- */

static int context(struct tls_reading *t, const Pb__CertificateValidationContext *v, bool server_name, bool secret_follows)
{
	if (v->trust_chain_verification < 0 || v->trust_chain_verification > 1)
		return tls_refuse(t, -EINVAL, VALIDATION ".trust_chain_verification", "%d is none", v->trust_chain_verification);
	if (v->max_verify_depth && v->max_verify_depth->value > DEPTH_MAX)
		return tls_refuse(t, -ERANGE, VALIDATION ".max_verify_depth", "%u, more than %d", v->max_verify_depth->value, DEPTH_MAX);
	t->anybody |= v->trust_chain_verification == 1;
	t->want->expired_ok |= v->allow_expired_certificate;
	if (v->max_verify_depth)
		t->want->issuers = v->max_verify_depth->value + 1;
	if (v->only_verify_leaf_cert_crl)
		tls_note(t, "only_verify_leaf_cert_crl: whoever issued a list is asked");
	if (v->require_signed_certificate_timestamp)
		tls_note(t, "require_signed_certificate_timestamp: not looked at");
	int code = roots(t, v, secret_follows);
	if (code == 0)
		code = pins(t, v);
	if (code == 0)
		code = names(t, v);
	if (code == 0 && server_name && t->want->nrules)
		tls_note(t, "match_subject_alt_names: auto_sni_san_validation takes their place");
	return code;
}

static int combined(struct tls_reading *t, const Pb__CommonTlsContext__CombinedCertificateValidationContext *c, bool server_name)
{
	static const char field[] = "common_tls_context.combined_validation_context";
	bool secret = c->validation_context_sds_secret_config;
	int code = c->default_validation_context ? context(t, c->default_validation_context, server_name, secret) : tls_refuse(t, -EINVAL, field, "default_validation_context: missing");
	if (code < 0)
		return code;
	bool named = t->want->roots.from == SECRET_INSTANCE;
	if (secret) {
		code = tls_secret_sds(t, c->validation_context_sds_secret_config, "common_tls_context.combined_validation_context.validation_context_sds_secret_config", &t->want->roots,
			SECRET_ROOTS);
		return code < 0 ? code : crl_beside(t, c->default_validation_context->crl);
	}
	if (c->validation_context_certificate_provider_instance && !named) /* deprecated: the other one goes before it */
		return tls_secret_instance(t, c->validation_context_certificate_provider_instance,
			"common_tls_context.combined_validation_context.validation_context_certificate_provider_instance", &t->want->roots, SECRET_ROOTS);
	if (c->validation_context_certificate_provider)
		tls_unbuilt(t, "combined_validation_context.validation_context_certificate_provider");
	return 0;
}

static int read_any(struct tls_reading *t, const Pb__CommonTlsContext *c, bool server_name)
{
	switch (c->validation_context_type_case) {
	case PB__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT: return context(t, c->validation_context, server_name, false);
	case PB__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_COMBINED_VALIDATION_CONTEXT: return combined(t, c->combined_validation_context, server_name);
	case PB__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_SDS_SECRET_CONFIG:
		return tls_secret_sds(t, c->validation_context_sds_secret_config, "common_tls_context.validation_context_sds_secret_config", &t->want->roots, SECRET_ROOTS);
	case PB__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_CERTIFICATE_PROVIDER_INSTANCE:
		return tls_secret_instance(t, c->validation_context_certificate_provider_instance, "common_tls_context.validation_context_certificate_provider_instance",
			&t->want->roots, SECRET_ROOTS);
	case PB__COMMON_TLS_CONTEXT__VALIDATION_CONTEXT_TYPE_VALIDATION_CONTEXT_CERTIFICATE_PROVIDER: tls_unbuilt(t, "validation_context_certificate_provider"); return 0;
	default: return 0; /* none: nobody is verified */
	}
}

/* The one domain of a SPIFFE validator: its roots speak for it alone. Names are alternatives, so it cannot stand among others: those have to be of it by themselves. */
static void keep_to_domain(struct tls_reading *t)
{
	struct tls_want *w = t->want;
	if (w->names != TLS_NAMES_RULES) {
		tls_want_rule(w, TLS_NAME_URI, TLS_PREFIX, t->domain);
		t->r->kept += sizeof(*w->rules) + t->domain.n + 1;
		w->names = TLS_NAMES_RULES;
		return;
	}
	for (uint32_t i = 0; i < w->nrules; i++) {
		struct tls_rule *rule = &w->rules[i];
		if ((rule->kind != TLS_EXACT && rule->kind != TLS_PREFIX) || !str_starts(str_of(rule->text), t->domain))
			tls_unbuilt(t, "custom_validator_config: a trust domain together with names that do not begin with it");
	}
}

static int settle(struct tls_reading *t, bool server_name)
{
	struct tls_want *w = t->want;
	if (t->anybody) { /* Envoy's word for "tell, and let in" */
		tls_note(t, "trust_chain_verification ACCEPT_UNTRUSTED: any certificate is accepted");
		tls_secret(t, &w->roots, SECRET_ROOTS, SECRET_NOWHERE, STR(""));
		w->names = TLS_NAMES_ANY;
		for (uint32_t i = 0; i < w->npins; i++)
			free(w->pins[i]);
		w->npins = 0;
		return 0;
	}
	if (w->names == TLS_NAMES_RULES && w->roots.from == SECRET_NOWHERE && !w->unbuilt)
		return tls_refuse(t, -EINVAL, VALIDATION, "match_subject_alt_names without roots: anybody can write a name");
	if (t->domain.n)
		keep_to_domain(t);
	if (server_name) {
		if (t->domain.n)
			tls_unbuilt(t, "custom_validator_config: a trust domain together with auto_sni_san_validation");
		w->names = TLS_NAMES_SERVER;
	} else if (w->names != TLS_NAMES_RULES && t->own_roots) {
		w->names = TLS_NAMES_DOMAIN;
	}
	if (w->names == TLS_NAMES_ANY && !w->npins)
		tls_note(t, w->roots.from == SECRET_NOWHERE ? "no trusted_ca: any certificate is accepted" : "no match_subject_alt_names: any certificate of the roots is accepted");
	return 0;
}

int tls_peer_read(struct tls_reading *t, const Pb__CommonTlsContext *c, bool server_name)
{
	int code = read_any(t, c, server_name);
	if (code == 0)
		code = settle(t, server_name);
	free((char *)(uintptr_t)t->domain.p);
	t->domain = STR("");
	return code;
}
