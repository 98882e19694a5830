/* tests/sim/sim_life_providers: providers that are well, ill, silent, gone, and what must follow.
 *
 * For each service and provider there is what a check would find (seen.good) and since when nothing has disturbed it. Once that is as long ago as the declared intervals, timeouts and
 * thresholds take at most, the daemon has to know: the provider is `sure` (well) or `ill`. While each provider of a service is one of the two, and enough are well that there is no panic
 * (Envoy's half), the service is steady. Then:
 *
 *   - what the daemon says of a host is what is said here: also right after a freeze, which fails no check
 *   - who is ill, or is not to be used by order of the control plane, gets no call
 *   - a call that lives in steady times ends well, whatever it needs for that
 *   - a Watch of the service says SERVING while anybody is well, NOT_SERVING while nobody is
 * And always: questions come no faster than the intervals say, ejections stay within max_ejection_percent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/grpc_health_message.h"
#include "tests/sim/sim_life.h"

static const uint64_t slack_ns = 3 * SEC, back_off_ns = 15 * SEC, told_ns = 8 * SEC;

static uint64_t between(struct life_sim *s, uint64_t least, uint64_t most) { return life_between(s, least, most); }
static bool percent(struct life_sim *s, unsigned of_100) { return life_percent(s, of_100); }

/* ---- what is declared ---- */

static void check_draw(struct life_sim *s, struct life_service *v)
{
	v->check = (enum life_check)life_below(s, 3);
	v->watch = v->check == ASKS_GRPC && percent(s, 40);
	v->interval_ms = (uint32_t)between(s, 200, 2000);
	v->unhealthy_ms = (uint32_t)between(s, 200, 2000);
	v->unhealthy_edge_ms = (uint32_t)between(s, 200, 2000);
	v->healthy_edge_ms = (uint32_t)between(s, 200, 2000);
	v->no_traffic_ms = (uint32_t)between(s, 500, 4000);
	v->timeout_ms = (uint32_t)between(s, 300, 1000);
	v->jitter_ms = percent(s, 50) ? (uint32_t)between(s, 1, 500) : 0;
	v->jitter_percent = percent(s, 50) ? (uint32_t)between(s, 1, 50) : 0;
	v->fails = 1 + (uint32_t)life_below(s, 3);
	v->passes = 1 + (uint32_t)life_below(s, 3);
}

void services_draw(struct life_sim *s)
{
	static const char *const lbs[] = {"round_robin", "random", "least_request"};

	for (uint32_t i = 0; i < LIFE_SERVICES; i++) {
		struct life_service *v = &s->service[i];

		check_draw(s, v);
		v->checked = i != 1 || percent(s, 50);
		v->passive = i == 1 || percent(s, 40);
		v->always_one = percent(s, 30);
		v->lb = lbs[life_below(s, 3)];
		v->retries = percent(s, 40) ? 2 : 0;
		v->base_ms = (uint32_t)between(s, 300, 3000);
		v->most_ms = v->base_ms + (uint32_t)between(s, 0, 6000);
		v->outlier_ms = (uint32_t)between(s, 200, 1500);
		v->max_percent = (uint32_t)between(s, 0, 100);
		v->members = (1u << LIFE_PROVIDERS) - 1;
		snprintf(v->authority, sizeof(v->authority), "svc%u.default.svc.cluster.local:%u", i, i == LIFE_MESH ? 7000 : 1);
	}
}

static void check_yaml(const struct life_service *v, struct sb *b)
{
	static const char *const kinds[] = {"grpc: {}", "http: {path: /healthz, http2: true}", "tcp: {}"};

	sb_fmt(b, "    health: {%s%s, interval: %ums, unhealthy_interval: %ums, unhealthy_edge_interval: %ums, healthy_edge_interval: %ums, no_traffic_interval: %ums, timeout: %ums, interval_jitter: %ums, "
		"interval_jitter_percent: %u, unhealthy_threshold: %u, healthy_threshold: %u}\n", kinds[v->check], v->watch ? ", watch: true" : "", v->interval_ms, v->unhealthy_ms, v->unhealthy_edge_ms,
		v->healthy_edge_ms, v->no_traffic_ms, v->timeout_ms, v->jitter_ms, v->jitter_percent, v->fails, v->passes);
}

