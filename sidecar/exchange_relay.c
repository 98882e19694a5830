/* sidecar/exchange_relay: 7 RELAY, both sides: what goes up as it comes, what comes down as it goes, the credit of each for the bytes that the other has taken; and what is kept of a request
 * while another attempt may need it (sidecar/exchange_again). */
#include "sidecar/answer.h"
#include "sidecar/attempt.h"
#include "sidecar/exchange_int.h"
#include "sidecar/xfcc.h"

/* ---- the app's side ---- */

/* An earlier attempt got a part of the body, the next one has not begun: `held` alone is not the whole. */
static bool exchange_owes_replay(const struct exchange *x)
{
	return x->replay_n > x->held.bytes && !(x->attempt && x->attempt->up);
}

static void exchange_forget_replay(struct exchange *x)
{
	stat_inc(&x->sc->loop->stats, STAT_REPLAY_OVERFLOW);
	chain_clear(&x->replay);
	x->replayable = false;
}

void exchange_replayed(struct exchange *x)
{
	if (x->replayable && x->replay_n > x->sc->limits.replay_bytes)
		exchange_forget_replay(x);
}

/* Keeps what was sent while another attempt may need it: a small first DATA frame in the exchange itself, the rest as shares. */
static void exchange_keep(struct exchange *x, const struct chain *data)
{
	if (!x->replayable)
		return;
	struct sidecar *sc = x->sc;
	/* Between two attempts the next one needs all of it, however much: at most the app's window more, for it gets no credit meanwhile. */
	if (x->replay_n + data->bytes > sc->limits.replay_bytes && !exchange_owes_replay(x)) {
		exchange_forget_replay(x);
		return;
	}
	size_t in = 0;
	if (!x->inline_over) {
		bool sealed;
		size_t room = REPLAY_INLINE - x->inline_n;
		in = chain_piece(data, room + 1, &sealed);
		x->inline_sealed = sealed && in <= room;
		if (in > room)
			in = room;
		chain_peek(data, 0, x->replay_inline + x->inline_n, in);
		x->inline_n += (uint16_t)in;
		x->inline_over = x->inline_sealed || x->inline_n == REPLAY_INLINE;
	}
	x->replay_n += (uint32_t)data->bytes;
	if (in == data->bytes)
		return;
	x->inline_over = true;
	struct chain rest = CHAIN_INIT;
	chain_share(&rest, data);
	chain_drop(&rest, in);
	if (chain_settle(&rest, &sc->loop->bufs, &sc->loop->memory) != 0) {
		chain_clear(&rest);
		if (exchange_owes_replay(x)) {
			exchange_fail(x, FAULT_MEMORY, NULL);
			return;
		}
		chain_clear(&x->replay);
		x->replayable = false;
		return;
	}
	chain_move(&x->replay, &rest);
}

static void down_data(void *user, struct chain *data, bool fin)
{
	struct exchange *x = user;
	size_t n = data->bytes;
	x->received += n;
	if (fin) {
		x->fin_in = true;
		exchange_asked(x);
	}
	if (x->done_down || x->over)
		return; /* dropped and credited by the stream */
	if (n)
		exchange_keep(x, data);
	if (x->done_down || x->over)
		return;
	if (x->attempt && x->attempt->up) {
		stream_send_data(x->attempt->up, data, fin);
		return;
	}
	if (n && chain_settle(data, &x->sc->loop->bufs, &x->sc->loop->memory) != 0) {
		exchange_fail(x, FAULT_MEMORY, NULL);
		return;
	}
	chain_move(&x->held, data);
	if (x->parked && !exchange_park_bytes(x, n))
		exchange_fail(x, FAULT_PARK_FULL, NULL);
}

static void down_trailers(void *user, struct fields *trailers)
{
	struct exchange *x = user;
	x->fin_in = true;
	exchange_asked(x);
	if (x->done_down || x->over)
		return;
	if (x->inbound)
		xfcc_remove(trailers);
	fields_unref(&x->request_trailers);
	x->request_trailers = fields_ref(trailers);
	if (x->attempt && x->attempt->up)
		stream_send_trailers(x->attempt->up, trailers);
}

static void down_sent(void *user, size_t n)
{
	struct exchange *x = user;
	if (x->attempt && x->attempt->up)
		stream_credit(x->attempt->up, n);
}

