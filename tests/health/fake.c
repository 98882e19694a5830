/* tests/health/fake: see the header. */
#include "tests/health/fake.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conn {
	struct list node;
	struct fake *fake;
	struct sock *sock;       /* by hand */
	struct h2_conn *h2;
	struct sb in;            /* since the last answer */
	size_t said;
	bool answering;
	struct timer drip;
	struct list streams;
	struct grave grave;
};
struct served { struct list node; struct conn *conn; struct stream *s; struct grave grave; };

/* ---- by hand ---------------------------------------------------------------------------------------------------------------- */

static void conn_bury(struct grave *g)
{
	struct conn *c = container_of(g, struct conn, grave);

	sb_end(&c->in);
	free(c);
}

static void conn_end(struct conn *c)
{
	if (!c->sock && !c->h2)
		return;
	timer_cancel(c->fake->in->loop, &c->drip);
	sock_close(&c->sock);
	list_del(&c->node);
	c->fake->open--;
	loop_bury(c->fake->in->loop, &c->grave, conn_bury);
}

static void drip_due(struct timer *t);

static void say(struct conn *c)
{
	struct fake *k = c->fake;

	while (c->sock && c->answering && c->said < k->say.n) {
		struct iovec v = {(void *)(uintptr_t)(k->say.p + c->said), k->drip_ms ? 1 : k->say.n - c->said};
		ssize_t n = sock_writev(c->sock, &v, 1);

		if (n == -EAGAIN || n == 0) {
			sock_want(c->sock, true, true);
			return;
		}
		if (n < 0) {
			conn_end(c);
			return;
		}
		c->said += (size_t)n;
		if (k->forever && c->said == k->say.n)
			c->said = 0;
		if (k->drip_ms) {
			timer_in(k->in->loop, &c->drip, k->drip_ms * MS, drip_due);
			return;
		}
	}
	if (!c->sock || !c->answering)
		return;
	c->answering = false;
	sock_want(c->sock, true, false);
	if (k->then_close)
		conn_end(c);
}

static void drip_due(struct timer *t)
{
	say(container_of(t, struct conn, drip));
}

static void answer_if(struct conn *c)
{
	struct fake *k = c->fake;

	if (k->after && !(c->in.n && memmem(c->in.p, c->in.n, k->after, strlen(k->after))))
		return;
	if (k->after) {
		k->requests++;
		c->in.n = 0;
	}
	c->said = 0;
	c->answering = true;
	say(c);
}

static void raw_readable(void *user)
{
	struct conn *c = user;
	char bytes[4096];
	ssize_t n;

	while (c->sock && (n = sock_recv(c->sock, bytes, sizeof(bytes))) != -EAGAIN) {
		if (n <= 0) {
			conn_end(c);
			return;
		}
		sb_add(&c->in, bytes, (size_t)n);
		sb_add(&c->fake->got, bytes, (size_t)n);
		if (c->fake->after)
			answer_if(c);
	}
}

static void raw_writable(void *user)
{
	say(user);
}

static const struct sock_events raw_events = {.readable = raw_readable, .writable = raw_writable};

/* ---- HTTP/2 ----------------------------------------------------------------------------------------------------------------- */

static struct fields *lines(struct fake *k, const char *text)
{
	struct fields *f = fields_new(k->in->loop->fields, &k->in->account);

	while (*text) {
		const char *end = strchr(text, '\n'), *colon = strchr(text + 1, ':');

		fields_add(f, str_n(text, (size_t)(colon - text)), str_trim(str_n(colon + 1, (size_t)(end - colon - 1))));
		text = end + 1;
	}
	return f;
}

static void served_bury(struct grave *g)
{
	free(container_of(g, struct served, grave));
}

static void served_over(struct served *v)
{
	list_del(&v->node);
	loop_bury(v->conn->fake->in->loop, &v->grave, served_bury);
}

static void send_lines(struct fake *k, struct stream *s, const char *text, bool fin, bool trailers)
{
	struct fields *f = lines(k, text);

	if (trailers)
		(void)stream_send_trailers(s, f);
	else
		(void)stream_send_head(s, f, fin);
	fields_unref(&f);
}

