/* xds/inflow: see inflow.h.
 *
 *   struct inflow: one message at a time. A stack of open messages (frame), each known by where it ends; what stands on top says what a field means:
 *
 *     TOP  ->  field 2: ANY (state of the world) or RESOURCE (delta)         ANY      -> field 2: the value; or RESOURCE, where an Any wraps one
 *          ->  field 8: REMOVED (delta)                                       RESOURCE -> field 2: ANY
 *
 * A field is a head (tag and, for bytes, a length: gathered a byte at a time, pieces break anywhere) and what follows: a text that is captured, a message that is
 * entered, the value that is handed on, or something that is skipped. Lengths are compared with the end of the enclosing frame before anything else, so nothing here can
 * run beyond its message, and the stack is never deeper than the four kinds. */
#include "xds/inflow.h"
#include <errno.h>
#include <stdlib.h>
#include "base/mem.h"
#include "xds/wire.h"

#define RESOURCE_URL "type.googleapis.com/envoy.service.discovery.v3.Resource"

enum kind { TOP, RESOURCE, ANY, REMOVED };
enum { DEPTH_MAX = 5 };
enum slot { SLOT_VERSION, SLOT_NONCE, SLOT_TYPE, SLOT_URL, SLOT_NAME, SLOT_RESOURCE_VERSION, SLOT_REMOVED, SLOT_INNER, SLOTS };
enum state { HEAD, SKIP, CAPTURE, VALUE, GATHER, DEAD };

struct frame { enum kind kind; uint64_t end; };

/* The head of a field: its tag, and its length where it has one. */
struct head { uint8_t at[2 * WIRE_VARINT_MAX]; uint8_t n; };

/* Looks for field 1 of the value while it passes: the resource's own name. */
struct scan { struct head head; uint64_t skip; uint64_t left; bool capture, over; };

struct inflow {
	bool delta;
	const struct inflow_events *ev; /* borrowed, static */
	void *ctx;
	uint64_t at, n;            /* bytes read, bytes of the message */
	enum state state;
	uint64_t left;             /* of what is skipped, captured, handed on or gathered */
	enum slot slot;            /* what is captured */
	struct head head;
	struct frame frame[DEPTH_MAX];
	uint32_t depth;            /* frames that are open; 0: the message is over */
	bool has_url;              /* of the Any that is open */
	bool has_value;            /* it had its value */
	bool told, wanted;         /* the present resource: begin was called, and returned true */
	uint32_t resources;
	struct scan scan;
	struct sb slots[SLOTS], gathered;
	const char *why;
};

/* It may have been a secret. */
static void gathered_end(struct inflow *f)
{
	if (f->gathered.n)
		explicit_bzero(f->gathered.p, f->gathered.n);
	sb_end(&f->gathered);
}

struct inflow *inflow_new(bool delta, const struct inflow_events *ev, void *ctx)
{
	struct inflow *f = xnew(struct inflow);

	f->delta = delta;
	f->ev = ev;
	f->ctx = ctx;
	f->state = DEAD;
	f->why = "no message was announced";
	return f;
}

void inflow_free(struct inflow **pf)
{
	struct inflow *f = *pf;

	if (!f)
		return;
	*pf = NULL;
	for (int i = 0; i < SLOTS; i++)
		sb_end(&f->slots[i]);
	gathered_end(f);
	free(f);
}

void inflow_begin(struct inflow *f, uint32_t n)
{
	for (int i = 0; i < SLOTS; i++)
		f->slots[i].n = 0;
	gathered_end(f);
	f->at = 0;
	f->n = n;
	f->state = HEAD;
	f->head.n = 0;
	f->frame[0] = (struct frame){TOP, n};
	f->depth = 1;
	f->has_url = f->has_value = f->told = f->wanted = false;
	f->resources = 0;
	f->why = NULL;
}

/* ---- refusing ---- */

static int refuse(struct inflow *f, int code, const char *why)
{
	f->state = DEAD;
	f->why = why;
	gathered_end(f);
	return code;
}

