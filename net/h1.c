/* net/h1: one HTTP/1.1 connection in server role (see net/h1.h).
 *
 * Objects:
 *   struct h1_conn    the connection. It owns its sock, what was read and is not used yet (`in`), and the writer of the present answer.
 *                     Owner: itself; whoever made it holds a pointer until on_closed. Freed by the morgue.
 *   struct h1_stream  one call. Owner: the connection until the call has ended, then the morgue: its relayer may go on calling it until
 *                     the end of the turn, and nothing happens.
 *
 *              head complete             body complete            answer written
 *   HEAD ----------------------> BODY ---------------> ANSWER -----------------------> HEAD (keep-alive)
 *     |                            |                      |
 *     '-- refused -----------------+-- early end, reset --+--> CLOSING: what still comes is thrown away, then the end
 *
 * Events come up from the readable event, from the timers and from the flush; nothing is written and nothing ends inside of a call
 * from above: that marks the connection dirty. The exception is h1_conn_close, which its owner makes. */
#include "net/h1.h"
#include "base/err.h"
#include "net/h1_parse.h"
#include "net/h1_write.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
	IN_FIRST = 2048,        /* the usual head fits */
	HEAD_READ = 16384,
	ANSWER_READ = 4096,     /* while an answer is awaited only the end of the stream is of interest */
	WRITES_A_FLUSH = 16,    /* then the others have their turn */
	DISCARD_MAX = 4,        /* reads of LOOP_READ_MAX before a refused connection closes */
	LINGER_MS = 1000
};

enum h1_state { H1_HEAD, H1_BODY, H1_ANSWER, H1_CLOSING };

struct h1_stream {
	struct stream s;
	struct h1_conn *conn;   /* NULL: the call has ended */
	uint64_t bytes_sent;
	struct charge charge;
	struct grave grave;
};

struct h1_conn {
	struct loop *loop;
	struct sock *sock;
	struct account *account; /* borrowed: the owner's */
	struct charge charge;
	const struct stream_server *ev;
	void *owner;
	struct limits lim;

	enum h1_state state;
	struct h1_stream *stream; /* the present call */
	struct h1_head head;
	struct h1_scan scan;
	struct h1_chunked chunked;
	uint64_t body_left;
	uint64_t uncredited;     /* body bytes that went up and are not credited yet */
	struct chunk *in;        /* read, not used; NULL: nothing */
	uint32_t in_n;

	struct h1_writer out;
	uint64_t moved;          /* bytes written in the present stall period */
	struct timer timer;      /* of the head; of lingering */
	struct timer stall;
	struct task again;       /* goes on with what is in `in` */
	struct dirty dirty;
	struct grave grave;
	bool keep_alive, draining, abort, continues, eof, blocked, dead;
};

static void conn_flush(struct dirty *d);
static void conn_again(struct task *t);

static void conn_mark(struct h1_conn *c)
{
	if (!c->dead)
		loop_dirty(c->loop, &c->dirty, conn_flush);
}

/* ---- ends ----------------------------------------------------------------------------------------------------------------- */

static void stream_bury(struct grave *g)
{
	struct h1_stream *st = container_of(g, struct h1_stream, grave);

	charge_end(&st->charge);
	free(st);
}

/* Takes the call away from the connection; what its relayer still does with it goes nowhere. */
static struct h1_stream *stream_detach(struct h1_conn *c)
{
	struct h1_stream *st = c->stream;

	if (!st)
		return NULL;
	c->stream = NULL;
	st->conn = NULL;
	loop_bury(c->loop, &st->grave, stream_bury);
	return st;
}

static void stream_end(struct h1_conn *c, enum stream_cause cause, uint32_t h2_code, const char *detail)
{
	struct h1_stream *st = stream_detach(c);

	if (st && st->s.ev)
		st->s.ev->on_end(st->s.user, &(struct stream_end){cause, h2_code, st->bytes_sent, detail});
}

static void in_drop(struct h1_conn *c)
{
	if (c->in)
		chunk_unref(c->in);
	c->in = NULL;
	c->in_n = 0;
}

static void conn_bury(struct grave *g)
{
	struct h1_conn *c = container_of(g, struct h1_conn, grave);

	charge_end(&c->charge);
	free(c);
}

