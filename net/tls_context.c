/* net/tls_context: what is shown and what is trusted, for one role: one SSL_CTX, which all connections share that differ only in whom they accept. The SSL_CTX trusts nobody by itself: its
 * judgement of chains is ours (net/tls_verify), in the stores of the trust, which many contexts share. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net/tls_int.h"

/* AES-128 first: with AES-NI it is the cheapest by far, and no weaker in any way that matters here. Only forward-secret AEAD ciphers (RFC 9113 9.2.2). */
static const char ciphers_13[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char ciphers_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
enum { SESSION_TIME = 7200 };

/* ---- ALPN ------------------------------------------------------------------------------------------------------------------------------ */

static int set_alpn(struct tls_context *c, const char *names, struct err *err)
{
	for (struct str left = str_of(names); left.n;) {
		ptrdiff_t comma = str_find(left, ',');
		struct str one = str_trim(str_cut(left, 0, comma < 0 ? left.n : (size_t)comma));
		bool last = comma >= 0 && (size_t)comma + 1 == left.n;
		left = comma < 0 ? str_n(NULL, 0) : str_cut(left, (size_t)comma + 1, left.n);
		if (one.n == 0 || last || c->alpn_n + 1 + one.n > sizeof(c->alpn)) {
			err_add(err, NULL, 0, 0, "TLS: '%s' is no list of ALPN names", names);
			return -EINVAL;
		}
		c->alpn[c->alpn_n++] = (unsigned char)one.n;
		memcpy(c->alpn + c->alpn_n, one.p, one.n);
		c->alpn_n += (uint32_t)one.n;
	}
	return c->server || c->lib->SSL_CTX_set_alpn_protos(c->ssl, c->alpn, c->alpn_n) == 0 ? 0 : -ENOMEM; /* 0 is success, unlike elsewhere */
}

/* The first of ours that the client has; none is fine. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *user)
{
	const struct tls_context *c = user;

	(void)ssl;
	for (uint32_t i = 0; i < c->alpn_n; i += 1u + c->alpn[i])
		for (unsigned j = 0; j < in_n && j + 1u + in[j] <= in_n; j += 1u + in[j])
			if (in[j] == c->alpn[i] && memcmp(in + j + 1, c->alpn + i + 1, in[j]) == 0) {
				*out = in + j + 1;
				*out_n = in[j];
				return SSL_TLSEXT_ERR_OK;
			}
	return SSL_TLSEXT_ERR_NOACK;
}

/* ---- the SSL_CTX --------------------------------------------------------------------------------------------------------------------------- */

static int verify(X509_STORE_CTX *x, void *user)
{
	struct tls_context *c = user;
	SSL *ssl = c->lib->X509_STORE_CTX_get_ex_data(x, c->lib->SSL_get_ex_data_X509_STORE_CTX_idx());

	return tls_verify_chain(tls_verify_of(c->lib, ssl), x, ssl);
}

/* ---- a server's tickets: how long the caller's chain is good goes with them, for the ticket has the leaf alone --------------------------------- */

static int ticket_given(SSL *ssl, void *user)
{
	const struct tls_context *c = user;
	const struct tls_verify *v = tls_verify_of(c->lib, ssl);

	return c->lib->SSL_SESSION_set1_ticket_appdata(c->lib->SSL_get_session(ssl), &v->ends, sizeof(v->ends));
}

static SSL_TICKET_RETURN ticket_shown(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_n, SSL_TICKET_STATUS status, void *user)
{
	const struct tls_context *c = user;
	struct tls_verify *v = tls_verify_of(c->lib, ssl);
	void *data = NULL;
	size_t n = 0;

	(void)name, (void)name_n;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (c->lib->SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1 || n != sizeof(v->ends))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	memcpy(&v->ends, data, n);
	if (v->ends >= v->now)
		return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
	v->ends = INT64_MAX; /* a handshake without the ticket will say */
	return SSL_TICKET_RETURN_IGNORE_RENEW;
}

static int set_cert(struct tls_context *c, struct err *err)
{
	const struct tls_lib *o = c->lib;
	bool taken = o->SSL_CTX_use_certificate(c->ssl, c->cert->leaf) == 1 && o->SSL_CTX_use_PrivateKey(c->ssl, c->cert->key) == 1;

	for (uint32_t i = 0; taken && i < c->cert->nchain; i++)
		taken = o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_CHAIN_CERT, 1, c->cert->chain[i]) == 1; /* SSL_CTX_add1_chain_cert */
	if (taken)
		return 0;
	err_add(err, NULL, 0, 0, "TLS: the certificate '%s' cannot be used: %s", c->cert->id, tls_pem_reason(o)); /* a key below the security level */
	return -EINVAL;
}

