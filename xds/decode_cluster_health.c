/* xds/decode_cluster_health: how the endpoints of a cluster are asked whether they are well (Cluster.health_checks), and what is made of the answers that calls get
 * (Cluster.outlier_detection): into spec.checks and spec.outlier, with their defaults resolved.
 *
 * What is kept is charged with the other texts of the cluster; a check that is refused half-built is freed with its spec. reuse_connection is true in Envoy where nobody
 * says anything; here a probe's own connection stays open only for who asks: a probe rides on the data connection anyway where one is open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "conf/health.h"
#include "conf/match.h"
#include "net/fields.h"
#include "xds/decode_cluster.h"
#include "xds/decode_route.h"

/* A year is for ever, and sums of such times stay in 64 bits. */
static const uint64_t LONGEST_NS = UINT64_C(31536000000000000);
enum { PERCENT_MOST = 10000, FIELD_BYTES = 16384, STATUS_LOW = 100, STATUS_END = 600, ALPN_WORD = 255, ALPN_BYTES = 1024 };

static int duration(struct cluster_reading *r, const Pb__Duration *d, const char *field, int64_t above_ns, uint64_t *ret_ns)
{
	int code = cluster_duration(r, d, field, above_ns, ret_ns);
	if (code == 0 && d && *ret_ns > LONGEST_NS)
		*ret_ns = LONGEST_NS;
	return code;
}

/* Arrays of a check: counted among what is kept. */
static void *keep_array(struct cluster_reading *r, size_t n, size_t size)
{
	if (n == 0)
		return NULL;
	r->kept += n * size;
	return xalloc(n * size);
}

static char *keep_text(struct cluster_reading *r, const char *text)
{
	return text[0] ? cluster_keep(r, text) : NULL;
}

static void replace(struct cluster_reading *r, char **text, const char *by)
{
	free(*text);
	*text = cluster_keep(r, by);
}

/* ---- payloads ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int hex_payload(struct cluster_reading *r, const char *text, const char *field, struct check_bytes *ret)
{
	size_t n = strlen(text);
	if (n == 0)
		return cluster_refuse(r, -EINVAL, field, "text: empty");
	if (n / 2 > CHECK_BYTES_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu bytes, more than %d", n / 2, CHECK_BYTES_MAX);
	for (size_t i = 0; i < n; i++)
		if (n % 2 || hex_digit(text[i]) < 0)
			return cluster_refuse(r, -EINVAL, field, "text: '%.40s' is not hexadecimal", text);
	ret->p = keep_array(r, n / 2, 1);
	ret->n = (uint32_t)(n / 2);
	for (size_t i = 0; i < ret->n; i++)
		ret->p[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return 0;
}

static int payload(struct cluster_reading *r, const Pb__HealthCheck__Payload *p, const char *field, struct check_bytes *ret)
{
	switch (p->payload_case) {
	case PB__HEALTH_CHECK__PAYLOAD__PAYLOAD_TEXT: return hex_payload(r, p->text, field, ret);
	case PB__HEALTH_CHECK__PAYLOAD__PAYLOAD_BINARY: break;
	default: return cluster_refuse(r, -EINVAL, field, "payload: missing");
	}
	if (p->binary.len > CHECK_BYTES_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu bytes, more than %d", p->binary.len, CHECK_BYTES_MAX);
	ret->p = keep_array(r, p->binary.len, 1);
	ret->n = (uint32_t)p->binary.len;
	if (ret->n)
		memcpy(ret->p, p->binary.data, ret->n);
	return 0;
}

static int payloads(struct cluster_reading *r, size_t n, Pb__HealthCheck__Payload *const *all, const char *field, struct health_check *c)
{
	int code = 0;
	if (n > CHECK_PAYLOADS_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu, more than %d", n, CHECK_PAYLOADS_MAX);
	c->receive = keep_array(r, n, sizeof(*c->receive));
	for (size_t i = 0; code == 0 && i < n; i++) {
		code = payload(r, all[i], field, &c->receive[c->nreceive]);
		c->nreceive += code == 0 && c->receive[c->nreceive].n > 0; /* nothing is found everywhere */
	}
	return code;
}

