/* lb/rebuild: from what is declared to what is alive: the next members of a cluster, made in slices while the old ones serve, and the hosts that go on
 * under them.
 *
 *   LAYOUT -> BLOCKS (old ones by address) -> SHARED (which of the new ones were there) -> INDEX -> FILL (hot records) -> POLICIES -> HOSTS (each finds its place)
 *     -> the switch, in one go -> hosts are settled: who has no place any more ends or is held
 *
 * A block that both sets share is not read again: its flags and weights are copied, and its hosts know their new place by arithmetic. Endpoints of the other
 * blocks lie in an index by address while the rebuild lasts; there a host is known again by its address list and incarnation, whatever else changed. One that
 * is not found serves its calls to their end and is picked no more.
 *
 * A set of at most REBUILD_AT_ONCE endpoints goes through all of this in one turn. Of a larger one each turn does a slice. What is published meanwhile waits
 * until it is done (the last one wins): so a control plane that publishes without pause cannot keep a cluster from ever taking over anything. */
#include "lb/cluster_int.h"
#include <errno.h>
#include <stdlib.h>

enum phase { AT_LAYOUT, AT_BLOCKS, AT_SHARED, AT_INDEX, AT_FILL, AT_POLICIES, AT_HOSTS, AT_SWITCH };
enum {
	CLEARED_AT_ONCE = 8,
	COPIED_AT_ONCE = 8 /* a copied record is so much cheaper than one that is read */,
	INDEX_PROBES = 64 /* one address a thousand times, or a thousand of one hash, must not make it quadratic */
};

struct entry {
	uint32_t hash, endpoint; /* 1 + of the new set; 0: free */
};
struct rebuild {
	struct members m;
	struct layout layout;
	enum phase phase;
	uint32_t at; /* spans, buckets or hosts, by phase */
	bool same_spec; /* what the old members were made by */
	uint32_t unheard; /* HOT_* of an endpoint of which no check has said anything */
	uint32_t *old_blocks, old_mask; /* 1 + span of the old set, by block; open addressing */
	uint32_t *moved; /* of each old span: 1 + the new one with its block */
	uint32_t *came; /* of each new span: 1 + the old one */
	struct entry *index; /* of endpoints in blocks that are new, by address */
	uint32_t index_mask, fresh; /* endpoints in it */
};

static void rebuild_end(struct cluster *c)
{
	struct rebuild *r = c->rebuild;
	struct account *a = &c->all->account;

	c->rebuild = NULL;
	if (!r)
		return;
	acct_free(a, r->old_blocks);
	acct_free(a, r->moved);
	acct_free(a, r->came);
	acct_free(a, r->index);
	members_end(c, &r->m);
	free(r);
}

void cluster_rebuild_stop(struct cluster *c)
{
	for (uint32_t i = 0; c->rebuild && i < c->host_count; i++)
		c->hosts[i]->next = UINT32_MAX;
	rebuild_end(c);
	endpoints_unref(&c->next);
}

static void *zeroed(struct account *a, size_t n)
{
	void *p = acct_alloc(a, n);

	if (p)
		memset(p, 0, n);
	return p;
}

static uint32_t table_size(uint32_t count)
{
	uint32_t size = 8;

	while (size < count * 2 && size < UINT32_C(1) << 31)
		size *= 2;
	return size;
}

/* ---- which blocks are there already ----------------------------------------------------------------------------------------- */

static uint32_t block_slot(const struct rebuild *r, const void *block)
{
	uint64_t x = (uint64_t)(uintptr_t)block * UINT64_C(0x9E3779B97F4A7C15);

	return (uint32_t)(x >> 32) & r->old_mask;
}

