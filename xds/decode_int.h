/* xds/decode_int: what the decoders of clusters and of endpoints share, and nobody else sees.
 *
 * endpoint_reader: takes one LbEndpoint apart, in place. One a set that is being decoded, owned by the eds_decoder. It remembers the metadata of the endpoint
 *   before, because in a set nearly all have the same: comparing bytes costs less than walking them.
 * pairs: the text pairs of a google.protobuf.Struct, sorted by key (maps have no order on the wire), each key once. On a stack. */
#pragma once
#include "xds/decode.h"
#include "xds/wire.h"

/* ---- pairs ---- */

/* Subsets and socket matches have one or two; what is beyond the bounds is refused, not cut. */
enum { PAIRS_MAX = 32, PAIRS_SCRATCH = 2048, PAIRS_BYTES = 8192 /* all texts */, PAIRS_OWN = 5 /* ENDPOINT_* of conf/spec.h, beside those */ };
struct pairs {
	struct str kv[2 * (PAIRS_MAX + PAIRS_OWN)]; /* key, value, ...; loans from the walked bytes or from scratch */
	uint32_t n;                   /* pairs */
	uint32_t left_out;            /* fields whose value is no text, number or boolean, or whose key is one of ours */
	size_t used, bytes;
	char scratch[PAIRS_SCRATCH];  /* values that were numbers, keys with a prefix */
};
/* Adds the fields of a Struct whose values are texts, numbers or booleans; null, lists and structs are left out. prefix stands before each key.
 * 0; ERR_MALFORMED; ERR_LIMIT (too many, too long); -EINVAL (a text that is not UTF-8, or has a NUL). */
int pairs_add_struct(struct pairs *p, struct str prefix, struct str message);
/* One of ours. 0; ERR_LIMIT; -EINVAL. Both texts are loans. */
int pairs_add_own(struct pairs *p, const char *key, struct str value);
/* google.protobuf.Value: a oneof of six. */
enum { VALUE_NUMBER = 2, VALUE_TEXT = 3, VALUE_BOOL = 4, VALUE_KINDS = 6 };
/* Keys of the metadata namespace envoy.lb as an endpoint_meta has them; those of envoy.transport_socket_match stand bare. */
#define PAIRS_LB_PREFIX "envoy.lb/"
/* Ours: what a snapshot keeps of an endpoint that is not in its original form any more. */
#define METADATA_OWN "thinmesh"
#define METADATA_INCARNATION "incarnation"
/* A field of LocalityLbEndpoints, ours too, that stands before its endpoints: { 1 fixed64 hash, 2 count }: the next `count` of them were one block with
 * that hash on the wire they came by. So a set that was read back shares its blocks with the same set from the control plane. */
enum { FIELD_BLOCK = 19001 };
/* And a number there: not 0: the group goes on in the next LocalityLbEndpoints. */
enum { FIELD_GOES_ON = 19002 };

/* ---- one endpoint ---- */

enum { ENDPOINT_META_SEEN = 512 };
/* What makes an endpoint_meta: two namespaces of its metadata, and two fields of its Endpoint. */
enum { PART_MATCH, PART_LB, PART_HOSTNAME, PART_CHECK, ENDPOINT_PARTS };
struct endpoint_reader {
	struct endpoint_metas *metas; /* borrowed */
	struct endpoint_item item;    /* the answer; lends from the bytes and from here */
	struct addr addrs[ENDPOINT_ADDRS];
	struct endpoint_meta *meta;   /* that of the last endpoint that had one; a loan, good while the set that is being built has that endpoint */
	uint32_t seen_n;              /* its bytes on the wire, parts and their lengths; 0: none remembered */
	uint8_t seen[ENDPOINT_META_SEEN];
	struct str parts[ENDPOINT_PARTS]; /* of the endpoint that is being read; loans */
	const char *field;            /* why not: the path below the LbEndpoint, static, and the reason */
	char why[160];
};
/* 1: item is filled; 0: an endpoint that we cannot use and that is no mistake (envoy_internal_address, a name of named_endpoints); negative: refused, field and why tell. */
int endpoint_read(struct endpoint_reader *r, struct str lb_endpoint);
