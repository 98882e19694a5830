/* xds/archive_int: what the rooms of the archive share. Private to xds/archive and its like.
 *
 *   struct archive 1 --- n struct record   the index: dense array + buckets of indices (open addressing, linear probing)
 *                  1 --- n struct piece    records on their way to the file; the last one may still be filled (archive_file.c)
 *                  1 --- n struct block    bodies in memory, deflated (archive_pack.c)
 *
 * A record's body is in the file (or a piece), or in a block: AT_MEMORY tells. */
#pragma once
#include "xds/archive.h"

enum { KINDS = 16, NAME_MAX_ = 65535 };
#define AT_MEMORY (UINT64_C(1) << 63)
#define AT_GONE (UINT64_C(1) << 62)   /* deleted during a compaction: places in the array stay until it is over */

struct record {
	uint64_t key;         /* seeded hash of kind and name */
	uint64_t hash;        /* the caller's, of the body */
	uint64_t at;          /* offset in the file; AT_MEMORY | block << 24 | place in the block's names */
	uint32_t body_n;
	uint16_t name_n;
	uint8_t kind, mark;
};
_Static_assert(sizeof(struct record) == 32, "the size that the header promises");

/* In the file, in this machine's byte order (a file from another one has a version that nobody knows). */
struct record_head {
	uint32_t magic;
	uint8_t kind, flags;
	uint16_t name_n;
	uint32_t body_n, unused;
	uint64_t hash;
	uint64_t check;       /* of all before it, the name and the body */
};
_Static_assert(sizeof(struct record_head) == 32, "no padding");
enum { RECORD_MAGIC = 0x4d544352 /* "RCTM" */, RECORD_TOMB = 1, CHECK_STEP = 64 << 10 /* a body is hashed in steps: who verifies it does not have it whole */ };
#define CHECK_SEED UINT64_C(0x7468696e6d657368)
struct file_head {
	char magic[8];
	uint32_t version, identity_n;
	uint64_t identity;
	uint64_t check;
};
_Static_assert(sizeof(struct file_head) == 32, "no padding");

struct piece;
struct compaction;
struct block;
struct packer {
	struct block **blocks; uint32_t nblocks, cap; /* by id; NULL: free */
	struct block *open;                  /* being filled; one of blocks */
	uint64_t raw_waiting;                /* bytes of closed blocks that are not deflated yet */
	uint64_t bytes, dead;                /* of bodies, as they were put */
	struct task work;
};
struct log_file {
	int fd;                              /* -1: none */
	int failed;                          /* the helper's alone while jobs run: the first error; after it nothing is written any more */
};
struct archive {
	struct archive_spec spec;            /* dir and view are not kept */
	uint64_t seed;
	struct record *records; uint32_t count, cap;
	uint32_t *buckets; uint32_t nbuckets; /* index + 1; 0: free */
	uint32_t gone;                       /* records with AT_GONE */
	uint8_t gen[KINDS];
	/* the log */
	struct log_file *log;                /* owned; a stuck helper keeps it beyond us */
	char *path;                          /* NULL: memory only */
	char *next;                          /* the name of the copy that we write, until it gets that of path; NULL: we write path itself */
	uint64_t head_n, end, written, dead; /* of the file: where records begin, where the next one goes, how far it is on disk, bytes of superseded records and tombs */
	uint64_t wall_ns;
	struct piece *first, *last;          /* oldest to newest; owned, a given one lent to the helper */
	struct timer flush;
	struct compaction *compaction;       /* running; later pieces wait for it */
	uint64_t compact_above;              /* after a failed one: not before the file is so big */
	uint64_t memory;                     /* charged, of pieces and a compaction */
	bool broken, orphan, lent, told_key;
	uint64_t refused, damaged, compactions;
	char state[120];
	struct packer packer;
};

/* ---- archive.c ---- */
uint64_t archive_key(const struct archive *a, int kind, struct str name);
int64_t archive_find(const struct archive *a, int kind, struct str name);    /* index, or -1 */
int archive_index(struct archive *a, const struct record *r);                /* -ENOMEM */
void archive_unindex(struct archive *a, uint32_t i);                         /* without a tomb; counts its bytes as dead */
struct record *archive_at(struct archive *a, uint64_t key, uint64_t at);     /* the record that lies there, or NULL */
void archive_purge(struct archive *a);                                       /* takes AT_GONE out */
static inline uint64_t record_size(const struct record *r) { return sizeof(struct record_head) + r->name_n + (uint64_t)r->body_n; }

/* ---- archive_file.c ---- */
void file_open(struct archive *a, const char *dir, const char *view);
void file_close(struct archive *a);                                          /* what waits is written, in bounds */
void file_free(struct archive *a);                                           /* and the archive itself, now or when the helper lets go of it */
static inline bool file_is_on(const struct archive *a) { return a->path && !a->broken; }
int file_put(struct archive *a, uint8_t flags, int kind, struct str name, uint64_t hash, const void *p, size_t n, uint64_t *ret_at);
bool file_name_is(const struct archive *a, const struct record *r, struct str name);
int file_name(const struct archive *a, const struct record *r, char *buf);   /* name_n bytes; 0 or -EIO */
int file_get(const struct archive *a, const struct record *r, void *buf);    /* 0; -EIO */
void file_maybe_compact(struct archive *a);
void file_flush(struct archive *a);
bool file_lend(struct archive *a);
void file_retake(struct archive *a);
void file_settle(struct archive *a);

/* ---- archive_pack.c ---- */
int pack_put(struct archive *a, int kind, struct str name, const void *p, size_t n, uint64_t *ret_at);
void pack_del(struct archive *a, const struct record *r);
struct str pack_name(const struct archive *a, const struct record *r);
int pack_get(struct archive *a, const struct record *r, void *buf);
uint64_t pack_memory(const struct archive *a);
void pack_free(struct archive *a);
