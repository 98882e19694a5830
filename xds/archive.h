/* xds/archive: raw bytes of accepted resources, out of the heap: the snapshot, and where clusters wait that nobody named yet.
 *
 *   archive_put --> append log below snapshot.dir (one file a view; written by net/offload) + index in memory: (kind, name) -> offset, length, hash; 32 bytes a record
 *   archive_get <-- one read of the file, or of what is still on its way to it
 *
 *   file: header {magic, version, identity of the view}  record {magic, kind, flags, lengths, hash, check} name body ...   a record flagged TOMB: gone
 *
 * What has a private key in it (inline, in a cluster) lies in memory in any case, and never in the file: the next start does not have it, and waits for the control plane.
 * Without a folder (dir NULL or not writable) there is no snapshot, and bodies lie deflated in memory in blocks of about 64 KiB (CDS packs to a few %).
 * At open the file is scanned: a wrong header, version or identity: refused whole with a warning (and begun anew); a record that is cut or whose check does not fit: the scan
 * ends there, what came before is kept, told once. Compaction: when the dead are more than the living and 1 MiB: a new file is written by the helper, fsync, rename.
 * A file that another daemon holds is left alone: no snapshot, told once. A file that can't be written any more (ENOSPC, EIO) stays as it is: what comes from then on lies in
 * memory, told once.
 *
 * Hot upgrade: the process that goes lends its file (archive_lend: nothing replaces it any more) to the one that comes, which begins with a copy of it beside it (takeover). Only when that one serves
 * does the copy get the file's name (archive_settle). Whoever dies on the way, what lies under the name is whole. Owner: a view of xds/xds. Rooms: archive.c (index, what this header says), archive_file.c (the log), archive_pack.c (memory). */
#pragma once
#include "base/err.h"
#include "net/loop.h"
#include "net/offload.h"

struct archive;
struct archive_spec {
	struct loop *loop; struct log *log; struct offload *offload;
	const char *dir;                  /* NULL: memory only */
	const char *view;                 /* becomes the file's name, made safe */
	struct str identity;              /* server, profile, node: another one is a foreign file */
	struct account *account;          /* index and what waits to be written */
	uint64_t max_bytes;               /* of the file; beyond it nothing more is put (counted); 0: ARCHIVE_BYTES_MAX */
	bool files_in_simulation;         /* a loop that is not real has no files, unless a test says so */
	bool takeover;                    /* a file that another process holds is its predecessor's: begin with a copy of it */
	uint64_t key_mask;                /* 0: none. Fewer bits of the index's keys, so that tests see names that collide */
};
#define ARCHIVE_BYTES_MAX (UINT64_C(1) << 30)
struct archive *archive_open(const struct archive_spec *spec);   /* never NULL: where the file is refused or can't be made, memory only, told once */
void archive_free(struct archive **a);                           /* what waits is written (bounded wait) */
/* kind: < 16, the caller's (enum xds_type and others). Equal hash: nothing happens. 0; -ENOMEM, -ENOSPC, -EINVAL (a name beyond 65,535 bytes): not kept, nor what was there
 * before under that name. */
int archive_put(struct archive *a, int kind, struct str name, uint64_t hash, const void *p, size_t n);
void archive_del(struct archive *a, int kind, struct str name);
bool archive_has(const struct archive *a, int kind, struct str name, uint64_t *ret_hash, size_t *ret_n);
/* The body, in a buffer that the caller frees with archive_got. -ENOENT; -EIO (the record is damaged: it is dropped); -ENOMEM. */
int archive_get(struct archive *a, int kind, struct str name, void **ret, size_t *ret_n);
void archive_got(struct archive *a, void *p, size_t n);
/* All names of a kind; false from fn: stop. fn may not put or del. Names are read back from the file where the index has hashes only. */
void archive_each(struct archive *a, int kind, bool (*fn)(void *ctx, struct str name, uint64_t hash, size_t n), void *ctx);
/* Marks a full state: records of the kind that were not put or kept (archive_keep) since archive_mark are dropped by archive_sweep. */
void archive_mark(struct archive *a, int kind);
bool archive_keep(struct archive *a, int kind, struct str name, uint64_t hash); /* true: it is there with that hash, and counts as put */
uint32_t archive_sweep(struct archive *a, int kind, void (*gone)(void *ctx, uint64_t name_hash /* str_hash of the name */), void *ctx); /* gone may be NULL */
struct archive_info {
	bool on_disk; uint32_t records; uint64_t bytes, dead; /* of the file, or of the bodies in memory */
	uint64_t memory;                  /* index, blocks, and what waits to be written */
	uint64_t written_ns;              /* since 1970, of the last write; 0: never */
	uint64_t refused, damaged, compactions; /* puts that were not kept; records dropped because their check did not fit */
	const char *state;                /* "fresh", "loaded", "refused: ...", "off", "failed: ..." */
};
void archive_info(const struct archive *a, struct archive_info *ret);
void archive_flush(struct archive *a);                           /* what waits goes to the helper now */
bool archive_lend(struct archive *a);                            /* true: all is in the file, and it stays the one of that name. False: ask again soon */
void archive_retake(struct archive *a);                          /* the one that was to come has died: where it has left a file of its own, ours takes its place again */
void archive_settle(struct archive *a);                          /* takeover: we serve now */
