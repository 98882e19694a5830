/* sidecar/removals: what lb decided about endpoints that vanished (lb/held.c), said once each. */
#include "sidecar/removals.h"

#include "lb/cluster.h"
#include "sidecar/sidecar.h"

static void told(void *ctx, enum cluster_told what, const struct cluster *c, const char *host)
{
	struct sidecar *sc = ctx;
	unsigned seconds = (unsigned)(cluster_spec(c)->removal_hold_ns / 1000000000);
	const char *name = cluster_name(c);

	/* A control plane may take a thousand away at once. */
	if (!log_every(sc->log, &sc->removal_log, sc->loop->now_ns, 20, 10000))
		return;
	switch (what) {
	case TOLD_HELD:
		log_warn(sc->log, "cluster '%s': %s is no longer listed, but it lives: used on for %u s at most", name, host, seconds);
		break;
	case TOLD_RELEASED:
		log_info(sc->log, "cluster '%s': %s is listed again", name, host);
		break;
	case TOLD_EXPIRED:
		log_info(sc->log, "cluster '%s': %s was not listed again in time: given up", name, host);
		break;
	case TOLD_ENDED:
		log_info(sc->log, "cluster '%s': %s is not listed and shows no sign of life any more, or was ordered away: given up", name,
			host);
		break;
	case TOLD_EMPTY_KEPT:
		log_warn(sc->log, "cluster '%s': its assignment is empty: the last endpoints are used on for %u s", name, seconds);
		break;
	case TOLD_EMPTY_OVER:
		log_warn(sc->log, "cluster '%s': its assignment stayed empty: it has no endpoints now", name);
		break;
	}
}

void removals_log(struct sidecar *sc)
{
	clusters_set_tell(sc->clusters, told, sc);
}
