/* xds/store: from resources to what calls see: names with their routes, clusters with their endpoints, published whole into one view of conf/mesh.
 *
 *   mesh_name --data--> entry --dep--> LDS, RDS                 a name is published when every cluster that its routes name is known
 *                         |n                                    (or 15 s later): no call ever meets a half of it
 *                         |n
 *                      xcluster --dep--> CDS, EDS               published when both are there; spec and endpoints switch together
 *
 * Resources change inside of answers; what follows is worked out once, in a task of the same turn. Owner: a view of xds/xds. */
#pragma once
#include "conf/mesh.h"
#include "xds/resource.h"

struct store;
struct store_spec {
	struct loop *loop; struct log *log; struct resources *resources; struct sub *sub; struct mesh_view *view; /* borrowed */
	const struct conf_xds *conf; uint64_t park_ns;   /* borrowed until store_conf */
	const char *source;                              /* "xds istiod:15010", for answers' texts; outlives the view */
};
struct store *store_new(const struct store_spec *spec);
void store_free(struct store **s);
void store_conf(struct store *s, const struct conf_xds *conf, uint64_t park_ns);
void store_thaw(struct store *s, uint64_t stood_ns);      /* the process stood still for so long: nobody could call, so no name is idle by that */
void store_want(struct store *s, struct mesh_name *n);   /* mesh_view_ops.want */
bool store_make_room(struct store *s);                   /* mesh_view_ops.make_room */
void store_begin(struct store *s);                       /* conf->prefetch: wanted for good; conf->wildcard: all is asked for */
/* The stream: up, or not (why: lives as long as the view). Names that nobody could answer for park_ns fail at once until it is up again. */
void store_state(struct store *s, bool up, const char *why);
void store_came(struct store *s, enum xds_type t, struct str name); /* a cluster, a listener: under wildcard its authority is wanted */
struct store_counts { uint32_t names, unknown, absent, stale, clusters; };
void store_counts(const struct store *s, struct store_counts *ret);
