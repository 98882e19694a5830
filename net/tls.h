/* net/tls: TLS 1.2 and 1.3 (OpenSSL 3) behind the four functions of a sock: nothing above net/dial knows.
 *
 *   tls_cert, tls_trust   material: what we show, what we trust; immutable, counted, made from PEM in memory
 *   tls_context           both together, for one role; immutable, counted. One SSL_CTX, shared by all connections that differ only in whom they accept
 *   tls_client, tls_server  take a sock over and give one that speaks TLS on it: `connected` comes with 0 when the handshake is done and the peer was
 *                         accepted, or with an error, whose reason tls_why() tells
 *
 * OpenSSL's memory is touched only when the first material is made. Owner of material and contexts: whoever holds a ref (secrets, transports, connections). */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "net/sock.h"
#include "net/tls_want.h"

/* ---- material: immutable, counted ----
 * While a private key is held anywhere in the process no core is dumped (PR_SET_DUMPABLE); keys are wiped when they are freed. */
/* The same from before its first byte is read: by whoever is going to ask for one (net/secret). NULL: OpenSSL cannot be loaded, so there will be no key either. */
struct tls_lib;
struct tls_lib *tls_key_awaited(void);
void tls_key_over(struct tls_lib **guard);  /* accepts NULL inside */
struct tls_cert;    /* a chain, the leaf first, and its key */
struct tls_trust;   /* roots and CRLs, or the bundles of several trust domains (SPIFFE) */
/* PEM. chain and key may lie in one text (key NULL). 0, or -EINVAL with every problem in err under the name `what` (no certificate, key does not fit, encrypted, chain longer than 32, usage that
 * forbids both TLS roles, larger than 4 MiB), -ENOMEM. Validity is not judged here: see tls_cert_times. */
int tls_cert_new(const char *what, struct str chain, struct str key, struct tls_cert **ret, struct err *err);
struct tls_cert *tls_cert_ref(struct tls_cert *c);
void tls_cert_unref(struct tls_cert **c);
uint64_t tls_cert_hash(const struct tls_cert *c);        /* a hint: who must know asks tls_cert_same */
bool tls_cert_same(const struct tls_cert *a, const struct tls_cert *b);    /* the whole chain, byte for byte; so the key, too */
void tls_cert_times(const struct tls_cert *c, int64_t *not_before, int64_t *not_after);   /* seconds since 1970; of the leaf */
const char *tls_time_text(int64_t at, char out[32]); /* of such seconds, for people: "2026-11-21T20:00:00Z"; out */
const char *tls_cert_id(const struct tls_cert *c);       /* its first URI SAN, else its first DNS SAN, else its subject; never NULL */
const char *tls_cert_text(const struct tls_cert *c, struct sb *out); /* JSON members for /certs: subject, issuer, serial, sans, not_before, not_after, key type, chain length */
/* PEM: certificates are anchors (intermediates too), CRLs are checked for whoever issued them. `more` appends another trust domain's bundle (TRUST_DOMAINS_MAX). name NULL: for any peer; else
 * for peers whose URI SAN lies in that trust domain (SPIFFECertValidatorConfig). */
enum { TRUST_DOMAINS_MAX = 128 };
int tls_trust_new(const char *what, struct str pem, const char *name, struct tls_trust **ret, struct err *err);
int tls_trust_more(struct tls_trust *t, const char *what, struct str pem, const char *name, struct err *err); /* before it is shared */
struct tls_trust *tls_trust_system(struct err *err);     /* counted; the system's roots */
struct tls_trust *tls_trust_ref(struct tls_trust *t);
void tls_trust_unref(struct tls_trust **t);
uint64_t tls_trust_hash(const struct tls_trust *t);      /* of the content, in any order; a hint: others can make two of one hash, so who must know asks tls_trust_same */
bool tls_trust_same(const struct tls_trust *a, const struct tls_trust *b);     /* the same certificates and CRLs for the same trust domains */
bool tls_trust_includes(const struct tls_trust *t, const struct tls_trust *older); /* whoever older accepts, t accepts: it has only grown */
const char *tls_trust_text(const struct tls_trust *t, struct sb *out); /* JSON members: roots (subject, not_after), crls, trust_domains */
/* Do these roots stand for what we show, with the chain that goes along, at `now` (seconds since 1970)? Roles and names are not looked at. 0, or -EKEYREJECTED with the reason in err. */
int tls_trust_verifies(const struct tls_trust *t, const struct tls_cert *c, int64_t now, struct err *err);
int64_t tls_trust_expires(const struct tls_trust *t);    /* the first root that ends; 0: none known */
/* Until when it is of use: the root that ends last; of several trust domains, of the one where that is soonest. False: unknown (the system's). domain: NULL: any peer's; borrowed from the trust. */
struct tls_last_root { int64_t begins, ends; const char *domain; char subject[256]; };
bool tls_trust_last_root(const struct tls_trust *t, struct tls_last_root *ret);

