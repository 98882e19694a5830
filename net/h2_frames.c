/* net/h2_frames: nghttp2's callbacks: frames become events of the stream contract, and every limit on what a peer may send is counted here.
 * Rules that libnghttp2 is told to leave to us (no_http_messaging, no_closed_streams): message validation is net/fields', content-length is counted
 * here, and frames on streams that are closed are judged by the ids (RFC 9113 5.1). */
#include "net/h2_int.h"
#include <string.h>

static bool conn_is_server(const struct h2_conn *c) { return c->server != NULL; }

/* A reset that costs us work: by the peer before an answer began, or by us for the peer's fault (MadeYouReset). Paced, never fatal. */
static void frames_premature(struct h2_conn *c)
{
	if (conn_is_server(c))
		h2_conn_pace(c, &c->resets, 1, c->lim->premature_resets, STAT_RESETS_PACED);
}

/* HEADERS (seen by on_begin_frame) or DATA (seen by h2_walk) on a stream that is not open any more. */
void h2_frames_on_closed(struct h2_conn *c, uint8_t type, int32_t id)
{
	if (h2_conn_knows_reset(c, id))
		return; /* we ended it while this was on its way: nghttp2 ignores it, HPACK state is kept */
	if (type == NGHTTP2_HEADERS) {
		/* Ids 1, 3, 5 ... all used so far? Then this one was open once; else it was skipped, and is closed without ever having lived. */
		bool all_used = c->opened_in == (c->last_id - c->first_id) / 2 + 1 && (uint32_t)id >= c->first_id;
		h2_conn_fatal(c, all_used ? H2_STREAM_CLOSED : H2_PROTOCOL_ERROR, STAT_H2_PROTOCOL_ERRORS);
		return;
	}
	stat_inc(&c->loop->stats, STAT_H2_STREAM_ERRORS);
	frames_premature(c);
	h2_conn_note_reset(c, id); /* once is enough */
	h2_conn_rst(c, id, H2_STREAM_CLOSED);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	switch (hd->type) {
	case NGHTTP2_DATA:
	case NGHTTP2_HEADERS:
	case NGHTTP2_CONTINUATION:
		if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)) {
			if (++c->empty_run > c->lim->empty_frames)
				h2_conn_fatal(c, H2_ENHANCE_YOUR_CALM, STAT_EMPTY_FRAMES);
		} else if (hd->type != NGHTTP2_DATA || !(hd->flags & NGHTTP2_FLAG_PADDED)) { /* of a padded one on_frame_recv knows more */
			c->empty_run = 0;
		}
		if (hd->type == NGHTTP2_DATA)
			break;
		if (hd->type == NGHTTP2_HEADERS) {
			/* nghttp2 tells nothing more of a block that it ignores (the stream is reset, or beyond our GOAWAY): such a block is over with its flag. */
			c->in_block = !(hd->flags & NGHTTP2_FLAG_END_HEADERS);
			c->block_taken = false;
			c->block_id = hd->stream_id;
			c->block_wire = 0;
			c->block_frames = 0;
		} else if (++c->block_frames > c->lim->continuations) {
			h2_conn_fatal(c, H2_ENHANCE_YOUR_CALM, STAT_CONTINUATIONS);
		} else if ((hd->flags & NGHTTP2_FLAG_END_HEADERS) && !c->block_taken) {
			c->in_block = false;
		}
		c->block_wire += (uint32_t)hd->length;
		if (c->block_wire > c->lim->header_wire_bytes)
			h2_conn_fatal(c, H2_ENHANCE_YOUR_CALM, STAT_HEADER_WIRE);
		break;
	case NGHTTP2_PING:
	case NGHTTP2_SETTINGS:
	case NGHTTP2_PRIORITY:
		/* SETTINGS may touch the window of every stream, so it costs more where there are many. */
		if (!(hd->flags & NGHTTP2_FLAG_ACK) || hd->type == NGHTTP2_PRIORITY)
			h2_conn_pace(c, &c->control, 1 + (hd->type == NGHTTP2_SETTINGS ? c->nstreams / 32 : 0), c->lim->control_frames, STAT_CONTROL_PACED);
		break;
	default:
		break;
	}
	if (hd->type == NGHTTP2_HEADERS && conn_is_server(c) && (hd->stream_id & 1) && (uint32_t)hd->stream_id <= c->last_id &&
	    !h2_conn_stream(c, hd->stream_id))
		h2_frames_on_closed(c, hd->type, hd->stream_id);
	return c->told_goaway ? NGHTTP2_ERR_CALLBACK_FAILURE : 0; /* after a connection error nothing more is read (RFC 9113 5.4.1) */
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	c->in_block = c->block_taken = true;
	fields_unref(&c->block);
	c->block = NULL;
	c->block_wrong = NULL;
	struct h2_stream *st = h2_conn_stream(c, f->hd.stream_id);
	if (!st && conn_is_server(c) && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		if (!c->last_id)
			c->first_id = (uint32_t)f->hd.stream_id;
		c->last_id = (uint32_t)f->hd.stream_id;
		c->opened_in++;
		st = h2_stream_new(c, f->hd.stream_id);
		if (!st) { /* the account refuses: nothing was processed */
			stat_inc(&c->loop->stats, STAT_MEMORY_SOFT);
			h2_conn_note_reset(c, f->hd.stream_id);
			h2_conn_rst(c, f->hd.stream_id, H2_REFUSED_STREAM);
			return 0;
		}
		nghttp2_session_set_stream_user_data(session, f->hd.stream_id, st);
		c->carried++;
		c->nstreams++;
		if (c->last_told) { /* our last GOAWAY does not count it, whether it is out already or still queued */
			st->refused_by_us = true;
		} else if (c->nstreams + c->nplaces > c->lim->streams_per_connection + c->granted) {
			stat_inc(&c->loop->stats, STAT_STREAMS_REFUSED);
			st->refused_by_us = true;
		}
	}
	if (!st || st->silent || st->local_reset || st->refused_by_us)
		return 0;
	st->excess = false;
	c->block = c->canned ? fields_clone(c->canned->list, c->parent) : fields_new(c->loop->fields, c->parent);
	if (!c->block)
		st->excess = true;
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	(void)session, (void)flags;
	struct h2_conn *c = user;
	if (!c->block || c->canned)
		return 0; /* not wanted, or there already; decoding goes on, because HPACK's state is the connection's */
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
	struct fields *b = c->block;
	bool too_many = b->count >= c->lim->field_count, too_big = b->size + n.len + v.len + 32 > c->lim->header_bytes;
	if (!too_many && !too_big && fields_add(b, str_n((char *)n.base, n.len), str_n((char *)v.base, v.len)) == 0) {
		/* Names of the table are valid by being in it. */
		if (b->f[b->count - 1].token == FIELD_OTHER && !field_name_valid((char *)n.base, n.len))
			c->block_wrong = "a field name that is not allowed";
		else if (!field_value_valid((char *)v.base, v.len))
			c->block_wrong = "a field value that is not allowed";
		return 0;
	}
	stat_inc(&c->loop->stats, too_many ? STAT_FIELD_COUNT : STAT_HEADER_BYTES);
	struct h2_stream *st = h2_conn_stream(c, f->hd.stream_id);
	if (st)
		st->excess = true;
	/* Beyond the limit nothing more is stored; what was read so far is kept: the answer needs authority, path and content-type. */
	struct fields *kept = c->block;
	c->block = NULL;
	if (st && !st->kept && !st->head_in)
		st->kept = kept;
	else
		fields_unref(&kept);
	return 0;
}

