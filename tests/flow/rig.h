/* tests/flow/rig: a whole sidecar in one process on a virtual clock, with the apps and the providers around it.
 *
 *   caller (fake app, h2_conn in client role)  ---simnet--->  sidecar (the real one)  ---simnet--->  provider (h2_conn in server role)
 *   raw    (bytes by hand, either side)
 *
 * A test says what is declared (YAML), what providers do (struct act), makes calls, moves the clock, and looks: at the call (what the app got), at
 * the served call (what the provider saw), at counters. The rig owns everything that is made here, until rig_free: which also checks that nothing is left of the
 * sidecar: every account at 0, no connection, no call. Nothing here sleeps. Failures of the rig itself end the program (rig_die). */
#pragma once
#include "conf/conf.h"
#include "lb/cluster.h"
#include "net/dns.h"
#include "net/grpc.h"
#include "net/h2_conn.h"
#include "sidecar/sidecar.h"
#include "tests/sim/simnet.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)
#define DOOR "unix:/run/shop.sock"
#define DEMO "demo.default.svc.cluster.local:50051"
#define PATH "/org.apache.dubbo.demo.GreeterService/sayHello"

struct rig {
	struct simnet *net;
	struct loop *loop;
	struct log *log;
	struct dns *dns;              /* a table: dns_table_set */
	struct sidecar *sc;
	struct account account;       /* of the fakes: not under the process's, so that this one tells only of the sidecar */
	struct limits lim;            /* the fakes': wide */
	struct list callers, calls, providers, raws, planes;
	const char *yaml;             /* borrowed: what the next reload reads */
	const char *bootstrap;        /* borrowed: GRPC_XDS_BOOTSTRAP_CONFIG, the one variable that there may be; NULL: none */
	char err[4096];               /* of the last rig_reload or rig_new that failed */
	uint64_t next_call;
	void (*on_call_end)(void *ctx, void *call); /* for the simulation */
	void (*on_served)(void *ctx, void *served, int what);
	void *ctx;
};
void rig_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
struct rig *rig_new(const char *yaml);            /* dies with the problems of a yaml that is refused */
struct rig *rig_new_seeded(const char *yaml, uint64_t seed);
/* The same in two steps, for what must be there before the sidecar starts (control planes, DNS names): a world without one, then the sidecar in it. */
struct rig *rig_bare(uint64_t seed);
void rig_start(struct rig *r, const char *yaml);
void rig_free(struct rig **r);
/* One app at DOOR, one service DEMO with these endpoints ("10.0.0.1:1, 10.0.0.2:1"); more: further lines of the service (indented by 4) or NULL; top: further sections. */
struct rig *rig_demo(const char *endpoints, const char *more, const char *top);
void rig_advance(struct rig *r, uint64_t ms);
void rig_settle(struct rig *r);                   /* all that is to be done now is done */
int rig_reload(struct rig *r, const char *yaml);
uint64_t rig_stat(const struct rig *r, enum stat_id id);
size_t rig_memory(const struct rig *r);           /* what the sidecar is charged */

/* ---- apps ---- */

