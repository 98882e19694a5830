/* conf/mesh: the table of what is declared, from all sources, by name.
 *
 *   mesh_name     "demo.default.svc.cluster.local:50051" -> route table          (from services, later xDS)
 *   mesh_cluster  cluster name -> cluster_spec + endpoint_set, + `live` (lb's)
 *
 * One writer a source. Entries are created by who asks first and live while they are declared or watched; pointers are stable.
 * Static `services` serve every view; a view (control plane, node identity) has its own names and clusters beside them. Watches are told deferred, by the
 * loop's tasks, which sidecar wires (mesh_set_defer), because mesh knows no loop. Owner: sidecar. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "conf/route.h"
#include "conf/spec.h"

struct mesh;
struct mesh_view;
struct secret_space; /* net/secret.h: where the secrets of a TLS connection are found by name; mesh carries it and never looks inside */
enum mesh_state { MESH_UNKNOWN /* nobody answered yet */, MESH_ABSENT /* its source says it does not exist */, MESH_PRESENT };
struct mesh_watch;
struct mesh_name {
	struct mesh *mesh;
	struct mesh_view *view;       /* NULL: static */
	char *name;
	enum mesh_state state;
	struct route_table *routes;   /* owned ref; NULL unless present */
	const char *source;           /* who said so, for the answer's text: "services", "xds ..."; borrowed: lives as long as the view */
	const char *why;              /* unknown: why nobody answered yet; absent: what was said. Borrowed as above; NULL */
	bool stale;                   /* present, from a snapshot that was not confirmed yet */
	bool tentative;               /* another spelling, asked because the first does not exist: its source gives it up soon when it does not exist either */
	bool alone;                   /* absent, and its other spelling did not exist either when that was asked last */
	bool failed;                  /* unknown, and nobody can answer for now: calls do not wait for it */
	bool dropped;                 /* mesh's: its source gave it up */
	uint64_t used_ns;             /* of the last call (mesh_name_use); names of a view that are idle are given up by their source */
	void *data;                   /* the source's own */
	struct list watches;
	uint32_t holds;               /* watches and parked calls; 0 and not present: dropped before the next publishing or telling */
	struct list due;              /* mesh's: among those to be told about, or dropped */
};
struct mesh_cluster {
	struct mesh *mesh;
	struct mesh_view *view;       /* NULL: static */
	char *name;
	struct cluster_spec *spec;    /* owned refs; NULL: not there (yet) */
	struct endpoint_set *endpoints;
	void *live;                   /* lb/cluster's; set and cleared by lb */
	bool left;                    /* its view is gone: it is withdrawn, and has no space any more */
	void (*changed)(struct mesh_cluster *c); /* lb's hook: called at each publish, and with spec NULL when withdrawn */
	struct list watches;
	struct list due;              /* mesh's, as above. Dropped once it is withdrawn, unwatched, and lb has cleared `live` */
};
/* Owned by who watches; zero = not watching. fn may do anything, unwatching and freeing itself or others included. */
struct mesh_watch { struct list node; void (*fn)(struct mesh_watch *w); struct mesh_name *name; struct mesh_cluster *cluster; };

struct mesh *mesh_new(uint64_t seed);
void mesh_free(struct mesh **m);
uint64_t mesh_generation(const struct mesh *m);  /* grows whenever a name appears, disappears or changes its state: caches compare it */

