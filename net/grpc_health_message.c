/* net/grpc_health_message: see the header. Nothing is kept, nothing is allocated but what grows in the caller's text. */
#include "net/grpc_health_message.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, VARINT_MAX = 10 };

const char *grpc_health_name(int status)
{
	static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

	return status >= 0 && status <= GRPC_HEALTH_SERVICE_UNKNOWN ? names[status] : "?";
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------------ */

struct piece { uint32_t number, type; uint64_t value; struct str bytes; };

static bool varint(struct str *rest, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < VARINT_MAX && i < rest->n; i++) {
		uint8_t b = (uint8_t)rest->p[i];

		if (i == VARINT_MAX - 1 && b > 1) /* beyond 64 bits */
			return false;
		v |= (uint64_t)(b & 0x7f) << (7 * i);
		if (b & 0x80)
			continue;
		*rest = str_n(rest->p + i + 1, rest->n - i - 1);
		*ret = v;
		return true;
	}
	return false;
}

/* 1: a field; 0: the end; -1: malformed (groups are: proto3 has none). */
static int next(struct str *rest, struct piece *ret)
{
	uint64_t tag, n;

	if (rest->n == 0)
		return 0;
	if (!varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > (1 << 29) - 1)
		return -1;
	*ret = (struct piece){.number = (uint32_t)(tag >> 3), .type = tag & 7};
	switch (ret->type) {
	case VARINT:
		return varint(rest, &ret->value) ? 1 : -1;
	case BYTES:
		if (!varint(rest, &n))
			return -1;
		break;
	case FIXED64:
		n = 8;
		break;
	case FIXED32:
		n = 4;
		break;
	default:
		return -1;
	}
	if (n > rest->n)
		return -1;
	ret->bytes = str_n(rest->p, (size_t)n);
	*rest = str_n(rest->p + n, rest->n - (size_t)n);
	return 1;
}

bool grpc_health_request_decode(struct str message, struct str *ret_service)
{
	struct str service = str_n("", 0);
	struct piece f;
	int more;

	while ((more = next(&message, &f)) > 0)
		if (f.number == 1 && f.type == BYTES)
			service = f.bytes;
	if (more == 0)
		*ret_service = service;
	return more == 0;
}

bool grpc_health_response_decode(struct str message, int *ret_status)
{
	int status = GRPC_HEALTH_UNKNOWN, more;
	struct piece f;

	while ((more = next(&message, &f)) > 0)
		if (f.number == 1 && f.type == VARINT)
			status = (int)(int32_t)(uint32_t)f.value; /* an enum is an int32: the lower half of the ten bytes that a negative one has */
	if (more == 0)
		*ret_status = status;
	return more == 0;
}

static bool entry_decode(struct str entry, struct str *ret_service, int *ret_status)
{
	struct piece f;
	int more;

	*ret_service = str_n("", 0);
	*ret_status = GRPC_HEALTH_UNKNOWN;
	while ((more = next(&entry, &f)) > 0) {
		if (f.number == 1 && f.type == BYTES)
			*ret_service = f.bytes;
		else if (f.number == 2 && f.type == BYTES && !grpc_health_response_decode(f.bytes, ret_status))
			return false;
	}
	return more == 0;
}

int grpc_health_list_next(struct str *rest, struct str *ret_service, int *ret_status)
{
	struct piece f;
	int more;

	while ((more = next(rest, &f)) > 0)
		if (f.number == 1 && f.type == BYTES)
			return entry_decode(f.bytes, ret_service, ret_status) ? 1 : -1;
	return more;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------------------ */

static size_t varint_size(uint64_t v)
{
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

static void put_varint(struct sb *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		sb_char(out, (char)(v | 0x80));
	sb_char(out, (char)v);
}

static void put_bytes(struct sb *out, uint32_t number, const void *p, size_t n)
{
	put_varint(out, number << 3 | BYTES);
	put_varint(out, n);
	sb_add(out, p, n);
}

void grpc_health_request_encode(struct str service, struct sb *out)
{
	if (service.n)
		put_bytes(out, 1, service.p, service.n);
}

size_t grpc_health_response_encode(enum grpc_health status, uint8_t out[GRPC_HEALTH_STATUS_BYTES])
{
	if (status == GRPC_HEALTH_UNKNOWN)
		return 0;
	out[0] = 1 << 3 | VARINT;
	out[1] = (uint8_t)status;
	return 2;
}

void grpc_health_list_add(struct sb *out, struct str service, enum grpc_health status)
{
	uint8_t response[GRPC_HEALTH_STATUS_BYTES];
	size_t n = grpc_health_response_encode(status, response);

	/* The value is written where it is empty, too: a map's entry without one means the same, but not every reader knows. */
	put_varint(out, 1 << 3 | BYTES);
	put_varint(out, 1 + varint_size(service.n) + service.n + 1 + varint_size(n) + n);
	put_bytes(out, 1, service.p, service.n);
	put_bytes(out, 2, response, n);
}
