/* lb/cluster: what is alive of a cluster: hosts with their load, policy, budgets, pending calls.
 *
 *   clusters 1 --- n cluster 1 --- n hot record (16 bytes an endpoint: weight, active, flags)  1 --- 0..1 host (born at its first pick)
 *                      |  1 writer: this room                                                               |  n --- 1 pool (by address)
 *                      +-- mesh_cluster (declared; `live` points here)
 *
 * Owner of clusters: sidecar. A cluster lives while its mesh_cluster is declared or a call holds it or a host of it. */
#pragma once
#include "conf/mesh.h"
#include "lb/policy.h"
#include "lb/pool.h"
#include "net/dns.h"

struct clusters;
struct cluster;

/* What active checks say. Without checks: UNCHECKED, which is as good as PASSED. */
enum host_check { HOST_UNCHECKED, HOST_PENDING /* nothing is known yet: not used, unless nobody else is */, HOST_PASSED, HOST_FAILED };
struct outlier_host;
struct health_check;

/* An endpoint's membership in one cluster. Held by exchanges (host_ref) while a call is on it. */
struct host {
	struct cluster *cluster;
	struct pool *pool;            /* counted */
	uint32_t index;               /* of the hot record; UINT32_MAX once removed from the set (still serves its calls, or is held) */
	uint32_t refs;
	uint32_t active;              /* calls on it now; mirrored in hot */
	uint64_t total, errors;
	char text[ADDR_TEXT];         /* for logs, status, access log */
	const char *zone;             /* its own copy */
	/* lb's own */
	uint32_t place;               /* in the cluster's table of hosts */
	uint32_t connections;         /* of its pool, as the cluster has counted them */
	uint32_t key;                 /* endpoint_addrs_hash of addrs */
	struct addr *addrs; uint32_t addr_count;
	uint32_t next;                /* as index, in the members that are being made; UINT32_MAX: nowhere, or not known yet */
	uint32_t incarnation, priority;
	struct endpoint_meta *meta;   /* counted; NULL: none */
	bool replaced;                /* the set has another process at its address */
	enum host_check check;        /* what health/checker says of it */
	bool check_degraded, excluded;/* passed with x-envoy-degraded; failed because it said so itself */
	void *checks;                 /* the checker's own; not NULL: it stays born */
	size_t charged;               /* to the clusters' account, where it was born to be checked */
	struct outlier_host *outlier; /* lb/outlier's own; NULL until the first answer is counted */
	uint32_t weight;              /* while held (lb/held.c): */
	uint64_t held_until_ns;       /* 0: not held */
	struct list held;
	struct pool_watch watch;
	struct grave grave;
};
static inline struct host *host_ref(struct host *h) { h->refs++; return h; }

/* transports: of the process; NULL: who wants TLS cannot be reached. */
struct clusters *clusters_new(struct loop *l, const struct limits *lim, struct mesh *mesh, struct dns *dns, struct transports *transports);
void clusters_free(struct clusters **c);    /* closes all pools */
void clusters_drain(struct clusters *c);    /* process end: upstream connections close when their streams are done */
/* The process stood still (net/loop.h): connections have to prove that they live, back-offs end, names are asked again, what was counted against hosts is forgotten, and who is held
 * has as long as it had. Calls that wait for what is dead move within half a second. */
void clusters_thaw(struct clusters *c);
/* Spaces of secrets know others than before (mesh_cluster_space): who wants TLS gets it by them, and connections by the old ones retire. */
void clusters_secrets_changed(struct clusters *c);
struct pools *clusters_pools(struct clusters *c);
/* What was decided about endpoints that vanished (lb/held.c), once each, while it is done: for the log. host: its text, "" where it is about the whole set. */
enum cluster_told {
	TOLD_HELD,        /* gone from the set, alive: goes on for spec.removal_hold_ns at most */
	TOLD_RELEASED,    /* in the set again */
	TOLD_EXPIRED,     /* its time is over */
	TOLD_ENDED,       /* no sign of life any more, or an order */
	TOLD_EMPTY_KEPT,  /* the assignment is empty: the last one is kept for a while */
	TOLD_EMPTY_OVER,  /* and now it is empty */
};
typedef void clusters_tell_fn(void *ctx, enum cluster_told what, const struct cluster *c, const char *host);
void clusters_set_tell(struct clusters *c, clusters_tell_fn *fn, void *ctx);
/* The live side of a declared cluster, made at first use. NULL: no spec declared. */
struct cluster *cluster_live(struct clusters *c, struct mesh_cluster *m);
/* A call holds its cluster from the route to its end, also while it holds no host (parked, in a back-off). */
void cluster_hold(struct cluster *c);
void cluster_release(struct cluster **c);   /* accepts NULL */
const char *cluster_name(const struct cluster *c);
const struct cluster_spec *cluster_spec(const struct cluster *c);

