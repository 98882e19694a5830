/* lb/held: endpoints that vanished without an order and live all the same.
 *
 * A control plane that restarts, lies or pushes half of what it knows takes endpoints away that are well. So one that vanishes while a connection to it
 * stands is held: it is picked on, with its weight and priority, until the evidence of its life ends (its last connection goes, or says GOAWAY), until it
 * is listed again, or until spec.removal_hold_ns is over. Where it is checked, the check is the evidence: one that passed is held, be it without a connection,
 * until it fails. An order is obeyed at once: DRAINING, UNHEALTHY, a cluster that is withdrawn, an endpoint that was listed as one of these before, another
 * process at the address (incarnation), spec.ignore_health_on_removal. And what outlier detection has ejected is not worth holding.
 *
 * An assignment that becomes empty as a whole keeps the last one for the same time: then nothing of it is probably true.
 *
 * A held host is not in the hot records (its index is UINT32_MAX): the policies know nothing of it. It gets its share by weight before they are asked.
 * Owner of a held host: the table of hosts, as of any other. Decisions are counted here and told to who set clusters_set_tell. */
#include "lb/cluster_int.h"

static void tell(struct cluster *c, enum cluster_told what, const char *host)
{
	static const enum stat_id stats[] = {[TOLD_HELD] = STAT_REMOVAL_HELD,
		[TOLD_RELEASED] = STAT_REMOVAL_RELEASED,
		[TOLD_EXPIRED] = STAT_REMOVAL_EXPIRED,
		[TOLD_ENDED] = STAT_REMOVAL_ENDED,
		[TOLD_EMPTY_KEPT] = STAT_REMOVAL_EMPTY_KEPT,
		[TOLD_EMPTY_OVER] = STAT_REMOVAL_EXPIRED};

	stat_inc(&c->all->loop->stats, stats[what]);
	if (c->all->tell)
		c->all->tell(c->all->tell_ctx, what, c, host);
}

void clusters_set_tell(struct clusters *all, clusters_tell_fn *fn, void *ctx)
{
	all->tell = fn;
	all->tell_ctx = ctx;
}

/* ---- single endpoints ------------------------------------------------------------------------------------------------------- */

static void held_over(struct timer *t);

/* The timer stands only while somebody is held. */
static void held_arm(struct cluster *c)
{
	uint64_t first = UINT64_MAX;

	for (struct list *n = c->held.next; n != &c->held; n = n->next) {
		const struct host *h = list_entry(n, struct host, held);

		first = h->held_until_ns < first ? h->held_until_ns : first;
	}
	if (first == UINT64_MAX)
		timer_cancel(c->all->loop, &c->held_timer);
	else
		timer_set(c->all->loop, &c->held_timer, first, held_over);
}

static void held_out(struct cluster *c, struct host *h)
{
	cluster_changed(c);
	list_del(&h->held);
	h->held_until_ns = 0;
	c->held_count--;
	c->held_weight -= h->weight;
	if (!c->held_count)
		timer_cancel(c->all->loop, &c->held_timer);
}

void held_drop(struct cluster *c, enum cluster_told why, struct host *h)
{
	held_out(c, h);
	tell(c, why, h->text);
	if (h->index == UINT32_MAX) { /* it is checked no more, and goes with its last call: not at once, who called may stand in it */
		c->settle = c->host_count;
		cluster_work_soon(c);
	}
}

static void held_over(struct timer *t)
{
	struct cluster *c = container_of(t, struct cluster, held_timer);

	list_each(n, tmp, &c->held)
	{
		struct host *h = list_entry(n, struct host, held);

		if (h->held_until_ns > c->all->loop->now_ns)
			continue;
		held_drop(c, TOLD_EXPIRED, h);
		if (!h->refs)
			host_end(h);
	}
	held_arm(c);
}

/* What is known of it, now that the control plane does not speak for it any more. */
static bool is_well(const struct host *h)
{
	return h->check == HOST_PASSED || (h->check != HOST_FAILED && host_lives(h));
}

