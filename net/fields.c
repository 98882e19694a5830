/* net/fields: header lists (see net/fields.h).
 *
 * Objects:
 *   struct fields_block  a piece of memory. The standard ones have BLOCK bytes and come from the pool; what does not fit into one gets
 *                        a block of its own. Owner: the list; a free one: the pool.
 *   struct fields        lies in its own first block, with room for FIRST_ENTRIES entries and the bytes of names and values behind it:
 *                        a usual call's head costs one block and no malloc. Owner: whoever holds a ref.
 *   struct fields_pool   free standard blocks. Owner: loop.
 * A list never gives back a single entry's bytes: lists are short-lived, and what a peer can add is bounded before it gets here.
 * What is charged is whole blocks, since that is what a peer makes us keep. */
#include "net/fields.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
	BLOCK = 1536,
	FIRST_ENTRIES = 18, /* more than a third of the first block; callers that were looked at send 8 to 14 fields */
	FIELD_MAX = 1 << 30 /* lengths are 32 bits wide; callers have limits far below */
};

/* Free blocks that are held back from libc: two lists for each of 2,000 calls at once; fields_pool_trim gives them back. */
#ifdef __SANITIZE_ADDRESS__
enum { KEEP_BLOCKS = 0 }; /* each block through free(): the sanitizer sees a use after its end */
#else
enum { KEEP_BLOCKS = 4096 };
#endif

struct fields_block {
	struct fields_block *next;
	size_t size;
};

struct fields_pool {
	struct fields_block *free;
	uint32_t free_count, live; /* live: lists that are still held */
};

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

static const struct field_row {
	const char *name;
	uint8_t len, flags;
} rows[FIELD_TOKENS] = {
#define FIELD(id, text, flags) [FIELD_##id] = {text, sizeof(text) - 1, flags},
#include "net/fields.def"
#undef FIELD
};

enum {
#define FIELD(id, text, flags) LEN_##id = sizeof(text) - 1,
#include "net/fields.def"
#undef FIELD
};

struct str field_name(enum field_token t)
{
	return t > FIELD_OTHER && t < FIELD_TOKENS ? str_n(rows[t].name, rows[t].len) : str_n("", 0);
}

unsigned field_flags(enum field_token t)
{
	return t > FIELD_OTHER && t < FIELD_TOKENS ? rows[t].flags : 0;
}

/* Length, then one byte that tells the rows of that length apart, then one compare of known length, which the compiler makes of a few
 * loads. By hand, because a literal's bytes are no constant expression; tests/net/test_fields.c finds a row that is missing here. */
#define MAYBE(id) (memcmp(name, rows[FIELD_##id].name, LEN_##id) == 0 ? FIELD_##id : FIELD_OTHER)