void services_yaml(struct life_sim *s, struct sb *b, bool checks)
{
	sb_str(b, "services:\n");
	for (uint32_t i = 0; i < LIFE_MESH; i++) {
		const struct life_service *v = &s->service[i];

		sb_fmt(b, "  - name: %s\n    lb: %s\n    connect_timeout: 1s\n    retries: {max: %u}\n    endpoints: [", v->authority, v->lb, v->retries);
		for (uint32_t p = 0; p < LIFE_PROVIDERS; p++)
			sb_fmt(b, "%s\"10.0.0.%u:1\"", p ? ", " : "", p + 1);
		sb_str(b, "]\n");
		if (v->checked && checks)
			check_yaml(v, b);
		if (v->passive && checks)
			sb_fmt(b, "    outlier: {interval: %ums, base_ejection_time: %ums, max_ejection_time: %ums, max_ejection_percent: %u, always_eject_one_host: %s, success_rate_request_volume: 20}\n", v->outlier_ms,
				v->base_ms, v->most_ms, v->max_percent, v->always_one ? "true" : "false");
	}
}

/* ---- what the control plane declares ---- */

static void pb_ms(struct sb *b, uint32_t field, uint64_t ms)
{
	struct sb d = {0};

	pb_num(&d, 1, ms / 1000);
	pb_num(&d, 2, ms % 1000 * MS);
	pb_sub(b, field, &d);
}

static void pb_count(struct sb *b, uint32_t field, uint64_t n)
{
	struct sb w = {0};

	pb_num(&w, 1, n);
	pb_sub(b, field, &w);
}

static void mesh_check(const struct life_service *v, struct sb *b)
{
	struct sb check = {0}, kind = {0};

	pb_ms(&check, 1, v->timeout_ms);
	pb_ms(&check, 2, v->interval_ms);
	pb_ms(&check, 3, v->jitter_ms);
	pb_count(&check, 4, v->fails);
	pb_count(&check, 5, v->passes);
	pb_ms(&check, 12, v->no_traffic_ms);
	pb_ms(&check, 14, v->unhealthy_ms);
	pb_ms(&check, 15, v->unhealthy_edge_ms);
	pb_ms(&check, 16, v->healthy_edge_ms);
	pb_num(&check, 18, v->jitter_percent);
	if (v->check == ASKS_HTTP) {
		pb_text(&kind, 2, "/healthz");
		pb_num(&kind, 10, 1);
	}
	pb_sub(&check, v->check == ASKS_HTTP ? 8 : v->check == ASKS_TCP ? 9 : 11, &kind);
	pb_sub(b, 8, &check);
}

static void mesh_endpoints(struct life_sim *s)
{
	const struct life_service *v = &s->service[LIFE_MESH];
	struct sb b = {0};

	for (uint32_t p = 0; p < LIFE_PROVIDERS; p++)
		if (v->members >> p & 1)
			sb_fmt(&b, "%s10.0.0.%u:1%s", b.n ? " " : "", p + 1, v->ordered >> p & 1 ? (p & 1 ? "!unhealthy" : "!draining") : "");
	sb_char(&b, 0);
	plane_endpoints(s->plane, "svc2.default.svc.cluster.local", 7000, b.p);
	sb_end(&b);
}

