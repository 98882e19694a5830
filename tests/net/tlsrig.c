/* tests/net/tlsrig: see the header. */
#include "tests/net/tlsrig.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "base/addr.h"

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "tlsrig: %s\n", what);
	abort();
}

const char *tls_file(const void *bytes, size_t n, int *ret_fd, char path[32])
{
	*ret_fd = memfd_create("tlsrig", MFD_CLOEXEC);
	need(*ret_fd >= 0 && write(*ret_fd, bytes, n) == (ssize_t)n, "memfd");
	snprintf(path, 32, "/proc/self/fd/%d", *ret_fd);
	return path;
}

static void file_of(BIO *b, int *fd, char path[32])
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	tls_file(p, (size_t)n, fd, path);
	BIO_free(b);
}

/* issuer NULL: signs itself */
static X509 *certificate(EVP_PKEY *key, const char *cn, const X509 *issuer, EVP_PKEY *issuer_key, int64_t from, int64_t to, bool is_ca, GENERAL_NAMES *sans,
	const char *use)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	BASIC_CONSTRAINTS *bc = BASIC_CONSTRAINTS_new();
	uint64_t serial = 0;

	need(getentropy(&serial, sizeof(serial)) == 0, "entropy");
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
	ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from);
	ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to);
	X509_set_pubkey(x, key);
	bc->ca = is_ca ? 0xff : 0;
	need(X509_add1_ext_i2d(x, NID_basic_constraints, bc, 1, X509V3_ADD_DEFAULT) == 1, "basic constraints");
	BASIC_CONSTRAINTS_free(bc);
	if (sans && sk_GENERAL_NAME_num(sans) > 0)
		need(X509_add1_ext_i2d(x, NID_subject_alt_name, sans, 0, X509V3_ADD_DEFAULT) == 1, "subjectAltName");
	if (use) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, use);
		need(e && X509_add_ext(x, e, -1) == 1, "extendedKeyUsage");
		X509_EXTENSION_free(e);
	}
	need(X509_sign(x, issuer_key, EVP_sha256()) > 0, "signature");
	return x;
}

static void ca_make(struct tls_ca *ca, const struct tls_ca *above, const char *cn, int64_t now)
{
	BIO *b = BIO_new(BIO_s_mem());

	ca->now = now;
	ca->key = EVP_EC_gen("P-256");
	ca->cert = certificate(ca->key, cn, above ? above->cert : NULL, above ? above->key : ca->key, now - 864000, now + 864000, true, NULL, NULL);
	PEM_write_bio_X509(b, ca->cert);
	file_of(b, &ca->fd, ca->path);
}

void tls_ca_new(struct tls_ca *ca, const char *cn, int64_t now)
{
	ca_make(ca, NULL, cn, now);
}

void tls_ca_below(struct tls_ca *sub, const struct tls_ca *ca, const char *cn)
{
	ca_make(sub, ca, cn, ca->now);
}

void tls_ca_end(struct tls_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	close(ca->fd);
}

static GENERAL_NAME *general_name(struct str text)
{
	GENERAL_NAME *g = GENERAL_NAME_new();
	bool ip = str_starts(text, STR("IP:")), uri = str_starts(text, STR("URI:"));
	struct str value = str_cut(text, uri || !ip ? 4 : 3, text.n);
	ASN1_STRING *s = ip ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	char bytes[300];

	need(value.n < sizeof(bytes), "a name that is too long");
	memcpy(bytes, value.p, value.n);
	for (size_t i = 0; i < value.n; i++)
		if (bytes[i] == '!')
			bytes[i] = 0;
	if (ip) {
		struct addr a;
		need(addr_ip(value, 0, &a) == 0, "an IP");
		if (addr_is_v6(&a))
			ASN1_STRING_set(s, &a.in6.sin6_addr, 16);
		else
			ASN1_STRING_set(s, &a.in4.sin_addr, 4);
	} else {
		ASN1_STRING_set(s, bytes, (int)value.n);
	}
	GENERAL_NAME_set0_value(g, ip ? GEN_IPADD : uri ? GEN_URI : GEN_DNS, s);
	return g;
}

void tls_paper_new(struct tls_paper *p, const struct tls_ca *ca, const char *cn, const char *sans, int64_t from_s, int64_t to_s)
{
	tls_paper_use(p, ca, cn, sans, from_s, to_s, NULL);
}

