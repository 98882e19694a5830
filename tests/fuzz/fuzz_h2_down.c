/* Fuzz: bytes of an app, into a whole sidecar on the simulated network, with a provider behind it.
 *
 * input:  provider's manners (1 byte), how the bytes are cut and whether the preface is theirs (1 byte), the bytes
 * Must hold: no crash, nothing left at the end (rig_free looks), and an app on another connection is served meanwhile. */
#include "tests/flow/rig.h"
#include <stdlib.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"
#define OTHER "other.default.svc.cluster.local:50051"

enum { OWN_PREFACE = 0x80, WAITS = 0x40, PIECES_MAX = 3000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t cuts[] = {1 << 20, 1, 2, 9, 64, 1000, 16384, 65536};
	if (size < 2 || size > 1 << 17)
		return 0;
	struct rig *r = rig_demo(ONE, "  - name: " OTHER "\n    endpoints: [\"" TWO "\"]\n",
		"limits: {header_bytes: 4KiB, field_count: 50, header_budget: 16KiB, streams_per_connection: 20, empty_frames: 20, control_frames: 200, premature_resets: 100}\n");
	struct provider *p = provider_new(r, ONE, data[0] % DOES_COUNT);
	size_t cut = cuts[data[1] & 7];

	provider_new(r, TWO, ECHOES);
	p->act.status = 200;
	p->act.code = data[0];
	p->act.messages = 2;
	p->act.bytes = (uint32_t)(data[0] / DOES_COUNT) << 10;
	struct raw *w = raw_new(r, DOOR);
	if (!(data[1] & OWN_PREFACE))
		raw_text(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	size_t at = 2;
	for (int i = 0; at < size; i++) {
		size_t n = size - at < cut || i == PIECES_MAX ? size - at : cut;
		raw_send(w, data + at, n);
		at += n;
		rig_settle(r);
	}
	rig_advance(r, 10);
	struct caller *other = caller_new(r, DOOR);
	struct call *c = call_unary(other, OTHER, NULL);
	rig_advance(r, 10);
	if (!call_ok(c))
		abort(); /* what one app does is no matter of another's */
	if (data[1] & WAITS)
		rig_advance(r, 40000); /* the timers for what stalls */
	raw_close(w);
	rig_free(&r);
	return 0;
}