static const char *too_large = "the header list is larger than limits.header_bytes or limits.field_count";

/* What was found good once is good again; and only what is good is learned. */
static const char *frames_check(struct h2_conn *c, const struct fields *list, enum fields_kind kind)
{
	if (c->canned && c->canned->kind == kind)
		return NULL;
	const char *wrong = fields_check(list, kind);
	if (!wrong)
		h2_memo_learn(c, list, kind);
	return wrong;
}

static void frames_request(struct h2_conn *c, struct h2_stream *st, bool fin)
{
	struct fields *head = c->block;
	c->block = NULL;
	if (st->excess) {
		head = st->kept;
		st->kept = NULL;
	}
	st->head_in = true;
	st->fin_in = fin;
	if (st->refused_by_us || !head) {
		fields_unref(&head);
		st->silent = true;
		st->ended = true;
		st->local_reset = true;
		h2_conn_note_reset(c, st->id);
		h2_conn_rst(c, st->id, H2_REFUSED_STREAM);
		return;
	}
	const char *wrong = c->block_wrong ? c->block_wrong : st->excess ? NULL : frames_check(c, head, FIELDS_REQUEST);
	if (!wrong) {
		st->content_length = fields_content_length(head);
		if (st->content_length > 0 && fin)
			wrong = "content-length announces a body, END_STREAM says there is none";
	}
	if (wrong) {
		frames_premature(c);
		h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, wrong);
		fields_unref(&head);
		return;
	}
	st->head_held = head->size;
	c->heads_held += head->size;
	c->server->on_request(c->owner, &st->s, head, fin, st->excess ? too_large : NULL);
	fields_unref(&head);
	if (c->heads_held > c->lim->header_budget) {
		stat_inc(&c->loop->stats, STAT_HEADER_BUDGET);
		h2_conn_pause(c, 0);
	}
}

