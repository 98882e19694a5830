/* tests/sim/sim_main: the whole sidecar under a seeded scheduler: callers, providers, trouble of every kind, and what must hold all the same.
 *
 *	build/tests/sim --seed N [--steps N]    one run; the last line is `seed N hash H ...`, the same each time
 *	build/tests/sim --seeds A..B            each seed in a child of its own; the last line is `sim: N passed, N failed`
 *	build/tests/sim --mesh ...              the same beside a control plane (sim_mesh.c); [--minutes N] of virtual time, an hour where nothing is said
 *	build/tests/sim --life ...              the same with providers that are checked and an app that lives and dies (sim_life.c); half an hour
 *
 * A run has three parts: a mesh and a network are drawn from the seed; then some hundred steps, each one event (a call, a piece of a body, a
 * cancellation, a cut, a reload, a freeze ...) and a little time; then peace: nothing fails any more, whoever was stalled goes on, and all that is open has to end.
 * What must hold is in sim_check.c. SIM_LOG=1 tells each step, RIG_LOG=1 what the sidecar says. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/sim/sim.h"
#include "tests/sim/sim_life.h"
#include "tests/sim/sim_mesh.h"

/* ---- chance ---- */

uint64_t sim_below(struct sim *s, uint64_t n)
{
	return simnet_random(s->rig->net) % n;
}

static bool sim_percent(struct sim *s, unsigned percent)
{
	return sim_below(s, 100) < percent;
}

/* ---- what is declared ---- */

static void sim_yaml(struct sim *s)
{
	struct sb *b = &s->yaml[s->yaml_turn ^= 1];

	b->n = 0;
	sb_str(b, "limits: {memory: 64MiB, stall: 20s, window_down: 32KiB, window_up: 512KiB, reader_budget: 300KiB, replay_bytes: 8KiB}\n"
		  "park: {time: 2s}\ndrain: {deadline: 5s}\n"
		  "apps:\n  - name: shop\n    listen:\n      - unix: /run/shop.sock\n      - {tcp: \"127.0.0.1:15051\", default: svc0:1}\n    alias: {nick: svc1}\n");
	if (s->second_app)
		sb_str(b, "  - name: till\n    listen: [{unix: /run/till.sock}]\n");
	sb_str(b, "services:\n");
	for (uint32_t i = 0; i < SERVICES; i++) {
		const struct sim_service *v = &s->service[i];
		if (!v->declared)
			continue;
		sb_fmt(b, "  - name: svc%u.default.svc.cluster.local:1\n    lb: %s\n    connect_timeout: 1s\n    endpoints: [", i, v->lb);
		bool first = true;
		for (uint32_t p = 0; p < PROVIDERS; p++)
			if (v->mask & 1u << p) {
				sb_fmt(b, v->by_name ? "%s\"p%u.example:1\"" : "%s\"10.0.0.%u:1\"", first ? "" : ", ", p + 1);
				first = false;
			}
		sb_str(b, "]\n");
		sb_str(b, v->retries ? "    retries: {max: 2, on: [5xx, reset, unavailable]}\n" : "    retries: {max: 0}\n");
		if (v->timeout_ms)
			sb_fmt(b, "    timeout: %ums\n", v->timeout_ms);
	}
	sb_char(b, 0);
}

static void service_draw(struct sim *s, struct sim_service *v)
{
	static const char *const lbs[] = {"round_robin", "random", "least_request"};
	uint32_t was = v->declared ? v->mask : 0;

	v->declared = sim_percent(s, 93);
	v->mask = (uint32_t)(sim_below(s, 1u << PROVIDERS) | (sim_percent(s, 90) ? sim_below(s, 1u << PROVIDERS) : 0));
	v->lb = lbs[sim_below(s, 3)];
	v->timeout_ms = sim_percent(s, 20) ? 20 + (uint32_t)sim_below(s, 3000) : 0;
	for (uint32_t p = 0; p < PROVIDERS; p++)
		if (was >> p & 1 && !(v->declared && v->mask >> p & 1))
			v->removed_step[p] = s->step;
}

/* ---- events of one step ---- */

