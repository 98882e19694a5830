/* lb/cluster_int: what cluster.c, members.c, rebuild.c, levels.c, held.c, host.c, checked.c and outlier.c share, and nobody else. See lb/cluster.h for the objects.
 *
 *   cluster 1 --- 1 members (serve now) 1 --- n level (a priority) 1 --- n bucket (all of it, or one locality of it) 1 --- 1 policy
 *           1 --- 0..1 rebuild (makes the next members in slices, then they take the place of the old ones)
 *           1 --- n held host (not in the set any more, alive all the same) */
#pragma once
#include "lb/cluster.h"
#include "lb/hostnames.h"
#include "lb/outlier.h"

struct clusters {
	struct loop *loop;          /* borrowed */
	struct mesh *mesh;          /* borrowed */
	struct dns *dns;            /* borrowed, may be NULL */
	struct pools *pools;        /* owned */
	struct transports *transports; /* borrowed; NULL: no TLS can be had */
	struct endpoint_metas *metas; /* owned: of what DNS answers, where its name matters; NULL: none yet */
	struct account account;     /* hot records, policies, answers of DNS */
	struct list clusters;
	clusters_tell_fn *tell; void *tell_ctx;
	outlier_tell_fn *outlier_tell; void *outlier_ctx;
	const struct clusters_events *events; void *events_ctx; /* borrowed; NULL: nobody checks */
};

/* Endpoints that one policy picks from: hot records first .. first + count. */
struct bucket {
	uint32_t first, count;
	uint32_t weight;            /* of the locality, where these count; 1 otherwise */
	uint32_t total;             /* without those that are unusable; of these: */
	uint32_t excluded;          /* not counted in fractions */
	uint32_t pending;           /* would stand, once their first check passed */
	uint32_t standing;          /* none of HOT_DOWN */
	uint32_t healthy, degraded; /* standing and not in back-off */
	uint64_t upto[3];           /* for the choice among the buckets of a level: sums up to this one of healthy, degraded, all */
	struct policy *policy;      /* owned */
};
enum pick_class { PICK_HEALTHY, PICK_DEGRADED, PICK_ALL /* panic */ };
enum { LEVELS_MAX = 128 };      /* what has a higher number than the 128th lowest priority belongs to that one */
struct level {
	uint32_t priority;
	uint32_t first, count;      /* buckets */
	uint32_t healthy_percent, degraded_percent; /* of the calls */
	bool panic;
};
/* Groups are laid out by priority: hot records hot .. hot + count are endpoints set .. of the set. */
struct place { uint32_t hot, set, count; };

/* What is derived from one endpoint set (and what DNS says of its names): made whole, then put in the place of the old. */
struct members {
	struct endpoint_set *set;   /* counted; names expanded */
	uint32_t declared;          /* endpoints of the set as it was declared, names counted as one */
	uint64_t spec_hash;         /* what flags and policies were made by */
	uint32_t count;
	struct hot *hot;
	struct place *places; uint32_t place_count;
	uint32_t *group_hot;        /* of each group of the set: where its endpoints begin in hot */
	struct level *levels; uint32_t level_count;
	struct bucket *buckets; uint32_t bucket_count;
	uint32_t unusable, pending, failed, ejected; /* hot records with HOT_UNUSABLE, HOT_PENDING, HOT_CHECK alone, HOT_EJECTED */
	uint64_t weight;            /* of all hot records */
	bool checked;               /* the spec has checks and somebody makes them */
	bool waiting;               /* nobody stands, the first checks are awaited; computed as percentages are */
	bool stale;                 /* percentages and sums are to be computed at the next pick */
};

struct rebuild;
struct cluster {
	struct list node;
	struct clusters *all;       /* borrowed */
	struct mesh_cluster *decl;  /* borrowed: the mesh keeps it while decl->live is set */
	struct cluster_spec *spec;  /* counted: the last one declared */
	struct names *names;        /* NULL: all by address */
	struct wants *wants;        /* owned; NULL: nobody has asked for TLS here (lb/wants.c) */
	struct members m;
	struct rebuild *rebuild;    /* owned; NULL: none */
	struct endpoint_set *next;  /* counted: published while a rebuild ran; NULL: none */
	struct task work;           /* slices of the rebuild, then hosts that are to be settled */
	uint32_t settle;            /* hosts[0 .. settle) have not been looked at since the last switch */
	struct host **hosts;        /* born ones, removed ones included while a call holds them; owned */
	uint32_t host_count, host_cap;
	uint32_t active, pending, connections;
	uint32_t holds;               /* calls between two attempts: they know the cluster and hold no host */
	uint64_t calls, errors, full, pending_full, connections_full, updates_refused;
	uint64_t counts[CLUSTER_COUNTERS];
	uint64_t retry_milli, retry_at_ns;
	struct list waits;
	struct task wake;
	struct list watches; uint32_t watch_count; /* of the truth */
	struct task tell;
	enum cluster_truth told;      /* what those who watch know, */
	bool tell_anyway;             /* but for one who came later */
	void *checks;                 /* health/checker's own */
	struct list held; uint32_t held_count; uint64_t held_weight;
	struct timer held_timer;
	struct outliers *outliers;  /* lb/outlier's own; NULL: nothing was counted */
	struct timer empty;         /* armed: the assignment is empty, and m is what it was before */
	uint32_t walked;            /* endpoints, by the last slice of work: for tests */
	bool withdrawn;
	bool expiring;              /* what was kept of an empty assignment goes: nothing is held now */
	bool names_stale;           /* DNS answers another address than the one that is used (spec.one_address) */
	bool repool;                /* hosts are to be settled under a new spec */
	struct grave grave;
};

