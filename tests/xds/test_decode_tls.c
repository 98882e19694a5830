/* xds/decode_tls: what of an UpstreamTlsContext becomes a tls_want, row by row, as one line of text; what breaks a rule, with its field; what is not built, which is never plaintext; and
 * what a real istiod says. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "conf/regex.h"
#include "tests/unit.h"
#include "tests/xds/wiretext.h"
#include "xds/decode.h"

#define T "type.googleapis.com/envoy."
#define NAME "outbound|50051||demo.default.svc.cluster.local"
#define SNI " sni=outbound_.50051_._.demo.default.svc.cluster.local"
#define TLS_TYPE "'" T "extensions.transport_sockets.tls.v3.UpstreamTlsContext'"
#define TLS(config) "1:'envoy.transport_sockets.tls' 3:{1:" TLS_TYPE " 2:{" config "}}"
#define RAW "1:'envoy.transport_sockets.raw_buffer' 3:{1:'" T "extensions.transport_sockets.raw_buffer.v3.RawBuffer'}"
#define SPIFFE(config) "12:{1:'envoy.tls.cert_validator.spiffe' 2:{1:'" T "extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig' 2:{" config "}}}"
/* sds_config: an api_config_source, ads, self, a file */
#define API "2:{2:{1:2} 6:2}"
#define ADS "2:{3:{}}"
#define SELF "2:{5:{}}"
#define FROM_PATH "2:{8:{1:'/etc/sds.yaml'}}"
#define OWN_CERT "6:{1:'default' " API "} "
#define OWN_ROOTS "7:{1:'ROOTCA' " API "} "
#define BOTH(names) "8:{1:{" names "} 2:{1:'ROOTCA' " API "}} "
#define CA "1:{1:'/ca.pem'} " /* trusted_ca by name of a file */

struct rig { struct account account; struct endpoint_metas *metas; char why[512]; };

static void rig_begin(struct rig *r)
{
	*r = (struct rig){0};
	account_init(&r->account, NULL, "test", SIZE_MAX);
	r->metas = endpoint_metas_new(&r->account, 7);
}

static void rig_end(struct rig *r)
{
	endpoint_metas_free(&r->metas);
	ck_assert_uint_eq(r->account.used, 0);
	account_end(&r->account);
}

