/* net/h2_walk: reads the frame heads of what an app sent, just before nghttp2 is fed with it (server role only).
 * nghttp2 tells nobody of DATA on a stream that it has closed, and with RFC 7540 priorities off it looks at no PRIORITY frame; RFC 9113 5.1
 * and 6.3 want an answer to both. A few nanoseconds a frame, because payloads are jumped over.
 *
 * Owner of the state (c->walk): the connection. What it cannot see (a head that is cut by the end of a read is put together; a payload
 * that is cut is not) it lets pass: then the frame is ignored, as nghttp2 does. */
#include "net/h2_int.h"
#include <string.h>

enum { PREFACE = 24, HEAD = 9 };

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void h2_walk(struct h2_conn *c, const char *bytes, size_t n)
{
	const uint8_t *p = (const uint8_t *)bytes, *end = p + n;
	struct h2_walk *w = &c->walk;
	int32_t reset = 0; /* the last RST_STREAM of this read: nghttp2 has not seen it yet */
	if (!w->begun) {
		w->begun = true;
		w->left = PREFACE;
	}
	for (;;) {
		if (w->left) {
			size_t skip = w->left < (size_t)(end - p) ? w->left : (size_t)(end - p);
			p += skip;
			w->left -= (uint32_t)skip;
		}
		const uint8_t *head = p;
		if (w->n || end - p < HEAD) {
			size_t take = (size_t)(HEAD - w->n) < (size_t)(end - p) ? (size_t)(HEAD - w->n) : (size_t)(end - p);
			memcpy(w->head + w->n, p, take);
			w->n += (uint8_t)take;
			p += take;
			if (w->n < HEAD)
				return;
			head = w->head;
			w->n = 0;
		} else {
			p += HEAD;
		}
		uint8_t type = head[3];
		w->left = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
		if (type == NGHTTP2_DATA) {
			int32_t id = (int32_t)(u32(head + 5) & 0x7fffffff);
			if (id == reset)
				w->late = id; /* judged when nghttp2 has seen all of this read */
			else if ((uint32_t)id <= c->last_id && (id & 1) && !h2_conn_stream(c, id))
				h2_frames_on_closed(c, type, id);
		} else if (type == NGHTTP2_RST_STREAM) {
			reset = (int32_t)(u32(head + 5) & 0x7fffffff);
		} else if (type == NGHTTP2_PRIORITY) {
			uint32_t id = u32(head + 5) & 0x7fffffff;
			bool itself = w->left == 5 && end - p >= 4 && (u32(p) & 0x7fffffff) == id;
			if (w->left == 5 && (id == 0 || itself))
				h2_conn_fatal(c, H2_PROTOCOL_ERROR, STAT_H2_PROTOCOL_ERRORS);
		}
	}
}
