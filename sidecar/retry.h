/* sidecar/retry: may this call be tried again, and when. Moves (promise 6: nothing was processed) are not retries: only the budget bounds them.
 * Sources: envoy.md 1b (order of the decision, back-off), dubbo.md 0.3 (tri-exception-code is no failure). */
#pragma once
#include "conf/route.h"
#include "net/loop.h"
#include "net/stream.h"
#include "sidecar/faults.h"

struct retry {
	uint32_t left, done;
	uint32_t on;                  /* RETRY_* */
	uint16_t statuses[8]; uint32_t nstatuses;
	uint64_t per_try_ns, base_ns, cap_ns;
	uint64_t rq_timeout_ns; bool has_rq_timeout; /* x-envoy-upstream-rq-timeout-ms: replaces the route's timeout; 0: none */
};
/* From the route's policy and, for a trusted caller, its x-envoy-* headers. */
void retry_init(struct retry *r, const struct retry_policy *p, const struct fields *head, bool trusted);
bool retry_wants_end(const struct retry *r, enum stream_cause cause);         /* the attempt ended without an answer */
bool retry_wants_answer(const struct retry *r, const struct fields *head, bool fin, bool is_grpc); /* by status, or by a trailers-only grpc-status */
uint64_t retry_backoff_ns(struct retry *r, struct loop *l);                   /* counts one off; full jitter */
