/* lb/checked: where active checks and those who watch a cluster's truth meet it: what health/checker is told (switched, first call, who is gone), what it says of
 * a host, and who waits for it.
 *
 *   host_set_check --> host.check --> flags of the hot record --> counts (cluster_flag) --> calls that waited for a first check, watchers, a held host's end, its pool
 *
 * What is known lies with the host, and in the flags of its hot record as long as it is not born. Clusters without checks and without watchers pay nothing:
 * none of this is on the way of a call. Owner of what host.checks and cluster.checks point to: health/checker. */
#include "conf/health.h"
#include "lb/cluster_int.h"
#include <errno.h>

/* ---- hosts ------------------------------------------------------------------------------------------------------------------ */

void host_flag(struct host *h)
{
	static const uint32_t says[] = {[HOST_PENDING] = HOT_CHECK | HOT_PENDING, [HOST_FAILED] = HOT_CHECK};
	uint32_t set;

	if (h->index == UINT32_MAX)
		return;
	set = h->check == HOST_PENDING || h->check == HOST_FAILED ? says[h->check] : h->check == HOST_PASSED && h->check_degraded ? HOT_DEGRADED_CHECK : 0;
	if (h->check == HOST_FAILED && h->excluded)
		set |= HOT_EXCLUDED;
	cluster_flag(h->cluster, h->index, set, HOT_OF_CHECK & ~set);
}

void host_uncheck(struct host *h)
{
	const struct clusters *all = h->cluster->all;

	if (h->checks && all->events)
		all->events->host_gone(all->events_ctx, h);
	h->checks = NULL;
	h->check = HOST_UNCHECKED;
	h->check_degraded = h->excluded = false;
	pool_says_dead(&h->watch, false);
}

void host_settle_check(struct host *h, uint32_t flags)
{
	if (!(flags & HOT_CHECKED))
		host_uncheck(h);
	else if (h->check == HOST_UNCHECKED)
		h->check = !(flags & HOT_CHECK) ? HOST_PASSED : flags & HOT_PENDING ? HOST_PENDING : HOST_FAILED;
	host_flag(h);
}

/* Is there still a first check to wait for? The flags say so by now. */
static bool cluster_awaits(const struct cluster *c)
{
	uint64_t standing = 0, pending = 0;

	for (uint32_t i = 0; i < c->m.bucket_count; i++) {
		standing += c->m.buckets[i].standing;
		pending += c->m.buckets[i].pending;
	}
	return !standing && pending;
}

static void cluster_heard(struct cluster *c)
{
	if (!list_empty(&c->waits) && !cluster_awaits(c))
		cluster_wake(c);
}

void host_set_check(struct host *h, enum host_check check, bool degraded)
{
	struct cluster *c = h->cluster;

	if (!c->m.checked || (h->index != UINT32_MAX ? !(c->m.hot[h->index].flags & HOT_CHECKED) : !host_is_held(h)))
		return;
	h->check = check;
	h->check_degraded = degraded;
	h->excluded &= check == HOST_FAILED;
	host_flag(h);
	outlier_checked(h, check == HOST_PASSED);
	h->refs++; /* its end is not to come while its checker stands in here */
	held_changed(h);
	pool_says_dead(&h->watch, check == HOST_FAILED);
	h->refs--;
	cluster_heard(c);
}

void host_fail_now(struct host *h)
{
	const struct clusters *all = h->cluster->all;

	if (!h->checks || !all->events)
		return;
	h->excluded = true; /* means something once it has failed */
	all->events->failed_now(all->events_ctx, h);
}

/* Calls offer HTTP/2; a check that asks by HTTP/1.1 and offered that too would get what it does not speak. A mesh knows its own by their names. */
static const char *alpn_of_http1(const char *calls)
{
	if (!calls)
		return NULL;
	return strstr(calls, "istio") ? "istio-http/1.1,istio,http/1.1" : "http/1.1";
}

int host_check_transport(struct host *h, const struct health_check *check, struct transport **ret, const char **why)
{
	struct cluster *c = h->cluster;
	const char *row = NULL;
	const char *alpn = check->alpn;
	struct tls_want *want;

	*ret = pool_transport(h->pool);
	*why = pool_unusable(h->pool);
	if (*why && !check->ncriteria)
		return -ENOKEY;
	if (*ret && !alpn && check->kind == CHECK_HTTP && !check->http2)
		alpn = alpn_of_http1(transport_want(*ret)->alpn);
	if (!check->ncriteria && (!alpn || !*ret))
		return 0;
	want = check->ncriteria ? endpoint_want_by(c->spec, check->criteria, check->ncriteria, &row) : endpoint_want(c->spec, h->meta, &row);
	*ret = NULL;
	if (!want)
		return 0;
	*ret = wants_transport(c, want, alpn, row, why);
	return *ret ? 0 : -ENOKEY;
}

bool host_endpoint(const struct host *h, struct endpoint *ret)
{
	const struct members *m = &h->cluster->m;

	if (h->index == UINT32_MAX)
		return false;
	endpoint_get(m->set, members_endpoint(m, h->index), ret);
	return true;
}

/* ---- clusters --------------------------------------------------------------------------------------------------------------- */

uint32_t cluster_endpoints(const struct cluster *c)
{
	return c->m.count;
}

/* As many hosts as the control plane lists: so they are charged, unlike those that calls bring about. */
static struct host *host_born_charged(struct cluster *c, uint32_t i, uint32_t naddrs)
{
	size_t size = sizeof(struct host) + naddrs * (2 * sizeof(struct addr) + 32) + 512; /* with the pool and its key, about */
	struct host *h;

