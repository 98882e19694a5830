/* lb/cluster: clusters come with their first call, follow what is declared, and pick. See the header for the objects.
 *
 *   mesh_cluster published --> declared_changed --> names (DNS) --> cluster_rebuild (lb/rebuild) --> levels, hot records, policies
 *   call --> cluster_pick --> levels_pick (lb/levels) --> host (born) --> host_open (lb/host) --> pool (lb/pool) --> stream
 *
 * A cluster that is withdrawn keeps its place at the mesh (decl->live) while calls hold hosts of it: declared again meanwhile, it goes on
 * with the hosts it has. */
#include "lb/cluster_int.h"
#include <stdio.h>
#include <stdlib.h>

/* Of the retry bucket, in thousandths of a retry. */
enum { RETRY_CALL = 200, RETRY_ONE = 1000, RETRY_FULL = 1000000 };
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

void cluster_wake(struct cluster *c)
{
	if (!list_empty(&c->waits))
		loop_defer(c->all->loop, &c->wake, cluster_woken);
}

static void names_changed(void *ctx)
{
	struct cluster *c = ctx;

	if (cluster_keeps_address(c)) {
		c->names_stale = true;
		return;
	}
	cluster_rebuild(c, c->decl->endpoints); /* the set that the names are of: an earlier update may have been refused */
}

static void names_settled(void *ctx)
{
	struct cluster *c = ctx;

	cluster_changed(c);
	if (c->m.count || (!names_waiting(c->names) && !cluster_is_building(c)))
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
	wants_end(c);
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
	loop_undefer(&c->work);
	cluster_end_watches(c);
	cluster_rebuild_stop(c);
	held_end_all(c);
	outlier_end(c);
	names_free(&c->names);
	members_end(c, &c->m);
	if (c->all->events)
		c->all->events->ended(c->all->events_ctx, c);
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
	wants_respec(c);
	spec_unref(&old);
	if (set && endpoints_has_names(set))
		c->names = names_new(c->all->loop, c->all->dns, set, &c->names, names_changed, names_settled, c);
	else
		names_free(&c->names);
	if (c->names)
		names_keep(c->names, c->watch_count > 0);
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
	cluster_changed(c);
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
	list_init(&c->watches);
	list_init(&c->held);
	list_push(&all->clusters, &c->node);
	c->retry_milli = RETRY_FULL;
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

struct clusters *clusters_new(struct loop *l, const struct limits *lim, struct mesh *mesh, struct dns *dns, struct transports *transports)
{
	struct clusters *all = xnew(struct clusters);

	all->loop = l;
	all->mesh = mesh;
	all->dns = dns;
	all->transports = transports;
	all->pools = pools_new(l, lim);
	pools_set_whose(all->pools, host_whose);
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
	if (all->metas)
		endpoint_metas_free(&all->metas);
	account_end(&all->account);
	free(all);
}

/* As under another spec: all endpoints are read anew, in slices. */
void clusters_secrets_changed(struct clusters *all)
{
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);

		if (c->withdrawn || !spec_wants_tls(c->spec) || !wants_again(c))
			continue;
		c->m.spec_hash = 0;
		cluster_rebuild_stop(c);
		cluster_rebuild(c, c->decl->endpoints);
		cluster_wake(c);
	}
}

void clusters_thaw(struct clusters *all)
{
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);

		held_thaw(c);
		outlier_thaw(c);
		if (c->names)
			names_thaw(c->names);
	}
	pools_thaw(all->pools);
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

		if (h->index != UINT32_MAX && h->connections && levels_may(c, k, h->index))
			return h->index;
	}
	return PICK_NOBODY;
}

static struct host *host_at(struct cluster *c, uint32_t index)
{
	uint32_t born = c->m.hot[index].born;

	return born ? c->hosts[born - 1] : NULL;
}

/* Why there is nobody. Who was tried would serve otherwise: then it is for them that nobody is left. */
static enum pick_result pick_nobody(const struct cluster *c, const struct pick *k)
{
	uint32_t standing = 0;
	bool panic = false;

	if (c->m.waiting)
		return PICK_WAIT;
	for (uint32_t i = 0; i < c->m.bucket_count; i++)
		standing += c->m.buckets[i].standing;
	for (uint32_t i = 0; i < c->m.level_count; i++)
		panic |= c->m.levels[i].panic;
	if (standing || (panic && k->tried_count))
		return PICK_NONE;
	if (c->m.unusable)
		return PICK_UNUSABLE;
	if (c->m.count)
		return PICK_UNHEALTHY;
	if (c->names && names_waiting(c->names))
		return PICK_WAIT;
	if (c->rebuild)
		return PICK_WAIT;
	return c->m.declared ? PICK_UNHEALTHY : PICK_NONE;
}

