/* tests/sim/sim_life: see the header. A run: calm (calls, words of the app, freezes), trouble (all of these, and what befalls providers and the control plane), calm ... until its time is over;
 * then peace and what must be so at rest, and the end: idleness, or a daemon that goes; of a third of the seeds it goes in the middle of it all. */
#include "net/timer.h"
#include "tests/sim/sim_life.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/grpc_health_message.h"

#define PLANE_AT "10.9.9.9:15010"
#define CONTROL_AT "unix:/run/control.sock"
#define TCP_DOOR "127.0.0.1:15051"

/* ---- chance ---- */

uint64_t life_below(struct life_sim *s, uint64_t n) { return simnet_random(s->rig->net) % n; }
bool life_percent(struct life_sim *s, unsigned percent) { return life_below(s, 100) < percent; }
uint64_t life_between(struct life_sim *s, uint64_t least, uint64_t most) { return least + life_below(s, most - least + 1); }
uint64_t life_now(const struct life_sim *s) { return s->rig->loop->now_ns; }

void life_told(const struct life_sim *s, const char *what, int which)
{
	static int on = -1;

	if (on < 0)
		on = getenv("SIM_LOG") != NULL;
	if (on)
		fprintf(stderr, "%9llu ms: %s %d\n", (unsigned long long)(life_now(s) / MS), what, which);
}

/* ---- what is declared ---- */

static const char *life_yaml(struct life_sim *s, bool checks, bool mesh)
{
	struct sb *b = &s->yaml[s->yaml_turn ^= 1];

	b->n = 0;
	sb_str(b, "limits: {memory: 64MiB}\nsnapshot: {dir: \"\"}\npark: {time: 3s}\ncontrol: {unix: /run/control.sock}\n");
	app_yaml(s, b, checks);
	services_yaml(s, b, checks);
	if (mesh && s->with_plane)
		sb_str(b, "xds: {server: \"" PLANE_AT "\", removal_hold: 8s, idle: 24h}\n");
	sb_char(b, 0);
	return b->p;
}

static void do_reload(struct life_sim *s)
{
	services_anew(s, true);
	s->rig->yaml = life_yaml(s, true, true);
	if (sidecar_reload(s->rig->sc) != 0)
		rig_die("a reload is refused: %s", s->rig->err);
	life_told(s, "reload", 0);
}

/* ---- Watches ---- */

void life_watch_open(struct life_sim *s, struct life_watcher *w, const char *door, const char *authority)
{
	if (!w->from || !w->from->h2) {
		w->from = caller_new(s->rig, door);
		w->call = NULL;
	}
	if (!w->from->up || (w->call && w->call->stream))
		return;
	w->since_ns = life_now(s);
	w->call = call_begin(w->from, authority, GRPC_HEALTH_WATCH, NULL, false);
	call_data(w->call, "\0\0\0\0\0", 5, true);
}

int life_watch_says(const struct life_watcher *w)
{
	const uint8_t *p = w->call ? (const uint8_t *)w->call->data.p : NULL;
	int status = -1;

	for (size_t at = 0; p && at + 5 <= w->call->data.n;) {
		size_t n = (size_t)p[at + 3] << 8 | p[at + 4];

		if (!grpc_health_response_decode(str_n((const char *)p + at + 5, n), &status))
			rig_die("a Watch is told nonsense");
		at += 5 + n;
	}
	return status;
}

static void watchers_mend(struct life_sim *s)
{
	for (uint32_t i = 0; i < LIFE_SERVICES; i++) {
		s->watcher[i].service = (int8_t)i;
		if (i != LIFE_MESH || s->with_plane)
			life_watch_open(s, &s->watcher[i], TCP_DOOR, s->service[i].authority);
	}
	life_watch_open(s, &s->watcher[LIFE_SERVICES], LIFE_ASK, "shop");
	if (!s->control || !s->control->h2)
		s->control = caller_new(s->rig, CONTROL_AT);
}

static void watcher_event(struct life_sim *s)
{
	struct life_watcher *w = &s->watcher[life_below(s, LIFE_SERVICES + 1)];

	if (w->call && w->call->stream && life_percent(s, 50))
		call_cancel(w->call);
	else if (w->from)
		caller_close(w->from);
}

/* ---- calls ---- */

struct life_call *life_call_of(struct life_sim *s, const struct served *v)
{
	const char *id = served_field(v, "x-id");
	unsigned long n = id ? strtoul(id, NULL, 10) : LIFE_CALLS;

