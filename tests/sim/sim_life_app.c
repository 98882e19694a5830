/* tests/sim/sim_life_app: the app: what it says, what is seen of it, who calls it.
 *
 * The model knows what was said last, what became of the processes that are watched, and what its check finds; a second after the last of these it is sure whether the app is open. Then:
 *
 *   - the daemon's state is that; the last word of HealthInformation is that, once the control plane has been well for a while; and the Watch of the app says that
 *   - its server sees no call that came while the gate was closed; a call that lives while the gate is open and the server is well ends well
 *   - a fail that waits is answered once, and in time; when no call is inside, none is in flight */
#include "sidecar/inbound.h"
#include <stdio.h>
#include <string.h>
#include "net/grpc_health_message.h"
#include "sidecar/app.h"
#include "tests/sim/sim_life.h"
#include "tests/sim/simnet_proc.h"

#define SERVER "unix:/run/shop/server.sock"

static struct app *app_of(const struct life_sim *s) { return list_entry(s->rig->sc->apps.next, struct app, node); }

/* ---- what is declared ---- */

void app_draw(struct life_sim *s)
{
	struct life_app *a = &s->app;

	a->has_check = life_percent(s, 30);
	a->check_passes = true;
	a->period_ms = (uint32_t)life_between(s, 100, 2000);
	a->fails = 1 + (uint32_t)life_below(s, 3);
	a->passes = 1 + (uint32_t)life_below(s, 3);
	a->watch = life_percent(s, 60);
	a->announce_ms = life_percent(s, 50) ? (uint32_t)life_between(s, 100, 4000) : 0;
	a->deadline_ms = (uint32_t)life_between(s, 1000, 5000);
	s->next_pid = 1000;
}

void app_yaml(struct life_sim *s, struct sb *b, bool check)
{
	const struct life_app *a = &s->app;

	sb_str(b, "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}, {tcp: \"127.0.0.1:15051\"}]\n    inbound: [{tcp: \"" LIFE_IN "\", to: \"" SERVER "\"}]\n");
	sb_fmt(b, "    health:\n      listen: [{tcp: \"" LIFE_ASK "\"}]\n      watch: %s\n", a->watch ? "true" : "false");
	if (a->has_check && check)
		sb_fmt(b, "      check: {exec: [probe], period: %ums, timeout: 500ms, failure_threshold: %u, success_threshold: %u}\n", a->period_ms, a->fails, a->passes);
	sb_fmt(b, "drain: {announce: %ums, deadline: %ums}\n", a->announce_ms, a->deadline_ms);
}

/* ---- the model ---- */

static uint64_t check_settles_ns(const struct life_app *a)
{
	return ((a->fails > a->passes ? a->fails : a->passes) + 2) * (a->period_ms + 500) * MS + SEC;
}

bool app_is_open(struct life_sim *s, bool *ret_sure)
{
	const struct life_app *a = &s->app;
	uint64_t now = life_now(s);
	bool ok = a->ok && !(a->lease_ns && now >= a->lease_ns), check_sure = now >= a->check_ns + check_settles_ns(a);

	*ret_sure = now >= a->settled_ns && !a->unsure && !(a->lease_ns && now + SEC >= a->lease_ns && now <= a->lease_late_ns + SEC);
	if ((a->gone && a->said) || (a->said && !ok))
		return false;
	if (!a->has_check)
		return ok && a->said;
	*ret_sure &= check_sure;
	return a->check_passes;
}

static void settles(struct life_sim *s)
{
	s->app.settled_ns = life_now(s) + SEC;
}

/* ---- what it says ---- */

static struct caller *speaker(struct life_sim *s)
{
	return s->process[0].caller && s->process[0].caller->up ? s->process[0].caller : NULL;
}

/* Until it is answered nobody knows whether it was heard. */
static bool word_is_out(const struct life_process *p)
{
	return p->word && !p->word->status;
}

/* Before the model takes it over. */
static void word_leaves(struct life_sim *s, const struct call *word)
{
	struct life_process *me = &s->process[0];
	bool moot = me->watched && s->app.said;

	me->moot = word_is_out(me) ? me->moot && moot : moot;
	me->word = word;
}