static void send_body(struct fake *k, struct stream *s, struct str body, bool fin)
{
	struct chain c = CHAIN_INIT;

	(void)chain_copy_in(&c, &k->in->loop->bufs, &k->in->account, body.p, body.n);
	stream_send_data(s, &c, fin);
}

static void answer(struct served *v)
{
	struct fake *k = v->conn->fake;
	bool alone = !k->body.n && !k->trailers && !k->hold_end;

	if (k->cut) {
		h2_conn_close(v->conn->h2, 0);
		return;
	}
	if (k->reset) {
		struct stream *s = v->s;

		served_over(v);
		stream_reset(s, k->code);
		return;
	}
	if (k->goaway)
		h2_conn_drain(v->conn->h2);
	if (k->hold)
		return;
	send_lines(k, v->s, k->head, alone, false);
	if (k->body.n)
		send_body(k, v->s, k->body, !k->trailers && !k->hold_end);
	if (k->trailers && !k->hold_end)
		send_lines(k, v->s, k->trailers, true, true);
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct served *v = user;
	struct fake *k = v->conn->fake;
	size_t n = data->bytes;
	char *copy = malloc(n + 1);

	chain_peek(data, 0, copy, n);
	sb_add(&k->got, copy, n);
	free(copy);
	chain_clear(data);
	stream_credit(v->s, n);
	if (fin)
		answer(v);
}

static void on_trailers(void *user, struct fields *trailers)
{
	(void)user, (void)trailers;
}

static void on_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static void on_end(void *user, const struct stream_end *end)
{
	(void)end;
	served_over(user);
}

static void on_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	static const struct stream_events events = {.on_data = on_data, .on_trailers = on_trailers, .on_sent = on_sent, .on_end = on_end};
	struct conn *c = owner;
	struct served *v = xnew(struct served);

	(void)refuse;
	v->conn = c;
	v->s = s;
	s->ev = &events;
	s->user = v;
	list_push(&c->streams, &v->node);
	c->fake->requests++;
	c->fake->got.n = 0;
	fields_each(e, head)
		sb_fmt(&c->fake->got, "%.*s: %.*s\n", (int)e->name_len, e->name, (int)e->value_len, e->value);
	if (fin)
		answer(v);
}

static void on_closed(void *owner, int err)
{
	struct conn *c = owner;

	(void)err;
	conn_end(c);
	c->h2 = NULL;
}

static void serve(struct conn *c, struct sock *taken)
{
	static const struct stream_server events = {.on_request = on_request, .on_closed = on_closed};
	struct fake *k = c->fake;

	if (k->h2) {
		c->sock = NULL;
		c->h2 = h2_conn_server(k->in->loop, taken, &k->in->lim, &k->in->account, &events, c, NULL, 0);
		return;
	}
	c->sock = taken;
	sock_set(taken, &raw_events, c);
	sock_want(taken, true, false);
	if (!k->after)
		answer_if(c);
}

static void nothing(void *user)
{
	(void)user;
}

static void shaken(void *user, int err)
{
	struct conn *c = user;

	if (err) {
		conn_end(c);
		return;
	}
	c->fake->shaken++;
	snprintf(c->fake->alpn, sizeof(c->fake->alpn), "%s", tls_alpn(c->sock));
	serve(c, c->sock);
}

static bool accepted(void *user, struct sock *taken)
{
	static const struct sock_events shaking = {.connected = shaken, .readable = nothing, .writable = nothing};
	struct fake *k = user;
	struct conn *c = xnew(struct conn);

	c->fake = k;
	list_init(&c->streams);
	list_push(&k->conns, &c->node);
	k->accepted++;
	k->open++;
	if (!k->tls)
		serve(c, taken);
	else if (tls_server(k->in->loop, k->tls, taken, &k->callers, NULL, 0, &k->in->account, &shaking, c, &c->sock) < 0)
		abort();
	return true;
}

