/* xds/decode_route_action: what a Route does. What thinmesh cannot do becomes ROUTE_UNSUPPORTED by its name in the .proto; what is only left out, a note. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "xds/decode_route.h"

/* ---- retries ------------------------------------------------------------------------------------------------------------ */

static int make_back_off(struct decode *d, const Pb__RetryBackOff *in, struct retry_policy *out)
{
	const char *field = "retry_policy.retry_back_off";
	uint64_t base = 0, cap = 0;
	int rc;

	if (!in->base_interval)
		return decode_fail(d, ERR_MALFORMED, field, "base_interval: missing");
	if ((rc = decode_duration(d, field, in->base_interval, &base)) < 0 || (rc = decode_duration(d, field, in->max_interval, &cap)) < 0)
		return rc;
	if (base == 0 || (in->max_interval && cap == 0))
		return decode_fail(d, ERR_MALFORMED, field, "an interval of 0");
	if (in->max_interval && cap < base)
		return decode_fail(d, ERR_MALFORMED, field, "max_interval: shorter than base_interval");
	out->base_ns = base < 1000000 ? 1000000 : base;
	out->cap_ns = !in->max_interval ? 10 * out->base_ns : cap < out->base_ns ? out->base_ns : cap;
	return 0;
}

static int make_retry(struct decode *d, const Pb__RetryPolicy *in, struct retry_policy *out)
{
	struct str words = str_of(in->retry_on);
	int64_t attempts = in->host_selection_retry_max_attempts;
	int rc = decode_duration(d, "retry_policy.per_try_timeout", in->per_try_timeout, &out->per_try_timeout_ns);

	out->on = retry_on_parse(words, false) | retry_on_parse(words, true);
	out->max = in->num_retries ? in->num_retries->value : 1;
	out->host_selection_attempts = attempts < 0 ? 0 : attempts > UINT32_MAX ? UINT32_MAX : (uint32_t)attempts;
	for (size_t i = 0; i < in->n_retriable_status_codes; i++) {
		if (in->retriable_status_codes[i] < 100 || in->retriable_status_codes[i] > 999)
			continue; /* no answer has such a status */
		if (out->status_count == sizeof(out->statuses) / sizeof(out->statuses[0])) {
			d->notes |= NOTE(RETRY_STATUSES_CUT);
			break;
		}
		out->statuses[out->status_count++] = (uint16_t)in->retriable_status_codes[i];
	}
	d->notes |= (in->retry_priority ? NOTE(RETRY_PRIORITY) : 0) | (in->n_retriable_headers ? NOTE(RETRY_HEADERS) : 0) |
		(in->n_retriable_request_headers ? NOTE(RETRY_REQUEST_HEADERS) : 0) | (in->rate_limited_retry_back_off ? NOTE(RETRY_RATE_LIMITED) : 0) |
		(in->n_retry_options_predicates ? NOTE(RETRY_OPTIONS) : 0) | (in->per_try_idle_timeout ? NOTE(RETRY_IDLE) : 0);
	return rc == 0 && in->retry_back_off ? make_back_off(d, in->retry_back_off, out) : rc;
}

/* ---- to a cluster ------------------------------------------------------------------------------------------------------- */

static char *header_text(struct decode *d, const char *name)
{
	char *p = ration_text(&d->ration, str_of(name));

	if (p)
		str_lower(p, strlen(p));
	return p;
}

