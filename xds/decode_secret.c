/* xds/decode_secret: see the header. Field numbers: envoy/extensions/transport_sockets/tls/v3/{secret,common,tls_spiffe_validator_config}.proto.
 *
 * guard_check holds the bytes against xds/proto/secret.proto first (wire types, depth, texts, doubles), which allocates nothing; the walk below then takes what it knows by
 * number, the last one of a field as protobuf has it. No tree is built, for protobuf-c would copy the key. */
#include "xds/decode_secret.h"

#include <errno.h>

#include "base/err.h"
#include "xds/guard.h"
#include "xds/proto/secret.pb-c.h"
#include "xds/wire.h"

enum { SECRET_NAME_FIELD = 1, SECRET_TLS_CERTIFICATE = 2, SECRET_TICKET_KEYS = 3, SECRET_VALIDATION = 4, SECRET_GENERIC = 5 };
enum { CERT_CHAIN = 1, CERT_KEY = 2, CERT_PASSWORD = 3, CERT_KEY_PROVIDER = 6, CERT_PKCS12 = 8 };
enum { VALID_TRUSTED_CA = 1, VALID_HASH = 2, VALID_SPKI = 3, VALID_CRL = 7, VALID_EXPIRED = 8, VALID_NAMES = 9, VALID_CHAIN = 10, VALID_VALIDATOR = 12, VALID_INSTANCE = 13, VALID_TYPED_NAMES = 15,
	VALID_SYSTEM = 17 };
enum { DATA_FILENAME = 1, DATA_BYTES = 2, DATA_STRING = 3, DATA_VARIABLE = 4 };
enum { DOMAIN_NAME_MAX = 255, ESTIMATE_MAX = 64 << 20 /* of a tree that nobody builds: what bounds the walk is the size of the bytes */ };

static int refuse(struct sb *problems, int code, const char *field, const char *why)
{
	sb_fmt(problems, "%s: %s", field, why);
	return code;
}

static void note(struct sb *notes, const char *text)
{
	if (notes)
		sb_fmt(notes, "%s%s", notes->n ? "; " : "", text);
}

/* net/tls names what is wrong over several lines: here it is part of one. */
static int told(struct sb *problems, int code, const char *field, struct err *err)
{
	sb_fmt(problems, "%s: ", field);
	for (const char *p = err_any(err) ? err_str(err) : "cannot be used\n"; *p; p++) {
		if (*p == '\n' && p[1])
			sb_str(problems, "; ");
		else if (*p != '\n')
			sb_char(problems, *p);
	}
	err_clear(err);
	return code;
}

/* core.v3.DataSource: bytes that stand there. 1: some; 0: the field is not there; negative: refused. Files are the business of who stands where they lie: a server's paths are not ours. */
static int data(bool is_there, struct str message, const char *field, struct str *ret, struct sb *problems)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	uint32_t which = 0;
	*ret = STR("");
	if (!is_there)
		return 0;
	while (wire_next(&w, &f) > 0)
		if (f.number >= DATA_FILENAME && f.number <= DATA_VARIABLE && f.type == WIRE_BYTES) {
			which = f.number;
			*ret = f.bytes;
		}
	switch (which) {
	case DATA_BYTES:
	case DATA_STRING: return ret->n ? 1 : refuse(problems, -EINVAL, field, "empty");
	case DATA_FILENAME: return refuse(problems, -ENOTSUP, field, "a file of the server's: its bytes have to be sent");
	case DATA_VARIABLE: return refuse(problems, -ENOTSUP, field, "a variable of the environment");
	default: return refuse(problems, -EINVAL, field, "says no source");
	}
}

/* ---- a certificate ---- */

static int certificate(struct str message, struct tls_cert **ret, struct sb *problems)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	struct str parts[CERT_PKCS12 + 1] = {{0}}, chain, key;
	bool has[CERT_PKCS12 + 1] = {false};
	while (wire_next(&w, &f) > 0)
		if (f.number <= CERT_PKCS12 && f.type == WIRE_BYTES) {
			has[f.number] = true;
			parts[f.number] = f.bytes;
		}
	if (has[CERT_PASSWORD] || has[CERT_KEY_PROVIDER] || has[CERT_PKCS12])
		return refuse(problems, -ENOTSUP, has[CERT_PASSWORD] ? "tls_certificate.password" : has[CERT_KEY_PROVIDER] ? "tls_certificate.private_key_provider" : "tls_certificate.pkcs12",
			"not supported");
	int code = data(has[CERT_CHAIN], parts[CERT_CHAIN], "tls_certificate.certificate_chain", &chain, problems);
	if (code == 0)
		code = refuse(problems, -EINVAL, "tls_certificate.certificate_chain", "missing");
	if (code > 0)
		code = data(has[CERT_KEY], parts[CERT_KEY], "tls_certificate.private_key", &key, problems);
	if (code == 0)
		code = refuse(problems, -EINVAL, "tls_certificate.private_key", "missing");
	if (code < 0)
		return code;
	struct err err = ERR_INIT;
	code = tls_cert_new("certificate_chain", chain, key, ret, &err);
	if (code < 0)
		return told(problems, code, "tls_certificate", &err);
	err_clear(&err);
	return 0;
}

