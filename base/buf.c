/* base/buf: see buf.h for the objects. Here: where chunks come from and go to, and what is not on the path of each byte.
 *
 * Of a chunk that was made by copying, the bytes from `used` on are nobody's: chain_copy_in fills them before it asks for a new chunk, so frame
 * headers, small trailers and pieces of their like share one, whoever else reads what lies in front. Chunks that somebody else writes into (a
 * reader) have no such bytes. */
#include "base/buf.h"
#include <errno.h>

#ifdef __SANITIZE_ADDRESS__
enum { KEEP_BIG = 0, KEEP_SMALL = 0, KEEP_NODES = 0 }; /* each chunk through free(): the sanitizer sees a use after its end */
#else
/* A turn reads one chunk at a time and the writers hold a few: 4 big ones serve a busy loop; the rest is for libc. 1024 slices
 * are 48 KiB. */
enum { KEEP_BIG = 4, KEEP_SMALL = 64, KEEP_NODES = 1024 };
#endif
/* A slice costs 32 bytes that no account pays for. Pieces stay apart while there are few of them, or where they are larger than that: so a peer that
 * sends a byte a frame makes us hold 4 KiB of slices, as much as two chunks. */
enum { PIECES_FREE = 128, PIECE_BYTES = 32 };

static size_t chunk_size(const struct chunk *c)
{
	return sizeof(struct chunk) + c->cap;
}

void buf_pool_init(struct buf_pool *p)
{
	*p = (struct buf_pool){.keep_big = KEEP_BIG, .keep_small = KEEP_SMALL};
	pool_mem_init(&p->nodes, sizeof(struct slice), KEEP_NODES);
}

/* The free list that a chunk of this size belongs to; NULL: none, it comes from libc each time. */
static struct chunk **free_list(struct buf_pool *p, size_t cap, uint32_t **ret_n, uint32_t *ret_keep)
{
	if (cap == CHUNK_BIG) {
		*ret_n = &p->n_big;
		*ret_keep = p->keep_big;
		return &p->free_big;
	}
	if (cap == CHUNK_SMALL) {
		*ret_n = &p->n_small;
		*ret_keep = p->keep_small;
		return &p->free_small;
	}
	return NULL;
}

/* A free chunk holds no bytes, so the link of its list lies where they were. */
static struct chunk *free_next(const struct chunk *c)
{
	struct chunk *next;
	memcpy(&next, c->data, sizeof(next));
	return next;
}

static void free_link(struct chunk *c, struct chunk *next)
{
	memcpy(c->data, &next, sizeof(next));
}

static void list_free(struct chunk **list, uint32_t *n)
{
	while (*list) {
		struct chunk *c = *list;
		*list = free_next(c);
		free(c);
	}
	*n = 0;
}

void buf_pool_trim(struct buf_pool *p)
{
	list_free(&p->free_big, &p->n_big);
	list_free(&p->free_small, &p->n_small);
	pool_mem_trim(&p->nodes, 0);
}

void buf_pool_end(struct buf_pool *p)
{
	assert(p->live == 0);
	buf_pool_trim(p);
	pool_mem_end(&p->nodes);
}

/* The usual two, powers of two between them, whole pages beyond. 0: too large. */
static size_t cap_for(size_t n)
{
	size_t cap = CHUNK_SMALL;
	if (n > CHUNK_BIG)
		return n > UINT32_MAX - 4096 ? 0 : (n + 4095) & ~(size_t)4095;
	while (cap < n)
		cap *= 2;
	return cap;
}

struct chunk *chunk_new(struct buf_pool *p, struct account *a, size_t n)
{
	size_t cap = cap_for(n), all = sizeof(struct chunk) + cap;
	if (!cap || (a && !mem_try(a, all)))
		return NULL;

	uint32_t *count, keep;
	struct chunk **list = free_list(p, cap, &count, &keep), *c;
	if (list && *list) {
		c = *list;
		*list = free_next(c);
		--*count;
	} else {
		c = malloc(all);
	}
	if (!c) {
		if (a)
			mem_give(a, all);
		return NULL;
	}
	c->refs = 1;
	c->cap = c->used = (uint32_t)cap;
	c->pool = p;
	charge_begin(&c->charge, a, all);
	p->live++;
	return c;
}

void chunk_free(struct chunk *c)
{
	struct buf_pool *p = c->pool;
	uint32_t *n, keep;
	struct chunk **list = free_list(p, c->cap, &n, &keep);
	charge_end(&c->charge);
	p->live--;
	if (!list || *n >= keep) {
		free(c);
		return;
	}
	free_link(c, *list);
	*list = c;
	++*n;
}

/* How many bytes behind the last slice are nobody's, for a writer that `a` pays for. */
static size_t tail_room(const struct chain *c, const struct account *a)
{
	const struct slice *s = c->tail;
	if (!s || s->p + s->n != s->chunk->data + s->chunk->used || s->chunk->charge.account != a)
		return 0;
	return s->chunk->cap - s->chunk->used;
}

/* The last n bytes away again. Only to undo what was added just now: it walks the list. */
static void chain_cut(struct chain *c, size_t n)
{
	struct chain keep = CHAIN_INIT;
	chain_move_n(&keep, c, c->bytes - n);
	chain_clear(c);
	*c = keep;
}