static int blocks_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	struct account *a = &c->all->account;
	uint32_t spans = c->m.count ? endpoints_spans(c->m.set) : 0;

	if (!r->old_blocks) {
		uint32_t size = table_size(spans);

		r->old_blocks = zeroed(a, size * sizeof(*r->old_blocks));
		r->old_mask = size - 1;
		r->moved = zeroed(a, (spans + 1) * sizeof(*r->moved));
		r->came = zeroed(a, (endpoints_spans(r->m.set) + 1) * sizeof(*r->came));
		if (!r->old_blocks || !r->moved || !r->came)
			return -ENOMEM;
	}
	for (; r->at < spans && *work; r->at++, --*work) {
		const void *block = endpoints_span(c->m.set, r->at).block;
		uint32_t slot = block_slot(r, block);

		/* One that is there twice is found once: its second run is read again. */
		while (r->old_blocks[slot] && endpoints_span(c->m.set, r->old_blocks[slot] - 1).block != block)
			slot = (slot + 1) & r->old_mask;
		if (!r->old_blocks[slot])
			r->old_blocks[slot] = r->at + 1;
	}
	return r->at < spans;
}

static int shared_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	uint32_t spans = endpoints_spans(r->m.set);

	for (; r->at < spans && *work; r->at++, --*work) {
		struct endpoint_span span = endpoints_span(r->m.set, r->at);
		uint32_t slot = block_slot(r, span.block), old;

		while ((old = r->old_blocks[slot]) && endpoints_span(c->m.set, old - 1).block != span.block)
			slot = (slot + 1) & r->old_mask;
		if (old && !r->moved[old - 1]) {
			r->moved[old - 1] = r->at + 1;
			r->came[r->at] = old;
		} else {
			r->fresh += span.count;
		}
	}
	if (r->at < spans)
		return 1;
	if (!c->m.count && !c->host_count)
		return 0; /* nobody to be known again */
	r->index_mask = table_size(r->fresh) - 1;
	r->index = acct_alloc(&c->all->account, ((size_t)r->index_mask + 1) * sizeof(*r->index));
	return r->index ? 0 : -ENOMEM;
}

/* Two MB of fresh pages are most of a millisecond: they are cleared piece by piece. */
static int index_step(struct rebuild *r, uint32_t *work)
{
	while (r->index && r->at <= r->index_mask && *work) {
		uint64_t left = (uint64_t)r->index_mask + 1 - r->at, n = left < CLEARED_AT_ONCE ? left : CLEARED_AT_ONCE;

		memset(r->index + r->at, 0, n * sizeof(*r->index));
		r->at += (uint32_t)n;
		--*work;
	}
	return r->index && r->at <= r->index_mask;
}

/* ---- hot records -------------------------------------------------------------------------------------------------------------- */

static uint32_t flags_of(struct cluster *c, uint32_t unheard, const struct endpoint_brief *e)
{
	uint32_t flags = 0;
	struct transport *transport;
	const char *why;

	if (wants_of(c, e->meta, &transport, &why) < 0)
		flags |= HOT_UNUSABLE;
	else if (unheard && !e->by_name && !endpoint_meta_value(e->meta, ENDPOINT_CHECK_OFF))
		flags |= unheard;

	if (e->health == EP_UNHEALTHY || e->by_name) /* a name that nobody resolves is nothing to connect to */
		flags |= HOT_UNHEALTHY;
	if (e->health == EP_DRAINING)
		flags |= HOT_DRAINING;
	if (e->health == EP_DEGRADED)
		flags |= HOT_DEGRADED_SAID;
	return flags_settled(flags);
}

/* What finds no place near its own is not known again: its host ends and another is born. */
static void index_add(struct rebuild *r, uint32_t endpoint, uint32_t hash)
{
	uint32_t at = hash & r->index_mask;

	for (uint32_t n = 0; n < INDEX_PROBES; n++, at = (at + 1) & r->index_mask)
		if (!r->index[at].endpoint) {
			r->index[at] = (struct entry){hash, endpoint + 1};
			return;
		}
}

static struct hot *span_hot(const struct members *m, const struct endpoint_span *span)
{
	return m->hot + m->group_hot[span->group] + (span->first - endpoints_group_at(m->set, span->group).first);
}

static void hot_made(struct members *m, const struct hot *h, struct bucket *b)
{
	members_count(m, b, h->flags, 1);
	m->weight += h->weight;
}

