/* xds/wire: protobuf's wire format, to be walked in place and to be written. No message, no schema, no memory of its own: whoever walks knows what
 * the numbers mean. Used where a message must not be unfolded in memory: EDS, the answers of the stream, the requests, the snapshot.
 *
 *   struct wire w = wire_of(bytes);
 *   while ((more = wire_next(&w, &f)) > 0) switch (f.number) { ... }     // more < 0: malformed
 *
 * Everything here is a loan from the bytes that are walked. What proto3 does not have (groups) is malformed. Nesting costs no stack here: a walker
 * enters a message by wire_of(f.bytes), as deep as it knows what stands there, and not a level deeper. */
#pragma once
#include "base/str.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { WIRE_NUMBER_MAX = (1 << 29) - 1, WIRE_VARINT_MAX = 10 };

struct wire { const uint8_t *at, *end; };
struct wire_field {
	uint32_t number;
	uint32_t type;     /* enum wire_type */
	uint64_t value;    /* varint, fixed32, fixed64 */
	struct str bytes;  /* WIRE_BYTES */
};

static inline struct wire wire_of(struct str s)
{
	const uint8_t *p = (const uint8_t *)s.p;
	return (struct wire){p, p ? p + s.n : p};
}

/* ---- reading ---- */

/* Bytes read, 0 when the varint is not over at `end`, negative when it is none: longer than ten bytes or beyond 64 bits. */
int wire_varint_slow(const uint8_t *at, const uint8_t *end, uint64_t *ret);
static inline int wire_varint(const uint8_t *at, const uint8_t *end, uint64_t *ret)
{
	if (__builtin_expect(at < end && at[0] < 0x80, 1)) {
		*ret = at[0];
		return 1;
	}
	if (end - at >= 2 && at[1] < 0x80) {
		*ret = (uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7;
		return 2;
	}
	return wire_varint_slow(at, end, ret);
}

/* 1: a field; 0: the end; negative: malformed, w stays where it was. */
int wire_next_slow(struct wire *w, struct wire_field *ret);
static inline int wire_next(struct wire *w, struct wire_field *ret)
{
	const uint8_t *p = w->at;
	if (p == w->end)
		return 0;
	/* What nearly every field of every message is: number below 16, bytes shorter than 128 or a number below that. */
	if (__builtin_expect(w->end - p >= 2 && p[0] < 0x80 && p[0] >= 8 && p[1] < 0x80, 1)) {
		if ((p[0] & 7) == WIRE_BYTES && p[1] <= w->end - p - 2) {
			*ret = (struct wire_field){.number = p[0] >> 3, .type = WIRE_BYTES, .bytes = {(const char *)p + 2, p[1]}};
			w->at = p + 2 + p[1];
			return 1;
		}
		if ((p[0] & 7) == WIRE_VARINT) {
			*ret = (struct wire_field){.number = p[0] >> 3, .type = WIRE_VARINT, .value = p[1]};
			w->at = p + 2;
			return 1;
		}
	}
	return wire_next_slow(w, ret);
}

/* Shapes that messages nearly always have, known at a glance; false says nothing about a message but that it is to be walked.
 * It is one field of bytes, with that tag (number << 3 | WIRE_BYTES). */
static inline bool wire_is_one(struct str message, uint8_t tag, struct str *ret)
{
	const uint8_t *p = (const uint8_t *)message.p;
	if (message.n < 2 || message.n > 129 || p[0] != tag || p[1] != message.n - 2)
		return false;
	*ret = str_n(message.p + 2, message.n - 2);
	return true;
}
/* It is an entry of a map: 1 and 2, both bytes. */
static inline bool wire_is_entry(struct str message, struct str *ret_key, struct str *ret_value)
{
	const uint8_t *p = (const uint8_t *)message.p;
	if (message.n < 4 || p[0] != 0x0a || p[1] > message.n - 4 || p[1] > 127)
		return false;
	struct str key = str_n(message.p + 2, p[1]);
	if (!wire_is_one(str_n(message.p + 2 + p[1], message.n - 2 - p[1]), 0x12, ret_value))
		return false;
	*ret_key = key;
	return true;
}

/* The last value of a varint field of a small message (google.protobuf.UInt32Value and its like): 0, or negative: malformed. Not there: ret is left. */
int wire_last_varint(struct str message, uint32_t number, uint64_t *ret);
/* The same for bytes. */
int wire_last_bytes(struct str message, uint32_t number, struct str *ret);
/* google.protobuf.Duration in nanoseconds. -ERANGE: negative, or beyond what the type allows (315576000000 s, 999999999 ns); more than 584 years are cut to UINT64_MAX. */
int wire_duration_ns(struct str message, uint64_t *ret);
/* Text that can be kept as a C string: no NUL in it. */
static inline bool wire_is_text(struct str s) { return s.n == 0 || !memchr(s.p, '\0', s.n); }

/* ---- writing ---- */

size_t wire_varint_size(uint64_t v);
size_t wire_bytes_size(uint32_t number, size_t n);               /* tag, length and n bytes */
void wire_put_raw(struct sb *out, uint64_t v);                   /* a bare varint */
void wire_put_varint(struct sb *out, uint32_t number, uint64_t v);
void wire_put_fixed64(struct sb *out, uint32_t number, uint64_t v);
void wire_put_bytes(struct sb *out, uint32_t number, struct str s);
void wire_put_head(struct sb *out, uint32_t number, size_t n);   /* of a message of n bytes that follow */
