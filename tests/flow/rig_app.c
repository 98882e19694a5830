/* tests/flow/rig_app: fake apps. A caller is one connection, a call is one stream; both live until rig_free, so that a test can look at them. */
#include <stdio.h>
#include <stdlib.h>
#include "net/tls.h"
#include "tests/flow/rig_int.h"

/* ---- connections ---- */

static void caller_up(void *owner)
{
	((struct caller *)owner)->up = true;
}

static void caller_room(void *owner)
{
	(void)owner;
}

static void caller_goaway(void *owner)
{
	((struct caller *)owner)->goaways++;
}

static void caller_closed(void *owner, int err, uint64_t carried)
{
	struct caller *c = owner;

	(void)carried;
	c->h2 = NULL;
	c->sock = NULL;
	c->up = false;
	c->err = err;
}

static const struct h2_client_events caller_events = {caller_up, caller_room, caller_goaway, caller_closed};

static const struct sock_events dialling;

static void caller_connected(void *user, int err)
{
	struct caller *c = user;

	if (err) {
		c->err = err;
		snprintf(c->why, sizeof(c->why), "%s", tls_why(c->sock));
		sock_close(&c->sock);
		return;
	}
	if (c->dress) {
		int (*dress)(void *ctx, struct caller *c, const struct sock_events *ev) = c->dress;

		c->dress = NULL; /* connected is told again, of what lies over it */
		if (dress(c->dress_ctx, c, &dialling) < 0)
			rig_die("a caller cannot be dressed");
		return;
	}
	c->h2 = h2_conn_client(c->rig->loop, c->sock, &c->rig->lim, &c->rig->account, &caller_events, c);
}

static void caller_silence(void *user)
{
	(void)user;
}

static const struct sock_events dialling = {caller_connected, caller_silence, caller_silence};

struct caller *caller_start(struct rig *r, const char *at)
{
	struct caller *c = xnew(struct caller);
	struct addr to = simnet_addr(at);

	c->rig = r;
	list_push(&r->callers, &c->node);
	if (sock_connect(r->loop, &to, &dialling, c, &c->sock) < 0)
		rig_die("no sock");
	return c;
}

struct caller *caller_new(struct rig *r, const char *at)
{
	struct caller *c = caller_start(r, at);

	rig_settle(r);
	return c;
}

void caller_close(struct caller *c)
{
	if (c->h2)
		h2_conn_close(c->h2, 0);
	else if (c->sock)
		sock_close(&c->sock);
}

void caller_stall(struct caller *c, bool stalled)
{
	if (c->sock)
		simnet_stall(c->sock, stalled);
}

/* ---- calls: what comes back ---- */

static int number_of(const char *text)
{
	return text ? atoi(text) : -1;
}

static void got_head(void *user, struct fields *head, bool fin)
{
	struct call *c = user;

	c->heads++;
	rig_keep_fields(&c->head, head);
	c->status = number_of(rig_find_field(&c->head, ":status"));
	c->grpc = number_of(rig_find_field(&c->head, "grpc-status"));
	c->fin |= fin;
}

static void got_data(void *user, struct chain *data, bool fin)
{
	struct call *c = user;
	size_t n = data->bytes;

	rig_take(data, &c->data, &c->bytes, &c->hash);
	c->fin |= fin;
	if (c->hold)
		c->owed += n;
	else if (n)
		stream_credit(c->stream, n);
}

static void got_trailers(void *user, struct fields *trailers)
{
	struct call *c = user;

	rig_keep_fields(&c->trailers, trailers);
	if (rig_find_field(&c->trailers, "grpc-status"))
		c->grpc = number_of(rig_find_field(&c->trailers, "grpc-status"));
	c->fin = true;
}

static void got_sent(void *user, size_t n)
{
	((struct call *)user)->on_sent += n;
}

static void got_end(void *user, const struct stream_end *end)
{
	struct call *c = user;

	c->ends++;
	c->end = *end;
	c->ended_ns = c->rig->loop->now_ns;
	c->stream = NULL;
	if (c->rig->on_call_end)
		c->rig->on_call_end(c->rig->ctx, c);
}

static const struct stream_events call_events = {got_head, got_data, got_trailers, got_sent, got_end};

/* ---- calls: what goes out ---- */

static struct call *call_open(struct caller *from, const char *lines, const char *more, bool fin)
{
	struct rig *r = from->rig;
	struct call *c = xnew(struct call);
	struct fields *f = rig_fields(r, lines), *extra;

