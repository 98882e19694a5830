/* xds/store: see the header. */
#include "xds/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/addr.h"

static const uint64_t settle_ns = UINT64_C(15000000000); /* a route that names a cluster nobody knows is not waited for longer (initial_fetch_timeout) */
/* A cluster that is taken away while a route that is in force names it: servers say CDS before RDS, and the route that names another one is on its way. */
static const uint64_t linger_ns = UINT64_C(1000000000);
/* A cluster that no route names any more: as long as a call may need to find out that a provider cannot be had (connect_timeout), and to move to another one of it. */
static const uint64_t rest_ns = UINT64_C(10000000000);

/* Another spelling of a name, which does not exist either: two that may mean one service are not to be asked for at once for longer (istio.md 1.8). */
static const uint64_t tentative_ns = UINT64_C(1000000000);

struct entry;
struct xcluster;
/* An entry's use of a cluster. */
struct use { struct list node; /* of the cluster */ struct xcluster *cluster; struct entry *entry; bool keep; };
struct entry {
	struct store *store;
	struct list node;
	struct mesh_name *name;       /* borrowed: given up before it goes (mesh_view_drop) */
	struct dep lds, rds;
	struct use **uses; uint32_t count;
	char *guess;                  /* the cluster that the name implies; NULL: none, or its route is known */
	struct route_table *waiting;  /* counted: what will be published when its clusters are there */
	uint64_t waiting_since_ns;
	bool dirty;
	bool for_good;                /* prefetch */
	bool listed;                  /* wildcard: the control plane has it, whoever calls */
	bool routed;                  /* its present RDS resource has given it routes */
	uint64_t unrouted_since_ns;   /* 0: not so: its listener names routes that are not there (yet) */
	char *refused;                /* what its name says while its resource is refused; NULL: it is not */
	struct list due;
};
enum readiness { NOT_YET, READY, GONE };
struct xcluster {
	struct store *store;
	struct list node;
	char *name;
	struct dep cds, eds;
	struct list uses;
	enum readiness readiness;
	bool published, dirty;
	bool peopled;                 /* it has, or had once, endpoints; or none will ever come */
	bool lingered;                /* taken away, and its time is over */
	struct timer linger;
	bool resting;                 /* no route names it any more; calls that were on their way to it go on */
	struct timer rest;
	struct list due;
};
struct store {
	struct store_spec spec;
	struct list entries, due_entries, due_clusters;
	struct map clusters;
	uint32_t cluster_count;
	struct task run;
	struct timer idle, settle, fail;
	struct log_every said_gone;
	bool up, failing;
	const char *why;
	char silent[256];           /* why a name is not known while the stream is up: who is waited for */
};

static void store_run(struct task *t);

static const struct profile *profile_of(const struct store *s)
{
	return &profiles[s->spec.conf->profile];
}

static void mark_entry(struct entry *e)
{
	if (!e->dirty) {
		e->dirty = true;
		list_push(&e->store->due_entries, &e->due);
	}
	loop_defer(e->store->spec.loop, &e->store->run, store_run);
}

static void mark_cluster(struct xcluster *c)
{
	if (!c->dirty) {
		c->dirty = true;
		list_push(&c->store->due_clusters, &c->due);
	}
	loop_defer(c->store->spec.loop, &c->store->run, store_run);
}

/* ---- clusters -------------------------------------------------------------------------------------------------------------- */

static void cds_changed(struct dep *d)
{
	mark_cluster(container_of(d, struct xcluster, cds));
}

static void eds_changed(struct dep *d)
{
	mark_cluster(container_of(d, struct xcluster, eds));
}

static bool asks_cds(const struct store *s)
{
	const struct conf_xds *c = s->spec.conf;

	return profile_of(s)->cds && c->cds && !(c->profile == PROFILE_TEMPLATE && c->template_eds_only);
}

static bool takes_eds(const struct cluster_decoded *d)
{
	/* Headless services are ORIGINAL_DST for sidecars, and EDS answers by their name all the same (istio.md 1.4). */
	return d->type == CLUSTER_EDS || (d->type == CLUSTER_ORIGINAL_DST && str_starts(str_of(d->spec->name), STR("outbound|")));
}

