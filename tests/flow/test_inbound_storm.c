/* Calls to the app while everything around them happens at once, by seed: the app says ok and fail, its process dies, its server comes and goes, callers come and go, doors move by reloads, the
 * clock jumps. What must hold all the same:
 *
 *   - each call ends exactly once, with the server's answer or with one of ours, and nothing is in flight afterwards
 *   - the server sees no call twice, whatever was tried again
 *   - who is not the app is never served while the app is closed: what the server got was let in
 *   - the app's own connection gets no GOAWAY
 *   - a call on a connection that stays, while the app and its server are well, is answered by the server */
#include "sidecar/inbound.h"
#include "tests/flow/rig.h"
#include "tests/sim/simnet_proc.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 40, STEPS = 250, CALLERS = 4, CALLS = 4096 };
#define SERVER "unix:/run/shop/server.sock"
static const char *const doors[] = {"10.9.0.1:20880", "10.9.0.1:20881", "unix:/run/shop/in.sock"};

struct storm {
	struct rig *r;
	struct provider *server;
	struct caller *app, *from[CALLERS];
	struct call *calls[CALLS]; uint32_t n;
	bool open_door[3];
	char yaml[2][1024]; int turn;
	int pid;
};

static uint64_t below(struct storm *s, uint64_t n)
{
	return simnet_random(s->r->net) % n;
}

static const char *storm_yaml(struct storm *s)
{
	char *y = s->yaml[s->turn ^= 1];
	size_t size = sizeof(s->yaml[0]);
	int n = snprintf(y, size, "limits: {memory: 64MiB, replay_bytes: 8KiB}\ndrain: {deadline: 5s}\napps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    inbound:\n");

	for (int i = 0; i < 3; i++)
		if (s->open_door[i])
			n += snprintf(y + n, size - (size_t)n, "      - {%s: \"%s\", to: \"" SERVER "\"}\n", i == 2 ? "unix" : "tcp", doors[i] + (i == 2 ? 5 : 0));
	return y;
}

static struct life *life_of(const struct storm *s)
{
	return list_entry(s->r->sc->apps.next, struct app, node)->life;
}

static void storm_call(struct storm *s)
{
	struct caller *c = s->from[below(s, CALLERS)];
	char more[64];

	if (s->n == CALLS || !c->h2 || !c->up)
		return;
	snprintf(more, sizeof(more), "x-id: %u\n%s", s->n, below(s, 8) == 0 ? "grpc-timeout: 300m\n" : "");
	s->calls[s->n] = call_begin(c, "shop", PATH, more, false);
	call_fill(s->calls[s->n], below(s, 4) ? below(s, 2000) : below(s, 100000), below(s, 4) != 0);
	s->n++;
}

static void storm_step(struct storm *s)
{
	static const enum does does[] = {ECHOES, ECHOES, ANSWERS, HOLDS, PLAIN, TRAILERS_ONLY, RESETS, CRASHES, CRASHES_LATE, LEAVES, RESETS_LATE};
	uint64_t dice = below(s, 100);
	struct call *c;

	for (int i = 0; i < CALLERS; i++)
		if (!s->from[i] || (!s->from[i]->h2 && !s->from[i]->sock))
			s->from[i] = caller_start(s->r, doors[below(s, 3)]);
	if (dice < 45) {
		storm_call(s);
	} else if (dice < 55) {
		if (s->n && (c = s->calls[s->n - 1 - below(s, s->n < 20 ? s->n : 20)])->stream && below(s, 2))
			call_cancel(c);
	} else if (dice < 65) {
		call_plain(s->app, "POST", "x", below(s, 3) ? "/healthcheck/ok" : "/healthcheck/fail", NULL, true);
	} else if (dice < 67) {
		life_watch_pid(life_of(s), ++s->pid);
	} else if (dice < 69) {
		simnet_end_process(s->r->net, s->pid);
	} else if (dice < 77) {
		s->server->act = (struct act){.does = does[below(s, UNIT_COUNT(does))], .bytes = (uint32_t)below(s, 5000), .messages = 1 + (uint32_t)below(s, 3),
			.code = below(s, 2) ? H2_REFUSED_STREAM : H2_INTERNAL_ERROR, .delay_ms = below(s, 50)};
	} else if (dice < 81) {
		provider_listen(s->server, below(s, 2));
	} else if (dice < 84) {
		provider_cut(s->server);
	} else if (dice < 87) {
		provider_goaway(s->server);
	} else if (dice < 90) {
		caller_close(s->from[below(s, CALLERS)]);
	} else if (dice < 93) {
		s->open_door[below(s, 3)] ^= true;
		if (!s->open_door[0] && !s->open_door[1] && !s->open_door[2])
			s->open_door[0] = true;
		ck_assert_int_eq(rig_reload(s->r, storm_yaml(s)), 0);
	} else if (dice < 94) {
		simnet_freeze(s->r->net, (1 + below(s, 20)) * SEC);
	}
	if (below(s, 3))
		simnet_advance(s->r->net, below(s, 2) ? 0 : below(s, 30 * MS));
}