static int make_weighted(struct decode *d, const Pb__WeightedCluster *in, struct route_action *a)
{
	char field[64] = "route.weighted_clusters";

	if (in->n_clusters == 0)
		return decode_fail(d, ERR_MALFORMED, field, "clusters: none");
	a->kind = ROUTE_WEIGHTED;
	a->weighted = ration_alloc(&d->ration, in->n_clusters * sizeof(*a->weighted));
	if (!a->weighted)
		return -ENOMEM;
	for (size_t i = 0; i < in->n_clusters; i++) {
		const Pb__ClusterWeight *w = in->clusters[i];
		bool by_header = w->cluster_header[0] != '\0';

		snprintf(field, sizeof(field), "route.weighted_clusters.clusters[%zu]", i);
		if (by_header == (w->name[0] != '\0'))
			return decode_fail(d, ERR_MALFORMED, field, by_header ? "both name and cluster_header" : "neither name nor cluster_header");
		if (by_header && !decode_header_name_valid(w->cluster_header))
			return decode_fail(d, ERR_MALFORMED, field, "cluster_header: no header's name");
		a->weighted[i].by_header = by_header;
		a->weighted[i].weight = w->weight ? w->weight->value : 0;
		a->weighted[i].cluster = by_header ? header_text(d, w->cluster_header) : ration_text(&d->ration, str_of(w->name));
		a->nweighted++;
		a->total_weight += a->weighted[i].weight;
		int rc = decode_header_edits(d, field, w->n_request_headers_to_add, w->request_headers_to_add);
		if (rc == 0)
			rc = decode_header_edits(d, field, w->n_response_headers_to_add, w->response_headers_to_add);
		if (rc < 0)
			return rc;
		if (w->host_rewrite_literal[0] != '\0')
			d->unsupported = "weighted_clusters.host_rewrite_literal";
		if (w->metadata_match && w->metadata_match->base.n_unknown_fields)
			d->unsupported = "weighted_clusters.metadata_match";
		for (size_t k = 0; k < w->n_typed_per_filter_config; k++)
			d->notes |= decode_filter_note(str_of(w->typed_per_filter_config[k]->key));
		d->notes |= (w->n_request_headers_to_add ? NOTE(REQUEST_HEADERS_TO_ADD) : 0) | (w->n_request_headers_to_remove ? NOTE(REQUEST_HEADERS_TO_REMOVE) : 0) |
			(w->n_response_headers_to_add ? NOTE(RESPONSE_HEADERS_TO_ADD) : 0) | (w->n_response_headers_to_remove ? NOTE(RESPONSE_HEADERS_TO_REMOVE) : 0);
	}
	if (a->total_weight == 0 || a->total_weight > UINT32_MAX)
		return decode_fail(d, ERR_MALFORMED, "route.weighted_clusters", "the weights add up to %llu, expected 1 to 4294967295", (unsigned long long)a->total_weight);
	if (in->random_value_specifier_case == PB__WEIGHTED_CLUSTER__RANDOM_VALUE_SPECIFIER_HEADER_NAME)
		d->notes |= NOTE(WEIGHTS_BY_HEADER);
	else if (in->random_value_specifier_case == PB__WEIGHTED_CLUSTER__RANDOM_VALUE_SPECIFIER_USE_HASH_POLICY && in->use_hash_policy->value)
		d->notes |= NOTE(WEIGHTS_BY_HASH);
	return 0;
}

static int make_target(struct decode *d, const Pb__RouteAction *in, struct route_action *a)
{
	switch (in->cluster_specifier_case) {
	case PB__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
		if (in->cluster[0] == '\0')
			return decode_fail(d, ERR_MALFORMED, "route", "cluster: empty");
		a->cluster = ration_text(&d->ration, str_of(in->cluster));
		return a->cluster ? 0 : -ENOMEM;
	case PB__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_HEADER:
		if (!decode_header_name_valid(in->cluster_header))
			return decode_fail(d, ERR_MALFORMED, "route", "cluster_header: no header's name");
		a->kind = ROUTE_CLUSTER_HEADER;
		a->cluster = header_text(d, in->cluster_header);
		return a->cluster ? 0 : -ENOMEM;
	case PB__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS: return make_weighted(d, in->weighted_clusters, a);
	case PB__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER_SPECIFIER_PLUGIN: d->unsupported = "cluster_specifier_plugin"; return 0;
	case PB__ROUTE_ACTION__CLUSTER_SPECIFIER_INLINE_CLUSTER_SPECIFIER_PLUGIN: d->unsupported = "inline_cluster_specifier_plugin"; return 0;
	default: return decode_fail(d, ERR_MALFORMED, "route", "cluster_specifier: missing");
	}
}

