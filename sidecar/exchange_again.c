/* sidecar/exchange_again: another attempt of a call (promise 6, and policy): a move, where nobody has begun it; a retry, where the route's policy wants one; and what a thaw holds back until
 * it finds somebody. What there is to send once more is kept by sidecar/exchange_relay. */
#include "sidecar/exchange_int.h"

enum { MOVES_MAX = 8 };
#define HOLD_NS UINT64_C(50000000)
/* An app's own server that is not there may be starting again: a call that came in for it waits so long. The pool paces the dials. */
#define SERVER_WAIT_NS UINT64_C(1000000000)

static void exchange_backoff_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, backoff);
	exchange_pick_for(x, true);
}

/* For a while after a thaw nobody knows who is still there, and what is new is on its way: a call that nobody has begun goes on until it finds somebody. It takes nothing from the
 * budget, which is there to spare providers that are many times asked, and here nobody is asked. */
static bool exchange_is_settling(const struct exchange *x)
{
	const struct sidecar *sc = x->sc;
	return __builtin_expect(freeze_is_settling(sc), 0) && !x->inbound && !x->answering && exchange_has_whole_body(x) && sc->loop->now_ns < x->begun_ns + sc->conf->park.time_ns;
}

bool exchange_hold(struct exchange *x)
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

bool exchange_retry(struct exchange *x)
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
