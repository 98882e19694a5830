/* tests/flow/rig_provider: fake providers. Each call does what its act says; what it saw stays until rig_free. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/tls.h"
#include "tests/flow/rig_int.h"

/* ---- what a call does ---- */

void served_head(struct served *s, int status, const char *more, bool fin)
{
	char line[32];

	if (!s->stream)
		return;
	snprintf(line, sizeof(line), ":status: %d\n", status);
	struct fields *f = rig_fields(s->p->rig, line);
	rig_add_fields(f, more);
	stream_send_head(s->stream, f, fin);
	fields_unref(&f);
}

void served_data(struct served *s, const void *bytes, size_t n, bool fin)
{
	struct chain data = CHAIN_INIT;

	if (!s->stream)
		return;
	if (chain_copy_in(&data, &s->p->rig->loop->bufs, &s->p->rig->account, bytes, n) != 0)
		rig_die("no chunk");
	s->sent += n;
	s->sent_hash = rig_hash(s->sent_hash, bytes, n);
	stream_send_data(s->stream, &data, fin);
}

void served_fill(struct served *s, size_t n, bool fin)
{
	char *bytes = xalloc(n + 1);

	rig_pattern(bytes, s->sent, n);
	served_data(s, bytes, n, fin);
	free(bytes);
}

void served_trailers(struct served *s, int grpc, const char *more)
{
	char line[32];

	if (!s->stream)
		return;
	snprintf(line, sizeof(line), "grpc-status: %d\n", grpc);
	struct fields *f = rig_fields(s->p->rig, line);
	rig_add_fields(f, more);
	stream_send_trailers(s->stream, f);
	fields_unref(&f);
}

static void served_over(struct served *s)
{
	if (!s->ended)
		s->p->open--;
	s->ended = true;
	s->ended_ns = s->p->rig->loop->now_ns;
	s->stream = NULL;
	timer_cancel(s->p->rig->loop, &s->timer);
	if (s->p->rig->on_served)
		s->p->rig->on_served(s->p->rig->ctx, s, 2);
}

void served_reset(struct served *s, uint32_t code)
{
	if (!s->stream)
		return;
	stream_reset(s->stream, code);
	s->end = (struct stream_end){.cause = END_RESET, .h2_code = code};
	served_over(s);
}

void served_credit(struct served *s)
{
	s->act.hold = false;
	if (s->stream && s->owed)
		stream_credit(s->stream, s->owed);
	s->owed = 0;
}

static void served_grpc_head(struct served *s)
{
	char lines[2048];

	snprintf(lines, sizeof(lines), "content-type: application/grpc\n%s", s->act.head ? s->act.head : "");
	served_head(s, s->act.status ? s->act.status : 200, lines, false);
}

static void served_messages(struct served *s)
{
	for (uint32_t i = 0; i < (s->act.messages ? s->act.messages : 1); i++) {
		uint32_t n = s->act.bytes;
		uint8_t prefix[5] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
		served_data(s, prefix, 5, false);
		if (n)
			served_fill(s, n, false);
	}
}

void served_answer(struct served *s)
{
	if (s->answered)
		return;
	s->answered = true;
	served_grpc_head(s);
	served_messages(s);
	served_trailers(s, s->act.grpc, s->act.trailers);
}

static void served_go(struct served *s)
{
	char lines[2048];

	s->begun = true;
	switch (s->act.does) {
	case ECHOES:
		s->answered = true;
		served_grpc_head(s);
		if (s->data.n) {
			served_data(s, s->data.p, s->data.n, false);
		}
		if (s->fin)
			served_trailers(s, s->act.grpc, s->act.trailers);
		break;
	case ANSWERS:
		if (s->fin)
			served_answer(s);
		break;
	case ANSWERS_EARLY:
		served_answer(s);
		break;
	case TRAILERS_ONLY:
		s->answered = true;
		snprintf(lines, sizeof(lines), "content-type: application/grpc\ngrpc-status: %d\n%s", s->act.grpc, s->act.head ? s->act.head : "");
		served_head(s, s->act.status ? s->act.status : 200, lines, true);
		break;
	case PLAIN:
		s->answered = true;
		served_head(s, s->act.status ? s->act.status : 200, s->act.head, s->act.bytes == 0);
		if (s->act.bytes)
			served_fill(s, s->act.bytes, true);
		break;
	case HOLDS:
		break;
	case HEAD_ONLY:
		served_grpc_head(s);
		break;
	case RESETS:
		served_reset(s, s->act.code);
		break;
	case RESETS_LATE: /* the second half comes a turn later, or the reset would overtake the head in our own queue */
		served_grpc_head(s);
		served_messages(s);
		s->act.does = RESETS;
		timer_in(s->p->rig->loop, &s->timer, 1 * MS, s->timer.fn);
		break;
	case CRASHES:
		if (s->conn)
			h2_conn_close(s->conn->h2, 0);
		break;
	case CRASHES_LATE:
		served_grpc_head(s);
		served_messages(s);
		s->act.does = CRASHES;
		timer_in(s->p->rig->loop, &s->timer, 1 * MS, s->timer.fn);
		break;
	case LEAVES:
		served_answer(s);
		if (s->conn)
			h2_conn_drain(s->conn->h2);
		break;
	default:
		break;
	}
}

