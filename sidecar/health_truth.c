/* sidecar/health_truth: see the header. A look takes the same steps as a call (sidecar/exchange: NAME, ROUTE, and PICK without taking anybody). */
#include "sidecar/health_truth.h"
#include <stdio.h>
#include <stdlib.h>
#include "sidecar/sidecar.h"

enum { CLUSTERS_MAX = 64 /* of one route; the rest of a longer list is not looked at */ };

struct truth_cluster {
	struct truth *truth;
	struct cluster *cluster;      /* held; NULL: it is declared no more */
	struct cluster_watch alive;
	struct mesh_watch declared;
};
struct truth_set {
	struct truth *truth;
	struct mesh_watch name;
	uint32_t n, room;
	struct truth_cluster clusters[];
};

/* Dubbo asks for GROUP/INTERFACE:VERSION, and calls /INTERFACE/METHOD with the other two in headers: what stands in `paths` is the interface. */
static struct str interface_of(struct str service)
{
	size_t from = service.n;
	while (from && service.p[from - 1] != '/')
		from--;
	struct str rest = str_cut(service, from, service.n);
	ptrdiff_t colon = str_find(rest, ':');
	return colon < 0 ? rest : str_cut(rest, 0, (size_t)colon);
}

static bool is_meant(struct str service, const char *known)
{
	return str_is(service, known) || str_is(interface_of(service), known);
}

enum truth_says truth_of_app(const struct app *a, struct str service)
{
	bool known = service.n == 0;
	for (uint32_t i = 0; i < a->conf->health.nservices && !known; i++)
		known = is_meant(service, a->conf->health.services[i]);
	for (uint32_t i = 0; i < a->conf->npaths && !known; i++)
		known = is_meant(service, a->conf->paths[i].from);
	if (!known)
		return SAYS_UNKNOWN;
	return life_is_open(a->life) ? SAYS_SERVING : SAYS_NOT_SERVING;
}

/* ---- what is watched ---- */

static void name_changed(struct mesh_watch *w)
{
	struct truth *t = container_of(w, struct truth_set, name)->truth;
	t->changed(t);
}

static void alive_changed(struct cluster_watch *w)
{
	struct truth *t = container_of(w, struct truth_cluster, alive)->truth;
	t->changed(t);
}

static void declared_changed(struct mesh_watch *w)
{
	struct truth *t = container_of(w, struct truth_cluster, declared)->truth;
	t->changed(t);
}

static void set_free(struct truth_set **s)
{
	if (!*s)
		return;
	for (uint32_t i = 0; i < (*s)->n; i++) {
		struct truth_cluster *c = &(*s)->clusters[i];
		mesh_unwatch(&c->declared);
		if (c->cluster)
			cluster_unwatch(&c->alive);
		cluster_release(&c->cluster);
	}
	mesh_unwatch(&(*s)->name);
	free(*s);
	*s = NULL;
}

void truth_end(struct truth *t)
{
	set_free(&t->set);
}

/* ---- a look ---- */

/* How good two ways are of which a call takes one: it could succeed where one of them serves. */
static enum truth_says better(enum truth_says a, enum truth_says b)
{
	if (a == SAYS_SERVING || b == SAYS_SERVING)
		return SAYS_SERVING;
	return a == SAYS_WAIT || b == SAYS_WAIT ? SAYS_WAIT : SAYS_NOT_SERVING;
}

static enum truth_says look_cluster(struct truth *t, struct truth_set *s, const struct mesh_name *name, struct str to)
{
	struct sidecar *sc = t->app->sc;
	struct mesh_cluster *mc = to.n ? mesh_cluster_find(sc->mesh, name->view, to) : NULL;
	if (!mc) {
		t->again |= to.n > 0;
		return SAYS_NOT_SERVING;
	}
	if (s->n == s->room)
		return SAYS_NOT_SERVING;
	struct truth_cluster *c = &s->clusters[s->n++];
	c->truth = t;
	mesh_watch_cluster(mc, &c->declared, declared_changed);
	c->cluster = cluster_live(sc->clusters, mc);
	if (!c->cluster)
		return SAYS_NOT_SERVING;
	cluster_hold(c->cluster);
	cluster_watch(c->cluster, &c->alive, alive_changed);
	switch (cluster_truth(c->cluster)) {
	case TRUTH_SERVING:
		return SAYS_SERVING;
	case TRUTH_NOT_SERVING:
		return SAYS_NOT_SERVING;
	case TRUTH_UNKNOWN:
		break;
	}
	return SAYS_WAIT;
}

