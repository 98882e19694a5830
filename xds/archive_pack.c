/* xds/archive_pack: bodies of an archive in memory, where there is no file: in blocks of 64 KiB that are deflated once they are full.
 *
 *   packer 1 --- n block 1 --- n section     an ordinary block has one section and many bodies; a body beyond 64 KiB has a block of its own with many sections
 *
 * Names stay as they are beside their block, for they are compared at every look-up; reading a body inflates the section it lies in. Deflating takes
 * a third of a millisecond a section, so a task does one a turn; only when too much waits does putting wait for it.
 * A block whose bodies have mostly gone is taken apart, and what is left goes into the one being filled. */
#include "xds/archive_int.h"

#include <errno.h>
#include <zlib.h>

#include "base/mem.h"

enum { BLOCK = 64 << 10, SECTION_FIRST = 4 << 10, RAW_MAX = 256 << 10, LEVEL = 4, WINDOW = -15 /* raw deflate: we know what it is */, MEM_LEVEL = 7 };

enum section_state { SECTION_OPEN, SECTION_WAITS, SECTION_RAW /* does not shrink */, SECTION_DEFLATED };
struct section {
	void *p;              /* acct_alloc'ed */
	uint32_t n, raw_n;    /* bytes at p; of the bodies */
	uint8_t state;
};
struct block {
	uint32_t id, nsections;
	struct section one, *sections; /* sections: &one, or acct_alloc'ed */
	char *names;          /* acct_alloc'ed: struct entry, name, struct entry, name ... */
	uint32_t names_n, names_cap;
	uint32_t live;        /* records */
	uint64_t raw_n, live_n; /* bytes of bodies: all, of living records */
};
struct entry {
	uint32_t at, n;       /* of the body, in the block */
	uint16_t name_n;
	uint8_t kind, unused;
};
_Static_assert(sizeof(struct entry) == 12, "no padding: it lies in names");

/* ---- deflate and inflate ------------------------------------------------------------------------------------------------------ */

static void *z_take(void *account, unsigned items, unsigned size)
{
	return acct_alloc(account, (size_t)items * size);
}

static void z_give(void *account, void *p)
{
	acct_free(account, p);
}

/* Without the memory for it, or where it would not get smaller, the section stays as it is. */
static void section_deflate(struct archive *a, struct section *c)
{
	struct account *account = a->spec.account;
	z_stream z = {.zalloc = z_take, .zfree = z_give, .opaque = account};
	const uint32_t most = c->raw_n - c->raw_n / 8;
	void *out = acct_alloc(account, most + 1), *fit;

	a->packer.raw_waiting -= c->raw_n;
	c->state = SECTION_RAW;
	if (!out)
		return;
	if (deflateInit2(&z, LEVEL, Z_DEFLATED, WINDOW, MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK) {
		z.next_in = c->p;
		z.avail_in = c->raw_n;
		z.next_out = out;
		z.avail_out = most;
		if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
			acct_free(account, c->p);
			c->n = (uint32_t)z.total_out;
			fit = acct_realloc(account, out, c->n ? c->n : 1);
			c->p = fit ? fit : out;
			c->state = SECTION_DEFLATED;
			out = NULL;
		}
		deflateEnd(&z);
	}
	acct_free(account, out);
}

/* The first n bytes of the section. */
static int section_inflate(struct archive *a, const struct section *c, void *to, uint32_t n)
{
	z_stream z = {.zalloc = z_take, .zfree = z_give, .opaque = a->spec.account, .next_in = c->p, .avail_in = c->n, .next_out = to, .avail_out = n};
	int code = inflateInit2(&z, WINDOW);

	if (code == Z_OK) {
		code = inflate(&z, Z_FINISH);
		inflateEnd(&z);
		if (z.avail_out == 0 && (code == Z_STREAM_END || code == Z_BUF_ERROR || code == Z_OK))
			return 0;
	}
	return code == Z_MEM_ERROR ? -ENOMEM : -EIO;
}

