/* base/addr: text and sockaddr, both ways. Nothing here resolves a name or touches a socket.
 *
 * Packed form: one byte of kind, then for IP the port (network order) and the address (an IPv6 scope only where there is one),
 * for Unix the length and the bytes of the path (an abstract one with its leading NUL). */
#include "base/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

enum { PACK_V4 = 4, PACK_V6 = 6, PACK_V6_SCOPE = 7, PACK_UNIX = 1 };
enum { UN_HEAD = offsetof(struct sockaddr_un, sun_path), UN_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) };
_Static_assert(1 + 1 + (int)UN_MAX <= ADDR_PACKED, "a Unix path must fit the packed form");

/* ---- from text ---- */

static bool port_parse(struct str s, uint16_t *ret)
{
	uint64_t v;
	if (s.n > 5 || !str_u64(s, &v) || v > 65535)
		return false;
	*ret = (uint16_t)v;
	return true;
}

static bool without_brackets(struct str s, struct str *ret)
{
	bool has = s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';
	*ret = has ? str_cut(s, 1, s.n - 1) : s;
	return has;
}

/* AF_INET, AF_INET6 or 0. inet_pton is strict: no leading zeros, no scope, no short forms of IPv4. */
static int ip_parse(struct str ip, void *out, bool only_v6)
{
	char z[INET6_ADDRSTRLEN];
	if (ip.n == 0 || ip.n >= sizeof(z) || memchr(ip.p, '\0', ip.n))
		return 0;
	memcpy(z, ip.p, ip.n);
	z[ip.n] = '\0';
	if (!only_v6 && inet_pton(AF_INET, z, out) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, z, out) == 1 ? AF_INET6 : 0;
}

int addr_ip(struct str ip, uint16_t port, struct addr *ret)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	struct str bare;
	bool brackets = without_brackets(ip, &bare);
	int family = ip_parse(bare, bytes, brackets);
	if (!family)
		return -EINVAL;
	*ret = (struct addr){0};
	if (family == AF_INET) {
		ret->in4.sin_family = AF_INET;
		ret->in4.sin_port = htons(port);
		memcpy(&ret->in4.sin_addr, bytes, sizeof(ret->in4.sin_addr));
		ret->len = sizeof(ret->in4);
	} else {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = htons(port);
		memcpy(&ret->in6.sin6_addr, bytes, sizeof(ret->in6.sin6_addr));
		ret->len = sizeof(ret->in6);
	}
	return 0;
}

int addr_unix(struct str path, struct addr *ret)
{
	/* Absolute only: what a relative one means depends on who runs where. "@" alone would make the kernel choose a name. */
	bool abstract = path.n && path.p[0] == '@';
	if (path.n == 0 || (!abstract && path.p[0] != '/') || (abstract && path.n == 1) || memchr(path.p, '\0', path.n))
		return -EINVAL;
	size_t room = abstract ? UN_MAX : UN_MAX - 1; /* a path keeps its NUL, as some systems and tools rely on it */
	if (path.n > room)
		return -ENAMETOOLONG;
	*ret = (struct addr){0};
	ret->un.sun_family = AF_UNIX;
	memcpy(ret->un.sun_path, path.p, path.n);
	if (abstract)
		ret->un.sun_path[0] = '\0';
	ret->len = (socklen_t)(UN_HEAD + path.n + (abstract ? 0 : 1));
	return 0;
}

int addr_split(struct str s, struct str *ret_host, int *ret_port)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	struct str host = s, after = {0};
	uint16_t port = 0;
	bool has_port;
	if (s.n && s.p[0] == '[') {
		ptrdiff_t end = str_find(s, ']');
		if (end < 0)
			return -EINVAL;
		host = str_cut(s, 1, (size_t)end);
		if (ip_parse(host, bytes, true) != AF_INET6)
			return -EINVAL;
		after = str_cut(s, (size_t)end + 1, s.n);
		has_port = after.n > 0;
		if (has_port && after.p[0] != ':')
			return -EINVAL;
	} else {
		ptrdiff_t colon = str_find(s, ':');
		has_port = colon >= 0;
		if (has_port && str_rfind(s, ':') != colon) { /* more than one: an IPv6 address without its brackets, or nonsense */
			if (ip_parse(s, bytes, true) != AF_INET6)
				return -EINVAL;
			has_port = false;
		} else if (has_port) {
			host = str_cut(s, 0, (size_t)colon);
			after = str_cut(s, (size_t)colon, s.n);
		}
		if (str_find(host, '[') >= 0 || str_find(host, ']') >= 0)
			return -EINVAL;
	}
	if (has_port && !port_parse(str_cut(after, 1, after.n), &port))
		return -EINVAL;
	*ret_host = host;
	*ret_port = has_port ? port : -1;
	return 0;
}

int addr_parse(struct str text, struct addr *ret)
{
	if (str_starts(text, STR("unix:")))
		return addr_unix(str_cut(text, 5, text.n), ret);
	struct str host;
	int port;
	if (addr_split(text, &host, &port) < 0 || port < 0)
		return -EINVAL;
	return addr_ip(host, (uint16_t)port, ret);
}

bool addr_is_ip(struct str host)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	struct str bare;
	bool brackets = without_brackets(host, &bare);
	return ip_parse(bare, bytes, brackets) != 0;
}

/* ---- to text ---- */

