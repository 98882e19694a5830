/* net/reader: small files (certificates, keys, tokens) read beside the loop: a network's file system that does not answer, or a huge file, must not hold calls. In simulation in the loop
 * (see net/offload), so that runs stay reproducible.
 *
 *   reader (one a process) --- queue of readings
 *                          --- 1..READER_LANES lanes, each an offload with at most one reading
 *
 * There is one lane as long as it keeps moving. Where it stands still for a quarter of a second, what waits behind it gets another one; files of one folder never share two lanes, so
 * a mount that hangs costs one of them, and no later reading of a file overtakes an earlier one. When all of them hang, everybody waits. Whoever asked is told in time in any case.
 *
 * Owner of the reader: sidecar; of a reading: the reader, until it was told or forgotten. What was read is wiped before it is freed. */
#pragma once
#include <sys/types.h>
#include <time.h>
#include "net/offload.h"

enum { READER_LANES = 4 };
/* How a file is known again: a sign of a change costs a stat, and only a change a read. */
struct file_stamp { dev_t dev; ino_t ino; off_t size; struct timespec mtime, ctime; int err; };
enum file_fault { FILE_OK, FILE_ERRNO, FILE_FOLDER, FILE_ODD, FILE_LARGE, FILE_EMPTY, FILE_MOVING, FILE_NO_MEMORY, FILE_LATE };
struct file_read {
	const char *path;             /* the reading's own */
	char *p; size_t n;            /* what is in it: only where the fault is FILE_OK and the reading is not `same`; wiped when told() returns */
	enum file_fault fault;
	int err;                      /* errno of FILE_ERRNO */
	struct file_stamp stamp;
	bool strays;                  /* the path leads out of its folder, by links */
	struct {
		bool is_there, is_link;
		bool tells;               /* a disk of this machine: what others do there is told (inotify) */
		bool may_hang;            /* a network's, or a daemon's: nothing may be asked of it in the loop */
	} folder;
};
struct reading { struct file_read files[2]; uint32_t nfiles; bool same; /* private: see reader.c */ };
struct reading_spec {
	const char *paths[2];                  /* copied; [1] NULL: one file */
	size_t most;                           /* bytes of each, else FILE_LARGE */
	const struct file_stamp *known;        /* as many as paths: where nothing has changed nothing is read, and the reading is `same`; NULL: read in any case */
	void (*told)(void *user, const struct reading *g); /* in the loop, once, never from inside of reader_ask; it may ask, and forget others */
	void *user;
};
struct reader;
struct reader *reader_new(struct loop *l);
/* What has not been told is forgotten. A lane that hangs is not waited for: it keeps what it owns, and ends with the process. */
void reader_free(struct reader **r);
struct reading *reader_ask(struct reader *r, const struct reading_spec *spec);
void reading_forget(struct reading **g);   /* nobody is told any more; accepts NULL inside */
/* "cannot be read: Permission denied". */
const char *file_why(const struct file_read *f, char out[96]);
bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b);
uint32_t reader_pending(const struct reader *r);   /* asked and not over, also what was forgotten while it was under way */
struct offload *reader_lane(struct reader *r, uint32_t i); /* for tests: the first one that is not there yet is made; NULL beyond it */
void reader_set_patience(struct reader *r, uint64_t stall_ns, uint64_t most_ns); /* instead of these */
#define READER_STALL_NS 250000000u         /* a lane that has not moved for so long is not waited for */
#define READER_MOST_NS 5000000000u         /* who asked is told FILE_LATE after so long */
