/* net/grpc_call: see the header.
 *
 *   grpc_call 1 --- 1 struct stream (client role), until its end
 *
 * Phases of what comes in: head -> (5 bytes of frame -> its message)* -> trailers. A call is over when on_end was told or it was cancelled: `s` is
 * NULL from then on, and the memory goes with the morgue, so that an event's callback may cancel the call that it is called for.
 * The status: trailers or a trailers-only head say it; else what ended the stream is mapped by the tables of PROTOCOL-HTTP2 ("Errors", "HTTP status codes"). */
#include "net/grpc_call.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum { PREFIX = 5 };

struct grpc_call {
	struct stream *s;            /* NULL: over */
	struct loop *loop;
	struct account *account;     /* borrowed: the connection's */
	const struct grpc_call_events *ev;
	void *user;
	uint64_t queued, sent;       /* bytes of frames */
	size_t owed;                 /* received while paused: credited when it goes on */
	unsigned char prefix[PREFIX];
	uint8_t prefix_n;
	uint32_t left;               /* bytes of the message that are still to come */
	bool wipes, in_message, paused, half_closed, answered, has_status;
	int status;
	enum stream_cause cause;
	struct sb message;
	struct timer deadline;
	struct grave grave;
};

/* ---- the end ---------------------------------------------------------------------------------------------------------------------- */

static void call_bury(struct grave *gr)
{
	struct grpc_call *g = container_of(gr, struct grpc_call, grave);

	sb_end(&g->message);
	free(g);
}

static void call_over(struct grpc_call *g)
{
	g->s = NULL;
	timer_cancel(g->loop, &g->deadline);
	loop_bury(g->loop, &g->grave, call_bury);
}

static void call_end(struct grpc_call *g, int status, const char *message)
{
	call_over(g);
	g->ev->on_end(g->user, status, message, g->answered);
}

/* We end it: what the peer sent cannot be gone on with. */
static void call_refuse(struct grpc_call *g, int status, const char *message)
{
	stream_reset(g->s, H2_CANCEL);
	call_end(g, status, message);
}

enum stream_cause grpc_call_cause(const struct grpc_call *g)
{
	return g->cause;
}

void grpc_call_cancel(struct grpc_call **at)
{
	struct grpc_call *g = *at;

	*at = NULL;
	if (!g || !g->s)
		return;
	stream_reset(g->s, H2_CANCEL);
	call_over(g);
}

static int status_of_reset(uint32_t h2_code)
{
	switch (h2_code) {
	case H2_REFUSED_STREAM:
		return GRPC_UNAVAILABLE;
	case H2_CANCEL:
		return GRPC_CANCELLED;
	case H2_ENHANCE_YOUR_CALM:
		return GRPC_RESOURCE_EXHAUSTED;
	case H2_INADEQUATE_SECURITY:
		return GRPC_PERMISSION_DENIED;
	case H2_STREAM_CLOSED:
	case H2_HTTP_1_1_REQUIRED:
		return GRPC_UNKNOWN;
	default:
		return GRPC_INTERNAL;
	}
}

static void stream_ended(void *user, const struct stream_end *end)
{
	struct grpc_call *g = user;
	char text[128];

	if (g->has_status) {
		if (g->status == GRPC_OK && (g->in_message || g->prefix_n))
			call_end(g, GRPC_INTERNAL, "the server ended the call inside a message");
		else
			call_end(g, g->status, g->message.n ? g->message.p : "");
		return;
	}
	g->cause = end->cause;
	switch (end->cause) {
	case END_DONE:
		g->cause = END_MALFORMED;
		call_end(g, GRPC_INTERNAL, "the server ended the call without trailers");
		return;
	case END_REFUSED:
		call_end(g, GRPC_UNAVAILABLE, "the server refused the stream");
		return;
	case END_RESET:
		snprintf(text, sizeof(text), "the server reset the stream (HTTP/2 code %u)", end->h2_code);
		call_end(g, status_of_reset(end->h2_code), text);
		return;
	case END_UNPROCESSED:
	case END_CONNECT:
	case END_LOST:
		call_end(g, GRPC_UNAVAILABLE, end->cause == END_UNPROCESSED ? "the connection goes away, the call was not processed" : "the connection was lost");
		return;
	case END_LIMIT:
		call_end(g, GRPC_RESOURCE_EXHAUSTED, end->detail ? end->detail : "a limit of ours was reached");
		return;
	case END_DEADLINE:
		call_end(g, GRPC_DEADLINE_EXCEEDED, "the deadline is over");
		return;
	case END_MALFORMED:
		break;
	}
	call_end(g, GRPC_INTERNAL, end->detail ? end->detail : "the server's answer is malformed");
}

static void deadline_due(struct timer *t)
{
	struct grpc_call *g = container_of(t, struct grpc_call, deadline);

	g->cause = END_DEADLINE;
	call_refuse(g, GRPC_DEADLINE_EXCEEDED, "the deadline is over");
}