static void mesh_declare(struct life_sim *s)
{
	struct life_service *v = &s->service[LIFE_MESH];
	static const char name[] = "outbound|7000||svc2.default.svc.cluster.local";
	struct sb b = {0}, outlier = {0};

	v->watch = false; /* the daemon's own word, of its YAML */
	plane_service(s->plane, "svc2.default.svc.cluster.local", 7000, "10.0.0.1:1");
	make_cluster(&b, name, NULL);
	mesh_check(v, &b);
	pb_ms(&outlier, 2, v->outlier_ms);
	pb_ms(&outlier, 3, v->base_ms);
	pb_count(&outlier, 4, v->max_percent);
	pb_ms(&outlier, 21, v->most_ms);
	if (v->passive)
		pb_sub(&b, 19, &outlier);
	else
		sb_end(&outlier);
	plane_put_in(s->plane, DIALECT_SIDECAR, XDS_CDS, name, b.p, b.n);
	sb_end(&b);
	mesh_endpoints(s);
}

/* ---- how long until all is clear ---- */

static uint64_t round_ns(const struct life_service *v)
{
	uint32_t most = v->interval_ms;

	most = v->unhealthy_ms > most ? v->unhealthy_ms : most;
	most = v->unhealthy_edge_ms > most ? v->unhealthy_edge_ms : most;
	most = v->healthy_edge_ms > most ? v->healthy_edge_ms : most;
	most = v->no_traffic_ms > most ? v->no_traffic_ms : most;
	return ((uint64_t)most * (100 + v->jitter_percent) / 100 + v->jitter_ms + v->timeout_ms) * MS;
}

static uint64_t ill_after_ns(const struct life_service *v) { return (v->fails + (v->watch ? 2 : 1)) * round_ns(v) + slack_ns; }
static uint64_t well_after_ns(const struct life_service *v) { return (v->passes + 1) * round_ns(v) + back_off_ns; }
static uint64_t eject_ns(const struct life_service *v) { return v->passive ? (v->most_ms + 2 * v->outlier_ms) * MS + slack_ns : 0; }

uint64_t service_settles_ns(const struct life_service *v)
{
	uint64_t ill = ill_after_ns(v), well = well_after_ns(v) + eject_ns(v);

	return (ill > well ? ill : well) + SEC;
}

static bool finds_well(const struct life_service *v, const struct life_provider *p)
{
	if (!p->up || p->hung)
		return false;
	if (!v->checked || v->check == ASKS_TCP)
		return true;
	return p->says == P_SERVING || (p->says == P_NO_SERVICE && v->check == ASKS_GRPC);
}

/* 1: the checks must have found it well by now; -1: ill; 0: nobody can say. */
static int checks_say(const struct life_sim *s, const struct life_service *v, uint32_t i)
{
	const struct life_provider *p = &s->provider[i];
	uint64_t now = life_now(s), since = v->seen[i].since_ns;

	if (!v->seen[i].good)
		return v->checked && now >= since + ill_after_ns(v) ? -1 : 0;
	if (p->shaky_ns + well_after_ns(v) > now && p->shaky_ns)
		return 0;
	return now >= since + well_after_ns(v) ? 1 : 0;
}

static bool is_sure(const struct life_sim *s, const struct life_service *v, uint32_t i)
{
	const struct life_provider *p = &s->provider[i];
	uint64_t now = life_now(s);

	if (checks_say(s, v, i) != 1 || p->conduct != DOES_WELL || now < p->conduct_ns + back_off_ns + eject_ns(v))
		return false;
	return now >= v->seen[i].since_ns + well_after_ns(v) + eject_ns(v);
}

static void service_clear(struct life_sim *s, struct life_service *v)
{
	bool mesh = v == &s->service[LIFE_MESH], clear = true;
	uint32_t out = 0;

	v->sure = v->ill = 0;
	for (uint32_t i = 0; i < LIFE_PROVIDERS; i++) {
		if (!(v->members >> i & 1)) {
			clear &= life_now(s) >= v->seen[i].since_ns + 20 * SEC; /* removal_hold is over */
			continue;
		}
		if (v->ordered >> i & 1) {
			out |= 1u << i;
			clear &= life_now(s) >= v->seen[i].since_ns + told_ns;
			continue;
		}
		v->sure |= is_sure(s, v, i) ? 1u << i : 0;
		v->ill |= checks_say(s, v, i) == -1 ? 1u << i : 0;
	}
	clear &= (v->sure | v->ill | out) == v->members && !(mesh && (!s->with_plane || life_now(s) < s->plane_ns + 20 * SEC));
	v->clear = clear;
	if (!clear)
		v->unsteady_ns = life_now(s);
	s->looks += clear;
}

