/* sidecar/exchange: a call's way. Read this first.
 *
 *   app (thin SDK)                        thinmesh                                  provider
 *  connect ----->| uds_listener -> uds_client -> h2_conn (server role)             |
 *  HEADERS ----->|   h2_stream begins = the DOWN end (struct stream)               |
 *                |   exchange_start          one down end, 1..N attempts           |
 *                |   1 LOCAL?   local_find(method, path) ---> a local stream       |
 *                |   2 NAME     names_find: authority -> mesh_name                 |
 *                |   3 WANT     not answered yet: parked, holds no table           |
 *                |   4 ROUTE    route_match -> action ; its cluster                |
 *                |   5 PICK     cluster_pick(cluster, hash, tried) -> host         |
 *                |   6 OPEN     attempt_start: host_open -> UP end, or pending     |
 *                |   7 RELAY    up.send_head(fields, fin) ---- h2_conn (client) -->| HEADERS
 *  DATA   ------>|     down.on_data -> replay keeps a share -> up.send_data ------>| DATA
 *  WINDOW <------|     down.credit(n)  only after up.on_sent(n)                    |
 *  HEADERS<------|     up.on_head  -> verdict? (refused: again from 5) -> relay <--| HEADERS
 *  DATA   <------|     up.on_data  -> down.send_data ; up.credit after down sent <-| DATA
 *  TRAILERS<-----|     up.on_trailers (grpc-status) -> stats, retry             <--| TRAILERS
 *                |   8 FINISH   host_done(result), access line, into the morgue    |
 *
 * After OPEN the exchange holds the route's action, not the table. States are the fields answering (the provider's answer has begun: no more
 * moves), head_down (a head went to the app), done_down (an end went to the app), over (finished, in the morgue). */
#include "sidecar/exchange.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/access.h"
#include "sidecar/allow.h"
#include "sidecar/answer.h"
#include "sidecar/attempt.h"
#include "sidecar/deadline.h"
#include "sidecar/drain.h"
#include "sidecar/grpc_health.h"
#include "sidecar/health_door.h"
#include "sidecar/inbound.h"
#include "sidecar/sidecar.h"
#include "sidecar/xfcc.h"

enum { MOVES_MAX = 8, QUESTIONS_MAX = 1024 };
#define HOLD_NS UINT64_C(50000000)
/* An app's own server that is not there may be starting again: a call that came in for it waits so long. The pool paces the dials. */
#define SERVER_WAIT_NS UINT64_C(1000000000)

/* Of a call that waited for its name: where it came in (the door may be gone by then), and why it failed in words of the name's source. */
struct parking {
	char *default_authority;
	char why[160];
};

static void exchange_pick(struct exchange *x);
static void exchange_name(struct exchange *x, const char *default_authority);
static void exchange_pick_for(struct exchange *x, bool retry);

/* ---- the end ---- */

static void exchange_bury(struct grave *g)
{
	struct exchange *x = container_of(g, struct exchange, grave);
	struct sidecar *sc = x->sc;
	if (--sc->nexchanges == 0)
		drain_emptied(sc);
	free(x->why_own);
	pool_mem_put(&sc->exchanges, x);
}

static void exchange_unpark(struct exchange *x)
{
	if (!x->parked)
		return;
	x->parked = false;
	x->sc->parked--;
	x->app->parked--;
	x->sc->parked_bytes -= x->parked_bytes;
	x->app->parked_bytes -= x->parked_bytes;
	x->parked_bytes = 0;
	stat_dec(&x->sc->loop->stats, STAT_PARKED);
	cluster_unwait(&x->wait);
	mesh_unwatch(&x->watch);
}

static void parking_free(struct parking **p)
{
	if (!*p)
		return;
	free((*p)->default_authority);
	free(*p);
	*p = NULL;
}

static void exchange_drop_body(struct exchange *x)
{
	chain_clear(&x->held);
	chain_clear(&x->replay);
	x->replayable = false;
}

/* Its request has ended, or it has. */
static void exchange_asked(struct exchange *x)
{
	if (!list_linked(&x->question))
		return;
	list_del(&x->question);
	x->app->nquestions--;
}