/* What is known of a host comes with it (host_switch); what a check has said of one that is not born, or has not, lies here. */
static void span_copy(struct members *m, struct hot *to, const struct hot *from, uint32_t count, struct bucket *b)
{
	for (uint32_t i = 0; i < count; i++) {
		to[i] = (struct hot){.weight = from[i].weight, .flags = flags_settled(from[i].flags & (HOT_DECLARED | HOT_CHECK | HOT_PENDING))};
		hot_made(m, &to[i], b);
	}
}

static void span_read(struct cluster *c, struct rebuild *r, uint32_t at, struct hot *to, struct bucket *b)
{
	struct endpoint_span span = endpoints_span(r->m.set, at);
	struct endpoint_brief brief[ENDPOINT_BLOCK];

	endpoints_brief(r->m.set, at, brief);
	for (uint32_t i = 0; i < span.count; i++) {
		/* Neighbours mostly say the same. */
		bool as_before = i && brief[i].health == brief[i - 1].health && brief[i].by_name == brief[i - 1].by_name &&
			brief[i].meta == brief[i - 1].meta;

		to[i] = (struct hot){.weight = brief[i].weight, .flags = as_before ? to[i - 1].flags : flags_of(c, r->unheard, &brief[i])};
		hot_made(&r->m, &to[i], b);
		if (r->index && !r->came[at])
			index_add(r, span.first + i, brief[i].addrs_hash);
	}
}

static int fill_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	uint32_t spans = endpoints_spans(r->m.set);

	for (; r->at < spans && *work; r->at++) {
		struct endpoint_span span = endpoints_span(r->m.set, r->at);
		struct hot *to = span_hot(&r->m, &span);
		struct bucket *b = members_bucket(&r->m, (uint32_t)(to - r->m.hot));
		uint32_t cost = span.count;

		if (r->came[r->at] && r->same_spec) {
			struct endpoint_span from = endpoints_span(c->m.set, r->came[r->at] - 1);

			span_copy(&r->m, to, span_hot(&c->m, &from), span.count, b);
			cost = 1 + span.count / COPIED_AT_ONCE;
		} else {
			span_read(c, r, r->at, to, b);
		}
		c->walked += cost > *work ? cost - *work : 0; /* the rest of a block */
		*work -= cost < *work ? cost : *work;
	}
	return r->at < spans;
}

static int policies_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	while (r->at < r->m.bucket_count && *work) {
		struct bucket *b = &r->m.buckets[r->at];
		int err;

		if (!b->policy)
			b->policy = policy_begin(c->spec->lb, c->all->loop, &c->all->account, r->m.hot + b->first, b->count, c->spec);
		if (!b->policy)
			return -ENOMEM;
		err = policy_step(b->policy, work);
		if (err < 0)
			return err;
		r->at += err == 0;
		*work -= *work > 0; /* of a thousand small ones each counts */
	}
	return r->at < r->m.bucket_count;
}

/* ---- hosts find their place ------------------------------------------------------------------------------------------------- */

static uint32_t hot_of(const struct members *m, uint32_t span, uint32_t endpoint)
{
	struct endpoint_span s = endpoints_span(m->set, span);

	return (uint32_t)(span_hot(m, &s) - m->hot) + (endpoint - s.first);
}

static bool addrs_eq(const struct addr *a, const struct addr *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!addr_eq(&a[i], &b[i]))
			return false;
	return true;
}

/* Two processes that followed each other at one address are two endpoints, where the control plane tells them apart. */
static bool one_incarnation(uint32_t a, uint32_t b)
{
	return !a || !b || a == b;
}

