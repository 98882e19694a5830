/* sidecar/drain: see drain.h. */
#include "sidecar/drain.h"
#include <stdio.h>
#include <stdlib.h>
#include "sidecar/control.h"
#include "sidecar/exchange.h"

#define SECOND UINT64_C(1000000000)
/* TOLD: a control plane that is gone must not hold up an end; one that lives takes what we say within a turn, and has heard it within another one. LAST: trailers and resets to those who read. */
#define TOLD_NS SECOND
#define LAST_NS (SECOND / 2)

enum phase { STAYS, ANNOUNCE, FINISH, LAST, HEARD };
struct telling { struct xds_health_wait wait; struct drain *drain; };
struct drain {
	struct sidecar *sc;            /* borrowed: the owner */
	enum phase phase;
	struct telling *tellings;      /* one an app whose control plane is to hear of it; owned */
	uint32_t ntellings, untold;
	uint64_t announce_ns, until_ns; /* loop time */
	struct timer timer;            /* of the phase */
	struct timer second;
	struct task task;
	bool waits;                    /* all is over but that another process serves */
};

static void over(struct drain *d)
{
	d->sc->stopped = true;
	loop_stop(d->sc->loop);
}

/* Who left waits for the one that follows, whatever the deadline: else nobody would serve, should that one hang or die. */
static void last_over(struct timer *t)
{
	struct drain *d = container_of(t, struct drain, timer);
	d->waits = d->sc->left && !d->sc->followed;
	if (!d->waits)
		over(d);
}

static void heard(void *ctx)
{
	over(ctx);
}

static void look(struct task *t)
{
	struct drain *d = container_of(t, struct drain, task);
	struct sidecar *sc = d->sc;
	if (d->phase < FINISH || d->phase == HEARD || sc->stopped || !sidecar_idle(sc) || (sc->left && !sc->followed))
		return;
	d->phase = HEARD;
	if (!sc->left && sc->xds && xds_finish(sc->xds, heard, d))
		timer_in(sc->loop, &d->timer, TOLD_NS, last_over);
	else
		over(d);
}

void drain_emptied(struct sidecar *sc)
{
	if (sc->drain && sc->drain->phase >= FINISH)
		loop_defer(sc->loop, &sc->drain->task, look);
}

static void on_empty(void *ctx)
{
	drain_emptied(ctx);
}

/* ---- what people and the manager see of it ---- */

static void each_second(struct timer *t)
{
	struct drain *d = container_of(t, struct drain, second);
	struct sidecar *sc = d->sc;
	char text[128];
	uint64_t now = sc->loop->now_ns;
	snprintf(text, sizeof text, "draining: %u calls and %u connections are left, %llu s at most", sc->nexchanges, uds_doors_clients(sc->doors),
		(unsigned long long)(d->until_ns > now ? (d->until_ns - now + SECOND - 1) / SECOND : 0));
	if (sc->spec.tell && !sc->left)
		sc->spec.tell(sc->spec.ctx, "DRAINING", text);
	timer_in(sc->loop, t, SECOND, each_second);
}

/* ---- the end of it ---- */

static uint32_t shut_calls(struct list *apps)
{
	uint32_t n = 0;
	list_each(at, tmp, apps)
		list_each(x, tmp2, &list_entry(at, struct app, node)->exchanges) {
			exchange_shut(list_entry(x, struct exchange, node), FAULT_DRAINING);
			n++;
		}
	return n;
}

static void deadline(struct timer *t)
{
	struct drain *d = container_of(t, struct drain, timer);
	struct sidecar *sc = d->sc;
	uint32_t ended = shut_calls(&sc->apps) + shut_calls(&sc->walking);
	d->phase = LAST;
	stat_add(&sc->loop->stats, STAT_DRAIN_ENDED, ended);
	log_warn(sc->log, "drain: its deadline has passed with %u calls in progress; they end now as UNAVAILABLE", ended);
	timer_in(sc->loop, t, LAST_NS, last_over);
	drain_emptied(sc);
}

/* ---- finishing ---- */

static void finish(struct drain *d)
{
	struct sidecar *sc = d->sc;
	d->phase = FINISH;
	timer_set(sc->loop, &d->timer, d->until_ns, deadline);
	if (!timer_armed(&d->second))
		timer_in(sc->loop, &d->second, SECOND, each_second);
	drain_emptied(sc);
}

static void begin_finish(struct drain *d)
{
	struct sidecar *sc = d->sc;
	for (uint32_t i = 0; i < d->ntellings; i++)
		xds_health_unwait(&d->tellings[i].wait);
	list_each(n, tmp, &sc->apps)
		app_drain(list_entry(n, struct app, node));
	control_drain(sc->control);
	finish(d);
}

/* ---- announcing ---- */

static void announced(struct timer *t)
{
	struct drain *d = container_of(t, struct drain, timer);
	if (d->untold == 0)
		begin_finish(d);
}

static void told(struct xds_health_wait *w, bool was_told)
{
	(void)was_told;
	struct drain *d = container_of(w, struct telling, wait)->drain;
	d->untold--;
	if (d->untold == 0 && d->phase == ANNOUNCE && d->sc->loop->now_ns >= d->announce_ns)
		begin_finish(d);
}

