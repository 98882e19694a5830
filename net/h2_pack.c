/* net/h2_pack: the way out of a connection: frames and body bytes become one writev a flush.
 *
 *   nghttp2 --frame--> scratch (small pieces, copied)  \
 *   stream.out --big slice, by reference----------------> iov -> kernel;   what it does not take -> conn.out (next time first)
 *
 * A mark says where in the output the body bytes of a stream end: on_sent is told when the kernel has them. Scratch, iov and marks belong to the
 * loop's h2_shared and live for one flush; what outlives it is copied or moved to the connection. */
#include "net/h2_int.h"
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

char *h2_pack_room(struct h2_conn *c, size_t n)
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
	memcpy(h2_pack_room(c, 9), hd, 9);
	if (n < H2_COPY_BELOW) {
		if (n)
			chain_peek(&st->out, 0, h2_pack_room(c, n), n);
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
			chain_peek(&st->out, 0, h2_pack_room(c, left), left);
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
bool h2_pack_left(struct h2_conn *c)
{
	while (!chain_empty(&c->out)) {
		struct iovec iov[64];
		int n = chain_iov(&c->out, iov, 64, SIZE_MAX);
		ssize_t w = sock_writev(c->sock, iov, n);
		if (w == -EAGAIN || w == 0)
			break;
		if (w < 0) {
			c->err = (int)w;
			h2_conn_finish(c, c->err);
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
bool h2_pack_and_write(struct h2_conn *c)
{
	struct h2_shared *s = c->shared;
	s->niov = 0;
	s->packed = s->used = 0;
	s->nmarks = 0;
	bool more = false;
	s->head_packed = s->last_packed = NULL;
	fields_unref(&s->packing);
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
		char *at = NULL;
		if (n >= 9 && (p[3] == NGHTTP2_HEADERS || p[3] == NGHTTP2_CONTINUATION)) {
			h2_said_pack(c, p, (size_t)n);
		} else {
			at = h2_pack_room(c, (size_t)n);
			memcpy(at, p, (size_t)n);
		}
		if (s->head_packed) {
			s->head_packed->head_end = c->out_packed;
			s->head_packed = NULL;
		}
		if (s->last_packed) {
			s->marks[s->nmarks++] = (struct h2_mark){s->last_packed, 0, c->out_packed};
			s->last_packed = NULL;
		}
		/* We announce our limit and enforce it ourselves with REFUSED_STREAM; nghttp2, which would end the connection, is told a higher one. */
		if (c->server && at && n >= 9 && (uint8_t)at[3] == NGHTTP2_SETTINGS && !(at[4] & NGHTTP2_FLAG_ACK))
			for (ssize_t i = 9; i + 6 <= n; i += 6)
				if (at[i] == 0 && at[i + 1] == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) {
					uint32_t v = htonl(c->lim->streams_per_connection + c->granted);
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
		h2_conn_finish(c, c->err);
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
			h2_conn_finish(c, c->err);
			return false;
		}
	} else {
		chain_clear(&s->held);
	}
	conn_told_written(c);
	return more;
}