static bool no_panic(const struct life_service *v)
{
	return v->sure && 2 * __builtin_popcount(v->sure) >= __builtin_popcount(v->members);
}

static void providers_clear(struct life_sim *s)
{
	for (uint32_t n = 0; n < LIFE_SERVICES; n++) {
		struct life_service *v = &s->service[n];

		for (uint32_t i = 0; i < LIFE_PROVIDERS; i++) {
			bool good = finds_well(v, &s->provider[i]);

			if (good != v->seen[i].good)
				v->seen[i] = (struct life_seen){good, life_now(s)};
			if (s->provider[i].conduct != DOES_WELL)
				s->provider[i].conduct_ns = life_now(s);
			if (s->provider[i].conduct >= DOES_CRASH)
				s->provider[i].shaky_ns = life_now(s);
		}
		service_clear(s, v);
	}
}

/* Something that a check may have noticed, and that is over. */
static void disturbed(struct life_sim *s, uint32_t i)
{
	for (uint32_t n = 0; n < LIFE_SERVICES; n++)
		s->service[n].seen[i].since_ns = life_now(s);
}

/* ---- questions about their health ---- */

static void say(struct served *v, enum life_says what)
{
	uint8_t message[5 + GRPC_HEALTH_STATUS_BYTES] = {0, 0, 0, 0, 2};

	grpc_health_response_encode(what == P_SERVING ? GRPC_HEALTH_SERVING : GRPC_HEALTH_NOT_SERVING, message + 5);
	served_data(v, message, sizeof(message), false);
}

bool is_question(const struct served *v)
{
	const char *path = served_field(v, ":path");

	return path && (strncmp(path, "/grpc.health.v1.", 16) == 0 || strcmp(path, "/healthz") == 0);
}

static bool is_watch(const struct served *v)
{
	const char *path = served_field(v, ":path");

	return path && strcmp(path, GRPC_HEALTH_WATCH) == 0;
}

static void answer_http(struct served *v, enum life_says says)
{
	static const int status[] = {[P_SERVING] = 200, [P_NO_SERVICE] = 404, [P_NOT_SERVING] = 503, [P_GARBAGE] = 999};

	if (says == P_SILENT)
		return;
	v->act = says == P_BREAKS ? (struct act){.does = RESETS, .code = H2_INTERNAL_ERROR} : (struct act){.does = PLAIN, .status = status[says], .bytes = says == P_GARBAGE ? 5000 : 0};
}

static void answer_grpc(struct served *v, enum life_says says)
{
	switch (says) {
	case P_SERVING:
	case P_NOT_SERVING:
		served_head(v, 200, "content-type: application/grpc\n", false);
		say(v, says);
		if (!is_watch(v))
			served_trailers(v, 0, NULL);
		break;
	case P_NO_SERVICE:
		v->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNIMPLEMENTED};
		break;
	case P_GARBAGE:
		served_head(v, 200, "content-type: application/grpc\n", false);
		served_data(v, "\0\0\0\0\3\x0f\xff\xff rubbish", 16, false);
		break;
	case P_BREAKS:
		v->act = (struct act){.does = RESETS, .code = H2_INTERNAL_ERROR};
		break;
	case P_SILENT:
		break;
	}
}

static struct life_provider *provider_of(struct life_sim *s, const struct served *v)
{
	uint32_t i = 0;

	while (i < LIFE_PROVIDERS && s->provider[i].p != v->p)
		i++;
	if (i == LIFE_PROVIDERS)
		rig_die("somebody else is asked about his health");
	return &s->provider[i];
}

