/* net/tls: TLS 1.2 and 1.3 (OpenSSL 3) behind the four functions of a sock: nothing above net/dial knows.
 *
 *   tls_context   what to trust, what to show, which names the peer may have; immutable, counted; made from files. One SSL_CTX.
 *   tls_client    takes a connected (or connecting) sock over and gives one that speaks TLS on it: `connected` comes with 0 when the
 *                 handshake is done and the peer's certificate was accepted, or with an error, whose reason tls_why() tells.
 *
 * OpenSSL's memory is touched only when the first context is made. ALPN offered: what the spec says ("h2"); a server that chooses none is accepted.
 * Owner of a context: whoever holds a ref (ADS now; clusters later). */
#pragma once
#include "base/err.h"
#include "net/sock.h"

struct tls_context;
struct tls_spec {
	const char *roots_file;           /* PEM bundle; NULL: the system's */
	const char *cert_file, *key_file; /* both or neither: what we show; PEM, the chain with the leaf first */
	const char *const *sans; size_t nsans; /* the peer must have one of them: a DNS name (wildcards as RFC 6125 6.4.3) or a URI ("spiffe://..."); none: the server's name is checked */
	const char *alpn;                 /* "h2", or several with commas; NULL: none offered */
	bool no_names;                    /* chain only, no name check (sans and server name ignored) */
};
/* Reads the files (may block: at start-up, or in offload). 0, or a negative code with every problem told in err (file, what is wrong). */
int tls_context_new(const struct tls_spec *spec, struct tls_context **ret, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);
/* When the certificate that we show ends (seconds since 1970); 0: none is shown. */
int64_t tls_context_expires(const struct tls_context *c);
/* server_name: SNI, and what is checked where the spec has no sans; an IP is checked against IP SANs and not sent as SNI. NULL with no_names only.
 * Takes `under` over also when it fails (-ENOMEM). Session tickets are kept per context and server name for resumption. */
int tls_client(struct loop *l, struct tls_context *c, struct sock *under_taken, const char *server_name, struct account *a,
	const struct sock_events *ev, void *user, struct sock **ret);
/* Why the handshake or the connection failed, for people: "certificate has expired (CN=..., not after ...)", "the peer is 'a.b', wanted 'c.d'". "": nothing that TLS knows of.
 * Lives as long as the sock, and after sock_close until the end of the turn. */
const char *tls_why(const struct sock *s);
bool tls_is(const struct sock *s);
bool tls_resumed(const struct sock *s);
const char *tls_version(const struct sock *s);   /* "TLSv1.3" */
