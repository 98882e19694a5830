/* sidecar/control_xds: what the control socket's pages say of the control plane: its part of /status and /stats, and /config_dump. */
#pragma once
#include "sidecar/local.h"

struct sidecar;
void control_xds_json(struct sidecar *sc, struct sb *out);    /* the elements of "xds": [...] */
void control_xds_stats(struct sidecar *sc, struct sb *out);   /* nothing where there is no control plane */
void control_config_dump(struct local_call *c);
