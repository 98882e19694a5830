/* conf/spec: cluster specs and endpoint sets: built by one, sealed, then shared and never changed. See the header. */
#include "conf/spec.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- the policy --------------------------------------------------------------------------------------------------------- */

static const uint64_t second_ns = 1000000000;

struct cluster_spec *spec_new(const char *name)
{
	struct cluster_spec *s = xnew(struct cluster_spec);

	s->refs = 1;
	s->name = xstrdup(name);
	s->lb = LB_LEAST_REQUEST;
	s->choices = 2;
	s->connect_timeout_ns = 5 * second_ns;
	s->idle_timeout_ns = 3600 * second_ns;
	s->verify_after_ns = 10 * second_ns;
	s->max_connections = 1024;
	s->max_pending = 1024;
	s->max_requests = 1000000;
	s->max_connections_per_host = 8;
	s->max_streams = 0;
	return s;
}

void spec_unref(struct cluster_spec **s)
{
	struct cluster_spec *old = *s;

	*s = NULL;
	if (!old || --old->refs > 0)
		return;
	free(old->name);
	free(old);
}

const char *lb_kind_name(enum lb_kind k)
{
	static const char *const names[] = {"round_robin", "random", "least_request"};

	return (unsigned)k < sizeof(names) / sizeof(names[0]) ? names[k] : "?";
}

/* 0 means "not sealed": no content may have it. */
static uint64_t never_zero(uint64_t hash)
{
	return hash ? hash : 1;
}

void spec_seal(struct cluster_spec *s)
{
	const uint64_t all[] = {s->lb, s->choices, s->connect_timeout_ns, s->idle_timeout_ns, s->verify_after_ns, s->max_connections,
		s->max_pending, s->max_requests, s->max_connections_per_host, s->max_streams};

	s->hash = never_zero(str_hash_seeded(str_n((const char *)all, sizeof(all)), str_hash(str_of(s->name))));
}

/* ---- the members -------------------------------------------------------------------------------------------------------- */

struct endpoint_set *endpoints_new(uint32_t cap, struct account *a)
{
	struct endpoint_set *s = xnew(struct endpoint_set);

	s->refs = 1;
	s->cap = cap;
	s->arena = xnew(struct arena);
	arena_init(s->arena, a);
	if (cap && !(s->e = arena_alloc(s->arena, cap * sizeof(*s->e))))
		endpoints_unref(&s);
	return s;
}

void endpoints_unref(struct endpoint_set **s)
{
	struct endpoint_set *old = *s;

	*s = NULL;
	if (!old || --old->refs > 0)
		return;
	arena_reset(old->arena);
	free(old->arena);
	free(old);
}

/* The next free row, with its zone, not yet counted. */
static int begin(struct endpoint_set *s, uint32_t weight, const char *zone, struct endpoint *ret)
{
	if (s->count == s->cap)
		return -ENOSPC;
	if (weight == 0)
		return -EINVAL;
	*ret = (struct endpoint){.weight = weight};
	/* Zones come in runs: one copy serves the neighbours. */
	if (zone && s->count && s->e[s->count - 1].zone && strcmp(s->e[s->count - 1].zone, zone) == 0)
		ret->zone = s->e[s->count - 1].zone;
	else if (zone && !(ret->zone = arena_strndup(s->arena, zone, strlen(zone))))
		return -ENOMEM;
	return 0;
}

int endpoints_add_addrs(struct endpoint_set *s, const struct addr *a, uint32_t n, uint32_t weight, uint32_t priority, const char *zone)
{
	struct endpoint e;
	struct addr *copy;
	int code = n ? begin(s, weight, zone, &e) : -EINVAL;

	if (code < 0)
		return code;
	copy = arena_alloc(s->arena, n * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, a, n * sizeof(*copy));
	e.addrs = copy;
	e.naddrs = n;
	e.priority = priority;
	s->e[s->count++] = e;
	return 0;
}

static bool is_host_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A name that DNS may be asked for (RFC 1035 2.3.4; underscores exist). A last label of digits is a mistyped address, never a name. */
static bool is_host(struct str host)
{
	size_t label = 0, digits = 0, n = host.n;

	if (n && host.p[n - 1] == '.')
		n--; /* an absolute name: it stays, the resolver then uses no search list */
	if (n == 0 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (host.p[i] == '.') {
			if (label == 0)
				return false;
			label = digits = 0;
			continue;
		}
		if (!is_host_byte(host.p[i]) || ++label > 63)
			return false;
		digits += host.p[i] >= '0' && host.p[i] <= '9';
	}
	return label > 0 && digits < label;
}

int endpoints_add_text(struct endpoint_set *s, struct str text, uint32_t weight, const char *zone)
{
	struct endpoint e;
	struct addr addr;
	struct str host;
	char *copy;
	int port, code;

	if (memchr(text.p ? text.p : "", '\0', text.n))
		return -EINVAL;
	code = addr_parse(text, &addr);
	if (code == 0) {
		if (!addr_is_unix(&addr) && addr_port(&addr) == 0)
			return -EINVAL;
		return endpoints_add_addrs(s, &addr, 1, weight, 0, zone);
	}
	if (code == -ENAMETOOLONG)
		return code;
	if (addr_split(text, &host, &port) < 0 || port <= 0 || !is_host(host))
		return -EINVAL;
	code = begin(s, weight, zone, &e);
	if (code < 0)
		return code;
	copy = arena_strndup(s->arena, host.p, host.n);
	if (!copy)
		return -ENOMEM;
	str_lower(copy, host.n);
	e.host = copy;
	e.port = (uint16_t)port;
	s->e[s->count++] = e;
	return 0;
}

/* Order is part of what is declared: round robin shows it. */
void endpoints_seal(struct endpoint_set *s)
{
	uint64_t h = s->count;

	s->has_names = false;
	for (uint32_t i = 0; i < s->count; i++) {
		const struct endpoint *e = &s->e[i];
		const uint32_t row[] = {e->naddrs, e->port, e->weight, e->priority, e->health, e->zone != NULL, e->host != NULL};

		h = str_hash_seeded(str_n((const char *)row, sizeof(row)), h);
		for (uint32_t k = 0; k < e->naddrs; k++)
			h = addr_hash(&e->addrs[k], h);
		if (e->host)
			h = str_hash_seeded(str_of(e->host), h);
		if (e->zone)
			h = str_hash_seeded(str_of(e->zone), h);
		s->has_names |= e->host != NULL;
	}
	s->hash = never_zero(h);
}
