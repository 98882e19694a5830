/* conf/spec: what is declared of a cluster: its policy (cluster_spec) and its members (endpoint_set). Immutable once published,
 * shared by counted reference, replaced whole; from YAML or from xDS. `hash` is over the declared content: equal hash = nothing changed. */
#pragma once
#include "base/addr.h"
#include "base/mem.h"

enum lb_kind { LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST };
struct cluster_spec {
	uint32_t refs;
	uint64_t hash;
	char *name;
	enum lb_kind lb;
	uint32_t choices;               /* least_request: 2 */
	uint64_t connect_timeout_ns;    /* 5 s */
	uint64_t idle_timeout_ns;       /* of a connection without streams; 1 h; 0: never */
	uint64_t verify_after_ns;       /* silent for so long: PING before a call; 10 s; 0: never */
	uint32_t max_connections;       /* of the cluster; 1024 */
	uint32_t max_pending;           /* calls that wait for a connection; 1024 */
	uint32_t max_requests;          /* calls at once; 1000000 */
	uint32_t max_connections_per_host; /* where the peer's stream limit is reached: more connections, at most so many; 8 */
	uint32_t max_streams;           /* per connection, 0: what the peer allows */
};
struct cluster_spec *spec_new(const char *name);   /* the defaults above; refs 1 */
static inline struct cluster_spec *spec_ref(struct cluster_spec *s) { s->refs++; return s; }
void spec_unref(struct cluster_spec **s);
/* Computes hash, once everything is set. Publishing does it where it was forgotten. */
void spec_seal(struct cluster_spec *s);
const char *lb_kind_name(enum lb_kind k);          /* "round_robin" ... */

/* One endpoint: an address with alternates (happy eyeballs), or a host name that DNS answers (then addrs is empty and lb expands it: each answer
 * is an endpoint of its own; a v6 and a v4 answer of one name are alternates pairwise). */
enum endpoint_health { EP_UNKNOWN, EP_HEALTHY, EP_UNHEALTHY, EP_DRAINING, EP_DEGRADED };
struct endpoint {
	const struct addr *addrs; uint32_t naddrs;
	const char *host; uint16_t port;   /* by name; host NULL: by address */
	uint32_t weight;                   /* >= 1; default 1 (xDS) or 100-based as written */
	uint32_t priority;
	uint8_t health;                    /* enum endpoint_health */
	const char *zone;                  /* NULL: none */
};
struct endpoint_set {
	uint32_t refs;
	uint64_t hash;
	uint32_t count, cap;
	struct endpoint *e;                /* strings and addresses in the set's arena */
	struct arena *arena;
	bool has_names;
};
struct endpoint_set *endpoints_new(uint32_t cap, struct account *a);  /* NULL: refused */
/* text: "10.0.0.1:50051", "[::1]:1", "host:port", "unix:/path". 0, -EINVAL (weight 0 too), -ENAMETOOLONG, -ENOSPC (beyond cap), -ENOMEM. */
int endpoints_add_text(struct endpoint_set *s, struct str text, uint32_t weight, const char *zone);
int endpoints_add_addrs(struct endpoint_set *s, const struct addr *a, uint32_t n, uint32_t weight, uint32_t priority, const char *zone);
void endpoints_seal(struct endpoint_set *s);                         /* computes hash and has_names */
static inline struct endpoint_set *endpoints_ref(struct endpoint_set *s) { s->refs++; return s; }
void endpoints_unref(struct endpoint_set **s);
