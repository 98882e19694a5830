/* net/h2_int: what the h2_*.c files share; nobody else includes it.
 *
 *   bytes in:  sock -> chunk -> nghttp2 -> h2_frames (callbacks) -> on_request / on_head / on_data (slices of the chunk, not copied)
 *   bytes out: stream.out (chain) -> nghttp2 asks (send_data) -> packer: small pieces into the loop's scratch, big ones by reference
 *              -> one writev a flush -> what the kernel took is told by on_sent; the rest waits in conn.out
 *
 * h2_conn owns its h2_streams (list `streams`); a stream is buried by the morgue once nghttp2 has closed it. */
#pragma once
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include "base/err.h"
#include "net/h2_conn.h"

enum { H2_COPY_BELOW = 2048, H2_IOV_MAX = 256, H2_MARKS = 4096, H2_FRAME_ROOM = 20480, H2_RESET_RING = 256, H2_INFORMATIONAL_MAX = 100, H2_FEED_MAX = 16384,
	H2_GRANT_STEP = 16 /* Watches: see stream_uncount */ };

/* n body bytes of a stream end at position `end` of the connection's output; n 0: all of a server's stream ends there. */
struct h2_mark { struct h2_stream *st; uint32_t n; uint64_t end; };

/* Shared by all connections of a loop. Owner: loop->h2. */
struct h2_shared {
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *server_option, *client_option;
	struct pool_mem streams;
	void *free[33];              /* h2_mem: free lists of sizes 32..1024 by steps of 32 */
	uint32_t free_n[33];
	uint32_t conns, most;        /* most: at a time, since memory was given back last */
	/* the packer: valid within one flush */
	struct iovec iov[H2_IOV_MAX];
	struct slice *iov_slice[H2_IOV_MAX]; /* NULL: the piece lies in the scratch */
	uint32_t niov;
	size_t packed, used;         /* bytes packed; bytes of the scratch used */
	struct h2_mark marks[H2_MARKS];
	uint32_t nmarks;
	struct fields *packing;      /* ref: the list of the HEADERS that nghttp2 hands out next; NULL: not told */
	uint64_t packing_mark;       /* of that list when it was submitted */
	uint32_t packing_known;      /* it gets a stand-in: see h2_said.c */
	struct h2_stream *head_packed, *last_packed; /* whose HEADERS nghttp2 hands out next: the head; the end of all it sends */
	struct chain held;           /* big slices on their way to the kernel, in order */
};

struct h2_bucket { uint64_t at_ns; int64_t milli; };
/* Where the next frame head begins in what the peer sends: see h2_walk.c. */
struct h2_walk { uint32_t left; int32_t late; uint8_t n, head[9]; bool begun; };

/* Where the next frame head begins, for h2_memo.c. */
struct h2_heads { uint32_t left; uint8_t n, head[9]; bool begun; };
/* A header block whose list is known: see h2_memo.c. list NULL: none. */
struct h2_known { struct fields *list; uint8_t *block; uint32_t n; enum fields_kind kind; bool used; };