/* ---- what comes in ------------------------------------------------------------------------------------------------------------------- */

static void message_set(struct grpc_call *g, const char *text)
{
	g->message.n = 0;
	sb_str(&g->message, text);
	sb_char(&g->message, 0);
	g->message.n--;
}

/* False: there is no grpc-status in it. */
static bool take_status(struct grpc_call *g, const struct fields *f)
{
	const struct field *status = fields_get(f, FIELD_GRPC_STATUS);

	if (!status)
		return false;
	int n = grpc_status_parse(str_n(status->value, status->value_len));
	g->has_status = true;
	if (n < 0) { /* statuscodes.md: "error parsing returned status" */
		char text[80];
		snprintf(text, sizeof(text), "the server's grpc-status '%.*s' is no number", status->value_len < 32 ? (int)status->value_len : 32, status->value);
		g->status = GRPC_UNKNOWN;
		message_set(g, text);
		return true;
	}
	g->status = n;
	grpc_message_decode(fields_value(f, FIELD_GRPC_MESSAGE), &g->message);
	sb_char(&g->message, 0);
	g->message.n--;
	return true;
}

/* What the head says makes the call's end. Where the stream ends with it, its own end follows, and nothing need be reset. */
static void conclude(struct grpc_call *g, bool fin, int status, const char *message)
{
	if (!fin) {
		call_refuse(g, status, message);
		return;
	}
	g->has_status = true;
	g->status = status;
	message_set(g, message);
}

static void got_head(void *user, struct fields *head, bool fin)
{
	struct grpc_call *g = user;
	struct str status = fields_value(head, FIELD_STATUS), type = fields_value(head, FIELD_CONTENT_TYPE);
	uint64_t http = 0;
	char text[160];

	g->answered = true;
	if (fin && take_status(g, head)) /* trailers-only; the end of the stream follows */
		return;
	if (!str_is(status, "200")) {
		str_u64(status, &http);
		snprintf(text, sizeof(text), "the server answers with HTTP status %d and no grpc-status", (int)http);
		conclude(g, fin, grpc_from_http((int)http), text);
	} else if (!fields_is_grpc(head)) {
		snprintf(text, sizeof(text), "the server answers with content-type '%.*s', which is not gRPC", type.n < 64 ? (int)type.n : 64, type.p ? type.p : "");
		conclude(g, fin, GRPC_UNKNOWN, text);
	} else if (fin) {
		conclude(g, fin, GRPC_INTERNAL, "the server ended the call without trailers");
	} else if (g->ev->on_head) {
		g->ev->on_head(g->user, head);
	}
}

/* The five bytes are there. False: the call is over. */
static bool message_begins(struct grpc_call *g)
{
	const unsigned char *p = g->prefix;
	uint32_t n = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	char text[96];

	g->prefix_n = 0;
	if (p[0] != 0) {
		g->cause = END_MALFORMED;
		call_refuse(g, GRPC_INTERNAL, p[0] == 1 ? "the server sent a compressed message, though we accept none" : "the server sent a frame with unknown flags");
		return false;
	}
	if (!g->ev->on_begin(g->user, n)) {
		if (!g->s) /* cancelled meanwhile */
			return false;
		snprintf(text, sizeof(text), "a message of %u bytes is too large for us", n);
		call_refuse(g, GRPC_RESOURCE_EXHAUSTED, text);
		return false;
	}
	g->left = n;
	g->in_message = n > 0;
	if (n == 0 && g->s)
		g->ev->on_bytes(g->user, "", 0, true);
	return g->s != NULL;
}

/* False: the call is over. */
static bool got_bytes(struct grpc_call *g, const char *p, size_t n)
{
	while (n) {
		if (!g->in_message) {
			size_t missing = (size_t)PREFIX - g->prefix_n, part = missing < n ? missing : n;
			memcpy(g->prefix + g->prefix_n, p, part);
			g->prefix_n += (uint8_t)part;
			p += part;
			n -= part;
			if (g->prefix_n == PREFIX && !message_begins(g))
				return false;
			continue;
		}
		size_t part = g->left < n ? g->left : n;
		g->left -= (uint32_t)part;
		g->in_message = g->left > 0;
		g->ev->on_bytes(g->user, p, part, g->left == 0);
		if (!g->s)
			return false;
		p += part;
		n -= part;
	}
	return true;
}

static void got_data(void *user, struct chain *data, bool fin)
{
	struct grpc_call *g = user;
	struct stream *s = g->s;
	struct chain mine = CHAIN_INIT;
	size_t n = data->bytes;
	bool goes_on = true;

	(void)fin; /* without trailers: on_end tells */
	chain_move(&mine, data); /* a callback may end the stream, and with it what lies there */
	for (const struct slice *at = mine.head; at; at = at->next) {
		goes_on = goes_on && got_bytes(g, at->p, at->n);
		if (g->wipes) /* these bytes are nobody else's, in whatever chunk they lie: it was read into for this stream, and will be for others */
			explicit_bzero((char *)(uintptr_t)at->p, at->n);
	}
	chain_clear(&mine);
	if (goes_on && g->paused)
		g->owed += n;
	else
		stream_credit(s, n);
}

