/* conf/ration: memory for something that is being built from what others sent: asked of an account piece by piece, so that a no comes before the malloc.
 *
 *   struct ration r = {account};  ... ration_alloc, ration_text ...  ration_pay(&r, &object->charge): the object pays from here on
 *                                                                    ration_drop(&r): it was freed instead
 *
 * A no is sticky (`refused`), so who builds may look once, at the end of a step. account NULL: nobody is asked (a configuration of ours).
 * What is built is plain malloc'ed memory: whoever owns it frees it with free(). */
#pragma once
#include "base/mem.h"
#include "base/str.h"

enum { RATION_HEAD = 16 }; /* what malloc adds, about */
struct ration {
	struct account *account; /* borrowed */
	size_t n;                /* charged until now */
	bool refused;
};
static inline bool ration_take(struct ration *r, size_t n)
{
	if (r->refused || (r->account && !mem_try(r->account, n))) {
		r->refused = true;
		return false;
	}
	r->n += r->account ? n : 0;
	return true;
}
/* Zeroed; NULL: refused. */
static inline void *ration_alloc(struct ration *r, size_t n)
{
	return ration_take(r, n + RATION_HEAD) ? xalloc(n) : NULL;
}
static inline char *ration_text(struct ration *r, struct str s)
{
	return ration_take(r, s.n + 1 + RATION_HEAD) ? xstrndup(s.p ? s.p : "", s.n) : NULL;
}
/* Grows an array to `count` entries (of which `had` were paid for); p stays where it was refused. */
static inline bool ration_grow(struct ration *r, void **p, size_t size, size_t had, size_t count)
{
	if (!ration_take(r, (count - had) * size + (had ? 0 : RATION_HEAD)))
		return false;
	*p = xrealloc(*p, count * size);
	memset((char *)*p + had * size, 0, (count - had) * size);
	return true;
}
static inline void ration_give(struct ration *r, size_t n)
{
	if (r->account) {
		mem_give(r->account, n);
		r->n -= n;
	}
}
static inline void ration_pay(struct ration *r, struct charge *c)
{
	charge_begin(c, r->account, r->n);
	r->n = 0;
}
static inline void ration_drop(struct ration *r)
{
	ration_give(r, r->n);
}
