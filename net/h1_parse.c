/* net/h1_parse: the grammar of HTTP/1.1 (see net/h1_parse.h). No objects of its own: pure functions over bytes, the caller's
 * list and the caller's small states. */
#include "net/h1_parse.h"
#include <errno.h>
#include "base/err.h"

/* ---- where a head ends ---------------------------------------------------------------------------------------------------- */

ptrdiff_t h1_head_end(struct h1_scan *scan, const char *p, size_t n)
{
	while (scan->seen < n) {
		const char *lf = memchr(p + scan->seen, '\n', n - scan->seen);
		size_t end;

		if (memchr(p + scan->seen, '\0', (lf ? (size_t)(lf - p) : n) - scan->seen))
			return -1;
		if (!lf) {
			scan->seen = n;
			return 0;
		}
		end = (size_t)(lf - p);
		if (end == scan->line || p[end - 1] != '\r')
			return -1;
		scan->seen = end + 1;
		if (end - 1 == scan->line) {
			/* RFC 9112 2.2: one empty line before a request is to be borne; old clients send it behind a body. */
			if (scan->started)
				return (ptrdiff_t)scan->seen;
			if (scan->line)
				return -1;
		} else {
			scan->started = true;
		}
		scan->line = scan->seen;
	}
	return 0;
}

/* ---- the request line ----------------------------------------------------------------------------------------------------- */

struct request_line {
	struct str method, scheme, authority, path;
	bool absolute;
};

/* http://host/path?query, as clients that believe in a proxy send it. "http://host?query" would need a slash made up: refused. */
static bool target_absolute(struct str target, struct request_line *r)
{
	ptrdiff_t colon = str_find(target, ':');
	size_t at;

	if (colon <= 0 || target.n < (size_t)colon + 3 || memcmp(target.p + colon, "://", 3) != 0)
		return false;
	r->scheme = str_cut(target, 0, (size_t)colon);
	for (at = (size_t)colon + 3; at < target.n && target.p[at] != '/' && target.p[at] != '?' && target.p[at] != '#'; at++)
		;
	r->authority = str_cut(target, (size_t)colon + 3, at);
	r->path = str_cut(target, at, target.n);
	if (r->path.n == 0)
		r->path = str_eq(r->method, STR("OPTIONS")) ? STR("*") : STR("/");
	r->absolute = true;
	return r->authority.n > 0 && r->path.p[0] != '?';
}

static int version_parse(struct str v, bool *ret_http10, const char **ret_why)
{
	if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[5] < '0' || v.p[5] > '9' || v.p[6] != '.' || v.p[7] < '0' || v.p[7] > '9') {
		*ret_why = "the request line is malformed";
		return 400;
	}
	if (v.p[5] != '1' || v.p[7] > '1') {
		*ret_why = "only HTTP/1.0, HTTP/1.1 and HTTP/2 with prior knowledge are spoken here";
		return 505;
	}
	*ret_http10 = v.p[7] == '0';
	return 0;
}

static int request_line_parse(struct str line, struct request_line *r, bool *ret_http10, const char **ret_why)
{
	ptrdiff_t first = str_find(line, ' '), last = str_rfind(line, ' ');
	struct str target;

	*ret_why = "the request line is malformed";
	if (first <= 0 || last <= first + 1)
		return 400;
	r->method = str_cut(line, 0, (size_t)first);
	target = str_cut(line, (size_t)first + 1, (size_t)last);
	/* fields_check judges method and path in full; here only what would make their ends unclear. */
	for (size_t i = 0; i < target.n; i++)
		if ((unsigned char)target.p[i] <= ' ' || target.p[i] == 0x7f)
			return 400;
	if (str_eq(r->method, STR("CONNECT"))) {
		*ret_why = "CONNECT is not offered";
		return 501;
	}
	if (target.p[0] == '/' || str_eq(target, STR("*"))) {
		r->scheme = STR("http");
		r->path = target;
	} else if (!target_absolute(target, r)) {
		return 400;
	}
	return version_parse(str_cut(line, (size_t)last + 1, line.n), ret_http10, ret_why);
}