static int section_read(struct archive *a, const struct section *c, uint32_t at, void *to, uint32_t n)
{
	char *all;
	int code;

	if (n == 0)
		return 0;
	if (c->state != SECTION_DEFLATED) {
		memcpy(to, (char *)c->p + at, n);
		return 0;
	}
	if (at == 0)
		return section_inflate(a, c, to, n);
	all = acct_alloc(a->spec.account, at + n);
	if (!all)
		return -ENOMEM;
	code = section_inflate(a, c, all, at + n);
	if (code == 0)
		memcpy(to, all + at, n);
	acct_free(a->spec.account, all);
	return code;
}

/* ---- blocks --------------------------------------------------------------------------------------------------------------------- */

static void block_free(struct archive *a, struct block *b)
{
	struct account *account = a->spec.account;
	struct packer *p = &a->packer;

	p->blocks[b->id] = NULL;
	if (p->open == b)
		p->open = NULL;
	p->dead -= b->raw_n - b->live_n;
	p->bytes -= b->live_n;
	for (uint32_t i = 0; i < b->nsections; i++) {
		if (b->sections[i].state == SECTION_WAITS)
			p->raw_waiting -= b->sections[i].raw_n;
		acct_free(account, b->sections[i].p);
	}
	if (b->sections != &b->one)
		acct_free(account, b->sections);
	acct_free(account, b->names);
	acct_free(account, b);
}

static struct block *block_new(struct archive *a, uint32_t nsections)
{
	struct account *account = a->spec.account;
	struct packer *p = &a->packer;
	struct block *b;
	uint32_t id = 0;

	while (id < p->nblocks && p->blocks[id])
		id++;
	if (id == p->cap) {
		uint32_t cap = p->cap ? p->cap * 2 : 16;
		struct block **more = acct_realloc(account, p->blocks, cap * sizeof(*more));
		if (!more)
			return NULL;
		p->blocks = more;
		p->cap = cap;
	}
	b = acct_alloc(account, sizeof(*b));
	if (!b)
		return NULL;
	*b = (struct block){.id = id, .nsections = nsections};
	b->sections = &b->one;
	if (nsections > 1) {
		b->sections = acct_alloc(account, nsections * sizeof(struct section));
		if (!b->sections) {
			acct_free(account, b);
			return NULL;
		}
		memset(b->sections, 0, nsections * sizeof(struct section));
	}
	if (id == p->nblocks)
		p->nblocks++;
	p->blocks[id] = b;
	return b;
}

static struct block *block_of(const struct archive *a, uint64_t at)
{
	return a->packer.blocks[(at & ~AT_MEMORY) >> 24];
}

static void *entry_of(const struct block *b, uint64_t at)
{
	return b->names + (at & 0xffffff);
}

/* The name's place, or -ENOMEM. Until block_commit the block does not count it. */
static int64_t block_name(struct archive *a, struct block *b, int kind, struct str name, uint32_t n)
{
	struct entry e = {.at = (uint32_t)b->raw_n, .n = n, .name_n = (uint16_t)name.n, .kind = (uint8_t)kind};
	uint32_t need = b->names_n + (uint32_t)(sizeof(e) + name.n);

	if (need > b->names_cap) {
		/* By half: a block of small bodies has a few KiB of names. */
		uint32_t cap = need + need / 2;
		char *more = acct_realloc(a->spec.account, b->names, cap);
		if (!more)
			return -ENOMEM;
		b->names = more;
		b->names_cap = cap;
	}
	memcpy(b->names + b->names_n, &e, sizeof(e));
	if (name.n)
		memcpy(b->names + b->names_n + sizeof(e), name.p, name.n);
	return b->names_n;
}

static uint64_t block_commit(struct archive *a, struct block *b, int64_t name_at, struct str name, uint32_t n)
{
	b->names_n += (uint32_t)(sizeof(struct entry) + name.n);
	b->raw_n += n;
	b->live_n += n;
	b->live++;
	a->packer.bytes += n;
	return AT_MEMORY | (uint64_t)b->id << 24 | (uint64_t)name_at;
}