static void frames_response(struct h2_conn *c, struct h2_stream *st, bool fin)
{
	struct fields *head = c->block;
	c->block = NULL;
	if (st->excess || !head) {
		fields_unref(&head);
		st->fin_in = fin;
		h2_stream_fail(st, H2_CANCEL, END_LIMIT, too_large);
		return;
	}
	const char *wrong = c->block_wrong ? c->block_wrong : frames_check(c, head, FIELDS_RESPONSE);
	struct str status = fields_value(head, FIELD_STATUS);
	if (!wrong && status.n == 3 && status.p[0] == '1') { /* informational: swallowed; 101 does not exist in HTTP/2 (RFC 9113 8.6) */
		if (fin || str_is(status, "101")) {
			wrong = "an informational answer that ends the stream";
		} else {
			stat_inc(&c->loop->stats, STAT_H2_INFORMATIONAL);
			fields_unref(&head);
			if (++st->informational > H2_INFORMATIONAL_MAX)
				h2_stream_fail(st, H2_ENHANCE_YOUR_CALM, END_LIMIT, "informational answers without end");
			return;
		}
	}
	/* Of an answer without a body content-length tells what a GET would have brought (RFC 9110 8.6). */
	if (!wrong && !st->asked_head && !str_is(status, "304") && (st->content_length = fields_content_length(head)) > 0 && fin)
		wrong = "content-length announces a body, END_STREAM says there is none";
	if (wrong) {
		fields_unref(&head);
		st->fin_in = fin;
		h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, wrong);
		return;
	}
	st->head_in = true;
	st->fin_in = fin;
	if (fin)
		st->told_fin = true;
	st->s.ev->on_head(st->s.user, head, fin);
	fields_unref(&head);
}

static void frames_trailers(struct h2_conn *c, struct h2_stream *st, bool fin)
{
	struct fields *t = c->block;
	c->block = NULL;
	st->fin_in = fin;
	const char *wrong = NULL;
	if (st->excess || !t) {
		fields_unref(&t);
		h2_stream_fail(st, conn_is_server(c) ? H2_ENHANCE_YOUR_CALM : H2_CANCEL, END_LIMIT, too_large);
		return;
	}
	if (!fin)
		wrong = "trailers that do not end the stream, or a second head";
	else
		wrong = c->block_wrong ? c->block_wrong : frames_check(c, t, FIELDS_TRAILERS);
	if (!wrong && st->content_length >= 0 && (uint64_t)st->content_length != st->received)
		wrong = "the body is not as long as content-length says";
	if (wrong) {
		frames_premature(c);
		h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, wrong);
	} else {
		h2_stream_deliver(st, false);
		if (!st->silent && !st->ended && !st->told_fin) {
			st->told_fin = true;
			st->s.ev->on_trailers(st->s.user, t);
		}
	}
	fields_unref(&t);
}

