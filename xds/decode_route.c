/* xds/decode_route: a RouteConfiguration, virtual host by virtual host: what is big (the list of hosts, each one's list of routes) is walked in place, so that
 * at any time one Route is unfolded. A table of a megabyte costs its wire, what is made of it, and some KB.
 *
 *   decode_routes --guard (2 x wire + 1 MiB)--> decode_routes_within: look (what the configuration says of all its hosts) -> each host: look, routes, domains -> seal */
#include "xds/decode_route.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "xds/decode.h"
#include "xds/wire.h"

/* ---- what all rooms use ------------------------------------------------------------------------------------------------- */

int decode_fail(struct decode *d, int code, const char *field, const char *fmt, ...)
{
	char text[256], path[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	int n = snprintf(path, sizeof(path), "%s%s%s", d->prefix, d->where, field);
	if (n > 0 && (size_t)n < sizeof(path) && path[n - 1] == '.')
		path[n - 1] = '\0'; /* the whole of it, not a field within */
	if (d->problems)
		sb_fmt(d->problems, "%s%s%s", path, path[0] ? ": " : "", text);
	return code;
}

int decode_duration(struct decode *d, const char *field, const Pb__Duration *in, uint64_t *ret_ns)
{
	const int64_t century_s = INT64_C(100) * 366 * 86400, max_s = INT64_C(315576000000);

	if (!in)
		return 0;
	if (in->seconds < 0 || in->seconds > max_s || in->nanos < 0 || in->nanos > 999999999)
		return decode_fail(d, ERR_MALFORMED, field, "%lld s and %d ns is no duration", (long long)in->seconds, in->nanos);
	*ret_ns = (uint64_t)(in->seconds < century_s ? in->seconds : century_s) * UINT64_C(1000000000) + (uint64_t)in->nanos;
	return 0;
}

bool decode_value_valid(struct str s)
{
	return s.n == 0 || (!memchr(s.p, '\0', s.n) && !memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n));
}

bool decode_header_name_valid(const char *name)
{
	return name[0] != '\0' && strcmp(name, ":") != 0 && decode_value_valid(str_of(name));
}

enum { EDITS_MAX = 1000, EDIT_BYTES = 16384 };

int decode_header_edits(struct decode *d, const char *field, size_t n, Pb__HeaderValueOption **edits)
{
	if (n > EDITS_MAX)
		return decode_fail(d, ERR_MALFORMED, field, "%zu headers, at most 1000 are allowed", n);
	for (size_t i = 0; i < n; i++) {
		const Pb__HeaderValueOption *e = edits[i];

		if (!e->header)
			return decode_fail(d, ERR_MALFORMED, field, "[%zu].header: missing", i);
		if (!decode_header_name_valid(e->header->key) || strlen(e->header->key) > EDIT_BYTES)
			return decode_fail(d, ERR_MALFORMED, field, "[%zu].header.key: no header's name", i);
		if (!decode_value_valid(str_of(e->header->value)) || strlen(e->header->value) > EDIT_BYTES || e->header->raw_value.len > EDIT_BYTES)
			return decode_fail(d, ERR_MALFORMED, field, "[%zu].header.value: too long, or with a line break", i);
		if (e->append_action < 0 || e->append_action > 3)
			return decode_fail(d, ERR_MALFORMED, field, "[%zu].append_action: %d, expected 0 to 3", i, e->append_action);
	}
	return 0;
}

uint64_t decode_filter_note(struct str name)
{
	if (str_is(name, "envoy.filters.http.fault"))
		return NOTE(FAULT);
	if (str_is(name, "envoy.filters.http.cors"))
		return NOTE(CORS);
	if (str_is(name, "envoy.filters.http.ratelimit") || str_is(name, "envoy.filters.http.local_ratelimit"))
		return NOTE(RATE_LIMITS);
	return NOTE(FILTERS);
}

/* ---- walking ------------------------------------------------------------------------------------------------------------ */

/* A field by hand: right wire type, or the resource is malformed. */
static int expect(struct decode *d, const struct wire_field *f, uint32_t type, const char *field)
{
	return f->type == type ? 0 : decode_fail(d, ERR_MALFORMED, field, "wrong wire type");
}

static int expect_text(struct decode *d, const struct wire_field *f, const char *field)
{
	int rc = expect(d, f, WIRE_BYTES, field);

	return rc == 0 && !guard_text_valid(f->bytes) ? decode_fail(d, ERR_MALFORMED, field, "not UTF-8, or with a NUL") : rc;
}