/* Each of these would send the call elsewhere, or as another one than it is. */
static void find_unsupported(struct decode *d, const Pb__RouteAction *in)
{
	if (in->metadata_match && in->metadata_match->base.n_unknown_fields)
		d->unsupported = "metadata_match";
	if (in->prefix_rewrite[0] != '\0')
		d->unsupported = "prefix_rewrite";
	if (in->regex_rewrite)
		d->unsupported = "regex_rewrite";
	if (in->path_rewrite_policy)
		d->unsupported = "path_rewrite_policy";
	if (in->path_rewrite[0] != '\0')
		d->unsupported = "path_rewrite";
	switch (in->host_rewrite_specifier_case) {
	case PB__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL: d->unsupported = in->host_rewrite_literal[0] ? "host_rewrite_literal" : d->unsupported; break;
	case PB__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE: d->unsupported = in->auto_host_rewrite->value ? "auto_host_rewrite" : d->unsupported; break;
	case PB__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_HEADER: d->unsupported = in->host_rewrite_header[0] ? "host_rewrite_header" : d->unsupported; break;
	case PB__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_PATH_REGEX: d->unsupported = "host_rewrite_path_regex"; break;
	case PB__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE: d->unsupported = in->host_rewrite[0] ? "host_rewrite" : d->unsupported; break;
	default: break;
	}
}

enum { TIMEOUT_DEFAULT_S = 15 }; /* Envoy's, where a RouteAction says nothing */

static int make_timeouts(struct decode *d, const Pb__RouteAction *in, struct route_action *a)
{
	const Pb__MaxStreamDuration *max = in->max_stream_duration;
	int rc;

	if ((rc = decode_duration(d, "route.timeout", in->timeout, &a->timeout_ns)) < 0 || (rc = decode_duration(d, "route.idle_timeout", in->idle_timeout, &a->idle_timeout_ns)) < 0)
		return rc;
	a->has_idle_timeout = in->idle_timeout != NULL;
	if (!in->timeout)
		a->timeout_ns = TIMEOUT_DEFAULT_S * UINT64_C(1000000000);
	if (max) { /* then the plain timeout is not used at all */
		const Pb__Duration *cap = max->grpc_timeout_header_max;

		a->timeout_ns = 0;
		a->has_timeout = max->max_stream_duration != NULL;
		a->grpc_timeout_heeded = cap != NULL;
		if ((rc = decode_duration(d, "route.max_stream_duration", max->max_stream_duration, &a->timeout_ns)) < 0 ||
			(rc = decode_duration(d, "route.max_stream_duration.grpc_timeout_header_max", cap, &a->grpc_timeout_max_ns)) < 0 ||
			(rc = decode_duration(d, "route.max_stream_duration.grpc_timeout_header_offset", max->grpc_timeout_header_offset, &a->grpc_timeout_offset_ns)) < 0)
			return rc;
	}
	/* The older words for it, which istiod still sends. */
	if (in->max_grpc_timeout && !a->grpc_timeout_heeded) {
		a->grpc_timeout_heeded = true;
		if ((rc = decode_duration(d, "route.max_grpc_timeout", in->max_grpc_timeout, &a->grpc_timeout_max_ns)) < 0 ||
			(rc = decode_duration(d, "route.grpc_timeout_offset", in->grpc_timeout_offset, &a->grpc_timeout_offset_ns)) < 0)
			return rc;
	}
	return 0;
}

