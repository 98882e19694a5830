/* lb/cluster: clusters come with their first call, follow what is declared, and pick. See the header for the objects.
 *
 *   mesh_cluster published --> declared_changed --> names (DNS) --> cluster_rebuild (lb/members) --> hot records, policy
 *   call --> cluster_pick --> host (born) --> host_open (lb/host) --> pool (lb/pool) --> stream
 *
 * A cluster that is withdrawn keeps its place at the mesh (decl->live) while calls hold hosts of it: declared again meanwhile, it goes on
 * with the hosts it has. */
#include "lb/cluster_int.h"
#include <stdlib.h>

/* Of the retry bucket, in thousandths of a retry. */
enum { RETRY_CALL = 200, RETRY_ONE = 1000, RETRY_FLOOR = 100000, RETRY_CEILING = 1000000 };
#define RETRY_MILLI_NS UINT64_C(100000) /* 10 a second */

/* ---- waiting for DNS ------------------------------------------------------------------------------------------------------ */

static void cluster_woken(struct task *t)
{
	struct cluster *c = container_of(t, struct cluster, wake);
	struct list now;

	/* Who waits again from its fn waits for the next answer. */
	list_init(&now);
	list_splice(&now, &c->waits);
	for (struct list *n; (n = list_pop(&now));) {
		struct cluster_wait *w = list_entry(n, struct cluster_wait, node);

		w->fn(w);
	}
	cluster_maybe_end(c);
}

static void cluster_wake(struct cluster *c)
{
	if (!list_empty(&c->waits))
		loop_defer(c->all->loop, &c->wake, cluster_woken);
}

static void names_changed(void *ctx)
{
	struct cluster *c = ctx;

	cluster_rebuild(c, c->decl->endpoints); /* the set that the names are of: an earlier update may have been refused */
}

static void names_settled(void *ctx)
{
	struct cluster *c = ctx;

	if (c->m.count || !names_waiting(c->names))
		cluster_wake(c);
}

void cluster_wait(struct cluster *c, struct cluster_wait *w, void (*fn)(struct cluster_wait *))
{
	w->fn = fn;
	list_push(&c->waits, &w->node);
}

void cluster_unwait(struct cluster_wait *w)
{
	list_del(&w->node);
}

void cluster_hold(struct cluster *c)
{
	c->holds++;
}

void cluster_release(struct cluster **cluster)
{
	struct cluster *c = *cluster;

	if (!c)
		return;
	*cluster = NULL;
	c->holds--;
	cluster_maybe_end(c);
}

/* ---- following what is declared ------------------------------------------------------------------------------------------- */

static void cluster_bury(struct grave *g)
{
	struct cluster *c = container_of(g, struct cluster, grave);

	free(c->hosts);
	spec_unref(&c->spec);
	free(c);
}

static void cluster_end(struct cluster *c)
{
	c->decl->live = NULL;
	c->decl->changed = NULL;
	c->decl = NULL;
	list_del(&c->node);
	loop_undefer(&c->wake);
	names_free(&c->names);
	members_end(c, &c->m);
	loop_bury(c->all->loop, &c->grave, cluster_bury);
}

void cluster_maybe_end(struct cluster *c)
{
	if (c->withdrawn && c->decl && !c->host_count && !c->holds && list_empty(&c->waits) && !c->wake.queued)
		cluster_end(c);
}

/* The spec first: hosts get their pools by it, the policy its parameters. */
static void cluster_take(struct cluster *c)
{
	struct mesh_cluster *m = c->decl;
	struct endpoint_set *set = m->endpoints;
	struct cluster_spec *old = c->spec;

	c->withdrawn = false;
	c->spec = spec_ref(m->spec);
	spec_unref(&old);
	if (set && endpoints_has_names(set))
		c->names = names_new(c->all->loop, c->all->dns, set, &c->names, names_changed, names_settled, c);
	else
		names_free(&c->names);
	cluster_rebuild(c, set);
	cluster_wake(c);
}

