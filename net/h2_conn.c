/* net/h2_conn: the life of one HTTP/2 connection: reading, flushing, drain, the end. See net/h2_int.h for the picture; the way out is net/h2_pack, waiting
 * is net/h2_pace. Phases: open -> (draining) -> closing (a GOAWAY may still go out) -> finished (on_closed told, in the morgue). */
#include "net/h2_int.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A round trip to an app on this machine is a thousandth of it. */
#define NOTICE_PATIENCE_NS UINT64_C(2000000000)
#define LINGER_NS UINT64_C(1000000000)

enum { BURST = 32 }; /* that many fewer than there were: some hundred KiB lie about that nobody will want soon */

static void conn_flush(struct dirty *d);

/* ---- what the loop keeps for all connections ---- */

static struct h2_shared *shared_get(struct loop *l)
{
	if (l->h2)
		return l->h2;
	struct h2_shared *s = xnew(struct h2_shared);
	pool_mem_init(&s->streams, sizeof(struct h2_stream), 4096);
	nghttp2_session_callbacks_new(&s->callbacks);
	h2_frames_install(s->callbacks);
	for (int i = 0; i < 2; i++) {
		nghttp2_option *o;
		nghttp2_option_new(&o);
		nghttp2_option_set_no_http_messaging(o, 1);   /* net/fields validates: raw paths and empty authorities reach us */
		nghttp2_option_set_no_closed_streams(o, 1);   /* 224 bytes each otherwise; on_begin_frame judges closed ones */
		nghttp2_option_set_no_auto_window_update(o, 1); /* credit is back-pressure */
		nghttp2_option_set_max_outbound_ack(o, 1 << 20); /* bounded by limits.control_frames and limits.outbound_queue */
		nghttp2_option_set_stream_reset_rate_limit(o, 1 << 30, 1 << 30); /* limits.premature_resets is the classifier */
		nghttp2_option_set_max_continuations(o, 1 << 20); /* limits.continuations */
		*(i ? &s->client_option : &s->server_option) = o;
	}
	l->h2 = s;
	return s;
}

void h2_loop_trim(struct loop *l)
{
	struct h2_shared *s = l->h2;
	if (!s)
		return;
	h2_mem_trim(s);
	pool_mem_trim(&s->streams, 16);
	s->most = s->conns;
}

void h2_loop_end(struct loop *l)
{
	struct h2_shared *s = l->h2;
	if (!s)
		return;
	fields_unref(&s->packing);
	nghttp2_session_callbacks_del(s->callbacks);
	nghttp2_option_del(s->server_option);
	nghttp2_option_del(s->client_option);
	pool_mem_end(&s->streams);
	h2_mem_trim(s);
	free(s);
	l->h2 = NULL;
}

/* ---- small tools ---- */

void h2_conn_mark(struct h2_conn *c)
{
	if (!c->finished)
		loop_dirty(c->loop, &c->dirty, conn_flush);
}

void h2_conn_note_reset(struct h2_conn *c, int32_t id)
{
	if (!c->reset_ring)
		c->reset_ring = xalloc(H2_RESET_RING * sizeof *c->reset_ring); /* a kilobyte that most connections never need */
	int32_t *at = &c->reset_ring[c->reset_n++ % H2_RESET_RING];
	if (*at > c->reset_forgotten)
		c->reset_forgotten = *at;
	*at = id;
}

bool h2_conn_knows_reset(const struct h2_conn *c, int32_t id)
{
	if (id <= c->reset_forgotten) /* it may have been one of ours: a late frame must not end a connection */
		return true;
	uint32_t n = c->reset_n < H2_RESET_RING ? c->reset_n : H2_RESET_RING;
	for (uint32_t i = 0; i < n; i++)
		if (c->reset_ring[i] == id)
			return true;
	return false;
}

void h2_conn_rst(struct h2_conn *c, int32_t id, uint32_t code)
{
	c->force_memory = true; /* one small frame a stream: without it the peer would wait for ever for a stream that we have no memory for */
	nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, code);
	c->force_memory = false;
}

void h2_conn_fatal(struct h2_conn *c, uint32_t code, enum stat_id stat)
{
	if (c->told_goaway)
		return;
	c->told_goaway = true;
	stat_inc(&c->loop->stats, stat);
	c->force_memory = true;
	nghttp2_session_terminate_session(c->session, code);
	c->force_memory = false;
	h2_conn_mark(c);
}

/* ---- in ---- */