void providers_asked(struct life_sim *s, struct served *v, bool ended)
{
	struct life_provider *p = provider_of(s, v);

	if (ended) {
		for (uint32_t i = 0; i < p->nasked; i++)
			if (p->asked[i] == v)
				p->asked[i] = p->asked[--p->nasked];
		return;
	}
	if (p->nasked == LIFE_ASKED)
		rig_die("a provider has %u open questions about its health", p->nasked);
	p->asked[p->nasked++] = v;
	v->act = (struct act){.does = HOLDS};
	if (served_field(v, ":path")[1] == 'h')
		answer_http(v, p->says);
	else
		answer_grpc(v, p->says);
}

/* As a process that becomes another one: who waits for an answer of the old one gets none. */
static void questions_end(struct life_provider *p)
{
	while (p->nasked)
		served_reset(p->asked[p->nasked - 1], H2_INTERNAL_ERROR);
}

static void says_set(struct life_sim *s, struct life_provider *p, enum life_says says)
{
	bool tells = (p->says == P_SERVING || p->says == P_NOT_SERVING) && (says == P_SERVING || says == P_NOT_SERVING) && !p->hung;

	if (p->says == says)
		return;
	p->says = says;
	life_told(s, "says", (int)(p - s->provider + 1) * 10 + (int)says);
	if (!tells) {
		questions_end(p);
		disturbed(s, (uint32_t)(p - s->provider));
		return;
	}
	for (uint32_t i = 0; i < p->nasked; i++)
		if (is_watch(p->asked[i]))
			say(p->asked[i], says);
}

/* ---- what they do with calls ---- */

static void conduct_set(struct life_sim *s, struct life_provider *p, enum life_conduct c)
{
	struct act good = {.does = life_percent(s, 50) ? ECHOES : ANSWERS, .bytes = (uint32_t)life_below(s, 2000), .messages = 1 + (uint32_t)life_below(s, 3),
		.delay_ms = life_percent(s, 40) ? life_below(s, 100) : 0};
	static const struct act bad[] = {[DOES_UNAVAILABLE] = {.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE}, [DOES_RESET] = {.does = RESETS, .code = H2_INTERNAL_ERROR}, [DOES_CRASH] = {.does = CRASHES},
		[DOES_SAY_FAIL] = {.does = ANSWERS, .messages = 1, .bytes = 5, .head = "x-envoy-immediate-health-check-fail: true\n"}};

	providers_clear(s); /* what it was until now counts until now */
	p->conduct = c;
	p->p->act = c == DOES_WELL ? good : bad[c];
	life_told(s, "conduct", (int)(p - s->provider + 1) * 10 + (int)c);
}

static void hang(struct life_sim *s, struct life_provider *p, bool on)
{
	if (p->hung == on)
		return;
	p->hung = on;
	provider_stall(p->p, on);
	simnet_on_connect(s->rig->net, &p->p->at, on ? SIMNET_HANG : SIMNET_NORMAL);
	if (!on)
		questions_end(p);
	life_told(s, on ? "hangs" : "goes on", (int)(p - s->provider) + 1);
}

static void up(struct life_sim *s, struct life_provider *p, bool on)
{
	if (p->up == on)
		return;
	hang(s, p, false);
	p->up = on;
	provider_listen(p->p, on);
	if (!on)
		provider_cut(p->p);
	disturbed(s, (uint32_t)(p - s->provider));
	life_told(s, on ? "is back" : "dies", (int)(p - s->provider) + 1);
}

