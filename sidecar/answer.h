/* sidecar/answer: what we say ourselves, in the provider's place: to a call that failed, by a route that answers; and what is added to answers of others. It writes to the down end and nowhere
 * else: what becomes of the call is exchange.c's. */
#pragma once
#include "sidecar/exchange.h"

/* All that return: 0, or a negative code: there was no memory even for that, or there is no way to say it; a reset is what is left. */
/* The text and the row of a fault: trailers-only for gRPC content, status and JSON for the rest (promise 1). */
int answer_fault(struct exchange *x, enum fault f, const char *why);
/* The provider's head is with the app already: trailers for gRPC callers. */
int answer_break_off(struct exchange *x, enum fault f, const char *why);
/* A whole answer. location: of a redirect, or NULL. */
int answer_whole(struct exchange *x, int http, int grpc, struct str message, struct str body, const char *type, const struct sb *location);
void answer_location(const struct exchange *x, const struct route_redirect *r, struct sb *out);
/* On inbound and health doors: what a head says of the app's state. */
void answer_mark(const struct exchange *x, struct fields *head);
