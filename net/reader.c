/* net/reader: see reader.h. A reading's life:
 *
 *   asked --> queued --(a lane is free, none works in its folder)--> under way --> told, freed
 *                \--(late, forgotten)--> freed          |  ^
 *                                                       |  \-- the file was larger than the room for it: once more, with more
 *                                                       \--(late, forgotten)--> ends unheard, freed
 *
 * The helper has no accounts, and should have no malloc: the room for the bytes is the loop's, charged before it is filled. */
#include "net/reader.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"

enum { ROOM = 8192 /* most certificates and keys */, ROUNDS = 4 /* of a file that grows while it is read */, IDLE_MS = 1000, LEAVE_MS = 50 };

struct lane { struct offload *offload; struct job *at; };
struct job {
	struct reading is;          /* first: what others see */
	struct offload_job job;
	struct list node;           /* in the queue */
	struct reader *reader;
	struct lane *lane;          /* NULL: queued, or over */
	struct timer late;
	struct grave grave;
	char *path[2];
	size_t room[2], wants[2];   /* of files[].p; the helper's wish for more */
	size_t most;
	uint32_t rounds;
	bool only_changed;
	struct file_stamp known[2];
	void (*told)(void *user, const struct reading *g); /* NULL: forgotten */
	void *user;
};
struct reader {
	struct loop *loop;
	struct list queue;
	struct lane lanes[READER_LANES];
	uint32_t nlanes, pending;
	uint64_t stall_ns, most_ns;
	struct timer stalled;
};

static struct job *job_of(struct reading *g)
{
	return container_of(g, struct job, is);
}

/* ---- in the helper -------------------------------------------------------------------------------------------------------------------------- */

static struct file_stamp stamp_of(const struct stat *st)
{
	return (struct file_stamp){.dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .mtime = st->st_mtim, .ctime = st->st_ctim};
}

static struct file_stamp stamp_at(const char *path)
{
	struct file_stamp none = {0};
	struct stat st;

	if (stat(path, &st) == 0)
		return stamp_of(&st);
	none.err = errno;
	return none;
}

static size_t folder_n(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
}

static void folder_text(const char *path, char out[PATH_MAX])
{
	size_t n = folder_n(path);

	snprintf(out, PATH_MAX, "%.*s", n ? (int)n : 1, n ? path : ".");
}

static bool is_one_of(const struct statfs *s, const long *kinds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned int)s->f_type == (unsigned int)kinds[i])
			return true;
	return false;
}

/* What is in neither list is watched, and looked at from time to time as well. */
static void look_at_folder(struct file_read *f, const char *folder)
{
	static const long local[] = {0xEF53 /* ext */, 0x58465342 /* xfs */, 0x9123683E /* btrfs */, 0x01021994 /* tmpfs */, 0x858458F6 /* ramfs */, 0x794C7630 /* overlay */,
		0xF2F52010 /* f2fs */, 0x2FC12FC1 /* zfs */, 0x4D44 /* vfat */};
	static const long far[] = {0x6969 /* nfs */, 0xFF534D42 /* cifs */, 0xFE534D42 /* smb2 */, 0x517B /* smb */, 0x00C36400 /* ceph */, 0x65735546 /* fuse */, 0x5346414F /* afs */,
		0x6B414653 /* kafs */, 0x73757245 /* coda */, 0x564C /* ncp */, 0x0BD00BD0 /* lustre */, 0x47504653 /* gpfs */, 0x7461636F /* ocfs2 */, 0x01161970 /* gfs2 */};
	struct statfs s;
	struct stat st;

	f->folder.is_there = stat(folder, &st) == 0 && S_ISDIR(st.st_mode);
	f->folder.is_link = lstat(folder, &st) == 0 && S_ISLNK(st.st_mode);
	if (statfs(folder, &s) < 0)
		return;
	f->folder.tells = is_one_of(&s, local, sizeof(local) / sizeof(local[0]));
	f->folder.may_hang = is_one_of(&s, far, sizeof(far) / sizeof(far[0]));
}