static void cluster_ask(struct xcluster *c)
{
	struct store *s = c->store;
	struct str name = str_of(c->name);
	struct resource *cds;

	s->cluster_count++;
	if (asks_cds(s)) {
		if (profile_of(s)->cds_all)
			sub_wildcard(s->spec.sub, XDS_CDS, true);
		resource_need(s->spec.resources, &c->cds, XDS_CDS, name, cds_changed);
	}
	/* Where the two have one name, which is the rule, endpoints are asked for in the same flight; and where the cluster is known already, not in slices behind it. */
	cds = c->cds.resource;
	if (!cds || cds->state == RESOURCE_ASKED)
		resource_need(s->spec.resources, &c->eds, XDS_EDS, name, eds_changed);
	else if (cds->state == RESOURCE_PRESENT && takes_eds(cds->cluster))
		resource_need(s->spec.resources, &c->eds, XDS_EDS, cds->cluster->eds_name ? str_of(cds->cluster->eds_name) : name, eds_changed);
	mark_cluster(c);
}

static struct xcluster *cluster_get(struct store *s, struct str name)
{
	struct xcluster *c = map_get(&s->clusters, name);

	if (c && !c->resting)
		return c;
	if (c) { /* wanted again: what it rests on serves until it is answered anew */
		c->resting = false;
		timer_cancel(s->spec.loop, &c->rest);
	} else {
		c = xnew(struct xcluster);
		c->store = s;
		c->name = xstrndup(name.p, name.n);
		list_init(&c->uses);
		list_init(&c->due);
		map_put(&s->clusters, str_of(c->name), c);
	}
	cluster_ask(c);
	return c;
}

static void cluster_free(struct xcluster *c)
{
	struct store *s = c->store;

	if (c->published)
		mesh_view_del_cluster(s->spec.view, c->name);
	list_del(&c->due);
	timer_cancel(s->spec.loop, &c->linger);
	timer_cancel(s->spec.loop, &c->rest);
	map_del(&s->clusters, str_of(c->name));
	free(c->name);
	free(c);
}

static void rest_over(struct timer *t)
{
	cluster_free(container_of(t, struct xcluster, rest));
}

/* Nobody is asked for it any more. A call that has picked one of its hosts may still have to pick another. */
static void cluster_forget(struct xcluster *c)
{
	struct store *s = c->store;

	resource_forget(&c->cds);
	resource_forget(&c->eds);
	s->cluster_count--;
	if (!c->published) {
		cluster_free(c);
		return;
	}
	list_del(&c->due);
	timer_cancel(s->spec.loop, &c->linger);
	c->dirty = c->lingered = c->peopled = false;
	c->readiness = NOT_YET;
	c->resting = true;
	timer_in(s->spec.loop, &c->rest, rest_ns, rest_over);
}

static void cluster_is(struct xcluster *c, enum readiness r)
{
	if (c->readiness == r)
		return;
	c->readiness = r;
	list_each(n, tmp, &c->uses)
		mark_entry(list_entry(n, struct use, node)->entry);
}

static void cluster_publish(struct xcluster *c, struct cluster_spec *spec, struct endpoint_set *endpoints)
{
	struct endpoints_builder *b;
	bool peopled = c->peopled || !c->eds.resource || (endpoints && endpoints_count(endpoints));

	if (endpoints) {
		endpoints_ref(endpoints);
	} else {
		b = endpoints_build(NULL, NULL);
		endpoints = endpoints_done(&b, 140);
	}
	c->published = true;
	mesh_view_put_cluster(c->store->spec.view, c->name, spec_ref(spec), endpoints);
	if (peopled && !c->peopled && c->readiness == READY)
		c->readiness = NOT_YET; /* who waits for it is told */
	c->peopled = peopled;
	cluster_is(c, READY);
}

static void cluster_withdraw(struct xcluster *c)
{
	/* Where nobody answered, the answer may be on its way: a name that is asked again before a server heard that it is not wanted is never answered (state of the world). */
	if (!c->cds.resource->silent)
		resource_forget(&c->eds); /* should it come back, then not with the endpoints of its former life */
	if (c->published)
		mesh_view_del_cluster(c->store->spec.view, c->name);
	c->published = false;
	cluster_is(c, GONE);
}

