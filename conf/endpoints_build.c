/* conf/endpoints_build: endpoint sets, made block by block.
 *
 *   endpoints_builder (owner: who called endpoints_build) 1 --- 1 endpoint_set in the making, 1 block in the making
 *
 * A block grows in the builder and is copied into its exact size when it ends. Nothing of the old set is changed: its blocks get one more reference. */
#include "conf/endpoints_int.h"

#include <errno.h>
#include <stdlib.h>

struct endpoints_builder {
	struct endpoint_set *set; /* owned */
	const struct endpoint_set *old; /* borrowed */
	uint32_t *index; /* of the old set's spans by hash: 1 + span, open addressing; NULL: not asked for yet, or refused */
	uint32_t index_mask;
	bool index_tried;
	uint32_t hint; /* the old span that comes next when nothing has changed */
	bool in_group, in_block;
	uint64_t group_weight;
	/* the block in the making */
	uint64_t hash;
	uint32_t count, nmetas;
	uint64_t weight;
	bool has_names;
	uint8_t *more;
	uint32_t nmore, more_cap;
	struct endpoint_meta *metas[ENDPOINT_BLOCK];
	struct endpoint_row rows[ENDPOINT_BLOCK];
};

struct endpoints_builder *endpoints_build(struct account *a, const struct endpoint_set *old)
{
	struct endpoints_builder *b = xnew(struct endpoints_builder);

	b->set = xnew(struct endpoint_set);
	b->set->head.refs = 1;
	b->old = old && old->head.count ? old : NULL;
	charge_begin(&b->set->charge, a, 0);
	return b;
}

/* ---- memory: all of it hangs on the set's charge until it is done --------------------------------------------------------- */

static bool take(struct endpoints_builder *b, size_t n)
{
	struct endpoint_set *s = b->set;

	if (s->charge.account && !mem_try(s->charge.account, n))
		return false;
	s->size += n;
	if (s->charge.account)
		s->charge.n += n;
	return true;
}

static void give(struct endpoints_builder *b, size_t n)
{
	struct endpoint_set *s = b->set;

	s->size -= n;
	if (!s->charge.account)
		return;
	s->charge.n -= n;
	mem_give(s->charge.account, n);
}

/* Room for `more` behind the first `count` of an array. */
static int grow(struct endpoints_builder *b, void *array, uint32_t count, uint32_t more, uint32_t *cap, size_t size)
{
	uint64_t want = *cap ? *cap : 8;
	void *at, **where = array;

	if (more <= *cap - count)
		return 0;
	while (want < (uint64_t)count + more)
		want *= 2;
	if (want > UINT32_MAX / 2)
		return -EINVAL;
	if (!take(b, (want - *cap) * size))
		return -ENOMEM;
	at = realloc(*where, want * size);
	if (!at) {
		give(b, (want - *cap) * size);
		return -ENOMEM;
	}
	*where = at;
	*cap = (uint32_t)want;
	return 0;
}

