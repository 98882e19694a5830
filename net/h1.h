/* net/h1: HTTP/1.1, server role only: local paths and unary calls, so that `curl --unix-socket` works for everything. One request at a
 * time (no pipelining: the next one is not read before the answer is out). Strict: any doubt answers 400 and closes. Requests become
 * struct fields with pseudo-headers (host -> :authority, absolute-form accepted), hop-by-hop fields consumed; answers get
 * content-length or chunked; trailers of the answer are sent as chunked trailers only where the client said `te: trailers`, otherwise dropped (grpc-status
 * and grpc-message then go into the head where the answer is trailers-only).
 * The parser alone: net/h1_parse.h; what goes out: net/h1_write.h.
 * 100-continue is answered when asked for and the body is wanted (HTTP/1 only). */
#pragma once
#include "base/limits.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"

struct h1_conn;
/* Takes the sock over; first/n: bytes read already. NULL: the account refused, the sock is closed. No event before it returns. The connection
 * frees itself (morgue) after on_closed; limits are copied. Streams are charged to `parent`, there is no account in between. */
struct h1_conn *h1_conn_server(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct stream_server *ev, void *owner, const void *first, size_t n);
void h1_conn_drain(struct h1_conn *c);  /* closes after the present request; at once when idle */
void h1_conn_close(struct h1_conn *c);  /* now: the call ends with END_LOST, then on_closed */
