/* net/h2_mem: the allocator that nghttp2 gets.
 * Small blocks (up to 1024 bytes: stream structs, frame items, HPACK entries) come from free lists shared by all connections of the loop, because
 * nghttp2 makes about eleven of them a call. Each block carries its size in front. Everything is charged to the connection's account; a no
 * becomes NGHTTP2_ERR_NOMEM, which ends this connection only. */
#include "net/h2_int.h"
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { KEEP = 0 }; /* each block through free(): the sanitizer sees a use after its end */
#else
enum { KEEP = 8192 }; /* h2_loop_trim gives them back */
#endif
enum { STEP = 32, BIGGEST = 1024, HEADER = 16 };

static void *mem_get(struct h2_conn *c, size_t n, bool force)
{
	size_t whole = n + HEADER;
	if (force)
		mem_force(&c->account, whole);
	else if (!mem_try(&c->account, whole))
		return NULL;
	size_t class = (whole + STEP - 1) / STEP;
	size_t *p;
	if (class <= BIGGEST / STEP) {
		struct h2_shared *s = c->shared;
		p = s->free[class];
		if (p) {
			memcpy(&s->free[class], p, sizeof(void *));
			s->free_n[class]--;
		} else {
			p = malloc(class * STEP);
		}
	} else {
		p = malloc(whole);
	}
	if (!p) {
		mem_give(&c->account, whole);
		return NULL;
	}
	p[0] = whole;
	return (char *)p + HEADER;
}

static void *mem_malloc(size_t n, void *user)
{
	return mem_get(user, n, ((struct h2_conn *)user)->force_memory);
}

static void mem_free(void *ptr, void *user)
{
	if (!ptr)
		return;
	struct h2_conn *c = user;
	size_t *p = (size_t *)((char *)ptr - HEADER);
	size_t whole = p[0], class = (whole + STEP - 1) / STEP;
	mem_give(&c->account, whole);
	struct h2_shared *s = c->shared;
	if (class <= BIGGEST / STEP && s->free_n[class] + 1 <= KEEP) {
		memcpy(p, &s->free[class], sizeof(void *));
		s->free[class] = p;
		s->free_n[class]++;
	} else {
		free(p);
	}
}

static void *mem_calloc(size_t n, size_t size, void *user)
{
	if (size && n > SIZE_MAX / size)
		return NULL;
	void *p = mem_malloc(n * size, user);
	if (p)
		memset(p, 0, n * size);
	return p;
}

/* Never refused by the account: libnghttp2 grows its queue of streams that have DATA by it, and when that fails it frees the DATA item and keeps
 * it attached to its stream (session_attach_stream_item), a double free. What it grows is small: 8 bytes a stream, and one frame's buffer. */
static void *mem_realloc(void *ptr, size_t n, void *user)
{
	if (!ptr)
		return mem_get(user, n, true);
	if (n == 0) {
		mem_free(ptr, user);
		return NULL;
	}
	size_t old = *(size_t *)((char *)ptr - HEADER) - HEADER;
	void *p = mem_get(user, n, true);
	if (!p)
		return NULL;
	memcpy(p, ptr, old < n ? old : n);
	mem_free(ptr, user);
	return p;
}

nghttp2_mem h2_mem(struct h2_conn *c)
{
	return (nghttp2_mem){c, mem_malloc, mem_free, mem_calloc, mem_realloc};
}

void h2_mem_trim(struct h2_shared *s)
{
	for (size_t i = 0; i <= BIGGEST / STEP; i++) {
		while (s->free[i]) {
			void *p = s->free[i];
			memcpy(&s->free[i], p, sizeof(void *));
			free(p);
		}
		s->free_n[i] = 0;
	}
}