/* ---- field lines ---------------------------------------------------------------------------------------------------------- */

/* Stricter than HTTP/2's values: a control byte in a text protocol is what "\x0bchunked" tricks are made of. */
static bool value_has_control(struct str v)
{
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* One field line without its CR LF. 0, 400, or 503 when the account refused. */
static int field_line_parse(char *line, size_t n, struct fields *out, const char **ret_why)
{
	char *colon = memchr(line, ':', n);
	struct str value;
	size_t name_len;

	if (line[0] == ' ' || line[0] == '\t') {
		*ret_why = "a folded field line";
		return 400;
	}
	if (!colon || colon == line) {
		*ret_why = "a field line without a name";
		return 400;
	}
	name_len = (size_t)(colon - line);
	str_lower(line, name_len);
	if (!field_name_valid(line, name_len)) {
		*ret_why = "a field name with a byte that no name has";
		return 400;
	}
	value = str_trim(str_n(colon + 1, n - name_len - 1));
	if (value_has_control(value)) {
		*ret_why = "a field value with a control byte";
		return 400;
	}
	if (fields_add(out, str_n(line, name_len), value) < 0) {
		*ret_why = "no memory for the request";
		return 503;
	}
	return 0;
}

/* The pseudo-headers count, as they do over HTTP/2. */
static int list_within(const struct fields *f, const struct limits *lim, const char **ret_why)
{
	if (f->size > lim->header_bytes)
		*ret_why = "more bytes of header fields than limits.header_bytes allows";
	else if (f->count > lim->field_count)
		*ret_why = "more header fields than limits.field_count allows";
	else
		return 0;
	return 431;
}

static int field_lines_parse(char *p, char *end, const struct limits *lim, struct fields *out, const char **ret_why)
{
	while (p < end) {
		char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)(lf - p) - 1; /* h1_head_end has seen CR LF at each end */
		int r;

		if (n == 0)
			return 0;
		r = field_line_parse(p, n, out, ret_why);
		if (r)
			return r;
		r = list_within(out, lim, ret_why);
		if (r)
			return r;
		p = lf + 1;
	}
	return 0;
}

/* ---- lists ---------------------------------------------------------------------------------------------------------------- */

/* The next member of a comma list, trimmed; empty members are skipped. False: no more. */
static bool list_next(struct str *rest, struct str *ret)
{
	while (rest->n) {
		ptrdiff_t comma = str_find(*rest, ',');
		size_t end = comma < 0 ? rest->n : (size_t)comma;

		*ret = str_trim(str_cut(*rest, 0, end));
		*rest = str_cut(*rest, comma < 0 ? end : end + 1, rest->n);
		if (ret->n)
			return true;
	}
	return false;
}

static struct str field_value(const struct field *e)
{
	return str_n(e->value, e->value_len);
}

static bool field_lists(const struct fields *f, enum field_token t, struct str member)
{
	fields_each(e, f) {
		struct str rest = field_value(e), one;

		if (e->token != t)
			continue;
		while (list_next(&rest, &one))
			if (str_eq_nocase(one, member))
				return true;
	}
	return false;
}

static unsigned field_times(const struct fields *f, enum field_token t)
{
	unsigned n = 0;

	fields_each(e, f)
		n += e->token == t;
	return n;
}

/* ---- what the fields say about the message -------------------------------------------------------------------------------- */

static int framing_find(const struct fields *f, struct h1_head *h, const char **ret_why)
{
	unsigned codings = field_times(f, FIELD_TRANSFER_ENCODING);
	int64_t length = fields_content_length(f);

	if (codings) {
		/* RFC 9112 6.1 and 6.3: each of these is how requests are smuggled. */
		if (length != -1)
			*ret_why = "both content-length and transfer-encoding";
		else if (h->http10)
			*ret_why = "transfer-encoding in HTTP/1.0";
		else if (codings > 1 || !str_eq_nocase(fields_value(f, FIELD_TRANSFER_ENCODING), STR("chunked")))
			*ret_why = "a transfer-encoding other than chunked";
		else {
			h->body = H1_BODY_CHUNKED;
			return 0;
		}
		return 400;
	}
	if (length == -2) {
		*ret_why = "content-length is malformed";
		return 400;
	}
	h->body = length > 0 ? H1_BODY_LENGTH : H1_BODY_NONE;
	h->length = length > 0 ? (uint64_t)length : 0;
	return 0;
}