/* What streams of this connection have brought in and nobody has passed on yet. One stalled reader holds its stream's window at most and so never keeps
 * the connection's from the others; a connection's window full of them does, which bounds what one peer can make us hold. Not so from a provider where
 * limits.reader_budget bounds that at the readers: then whoever reads gets on, however many beside it do not. */
static bool conn_holds_too_much(const struct h2_conn *c)
{
	return c->client ? !c->lim->reader_budget && c->held > c->lim->window_up_conn : c->held > c->lim->window_down_conn;
}

static void conn_give_window(struct h2_conn *c)
{
	if (!c->owed)
		return;
	if (conn_holds_too_much(c)) {
		if (!c->window_shut && nghttp2_session_get_effective_recv_data_length(c->session) >= nghttp2_session_get_effective_local_window_size(c->session)) {
			c->window_shut = true;
			stat_inc(&c->loop->stats, c->client ? STAT_WINDOW_UP_CONN : STAT_WINDOW_DOWN_CONN);
		}
		return;
	}
	c->force_memory = true;
	nghttp2_session_consume_connection(c->session, c->owed);
	c->force_memory = false;
	c->owed = 0;
	c->window_shut = false;
}

void h2_conn_let_go(struct h2_conn *c, struct h2_stream *st, uint64_t n)
{
	if (n > st->held)
		n = st->held;
	st->held -= n;
	c->held -= n;
	if (c->owed)
		h2_conn_mark(c);
}

/* What the peer makes us answer and does not read. */
static bool conn_queue_too_long(struct h2_conn *c)
{
	return nghttp2_session_get_outbound_queue_size(c->session) > c->lim->outbound_queue;
}

static void conn_end_unread(struct h2_conn *c)
{
	stat_inc(&c->loop->stats, STAT_OUTBOUND_QUEUE);
	h2_conn_close(c, 0);
}

static void conn_after_read(struct h2_conn *c)
{
	if (c->partial)
		h2_frames_deliver(c);
	conn_give_window(c);
	if (c->in_block && !c->header_at_ns) {
		c->header_at_ns = loop_ran_ns(c->loop) + c->lim->header_time_ns;
		h2_conn_timers(c);
	} else if (!c->in_block && c->header_at_ns) {
		c->header_at_ns = 0;
		h2_conn_timers(c);
	}
	if (c->got_settings && c->preface_at_ns) {
		c->preface_at_ns = 0;
		h2_conn_timers(c);
	}
	if (c->client && c->goaway_in && !c->draining) {
		c->draining = true;
		c->client->on_goaway(c->owner);
	}
	if (!chain_empty(&c->out) && conn_queue_too_long(c))
		conn_end_unread(c);
	h2_conn_mark(c);
}

