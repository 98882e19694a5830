/* Any sequence of pushes: valid, mutated, cut, doubled, of names that nobody wants, removals; over either protocol form, whole or in pieces, with the stream lost in between. What the mesh
 * view holds afterwards is compared with a model: of each resource the last one that its decoder takes counts, whatever else came in the same answer or was cut behind it;
 * what was refused changes nothing; a name is present, absent or unknown by that alone.
 *
 * The first byte chooses the form. Then each operation takes what it needs from the input; where nothing is left, zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/flow/rig.h"
#include "sidecar/app.h"
#include "tests/flow/rig_ads.h"
#include "xds/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAMES = 3, MESSAGES = 40, RESOURCES = 6 };
enum what { NOTHING, THERE, NOT_THERE };
struct model {                        /* of one name */
	enum what routes, endpoints;
	struct route_config *config;      /* THERE */
	bool odd;                         /* its routes were mutated and taken all the same: they may name any cluster */
	uint64_t hash;                    /* of the endpoints */
	bool peopled;                     /* they had some, once */
	bool routed, left;                /* it had routes; and lost them, and its cluster with them: that one is asked anew, and rests for a while */
};
struct input { const uint8_t *p, *end; };
struct play {
	struct rig *rig;
	struct plane *plane;
	struct mesh_view *view;
	struct account account;
	struct model model[NAMES + 1];    /* the last one nobody wants */
	bool delta;
	uint32_t nonce;
};

static void insist_at(bool it, int line)
{
	if (it)
		return;
	fprintf(stderr, "fuzz_pushes.c:%d: what the view holds is not what was said\n", line);
	abort();
}
#define insist(it) insist_at(it, __LINE__)

static uint8_t take(struct input *in)
{
	return in->p < in->end ? *in->p++ : 0;
}

static const char *name_of(enum xds_type t, uint32_t i)
{
	static const char *const rds[] = {"n0.default.svc.cluster.local:1", "n1.default.svc.cluster.local:1", "n2.default.svc.cluster.local:1", "n3.default.svc.cluster.local:1"};
	static const char *const eds[] = {"outbound|1||n0.default.svc.cluster.local", "outbound|1||n1.default.svc.cluster.local", "outbound|1||n2.default.svc.cluster.local",
		"outbound|1||n3.default.svc.cluster.local"};

	return t == XDS_RDS ? rds[i] : eds[i];
}

/* ---- the model ---- */

static int number_of(enum xds_type t, struct str name)
{
	for (uint32_t i = 0; i < NAMES; i++)
		if (str_is(name, name_of(t, i)))
			return (int)i;
	return -1;
}

static struct endpoint_set *no_old(void *ctx, struct str name)
{
	(void)ctx, (void)name;
	return NULL;
}

static void model_endpoints(struct play *p, const struct sb *bytes)
{
	struct eds_decoder *d = eds_decoder_new(&p->account, p->rig->sc->metas, no_old, NULL);
	struct endpoint_set *set = NULL;
	struct sb problems = {0};
	struct str name = STR("");

	eds_decoder_bytes(d, bytes->p ? bytes->p : "", bytes->n);
	if (eds_decoder_end(d, &set, &name, &problems) == 0) {
		int i = number_of(XDS_EDS, name);
		if (i >= 0 && !(p->model[i].left && p->model[i].routes != THERE)) {
			p->model[i].endpoints = THERE;
			p->model[i].hash = endpoints_hash(set);
			p->model[i].peopled |= endpoints_count(set) > 0;
		}
		endpoints_unref(&set);
	}
	eds_decoder_free(&d);
	sb_end(&problems);
}

/* Without routes it has no cluster either. */
static void model_absent(struct model *m)
{
	m->routes = NOT_THERE;
	if (!m->routed)
		return;
	m->endpoints = NOTHING;
	m->peopled = false;
	m->left = true;
}

static void model_routes(struct play *p, const struct sb *bytes, bool mutated)
{
	struct route_config *c = NULL;
	struct sb problems = {0};
	struct str name;

	if (decode_name(bytes->p ? bytes->p : "", bytes->n, &name) && decode_routes(bytes->p, bytes->n, &p->account, &c, &problems) == 0) {
		int i = number_of(XDS_RDS, name);
		if (i >= 0) {
			route_config_unref(&p->model[i].config);
			p->model[i].config = route_config_ref(c);
			p->model[i].odd |= mutated;
			if (route_config_find(c, name)) {
				p->model[i].routes = THERE;
				p->model[i].routed = true;
			} else {
				model_absent(&p->model[i]);
			}
		}
		route_config_unref(&c);
	}
	sb_end(&problems);
}

