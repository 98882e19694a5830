/* lb/members: from what is declared to what is alive: new hot records and a new policy, and the hosts that go on under them.
 *
 * A host is known again by its address list: the same list keeps host, load and connections, whatever else changed. A host that is not in
 * the new set serves its calls to their end and is picked no more. Names are in the set as DNS answers them (lb/hostnames). */
#include "lb/cluster_int.h"
#include <errno.h>
#include <stdlib.h>

void cluster_flag(struct cluster *c, uint32_t index, uint32_t set, uint32_t clear)
{
	struct hot *hot = &c->m.hot[index];
	uint32_t was = hot->flags, now = (was | set) & ~clear;

	now = now & HOT_OUT ? now & ~(uint32_t)HOT_USABLE : now | HOT_USABLE;
	hot->flags = now;
	c->usable += (now & HOT_USABLE) - (was & HOT_USABLE);
	c->standing += !(now & (HOT_DRAINING | HOT_UNHEALTHY));
	c->standing -= !(was & (HOT_DRAINING | HOT_UNHEALTHY));
}

static uint32_t flags_of(const struct endpoint *e)
{
	if (!e->naddrs)
		return HOT_UNHEALTHY; /* nothing to connect to */
	switch (e->health) {
	case EP_UNHEALTHY:
		return HOT_UNHEALTHY;
	case EP_DRAINING:
		return HOT_DRAINING;
	default:
		return HOT_USABLE;
	}
}

void members_end(struct cluster *c, struct members *m)
{
	policy_free(&m->policy);
	acct_free(&c->all->account, m->hot);
	arena_reset(&m->arena);
	endpoints_unref(&m->set);
	*m = (struct members){0};
}

static int members_make(struct cluster *c, struct endpoint_set *set, struct members *ret)
{
	struct members m = {.set = endpoints_ref(set), .e = set->e, .count = set->count};
	struct account *account = &c->all->account;
	int err = 0;

	arena_init(&m.arena, account);
	if (c->names) {
		struct endpoint *e = NULL;

		err = names_expand(c->names, set, &m.arena, &e, &m.count);
		m.e = e;
	}
	if (!err && m.count) {
		m.hot = acct_alloc(account, m.count * sizeof(*m.hot));
		if (!m.hot)
			err = -ENOMEM;
	}
	if (!err && m.count) {
		for (uint32_t i = 0; i < m.count; i++)
			m.hot[i] = (struct hot){.weight = m.e[i].weight ? m.e[i].weight : 1, .flags = flags_of(&m.e[i])};
		m.policy = policy_build(c->spec->lb, c->all->loop, account, m.hot, m.count, c->spec);
		if (!m.policy)
			err = -ENOMEM;
	}
	if (err) {
		members_end(c, &m);
		return err;
	}
	*ret = m;
	return 0;
}

/* ---- known again ---------------------------------------------------------------------------------------------------------- */

/* Hosts by the hash of their addresses, for one update: open addressing, at most half full. */
struct known {
	struct host **slots;
	uint32_t mask;
};

static struct known known_make(struct cluster *c)
{
	uint32_t cap = 8;
	struct known k;

	while (cap < c->host_count * 2)
		cap *= 2;
	k.slots = xalloc(cap * sizeof(*k.slots));
	k.mask = cap - 1;
	for (uint32_t i = 0; i < c->host_count; i++) {
		uint32_t at = (uint32_t)c->hosts[i]->key & k.mask;

		while (k.slots[at])
			at = (at + 1) & k.mask;
		k.slots[at] = c->hosts[i];
	}
	return k;
}

static bool addrs_eq(const struct addr *a, const struct addr *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!addr_eq(&a[i], &b[i]))
			return false;
	return true;
}

/* A host of these addresses that has no place in the new set yet: of an address that is listed twice only the first keeps it. */
static struct host *known_find(const struct known *k, const struct endpoint *e)
{
	uint64_t key = addrs_key(e->addrs, e->naddrs);

	for (uint32_t at = (uint32_t)key & k->mask; k->slots[at]; at = (at + 1) & k->mask) {
		struct host *h = k->slots[at];

		if (h->index == UINT32_MAX && h->key == key && h->addr_count == e->naddrs && addrs_eq(h->addrs, e->addrs, e->naddrs))
			return h;
	}
	return NULL;
}

static void host_adopt(struct cluster *c, struct host *h, uint32_t index)
{
	const char *zone = c->m.e[index].zone;

	h->index = index;
	c->m.hot[index].born = h->place + 1;
	c->m.hot[index].active = h->active;
	if (!h->zone != !zone || (zone && strcmp(zone, h->zone) != 0)) {
		free((char *)h->zone);
		h->zone = zone ? xstrdup(zone) : NULL;
	}
}

static void hosts_adopt(struct cluster *c)
{
	struct known k;

	if (!c->host_count)
		return;
	for (uint32_t i = 0; i < c->host_count; i++)
		c->hosts[i]->index = UINT32_MAX;
	k = known_make(c);
	for (uint32_t i = 0; i < c->m.count; i++) {
		struct host *h = known_find(&k, &c->m.e[i]);

		if (h)
			host_adopt(c, h, i);
	}
	free(k.slots);
}

/* Backwards: host_end puts the last one in the place of the one that goes. */
static void hosts_settle(struct cluster *c)
{
	for (uint32_t i = c->host_count; i-- > 0;) {
		struct host *h = c->hosts[i];

		if (h->index == UINT32_MAX) {
			if (!h->refs)
				host_end(h);
			continue;
		}
		host_repool(h);
		host_sync(h);
	}
}

void cluster_rebuild(struct cluster *c, struct endpoint_set *set)
{
	struct members made = {0}, old = c->m;

	if (set && members_make(c, set, &made) < 0) {
		c->updates_refused++;
		return;
	}
	c->m = made;
	c->usable = c->standing = 0;
	for (uint32_t i = 0; i < made.count; i++) {
		c->usable += made.hot[i].flags & HOT_USABLE;
		c->standing += !(made.hot[i].flags & (HOT_DRAINING | HOT_UNHEALTHY));
	}
	hosts_adopt(c);
	hosts_settle(c);
	members_end(c, &old);
}
