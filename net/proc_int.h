/* net/proc_int: what net/proc and the implementations behind the seam (net/proc_real, tests/sim/simnet_proc) share. */
#pragma once
#include "net/proc.h"

/* Owner: whoever watches, until fn was called; then, and once unwatched, the morgue's. */
struct proc_watch {
	struct loop *loop;          /* borrowed */
	void (*fn)(void *user);
	void *user;
	pid_t pid;                  /* 0: of another PID namespace */
	uint64_t key;               /* no two processes have one key; 0: not known */
	struct grave grave;
	/* the implementation's own */
	int fd;
	struct loop_fd *ready;
	struct list node;
	struct task task;
};
/* Owner: the loop's implementation, until it is reaped; a caller that was told, or has killed it, knows it no more. */
struct proc_child {
	struct loop *loop;          /* borrowed */
	void (*done)(void *user, int code); /* NULL: told already, or nobody wants to know */
	void *user;
	struct timer deadline;
	struct task failed; int failure; /* it could not be started */
	struct grave grave;
	/* the implementation's own */
	pid_t pid;
	int fd;
	struct loop_fd *ready;
	struct timer poll;
	struct list node;
	int code;
};
/* For implementations: it has ended. The caller of proc_watch hears of it, and the struct is gone at the end of the turn. */
void proc_ended(struct proc_watch *w);
/* A child has ended with that code and is reaped: told, if it was not yet, and gone at the end of the turn. */
void proc_child_ended(struct proc_child *c, int code);

int proc_real_watch(void *ctx, struct proc_watch *w, const struct sock *peer);
void proc_real_unwatch(void *ctx, struct proc_watch *w);
uint64_t proc_real_began(void *ctx, pid_t pid);
int proc_real_owner(void *ctx, pid_t pid, uid_t *ret);
int proc_real_run(void *ctx, struct proc_child *c, char *const *argv);
void proc_real_kill(void *ctx, struct proc_child *c);
struct loop_real;
void proc_real_end(struct loop_real *r); /* the loop ends: children that are left are killed, and reaped as far as they are dead */