	if (n > s->ncalls || n >= LIFE_CALLS)
		rig_die("somebody sees a call that nobody made");
	return &s->calls[n];
}

static void do_call_to(struct life_sim *s, uint32_t i)
{
	struct life_process *from = &s->process[life_below(s, LIFE_CALLERS)];
	struct life_call *k = &s->calls[s->ncalls];
	char more[96];

	if (s->ncalls == LIFE_CALLS || !from->caller || !from->caller->up || (i == LIFE_MESH && !s->with_plane))
		return;
	*k = (struct life_call){.service = (int8_t)i, .frozen_ns = s->stood_ns};
	if (life_percent(s, 25))
		k->deadline_ns = life_between(s, 800, 6000) * MS;
	snprintf(more, sizeof(more), "x-id: %u\n", s->ncalls);
	if (k->deadline_ns)
		snprintf(more + strlen(more), sizeof(more) - strlen(more), "grpc-timeout: %um\n", (unsigned)(k->deadline_ns / MS));
	k->call = call_begin(from->caller, s->service[i].authority, PATH, more, false);
	if (!k->call->stream)
		return;
	k->call->user = k;
	from->perhaps |= s->app.watch;
	s->ncalls++;
	size_t bytes = life_below(s, life_percent(s, 10) ? 20000 : 400);
	bool whole = life_percent(s, 90);
	call_fill(k->call, bytes, whole);
	k->streams = !whole;
	k->left = whole ? 0 : 1 + (uint32_t)life_below(s, 2000);
}

static void do_call(struct life_sim *s)
{
	if (s->ncalls < LIFE_CALLS && life_percent(s, 20))
		app_call(s, s->ncalls);
	else
		do_call_to(s, (uint32_t)life_below(s, LIFE_SERVICES));
}

static void calls_go_on(struct life_sim *s, bool all)
{
	while (s->first_open < s->ncalls && s->calls[s->first_open].over)
		s->first_open++;
	for (uint32_t i = s->first_open; i < s->ncalls; i++) {
		struct life_call *k = &s->calls[i];

		if (k->over || !k->left || !(all || life_percent(s, 30)))
			continue;
		call_fill(k->call, k->left, true);
		k->left = 0;
	}
}

static void wrong(const struct life_sim *s, const struct life_call *k, const char *what)
{
	const struct call *c = k->call;

	rig_die("call %u to service %d, %llu to %llu ms, ended %u times, with cause %d, status %d, grpc %d '%s': %s", (unsigned)(k - s->calls), k->service, (unsigned long long)(c->begun_ns / MS),
		(unsigned long long)(life_now(s) / MS), c->ends, c->end.cause, c->status, c->grpc, call_text(c), what);
}

/* The process whose connection it was. */
static void carried(struct life_sim *s, const struct call *c)
{
	for (uint32_t i = 0; i < LIFE_CALLERS; i++)
		if (s->process[i].caller == c->from && c->status > 0)
			s->process[i].watched |= s->app.watch;
}

static void life_call_over(void *sim, void *call)
{
	struct life_sim *s = sim;
	struct call *c = call;
	struct life_call *k = c->user;

	if (!k) /* a word, a Watch */
		return;
	if (c->ends != 1 || k->over)
		wrong(s, k, "it ended before");
	k->over = true;
	simnet_note(s->rig->net, (uint64_t)(k - s->calls) << 32 | (uint64_t)c->end.cause << 16 | (uint64_t)(c->grpc & 0xff) << 8 | (uint64_t)(c->status & 0xff));
	uint64_t took = life_now(s) - c->begun_ns, stood = s->stood_ns - k->frozen_ns;
	if (c->grpc == GRPC_DEADLINE_EXCEEDED && (!k->deadline_ns || took < k->deadline_ns + stood))
		wrong(s, k, "its deadline is not over, or a freeze has eaten of it");
	if (k->service < 0) {
		app_call_over(s, k);
		return;
	}
	carried(s, c);
	bool well = call_ok(c), must = !s->stopping && call_must_succeed(s, k);
	s->ok += well;
	s->failed += !well;
	s->sure += must;
	if (!well && must && c->grpc != GRPC_DEADLINE_EXCEEDED && c->end.cause != END_LOST)
		wrong(s, k, "there were providers for it");
	if (!well && must && c->grpc == GRPC_DEADLINE_EXCEEDED && !k->streams && !stood && k->deadline_ns > SEC)
		wrong(s, k, "there were providers for it, and time");
}

