/* xds/decode_endpoint: one LbEndpoint, walked in place, to what endpoints_put takes. The innermost loop of EDS: 100,000 of them come in one push, so what is
 * nearly always so (IPv4 as text, the metadata of the endpoint before) has a short way. Nothing is allocated but metadata that was never seen. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/err.h"
#include "xds/decode_int.h"

enum { HOST_NAME_MAX_BYTES = 253 }; /* RFC 1035 2.3.4, as text */

static int __attribute__((cold, format(printf, 4, 5))) refuse(struct endpoint_reader *r, int code, const char *field, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	r->field = field;
	return code;
}

static int __attribute__((cold)) malformed(struct endpoint_reader *r, const char *field)
{
	return refuse(r, ERR_MALFORMED, field, "malformed");
}

/* ---- address ---- */

/* What inet_pton takes, and as strict: four numbers without leading zeros. In network order. */
static bool ipv4(struct str s, uint32_t *ret)
{
	uint8_t out[4];
	const char *p = s.p, *end = s.p + s.n;
	for (int i = 0; i < 4; i++) {
		if (i > 0 && (p == end || *p++ != '.'))
			return false;
		if (p == end)
			return false;
		unsigned v = (unsigned char)*p++ - '0';
		if (v > 9)
			return false;
		for (int more = 0; more < 2 && p < end; more++) {
			unsigned digit = (unsigned char)*p - '0';
			if (digit > 9)
				break;
			if (v == 0)
				return false;
			v = v * 10 + digit;
			p++;
		}
		if (v > 255)
			return false;
		out[i] = (uint8_t)v;
	}
	memcpy(ret, out, sizeof(out));
	return p == end;
}

/* Letters, digits and what names of services and zones have; a resolver sees nothing else from us. A last label of digits is a mistyped address. */
static bool is_host_name(struct str s)
{
	size_t label = 0, digits = 0, n = s.n;
	if (n && s.p[n - 1] == '.')
		n--; /* absolute */
	if (n == 0 || n > HOST_NAME_MAX_BYTES)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = s.p[i];
		bool digit = c >= '0' && c <= '9';
		if (c == '.') {
			if (label == 0)
				return false;
			label = digits = 0;
			continue;
		}
		if (!digit && !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_'))
			return false;
		if (++label > 63)
			return false;
		digits += digit;
	}
	return label > 0 && digits < label;
}

/* How much of a peer's text a reason repeats. */
static int cut(struct str s) { return s.n > 64 ? 64 : (int)s.n; }

static int host_address(struct endpoint_reader *r, const char *field, struct str host, uint16_t port, struct addr *ret)
{
	uint32_t v4;
	if (__builtin_expect(host.n <= 15 && ipv4(host, &v4), 1)) {
		/* The other 96 bytes of a struct addr stay as they are: len says what counts. */
		ret->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {v4}};
		ret->len = sizeof(ret->in4);
		return 1;
	}
	if (addr_ip(host, port, ret) == 0)
		return 1;
	if (!is_host_name(host))
		return refuse(r, -EINVAL, field, "'%.*s' is neither an IP address nor a host name", cut(host), host.p);
	r->item.host = host;
	r->item.port = port;
	return 1;
}

static int port_address(struct endpoint_reader *r, const char *field, struct str host, uint64_t port, struct addr *ret)
{
	if (host.n == 0)
		return refuse(r, -EINVAL, field, "empty");
	if (port == 0 || port > 65535)
		return refuse(r, -EINVAL, field, "port %llu", (unsigned long long)port);
	return host_address(r, field, host, (uint16_t)port, ret);
}

/* { 2 address, 3 port_value } and nothing else, both in their usual sizes. */
static bool usual_address(struct str message, struct str *ret_host, uint64_t *ret_port)
{
	const uint8_t *p = (const uint8_t *)message.p, *end = p + message.n;
	uint64_t v;
	if (message.n < 5 || p[0] != 0x12 || p[1] > 127 || p[1] > message.n - 5 || p[2 + p[1]] != 0x18)
		return false;
	const uint8_t *port = p + 2 + p[1] + 1;
	if (end - port == 3 && port[0] >= 0x80 && port[1] >= 0x80 && port[2] < 0x80)
		v = (uint64_t)(port[0] & 0x7f) | (uint64_t)(port[1] & 0x7f) << 7 | (uint64_t)port[2] << 14;
	else if (wire_varint(port, end, &v) != end - port)
		return false;
	*ret_host = str_n(message.p + 2, p[1]);
	*ret_port = v;
	return true;
}

