/* xds/archive_file: the append log of an archive: opened, locked and scanned once, then written in pieces by the helper.
 *
 *   file_put --> piece (filled for FLUSH_NS or until it is full) --offload--> appended --> forgotten
 *                a record's offset is known when it is put: what lies beyond `written` is read from the pieces
 *
 *   compaction:  pieces given --> [job: living records -> FILE.new, fsync, rename] --> offsets of the index are moved --> pieces that waited are given
 *
 * A piece belongs to the archive and is lent to the helper while it is given. The helper touches a piece, a compaction and log_file, never the archive.
 * Once a write fails nothing is written any more: the file stays a true, older state; what was on its way goes into memory. */
#include "xds/archive_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

enum {
	VERSION = 1, PIECE = 64 << 10, READ = 2 * CHECK_STEP, DEAD_MIN = 1 << 20, OPEN_TRIES = 5,
};
#define FLUSH_NS UINT64_C(50000000)
#define FREE_NS UINT64_C(2000000000)

struct piece {
	struct offload_job job;
	struct archive *a;
	struct log_file *log;
	struct piece *next;
	uint64_t at;
	uint32_t n, cap;
	bool given;
	int code;
	char data[];
};

struct move {
	uint64_t at;              /* where the record is; the helper writes where it will be, MOVE_LOST if it is damaged */
	uint32_t n, index;        /* its place in the array, which stays while the compaction runs */
};
#define MOVE_LOST UINT64_MAX
struct compaction {
	struct offload_job job;
	struct archive *a;
	struct log_file *log;
	struct file_head head;
	char *dir, *path, *temp;
	struct move *moves;
	uint32_t count;
	size_t charged;
	int to;
	uint64_t end;             /* of the old file when it began; of the new one when it is done */
	uint64_t old_end;
	int code;
	uint32_t out_n;
	char in[CHECK_STEP], out[CHECK_STEP];
};

/* ---- checks ----------------------------------------------------------------------------------------------------------------- */

static uint64_t check_head(const struct record_head *h)
{
	return str_hash_seeded(str_n((const char *)h, offsetof(struct record_head, check)), CHECK_SEED);
}

static uint64_t check_more(uint64_t check, const char *p, size_t n)
{
	return str_hash_seeded(str_n(p, n), check);
}

/* In steps, because who verifies a body does not have it whole. */
static uint64_t check_body(uint64_t check, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i += CHECK_STEP)
		check = check_more(check, p + i, n - i < CHECK_STEP ? n - i : CHECK_STEP);
	return check;
}

static uint64_t file_head_check(const struct file_head *h)
{
	return str_hash_seeded(str_n((const char *)h, offsetof(struct file_head, check)), CHECK_SEED);
}

static struct file_head file_head_of(struct str identity)
{
	struct file_head h = {.magic = "TMSNAP\r\n", .version = VERSION, .identity_n = (uint32_t)identity.n, .identity = str_hash(identity)};

	h.check = file_head_check(&h);
	return h;
}

/* ---- reading and writing whole ------------------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t k = pwrite(fd, p, n, (off_t)at);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		p += k;
		n -= (size_t)k;
		at += (uint64_t)k;
	}
	return 0;
}

static int read_all(int fd, char *p, size_t n, uint64_t at)
{
	while (n) {
		ssize_t k = pread(fd, p, n, (off_t)at);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -EIO;
		p += k;
		n -= (size_t)k;
		at += (uint64_t)k;
	}
	return 0;
}

/* Of a record: from the file, or from what is on its way to it. A record lies in one piece whole. */
static int read_at(const struct archive *a, char *p, size_t n, uint64_t at)
{
	if (n == 0)
		return 0; /* an empty body may lie where the file ends */
	if (at < a->written)
		return read_all(a->log->fd, p, n, at);
	for (const struct piece *q = a->first; q; q = q->next) {
		if (at >= q->at && at + n <= q->at + q->n) {
			memcpy(p, q->data + (at - q->at), n);
			return 0;
		}
	}
	return -EIO;
}