	c->rig = r;
	c->from = from;
	c->number = r->next_call++;
	c->status = c->grpc = -1;
	c->begun_ns = r->loop->now_ns;
	list_push(&r->calls, &c->node);
	extra = rig_fields(r, more);
	fields_each(e, extra) {
		if (e->name[0] == ':')
			fields_set(f, (enum field_token)e->token, str_n(e->value, e->value_len));
		else
			fields_add(f, str_n(e->name, e->name_len), str_n(e->value, e->value_len));
	}
	fields_unref(&extra);
	c->stream = from->h2 ? h2_conn_open(from->h2, &call_events, c) : NULL;
	if (c->stream) {
		stream_send_head(c->stream, f, fin);
	} else {
		c->ends = 1;
		c->end = (struct stream_end){.cause = END_CONNECT, .detail = "no stream to be had"};
	}
	fields_unref(&f);
	return c;
}

static struct call *call_make(struct caller *from, const char *method, const char *authority, const char *path, const char *rest, const char *more, bool fin)
{
	struct sb lines = {0};

	sb_fmt(&lines, ":method: %s\n:scheme: http\n", method);
	if (authority)
		sb_fmt(&lines, ":authority: %s\n", authority);
	sb_fmt(&lines, ":path: %s\n%s", path, rest);
	struct call *c = call_open(from, lines.p, more, fin);
	sb_end(&lines);
	return c;
}

struct call *call_begin(struct caller *from, const char *authority, const char *path, const char *more, bool fin)
{
	return call_make(from, "POST", authority, path, "content-type: application/grpc\nte: trailers\n", more, fin);
}

struct call *call_plain(struct caller *from, const char *method, const char *authority, const char *path, const char *more, bool fin)
{
	return call_make(from, method, authority, path, "", more, fin);
}

void call_data(struct call *c, const void *bytes, size_t n, bool fin)
{
	struct chain data = CHAIN_INIT;

	if (!c->stream)
		return;
	if (chain_copy_in(&data, &c->rig->loop->bufs, &c->rig->account, bytes, n) != 0)
		rig_die("no chunk");
	c->sent += n;
	c->sent_hash = rig_hash(c->sent_hash, bytes, n);
	stream_send_data(c->stream, &data, fin);
}

void call_fill(struct call *c, size_t n, bool fin)
{
	char *bytes = xalloc(n + 1);

	rig_pattern(bytes, c->sent, n);
	call_data(c, bytes, n, fin);
	free(bytes);
}

void call_trailers(struct call *c, const char *lines)
{
	struct fields *f = rig_fields(c->rig, lines);

	if (c->stream)
		stream_send_trailers(c->stream, f);
	fields_unref(&f);
}

void call_cancel(struct call *c)
{
	if (!c->stream)
		return;
	stream_reset(c->stream, H2_CANCEL);
	c->stream = NULL;
	c->ends++;
	c->end = (struct stream_end){.cause = END_RESET, .h2_code = H2_CANCEL, .detail = "cancelled by the app"};
	c->ended_ns = c->rig->loop->now_ns;
}

void call_credit(struct call *c)
{
	c->hold = false;
	if (c->stream && c->owed)
		stream_credit(c->stream, c->owed);
	c->owed = 0;
}

struct call *call_unary(struct caller *from, const char *authority, const char *more)
{
	struct call *c = call_begin(from, authority, PATH, more, false);

	call_data(c, "\0\0\0\0\5hello", 10, true);
	return c;
}

/* ---- looking ---- */

const char *call_field(const struct call *c, const char *name)
{
	const char *found = rig_find_field(&c->head, name);

	return found ? found : rig_find_field(&c->trailers, name);
}

const char *call_text(const struct call *c)
{
	static char text[4096]; /* one at a time: it is for a message of a failed assertion, or for strstr */
	const char *m = call_field(c, "grpc-message");
	struct sb b = {0};

	if (m)
		grpc_message_decode(str_of(m), &b);
	else
		sb_add(&b, c->data.p, c->data.n);
	snprintf(text, sizeof(text), "%.*s", (int)b.n, b.p ? b.p : "");
	sb_end(&b);
	return text;
}

bool call_ok(const struct call *c)
{
	return c->ends == 1 && c->end.cause == END_DONE && c->fin && c->status == 200 && c->grpc == 0;
}

/* ---- the end ---- */

void rig_end_apps(struct rig *r)
{
	list_each(n, tmp, &r->callers)
		caller_close(list_entry(n, struct caller, node));
}

void rig_bury_apps(struct rig *r)
{
	for (struct list *n; (n = list_pop(&r->calls));) {
		struct call *c = list_entry(n, struct call, node);
		sb_end(&c->head);
		sb_end(&c->trailers);
		sb_end(&c->data);
		free(c);
	}
	for (struct list *n; (n = list_pop(&r->callers));)
		free(list_entry(n, struct caller, node));
}
