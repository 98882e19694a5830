/* base/mem: see mem.h for the objects.
 *
 * Invariants of an account, which the inline fast path leans on:
 *   used <= taken always; parent->used includes the taken of each child; the root takes from nobody, its `taken` merely
 *   runs ahead of `used` so that its fast path works as a child's does.
 * `used` may lie above `limit` only by mem_force. */
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>

#ifdef __SANITIZE_ADDRESS__
enum { POOLS_KEEP = 0 }; /* each object goes through free(), so that the sanitizer sees a use after its end */
#else
enum { POOLS_KEEP = 1 };
#endif

/* ---- small things of ours ---- */

static void die_of_memory(size_t n)
{
	fprintf(stderr, "thinmesh: out of memory: %zu bytes were refused by the system\n", n);
	abort();
}

void *xalloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);
	if (!p)
		die_of_memory(n);
	return p;
}

void *xrealloc(void *p, size_t n)
{
	void *q = realloc(p, n ? n : 1);
	if (!q)
		die_of_memory(n);
	return q;
}

char *xstrndup(const char *s, size_t n)
{
	char *p = xalloc(n + 1);
	if (n)
		memcpy(p, s, n);
	return p;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
	char *p = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0)
		die_of_memory(strlen(fmt));
	return p;
}

/* ---- accounts ---- */

void account_init(struct account *a, struct account *parent, const char *name, size_t limit)
{
	*a = (struct account){.parent = parent, .name = name, .limit = limit};
}

void account_end(struct account *a)
{
	while (a->charges)
		charge_move(a->charges, a->parent);
	assert(a->used == 0);
	if (a->parent && a->taken)
		mem_give(a->parent, a->taken);
	a->taken = 0;
	a->parent = NULL;
}

static size_t granules(size_t n)
{
	return n > SIZE_MAX - MEM_GRANULE ? n : (n + MEM_GRANULE - 1) / MEM_GRANULE * MEM_GRANULE;
}

/* What `taken` should become for `used` bytes: whole granules, but never more than the limit lets this account use: a child
 * with a small limit must not hold a whole granule of its parent. */
static size_t taken_for(const struct account *a, size_t used)
{
	size_t up = granules(used);
	if (up > a->limit)
		up = a->limit > used ? a->limit : used;
	return up;
}

static void used_add(struct account *a, size_t n)
{
	a->used += n;
	if (a->used > a->peak)
		a->peak = a->used;
}

/* Without counting refusals: a granule that was refused may be followed by an exact amount that is not. *ret_refuser is the
 * account whose limit said no. */
static bool take(struct account *a, size_t n, struct account **ret_refuser)
{
	if (a->used > a->limit || n > a->limit - a->used || n > SIZE_MAX - a->used) {
		*ret_refuser = a;
		return false;
	}
	size_t used = a->used + n;
	if (used > a->taken) {
		size_t want = taken_for(a, used);
		if (a->parent && !take(a->parent, want - a->taken, ret_refuser)) {
			want = used; /* near the parent's limit a whole granule may not fit where these few bytes do */
			if (!take(a->parent, want - a->taken, ret_refuser))
				return false;
		}
		a->taken = want;
	}
	used_add(a, n);
	return true;
}

bool mem_try_slow(struct account *a, size_t n)
{
	struct account *refuser = NULL;
	if (take(a, n, &refuser))
		return true;
	for (struct account *at = a;; at = at->parent) {
		at->refused++;
		if (at == refuser)
			return false;
	}
}

void mem_give_slow(struct account *a)
{
	/* One granule of slack stays: what was given is often asked for again within the turn. */
	size_t keep = granules(a->used) + MEM_GRANULE;
	if (keep >= a->taken)
		return;
	size_t back = a->taken - keep;
	a->taken = keep;
	if (a->parent)
		mem_give(a->parent, back);
}

void mem_force(struct account *a, size_t n)
{
	size_t used = a->used + n;
	assert(used >= n);
	if (used > a->taken) {
		if (a->parent)
			mem_force(a->parent, used - a->taken);
		a->taken = used;
	}
	used_add(a, n);
}

/* ---- charges that move ---- */

void charge_begin(struct charge *c, struct account *a, size_t n)
{
	*c = (struct charge){0};
	if (!a)
		return;
	c->account = a;
	c->n = n;
	c->next = a->charges;
	c->hook = &a->charges;
	if (c->next)
		c->next->hook = &c->next;
	a->charges = c;
}

void charge_end(struct charge *c)
{
	if (!c->account)
		return;
	*c->hook = c->next;
	if (c->next)
		c->next->hook = c->hook;
	mem_give(c->account, c->n);
	*c = (struct charge){0};
}

void charge_move(struct charge *c, struct account *to)
{
	size_t n = c->n;
	if (c->account == to)
		return;
	/* given back first: between brothers the parent then sees no more than there is */
	charge_end(c);
	if (to) {
		mem_force(to, n);
		charge_begin(c, to, n);
	}
}