static int make_route(struct decode *d, const Pb__RouteAction *in, struct route_action *a)
{
	const Pb__RetryPolicy *retry = in->retry_policy ? in->retry_policy : d->host_retry; /* the route's replaces the virtual host's whole */
	int rc = make_target(d, in, a);

	if (rc < 0)
		return rc;
	find_unsupported(d, in);
	if (in->priority < 0 || in->priority > 1)
		return decode_fail(d, ERR_MALFORMED, "route", "priority: %d, expected 0 or 1", in->priority);
	rc = make_timeouts(d, in, a);
	if (rc == 0 && retry)
		rc = make_retry(d, retry, &a->retry);
	if (rc == 0 && a->timeout_ns && a->retry.per_try_timeout_ns >= a->timeout_ns)
		a->retry.per_try_timeout_ns = 0; /* Envoy ignores one that could never end before the whole */
	d->notes |= (in->n_request_mirror_policies ? NOTE(MIRROR) : 0) | (in->n_hash_policy ? NOTE(HASH_POLICY) : 0) | (in->cors ? NOTE(CORS) : 0) |
		(in->n_rate_limits ? NOTE(RATE_LIMITS) : 0) | (in->hedge_policy ? NOTE(HEDGE) : 0) | (in->n_upgrade_configs ? NOTE(UPGRADE) : 0) |
		(in->internal_redirect_policy || in->internal_redirect_action == 1 ? NOTE(INTERNAL_REDIRECT) : 0) | (in->priority == 1 ? NOTE(PRIORITY) : 0);
	return rc;
}

/* ---- answered here ------------------------------------------------------------------------------------------------------ */

static int make_redirect(struct decode *d, const Pb__RedirectAction *in, const struct match *m, struct route_action *a)
{
	static const uint16_t statuses[] = {301, 302, 303, 307, 308};
	struct route_redirect *r = a->redirect = ration_alloc(&d->ration, sizeof(*r));
	const char *path = NULL, *prefix = NULL;

	a->kind = ROUTE_REDIRECT;
	if (!r)
		return -ENOMEM;
	if (in->response_code < 0 || in->response_code > 4)
		return decode_fail(d, ERR_MALFORMED, "redirect", "response_code: %d, expected 0 to 4", in->response_code);
	if (in->port_redirect > 65535)
		return decode_fail(d, ERR_MALFORMED, "redirect", "port_redirect: %u", in->port_redirect);
	r->status = statuses[in->response_code];
	r->port = (uint16_t)in->port_redirect;
	r->strip_query = in->strip_query;
	r->https = in->scheme_rewrite_specifier_case == PB__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT && in->https_redirect;
	if (in->scheme_rewrite_specifier_case == PB__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT && in->scheme_redirect[0])
		r->scheme = ration_text(&d->ration, str_of(in->scheme_redirect));
	switch (in->path_rewrite_specifier_case) {
	case PB__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT: path = in->path_redirect; break;
	case PB__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE: prefix = in->prefix_rewrite; break;
	case PB__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_REGEX_REWRITE: d->unsupported = "redirect.regex_rewrite"; break;
	case PB__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REWRITE: d->unsupported = "redirect.path_rewrite"; break;
	default: break;
	}
	/* These become a header's value. */
	const char *const parts[] = {in->host_redirect, path ? path : "", prefix ? prefix : "", r->scheme ? r->scheme : ""};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!decode_value_valid(str_of(parts[i])))
			return decode_fail(d, ERR_MALFORMED, "redirect", "a line break");
	r->host = in->host_redirect[0] ? ration_text(&d->ration, str_of(in->host_redirect)) : NULL;
	r->path = path && path[0] ? ration_text(&d->ration, str_of(path)) : NULL;
	r->prefix = prefix ? ration_text(&d->ration, str_of(prefix)) : NULL;
	r->prefix_n = !prefix ? 0 : m->path ? m->n : UINT32_MAX;
	return 0;
}