void tls_paper_use(struct tls_paper *p, const struct tls_ca *ca, const char *cn, const char *sans, int64_t from_s, int64_t to_s, const char *use)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
	char *text = xstrdup(sans), *rest = text;

	for (char *one; (one = strsep(&rest, " "));)
		if (*one)
			sk_GENERAL_NAME_push(names, general_name(str_of(one)));
	free(text);
	p->key = EVP_EC_gen("P-256");
	p->cert = certificate(p->key, cn, ca->cert, ca->key, ca->now + from_s, ca->now + to_s, false, names, use);
	GENERAL_NAMES_free(names);
	PEM_write_bio_X509(cert, p->cert);
	PEM_write_bio_PrivateKey(key, p->key, NULL, NULL, 0, NULL, NULL);
	file_of(cert, &p->cert_fd, p->cert_path);
	file_of(key, &p->key_fd, p->key_path);
}

void tls_paper_end(struct tls_paper *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
	close(p->cert_fd);
	close(p->key_fd);
}

/* ---- ours -------------------------------------------------------------------------------------------------------------------------- */

char *tls_text(int fd)
{
	off_t n = lseek(fd, 0, SEEK_END);
	char *text = xalloc((size_t)n + 1);

	need(pread(fd, text, (size_t)n, 0) == n, "a memfd that cannot be read");
	return text;
}

static struct str slurp(int fd)
{
	return str_of(tls_text(fd));
}

char *tls_crl_text(const struct tls_ca *ca, const X509 *revoked, int64_t next_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)(ca->now - 3600));
	BIO *b = BIO_new(BIO_s_mem());
	char *p;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert));
	X509_CRL_set1_lastUpdate(crl, t);
	if (revoked) {
		X509_REVOKED *r = X509_REVOKED_new();
		X509_REVOKED_set_serialNumber(r, (ASN1_INTEGER *)(uintptr_t)X509_get0_serialNumber(revoked));
		X509_REVOKED_set_revocationDate(r, t);
		X509_CRL_add0_revoked(crl, r);
	}
	ASN1_TIME_set(t, (time_t)(ca->now + next_s));
	X509_CRL_set1_nextUpdate(crl, t);
	need(X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0 && PEM_write_bio_X509_CRL(b, crl) == 1, "a CRL");
	long n = BIO_get_mem_data(b, &p);
	char *text = xstrndup(p, (size_t)n);
	BIO_free(b);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
	return text;
}

struct tls_trust *tls_trust_of(const struct tls_ca *ca)
{
	struct err err = ERR_INIT;
	struct str pem = slurp(ca->fd);
	struct tls_trust *t = NULL;

	need(tls_trust_new(ca->path, pem, NULL, &t, &err) == 0, err_str(&err));
	free((char *)(uintptr_t)pem.p);
	return t;
}

struct tls_cert *tls_cert_of(const struct tls_paper *p)
{
	struct err err = ERR_INIT;
	struct str chain = slurp(p->cert_fd), key = slurp(p->key_fd);
	struct tls_cert *c = NULL;

	need(tls_cert_new(p->cert_path, chain, key, &c, &err) == 0, err_str(&err));
	free((char *)(uintptr_t)chain.p);
	free((char *)(uintptr_t)key.p);
	return c;
}

struct tls_context *tls_client_new(const struct tls_ca *roots, const struct tls_paper *shown, const char *alpn)
{
	struct err err = ERR_INIT;
	struct tls_spec spec = {.trust = roots ? tls_trust_of(roots) : tls_trust_system(&err), .cert = shown ? tls_cert_of(shown) : NULL, .alpn = alpn};
	struct tls_context *c = NULL;

	need(tls_context_new(&spec, &c, &err) == 0, err_str(&err));
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
	return c;
}

/* ---- the server ---------------------------------------------------------------------------------------------------------------- */

static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *user)
{
	(void)ssl, (void)user;
	for (unsigned i = 0; i < in_n; i += 1u + in[i])
		if (in[i] == 2 && memcmp(in + i + 1, "h2", 2) == 0) {
			*out = in + i + 1;
			*out_n = 2;
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_NOACK;
}

/* The chain of a client by the clock of the test. */
static int judge_client(X509_STORE_CTX *x, void *user)
{
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(x), (time_t)((const struct tls_ca *)user)->now);
	return X509_verify_cert(x);
}

SSL_CTX *tls_server_new(const struct tls_paper *p, int version, const struct tls_ca *clients)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	SSL_CTX_set_min_proto_version(c, version);
	SSL_CTX_set_max_proto_version(c, version);
	need(SSL_CTX_use_certificate(c, p->cert) == 1 && SSL_CTX_use_PrivateKey(c, p->key) == 1, "server certificate");
	SSL_CTX_set_alpn_select_cb(c, choose, NULL);
	SSL_CTX_set_session_id_context(c, (const unsigned char *)"rig", 3);
	if (clients) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(c), clients->cert);
		SSL_CTX_add_client_CA(c, clients->cert);
		SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		SSL_CTX_set_cert_verify_callback(c, judge_client, (void *)(uintptr_t)clients);
	}
	return c;
}