static void conn_end(struct h1_conn *c, int err, enum stream_cause cause, uint32_t h2_code, const char *detail)
{
	if (c->dead)
		return;
	c->dead = true;
	timer_cancel(c->loop, &c->timer);
	timer_cancel(c->loop, &c->stall);
	loop_undefer(&c->again);
	loop_clean(&c->dirty);
	sock_close(&c->sock);
	in_drop(c);
	h1_writer_clear(&c->out);
	stream_end(c, cause, h2_code, detail);
	c->ev->on_closed(c->owner, err);
	loop_bury(c->loop, &c->grave, conn_bury);
}

/* The caller has gone. Its call is cancelled, as an RST_STREAM(CANCEL) would do it. */
static void conn_gone(struct h1_conn *c, int err)
{
	conn_end(c, err, END_RESET, H2_CANCEL, "the caller closed its connection");
}

static void conn_no_memory(struct h1_conn *c)
{
	conn_end(c, -ENOMEM, END_LIMIT, 0, "no memory for the connection");
}

/* ---- reading: what is wanted ---------------------------------------------------------------------------------------------- */

static size_t body_room(const struct h1_conn *c)
{
	return c->uncredited < c->lim.window_down ? (size_t)(c->lim.window_down - c->uncredited) : 0;
}

static bool wants_read(const struct h1_conn *c)
{
	if (c->eof)
		return false; /* it would be readable for ever */
	switch (c->state) {
	case H1_HEAD:
		return !c->again.queued;
	case H1_BODY:
		return c->in_n == 0 && body_room(c) > 0;
	case H1_ANSWER:
		/* Nothing is expected: it would be the end of the stream, or the next request, of which one read is enough. */
		return c->in_n == 0;
	default:
		return true;
	}
}

static void conn_want(struct h1_conn *c)
{
	if (!c->dead)
		sock_want(c->sock, wants_read(c), c->blocked);
}

/* ---- local answers -------------------------------------------------------------------------------------------------------- */

static void count_refusal(struct h1_conn *c, int status, bool bytes)
{
	enum stat_id id = status == 431 ? (bytes ? STAT_HEADER_BYTES : STAT_FIELD_COUNT) : status == 408 ? STAT_HEADER_TIME : STAT_H1_BAD;

	if (status < 500 || status == 501 || status == 505)
		stat_inc(&c->loop->stats, id);
}

/* The connection's last word. No call is there any more. */
static void conn_refuse(struct h1_conn *c, int status, const char *why)
{
	timer_cancel(c->loop, &c->timer);
	c->state = H1_CLOSING;
	c->keep_alive = c->continues = false;
	in_drop(c);
	if (h1_write_local(&c->out, status, why) < 0)
		c->abort = true;
	conn_mark(c);
}

