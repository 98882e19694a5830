/* lb/hostnames: see the header. Answers are kept sorted: a resolver that rotates its records must not look like a change of members, and
 * the v6 and v4 records that belong to one machine mostly sort alike. */
#include "lb/hostnames.h"
#include "base/err.h"
#include <stdlib.h>

#define SECOND_NS UINT64_C(1000000000)
#define TTL_MIN_NS SECOND_NS
#define TTL_MAX_NS (3600 * SECOND_NS)
#define RETRY_FIRST_NS SECOND_NS
#define RETRY_MAX_NS (30 * SECOND_NS)
enum { ANSWERS_MAX = 1024 }; /* of one name; what is beyond is left out */

struct name {
	struct names *names; /* its owner */
	char *host;
	struct addr *addrs;
	uint32_t addr_count; /* the last good answer, sorted, without a port */
	uint32_t one; /* the pair that is used where only one is */
	bool answered; /* with addresses or with a failure, once at least */
	bool failed; /* the last time */
	uint64_t retry_ns; /* after the next failure; 0: RETRY_FIRST_NS */
	bool due; /* to be asked at the next use */
	struct dns_query *query;
	struct timer timer;
};

struct names {
	struct names_use use; /* first: see names_use */
	struct loop *loop;
	struct dns *dns; /* borrowed; NULL: nothing resolves */
	void (*changed)(void *ctx), (*settled)(void *ctx);
	void *ctx;
	uint32_t count;
	struct name name[];
};

static void name_ask(struct name *n);

static int addr_order(const void *a, const void *b)
{
	const struct addr *x = a, *y = b;

	if (x->sa.sa_family != y->sa.sa_family)
		return x->sa.sa_family == AF_INET6 ? -1 : 1;
	return x->sa.sa_family == AF_INET6 ? memcmp(&x->in6.sin6_addr, &y->in6.sin6_addr, sizeof(x->in6.sin6_addr))
					   : memcmp(&x->in4.sin_addr, &y->in4.sin_addr, sizeof(x->in4.sin_addr));
}

/* Pair i has v6 answer i and v4 answer i; where one family has more, the rest stand alone. */
static uint32_t name_pairs(const struct name *n, uint32_t *ret_v6)
{
	uint32_t v6 = 0, v4;

	while (v6 < n->addr_count && addr_is_v6(&n->addrs[v6]))
		v6++;
	v4 = n->addr_count - v6;
	*ret_v6 = v6;
	return v6 > v4 ? v6 : v4;
}

static const struct addr *pair_lead(const struct name *n, uint32_t pair)
{
	uint32_t v6;

	name_pairs(n, &v6);
	return &n->addrs[pair < v6 ? pair : v6 + pair];
}

/* The one that was used stays the one while it is answered; otherwise a random one, or all sidecars would call the first of the order that we sort into. */
static void name_choose(struct name *n, const struct addr *before)
{
	uint32_t v6, pairs = name_pairs(n, &v6);

	n->one = pairs ? (uint32_t)loop_random_below(n->names->loop, pairs) : 0;
	for (uint32_t i = 0; before && i < pairs; i++)
		if (addr_order(pair_lead(n, i), before) == 0)
			n->one = i;
}

/* True: the answer is another one than the last. */
static bool name_take(struct name *n, const struct dns_answer *a)
{
	uint32_t count = a->count > ANSWERS_MAX ? ANSWERS_MAX : (uint32_t)a->count;
	struct addr *sorted = xalloc(count * sizeof(*sorted));
	uint32_t kept = 0;
	bool same;

	memcpy(sorted, a->addrs, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), addr_order);
	for (uint32_t i = 0; i < count; i++)
		if (!kept || addr_order(&sorted[kept - 1], &sorted[i]) != 0)
			sorted[kept++] = sorted[i];
	same = n->answered && kept == n->addr_count;
	for (uint32_t i = 0; same && i < kept; i++)
		same = addr_order(&sorted[i], &n->addrs[i]) == 0;
	if (!same) {
		struct addr before = {0};
		bool had = n->addr_count > 0;

		if (had)
			before = *pair_lead(n, n->one);
		free(n->addrs);
		n->addrs = sorted;
		n->addr_count = kept;
		name_choose(n, had ? &before : NULL);
	} else {
		free(sorted);
	}
	return !same;
}