static void linger_over(struct timer *t)
{
	struct xcluster *c = container_of(t, struct xcluster, linger);

	c->lingered = true;
	mark_cluster(c);
}

/* Plain defaults, where CDS is not asked. */
static struct cluster_spec *plain_spec(const struct xcluster *c)
{
	struct cluster_spec *spec = spec_new(c->name);

	spec->connect_timeout_ns = UINT64_C(10000000000);
	spec->removal_hold_ns = c->store->spec.conf->removal_hold_ns;
	spec->panic_percent = 0;
	if (c->store->spec.conf->profile == PROFILE_ISTIO || c->store->spec.conf->profile == PROFILE_ISTIO_GRPC)
		decode_mesh_tls(spec); /* what CDS would have said of endpoints that have a proxy in front */
	spec_seal(spec);
	return spec;
}

static void cluster_evaluate(struct xcluster *c)
{
	struct store *s = c->store;
	struct resource *cds = c->cds.resource;
	struct cluster_spec *plain = NULL, *spec;

	if (cds && cds->state == RESOURCE_ASKED) {
		if (cds->refused && c->readiness == NOT_YET)
			cluster_is(c, GONE); /* its calls fail now, not at the end of their waiting */
		return; /* the first answer is waited for; what was published stays */
	}
	if (cds && cds->state == RESOURCE_ABSENT) {
		if (!c->published || c->lingered)
			cluster_withdraw(c);
		else if (!timer_armed(&c->linger))
			timer_in(s->spec.loop, &c->linger, linger_ns, linger_over);
		return;
	}
	timer_cancel(s->spec.loop, &c->linger);
	c->lingered = false;
	if (cds && !takes_eds(cds->cluster)) {
		resource_forget(&c->eds);
		cluster_publish(c, cds->cluster->spec, cds->cluster->endpoints);
		return;
	}
	spec = cds ? cds->cluster->spec : (plain = plain_spec(c));
	resource_need(s->spec.resources, &c->eds, XDS_EDS, str_of(cds && cds->cluster->eds_name ? cds->cluster->eds_name : c->name), eds_changed);
	if (c->eds.resource->state == RESOURCE_PRESENT)
		cluster_publish(c, spec, c->eds.resource->endpoints);
	else if (c->eds.resource->state == RESOURCE_ABSENT && !cds && !profile_of(s)->rds)
		cluster_is(c, GONE); /* its endpoints were the only ones who could tell */
	else if (c->eds.resource->state == RESOURCE_ABSENT)
		cluster_publish(c, spec, NULL);
	else if (c->eds.resource->refused && c->readiness != READY)
		cluster_publish(c, spec, NULL); /* its calls fail now, not at the end of their waiting */
	else if (!c->published) /* it was gone, and has come: its endpoints are on their way */
		cluster_is(c, NOT_YET);
	spec_unref(&plain);
}

/* ---- which clusters a name uses ---------------------------------------------------------------------------------------------- */

static void use_free(struct use *u)
{
	struct xcluster *c = u->cluster;

	list_del(&u->node);
	free(u);
	if (list_empty(&c->uses))
		cluster_forget(c);
}

/* Both lists at once, so that the shorter one is what it takes: a table may name 10,000 clusters, and a cluster may be everybody's. */
static struct use *use_find(const struct entry *e, const struct xcluster *c)
{
	const struct list *n = c->uses.next;

	for (uint32_t i = 0; i < e->count && n != &c->uses; i++, n = n->next) {
		struct use *u = container_of((struct list *)(uintptr_t)n, struct use, node);

		if (u->entry == e)
			return u;
		if (e->uses[i]->cluster == c)
			return e->uses[i];
	}
	return NULL;
}

