/* tests/bench/wire_tls: a wire whose socket speaks TLS, as a server that demands a certificate: OpenSSL on the descriptor, nothing of net/tls in it.
 * tls_serve makes what all connections share, from files; made again it is for those that come later. Owner: the tool. */
#pragma once
#include "tests/bench/wire.h"
#include <openssl/ssl.h>

SSL_CTX *tls_serve(const char *cert, const char *key, const char *roots, int tickets); /* tickets: how many a handshake gives; 0: none, no resumption */
void tls_wire(SSL_CTX *ctx, struct wire *w, int fd); /* before wire_begin */
