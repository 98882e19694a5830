/* sidecar/grpc_health: grpc.health.v1.Health as a server: the up end of an exchange that answers Check, Watch and List by itself.
 *
 * Two kinds of truth:
 *   the app's     on apps[].health.listen: SERVING while the app's life is open; service "" and those that health.services or its `paths` name; others: Check NOT_FOUND, Watch SERVICE_UNKNOWN
 *   the cluster's on the app's own doors: what the authority names (where it names no app: the request's `service` through the path map, then the listener's default); SERVING while a call could
 *                 succeed (cluster_truth), NOT_SERVING while none could; a name that does not exist: Check NOT_FOUND, Watch SERVICE_UNKNOWN; one that is not known yet: Check is parked like
 *                 any call, Watch says SERVICE_UNKNOWN and then what it is. An open Watch holds its name against xds.idle and lives across the death of any provider.
 *
 * Watch says each status once, the first one at once. A Watch does not count against limits.streams_per_connection. Messages beyond 4 KiB are RESOURCE_EXHAUSTED.
 * Passthrough (apps[].health.passthrough: true): the app's SDK talks to its provider's own service instead. */
#pragma once
#include "sidecar/exchange.h"

/* Is the request one for this room? Cheap: two bytes tell of almost every call. */
bool grpc_health_is(struct str method, struct str path);
/* The up end, as local_open. app_truth: the app's own life, else the cluster's. default_authority: of the door; copied. */
struct stream *grpc_health_open(struct sidecar *sc, struct app *app, bool app_truth, const char *default_authority, const struct stream_events *ev, void *user);
/* The app's life has changed: its watchers are told. */
void grpc_health_life(struct app *a);         /* and so is everybody else after a reload */
void grpc_health_end(struct app *a);          /* its doors are drained: Watches, which would never end, end as UNAVAILABLE; no new ones */