void app_word(struct life_sim *s, bool ok, const char *query)
{
	struct life_app *a = &s->app;
	char path[96];

	if (!speaker(s))
		return;
	s->posts++;
	snprintf(path, sizeof(path), "/healthcheck/%s%s", ok ? "ok" : "fail", query);
	struct call *k = call_plain(speaker(s), "POST", "x", path, NULL, true);
	if (!k->stream)
		return;
	word_leaves(s, k);
	a->ok = ok;
	a->said = true;
	a->gone = a->unsure = false;
	a->lease_ns = a->lease_late_ns = 0;
	settles(s);
	life_told(s, path, 0);
}

static void fail_and_wait(struct life_sim *s)
{
	struct life_app *a = &s->app;
	uint64_t ms = 1 + life_below(s, 6000);
	char path[64];

	if (!speaker(s) || a->nwaits == LIFE_WAITS)
		return;
	s->posts++;
	snprintf(path, sizeof(path), "/healthcheck/fail?wait=%ums", (unsigned)ms);
	struct call *k = call_plain(speaker(s), "POST", "x", path, NULL, true);
	if (!k->stream)
		return;
	word_leaves(s, k);
	a->waits[a->nwaits++] = (struct life_wait_call){k, life_now(s) + ms * MS + 2 * SEC};
	a->ok = a->gone = a->unsure = false;
	a->said = true;
	a->lease_ns = 0;
	settles(s);
	life_told(s, path, 0);
}

static void lease(struct life_sim *s)
{
	struct life_app *a = &s->app;
	uint64_t ms = 1000 + life_below(s, 20000);
	char query[32];

	snprintf(query, sizeof(query), "?ttl=%ums", (unsigned)ms);
	if (!speaker(s))
		return;
	app_word(s, true, query);
	a->lease_ns = life_now(s) + ms * MS;
	a->lease_late_ns = a->lease_ns + SEC;
}

/* ---- its processes ---- */

/* Who it is counts when the connection arrives: so that takes no time. */
static struct caller *caller_as(struct life_sim *s, const char *at, int pid)
{
	struct simnet_knobs *k = simnet_knobs(s->rig->net);
	uint64_t latency_ns = k->latency_ns;

	k->latency_ns = 0;
	k->cred.pid = pid;
	struct caller *c = caller_new(s->rig, at);
	k->latency_ns = latency_ns;
	return c;
}

void app_processes_mend(struct life_sim *s)
{
	for (uint32_t i = 0; i < LIFE_CALLERS; i++) {
		struct life_process *p = &s->process[i];

		if (p->caller && (p->caller->h2 || p->caller->sock))
			continue;
		if (!p->pid)
			p->pid = s->next_pid++;
		p->caller = caller_as(s, DOOR, p->pid);
	}
	if (!s->app.door || !s->app.door->h2 || s->app.door->goaways)
		s->app.door = caller_new(s->rig, LIFE_IN);
}

static void process_ends(struct life_sim *s, uint32_t i)
{
	struct life_process *p = &s->process[i];
	struct life_app *a = &s->app;
	bool watched = p->watched, perhaps = p->perhaps, out = word_is_out(p), moot = p->moot, others = false, others_perhaps = false;

	if (!p->pid)
		return;
	life_told(s, "process ends", p->pid);
	simnet_end_process(s->rig->net, p->pid);
	if (p->caller)
		caller_close(p->caller);
	*p = (struct life_process){0};
	for (uint32_t n = 0; n < LIFE_CALLERS; n++) {
		others |= s->process[n].watched;
		others_perhaps |= s->process[n].perhaps;
	}
	a->unsure |= out && (!moot || others_perhaps) && life_now(s) < a->settled_ns;
	settles(s);
	if (others || (!watched && !perhaps) || !(a->said || a->has_check))
		return;
	if (!watched || others_perhaps) {
		a->unsure = true;
		return;
	}
	a->gone = true;
	a->lease_ns = 0;
	a->check_ns = life_now(s);
}

/* ---- events ---- */

static void server(struct life_sim *s, bool up)
{
	struct life_app *a = &s->app;

	if (up == a->server_up)
		return;
	a->server_up = up;
	a->server_ns = life_now(s);
	provider_listen(a->server, up);
	if (!up)
		provider_cut(a->server);
	life_told(s, "server", up);
}