static void *unpack(struct decode *d, const ProtobufCMessageDescriptor *what, struct str bytes, const char *field, int *ret_code)
{
	const char *why = NULL;
	void *m = guard_unpack(d->guard, what, bytes, ret_code, &why);

	if (!m)
		*ret_code = decode_fail(d, *ret_code, field, "%s", why);
	return m;
}

/* A list of HeaderValueOption, one entry at a time. */
static int walk_edit(struct decode *d, const struct wire_field *f, const char *field, unsigned *count)
{
	int rc = expect(d, f, WIRE_BYTES, field);

	if (rc < 0)
		return rc;
	if (++*count > EDITS_MAX)
		return decode_fail(d, ERR_MALFORMED, field, "more than 1000 headers");
	Pb__HeaderValueOption *e = unpack(d, &pb__header_value_option__descriptor, f->bytes, field, &rc);
	if (!e)
		return rc;
	rc = decode_header_edits(d, field, 1, &e);
	guard_free(d->guard, e);
	return rc;
}

static int walk_filter(struct decode *d, const struct wire_field *f, uint64_t *notes)
{
	struct str key = {"", 0};
	int rc = expect(d, f, WIRE_BYTES, "typed_per_filter_config");

	if (rc == 0 && wire_last_bytes(f->bytes, 1, &key) < 0)
		rc = decode_fail(d, ERR_MALFORMED, "typed_per_filter_config", "malformed wire");
	if (rc == 0)
		*notes |= decode_filter_note(key);
	return rc;
}

/* ---- a virtual host ----------------------------------------------------------------------------------------------------- */

/* What a host says of itself, all but its routes and domains. */
struct host_look {
	struct str name;
	unsigned domains, adds[2];
	Pb__RetryPolicy *retry; /* owned, of the guard */
};

static int look_at_host(struct decode *d, struct str bytes, struct host_look *look)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	int more, rc = 0;

	while (rc == 0 && (more = wire_next(&w, &f)) != 0) {
		if (more < 0)
			return decode_fail(d, ERR_MALFORMED, "", "malformed wire");
		switch (f.number) {
		case 1:
			rc = expect_text(d, &f, "name");
			look->name = f.bytes;
			break;
		case 2:
			rc = expect_text(d, &f, "domains");
			if (rc == 0 && (f.bytes.n == 0 || !decode_value_valid(f.bytes)))
				rc = decode_fail(d, ERR_MALFORMED, "domains", "[%u]: %s", look->domains, f.bytes.n ? "a line break" : "empty");
			look->domains++;
			break;
		case 3: rc = expect(d, &f, WIRE_BYTES, "routes"); break;
		case 4:
			rc = expect(d, &f, WIRE_VARINT, "require_tls");
			if (rc == 0 && f.value > 2)
				rc = decode_fail(d, ERR_MALFORMED, "require_tls", "%llu, expected 0 to 2", (unsigned long long)f.value);
			d->host_notes |= f.value ? NOTE(REQUIRE_TLS) : 0;
			break;
		case 6: d->host_notes |= NOTE(RATE_LIMITS); break;
		case 7:
			rc = walk_edit(d, &f, "request_headers_to_add", &look->adds[0]);
			d->host_notes |= NOTE(REQUEST_HEADERS_TO_ADD);
			break;
		case 8: d->host_notes |= NOTE(CORS); break;
		case 10:
			rc = walk_edit(d, &f, "response_headers_to_add", &look->adds[1]);
			d->host_notes |= NOTE(RESPONSE_HEADERS_TO_ADD);
			break;
		case 11: d->host_notes |= NOTE(RESPONSE_HEADERS_TO_REMOVE); break;
		case 13: d->host_notes |= NOTE(REQUEST_HEADERS_TO_REMOVE); break;
		case 15: rc = walk_filter(d, &f, &d->host_notes); break;
		case 16:
			rc = expect(d, &f, WIRE_BYTES, "retry_policy");
			if (rc == 0 && look->retry)
				rc = decode_fail(d, ERR_MALFORMED, "retry_policy", "given twice");
			if (rc == 0)
				look->retry = unpack(d, &pb__retry_policy__descriptor, f.bytes, "retry_policy", &rc);
			break;
		case 17: d->host_notes |= NOTE(HEDGE); break;
		case 21: d->host_unsupported = "virtual host's matcher"; break; /* a tree in place of the list: its list means nothing */
		case 22: d->host_notes |= NOTE(MIRROR); break;
		default: break;
		}
	}
	if (rc == 0 && look->name.n == 0)
		return decode_fail(d, ERR_MALFORMED, "name", "empty");
	if (rc == 0 && look->domains == 0)
		return decode_fail(d, ERR_MALFORMED, "domains", "none");
	return rc;
}