static void do_call(struct sim *s)
{
	uint32_t to = (uint32_t)(sim_percent(s, 90) ? sim_below(s, SERVICES) : SERVICES + sim_below(s, 2));
	struct caller *from = s->caller[sim_below(s, CALLERS)];
	char authority[64], more[256];
	struct sb extra = {0};

	if (!from->up || s->ncalls == CALLS_MAX)
		return;
	struct sim_call *k = &s->calls[s->ncalls];
	*k = (struct sim_call){.step = s->step, .service = to < SERVICES ? (int)to : to == SERVICES ? 1 : -1};
	if (to < SERVICES)
		snprintf(authority, sizeof(authority), sim_percent(s, 50) ? "svc%u:1" : "SVC%u.default.svc.cluster.local.:1", to);
	else
		snprintf(authority, sizeof(authority), "%s", to == SERVICES ? "nick" : "nobody.knows:9");
	if (sim_percent(s, 25)) {
		k->deadline = true;
		snprintf(more, sizeof(more), "grpc-timeout: %um\n", 1 + (unsigned)sim_below(s, sim_percent(s, 30) ? 50 : 5000));
		sb_str(&extra, more);
	}
	if (sim_percent(s, 10)) {
		k->retries = true;
		sb_str(&extra, "x-envoy-max-retries: 2\nx-envoy-retry-on: reset,unavailable\n");
	}
	sb_fmt(&extra, "x-id: %u\n", s->ncalls);
	bool plain = sim_percent(s, 10);
	k->plain = plain;
	k->call = plain ? call_plain(from, "POST", authority, "/page", extra.p, false) : call_begin(from, authority, PATH, extra.p, false);
	sb_end(&extra);
	k->call->user = k;
	k->call->hold = sim_percent(s, 5);
	s->ncalls++;
	k->left = sim_percent(s, 20) ? sim_below(s, 200000) : sim_below(s, 2000);
	k->streaming = sim_percent(s, 40);
	if (!k->streaming) {
		call_fill(k->call, k->left, true);
		k->left = 0;
		k->whole = true;
	}
}

static struct sim_call *some_call(struct sim *s)
{
	/* The newest ones most: the older they are, the more of them have ended. */
	for (int i = 0; i < 4 && s->ncalls; i++) {
		uint32_t back = (uint32_t)sim_below(s, s->ncalls < 40 ? s->ncalls : 40);
		struct sim_call *k = &s->calls[s->ncalls - 1 - back];
		if (k->call->stream)
			return k;
	}
	return NULL;
}

static void go_on(struct sim *s, struct sim_call *k)
{
	if (k->whole || !k->call->stream)
		return;
	size_t n = k->left ? 1 + sim_below(s, k->left) : 0;
	k->left -= n;
	k->whole = k->left == 0;
	call_fill(k->call, n, k->whole);
}

static struct provider *some_provider(struct sim *s)
{
	return s->provider[sim_below(s, PROVIDERS)];
}

static void act_draw(struct sim *s, struct provider *p)
{
	static const enum does usual[] = {ECHOES, ECHOES, ECHOES, ECHOES, ANSWERS, ANSWERS, ANSWERS, ANSWERS_EARLY, TRAILERS_ONLY, PLAIN, HOLDS, HEAD_ONLY, RESETS, RESETS,
		RESETS_LATE, CRASHES, CRASHES_LATE, LEAVES};
	static const uint32_t codes[] = {H2_REFUSED_STREAM, H2_REFUSED_STREAM, H2_CANCEL, H2_INTERNAL_ERROR, H2_NO_ERROR, H2_ENHANCE_YOUR_CALM};
	static const int grpcs[] = {0, 0, 0, 14, 2, 8};

	/* Most providers are well, or every call would be over before it met any trouble of ours. */
	if (sim_percent(s, 60)) {
		p->act = (struct act){.does = usual[sim_below(s, 7)], .bytes = (uint32_t)sim_below(s, 30000), .messages = 1 + (uint32_t)sim_below(s, 10),
			.delay_ms = sim_percent(s, 50) ? sim_below(s, 100) : 0};
		return;
	}
	p->act = (struct act){.does = usual[sim_below(s, sizeof(usual) / sizeof(*usual))], .code = codes[sim_below(s, 6)], .bytes = (uint32_t)sim_below(s, 3000),
		.messages = 1 + (uint32_t)sim_below(s, 20), .grpc = grpcs[sim_below(s, 6)], .status = sim_percent(s, 10) ? 503 : 200,
		.delay_ms = sim_percent(s, 50) ? sim_below(s, 100) : 0, .hold = sim_percent(s, 5)};
}