static enum field_token token_short(const char *name, size_t n)
{
	switch (n) {
	case 2:
		return name[0] == 't' ? MAYBE(TE) : MAYBE(B3);
	case 4:
		return name[0] == 'd' ? MAYBE(DATE) : MAYBE(HOST);
	case 5:
		return MAYBE(PATH);
	case 6:
		switch (name[0]) {
		case 'a':
			return MAYBE(ACCEPT);
		case 'c':
			return MAYBE(COOKIE);
		case 'e':
			return MAYBE(EXPECT);
		default:
			return MAYBE(SERVER);
		}
	case 7:
		switch (name[2]) {
		case 'e':
			return MAYBE(METHOD);
		case 'c':
			return MAYBE(SCHEME);
		case 't':
			return name[0] == ':' ? MAYBE(STATUS) : MAYBE(ALT_SVC);
		case 'g':
			return name[0] == 'b' ? MAYBE(BAGGAGE) : MAYBE(UPGRADE);
		default:
			return name[0] == ':' ? MAYBE(STATUS) : MAYBE(CLOSING);
		}
	case 9:
		return MAYBE(PROTOCOL);
	case 10:
		switch (name[0]) {
		case ':':
			return MAYBE(AUTHORITY);
		case 'c':
			return MAYBE(CONNECTION);
		case 'k':
			return MAYBE(KEEP_ALIVE);
		case 't':
			return MAYBE(TRACESTATE);
		default:
			return MAYBE(USER_AGENT);
		}
	case 11:
		return name[0] == 'g' ? MAYBE(GRPC_STATUS) : name[0] == 't' ? MAYBE(TRACEPARENT) : MAYBE(X_B3_SPANID);
	case 12:
		switch (name[5]) {
		case 'n':
			return MAYBE(CONTENT_TYPE);
		case 'm':
			return MAYBE(GRPC_MESSAGE);
		case 't':
			return name[0] == 'g' ? MAYBE(GRPC_TIMEOUT) : MAYBE(X_B3_TRACEID);
		default:
			return name[2] == 'b' ? MAYBE(X_B3_TRACEID) : MAYBE(X_REQUEST_ID);
		}
	case 13:
		return MAYBE(GRPC_ENCODING);
	case 14:
		return name[0] == 'c' ? MAYBE(CONTENT_LENGTH) : MAYBE(HTTP2_SETTINGS);
	case 15:
		return name[0] == 'a' ? MAYBE(ACCEPT_ENCODING) : MAYBE(X_FORWARDED_FOR);
	case 16:
		switch (name[8]) {
		case 'e':
			return MAYBE(CONTENT_ENCODING);
		case 'd':
			return MAYBE(X_ENVOY_DEGRADED);
		case 'n':
			return MAYBE(PROXY_CONNECTION);
		default:
			return MAYBE(X_ENVOY_RETRY_ON);
		}
	default:
		return FIELD_OTHER;
	}
}

static enum field_token token_long(const char *name, size_t n)
{
	switch (n) {
	case 17:
		switch (name[3]) {
		case 'n':
			return MAYBE(TRANSFER_ENCODING);
		case '-':
			return MAYBE(TRI_SERVICE_GROUP);
		case 'p':
			return MAYBE(TRIPLE_TIMEOUT_MS);
		default:
			return MAYBE(X_FORWARDED_PROTO);
		}
	case 18:
		return name[0] == 't' ? MAYBE(TRI_EXCEPTION_CODE) : MAYBE(X_ENVOY_OVERLOADED);
	case 19:
		switch (name[12]) {
		case 't':
			return MAYBE(TRI_SERVICE_TIMEOUT);
		case 'v':
			return MAYBE(TRI_SERVICE_VERSION);
		case 'r':
			return MAYBE(X_ENVOY_MAX_RETRIES);
		default:
			return MAYBE(X_ENVOY_RATELIMITED);
		}
	case 20:
		return name[0] == 'g' ? MAYBE(GRPC_ACCEPT_ENCODING) : name[4] == 'c' ? MAYBE(TRI_CONSUMER_APPNAME) : MAYBE(TRI_PROTOCOL_VERSION);
	case 21:
		return name[8] == 'a' ? MAYBE(X_ENVOY_ATTEMPT_COUNT) : MAYBE(X_ENVOY_RETRY_GRPC_ON);
	case 23:
		return name[0] == 'g' ? MAYBE(GRPC_STATUS_DETAILS_BIN) : MAYBE(X_FORWARDED_CLIENT_CERT);
	case 29:
		return MAYBE(X_ENVOY_UPSTREAM_SERVICE_TIME);
	case 30:
		switch (name[8]) {
		case 'u':
			return MAYBE(X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS);
		case 'e':
			return MAYBE(X_ENVOY_EXPECTED_TIMEOUT);
		default:
			return name[18] == 'h' ? MAYBE(X_ENVOY_RETRIABLE_HEADER_NAMES) : MAYBE(X_ENVOY_RETRIABLE_STATUS_CODES);
		}
	case 32:
		return MAYBE(X_ENVOY_HEDGE);
	case 35:
		return MAYBE(X_ENVOY_IMMEDIATE_HC_FAIL);
	case 38:
		return name[17] == 'r' ? MAYBE(X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS) : MAYBE(X_ENVOY_HEALTHCHECKED_CLUSTER);
	case 40:
		return MAYBE(X_ENVOY_TIMEOUT_ALT);
	default:
		return FIELD_OTHER;
	}
}

