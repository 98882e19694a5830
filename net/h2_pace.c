/* net/h2_pace: what a connection waits for: buckets that a peer has emptied, pauses in reading, and the one timer that is set to the earliest of
 * its reasons (preface, header block, stalled queue, end of a pause). */
#include "net/h2_int.h"

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

/* ---- timers: one a connection, set to the earliest of its reasons. They are kept in loop_ran_ns: a peer that was frozen with us has missed nothing ---- */

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
	if (c->notice_at_ns && c->notice_at_ns < at)
		at = c->notice_at_ns;
	if (c->linger_at_ns && c->linger_at_ns < at)
		at = c->linger_at_ns;
	if (c->paused && c->paused_until_ns && c->paused_until_ns < at)
		at = c->paused_until_ns;
	if (at == UINT64_MAX)
		timer_cancel(c->loop, &c->timer);
	else if (!timer_armed(&c->timer) || c->timer.at_ns != at + c->loop->stood_all_ns)
		timer_set(c->loop, &c->timer, at + c->loop->stood_all_ns, conn_timer);
}

/* Streams whose queue moved less than limits.stall_bytes in limits.stall: a dripping reader does not hold our memory for ever. */
static void conn_reap_stalled(struct h2_conn *c)
{
	uint64_t now = loop_ran_ns(c->loop), next = 0;
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
	uint64_t now = loop_ran_ns(c->loop);
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
	if (c->notice_at_ns && now >= c->notice_at_ns) /* a frozen app, or one that answers no PING: without streams it shall not cost the whole drain.deadline */
		h2_conn_tell_last(c);
	if (c->linger_at_ns && now >= c->linger_at_ns)
		h2_conn_close(c, 0);
	if (c->paused)
		h2_conn_resume_check(c);
	h2_conn_timers(c);
}

/* ---- pausing ---- */

void h2_conn_want(struct h2_conn *c)
{
	sock_want(c->sock, !c->paused && !c->closing, !chain_empty(&c->out));
}

void h2_conn_pause(struct h2_conn *c, uint64_t for_ns)
{
	c->paused = true;
	if (for_ns && loop_ran_ns(c->loop) + for_ns > c->paused_until_ns)
		c->paused_until_ns = loop_ran_ns(c->loop) + for_ns;
	h2_conn_want(c);
	h2_conn_timers(c);
}

void h2_conn_resume_check(struct h2_conn *c)
{
	if (!c->paused || c->finished)
		return;
	if (c->paused_until_ns > loop_ran_ns(c->loop))
		return;
	c->paused_until_ns = 0; /* of the two reasons this one is over: no timer for it any more */
	if (c->heads_held > c->lim->header_budget)
		return;
	c->paused = false;
	if (c->header_at_ns) {
		c->header_at_ns = loop_ran_ns(c->loop) + c->lim->header_time_ns;
		h2_conn_timers(c);
	}
	if (c->header_at_ns) /* the rest of its header block waited for us */
		c->header_at_ns = loop_ran_ns(c->loop) + c->lim->header_time_ns;
	h2_conn_timers(c);
	h2_conn_want(c);
}
