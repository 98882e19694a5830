/* conf/route_config: virtual hosts by the domains they are for. See conf/route.h.
 *
 * All domains stand in one text, lower case; an entry says where, and of which virtual host. Sealed, the entries lie in three runs: exact ones in
 * the order of their bytes, then suffixes and prefixes, longest first: 12 bytes a domain beside its text, and a table of thousands is found in a dozen compares. */
#include "conf/route.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum domain_kind { DOMAIN_EXACT, DOMAIN_SUFFIX, DOMAIN_PREFIX, DOMAIN_ANY, DOMAIN_KINDS };
struct domain { uint32_t at, n : 30, kind : 2, host; }; /* without its star */

struct route_config {
	uint32_t refs;
	char *name;
	struct route_table **hosts; /* owned refs */
	uint32_t nhosts, cap_hosts;
	struct domain *domains;     /* owned */
	uint32_t ndomains, cap_domains;
	uint32_t from[DOMAIN_KINDS + 1]; /* where each kind begins, once sealed */
	char *text;                 /* owned */
	uint32_t ntext, cap_text;
	uint64_t hash;
	struct charge charge;
};

struct route_config *route_config_ref(struct route_config *c)
{
	c->refs++;
	return c;
}

void route_config_unref(struct route_config **c)
{
	struct route_config *old = *c;

	*c = NULL;
	if (!old || --old->refs > 0)
		return;
	for (uint32_t i = 0; i < old->nhosts; i++)
		route_table_unref(&old->hosts[i]);
	free(old->hosts);
	free(old->domains);
	free(old->text);
	free(old->name);
	charge_end(&old->charge);
	free(old);
}

bool route_config_eq(const struct route_config *a, const struct route_config *b)
{
	return a == b || (a && b && a->hash == b->hash);
}

uint32_t route_config_hosts(const struct route_config *c)
{
	return c->nhosts;
}

struct route_table *route_config_host(const struct route_config *c, uint32_t i)
{
	return i < c->nhosts ? c->hosts[i] : NULL;
}

const char *route_config_name(const struct route_config *c)
{
	return c->name;
}

/* ---- building ----------------------------------------------------------------------------------------------------------- */

struct route_config *route_config_new(struct ration *r, struct str name)
{
	struct route_config *c = ration_alloc(r, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->name = ration_text(r, name);
	if (!c->name)
		route_config_unref(&c);
	return c;
}

/* Room for one more, by doubling. */
static bool grow(struct ration *r, void **p, size_t size, uint32_t count, uint32_t more, uint32_t *cap)
{
	uint32_t want = *cap ? *cap : 1;

	if (count + more <= *cap)
		return true;
	while (want < count + more)
		want *= 2;
	if (!ration_grow(r, p, size, *cap, want))
		return false;
	*cap = want;
	return true;
}

bool route_config_add(struct ration *r, struct route_config *c, struct route_table *taken)
{
	if (!grow(r, (void **)&c->hosts, sizeof(*c->hosts), c->nhosts, 1, &c->cap_hosts)) {
		route_table_unref(&taken);
		return false;
	}
	c->hosts[c->nhosts++] = taken;
	return true;
}

bool route_config_domain(struct ration *r, struct route_config *c, struct str domain)
{
	enum domain_kind kind = DOMAIN_EXACT;

	if (domain.n > (1 << 24) || c->ntext > UINT32_MAX / 4 || c->ndomains > UINT32_MAX / 4) {
		r->refused = true;
		return false;
	}
	/* Envoy's order: what begins with a star is a suffix, whatever stands behind it. */
	if (domain.n && domain.p[0] == '*') {
		kind = domain.n == 1 ? DOMAIN_ANY : DOMAIN_SUFFIX;
		domain = str_cut(domain, 1, domain.n);
	} else if (domain.n && domain.p[domain.n - 1] == '*') {
		kind = DOMAIN_PREFIX;
		domain = str_cut(domain, 0, domain.n - 1);
	}
	if (!grow(r, (void **)&c->domains, sizeof(*c->domains), c->ndomains, 1, &c->cap_domains) ||
		(domain.n && !grow(r, (void **)&c->text, 1, c->ntext, (uint32_t)domain.n, &c->cap_text)))
		return false;
	if (domain.n) {
		memcpy(c->text + c->ntext, domain.p, domain.n);
		str_lower(c->text + c->ntext, domain.n);
	}
	c->domains[c->ndomains++] = (struct domain){.at = c->ntext, .n = (uint32_t)domain.n, .kind = kind, .host = c->nhosts - 1};
	c->ntext += (uint32_t)domain.n;
	return true;
}

static struct str domain_text(const struct route_config *c, const struct domain *d)
{
	return str_n(d->n ? c->text + d->at : "", d->n);
}

static int bytes_order(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int rc = n ? memcmp(a.p, b.p, n) : 0;

	return rc ? rc : (a.n > b.n) - (a.n < b.n);
}

static int domain_order(const void *x, const void *y, void *config)
{
	const struct route_config *c = config;
	const struct domain *a = x, *b = y;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind != DOMAIN_EXACT && a->n != b->n)
		return a->n > b->n ? -1 : 1;
	int rc = bytes_order(domain_text(c, a), domain_text(c, b));
	return rc ? rc : (a->at > b->at) - (a->at < b->at);
}

