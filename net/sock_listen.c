/* net/sock_listen: the accept path of kernel sockets.
 *
 * Our own, because a listener has to survive what others do to it: at most SOCK_ACCEPT_MAX connections a wake-up; when descriptors or
 * memory run out the listener leaves the poll set (a level-triggered listener would spin) and comes back when a sock was closed or after
 * 50 ms; a connection that died in the backlog is nobody's error. Owner of a listener: whoever asked for it (uds, sidecar). */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "net/loop_real.h"
#include "net/sock.h"

enum { STARVED_RETRY_MS = 50 };
/* A caller that does not read pins this much of the kernel's memory, which is charged to our cgroup: 1,000 such callers, 256 MiB. Less
 * costs wake-ups, for each unread skb counts at least 768 bytes. */
enum { UNIX_SNDBUF = 262144 };

struct real_listen {
	struct sock_listen l;
	struct event event;
	bool event_on;
	struct timer retry;
	struct list starved;     /* node in loop_real.starved while there is no descriptor */
	struct grave grave;
};

static struct real_listen *listen_of(struct sock_listen *l)
{
	return container_of(l, struct real_listen, l);
}

/* ---- the calls of the contract --------------------------------------------------------------------------------------------- */

int sock_listen(struct loop *l, int fd, const struct addr *at, const struct sock_listen_events *ev, void *user, struct sock_listen **ret)
{
	struct sock_listen *made;
	int r = l->ops->sock_listen(l->ops_ctx, l, fd, at, SOCK_BACKLOG, &made);

	if (r < 0)
		return r;
	made->ev = ev;
	made->user = user;
	*ret = made;
	return 0;
}

/* The implementation looks at `paused` when the next connection comes: a pause that is lifted before costs nothing. */
void sock_listen_pause(struct sock_listen *l)
{
	l->paused = true;
}

void sock_listen_resume(struct sock_listen *l)
{
	if (!l->paused)
		return;
	l->paused = false;
	l->resume(l);
}

void sock_listen_close(struct sock_listen **l)
{
	if (!*l)
		return;
	(*l)->close(*l);
	*l = NULL;
}

/* ---- in the poll set or not ------------------------------------------------------------------------------------------------- */

static void watch(struct real_listen *k, bool on)
{
	if (on == k->event_on)
		return;
	if ((on ? event_add(&k->event, NULL) : event_del(&k->event)) == 0)
		k->event_on = on;
}

static void fed(struct real_listen *k)
{
	list_del(&k->starved);
	timer_cancel(k->l.loop, &k->retry);
	watch(k, !k->l.paused);
}

static void retry_due(struct timer *t)
{
	fed(container_of(t, struct real_listen, retry));
}

static void starve(struct real_listen *k)
{
	struct loop *l = k->l.loop;

	stat_inc(&l->stats, STAT_ACCEPT_PAUSED_FD);
	watch(k, false);
	if (!list_linked(&k->starved))
		list_push(&loop_real(l)->starved, &k->starved);
	timer_in(l, &k->retry, (uint64_t)STARVED_RETRY_MS * 1000000, retry_due);
}

void sock_real_fd_freed(struct loop *l)
{
	struct loop_real *r = loop_real(l);

	if (list_empty(&r->starved) && r->reserve[0] >= 0 && r->reserve[1] >= 0)
		return;
	reserve_refill(r);
	list_each(n, next, &r->starved)
		fed(list_entry(n, struct real_listen, starved));
}

/* ---- accepting ---------------------------------------------------------------------------------------------------------------- */