static void entry_use(struct entry *e, struct str name)
{
	struct xcluster *known = map_get(&e->store->clusters, name);
	struct use *u = known ? use_find(e, known) : NULL;

	if (u) {
		u->keep = true;
		return;
	}
	u = xnew(struct use);
	u->entry = e;
	u->keep = true;
	u->cluster = cluster_get(e->store, name);
	list_push(&u->cluster->uses, &u->node);
	if ((e->count & (e->count - 1)) == 0)
		e->uses = xrealloc(e->uses, (e->count ? 2 * e->count : 1) * sizeof(*e->uses));
	e->uses[e->count++] = u;
}

static void use_named(void *ctx, const char *cluster)
{
	entry_use(ctx, str_of(cluster));
}

/* Marks what is used, by the tables that calls see and that wait; the rest is given back. */
static void uses_begin(struct entry *e)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->uses[i]->keep = false;
}

static void uses_end(struct entry *e)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->count; i++) {
		if (e->uses[i]->keep)
			e->uses[n++] = e->uses[i];
		else
			use_free(e->uses[i]);
	}
	e->count = n;
}

static void entry_uses(struct entry *e)
{
	uses_begin(e);
	if (e->guess)
		entry_use(e, str_of(e->guess));
	if (e->name->routes)
		route_table_clusters(e->name->routes, use_named, e);
	if (e->waiting)
		route_table_clusters(e->waiting, use_named, e);
	uses_end(e);
}

struct unready { struct entry *e; bool any, missing; };

static bool is_unsaid(const struct resource *q)
{
	return q && (q->state == RESOURCE_ASKED || (q->state == RESOURCE_ABSENT && q->silent));
}

/* Nobody answered for it, or what was answered was refused: which is not the same as a word. */
static bool is_unsaid_cluster(const struct xcluster *c)
{
	return is_unsaid(c->cds.resource) || is_unsaid(c->eds.resource);
}

static void look_ready(void *ctx, const char *cluster)
{
	struct unready *u = ctx;
	struct xcluster *c = map_get(&u->e->store->clusters, str_of(cluster));

	if (!c || c->readiness == NOT_YET || (u->e->name->state == MESH_PRESENT && is_unsaid_cluster(c)))
		u->any = u->missing = true;
	/* A cluster may come after the route that names it, and istiod answers endpoints that it does not know yet by none. While another route serves, that one is not
	 * to be left for nothing. */
	else if (u->e->name->state == MESH_PRESENT && (c->readiness == GONE || !c->peopled))
		u->any = true;
}

/* ---- names ------------------------------------------------------------------------------------------------------------------- */

static void lds_changed(struct dep *d)
{
	mark_entry(container_of(d, struct entry, lds));
}

static void rds_changed(struct dep *d)
{
	mark_entry(container_of(d, struct entry, rds));
}

static void entry_free(struct entry *e)
{
	list_del(&e->node);
	list_del(&e->due);
	route_table_unref(&e->waiting);
	uses_begin(e);
	uses_end(e);
	free(e->uses);
	resource_forget(&e->lds);
	resource_forget(&e->rds);
	free(e->guess);
	free(e->refused);
	free(e);
}

static void forget_guess(struct entry *e)
{
	free(e->guess);
	e->guess = NULL;
}

static void idle_due(struct timer *t);

static void entry_absent(struct entry *e, const char *why)
{
	struct store *s = e->store;

	if (e->name->state == MESH_PRESENT && log_every(s->spec.log, &s->said_gone, s->spec.loop->now_ns, 20, 10000))
		log_info(s->spec.log, "view '%s': '%s' is gone: %s", mesh_view_name(s->spec.view), e->name->name, why);
	route_table_unref(&e->waiting);
	mesh_view_absent(e->name, s->spec.source, why);
	if (e->name->tentative)
		timer_in(s->spec.loop, &s->idle, tentative_ns, idle_due);
	e->listed = false;
	/* The guess stays asked: when the service is created, its endpoints come in the same push. */
	entry_uses(e);
}

static void settle_due(struct timer *t);

/* Somebody waits since then: looked at when its time is over, and again so much later where it may wait on. */
static void settle_later(struct store *s, uint64_t since_ns)
{
	uint64_t now = s->spec.loop->now_ns, at = (now - since_ns < settle_ns ? since_ns : now) + settle_ns;

	if (!timer_armed(&s->settle) || at < s->settle.at_ns)
		timer_set(s->spec.loop, &s->settle, at, settle_due);
}

