/* Fuzz: bytes of a provider, into a whole sidecar on the simulated network, with calls of an app that wait for it.
 *
 * input:  how the bytes are cut (1 byte), the bytes; each connection that the sidecar opens gets them from their beginning
 * Must hold: no crash, nothing left at the end (rig_free looks); each call ends exactly once, at its deadline at the latest; the app is sent no
 * GOAWAY and its connection stays; calls to another provider work. */
#include "tests/flow/rig.h"
#include <stdlib.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"
#define OTHER "other.default.svc.cluster.local:50051"

enum { PIECES_MAX = 3000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t cuts[] = {1 << 20, 1, 2, 9, 64, 1000, 16384, 65536};
	if (size < 1 || size > 1 << 17)
		return 0;
	struct rig *r = rig_demo(ONE, "  - name: " OTHER "\n    endpoints: [\"" TWO "\"]\n", "limits: {header_bytes: 4KiB, field_count: 50, empty_frames: 20, control_frames: 200}\n");
	size_t cut = cuts[data[0] & 7], at[16] = {0};
	struct raw *p = raw_provider(r, ONE);

	provider_new(r, TWO, ECHOES);
	struct caller *a = caller_new(r, DOOR);
	struct call *calls[4] = {
		call_unary(a, DEMO, "grpc-timeout: 5S\n"),
		call_begin(a, DEMO, PATH, "grpc-timeout: 5S\n", false),
		call_plain(a, "GET", DEMO, "/plain", "grpc-timeout: 5S\n", true),
		call_begin(a, DEMO, PATH, "grpc-timeout: 6S\n", false),
	};
	call_fill(calls[1], 100000, false);
	call_fill(calls[3], 10, true);
	for (int i = 0; i < PIECES_MAX; i++) {
		bool more = false;

		rig_settle(r);
		for (uint32_t k = 0; k < p->naccepted; k++) {
			size_t n = size - 1 - at[k];
			if (n > cut && i < PIECES_MAX - 1)
				n = cut;
			if (n && !p->accepted[k]->eof)
				raw_send(p->accepted[k], data + 1 + at[k], n);
			more |= n && !p->accepted[k]->eof;
			at[k] += n;
		}
		if (!more)
			break;
	}
	rig_advance(r, 10);
	struct call *c = call_unary(a, OTHER, NULL);
	rig_advance(r, 20000);
	for (int i = 0; i < 4; i++)
		if (calls[i]->ends != 1 || calls[i]->heads > 1)
			abort();
	if (!call_ok(c) || a->goaways || !a->h2)
		abort();
	rig_free(&r);
	return 0;
}