/* What is known has become old. While nobody calls the cluster, nobody asks. */
static void name_old(struct timer *t)
{
	struct name *n = container_of(t, struct name, timer);

	if (n->names->use.used || n->names->use.kept) {
		name_ask(n);
	} else {
		n->due = true;
		n->names->use.due = true;
	}
	n->names->use.used = false;
}

static void name_failed(struct name *n)
{
	struct loop *l = n->names->loop;
	uint64_t wait_ns = n->retry_ns ? n->retry_ns : RETRY_FIRST_NS;

	n->answered = n->failed = true;
	n->retry_ns = wait_ns * 2 > RETRY_MAX_NS ? RETRY_MAX_NS : wait_ns * 2;
	/* Half of it is jitter. */
	timer_in(l, &n->timer, wait_ns / 2 + loop_random_below(l, wait_ns / 2 + 1), name_old);
}

static void name_answered(void *user, const struct dns_answer *a)
{
	struct name *n = user;
	struct names *all = n->names;
	uint64_t ttl_ns = a->ttl_ns < TTL_MIN_NS ? TTL_MIN_NS : a->ttl_ns > TTL_MAX_NS ? TTL_MAX_NS : a->ttl_ns;
	bool changed = false;

	n->query = NULL;
	if (a->err < 0 || a->count == 0) {
		name_failed(n);
	} else {
		changed = name_take(n, a);
		n->answered = true;
		n->failed = false;
		n->retry_ns = 0;
		timer_in(all->loop, &n->timer, ttl_ns, name_old);
	}
	if (changed)
		all->changed(all->ctx);
	all->settled(all->ctx); /* nothing of ours is touched after it: it may end us */
}

static void name_ask(struct name *n)
{
	struct names *all = n->names;

	n->due = false;
	if (n->query)
		return;
	if (!all->dns || dns_ask(all->dns, n->host, name_answered, n, &n->query) < 0)
		name_failed(n);
}

void names_use_slow(struct names *n)
{
	n->use.due = false;
	for (uint32_t i = 0; i < n->count; i++)
		if (n->name[i].due)
			name_ask(&n->name[i]);
}

void names_thaw(struct names *n)
{
	for (uint32_t i = 0; i < n->count; i++) {
		struct name *name = &n->name[i];

		if (!timer_armed(&name->timer))
			continue;
		timer_cancel(n->loop, &name->timer);
		name->retry_ns = 0;
		if (n->use.used || n->use.kept)
			name_ask(name);
		else
			name->due = n->use.due = true;
	}
}

/* Mostly it is where it was; only a set with its order changed is searched through. */
static struct name *names_find(struct names *n, const char *host, uint32_t hint)
{
	if (n && hint < n->count && strcmp(n->name[hint].host, host) == 0)
		return &n->name[hint];
	for (uint32_t i = 0; n && i < n->count; i++)
		if (strcmp(n->name[i].host, host) == 0)
			return &n->name[i];
	return NULL;
}

struct names *names_new(struct loop *l, struct dns *dns, const struct endpoint_set *set, struct names **old, void (*changed)(void *ctx),
	void (*settled)(void *ctx), void *ctx)
{
	uint32_t count = 0;
	struct names *all;
	struct endpoint e;

	for (uint32_t i = 0; i < endpoints_count(set); i++) {
		endpoint_get(set, i, &e);
		count += e.host != NULL;
	}
	all = xalloc(sizeof(*all) + count * sizeof(all->name[0]));
	all->loop = l;
	all->dns = dns;
	all->changed = changed;
	all->settled = settled;
	all->ctx = ctx;
	for (uint32_t i = 0; i < endpoints_count(set); i++) {
		struct name *n = &all->name[all->count], *known;

		endpoint_get(set, i, &e);
		if (!e.host)
			continue;
		all->count++;
		n->names = all;
		n->host = xstrdup(e.host);
		n->due = all->use.due = true;
		known = names_find(old ? *old : NULL, n->host, all->count - 1);
		if (!known || !known->answered || known->failed)
			continue;
		n->answered = true;
		n->addr_count = known->addr_count;
		n->one = known->one;
		n->addrs = xalloc((known->addr_count ? known->addr_count : 1) * sizeof(*n->addrs));
		memcpy(n->addrs, known->addrs, known->addr_count * sizeof(*n->addrs));
		if (timer_armed(&known->timer)) {
			n->due = false;
			timer_set(l, &n->timer, known->timer.at_ns, name_old);
		}
	}
	if (old)
		names_free(old);
	return all;
}

