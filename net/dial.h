/* net/dial: the one way to open an HTTP/2 connection: connect (happy eyeballs over the alternates, RFC 8305: 250 ms apart),
 * TLS where asked for, first SETTINGS, all under one timeout. Used by pools, ADS and probes. A dial is owned by its caller until fn is called. */
#pragma once
#include "net/h2_conn.h"
#include "net/tls.h"

struct dial;
struct dial_spec {
	const struct addr *addrs; size_t count;  /* borrowed during dial_start: copied */
	uint64_t timeout_ns;
	const struct limits *limits;             /* borrowed, outlives the connection */
	struct account *account;
	struct tls_context *tls;                 /* NULL: plaintext; the dial takes a ref for its time */
	const char *server_name;                 /* with tls: as tls_client; borrowed during dial_start */
	struct tls_want *want;                   /* with tls: whom to accept (tls_peer.want); the dial takes a ref; NULL: the server's name */
};
/* fn: conn (owner events are those given) or NULL with err and why. Never before dial_start returns. After it the dial is gone.
 * why: of a plaintext dial a static text; with tls it may be tls_why's and is valid in fn only: who keeps it, copies it. */
int dial_start(struct loop *l, const struct dial_spec *spec, const struct h2_client_events *ev, void *owner,
	void (*fn)(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why), struct dial **ret);
void dial_cancel(struct dial **d);
