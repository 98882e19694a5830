/* xds/decode_endpoints: a ClusterLoadAssignment, pushed in pieces of any size, straight into packed endpoints.
 *
 *   bytes --> frame (which field begins, how long) --> chunk of LbEndpoints --+-- endpoints_share(hash): had before, taken over, not even decoded
 *                                                                            '-- endpoint_read, endpoints_put: unknown
 *
 * Never more than one chunk of raw bytes is held. Where a chunk ends is decided by its last endpoint's own bytes (a hash with seven zero bits), so the same
 * endpoints make the same chunks wherever they stand in the message, and a change moves its own chunk and at most the border beside it. With at least CHUNK_MIN
 * endpoints (small blocks would cost more memory than they carry) and at most ENDPOINT_BLOCK, a chunk has 138 on average.
 *
 *   level:   top  ClusterLoadAssignment { 1 cluster_name, 2 endpoints -> group, 4 policy }
 *            group LocalityLbEndpoints  { 1 locality, 2 lb_endpoints, 3 weight, 5 priority, 7 load_balancer_endpoints -> list }
 *            list  LbEndpointList       { 1 lb_endpoints }
 *
 * A group's locality, weight and priority may stand before or behind its endpoints; they are told to the builder when it ends. A group without endpoints is
 * no group (istiod sends such with a weight), but its priority counts where gaps are looked for.
 * Objects: the eds_decoder (caller's) owns the builder until the set is done, the chunk, the reader, and a ref to the set before. All of it is charged. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/err.h"
#include "xds/decode_int.h"
#include "xds/guard.h"

enum {
	CHUNK_BYTES = 64 * 1024, CHUNK_FIRST = 4096, CHUNK_MIN = 32, CHUNK_MASK = 127,
	ENDPOINT_BYTES = 16 * 1024, /* one LbEndpoint: its chunk is held */
	SMALL_BYTES = 16 * 1024,    /* one of the other fields that are gathered */
	NAME_BYTES = 4096,
	LOCALITIES = 1000,          /* groups with endpoints or without; Envoy's largest meshes have some dozen */
	PRIORITY_MAX = 128,         /* LocalityLbEndpoints.priority, lte */
	HEAD_BYTES = 2 * WIRE_VARINT_MAX,
};
enum level_kind { LEVEL_TOP, LEVEL_GROUP, LEVEL_LIST };
enum target { TARGET_SKIP, TARGET_ENDPOINT, TARGET_NAME, TARGET_POLICY, TARGET_LOCALITY, TARGET_WEIGHT, TARGET_BLOCK };

struct group {
	char *texts;             /* owned: region, zone, sub_zone behind each other; NULL: none of them */
	uint32_t region_n, zone_n, sub_zone_n;
	uint32_t weight;         /* 0: none was given */
	uint32_t priority;
	uint32_t endpoints;      /* seen */
	bool begun;              /* told to the builder */
	bool goes_on;            /* in the next message: FIELD_GOES_ON */
};

struct eds_decoder {
	struct account *account;         /* borrowed */
	struct endpoint_set *(*find)(void *ctx, struct str name);
	void *ctx;
	struct endpoint_set *old;        /* owned ref; NULL: none */
	struct endpoints_builder *builder; /* owned; NULL before the first endpoint and after the end */
	int code;                        /* negative: refused, for what `why` says */
	char why[320];
	/* frame */
	uint64_t at;                     /* bytes taken of the message */
	uint32_t depth;
	struct { enum level_kind kind; uint64_t end; } level[3]; /* of top the end is not known */
	enum target target;
	uint64_t left;                   /* of the field that is being gathered or skipped; 0: a head is expected */
	uint8_t head[HEAD_BYTES];        /* one that a piece has cut */
	uint32_t head_n;
	/* what is gathered */
	uint8_t *small;                  /* owned; all fields but endpoints */
	uint32_t small_n, small_cap;
	uint8_t *chunk;                  /* owned */
	uint32_t chunk_n, chunk_cap, chunk_count;
	uint32_t ends[ENDPOINT_BLOCK];
	uint64_t hashes[ENDPOINT_BLOCK];
	uint32_t block_count;            /* of a FIELD_BLOCK that holds for this chunk; 0: none does */
	uint64_t block_hash;
	struct endpoint_reader reader;
	/* what is known of the message */
	char *name;                      /* owned; NULL: not yet */
	uint32_t name_n;
	bool asked;                      /* find was, or it is too late */
	struct group group;
	uint64_t *localities;            /* owned: hashes of (locality, priority) */
	uint32_t nlocalities, localities_cap;
	uint64_t weights[PRIORITY_MAX + 1]; /* sums of the localities' weights */
	bool priority[PRIORITY_MAX + 1];
	uint32_t overprovisioning;       /* percent; 0: not said */
	bool drops;
};

