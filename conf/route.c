/* conf/route: actions and tables of routes, and the words for "retry on". See the header. */
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
	a->cluster = xstrdup(cluster);
	a->retry.base_ns = 25 * 1000000;
	a->retry.cap_ns = 250 * 1000000;
	return a;
}

void route_action_unref(struct route_action **a)
{
	struct route_action *old = *a;

	*a = NULL;
	if (!old || --old->refs > 0)
		return;
	free(old->cluster);
	free(old);
}

static bool retry_eq(const struct retry_policy *a, const struct retry_policy *b)
{
	return a->max == b->max && a->on == b->on && a->per_try_timeout_ns == b->per_try_timeout_ns && a->base_ns == b->base_ns &&
		a->cap_ns == b->cap_ns && a->status_count == b->status_count &&
		memcmp(a->statuses, b->statuses, a->status_count * sizeof(a->statuses[0])) == 0;
}

bool route_action_eq(const struct route_action *a, const struct route_action *b)
{
	if (a == b)
		return true;
	return a && b && strcmp(a->cluster, b->cluster) == 0 && a->timeout_ns == b->timeout_ns && retry_eq(&a->retry, &b->retry);
}

/* ---- tables ------------------------------------------------------------------------------------------------------------- */

struct route_table *route_table_single(struct route_action *taken)
{
	struct route_table *t = xnew(struct route_table);

	t->refs = 1;
	t->only = taken;
	return t;
}

void route_table_unref(struct route_table **t)
{
	struct route_table *old = *t;

	*t = NULL;
	if (!old || --old->refs > 0)
		return;
	route_action_unref(&old->only);
	free(old);
}

bool route_table_eq(const struct route_table *a, const struct route_table *b)
{
	return a == b || (a && b && route_action_eq(a->only, b->only));
}

/* One route for all that is asked of the name; the head is for the tables of a control plane. */
struct route_action *route_match(const struct route_table *t, const struct fields *head)
{
	(void)head;
	return t ? t->only : NULL;
}