void held_thaw(struct cluster *c)
{
	for (struct list *n = c->held.next; n != &c->held; n = n->next)
		list_entry(n, struct host, held)->held_until_ns += c->all->loop->stood_ns; /* as the timer was moved */
}

bool held_take(struct cluster *c, struct host *h, uint32_t flags, uint32_t weight)
{
	uint64_t until = c->all->loop->now_ns + c->spec->removal_hold_ns;

	if (!c->spec->removal_hold_ns || c->spec->ignore_health_on_removal || c->expiring)
		return false;
	if (flags & (HOT_ORDERED | HOT_UNUSABLE | HOT_EJECTED) || !is_well(h))
		return false;
	h->weight = weight;
	h->held_until_ns = until;
	list_push(&c->held, &h->held);
	c->held_count++;
	c->held_weight += weight;
	if (!timer_armed(&c->held_timer) || until < c->held_timer.at_ns)
		timer_set(c->all->loop, &c->held_timer, until, held_over);
	tell(c, TOLD_HELD, h->text);
	return true;
}

void held_back(struct cluster *c, struct host *h)
{
	if (host_is_held(h))
		held_drop(c, c->m.hot[h->index].flags & (HOT_ORDERED | HOT_UNUSABLE) ? TOLD_ENDED : TOLD_RELEASED, h);
}

void held_changed(struct host *h)
{
	if (host_is_held(h) && !is_well(h))
		held_drop(h->cluster, TOLD_ENDED, h);
}

/* The set is deleted: that is an order. */
void held_end_all(struct cluster *c)
{
	list_each(n, tmp, &c->held) held_drop(c, TOLD_ENDED, list_entry(n, struct host, held));
	timer_cancel(c->all->loop, &c->empty);
}

static bool was_tried(const struct tried *tried, const struct host *h)
{
	for (uint32_t i = 0; tried && i < tried->count && i < TRIED_MAX; i++)
		if (tried->host[i] == h)
			return true;
	return false;
}

bool held_serves(const struct cluster *c)
{
	for (struct list *n = c->held.next; n != &c->held; n = n->next)
		if (!pool_in_backoff(list_entry(n, struct host, held)->pool))
			return true;
	return false;
}

/* Their share of the calls is that of their weight; among themselves they take turns. One that is in back-off (a check passed, a connect failed since) is for
 * when there is nobody else. */
struct host *held_pick(struct cluster *c, const struct tried *tried, uint64_t weight_of_others, uint32_t priority)
{
	if (weight_of_others && loop_random_below(c->all->loop, weight_of_others + c->held_weight) >= c->held_weight)
		return NULL;
	for (uint32_t i = 0; i < c->held_count && i < TRIED_MAX + 1; i++) {
		struct host *h = list_entry(list_pop(&c->held), struct host, held);

		list_push(&c->held, &h->held);
		if (h->priority <= priority && !was_tried(tried, h) && !(weight_of_others && pool_in_backoff(h->pool)))
			return h;
	}
	return NULL;
}

/* ---- whole assignments ------------------------------------------------------------------------------------------------------ */

static void empty_over(struct timer *t)
{
	struct cluster *c = container_of(t, struct cluster, empty);

	tell(c, TOLD_EMPTY_OVER, "");
	c->expiring = true;
	cluster_rebuild(c, c->decl->endpoints);
	c->expiring = false;
	cluster_wake(c);
}

bool empty_keeps(struct cluster *c, const struct endpoint_set *set)
{
	uint32_t standing = 0;

	if (endpoints_count(set)) {
		c->m.stale |= timer_armed(&c->empty);
		timer_cancel(c->all->loop, &c->empty);
		return false;
	}
	if (timer_armed(&c->empty))
		return true;
	for (uint32_t i = 0; i < c->m.bucket_count; i++)
		standing += c->m.buckets[i].standing;
	if (!standing || !c->spec->removal_hold_ns || c->expiring)
		return false;
	timer_in(c->all->loop, &c->empty, c->spec->removal_hold_ns, empty_over);
	c->m.stale = true; /* no panic: of a set that nobody vouches for only those that stood are used */
	tell(c, TOLD_EMPTY_KEPT, "");
	return true;
}
