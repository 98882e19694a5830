/* conf/route: actions of routes, and the words for "retry on". Tables are in conf/route_table, configurations in conf/route_config. See the header. */
#include "conf/route.h"

#include <stdlib.h>

#include "base/mem.h"

/* ---- retry on ----------------------------------------------------------------------------------------------------------- */

/* Envoy's words, in one table for both headers and the configuration. `reset-before-request` was seen to fire for connect failures only.
 * Words of theirs that need what we do not have (envoy-ratelimited, retriable-headers, http3-...) are left out: as headers they are ignored. */
static const struct {
	const char *name;
	uint32_t on;
	bool grpc;
} words[] = {
	{"connect-failure", RETRY_CONNECT_FAILURE, false},
	{"refused-stream", RETRY_REFUSED_STREAM, false},
	{"reset", RETRY_RESET, false},
	{"reset-before-request", RETRY_CONNECT_FAILURE, false},
	{"5xx", RETRY_5XX, false},
	{"gateway-error", RETRY_GATEWAY, false},
	{"retriable-4xx", RETRY_4XX, false},
	{"retriable-status-codes", RETRY_STATUSES, false},
	{"unavailable", RETRY_UNAVAILABLE, true},
	{"cancelled", RETRY_CANCELLED, true},
	{"deadline-exceeded", RETRY_DEADLINE, true},
	{"internal", RETRY_INTERNAL, true},
	{"resource-exhausted", RETRY_EXHAUSTED, true},
};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

const char *retry_on_name(uint32_t i)
{
	return i < WORDS ? words[i].name : NULL;
}

uint32_t retry_on_word(struct str word)
{
	for (uint32_t i = 0; i < WORDS; i++)
		if (str_is(word, words[i].name))
			return words[i].on;
	return 0;
}

uint32_t retry_on_parse(struct str list, bool grpc)
{
	uint32_t on = 0;
	size_t at = 0;

	while (at < list.n) {
		struct str rest = str_cut(list, at, list.n);
		ptrdiff_t comma = str_find(rest, ',');
		size_t n = comma < 0 ? rest.n : (size_t)comma;
		struct str word = str_trim(str_cut(rest, 0, n));

		for (uint32_t i = 0; i < WORDS; i++)
			if (words[i].grpc == grpc && str_is(word, words[i].name))
				on |= words[i].on;
		at += n + 1;
	}
	return on;
}

/* ---- actions ------------------------------------------------------------------------------------------------------------ */

struct route_action *route_action_new(const char *cluster)
{
	struct route_action *a = xnew(struct route_action);

	a->refs = 1;
	a->cluster = cluster ? xstrdup(cluster) : NULL;
	a->retry.base_ns = 25 * 1000000;
	a->retry.cap_ns = 250 * 1000000;
	return a;
}

static void redirect_free(struct route_redirect *r)
{
	if (!r)
		return;
	free(r->scheme);
	free(r->host);
	free(r->path);
	free(r->prefix);
	free(r);
}

void route_action_unref(struct route_action **a)
{
	struct route_action *old = *a;

	*a = NULL;
	if (!old || --old->refs > 0)
		return;
	for (uint32_t i = 0; i < old->nweighted; i++)
		free(old->weighted[i].cluster);
	free(old->weighted);
	free(old->direct.body);
	redirect_free(old->redirect);
	free(old->unsupported);
	free(old->notes);
	free(old->name);
	free(old->cluster);
	free(old);
}

/* NULL and "" differ, and so do the lists "ab","c" and "a","bc". */
static uint64_t hash_text(uint64_t h, const char *z, size_t n)
{
	uint64_t size = z ? n : UINT64_MAX;

	h = str_hash_seeded(str_n((const char *)&size, sizeof(size)), h);
	return z && n ? str_hash_seeded(str_n(z, n), h) : h;
}

static uint64_t hash_string(uint64_t h, const char *z)
{
	return hash_text(h, z, z ? strlen(z) : 0);
}

static uint64_t hash_redirect(uint64_t h, const struct route_redirect *r)
{
	const uint64_t v[] = {r->status, r->https, r->strip_query, r->port, r->prefix_n};

	h = str_hash_seeded(str_n((const char *)v, sizeof(v)), h);
	return hash_string(hash_string(hash_string(hash_string(h, r->scheme), r->host), r->path), r->prefix);
}

uint64_t route_action_hash(const struct route_action *a, uint64_t h)
{
	const struct retry_policy *r = &a->retry;
	const uint64_t v[] = {a->kind, a->nweighted, a->timeout_ns, a->has_timeout, a->idle_timeout_ns, a->has_idle_timeout, a->grpc_timeout_heeded, a->grpc_timeout_max_ns,
		a->grpc_timeout_offset_ns, r->max, r->on, r->status_count, r->host_selection_attempts, r->per_try_timeout_ns, r->base_ns, r->cap_ns, a->direct.status};

	h = str_hash_seeded(str_n((const char *)v, sizeof(v)), h);
	h = str_hash_seeded(str_n((const char *)r->statuses, r->status_count * sizeof(r->statuses[0])), h);
	h = hash_string(h, a->cluster);
	for (uint32_t i = 0; i < a->nweighted; i++) {
		const uint64_t w[] = {a->weighted[i].weight, a->weighted[i].by_header};

		h = hash_string(str_hash_seeded(str_n((const char *)w, sizeof(w)), h), a->weighted[i].cluster);
	}
	h = hash_text(h, a->direct.body, a->direct.body_n);
	if (a->redirect)
		h = hash_redirect(h, a->redirect);
	return hash_string(hash_string(hash_string(h, a->unsupported), a->notes), a->name);
}

bool route_action_eq(const struct route_action *a, const struct route_action *b)
{
	if (a == b)
		return true;
	return a && b && route_action_hash(a, 0) == route_action_hash(b, 0);
}

/* ---- its cluster -------------------------------------------------------------------------------------------------------- */

static struct str cluster_by_header(const char *name, const struct fields *head)
{
	const struct field *f = head ? fields_find(head, str_of(name)) : NULL;

	return f && f->value_len ? str_n(f->value, f->value_len) : str_n(NULL, 0);
}

static struct str cluster_by_weight(const struct route_action *a, uint64_t random, const struct fields *head)
{
	uint64_t at = a->total_weight ? random % a->total_weight : 0;

	for (uint32_t i = 0; i < a->nweighted; i++) {
		const struct route_weighted *w = &a->weighted[i];

		if (at < w->weight)
			return w->by_header ? cluster_by_header(w->cluster, head) : str_of(w->cluster);
		at -= w->weight;
	}
	return str_n(NULL, 0);
}

struct str route_action_cluster(const struct route_action *a, uint64_t random, const struct fields *head)
{
	switch (a->kind) {
	case ROUTE_CLUSTER: return str_of(a->cluster);
	case ROUTE_WEIGHTED: return cluster_by_weight(a, random, head);
	case ROUTE_CLUSTER_HEADER: return cluster_by_header(a->cluster, head);
	default: return str_n(NULL, 0);
	}
}
