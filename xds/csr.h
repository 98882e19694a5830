/* xds/csr: our own certificate from a CA of Istio's kind: istio.v1.auth.IstioCertificateService/CreateCertificate (istio.md 3.1). A P-256 key is made in memory and never written, unless
 * `output` says so; asked with the bearer token, read anew each time, or with the certificate that we have (mTLS) where there is no token.
 *
 *   WAITING --asked, answered--> READY --half of what is left of its life (jitter 1 %)--> asked again in the background; the old one is used to its end
 *      \--refused, garbage, silence (10 s)--> back-off 0.1 s doubling to 30 s, full jitter --> asked again
 *
 * A unix: server is spoken to in plain text, any other one over TLS. A token is sent as long as its file can be read; where it cannot, or the CA refused it, our certificate speaks for us.
 * What a CA issues is taken where it fits the key and is valid now, whatever name is in it (Istio's gives the caller's, not the one that is asked for); another name is told.
 *
 * Gives two secrets: the certificate ("default") and the roots that the CA sent with it ("ROOTCA"). Owner: sidecar/identities. */
#pragma once
#include "conf/conf.h"
#include "net/dns.h"
#include "net/reader.h"
#include "net/transport.h"

struct csr;
struct csr_spec {
	struct loop *loop; struct log *log; struct dns *dns; const struct limits *limits; struct transports *transports; struct offload *offload; struct reader *reader; /* borrowed; both outlive it */
	const struct conf_identity *conf;   /* kind IDENTITY_CA; borrowed from a counted conf: csr_conf before that goes */
	const char *spiffe_id;              /* "spiffe://cluster.local/ns/default/sa/shop"; copied */
	const char *app;                    /* for the log */
	const struct secret_space *space;   /* borrowed, outlives it: where files and the system's roots are found, for the CA itself */
	struct secret *cert, *roots;        /* of another provider until now (a reload): filled from now on, and keep what they have; refs are taken. NULL: made */
};
struct csr *csr_new(const struct csr_spec *spec);
void csr_free(struct csr **c);
void csr_conf(struct csr *c, const struct conf_identity *conf, const char *spiffe_id); /* other server, token ...: asked again where it matters */
struct secret *csr_cert(struct csr *c);   /* counted */
struct secret *csr_roots(struct csr *c);
uint64_t csr_renews_wall_ns(const struct csr *c); /* when it is asked next; 0: now */
void csr_thaw(struct csr *c);             /* the clock jumped: what is due is asked now */
const char *csr_last_error(const struct csr *c); /* since the last answer; "" */
