/* health/probe_int: what the files of health/probe share. See health/probe.h.
 *
 *   probe.c          a probe's life: the beginning, the timeout, its one exit, connections that are kept
 *   probe_connect.c  one byte stream to the first of some addresses that takes it     probe_tcp.c   TCP, Unix: connect, send, receive
 *   probe_http.c     a request over HTTP/1.1 or HTTP/2, and what its answer means     probe_grpc.c  Check and Watch
 *   probe_tls.c      what TLS adds to a connection of its own                         probe_exec.c  a program */
#pragma once
#include "health/payload.h"
#include "health/probe.h"
#include "net/fields.h"
#include "net/grpc_call.h"
#include "net/h1_client.h"
#include "net/proc.h"

enum {
	PROBE_ADDRS_MAX = 16,
	PROBE_BODY_MAX = 1 << 20, /* of an answer: no health check is larger; whoever sends without end has failed before his sending costs us */
	PROBE_WHY = 256
};

struct probe_way { struct probe *probe; struct sock *sock; struct transport_meeting *meeting; /* owned; NULL: plaintext, or its handshake has not begun */ };
/* Owner: the probe. */
struct probe_tls {
	struct probe *probe;
	struct transport *transport;        /* counted */
	struct transport_watch watch;
	char *host;                         /* NULL: the address is its name */
	struct transport_asker asker;
	const struct sock *sock;            /* borrowed: the one that was handed over; what TLS says of it outlives its closing by this turn */
	const char *waits;                  /* for a secret that has not come: which; NULL */
	char why[256];                      /* of waits */
};
/* Owner: who started it, until done; freed by the morgue. */
struct probe {
	struct loop *loop;                  /* these four borrowed */
	const struct limits *limits;
	struct account *account;
	const struct health_check *check;
	struct probe_keep **keep;
	probe_done_fn *done; void *user;
	char *host;                         /* whom we ask for; charged */
	struct timer deadline;
	struct task told;                   /* what failed inside of probe_start, to be told later */
	struct grave grave;
	enum probe_verdict verdict;         /* of told; of a watch: what was told last */
	char why[PROBE_WHY];
	bool over, watch;
	bool starting;                      /* probe_start has not returned: what is over is told later */
	bool fresh;                         /* its connection was made for it: what breaks on it is the peer's fault */
	bool early;                         /* its own connection has not had the peer's SETTINGS: what ends a stream now is told by that one's end, which knows more */
	bool fit;                           /* its own connection may be kept */

	struct h2_conn *conn;               /* its own, or kept (then borrowed: *keep has it) */
	struct dial *dial;
	struct grpc_call *call;
	struct stream *stream;
	struct h1_client *h1;               /* its own, or kept */
	struct sock *sock;
	struct proc_child *child;
	struct probe_ping *ping;            /* of a watch: that is out */
	size_t sent;                        /* of the payload */
	struct payload receive;
	uint64_t body;                      /* bytes of an answer's body */
	int status;                         /* of HTTP */
	bool degraded, failing, other_cluster; /* what the head of an answer said */
	uint8_t *message; uint32_t message_n, message_cap; /* of gRPC; charged */
	bool has_message;
	int serving;
	uint32_t said;                      /* statuses of a watch since its last PING */

	void (*up)(struct probe *p);                             /* probe_dial */
	void (*got_sock)(struct probe *p, struct sock *taken);   /* probe_connect */
	void (*secrets)(struct probe *p);                        /* probe_tls_ready */
	struct probe_tls *tls;              /* NULL: plaintext */
	uint32_t next_way;
	struct timer stagger;
	uint32_t naddrs;
	struct probe_way *ways;             /* as addrs: behind the struct */
	struct addr addrs[];
};

/* The one exit: everything of its own ends (or is kept), done is called, the morgue has it; in a task where probe_start has not returned yet. */
void probe_finish(struct probe *p, enum probe_verdict v, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A connection that did not come to be: a verdict on the peer, or PROBE_VOID where it was for want of something of ours. */
enum probe_verdict probe_verdict_of(int err);
const char *probe_text_of(int err);
/* An HTTP/2 connection: kept or to be made; up is called with p->conn, perhaps before it returns, and perhaps before the peer's SETTINGS. */
void probe_dial(struct probe *p, void (*up)(struct probe *p));

/* The stream's end says nothing: on_closed of the connection will. */
static inline bool probe_waits_for_close(const struct probe *p, enum stream_cause cause) { return p->early && (cause == END_LOST || cause == END_UNPROCESSED); }
/* It refuses a stream because it takes none at all, as its SETTINGS say, which came later than our request. */
static inline bool probe_was_early(const struct probe *p, enum stream_cause cause) { return cause == END_REFUSED && p->conn && h2_conn_room(p->conn) == 0; }

void probe_connect(struct probe *p, void (*got)(struct probe *p, struct sock *taken));
void probe_connect_end(struct probe *p);
void probe_tls_begin(struct probe *p, const struct probe_spec *spec);
void probe_tls_end(struct probe *p);
/* Secrets are there: 0. -EAGAIN: `then` once they may be; otherwise with *why. */
int probe_tls_ready(struct probe *p, void (*then)(struct probe *p), const char **why);
/* The handshake on a connected sock of this way, which is taken: events go on with that of TLS. 0, or negative with *why. */
int probe_tls_shake(struct probe_way *w, const struct addr *at, const struct sock_events *ev, const char **why);
/* What TLS knows of a failure, counted and told for the log; NULL: nothing. */
const char *probe_tls_failed(struct probe *p, const struct addr *at, const struct sock *s, int err);
void probe_tls_passed(struct probe *p, const struct sock *s);
void probe_tcp_start(struct probe *p);
void probe_http_start(struct probe *p, struct h2_conn *lent);
void probe_grpc_start(struct probe *p, struct h2_conn *lent);
void probe_watch_end(struct probe *p);
void probe_exec_start(struct probe *p);
