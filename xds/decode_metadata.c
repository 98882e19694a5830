/* xds/decode_metadata: google.protobuf.Struct to sorted text pairs. The depth of a Struct is no matter here: only its first level is entered, lists and
 * structs in it are stepped over whole. */
#include <errno.h>
#include <stdio.h>
#include "base/err.h"
#include "xds/decode_int.h"
#include "xds/guard.h"

static int keep(struct pairs *p, struct str first, struct str second, struct str *ret)
{
	if (first.n > PAIRS_SCRATCH - p->used || second.n > PAIRS_SCRATCH - p->used - first.n)
		return ERR_LIMIT;
	char *at = p->scratch + p->used;
	if (first.n)
		memcpy(at, first.p, first.n);
	if (second.n)
		memcpy(at + first.n, second.p, second.n);
	p->used += first.n + second.n;
	*ret = str_n(at, first.n + second.n);
	return 0;
}

/* 1: a text; 0: a kind that cannot be one. */
static int value_text(struct pairs *p, struct str value, struct str *ret)
{
	struct wire w = wire_of(value);
	struct wire_field f, last = {0};
	int more;
	while ((more = wire_next(&w, &f)) > 0)
		if (f.number <= VALUE_KINDS)
			last = f; /* a oneof: the last one counts */
	if (more < 0)
		return more;
	if (last.number == VALUE_TEXT && last.type == WIRE_BYTES) {
		if (!guard_text_valid(last.bytes))
			return -EINVAL;
		*ret = last.bytes;
		return 1;
	}
	if (last.number == VALUE_BOOL && last.type == WIRE_VARINT) {
		*ret = last.value ? STR("true") : STR("false");
		return 1;
	}
	if (last.number == VALUE_NUMBER && last.type == WIRE_FIXED64) {
		double number;
		char text[32];
		memcpy(&number, &last.value, sizeof(number));
		int n = snprintf(text, sizeof(text), "%.15g", number);
		int code = keep(p, str_n(text, (size_t)n), str_n(NULL, 0), ret);
		return code < 0 ? code : 1;
	}
	return 0;
}

static int compare(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* What stands under such a key in an endpoint_meta comes from other fields than metadata: nobody writes it there. */
static bool is_own(struct str key)
{
	return key.n && key.p[0] == '\001';
}

/* In its place; a key that is there already gets the later value, as in any map of protobuf. */
static int insert(struct pairs *p, struct str key, struct str value)
{
	uint32_t i = p->n;
	while (i > 0) {
		int c = compare(p->kv[2 * (i - 1)], key);
		if (c == 0) {
			p->kv[2 * (i - 1) + 1] = value;
			return 0;
		}
		if (c < 0)
			break;
		i--;
	}
	if (p->n == PAIRS_MAX + (is_own(key) ? PAIRS_OWN : 0))
		return ERR_LIMIT;
	memmove(&p->kv[2 * (i + 1)], &p->kv[2 * i], (p->n - i) * 2 * sizeof(p->kv[0]));
	p->kv[2 * i] = key;
	p->kv[2 * i + 1] = value;
	p->n++;
	return 0;
}

static int add_entry(struct pairs *p, struct str prefix, struct str entry)
{
	struct str key = {0}, value = {0}, text = {0};
	int code = wire_last_bytes(entry, 1, &key);
	if (code == 0)
		code = wire_last_bytes(entry, 2, &value);
	if (code < 0)
		return code;
	if (!guard_text_valid(key))
		return -EINVAL;
	code = value_text(p, value, &text);
	if (code == 0)
		p->left_out++;
	if (code <= 0)
		return code;
	p->bytes += key.n + text.n;
	if (p->bytes > PAIRS_BYTES)
		return ERR_LIMIT;
	if (!prefix.n && str_starts(key, STR(PAIRS_LB_PREFIX)))
		return 0; /* it would be taken for one of envoy.lb */
	if (!prefix.n && is_own(key)) {
		p->left_out++;
		return 0;
	}
	if (prefix.n) {
		code = keep(p, prefix, key, &key);
		if (code < 0)
			return code;
	}
	return insert(p, key, text);
}

int pairs_add_struct(struct pairs *p, struct str prefix, struct str message)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	int more;
	while ((more = wire_next(&w, &f)) > 0)
		if (f.number == 1 && f.type == WIRE_BYTES) {
			int code = add_entry(p, prefix, f.bytes);
			if (code < 0)
				return code;
		}
	return more;
}

int pairs_add_own(struct pairs *p, const char *key, struct str value)
{
	if (!guard_text_valid(value))
		return -EINVAL;
	p->bytes += value.n;
	return p->bytes > PAIRS_BYTES ? ERR_LIMIT : insert(p, str_of(key), value);
}