/* ---- headers ---- */

/* HeaderValueOption.append_action. What a question has of itself is known here, so all four are settled now: what remains is added, or takes the place of what is there. */
enum { ACTION_APPEND, ACTION_ADD_IF_ABSENT, ACTION_OVERWRITE, ACTION_OVERWRITE_IF_EXISTS };

static bool is_removed(const struct health_check *c, const char *name)
{
	for (uint32_t i = 0; i < c->nremove; i++)
		if (strcmp(c->remove[i], name) == 0)
			return true;
	return false;
}

static bool is_there(const struct health_check *c, const char *name)
{
	for (uint32_t i = 0; i < c->nadd; i++)
		if (strcmp(c->add[i].name, name) == 0)
			return true;
	return strcmp(name, "user-agent") == 0 && !is_removed(c, name);
}

static void drop_added(struct health_check *c, const char *name)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < c->nadd; i++) {
		if (strcmp(c->add[i].name, name) != 0) {
			c->add[kept++] = c->add[i];
			continue;
		}
		free(c->add[i].name);
		free(c->add[i].value);
	}
	c->nadd = kept;
}

/* After `removed`: what is removed was there before. */
static int fields(struct cluster_reading *r, size_t n, Pb__HeaderValueOption *const *all, const char *field, struct health_check *c)
{
	if (n > CHECK_FIELDS_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu, more than %d", n, CHECK_FIELDS_MAX);
	c->add = keep_array(r, n, sizeof(*c->add));
	for (size_t i = 0; i < n; i++) {
		const Pb__HeaderValueOption *o = all[i];
		struct str raw = o->header ? str_n((const char *)o->header->raw_value.data, o->header->raw_value.len) : STR("");
		if (!o->header)
			return cluster_refuse(r, -EINVAL, field, "header: missing");
		if (!decode_header_name_valid(o->header->key) || strlen(o->header->key) > FIELD_BYTES)
			return cluster_refuse(r, -EINVAL, field, "header.key: '%.60s' is no header's name", o->header->key);
		if (!decode_value_valid(str_of(o->header->value)) || strlen(o->header->value) > FIELD_BYTES)
			return cluster_refuse(r, -EINVAL, field, "header.value: too long, or with a line break");
		if (raw.n > FIELD_BYTES || (raw.n && (!decode_value_valid(raw) || memchr(raw.p, '\0', raw.n))))
			return cluster_refuse(r, -EINVAL, field, "header.raw_value: too long, or with a line break");
		if (o->append_action < 0 || o->append_action > 3)
			return cluster_refuse(r, -EINVAL, field, "append_action: %d is none", (int)o->append_action);
		int action = !o->append ? o->append_action : o->append->value ? ACTION_APPEND : ACTION_OVERWRITE;
		struct str value = raw.n ? raw : str_of(o->header->value);
		char *name = cluster_keep(r, o->header->key);
		str_lower(name, strlen(name));
		/* The API's rules are looser than the wire's. */
		bool bad = name[0] == ':' || !field_name_valid(name, strlen(name)) || !field_value_valid(value.p, value.n), there = is_there(c, name);
		if (bad)
			cluster_note(r, "%s: '%.60s' is left out", field, name);
		if (bad || (action == ACTION_ADD_IF_ABSENT && there) || (action == ACTION_OVERWRITE_IF_EXISTS && !there)) {
			free(name);
			continue;
		}
		if (action == ACTION_OVERWRITE || action == ACTION_OVERWRITE_IF_EXISTS)
			drop_added(c, name);
		r->kept += value.n + 1;
		c->add[c->nadd++] = (struct check_field){.name = name, .value = xstrndup(value.p, value.n), .append = action == ACTION_APPEND};
	}
	return 0;
}

static int removed(struct cluster_reading *r, size_t n, char *const *names, const char *field, struct health_check *c)
{
	if (n > CHECK_FIELDS_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu, more than %d", n, CHECK_FIELDS_MAX);
	c->remove = keep_array(r, n, sizeof(*c->remove));
	for (size_t i = 0; i < n; i++) {
		if (!decode_header_name_valid(names[i]))
			return cluster_refuse(r, -EINVAL, field, "'%.60s' is no header's name", names[i]);
		c->remove[c->nremove] = cluster_keep(r, names[i]);
		str_lower(c->remove[c->nremove], strlen(c->remove[c->nremove]));
		c->nremove++;
	}
	return 0;
}

/* What stands in the first line of a request, or in :authority: a blank in it would be another request. */
static int line_word(struct cluster_reading *r, const char *text, const char *field)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return cluster_refuse(r, -EINVAL, field, "a blank or a line break");
	return 0;
}

/* ---- http ---- */

static int ranges(struct cluster_reading *r, size_t n, Pb__Int64Range *const *all, const char *field, struct check_range **ret, uint32_t *ret_n)
{
	if (n > CHECK_RANGES_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%zu, more than %d", n, CHECK_RANGES_MAX);
	*ret = keep_array(r, n, sizeof(**ret));
	for (size_t i = 0; i < n; i++) {
		if (all[i]->start < STATUS_LOW || all[i]->end > STATUS_END || all[i]->start >= all[i]->end)
			return cluster_refuse(r, -ERANGE, field, "[%lld, %lld) is no range of statuses", (long long)all[i]->start, (long long)all[i]->end);
		(*ret)[(*ret_n)++] = (struct check_range){(uint32_t)all[i]->start, (uint32_t)all[i]->end};
	}
	return 0;
}

static int matcher(struct cluster_reading *r, const Pb__StringMatcher *m, struct health_check *c)
{
	static const char field[] = "health_checks.http_health_check.service_name_matcher";
	struct match_text *t;
	const char *text = "";
	enum text_form form = TEXT_EXACT;
	if (!m)
		return 0;
	switch (m->match_pattern_case) {
	case PB__STRING_MATCHER__MATCH_PATTERN_EXACT: text = m->exact; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_PREFIX: text = m->prefix, form = TEXT_PREFIX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_SUFFIX: text = m->suffix, form = TEXT_SUFFIX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_CONTAINS: text = m->contains, form = TEXT_CONTAINS; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX: text = m->safe_regex->regex, form = TEXT_REGEX; break;
	case PB__STRING_MATCHER__MATCH_PATTERN_CUSTOM: cluster_note(r, "%s: a custom matcher: any name fits", field); return 0;
	default: return cluster_refuse(r, -EINVAL, field, "match_pattern: missing");
	}
	if (!text[0] && form != TEXT_EXACT)
		return cluster_refuse(r, -EINVAL, field, "empty");
	t = c->cluster_matcher = keep_array(r, 1, sizeof(*t));
	t->form = form;
	t->no_case = m->ignore_case;
	if (form != TEXT_REGEX) {
		t->n = (uint32_t)strlen(text);
		t->p = cluster_keep(r, text);
		return 0;
	}
	struct ration ration = {.account = &r->guard.account};
	char why[REGEX_WHY] = "no memory";
	int code = regex_new(&ration, str_of(text), &t->regex, why);
	r->kept += ration.n; /* asked for again with all that is kept */
	ration_drop(&ration);
	return code < 0 ? cluster_refuse(r, code, field, "safe_regex '%.64s': %s", text, why) : 0;
}

static int method(struct cluster_reading *r, int32_t m, struct health_check *c)
{
	static const char *const names[] = {"GET", "GET", "HEAD", "POST", "PUT", "DELETE", NULL, "OPTIONS", "TRACE", "PATCH"};
	static const char with_body[] = {0, 0, 0, 1, 1, 0, 0, 1, 0, 1};
	if (m < 0 || (size_t)m >= sizeof(names) / sizeof(names[0]) || !names[m])
		return cluster_refuse(r, -EINVAL, "health_checks.http_health_check.method", "%d is none", (int)m);
	replace(r, &c->method, names[m]);
	if (c->send.n && !with_body[m]) /* as Envoy, which does not take such a cluster */
		return cluster_refuse(r, -EINVAL, "health_checks.http_health_check.send", "a body with %s", names[m]);
	return 0;
}

static int http(struct cluster_reading *r, const Pb__HealthCheck__HttpHealthCheck *h, struct health_check *c)
{
	uint64_t buffer = c->response_buffer;
	c->kind = CHECK_HTTP;
	if (!h->path[0])
		return cluster_refuse(r, -EINVAL, "health_checks.http_health_check.path", "empty");
	int code = line_word(r, h->path, "health_checks.http_health_check.path");
	if (code == 0)
		code = line_word(r, h->host, "health_checks.http_health_check.host");
	if (code < 0)
		return code;
	if (h->codec_client_type < 0 || h->codec_client_type > 2)
		return cluster_refuse(r, -EINVAL, "health_checks.http_health_check.codec_client_type", "%d is none", (int)h->codec_client_type);
	if (h->codec_client_type == 2)
		cluster_note(r, "health_checks.http_health_check.codec_client_type: HTTP/2 instead of HTTP/3");
	c->http2 = h->codec_client_type > 0;
	c->host = keep_text(r, h->host);
	replace(r, &c->path, h->path);
	code = h->send ? payload(r, h->send, "health_checks.http_health_check.send", &c->send) : 0;
	if (code == 0)
		code = payloads(r, h->n_receive, h->receive, "health_checks.http_health_check.receive", c);
	if (code == 0)
		code = removed(r, h->n_request_headers_to_remove, h->request_headers_to_remove, "health_checks.http_health_check.request_headers_to_remove", c);
	if (code == 0)
		code = fields(r, h->n_request_headers_to_add, h->request_headers_to_add, "health_checks.http_health_check.request_headers_to_add", c);
	if (code == 0)
		code = ranges(r, h->n_expected_statuses, h->expected_statuses, "health_checks.http_health_check.expected_statuses", &c->expected, &c->nexpected);
	if (code == 0)
		code = ranges(r, h->n_retriable_statuses, h->retriable_statuses, "health_checks.http_health_check.retriable_statuses", &c->retriable, &c->nretriable);
	if (code == 0)
		code = matcher(r, h->service_name_matcher, c);
	if (code == 0)
		code = method(r, h->method, c);
	if (code == 0)
		code = cluster_u64(r, h->response_buffer_size, "health_checks.http_health_check.response_buffer_size", 0, UINT64_MAX, &buffer);
	/* 0 is "all of it", which a peer may make endless. */
	c->response_buffer = buffer == 0 || buffer > CHECK_BYTES_MAX ? CHECK_BYTES_MAX : (uint32_t)buffer;
	return code;
}

/* ---- tcp, grpc ---- */

/* A server that takes connections from proxies alone closes those that do not say so first. Nobody is relayed here, and both versions have a word for it
 * (PROXY protocol 2.1: UNKNOWN; 2.2: LOCAL), so what is sent is the same each time and stands in front of the payload. */
static int proxied(struct cluster_reading *r, const Pb__HealthCheck__ProxyProtocolConfig *p, struct check_bytes *send)
{
	static const struct { const char *text; uint32_t n; } heads[] = {{"PROXY UNKNOWN\r\n", 15}, {"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16}};
	static const char field[] = "health_checks.tcp_health_check.proxy_protocol_config";
	if (p->version < 0 || p->version > 1)
		return cluster_refuse(r, -EINVAL, field, "version: %d is none", (int)p->version);
	struct check_bytes both = {.n = heads[p->version].n + send->n};
	if (both.n > CHECK_BYTES_MAX)
		return cluster_refuse(r, ERR_LIMIT, field, "%u bytes with send, more than %d", (unsigned)both.n, CHECK_BYTES_MAX);
	both.p = keep_array(r, both.n, 1);
	memcpy(both.p, heads[p->version].text, heads[p->version].n);
	if (send->n)
		memcpy(both.p + heads[p->version].n, send->p, send->n);
	free(send->p);
	*send = both;
	return 0;
}

static int tcp(struct cluster_reading *r, const Pb__HealthCheck__TcpHealthCheck *t, struct health_check *c)
{
	c->kind = CHECK_TCP;
	int code = t->send ? payload(r, t->send, "health_checks.tcp_health_check.send", &c->send) : 0;
	if (code == 0 && t->proxy_protocol_config)
		code = proxied(r, t->proxy_protocol_config, &c->send);
	return code < 0 ? code : payloads(r, t->n_receive, t->receive, "health_checks.tcp_health_check.receive", c);
}

static int grpc(struct cluster_reading *r, const Pb__HealthCheck__GrpcHealthCheck *g, struct health_check *c)
{
	c->kind = CHECK_GRPC;
	int code = line_word(r, g->authority, "health_checks.grpc_health_check.authority");
	if (code < 0)
		return code;
	c->service = keep_text(r, g->service_name);
	c->authority = keep_text(r, g->authority);
	return fields(r, g->n_initial_metadata, g->initial_metadata, "health_checks.grpc_health_check.initial_metadata", c);
}

/* ---- a check ---- */

static int times(struct cluster_reading *r, const Pb__HealthCheck *h, struct health_check *c)
{
	const struct { const Pb__Duration *v; const char *field; int64_t above_ns; uint64_t *ret; bool required; } rows[] = {
		{h->timeout, "health_checks.timeout", 0, &c->timeout_ns, true},
		{h->interval, "health_checks.interval", 0, &c->interval_ns, true},
		{h->initial_jitter, "health_checks.initial_jitter", ANY_DURATION, &c->initial_jitter_ns, false},
		{h->interval_jitter, "health_checks.interval_jitter", ANY_DURATION, &c->interval_jitter_ns, false},
		{h->no_traffic_interval, "health_checks.no_traffic_interval", 0, &c->no_traffic_interval_ns, false},
		{h->no_traffic_healthy_interval, "health_checks.no_traffic_healthy_interval", 0, &c->no_traffic_healthy_interval_ns, false},
		{h->unhealthy_interval, "health_checks.unhealthy_interval", 0, &c->unhealthy_interval_ns, false},
		{h->unhealthy_edge_interval, "health_checks.unhealthy_edge_interval", 0, &c->unhealthy_edge_interval_ns, false},
		{h->healthy_edge_interval, "health_checks.healthy_edge_interval", 0, &c->healthy_edge_interval_ns, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].required && !rows[i].v)
			return cluster_refuse(r, -EINVAL, rows[i].field, "missing");
		int code = duration(r, rows[i].v, rows[i].field, rows[i].above_ns, rows[i].ret);
		if (code < 0)
			return code;
	}
	return 0;
}

static void without_effect(struct cluster_reading *r, const Pb__HealthCheck *h)
{
	if (h->alt_port)
		cluster_note(r, "health_checks.alt_port: the endpoint's own port, or its health_check_config");
	if (h->event_log_path[0] || h->event_service || h->n_event_logger)
		cluster_note(r, "health_checks.event_logger: events are in our own log");
}

/* How a check connects where that is not as calls do. */
static int check_alpn(struct cluster_reading *r, const Pb__HealthCheck *h, struct health_check *c)
{
	static const char field[] = "health_checks.tls_options.alpn_protocols";
	struct sb list = {0};
	for (size_t i = 0; h->tls_options && i < h->tls_options->n_alpn_protocols; i++) {
		const char *p = h->tls_options->alpn_protocols[i];
		if (!p[0] || strlen(p) > ALPN_WORD || strchr(p, ',') || list.n + strlen(p) > ALPN_BYTES) {
			sb_end(&list);
			return cluster_refuse(r, -EINVAL, field, "'%.40s' is no protocol's name, or the list is too long", p);
		}
		sb_fmt(&list, "%s%s", list.n ? "," : "", p);
	}
	if (list.n)
		c->alpn = cluster_keep(r, list.p);
	sb_end(&list);
	return 0;
}

static int check_criteria(struct cluster_reading *r, const Pb__HealthCheck *h, struct health_check *c)
{
	return cluster_pairs(r, "health_checks.transport_socket_match_criteria", &h->transport_socket_match_criteria, &c->criteria, &c->ncriteria);
}

static int checker(struct cluster_reading *r, const Pb__HealthCheck *h, struct health_check *c)
{
	switch (h->health_checker_case) {
	case PB__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK: return http(r, h->http_health_check, c);
	case PB__HEALTH_CHECK__HEALTH_CHECKER_TCP_HEALTH_CHECK: return tcp(r, h->tcp_health_check, c);
	case PB__HEALTH_CHECK__HEALTH_CHECKER_GRPC_HEALTH_CHECK: return grpc(r, h->grpc_health_check, c);
	default: return cluster_refuse(r, -EINVAL, "health_checks", "says no health_checker");
	}
}

/* Envoy refuses custom checks that it was not built with. Here the others of the cluster go on, and its calls too: who speaks no Redis loses no service for it. */
static int custom(struct cluster_reading *r, const Pb__HealthCheck__CustomHealthCheck *custom)
{
	if (!custom->name[0])
		return cluster_refuse(r, -EINVAL, "health_checks.custom_health_check.name", "empty");
	cluster_note(r, "health_checks.custom_health_check '%.64s': nobody is asked so", custom->name);
	return 0;
}

static int check(struct cluster_reading *r, const Pb__HealthCheck *h)
{
	struct health_check *c = &r->spec->checks[r->spec->nchecks], thrown = {0};
	bool foreign = h->health_checker_case == PB__HEALTH_CHECK__HEALTH_CHECKER_CUSTOM_HEALTH_CHECK;
	if (foreign)
		c = &thrown; /* its rules hold all the same */
	else
		r->spec->nchecks++;
	if (!foreign)
		health_check_default(c);
	if (!h->unhealthy_threshold || !h->healthy_threshold)
		return cluster_refuse(r, -EINVAL, h->unhealthy_threshold ? "health_checks.healthy_threshold" : "health_checks.unhealthy_threshold", "missing");
	c->unhealthy_threshold = h->unhealthy_threshold->value ? h->unhealthy_threshold->value : 1;
	c->healthy_threshold = h->healthy_threshold->value ? h->healthy_threshold->value : 1;
	c->reuse_connection = h->reuse_connection && h->reuse_connection->value;
	c->interval_jitter_percent = h->interval_jitter_percent < PERCENT_MOST ? h->interval_jitter_percent : PERCENT_MOST;
	c->log_failures = h->always_log_health_check_failures;
	c->log_successes = h->always_log_health_check_success;
	without_effect(r, h);
	int code = times(r, h, c);
	if (code == 0 && !foreign)
		code = check_alpn(r, h, c);
	if (code == 0 && !foreign)
		code = check_criteria(r, h, c);
	if (code == 0)
		code = foreign ? custom(r, h->custom_health_check) : checker(r, h, c);
	health_check_settle(c);
	return code;
}

static int checks(struct cluster_reading *r)
{
	size_t n = r->pb->n_health_checks;
	int code = 0;
	if (n > CHECKS_MAX)
		return cluster_refuse(r, ERR_LIMIT, "health_checks", "%zu, more than %d", n, CHECKS_MAX);
	r->spec->checks = keep_array(r, n, sizeof(*r->spec->checks));
	for (size_t i = 0; code == 0 && i < n; i++)
		code = check(r, r->pb->health_checks[i]);
	return code;
}

/* ---- outlier detection ---- */

static int outlier_numbers(struct cluster_reading *r, const Pb__OutlierDetection *o, struct outlier *to)
{
	const struct { const Pb__UInt32Value *v; const char *field; uint32_t most; uint32_t *ret; } rows[] = {
		{o->consecutive_5xx, "outlier_detection.consecutive_5xx", UINT32_MAX, &to->consecutive_5xx},
		{o->max_ejection_percent, "outlier_detection.max_ejection_percent", 100, &to->max_ejection_percent},
		{o->enforcing_consecutive_5xx, "outlier_detection.enforcing_consecutive_5xx", 100, &to->enforcing_consecutive_5xx},
		{o->enforcing_success_rate, "outlier_detection.enforcing_success_rate", 100, &to->enforcing_success_rate},
		{o->success_rate_minimum_hosts, "outlier_detection.success_rate_minimum_hosts", UINT32_MAX, &to->success_rate_hosts},
		{o->success_rate_request_volume, "outlier_detection.success_rate_request_volume", UINT32_MAX, &to->success_rate_volume},
		{o->success_rate_stdev_factor, "outlier_detection.success_rate_stdev_factor", UINT32_MAX, &to->success_rate_stdev_factor},
		{o->consecutive_gateway_failure, "outlier_detection.consecutive_gateway_failure", UINT32_MAX, &to->consecutive_gateway},
		{o->enforcing_consecutive_gateway_failure, "outlier_detection.enforcing_consecutive_gateway_failure", 100, &to->enforcing_consecutive_gateway},
		{o->consecutive_local_origin_failure, "outlier_detection.consecutive_local_origin_failure", UINT32_MAX, &to->consecutive_local_origin},
		{o->enforcing_consecutive_local_origin_failure, "outlier_detection.enforcing_consecutive_local_origin_failure", 100,
			&to->enforcing_consecutive_local_origin},
		{o->enforcing_local_origin_success_rate, "outlier_detection.enforcing_local_origin_success_rate", 100, &to->enforcing_local_success_rate},
		{o->failure_percentage_threshold, "outlier_detection.failure_percentage_threshold", 100, &to->failure_percentage},
		{o->enforcing_failure_percentage, "outlier_detection.enforcing_failure_percentage", 100, &to->enforcing_failure_percentage},
		{o->enforcing_failure_percentage_local_origin, "outlier_detection.enforcing_failure_percentage_local_origin", 100,
			&to->enforcing_local_failure_percentage},
		{o->failure_percentage_minimum_hosts, "outlier_detection.failure_percentage_minimum_hosts", UINT32_MAX, &to->failure_percentage_hosts},
		{o->failure_percentage_request_volume, "outlier_detection.failure_percentage_request_volume", UINT32_MAX, &to->failure_percentage_volume},
	};
	int code = 0;
	for (size_t i = 0; code == 0 && i < sizeof(rows) / sizeof(rows[0]); i++)
		code = cluster_u32(r, rows[i].v, rows[i].field, 0, rows[i].most, rows[i].ret);
	return code;
}

static int outlier_times(struct cluster_reading *r, const Pb__OutlierDetection *o, struct outlier *to)
{
	int code = duration(r, o->interval, "outlier_detection.interval", 0, &to->interval_ns);
	if (code == 0)
		code = duration(r, o->base_ejection_time, "outlier_detection.base_ejection_time", 0, &to->base_ejection_ns);
	if (code == 0)
		code = duration(r, o->max_ejection_time, "outlier_detection.max_ejection_time", 0, &to->max_ejection_ns);
	if (code == 0)
		code = duration(r, o->max_ejection_time_jitter, "outlier_detection.max_ejection_time_jitter", ANY_DURATION, &to->max_ejection_jitter_ns);
	if (code < 0)
		return code;
	if (to->max_ejection_ns < to->base_ejection_ns) {
		if (o->max_ejection_time) /* as Envoy */
			return cluster_refuse(r, -ERANGE, "outlier_detection.max_ejection_time", "below base_ejection_time");
		to->max_ejection_ns = to->base_ejection_ns;
	}
	return 0;
}

static int outlier(struct cluster_reading *r)
{
	const Pb__OutlierDetection *o = r->pb->outlier_detection;
	if (!o)
		return 0;
	struct outlier *to = r->spec->outlier = keep_array(r, 1, sizeof(*to));
	outlier_default(to);
	to->split_local_origin = o->split_external_local_origin_errors;
	if (o->successful_active_health_check_uneject_host)
		to->uneject_on_check = o->successful_active_health_check_uneject_host->value;
	to->always_eject_one = o->always_eject_one_host && o->always_eject_one_host->value;
	to->detect_degraded = o->detect_degraded_hosts && o->detect_degraded_hosts->value;
	if (o->n_monitors)
		cluster_note(r, "outlier_detection.monitors: not used");
	int code = outlier_numbers(r, o, to);
	return code < 0 ? code : outlier_times(r, o, to);
}

int cluster_health(struct cluster_reading *r)
{
	r->spec->ignore_health_on_removal = r->pb->ignore_health_on_host_removal;
	int code = checks(r);
	return code < 0 ? code : outlier(r);
}
