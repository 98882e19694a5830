/* uds/client: one connection of an app: tells HTTP/2 with prior knowledge from HTTP/1.1 by its first bytes ("PRI" is no HTTP/1 method),
 * then hands the sock to the right connection. At a door for TLS the very first byte comes before that: 0x16 begins a handshake, after which the bytes inside are told apart likewise, unless ALPN
 * has chosen. Owner: its listener's list. Private to uds/. */
#pragma once
#include "net/h1.h"
#include "net/h2_conn.h"
#include "uds/handshakes.h"
#include "uds/listener.h"

struct uds_client {
	struct uds_listener *listener; /* borrowed; outlives its clients */
	struct list node;
	struct grave grave;
	struct sock *sock;             /* owned until it is handed on */
	struct sock_cred cred;
	struct sock *peer;             /* borrowed from whoever has the sock; NULL once it is closed */
	struct h2_conn *h2;            /* borrowed: frees itself; NULL until known */
	struct h1_conn *h1;
	struct timer timer;            /* limits.preface_time for the first bytes */
	char seen[4]; uint32_t nseen;
	struct uds_tls *tls;           /* owned; NULL: plaintext, or not known yet */
	bool plain;                    /* its first byte was none of TLS */
	bool draining, leaving, gone, carries;
	bool called;                   /* it has brought a request */
};
struct uds_client *uds_client_new(struct uds_listener *l, struct sock *taken);
void uds_client_drain(struct uds_client *c, bool goaway);
void uds_client_leave(struct uds_client *c); /* as drain with goaway, but who has not spoken yet may still do so (limits.preface_time) */
void uds_client_close(struct uds_client *c);
void uds_client_shake(struct uds_client *c, struct tls_context *context); /* handshakes: it is its turn */
/* listener.c: the client is gone */
void uds_listener_forget(struct uds_listener *l, struct uds_client *c);
struct handshakes *uds_listener_handshakes(struct uds_listener *l);
/* Its TLS connections (or those in plaintext) are told to go, those that shake hands once they are up: they were let in by what does not count any more. */
void uds_listener_judged_anew(struct uds_listener *l, bool tls, bool plain);
void uds_listener_name(const void *listener, struct sb *out); /* a transport_asker's */
struct loop *uds_listener_loop(const struct uds_listener *l);
const struct limits *uds_listener_limits(const struct uds_listener *l);
struct account *uds_listener_account(const struct uds_listener *l);
bool uds_listener_spares(const struct uds_listener *l); /* uds_door.memory_most is passed */
void uds_listener_request(struct uds_listener *l, struct uds_client *c, struct stream *s, struct fields *head, bool fin, const char *refuse);
