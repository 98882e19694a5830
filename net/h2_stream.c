/* net/h2_stream: one HTTP/2 stream behind the contract of net/stream.h, both roles.
 *
 *   client:  open -> send_head submits (id) -> ... -> nghttp2 closes -> buried at the end of the turn
 *   server:  HEADERS begin -> on_request -> send_head submits the response -> ... -> the same
 *
 * Owner: its h2_conn. The user's pointer is forgotten at the end (on_end, or when stream_reset returned). */
#include "net/h2_int.h"
#include <assert.h>
#include <string.h>

static struct h2_stream *stream_of(struct stream *s) { return container_of(s, struct h2_stream, s); }

struct h2_stream *h2_stream_new(struct h2_conn *c, int32_t id)
{
	if (!mem_try(&c->account, sizeof(struct h2_stream)))
		return NULL;
	struct h2_stream *st = pool_mem_get(&c->shared->streams);
	st->s.ops = &h2_stream_ops;
	st->s.account = c->parent;
	st->c = c;
	st->id = id;
	st->content_length = -1;
	st->window = c->window;
	st->widen_at = c->window / 2;
	st->begun_ns = c->loop->now_ns;
	list_push(&c->streams, &st->node);
	return st;
}

static void stream_bury(struct grave *g)
{
	struct h2_stream *st = container_of(g, struct h2_stream, grave);
	struct h2_conn *c = st->c;
	chain_clear(&st->in);
	chain_clear(&st->out);
	fields_unref(&st->out_head);
	fields_unref(&st->out_trailers);
	fields_unref(&st->kept);
	mem_give(&c->account, sizeof *st);
	pool_mem_put(&c->shared->streams, st);
}

/* What nghttp2 was promised for a DATA frame that the packer had no room for stays: the frame is begun, it goes out before the reset. */
static void stream_drop_queue(struct h2_stream *st)
{
	struct chain promised = CHAIN_INIT;
	if (!st->gone)
		chain_move_n(&promised, &st->out, st->promised);
	st->c->queued -= st->out.bytes;
	chain_clear(&st->out);
	chain_move(&st->out, &promised);
	if (st->is_unsettled && chain_empty(&st->out)) {
		st->is_unsettled = false;
		list_del(&st->unsettled);
	}
}

static void stream_forwarded_(struct stream *s)
{
	struct h2_stream *st = stream_of(s);
	if (!st->head_held)
		return;
	struct h2_conn *c = st->c;
	c->heads_held -= st->head_held;
	st->head_held = 0;
	if (c->paused)
		h2_conn_resume_check(c);
}

void h2_stream_gone(struct h2_stream *st)
{
	struct h2_conn *c = st->c;
	if (st->gone)
		return;
	st->gone = true;
	h2_stream_leave_place(st);
	stream_forwarded_(&st->s);
	stream_drop_queue(st);
	h2_conn_let_go(c, st, st->held);
	c->reserved -= st->reserved;
	if (st->marks)
		for (uint32_t i = c->left_at; i < c->nleft; i++)
			if (c->left[i].st == st)
				c->left[i].st = NULL;
	if (c->partial == st)
		c->partial = NULL;
	if (c->hot == st)
		c->hot = NULL;
	list_del(&st->node);
	loop_bury(c->loop, &st->grave, stream_bury);
}

void h2_stream_end(struct h2_stream *st, enum stream_cause cause, uint32_t code, const char *detail)
{
	if (st->ended)
		return;
	st->ended = true;
	if (st->silent || !st->s.ev)
		return;
	struct stream_end end = {.cause = cause, .h2_code = code, .bytes_sent = st->sent, .detail = detail};
	st->s.ev->on_end(st->s.user, &end);
}

void h2_stream_flushed(struct h2_stream *st)
{
	h2_stream_end(st, END_DONE, 0, NULL);
	if (st->detached)
		h2_stream_gone(st);
}

/* Tells nghttp2; the stream itself goes when nghttp2 says closed. */
static void stream_submit_reset(struct h2_stream *st, uint32_t code)
{
	struct h2_conn *c = st->c;
	if (st->local_reset || st->gone)
		return;
	st->local_reset = true;
	stream_drop_queue(st);
	h2_conn_let_go(c, st, st->held);
	if (st->detached) {
		h2_stream_gone(st);
		return;
	}
	if (st->id == 0) { /* never submitted: nghttp2 does not know it */
		c->nstreams--;
		c->room_due = true;
		h2_stream_gone(st);
		h2_conn_mark(c);
		return;
	}
	if (!st->fin_in)
		h2_conn_note_reset(c, st->id);
	h2_conn_rst(c, st->id, code);
	h2_conn_mark(c);
}

static void stream_reset_(struct stream *s, uint32_t code)
{
	struct h2_stream *st = stream_of(s);
	st->silent = true;
	stream_submit_reset(st, code);
}