static int socket_address(struct endpoint_reader *r, const char *field, struct str message, struct addr *ret)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	struct str host = {0};
	uint64_t port = 0, protocol = 0;
	bool named = false;
	int more;
	if (usual_address(message, &host, &port))
		return port_address(r, field, host, port, ret);
	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number == 2 && f.type == WIRE_BYTES) {
			host = f.bytes;
		} else if (f.number == 3 && f.type == WIRE_VARINT) {
			port = f.value;
			named = false;
		} else if (f.number == 4 && f.type == WIRE_BYTES) {
			named = true;
		} else if (f.number == 1 && f.type == WIRE_VARINT) {
			protocol = f.value;
		}
	}
	if (more < 0)
		return malformed(r, field);
	if (protocol != 0)
		return refuse(r, -EINVAL, field, "protocol %llu is not TCP", (unsigned long long)protocol);
	if (named && host.n)
		return refuse(r, -EINVAL, field, "named_port is not supported");
	return port_address(r, field, host, port, ret);
}

static int pipe_address(struct endpoint_reader *r, const char *field, struct str message, struct addr *ret)
{
	struct str path = {0};
	uint64_t mode = 0;
	if (wire_last_bytes(message, 1, &path) < 0 || wire_last_varint(message, 2, &mode) < 0)
		return malformed(r, field);
	if (path.n == 0)
		return refuse(r, -EINVAL, field, "pipe without a path");
	if (mode > 0777)
		return refuse(r, -EINVAL, field, "pipe mode %llu", (unsigned long long)mode);
	int code = addr_unix(path, ret);
	if (code < 0)
		return refuse(r, code, field, "pipe '%.*s': %s", cut(path), path.p, code == -ENAMETOOLONG ? "too long for a socket" : "not an absolute path");
	return 1;
}

/* 1: in ret, or in item.host; 0: of a kind that cannot be dialed. */
static int address(struct endpoint_reader *r, const char *field, struct str message, struct addr *ret)
{
	struct wire w = wire_of(message);
	struct wire_field f, last = {0};
	struct str one;
	int more;
	if (wire_is_one(message, 0x0a, &one))
		return socket_address(r, field, one, ret);
	while ((more = wire_next(&w, &f)) > 0)
		if (f.type == WIRE_BYTES && f.number <= 3)
			last = f;
	if (more < 0)
		return malformed(r, field);
	switch (last.number) {
	case 1: return socket_address(r, field, last.bytes, ret);
	case 2: return pipe_address(r, field, last.bytes, ret);
	case 3: return 0; /* envoy_internal_address: a listener inside of Envoy (Istio's ambient mode) */
	default: return refuse(r, -EINVAL, field, "missing");
	}
}

/* ---- endpoint ---- */

static int additional(struct endpoint_reader *r, struct str message)
{
	static const char field[] = "endpoint.additional_addresses";
	struct str bytes = {0};
	if (wire_last_bytes(message, 1, &bytes) < 0)
		return malformed(r, field);
	if (r->item.naddrs == ENDPOINT_ADDRS)
		return refuse(r, ERR_LIMIT, field, "more than %d", ENDPOINT_ADDRS - 1);
	struct str no_host = r->item.host;
	int code = address(r, field, bytes, &r->addrs[r->item.naddrs]);
	if (code <= 0)
		return code;
	if (r->item.host.n != no_host.n)
		return refuse(r, -EINVAL, field, "not an IP address");
	r->item.naddrs++;
	return 1;
}

static int endpoint(struct endpoint_reader *r, struct str message)
{
	struct wire w = wire_of(message);
	struct wire_field f;
	struct str first = {0};
	bool more_addresses = false, has = wire_is_one(message, 0x0a, &first);
	int code;
	if (!has) {
		int more;
		while ((more = wire_next(&w, &f)) > 0) {
			if (f.number == 1 && f.type == WIRE_BYTES) {
				first = f.bytes;
				has = true;
			} else if (f.number == 2 && f.type == WIRE_BYTES) {
				r->parts[PART_CHECK] = f.bytes;
			} else if (f.number == 3 && f.type == WIRE_BYTES) {
				r->parts[PART_HOSTNAME] = f.bytes;
			} else if (f.number == 4 && f.type == WIRE_BYTES) {
				more_addresses = true;
			}
		}
		if (more < 0)
			return malformed(r, "endpoint");
	}
	if (!has)
		return refuse(r, -EINVAL, "endpoint.address", "missing");
	code = address(r, "endpoint.address", first, &r->addrs[0]);
	if (code <= 0)
		return code;
	if (r->item.host.p)
		return more_addresses ? refuse(r, -EINVAL, "endpoint.additional_addresses", "beside a host name") : 1;
	r->item.addrs = r->addrs;
	r->item.naddrs = 1;
	if (!more_addresses)
		return 1;
	for (w = wire_of(message); wire_next(&w, &f) > 0;)
		if (f.number == 4 && f.type == WIRE_BYTES) {
			code = additional(r, f.bytes);
			if (code < 0)
				return code;
		}
	return 1;
}

