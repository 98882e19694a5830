/* net/stream: the contract between whoever carries messages (HTTP/2, HTTP/1, local answers) and whoever relays them
 * (the exchange, gRPC client calls). Both ends of a call are of this one type.
 *
 *   calls (down the floors)                              events (up)
 *   stream_send_head(s, fields, fin)                     on_head(user, fields, fin)      response head (client role only)
 *   stream_send_data(s, chain, fin)   chain is emptied   on_data(user, chain, fin)       the callee takes what it wants out of chain
 *   stream_send_trailers(s, fields)                      on_trailers(user, fields)
 *   stream_credit(s, n)               n bytes of on_data are gone: widen the stream's window
 *   stream_reset(s, code)             no event follows   on_sent(user, n)                the kernel took n bytes of body
 *                                                        on_end(user, &end)              exactly once, unless stream_reset came first
 *
 * - fields are borrowed during a call or an event; keep one with fields_ref.
 * - fin on head or data, or trailers, half-closes. Trailers imply fin.
 * - An end comes when both halves are closed, or at any failure. After on_end, or once stream_reset returned, no event comes; the
 *   pointer is valid until the end of the turn.
 * - A server-role stream whose response has been sent whole while the request is still open ends with RST_STREAM(NO_ERROR)
 *   (RFC 9113 8.1): the stream does so by itself. A client-role stream that has the whole response ends at once with cause DONE: what the
 *   provider does not want of the request is dropped (its RST(NO_ERROR) is success).
 * - An event callback may make any call on any stream. Nothing is freed and nothing is written inside a callback.
 * - stream_credit moves the stream's window only; the connection's window is given back at receipt.
 * - A client-role stream begins with a small window. Before it lets more come it asks its `reader`, the stream that takes what arrives: stream_reserve says
 *   whether n more bytes may be on their way to it, and what was granted counts until the reader is gone. So what one app's connection does not read is
 *   bounded, and a stream that was told no goes on with the window that it has. */
#pragma once
#include "base/buf.h"
#include "net/fields.h"

enum stream_cause {
	END_DONE,          /* both halves closed in order */
	END_REFUSED,       /* RST_STREAM(REFUSED_STREAM): nothing was processed */
	END_UNPROCESSED,   /* beyond the last id of a GOAWAY, or the connection ended before the head was sent */
	END_RESET,         /* RST_STREAM by the peer, h2_code says which */
	END_CONNECT,       /* never got a connection (attempts only) */
	END_LOST,          /* connection lost; the head may have been processed */
	END_LIMIT,         /* a limit of ours (header list too large, stall, memory) */
	END_MALFORMED,     /* the peer's message broke the rules: reset with PROTOCOL_ERROR */
	END_DEADLINE,
};
struct stream_end {
	enum stream_cause cause;
	uint32_t h2_code;        /* of a reset */
	uint64_t bytes_sent;     /* body bytes that the kernel took */
	const char *detail;      /* static text or NULL */
};
struct stream;
struct stream_ops {
	int (*send_head)(struct stream *s, struct fields *head, bool fin);
	void (*send_data)(struct stream *s, struct chain *moved, bool fin);
	int (*send_trailers)(struct stream *s, struct fields *trailers);
	void (*reset)(struct stream *s, uint32_t h2_code);
	void (*credit)(struct stream *s, size_t n);
	void (*forwarded)(struct stream *s);
	bool (*reserve)(struct stream *s, size_t n);
	bool (*uncount)(struct stream *s);
	void (*keep_place)(struct stream *s, struct stream *up);
};
struct stream_events {
	void (*on_head)(void *user, struct fields *head, bool fin);
	void (*on_data)(void *user, struct chain *data, bool fin); /* what is left in data afterwards is dropped and credited */
	void (*on_trailers)(void *user, struct fields *trailers);
	void (*on_sent)(void *user, size_t n);
	void (*on_end)(void *user, const struct stream_end *end);
};
struct stream {
	const struct stream_ops *ops;
	const struct stream_events *ev; /* set by the relayer; static */
	void *user;                     /* the relayer's */
	struct account *account;        /* borrowed: the connection's; what is queued for this stream is charged here */
	struct stream *reader;          /* set by the relayer, borrowed: lives until this stream has ended or was reset; NULL: nobody is asked */
};
/* 0, or -ENOMEM when the account refuses (the stream is as before; the caller resets or answers). */
static inline int stream_send_head(struct stream *s, struct fields *head, bool fin) { return s->ops->send_head(s, head, fin); }
static inline void stream_send_data(struct stream *s, struct chain *moved, bool fin) { s->ops->send_data(s, moved, fin); }
static inline int stream_send_trailers(struct stream *s, struct fields *trailers) { return s->ops->send_trailers(s, trailers); }
static inline void stream_reset(struct stream *s, uint32_t h2_code) { s->ops->reset(s, h2_code); }
static inline void stream_credit(struct stream *s, size_t n) { s->ops->credit(s, n); }
/* The request's head has gone on its way: it counts no longer against limits.header_budget of its connection. Harmless when repeated. */
static inline void stream_forwarded(struct stream *s) { if (s->ops->forwarded) s->ops->forwarded(s); }
static inline bool stream_reserve(struct stream *s, size_t n) { return !s->ops->reserve || s->ops->reserve(s, n); }
/* Server role: from now on it does not count against limits.streams_per_connection (a Watch, which is open for as long as the app lives). False: there are limits.watches_per_connection
 * of these on the connection. */
static inline bool stream_uncount(struct stream *s) { return !s->ops->uncount || s->ops->uncount(s); }
/* Server role, in on_end: it was reset, and up has what it asked for. It counts against limits.streams_per_connection until up is gone too: where a provider does not read, whoever
 * opens and resets has no more of it than whoever waits. Harmless where either is not HTTP/2. */
static inline void stream_keep_place(struct stream *s, struct stream *up) { if (s->ops->keep_place) s->ops->keep_place(s, up); }

enum h2_code { H2_NO_ERROR, H2_PROTOCOL_ERROR, H2_INTERNAL_ERROR, H2_FLOW_CONTROL_ERROR, H2_SETTINGS_TIMEOUT, H2_STREAM_CLOSED, H2_FRAME_SIZE_ERROR,
	H2_REFUSED_STREAM, H2_CANCEL, H2_COMPRESSION_ERROR, H2_CONNECT_ERROR, H2_ENHANCE_YOUR_CALM, H2_INADEQUATE_SECURITY, H2_HTTP_1_1_REQUIRED };

/* Server role, HTTP/1 and HTTP/2 alike: a request's head is complete and valid. The callee sets s->ev and s->user before it returns
 * (or resets the stream). refuse != NULL: the head is well-formed but beyond a limit of ours (431); answer it so. */
struct stream_server {
	void (*on_request)(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse);
	void (*on_closed)(void *owner, int err); /* the connection is gone; all streams have ended */
};
