/* net/tls_context: what a TLS client trusts and shows: files into an SSL_CTX, and the sessions that servers gave it.
 * Every problem of every file is told, because a person who mends one wants to know of the others. Files are read here and parsed from
 * memory: their size is bounded, and OpenSSL never asks a terminal for a password. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "net/tls_int.h"

enum { FILE_MAX = 4 << 20, CERTS_MAX = 4096, CHAIN_MAX = 32 };

/* ---- texts -------------------------------------------------------------------------------------------------------------------- */

int64_t tls_time(const struct tls_lib *o, const ASN1_TIME *t)
{
	struct tm tm = {0};

	return t && o->ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

const char *tls_subject(const struct tls_lib *o, const X509_NAME *name, char *out, size_t cap)
{
	BIO *b = o->BIO_new(o->BIO_s_mem());
	int n = 0;

	/* XN_FLAG_RFC2253 escapes what is not printable. */
	if (b && name && o->X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) >= 0)
		n = o->BIO_read(b, out, (int)cap - 1);
	out[n > 0 ? n : 0] = 0;
	if (b)
		o->BIO_free(b);
	return out;
}

static const char *reason(const struct tls_lib *o)
{
	unsigned long e = o->ERR_peek_last_error();
	const char *text = e ? o->ERR_reason_error_string(e) : NULL;

	return text ? text : "unknown reason";
}

/* ---- files -------------------------------------------------------------------------------------------------------------------- */

struct text { char *p; size_t n; };

static void text_end(const struct tls_lib *o, struct text *t)
{
	if (t->p)
		o->OPENSSL_cleanse(t->p, t->n); /* it may have been a key */
	free(t->p);
	t->p = NULL;
}

static ssize_t read_whole(int fd, char *to, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t got = read(fd, to + at, n - at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		at += (size_t)got;
	}
	return (ssize_t)at;
}

