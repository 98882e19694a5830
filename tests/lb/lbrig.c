/* tests/lb/lbrig: see the header. */
#include "tests/lb/lbrig.h"
#include "base/err.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- the rig -------------------------------------------------------------------------------------------------------------- */

struct lb_rig *lb_rig_new(void)
{
	struct lb_rig *r = xnew(struct lb_rig);

	r->net = simnet_new(7);
	r->loop = simnet_loop(r->net);
	r->lim = (struct limits){
		.streams_per_connection = 1000,
		.header_bytes = 32768,
		.field_count = 200,
		.header_wire_bytes = 40960,
		.continuations = 64,
		.header_budget = 262144,
		.premature_resets = 2000,
		.control_frames = 10000,
		.empty_frames = 100,
		.outbound_queue = 1000,
		.window_down = 262144,
		.window_up = 1 << 20,
		.window_down_conn = 1 << 20,
		.window_up_conn = 16 << 20,
		.replay_bytes = 65536,
		.stall_ns = 30 * SEC,
		.stall_bytes = 1024,
		.preface_time_ns = 5 * SEC,
		.header_time_ns = 5 * SEC,
	};
	r->dns = dns_new_table(r->loop, 5 * MS);
	r->mesh = mesh_new(7);
	r->transports = transports_new(r->loop);
	r->clusters = clusters_new(r->loop, &r->lim, NULL, r->dns, r->transports);
	r->decl.name = xstrdup("demo");
	r->decl.mesh = r->mesh;
	list_init(&r->providers);
	return r;
}

void lb_rig_advance(struct lb_rig *r, uint64_t ns)
{
	simnet_advance(r->net, ns);
}

struct cluster_spec *lb_rig_spec(void)
{
	struct cluster_spec *s = spec_new("demo");

	s->lb = LB_ROUND_ROBIN;
	return s;
}

struct endpoint_set *lb_rig_set(const char *text)
{
	return set_text(text, NULL, NULL);
}

void lb_rig_publish(struct lb_rig *r, struct endpoint_set *taken)
{
	struct endpoint_set *old = r->decl.endpoints;

	r->decl.endpoints = taken;
	r->decl.changed(&r->decl);
	endpoints_unref(&old);
}

/* As conf/mesh publishes: the old ones live through the hook. */
void lb_rig_declare(struct lb_rig *r, struct cluster_spec *spec_taken, const char *endpoints)
{
	struct cluster_spec *old_spec = r->decl.spec;
	struct endpoint_set *old_set = r->decl.endpoints;

	r->decl.spec = spec_taken ? spec_taken : old_spec ? spec_ref(old_spec) : lb_rig_spec();
	r->decl.endpoints = lb_rig_set(endpoints);
	if (r->decl.changed)
		r->decl.changed(&r->decl);
	spec_unref(&old_spec);
	endpoints_unref(&old_set);
	r->cluster = cluster_live(r->clusters, &r->decl);
}

void lb_rig_withdraw(struct lb_rig *r)
{
	struct cluster_spec *old_spec = r->decl.spec;
	struct endpoint_set *old_set = r->decl.endpoints;

	r->decl.spec = NULL;
	r->decl.endpoints = NULL;
	if (r->decl.changed)
		r->decl.changed(&r->decl);
	spec_unref(&old_spec);
	endpoints_unref(&old_set);
}

static void take_view(void *ctx, struct cluster *c, const struct cluster_view *v)
{
	(void)c;
	*(struct cluster_view *)ctx = *v;
}

struct cluster_view lb_rig_view(struct lb_rig *r)
{
	struct cluster_view v = {0};

	clusters_each(r->clusters, take_view, &v);
	return v;
}

struct nth {
	struct lb_rig *rig;
	uint32_t left;
	struct host_view v;
};

static void take_host(void *ctx, const struct host_view *v)
{
	struct nth *n = ctx;

	if (n->left-- != 0)
		return;
	n->v = *v;
	strcpy(n->rig->text, v->text);
	n->v.text = n->rig->text;
}

struct host_view lb_rig_host(struct lb_rig *r, uint32_t index)
{
	struct nth n = {.rig = r, .left = index};

	cluster_each_host(r->cluster, take_host, &n);
	return n.v;
}

/* ---- providers ------------------------------------------------------------------------------------------------------------ */

struct served {
	struct list node;
	struct provider *p;
	struct sock *sock; /* borrowed from the connection: only to stall it; its own while TLS shakes hands */
	struct h2_conn *h2;
	struct list held;
	struct grave grave;
};
struct request {
	struct list node;
	struct served *on;
	struct stream *stream;
	struct grave grave;
};

