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
	return h->cluster->m.count > HOSTS_KEPT && !h->connections && !h->checks && !pool_in_backoff(h->pool) && !outlier_keeps(h);
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
	h->pool = pool_get(c->all->pools, h->addrs, h->addr_count, c->spec);
	pool_watch(h->pool, &h->watch, pool_changed);
	rebuild_born(c, h);
	host_sync(h); /* another cluster may use the pool already */
	if (c->m.checked)
		host_settle_check(h, c->m.hot[index].flags);
	return h;
}

void host_repool(struct host *h)
{
	struct pool *p = pool_get(h->cluster->all->pools, h->addrs, h->addr_count, h->cluster->spec);

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