static struct served *some_served(struct sim *s)
{
	struct provider *p = some_provider(s);
	uint32_t skip = p->open ? (uint32_t)sim_below(s, p->open) : 0;

	list_each(n, tmp, &p->served) {
		struct served *v = list_entry(n, struct served, node);
		if (v->stream && skip-- == 0)
			return v;
	}
	return NULL;
}

static void do_served(struct sim *s, struct served *v)
{
	if (!v || !v->begun)
		return;
	switch (sim_below(s, 4)) {
	case 0:
		served_credit(v);
		break;
	case 1:
		if (v->act.does == HOLDS)
			served_answer(v);
		break;
	case 2:
		if (sim_percent(s, 20))
			served_reset(v, H2_INTERNAL_ERROR);
		break;
	default:
		if (v->act.does == HEAD_ONLY && !v->answered) {
			v->answered = true;
			served_fill(v, 1 + sim_below(s, 10000), false);
			served_trailers(v, 0, NULL);
		}
	}
}

static void knobs_draw(struct sim *s, struct simnet_knobs *k)
{
	k->shuffle = sim_percent(s, 80);
	k->hold_percent = sim_percent(s, 50) ? (uint32_t)sim_below(s, 40) : 0;
	k->short_percent = sim_percent(s, 50) ? (uint32_t)sim_below(s, 60) : 0;
	k->again_percent = sim_percent(s, 50) ? (uint32_t)sim_below(s, 30) : 0;
	k->cut_ppm = sim_percent(s, 20) ? (uint32_t)sim_below(s, 2000) : 0;
	k->refuse_ppm = sim_percent(s, 20) ? (uint32_t)sim_below(s, 200000) : 0;
	k->latency_ns = sim_percent(s, 50) ? sim_below(s, 10) * MS : 0;
	k->capacity = sim_percent(s, 30) ? 512 + (uint32_t)sim_below(s, 8000) : 65536;
}

static void do_reload(struct sim *s)
{
	if (sim_percent(s, 30)) {
		s->second_app = !s->second_app;
	} else {
		for (uint64_t n = 1 + sim_below(s, 2); n > 0; n--)
			service_draw(s, &s->service[sim_below(s, SERVICES)]);
	}
	sim_yaml(s);
	s->rig->yaml = s->yaml[s->yaml_turn].p;
	if (sidecar_reload(s->rig->sc) != 0)
		rig_die("a reload is refused: %s", s->rig->err);
}

static void callers_mend(struct sim *s)
{
	static const char *const doors[] = {DOOR, DOOR, "127.0.0.1:15051", DOOR};

	for (uint32_t i = 0; i < CALLERS; i++)
		if (!s->caller[i] || (!s->caller[i]->h2 && !s->caller[i]->sock)) {
			s->caller[i] = caller_start(s->rig, doors[i]);
			s->stalled_caller[i] = false;
		}
}

