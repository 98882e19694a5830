/* xds/guard: the walk before protobuf-c, and its allocator. See the header. */
#include "xds/guard.h"

#include <errno.h>

#include "base/err.h"
#include "xds/wire.h"

/* ---- text --------------------------------------------------------------------------------------------------------------- */

/* Bytes of the character at p (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF); 0: none. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
	unsigned char c = p[0], low = 0x80, high = 0xbf;
	size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4 || n < len)
		return 0;
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

bool guard_text_valid(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;

	for (size_t i = 0, n; i < s.n; i += n) {
		n = utf8_len(p + i, s.n - i);
		if (n == 0 || p[i] == '\0')
			return false;
	}
	return true;
}

/* ---- the walk ----------------------------------------------------------------------------------------------------------- */

/* What protobuf-c keeps of each field of a message while it reads that message (its ScannedMember), in slabs that double. */
enum { SCANNED = 2 * 40, HEAD = 2 * sizeof(max_align_t) /* acct_alloc's and malloc's */ };

struct walk {
	size_t cost, budget;
	const char *why;
};

static int walk_fail(struct walk *k, int code, const char *why)
{
	k->why = why;
	return code;
}

static int walk_pay(struct walk *k, size_t n)
{
	/* cost <= budget always, so nothing wraps */
	if (n > k->budget - k->cost)
		return walk_fail(k, -ENOMEM, "it would need too much memory");
	k->cost += n;
	return 0;
}

/* Our field descriptors lie sorted by number. */
static const ProtobufCFieldDescriptor *field_find(const ProtobufCMessageDescriptor *d, uint32_t number)
{
	unsigned low = 0, high = d->n_fields;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (d->fields[mid].id < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low < d->n_fields && d->fields[low].id == number ? &d->fields[low] : NULL;
}

static uint32_t wire_type_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_FIXED32;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_FIXED64;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

static size_t size_in_memory(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

/* A list of numbers in one field. */
static int walk_packed(struct walk *k, const ProtobufCFieldDescriptor *f, struct str bytes)
{
	const uint8_t *at = (const uint8_t *)bytes.p, *end = at + bytes.n;
	uint32_t type = wire_type_of(f->type);
	size_t count = 0;

	if (type == WIRE_VARINT) {
		for (uint64_t v; at < end; count++) {
			int n = wire_varint(at, end, &v);

			if (n <= 0)
				return walk_fail(k, ERR_MALFORMED, "a packed list is malformed");
			at += n;
		}
	} else {
		size_t width = type == WIRE_FIXED32 ? 4 : 8;

		if (bytes.n % width)
			return walk_fail(k, ERR_MALFORMED, "a packed list is malformed");
		count = bytes.n / width;
	}
	return walk_pay(k, count * size_in_memory(f));
}

static int walk_message(struct walk *k, const ProtobufCMessageDescriptor *d, struct str bytes, unsigned depth);

static int walk_field(struct walk *k, const ProtobufCFieldDescriptor *f, const struct wire_field *w, unsigned depth, uint64_t *seen, const ProtobufCMessageDescriptor *d)
{
	bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;

	if (repeated && w->type == WIRE_BYTES && wire_type_of(f->type) != WIRE_BYTES)
		return walk_packed(k, f, w->bytes);
	if (w->type != wire_type_of(f->type))
		return walk_fail(k, ERR_MALFORMED, "a field has the wrong wire type");
	int rc = repeated ? walk_pay(k, size_in_memory(f)) : 0;
	if (rc < 0)
		return rc;
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		if (!guard_text_valid(w->bytes))
			return walk_fail(k, ERR_MALFORMED, "a text is not UTF-8, or holds a NUL");
		return walk_pay(k, w->bytes.n + 1 + HEAD);
	case PROTOBUF_C_TYPE_BYTES:
		return walk_pay(k, w->bytes.n + HEAD);
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!repeated) {
			size_t i = (size_t)(f - d->fields);

			if (seen[i / 64] >> (i % 64) & 1)
				return walk_fail(k, ERR_MALFORMED, "a message is given twice");
			seen[i / 64] |= UINT64_C(1) << (i % 64);
		}
		return walk_message(k, (const ProtobufCMessageDescriptor *)f->descriptor, w->bytes, depth + 1);
	default:
		return 0;
	}
}

