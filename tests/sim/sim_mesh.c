/* tests/sim/sim_mesh: see the header. A run: calm, trouble, calm, trouble ... until the hour is over; then peace, and what must be so at rest. While it is calm the mesh changes all the
 * same; in trouble the plane is dead, slow, mute, lying or flapping, and the mesh changes behind its back. SIM_LOG=1 tells each event. */
#include "tests/sim/sim_mesh.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLANE_AT "10.9.9.9:15010"
#define MINUTE (60 * SEC)

static const struct mesh_kind kinds[] = {
	{.name = "istio delta", .conf = "", .plane = PLANE_ISTIO},
	{.name = "istio sotw", .conf = ", protocol: sotw", .plane = PLANE_ISTIO},
	{.name = "istio-grpc", .conf = ", profile: istio-grpc", .plane = PLANE_ISTIO, .lds = true, .cds_named = true},
	{.name = "generic sotw", .conf = ", profile: generic", .plane = PLANE_GENERIC, .lds = true, .cds_named = true},
	{.name = "generic delta", .conf = ", profile: generic, protocol: delta", .plane = PLANE_GENERIC, .lds = true, .cds_named = true},
};

/* ---- chance ---- */

uint64_t mesh_below(struct mesh_sim *s, uint64_t n)
{
	return simnet_random(s->rig->net) % n;
}

static bool percent(struct mesh_sim *s, unsigned of_100)
{
	return mesh_below(s, 100) < of_100;
}

static uint64_t between(struct mesh_sim *s, uint64_t least_ns, uint64_t most_ns)
{
	return least_ns + mesh_below(s, most_ns - least_ns + 1);
}

static void told(const struct mesh_sim *s, const char *what, int which)
{
	static int on = -1;

	if (on < 0)
		on = getenv("SIM_LOG") != NULL;
	if (on)
		fprintf(stderr, "%9llu ms: %s %d\n", (unsigned long long)(model_now(s) / MS), what, which);
}

/* ---- what is declared ---- */

static const char *mesh_yaml(struct mesh_sim *s)
{
	struct sb *b = &s->yaml[s->yaml_turn ^= 1];

	b->n = 0;
	sb_fmt(b, "limits: {memory: 64MiB}\nsnapshot: {dir: \"\"}\npark: {time: 5s}\napps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"
		  "services:\n  - {name: static%d, endpoints: [\"10.0.0.1:1\"]}\n"
		  "xds: {server: \"" PLANE_AT "\", idle: %us, removal_hold: %us%s}\n",
		s->reloads, (unsigned)(s->idle_ns / SEC), (unsigned)(s->hold_ns / SEC), s->kind->conf);
	sb_char(b, 0);
	return b->p;
}

/* ---- the store of the plane ---- */

static void set_text(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set)
{
	struct sb b = {0};

	for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
		if (v->named[set] >> p & 1)
			sb_fmt(&b, "%s10.0.0.%u:1*%u%s%s", b.n ? " " : "", p + 1, 1 + (unsigned)mesh_below(s, 3), v->sick[set] >> p & 1 ? (p % 2 ? "!unhealthy" : "!draining") : "",
				s->zones ? (p % 3 ? "@a" : "@b") : "");
	sb_char(&b, 0);
	snprintf(v->text[set], sizeof(v->text[set]), "%s", b.p);
	sb_end(&b);
}

static void put_set(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set)
{
	plane_cluster(s->plane, v->cluster[set], v->text[set]);
}

static void put_route(struct mesh_sim *s, struct mesh_service *v)
{
	char text[300];

	snprintf(text, sizeof(text), "%s=%u %s=%u", v->cluster[SET_V1], 10 + (unsigned)(v->named[SET_V1] % 80), v->cluster[SET_V2], 20);
	plane_route(s->plane, v->host, MESH_PORT, v->route == ROUTE_SPLIT ? text : NULL);
}