static int add_route(struct decode *d, struct route_table *t, const Pb__Route *in)
{
	struct match m = {0};
	struct route_action *a = NULL;
	int rc = in->match ? decode_match(d, in->match, &m) : decode_fail(d, ERR_MALFORMED, "match", "missing");

	if (rc == 0)
		rc = decode_action(d, in, &m, &a);
	if (rc < 0) {
		match_end(&m);
		return rc;
	}
	return route_table_add(&d->ration, t, &m, a) ? 0 : -ENOMEM;
}

static int add_routes(struct decode *d, struct route_table *t, struct str bytes)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	char host[sizeof(d->where)];
	unsigned count = 0;
	int rc = 0;

	memcpy(host, d->where, sizeof(host));
	while (rc == 0 && wire_next(&w, &f) > 0) {
		if (f.number != 3)
			continue;
		snprintf(d->where, sizeof(d->where), "%.40sroutes[%u].", host, count++);
		d->notes = d->config_notes | d->host_notes;
		d->unsupported = d->host_unsupported;
		Pb__Route *in = unpack(d, &pb__route__descriptor, f.bytes, "", &rc);
		if (in)
			rc = add_route(d, t, in);
		guard_free(d->guard, in);
	}
	memcpy(d->where, host, sizeof(host));
	return rc;
}

/* Where a matcher stands in place of the routes: one route, for everything, that says so. */
static int add_refusal(struct decode *d, struct route_table *t)
{
	struct match m = {.form = PATH_ANY};
	struct route_action *a;

	if (!ration_take(&d->ration, sizeof(*a) + RATION_HEAD))
		return -ENOMEM;
	a = route_action_new(NULL);
	a->kind = ROUTE_UNSUPPORTED;
	a->unsupported = ration_text(&d->ration, str_of(d->host_unsupported));
	return route_table_add(&d->ration, t, &m, a) && a->unsupported ? 0 : -ENOMEM;
}

static int make_table(struct decode *d, struct str bytes, const struct host_look *look, bool cut_params, struct route_table **ret)
{
	struct route_table *t = NULL;
	bool by_matcher = d->host_unsupported && d->host_unsupported != d->config_unsupported;
	int rc;

	d->ration = (struct ration){.account = &d->guard->account};
	t = route_table_new(&d->ration, look->name);
	if (!t) {
		ration_drop(&d->ration);
		return -ENOMEM;
	}
	t->cut_params = cut_params;
	rc = by_matcher ? add_refusal(d, t) : add_routes(d, t, bytes);
	if (rc == 0 && !route_table_seal(&d->ration, t))
		rc = -ENOMEM;
	if (rc < 0) {
		route_table_unref(&t);
		ration_drop(&d->ration);
		return rc;
	}
	*ret = t;
	return 0;
}

static int add_host(struct decode *d, struct ration *config_ration, struct route_config *c, struct str bytes, bool cut_params)
{
	struct host_look look = {0};
	struct route_table *t = NULL;
	struct wire w = wire_of(bytes);
	struct wire_field f;
	int rc;

	d->host_notes = 0;
	d->host_unsupported = d->config_unsupported;
	rc = look_at_host(d, bytes, &look);
	d->host_retry = look.retry;
	if (rc == 0)
		rc = make_table(d, bytes, &look, cut_params, &t);
	guard_free(d->guard, look.retry);
	d->host_retry = NULL;
	if (rc < 0)
		return rc;
	if (!route_config_add(config_ration, c, t))
		return -ENOMEM;
	while (wire_next(&w, &f) > 0)
		if (f.number == 2 && !route_config_domain(config_ration, c, f.bytes))
			return -ENOMEM;
	return 0;
}

/* ---- the configuration -------------------------------------------------------------------------------------------------- */

struct config_look { struct str name; bool cut_params; unsigned adds[2]; };

enum { BODY_MAX = 4096 };

