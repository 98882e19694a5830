/* sidecar/deadline: see deadline.h. Sources: gRPC PROTOCOL-HTTP2 (grpc-timeout), dubbo.md 2.1-2.2 (tri-service-timeout and Triple-Timeout-Ms are whole
 * milliseconds), envoy.md 1a. */
#include "sidecar/deadline.h"
#include <stdio.h>

/* 146 years: no timer is needed, and no sum with it may run over. */
#define FOR_EVER_NS (UINT64_C(1) << 62)

static bool ms_header(const struct fields *head, enum field_token t, uint64_t *ret_ns)
{
	const struct field *f = fields_get(head, t);
	uint64_t ms;
	if (!f || !str_u64(str_n(f->value, f->value_len), &ms) || ms > UINT64_MAX / 4000000)
		return false;
	*ret_ns = ms * 1000000;
	return true;
}

bool deadline_read(struct exchange *x, const struct fields *head, uint64_t timeout_ns)
{
	uint64_t least = timeout_ns ? timeout_ns : UINT64_MAX, v;
	const struct field *f = fields_get(head, FIELD_GRPC_TIMEOUT);
	bool zero = false, own = timeout_ns != 0;
	if (f && grpc_timeout_parse(str_n(f->value, f->value_len), &v)) {
		zero |= v == 0;
		if (v < least) {
			least = v;
			own = false;
		}
	}
	static const enum field_token ms[] = {FIELD_TRI_SERVICE_TIMEOUT, FIELD_TRIPLE_TIMEOUT_MS};
	for (int i = 0; i < 2; i++)
		if (ms_header(head, ms[i], &v) && v) { /* 0 means none to Dubbo */
			if (v < least) {
				least = v;
				own = false;
			}
		}
	if (zero)
		return false;
	x->deadline_from_header = !own;
	if (least < FOR_EVER_NS)
		x->deadline_ns = x->begun_ns + least;
	return true;
}

void deadline_forward(struct exchange *x, uint64_t now_ns)
{
	/* Nothing has passed and the caller's own word is the least: it goes as it came. */
	struct fields *h = x->head;
	bool has_grpc = fields_get(h, FIELD_GRPC_TIMEOUT), has_tri = fields_get(h, FIELD_TRI_SERVICE_TIMEOUT), has_triple = fields_get(h, FIELD_TRIPLE_TIMEOUT_MS);
	if (x->deadline_from_header && now_ns == x->begun_ns && has_grpc + has_tri + has_triple == 1)
		return;
	/* The timer's time: a freeze moves it (net/loop). */
	uint64_t left = x->deadline.at_ns > now_ns ? x->deadline.at_ns - now_ns : 1;
	uint64_t ms = left / 1000000 ? left / 1000000 : 1;
	char text[24];
	if (has_grpc || (x->is_grpc && !has_tri && !has_triple)) {
		char t[10];
		size_t n = grpc_timeout_format(left, t);
		fields_set(h, FIELD_GRPC_TIMEOUT, str_n(t, n));
	}
	snprintf(text, sizeof text, "%llu", (unsigned long long)ms);
	if (has_tri)
		fields_set(h, FIELD_TRI_SERVICE_TIMEOUT, str_of(text));
	if (has_triple)
		fields_set(h, FIELD_TRIPLE_TIMEOUT_MS, str_of(text));
}