enum field_token field_token(const char *name, size_t n)
{
	return n <= 16 ? token_short(name, n) : token_long(name, n);
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------- */

struct fields_pool *fields_pool_new(void)
{
	return xnew(struct fields_pool);
}

void fields_pool_trim(struct fields_pool *p)
{
	while (p->free) {
		struct fields_block *b = p->free;

		p->free = b->next;
		free(b);
	}
	p->free_count = 0;
}

void fields_pool_free(struct fields_pool **p)
{
	if (!*p)
		return;
	assert((*p)->live == 0); /* a list would point to freed memory */
	fields_pool_trim(*p);
	free(*p);
	*p = NULL;
}

/* NULL: the account refused, or libc did. */
static struct fields_block *block_new(struct fields_pool *p, struct account *a, size_t size)
{
	struct fields_block *b;

	if (a && !mem_try(a, size))
		return NULL;
	if (size == BLOCK && p->free) {
		b = p->free;
		p->free = b->next;
		p->free_count--;
	} else {
		b = malloc(size);
		if (!b) {
			if (a)
				mem_give(a, size);
			return NULL;
		}
	}
	b->size = size;
	return b;
}

static void block_free(struct fields_pool *p, struct fields_block *b)
{
	if (b->size != BLOCK || p->free_count + 1 > KEEP_BLOCKS) {
		free(b);
		return;
	}
	b->next = p->free;
	p->free = b;
	p->free_count++;
}

/* n bytes of this list, 8-aligned if asked for. NULL: refused. */
static void *fields_take(struct fields *f, size_t n, bool aligned)
{
	struct fields_block *b;
	size_t pad = aligned ? -(uintptr_t)f->at & 7 : 0;
	size_t size;

	if (n + pad <= (size_t)(f->end - f->at)) {
		char *p = f->at + pad;

		f->at = p + n;
		return p;
	}
	/* What is bigger than half a block gets one of its own and leaves the present one in use: so at most half of what is charged
	 * can lie idle, whatever lengths a peer chooses. */
	size = n > (BLOCK - sizeof(*b)) / 2 ? (sizeof(*b) + n + 7) & ~(size_t)7 : (size_t)BLOCK;
	b = block_new(f->pool, f->charge.account, size);
	if (!b)
		return NULL;
	b->next = f->blocks;
	f->blocks = b;
	if (f->charge.account)
		f->charge.n += size;
	if (size == BLOCK) {
		f->at = (char *)(b + 1) + n;
		f->end = (char *)b + BLOCK;
	}
	return b + 1;
}

struct fields *fields_new(struct fields_pool *p, struct account *a)
{
	struct fields_block *b = block_new(p, a, BLOCK);
	struct fields *f;