static void life_served(void *sim, void *served, int what)
{
	struct life_sim *s = sim;
	struct served *v = served;

	if (is_question(v)) {
		providers_asked(s, v, what == 2);
		return;
	}
	if (v->p == s->app.server) {
		if (what == 1)
			app_served(s, v);
	} else {
		providers_served(s, v, what == 2);
	}
}

/* ---- freezes ---- */

static void post(struct life_sim *s, const char *path)
{
	if (!s->control || !s->control->up)
		return;
	call_plain(s->control, "POST", "thinmesh", path, NULL, true);
	simnet_advance(s->rig->net, 100 * MS);
}

static void do_freeze(struct life_sim *s, uint64_t ns, bool announced)
{
	life_told(s, announced ? "announced freeze for ms" : "freeze for ms", (int)(ns / MS));
	s->freezes++;
	if (announced)
		post(s, "/freeze");
	providers_look(s);
	providers_froze(s, ns);
	app_froze(s, ns);
	/* Standing still is a timer that is overdue by more than a second: a stop in which the next one was not is a long turn, and takes its time of the deadlines. */
	uint64_t next_ns = wheel_next_ns(s->rig->loop->wheel);
	if (announced || (next_ns != UINT64_MAX && life_now(s) + ns > next_ns + SEC))
		s->stood_ns += ns;
	s->thawed_ns = life_now(s) + ns + 200 * MS;
	simnet_freeze(s->rig->net, ns);
	if (announced && life_percent(s, 80)) {
		simnet_advance(s->rig->net, ns / 2);
		post(s, "/thaw");
	}
	if (life_now(s) < s->thawed_ns)
		simnet_advance(s->rig->net, s->thawed_ns - life_now(s));
	s->thawed_ns = life_now(s);
}

static void some_freeze(struct life_sim *s)
{
	do_freeze(s, life_percent(s, 80) ? life_between(s, 1100 * MS, 20 * SEC) : life_between(s, 20 * SEC, 200 * SEC), life_percent(s, 40));
}

/* ---- a run ---- */

static void knobs_draw(struct life_sim *s)
{
	struct simnet_knobs *k = simnet_knobs(s->rig->net);

	k->shuffle = life_percent(s, 80);
	k->hold_percent = life_percent(s, 30) ? (uint32_t)life_below(s, 20) : 0;
	k->short_percent = life_percent(s, 30) ? (uint32_t)life_below(s, 40) : 0;
	k->again_percent = life_percent(s, 30) ? (uint32_t)life_below(s, 20) : 0;
	k->latency_ns = life_percent(s, 50) ? life_below(s, 8) * MS : 0;
}

static void life_look(struct life_sim *s)
{
	struct loop *l = s->rig->loop;

	providers_look(s);
	app_look(s);
	if (l->memory.used > (32u << 20))
		rig_die("%zu bytes are charged", l->memory.used);
}

static void life_after_turn(void *sim)
{
	app_after_turn(sim);
}

static void one_event(struct life_sim *s, bool trouble)
{
	uint64_t dice = life_below(s, 1000);

	app_processes_mend(s);
	watchers_mend(s);
	if (dice < 650)
		for (uint64_t n = 1 + life_below(s, 4); n > 0; n--)
			do_call(s);
	else if (dice < 750)
		calls_go_on(s, false);
	else if (dice < 820)
		app_event(s);
	else if (dice < 835)
		watcher_event(s);
	else if (dice < 842)
		some_freeze(s);
	else if (dice < 846)
		do_reload(s);
	else if (dice < 860)
		knobs_draw(s);
	else if (trouble && dice < 950)
		providers_event(s);
	else if (trouble)
		mesh_event(s);
}

static void some_time(struct life_sim *s)
{
	uint64_t dice = life_below(s, 100);

	simnet_advance(s->rig->net, dice < 10 ? 0 : dice < 60 ? life_below(s, 100 * MS) : dice < 95 ? life_below(s, SEC) : life_below(s, 6 * SEC));
}

static void pass(struct life_sim *s, uint64_t ns)
{
	for (uint64_t until = life_now(s) + ns; life_now(s) < until;) {
		app_processes_mend(s);
		watchers_mend(s);
		simnet_advance(s->rig->net, SEC / 2);
		life_look(s);
	}
}

