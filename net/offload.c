/* net/offload: see the header.
 *
 *   loop                                   helper
 *   given --(lock)--> [todo ...] --------> takes the first, works without the lock
 *   told  <--eventfd-- [finished ...] <--- hands it back
 *
 * One of each a struct offload: the thread (0 or 1), the eventfd (made with the first thread, kept). The lock guards the two lists and the three
 * flags; everything else is the loop's. Between jobs the helper sleeps in a condition variable: an idle daemon is woken once, when the thread ends. */
#include "net/offload.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct joblist {
	struct offload_job *first, **tail;
};

struct offload {
	struct loop *loop;          /* borrowed */
	struct task inlined;        /* simulation, or no thread to be had */
	bool inlining;              /* it runs: what comes meanwhile stays behind it */
	struct loop_fd *ready;
	int fd;                     /* eventfd, -1: none yet */
	uint32_t pending;           /* given and not told */
	bool started;               /* `thread` is to be joined */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct joblist todo, finished;
	bool stop, over;            /* to the helper: end; from it: it has ended */
	uint64_t idle_ns;
};

enum { HELPER_STACK = 128 << 10 };

/* ---- lists -------------------------------------------------------------------------------------------------------------- */

static void joblist_init(struct joblist *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

static void joblist_push(struct joblist *l, struct offload_job *j)
{
	j->next = NULL;
	*l->tail = j;
	l->tail = &j->next;
}

static struct offload_job *joblist_shift(struct joblist *l)
{
	struct offload_job *j = l->first;

	if (j) {
		l->first = j->next;
		if (!l->first)
			l->tail = &l->first;
	}
	return j;
}

/* ---- the helper --------------------------------------------------------------------------------------------------------- */

static void ring(int fd)
{
	const uint64_t one = 1;

	/* Only a full counter could refuse, and then the loop is woken anyway. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Until there is a job, it shall end, or nobody came for so long. The lock is held. */
static bool wait_for_job(struct offload *o)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(o->idle_ns / 1000000000u);
	until.tv_nsec += (long)(o->idle_ns % 1000000000u);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!o->todo.first && !o->stop)
		if (pthread_cond_timedwait(&o->more, &o->lock, &until) == ETIMEDOUT)
			break;
	return o->todo.first != NULL;
}

static void *helper(void *arg)
{
	struct offload *o = arg;
	int fd;

	pthread_mutex_lock(&o->lock);
	fd = o->fd;
	while (wait_for_job(o)) {
		struct offload_job *j = joblist_shift(&o->todo);

		pthread_mutex_unlock(&o->lock);
		j->work(j);
		pthread_mutex_lock(&o->lock);
		joblist_push(&o->finished, j);
		ring(fd);
	}
	/* From here on offload_run starts another one. */
	o->over = true;
	ring(fd);
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------------------------------------ */

static void join_helper(struct offload *o)
{
	pthread_join(o->thread, NULL);
	o->started = o->over = false;
}

static void collect(struct offload *o)
{
	struct joblist mine;
	struct offload_job *j;
	uint64_t rings;

	while (read(o->fd, &rings, sizeof(rings)) < 0 && errno == EINTR)
		;
	joblist_init(&mine);
	pthread_mutex_lock(&o->lock);
	while ((j = joblist_shift(&o->finished)))
		joblist_push(&mine, j);
	/* It holds nothing any more and returns: joining does not block. */
	bool over = o->over;
	pthread_mutex_unlock(&o->lock);
	if (over)
		join_helper(o);
	while ((j = joblist_shift(&mine))) {
		o->pending--;
		j->done(j);
	}
}

static void on_ready(void *user, int fd, int what)
{
	(void)fd;
	(void)what;
	collect(user);
}

static void run_inline(struct task *t)
{
	struct offload *o = (struct offload *)((char *)t - offsetof(struct offload, inlined));
	struct joblist mine;
	struct offload_job *j;

	/* What `done` gives waits for the next turn: a chain of jobs never holds the loop. */
	joblist_init(&mine);
	while ((j = joblist_shift(&o->todo)))
		joblist_push(&mine, j);
	o->inlining = true;
	while ((j = joblist_shift(&mine))) {
		j->work(j);
		o->pending--;
		j->done(j);
	}
	o->inlining = false;
}

/* False: none can be had (descriptors or threads are at their limit); the jobs then run in the loop, late rather than never. */
static bool start_helper(struct offload *o)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int code;

	if (o->fd < 0) {
		o->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (o->fd < 0)
			return false;
		if (loop_fd_add(o->loop, o->fd, 1, on_ready, o, &o->ready) < 0) {
			close(o->fd);
			o->fd = -1;
			return false;
		}
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, HELPER_STACK);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&o->thread, &attr, helper, o);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	o->started = code == 0;
	return o->started;
}