static uint64_t config_hash(const struct route_config *c)
{
	uint64_t h = str_hash_seeded(str_of(c->name), c->nhosts);

	h = str_hash_seeded(str_n(c->ntext ? c->text : "", c->ntext), h);
	for (uint32_t i = 0; i < c->ndomains; i++) {
		const uint64_t v[] = {c->domains[i].at, c->domains[i].n, c->domains[i].kind, c->domains[i].host};

		h = str_hash_seeded(str_n((const char *)v, sizeof(v)), h);
	}
	for (uint32_t i = 0; i < c->nhosts; i++)
		h = str_hash_seeded(str_n((const char *)&c->hosts[i]->hash, sizeof(c->hosts[i]->hash)), h);
	return h;
}

int route_config_seal(struct ration *r, struct route_config *c, struct route_twice *ret)
{
	if (r->refused)
		return -ENOMEM;
	if (c->ndomains > 1)
		qsort_r(c->domains, c->ndomains, sizeof(*c->domains), domain_order, c);
	for (uint32_t i = 1; i < c->ndomains; i++) {
		const struct domain *a = &c->domains[i - 1], *b = &c->domains[i];

		if (a->kind == b->kind && str_eq(domain_text(c, a), domain_text(c, b))) {
			bool front = a->kind == DOMAIN_SUFFIX || a->kind == DOMAIN_ANY;

			ret->host = a->host > b->host ? a->host : b->host;
			ret->first = a->host > b->host ? b->host : a->host;
			snprintf(ret->domain, sizeof(ret->domain), "%s%.*s%s", front ? "*" : "", (int)a->n, a->n ? c->text + a->at : "", a->kind == DOMAIN_PREFIX ? "*" : "");
			return -EEXIST;
		}
	}
	for (uint32_t kind = 0, i = 0; kind <= DOMAIN_KINDS; kind++) {
		while (i < c->ndomains && c->domains[i].kind < kind)
			i++;
		c->from[kind] = i;
	}
	/* What doubling left over goes back. */
	ration_give(r, (c->cap_text - c->ntext) + (c->cap_domains - c->ndomains) * sizeof(*c->domains) + (c->cap_hosts - c->nhosts) * sizeof(*c->hosts));
	c->text = c->ntext ? xrealloc(c->text, c->ntext) : c->text;
	c->domains = c->ndomains ? xrealloc(c->domains, c->ndomains * sizeof(*c->domains)) : c->domains;
	c->hosts = c->nhosts ? xrealloc(c->hosts, c->nhosts * sizeof(*c->hosts)) : c->hosts;
	c->cap_text = c->ntext;
	c->cap_domains = c->ndomains;
	c->cap_hosts = c->nhosts;
	c->hash = config_hash(c);
	ration_pay(r, &c->charge);
	return 0;
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static int order_nocase(struct str asked, struct str domain)
{
	size_t n = asked.n < domain.n ? asked.n : domain.n;

	for (size_t i = 0; i < n; i++) {
		unsigned char a = (unsigned char)lower(asked.p[i]), b = (unsigned char)domain.p[i];

		if (a != b)
			return a < b ? -1 : 1;
	}
	return (asked.n > domain.n) - (asked.n < domain.n);
}

static const struct domain *find_exact(const struct route_config *c, struct str asked)
{
	uint32_t low = c->from[DOMAIN_EXACT], high = c->from[DOMAIN_SUFFIX];

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int rc = order_nocase(asked, domain_text(c, &c->domains[mid]));

		if (rc == 0)
			return &c->domains[mid];
		if (rc < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* A star stands for at least one character. */
static const struct domain *find_wild(const struct route_config *c, struct str asked, enum domain_kind kind)
{
	for (uint32_t i = c->from[kind]; i < c->from[kind + 1]; i++) {
		const struct domain *d = &c->domains[i];

		if (asked.n > d->n && str_eq_nocase(str_n(kind == DOMAIN_SUFFIX ? asked.p + (asked.n - d->n) : asked.p, d->n), domain_text(c, d)))
			return d;
	}
	return NULL;
}

static const struct domain *find(const struct route_config *c, struct str asked)
{
	const struct domain *d = find_exact(c, asked);

	if (!d)
		d = find_wild(c, asked, DOMAIN_SUFFIX);
	return d ? d : find_wild(c, asked, DOMAIN_PREFIX);
}

/* "host:80", "[::1]:80" without ":80"; what has no port comes back as it is (a bare IPv6 address has none). */
static struct str without_port(struct str authority)
{
	ptrdiff_t colon = str_rfind(authority, ':');
	struct str host = str_cut(authority, 0, colon < 0 ? authority.n : (size_t)colon);

	if (colon < 0 || (str_find(host, ':') >= 0 && host.p[host.n - 1] != ']'))
		return authority;
	for (size_t i = host.n + 1; i < authority.n; i++)
		if (authority.p[i] < '0' || authority.p[i] > '9')
			return authority;
	return host;
}

struct route_table *route_config_find(const struct route_config *c, struct str authority)
{
	const struct domain *d = find(c, authority);
	struct str host = without_port(authority);

	if (!d && host.n < authority.n)
		d = find(c, host);
	if (!d && c->from[DOMAIN_ANY] < c->ndomains)
		d = &c->domains[c->from[DOMAIN_ANY]];
	return d ? c->hosts[d->host] : NULL;
}
