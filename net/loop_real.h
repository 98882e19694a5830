/* net/loop_real: what the rooms of the real loop share (libevent base, accept path, kernel sockets). Private to net/. */
#pragma once
#include <event2/event.h>
#include <event2/event_struct.h>
#include "net/loop.h"

enum { RESERVE_FDS = 2 };

/* Owner: struct loop (ops_ctx). */
struct loop_real {
	struct loop *loop;          /* set once loop_new has made it */
	struct event_base *base;
	struct event timeout;       /* the only timer that libevent sees */
	uint64_t armed_ns;          /* when `timeout` fires; UINT64_MAX: not armed */
	struct list signals;        /* struct loop_signal, owned */
	struct list starved;        /* listeners that wait for a descriptor: borrowed, they unhook themselves */
	struct list children;       /* struct proc_child, owned until they are reaped */
	uint32_t nchildren;
	int reserve[RESERVE_FDS];   /* held open on /dev/null, let go when the process has no other left; -1: in use */
};

static inline struct loop_real *loop_real(const struct loop *l) { return l->ops_ctx; }

/* Descriptors at the limit: gives one reserve back to the kernel (false: none left), and takes them again when one was closed. */
bool reserve_spend(struct loop_real *r);
void reserve_refill(struct loop_real *r);

int sock_real_connect(void *ctx, struct loop *l, const struct addr *to, struct sock **ret);
int sock_real_listen(void *ctx, struct loop *l, int fd, const struct addr *at, int backlog, struct sock_listen **ret);
struct sock *sock_real_adopt(struct loop *l, int fd, const struct addr *peer); /* a connected, non-blocking descriptor */
void sock_real_fd_freed(struct loop *l);  /* a descriptor was closed: reserves first, then starved listeners */
void loop_fd_drop(struct loop_fd **f);    /* as loop_fd_del, where the loop ends: there is no morgue any more */