static int walk_message(struct walk *k, const ProtobufCMessageDescriptor *d, struct str bytes, unsigned depth)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	uint64_t seen[2] = {0}; /* messages of one; no message of ours has more than 128 fields, see below */
	int more, rc;

	if (depth > GUARD_DEPTH)
		return walk_fail(k, -ELOOP, "more than 32 messages in each other");
	assert(d->n_fields <= 128);
	rc = walk_pay(k, d->sizeof_message + HEAD);
	while (rc == 0 && (more = wire_next(&w, &f)) != 0) {
		if (more < 0)
			return walk_fail(k, ERR_MALFORMED, "malformed wire");
		const ProtobufCFieldDescriptor *field = field_find(d, f.number);
		rc = walk_pay(k, SCANNED);
		if (rc < 0)
			break;
		/* What is not known is copied by protobuf-c, but not looked into. */
		rc = field ? walk_field(k, field, &f, depth, seen, d) :
			walk_pay(k, sizeof(ProtobufCMessageUnknownField) + HEAD + (f.type == WIRE_BYTES ? f.bytes.n + WIRE_VARINT_MAX : WIRE_VARINT_MAX));
	}
	return rc;
}

int guard_check(const ProtobufCMessageDescriptor *d, struct str bytes, size_t budget, size_t *ret_estimate, const char **ret_why)
{
	struct walk k = {.budget = budget};
	int rc = walk_message(&k, d, bytes, 1);

	if (rc < 0)
		*ret_why = k.why;
	else
		*ret_estimate = k.cost;
	return rc;
}

/* ---- unpacking ---------------------------------------------------------------------------------------------------------- */

static void *guard_alloc(void *data, size_t n)
{
	return acct_alloc((struct account *)data, n);
}

static void guard_give(void *data, void *p)
{
	acct_free((struct account *)data, p);
}

void guard_begin(struct guard *g, struct account *parent, size_t wire)
{
	/* SIZE_MAX / 2 and more is no size of anything: no wrap */
	account_init(&g->account, parent, "decode", wire < SIZE_MAX / 4 ? 2 * wire + GUARD_BASE : GUARD_BASE);
	g->alloc = (ProtobufCAllocator){guard_alloc, guard_give, &g->account};
}

void guard_end(struct guard *g)
{
	account_end(&g->account);
}

void *guard_unpack(struct guard *g, const ProtobufCMessageDescriptor *d, struct str bytes, int *ret_code, const char **ret_why)
{
	size_t left = g->account.limit > g->account.used ? g->account.limit - g->account.used : 0, estimate;
	ProtobufCMessage *m;
	int rc = guard_check(d, bytes, left, &estimate, ret_why);

	if (rc < 0) {
		*ret_code = rc;
		return NULL;
	}
	uint64_t refused = g->account.refused;
	m = protobuf_c_message_unpack(d, &g->alloc, bytes.n, (const uint8_t *)(bytes.p ? bytes.p : ""));
	if (!m) {
		/* What the walk let through fails only for want of memory: ours (the account of a parent), or, should the two ever disagree, by its own rules. */
		bool memory = g->account.refused > refused;

		*ret_why = memory ? "no memory" : "malformed";
		*ret_code = memory ? -ENOMEM : ERR_MALFORMED;
	}
	return m;
}

void guard_free(struct guard *g, void *tree)
{
	if (tree)
		protobuf_c_message_free_unpacked((ProtobufCMessage *)tree, &g->alloc);
}
