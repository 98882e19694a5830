/* sidecar/deadline: promise 5: the least of the route's timeout and the caller's three headers; the remaining time is what goes upstream. */
#pragma once
#include "sidecar/exchange.h"

/* Sets x->deadline_ns from timeout_ns (the route's, or x-envoy-upstream-rq-timeout-ms; 0: none) and grpc-timeout, tri-service-timeout,
 * triple-timeout-ms. A malformed header is ignored and forwarded as it is. False: the time was over on arrival. */
bool deadline_read(struct exchange *x, const struct fields *head, uint64_t timeout_ns);
/* Writes what remains into the headers that the caller used (grpc-timeout where it used none and speaks gRPC). */
void deadline_forward(struct exchange *x, uint64_t now_ns);