/* The down end is gone (ended, or reset by us) and nothing is owed to anybody: the last step. */
static void exchange_finish(struct exchange *x)
{
	if (x->over)
		return;
	x->over = true;
	struct sidecar *sc = x->sc;
	struct loop *l = sc->loop;
	exchange_unpark(x);
	if (x->deadline_ns)
		timer_cancel(l, &x->deadline);
	if (x->waited)
		timer_cancel(l, &x->backoff);
	attempt_end(&x->attempt, HOST_NEUTRAL);
	exchange_drop_body(x);
	if (x->sampled && x->up_open_ns && x->up_last_ns >= x->up_open_ns) {
		uint64_t all = l->ops->now_ns(l->ops_ctx) - x->begun_ns, there = x->up_last_ns - x->up_open_ns;
		hist_add(&sc->added, all > there ? all - there : 0);
	}
	if (access_on(sc->access))
		access_line(sc->access, x);
	if (x->app)
		stat_dec(&l->stats, STAT_CALLS_ACTIVE);
	parking_free(&x->parking);
	fields_unref(&x->head);
	fields_unref(&x->request_trailers);
	route_action_unref(&x->action);
	cluster_release(&x->cluster);
	list_del(&x->node);
	exchange_asked(x);
	if (x->in_flight)
		life_inbound(x->app->life, -1);
	if (x->app) {
		x->app->calls--;
		if (x->app->removed && x->app->calls == 0)
			loop_defer(l, &x->app->end_task, x->app->end_task.fn);
	}
	loop_bury(l, &x->grave, exchange_bury);
}

/* No memory even for the answer: a reset is all that the app can be told. */
static void exchange_drop_down(struct exchange *x)
{
	struct stream *down = x->down;
	x->down = NULL;
	stream_reset(down, H2_INTERNAL_ERROR);
	exchange_finish(x);
}

/* ---- answers of our own ---- */

static void exchange_flag(struct exchange *x, const char *flag)
{
	snprintf(x->flag, sizeof x->flag, "%s", flag);
}

const char *exchange_why(struct exchange *x, const char *why)
{
	char *own = why ? xstrdup(why) : NULL; /* first: it may be the old one */

	free(x->why_own);
	x->why_own = own;
	return own;
}

void exchange_fail(struct exchange *x, enum fault f, const char *why)
{
	if (x->over || x->done_down)
		return;
	struct sidecar *sc = x->sc;
	exchange_asked(x);
	x->fault = f;
	x->why = why;
	exchange_flag(x, fault_row(f)->flag);
	stat_inc(&sc->loop->stats, STAT_CALLS_FAILED);
	if (f == FAULT_DEADLINE)
		stat_inc(&sc->loop->stats, STAT_DEADLINE);
	exchange_unpark(x);
	timer_cancel(sc->loop, &x->backoff);
	attempt_end(&x->attempt, f == FAULT_DEADLINE ? HOST_ERROR : HOST_NEUTRAL);
	exchange_drop_body(x);
	if (!x->down) {
		exchange_finish(x);
		return;
	}
	x->done_down = true;
	if (log_on(sc->log, LOG_DEBUG)) {
		struct str a = fields_value(x->head, FIELD_AUTHORITY), p = fields_value(x->head, FIELD_PATH);
		log_debug(sc->log, "call '%.*s%.*s': %s %s%s%s", (int)a.n, a.p, (int)p.n, p.p, fault_row(f)->flag, fault_row(f)->text, why ? ": " : "", why ? why : "");
	}
	bool begun = x->head_down;
	x->head_down = true;
	if ((begun ? answer_break_off(x, f, why) : answer_fault(x, f, why)) != 0)
		exchange_drop_down(x);
}

void exchange_shut(struct exchange *x, enum fault f)
{
	exchange_fail(x, f, NULL);
}

/* ---- again? (promise 6, and policy) ---- */

static void exchange_backoff_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, backoff);
	exchange_pick_for(x, true);
}

static bool exchange_has_whole_body(const struct exchange *x)
{
	return x->replayable || x->received == x->held.bytes;
}