void providers_event(struct life_sim *s)
{
	uint32_t i = (uint32_t)life_below(s, LIFE_PROVIDERS);
	struct life_provider *p = &s->provider[i];
	uint64_t dice = life_below(s, 100);

	s->probes_allowed += 12 * LIFE_SERVICES;
	s->sick++;
	if (dice < 30) {
		says_set(s, p, (enum life_says)(percent(s, 50) ? P_SERVING : life_below(s, 6)));
	} else if (dice < 50) {
		conduct_set(s, p, (enum life_conduct)(percent(s, 50) ? DOES_WELL : life_below(s, 5)));
	} else if (dice < 70) {
		up(s, p, !p->up || percent(s, 30));
	} else if (dice < 80) { /* restarted at its address */
		provider_cut(p->p);
		disturbed(s, i);
		p->conduct_ns = life_now(s);
		life_told(s, "is restarted", (int)i + 1);
	} else if (dice < 90) {
		provider_goaway(p->p);
		for (uint32_t n = 0; n < LIFE_SERVICES; n++) /* what is being found out begins anew */
			if (checks_say(s, &s->service[n], i) == 0)
				s->service[n].seen[i].since_ns = life_now(s);
		life_told(s, "says GOAWAY", (int)i + 1);
	} else if (p->up) {
		hang(s, p, !p->hung && percent(s, 60));
	}
	providers_clear(s);
}

void providers_mend(struct life_sim *s)
{
	for (uint32_t i = 0; i < LIFE_PROVIDERS; i++) {
		struct life_provider *p = &s->provider[i];

		hang(s, p, false);
		up(s, p, true);
		says_set(s, p, P_SERVING);
		if (p->conduct != DOES_WELL)
			conduct_set(s, p, DOES_WELL);
	}
	s->probes_allowed += 12 * LIFE_SERVICES * LIFE_PROVIDERS;
	providers_clear(s);
}

void mesh_event(struct life_sim *s)
{
	struct life_service *v = &s->service[LIFE_MESH];
	uint32_t i = (uint32_t)life_below(s, LIFE_PROVIDERS), bit = 1u << i;
	uint64_t dice = life_below(s, 100);

	if (!s->with_plane)
		return;
	s->probes_allowed += 8;
	if (dice < 70) {
		if (v->members & bit && percent(s, 50)) {
			v->ordered ^= bit;
		} else {
			v->members ^= bit;
			v->ordered &= ~bit;
		}
		v->seen[i].since_ns = life_now(s);
		life_told(s, "endpoint", (int)i + 1);
		mesh_endpoints(s);
	} else if (dice < 80) {
		plane_kill(s->plane), s->plane_ill = true;
	} else if (dice < 85) {
		plane_stall(s->plane, true), s->plane_ill = true;
	} else if (dice < 90) {
		plane_cut(s->plane);
	} else if (dice < 95) {
		plane_goaway(s->plane);
	} else {
		mesh_mend(s);
	}
	s->plane_ns = life_now(s);
	providers_clear(s);
}

/* As one is mended that hung: another process takes its place. */
void mesh_mend(struct life_sim *s)
{
	if (!s->with_plane || !s->plane_ill)
		return;
	plane_stall(s->plane, false);
	plane_cut(s->plane);
	plane_listen(s->plane, true);
	s->plane_ill = false;
	s->plane_ns = life_now(s) + 20 * SEC;
	life_told(s, "the plane is well", 0);
}

/* ---- reloads and freezes ---- */

void services_anew(struct life_sim *s, bool checks)
{
	for (uint32_t n = 0; n < LIFE_MESH; n++) {
		struct life_service *v = &s->service[n];

		if (checks && v->checked)
			check_draw(s, v);
		for (uint32_t i = 0; i < LIFE_PROVIDERS; i++)
			v->seen[i].since_ns = life_now(s);
		v->unsteady_ns = life_now(s);
	}
	/* What was asked until now was asked by other numbers. */
	s->probes_mark = rig_stat(s->rig, STAT_CHECK_ATTEMPT);
	s->probes_mark_ns = life_now(s);
	s->probes_allowed = 4 * LIFE_SERVICES * LIFE_PROVIDERS;
}

