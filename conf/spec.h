/* conf/spec: what is declared of a cluster: its policy (cluster_spec) and its members (endpoint_set). Immutable once published,
 * shared by counted reference, replaced whole; from YAML or from xDS. `hash` is over the declared content: equal hash = nothing changed. */
#pragma once
#include "base/addr.h"
#include "base/mem.h"
#include "net/tls_want.h"

struct str;
struct health_check; struct outlier; /* conf/health.h */

/* Order is the order of the words in conf.def. Those behind LEAST_REQUEST are declared and not built yet: lb uses random for them and says so once. */
enum lb_kind { LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST, LB_RING_HASH, LB_MAGLEV };

/* Which TLS does an endpoint want? From Cluster.transport_socket and transport_socket_matches, or services[].tls: the first row whose pairs are all among the endpoint's
 * (metadata "envoy.transport_socket_match") decides, else cluster_spec.want. NULL is plaintext. Who knows only
 * that it is TLS says so by a want that is not built. */
struct tls_pair { char *key, *value; };
struct tls_row { char *name; struct tls_pair *pairs; uint32_t npairs; struct tls_want *want; /* owned ref; NULL: plaintext */ };

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
	uint32_t panic_percent;         /* healthy_panic_threshold: 50; 0: never */
	uint32_t overprovisioning;      /* percent, of the assignment; 140 */
	bool locality_weighted;         /* endpoints' weights are shares inside their locality, localities have shares of their own */
	bool one_address;               /* LOGICAL_DNS: of what DNS answers only one is used, connections of older answers stay */
	uint32_t ring_min, ring_max;    /* ring_hash: 1024, 8388608 */
	uint64_t removal_hold_ns;       /* an endpoint that vanishes without an order stays while it is alive; 0: off */
	bool ignore_health_on_removal;  /* what is no longer listed goes at once, be it alive */
	struct health_check *checks; uint32_t nchecks; /* owned; all must pass */
	struct outlier *outlier;        /* owned; NULL: off */
	struct tls_row *tls; uint32_t ntls;
	struct tls_want *want;          /* of endpoints that no row speaks of: owned ref; NULL: plaintext */
	char *tls_name;                 /* of the socket that asks, for texts; NULL */
};
struct cluster_spec *spec_new(const char *name);   /* the defaults above; refs 1 */
static inline struct cluster_spec *spec_ref(struct cluster_spec *s) { s->refs++; return s; }
void spec_unref(struct cluster_spec **s);
/* Computes hash, once everything is set. Publishing does it where it was forgotten. */
void spec_seal(struct cluster_spec *s);
const char *lb_kind_name(enum lb_kind k);          /* "round_robin" ... */
bool lb_kind_is_built(enum lb_kind k);

/* ---- endpoints ----
 *
 *   endpoint_set 1 --- n group (a locality with priority and weight) 1 --- n block (at most ENDPOINT_BLOCK endpoints, 32 bytes each; counted)
 *
 * A set is built once and never changed. Blocks are shared between a set and its successor: what makes a block is decided by the bytes of its endpoints
 * (content-defined: see endpoints_block), so one changed endpoint among 100,000 makes one block new. An endpoint is an address with alternates (happy
 * eyeballs), or a host name that DNS answers (lb expands it into a set of its own: each answer is an endpoint; a v6 and a v4 answer are alternates pairwise). */