static void settle_due(struct timer *t)
{
	struct store *s = container_of(t, struct store, settle);

	list_each(n, tmp, &s->entries)
	{
		struct entry *e = list_entry(n, struct entry, node);
		uint64_t since = e->waiting ? e->waiting_since_ns : e->unrouted_since_ns;

		if (!e->waiting && !e->unrouted_since_ns)
			continue;
		if (s->spec.loop->now_ns - since >= settle_ns)
			mark_entry(e);
		else
			settle_later(s, since);
	}
}

static bool is_stale(const struct entry *e)
{
	return (e->lds.resource && e->lds.resource->stale) || (e->rds.resource && e->rds.resource->stale);
}

static void look_serving(void *ctx, const char *cluster)
{
	struct unready *u = ctx;
	struct xcluster *c = map_get(&u->e->store->clusters, str_of(cluster));

	if (!c || c->readiness != READY)
		u->any = true;
}

/* The routes in force have all their clusters: a control plane that said half of a change and died takes nothing away by that. */
static bool entry_serves(struct entry *e)
{
	struct unready u = {.e = e};

	if (e->name->state != MESH_PRESENT || !e->name->routes)
		return false;
	route_table_clusters(e->name->routes, look_serving, &u);
	return !u.any;
}

static void entry_offer(struct entry *e, struct route_table *table)
{
	struct store *s = e->store;
	struct unready u = {.e = e};
	uint64_t now = s->spec.loop->now_ns;

	if (!e->waiting || !route_table_eq(e->waiting, table))
		e->waiting_since_ns = now;
	route_table_ref(table);
	route_table_unref(&e->waiting);
	e->waiting = table;
	forget_guess(e);
	entry_uses(e);
	if (!route_table_eq(e->name->routes, table))
		route_table_clusters(table, look_ready, &u);
	if ((u.any && now - e->waiting_since_ns < settle_ns) || (u.missing && entry_serves(e))) {
		if (e->name->state != MESH_PRESENT)
			mesh_view_why(e->name, "its endpoints have not come yet");
		settle_later(s, e->waiting_since_ns);
		return;
	}
	e->waiting = NULL;
	e->listed |= s->spec.conf->wildcard;
	mesh_view_put(e->name, table, s->spec.source, is_stale(e));
	entry_uses(e);
}

/* Its listener names other routes than before, and they are not there: a server may say so a moment before it has them. The old ones serve for a while. */
static bool entry_waits_for_routes(struct entry *e)
{
	uint64_t now = e->store->spec.loop->now_ns;

	if (e->routed || e->name->state != MESH_PRESENT || e->name->stale)
		return false;
	if (!e->unrouted_since_ns)
		e->unrouted_since_ns = now;
	if (now - e->unrouted_since_ns >= settle_ns)
		return false;
	settle_later(e->store, e->unrouted_since_ns);
	return true;
}

static void entry_need_routes(struct entry *e, struct str name)
{
	struct resource *was = e->rds.resource;

	resource_need(e->store->spec.resources, &e->rds, XDS_RDS, name, rds_changed);
	if (e->rds.resource != was) {
		e->routed = false;
		e->unrouted_since_ns = 0;
	}
}

/* What the resources say of this name: a table (borrowed); NULL: absent (why) or not known yet (why NULL). */
static struct route_table *entry_table(struct entry *e, const char **ret_why, const char **ret_refused)
{
	struct resource *lds = e->lds.resource, *q;
	const struct route_config *routes;
	struct route_table *t;