int chain_copy_in(struct chain *c, struct buf_pool *p, struct account *a, const void *bytes, size_t n)
{
	const char *from = bytes;
	size_t left = n, room = tail_room(c, a);
	if (room && left) {
		size_t now = left < room ? left : room;
		char *to = (char *)c->tail->p + c->tail->n;
		memcpy(to, from, now);
		c->tail->chunk->used += (uint32_t)now;
		chain_add(c, c->tail->chunk, to, now); /* joins the last slice, unless that is sealed */
		from += now;
		left -= now;
	}
	while (left) {
		size_t now = left < CHUNK_BIG ? left : CHUNK_BIG;
		struct chunk *chunk = chunk_new(p, a, now);
		if (!chunk) {
			chain_cut(c, n - left);
			return -ENOMEM;
		}
		memcpy(chunk->data, from, now);
		chunk->used = (uint32_t)now;
		chain_add(c, chunk, chunk->data, now);
		chunk_unref(chunk); /* the slice has it */
		from += now;
		left -= now;
	}
	return 0;
}

void chain_move_n(struct chain *to, struct chain *from, size_t n)
{
	if (n >= from->bytes) {
		chain_move(to, from);
		return;
	}
	while (n) {
		struct slice *s = from->head;
		if (n < s->n) {
			chain_add(to, s->chunk, s->p, n);
			chain_drop(from, n);
			return;
		}
		struct chain one = {s, s, s->n};
		n -= s->n;
		from->head = s->next; /* never the last one: n < bytes */
		from->bytes -= s->n;
		s->next = NULL;
		chain_move(to, &one);
	}
}

void chain_share(struct chain *to, const struct chain *from)
{
	struct chain second = CHAIN_INIT; /* `to` may be `from` */
	for (const struct slice *s = from->head; s; s = s->next) {
		chain_add(&second, s->chunk, s->p, s->n);
		second.tail->sealed = s->sealed;
	}
	chain_move(to, &second);
}

size_t chain_peek(const struct chain *c, size_t off, void *out, size_t n)
{
	size_t done = 0;
	for (const struct slice *s = c->head; s && done < n; s = s->next) {
		if (off >= s->n) {
			off -= s->n;
			continue;
		}
		size_t now = s->n - off < n - done ? s->n - off : n - done;
		memcpy((char *)out + done, s->p + off, now);
		done += now;
		off = 0;
	}
	return done;
}

int chain_iov(const struct chain *c, struct iovec *iov, int max, size_t limit)
{
	int i = 0;
	for (const struct slice *s = c->head; s && i < max && limit; s = s->next, i++) {
		size_t now = s->n < limit ? s->n : limit;
		iov[i] = (struct iovec){(void *)s->p, now};
		limit -= now;
	}
	return i;
}

/* ---- settling ---- */

/* Slices of one chunk that follow each other: those that were cut from one read lie side by side. What they hold of it counts together: a message
 * that came in one read as four frames is no burden, though each of its slices is small. */
struct run { const struct slice *after; size_t bytes; uint32_t slices; };

static struct run run_of(const struct slice *s)
{
	struct run r = {s, 0, 0};
	for (; r.after && r.after->chunk == s->chunk; r.after = r.after->next) {
		r.bytes += r.after->n;
		r.slices++;
	}
	return r;
}

/* Are all refs of the chunk those of this run? Where slices of one chunk do not follow each other it counts as held from outside, which
 * costs nobody anything but precision. */
static bool run_owns_chunk(const struct slice *s, const struct run *r) { return r->slices == s->chunk->refs; }

/* Is the run a burden on its chunk, or are its slices? A small chunk that it has for itself is the least there is to be had, copying would change nothing. */
static bool run_is_small(const struct slice *s, const struct run *r)
{
	if (s->chunk->cap > CHUNK_SMALL)
		return r->bytes < s->chunk->cap / 4 || r->slices > PIECES_FREE + r->bytes / PIECE_BYTES;
	return r->bytes < s->chunk->cap / 4 && !run_owns_chunk(s, r);
}

int chain_settle(struct chain *c, struct buf_pool *p, struct account *a)
{
	bool copies = false;
	size_t moves = 0;
	struct run r;
	for (const struct slice *s = c->head; s; s = r.after) {
		r = run_of(s);
		if (run_is_small(s, &r))
			copies = true;
		else if (a && run_owns_chunk(s, &r) && s->chunk->charge.account != a)
			moves += chunk_size(s->chunk);
	}
	if (!copies && !moves)
		return 0;
	/* All that is to move is asked for at once, so that a no leaves nothing half moved. */
	if (moves && !mem_try(a, moves))
		return -ENOMEM;

	/* What trickles in is gathered behind the small chunk that the last turn made. */
	struct chain out = CHAIN_INIT;
	size_t pieces = 0;
	for (const struct slice *s = copies ? c->head : NULL; s; s = r.after) {
		r = run_of(s);
		bool small = run_is_small(s, &r);
		for (const struct slice *t = s; t != r.after; t = t->next) {
			if (!small) {
				chain_add(&out, t->chunk, t->p, t->n);
			} else if (chain_copy_in(&out, p, a, t->p, t->n) < 0) {
				chain_clear(&out);
				if (moves)
					mem_give(a, moves);
				return -ENOMEM;
			}
			if (t->sealed && (!small || pieces < PIECES_FREE + out.bytes / PIECE_BYTES))
				out.tail->sealed = true;
			pieces += t->sealed;
		}
	}
	if (copies) {
		chain_clear(c);
		*c = out;
	}
	if (moves)
		mem_give(a, moves);
	/* No more than was granted: copying may have freed a chunk of its last other slice, which makes it ours only now. */
	for (const struct slice *s = moves ? c->head : NULL; s; s = r.after) {
		r = run_of(s);
		if (!run_owns_chunk(s, &r) || s->chunk->charge.account == a || chunk_size(s->chunk) > moves)
			continue;
		moves -= chunk_size(s->chunk);
		charge_move(&s->chunk->charge, a);
	}
	return 0;
}