/* Flags beside those of lb/policy.h. HOT_DEGRADED follows from who says so (flags_settled): set and clear these. */
enum {
	HOT_CHECKED = 256,          /* active checks ask it */
	HOT_PENDING = 512,          /* with HOT_CHECK: nobody knows yet; HOT_CHECK without it: failed */
	HOT_EXCLUDED = 1024,        /* with HOT_CHECK: it said itself that it goes; not counted in fractions */
	HOT_DEGRADED_SAID = 2048,   /* by its assignment, */
	HOT_DEGRADED_CHECK = 4096,  /* its check, */
	HOT_DEGRADED_OUTLIER = 8192,/* its answers */
};
enum {
	HOT_ORDERED = HOT_DRAINING | HOT_UNHEALTHY,
	HOT_DOWN = HOT_ORDERED | HOT_CHECK | HOT_EJECTED,
	HOT_OUT = HOT_DOWN | HOT_BACKOFF | HOT_UNUSABLE,
	HOT_OF_CHECK = HOT_CHECK | HOT_PENDING | HOT_EXCLUDED | HOT_DEGRADED_CHECK,
	HOT_OF_OUTLIER = HOT_EJECTED | HOT_DEGRADED_OUTLIER,
	HOT_DECLARED = HOT_ORDERED | HOT_UNUSABLE | HOT_DEGRADED_SAID | HOT_CHECKED,
};
enum { HOSTS_KEPT = 256 };          /* in a set of more endpoints a host without connections and calls is given up */

/* lb/wants.c: the TLS that a cluster's endpoints want, alive */
/* The transport for a want of the spec, borrowed: as long as the spec stays. NULL: *why, as long. alpn: offered instead of its own; NULL. row: what chose it, for texts; NULL. */
struct transport *wants_transport(struct cluster *c, struct tls_want *want, const char *alpn, const char *row, const char **why);
/* Where an endpoint with this metadata leads: 0 with *ret (NULL: plaintext), or -ENOKEY with *why. */
int wants_of(struct cluster *c, const struct endpoint_meta *meta, struct transport **ret, const char **why);
void wants_respec(struct cluster *c);  /* the spec is another one: transports of wants that it has too are kept */
bool wants_again(struct cluster *c);   /* the secrets are other ones, perhaps: true, if a transport is another one now */
void wants_end(struct cluster *c);

/* lb/members.c: the layout */
struct layout {
	uint32_t phase, at;         /* groups walked in this phase */
	uint32_t levels, priorities[LEVELS_MAX];
	struct { uint32_t endpoints, groups, weighted, hot, place, bucket; } of[LEVELS_MAX]; /* sums, then where its next group goes */
};
void members_end(struct cluster *c, struct members *m);
uint32_t members_endpoint(const struct members *m, uint32_t index);  /* hot record -> endpoint of the set */
struct bucket *members_bucket(const struct members *m, uint32_t index); /* NULL: a locality without weight, beside others that have one */
/* One endpoint more or less with these flags; b may be NULL. */
static inline void bucket_count(struct bucket *b, uint32_t flags, uint32_t by)
{
	if (!b || flags & HOT_UNUSABLE)
		return;
	b->total += by;
	if (flags & HOT_DOWN) {
		if ((flags & (HOT_DOWN | HOT_PENDING)) == (HOT_CHECK | HOT_PENDING))
			b->pending += by;
		if (flags & HOT_EXCLUDED)
			b->excluded += by;
		return;
	}
	b->standing += by;
	if (flags & HOT_BACKOFF)
		return;
	*(flags & HOT_DEGRADED ? &b->degraded : &b->healthy) += by;
}
/* The same for all of the members. */
static inline void members_count(struct members *m, struct bucket *b, uint32_t flags, uint32_t by)
{
	bucket_count(b, flags, by);
	if (__builtin_expect(!(flags & (HOT_UNUSABLE | HOT_CHECK | HOT_EJECTED)), 1))
		return;
	m->unusable += flags & HOT_UNUSABLE ? by : 0;
	m->pending += flags & HOT_PENDING ? by : 0;
	m->failed += (flags & (HOT_CHECK | HOT_PENDING)) == HOT_CHECK ? by : 0;
	m->ejected += flags & HOT_EJECTED ? by : 0;
}
/* Changes flags of a hot record and the counts that depend on them. */
void cluster_flag(struct cluster *c, uint32_t index, uint32_t set, uint32_t clear);
static inline uint32_t flags_settled(uint32_t flags)
{
	flags &= ~(uint32_t)(HOT_USABLE | HOT_DEGRADED);
	if (flags & (HOT_DEGRADED_SAID | HOT_DEGRADED_CHECK | HOT_DEGRADED_OUTLIER))
		flags |= HOT_DEGRADED;
	return flags & HOT_OUT ? flags : flags | HOT_USABLE;
}
/* 1: more to do, 0: done, negative. Makes all of m but the contents of hot, the policies and the counts, from m->set. */
int layout_step(struct cluster *c, struct members *m, struct layout *y, uint32_t *work);

