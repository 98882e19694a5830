/* tests/flow/rig_ads: the control plane's connections and streams, and the record of what was asked. See rig_ads.h; what is answered: rig_ads_answer.c. */
#include "tests/flow/rig_ads.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc.h"

static const uint64_t ms = 1000000;

const char *const plane_type_url[XDS_TYPES] = {
	[XDS_LDS] = "type.googleapis.com/envoy.config.listener.v3.Listener",
	[XDS_RDS] = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	[XDS_CDS] = "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	[XDS_EDS] = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	[XDS_SDS] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};

static void die(const char *what)
{
	fprintf(stderr, "rig_ads: %s\n", what);
	abort();
}

/* ---- lists of names ---- */

bool plane_names_has(const struct plane_names *l, const char *name)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (strcmp(l->name[i], name) == 0)
			return true;
	return false;
}

void plane_names_add(struct plane_names *l, const char *name)
{
	if (plane_names_has(l, name))
		return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 8;
		l->name = xrealloc(l->name, l->cap * sizeof(*l->name));
	}
	l->name[l->n++] = xstrdup(name);
}

void plane_names_del(struct plane_names *l, const char *name)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (strcmp(l->name[i], name) == 0) {
			free(l->name[i]);
			memmove(l->name + i, l->name + i + 1, (--l->n - i) * sizeof(*l->name));
			return;
		}
}

void plane_names_clear(struct plane_names *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
	*l = (struct plane_names){0};
}

/* ---- what goes out ---- */

struct waiting { struct list node; struct plane_stream *stream; struct timer timer; int type; bool due; struct sb message; };

static void stream_over(struct plane_stream *s)
{
	s->stream = NULL;
	for (struct list *n; (n = list_pop(&s->waiting));) {
		struct waiting *w = list_entry(n, struct waiting, node);
		timer_cancel(s->plane->loop, &w->timer);
		sb_end(&w->message);
		free(w);
	}
}

static struct fields *fields_of(struct plane *p)
{
	struct fields *f = fields_new(p->loop->fields, p->account);

	if (!f)
		die("no fields");
	return f;
}

static void send_head(struct plane_stream *s, int status, const char *text)
{
	struct fields *f = fields_of(s->plane);
	char digits[16];

	fields_add(f, STR(":status"), STR("200"));
	fields_add(f, STR("content-type"), STR("application/grpc"));
	if (status >= 0) {
		struct sb message = {0};
		snprintf(digits, sizeof(digits), "%d", status);
		fields_add(f, STR("grpc-status"), str_of(digits));
		grpc_message_encode(str_of(text), &message);
		fields_add(f, STR("grpc-message"), sb_view(&message));
		sb_end(&message);
	}
	stream_send_head(s->stream, f, status >= 0);
	fields_unref(&f);
	s->headed = true;
}

void plane_finish(struct plane_stream *s, int status, const char *text)
{
	struct plane *p = s->plane;

	if (!s->stream)
		return;
	if (!s->headed) {
		send_head(s, status, text);
	} else {
		struct fields *f = fields_of(p);
		struct sb message = {0};
		char digits[16];
		snprintf(digits, sizeof(digits), "%d", status);
		fields_add(f, STR("grpc-status"), str_of(digits));
		grpc_message_encode(str_of(text), &message);
		fields_add(f, STR("grpc-message"), sb_view(&message));
		sb_end(&message);
		stream_send_trailers(s->stream, f);
		fields_unref(&f);
	}
	stream_over(s);
}

static void send_bytes(struct plane_stream *s, const void *bytes, size_t n)
{
	struct chain data = CHAIN_INIT;

	if (!s->stream)
		return;
	s->plane->bytes += n;
	if (!s->headed) /* response headers come with the first message only (istio.md 1.8.14) */
		send_head(s, -1, NULL);
	if (chain_copy_in(&data, &s->plane->loop->bufs, s->plane->account, bytes, n) != 0)
		die("no chunk");
	stream_send_data(s->stream, &data, false);
}

static void send_message(struct plane_stream *s, const void *bytes, size_t n)
{
	uint8_t prefix[5] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	s->answers++;
	send_bytes(s, prefix, 5);
	if (n)
		send_bytes(s, bytes, n);
}