/* ---- reading records ------------------------------------------------------------------------------------------------------------ */

int file_name(const struct archive *a, const struct record *r, char *buf)
{
	return read_at(a, buf, r->name_n, r->at + sizeof(struct record_head));
}

bool file_name_is(const struct archive *a, const struct record *r, struct str name)
{
	char buf[256];

	for (size_t i = 0; i < name.n; i += sizeof(buf)) {
		size_t n = name.n - i < sizeof(buf) ? name.n - i : sizeof(buf);
		if (read_at(a, buf, n, r->at + sizeof(struct record_head) + i) < 0 || memcmp(buf, name.p + i, n) != 0)
			return false;
	}
	return true;
}

int file_get(const struct archive *a, const struct record *r, void *body)
{
	char few[sizeof(struct record_head) + 512], *front = few;
	const size_t front_n = sizeof(struct record_head) + r->name_n;
	struct record_head h;
	uint64_t check;
	int code;

	if (front_n > sizeof(few))
		front = xalloc(front_n);
	code = read_at(a, front, front_n, r->at);
	if (code == 0)
		code = read_at(a, body, r->body_n, r->at + front_n);
	if (code == 0) {
		memcpy(&h, front, sizeof(h));
		check = check_body(check_more(check_head(&h), front + sizeof(h), r->name_n), body, r->body_n);
		if (h.magic != RECORD_MAGIC || h.kind != r->kind || h.name_n != r->name_n || h.body_n != r->body_n || h.check != check)
			code = -EIO;
	}
	if (front != few)
		free(front);
	return code;
}

/* ---- pieces --------------------------------------------------------------------------------------------------------------------- */

static void piece_work(struct offload_job *j)
{
	struct piece *p = (struct piece *)j;

	if (p->log->failed) {
		p->code = -ECANCELED;
		return;
	}
	p->code = write_all(p->log->fd, p->data, p->n, p->at);
	if (p->code < 0)
		p->log->failed = p->code;
}

static void uncharge(struct archive *a, size_t n)
{
	if (a->orphan)
		return; /* given back when it became one */
	mem_give(a->spec.account, n);
	a->memory -= n;
}

static void piece_end(struct archive *a, struct piece *p)
{
	uncharge(a, sizeof(*p) + p->cap);
	free(p);
}

static struct piece *take_first(struct archive *a)
{
	struct piece *p = a->first;

	a->first = p->next;
	if (!a->first)
		a->last = NULL;
	return p;
}

/* What was to be written and will not be: its records that are still alive move into memory. */
static void piece_to_memory(struct archive *a, const struct piece *p)
{
	for (uint32_t i = 0; i < p->n;) {
		struct record_head h;
		struct record *r;
		struct str name;

		memcpy(&h, p->data + i, sizeof(h));
		name = str_n(p->data + i + sizeof(h), h.name_n);
		r = h.flags & RECORD_TOMB ? NULL : archive_at(a, archive_key(a, h.kind, name), p->at + i);
		if (r) {
			uint64_t at;
			if (pack_put(a, h.kind, name, name.p + name.n, h.body_n, &at) == 0) {
				r->at = at;
			} else {
				a->refused++;
				archive_unindex(a, (uint32_t)(r - a->records));
			}
		}
		i += (uint32_t)(sizeof(h) + h.name_n + h.body_n);
	}
}

static void become_broken(struct archive *a, int code)
{
	if (a->broken)
		return;
	a->broken = true;
	timer_cancel(a->spec.loop, &a->flush);
	snprintf(a->state, sizeof(a->state), "failed: %s", err_text(code));
	log_warn(a->spec.log, "snapshot '%s': cannot be written: %s; it stays as it was, from now on only memory is used", a->path, err_text(code));
}