const char *addr_text(const struct addr *a, char out[ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";
	if (a->len == 0) {
		snprintf(out, ADDR_TEXT, "none");
	} else if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in4.sin_addr, ip, sizeof(ip));
		snprintf(out, ADDR_TEXT, "%s:%u", ip, ntohs(a->in4.sin_port));
	} else if (a->sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof(ip));
		if (a->in6.sin6_scope_id)
			snprintf(out, ADDR_TEXT, "[%s%%%u]:%u", ip, a->in6.sin6_scope_id, ntohs(a->in6.sin6_port));
		else
			snprintf(out, ADDR_TEXT, "[%s]:%u", ip, ntohs(a->in6.sin6_port));
	} else if (a->sa.sa_family == AF_UNIX) {
		/* What accept() tells of a peer may be any bytes of an abstract name, or none at all. */
		size_t n = a->len > UN_HEAD ? a->len - UN_HEAD : 0, at;
		if (n > UN_MAX)
			n = UN_MAX;
		bool abstract = n && a->un.sun_path[0] == '\0';
		if (!abstract)
			n = strnlen(a->un.sun_path, n);
		at = (size_t)snprintf(out, ADDR_TEXT, "unix:");
		for (size_t i = 0; i < n; i++) {
			unsigned char c = (unsigned char)a->un.sun_path[i];
			out[at++] = c == 0 ? '@' : c < 0x20 || c == 0x7f ? '?' : (char)c;
		}
		out[at] = '\0';
	} else {
		snprintf(out, ADDR_TEXT, "family %d", a->sa.sa_family);
	}
	return out;
}

/* ---- comparing and keeping ---- */

size_t addr_pack(const struct addr *a, uint8_t out[ADDR_PACKED])
{
	if (a->len == 0)
		return 0;
	if (a->sa.sa_family == AF_INET) {
		out[0] = PACK_V4;
		memcpy(out + 1, &a->in4.sin_port, 2);
		memcpy(out + 3, &a->in4.sin_addr, 4);
		return 7;
	}
	if (a->sa.sa_family == AF_INET6) {
		out[0] = a->in6.sin6_scope_id ? PACK_V6_SCOPE : PACK_V6;
		memcpy(out + 1, &a->in6.sin6_port, 2);
		memcpy(out + 3, &a->in6.sin6_addr, 16);
		if (!a->in6.sin6_scope_id)
			return 19;
		memcpy(out + 19, &a->in6.sin6_scope_id, 4);
		return 23;
	}
	if (a->sa.sa_family != AF_UNIX)
		return 0;
	size_t n = a->len > UN_HEAD ? a->len - UN_HEAD : 0;
	if (n > UN_MAX)
		n = UN_MAX;
	if (n && a->un.sun_path[0] != '\0') /* the kernel counts the NUL of a path, callers may not */
		n = strnlen(a->un.sun_path, n);
	out[0] = PACK_UNIX;
	out[1] = (uint8_t)n;
	memcpy(out + 2, a->un.sun_path, n);
	return 2 + n;
}

int addr_unpack(const uint8_t *packed, size_t n, struct addr *ret)
{
	struct addr a = {0};
	if (n >= 7 && packed[0] == PACK_V4) {
		a.in4.sin_family = AF_INET;
		memcpy(&a.in4.sin_port, packed + 1, 2);
		memcpy(&a.in4.sin_addr, packed + 3, 4);
		a.len = sizeof(a.in4);
		*ret = a;
		return 7;
	}
	if ((n >= 19 && packed[0] == PACK_V6) || (n >= 23 && packed[0] == PACK_V6_SCOPE)) {
		a.in6.sin6_family = AF_INET6;
		memcpy(&a.in6.sin6_port, packed + 1, 2);
		memcpy(&a.in6.sin6_addr, packed + 3, 16);
		if (packed[0] == PACK_V6_SCOPE)
			memcpy(&a.in6.sin6_scope_id, packed + 19, 4);
		a.len = sizeof(a.in6);
		*ret = a;
		return packed[0] == PACK_V6 ? 19 : 23;
	}
	if (n >= 2 && packed[0] == PACK_UNIX && packed[1] <= UN_MAX && n >= 2u + packed[1]) {
		size_t len = packed[1];
		a.un.sun_family = AF_UNIX;
		memcpy(a.un.sun_path, packed + 2, len);
		bool path = len && a.un.sun_path[0] != '\0';
		a.len = (socklen_t)(UN_HEAD + len + (path && len < UN_MAX ? 1 : 0));
		*ret = a;
		return (int)(2 + len);
	}
	return -EINVAL;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	uint8_t x[ADDR_PACKED], y[ADDR_PACKED];
	size_t n = addr_pack(a, x);
	return n == addr_pack(b, y) && memcmp(x, y, n) == 0;
}

uint64_t addr_hash(const struct addr *a, uint64_t seed)
{
	uint8_t x[ADDR_PACKED];
	size_t n = addr_pack(a, x);
	return str_hash_seeded(str_n((const char *)x, n), seed);
}

bool addr_is_loopback(const struct addr *a)
{
	if (a->len == 0)
		return false;
	if (a->sa.sa_family == AF_INET)
		return ntohl(a->in4.sin_addr.s_addr) >> 24 == 127;
	if (a->sa.sa_family != AF_INET6)
		return false;
	const struct in6_addr *v6 = &a->in6.sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

uint16_t addr_port(const struct addr *a)
{
	if (a->len == 0)
		return 0;
	return a->sa.sa_family == AF_INET ? ntohs(a->in4.sin_port) : a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}