/* Everything of it as it should be: what was a lie is taken back. */
static void put_service(struct mesh_sim *s, struct mesh_service *v)
{
	v->lied = false;
	if (v->route == ROUTE_ABSENT)
		return;
	plane_service(s->plane, v->host, MESH_PORT, v->text[SET_OWN]);
	if (v->route != ROUTE_SPLIT)
		return;
	put_set(s, v, SET_V1);
	put_set(s, v, SET_V2);
	put_route(s, v);
}

static uint32_t some_mask(struct mesh_sim *s)
{
	return 1 + (uint32_t)mesh_below(s, (1u << MESH_PROVIDERS) - 1);
}

static uint32_t up_mask(const struct mesh_sim *s)
{
	uint32_t mask = 0;

	for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
		mask |= s->provider[p].up ? 1u << p : 0;
	return mask;
}

/* Mostly as careful people do it: somebody who is well is there before and after. */
static void draw_set(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set)
{
	uint32_t was = v->named[set] & ~v->sick[set], now = some_mask(s), sick = percent(s, 25) ? some_mask(s) & some_mask(s) : 0;

	if (percent(s, 90) && !(was & now & ~sick & up_mask(s))) {
		now |= was & up_mask(s);
		sick &= ~was;
	}
	if (percent(s, 90) && !(now & ~sick & up_mask(s))) {
		now |= up_mask(s);
		sick = 0;
	}
	v->named[set] = now;
	v->sick[set] = sick & now;
	set_text(s, v, set);
	told(s, v->text[set], (int)(v - s->service) * 10 + (int)set);
	model_say_set(s, v, set);
}

static void service_create(struct mesh_sim *s, struct mesh_service *v)
{
	v->route = ROUTE_OWN;
	v->refill_ns = 0;
	draw_set(s, v, SET_OWN);
	model_say_route(s, v);
	put_service(s, v);
}

static void service_delete(struct mesh_sim *s, struct mesh_service *v)
{
	v->route = ROUTE_ABSENT;
	v->refill_ns = 0;
	v->lied = false;
	model_say_route(s, v);
	plane_service_gone(s->plane, v->host, MESH_PORT);
	for (int set = SET_V1; set < MESH_SETS; set++) {
		plane_del(s->plane, XDS_CDS, v->cluster[set]);
		plane_del(s->plane, XDS_EDS, v->cluster[set]);
	}
}

static void service_route(struct mesh_sim *s, struct mesh_service *v)
{
	v->route = v->route == ROUTE_OWN ? ROUTE_SPLIT : ROUTE_OWN;
	if (v->route == ROUTE_SPLIT) {
		draw_set(s, v, SET_V1);
		draw_set(s, v, SET_V2);
		put_set(s, v, SET_V1);
		put_set(s, v, SET_V2);
	}
	model_say_route(s, v);
	put_route(s, v);
}

/* By mistake, and noticed soon. */
static void service_empty(struct mesh_sim *s, struct mesh_service *v)
{
	struct mesh_said nobody = {.since_ns = model_now(s)};

	(void)nobody;
	v->named[SET_OWN] = v->sick[SET_OWN] = 0;
	v->text[SET_OWN][0] = 0;
	model_say_set(s, v, SET_OWN);
	put_set(s, v, SET_OWN);
	v->refill_ns = model_now(s) + between(s, SEC / 10, s->hold_ns);
}

static void refill(struct mesh_sim *s)
{
	for (uint32_t i = 0; i < MESH_SERVICES; i++) {
		struct mesh_service *v = &s->service[i];

		if (!v->refill_ns || model_now(s) < v->refill_ns || v->route == ROUTE_ABSENT)
			continue;
		v->refill_ns = 0;
		draw_set(s, v, SET_OWN);
		put_set(s, v, SET_OWN);
		told(s, "refilled", (int)i);
	}
}

