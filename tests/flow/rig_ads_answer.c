/* tests/flow/rig_ads_answer: what a control plane says to a request and after a change: the rules of istiod (reference istio.md 1.3 and 1.8, lines named below), and
 * where go-control-plane, Consul (5) and Nacos (5) differ. See rig_ads.h. */
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc.h"
#include "tests/flow/rig_ads.h"

struct change { struct list node; enum plane_dialect dialect; enum xds_type type; bool gone; char *name; };

static bool is_sidecar(const struct plane_stream *s)
{
	return s->plane->kind == PLANE_ISTIO && !s->grpc;
}

static enum plane_dialect dialect_of(const struct plane_stream *s)
{
	return s->plane->kind != PLANE_ISTIO ? DIALECT_BOTH : s->grpc ? DIALECT_GRPC : DIALECT_SIDECAR;
}

/* In the sidecar dialect LDS and CDS ignore names (istio.md 0.1). */
static bool takes_all(const struct plane_stream *s, enum xds_type t)
{
	return (is_sidecar(s) && (t == XDS_LDS || t == XDS_CDS)) || s->watch[t].wildcard;
}

/* ---- names and resources ---- */

/* The one spelling under which the store has a host: what istiod does with its domains (istio.md 1.4, "RDS by other names"). */
static void full_name(const struct plane *p, const char *name, char *out, size_t cap)
{
	const char *colon = strrchr(name, ':');
	size_t host = colon ? (size_t)(colon - name) : strlen(name);
	const char *domain = p->domain;
	int dots = 0;

	if (host && name[host - 1] == '.')
		host--;
	for (size_t i = 0; i < host; i++)
		dots += name[i] == '.';
	for (int i = 0; i < dots && domain; i++) {
		domain = strchr(domain, '.');
		domain = domain ? domain + 1 : NULL;
	}
	if (!colon || dots > 2 || !domain)
		snprintf(out, cap, "%.*s%s", (int)host, name, colon ? colon : "");
	else
		snprintf(out, cap, "%.*s.%s%s", (int)host, name, domain, colon);
}

struct plane_resource *plane_find(const struct plane *p, const struct plane_stream *s, enum xds_type t, struct str name)
{
	struct plane_resource *r = map_get(&p->resources[dialect_of(s)][t], name);

	return r ? r : map_get(&p->resources[DIALECT_BOTH][t], name);
}

struct answer {
	struct plane_stream *s;
	enum xds_type t;
	struct sb resources, removed;
	uint32_t n;
	struct plane_names found, spelled;
};

static void add_once(struct answer *a, const char *name, const void *bytes, size_t n)
{
	struct sb any = {0}, resource = {0}, wrapped = {0};
	char version[32] = "";

	pb_text(&any, 1, plane_type_url[a->t]);
	pb_bytes(&any, 2, bytes, n);
	/* istiod's are empty (istio.md 1.3); go-control-plane and Consul hash the content. */
	if (a->s->plane->kind != PLANE_ISTIO)
		snprintf(version, sizeof(version), "%016llx", (unsigned long long)str_hash(str_n(bytes, n)));
	if (!a->s->delta && !a->s->plane->quirks.wrap) {
		pb_sub(&a->resources, 2, &any);
		return;
	}
	if (version[0])
		pb_text(&resource, 1, version);
	pb_sub(&resource, 2, &any);
	pb_text(&resource, 3, name);
	if (a->s->delta) {
		pb_sub(&a->resources, 2, &resource);
		return;
	}
	pb_text(&wrapped, 1, "type.googleapis.com/envoy.service.discovery.v3.Resource");
	pb_sub(&wrapped, 2, &resource);
	pb_sub(&a->resources, 2, &wrapped);
}

static void add(struct answer *a, const char *name, const void *bytes, size_t n)
{
	for (int i = 0; i <= a->s->plane->quirks.twice; i++)
		add_once(a, name, bytes, n);
	a->n++;
	plane_names_add(&a->found, name);
}

static void add_removed(struct answer *a, const char *name)
{
	if (a->s->delta)
		pb_text(&a->removed, 6, name);
}

