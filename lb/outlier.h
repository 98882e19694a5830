/* lb/outlier: passive health: what the answers of calls say of a host. The rules and the arithmetic are Envoy's (envoy.md 1f).
 *
 *   host_outcome --> consecutive counters --> eject at once          cluster 1 --- 0..1 outliers (spec.outlier is declared and an answer was counted)
 *               \--> counts of the interval --timer--> success rate, failure percentage --> eject; time over --> back; multipliers decay
 *
 * A host gets a struct outlier_host with its first counted answer (owned by the host: host.outlier). The timer of a cluster stands only while there is something
 * to judge: answers in this interval, somebody ejected or degraded, or a multiplier that has to decay. Ejected is HOT_EJECTED of the hot record and host_is_ejected();
 * degraded here is outlier_degraded(), one of the sources of HOT_DEGRADED. host_outcome() and host_is_ejected() of lb/cluster.h are implemented here. */
#pragma once
#include "lb/cluster.h"

enum outlier_kind {
	OUTLIER_5XX, OUTLIER_GATEWAY, OUTLIER_LOCAL_ORIGIN,
	OUTLIER_SUCCESS_RATE, OUTLIER_LOCAL_SUCCESS_RATE, OUTLIER_FAILURE_PERCENTAGE, OUTLIER_LOCAL_FAILURE_PERCENTAGE,
	OUTLIER_DEGRADED,    /* not ejected: x-envoy-degraded was in an answer */
	OUTLIER_KINDS
};
const char *outlier_kind_name(enum outlier_kind k);   /* "consecutive_5xx" ... as Envoy's counters say */

/* For cluster.c, rebuild.c, host.c. */
void outlier_switched(struct cluster *c);      /* other members or another spec serve now, and all hosts know their place: gives up who is no longer in the set, takes over what is declared; without spec.outlier all return */
void outlier_end(struct cluster *c);           /* the cluster ends; its hosts may live on (they forget). Harmless where there is nothing */
void outlier_host_free(struct outlier_host **o);  /* the host ends (host_bury is late: in host_end); NULL is accepted */
void outlier_thaw(struct cluster *c);          /* the process stood still: what was counted of this interval and in a row says nothing of hosts; ejections go on by the clock */
/* An active check of it has ended. passed: an ejected host returns, where successful_active_health_check_uneject_host says so. */
void outlier_checked(struct host *h, bool passed);
bool outlier_keeps(const struct host *h);      /* it is worth keeping for what is known here (host_is_spare) */
bool outlier_degraded(const struct host *h);   /* flags of a hot record that is made anew: HOT_EJECTED by host_is_ejected, HOT_DEGRADED by this */

/* What was decided, once each, while it is done: for the log. rate: of success, in percent, and mean: that of all; negative where it was not judged by them. */
enum outlier_told {
	TOLD_EJECTED, TOLD_NOT_ENFORCED /* detected, and enforcing_* said no */, TOLD_RETURNED /* its time is over */, TOLD_RETURNED_CHECKED /* an active check passed */,
	TOLD_DEGRADED, TOLD_NOT_DEGRADED
};
struct outlier_tale { enum outlier_told what; enum outlier_kind kind; uint64_t for_ns /* EJECTED, DEGRADED: how long */; double rate, mean; };
typedef void outlier_tell_fn(void *ctx, const struct cluster *c, const char *host, const struct outlier_tale *tale);
void clusters_set_outlier_tell(struct clusters *all, outlier_tell_fn *fn, void *ctx);

/* For people. */
struct outlier_view {
	bool ejected, degraded;
	uint64_t left_ns;              /* until it returns, at the earliest */
	const char *why;               /* kind of the last ejection or degradation; NULL: never */
	double success_rate, local_success_rate; /* percent, of the last whole interval; negative: too few calls */
	uint32_t ejections;            /* so far */
	uint32_t multiplier;           /* of base_ejection_time */
};
bool outlier_host_view(const struct host *h, struct outlier_view *ret);   /* false: nothing is known of it */
uint32_t outlier_ejected(const struct cluster *c);                        /* hosts */