/* Exactly one in HTTP/1.1 (RFC 9112 3.2). It becomes :authority. */
static int host_find(struct fields *f, const struct request_line *r, bool http10, const char **ret_why)
{
	unsigned hosts = field_times(f, FIELD_HOST);
	struct str host = fields_value(f, FIELD_HOST);

	if (hosts > 1 || (hosts == 0 && !http10)) {
		*ret_why = hosts ? "host twice" : "host is missing";
		return 400;
	}
	/* The RFC would let the target win; who sends two different ones means to be read differently by two readers. */
	if (hosts && r->absolute && !str_eq_nocase(host, r->authority)) {
		*ret_why = "the request's target and host differ";
		return 400;
	}
	if (hosts && !r->absolute && fields_set(f, FIELD_AUTHORITY, host) < 0) {
		*ret_why = "no memory for the request";
		return 503;
	}
	if (!hosts && !r->absolute)
		fields_del(f, FIELD_AUTHORITY);
	fields_del(f, FIELD_HOST);
	return 0;
}

/* What `connection` names goes with it, hop by hop (RFC 9110 7.6.1). That it could name what the request stands on is a known way to
 * take a field away from those behind us. */
static int hop_fields_take(struct fields *f, const char **ret_why)
{
	fields_each(c, f) {
		struct str rest = field_value(c), one;

		if (c->token != FIELD_CONNECTION)
			continue;
		while (list_next(&rest, &one)) {
			fields_each(e, f) {
				if (!str_eq_nocase(one, str_n(e->name, e->name_len)) || e->flags & FF_HOP)
					continue;
				if (e->name[0] == ':' || e->token == FIELD_HOST || e->token == FIELD_CONTENT_LENGTH) {
					*ret_why = "connection names a field that is not its own";
					return 400;
				}
				fields_del_field(f, e);
			}
		}
	}
	fields_each(e, f)
		if (e->flags & FF_HOP)
			fields_del_field(f, e);
	return 0;
}

static int connection_find(struct fields *f, struct h1_head *h, const char **ret_why)
{
	bool te = field_lists(f, FIELD_TE, STR("trailers"));
	unsigned expects = field_times(f, FIELD_EXPECT);
	int r;

	h->keep_alive = !h->http10 && !field_lists(f, FIELD_CONNECTION, STR("close"));
	h->wants_trailers = te && !h->http10;
	if (field_times(f, FIELD_UPGRADE)) {
		/* `curl --http2` and Java's HttpClient offer h2c with every request and are content with an answer in HTTP/1.1 (RFC 9110 7.8). The
		 * connection ends with it: who sends HTTP/2 right behind all the same is not read, so no two readers differ. Who offers anything
		 * else (a WebSocket) can do nothing with such an answer, and is told so. */
		if (field_times(f, FIELD_UPGRADE) > 1 || !str_eq_nocase(fields_value(f, FIELD_UPGRADE), STR("h2c"))) {
			*ret_why = "upgrade is not offered; HTTP/2 is spoken with prior knowledge";
			return 501;
		}
		h->keep_alive = false;
	}
	if (expects && (expects > 1 || !str_eq_nocase(fields_value(f, FIELD_EXPECT), STR("100-continue")))) {
		*ret_why = "an expectation that cannot be met";
		return 417;
	}
	h->expects_continue = expects && !h->http10;
	fields_del(f, FIELD_EXPECT);
	fields_del(f, FIELD_TE);
	r = hop_fields_take(f, ret_why);
	if (r)
		return r;
	if (te && fields_add_token(f, FIELD_TE, STR("trailers")) < 0) {
		*ret_why = "no memory for the request";
		return 503;
	}
	return 0;
}