	*ret_why = *ret_refused = NULL;
	if (lds) {
		if (lds->state == RESOURCE_ABSENT) {
			*ret_why = "it has no such listener";
			return NULL;
		}
		if (lds->state == RESOURCE_ASKED) {
			*ret_refused = lds->refused;
			return NULL;
		}
		if (lds->listener->rds_name)
			entry_need_routes(e, str_of(lds->listener->rds_name));
		else
			resource_forget(&e->rds);
		if (!lds->listener->rds_name && !lds->listener->inline_routes) {
			*ret_why = "its listener has no routes";
			return NULL;
		}
	}
	if (lds && lds->listener->inline_routes) {
		routes = lds->listener->inline_routes;
	} else {
		q = e->rds.resource;
		if (!q || q->state == RESOURCE_ASKED) {
			*ret_refused = q ? q->refused : NULL;
			return NULL;
		}
		if (q->state == RESOURCE_ABSENT) {
			if (!entry_waits_for_routes(e))
				*ret_why = "it has no such route";
			return NULL;
		}
		e->routed = true;
		e->unrouted_since_ns = 0;
		routes = q->routes;
	}
	if (route_config_hosts(routes) == 0) {
		*ret_why = "it knows no such service";
		return NULL;
	}
	t = route_config_find(routes, str_of(e->name->name));
	if (!t)
		*ret_why = "no virtual host of its routes fits";
	return t;
}

/* The resource's own text goes with its next bytes, while calls may still ask for the name's. */
static void entry_refused(struct entry *e, const char *why)
{
	char *was = e->refused;

	e->refused = xstrdup(why);
	mesh_view_fail(e->name, true, e->refused);
	free(was);
}

/* Whoever calls now waits again. */
static void entry_not_refused(struct entry *e)
{
	struct store *s = e->store;

	if (!e->refused)
		return;
	if (e->name->state == MESH_UNKNOWN)
		mesh_view_fail(e->name, s->failing, s->failing ? s->why : s->silent);
	free(e->refused);
	e->refused = NULL;
}

static void entry_evaluate(struct entry *e)
{
	struct store *s = e->store;
	const char *why, *refused;
	struct route_table *t = NULL;

	if (!profile_of(s)->rds) { /* the cluster template is the route */
		struct route_action *a = route_action_new(e->count ? e->uses[0]->cluster->name : e->guess);
		struct xcluster *c = map_get(&s->clusters, str_of(a->cluster));

		if (c && c->readiness == GONE) {
			struct resource *cds = c->cds.resource;

			route_action_unref(&a);
			if (!cds || cds->state != RESOURCE_ASKED || !cds->refused)
				entry_absent(e, "it has no such cluster");
			else if (e->name->state == MESH_UNKNOWN) /* it has, and what it says of it makes no sense */
				entry_refused(e, cds->refused);
			return;
		}
		entry_not_refused(e);
		t = route_table_single(a);
		char *kept = e->guess;
		e->guess = NULL;
		entry_offer(e, t);
		e->guess = kept;
		entry_uses(e);
		route_table_unref(&t);
		return;
	}
	t = entry_table(e, &why, &refused);
	if (!refused)
		entry_not_refused(e);
	if (t)
		entry_offer(e, t);
	else if (why && is_stale(e) && e->name->state != MESH_ABSENT)
		return; /* the snapshot may not say that a service does not exist: it may have come since. Asked, and as unknown as any */
	else if (why)
		entry_absent(e, why);
	else if (refused && e->name->state == MESH_UNKNOWN)
		entry_refused(e, refused);
}

static void store_run(struct task *task)
{
	struct store *s = container_of(task, struct store, run);

	/* Clusters first: names look at them. Evaluating marks others, in both lists; each turn of the loop makes progress towards the leaves. */
	for (int round = 0; round < 64; round++) {
		struct list *n = list_pop(&s->due_clusters);

		if (n) {
			struct xcluster *c = list_entry(n, struct xcluster, due);

			c->dirty = false;
			cluster_evaluate(c);
			continue;
		}
		n = list_pop(&s->due_entries);
		if (!n)
			return;
		struct entry *e = list_entry(n, struct entry, due);

		e->dirty = false;
		entry_evaluate(e);
	}
	if (!list_empty(&s->due_clusters) || !list_empty(&s->due_entries))
		loop_defer(s->spec.loop, &s->run, store_run);
}

/* ---- wanting and giving up ----------------------------------------------------------------------------------------------------- */

static void idle_later(struct store *s)
{
	uint64_t every = s->spec.conf->idle_ns / 4;

	if (every < UINT64_C(1000000000))
		every = UINT64_C(1000000000);
	if (s->spec.conf->idle_ns && !timer_armed(&s->idle) && !list_empty(&s->entries))
		timer_in(s->spec.loop, &s->idle, every, idle_due);
}