static void add_empty(struct answer *a, const char *name)
{
	struct sb b = {0};

	if (a->t == XDS_RDS)
		make_routes(&b, name, NULL, NULL);
	else
		make_assignment(&b, name, "", false);
	add(a, name, b.p, b.n);
	sb_end(&b);
}

/* As stored, under the name that was asked: field 1 is the name in all four types, and comes first in what make_* writes. */
static void add_as(struct answer *a, const char *name, const struct plane_resource *r)
{
	struct sb b = {0};
	size_t skip = 2 + strlen(r->name) + (strlen(r->name) > 127);

	pb_text(&b, 1, name);
	if (r->bytes.n > skip)
		sb_add(&b, r->bytes.p + skip, r->bytes.n - skip);
	add(a, name, b.p, b.n);
	sb_end(&b);
}

/* One name that was asked for. */
static void add_named(struct answer *a, const char *name)
{
	struct plane_stream *s = a->s;
	struct plane *p = s->plane;
	struct plane_resource *r = plane_find(p, s, a->t, str_of(name));

	if (is_sidecar(s) && a->t == XDS_RDS) {
		char full[512];
		full_name(p, name, full, sizeof(full));
		r = plane_find(p, s, a->t, str_of(full));
		if (!r && (r = plane_find(p, s, a->t, str_of(name)))) /* a host of the world may have two labels as well */
			snprintf(full, sizeof(full), "%s", name);
		/* The virtual hosts of a port are built once a message and given away to the first who asks (istio.md 1.8.1). */
		if (r && !p->quirks.no_spellings && plane_names_has(&a->spelled, full))
			r = NULL;
		plane_names_add(&a->spelled, full);
	}
	if (r && strcmp(r->name, name) != 0)
		add_as(a, name, r);
	else if (r)
		add(a, name, r->bytes.p, r->bytes.n);
	else if (p->kind == PLANE_ISTIO && (a->t == XDS_RDS || a->t == XDS_EDS)) {
		if (!p->quirks.no_absent) /* istio.md 0.2, 1.8.5 */
			add_empty(a, name);
	} else if (!p->quirks.silent_absent) {
		add_removed(a, name);
	}
}

static void add_all(struct answer *a)
{
	enum plane_dialect both[2] = {dialect_of(a->s), DIALECT_BOTH};

	for (int i = 0; i < (both[0] == DIALECT_BOTH ? 1 : 2); i++) {
		struct str name;
		void *value;
		for (uint32_t at = 0; map_next(&a->s->plane->resources[both[i]][a->t], &at, &name, &value);) {
			struct plane_resource *r = value;
			add(a, r->name, r->bytes.p, r->bytes.n);
		}
	}
}

/* ---- an answer ---- */

static struct answer answer_new(struct plane_stream *s, enum xds_type t)
{
	return (struct answer){.s = s, .t = t};
}

static void answer_send(struct answer *a, bool push)
{
	struct plane_stream *s = a->s;
	struct plane *p = s->plane;
	struct plane_watch *w = &s->watch[a->t];
	struct sb m = {0};
	char version[48];

	/* An answer carries the version of the last change of configuration, a push its own: they run backwards on one stream (istio.md 1.3, 1.8.9). */
	snprintf(version, sizeof(version), "2026-11-21T04:04:00Z/%llu", (unsigned long long)(push || p->kind != PLANE_ISTIO ? p->version : p->config_version));
	snprintf(w->nonce, sizeof(w->nonce), "%s%08llx", version, (unsigned long long)++p->nonces * 2654435761u % 4294967296u);
	pb_text(&m, 1, version);
	sb_add(&m, a->resources.p ? a->resources.p : "", a->resources.n);
	pb_text(&m, 4, plane_type_url[a->t]);
	if (!p->quirks.no_nonce)
		pb_text(&m, 5, w->nonce);
	sb_add(&m, a->removed.p ? a->removed.p : "", a->removed.n);
	/* istio.md 1.6: delta in the grpc dialect keeps the names of the last answer only. */
	if (s->delta && s->grpc && !p->quirks.no_forget && (a->t == XDS_LDS || a->t == XDS_CDS)) {
		plane_names_clear(&w->names);
		w->names = a->found;
		a->found = (struct plane_names){0};
	}
	if (push)
		p->pushes++;
	plane_send(s, (int)a->t, &m);
	sb_end(&a->resources);
	sb_end(&a->removed);
	plane_names_clear(&a->found);
	plane_names_clear(&a->spelled);
}