enum pick_result { PICK_OK, PICK_NONE /* no endpoints, or all tried */, PICK_UNHEALTHY /* endpoints, but none usable */, PICK_WAIT /* DNS has not answered yet, or the first endpoints are still being taken over */, PICK_FULL /* max_requests */, PICK_UNUSABLE /* all that could serve want TLS, which cannot be had: cluster_unusable */ };
enum { TRIED_MAX = PICK_TRIED_MAX };
struct tried { const struct host *host[TRIED_MAX]; uint32_t count; };
/* Picks by policy, avoiding those tried (best effort: when all were tried, PICK_NONE). On PICK_OK: *ret is held (ref) and counted active until host_done.
 * tried NULL: this is a new call (it feeds the retry bucket); a call that comes again says what it tried, be it nothing. The hosts in tried need not be held any more. */
enum pick_result cluster_pick(struct cluster *c, uint64_t hash, const struct tried *tried, struct host **ret);
/* Why TLS cannot be had here: whose, which, and why. Good until the next turn; never NULL. */
const char *cluster_unusable(const struct cluster *c);
/* PICK_WAIT: fn once when DNS answered (or failed), or the cluster is gone. */
struct cluster_wait { struct list node; void (*fn)(struct cluster_wait *w); };
void cluster_wait(struct cluster *c, struct cluster_wait *w, void (*fn)(struct cluster_wait *));
void cluster_unwait(struct cluster_wait *w);

/* pool_open with the cluster's limits: ERR_LIMIT also at max_pending and max_connections. The host is held by the caller at least until w is done.
 * w->ready and w->failed are set by the caller, the rest here. */
struct stream *host_open(struct host *h, struct pool_wait *w, const struct stream_events *ev, void *user, int *ret_err, const char **ret_why);

/* What came of an attempt, for outlier detection (lb/outlier.c). HTTP status as Envoy maps gRPC's (grpc_to_http) where the content is gRPC; 0: no answer. */
struct host_outcome { int http_status; bool local_origin /* connect failure, reset, lost, timeout: nobody answered */; bool degraded; };
enum host_result { HOST_OK, HOST_ERROR /* the provider failed it: 5xx, UNAVAILABLE, reset */, HOST_CONNECT /* could not connect */, HOST_NEUTRAL /* cancelled by the caller, moved */ };
void host_done(struct host **h, enum host_result r);   /* drops the ref, counts */
void host_outcome(struct host *h, const struct host_outcome *o); /* before host_done; free where the cluster has no outlier detection */

/* Retries and moves. A bucket of 1000: each call brings 0.2, and 10 a second come anyway. False: none left (counted).
 * It is full in the beginning: a provider that dies takes what it has in flight with it, all at once, and a cluster that has carried few calls so far must not lose what an older
 * one would not. What a bucket is there for is trouble that goes on. */
bool cluster_retry_take(struct cluster *c);