static void entry_drop(struct entry *e)
{
	struct mesh_name *n = e->name;

	log_debug(e->store->spec.log, "view '%s': '%s' is given up", mesh_view_name(e->store->spec.view), n->name);
	entry_free(e);
	mesh_view_drop(n);
}

static void idle_due(struct timer *t)
{
	struct store *s = container_of(t, struct store, idle);
	uint64_t now = s->spec.loop->now_ns;

	list_each(n, tmp, &s->entries)
	{
		struct entry *e = list_entry(n, struct entry, node);

		if (e->for_good || e->listed || e->name->holds)
			continue;
		if (now - e->name->used_ns >= s->spec.conf->idle_ns || (e->name->tentative && e->name->state == MESH_ABSENT))
			entry_drop(e);
	}
	idle_later(s);
}

void store_want(struct store *s, struct mesh_name *n)
{
	struct profile_names names;
	struct entry *e;

	n->used_ns = s->spec.loop->now_ns;
	e = xnew(struct entry);
	e->store = s;
	e->name = n;
	n->data = e;
	list_init(&e->due);
	list_push(&s->entries, &e->node);
	idle_later(s);
	if (profile_names(s->spec.conf, str_of(n->name), &names) != 0) {
		mesh_view_absent(n, s->spec.source, "no resource can have this name");
		return;
	}
	if (names.cluster[0]) {
		e->guess = xstrdup(names.cluster);
		entry_use(e, str_of(e->guess));
	}
	if (profile_of(s)->lds_all) {
		sub_wildcard(s->spec.sub, XDS_LDS, true);
		sub_wildcard(s->spec.sub, XDS_CDS, true); /* Consul's order begins with it */
	}
	if (names.lds[0])
		resource_need(s->spec.resources, &e->lds, XDS_LDS, str_of(names.lds), lds_changed);
	if (names.rds[0])
		resource_need(s->spec.resources, &e->rds, XDS_RDS, str_of(names.rds), rds_changed);
	mesh_view_why(n, s->up ? s->silent : s->why);
	if (s->failing)
		mesh_view_fail(n, true, s->why);
	mark_entry(e);
}

/* The name that is missed least: it does not exist, or nobody could say yet, and it was asked for longest ago. */
bool store_make_room(struct store *s)
{
	struct entry *least = NULL;

	list_each(n, tmp, &s->entries)
	{
		struct entry *e = list_entry(n, struct entry, node);

		if (!e->for_good && !e->name->holds && e->name->state != MESH_PRESENT && (!least || e->name->used_ns < least->name->used_ns))
			least = e;
	}
	if (least)
		entry_drop(least);
	return least;
}

void store_thaw(struct store *s, uint64_t stood_ns)
{
	uint64_t now = s->spec.loop->now_ns;

	list_each(n, tmp, &s->entries)
	{
		struct mesh_name *name = list_entry(n, struct entry, node)->name;

		name->used_ns = name->used_ns + stood_ns < now ? name->used_ns + stood_ns : now;
	}
}

static void store_prefetch(struct store *s)
{
	const struct conf_xds *c = s->spec.conf;

	for (uint32_t i = 0; i < c->nprefetch; i++) {
		struct mesh_name *n = mesh_want(s->spec.view, str_of(c->prefetch[i]));

		if (n->data)
			((struct entry *)n->data)->for_good = true;
	}
}

void store_begin(struct store *s)
{
	const struct profile *p = profile_of(s);

	if (s->spec.conf->wildcard) {
		if (p->cds_all && asks_cds(s))
			sub_wildcard(s->spec.sub, XDS_CDS, true);
		if (p->lds)
			sub_wildcard(s->spec.sub, XDS_LDS, true);
	}
	store_prefetch(s);
}