	if (!mem_try(&c->all->account, size)) {
		stat_inc(&c->all->loop->stats, STAT_CHECK_UNAFFORDABLE);
		return NULL;
	}
	h = host_born(c, i);
	h->charged = size;
	return h;
}

struct host *cluster_host_at(struct cluster *c, uint32_t i)
{
	const struct hot *hot = &c->m.hot[i];
	struct endpoint e;
	struct host *h;

	if (hot->born)
		return c->hosts[hot->born - 1];
	endpoint_get(c->m.set, members_endpoint(&c->m, i), &e);
	h = e.naddrs && !(hot->flags & HOT_UNUSABLE) ? host_born_charged(c, i, e.naddrs) : NULL;
	if (!h && hot->flags & HOT_CHECK) {
		cluster_flag(c, i, 0, HOT_OF_CHECK); /* nobody will ever ask it */
		cluster_heard(c);
	}
	return h;
}

void *cluster_checks(const struct cluster *c)
{
	return c->checks;
}

void cluster_set_checks(struct cluster *c, void *checks)
{
	c->checks = checks;
}

bool cluster_has_traffic(const struct cluster *c)
{
	return c->calls > 0;
}

void cluster_switched(struct cluster *c)
{
	if (c->all->events)
		c->all->events->switched(c->all->events_ctx, c);
}

void cluster_first_call(struct cluster *c)
{
	if (c->m.checked && c->all->events)
		c->all->events->traffic(c->all->events_ctx, c);
}

/* Nobody checks any more, and nobody is told of it: who did is going. */
static void cluster_unchecked(struct cluster *c)
{
	for (uint32_t i = 0; i < c->host_count; i++) {
		c->hosts[i]->checks = NULL;
		host_uncheck(c->hosts[i]);
		held_changed(c->hosts[i]);
	}
	for (uint32_t i = 0; i < c->m.count && c->m.checked; i++)
		cluster_flag(c, i, 0, HOT_OF_CHECK | HOT_CHECKED);
	c->m.checked = false;
	c->checks = NULL;
	cluster_heard(c);
}

void clusters_set_events(struct clusters *all, const struct clusters_events *ev, void *ctx)
{
	all->events = NULL;
	list_each(n, tmp, &all->clusters) cluster_unchecked(list_entry(n, struct cluster, node));
	all->events = ev;
	all->events_ctx = ctx;
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);

		if (c->withdrawn || !c->spec->nchecks)
			continue;
		/* What is being taken over was made as if things were as before; and what serves is to be checked, or is not any more. */
		if (!ev && !c->rebuild)
			continue;
		cluster_rebuild_stop(c);
		cluster_rebuild(c, c->decl->endpoints);
		cluster_wake(c);
	}
}

/* ---- truth ------------------------------------------------------------------------------------------------------------------ */

enum cluster_truth cluster_truth(struct cluster *c)
{
	uint64_t able = 0, pending = 0;

	if (c->withdrawn)
		return TRUTH_NOT_SERVING;
	if (c->names)
		names_use(c->names); /* who asks first makes DNS be asked, as a call would */
	for (uint32_t i = 0; i < c->m.bucket_count; i++) {
		able += c->m.buckets[i].healthy + c->m.buckets[i].degraded;
		pending += c->m.buckets[i].pending;
	}
	if (able || held_serves(c))
		return TRUTH_SERVING;
	if (pending)
		return TRUTH_UNKNOWN;
	if (!c->m.count && (cluster_is_building(c) || !c->decl->endpoints || (c->names && names_waiting(c->names))))
		return TRUTH_UNKNOWN;
	return TRUTH_NOT_SERVING;
}

static void truth_task(struct task *t)
{
	struct cluster *c = container_of(t, struct cluster, tell);
	enum cluster_truth truth = cluster_truth(c);
	struct list told;

	if (!c->watch_count || (truth == c->told && !c->tell_anyway))
		return;
	c->told = truth;
	c->tell_anyway = false;
	/* One that is told may unhook itself or another: the list is walked by moving those that were told to its other end. */
	list_init(&told);
	cluster_hold(c);
	while (!list_empty(&c->watches)) {
		struct list *n = list_pop(&c->watches);
		struct cluster_watch *w = list_entry(n, struct cluster_watch, node);

		list_push(&told, n);
		w->changed(w);
	}
	list_splice(&c->watches, &told);
	cluster_release(&c);
}

void cluster_tell_soon(struct cluster *c)
{
	loop_defer(c->all->loop, &c->tell, truth_task);
}

/* Who watches knows what cluster_truth says at that moment. */
void cluster_watch(struct cluster *c, struct cluster_watch *w, void (*changed)(struct cluster_watch *))
{
	enum cluster_truth truth = cluster_truth(c);

	if (!c->watch_count++)
		c->told = truth;
	else
		c->tell_anyway |= truth != c->told; /* it may have changed back by the time when the others are told */
	w->changed = changed;
	w->cluster = c;
	list_push(&c->watches, &w->node);
	if (c->names)
		names_keep(c->names, true);
}

void cluster_unwatch(struct cluster_watch *w)
{
	struct cluster *c = w->cluster;

	list_del(&w->node);
	if (!c)
		return;
	w->cluster = NULL;
	if (!--c->watch_count && c->names)
		names_keep(c->names, false);
}

void cluster_end_watches(struct cluster *c)
{
	loop_undefer(&c->tell);
	c->watch_count = 0;
	for (struct list *n; (n = list_pop(&c->watches));)
		list_entry(n, struct cluster_watch, node)->cluster = NULL;
}