void offload_run(struct offload *o, struct offload_job *j)
{
	bool over;

	o->pending++;
	if (!loop_is_real(o->loop) || o->inlined.queued || o->inlining) {
		/* Behind jobs that wait in the loop, for the order's sake. */
		joblist_push(&o->todo, j);
		loop_defer(o->loop, &o->inlined, run_inline);
		return;
	}
	pthread_mutex_lock(&o->lock);
	over = o->over;
	joblist_push(&o->todo, j);
	if (o->started && !over)
		pthread_cond_signal(&o->more);
	pthread_mutex_unlock(&o->lock);
	if (o->started && !over)
		return;
	if (over)
		join_helper(o);
	if (!start_helper(o))
		loop_defer(o->loop, &o->inlined, run_inline);
}

struct offload *offload_new(struct loop *l)
{
	struct offload *o = xnew(struct offload);
	pthread_condattr_t attr;

	o->loop = l;
	o->fd = -1;
	o->idle_ns = OFFLOAD_IDLE_NS;
	joblist_init(&o->todo);
	joblist_init(&o->finished);
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->more, &attr);
	pthread_condattr_destroy(&attr);
	return o;
}

void offload_set_idle(struct offload *o, uint64_t idle_ns)
{
	pthread_mutex_lock(&o->lock);
	o->idle_ns = idle_ns;
	pthread_mutex_unlock(&o->lock);
}

uint32_t offload_pending(const struct offload *o)
{
	return o->pending;
}

bool offload_is_awake(const struct offload *o)
{
	return o->started;
}

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool offload_drain(struct offload *o, uint64_t max_ns)
{
	/* The kernel's clock, not the loop's: nothing of the simulation ever waits here. */
	const uint64_t until = clock_ns() + max_ns;

	while (o->pending) {
		if (o->inlined.queued) {
			loop_undefer(&o->inlined);
			run_inline(&o->inlined);
		} else {
			uint64_t now = clock_ns();
			struct pollfd p = {.fd = o->fd, .events = POLLIN};

			if (now >= until)
				return false;
			/* A millisecond more than is left, so that the last round does not spin. */
			poll(&p, 1, (int)((until - now) / 1000000) + 1);
			collect(o);
		}
		if (o->pending && clock_ns() >= until)
			return false;
	}
	return true;
}

void offload_free(struct offload **op)
{
	/* `done` may still give jobs by the owner's pointer. */
	if (*op)
		(void)offload_drain(*op, OFFLOAD_END_NS);
	offload_leave(op);
}

void offload_leave(struct offload **op)
{
	struct offload *o = *op;

	*op = NULL;
	if (!o)
		return;
	const bool drained = o->pending == 0;
	loop_undefer(&o->inlined);
	loop_fd_del(&o->ready);
	if (o->started) {
		pthread_mutex_lock(&o->lock);
		o->stop = true;
		joblist_init(&o->todo);
		pthread_cond_signal(&o->more);
		pthread_mutex_unlock(&o->lock);
		if (!drained) {
			/* A disk that does not answer: the thread may come back to us at any time, so we stay, and end with the process. */
			pthread_detach(o->thread);
			return;
		}
		join_helper(o);
	}
	if (o->fd >= 0)
		close(o->fd);
	pthread_cond_destroy(&o->more);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
