/* sidecar/cli_client: see cli_client.h.
 *
 *   struct client   one, on the stack of cli_exchange:  dialling -> asking -> closing -> over
 *
 * It owns its dial, then the connection and the stream on it. The deadline covers all three; connecting alone has CONNECT_NS, because a socket whose
 * daemon hangs should be told as such. Memory: what the peer sends is handed on at once, so the limits of the connection are the bound. */
#include "sidecar/cli_client.h"
#include <errno.h>
#include <unistd.h>
#include "base/err.h"
#include "net/dial.h"
#include "sidecar/cli_int.h"

static const uint64_t connect_ns = UINT64_C(10) * 1000000000;

/* Generous beside product.md's: this is a tool for looking, and what it looks at is what somebody asked for. */
static const struct limits client_limits = {
	.streams_per_connection = 1, .header_bytes = 1 << 20, .field_count = 5000, .header_wire_bytes = 2 << 20, .continuations = 256, .header_budget = 4 << 20,
	.premature_resets = 1000, .control_frames = 10000, .empty_frames = 1000, .outbound_queue = 1000, .window_down = 1 << 20, .window_up = 1 << 20,
	.window_down_conn = 1 << 20, .window_up_conn = 1 << 20, .stall_ns = UINT64_C(3600) * 1000000000, .stall_bytes = 1,
	.preface_time_ns = UINT64_C(3600) * 1000000000, .header_time_ns = UINT64_C(3600) * 1000000000,
};

struct client {
	struct loop *loop;             /* borrowed */
	const struct cli_request *rq;
	const struct cli_events *ev;
	void *user;
	struct sb *why;                /* borrowed */
	struct dial *dial;
	struct h2_conn *conn;
	struct stream *stream;
	struct timer deadline;
	int result;
	bool over;                     /* the outcome is known */
};

/* ---- the end ------------------------------------------------------------------------------------------------------------------ */

static void client_over(struct client *c, int result)
{
	if (c->over)
		return;
	c->over = true;
	c->result = result;
	timer_cancel(c->loop, &c->deadline);
	dial_cancel(&c->dial);
	if (c->stream)
		stream_reset(c->stream, H2_CANCEL);
	c->stream = NULL;
	if (c->conn)
		h2_conn_close(c->conn, H2_NO_ERROR);
}

static void deadline_due(struct timer *t)
{
	struct client *c = container_of(t, struct client, deadline);

	sb_fmt(c->why, "no %s from '%s' within %llu ms", c->conn ? "whole answer" : "connection", c->rq->socket, (unsigned long long)(c->rq->timeout_ns / 1000000));
	client_over(c, -1);
}

/* What a person at a shell can do about it. */
static const char *hint(int err)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		return "is thinmesh running?";
	case -EACCES:
	case -EPERM:
		return "see mode and group of the listener; this is";
	case ERR_MALFORMED:
	case ERR_TIMEOUT:
		return "is it a socket of thinmesh?";
	case ERR_CLOSED:
	case -ECONNRESET:
	case -EPIPE:
		return "is it a socket of thinmesh, and may this user call it (`allow` of the listener)? this is";
	default:
		return NULL;
	}
}