static void got_trailers(void *user, struct fields *trailers)
{
	struct grpc_call *g = user;

	if (take_status(g, trailers))
		return;
	g->has_status = true;
	g->status = GRPC_UNKNOWN;
	message_set(g, "the server's trailers have no grpc-status");
}

static void got_sent(void *user, size_t n)
{
	struct grpc_call *g = user;

	g->sent += n;
	if (g->s && g->ev->on_sent)
		g->ev->on_sent(g->user, n);
}

void grpc_call_pause(struct grpc_call *g, bool paused)
{
	size_t n = g->owed;

	g->paused = paused;
	if (paused || !n || !g->s)
		return;
	g->owed = 0;
	stream_credit(g->s, n);
}

/* ---- what goes out -------------------------------------------------------------------------------------------------------------------- */

static int head_fill(struct fields *f, const struct grpc_call_spec *spec)
{
	char timeout[10];
	int r = fields_add_token(f, FIELD_METHOD, STR("POST"));

	r = r < 0 ? r : fields_add_token(f, FIELD_SCHEME, str_of(spec->scheme));
	r = r < 0 ? r : fields_add_token(f, FIELD_PATH, str_of(spec->path));
	r = r < 0 ? r : fields_add_token(f, FIELD_AUTHORITY, str_of(spec->authority));
	r = r < 0 ? r : fields_add_token(f, FIELD_TE, STR("trailers"));
	if (r == 0 && spec->timeout_ns)
		r = fields_add_token(f, FIELD_GRPC_TIMEOUT, str_n(timeout, grpc_timeout_format(spec->timeout_ns, timeout)));
	r = r < 0 ? r : fields_add_token(f, FIELD_CONTENT_TYPE, STR("application/grpc"));
	if (r == 0 && spec->user_agent)
		r = fields_add_token(f, FIELD_USER_AGENT, str_of(spec->user_agent));
	for (uint32_t i = 0; i < spec->nmetadata && r == 0; i++)
		r = fields_add(f, spec->metadata[i][0], spec->metadata[i][1]);
	return r;
}

struct grpc_call *grpc_call_open(struct h2_conn *c, const struct grpc_call_spec *spec, const struct grpc_call_events *ev, void *user)
{
	static const struct stream_events events = {.on_head = got_head, .on_data = got_data, .on_trailers = got_trailers, .on_sent = got_sent, .on_end = stream_ended};
	struct stream *s = h2_conn_open(c, &events, NULL);
	struct loop *l = h2_conn_loop(c);

	if (!s)
		return NULL;
	struct fields *head = fields_new(l->fields, s->account);
	int r = head ? head_fill(head, spec) : -ENOMEM;
	if (r == 0)
		r = stream_send_head(s, head, false);
	fields_unref(&head);
	if (r < 0) {
		stream_reset(s, H2_CANCEL);
		return NULL;
	}
	struct grpc_call *g = xnew(struct grpc_call);
	g->s = s;
	g->loop = l;
	g->account = s->account;
	g->ev = ev;
	g->user = user;
	g->wipes = spec->wipes;
	s->user = g;
	if (spec->timeout_ns)
		timer_in(l, &g->deadline, spec->timeout_ns, deadline_due);
	return g;
}

int grpc_call_send(struct grpc_call *g, const void *message, size_t n)
{
	struct chain c = CHAIN_INIT;

	if (!g->s || g->half_closed)
		return ERR_CLOSED;
	if (n > UINT32_MAX - PREFIX) /* the frame's length has four bytes, and so has a chunk's */
		return -EMSGSIZE;
	/* One piece, sealed: a message is one DATA frame, as Dubbo Java's decoder likes it. */
	struct chunk *chunk = chunk_new(&g->loop->bufs, g->account, n + PREFIX);
	if (!chunk)
		return -ENOMEM;
	const unsigned char prefix[PREFIX] = {0, (unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n};
	memcpy(chunk->data, prefix, PREFIX);
	if (n)
		memcpy(chunk->data + PREFIX, message, n);
	chain_add(&c, chunk, chunk->data, n + PREFIX);
	chain_seal(&c);
	chunk_unref(chunk);
	g->queued += n + PREFIX;
	stream_send_data(g->s, &c, false);
	return 0;
}

size_t grpc_call_unsent(const struct grpc_call *g)
{
	return (size_t)(g->queued - g->sent);
}

void grpc_call_half_close(struct grpc_call *g)
{
	struct chain nothing = CHAIN_INIT;

	if (!g->s || g->half_closed)
		return;
	g->half_closed = true;
	stream_send_data(g->s, &nothing, true);
}