static void shrink(struct endpoints_builder *b, void *array, uint32_t count, uint32_t *cap, size_t size)
{
	void **where = array, *at;

	if (*cap == count)
		return;
	at = count ? realloc(*where, count * size) : NULL;
	if (!count)
		free(*where);
	else if (!at)
		return;
	*where = at;
	give(b, (*cap - count) * size);
	*cap = count;
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------- */

static void block_reset(struct endpoints_builder *b)
{
	for (uint32_t i = 0; i < b->nmetas; i++)
		endpoint_meta_unref(b->metas[i]);
	b->count = b->nmetas = b->nmore = 0;
	b->weight = 0;
	b->has_names = false;
	b->in_block = false;
}

static int add_span(struct endpoints_builder *b, struct endpoint_block *block, uint64_t hash)
{
	struct endpoint_set *s = b->set;
	int err = block->count > UINT32_MAX - 1 - s->head.count ? -EINVAL
								: grow(b, &s->spans, s->nspans, 1, &s->spans_cap, sizeof(*s->spans));

	if (err < 0)
		return err;
	s->spans[s->nspans++] = (struct set_span){block, hash, s->head.count, s->ngroups - 1};
	s->head.count += block->count;
	s->head.has_names |= block->has_names;
	s->groups[s->ngroups - 1].spans++;
	s->groups[s->ngroups - 1].count += block->count;
	if (b->group_weight <= UINT32_MAX) /* beyond it endpoints_group_end refuses: it need not be exact */
		b->group_weight += block->weight;
	return 0;
}

static uint64_t block_content(const struct endpoint_block *k)
{
	uint64_t h = str_hash_seeded(str_n((const char *)k->rows, k->count * sizeof(k->rows[0])), k->nmetas);

	if (k->nmore)
		h = str_hash_seeded(str_n((const char *)k->more, k->nmore), h);
	for (uint32_t i = 0; i < k->nmetas; i++) {
		const uint64_t meta = endpoint_meta_hash(k->metas[i]);

		h = str_hash_seeded(str_n((const char *)&meta, sizeof(meta)), h);
	}
	return h;
}

static int block_end(struct endpoints_builder *b)
{
	size_t rows = b->count * sizeof(b->rows[0]), metas = b->nmetas * sizeof(b->metas[0]),
	       size = sizeof(struct endpoint_block) + rows + metas + b->nmore;
	struct account *account = b->set->charge.account;
	struct endpoint_block *k;
	int err;

	if (!b->count) {
		block_reset(b);
		return 0;
	}
	if (account && !mem_try(account, size))
		return -ENOMEM;
	k = malloc(size);
	if (!k) {
		if (account)
			mem_give(account, size);
		return -ENOMEM;
	}
	*k = (struct endpoint_block){.refs = 1,
		.count = (uint16_t)b->count,
		.nmetas = (uint16_t)b->nmetas,
		.weight = b->weight,
		.has_names = b->has_names,
		.nmore = b->nmore,
		.size = size};
	charge_begin(&k->charge, account, size);
	memcpy(k->rows, b->rows, rows);
	k->metas = (struct endpoint_meta **)((char *)k->rows + rows);
	if (b->nmetas)
		memcpy(k->metas, b->metas, metas);
	k->more = (uint8_t *)k->metas + metas;
	if (b->nmore)
		memcpy(k->more, b->more, b->nmore);
	b->nmetas = 0; /* their references have moved */
	k->content = block_content(k);
	err = add_span(b, k, b->hash);
	if (err < 0)
		endpoint_block_unref(k);
	block_reset(b);
	return err;
}

/* Once per set: whoever wrote it may have made each block's hash a new one, and then a search for each would be quadratic. */
static void index_make(struct endpoints_builder *b)
{
	uint32_t cap = 8;

	b->index_tried = true;
	while (cap < b->old->nspans * 2 && cap < UINT32_MAX / 4)
		cap *= 2;
	if (!take(b, cap * sizeof(*b->index)))
		return; /* nothing is shared then, and who asks for more hears of it */
	b->index = calloc(cap, sizeof(*b->index));
	if (!b->index) {
		give(b, cap * sizeof(*b->index));
		return;
	}
	b->index_mask = cap - 1;
	for (uint32_t i = 0; i < b->old->nspans; i++) {
		uint64_t hash = b->old->spans[i].hash;
		uint32_t at = (uint32_t)(hash ^ hash >> 32) & b->index_mask;

		if (!hash)
			continue;
		while (b->index[at] && b->old->spans[b->index[at] - 1].hash != hash)
			at = (at + 1) & b->index_mask;
		if (!b->index[at])
			b->index[at] = i + 1;
	}
}

static const struct set_span *index_find(struct endpoints_builder *b, uint64_t hash)
{
	if (!b->index_tried)
		index_make(b);
	if (!b->index)
		return NULL;
	for (uint32_t at = (uint32_t)(hash ^ hash >> 32) & b->index_mask; b->index[at]; at = (at + 1) & b->index_mask)
		if (b->old->spans[b->index[at] - 1].hash == hash)
			return &b->old->spans[b->index[at] - 1];
	return NULL;
}

bool endpoints_share(struct endpoints_builder *b, uint64_t block_hash)
{
	const struct set_span *found = NULL;

	if (!b->in_group || !b->old || !block_hash || block_end(b) < 0)
		return false;
	if (b->hint < b->old->nspans && b->old->spans[b->hint].hash == block_hash)
		found = &b->old->spans[b->hint];
	else
		found = index_find(b, block_hash);
	if (!found)
		return false;
	found->block->refs++;
	if (add_span(b, found->block, block_hash) < 0) {
		found->block->refs--;
		return false;
	}
	b->hint = (uint32_t)(found - b->old->spans) + 1;
	return true;
}

int endpoints_block(struct endpoints_builder *b, uint64_t block_hash)
{
	int err = b->in_group ? block_end(b) : -EINVAL;

	if (err < 0)
		return err;
	b->in_block = true;
	b->hash = block_hash;
	return 0;
}

/* ---- endpoints ------------------------------------------------------------------------------------------------------------ */

static int put_more(struct endpoints_builder *b, struct endpoint_row *r, const void *p, size_t n, bool first)
{
	int err = n > UINT16_MAX ? -EINVAL : grow(b, &b->more, b->nmore, (uint32_t)n, &b->more_cap, 1);

	if (err < 0)
		return err;
	if (first)
		memcpy(r->at, &b->nmore, sizeof(b->nmore));
	memcpy(b->more + b->nmore, p, n);
	b->nmore += (uint32_t)n;
	return 0;
}

static int put_addrs(struct endpoints_builder *b, struct endpoint_row *r, const struct addr *a, uint32_t n)
{
	if (n > ENDPOINT_ADDRS)
		return -EINVAL;
	if (endpoint_row_ip(r, a, n))
		return 0;
	r->kind = ROW_ADDRS;
	r->naddrs = (uint16_t)n;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t packed[ADDR_PACKED];
		size_t size = addr_pack(&a[i], packed);
		int err = size ? put_more(b, r, packed, size, i == 0) : -EINVAL;

		if (err < 0)
			return err;
	}
	return 0;
}