static const char *sim_event(struct sim *s)
{
	uint64_t dice = sim_below(s, 1000);
	struct sim_call *k;
	uint32_t i;

	if (dice < 400)
		return do_call(s), "call";
	if (dice < 600)
		return (k = some_call(s)) ? go_on(s, k), "goes on" : "-";
	if (dice < 660)
		return do_served(s, some_served(s)), "served";
	if (dice < 710) {
		if ((k = some_call(s))) {
			call_cancel(k->call);
			sim_call_over(s, k->call);
		}
		return "cancel";
	}
	if (dice < 750)
		return (k = some_call(s)) ? call_credit(k->call), "credit" : "-";
	if (dice < 850)
		return act_draw(s, some_provider(s)), "act";
	if (dice < 870)
		return provider_goaway(some_provider(s)), "goaway";
	if (dice < 885)
		return provider_cut(some_provider(s)), "cut";
	if (dice < 900) {
		i = (uint32_t)sim_below(s, PROVIDERS);
		provider_stall(s->provider[i], s->stalled[i] = !s->stalled[i] && sim_percent(s, 40));
		return "stall";
	}
	if (dice < 920) {
		i = (uint32_t)sim_below(s, PROVIDERS);
		provider_listen(s->provider[i], !s->provider[i]->listen || sim_percent(s, 50));
		return "listen";
	}
	if (dice < 925) {
		i = (uint32_t)sim_below(s, PROVIDERS);
		s->provider[i]->hangs_up = !s->provider[i]->hangs_up && sim_percent(s, 30);
		return "hangs up";
	}
	if (dice < 935)
		return caller_close(s->caller[sim_below(s, CALLERS)]), "app ends";
	if (dice < 945) {
		i = (uint32_t)sim_below(s, CALLERS);
		caller_stall(s->caller[i], s->stalled_caller[i] = !s->stalled_caller[i]);
		return "app stalls";
	}
	if (dice < 965)
		return do_reload(s), "reload";
	if (dice < 975)
		return simnet_freeze(s->rig->net, (1 + sim_below(s, 20)) * SEC), "freeze";
	return knobs_draw(s, simnet_knobs(s->rig->net)), "knobs";
}

/* ---- peace ---- */

static void sim_peace(struct sim *s)
{
	struct simnet_knobs *k = simnet_knobs(s->rig->net);

	*k = (struct simnet_knobs){.capacity = 65536, .cred = k->cred};
	for (uint32_t i = 0; i < PROVIDERS; i++) {
		provider_stall(s->provider[i], false);
		provider_listen(s->provider[i], true);
		s->provider[i]->hangs_up = false;
		s->provider[i]->act = (struct act){.does = ECHOES};
	}
	for (uint32_t i = 0; i < CALLERS; i++)
		caller_stall(s->caller[i], false);
	for (int round = 0; round < 60; round++) {
		for (uint32_t i = 0; i < s->ncalls; i++) {
			struct sim_call *c = &s->calls[i];
			call_credit(c->call);
			if (c->call->stream && !c->whole) {
				call_fill(c->call, c->left, true);
				c->whole = true;
			}
		}
		for (uint32_t i = 0; i < PROVIDERS; i++)
			list_each(n, tmp, &s->provider[i]->served) {
				struct served *v = list_entry(n, struct served, node);
				served_credit(v);
				if (v->stream && v->begun && v->fin && !v->answered && v->act.does == HOLDS)
					served_answer(v);
				else if (v->stream && v->begun && !v->answered && round > 2)
					served_reset(v, H2_INTERNAL_ERROR);
			}
		rig_advance(s->rig, 1000);
		bool open = false;
		for (uint32_t i = 0; i < s->ncalls && !open; i++)
			open = s->calls[i].call->stream != NULL;
		if (!open)
			return;
	}
	for (uint32_t i = 0; i < s->ncalls; i++)
		if (s->calls[i].call->stream)
			rig_die("call %u (service %d, sent %llu, got %llu) has not ended a minute after all trouble was over", i, s->calls[i].service,
				(unsigned long long)s->calls[i].call->sent, (unsigned long long)s->calls[i].call->bytes);
}

/* ---- one run ---- */

