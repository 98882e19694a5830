/* xds/ads: the stream to a control plane: which server, connecting, TLS, token, back-off, keepalive, GOAWAY; knows nothing of resources.
 *
 *   ads 1 --- 1..2 ads_stream (the present one; a second while one takes over from the other: make before break) 1 --- 1 h2_conn, grpc_call
 *
 * Back-off: full jitter 1 s doubling to 30 s; at once after a stream that had answered (gRFC A57), but not twice in a second. Servers in order; the first that works; back to the
 * first one when the stream ends. Names of servers are resolved again for each try. A token file is read for each stream. PING when nothing was read for 30 s, never more often than every
 * 15 s (istiod ends faster ones). Owner: a view of xds/xds, whose only user is xds/sub; or a name of xds/sds.
 *
 * TLS (net/transport): first the token, then the certificate. With a token a stream waits for no certificate, and shows it once there is one; without, there is no stream before it came.
 * A certificate that is renewed is for the next stream; other roots make a new one (make before break): the present one was judged by those of before. */
#pragma once
#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/transport.h"

struct ads;
struct ads_stream;
struct ads_events {
	/* A stream is open (headers may be sent before anything came): say the first requests. An older one may still be there: it ends when the new one has answered. */
	void (*open)(void *user, struct ads_stream *s);
	bool (*begin)(void *user, struct ads_stream *s, uint32_t n);    /* a message of n bytes; false: refuse it (the stream ends) */
	void (*bytes)(void *user, struct ads_stream *s, const void *p, size_t n, bool whole);
	/* It and its nonces are gone. status: grpc-status that the server said, or what the loss of the stream amounts to (UNAVAILABLE); 0: we ended it. A callee that says
	 * ads_set_path for UNIMPLEMENTED gets the same server again at once. */
	void (*closed)(void *user, struct ads_stream *s, int status, const char *why);
	/* Transitions, once each: up when a stream has answered its first message; down when none is open. Down again only where the server says no in another way. */
	void (*state)(void *user, bool up, const char *why);
	void (*sent)(void *user, struct ads_stream *s, size_t n); /* the kernel took n bytes of what ads_send queued; may be NULL */
};
struct ads_spec {
	struct loop *loop; struct log *log; struct dns *dns; const struct limits *limits; /* borrowed; limits outlive the loop's connections */
	const struct conf_xds *conf;   /* borrowed until ads_conf */
	struct transports *transports; /* borrowed; NULL: TLS cannot be had */
	struct reader *reader;         /* borrowed, outlives it: reads tokens; NULL: conf names none */
	const struct secret_space *space; /* borrowed until ads_space; NULL: what names a secret cannot be had */
	const char *path;              /* of the RPC, static; ads_set_path changes it (delta or state of the world) for the next stream */
	const char *view;              /* for log lines; borrowed */
	const char *word;              /* the same, what it is that is asked: "sds"; static; NULL: "xds" */
	uint64_t backoff_least_ns, backoff_most_ns; /* 0: 1 s, 30 s */
};
/* ev may be NULL, and be named later (xds/sub is made after its ads, before ads_start), or nobody's again. */
struct ads *ads_new(const struct ads_spec *spec, const struct ads_events *ev, void *user);
void ads_user(struct ads *a, const struct ads_events *ev, void *user);
void ads_free(struct ads **a);
void ads_start(struct ads *a);     /* begins to connect; open comes later */
void ads_conf(struct ads *a, const struct conf_xds *conf);   /* other servers or TLS: a new stream by make before break */
void ads_space(struct ads *a, const struct secret_space *space); /* another one, with the same secrets */
void ads_set_path(struct ads *a, const char *path);
void ads_restart(struct ads *a, const char *why);            /* ends the stream and opens another one (back-off as after an answered one) */
void ads_hold(struct ads *a, bool held);                      /* held: a stream that is there goes on, and when it is lost no other one is opened; false: opens what is missing */
/* The end, in order: our half is closed behind what was said, and the stream is read until the server has ended it: then it has heard all of it. (What still lies unread when a connection
 * closes, grpc-go drops with it.) Nothing is opened or said any more. over: once for each stream that was there, when it has ended; how many there are. */
uint32_t ads_finish(struct ads *a, void (*over)(void *ctx), void *ctx);
void ads_stream_end(struct ads_stream *s, const char *why);  /* this one alone: what it said makes no sense; closed comes */
void ads_thaw(struct ads *a);
void ads_retry(struct ads *a);                                /* there is a sign that the server is back: what waits for its back-off is tried now */
int ads_send(struct ads_stream *s, const void *message, size_t n); /* -ENOMEM; -EAGAIN: too much is queued (the peer does not read): again later; ERR_CLOSED */
size_t ads_unsent(const struct ads_stream *s);               /* queued bytes that the kernel has not taken */
bool ads_stream_has_answered(const struct ads_stream *s);    /* a whole message came on it */
void ads_stream_set(struct ads_stream *s, void *data);       /* the user's own, NULL at first */
void *ads_stream_data(const struct ads_stream *s);
const char *ads_server(const struct ads *a);                  /* as configured, the one in use or tried last */
const char *ads_state_name(const struct ads *a);              /* "idle", "connecting", "open" (nothing heard yet), "connected", "back-off" */
const char *ads_last_error(const struct ads *a);              /* "" */
struct ads_info { uint64_t since_ns, connects, messages, failed; /* tries and streams */ uint32_t failures; /* since the last answered stream */ bool up; };
void ads_info(const struct ads *a, struct ads_info *ret);
