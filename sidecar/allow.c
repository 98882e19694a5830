/* sidecar/allow: see allow.h. Paths are compared as they came, since that is how the app gets them: nothing is decoded or tidied up here. What a server could take for another path than
 * its letters say is refused instead, wherever a rule about paths exists at all: allowed would be what the prefix says, served what the server makes of it. */
#include "sidecar/allow.h"
#include <string.h>

static bool text_fits(const char *rule, struct str text)
{
	size_t n = strlen(rule);
	if (n && rule[n - 1] == '*')
		return text.n >= n - 1 && memcmp(text.p, rule, n - 1) == 0;
	return text.n == n && memcmp(text.p, rule, n) == 0;
}

static bool caller_fits(const struct conf_allow_peer *e, const struct uds_identity *caller)
{
	if (!e->nids)
		return true;
	if (!caller)
		return false;
	for (uint32_t i = 0; i < e->nids; i++) {
		if (strcmp(e->ids[i], "*") == 0) /* a certificate without a URI is one, too */
			return true;
		for (uint32_t k = 0; k < caller->nuris; k++)
			if (text_fits(e->ids[i], str_of(caller->uris[k])))
				return true;
	}
	return false;
}

static bool path_fits(const struct conf_allow_peer *e, struct str path)
{
	for (uint32_t i = 0; i < e->npaths; i++)
		if (text_fits(e->paths[i], path))
			return true;
	return e->npaths == 0;
}

static bool lists_name_paths(const struct conf_allow_peer *lists, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (lists[i].npaths)
			return true;
	return false;
}

static unsigned hex_of(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a' + 10) : 16;
}

/* What divides or climbs once it is decoded: a slash, a backslash, a dot, a NUL that ends the text, a percent sign that begins it all again, a semicolon that begins what is no part of a name, and what
 * overlong slashes and dots of UTF-8 begin with (C0, C1; E0 80, F0 80). An encoded letter is only another spelling, which no rule fits. */
static bool encodes_structure(const char *p, const char *end)
{
	static const unsigned char meant[] = {'/', '\\', '.', '%', ';', '\0', 0xc0, 0xc1};
	unsigned hi = p + 2 < end ? hex_of(p[1]) : 16, lo = p + 2 < end ? hex_of(p[2]) : 16;
	if (hi > 15 || lo > 15)
		return true; /* no escape at all: who knows what a server makes of it */
	if ((hi << 4 | lo) == 0xe0)
		return p + 5 < end && p[3] == '%' && hex_of(p[4]) < 0xa; /* three bytes for what needs two */
	if ((hi << 4 | lo) == 0xf0)
		return p + 5 < end && p[3] == '%' && hex_of(p[4]) < 9;
	return memchr(meant, (int)(hi << 4 | lo), sizeof meant) != NULL;
}

/* One segment, without its slashes. ";x=1" behind the dots is a parameter to Java's servers, which then climb all the same. */
static bool segment_is_plain(const char *p, const char *end)
{
	const char *name_end = memchr(p, ';', (size_t)(end - p));
	size_t n = (size_t)((name_end ? name_end : end) - p);
	return !(n == 1 && p[0] == '.') && !(n == 2 && p[0] == '.' && p[1] == '.');
}

/* The last segment may be empty ("/pkg.Service/"), no other may. */
static bool path_is_plain(struct str path)
{
	if (!path.n || path.p[0] != '/')
		return false;
	const char *end = path.p + path.n, *segment = path.p + 1;
	for (const char *p = segment; p <= end; p++) {
		/* Bytes that no path has (RFC 3986 3.3) may be cut out, or decoded, by whoever meets them. */
		if (p == end || *p == '/') {
			if (p < end && p == segment)
				return false;
			if (!segment_is_plain(segment, p))
				return false;
			segment = p + 1;
		} else if (*p == '\\' || *p == '#' || *p <= ' ' || *p >= 0x7f || (*p == '%' && encodes_structure(p, end))) {
			return false;
		}
	}
	return true;
}

enum allow_answer allow_ask(const struct conf_allow_peer *lists, uint32_t count, const struct uds_identity *caller, struct str path)
{
	if (!count)
		return ALLOW_YES;
	ptrdiff_t query = str_find(path, '?');
	if (query >= 0)
		path = str_cut(path, 0, (size_t)query);
	if (lists_name_paths(lists, count) && !path_is_plain(path))
		return ALLOW_UNSAFE;
	for (uint32_t i = 0; i < count; i++)
		if (caller_fits(&lists[i], caller) && path_fits(&lists[i], path))
			return ALLOW_YES;
	return ALLOW_NO;
}
