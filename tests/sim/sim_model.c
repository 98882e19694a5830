/* tests/sim/sim_model: what may be believed of the mesh, and what follows for each call.
 *
 * The plane's store is the truth, but the sidecar hears of it late, or not at all while the plane is dead. So each route and each set of endpoints has a window: all that was said of
 * it since the sidecar was last certain to know. A call is sure of a provider while, whatever of this is believed, every cluster of the route has one that is well, and the name is known
 * already (or the plane is well, so that it can be learnt). Then:
 *
 *   - a call that was sure for the whole of its life ends well, and soon; unless a provider that it may have been on died in it;
 *   - UNIMPLEMENTED is said only of a name that may be believed not to exist, and of such a one nothing else where no doubt is left;
 *   - DEADLINE_EXCEEDED only when the caller's deadline is over; and no other failure than these and UNAVAILABLE;
 *   - a provider sees calls of a service that names it, or named it no longer than removal_hold ago;
 *   - what the app gets is what one provider sent, all of it; what that provider got is what the app sent;
 *   - each call ends once; memory is bounded. */
#include <stdlib.h>
#include <string.h>
#include "tests/sim/sim_mesh.h"

static const uint64_t heard_ns = 2 * SEC;     /* from a change to the last sidecar's knowing of it, the plane being well */
static const uint64_t well_ns = 12 * SEC;     /* a provider that came back is dialled again after a back-off of 10 s at most */
static const uint64_t hazard_ns = SEC / 2;    /* before the sidecar hears that a connection died */
static const uint64_t soon_ns = 4 * SEC;

uint64_t model_now(const struct mesh_sim *s)
{
	return s->rig->loop->now_ns;
}

bool model_settled(const struct mesh_sim *s)
{
	return !s->trouble && model_now(s) >= s->settled_ns;
}

/* ---- windows ---- */

static void window_add(struct mesh_window *w, const struct mesh_said *said)
{
	if (w->n == MESH_WINDOW) /* the oldest two become one that is as bad as either: nobody is sure of an empty set */
		w->at[1].usable = 0, memmove(w->at, w->at + 1, (--w->n) * sizeof(*w->at));
	w->at[w->n++] = *said;
}

void model_say_set(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set)
{
	struct mesh_said said = {.since_ns = model_now(s), .named = v->named[set], .usable = v->named[set] & ~v->sick[set]};

	window_add(&v->sets[set], &said);
}

void model_say_route(struct mesh_sim *s, struct mesh_service *v)
{
	struct mesh_said said = {.since_ns = model_now(s), .route = v->route};

	window_add(&v->routes, &said);
}

static void window_settle(struct mesh_sim *s, struct mesh_window *w, bool is_set)
{
	struct mesh_said *last;

	if (w->n < 2 || !model_settled(s))
		return;
	last = &w->at[w->n - 1];
	if (model_now(s) < last->since_ns + heard_ns)
		return;
	/* What was emptied is kept for the hold: it is the last one that is believed. */
	if (is_set && !last->named && model_now(s) < last->since_ns + last->frozen_ns + s->hold_ns + heard_ns)
		return;
	w->at[0] = *last;
	w->n = 1;
}

/* Held endpoints are held for as much longer. What the sidecar adds to other times is a little less (it may have waited when it froze): nothing is built on that here. */
void model_freeze(struct mesh_sim *s, uint64_t ns)
{
	s->freeze_ns = model_now(s) + ns + SEC;
	for (uint32_t i = 0; i < MESH_SERVICES; i++) {
		struct mesh_service *v = &s->service[i];

		for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
			v->named_ns[p] += v->named_ns[p] ? ns : 0;
		for (int set = 0; set < MESH_SETS; set++)
			for (uint32_t n = 0; n < v->sets[set].n; n++)
				v->sets[set].at[n].frozen_ns += ns;
	}
}

/* ---- sure of a provider ---- */

static uint32_t well(const struct mesh_sim *s)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < MESH_PROVIDERS; i++)
		if (s->provider[i].up && model_now(s) >= s->provider[i].since_ns + well_ns)
			mask |= 1u << i;
	return mask;
}

/* kept: a set that was emptied goes on for the hold, where the sidecar had it. */
static bool set_is_sure(const struct mesh_sim *s, const struct mesh_window *w, uint32_t mask, bool keeps)
{
	for (uint32_t i = 0; i < w->n; i++) {
		const struct mesh_said *said = &w->at[i];
		bool kept = keeps && !said->named && i > 0 && model_now(s) + SEC < said->since_ns + s->hold_ns;

		if (!kept && !(said->usable & mask))
			return false;
	}
	return w->n > 0;
}