/* A link to elsewhere: a watch of its folder does not see what happens there. */
static bool leads_out(const char *path, const char *folder)
{
	char to[PATH_MAX], real[PATH_MAX];

	if (!realpath(path, to) || !realpath(folder, real))
		return false;
	size_t n = strlen(real);
	return strncmp(to, real, n) != 0 || (to[n] != '/' && n > 1);
}

/* Bytes that were read; negative: errno. */
static ssize_t read_up_to(int fd, char *to, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t got = read(fd, to + at, n - at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		at += (size_t)got;
	}
	return (ssize_t)at;
}

static enum file_fault read_open(struct file_read *f, int fd, size_t most, size_t room, size_t *wants)
{
	struct stat st;
	ssize_t got;

	if (fstat(fd, &st) < 0) {
		f->err = errno;
		return FILE_ERRNO;
	}
	f->stamp = stamp_of(&st);
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? FILE_FOLDER : FILE_ODD;
	if ((uintmax_t)st.st_size > most)
		return FILE_LARGE;
	if (st.st_size == 0)
		return FILE_EMPTY;
	f->n = (size_t)st.st_size;
	if (f->n > room) {
		*wants = f->n;
		return FILE_OK;
	}
	got = read_up_to(fd, f->p, f->n);
	if (got < 0)
		f->err = (int)-got;
	/* Shorter: it is being written, and what is there now will not be right. */
	return got < 0 ? FILE_ERRNO : (size_t)got < f->n ? FILE_MOVING : FILE_OK;
}

static void read_one(struct job *j, int i)
{
	struct file_read *f = &j->is.files[i];
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not hold the helper */

	f->fault = FILE_ERRNO;
	f->err = errno;
	if (fd < 0)
		return;
	f->fault = read_open(f, fd, j->most, j->room[i], &j->wants[i]);
	close(fd);
}

static void work(struct offload_job *o)
{
	struct job *j = container_of(o, struct job, job);
	bool same = j->only_changed;

	for (uint32_t i = 0; i < j->is.nfiles; i++) {
		struct file_read *f = &j->is.files[i];
		char folder[PATH_MAX];
		folder_text(f->path, folder);
		look_at_folder(f, folder);
		f->strays = leads_out(f->path, folder);
		f->stamp = stamp_at(f->path); /* where it cannot be opened */
		same &= file_stamp_eq(&f->stamp, &j->known[i]);
	}
	j->is.same = same;
	for (uint32_t i = 0; i < j->is.nfiles && !same; i++)
		read_one(j, (int)i);
}

/* ---- in the loop ------------------------------------------------------------------------------------------------------------------------------ */

static bool time_eq(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->err == b->err && a->dev == b->dev && a->ino == b->ino && a->size == b->size && time_eq(a->mtime, b->mtime) && time_eq(a->ctime, b->ctime);
}

const char *file_why(const struct file_read *f, char out[96])
{
	static const char *const texts[] = {[FILE_OK] = "", [FILE_FOLDER] = "is a folder, not a file", [FILE_ODD] = "is not a file", [FILE_LARGE] = "is too large", [FILE_EMPTY] = "is empty",
		[FILE_MOVING] = "changed while it was read", [FILE_NO_MEMORY] = "cannot be read: the memory limit is reached",
		[FILE_LATE] = "cannot be read: its file system does not answer"};

	if (f->fault == FILE_ERRNO)
		snprintf(out, 96, "cannot be read: %s", err_text(-f->err));
	else
		snprintf(out, 96, "%s", texts[f->fault]);
	return out;
}

static void room_end(struct job *j, int i)
{
	struct file_read *f = &j->is.files[i];

	if (f->p)
		explicit_bzero(f->p, j->room[i]); /* it may be a key */
	acct_free(&j->reader->loop->memory, f->p);
	f->p = NULL;
	j->room[i] = 0;
}