static int put_host(struct endpoints_builder *b, struct endpoint_row *r, struct str host, uint16_t port)
{
	char text[256];

	if (host.n >= sizeof(text) || memchr(host.p, '\0', host.n) || port == 0)
		return -EINVAL;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	str_lower(text, host.n);
	r->kind = ROW_HOST;
	r->port = htons(port);
	b->has_names = true;
	return put_more(b, r, text, host.n + 1, true);
}

static void put_meta(struct endpoints_builder *b, struct endpoint_row *r, struct endpoint_meta *meta)
{
	uint32_t i = b->nmetas;

	/* Mostly one for all, or that of the neighbour. */
	while (i > 0 && b->metas[i - 1] != meta)
		i--;
	if (i == 0) {
		b->metas[b->nmetas++] = endpoint_meta_ref(meta);
		i = b->nmetas;
	}
	r->meta = (uint16_t)i;
}

int endpoints_put(struct endpoints_builder *b, const struct endpoint_item *item)
{
	struct endpoint_row row = {.health = item->health, .weight = item->weight, .incarnation = item->incarnation};
	uint32_t nmore;
	bool had_names;
	int err = 0;

	if (!b->in_group || !item->weight || item->health > EP_DEGRADED || (!item->naddrs && !item->host.n))
		return -EINVAL;
	if (b->count == ENDPOINT_BLOCK)
		b->hash = 0; /* it is not what its hash says: half of a block must not be shared as the whole */
	if (b->count == ENDPOINT_BLOCK || !b->in_block)
		err = endpoints_block(b, 0);
	if (err < 0)
		return err;
	nmore = b->nmore;
	had_names = b->has_names;
	err = item->naddrs ? put_addrs(b, &row, item->addrs, item->naddrs) : put_host(b, &row, item->host, item->port);
	if (err < 0) {
		b->nmore = nmore;
		b->has_names = had_names;
		return err;
	}
	if (item->meta)
		put_meta(b, &row, item->meta);
	b->weight += item->weight;
	b->rows[b->count++] = row;
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

int endpoints_put_text(struct endpoints_builder *b, struct str text, uint32_t weight)
{
	struct endpoint_item item = {.weight = weight};
	struct addr addr;
	int port, code;

	if (memchr(text.p ? text.p : "", '\0', text.n))
		return -EINVAL;
	code = addr_parse(text, &addr);
	if (code == -ENAMETOOLONG)
		return code;
	if (code == 0) {
		if (!addr_is_unix(&addr) && addr_port(&addr) == 0)
			return -EINVAL;
		item.addrs = &addr;
		item.naddrs = 1;
		return endpoints_put(b, &item);
	}
	if (addr_split(text, &item.host, &port) < 0 || port <= 0 || !is_host(item.host))
		return -EINVAL;
	item.port = (uint16_t)port;
	return endpoints_put(b, &item);
}

/* ---- groups --------------------------------------------------------------------------------------------------------------- */

int endpoints_group(struct endpoints_builder *b)
{
	struct endpoint_set *s = b->set;
	int err = b->in_group ? -EINVAL : grow(b, &s->groups, s->ngroups, 1, &s->groups_cap, sizeof(*s->groups));

	if (err < 0)
		return err;
	s->groups[s->ngroups++] = (struct set_group){.first = s->head.count, .span = s->nspans, .region = UINT32_MAX};
	b->in_group = true;
	b->group_weight = 0;
	return 0;
}

/* Texts repeat from group to group: the one before is looked at. */
static int put_text(struct endpoints_builder *b, struct str text, uint32_t before, uint32_t *ret)
{
	struct endpoint_set *s = b->set;
	int err;

	if (before != UINT32_MAX && text.n < s->ntexts - before && memcmp(s->texts + before, text.p ? text.p : "", text.n) == 0 &&
		s->texts[before + text.n] == '\0') {
		*ret = before;
		return 0;
	}
	err = text.n > UINT16_MAX || memchr(text.p ? text.p : "", '\0', text.n)
		? -EINVAL
		: grow(b, &s->texts, s->ntexts, (uint32_t)text.n + 1, &s->texts_cap, 1);
	if (err < 0)
		return err;
	if (text.n)
		memcpy(s->texts + s->ntexts, text.p, text.n);
	s->texts[s->ntexts + text.n] = '\0';
	*ret = s->ntexts;
	s->ntexts += (uint32_t)text.n + 1;
	return 0;
}

static const struct set_group no_group = {.region = UINT32_MAX, .zone = UINT32_MAX, .sub_zone = UINT32_MAX};

int endpoints_group_end(
	struct endpoints_builder *b, struct str region, struct str zone, struct str sub_zone, uint32_t weight, uint32_t priority)
{
	struct endpoint_set *s = b->set;
	const struct set_group *before = s->ngroups > 1 ? &s->groups[s->ngroups - 2] : &no_group;
	struct set_group *g;
	int err = b->in_group ? block_end(b) : -EINVAL;

	if (err < 0)
		return err;
	g = &s->groups[s->ngroups - 1];
	if (b->group_weight > UINT32_MAX)
		return -EINVAL;
	g->locality.weight = weight;
	g->locality.priority = priority;
	err = put_text(b, zone, before->zone, &g->zone);
	if (!err)
		err = put_text(b, sub_zone, before->sub_zone, &g->sub_zone);
	if (!err)
		err = put_text(b, region, before->region, &g->region); /* the last: it marks the group as ended */
	if (!err)
		b->in_group = false;
	return err;
}

/* ---- done ----------------------------------------------------------------------------------------------------------------- */

/* 0 means "not sealed": no content may have it. */
static uint64_t never_zero(uint64_t hash)
{
	return hash ? hash : 1;
}

static uint64_t text_hash(const char *text, uint64_t seed)
{
	return str_hash_seeded(str_n(text, strlen(text) + 1), seed);
}

/* Order is part of what is declared: round robin shows it. */
static uint64_t set_content(const struct endpoint_set *s)
{
	const uint64_t head[] = {s->head.count, s->ngroups, s->overprovisioning};
	uint64_t h = str_hash(str_n((const char *)head, sizeof(head)));

	for (uint32_t i = 0; i < s->ngroups; i++) {
		const struct set_group *g = &s->groups[i];
		const uint32_t row[] = {g->count, g->locality.weight, g->locality.priority};

		h = text_hash(g->locality.sub_zone, text_hash(g->locality.zone, text_hash(g->locality.region, h)));
		h = str_hash_seeded(str_n((const char *)row, sizeof(row)), h);
	}
	for (uint32_t i = 0; i < s->nspans; i++)
		h = str_hash_seeded(str_n((const char *)&s->spans[i].block->content, sizeof(uint64_t)), h);
	return never_zero(h);
}

static void scratch_end(struct endpoints_builder *b)
{
	block_reset(b);
	if (b->more_cap)
		give(b, b->more_cap);
	free(b->more);
	if (b->index)
		give(b, ((size_t)b->index_mask + 1) * sizeof(*b->index));
	free(b->index);
}

struct endpoint_set *endpoints_done(struct endpoints_builder **pb, uint32_t overprovisioning)
{
	struct endpoints_builder *b = *pb;
	struct endpoint_set *s = b->set;

	*pb = NULL;
	scratch_end(b);
	shrink(b, &s->spans, s->nspans, &s->spans_cap, sizeof(*s->spans));
	shrink(b, &s->groups, s->ngroups, &s->groups_cap, sizeof(*s->groups));
	shrink(b, &s->texts, s->ntexts, &s->texts_cap, 1);
	free(b);
	for (uint32_t i = 0; i < s->ngroups; i++) {
		struct set_group *g = &s->groups[i];
		bool ended = g->region != UINT32_MAX; /* else its caller has not said what comes behind its endpoints */

		g->locality.region = ended ? s->texts + g->region : "";
		g->locality.zone = ended ? s->texts + g->zone : "";
		g->locality.sub_zone = ended ? s->texts + g->sub_zone : "";
	}
	s->overprovisioning = overprovisioning;
	s->head.hash = set_content(s);
	return s;
}

void endpoints_drop(struct endpoints_builder **pb)
{
	struct endpoints_builder *b = *pb;

	*pb = NULL;
	if (!b)
		return;
	scratch_end(b);
	endpoints_unref(&b->set);
	free(b);
}