void store_came(struct store *s, enum xds_type t, struct str name)
{
	char authority[PROFILE_NAME];
	struct str host;
	int port;

	if (!s->spec.conf->wildcard)
		return;
	if (t == XDS_CDS) {
		if (profile_of(s)->lds || !profile_authority(name, authority, sizeof authority))
			return;
		name = str_of(authority);
	} else if (profile_of(s)->lds_all || addr_split(name, &host, &port) != 0 || port <= 0) {
		return; /* a listener that has no authority's name */
	}
	struct mesh_name *n = mesh_want(s->spec.view, name);

	if (n->data)
		((struct entry *)n->data)->listed = true;
}

/* ---- the stream ------------------------------------------------------------------------------------------------------------------ */

static void set_failing(struct store *s, bool failing)
{
	s->failing = failing;
	list_each(n, tmp, &s->entries)
	{
		const struct entry *e = list_entry(n, struct entry, node);

		if (e->name->state == MESH_UNKNOWN)
			mesh_view_fail(e->name, failing || e->refused, failing ? s->why : e->refused ? e->refused : s->silent);
	}
}

static void fail_due(struct timer *t)
{
	set_failing(container_of(t, struct store, fail), true);
}

void store_state(struct store *s, bool up, const char *why)
{
	const char *was = s->why;

	s->up = up;
	s->why = why;
	if (up) {
		timer_cancel(s->spec.loop, &s->fail);
		if (s->failing)
			set_failing(s, false);
		list_each(n, tmp, &s->entries) /* those that were wanted before: that it is not reached is true no more */
		{
			struct mesh_name *name = list_entry(n, struct entry, node)->name;

			if (name->state == MESH_UNKNOWN && !name->failed && (name->why == was || name->why == why))
				mesh_view_why(name, s->silent);
		}
		return;
	}
	list_each(n, tmp, &s->entries)
	{
		struct mesh_name *name = list_entry(n, struct entry, node)->name;

		if (name->state == MESH_UNKNOWN)
			mesh_view_why(name, why);
	}
	if (!s->failing && !timer_armed(&s->fail))
		timer_in(s->spec.loop, &s->fail, s->spec.park_ns, fail_due);
}

/* ---- its own life ------------------------------------------------------------------------------------------------------------------ */

struct store *store_new(const struct store_spec *spec)
{
	struct store *s = xnew(struct store);

	s->spec = *spec;
	snprintf(s->silent, sizeof s->silent, "%s has not answered yet", spec->source);
	list_init(&s->entries);
	list_init(&s->due_entries);
	list_init(&s->due_clusters);
	map_init_borrowed(&s->clusters, loop_random(spec->loop));
	s->why = "it was not reached yet";
	return s;
}

void store_free(struct store **store)
{
	struct store *s = *store;
	struct str key;
	void *resting;

	*store = NULL;
	if (!s)
		return;
	list_each(n, tmp, &s->entries)
	{
		struct entry *e = list_entry(n, struct entry, node);

		e->name->data = NULL;
		/* Not forgotten by the archive: the next start reads it. */
		resource_unneed(&e->lds);
		resource_unneed(&e->rds);
		for (uint32_t i = 0; i < e->count; i++) {
			resource_unneed(&e->uses[i]->cluster->cds);
			resource_unneed(&e->uses[i]->cluster->eds);
		}
		entry_free(e);
	}
	loop_undefer(&s->run);
	timer_cancel(s->spec.loop, &s->idle);
	timer_cancel(s->spec.loop, &s->settle);
	timer_cancel(s->spec.loop, &s->fail);
	for (uint32_t i = 0; map_next(&s->clusters, &i, &key, &resting);)
		cluster_free(resting);
	map_end(&s->clusters);
	free(s);
}

void store_conf(struct store *s, const struct conf_xds *conf, uint64_t park_ns)
{
	s->spec.conf = conf;
	s->spec.park_ns = park_ns;
}

void store_counts(const struct store *s, struct store_counts *ret)
{
	*ret = (struct store_counts){.clusters = s->cluster_count};
	list_each(n, tmp, &s->entries)
	{
		const struct mesh_name *name = list_entry(n, struct entry, node)->name;

		ret->names++;
		ret->unknown += name->state == MESH_UNKNOWN;
		ret->absent += name->state == MESH_ABSENT;
		ret->stale += name->stale;
	}
}
