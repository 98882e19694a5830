/* net/h2_said: header blocks that we have said before (both roles, the way out): the mirror of net/h2_memo.
 *
 *   send_head, send_trailers --> h2_said_find: this list, on this connection, before?
 *        no:  nghttp2 encodes it as ever; h2_said_pack looks at the block, and learns it if it changed no table
 *        yes: nghttp2 is given a list of one field (`:method: GET` of the static table: 0x82, no change of the table), and when it hands out that frame, h2_said_pack
 *             puts the known block in its place
 *
 * Between submitting and packing another block may change the table: then what was known is forgotten (entries have a number each), and the list goes out in
 * literals, which need no table. A table that the peer makes smaller shows as bytes in front of the stand-in; they go out in front of the literals.
 *
 * Owner of a struct h2_said: its connection. */
#include "net/h2_int.h"
#include <string.h>

enum { SAID_BYTES = 192, SAID_ENTRIES = 4, SAID_WASTED = 8, SAID_REST = 500, SAID_SIZE_MAX = 4096, HEAD = 9 };

struct h2_said_entry { struct fields *list; uint8_t *block; uint32_t number, n; bool used; };
struct h2_said {
	struct h2_said_entry e[SAID_ENTRIES];
	uint32_t next, numbers, wasted, rest; /* as in h2_memo */
};

const nghttp2_nv h2_said_nv = {(uint8_t *)(uintptr_t)":method", (uint8_t *)(uintptr_t)"GET", 7, 3, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};

static void entry_end(struct h2_conn *c, struct h2_said_entry *e)
{
	fields_unref(&e->list);
	acct_free(&c->account, e->block);
	e->block = NULL;
}

void h2_said_forget(struct h2_conn *c)
{
	for (uint32_t i = 0; c->said && i < SAID_ENTRIES; i++)
		entry_end(c, &c->said->e[i]);
}

void h2_said_end(struct h2_conn *c)
{
	h2_said_forget(c);
	acct_free(&c->account, c->said);
	c->said = NULL;
}

uint32_t h2_said_find(struct h2_conn *c, const struct fields *list)
{
	struct h2_said *s = c->said;
	for (uint32_t i = 0; s && i < SAID_ENTRIES; i++)
		if (s->e[i].list && fields_same(s->e[i].list, list)) {
			s->e[i].used = true;
			s->wasted = 0;
			return s->e[i].number;
		}
	return 0;
}

static void said_learn(struct h2_conn *c, const struct fields *list, const uint8_t *block, size_t n)
{
	struct h2_said *s = c->said;
	if (list->size > SAID_SIZE_MAX) /* in literals it has to fit into one frame, with much room to spare */
		return;
	if (!s) {
		s = c->said = acct_alloc(&c->account, sizeof *s);
		if (!s)
			return;
		memset(s, 0, sizeof *s);
	}
	if (s->rest) {
		s->rest--;
		return;
	}
	struct h2_said_entry *e = &s->e[s->next];
	if (e->list && !e->used && ++s->wasted >= SAID_WASTED) {
		s->wasted = 0;
		s->rest = SAID_REST;
	}
	entry_end(c, e);
	e->block = acct_alloc(&c->account, n);
	e->list = e->block ? fields_keep(list, &c->account) : NULL;
	if (!e->list) {
		entry_end(c, e);
		return;
	}
	e->number = ++s->numbers ? s->numbers : ++s->numbers;
	e->n = (uint32_t)n;
	e->used = false;
	memcpy(e->block, block, n);
	s->next = (s->next + 1) % SAID_ENTRIES;
}

/* ---- literals ---- */

static size_t put_text(uint8_t *to, const char *p, size_t n)
{
	size_t at = 0, left = n;
	if (left < 127) {
		to[at++] = (uint8_t)left;
	} else {
		to[at++] = 127;
		for (left -= 127; left > 127; left >>= 7)
			to[at++] = (uint8_t)(128 | (left & 127));
		to[at++] = (uint8_t)left;
	}
	if (n)
		memcpy(to + at, p, n);
	return at + n;
}

static size_t put_literals(uint8_t *to, const struct fields *list)
{
	size_t at = 0;
	fields_each(f, list) {
		to[at++] = 0; /* without indexing, a new name (RFC 7541 6.2.2) */
		at += put_text(to + at, f->name, f->name_len);
		at += put_text(to + at, f->value, f->value_len);
	}
	return at;
}

/* ---- packing ---- */

static const struct h2_said_entry *said_entry(const struct h2_said *s, uint32_t number)
{
	for (uint32_t i = 0; s && i < SAID_ENTRIES; i++)
		if (s->e[i].list && s->e[i].number == number)
			return &s->e[i];
	return NULL;
}

static void pack_block(struct h2_conn *c, const uint8_t *head, const uint8_t *before, size_t nbefore, const uint8_t *block, size_t n)
{
	size_t whole = nbefore + n;
	uint8_t *at = (uint8_t *)h2_pack_room(c, HEAD + whole);
	memcpy(at, head, HEAD);
	at[0] = (uint8_t)(whole >> 16);
	at[1] = (uint8_t)(whole >> 8);
	at[2] = (uint8_t)whole;
	if (nbefore)
		memcpy(at + HEAD, before, nbefore);
	memcpy(at + HEAD + nbefore, block, n);
}

static void pack_as_it_is(struct h2_conn *c, const uint8_t *frame, size_t n, const struct fields *list)
{
	size_t block = n - HEAD;
	memcpy(h2_pack_room(c, n), frame, n);
	bool whole = frame[3] == NGHTTP2_HEADERS && (frame[4] & ~NGHTTP2_FLAG_END_STREAM) == NGHTTP2_FLAG_END_HEADERS;
	if (!whole || h2_block_changes_table(frame + HEAD, block))
		h2_said_forget(c);
	else if (list && block <= SAID_BYTES)
		said_learn(c, list, frame + HEAD, block);
}

void h2_said_pack(struct h2_conn *c, const uint8_t *frame, size_t n)
{
	struct h2_shared *sh = c->shared;
	struct fields *list = sh->packing;
	uint32_t number = sh->packing_known;
	bool changed = list && fields_mark(list) != sh->packing_mark; /* since it was submitted: what was encoded is not what it says now */
	sh->packing = NULL;
	sh->packing_known = 0;
	if (!number || !list) {
		pack_as_it_is(c, frame, n, changed ? NULL : list);
		fields_unref(&list);
		return;
	}
	const uint8_t *before = frame + HEAD;
	size_t nbefore = n - HEAD - 1; /* the last byte is the stand-in */
	if (nbefore)
		h2_said_forget(c);
	const struct h2_said_entry *e = said_entry(c->said, number);
	if (e) {
		stat_inc(&c->loop->stats, STAT_H2_HEADS_SAID);
		pack_block(c, frame, before, 0, e->block, e->n);
	} else if (list->size > SAID_SIZE_MAX) { /* cannot be: it was learned, and is the same */
		h2_conn_fatal(c, H2_INTERNAL_ERROR, STAT_H2_PROTOCOL_ERRORS);
	} else {
		uint8_t literals[2 * SAID_SIZE_MAX];
		size_t nliterals = put_literals(literals, list);
		pack_block(c, frame, before, nbefore, literals, nliterals);
	}
	fields_unref(&list);
}
