/* net/dial: the one way to open an HTTP/2 connection: connect (happy eyeballs over the alternates, RFC 8305: 250 ms apart),
 * TLS where asked for, first SETTINGS, all under one timeout. Used by pools, ADS and probes. A dial is owned by its caller until fn is called.
 * With a transport it begins when certificate and roots are there; what cannot be had is told at once, with the transport's own words. Nothing is ever sent in plaintext then. */
#pragma once
#include "net/h2_conn.h"
#include "net/transport.h"

struct dial;
struct dial_spec {
	const struct addr *addrs; size_t count;  /* borrowed during dial_start: copied */
	uint64_t timeout_ns;
	const struct limits *limits;             /* borrowed, outlives the connection */
	struct account *account;
	struct transport *transport;             /* NULL: plaintext. The dial takes a ref for its time, and waits in it for secrets that have not come yet */
	const char *host_name;                   /* the endpoint's, without a port: asked for and checked where transport_asks_host; NULL: it has none. Borrowed during dial_start */
	struct transport_asker asker;            /* for whom: told with what fails of TLS; ctx lives until fn */
};
/* fn: conn (owner events are those given) or NULL with err and why. Never before dial_start returns. After it the dial is gone.
 * why: of a plaintext dial a static text; with TLS it may be the dial's own and is valid in fn only: who keeps it, copies it. */
int dial_start(struct loop *l, const struct dial_spec *spec, const struct h2_client_events *ev, void *owner,
	void (*fn)(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why), struct dial **ret);
void dial_cancel(struct dial **d);