static void check_set(struct life_sim *s, bool passes)
{
	struct life_app *a = &s->app;

	if (!a->has_check || a->check_passes == passes)
		return;
	a->check_passes = passes;
	a->check_ns = life_now(s);
	simnet_program(s->rig->net, "probe", passes ? 0 : 1, 10 * MS);
	life_told(s, "check", passes);
}

void app_event(struct life_sim *s)
{
	struct life_process *me = &s->process[0];
	uint64_t dice = life_below(s, 100);

	if (dice < 35) {
		app_word(s, true, "");
	} else if (dice < 45) {
		lease(s);
	} else if (dice < 55 && speaker(s)) {
		app_word(s, true, "?watch=pid");
		me->watched = me->perhaps = true;
	} else if (dice < 63) {
		app_word(s, false, "");
	} else if (dice < 73) {
		fail_and_wait(s);
	} else if (dice < 82) {
		process_ends(s, (uint32_t)life_below(s, LIFE_CALLERS));
	} else if (dice < 90) {
		server(s, !s->app.server_up || life_percent(s, 40));
	} else if (dice < 94) {
		provider_goaway(s->app.server);
	} else {
		check_set(s, !s->app.check_passes);
	}
}

void app_mend(struct life_sim *s)
{
	server(s, true);
	check_set(s, true);
}

void app_froze(struct life_sim *s, uint64_t ns)
{
	struct life_app *a = &s->app;

	if (life_now(s) < a->settled_ns)
		a->settled_ns = life_now(s) + ns + SEC;
	/* A lease runs while the app stands still with us, or it does not: both are right here. */
	a->lease_late_ns += a->lease_ns ? ns + SEC : 0;
	a->check_ns += life_now(s) < a->check_ns + check_settles_ns(a) ? ns + SEC : 0;
	for (uint32_t i = 0; i < a->nwaits; i++)
		a->waits[i].until_ns += ns + SEC;
}

/* ---- calls to it ---- */

void app_call(struct life_sim *s, uint32_t n)
{
	struct life_app *a = &s->app;
	struct life_call *k = &s->calls[n];
	char more[64];

	if (!a->door || !a->door->up || a->door->goaways)
		return;
	*k = (struct life_call){.service = -1, .frozen_ns = s->stood_ns};
	if (life_percent(s, 10))
		k->deadline_ns = life_between(s, 500, 5000) * MS;
	snprintf(more, sizeof(more), "x-id: %u\n", n);
	if (k->deadline_ns)
		snprintf(more + strlen(more), sizeof(more) - strlen(more), "grpc-timeout: %um\n", (unsigned)(k->deadline_ns / MS));
	k->call = call_begin(a->door, "shop", PATH, more, false);
	if (!k->call->stream)
		return; /* told to go */
	k->call->user = k;
	s->ncalls++;
	s->inbound++;
	call_fill(k->call, life_below(s, life_percent(s, 10) ? 50000 : 500), true);
}

void app_served(struct life_sim *s, struct served *v)
{
	struct life_call *k = life_call_of(s, v);

	if (k->service >= 0)
		rig_die("call %u to a provider reaches the app", (unsigned)(k - s->calls));
	if (s->app.open_ns < k->call->begun_ns)
		rig_die("call %u of %llu ms reaches the app, which is closed since %llu ms", (unsigned)(k - s->calls), (unsigned long long)(k->call->begun_ns / MS), (unsigned long long)(s->app.open_ns / MS));
	if (++k->nserved > 1)
		rig_die("call %u reaches the app %u times", (unsigned)(k - s->calls), k->nserved);
}

void app_call_over(struct life_sim *s, struct life_call *k)
{
	struct life_app *a = &s->app;
	const struct call *c = k->call;
	bool well = call_ok(c), open = a->shut_ns + SEC < c->begun_ns && a->open, late = k->deadline_ns && c->grpc == GRPC_DEADLINE_EXCEEDED;

	a->closed_ns = life_now(s);
	s->inbound_ok += well;
	if (well && !k->nserved)
		rig_die("call %u to the app ended well, and it has not seen it", (unsigned)(k - s->calls));
	if (well || late || s->stopping || c->end.cause == END_LOST || !open || !a->server_up || a->server_ns + 15 * SEC >= c->begun_ns)
		return;
	rig_die("call %u to the app, %llu to %llu ms, ended with cause %d, grpc %d '%s', and it was open since %llu ms", (unsigned)(k - s->calls), (unsigned long long)(c->begun_ns / MS),
		(unsigned long long)(life_now(s) / MS), c->end.cause, c->grpc, call_text(c), (unsigned long long)(a->shut_ns / MS));
}

