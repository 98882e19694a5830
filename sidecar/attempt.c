/* sidecar/attempt: see attempt.h. The stream's events become the exchange's: refusals are told apart from failures here. */
#include "sidecar/attempt.h"
#include <errno.h>
#include "sidecar/deadline.h"
#include <stdio.h>
#include "sidecar/access.h"

/* A provider that keeps the deadline too (grpc-go, grpc-java) resets with CANCEL when it is over. Its clock counts from a time that was rounded to
 * the finest unit of eight digits, ours waits for the next tick of the wheel: the reset may be there up to two milliseconds before our own timer. */
#define DEADLINE_SLACK_NS UINT64_C(2000000)

static bool attempt_is_late(const struct attempt *a)
{
	return a->x->deadline_ns && a->x->sc->loop->now_ns + DEADLINE_SLACK_NS >= a->x->deadline.at_ns;
}

static void attempt_bury(struct grave *g)
{
	struct attempt *a = container_of(g, struct attempt, grave);
	pool_mem_put(&a->x->sc->attempts, a);
}

void attempt_end(struct attempt **at, enum host_result result)
{
	struct attempt *a = *at;
	if (!a)
		return;
	*at = NULL;
	struct loop *l = a->x->sc->loop;
	a->ended = true;
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

static void on_head(void *user, struct fields *head, bool fin)
{
	struct attempt *a = user;
	a->answered = true;
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
	exchange_answer_trailers(a->x, trailers);
}

static void on_sent(void *user, size_t n)
{
	struct attempt *a = user;
	a->sent += n;
	exchange_sent_up(a->x, n, a->sent);
}

static void attempt_failed(struct attempt *a, enum fault f, const char *why, enum stream_cause cause)
{
	struct exchange *x = a->x;
	bool unprocessed = !a->answered && (cause == END_REFUSED || cause == END_UNPROCESSED || cause == END_CONNECT);
	a->up = NULL;
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
		if (end->h2_code == H2_CANCEL && attempt_is_late(a))
			exchange_fail(a->x, FAULT_DEADLINE, NULL);
		else
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
	if (x->deadline_ns)
		deadline_forward(x, x->sc->loop->now_ns); /* what is left now: names and connections took their time */
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
	attempt_failed(a, err == ERR_LIMIT ? FAULT_OVERFLOW : FAULT_CONNECT, why, END_CONNECT);
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
		attempt_failed(a, err == ERR_LIMIT ? FAULT_OVERFLOW : FAULT_CONNECT, why, END_CONNECT);
	return x->attempt;
}

struct attempt *attempt_local(struct exchange *x, const struct local_row *row, const struct sock_cred *cred, bool read_only)
{
	struct attempt *a = attempt_new(x);
	attempt_send(a, local_open(x->sc, row, x->app, cred, read_only, &up_events, a));
	return x->attempt;
}
