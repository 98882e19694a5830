/* sidecar/attempt: see attempt.h. The stream's events become the exchange's: refusals are told apart from failures here. */
#include "sidecar/attempt.h"
#include <errno.h>
#include "sidecar/deadline.h"
#include "sidecar/grpc_health.h"
#include <stdio.h>
#include "sidecar/access.h"

/* A provider that keeps the deadline too (grpc-go, grpc-java) resets with CANCEL when it is over. Its clock counts from a time that was rounded to
 * the finest unit of eight digits, ours waits for the next tick of the wheel: the reset may be there up to two milliseconds before our own timer. */
#define DEADLINE_SLACK_NS UINT64_C(2000000)

static bool attempt_is_late(const struct attempt *a)
{
	return a->told_ns && a->x->sc->loop->now_ns + DEADLINE_SLACK_NS >= a->told_ns;
}

static void attempt_bury(struct grave *g)
{
	struct attempt *a = container_of(g, struct attempt, grave);
	pool_mem_put(&a->x->sc->attempts, a);
}

/* What came of it, for outlier detection. What was under way while the process stood still is no provider's fault. */
static void attempt_outcome(struct attempt *a, int status, bool local_origin)
{
	if (!a->judged)
		return;
	a->judged = false;
	if (local_origin && a->begun_thaws != (uint32_t)stat_get(&a->x->sc->loop->stats, STAT_THAWS))
		return;
	host_outcome(a->host, &(struct host_outcome){.http_status = status, .local_origin = local_origin});
}

/* The call gives it up: nobody is told anything of the answer, but a deadline is the provider's, and an answer may be a failure that is retried. */
static void attempt_given_up(struct attempt *a)
{
	if (a->answered && a->x->fault != FAULT_DEADLINE)
		attempt_outcome(a, a->status, false);
	else if (!a->answered && a->x->fault == FAULT_DEADLINE && a->up)
		attempt_outcome(a, 504, true);
}

void attempt_end(struct attempt **at, enum host_result result)
{
	struct attempt *a = *at;
	if (!a)
		return;
	*at = NULL;
	struct loop *l = a->x->sc->loop;
	a->ended = true;
	if (result == HOST_ERROR && a->judged)
		attempt_given_up(a);
	if (a->x->retry.per_try_ns)
		timer_cancel(l, &a->per_try);
	pool_unwait(&a->wait);
	if (a->up) {
		stream_reset(a->up, H2_CANCEL);
		a->up = NULL;
	}
	if (a->host) {
		if (result != HOST_OK || access_on(a->x->sc->access))
			snprintf(a->x->host, sizeof a->x->host, "%s", a->host->text);
		host_done(&a->host, result);
	}
	loop_bury(l, &a->grave, attempt_bury);
}

/* gRPC content is judged by grpc-status, as the HTTP status that it stands for; a business exception is no failure (promise 8). */
static void attempt_note(struct attempt *a, const struct fields *f)
{
	const struct field *grpc = a->x->is_grpc ? fields_get(f, FIELD_GRPC_STATUS) : NULL, *exception = fields_get(f, FIELD_TRI_EXCEPTION_CODE);
	struct str status = fields_value(f, FIELD_STATUS);
	uint64_t v;
	if (str_u64(status, &v) && v < 1000)
		a->status = (int16_t)v;
	if (grpc)
		a->status = (int16_t)http_from_grpc(grpc_status_parse(str_n(grpc->value, grpc->value_len)));
	if (exception || a->exception) {
		a->exception = true;
		a->status = 200;
	}
}

/* Of itself: that it is to be left alone at once, that it is not at its best. */
static void attempt_told(struct attempt *a, const struct fields *head)
{
	if (fields_get(head, FIELD_X_ENVOY_IMMEDIATE_HC_FAIL))
		host_fail_now(a->host);
	if (a->judged && fields_get(head, FIELD_X_ENVOY_DEGRADED))
		host_outcome(a->host, &(struct host_outcome){.degraded = true});
}