static enum truth_says look_weighted(struct truth *t, struct truth_set *s, const struct mesh_name *name, const struct route_action *a, const struct fields *head)
{
	enum truth_says says = SAYS_NOT_SERVING;
	for (uint32_t i = 0; i < a->nweighted; i++) {
		const struct route_weighted *w = &a->weighted[i];
		const struct field *f = w->by_header ? fields_find(head, str_of(w->cluster)) : NULL;
		struct str to = !w->by_header ? str_of(w->cluster) : f ? str_n(f->value, f->value_len) : STR("");
		if (w->weight)
			says = better(says, look_cluster(t, s, name, to));
	}
	return says;
}

static enum truth_says look_route(struct truth *t, struct truth_set *s, const struct mesh_name *name, const struct route_action *a, const struct fields *head)
{
	if (!a)
		return SAYS_NOT_SERVING;
	switch (a->kind) {
	case ROUTE_CLUSTER:
	case ROUTE_CLUSTER_HEADER: {
		struct str to = route_action_cluster(a, 0, head);
		return look_cluster(t, s, name, to.p ? to : STR(""));
	}
	case ROUTE_WEIGHTED:
		return look_weighted(t, s, name, a, head);
	case ROUTE_DIRECT:
		return a->direct.status < 400 ? SAYS_SERVING : SAYS_NOT_SERVING;
	case ROUTE_REDIRECT:
		return SAYS_SERVING;
	case ROUTE_UNSUPPORTED:
		break;
	}
	return SAYS_NOT_SERVING;
}

static enum truth_says look_name(struct truth *t, struct mesh_name *name, const struct fields *head)
{
	const struct route_action *a = name->state == MESH_PRESENT ? route_match(name->routes, head, 0) : NULL;
	uint32_t room = a && a->kind == ROUTE_WEIGHTED ? a->nweighted < CLUSTERS_MAX ? a->nweighted : CLUSTERS_MAX : 1;
	struct truth_set *s = xalloc(sizeof *s + room * sizeof s->clusters[0]);
	s->truth = t;
	s->room = room;
	t->set = s;
	mesh_name_use(name, t->app->sc->loop->now_ns);
	mesh_watch_name(name, &s->name, name_changed);
	if (name->state != MESH_PRESENT)
		snprintf(t->why, sizeof t->why, "%s%s%s", name->source ? name->source : "", name->source && name->why ? ": " : "", name->why ? name->why : "");
	switch (name->state) {
	case MESH_PRESENT:
		t->named = true;
		return look_route(t, s, name, a, head);
	case MESH_ABSENT:
		return SAYS_UNKNOWN;
	case MESH_UNKNOWN:
		break;
	}
	return name->failed ? SAYS_UNREACHED : SAYS_WAIT;
}

enum truth_says truth_look(struct truth *t, const struct fields *head, struct str service, const char *default_authority)
{
	struct app *a = t->app;
	struct str authority = fields_value(head, FIELD_AUTHORITY);
	struct sb path = {0};
	if (!authority.p)
		authority = fields_value(head, FIELD_HOST);
	struct str interface = interface_of(service);
	if (interface.n)
		sb_fmt(&path, "/%.*s/Check", (int)interface.n, interface.p);
	const struct name_hit *hit = names_find(&a->names, a->conf, a->sc->conf->mesh_domain, default_authority, authority, sb_view(&path));
	sb_end(&path);
	/* The new set before the old one goes: what both hold is never let go in between. */
	struct truth_set *was = t->set;
	t->set = NULL;
	t->named = t->again = false;
	t->why[0] = '\0';
	enum truth_says says = SAYS_UNKNOWN;
	if (hit->name) {
		says = look_name(t, hit->name, head);
	} else if (hit->fault == FAULT_NAMES_FULL) {
		stat_inc(&a->sc->loop->stats, STAT_NAMES_LIMIT);
		says = SAYS_FULL;
	} else if (hit->fault == FAULT_BAD_AUTHORITY) {
		says = SAYS_BAD;
	} else if (hit->fault == FAULT_NO_APP && !service.n) {
		says = SAYS_SERVING; /* nobody is named: it is the daemon that is asked, and it answers */
	}
	set_free(&was);
	return says;
}

bool truth_has(const struct truth *t, uint32_t percent, char **ret_why)
{
	bool missing = !t->set || t->again;
	for (uint32_t i = 0; i < (t->set ? t->set->n : 0); i++) {
		struct cluster *c = t->set->clusters[i].cluster;
		struct cluster_view v;
		missing |= !c;
		if (!c)
			continue;
		cluster_view(c, &v);
		uint64_t there = v.hosts - v.held, well = (uint64_t)v.healthy + v.degraded;
		if (there ? well * 100 >= there * percent : percent == 0)
			continue;
		*ret_why = xasprintf("service '%s': %llu of %llu providers are healthy, %u %% are needed", v.name, (unsigned long long)well, (unsigned long long)there, percent);
		return false;
	}
	if (missing)
		*ret_why = xasprintf("providers of one that its route leads to are not declared");
	return !missing;
}
