/* tests/bench/wire: one non-blocking socket with one nghttp2 session on it: what load, backend and floor have in common.
 *
 *   wire_read   one read, fed to the session              wire_mark   has something to send
 *   wire_sweep  packs and writes what all marked wires have: one write a wire and turn, so that the tools cost little beside what they measure
 *
 * The tools are not part of the daemon and share nothing with it: a fault in net/ must not hide in its own measuring stick.
 * Owner of a wire: the tool; of the list of marked ones: struct wires. */
#pragma once
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct wire;
/* What is between the session and the socket, where that is not nothing (wire_tls). errno of -1: EAGAIN, or EINPROGRESS of a send that waits for what the other side says. */
struct wire_io {
	ssize_t (*recv)(struct wire *w, void *to, size_t n);
	ssize_t (*send)(struct wire *w, const void *from, size_t n);
	void (*end)(struct wire *w);
};

struct wire {
	int fd;
	const struct wire_io *io;   /* set before wire_begin; NULL: plain */
	void *layer;                /* its own */
	uint32_t armed;             /* the epoll events that are on */
	nghttp2_session *session;   /* owned */
	uint8_t *out;               /* packed and not written: out[at..n) */
	size_t at, n, cap;
	bool marked, broken;
	bool lingers;               /* set after wire_begin: who has said all waits for the other side's end, so that nothing of it is answered with a reset */
	struct wire *next;          /* of the marked ones */
	void *user;
};

struct wires {
	int epoll;
	struct wire *marked;
};

enum { WIRE_READ_MAX = 1 << 17 };

uint64_t now_ns(void);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *must(void *p); /* p, or the end */

int wire_dial_unix(const char *path); /* -1: nobody there */
int wire_dial_tcp(int port);
int wire_listen_unix(const char *path);
int wire_listen_tcp(int port);

/* The session is made by the caller before; fd is owned from here on. */
void wire_begin(struct wires *ws, struct wire *w, int fd, nghttp2_session *session, uint32_t window, uint32_t connection_window);
void wire_end(struct wires *ws, struct wire *w);
void wire_mark(struct wires *ws, struct wire *w);
bool wire_read(struct wire *w); /* false: it is over */
void wire_sweep(struct wires *ws);