/* Nearly as many as may serve, by weight: exact only while all are well, which is when it matters. */
static uint64_t weight_in_use(const struct cluster *c)
{
	uint64_t able = 0;

	for (uint32_t i = 0; i < c->m.bucket_count; i++)
		able += c->m.buckets[i].healthy + c->m.buckets[i].degraded;
	return c->m.count ? c->m.weight * able / c->m.count : 0;
}

static struct host *pick_held(struct cluster *c, const struct tried *tried)
{
	uint64_t others = weight_in_use(c);

	return held_pick(c, tried, others, others ? c->m.levels[0].priority : UINT32_MAX);
}

static enum pick_result pick_in_set(struct cluster *c, struct pick *k, struct host **ret)
{
	uint32_t i = levels_pick(c, k);
	struct host *h;

	if (i == PICK_NOBODY)
		return pick_nobody(c, k);
	h = host_at(c, i);
	if (__builtin_expect(c->connections >= c->spec->max_connections, 0) && (!h || !h->connections)) {
		uint32_t connected = pick_connected(c, k);

		if (connected != PICK_NOBODY)
			h = host_at(c, i = connected);
	}
	if (!h)
		h = host_born(c, i);
	c->m.hot[i].active++;
	*ret = h;
	return PICK_OK;
}

enum pick_result cluster_pick(struct cluster *c, uint64_t hash, const struct tried *tried, struct host **ret)
{
	enum pick_result result;
	struct host *h = NULL;
	struct pick k;

	k.hash = hash;
	k.tried_count = 0;
	if (tried) {
		pick_tried(c, tried, &k);
	} else {
		if (__builtin_expect(!c->calls++, 0))
			cluster_first_call(c);
		c->retry_milli += RETRY_CALL;
		if (c->retry_milli > RETRY_FULL)
			c->retry_milli = RETRY_FULL;
	}
	if (c->names)
		names_use(c->names);
	if (c->active >= c->spec->max_requests) {
		c->full++;
		return PICK_FULL;
	}
	if (__builtin_expect(c->held_count, 0))
		h = pick_held(c, tried);
	if (!h) {
		result = pick_in_set(c, &k, &h);
		if (result != PICK_OK && c->held_count)
			h = held_pick(c, tried, 0, UINT32_MAX);
		if (!h)
			return result;
	}
	h->refs++;
	h->active++;
	h->total++;
	c->active++;
	*ret = h;
	return PICK_OK;
}

bool cluster_retry_take(struct cluster *c)
{
	uint64_t now = c->all->loop->now_ns, earned = (now - c->retry_at_ns) / RETRY_MILLI_NS;

	c->retry_at_ns += earned * RETRY_MILLI_NS;
	c->retry_milli = earned < RETRY_FULL - c->retry_milli ? c->retry_milli + earned : RETRY_FULL;
	if (c->retry_milli < RETRY_ONE) {
		stat_inc(&c->all->loop->stats, STAT_RETRY_BUDGET_EMPTY);
		return false;
	}
	c->retry_milli -= RETRY_ONE;
	return true;
}

/* ---- views ---------------------------------------------------------------------------------------------------------------- */

static const char *note_of(enum lb_kind kind)
{
	return kind == LB_RING_HASH ? "ring_hash is not built: random instead" : kind == LB_MAGLEV ? "maglev is not built: random instead" : NULL;
}

/* Who says what of it: orders first, then checks. */
static const char *flags_health(uint32_t flags)
{
	if (flags & HOT_ORDERED || flags & HOT_UNUSABLE)
		return flags & HOT_UNUSABLE ? "no TLS" : flags & HOT_UNHEALTHY ? "eds unhealthy" : "draining";
	if (flags & HOT_CHECK)
		return flags & HOT_PENDING ? "check pending" : "check failed";
	return flags & HOT_EJECTED ? "ejected" : flags & HOT_BACKOFF ? "backoff" : flags & HOT_DEGRADED ? "degraded" : "healthy";
}

static const char *flags_state(uint32_t flags)
{
	return flags & HOT_UNHEALTHY && !(flags & HOT_UNUSABLE) ? "unhealthy" : flags & (HOT_DOWN | HOT_UNUSABLE) ? flags_health(flags) : NULL;
}

static void view_host(const struct host *h, struct host_view *v)
{
	v->text = h->text;
	v->connections = h->connections;
	v->active = h->active;
	v->total = h->total;
	v->errors = h->errors;
	v->state = pool_state(h->pool);
	v->why = pool_last_error(h->pool);
	v->check = h->check;
	v->ejected = host_is_ejected(h);
	v->held = host_is_held(h);
	if (!pool_unusable(h->pool))
		pool_peer(h->pool, &v->peer);
	v->host = h;
}

static void view_health(struct cluster *c, struct cluster_view *v)
{
	v->checked = c->m.checked;
	v->check_pending = c->m.pending;
	v->check_failed = c->m.failed;
	v->ejected = c->m.ejected;
	v->truth = cluster_truth(c);
	v->panic = levels_panic(c);
	for (uint32_t i = 0; i < c->m.bucket_count; i++) {
		v->healthy += c->m.buckets[i].healthy;
		v->degraded += c->m.buckets[i].degraded;
	}
}

