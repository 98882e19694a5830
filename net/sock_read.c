/* net/sock_read: one chunk that all sockets are read into.
 * Small messages of many connections lie behind each other in it, so that a turn over 256 sockets touches a few pages, not 256 chunks. Once nobody
 * holds a slice of it any more, it starts over; while somebody does and it is nearly full, the next one is taken. Owner: the loop. */
#include <errno.h>
#include "net/sock.h"

enum { ROOM_MIN = 65536, BUSY_MIN = 16384 };

ssize_t sock_read(struct sock *s, struct chunk **ret_chunk, char **ret_p)
{
	struct loop *l = s->loop;
	struct chunk *c = l->reading;
	if (c && c->refs == 1)
		l->reading_at = 0;
	if (c && c->cap - l->reading_at < ROOM_MIN) {
		chunk_unref(c);
		c = l->reading = NULL;
	}
	if (!c) {
		c = l->reading = chunk_new(&l->bufs, &l->memory, LOOP_READ_MAX);
		l->reading_at = 0;
		if (!c)
			return -ENOMEM;
	}
	char *p = c->data + l->reading_at;
	ssize_t n = sock_recv(s, p, c->cap - l->reading_at);
	l->busy |= n >= BUSY_MIN;
	if (n > 0)
		l->reading_at += ((uint32_t)n + 63) & ~63u;
	if (l->reading_at > c->cap)
		l->reading_at = c->cap;
	*ret_chunk = c;
	*ret_p = p;
	return n;
}