static void declared_changed(struct mesh_cluster *m)
{
	struct cluster *c = m->live;

	if (!c)
		return;
	if (m->spec) {
		cluster_take(c);
		return;
	}
	c->withdrawn = true;
	names_free(&c->names);
	cluster_wake(c);
	cluster_rebuild(c, NULL); /* ends hosts, and with the last one maybe the cluster */
	cluster_maybe_end(c);
}

struct cluster *cluster_live(struct clusters *all, struct mesh_cluster *m)
{
	struct cluster *c = m->live;

	if (!m->spec)
		return NULL;
	if (c)
		return c;
	c = xnew(struct cluster);
	c->all = all;
	c->decl = m;
	list_init(&c->waits);
	list_push(&all->clusters, &c->node);
	c->retry_milli = RETRY_FLOOR;
	c->retry_at_ns = all->loop->now_ns;
	m->live = c;
	m->changed = declared_changed;
	cluster_take(c);
	return c;
}

const char *cluster_name(const struct cluster *c)
{
	return c->spec->name;
}

const struct cluster_spec *cluster_spec(const struct cluster *c)
{
	return c->spec;
}

struct clusters *clusters_new(struct loop *l, const struct limits *lim, struct mesh *mesh, struct dns *dns)
{
	struct clusters *all = xnew(struct clusters);

	all->loop = l;
	all->mesh = mesh;
	all->dns = dns;
	all->pools = pools_new(l, lim);
	account_init(&all->account, &l->memory, "clusters", SIZE_MAX);
	list_init(&all->clusters);
	return all;
}

void clusters_free(struct clusters **pall)
{
	struct clusters *all = *pall;

	*pall = NULL;
	if (!all)
		return;
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);

		while (c->host_count) {
			c->withdrawn = false; /* it is ended below, not by its last host */
			host_end(c->hosts[c->host_count - 1]);
		}
		while (list_pop(&c->waits))
			;
		cluster_end(c);
	}
	pools_free(&all->pools);
	account_end(&all->account);
	free(all);
}

void clusters_drain(struct clusters *all)
{
	pools_drain(all->pools);
}

struct pools *clusters_pools(struct clusters *all)
{
	return all->pools;
}

/* ---- picking -------------------------------------------------------------------------------------------------------------- */

/* Compares pointers only: a host that was tried may be gone. */
static void pick_tried(const struct cluster *c, const struct tried *tried, struct pick *k)
{
	for (uint32_t t = 0; t < tried->count && t < TRIED_MAX; t++)
		for (uint32_t i = 0; i < c->host_count; i++)
			if (c->hosts[i] == tried->host[t]) {
				k->tried[k->tried_count++] = c->hosts[i]->index;
				break;
			}
}

/* At max_connections a host that has one already serves the call; PICK_NOBODY: none of them may. */
static uint32_t pick_connected(const struct cluster *c, const struct pick *k)
{
	uint32_t from = c->host_count ? (uint32_t)loop_random_below(c->all->loop, c->host_count) : 0;

	for (uint32_t n = 0; n < c->host_count; n++) {
		const struct host *h = c->hosts[from + n < c->host_count ? from + n : from + n - c->host_count];

		if (h->index != UINT32_MAX && h->connections && policy_may(c->m.policy, k, h->index))
			return h->index;
	}
	return PICK_NOBODY;
}

static struct host *host_at(struct cluster *c, uint32_t index)
{
	uint32_t born = c->m.hot[index].born;

	return born ? c->hosts[born - 1] : NULL;
}

static enum pick_result pick_nobody(const struct cluster *c)
{
	if (c->m.count)
		return PICK_UNHEALTHY;
	if (c->names && names_waiting(c->names))
		return PICK_WAIT;
	return c->m.declared ? PICK_UNHEALTHY : PICK_NONE;
}