enum endpoint_health { EP_UNKNOWN, EP_HEALTHY, EP_UNHEALTHY, EP_DRAINING, EP_DEGRADED };
enum { ENDPOINT_BLOCK = 256, ENDPOINT_ADDRS = 16 /* of one endpoint: the address and its alternates; -EINVAL beyond */ };
struct endpoint_meta;                /* what is kept of an endpoint's metadata: interned, counted: pairs of envoy.transport_socket_match and envoy.lb */
struct locality { const char *region, *zone, *sub_zone; /* never NULL */ uint32_t weight; /* 0: none */ uint32_t priority; };
struct endpoint {                    /* a view that endpoint_get fills; pointers live as long as the set */
	struct addr addr;                  /* the first; len 0 for a name */
	uint32_t naddrs;                   /* with alternates */
	const char *host; uint16_t port;   /* by name; host NULL: by address. hostname of xDS endpoints: see `hostname` */
	uint32_t weight;                   /* >= 1; default 1 (xDS) or 100-based as written */
	uint32_t priority;
	uint8_t health;                    /* enum endpoint_health */
	const char *zone;                  /* of the locality; NULL: none */
	const struct locality *locality;
	const struct endpoint_meta *meta;  /* NULL: none */
	uint32_t incarnation;              /* hash of what tells two processes at one address apart (istio.workload); 0: unknown */
};
struct endpoint_set;                 /* fields are conf/spec's own, but for: */
struct endpoint_set_head { uint32_t refs; uint32_t count; uint64_t hash; bool has_names; };
static inline const struct endpoint_set_head *endpoints_head(const struct endpoint_set *s) { return (const struct endpoint_set_head *)s; }
static inline uint32_t endpoints_count(const struct endpoint_set *s) { return endpoints_head(s)->count; }
static inline uint64_t endpoints_hash(const struct endpoint_set *s) { return endpoints_head(s)->hash; }
static inline bool endpoints_has_names(const struct endpoint_set *s) { return endpoints_head(s)->has_names; }
static inline struct endpoint_set *endpoints_ref(struct endpoint_set *s) { ((struct endpoint_set_head *)s)->refs++; return s; }
void endpoints_unref(struct endpoint_set **s);
void endpoint_get(const struct endpoint_set *s, uint32_t i, struct endpoint *ret);
/* All addresses of the endpoint, at most max; returns how many there are. */
uint32_t endpoint_addrs(const struct endpoint_set *s, uint32_t i, struct addr *out, uint32_t max);
/* Borrowed from the spec; NULL: plaintext. ret_row: name of what decided, may be NULL inside; may itself be NULL. */
struct tls_want *endpoint_want(const struct cluster_spec *spec, const struct endpoint_meta *meta, const char **ret_row);
/* The same by what a health check says instead of the endpoint (health_check.criteria). */
struct tls_want *endpoint_want_by(const struct cluster_spec *spec, const struct tls_pair *pairs, uint32_t npairs, const char **ret_row);
/* The same but for what it offers: of a check that says so (health_check.alpn). Sealed, counted for the caller. */
struct tls_want *spec_want_alpn(const struct tls_want *w, const char *alpn);
static inline bool spec_wants_tls(const struct cluster_spec *s) { return s->ntls || s->want; } /* some endpoint may */
/* For who keeps an endpoint's metadata longer than the set. Both accept NULL. */
struct endpoint_meta *endpoint_meta_ref(struct endpoint_meta *m);
void endpoint_meta_unref(struct endpoint_meta *m);
const char *endpoint_meta_value(const struct endpoint_meta *m, const char *key); /* NULL: not there */
/* Endpoint.hostname and Endpoint.health_check_config lie among the pairs under keys that no control plane can write (they begin with \001); values as text. */
#define ENDPOINT_HOSTNAME "\001hostname"
#define ENDPOINT_CHECK_HOST "\001check.host"       /* health_check_config.hostname */
#define ENDPOINT_CHECK_PORT "\001check.port"       /* .port_value: another port at the same address */
#define ENDPOINT_CHECK_ADDRESS "\001check.address" /* .address: "10.0.0.1:8080" as addr_parse reads it */
#define ENDPOINT_CHECK_OFF "\001check.off"         /* .disable_active_health_check: "1" */
uint32_t endpoint_meta_pairs(const struct endpoint_meta *m, struct str *pairs, uint32_t max); /* k0, v0, ... sorted; how many pairs there are (m NULL: 0) */
size_t endpoints_memory(const struct endpoint_set *s); /* bytes charged for it and not shared with another set */
uint32_t endpoints_overprovisioning(const struct endpoint_set *s); /* percent; 0: the assignment says nothing */