static void do_change(struct mesh_sim *s)
{
	uint32_t i = (uint32_t)mesh_below(s, MESH_SERVICES);
	struct mesh_service *v = &s->service[i];
	uint64_t dice = mesh_below(s, 100);

	s->changes++;
	if (v->lied) /* whoever mends it comes later */
		return;
	if (v->route == ROUTE_ABSENT) {
		if (percent(s, 40))
			service_create(s, v), told(s, "created", (int)i);
	} else if (dice < 4) {
		service_delete(s, v), told(s, "deleted", (int)i);
	} else if (dice < 20) {
		service_route(s, v), told(s, "route", (int)i);
	} else if (dice < 24 && v->route == ROUTE_OWN && !v->refill_ns) {
		service_empty(s, v), told(s, "emptied", (int)i);
	} else {
		enum mesh_set set = v->route == ROUTE_OWN ? SET_OWN : percent(s, 50) ? SET_V1 : SET_V2;

		if (set == SET_OWN && v->refill_ns)
			return;
		draw_set(s, v, set);
		put_set(s, v, set);
		told(s, "endpoints", (int)i * 10 + (int)set);
	}
}

/* ---- providers ---- */

static void act_draw(struct mesh_sim *s, struct provider *p)
{
	p->act = (struct act){.does = percent(s, 50) ? ECHOES : ANSWERS, .bytes = (uint32_t)mesh_below(s, 3000), .messages = 1 + (uint32_t)mesh_below(s, 3),
		.delay_ms = percent(s, 40) ? mesh_below(s, 120) : 0};
}

static bool any_less_sure(struct mesh_sim *s, uint32_t sure_before)
{
	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		if (sure_before >> i & 1 && !model_sure(s, &s->service[i]))
			return true;
	return false;
}

static void do_provider(struct mesh_sim *s)
{
	uint32_t i = (uint32_t)mesh_below(s, MESH_PROVIDERS), sure = 0;
	struct mesh_provider *p = &s->provider[i];
	uint64_t dice = mesh_below(s, 100);

	if (!p->up) {
		if (percent(s, 60)) {
			provider_listen(p->p, true);
			p->up = true;
			p->since_ns = model_now(s);
			told(s, "provider is back", (int)i + 1);
		}
		return;
	}
	if (dice < 25) {
		act_draw(s, p->p);
	} else if (dice < 45) {
		provider_goaway(p->p);
		told(s, "provider leaves its connections", (int)i + 1);
	} else if (dice < 60) { /* restarted at the same address */
		provider_cut(p->p);
		p->hazard_ns = model_now(s);
		told(s, "provider is restarted", (int)i + 1);
	} else {
		for (uint32_t n = 0; n < MESH_SERVICES; n++)
			sure |= model_sure(s, &s->service[n]) ? 1u << n : 0;
		p->up = false;
		if (any_less_sure(s, sure) && percent(s, 85)) {
			p->up = true;
			return;
		}
		provider_listen(p->p, false);
		provider_cut(p->p);
		p->since_ns = p->hazard_ns = model_now(s);
		s->deaths++;
		told(s, "provider dies", (int)i + 1);
	}
}

/* ---- trouble of the plane ---- */

/* Bytes that no decoder takes, in the place of what is there: until it is mended. */
static void lie_in_store(struct mesh_sim *s, uint32_t i)
{
	struct mesh_service *v = &s->service[i];
	struct sb b = {0}, vhost = {0};
	enum plane_dialect d = s->kind->plane == PLANE_GENERIC ? DIALECT_BOTH : s->kind->lds ? DIALECT_GRPC : DIALECT_SIDECAR;
	const char *route = s->kind->lds ? v->cluster[SET_OWN] : v->authority;

	if (v->route == ROUTE_ABSENT)
		return;
	v->lied = true;
	switch (mesh_below(s, 4)) {
	case 0: /* two virtual hosts with one domain */
		pb_text(&b, 1, route);
		for (int n = 0; n < 2; n++) {
			pb_text(&vhost, 1, n ? "a" : "b");
			pb_text(&vhost, 2, "*");
			pb_sub(&b, 2, &vhost);
		}
		plane_put_in(s->plane, d, XDS_RDS, route, b.p, b.n);
		break;
	case 1:
		make_assignment(&b, v->cluster[SET_OWN], "999.0.0.1:1", false);
		plane_put(s->plane, XDS_EDS, v->cluster[SET_OWN], b.p, b.n);
		break;
	case 2: /* cut short */
		make_assignment(&b, v->cluster[SET_OWN], "10.0.0.1:1 10.0.0.2:1", false);
		plane_put(s->plane, XDS_EDS, v->cluster[SET_OWN], b.p, b.n - 3);
		break;
	default:
		pb_text(&b, 1, v->cluster[SET_OWN]);
		sb_str(&b, "\x12\x7fzz");
		plane_put_in(s->plane, d, XDS_CDS, v->cluster[SET_OWN], b.p, b.n);
	}
	sb_end(&b);
	told(s, "the store lies about", (int)i);
}