enum pick_result cluster_pick(struct cluster *c, uint64_t hash, const struct tried *tried, struct host **ret)
{
	struct pick k;
	struct host *h;
	uint32_t i;

	k.hash = hash;
	k.tried_count = 0;
	if (tried) {
		pick_tried(c, tried, &k);
	} else {
		c->calls++;
		c->retry_milli += RETRY_CALL;
		if (c->retry_milli > RETRY_CEILING)
			c->retry_milli = RETRY_CEILING;
	}
	if (c->names)
		names_use(c->names);
	if (c->active >= c->spec->max_requests) {
		c->full++;
		return PICK_FULL;
	}
	if (!c->standing)
		return pick_nobody(c);
	/* All in back-off: one of them says why, and the call fails with that reason. */
	k.skip = c->usable ? HOT_OUT : HOT_DRAINING | HOT_UNHEALTHY;
	i = policy_pick(c->m.policy, &k);
	if (i == PICK_NOBODY)
		return PICK_NONE;
	h = host_at(c, i);
	if (__builtin_expect(c->connections >= c->spec->max_connections, 0) && (!h || !h->connections)) {
		uint32_t connected = pick_connected(c, &k);

		if (connected != PICK_NOBODY)
			h = host_at(c, i = connected);
	}
	if (!h)
		h = host_born(c, i);
	h->refs++;
	h->active++;
	h->total++;
	c->m.hot[i].active++;
	c->active++;
	*ret = h;
	return PICK_OK;
}

bool cluster_retry_take(struct cluster *c)
{
	uint64_t now = c->all->loop->now_ns, earned = (now - c->retry_at_ns) / RETRY_MILLI_NS;

	c->retry_at_ns += earned * RETRY_MILLI_NS;
	if (c->retry_milli < RETRY_FLOOR)
		c->retry_milli = c->retry_milli + earned > RETRY_FLOOR ? RETRY_FLOOR : c->retry_milli + earned;
	if (c->retry_milli < RETRY_ONE) {
		stat_inc(&c->all->loop->stats, STAT_RETRY_BUDGET_EMPTY);
		return false;
	}
	c->retry_milli -= RETRY_ONE;
	return true;
}

/* ---- views ---------------------------------------------------------------------------------------------------------------- */

void clusters_each(struct clusters *all, void (*fn)(void *ctx, struct cluster *c, const struct cluster_view *v), void *ctx)
{
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);
		struct cluster_view v = {
			.name = c->spec->name,
			.lb = policy_ops_of(c->spec->lb)->name,
			.hosts = c->m.count,
			.active = c->active,
			.pending = c->pending,
			.connections = c->connections,
			.calls = c->calls,
			.errors = c->errors,
			.full = c->full,
			.pending_full = c->pending_full,
			.connections_full = c->connections_full,
			.retry_tokens = (uint32_t)(c->retry_milli / RETRY_ONE),
			.updates_refused = c->updates_refused,
			.names = c->names ? names_state(c->names) : "",
		};

		fn(ctx, c, &v);
	}
}

void cluster_each_host(struct cluster *c, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	for (uint32_t i = 0; i < c->m.count; i++) {
		const struct host *h = host_at(c, i);
		char text[ADDR_TEXT];
		struct endpoint e;
		struct host_view v = {
			.weight = c->m.hot[i].weight,
			.active = c->m.hot[i].active,
			.flags = c->m.hot[i].flags,
			.state = "idle",
		};

		endpoint_get(c->m.set, i, &e);
		v.text = h ? h->text : e.naddrs ? addr_text(&e.addr, text) : "";
		v.zone = e.zone;
		if (h) {
			v.connections = h->connections;
			v.total = h->total;
			v.errors = h->errors;
			v.state = pool_state(h->pool);
			v.why = pool_last_error(h->pool);
		}
		fn(ctx, &v);
	}
}