/* ---- metadata ---- */

static uint32_t fold(uint64_t hash)
{
	uint32_t h = (uint32_t)(hash ^ hash >> 32);
	return h ? h : 1; /* 0 means unknown */
}

/* The one field of a Struct that is asked for, as a Value. */
static int struct_value(struct str message, const char *name, struct wire_field *ret)
{
	struct wire w = wire_of(message), in;
	struct wire_field f, v;
	int more;
	while ((more = wire_next(&w, &f)) > 0) {
		struct str key = {0}, value = {0};
		if (f.number != 1 || f.type != WIRE_BYTES)
			continue;
		if (wire_last_bytes(f.bytes, 1, &key) < 0 || wire_last_bytes(f.bytes, 2, &value) < 0)
			return ERR_MALFORMED;
		if (!str_is(key, name))
			continue;
		for (in = wire_of(value); (more = wire_next(&in, &v)) > 0;)
			if (v.number <= VALUE_KINDS)
				*ret = v;
		if (more < 0)
			return more;
	}
	return more;
}

/* istio.workload, "name;namespace;canonical;revision;cluster": a pod's name is another one after it was replaced, even at the same address. */
static int istio(struct endpoint_reader *r, struct str message)
{
	struct wire_field v = {0};
	struct str one, key, value, text;
	if (wire_is_one(message, 0x0a, &one) && wire_is_entry(one, &key, &value) && wire_is_one(value, 0x1a, &text) && str_eq(key, STR("workload"))) {
		r->item.incarnation = text.n ? fold(str_hash(text)) : 0;
		return 0;
	}
	if (struct_value(message, "workload", &v) < 0)
		return malformed(r, "metadata.filter_metadata.istio");
	if (v.number == VALUE_TEXT && v.type == WIRE_BYTES && v.bytes.n)
		r->item.incarnation = fold(str_hash(v.bytes));
	return 0;
}

static int own(struct endpoint_reader *r, struct str message)
{
	struct wire_field v = {0};
	double number;
	if (struct_value(message, METADATA_INCARNATION, &v) < 0)
		return malformed(r, "metadata.filter_metadata." METADATA_OWN);
	memcpy(&number, &v.value, sizeof(number));
	if (v.number == VALUE_NUMBER && v.type == WIRE_FIXED64 && number >= 1 && number <= UINT32_MAX)
		r->item.incarnation = (uint32_t)number;
	return 0;
}

/* ---- what is kept beside the address ---- */

enum { PORT_DIGITS = 8 };
struct own_texts { char port[PORT_DIGITS], address[ADDR_TEXT]; };

/* As addr_parse reads it back, byte for byte; addr_text is for people. */
static struct str address_text(const struct addr *a, char out[ADDR_TEXT])
{
	if (!addr_is_unix(a))
		return str_of(addr_text(a, out));
	const char *path = a->un.sun_path;
	bool abstract = path[0] == '\0';
	size_t n = a->len - offsetof(struct sockaddr_un, sun_path) - (abstract ? 0 : 1 /* its NUL */);
	memcpy(out, "unix:", 5);
	memcpy(out + 5, path, n);
	if (abstract)
		out[5] = '@';
	return str_n(out, 5 + n);
}

/* Endpoint.health_check_config.address: another address than the one for calls. Empty: of a kind that nobody can dial. */
static int check_address(struct endpoint_reader *r, struct str message, char out[ADDR_TEXT], struct str *ret)
{
	static const char field[] = "endpoint.health_check_config.address";
	struct str host = r->item.host;
	uint16_t port = r->item.port;
	struct addr a;
	r->item.host = (struct str){0};
	int code = address(r, field, message, &a);
	bool by_name = r->item.host.p != NULL;
	r->item.host = host;
	r->item.port = port;
	if (code <= 0)
		return code;
	if (by_name)
		return refuse(r, -EINVAL, field, "a name, where an address is dialed");
	*ret = address_text(&a, out);
	return 0;
}

