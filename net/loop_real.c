/* net/loop_real: the seam over libevent and the kernel.
 *
 * Libevent is used for readiness alone (event_core: no bufferevent, no evhttp, no listener, no thread support). Its clock is
 * CLOCK_MONOTONIC_COARSE, so our own is read once a turn, after the wait. Of all our timers it sees one, the wheel's next expiry, which is
 * armed again only when that changed: this costs no system call, and a daemon without timers sleeps for ever. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include "net/loop_real.h"
#include "net/proc_int.h"

/* A wait that ends so late may have been a stop. */
static const uint64_t late_ns = UINT64_C(20000000);

static uint64_t clock_ns(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t real_now_ns(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t real_asleep_ns(void *ctx)
{
	uint64_t with_sleep_ns = clock_ns(CLOCK_BOOTTIME), without_ns = real_now_ns(ctx);

	return with_sleep_ns > without_ns ? with_sleep_ns - without_ns : 0;
}

static uint64_t real_wall_ns(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_REALTIME);
}

static void real_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	for (char *p = out; n > 0;) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0 && errno != EINTR)
			abort(); /* a kernel without getrandom: hash seeds would be known to peers */
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
}

static void timeout_fired(evutil_socket_t fd, short what, void *user)
{
	struct loop_real *r = user;

	(void)fd, (void)what;
	r->armed_ns = UINT64_MAX;
	loop_wake(r->loop);
}

static void arm(struct loop_real *r, uint64_t at_ns)
{
	if (at_ns == r->armed_ns)
		return;
	if (at_ns == UINT64_MAX) {
		event_del(&r->timeout);
	} else {
		/* The turn took its time since now_ns was read. */
		uint64_t now_ns = real_now_ns(NULL);
		uint64_t left_us = at_ns > now_ns ? (at_ns - now_ns + 999) / 1000 : 0;
		struct timeval tv = {.tv_sec = (time_t)(left_us / 1000000), .tv_usec = (suseconds_t)(left_us % 1000000)};
		event_add(&r->timeout, &tv);
	}
	r->armed_ns = at_ns;
}

static int real_wait(void *ctx, int64_t timeout_ns)
{
	struct loop_real *r = ctx;
	int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;
	uint64_t until_ns = timeout_ns > 0 ? r->loop->now_ns + (uint64_t)timeout_ns + late_ns : UINT64_MAX;

	if (timeout_ns == 0)
		flags |= EVLOOP_NONBLOCK;
	else
		arm(r, timeout_ns < 0 ? UINT64_MAX : r->loop->now_ns + (uint64_t)timeout_ns);
	errno = 0;
	/* After SIGSTOP the kernel ends the wait with EINTR, and libevent goes on to the timers without having looked at anything: what came meanwhile, SIGCONT included, is older. */
	if (event_base_loop(r->base, flags) < 0 || (real_now_ns(NULL) > until_ns && event_base_loop(r->base, flags | EVLOOP_NONBLOCK) < 0))
		return -(errno ? errno : EIO);
	return 0;
}

/* ---- reserve descriptors -------------------------------------------------------------------------------------------------- */

bool reserve_spend(struct loop_real *r)
{
	for (int i = 0; i < RESERVE_FDS; i++)
		if (r->reserve[i] >= 0) {
			close(r->reserve[i]);
			r->reserve[i] = -1;
			return true;
		}
	return false;
}