/* ---- work for later ---------------------------------------------------------------------------------------------------------------- */

static struct section *next_waiting(const struct packer *p)
{
	for (uint32_t i = 0; p->raw_waiting && i < p->nblocks; i++)
		for (uint32_t k = 0; p->blocks[i] && k < p->blocks[i]->nsections; k++)
			if (p->blocks[i]->sections[k].state == SECTION_WAITS)
				return &p->blocks[i]->sections[k];
	return NULL;
}

static bool is_hollow(const struct packer *p, const struct block *b)
{
	return b && b != p->open && b->nsections == 1 && b->live_n * 2 < b->raw_n;
}

/* What is left of a block goes into the one being filled. */
static void empty_block(struct archive *a, struct block *b)
{
	char *all = acct_alloc(a->spec.account, b->one.raw_n);

	if (!all)
		return;
	if (section_read(a, &b->one, 0, all, b->one.raw_n) < 0) {
		acct_free(a->spec.account, all);
		return;
	}
	for (uint32_t i = 0; i < b->names_n && b->live;) {
		struct entry e;
		struct record *r;
		struct str name;
		uint64_t at, was = AT_MEMORY | (uint64_t)b->id << 24 | i;

		memcpy(&e, b->names + i, sizeof(e));
		name = str_n(b->names + i + sizeof(e), e.name_n);
		r = archive_at(a, archive_key(a, e.kind, name), was);
		if (r) {
			if (pack_put(a, e.kind, name, all + e.at, e.n, &at) < 0)
				break;
			r->at = at;
			b->live--;
			b->live_n -= e.n;
			a->packer.bytes -= e.n;
			a->packer.dead += e.n;
		}
		i += (uint32_t)(sizeof(e) + e.name_n);
	}
	acct_free(a->spec.account, all);
	if (!b->live)
		block_free(a, b);
}

static void on_work(struct task *t)
{
	struct archive *a = (struct archive *)((char *)t - offsetof(struct archive, packer.work));
	struct packer *p = &a->packer;
	struct section *c = next_waiting(p);
	bool again = false;

	if (c) {
		section_deflate(a, c);
		again = true;
	}
	for (uint32_t i = 0; !c && i < p->nblocks; i++) {
		if (is_hollow(p, p->blocks[i])) {
			/* One a turn; where memory was refused it stays until something else changes. */
			uint32_t before = p->blocks[i]->live;
			empty_block(a, p->blocks[i]);
			again = !p->blocks[i] || p->blocks[i]->live != before;
			break;
		}
	}
	if (again)
		loop_defer(a->spec.loop, t, on_work);
}

static void block_close(struct archive *a, struct block *b)
{
	struct packer *p = &a->packer;

	p->open = NULL;
	for (uint32_t i = 0; i < b->nsections; i++) {
		b->sections[i].state = SECTION_WAITS;
		p->raw_waiting += b->sections[i].raw_n;
	}
	loop_defer(a->spec.loop, &p->work, on_work);
}

/* ---- putting and taking -------------------------------------------------------------------------------------------------------------- */

static int put_large(struct archive *a, int kind, struct str name, const char *p, size_t n, uint64_t *ret_at)
{
	struct block *b = block_new(a, (uint32_t)((n + BLOCK - 1) / BLOCK));
	int64_t at = -ENOMEM;

	if (b)
		at = block_name(a, b, kind, name, (uint32_t)n);
	for (uint32_t i = 0; at >= 0 && i < b->nsections; i++) {
		struct section *c = &b->sections[i];
		size_t from = (size_t)i * BLOCK, k = n - from < BLOCK ? n - from : BLOCK;

		c->p = acct_alloc(a->spec.account, k);
		if (!c->p) {
			at = -ENOMEM;
			break;
		}
		c->n = c->raw_n = (uint32_t)k;
		memcpy(c->p, p + from, k);
	}
	if (at < 0) {
		if (b)
			block_free(a, b);
		return -ENOMEM;
	}
	*ret_at = block_commit(a, b, at, name, (uint32_t)n);
	block_close(a, b);
	return 0;
}

