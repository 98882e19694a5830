/* tests/bench/wire_tls: see wire_tls.h. */
#include "tests/bench/wire_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <unistd.h>

static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *user)
{
	(void)ssl, (void)user;
	for (unsigned at = 0; at < in_n; at += 1u + in[at])
		if (in[at] == 2 && at + 2 < in_n && memcmp(in + at + 1, "h2", 2) == 0) {
			*out = in + at + 1;
			*out_n = 2;
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

SSL_CTX *tls_serve(const char *cert, const char *key, const char *roots, int tickets)
{
	SSL_CTX *ctx = must(SSL_CTX_new(TLS_server_method()));

	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_load_verify_locations(ctx, roots, NULL) != 1)
		die("%s, %s, %s: %s", cert, key, roots, ERR_reason_error_string(ERR_peek_error()));
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(ctx, tickets ? 0 : SSL_OP_NO_TICKET);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"bench", 5);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, (size_t)tickets);
	SSL_CTX_set_alpn_select_cb(ctx, choose, NULL);
	return ctx;
}

/* What OpenSSL says, as the kernel would. */
static ssize_t refused(struct wire *w, int r, bool sends)
{
	int why = SSL_get_error(w->layer, r);

	ERR_clear_error();
	if (why == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = why == SSL_ERROR_WANT_READ ? (sends ? EINPROGRESS : EAGAIN) : why == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
	return -1;
}

static ssize_t tls_recv(struct wire *w, void *to, size_t n)
{
	size_t got = 0;
	int r = 1;

	while (got < n && (r = SSL_read(w->layer, (char *)to + got, (int)(n - got))) > 0)
		got += (size_t)r;
	return got ? (ssize_t)got : refused(w, r, false);
}

static ssize_t tls_send(struct wire *w, const void *from, size_t n)
{
	int r = SSL_write(w->layer, from, (int)n);

	return r > 0 ? r : refused(w, r, true);
}

static void tls_end(struct wire *w)
{
	SSL_set_shutdown(w->layer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(w->layer);
}

static const struct wire_io io = {.recv = tls_recv, .send = tls_send, .end = tls_end};

void tls_wire(SSL_CTX *ctx, struct wire *w, int fd)
{
	SSL *ssl = must(SSL_new(ctx));

	SSL_set_fd(ssl, fd);
	SSL_set_accept_state(ssl);
	w->io = &io;
	w->layer = ssl;
}
