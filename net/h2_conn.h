/* net/h2_conn: one HTTP/2 connection, server or client role, over a sock. The only room that includes nghttp2.
 * Owner: uds_client (server role) or lb/pool (client role) or a probe; it gives the sock away to the connection.
 * The connection frees itself (morgue) after on_closed; the owner then forgets its pointer. */
#pragma once
#include "base/limits.h"
#include "net/loop.h"
#include "net/sock.h"
#include "net/stream.h"

/* A client's stream begins with it where limits.reader_budget bounds anything: a message of 64 KiB and what is around it need no second round. */
enum { H2_FIRST_WINDOW = 81920 };
struct h2_conn;
struct h2_client_events {
	void (*on_up)(void *owner);                       /* the peer's first SETTINGS */
	void (*on_room)(void *owner);                     /* a stream ended, or the peer allows more: h2_conn_room() may have grown */
	void (*on_goaway)(void *owner);                   /* no new streams here (GOAWAY, ids used up, told to drain): open a replacement */
	void (*on_closed)(void *owner, int err, uint64_t streams_carried); /* gone; all its streams have ended before */
};
/* Server role. first/n: bytes read already (the sniffed preface). Takes the sock over. */
struct h2_conn *h2_conn_server(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct stream_server *ev, void *owner, const void *first, size_t n);
/* Client role, over a connected sock. */
struct h2_conn *h2_conn_client(struct loop *l, struct sock *taken, const struct limits *lim, struct account *parent,
	const struct h2_client_events *ev, void *owner);
const struct sock *h2_conn_sock(const struct h2_conn *c); /* borrowed: who the peer is, for people */
/* Hands the connection to another owner (net/dial does, when a connection is up). */
void h2_conn_set_owner(struct h2_conn *c, const struct h2_client_events *ev, void *owner);
/* Opens a stream (client role). NULL: no room (not up, GOAWAY, peer's limit). Nothing goes out before send_head. */
struct stream *h2_conn_open(struct h2_conn *c, const struct stream_events *ev, void *user);
/* Client role: streams may be opened, and go out, before the peer's SETTINGS (RFC 9113 3.4). They end with END_LOST where those never come; on_closed says more. */
void h2_conn_early(struct h2_conn *c);
uint32_t h2_conn_room(const struct h2_conn *c);       /* streams that may be opened now */
uint32_t h2_conn_streams(const struct h2_conn *c);    /* open now */
bool h2_conn_has_answered(const struct h2_conn *c);   /* a stream was served to its end (END_DONE) */
bool h2_conn_is_up(const struct h2_conn *c);
uint64_t h2_conn_last_read_ns(const struct h2_conn *c);
struct loop *h2_conn_loop(const struct h2_conn *c);   /* borrowed: the one it lives on */
/* PING; fn(user, true) at the ACK, fn(user, false) when the connection ends first. One at a time; -EBUSY. */
int h2_conn_ping(struct h2_conn *c, void (*fn)(void *user, bool acked), void *user);
/* Client: no new streams, closes when the last one ended. Server (process end only): two-phase GOAWAY, two round trips of PING apart. */
void h2_conn_drain(struct h2_conn *c);
/* Ends at the end of this turn: streams end with END_LOST, then on_closed (client role) or stream_server.on_closed comes. code: told by GOAWAY when it is not NO_ERROR (server role: only then). */
void h2_conn_close(struct h2_conn *c, uint32_t code);
void h2_conn_abandon(struct h2_conn *c);              /* client role: as h2_conn_close, but nothing is written any more, be it queued or due */
size_t h2_conn_memory(const struct h2_conn *c);       /* charged bytes */
/* Largest stream of the connection by queued bytes, for shedding at the hard memory limit: resets it, returns its bytes (0: none). */
/* Where stream ids start and where they count as used up (tests reach the roll-over with it). Client role, before the first stream. */
void h2_conn_set_ids(struct h2_conn *c, uint32_t next_id, uint32_t last_id);
size_t h2_conn_shed(struct h2_conn *c);
void h2_loop_trim(struct loop *l);                    /* free lists back to libc (called by loop_trim_soon's timer) */
void h2_loop_end(struct loop *l);                     /* frees what the loop keeps for HTTP/2 (called by loop_free) */
