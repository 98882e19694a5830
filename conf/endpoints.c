/* conf/endpoints: endpoint sets: read, shared, ended; conf/endpoints_build.c makes them.
 *
 * A row is 32 bytes. An IPv4 or IPv6 address lies in it; anything else (alternates, Unix paths, scoped IPv6, host names) lies in the bytes behind its
 * block's rows, and the row says where. */
#include "conf/endpoints_int.h"

#include <stdlib.h>

void endpoint_block_unref(struct endpoint_block *b)
{
	if (--b->refs > 0)
		return;
	for (uint32_t i = 0; i < b->nmetas; i++)
		endpoint_meta_unref(b->metas[i]);
	charge_end(&b->charge);
	free(b);
}

void endpoints_unref(struct endpoint_set **ps)
{
	struct endpoint_set *s = *ps;

	*ps = NULL;
	if (!s || --s->head.refs > 0)
		return;
	for (uint32_t i = 0; i < s->nspans; i++)
		endpoint_block_unref(s->spans[i].block);
	charge_end(&s->charge);
	free(s->spans);
	free(s->groups);
	free(s->texts);
	free(s);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

/* The last span that begins at or before i. Groups without endpoints have no spans, so no two begin at one place. */
static const struct set_span *span_of(const struct endpoint_set *s, uint32_t i)
{
	uint32_t low = 0, high = s->nspans;

	assert(i < s->head.count);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (s->spans[middle].first <= i)
			low = middle;
		else
			high = middle;
	}
	return &s->spans[low];
}

