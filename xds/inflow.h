/* xds/inflow: takes a DiscoveryResponse or DeltaDiscoveryResponse apart while it arrives: never the whole of it is in memory.
 *
 *   bytes --> inflow --> begin(url, name, n), bytes ..., end(name, version)              each Any (state of the world) or Resource (delta)
 *                    --> removed(name) ...; at the end: version, nonce, type_url of the message
 *
 * State of the world may wrap an Any into envoy.service.discovery.v3.Resource (resource-in-sotw); it is unwrapped. A resource whose type_url stands behind its value on the wire is
 * gathered first (bounded). The name and version of a delta Resource mostly stand behind its value (Go writes fields by their number), so they are sure at `end` only; where
 * there is none, the name is what the resource says in its own field 1, which all four types have. Unknown fields are skipped. Malformed bytes end in -EPROTO with a reason.
 * Memory: some names of INFLOW_NAME_MAX, and INFLOW_GATHER_MAX while a value is gathered. Owner: a stream of xds/sub. */
#pragma once
#include "base/str.h"

enum { INFLOW_NAME_MAX = 4096, INFLOW_GATHER_MAX = 65536 };

struct inflow;
struct inflow_events {
	/* name: what is known of it yet, mostly empty. n: bytes of the value. false: skipped, no bytes, no end. */
	bool (*begin)(void *ctx, struct str type_url, struct str name, size_t n);
	void (*bytes)(void *ctx, const void *p, size_t n);
	void (*end)(void *ctx, struct str name, struct str version);
	void (*removed)(void *ctx, struct str name);
};
struct inflow_result { struct str version, nonce, type_url; uint32_t resources; }; /* valid until inflow_begin or free */
struct inflow *inflow_new(bool delta, const struct inflow_events *ev, void *ctx);
void inflow_free(struct inflow **f);
void inflow_begin(struct inflow *f, uint32_t n);
struct str inflow_type(const struct inflow *f); /* type_url of the message as far as it came: stands in front of what was removed where fields are in order */
/* 0; or -EPROTO, -EMSGSIZE (a name or a gathered part beyond its bound), why static; then only inflow_begin or free. whole: fills ret. An event must not free f. */
int inflow_bytes(struct inflow *f, const void *p, size_t n, bool whole, struct inflow_result *ret, const char **why);