static void answer_watched(struct plane_stream *s, enum xds_type t, bool push)
{
	struct answer a = answer_new(s, t);
	struct plane_watch *w = &s->watch[t];

	if (takes_all(s, t) || (s->plane->kind == PLANE_NACOS && t == XDS_EDS && !push))
		add_all(&a);
	else
		for (uint32_t i = 0; i < w->names.n; i++)
			add_named(&a, w->names.name[i]);
	answer_send(&a, push);
}

/* ---- requests, state of the world ---- */

static void names_replace(struct plane_names *l, char **names, uint32_t n)
{
	plane_names_clear(l);
	for (uint32_t i = 0; i < n; i++)
		plane_names_add(l, names[i]);
}

static void sotw_first(struct plane_stream *s, const struct plane_request *q, enum xds_type t)
{
	struct plane_watch *w = &s->watch[t], *eds = &s->watch[XDS_EDS];
	bool star = q->nsub == 1 && strcmp(q->sub[0], "*") == 0;

	names_replace(&w->names, q->sub, q->nsub);
	/* The grpc dialect gives everything for an empty LDS, nothing for an empty CDS (istio.md 1.6). */
	w->wildcard = star || (q->nsub == 0 && (t == XDS_LDS || (t == XDS_CDS && !s->grpc)));
	w->asked = w->wildcard || q->nsub > 0;
	w->unacked = 0;
	if (!w->asked)
		return;
	answer_watched(s, t, false);
	if (t == XDS_CDS && s->plane->kind == PLANE_ISTIO && eds->asked && !s->plane->quirks.no_force_eds)
		eds->force = true;
}

static void sotw(struct plane_stream *s, struct plane_request *q)
{
	enum xds_type t = (enum xds_type)q->type;
	struct plane *p = s->plane;
	struct plane_watch *w = &s->watch[t];
	bool first = !w->asked || !q->nonce[0], stale = strcmp(q->nonce, w->nonce) != 0 && !p->quirks.no_stale_check && !p->quirks.no_nonce;

	if (q->has_error) { /* counted, never answered, the names inside are ignored */
		p->nacks++;
		return;
	}
	if (first) {
		sotw_first(s, q, t);
		return;
	}
	if (q->nsub == 0 && !takes_all(s, t)) { /* unsubscribed, even with a stale nonce */
		plane_names_clear(&w->names);
		w->asked = false;
		return;
	}
	if (stale)
		return;
	p->acks++;
	if (w->unacked)
		w->unacked--;
	if (p->kind == PLANE_NACOS) /* an equal nonce is an ACK and nothing else (istio.md 5) */
		return;
	struct plane_names added = {0};
	for (uint32_t i = 0; i < q->nsub; i++)
		if (!plane_names_has(&w->names, q->sub[i]))
			plane_names_add(&added, q->sub[i]);
	names_replace(&w->names, q->sub, q->nsub);
	if (added.n && is_sidecar(s) && !takes_all(s, t) && !p->quirks.no_partial) {
		struct answer a = answer_new(s, t);
		for (uint32_t i = 0; i < added.n; i++)
			add_named(&a, added.name[i]);
		answer_send(&a, false);
	} else if ((added.n && !takes_all(s, t)) || w->force) {
		w->force = false;
		answer_watched(s, t, false);
	}
	plane_names_clear(&added);
}

/* ---- requests, delta ---- */

