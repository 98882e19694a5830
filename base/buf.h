/* base/buf: the only currency in which body bytes move.
 *
 *   chain  = list of slices;  slice = (chunk, offset, length);  chunk = refcounted block of bytes
 *
 * A reader fills a chunk from the kernel; slices of it travel from stream to stream without being copied; the last slice
 * that dies returns the chunk to its pool. What outlives its turn and is (with the slices of the same chunk that follow it) smaller than a quarter of its chunk is
 * copied (chain_settle), so that one stalled byte never holds a big chunk. Accounts count chunks, by their whole size.
 * A chain is owned by exactly one holder; moving leaves the source empty. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/mem.h"

struct buf_pool;
struct chunk {
	uint32_t refs;
	uint32_t cap;
	uint32_t used;             /* bytes from here on are nobody's and may be appended to (base/buf.c only); cap where somebody else writes */
	struct buf_pool *pool;     /* borrowed: it outlives its chunks */
	struct charge charge;      /* cap + header; charge.account is NULL where nobody pays */
	char data[];
};
enum { CHUNK_BIG = 131072, CHUNK_SMALL = 2048 };

/* Free lists of the two usual sizes. Owner: loop. */
struct buf_pool { struct chunk *free_big, *free_small; uint32_t n_big, n_small, keep_big, keep_small; uint32_t live; struct pool_mem nodes; };
void buf_pool_init(struct buf_pool *p);
void buf_pool_trim(struct buf_pool *p); /* gives the free ones back to libc */
void buf_pool_end(struct buf_pool *p);  /* asserts that no chunk and no slice is left */

struct chunk *chunk_new(struct buf_pool *p, struct account *a, size_t cap); /* cap is rounded up; NULL: refused */
void chunk_free(struct chunk *c); /* only for chunk_unref: nobody has a ref any more */
static inline void chunk_unref(struct chunk *c)
{
	if (--c->refs == 0)
		chunk_free(c);
}
static inline struct chunk *chunk_ref(struct chunk *c) { c->refs++; return c; }

/* sealed: a piece ends here that shall stay one: what came as a DATA frame goes on as one (net/h2_stream). Slices are not joined over a seal; moving, sharing
 * and settling keep it. */
struct slice { struct slice *next; struct chunk *chunk; const char *p; uint32_t n; bool sealed; };
struct chain { struct slice *head, *tail; size_t bytes; };
#define CHAIN_INIT ((struct chain){0})
static inline bool chain_empty(const struct chain *c) { return c->bytes == 0; }
/* A slice of chunk (takes a new ref). n may be 0 (nothing happens). */
static inline void chain_add(struct chain *c, struct chunk *chunk, const char *p, size_t n)
{
	struct slice *s = c->tail;
	if (n == 0)
		return;
	assert(p >= chunk->data && n <= (size_t)(chunk->data + chunk->cap - p));
	c->bytes += n;
	if (s && s->chunk == chunk && s->p + s->n == p && !s->sealed) { /* goes on where the last one ends: one entry of writev, not two */
		s->n += (uint32_t)n;
		return;
	}
	struct slice *fresh = (struct slice *)pool_mem_get_raw(&chunk->pool->nodes);
	*fresh = (struct slice){NULL, chunk_ref(chunk), p, (uint32_t)n, false};
	if (s)
		s->next = fresh;
	else
		c->head = fresh;
	c->tail = fresh;
}
static inline void chain_seal(struct chain *c)                         /* a piece ends with what is in it so far */
{
	if (c->tail)
		c->tail->sealed = true;
}
/* Bytes of the first piece; more than `most` is not looked for. *ret_sealed: it ends with a seal. */
static inline size_t chain_piece(const struct chain *c, size_t most, bool *ret_sealed)
{
	size_t n = 0;
	const struct slice *s = c->head;
	*ret_sealed = false;
	for (; s && n < most && !*ret_sealed; s = s->next) {
		n += s->n;
		*ret_sealed = s->sealed;
	}
	return n;
}
/* Copies n bytes in. -ENOMEM: the account refused, nothing was added. */
int chain_copy_in(struct chain *c, struct buf_pool *p, struct account *a, const void *bytes, size_t n);
static inline void chain_move(struct chain *to, struct chain *from)    /* all of from to the end of to */
{
	if (!from->head)
		return;
	if (to->tail)
		to->tail->next = from->head;
	else
		to->head = from->head;
	to->tail = from->tail;
	to->bytes += from->bytes;
	*from = CHAIN_INIT;
}
void chain_move_n(struct chain *to, struct chain *from, size_t n);     /* the first n bytes (all, if there are fewer) */
void chain_share(struct chain *to, const struct chain *from);          /* a second reader: refs, no copy */
static inline void chain_drop(struct chain *c, size_t n)               /* the first n bytes away; n <= bytes */
{
	assert(n <= c->bytes);
	c->bytes -= n;
	while (n) {
		struct slice *s = c->head;
		if (n < s->n) {
			s->p += n;
			s->n -= (uint32_t)n;
			return;
		}
		n -= s->n;
		c->head = s->next;
		if (!c->head)
			c->tail = NULL;
		struct chunk *chunk = s->chunk;
		pool_mem_put(&chunk->pool->nodes, s);
		chunk_unref(chunk);
	}
}
static inline void chain_clear(struct chain *c) { chain_drop(c, c->bytes); }
size_t chain_peek(const struct chain *c, size_t off, void *out, size_t n); /* copies out, returns how many */
int chain_iov(const struct chain *c, struct iovec *iov, int max, size_t limit); /* fills at most max entries / limit bytes */
/* Before a chain is kept beyond this turn: copies slices that together hold less than a quarter of their chunk into chunks of their own
 * (charged to a), and moves the charge of the others; a chunk that someone outside of this chain also holds stays with the
 * account that paid first. Of very many very small pieces the later ones are joined. -ENOMEM: refused, chain as it was. */
int chain_settle(struct chain *c, struct buf_pool *p, struct account *a);