/* ---- charged malloc ---- */

union acct_head { size_t n; max_align_t align; };

void *acct_alloc(struct account *a, size_t n)
{
	if (n > PTRDIFF_MAX - sizeof(union acct_head))
		return NULL;
	size_t all = n + sizeof(union acct_head);
	if (a && !mem_try(a, all))
		return NULL;
	union acct_head *h = malloc(all);
	if (!h) {
		if (a)
			mem_give(a, all);
		return NULL;
	}
	h->n = all;
	return h + 1;
}

void *acct_realloc(struct account *a, void *p, size_t n)
{
	if (!p)
		return acct_alloc(a, n);
	if (n > PTRDIFF_MAX - sizeof(union acct_head))
		return NULL;
	union acct_head *h = (union acct_head *)p - 1;
	size_t was = h->n, all = n + sizeof(union acct_head);
	if (a && all > was && !mem_try(a, all - was))
		return NULL;
	union acct_head *q = realloc(h, all);
	if (!q) {
		if (a && all > was)
			mem_give(a, all - was);
		return NULL;
	}
	if (a && all < was)
		mem_give(a, was - all);
	q->n = all;
	return q + 1;
}

void acct_free(struct account *a, void *p)
{
	if (!p)
		return;
	union acct_head *h = (union acct_head *)p - 1;
	if (a)
		mem_give(a, h->n);
	free(h);
}

/* ---- pools ---- */

void pool_mem_init(struct pool_mem *p, size_t size, uint32_t keep)
{
	*p = (struct pool_mem){.size = size < sizeof(struct pool_free) ? sizeof(struct pool_free) : size, .keep = POOLS_KEEP ? keep : 0};
}

void *pool_mem_grow(struct pool_mem *p)
{
	void *obj = malloc(p->size);
	if (!obj)
		die_of_memory(p->size);
	return obj;
}

void pool_mem_trim(struct pool_mem *p, uint32_t left)
{
	while (p->free_count > left) {
		struct pool_free *f = p->free;
		p->free = f->next;
		p->free_count--;
		free(f);
	}
}

void pool_mem_end(struct pool_mem *p)
{
	assert(p->live == 0);
	pool_mem_trim(p, 0);
}

/* ---- arenas ---- */

enum { ARENA_BLOCK_MAX = 65536 }; /* blocks double up to here; what is larger gets a block of its own */

struct arena_block { struct arena_block *next; size_t size; char data[]; };
_Static_assert(sizeof(struct arena_block) % 8 == 0, "the data of a block must be 8-aligned");

void arena_init(struct arena *ar, struct account *a)
{
	*ar = (struct arena){.account = a};
}

static struct arena_block *block_new(struct arena *ar, size_t size)
{
	if (ar->account && !mem_try(ar->account, size))
		return NULL;
	struct arena_block *b = malloc(size);
	if (!b) {
		if (ar->account)
			mem_give(ar->account, size);
		return NULL;
	}
	b->size = size;
	ar->total += size;
	return b;
}

void *arena_alloc_slow(struct arena *ar, size_t n)
{
	if (n > PTRDIFF_MAX / 2)
		return NULL;
	size_t up = n ? (n + 7) & ~(size_t)7 : 8, need = up + sizeof(struct arena_block);
	size_t size = ARENA_BLOCK;
	while (size < ar->total && size < ARENA_BLOCK_MAX)
		size *= 2;
	if (need > size) {
		/* A block of its own, put behind the current one, whose rest stays in use. */
		struct arena_block *own = block_new(ar, need);
		if (!own)
			return NULL;
		if (ar->block) {
			own->next = ar->block->next;
			ar->block->next = own;
		} else {
			own->next = NULL;
			ar->block = own;
			ar->at = ar->end = own->data + up;
		}
		return own->data;
	}
	struct arena_block *b = block_new(ar, size);
	if (!b && size > ARENA_BLOCK && need <= ARENA_BLOCK)
		b = block_new(ar, size = ARENA_BLOCK); /* near the limit: the small block may still be allowed */
	if (!b)
		return NULL;
	b->next = ar->block;
	ar->block = b;
	ar->at = b->data + up;
	ar->end = (char *)b + size;
	return b->data;
}

char *arena_strndup(struct arena *ar, const char *s, size_t n)
{
	char *p = n == SIZE_MAX ? NULL : arena_alloc(ar, n + 1);
	if (!p)
		return NULL;
	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

void arena_reset(struct arena *ar)
{
	for (struct arena_block *b = ar->block, *next; b; b = next) {
		size_t size = b->size;
		next = b->next;
		free(b);
		if (ar->account)
			mem_give(ar->account, size);
	}
	ar->block = NULL;
	ar->at = ar->end = NULL;
	ar->total = 0;
}
