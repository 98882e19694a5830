/* uds/handshakes: the TLS connections of a listener that are not up yet: they wait for the certificate and for a place, and then shake hands.
 *
 *   first byte 0x16 --handshakes_add--> WAITS --certificate and roots are there, a place is free--> SHAKES --connected--> UP: its client goes on as over plaintext
 *                                         \________ limits.preface_time for all of it, then closed ________/
 *
 * A handshake costs much (memory, a signature) and is begun by a byte: so at most HANDSHAKES_MAX are in flight, and who comes then waits with nothing read of him. Places are held for a
 * second: after that the one that has shaken longest is closed if somebody waits, so those who never end cannot shut the door for those who would.
 * One a listener, private to uds/; a struct uds_tls belongs to its client. */
#pragma once
#include "net/transport.h"
#include "uds/listener.h"

enum { HANDSHAKES_MAX = 256 };
struct handshakes {
	struct uds_listener *listener;   /* borrowed: the owner */
	struct transport *transport;     /* counted; NULL: plaintext, nothing here is used */
	bool permissive;
	struct transport_watch watch;
	struct list waiting, shaking;    /* struct uds_tls, oldest first */
	uint32_t nshaking;
	struct task task;                /* looks who may begin */
	struct timer timer;              /* places are full, and somebody waits */
	uint64_t done, failed, refused;  /* for people */
};
enum uds_tls_state { UDS_TLS_WAITS, UDS_TLS_SHAKES, UDS_TLS_UP };
struct uds_tls {
	struct uds_client *client;       /* borrowed: the owner */
	struct list node;                /* in waiting or shaking */
	enum uds_tls_state state;
	bool limited;                    /* has been told to wait for a place */
	uint64_t began_ns;               /* to shake */
	struct transport *transport;     /* counted, while it shakes */
	struct tls_peer peer;            /* whom to accept: borrowed from the transport */
	struct uds_identity *identity;   /* owned; NULL: none was shown, or none was verified */
	struct account *account;         /* of identity; borrowed */
};
void handshakes_init(struct handshakes *h, struct uds_listener *l);
/* transport: NULL: plaintext from now on. A ref is taken. Who waits does so for the new one; who shakes hands goes on. */
void handshakes_set(struct handshakes *h, struct transport *transport, bool permissive);
void handshakes_end(struct handshakes *h);
void handshakes_add(struct handshakes *h, struct uds_tls *t);
void handshakes_left(struct handshakes *h, struct uds_tls *t); /* it is up, or gone; harmless when neither waiting nor shaking */
void handshakes_failed(struct handshakes *h, const struct uds_tls *t, const struct addr *peer, const char *why); /* counted, and told */
const char *handshakes_waits_for(const struct handshakes *h, const struct uds_tls *t); /* why its time was over */
/* Do both accept the same callers? Then what was let in by one may stay with the other. */
bool handshakes_judge_alike(const struct transport *a, const struct transport *b);