static void sim_run(uint64_t seed, uint32_t steps)
{
	struct sim *s = xnew(struct sim);
	struct rig *r;
	bool told = getenv("SIM_LOG") != NULL;

	/* The mesh comes from the seed too, so it needs a simnet before the rig has one. */
	struct simnet *dice = simnet_new(seed);
	struct rig only_dice = {.net = dice};
	s->rig = &only_dice;
	for (uint32_t i = 0; i < SERVICES; i++) {
		service_draw(s, &s->service[i]);
		s->service[i].retries = i == 2;
		s->service[i].by_name = i == 3;
	}
	s->second_app = sim_percent(s, 50);
	simnet_free(&dice);
	sim_yaml(s);
	s->rig = r = rig_new_seeded(s->yaml[s->yaml_turn].p, seed);
	r->ctx = s;
	r->on_call_end = sim_call_over;
	r->on_served = sim_served;
	simnet_after_turn(r->net, sim_after_turn, s);
	for (uint32_t i = 0; i < PROVIDERS; i++) {
		char text[64];
		snprintf(text, sizeof(text), "10.0.0.%u:1", i + 1);
		s->provider[i] = provider_new(r, text, ECHOES);
		if (i != 2)
			act_draw(s, s->provider[i]);
		char name[32];
		snprintf(name, sizeof(name), "p%u.example", i + 1);
		snprintf(text, sizeof(text), "10.0.0.%u", i + 1);
		dns_table_set(r->dns, name, i == 4 ? NULL : text, 5 * SEC);
	}
	knobs_draw(s, simnet_knobs(r->net));
	for (s->step = 1; s->step <= steps; s->step++) {
		callers_mend(s);
		const char *what = sim_event(s);
		if (told)
			fprintf(stderr, "step %u at %llu ms: %s\n", s->step, (unsigned long long)(simnet_now_ns(r->net) / MS), what);
		if (sim_percent(s, 70))
			simnet_advance(r->net, sim_percent(s, 50) ? 0 : sim_below(s, 20 * MS));
	}
	sim_peace(s);
	simnet_after_turn(r->net, NULL, NULL);
	uint64_t hash = simnet_trace(r->net);
	uint64_t moved = rig_stat(r, STAT_MOVED), retried = rig_stat(r, STAT_RETRIES), now_ms = simnet_now_ns(r->net) / MS;
	rig_free(&r);
	printf("seed %llu hash %016llx calls %u ok %u failed %u cancelled %u moved %llu retried %llu virtual %llu ms\n", (unsigned long long)seed, (unsigned long long)hash, s->ncalls,
		s->ok, s->failed, s->cancelled, (unsigned long long)moved, (unsigned long long)retried, (unsigned long long)now_ms);
	sb_end(&s->yaml[0]);
	sb_end(&s->yaml[1]);
	free(s);
}

/* Each in a child: one that dies is told, and the others still run. */
static int sim_many(uint64_t from, uint64_t to, void (*run)(uint64_t seed, uint32_t n), uint32_t n)
{
	unsigned passed = 0, failed = 0;

	for (uint64_t seed = from; seed <= to; seed++) {
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			alarm(60);
			if (!freopen("/dev/null", "w", stdout))
				_exit(1);
			run(seed, n);
			exit(0); /* not _exit: a leak checker looks now */
		}
		int status = 0;
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
			failed++;
			printf("seed %llu failed (%s %d): run it again with --seed %llu\n", (unsigned long long)seed, WIFSIGNALED(status) ? "signal" : "exit code",
				WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (unsigned long long)seed);
		} else {
			passed++;
		}
	}
	printf("sim: %u passed, %u failed\n", passed, failed);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	uint64_t from = 1, to = 1;
	void (*run)(uint64_t seed, uint32_t n) = sim_run;
	uint32_t steps = 400, minutes = 0;
	bool many = false;

	for (int i = 1; i < argc; i++) {
		char *rest = NULL;
		if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			from = to = strtoull(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
			many = true;
			from = strtoull(argv[++i], &rest, 10);
			to = rest && strncmp(rest, "..", 2) == 0 ? strtoull(rest + 2, NULL, 10) : from;
		} else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc) {
			steps = (uint32_t)strtoul(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--minutes") == 0 && i + 1 < argc) {
			minutes = (uint32_t)strtoul(argv[++i], NULL, 10);
		} else if (strcmp(argv[i], "--mesh") == 0) {
			run = mesh_run;
		} else if (strcmp(argv[i], "--life") == 0) {
			run = life_run;
		} else {
			fprintf(stderr, "usage: sim [--mesh | --life] [--seed N | --seeds A..B] [--steps N] [--minutes N]\n");
			return 2;
		}
	}
	if (!minutes)
		minutes = run == life_run ? 30 : 60;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (many)
		return sim_many(from, to, run, run == sim_run ? steps : minutes);
	run(from, run == sim_run ? steps : minutes);
	return 0;
}