static bool section_room(struct archive *a, struct section *c, uint32_t n)
{
	uint32_t need = c->raw_n + n, cap = c->n ? c->n : SECTION_FIRST;
	void *more;

	while (cap < need)
		cap *= 2;
	if (c->p && cap == c->n)
		return true;
	more = acct_realloc(a->spec.account, c->p, cap);
	if (!more)
		return false;
	c->p = more;
	c->n = cap; /* of an open section: what it can hold */
	return true;
}

int pack_put(struct archive *a, int kind, struct str name, const void *p, size_t n, uint64_t *ret_at)
{
	struct packer *k = &a->packer;
	struct block *b = k->open;
	int64_t at;

	if (n > BLOCK)
		return put_large(a, kind, name, p, n, ret_at);
	if (b && (b->raw_n + n > BLOCK || b->names_n + sizeof(struct entry) + name.n > BLOCK)) {
		struct section *c;
		block_close(a, b);
		/* A flood of small ones: no more than a few blocks wait as they are. Of a large body all may, its bytes were in memory anyway. */
		while (k->raw_waiting > RAW_MAX && (c = next_waiting(k)) && c->raw_n)
			section_deflate(a, c);
		b = NULL;
	}
	if (!b) {
		b = block_new(a, 1);
		if (!b)
			return -ENOMEM;
		k->open = b;
	}
	at = block_name(a, b, kind, name, (uint32_t)n);
	if (at < 0 || !section_room(a, &b->one, (uint32_t)n))
		return -ENOMEM;
	if (n)
		memcpy((char *)b->one.p + b->one.raw_n, p, n);
	b->one.raw_n += (uint32_t)n;
	*ret_at = block_commit(a, b, at, name, (uint32_t)n);
	return 0;
}

void pack_del(struct archive *a, const struct record *r)
{
	struct packer *p = &a->packer;
	struct block *b = block_of(a, r->at);

	b->live--;
	b->live_n -= r->body_n;
	p->bytes -= r->body_n;
	p->dead += r->body_n;
	if (!b->live)
		block_free(a, b);
	else if (is_hollow(p, b))
		loop_defer(a->spec.loop, &p->work, on_work);
}

struct str pack_name(const struct archive *a, const struct record *r)
{
	return str_n((char *)entry_of(block_of(a, r->at), r->at) + sizeof(struct entry), r->name_n);
}

int pack_get(struct archive *a, const struct record *r, void *buf)
{
	const struct block *b = block_of(a, r->at);
	struct entry e;

	memcpy(&e, entry_of(b, r->at), sizeof(e));
	if (b->nsections == 1)
		return section_read(a, &b->one, e.at, buf, e.n);
	for (uint32_t i = 0; i < b->nsections; i++) {
		int code = section_read(a, &b->sections[i], 0, (char *)buf + (size_t)i * BLOCK, b->sections[i].raw_n);
		if (code < 0)
			return code;
	}
	return 0;
}

uint64_t pack_memory(const struct archive *a)
{
	const struct packer *p = &a->packer;
	uint64_t n = p->cap * sizeof(*p->blocks);

	for (uint32_t i = 0; i < p->nblocks; i++) {
		const struct block *b = p->blocks[i];
		if (!b)
			continue;
		n += sizeof(*b) + b->names_cap + (b->nsections > 1 ? b->nsections * sizeof(struct section) : 0);
		for (uint32_t k = 0; k < b->nsections; k++)
			n += b->sections[k].n;
	}
	return n;
}

void pack_free(struct archive *a)
{
	struct packer *p = &a->packer;

	loop_undefer(&p->work);
	for (uint32_t i = 0; i < p->nblocks; i++)
		if (p->blocks[i])
			block_free(a, p->blocks[i]);
	acct_free(a->spec.account, p->blocks);
	*p = (struct packer){0};
}
