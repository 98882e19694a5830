/* sidecar/readiness: see readiness.h. */
#include "sidecar/readiness.h"
#include <stdio.h>
#include "sidecar/sidecar.h"

/* A control plane that is away hears of it when it is back; until then an app that goes is not drained. */
static const uint64_t told_max_ns = UINT64_C(3600) * 1000000000, again_ns = UINT64_C(1000000000);

static void announce_ask(struct readiness *r);

static bool has_view(const struct app *a)
{
	return a->sc->xds && a->names.view;
}

const char *readiness_registry(const struct app *a)
{
	static const char *const names[] = {"istio", "istio-grpc", "generic", "template", "consul"};
	return has_view(a) ? names[a->sc->conf->xds.profile] : "none";
}

bool readiness_get(const struct app *a, struct xds_health *ret)
{
	if (!has_view(a))
		return false;
	xds_health_get(a->sc->xds, a->names.view, ret);
	return ret->told != XDS_TOLD_NOBODY;
}

/* ---- saying ---- */

/* Says it for the workload that this app is a part of, if it differs from what was said last. */
static void say_for(struct app *a)
{
	struct sidecar *sc = a->sc;
	const struct app *bad = NULL;
	bool heard = false;
	char why[256] = "";
	struct xds_health was;
	if (!has_view(a))
		return;
	list_each(n, tmp, &sc->apps) {
		const struct app *other = list_entry(n, struct app, node);
		if (other->names.view != a->names.view || !other->readiness.heard)
			continue;
		heard = true;
		if (!bad && !life_is_open(other->life))
			bad = other;
	}
	xds_health_get(sc->xds, a->names.view, &was);
	bool said = was.told != XDS_TOLD_NOTHING && was.told != XDS_TOLD_NOBODY;
	if (!heard && !(said && was.ok))
		return;
	if (!heard) { /* who spoke for it is gone, and who is there lets nobody in */
		snprintf(why, sizeof why, a->removed ? "app '%s' was removed, and no other one has said ok" : "app '%s' has not said ok, and no other one has", a->conf->name);
	} else if (bad) {
		struct life_view v;
		life_view(bad->life, &v);
		snprintf(why, sizeof why, "app '%s' is %s%s%s", bad->conf->name, life_state_name(v.state), *v.why ? ": " : "", v.why);
	}
	bool ok = heard && !bad;
	if (!said || was.ok != ok)
		xds_health_say(sc->xds, a->names.view, ok, why);
}

/* ---- announcing ---- */

static void announce_over(struct timer *t)
{
	struct readiness *r = container_of(t, struct readiness, timer);
	r->announcing = false;
	life_announced(r->app->life);
}

static void announce_again(struct timer *t)
{
	announce_ask(container_of(t, struct readiness, timer));
}

static void announce_told(struct xds_health_wait *w, bool told)
{
	struct readiness *r = container_of(w, struct readiness, told);
	struct sidecar *sc = r->app->sc;
	if (told)
		timer_in(sc->loop, &r->timer, sc->conf->drain.announce_ns, announce_over);
	else
		timer_in(sc->loop, &r->timer, again_ns, announce_again); /* the view went, or it takes very long */
}

static void announce_ask(struct readiness *r)
{
	struct app *a = r->app;
	if (has_view(a))
		xds_health_wait(a->sc->xds, a->names.view, &r->told, told_max_ns, announce_told);
	else
		timer_in(a->sc->loop, &r->timer, a->sc->conf->drain.announce_ns, announce_over);
}

void readiness_announce(struct app *a)
{
	if (a->readiness.announcing)
		return;
	a->readiness.announcing = true;
	announce_ask(&a->readiness);
}

/* ---- what happens to apps ---- */

void readiness_init(struct readiness *r, struct app *a)
{
	r->app = a;
}

void readiness_end(struct readiness *r)
{
	r->announcing = false;
	xds_health_unwait(&r->told);
	timer_cancel(r->app->sc->loop, &r->timer);
}

void readiness_changed(struct app *a, enum life_state was)
{
	if (was == LIFE_UNKNOWN && !a->sc->draining)
		a->readiness.heard = true;
	if (life_is_open(a->life))
		readiness_end(&a->readiness); /* it is back before all had heard that it went */
	if (!a->removed)
		say_for(a);
}

void readiness_apply(struct sidecar *sc)
{
	list_each(m, tmp2, &sc->walking)
		say_for(list_entry(m, struct app, node));
	list_each(n, tmp, &sc->apps)
		say_for(list_entry(n, struct app, node));
}