/* False: the connection is over. */
static bool conn_feed_piece(struct h2_conn *c, struct chunk *chunk, const char *p, size_t n)
{
	c->reading = chunk;
	c->last_read_ns = c->loop->now_ns;
	c->feeding = true;
	if (c->server)
		h2_walk(c, p, n);
	ssize_t rv = h2_memo_feed(c, p, n);
	c->feeding = false;
	c->reading = NULL;
	if (c->walk.late) {
		if (rv >= 0 && !h2_conn_stream(c, c->walk.late))
			h2_frames_on_closed(c, NGHTTP2_DATA, c->walk.late);
		c->walk.late = 0;
	}
	if (rv < 0) {
		c->partial = NULL;
		if (c->told_goaway) { /* h2_conn_fatal stopped it: the GOAWAY goes out first */
			c->err = ERR_MALFORMED;
			c->closing = true;
			h2_conn_mark(c);
			return false;
		}
		if (rv == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
			stat_inc(&c->loop->stats, STAT_H2_PROTOCOL_ERRORS);
		c->err = rv == NGHTTP2_ERR_NOMEM ? -ENOMEM : ERR_MALFORMED;
		h2_conn_close(c, 0);
		return false;
	}
	return true;
}

/* In pieces, because nine bytes of SETTINGS make nghttp2 keep an answer of 250: what a piece brought is sent off before the next one is looked at. */
static void conn_feed(struct h2_conn *c, struct chunk *chunk, const char *p, size_t n)
{
	for (;;) {
		size_t piece = n < H2_FEED_MAX ? n : H2_FEED_MAX;
		if (!conn_feed_piece(c, chunk, p, piece))
			return;
		p += piece;
		n -= piece;
		if (!n)
			break;
		if (conn_queue_too_long(c)) {
			for (int rounds = 0; rounds < 3 && h2_pack_left(c) && h2_pack_and_write(c); rounds++)
				;
			if (!c->finished && !c->closing && conn_queue_too_long(c))
				conn_end_unread(c);
		}
		if (c->finished || c->closing)
			return;
	}
	conn_after_read(c);
}

static void conn_readable(void *user)
{
	struct h2_conn *c = user;
	if (c->finished || c->closing || c->paused || c->first)
		return;
	struct chunk *chunk;
	char *p;
	ssize_t n = sock_read(c->sock, &chunk, &p);
	if (n > 0) {
		conn_feed(c, chunk, p, (size_t)n);
	} else if (n == -ENOMEM) { /* the process is at its limit: let others finish first */
		stat_inc(&c->loop->stats, STAT_MEMORY_HARD);
		h2_conn_pause(c, 10 * 1000000ull);
	} else if (n != -EAGAIN) {
		c->err = n == 0 ? ERR_CLOSED : (int)n;
		h2_conn_close(c, 0);
	}
}

static void conn_first(struct task *t)
{
	struct h2_conn *c = container_of(t, struct h2_conn, first_task);
	if (c->finished || c->closing)
		return;
	struct chunk *chunk = chunk_new(&c->loop->bufs, NULL, c->first_n);
	memcpy(chunk->data, c->first, c->first_n);
	size_t n = c->first_n;
	free(c->first);
	c->first = NULL;
	conn_feed(c, chunk, chunk->data, n);
	chunk_unref(chunk);
}

/* ---- out ---- */

/* After a drain a server has said its last word and does not hang up first. What the peer writes at this moment, a window or a call that it would take elsewhere once it has read our GOAWAY, would break
 * its connection (EPIPE), and a client like C-core then reads no more: neither that GOAWAY nor the end of an answer that we have written. Peers close when they have read both; who does not is waited for a little. */
static bool conn_lingers(struct h2_conn *c)
{
	if (!c->last_told)
		return false;
	if (!c->linger_at_ns) {
		c->linger_at_ns = loop_ran_ns(c->loop) + LINGER_NS;
		h2_conn_timers(c);
	}
	return loop_ran_ns(c->loop) < c->linger_at_ns;
}

static bool conn_is_over(struct h2_conn *c)
{
	if (c->closing)
		return true;
	if (!chain_empty(&c->out))
		return false;
	if (c->draining && c->nstreams == 0 && c->client && list_empty(&c->streams))
		return true;
	return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session) && !conn_lingers(c);
}

static void conn_flush(struct dirty *d)
{
	struct h2_conn *c = container_of(d, struct h2_conn, dirty);
	if (c->finished)
		return;
	if (c->closing && c->client && (c->err || c->abandoned)) { /* broken: what has not left by now shall not, so it can go to another provider (END_UNPROCESSED) */
		h2_conn_finish(c, c->err);
		return;
	}
	if (h2_pack_left(c))
		for (int rounds = 0; h2_pack_and_write(c); rounds++)
			if (rounds == 3) { /* others want their turn too */
				h2_conn_mark(c);
				break;
			}
	if (c->finished)
		return;
	conn_give_window(c);
	while (!list_empty(&c->unsettled))
		h2_stream_settle(list_entry(c->unsettled.next, struct h2_stream, unsettled));
	if (!c->stall_at_ns && (c->queued || !chain_empty(&c->out))) {
		c->stall_at_ns = loop_ran_ns(c->loop) + c->lim->stall_ns;
		c->stall_written = c->out_written;
		h2_conn_timers(c);
	} else if (c->stall_at_ns && !c->queued && chain_empty(&c->out)) {
		c->stall_at_ns = 0;
		h2_conn_timers(c);
	}
	if (conn_is_over(c)) {
		h2_conn_finish(c, c->err);
		return;
	}
	h2_conn_want(c);
	if (c->room_due) {
		c->room_due = false;
		if (c->client && c->up)
			c->client->on_room(c->owner);
	}
}

static void conn_writable(void *user)
{
	struct h2_conn *c = user;
	h2_conn_mark(c);
}

static const struct sock_events conn_sock_events = {.readable = conn_readable, .writable = conn_writable};

/* ---- the end ---- */

static void conn_bury(struct grave *g)
{
	struct h2_conn *c = container_of(g, struct h2_conn, grave);
	struct h2_shared *s = c->shared;
	struct loop *l = c->loop;
	bool callers = c->server != NULL;
	nghttp2_session_del(c->session);
	chain_clear(&c->out);
	fields_unref(&c->block);
	free(c->first);
	free(c->left);
	free(c->reset_ring);
	h2_memo_end(c);
	h2_said_end(c);
	account_end(&c->account);
	free(c);
	s->conns--;
	if (callers)
		loop_trim_soon(l);
	else
		loop_trim_later(l, s->most - s->conns >= BURST);
}

