/* xds/resource: what the control plane said of each resource that somebody needs: from its bytes to what conf/ holds, its last good version kept.
 *
 *   resources 1 --- n resource (type, name) 1 --- n dep (who needs it: names and clusters of xds/store)
 *
 *   needed --> ASKED --(bytes accepted)--> PRESENT --(refused bytes: the last good stay)--> PRESENT
 *                    --(gone, silent)----> ABSENT      nobody needs it any more: freed, unsubscribed
 *
 * A resource that the archive has from an earlier run is PRESENT and stale until it is confirmed. Clusters of a control plane that sends all of them (CDS of istiod) lie in
 * the archive only, and become resources when a route names them. Equal bytes change nothing. Owner: a store. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "net/loop.h"
#include "xds/archive.h"
#include "xds/decode.h"
#include "xds/profile.h"
#include "xds/sub.h"

enum resource_state { RESOURCE_ASKED, RESOURCE_PRESENT, RESOURCE_ABSENT };
struct resource {
	struct resources *all;
	enum xds_type type;
	char *name;
	enum resource_state state;
	bool silent;                /* ABSENT: nobody said so, but nobody answered */
	bool stale;                 /* from the archive, not confirmed in this run */
	bool seen;                  /* in the answer that is being read */
	bool unsaved;               /* EDS: not in the archive as it is */
	uint64_t hash;              /* of the accepted bytes (EDS: of the set) */
	char *notes;                /* what of it has no effect; NULL: all has */
	char *refused;              /* why the last bytes were, NULL: they were not */
	struct listener_decoded *listener;  /* of these the one of its type; NULL unless present */
	struct route_config *routes;
	struct cluster_decoded *cluster;
	struct endpoint_set *endpoints;
	struct list deps;
	struct list node;           /* in the list of those that are unsaved */
};
/* Part of who needs the resource; zero = needs none. changed may need and unneed others. It is called inside the reading of an answer: mark, and act in a task. */
struct dep { struct list node; struct resource *resource; void (*changed)(struct dep *d); };

struct resources_spec {
	struct loop *loop; struct log *log; struct archive *archive; struct account *account; struct endpoint_metas *metas; /* borrowed */
	const struct conf_xds *conf;                                                                                        /* borrowed until resources_conf */
	const char *view;                                                                                                   /* for log lines */
};
struct resources;
struct resources *resources_new(const struct resources_spec *spec);
void resources_free(struct resources **r);              /* nobody may need one any more */
void resources_conf(struct resources *r, const struct conf_xds *conf);
void resources_set_sub(struct resources *r, struct sub *sub); /* whose events go to resources_events, with this as their ctx */
extern const struct sub_events resources_events;
/* Called by resources_events.state; the store's. */
void resources_on_state(struct resources *r, void (*fn)(void *ctx, bool up, const char *why), void *ctx);
bool resources_save_soon(struct resources *r); /* the same in slices, a turn each; true: it is done */
void resources_save(struct resources *r);   /* before the end: endpoints that changed just now go to the archive at once */
/* One came of a type that comes whole, needed or not: its authority may be wanted (wildcard). */
void resources_on_came(struct resources *r, void (*fn)(void *ctx, enum xds_type t, struct str name), void *ctx);

/* An answer of that type was seen whole. */
void resources_on_answered(struct resources *r, void (*fn)(void *ctx, enum xds_type t), void *ctx);
struct resource *resource_find(const struct resources *r, enum xds_type t, struct str name); /* NULL: nobody needs it */

/* d is told of each change from now on; look at d->resource first: it may be there already. Needing another one than before gives that up for good. */
void resource_need(struct resources *r, struct dep *d, enum xds_type t, struct str name, void (*changed)(struct dep *d));
void resource_unneed(struct dep *d);
void resources_each(struct resources *r, enum xds_type t, void (*fn)(void *ctx, struct resource *q), void *ctx);
uint32_t resources_count(const struct resources *r, enum xds_type t, uint32_t *ret_present);
/* Given up for good by who needed it: the archive forgets it too. */
void resource_forget(struct dep *d);