static bool delta_subscribe(struct plane_stream *s, struct plane_request *q, enum xds_type t, struct plane_names *added)
{
	struct plane_watch *w = &s->watch[t];
	bool first = !w->asked, named = false, resend = s->plane->kind != PLANE_ISTIO;

	w->asked = true;
	for (uint32_t i = 0; i < q->nsub; i++) {
		if (strcmp(q->sub[i], "*") == 0) {
			first |= !w->wildcard;
			w->wildcard = true;
			continue;
		}
		named = true;
		/* The protocol wants all of it again; istiod answers new ones only (istio.md 1.3). */
		if (resend || !plane_names_has(&w->names, q->sub[i]))
			plane_names_add(added, q->sub[i]);
		plane_names_add(&w->names, q->sub[i]);
	}
	if (first && !named && q->nsub == 0 && q->nunsub == 0 && (t == XDS_LDS || t == XDS_CDS))
		w->wildcard = true;
	for (uint32_t i = 0; i < q->nhave; i++) {
		if (!plane_names_has(&w->names, q->have[i]) && s->plane->kind == PLANE_ISTIO)
			plane_names_add(added, q->have[i]);
		if (s->plane->kind == PLANE_ISTIO && !takes_all(s, t))
			plane_names_add(&w->names, q->have[i]);
	}
	for (uint32_t i = 0; i < q->nunsub; i++) {
		plane_names_del(&w->names, q->unsub[i]);
		if (strcmp(q->unsub[i], "*") == 0)
			w->wildcard = false;
	}
	return first;
}

static void delta(struct plane_stream *s, struct plane_request *q)
{
	enum xds_type t = (enum xds_type)q->type;
	struct plane *p = s->plane;
	struct plane_watch *w = &s->watch[t];
	struct plane_names added = {0};

	if (q->has_error || q->nonce[0]) {
		bool stale = strcmp(q->nonce, w->nonce) != 0 && !p->quirks.no_stale_check && !p->quirks.no_nonce;
		if (w->unacked)
			w->unacked--;
		*(q->has_error ? &p->nacks : &p->acks) += 1;
		if (q->has_error || (stale && p->kind == PLANE_ISTIO) || (!q->nsub && !q->nunsub)) {
			plane_acked(s);
			return;
		}
	}
	bool first = delta_subscribe(s, q, t, &added);
	if (first || added.n) {
		struct answer a = answer_new(s, t);
		if (takes_all(s, t) && (first || is_sidecar(s)))
			add_all(&a);
		for (uint32_t i = 0; i < added.n; i++)
			if (!plane_names_has(&a.found, added.name[i]))
				add_named(&a, added.name[i]);
		for (uint32_t i = 0; first && i < q->nhave; i++)
			if (!plane_names_has(&a.found, q->have[i]) && !plane_names_has(&added, q->have[i]) && !plane_find(p, s, t, str_of(q->have[i])))
				add_removed(&a, q->have[i]);
		answer_send(&a, false);
	}
	plane_names_clear(&added);
	if (t == XDS_CDS && p->kind == PLANE_ISTIO && s->watch[XDS_EDS].asked && !p->quirks.no_force_eds)
		answer_watched(s, XDS_EDS, true);
	plane_acked(s);
}

/* ---- any request ---- */

/* TYPE~IP~ID~DOMAIN (istio.md 1.2). */
static const char *node_fault(const struct plane_request *q)
{
	int tildes = 0;

	for (const char *c = q->node_id; *c; c++)
		tildes += *c == '~';
	if (tildes != 3)
		return "missing parts in the service node";
	if (strncmp(q->node_id, "sidecar~", 8) != 0 && strncmp(q->node_id, "router~", 7) != 0)
		return "invalid node type";
	return NULL;
}

/* Before any ordinary request it is dropped without a sign, together with its node (istio.md 1.2); an agent drops it until listeners were asked for (2.1.6). Never answered. */
static void health_heard(struct plane_stream *s, const struct plane_request *q)
{
	struct plane *p = s->plane;

	if (!s->ordinary || (p->quirks.agent && !s->watch[XDS_LDS].asked)) {
		p->health.early++;
		return;
	}
	p->health.count++;
	p->health.ok = !q->has_error;
	p->health.at_ns = q->at_ns;
	p->health.stream = s->number;
	snprintf(p->health.text, sizeof(p->health.text), "%s", q->error_text);
}