struct caller {
	struct list node;
	struct rig *rig;
	struct h2_conn *h2;           /* NULL once closed */
	struct sock *sock;            /* borrowed from h2 */
	bool up;
	int err;
	char why[256];                /* that it did not connect: what TLS says of it; "" */
	int (*dress)(void *ctx, struct caller *c, const struct sock_events *ev); void *dress_ctx; /* once connected: puts another sock (TLS) over c->sock; rig_tls.h */
	uint32_t goaways;
	struct grave grave;
};
struct call {
	struct list node;
	struct rig *rig;
	struct caller *from;
	struct stream *stream;        /* NULL once ended */
	uint64_t number;
	/* what came back */
	struct sb head, trailers, data; /* fields as "name: value\n" */
	uint64_t bytes, hash;         /* of the body; data keeps the first megabyte */
	uint64_t sent, sent_hash;     /* what was given to the stream */
	uint64_t on_sent;             /* what the kernel took */
	uint32_t heads, ends;
	int status, grpc;             /* -1: none */
	bool fin;                     /* the answer is whole */
	struct stream_end end;        /* valid when ends */
	uint64_t begun_ns, ended_ns;
	bool hold;                    /* gives no credit: a reader that stalls */
	uint64_t owed;                /* bytes not credited */
	void *user;
};
struct caller *caller_new(struct rig *r, const char *at);   /* connected; NULL h2 if it was refused */
struct caller *caller_start(struct rig *r, const char *at); /* connects in the next turns */
void caller_close(struct caller *c);              /* as an app that ends */
void caller_stall(struct caller *c, bool stalled);/* as an app that hangs */
/* A gRPC call; more: further fields, "name: value\n" each, or NULL. A field that begins with ':' replaces. */
struct call *call_begin(struct caller *c, const char *authority, const char *path, const char *more, bool fin);
struct call *call_plain(struct caller *c, const char *method, const char *authority, const char *path, const char *more, bool fin);
void call_data(struct call *c, const void *bytes, size_t n, bool fin);
void call_fill(struct call *c, size_t n, bool fin);         /* n bytes that are told apart */
void call_trailers(struct call *c, const char *fields);
void call_cancel(struct call *c);
void call_credit(struct call *c);                 /* what it held back, and from now on at once */
struct call *call_unary(struct caller *c, const char *authority, const char *more); /* one message of 5 + 5 bytes, whole; PATH */
const char *call_field(const struct call *c, const char *name); /* of head or trailers; static buffers, the last 8 live; NULL */
const char *call_text(const struct call *c);      /* grpc-message, or the body */
bool call_ok(const struct call *c);               /* ended well with grpc-status 0 */

/* ---- providers ---- */

enum does {
	ECHOES,           /* head at once, what comes goes back, trailers at the end */
	ANSWERS,          /* after the request's end: head, `messages` of `bytes`, trailers */
	ANSWERS_EARLY,    /* the same without waiting for the end */
	TRAILERS_ONLY,
	PLAIN,            /* :status `status`, `bytes` of body, no trailers */
	HOLDS,            /* nothing; the test goes on by served_* */
	HEAD_ONLY,        /* a head, then nothing */
	RESETS,           /* RST_STREAM `code` at the head */
	RESETS_LATE,      /* head, a message, then RST_STREAM `code` */
	CRASHES,          /* the connection closes at the head */
	CRASHES_LATE,     /* head, a message, then the connection closes */
	LEAVES,           /* answers, and the connection says GOAWAY (two-phase) */
	DOES_COUNT
};
struct act {
	enum does does;
	int status, grpc;             /* 0: 200; 0 */
	uint32_t code, messages, bytes;
	uint64_t delay_ms;            /* before it begins */
	const char *head, *trailers;  /* further fields, "name: value\n" */
	bool hold;                    /* gives no credit */
};
struct provider {
	struct list node;
	struct rig *rig;
	struct addr at;
	struct sock_listen *listen;
	struct act act;
	struct act next[16]; uint32_t nnext; /* for the next calls, before act */
	struct limits lim;
	struct list conns, served;    /* served: all calls it ever saw, newest last */
	uint32_t accepted, requests, cancelled, open;
	bool hangs_up;                /* closes what it accepts */
	struct tls_context *tls;      /* it speaks TLS; borrowed from the test. NULL: plain text */
	const struct tls_want *clients; /* whom it accepts then; borrowed too */
	uint32_t handshakes, refused; /* that ended well; that did not */
};
struct served {
	struct list node;
	struct provider *p;
	struct served_conn *conn;     /* NULL once gone */
	struct stream *stream;        /* NULL once ended */
	struct act act;
	struct timer timer;
	struct sb head, trailers, data;
	uint64_t bytes, hash, begun_ns, ended_ns, owed, sent, sent_hash;
	bool fin, begun, answered, ended;
	struct stream_end end;
	uint32_t conn_number;
};
struct served_conn {
	struct list node;
	struct provider *p;
	struct h2_conn *h2;           /* NULL: still shaking hands */
	struct sock *sock, *under;    /* under: of the network; where TLS lies over it, another one */
	uint32_t number;
	char peer[256];               /* the name that the other side showed, in TLS; "" */
	struct grave grave;
};
struct provider *provider_new(struct rig *r, const char *at, enum does does);
void provider_listen(struct provider *p, bool on);
void provider_cut(struct provider *p);            /* its connections die as by kill -9 */
void provider_goaway(struct provider *p);
void provider_stall(struct provider *p, bool stalled);
void provider_next(struct provider *p, struct act act);
uint32_t provider_conns(const struct provider *p);
struct served *provider_last(const struct provider *p); /* NULL: none yet */
struct served *provider_call(const struct provider *p, uint32_t n);
const char *served_field(const struct served *s, const char *name);
/* By hand, for HOLDS. */
void served_head(struct served *s, int status, const char *more, bool fin);
void served_data(struct served *s, const void *bytes, size_t n, bool fin);
void served_fill(struct served *s, size_t n, bool fin);
void served_trailers(struct served *s, int grpc, const char *more);
void served_reset(struct served *s, uint32_t code);
void served_credit(struct served *s);
void served_answer(struct served *s);             /* as ANSWERS would */