static int accept_one(struct real_listen *k, struct addr *peer)
{
	int fd;

	peer->len = sizeof(*peer) - sizeof(peer->len);
	if (peer->len > sizeof(struct sockaddr_un))
		peer->len = sizeof(struct sockaddr_un);
	fd = accept4(k->l.fd, &peer->sa, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static struct sock *taken(struct real_listen *k, int fd, const struct addr *peer)
{
	struct sock *s = sock_real_adopt(k->l.loop, fd, peer);

	if (k->l.at.sa.sa_family == AF_UNIX) {
		struct ucred c;
		socklen_t len = sizeof(c);
		int size = UNIX_SNDBUF;
		struct timespec now;
		clock_gettime(CLOCK_BOOTTIME, &now);
		s->since_boot_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
		/* Those of connect(2), kept by the kernel: nothing that the peer does later changes them. */
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0)
			s->cred = (struct sock_cred){.known = true, .uid = c.uid, .gid = c.gid, .pid = c.pid};
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	} else {
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	return s;
}

static bool is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

static void acceptable(evutil_socket_t unused, short what, void *user)
{
	struct real_listen *k = user;
	struct loop *l = k->l.loop;

	(void)unused, (void)what;
	loop_wake(l);
	for (int i = 0; i < SOCK_ACCEPT_MAX && k->l.fd >= 0; i++) {
		struct addr peer;
		if (k->l.paused) {
			watch(k, false);
			return;
		}
		memset(&peer, 0, sizeof(peer));
		int fd = accept_one(k, &peer);
		if (fd == -EMFILE && k->l.vital && reserve_spend(loop_real(l))) {
			fd = accept_one(k, &peer);
			if (fd < 0) /* accept(2) takes a descriptor before it looks for a connection: there was none */
				reserve_refill(loop_real(l));
		}
		if (fd >= 0) {
			if (!k->l.ev->accepted(k->l.user, taken(k, fd, &peer)))
				k->l.paused = true;
		} else if (fd == -EAGAIN) {
			return;
		} else if (is_shortage(fd)) {
			starve(k);
			return;
		} else if (fd != -ECONNABORTED && fd != -EPROTO && fd != -EINTR && fd != -EPERM) {
			/* What accept(2) lists besides are errors of the network that the dead connection had: the next one is fine.
			 * But should the listener itself be broken, it must not take a turn after another. */
			log_warn(l->log, "listener: accept failed, trying again in %d ms: %s", STARVED_RETRY_MS, strerror(-fd));
			starve(k);
			return;
		}
	}
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------------------- */

static void real_resume(struct sock_listen *l)
{
	struct real_listen *k = listen_of(l);

	if (!list_linked(&k->starved))
		watch(k, true);
}

static void real_bury(struct grave *g)
{
	free(container_of(g, struct real_listen, grave));
}

static void real_close(struct sock_listen *l)
{
	struct real_listen *k = listen_of(l);

	event_del(&k->event);
	timer_cancel(l->loop, &k->retry);
	list_del(&k->starved);
	close(l->fd);
	l->fd = -1;
	loop_bury(l->loop, &k->grave, real_bury);
	sock_real_fd_freed(l->loop);
}

static int bound_socket(const struct addr *at, int backlog)
{
	int one = 1, r;
	int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (at->sa.sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* So that 0.0.0.0 and [::] can be listed side by side, and each says what it means. */
	if (at->sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, &at->sa, at->len) < 0 || listen(fd, backlog) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

/* An inherited descriptor (socket activation) may be anything: it must be a listening stream socket. It is closed on error only if ours. */
static int inherited_socket(int fd)
{
	int type = 0, listens = 0, flags;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	len = sizeof(int);
	if (type != SOCK_STREAM || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return fd;
}

int sock_real_listen(void *ctx, struct loop *l, int fd, const struct addr *at, int backlog, struct sock_listen **ret)
{
	bool ours = fd < 0;

	(void)ctx;
	/* The file of a path has its own rules: sock_path_bind makes it and gives the descriptor. */
	if (ours && at->sa.sa_family == AF_UNIX && at->un.sun_path[0])
		return -EINVAL;
	fd = ours ? bound_socket(at, backlog) : inherited_socket(fd);
	if (fd < 0)
		return fd;
	struct real_listen *k = xnew(struct real_listen);
	k->l.loop = l;
	k->l.fd = fd;
	k->l.resume = real_resume;
	k->l.close = real_close;
	k->l.at = *at;
	if (at->sa.sa_family != AF_UNIX) {
		/* Port 0 was asked for: tell which one it became. */
		k->l.at.len = sizeof(struct sockaddr_in6);
		if (getsockname(fd, &k->l.at.sa, &k->l.at.len) < 0)
			k->l.at = *at;
	}
	event_assign(&k->event, loop_real(l)->base, fd, EV_READ | EV_PERSIST, acceptable, k);
	watch(k, true);
	if (!k->event_on) {
		if (ours)
			close(fd);
		free(k);
		return -ENOMEM;
	}
	*ret = &k->l;
	return 0;
}