static void down_end(void *user, const struct stream_end *end)
{
	struct exchange *x = user;
	if (end->cause != END_DONE && x->attempt && x->attempt->up)
		stream_keep_place(x->down, x->attempt->up);
	x->down = NULL;
	if (end->cause != END_DONE && !x->done_down) {
		exchange_flag(x, end->cause == END_LOST ? "DC" : end->cause == END_RESET ? "DR" : end->cause == END_MALFORMED ? "DPE" : "DC");
		x->why = end->detail;
	} else if (end->cause == END_DONE && !x->done_down && !x->fault) {
		/* the request ended while its answer did not: cannot be */
		x->why = "the down end was done early";
	}
	exchange_finish(x);
}

const struct stream_events exchange_down_events = {.on_data = down_data, .on_trailers = down_trailers, .on_sent = down_sent, .on_end = down_end};

/* ---- the provider's side ---- */

void exchange_sent_up(struct exchange *x, size_t n, uint64_t attempt_sent)
{
	(void)n;
	if (attempt_sent <= x->credited)
		return; /* a replay: the app's window was given back when it went the first time */
	size_t more = (size_t)(attempt_sent - x->credited);
	x->credited = attempt_sent;
	x->sent_up = attempt_sent;
	if (x->down)
		stream_credit(x->down, more);
}

static int status_of(struct str s)
{
	uint64_t v;
	return str_u64(s, &v) && v <= 999 ? (int)v : -1;
}

static void exchange_note_time(struct exchange *x)
{
	if (x->sampled)
		x->up_last_ns = x->sc->loop->ops->now_ns(x->sc->loop->ops_ctx);
}

void exchange_answer_head(struct exchange *x, struct fields *head, bool fin)
{
	if (x->done_down || !x->down)
		return;
	exchange_note_time(x);
	if (retry_wants_answer(&x->retry, head, fin, x->is_grpc) && exchange_has_whole_body(x) && x->cluster) {
		if (x->tried.count < TRIED_MAX)
			x->tried.host[x->tried.count++] = x->attempt->host;
		if (exchange_retry(x)) {
			attempt_end(&x->attempt, HOST_ERROR);
			return;
		}
		exchange_flag(x, "URX");
	}
	x->answering = true;
	x->fault = FAULT_NONE;
	x->why = NULL;
	exchange_drop_body(x);
	x->http_status = status_of(fields_value(head, FIELD_STATUS));
	const struct field *e = fields_get(head, FIELD_GRPC_STATUS);
	if (e)
		x->grpc_status = grpc_status_parse(str_n(e->value, e->value_len));
	if (fields_get(head, FIELD_TRI_EXCEPTION_CODE))
		x->tri_exception = true;
	if (head->flags_seen & FF_STRIP_DOWN) /* hop-by-hop between us and the provider (promise 9) */
		fields_each(f, head)
			if (f->flags & FF_STRIP_DOWN)
				fields_del_field(head, f);
	answer_mark(x, head);
	if (x->health && x->http_status == 503)
		exchange_flag(x, "LH");
	x->head_down = true;
	if (fin)
		x->done_down = true;
	if (stream_send_head(x->down, head, fin) != 0)
		exchange_drop_down(x);
}

void exchange_answer_data(struct exchange *x, struct chain *data, bool fin)
{
	if (!x->down || x->done_down)
		return;
	if (fin) {
		exchange_note_time(x);
		x->done_down = true;
	}
	x->answered += data->bytes;
	stream_send_data(x->down, data, fin);
}

void exchange_answer_trailers(struct exchange *x, struct fields *trailers)
{
	if (!x->down || x->done_down)
		return;
	exchange_note_time(x);
	const struct field *e = fields_get(trailers, FIELD_GRPC_STATUS);
	if (e)
		x->grpc_status = grpc_status_parse(str_n(e->value, e->value_len));
	fields_each(f, trailers) /* promise 9, here too: `closing` is an attachment, and those come in trailers as well */
		if (f->flags & FF_STRIP_DOWN)
			fields_del_field(trailers, f);
	x->done_down = true;
	if (stream_send_trailers(x->down, trailers) != 0)
		exchange_drop_down(x);
}