void plane_heard(struct plane_stream *s, struct plane_request *q)
{
	struct plane *p = s->plane;

	if (p->heard) {
		p->heard(p->ctx, s, q);
		return;
	}
	if (q->type == PLANE_OTHER && p->kind == PLANE_ISTIO) {
		if (strcmp(q->type_url, "type.googleapis.com/istio.v1.HealthInformation") == 0)
			health_heard(s, q);
		else if (!p->quirks.no_type_check)
			plane_finish(s, GRPC_UNAUTHENTICATED, "the api generator requires an authenticated control-plane identity");
		return;
	}
	if (q->has_node && !s->has_node) {
		const char *fault = p->kind == PLANE_ISTIO && !p->quirks.no_node_check ? node_fault(q) : NULL;
		if (fault) {
			plane_finish(s, GRPC_INVALID_ARGUMENT, fault);
			return;
		}
		s->has_node = true;
		s->grpc = p->kind == PLANE_ISTIO && q->node_bytes.n && memmem(q->node_bytes.p, q->node_bytes.n, "GENERATOR", 9);
	}
	if (!s->has_node && !p->quirks.no_node_check) {
		plane_finish(s, GRPC_INVALID_ARGUMENT, "missing node information");
		return;
	}
	s->ordinary = true;
	if (q->type == PLANE_OTHER)
		return;
	if (s->delta && p->kind == PLANE_NACOS) /* its null response breaks the stream (istio.md 5) */
		plane_finish(s, GRPC_INTERNAL, "null");
	else if (s->delta)
		delta(s, q);
	else
		sotw(s, q);
}

/* ---- pushes ---- */

void plane_changed(struct plane *p, enum plane_dialect d, enum xds_type t, const char *name, bool gone)
{
	struct change *c;

	list_each(n, tmp, &p->changes) {
		c = list_entry(n, struct change, node);
		if (c->dialect == d && c->type == t && strcmp(c->name, name) == 0) {
			c->gone = gone;
			return;
		}
	}
	c = xnew(struct change);
	c->dialect = d;
	c->type = t;
	c->gone = gone;
	c->name = xstrdup(name);
	list_push(&p->changes, &c->node);
}

void plane_forget_changes(struct plane *p)
{
	for (struct list *n; (n = list_pop(&p->changes));) {
		struct change *c = list_entry(n, struct change, node);
		free(c->name);
		free(c);
	}
}

static bool concerns(const struct plane_stream *s, const struct change *c)
{
	return c->dialect == DIALECT_BOTH || c->dialect == dialect_of(s);
}

/* The changed ones alone; of a type that is taken whole over delta also the three that istiod always adds (istio.md 1.3, "Removals"). */
static void push_changed(struct plane_stream *s, enum xds_type t, bool always)
{
	static const char *const special[] = {"BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"};
	struct answer a = answer_new(s, t);
	struct plane_watch *w = &s->watch[t];
	bool any = always;

	list_each(n, tmp, &s->plane->changes) {
		struct change *c = list_entry(n, struct change, node);
		if (c->type != t || !concerns(s, c) || !(takes_all(s, t) || plane_names_has(&w->names, c->name)))
			continue;
		any = true;
		if (c->gone && (s->plane->kind != PLANE_ISTIO || t == XDS_CDS || t == XDS_LDS))
			add_removed(&a, c->name);
		else
			add_named(&a, c->name);
	}
	for (size_t i = 0; t == XDS_CDS && is_sidecar(s) && s->delta && i < 3; i++)
		if (!plane_names_has(&a.found, special[i]) && plane_find(s->plane, s, t, str_of(special[i])))
			add_named(&a, special[i]);
	if (any) {
		answer_send(&a, true);
		return;
	}
	sb_end(&a.resources);
	sb_end(&a.removed);
	plane_names_clear(&a.found);
	plane_names_clear(&a.spelled);
}