static int make_direct(struct decode *d, const Pb__DirectResponseAction *in, struct route_action *a)
{
	struct str body = {"", 0};

	a->kind = ROUTE_DIRECT;
	if (in->status < 200 || in->status > 599)
		return decode_fail(d, ERR_MALFORMED, "direct_response", "status: %u, expected 200 to 599", in->status);
	a->direct.status = (uint16_t)in->status;
	if (in->body) {
		switch (in->body->specifier_case) {
		case PB__DATA_SOURCE__SPECIFIER_INLINE_STRING: body = str_of(in->body->inline_string); break;
		case PB__DATA_SOURCE__SPECIFIER_INLINE_BYTES: body = str_n((const char *)in->body->inline_bytes.data, in->body->inline_bytes.len); break;
		case PB__DATA_SOURCE__SPECIFIER_FILENAME:
		case PB__DATA_SOURCE__SPECIFIER_ENVIRONMENT_VARIABLE: d->notes |= NOTE(BODY_ELSEWHERE); break; /* no control plane reads our files */
		default: return decode_fail(d, ERR_MALFORMED, "direct_response", "body: nothing in it");
		}
	}
	if (body.n > d->body_max)
		return decode_fail(d, ERR_MALFORMED, "direct_response", "body: %zu bytes, at most %u are allowed", body.n, d->body_max);
	if (in->body_format)
		d->notes |= NOTE(BODY_FORMAT);
	if (body.n) {
		a->direct.body = ration_text(&d->ration, body);
		a->direct.body_n = (uint32_t)body.n;
	}
	return 0;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------- */

static int make_edits(struct decode *d, const Pb__Route *in)
{
	int rc = decode_header_edits(d, "request_headers_to_add", in->n_request_headers_to_add, in->request_headers_to_add);

	if (rc == 0)
		rc = decode_header_edits(d, "response_headers_to_add", in->n_response_headers_to_add, in->response_headers_to_add);
	for (size_t i = 0; i < in->n_typed_per_filter_config; i++)
		d->notes |= decode_filter_note(str_of(in->typed_per_filter_config[i]->key));
	d->notes |= (in->n_request_headers_to_add ? NOTE(REQUEST_HEADERS_TO_ADD) : 0) | (in->n_request_headers_to_remove ? NOTE(REQUEST_HEADERS_TO_REMOVE) : 0) |
		(in->n_response_headers_to_add ? NOTE(RESPONSE_HEADERS_TO_ADD) : 0) | (in->n_response_headers_to_remove ? NOTE(RESPONSE_HEADERS_TO_REMOVE) : 0);
	return rc;
}

static bool add_notes(struct decode *d, struct route_action *a)
{
	static const char *const texts[] = {
#define X(id, text) text,
		ROUTE_NOTES(X)
#undef X
	};
	struct sb b = {0};

	for (unsigned i = 0; i < NOTE_BITS; i++)
		if (d->notes >> i & 1)
			sb_fmt(&b, "%s%s", b.n ? "; " : "", texts[i]);
	if (b.n)
		a->notes = ration_text(&d->ration, sb_view(&b));
	sb_end(&b);
	return !d->ration.refused;
}

int decode_action(struct decode *d, const Pb__Route *in, const struct match *m, struct route_action **ret)
{
	struct route_action *a;
	int rc;

	if (!ration_take(&d->ration, sizeof(*a) + RATION_HEAD))
		return -ENOMEM;
	a = route_action_new(NULL);
	switch (in->action_case) {
	case PB__ROUTE__ACTION_ROUTE: rc = make_route(d, in->route, a); break;
	case PB__ROUTE__ACTION_REDIRECT: rc = make_redirect(d, in->redirect, m, a); break;
	case PB__ROUTE__ACTION_DIRECT_RESPONSE: rc = make_direct(d, in->direct_response, a); break;
	case PB__ROUTE__ACTION_FILTER_ACTION: d->unsupported = "filter_action"; rc = 0; break;
	case PB__ROUTE__ACTION_NON_FORWARDING_ACTION: d->unsupported = "non_forwarding_action"; rc = 0; break;
	default: rc = decode_fail(d, ERR_MALFORMED, "action", "missing"); break;
	}
	if (rc == 0)
		rc = make_edits(d, in);
	if (rc == 0 && in->name[0])
		a->name = ration_text(&d->ration, str_of(in->name));
	if (rc == 0 && d->unsupported) {
		a->kind = ROUTE_UNSUPPORTED;
		a->unsupported = ration_text(&d->ration, str_of(d->unsupported));
	}
	if (rc == 0 && (!add_notes(d, a) || d->ration.refused))
		rc = -ENOMEM;
	if (rc < 0)
		route_action_unref(&a);
	else
		*ret = a;
	return rc;
}