static void storm_peace(struct storm *s)
{
	s->server->act = (struct act){.does = ECHOES};
	provider_listen(s->server, true);
	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < s->n; i++)
			if (s->calls[i]->stream)
				call_fill(s->calls[i], 0, true);
		list_each(n, tmp, &s->server->served) {
			struct served *v = list_entry(n, struct served, node);
			if (v->stream && v->begun && v->fin && !v->answered && v->act.does == HOLDS)
				served_answer(v);
		}
		rig_advance(s->r, 1000);
	}
}

/* What the server got, by the numbers that the callers gave. */
static void storm_look(struct storm *s, uint64_t seed)
{
	uint8_t seen[CALLS] = {0};

	list_each(n, tmp, &s->server->served) {
		struct served *v = list_entry(n, struct served, node);
		const char *id = served_field(v, "x-id");
		ck_assert_msg(id && ++seen[atoi(id)] == 1, "seed %llu: call %s is seen twice", (unsigned long long)seed, id ? id : "?");
	}
	for (uint32_t i = 0; i < s->n; i++) {
		const struct call *c = s->calls[i];
		ck_assert_msg(c->ends == 1, "seed %llu: call %u has ended %u times", (unsigned long long)seed, i, c->ends);
		const char *mark = call_field(c, "x-envoy-immediate-health-check-fail");
		if (mark && c->grpc == GRPC_UNAVAILABLE && strstr(call_text(c), "takes no calls"))
			ck_assert_msg(!seen[i], "seed %llu: call %u was refused and served", (unsigned long long)seed, i);
		if (call_ok(c))
			ck_assert_msg(seen[i], "seed %llu: call %u is answered by nobody", (unsigned long long)seed, i);
	}
	ck_assert_uint_eq(life_in_flight(life_of(s)), 0);
	ck_assert_uint_eq(s->app->goaways, 0);
}

static void storm_run(uint64_t seed)
{
	struct storm *s = xnew(struct storm);

	s->open_door[0] = s->open_door[1] = s->open_door[2] = true;
	s->pid = 4000;
	s->r = rig_new_seeded(storm_yaml(s), seed);
	s->server = provider_new(s->r, SERVER, ECHOES);
	s->app = caller_new(s->r, DOOR);
	struct simnet_knobs *k = simnet_knobs(s->r->net);
	k->shuffle = true;
	k->hold_percent = (uint32_t)below(s, 30);
	k->short_percent = (uint32_t)below(s, 40);
	k->again_percent = (uint32_t)below(s, 20);
	k->latency_ns = below(s, 3) * MS;
	for (int i = 0; i < STEPS; i++)
		storm_step(s);
	*k = (struct simnet_knobs){.capacity = 65536, .cred = k->cred};
	storm_peace(s);
	storm_look(s, seed);
	/* And it works. */
	struct call *ok = call_plain(s->app, "POST", "x", "/healthcheck/ok", NULL, true);
	rig_advance(s->r, 2000);
	ck_assert_int_eq(ok->status, 200);
	for (int i = 0; i < 3; i++)
		if (s->open_door[i]) {
			struct caller *c = caller_new(s->r, doors[i]);
			struct call *last = call_unary(c, "shop", "x-id: 0\n");
			rig_advance(s->r, 100);
			ck_assert_msg(call_ok(last), "seed %llu, door %d: %d %s", (unsigned long long)seed, i, last->grpc, call_text(last));
		}
	rig_free(&s->r);
	free(s);
}

START_TEST(whatever_happens_around_it_each_call_ends_once_and_is_served_once)
{
	const char *one = getenv("STORM_SEED");

	for (uint64_t seed = one ? strtoull(one, NULL, 10) : 1; seed <= (one ? strtoull(one, NULL, 10) : SEEDS); seed++)
		storm_run(seed);
}
END_TEST

UNIT_SUITE("inbound_storm", whatever_happens_around_it_each_call_ends_once_and_is_served_once)
