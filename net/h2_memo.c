/* net/h2_memo: header blocks that are the same bytes as one before (both roles, the way in).
 *
 *   what a peer sends --> h2_memo_feed --frame by frame--> nghttp2
 *                              |  a whole HEADERS frame whose block is known: nghttp2 gets the same frame with a block of one byte (`:method: GET` of the static
 *                              |  table, which changes nothing), and c->canned says where the list is that the callbacks copy
 *                              \- a block that is not known: decoded as ever, and learned if that changed no table
 *
 * A caller sends the same head again and again, a provider the same answer and the same trailers; once what is dynamic in them lies in HPACK's table, their bytes
 * are the same too, and HPACK is half of what a call costs. It is safe because decoding has no other input than the bytes and the table: a block is learned only if no
 * representation in it changes the table, and all is forgotten as soon as a block passes that does, or that could not be read whole (RFC 7541 2.2, 6.2.1, 6.3). Values that are new each
 * call (a deadline, a trace) make blocks that never come again: who sends those is not learned from for a while.
 *
 * Owner of a struct h2_memo: its connection, which makes it at the first block worth learning; the lists in it are charged to the connection. */
#include "net/h2_int.h"
#include <string.h>

enum { MEMO_BYTES = 192, MEMO_ENTRIES = 4, MEMO_WASTED = 8, MEMO_REST = 500, HEAD = 9, PREFACE = 24 };

struct h2_memo {
	struct h2_known e[MEMO_ENTRIES];
	uint32_t next;             /* the entry that is written next */
	uint32_t wasted, rest;     /* learned in a row without use; blocks not to be learned from now on */
};

static void known_end(struct h2_conn *c, struct h2_known *k)
{
	fields_unref(&k->list);
	acct_free(&c->account, k->block);
	k->block = NULL;
}

void h2_memo_forget(struct h2_conn *c)
{
	struct h2_memo *m = c->memo;
	for (uint32_t i = 0; m && i < MEMO_ENTRIES; i++)
		known_end(c, &m->e[i]);
}

void h2_memo_end(struct h2_conn *c)
{
	h2_memo_forget(c);
	acct_free(&c->account, c->memo);
	c->memo = NULL;
}

/* ---- is decoding it without effect? ---- */

/* An integer of RFC 7541 5.1 behind *at; false: cut off, or larger than any block of ours. */
static bool skip_int(const uint8_t **at, const uint8_t *end, unsigned prefix, uint32_t *ret)
{
	uint32_t most = (1u << prefix) - 1, v = *(*at)++ & most;
	*ret = v;
	if (v < most)
		return true;
	for (unsigned shift = 0; shift < 21 && *at < end; shift += 7) {
		uint8_t b = *(*at)++;
		v += (uint32_t)(b & 127) << shift;
		*ret = v;
		if (!(b & 128))
			return true;
	}
	return false;
}

static bool skip_text(const uint8_t **at, const uint8_t *end)
{
	uint32_t n;
	if (*at == end || !skip_int(at, end, 7, &n) || n > (size_t)(end - *at))
		return false;
	*at += n;
	return true;
}

bool h2_block_changes_table(const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;
	while (p < end) {
		uint32_t index;
		if (*p & 128) {
			if (!skip_int(&p, end, 7, &index))
				return true;
			continue;
		}
		if (*p & 0x60) /* with incremental indexing, or a new size of the table */
			return true;
		if (!skip_int(&p, end, 4, &index) || (index == 0 && !skip_text(&p, end)) || !skip_text(&p, end))
			return true;
	}
	return false;
}

/* ---- knowing and learning ---- */

static const struct h2_known *memo_find(struct h2_conn *c, const uint8_t *block, size_t n)
{
	struct h2_memo *m = c->memo;
	for (uint32_t i = 0; m && i < MEMO_ENTRIES; i++) {
		struct h2_known *k = &m->e[i];
		/* The limits may be others by now. */
		if (k->n != n || !k->list || memcmp(k->block, block, n) != 0 || k->list->count > c->lim->field_count || k->list->size > c->lim->header_bytes)
			continue;
		k->used = true;
		m->wasted = 0;
		return k;
	}
	return NULL;
}