static int check_config(struct endpoint_reader *r, struct str message, struct own_texts *texts, struct pairs *p)
{
	static const char field[] = "endpoint.health_check_config";
	struct str host = {0}, bytes = {0}, text = {0};
	uint64_t port = 0, off = 0;
	int code = 0;
	if (wire_last_varint(message, 1, &port) < 0 || wire_last_bytes(message, 2, &host) < 0 || wire_last_bytes(message, 3, &bytes) < 0 ||
		wire_last_varint(message, 4, &off) < 0)
		return malformed(r, field);
	if (port > 65535)
		return refuse(r, -ERANGE, "endpoint.health_check_config.port_value", "%llu is above 65535", (unsigned long long)port);
	if (bytes.n)
		code = check_address(r, bytes, texts->address, &text);
	if (code < 0)
		return code;
	if (port) {
		int n = snprintf(texts->port, sizeof(texts->port), "%u", (unsigned)port);
		code = pairs_add_own(p, ENDPOINT_CHECK_PORT, str_n(texts->port, (size_t)n));
	}
	if (code == 0 && host.n)
		code = pairs_add_own(p, ENDPOINT_CHECK_HOST, host);
	if (code == 0 && text.n)
		code = pairs_add_own(p, ENDPOINT_CHECK_ADDRESS, text);
	if (code == 0 && off)
		code = pairs_add_own(p, ENDPOINT_CHECK_OFF, STR("1"));
	if (code == ERR_LIMIT)
		return refuse(r, code, field, "its texts are too long");
	return code < 0 ? refuse(r, code, field, "a text is not UTF-8, or holds a NUL") : 0;
}

static int own_pairs(struct endpoint_reader *r, struct own_texts *texts, struct pairs *p)
{
	const struct str *parts = r->parts;
	int code = parts[PART_HOSTNAME].n ? pairs_add_own(p, ENDPOINT_HOSTNAME, parts[PART_HOSTNAME]) : 0;
	if (code == ERR_LIMIT)
		return refuse(r, code, "endpoint.hostname", "too long");
	if (code < 0)
		return refuse(r, code, "endpoint.hostname", "not UTF-8, or with a NUL");
	return parts[PART_CHECK].n ? check_config(r, parts[PART_CHECK], texts, p) : 0;
}

static int intern(struct endpoint_reader *r)
{
	static const char field[] = "metadata.filter_metadata";
	struct own_texts texts;
	struct pairs p;
	p.n = p.left_out = 0;
	p.used = p.bytes = 0;
	int code = pairs_add_struct(&p, (struct str){0}, r->parts[PART_MATCH]);
	if (code == 0)
		code = pairs_add_struct(&p, STR(PAIRS_LB_PREFIX), r->parts[PART_LB]);
	if (code == ERR_LIMIT)
		return refuse(r, code, field, "more than %d texts, or too long", PAIRS_MAX);
	if (code == -EINVAL)
		return refuse(r, code, field, "a text is not UTF-8, or holds a NUL");
	if (code < 0)
		return malformed(r, field);
	code = own_pairs(r, &texts, &p);
	if (code < 0)
		return code;
	r->seen_n = 0;
	r->meta = NULL;
	if (p.n == 0)
		return 0;
	r->meta = endpoint_meta_get(r->metas, p.kv, p.n);
	return r->meta ? 0 : refuse(r, -ENOMEM, field, "no memory");
}

/* Are they the parts of the endpoint before? */
static bool seen(const struct endpoint_reader *r, const uint16_t lengths[ENDPOINT_PARTS], size_t n)
{
	const uint8_t *at = r->seen + ENDPOINT_PARTS * sizeof(*lengths);
	if (r->seen_n != n || memcmp(r->seen, lengths, ENDPOINT_PARTS * sizeof(*lengths)) != 0)
		return false;
	for (int i = 0; i < ENDPOINT_PARTS; at += lengths[i++])
		if (lengths[i] && memcmp(at, r->parts[i].p, lengths[i]) != 0)
			return false;
	return true;
}

static void remember(struct endpoint_reader *r, const uint16_t lengths[ENDPOINT_PARTS], size_t n)
{
	uint8_t *at = r->seen + ENDPOINT_PARTS * sizeof(*lengths);
	memcpy(r->seen, lengths, ENDPOINT_PARTS * sizeof(*lengths));
	for (int i = 0; i < ENDPOINT_PARTS; at += lengths[i++])
		if (lengths[i])
			memcpy(at, r->parts[i].p, lengths[i]);
	r->seen_n = (uint32_t)n;
}