/* Said once, whatever is in the store. */
static void lie_aloud(struct mesh_sim *s)
{
	struct mesh_service *v = &s->service[mesh_below(s, MESH_SERVICES)];
	uint64_t which = mesh_below(s, 7);
	struct sb b = {0};
	char junk[64];

	if (!plane_stream(s->plane))
		return;
	told(s, "says nonsense", (int)which);
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (char)mesh_below(s, 256);
	switch (which) {
	case 0: /* a resource that is none */
		plane_say_bytes(s->plane, plane_type_url[XDS_EDS], v->cluster[SET_OWN], junk, mesh_below(s, sizeof(junk)));
		break;
	case 1:
		pb_text(&b, 1, v->authority);
		sb_str(&b, "\x12\x7f"); /* longer than what follows: chance shall not make sense of it */
		sb_add(&b, junk, 20);
		plane_say_bytes(s->plane, plane_type_url[XDS_RDS], v->authority, b.p, b.n);
		break;
	case 2: /* a message that ends in the middle */
		plane_message(s->plane, "\x0a\x7f" "abc", 5);
		break;
	case 3:
		junk[0] = 0, junk[1] = junk[2] = junk[3] = 0, junk[4] = 59;
		plane_raw(s->plane, junk, sizeof(junk));
		break;
	case 4: /* of something that nobody asked for */
		make_assignment(&b, "outbound|1||stranger.default.svc.cluster.local", "10.0.0.1:1", false);
		plane_say_bytes(s->plane, plane_type_url[XDS_EDS], "outbound|1||stranger.default.svc.cluster.local", b.p, b.n);
		break;
	case 5:
		plane_say_bytes(s->plane, "type.googleapis.com/never.heard.Of", "x", junk, 9);
		break;
	default: /* the same again */
		if (v->route != ROUTE_ABSENT && !v->lied)
			plane_say(s->plane, XDS_EDS, v->cluster[SET_OWN]);
	}
	sb_end(&b);
}

static void do_trouble(struct mesh_sim *s)
{
	static const int codes[] = {8, 8, 14, 13, 2, 7, 16, 3, 12};
	struct plane *p = s->plane;
	uint64_t dice = mesh_below(s, 18);

	told(s, "trouble", (int)dice);
	switch (dice) {
	case 0: case 1: plane_kill(p); break;
	case 2: plane_listen(p, false); break;
	case 3: plane_cut(p); break;
	case 4: plane_stall(p, true); break;
	case 5: p->quirks.mute = s->was_mute = true; break;
	case 6: p->quirks.deaf = true; break;
	case 7: p->quirks.slow_ms = 20 + (uint32_t)mesh_below(s, 4000); break;
	case 8: p->quirks.grace_ms = 200 + (uint32_t)mesh_below(s, 10000), plane_goaway(p); break;
	case 9:
		p->quirks.refuse = codes[mesh_below(s, sizeof(codes) / sizeof(*codes))];
		p->quirks.refusals = percent(s, 50) ? 1 + (uint32_t)mesh_below(s, 4) : 0;
		plane_cut(p);
		break;
	case 10: plane_end_streams(p, percent(s, 50) ? 0 : 14, "going"); break;
	case 11: p->quirks.max_age_ms = 300 + (uint32_t)mesh_below(s, 20000), p->quirks.grace_ms = 200 + (uint32_t)mesh_below(s, 3000), plane_cut(p); break;
	case 12: p->quirks.twice = true; break;
	case 13: p->quirks.no_nonce = s->was_mute = true; break; /* what it takes for an old nonce then, nobody can know */
	case 14: lie_in_store(s, (uint32_t)mesh_below(s, MESH_SERVICES)); break;
	case 15: plane_listen(p, true); break;
	default: lie_aloud(s); break;
	}
}