/* For who walks a set whole (lb). Equal `block` pointers: the same endpoints in the same order, in this set or in another that is held as well. */
struct endpoint_span { const void *block; uint32_t first, count, group; uint64_t hash; /* as endpoints_block was told; 0: is not shared */ };
struct endpoint_group { struct locality locality; uint32_t first, count; /* endpoints */ uint32_t span, spans; };
struct endpoint_brief { uint32_t weight; uint32_t incarnation; uint32_t addrs_hash; uint8_t health; bool by_name; const struct endpoint_meta *meta; };
uint32_t endpoint_addrs_hash(const struct addr *addrs, uint32_t n); /* as in endpoint_brief; cheap and without a seed: bound what probes for it */
uint32_t endpoints_spans(const struct endpoint_set *s);
struct endpoint_span endpoints_span(const struct endpoint_set *s, uint32_t span);
uint32_t endpoints_span_of(const struct endpoint_set *s, uint32_t i); /* the span of endpoint i */
uint32_t endpoints_groups(const struct endpoint_set *s);
struct endpoint_group endpoints_group_at(const struct endpoint_set *s, uint32_t group); /* in the order of the wire; some may be empty */
void endpoints_brief(const struct endpoint_set *s, uint32_t span, struct endpoint_brief out[ENDPOINT_BLOCK]); /* of all of the span's */
struct endpoint_item;
/* As endpoint_put takes it; *addrs is filled with at most `max` and lent to the item. */
void endpoint_item(const struct endpoint_set *s, uint32_t i, struct addr *addrs, uint32_t max, struct endpoint_item *ret);

/* Interned metadata. Owner: who builds sets (conf's mesh for xDS); outlives the sets made with it. */
struct endpoint_metas;
struct endpoint_metas *endpoint_metas_new(struct account *a, uint64_t seed);
void endpoint_metas_free(struct endpoint_metas **m);
/* pairs: k0, v0, k1, v1 ...; in any order: equal pairs give the same pointer. At most ENDPOINT_META_PAIRS. It is on loan until ENDPOINT_META_FRESH others were
 * got: endpoints_put takes the set's ref, and what no set holds goes by itself. NULL: refused. */
enum { ENDPOINT_META_PAIRS = 64, ENDPOINT_META_FRESH = 64 };
struct endpoint_meta *endpoint_meta_get(struct endpoint_metas *m, const struct str *pairs, uint32_t npairs);

/* Building. Everything may say -ENOMEM (the account refused), after which only endpoints_drop is allowed.
 *   endpoints_build -> { endpoints_group -> { endpoints_share | endpoints_block -> endpoints_put ... } ... -> endpoints_group_end } ... -> endpoints_done */
struct endpoints_builder;
struct endpoint_item {
	const struct addr *addrs; uint32_t naddrs;  /* or */
	struct str host; uint16_t port;
	uint32_t weight; uint8_t health; uint32_t incarnation;
	struct endpoint_meta *meta;                 /* borrowed: the block takes its own ref */
};
struct endpoints_builder *endpoints_build(struct account *a, const struct endpoint_set *old /* may be NULL; borrowed until done */);
int endpoints_group(struct endpoints_builder *b);
/* A block of the old set with this hash (of the wire bytes of its endpoints, in order) is taken over whole: true. */
bool endpoints_share(struct endpoints_builder *b, uint64_t block_hash);
int endpoints_block(struct endpoints_builder *b, uint64_t block_hash);  /* the following items belong to it, at most ENDPOINT_BLOCK (more begin another that is never shared) */
int endpoints_put(struct endpoints_builder *b, const struct endpoint_item *item);
/* What comes behind the endpoints on the wire. Texts are copied. 0, -ENOMEM, -EINVAL (sum of weights or counts beyond 2^32-1). */
int endpoints_group_end(struct endpoints_builder *b, struct str region, struct str zone, struct str sub_zone, uint32_t weight, uint32_t priority);
struct endpoint_set *endpoints_done(struct endpoints_builder **b, uint32_t overprovisioning);   /* sealed; never NULL */
void endpoints_drop(struct endpoints_builder **b);
/* From a configuration: "10.0.0.1:50051", "[::1]:1", "host:port", "unix:/path". 0, -EINVAL (weight 0 too), -ENAMETOOLONG, -ENOMEM. One block a group is fine. */
int endpoints_put_text(struct endpoints_builder *b, struct str text, uint32_t weight);