static int __attribute__((cold, format(printf, 3, 4))) refuse(struct eds_decoder *d, int code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(d->why, sizeof(d->why), fmt, ap);
	va_end(ap);
	d->code = code;
	endpoints_drop(&d->builder);
	return code;
}

static int __attribute__((cold)) no_memory(struct eds_decoder *d)
{
	return refuse(d, -ENOMEM, "endpoints: no memory: the account '%s' is at its limit", d->account ? d->account->name : "");
}

/* ---- blocks ---- */

static int builder_need(struct eds_decoder *d)
{
	if (!d->builder) {
		d->asked = true; /* a name that stands behind its endpoints comes too late for sharing */
		d->builder = endpoints_build(d->account, d->old);
		if (!d->builder)
			return no_memory(d);
	}
	return 0;
}

static int __attribute__((cold)) builder_failed(struct eds_decoder *d, int code)
{
	return code == -ENOMEM ? no_memory(d) : refuse(d, code, "endpoints[%u].lb_endpoints: %s", d->nlocalities, err_text(code));
}

static int chunk_decode(struct eds_decoder *d, uint64_t hash)
{
	bool block = false;
	for (uint32_t i = 0, from = 0; i < d->chunk_count; from = d->ends[i++]) {
		struct str bytes = str_n((const char *)d->chunk + from, d->ends[i] - from);
		int code = endpoint_read(&d->reader, bytes);
		if (__builtin_expect(code < 0, 0))
			return refuse(d, code, "endpoints[%u].lb_endpoints[%u]%s%s: %s", d->nlocalities, d->group.endpoints - d->chunk_count + i,
				*d->reader.field ? "." : "", d->reader.field, d->reader.why);
		if (code == 0)
			continue;
		if (!block) {
			block = true;
			code = endpoints_block(d->builder, hash);
			if (code < 0)
				return builder_failed(d, code);
		}
		code = endpoints_put(d->builder, &d->reader.item);
		if (__builtin_expect(code < 0, 0))
			return builder_failed(d, code);
	}
	return 0;
}

/* Before a group is begun: endpoints that nobody can use make none. */
static bool chunk_is_of_use(struct eds_decoder *d)
{
	int code = 0;
	for (uint32_t i = 0, from = 0; i < d->chunk_count && code == 0; from = d->ends[i++])
		code = endpoint_read(&d->reader, str_n((const char *)d->chunk + from, d->ends[i] - from));
	d->reader.seen_n = 0; /* nobody holds its metadata yet */
	return code != 0;
}

static int chunk_end(struct eds_decoder *d)
{
	if (d->chunk_count == 0 || (!d->group.begun && !chunk_is_of_use(d))) {
		d->chunk_n = d->chunk_count = d->block_count = 0;
		return 0;
	}
	int code = builder_need(d);
	if (code == 0 && !d->group.begun) {
		code = endpoints_group(d->builder);
		if (code < 0)
			return builder_failed(d, code);
		d->group.begun = true;
	}
	if (code < 0)
		return code;
	uint64_t hash = d->block_count == d->chunk_count ? d->block_hash :
		str_hash(str_n((const char *)d->hashes, d->chunk_count * sizeof(d->hashes[0])));
	d->block_count = 0;
	if (!endpoints_share(d->builder, hash)) {
		code = chunk_decode(d, hash);
		if (code < 0)
			return code;
	}
	d->chunk_n = d->chunk_count = 0;
	return 0;
}