/* Of an address that is listed twice only the first free one. */
static uint32_t index_find(const struct rebuild *r, struct host *h)
{
	h->replaced = false;
	if (!r->index)
		return UINT32_MAX;
	for (uint32_t at = h->key & r->index_mask, n = 0; n < INDEX_PROBES && r->index[at].endpoint; n++, at = (at + 1) & r->index_mask) {
		uint32_t endpoint = r->index[at].endpoint - 1, hot;
		struct addr addrs[ENDPOINT_ADDRS];
		struct endpoint e;

		if (r->index[at].hash != h->key)
			continue;
		if (endpoint_addrs(r->m.set, endpoint, addrs, ENDPOINT_ADDRS) != h->addr_count || !addrs_eq(addrs, h->addrs, h->addr_count))
			continue;
		endpoint_get(r->m.set, endpoint, &e);
		hot = hot_of(&r->m, endpoints_span_of(r->m.set, endpoint), endpoint);
		if (r->m.hot[hot].born)
			continue;
		if (one_incarnation(e.incarnation, h->incarnation)) {
			h->replaced = false;
			h->incarnation = e.incarnation ? e.incarnation : h->incarnation;
			return hot;
		}
		h->replaced = true;
	}
	return UINT32_MAX;
}

static uint32_t host_find(struct cluster *c, struct rebuild *r, struct host *h)
{
	if (h->index != UINT32_MAX) {
		uint32_t endpoint = members_endpoint(&c->m, h->index), old = endpoints_span_of(c->m.set, endpoint), now = r->moved[old];

		if (now)
			return hot_of(
				&r->m, now - 1, endpoints_span(r->m.set, now - 1).first + (endpoint - endpoints_span(c->m.set, old).first));
	}
	return index_find(r, h);
}

static void host_place(struct cluster *c, struct rebuild *r, struct host *h)
{
	uint32_t hot = host_find(c, r, h), span;
	struct endpoint_group g;

	h->next = hot;
	if (hot == UINT32_MAX)
		return;
	r->m.hot[hot].born = h->place + 1;
	span = endpoints_span_of(r->m.set, members_endpoint(&r->m, hot));
	g = endpoints_group_at(r->m.set, endpoints_span(r->m.set, span).group);
	h->priority = g.locality.priority;
	if (strcmp(h->zone ? h->zone : "", g.locality.zone) != 0) {
		free((char *)h->zone);
		h->zone = *g.locality.zone ? xstrdup(g.locality.zone) : NULL;
	}
}

/* Backwards: one that ends meanwhile gets the last one in its place, and that has been here already. */
static int hosts_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	if (r->at > c->host_count)
		r->at = c->host_count;
	for (; r->at > 0 && *work; r->at--, --*work)
		host_place(c, r, c->hosts[r->at - 1]);
	return r->at > 0;
}

void rebuild_born(struct cluster *c, struct host *h)
{
	h->next = UINT32_MAX;
	if (c->rebuild && c->rebuild->phase >= AT_HOSTS)
		host_place(c, c->rebuild, h);
}

void rebuild_moved(struct cluster *c, struct host *h)
{
	if (c->rebuild && h->next != UINT32_MAX)
		c->rebuild->m.hot[h->next].born = h->place + 1;
}

void rebuild_gone(struct cluster *c, struct host *h)
{
	if (c->rebuild && h->next != UINT32_MAX)
		c->rebuild->m.hot[h->next].born = 0;
	h->next = UINT32_MAX;
}

/* ---- the switch ------------------------------------------------------------------------------------------------------------- */

static void host_switch(struct cluster *c, struct host *h, const struct members *old)
{
	uint32_t was = h->index, now = h->next;

	h->next = UINT32_MAX;
	h->index = now;
	if (!c->m.checked)
		host_uncheck(h);
	if (now == UINT32_MAX) {
		if (h->replaced && host_is_held(h))
			held_drop(c, TOLD_ENDED, h);
		else if (!h->replaced && was != UINT32_MAX)
			held_take(c, h, old->hot[was].flags, old->hot[was].weight);
		if (!host_is_held(h))
			host_uncheck(h);
		return;
	}
	c->m.hot[now].born = h->place + 1;
	c->m.hot[now].active = h->active;
	if (was == UINT32_MAX ? pool_in_backoff(h->pool) : old->hot[was].flags & HOT_BACKOFF)
		cluster_flag(c, now, HOT_BACKOFF, 0);
	host_settle_check(h, c->m.hot[now].flags);
	held_back(c, h);
}

