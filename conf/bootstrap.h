/* conf/bootstrap: the file that tells a gRPC client where its control plane is (gRFC A27; an istio-agent writes one): who asks, and whom.
 * Named by GRPC_XDS_BOOTSTRAP, or written out in GRPC_XDS_BOOTSTRAP_CONFIG. It is a default for what `xds:` does not say: conf takes the server from it,
 * xds/node the node. Owner: whoever read it. */
#pragma once
#include "conf/yaml.h"

struct conf_instance;
struct bootstrap {
	char *server;                    /* of the first server, as written: "dns:///istiod:15010", "unix:///etc/istio/proxy/XDS"; NULL: none */
	bool tls;                        /* its first credentials that we know are `tls`, with these files (NULL: not named) */
	char *tls_roots, *tls_cert, *tls_key;
	char *id, *cluster, *region, *zone, *sub_zone;
	const struct yaml *metadata;     /* a map, in doc; NULL: none */
	char *roots, *cert, *key;        /* of the certificate provider `default`, or the first that watches files: the app's identity behind an agent */
	struct conf_instance *instances; /* all its certificate providers; who wants them takes them and leaves NULL and 0 */
	uint32_t ninstances;
	struct yaml_doc doc;
};
/* 1 and *ret; 0: none is named; negative: it cannot be read, told in e. */
int bootstrap_read(yaml_env_fn *env, void *env_ctx, struct err *e, struct bootstrap *ret);
void bootstrap_end(struct bootstrap *b);
