/* xds/decode_tls: what the two halves of the decoder of transport sockets share: decode_tls (sockets, rows, what is shown, SNI, ALPN) and decode_tls_peer (whom to trust and to accept).
 * A tls_reading lives on a stack for one UpstreamTlsContext. */
#pragma once
#include "net/tls_want.h"
#include "xds/decode_cluster.h"
#include "xds/proto/tls.pb-c.h"

struct tls_reading {
	struct cluster_reading *r;
	const char *field;           /* of the socket: "transport_socket", for texts */
	struct tls_want *want;       /* half built; owned by whoever began */
	bool istio;                  /* the control plane is one of Istio's */
	bool own_cert, own_roots;    /* those of Istio's workloads: the peer is one of the mesh */
	bool anybody;                /* ACCEPT_UNTRUSTED */
	struct str domain;           /* SPIFFECertValidatorConfig: the one trust domain of the roots; n 0: none is asked for */
};

/* As cluster_refuse, cluster_note; field is below the socket's. Notes that are there already are not said twice: the sockets of a cluster are much alike. */
int tls_refuse(struct tls_reading *t, int code, const char *field, const char *fmt, ...) __attribute__((cold, format(printf, 4, 5)));
void tls_note(struct tls_reading *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* It asks for what is not there: connections will fail with this text, which the first one gives. */
void tls_unbuilt(struct tls_reading *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where bytes come from. DATA_OTHER: from where we take none. */
enum data_kind { DATA_NONE, DATA_FILE, DATA_PEM, DATA_OTHER };
struct data { enum data_kind kind; struct str text; };
int tls_data(struct tls_reading *t, const Pb__DataSource *d, const char *field, struct data *ret);
void tls_secret(struct tls_reading *t, struct secret_ref *ref, enum secret_kind kind, enum secret_from from, struct str name);
int tls_secret_sds(struct tls_reading *t, const Pb__SdsSecretConfig *c, const char *field, struct secret_ref *ref, enum secret_kind kind);
int tls_secret_instance(struct tls_reading *t, const Pb__CertificateProviderPluginInstance *i, const char *field, struct secret_ref *ref, enum secret_kind kind);

/* decode_tls_peer: roots, names, pins. */
int tls_peer_read(struct tls_reading *t, const Pb__CommonTlsContext *c, bool server_name /* names: that of the server, whatever else is said */);