/* What was not clear before it begins anew behind it; what was clear stays so. */
void providers_froze(struct life_sim *s, uint64_t ns)
{
	for (uint32_t n = 0; n < LIFE_SERVICES; n++) {
		struct life_service *v = &s->service[n];

		for (uint32_t i = 0; i < LIFE_PROVIDERS; i++) {
			if (!(v->sure >> i & 1) && !(v->ill >> i & 1))
				v->seen[i].since_ns = life_now(s) + ns;
			if (s->provider[i].conduct_ns && !(v->sure >> i & 1))
				s->provider[i].conduct_ns = life_now(s) + ns;
		}
	}
	s->plane_ns = life_now(s) + ns;
	s->probes_allowed += 4 * LIFE_SERVICES * LIFE_PROVIDERS;
}

/* ---- what must hold ---- */

struct look { struct life_sim *s; struct life_service *v; const char *name; };

static void look_host(void *ctx, const struct host_view *h)
{
	struct look *l = ctx;
	uint32_t i;

	if (h->held || sscanf(h->text, "10.0.0.%u:1", &i) != 1 || i-- == 0 || i >= LIFE_PROVIDERS || !(l->v->members >> i & 1))
		return;
	int must = checks_say(l->s, l->v, i);
	if (must == 1 && h->check != HOST_PASSED)
		rig_die("%s: %s is well since %llu ms, and its check says %d (%s)", l->name, h->text, (unsigned long long)(l->v->seen[i].since_ns / MS), h->check, h->health);
	if (must == -1 && h->check != HOST_FAILED)
		rig_die("%s: %s is ill since %llu ms (says %d), and its check says %d (%s)", l->name, h->text, (unsigned long long)(l->v->seen[i].since_ns / MS), l->s->provider[i].says, h->check, h->health);
}

static void look_cluster(void *ctx, struct cluster *c, const struct cluster_view *view)
{
	struct life_sim *s = ctx;

	for (uint32_t n = 0; n < LIFE_SERVICES; n++) {
		struct life_service *v = &s->service[n];
		char part[40];

		snprintf(part, sizeof(part), "svc%u.default", n);
		if (!strstr(view->name, part))
			continue;
		uint32_t most = v->max_percent * view->hosts / 100;

		if (view->ejected > s->ejected)
			s->ejected = view->ejected;
		most = most == 0 && v->always_one ? 1 : most;
		if (n != LIFE_MESH && view->ejected > most)
			rig_die("%s: %u of %u are ejected, %u %% may be", view->name, view->ejected, view->hosts, v->max_percent);
		if (view->checked && v->checked && (n != LIFE_MESH || life_now(s) >= s->plane_ns + 20 * SEC))
			cluster_each_host(c, look_host, &(struct look){s, v, view->name});
	}
}

static void look_probes(struct life_sim *s)
{
	uint64_t made = rig_stat(s->rig, STAT_CHECK_ATTEMPT) - s->probes_mark, took_ms = (life_now(s) - s->probes_mark_ns) / MS, allowed = 0;
	bool breaks = false;

	if (took_ms < 10000)
		return;
	for (uint32_t i = 0; i < LIFE_PROVIDERS; i++)
		breaks |= s->provider[i].shaky_ns && s->provider[i].shaky_ns + well_after_ns(&s->service[0]) >= s->probes_mark_ns;
	for (uint32_t n = 0; n < LIFE_SERVICES; n++) {
		const struct life_service *v = &s->service[n];
		uint32_t least = v->watch ? 500 : v->interval_ms;

		if (!v->checked)
			continue;
		least = v->unhealthy_ms < least ? v->unhealthy_ms : least;
		least = v->unhealthy_edge_ms < least ? v->unhealthy_edge_ms : least;
		least = v->healthy_edge_ms < least ? v->healthy_edge_ms : least;
		allowed += LIFE_PROVIDERS * (took_ms / least + 2);
	}
	/* One that crashes under each call takes the questions along that share its connection: these are asked again up to three times. */
	allowed = allowed * (breaks ? 4 : 1) + s->probes_allowed;
	if (made > allowed)
		rig_die("%llu questions about health in %llu ms, no more than %llu were to be", (unsigned long long)made, (unsigned long long)took_ms, (unsigned long long)allowed);
	s->probes_mark += made;
	s->probes_mark_ns = life_now(s);
	s->probes_allowed = 0;
}

