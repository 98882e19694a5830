/* net/tls_want: what is declared of a TLS connection: which name is asked for (SNI), which protocols are offered (ALPN), who the other side may be, and where the certificate that we show and
 * the roots that we trust come from. Plain data: immutable once sealed, counted, shared; equal hash = equal content. From YAML or from a control plane; what becomes of it: net/transport.
 * The one header of net/tls* that conf/ may include. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* Where material comes from. `name` by kind of source: */
enum secret_kind { SECRET_CERT, SECRET_ROOTS };
enum secret_from {
	SECRET_NOWHERE,     /* cert: none is shown. roots: the chain is not verified (as Envoy does where no CA is named); name "" */
	SECRET_SYSTEM,      /* roots: the system's; name "" */
	SECRET_IDENTITY,    /* what an app is: name "": of the space it is asked in; else of the app of that name (services[].tls.identity) */
	SECRET_SDS,         /* by that name from the identity's own SDS server where it has one (istio-agent, SPIRE); where the identity has another source: "default" and "ROOTCA" are its own */
	SECRET_ADS,         /* by that name over the view's own stream to the control plane */
	SECRET_INSTANCE,    /* certificate_providers of gRPC's bootstrap file; name: the instance's */
	SECRET_FILES,       /* cert: "CHAIN\nKEY"; roots: "ROOTS" or "ROOTS\nCRL" */
	SECRET_INLINE,      /* the PEM itself; cert: chain and key in one text; roots: certificates and CRLs */
};
struct secret_ref { enum secret_kind kind; enum secret_from from; char *name; }; /* name never NULL; owned by whoever holds the struct */

/* Names in the peer's certificate, of which one must fit. NUL in a certificate's name is never a match. */
enum tls_name { TLS_NAME_ANY /* DNS, URI or IP */, TLS_NAME_URI, TLS_NAME_DNS, TLS_NAME_IP, TLS_NAME_EMAIL };
enum tls_rule_kind { TLS_EXACT /* DNS: as RFC 6125 6.4.3, "*." in the certificate stands for one label; IP: as an address */, TLS_PREFIX, TLS_SUFFIX, TLS_CONTAINS, TLS_REGEX };
struct tls_rule { enum tls_name on; enum tls_rule_kind kind; bool ignore_case; char *text; void *regex; };
enum tls_names {
	TLS_NAMES_SERVER,   /* the server's name (the endpoint's host name where host_sni, else sni, else the endpoint's host name, else its address) must be in the certificate, as for https */
	TLS_NAMES_RULES,    /* one of `rules` */
	TLS_NAMES_DOMAIN,   /* a URI below spiffe://TRUST_DOMAIN/, of the space's trust domain or one of its aliases (a mesh's endpoint without a list) */
	TLS_NAMES_ANY,      /* the chain alone */
};
struct tls_want {
	uint32_t refs;
	uint64_t hash;               /* over all below; tls_want_seal */
	struct secret_ref cert, roots;
	char *sni;                   /* NULL: none is sent (but for TLS_NAMES_SERVER with an endpoint that has a host name) */
	bool host_sni;               /* auto_host_sni: the endpoint's host name, where it has one, goes before sni */
	char *alpn;                  /* "istio-h2,istio,h2"; NULL: none is offered. A server that chooses none is accepted */
	enum tls_names names;
	struct tls_rule *rules; uint32_t nrules;
	char **pins; uint32_t npins; /* "sha256:HEX" of the leaf, "spki:HEX" of its key (Envoy: verify_certificate_hash, _spki): one must fit; none: not looked at */
	uint16_t min, max;           /* 0x0303, 0x0304; 0: 1.2 and 1.3 */
	uint32_t issuers;            /* 1 + the most certificates that may stand above the peer's own, the root among them (Envoy: max_verify_depth); 0: as many as net/tls takes */
	bool no_client_cert;         /* of a server (inbound): callers may come without one */
	bool expired_ok;             /* allow_expired_certificate */
	char *unbuilt;               /* it asks for something that is not built: every connection fails with this text; NULL: nothing */
	/* How a regex is asked and freed (conf/regex): 1 fits, 0 not, negative: no answer, which is no match. */
	int (*regex_match)(const void *regex, struct str text);
	void (*regex_free)(void *regex);
};
struct tls_want *tls_want_new(void);                  /* refs 1; nothing shown, nothing verified, names ANY, alpn "h2" */
static inline struct tls_want *tls_want_ref(struct tls_want *w) { w->refs++; return w; }
void tls_want_unref(struct tls_want **w);             /* accepts NULL inside */
void tls_want_seal(struct tls_want *w);
bool tls_want_eq(const struct tls_want *a, const struct tls_want *b);
void tls_want_rule(struct tls_want *w, enum tls_name on, enum tls_rule_kind kind, struct str text); /* appends; text copied */
void secret_ref_set(struct secret_ref *r, enum secret_kind kind, enum secret_from from, struct str name); /* name copied; an older one freed */
const char *secret_from_name(enum secret_from f);     /* "files", "sds" ... */
/* What meshes of Istio mean by tlsMode: istio: own certificate, own roots, ALPN "istio-h2,istio,h2", SANs exact where there are some, else the trust domain. Sealed by the caller. */
struct tls_want *tls_want_mesh(const char *sni);
