/* xds/decode_cluster: what the four parts of the cluster decoder share (decode_cluster: discovery, limits, DNS, assignment; decode_cluster_lb: policies;
 * decode_cluster_http: protocol options; decode_tls: transport sockets; decode_cluster_health: checks and outlier detection). A cluster_reading lives on decode_cluster's stack for one message. */
#pragma once
#include "conf/conf.h"
#include "xds/decode_int.h"
#include "xds/guard.h"
#include "xds/proto/cluster.pb-c.h"

struct cluster_reading {
	struct guard guard;             /* all trees of protobuf-c; what stays is charged to its account too, and climbs to the parent at the end */
	enum xds_profile profile;       /* of the control plane that says it */
	const Pb__Cluster *pb;          /* the tree; owned by decode_cluster */
	struct cluster_decoded *out;    /* half built; owned by decode_cluster */
	struct cluster_spec *spec;      /* out's */
	size_t kept;                    /* bytes of text that were copied out of the tree, to be charged */
	struct sb notes;                /* owned */
	struct sb *problems;            /* borrowed; one refusal is written, by cluster_refuse */
};

/* Each part: 0, or negative with its reason written. */
int cluster_lb(struct cluster_reading *r);
int cluster_http(struct cluster_reading *r);
int cluster_sockets(struct cluster_reading *r);
int cluster_health(struct cluster_reading *r);

/* The pairs of a Struct that chooses among transport sockets; owned by the caller. */
int cluster_pairs(struct cluster_reading *r, const char *field, const ProtobufCBinaryData *bytes, struct tls_pair **ret, uint32_t *ret_n);

/* "field: reason" into the problems; returns code. */
int cluster_refuse(struct cluster_reading *r, int code, const char *field, const char *fmt, ...) __attribute__((cold, format(printf, 4, 5)));
void cluster_note(struct cluster_reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A copy that the spec or the decoded keeps. */
char *cluster_keep(struct cluster_reading *r, const char *text);
/* NULL is none: ret is left. above_ns: the value must be greater. */
enum { ANY_DURATION = -1 };
int cluster_duration(struct cluster_reading *r, const Pb__Duration *d, const char *field, int64_t above_ns, uint64_t *ret_ns);
/* NULL is none: ret (may be NULL) is left. */
int cluster_u32(struct cluster_reading *r, const Pb__UInt32Value *v, const char *field, uint32_t least, uint32_t most, uint32_t *ret);
int cluster_u64(struct cluster_reading *r, const Pb__UInt64Value *v, const char *field, uint64_t least, uint64_t most, uint64_t *ret);
/* The message in an Any whose type is known to fit. NULL: refused, *ret_code says with what. guard_free ends it. */
void *cluster_unpack(struct cluster_reading *r, const ProtobufCMessageDescriptor *d, const Pb__Any *any, const char *field, int *ret_code);
/* Is any's message of that type ("envoy.extensions.x.v3.Y")? NULL has none. */
bool cluster_any_is(const Pb__Any *any, const char *type);