bool model_sure(const struct mesh_sim *s, const struct mesh_service *v)
{
	uint32_t mask = well(s);

	/* To be learnt, it must stand still: an answer says the new routes, and the clusters come with the next push. */
	if (!v->known && (!model_settled(s) || v->lied || v->routes.n != 1 || v->sets[SET_OWN].n > 1 || v->sets[SET_V1].n > 1 || v->sets[SET_V2].n > 1))
		return false;
	for (uint32_t i = 0; i < v->routes.n; i++) {
		enum mesh_route route = v->routes.at[i].route;

		if (route == ROUTE_ABSENT)
			return false;
		if (route == ROUTE_OWN && !set_is_sure(s, &v->sets[SET_OWN], mask, v->known && v->had_own))
			return false;
		if (route == ROUTE_SPLIT && !(set_is_sure(s, &v->sets[SET_V1], mask, false) && set_is_sure(s, &v->sets[SET_V2], mask, false)))
			return false;
	}
	return v->routes.n > 0;
}

static void service_named(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < v->sets[set].n; i++)
		mask |= v->sets[set].at[i].named;
	for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
		if (mask >> p & 1)
			v->named_ns[p] = model_now(s);
}

static void service_tick(struct mesh_sim *s, struct mesh_service *v)
{
	bool settled = model_settled(s);

	if (model_now(s) + SEC >= v->used_ns + s->idle_ns) /* given up, or soon */
		v->known = false, v->forgot_ns = model_now(s);
	if (!v->known || v->route != ROUTE_OWN)
		v->had_own = false;
	window_settle(s, &v->routes, false);
	for (int set = 0; set < MESH_SETS; set++)
		window_settle(s, &v->sets[set], true);
	for (uint32_t i = 0; i < v->routes.n; i++) {
		enum mesh_route route = v->routes.at[i].route;

		if (route == ROUTE_ABSENT) {
			v->absent_ns = model_now(s);
			continue;
		}
		v->exists_ns = model_now(s);
		service_named(s, v, route == ROUTE_OWN ? SET_OWN : SET_V1);
		if (route == ROUTE_SPLIT)
			service_named(s, v, SET_V2);
	}
	if (!settled || v->lied)
		v->exists_ns = model_now(s);
	if (!model_sure(s, v))
		v->unsure_ns = model_now(s);
}

void model_tick(struct mesh_sim *s)
{
	for (uint32_t i = 0; i < MESH_SERVICES; i++)
		service_tick(s, &s->service[i]);
}

/* ---- calls ---- */

static uint32_t number_of(const struct mesh_sim *s, const struct mesh_call *k)
{
	return (uint32_t)(k - s->calls);
}

static bool named_lately(const struct mesh_sim *s, const struct mesh_service *v, uint32_t p, uint64_t at_ns)
{
	return v->named_ns[p] && v->named_ns[p] + s->hold_ns + heard_ns >= at_ns;
}

void model_served(void *sim, void *served, int what)
{
	struct mesh_sim *s = sim;
	struct served *v = served;
	const char *id = served_field(v, "x-id");
	unsigned long n = id ? strtoul(id, NULL, 10) : MESH_CALLS;
	uint32_t p = 0;

	if (n >= s->ncalls)
		rig_die("a provider sees a call that nobody made");
	if (what != 1)
		return;
	while (s->provider[p].p != v->p)
		p++;
	struct mesh_call *k = &s->calls[n];
	/* The event comes inside of a turn: the windows are as the last tick left them, which is no younger than what the sidecar acts on. */
	if (!named_lately(s, &s->service[k->service], p, k->call ? k->call->begun_ns : model_now(s)))
		rig_die("call %lu of service %u reaches provider %u, which %s at %llu ms", n, k->service, p + 1, s->service[k->service].named_ns[p] ? "was last named" : "was never named",
			(unsigned long long)(s->service[k->service].named_ns[p] / MS));
	k->served_by |= 1u << p;
	if (k->nserved < sizeof(k->served) / sizeof(*k->served))
		k->served[k->nserved++] = v;
}