void reserve_refill(struct loop_real *r)
{
	for (int i = 0; i < RESERVE_FDS; i++)
		if (r->reserve[i] < 0)
			r->reserve[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- signals and foreign descriptors ---------------------------------------------------------------------------------------- */

struct loop_signal {
	struct list node;
	struct event event;
	struct loop *loop;
	void (*fn)(void *user, int signo);
	void *user;
};

static void signal_came(evutil_socket_t signo, short what, void *user)
{
	struct loop_signal *s = user;

	(void)what;
	loop_wake(s->loop);
	s->fn(s->user, (int)signo);
}

int loop_signal(struct loop *l, int signo, void (*fn)(void *user, int signo), void *user)
{
	if (!loop_is_real(l))
		return -ENOSYS;
	struct loop_signal *s = xnew(struct loop_signal);
	s->loop = l;
	s->fn = fn;
	s->user = user;
	if (event_assign(&s->event, loop_real(l)->base, signo, EV_SIGNAL | EV_PERSIST, signal_came, s) < 0 || event_add(&s->event, NULL) < 0) {
		free(s);
		return -EINVAL;
	}
	list_push(&loop_real(l)->signals, &s->node);
	return 0;
}

struct loop_fd {
	struct event event;
	struct grave grave;
	struct loop *loop;
	void (*fn)(void *user, int fd, int what);
	void *user;
};

static void fd_ready(evutil_socket_t fd, short what, void *user)
{
	struct loop_fd *f = user;

	loop_wake(f->loop);
	f->loop->busy = true;
	f->fn(f->user, fd, (what & EV_READ ? 1 : 0) | (what & EV_WRITE ? 2 : 0));
}

int loop_fd_add(struct loop *l, int fd, int what, void (*fn)(void *user, int fd, int what), void *user, struct loop_fd **ret)
{
	short events = (short)(EV_PERSIST | (what & 1 ? EV_READ : 0) | (what & 2 ? EV_WRITE : 0));

	if (!loop_is_real(l))
		return -ENOSYS;
	struct loop_fd *f = xnew(struct loop_fd);
	f->loop = l;
	f->fn = fn;
	f->user = user;
	if (event_assign(&f->event, loop_real(l)->base, fd, events, fd_ready, f) < 0 || event_add(&f->event, NULL) < 0) {
		free(f);
		return -EINVAL;
	}
	*ret = f;
	return 0;
}

static void fd_bury(struct grave *g)
{
	free(container_of(g, struct loop_fd, grave));
}

void loop_fd_del(struct loop_fd **at)
{
	struct loop_fd *f = *at;

	if (!f)
		return;
	*at = NULL;
	event_del(&f->event);
	loop_bury(f->loop, &f->grave, fd_bury);
}

void loop_fd_drop(struct loop_fd **at)
{
	if (!*at)
		return;
	event_del(&(*at)->event);
	free(*at);
	*at = NULL;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------------------- */

static void real_end(void *ctx)
{
	struct loop_real *r = ctx;

	for (struct list *n; (n = list_pop(&r->signals));) {
		struct loop_signal *s = list_entry(n, struct loop_signal, node);
		event_del(&s->event);
		free(s);
	}
	proc_real_end(r);
	if (event_initialized(&r->timeout))
		event_del(&r->timeout);
	for (int i = 0; i < RESERVE_FDS; i++)
		if (r->reserve[i] >= 0)
			close(r->reserve[i]);
	event_base_free(r->base);
	free(r);
}

static const struct loop_ops real_ops = {
	.now_ns = real_now_ns,
	.asleep_ns = real_asleep_ns,
	.wall_ns = real_wall_ns,
	.random = real_random,
	.wait = real_wait,
	.sock_connect = sock_real_connect,
	.sock_listen = sock_real_listen,
	.proc_watch = proc_real_watch,
	.proc_unwatch = proc_real_unwatch,
	.proc_began = proc_real_began,
	.proc_owner = proc_real_owner,
	.proc_run = proc_real_run,
	.proc_kill = proc_real_kill,
	.end = real_end,
};

bool loop_is_real(const struct loop *l)
{
	return l->ops == &real_ops;
}

struct loop *loop_new_real(struct log *log)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config) {
		/* The environment must not choose another poll method or timerfd for a daemon (EVENT_NOEPOLL, EVENT_PRECISE_TIMER). */
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
		base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (!base)
		return NULL;
	struct loop_real *r = xnew(struct loop_real);
	r->base = base;
	r->armed_ns = UINT64_MAX;
	list_init(&r->signals);
	list_init(&r->starved);
	list_init(&r->children);
	for (int i = 0; i < RESERVE_FDS; i++)
		r->reserve[i] = -1;
	reserve_refill(r);
	evtimer_assign(&r->timeout, base, timeout_fired, r);
	r->loop = loop_new(&real_ops, r, log);
	return r->loop;
}
