/* net/grpc_call: a gRPC client call of our own (ADS, health probes, certificates) over a stream of an h2_conn: 5-byte framing both ways.
 *
 *   grpc_call_open --head--> server          on_head    once, the response's head (not for trailers-only)
 *   grpc_call_send --message--> server       on_begin   a message of n bytes begins (flag 0; a compressed one ends the call with INTERNAL)
 *                                            on_bytes   its bytes as they come, in pieces; whole = the last piece (empty messages: one piece of 0 bytes)
 *   grpc_call_half_close                     on_end     exactly once: grpc-status and message, or what happened to the stream
 *
 * Messages are never buffered here: who wants them whole gathers them. Back-pressure: bytes are credited when on_bytes returns, unless the call is
 * paused (grpc_call_pause), then when it is resumed. After on_end, or once grpc_call_cancel returned, no event comes; freed with the morgue.
 * Sources: gRPC PROTOCOL-HTTP2. Owner: who opened it. */
#pragma once
#include "net/grpc.h"
#include "net/h2_conn.h"

struct grpc_call;
struct grpc_call_events {
	void (*on_head)(void *user, struct fields *head); /* may be NULL */
	/* The size that the peer announces. False: too large for the caller; the call ends with RESOURCE_EXHAUSTED. */
	bool (*on_begin)(void *user, uint32_t n);
	void (*on_bytes)(void *user, const void *p, size_t n, bool whole);
	/* status: grpc-status; where the stream ended without one: what the gRPC spec maps the end to (UNAVAILABLE, CANCELLED, INTERNAL ...) and answered says whether
	 * anything of a response had come. message: decoded, NUL-terminated, borrowed. */
	void (*on_end)(void *user, int status, const char *message, bool answered);
	void (*on_sent)(void *user, size_t n); /* the kernel took n bytes of what grpc_call_send queued; may be NULL */
};
struct grpc_call_spec {
	const char *scheme;       /* "http" or "https" */
	const char *authority, *path;
	const char *user_agent;
	const struct str (*metadata)[2]; uint32_t nmetadata; /* name, value; names lower case, "-bin" values already encoded */
	bool wipes;               /* secrets may come: what was handed to on_bytes is wiped where it was received */
	uint64_t timeout_ns;      /* grpc-timeout, kept here, too: DEADLINE_EXCEEDED; 0: none */
};
/* NULL: no room on the connection, or no memory. */
struct grpc_call *grpc_call_open(struct h2_conn *c, const struct grpc_call_spec *spec, const struct grpc_call_events *ev, void *user);
/* For on_end: END_DONE where the status is what the server said (or what its HTTP status maps to), else what became of the stream. */
enum stream_cause grpc_call_cause(const struct grpc_call *g);
/* One message, framed and copied. -ENOMEM: refused; nothing was queued. */
int grpc_call_send(struct grpc_call *g, const void *message, size_t n);
size_t grpc_call_unsent(const struct grpc_call *g);      /* queued bytes that the kernel has not taken */
void grpc_call_half_close(struct grpc_call *g);
void grpc_call_pause(struct grpc_call *g, bool paused);  /* paused: received bytes are given no credit */
void grpc_call_cancel(struct grpc_call **g);             /* RST_STREAM(CANCEL), no event; accepts NULL */
