/* tests/flow/rig_world: a sidecar with one app beside a control plane and two providers: where tests of names from a mesh begin. On the stack of the test; what it points to is
 * the rig's. */
#pragma once
#include <string.h>

#include "tests/flow/rig.h"
#include "tests/flow/rig_ads.h"

#define HOST "demo.default.svc.cluster.local"
#define PLANE "10.9.9.9:15010"
#define CLUSTER "outbound|50051||" HOST
#define CONTROL "unix:/run/control.sock"
#define APPS "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\ncontrol: {unix: /run/control.sock}\n"
#define XDS(more) APPS "xds: {server: \"" PLANE "\"" more "}\n"

struct world {
	struct rig *r;
	struct plane *p;
	struct provider *one, *two;
	struct caller *app;
};

/* The control plane and the providers are there, the sidecar is not. */
static inline struct world world_bare(enum plane_kind kind)
{
	struct world w = {.r = rig_bare(7)};

	w.p = rig_plane(w.r, PLANE, kind);
	w.one = provider_new(w.r, "10.0.0.1:1", ANSWERS);
	w.two = provider_new(w.r, "10.0.0.2:1", ANSWERS);
	return w;
}

static inline void world_start(struct world *w, const char *yaml)
{
	rig_start(w->r, yaml);
	w->app = caller_new(w->r, DOOR);
	rig_settle(w->r);
}

static inline struct world world_new(enum plane_kind kind, const char *yaml)
{
	struct world w = world_bare(kind);

	world_start(&w, yaml);
	return w;
}

/* istiod with HOST on the first provider. */
static inline struct world world_istio(const char *yaml)
{
	struct world w = world_new(PLANE_ISTIO, yaml);

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	return w;
}

/* A call, and 50 ms for its answer. */
static inline struct call *world_call(struct world *w, const char *authority)
{
	struct call *k = call_unary(w->app, authority, NULL);

	rig_advance(w->r, 50);
	return k;
}

/* A resource from what make_* wrote, in the dialect that every stream of the plane sees. */
static inline void world_put(struct world *w, enum xds_type t, const char *name, struct sb *taken)
{
	plane_put_in(w->p, w->p->kind == PLANE_ISTIO ? DIALECT_SIDECAR : DIALECT_BOTH, t, name, taken->p, taken->n);
	sb_end(taken);
}

/* A page of the control socket; lives as long as the rig. */
static inline const char *world_page(struct world *w, const char *path)
{
	struct caller *c = caller_new(w->r, CONTROL);
	struct call *k = call_plain(c, "GET", "thinmesh", path, NULL, true);

	rig_settle(w->r);
	if (!k->ends || k->status != 200)
		rig_die("%s: status %d", path, k->status);
	sb_char(&k->data, '\0');
	k->data.n--;
	caller_close(c);
	rig_settle(w->r);
	return k->data.p;
}

static inline bool says(const char *text, const char *part)
{
	return text && strstr(text, part);
}

/* Lines of the log, from when it was begun; lies on the stack of the test until the rig ends. */
struct said { struct sb lines; };
static inline void said_line(void *ctx, enum log_level level, const char *line, size_t n)
{
	(void)level;
	sb_add(&((struct said *)ctx)->lines, line, n);
}

static inline void said_begin(struct said *s, struct rig *r)
{
	*s = (struct said){.lines = {0}};
	log_set_sink(r->log, said_line, s);
}

static inline uint32_t said_count(struct said *s, const char *part)
{
	uint32_t n = 0;

	sb_char(&s->lines, '\0');
	s->lines.n--;
	for (const char *at = s->lines.p; (at = strstr(at, part)); at++)
		n++;
	return n;
}

static inline void said_end(struct said *s, struct rig *r)
{
	log_set_sink(r->log, NULL, NULL);
	sb_end(&s->lines);
}