int h1_head_parse(char *p, size_t n, const struct limits *lim, struct fields *out, struct h1_head *ret, const char **ret_why)
{
	struct request_line line = {0};
	struct h1_head h = {0};
	char *end = p + n, *lf;
	const char *wrong;
	int r;

	if (n >= 2 && p[0] == '\r')
		p += 2; /* the one empty line that h1_head_end lets through */
	lf = memchr(p, '\n', (size_t)(end - p));
	if (!lf || lf == p) {
		*ret_why = "the request line is malformed";
		return 400;
	}
	r = request_line_parse(str_n(p, (size_t)(lf - p) - 1), &line, &h.http10, ret_why);
	if (r)
		return r;
	if (fields_add_token(out, FIELD_METHOD, line.method) < 0 || fields_add_token(out, FIELD_SCHEME, line.scheme) < 0 ||
		fields_add_token(out, FIELD_AUTHORITY, line.authority) < 0 || fields_add_token(out, FIELD_PATH, line.path) < 0) {
		*ret_why = "no memory for the request";
		return 503;
	}
	h.is_head = str_eq(line.method, STR("HEAD"));
	if ((r = list_within(out, lim, ret_why)) || (r = field_lines_parse(lf + 1, end, lim, out, ret_why)) || (r = framing_find(out, &h, ret_why)) ||
		(r = host_find(out, &line, h.http10, ret_why)) || (r = connection_find(out, &h, ret_why)))
		return r;
	wrong = fields_check(out, FIELDS_REQUEST);
	if (wrong) {
		*ret_why = wrong;
		return 400;
	}
	*ret = h;
	return 0;
}

/* ---- answers -------------------------------------------------------------------------------------------------------------- */

/* "HTTP/1.1 200 OK"; the reason may be empty, and the blank before it missing (RFC 9112 4 wants it; old servers do without). */
static const char *status_line_parse(struct str line, struct str *ret_status, bool *ret_http10)
{
	const char *why;

	if (line.n < 12 || version_parse(str_cut(line, 0, 8), ret_http10, &why) || line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' '))
		return "the status line is malformed";
	*ret_status = str_cut(line, 9, 12);
	return value_has_control(str_cut(line, 12, line.n)) ? "the status line has a control byte" : NULL;
}

/* RFC 9112 6.3. *h has the framing that the fields tell. */
static void answer_framing(struct str status, const struct fields *f, bool to_head, struct h1_head *h)
{
	if (to_head || status.p[0] == '1' || str_is(status, "204") || str_is(status, "304"))
		h->body = H1_BODY_NONE;
	else if (h->body == H1_BODY_NONE && fields_content_length(f) != 0)
		h->body = H1_BODY_CLOSE;
	if (h->body != H1_BODY_LENGTH)
		h->length = 0;
}

int h1_answer_parse(char *p, size_t n, const struct limits *lim, bool to_head, struct fields *out, struct h1_head *ret, const char **ret_why)
{
	struct h1_head h = {.is_head = to_head};
	char *end = p + n, *lf = memchr(p, '\n', n);
	struct str status = {0};
	const char *wrong;
	int r;

	if (!lf || lf == p || p[0] == '\r') /* the empty line that requests may have in front is none of an answer's */
		wrong = "the status line is malformed";
	else
		wrong = status_line_parse(str_n(p, (size_t)(lf - p) - 1), &status, &h.http10);
	if (wrong) {
		*ret_why = wrong;
		return -EBADMSG;
	}
	r = fields_add_token(out, FIELD_STATUS, status);
	if (r < 0)
		r = 503;
	else if (!(r = field_lines_parse(lf + 1, end, lim, out, ret_why)) && !(r = framing_find(out, &h, ret_why))) {
		h.keep_alive = !h.http10 && !field_lists(out, FIELD_CONNECTION, STR("close"));
		r = hop_fields_take(out, ret_why);
	}
	if (r == 503)
		*ret_why = "no memory for the answer";
	if (r)
		return r == 503 ? -ENOMEM : r == 431 ? ERR_LIMIT : -EBADMSG;
	wrong = fields_check(out, FIELDS_RESPONSE);
	if (wrong) {
		*ret_why = wrong;
		return -EBADMSG;
	}
	answer_framing(fields_value(out, FIELD_STATUS), out, to_head, &h);
	*ret = h;
	return 0;
}