static int look_at_config(struct decode *d, struct str bytes, struct config_look *look)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	uint64_t body_max = BODY_MAX;
	int more, rc = 0;

	while (rc == 0 && (more = wire_next(&w, &f)) != 0) {
		if (more < 0)
			return decode_fail(d, ERR_MALFORMED, "", "malformed wire");
		switch (f.number) {
		case 1:
			rc = expect_text(d, &f, "name");
			look->name = f.bytes;
			break;
		case 2: rc = expect(d, &f, WIRE_BYTES, "virtual_hosts"); break;
		case 4:
			rc = walk_edit(d, &f, "response_headers_to_add", &look->adds[0]);
			d->config_notes |= NOTE(RESPONSE_HEADERS_TO_ADD);
			break;
		case 5: d->config_notes |= NOTE(RESPONSE_HEADERS_TO_REMOVE); break;
		case 6:
			rc = walk_edit(d, &f, "request_headers_to_add", &look->adds[1]);
			d->config_notes |= NOTE(REQUEST_HEADERS_TO_ADD);
			break;
		case 8: d->config_notes |= NOTE(REQUEST_HEADERS_TO_REMOVE); break;
		case 9: d->config_notes |= NOTE(VHDS); break;
		case 11:
			rc = expect(d, &f, WIRE_BYTES, "max_direct_response_body_size_bytes");
			body_max = 0;
			if (rc == 0 && wire_last_varint(f.bytes, 1, &body_max) < 0)
				rc = decode_fail(d, ERR_MALFORMED, "max_direct_response_body_size_bytes", "malformed wire");
			break;
		case 13: d->config_notes |= NOTE(MIRROR); break;
		case 15:
			rc = expect(d, &f, WIRE_VARINT, "ignore_path_parameters_in_path_matching");
			look->cut_params = f.value != 0;
			break;
		case 16: rc = walk_filter(d, &f, &d->config_notes); break;
		case 18:
			rc = expect_text(d, &f, "vhost_header");
			/* Who answers for a call would depend on a header, not on the authority: no host found by authority may take it. */
			d->config_unsupported = rc == 0 && f.bytes.n ? "vhost_header" : NULL;
			break;
		default: break;
		}
	}
	d->body_max = body_max < UINT32_MAX ? (uint32_t)body_max : UINT32_MAX;
	return rc;
}

static int add_hosts(struct decode *d, struct ration *config_ration, struct route_config *c, struct str bytes, bool cut_params)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	unsigned count = 0;
	int rc = 0;

	while (rc == 0 && wire_next(&w, &f) > 0) {
		if (f.number != 2)
			continue;
		snprintf(d->where, sizeof(d->where), "virtual_hosts[%u].", count++);
		rc = add_host(d, config_ration, c, f.bytes, cut_params);
	}
	if (rc == 0)
		d->where[0] = '\0';
	return rc;
}

static int seal(struct decode *d, struct ration *config_ration, struct route_config *c)
{
	struct route_twice twice;
	int rc = route_config_seal(config_ration, c, &twice);

	if (rc != -EEXIST)
		return rc;
	snprintf(d->where, sizeof(d->where), "virtual_hosts[%u].", twice.host);
	return decode_fail(d, ERR_MALFORMED, "domains", "'%s' is there already, in virtual_hosts[%u]", twice.domain, twice.first);
}

int decode_routes_within(struct guard *g, struct str bytes, const char *prefix, struct route_config **ret, struct sb *problems)
{
	struct decode d = {.guard = g, .prefix = prefix, .problems = problems};
	struct ration config_ration = {.account = &g->account};
	struct config_look look = {0};
	struct route_config *c = NULL;
	size_t said = problems ? problems->n : 0;
	int rc = look_at_config(&d, bytes, &look);

	if (rc == 0 && !(c = route_config_new(&config_ration, look.name)))
		rc = -ENOMEM;
	if (rc == 0)
		rc = add_hosts(&d, &config_ration, c, bytes, look.cut_params);
	if (rc == 0)
		rc = seal(&d, &config_ration, c);
	if (rc < 0) {
		route_config_unref(&c);
		ration_drop(&config_ration);
		if (rc == -ENOMEM && problems && problems->n == said)
			decode_fail(&d, rc, "", "it would need too much memory");
		return rc;
	}
	*ret = c;
	return 0;
}

int decode_routes(const void *p, size_t n, struct account *a, struct route_config **ret, struct sb *problems)
{
	struct guard g;

	guard_begin(&g, a, n);
	int rc = decode_routes_within(&g, str_n(p, n), "", ret, problems);
	guard_end(&g);
	return rc;
}