struct h2_conn {
	struct loop *loop;
	struct h2_shared *shared;
	struct sock *sock;           /* owned */
	nghttp2_session *session;    /* owned */
	const struct limits *lim;    /* borrowed */
	struct account account;      /* nghttp2's memory and the stream structs */
	struct account *parent;      /* borrowed, outlives us: header lists and queued body bytes are charged there */
	const struct stream_server *server;
	const struct h2_client_events *client; /* exactly one of the two */
	void *owner;
	struct dirty dirty;
	struct grave grave;
	struct task first_task;
	char *first; size_t first_n; /* sniffed bytes, until the first task */
	struct list streams;
	struct h2_stream *hot;       /* the last one looked up: frames of one stream mostly follow each other; NULL */
	uint32_t nstreams;           /* open at nghttp2 */
	struct list places; uint32_t nplaces; /* server: streams elsewhere that have what a stream asked for which is gone (stream_keep_place) */
	uint32_t uncounted, granted; /* server: of these the Watches; how many more streams than limits.streams_per_connection the peer was told of because of them */
	uint64_t carried;
	bool answered; /* a stream was served to its end */
	/* in */
	struct h2_stream *partial;   /* its DATA frame is not whole yet, or its data not delivered */
	bool in_block;               /* between HEADERS and END_HEADERS */
	bool block_taken;            /* nghttp2 reads that block for us; else it skips it */
	int32_t block_id;
	uint32_t block_wire, block_frames;
	uint32_t empty_run;
	struct fields *block;        /* header list being received */
	const char *block_wrong;     /* what is wrong with it; NULL */
	struct h2_memo *memo;        /* owned; NULL: nothing learned yet */
	struct h2_heads heads;
	struct h2_said *said;        /* owned; NULL: nothing learned yet */
	const struct h2_known *canned; /* while nghttp2 is fed the stand-in of a known block */
	const uint8_t *learn; uint32_t learn_n; /* the block that is being fed, if it shall be known from now on; else NULL */
	struct chunk *reading;       /* what nghttp2 is being fed from: slices of it become body data */
	size_t heads_held;           /* against limits.header_budget */
	uint32_t last_id, opened_in; /* server: highest id seen, how many; client: unused */
	uint32_t first_id;
	struct h2_walk walk;
	int32_t reset_forgotten;     /* the highest id that reset_ring does not hold any more */
	int32_t *reset_ring; uint32_t reset_n; /* streams that we ended while the peer could still send on them; H2_RESET_RING ids, made at the first */
	struct h2_bucket resets, control;
	bool paused;                 /* not reading: a bucket is empty, or too many heads are held */
	uint64_t paused_until_ns;
	uint64_t last_read_ns;
	uint64_t owed;               /* connection window not given back yet: at the end of each read, unless `held` is above its mark */
	uint64_t held;               /* received body bytes that streams have not been credited for: somebody still holds them */
	uint64_t reserved;           /* server: what its streams were granted beyond their first windows, against limits.reader_budget */
	uint32_t window;             /* of a new stream, as our SETTINGS say */
	bool window_shut;            /* the peer was stopped by the connection's window; counted */
	/* out */
	struct chain out;            /* packed, not yet taken by the kernel; charged to parent */
	struct h2_mark *left; uint32_t nleft, left_at; /* marks of c->out */
	uint64_t out_packed, out_written;
	uint64_t stall_written;      /* out_written when stall_at_ns was set */
	size_t queued;               /* body bytes in the streams' queues */
	struct list unsettled;       /* streams whose queue must be settled at the end of the flush */
	struct timer timer;          /* preface, header, stall, pause, notice: the earliest of them */
	uint64_t preface_at_ns, header_at_ns, stall_at_ns;
	uint64_t notice_at_ns;       /* server: who has not answered the notice of a drain by then is not waited for */
	uint64_t linger_at_ns;       /* server: all is said, and the peer has until then to close first */
	/* state */
	void (*ping_fn)(void *user, bool acked); void *ping_user;
	uint32_t next_id_limit;
	int err;
	uint32_t close_code;
	bool up, goaway_in, draining, notice_sent, notice_acked, closing, finished, in_callback, told_goaway, room_due, got_settings, feeding,
		early,        /* client: streams may be opened before the peer's SETTINGS */
		abandoned,    /* closing, and what is queued is not written any more */
		force_memory; /* what nghttp2 asks for now is charged without asking: it is small, and what ends or unblocks a stream */
	bool last_told;              /* server: the second GOAWAY of a drain has named the last stream */
};

struct h2_stream {
	/* What every frame touches lies in front. */
	struct stream s;
	struct h2_conn *c;           /* borrowed: it owns us */
	int32_t id;                  /* 0: not submitted yet (client role) */
	bool head_in, fin_in, head_out, fin_queued, fin_out, trailers_due, deferred, silent, ended, peer_reset, local_reset, is_unsettled, gone, refused_by_us, told_fin, excess,
		flush_due, detached; /* server: all is packed, done when the kernel has it; nghttp2 knows the stream no more */
	bool asked_head;             /* client role: the request was a HEAD */
	bool uncounted;              /* server: see stream_uncount */
	struct fields *out_head, *out_trailers; /* refs until nghttp2 has packed them */
	uint64_t mark_head, mark_trailers; /* fields_mark of these lists when they were submitted */
	uint32_t known_head, known_trailers; /* said before: what h2_said_find found; 0: not */
	struct chain in;             /* received in this turn, not delivered yet */
	struct chain out;
	uint32_t marks;              /* pieces in c->left */
	uint32_t promised;           /* bytes of `out` that nghttp2 has framed and the packer has not taken yet */
	int64_t content_length; uint64_t received;
	uint64_t held;               /* of received: not credited yet */
	uint32_t window, reserved;   /* ours for what comes; server: granted by stream_reserve */
	uint64_t widen_at;           /* credited bytes at which it asks for more of a window */
	bool window_shut, widen_denied; /* the peer was stopped by it; its reader has said no: each is counted once */
	uint64_t sent;               /* body bytes the kernel took */
	uint64_t head_end;           /* position in the output where our HEADERS end; 0: not packed */
	struct list node, unsettled;
	struct grave grave;
	uint64_t begun_ns, stall_since_ns, stall_sent;
	size_t head_held;
	/* rarely */
	struct fields *kept;         /* the part of an excessive head that was read before the limit */
	uint32_t peer_code;
	uint32_t informational;      /* 1xx heads so far */
	struct list place; struct h2_conn *place_of; /* client role: in the places of that connection; NULL: in none */
	const char *why;             /* why we reset it */
	enum stream_cause cause;     /* with why */
};