static int set_up(struct tls_context *c, const struct tls_spec *spec, struct err *err)
{
	const struct tls_lib *o = c->lib;

	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_MIN_PROTO_VERSION, spec->min ? spec->min : TLS1_2_VERSION, NULL);
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_MAX_PROTO_VERSION, spec->max ? spec->max : TLS1_3_VERSION, NULL);
	/* RFC 9113 9.2.1: no compression, no renegotiation. A FIN without close_notify is the end of the stream: HTTP/2 frames itself, and half the servers in use close so. */
	o->SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (o->SSL_CTX_set_cipher_list(c->ssl, ciphers_12) != 1 || o->SSL_CTX_set_ciphersuites(c->ssl, ciphers_13) != 1) {
		err_add(err, NULL, 0, 0, "TLS: OpenSSL offers none of the ciphers that HTTP/2 allows: %s", tls_pem_reason(o));
		return -EINVAL;
	}
	/* A client sends a share of the first group only. Where X25519 is not allowed (FIPS) OpenSSL's own list stays. */
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_GROUPS_LIST, 0, (void *)(uintptr_t)"X25519:P-256:P-384:P-521");
	/* An idle connection keeps no 17 KB buffers. A write that must be repeated (it met half a session ticket) comes from another place. */
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
	o->SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER | (c->server && !c->no_client_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
	o->SSL_CTX_set_cert_verify_callback(c->ssl, verify, c);
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_MAX_CERT_LIST, TLS_MESSAGE_MAX, NULL);
	/* A client's sessions: net/tls_session, and nothing in OpenSSL; a server's: in its tickets. */
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_SESS_CACHE_MODE, c->server ? SSL_SESS_CACHE_OFF : SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR, NULL);
	if (!c->server)
		o->SSL_CTX_sess_set_new_cb(c->ssl, tls_session_came);
	if (c->server) {
		/* Ticket keys are OpenSSL's own, random, of this SSL_CTX: other material is another context, which knows none of these tickets. */
		o->SSL_CTX_set_session_id_context(c->ssl, (const unsigned char *)"thinmesh", 8);
		o->SSL_CTX_set_timeout(c->ssl, SESSION_TIME);
		o->SSL_CTX_set_num_tickets(c->ssl, 1);
		o->SSL_CTX_set_session_ticket_cb(c->ssl, ticket_given, ticket_shown, c);
		o->SSL_CTX_set_alpn_select_cb(c->ssl, choose_alpn, c);
	}
	int r = spec->alpn && spec->alpn[0] ? set_alpn(c, spec->alpn, err) : 0;
	return r == 0 && c->cert ? set_cert(c, err) : r;
}

/* ---- the beginning and the end --------------------------------------------------------------------------------------------------------------- */

static void context_free(struct tls_context *c)
{
	tls_session_forget(c, 0);
	if (c->ssl)
		c->lib->SSL_CTX_free(c->ssl);
	tls_cert_unref(&c->cert); /* after the SSL_CTX, which holds its key */
	tls_trust_unref(&c->trust);
	tls_lib_unref(&c->lib);
	free(c);
}

int tls_context_new(const struct tls_spec *spec, struct tls_context **ret, struct err *err)
{
	struct tls_lib *o = tls_lib_get(err);
	int r = 0;

	if (!o)
		return -ENOMEM;
	struct tls_context *c = xnew(struct tls_context);
	c->refs = 1;
	c->lib = o;
	tls_session_begin(c);
	c->server = spec->server;
	c->no_client_cert = spec->no_client_cert;
	c->expired_ok = spec->expired_ok;
	c->cert = spec->cert ? tls_cert_ref(spec->cert) : NULL;
	c->trust = spec->trust ? tls_trust_ref(spec->trust) : NULL;
	o->ERR_clear_error();
	c->ssl = o->SSL_CTX_new(spec->server ? o->TLS_server_method() : o->TLS_client_method());
	if (!c->ssl) {
		err_add(err, NULL, 0, 0, "TLS: OpenSSL cannot be set up: %s", tls_pem_reason(o));
		r = -ENOMEM;
	} else if (spec->server && !spec->cert) {
		err_add(err, NULL, 0, 0, "TLS: a server needs a certificate");
		r = -EINVAL;
	} else {
		r = set_up(c, spec, err);
	}
	o->ERR_clear_error();
	if (r < 0) {
		context_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	c->refs++;
	return c;
}

void tls_context_unref(struct tls_context **at)
{
	struct tls_context *c = *at;

	*at = NULL;
	if (c && --c->refs == 0)
		context_free(c);
}

bool tls_context_shows(const struct tls_context *c)
{
	return c->cert != NULL;
}
