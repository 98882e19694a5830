/* tests/sim/sim_check: what must hold in every run, whatever the seed does:
 *
 *   - a call ends at most once, and it ends;
 *   - of a call that ended well, the provider got the bytes that the app sent, and the app got those of one provider, all of them;
 *   - without a retry policy a call runs at most once, but where a provider refused it;
 *   - a call that began after an endpoint was removed does not reach it by that service;
 *   - memory stays within its limit, and at the end every account is at 0 (rig_free). */
#include <stdlib.h>
#include <string.h>
#include "tests/sim/sim.h"

static struct sim_call *call_of(struct sim *s, const struct served *v)
{
	const char *id = served_field(v, "x-id");
	unsigned long n = id ? strtoul(id, NULL, 10) : CALLS_MAX;

	if (n >= CALLS_MAX)
		rig_die("a provider sees a call that nobody made");
	return &s->calls[n];
}

static void sim_ran(struct sim *s, struct served *v)
{
	struct sim_call *k = call_of(s, v);
	uint32_t p = 0;

	while (s->provider[p] != v->p)
		p++;
	if (k->service < 0)
		rig_die("call %u names no service and still reaches provider %u", (unsigned)(k - s->calls), p);
	struct sim_service *svc = &s->service[k->service];
	if ((!svc->declared || !(svc->mask >> p & 1)) && k->step > svc->removed_step[p])
		rig_die("call %u of step %u reaches provider %u, which service %d has not had since step %u", (unsigned)(k - s->calls), k->step, p, k->service, svc->removed_step[p]);
	k->ran++;
	if (k->ran > k->refused + 1 && !svc->retries && !k->retries)
		rig_die("call %u runs %u times, %u of them were refused", (unsigned)(k - s->calls), k->ran, k->refused);
}

void sim_served(void *sim, void *served, int what)
{
	struct served *v = served;

	if (what == 1)
		sim_ran(sim, v);
	else if (v->end.cause == END_RESET && v->end.h2_code == H2_REFUSED_STREAM)
		call_of(sim, v)->refused++;
}

/* The attempt whose answer this is: one whose bytes are the app's. */
static void sim_compare(struct sim *s, const struct call *c, uint32_t number)
{
	for (uint32_t p = 0; p < PROVIDERS; p++)
		list_each(n, tmp, &s->provider[p]->served) {
			const struct served *v = list_entry(n, struct served, node);
			if (call_of(s, v) != &s->calls[number])
				continue;
			if (v->fin && (v->bytes != c->sent || (c->sent && v->hash != c->sent_hash)))
				rig_die("call %u: the provider got %llu bytes, the app sent %llu, and they are not the same", number, (unsigned long long)v->bytes,
					(unsigned long long)c->sent);
			if (v->sent == c->bytes && (!c->bytes || v->sent_hash == c->hash))
				return;
		}
	rig_die("call %u has ended well with %llu bytes that no provider has sent", number, (unsigned long long)c->bytes);
}

void sim_call_over(void *sim, void *call)
{
	struct sim *s = sim;
	struct call *c = call;
	struct sim_call *k = c->user;

	if (c->ends != 1 || k->over)
		rig_die("call %u has ended %u times", (unsigned)(k - s->calls), c->ends);
	k->over = true;
	simnet_note(s->rig->net, (uint64_t)(k - s->calls) << 32 | (uint64_t)c->end.cause << 16 | (uint64_t)(c->grpc & 0xff) << 8 | (uint64_t)(c->status & 0xff));
	if (c->end.cause == END_RESET && c->end.detail && strstr(c->end.detail, "by the app")) {
		s->cancelled++;
		return;
	}
	bool well = c->end.cause == END_DONE && c->fin && c->status == 200 && (k->plain || c->grpc == 0);
	if (well && k->plain && !c->head.n)
		well = false;
	s->ok += well;
	s->failed += !well;
	if (well)
		sim_compare(s, c, (uint32_t)(k - s->calls));
}

void sim_after_turn(void *sim)
{
	struct sim *s = sim;
	struct loop *l = s->rig->loop;

	if (l->memory.used > (64u << 20))
		rig_die("%zu bytes are charged, the limit is 64 MiB", l->memory.used);
	if (stat_get(&l->stats, STAT_PARKED) > 1024 || stat_get(&l->stats, STAT_CALLS_ACTIVE) > s->ncalls)
		rig_die("%llu calls are parked, %llu active", (unsigned long long)stat_get(&l->stats, STAT_PARKED), (unsigned long long)stat_get(&l->stats, STAT_CALLS_ACTIVE));
}