/* lb/rebuild.c: the next members */
enum {
	REBUILD_AT_ONCE = 4096,     /* endpoints: a set of no more is taken over in one go */
	REBUILD_SLICE = 4096,       /* endpoints walked in one turn: about 200 us */
};
/* New members from the spec, the set and the names; the old ones stay when memory is refused. NULL: none. */
void cluster_rebuild(struct cluster *c, struct endpoint_set *set);
void cluster_work_soon(struct cluster *c);
bool cluster_keeps_address(const struct cluster *c);
void cluster_rebuild_stop(struct cluster *c);
static inline bool cluster_is_building(const struct cluster *c) { return c->rebuild != NULL; }
/* A host was born, or one took another's place in the table, or one goes, while the next members are made. */
void rebuild_born(struct cluster *c, struct host *h);
void rebuild_moved(struct cluster *c, struct host *h);
void rebuild_gone(struct cluster *c, struct host *h);

/* lb/levels.c: whom a pick asks */
/* A hot record, or PICK_NOBODY. k: who was tried; its other fields are set here. */
uint32_t levels_pick(struct cluster *c, struct pick *k);
bool levels_panic(struct cluster *c); /* of some priority all are used */
bool levels_may(const struct cluster *c, const struct pick *k, uint32_t index); /* would a pick for k take it */

/* lb/held.c: endpoints that vanished and live */
/* The host is no longer in the set and was `hot` there. True: it is held. */
bool held_take(struct cluster *c, struct host *h, uint32_t flags, uint32_t weight);
void held_back(struct cluster *c, struct host *h);    /* it is in the set again */
void held_changed(struct host *h);                    /* what its pool says, or its check; it may be held no more */
bool held_serves(const struct cluster *c);            /* one of them may be picked, and nobody knows that it could not be connected to */
void held_drop(struct cluster *c, enum cluster_told why, struct host *h);
void held_thaw(struct cluster *c);
void held_end_all(struct cluster *c);
struct host *held_pick(struct cluster *c, const struct tried *tried, uint64_t weight_of_others, uint32_t priority);
bool empty_keeps(struct cluster *c, const struct endpoint_set *set); /* the set is empty: is the last one kept for a while */

/* lb/host.c */
struct host *host_born(struct cluster *c, uint32_t index);
void host_end(struct host *h);
void host_sync(struct host *h);     /* takes over what its pool says: connections, back-off */
void host_refit(struct host *h);    /* its metadata and the pool are those of the set and the spec of now */
bool host_lives(const struct host *h); /* a connection stands that is not going away */
void host_flag(struct host *h);     /* its hot record says what its check says; nothing where it is not in the set */
void host_settle_check(struct host *h, uint32_t flags); /* it has a place in the set, whose hot record says so: is it to be checked, and how does it begin */
void host_uncheck(struct host *h);  /* it is not to be checked any more; its hot record stays as it is */
static inline bool host_is_held(const struct host *h) { return h->held_until_ns != 0; }

/* lb/cluster.c */
void cluster_maybe_end(struct cluster *c);
void cluster_wake(struct cluster *c);

/* lb/checked.c: what checks and those who watch have to do with a cluster */
static inline bool cluster_wants_checks(const struct cluster *c) { return c->all->events && c->spec->nchecks; }
void cluster_switched(struct cluster *c);    /* tells who checks */
void cluster_first_call(struct cluster *c);
void cluster_end_watches(struct cluster *c); /* it ends: nobody is told any more */
void cluster_tell_soon(struct cluster *c);
/* Its truth may have changed. */
static inline void cluster_changed(struct cluster *c)
{
	if (__builtin_expect(c->watch_count, 0))
		cluster_tell_soon(c);
}