/* ---- roots ---- */

static int add_roots(struct tls_trust **trust, struct str pem, const char *domain, const char *field, struct sb *problems)
{
	struct err err = ERR_INIT;
	int code = *trust ? tls_trust_more(*trust, "trust_bundle", pem, domain, &err) : tls_trust_new(domain ? "trust_bundle" : "trusted_ca", pem, domain, trust, &err);
	if (code < 0)
		return told(problems, code, field, &err);
	err_clear(&err);
	return 0;
}

/* With what is revoked: net/tls takes both from one text. A bundle is no secret: it may be copied. */
static int add_roots_and_crl(struct tls_trust **trust, struct str pem, struct str crl, const char *domain, const char *field, struct sb *problems)
{
	if (!crl.n)
		return add_roots(trust, pem, domain, field, problems);
	struct sb both = {0};
	sb_add(&both, pem.p, pem.n);
	sb_char(&both, '\n');
	sb_add(&both, crl.p, crl.n);
	int code = add_roots(trust, sb_view(&both), domain, field, problems);
	sb_end(&both);
	return code;
}

static int trust_domain(struct str message, struct str crl, struct tls_trust **trust, struct sb *problems)
{
	static const char field[] = "validation_context.custom_validator_config.trust_domains";
	struct str name = STR(""), bundle = STR(""), pem;
	struct wire w = wire_of(message);
	struct wire_field f;
	bool has_bundle = false;
	char text[DOMAIN_NAME_MAX + 1];
	while (wire_next(&w, &f) > 0) {
		if (f.number == 1 && f.type == WIRE_BYTES) {
			name = f.bytes;
		} else if (f.number == 2 && f.type == WIRE_BYTES) {
			has_bundle = true;
			bundle = f.bytes;
		}
	}
	if (!name.n || name.n > DOMAIN_NAME_MAX || memchr(name.p, '/', name.n) || !wire_is_text(name))
		return refuse(problems, -EINVAL, field, "name: empty, or none");
	int code = data(has_bundle, bundle, "validation_context.custom_validator_config.trust_domains.trust_bundle", &pem, problems);
	if (code == 0)
		code = refuse(problems, -EINVAL, field, "trust_bundle: missing");
	if (code < 0)
		return code;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	return add_roots_and_crl(trust, pem, crl, text, field, problems);
}

/* core.v3.TypedExtensionConfig{2 Any{1 type_url, 2 value}}: SPIFFECertValidatorConfig{1 trust_domains, 2 trust_bundles}, which is how SPIRE says its roots (istio.md 3.2). */
static int validator(struct str message, struct str crl, struct tls_trust **trust, struct sb *problems)
{
	static const char field[] = "validation_context.custom_validator_config";
	static const char type[] = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
	struct str any = STR(""), url = STR(""), value = STR("");
	const char *why = "malformed";
	size_t estimate;
	uint32_t count = 0;
	int code = 0;
	if (wire_last_bytes(message, 2, &any) < 0 || wire_last_bytes(any, 1, &url) < 0 || wire_last_bytes(any, 2, &value) < 0)
		return refuse(problems, ERR_MALFORMED, field, why);
	ptrdiff_t slash = str_rfind(url, '/');
	if (slash < 0 || !str_is(str_cut(url, (size_t)slash + 1, url.n), type))
		return refuse(problems, -ENOTSUP, field, "a validator that is not built");
	if ((code = guard_check(&pb__spiffe_cert_validator_config__descriptor, value, ESTIMATE_MAX, &estimate, &why)) < 0)
		return refuse(problems, code, field, why);
	struct wire w = wire_of(value);
	struct wire_field f;
	while (code == 0 && wire_next(&w, &f) > 0) {
		if (f.number == 2)
			return refuse(problems, -ENOTSUP, field, "trust_bundles: not supported");
		if (f.number != 1 || f.type != WIRE_BYTES)
			continue;
		if (++count > SECRET_DOMAINS_MAX)
			return refuse(problems, ERR_LIMIT, field, "too many trust_domains");
		code = trust_domain(f.bytes, crl, trust, problems);
	}
	return code == 0 && !count ? refuse(problems, -EINVAL, field, "trust_domains: empty") : code;
}

