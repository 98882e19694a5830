/* sidecar/freeze: see the header. */
#include "sidecar/freeze.h"
#include <signal.h>
#include "health/checker.h"
#include "sidecar/app.h"
#include "sidecar/exchange.h"
#include "sidecar/local.h"
#include "sidecar/sidecar.h"

/* As long as a call may wait, twice: one that came late into the first time has the same. */
enum { SETTLING_PARKS = 2 };

static uint64_t boot_ns(const struct loop *l)
{
	return l->ops->now_ns(l->ops_ctx) + (l->ops->asleep_ns ? l->ops->asleep_ns(l->ops_ctx) : 0);
}

static void on_continued(void *user, int signo)
{
	(void)signo;
	loop_continued(user);
}

void freeze_open(struct sidecar *sc)
{
	loop_signal(sc->loop, SIGCONT, on_continued, sc->loop);
}

/* ---- over --------------------------------------------------------------------------------------------------------------------- */

static void thaw_calls(struct list *apps, uint64_t stood_ns)
{
	list_each(n, tmp, apps)
	{
		struct app *a = list_entry(n, struct app, node);

		list_each(m, tmp2, &a->exchanges) exchange_thaw(list_entry(m, struct exchange, node), stood_ns);
	}
}

void freeze_thaw(struct sidecar *sc)
{
	uint64_t stood_ns = sc->loop->stood_ns;

	sc->freeze.stood_ns = stood_ns;
	sc->freeze.settling_until_ns = sc->loop->now_ns + SETTLING_PARKS * sc->conf->park.time_ns;
	if (sc->spec.tell) /* who watches over us has counted on */
		sc->spec.tell(sc->spec.ctx, "THAWED", "");
	thaw_calls(&sc->apps, stood_ns);
	thaw_calls(&sc->walking, stood_ns);
	checker_thaw(sc->checker);
	if (sc->xds)
		xds_thaw(sc->xds);
	clusters_thaw(sc->clusters);
}

bool freeze_is_settling(const struct sidecar *sc)
{
	return sc->loop->now_ns < sc->freeze.settling_until_ns;
}

/* ---- announced ------------------------------------------------------------------------------------------------------------------ */

void freeze_page(struct local_call *c)
{
	struct sidecar *sc = c->sc;
	struct loop *l = sc->loop;
	bool again = l->frozen;

	c->type = "application/json";
	if (sc->draining) { /* its own end is what it is busy with */
		c->status = 409;
		sb_str(&c->body, "{\"frozen\":false,\"why\":\"the daemon is draining\"}\n");
		return;
	}
	if (!again) {
		loop_freeze(l);
		sc->freeze.at_wall_ns = l->ops->wall_ns(l->ops_ctx);
		sc->freeze.at_boot_ns = boot_ns(l);
		log_info(sc->log, "freeze: announced; %u calls in progress, no timer runs until the thaw", sc->nexchanges);
	}
	sb_fmt(&c->body, "{\"frozen\":true,\"again\":%s,\"since_unix_ms\":%llu,\"calls_active\":%u}\n", again ? "true" : "false",
		(unsigned long long)(sc->freeze.at_wall_ns / 1000000), sc->nexchanges);
}

static uint64_t later(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

/* A machine that was restored from a snapshot has lost no time by its own clock: the longest of the three is what it was. */
void freeze_page_thaw(struct local_call *c)
{
	struct sidecar *sc = c->sc;
	struct loop *l = sc->loop;
	bool announced = sc->freeze.at_wall_ns != 0, was_frozen = l->frozen;
	uint64_t boot = announced ? later(boot_ns(l), sc->freeze.at_boot_ns) : 0, wall = announced ? later(l->ops->wall_ns(l->ops_ctx), sc->freeze.at_wall_ns) : 0;

	loop_thaw(l);
	sc->freeze.at_wall_ns = sc->freeze.at_boot_ns = 0;
	if (boot > sc->freeze.stood_ns)
		sc->freeze.stood_ns = boot;
	if (wall > sc->freeze.stood_ns)
		sc->freeze.stood_ns = wall;
	c->type = "application/json";
	log_info(sc->log, "freeze: over after %llu ms; connections to providers are verified", (unsigned long long)(sc->freeze.stood_ns / 1000000));
	sb_fmt(&c->body, "{\"frozen\":false,\"announced\":%s,\"was_frozen\":%s,\"stood_ms\":%llu,\"timers_moved_ms\":%llu}\n", announced ? "true" : "false", was_frozen ? "true" : "false",
		(unsigned long long)(sc->freeze.stood_ns / 1000000), (unsigned long long)(l->stood_ns / 1000000));
}