static void trouble_ends(struct mesh_sim *s)
{
	struct plane *p = s->plane;

	told(s, "the plane is well", 0);
	p->quirks = s->usual;
	plane_stall(p, false);
	plane_listen(p, true);
	/* What it kept to itself it never says: such a process is put to an end. So is one that has connections from before its grace was made short. */
	if (s->was_mute)
		plane_cut(p);
	s->was_mute = false;
	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		if (s->service[i].lied)
			put_service(s, &s->service[i]);
	s->trouble = false;
	/* A stalled connection is noticed by a PING after 30 s that is not answered for 20 s; a no for good is believed for 30 s. */
	s->settled_ns = model_now(s) + 100 * SEC;
}

static void knobs_draw(struct mesh_sim *s)
{
	struct simnet_knobs *k = simnet_knobs(s->rig->net);

	k->shuffle = true;
	k->hold_percent = percent(s, 30) ? (uint32_t)mesh_below(s, 20) : 0;
	k->short_percent = percent(s, 30) ? (uint32_t)mesh_below(s, 40) : 0;
	k->again_percent = percent(s, 30) ? (uint32_t)mesh_below(s, 20) : 0;
	k->latency_ns = percent(s, 50) ? mesh_below(s, 8) * MS : 0;
}

static void next_phase(struct mesh_sim *s)
{
	if (s->trouble) {
		trouble_ends(s);
		s->phase_until_ns = model_now(s) + (percent(s, 60) ? between(s, 110 * SEC, 300 * SEC) : between(s, SEC, 110 * SEC));
	} else {
		s->trouble = true;
		s->troubles++;
		s->phase_until_ns = model_now(s) + (percent(s, 50) ? between(s, SEC / 2, 10 * SEC) : percent(s, 80) ? between(s, 10 * SEC, 90 * SEC) : between(s, 90 * SEC, 300 * SEC));
		for (uint64_t n = 1 + mesh_below(s, 2); n > 0; n--)
			do_trouble(s);
	}
	s->busy = mesh_below(s, 1u << MESH_SERVICES) | mesh_below(s, 1u << MESH_SERVICES);
	knobs_draw(s);
}

/* ---- calls ---- */

static struct mesh_call *do_call_to(struct mesh_sim *s, uint32_t i, bool simple)
{
	static const char *const spelled[] = {"m%u.default.svc.cluster.local:7000", "m%u.default.svc.cluster.local:7000", "M%u.default.svc.cluster.local.:7000", "m%u:7000", "m%u.default:7000"};
	struct caller *from = s->caller[mesh_below(s, 3)];
	char authority[80];
	struct sb more = {0};

	if (s->ncalls == MESH_CALLS)
		return NULL;
	if (!from->up)
		rig_die("a caller lost its connection");
	struct mesh_call *k = &s->calls[s->ncalls];
	struct mesh_service *v = &s->service[i];
	snprintf(authority, sizeof(authority), spelled[mesh_below(s, 5)], i);
	*k = (struct mesh_call){.service = (uint8_t)i};
	k->streaming = !simple && percent(s, 6);
	if (!simple && !k->streaming && percent(s, 10)) {
		k->deadline_ns = (500 + mesh_below(s, 8000)) * MS;
		sb_fmt(&more, "grpc-timeout: %um\n", (unsigned)(k->deadline_ns / MS));
	}
	sb_fmt(&more, "x-id: %u\n", s->ncalls);
	sb_char(&more, 0);
	told(s, "call", (int)s->ncalls * 10 + (int)i);
	s->ncalls++;
	v->used_ns = model_now(s);
	k->call = call_begin(from, authority, PATH, more.p, false);
	sb_end(&more);
	k->call->user = k;
	k->left = mesh_below(s, percent(s, 10) ? 30000 : 500);
	if (!k->streaming) {
		call_fill(k->call, k->left, true);
		k->whole = true;
	}
	return k;
}