static bool may_go(const struct plane_stream *s)
{
	if (s->plane->kind != PLANE_CONSUL)
		return true;
	for (int t = 0; t < XDS_TYPES; t++)
		if (s->watch[t].unacked)
			return false;
	return true;
}

/* Consul sends nothing of any type while an ACK is missing, and CDS, EDS, LDS, RDS in this order (istio.md 5). */
static struct waiting *next_waiting(struct plane_stream *s)
{
	static const int order[] = {XDS_CDS, XDS_EDS, XDS_LDS, XDS_RDS, XDS_SDS, PLANE_OTHER};

	if (s->plane->kind != PLANE_CONSUL)
		return s->waiting.next == &s->waiting ? NULL : list_entry(s->waiting.next, struct waiting, node);
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		list_each(n, tmp, &s->waiting) {
			struct waiting *w = list_entry(n, struct waiting, node);
			if (w->type == order[i])
				return w;
		}
	return NULL;
}

static void send_waiting(struct plane_stream *s)
{
	struct waiting *w;

	while (s->stream && may_go(s) && (w = next_waiting(s)) && w->due) {
		list_del(&w->node);
		if (w->type < XDS_TYPES)
			s->watch[w->type].unacked++;
		send_message(s, w->message.p, w->message.n);
		sb_end(&w->message);
		free(w);
	}
}

static void waiting_due(struct timer *t)
{
	struct waiting *w = container_of(t, struct waiting, timer);

	w->due = true;
	send_waiting(w->stream);
}

void plane_send(struct plane_stream *s, int type, struct sb *taken)
{
	struct waiting *w;

	if (!s->stream || s->plane->quirks.mute) {
		sb_end(taken);
		return;
	}
	w = xnew(struct waiting);
	w->stream = s;
	w->type = type;
	w->message = *taken;
	*taken = (struct sb){0};
	w->due = s->plane->quirks.slow_ms == 0;
	list_push(&s->waiting, &w->node);
	if (w->due)
		send_waiting(s);
	else
		timer_in(s->plane->loop, &w->timer, s->plane->quirks.slow_ms * ms, waiting_due);
}

void plane_acked(struct plane_stream *s)
{
	send_waiting(s);
}

/* ---- what comes in ---- */

struct reader { const uint8_t *p, *end; bool bad; };

static uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	for (int shift = 0; r->p < r->end && shift < 64; shift += 7) {
		uint8_t byte = *r->p++;
		v |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return v;
	}
	r->bad = true;
	return 0;
}

/* The next field; varints land in ret_num, byte strings in ret. False: the end, or nonsense. */
static bool read_field(struct reader *r, uint32_t *field, struct str *ret, uint64_t *ret_num)
{
	if (r->p >= r->end)
		return false;
	uint64_t tag = read_varint(r);
	*field = (uint32_t)(tag >> 3);
	*ret = str_n("", 0);
	*ret_num = 0;
	if ((tag & 7) == 0) {
		*ret_num = read_varint(r);
	} else if ((tag & 7) == 2) {
		uint64_t n = read_varint(r);
		if (r->bad || n > (uint64_t)(r->end - r->p)) {
			r->bad = true;
			return false;
		}
		*ret = str_n((const char *)r->p, n);
		r->p += n;
	} else {
		r->bad = true;
	}
	return !r->bad;
}

static char *dup(struct str s)
{
	return xstrndup(s.p, s.n);
}

static void push_name(char ***list, uint32_t *n, struct str name)
{
	*list = xrealloc(*list, (*n + 1) * sizeof(**list));
	(*list)[(*n)++] = dup(name);
}

static void read_status(struct plane_request *q, struct str bytes)
{
	struct reader r = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, false};
	uint32_t field;
	struct str v;
	uint64_t num;

	q->has_error = true;
	while (read_field(&r, &field, &v, &num)) {
		if (field == 1) {
			q->error_code = (int)num;
		} else if (field == 2) {
			free(q->error_text);
			q->error_text = dup(v);
		}
	}
}

static void read_node(struct plane_request *q, struct str bytes)
{
	struct reader r = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, false};
	uint32_t field;
	struct str v;
	uint64_t num;

	q->has_node = true;
	sb_add(&q->node_bytes, bytes.p, bytes.n);
	while (read_field(&r, &field, &v, &num))
		if (field == 1) {
			free(q->node_id);
			q->node_id = dup(v);
		}
}

