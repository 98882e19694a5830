/* lb/cluster_int: what cluster.c, members.c and host.c share, and nobody else. See lb/cluster.h for the objects. */
#pragma once
#include "lb/cluster.h"
#include "lb/hostnames.h"

struct clusters {
	struct loop *loop;          /* borrowed */
	struct mesh *mesh;          /* borrowed */
	struct dns *dns;            /* borrowed, may be NULL */
	struct pools *pools;        /* owned */
	struct account account;     /* hot records, policies, answers of DNS */
	struct list clusters;
};

/* What is derived from one endpoint set (and what DNS says of its names): made whole, then put in the place of the old. */
struct members {
	struct endpoint_set *set;   /* counted; names expanded; hot record i is its endpoint i */
	uint32_t declared;          /* endpoints of the set as it was declared, names counted as one */
	struct hot *hot;
	uint32_t count;
	struct policy *policy;      /* NULL while count is 0 */
};

struct cluster {
	struct list node;
	struct clusters *all;       /* borrowed */
	struct mesh_cluster *decl;  /* borrowed: the mesh keeps it while decl->live is set */
	struct cluster_spec *spec;  /* counted: the last one declared */
	struct names *names;        /* NULL: all by address */
	struct members m;
	uint32_t usable;            /* hot records with HOT_USABLE */
	uint32_t standing;          /* neither draining nor unhealthy */
	struct host **hosts;        /* born ones, removed ones included while a call holds them; owned */
	uint32_t host_count, host_cap;
	uint32_t active, pending, connections;
	uint32_t holds;               /* calls between two attempts: they know the cluster and hold no host */
	uint64_t calls, errors, full, pending_full, connections_full, updates_refused;
	uint64_t retry_milli, retry_at_ns;
	struct list waits;
	struct task wake;
	bool withdrawn;
	struct grave grave;
};

enum { HOT_OUT = HOT_BACKOFF | HOT_DRAINING | HOT_UNHEALTHY };
enum { HOSTS_KEPT = 256 };          /* in a set of more endpoints a host without connections and calls is given up */

/* lb/members.c */
/* New members from the spec, the set and the names; the old ones stay when memory is refused. */
void cluster_rebuild(struct cluster *c, struct endpoint_set *set);
void members_end(struct cluster *c, struct members *m);
/* Changes flags of a hot record and the cluster's counts of them. */
void cluster_flag(struct cluster *c, uint32_t index, uint32_t set, uint32_t clear);

/* lb/host.c */
struct host *host_born(struct cluster *c, uint32_t index);
void host_end(struct host *h);
void host_sync(struct host *h);     /* takes over what its pool says: connections, back-off */
void host_repool(struct host *h);   /* the pool for the cluster's spec of now */
uint64_t addrs_key(const struct addr *a, uint32_t n);

/* lb/cluster.c */
void cluster_maybe_end(struct cluster *c);