/* For a while after a thaw nobody knows who is still there, and what is new is on its way: a call that nobody has begun goes on until it finds somebody. It takes nothing from the
 * budget, which is there to spare providers that are many times asked, and here nobody is asked. */
static bool exchange_is_settling(const struct exchange *x)
{
	const struct sidecar *sc = x->sc;
	return __builtin_expect(freeze_is_settling(sc), 0) && !x->inbound && !x->answering && exchange_has_whole_body(x) && sc->loop->now_ns < x->begun_ns + sc->conf->park.time_ns;
}

static bool exchange_hold(struct exchange *x)
{
	struct loop *l = x->sc->loop;
	if (!exchange_is_settling(x))
		return false;
	stat_inc(&l->stats, STAT_THAW_HELD);
	x->tried.count = 0;
	x->waited = true;
	timer_in(l, &x->backoff, HOLD_NS / 2 + loop_random_below(l, HOLD_NS), exchange_backoff_over);
	return true;
}

/* May what was not processed go out once more (promise 6)? What came in for the app has nobody else to go to: it waits for the app's server to be there (again), and a server that refuses
 * streams is not asked the same again at once. */
static bool exchange_may_move(struct exchange *x, enum stream_cause cause)
{
	if (x->moves >= MOVES_MAX || !exchange_has_whole_body(x))
		return false;
	if (x->inbound && cause == END_CONNECT) /* one dial serves all who wait: no budget is needed */
		return x->sc->loop->now_ns < x->begun_ns + SERVER_WAIT_NS;
	if (exchange_is_settling(x))
		return true;
	return !(x->inbound && cause == END_REFUSED) && cluster_retry_take(x->cluster);
}

/* False: no retry; the caller tells the failure. */
static bool exchange_retry(struct exchange *x)
{
	if (!exchange_has_whole_body(x) || x->answering || !cluster_retry_take(x->cluster))
		return false;
	stat_inc(&x->sc->loop->stats, STAT_RETRIES);
	x->waited = true;
	timer_in(x->sc->loop, &x->backoff, retry_backoff_ns(&x->retry, x->sc->loop), exchange_backoff_over);
	return true;
}

void exchange_attempt_failed(struct exchange *x, enum fault f, const char *why, bool unprocessed, enum stream_cause cause)
{
	if (x->over || x->done_down)
		return;
	if (x->inbound && f == FAULT_CONNECT)
		f = FAULT_APP_SERVER;
	if (!x->answering && x->cluster) {
		if (unprocessed && f != FAULT_OVERFLOW && exchange_may_move(x, cause)) {
			if (x->inbound)
				x->tried.count = 0;
			x->moves++;
			x->fault = f;
			x->why = why;
			stat_inc(&x->sc->loop->stats, STAT_MOVED);
			exchange_pick(x);
			return;
		}
		if (unprocessed && f != FAULT_OVERFLOW && exchange_hold(x)) {
			x->fault = f;
			x->why = why;
			return;
		}
		if (retry_wants_end(&x->retry, cause) && exchange_retry(x))
			return;
	}
	exchange_fail(x, f, why);
}

/* Its timers were moved with all others; begun in the very turn that saw the thaw, it has lost nothing. */
void exchange_thaw(struct exchange *x, uint64_t stood_ns)
{
	if (x->begun_ns + stood_ns > x->sc->loop->now_ns)
		return;
	x->begun_ns += stood_ns;
	if (x->deadline_ns)
		x->deadline_ns += stood_ns;
	if (x->up_open_ns) {
		x->up_open_ns += stood_ns;
		x->up_last_ns += x->up_last_ns ? stood_ns : 0;
	}
}

/* ---- 5 PICK, 6 OPEN ---- */

static void wait_over(struct cluster_wait *w)
{
	struct exchange *x = container_of(w, struct exchange, wait);
	exchange_unpark(x);
	exchange_pick(x);
}

