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

static uint32_t flags_of(const struct endpoint_brief *e)
{
	switch (e->health) {
	case EP_UNHEALTHY:
		return HOT_UNHEALTHY;
	case EP_DRAINING:
		return HOT_DRAINING;
	default:
		return e->by_name ? HOT_UNHEALTHY : HOT_USABLE; /* a name that nobody resolves is nothing to connect to */
	}
}

void members_end(struct cluster *c, struct members *m)
{
	policy_free(&m->policy);
	acct_free(&c->all->account, m->hot);
	endpoints_unref(&m->set);
	*m = (struct members){0};
}

static void hot_fill(struct members *m)
{
	struct endpoint_brief brief[ENDPOINT_BLOCK];

	for (uint32_t s = 0; s < endpoints_spans(m->set); s++) {
		struct endpoint_span span = endpoints_span(m->set, s);

		endpoints_brief(m->set, s, brief);
		for (uint32_t i = 0; i < span.count; i++)
			m->hot[span.first + i] = (struct hot){.weight = brief[i].weight, .flags = flags_of(&brief[i])};
	}
}

static int members_make(struct cluster *c, struct endpoint_set *set, struct members *ret)
{
	struct members m = {.declared = endpoints_count(set)};
	struct account *account = &c->all->account;
	int err = 0;

	if (c->names)
		err = names_expand(c->names, set, account, &m.set);
	else
		m.set = endpoints_ref(set);
	m.count = m.set ? endpoints_count(m.set) : 0;
	if (!err && m.count) {
		m.hot = acct_alloc(account, m.count * sizeof(*m.hot));
		if (!m.hot)
			err = -ENOMEM;
	}
	if (!err && m.count) {
		hot_fill(&m);
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
static struct host *known_find(const struct known *k, const struct addr *addrs, uint32_t n)
{
	uint64_t key = addrs_key(addrs, n);

	for (uint32_t at = (uint32_t)key & k->mask; k->slots[at]; at = (at + 1) & k->mask) {
		struct host *h = k->slots[at];

		if (h->index == UINT32_MAX && h->key == key && h->addr_count == n && addrs_eq(h->addrs, addrs, n))
			return h;
	}
	return NULL;
}

static void host_adopt(struct cluster *c, struct host *h, uint32_t index)
{
	struct endpoint e;

	endpoint_get(c->m.set, index, &e);
	h->index = index;
	c->m.hot[index].born = h->place + 1;
	c->m.hot[index].active = h->active;
	if (!h->zone != !e.zone || (e.zone && strcmp(e.zone, h->zone) != 0)) {
		free((char *)h->zone);
		h->zone = e.zone ? xstrdup(e.zone) : NULL;
	}
}

static void hosts_adopt(struct cluster *c)
{
	struct addr addrs[ENDPOINT_ADDRS];
	struct known k;

	if (!c->host_count)
		return;
	for (uint32_t i = 0; i < c->host_count; i++)
		c->hosts[i]->index = UINT32_MAX;
	k = known_make(c);
	for (uint32_t i = 0; i < c->m.count; i++) {
		struct host *h = known_find(&k, addrs, endpoint_addrs(c->m.set, i, addrs, ENDPOINT_ADDRS));

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
