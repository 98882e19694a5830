/* sidecar/readiness: what the mesh is told of a workload's health. The mesh knows nodes, not apps: apps that share a view (one node) are one workload, which is well while every one of them is open
 * that ever said a word. An app that is unknown (a consumer that never says ok) does not count; where all who spoke are gone by a reload, nobody is well there.
 *
 *   life changed --> readiness_changed --> xds_health_say(view, ok, why)          in the same turn
 *   it is closed --> readiness_announce --> told to the kernel --> drain.announce --> life_announced (DRAINED may follow) */
#pragma once
#include "health/life.h"
#include "xds/xds.h"

struct app;
struct sidecar;
/* An app's part. Owner: the app. */
struct readiness {
	bool heard;                    /* it has left UNKNOWN once, and not because the daemon goes */
	bool announcing;
	struct app *app;               /* borrowed: the owner */
	struct xds_health_wait told;
	struct timer timer;            /* drain.announce; or asking again whether it was told */
};
void readiness_init(struct readiness *r, struct app *a);
void readiness_end(struct readiness *r);       /* before the view goes */
void readiness_changed(struct app *a, enum life_state was);
void readiness_announce(struct app *a);
void readiness_apply(struct sidecar *sc);      /* after a reload: apps have come, gone, and changed their views */
const char *readiness_registry(const struct app *a); /* "none", "istio", "istio-grpc", "generic", "template", "consul" */
bool readiness_get(const struct app *a, struct xds_health *ret); /* false: there is nobody who could be told */