/* Why the name's source has not answered, or what it answered: its text may change, the call's does not. */
static const char *exchange_reason(struct exchange *x, const struct mesh_name *n)
{
	if (!n->source && !n->why)
		return NULL;
	if (!x->parking)
		x->parking = xnew(struct parking);
	snprintf(x->parking->why, sizeof x->parking->why, "%s%s%s", n->source ? n->source : "", n->source && n->why ? ": " : "", n->why ? n->why : "");
	return x->parking->why;
}

static void park_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, backoff);
	stat_inc(&x->sc->loop->stats, STAT_PARK_TIMEOUT);
	exchange_fail(x, FAULT_PARK_TIME, x->watch.name ? exchange_reason(x, x->watch.name) : NULL);
}

/* park.calls and park.bytes are an app's; all apps together have so many times as much. */
enum { PARK_APPS = 4 };

/* Counts n bytes more against park.bytes. False: they are too many. */
static bool exchange_park_bytes(struct exchange *x, size_t n)
{
	struct sidecar *sc = x->sc;
	uint64_t most = sc->conf->park.bytes;
	if (x->app->parked_bytes + n > most || sc->parked_bytes + n > most * PARK_APPS) {
		stat_inc(&sc->loop->stats, STAT_PARK_LIMIT);
		return false;
	}
	sc->parked_bytes += n;
	x->app->parked_bytes += n;
	x->parked_bytes += (uint32_t)n;
	return true;
}

/* False: there is no place, and the call was answered so. The caller says what it waits for. */
static bool exchange_park(struct exchange *x)
{
	struct sidecar *sc = x->sc;
	uint64_t most = sc->conf->park.calls;
	if (x->app->parked >= most || sc->parked >= most * PARK_APPS) {
		stat_inc(&sc->loop->stats, STAT_PARK_LIMIT);
		exchange_fail(x, FAULT_PARK_FULL, NULL);
		return false;
	}
	if (!exchange_park_bytes(x, x->head->size + x->held.bytes)) {
		exchange_fail(x, FAULT_PARK_FULL, NULL);
		return false;
	}
	x->parked = true;
	sc->parked++;
	x->app->parked++;
	stat_inc(&sc->loop->stats, STAT_PARKED);
	if (!x->waited || !timer_armed(&x->backoff)) { /* one time for all that it waits for: its name, then its cluster's DNS */
		x->waited = true;
		timer_in(sc->loop, &x->backoff, sc->conf->park.time_ns, park_over);
	}
	return true;
}

/* A policy's retry may go to where the call has been, if there is nobody else; a call that was refused may not. */
static void exchange_pick_for(struct exchange *x, bool retry)
{
	struct host *host;
	const struct tried *tried = x->picked ? &x->tried : NULL; /* NULL: a call that is new to the cluster */
	x->picked = true;
	enum pick_result picked = cluster_pick(x->cluster, 0, tried, &host);
	if (picked != PICK_WAIT) /* the time for waiting runs on: it is one for all that is waited for */
		timer_cancel(x->sc->loop, &x->backoff);
	switch (picked) {
	case PICK_OK:
		attempt_start(x, host);
		return;
	case PICK_WAIT:
		if (exchange_park(x))
			cluster_wait(x->cluster, &x->wait, wait_over);
		return;
	case PICK_FULL:
		exchange_fail(x, FAULT_OVERFLOW, "the service's request limit is reached");
		return;
	case PICK_NONE:
		if (retry && x->tried.count) {
			x->tried.count = 0;
			exchange_pick(x);
			return;
		}
		if (exchange_hold(x))
			return;
		if (x->tried.count) { /* all of them refused: the last one's reason is what to tell */
			exchange_fail(x, x->fault ? x->fault : FAULT_CONNECT, x->why);
			return;
		}
		exchange_fail(x, FAULT_NO_HOST, "it has no endpoints");
		return;
	case PICK_UNHEALTHY:
		if (exchange_hold(x))
			return;
		exchange_fail(x, FAULT_NO_HOST, NULL);
		return;
	case PICK_UNUSABLE: /* never in plaintext what the mesh wants encrypted */
		exchange_fail(x, FAULT_UNUSABLE, exchange_why(x, cluster_unusable(x->cluster)));
		return;
	}
}