static int decode_bytes(struct rig *r, enum xds_profile profile, struct str bytes, struct cluster_decoded **ret)
{
	struct sb problems = {0};
	*ret = NULL;
	char *exact = malloc(bytes.n ? bytes.n : 1);
	memcpy(exact, bytes.p ? bytes.p : "", bytes.n);
	int code = decode_cluster(exact, bytes.n, &r->account, r->metas, profile, ret, &problems);
	free(exact);
	snprintf(r->why, sizeof(r->why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	ck_assert((code == 0) == (*ret != NULL));
	sb_end(&problems);
	return code;
}

/* An EDS cluster with those fields behind its name. */
static int decode(struct rig *r, enum xds_profile profile, const char *text, struct cluster_decoded **ret)
{
	struct sb m = {0};
	wiretext(&m, "1:'" NAME "' 2:3 3:{1:{3:{}}}");
	wiretext(&m, text);
	int code = decode_bytes(r, profile, sb_view(&m), ret);
	sb_end(&m);
	return code;
}

static void describe_ref(struct sb *out, const char *what, const struct secret_ref *ref)
{
	if (ref->from == SECRET_NOWHERE)
		return;
	sb_fmt(out, " %s=%s", what, secret_from_name(ref->from));
	for (const char *p = ref->name[0] ? ref->name : NULL; p && (p == ref->name || *p); p++) {
		if (p == ref->name)
			sb_char(out, ':');
		sb_char(out, *p == '\n' ? '+' : *p);
	}
}

static void describe(struct sb *out, const struct tls_want *w)
{
	static const char *const names[] = {" names=server", "", " names=domain", ""}, *const on[] = {"any", "uri", "dns", "ip", "email"};
	static const char *const kinds[] = {"exact", "prefix", "suffix", "contains", "regex"};
	out->n = 0;
	if (!w) {
		sb_str(out, " plaintext");
		return;
	}
	describe_ref(out, "cert", &w->cert);
	describe_ref(out, "roots", &w->roots);
	if (w->sni)
		sb_fmt(out, " sni=%s", w->sni);
	if (w->host_sni)
		sb_str(out, " host_sni");
	if (strcmp(w->alpn, "h2") != 0)
		sb_fmt(out, " alpn=%s", w->alpn);
	sb_str(out, names[w->names]);
	for (uint32_t i = 0; w->names == TLS_NAMES_RULES && i < w->nrules; i++)
		sb_fmt(out, " %s:%s%s:%s", on[w->rules[i].on], kinds[w->rules[i].kind], w->rules[i].ignore_case ? "~" : "", w->rules[i].text);
	if (w->names == TLS_NAMES_RULES && !w->nrules)
		sb_str(out, " nobody");
	for (uint32_t i = 0; i < w->npins; i++)
		sb_fmt(out, " %.16s", w->pins[i]);
	if (w->min == 0x0304)
		sb_str(out, " min=1.3");
	if (w->max == 0x0303)
		sb_str(out, " max=1.2");
	if (w->expired_ok)
		sb_str(out, " expired_ok");
	if (w->issuers)
		sb_fmt(out, " issuers=%u", w->issuers - 1);
	if (w->unbuilt)
		sb_fmt(out, " UNBUILT %s", w->unbuilt);
}

struct row { const char *text, *want, *notes; /* NULL: none */ };

static void look(enum xds_profile profile, const struct row *rows, size_t count)
{
	struct rig r;
	struct sb got = {0};
	rig_begin(&r);
	for (size_t i = 0; i < count; i++) {
		struct cluster_decoded *c;
		char text[4096];
		snprintf(text, sizeof(text), "24:{1:'envoy.transport_sockets.tls' 3:{1:" TLS_TYPE " 2:{%s}}}", rows[i].text);
		decode(&r, profile, text, &c);
		ck_assert_msg(c != NULL, "%s: %s", rows[i].text, r.why);
		ck_assert(c->spec->want && c->spec->want->hash);
		describe(&got, c->spec->want);
		ck_assert_msg(str_is(sb_view(&got), rows[i].want), "%s:\n%.*s\n%s", rows[i].text, (int)got.n, got.n ? got.p : "", rows[i].want);
		if (rows[i].notes)
			ck_assert_msg(c->notes && strstr(c->notes, rows[i].notes), "%s: %s", rows[i].text, c->notes);
		cluster_decoded_free(&c);
	}
	sb_end(&got);
	rig_end(&r);
}

START_TEST(a_context_becomes_a_want)
{
	static const struct row rows[] = {
		/* nothing is said: as Envoy, encrypted and nobody is verified; told */
		{"", "", "no trusted_ca: any certificate is accepted"},
		{"2:'sni.test'", " sni=sni.test", NULL},
		{"6:1 2:'sni.test'", " sni=sni.test host_sni", NULL},
		{"7:1 2:'sni.test' 1:{3:{" CA "}}", " roots=files:/ca.pem sni=sni.test names=server", NULL},
		{"7:1 1:{3:{" CA "9:{1:'x'}}}", " roots=files:/ca.pem names=server", "auto_sni_san_validation takes their place"},
		/* what is shown */
		{"1:{2:{1:{1:'/chain.pem'} 2:{1:'/key.pem'}}}", " cert=files:/chain.pem+/key.pem", NULL},
		{"1:{2:{1:{2:'CHAIN'} 2:{3:'KEY'}}}", " cert=inline:CHAIN+KEY", NULL},
		{"1:{2:{1:{2:'CHAIN'} 2:{3:'KEY'}} 2:{1:{2:'A'} 2:{3:'B'}}}", " cert=inline:CHAIN+KEY", "the first one is shown"},
		{"1:{6:{1:'mine' " API "}}", " cert=sds:mine", NULL},
		{"1:{6:{1:'mine' " FROM_PATH "}}", " cert=sds:mine", NULL},
		{"1:{6:{1:'mine'}}", " cert=sds:mine", NULL},
		{"1:{6:{1:'mine' " ADS "}}", " cert=ads:mine", NULL},
		{"1:{6:{1:'mine' " SELF "} 6:{1:'other' " API "}}", " cert=ads:mine", "the first one is shown"},
		{"1:{6:{1:'default' " ADS "} 7:{1:'ROOTCA' " ADS "}}", " cert=ads:default roots=ads:ROOTCA", "any certificate of the roots"},
		{"1:{6:{1:'file-cert:/c~/k' " API "}}", " cert=sds:file-cert:/c~/k", NULL},
		{"1:{14:{1:'google' 2:'x'} 11:{1:'older'}}", " cert=instance:google", NULL},
		{"1:{11:{1:'older'}}", " cert=instance:older", NULL},
		{"1:{2:{1:{1:'/c'} 2:{3:'KEY'}}}", " UNBUILT tls_certificates: the chain and the key from different kinds of sources is not built", NULL},
		{"1:{2:{1:{4:'V'} 2:{3:'KEY'}}}", " UNBUILT tls_certificates: environment_variable is not built", NULL},
		{"1:{2:{8:{1:'/x.p12'}}}", " UNBUILT tls_certificates.pkcs12 is not built", NULL},
		{"1:{2:{6:{1:'hsm'}}}", " UNBUILT tls_certificates.private_key_provider is not built", "connections fail"},
		{"1:{9:{1:'x'}}", " UNBUILT tls_certificate_certificate_provider is not built", NULL},
		/* whom to trust */
		{"1:{3:{" CA "}}", " roots=files:/ca.pem", "any certificate of the roots"},
		{"1:{3:{1:{3:'PEM'}}}", " roots=inline:PEM", NULL},
		{"1:{3:{1:{2:'PEM'} 7:{3:'CRL'}}}", " roots=inline:PEM+CRL", NULL},
		{"1:{3:{" CA "7:{1:'/crl.pem'}}}", " roots=files:/ca.pem+/crl.pem", NULL},
		{"1:{3:{" CA "7:{3:'CRL'}}}", " UNBUILT crl from another kind of source than trusted_ca is not built", NULL},
		{"1:{3:{7:{3:'CRL'}}}", " UNBUILT crl without trusted_ca beside it is not built", NULL},
		{"1:{3:{17:{}}}", " roots=system", NULL},
		{"1:{3:{17:{} 13:{1:'google' 2:'ca'}}}", " roots=instance:google", NULL},
		{"1:{7:{1:'roots' " API "}}", " roots=sds:roots", NULL},
		{"1:{7:{1:'roots' " ADS "}}", " roots=ads:roots", NULL},
		{"1:{12:{1:'older'}}", " roots=instance:older", NULL},
		{"1:{10:{}}", " UNBUILT validation_context_certificate_provider is not built", NULL},
		/* the roots of the secret go before those of the cluster, whose names stay */
		{"1:{8:{1:{" CA "9:{1:'x'}} 2:{1:'roots' " ADS "}}}", " roots=ads:roots any:exact:x", NULL},
		{"1:{8:{1:{13:{1:'new'} 9:{1:'x'}} 4:{1:'old'}}}", " roots=instance:new any:exact:x", NULL},
		{"1:{8:{1:{9:{1:'x'}} 4:{1:'old'}}}", " roots=instance:old any:exact:x", NULL},
		{"1:{8:{1:{7:{3:'CRL'}} 2:{1:'roots' " ADS "}}}", " roots=ads:roots UNBUILT crl beside roots of a secret is not built", NULL},
		{"1:{8:{1:{" CA "7:{1:'/crl'}} 2:{1:'roots' " ADS "}}}", " roots=ads:roots UNBUILT crl beside roots of a secret is not built", NULL},
		/* names */
		{"1:{3:{" CA "9:{1:'a'} 9:{2:'b' 6:1} 9:{3:'c'} 9:{7:'d'} 9:{5:{2:'e.*'}}}}", " roots=files:/ca.pem any:exact:a any:prefix~:b any:suffix:c any:contains:d any:regex:e.*", NULL},
		{"1:{3:{" CA "15:{1:1 2:{1:'a@b'}} 15:{1:2 2:{3:'.test'}} 15:{1:3 2:{1:'spiffe://x/y'}} 15:{1:4 2:{1:'10.0.0.1'}}}}",
			" roots=files:/ca.pem email:exact:a@b dns:suffix:.test uri:exact:spiffe://x/y ip:exact:10.0.0.1", NULL},
		{"1:{3:{" CA "15:{1:5 2:{1:'x'} 3:'1.2'}}}", " roots=files:/ca.pem nobody", "OTHER_NAME fits nobody"},
		{"1:{3:{" CA "9:{8:{1:'custom'}}}}", " roots=files:/ca.pem nobody", "a custom matcher fits nobody"},
		{"1:{3:{" CA "10:1 9:{1:'a'}}}", "", "ACCEPT_UNTRUSTED: any certificate is accepted"},
		{"1:{3:{" CA "8:1}}", " roots=files:/ca.pem expired_ok", NULL},
		{"1:{3:{2:'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'}}", " sha256:001122334", NULL},
		{"1:{3:{2:'00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF'}}", " sha256:001122334", NULL},
		{"1:{3:{3:'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='}}", " spki:00010203040", NULL},
		/* SPIFFE's validator: its roots speak for its domain */
		{"1:{3:{" SPIFFE("1:{1:'a.test' 2:{3:'PEM'}}") "}}", " roots=inline:PEM uri:prefix:spiffe://a.test/", NULL},
		{"1:{3:{" SPIFFE("1:{1:'a.test' 2:{1:'/a.pem'}}") " 9:{1:'spiffe://a.test/x'}}}", " roots=files:/a.pem any:exact:spiffe://a.test/x", NULL},
		{"1:{3:{" SPIFFE("1:{1:'a.test' 2:{1:'/a.pem'}}") " 9:{1:'spiffe://b.test/x'}}}",
			" roots=files:/a.pem any:exact:spiffe://b.test/x UNBUILT custom_validator_config: a trust domain together with names that do not begin with it is not built", NULL},
		{"1:{3:{" SPIFFE("1:{1:'a.test' 2:{3:'PEM'}} 1:{1:'b.test' 2:{3:'PEM'}}") "}}", " uri:prefix:spiffe://a.test/ UNBUILT custom_validator_config: several trust_domains ('a.test', 'b.test') inside of a cluster, instead of in a secret, is not built",
			NULL},
		{"1:{3:{12:{1:'mine' 2:{1:'x/Mine'}}}}", " UNBUILT custom_validator_config 'mine' is not built", NULL},
		/* versions */
		{"1:{1:{1:3 2:4}}", "", NULL},
		{"1:{1:{1:4}}", " min=1.3", NULL},
		{"1:{1:{1:1 2:3}}", " max=1.2", "tls_minimum_protocol_version: TLS 1.2"},
		{"1:{1:{2:2}}", " UNBUILT tls_maximum_protocol_version: TLS 1.1 is not built", NULL},
		{"1:{1:{3:'ECDHE-RSA-AES128-GCM-SHA256'}}", "", "ciphers"},
		/* protocols: ours first, and none that we do not speak */
		{"1:{4:'h2'}", "", NULL},
		{"1:{4:'h2' 4:'http/1.1'}", "", NULL},
		{"1:{4:'http/1.1'}", "", "h2 is offered first"},
		{"1:{4:'mine' 4:'h2'}", " alpn=mine,h2", NULL},
		{"1:{4:'mine'}", " alpn=h2,mine", "h2 is offered first"},
		{"1:{4:'istio-peer-exchange' 4:'istio' 4:'h2'}", SNI " alpn=istio-h2,istio,h2", NULL},
		/* what is not built */
		{"1:{13:{1:'mine'}}", " UNBUILT custom_handshaker 'mine' is not built", NULL},
		{"1:{16:{1:'mine'}}", " UNBUILT custom_tls_certificate_selector 'mine' is not built", NULL},
		/* what has no effect */
		{"3:1 4:{1:5} 5:{1:1} 1:{15:{1:'/log'}}", "", "allow_renegotiation: never; max_session_keys: as many as net/tls keeps; enforce_rsa_key_usage: key usage is looked at in any case; key_log: never"},
		{"1:{3:{" CA "6:{1:1} 14:1 16:{1:3}}}", " roots=files:/ca.pem issuers=3", "only_verify_leaf_cert_crl"},
		{"1:{3:{" CA "16:{}}}", " roots=files:/ca.pem issuers=0", NULL},
		{"1:{3:{" CA "16:{1:100}}}", " roots=files:/ca.pem issuers=100", NULL},
		{"1:{8:{1:{16:{1:1}} 2:{1:'roots' " ADS "}}}", " roots=ads:roots issuers=1", NULL},
	};
	look(PROFILE_GENERIC, rows, UNIT_COUNT(rows));
}
END_TEST

START_TEST(istio_means_its_own_certificates_and_its_own_protocols)
{
	static const struct row rows[] = {
		/* as istiod writes a mesh's endpoints: names, and none */
		{"1:{1:{1:3 2:4} " OWN_CERT BOTH("9:{1:'spiffe://cluster.local/ns/default/sa/demo'}") "4:'istio-peer-exchange' 4:'istio' 4:'h2'} 2:'sni.test'",
			" cert=sds:default roots=sds:ROOTCA sni=sni.test alpn=istio-h2,istio,h2 any:exact:spiffe://cluster.local/ns/default/sa/demo", NULL},
		{"1:{" OWN_CERT BOTH("") "4:'istio-peer-exchange' 4:'istio' 4:'h2'}", " cert=sds:default roots=sds:ROOTCA" SNI " alpn=istio-h2,istio,h2 names=domain", NULL},
		{"1:{" OWN_CERT OWN_ROOTS "}", " cert=sds:default roots=sds:ROOTCA" SNI " alpn=istio-h2,istio,h2 names=domain", NULL},
		/* wherever they are said to come from */
		{"1:{6:{1:'default' " ADS "} 7:{1:'ROOTCA' " ADS "}}", " cert=sds:default roots=sds:ROOTCA" SNI " alpn=istio-h2,istio,h2 names=domain", NULL},
		{"1:{6:{1:'default'} 7:{1:'ROOTCA'}}", " cert=sds:default roots=sds:ROOTCA" SNI " alpn=istio-h2,istio,h2 names=domain", NULL},
		/* as istiod says it to clients of gRPC */
		{"1:{14:{1:'default' 2:'default'} 11:{1:'default' 2:'default'} 8:{1:{13:{1:'default' 2:'ROOTCA'} 9:{1:'spiffe://x/y'}} 4:{1:'default' 2:'ROOTCA'}}}",
			" cert=instance:default roots=instance:default" SNI " alpn=istio-h2,istio,h2 any:exact:spiffe://x/y", NULL},
		/* others: no trust domain, no mesh's protocols */
		{"1:{4:'h2' 8:{1:{9:{1:'tls.test'}} 2:{1:'file-root:/etc/ca.pem' " API "}}} 2:'tls.test'", " roots=files:/etc/ca.pem sni=tls.test any:exact:tls.test", NULL},
		/* and a rule's caCrl, which is a file too */
		{"1:{4:'h2' 8:{1:{9:{1:'tls.test'} 7:{1:'/etc/ca.crl'}} 2:{1:'file-root:/etc/ca.pem' " API "}}} 2:'tls.test'", " roots=files:/etc/ca.pem+/etc/ca.crl sni=tls.test any:exact:tls.test", NULL},
		{"1:{8:{1:{9:{1:'tls.test'} 7:{3:'CRL'}} 2:{1:'file-root:/etc/ca.pem' " API "}}}", " roots=files:/etc/ca.pem any:exact:tls.test UNBUILT crl beside roots of a secret is not built", NULL},
		{"1:{8:{1:{9:{1:'tls.test'} 7:{1:'/etc/ca.crl'}} 2:{1:'file-root:system' " API "}}}", " roots=system any:exact:tls.test UNBUILT crl beside roots of a secret is not built", NULL},
		{"1:{8:{1:{9:{1:'tls.test'} 7:{1:'/etc/ca.crl'}} 2:{1:'ROOTCA' " API "}}}", " roots=sds:ROOTCA any:exact:tls.test UNBUILT crl beside roots of a secret is not built", NULL},
		{"1:{6:{1:'file-cert:/c.pem~/k.pem' " API "} 7:{1:'file-root:system' " API "}}", " cert=files:/c.pem+/k.pem roots=system", "any certificate of the roots"},
		{"1:{6:{1:'kubernetes://mine' " ADS "} 7:{1:'kubernetes://mine-cacert' " ADS "}}", " cert=ads:kubernetes://mine roots=ads:kubernetes://mine-cacert", NULL},
		{"1:{6:{1:'file-cert:/c.pem' " API "}}", " cert=sds:file-cert:/c.pem", NULL},
		{"1:{3:{" CA "}}", " roots=files:/ca.pem", NULL},
	};
	look(PROFILE_ISTIO, rows, UNIT_COUNT(rows));
	look(PROFILE_ISTIO_GRPC, rows, UNIT_COUNT(rows));
}
END_TEST

START_TEST(what_breaks_a_rule_is_refused_with_its_field)
{
	static const struct { const char *text, *why; } rows[] = {
		{"24:{" TLS("1:{6:{1:''}}") "}", "transport_socket.common_tls_context.tls_certificate_sds_secret_configs: name: empty"},
		{"24:{" TLS("1:{6:{1:'x' 2:{3:{} 6:7}}}") "}", "transport_socket.common_tls_context.tls_certificate_sds_secret_configs: sds_config.resource_api_version: 7"},
		{"24:{" TLS("1:{14:{2:'x'}}") "}", "transport_socket.common_tls_context.tls_certificate_provider_instance: instance_name: empty"},
		{"24:{" TLS("1:{2:{1:{3:'C'}}}") "}", "transport_socket.common_tls_context.tls_certificates: without private_key"},
		{"24:{" TLS("1:{2:{2:{3:'K'}}}") "}", "transport_socket.common_tls_context.tls_certificates: without certificate_chain"},
		{"24:{" TLS("1:{2:{1:{} 2:{3:'K'}}}") "}", "transport_socket.common_tls_context.tls_certificates.certificate_chain: says no source"},
		{"24:{" TLS("1:{2:{1:{3:''} 2:{3:'K'}}}") "}", "transport_socket.common_tls_context.tls_certificates.certificate_chain: empty"},
		{"24:{" TLS("1:{3:{1:{1:'/a\n/b'}}}") "}", "transport_socket.common_tls_context.validation_context.trusted_ca: a NUL or a line break"},
		{"24:{" TLS("1:{1:{1:5}}") "}", "transport_socket.common_tls_context.tls_params.tls_minimum_protocol_version: 5 is none"},
		{"24:{" TLS("1:{1:{2:-1}}") "}", "transport_socket.common_tls_context.tls_params.tls_maximum_protocol_version: -1 is none"},
		{"24:{" TLS("1:{1:{1:4 2:3}}") "}", "transport_socket.common_tls_context.tls_params: the newest version is older than the oldest"},
		{"24:{" TLS("1:{3:{9:{1:'x'}}}") "}", "transport_socket.common_tls_context.validation_context: match_subject_alt_names without roots: anybody can write a name"},
		{"24:{" TLS("1:{3:{" CA "9:{1:'x'} 15:{1:2 2:{1:'x'}}}}") "}", "transport_socket.common_tls_context.validation_context: match_typed_subject_alt_names and match_subject_alt_names together"},
		{"24:{" TLS("1:{3:{" CA "9:{2:''}}}") "}", "transport_socket.common_tls_context.validation_context.match_subject_alt_names: empty"},
		{"24:{" TLS("1:{3:{" CA "9:{}}}") "}", "transport_socket.common_tls_context.validation_context.match_subject_alt_names: match_pattern: missing"},
		{"24:{" TLS("1:{3:{" CA "15:{2:{1:'x'}}}}") "}", "transport_socket.common_tls_context.validation_context.match_typed_subject_alt_names: san_type: 0 is none"},
		{"24:{" TLS("1:{3:{" CA "15:{1:2}}}") "}", "transport_socket.common_tls_context.validation_context.match_typed_subject_alt_names: matcher: missing"},
		{"24:{" TLS("1:{3:{2:'0011'}}") "}", "transport_socket.common_tls_context.validation_context.verify_certificate_hash: '0011' is no SHA-256"},
		{"24:{" TLS("1:{3:{3:'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9='}}") "}",
			"transport_socket.common_tls_context.validation_context.verify_certificate_spki: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=' is no SHA-256 in base 64"},
		{"24:{" TLS("1:{3:{10:2}}") "}", "transport_socket.common_tls_context.validation_context.trust_chain_verification: 2 is none"},
		{"24:{" TLS("1:{3:{16:{1:101}}}") "}", "transport_socket.common_tls_context.validation_context.max_verify_depth: 101, more than 100"},
		{"24:{" TLS("1:{3:{" SPIFFE("") "}}") "}", "transport_socket.common_tls_context.validation_context.custom_validator_config: trust_domains: empty"},
		{"24:{" TLS("1:{3:{" SPIFFE("1:{1:'a/b' 2:{3:'x'}}") "}}") "}", "transport_socket.common_tls_context.validation_context.custom_validator_config: trust_domains.name: 'a/b' is none"},
		{"24:{" TLS("1:{3:{" SPIFFE("1:{1:'a'}") "}}") "}", "transport_socket.common_tls_context.validation_context.custom_validator_config: trust_domains.trust_bundle: missing"},
		{"24:{" TLS("1:{4:''}") "}", "transport_socket.common_tls_context.alpn_protocols: '' is no protocol's name, or the list is too long"},
		{"24:{" TLS("1:{4:'a,b'}") "}", "transport_socket.common_tls_context.alpn_protocols: 'a,b' is no protocol's name, or the list is too long"},
		{"24:{" TLS("1:{8:{2:{1:'x'}}}") "}", "transport_socket.common_tls_context.combined_validation_context: default_validation_context: missing"},
		{"43:{1:'a' 2:{} 3:{" TLS("1:{6:{1:''}}") "}}", "transport_socket_matches.transport_socket.common_tls_context.tls_certificate_sds_secret_configs: name: empty"},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c;
		ck_assert_msg(decode(&r, PROFILE_GENERIC, rows[i].text, &c) < 0, "%s", rows[i].text);
		ck_assert_msg(strcmp(r.why, rows[i].why) == 0, "%s: '%s'", rows[i].text, r.why);
	}
	rig_end(&r);
}
END_TEST

/* A name longer than SNI may be, more names than there may be, a pattern that RE2 would not take. */
START_TEST(what_is_too_much_is_refused)
{
	struct rig r;
	struct cluster_decoded *c;
	struct sb text = {0};
	rig_begin(&r);
	sb_str(&text, "24:{1:'envoy.transport_sockets.tls' 3:{1:" TLS_TYPE " 2:{2:'");
	for (int i = 0; i < 256; i++)
		sb_char(&text, 'a');
	sb_str(&text, "'}}}");
	sb_char(&text, '\0');
	ck_assert_int_lt(decode(&r, PROFILE_GENERIC, text.p, &c), 0);
	ck_assert_str_eq(r.why, "transport_socket.sni: longer than 255 bytes");
	text.n = 0;
	sb_str(&text, "24:{1:'envoy.transport_sockets.tls' 3:{1:" TLS_TYPE " 2:{1:{3:{" CA);
	for (int i = 0; i < 2049; i++)
		sb_str(&text, "9:{1:'x'}");
	sb_str(&text, "}}}}}");
	sb_char(&text, '\0');
	ck_assert_int_eq(decode(&r, PROFILE_GENERIC, text.p, &c), ERR_LIMIT);
	ck_assert_str_eq(r.why, "transport_socket.common_tls_context.validation_context.match_subject_alt_names: 2049, more than 2048");
	ck_assert_int_lt(decode(&r, PROFILE_GENERIC, "24:{" TLS("1:{3:{" CA "9:{5:{2:'(?=x)'}}}}") "}", &c), 0);
	ck_assert_ptr_nonnull(strstr(r.why, "match_subject_alt_names: safe_regex '(?=x)': "));
	sb_end(&text);
	rig_end(&r);
}
END_TEST

START_TEST(a_regex_of_a_want_can_be_asked)
{
	struct rig r;
	struct cluster_decoded *c;
	rig_begin(&r);
	ck_assert_int_eq(decode(&r, PROFILE_GENERIC, "24:{" TLS("1:{3:{" CA "9:{5:{2:'spiffe://[a-z]+/x'}}}}") "}", &c), 0);
	const struct tls_want *w = c->spec->want;
	ck_assert_uint_eq(w->nrules, 1);
	ck_assert_int_eq(w->regex_match(w->rules[0].regex, STR("spiffe://abc/x")), 1);
	ck_assert_int_eq(w->regex_match(w->rules[0].regex, STR("spiffe://abc/xy")), 0);
	cluster_decoded_free(&c);
	rig_end(&r);
}
END_TEST

/* Never plaintext for want of knowing better. */
START_TEST(a_socket_that_is_not_built_fails_with_its_type)
{
	static const struct { const char *text, *want; } rows[] = {
		{"24:{" RAW "}", " plaintext"},
		{"24:{1:'envoy.transport_sockets.raw_buffer'}", " plaintext"},
		{"", " plaintext"},
		{"24:{1:'envoy.transport_sockets.tls'}", " UNBUILT the transport socket 'envoy.transport_sockets.tls' is not built"},
		{"24:{1:'quic' 3:{1:'" T "extensions.transport_sockets.quic.v3.QuicUpstreamTransport'}}",
			" UNBUILT the transport socket 'quic' (" T "extensions.transport_sockets.quic.v3.QuicUpstreamTransport) is not built"},
		{"24:{1:'alts' 3:{1:'x/envoy.extensions.transport_sockets.alts.v3.Alts'}}", " UNBUILT the transport socket 'alts' (x/envoy.extensions.transport_sockets.alts.v3.Alts) is not built"},
		{"59:{1:{}} 24:{" RAW "}", " UNBUILT transport_socket_matcher is not built"},
	};
	struct rig r;
	struct sb got = {0};
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c;
		ck_assert_msg(decode(&r, PROFILE_ISTIO, rows[i].text, &c) == 0, "%s: %s", rows[i].text, r.why);
		describe(&got, c->spec->want);
		ck_assert_msg(str_is(sb_view(&got), rows[i].want), "%s: %.*s", rows[i].text, (int)got.n, got.p);
		cluster_decoded_free(&c);
	}
	sb_end(&got);
	rig_end(&r);
}
END_TEST

START_TEST(equal_wants_of_a_cluster_are_one)
{
	struct rig r;
	struct cluster_decoded *c;
	rig_begin(&r);
	ck_assert_int_eq(decode(&r, PROFILE_ISTIO, "24:{" TLS("1:{3:{" CA "}}") "} 43:{1:'a' 2:{1:{1:'x' 2:{3:'1'}}} 3:{" TLS("1:{3:{" CA "}}") "}} "
						   "43:{1:'b' 2:{1:{1:'x' 2:{3:'2'}}} 3:{" TLS("1:{3:{17:{}}}") "}} 43:{1:'c' 2:{} 3:{" RAW "}}", &c), 0);
	const struct cluster_spec *s = c->spec;
	ck_assert_uint_eq(s->ntls, 3);
	ck_assert_ptr_eq(s->want, s->tls[0].want);
	ck_assert_ptr_ne(s->want, s->tls[1].want);
	ck_assert_ptr_null(s->tls[2].want);
	ck_assert_uint_eq(s->want->refs, 2);
	cluster_decoded_free(&c);
	rig_end(&r);
}
END_TEST

/* istiod says nothing of TLS to clients of gRPC, and marks the endpoints all the same; who says something is heard. */
START_TEST(endpoints_of_a_mesh_are_called_as_such_where_their_cluster_is_silent)
{
	struct rig r;
	struct cluster_decoded *c;
	struct sb got = {0};
	rig_begin(&r);
	struct str istio[2] = {STR("tlsMode"), STR("istio")};
	ck_assert_int_eq(decode(&r, PROFILE_ISTIO_GRPC, "", &c), 0);
	struct endpoint_meta *meta = endpoint_meta_get(r.metas, istio, 1);
	const char *row = NULL;
	describe(&got, endpoint_want(c->spec, meta, &row));
	ck_assert_msg(str_is(sb_view(&got), " cert=identity roots=identity" SNI " alpn=istio-h2,istio,h2 names=domain"), "%.*s", (int)got.n, got.p);
	ck_assert_pstr_eq(row, "tlsMode-istio");
	ck_assert_ptr_null(endpoint_want(c->spec, NULL, NULL));
	cluster_decoded_free(&c);
	static const struct { enum xds_profile profile; const char *text; } silent[] = {{PROFILE_ISTIO, ""}, {PROFILE_GENERIC, ""}, {PROFILE_ISTIO_GRPC, "24:{" RAW "}"}};
	for (size_t i = 0; i < UNIT_COUNT(silent); i++) {
		ck_assert_int_eq(decode(&r, silent[i].profile, silent[i].text, &c), 0);
		ck_assert_ptr_null(endpoint_want(c->spec, meta, NULL));
		cluster_decoded_free(&c);
	}
	sb_end(&got);
	rig_end(&r);
}
END_TEST

/* A subset, a port, a name that is no cluster of Istio's, one that is too long or no name for a handshake. */
START_TEST(a_mesh_is_told_which_service_is_meant)
{
	static const struct { const char *cluster, *sni; } rows[] = {
		{"outbound|50051|v1|demo.default.svc.cluster.local", "outbound_.50051_.v1_.demo.default.svc.cluster.local"},
		{"demo", "demo"},
		{"two words", NULL},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c;
		struct sb m = {0};
		char text[400];
		snprintf(text, sizeof(text), "1:'%s' 2:3 3:{1:{3:{}}} 24:{1:'tls' 3:{1:" TLS_TYPE " 2:{1:{6:{1:'default'}}}}}", rows[i].cluster);
		wiretext(&m, text);
		ck_assert_msg(decode_bytes(&r, PROFILE_ISTIO, sb_view(&m), &c) == 0, "%s", r.why);
		ck_assert_pstr_eq(c->spec->want->sni, rows[i].sni);
		cluster_decoded_free(&c);
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

/* Refused for memory, whatever the step: nothing stays. */
START_TEST(without_memory_nothing_stays)
{
	struct sb m = {0};
	uint32_t refused = 0, taken = 0;
	wiretext(&m, "1:'demo' 2:3 3:{1:{3:{}}} 24:{" TLS("1:{" OWN_CERT BOTH("9:{1:'a'} 9:{5:{2:'b.*'}} 3:'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='") "}") "}");
	for (size_t limit = 0; limit < 64 << 10; limit += 256) {
		struct rig r;
		struct cluster_decoded *c = NULL;
		rig_begin(&r);
		r.account.limit = r.account.used + limit;
		decode_bytes(&r, PROFILE_ISTIO, sb_view(&m), &c);
		*(c ? &taken : &refused) += 1;
		cluster_decoded_free(&c);
		rig_end(&r);
	}
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_gt(taken, 0);
	sb_end(&m);
}
END_TEST

/* Recorded from a real istiod: what its clusters want of TLS, and how many of each there are. */
START_TEST(what_istiod_sends_is_wanted_as_it_means_it)
{
#define MESH " cert=sds:default roots=sds:ROOTCA sni=outbound_.50051_._.demo.default.svc.cluster.local alpn=istio-h2,istio,h2"
	static const struct { const char *file, *row, *want; } rows[] = {
		{"istiod-mtls-strict", "tlsMode-istio", MESH " any:exact:spiffe://cluster.local/ns/default/sa/demo any:exact:spiffe://cluster.local/ns/default/sa/demo-b"},
		{"istiod-mtls-strict", "tlsMode-disabled", " plaintext"},
		{"istiod-mtls-rule-demo", NULL, MESH " any:exact:spiffe://cluster.local/ns/default/sa/demo any:exact:spiffe://cluster.local/ns/default/sa/demo-b"},
		{"istiod-mtls-rule-tls", NULL, " roots=files:/etc/ssl/certs/ca-certificates.crt sni=tls.example.test any:exact:tls.example.test"},
		{"istiod-mtls-rule-grpc", NULL, " cert=instance:default roots=instance:default sni=outbound_.50051_._.demo.default.svc.cluster.local alpn=istio-h2,istio,h2"
			" any:exact:spiffe://cluster.local/ns/default/sa/demo any:exact:spiffe://cluster.local/ns/default/sa/demo-b"},
	};
	struct rig r;
	struct sb got = {0};
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char path[200];
		static char bytes[1 << 16];
		struct cluster_decoded *c;
		snprintf(path, sizeof(path), "tests/xds/fixtures/tls/%s", rows[i].file);
		FILE *f = fopen(path, "rb");
		ck_assert_msg(f != NULL, "%s", path);
		size_t n = fread(bytes, 1, sizeof(bytes), f);
		fclose(f);
		decode_bytes(&r, strstr(path, "grpc") ? PROFILE_ISTIO_GRPC : PROFILE_ISTIO, str_n(bytes, n), &c);
		ck_assert_msg(c != NULL, "%s: %s", path, r.why);
		const struct tls_want *want = c->spec->want;
		for (uint32_t k = 0; rows[i].row && k < c->spec->ntls; k++)
			if (strcmp(c->spec->tls[k].name, rows[i].row) == 0)
				want = c->spec->tls[k].want;
		describe(&got, want);
		ck_assert_msg(str_is(sb_view(&got), rows[i].want), "%s:\n%.*s\n%s", path, (int)got.n, got.p, rows[i].want);
		cluster_decoded_free(&c);
	}
	sb_end(&got);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("decode_tls", a_context_becomes_a_want, istio_means_its_own_certificates_and_its_own_protocols, what_breaks_a_rule_is_refused_with_its_field, what_is_too_much_is_refused,
	a_regex_of_a_want_can_be_asked, a_socket_that_is_not_built_fails_with_its_type, equal_wants_of_a_cluster_are_one,
	endpoints_of_a_mesh_are_called_as_such_where_their_cluster_is_silent, a_mesh_is_told_which_service_is_meant, without_memory_nothing_stays,
	what_istiod_sends_is_wanted_as_it_means_it)