/* A provider that the call may have been on died in its life. */
static bool had_bad_luck(const struct mesh_sim *s, const struct mesh_call *k)
{
	uint64_t begun = k->call->begun_ns;
	bool any = !k->served_by || model_now(s) < begun + 2 * SEC;

	for (uint32_t p = 0; p < MESH_PROVIDERS; p++)
		if ((k->served_by >> p & 1 || (any && named_lately(s, &s->service[k->service], p, begun))) && s->provider[p].hazard_ns + hazard_ns >= begun && s->provider[p].hazard_ns)
			return true;
	return false;
}

static void compare(const struct mesh_sim *s, const struct mesh_call *k)
{
	const struct call *c = k->call;

	for (uint32_t i = 0; i < k->nserved; i++) {
		const struct served *v = k->served[i];

		if (v->fin && v->bytes == c->sent && (!c->sent || v->hash == c->sent_hash) && v->sent == c->bytes && (!c->bytes || v->sent_hash == c->hash))
			return;
	}
	rig_die("call %u has ended well, and no provider got its %llu bytes and sent its %llu", number_of(s, k), (unsigned long long)c->sent, (unsigned long long)c->bytes);
}

static void wrong(const struct mesh_sim *s, const struct mesh_call *k, const char *what)
{
	const struct call *c = k->call;
	const struct mesh_service *v = &s->service[k->service];

	rig_die("call %u to %s, %llu to %llu ms, ended with cause %d, status %d, grpc %d '%s': %s; it was last unsure at %llu ms", number_of(s, k), v->authority,
		(unsigned long long)(c->begun_ns / MS), (unsigned long long)(model_now(s) / MS), c->end.cause, c->status, c->grpc, call_text(c), what, (unsigned long long)(v->unsure_ns / MS));
}

void model_call_over(void *sim, void *call)
{
	struct mesh_sim *s = sim;
	struct call *c = call;
	struct mesh_call *k = c->user;
	struct mesh_service *v = &s->service[k->service];
	uint64_t took = model_now(s) - c->begun_ns;
	bool sure = v->unsure_ns < c->begun_ns && model_sure(s, v), luck = had_bad_luck(s, k), frozen = s->freeze_ns >= c->begun_ns;

	if (c->ends != 1 || k->over)
		wrong(s, k, "it ended before");
	k->over = true;
	simnet_note(s->rig->net, (uint64_t)number_of(s, k) << 32 | (uint64_t)c->end.cause << 16 | (uint64_t)(c->grpc & 0xff) << 8 | (uint64_t)(c->status & 0xff));
	s->sure += sure;
	if (c->end.cause == END_DONE && c->fin && c->status == 200 && c->grpc == 0) {
		compare(s, k);
		v->had_own |= v->routes.n == 1 && v->route == ROUTE_OWN && c->begun_ns > v->routes.at[0].since_ns + heard_ns;
		/* Forgotten and asked anew while the store lies about it: hosts that are held carried this call, and nothing good was learnt. */
		if (c->begun_ns >= v->forgot_ns && !(v->lied && !v->known))
			v->known = true;
		s->ok++;
		if (sure && !luck && !frozen && !k->streaming && took > soon_ns)
			wrong(s, k, "it waited for nothing");
		return;
	}
	if (sure && !luck && !(frozen && c->grpc == GRPC_DEADLINE_EXCEEDED))
		wrong(s, k, "it had a provider");
	s->excused++;
	switch (c->grpc) {
	case GRPC_DEADLINE_EXCEEDED:
		if (!k->deadline_ns || took < k->deadline_ns)
			wrong(s, k, "its deadline is not over");
		break;
	case GRPC_UNIMPLEMENTED:
		/* Beside Istio's own dialect silence has a meaning too: what is asked for 15 s of a server that was reached does not exist. */
		if (v->absent_ns < c->begun_ns && !(s->kind->lds && !v->known && !model_settled(s)))
			wrong(s, k, "nobody said that its service does not exist");
		s->absent++;
		break;
	case GRPC_UNAVAILABLE:
		if (v->exists_ns < c->begun_ns)
			wrong(s, k, "it is known that its service does not exist");
		break;
	default:
		wrong(s, k, "no call may end so");
	}
}

void model_after_turn(void *sim)
{
	struct mesh_sim *s = sim;
	struct loop *l = s->rig->loop;

	if (l->memory.used > (16u << 20))
		rig_die("%zu bytes are charged", l->memory.used);
	if (stat_get(&l->stats, STAT_CALLS_ACTIVE) > s->ncalls)
		rig_die("%llu calls are active", (unsigned long long)stat_get(&l->stats, STAT_CALLS_ACTIVE));
}
