/* net/dns: names to addresses, c-ares on our loop: TTL, both families, the hosts file. No getaddrinfo, no threads.
 * A `struct dns` is owned by sidecar; simulation uses dns_new_table. A query is owned by its asker and may be cancelled any time. */
#pragma once
#include "net/loop.h"

struct dns;
struct dns_query;
struct dns_answer { int err; const struct addr *addrs; size_t count; uint64_t ttl_ns; }; /* port 0; v6 and v4 both, in answer order; err: ERR_NAME (does not exist), ERR_TIMEOUT, ... */
struct dns *dns_new(struct loop *l);
/* A fake for flow tests: answers from a table after delay_ns of loop time. */
struct dns *dns_new_table(struct loop *l, uint64_t delay_ns);
void dns_table_set(struct dns *d, const char *name, const char *addrs_comma, uint64_t ttl_ns); /* addrs NULL: does not exist */
/* Other name servers than resolv.conf's: "10.0.0.10:53,10.0.0.11"; before the first question. */
void dns_servers(struct dns *d, const char *servers_comma);
void dns_free(struct dns **d);
int dns_ask(struct dns *d, const char *name, void (*fn)(void *user, const struct dns_answer *a), void *user, struct dns_query **ret); /* fn comes later, never before return */
void dns_cancel(struct dns_query **q);