static void exchange_pick(struct exchange *x)
{
	exchange_pick_for(x, false);
}

/* ---- 7 RELAY: the app's side ---- */

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

static const struct stream_events down_events = {.on_data = down_data, .on_trailers = down_trailers, .on_sent = down_sent, .on_end = down_end};

/* ---- 7 RELAY: the provider's side ---- */

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

/* ---- 1 .. 4 ---- */

static void deadline_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, deadline);
	exchange_fail(x, FAULT_DEADLINE, NULL);
}

/* A head without :authority gets one: pseudo-headers come before all others (RFC 9113 8.3), so the list is made anew. False: no memory for it. */
static bool exchange_give_authority(struct exchange *x, struct str authority)
{
	struct fields *made = fields_new(x->sc->loop->fields, x->down->account);
	int rc = made ? fields_add_token(made, FIELD_AUTHORITY, authority) : -ENOMEM;
	if (rc == 0)
		fields_each(f, x->head)
			rc |= fields_add(made, str_n(f->name, f->name_len), str_n(f->value, f->value_len));
	if (rc != 0) {
		fields_unref(&made);
		return false;
	}
	fields_unref(&x->head);
	x->head = made;
	return true;
}

/* What the provider sees of the caller's head: our own headers are consumed, the authority is the normalised one. */
static bool exchange_dress(struct exchange *x, const struct name_hit *hit)
{
	struct fields *h = x->head;
	if ((h->flags_seen & FF_STRIP_UP) || fields_get(h, FIELD_EXPECT) || fields_get(h, FIELD_HOST))
		fields_each(f, h)
			if ((f->flags & FF_STRIP_UP) || f->token == FIELD_EXPECT || f->token == FIELD_HOST)
				fields_del_field(h, f);
	if (!fields_get(h, FIELD_AUTHORITY))
		return exchange_give_authority(x, str_of(hit->authority));
	if (hit->rewrite)
		fields_set(h, FIELD_AUTHORITY, str_of(hit->authority));
	return true;
}

/* What the app sees of a call that comes in: the authority as it is, and nothing that only a proxy in front of it may say: anybody may have written this head. */
static bool exchange_dress_inbound(struct exchange *x)
{
	if (!fields_get(x->head, FIELD_AUTHORITY)) {
		struct str host = fields_value(x->head, FIELD_HOST);
		if (!exchange_give_authority(x, host.n ? host : str_of(x->app->conf->name)))
			return false;
	}
	fields_each(f, x->head)
		if (f->token == FIELD_EXPECT || f->token == FIELD_HOST || str_starts(str_n(f->name, f->name_len), STR("x-envoy-")))
			fields_del_field(x->head, f);
	return xfcc_set(x->head, x->caller) == 0;
}

/* True: the soft limit of the memory is passed, and the call was answered so. Those outside come to theirs first: what they hold must not end the app's own calls. */
static bool exchange_is_too_much(struct exchange *x)
{
	struct sidecar *sc = x->sc;
	if (!account_above(&sc->loop->memory, x->inbound ? sc->memory_outside : sc->memory_soft))
		return false;
	stat_inc(&sc->loop->stats, STAT_MEMORY_SOFT);
	sidecar_memory_check(sc);
	exchange_fail(x, FAULT_MEMORY, NULL);
	return true;
}

static void exchange_forward(struct exchange *x, const struct exchange_door *door)
{
	if (!exchange_is_too_much(x))
		exchange_name(x, door->default_authority);
}

/* ---- 3 WANT ---- */

static void name_known(struct mesh_watch *w)
{
	struct exchange *x = container_of(w, struct exchange, watch);
	struct parking *p = x->parking;
	x->parking = NULL; /* it may wait again: for another spelling */
	exchange_unpark(x);
	exchange_name(x, p->default_authority);
	parking_free(&p);
}