static void read_version(struct plane_request *q, struct str bytes)
{
	struct reader r = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, false};
	struct str v, name = str_n("", 0), version = str_n("", 0);
	uint32_t field, n = q->nhave;
	uint64_t num;

	while (read_field(&r, &field, &v, &num))
		*(field == 1 ? &name : &version) = v;
	push_name(&q->have, &q->nhave, name);
	push_name(&q->have_version, &n, version);
}

static void tell_names(struct plane_request *q, bool delta)
{
	for (uint32_t i = 0; i < q->nsub; i++)
		sb_fmt(&q->names, "%s%s%s", q->names.n ? " " : "", delta ? "+" : "", q->sub[i]);
	for (uint32_t i = 0; i < q->nunsub; i++)
		sb_fmt(&q->names, "%s-%s", q->names.n ? " " : "", q->unsub[i]);
	for (uint32_t i = 0; i < q->nhave; i++)
		sb_fmt(&q->names, "%s=%s", q->names.n ? " " : "", q->have[i]);
	sb_add(&q->names, "", 1);
	q->names.n--;
}

static struct plane_request *read_request(struct plane_stream *s, struct str bytes)
{
	/* The numbers of DiscoveryRequest, DeltaDiscoveryRequest. */
	enum { VERSION, NODE, NAMES, UNSUB, HAVE, URL, NONCE, ERROR, NONE };
	static const uint8_t sotw[8] = {NONE, VERSION, NODE, NAMES, URL, NONCE, ERROR, NONE}, delta[8] = {NONE, NODE, URL, NAMES, UNSUB, HAVE, NONCE, ERROR};
	struct reader r = {(const uint8_t *)bytes.p, (const uint8_t *)bytes.p + bytes.n, false};
	struct plane_request *q = xnew(struct plane_request);
	struct str v, url = str_n("", 0), version = url, nonce = url;
	uint32_t field;
	uint64_t num;

	q->stream = s;
	q->at_ns = s->plane->loop->now_ns;
	q->error_text = xstrdup("");
	q->node_id = xstrdup("");
	while (read_field(&r, &field, &v, &num))
		switch (field < 8 ? (s->delta ? delta : sotw)[field] : NONE) {
		case VERSION: version = v; break;
		case NODE: read_node(q, v); break;
		case NAMES: push_name(&q->sub, &q->nsub, v); break;
		case UNSUB: push_name(&q->unsub, &q->nunsub, v); break;
		case HAVE: read_version(q, v); break;
		case URL: url = v; break;
		case NONCE: nonce = v; break;
		case ERROR: read_status(q, v); break;
		default: break;
		}
	if (r.bad)
		die("a request is no protobuf");
	q->type_url = dup(url);
	q->version = dup(version);
	q->nonce = dup(nonce);
	q->type = PLANE_OTHER;
	for (int t = 0; t < XDS_TYPES; t++)
		if (strcmp(q->type_url, plane_type_url[t]) == 0)
			q->type = t;
	tell_names(q, s->delta);
	return q;
}

static void on_head(void *user, struct fields *f, bool fin)
{
	(void)user, (void)f, (void)fin;
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct plane_stream *s = user;
	struct plane *p = s->plane;
	size_t n = data->bytes;

	if (!s->stream) /* it was told its end already */
		return;
	for (struct slice *at = data->head; at; at = at->next)
		sb_add(&s->in, at->p, at->n);
	if (p->quirks.deaf)
		s->owed += n;
	else if (n)
		stream_credit(s->stream, n + s->owed), s->owed = 0;
	while (s->in.n >= 5 && s->stream) {
		const uint8_t *h = (const uint8_t *)s->in.p;
		size_t len = (size_t)h[1] << 24 | (size_t)h[2] << 16 | (size_t)h[3] << 8 | h[4];
		if (s->in.n < 5 + len)
			break;
		struct plane_request *q = read_request(s, str_n(s->in.p + 5, len));
		memmove(s->in.p, s->in.p + 5 + len, s->in.n - 5 - len);
		s->in.n -= 5 + len;
		list_push(&p->requests, &q->node);
		p->nrequests++;
		plane_heard(s, q);
	}
	if (fin) /* istio.md 1.1: OK at once, a live stream is never half-closed */
		plane_finish(s, 0, "");
}

