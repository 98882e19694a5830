/* tests/net/tlsrig: an authority, certificates with any names and times, and a TLS server on any sock, for the tests of net/tls and net/dial.
 *
 *   tls_ca     a key and its certificate; made in memory, valid ten days around `now`
 *   tls_paper  a certificate that a CA gave, and its key; files are memfds, so nothing is left on a disk
 *   tls_far    the server's side of one connection: OpenSSL itself, linked, over a sock of the loop
 *
 * Owner of all: the test. */
#pragma once
#include <openssl/err.h>
#include <openssl/ssl.h>
#include "base/str.h"
#include "net/sock.h"
#include "net/tls.h"

struct tls_ca { EVP_PKEY *key; X509 *cert; int64_t now; char path[32]; int fd; };
void tls_ca_new(struct tls_ca *ca, const char *cn, int64_t now);
void tls_ca_below(struct tls_ca *sub, const struct tls_ca *ca, const char *cn); /* an intermediate */
void tls_ca_end(struct tls_ca *ca);

struct tls_paper { EVP_PKEY *key; X509 *cert; char cert_path[32], key_path[32]; int cert_fd, key_fd; };
/* sans: "DNS:a.b URI:spiffe://x IP:10.0.0.1", blanks between; '!' stands for NUL. from_s, to_s: relative to the CA's now. */
void tls_paper_new(struct tls_paper *p, const struct tls_ca *ca, const char *cn, const char *sans, int64_t from_s, int64_t to_s);
/* The same with a use: "serverAuth", "clientAuth", "codeSigning"; NULL: none is named. */
void tls_paper_use(struct tls_paper *p, const struct tls_ca *ca, const char *cn, const char *sans, int64_t from_s, int64_t to_s, const char *use);
void tls_paper_end(struct tls_paper *p);
/* A CRL of a CA as PEM: a text that the caller frees. next_s: when the next one is due, relative to the CA's now. */
char *tls_crl_text(const struct tls_ca *ca, const X509 *revoked, int64_t next_s);
char *tls_text(int fd);   /* a memfd's whole content, NUL behind; the caller frees it */
const char *tls_file(const void *bytes, size_t n, int *ret_fd, char path[32]); /* a memfd by its path */

/* What ours is made of. NULL: nothing shown; the system's roots. */
struct tls_cert *tls_cert_of(const struct tls_paper *p);
struct tls_trust *tls_trust_of(const struct tls_ca *ca);
struct tls_context *tls_client_new(const struct tls_ca *roots, const struct tls_paper *shown, const char *alpn);

SSL_CTX *tls_server_new(const struct tls_paper *p, int version /* TLS1_2_VERSION ...; 0: any */, const struct tls_ca *clients /* NULL: asks for none */);
struct tls_far {
	struct sock *s;
	SSL *ssl;
	BIO *in, *out;
	struct sb raw, got, plain;  /* raw: ciphertext still to go; plain: what shall be sent */
	bool shaken, failed, eof, hold, got_notify, rude;
	bool mute;                  /* a handshake that fails is told by closing only */
	const char *greeting; size_t greeting_n; /* sent at the handshake's end */
	int flip_at;                /* > 0: that byte of the raw stream is damaged */
	size_t raw_sent;
};
void tls_far_start(struct tls_far *p, SSL_CTX *ctx, struct sock *taken);
void tls_far_send(struct tls_far *p, const void *bytes, size_t n);
void tls_far_hold(struct tls_far *p, bool hold); /* reads nothing */
void tls_far_pump(struct tls_far *p);
void tls_far_end(struct tls_far *p); /* with close_notify, unless rude */