void names_free(struct names **pn)
{
	struct names *all = *pn;

	*pn = NULL;
	if (!all)
		return;
	for (uint32_t i = 0; i < all->count; i++) {
		struct name *n = &all->name[i];

		if (n->query)
			dns_cancel(&n->query);
		timer_cancel(all->loop, &n->timer);
		free(n->addrs);
		free(n->host);
	}
	free(all);
}

bool names_waiting(const struct names *n)
{
	for (uint32_t i = 0; i < n->count; i++)
		if (!n->name[i].answered)
			return true;
	return false;
}

const char *names_state(const struct names *n)
{
	bool failed = false;

	for (uint32_t i = 0; i < n->count; i++) {
		if (!n->name[i].answered)
			return "asked";
		failed |= n->name[i].failed;
	}
	return failed ? "failed" : "resolved";
}

/* ---- expanding ------------------------------------------------------------------------------------------------------------ */

static void put_port(struct addr *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons(port);
	else
		a->in4.sin_port = htons(port);
}

/* What it says itself counts more. Without memory for it, it has no name: then TLS that asks for one fails, and says so. */
static struct endpoint_meta *meta_named(struct endpoint_metas *metas, const struct endpoint_item *from)
{
	struct str pairs[2 * ENDPOINT_META_PAIRS];
	uint32_t n = endpoint_meta_pairs(from->meta, pairs, ENDPOINT_META_PAIRS);
	struct endpoint_meta *named;

	if (!metas || n >= ENDPOINT_META_PAIRS || endpoint_meta_value(from->meta, ENDPOINT_HOSTNAME))
		return from->meta;
	pairs[2 * n] = STR(ENDPOINT_HOSTNAME);
	pairs[2 * n + 1] = from->host;
	named = endpoint_meta_get(metas, pairs, n + 1);
	return named ? named : from->meta;
}

/* The v6 answer of a pair comes first. */
static int expand_name(const struct name *n, bool one, const struct endpoint_item *from, struct endpoint_meta *meta, struct endpoints_builder *b)
{
	uint32_t v6, pairs = name_pairs(n, &v6), v4 = n->addr_count - v6;
	int err = 0;

	for (uint32_t i = 0; i < pairs && !err; i++) {
		struct endpoint_item item = *from;
		struct addr addrs[2];

		if (one && i != n->one)
			continue;
		item.host = str_n(NULL, 0);
		item.meta = meta;
		item.addrs = addrs;
		item.naddrs = 0;
		if (i < v6)
			addrs[item.naddrs++] = n->addrs[i];
		if (i < v4)
			addrs[item.naddrs++] = n->addrs[v6 + i];
		for (uint32_t a = 0; a < item.naddrs; a++)
			put_port(&addrs[a], from->port);
		err = endpoints_put(b, &item);
	}
	return err;
}

int names_expand(const struct names *n, const struct endpoint_set *set, bool one, struct account *account, struct endpoint_metas *metas, struct endpoint_set **ret)
{
	struct endpoints_builder *b = endpoints_build(account, NULL);
	struct addr addrs[ENDPOINT_ADDRS];
	uint32_t at = 0;
	int err = 0;

	for (uint32_t g = 0; g < endpoints_groups(set) && !err; g++) {
		struct endpoint_group group = endpoints_group_at(set, g);
		const struct locality *l = &group.locality;

		err = endpoints_group(b);
		for (uint32_t i = group.first; i < group.first + group.count && !err; i++) {
			struct endpoint_item item;

			endpoint_item(set, i, addrs, ENDPOINT_ADDRS, &item);
			err = item.host.n ? expand_name(&n->name[at++], one, &item, meta_named(metas, &item), b) : endpoints_put(b, &item);
		}
		if (!err)
			err = endpoints_group_end(b, str_of(l->region), str_of(l->zone), str_of(l->sub_zone), l->weight, l->priority);
	}
	if (err < 0)
		endpoints_drop(&b);
	else
		*ret = endpoints_done(&b, endpoints_overprovisioning(set));
	return err;
}