/* Room for an endpoint of n bytes; may end the chunk before it. */
static int chunk_room(struct eds_decoder *d, uint32_t n)
{
	if (d->chunk_count == ENDPOINT_BLOCK || n > CHUNK_BYTES - d->chunk_n) {
		int code = chunk_end(d);
		if (code < 0)
			return code;
	}
	if (d->chunk && n <= d->chunk_cap - d->chunk_n)
		return 0;
	uint32_t cap = d->chunk_cap ? d->chunk_cap : CHUNK_FIRST;
	while (cap - d->chunk_n < n)
		cap *= 2;
	uint8_t *grown = acct_realloc(d->account, d->chunk, cap);
	if (!grown)
		return no_memory(d);
	d->chunk = grown;
	d->chunk_cap = cap;
	return 0;
}

/* Its bytes lie at the end of the chunk. */
static int chunk_add(struct eds_decoder *d, uint32_t n)
{
	uint64_t hash = str_hash(str_n((const char *)d->chunk + d->chunk_n, n));
	d->chunk_n += n;
	d->ends[d->chunk_count] = d->chunk_n;
	d->hashes[d->chunk_count++] = hash;
	d->group.endpoints++;
	bool over = d->block_count ? d->chunk_count == d->block_count : (hash & CHUNK_MASK) == 0 && d->chunk_count >= CHUNK_MIN;
	return over ? chunk_end(d) : 0;
}

/* ---- groups ---- */

static void group_clear(struct eds_decoder *d)
{
	acct_free(d->account, d->group.texts);
	d->group = (struct group){0};
}

static int locality_add(struct eds_decoder *d)
{
	struct group *g = &d->group;
	uint64_t key[2] = {str_hash(str_n(g->texts, g->texts ? (size_t)g->region_n + g->zone_n + g->sub_zone_n : 0)),
		(uint64_t)g->priority << 48 | (uint64_t)g->region_n << 24 | g->zone_n};
	uint64_t hash = str_hash(str_n((const char *)key, sizeof(key)));
	for (uint32_t i = 0; i < d->nlocalities; i++)
		if (d->localities[i] == hash)
			return refuse(d, -EEXIST, "endpoints[%u].locality: '%.*s' is there twice with priority %u", d->nlocalities,
				g->texts ? (int)(g->region_n + g->zone_n + g->sub_zone_n) : 0, g->texts ? g->texts : "", g->priority);
	if (d->nlocalities == d->localities_cap) {
		uint32_t cap = d->localities_cap ? 2 * d->localities_cap : 16;
		uint64_t *grown = acct_realloc(d->account, d->localities, cap * sizeof(*grown));
		if (!grown)
			return no_memory(d);
		d->localities = grown;
		d->localities_cap = cap;
	}
	d->localities[d->nlocalities++] = hash;
	return 0;
}

static int group_begin(struct eds_decoder *d)
{
	if (d->group.goes_on) {
		d->group.goes_on = false;
		return 0;
	}
	if (d->nlocalities == LOCALITIES)
		return refuse(d, ERR_LIMIT, "endpoints: more than %d localities", LOCALITIES);
	group_clear(d);
	return 0;
}

static int group_end(struct eds_decoder *d)
{
	struct group *g = &d->group;
	uint32_t at = d->nlocalities;
	int code = chunk_end(d);
	if (code == 0 && g->goes_on)
		return 0;
	if (code == 0)
		code = locality_add(d);
	if (code < 0)
		return code;
	d->priority[g->priority] = true;
	d->weights[g->priority] += g->weight;
	if (d->weights[g->priority] > UINT32_MAX)
		return refuse(d, -ERANGE, "endpoints[%u].load_balancing_weight: the sum of priority %u is beyond 4294967295", at, g->priority);
	if (g->begun) {
		const char *t = g->texts ? g->texts : "";
		code = endpoints_group_end(d->builder, str_n(t, g->region_n), str_n(t + g->region_n, g->zone_n),
			str_n(t + g->region_n + g->zone_n, g->sub_zone_n), g->weight, g->priority);
		if (code == -EINVAL)
			return refuse(d, -ERANGE, "endpoints[%u].lb_endpoints: the sum of load_balancing_weight is beyond 4294967295", at);
		if (code < 0)
			return builder_failed(d, code);
	}
	group_clear(d);
	return 0;
}