/* ---- chunked bodies ------------------------------------------------------------------------------------------------------- */

enum {
	CHUNK_SIZE,       /* hexadecimal digits */
	CHUNK_EXT,        /* behind ';' */
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_LINE,     /* at the beginning of a line */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	TRAILER_LAST_LF,
	CHUNK_DONE,
	CHUNK_BAD
};

static int hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t chunk_size_byte(struct h1_chunked *c, unsigned char b)
{
	int digit = hex_digit(b);

	if (digit >= 0) {
		/* 15 digits are a body of 2^60 bytes: nothing can overflow, and no honest sender pads with more zeroes. */
		if (++c->digits > 15)
			return CHUNK_BAD;
		c->left = c->left << 4 | (unsigned)digit;
		return CHUNK_SIZE;
	}
	if (c->digits == 0)
		return CHUNK_BAD;
	return b == ';' ? CHUNK_EXT : b == '\r' ? CHUNK_SIZE_LF : CHUNK_BAD;
}

static bool text_byte(unsigned char b)
{
	return (b >= ' ' && b != 0x7f) || b == '\t';
}

/* Everything but the data itself, byte by byte. */
static uint8_t framing_byte(struct h1_chunked *c, unsigned char b)
{
	char lower = (char)(b >= 'A' && b <= 'Z' ? b | 0x20 : b);

	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size_byte(c, b);
	case CHUNK_EXT:
		return b == '\r' ? CHUNK_SIZE_LF : text_byte(b) ? CHUNK_EXT : CHUNK_BAD;
	case CHUNK_SIZE_LF:
		c->digits = 0;
		return b != '\n' ? CHUNK_BAD : c->left ? CHUNK_DATA : TRAILER_LINE;
	case CHUNK_DATA_CR:
		return b == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
	case CHUNK_DATA_LF:
		return b == '\n' ? CHUNK_SIZE : CHUNK_BAD;
	case TRAILER_LINE:
		return b == '\r' ? TRAILER_LAST_LF : b != ':' && field_name_valid(&lower, 1) ? TRAILER_NAME : CHUNK_BAD;
	case TRAILER_NAME:
		return b == ':' ? TRAILER_VALUE : field_name_valid(&lower, 1) ? TRAILER_NAME : CHUNK_BAD;
	case TRAILER_VALUE:
		return b == '\r' ? TRAILER_LF : text_byte(b) ? TRAILER_VALUE : CHUNK_BAD;
	case TRAILER_LF:
		return b == '\n' ? TRAILER_LINE : CHUNK_BAD;
	case TRAILER_LAST_LF:
		return b == '\n' ? CHUNK_DONE : CHUNK_BAD;
	default:
		return CHUNK_BAD;
	}
}

enum h1_step h1_chunked_step(struct h1_chunked *c, const char *p, size_t n, size_t *ret_used, struct str *ret_data)
{
	size_t i = 0;

	while (i < n && c->state < CHUNK_DONE) {
		if (c->state == CHUNK_DATA) {
			size_t now = c->left < n - i ? (size_t)c->left : n - i;

			*ret_data = str_n(p + i, now);
			*ret_used = i + now;
			c->left -= now;
			if (c->left == 0)
				c->state = CHUNK_DATA_CR;
			return H1_STEP_DATA;
		}
		c->state = framing_byte(c, (unsigned char)p[i++]);
		if ((c->state == CHUNK_EXT || (c->state >= TRAILER_NAME && c->state <= TRAILER_LF)) && ++c->overhead > H1_OVERHEAD_MAX)
			c->state = CHUNK_BAD;
	}
	*ret_used = i;
	return c->state == CHUNK_DONE ? H1_STEP_END : c->state == CHUNK_BAD ? H1_STEP_BAD : H1_STEP_MORE;
}
