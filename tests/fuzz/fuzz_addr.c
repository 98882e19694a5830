/* Any bytes as an address, an authority and a packed address: what is accepted must come back the same through its other forms. */
#include <assert.h>
#include <stdlib.h>
#include "base/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct addr *a)
{
	char text[ADDR_TEXT];
	uint8_t packed[ADDR_PACKED];
	struct addr b;
	size_t n = addr_pack(a, packed);
	assert(n > 0 && addr_unpack(packed, n, &b) == (int)n);
	assert(addr_eq(a, &b) && addr_hash(a, 1) == addr_hash(&b, 1));
	assert(strlen(addr_text(a, text)) < ADDR_TEXT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_n((const char *)data, size), host;
	struct addr a, b;
	char text[ADDR_TEXT];
	int port;

	if (addr_split(in, &host, &port) == 0) {
		assert(port >= -1 && port <= 65535);
		assert(host.n == 0 || (host.p >= in.p && host.p + host.n <= in.p + in.n));
	}
	if (addr_parse(in, &a) == 0) {
		round_trip(&a);
		addr_text(&a, text);
		/* control bytes of a path are masked in its text, all else reads back */
		if (!addr_is_unix(&a))
			assert(addr_parse(str_of(text), &b) == 0 && addr_eq(&a, &b));
		assert(!addr_is_unix(&a) || a.len <= sizeof(a.un));
	}
	if (addr_is_ip(in))
		assert(addr_ip(in, 80, &a) == 0);
	int n = addr_unpack(data, size, &a);
	if (n >= 0) {
		assert((size_t)n <= size && a.len <= sizeof(a.un));
		round_trip(&a);
	}
	return 0;
}