static void model_removed(struct play *p, enum xds_type t, uint32_t i)
{
	if (t == XDS_RDS) {
		route_config_unref(&p->model[i].config);
		model_absent(&p->model[i]);
	} else if (!(p->model[i].left && p->model[i].routes != THERE)) {
		p->model[i].endpoints = NOT_THERE;
	}
}

/* ---- what is compared ---- */

static void compare(struct play *p)
{
	for (uint32_t i = 0; i < NAMES; i++) {
		struct model *m = &p->model[i];
		struct mesh_name *n = mesh_view_find(p->view, str_of(name_of(XDS_RDS, i)));
		struct mesh_cluster *c = mesh_cluster_find(p->rig->sc->mesh, p->view, str_of(name_of(XDS_EDS, i)));

		insist(n != NULL);
		if (m->odd)
			continue;
		insist((m->routes == NOTHING) == (n->state == MESH_UNKNOWN && n->routes == NULL) || m->routes == THERE);
		if (m->routes == NOT_THERE)
			insist(n->state == MESH_ABSENT);
		if (m->routes == THERE && m->endpoints == THERE && m->peopled) {
			struct route_table *t = route_config_find(m->config, str_of(name_of(XDS_RDS, i)));

			insist(t && n->state == MESH_PRESENT && route_table_eq(n->routes, t));
		}
		if (m->endpoints == THERE)
			insist(c && c->endpoints && endpoints_hash(c->endpoints) == m->hash);
		else if (!m->left)
			insist(!c || !c->endpoints || endpoints_count(c->endpoints) == 0);
	}
}

/* ---- pushes ---- */

static void resource_make(struct play *p, struct input *in, enum xds_type t, uint32_t i, struct sb *b, bool *mutated)
{
	uint8_t how = take(in), version = take(in);
	char text[64];

	(void)p;
	if (t == XDS_EDS) {
		snprintf(text, sizeof(text), "10.0.%u.1:1 10.0.%u.2:1*%u%s", version, version, 1 + version % 3, version & 8 ? "!draining" : "");
		make_assignment(b, name_of(t, i), version % 7 == 6 ? "" : text, version & 16);
	} else {
		/* Another spelling of the same domains is another table. */
		snprintf(text, sizeof(text), version & 1 ? "*" : "%s v%u.example", name_of(t, i), version);
		make_routes(b, name_of(t, i), version % 7 == 6 ? NULL : text, name_of(XDS_EDS, i));
	}
	*mutated = false;
	if (how % 8 == 1 && b->n) { /* cut */
		b->n = take(in) * b->n / 256;
		*mutated = true;
	} else if (how % 8 == 2 && b->n) {
		for (uint8_t k = 1 + take(in) % 3; k > 0; k--)
			b->p[(take(in) * 256u + take(in)) % b->n] ^= (char)take(in);
		*mutated = true;
	} else if (how % 8 == 3) { /* bytes of the input's own */
		b->n = 0;
		pb_text(b, 1, name_of(t, i));
		for (uint8_t k = take(in) % 40; k > 0; k--)
			sb_char(b, (char)take(in));
		*mutated = true;
	}
}

static bool name_was_in(const bool *named, struct sb *b, enum xds_type t, uint32_t outer, bool delta, int *ret)
{
	struct str name;

	/* By what it is called: outside in delta, inside in state of the world. */
	*ret = delta ? (int)outer : decode_name(b->p ? b->p : "", b->n, &name) ? number_of(t, name) : -1;
	return *ret >= 0 && named[*ret];
}

static void stream_back(struct play *p)
{
	for (int i = 0; i < 100 && !plane_stream(p->plane); i++)
		rig_advance(p->rig, 1000);
	rig_settle(p->rig);
	insist(plane_stream(p->plane) != NULL);
}