/* The peer has said all it has to say on a client-role stream: whatever we still had to send, it does not want. */
static void frames_response_done(struct h2_conn *c, struct h2_stream *st)
{
	if (st->ended || st->silent || st->fin_out)
		return;
	h2_stream_end(st, END_DONE, 0, NULL);
	if (!st->local_reset) {
		st->local_reset = true;
		h2_conn_rst(c, st->id, H2_NO_ERROR);
		h2_conn_mark(c);
	}
}

static void frames_headers(struct h2_conn *c, struct h2_stream *st, const nghttp2_frame *f)
{
	bool fin = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
	if (st->silent || st->local_reset || st->ended) {
		st->fin_in |= fin;
		fields_unref(&c->block);
		return;
	}
	if (c->block && c->partial == st)
		h2_stream_deliver(st, false);
	if (st->head_in)
		frames_trailers(c, st, fin);
	else if (conn_is_server(c))
		frames_request(c, st, fin);
	else
		frames_response(c, st, fin);
	if (fin && c->client)
		frames_response_done(c, st);
}

/* Is that all that the peer may send on this stream for now? nghttp2 is only asked where it can be. */
static void frames_window(struct h2_conn *c, struct h2_stream *st)
{
	if (st->window_shut || (st->held < st->window / 2 && st->held < 32768))
		return;
	if (nghttp2_session_get_stream_effective_recv_data_length(c->session, st->id) < nghttp2_session_get_stream_effective_local_window_size(c->session, st->id))
		return;
	st->window_shut = true;
	stat_inc(&c->loop->stats, c->client ? STAT_WINDOW_UP : STAT_WINDOW_DOWN);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	struct h2_stream *st = h2_conn_stream(c, id);
	/* The connection's window goes back at receipt (conn_give_window), so that a dead stream leaks nothing. */
	c->owed += n;
	if (!st || st->silent || st->local_reset || st->ended)
		return 0;
	st->received += n;
	if (!st->head_in || (st->content_length >= 0 && st->received > (uint64_t)st->content_length)) {
		frames_premature(c);
		h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, st->head_in ? "more body than content-length says" : "a body before the head");
		return 0;
	}
	if (c->partial && c->partial != st) {
		struct h2_stream *other = c->partial;
		c->partial = NULL;
		h2_stream_deliver(other, false);
	}
	c->partial = st;
	st->held += n;
	c->held += n;
	chain_add(&st->in, c->reading, (const char *)data, n);
	if (!(flags & NGHTTP2_FLAG_END_STREAM))
		frames_window(c, st);
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct h2_conn *c = user;
	struct h2_stream *st;
	switch (f->hd.type) {
	case NGHTTP2_DATA:
		if (f->data.padlen && f->hd.length > f->data.padlen)
			c->empty_run = 0;
		else if (f->data.padlen && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM) && ++c->empty_run > c->lim->empty_frames)
			h2_conn_fatal(c, H2_ENHANCE_YOUR_CALM, STAT_EMPTY_FRAMES);
		st = h2_conn_stream(c, f->hd.stream_id);
		if (!st)
			break;
		if (c->partial == st)
			chain_seal(&st->in);
		if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
			if (c->partial == st && st->in.bytes > 65536) { /* several frames of one stream in one read go up together, within reason */
				c->partial = NULL;
				h2_stream_deliver(st, false);
			}
			break;
		}
		st->fin_in = true;
		if (c->partial == st)
			c->partial = NULL;
		if (st->silent || st->local_reset || st->ended)
			break;
		if (st->content_length >= 0 && (uint64_t)st->content_length != st->received) {
			frames_premature(c);
			h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, "the body is shorter than content-length says");
			break;
		}
		if (!st->head_in) {
			h2_stream_fail(st, H2_PROTOCOL_ERROR, END_MALFORMED, "a body before the head");
			break;
		}
		h2_stream_deliver(st, true);
		if (c->client)
			frames_response_done(c, st);
		break;
	case NGHTTP2_HEADERS:
		c->in_block = false;
		st = h2_conn_stream(c, f->hd.stream_id);
		if (st)
			frames_headers(c, st, f);
		else
			fields_unref(&c->block);
		break;
	case NGHTTP2_RST_STREAM:
		stat_inc(&c->loop->stats, STAT_H2_RESETS_IN);
		st = h2_conn_stream(c, f->hd.stream_id);
		if (st) {
			st->peer_reset = true;
			st->peer_code = f->rst_stream.error_code;
			if (conn_is_server(c) && (!st->head_out || c->loop->now_ns - st->begun_ns < 1000000000ull))
				frames_premature(c);
		}
		break;
	case NGHTTP2_SETTINGS:
		if (f->hd.flags & NGHTTP2_FLAG_ACK)
			break;
		c->got_settings = true;
		if (c->client) {
			if (!c->up) {
				c->up = true;
				c->client->on_up(c->owner);
			}
			c->room_due = true;
		}
		break;
	case NGHTTP2_PING:
		if (f->hd.flags & NGHTTP2_FLAG_ACK) {
			if (c->ping_fn) {
				void (*fn)(void *, bool) = c->ping_fn;
				c->ping_fn = NULL;
				fn(c->ping_user, true);
			}
			if (c->notice_sent && c->draining && !c->notice_acked) {
				/* gRPC's core writes the ACK in front of calls that were begun before it had read our notice: they come behind it, in this write or the next one. So once more. */
				c->notice_acked = true;
				nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, f->ping.opaque_data);
			} else if (c->notice_sent && c->draining) { /* second phase: what was sent before our notice has arrived by now */
				h2_conn_tell_last(c);
			}
		}
		break;
	case NGHTTP2_GOAWAY:
		stat_inc(&c->loop->stats, STAT_H2_GOAWAY_IN);
		c->goaway_in = true;
		break;
	default:
		break;
	}
	return 0;
}