/* ---- the small fields, once they are whole ---- */

static int locality_read(struct eds_decoder *d, struct str bytes)
{
	struct group *g = &d->group;
	struct wire w = wire_of(bytes);
	struct wire_field f;
	struct str part[3] = {{0}};
	int more;
	while ((more = wire_next(&w, &f)) > 0)
		if (f.type == WIRE_BYTES && f.number >= 1 && f.number <= 3)
			part[f.number - 1] = f.bytes;
	if (more < 0)
		return refuse(d, more, "endpoints[%u].locality: malformed", d->nlocalities);
	acct_free(d->account, g->texts);
	g->texts = NULL;
	g->region_n = (uint32_t)part[0].n;
	g->zone_n = (uint32_t)part[1].n;
	g->sub_zone_n = (uint32_t)part[2].n;
	size_t n = part[0].n + part[1].n + part[2].n;
	if (n == 0)
		return 0;
	g->texts = acct_alloc(d->account, n);
	if (!g->texts)
		return no_memory(d);
	char *at = g->texts;
	for (int i = 0; i < 3; i++) {
		if (!guard_text_valid(part[i]))
			return refuse(d, -EINVAL, "endpoints[%u].locality: a text is not UTF-8, or holds a NUL", d->nlocalities);
		if (part[i].n)
			memcpy(at, part[i].p, part[i].n);
		at += part[i].n;
	}
	return 0;
}

static int weight_read(struct eds_decoder *d, struct str bytes)
{
	uint64_t v = 0;
	if (wire_last_varint(bytes, 1, &v) < 0)
		return refuse(d, ERR_MALFORMED, "endpoints[%u].load_balancing_weight: malformed", d->nlocalities);
	if (v == 0 || v > UINT32_MAX)
		return refuse(d, -EINVAL, "endpoints[%u].load_balancing_weight: %llu", d->nlocalities, (unsigned long long)v);
	d->group.weight = (uint32_t)v;
	return 0;
}

static int policy_read(struct eds_decoder *d, struct str bytes)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	int more, code = 0;
	while ((more = wire_next(&w, &f)) > 0) {
		if (f.type != WIRE_BYTES)
			continue;
		if (f.number == 2) {
			struct str category = {0};
			code = wire_last_bytes(f.bytes, 1, &category);
			if (code == 0 && category.n == 0)
				return refuse(d, -EINVAL, "policy.drop_overloads.category: empty");
			d->drops = true;
		} else if (f.number == 3) {
			uint64_t v = 0;
			code = wire_last_varint(f.bytes, 1, &v);
			if (code == 0 && (v == 0 || v > UINT32_MAX))
				return refuse(d, -EINVAL, "policy.overprovisioning_factor: %llu", (unsigned long long)v);
			d->overprovisioning = (uint32_t)v;
		} else if (f.number == 4) {
			uint64_t ns = 0;
			code = wire_duration_ns(f.bytes, &ns);
			if (code == -ERANGE || (code == 0 && ns == 0))
				return refuse(d, -ERANGE, "policy.endpoint_stale_after: not above 0");
		}
		if (code < 0)
			break;
	}
	return more < 0 || code < 0 ? refuse(d, ERR_MALFORMED, "policy: malformed") : 0;
}

