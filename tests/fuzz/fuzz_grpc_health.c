/* Any bytes as a message of grpc.health.v1: what is read lies inside of them, what was read and is written again is read as the same. */
#include <assert.h>
#include "net/grpc_health_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct str piece, struct str whole)
{
	assert(piece.n == 0 || (piece.p >= whole.p && piece.p + piece.n <= whole.p + whole.n));
}

static void list_again(struct str in)
{
	struct sb out = {0};
	struct str rest = in, service, again;
	int status, back, more;
	uint32_t entries = 0;

	while ((more = grpc_health_list_next(&rest, &service, &status)) > 0) {
		assert(++entries <= in.n);
		inside(service, in);
		assert(*grpc_health_name(status));
		out.n = 0;
		grpc_health_list_add(&out, service, (enum grpc_health)(status & 3));
		struct str one = sb_view(&out);
		assert(grpc_health_list_next(&one, &again, &back) == 1 && str_eq(again, service) && back == (status & 3));
		assert(grpc_health_list_next(&one, &again, &back) == 0);
	}
	sb_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = str_n((const char *)data, size), service, again;
	struct sb out = {0};
	int status;

	if (grpc_health_request_decode(in, &service)) {
		inside(service, in);
		grpc_health_request_encode(service, &out);
		assert(out.n <= size);
		assert(grpc_health_request_decode(sb_view(&out), &again) && str_eq(again, service));
		assert(grpc_health_response_decode(in, &status)); /* the wire format is one for both */
	} else {
		assert(!grpc_health_response_decode(in, &status));
	}
	list_again(in);
	sb_end(&out);
	return 0;
}
