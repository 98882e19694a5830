/* sidecar/control: the control socket and its read-only TCP twin: /live /ready /stats /clusters /status /log. Requests come through the same doors
 * and exchanges as the apps' own; only the table of local paths differs. Owner: sidecar. */
#pragma once
#include "sidecar/sidecar.h"

struct control;
int control_open(struct sidecar *sc, struct control **ret, struct err *err);   /* by sc->conf */
int control_apply(struct control *c, struct err *err);                          /* after a reload */
void control_drain(struct control *c);      /* with the process end; connections finish their request */
void control_shut_doors(struct control *c); /* now; control_close a few turns later */
void control_close(struct control **c);
