/* xds/decode_listener: of a Listener, where its routes come from. See xds/decode.h.
 *
 * Two kinds bring an HTTP connection manager: an api_listener (the gRPC dialect: there must be one), and a listener of a proxy, in one of whose filter chains it
 * may stand (istiod's sidecar mode; a listener without one is for TCP and none of ours). All is walked in place, for inline routes may be
 * a megabyte; filters, access logs, TLS are skipped, whatever they are: a control plane sends the same to everyone. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "xds/decode.h"
#include "xds/decode_route.h"
#include "xds/proto/listener.pb-c.h"
#include "xds/wire.h"

struct look {
	struct guard *guard;
	struct ration ration;
	struct sb *problems;
	struct listener_decoded *l;
	struct str rds;          /* name; p NULL: none */
	bool api;                /* in an api_listener */
	char where[96];          /* "filter_chains[1].filters[0].", where the manager stands */
};

static int fail(struct look *k, int code, const char *field, const char *why)
{
	size_t n = strlen(k->where);

	if (field[0] == '\0' && n > 0 && k->where[n - 1] == '.')
		n--; /* the whole of it, not a field within */
	if (k->problems)
		sb_fmt(k->problems, "%.*s%s%s%s", (int)n, k->where, field, n > 0 || field[0] ? ": " : "", why);
	return code;
}

static int wrong(struct look *k, const char *field)
{
	return fail(k, ERR_MALFORMED, field, "malformed, or of the wrong wire type");
}

/* ---- the connection manager --------------------------------------------------------------------------------------------- */

static int look_at_rds(struct look *k, struct str bytes)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	struct str name = {"", 0};
	bool elsewhere = false;
	int more;

	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number <= 2 && f.type != WIRE_BYTES)
			return wrong(k, "rds");
		if (f.number == 2)
			name = f.bytes;
		if (f.number != 1)
			continue;
		/* `ads` and `self` are this very stream; nothing said is taken for it. A path, or a server of its own (1, 2, 8), is not. resource_api_version may say V2. */
		struct wire c = wire_of(f.bytes);
		struct wire_field s;
		int more_source;

		while ((more_source = wire_next(&c, &s)) > 0)
			elsewhere = s.number == 1 || s.number == 2 || s.number == 8 ? true : s.number == 3 || s.number == 5 ? false : elsewhere;
		if (more_source < 0)
			return wrong(k, "rds.config_source");
	}
	if (more < 0)
		return wrong(k, "rds");
	if (name.n == 0)
		return fail(k, ERR_MALFORMED, "rds.route_config_name", "empty");
	if (!guard_text_valid(name))
		return fail(k, ERR_MALFORMED, "rds.route_config_name", "not UTF-8, or with a NUL");
	if (elsewhere && k->api)
		return fail(k, ERR_MALFORMED, "rds.config_source", "not ads");
	/* In a proxy's listener such a manager is simply not ours. */
	k->rds = elsewhere ? str_n(NULL, 0) : name;
	return 0;
}

static int look_at_duration(struct look *k, const struct wire_field *f, const char *field, uint64_t *ret_ns)
{
	if (f->type != WIRE_BYTES)
		return wrong(k, field);
	int rc = wire_duration_ns(f->bytes, ret_ns);
	return rc < 0 ? fail(k, ERR_MALFORMED, field, rc == -ERANGE ? "no duration" : "malformed wire") : 0;
}

static int look_at_http_options(struct look *k, const struct wire_field *options)
{
	struct wire w = wire_of(options->bytes);
	struct wire_field f;
	int more = 0, rc = 0;

	if (options->type != WIRE_BYTES)
		return wrong(k, "common_http_protocol_options");
	while (rc == 0 && (more = wire_next(&w, &f)) > 0)
		if (f.number == 4)
			rc = look_at_duration(k, &f, "common_http_protocol_options.max_stream_duration", &k->l->max_stream_duration_ns);
	return more < 0 ? wrong(k, "common_http_protocol_options") : rc;
}