	if (!b)
		return NULL;
	b->next = NULL;
	f = (struct fields *)(b + 1);
	*f = (struct fields){.refs = 1, .cap = FIRST_ENTRIES, .pool = p, .blocks = b};
	charge_begin(&f->charge, a, BLOCK);
	f->f = (struct field *)(f + 1);
	f->at = (char *)(f->f + FIRST_ENTRIES);
	f->end = (char *)b + BLOCK;
	p->live++;
	return f;
}

_Static_assert(FIELD_TOKENS <= 128, "a bit a token in present");
_Static_assert(sizeof(struct fields_block) % 8 == 0 && sizeof(struct fields) % 8 == 0, "entries are aligned");
_Static_assert(sizeof(struct fields_block) + sizeof(struct fields) + FIRST_ENTRIES * sizeof(struct field) + 512 < BLOCK, "room for bytes");

void fields_unref(struct fields **ret)
{
	struct fields *f = *ret;
	struct fields_pool *p;
	struct fields_block *b;

	*ret = NULL;
	if (!f || --f->refs)
		return;
	p = f->pool;
	b = f->blocks;
	charge_end(&f->charge);
	p->live--;
	/* The list itself lies in the last of these: nothing of it is read from here on. */
	while (b) {
		struct fields_block *next = b->next;

		block_free(p, b);
		b = next;
	}
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */

static int fields_grow(struct fields *f)
{
	struct field *more = fields_take(f, sizeof(*more) * f->cap * 2, true);

	if (!more)
		return -ENOMEM;
	memcpy(more, f->f, sizeof(*more) * f->count);
	f->f = more; /* the old array stays where it is: entries that someone still looks at stay readable */
	f->cap *= 2;
	return 0;
}

static int fields_put(struct fields *f, enum field_token t, struct str name, struct str value)
{
	size_t copied = value.n + (t == FIELD_OTHER ? name.n : 0);
	struct field *e;
	char *p;
	int r;

	if (name.n > FIELD_MAX || value.n > FIELD_MAX)
		return -ENOMEM;
	if (f->count == f->cap && (r = fields_grow(f)) < 0)
		return r;
	p = fields_take(f, copied, false);
	if (!p)
		return -ENOMEM;
	e = &f->f[f->count++];
	if (t == FIELD_OTHER) {
		memcpy(p, name.p, name.n);
		e->name = p;
		p += name.n;
	} else {
		e->name = rows[t].name;
	}
	if (value.n)
		memcpy(p, value.p, value.n);
	e->value = p;
	e->name_len = (uint32_t)name.n;
	e->value_len = (uint32_t)value.n;
	e->token = (uint16_t)t;
	e->flags = rows[t].flags;
	f->flags_seen |= e->flags;
	f->present[t >> 6] |= UINT64_C(1) << (t & 63);
	f->size += (uint32_t)(name.n + value.n + 32);
	return 0;
}

int fields_add(struct fields *f, struct str name, struct str value)
{
	return fields_put(f, field_token(name.p, name.n), name, value);
}

int fields_add_token(struct fields *f, enum field_token t, struct str value)
{
	return fields_put(f, t, field_name(t), value);
}

static void field_remove(struct fields *f, struct field *e)
{
	f->size -= e->name_len + e->value_len + 32;
	e->name = NULL;
	e->name_len = e->value_len = 0;
	e->token = FIELD_OTHER;
	e->flags = 0;
}

int fields_set(struct fields *f, enum field_token t, struct str value)
{
	struct field *first = (struct field *)fields_get(f, t);
	char *p;

	if (!first)
		return fields_add_token(f, t, value);
	if (value.n > FIELD_MAX)
		return -ENOMEM;
	/* Never over the old value: the new one may be a part of it, and the caller may still hold the old one. */
	p = fields_take(f, value.n, false);
	if (!p)
		return -ENOMEM;
	if (value.n)
		memcpy(p, value.p, value.n);
	f->size = f->size - first->value_len + (uint32_t)value.n;
	first->value = p;
	first->value_len = (uint32_t)value.n;
	for (struct field *e = first + 1; e < f->f + f->count; e++)
		if (e->token == t)
			field_remove(f, e);
	return 0;
}

void fields_del(struct fields *f, enum field_token t)
{
	if (t == FIELD_OTHER)
		return;
	for (struct field *e = f->f; e < f->f + f->count; e++)
		if (e->token == t)
			field_remove(f, e);
}

void fields_del_field(struct fields *f, const struct field *e)
{
	if (e->name)
		field_remove(f, &f->f[e - f->f]);
}

const struct field *fields_get_slow(const struct fields *f, enum field_token t)
{
	for (const struct field *e = f->f, *end = e + f->count; e < end; e++)
		if (e->token == t && e->name)
			return e;
	return NULL;
}

const struct field *fields_find(const struct fields *f, struct str name)
{
	enum field_token t = field_token(name.p, name.n);

	if (t != FIELD_OTHER)
		return fields_get(f, t);
	fields_each(e, f)
		if (e->token == FIELD_OTHER && e->name_len == name.n && memcmp(e->name, name.p, name.n) == 0)
			return e;
	return NULL;
}

/* Where the bytes of names and values begin, if the list lies in one block; else NULL. */
static char *fields_text(const struct fields *f)
{
	return f->blocks->next || f->f != (struct field *)(f + 1) ? NULL : (char *)(f->f + f->cap);
}

/* f's one block, entries and bytes, into b, which has room for cap entries. */
static struct fields *fields_lay(struct fields_block *b, size_t size, uint32_t cap, const struct fields *f, const char *text, struct account *a)
{
	struct fields *copy = (struct fields *)(b + 1);
	char *to = (char *)(copy + 1) + cap * sizeof(struct field);
	size_t n = (size_t)(f->at - text);

	b->next = NULL;
	*copy = *f;
	copy->refs = 1;
	copy->cap = cap;
	copy->blocks = b;
	copy->charge = (struct charge){0};
	charge_begin(&copy->charge, a, size);
	copy->f = (struct field *)(copy + 1);
	copy->at = to + n;
	copy->end = (char *)b + size;
	memcpy(to, text, n);
	for (uint32_t i = 0; i < f->count; i++) { /* names of rows lie elsewhere, all other bytes in the block */
		copy->f[i] = f->f[i];
		if (f->f[i].token == FIELD_OTHER && f->f[i].name)
			copy->f[i].name = to + (f->f[i].name - text);
		copy->f[i].value = to + (f->f[i].value - text);
	}
	copy->pool->live++;
	return copy;
}

struct fields *fields_clone(const struct fields *f, struct account *a)
{
	const char *text = fields_text(f);
	struct fields_block *b;

	if (!text || f->count > FIRST_ENTRIES || sizeof(*b) + sizeof(*f) + FIRST_ENTRIES * sizeof(struct field) + (size_t)(f->at - text) > BLOCK)
		return fields_copy(f, a);
	b = block_new(f->pool, a, BLOCK);
	return b ? fields_lay(b, BLOCK, FIRST_ENTRIES, f, text, a) : NULL;
}

struct fields *fields_keep(const struct fields *f, struct account *a)
{
	const char *text = fields_text(f);
	size_t size;
	struct fields_block *b;

	if (!text)
		return NULL;
	size = (sizeof(*b) + sizeof(*f) + f->count * sizeof(struct field) + (size_t)(f->at - text) + 7) & ~(size_t)7;
	if (size == BLOCK)
		size += 8; /* that size goes to the pool */
	b = block_new(f->pool, a, size);
	return b ? fields_lay(b, size, f->count, f, text, a) : NULL;
}

bool fields_same(const struct fields *a, const struct fields *b)
{
	const char *text_a = fields_text(a), *text_b = fields_text(b);

	if (a->count != b->count || a->size != b->size || !text_a || !text_b || a->at - text_a != b->at - text_b ||
	    memcmp(text_a, text_b, (size_t)(a->at - text_a)) != 0)
		return false;
	for (uint32_t i = 0; i < a->count; i++) {
		const struct field *x = &a->f[i], *y = &b->f[i];

		if (x->token != y->token || x->value_len != y->value_len || x->name_len != y->name_len || x->value - text_a != y->value - text_b)
			return false;
		if (x->token == FIELD_OTHER && (!x->name || !y->name || x->name - text_a != y->name - text_b))
			return false;
	}
	return true;
}

struct fields *fields_copy(const struct fields *f, struct account *a)
{
	struct fields *copy = fields_new(f->pool, a);

	if (!copy)
		return NULL;
	fields_each(e, f) {
		if (fields_put(copy, e->token, str_n(e->name, e->name_len), str_n(e->value, e->value_len)) < 0) {
			fields_unref(&copy);
			return NULL;
		}
	}
	return copy;
}
