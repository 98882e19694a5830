/* health/payload: see the header. */
#include "health/payload.h"
#include <errno.h>
#include <string.h>

/* Behind an empty piece is where it is looked for. */
static void skip_empty(struct payload *p)
{
	while (p->at < p->n && p->pieces[p->at].n == 0)
		p->at++;
}

int payload_begin(struct payload *p, const struct check_bytes *pieces, uint32_t n, struct account *a)
{
	uint32_t longest = 0;

	*p = (struct payload){.pieces = pieces, .n = n, .account = a};
	for (uint32_t i = 0; i < n; i++)
		longest = pieces[i].n > longest ? pieces[i].n : longest;
	skip_empty(p);
	if (payload_is_found(p))
		return 0;
	p->cap = 2 * longest; /* a beginning, and as much again: so each byte is moved at most once for each piece's length that came */
	p->held = acct_alloc(a, p->cap);
	return p->held ? 0 : -ENOMEM;
}

/* What is held has a piece, or it keeps only what may be the beginning of one. */
static void search(struct payload *p)
{
	while (p->at < p->n) {
		uint32_t want = p->pieces[p->at].n, gone;
		const uint8_t *found = memmem(p->held, p->held_n, p->pieces[p->at].p, want);

		if (found)
			gone = (uint32_t)(found - p->held) + want;
		else
			gone = p->held_n >= want ? p->held_n - (want - 1) : 0;
		memmove(p->held, p->held + gone, p->held_n - gone);
		p->held_n -= gone;
		if (!found)
			return;
		p->at++;
		skip_empty(p);
	}
}

bool payload_feed(struct payload *p, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	while (n && p->at < p->n) {
		size_t room = p->cap - p->held_n, now = n < room ? n : room; /* > 0: less than one piece is held */

		memcpy(p->held + p->held_n, from, now);
		p->held_n += (uint32_t)now;
		from += now;
		n -= now;
		search(p);
	}
	return payload_is_found(p);
}

void payload_end(struct payload *p)
{
	acct_free(p->account, p->held);
	p->held = NULL;
	p->held_n = p->cap = 0;
}