static void cannot_connect(struct client *c, int err, const char *why)
{
	const char *try = hint(err);

	sb_fmt(c->why, "cannot connect to '%s': %s%s%s", c->rq->socket, why, try ? "; " : "", try ? try : "");
	if (err == -EACCES || err == -EPERM || err == ERR_CLOSED || err == -ECONNRESET || err == -EPIPE)
		sb_fmt(c->why, " uid %u", (unsigned)geteuid());
	client_over(c, -1);
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------------- */

static void on_head(void *user, struct fields *head, bool fin)
{
	struct client *c = user;

	(void)fin;
	c->ev->on_head(c->user, head);
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct client *c = user;

	(void)fin;
	for (const struct slice *s = data->head; s; s = s->next)
		if (!c->ev->on_bytes(c->user, s->p, s->n)) {
			client_over(c, 0);
			return;
		}
}

static void on_trailers(void *user, struct fields *trailers)
{
	struct client *c = user;

	c->ev->on_trailers(c->user, trailers);
}

static void on_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static const char *code_name(uint32_t code)
{
	static const char *const names[] = {"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
		"HTTP_1_1_REQUIRED"};
	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "an unknown code";
}

static void on_end(void *user, const struct stream_end *end)
{
	struct client *c = user;

	c->stream = NULL;
	switch (end->cause) {
	case END_DONE:
		client_over(c, 0);
		return;
	case END_REFUSED:
	case END_RESET:
		sb_fmt(c->why, "'%s' reset the call: %s", c->rq->socket, code_name(end->cause == END_REFUSED ? H2_REFUSED_STREAM : end->h2_code));
		break;
	case END_LIMIT:
	case END_MALFORMED:
		sb_fmt(c->why, "the answer of '%s' was not taken: %s", c->rq->socket, end->detail ? end->detail : "it is malformed");
		break;
	default:
		sb_fmt(c->why, "'%s' closed the connection before the answer was whole", c->rq->socket);
	}
	client_over(c, -1);
}

static const struct stream_events answer_events = {.on_head = on_head, .on_data = on_data, .on_trailers = on_trailers, .on_sent = on_sent, .on_end = on_end};

/* ---- the request ---------------------------------------------------------------------------------------------------------------- */

static void nothing(void *owner)
{
	(void)owner;
}

static void on_closed(void *owner, int err, uint64_t streams_carried)
{
	struct client *c = owner;

	(void)err, (void)streams_carried;
	c->conn = NULL;
	if (!c->over) { /* before there was a stream to tell it */
		sb_fmt(c->why, "'%s' closed the connection before the call", c->rq->socket);
		client_over(c, -1);
	}
}

static const struct h2_client_events conn_events = {.on_up = nothing, .on_room = nothing, .on_goaway = nothing, .on_closed = on_closed};

static struct fields *request_head(struct client *c)
{
	const struct cli_request *rq = c->rq;
	struct fields *f = fields_new(c->loop->fields, &c->loop->memory);

	fields_add_token(f, FIELD_METHOD, str_of(rq->method));
	fields_add_token(f, FIELD_SCHEME, STR("http"));
	if (rq->authority.n)
		fields_add_token(f, FIELD_AUTHORITY, rq->authority);
	fields_add_token(f, FIELD_PATH, rq->path);
	for (size_t i = 0; i < rq->nfields; i++)
		fields_add(f, rq->fields[i].name, rq->fields[i].value);
	return f;
}

static void client_ask(struct client *c)
{
	struct loop *l = c->loop;

	c->stream = h2_conn_open(c->conn, &answer_events, c);
	if (!c->stream) {
		sb_fmt(c->why, "'%s' takes no call now: it goes away, or its limit of streams is 0", c->rq->socket);
		client_over(c, -1);
		return;
	}
	struct fields *head = request_head(c);
	int r = stream_send_head(c->stream, head, c->rq->body.n == 0);
	fields_unref(&head);
	if (r < 0) {
		sb_fmt(c->why, "the request cannot be sent: %s", err_text(r));
		client_over(c, -1);
	} else if (c->rq->body.n) {
		struct chain body = CHAIN_INIT;
		chain_copy_in(&body, &l->bufs, &l->memory, c->rq->body.p, c->rq->body.n);
		stream_send_data(c->stream, &body, true);
	}
}

static void dialled(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	struct client *c = owner;

	(void)d;
	c->dial = NULL;
	c->conn = conn;
	if (conn)
		client_ask(c);
	else
		cannot_connect(c, err, why);
}

int cli_exchange(struct loop *l, const struct cli_request *rq, const struct cli_events *ev, void *user, struct sb *why)
{
	struct client c = {.loop = l, .rq = rq, .ev = ev, .user = user, .why = why};
	struct dial_spec spec = {.addrs = &rq->to, .count = 1, .timeout_ns = connect_ns, .limits = &client_limits, .account = &l->memory};

	/* Before the dial's own, so that of two that are due together ours, which names the whole, is told. */
	if (rq->timeout_ns)
		timer_in(l, &c.deadline, rq->timeout_ns, deadline_due);
	int r = dial_start(l, &spec, &conn_events, &c, dialled, &c.dial);
	if (r < 0)
		cannot_connect(&c, r, err_text(r));
	while (!c.over || c.conn) {
		r = loop_turn(l, -1);
		if (rq->stop && *rq->stop && !c.over) {
			sb_str(why, "stopped");
			client_over(&c, -1);
		}
		if (r < 0) { /* epoll itself fails: there is no more to be waited for */
			sb_fmt(why, "cannot wait for '%s': %s", rq->socket, err_text(r));
			client_over(&c, -1);
			break;
		}
	}
	return c.result;
}

/* ---- pages ---------------------------------------------------------------------------------------------------------------------- */

struct page { struct sb *body; int status; bool too_large; };

static void page_head(void *user, struct fields *head)
{
	struct page *p = user;
	uint64_t status;

	p->status = str_u64(fields_value(head, FIELD_STATUS), &status) && status < 1000 ? (int)status : 0;
}

static bool page_bytes(void *user, const char *bytes, size_t n)
{
	struct page *p = user;

	p->too_large = n > CLI_BODY_MAX - p->body->n;
	if (!p->too_large)
		sb_add(p->body, bytes, n);
	return !p->too_large;
}

static void page_trailers(void *user, struct fields *trailers)
{
	(void)user, (void)trailers;
}

int cli_fetch(struct loop *l, const struct cli_request *rq, struct sb *ret_body, struct sb *why)
{
	static const struct cli_events events = {.on_head = page_head, .on_bytes = page_bytes, .on_trailers = page_trailers};
	struct page page = {.body = ret_body};
	int r = cli_exchange(l, rq, &events, &page, why);

	if (r == 0 && page.too_large) {
		sb_fmt(why, "the page %.*s of '%s' is larger than %d MiB", (int)rq->path.n, rq->path.p, rq->socket, CLI_BODY_MAX >> 20);
		r = -1;
	}
	return r < 0 ? r : page.status;
}

int cli_ask(const char *command, const char *socket, const struct addr *to, const char *method, const char *path, uint64_t timeout_ns, struct sb *ret_body)
{
	struct cli_request rq = {.to = *to, .socket = socket, .method = method, .authority = STR("localhost"), .path = str_of(path), .timeout_ns = timeout_ns};
	struct sb why = {0};
	struct loop *l = loop_new_real(NULL);
	int r;

	if (!l) {
		cli_say(command, "the kernel refuses an event loop: %s", strerror(errno));
		return -1;
	}
	r = cli_fetch(l, &rq, ret_body, &why);
	loop_free(&l);
	if (r < 0)
		cli_say(command, "%.*s", (int)why.n, why.p);
	sb_end(&why);
	return r;
}