/* ---- the head of a field ---- */

/* Takes a byte. 1: the head is whole; 0: more is needed; negative: malformed. */
static int head_byte(struct head *h, uint8_t byte, struct wire_field *ret)
{
	uint64_t tag = 0, v = 0;

	if (h->n == sizeof(h->at))
		return -EPROTO;
	h->at[h->n++] = byte;
	int r = wire_varint(h->at, h->at + h->n, &tag);
	if (r < 0)
		return -EPROTO;
	if (r == 0)
		return 0;
	*ret = (struct wire_field){.type = tag & 7};
	if (tag >> 3 == 0 || tag >> 3 > WIRE_NUMBER_MAX)
		return -EPROTO;
	ret->number = (uint32_t)(tag >> 3);
	switch (ret->type) {
	case WIRE_FIXED64:
		ret->value = 8;
		return 1;
	case WIRE_FIXED32:
		ret->value = 4;
		return 1;
	case WIRE_VARINT:
	case WIRE_BYTES:
		break;
	default:
		return -EPROTO;
	}
	int m = wire_varint(h->at + r, h->at + h->n, &v);
	if (m <= 0)
		return m;
	ret->value = ret->type == WIRE_BYTES ? v : 0; /* a varint is read already: nothing follows */
	return 1;
}

/* ---- the resource's own name ---- */

static void scan_bytes(struct inflow *f, const uint8_t *p, size_t n)
{
	struct scan *s = &f->scan;

	while (n && !s->over) {
		if (s->left) {
			size_t take = n < s->left ? n : (size_t)s->left;
			if (s->capture)
				sb_add(&f->slots[SLOT_INNER], (const char *)p, take);
			s->left -= take;
			p += take;
			n -= take;
			s->over = s->capture && s->left == 0;
			continue;
		}
		struct wire_field field;
		int r = head_byte(&s->head, *p, &field);
		p++;
		n--;
		if (r < 0) { /* the decoder will say what is wrong */
			s->over = true;
		} else if (r > 0) {
			s->head.n = 0;
			s->left = field.value;
			s->capture = field.number == 1 && field.type == WIRE_BYTES && field.value <= INFLOW_NAME_MAX;
			s->over = s->capture && s->left == 0;
		}
	}
}

/* ---- a resource ---- */

static struct str slot(const struct inflow *f, enum slot at)
{
	return sb_view(&f->slots[at]);
}

struct str inflow_type(const struct inflow *f)
{
	return f->state == CAPTURE && f->slot == SLOT_TYPE ? str_n("", 0) : slot(f, SLOT_TYPE);
}

static void value_begin(struct inflow *f, uint64_t n)
{
	f->told = true;
	f->has_value = true;
	f->resources++;
	f->slots[SLOT_INNER].n = 0;
	f->scan = (struct scan){.over = false};
	f->wanted = f->ev->begin(f->ctx, slot(f, SLOT_URL), slot(f, SLOT_NAME), (size_t)n);
}

static void value_bytes(struct inflow *f, const uint8_t *p, size_t n)
{
	if (!f->wanted || !n)
		return;
	scan_bytes(f, p, n);
	f->ev->bytes(f->ctx, p, n);
}

static void resource_over(struct inflow *f)
{
	struct str name = slot(f, SLOT_NAME);

	if (f->scan.left) /* the value ended inside of it */
		f->slots[SLOT_INNER].n = 0;
	if (f->told && f->wanted)
		f->ev->end(f->ctx, name.n ? name : slot(f, SLOT_INNER), slot(f, SLOT_RESOURCE_VERSION));
	f->told = f->wanted = false;
	f->slots[SLOT_NAME].n = f->slots[SLOT_RESOURCE_VERSION].n = 0;
}

static bool in_resource(const struct inflow *f)
{
	for (uint32_t i = 0; i < f->depth; i++)
		if (f->frame[i].kind == RESOURCE)
			return true;
	return false;
}