void fake_push(struct fake *k, const char *message, size_t n)
{
	char framed[64] = {0, 0, 0, 0, (char)n};

	memcpy(framed + 5, message, n);
	list_each(at, tmp, &k->conns)
		list_each(m, tmp2, &list_entry(at, struct conn, node)->streams)
			send_body(k, list_entry(m, struct served, node)->s, str_n(framed, n + 5), false);
}

void fake_end(struct fake *k, const char *trailers)
{
	list_each(at, tmp, &k->conns)
		list_each(m, tmp2, &list_entry(at, struct conn, node)->streams)
			send_lines(k, list_entry(m, struct served, node)->s, trailers, true, true);
}

void fake_goaway(struct fake *k)
{
	list_each(at, tmp, &k->conns) h2_conn_drain(list_entry(at, struct conn, node)->h2);
}

void fake_serves(struct fake *k, int status)
{
	static const char *const bodies[] = {"\0\0\0\0\0", "\0\0\0\0\2\x08\x01", "\0\0\0\0\2\x08\x02", "\0\0\0\0\2\x08\x03"};

	k->head = ":status: 200\ncontent-type: application/grpc\n";
	k->body = str_n(bodies[status], status ? 7 : 5);
	k->trailers = "grpc-status: 0\n";
}

void fake_says_grpc(struct fake *k, const char *trailers)
{
	k->head = trailers;
	k->body = str_n("", 0);
	k->trailers = NULL;
}

/* ---- all of it -------------------------------------------------------------------------------------------------------------- */

void fake_listen(struct fake *k, bool on)
{
	static const struct sock_listen_events events = {.accepted = accepted};

	if (on && !k->listen)
		sock_listen(k->in->loop, -1, &k->at, &events, k, &k->listen);
	else if (!on)
		sock_listen_close(&k->listen);
}

uint32_t fake_cut(struct fake *k)
{
	return (uint32_t)simnet_cut_all(k->in->net, &k->at, -ECONNRESET);
}

struct fake *fake_new(struct fakes *f, const char *at, bool h2)
{
	struct fake *k = xnew(struct fake);

	k->in = f;
	k->at = simnet_addr(at);
	k->h2 = h2;
	list_init(&k->conns);
	list_push(&f->all, &k->node);
	fake_listen(k, true);
	if (h2)
		fake_serves(k, 1);
	return k;
}

struct fakes *fakes_new(void)
{
	struct fakes *f = xnew(struct fakes);

	f->net = simnet_new(11);
	f->loop = simnet_loop(f->net);
	f->lim = (struct limits){.streams_per_connection = 1000, .header_bytes = 32768, .field_count = 200, .header_wire_bytes = 40960, .continuations = 64, .header_budget = 262144,
		.premature_resets = 2000, .control_frames = 10000, .empty_frames = 100, .outbound_queue = 1000, .window_down = 262144, .window_up = 1 << 20, .window_down_conn = 1 << 20,
		.window_up_conn = 16 << 20, .replay_bytes = 65536, .stall_ns = 30 * SEC, .stall_bytes = 1024, .preface_time_ns = 5 * SEC, .header_time_ns = 5 * SEC};
	account_init(&f->account, NULL, "fakes", SIZE_MAX);
	list_init(&f->all);
	return f;
}

void fakes_free(struct fakes **at)
{
	struct fakes *f = *at;

	*at = NULL;
	simnet_advance(f->net, 0);
	list_each(n, tmp, &f->all)
	{
		struct fake *k = list_entry(n, struct fake, node);

		fake_listen(k, false);
		list_each(m, tmp2, &k->conns)
		{
			struct conn *c = list_entry(m, struct conn, node);

			if (c->h2)
				h2_conn_close(c->h2, 0);
			else
				conn_end(c);
		}
	}
	for (int i = 0; i < 8; i++)
		loop_turn(f->loop, 0);
	list_each(n, tmp, &f->all)
	{
		struct fake *k = list_entry(n, struct fake, node);

		sb_end(&k->got);
		free(k);
	}
	account_end(&f->account);
	simnet_free(&f->net); /* its loop's account tells what is left of a probe */
	free(f);
}

void fakes_advance(struct fakes *f, uint64_t ns)
{
	simnet_advance(f->net, ns);
}