/* ---- context ---- */
struct tls_context;
struct tls_spec {
	struct tls_cert *cert;            /* NULL: none is shown (a client); borrowed: a ref is taken */
	struct tls_trust *trust;          /* NULL: the chain is not verified */
	const char *alpn;                 /* "istio-h2,istio,h2": offered by a client; a server chooses the first of its own that the client has, and none is fine; NULL: none */
	uint16_t min, max;                /* 0: 1.2, 1.3 */
	bool server;
	bool no_client_cert;              /* a server: callers may come without */
	bool expired_ok;
};
int tls_context_new(const struct tls_spec *spec, struct tls_context **ret, struct err *err);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context **c);
bool tls_context_shows(const struct tls_context *c);

/* ---- connections ---- */
/* Whom to accept: borrowed by the connection until connected() was told. */
struct tls_peer {
	const char *server_name;          /* a client: SNI (an IP is checked and not sent); NULL: none */
	const char *check_name;           /* TLS_NAMES_SERVER: what must be in the certificate; NULL: server_name */
	const struct tls_want *want;      /* names, rules, pins; NULL: the server's name */
	const char *trust_domain; const char *const *aliases; uint32_t naliases; /* TLS_NAMES_DOMAIN; NULL: that of our own certificate */
	uint64_t hash;                    /* of all that decides whether a peer is accepted: sessions are kept by it and the server's name */
};
/* Takes `under` over also when it fails (-ENOMEM, -EINVAL). Session tickets are kept per context, peer.hash and server name for resumption. */
int tls_client(struct loop *l, struct tls_context *c, struct sock *under_taken, const struct tls_peer *peer, struct account *a,
	const struct sock_events *ev, void *user, struct sock **ret);
/* An accepted sock becomes a TLS server's; first: bytes of it that were read already. connected() tells when the handshake is done. Resumption by tickets whose keys live as long as the context;
 * a resumed caller is judged again by peer. */
int tls_server(struct loop *l, struct tls_context *c, struct sock *under_taken, const struct tls_peer *peer, const void *first, size_t n, struct account *a,
	const struct sock_events *ev, void *user, struct sock **ret);
/* Why the handshake or the connection failed, for people: which check, with both values: "the peer's certificate has expired (CN=..., not after ...)", "the peer is 'spiffe://a', wanted 'spiffe://b'".
 * "": nothing that TLS knows of. Lives as long as the sock, and after sock_close until the end of the turn. */
const char *tls_why(const struct sock *s);
/* The same as a class, for statistics. TLS_FINE: nothing that TLS knows of. */
enum tls_reason {
	TLS_FINE, TLS_EXPIRED /* or not yet valid */, TLS_UNTRUSTED /* no root of ours, or the chain is wrong, or there is none */, TLS_WRONG_NAME /* or pin */, TLS_REVOKED,
	TLS_REFUSED /* by the peer */, TLS_PROTOCOL /* it does not speak TLS, or not as we do */,
};
enum tls_reason tls_reason(const struct sock *s);
bool tls_is(const struct sock *s);
bool tls_resumed(const struct sock *s);
const char *tls_version(const struct sock *s);   /* "TLSv1.3" */
const char *tls_alpn(const struct sock *s);      /* what was agreed on; "" nothing */
/* The other side's leaf; "" where it showed none. As long as the sock. */
const char *tls_peer_uri(const struct sock *s);      /* first URI SAN; the others lie behind it, each after the NUL of the one before */
uint32_t tls_peer_uris(const struct sock *s);        /* how many it has */
const char *tls_peer_name(const struct sock *s);     /* for people: first URI, DNS, IP SAN, or the subject */
const char *tls_peer_subject(const struct sock *s);  /* RFC 2253 */
const char *tls_peer_hash(const struct sock *s);     /* SHA-256, 64 hex digits */
const char *tls_own_uri(const struct sock *s);       /* of the certificate that we showed */
/* The same of a sock that is TLS or not: "plain", "tls" (we showed nothing), "mtls". */
const char *tls_kind(const struct sock *s);

/* ---- our own key, and the request for a certificate (CSR) ---- */
/* A new P-256 key, and a PEM certificate request with uri as SAN. key is PEM (PKCS#8), to be wiped and freed by tls_wipe_free. */
int tls_csr_new(const char *uri, struct sb *csr, char **key_pem, size_t *key_n, struct err *err);
void tls_wipe_free(char **p, size_t n);
