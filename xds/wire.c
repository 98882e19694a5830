/* xds/wire: see wire.h. What is read here comes from a peer: every length is compared with what is there before it is believed. */
#include "xds/wire.h"
#include <errno.h>
#include "base/err.h"

/* ---- reading ---- */

int wire_varint_slow(const uint8_t *at, const uint8_t *end, uint64_t *ret)
{
	uint64_t v = 0;
	for (int i = 0; i < WIRE_VARINT_MAX; i++) {
		if (at + i == end)
			return 0;
		uint8_t byte = at[i];
		if (i == WIRE_VARINT_MAX - 1 && byte > 1) /* the tenth byte has room for one bit */
			return ERR_MALFORMED;
		v |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*ret = v;
			return i + 1;
		}
	}
	return ERR_MALFORMED;
}

static int fixed(const uint8_t **p, const uint8_t *end, size_t n, uint64_t *ret)
{
	if ((size_t)(end - *p) < n)
		return ERR_MALFORMED;
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)(*p)[i] << (8 * i);
	*p += n;
	*ret = v;
	return 0;
}

int wire_next_slow(struct wire *w, struct wire_field *ret)
{
	const uint8_t *p = w->at;
	if (p == w->end)
		return 0;
	struct wire_field f = {0};
	uint64_t tag;
	int used = wire_varint(p, w->end, &tag), code = 0;
	if (used <= 0 || tag >> 3 == 0 || tag >> 3 > WIRE_NUMBER_MAX)
		return ERR_MALFORMED;
	p += used;
	f.number = (uint32_t)(tag >> 3);
	f.type = tag & 7;
	switch (f.type) {
	case WIRE_VARINT:
	case WIRE_BYTES:
		used = wire_varint(p, w->end, &f.value);
		if (used <= 0)
			return ERR_MALFORMED;
		p += used;
		if (f.type == WIRE_BYTES) {
			if (f.value > (uint64_t)(w->end - p))
				return ERR_MALFORMED;
			f.bytes = str_n((const char *)p, (size_t)f.value);
			p += f.value;
			f.value = 0;
		}
		break;
	case WIRE_FIXED64: code = fixed(&p, w->end, 8, &f.value); break;
	case WIRE_FIXED32: code = fixed(&p, w->end, 4, &f.value); break;
	default: code = ERR_MALFORMED;
	}
	if (code < 0)
		return code;
	w->at = p;
	*ret = f;
	return 1;
}

int wire_last_varint(struct str message, uint32_t number, uint64_t *ret)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	uint64_t v = *ret;
	int more;
	while ((more = wire_next(&w, &f)) > 0)
		if (f.number == number && f.type == WIRE_VARINT)
			v = f.value;
	if (more < 0)
		return more;
	*ret = v;
	return 0;
}

int wire_last_bytes(struct str message, uint32_t number, struct str *ret)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	struct str v = *ret;
	int more;
	while ((more = wire_next(&w, &f)) > 0)
		if (f.number == number && f.type == WIRE_BYTES)
			v = f.bytes;
	if (more < 0)
		return more;
	*ret = v;
	return 0;
}

int wire_duration_ns(struct str message, uint64_t *ret)
{
	uint64_t seconds = 0, nanos = 0, ns;
	int code = wire_last_varint(message, 1, &seconds);
	if (code == 0)
		code = wire_last_varint(message, 2, &nanos);
	if (code < 0)
		return code;
	if (seconds > UINT64_C(315576000000) || nanos > 999999999) /* negative ones are huge here */
		return -ERANGE;
	if (__builtin_mul_overflow(seconds, UINT64_C(1000000000), &ns) || __builtin_add_overflow(ns, nanos, &ns))
		ns = UINT64_MAX;
	*ret = ns;
	return 0;
}

/* ---- writing ---- */

size_t wire_varint_size(uint64_t v)
{
	size_t n = 1;
	while (v >>= 7)
		n++;
	return n;
}

size_t wire_bytes_size(uint32_t number, size_t n)
{
	return wire_varint_size((uint64_t)number << 3) + wire_varint_size(n) + n;
}

void wire_put_raw(struct sb *out, uint64_t v)
{
	char bytes[WIRE_VARINT_MAX];
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (char)(v | 0x80);
	bytes[n++] = (char)v;
	sb_add(out, bytes, n);
}

void wire_put_varint(struct sb *out, uint32_t number, uint64_t v)
{
	wire_put_raw(out, (uint64_t)number << 3 | WIRE_VARINT);
	wire_put_raw(out, v);
}

void wire_put_fixed64(struct sb *out, uint32_t number, uint64_t v)
{
	char bytes[8];
	wire_put_raw(out, (uint64_t)number << 3 | WIRE_FIXED64);
	for (int i = 0; i < 8; i++)
		bytes[i] = (char)(v >> (8 * i));
	sb_add(out, bytes, sizeof(bytes));
}

void wire_put_head(struct sb *out, uint32_t number, size_t n)
{
	wire_put_raw(out, (uint64_t)number << 3 | WIRE_BYTES);
	wire_put_raw(out, n);
}

void wire_put_bytes(struct sb *out, uint32_t number, struct str s)
{
	wire_put_head(out, number, s.n);
	sb_add(out, s.p, s.n);
}
