/* xds/archive: the index, and what the header promises over the two places where bodies lie (archive_file.c, archive_pack.c). */
#include "xds/archive_int.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

/* ---- the index ------------------------------------------------------------------------------------------------------------ */

uint64_t archive_key(const struct archive *a, int kind, struct str name)
{
	uint64_t key = str_hash_seeded(name, a->seed + (uint64_t)kind);

	return a->spec.key_mask ? key & a->spec.key_mask : key;
}

/* The bucket of the first free or matching place of a walk from the key's own. */
static uint32_t bucket_of(const struct archive *a, uint64_t key)
{
	return (uint32_t)(key ^ key >> 32) & (a->nbuckets - 1);
}

static bool name_is(const struct archive *a, const struct record *r, struct str name)
{
	return r->at & AT_MEMORY ? str_eq(pack_name(a, r), name) : file_name_is(a, r, name);
}

int64_t archive_find(const struct archive *a, int kind, struct str name)
{
	uint64_t key;

	if (!a->nbuckets || name.n > NAME_MAX_)
		return -1;
	key = archive_key(a, kind, name);
	for (uint32_t b = bucket_of(a, key); a->buckets[b]; b = (b + 1) & (a->nbuckets - 1)) {
		const struct record *r = &a->records[a->buckets[b] - 1];
		/* The name is read back: two may share a key, and then each has a place of its own. */
		if (r->key == key && r->kind == kind && r->name_n == name.n && name_is(a, r, name))
			return a->buckets[b] - 1;
	}
	return -1;
}

struct record *archive_at(struct archive *a, uint64_t key, uint64_t at)
{
	if (!a->nbuckets)
		return NULL;
	for (uint32_t b = bucket_of(a, key); a->buckets[b]; b = (b + 1) & (a->nbuckets - 1)) {
		struct record *r = &a->records[a->buckets[b] - 1];
		if (r->key == key && r->at == at)
			return r;
	}
	return NULL;
}

static uint32_t find_bucket(const struct archive *a, uint32_t i)
{
	uint32_t b = bucket_of(a, a->records[i].key);

	while (a->buckets[b] != i + 1)
		b = (b + 1) & (a->nbuckets - 1);
	return b;
}

/* Those behind the hole that may stand in it move up, or walks would end too early. */
static void empty_bucket(struct archive *a, uint32_t hole)
{
	const uint32_t mask = a->nbuckets - 1;

	for (uint32_t b = (hole + 1) & mask; a->buckets[b]; b = (b + 1) & mask) {
		uint32_t own = bucket_of(a, a->records[a->buckets[b] - 1].key);
		if (((b - own) & mask) >= ((b - hole) & mask)) {
			a->buckets[hole] = a->buckets[b];
			hole = b;
		}
	}
	a->buckets[hole] = 0;
}

static void fill_bucket(struct archive *a, uint32_t i)
{
	uint32_t b = bucket_of(a, a->records[i].key);

	while (a->buckets[b])
		b = (b + 1) & (a->nbuckets - 1);
	a->buckets[b] = i + 1;
}

static int grow(struct archive *a)
{
	struct account *account = a->spec.account;

	if (a->count == a->cap) {
		/* By a quarter: with thousands of records, doubling would waste more than the records of the next hour need. */
		uint32_t cap = a->cap + (a->cap / 4 > 32 ? a->cap / 4 : 32);
		struct record *more = acct_realloc(account, a->records, cap * sizeof(*more));
		if (!more)
			return -ENOMEM;
		a->records = more;
		a->cap = cap;
	}
	if ((uint64_t)(a->count + 1) * 4 > (uint64_t)a->nbuckets * 3) {
		uint32_t n = a->nbuckets ? a->nbuckets * 2 : 64;
		uint32_t *more = acct_alloc(account, n * sizeof(*more));
		if (!more)
			return -ENOMEM;
		acct_free(account, a->buckets);
		memset(more, 0, n * sizeof(*more));
		a->buckets = more;
		a->nbuckets = n;
		for (uint32_t i = 0; i < a->count; i++)
			if (!(a->records[i].at & AT_GONE))
				fill_bucket(a, i);
	}
	return 0;
}

int archive_index(struct archive *a, const struct record *r)
{
	if (a->count >= UINT32_MAX / 8 || grow(a) < 0)
		return -ENOMEM;
	a->records[a->count] = *r;
	fill_bucket(a, a->count++);
	return 0;
}

/* The last one takes its place. */
static void close_gap(struct archive *a, uint32_t i)
{
	uint32_t last = a->count - 1;

	if (i != last) {
		if (!(a->records[last].at & AT_GONE))
			a->buckets[find_bucket(a, last)] = i + 1;
		a->records[i] = a->records[last];
	}
	a->count = last;
}

