/* net/sock: a non-blocking byte stream behind four functions, and the accept path.
 *
 * Implementations: kernel sockets (net/sock.c), TLS over another sock (later), in-memory pairs (tests/sim/simnet.c).
 * A sock is owned by whoever got it; sock_close ends it (no event comes afterwards; memory goes with the morgue).
 * Readiness is level-triggered: `readable` comes in each turn until recv says -EAGAIN or less than asked for.
 * Credentials: SO_PEERCRED at accept, Unix sockets only. */
#pragma once
#include <sys/types.h>
#include <sys/uio.h>
#include "net/loop.h"

struct sock_ops {
	ssize_t (*recv)(struct sock *s, void *buf, size_t n);            /* >0; 0: end of stream; -EAGAIN; other negative errno */
	ssize_t (*writev)(struct sock *s, const struct iovec *iov, int n); /* >=0 bytes taken; -EAGAIN; negative errno */
	void (*want)(struct sock *s, bool read, bool write);             /* which readiness events are wanted */
	void (*close)(struct sock *s);
};
struct sock_events {
	void (*connected)(void *user, int err);  /* once, for sock_connect: 0 or negative errno */
	void (*readable)(void *user);
	void (*writable)(void *user);
};
struct sock_cred { bool known; uid_t uid; gid_t gid; pid_t pid; };
struct sock {
	const struct sock_ops *ops;
	const struct sock_events *ev; /* borrowed, static */
	void *user;
	struct loop *loop;
	int fd;                       /* -1 where there is none */
	struct addr peer;
	struct sock_cred cred;
	uint64_t since_boot_ns;       /* Unix sockets, accepted: when, by the clock that /proc tells of processes (CLOCK_BOOTTIME); else 0 */
	bool want_read, want_write;
};

static inline ssize_t sock_recv(struct sock *s, void *buf, size_t n) { return s->ops->recv(s, buf, n); }
static inline ssize_t sock_writev(struct sock *s, const struct iovec *iov, int n) { return s->ops->writev(s, iov, n); }
static inline void sock_want(struct sock *s, bool read, bool write) { if (read != s->want_read || write != s->want_write) s->ops->want(s, read, write); }
static inline void sock_set(struct sock *s, const struct sock_events *ev, void *user) { s->ev = ev; s->user = user; }
/* Reads what is there (LOOP_READ_MAX at most) into the loop's read chunk, behind what earlier reads of this turn left there. *ret_chunk is borrowed: who
 * keeps bytes takes a ref (chain_add does). As sock_recv; -ENOMEM where the process account refuses. */
ssize_t sock_read(struct sock *s, struct chunk **ret_chunk, char **ret_p);
void sock_close(struct sock **s);   /* accepts NULL */
int sock_connect(struct loop *l, const struct addr *to, const struct sock_events *ev, void *user, struct sock **ret); /* connected() follows, never before return */

/* Listening. Unix paths: see sock_listen_path for how the file is made. */
struct sock_listen_events {
	/* A new connection; the callee takes it over (or closes it). False: pause accepting (sock_listen_resume wakes it). */
	bool (*accepted)(void *user, struct sock *taken);
};
struct sock_listen {
	struct loop *loop;
	const struct sock_listen_events *ev;
	void *user;
	struct addr at;
	int fd;                  /* -1 in simulation */
	bool paused;
	bool vital;              /* set by the owner: may use a reserve descriptor when the process has none left (control socket, health) */
	void (*resume)(struct sock_listen *l);
	void (*close)(struct sock_listen *l);
};
enum { SOCK_ACCEPT_MAX = 64, SOCK_BACKLOG = 4096 };
/* at: TCP or abstract. fd: an inherited listening descriptor or -1. The path form makes the file itself. */
int sock_listen(struct loop *l, int fd, const struct addr *at, const struct sock_listen_events *ev, void *user, struct sock_listen **ret);
void sock_listen_pause(struct sock_listen *l);
void sock_listen_resume(struct sock_listen *l);
void sock_listen_close(struct sock_listen **l);

/* The file of a Unix path socket: parent directory checked (writable by everybody and not sticky: a warning in why, 0 is returned), lock file beside it (PATH.lock),
 * a stale socket taken over (connect says ECONNREFUSED) but never a live one, fchmod before bind, group, atomically renamed in place.
 * Errors are told with their reason in err. Removed on close only if the inode is still ours. */
struct sock_path { char *path; int lock_fd; dev_t dev; ino_t ino; };
int sock_path_bind(const char *path, mode_t mode, gid_t group /* -1: leave */, int backlog, struct sock_path *ret, int *ret_fd, char *why, size_t why_len);
void sock_path_unbind(struct sock_path *p);
/* The descriptor is an inherited one, of a file that lies at path already: takes the lock beside it, and looks whether it is that file (ino; 0: whatever lies there), so that
 * sock_path_unbind ends it as if we had made it. -ESTALE: something else lies there, or nothing: nobody could reach the descriptor by that path. */
int sock_path_adopt(const char *path, uint64_t ino, struct sock_path *ret, char *why, size_t why_len);
void sock_path_forget(struct sock_path *p);  /* lets go of the lock and leaves the file to whoever serves it now */