/* Called with the list while its block is being fed, before anybody changes it. */
void h2_memo_learn(struct h2_conn *c, const struct fields *list, enum fields_kind kind)
{
	struct h2_memo *m = c->memo;
	if (!c->learn)
		return;
	if (!m) {
		m = c->memo = acct_alloc(&c->account, sizeof *m);
		if (!m)
			return;
		memset(m, 0, sizeof *m);
	}
	struct h2_known *k = &m->e[m->next];
	if (k->list && !k->used && ++m->wasted >= MEMO_WASTED) {
		m->wasted = 0;
		m->rest = MEMO_REST;
	}
	known_end(c, k);
	k->block = acct_alloc(&c->account, c->learn_n);
	k->list = k->block ? fields_keep(list, &c->account) : NULL;
	if (!k->list) {
		known_end(c, k);
		return;
	}
	k->kind = kind;
	k->n = c->learn_n;
	k->used = false;
	memcpy(k->block, c->learn, c->learn_n);
	m->next = (m->next + 1) % MEMO_ENTRIES;
}

static bool memo_may_learn(struct h2_conn *c)
{
	if (!c->memo || !c->memo->rest)
		return true;
	c->memo->rest--;
	return false;
}

/* ---- feeding ---- */

static ssize_t feed(struct h2_conn *c, const uint8_t *p, const uint8_t *end)
{
	return p == end ? 0 : nghttp2_session_mem_recv(c->session, p, (size_t)(end - p));
}

/* The whole HEADERS frame at `head`, without padding or priority; all in front of it has been fed. */
static ssize_t feed_known(struct h2_conn *c, const struct h2_known *k, const uint8_t *head)
{
	uint8_t frame[HEAD + 1];
	memcpy(frame, head, HEAD);
	frame[0] = frame[1] = 0;
	frame[2] = 1;
	frame[HEAD] = 0x82;
	stat_inc(&c->loop->stats, STAT_H2_HEADS_KNOWN);
	c->canned = k;
	ssize_t rv = nghttp2_session_mem_recv(c->session, frame, sizeof frame);
	c->canned = NULL;
	return rv;
}

static ssize_t feed_unknown(struct h2_conn *c, const uint8_t *head, size_t n)
{
	c->learn = head + HEAD;
	c->learn_n = (uint32_t)n;
	ssize_t rv = nghttp2_session_mem_recv(c->session, head, HEAD + n);
	c->learn = NULL;
	return rv;
}

/* As nghttp2_session_mem_recv. */
ssize_t h2_memo_feed(struct h2_conn *c, const char *bytes, size_t n)
{
	const uint8_t *from = (const uint8_t *)bytes, *at = from, *end = at + n;
	struct h2_heads *w = &c->heads;
	ssize_t rv;
	if (!w->begun) {
		w->begun = true;
		w->left = c->server ? PREFACE : 0;
	}
	while (at < end) {
		if (w->left) {
			size_t skip = w->left < (size_t)(end - at) ? w->left : (size_t)(end - at);
			at += skip;
			w->left -= (uint32_t)skip;
			continue;
		}
		const uint8_t *head = at;
		bool cut = w->n || end - at < HEAD;
		if (cut) {
			size_t take = (size_t)(HEAD - w->n) < (size_t)(end - at) ? (size_t)(HEAD - w->n) : (size_t)(end - at);
			memcpy(w->head + w->n, at, take);
			w->n += (uint8_t)take;
			at += take;
			if (w->n < HEAD)
				break;
			head = w->head;
			w->n = 0;
		} else {
			at += HEAD;
		}
		size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
		uint8_t type = head[3], flags = head[4];
		if (type != NGHTTP2_HEADERS && type != NGHTTP2_CONTINUATION && type != NGHTTP2_PUSH_PROMISE) {
			w->left = (uint32_t)len;
			continue;
		}
		bool whole = !cut && type == NGHTTP2_HEADERS && (flags & ~NGHTTP2_FLAG_END_STREAM) == NGHTTP2_FLAG_END_HEADERS && len <= (size_t)(end - at);
		if (!whole || len > MEMO_BYTES || len == 0) {
			if (!whole || h2_block_changes_table(at, len))
				h2_memo_forget(c);
			w->left = (uint32_t)len;
			continue;
		}
		const struct h2_known *k = memo_find(c, at, len);
		if (!k && h2_block_changes_table(at, len)) {
			h2_memo_forget(c);
			at += len;
			continue;
		}
		if (!k && !memo_may_learn(c)) {
			at += len;
			continue;
		}
		if ((rv = feed(c, from, head)) < 0 || (rv = k ? feed_known(c, k, head) : feed_unknown(c, head, len)) < 0)
			return rv;
		from = at += len;
	}
	rv = feed(c, from, end);
	return rv < 0 ? rv : (ssize_t)n;
}
