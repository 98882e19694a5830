/* net/grpc: what gRPC says on top of HTTP/2 (see net/grpc.h). No objects: pure functions over texts and numbers. */
#include "net/grpc.h"

static const struct {
	const char *name;
	int http; /* envoy.md 1c */
} statuses[] = {
	[GRPC_OK] = {"OK", 200},
	[GRPC_CANCELLED] = {"CANCELLED", 499},
	[GRPC_UNKNOWN] = {"UNKNOWN", 500},
	[GRPC_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", 400},
	[GRPC_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", 504},
	[GRPC_NOT_FOUND] = {"NOT_FOUND", 404},
	[GRPC_ALREADY_EXISTS] = {"ALREADY_EXISTS", 409},
	[GRPC_PERMISSION_DENIED] = {"PERMISSION_DENIED", 403},
	[GRPC_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", 429},
	[GRPC_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", 400},
	[GRPC_ABORTED] = {"ABORTED", 409},
	[GRPC_OUT_OF_RANGE] = {"OUT_OF_RANGE", 400},
	[GRPC_UNIMPLEMENTED] = {"UNIMPLEMENTED", 501},
	[GRPC_INTERNAL] = {"INTERNAL", 500},
	[GRPC_UNAVAILABLE] = {"UNAVAILABLE", 503},
	[GRPC_DATA_LOSS] = {"DATA_LOSS", 500},
	[GRPC_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401},
};
enum { STATUSES = sizeof(statuses) / sizeof(statuses[0]) };

const char *grpc_status_name(int status)
{
	return status >= 0 && status < STATUSES ? statuses[status].name : "?";
}

int grpc_status_parse(struct str s)
{
	int n = 0;

	if (s.n == 0 || s.n > 9)
		return -1;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		n = n * 10 + (s.p[i] - '0');
	}
	return n;
}

int grpc_from_http(int http_status)
{
	switch (http_status) {
	case 400:
		return GRPC_INTERNAL;
	case 401:
		return GRPC_UNAUTHENTICATED;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_UNKNOWN;
	}
}

int http_from_grpc(int grpc_status)
{
	return grpc_status >= 0 && grpc_status < STATUSES ? statuses[grpc_status].http : 500;
}

/* ---- grpc-timeout --------------------------------------------------------------------------------------------------------- */

/* From the finest to the coarsest; each is a whole multiple of the one before. */
static const struct {
	char letter;
	uint64_t ns;
} units[] = {{'n', 1}, {'u', 1000}, {'m', 1000000}, {'S', 1000000000}, {'M', 60000000000}, {'H', 3600000000000}};
enum { UNITS = sizeof(units) / sizeof(units[0]), UNIT_MILLI = 2, TIMEOUT_MAX = 99999999 };

bool grpc_timeout_parse(struct str s, uint64_t *ret_ns)
{
	uint64_t n = 0;

	if (s.n < 2 || s.n > 9)
		return false;
	for (size_t i = 0; i < s.n - 1; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(s.p[i] - '0');
	}
	for (int u = 0; u < UNITS; u++) {
		if (units[u].letter != s.p[s.n - 1])
			continue;
		/* 99999999H is eleven thousand years, more than 64 bits of nanoseconds: as good as for ever. */
		if (__builtin_mul_overflow(n, units[u].ns, ret_ns))
			*ret_ns = UINT64_MAX;
		return true;
	}
	return false;
}

/* The finest unit that fits into 8 digits, cut, so that a provider never believes that it has longer than we wait; then coarser ones as
 * long as nothing is lost, up to milliseconds, which every peer reads ("250u", "1999m"). */
size_t grpc_timeout_format(uint64_t ns, char out[10])
{
	uint64_t n;
	int u = 0, digits = 0;
	char text[8];

	while (u < UNITS - 1 && ns / units[u].ns > TIMEOUT_MAX)
		u++;
	n = ns / units[u].ns;
	while (n && u < UNIT_MILLI && n % 1000 == 0) {
		n /= 1000;
		u++;
	}
	do {
		text[digits++] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	for (int i = 0; i < digits; i++)
		out[i] = text[digits - 1 - i];
	out[digits] = units[u].letter;
	return (size_t)digits + 1;
}

/* ---- grpc-message --------------------------------------------------------------------------------------------------------- */

void grpc_message_encode(struct str text, struct sb *out)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t plain = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c >= 0x20 && c <= 0x7e && c != '%')
			continue;
		sb_add(out, text.p + plain, i - plain);
		sb_add(out, (const char[3]){'%', hex[c >> 4], hex[c & 15]}, 3);
		plain = i + 1;
	}
	sb_add(out, text.p + plain, text.n - plain);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

void grpc_message_decode(struct str text, struct sb *out)
{
	size_t plain = 0;

	for (size_t i = 0; i + 2 < text.n; i++) {
		int high, low;

		if (text.p[i] != '%' || (high = hex_digit(text.p[i + 1])) < 0 || (low = hex_digit(text.p[i + 2])) < 0)
			continue;
		sb_add(out, text.p + plain, i - plain);
		sb_char(out, (char)(high << 4 | low));
		i += 2;
		plain = i + 1;
	}
	sb_add(out, text.p + plain, text.n - plain);
}