static void cluster_switch(struct cluster *c)
{
	struct members old = c->m;

	c->repool |= !c->rebuild->same_spec;
	c->m = c->rebuild->m;
	c->rebuild->m = (struct members){0};
	c->m.stale = true;
	rebuild_end(c);
	for (uint32_t i = 0; i < c->host_count; i++)
		host_switch(c, c->hosts[i], &old);
	outlier_switched(c);
	c->settle = c->host_count;
	members_end(c, &old);
	cluster_changed(c);
}

/* Calls that wait for a connection to one that is gone go to the others. */
static void settle_waiting(struct cluster *c, struct host *h)
{
	if (!h->refs || !c->m.count)
		return;
	h->refs++;
	pool_turn_away(h->pool, h, "the endpoint is no longer listed");
	h->refs--;
}

/* Who has no place ends, unless calls or what is known of its life hold it; the others follow a new spec. Backwards, as above. */
static int settle_step(struct cluster *c, uint32_t *work)
{
	if (c->settle > c->host_count)
		c->settle = c->host_count;
	while (c->settle > 0 && *work) {
		struct host *h = c->hosts[--c->settle];

		--*work;
		if ((c->repool || spec_wants_tls(c->spec)) && (h->index != UINT32_MAX || host_is_held(h))) {
			host_refit(h);
			host_sync(h);
			held_changed(h); /* the new pool has no connection: no sign of life */
		}
		if (h->index == UINT32_MAX && !host_is_held(h))
			host_uncheck(h);
		if (h->index == UINT32_MAX && !host_is_held(h))
			settle_waiting(c, h);
		if (h->index == UINT32_MAX && !host_is_held(h) && !h->refs)
			host_end(h);
		if (c->settle > c->host_count)
			c->settle = c->host_count;
	}
	c->repool &= c->settle > 0;
	return c->settle > 0;
}

/* ---- slices ----------------------------------------------------------------------------------------------------------------- */

static int rebuild_step(struct cluster *c, struct rebuild *r, uint32_t *work)
{
	int err = 1;

	while (err >= 0 && *work && r->phase < AT_SWITCH) {
		err = r->phase == AT_LAYOUT       ? layout_step(c, &r->m, &r->layout, work)
			: r->phase == AT_BLOCKS   ? blocks_step(c, r, work)
			: r->phase == AT_SHARED   ? shared_step(c, r, work)
			: r->phase == AT_INDEX    ? index_step(r, work)
			: r->phase == AT_FILL     ? fill_step(c, r, work)
			: r->phase == AT_POLICIES ? policies_step(c, r, work)
						  : hosts_step(c, r, work);
		if (err == 0) {
			r->phase++;
			r->at = r->phase == AT_HOSTS ? c->host_count : 0;
		}
	}
	return err < 0 ? err : r->phase < AT_SWITCH;
}

static void rebuild_refused(struct cluster *c)
{
	c->updates_refused++;
	cluster_changed(c);
	for (uint32_t i = 0; i < c->host_count; i++)
		c->hosts[i]->next = UINT32_MAX;
	rebuild_end(c);
}

static struct endpoint_metas *metas_for(struct cluster *c)
{
	struct clusters *all = c->all;

	if (spec_wants_tls(c->spec) && !all->metas)
		all->metas = endpoint_metas_new(&all->account, loop_random(all->loop));
	return spec_wants_tls(c->spec) ? all->metas : NULL;
}

static int rebuild_begin(struct cluster *c, struct endpoint_set *set)
{
	struct rebuild *r = c->rebuild = xnew(struct rebuild);
	int err = 0;

	r->m.declared = endpoints_count(set);
	r->m.spec_hash = c->spec->hash;
	r->m.checked = cluster_wants_checks(c);
	/* Who serves already shall not stop because somebody begins to ask how it is. */
	r->unheard = !r->m.checked ? 0 : c->m.count && !c->m.checked ? HOT_CHECKED : HOT_CHECKED | HOT_CHECK | HOT_PENDING;
	if (c->names)
		err = names_expand(c->names, set, c->spec->one_address, &c->all->account, metas_for(c), &r->m.set);
	else
		r->m.set = endpoints_ref(set);
	if (err < 0)
		return err;
	r->m.count = endpoints_count(r->m.set);
	r->same_spec = c->m.count && c->m.spec_hash == c->spec->hash && c->spec->hash && c->m.checked == r->m.checked;
	if (!r->m.count)
		r->phase = AT_BLOCKS; /* no layout of nothing */
	return 0;
}