static void drop(struct sb *b, size_t n)
{
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

static void push(struct tls_far *p)
{
	char buf[4096];
	int n;

	while ((n = BIO_read(p->out, buf, sizeof(buf))) > 0)
		sb_add(&p->raw, buf, (size_t)n);
	while (p->s && p->raw.n) {
		struct iovec iov = {p->raw.p, p->raw.n};
		if (p->flip_at > 0 && (size_t)p->flip_at >= p->raw_sent && (size_t)p->flip_at < p->raw_sent + p->raw.n) {
			p->raw.p[(size_t)p->flip_at - p->raw_sent] ^= 0x41;
			p->flip_at = 0;
		}
		ssize_t took = sock_writev(p->s, &iov, 1);
		if (took <= 0 && took != -EAGAIN)
			p->raw.n = 0;
		if (took <= 0)
			break;
		p->raw_sent += (size_t)took;
		drop(&p->raw, (size_t)took);
	}
}

void tls_far_pump(struct tls_far *p)
{
	char buf[4096];
	ssize_t n;

	if (!p->s)
		return;
	while (!p->hold && !p->eof && (n = sock_recv(p->s, buf, sizeof(buf))) != -EAGAIN) {
		if (n <= 0)
			p->eof = true;
		else
			BIO_write(p->in, buf, (int)n);
	}
	if (!p->shaken && !p->failed) {
		int r = SSL_do_handshake(p->ssl);
		p->shaken = r == 1;
		p->failed = r != 1 && SSL_get_error(p->ssl, r) != SSL_ERROR_WANT_READ;
		while (p->failed && p->mute && BIO_read(p->out, buf, sizeof(buf)) > 0)
			;
		if (p->shaken && p->greeting)
			tls_far_send(p, p->greeting, p->greeting_n);
	}
	if (p->shaken) {
		int r;
		while ((r = SSL_read(p->ssl, buf, sizeof(buf))) > 0)
			sb_add(&p->got, buf, (size_t)r);
		p->got_notify |= SSL_get_error(p->ssl, r) == SSL_ERROR_ZERO_RETURN;
		while (p->plain.n && p->raw.n < 65536) { /* no more than a process would hold */
			r = SSL_write(p->ssl, p->plain.p, p->plain.n < 16384 ? (int)p->plain.n : 16384);
			if (r <= 0)
				break;
			drop(&p->plain, (size_t)r);
			push(p);
		}
	}
	push(p);
	ERR_clear_error();
	if (p->s)
		sock_want(p->s, !p->hold && !p->eof, p->raw.n > 0 || (p->shaken && p->plain.n > 0));
	if (p->failed && p->raw.n == 0)
		sock_close(&p->s);
}

static void moved(void *user)
{
	tls_far_pump(user);
}

static void never(void *user, int err)
{
	(void)user, (void)err;
}

void tls_far_start(struct tls_far *p, SSL_CTX *ctx, struct sock *taken)
{
	static const struct sock_events events = {.connected = never, .readable = moved, .writable = moved};

	p->s = taken;
	p->ssl = SSL_new(ctx);
	p->in = BIO_new(BIO_s_mem());
	p->out = BIO_new(BIO_s_mem());
	SSL_set_bio(p->ssl, p->in, p->out);
	SSL_set_accept_state(p->ssl);
	SSL_set_mode(p->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	sock_set(taken, &events, p);
	sock_want(taken, true, false);
}

void tls_far_send(struct tls_far *p, const void *bytes, size_t n)
{
	sb_add(&p->plain, bytes, n);
	if (p->shaken)
		tls_far_pump(p);
}

void tls_far_hold(struct tls_far *p, bool hold)
{
	p->hold = hold;
	if (p->s)
		sock_want(p->s, !hold, p->raw.n > 0);
}

void tls_far_end(struct tls_far *p)
{
	if (p->ssl && p->s && !p->rude && p->shaken) {
		SSL_shutdown(p->ssl);
		push(p);
	}
	SSL_free(p->ssl);
	sock_close(&p->s);
	sb_end(&p->raw);
	sb_end(&p->got);
	sb_end(&p->plain);
	ERR_clear_error();
	*p = (struct tls_far){0};
}