static void push_istio(struct plane_stream *s, const bool changed[XDS_TYPES])
{
	struct plane *p = s->plane;
	bool config = changed[XDS_CDS] || changed[XDS_LDS] || changed[XDS_RDS];
	/* In the grpc dialect one endpoint is enough (istio.md 1.6, no needsPush filter). */
	bool all = !p->quirks.no_churn && (config || (s->grpc && changed[XDS_EDS]));

	if (s->watch[XDS_CDS].asked && (all || changed[XDS_CDS])) {
		if (s->delta && !s->grpc)
			push_changed(s, XDS_CDS, true);
		else
			answer_watched(s, XDS_CDS, true);
	}
	if (s->watch[XDS_EDS].asked && changed[XDS_EDS])
		push_changed(s, XDS_EDS, false);
	if (s->watch[XDS_LDS].asked && (all || changed[XDS_LDS]))
		answer_watched(s, XDS_LDS, true);
	if (s->watch[XDS_RDS].asked && (all || changed[XDS_RDS]))
		answer_watched(s, XDS_RDS, true);
	if (s->watch[XDS_SDS].asked && changed[XDS_SDS])
		push_changed(s, XDS_SDS, false);
}

static bool watches_change(struct plane_stream *s, enum xds_type t)
{
	list_each(n, tmp, &s->plane->changes) {
		struct change *c = list_entry(n, struct change, node);
		if (c->type == t && concerns(s, c) && (takes_all(s, t) || plane_names_has(&s->watch[t].names, c->name)))
			return true;
	}
	return false;
}

static void push_generic(struct plane_stream *s)
{
	static const enum xds_type order[XDS_TYPES] = {XDS_CDS, XDS_EDS, XDS_LDS, XDS_RDS, XDS_SDS};

	for (size_t i = 0; i < XDS_TYPES; i++) {
		enum xds_type t = order[i];
		if (!s->watch[t].asked || !watches_change(s, t))
			continue;
		if (s->delta || s->plane->kind == PLANE_NACOS)
			push_changed(s, t, false);
		else
			answer_watched(s, t, true);
	}
}

void plane_push_now(struct plane *p)
{
	bool config = false;

	if (list_empty(&p->changes) || p->held)
		return;
	p->version++;
	list_each(n, tmp, &p->changes)
		config |= list_entry(n, struct change, node)->type != XDS_EDS;
	if (config)
		p->config_version = p->version;
	list_each(n, tmp, &p->streams) {
		struct plane_stream *s = list_entry(n, struct plane_stream, node);
		bool changed[XDS_TYPES] = {false};
		if (!s->stream)
			continue;
		list_each(m, tmp2, &p->changes) {
			struct change *c = list_entry(m, struct change, node);
			changed[c->type] |= concerns(s, c);
		}
		if (p->kind == PLANE_ISTIO)
			push_istio(s, changed);
		else
			push_generic(s);
	}
	plane_forget_changes(p);
}

/* ---- by hand ---- */

void plane_say(struct plane *p, enum xds_type t, const char *names)
{
	struct plane_stream *s = plane_stream(p);

	if (!s) {
		fputs("rig_ads: no stream is open to say it on\n", stderr);
		abort();
	}
	struct answer a = answer_new(s, t);
	for (const char *at = names ? names : ""; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");
		char *name = xstrndup(at, n);
		add_named(&a, name);
		free(name);
		at += n;
	}
	answer_send(&a, true);
}

void plane_say_bytes(struct plane *p, const char *type_url, const char *name, const void *bytes, size_t n)
{
	struct plane_stream *s = plane_stream(p);
	struct sb m = {0}, any = {0}, resource = {0};
	char nonce[32];

	if (!s) {
		fputs("rig_ads: no stream is open to say it on\n", stderr);
		abort();
	}
	snprintf(nonce, sizeof(nonce), "by-hand-%llu", (unsigned long long)++p->nonces);
	for (int t = 0; t < XDS_TYPES; t++)
		if (strcmp(type_url, plane_type_url[t]) == 0)
			memcpy(s->watch[t].nonce, nonce, sizeof(nonce));
	pb_text(&m, 1, "by-hand");
	pb_text(&any, 1, type_url);
	pb_bytes(&any, 2, bytes, n);
	if (s->delta) {
		pb_sub(&resource, 2, &any);
		pb_text(&resource, 3, name);
		pb_sub(&m, 2, &resource);
	} else {
		pb_sub(&m, 2, &any);
	}
	pb_text(&m, 4, type_url);
	pb_text(&m, 5, nonce);
	plane_message(p, m.p, m.n);
	sb_end(&m);
}