static void any_over(struct inflow *f)
{
	if (f->gathered.n) {
		uint8_t *p = (uint8_t *)f->gathered.p;
		value_begin(f, f->gathered.n);
		value_bytes(f, p, f->gathered.n);
		gathered_end(f);
	} else if (!f->has_value && !str_is(slot(f, SLOT_URL), RESOURCE_URL)) {
		value_begin(f, 0); /* proto3 leaves an empty value away */
	}
	if (!in_resource(f))
		resource_over(f);
}

/* ---- frames ---- */

static int frame_enter(struct inflow *f, enum kind kind, uint64_t n)
{
	if (f->depth == DEPTH_MAX)
		return refuse(f, -EPROTO, "a Resource inside of a Resource");
	f->frame[f->depth++] = (struct frame){kind, f->at + n};
	if (kind == ANY) {
		f->has_url = f->has_value = false;
		f->slots[SLOT_URL].n = 0;
	} else if (kind == RESOURCE) {
		f->slots[SLOT_NAME].n = f->slots[SLOT_RESOURCE_VERSION].n = 0;
	} else if (kind == REMOVED) {
		f->slots[SLOT_REMOVED].n = 0;
	}
	return 0;
}

/* All messages that end here. */
static void frames_leave(struct inflow *f)
{
	while (f->depth && f->state == HEAD && f->head.n == 0 && f->at == f->frame[f->depth - 1].end) {
		enum kind kind = f->frame[f->depth - 1].kind;
		if (kind == ANY)
			any_over(f);
		else if (kind == RESOURCE)
			resource_over(f); /* without an Any it is a heartbeat of its TTL: nothing was told */
		else if (kind == REMOVED && f->slots[SLOT_REMOVED].n)
			f->ev->removed(f->ctx, slot(f, SLOT_REMOVED));
		f->depth--;
		if (kind == RESOURCE && f->depth && f->frame[f->depth - 1].kind == ANY)
			f->has_value = true; /* the wrapper's value was the Resource */
	}
}

/* ---- fields ---- */

static int capture(struct inflow *f, enum slot at, uint64_t n)
{
	if (n > INFLOW_NAME_MAX)
		return refuse(f, -EMSGSIZE, "a name, version or nonce is too long");
	f->slots[at].n = 0; /* of two the last one counts, as in protobuf */
	f->slot = at;
	f->left = n;
	f->state = CAPTURE;
	return 0;
}

static int any_value(struct inflow *f, uint64_t n)
{
	if (f->has_value || f->gathered.n)
		return refuse(f, -EPROTO, "an Any with two values");
	if (f->has_url && str_is(slot(f, SLOT_URL), RESOURCE_URL)) {
		if (f->delta || in_resource(f))
			return refuse(f, -EPROTO, "a Resource inside of a Resource");
		return frame_enter(f, RESOURCE, n);
	}
	f->left = n;
	if (f->has_url) {
		value_begin(f, n);
		f->state = VALUE;
		return 0;
	}
	if (n > INFLOW_GATHER_MAX)
		return refuse(f, -EMSGSIZE, "a resource whose type_url stands behind its value is too large");
	f->state = GATHER;
	return 0;
}

static int bytes_field(struct inflow *f, uint32_t number, uint64_t n)
{
	enum kind kind = f->frame[f->depth - 1].kind;

	if (kind == TOP)
		switch (number) {
		case 1: return capture(f, SLOT_VERSION, n);
		case 2: return frame_enter(f, f->delta ? RESOURCE : ANY, n);
		case 4: return capture(f, SLOT_TYPE, n);
		case 5: return capture(f, SLOT_NONCE, n);
		case 6: if (f->delta) return capture(f, SLOT_REMOVED, n); break;
		case 8: if (f->delta) return frame_enter(f, REMOVED, n); break;
		default: break;
		}
	else if (kind == RESOURCE)
		switch (number) {
		case 1: return capture(f, SLOT_RESOURCE_VERSION, n);
		case 2:
			if (f->told)
				return refuse(f, -EPROTO, "a Resource with two values");
			return frame_enter(f, ANY, n);
		case 3:
			/* Whoever was told of it by one name holds that name until its end. */
			if (f->told && f->slots[SLOT_NAME].n)
				return refuse(f, -EPROTO, "a Resource with two names");
			return capture(f, SLOT_NAME, n);
		default: break;
		}
	else if (kind == ANY && number == 1) {
		/* Once bytes were handed on under one type, another one would be a lie. */
		if (f->told)
			return refuse(f, -EPROTO, "an Any with two types");
		f->has_url = true;
		return capture(f, SLOT_URL, n);
	} else if (kind == ANY && number == 2) {
		return any_value(f, n);
	} else if (kind == REMOVED && number == 1) {
		return capture(f, SLOT_REMOVED, n);
	}
	f->left = n;
	f->state = SKIP;
	return 0;
}

