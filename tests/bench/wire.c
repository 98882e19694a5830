/* tests/bench/wire: see wire.h. */
#include "tests/bench/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { OUT_HIGH = 1 << 16 };

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void *must(void *p)
{
	if (!p)
		die("out of memory");
	return p;
}

/* ---- sockets ---- */

static struct sockaddr_un unix_address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path))
		die("%s: the path is too long for a socket", path);
	strcpy(a.sun_path, path);
	return a;
}

static struct sockaddr_in tcp_address(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int connected(int fd, const void *address, socklen_t n)
{
	if (fd < 0 || connect(fd, address, n) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int wire_dial_unix(const char *path)
{
	struct sockaddr_un a = unix_address(path);

	return connected(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &a, sizeof(a));
}

int wire_dial_tcp(int port)
{
	struct sockaddr_in a = tcp_address(port);
	int fd = connected(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &a, sizeof(a));

	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	return fd;
}

static int listening(int fd, const void *address, socklen_t n)
{
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(fd, address, n) < 0 || listen(fd, 1024) < 0)
		die("cannot listen: %s", strerror(errno));
	return fd;
}

int wire_listen_unix(const char *path)
{
	struct sockaddr_un a = unix_address(path);

	unlink(path);
	return listening(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), &a, sizeof(a));
}

int wire_listen_tcp(int port)
{
	struct sockaddr_in a = tcp_address(port);

	return listening(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), &a, sizeof(a));
}

/* ---- the wire ---- */

static void wire_arm(struct wires *ws, struct wire *w, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	if (events == w->armed)
		return;
	epoll_ctl(ws->epoll, w->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &e);
	w->armed = events;
}

void wire_begin(struct wires *ws, struct wire *w, int fd, nghttp2_session *session, uint32_t window, uint32_t connection_window)
{
	/* Without the old priorities, which only cost; ENABLE_PUSH is a caller's to say and harms nobody who listens to none. */
	nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};

	*w = (struct wire){.fd = fd, .session = session, .user = w->user, .io = w->io, .layer = w->layer};
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 3);
	nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, (int32_t)connection_window);
	wire_arm(ws, w, EPOLLIN);
	wire_mark(ws, w);
}

void wire_end(struct wires *ws, struct wire *w)
{
	if (!w->session)
		return;
	for (struct wire **at = &ws->marked; w->marked && *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	nghttp2_session_del(w->session);
	if (w->io)
		w->io->end(w);
	close(w->fd);
	free(w->out);
	*w = (struct wire){.fd = -1, .broken = true, .user = w->user};
}

void wire_mark(struct wires *ws, struct wire *w)
{
	if (w->marked || !w->session)
		return;
	w->marked = true;
	w->next = ws->marked;
	ws->marked = w;
}

bool wire_read(struct wire *w)
{
	static uint8_t in[WIRE_READ_MAX]; /* a tool has one thread and keeps nothing of it */
	ssize_t n;

	do {
		n = w->io ? w->io->recv(w, in, sizeof(in)) : read(w->fd, in, sizeof(in));
		if (n > 0 && nghttp2_session_mem_recv(w->session, in, (size_t)n) < 0)
			return false;
	} while (n > 0 && w->io); /* what a layer has left over epoll knows nothing of */
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void wire_pack(struct wire *w)
{
	const uint8_t *frame;
	ssize_t n;

	while (w->n < OUT_HIGH && (n = nghttp2_session_mem_send(w->session, &frame)) > 0) {
		if (w->n + (size_t)n > w->cap)
			w->out = must(realloc(w->out, w->cap = (w->n + (size_t)n) * 2));
		memcpy(w->out + w->n, frame, (size_t)n);
		w->n += (size_t)n;
	}
}

static bool wire_flush(struct wires *ws, struct wire *w)
{
	bool full = false, mute = false;

	for (;;) {
		wire_pack(w);
		if (w->n == 0)
			break;
		ssize_t n = w->io ? w->io->send(w, w->out + w->at, w->n - w->at) : send(w->fd, w->out + w->at, w->n - w->at, MSG_NOSIGNAL);

		if (n < 0) {
			mute = errno == EINPROGRESS;
			if (errno != EAGAIN && !mute)
				return false;
			full = true;
			break;
		}
		w->at += (size_t)n;
		if (w->at == w->n)
			w->at = w->n = 0;
	}
	wire_arm(ws, w, full && !mute ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return nghttp2_session_want_read(w->session) || nghttp2_session_want_write(w->session) || full;
}

void wire_sweep(struct wires *ws)
{
	struct wire *w;

	while ((w = ws->marked)) {
		ws->marked = w->next;
		w->marked = false;
		if (wire_flush(ws, w))
			continue;
		if (w->lingers && w->n == 0) {
			shutdown(w->fd, SHUT_WR);
		} else {
			w->broken = true;
			shutdown(w->fd, SHUT_RDWR); /* epoll tells the tool, which ends it */
		}
	}
}
