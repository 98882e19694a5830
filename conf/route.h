/* conf/route: what a name means: which cluster a call goes to, and how. Immutable once sealed, counted; from YAML (one route) or from xDS (xds/decode_route builds).
 *
 *   route_config (a RouteConfiguration) 1 --- n virtual host, by domain --route_config_find(authority)--> route_table 1 --- n route: match + action
 *
 * The mesh gives a name the table of its virtual host. The exchange keeps the action (a ref), never the table. What a table from xDS takes is charged to the
 * account it was decoded for, until the table goes; an action that a call still holds then is that call's, as its fields are.
 *
 * What thinmesh cannot do is never silent: an action that would send calls elsewhere, or otherwise, is ROUTE_UNSUPPORTED and says what it is; what
 * can be left out without sending a call to the wrong place stands in `notes`. */
#pragma once
#include "base/str.h"
#include "conf/match.h"
#include "conf/ration.h"
#include "net/fields.h"

struct retry_policy {
	uint32_t max;             /* attempts beyond the first; 0: none */
	uint32_t on;              /* RETRY_* */
	uint32_t status_count; uint16_t statuses[8];  /* retriable-status-codes */
	uint32_t host_selection_attempts; /* how often another host is picked while the last one comes up again; 0: as our own policy does */
	uint64_t per_try_timeout_ns;
	uint64_t base_ns, cap_ns; /* back-off: 25 ms, 250 ms */
};
enum { RETRY_CONNECT_FAILURE = 1, RETRY_REFUSED_STREAM = 2, RETRY_UNAVAILABLE = 4, RETRY_CANCELLED = 8, RETRY_RESET = 16, RETRY_5XX = 32, RETRY_GATEWAY = 64,
	RETRY_DEADLINE = 128, RETRY_INTERNAL = 256, RETRY_EXHAUSTED = 512, RETRY_STATUSES = 1024, RETRY_4XX = 2048 };
uint32_t retry_on_parse(struct str list, bool grpc);   /* x-envoy-retry-on / x-envoy-retry-grpc-on; unknown words are ignored */
uint32_t retry_on_word(struct str word);               /* a word of either list; 0: not known */
const char *retry_on_name(uint32_t i);                 /* all words, for messages; NULL behind the last */

/* ---- actions ---- */

enum route_kind { ROUTE_CLUSTER, ROUTE_WEIGHTED, ROUTE_CLUSTER_HEADER, ROUTE_DIRECT, ROUTE_REDIRECT, ROUTE_UNSUPPORTED };
struct route_weighted { char *cluster; uint32_t weight; bool by_header; /* cluster is a header's name */ };
struct route_redirect {
	uint16_t status;
	bool https, strip_query;
	uint16_t port;            /* 0: as it was */
	char *scheme, *host;      /* NULL: as it was */
	char *path;               /* the whole path, query included where it has one; NULL: as it was */
	char *prefix;             /* in place of what the route's prefix or path matched (prefix_n bytes); NULL: nothing is replaced */
	uint32_t prefix_n;
};
struct route_action {
	uint32_t refs;
	enum route_kind kind;
	char *cluster;            /* ROUTE_CLUSTER: name in the mesh table; ROUTE_CLUSTER_HEADER: the header's name, lower case; else NULL, or (UNSUPPORTED) where it would have gone, for texts */
	struct route_weighted *weighted; uint32_t nweighted; uint64_t total_weight;
	uint64_t timeout_ns;      /* 0: none. The route's own: timeout, or max_stream_duration where that is present */
	uint64_t idle_timeout_ns; /* 0: none, or the listener's */
	bool has_timeout;         /* max_stream_duration says so itself, the listener's does not count */
	bool has_idle_timeout;    /* the same for idle_timeout */
	bool grpc_timeout_heeded; /* grpc_timeout_header_max, max_grpc_timeout: the caller's grpc-timeout counts, capped by the next; 0: no cap. Without it Envoy only forwards it */
	uint64_t grpc_timeout_max_ns;
	uint64_t grpc_timeout_offset_ns; /* subtracted from the caller's */
	struct retry_policy retry;
	struct { uint16_t status; uint32_t body_n; char *body; } direct; /* ROUTE_DIRECT; body NULL: none */
	struct route_redirect *redirect; /* ROUTE_REDIRECT */
	char *unsupported;        /* ROUTE_UNSUPPORTED: what it is ("regex_rewrite"), for the local error and for status */
	char *notes;              /* understood and without effect yet ("request_mirror_policies; hash_policy"); NULL: nothing */
	char *name;               /* of the route; NULL: none */
};
struct route_action *route_action_new(const char *cluster); /* ROUTE_CLUSTER; NULL: the kind is set by who asks */
static inline struct route_action *route_action_ref(struct route_action *a) { a->refs++; return a; }
void route_action_unref(struct route_action **a);
bool route_action_eq(const struct route_action *a, const struct route_action *b); /* of what is declared; NULL equals NULL */
uint64_t route_action_hash(const struct route_action *a, uint64_t seed);
/* Which cluster this call goes to: by weight (random: 64 bits), by header, or the only one. p NULL: the header is missing, or the action names no cluster. */
struct str route_action_cluster(const struct route_action *a, uint64_t random, const struct fields *head);

