/* base/mem: memory with a name on it.
 *
 * xalloc: for start-up and for what is small and ours; dies with a message when there is none.
 * account: for whatever others size. mem_try(account, n) may say no, and the caller has a path for that no. Accounts form
 *   a tree (process > app > connection); a child takes from its parent in granules, so the fast path is one compare.
 *   The account counts, it does not allocate: mem_try + malloc, free + mem_give belong together (acct_alloc does both).
 * charge: what one object that can outlive its account has charged. When the account ends first, the charge climbs to the
 *   parent, so the object needs to know nothing about it.
 * arena: a bump allocator whose blocks are charged to an account; freed whole.
 * pool: typed free list for objects of one size; trimmed when idle. */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *xalloc(size_t n);             /* zeroed */
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define xnew(type) ((type *)xalloc(sizeof(type)))

/* What a child holds beyond its use is lost to its siblings: at most MEM_SLACK each, so 10,000 idle connections hide 80 MB of
 * counted (not real) memory in the worst case, and the oscillation of one call stays on the fast path. */
enum { MEM_GRANULE = 4096, MEM_SLACK = 2 * MEM_GRANULE };
struct account {
	struct account *parent;  /* borrowed, outlives this one; NULL for the root */
	const char *name;        /* borrowed, static */
	size_t used;             /* what is charged here, children's granules included */
	size_t taken;            /* what was taken from the parent (>= used, in granules); at the root only what the fast path may use */
	size_t limit;            /* SIZE_MAX: none of its own */
	size_t peak;
	uint64_t refused;        /* how often mem_try said no here, to itself or to a child */
	struct charge *charges;  /* the movable ones; owned by their objects */
};
void account_init(struct account *a, struct account *parent, const char *name, size_t limit);
void account_end(struct account *a);   /* gives everything back to the parent; asserts used == 0 once movable charges climbed */
bool mem_try_slow(struct account *a, size_t n);
void mem_give_slow(struct account *a);
/* Charges n. False: this account or one above it is at its limit; nothing was charged. */
static inline bool mem_try(struct account *a, size_t n)
{
	/* taken >= used always, so the subtraction cannot wrap, whatever n a peer made up */
	if (__builtin_expect(n <= a->taken - a->used && a->used + n <= a->limit, 1)) {
		a->used += n;
		if (a->used > a->peak)
			a->peak = a->used;
		return true;
	}
	return mem_try_slow(a, n);
}
static inline void mem_give(struct account *a, size_t n)
{
	assert(n <= a->used); /* given twice: from here on no limit would mean anything */
	a->used -= n;
	if (__builtin_expect(a->taken - a->used > MEM_SLACK, 0))
		mem_give_slow(a);
}
/* Charges without asking, for what already exists (it may lift the account above its limit; the next mem_try says no). */
void mem_force(struct account *a, size_t n);
static inline bool account_above(const struct account *a, size_t mark) { return a->used > mark; }

/* A charge that can move. Lies in the object it pays for (a chunk); zeroed = none. */
struct charge { struct account *account; size_t n; struct charge *next, **hook; };
void charge_begin(struct charge *c, struct account *a, size_t n); /* n, which mem_try has granted; a NULL: none */
void charge_move(struct charge *c, struct account *to);         /* without asking; to NULL: as charge_end */
void charge_end(struct charge *c);

/* malloc/free with a size header, charged; NULL when refused. Zeroed? No. */
void *acct_alloc(struct account *a, size_t n);
void *acct_realloc(struct account *a, void *p, size_t n); /* NULL: refused, p stays */
void acct_free(struct account *a, void *p);

/* Objects of one size; zeroed on get. Uncharged itself (callers charge what peers size). */
struct pool_free { struct pool_free *next; };
struct pool_mem {
	size_t size;
	struct pool_free *free;
	uint32_t free_count, live, keep; /* keep: how many free ones are held back from free() */
};
void pool_mem_init(struct pool_mem *p, size_t size, uint32_t keep);
void *pool_mem_grow(struct pool_mem *p);
/* Contents undefined: the caller sets every field it reads. Never NULL. */
static inline void *pool_mem_get_raw(struct pool_mem *p)
{
	struct pool_free *f = p->free;
	p->live++;
	if (__builtin_expect(!f, 0))
		return pool_mem_grow(p);
	p->free = f->next;
	p->free_count--;
	return f;
}
static inline void *pool_mem_get(struct pool_mem *p) /* never NULL */
{
	return memset(pool_mem_get_raw(p), 0, p->size);
}
static inline void pool_mem_put(struct pool_mem *p, void *obj)
{
	if (!obj)
		return;
	p->live--;
	if (__builtin_expect(p->free_count >= p->keep, 0)) {
		free(obj);
		return;
	}
	struct pool_free *f = (struct pool_free *)obj;
	f->next = p->free;
	p->free = f;
	p->free_count++;
}
void pool_mem_trim(struct pool_mem *p, uint32_t left); /* frees free ones until at most `left` are held */
void pool_mem_end(struct pool_mem *p);     /* frees the free ones; asserts live == 0 */

enum { ARENA_BLOCK = 2048 }; /* the usual block, header included: the fields of an ordinary call fit into one */
struct arena {
	struct account *account; /* borrowed; NULL: not charged */
	struct arena_block *block;
	char *at, *end;
	size_t total;            /* bytes of blocks held */
};
void arena_init(struct arena *ar, struct account *a);
void *arena_alloc_slow(struct arena *ar, size_t n);
static inline void *arena_alloc(struct arena *ar, size_t n)  /* 8-aligned; NULL when the account refuses */
{
	if (__builtin_expect(n <= (size_t)(ar->end - ar->at), 1)) {
		char *p = ar->at;
		if (__builtin_expect(p != NULL, 1)) {
			ar->at += (n + 7) & ~(size_t)7; /* end - at is a multiple of 8, so this fits too */
			return p;
		}
	}
	return arena_alloc_slow(ar, n);
}
char *arena_strndup(struct arena *ar, const char *s, size_t n); /* NUL added */
void arena_reset(struct arena *ar);             /* frees all blocks */
