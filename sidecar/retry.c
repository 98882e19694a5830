/* sidecar/retry: see retry.h. */
#include "sidecar/retry.h"

static bool header_u64(const struct fields *head, enum field_token t, uint64_t *ret)
{
	struct str v = fields_value(head, t);
	return v.n && str_u64(v, ret);
}

static void retry_statuses(struct retry *r, struct str list)
{
	while (list.n && r->nstatuses < 8) {
		ptrdiff_t comma = str_find(list, ',');
		struct str word = str_trim(comma < 0 ? list : str_cut(list, 0, (size_t)comma));
		uint64_t v;
		if (str_u64(word, &v) && v >= 100 && v <= 599)
			r->statuses[r->nstatuses++] = (uint16_t)v;
		if (comma < 0)
			break;
		list = str_cut(list, (size_t)comma + 1, list.n);
	}
}

void retry_init(struct retry *r, const struct retry_policy *p, const struct fields *head, bool trusted)
{
	*r = (struct retry){.left = p->max, .on = p->on, .nstatuses = p->status_count, .per_try_ns = p->per_try_timeout_ns, .base_ns = p->base_ns, .cap_ns = p->cap_ns};
	for (uint32_t i = 0; i < p->status_count && i < 8; i++)
		r->statuses[i] = p->statuses[i];
	if (!trusted || !(head->flags_seen & FF_STRIP_UP))
		return;
	uint64_t v;
	if (header_u64(head, FIELD_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS, &v) && v < 1ull << 40) {
		r->has_rq_timeout = true;
		r->rq_timeout_ns = v * 1000000;
	}
	struct str on = fields_value(head, FIELD_X_ENVOY_RETRY_ON), grpc_on = fields_value(head, FIELD_X_ENVOY_RETRY_GRPC_ON);
	if (on.n || grpc_on.n) {
		r->on |= retry_on_parse(on, false) | retry_on_parse(grpc_on, true);
		if (!r->left)
			r->left = 1; /* Envoy's default of one, where a header asks for retries */
	}
	retry_statuses(r, fields_value(head, FIELD_X_ENVOY_RETRIABLE_STATUS_CODES));
	if (header_u64(head, FIELD_X_ENVOY_MAX_RETRIES, &v))
		r->left = r->on ? (v > 100 ? 100 : (uint32_t)v) : 0;
	if (header_u64(head, FIELD_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS, &v) && v && v < 1ull << 40)
		r->per_try_ns = v * 1000000;
}

bool retry_wants_end(const struct retry *r, enum stream_cause cause)
{
	if (!r->left)
		return false;
	switch (cause) {
	case END_CONNECT:
		return r->on & (RETRY_CONNECT_FAILURE | RETRY_5XX | RETRY_GATEWAY | RETRY_RESET | RETRY_UNAVAILABLE);
	case END_REFUSED:
	case END_UNPROCESSED:
		return r->on & (RETRY_REFUSED_STREAM | RETRY_5XX | RETRY_GATEWAY | RETRY_RESET | RETRY_UNAVAILABLE);
	case END_RESET:
	case END_LOST:
	case END_MALFORMED:
	case END_DEADLINE: /* per-try timeout */
		/* Not `unavailable`: it looks at a grpc-status only (as in Envoy), and the provider may have done its work: nothing runs twice by default. */
		return r->on & (RETRY_5XX | RETRY_GATEWAY | RETRY_RESET);
	default:
		return false;
	}
}

static bool retry_grpc(const struct retry *r, int status)
{
	switch (status) {
	case GRPC_CANCELLED: return r->on & RETRY_CANCELLED;
	case GRPC_DEADLINE_EXCEEDED: return r->on & RETRY_DEADLINE;
	case GRPC_INTERNAL: return r->on & RETRY_INTERNAL;
	case GRPC_RESOURCE_EXHAUSTED: return r->on & RETRY_EXHAUSTED;
	case GRPC_UNAVAILABLE: return r->on & RETRY_UNAVAILABLE;
	default: return false;
	}
}

/* Statuses that somebody wrote down are meant as they are written, also where a grpc-status stands beside them: a Dubbo Java provider whose services are not there yet
 * answers :status 404 and UNIMPLEMENTED. */
static bool retry_status(const struct retry *r, uint64_t status)
{
	for (uint32_t i = 0; (r->on & RETRY_STATUSES) && i < r->nstatuses; i++)
		if (r->statuses[i] == status)
			return true;
	return false;
}

bool retry_wants_answer(const struct retry *r, const struct fields *head, bool fin, bool is_grpc)
{
	if (!r->left || !r->on)
		return false;
	if (fields_get(head, FIELD_TRI_EXCEPTION_CODE)) /* a business exception: the provider did its work */
		return false;
	struct str grpc = fields_value(head, FIELD_GRPC_STATUS);
	uint64_t status = 0;
	str_u64(fields_value(head, FIELD_STATUS), &status);
	if (is_grpc && grpc.n)
		return fin && (retry_grpc(r, grpc_status_parse(grpc)) || retry_status(r, status));
	if (status >= 500 && (r->on & RETRY_5XX))
		return true;
	if (status >= 502 && status <= 504 && (r->on & RETRY_GATEWAY))
		return true;
	if (status == 409 && (r->on & RETRY_4XX))
		return true;
	return retry_status(r, status);
}

uint64_t retry_backoff_ns(struct retry *r, struct loop *l)
{
	r->left--;
	uint32_t n = r->done++ < 10 ? r->done : 10;
	uint64_t span = ((1ull << n) - 1) * (r->base_ns ? r->base_ns : 25000000ull);
	uint64_t wait = loop_random_below(l, span);
	uint64_t cap = r->cap_ns ? r->cap_ns : 250000000ull;
	return wait < cap ? wait : cap;
}