/* A context whose words would loosen or bind more than roots do: its names are not heeded (those of the cluster are), and who says "let in anybody" is not obeyed. */
static int validation(struct str message, struct tls_trust **ret, struct sb *problems, struct sb *notes)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	struct str parts[VALID_SYSTEM + 1] = {{0}}, pem, crl;
	bool has[VALID_SYSTEM + 1] = {false};
	while (wire_next(&w, &f) > 0)
		if (f.number <= VALID_SYSTEM) {
			has[f.number] = f.type == WIRE_BYTES || f.value;
			parts[f.number] = f.bytes;
		}
	if (has[VALID_NAMES] || has[VALID_TYPED_NAMES] || has[VALID_HASH] || has[VALID_SPKI])
		note(notes, "validation_context: names and hashes are taken from clusters alone");
	if (has[VALID_CHAIN] || has[VALID_EXPIRED])
		note(notes, "validation_context: trust_chain_verification and allow_expired_certificate are taken from clusters alone");
	if (has[VALID_INSTANCE])
		return refuse(problems, -ENOTSUP, "validation_context.ca_certificate_provider_instance", "roots in a secret have to be sent");
	int code = data(has[VALID_CRL], parts[VALID_CRL], "validation_context.crl", &crl, problems);
	if (code < 0)
		return code;
	struct tls_trust *trust = NULL;
	if (has[VALID_VALIDATOR]) {
		code = validator(parts[VALID_VALIDATOR], crl, &trust, problems);
	} else if (has[VALID_TRUSTED_CA]) {
		code = data(true, parts[VALID_TRUSTED_CA], "validation_context.trusted_ca", &pem, problems);
		if (code > 0)
			code = add_roots_and_crl(&trust, pem, crl, NULL, "validation_context.trusted_ca", problems);
	} else if (has[VALID_SYSTEM] && !crl.n) {
		struct err err = ERR_INIT;
		trust = tls_trust_system(&err);
		code = trust ? 0 : told(problems, -ENOENT, "validation_context.system_root_certs", &err);
		err_clear(&err);
	} else {
		code = refuse(problems, -EINVAL, "validation_context", "it has no roots");
	}
	if (code < 0)
		tls_trust_unref(&trust);
	else
		*ret = trust;
	return code < 0 ? code : 0;
}

/* ---- a secret ---- */

int secret_decode(struct str secret, enum secret_kind want, struct tls_cert **ret_cert, struct tls_trust **ret_trust, struct str *ret_name, struct sb *problems, struct sb *notes)
{
	struct wire w = wire_of(secret);
	struct wire_field f;
	struct str body = STR("");
	const char *why = "malformed";
	uint32_t type = 0;
	size_t estimate;
	*ret_cert = NULL;
	*ret_trust = NULL;
	*ret_name = STR("");
	int code = guard_check(&pb__secret__descriptor, secret, secret.n < ESTIMATE_MAX ? 2 * secret.n + ESTIMATE_MAX : ESTIMATE_MAX, &estimate, &why);
	while (wire_next(&w, &f) > 0) {
		if (f.type != WIRE_BYTES)
			continue;
		if (f.number == SECRET_NAME_FIELD)
			*ret_name = f.bytes;
		if (f.number < SECRET_TLS_CERTIFICATE || f.number > SECRET_GENERIC)
			continue;
		type = f.number;
		body = f.bytes;
	}
	if (code < 0)
		return refuse(problems, code, "secret", why);
	switch (type) {
	case SECRET_TLS_CERTIFICATE:
		return want == SECRET_CERT ? certificate(body, ret_cert, problems) : refuse(problems, -EINVAL, "tls_certificate", "it is a certificate, where roots were asked for");
	case SECRET_VALIDATION:
		return want == SECRET_ROOTS ? validation(body, ret_trust, problems, notes) : refuse(problems, -EINVAL, "validation_context", "it is roots, where a certificate was asked for");
	case SECRET_TICKET_KEYS: return refuse(problems, -ENOTSUP, "session_ticket_keys", "not supported");
	case SECRET_GENERIC: return refuse(problems, -ENOTSUP, "generic_secret", "not supported");
	default: return refuse(problems, -EINVAL, "secret", "it holds nothing");
	}
}