/* See FIELD_BLOCK. What does not fit (more than a block, endpoints behind none) is no mistake: chunks then end where they end. */
static int block_read(struct eds_decoder *d, struct str bytes)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	uint64_t hash = 0, count = 0;
	int more;
	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number == 1 && f.type == WIRE_FIXED64)
			hash = f.value;
		else if (f.number == 2 && f.type == WIRE_VARINT)
			count = f.value;
	}
	if (more < 0)
		return refuse(d, more, "endpoints[%u]: malformed", d->nlocalities);
	int code = chunk_end(d);
	if (code == 0 && count <= ENDPOINT_BLOCK) {
		d->block_hash = hash;
		d->block_count = (uint32_t)count;
	}
	return code;
}

static int name_read(struct eds_decoder *d, struct str bytes)
{
	if (!guard_text_valid(bytes))
		return refuse(d, -EINVAL, "cluster_name: not UTF-8, or with a NUL");
	char *copy = acct_alloc(d->account, bytes.n + 1);
	if (!copy)
		return no_memory(d);
	if (bytes.n)
		memcpy(copy, bytes.p, bytes.n);
	copy[bytes.n] = '\0';
	acct_free(d->account, d->name);
	d->name = copy;
	d->name_n = (uint32_t)bytes.n;
	if (!d->asked && d->find && bytes.n) {
		d->asked = true;
		struct endpoint_set *old = d->find(d->ctx, str_n(d->name, d->name_n));
		d->old = old ? endpoints_ref(old) : NULL;
	}
	return 0;
}

static int gathered(struct eds_decoder *d)
{
	struct str bytes = str_n((const char *)d->small, d->small_n);
	switch (d->target) {
	case TARGET_ENDPOINT: return chunk_add(d, d->small_n);
	case TARGET_NAME: return name_read(d, bytes);
	case TARGET_POLICY: return policy_read(d, bytes);
	case TARGET_LOCALITY: return locality_read(d, bytes);
	case TARGET_WEIGHT: return weight_read(d, bytes);
	case TARGET_BLOCK: return block_read(d, bytes);
	case TARGET_SKIP: break;
	}
	return 0;
}

/* ---- frame ---- */

struct head { uint32_t number, type; uint64_t value; };

/* Bytes of the tag and of what follows it up to a length's content; 0: not whole; negative: malformed. */
static inline int head_parse(const uint8_t *p, const uint8_t *end, struct head *ret)
{
	uint64_t tag;
	int used = wire_varint(p, end, &tag), more;
	if (used <= 0)
		return used;
	if (tag >> 3 == 0 || tag >> 3 > WIRE_NUMBER_MAX)
		return ERR_MALFORMED;
	ret->number = (uint32_t)(tag >> 3);
	ret->type = tag & 7;
	switch (ret->type) {
	case WIRE_VARINT:
	case WIRE_BYTES:
		more = wire_varint(p + used, end, &ret->value);
		return more <= 0 ? more : used + more;
	case WIRE_FIXED64: ret->value = 8; return used; /* skipped like bytes without a length */
	case WIRE_FIXED32: ret->value = 4; return used;
	default: return ERR_MALFORMED;
	}
}

static int gather(struct eds_decoder *d, enum target target, uint64_t n, uint32_t most, const char *what)
{
	if (n > most)
		return refuse(d, ERR_LIMIT, "%s: %llu bytes, more than %u", what, (unsigned long long)n, most);
	d->target = target;
	d->small_n = 0;
	if (target != TARGET_ENDPOINT && n > d->small_cap) {
		uint8_t *grown = acct_realloc(d->account, d->small, n);
		if (!grown)
			return no_memory(d);
		d->small = grown;
		d->small_cap = (uint32_t)n;
	}
	return target == TARGET_ENDPOINT ? chunk_room(d, (uint32_t)n) : 0;
}

static int __attribute__((cold)) endpoint_too_large(struct eds_decoder *d, uint64_t n)
{
	return refuse(d, ERR_LIMIT, "endpoints[%u].lb_endpoints[%u]: %llu bytes, more than %d", d->nlocalities, d->group.endpoints, (unsigned long long)n,
		ENDPOINT_BYTES);
}

