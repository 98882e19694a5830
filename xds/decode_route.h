/* xds/decode_route: RouteConfigurations, in three rooms: decode_route.c walks the configuration and its virtual hosts by hand and unpacks one Route at a time,
 * decode_route_match.c makes its match, decode_route_action.c its action. Nothing outside of them includes this, but decode_listener for inline routes. */
#pragma once
#include "conf/route.h"
#include "xds/guard.h"
#include "xds/proto/route.pb-c.h"

/* What is understood and has no effect yet: a bit each, so that configuration, virtual host and route add up, and the text names each once. */
#define ROUTE_NOTES(X)                                                  \
	X(REQUEST_HEADERS_TO_ADD, "request_headers_to_add")             \
	X(REQUEST_HEADERS_TO_REMOVE, "request_headers_to_remove")       \
	X(RESPONSE_HEADERS_TO_ADD, "response_headers_to_add")           \
	X(RESPONSE_HEADERS_TO_REMOVE, "response_headers_to_remove")     \
	X(MIRROR, "request_mirror_policies")                            \
	X(HASH_POLICY, "hash_policy")                                   \
	X(FAULT, "fault")                                               \
	X(CORS, "cors")                                                 \
	X(RATE_LIMITS, "rate_limits")                                   \
	X(FILTERS, "typed_per_filter_config")                           \
	X(HEDGE, "hedge_policy")                                        \
	X(INTERNAL_REDIRECT, "internal_redirect_policy")                \
	X(UPGRADE, "upgrade_configs")                                   \
	X(PRIORITY, "priority")                                         \
	X(REQUIRE_TLS, "require_tls")                                   \
	X(VHDS, "vhds")                                                 \
	X(WEIGHTS_BY_HEADER, "weighted_clusters.header_name")           \
	X(WEIGHTS_BY_HASH, "weighted_clusters.use_hash_policy")         \
	X(RETRY_PRIORITY, "retry_policy.retry_priority")                \
	X(RETRY_HEADERS, "retry_policy.retriable_headers")              \
	X(RETRY_REQUEST_HEADERS, "retry_policy.retriable_request_headers") \
	X(RETRY_RATE_LIMITED, "retry_policy.rate_limited_retry_back_off") \
	X(RETRY_OPTIONS, "retry_policy.retry_options_predicates")       \
	X(RETRY_IDLE, "retry_policy.per_try_idle_timeout")              \
	X(RETRY_STATUSES_CUT, "retry_policy.retriable_status_codes beyond the eighth") \
	X(BODY_FORMAT, "direct_response.body_format")                   \
	X(BODY_ELSEWHERE, "direct_response.body from a file or a variable") \
	X(MATCH_METADATA, "match.dynamic_metadata")                     \
	X(MATCH_FILTER_STATE, "match.filter_state")                     \
	X(MATCH_CONNECT, "match.connect_matcher")
enum route_note_bit {
#define X(id, text) NOTE_BIT_##id,
	ROUTE_NOTES(X)
#undef X
	NOTE_BITS
};
#define NOTE(id) (UINT64_C(1) << NOTE_BIT_##id)

/* One decoding. Lies on the stack of who decodes. */
struct decode {
	struct guard *guard;       /* borrowed: the budget, and what unpacks */
	struct ration ration;      /* of the table that is being built */
	struct sb *problems;       /* borrowed: where the reason goes; NULL: nowhere */
	const char *prefix;        /* where all of this stands ("" or "api_listener.route_config.") */
	char where[64];            /* "virtual_hosts[2].routes[0]." */
	/* of the configuration, then of the virtual host too */
	uint64_t config_notes, host_notes;
	const char *config_unsupported, *host_unsupported; /* NULL: nothing */
	uint32_t body_max;         /* of a direct_response */
	const Pb__RetryPolicy *host_retry; /* NULL: none */
	/* of the route */
	uint64_t notes;
	const char *unsupported;   /* why calls that match can't be sent on; NULL: nothing */
};

/* Says "prefix where field: reason", once, and returns the code. */
int decode_fail(struct decode *d, int code, const char *field, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Nanoseconds; negative ones and those beyond google.protobuf.Duration's range are refused; more than a century is a century. */
int decode_duration(struct decode *d, const char *field, const Pb__Duration *in, uint64_t *ret_ns);
/* What a header's value, its name may hold (well_known_regex, not strict). */
bool decode_value_valid(struct str s);
bool decode_header_name_valid(const char *name);
int decode_header_edits(struct decode *d, const char *field, size_t n, Pb__HeaderValueOption **edits);
uint64_t decode_filter_note(struct str name); /* of an entry of typed_per_filter_config */

/* All of it. Freed by match_end, whatever comes back. */
int decode_match(struct decode *d, const Pb__RouteMatch *in, struct match *out);
/* m: of the same route, for what a redirect replaces. */
int decode_action(struct decode *d, const Pb__Route *in, const struct match *m, struct route_action **ret);

/* A RouteConfiguration within a guard of the caller. */
int decode_routes_within(struct guard *g, struct str bytes, const char *prefix, struct route_config **ret, struct sb *problems);