/* ---- health ----
 * What this room tells health/checker, and what it is told. A cluster whose spec has checks keeps a host for each of its endpoints that may be checked.
 *
 *   switched --> cluster_host_at(0 .. cluster_endpoints) --> host.checks set --> probes --> host_set_check --> hot flags, counts, panic, waiting calls, held ones
 *
 * Who begins how: endpoints of a cluster that nobody serves yet, and those that come by a later set, are PENDING; where a spec gets checks under a cluster that
 * serves already (or events are set then), all begin as PASSED until their first result; ENDPOINT_CHECK_OFF and names without an address are UNCHECKED. Once a spec has
 * lost its checks all are. Who stays in the set, is held (lb/held.c) or returns from there keeps what is known of it.
 *
 * What is PENDING or FAILED, or ejected, counts as unhealthy in the fractions of priorities and localities, and is used in panic only; what EDS orders (DRAINING,
 * UNHEALTHY) stays an order whatever a check says. Two exceptions: to be PENDING is no reason for panic (among 1 passed and 9 that nobody has asked yet, the one serves),
 * and what failed because it said so itself (host_fail_now) is not counted in the fractions, as Envoy excludes it.
 * While nobody stands and somebody is PENDING, calls wait (PICK_WAIT) until somebody passed or nobody is pending any more. */
struct clusters_events { /* all are set */
	void (*switched)(void *ctx, struct cluster *c);    /* other members or another spec serve now, the first ones included; each host that stays is the same struct host.
	                                                    * The spec before it is let go already: who keeps a part of one refs it (spec_ref) */
	void (*ended)(void *ctx, struct cluster *c);       /* the cluster is gone; its hosts were before */
	void (*host_gone)(void *ctx, struct host *h);      /* h->checks is not NULL, and is after it: h is not to be checked any more. It left the set and is not held, the spec has lost
	                                                    * its checks, or the endpoint says ENDPOINT_CHECK_OFF; before `switched`. h may serve calls on. May not call lb */
	void (*failed_now)(void *ctx, struct host *h);     /* an answer of it said x-envoy-immediate-health-check-fail */
	void (*traffic)(void *ctx, struct cluster *c);     /* the first call of a cluster with checks */
};
void clusters_set_events(struct clusters *c, const struct clusters_events *ev, void *ctx);  /* NULL: nobody checks, all are UNCHECKED */
uint32_t cluster_endpoints(const struct cluster *c);
/* i < cluster_endpoints; born where it is not yet. Held ones are not among them. NULL: it has no address (a name that DNS does not know), or there is no memory to
 * check it: then it counts as passed. host.check UNCHECKED: it is not to be checked. */
struct host *cluster_host_at(struct cluster *c, uint32_t i);
void *cluster_checks(const struct cluster *c);                 /* the checker's own, as it was set */
void cluster_set_checks(struct cluster *c, void *checks);
bool cluster_has_traffic(const struct cluster *c);             /* it has carried a call */
/* The endpoint of a host, with its metadata (conf/spec.h: ENDPOINT_*); false: it is not in the set any more (held), ret as it was. */
bool host_endpoint(const struct host *h, struct endpoint *ret);
/* To be told with each pass, be it the same as before (it returns an ejected host, where that is asked for; a failure that does not count yet is none), and each change. FAILED: its connections retire, unless another cluster knows
 * the provider as good; a held one is picked no more, and host_gone follows later. Ignored for who is not under check. */
void host_set_check(struct host *h, enum host_check check, bool degraded);
/* An answer said so. Counts only where the host is checked. */
void host_fail_now(struct host *h);
/* How a check connects to its host: as calls do, unless it says otherwise (criteria, alpn). 0 with *ret (borrowed; NULL: plaintext), or -ENOKEY with *why. */
int host_check_transport(struct host *h, const struct health_check *check, struct transport **ret, const char **why);
const char *host_name(const struct host *h); /* its own, that TLS may ask for; NULL */
const char *host_whose(const struct pool_watch *w);   /* its cluster's name: pools_set_whose */
bool host_is_ejected(const struct host *h);
/* Would a call find a provider now? For grpc.health.v1 answered with cluster truth. SERVING: some endpoint may be used that nobody knows to be dead (one of the set that stands and
 * is not in back-off, or one that is held). NOT_SERVING: none, also where panic would try them all the same: who asks wants to know what is, and is told when that changes.
 * changed: when it has, from a task, at most once a turn. */