/* Publishing (the static source). Publishing equal content (hash) changes nothing and tells nobody. */
void mesh_put_service(struct mesh *m, const char *name, struct route_table *routes /* taken */, struct cluster_spec *spec /* taken */, struct endpoint_set *eps /* taken */);
void mesh_del_service(struct mesh *m, const char *name);
/* A cluster that no authority leads to (the app's own server): found by mesh_cluster_find alone. */
void mesh_put_cluster(struct mesh *m, const char *name, struct cluster_spec *spec /* taken */, struct endpoint_set *eps /* taken */);
void mesh_del_cluster(struct mesh *m, const char *name);
/* Finding. Exact name; the caller (sidecar/names) tries the full authority, then without its port. NULL: not declared and no resolver wants it. */
struct mesh_name *mesh_find(struct mesh *m, struct str name);          /* static and present */
struct mesh_cluster *mesh_cluster_find(struct mesh *m, struct mesh_view *view, struct str name); /* the view's, else the static one */
uint32_t mesh_each_service(struct mesh *m, void (*fn)(void *ctx, struct mesh_name *n, struct mesh_cluster *c), void *ctx); /* static ones */
void mesh_watch_name(struct mesh_name *n, struct mesh_watch *w, void (*fn)(struct mesh_watch *));
void mesh_watch_cluster(struct mesh_cluster *c, struct mesh_watch *w, void (*fn)(struct mesh_watch *));
void mesh_unwatch(struct mesh_watch *w);
/* How watches are told. With a hook: fn once when there is something to tell; its task then calls mesh_tell. Without one: told before the publishing call returns.
 * mesh_cluster.changed is never deferred: lb must not pick from a set that is gone. */
void mesh_set_defer(struct mesh *m, void (*fn)(void *ctx), void *ctx);
void mesh_tell(struct mesh *m);
/* Whose certificates and roots connections to a cluster take: of the view it is in, or of static services. Borrowed: outlives all clusters, or is set anew (NULL: none, the default). */
void mesh_set_space(struct mesh *m, const struct secret_space *space);
void mesh_view_set_space(struct mesh_view *v, const struct secret_space *space);
const struct secret_space *mesh_cluster_space(const struct mesh_cluster *c);

/* ---- views: names that a control plane answers, on demand ----
 * A view (control plane, node identity) has names and clusters of its own; its source (xds/) is their one writer. An entry that nobody has asked for does not exist.
 *
 *   mesh_want --> UNKNOWN --(source: mesh_view_put, mesh_view_absent)--> PRESENT | ABSENT --(source: mesh_view_drop, when idle)--> gone */
struct mesh_view_ops {
	void (*want)(void *ctx, struct mesh_name *n);     /* a name is wanted that was not there: answer it, now or later */
	bool (*make_room)(void *ctx);                     /* the view is full: drop a name that is least missed; false: there is none. May be NULL */
};
struct mesh_view *mesh_view_new(struct mesh *m, const char *name, const struct mesh_view_ops *ops, void *ctx); /* name: for people */
void mesh_view_free(struct mesh_view **v);            /* drops its names and clusters; whoever holds some keeps them alive until it lets go */
const char *mesh_view_name(const struct mesh_view *v);
/* How many names callers may make it want; 0: any number. */
void mesh_view_set_limit(struct mesh_view *v, uint32_t names);
/* Would one more be too many (and nothing could be dropped for it)? For who wants names that callers made up. */
bool mesh_view_is_full(struct mesh_view *v);
/* The entry, made (UNKNOWN) and wanted where there is none. Never NULL. */
struct mesh_name *mesh_want(struct mesh_view *v, struct str name);
struct mesh_name *mesh_view_find(struct mesh_view *v, struct str name);  /* NULL: nobody wants it */
static inline void mesh_name_use(struct mesh_name *n, uint64_t now_ns) { n->used_ns = now_ns; }
void mesh_view_each(struct mesh_view *v, void (*fn)(void *ctx, struct mesh_name *n), void *ctx); /* fn may not publish or drop */
/* For the source. Equal content changes nothing and tells nobody. */
void mesh_view_put(struct mesh_name *n, struct route_table *taken, const char *source, bool stale);
void mesh_view_absent(struct mesh_name *n, const char *source, const char *why);
void mesh_view_why(struct mesh_name *n, const char *why);             /* unknown still: the reason for texts */
void mesh_view_fail(struct mesh_name *n, bool failed, const char *why); /* unknown still: whoever waits is told that waiting is no use (or is again) */
void mesh_view_drop(struct mesh_name *n);             /* idle: gone once nobody holds it; wanted again meanwhile: a new UNKNOWN, ops->want is called */
void mesh_view_put_cluster(struct mesh_view *v, const char *name, struct cluster_spec *taken, struct endpoint_set *eps_taken);
void mesh_view_del_cluster(struct mesh_view *v, const char *name);
uint32_t mesh_view_each_cluster(struct mesh_view *v, void (*fn)(void *ctx, struct mesh_cluster *c), void *ctx);
