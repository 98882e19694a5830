/* net/h1_write: one HTTP/1.1 answer on its way out, without I/O: what stands before the body, how the body is framed, what ends it.
 *
 *   text  -> [frame -> body]...  -> last -> tail      text: heads; frame, last: chunk framing; tail: trailers
 *
 * Frames are made when the body is about to go, so what was sent in many small pieces while the peer did not read goes as one chunk,
 * and framing needs no memory that could be refused. Owner: h1_conn, one that it uses again for each answer. */
#pragma once
#include <sys/uio.h>
#include "base/buf.h"
#include "net/fields.h"
#include "net/h1_parse.h"

enum h1_mode {
	H1_MODE_NONE,    /* no head yet, or an answer without a body: what comes is dropped */
	H1_MODE_LENGTH,
	H1_MODE_CHUNKED,
	H1_MODE_CLOSE    /* HTTP/1.0: the end of the connection ends it */
};
struct h1_writer {
	struct buf_pool *bufs;    /* borrowed */
	struct account *account;  /* borrowed: pays for text, and for the body that waits */
	struct chain text, body, tail;
	uint64_t promised;        /* LENGTH: what is still to come by content-length */
	size_t chunk_left;        /* of body, covered by the present frame */
	size_t dropped;           /* body bytes that nobody gets: they count as sent, or their sender would wait for credit */
	char frame[24], last[8];
	uint8_t frame_at, frame_n, last_at, last_n;
	uint8_t mode;
	bool headed, fin, framed, ended;
	bool broken;              /* more or less came than was promised: the connection cannot go on */
};
void h1_writer_init(struct h1_writer *w, struct buf_pool *bufs, struct account *a);
void h1_writer_clear(struct h1_writer *w); /* also between answers */

int h1_write_text(struct h1_writer *w, struct str text);
/* A head. request: what it answers. *close: whether the connection ends with it; set where only that can end the body. -ENOMEM. */
int h1_write_head(struct h1_writer *w, const struct fields *head, const struct h1_head *request, bool fin, bool *close);
void h1_write_data(struct h1_writer *w, struct chain *moved, bool fin);
/* f: NULL or what the peer does not want: none go out. -ENOMEM. */
int h1_write_trailers(struct h1_writer *w, const struct fields *f);
/* A whole answer of our own, always the last one of its connection. */
int h1_write_local(struct h1_writer *w, int status, const char *why);

enum { H1_IOV = 32 };
int h1_write_iov(struct h1_writer *w, struct iovec iov[H1_IOV]);
/* n bytes of that iov are gone. Returns how many body bytes the sender may be told of (dropped ones included). */
size_t h1_write_took(struct h1_writer *w, size_t n);
bool h1_write_pending(const struct h1_writer *w); /* something is left to be written */
static inline bool h1_write_done(const struct h1_writer *w) { return w->fin && !h1_write_pending(w); }
