/* sidecar/removals: what lb decided about endpoints that vanished (lb/held.c), and about those whose answers are bad (lb/outlier.c), said once each. */
#include "sidecar/removals.h"
#include <stdio.h>

#include "lb/cluster.h"
#include "lb/outlier.h"
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

static void told_outlier(void *ctx, const struct cluster *c, const char *host, const struct outlier_tale *tale)
{
	struct sidecar *sc = ctx;
	const char *name = cluster_name(c), *why = outlier_kind_name(tale->kind);
	double seconds = (double)tale->for_ns / 1e9;
	char rates[64] = "";

	if (tale->what == TOLD_NOT_ENFORCED) {
		log_debug(sc->log, "cluster '%s': %s would be ejected (%s), but that is not enforced", name, host, why);
		return;
	}
	if (!log_every(sc->log, &sc->outlier_log, sc->loop->now_ns, 20, 10000))
		return;
	if (tale->rate >= 0 && tale->mean >= 0)
		snprintf(rates, sizeof(rates), ", %.1f %% of its calls succeed, of all %.1f %%", tale->rate, tale->mean);
	else if (tale->rate >= 0)
		snprintf(rates, sizeof(rates), ", %.1f %% of its calls succeed", tale->rate);
	switch (tale->what) {
	case TOLD_EJECTED:
		log_warn(sc->log, "cluster '%s': %s is ejected (%s%s): not used for %.1f s", name, host, why, rates, seconds);
		break;
	case TOLD_RETURNED:
		log_info(sc->log, "cluster '%s': %s was ejected (%s) and is used again", name, host, why);
		break;
	case TOLD_RETURNED_CHECKED:
		log_info(sc->log, "cluster '%s': %s was ejected (%s) and has passed its check: it is used again", name, host, why);
		break;
	case TOLD_DEGRADED:
		log_info(sc->log, "cluster '%s': %s says that it is degraded: used only where others are not enough, for %.1f s", name, host, seconds);
		break;
	case TOLD_NOT_DEGRADED:
		log_info(sc->log, "cluster '%s': %s is taken for degraded no more", name, host);
		break;
	case TOLD_NOT_ENFORCED:
		break;
	}
}

void removals_log(struct sidecar *sc)
{
	clusters_set_tell(sc->clusters, told, sc);
	clusters_set_outlier_tell(sc->clusters, told_outlier, sc);
}
