/* xds/sub_int: what sub.c and its two forms share. See sub.h.
 *
 *   struct sub: of its view. kind: of a type: who is wanted, what was accepted last; outlives streams.
 *   struct sub_name: a wanted name (or, over delta with a wildcard, one whose version is known). Owner: its kind's map.
 *   struct sub_stream: of an ads_stream, as its data: nonces, what was asked there, the message that is being read. `current`: the newest; requests go there, ACKs where they belong. */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "net/loop.h"
#include "xds/ads.h"
#include "xds/inflow.h"
#include "xds/request.h"
#include "xds/sub.h"

struct sub_name {
	struct sub *sub;
	enum xds_type type;
	char *name;                 /* the map's key */
	struct list order;          /* in the order in which they were wanted first, so that two runs say the same */
	struct list changed;        /* what is wanted may differ from what was said */
	uint32_t wants;
	uint64_t stream;            /* the stream on which it is subscribed */
	uint64_t request;           /* the number of the request there that named it first */
	uint64_t answered;          /* the stream on which it was answered last */
	bool known;                 /* it was answered ever */
	uint64_t message;           /* the last one it was in */
	char *version;              /* delta, accepted; NULL: none */
	size_t charged;             /* to sub.account: entries that a server made */
	struct timer silent;
};
struct sub_kind {
	struct map names;           /* name -> sub_name */
	struct list order, changed;
	uint32_t wanted;
	bool wildcard;
	char *version;              /* of the last accepted answer; "" */
	uint64_t success, rejected, bytes, ignored;
	char last_reject[160];
	bool rejecting;             /* the last answer was refused */
	struct log_every said;
};
enum { DROPPED_MAX = 16 };
struct sub_asked {              /* a type on a stream */
	uint64_t dropped[DROPPED_MAX]; uint32_t ndropped; /* names that were said and are no more (state of the world), by their hashes: the last ones */
	bool asked, wildcard;
	bool named, listed;         /* names were said, ever; in the last request */
	bool versions;              /* initial_resource_versions were said */
	uint64_t requests, responses;
	bool unsure;                /* state of the world: names were added by a request that was no acknowledgement: an answer may have crossed it, and it was ignored */
	char *nonce;                /* of the last answer; NULL: none came */
	bool again;                 /* ask for all of it once more */
	bool whole;                 /* the next answer is one to such a question */
	bool ack;                   /* it has to be acknowledged */
	char *reasons;              /* and refused: NACK; NULL: not */
};
struct sub_stream;
struct sub_form {
	bool delta;
	const char *name, *path;
	/* Says what is due for the type on that stream: acknowledgement, changes. 0: said, or there was nothing to say; -EAGAIN, -ENOMEM: later; ERR_CLOSED. */
	int (*request)(struct sub_stream *st, enum xds_type t);
	/* Only the acknowledgement, at once; NULL: it goes with the requests of the turn. */
	int (*acknowledge)(struct sub_stream *st, enum xds_type t);
};
extern const struct sub_form sub_sotw, sub_delta;

struct sub_seen { uint64_t *slots; uint32_t cap, n; };
struct sub_stream {
	struct sub *sub;
	struct list node;
	struct ads_stream *ads;
	const struct sub_form *form;
	struct inflow *inflow;
	uint64_t number;
	bool node_said, said;       /* the node; the message of sub_say */
	size_t say_unsent;          /* bytes up to the end of that message that the kernel has not taken; 0: it has */
	struct sub_asked asked[XDS_TYPES];
	/* the message that is being read */
	bool reading;
	uint64_t message;
	uint32_t size;
	int first_type;             /* of its first resource; -1 */
	bool mixed;
	enum { NO_RESOURCE, TAKING, DROPPING } resource;
	enum xds_type type;         /* of the resource */
	struct sb why, reasons;     /* of the resource; of the message, bounded */
	struct sb removed;          /* names that came before the message said its type; NUL behind each */
	struct sub_seen seen;       /* names that are not in the map: for doubles */
};
struct sub {
	struct loop *loop;
	struct log *log;
	struct ads *ads;
	const struct conf_xds *conf;
	const struct sub_form *form;
	const struct sub_events *ev;
	void *ctx;
	struct { const struct sub_events *ev; void *ctx; } route[XDS_TYPES]; /* by type; ev NULL: as all the others */
	/* A server may end the stream that asks it for secrets (istiod does, for who has not shown who he is), and everything else goes with it: it is not asked so soon again. */
	uint64_t barred_until_ns;
	struct account account;
	struct sb node;
	const char *view;
	struct sub_kind kind[XDS_TYPES];
	struct list streams;
	struct sub_stream *current;
	uint64_t streams_ever, messages;
	struct task flush;
	struct dirty word;          /* sub_say: what an app's post says goes out in the turn of that post */
	struct timer again;         /* the peer does not read: later */
	struct { char *url, *text; int code, after; bool error; void (*fn)(void *ctx, bool taken); void *ctx; } say;
};

/* For the forms. */
struct sub_kind *sub_kind_of(struct sub_stream *st, enum xds_type t);
struct request sub_request(struct sub_stream *st, enum xds_type t);  /* with the node, where it is the first message, and what is to be acknowledged */
int sub_send(struct sub_stream *st, enum xds_type t, struct sb *taken); /* 0: on its way; the node has been said, the type is asked */
void sub_acked(struct sub_stream *st, enum xds_type t);               /* the acknowledgement is on its way */
void sub_subscribed(struct sub_stream *st, struct sub_name *n);      /* named in the request that was just sent */
void sub_settle(struct sub_stream *st, enum xds_type t);             /* what was changed is said: names that nobody wants are forgotten */