static void frames_packing(struct h2_conn *c, struct fields **moved, uint32_t known, uint64_t mark)
{
	fields_unref(&c->shared->packing);
	c->shared->packing = *moved;
	c->shared->packing_known = known;
	c->shared->packing_mark = mark;
	*moved = NULL;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	struct h2_stream *st;
	switch (f->hd.type) {
	case NGHTTP2_HEADERS:
		st = h2_conn_stream(c, f->hd.stream_id);
		if (!st)
			break;
		if (!st->head_end) {
			st->head_end = UINT64_MAX; /* known when its bytes are packed: nghttp2 tells before it hands them out */
			c->shared->head_packed = st;
			frames_packing(c, &st->out_head, st->known_head, st->mark_head);
		} else {
			frames_packing(c, &st->out_trailers, st->known_trailers, st->mark_trailers);
		}
		/* fall through */
	case NGHTTP2_DATA:
		if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
			break;
		st = h2_conn_stream(c, f->hd.stream_id);
		if (!st)
			break;
		st->fin_out = true;
		if (conn_is_server(c) && !st->silent && !st->ended) { /* it ends when the kernel has taken this */
			st->flush_due = true;
			if (f->hd.type == NGHTTP2_HEADERS)
				c->shared->last_packed = st; /* as head_packed */
			else
				c->shared->marks[c->shared->nmarks++] = (struct h2_mark){st, 0, c->out_packed};
		}
		if (conn_is_server(c) && !st->fin_in && !st->local_reset) { /* the whole answer is out, the rest of the request is not wanted (RFC 9113 8.1) */
			st->local_reset = true;
			h2_conn_note_reset(c, st->id);
			h2_conn_rst(c, st->id, H2_NO_ERROR);
		}
		break;
	case NGHTTP2_RST_STREAM:
		if (conn_is_server(c) && f->rst_stream.error_code != H2_NO_ERROR && f->rst_stream.error_code != H2_CANCEL &&
		    f->rst_stream.error_code != H2_REFUSED_STREAM) {
			st = h2_conn_stream(c, f->hd.stream_id);
			if (st && !st->local_reset)
				frames_premature(c); /* nghttp2's own answer to a peer's fault */
		}
		break;
	case NGHTTP2_GOAWAY:
		if (f->goaway.error_code != H2_NO_ERROR) {
			stat_inc(&c->loop->stats, STAT_H2_GOAWAY_OUT);
			if (!c->told_goaway && f->goaway.error_code != H2_ENHANCE_YOUR_CALM)
				stat_inc(&c->loop->stats, STAT_H2_PROTOCOL_ERRORS);
		}
		break;
	default:
		break;
	}
	return 0;
}