void h2_conn_finish(struct h2_conn *c, int err)
{
	if (c->finished)
		return;
	c->finished = true;
	loop_clean(&c->dirty);
	loop_undefer(&c->first_task);
	timer_cancel(c->loop, &c->timer);
	list_each(n, tmp, &c->streams) {
		struct h2_stream *st = list_entry(n, struct h2_stream, node);
		bool sent = st->head_end && st->head_end <= c->out_written;
		h2_stream_end(st, c->client && !sent ? END_UNPROCESSED : END_LOST, c->close_code, "the connection ended");
		if (st->id)
			nghttp2_session_set_stream_user_data(c->session, st->id, NULL);
		h2_stream_gone(st);
	}
	list_each(n, tmp, &c->places)
		h2_stream_leave_place(list_entry(n, struct h2_stream, place));
	if (c->ping_fn) {
		void (*fn)(void *, bool) = c->ping_fn;
		c->ping_fn = NULL;
		fn(c->ping_user, false);
	}
	sock_close(&c->sock);
	stat_dec(&c->loop->stats, c->client ? STAT_CONNS_UP : STAT_CONNS_DOWN);
	if (c->client)
		c->client->on_closed(c->owner, err, c->carried);
	else
		c->server->on_closed(c->owner, err);
	loop_bury(c->loop, &c->grave, conn_bury);
}

void h2_conn_close(struct h2_conn *c, uint32_t code)
{
	if (c->finished)
		return;
	c->closing = true;
	c->close_code = code;
	if (code && c->server && !c->told_goaway) {
		c->told_goaway = true;
		nghttp2_session_terminate_session(c->session, code);
	}
	h2_conn_want(c);
	h2_conn_mark(c);
}

void h2_conn_abandon(struct h2_conn *c)
{
	c->abandoned = true;
	h2_conn_close(c, H2_NO_ERROR);
}

void h2_conn_early(struct h2_conn *c)
{
	c->early = true;
}

void h2_conn_drain(struct h2_conn *c)
{
	if (c->draining || c->finished)
		return;
	c->draining = true;
	if (c->server) { /* RFC 9113 6.8: first the highest id, then, a round trip later, the real one */
		static const uint8_t opaque[8] = "tm-drain";
		nghttp2_submit_shutdown_notice(c->session);
		nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, opaque);
		c->notice_sent = true;
		c->notice_at_ns = loop_ran_ns(c->loop) + NOTICE_PATIENCE_NS;
		h2_conn_timers(c);
		stat_inc(&c->loop->stats, STAT_H2_GOAWAY_OUT);
	}
	h2_conn_mark(c);
}

void h2_conn_tell_last(struct h2_conn *c)
{
	c->notice_at_ns = 0;
	if (!c->notice_sent || c->finished || c->closing)
		return;
	c->notice_sent = false;
	c->last_told = true;
	nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session), H2_NO_ERROR, NULL, 0);
	stat_inc(&c->loop->stats, STAT_H2_GOAWAY_OUT);
	h2_conn_mark(c);
}

/* ---- making one ---- */

static struct h2_conn *conn_new(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent)
{
	struct h2_conn *c = xnew(struct h2_conn);
	c->loop = l;
	c->shared = shared_get(l);
	if (++c->shared->conns > c->shared->most)
		c->shared->most = c->shared->conns;
	c->sock = taken;
	c->lim = lim;
	c->parent = parent;
	account_init(&c->account, parent, "connection", SIZE_MAX);
	list_init(&c->streams);
	list_init(&c->places);
	list_init(&c->unsettled);
	c->last_read_ns = l->now_ns;
	c->next_id_limit = 0x7fff0000;
	sock_set(taken, &conn_sock_events, c);
	sock_want(taken, true, false);
	return c;
}

static struct h2_conn *conn_failed(struct h2_conn *c)
{
	c->shared->conns--;
	sock_close(&c->sock);
	if (c->session)
		nghttp2_session_del(c->session);
	account_end(&c->account);
	free(c);
	return NULL;
}