static void do_call(struct mesh_sim *s)
{
	uint32_t i = (uint32_t)mesh_below(s, MESH_SERVICES);

	if (s->busy >> i & 1)
		do_call_to(s, i, false);
}

/* A piece more of a call that streams, or its end. */
static void do_piece(struct mesh_sim *s)
{
	while (s->first_open < s->ncalls && s->calls[s->first_open].over)
		s->first_open++;
	for (uint32_t i = s->first_open; i < s->ncalls; i++) {
		struct mesh_call *k = &s->calls[i];

		if (k->over || k->whole || !percent(s, 40))
			continue;
		size_t n = k->left ? 1 + mesh_below(s, k->left) : 0;
		k->left -= n;
		k->whole = k->left == 0 && percent(s, 30);
		if (n || k->whole)
			call_fill(k->call, n, k->whole);
		return;
	}
}

static void do_cancel(struct mesh_sim *s)
{
	for (uint32_t i = s->first_open; i < s->ncalls; i++)
		if (!s->calls[i].over && s->calls[i].call->stream && percent(s, 30)) {
			call_cancel(s->calls[i].call);
			s->calls[i].over = true;
			return;
		}
}

static void do_freeze(struct mesh_sim *s)
{
	uint64_t ns = between(s, SEC, percent(s, 80) ? 20 * SEC : 200 * SEC);

	told(s, "freeze for s", (int)(ns / SEC));
	model_tick(s);
	model_freeze(s, ns);
	simnet_freeze(s->rig->net, ns);
	simnet_advance(s->rig->net, ns + 100 * MS);
	/* The plane stood still as well: what was to be waited for is still to be waited for. */
	s->settled_ns = s->settled_ns > model_now(s) - ns ? s->settled_ns + ns : model_now(s) + 3 * SEC;
}

/* Everything of the control plane is begun anew: nothing is known. */
static void do_reload(struct mesh_sim *s)
{
	bool anew = percent(s, 30);

	told(s, "reload", anew);
	s->reloads++;
	if (anew)
		s->idle_ns = between(s, 60, 200) * SEC;
	s->rig->yaml = mesh_yaml(s);
	if (sidecar_reload(s->rig->sc) != 0)
		rig_die("a reload is refused: %s", s->rig->err);
	if (!anew)
		return;
	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		s->service[i].known = false;
	if (s->settled_ns < model_now(s) + 3 * SEC)
		s->settled_ns = model_now(s) + 3 * SEC;
}

static void one_event(struct mesh_sim *s)
{
	uint64_t dice = mesh_below(s, 1000);

	refill(s);
	if (model_now(s) >= s->phase_until_ns)
		next_phase(s);
	else if (dice < 650)
		for (uint64_t n = 1 + mesh_below(s, 4); n > 0; n--)
			do_call(s);
	else if (dice < 760)
		do_piece(s);
	else if (dice < 770)
		do_cancel(s);
	else if (dice < 880)
		do_change(s);
	else if (dice < 955)
		do_provider(s);
	else if (dice < 960)
		do_freeze(s);
	else if (dice < 964)
		do_reload(s);
	else if (s->trouble)
		do_trouble(s);
}

static void some_time(struct mesh_sim *s)
{
	uint64_t dice = mesh_below(s, 100);

	simnet_advance(s->rig->net, dice < 10 ? 0 : dice < 55 ? mesh_below(s, 200 * MS) : dice < 92 ? mesh_below(s, 2 * SEC) : mesh_below(s, 12 * SEC));
}

/* ---- peace ---- */

