/* net/fields: header lists, and the validation of them: one table for HTTP/1, HTTP/2 and both roles.
 *
 * A `struct fields` is one or more blocks: entries plus the bytes of names and values, copied from the wire (a peer's HPACK buffers are
 * never pinned). Names that are rows of net/fields.def are interned: entry->name points to the row, entry->token says which; routes and
 * exchanges compare tokens. Pseudo-headers are entries with tokens below FIELD_FIRST_REGULAR and come first.
 * Counted reference: it outlives its stream. Blocks come from a pool on the loop and are charged to the account given.
 * The list of one message is written by one holder; who shares it (ref) only reads. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/mem.h"
#include "base/str.h"

enum field_token {
	FIELD_OTHER = 0,
#define FIELD(id, name, flags) FIELD_##id,
#include "net/fields.def"
#undef FIELD
	FIELD_TOKENS
};
enum {
	FF_PSEUDO_REQ = 1, FF_PSEUDO_RSP = 2,
	FF_HOP = 4,          /* connection-specific: an error over HTTP/2 (RFC 9113 8.2.2), consumed by HTTP/1 */
	FF_STRIP_UP = 8,     /* ours: consumed from the caller when it is trusted (x-envoy-*) */
	FF_STRIP_DOWN = 16,  /* consumed from providers' answers: alt-svc, closing */
	FF_NO_INDEX = 32,    /* value changes each call: not worth an HPACK table entry */
	FF_HOST_SAYS = 64,   /* of the provider itself, in any answer: x-envoy-immediate-health-check-fail, x-envoy-degraded */
};
struct field { const char *name, *value; uint32_t name_len, value_len; uint16_t token; uint8_t flags; };

struct fields_pool;
struct fields {
	uint32_t refs;
	uint32_t count;
	uint32_t cap;
	uint8_t flags_seen;        /* FF_* of all entries ever added: clear means surely none */
	uint64_t present[2];       /* a bit a token: clear means surely absent (a removed one may leave its bit) */
	uint32_t size;             /* sum of name + value + 32 (RFC 9113 6.5.2) */
	struct field *f;           /* entries; a removed one has name_len 0 and value_len 0 and name NULL: skip it */
	struct fields_pool *pool;  /* borrowed: it outlives its lists */
	struct charge charge;      /* whole blocks; climbs when its account ends first */
	struct fields_block *blocks;
	char *at, *end;            /* free bytes of the newest block */
};
struct fields_pool *fields_pool_new(void);
void fields_pool_free(struct fields_pool **p);
void fields_pool_trim(struct fields_pool *p); /* gives the free blocks back to libc (an idle loop) */

struct fields *fields_new(struct fields_pool *p, struct account *a); /* NULL: refused by the account */
static inline struct fields *fields_ref(struct fields *f) { f->refs++; return f; }
void fields_unref(struct fields **f);

enum field_token field_token(const char *name, size_t n);  /* FIELD_OTHER when no row; name is in lower case */
struct str field_name(enum field_token t);
unsigned field_flags(enum field_token t);
/* Adds a copy. 0; -ENOMEM: the account refused. */
int fields_add(struct fields *f, struct str name, struct str value);
int fields_add_token(struct fields *f, enum field_token t, struct str value);
/* Sets the first entry of that name (others of it are removed), adds one where there is none. */
int fields_set(struct fields *f, enum field_token t, struct str value);
void fields_del(struct fields *f, enum field_token t);      /* all of that name */
void fields_del_field(struct fields *f, const struct field *e); /* one entry of f; fine inside fields_each */
const struct field *fields_get_slow(const struct fields *f, enum field_token t);
static inline const struct field *fields_get(const struct fields *f, enum field_token t) /* the first; NULL */
{
	return f->present[t >> 6] >> (t & 63) & 1 ? fields_get_slow(f, t) : NULL;
}
static inline struct str fields_value(const struct fields *f, enum field_token t)        /* "" (p NULL) when absent */
{
	const struct field *e = fields_get(f, t);
	return e ? str_n(e->value, e->value_len) : str_n(NULL, 0);
}
const struct field *fields_find(const struct fields *f, struct str name);   /* any name, lower case */
struct fields *fields_copy(const struct fields *f, struct account *a);
struct fields *fields_clone(const struct fields *f, struct account *a); /* the same, faster: a list of one block is copied as it lies */
struct fields *fields_keep(const struct fields *f, struct account *a);  /* the same, in no more memory than it needs: only to look at and to clone. NULL also where it is in more than one block */
/* Another number as soon as anything is added, set or removed (a value is never written over). */
static inline uint64_t fields_mark(const struct fields *f) { return (uint64_t)(uintptr_t)f->at << 24 ^ f->size; }
bool fields_same(const struct fields *a, const struct fields *b); /* surely the same fields; false where the answer would not be quick */
#define fields_each(e, list) for (const struct field *e = (list)->f, *e##_end = e + (list)->count; e < e##_end; e++) if (e->name)

/* Validation. Characters first (RFC 9110 5.5, 5.6.2; RFC 9113 8.2.1): */
bool field_name_valid(const char *name, size_t n);   /* lower-case tchar, one leading ':' for pseudo */
bool field_value_valid(const char *value, size_t n); /* no NUL CR LF, no leading or trailing blank; obs-text passes */
/* Then the message. Sources: RFC 9113 8.1-8.3, product.md 3 and 4. NULL: fine; else what is wrong (static text). */
enum fields_kind { FIELDS_REQUEST, FIELDS_RESPONSE, FIELDS_TRAILERS };
const char *fields_check(const struct fields *f, enum fields_kind kind);
/* content-length: -1 absent, -2 malformed, or more than one (repeated, or a list; equal ones too). */
int64_t fields_content_length(const struct fields *f);
/* Application/grpc or application/grpc+x, lower case (envoy.md 1c). */
bool fields_is_grpc(const struct fields *f);