static int enter(struct eds_decoder *d, enum level_kind kind, uint64_t n)
{
	d->depth++;
	d->level[d->depth].kind = kind;
	d->level[d->depth].end = d->at + n;
	d->left = 0;
	return kind == LEVEL_GROUP ? group_begin(d) : 0;
}

/* A field begins; d->at is behind its head. */
static int field(struct eds_decoder *d, const struct head *h)
{
	bool bytes = h->type == WIRE_BYTES;
	uint64_t end = d->level[d->depth].end;
	d->target = TARGET_SKIP;
	d->left = h->type == WIRE_VARINT ? 0 : h->value;
	if (d->left > end - d->at)
		return refuse(d, ERR_MALFORMED, "endpoints[%u]: a field of %llu bytes does not fit", d->nlocalities, (unsigned long long)d->left);
	switch (d->level[d->depth].kind) {
	case LEVEL_TOP:
		if (bytes && h->number == 1)
			return gather(d, TARGET_NAME, h->value, NAME_BYTES, "cluster_name");
		if (bytes && h->number == 2)
			return enter(d, LEVEL_GROUP, h->value);
		if (bytes && h->number == 4)
			return gather(d, TARGET_POLICY, h->value, SMALL_BYTES, "policy");
		break;
	case LEVEL_GROUP:
		if (bytes && h->number == 1)
			return gather(d, TARGET_LOCALITY, h->value, SMALL_BYTES, "endpoints.locality");
		if (bytes && h->number == 3)
			return gather(d, TARGET_WEIGHT, h->value, SMALL_BYTES, "endpoints.load_balancing_weight");
		if (bytes && h->number == 7)
			return enter(d, LEVEL_LIST, h->value);
		if (bytes && h->number == FIELD_BLOCK)
			return gather(d, TARGET_BLOCK, h->value, SMALL_BYTES, "endpoints");
		if (h->type == WIRE_VARINT && h->number == 5) {
			if (h->value > PRIORITY_MAX)
				return refuse(d, -EINVAL, "endpoints[%u].priority: %llu is above %d", d->nlocalities, (unsigned long long)h->value, PRIORITY_MAX);
			d->group.priority = (uint32_t)h->value;
		}
		if (h->type == WIRE_VARINT && h->number == FIELD_GOES_ON)
			d->group.goes_on = h->value != 0;
		break;
	case LEVEL_LIST: break;
	}
	if (bytes && ((d->level[d->depth].kind == LEVEL_GROUP && h->number == 2) || (d->level[d->depth].kind == LEVEL_LIST && h->number == 1))) {
		if (h->value > ENDPOINT_BYTES)
			return endpoint_too_large(d, h->value);
		return gather(d, TARGET_ENDPOINT, h->value, ENDPOINT_BYTES, "");
	}
	return 0;
}

/* After a field: gathered ones are read, messages that are over are left. */
static int field_end(struct eds_decoder *d)
{
	int code = gathered(d);
	d->target = TARGET_SKIP;
	while (code == 0 && d->depth > 0 && d->at == d->level[d->depth].end) {
		if (d->level[d->depth].kind == LEVEL_GROUP)
			code = group_end(d);
		d->depth--;
	}
	return code;
}

/* The bytes of a field that is being gathered or skipped; returns how many were taken. */
static size_t content(struct eds_decoder *d, const uint8_t *p, size_t n)
{
	if (n > d->left)
		n = (size_t)d->left;
	if (d->target == TARGET_ENDPOINT)
		memcpy(d->chunk + d->chunk_n + d->small_n, p, n);
	else if (d->target != TARGET_SKIP)
		memcpy(d->small + d->small_n, p, n);
	if (d->target != TARGET_SKIP)
		d->small_n += (uint32_t)n;
	d->left -= n;
	d->at += n;
	return n;
}

