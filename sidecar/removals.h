/* sidecar/removals: the log lines of health-arbitrated removal. */
#pragma once
struct sidecar;

void removals_log(struct sidecar *sc); /* once sc->clusters is there */
