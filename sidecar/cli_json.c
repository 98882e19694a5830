/* sidecar/cli_json: see cli_json.h. RFC 8259, except that bytes of strings are not checked to be UTF-8: who prints them makes them printable. */
#include "sidecar/cli_json.h"

static char peek(struct json *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
	return r->p < r->end && !r->bad ? *r->p : '\0';
}

static bool take(struct json *r, char c)
{
	if (peek(r) == c && c) {
		r->p++;
		return true;
	}
	r->bad = true;
	return false;
}

void json_open(struct json *r, char bracket)
{
	take(r, bracket);
	r->first = true;
}

/* Before the next member of what closes with `close`: its comma, if it needs one. */
static bool more(struct json *r, char close)
{
	bool first = r->first;

	r->first = false;
	if (peek(r) == close) {
		r->p++;
		return false;
	}
	return first ? !r->bad : take(r, ',');
}

bool json_item(struct json *r)
{
	return more(r, ']');
}

static unsigned hex4(struct json *r)
{
	unsigned v = 0;

	for (int i = 0; i < 4; i++) {
		char c = r->p < r->end ? *r->p++ : '\0';
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0')
			: c >= 'a' && c <= 'f'        ? (unsigned)(c - 'a') + 10
			: c >= 'A' && c <= 'F'        ? (unsigned)(c - 'A') + 10
						      : 16;
		if (digit == 16)
			r->bad = true;
		v = v << 4 | (digit & 15);
	}
	return v;
}

static void put_utf8(struct sb *out, unsigned c)
{
	if (c < 0x80) {
		sb_char(out, (char)c);
	} else if (c < 0x800) {
		sb_char(out, (char)(0xc0 | c >> 6));
		sb_char(out, (char)(0x80 | (c & 63)));
	} else if (c < 0x10000) {
		sb_char(out, (char)(0xe0 | c >> 12));
		sb_char(out, (char)(0x80 | (c >> 6 & 63)));
		sb_char(out, (char)(0x80 | (c & 63)));
	} else {
		sb_char(out, (char)(0xf0 | c >> 18));
		sb_char(out, (char)(0x80 | (c >> 12 & 63)));
		sb_char(out, (char)(0x80 | (c >> 6 & 63)));
		sb_char(out, (char)(0x80 | (c & 63)));
	}
}

/* \uXXXX, and the pairs that stand for what lies beyond; half a pair is U+FFFD. */
static void escape_u(struct json *r, struct sb *out)
{
	unsigned c = hex4(r);

	if (c >= 0xd800 && c < 0xdc00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u') {
		const char *back = r->p;
		r->p += 2;
		unsigned low = hex4(r);
		if (low >= 0xdc00 && low < 0xe000)
			c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
		else
			r->p = back;
	}
	put_utf8(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
}

static void string(struct json *r, struct sb *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

	if (!take(r, '"'))
		return;
	while (r->p < r->end && !r->bad) {
		unsigned char c = (unsigned char)*r->p++;
		if (c == '"')
			return;
		if (c < 0x20)
			break;
		if (c != '\\') {
			sb_char(out, (char)c);
			continue;
		}
		char e = r->p < r->end ? *r->p++ : '\0';
		const char *at = e ? strchr(from, e) : NULL;
		if (at)
			sb_char(out, to[at - from]);
		else if (e == 'u')
			escape_u(r, out);
		else
			break;
	}
	r->bad = true;
}

/* A number or a name: up to what may follow a value. */
static struct str word(struct json *r)
{
	peek(r);
	const char *from = r->p;
	while (r->p < r->end && !strchr(" \n\t\r,]}:\"[{", *r->p))
		r->p++;
	if (r->p == from)
		r->bad = true;
	return str_n(from, (size_t)(r->p - from));
}

bool json_key(struct json *r, struct sb *ret_key)
{
	ret_key->n = 0;
	if (!more(r, '}'))
		return false;
	string(r, ret_key);
	return take(r, ':');
}

void json_text(struct json *r, struct sb *ret)
{
	ret->n = 0;
	if (peek(r) == '"') {
		string(r, ret);
		return;
	}
	struct str s = word(r);
	if (!r->bad && !str_is(s, "null"))
		sb_add(ret, s.p, s.n);
}

uint64_t json_u64(struct json *r)
{
	uint64_t v = 0;

	if (!str_u64(word(r), &v))
		r->bad = true;
	return r->bad ? 0 : v;
}

bool json_bool(struct json *r)
{
	struct str s = word(r);

	if (!str_is(s, "true") && !str_is(s, "false"))
		r->bad = true;
	return !r->bad && str_is(s, "true");
}

/* Only brackets are counted: whether what lies between them is well-formed is nobody's business who does not read it. */
void json_skip(struct json *r)
{
	struct sb unread = {0};
	size_t depth = 0;

	do {
		char c = peek(r);
		unread.n = 0;
		if (c == '{' || c == '[') {
			depth++;
			r->p++;
		} else if (depth && (c == '}' || c == ']')) {
			depth--;
			r->p++;
		} else if (c == '"') {
			string(r, &unread);
		} else if (depth && (c == ',' || c == ':')) {
			r->p++;
		} else {
			word(r);
		}
	} while (depth && !r->bad);
	sb_end(&unread);
}
