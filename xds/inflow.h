/* xds/inflow: takes a DiscoveryResponse or DeltaDiscoveryResponse apart while it arrives: never the whole of it is in memory.
 *
 *   bytes --> inflow --> resource_begin(url, name, n), resource_bytes ..., resource_end      each Any (state of the world) or Resource (delta)
 *                    --> removed(name) ...; at the end: version, nonce, type_url of the message
 *
 * State of the world may wrap an Any into envoy.service.discovery.v3.Resource (resource-in-sotw); it is unwrapped. A resource whose type_url stands behind its value on the wire is
 * gathered first (bounded). Unknown fields are skipped. Malformed bytes end in -EPROTO with a reason. Owner: a stream of xds/sub. */
#pragma once
#include "base/str.h"

struct inflow;
struct inflow_events {
	bool (*begin)(void *ctx, struct str type_url, struct str name, struct str version, size_t n); /* false: skipped, no bytes, no end */
	void (*bytes)(void *ctx, const void *p, size_t n);
	void (*end)(void *ctx);
	void (*removed)(void *ctx, struct str name);
};
struct inflow_result { struct str version, nonce, type_url; uint32_t resources; }; /* valid until inflow_begin or free */
struct inflow *inflow_new(bool delta, const struct inflow_events *ev, void *ctx);
void inflow_free(struct inflow **f);
void inflow_begin(struct inflow *f, uint32_t n);
/* 0; or -EPROTO, -EMSGSIZE (a name or a gathered part beyond its bound), why static; then only inflow_begin or free. whole: fills ret. */
int inflow_bytes(struct inflow *f, const void *p, size_t n, bool whole, struct inflow_result *ret, const char **why);