static bool room_for(struct job *j, int i, size_t n)
{
	room_end(j, i);
	j->is.files[i].p = acct_alloc(&j->reader->loop->memory, n);
	j->room[i] = j->is.files[i].p ? n : 0;
	return j->room[i] != 0;
}

static void job_bury(struct grave *g)
{
	free(container_of(g, struct job, grave));
}

static void job_end(struct job *j)
{
	struct reader *r = j->reader;

	list_del(&j->node);
	timer_cancel(r->loop, &j->late);
	for (int i = 0; i < 2; i++) {
		room_end(j, i);
		free(j->path[i]);
	}
	r->pending--;
	loop_bury(r->loop, &j->grave, job_bury);
}

static void tell(struct job *j)
{
	void (*told)(void *user, const struct reading *g) = j->told;

	j->told = NULL;
	timer_cancel(j->reader->loop, &j->late);
	if (told)
		told(j->user, &j->is);
}

/* What does not fit in the room that is granted is no longer read. True: once more. */
static bool wants_more(struct job *j)
{
	bool again = false;

	for (uint32_t i = 0; i < j->is.nfiles && !j->is.same; i++) {
		if (!j->wants[i])
			continue;
		size_t n = j->wants[i];
		j->wants[i] = 0;
		if (j->rounds < ROUNDS && room_for(j, (int)i, n))
			again = true;
		else
			j->is.files[i].fault = j->rounds < ROUNDS ? FILE_NO_MEMORY : FILE_MOVING;
	}
	j->rounds++;
	for (uint32_t i = 0; i < j->is.nfiles; i++) /* all of it: two files of one moment */
		again &= j->is.files[i].fault != FILE_NO_MEMORY;
	return again && j->told;
}

static void pump(struct reader *r, bool spread);

static void done(struct offload_job *o)
{
	struct job *j = container_of(o, struct job, job);
	struct reader *r = j->reader;

	if (wants_more(j)) {
		offload_run(j->lane->offload, &j->job);
		return;
	}
	j->lane->at = NULL;
	j->lane = NULL;
	tell(j);
	job_end(j);
	timer_cancel(r->loop, &r->stalled); /* something moves */
	pump(r, false);
}

static void lane_stalled(struct timer *t)
{
	pump(container_of(t, struct reader, stalled), true);
}

static bool lane_new(struct reader *r)
{
	if (r->nlanes == READER_LANES)
		return false;
	struct offload *o = offload_new(r->loop);
	/* Changes are rare: a thread that has nothing to do is not kept for them. */
	offload_set_idle(o, (uint64_t)IDLE_MS * 1000000);
	r->lanes[r->nlanes++].offload = o;
	return true;
}

static bool is_beside(const struct job *a, const struct job *b)
{
	for (uint32_t i = 0; i < a->is.nfiles; i++) {
		for (uint32_t k = 0; k < b->is.nfiles; k++) {
			size_t n = folder_n(a->path[i]);
			if (n == folder_n(b->path[k]) && memcmp(a->path[i], b->path[k], n) == 0)
				return true;
		}
	}
	return false;
}

/* A lane of its own, or none: somebody works in its folder. */
static struct lane *lane_for(struct reader *r, const struct job *j, bool *ret_full)
{
	struct lane *idle = NULL;

	for (uint32_t i = r->nlanes; i-- > 0;) {
		if (r->lanes[i].at && is_beside(r->lanes[i].at, j))
			return NULL;
		if (!r->lanes[i].at)
			idle = &r->lanes[i];
	}
	*ret_full = !idle;
	return idle;
}