void cluster_view(struct cluster *c, struct cluster_view *ret)
{
	*ret = (struct cluster_view){
		.name = c->spec->name,
		.lb = policy_ops_of(c->spec->lb)->name,
		.hosts = c->m.count + c->held_count,
		.held = c->held_count,
		.unusable = c->m.unusable,
		.building = cluster_is_building(c),
		.empty_kept = timer_armed(&c->empty),
		.note = note_of(c->spec->lb),
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
		.outlier = c->spec->outlier != NULL,
		.counts = c->counts,
	};
	view_health(c, ret);
}

void cluster_count(struct cluster *c, enum cluster_counter what)
{
	c->counts[what]++;
}

void clusters_each(struct clusters *all, void (*fn)(void *ctx, struct cluster *c, const struct cluster_view *v), void *ctx)
{
	list_each(n, tmp, &all->clusters)
	{
		struct cluster *c = list_entry(n, struct cluster, node);
		struct cluster_view v;

		cluster_view(c, &v);
		fn(ctx, c, &v);
	}
}

static void tell_held(const struct host *h, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	uint64_t now_ns = h->cluster->all->loop->now_ns, left_ns = h->held_until_ns > now_ns ? h->held_until_ns - now_ns : 0;
	struct host_view v = {.zone = h->zone, .weight = h->weight, .flags = HOT_USABLE, .health = "held"};
	char state[40];

	view_host(h, &v);
	snprintf(state, sizeof(state), "held, %u s left", (unsigned)((left_ns + 999999999) / 1000000000));
	v.state = state;
	fn(ctx, &v);
}

static void tell_member(struct cluster *c, uint32_t i, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	const struct host *h = host_at(c, i);
	const struct hot *hot = &c->m.hot[i];
	char text[ADDR_TEXT];
	struct endpoint e;
	struct host_view v = {.weight = hot->weight, .active = hot->active, .flags = hot->flags, .state = "idle", .health = flags_health(hot->flags)};

	endpoint_get(c->m.set, members_endpoint(&c->m, i), &e);
	v.zone = e.zone;
	if (h)
		view_host(h, &v);
	else
		v.text = e.naddrs ? addr_text(&e.addr, text) : "";
	if (!h && hot->flags & HOT_CHECKED)
		v.check = hot->flags & HOT_PENDING ? HOST_PENDING : hot->flags & HOT_CHECK ? HOST_FAILED : HOST_PASSED;
	if (flags_state(hot->flags))
		v.state = flags_state(hot->flags);
	if (hot->flags & HOT_UNUSABLE)
		v.why = cluster_unusable(c);
	fn(ctx, &v);
}

void cluster_each_host(struct cluster *c, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	for (uint32_t i = 0; i < c->m.count; i++)
		tell_member(c, i, fn, ctx);
	for (struct list *n = c->held.next; n != &c->held; n = n->next)
		tell_held(list_entry(n, struct host, held), fn, ctx);
}

enum { WALK_UNWELL, WALK_HELD, WALK_WELL, WALK_END, WALK_LOOKS = 65536 /* hot records in one piece: some 50 us */ };

static void walk_on(struct host_walk *w)
{
	w->phase++;
	w->at = 0;
}

/* Returns how many were told. */
static uint32_t walk_members(struct cluster *c, struct host_walk *w, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	uint32_t told = 0, looks = 0;

	for (; w->at < c->m.count && told < most && looks < WALK_LOOKS; w->at++, looks++) {
		uint32_t flags = c->m.hot[w->at].flags;

		if ((flags & (HOT_USABLE | HOT_DEGRADED)) == HOT_USABLE ? w->phase == WALK_WELL : w->phase == WALK_UNWELL) {
			tell_member(c, w->at, fn, ctx);
			told++;
		}
	}
	if (w->at >= c->m.count)
		walk_on(w);
	return told;
}

static uint32_t walk_held(struct cluster *c, struct host_walk *w, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	struct list *n = c->held.next;
	uint32_t told = 0;

	for (uint32_t i = 0; i < w->at && n != &c->held; i++)
		n = n->next;
	for (; n != &c->held && told < most; n = n->next, told++)
		tell_held(list_entry(n, struct host, held), fn, ctx);
	w->at += told;
	if (n == &c->held)
		walk_on(w);
	return told;
}

bool cluster_walk_hosts(struct cluster *c, struct host_walk *w, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), void *ctx)
{
	uint32_t told = 0, before;

	do {
		before = w->phase;
		told += w->phase == WALK_HELD ? walk_held(c, w, most - told, fn, ctx) : walk_members(c, w, most - told, fn, ctx);
	} while (w->phase != before && w->phase < WALK_END && told < most);
	return w->phase < WALK_END;
}