void archive_unindex(struct archive *a, uint32_t i)
{
	struct record *r = &a->records[i];

	if (r->at & AT_MEMORY)
		pack_del(a, r);
	else
		a->dead += record_size(r);
	empty_bucket(a, find_bucket(a, i));
	if (a->compaction) {
		r->at = AT_GONE;
		a->gone++;
		return;
	}
	close_gap(a, i);
}

void archive_purge(struct archive *a)
{
	for (uint32_t i = a->count; i-- > 0 && a->gone;) {
		if (a->records[i].at & AT_GONE) {
			close_gap(a, i);
			a->gone--;
		}
	}
}

/* ---- putting and taking ----------------------------------------------------------------------------------------------------- */

/* The file is told too, so that the next start does not find it again. */
static void forget(struct archive *a, int kind, struct str name, uint32_t i)
{
	bool in_file = !(a->records[i].at & AT_MEMORY);
	uint64_t at;

	archive_unindex(a, i);
	if (in_file && file_is_on(a))
		file_put(a, RECORD_TOMB, kind, name, 0, NULL, 0, &at);
}

/* As text, which is how all of them come: a PEM with a private key. Whoever writes it in another way has a resource that nobody takes. */
static bool holds_key(const void *p, size_t n)
{
	static const char end_of_line[] = "PRIVATE KEY-----";

	return n && memmem(p, n, end_of_line, sizeof(end_of_line) - 1) != NULL;
}

static void tell_key(struct archive *a, struct str name)
{
	if (!a->told_key)
		log_info(a->spec.log, "snapshot '%s': '%.*s' has a private key in it: such resources are kept in memory only, and the next start does not have them", a->path,
			(int)(name.n > 200 ? 200 : name.n), name.p);
	a->told_key = true;
}

static int store(struct archive *a, int kind, struct str name, uint64_t hash, const void *p, size_t n, uint64_t *ret_at)
{
	if (n > UINT32_MAX / 2)
		return -ENOSPC;
	return file_is_on(a) && !holds_key(p, n) ? file_put(a, 0, kind, name, hash, p, n, ret_at) : pack_put(a, kind, name, p, n, ret_at);
}

int archive_put(struct archive *a, int kind, struct str name, uint64_t hash, const void *p, size_t n)
{
	int64_t i = archive_find(a, kind, name);
	struct record r = {.hash = hash, .body_n = (uint32_t)n, .name_n = (uint16_t)name.n, .kind = (uint8_t)kind, .mark = a->gen[kind]};
	int code;

	if (i >= 0 && a->records[i].hash == hash) {
		a->records[i].mark = a->gen[kind];
		return 0;
	}
	if (name.n > NAME_MAX_) {
		a->refused++;
		return -EINVAL;
	}
	if (file_is_on(a) && holds_key(p, n)) {
		tell_key(a, name);
		if (i >= 0 && !(a->records[i].at & AT_MEMORY)) { /* the next start shall not take the older one for it */
			forget(a, kind, name, (uint32_t)i);
			i = -1;
		}
	}
	code = store(a, kind, name, hash, p, n, &r.at);
	if (code < 0) {
		/* What was there before is not what the mesh says any more. */
		if (i >= 0)
			forget(a, kind, name, (uint32_t)i);
		a->refused++;
		return code;
	}
	r.key = archive_key(a, kind, name);
	if (i >= 0) {
		struct record *old = &a->records[i];
		if (old->at & AT_MEMORY)
			pack_del(a, old);
		else
			a->dead += record_size(old);
		*old = r;
	} else if (archive_index(a, &r) < 0) {
		if (r.at & AT_MEMORY)
			pack_del(a, &r);
		else
			a->dead += record_size(&r);
		a->refused++;
		return -ENOMEM;
	}
	file_maybe_compact(a);
	return 0;
}

void archive_del(struct archive *a, int kind, struct str name)
{
	int64_t i = archive_find(a, kind, name);

	if (i < 0)
		return;
	forget(a, kind, name, (uint32_t)i);
	file_maybe_compact(a);
}

bool archive_has(const struct archive *a, int kind, struct str name, uint64_t *ret_hash, size_t *ret_n)
{
	int64_t i = archive_find(a, kind, name);

	if (i < 0)
		return false;
	if (ret_hash)
		*ret_hash = a->records[i].hash;
	if (ret_n)
		*ret_n = a->records[i].body_n;
	return true;
}

int archive_get(struct archive *a, int kind, struct str name, void **ret, size_t *ret_n)
{
	int64_t i = archive_find(a, kind, name);
	const struct record *r;
	void *buf;
	int code;

	if (i < 0)
		return -ENOENT;
	r = &a->records[i];
	buf = acct_alloc(a->spec.account, r->body_n ? r->body_n : 1);
	if (!buf)
		return -ENOMEM;
	code = r->at & AT_MEMORY ? pack_get(a, r, buf) : file_get(a, r, buf);
	if (code < 0) {
		acct_free(a->spec.account, buf);
		if (code == -EIO) {
			a->damaged++;
			log_warn(a->spec.log, "snapshot '%s': the record of '%.*s' is damaged: dropped", a->path ? a->path : "memory",
				(int)(name.n > 200 ? 200 : name.n), name.p);
			forget(a, kind, name, (uint32_t)i);
		}
		return code;
	}
	*ret = buf;
	*ret_n = r->body_n;
	return 0;
}