static void free_served(struct grave *g)
{
	free(container_of(g, struct served, grave));
}

static void free_request(struct grave *g)
{
	free(container_of(g, struct request, grave));
}

static void answer(struct lb_rig *r, struct stream *s)
{
	struct fields *f = fields_new(r->loop->fields, &r->loop->memory);

	fields_add(f, STR(":status"), STR("200"));
	stream_send_head(s, f, true);
	fields_unref(&f);
}

static void request_end(void *user, const struct stream_end *end)
{
	struct request *q = user;

	if (list_linked(&q->node)) {
		list_del(&q->node);
		q->on->p->held--;
	}
	q->on->p->cancelled += end->cause == END_RESET;
	loop_bury(q->on->p->rig->loop, &q->grave, free_request);
}

static void no_head(void *user, struct fields *f, bool fin)
{
	(void)user, (void)f, (void)fin;
}

static void no_data(void *user, struct chain *data, bool fin)
{
	(void)user, (void)data, (void)fin;
}

static void no_trailers(void *user, struct fields *f)
{
	(void)user, (void)f;
}

static void no_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static const struct stream_events request_events = {no_head, no_data, no_trailers, no_sent, request_end};

static void on_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct served *on = owner;
	struct request *q = xnew(struct request);

	(void)head, (void)fin, (void)refuse;
	on->p->requests++;
	q->on = on;
	q->stream = s;
	s->ev = &request_events;
	s->user = q;
	switch (on->p->behave) {
	case HOLDS:
		list_push(&on->held, &q->node);
		on->p->held++;
		break;
	case CRASHES:
		h2_conn_close(on->h2, 0);
		break;
	case REFUSES:
		stream_reset(s, H2_REFUSED_STREAM);
		loop_bury(on->p->rig->loop, &q->grave, free_request);
		break;
	default:
		answer(on->p->rig, s);
	}
}

static void on_served_closed(void *owner, int err)
{
	struct served *on = owner;

	(void)err;
	list_del(&on->node);
	loop_bury(on->p->rig->loop, &on->grave, free_served);
}

static const struct stream_server server_events = {on_request, on_served_closed};

static void serve(struct served *on, struct sock *taken)
{
	struct provider *p = on->p;

	on->h2 = h2_conn_server(p->rig->loop, taken, &p->lim, &p->rig->loop->memory, &server_events, on, NULL, 0);
	if (p->behave == GOES_AT_ONCE)
		h2_conn_drain(on->h2);
}

static void nothing(void *user)
{
	(void)user;
}

static void shaken(void *user, int err)
{
	struct served *on = user;
	struct sock *taken = on->sock;

	if (!err) {
		on->p->shaken++;
		serve(on, taken);
		return;
	}
	on->p->unshaken++;
	on->p->plain += strstr(tls_why(taken), "plaintext") != NULL;
	sock_close(&on->sock);
	list_del(&on->node);
	loop_bury(on->p->rig->loop, &on->grave, free_served);
}

static bool accepted(void *user, struct sock *taken)
{
	struct provider *p = user;
	struct served *on;

	p->accepted++;
	if (p->behave == HANGS_UP) {
		sock_close(&taken);
		return true;
	}
	on = xnew(struct served);
	on->p = p;
	on->sock = taken;
	list_init(&on->held);
	list_push(&p->conns, &on->node);
	if (!p->tls) {
		serve(on, taken);
		return true;
	}
	static const struct sock_events shaking = {.connected = shaken, .readable = nothing, .writable = nothing};
	if (tls_server(p->rig->loop, p->tls, taken, &p->callers, NULL, 0, &p->rig->loop->memory, &shaking, on, &on->sock) < 0)
		abort();
	return true;
}

static const struct sock_listen_events listen_events = {accepted};

struct provider *provider_new(struct lb_rig *r, const char *at, enum behave behave)
{
	struct provider *p = xnew(struct provider);

	p->rig = r;
	p->at = simnet_addr(at);
	p->behave = behave;
	p->lim = r->lim;
	list_init(&p->conns);
	list_push(&r->providers, &p->node);
	provider_open(p);
	return p;
}

void provider_open(struct provider *p)
{
	if (!p->listen && sock_listen(p->rig->loop, -1, &p->at, &listen_events, p, &p->listen) < 0)
		abort();
}

void provider_close(struct provider *p)
{
	sock_listen_close(&p->listen);
}