void h2_stream_fail(struct h2_stream *st, uint32_t code, enum stream_cause cause, const char *why)
{
	if (st->ended || st->local_reset)
		return;
	stat_inc(&st->c->loop->stats, STAT_H2_STREAM_ERRORS);
	h2_stream_end(st, cause, code, why);
	stream_submit_reset(st, code);
}

void h2_stream_deliver(struct h2_stream *st, bool fin)
{
	if (st->silent || st->ended || st->local_reset || !st->s.ev) {
		h2_conn_let_go(st->c, st, st->in.bytes);
		chain_clear(&st->in);
		return;
	}
	if (fin) {
		if (st->told_fin)
			return;
		st->told_fin = true;
	}
	st->s.ev->on_data(st->s.user, &st->in, fin);
	if (!chain_empty(&st->in)) { /* what the callee left is dropped; its window goes back */
		size_t n = st->in.bytes;
		chain_clear(&st->in);
		stream_credit(&st->s, n);
	}
}

int h2_nv(const struct fields *f, nghttp2_nv *nv, int max)
{
	int n = 0;
	fields_each(e, f) {
		if (n == max)
			return ERR_LIMIT;
		uint8_t flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
		if (e->flags & FF_NO_INDEX) /* a value that is new each call would only churn the table */
			flags |= NGHTTP2_NV_FLAG_NO_INDEX;
		nv[n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)e->name, (uint8_t *)(uintptr_t)e->value, e->name_len, e->value_len, flags};
	}
	return n;
}

enum { NV_MAX = 1024 };

static int stream_send_head_(struct stream *s, struct fields *head, bool fin)
{
	struct h2_stream *st = stream_of(s);
	struct h2_conn *c = st->c;
	if (st->gone || st->local_reset || st->ended)
		return 0;
	nghttp2_nv nv[NV_MAX];
	st->known_head = h2_said_find(c, head);
	st->mark_head = fields_mark(head);
	int n = st->known_head ? 1 : h2_nv(head, nv, NV_MAX);
	if (n < 0)
		return n;
	if (st->known_head)
		nv[0] = h2_said_nv;
	nghttp2_data_provider body = {.source.ptr = st, .read_callback = h2_stream_read};
	int rv;
	if (c->client) {
		st->asked_head = str_is(fields_value(head, FIELD_METHOD), "HEAD");
		rv = nghttp2_submit_request(c->session, NULL, nv, (size_t)n, fin ? NULL : &body, st);
		if (rv > 0) {
			st->id = rv;
			rv = 0;
		}
	} else {
		rv = nghttp2_submit_response(c->session, st->id, nv, (size_t)n, fin ? NULL : &body);
	}
	if (rv < 0)
		return rv == NGHTTP2_ERR_NOMEM ? -ENOMEM : ERR_CLOSED;
	st->out_head = fields_ref(head);
	st->head_out = true;
	if (fin)
		st->fin_queued = true;
	h2_conn_mark(c);
	return 0;
}

static void stream_wake(struct h2_stream *st)
{
	if (st->deferred) {
		st->deferred = false;
		nghttp2_session_resume_data(st->c->session, st->id);
	}
	h2_conn_mark(st->c);
}

static void stream_send_data_(struct stream *s, struct chain *moved, bool fin)
{
	struct h2_stream *st = stream_of(s);
	struct h2_conn *c = st->c;
	if (st->gone || st->local_reset || st->ended || !st->head_out || st->fin_queued) {
		chain_clear(moved);
		return;
	}
	if (chain_empty(&st->out)) {
		st->stall_since_ns = loop_ran_ns(c->loop);
		st->stall_sent = st->sent;
	}
	c->queued += moved->bytes;
	chain_move(&st->out, moved);
	if (fin)
		st->fin_queued = true;
	if (!st->is_unsettled && !chain_empty(&st->out)) {
		st->is_unsettled = true;
		list_push(&c->unsettled, &st->unsettled);
	}
	stream_wake(st);
}

/* nghttp2_submit_trailer copies the list of pointers, not the texts: out_trailers keeps those until the frame is packed. */
static int stream_submit_trailers(struct h2_stream *st)
{
	nghttp2_nv nv[NV_MAX];
	st->known_trailers = h2_said_find(st->c, st->out_trailers);
	st->mark_trailers = fields_mark(st->out_trailers);
	int n = st->known_trailers ? 1 : h2_nv(st->out_trailers, nv, NV_MAX);
	if (n < 0)
		return n;
	if (st->known_trailers)
		nv[0] = h2_said_nv;
	return nghttp2_submit_trailer(st->c->session, st->id, nv, (size_t)n);
}

static int stream_send_trailers_(struct stream *s, struct fields *trailers)
{
	struct h2_stream *st = stream_of(s);
	if (st->gone || st->local_reset || st->ended || !st->head_out || st->fin_queued)
		return 0;
	st->out_trailers = fields_ref(trailers);
	st->fin_queued = true;
	if (chain_empty(&st->out) && st->deferred) { /* nothing queued: no empty DATA frame before them */
		h2_conn_mark(st->c);
		return stream_submit_trailers(st) == 0 ? 0 : -ENOMEM;
	}
	st->trailers_due = true;
	stream_wake(st);
	return 0;
}