/* The caller's own deadline holds while it waits; the route's comes with the route. */
static void exchange_want(struct exchange *x, struct mesh_name *name, const char *default_authority)
{
	struct loop *l = x->sc->loop;
	if (!x->deadline_ns && !deadline_read(x, x->head, 0)) {
		exchange_fail(x, FAULT_DEADLINE, "it was over on arrival");
		return;
	}
	if (!exchange_park(x))
		return;
	if (x->deadline_ns)
		timer_set(l, &x->deadline, x->deadline_ns, deadline_over);
	if (!x->parking)
		x->parking = xnew(struct parking);
	free(x->parking->default_authority);
	x->parking->default_authority = default_authority ? xstrdup(default_authority) : NULL;
	mesh_watch_name(name, &x->watch, name_known);
}

/* ---- 2 NAME, 4 ROUTE ---- */

/* The route answers by itself. No failure: it is what was configured. */
static void exchange_answer(struct exchange *x, int http, struct str body, const struct sb *location)
{
	struct str message = body;
	x->done_down = x->head_down = true;
	exchange_drop_body(x);
	if (!message.n && location)
		message = sb_view(location);
	if (answer_whole(x, http, grpc_from_http(http), message, body, "text/plain", location) != 0)
		exchange_drop_down(x);
}

/* Nothing here may look at the table behind its match: the action is what the call holds. */
static bool exchange_answers_itself(struct exchange *x, const struct route_action *a)
{
	struct sb location = {0};
	switch (a->kind) {
	case ROUTE_DIRECT:
		exchange_answer(x, a->direct.status, str_n(a->direct.body ? a->direct.body : "", a->direct.body ? a->direct.body_n : 0), NULL);
		return true;
	case ROUTE_REDIRECT:
		answer_location(x, a->redirect, &location);
		exchange_answer(x, a->redirect->status, STR(""), &location);
		sb_end(&location);
		return true;
	case ROUTE_UNSUPPORTED:
		exchange_fail(x, FAULT_UNSUPPORTED, a->unsupported);
		return true;
	default:
		return false;
	}
}

/* The route's own time, and the most that it grants to a caller's grpc-timeout (the caller's own is read with the deadline). 0: none. */
static uint64_t route_timeout(const struct route_action *a)
{
	uint64_t t = a->timeout_ns;
	if (a->grpc_timeout_heeded && a->grpc_timeout_max_ns && (!t || a->grpc_timeout_max_ns < t))
		t = a->grpc_timeout_max_ns;
	return t;
}

/* False: there is no such cluster, and the call was answered so. */
static bool exchange_holds(struct exchange *x, struct mesh_cluster *mc, const char *why)
{
	x->cluster = mc ? cluster_live(x->sc->clusters, mc) : NULL;
	if (!x->cluster) {
		exchange_fail(x, FAULT_NO_CLUSTER, why);
		return false;
	}
	cluster_hold(x->cluster);
	return true;
}

/* Its action and its cluster are there. hit: its name; NULL: it came in for the app. */
static void exchange_go(struct exchange *x, const struct name_hit *hit)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	struct route_action *action = x->action;
	if (x->client && x->down) /* and not before: who only gets a refusal from us (a curl with a wrong path) is not taken for the app */
		app_carries(x->app, x->client, h);
	retry_init(&x->retry, &action->retry, h, x->trusted);
	uint64_t timeout = x->retry.has_rq_timeout ? x->retry.rq_timeout_ns : route_timeout(action);
	if (!deadline_read(x, h, timeout)) {
		exchange_fail(x, FAULT_DEADLINE, "it was over on arrival");
		return;
	}
	if (!(hit ? exchange_dress(x, hit) : exchange_dress_inbound(x))) {
		exchange_fail(x, FAULT_MEMORY, NULL);
		return;
	}
	if (x->deadline_ns)
		timer_set(sc->loop, &x->deadline, x->deadline_ns, deadline_over);
	if (x->sampled)
		x->up_open_ns = sc->loop->ops->now_ns(sc->loop->ops_ctx);
	exchange_pick(x);
}

