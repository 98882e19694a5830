/* xds/request: DiscoveryRequest and DeltaDiscoveryRequest, written as they are said: no message in memory but the bytes. Owner of the bytes: the caller's sb.
 *
 *   struct request r = {.delta = true, .type_url = ...};  request_write(&r, &out);  request_subscribe(&out, name) ... */
#pragma once
#include "base/str.h"

struct request {
	bool delta;
	struct str node;          /* serialised core.v3.Node; empty: not in this one */
	struct str type_url, version /* state of the world only */, nonce;
	bool error; int error_code; struct str error_text;
};
void request_write(const struct request *r, struct sb *out);
/* Behind it, in any number: fields of a protobuf message may come in any order, and repeated ones add up. */
void request_subscribe(struct sb *out, struct str name);   /* resource_names, resource_names_subscribe */
void request_unsubscribe(struct sb *out, struct str name);                          /* delta */
void request_initial(struct sb *out, struct str name, struct str version);          /* delta: initial_resource_versions */