static void tell_mesh(struct drain *d, uint64_t max_ns)
{
	struct sidecar *sc = d->sc;
	uint32_t n = 0;
	list_each(at, tmp, &sc->apps) {
		struct app *a = list_entry(at, struct app, node);
		a->serves_on = life_is_open(a->life);
		life_leave(a->life);
		n++;
	}
	if (!sc->xds)
		return;
	d->tellings = xalloc((n + 1) * sizeof *d->tellings);
	list_each(at2, tmp2, &sc->apps) {
		struct app *a = list_entry(at2, struct app, node);
		struct telling *t = &d->tellings[d->ntellings];
		if (!a->names.view)
			continue;
		t->drain = d;
		d->ntellings++;
		d->untold++;
		xds_health_wait(sc->xds, a->names.view, &t->wait, max_ns, told);
	}
}

void sidecar_stop(struct sidecar *sc)
{
	struct drain *d = sc->drain;
	if (sc->loop->frozen) /* who ends us is not about to freeze us, and the end needs its timers */
		loop_thaw(sc->loop);
	if (sc->draining || sc->left || sc->waiting) {
		log_info(sc->log, "stop: %s, ends now", sc->draining ? "asked again" : sc->left ? "another process has taken over" : "nothing is served yet");
		over(d);
		return;
	}
	uint64_t announce = sc->conf->drain.announce_ns, now = sc->loop->now_ns;
	sc->draining = true;
	log_info(sc->log, "drain: %u calls in progress, deadline %llu s", sc->nexchanges, (unsigned long long)(sc->conf->drain.deadline_ns / SECOND));
	if (sc->spec.tell)
		sc->spec.tell(sc->spec.ctx, "STOPPING", "draining");
	d->phase = ANNOUNCE;
	d->announce_ns = now + announce;
	d->until_ns = now + announce + sc->conf->drain.deadline_ns;
	tell_mesh(d, announce > TOLD_NS ? announce : TOLD_NS);
	timer_in(sc->loop, &d->second, SECOND, each_second);
	timer_set(sc->loop, &d->timer, d->announce_ns + 1, announced);
}

/* ---- hot upgrade ---- */

/* Calls for the app end here as they end: whatever becomes of its life, the process that serves is the one that judges it. */
static void serve_on(struct sidecar *sc, bool on)
{
	list_each(n, tmp, &sc->apps) {
		struct app *a = list_entry(n, struct app, node);
		a->serves_on = on && life_is_open(a->life);
		if (!on)
			life_connections(a->life, a->callers);
	}
}

void sidecar_leave(struct sidecar *sc)
{
	struct drain *d = sc->drain;
	sc->left = true;
	log_info(sc->log, "drain: another process serves; %u calls in progress, deadline %llu s", sc->nexchanges, (unsigned long long)(sc->conf->drain.deadline_ns / SECOND));
	if (sc->xds)
		xds_hush(sc->xds, true);
	serve_on(sc, true);
	uds_doors_leave(sc->doors);
	d->until_ns = sc->loop->now_ns + sc->conf->drain.deadline_ns;
	finish(d);
}

void sidecar_followed(struct sidecar *sc)
{
	sc->followed = true;
	if (sc->drain->waits)
		over(sc->drain);
	drain_emptied(sc);
}

void sidecar_said(struct app *a)
{
	struct sidecar *sc = a->sc;
	struct sb text = {0};
	if (!sc->left || !sc->spec.said)
		return;
	life_save(a->life, &text);
	sc->spec.said(sc->spec.ctx, a->conf->name, sb_view(&text));
	sb_end(&text);
}

void sidecar_take_back(struct sidecar *sc)
{
	struct drain *d = sc->drain;
	sc->lent = false;
	if (sc->left && !sc->stopped) {
		sc->left = sc->followed = d->waits = false;
		serve_on(sc, false);
		d->phase = STAYS;
		timer_cancel(sc->loop, &d->timer);
		timer_cancel(sc->loop, &d->second);
		loop_undefer(&d->task);
		uds_doors_ours(sc->doors);
		if (sc->xds)
			xds_hush(sc->xds, false);
	}
	if (sc->xds)
		xds_retake(sc->xds);
	if (sc->reload_owed) {
		sc->reload_owed = false;
		sidecar_reload(sc);
	}
}

/* ---- beginning and end ---- */

struct drain *drain_new(struct sidecar *sc)
{
	struct drain *d = xnew(struct drain);
	d->sc = sc;
	uds_doors_on_empty(sc->doors, on_empty, sc);
	return d;
}

void drain_free(struct drain **drain)
{
	struct drain *d = *drain;
	if (!d)
		return;
	*drain = NULL;
	for (uint32_t i = 0; i < d->ntellings; i++)
		xds_health_unwait(&d->tellings[i].wait);
	timer_cancel(d->sc->loop, &d->timer);
	timer_cancel(d->sc->loop, &d->second);
	loop_undefer(&d->task);
	if (d->sc->xds)
		xds_finish(d->sc->xds, NULL, NULL);
	free(d->tellings);
	free(d);
}