static void on_head(void *user, struct fields *head, bool fin)
{
	struct attempt *a = user;
	a->answered = true;
	if (a->judged)
		attempt_note(a, head);
	if ((head->flags_seen & FF_HOST_SAYS) && a->host)
		attempt_told(a, head);
	if (a->x->retry.per_try_ns)
		timer_cancel(a->x->sc->loop, &a->per_try);
	exchange_answer_head(a->x, head, fin);
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct attempt *a = user;
	exchange_answer_data(a->x, data, fin);
}

static void on_trailers(void *user, struct fields *trailers)
{
	struct attempt *a = user;
	if (a->judged)
		attempt_note(a, trailers);
	exchange_answer_trailers(a->x, trailers);
}

static void on_sent(void *user, size_t n)
{
	struct attempt *a = user;
	a->sent += n;
	exchange_sent_up(a->x, n, a->sent);
}

/* Nobody answered. A limit of our own is not the provider's failure, nor is a GOAWAY that left the call unprocessed. */
static void attempt_blame(struct attempt *a, enum fault f, enum stream_cause cause)
{
	if (cause == END_LIMIT || cause == END_UNPROCESSED || f == FAULT_OVERFLOW)
		a->judged = false;
	else
		attempt_outcome(a, cause == END_CONNECT ? 503 : cause == END_DEADLINE ? 504 : 502, true);
}

static void attempt_failed(struct attempt *a, enum fault f, const char *why, enum stream_cause cause)
{
	struct exchange *x = a->x;
	bool unprocessed = !a->answered && (cause == END_REFUSED || cause == END_UNPROCESSED || cause == END_CONNECT);
	a->up = NULL;
	if (a->judged)
		attempt_blame(a, f, cause);
	if (a->host && x->tried.count < TRIED_MAX && cause != END_UNPROCESSED) /* a GOAWAY is the connection's; the host may take it on the next one */
		x->tried.host[x->tried.count++] = a->host;
	attempt_end(&x->attempt, cause == END_CONNECT ? HOST_CONNECT : unprocessed ? HOST_NEUTRAL : HOST_ERROR);
	exchange_attempt_failed(x, f, why, unprocessed, cause);
}

static void on_end(void *user, const struct stream_end *end)
{
	struct attempt *a = user;
	a->up = NULL;
	switch (end->cause) {
	case END_DONE: {
		struct exchange *x = a->x;
		bool failed = x->http_status >= 500 || x->grpc_status == GRPC_UNAVAILABLE || x->grpc_status == GRPC_DATA_LOSS;
		/* gRPC content is judged by grpc-status alone, and a business exception is no failure (promise 8) */
		if (x->is_grpc && x->grpc_status >= 0)
			failed = x->grpc_status == GRPC_UNAVAILABLE || x->grpc_status == GRPC_DATA_LOSS;
		attempt_outcome(a, a->status, false);
		attempt_end(&x->attempt, failed && !x->tri_exception ? HOST_ERROR : HOST_OK);
		break;
	}
	case END_REFUSED:
		attempt_failed(a, FAULT_REFUSED, end->detail, end->cause);
		break;
	case END_UNPROCESSED:
		attempt_failed(a, FAULT_LOST, end->detail, end->cause);
		break;
	case END_RESET:
		if (end->h2_code == H2_CANCEL && attempt_is_late(a)) {
			attempt_outcome(a, 504, true);
			exchange_fail(a->x, FAULT_DEADLINE, NULL);
		} else
			attempt_failed(a, FAULT_RESET, end->detail, end->cause);
		break;
	case END_CONNECT:
		attempt_failed(a, FAULT_CONNECT, end->detail, end->cause);
		break;
	case END_LOST:
		attempt_failed(a, FAULT_LOST, end->detail, end->cause);
		break;
	case END_LIMIT:
		attempt_failed(a, FAULT_TOO_LARGE_UP, end->detail, end->cause);
		break;
	case END_MALFORMED:
		attempt_failed(a, FAULT_PROTOCOL, end->detail, end->cause);
		break;
	case END_DEADLINE:
		attempt_failed(a, FAULT_DEADLINE, end->detail, end->cause);
		break;
	}
}

static const struct stream_events up_events = {on_head, on_data, on_trailers, on_sent, on_end};

static void per_try_over(struct timer *t)
{
	struct attempt *a = container_of(t, struct attempt, per_try);
	if (a->up)
		stream_reset(a->up, H2_CANCEL);
	attempt_failed(a, FAULT_DEADLINE, "per-try timeout", END_DEADLINE);
}