/* The cause of an end, from what both sides did (RFC 9113 5.4.2, 6.8). */
static void frames_closed(struct h2_conn *c, struct h2_stream *st, uint32_t code)
{
	bool sent = st->head_end && st->head_end <= c->out_written;
	if (st->peer_reset) {
		if (st->peer_code == H2_NO_ERROR && c->client && st->head_in && st->fin_in) {
			c->answered = true;
			h2_stream_end(st, END_DONE, 0, NULL);
		} else {
			h2_stream_end(st, st->peer_code == H2_REFUSED_STREAM ? END_REFUSED : END_RESET, st->peer_code, NULL);
		}
	} else if (st->fin_in && st->fin_out && code == H2_NO_ERROR) {
		c->answered = true;
		h2_stream_end(st, END_DONE, 0, NULL);
	} else if (c->client && (!st->head_end || (c->goaway_in && code == H2_REFUSED_STREAM))) {
		h2_stream_end(st, END_UNPROCESSED, code, "the provider's GOAWAY leaves it unprocessed");
	} else if (c->finished) {
		h2_stream_end(st, sent ? END_LOST : END_UNPROCESSED, code, NULL);
	} else {
		/* reset by nghttp2 for a fault of the peer */
		if (!st->ended)
			stat_inc(&c->loop->stats, STAT_H2_STREAM_ERRORS);
		h2_stream_end(st, END_MALFORMED, code, "the peer broke a rule of HTTP/2 on this stream");
	}
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	struct h2_stream *st = h2_conn_stream(c, id);
	if (c->in_block && c->block_id == id) /* its end will not be told */
		c->block_taken = c->in_block = false;
	if (!st)
		return 0;
	if (!chain_empty(&st->in))
		h2_stream_deliver(st, false);
	c->nstreams--;
	c->uncounted -= st->uncounted;
	st->uncounted = false;
	c->room_due = true;
	if (st->flush_due && !st->ended && !st->silent && code == H2_NO_ERROR) { /* h2_stream_flushed comes, or conn_finish */
		st->detached = true;
		c->hot = NULL;
		return 0;
	}
	if (!st->ended)
		frames_closed(c, st, code);
	if (conn_is_server(c) && !st->fin_in && !st->peer_reset && !st->local_reset)
		h2_conn_note_reset(c, id); /* nghttp2 reset it: what the peer has on its way is no second fault */
	h2_stream_gone(st);
	return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *f, int err, void *user)
{
	(void)session, (void)err;
	if (f->hd.type == NGHTTP2_HEADERS) /* whether it was encoded we cannot know */
		h2_said_forget(user);
	return 0; /* a request that could not be sent is closed by nghttp2: on_stream_close tells */
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *f, int err, void *user)
{
	struct h2_conn *c = user;
	(void)session, (void)err;
	/* grpc-go says goodbye with the last of its own streams where RFC 9113 6.8 wants the last of ours. It goes anyway: no answer, no error counted. */
	if (f->hd.type == NGHTTP2_GOAWAY && conn_is_server(c) && (f->goaway.last_stream_id & 1))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	frames_premature(c);
	return 0;
}

void h2_frames_deliver(struct h2_conn *c)
{
	struct h2_stream *st = c->partial;
	c->partial = NULL;
	if (st && !chain_empty(&st->in))
		h2_stream_deliver(st, false);
}

void h2_frames_install(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_pack_data);
}
