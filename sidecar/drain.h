/* sidecar/drain: how a process of this daemon goes: for good (SIGTERM), or because another one has taken over (hot upgrade, sidecar/upgrade).
 *
 *   sidecar_stop   ANNOUNCE  every app's life_leave, so the mesh is told "fail" and probes read 503; everything is still served.
 *       |                    Until drain.announce is over and the control plane has heard it (TOLD_NS at most, where announce is shorter)
 *       v
 *   sidecar_leave  FINISH    nothing is accepted, clients are told by a two-phase GOAWAY, calls end as they end. No announcement: the successor has said that all is well
 *       |                    Until nothing is left (at once), or drain.deadline
 *       v
 *                  LAST      what is left has been ended as UNAVAILABLE (faults.def, DRAINING) and counted; its last words go out
 *       v
 *                  HEARD     the control plane ends its streams: it has read our last word, which it would drop unread with a connection that closes (xds_finish). TOLD_NS at most
 *       v
 *                  sidecar.stopped, and the loop stops
 *
 * Nothing ticks but the manager's and people's view of it, once a second: the last client and the last call tell (uds_doors_on_empty, drain_emptied). Owner: sidecar. */
#pragma once
#include "sidecar/sidecar.h"

struct drain *drain_new(struct sidecar *sc);
void drain_free(struct drain **d);
void drain_emptied(struct sidecar *sc);    /* the last call has been buried; cheap, harmless when nothing drains */
