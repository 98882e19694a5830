/* net/grpc: what gRPC says on top of HTTP/2: 5-byte framing, status names, percent-encoding of messages, timeouts.
 * Sources: gRPC over HTTP/2 spec (PROTOCOL-HTTP2), envoy.md 1a/1c for the mappings. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

enum grpc_status { GRPC_OK, GRPC_CANCELLED, GRPC_UNKNOWN, GRPC_INVALID_ARGUMENT, GRPC_DEADLINE_EXCEEDED, GRPC_NOT_FOUND, GRPC_ALREADY_EXISTS, GRPC_PERMISSION_DENIED,
	GRPC_RESOURCE_EXHAUSTED, GRPC_FAILED_PRECONDITION, GRPC_ABORTED, GRPC_OUT_OF_RANGE, GRPC_UNIMPLEMENTED, GRPC_INTERNAL, GRPC_UNAVAILABLE, GRPC_DATA_LOSS, GRPC_UNAUTHENTICATED };
const char *grpc_status_name(int status);            /* "UNAVAILABLE"; "?" beyond 16 */
int grpc_status_parse(struct str s);                 /* 0..; -1: not a number */
int grpc_from_http(int http_status);                 /* 400->13 401->16 403->7 404->12 429,502,503,504->14 else 2 */
int http_from_grpc(int grpc_status);
/* grpc-timeout: 1-8 digits and H M S m u n. False: malformed. */
bool grpc_timeout_parse(struct str s, uint64_t *ret_ns);
/* The largest unit that keeps 8 digits without rounding up beyond 1 unit: "1999m", "250u". Returns length; out holds 10. */
size_t grpc_timeout_format(uint64_t ns, char out[10]);
/* grpc-message: percent-encodes what is not printable ASCII, and '%'. */
void grpc_message_encode(struct str text, struct sb *out);
void grpc_message_decode(struct str text, struct sb *out); /* bad escapes stay as they are */