static int look_at_manager(struct look *k, struct str bytes)
{
	enum { NONE = 0, RDS = 3, INLINE = 4, SCOPED = 31 } how = NONE;
	struct wire w = wire_of(bytes);
	struct wire_field f;
	struct str routes = {"", 0};
	int more = 0, rc = 0;

	while (rc == 0 && (more = wire_next(&w, &f)) > 0) {
		switch (f.number) {
		case 1:
			if (f.type != WIRE_VARINT || f.value > 3)
				rc = fail(k, ERR_MALFORMED, "codec_type", "expected 0 to 3");
			break;
		case RDS:
		case INLINE:
		case SCOPED: /* one of them, the last one counts */
			how = f.number;
			routes = f.bytes;
			if (f.type != WIRE_BYTES)
				rc = wrong(k, "route_specifier");
			break;
		case 24: rc = look_at_duration(k, &f, "stream_idle_timeout", &k->l->stream_idle_ns); break;
		case 35: rc = look_at_http_options(k, &f); break;
		default: break;
		}
	}
	if (rc < 0)
		return rc;
	if (more < 0)
		return fail(k, ERR_MALFORMED, "", "malformed wire");
	if (how == RDS)
		return look_at_rds(k, routes);
	if (how == INLINE) {
		size_t n = strlen(k->where);

		snprintf(k->where + n, sizeof(k->where) - n, "route_config.");
		return decode_routes_within(k->guard, routes, k->where, &k->l->inline_routes, k->problems);
	}
	if (how == NONE)
		return fail(k, ERR_MALFORMED, "route_specifier", "missing");
	return k->api ? fail(k, ERR_MALFORMED, "scoped_routes", "not supported") : 0;
}

/* ---- where it stands ---------------------------------------------------------------------------------------------------- */

/* An Any. 1: it holds a manager, ret is it; 0: something else. */
static int open_any(struct look *k, struct str any, struct str *ret, struct str *ret_type)
{
	*ret = *ret_type = STR("");
	if (wire_last_bytes(any, 1, ret_type) < 0 || wire_last_bytes(any, 2, ret) < 0)
		return fail(k, ERR_MALFORMED, "typed_config", "malformed wire");
	/* v2 and v3 name it alike, in two packages */
	return str_ends(*ret_type, STR(".HttpConnectionManager"));
}

static int look_at_api(struct look *k, const struct wire_field *f)
{
	struct str any = {"", 0}, manager, type;

	snprintf(k->where, sizeof(k->where), "api_listener.");
	if (f->type != WIRE_BYTES || wire_last_bytes(f->bytes, 1, &any) < 0)
		return wrong(k, "api_listener");
	int rc = open_any(k, any, &manager, &type);
	if (rc == 0) {
		char why[160];

		snprintf(why, sizeof(why), "type '%.*s', expected an HttpConnectionManager", (int)(type.n < 100 ? type.n : 100), type.p);
		return fail(k, ERR_MALFORMED, "api_listener", guard_text_valid(type) ? why : "a type that is not UTF-8");
	}
	if (rc < 0)
		return rc;
	/* What a filter chain beside it says is for a proxy. */
	route_config_unref(&k->l->inline_routes);
	k->rds = str_n(NULL, 0);
	k->l->max_stream_duration_ns = k->l->stream_idle_ns = 0;
	k->api = k->l->has_http = true;
	return look_at_manager(k, manager);
}

static int look_at_chain(struct look *k, const struct wire_field *chain, const char *name)
{
	struct wire w = wire_of(chain->bytes);
	struct wire_field f;
	unsigned count = 0;
	int more = 0, rc = 0;

	snprintf(k->where, sizeof(k->where), "%s.", name);
	if (chain->type != WIRE_BYTES)
		return wrong(k, "filters");
	while (rc == 0 && (more = wire_next(&w, &f)) > 0) {
		struct str any = {"", 0}, manager, type;

		if (f.number != 3)
			continue;
		snprintf(k->where, sizeof(k->where), "%s.filters[%u].", name, count++);
		if (f.type != WIRE_BYTES || wire_last_bytes(f.bytes, 4, &any) < 0)
			return wrong(k, "typed_config");
		rc = open_any(k, any, &manager, &type);
		/* The first that has one: the others of istiod's are for other transports of the same port. */
		if (rc > 0 && !k->l->has_http) {
			k->l->has_http = true;
			rc = look_at_manager(k, manager);
		}
		rc = rc > 0 ? 0 : rc;
	}
	return more < 0 ? fail(k, ERR_MALFORMED, "", "malformed wire") : rc;
}