void app_after_turn(struct life_sim *s)
{
	struct life_app *a = &s->app;

	a->was_open = a->open;
	a->open = inbound_closed(app_of(s)) == NULL;
	if (a->open || a->was_open) /* what came in this turn came to what was open when it began */
		a->open_ns = life_now(s);
	if (!a->open)
		a->shut_ns = life_now(s);
}

/* ---- what must hold ---- */

static void look_waits(struct life_sim *s)
{
	struct life_app *a = &s->app;

	while (a->first_wait < a->nwaits && a->waits[a->first_wait].call->ends)
		a->first_wait++;
	for (uint32_t i = a->first_wait; i < a->nwaits; i++) {
		const struct call *c = a->waits[i].call;

		if (c->ends > 1)
			rig_die("a fail that waits was answered %u times", c->ends);
		if (!c->ends && life_now(s) > a->waits[i].until_ns)
			rig_die("a fail that waits was to be answered by %llu ms", (unsigned long long)(a->waits[i].until_ns / MS));
		if (c->ends && c->end.cause == END_DONE && c->status != 200)
			rig_die("a fail that waits was answered with %d '%s'", c->status, call_text(c));
	}
}

static bool any_inside(const struct life_sim *s)
{
	for (uint32_t i = s->first_open; i < s->ncalls; i++)
		if (s->calls[i].service < 0 && !s->calls[i].over)
			return true;
	return false;
}

static void look_told(struct life_sim *s, bool open)
{
	const struct life_app *a = &s->app;
	const struct life_watcher *w = &s->watcher[LIFE_SERVICES];
	int says = life_watch_says(w), must = open ? GRPC_HEALTH_SERVING : GRPC_HEALTH_NOT_SERVING;

	if (life_now(s) < a->unclear_ns + 3 * SEC || life_now(s) < s->thawed_ns + 3 * SEC)
		return;
	if (w->call && w->call->stream && life_now(s) >= w->since_ns + 3 * SEC && says != must)
		rig_die("the Watch of the app was told %s, and it is %s since %llu ms", says < 0 ? "nothing" : grpc_health_name(says), grpc_health_name(must), (unsigned long long)(a->unclear_ns / MS));
	if (!s->with_plane || s->plane_ill || life_now(s) < s->plane_ns + 25 * SEC)
		return;
	if (open ? !s->plane->health.count || !s->plane->health.ok : s->plane->health.count && s->plane->health.ok)
		rig_die("the control plane has heard %u words of the app, the last one %s, and it is %s since %llu ms", s->plane->health.count, s->plane->health.ok ? "ok" : s->plane->health.text,
			open ? "open" : "closed", (unsigned long long)(a->unclear_ns / MS));
}

void app_look(struct life_sim *s)
{
	struct life_app *a = &s->app;
	bool sure, open = app_is_open(s, &sure);
	const struct life *l = app_of(s)->life;

	look_waits(s);
	if (life_in_flight(l) && !any_inside(s) && life_now(s) >= a->closed_ns + 2 * SEC && life_now(s) >= s->thawed_ns + 2 * SEC)
		rig_die("%u calls to the app are in flight, and nobody has begun one", life_in_flight(l));
	if (s->stopping)
		return;
	if (!sure) {
		a->unclear_ns = life_now(s);
		return;
	}
	struct life_view view;
	life_view(l, &view);
	if (life_is_open(l) != open)
		rig_die("the app is %s (%s; check %s, %u processes), and it has to be %s: it said %s, %s", life_state_name(life_state(l)), view.why, view.check ? view.check : "none", view.processes,
			open ? "open" : "closed", !a->said ? "nothing" : a->ok ? "ok" : "fail", a->gone ? "its processes ended" : "it lives");
	look_told(s, open);
}

/* ---- the beginning ---- */

void app_make(struct life_sim *s)
{
	struct life_app *a = &s->app;

	simnet_program(s->rig->net, "probe", 0, 10 * MS);
	a->server = provider_new(s->rig, SERVER, ECHOES);
	a->server_up = true;
	a->server_ns = a->check_ns = life_now(s);
}
