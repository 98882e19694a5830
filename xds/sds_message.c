/* xds/sds_message: see sds_message.h. Field numbers: envoy/service/discovery/v3/discovery.proto, envoy/extensions/transport_sockets/tls/v3/secret.proto. */
#include "xds/sds_message.h"
#include "base/err.h"
#include "xds/guard.h"
#include "xds/wire.h"

const char sds_type_url[] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
enum { SHOWN = 200 }; /* of a peer's words in our text */

static bool is_word(struct str s)
{
	return s.n <= SDS_WORD_MAX && wire_is_text(s) && guard_text_valid(s);
}

/* Our text goes back to the server in a field that must be UTF-8: no character is cut in two. */
static int shown(struct str s)
{
	size_t n = s.n < SHOWN ? s.n : SHOWN;

	while (n && n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return (int)n;
}

/* A google.protobuf.Any: 1 type_url, 2 value. */
static int read_any(struct str any, struct str *ret_url, struct str *ret_value)
{
	*ret_url = *ret_value = STR("");
	return wire_last_bytes(any, 1, ret_url) < 0 || wire_last_bytes(any, 2, ret_value) < 0 ? ERR_MALFORMED : 0;
}

/* A client that says xds.config.resource-in-sotw (as our node does) may get each Any inside of a Resource: 2 resource. Only once: what is in it is as it is. */
static int unwrap(struct str *url, struct str *value)
{
	struct str inner = STR("");

	if (!str_is(*url, "type.googleapis.com/envoy.service.discovery.v3.Resource"))
		return 0;
	return wire_last_bytes(*value, 2, &inner) < 0 ? ERR_MALFORMED : read_any(inner, url, value);
}

static int resource(struct str any, struct str name, struct sds_message *m, struct sb *problem)
{
	struct str url, value, called = STR("");

	if (++m->resources > SDS_RESOURCES_MAX || read_any(any, &url, &value) < 0 || unwrap(&url, &value) < 0 || !is_word(url))
		return ERR_MALFORMED;
	if (!str_is(url, sds_type_url)) {
		sb_fmt(problem, "%sa resource of type '%.*s' is no secret", problem->n ? "; " : "", shown(url), url.p);
		return 0;
	}
	if (wire_last_bytes(value, 1, &called) < 0 || !is_word(called)) { /* the answer around it is whole: it can be refused by its nonce, and the stream stays */
		sb_fmt(problem, "%sa secret that is no message, '%.*s' was asked", problem->n ? "; " : "", shown(name), name.p);
		return 0;
	}
	if (str_eq(called, name)) { /* of two with one name the last: as where one message follows the other */
		m->found = true;
		m->secret = value;
	} else if (problem->n < 1024) {
		sb_fmt(problem, "%s'%.*s' came, '%.*s' was asked", problem->n ? "; " : "", shown(called), called.p, shown(name), name.p);
	}
	return 0;
}

int sds_message_read(struct str bytes, struct str name, struct sds_message *ret, struct sb *problem)
{
	struct sds_message m = {.version = STR(""), .nonce = STR("")};
	struct wire w = wire_of(bytes);
	struct wire_field f;
	int more;

	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number != 1 && f.number != 2 && f.number != 5)
			continue;
		if (f.type != WIRE_BYTES)
			return ERR_MALFORMED;
		if (f.number == 2 && resource(f.bytes, name, &m, problem) < 0)
			return ERR_MALFORMED;
		if (f.number == 1)
			m.version = f.bytes;
		if (f.number == 5)
			m.nonce = f.bytes;
	}
	if (more < 0 || !is_word(m.version) || !is_word(m.nonce))
		return ERR_MALFORMED;
	if (m.found) /* what came beside it was not asked, and is no harm */
		problem->n = 0;
	else if (m.resources == 0)
		sb_fmt(problem, "an answer without any secret, '%.*s' was asked", shown(name), name.p);
	*ret = m;
	return 0;
}