static void push(struct play *p, struct input *in)
{
	enum xds_type t = take(in) & 1 ? XDS_EDS : XDS_RDS;
	uint32_t n = take(in) % (RESOURCES + 1);
	uint8_t flags = take(in);
	size_t ends[RESOURCES];
	struct sb message = {0}, bodies[RESOURCES] = {{0}};
	bool mutated[RESOURCES], named[NAMES + 1] = {false}, removed[NAMES + 1] = {false};
	uint32_t which[RESOURCES];
	char text[32];

	for (uint32_t i = 0; i < n; i++) {
		struct sb any = {0}, resource = {0};

		which[i] = take(in) % (NAMES + 1);
		resource_make(p, in, t, which[i], &bodies[i], &mutated[i]);
		pb_text(&any, 1, plane_type_url[t]);
		pb_bytes(&any, 2, bodies[i].p ? bodies[i].p : "", bodies[i].n);
		if (p->delta) {
			pb_sub(&resource, 2, &any);
			pb_text(&resource, 3, name_of(t, which[i]));
			pb_sub(&message, 2, &resource);
		} else {
			pb_sub(&message, 2, &any);
		}
		ends[i] = message.n;
	}
	snprintf(text, sizeof(text), "n%u", flags & 4 ? 7 : ++p->nonce);
	if (!(flags & 8))
		pb_text(&message, 5, text);
	pb_text(&message, 1, text);
	pb_text(&message, 4, plane_type_url[t]);
	/* Those that are said to be gone stand behind the resources, and behind the type. */
	for (uint32_t i = 0; p->delta && flags & 16 && i <= NAMES; i++)
		if (flags >> (5 + i % 3) & 1) {
			pb_text(&message, 6, name_of(t, i));
			removed[i] = true;
		}
	bool cut = (flags & 3) == 3 && message.n;
	size_t said = cut ? take(in) * message.n / 256 : message.n;
	for (uint32_t i = 0; i < n && ends[i] <= said; i++) {
		int number;

		if (name_was_in(named, &bodies[i], t, which[i], p->delta, &number) || (p->delta && which[i] == NAMES))
			continue;
		if (number >= 0)
			named[number] = true;
		if (t == XDS_EDS)
			model_endpoints(p, &bodies[i]);
		else
			model_routes(p, &bodies[i], mutated[i]);
	}
	for (uint32_t i = 0; !cut && i < NAMES; i++)
		if (removed[i])
			model_removed(p, t, i);
	if (cut) {
		for (size_t i = 0; i < NAMES; i++)
			if (removed[i]) /* which of them stood before the cut is not worth knowing */
				p->model[i].odd = true;
		plane_message(p->plane, message.p, said);
		rig_settle(p->rig);
		stream_back(p);
	} else if ((flags & 3) == 2 && message.n < 60000) { /* in pieces, a turn each */
		uint8_t head[5] = {0, 0, 0, (uint8_t)(message.n >> 8), (uint8_t)message.n};
		size_t piece = 1 + take(in);

		plane_raw(p->plane, head, 5);
		for (size_t at = 0; at < message.n; at += piece) {
			plane_raw(p->plane, message.p + at, message.n - at < piece ? message.n - at : piece);
			rig_settle(p->rig);
		}
	} else {
		plane_message(p->plane, message.p ? message.p : "", message.n);
	}
	rig_settle(p->rig);
	for (uint32_t i = 0; i < n; i++)
		sb_end(&bodies[i]);
	sb_end(&message);
}

/* ---- one input ---- */

static void want_all(struct play *p)
{
	for (uint32_t i = 0; i < NAMES; i++)
		mesh_want(p->view, str_of(name_of(XDS_RDS, i)));
	rig_settle(p->rig);
	rig_advance(p->rig, 1);
}

static void forget_all(struct play *p)
{
	rig_advance(p->rig, 200000); /* nobody calls: all are given up */
	for (uint32_t i = 0; i < NAMES; i++) {
		insist(mesh_view_find(p->view, str_of(name_of(XDS_RDS, i))) == NULL);
		route_config_unref(&p->model[i].config);
		p->model[i] = (struct model){.routes = NOTHING};
	}
	stream_back(p);
	want_all(p);
}

static void play_begin(struct play *p, bool delta)
{
	p->delta = delta;
	p->rig = rig_bare(7);
	p->plane = rig_plane(p->rig, "10.9.9.9:1", PLANE_ISTIO);
	p->plane->quirks.mute = true; /* all that is said is said by hand */
	account_init(&p->account, NULL, "model", SIZE_MAX);
	rig_start(p->rig, delta ? "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\nxds: {server: \"10.9.9.9:1\", idle: 100s, cds: off, protocol: delta}\n" :
		"apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\nxds: {server: \"10.9.9.9:1\", idle: 100s, cds: off, protocol: sotw}\n");
	p->view = list_entry(p->rig->sc->apps.next, struct app, node)->names.view;
	insist(p->view != NULL);
	want_all(p);
	stream_back(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	struct play p = {.rig = NULL};

	if (size < 2 || size > 4096)
		return 0;
	play_begin(&p, take(&in) & 1);
	for (int i = 0; i < MESSAGES && in.p < in.end; i++) {
		uint8_t op = take(&in);

		if (op < 12) {
			forget_all(&p);
		} else if (op < 24) {
			plane_cut(p.plane);
			rig_settle(p.rig);
			stream_back(&p);
		} else {
			push(&p, &in);
		}
		compare(&p);
	}
	for (uint32_t i = 0; i < NAMES; i++)
		route_config_unref(&p.model[i].config);
	rig_free(&p.rig);
	insist(p.account.used == 0);
	account_end(&p.account);
	return 0;
}