void archive_got(struct archive *a, void *p, size_t n)
{
	(void)n;
	acct_free(a->spec.account, p);
}

/* A name in a buffer of the caller (usually small; large ones are rare enough for malloc), or where it lies. False: it cannot be read. */
static bool load_name(const struct archive *a, const struct record *r, char **buf, struct str *ret)
{
	if (r->at & AT_MEMORY) {
		*ret = pack_name(a, r);
		return true;
	}
	if (!*buf)
		*buf = xalloc(NAME_MAX_ + 1);
	*ret = str_n(*buf, r->name_n);
	return file_name(a, r, *buf) == 0;
}

void archive_each(struct archive *a, int kind, bool (*fn)(void *ctx, struct str name, uint64_t hash, size_t n), void *ctx)
{
	char *buf = NULL;
	struct str name;

	for (uint32_t i = 0; i < a->count; i++) {
		const struct record *r = &a->records[i];
		if (r->kind == kind && !(r->at & AT_GONE) && load_name(a, r, &buf, &name) && !fn(ctx, name, r->hash, r->body_n))
			break;
	}
	free(buf);
}

/* ---- the whole state of a kind ------------------------------------------------------------------------------------------------ */

void archive_mark(struct archive *a, int kind)
{
	a->gen[kind]++;
}

bool archive_keep(struct archive *a, int kind, struct str name, uint64_t hash)
{
	int64_t i = archive_find(a, kind, name);

	if (i < 0 || a->records[i].hash != hash)
		return false;
	a->records[i].mark = a->gen[kind];
	return true;
}

uint32_t archive_sweep(struct archive *a, int kind, void (*gone)(void *ctx, uint64_t name_hash), void *ctx)
{
	char *buf = NULL;
	uint32_t swept = 0;

	/* Backwards: whoever takes a gap's place was looked at already. */
	for (uint32_t i = a->count; i-- > 0;) {
		const struct record *r = &a->records[i];
		struct str name;
		char *copy = NULL;

		if (r->kind != kind || r->mark == a->gen[kind] || r->at & AT_GONE)
			continue;
		swept++;
		if (!load_name(a, r, &buf, &name)) {
			a->damaged++;
			archive_unindex(a, i);
			continue;
		}
		if (r->at & AT_MEMORY)
			name.p = copy = xstrndup(name.p, name.n); /* its block may go with it */
		forget(a, kind, name, i);
		if (gone)
			gone(ctx, str_hash(name));
		free(copy);
	}
	free(buf);
	file_maybe_compact(a);
	return swept;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------- */

struct archive *archive_open(const struct archive_spec *spec)
{
	struct archive *a = xnew(struct archive);

	a->spec = *spec;
	a->spec.dir = a->spec.view = NULL;
	a->spec.identity = (struct str){0};
	if (!a->spec.max_bytes)
		a->spec.max_bytes = ARCHIVE_BYTES_MAX;
	a->seed = loop_random(spec->loop);
	a->log = xnew(struct log_file);
	a->log->fd = -1;
	snprintf(a->state, sizeof(a->state), "off");
	if (spec->dir && (loop_is_real(spec->loop) || spec->files_in_simulation)) {
		a->spec.identity = spec->identity;
		file_open(a, spec->dir, spec->view);
		a->spec.identity = (struct str){0};
	}
	return a;
}

void archive_free(struct archive **ap)
{
	struct archive *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	file_close(a);
	pack_free(a);
	acct_free(a->spec.account, a->records);
	acct_free(a->spec.account, a->buckets);
	a->records = NULL;
	a->buckets = NULL;
	a->count = a->nbuckets = 0;
	file_free(a);
}

void archive_flush(struct archive *a)
{
	file_flush(a);
}

bool archive_lend(struct archive *a)
{
	return file_lend(a);
}

void archive_retake(struct archive *a)
{
	file_retake(a);
}

void archive_settle(struct archive *a)
{
	file_settle(a);
}

void archive_info(const struct archive *a, struct archive_info *ret)
{
	bool on = file_is_on(a);

	*ret = (struct archive_info){.on_disk = on,
		.records = a->count - a->gone,
		.bytes = on ? a->end : a->packer.bytes,
		.dead = on ? a->dead : a->packer.dead,
		.memory = a->cap * sizeof(struct record) + a->nbuckets * sizeof(uint32_t) + a->memory + pack_memory(a),
		.written_ns = a->wall_ns,
		.refused = a->refused,
		.damaged = a->damaged,
		.compactions = a->compactions,
		.state = a->state};
}
