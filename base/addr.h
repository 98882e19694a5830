/* base/addr: where a socket is, and what an authority says.
 * struct addr holds IPv4, IPv6, Unix path and abstract addresses by value (116 bytes); addr_pack gives the compact form
 * that endpoint sets keep (7 bytes for IPv4). Text forms: "10.0.0.1:80", "[::1]:80", "unix:/run/x.sock", "unix:@name". */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/str.h"

struct addr {
	union { struct sockaddr sa; struct sockaddr_in in4; struct sockaddr_in6 in6; struct sockaddr_un un; };
	socklen_t len; /* 0: none */
};
int addr_parse(struct str text, struct addr *ret);         /* numeric or unix only, port required; -EINVAL, -ENAMETOOLONG */
int addr_ip(struct str ip, uint16_t port, struct addr *ret); /* "10.0.0.1", "::1", "[::1]"; -EINVAL */
int addr_unix(struct str path, struct addr *ret);          /* "/path" or "@abstract"; -ENAMETOOLONG */
bool addr_eq(const struct addr *a, const struct addr *b);
uint64_t addr_hash(const struct addr *a, uint64_t seed);
enum { ADDR_TEXT = 128 };
const char *addr_text(const struct addr *a, char out[ADDR_TEXT]);
static inline bool addr_is_unix(const struct addr *a) { return a->sa.sa_family == AF_UNIX; }
static inline bool addr_is_v6(const struct addr *a) { return a->sa.sa_family == AF_INET6; }
bool addr_is_loopback(const struct addr *a);
uint16_t addr_port(const struct addr *a);

/* The compact form: family, port, address, as few bytes as there are; equal bytes = equal addresses. */
enum { ADDR_PACKED = 112 };
size_t addr_pack(const struct addr *a, uint8_t out[ADDR_PACKED]);          /* bytes used; 0 for none */
int addr_unpack(const uint8_t *packed, size_t n, struct addr *ret);        /* bytes read; -EINVAL */

/* Splits "host:port", "[v6]:port", "host", "v6"; port -1 when absent. -EINVAL: bad port or brackets.
 * The host comes without brackets; it may be empty. */
int addr_split(struct str hostport, struct str *ret_host, int *ret_port);
bool addr_is_ip(struct str host);                          /* IPv4 dotted quad or IPv6, brackets allowed */