static void exchange_route(struct exchange *x, const struct name_hit *hit)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	/* A name of the configuration has one route: nothing there is left to chance. */
	struct route_action *action = route_match(hit->name->routes, h, hit->name->view ? loop_random(sc->loop) : 0);
	if (!action) {
		exchange_fail(x, FAULT_NO_ROUTE, NULL);
		return;
	}
	x->action = route_action_ref(action);
	if (exchange_answers_itself(x, action))
		return;
	/* A number of its own: a fraction that chose the route says nothing about its weights. */
	struct str to = route_action_cluster(action, action->kind == ROUTE_WEIGHTED ? loop_random(sc->loop) : 0, h);
	if (exchange_holds(x, to.p ? mesh_cluster_find(sc->mesh, hit->name->view, to) : NULL, to.p ? NULL : "the header that names it is missing"))
		exchange_go(x, hit);
}

/* ---- calls to the app (sidecar/inbound), and about it (sidecar/health_door) ---- */

static bool exchange_is_let_in(struct exchange *x)
{
	const char *closed = x->health ? app_is_unwell(x->app) : inbound_closed(x->app);
	if (!closed)
		return true;
	exchange_fail(x, FAULT_APP_CLOSED, closed);
	return false;
}

/* RBAC, as the mesh calls it. The detail is Envoy's where there is one. */
static bool exchange_is_allowed(struct exchange *x, const struct conf_inbound *to)
{
	enum allow_answer a = allow_ask(to->allow, to->nallow, x->caller, fields_value(x->head, FIELD_PATH));
	if (a == ALLOW_YES)
		return true;
	stat_inc(&x->sc->loop->stats, STAT_INBOUND_DENIED);
	exchange_fail(x, FAULT_DENIED, a == ALLOW_UNSAFE ? "the path has more than one reading, and there are rules about paths" : "rbac_access_denied_matched_policy[none]");
	return false;
}

static void exchange_inbound(struct exchange *x, const struct conf_inbound *to)
{
	struct sidecar *sc = x->sc;
	if (!exchange_is_allowed(x, to)) /* and before anything is said about the app */
		return;
	if (!exchange_is_let_in(x)) {
		stat_inc(&sc->loop->stats, STAT_INBOUND_REFUSED);
		return;
	}
	life_inbound(x->app->life, 1);
	x->in_flight = true;
	if (exchange_is_too_much(x))
		return;
	x->action = route_action_ref(to->action);
	if (exchange_holds(x, mesh_cluster_find(sc->mesh, NULL, str_of(to->spec->name)), NULL))
		exchange_go(x, NULL);
}

static void exchange_health(struct exchange *x, const struct exchange_door *door)
{
	if (!exchange_is_let_in(x))
		return;
	x->is_local = true;
	attempt_local(x, &health_door_open_row, NULL, door->cred, true);
}

/* Anybody may begin to ask, and not go on. The oldest of too many is answered as it is: who asks in earnest has ended his question long since. */
static void exchange_asks(struct exchange *x)
{
	struct app *a = x->app;
	list_push(&a->questions, &x->question);
	if (++a->nquestions <= QUESTIONS_MAX)
		return;
	stat_inc(&x->sc->loop->stats, STAT_QUESTIONS_DROPPED);
	exchange_fail(list_entry(a->questions.next, struct exchange, question), FAULT_OVERFLOW, "the question has not ended, and too many others have begun");
}

/* Is it well? The caller's deadline counts as for a call; what is asked of the app itself is answered in any case. */
static void exchange_ask(struct exchange *x, const struct exchange_door *door)
{
	if (!door->health && exchange_is_too_much(x))
		return;
	if (!deadline_read(x, x->head, 0)) {
		exchange_fail(x, FAULT_DEADLINE, "it was over on arrival");
		return;
	}
	if (x->deadline_ns)
		timer_set(x->sc->loop, &x->deadline, x->deadline_ns, deadline_over);
	x->is_local = true;
	stat_inc(&x->sc->loop->stats, STAT_CALLS_LOCAL);
	attempt_ask(x, door->default_authority);
}

static bool exchange_is_asked(const struct exchange *x, const struct exchange_door *door)
{
	return !door->inbound && grpc_health_is(fields_value(x->head, FIELD_METHOD), fields_value(x->head, FIELD_PATH)) && (door->health || !x->app->conf->health.passthrough);
}