/* The stream of an id, or NULL: nghttp2's map costs a hash and cache misses, so the last answer is kept. */
static inline struct h2_stream *h2_conn_stream(struct h2_conn *c, int32_t id)
{
	if (c->hot && c->hot->id == id)
		return c->hot;
	struct h2_stream *st = nghttp2_session_get_stream_user_data(c->session, id);
	if (st)
		c->hot = st;
	return st;
}

/* h2_mem.c */
nghttp2_mem h2_mem(struct h2_conn *c);
void h2_mem_trim(struct h2_shared *s);
/* h2_frames.c: nghttp2's callbacks */
void h2_frames_install(nghttp2_session_callbacks *cb);
void h2_frames_deliver(struct h2_conn *c);     /* what the last recv left undelivered */
void h2_frames_on_closed(struct h2_conn *c, uint8_t type, int32_t id);
/* h2_memo.c */
ssize_t h2_memo_feed(struct h2_conn *c, const char *bytes, size_t n);
void h2_memo_learn(struct h2_conn *c, const struct fields *list, enum fields_kind kind);
void h2_memo_end(struct h2_conn *c);
void h2_memo_forget(struct h2_conn *c);
/* h2_said.c */
uint32_t h2_said_find(struct h2_conn *c, const struct fields *list); /* 0: not known; else nghttp2 is to be given h2_said_nv */
extern const nghttp2_nv h2_said_nv;
void h2_said_pack(struct h2_conn *c, const uint8_t *frame, size_t n); /* HEADERS that nghttp2 hands out: packs it, or what it stands for */
void h2_said_forget(struct h2_conn *c);
void h2_said_end(struct h2_conn *c);
bool h2_block_changes_table(const uint8_t *p, size_t n);
char *h2_pack_room(struct h2_conn *c, size_t n); /* h2_pack.c: n bytes of the scratch; n <= H2_FRAME_ROOM */
/* h2_walk.c */
void h2_walk(struct h2_conn *c, const char *bytes, size_t n);
/* h2_stream.c */
extern const struct stream_ops h2_stream_ops;
struct h2_stream *h2_stream_new(struct h2_conn *c, int32_t id); /* NULL: the account refuses */
void h2_stream_end(struct h2_stream *st, enum stream_cause cause, uint32_t code, const char *detail);
void h2_stream_gone(struct h2_stream *st);     /* nghttp2 knows it no more: unlink and bury */
void h2_stream_leave_place(struct h2_stream *st);
void h2_stream_fail(struct h2_stream *st, uint32_t code, enum stream_cause cause, const char *why); /* resets it and tells its user */
void h2_stream_flushed(struct h2_stream *st);  /* the kernel has all of it */
void h2_stream_deliver(struct h2_stream *st, bool fin);
ssize_t h2_stream_read(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *src, void *user);
void h2_stream_settle(struct h2_stream *st);
int h2_nv(const struct fields *f, nghttp2_nv *nv, int max);
/* h2_conn.c */
void h2_conn_let_go(struct h2_conn *c, struct h2_stream *st, uint64_t n); /* n received bytes of the stream are gone */
void h2_conn_mark(struct h2_conn *c);
void h2_conn_fatal(struct h2_conn *c, uint32_t code, enum stat_id stat); /* GOAWAY with code, then the end */
void h2_conn_rst(struct h2_conn *c, int32_t id, uint32_t code);
void h2_conn_note_reset(struct h2_conn *c, int32_t id);
bool h2_conn_knows_reset(const struct h2_conn *c, int32_t id);
void h2_conn_finish(struct h2_conn *c, int err);   /* the end: streams end, the owner is told, the morgue takes it */
/* h2_pace.c */
void h2_conn_timers(struct h2_conn *c);
void h2_conn_tell_last(struct h2_conn *c);   /* the second GOAWAY of a drain */
uint64_t h2_bucket_take(struct h2_bucket *b, uint64_t now_ns, uint32_t n, uint32_t rate); /* 0, or how long until what was taken is there */
void h2_conn_pace(struct h2_conn *c, struct h2_bucket *b, uint32_t n, uint32_t rate, enum stat_id stat); /* takes n; pauses until they are there */
void h2_conn_pause(struct h2_conn *c, uint64_t for_ns);
void h2_conn_resume_check(struct h2_conn *c);
void h2_conn_want(struct h2_conn *c);              /* which readiness it wants, by its state */
/* h2_pack.c: false: all is out, or the kernel takes no more, or the connection is finished */
bool h2_pack_left(struct h2_conn *c);              /* writes what earlier flushes left; true: nothing is left */
bool h2_pack_and_write(struct h2_conn *c);         /* true: there may be more */
/* called by nghttp2 within a flush */
int h2_pack_data(nghttp2_session *s, nghttp2_frame *f, const uint8_t *hd, size_t n, nghttp2_data_source *src, void *user);