static void served_due(struct timer *t)
{
	served_go(container_of(t, struct served, timer));
}

/* ---- what it sees ---- */

static void saw_head(void *user, struct fields *f, bool fin)
{
	(void)user, (void)f, (void)fin;
}

static void served_whole(struct served *s)
{
	s->fin = true;
	if (!s->begun || !s->stream)
		return;
	if (s->act.does == ANSWERS)
		served_answer(s);
	else if (s->act.does == ECHOES)
		served_trailers(s, s->act.grpc, s->act.trailers);
}

static void saw_data(void *user, struct chain *data, bool fin)
{
	struct served *s = user;
	size_t n = data->bytes;

	if (s->begun && s->act.does == ECHOES)
		for (struct slice *at = data->head; at; at = at->next)
			served_data(s, at->p, at->n, false);
	rig_take(data, &s->data, &s->bytes, &s->hash);
	if (s->act.hold)
		s->owed += n;
	else if (n && s->stream)
		stream_credit(s->stream, n);
	if (fin)
		served_whole(s);
}

static void saw_trailers(void *user, struct fields *f)
{
	struct served *s = user;

	rig_keep_fields(&s->trailers, f);
	served_whole(s);
}

static void saw_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static void saw_end(void *user, const struct stream_end *end)
{
	struct served *s = user;

	s->end = *end;
	if (end->cause == END_RESET)
		s->p->cancelled++;
	served_over(s);
}

static const struct stream_events served_events = {saw_head, saw_data, saw_trailers, saw_sent, saw_end};

static void on_request(void *owner, struct stream *stream, struct fields *head, bool fin, const char *refuse)
{
	struct served_conn *on = owner;
	struct provider *p = on->p;
	struct served *s = xnew(struct served);

	(void)refuse;
	p->requests++;
	p->open++;
	s->p = p;
	s->conn = on;
	s->conn_number = on->number;
	s->stream = stream;
	s->fin = fin;
	s->act = p->act;
	s->begun_ns = p->rig->loop->now_ns;
	s->timer.fn = served_due;
	if (p->nnext) {
		s->act = p->next[0];
		memmove(p->next, p->next + 1, --p->nnext * sizeof(*p->next));
	}
	list_push(&p->served, &s->node);
	rig_keep_fields(&s->head, head);
	stream->ev = &served_events;
	stream->user = s;
	if (p->rig->on_served)
		p->rig->on_served(p->rig->ctx, s, 1);
	if (s->act.delay_ms)
		timer_in(p->rig->loop, &s->timer, s->act.delay_ms * MS, served_due);
	else
		served_go(s);
}

/* ---- connections ---- */

static void conn_bury(struct grave *g)
{
	free(container_of(g, struct served_conn, grave));
}

static void on_closed(void *owner, int err)
{
	struct served_conn *on = owner;

	(void)err;
	list_del(&on->node);
	list_each(n, tmp, &on->p->served) {
		struct served *s = list_entry(n, struct served, node);
		if (s->conn == on)
			s->conn = NULL;
	}
	loop_bury(on->p->rig->loop, &on->grave, conn_bury);
}

static const struct stream_server server_events = {on_request, on_closed};

static void conn_speak(struct served_conn *on)
{
	struct provider *p = on->p;

	on->h2 = h2_conn_server(p->rig->loop, on->sock, &p->lim, &p->rig->account, &server_events, on, NULL, 0);
}