static void orphan_end(struct archive *a)
{
	if (a->first || a->compaction)
		return;
	close(a->log->fd);
	free(a->log);
	free(a->path);
	free(a);
}

static void piece_done(struct offload_job *j)
{
	struct piece *p = (struct piece *)j;
	struct archive *a = p->a;

	/* In the order in which they were given: it is the oldest. */
	take_first(a);
	if (a->orphan) {
		free(p);
		orphan_end(a);
		return;
	}
	if (p->code < 0) {
		become_broken(a, p->code);
		piece_to_memory(a, p);
		/* Those that were not given will not be. */
		while (a->first && !a->first->given) {
			struct piece *next = take_first(a);
			piece_to_memory(a, next);
			piece_end(a, next);
		}
	} else {
		a->written = p->at + p->n;
		a->wall_ns = a->spec.loop->ops->wall_ns(a->spec.loop->ops_ctx);
	}
	piece_end(a, p);
}

void file_flush(struct archive *a)
{
	timer_cancel(a->spec.loop, &a->flush);
	if (a->compaction || !file_is_on(a))
		return;
	for (struct piece *p = a->first; p; p = p->next) {
		if (p->given)
			continue;
		p->given = true;
		p->job = (struct offload_job){.work = piece_work, .done = piece_done};
		offload_run(a->spec.offload, &p->job);
	}
}

static void on_flush(struct timer *t)
{
	struct archive *a = (struct archive *)((char *)t - offsetof(struct archive, flush));

	file_flush(a);
	file_maybe_compact(a);
}

static struct piece *piece_new(struct archive *a, size_t n, bool must)
{
	size_t cap = n > PIECE ? n : PIECE, all = sizeof(struct piece) + cap;
	struct piece *p;

	if (must)
		mem_force(a->spec.account, all);
	else if (!mem_try(a->spec.account, all))
		return NULL;
	/* Not xalloc: what is not written to shall cost nothing. */
	p = malloc(all);
	if (!p) {
		mem_give(a->spec.account, all);
		return NULL;
	}
	*p = (struct piece){.a = a, .log = a->log, .at = a->end, .cap = (uint32_t)cap};
	a->memory += all;
	if (a->last)
		a->last->next = p;
	else
		a->first = p;
	a->last = p;
	return p;
}

int file_put(struct archive *a, uint8_t flags, int kind, struct str name, uint64_t hash, const void *body, size_t n, uint64_t *ret_at)
{
	struct record_head h = {.magic = RECORD_MAGIC, .kind = (uint8_t)kind, .flags = flags, .name_n = (uint16_t)name.n, .body_n = (uint32_t)n, .hash = hash};
	const size_t size = sizeof(h) + name.n + n;
	/* A tomb is small, and without it the dead would rise at the next start. */
	const bool tomb = flags & RECORD_TOMB;
	struct piece *p = a->last;
	char *to;

	if (!tomb && a->end + size > a->spec.max_bytes)
		return -ENOSPC;
	if (!p || p->given || size > p->cap - p->n) {
		/* The full ones go at once. */
		if (p && !p->given)
			file_flush(a);
		p = piece_new(a, size, tomb);
		if (!p)
			return -ENOMEM;
	}
	h.check = check_body(check_more(check_head(&h), name.p, name.n), body, n);
	to = p->data + p->n;
	memcpy(to, &h, sizeof(h));
	if (name.n)
		memcpy(to + sizeof(h), name.p, name.n);
	if (n)
		memcpy(to + sizeof(h) + name.n, body, n);
	p->n += (uint32_t)size;
	*ret_at = a->end;
	a->end += size;
	if (tomb)
		a->dead += size;
	if (!timer_armed(&a->flush))
		timer_in(a->spec.loop, &a->flush, FLUSH_NS, on_flush);
	return 0;
}

/* ---- compaction ------------------------------------------------------------------------------------------------------------------- */

