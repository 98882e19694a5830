/* xds/decode: from the bytes of one resource to what conf/ holds: whole, immutable, validated (xds-validate.tsv). Pure: no loop, no I/O.
 *
 * A refused resource: negative code, "field: reason" (the path of the field as in the .proto) appended to problems, nothing made. Unknown fields, filters and
 * extensions are tolerated. Memory: at most 2 x the wire + 1 MiB at any time, charged to the account; -ENOMEM beyond. Depth: 32 messages, then -ELOOP. */
#pragma once
#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"
#include "conf/route.h"
#include "conf/spec.h"

/* What all four have in field 1. False: no such field, or malformed before it. */
bool decode_name(const void *p, size_t n, struct str *ret);
/* TypedExtension, Any: the two fields. */

/* ---- LDS ---- */
struct listener_decoded {
	char *name;
	bool has_http;                  /* an HttpConnectionManager: in api_listener, or in a filter chain (istio's own) */
	char *rds_name;                 /* named routes; NULL: inline or none */
	struct route_config *inline_routes; /* NULL: none */
	char *bind;                     /* "unix:///path" for pipes, "0.0.0.0:50051" ..., "" none */
	uint64_t max_stream_duration_ns, stream_idle_ns; /* of the HCM; 0: none */
	struct charge charge;           /* of the texts */
};
int decode_listener(const void *p, size_t n, struct account *a, struct listener_decoded **ret, struct sb *problems);
void listener_decoded_free(struct listener_decoded **l);
/* ---- RDS ---- */
int decode_routes(const void *p, size_t n, struct account *a, struct route_config **ret, struct sb *problems);
/* ---- CDS ---- */
enum cluster_type { CLUSTER_STATIC, CLUSTER_STRICT_DNS, CLUSTER_LOGICAL_DNS, CLUSTER_EDS, CLUSTER_ORIGINAL_DST, CLUSTER_AGGREGATE };
struct cluster_decoded {
	enum cluster_type type;
	struct cluster_spec *spec;      /* owned ref, sealed; name set */
	char *eds_name;                 /* EDS: service_name, or the cluster's name */
	struct endpoint_set *endpoints; /* inline load_assignment; NULL: none */
	char **aggregate; uint32_t naggregate;
	bool h2;                        /* HTTP/2 is asked for in so many words */
	bool has_panic;                 /* healthy_panic_threshold is said; else spec has Envoy's default */
	char *notes;                    /* what was understood and has no effect yet ("lb_policy RING_HASH: random instead; ..."), NULL: nothing */
	struct charge charge;           /* of all texts, the spec's too */
};
/* profile: TLS means other things in a mesh of Istio (decode_tls). */
int decode_cluster(const void *p, size_t n, struct account *a, struct endpoint_metas *metas, enum xds_profile profile, struct cluster_decoded **ret, struct sb *problems);
/* What Istio means by an endpoint's tlsMode: istio, for a spec that says nothing of TLS: one row, by which that endpoint is called as one of the mesh. Before it is sealed. */
void decode_mesh_tls(struct cluster_spec *spec);
void cluster_decoded_free(struct cluster_decoded **c);
/* ---- EDS: a push parser straight into packed endpoints, fed as the bytes come ---- */
struct eds_decoder;
/* old: what this name had before (blocks are shared), NULL: nothing; but the name stands inside of the bytes: `find` is asked as soon as it is known. */
struct eds_decoder *eds_decoder_new(struct account *a, struct endpoint_metas *metas, struct endpoint_set *(*find)(void *ctx, struct str name), void *ctx);
int eds_decoder_bytes(struct eds_decoder *d, const void *p, size_t n);   /* 0, or negative: refused already, further bytes are ignored */
/* ret_name lives until the decoder is freed; it is written in any case (n 0: not known). Keys of envoy.lb stand as "envoy.lb/KEY" in an endpoint's meta. */
int eds_decoder_end(struct eds_decoder *d, struct endpoint_set **ret, struct str *ret_name, struct sb *problems);
void eds_decoder_free(struct eds_decoder **d);
/* After the end: what was understood and has no effect yet; static; NULL: nothing. */
const char *eds_decoder_notes(const struct eds_decoder *d);
/* A ClusterLoadAssignment from a set, for the snapshot: decoding it gives an equal set. Sliced: call until it returns false; appends at most about `max` bytes a call. */
struct eds_encoder { uint32_t at, group; };
bool endpoints_encode(const struct endpoint_set *s, const char *name, struct eds_encoder *state, size_t max, struct sb *out);