struct h2_conn *h2_conn_server(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct stream_server *ev, void *owner, const void *first, size_t n)
{
	struct h2_conn *c = conn_new(l, taken, lim, parent);
	nghttp2_mem mem = h2_mem(c);
	if (nghttp2_session_server_new3(&c->session, c->shared->callbacks, c, c->shared->server_option, &mem) != 0)
		return conn_failed(c);
	c->server = ev;
	c->owner = owner;
	c->window = lim->window_down;
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0x7fffffff}, /* what goes out is patched: see h2_pack_and_write */
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->window},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, lim->header_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 4) != 0 ||
	    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)lim->window_down_conn) != 0)
		return conn_failed(c);
	c->preface_at_ns = loop_ran_ns(l) + lim->preface_time_ns;
	h2_conn_timers(c);
	stat_inc(&l->stats, STAT_CONNS_DOWN);
	if (n) {
		c->first = xalloc(n);
		memcpy(c->first, first, n);
		c->first_n = n;
		loop_defer(l, &c->first_task, conn_first);
	}
	h2_conn_mark(c);
	return c;
}

struct h2_conn *h2_conn_client(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct h2_client_events *ev, void *owner)
{
	struct h2_conn *c = conn_new(l, taken, lim, parent);
	nghttp2_mem mem = h2_mem(c);
	if (nghttp2_session_client_new3(&c->session, c->shared->callbacks, c, c->shared->client_option, &mem) != 0)
		return conn_failed(c);
	c->client = ev;
	c->owner = owner;
	c->window = lim->reader_budget && lim->window_up > H2_FIRST_WINDOW ? H2_FIRST_WINDOW : lim->window_up;
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->window},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, lim->header_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 4) != 0 ||
	    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)lim->window_up_conn) != 0)
		return conn_failed(c);
	stat_inc(&l->stats, STAT_CONNS_UP);
	h2_conn_mark(c);
	return c;
}

const struct sock *h2_conn_sock(const struct h2_conn *c)
{
	return c->sock;
}

void h2_conn_set_owner(struct h2_conn *c, const struct h2_client_events *ev, void *owner)
{
	c->client = ev;
	c->owner = owner;
}

void h2_conn_set_ids(struct h2_conn *c, uint32_t next_id, uint32_t last_id)
{
	nghttp2_session_set_next_stream_id(c->session, (int32_t)next_id);
	c->next_id_limit = last_id;
}

struct stream *h2_conn_open(struct h2_conn *c, const struct stream_events *ev, void *user)
{
	if (h2_conn_room(c) == 0)
		return NULL;
	struct h2_stream *st = h2_stream_new(c, 0);
	if (!st)
		return NULL;
	st->s.ev = ev;
	st->s.user = user;
	c->nstreams++;
	c->carried++;
	if (nghttp2_session_get_next_stream_id(c->session) + 2 * (uint64_t)c->nstreams > c->next_id_limit && !c->draining) {
		c->draining = true; /* make before break: the owner opens the next one while these streams go on */
		c->client->on_goaway(c->owner);
	}
	return &st->s;
}

uint32_t h2_conn_room(const struct h2_conn *c)
{
	if (!c->client || !(c->up || c->early) || c->draining || c->goaway_in || c->closing || c->finished)
		return 0;
	uint32_t max = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return max > c->nstreams ? max - c->nstreams : 0;
}

uint32_t h2_conn_streams(const struct h2_conn *c) { return c->nstreams; }
bool h2_conn_has_answered(const struct h2_conn *c) { return c->answered; }
bool h2_conn_is_up(const struct h2_conn *c) { return c->up && !c->draining && !c->closing && !c->finished; }
struct loop *h2_conn_loop(const struct h2_conn *c) { return c->loop; }
uint64_t h2_conn_last_read_ns(const struct h2_conn *c) { return c->last_read_ns; }
size_t h2_conn_memory(const struct h2_conn *c) { return c->account.used + c->queued + c->out.bytes + sizeof *c; }

int h2_conn_ping(struct h2_conn *c, void (*fn)(void *user, bool acked), void *user)
{
	if (c->ping_fn)
		return -EBUSY;
	if (c->finished || c->closing)
		return ERR_CLOSED;
	if (nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL) != 0)
		return -ENOMEM;
	c->ping_fn = fn;
	c->ping_user = user;
	h2_conn_mark(c);
	return 0;
}

size_t h2_conn_shed(struct h2_conn *c)
{
	struct h2_stream *largest = NULL;
	list_each(n, tmp, &c->streams) {
		struct h2_stream *st = list_entry(n, struct h2_stream, node);
		if (!st->local_reset && (!largest || st->out.bytes > largest->out.bytes))
			largest = st;
	}
	if (!largest || chain_empty(&largest->out))
		return 0;
	size_t bytes = largest->out.bytes;
	stat_inc(&c->loop->stats, STAT_MEMORY_HARD);
	h2_stream_fail(largest, H2_ENHANCE_YOUR_CALM, END_LIMIT, "memory is at its hard limit (limits.memory)");
	return bytes;
}