static bool all_over(struct mesh_sim *s)
{
	for (uint32_t i = 0; i < s->ncalls; i++) {
		struct mesh_call *k = &s->calls[i];

		if (!k->over && !k->whole) {
			call_fill(k->call, k->left, true);
			k->whole = true;
		}
		if (!k->over)
			return false;
	}
	return true;
}

static void pass(struct mesh_sim *s, uint64_t ns)
{
	for (uint64_t until = model_now(s) + ns; model_now(s) < until;) {
		model_tick(s);
		simnet_advance(s->rig->net, SEC / 2);
	}
	model_tick(s);
}

/* At rest each name is what the plane says, at once; and the plane is asked for these names and nothing else. */
static void must_be_right(struct mesh_sim *s)
{
	struct mesh_call *k[MESH_SERVICES];

	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		k[i] = do_call_to(s, i, true);
	pass(s, 5 * SEC);
	for (uint32_t i = 0; i < MESH_SERVICES && k[i]; i++) {
		const struct mesh_service *v = &s->service[i];
		bool ok = call_ok(k[i]->call), all_well = model_sure(s, v);

		if (!k[i]->over || (v->route == ROUTE_ABSENT ? k[i]->call->grpc != GRPC_UNIMPLEMENTED : all_well && !ok))
			rig_die("at rest: the call to %s, which %s, ended %u times with grpc %d '%s'", v->authority, v->route == ROUTE_ABSENT ? "does not exist" : "exists", k[i]->call->ends,
				k[i]->call->grpc, call_text(k[i]->call));
	}
	if (plane_open(s->plane) != 1)
		rig_die("at rest: %u streams are open", plane_open(s->plane));
	for (uint32_t i = 0; i < MESH_SERVICES; i++) {
		const struct mesh_service *v = &s->service[i];

		if (v->route == ROUTE_ABSENT)
			continue;
		for (int set = 0; set < MESH_SETS; set++) {
			bool used = v->route == (set == SET_OWN ? ROUTE_OWN : ROUTE_SPLIT);

			if (plane_asks(s->plane, XDS_EDS, v->cluster[set]) != used)
				rig_die("at rest: the endpoints of %s are %s", v->cluster[set], used ? "not subscribed" : "still subscribed");
			if (s->kind->cds_named && plane_asks(s->plane, XDS_CDS, v->cluster[set]) != used)
				rig_die("at rest: the cluster %s is %s", v->cluster[set], used ? "not subscribed" : "still subscribed");
		}
		if (!plane_asks(s->plane, XDS_RDS, s->kind->lds ? v->cluster[SET_OWN] : v->authority) || (s->kind->lds && !plane_asks(s->plane, XDS_LDS, v->authority)))
			rig_die("at rest: the routes of %s are not subscribed", v->authority);
	}
}

static void must_be_idle(struct mesh_sim *s)
{
	const struct plane_stream *stream = plane_stream(s->plane);

	pass(s, s->idle_ns * 3 / 2 + 5 * SEC);
	for (int t = 0; t < XDS_TYPES; t++)
		if (stream != plane_stream(s->plane) || stream->watch[t].names.n)
			rig_die("nobody calls, and %s is still asked for %s", xds_type_name[t], stream->watch[t].names.n ? stream->watch[t].names.name[0] : "on another stream");
}

static void peace(struct mesh_sim *s)
{
	*simnet_knobs(s->rig->net) = (struct simnet_knobs){.capacity = 65536, .cred = simnet_knobs(s->rig->net)->cred};
	trouble_ends(s);
	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		if (s->service[i].refill_ns)
			s->service[i].refill_ns = model_now(s);
	refill(s);
	for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
		if (!s->provider[p].up) {
			provider_listen(s->provider[p].p, true);
			s->provider[p].up = true;
			s->provider[p].since_ns = model_now(s);
		}
	for (int round = 0; !all_over(s); round++) {
		pass(s, SEC);
		if (round == 60)
			for (uint32_t i = 0; i < s->ncalls; i++)
				if (!s->calls[i].over)
					rig_die("call %u to service %u has not ended a minute after all trouble was over", i, s->calls[i].service);
	}
	pass(s, 105 * SEC);
	must_be_right(s);
	must_be_idle(s);
	must_be_right(s); /* all of them are asked for anew */
}