/* The stream is there: the head goes out, then what is held of the body, from its beginning. */
static void attempt_send(struct attempt *a, struct stream *up)
{
	struct exchange *x = a->x;
	a->up = up;
	up->reader = x->down;
	bool body_over = x->fin_in && x->received == 0 && !x->request_trailers;
	if (x->deadline_ns) {
		deadline_forward(x, x->sc->loop->now_ns); /* what is left now: names and connections took their time */
		a->told_ns = x->deadline.at_ns;
	}
	if (stream_send_head(up, x->head, body_over) != 0) {
		stream_reset(up, H2_INTERNAL_ERROR);
		a->up = NULL;
		attempt_failed(a, FAULT_MEMORY, "no memory for the request's head", END_LIMIT);
		return;
	}
	stat_inc(&x->sc->loop->stats, STAT_ATTEMPTS);
	if (x->down)
		stream_forwarded(x->down);
	if (body_over)
		return;
	struct chain body = CHAIN_INIT;
	if (x->attempts > 1 && x->received > x->held.bytes) { /* what an earlier attempt got, again */
		struct loop *l = x->sc->loop;
		if (chain_copy_in(&body, &l->bufs, &l->memory, x->replay_inline, x->inline_n) != 0) {
			stream_reset(up, H2_INTERNAL_ERROR);
			a->up = NULL;
			attempt_failed(a, FAULT_MEMORY, "no memory for the replay of the request's body", END_LIMIT);
			return;
		}
		if (x->inline_sealed)
			chain_seal(&body);
		chain_share(&body, &x->replay);
		chain_clear(&x->held); /* the replay holds it too */
		exchange_replayed(x);
	} else {
		chain_move(&body, &x->held);
	}
	bool fin = x->fin_in && !x->request_trailers;
	if (!chain_empty(&body) || fin)
		stream_send_data(up, &body, fin);
	if (x->request_trailers)
		stream_send_trailers(up, x->request_trailers);
}

static void wait_ready(struct pool_wait *w, struct stream *s)
{
	attempt_send(container_of(w, struct attempt, wait), s);
}

static void wait_failed(struct pool_wait *w, int err, const char *why)
{
	struct attempt *a = container_of(w, struct attempt, wait);
	attempt_failed(a, err == ERR_LIMIT ? FAULT_OVERFLOW : FAULT_CONNECT, exchange_why(a->x, why), END_CONNECT);
}

static struct attempt *attempt_new(struct exchange *x)
{
	struct attempt *a = pool_mem_get(&x->sc->attempts);
	a->x = x;
	x->attempt = a;
	x->attempts++;
	return a;
}

struct attempt *attempt_start(struct exchange *x, struct host *host)
{
	struct attempt *a = attempt_new(x);
	a->host = host;
	a->judged = cluster_spec(host->cluster)->outlier != NULL;
	a->begun_thaws = (uint32_t)stat_get(&x->sc->loop->stats, STAT_THAWS);
	a->wait.ready = wait_ready;
	a->wait.failed = wait_failed;
	if (x->retry.per_try_ns)
		timer_in(x->sc->loop, &a->per_try, x->retry.per_try_ns, per_try_over);
	int err = 0;
	const char *why = NULL;
	struct stream *up = host_open(host, &a->wait, &up_events, a, &err, &why);
	if (up)
		attempt_send(a, up);
	else if (err)
		attempt_failed(a, err == ERR_LIMIT ? FAULT_OVERFLOW : FAULT_CONNECT, exchange_why(x, why), END_CONNECT);
	return x->attempt;
}

struct attempt *attempt_local(struct exchange *x, const struct local_row *row, struct uds_client *client, const struct sock_cred *cred, bool read_only)
{
	struct attempt *a = attempt_new(x);
	attempt_send(a, local_open(x->sc, row, x->app, client, cred, read_only, &up_events, a));
	return x->attempt;
}

struct attempt *attempt_ask(struct exchange *x, const char *default_authority)
{
	struct attempt *a = attempt_new(x);
	attempt_send(a, grpc_health_open(x->sc, x->app, x->health, default_authority, &up_events, a));
	return x->attempt;
}