/* Asked again when a name that was waited for is known: it may be another one now (a service that came by a reload). */
static void exchange_name(struct exchange *x, const char *default_authority)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	struct str authority = fields_value(h, FIELD_AUTHORITY);
	if (!authority.p)
		authority = fields_value(h, FIELD_HOST);
	const struct name_hit *hit = names_find(&x->app->names, x->app->conf, sc->conf->mesh_domain, default_authority, authority, fields_value(h, FIELD_PATH));
	struct mesh_name *n = hit->name;
	if (!n) {
		if (hit->fault == FAULT_NAMES_FULL)
			stat_inc(&sc->loop->stats, STAT_NAMES_LIMIT);
		exchange_fail(x, hit->fault, NULL);
		return;
	}
	mesh_name_use(n, sc->loop->now_ns);
	switch (n->state) {
	case MESH_PRESENT:
		exchange_route(x, hit);
		return;
	case MESH_ABSENT:
		exchange_fail(x, FAULT_NO_NAME, exchange_reason(x, n));
		return;
	case MESH_UNKNOWN:
		if (n->failed)
			exchange_fail(x, FAULT_PARK_TIME, exchange_reason(x, n));
		else
			exchange_want(x, n, default_authority);
		return;
	}
}

void exchange_start(const struct exchange_door *door, struct stream *down, struct fields *head, bool fin, const char *refuse)
{
	struct sidecar *sc = door->sc;
	struct loop *l = sc->loop;
	struct exchange *x = pool_mem_get_raw(&sc->exchanges);
	memset(x, 0, offsetof(struct exchange, host));
	x->host[0] = '\0';
	x->sc = sc;
	x->app = door->app;
	x->trusted = door->trusted;
	x->inbound = door->inbound != NULL;
	x->health = door->health;
	x->caller = door->caller;
	x->down = down;
	x->head = fields_ref(head);
	x->begun_ns = l->now_ns;
	x->fin_in = fin;
	x->replayable = true;
	x->http_status = x->grpc_status = -1;
	x->is_grpc = fields_is_grpc(head);
	x->is_head = str_is(fields_value(head, FIELD_METHOD), "HEAD");
	memcpy(x->flag, "-", 2);
	down->ev = &down_events;
	down->user = x;
	sc->nexchanges++;
	if (x->app) { /* a scrape of the control socket does not see itself */
		stat_inc(&l->stats, STAT_CALLS);
		stat_inc(&l->stats, STAT_CALLS_ACTIVE);
		if (x->inbound)
			stat_inc(&l->stats, STAT_INBOUND_CALLS);
	}
	x->sampled = access_on(sc->access) || (l->stats.v[STAT_CALLS] & 15) == 0;
	if (x->app) {
		list_push(&x->app->exchanges, &x->node);
		x->app->calls++;
	}
	if (refuse) {
		exchange_fail(x, FAULT_HEADERS, refuse);
		return;
	}
	if (x->health && !fin)
		exchange_asks(x);
	const struct local_row *row = !door->rows ? NULL : local_find(door->rows, fields_value(head, FIELD_METHOD), fields_value(head, FIELD_PATH));
	if (row) {
		x->is_local = true;
		stat_inc(&l->stats, STAT_CALLS_LOCAL);
		if (!deadline_read(x, head, 0)) {
			exchange_fail(x, FAULT_DEADLINE, "it was over on arrival");
			return;
		}
		if (x->deadline_ns) /* an answer may take its time (?wait=) */
			timer_set(l, &x->deadline, x->deadline_ns, deadline_over);
		attempt_local(x, row, door->client, door->cred, door->read_only);
		return;
	}
	if (!x->app) {
		exchange_fail(x, FAULT_NO_ROUTE, "this is the control socket");
		return;
	}
	if (exchange_is_asked(x, door))
		exchange_ask(x, door);
	else if (door->health)
		exchange_health(x, door);
	else if (door->inbound)
		exchange_inbound(x, door->inbound);
	else {
		x->client = door->client;
		exchange_forward(x, door);
	}
}
