/* Any bytes as a timeout, a status and a message of gRPC. */
#include <assert.h>
#include "net/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void timeout_is_never_lengthened(uint64_t ns)
{
	char out[10];
	size_t n = grpc_timeout_format(ns, out);
	uint64_t back;

	assert(n >= 2 && n <= 9);
	assert(grpc_timeout_parse(str_n(out, n), &back));
	assert(back <= ns && (back > 0 || ns == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_n((const char *)data, size);
	struct sb wire = {0}, back = {0}, loose = {0};
	uint64_t ns = 0;
	int status;

	if (grpc_timeout_parse(in, &ns)) {
		assert(size >= 2 && size <= 9);
		timeout_is_never_lengthened(ns);
	}
	if (size >= 8) {
		memcpy(&ns, data, 8);
		timeout_is_never_lengthened(ns);
		timeout_is_never_lengthened(ns >> (ns & 63));
	}
	status = grpc_status_parse(in);
	assert(status >= -1 && *grpc_status_name(status));
	assert(http_from_grpc(status) >= 200 && grpc_from_http(status) >= 0);

	grpc_message_encode(in, &wire);
	for (size_t i = 0; i < wire.n; i++)
		assert(wire.p[i] >= 0x20 && wire.p[i] <= 0x7e);
	grpc_message_decode(sb_view(&wire), &back);
	assert(str_eq(sb_view(&back), in));
	grpc_message_decode(in, &loose);
	assert(loose.n <= in.n);
	sb_end(&wire);
	sb_end(&back);
	sb_end(&loose);
	return 0;
}
