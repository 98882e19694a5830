/* xds/decode_cluster_http: how connections to a cluster's endpoints speak: HTTP protocol options. How they are encrypted: decode_tls. */
#include <errno.h>
#include "base/err.h"
#include "xds/decode_cluster.h"

enum { WINDOW_MIN = 65535, INT31 = 2147483647 };

/* ---- HTTP ---- */

static int common_options(struct cluster_reading *r, const Pb__HttpOptions *o, const char *idle, const char *longest)
{
	if (!o)
		return 0;
	int code = cluster_duration(r, o->idle_timeout, idle, ANY_DURATION, &r->spec->idle_timeout_ns);
	if (code == 0)
		code = cluster_duration(r, o->max_connection_duration, longest, ANY_DURATION, NULL);
	if (code == 0 && (o->max_connection_duration || o->max_requests_per_connection))
		cluster_note(r, "common_http_protocol_options: connections live as long as they are used");
	if (code == 0 && o->max_stream_duration)
		cluster_note(r, "common_http_protocol_options.max_stream_duration: the route's counts");
	return code;
}

static int http2_options(struct cluster_reading *r, const Pb__Http2Options *o)
{
	static const char keepalive[] = "http2_protocol_options.connection_keepalive.connection_idle_interval";
	uint64_t quiet_ns = 0;
	int code = cluster_u32(r, o->max_concurrent_streams, "http2_protocol_options.max_concurrent_streams", 1, INT31, &r->spec->max_streams);
	if (code == 0)
		code = cluster_u32(r, o->initial_stream_window_size, "http2_protocol_options.initial_stream_window_size", WINDOW_MIN, INT31, NULL);
	if (code == 0)
		code = cluster_u32(r, o->initial_connection_window_size, "http2_protocol_options.initial_connection_window_size", WINDOW_MIN, INT31, NULL);
	if (code < 0)
		return code;
	if (o->initial_stream_window_size || o->initial_connection_window_size)
		cluster_note(r, "http2_protocol_options: windows are those of limits");
	if (!o->connection_keepalive)
		return 0;
	code = cluster_duration(r, o->connection_keepalive->interval, "http2_protocol_options.connection_keepalive.interval", ANY_DURATION, NULL);
	if (code == 0)
		code = cluster_duration(r, o->connection_keepalive->connection_idle_interval, keepalive, ANY_DURATION, &quiet_ns);
	if (code == 0 && quiet_ns)
		r->spec->verify_after_ns = quiet_ns; /* the same thing by another name: a PING before a call on a silent connection */
	if (code == 0 && o->connection_keepalive->interval)
		cluster_note(r, "http2_protocol_options.connection_keepalive.interval: no PING without a call");
	return code;
}

static int explicit_options(struct cluster_reading *r, const Pb__UpstreamHttpOptions__Explicit *e)
{
	switch (e->protocol_config_case) {
	case PB__UPSTREAM_HTTP_OPTIONS__EXPLICIT__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS:
		r->out->h2 = true;
		return http2_options(r, e->http2_protocol_options);
	case PB__UPSTREAM_HTTP_OPTIONS__EXPLICIT__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS: cluster_note(r, "HTTP/1.1 is asked for: HTTP/2 is spoken"); return 0;
	case PB__UPSTREAM_HTTP_OPTIONS__EXPLICIT__PROTOCOL_CONFIG_HTTP3_PROTOCOL_OPTIONS: cluster_note(r, "HTTP/3 is asked for: HTTP/2 is spoken"); return 0;
	default: return cluster_refuse(r, -EINVAL, "typed_extension_protocol_options.explicit_http_config", "says no protocol");
	}
}

static int upstream_options(struct cluster_reading *r, const Pb__UpstreamHttpOptions *o)
{
	const Pb__Http2Options *h2 = NULL;
	int code = common_options(r, o->common_http_protocol_options, "common_http_protocol_options.idle_timeout",
		"common_http_protocol_options.max_connection_duration");
	if (code < 0)
		return code;
	if (o->outlier_detection && !o->outlier_detection->error_matcher)
		return cluster_refuse(r, -EINVAL, "typed_extension_protocol_options.outlier_detection.error_matcher", "missing");
	if (o->outlier_detection)
		cluster_note(r, "typed_extension_protocol_options.outlier_detection.error_matcher: answers are judged by their status");
	switch (o->upstream_protocol_options_case) {
	case PB__UPSTREAM_HTTP_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG: return explicit_options(r, o->explicit_http_config);
	case PB__UPSTREAM_HTTP_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG: h2 = o->use_downstream_protocol_config->http2_protocol_options; break;
	case PB__UPSTREAM_HTTP_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_AUTO_CONFIG: h2 = o->auto_config->http2_protocol_options; break;
	default: return cluster_refuse(r, -EINVAL, "typed_extension_protocol_options", "HttpProtocolOptions says no protocol");
	}
	return h2 ? http2_options(r, h2) : 0;
}

int cluster_http(struct cluster_reading *r)
{
	static const char type[] = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
	const Pb__Any *any = NULL;
	int code = 0;
	for (size_t i = 0; i < r->pb->n_typed_extension_protocol_options; i++)
		if (str_is(str_of(r->pb->typed_extension_protocol_options[i]->key), type) && r->pb->typed_extension_protocol_options[i]->value)
			any = r->pb->typed_extension_protocol_options[i]->value;
	if (!any) { /* the fields that it has replaced */
		code = common_options(r, r->pb->common_http_protocol_options, "common_http_protocol_options.idle_timeout",
			"common_http_protocol_options.max_connection_duration");
		if (code < 0 || !r->pb->http2_protocol_options)
			return code;
		r->out->h2 = true;
		return http2_options(r, r->pb->http2_protocol_options);
	}
	if (!cluster_any_is(any, type))
		return cluster_refuse(r, -EINVAL, "typed_extension_protocol_options", "%s holds a '%.80s'", type, any->type_url);
	Pb__UpstreamHttpOptions *o = cluster_unpack(r, &pb__upstream_http_options__descriptor, any, "typed_extension_protocol_options", &code);
	if (!o)
		return code;
	code = upstream_options(r, o);
	guard_free(&r->guard, o);
	return code;
}