static void conn_shaken(void *user, int err)
{
	struct served_conn *on = user;

	if (!err) {
		on->p->handshakes++;
		snprintf(on->peer, sizeof(on->peer), "%s", tls_peer_name(on->sock));
		conn_speak(on);
		return;
	}
	on->p->refused++;
	sock_close(&on->sock);
	on_closed(on, err);
}

static void conn_silent(void *user)
{
	(void)user;
}

static const struct sock_events shaking_events = {.connected = conn_shaken, .readable = conn_silent, .writable = conn_silent};

static bool accepted(void *user, struct sock *taken)
{
	struct provider *p = user;
	struct tls_peer peer = {.want = p->clients};

	p->accepted++;
	if (p->hangs_up) {
		sock_close(&taken);
		return true;
	}
	struct served_conn *on = xnew(struct served_conn);
	on->p = p;
	on->sock = on->under = taken;
	on->number = p->accepted;
	list_push(&p->conns, &on->node);
	if (!p->tls) {
		conn_speak(on);
		return true;
	}
	on->sock = NULL;
	if (tls_server(p->rig->loop, p->tls, taken, &peer, NULL, 0, &p->rig->account, &shaking_events, on, &on->sock) < 0)
		rig_die("a provider cannot speak TLS");
	return true;
}

static const struct sock_listen_events listen_events = {accepted};

struct provider *provider_new(struct rig *r, const char *at, enum does does)
{
	struct provider *p = xnew(struct provider);

	p->rig = r;
	p->at = simnet_addr(at);
	p->act.does = does;
	p->lim = r->lim;
	list_init(&p->conns);
	list_init(&p->served);
	list_push(&r->providers, &p->node);
	provider_listen(p, true);
	return p;
}

void provider_listen(struct provider *p, bool on)
{
	if (!on)
		sock_listen_close(&p->listen);
	else if (!p->listen && sock_listen(p->rig->loop, -1, &p->at, &listen_events, p, &p->listen) < 0)
		rig_die("a provider cannot listen");
}

#define each_conn(on, p) list_each(n_##on, t_##on, &(p)->conns) for (struct served_conn *on = list_entry(n_##on, struct served_conn, node); on; on = NULL)

void provider_cut(struct provider *p)
{
	each_conn(on, p)
		simnet_cut(on->under, -ECONNRESET);
}

void provider_goaway(struct provider *p)
{
	each_conn(on, p)
		if (on->h2)
			h2_conn_drain(on->h2);
}

void provider_stall(struct provider *p, bool stalled)
{
	each_conn(on, p)
		simnet_stall(on->under, stalled);
}

void provider_next(struct provider *p, struct act act)
{
	if (p->nnext == sizeof(p->next) / sizeof(*p->next))
		rig_die("too many acts");
	p->next[p->nnext++] = act;
}

uint32_t provider_conns(const struct provider *p)
{
	uint32_t n = 0;

	for (struct list *at = p->conns.next; at != &p->conns; at = at->next)
		n++;
	return n;
}

struct served *provider_last(const struct provider *p)
{
	return p->served.prev == &p->served ? NULL : list_entry(p->served.prev, struct served, node);
}

struct served *provider_call(const struct provider *p, uint32_t n)
{
	for (struct list *at = p->served.next; at != &p->served; at = at->next)
		if (n-- == 0)
			return list_entry(at, struct served, node);
	return NULL;
}

const char *served_field(const struct served *s, const char *name)
{
	const char *found = rig_find_field(&s->head, name);

	return found ? found : rig_find_field(&s->trailers, name);
}

/* ---- the end ---- */

void rig_end_providers(struct rig *r)
{
	list_each(n, tmp, &r->providers) {
		struct provider *p = list_entry(n, struct provider, node);
		provider_listen(p, false);
		provider_stall(p, false);
		each_conn(on, p) {
			if (on->h2)
				h2_conn_close(on->h2, 0);
			else
				conn_shaken(on, ERR_CLOSED);
		}
	}
}

void rig_bury_providers(struct rig *r)
{
	for (struct list *n; (n = list_pop(&r->providers));) {
		struct provider *p = list_entry(n, struct provider, node);
		for (struct list *m; (m = list_pop(&p->served));) {
			struct served *s = list_entry(m, struct served, node);
			timer_cancel(r->loop, &s->timer);
			sb_end(&s->head);
			sb_end(&s->trailers);
			sb_end(&s->data);
			free(s);
		}
		free(p);
	}
}