static void cluster_work(struct task *t);

void cluster_work_soon(struct cluster *c)
{
	loop_defer(c->all->loop, &c->work, cluster_work);
}

/* Of a name that is one address, a new answer is for new connections: it waits until the old one has none (LOGICAL_DNS). */
bool cluster_keeps_address(const struct cluster *c)
{
	for (uint32_t i = 0; c->spec->one_address && i < c->host_count; i++)
		if (c->hosts[i]->index != UINT32_MAX && host_lives(c->hosts[i]))
			return true;
	return false;
}

static void cluster_start(struct cluster *c, struct endpoint_set *set)
{
	uint32_t all = UINT32_MAX;

	if (rebuild_begin(c, set) < 0) {
		rebuild_refused(c);
		return;
	}
	if (c->rebuild->m.count > REBUILD_AT_ONCE) {
		cluster_work_soon(c);
		return;
	}
	if (rebuild_step(c, c->rebuild, &all) < 0) {
		rebuild_refused(c);
		return;
	}
	cluster_switch(c);
	all = UINT32_MAX;
	settle_step(c, &all);
	cluster_switched(c);
}

static void cluster_work(struct task *t)
{
	struct cluster *c = container_of(t, struct cluster, work);
	uint32_t work = REBUILD_SLICE;
	int more;

	if (c->names_stale && !c->withdrawn && !cluster_keeps_address(c))
		cluster_rebuild(c, c->decl->endpoints);
	c->walked = 0;
	more = c->rebuild ? rebuild_step(c, c->rebuild, &work) : 0;
	c->walked += REBUILD_SLICE - work;
	if (more < 0) {
		rebuild_refused(c);
	} else if (c->rebuild && !more) {
		cluster_switch(c);
		cluster_switched(c);
		cluster_wake(c);
	} else if (!c->rebuild && c->settle) {
		settle_step(c, &work); /* may end the last host of a cluster that is withdrawn */
		c->walked = REBUILD_SLICE - work;
	}
	if (!c->rebuild && c->next) {
		struct endpoint_set *next = c->next;

		c->next = NULL;
		cluster_start(c, next);
		endpoints_unref(&next);
	}
	if (c->rebuild || c->settle)
		cluster_work_soon(c);
	cluster_maybe_end(c);
}

/* Withdrawn: nothing is held, hosts without calls end now. */
static void cluster_empty(struct cluster *c)
{
	struct members old = c->m;

	held_end_all(c);
	c->m = (struct members){0};
	for (uint32_t i = 0; i < c->host_count; i++) {
		c->hosts[i]->index = UINT32_MAX;
		host_uncheck(c->hosts[i]);
	}
	outlier_switched(c);
	members_end(c, &old);
	cluster_changed(c);
	for (uint32_t i = c->host_count; i-- > 0;)
		if (i < c->host_count && !c->hosts[i]->refs)
			host_end(c->hosts[i]);
}

void cluster_rebuild(struct cluster *c, struct endpoint_set *set)
{
	c->names_stale = false;
	cluster_changed(c);
	if (!set) {
		cluster_rebuild_stop(c);
		cluster_empty(c);
		if (!c->withdrawn)
			cluster_switched(c);
		return;
	}
	if (empty_keeps(c, set))
		return; /* what is being taken over is the last one, then */
	if (c->rebuild && c->rebuild->m.count > REBUILD_AT_ONCE && endpoints_count(set) > REBUILD_AT_ONCE) {
		struct endpoint_set *old = c->next;

		c->next = endpoints_ref(set);
		endpoints_unref(&old);
		return;
	}
	cluster_rebuild_stop(c);
	cluster_start(c, set);
}