static int out_flush(struct compaction *c)
{
	int code = write_all(c->to, c->out, c->out_n, c->end - c->out_n);

	c->out_n = 0;
	return code;
}

static int out_add(struct compaction *c, const char *p, size_t n)
{
	while (n) {
		size_t k = sizeof(c->out) - c->out_n < n ? sizeof(c->out) - c->out_n : n;
		memcpy(c->out + c->out_n, p, k);
		c->out_n += (uint32_t)k;
		c->end += k;
		p += k;
		n -= k;
		if (c->out_n == sizeof(c->out)) {
			int code = out_flush(c);
			if (code < 0)
				return code;
		}
	}
	return 0;
}

/* Verified before it is copied and read twice for that: what is damaged is not carried on. */
static bool record_is_sound(struct compaction *c, const struct move *m, struct record_head *h)
{
	uint64_t at = m->at + sizeof(*h), check;
	size_t left;

	if (read_all(c->log->fd, (char *)h, sizeof(*h), m->at) < 0 || h->magic != RECORD_MAGIC || sizeof(*h) + h->name_n + (uint64_t)h->body_n != m->n)
		return false;
	if (read_all(c->log->fd, c->in, h->name_n, at) < 0)
		return false;
	check = check_more(check_head(h), c->in, h->name_n);
	at += h->name_n;
	for (left = h->body_n; left;) {
		size_t k = left < CHECK_STEP ? left : CHECK_STEP;
		if (read_all(c->log->fd, c->in, k, at) < 0)
			return false;
		check = check_more(check, c->in, k);
		at += k;
		left -= k;
	}
	return check == h->check;
}

static int copy_record(struct compaction *c, struct move *m)
{
	struct record_head h;
	uint64_t at = m->at, to = c->end;
	int code;

	if (!record_is_sound(c, m, &h)) {
		m->at = MOVE_LOST;
		return 0;
	}
	for (size_t left = m->n; left;) {
		size_t k = left < sizeof(c->in) ? left : sizeof(c->in);
		code = read_all(c->log->fd, c->in, k, at);
		if (code == 0)
			code = out_add(c, c->in, k);
		if (code < 0)
			return code;
		at += k;
		left -= k;
	}
	m->at = to;
	return 0;
}

