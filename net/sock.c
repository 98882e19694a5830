/* net/sock: the calls of the contract that all implementations share, and kernel stream sockets.
 *
 * A kernel sock has two libevent events, both level-triggered and persistent: reading stays armed, writing is added only while it is wanted
 * (a full socket buffer, a connect under way). Each change costs one epoll_ctl, so nothing is changed that need not be.
 * Owner: whoever got the sock; the memory goes with the morgue, so a callback may close the sock that it is called for. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "net/loop_real.h"
#include "net/sock.h"

struct real_sock {
	struct sock s;
	struct event reading, writing;
	struct grave grave;
	struct task told;       /* a connect that ended at once is told by the deferred work of the turn */
	int connect_error;
	bool connecting;        /* readiness events wait until connected() */
	bool reading_on, writing_on;
};

static struct real_sock *real_of(struct sock *s)
{
	return container_of(s, struct real_sock, s);
}

void sock_close(struct sock **s)
{
	if (!*s)
		return;
	(*s)->ops->close(*s);
	*s = NULL;
}

int sock_connect(struct loop *l, const struct addr *to, const struct sock_events *ev, void *user, struct sock **ret)
{
	struct sock *made;
	int r = l->ops->sock_connect(l->ops_ctx, l, to, &made);

	if (r < 0)
		return r;
	sock_set(made, ev, user);
	*ret = made;
	return 0;
}

/* ---- readiness ------------------------------------------------------------------------------------------------------------ */

/* event_add fails where the kernel has no memory for the epoll entry; it is tried again with the next change. */
static void toggle(struct event *e, bool *on, bool wanted)
{
	if (*on != wanted && (wanted ? event_add(e, NULL) : event_del(e)) == 0)
		*on = wanted;
}

static void watch(struct real_sock *k)
{
	toggle(&k->reading, &k->reading_on, k->s.want_read && !k->connecting);
	toggle(&k->writing, &k->writing_on, k->s.want_write || k->connecting);
}

static void real_want(struct sock *s, bool read, bool write)
{
	s->want_read = read;
	s->want_write = write;
	if (!real_of(s)->connecting)
		watch(real_of(s));
}

static void readable(evutil_socket_t fd, short what, void *user)
{
	struct real_sock *k = user;

	(void)fd, (void)what;
	loop_wake(k->s.loop);
	k->s.ev->readable(k->s.user);
}

static void writable(evutil_socket_t fd, short what, void *user);

/* While it connects, one event is for both: so its errors can be told from its success. */
static void writing_is(struct real_sock *k, short what)
{
	event_assign(&k->writing, loop_real(k->s.loop)->base, k->s.fd, (short)(what | EV_PERSIST), writable, k);
}

/* The callee says at once what it wants to know from now on, and reading is turned on before the connect's event goes: the kernel hears of one change, not of two. */
static void connect_ended(struct real_sock *k, int err)
{
	k->s.ev->connected(k->s.user, err);
	k->connecting = false;
	if (k->s.fd < 0)
		return;
	toggle(&k->reading, &k->reading_on, k->s.want_read);
	event_del(&k->writing);
	k->writing_on = false;
	writing_is(k, EV_WRITE);
	watch(k);
}

static int connect_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

/* An error of a connect makes it readable and writable. One that is writable alone has none, which spares asking. */
static void writable(evutil_socket_t fd, short what, void *user)
{
	struct real_sock *k = user;

	loop_wake(k->s.loop);
	if (!k->connecting)
		k->s.ev->writable(k->s.user);
	else
		connect_ended(k, what & EV_READ ? connect_error(fd) : 0);
}

static void connect_told(struct task *t)
{
	struct real_sock *k = container_of(t, struct real_sock, told);

	connect_ended(k, k->connect_error);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------ */

static ssize_t real_recv(struct sock *s, void *buf, size_t n)
{
	ssize_t got;

	do
		got = recv(s->fd, buf, n, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* send and sendmsg, not write and writev: a peer that has gone must not raise SIGPIPE, whatever the process does about it. One piece, the usual case,
 * goes without a header that the kernel would have to copy in. */
static ssize_t real_writev(struct sock *s, const struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t took;

	do
		took = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL) : sendmsg(s->fd, &m, MSG_NOSIGNAL);
	while (took < 0 && errno == EINTR);
	/* ENOBUFS: the kernel is short of memory right now, the socket is fine. */
	return took >= 0 ? took : errno == ENOBUFS ? -EAGAIN : -errno;
}

static void real_bury(struct grave *g)
{
	free(container_of(g, struct real_sock, grave));
}

static void real_close(struct sock *s)
{
	struct real_sock *k = real_of(s);

	if (s->fd < 0)
		return;
	event_del(&k->reading);
	event_del(&k->writing);
	loop_undefer(&k->told);
	close(s->fd);
	s->fd = -1;
	loop_bury(s->loop, &k->grave, real_bury);
	sock_real_fd_freed(s->loop);
}

static const struct sock_ops real_sock_ops = {.recv = real_recv, .writev = real_writev, .want = real_want, .close = real_close};

struct sock *sock_real_adopt(struct loop *l, int fd, const struct addr *peer)
{
	struct real_sock *k = xnew(struct real_sock);

	k->s.ops = &real_sock_ops;
	k->s.loop = l;
	k->s.fd = fd;
	k->s.peer = *peer;
	event_assign(&k->reading, loop_real(l)->base, fd, EV_READ | EV_PERSIST, readable, k);
	writing_is(k, EV_WRITE);
	return &k->s;
}

/* ---- connecting ------------------------------------------------------------------------------------------------------------- */

static int stream_socket(struct loop *l, int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* The reserve keeps the way to the control plane open when callers have taken all the rest. */
	if (fd < 0 && errno == EMFILE && reserve_spend(loop_real(l)))
		fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* A full backlog of a Unix listener is EAGAIN, told as such: nobody will wake us when it has room, so the caller's back-off does it. */
int sock_real_connect(void *ctx, struct loop *l, const struct addr *to, struct sock **ret)
{
	int fd = stream_socket(l, to->sa.sa_family), one = 1, r;

	(void)ctx;
	if (fd < 0)
		return fd;
	/* All that a turn has for a connection is written at once: Nagle would only hold it back. */
	if (to->sa.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	struct real_sock *k = real_of(sock_real_adopt(l, fd, to));
	do
		r = connect(fd, &to->sa, to->len);
	while (r < 0 && errno == EINTR);
	k->connecting = true;
	if (r < 0 && errno == EINPROGRESS) {
		writing_is(k, EV_READ | EV_WRITE);
		watch(k);
	} else {
		k->connect_error = r < 0 ? -errno : 0;
		loop_defer(l, &k->told, connect_told);
	}
	*ret = &k->s;
	return 0;
}