#define each_served(on, p) \
	list_each(n_##on, t_##on, &(p)->conns) for (struct served *on = list_entry(n_##on, struct served, node); on; on = NULL)

void provider_cut(struct provider *p)
{
	each_served(on, p) if (on->h2) h2_conn_close(on->h2, 0);
}

void provider_goaway(struct provider *p)
{
	each_served(on, p) if (on->h2) h2_conn_drain(on->h2);
}

void provider_stall(struct provider *p, bool stalled)
{
	each_served(on, p) simnet_stall(on->sock, stalled);
}

void provider_answer(struct provider *p)
{
	each_served(on, p) while (!list_empty(&on->held))
	{
		struct request *q = list_entry(on->held.next, struct request, node);

		list_del(&q->node);
		p->held--;
		answer(p->rig, q->stream);
	}
}

uint32_t provider_conns(const struct provider *p)
{
	uint32_t count = 0;

	for (struct list *n = p->conns.next; n != &p->conns; n = n->next)
		count++;
	return count;
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

static void call_head(void *user, struct fields *f, bool fin)
{
	(void)f, (void)fin;
	((struct call *)user)->state = CALL_HEAD;
}

static void call_end(void *user, const struct stream_end *end)
{
	struct call *c = user;

	c->state = CALL_ENDED;
	c->cause = end->cause;
	c->stream = NULL;
	host_done(&c->host, end->cause == END_DONE ? HOST_OK : HOST_ERROR);
}

static const struct stream_events call_events = {call_head, no_data, no_trailers, no_sent, call_end};

static void call_send(struct call *c, struct stream *s)
{
	struct fields *f = fields_new(c->rig->loop->fields, &c->rig->loop->memory);

	c->stream = s;
	c->state = CALL_OPEN;
	fields_add(f, STR(":method"), STR("POST"));
	fields_add(f, STR(":scheme"), STR("http"));
	fields_add(f, STR(":authority"), STR("demo"));
	fields_add(f, STR(":path"), STR("/s/m"));
	stream_send_head(s, f, true);
	fields_unref(&f);
}

static void call_ready(struct pool_wait *w, struct stream *s)
{
	call_send(container_of(w, struct call, wait), s);
}

static void call_failed(struct pool_wait *w, int err, const char *why)
{
	struct call *c = container_of(w, struct call, wait);

	c->state = CALL_FAILED;
	c->err = err;
	snprintf(c->why, sizeof(c->why), "%s", why ? why : "");
	host_done(&c->host, HOST_CONNECT);
}

enum call_state call_start(struct lb_rig *r, struct call *c)
{
	struct stream *s;
	const char *why = NULL;

	*c = (struct call){.rig = r, .wait = {.ready = call_ready, .failed = call_failed}};
	c->picked = cluster_pick(r->cluster, 0, NULL, &c->host);
	if (c->picked != PICK_OK)
		return c->state;
	s = host_open(c->host, &c->wait, &call_events, c, &c->err, &why);
	snprintf(c->why, sizeof(c->why), "%s", why ? why : "");
	if (s) {
		call_send(c, s);
	} else if (c->err) {
		c->state = CALL_REFUSED;
		host_done(&c->host, HOST_CONNECT);
	} else {
		c->state = CALL_WAITS;
	}
	return c->state;
}

void call_clear(struct call *c)
{
	host_done(&c->host, HOST_NEUTRAL);
}

void call_cancel(struct call *c)
{
	if (c->state == CALL_WAITS)
		pool_unwait(&c->wait);
	else if (c->stream)
		stream_reset(c->stream, H2_CANCEL);
	c->stream = NULL;
	c->state = CALL_ENDED;
	call_clear(c);
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */

void lb_rig_free(struct lb_rig **pr)
{
	struct lb_rig *r = *pr;

	*pr = NULL;
	clusters_free(&r->clusters);
	list_each(n, tmp, &r->providers)
	{
		struct provider *p = list_entry(n, struct provider, node);

		provider_close(p);
		provider_cut(p);
	}
	lb_rig_advance(r, 0); /* connections end in the flush of a turn */
	list_each(n, tmp, &r->providers) free(list_entry(n, struct provider, node));
	spec_unref(&r->decl.spec);
	endpoints_unref(&r->decl.endpoints);
	free(r->decl.name);
	dns_free(&r->dns);
	mesh_free(&r->mesh);
	transports_free(&r->transports);
	simnet_free(&r->net);
	free(r);
}