/* A head at p, or the rest of one that was cut. Bytes taken, or negative. */
static int head(struct eds_decoder *d, const uint8_t *p, size_t n)
{
	struct head h;
	int used, taken;
	uint64_t room = d->level[d->depth].end - d->at - d->head_n;
	const uint8_t *end = p + (n < room ? n : (size_t)room);
	if (__builtin_expect(d->head_n == 0, 1)) {
		used = taken = head_parse(p, end, &h);
		if (used == 0) {
			taken = (int)(end - p); /* below HEAD_BYTES: longer is malformed or whole */
			memcpy(d->head, p, (size_t)taken);
			d->head_n = (uint32_t)taken;
		}
	} else {
		used = taken = 0;
		while (used == 0 && p < end && d->head_n < HEAD_BYTES) {
			d->head[d->head_n++] = *p++;
			taken++;
			used = head_parse(d->head, d->head + d->head_n, &h);
		}
	}
	if (used < 0 || (used == 0 && d->head_n == d->level[d->depth].end - d->at))
		return refuse(d, ERR_MALFORMED, "endpoints[%u]: malformed at byte %llu", d->nlocalities, (unsigned long long)d->at);
	if (used == 0)
		return taken;
	d->head_n = 0;
	d->at += (uint64_t)used;
	used = field(d, &h);
	if (used == 0 && d->left == 0)
		used = field_end(d);
	return used < 0 ? used : taken;
}

/* ---- the calls ---- */

struct eds_decoder *eds_decoder_new(struct account *a, struct endpoint_metas *metas, struct endpoint_set *(*find)(void *ctx, struct str name), void *ctx)
{
	struct eds_decoder *d = acct_alloc(a, sizeof(*d));
	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->account = a;
	d->find = find;
	d->ctx = ctx;
	d->reader.metas = metas;
	d->level[0].end = UINT64_MAX;
	return d;
}

int eds_decoder_bytes(struct eds_decoder *d, const void *bytes, size_t n)
{
	const uint8_t *p = bytes, *end = p + n;
	while (p < end && d->code == 0) {
		if (d->left == 0) {
			int taken = head(d, p, (size_t)(end - p));
			if (taken < 0)
				return taken;
			p += taken;
		}
		if (d->left > 0 && p < end) {
			p += content(d, p, (size_t)(end - p));
			if (d->left == 0 && field_end(d) < 0)
				break;
		}
	}
	return d->code;
}

static int whole(struct eds_decoder *d)
{
	if (d->code < 0)
		return d->code;
	if (d->depth > 0 || d->left > 0 || d->head_n > 0 || d->group.goes_on)
		return refuse(d, ERR_MALFORMED, "endpoints[%u]: cut at byte %llu", d->nlocalities, (unsigned long long)d->at);
	if (d->name_n == 0)
		return refuse(d, -EINVAL, "cluster_name: empty");
	for (uint32_t i = PRIORITY_MAX; i > 0; i--)
		if (d->priority[i] && !d->priority[i - 1])
			return refuse(d, -EINVAL, "endpoints.priority: %u is there and %u is not", i, i - 1);
	return builder_need(d);
}

int eds_decoder_end(struct eds_decoder *d, struct endpoint_set **ret, struct str *ret_name, struct sb *problems)
{
	int code = whole(d);
	*ret_name = str_n(d->name ? d->name : "", d->name_n);
	if (code < 0) {
		sb_str(problems, d->why);
		return code;
	}
	*ret = endpoints_done(&d->builder, d->overprovisioning);
	d->code = ERR_CLOSED; /* it is one message's */
	return 0;
}

const char *eds_decoder_notes(const struct eds_decoder *d)
{
	return d->drops ? "policy.drop_overloads: no call is dropped" : NULL;
}

void eds_decoder_free(struct eds_decoder **pd)
{
	struct eds_decoder *d = *pd;
	*pd = NULL;
	if (!d)
		return;
	endpoints_drop(&d->builder);
	if (d->old)
		endpoints_unref(&d->old);
	group_clear(d);
	acct_free(d->account, d->localities);
	acct_free(d->account, d->name);
	acct_free(d->account, d->small);
	acct_free(d->account, d->chunk);
	acct_free(d->account, d);
}
