/* uds/listener: the app-facing doors: Unix sockets first, loopback TCP beside them; and the limits on who may come in.
 *
 *   uds_doors 1 --- n listener 1 --- n client (uds/client.h) 1 --- 1 h2_conn or h1_conn
 *
 * uds_doors counts connections in all and by uid, and remembers which listeners wait for room. Owner of doors and listeners: sidecar
 * (an app owns its listeners); a client belongs to its listener until its connection is gone. */
#pragma once
#include "base/limits.h"
#include "base/map.h"
#include "net/sock.h"
#include "net/stream.h"

struct uds_doors;
struct uds_listener;
struct uds_client;

/* What a door is; copied. fd: an inherited listening descriptor, or -1. */
struct uds_door {
	bool is_unix;
	const char *path;              /* Unix: "/run/x.sock" or "@name"; NULL for TCP */
	struct addr addr;
	int fd;
	uint32_t mode;
	int64_t group;                 /* gid, -1: leave */
	bool vital;                    /* the control socket: outside of limits.connections*, may use a reserve descriptor, at most UDS_VITAL_MAX connections */
	bool anybody;                  /* who comes in is not the app: limits.connections_per_uid does not count there */
	const uint32_t *uids, *gids; uint32_t nuids, ngids; /* allow; both empty: whoever can open it. Copied */
};
enum { UDS_VITAL_MAX = 64 };
struct uds_events {
	/* As stream_server.on_request; user is the listener's. */
	void (*on_request)(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse);
	void (*on_idle)(void *user);   /* a draining listener has no client any more */
};

struct uds_doors *uds_doors_new(struct loop *l, const struct limits *lim);
void uds_doors_free(struct uds_doors **d);                 /* all listeners are closed before */
void uds_doors_limits(struct uds_doors *d, const struct limits *lim); /* after a reload: who waited for room goes on; lim outlives the doors */
uint32_t uds_doors_clients(const struct uds_doors *d);

/* account: what its connections are charged to (the app's). 0, or a negative code with why (a sentence without the address). */
int uds_listen(struct uds_doors *d, const struct uds_door *door, struct account *account, const struct uds_events *ev, void *user,
	struct uds_listener **ret, char *why, size_t why_len);
const struct addr *uds_listener_addr(const struct uds_listener *l);
uint32_t uds_listener_clients(const struct uds_listener *l);
void uds_listener_user(struct uds_listener *l, void *user); /* a reload hands the listener to the app's new struct */
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
struct uds_listener *uds_client_listener(const struct uds_client *c);
bool uds_client_is_h1(const struct uds_client *c);