enum cluster_truth { TRUTH_UNKNOWN /* DNS, the first endpoints or the first checks are awaited */, TRUTH_SERVING, TRUTH_NOT_SERVING };
enum cluster_truth cluster_truth(struct cluster *c);
struct cluster_watch { struct list node; void (*changed)(struct cluster_watch *w); struct cluster *cluster; /* NULL: not watching */ };
void cluster_watch(struct cluster *c, struct cluster_watch *w, void (*changed)(struct cluster_watch *)); /* the watcher holds the cluster (cluster_hold) as long */
void cluster_unwatch(struct cluster_watch *w);

/* For /clusters, /stats, status. What is counted of a cluster beside its calls; base/stats.def has the sums of all clusters. */
enum cluster_counter {
	COUNT_CHECK_ATTEMPT, COUNT_CHECK_SUCCESS, COUNT_CHECK_FAILURE, COUNT_CHECK_NETWORK_FAILURE, COUNT_CHECK_PASSIVE_FAILURE, /* health/checker's */
	COUNT_PANIC,          /* picks in which all of a priority were used, whatever is known of them */
	COUNT_EJECTED, COUNT_EJECTIONS_OVERFLOW,
	COUNT_EJECTED_FOR,    /* + enum outlier_kind, but for OUTLIER_DEGRADED */
	CLUSTER_COUNTERS = COUNT_EJECTED_FOR + 7
};
void cluster_count(struct cluster *c, enum cluster_counter what);
struct cluster_view {
	const char *name; const char *lb; uint32_t hosts, active, pending, connections; uint64_t calls, errors;
	uint64_t full, pending_full, connections_full; /* calls refused at max_requests, max_pending, max_connections */
	uint32_t retry_tokens;
	uint64_t updates_refused;     /* endpoint sets not taken over for want of memory: the old one stays */
	const char *names;            /* "": by address; "asked", "resolved", "failed": DNS */
	uint32_t held;                /* of the hosts: no longer declared, alive (lb/held.c) */
	uint32_t unusable;            /* of the hosts: want TLS that cannot be had (cluster_unusable) */
	bool building;                /* new endpoints are being taken over */
	bool empty_kept;              /* declared without endpoints: the last ones serve for a while */
	uint32_t healthy, degraded;   /* of the hosts in the set: may serve now; the degraded ones only where these are not enough */
	uint32_t check_pending, check_failed, ejected;
	bool checked;                 /* active checks are made */
	bool panic;                   /* too few are healthy: of some priority all are used */
	enum cluster_truth truth;
	bool outlier;                 /* outlier detection is declared */
	const uint64_t *counts;       /* [CLUSTER_COUNTERS]; borrowed */
	const char *note;             /* what is declared and not done: "ring_hash is not built: random instead"; NULL: nothing */
};
struct host_view {
	const char *text, *zone; uint32_t weight, active, connections, flags; uint64_t total, errors; const char *state;
	const char *why;              /* it has no connection; NULL: it has one, or nothing failed */
	const char *health;           /* in a word, and by that who says so: "healthy", "degraded", "no TLS", "eds unhealthy", "draining", "check failed", "ejected", "check pending", "backoff", "held" */
	enum host_check check;
	bool ejected, held;
	struct pool_peer peer;        /* kind NULL: nobody knows yet how it is called */
	const struct host *host;      /* borrowed; NULL: not born. For who knows more of it (checker_host, outlier_host_view) */
};
void clusters_each(struct clusters *c, void (*fn)(void *ctx, struct cluster *c, const struct cluster_view *v), void *ctx);
void cluster_view(struct cluster *c, struct cluster_view *ret); /* texts are good until the next turn */
void cluster_each_host(struct cluster *c, void (*fn)(void *ctx, const struct host_view *v), void *ctx);
/* The same in pieces of at most `most`: those first that are not plainly healthy, then the held ones, then the others. w: zeroed in the beginning. False: that was the last. Between two
 * pieces the set may become another one: then some are told twice or not at all, and the walk ends all the same. */
struct host_walk { uint32_t phase, at; };
bool cluster_walk_hosts(struct cluster *c, struct host_walk *w, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), void *ctx);
