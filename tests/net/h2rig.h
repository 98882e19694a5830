/* tests/net/h2rig: HTTP/2 connections of both roles on a simulated network, and peers that speak bytes by hand.
 *
 *   h2_rig 1 --- n h2_end (a connection of ours, recorded) 1 --- n h2_talk (a stream, recorded)
 *          1 --- n h2_raw (bytes)
 *
 * What a stream's user is told is kept as words in the order it came: "head", "data", "trailers", "sent", "end:CAUSE" (a run of data or
 * sent is one word). h2_rig owns everything until h2_rig_free, which looks that nothing is left: accounts at 0, no chunk, no open end. */
#pragma once
#include "base/str.h"
#include "net/h2_conn.h"
#include "tests/sim/simnet.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)

struct h2_end;
struct h2_rig {
	struct simnet *net;
	struct loop *loop;
	struct limits lim;             /* of all connections of ours; may be changed before they are made */
	struct account account;        /* what they are charged to; its limit may be lowered */
	struct list ends, raws, talks;
	struct addr at;
	struct sock_listen *listen;
	struct h2_end *server;         /* the last accepted */
	struct h2_raw *raw_server;
	bool accept_raw;               /* what is accepted speaks bytes */
	bool hold_heads;               /* a server's stream says not that its head was forwarded */
	void (*on_request)(void *talk);/* what a server's stream does at its head; NULL: nothing */
};
struct h2_end {
	struct list node;
	struct h2_rig *rig;
	struct h2_conn *h2;            /* NULL: closed */
	struct sock *sock;             /* borrowed */
	uint32_t ups, rooms, goaways, closed, requests;
	int err;
	uint64_t carried;
	const char *refuse;            /* of the last request */
};
struct h2_talk {
	struct list node;
	struct h2_end *end;
	struct stream *s;              /* NULL: ended */
	struct sb words, head, trailers, body;
	uint64_t got, sent;            /* body bytes */
	uint32_t heads, ends, after;   /* after: events that came although none may */
	bool fin, hold;                /* hold: gives no credit */
	size_t owed;
	bool reset_at_head, reset_at_data; /* in the callback itself */
	struct stream_end how;
};
struct h2_raw {
	struct list node;
	struct h2_rig *rig;
	struct sock *s;
	struct sb in, out;
	size_t at;
	bool eof;
	int err;
};

struct h2_rig *h2_rig_new(void);
void h2_rig_free(struct h2_rig **r);
void h2_rig_run(struct h2_rig *r, uint64_t ms);  /* 0: settle. Raw peers read and write on the way */
struct h2_end *h2_rig_client(struct h2_rig *r);  /* connected; the other side is r->server or r->raw_server */
struct h2_end *h2_rig_server_for_raw(struct h2_rig *r, struct h2_raw **ret); /* a server of ours and a raw client */

struct fields *h2_fields(struct h2_rig *r, const char *lines); /* "name: value\n" each */
struct h2_talk *h2_talk_open(struct h2_end *e, const char *lines /* NULL: a usual request */, bool fin); /* NULL: no room */
void h2_talk_head(struct h2_talk *t, const char *lines, bool fin);
void h2_talk_fill(struct h2_talk *t, size_t n, bool fin);       /* a pattern that tells a lost or doubled byte */
void h2_talk_trailers(struct h2_talk *t, const char *lines);
void h2_talk_reset(struct h2_talk *t, uint32_t code);
void h2_talk_credit(struct h2_talk *t);          /* what was held back; from now on at once */
bool h2_talk_pattern(const struct h2_talk *t);   /* the body is the pattern */
struct h2_talk *h2_talk_of(struct h2_end *e, uint32_t n); /* the n-th of that end, from 0; NULL */
const char *h2_talk_words(const struct h2_talk *t);
void h2_answer(void *talk);                      /* for on_request: 200, "hello", grpc-status 0, at once */

/* Raw peers. */
enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST, F_SETTINGS, F_PUSH, F_PING, F_GOAWAY, F_WINDOW, F_CONTINUATION };
enum { FL_END_STREAM = 1, FL_ACK = 1, FL_END_HEADERS = 4, FL_PADDED = 8 };
struct h2_frame { uint8_t type, flags; uint32_t id, n; const uint8_t *p; };
void h2_put(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n);
void h2_put_u32(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, uint32_t value);
void h2_put_head(struct sb *b, uint32_t id, const char *lines, uint8_t flags);
void h2_put_preface(struct sb *b);               /* the client's, with empty SETTINGS */
void h2_say(struct h2_raw *w, struct sb *b);     /* sends and empties b */
void h2_hpack(struct sb *b, const char *lines);
bool h2_next(struct h2_raw *w, struct h2_frame *f);
uint32_t h2_count(struct h2_raw *w, int type, int64_t id);
bool h2_find(struct h2_raw *w, int type, int64_t id, struct h2_frame *ret);
uint32_t h2_u32(const uint8_t *p);
uint32_t h2_code_of(struct h2_raw *w, uint32_t id);  /* of RST_STREAM on id; of GOAWAY for id 0; UINT32_MAX: none */
extern const char h2_get[];                      /* lines of a request without a body */
extern const char h2_post[];                     /* of a gRPC call */