static void head_late(struct timer *t)
{
	struct h1_conn *c = container_of(t, struct h1_conn, timer);

	count_refusal(c, 408, false);
	conn_refuse(c, 408, "the request head took longer than limits.header_time");
	conn_want(c);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------- */

static const struct stream_ops h1_stream_ops;

static struct h1_stream *stream_new(struct h1_conn *c)
{
	struct h1_stream *st;

	if (!mem_try(c->account, sizeof(*st)))
		return NULL;
	st = calloc(1, sizeof(*st));
	if (!st) {
		mem_give(c->account, sizeof(*st));
		return NULL;
	}
	charge_begin(&st->charge, c->account, sizeof(*st));
	st->s.ops = &h1_stream_ops;
	st->s.account = c->account;
	st->conn = c;
	return st;
}

static void in_use(struct h1_conn *c, size_t n)
{
	c->in_n -= (uint32_t)n;
	if (c->in_n)
		memmove(c->in->data, c->in->data + n, c->in_n);
	else
		in_drop(c);
}

static void request_begin(struct h1_conn *c, struct fields *head)
{
	struct h1_stream *st = stream_new(c);

	if (!st) {
		stat_inc(&c->loop->stats, STAT_MEMORY_SOFT);
		conn_refuse(c, 503, "no memory for the call");
		return;
	}
	c->stream = st;
	c->keep_alive = c->head.keep_alive && !c->draining;
	c->state = c->head.body == H1_BODY_NONE ? H1_ANSWER : H1_BODY;
	c->body_left = c->head.length;
	c->chunked = (struct h1_chunked){0};
	c->uncredited = 0;
	/* What is asked for is not needed where the body came along, and not given where the answer comes at once: the flush decides. */
	c->continues = c->head.expects_continue && c->state == H1_BODY && c->in_n == 0;
	c->ev->on_request(c->owner, &st->s, head, c->state == H1_ANSWER, NULL);
	assert(c->stream != st || st->s.ev); /* the contract: its relayer is set, or it was reset */
	if (c->continues)
		conn_mark(c);
}

static void head_parse(struct h1_conn *c, size_t n)
{
	struct fields *head = fields_new(c->loop->fields, c->account);
	const char *why = "no memory for the request";
	int status = head ? h1_head_parse(c->in->data, n, &c->lim, head, &c->head, &why) : 503;

	timer_cancel(c->loop, &c->timer);
	c->scan = (struct h1_scan){0};
	if (status) {
		if (status == 503)
			stat_inc(&c->loop->stats, STAT_MEMORY_SOFT);
		count_refusal(c, status, head && head->size > c->lim.header_bytes);
		conn_refuse(c, status, why);
	} else {
		in_use(c, n);
		request_begin(c, head);
	}
	fields_unref(&head);
}

/* False: the head is not complete. */
static bool head_try(struct h1_conn *c)
{
	ptrdiff_t n = h1_head_end(&c->scan, c->in->data, c->in_n);

	if (n > 0) {
		head_parse(c, (size_t)n);
		return true;
	}
	if (n < 0) {
		count_refusal(c, 400, false);
		conn_refuse(c, 400, "a line that does not end with CR LF, or a NUL");
	} else if (c->in_n >= c->lim.header_wire_bytes) {
		count_refusal(c, 431, true);
		conn_refuse(c, 431, "the request head is larger than limits.header_wire_bytes allows");
	} else if (!timer_armed(&c->timer)) {
		timer_in(c->loop, &c->timer, c->lim.header_time_ns, head_late);
	}
	return false;
}

/* ---- bodies --------------------------------------------------------------------------------------------------------------- */

/* One read's worth of body, copied out of the buffer it was read into. */
struct h1_piece {
	struct chain data;
	size_t used;
	bool fin, bad, refused;
};

static void piece_add(struct h1_conn *c, struct h1_piece *piece, const char *p, size_t n)
{
	if (!piece->refused && chain_copy_in(&piece->data, &c->loop->bufs, c->account, p, n) < 0)
		piece->refused = true;
}

static struct h1_piece body_decode(struct h1_conn *c, const char *p, size_t n)
{
	struct h1_piece piece = {.data = CHAIN_INIT};

	if (c->head.body == H1_BODY_LENGTH) {
		piece.used = c->body_left < n ? (size_t)c->body_left : n;
		piece_add(c, &piece, p, piece.used);
		c->body_left -= piece.used;
		piece.fin = c->body_left == 0;
		return piece;
	}
	for (enum h1_step step = H1_STEP_DATA; step == H1_STEP_DATA;) {
		struct str data;
		size_t used;

		step = h1_chunked_step(&c->chunked, p + piece.used, n - piece.used, &used, &data);
		piece.used += used;
		if (step == H1_STEP_DATA)
			piece_add(c, &piece, data.p, data.n);
		piece.fin = step == H1_STEP_END;
		piece.bad = step == H1_STEP_BAD;
	}
	return piece;
}

static void body_malformed(struct h1_conn *c)
{
	bool answered = c->out.headed;

	stat_inc(&c->loop->stats, STAT_H1_BAD);
	if (answered) {
		conn_end(c, -EPROTO, END_MALFORMED, H2_PROTOCOL_ERROR, "the chunked body is malformed");
		return;
	}
	conn_refuse(c, 400, "the chunked body is malformed");
	stream_end(c, END_MALFORMED, H2_PROTOCOL_ERROR, "the chunked body is malformed");
}

static void body_deliver(struct h1_conn *c, struct h1_piece *piece)
{
	struct h1_stream *st = c->stream;

	if (piece->refused || piece->bad) {
		chain_clear(&piece->data);
		if (piece->bad)
			body_malformed(c);
		else
			conn_no_memory(c);
		return;
	}
	if (piece->fin)
		c->state = H1_ANSWER;
	if (piece->data.bytes)
		c->continues = false;
	if (!st || (!piece->data.bytes && !piece->fin)) {
		chain_clear(&piece->data);
		return;
	}
	c->uncredited += piece->data.bytes;
	st->s.ev->on_data(st->s.user, &piece->data, piece->fin);
	c->uncredited -= piece->data.bytes < c->uncredited ? piece->data.bytes : c->uncredited;
	chain_clear(&piece->data);
}

/* Goes on with what is in `in`, as far as it goes. Each round uses bytes or stops. */
static void conn_process(struct h1_conn *c)
{
	while (!c->dead && c->in_n) {
		if (c->state == H1_HEAD) {
			if (!head_try(c))
				break;
		} else if (c->state == H1_BODY && body_room(c)) {
			size_t room = body_room(c);
			struct h1_piece piece = body_decode(c, c->in->data, c->in_n < room ? c->in_n : room);

			in_use(c, piece.used);
			body_deliver(c, &piece);
		} else {
			break;
		}
	}
	conn_want(c);
}

static void conn_again(struct task *t)
{
	conn_process(container_of(t, struct h1_conn, again));
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

/* Keeps what was read and cannot be used yet. False: refused. */
static bool in_add(struct h1_conn *c, const char *p, size_t n)
{
	struct chunk *more;

	if (n == 0)
		return true;
	if (!c->in || c->in->cap - c->in_n < n) {
		size_t need = c->in_n + n;

		more = chunk_new(&c->loop->bufs, c->account, need < IN_FIRST ? (size_t)IN_FIRST : need);
		if (!more)
			return false;
		if (c->in) {
			memcpy(more->data, c->in->data, c->in_n);
			chunk_unref(c->in);
		}
		c->in = more;
	}
	memcpy(c->in->data + c->in_n, p, n);
	c->in_n += (uint32_t)n;
	return true;
}

static size_t read_size(const struct h1_conn *c)
{
	size_t room;

	switch (c->state) {
	case H1_HEAD:
		room = c->in_n < c->lim.header_wire_bytes ? c->lim.header_wire_bytes - c->in_n : 1;
		return room < HEAD_READ ? room : HEAD_READ;
	case H1_BODY:
		room = body_room(c);
		if (c->head.body == H1_BODY_LENGTH && c->body_left < room)
			room = (size_t)c->body_left;
		return room < LOOP_READ_MAX ? room : LOOP_READ_MAX;
	case H1_ANSWER:
		return ANSWER_READ;
	default:
		return LOOP_READ_MAX;
	}
}

/* The peer says no more. Where a request is complete it may have half-closed (nc does) and still wait; an empty write tells whether
 * a Unix socket's other end is there at all. */
static void conn_eof(struct h1_conn *c)
{
	struct iovec nothing = {(void *)"", 0};
	ssize_t r;

	c->eof = true;
	c->keep_alive = false;
	if (c->state == H1_CLOSING && h1_write_pending(&c->out))
		return; /* it may still read why it was refused */
	if (c->state != H1_ANSWER) {
		conn_gone(c, c->state == H1_HEAD && !c->in_n ? 0 : ERR_CLOSED);
		return;
	}
	r = h1_write_pending(&c->out) ? 0 : sock_writev(c->sock, &nothing, 1);
	if (r < 0 && r != -EAGAIN)
		conn_gone(c, (int)r);
}

static void conn_readable(void *user)
{
	struct h1_conn *c = user;
	size_t want = read_size(c);
	ssize_t got;

	if (c->dead || !wants_read(c) || want == 0)
		return;
	got = sock_recv(c->sock, c->loop->scratch, want);
	if (got == -EAGAIN)
		return;
	if (got < 0) {
		conn_gone(c, (int)got);
	} else if (got == 0) {
		conn_eof(c);
	} else if (c->state == H1_BODY) {
		struct h1_piece piece = body_decode(c, c->loop->scratch, (size_t)got);

		/* Before anything goes up: who runs there may use the scratch bytes too. */
		if (!in_add(c, (char *)c->loop->scratch + piece.used, (size_t)got - piece.used))
			piece.refused = true;
		body_deliver(c, &piece);
	} else if (c->state != H1_CLOSING) {
		if (in_add(c, c->loop->scratch, (size_t)got))
			conn_process(c);
		else
			conn_no_memory(c);
	}
	conn_want(c);
}

static void conn_writable(void *user)
{
	struct h1_conn *c = user;

	c->blocked = false;
	conn_mark(c);
}

static const struct sock_events conn_sock_events = {.readable = conn_readable, .writable = conn_writable};

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static void conn_stalled(struct timer *t)
{
	struct h1_conn *c = container_of(t, struct h1_conn, stall);

	/* A drip does not count as movement: the bar is stall_bytes in each period. */
	if (c->moved < c->lim.stall_bytes) {
		stat_inc(&c->loop->stats, STAT_STALLED);
		conn_end(c, -ETIMEDOUT, END_LIMIT, 0, "the caller does not read its answer");
		return;
	}
	c->moved = 0;
	timer_in(c->loop, &c->stall, c->lim.stall_ns, conn_stalled);
}

static void stall_watch(struct h1_conn *c)
{
	if (!c->blocked || !c->lim.stall_ns) {
		if (!h1_write_pending(&c->out))
			timer_cancel(c->loop, &c->stall);
	} else if (!timer_armed(&c->stall)) {
		c->moved = 0;
		timer_in(c->loop, &c->stall, c->lim.stall_ns, conn_stalled);
	}
}

static void conn_sent(struct h1_conn *c, size_t n)
{
	struct h1_stream *st = c->stream;

	if (!n || !st)
		return;
	st->bytes_sent += n;
	st->s.ev->on_sent(st->s.user, n);
}

/* 0, or the error that ends the connection. */
static int conn_write(struct h1_conn *c)
{
	/* What is dropped (a body for HEAD) is told even where nothing is written. */
	conn_sent(c, h1_write_took(&c->out, 0));
	for (int i = 0; i < WRITES_A_FLUSH && !c->dead && h1_write_pending(&c->out); i++) {
		struct iovec iov[H1_IOV];
		int n = h1_write_iov(&c->out, iov);
		ssize_t took = n ? sock_writev(c->sock, iov, n) : 0;

		if (took == -EAGAIN || (took == 0 && n)) {
			c->blocked = true;
			return 0;
		}
		if (took < 0)
			return (int)took;
		c->moved += (uint64_t)took;
		conn_sent(c, h1_write_took(&c->out, (size_t)took));
	}
	if (!c->dead && h1_write_pending(&c->out))
		conn_mark(c);
	return 0;
}

static void linger_over(struct timer *t)
{
	conn_end(container_of(t, struct h1_conn, timer), 0, END_DONE, 0, NULL);
}

/* The last word is written. TCP takes it back when bytes are left unread at the close (RFC 9293 3.6.1: RST), so what the peer has sent
 * beyond is read and thrown away; where more of it is to be expected, for a while. A Unix socket's peer reads what was written in any
 * case. */
static void conn_finish(struct h1_conn *c, bool more_expected)
{
	bool tcp = c->sock->peer.len && !addr_is_unix(&c->sock->peer);

	for (int i = 0; i < DISCARD_MAX && !c->eof; i++) {
		ssize_t got = sock_recv(c->sock, c->loop->scratch, LOOP_READ_MAX);

		if (got == -EAGAIN)
			break;
		c->eof = got <= 0;
		more_expected |= got > 0;
	}
	if (!tcp || c->eof || !more_expected)
		conn_end(c, 0, END_DONE, 0, NULL);
	else if (!timer_armed(&c->timer))
		timer_in(c->loop, &c->timer, LINGER_MS * 1000000ull, linger_over);
}

/* The answer is written whole. */
static void answer_done(struct h1_conn *c)
{
	bool whole = c->state == H1_ANSWER, close = !c->keep_alive || !whole || c->draining || c->out.broken;

	/* Closed before the call is told: what it does next must find a connection that takes nothing more. */
	c->state = close ? H1_CLOSING : H1_HEAD;
	h1_writer_clear(&c->out);
	stream_end(c, END_DONE, H2_NO_ERROR, NULL);
	if (c->dead)
		return;
	if (!close) {
		/* Not from here: a flush that begins calls could go on for as long as a pipeline is. */
		if (c->in_n)
			loop_defer(c->loop, &c->again, conn_again);
	} else {
		in_drop(c);
		conn_finish(c, !whole);
	}
}

static void conn_continue(struct h1_conn *c)
{
	if (!c->continues)
		return;
	c->continues = false;
	/* Refused: the client sends its body all the same, a little later. */
	if (c->stream && c->state == H1_BODY && !c->out.headed)
		(void)h1_write_text(&c->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

static bool is_idle(const struct h1_conn *c)
{
	return c->state == H1_HEAD && !c->in_n && !c->stream && !h1_write_pending(&c->out);
}

static void conn_flush(struct dirty *d)
{
	struct h1_conn *c = container_of(d, struct h1_conn, dirty);
	int r = 0;

	if (c->abort) {
		conn_end(c, ERR_CLOSED, END_LOST, 0, NULL);
		return;
	}
	conn_continue(c);
	if (!c->blocked)
		r = conn_write(c);
	if (c->dead)
		return;
	if (r < 0) {
		conn_gone(c, r);
		return;
	}
	/* What stays is kept beyond the turn: it must not hold the provider's whole read. */
	if (c->out.body.bytes && chain_settle(&c->out.body, &c->loop->bufs, c->account) < 0) {
		conn_no_memory(c);
		return;
	}
	stall_watch(c);
	if (c->out.headed && h1_write_done(&c->out))
		answer_done(c);
	else if (c->draining && is_idle(c))
		conn_end(c, 0, END_DONE, 0, NULL);
	conn_want(c);
}

/* ---- the stream contract -------------------------------------------------------------------------------------------------- */

static struct h1_stream *stream_of(struct stream *s)
{
	return container_of(s, struct h1_stream, s);
}

static bool is_informational(const struct fields *head)
{
	struct str status = fields_value(head, FIELD_STATUS);

	return status.n == 3 && status.p[0] == '1';
}

static int h1_send_head(struct stream *s, struct fields *head, bool fin)
{
	struct h1_conn *c = stream_of(s)->conn;
	bool close;

	if (!c || c->out.headed || is_informational(head))
		return 0;
	/* An answer that is whole before its request is ends the connection: what is left of the body would have to be read for nothing. */
	close = !c->keep_alive || c->draining || c->eof || (fin && c->state == H1_BODY);
	if (h1_write_head(&c->out, head, &c->head, fin, &close) < 0)
		return -ENOMEM;
	c->keep_alive = !close;
	c->continues = false;
	conn_mark(c);
	return 0;
}

static void h1_send_data(struct stream *s, struct chain *moved, bool fin)
{
	struct h1_conn *c = stream_of(s)->conn;

	if (!c) {
		chain_clear(moved);
		return;
	}
	h1_write_data(&c->out, moved, fin);
	conn_mark(c);
}

static int h1_send_trailers(struct stream *s, struct fields *trailers)
{
	struct h1_conn *c = stream_of(s)->conn;
	int r;

	if (!c)
		return 0;
	r = h1_write_trailers(&c->out, c->head.wants_trailers ? trailers : NULL);
	if (r == 0)
		conn_mark(c);
	return r;
}

static void h1_reset(struct stream *s, uint32_t h2_code)
{
	struct h1_conn *c = stream_of(s)->conn;

	if (!c)
		return;
	stream_detach(c);
	if (c->out.headed && c->out.fin && h2_code == H2_NO_ERROR)
		conn_mark(c); /* the answer is whole and goes out */
	else if (c->out.headed)
		c->abort = true; /* cut: the client must not take it for complete */
	else
		conn_refuse(c, 502, "the call was reset");
	conn_mark(c);
}

static void h1_credit(struct stream *s, size_t n)
{
	struct h1_conn *c = stream_of(s)->conn;

	if (!c)
		return;
	c->uncredited -= n < c->uncredited ? n : c->uncredited;
	if (c->in_n && c->state == H1_BODY)
		loop_defer(c->loop, &c->again, conn_again);
	else
		conn_mark(c); /* the flush says that more is wanted */
}

static const struct stream_ops h1_stream_ops = {
	.send_head = h1_send_head,
	.send_data = h1_send_data,
	.send_trailers = h1_send_trailers,
	.reset = h1_reset,
	.credit = h1_credit,
};

/* ---- the connection ------------------------------------------------------------------------------------------------------- */

struct h1_conn *h1_conn_server(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct stream_server *ev, void *owner, const void *first, size_t n)
{
	struct h1_conn *c = NULL;

	if (mem_try(parent, sizeof(*c))) {
		c = calloc(1, sizeof(*c));
		if (!c)
			mem_give(parent, sizeof(*c));
	}
	if (!c) {
		sock_close(&taken);
		return NULL;
	}
	charge_begin(&c->charge, parent, sizeof(*c));
	c->loop = l;
	c->sock = taken;
	c->account = parent;
	c->ev = ev;
	c->owner = owner;
	c->lim = *lim;
	h1_writer_init(&c->out, &l->bufs, parent);
	if (!in_add(c, first, n)) {
		sock_close(&c->sock);
		conn_bury(&c->grave);
		return NULL;
	}
	sock_set(taken, &conn_sock_events, c);
	/* No event before the owner has the pointer. */
	if (n)
		loop_defer(l, &c->again, conn_again);
	conn_want(c);
	return c;
}

void h1_conn_drain(struct h1_conn *c)
{
	c->draining = true;
	conn_mark(c);
}

void h1_conn_close(struct h1_conn *c)
{
	conn_end(c, ERR_CLOSED, END_LOST, 0, "the connection was closed");
}
