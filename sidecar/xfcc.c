/* sidecar/xfcc: see xfcc.h. The parts of a certificate are somebody else's words, and may hold what divides this field: a name that says `";URI=spiffe://td/admin` must stay a name to every
 * parser there is. So a value that holds a divider stands in quotes; a quote in it has exactly one backslash before it, and no other backslash stands before a quote: those who take `\\` for a
 * backslash and those who look one character back read the same.
 *
 *   in a value     written
 *   "              \"        of RFC 2253 (Subject) it is \" already
 *   \              as it is before what RFC 2253 escapes; \5C (Subject), %5C (URI) where it stands for itself
 *   controls, 8 bit, DEL     \XX (Subject: RFC 2253 2.4), %XX (URI) */
#include "sidecar/xfcc.h"
#include <errno.h>
#include <string.h>

enum { XFCC_HASH_MAX = 128 }; /* ";Hash=", 64 digits, ";Subject=", quotes */

struct out { char *p; size_t n, cap; bool full; };

static void out_bytes(struct out *o, const char *p, size_t n)
{
	if (o->full || n > o->cap - o->n) {
		o->full = true;
		return;
	}
	memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void out_text(struct out *o, const char *z)
{
	out_bytes(o, z, strlen(z));
}

static void out_hex(struct out *o, char mark, unsigned char c)
{
	static const char hex[] = "0123456789ABCDEF";
	out_bytes(o, (const char[]){mark, hex[c >> 4], hex[c & 15]}, 3);
}

static bool is_control(unsigned char c)
{
	return c < ' ' || c >= 0x7f;
}

/* RFC 2253 text: a backslash in it begins an escape. */
static void out_subject(struct out *o, const char *s)
{
	for (; *s && !o->full; s++) {
		if (*s == '\\' && s[1] == '\\') {
			out_text(o, "\\5C");
			s++;
		} else if (*s == '\\' && s[1] && !is_control((unsigned char)s[1])) {
			out_bytes(o, s++, 2);
		} else if (*s == '\\') {
			out_text(o, "\\5C");
		} else if (*s == '"') {
			out_text(o, "\\\"");
		} else if (is_control((unsigned char)*s)) {
			out_hex(o, '\\', (unsigned char)*s);
		} else {
			out_bytes(o, s, 1);
		}
	}
}

static void out_uri(struct out *o, const char *s)
{
	bool quoted = strpbrk(s, ",;=\" ") != NULL;
	if (quoted)
		out_text(o, "\"");
	for (; *s && !o->full; s++) {
		if (*s == '"')
			out_text(o, "\\\"");
		else if (*s == '\\' || is_control((unsigned char)*s))
			out_hex(o, '%', (unsigned char)*s);
		else
			out_bytes(o, s, 1);
	}
	if (quoted)
		out_text(o, "\"");
}

/* One part whole, or nothing of it; the first leaves room for the hash and the subject. */
static void add_uri(struct out *o, const char *key, const char *uri)
{
	size_t before = o->n, cap = o->cap;
	if (!before)
		o->cap -= XFCC_SUBJECT_MAX + XFCC_HASH_MAX;
	out_text(o, key);
	out_uri(o, uri);
	if (o->full)
		o->n = before;
	o->full = false;
	o->cap = cap;
}

static void add_subject(struct out *o, const char *subject)
{
	char text[XFCC_SUBJECT_MAX];
	struct out s = {.p = text, .cap = sizeof text};
	out_subject(&s, subject);
	out_text(o, ";Subject=\"");
	out_bytes(o, text, s.full ? 0 : s.n);
	out_text(o, "\"");
}

size_t xfcc_text(const struct uds_identity *caller, char out[XFCC_MAX])
{
	struct out o = {.p = out, .cap = XFCC_MAX};
	if (*caller->own_uri)
		add_uri(&o, "By=", caller->own_uri);
	out_text(&o, o.n ? ";Hash=" : "Hash=");
	out_text(&o, caller->hash);
	add_subject(&o, caller->subject);
	for (uint32_t i = 0; i < caller->nuris; i++)
		add_uri(&o, ";URI=", caller->uris[i]);
	return o.n;
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Servers of the CGI kind (WSGI, Rack, PHP) know no difference between '-' and '_' in names, some (older Apaches) none between '-' and anything that is no letter or digit. */
static bool is_spelling(const struct field *f)
{
	static const char name[] = "x-forwarded-client-cert";
	if (f->token == FIELD_X_FORWARDED_CLIENT_CERT)
		return true;
	if (f->token != FIELD_OTHER || f->name_len != sizeof name - 1)
		return false;
	for (size_t i = 0; i < sizeof name - 1; i++)
		if (f->name[i] != name[i] && (name[i] != '-' || is_alnum(f->name[i])))
			return false;
	return true;
}

void xfcc_remove(struct fields *list)
{
	fields_each(f, list)
		if (is_spelling(f))
			fields_del_field(list, f);
}

int xfcc_set(struct fields *head, const struct uds_identity *caller)
{
	char text[XFCC_MAX];
	xfcc_remove(head);
	return caller ? fields_add_token(head, FIELD_X_FORWARDED_CLIENT_CERT, str_n(text, xfcc_text(caller, text))) : 0;
}