/* ---- tables: a virtual host ---- */

struct route { struct match match; struct route_action *action; /* owned ref */ };
struct route_table {
	uint32_t refs;
	uint32_t count, cap;
	struct route *routes;     /* owned */
	uint64_t hash;            /* over the declared content; 0: not sealed */
	char *name;               /* of the virtual host; NULL: none */
	bool cut_params;          /* path parameters (";x") are no part of the path */
	struct route_action *undecided; /* owned ref; where an expression gives up: a call may not go to a route that is only the next one. NULL: there are none */
	struct charge charge;
};
struct route_table *route_table_single(struct route_action *taken); /* one route for all that is asked of the name */
static inline struct route_table *route_table_ref(struct route_table *t) { t->refs++; return t; }
void route_table_unref(struct route_table **t);
bool route_table_eq(const struct route_table *a, const struct route_table *b);
/* Borrowed; NULL: none matches. random: for runtime_fraction. */
struct route_action *route_match(const struct route_table *t, const struct fields *head, uint64_t random);
/* All clusters that the table names, each once. */
void route_table_clusters(const struct route_table *t, void (*fn)(void *ctx, const char *cluster), void *ctx);
/* Building: all with one ration, which the table pays for at its seal. */
struct route_table *route_table_new(struct ration *r, struct str name);                     /* NULL: refused */
bool route_table_add(struct ration *r, struct route_table *t, struct match *moved, struct route_action *taken); /* false: refused, both are freed */
bool route_table_seal(struct ration *r, struct route_table *t);                             /* false: refused */

/* ---- configurations: virtual hosts by domain ---- */

struct route_config;
/* Borrowed. Domains: exact, then suffix (*.x), then prefix (x.*), each longest first; asked with the full authority first, then without its port (istiod
 * writes both kinds under one flag, see istio.md 0.5, so ignore_port_in_host_matching is not asked); `*` last. NULL: none. */
struct route_table *route_config_find(const struct route_config *c, struct str authority);
uint32_t route_config_hosts(const struct route_config *c);   /* number of virtual hosts: 0 is istiod's "does not exist" */
struct route_table *route_config_host(const struct route_config *c, uint32_t i); /* borrowed */
const char *route_config_name(const struct route_config *c);
struct route_config *route_config_ref(struct route_config *c);
void route_config_unref(struct route_config **c);
bool route_config_eq(const struct route_config *a, const struct route_config *b);
struct route_config *route_config_new(struct ration *r, struct str name);
bool route_config_add(struct ration *r, struct route_config *c, struct route_table *taken); /* the next virtual host; false: refused, it is unref'ed */
bool route_config_domain(struct ration *r, struct route_config *c, struct str domain);      /* one of the last virtual host's */
struct route_twice { uint32_t host, first; char domain[128]; }; /* a domain that two virtual hosts have: the later, the first */
int route_config_seal(struct ration *r, struct route_config *c, struct route_twice *ret);  /* 0; -ENOMEM; -EEXIST */
