/* health/payload: does what a peer sends have these pieces, each behind the one before, with anything in between? Bytes come as they come; of what is over only so much is kept as
 * the beginning of a piece could be (Envoy's match for receive, which keeps everything). Owner: a probe. */
#pragma once
#include "base/mem.h"
#include "conf/health.h"

struct payload {
	const struct check_bytes *pieces; /* borrowed */
	uint32_t n, at;                   /* at == n: all were found */
	uint8_t *held;                    /* charged */
	uint32_t held_n, cap;
	struct account *account;
};
/* 0, -ENOMEM. */
int payload_begin(struct payload *p, const struct check_bytes *pieces, uint32_t n, struct account *a);
bool payload_feed(struct payload *p, const void *bytes, size_t n); /* true: all were found */
static inline bool payload_is_found(const struct payload *p) { return p->at == p->n; }
void payload_end(struct payload *p);      /* harmless twice, and where it never began */