static int field_begins(struct inflow *f, const struct wire_field *field)
{
	uint64_t room = f->frame[f->depth - 1].end - f->at;

	f->head.n = 0;
	if (field->value > room)
		return refuse(f, -EPROTO, "a field is longer than its message");
	if (field->type == WIRE_BYTES)
		return bytes_field(f, field->number, field->value);
	f->left = field->value;
	f->state = SKIP;
	return 0;
}

/* What follows a head has been read whole. */
static void field_over(struct inflow *f)
{
	enum state was = f->state;

	f->state = HEAD;
	if (was == CAPTURE && f->slot == SLOT_REMOVED && f->frame[f->depth - 1].kind == TOP && f->slots[SLOT_REMOVED].n)
		f->ev->removed(f->ctx, slot(f, SLOT_REMOVED));
}

static int head_bytes(struct inflow *f, const uint8_t **p, const uint8_t *end)
{
	while (*p < end) {
		struct wire_field field;
		if (f->depth == 0 || f->at >= f->frame[f->depth - 1].end)
			return refuse(f, -EPROTO, "a field is longer than its message");
		f->at++;
		int r = head_byte(&f->head, *(*p)++, &field);
		if (r < 0)
			return refuse(f, -EPROTO, "malformed protobuf");
		if (r > 0)
			return field_begins(f, &field);
	}
	return 0;
}

static void tail_bytes(struct inflow *f, const uint8_t *p, size_t n)
{
	switch (f->state) {
	case CAPTURE:
		sb_add(&f->slots[f->slot], (const char *)p, n);
		break;
	case VALUE:
		value_bytes(f, p, n);
		break;
	case GATHER:
		sb_add(&f->gathered, (const char *)p, n);
		break;
	default:
		break;
	}
}

static int feed(struct inflow *f, const uint8_t *p, const uint8_t *end)
{
	for (;;) {
		if (f->state == DEAD)
			return -EPROTO;
		if (f->state != HEAD) {
			size_t take = (uint64_t)(end - p) < f->left ? (size_t)(end - p) : (size_t)f->left;
			if (take) {
				tail_bytes(f, p, take);
				f->at += take;
				f->left -= take;
				p += take;
			}
			if (f->left)
				return 0;
			field_over(f);
		}
		frames_leave(f);
		if (p == end)
			return 0;
		int r = head_bytes(f, &p, end);
		if (r < 0)
			return r;
	}
}

int inflow_bytes(struct inflow *f, const void *p, size_t n, bool whole, struct inflow_result *ret, const char **why)
{
	int r;

	if (f->state == DEAD)
		r = -EPROTO;
	else if (n > f->n - f->at)
		r = refuse(f, -EPROTO, "more bytes than announced");
	else
		r = feed(f, p, (const uint8_t *)p + n);
	if (r == 0 && whole && f->depth)
		r = refuse(f, -EPROTO, "the message ends in the middle of a field");
	if (r < 0) {
		*why = f->why;
		return r;
	}
	if (whole)
		*ret = (struct inflow_result){slot(f, SLOT_VERSION), slot(f, SLOT_NONCE), slot(f, SLOT_TYPE), f->resources};
	return 0;
}