static bool file_read(const char *what, const char *path, struct text *ret, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold the daemon */
	struct stat st;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_add(err, path, 0, 0, "%s cannot be read: %s", what, err_text(-errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		err_add(err, path, 0, 0, "%s %s", what, S_ISREG(st.st_mode) ? "is larger than 4 MiB" : "is not a file");
		close(fd);
		return false;
	}
	ret->n = (size_t)st.st_size;
	ret->p = xalloc(ret->n + 1);
	got = read_whole(fd, ret->p, ret->n);
	close(fd);
	if (got < 0) {
		err_add(err, path, 0, 0, "%s cannot be read: %s", what, err_text((int)got));
		free(ret->p);
		ret->p = NULL;
		return false;
	}
	ret->n = (size_t)got;
	return true;
}

/* Without this an encrypted file would make OpenSSL ask at the terminal. */
static int no_password(char *buf, int size, int writing, void *user)
{
	(void)buf, (void)size, (void)writing;
	*(bool *)user = true;
	return -1;
}

/* Gives each certificate of the file to fn, in order. How many there were; -1: a problem was told. */
static int each_certificate(struct tls_context *c, const char *what, const char *path, struct err *err,
	bool (*fn)(struct tls_context *c, X509 *x, int number))
{
	const struct tls_lib *o = c->lib;
	bool encrypted = false;
	struct text t;
	int n = 0;

	if (!file_read(what, path, &t, err))
		return -1;
	BIO *b = o->BIO_new_mem_buf(t.p, (int)t.n);
	o->ERR_clear_error();
	for (X509 *x; b && n < CERTS_MAX && (x = o->PEM_read_bio_X509(b, NULL, no_password, &encrypted)); n++) {
		bool taken = fn(c, x, n);
		o->X509_free(x);
		if (!taken) {
			err_add(err, path, 0, 0, "certificate %d of %s is refused: %s", n + 1, what, reason(o));
			n = -1;
			break;
		}
	}
	if (n == 0 && ERR_GET_REASON(o->ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		err_add(err, path, 0, 0, "%s has no certificate in it (PEM: -----BEGIN CERTIFICATE-----)", what);
	else if (n >= 0 && ERR_GET_REASON(o->ERR_peek_last_error()) != PEM_R_NO_START_LINE) /* no further beginning: how each good file ends */
		err_add(err, path, 0, 0, "certificate %d of %s cannot be read: %s", n + 1, what, reason(o)), n = -1;
	o->ERR_clear_error();
	if (b)
		o->BIO_free(b);
	text_end(o, &t);
	return n > 0 ? n : -1;
}

static bool add_root(struct tls_context *c, X509 *x, int number)
{
	(void)number;
	return c->lib->X509_STORE_add_cert(c->lib->SSL_CTX_get_cert_store(c->ssl), x) == 1;
}

static bool add_shown(struct tls_context *c, X509 *x, int number)
{
	if (number == 0) {
		c->expires = tls_time(c->lib, c->lib->X509_get0_notAfter(x));
		return c->lib->SSL_CTX_use_certificate(c->ssl, x) == 1;
	}
	return number < CHAIN_MAX && c->lib->SSL_CTX_ctrl(c->ssl, SSL_CTRL_CHAIN_CERT, 1, x) == 1; /* SSL_CTX_add1_chain_cert */
}

static void load_key(struct tls_context *c, const char *path, const char *cert_path, bool cert_is_there, struct err *err)
{
	const struct tls_lib *o = c->lib;
	bool encrypted = false;
	struct text t;

	if (!file_read("the key", path, &t, err))
		return;
	BIO *b = o->BIO_new_mem_buf(t.p, (int)t.n);
	EVP_PKEY *key = b ? o->PEM_read_bio_PrivateKey(b, NULL, no_password, &encrypted) : NULL;
	if (!key && encrypted)
		err_add(err, path, 0, 0, "the key is encrypted: a daemon has nobody to ask for the password");
	else if (!key)
		err_add(err, path, 0, 0, "there is no private key in it (PEM: -----BEGIN PRIVATE KEY-----): %s", reason(o));
	else if (cert_is_there && (o->X509_check_private_key(o->SSL_CTX_get0_certificate(c->ssl), key) != 1 || o->SSL_CTX_use_PrivateKey(c->ssl, key) != 1))
		err_add(err, path, 0, 0, "the key does not fit the certificate in '%s': %s", cert_path, reason(o));
	o->ERR_clear_error();
	o->EVP_PKEY_free(key);
	if (b)
		o->BIO_free(b);
	text_end(o, &t);
}

static void load_files(struct tls_context *c, const struct tls_spec *spec, struct err *err)
{
	const struct tls_lib *o = c->lib;

	if (spec->roots_file)
		each_certificate(c, "the roots file", spec->roots_file, err, add_root);
	else if (o->SSL_CTX_set_default_verify_paths(c->ssl) != 1) /* a folder of hashed names: read when a chain asks for one */
		err_add(err, NULL, 0, 0, "TLS: the system's roots cannot be used: %s", reason(o));
	if (!spec->cert_file != !spec->key_file) {
		err_add(err, spec->cert_file ? spec->cert_file : spec->key_file, 0, 0, "a certificate and its key belong together: %s is missing",
			spec->cert_file ? "the key" : "the certificate");
		return;
	}
	if (!spec->cert_file)
		return;
	bool there = each_certificate(c, "the certificate file", spec->cert_file, err, add_shown) > 0;
	load_key(c, spec->key_file, spec->cert_file, there, err);
	c->shows = there;
}

/* ---- sessions ------------------------------------------------------------------------------------------------------------------- */

static struct tls_session *session_of(struct tls_context *c, const char *name)
{
	list_each(at, next, &c->sessions) {
		struct tls_session *s = list_entry(at, struct tls_session, node);
		if (strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

static void session_free(struct tls_context *c, struct tls_session *s)
{
	list_del(&s->node);
	c->nsessions--;
	c->lib->SSL_SESSION_free(s->session);
	free(s->name);
	free(s);
}

void tls_session_forget(struct tls_context *c, const char *name)
{
	struct tls_session *s = session_of(c, name);

	if (s)
		session_free(c, s);
}

void tls_session_keep(struct tls_context *c, const char *name, SSL_SESSION *taken)
{
	const unsigned char *ticket;
	size_t n = 0;

	tls_session_forget(c, name);
	c->lib->SSL_SESSION_get0_ticket(taken, &ticket, &n);
	if (n > TLS_TICKET_MAX || !c->lib->SSL_SESSION_is_resumable(taken)) {
		c->lib->SSL_SESSION_free(taken);
		return;
	}
	if (c->nsessions == TLS_SESSIONS) /* the one that is oldest */
		session_free(c, list_entry(c->sessions.next, struct tls_session, node));
	struct tls_session *s = xnew(struct tls_session);
	s->name = xstrdup(name);
	s->session = taken;
	list_push(&c->sessions, &s->node);
	c->nsessions++;
}

/* A resumed handshake shows no certificate, so that one which has ended meanwhile would go unseen. */
SSL_SESSION *tls_session_find(struct tls_context *c, const char *name, int64_t now)
{
	struct tls_session *s = session_of(c, name);
	X509 *peer = s ? c->lib->SSL_SESSION_get0_peer(s->session) : NULL;

	if (!s)
		return NULL;
	if (peer && tls_time(c->lib, c->lib->X509_get0_notAfter(peer)) >= now)
		return s->session;
	session_free(c, s);
	return NULL;
}

/* ---- the context ----------------------------------------------------------------------------------------------------------------- */

static int set_alpn(struct tls_context *c, const char *names, struct err *err)
{
	unsigned char wire[256];
	size_t n = 0;

	for (struct str left = str_of(names); left.n;) {
		ptrdiff_t comma = str_find(left, ',');
		struct str one = str_trim(str_cut(left, 0, comma < 0 ? left.n : (size_t)comma));
		left = comma < 0 ? str_n(NULL, 0) : str_cut(left, (size_t)comma + 1, left.n);
		if (one.n == 0 || n + 1 + one.n > sizeof(wire)) {
			err_add(err, NULL, 0, 0, "TLS: '%s' is no list of ALPN names", names);
			return -EINVAL;
		}
		wire[n++] = (unsigned char)one.n;
		memcpy(wire + n, one.p, one.n);
		n += one.n;
	}
	return c->lib->SSL_CTX_set_alpn_protos(c->ssl, wire, (unsigned)n) == 0 ? 0 : -ENOMEM; /* 0 is success, unlike elsewhere */
}

static int verify(X509_STORE_CTX *x, void *user)
{
	struct tls_context *c = user;
	SSL *ssl = c->lib->X509_STORE_CTX_get_ex_data(x, c->lib->SSL_get_ex_data_X509_STORE_CTX_idx());

	return tls_verify_chain(tls_verify_of(c->lib, ssl), x);
}

static int set_up(struct tls_context *c, const struct tls_spec *spec, struct err *err)
{
	const struct tls_lib *o = c->lib;

	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_3_VERSION, NULL);
	/* RFC 9113 9.2.1 and 9.2.2: no compression, no renegotiation, only forward-secret AEAD ciphers. A FIN without close_notify is the end of the
	 * stream: HTTP/2 frames itself, and half the servers in use close so. */
	o->SSL_CTX_set_options(c->ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	if (o->SSL_CTX_set_cipher_list(c->ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
		err_add(err, NULL, 0, 0, "TLS: OpenSSL offers none of the TLS 1.2 ciphers that HTTP/2 allows: %s", reason(o));
		return -EINVAL;
	}
	/* An idle connection keeps no 17 KB buffers. A write that must be repeated (it met half a session ticket) comes from another place. */
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
	/* Any certificate of the roots file is an anchor, be it self-signed or not, as for Go and Envoy: meshes hand out intermediates. */
	o->X509_STORE_set_flags(o->SSL_CTX_get_cert_store(c->ssl), X509_V_FLAG_PARTIAL_CHAIN);
	o->SSL_CTX_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
	o->SSL_CTX_set_cert_verify_callback(c->ssl, verify, c);
	o->SSL_CTX_ctrl(c->ssl, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, NULL); /* sessions are kept by server name: tls_session_keep */
	return spec->alpn ? set_alpn(c, spec->alpn, err) : 0;
}

static void context_free(struct tls_context *c)
{
	const struct tls_lib *o = c->lib;

	list_each(at, next, &c->sessions)
		session_free(c, list_entry(at, struct tls_session, node));
	if (o)
		o->SSL_CTX_free(c->ssl);
	for (size_t i = 0; i < c->nsans; i++)
		free(c->sans[i]);
	free(c->sans);
	free(c->roots_file);
	free(c->lib);
	free(c);
}

int tls_context_new(const struct tls_spec *spec, struct tls_context **ret, struct err *err)
{
	struct tls_context *c = xnew(struct tls_context);
	int problems = err->count, r = 0;

	c->refs = 1;
	list_init(&c->sessions);
	c->no_names = spec->no_names;
	c->roots_file = spec->roots_file ? xstrdup(spec->roots_file) : NULL;
	c->sans = spec->nsans ? xalloc(spec->nsans * sizeof(*c->sans)) : NULL;
	for (; c->nsans < spec->nsans; c->nsans++)
		c->sans[c->nsans] = xstrdup(spec->sans[c->nsans]);
	c->lib = tls_lib_load(err);
	if (c->lib) {
		c->ssl = c->lib->SSL_CTX_new(c->lib->TLS_client_method());
		if (!c->ssl) {
			err_add(err, NULL, 0, 0, "TLS: OpenSSL cannot be set up: %s", reason(c->lib));
			r = -ENOMEM;
		} else {
			r = set_up(c, spec, err);
			load_files(c, spec, err);
		}
	}
	if (r == 0 && err->count > problems)
		r = -EINVAL;
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

int64_t tls_context_expires(const struct tls_context *c)
{
	return c->expires;
}
