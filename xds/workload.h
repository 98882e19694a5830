/* xds/workload: what the mesh knows of the app behind a view: that it is there, and whether it is well (istio.md 2.1).
 *
 *   workload_say(ok | fail) --> sub_say: HealthInformation --> kernel --> SENT        again every 30 s, and on each new stream
 *
 * A stream on which nothing was asked is none to istiod: it neither registers the node nor reads what is said of it. So where something is to be said, or the node enters itself
 * (AUTO_REGISTER_GROUP, WORKLOAD_ENTRY), one name is subscribed that does not exist: the smallest question there is.
 * Only profiles of Istio know any of this. Owner: a view of xds/xds. */
#pragma once
#include "xds/resource.h"
#include "xds/xds.h"

struct workload;
struct workload_spec {
	struct loop *loop; struct log *log; struct sub *sub; struct ads *ads; struct resources *resources; /* borrowed, outlive it */
	const char *view;               /* for log lines; borrowed */
	struct str node;                /* the serialised Node; borrowed while it is made */
	bool is_istio;                  /* else it keeps what is said, and tells nobody */
	bool behind_agent;              /* Istio's agent stands between (a Unix socket): it lets health through once listeners were asked for */
};
struct workload *workload_new(const struct workload_spec *spec);
void workload_free(struct workload **w);        /* who waits is told that nobody was; before its sub */
void workload_say(struct workload *w, bool ok, const char *text);
/* Another process speaks for the app now (hot upgrade): what was said is kept, and neither said again nor on another stream. false: it is ours to say once more. */
void workload_hush(struct workload *w, bool hushed);
void workload_get(const struct workload *w, struct xds_health *ret);
void workload_info(const struct workload *w, struct xds_stream_info *ret);
/* w NULL: there is no such view, and fn comes with false. */
void workload_wait(struct workload *w, struct loop *loop, struct xds_health_wait *waiter, uint64_t max_ns, void (*fn)(struct xds_health_wait *w, bool told));
void workload_unwait(struct xds_health_wait *waiter);
