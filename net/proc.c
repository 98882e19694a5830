/* net/proc: see net/proc.h. What is the same for processes of the kernel and of a simulation: who is told, when, and how often. */
#include "net/proc_int.h"
#include <errno.h>
#include <stdlib.h>

/* ---- watching ---- */

static void watch_bury(struct grave *g)
{
	free(container_of(g, struct proc_watch, grave));
}

static int watch_begin(struct loop *l, const struct sock *peer, pid_t pid, void (*fn)(void *user), void *user, struct proc_watch **ret)
{
	if (!l->ops->proc_watch)
		return -ENOSYS;
	struct proc_watch *w = xnew(struct proc_watch);
	w->loop = l;
	w->fn = fn;
	w->user = user;
	w->pid = pid;
	w->fd = -1;
	int rc = l->ops->proc_watch(l->ops_ctx, w, peer);
	if (rc < 0) {
		free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

int proc_watch_peer(struct loop *l, const struct sock *peer, void (*fn)(void *user), void *user, struct proc_watch **ret)
{
	return watch_begin(l, peer, peer->cred.known ? peer->cred.pid : 0, fn, user, ret);
}

int proc_watch_pid(struct loop *l, pid_t pid, void (*fn)(void *user), void *user, struct proc_watch **ret)
{
	return pid > 0 ? watch_begin(l, NULL, pid, fn, user, ret) : -ESRCH;
}

void proc_unwatch(struct proc_watch **at)
{
	struct proc_watch *w = *at;
	if (!w)
		return;
	*at = NULL;
	w->loop->ops->proc_unwatch(w->loop->ops_ctx, w);
	loop_bury(w->loop, &w->grave, watch_bury);
}

void proc_ended(struct proc_watch *w)
{
	void (*fn)(void *user) = w->fn;
	void *user = w->user;
	proc_unwatch(&w);
	fn(user);
}

pid_t proc_watch_number(const struct proc_watch *w) { return w->pid; }
uint64_t proc_watch_key(const struct proc_watch *w) { return w->key; }

uint64_t proc_began(struct loop *l, pid_t pid)
{
	return l->ops->proc_began ? l->ops->proc_began(l->ops_ctx, pid) : 0;
}

int proc_owner(struct loop *l, pid_t pid, uid_t *ret)
{
	return l->ops->proc_owner ? l->ops->proc_owner(l->ops_ctx, pid, ret) : -ENOSYS;
}

/* ---- children ---- */

static void child_bury(struct grave *g)
{
	free(container_of(g, struct proc_child, grave));
}

static void child_tell(struct proc_child *c, int code)
{
	void (*done)(void *user, int code) = c->done;
	c->done = NULL;
	timer_cancel(c->loop, &c->deadline);
	if (done)
		done(c->user, code);
}

void proc_child_ended(struct proc_child *c, int code)
{
	loop_bury(c->loop, &c->grave, child_bury);
	child_tell(c, code);
}

static void child_failed(struct task *t)
{
	struct proc_child *c = container_of(t, struct proc_child, failed);
	proc_child_ended(c, c->failure);
}

static void child_late(struct timer *t)
{
	struct proc_child *c = container_of(t, struct proc_child, deadline);
	c->loop->ops->proc_kill(c->loop->ops_ctx, c);
	child_tell(c, -ETIMEDOUT);
}

int proc_run(struct loop *l, char *const *argv, uint64_t timeout_ns, void (*done)(void *user, int code), void *user, struct proc_child **ret)
{
	if (!l->ops->proc_run)
		return -ENOSYS;
	struct proc_child *c = xnew(struct proc_child);
	c->loop = l;
	c->done = done;
	c->user = user;
	c->fd = -1;
	int rc = l->ops->proc_run(l->ops_ctx, c, argv);
	if (rc == -EAGAIN) {
		stat_inc(&l->stats, STAT_CHILDREN_LIMIT);
		free(c);
		return rc;
	}
	if (rc < 0) {
		c->failure = rc;
		loop_defer(l, &c->failed, child_failed);
	} else {
		stat_inc(&l->stats, STAT_CHILDREN);
		timer_in(l, &c->deadline, timeout_ns, child_late);
	}
	*ret = c;
	return 0;
}

void proc_kill(struct proc_child **at)
{
	struct proc_child *c = *at;
	if (!c)
		return;
	*at = NULL;
	c->done = NULL;
	timer_cancel(c->loop, &c->deadline);
	if (c->failed.queued) {
		loop_undefer(&c->failed);
		loop_bury(c->loop, &c->grave, child_bury);
	} else {
		c->loop->ops->proc_kill(c->loop->ops_ctx, c);
	}
}