static int look_at_address(struct look *k, struct str bytes)
{
	const char *why = NULL;
	char text[320] = "";
	int rc = 0;

	k->where[0] = '\0';
	Pb__Address *a = guard_unpack(k->guard, &pb__address__descriptor, bytes, &rc, &why);
	if (!a)
		return fail(k, rc, "address", why);
	if (a->address_case == PB__ADDRESS__ADDRESS_PIPE) {
		if (a->pipe->path[0] == '\0')
			rc = fail(k, ERR_MALFORMED, "address.pipe.path", "empty");
		else if (a->pipe->mode > 0777)
			rc = fail(k, ERR_MALFORMED, "address.pipe.mode", "expected at most 0777");
		else if (snprintf(text, sizeof(text), "unix://%s", a->pipe->path) >= (int)sizeof(text))
			rc = fail(k, ERR_MALFORMED, "address.pipe.path", "too long for a socket");
	} else if (a->address_case == PB__ADDRESS__ADDRESS_SOCKET_ADDRESS) {
		const Pb__SocketAddress *s = a->socket_address;

		if (s->address[0] == '\0')
			rc = fail(k, ERR_MALFORMED, "address.socket_address.address", "empty");
		else if (s->port_specifier_case == PB__SOCKET_ADDRESS__PORT_SPECIFIER__NOT_SET)
			rc = fail(k, ERR_MALFORMED, "address.socket_address.port_specifier", "missing");
		else if (s->port_specifier_case == PB__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE && s->port_value > 65535)
			rc = fail(k, ERR_MALFORMED, "address.socket_address.port_value", "beyond 65535");
		else if (s->protocol < 0 || s->protocol > 1)
			rc = fail(k, ERR_MALFORMED, "address.socket_address.protocol", "expected 0 or 1");
		else if (s->protocol == 0 && s->port_specifier_case == PB__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE &&
			snprintf(text, sizeof(text), strchr(s->address, ':') ? "[%s]:%u" : "%s:%u", s->address, s->port_value) >= (int)sizeof(text))
			rc = fail(k, ERR_MALFORMED, "address.socket_address.address", "too long");
	} else if (a->address_case == PB__ADDRESS__ADDRESS__NOT_SET) {
		rc = fail(k, ERR_MALFORMED, "address", "neither socket_address nor pipe");
	}
	guard_free(k->guard, a);
	if (rc == 0 && !(k->l->bind = ration_text(&k->ration, str_of(text))))
		rc = -ENOMEM;
	return rc;
}

static int look_at_listener(struct look *k, struct str bytes)
{
	struct wire w = wire_of(bytes);
	struct wire_field f, fallback = {0};
	struct str name = {"", 0}, address = {NULL, 0};
	unsigned chains = 0;
	uint64_t bind = 1;
	int more = 0, rc = 0;
	char where[48];

	while (rc == 0 && (more = wire_next(&w, &f)) > 0) {
		k->where[0] = '\0';
		switch (f.number) {
		case 1:
			name = f.bytes;
			if (f.type != WIRE_BYTES || !guard_text_valid(name))
				rc = fail(k, ERR_MALFORMED, "name", "not UTF-8, or with a NUL");
			break;
		case 2:
			address = f.bytes;
			if (f.type != WIRE_BYTES)
				rc = wrong(k, "address");
			break;
		case 3:
			snprintf(where, sizeof(where), "filter_chains[%u]", chains++);
			rc = look_at_chain(k, &f, where);
			break;
		case 19: rc = k->api ? fail(k, ERR_MALFORMED, "api_listener", "given twice") : look_at_api(k, &f); break;
		case 25: fallback = f; break;
		case 26:
			bind = 0;
			if (f.type != WIRE_BYTES || wire_last_varint(f.bytes, 1, &bind) < 0)
				rc = wrong(k, "bind_to_port");
			break;
		default: break;
		}
	}
	if (rc < 0)
		return rc;
	k->where[0] = '\0';
	if (more < 0)
		return fail(k, ERR_MALFORMED, "", "malformed wire");
	if (fallback.number && (rc = look_at_chain(k, &fallback, "default_filter_chain")) < 0)
		return rc;
	if (address.p && bind && (rc = look_at_address(k, address)) < 0)
		return rc;
	if (!k->l->bind)
		k->l->bind = ration_text(&k->ration, STR(""));
	k->l->name = ration_text(&k->ration, name);
	k->l->rds_name = k->rds.p ? ration_text(&k->ration, k->rds) : NULL;
	return k->ration.refused ? -ENOMEM : 0;
}

int decode_listener(const void *p, size_t n, struct account *a, struct listener_decoded **ret, struct sb *problems)
{
	struct guard g;
	struct look k = {.guard = &g, .problems = problems};
	size_t said = problems ? problems->n : 0;
	int rc;

	guard_begin(&g, a, n);
	k.ration.account = &g.account;
	k.l = ration_alloc(&k.ration, sizeof(*k.l));
	rc = k.l ? look_at_listener(&k, str_n(p, n)) : -ENOMEM;
	if (rc < 0) {
		ration_drop(&k.ration);
		if (rc == -ENOMEM && problems && problems->n == said)
			fail(&k, rc, "", "it would need too much memory");
		listener_decoded_free(&k.l);
	} else {
		ration_pay(&k.ration, &k.l->charge);
		*ret = k.l;
	}
	guard_end(&g);
	return rc;
}

void listener_decoded_free(struct listener_decoded **l)
{
	struct listener_decoded *old = *l;

	*l = NULL;
	if (!old)
		return;
	route_config_unref(&old->inline_routes);
	free(old->name);
	free(old->rds_name);
	free(old->bind);
	charge_end(&old->charge);
	free(old);
}