static bool stream_reserve_(struct stream *s, size_t n)
{
	struct h2_stream *st = stream_of(s);
	struct h2_conn *c = st->c;
	if (st->gone || c->reserved + n > c->lim->reader_budget)
		return false;
	c->reserved += n;
	st->reserved += (uint32_t)n;
	return true;
}

/* Its reader reads: half a window has passed. Four times the window, up to limits.window_up, if the reader's connection has it to give. */
static void stream_widen(struct h2_stream *st)
{
	struct h2_conn *c = st->c;
	uint32_t most = c->lim->window_up;
	uint32_t to = st->window < most / 4 ? st->window * 4 : most;
	st->widen_at = st->received - st->held + st->window / 2;
	if (st->s.reader && !stream_reserve(st->s.reader, to - st->window)) {
		if (!st->widen_denied)
			stat_inc(&c->loop->stats, STAT_READER_BUDGET);
		st->widen_denied = true;
		return;
	}
	st->window = to;
	c->force_memory = true;
	nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, st->id, (int32_t)to);
	c->force_memory = false;
}

static void stream_credit_(struct stream *s, size_t n)
{
	struct h2_stream *st = stream_of(s);
	if (n == 0 || st->gone)
		return;
	h2_conn_let_go(st->c, st, n);
	if (st->fin_in || st->local_reset)
		return;
	st->c->force_memory = true; /* what gives a window back must not fail: the stream would stand still */
	nghttp2_session_consume_stream(st->c->session, st->id, n);
	st->c->force_memory = false;
	st->window_shut = false;
	if (st->c->client && st->received - st->held >= st->widen_at && st->window < st->c->lim->window_up)
		stream_widen(st);
	if (nghttp2_session_want_write(st->c->session))
		h2_conn_mark(st->c);
}

/* Who keeps to our SETTINGS counts it all the same, so these are told anew: in steps, for a frame a stream would be many, and never back down: what was allowed once may be on its way.
 * What is refused is what is beyond the number that was told. */
static bool stream_uncount_(struct stream *s)
{
	struct h2_stream *st = stream_of(s);
	struct h2_conn *c = st->c;
	if (st->uncounted || st->gone || !c->server)
		return true;
	if (c->uncounted >= c->lim->watches_per_connection) {
		stat_inc(&c->loop->stats, STAT_WATCHES_LIMIT);
		return false;
	}
	st->uncounted = true;
	if (++c->uncounted <= c->granted)
		return true;
	c->granted = c->granted + H2_GRANT_STEP < c->lim->watches_per_connection ? c->granted + H2_GRANT_STEP : c->lim->watches_per_connection;
	if (c->granted < c->uncounted) /* the limit was lowered meanwhile */
		c->granted = c->uncounted;
	nghttp2_settings_entry more = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0x7fffffff}; /* patched like the first one */
	c->force_memory = true;
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &more, 1);
	c->force_memory = false;
	h2_conn_mark(c);
	return true;
}

static void stream_keep_place_(struct stream *s, struct stream *up)
{
	struct h2_stream *st = stream_of(s), *there = stream_of(up);
	if (up->ops != s->ops || !st->c->server || st->c->finished || there->gone || there->place_of)
		return;
	there->place_of = st->c;
	list_push(&st->c->places, &there->place);
	st->c->nplaces++;
}

void h2_stream_leave_place(struct h2_stream *st)
{
	if (!st->place_of)
		return;
	list_del(&st->place);
	st->place_of->nplaces--;
	st->place_of = NULL;
}

const struct stream_ops h2_stream_ops = {stream_send_head_, stream_send_data_, stream_send_trailers_, stream_reset_, stream_credit_, stream_forwarded_,
	stream_reserve_, stream_uncount_, stream_keep_place_};

/* nghttp2 asks how much there is to send; the bytes themselves are taken in h2_pack_data (NO_COPY). */
ssize_t h2_stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *src, void *user)
{
	(void)session, (void)id, (void)buf, (void)user;
	struct h2_stream *st = src->ptr;
	size_t n = st->out.bytes;
	if (n == 0 && !st->fin_queued) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n) { /* a frame as it came: Dubbo Java loses messages of a stream whose DATA frames a hop has merged */
		bool sealed;
		n = chain_piece(&st->out, len, &sealed);
	}
	if (n > len)
		n = len;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == st->out.bytes && st->fin_queued) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->trailers_due) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			st->trailers_due = false;
			if (stream_submit_trailers(st) != 0)
				return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
	}
	st->promised = (uint32_t)n;
	return (ssize_t)n;
}

void h2_stream_settle(struct h2_stream *st)
{
	st->is_unsettled = false;
	list_del(&st->unsettled);
	if (!chain_empty(&st->out) && chain_settle(&st->out, &st->c->loop->bufs, st->c->parent) != 0)
		h2_stream_fail(st, H2_INTERNAL_ERROR, END_LIMIT, "no memory for what waits to be sent");
}