static void look_watch(struct life_sim *s, struct life_watcher *w)
{
	const struct life_service *v = &s->service[w->service];
	int says = life_watch_says(w), must;

	if (!w->call || !w->call->stream || !v->clear || life_now(s) < v->unsteady_ns + 2 * SEC || life_now(s) < w->since_ns + 3 * SEC || life_now(s) < s->thawed_ns + 3 * SEC || !v->checked)
		return;
	must = v->sure ? GRPC_HEALTH_SERVING : GRPC_HEALTH_NOT_SERVING;
	if (says != must)
		rig_die("a Watch of %s was told %s, and it is %s since %llu ms", v->authority, says < 0 ? "nothing" : grpc_health_name(says), grpc_health_name(must),
			(unsigned long long)(v->unsteady_ns / MS));
}

void providers_look(struct life_sim *s)
{
	if (s->plane_ill)
		s->plane_ns = life_now(s);
	providers_clear(s);
	if (s->stopping)
		return;
	clusters_each(s->rig->sc->clusters, look_cluster, s);
	look_probes(s);
	for (uint32_t n = 0; n < LIFE_SERVICES; n++)
		look_watch(s, &s->watcher[n]);
}

/* A call has come to a provider, or is over there: what it was to do when it came is done in the end, whatever the provider does meanwhile. */
void providers_served(struct life_sim *s, struct served *served, bool ended)
{
	struct life_call *k = life_call_of(s, served);
	struct life_provider *p = provider_of(s, served);
	uint32_t i = (uint32_t)(p - s->provider);
	const struct life_service *v;

	if (ended) {
		if (served->act.head)
			p->shaky_ns = p->conduct_ns = life_now(s);
		return;
	}
	if (k->service < 0)
		rig_die("a call to the app reaches provider %u", i + 1);
	v = &s->service[k->service];
	if (!v->clear || !no_panic(v))
		return;
	if (v->ill >> i & 1)
		rig_die("call %u to %s reaches provider %u, which is ill since %llu ms (says %d)", (unsigned)(k - s->calls), v->authority, i + 1, (unsigned long long)(v->seen[i].since_ns / MS),
			s->provider[i].says);
	if (v->ordered >> i & 1)
		rig_die("call %u to %s reaches provider %u, which is not to be used since %llu ms", (unsigned)(k - s->calls), v->authority, i + 1, (unsigned long long)(v->seen[i].since_ns / MS));
	if (!(v->members >> i & 1))
		rig_die("call %u to %s reaches provider %u, which is no endpoint since %llu ms", (unsigned)(k - s->calls), v->authority, i + 1, (unsigned long long)(v->seen[i].since_ns / MS));
}

bool call_must_succeed(struct life_sim *s, const struct life_call *k)
{
	const struct life_service *v = &s->service[k->service];

	return v->unsteady_ns < k->call->begun_ns && v->clear && no_panic(v);
}

/* ---- the beginning ---- */

void providers_make(struct life_sim *s)
{
	for (uint32_t i = 0; i < LIFE_PROVIDERS; i++) {
		char at[32];

		snprintf(at, sizeof(at), "10.0.0.%u:1", i + 1);
		s->provider[i] = (struct life_provider){.p = provider_new(s->rig, at, ECHOES), .up = true};
		conduct_set(s, &s->provider[i], DOES_WELL);
		disturbed(s, i);
	}
	s->probes_mark_ns = life_now(s);
	s->probes_allowed = 8 * LIFE_SERVICES * LIFE_PROVIDERS;
	if (s->with_plane)
		mesh_declare(s);
}