static void on_trailers(void *user, struct fields *f)
{
	(void)f;
	plane_finish(user, 0, "");
}

static void on_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static void on_end(void *user, const struct stream_end *end)
{
	(void)end;
	stream_over(user);
}

static const struct stream_events stream_events = {on_head, on_data, on_trailers, on_sent, on_end};

static void on_request(void *owner, struct stream *stream, struct fields *head, bool fin, const char *refuse)
{
	struct plane_conn *c = owner;
	struct plane *p = c->plane;
	struct plane_stream *s = xnew(struct plane_stream);
	struct str path = fields_value(head, FIELD_PATH);

	(void)refuse;
	s->plane = p;
	s->conn = c;
	s->stream = stream;
	s->number = ++p->nstreams;
	s->delta = str_is(path, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources");
	list_init(&s->waiting);
	list_push(&p->streams, &s->node);
	fields_each(e, head) {
		sb_add(&s->head, e->name, e->name_len);
		sb_str(&s->head, ": ");
		sb_add(&s->head, e->value, e->value_len);
		sb_char(&s->head, '\n');
	}
	stream->ev = &stream_events;
	stream->user = s;
	if (!s->delta && !str_is(path, p->serves ? p->serves : "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources")) {
		plane_finish(s, GRPC_UNIMPLEMENTED, "unknown method");
	} else if (p->quirks.refuse) {
		int status = p->quirks.refuse;
		if (p->quirks.refusals && --p->quirks.refusals == 0)
			p->quirks.refuse = 0;
		plane_finish(s, status, p->quirks.refuse_text ? p->quirks.refuse_text : "refused");
	} else if (s->delta && (p->quirks.no_delta)) {
		plane_finish(s, GRPC_UNIMPLEMENTED, "unknown method DeltaAggregatedResources");
	} else if (!s->delta && (p->quirks.no_sotw || p->kind == PLANE_CONSUL)) {
		plane_finish(s, GRPC_UNIMPLEMENTED, "not implemented");
	} else if (fin) {
		plane_finish(s, 0, "");
	}
}

/* ---- connections ---- */

static void conn_bury(struct grave *g)
{
	free(container_of(g, struct plane_conn, grave));
}

static void conn_closed(void *owner, int err)
{
	struct plane_conn *c = owner;

	(void)err;
	list_del(&c->node);
	timer_cancel(c->plane->loop, &c->age);
	list_each(n, tmp, &c->plane->streams) {
		struct plane_stream *s = list_entry(n, struct plane_stream, node);
		if (s->conn == c) {
			s->conn = NULL;
			stream_over(s);
		}
	}
	loop_bury(c->plane->loop, &c->grave, conn_bury);
}

static const struct stream_server server_events = {on_request, conn_closed};

static void conn_cut(struct plane_conn *c, int err)
{
	/* Our own reading end then sees the end as well, and the connection goes its usual way. */
	if (c->plane->net)
		simnet_cut(c->sock, err);
	else
		shutdown(c->sock->fd, SHUT_RDWR);
}

static void grace_over(struct timer *t)
{
	conn_cut(container_of(t, struct plane_conn, age), 0);
}

static void conn_leave(struct plane_conn *c)
{
	if (c->leaving)
		return;
	c->leaving = true;
	if (c->h2)
		h2_conn_drain(c->h2);
	timer_in(c->plane->loop, &c->age, (c->plane->quirks.grace_ms ? c->plane->quirks.grace_ms : 10000) * ms, grace_over);
}

static void conn_aged(struct timer *t)
{
	conn_leave(container_of(t, struct plane_conn, age));
}

static void conn_speak(struct plane_conn *c, struct sock *taken)
{
	struct plane *p = c->plane;

	c->h2 = h2_conn_server(p->loop, taken, &p->lim, p->account, &server_events, c, NULL, 0);
	if (!c->h2)
		die("no connection");
	if (p->quirks.max_age_ms)
		timer_in(p->loop, &c->age, p->quirks.max_age_ms * ms, conn_aged);
}

static void conn_unshaken(struct plane_conn *c)
{
	sock_close(&c->tls);
	conn_closed(c, 0);
}

static void shaken(void *user, int err)
{
	struct plane_conn *c = user;
	struct sock *taken = c->tls;

	if (err) {
		c->plane->unshaken++;
		conn_unshaken(c);
		return;
	}
	c->plane->handshakes++;
	snprintf(c->plane->last_peer, sizeof(c->plane->last_peer), "%s", tls_peer_uri(taken));
	c->tls = NULL;
	conn_speak(c, taken);
}

static void nothing(void *user)
{
	(void)user;
}

static bool accepted(void *user, struct sock *taken)
{
	static const struct sock_events events = {.connected = shaken, .readable = nothing, .writable = nothing};
	struct plane *p = user;
	struct plane_conn *c = xnew(struct plane_conn);

	c->plane = p;
	c->number = ++p->accepted;
	c->sock = taken;
	list_push(&p->conns, &c->node);
	if (!p->tls)
		conn_speak(c, taken);
	else if (tls_server(p->loop, p->tls, taken, &(struct tls_peer){.want = p->clients}, NULL, 0, p->account, &events, c, &c->tls) < 0)
		die("no TLS");
	return true;
}

static const struct sock_listen_events listen_events = {accepted};

/* ---- a life ---- */

static void push_due(struct timer *t)
{
	plane_push_now(container_of(t, struct plane, push));
}

static struct plane *plane_made(struct simnet *net, struct loop *loop, struct account *account, const struct addr *at, enum plane_kind kind)
{
	struct plane *p = xnew(struct plane);

	p->net = net;
	p->loop = loop;
	p->account = account;
	p->kind = kind;
	p->at = *at;
	p->path.lock_fd = -1;
	p->domain = "default.svc.cluster.local";
	/* Patient and wide: a plane never ends what the sidecar does, unless a quirk says so. */
	p->lim = (struct limits){.streams_per_connection = 1000, .header_bytes = 1 << 20, .field_count = 1000, .header_wire_bytes = 1 << 20, .continuations = 1000,
		.header_budget = 1 << 30, .premature_resets = 1 << 20, .control_frames = 1 << 20, .empty_frames = 1000, .outbound_queue = 1 << 20, .window_down = 65535,
		.window_up = 65535, .window_down_conn = 1 << 20, .window_up_conn = 1 << 20, .replay_bytes = 65536, .stall_ns = UINT64_C(1000000000000000),
		.stall_bytes = 1024, .preface_time_ns = UINT64_C(1000000000000000), .header_time_ns = UINT64_C(1000000000000000)};
	list_init(&p->conns);
	list_init(&p->streams);
	list_init(&p->requests);
	list_init(&p->changes);
	for (int d = 0; d < DIALECTS; d++)
		for (int t = 0; t < XDS_TYPES; t++)
			map_init(&p->resources[d][t], 7);
	p->version = p->config_version = 1;
	plane_listen(p, true);
	return p;
}

struct plane *plane_new(struct simnet *net, struct account *account, const char *at, enum plane_kind kind)
{
	struct addr where = simnet_addr(at);
	struct plane *p = plane_made(net, simnet_loop(net), account, &where, kind);

	if (!p->listen)
		die("a control plane cannot listen");
	return p;
}

struct plane *plane_on(struct loop *loop, struct account *account, const struct addr *at, enum plane_kind kind)
{
	struct plane *p = plane_made(NULL, loop, account, at, kind);

	if (!p->listen)
		plane_free(&p);
	return p;
}

static bool is_path(const struct plane *p)
{
	return !p->net && addr_is_unix(&p->at) && p->at.un.sun_path[0];
}

void plane_listen(struct plane *p, bool on)
{
	char why[256];
	int fd = -1;

	if (!on) {
		sock_listen_close(&p->listen);
		sock_path_unbind(&p->path);
		return;
	}
	if (p->listen)
		return;
	if (is_path(p) && sock_path_bind(p->at.un.sun_path, 0666, (gid_t)-1, SOCK_BACKLOG, &p->path, &fd, why, sizeof(why)) < 0)
		return;
	sock_listen(p->loop, fd, &p->at, &listen_events, p, &p->listen);
}

void plane_cut(struct plane *p)
{
	list_each(n, tmp, &p->conns)
		conn_cut(list_entry(n, struct plane_conn, node), -ECONNRESET);
}

void plane_kill(struct plane *p)
{
	plane_listen(p, false);
	plane_cut(p);
}

void plane_stall(struct plane *p, bool stalled)
{
	list_each(n, tmp, &p->conns)
		if (p->net)
			simnet_stall(list_entry(n, struct plane_conn, node)->sock, stalled);
}

void plane_goaway(struct plane *p)
{
	list_each(n, tmp, &p->conns)
		conn_leave(list_entry(n, struct plane_conn, node));
}

void plane_end_streams(struct plane *p, int status, const char *text)
{
	list_each(n, tmp, &p->streams)
		plane_finish(list_entry(n, struct plane_stream, node), status, text);
}

void plane_end(struct plane *p)
{
	timer_cancel(p->loop, &p->push);
	plane_listen(p, false);
	plane_stall(p, false);
	list_each(n, tmp, &p->conns) {
		struct plane_conn *c = list_entry(n, struct plane_conn, node);
		if (c->h2)
			h2_conn_close(c->h2, 0);
		else
			conn_unshaken(c);
	}
}

static void request_free(struct plane_request *q)
{
	for (uint32_t i = 0; i < q->nsub; i++)
		free(q->sub[i]);
	for (uint32_t i = 0; i < q->nunsub; i++)
		free(q->unsub[i]);
	for (uint32_t i = 0; i < q->nhave; i++) {
		free(q->have[i]);
		free(q->have_version[i]);
	}
	free(q->sub);
	free(q->unsub);
	free(q->have);
	free(q->have_version);
	free(q->type_url);
	free(q->version);
	free(q->nonce);
	free(q->error_text);
	free(q->node_id);
	sb_end(&q->names);
	sb_end(&q->node_bytes);
	free(q);
}

void plane_free(struct plane **pp)
{
	struct plane *p = *pp;

	if (!p)
		return;
	*pp = NULL;
	if (!list_empty(&p->conns))
		die("plane_free before its connections died: plane_end, then some turns");
	timer_cancel(p->loop, &p->push);
	plane_listen(p, false);
	for (struct list *n; (n = list_pop(&p->requests));)
		request_free(list_entry(n, struct plane_request, node));
	for (struct list *n; (n = list_pop(&p->streams));) {
		struct plane_stream *s = list_entry(n, struct plane_stream, node);
		stream_over(s);
		for (int t = 0; t < XDS_TYPES; t++)
			plane_names_clear(&s->watch[t].names);
		sb_end(&s->head);
		sb_end(&s->in);
		free(s);
	}
	plane_forget_changes(p);
	for (int d = 0; d < DIALECTS; d++)
		for (int t = 0; t < XDS_TYPES; t++) {
			struct str name;
			void *value;
			for (uint32_t i = 0; map_next(&p->resources[d][t], &i, &name, &value);) {
				struct plane_resource *r = value;
				sb_end(&r->bytes);
				free(r->name);
				free(r);
			}
			map_end(&p->resources[d][t]);
		}
	free(p);
}

/* ---- the store ---- */

void plane_put_in(struct plane *p, enum plane_dialect d, enum xds_type t, const char *name, const void *bytes, size_t n)
{
	struct plane_resource *r = map_get(&p->resources[d][t], str_of(name));

	if (r && r->bytes.n == n && memcmp(r->bytes.p, bytes, n) == 0)
		return;
	if (!r) {
		r = xnew(struct plane_resource);
		r->name = xstrdup(name);
		map_put(&p->resources[d][t], str_of(name), r);
	}
	sb_end(&r->bytes);
	sb_add(&r->bytes, bytes, n);
	plane_changed(p, d, t, name, false);
	if (!p->held && !timer_armed(&p->push))
		timer_in(p->loop, &p->push, p->quirks.debounce_ms * ms, push_due);
}

void plane_put(struct plane *p, enum xds_type t, const char *name, const void *bytes, size_t n)
{
	plane_put_in(p, DIALECT_BOTH, t, name, bytes, n);
}

void plane_del(struct plane *p, enum xds_type t, const char *name)
{
	for (int d = 0; d < DIALECTS; d++) {
		struct plane_resource *r = map_del(&p->resources[d][t], str_of(name));
		if (!r)
			continue;
		sb_end(&r->bytes);
		free(r->name);
		free(r);
		plane_changed(p, (enum plane_dialect)d, t, name, true);
		if (!p->held && !timer_armed(&p->push))
			timer_in(p->loop, &p->push, p->quirks.debounce_ms * ms, push_due);
	}
}

void plane_hold(struct plane *p, bool held)
{
	p->held = held;
	if (held)
		timer_cancel(p->loop, &p->push);
	else if (!list_empty(&p->changes))
		timer_in(p->loop, &p->push, p->quirks.debounce_ms * ms, push_due);
}

/* ---- looking ---- */

struct plane_request *plane_request(const struct plane *p, int type, uint32_t n)
{
	for (struct list *at = p->requests.next; at != &p->requests; at = at->next) {
		struct plane_request *q = list_entry(at, struct plane_request, node);
		if ((type == PLANE_ANY || q->type == type) && n-- == 0)
			return q;
	}
	return NULL;
}

struct plane_request *plane_last(const struct plane *p, int type)
{
	for (struct list *at = p->requests.prev; at != &p->requests; at = at->prev) {
		struct plane_request *q = list_entry(at, struct plane_request, node);
		if (type == PLANE_ANY || q->type == type)
			return q;
	}
	return NULL;
}

uint32_t plane_count(const struct plane *p, int type)
{
	uint32_t n = 0;

	for (struct list *at = p->requests.next; at != &p->requests; at = at->next)
		n += type == PLANE_ANY || list_entry(at, struct plane_request, node)->type == type;
	return n;
}

const char *plane_names(const struct plane *p, int type)
{
	struct plane_request *q = plane_last(p, type);

	return q ? q->names.p : "(none)";
}

struct plane_stream *plane_stream(const struct plane *p)
{
	for (struct list *at = p->streams.prev; at != &p->streams; at = at->prev)
		if (list_entry(at, struct plane_stream, node)->stream)
			return list_entry(at, struct plane_stream, node);
	return NULL;
}

struct plane_stream *plane_stream_nth(const struct plane *p, uint32_t n)
{
	for (struct list *at = p->streams.next; at != &p->streams; at = at->next)
		if (n-- == 0)
			return list_entry(at, struct plane_stream, node);
	return NULL;
}

uint32_t plane_open(const struct plane *p)
{
	uint32_t n = 0;

	for (struct list *at = p->streams.next; at != &p->streams; at = at->next)
		n += list_entry(at, struct plane_stream, node)->stream != NULL;
	return n;
}

bool plane_asks(const struct plane *p, enum xds_type t, const char *name)
{
	const struct plane_stream *s = plane_stream(p);

	return s && (s->watch[t].wildcard || plane_names_has(&s->watch[t].names, name));
}

const char *plane_field(const struct plane_stream *s, const char *name)
{
	static char found[4][1024]; /* a test looks at a few at a time */
	static int turn;
	size_t len = strlen(name);

	for (const char *p = s->head.p, *end = p + s->head.n; p && p < end;) {
		size_t n = strcspn(p, "\n");
		if (n > len + 1 && memcmp(p, name, len) == 0 && p[len] == ':' && p[len + 1] == ' ') {
			turn = (turn + 1) % 4;
			snprintf(found[turn], sizeof(found[0]), "%.*s", (int)(n - len - 2), p + len + 2);
			return found[turn];
		}
		p += n + 1;
	}
	return NULL;
}

const char *plane_nonce(const struct plane_stream *s, enum xds_type t)
{
	return s->watch[t].nonce;
}

/* ---- by hand ---- */

void plane_message(struct plane *p, const void *message, size_t n)
{
	struct plane_stream *s = plane_stream(p);

	if (!s)
		die("no stream is open to say it on");
	send_message(s, message, n);
}

void plane_raw(struct plane *p, const void *bytes, size_t n)
{
	struct plane_stream *s = plane_stream(p);

	if (!s)
		die("no stream is open to say it on");
	send_bytes(s, bytes, n);
}