/* ---- one run ---- */

static void world_make(struct mesh_sim *s)
{
	static const char *const sets[MESH_SETS] = {"", "v1", "v2"};

	for (uint32_t i = 0; i < MESH_PROVIDERS; i++) {
		char at[32];

		snprintf(at, sizeof(at), "10.0.0.%u:1", i + 1);
		s->provider[i] = (struct mesh_provider){.p = provider_new(s->rig, at, ECHOES), .up = true};
		act_draw(s, s->provider[i].p);
	}
	s->usual.slow_ms = percent(s, 50) ? (uint32_t)mesh_below(s, 50) : 0;
	s->usual.debounce_ms = percent(s, 50) ? (uint32_t)mesh_below(s, 150) : 0;
	s->plane->quirks = s->usual;
	for (uint32_t i = 0; i < MESH_SERVICES; i++) {
		struct mesh_service *v = &s->service[i];

		snprintf(v->host, sizeof(v->host), "m%u.default.svc.cluster.local", i);
		snprintf(v->authority, sizeof(v->authority), "%s:%u", v->host, MESH_PORT);
		for (int set = 0; set < MESH_SETS; set++)
			snprintf(v->cluster[set], sizeof(v->cluster[set]), "outbound|%u|%s|%s", MESH_PORT, sets[set], v->host);
		if (percent(s, 75))
			service_create(s, v);
		else
			model_say_route(s, v);
	}
}

void mesh_run(uint64_t seed, uint32_t minutes)
{
	struct mesh_sim *s = xnew(struct mesh_sim);
	struct rig *r = rig_bare(seed);

	s->rig = r;
	s->kind = &kinds[seed % (sizeof(kinds) / sizeof(*kinds))];
	s->calls = xalloc(MESH_CALLS * sizeof(*s->calls));
	s->idle_ns = between(s, 60, 300) * SEC;
	s->hold_ns = between(s, 5, 40) * SEC;
	s->zones = percent(s, 40);
	r->ctx = s;
	r->on_call_end = model_call_over;
	r->on_served = model_served;
	s->plane = rig_plane(r, PLANE_AT, (int)s->kind->plane);
	world_make(s);
	rig_start(r, mesh_yaml(s));
	simnet_after_turn(r->net, model_after_turn, s);
	for (int i = 0; i < 3; i++)
		s->caller[i] = caller_new(r, DOOR);
	s->settled_ns = model_now(s) + 3 * SEC;
	s->end_ns = model_now(s) + minutes * MINUTE;
	s->phase_until_ns = model_now(s) + between(s, 10 * SEC, 100 * SEC);
	s->busy = ~UINT64_C(0);
	pass(s, 13 * SEC); /* all are well by then */
	while (model_now(s) < s->end_ns) {
		model_tick(s);
		one_event(s);
		model_tick(s);
		some_time(s);
		model_tick(s);
	}
	peace(s);
	simnet_after_turn(r->net, NULL, NULL);
	uint64_t hash = simnet_trace(r->net), now_ms = model_now(s) / MS;
	uint32_t streams = s->plane->nstreams, requests = s->plane->nrequests, nacks = s->plane->nacks;
	rig_free(&r);
	printf("seed %llu hash %016llx mesh %s: calls %u sure %u ok %u failed %u (absent %u), troubles %u changes %u deaths %u, streams %u requests %u nacks %u, virtual %llu ms\n",
		(unsigned long long)seed, (unsigned long long)hash, s->kind->name, s->ncalls, s->sure, s->ok, s->excused, s->absent, s->troubles, s->changes, s->deaths, streams, requests, nacks,
		(unsigned long long)now_ms);
	sb_end(&s->yaml[0]);
	sb_end(&s->yaml[1]);
	free(s->calls);
	free(s);
}
