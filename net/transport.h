/* net/transport: what is declared of a TLS connection (net/tls_want), alive: with the certificate and the roots of now. One object for equal wants with the same secrets, so that pools that
 * may share connections have the same pointer here, and others have not; one SSL_CTX for all transports that differ in names only; one trust store for equal roots.
 *
 *   want + space --transport_get--> transport 1 --- 2 secrets (watched)
 *                                        | 0..1
 *                                   tls_context (counted: also by each connection)        contexts, stores: shared by content, in struct transports
 *
 * Rotation: a new certificate is for connections to come; other roots (or CRLs), and a certificate that names somebody else, are told to watches as `drain`: what stands was judged by the
 * old ones. Not so roots that have only grown; and where roots or who we are change all the time, it is told once a second.
 * Owner of transports: sidecar; of a transport: its refs (pools, ADS, doors). */
#pragma once
#include "net/secret.h"

struct transports;
struct transport;
struct transports *transports_new(struct loop *l);
void transports_free(struct transports **t);                  /* all transports and secrets are gone before */
/* NULL with *why (static, the space's own, or the want's): a secret that the space knows nothing of, something unbuilt, no memory. server: for doors (inbound). The space is used during the call only. */
struct transport *transport_get(struct transports *t, struct tls_want *want, const struct secret_space *space, bool server, const char **why);
struct transport *transport_ref(struct transport *t);
void transport_unref(struct transport **t);                   /* accepts NULL inside */
/* Borrowed for this turn (who keeps it takes a ref). NULL with *err: -EAGAIN: a secret has not come yet, watch and wait; otherwise it cannot be had now. *why: a sentence, good until the next turn. */
struct tls_context *transport_context(struct transport *t, int *err, const char **why);
const struct tls_want *transport_want(const struct transport *t);
bool transport_serves(const struct transport *t);             /* a door's: peers are callers */
void transport_peer(const struct transport *t, struct tls_peer *ret);   /* whom tls_client and tls_server are to accept; borrowed from the transport, which outlives its connections' handshakes */
bool transport_trusts_alike(const struct transport *a, const struct transport *b); /* by roots from one and the same place; names are another matter */
/* Whom tls_client is to accept at one address, and which name it asks for; borrowed from here, from the transport and from host. host: the endpoint's own name, without a port; NULL: it has none.
 * False: the server's name is to be checked, and it has none. */
struct transport_meeting { struct tls_peer peer; char ip[ADDR_TEXT]; };
bool transport_meet(const struct transport *t, const char *host, const struct addr *at, struct transport_meeting *ret);
bool transport_asks_host(const struct transport *t);          /* that name matters: endpoints of one address that differ in it share no connection */
bool transport_shows(const struct transport *t);              /* a certificate of ours is shown: mtls */
int64_t transport_ends(const struct transport *t);            /* when that ends (seconds since 1970); 0: nothing is shown, or it has not come */
/* changed: something came or changed. drain: connections that stand were judged by roots that are no longer trusted, or are somebody's whom we were before. */
struct transport_watch { struct list node; void (*changed)(struct transport_watch *w, bool drain); struct transport *transport; };
void transport_watch(struct transport *t, struct transport_watch *w, void (*changed)(struct transport_watch *w, bool drain));
void transport_unwatch(struct transport_watch *w);            /* harmless when not watching */
/* For whom a connection is, in words: transports and pools are shared, so who has made one says it. name appends "service 'demo'", "control plane 'istiod:15012'" and is asked only when a
 * handshake has failed. what: which of its connections; NULL: any. Zero: nobody says. Borrowed: ctx lives as long as the connection is being made. */
struct transport_asker { void (*name)(const void *ctx, struct sb *out); const void *ctx; const char *what; };
/* A handshake failed: told once for each transport, name of the asker and reason, until one of that transport succeeds, and even then (scanners knock beside good callers) the same at most once
 * a minute: for the log. net/dial, probes and tls doors say it. Texts are borrowed for the call. */
struct transport_failure {
	const struct transport *transport;
	const struct addr *peer;
	const char *whom, *what;     /* as the asker says; "" */
	const char *why;
	uint64_t untold;             /* how many of that transport failed since the last time something was told of it */
};
void transport_failed(struct transport *t, const struct addr *peer, const struct transport_asker *asker, const char *why);
void transport_succeeded(struct transport *t);
/* Statistics: a handshake ended, with what connected() told; or what was accepted by us was refused by the peer afterwards (TLS 1.3). s NULL: there was none, for want of a secret. */
void transport_count(struct loop *l, const struct sock *s, int err);
void transports_set_tell(struct transports *t, void (*fn)(void *ctx, const struct transport_failure *f), void *ctx);
/* fn whenever something else than before was put into any secret: for who looks at their ends. Not from inside of it may a secret be let go of; it may defer. */
void transports_set_look(struct transports *t, void (*fn)(void *ctx), void *ctx);
/* For people. */
void transports_each_secret(struct transports *t, void (*fn)(void *ctx, struct secret *s), void *ctx);
struct transports_info { uint32_t transports, contexts, stores, secrets; };
void transports_info(const struct transports *t, struct transports_info *ret);
