/* sidecar/exchange: one call. READ THIS ROOM FIRST: sidecar/exchange.c stands under the picture of a call's way.
 *
 * An exchange has one DOWN end (the app's stream) and 1..N attempts, of which one relays its answer. Owner: itself, on the list of its app (or of the
 * control doors); it is freed once the down end has ended and no attempt is left. */
#pragma once
#include "lb/cluster.h"
#include "net/stream.h"
#include "sidecar/faults.h"
#include "sidecar/local.h"
#include "sidecar/retry.h"

struct attempt;
struct parking;

/* Where a call came in. */
struct exchange_door {
	struct sidecar *sc;
	struct app *app;                       /* NULL on the control socket */
	const struct local_row *rows;          /* NULL: none */
	const char *default_authority;         /* NULL */
	const struct sock_cred *cred;          /* borrowed during exchange_start */
	struct uds_client *client;             /* of an app's own door: outlives the exchange's down end; NULL elsewhere */
	const struct conf_inbound *inbound;    /* a call to the app, not one of it (sidecar/inbound); borrowed during exchange_start. NULL: its own */
	const struct uds_identity *caller;     /* of a call to the app: who calls, by a certificate; outlives the exchange's down end. NULL: nobody that we know */
	bool trusted, read_only;
	bool health;                           /* asked about the app (sidecar/health_door): nothing goes on from here */
};

enum { REPLAY_INLINE = 256 };
struct exchange {
	/* What every answer touches lies in front: with many calls open each cache line that it does not need counts. */
	struct sidecar *sc;                    /* borrowed */
	struct app *app;                       /* borrowed: it outlives its exchanges */
	struct stream *down;                   /* NULL once ended */
	struct fields *head;                   /* the request's, as it goes up; counted */
	struct attempt *attempt;               /* the present one; NULL before, between and after */
	struct cluster *cluster;               /* held (cluster_hold) until the end */
	struct route_action *action;           /* counted; the table is not held */
	struct uds_client *client;             /* borrowed: outlives `down`. Whose call of the app it is; NULL for all others */
	uint64_t deadline_ns;                  /* 0: none */
	struct list node, question;            /* question: see app.questions */
	bool is_grpc, fin_in, replayable, answering, head_down, done_down, parked, picked, is_local, deadline_from_header, is_head, sampled, over, trusted, tri_exception;
	bool inbound, health;                  /* its door's kind; neither: a call of the app */
	bool in_flight;                        /* counted in life_inbound */
	bool waited;                           /* `backoff` was armed once */
	bool inline_over, inline_sealed;       /* nothing more goes to replay_inline; what is there ends a DATA frame */
	uint16_t inline_n;                     /* bytes in replay_inline */
	char flag[4];
	int http_status, grpc_status;          /* -1: none seen */
	enum fault fault;
	uint32_t attempts, moves;              /* attempts begun; of them by promise 6 */
	uint32_t replay_n;                     /* bytes held in all */
	uint64_t received, sent_up, credited;  /* body bytes: from the app; the kernel took; given back as credit */
	uint64_t answered;                     /* body bytes of the answer handed down */
	struct chain held;                     /* not handed to an attempt yet */
	struct chain replay;                   /* beyond the inline part, shared with what was sent */
	struct fields *request_trailers;       /* counted; rare */
	struct grave grave;
	struct retry retry;                    /* what policy allows this call */
	uint64_t begun_ns;
	uint64_t up_open_ns, up_last_ns;       /* fresh clock readings, for the sidecar's own added time; 0: not measured */
	/* rarely */
	const struct uds_identity *caller;     /* borrowed: see exchange_door */
	const char *why;                       /* text beside the fault: static, or why_own */
	struct timer deadline, backoff;        /* backoff: of a retry, or the time to be parked */
	struct tried tried;
	struct cluster_wait wait;              /* parked until DNS answers, or */
	struct mesh_watch watch;               /* until its name is known */
	struct parking *parking;               /* owned; what a call that waited for its name has to remember */
	char *why_own;                         /* owned; what lives shorter than the call does (exchange_why) */
	uint32_t parked_bytes;
	/* not zeroed at the start: */
	char host[ADDR_TEXT];                  /* the last provider that was tried, where somebody will read it (a failure, the access log) */
	char replay_inline[REPLAY_INLINE];
};

/* A request has arrived. Takes nothing over but the stream's events. refuse: the head is beyond a limit. */
void exchange_start(const struct exchange_door *door, struct stream *down, struct fields *head, bool fin, const char *refuse);
/* Ends the call with an answer of our own; or, once the answer has begun, with trailers (gRPC) or a reset. */
void exchange_fail(struct exchange *x, enum fault f, const char *why);
/* A copy of a reason whose text may go before the call is told of it; until the next one. */
const char *exchange_why(struct exchange *x, const char *why);
/* attempt -> exchange */
void exchange_attempt_failed(struct exchange *x, enum fault f, const char *why, bool unprocessed, enum stream_cause cause);
void exchange_answer_head(struct exchange *x, struct fields *head, bool fin);
void exchange_answer_data(struct exchange *x, struct chain *data, bool fin);
void exchange_answer_trailers(struct exchange *x, struct fields *trailers);
void exchange_sent_up(struct exchange *x, size_t n, uint64_t attempt_sent);
void exchange_replayed(struct exchange *x); /* the whole of what was held went out once more */
void exchange_thaw(struct exchange *x, uint64_t stood_ns); /* the process stood still for so long, and its timers were moved */
void exchange_shut(struct exchange *x, enum fault f); /* process or app end: answers what has not begun, ends the rest */
