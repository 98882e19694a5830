/* uds/listener: the app-facing doors: Unix sockets first, loopback TCP beside them; and the limits on who may come in.
 *
 *   uds_doors 1 --- n listener 1 --- n client (uds/client.h) 1 --- 1 h2_conn or h1_conn
 *                       1 --- 1 handshakes (uds/handshakes.h): where callers speak TLS
 *
 * uds_doors counts connections in all and by uid, and remembers which listeners wait for room. Owner of doors and listeners: sidecar
 * (an app owns its listeners); a client belongs to its listener until its connection is gone. */
#pragma once
#include "base/limits.h"
#include "base/map.h"
#include "net/sock.h"
#include "net/stream.h"

struct transport;            /* net/transport.h */
struct uds_doors;
struct uds_listener;
struct uds_client;

/* What a door is; copied. fd: an inherited listening descriptor, or -1. */
/* Who is at the other end, by a certificate that was verified. Lives as long as the client. */
struct uds_identity {
	const char *own_uri;           /* of the certificate that we showed; "" where it has none */
	const char *hash;              /* of the caller's leaf: SHA-256, 64 hex digits */
	const char *subject;           /* RFC 2253 */
	const char *const *uris; uint32_t nuris; /* its URI SANs */
};
struct uds_door {
	bool is_unix;
	const char *path;              /* Unix: "/run/x.sock" or "@name"; NULL for TCP */
	struct addr addr;
	int fd;
	uint32_t mode;
	int64_t group;                 /* gid, -1: leave */
	bool vital;                    /* the control socket: outside of limits.connections*, may use a reserve descriptor, at most UDS_VITAL_MAX connections */
	bool anybody;                  /* who comes in is not the app: limits.connections_per_uid does not count there, and a fifth of limits.connections is kept from them */
	const uint64_t *memory_most;   /* while the process is charged more, a connection is closed at its first bytes; borrowed, outlives the door. NULL: never */
	struct transport *transport;   /* callers speak TLS (a server's transport; a ref is taken). NULL: plaintext */
	bool permissive;               /* with transport: by the first byte, TLS or plaintext */
	const uint32_t *uids, *gids; uint32_t nuids, ngids; /* allow; both empty: whoever can open it. Copied */
};
enum { UDS_VITAL_MAX = 64 };
struct uds_events {
	/* As stream_server.on_request; user is the listener's. */
	void (*on_request)(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse);
	void (*on_idle)(void *user);   /* a draining listener has no client any more */
	void (*name)(const void *user, struct sb *out); /* of a door for TLS, for what is told of failed handshakes: appends it; NULL: nobody says */
	void (*on_left)(void *user);   /* a client that was marked by uds_client_carry is gone; may be NULL; not told of a listener that is closed */
};
/* Who accepts, where two processes of one daemon have the same doors (hot upgrade):
 *
 *   OURS --uds_doors_leave--> LEFT --uds_doors_ours--> OURS       the one that goes; back, when its successor has died
 *   WAITING --uds_doors_ours--> OURS                              the one that comes: set before the first door is opened
 *
 * In WAITING and LEFT descriptors and locks are held, so that inodes live on, but nothing is accepted and no file is removed. */
enum uds_hold { DOORS_OURS, DOORS_WAITING, DOORS_LEFT };
/* An open door, for the one that comes (or for the manager's store). Borrowed. */
struct uds_held { int fd; const struct addr *addr; const char *path; /* NULL: no file of ours */ int lock_fd; uint64_t dev, ino; };

struct uds_doors *uds_doors_new(struct loop *l, const struct limits *lim);
void uds_doors_free(struct uds_doors **d);                 /* all listeners are closed before */
void uds_doors_limits(struct uds_doors *d, const struct limits *lim); /* after a reload: who waited for room goes on; lim outlives the doors */
uint32_t uds_doors_clients(const struct uds_doors *d);
void uds_doors_wait(struct uds_doors *d);
void uds_doors_leave(struct uds_doors *d);                 /* stops accepting; clients are told to go, those who have not spoken yet when they do */
void uds_doors_ours(struct uds_doors *d);
void uds_doors_keep_files(struct uds_doors *d);            /* we end, and the manager keeps our descriptors for the next start: their files stay, too */
void uds_doors_let_go(struct uds_doors *d);                /* LEFT: nor are descriptors held any more */
void uds_doors_each(const struct uds_doors *d, void (*fn)(void *ctx, const struct uds_held *h), void *ctx); /* those that are open, the control socket's too */
/* fn: the lock of the file that belongs to an inherited descriptor, true with ret filled; it is the listener's then. */
void uds_doors_paths(struct uds_doors *d, bool (*fn)(void *ctx, const struct addr *at, struct sock_path *ret), void *ctx);
void uds_doors_on_empty(struct uds_doors *d, void (*fn)(void *ctx), void *ctx); /* the last client of uds_doors_clients has gone */

/* account: what its connections are charged to (the app's). 0, or a negative code with why (a sentence without the address). */
int uds_listen(struct uds_doors *d, const struct uds_door *door, struct account *account, const struct uds_events *ev, void *user,
	struct uds_listener **ret, char *why, size_t why_len);
uint32_t uds_listener_clients(const struct uds_listener *l);
/* A reload: as door.transport and door.permissive, for connections to come. Those that stand stay, but for whom the new ones would judge otherwise, and those in plaintext where that is not
 * let in any more: they are told to go, as by send_off. */
void uds_listener_tls(struct uds_listener *l, struct transport *transport, bool permissive);
struct uds_tls_info { bool tls, permissive; uint32_t in_flight; uint64_t handshakes, failures, plaintext_refused; };
void uds_listener_tls_info(const struct uds_listener *l, struct uds_tls_info *ret);
/* Stops accepting (the file goes if it is still ours) and lets the clients finish: HTTP/1 closes after its request, HTTP/2 is told by a two-phase
 * GOAWAY only with goaway (process end, or the app was removed); who has not spoken yet is closed only then. */
void uds_listener_drain(struct uds_listener *l, bool goaway);
/* The connections that are there are told to go, as by drain with goaway; who comes anew is served as before. */
void uds_listener_send_off(struct uds_listener *l);
void uds_listener_stop(struct uds_listener *l);            /* stops accepting, nothing else */
void uds_listener_close(struct uds_listener **l);          /* and ends the clients now */
/* Hard memory limit: the stream with the most queued bytes of all clients ends. Bytes shed. */
size_t uds_doors_shed(struct uds_doors *d);

const struct sock_cred *uds_client_cred(const struct uds_client *c);
const struct sock *uds_client_peer(const struct uds_client *c);   /* its connection; NULL once that is gone. Lives as long as any of its streams */
const struct uds_identity *uds_client_identity(const struct uds_client *c); /* NULL: nobody that we know: plaintext, or no certificate that was verified */
bool uds_client_carries(const struct uds_client *c);              /* it was marked: it has carried a call */
void uds_client_carry(struct uds_client *c);
bool uds_client_is_h1(const struct uds_client *c);
bool uds_client_was_sent_off(const struct uds_client *c);         /* HTTP/2: a GOAWAY is on its way to it, or there */
