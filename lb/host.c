/* lb/host: an endpoint's membership in one cluster, from its first pick until it is removed and its last call is over.
 *
 *   (hot record only) --picked--> in the set --removed--> serves its calls (index UINT32_MAX) --last call--> gone
 *
 * In a set of more than HOSTS_KEPT endpoints one that has neither calls nor connections goes back to being a hot record, unless it is checked or judged. */
#include "lb/cluster_int.h"
#include "base/err.h"
#include <stdlib.h>

static void host_bury(struct grave *g)
{
	struct host *h = container_of(g, struct host, grave);

	free((char *)h->zone);
	endpoint_meta_unref(h->meta);
	free(h->addrs);
	free(h);
}

/* Idle, and of no more use than its hot record. */
static bool host_is_spare(const struct host *h)
{
	if (h->refs || host_is_held(h))
		return false;
	if (h->index == UINT32_MAX)
		return true;
	return h->cluster->m.count > HOSTS_KEPT && !h->connections && !h->checks && (!pool_in_backoff(h->pool) || pool_unusable(h->pool)) && !outlier_keeps(h);
}

bool host_lives(const struct host *h)
{
	return h->connections && strcmp(pool_state(h->pool), "up") == 0;
}

void host_sync(struct host *h)
{
	struct cluster *c = h->cluster;
	uint32_t connections = pool_connections(h->pool);

	c->connections += connections - h->connections;
	h->connections = connections;
	if (h->index == UINT32_MAX) {
		cluster_changed(c); /* it may be held */
		return;
	}
	if (pool_in_backoff(h->pool))
		cluster_flag(c, h->index, HOT_BACKOFF, 0);
	else
		cluster_flag(c, h->index, 0, HOT_BACKOFF);
}

static void pool_changed(struct pool_watch *w)
{
	struct host *h = container_of(w, struct host, watch);

	host_sync(h);
	held_changed(h);
	if (h->cluster->names_stale && !host_lives(h))
		cluster_work_soon(h->cluster);
	if (host_is_spare(h))
		host_end(h);
}

const char *host_whose(const struct pool_watch *w)
{
	return container_of(w, const struct host, watch)->cluster->spec->name;
}

const char *host_name(const struct host *h)
{
	return endpoint_meta_value(h->meta, ENDPOINT_HOSTNAME);
}

/* By the spec of now and its own metadata; where the TLS that it wants cannot be had, one to which nothing can be sent. */
static struct pool *host_pool(const struct host *h)
{
	struct cluster *c = h->cluster;
	struct transport *transport;
	const char *why;

	if (wants_of(c, h->meta, &transport, &why) < 0)
		return pool_none(c->all->pools, why);
	return pool_get(c->all->pools, h->addrs, h->addr_count, c->spec, transport, host_name(h));
}

struct host *host_born(struct cluster *c, uint32_t index)
{
	struct host *h = xnew(struct host);
	uint32_t endpoint = members_endpoint(&c->m, index);
	struct endpoint e;

	endpoint_get(c->m.set, endpoint, &e);
	h->cluster = c;
	h->index = index;
	h->addr_count = e.naddrs;
	h->addrs = xalloc(e.naddrs * sizeof(*h->addrs));
	endpoint_addrs(c->m.set, endpoint, h->addrs, e.naddrs);
	h->incarnation = e.incarnation;
	h->meta = endpoint_meta_ref((struct endpoint_meta *)e.meta);
	h->priority = e.priority;
	h->key = endpoint_addrs_hash(h->addrs, h->addr_count);
	h->zone = e.zone ? xstrdup(e.zone) : NULL;
	addr_text(&h->addrs[0], h->text);
	if (c->host_count == c->host_cap) {
		c->host_cap = c->host_cap ? c->host_cap * 2 : 4;
		c->hosts = xrealloc(c->hosts, c->host_cap * sizeof(*c->hosts));
	}
	h->place = c->host_count;
	c->hosts[c->host_count++] = h;
	c->m.hot[index].born = h->place + 1;
	h->pool = host_pool(h);
	pool_watch(h->pool, &h->watch, pool_changed);
	rebuild_born(c, h);
	host_sync(h); /* another cluster may use the pool already */
	if (c->m.checked)
		host_settle_check(h, c->m.hot[index].flags);
	return h;
}

/* Metadata is interned: equal is the same pointer. */
static bool host_remeta(struct host *h)
{
	struct endpoint_meta *was = h->meta;
	struct endpoint e;

	if (!host_endpoint(h, &e) || e.meta == was)
		return false;
	h->meta = endpoint_meta_ref((struct endpoint_meta *)e.meta);
	endpoint_meta_unref(was);
	return true;
}

void host_refit(struct host *h)
{
	bool changed = host_remeta(h);
	struct pool *p;

	if (!changed && !h->cluster->repool)
		return;
	p = host_pool(h);
	if (p == h->pool) {
		pool_unref(&p);
		return;
	}
	pool_unwatch(&h->watch);
	pool_unref(&h->pool);
	h->pool = p;
	pool_watch(p, &h->watch, pool_changed);
	pool_says_dead(&h->watch, h->check == HOST_FAILED);
	host_sync(h);
}

void host_end(struct host *h)
{
	struct cluster *c = h->cluster;
	struct host *last = c->hosts[--c->host_count];

	if (host_is_held(h))
		held_drop(c, TOLD_ENDED, h);
	host_uncheck(h);
	rebuild_gone(c, h);
	if (h->index != UINT32_MAX) {
		c->m.hot[h->index].born = 0;
		cluster_flag(c, h->index, 0, HOT_OF_OUTLIER);
	}
	outlier_host_free(&h->outlier);
	mem_give(&c->all->account, h->charged);
	/* The last of the table takes its place. */
	c->hosts[h->place] = last;
	last->place = h->place;
	if (last != h && last->index != UINT32_MAX)
		c->m.hot[last->index].born = last->place + 1;
	if (last != h)
		rebuild_moved(c, last);
	h->index = UINT32_MAX;
	c->connections -= h->connections;
	pool_unwatch(&h->watch);
	pool_unref(&h->pool);
	loop_bury(c->all->loop, &h->grave, host_bury);
	cluster_maybe_end(c);
}

struct stream *host_open(
	struct host *h, struct pool_wait *w, const struct stream_events *ev, void *user, int *ret_err, const char **ret_why)
{
	struct cluster *c = h->cluster;
	struct stream *s;

	/* The set or the spec has changed in this moment and its turn to be settled has not come: nothing goes by what was said before. */
	if (__builtin_expect(h->place < c->settle, 0) && (c->repool || spec_wants_tls(c->spec)))
		host_refit(h);
	w->from = h;
	w->counter = &c->pending;
	w->counter_max = c->spec->max_pending;
	w->no_connect = c->connections >= c->spec->max_connections;
	s = pool_open(h->pool, w, ev, user, ret_err, ret_why);
	if (!s && *ret_err == ERR_LIMIT) {
		if (c->pending >= w->counter_max)
			c->pending_full++;
		else
			c->connections_full++;
	}
	return s;
}

void host_done(struct host **ph, enum host_result r)
{
	struct host *h = *ph;
	struct cluster *c;

	*ph = NULL;
	if (!h)
		return;
	c = h->cluster;
	h->active--;
	c->active--;
	if (h->index != UINT32_MAX)
		c->m.hot[h->index].active--;
	if (r == HOST_ERROR || r == HOST_CONNECT) {
		h->errors++;
		c->errors++;
	}
	h->refs--;
	if (host_is_spare(h))
		host_end(h);
}