/* Those four, and nothing else, make an endpoint_meta. The same bytes as before make the same one. */
static int meta(struct endpoint_reader *r)
{
	uint16_t lengths[ENDPOINT_PARTS];
	size_t n = sizeof(lengths);
	for (int i = 0; i < ENDPOINT_PARTS; i++) {
		n += r->parts[i].n;
		lengths[i] = (uint16_t)r->parts[i].n;
	}
	if (n == sizeof(lengths))
		return 0;
	bool fits = n <= sizeof(r->seen);
	if (!(fits && seen(r, lengths, n))) {
		int code = intern(r);
		if (code < 0)
			return code;
		if (fits)
			remember(r, lengths, n);
	}
	r->item.meta = r->meta;
	return 0;
}

static int metadata(struct endpoint_reader *r, struct str message)
{
	static const char field[] = "metadata.filter_metadata";
	struct wire w = wire_of(message), in;
	struct wire_field f, e;
	int more, code = 0;
	while ((more = wire_next(&w, &f)) > 0) {
		struct str key = {0}, value = {0};
		if (f.number != 1 || f.type != WIRE_BYTES)
			continue; /* typed_filter_metadata */
		if (!wire_is_entry(f.bytes, &key, &value)) {
			for (in = wire_of(f.bytes); (more = wire_next(&in, &e)) > 0;) {
				if (e.number == 1 && e.type == WIRE_BYTES)
					key = e.bytes;
				else if (e.number == 2 && e.type == WIRE_BYTES)
					value = e.bytes;
			}
			if (more < 0)
				return malformed(r, field);
		}
		if (key.n == 0)
			return refuse(r, -EINVAL, field, "empty key");
		if (str_eq(key, STR("istio")))
			code = istio(r, value);
		else if (str_eq(key, STR("envoy.transport_socket_match")))
			r->parts[PART_MATCH] = value;
		else if (str_eq(key, STR("envoy.lb")))
			r->parts[PART_LB] = value;
		else if (str_eq(key, STR(METADATA_OWN)))
			code = own(r, value);
		if (code < 0)
			return code;
	}
	return more < 0 ? malformed(r, "metadata") : 0;
}

/* ---- all of it ---- */

/* core.v3.HealthStatus. What a later Envoy may add is nothing that we know to be good. */
static uint8_t health(uint64_t status)
{
	static const uint8_t known[] = {EP_UNKNOWN, EP_HEALTHY, EP_UNHEALTHY, EP_DRAINING, EP_UNHEALTHY /* TIMEOUT */, EP_DEGRADED};
	return status < sizeof(known) ? known[status] : EP_UNHEALTHY;
}

static int weight(struct endpoint_reader *r, struct str message)
{
	uint64_t v = 0;
	if (wire_last_varint(message, 1, &v) < 0)
		return malformed(r, "load_balancing_weight");
	if (v == 0 || v > UINT32_MAX)
		return refuse(r, -EINVAL, "load_balancing_weight", "%llu", (unsigned long long)v);
	r->item.weight = (uint32_t)v;
	return 0;
}

int endpoint_read(struct endpoint_reader *r, struct str lb_endpoint)
{
	struct wire w = wire_of(lb_endpoint);
	struct wire_field f;
	struct str ep = {0};
	bool has = false, named = false;
	int more, code = 0;
	r->item = (struct endpoint_item){.weight = 1};
	memset(r->parts, 0, sizeof(r->parts));
	while ((more = wire_next(&w, &f)) > 0) {
		if (f.type == WIRE_BYTES) {
			switch (f.number) {
			case 1: ep = f.bytes, has = true; break;
			case 3: code = metadata(r, f.bytes); break;
			case 4: code = weight(r, f.bytes); break;
			case 5: named = true; break; /* endpoint_name: of named_endpoints, which nobody sends */
			default: break;
			}
		} else if (f.number == 2 && f.type == WIRE_VARINT) {
			r->item.health = health(f.value);
		}
		if (__builtin_expect(code < 0, 0))
			return code;
	}
	if (more < 0)
		return malformed(r, "");
	code = has ? endpoint(r, ep) : 0;
	int kept = code < 0 ? code : meta(r);
	if (kept < 0)
		return kept;
	if (!has && !named)
		return refuse(r, -EINVAL, "endpoint", "missing");
	if (code == 0)
		r->seen_n = 0; /* nobody will hold its metadata */
	return code;
}