/* ---- control planes: tests/flow/rig_ads.h ---- */

struct plane;
/* A control plane at an address; it ends with the rig. kind: enum plane_kind (0: istiod). */
struct plane *rig_plane(struct rig *r, const char *at, int kind);

/* ---- raw bytes ---- */

struct raw {
	struct list node;
	struct rig *rig;
	struct sock *sock;            /* NULL once closed by the test; stays after eof */
	struct sb in;                 /* all that came */
	size_t at;                    /* raw_next's place */
	bool eof; int err;
	bool deaf;                    /* reads nothing */
	struct sb out;                /* not taken yet */
	struct sock_listen *listen;   /* of a raw provider: the connections are `accepted` */
	struct raw *accepted[16]; uint32_t naccepted;
};
struct frame { uint8_t type, flags; uint32_t id, n; const uint8_t *p; };
enum { F_DATA, F_HEADERS, F_PRIORITY, F_RST, F_SETTINGS, F_PUSH, F_PING, F_GOAWAY, F_WINDOW, F_CONTINUATION };
enum { FL_END_STREAM = 1, FL_ACK = 1, FL_END_HEADERS = 4 };
struct raw *raw_new(struct rig *r, const char *at);         /* a client */
struct raw *raw_provider(struct rig *r, const char *at);
void raw_send(struct raw *w, const void *bytes, size_t n);
void raw_text(struct raw *w, const char *text);
void raw_close(struct raw *w);
void raw_deaf(struct raw *w, bool deaf);
/* Frames: into a text, or onto the wire at once. */
void frame_add(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n);
void raw_frame(struct raw *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n);
void raw_preface(struct raw *w);                  /* the client's 24 bytes and empty SETTINGS */
void hpack_fields(struct sb *b, const char *lines);
/* A head of literals from "name: value\n" lines. */
void raw_headers(struct raw *w, uint32_t id, const char *lines, bool fin);
void raw_rst(struct raw *w, uint32_t id, uint32_t code);
void raw_goaway(struct raw *w, uint32_t last, uint32_t code);
/* Frames that came, in order; the client preface is skipped. False: no whole one more. */
bool raw_next(struct raw *w, struct frame *f);
bool raw_find(const struct raw *w, int type, uint32_t id, struct frame *ret); /* the first of them, from the beginning; ret may be NULL */
uint32_t raw_count(const struct raw *w, int type, int64_t id /* -1: any */);
uint32_t raw_code(const struct raw *w, uint32_t id); /* of the RST_STREAM on id; UINT32_MAX: none */
extern const char raw_request[];                  /* the lines of a gRPC request to DEMO */