static int compact(struct compaction *c)
{
	int code = 0, dir;

	if (c->log->failed)
		return -ECANCELED;
	c->to = open(c->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->to < 0 || flock(c->to, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	code = read_all(c->log->fd, (char *)&c->head, sizeof(c->head), 0);
	if (code == 0)
		code = out_add(c, (const char *)&c->head, sizeof(c->head));
	for (uint32_t i = 0; i < c->count && code == 0; i++)
		code = copy_record(c, &c->moves[i]);
	if (code == 0)
		code = out_flush(c);
	if (code == 0 && (fsync(c->to) < 0 || rename(c->temp, c->path) < 0))
		code = -errno;
	if (code < 0)
		return code;
	/* The name is on disk only when its folder is; if that can't be had, the old file may come back after a power cut, which is as good. */
	dir = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0) {
		fsync(dir);
		close(dir);
	}
	return 0;
}

static void compaction_work(struct offload_job *j)
{
	struct compaction *c = (struct compaction *)j;

	c->code = compact(c);
	if (c->code < 0 && c->to >= 0) {
		close(c->to);
		c->to = -1;
		unlink(c->temp);
	}
}

static void compaction_end(struct archive *a, struct compaction *c)
{
	uncharge(a, c->charged);
	free(c->moves);
	free(c->dir);
	free(c->path);
	free(c->temp);
	free(c);
}

/* Those that were copied lie elsewhere now; those that were put since then lie behind all of them. */
static void move_records(struct archive *a, const struct compaction *c)
{
	uint64_t alive = 0;

	for (uint32_t i = 0; i < a->count; i++)
		if (!(a->records[i].at & (AT_GONE | AT_MEMORY)) && a->records[i].at >= c->old_end)
			a->records[i].at += c->end - c->old_end;
	for (uint32_t i = 0; i < c->count; i++) {
		struct record *r = &a->records[c->moves[i].index];
		/* Still the one that was copied: neither deleted nor put anew. Offsets from above may equal old ones; those below the old end were all in the moves. */
		if (c->moves[i].n)
			r->at = c->moves[i].at;
	}
	for (struct piece *p = a->first; p; p = p->next)
		p->at += c->end - c->old_end;
	a->end += c->end - c->old_end;
	a->written = c->end;
	for (uint32_t i = a->count; i-- > 0;) {
		struct record *r = &a->records[i];
		if (r->at == MOVE_LOST) {
			a->damaged++;
			r->at = 0; /* a place in the file, any: its bytes are counted below */
			archive_unindex(a, i);
		} else if (!(r->at & (AT_GONE | AT_MEMORY))) {
			alive += record_size(r);
		}
	}
	a->dead = a->end - a->head_n - alive;
}

static void compaction_done(struct offload_job *j)
{
	struct compaction *c = (struct compaction *)j;
	struct archive *a = c->a;

	if (a->orphan) {
		if (c->to >= 0)
			close(c->to);
		a->compaction = NULL;
		compaction_end(a, c);
		orphan_end(a);
		return;
	}
	if (c->code == 0) {
		/* Deleted or put anew meanwhile: the copy is dead already. */
		for (uint32_t i = 0; i < c->count; i++)
			if (a->records[c->moves[i].index].at & (AT_GONE | AT_MEMORY) || a->records[c->moves[i].index].at >= c->old_end)
				c->moves[i].n = 0;
		a->compaction = NULL;
		move_records(a, c);
		close(a->log->fd);
		a->log->fd = c->to;
		a->compactions++;
		a->compact_above = 0;
		a->wall_ns = a->spec.loop->ops->wall_ns(a->spec.loop->ops_ctx);
	} else {
		a->compaction = NULL;
		a->compact_above = a->end + a->end / 2 + DEAD_MIN;
		if (!a->broken)
			log_warn(a->spec.log, "snapshot '%s': cannot be written anew: %s; it goes on growing", a->path, err_text(c->code));
	}
	archive_purge(a);
	compaction_end(a, c);
	file_flush(a);
}

/* A quarter below the bound is room for what comes while we work. */
static bool is_worth_it(const struct archive *a)
{
	uint64_t alive = a->end - a->head_n - a->dead;

	return a->dead > DEAD_MIN && a->end > a->compact_above && (a->dead > alive || a->end > a->spec.max_bytes / 4 * 3);
}

static void compaction_begin(struct archive *a)
{
	struct compaction *c;
	uint32_t n = 0;
	size_t charged;

	charged = sizeof(*c) + a->count * sizeof(struct move);
	if (!mem_try(a->spec.account, charged)) {
		a->compact_above = a->end + a->end / 2;
		return;
	}
	a->memory += charged;
	/* All that was put so far is on disk before the job begins, for jobs run in order. */
	file_flush(a);
	c = xnew(struct compaction);
	*c = (struct compaction){.job = {.work = compaction_work, .done = compaction_done}, .a = a, .log = a->log, .to = -1, .charged = charged,
		.old_end = a->end, .count = a->count};
	c->moves = xalloc((a->count + 1) * sizeof(struct move));
	for (uint32_t i = 0; i < a->count; i++) {
		const struct record *r = &a->records[i];
		if (r->at & (AT_GONE | AT_MEMORY))
			continue;
		c->moves[n] = (struct move){.at = r->at, .n = (uint32_t)record_size(r), .index = i};
		n++;
	}
	c->count = n;
	c->path = xstrdup(a->path);
	c->temp = xasprintf("%s.new", a->path);
	c->dir = xstrndup(a->path, (size_t)(strrchr(a->path, '/') - a->path));
	a->compaction = c;
	offload_run(a->spec.offload, &c->job);
}

void file_maybe_compact(struct archive *a)
{
	/* What is lent must stay where it is, and a copy has no name yet that a new file could take. */
	if (file_is_on(a) && !a->compaction && !a->lent && !a->next && is_worth_it(a))
		compaction_begin(a);
}

/* ---- hot upgrade ---------------------------------------------------------------------------------------------------------------------- */

bool file_lend(struct archive *a)
{
	if (!file_is_on(a))
		return true;
	a->lent = true;
	file_flush(a);
	return !a->first && !a->compaction;
}

void file_retake(struct archive *a)
{
	struct stat mine, named;

	if (!a->lent)
		return;
	a->lent = false;
	if (!file_is_on(a) || a->compaction || fstat(a->log->fd, &mine) < 0)
		return;
	if (stat(a->path, &named) < 0 || named.st_ino != mine.st_ino || named.st_dev != mine.st_dev)
		compaction_begin(a);
}

void file_settle(struct archive *a)
{
	if (!a->next)
		return;
	if (rename(a->next, a->path) < 0) {
		int code = -errno;
		unlink(a->next);
		become_broken(a, code);
	}
	free(a->next);
	a->next = NULL;
}

static int copy_all(int from, int to, uint64_t size)
{
	for (uint64_t at = 0; at < size;) {
		char buf[CHECK_STEP];
		size_t n = size - at < sizeof(buf) ? (size_t)(size - at) : sizeof(buf);
		int code = read_all(from, buf, n, at);
		if (code == 0)
			code = write_all(to, buf, n, at);
		if (code < 0)
			return code;
		at += n;
	}
	return 0;
}

/* The predecessor reads from its file and appends to it until we serve, and goes on with it if we do not: nothing of it is touched. A record that it is writing right now is cut
 * in the copy; it is asked of the control plane again. */
static int open_copy(struct archive *a)
{
	struct stat st;
	int to = -1, code;
	int from = open(a->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (from < 0)
		return -errno;
	a->next = xasprintf("%s.next", a->path);
	unlink(a->next); /* of one that died on its way; there is one at a time */
	code = fstat(from, &st) < 0 ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
	if (code == 0) {
		to = open(a->next, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		code = to < 0 || flock(to, LOCK_EX | LOCK_NB) < 0 ? -errno : copy_all(from, to, (uint64_t)st.st_size);
	}
	close(from);
	if (code == 0)
		return to;
	if (to >= 0) {
		close(to);
		unlink(a->next);
	}
	free(a->next);
	a->next = NULL;
	return code;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------------ */

static char *path_of(const char *dir, const char *view)
{
	enum { SHOWN = 80 };
	char safe[SHOWN + 1];
	bool changed = strlen(view) > SHOWN;
	size_t n = 0;

	for (; n < SHOWN && view[n]; n++) {
		char c = view[n];
		bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || (c == '.' && n);
		safe[n] = fine ? c : '_';
		changed |= !fine;
	}
	safe[n] = '\0';
	/* Two views that look alike then still have a file each. */
	return changed || n == 0 ? xasprintf("%s/%s-%016llx.snapshot", dir, safe, (unsigned long long)str_hash(str_of(view))) : xasprintf("%s/%s.snapshot", dir, safe);
}

/* An open file that nobody else holds and that is still the one of that name; or a negative errno. */
static int open_locked(const char *path)
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		struct stat mine, named;
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600), code;

		if (fd < 0)
			return -errno;
		code = fstat(fd, &mine) < 0 ? -errno : !S_ISREG(mine.st_mode) ? -EINVAL : flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
		if (code < 0) {
			close(fd);
			return code;
		}
		/* Its holder may have put a new one in its place between our two steps. */
		if (stat(path, &named) == 0 && named.st_ino == mine.st_ino && named.st_dev == mine.st_dev) {
			if ((mine.st_mode & 07777) != 0600)
				(void)!fchmod(fd, 0600);
			return fd;
		}
		close(fd);
	}
	return -EBUSY;
}

struct scan {
	int fd;
	uint64_t at, size;        /* the next byte that is not read yet; of the file */
	size_t from, to;          /* of buf */
	char buf[READ], name[NAME_MAX_ + 1];
};

/* The next n bytes, n <= CHECK_STEP; NULL: there are not so many. They are good until the next call. */
static const char *next_bytes(struct scan *s, size_t n)
{
	const char *p;

	if (s->to - s->from < n) {
		size_t room, left = s->to - s->from;

		memmove(s->buf, s->buf + s->from, left);
		s->from = 0;
		s->to = left;
		room = sizeof(s->buf) - left;
		if (room > s->size - s->at)
			room = (size_t)(s->size - s->at);
		if (left + room < n || read_all(s->fd, s->buf + left, room, s->at) < 0)
			return NULL;
		s->at += room;
		s->to += room;
	}
	p = s->buf + s->from;
	s->from += n;
	return p;
}

static void scanned(struct archive *a, const struct record_head *h, struct str name)
{
	struct record r = {.key = archive_key(a, h->kind, name), .hash = h->hash, .at = a->end, .body_n = h->body_n, .name_n = h->name_n, .kind = h->kind};
	int64_t i = archive_find(a, h->kind, name);

	if (h->flags & RECORD_TOMB) {
		if (i >= 0)
			archive_unindex(a, (uint32_t)i);
		a->dead += record_size(&r);
	} else if (i >= 0) {
		a->dead += record_size(&a->records[i]);
		a->records[i] = r;
	} else if (archive_index(a, &r) < 0) {
		a->dead += record_size(&r);
		a->refused++;
	}
}

/* One record. False: the file is no good from here on. */
static bool scan_record(struct archive *a, struct scan *s)
{
	struct record_head h;
	const char *p = next_bytes(s, sizeof(h));
	uint64_t check;

	if (!p)
		return false;
	memcpy(&h, p, sizeof(h));
	if (h.magic != RECORD_MAGIC || h.kind >= KINDS || (uint64_t)h.name_n + h.body_n > s->size - a->end - sizeof(h) || h.body_n > UINT32_MAX / 2)
		return false;
	p = next_bytes(s, h.name_n);
	if (!p)
		return false;
	memcpy(s->name, p, h.name_n);
	check = check_more(check_head(&h), s->name, h.name_n);
	for (uint32_t left = h.body_n; left;) {
		uint32_t k = left < CHECK_STEP ? left : CHECK_STEP;
		p = next_bytes(s, k);
		if (!p)
			return false;
		check = check_more(check, p, k);
		left -= k;
	}
	if (check != h.check)
		return false;
	/* Its end is that of the good part: names of earlier ones are read up to there. */
	scanned(a, &h, str_n(s->name, h.name_n));
	a->end += sizeof(h) + h.name_n + h.body_n;
	return true;
}

static void load(struct archive *a, uint64_t size)
{
	struct scan *s = xnew(struct scan);

	*s = (struct scan){.fd = a->log->fd, .at = a->head_n, .size = size};
	a->written = size;
	while (a->end < size && scan_record(a, s))
		;
	a->written = a->end;
	snprintf(a->state, sizeof(a->state), "loaded");
	if (a->end < size && a->next) {
		if (ftruncate(a->log->fd, (off_t)a->end) < 0)
			become_broken(a, -errno);
	} else if (a->end < size) {
		log_warn(a->spec.log, "snapshot '%s': damaged or cut at byte %llu of %llu: %u records before that are kept", a->path,
			(unsigned long long)a->end, (unsigned long long)size, a->count);
		snprintf(a->state, sizeof(a->state), "loaded up to a damaged record");
		if (ftruncate(a->log->fd, (off_t)a->end) < 0)
			become_broken(a, -errno);
	}
	free(s);
}

/* NULL: it is ours and of today. */
static const char *head_wrong(const struct archive *a, uint64_t size, struct file_head *h)
{
	const struct file_head mine = file_head_of(a->spec.identity);

	if (size < sizeof(*h) || read_all(a->log->fd, (char *)h, sizeof(*h), 0) < 0 || memcmp(h->magic, mine.magic, sizeof(h->magic)) != 0)
		return "no snapshot";
	if (h->version != VERSION)
		return "of another version";
	if (h->check != file_head_check(h))
		return "damaged";
	if (h->identity != mine.identity || h->identity_n != mine.identity_n)
		return "of another control plane or node";
	return NULL;
}

static int begin_anew(struct archive *a)
{
	struct file_head h = file_head_of(a->spec.identity);

	if (ftruncate(a->log->fd, 0) < 0)
		return -errno;
	return write_all(a->log->fd, (const char *)&h, sizeof(h), 0);
}

static void not_opened(struct archive *a, const char *what, int code)
{
	const char *why = code == -EWOULDBLOCK ? "another daemon holds it" : code == -EINVAL ? "no ordinary file" : err_text(code);

	log_warn(a->spec.log, "snapshot '%s': %s: going on without, in memory only", what, why);
	snprintf(a->state, sizeof(a->state), "off: %s", why);
	if (a->log->fd >= 0)
		close(a->log->fd);
	a->log->fd = -1;
	if (a->next)
		unlink(a->next);
	free(a->next);
	a->next = NULL;
	free(a->path);
	a->path = NULL;
}

void file_open(struct archive *a, const char *dir, const char *view)
{
	struct file_head h;
	const char *wrong;
	struct stat st;
	int code;

	a->path = path_of(dir, view);
	/* Only the folder itself: a path that is not there above it is a mistake rather than a wish. */
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		not_opened(a, dir, -errno);
		return;
	}
	code = open_locked(a->path);
	if (code == -EWOULDBLOCK && a->spec.takeover)
		code = open_copy(a);
	if (code < 0) {
		not_opened(a, a->path, code);
		return;
	}
	a->log->fd = code;
	a->head_n = a->end = a->written = sizeof(struct file_head);
	if (fstat(a->log->fd, &st) < 0) {
		not_opened(a, a->path, -errno);
		return;
	}
	wrong = st.st_size ? head_wrong(a, (uint64_t)st.st_size, &h) : NULL;
	if (st.st_size && !wrong) {
		a->wall_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
		load(a, (uint64_t)st.st_size);
		return;
	}
	if (wrong)
		log_warn(a->spec.log, "snapshot '%s': refused, it is %s: begun anew", a->path, wrong);
	snprintf(a->state, sizeof(a->state), "%s%s", wrong ? "refused: " : "fresh", wrong ? wrong : "");
	code = begin_anew(a);
	if (code < 0)
		not_opened(a, a->path, code);
}

void file_close(struct archive *a)
{
	if (!a->path)
		return;
	timer_cancel(a->spec.loop, &a->flush);
	file_flush(a);
	if (a->first || a->compaction)
		offload_drain(a->spec.offload, FREE_NS);
	timer_cancel(a->spec.loop, &a->flush);
}

void file_free(struct archive *a)
{
	if (a->next)
		unlink(a->next);
	free(a->next);
	a->next = NULL;
	mem_give(a->spec.account, a->memory);
	a->memory = 0;
	a->orphan = true;
	while (a->first && !a->first->given)
		free(take_first(a));
	if (a->first || a->compaction)
		return; /* a disk that does not answer: the helper's `done` comes back to what is left, or the process ends first */
	if (a->log->fd >= 0)
		close(a->log->fd);
	free(a->log);
	free(a->path);
	free(a);
}
