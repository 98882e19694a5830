/* net/h2_conn: the life of one HTTP/2 connection: reading, packing, timers, drain, the end. See net/h2_int.h for the picture.
 * Phases: open -> (draining) -> closing (a GOAWAY may still go out) -> finished (on_closed told, in the morgue). */
#include "net/h2_int.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void conn_flush(struct dirty *d);
static void conn_finish(struct h2_conn *c, int err);
static bool conn_write_left(struct h2_conn *c);
static bool conn_pack_and_write(struct h2_conn *c);

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
}

void h2_loop_end(struct loop *l)
{
	struct h2_shared *s = l->h2;
	if (!s)
		return;
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

/* rate a second, as much at once. Milli-tokens; the bucket is full at first (at_ns 0). */
uint64_t h2_bucket_take(struct h2_bucket *b, uint64_t now_ns, uint32_t n, uint32_t rate)
{
	if (!b->at_ns) {
		b->at_ns = now_ns ? now_ns : 1;
		b->milli = (int64_t)rate * 1000;
	} else if (now_ns > b->at_ns) {
		uint64_t ms = (now_ns - b->at_ns) / 1000000;
		if (ms) {
			uint64_t add = ms > 1000 ? 1000ull * rate : ms * rate;
			b->milli += (int64_t)add;
			if (b->milli > (int64_t)rate * 1000)
				b->milli = (int64_t)rate * 1000;
			b->at_ns += ms * 1000000;
		}
	}
	b->milli -= 1000 * (int64_t)n;
	return b->milli >= 0 ? 0 : (uint64_t)-b->milli / (rate ? rate : 1) * 1000000 + 1000000;
}

void h2_conn_pace(struct h2_conn *c, struct h2_bucket *b, uint32_t n, uint32_t rate, enum stat_id stat)
{
	uint64_t wait_ns = h2_bucket_take(b, c->loop->now_ns, n, rate);
	if (!wait_ns)
		return;
	if (!c->paused) /* one pause, however many frames of this read are too many */
		stat_inc(&c->loop->stats, stat);
	h2_conn_pause(c, wait_ns);
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

/* ---- timers: one a connection, set to the earliest of its reasons ---- */

static void conn_timer(struct timer *t);

void h2_conn_timers(struct h2_conn *c)
{
	uint64_t at = UINT64_MAX;
	if (c->preface_at_ns && c->preface_at_ns < at)
		at = c->preface_at_ns;
	if (c->header_at_ns && c->header_at_ns < at && !c->paused) /* it is us who do not read */
		at = c->header_at_ns;
	if (c->stall_at_ns && c->stall_at_ns < at)
		at = c->stall_at_ns;
	if (c->paused && c->paused_until_ns && c->paused_until_ns < at)
		at = c->paused_until_ns;
	if (at == UINT64_MAX)
		timer_cancel(c->loop, &c->timer);
	else if (!timer_armed(&c->timer) || c->timer.at_ns != at)
		timer_set(c->loop, &c->timer, at, conn_timer);
}

/* Streams whose queue moved less than limits.stall_bytes in limits.stall: a dripping reader does not hold our memory for ever. */
static void conn_reap_stalled(struct h2_conn *c)
{
	uint64_t now = c->loop->now_ns, next = 0;
	list_each(n, tmp, &c->streams) {
		struct h2_stream *st = list_entry(n, struct h2_stream, node);
		if (chain_empty(&st->out) && !st->marks)
			continue;
		if (now < st->stall_since_ns + c->lim->stall_ns) {
			if (!next || st->stall_since_ns + c->lim->stall_ns < next)
				next = st->stall_since_ns + c->lim->stall_ns;
			continue;
		}
		if (st->sent - st->stall_sent < c->lim->stall_bytes) {
			stat_inc(&c->loop->stats, STAT_STALLED);
			h2_stream_fail(st, H2_CANCEL, END_LIMIT, "what was queued for it did not move (limits.stall)");
			continue;
		}
		st->stall_since_ns = now;
		st->stall_sent = st->sent;
		if (!next || now + c->lim->stall_ns < next)
			next = now + c->lim->stall_ns;
	}
	/* No stream to blame: heads, acknowledgements and resets that the kernel does not take at all. Not even a reset would leave. */
	if (!next && !chain_empty(&c->out)) {
		if (c->out_written - c->stall_written < c->lim->stall_bytes) {
			stat_inc(&c->loop->stats, STAT_STALLED);
			c->err = -ETIMEDOUT;
			h2_conn_close(c, 0);
		} else {
			next = now + c->lim->stall_ns;
		}
	}
	c->stall_written = c->out_written;
	c->stall_at_ns = next;
}

static void conn_timer(struct timer *t)
{
	struct h2_conn *c = container_of(t, struct h2_conn, timer);
	uint64_t now = c->loop->now_ns;
	if (c->preface_at_ns && now >= c->preface_at_ns) {
		c->preface_at_ns = 0;
		stat_inc(&c->loop->stats, STAT_PREFACE_TIME);
		h2_conn_close(c, 0);
	}
	if (c->header_at_ns && now >= c->header_at_ns && !c->paused) {
		c->header_at_ns = 0;
		stat_inc(&c->loop->stats, STAT_HEADER_TIME);
		h2_conn_close(c, 0);
	}
	if (c->stall_at_ns && now >= c->stall_at_ns)
		conn_reap_stalled(c);
	if (c->paused)
		h2_conn_resume_check(c);
	h2_conn_timers(c);
}

/* ---- pausing ---- */

static void conn_want(struct h2_conn *c)
{
	sock_want(c->sock, !c->paused && !c->closing, !chain_empty(&c->out));
}

void h2_conn_pause(struct h2_conn *c, uint64_t for_ns)
{
	c->paused = true;
	if (for_ns && c->loop->now_ns + for_ns > c->paused_until_ns)
		c->paused_until_ns = c->loop->now_ns + for_ns;
	conn_want(c);
	h2_conn_timers(c);
}

void h2_conn_resume_check(struct h2_conn *c)
{
	if (!c->paused || c->finished)
		return;
	if (c->paused_until_ns > c->loop->now_ns)
		return;
	c->paused_until_ns = 0; /* of the two reasons this one is over: no timer for it any more */
	if (c->heads_held > c->lim->header_budget)
		return;
	c->paused = false;
	if (c->header_at_ns) {
		c->header_at_ns = c->loop->now_ns + c->lim->header_time_ns;
		h2_conn_timers(c);
	}
	if (c->header_at_ns) /* the rest of its header block waited for us */
		c->header_at_ns = c->loop->now_ns + c->lim->header_time_ns;
	h2_conn_timers(c);
	conn_want(c);
}

/* ---- in ---- */

/* What streams of this connection have brought in and nobody has passed on yet. One stalled reader holds its stream's window at most and so never keeps
 * the connection's from the others; a connection's window full of them does, which bounds what one peer can make us hold. */
static void conn_give_window(struct h2_conn *c)
{
	if (c->owed && c->held <= (c->client ? c->lim->window_up_conn : c->lim->window_down_conn)) {
		c->force_memory = true;
		nghttp2_session_consume_connection(c->session, c->owed);
		c->force_memory = false;
		c->owed = 0;
	}
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
		c->header_at_ns = c->loop->now_ns + c->lim->header_time_ns;
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
	ssize_t rv = nghttp2_session_mem_recv(c->session, (const uint8_t *)p, n);
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
			for (int rounds = 0; rounds < 3 && conn_write_left(c) && conn_pack_and_write(c); rounds++)
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

/* ---- out: the packer ---- */

static char *pack_room(struct h2_conn *c, size_t n)
{
	struct h2_shared *s = c->shared;
	char *at = (char *)c->loop->scratch + s->used;
	struct iovec *last = s->niov ? &s->iov[s->niov - 1] : NULL;
	if (last && !s->iov_slice[s->niov - 1] && (char *)last->iov_base + last->iov_len == at) {
		last->iov_len += n;
	} else {
		s->iov[s->niov] = (struct iovec){at, n};
		s->iov_slice[s->niov++] = NULL;
	}
	s->used += n;
	s->packed += n;
	c->out_packed += n;
	return at;
}

static bool pack_full(const struct h2_shared *s)
{
	return s->used + H2_FRAME_ROOM > LOOP_SCRATCH || s->niov + 40 > H2_IOV_MAX || s->nmarks + 4 > H2_MARKS;
}

int h2_pack_data(nghttp2_session *session, nghttp2_frame *f, const uint8_t *hd, size_t n, nghttp2_data_source *src, void *user)
{
	(void)session, (void)f;
	struct h2_conn *c = user;
	struct h2_shared *s = c->shared;
	struct h2_stream *st = src->ptr;
	if (pack_full(s))
		return NGHTTP2_ERR_WOULDBLOCK;
	st->promised = 0;
	memcpy(pack_room(c, 9), hd, 9);
	if (n < H2_COPY_BELOW) {
		if (n)
			chain_peek(&st->out, 0, pack_room(c, n), n);
		chain_drop(&st->out, n);
	} else {
		size_t left = n;
		while (left && s->niov < H2_IOV_MAX - 4) { /* by reference: the kernel reads them where they are */
			size_t piece = st->out.head->n < left ? st->out.head->n : left;
			s->iov[s->niov] = (struct iovec){(void *)(uintptr_t)st->out.head->p, piece};
			chain_move_n(&s->held, &st->out, piece);
			s->iov_slice[s->niov++] = s->held.tail;
			left -= piece;
		}
		s->packed += n - left;
		c->out_packed += n - left;
		if (left) { /* a body in crumbs: no more room for pointers, so the rest is copied (n <= 16 KiB, and H2_FRAME_ROOM is more) */
			chain_peek(&st->out, 0, pack_room(c, left), left);
			chain_drop(&st->out, left);
		}
	}
	c->queued -= n;
	if (n)
		s->marks[s->nmarks++] = (struct h2_mark){st, (uint32_t)n, c->out_packed};
	return 0;
}

static void mark_sent(struct h2_stream *st, uint32_t n)
{
	if (!st)
		return;
	if (!n) {
		h2_stream_flushed(st);
		return;
	}
	st->sent += n;
	if (!st->ended && !st->silent && !st->gone)
		st->s.ev->on_sent(st->s.user, n);
}

/* What the kernel did not take of this flush becomes c->out. False: no memory for it. */
static bool conn_keep_rest(struct h2_conn *c, size_t written)
{
	struct h2_shared *s = c->shared;
	for (uint32_t i = 0; i < s->niov; i++) {
		struct iovec *v = &s->iov[i];
		struct slice *slice = s->iov_slice[i];
		size_t skip = written < v->iov_len ? written : v->iov_len;
		written -= skip;
		if (slice) {
			assert(s->held.head == slice);
			chain_drop(&s->held, skip);
			chain_move_n(&c->out, &s->held, v->iov_len - skip);
		} else if (v->iov_len > skip && chain_copy_in(&c->out, &c->loop->bufs, c->parent, (char *)v->iov_base + skip, v->iov_len - skip) != 0) {
			return false;
		}
	}
	return chain_settle(&c->out, &c->loop->bufs, c->parent) == 0;
}

static void conn_told_written(struct h2_conn *c)
{
	struct h2_shared *s = c->shared;
	for (uint32_t i = 0; i < s->nmarks; i++)
		if (s->marks[i].end <= c->out_written && !s->marks[i].st->gone)
			mark_sent(s->marks[i].st, s->marks[i].n);
}

static void conn_keep_marks(struct h2_conn *c)
{
	struct h2_shared *s = c->shared;
	uint32_t from = 0;
	while (from < s->nmarks && s->marks[from].end <= c->out_written)
		from++;
	if (from == s->nmarks)
		return;
	c->left = xrealloc(c->left, (s->nmarks - from) * sizeof *c->left); /* at most H2_MARKS entries, of this connection's own frames */
	c->left_at = 0;
	c->nleft = 0;
	for (uint32_t i = from; i < s->nmarks; i++) {
		if (s->marks[i].st->gone)
			continue;
		s->marks[i].st->marks++;
		c->left[c->nleft++] = s->marks[i];
	}
}

/* Writes what is left of earlier flushes. True: all of it is out. */
static bool conn_write_left(struct h2_conn *c)
{
	while (!chain_empty(&c->out)) {
		struct iovec iov[64];
		int n = chain_iov(&c->out, iov, 64, SIZE_MAX);
		ssize_t w = sock_writev(c->sock, iov, n);
		if (w == -EAGAIN || w == 0)
			break;
		if (w < 0) {
			c->err = (int)w;
			conn_finish(c, c->err);
			return false;
		}
		c->out_written += (uint64_t)w;
		chain_drop(&c->out, (size_t)w);
		while (c->left_at < c->nleft && c->left[c->left_at].end <= c->out_written) {
			struct h2_mark m = c->left[c->left_at++];
			if (m.st) {
				m.st->marks--;
				mark_sent(m.st, m.n);
			}
		}
	}
	if (!chain_empty(&c->out))
		return false;
	free(c->left);
	c->left = NULL;
	c->nleft = c->left_at = 0;
	return true;
}

/* Packs one scratch full and writes it. True: there may be more. */
static bool conn_pack_and_write(struct h2_conn *c)
{
	struct h2_shared *s = c->shared;
	s->niov = 0;
	s->packed = s->used = 0;
	s->nmarks = 0;
	bool more = false;
	s->head_packed = s->last_packed = NULL;
	c->in_callback = true;
	for (;;) {
		if (pack_full(s)) {
			more = true;
			break;
		}
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(c->session, &p);
		if (n <= 0) {
			if (n < 0) {
				c->err = n == NGHTTP2_ERR_NOMEM ? -ENOMEM : ERR_MALFORMED;
				c->closing = true;
			} else if (pack_full(s)) {
				more = true;
			}
			break;
		}
		char *at = pack_room(c, (size_t)n);
		memcpy(at, p, (size_t)n);
		if (s->head_packed) {
			s->head_packed->head_end = c->out_packed;
			s->head_packed = NULL;
		}
		if (s->last_packed) {
			s->marks[s->nmarks++] = (struct h2_mark){s->last_packed, 0, c->out_packed};
			s->last_packed = NULL;
		}
		/* We announce our limit and enforce it ourselves with REFUSED_STREAM; nghttp2, which would end the connection, is told a higher one. */
		if (c->server && n >= 9 && (uint8_t)at[3] == NGHTTP2_SETTINGS && !(at[4] & NGHTTP2_FLAG_ACK))
			for (ssize_t i = 9; i + 6 <= n; i += 6)
				if (at[i] == 0 && at[i + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) {
					uint32_t v = htonl(c->lim->streams_per_connection);
					memcpy(at + i + 2, &v, 4);
				}
	}
	c->in_callback = false;
	if (!s->packed)
		return false;
	ssize_t w = sock_writev(c->sock, s->iov, (int)s->niov);
	if (w < 0 && w != -EAGAIN) {
		c->err = (int)w;
		chain_clear(&s->held);
		conn_finish(c, c->err);
		return false;
	}
	size_t written = w > 0 ? (size_t)w : 0;
	c->out_written += written;
	if (written < s->packed) {
		more = false;
		conn_keep_marks(c);
		if (!conn_keep_rest(c, written)) {
			c->err = -ENOMEM;
			chain_clear(&s->held);
			conn_finish(c, c->err);
			return false;
		}
	} else {
		chain_clear(&s->held);
	}
	conn_told_written(c);
	return more;
}

static bool conn_is_over(struct h2_conn *c)
{
	if (c->closing)
		return true;
	if (!chain_empty(&c->out))
		return false;
	if (c->draining && c->nstreams == 0 && c->client && list_empty(&c->streams))
		return true;
	return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void conn_flush(struct dirty *d)
{
	struct h2_conn *c = container_of(d, struct h2_conn, dirty);
	if (c->finished)
		return;
	if (c->closing && c->client && c->err) { /* broken: what has not left by now shall not, so it can go to another provider (END_UNPROCESSED) */
		conn_finish(c, c->err);
		return;
	}
	if (conn_write_left(c))
		for (int rounds = 0; conn_pack_and_write(c); rounds++)
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
		c->stall_at_ns = c->loop->now_ns + c->lim->stall_ns;
		c->stall_written = c->out_written;
		h2_conn_timers(c);
	} else if (c->stall_at_ns && !c->queued && chain_empty(&c->out)) {
		c->stall_at_ns = 0;
		h2_conn_timers(c);
	}
	if (conn_is_over(c)) {
		conn_finish(c, c->err);
		return;
	}
	conn_want(c);
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
	nghttp2_session_del(c->session);
	chain_clear(&c->out);
	fields_unref(&c->block);
	free(c->first);
	free(c->left);
	free(c->reset_ring);
	account_end(&c->account);
	free(c);
	s->conns--;
	loop_trim_soon(l);
}

static void conn_finish(struct h2_conn *c, int err)
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
	conn_want(c);
	h2_conn_mark(c);
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
		stat_inc(&c->loop->stats, STAT_H2_GOAWAY_OUT);
	}
	h2_conn_mark(c);
}

/* ---- making one ---- */

static struct h2_conn *conn_new(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent)
{
	struct h2_conn *c = xnew(struct h2_conn);
	c->loop = l;
	c->shared = shared_get(l);
	c->shared->conns++;
	c->sock = taken;
	c->lim = lim;
	c->parent = parent;
	account_init(&c->account, parent, "connection", SIZE_MAX);
	list_init(&c->streams);
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
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0x7fffffff}, /* what goes out is patched: see conn_pack_and_write */
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, lim->window_down},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, lim->header_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, iv, 4) != 0 ||
	    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)lim->window_down_conn) != 0)
		return conn_failed(c);
	c->preface_at_ns = l->now_ns + lim->preface_time_ns;
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
	nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, lim->window_up},
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
	if (!c->client || !c->up || c->draining || c->goaway_in || c->closing || c->finished)
		return 0;
	uint32_t max = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return max > c->nstreams ? max - c->nstreams : 0;
}

uint32_t h2_conn_streams(const struct h2_conn *c) { return c->nstreams; }
bool h2_conn_is_up(const struct h2_conn *c) { return c->up && !c->draining && !c->closing && !c->finished; }
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