/* spread: whoever is under way was given time enough. */
static void pump(struct reader *r, bool spread)
{
	bool wants = false;

	list_each(n, tmp, &r->queue) {
		struct job *j = list_entry(n, struct job, node);
		bool full = false;
		struct lane *lane = lane_for(r, j, &full);
		if (full && (spread || r->nlanes == 0) && lane_new(r)) {
			lane = &r->lanes[r->nlanes - 1];
			spread = false;
		}
		wants |= full && !lane;
		if (!lane)
			continue;
		list_del(&j->node);
		lane->at = j;
		j->lane = lane;
		offload_run(lane->offload, &j->job);
	}
	if (!wants || r->nlanes == READER_LANES)
		timer_cancel(r->loop, &r->stalled);
	else if (!timer_armed(&r->stalled))
		timer_in(r->loop, &r->stalled, r->stall_ns, lane_stalled);
}

static void too_late(struct timer *t)
{
	struct job *j = container_of(t, struct job, late);
	struct reading g = {.nfiles = j->is.nfiles}; /* of its own: the helper may be writing in the other one */
	void (*told)(void *user, const struct reading *g) = j->told;
	struct reader *r = j->reader;
	char *path[2] = {xstrdup(j->path[0]), j->path[1] ? xstrdup(j->path[1]) : NULL};
	void *user = j->user;

	for (uint32_t i = 0; i < g.nfiles; i++)
		g.files[i] = (struct file_read){.path = path[i], .fault = FILE_LATE};
	j->told = NULL;
	if (!j->lane)
		job_end(j);
	told(user, &g);
	free(path[0]);
	free(path[1]);
	pump(r, false);
}

struct reading *reader_ask(struct reader *r, const struct reading_spec *spec)
{
	struct job *j = xnew(struct job);

	j->reader = r;
	j->told = spec->told;
	j->user = spec->user;
	j->most = spec->most;
	j->only_changed = spec->known != NULL;
	j->job = (struct offload_job){.work = work, .done = done};
	for (int i = 0; i < 2 && spec->paths[i]; i++) {
		j->path[i] = xstrdup(spec->paths[i]);
		j->is.files[i].path = j->path[i];
		j->is.nfiles++;
		if (spec->known)
			j->known[i] = spec->known[i];
		(void)room_for(j, i, ROOM); /* none: it is asked for again when its size is known */
	}
	r->pending++;
	list_push(&r->queue, &j->node);
	timer_in(r->loop, &j->late, r->most_ns, too_late);
	pump(r, false);
	return &j->is;
}

void reading_forget(struct reading **at)
{
	struct job *j = *at ? job_of(*at) : NULL;

	*at = NULL;
	if (!j)
		return;
	j->told = NULL;
	timer_cancel(j->reader->loop, &j->late);
	if (list_linked(&j->node))
		job_end(j);
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------------------------- */

struct reader *reader_new(struct loop *l)
{
	struct reader *r = xnew(struct reader);

	r->loop = l;
	list_init(&r->queue);
	reader_set_patience(r, READER_STALL_NS, READER_MOST_NS);
	return r;
}

void reader_free(struct reader **at)
{
	struct reader *r = *at;
	bool hangs = false;

	*at = NULL;
	if (!r)
		return;
	for (struct list *n; (n = list_pop(&r->queue));)
		job_end(list_entry(n, struct job, node));
	timer_cancel(r->loop, &r->stalled);
	for (uint32_t i = 0; i < r->nlanes; i++) {
		struct lane *lane = &r->lanes[i];
		if (lane->at) {
			lane->at->told = NULL;
			timer_cancel(r->loop, &lane->at->late);
		}
		hangs |= !offload_drain(lane->offload, hangs ? 0 : (uint64_t)LEAVE_MS * 1000000);
		offload_leave(&lane->offload);
	}
	if (!hangs) /* else its readings know it */
		free(r);
}

uint32_t reader_pending(const struct reader *r)
{
	return r->pending;
}

struct offload *reader_lane(struct reader *r, uint32_t i)
{
	if (i == r->nlanes)
		(void)lane_new(r);
	return i < r->nlanes ? r->lanes[i].offload : NULL;
}

void reader_set_patience(struct reader *r, uint64_t stall_ns, uint64_t most_ns)
{
	r->stall_ns = stall_ns;
	r->most_ns = most_ns;
}