bool endpoint_row_ip(struct endpoint_row *r, const struct addr *a, uint32_t n)
{
	if (n != 1 || !a->len)
		return false;
	if (a->sa.sa_family == AF_INET) {
		r->kind = ROW_V4;
		r->port = a->in4.sin_port;
		memcpy(r->at, &a->in4.sin_addr, sizeof(a->in4.sin_addr));
		return true;
	}
	if (a->sa.sa_family == AF_INET6 && !a->in6.sin6_scope_id) {
		r->kind = ROW_V6;
		r->port = a->in6.sin6_port;
		memcpy(r->at, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
		return true;
	}
	return false;
}

static void row_ip(const struct endpoint_row *r, struct addr *ret)
{
	*ret = (struct addr){0};
	if (r->kind == ROW_V4) {
		ret->in4.sin_family = AF_INET;
		ret->in4.sin_port = r->port;
		memcpy(&ret->in4.sin_addr, r->at, sizeof(ret->in4.sin_addr));
		ret->len = sizeof(ret->in4);
	} else {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_port = r->port;
		memcpy(&ret->in6.sin6_addr, r->at, sizeof(ret->in6.sin6_addr));
		ret->len = sizeof(ret->in6);
	}
}

static const uint8_t *row_more(const struct endpoint_block *b, const struct endpoint_row *r)
{
	uint32_t at;

	memcpy(&at, r->at, sizeof(at));
	assert(at < b->nmore);
	return b->more + at;
}

static uint32_t row_addrs(const struct endpoint_block *b, const struct endpoint_row *r, struct addr *out, uint32_t max)
{
	const uint8_t *at;

	if (r->kind == ROW_HOST)
		return 0;
	if (r->kind != ROW_ADDRS) {
		if (max)
			row_ip(r, out);
		return 1;
	}
	at = row_more(b, r);
	for (uint32_t i = 0; i < r->naddrs && i < max; i++) {
		int n = addr_unpack(at, (size_t)(b->more + b->nmore - at), &out[i]);

		assert(n > 0); /* they were packed by us */
		at += n;
	}
	return r->naddrs;
}

void endpoint_get(const struct endpoint_set *s, uint32_t i, struct endpoint *ret)
{
	const struct set_span *span = span_of(s, i);
	const struct endpoint_block *b = span->block;
	const struct endpoint_row *r = &b->rows[i - span->first];
	const struct set_group *g = &s->groups[span->group];

	*ret = (struct endpoint){.weight = r->weight,
		.priority = g->locality.priority,
		.health = r->health,
		.zone = *g->locality.zone ? g->locality.zone : NULL,
		.locality = &g->locality,
		.meta = r->meta ? b->metas[r->meta - 1] : NULL,
		.incarnation = r->incarnation};
	ret->naddrs = row_addrs(b, r, &ret->addr, 1);
	if (r->kind == ROW_HOST) {
		ret->host = (const char *)row_more(b, r);
		ret->port = ntohs(r->port);
	}
}

uint32_t endpoint_addrs(const struct endpoint_set *s, uint32_t i, struct addr *out, uint32_t max)
{
	const struct set_span *span = span_of(s, i);

	return row_addrs(span->block, &span->block->rows[i - span->first], out, max);
}

void endpoint_item(const struct endpoint_set *s, uint32_t i, struct addr *addrs, uint32_t max, struct endpoint_item *ret)
{
	const struct set_span *span = span_of(s, i);
	const struct endpoint_block *b = span->block;
	const struct endpoint_row *r = &b->rows[i - span->first];
	uint32_t n = row_addrs(b, r, addrs, max);

	*ret = (struct endpoint_item){.addrs = addrs,
		.naddrs = n < max ? n : max,
		.weight = r->weight,
		.health = r->health,
		.incarnation = r->incarnation,
		.meta = r->meta ? b->metas[r->meta - 1] : NULL};
	if (r->kind == ROW_HOST) {
		ret->host = str_of((const char *)row_more(b, r));
		ret->port = ntohs(r->port);
	}
}

uint32_t endpoints_spans(const struct endpoint_set *s)
{
	return s->nspans;
}

struct endpoint_span endpoints_span(const struct endpoint_set *s, uint32_t span)
{
	const struct set_span *at = &s->spans[span];

	return (struct endpoint_span){at->block, at->first, at->block->count, at->group, at->hash};
}

uint32_t endpoints_span_of(const struct endpoint_set *s, uint32_t i)
{
	return (uint32_t)(span_of(s, i) - s->spans);
}

uint32_t endpoints_groups(const struct endpoint_set *s)
{
	return s->ngroups;
}

struct endpoint_group endpoints_group_at(const struct endpoint_set *s, uint32_t group)
{
	const struct set_group *g = &s->groups[group];

	return (struct endpoint_group){g->locality, g->first, g->count, g->span, g->spans};
}

/* All that tells one address from another lies in the row; multiplied twice, so that neighbours do not lie beside each other. */
static uint32_t row_hash(const struct endpoint_block *b, const struct endpoint_row *r)
{
	uint64_t low, high;

	if (r->kind == ROW_ADDRS) {
		const uint8_t *at = row_more(b, r), *end = at;

		for (uint32_t i = 0; i < r->naddrs; i++) {
			struct addr unused;
			int n = addr_unpack(end, (size_t)(b->more + b->nmore - end), &unused);

			assert(n > 0);
			end += n;
		}
		return (uint32_t)str_hash(str_n((const char *)at, (size_t)(end - at)));
	}
	memcpy(&low, r->at, sizeof(low));
	memcpy(&high, r->at + sizeof(low), sizeof(high));
	low = (low ^ (uint64_t)r->port << 48 ^ r->kind) * UINT64_C(0x9E3779B97F4A7C15);
	low = (low ^ low >> 29 ^ high) * UINT64_C(0xBF58476D1CE4E5B9);
	return (uint32_t)(low >> 32);
}

void endpoints_brief(const struct endpoint_set *s, uint32_t span, struct endpoint_brief out[ENDPOINT_BLOCK])
{
	const struct endpoint_block *b = s->spans[span].block;

	for (uint32_t i = 0; i < b->count; i++) {
		const struct endpoint_row *r = &b->rows[i];

		out[i] = (struct endpoint_brief){.weight = r->weight,
			.incarnation = r->incarnation,
			.addrs_hash = r->kind == ROW_HOST ? 0 : row_hash(b, r),
			.health = r->health,
			.by_name = r->kind == ROW_HOST,
			.meta = r->meta ? b->metas[r->meta - 1] : NULL};
	}
}

uint32_t endpoint_addrs_hash(const struct addr *addrs, uint32_t n)
{
	uint8_t packed[ENDPOINT_ADDRS * ADDR_PACKED];
	struct endpoint_row row = {0};
	size_t size = 0;

	if (endpoint_row_ip(&row, addrs, n))
		return row_hash(NULL, &row);
	for (uint32_t i = 0; i < n && i < ENDPOINT_ADDRS; i++)
		size += addr_pack(&addrs[i], packed + size);
	return (uint32_t)str_hash(str_n((const char *)packed, size));
}

uint32_t endpoints_overprovisioning(const struct endpoint_set *s)
{
	return s->overprovisioning;
}

size_t endpoints_memory(const struct endpoint_set *s)
{
	size_t all = s->size;

	for (uint32_t i = 0; i < s->nspans; i++)
		if (s->spans[i].block->refs == 1)
			all += s->spans[i].block->size;
	return all;
}