static void storm(struct life_sim *s)
{
	while (life_now(s) < s->end_ns) {
		bool trouble = life_percent(s, 50);
		uint64_t until = life_now(s) + (trouble ? life_between(s, SEC, 20 * SEC) : life_between(s, 10 * SEC, 100 * SEC));

		if (!trouble && life_percent(s, 60)) {
			mesh_mend(s);
			if (life_percent(s, 60))
				providers_mend(s);
		}
		while (life_now(s) < until && life_now(s) < s->end_ns) {
			one_event(s, trouble);
			life_look(s);
			some_time(s);
			life_look(s);
		}
	}
}

static uint64_t settles_ns(const struct life_sim *s)
{
	uint64_t most = 40 * SEC;

	for (uint32_t n = 0; n < LIFE_SERVICES; n++)
		most = service_settles_ns(&s->service[n]) > most ? service_settles_ns(&s->service[n]) : most;
	return most;
}

static void all_must_end(struct life_sim *s)
{
	for (int round = 0; round < 120; round++) {
		calls_go_on(s, true);
		if (s->first_open == s->ncalls)
			return;
		pass(s, SEC / 2);
	}
	wrong(s, &s->calls[s->first_open], "a minute after all trouble was over");
}

static bool was_called(struct life_sim *s, const struct life_provider *p, uint32_t since)
{
	for (const struct list *at = p->p->served.prev; at != &p->p->served; at = at->prev) {
		const struct served *v = list_entry(at, struct served, node);

		if (v->begun_ns + 3 * SEC < life_now(s))
			return false;
		if (!is_question(v) && (uint32_t)(life_call_of(s, v) - s->calls) >= since)
			return true;
	}
	return false;
}

/* Who is well gets its part of the calls again. */
static void all_are_called(struct life_sim *s)
{
	for (uint32_t n = 0; n < LIFE_SERVICES; n++) {
		struct life_service *v = &s->service[n];
		uint32_t before = s->ncalls;

		if (n == LIFE_MESH && !s->with_plane)
			continue;
		if (v->sure != (v->members & ~v->ordered))
			rig_die("%s: the providers %x are well again, and sure is only %x", v->authority, v->members & ~v->ordered, v->sure);
		for (int k = 0; k < 120; k++) {
			do_call_to(s, n);
			simnet_advance(s->rig->net, 2 * MS);
		}
		pass(s, SEC);
		for (uint32_t i = 0; i < LIFE_PROVIDERS; i++)
			if (v->sure >> i & 1 && !was_called(s, &s->provider[i], before))
				rig_die("%s: provider %u is well again and gets no call of 120", v->authority, i + 1);
	}
}

static void peace(struct life_sim *s)
{
	*simnet_knobs(s->rig->net) = (struct simnet_knobs){.capacity = 65536, .cred = simnet_knobs(s->rig->net)->cred};
	mesh_mend(s);
	app_mend(s);
	pass(s, settles_ns(s)); /* some are still ill: what is told of them must be right */
	app_word(s, life_percent(s, 50), "");
	pass(s, 5 * SEC);
	providers_mend(s);
	all_must_end(s);
	pass(s, settles_ns(s));
	all_are_called(s);
	/* All are well, and nothing is on its way: no check may fail for a freeze, however long it is. */
	uint64_t failed = rig_stat(s->rig, STAT_CHECK_FAILURE);
	for (int i = 0; i < 3; i++) {
		pass(s, life_below(s, 3 * SEC));
		do_freeze(s, life_between(s, 2 * SEC, 600 * SEC), i == 1);
		pass(s, 10 * SEC);
	}
	if (rig_stat(s->rig, STAT_CHECK_FAILURE) != failed)
		rig_die("%llu checks failed for a freeze", (unsigned long long)(rig_stat(s->rig, STAT_CHECK_FAILURE) - failed));
	all_must_end(s);
}

