/* conf/route: what a name means: which cluster a call goes to, and how (timeout, retries). Immutable, counted. A static service has one
 * route; xDS tables come with later issues and extend route_match. The exchange keeps the action (a ref), never the table. */
#pragma once
#include "base/str.h"
#include "net/fields.h"

struct retry_policy {
	uint32_t max;             /* attempts beyond the first; 0: none */
	uint32_t on;              /* RETRY_* */
	uint32_t status_count; uint16_t statuses[8];  /* retriable-status-codes */
	uint64_t per_try_timeout_ns;
	uint64_t base_ns, cap_ns; /* back-off: 25 ms, 250 ms */
};
enum { RETRY_CONNECT_FAILURE = 1, RETRY_REFUSED_STREAM = 2, RETRY_UNAVAILABLE = 4, RETRY_CANCELLED = 8, RETRY_RESET = 16, RETRY_5XX = 32, RETRY_GATEWAY = 64,
	RETRY_DEADLINE = 128, RETRY_INTERNAL = 256, RETRY_EXHAUSTED = 512, RETRY_STATUSES = 1024, RETRY_4XX = 2048 };
uint32_t retry_on_parse(struct str list, bool grpc);   /* x-envoy-retry-on / x-envoy-retry-grpc-on; unknown words are ignored */
uint32_t retry_on_word(struct str word);               /* a word of either list; 0: not known */
const char *retry_on_name(uint32_t i);                 /* all words, for messages; NULL behind the last */

struct route_action {
	uint32_t refs;
	char *cluster;            /* name in the mesh table */
	uint64_t timeout_ns;      /* 0: none */
	struct retry_policy retry;
};
struct route_action *route_action_new(const char *cluster);
static inline struct route_action *route_action_ref(struct route_action *a) { a->refs++; return a; }
void route_action_unref(struct route_action **a);
bool route_action_eq(const struct route_action *a, const struct route_action *b); /* of what is declared; NULL equals NULL */

struct route_table { uint32_t refs; struct route_action *only; };
struct route_table *route_table_single(struct route_action *taken);
static inline struct route_table *route_table_ref(struct route_table *t) { t->refs++; return t; }
void route_table_unref(struct route_table **t);
bool route_table_eq(const struct route_table *a, const struct route_table *b);
struct route_action *route_match(const struct route_table *t, const struct fields *head); /* borrowed; NULL: none matches */
