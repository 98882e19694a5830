/* net/fields_check: the validation half of net/fields.h: characters, then messages. One table for HTTP/1, HTTP/2 and both roles.
 *
 * No objects of its own. What is refused here never reaches a provider or an app: a doubt that we pass on is a doubt that the next
 * one may read differently, which is what smuggling lives on. What is tolerated is told at its line, with who needs it. */
#include "net/fields.h"

/* RFC 9110 5.6.2, without upper case (RFC 9113 8.2.1: upper case over HTTP/2 is malformed; HTTP/1 lowers names before it asks). */
static const bool name_chars[256] = {
	['a' ... 'z'] = true, ['0' ... '9'] = true, ['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true,
	['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true, ['`'] = true, ['|'] = true, ['~'] = true,
};

bool field_name_valid(const char *name, size_t n)
{
	size_t i = n > 0 && name[0] == ':';

	if (i == n)
		return false;
	for (; i < n; i++)
		if (!name_chars[(unsigned char)name[i]])
			return false;
	return true;
}

static bool value_byte_bad(unsigned char c)
{
	return c == '\0' || c == '\r' || c == '\n';
}

bool field_value_valid(const char *value, size_t n)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	size_t i = 0;

	if (n == 0)
		return true;
	if (value[0] == ' ' || value[0] == '\t' || value[n - 1] == ' ' || value[n - 1] == '\t')
		return false;
	/* All three lie below 0x0e, where nothing but a tab is usual: one test tells eight bytes good. */
	for (; i + 8 <= n; i += 8) {
		uint64_t w;

		memcpy(&w, value + i, 8);
		if (__builtin_expect(((w - ones * 0x0e) & ~w & tops) == 0, 1))
			continue;
		for (size_t k = i; k < i + 8; k++)
			if (value_byte_bad((unsigned char)value[k]))
				return false;
	}
	for (; i < n; i++)
		if (value_byte_bad((unsigned char)value[i]))
			return false;
	return true;
}

static struct str field_value(const struct field *e)
{
	return str_n(e->value, e->value_len);
}

/* A name without a byte is refused with the pseudo-headers that nobody knows, by whoever did not ask field_name_valid before. */
static bool is_pseudo(const struct field *e)
{
	return e->name_len == 0 || e->name[0] == ':';
}

/* ---- requests ------------------------------------------------------------------------------------------------------------- */

static bool method_valid(struct str m)
{
	if (str_eq(m, STR("POST"))) /* what gRPC says */
		return true;
	for (size_t i = 0; i < m.n; i++) {
		unsigned char c = (unsigned char)m.p[i];

		if (!name_chars[c >= 'A' && c <= 'Z' ? c | 0x20 : c])
			return false;
	}
	return m.n > 0;
}

/* What a byte says about the text that it is in; a text is judged by all of its bytes at once. */
enum { URI_CONTROL = 1, URI_FRAGMENT = 2, URI_NO_HOST = 4, URI_SLASH = 8 };
static const unsigned char uri_bytes[256] = {
	[0 ... ' '] = URI_CONTROL, [0x7f] = URI_CONTROL, ['#'] = URI_FRAGMENT | URI_NO_HOST, ['/'] = URI_SLASH,
	['@'] = URI_NO_HOST, ['?'] = URI_NO_HOST, ['\\'] = URI_NO_HOST, [0x80 ... 0xff] = URI_NO_HOST,
};

static unsigned uri_says(struct str s)
{
	unsigned all = 0;

	for (size_t i = 0; i < s.n; i++)
		all |= uri_bytes[(unsigned char)s.p[i]];
	return all;
}

/* origin-form or '*'. What is no URI character at all is refused; obs-text is not, some SDKs do not encode their method names. */
static bool path_valid(struct str path, struct str method)
{
	if (path.n == 1 && path.p[0] == '*')
		return str_eq(method, STR("OPTIONS"));
	return path.n > 0 && path.p[0] == '/' && !(uri_says(path) & (URI_CONTROL | URI_FRAGMENT));
}

/* gRPC clients over Unix sockets send the socket's path, raw ("/run/s.sock", "@name") or with %2F, or nothing: such an authority names
 * no app (promise 4) and may look like a path. Whatever else comes has to look like host[:port]; that it is one is the normaliser's to
 * find out. Userinfo is refused (RFC 9113 8.3.1): "good.app@evil.app" reads differently to different readers. */
static bool authority_valid(struct str a)
{
	unsigned says = uri_says(a);
	bool path = a.n > 0 && ((says & URI_SLASH) || a.p[0] == '@');

	return !(says & URI_CONTROL) && (path || !(says & URI_NO_HOST));
}

/* RFC 9113 8.2.2: TE may say "trailers" and nothing else. */
static bool te_valid(struct str te)
{
	return str_eq(te, STR("trailers")) || str_eq_nocase(te, STR("trailers"));
}

static const char *check_request_pseudo(const struct fields *f, unsigned seen)
{
	struct str method, scheme, path, authority;

	if (!(seen & 1u << FIELD_METHOD) || !(seen & 1u << FIELD_SCHEME) || !(seen & 1u << FIELD_PATH))
		return "a pseudo-header is missing";
	method = fields_value(f, FIELD_METHOD);
	if (!method_valid(method))
		return ":method is no token";
	if (str_eq(method, STR("CONNECT")))
		return "CONNECT is not offered";
	scheme = fields_value(f, FIELD_SCHEME);
	if (!str_eq(scheme, STR("http")) && !str_eq_nocase(scheme, STR("http")) && !str_eq_nocase(scheme, STR("https")))
		return ":scheme is neither http nor https";
	path = fields_value(f, FIELD_PATH);
	if (path.n == 0)
		return ":path is empty";
	if (!path_valid(path, method))
		return ":path is malformed";
	authority = fields_value(f, FIELD_AUTHORITY);
	if (!authority_valid(authority))
		return ":authority is malformed";
	return NULL;
}

static const char *check_host(const struct fields *f, const struct field *host)
{
	const struct field *authority = fields_get(f, FIELD_AUTHORITY);

	if (!authority_valid(field_value(host)))
		return "host is malformed";
	if (authority && !str_eq_nocase(field_value(authority), field_value(host)))
		return ":authority and host differ";
	return NULL;
}

static const char *check_request(const struct fields *f)
{
	const struct field *host = NULL;
	bool regular = false, length = false;
	unsigned seen = 0;
	const char *wrong;

	fields_each(e, f) {
		if (is_pseudo(e)) {
			if (!(e->flags & FF_PSEUDO_REQ) || e->token == FIELD_PROTOCOL)
				return "a pseudo-header that no request has";
			if (regular)
				return "a pseudo-header behind a regular field";
			if (seen & 1u << e->token)
				return "a pseudo-header twice";
			seen |= 1u << e->token;
			continue;
		}
		regular = true;
		if (e->flags & FF_HOP)
			return "a connection-specific field";
		if (e->token == FIELD_TE && !te_valid(field_value(e)))
			return "te says more than trailers";
		if (e->token == FIELD_HOST) {
			if (host)
				return "host twice";
			host = e;
		}
		length |= e->token == FIELD_CONTENT_LENGTH;
	}
	wrong = check_request_pseudo(f, seen);
	if (!wrong && host)
		wrong = check_host(f, host);
	if (!wrong && length && fields_content_length(f) == -2)
		wrong = "content-length is malformed";
	return wrong;
}

/* ---- responses and trailers ----------------------------------------------------------------------------------------------- */

static bool status_valid(struct str s)
{
	return s.n == 3 && s.p[0] >= '1' && s.p[0] <= '9' && s.p[1] >= '0' && s.p[1] <= '9' && s.p[2] >= '0' && s.p[2] <= '9';
}

/* te is tolerated: Dubbo Java's servers send `te: trailers` in each answer. */
static const char *check_response(const struct fields *f)
{
	bool regular = false, length = false;
	struct str status = {0};

	fields_each(e, f) {
		if (is_pseudo(e)) {
			if (e->token != FIELD_STATUS)
				return "a pseudo-header that no response has";
			if (regular)
				return "a pseudo-header behind a regular field";
			if (status.p)
				return ":status twice";
			status = field_value(e);
			continue;
		}
		regular = true;
		if (e->flags & FF_HOP)
			return "a connection-specific field";
		length |= e->token == FIELD_CONTENT_LENGTH;
	}
	if (!status_valid(status))
		return status.p ? ":status is no three digits" : ":status is missing";
	if (length) {
		int64_t n = fields_content_length(f);

		if (n == -2)
			return "content-length is malformed";
		/* RFC 9110 8.6 forbids it there. Zero is tolerated: it contradicts nothing, and servers do send it. */
		if (n > 0 && (status.p[0] == '1' || str_eq(status, STR("204"))))
			return "content-length in an answer without a body";
	}
	return NULL;
}

static const char *check_trailers(const struct fields *f)
{
	fields_each(e, f) {
		if (is_pseudo(e))
			return "a pseudo-header in trailers";
		if (e->flags & FF_HOP)
			return "a connection-specific field in trailers";
	}
	return NULL;
}

const char *fields_check(const struct fields *f, enum fields_kind kind)
{
	switch (kind) {
	case FIELDS_REQUEST:
		return check_request(f);
	case FIELDS_RESPONSE:
		return check_response(f);
	default:
		return check_trailers(f);
	}
}

/* ---- single fields -------------------------------------------------------------------------------------------------------- */

/* Digits only, and below 2^63: what is beyond cannot be a body. */
static int64_t length_parse(struct str s)
{
	uint64_t n = 0;

	if (s.n == 0)
		return -2;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

		if (digit > 9 || n > (uint64_t)(INT64_MAX - 9) / 10)
			return -2;
		n = n * 10 + digit;
	}
	return (int64_t)n;
}

/* A second one is refused even where both agree, and so is "5, 5": RFC 9110 8.6 leaves the choice, and what we would relay the next
 * one may refuse, or read differently. */
int64_t fields_content_length(const struct fields *f)
{
	const struct field *first = NULL;

	if (!fields_get(f, FIELD_CONTENT_LENGTH))
		return -1;
	fields_each(e, f) {
		if (e->token != FIELD_CONTENT_LENGTH)
			continue;
		if (first)
			return -2;
		first = e;
	}
	return first ? length_parse(field_value(first)) : -1;
}

bool fields_is_grpc(const struct fields *f)
{
	struct str type = fields_value(f, FIELD_CONTENT_TYPE);
	struct str grpc = STR("application/grpc");

	return type.n >= grpc.n && memcmp(type.p, grpc.p, grpc.n) == 0 && (type.n == grpc.n || type.p[grpc.n] == '+');
}