static void must_be_idle(struct life_sim *s)
{
	s->rig->yaml = life_yaml(s, false, false);
	if (sidecar_reload(s->rig->sc) != 0)
		rig_die("a reload is refused: %s", s->rig->err);
	s->stopping = true; /* nobody looks any more */
	for (uint32_t i = 0; i < LIFE_CALLERS; i++)
		caller_close(s->process[i].caller);
	for (uint32_t i = 0; i <= LIFE_SERVICES; i++)
		if (s->watcher[i].from)
			caller_close(s->watcher[i].from);
	caller_close(s->app.door);
	caller_close(s->control);
	simnet_advance(s->rig->net, 2 * 3600 * SEC); /* idle connections to providers are kept for one */
	uint64_t turns = rig_stat(s->rig, STAT_TURNS);
	simnet_advance(s->rig->net, 3600 * SEC);
	turns = rig_stat(s->rig, STAT_TURNS) - turns;
	if (turns > 3)
		rig_die("nobody checks and nobody calls, and the daemon woke up %llu times in an hour", (unsigned long long)turns);
}

static void must_go(struct life_sim *s)
{
	const struct life_app *a = &s->app;
	bool heard = s->with_plane && !s->plane_ill && life_now(s) >= s->plane_ns + 25 * SEC && s->plane->health.count;
	uint64_t announce_ns = a->announce_ms > 1000 ? a->announce_ms * MS : SEC, from = life_now(s);

	life_told(s, "SIGTERM", 0);
	s->stopping = true;
	sidecar_stop(s->rig->sc);
	while (life_now(s) < from + announce_ns + (a->deadline_ms + 2000) * MS) {
		bool early = life_now(s) < from + a->announce_ms * MS;

		do_call(s);
		calls_go_on(s, false);
		simnet_advance(s->rig->net, life_below(s, 200 * MS));
		app_look(s);
		if (early && life_now(s) < from + a->announce_ms * MS && s->process[0].caller->goaways)
			rig_die("the app was told to go at %llu ms, before drain.announce is over", (unsigned long long)(life_now(s) / MS));
		if (heard && life_now(s) > from + 500 * MS && s->plane->health.ok)
			rig_die("the control plane has not heard that the daemon goes");
	}
	if (!s->rig->sc->stopped)
		rig_die("it does not end: %u calls are left", s->rig->sc->nexchanges);
	for (uint32_t i = 0; i < s->ncalls; i++)
		if (!s->calls[i].over)
			wrong(s, &s->calls[i], "the daemon has gone");
	for (uint32_t i = 0; i < a->nwaits; i++)
		if (a->waits[i].call->ends != 1)
			rig_die("a fail that waits has ended %u times, and the daemon has gone", a->waits[i].call->ends);
}

void life_run(uint64_t seed, uint32_t minutes)
{
	struct life_sim *s = xnew(struct life_sim);
	struct rig *r = rig_bare(seed);

	s->rig = r;
	s->calls = xalloc(LIFE_CALLS * sizeof(*s->calls));
	r->ctx = s;
	r->on_call_end = life_call_over;
	r->on_served = life_served;
	s->with_plane = life_percent(s, 60);
	services_draw(s);
	app_draw(s);
	if (s->with_plane)
		s->plane = rig_plane(r, PLANE_AT, PLANE_ISTIO);
	providers_make(s);
	app_make(s);
	rig_start(r, life_yaml(s, true, true));
	simnet_after_turn(r->net, life_after_turn, s);
	app_processes_mend(s);
	watchers_mend(s);
	bool abrupt = life_percent(s, 30), goes = abrupt || life_percent(s, 40);
	s->end_ns = life_now(s) + minutes * 60 * SEC;
	storm(s);
	if (!abrupt)
		peace(s);
	if (goes)
		must_go(s);
	else
		must_be_idle(s);
	simnet_after_turn(r->net, NULL, NULL);
	uint64_t hash = simnet_trace(r->net), now_ms = life_now(s) / MS, probes = rig_stat(r, STAT_CHECK_ATTEMPT);
	rig_free(&r);
	printf("seed %llu hash %016llx life: calls %u (sure %u ok %u failed %u), inbound %u ok %u, troubles %u freezes %u posts %u probes %llu ejected %u clear %u, ends %s, virtual %llu ms\n",
		(unsigned long long)seed, (unsigned long long)hash, s->ncalls, s->sure, s->ok, s->failed, s->inbound, s->inbound_ok, s->sick, s->freezes, s->posts, (unsigned long long)probes,
		s->ejected, s->looks, abrupt ? "abruptly" : goes ? "by SIGTERM" : "idle", (unsigned long long)now_ms);
	sb_end(&s->yaml[0]);
	sb_end(&s->yaml[1]);
	free(s->calls);
	free(s);
}
