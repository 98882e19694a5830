/* net/tls: a sock that speaks TLS over another sock. See net/tls.h; net/tls_int.h tells what its other files are for.
 *
 *   user  <-- connected, readable, writable --  tls_sock  <-- the same --  the sock below (kernel or memory), owned
 *         -- recv, writev, want, close -------->  in > SSL > out  -- recv, writev -->
 *
 * Phases: SHAKING -> OPEN, or -> OVER (failed before it was open; told by connected()). What ends an open connection is kept in `end` and told by recv.
 * OpenSSL works on memory only: before it reads it is given bytes (refill), after each call what it wrote is pushed to the sock below.
 *
 * Reading. There may be plaintext left in here that the kernel knows nothing of: `more` says so, and the task `retell` tells readable once a turn
 * until recv has said -EAGAIN. So readiness is level-triggered, as net/sock.h promises. in: records beyond what the reader had room for.
 *
 * Writing. OpenSSL's output always has room: one buffer for all connections (tls_lib.wide), empty between two calls. Up to TLS_PIECES records go down in one write. What the sock below does
 * not take is kept in `out` (those records and some handshake messages at most), so reading never waits for writing. Bytes count as taken when the last byte of their record has been taken
 * below, not before: until then they are a piece of `out`, and the next writev, which begins with them again as after every -EAGAIN, skips them. A record that has not gone out
 * whole cannot be read by the peer, so "not taken" still means "not processed": that decides whether a call may go to another provider. For the
 * same reason out with pieces is flushed by writev only, never behind its caller's back.
 *
 * The end of a client's handshake is the one thing that is held back, until the end of the turn at most: whoever gets the connection mostly has
 * something to say at once, and both go down in one write. Nothing is written, and nothing closed, but behind it.
 *
 * A server's side differs in its beginning: the sock below is connected, and some of its bytes may have been read already (`first`).
 *
 * Owner: whoever got the sock. Memory goes with the morgue. */
#include "net/tls.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/addr.h"
#include "net/tls_int.h"

/* What OpenSSL holds for a connection: SSL, BIOs, two cipher states, the session with the peer's certificates (tests/net/test_tls_cost measures it). */
enum { TLS_COST = 32 * 1024, READ_MAX = 65536, PEEK_MAX = 4096, OUT_MAX = 256 * 1024, REFILLS_MAX = 16 };

static const struct sock_ops tls_ops;

struct tls_sock *tls_sock_of(const struct sock *s)
{
	return s->ops == &tls_ops ? container_of((struct sock *)(uintptr_t)s, struct tls_sock, s) : NULL;
}

static struct tls_sock *tls_of(struct sock *s)
{
	return container_of(s, struct tls_sock, s);
}

static const struct tls_lib *lib(const struct tls_sock *k)
{
	return k->context->lib;
}

/* SSL_get_error is right only if nothing old lies in OpenSSL's queue; emptying it is dear, looking is not. */
static void clean(const struct tls_lib *o)
{
	if (o->ERR_peek_error())
		o->ERR_clear_error();
}

/* ---- out: to the sock below ------------------------------------------------------------------------------------------------------- */

static void out_free(struct tls_sock *k)
{
	acct_free(k->account, k->out);
	k->out = NULL;
	k->out_n = k->out_at = k->out_cap = 0;
	k->npieces = 0;
	k->held = false;
}

/* What the sock below takes of it; 0 where it fails, which write_err then tells. */
static size_t writev_below(struct tls_sock *k, const struct iovec *iov, int n)
{
	ssize_t took = k->write_err ? 0 : sock_writev(k->under, iov, n);

	if (took >= 0)
		return (size_t)took;
	if (took != -EAGAIN && took != -ENOTCONN) /* not connected: connected() is still to come, and will tell */
		k->write_err = (int)took;
	return 0;
}

static size_t write_below(struct tls_sock *k, char *p, size_t n)
{
	struct iovec iov = {p, n};

	return writev_below(k, &iov, 1);
}

static void out_add(struct tls_sock *k, const char *p, size_t n)
{
	if (k->write_err)
		return;
	if (k->out_cap - k->out_n < n) {
		size_t cap = (k->out_n + n + 1023) & ~(size_t)1023;
		char *grown = cap <= OUT_MAX ? acct_realloc(k->account, k->out, cap) : NULL;
		if (!grown) { /* a record that is not sent whole is the end of all that follow */
			k->write_err = cap <= OUT_MAX ? -ENOMEM : ERR_LIMIT;
			return;
		}
		k->out = grown;
		k->out_cap = cap;
	}
	memcpy(k->out + k->out_n, p, n);
	k->out_n += n;
}

/* True: nothing is left. */
static bool out_flush(struct tls_sock *k)
{
	k->held = false;
	while (k->out_at < k->out_n) {
		size_t took = write_below(k, k->out + k->out_at, k->out_n - k->out_at);
		if (took == 0)
			return false;
		k->out_at += took;
		uint32_t whole = 0;
		while (whole < k->npieces && k->pieces[whole].end <= k->out_at)
			k->done += k->pieces[whole++].plain;
		k->npieces -= whole;
		memmove(k->pieces, k->pieces + whole, k->npieces * sizeof(*k->pieces));
	}
	if (k->out)
		out_free(k);
	return !k->write_err;
}

static void wide_empty(struct tls_sock *k)
{
	lib(k)->wide->length = 0;
	lib(k)->BIO_ctrl(k->wbio, BIO_C_SET_BUF_MEM, BIO_NOCLOSE, lib(k)->wide);
}

/* What is held back, and n bytes behind it. How many of those the sock below took. */
static size_t write_behind(struct tls_sock *k, char *p, size_t n)
{
	struct iovec iov[] = {{k->out, k->out_n}, {p, n}};
	size_t took = writev_below(k, iov, 2);

	k->held = false;
	if (k->write_err) {
		out_free(k);
		return 0;
	}
	if (took < k->out_n) {
		k->out_at = took;
		return 0;
	}
	took -= k->out_n;
	out_free(k);
	return took;
}

/* What OpenSSL has just written. How much of it the sock below took. */
static size_t push(struct tls_sock *k)
{
	BUF_MEM *wide = lib(k)->wide;
	size_t n = wide->length, took;

	if (n == 0)
		return 0;
	took = k->held ? write_behind(k, wide->data, n) : k->out ? 0 : write_below(k, wide->data, n);
	if (took < n)
		out_add(k, wide->data + took, n - took);
	wide_empty(k);
	return took;
}

/* Instead of push: what OpenSSL has written waits for what comes next. Where there is no memory for that, it goes at once. */
static void hold(struct tls_sock *k)
{
	BUF_MEM *wide = lib(k)->wide;
	size_t n = wide->length;

	if (n && !k->out && !k->write_err)
		k->out = acct_alloc(k->account, n);
	if (!n || !k->out || k->out_n || k->write_err) {
		push(k);
		return;
	}
	memcpy(k->out, wide->data, n);
	k->out_n = k->out_cap = n;
	k->held = true;
	wide_empty(k);
}

/* ---- in: from the sock below ------------------------------------------------------------------------------------------------------- */

static void feed_set(struct tls_sock *k, char *p, size_t n)
{
	k->feed = (BUF_MEM){.length = n, .data = p, .max = n};
	lib(k)->BIO_ctrl(k->rbio, BIO_C_SET_BUF_MEM, BIO_NOCLOSE, &k->feed);
}

static void in_free(struct tls_sock *k)
{
	acct_free(k->account, k->in);
	k->in = NULL;
}

/* OpenSSL has read all it was given and wants more: as recv. buf is the caller's, who settles before it returns. */
static ssize_t refill(struct tls_sock *k, char *buf, size_t cap)
{
	ssize_t n = k->drained ? -EAGAIN : sock_recv(k->under, buf, cap);

	if (k->in)
		in_free(k);
	if (n > 0) {
		feed_set(k, buf, (size_t)n);
		k->noise += (uint32_t)n;
	}
	k->drained = n > 0 && (size_t)n < cap; /* net/sock.h: nothing more is there, and it will be told again */
	return n;
}

/* Before a reader's buffer goes: what OpenSSL has not read of it moves to in. False: no memory for it. */
static bool settle(struct tls_sock *k)
{
	size_t left = lib(k)->BIO_ctrl_pending(k->rbio), read = k->feed.length - left;
	char *rest;

	if (k->in && left)
		return true; /* it reads from there */
	if (k->in)
		in_free(k);
	if (left == 0) {
		feed_set(k, NULL, 0);
		return true;
	}
	rest = acct_alloc(k->account, left);
	if (rest)
		memcpy(rest, k->feed.data + read, left);
	feed_set(k, rest, rest ? left : 0);
	k->in = rest;
	return rest != NULL;
}

/* ---- why ------------------------------------------------------------------------------------------------------------------------------ */

static const char *shown_text(const struct tls_sock *k, char out[TLS_TEXT_MAX])
{
	if (!k->context->cert || (!k->server && !k->showed && k->phase == TLS_OPEN))
		return "no certificate";
	const struct tls_cert *c = k->context->cert;
	char at[32];
	bool over = k->verify.now >= c->not_after; /* used all the same: the peer decides */
	snprintf(out, TLS_TEXT_MAX, "'%.*s'%s%s", (int)(TLS_TEXT_MAX - 64), c->id, over ? ", which has expired at " : "", over ? tls_time_text(c->not_after, at) : "");
	return out;
}

/* An alert's name. OpenSSL 3.0 calls those that came with TLS 1.3 and ALPN "unknown"; 116 is what refuses a client without a certificate. */
static const char *alert_text(const struct tls_lib *o, int alert)
{
	static const struct { int alert; const char *text; } later[] = {{109, "missing extension"}, {116, "certificate required"}, {120, "no application protocol"}};

	for (size_t i = 0; i < sizeof(later) / sizeof(*later); i++)
		if (later[i].alert == alert)
			return later[i].text;
	return o->SSL_alert_desc_string_long(alert);
}

/* What OpenSSL has found wrong, as a code and as a text. */
static int ssl_failed(struct tls_sock *k)
{
	const struct tls_lib *o = lib(k);
	unsigned long e = o->ERR_peek_error();
	int reason = ERR_GET_REASON(e);
	const char *text = e ? o->ERR_reason_error_string(e) : NULL;
	char shown[TLS_TEXT_MAX];

	o->ERR_clear_error();
	if (k->why[0]) /* of the certificate: net/tls_verify has said it */
		return -EKEYREJECTED;
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
		snprintf(k->why, sizeof(k->why), "the peer refuses: %s; we showed %s", alert_text(o, reason - SSL_AD_REASON_OFFSET), shown_text(k, shown));
		k->verify.reason = TLS_REFUSED;
		return ERR_REFUSED;
	}
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)) {
		snprintf(k->why, sizeof(k->why), "the peer does not speak TLS (%s)", text ? text : "?");
		return ERR_MALFORMED;
	}
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		snprintf(k->why, sizeof(k->why), "the peer showed no certificate, wanted one");
		k->verify.reason = TLS_UNTRUSTED;
		return -EKEYREJECTED;
	}
	snprintf(k->why, sizeof(k->why), "TLS: %s", text ? text : "the connection is broken");
	return reason == ERR_R_MALLOC_FAILURE ? -ENOMEM : ERR_MALFORMED;
}

static void why_say(struct tls_sock *k, const char *text)
{
	if (!k->why[0])
		snprintf(k->why, sizeof(k->why), "%s", text);
}

/* Some servers (gRPC's C core) refuse a client without a certificate, or with one that they do not like, by closing, and say nothing. With TLS 1.3 all that is heard before is the handshake. */
static void guess_why(struct tls_sock *k)
{
	const STACK_OF(X509_NAME) *asked = k->server || k->heard || k->context->cert ? NULL : lib(k)->SSL_get0_peer_CA_list(k->ssl);
	char shown[TLS_TEXT_MAX];

	if (!k->server && !k->heard && k->showed && k->phase == TLS_OPEN && !k->why[0]) {
		snprintf(k->why, sizeof(k->why), "the peer closed after the TLS handshake; we showed %s", shown_text(k, shown));
		k->verify.reason = TLS_REFUSED;
	}
	if (!asked || lib(k)->OPENSSL_sk_num((const OPENSSL_STACK *)asked) <= 0 || k->why[0])
		return;
	why_say(k, "the peer closed after the TLS handshake; it had asked for a certificate, and we showed none");
	k->verify.reason = TLS_REFUSED;
}

/* ---- readiness ------------------------------------------------------------------------------------------------------------------------- */

/* Plaintext is in the air: out is its caller's to flush. */
static bool has_pieces(const struct tls_sock *k)
{
	return k->npieces || k->done;
}

static void want_below(struct tls_sock *k)
{
	bool read = k->phase == TLS_SHAKING || (k->phase == TLS_OPEN && (k->s.want_read || k->write_waits_for_read) && !k->ended);
	bool write = k->phase == TLS_SHAKING ? k->out != NULL : k->phase == TLS_OPEN && ((k->s.want_write && !k->write_waits_for_read) || (k->out && !k->held && !has_pieces(k)));

	if (!k->closed)
		sock_want(k->under, read, write);
}

static void retell(struct task *t)
{
	struct tls_sock *k = container_of(t, struct tls_sock, retell);

	if (k->closed || !k->more || !k->s.want_read)
		return;
	k->s.ev->readable(k->s.user);
	if (!k->closed && k->more && k->s.want_read)
		loop_defer(k->s.loop, &k->retell, retell);
}

static void more_is(struct tls_sock *k, bool more)
{
	k->more = more;
	if (more && k->s.want_read)
		loop_defer(k->s.loop, &k->retell, retell);
}

static void ends(struct tls_sock *k, int end)
{
	k->ended = true;
	k->end = end;
}

static void tls_want(struct sock *s, bool read, bool write)
{
	struct tls_sock *k = tls_of(s);

	s->want_read = read;
	s->want_write = write;
	if (k->phase == TLS_OPEN && !k->closed) {
		more_is(k, k->more);
		want_below(k);
	}
}

/* ---- sessions -------------------------------------------------------------------------------------------------------------------------- */

/* Who may be met again by the same session: judged by the same rules, under the same name, at the same address (the context is the same anyway). */
static uint64_t session_key_of(const struct tls_peer *p, const struct addr *at)
{
	const char *const texts[] = {p->server_name, p->check_name, p->trust_domain};
	uint64_t h = addr_hash(at, p->hash ^ (p->want ? p->want->hash : 0));

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		h = str_hash_seeded(texts[i] ? str_of(texts[i]) : STR("\1"), h + i);
	for (uint32_t i = 0; i < p->naliases; i++)
		h = str_hash_seeded(str_of(p->aliases[i]), h);
	return h;
}

/* Did our certificate go to the peer in this handshake? The server had to ask. */
static bool was_shown(const struct tls_sock *k)
{
	int type;

	return k->context->cert && lib(k)->SSL_get_signature_type_nid(k->ssl, &type) == 1;
}

/* What a session would keep of the peer's. */
static size_t certs_size(const struct tls_lib *o, SSL *ssl)
{
	const OPENSSL_STACK *chain = (const OPENSSL_STACK *)o->SSL_get_peer_cert_chain(ssl);
	int count = chain ? o->OPENSSL_sk_num(chain) : 0;
	size_t size = 0;

	for (int i = 0; i < count; i++) {
		int n = o->i2d_X509(o->OPENSSL_sk_value(chain, i), NULL);
		size += n > 0 ? (size_t)n : 0;
	}
	return size;
}

/* TLS 1.3 brings tickets whenever it likes, TLS 1.2 at the end of the handshake. 0: OpenSSL may free it. */
int tls_session_came(SSL *ssl, SSL_SESSION *session)
{
	const struct tls_lib *o = tls_lib_found();
	struct tls_sock *k = o ? o->SSL_get_ex_data(ssl, 0) : NULL;

	if (k && (k->resumed || certs_size(o, ssl) <= TLS_KEPT_MAX)) /* resumed: they are those of the session before */
		tls_session_keep(k->context, k->session_key, k->phase == TLS_OPEN ? k->showed : was_shown(k), session, &k->verify);
	return 0;
}

/* ---- the handshake ----------------------------------------------------------------------------------------------------------------------- */

static void shake_failed(struct tls_sock *k, int err)
{
	k->phase = TLS_OVER;
	ends(k, err);
	if (!k->server)
		tls_session_forget(k->context, k->session_key);
	want_below(k);
	k->verify.peer = (struct tls_peer){0};
	k->s.ev->connected(k->s.user, err);
}

/* Nobody has written behind it. */
static void held_due(struct dirty *d)
{
	struct tls_sock *k = container_of(d, struct tls_sock, release);

	if (k->closed || !k->held)
		return;
	out_flush(k);
	if (k->write_err) /* which the user's next call meets */
		out_free(k);
	want_below(k);
}

/* The sock below is told what is wanted when the user has said it: mostly it wants to read, as we did. */
static void shake_done(struct tls_sock *k)
{
	const struct tls_lib *o = lib(k);

	k->resumed = o->SSL_session_reused(k->ssl) == 1;
	if (k->resumed && !tls_verify_again(&k->verify, o->SSL_get0_peer_certificate(k->ssl))) {
		o->ERR_clear_error();
		shake_failed(k, -EKEYREJECTED);
		return;
	}
	if (k->server)
		k->showed = true;
	else if (!k->resumed) /* resumed: as the session says */
		k->showed = was_shown(k);
	k->phase = TLS_OPEN;
	k->noise = 0;
	stat_inc(&k->s.loop->stats, k->server ? STAT_TLS_CONNS_DOWN : STAT_TLS_CONNS_UP);
	k->more = k->in || o->SSL_has_pending(k->ssl); /* the peer may have gone on speaking */
	k->verify.peer = (struct tls_peer){0}; /* it was borrowed until now */
	k->s.ev->connected(k->s.user, 0);
	if (k->closed)
		return;
	want_below(k);
	if (k->held) /* behind the user's flush, where it has one */
		loop_dirty(k->s.loop, &k->release, held_due);
}

/* 1: done. -EAGAIN: bytes must come first. Otherwise what ended it. may_read: the sock below may have something. */
static int shake_on(struct tls_sock *k, char *buf, size_t cap, bool may_read)
{
	const struct tls_lib *o = lib(k);

	k->drained = !may_read;
	for (int i = 0; i < REFILLS_MAX; i++) {
		clean(o);
		int r = o->SSL_do_handshake(k->ssl);
		if (r == 1 && !k->server)
			hold(k);
		else
			push(k);
		if (r == 1)
			return k->write_err ? k->write_err : 1;
		if (o->SSL_get_error(k->ssl, r) != SSL_ERROR_WANT_READ)
			return ssl_failed(k);
		if (!may_read && k->write_err)
			k->drained = false;
		ssize_t n = refill(k, buf, cap);
		if (n == -EAGAIN || n == -ENOTCONN) /* a write that failed is told when the peer has not said why */
			return k->write_err ? k->write_err : -EAGAIN;
		if (n == 0) {
			why_say(k, "the peer closed the connection in the TLS handshake");
			return ERR_CLOSED;
		}
		if (n < 0)
			return (int)n;
	}
	return -EAGAIN; /* the sock below is still readable, and will say so */
}

static void shake(struct tls_sock *k, bool may_read)
{
	char buf[READ_MAX];
	int r = shake_on(k, buf, sizeof(buf), may_read);

	if (!settle(k) && (r == 1 || r == -EAGAIN))
		r = -ENOMEM;
	if (r == 1)
		shake_done(k);
	else if (r == -EAGAIN)
		want_below(k);
	else
		shake_failed(k, r);
}

static void start(struct task *t)
{
	struct tls_sock *k = container_of(t, struct tls_sock, start);

	k->started = true;
	/* What is there already will be told; a client's peer has nothing to say yet. */
	if (k->phase == TLS_SHAKING)
		shake(k, false);
}

/* ---- recv -------------------------------------------------------------------------------------------------------------------------------- */

/* What OpenSSL's refusal to read means: bytes were brought, go on (1); -EAGAIN; or the end was noted (0). */
static int read_stopped(struct tls_sock *k, char *buf, size_t cap, int *refills)
{
	const struct tls_lib *o = lib(k);

	push(k); /* an alert, the answer to a key update */
	switch (o->SSL_get_error(k->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		break;
	case SSL_ERROR_ZERO_RETURN:
		ends(k, 0);
		guess_why(k);
		return 0;
	default:
		ends(k, ssl_failed(k));
		return 0;
	}
	if (k->noise > TLS_NOISE_MAX) { /* OpenSSL would read on for ever: each key update costs what a hundred bytes of a call do */
		why_say(k, "TLS: the peer sends messages of TLS without end");
		stat_inc(&k->s.loop->stats, STAT_LIMIT_TLS_NOISE);
		ends(k, ERR_LIMIT);
		return 0;
	}
	if (++*refills > REFILLS_MAX) /* others want their turn, too */
		return -EAGAIN;
	ssize_t n = refill(k, buf, cap);
	if (n > 0)
		return 1;
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n < 0)
		ends(k, (int)n);
	else /* no close_notify: HTTP/2 frames itself, so that is an end like any; but not in the middle of a record */
		ends(k, o->SSL_has_pending(k->ssl) ? -ECONNRESET : 0);
	guess_why(k);
	return 0;
}

static ssize_t tls_recv(struct sock *s, void *to, size_t n)
{
	struct tls_sock *k = tls_of(s);
	const struct tls_lib *o = lib(k);
	char buf[READ_MAX];
	size_t got = 0, part;
	int refills = 0, r = 1;

	if (k->closed)
		return -EBADF;
	if (k->ended)
		return k->end;
	if (k->phase != TLS_OPEN)
		return -EAGAIN;
	k->drained = false;
	while (got < n && r > 0) {
		clean(o);
		if (!o->SSL_read_ex(k->ssl, (char *)to + got, n - got, &part)) {
			r = read_stopped(k, buf, sizeof(buf), &refills);
			continue;
		}
		got += part;
		k->noise -= k->noise < TLS_RECORD_MAX ? k->noise : TLS_RECORD_MAX; /* a record that brings something pays for itself, however padded */
		/* Nothing is left anywhere: that OpenSSL would say so, too, is no reason to ask it. */
		if (k->drained && o->SSL_pending(k->ssl) == 0 && o->BIO_ctrl_pending(k->rbio) == 0)
			r = -EAGAIN;
	}
	if (!settle(k))
		ends(k, -ENOMEM);
	k->heard |= got > 0;
	more_is(k, k->ended || (r > 0 && (k->in || o->SSL_has_pending(k->ssl))) || refills > REFILLS_MAX);
	want_below(k);
	return got ? (ssize_t)got : k->ended ? k->end : -EAGAIN;
}

/* ---- writev ------------------------------------------------------------------------------------------------------------------------------ */

/* The next bytes from `at` on, at most a record of them, in one piece: small ones are gathered, because each record costs 22 bytes and a round through the cipher. */
static size_t next_piece(const struct iovec *iov, int n, size_t at, char *gather, const char **ret)
{
	size_t have = 0;
	int i = 0;

	for (; i < n && at >= iov[i].iov_len; i++)
		at -= iov[i].iov_len;
	if (i < n && iov[i].iov_len - at >= TLS_RECORD_MAX) {
		*ret = (const char *)iov[i].iov_base + at;
		return TLS_RECORD_MAX;
	}
	for (; i < n && have < TLS_RECORD_MAX; i++, at = 0) {
		size_t part = iov[i].iov_len - at < TLS_RECORD_MAX - have ? iov[i].iov_len - at : TLS_RECORD_MAX - have;
		if (part)
			memcpy(gather + have, (const char *)iov[i].iov_base + at, part);
		have += part;
	}
	*ret = gather;
	return have;
}

/* A server that refuses us (TLS 1.3: a client certificate is judged after our handshake is done) says so and closes; a write often meets the close first. */
static int write_failed(struct tls_sock *k)
{
	const struct tls_lib *o = lib(k);
	char buf[PEEK_MAX], c;
	size_t part;
	int refills = 0, r = 1;

	if (k->out)
		out_free(k);
	k->drained = false;
	while (r > 0 && !k->ended) {
		clean(o);
		if (o->SSL_peek_ex(k->ssl, &c, 1, &part))
			break;
		r = read_stopped(k, buf, sizeof(buf), &refills);
	}
	settle(k);
	return k->ended && k->end < 0 ? k->end : k->write_err;
}

/* Up to TLS_PIECES records of what lies from `at` on, into wide. How many; 0: OpenSSL is in the middle of a message of the peer's. */
static uint32_t encrypt(struct tls_sock *k, const struct iovec *iov, int n, size_t at, size_t all, struct tls_piece pieces[TLS_PIECES])
{
	const struct tls_lib *o = lib(k);
	char gather[TLS_RECORD_MAX];
	uint32_t count = 0;
	const char *p;
	size_t done;

	while (count < TLS_PIECES && at < all) {
		size_t piece = next_piece(iov, n, at, gather, &p);
		clean(o);
		if (!o->SSL_write_ex(k->ssl, p, piece, &done))
			break;
		pieces[count++] = (struct tls_piece){(uint32_t)o->wide->length, (uint32_t)piece};
		at += piece;
	}
	return count;
}

/* Down with them. How much plaintext is out; the rest waits in out. */
static size_t ship(struct tls_sock *k, const struct tls_piece *pieces, uint32_t count)
{
	size_t n = lib(k)->wide->length, took = push(k), taken = 0;
	size_t before = k->out && !k->write_err ? k->out_n - (n - took) : 0; /* of what was held back */

	for (uint32_t i = 0; i < count; i++)
		if (pieces[i].end <= took)
			taken += pieces[i].plain;
		else if (k->out)
			k->pieces[k->npieces++] = (struct tls_piece){(uint32_t)(before + pieces[i].end - took), pieces[i].plain};
	return taken;
}

/* A message of the peer's is to be read to its end first. As read_stopped. */
static int unblock(struct tls_sock *k)
{
	char buf[PEEK_MAX];
	int refills = 0, r;

	k->drained = false;
	r = read_stopped(k, buf, sizeof(buf), &refills);
	if (!settle(k))
		ends(k, -ENOMEM);
	more_is(k, true); /* what came in on the way is nothing that the sock below would show */
	return r;
}

static ssize_t tls_writev(struct sock *s, const struct iovec *iov, int n)
{
	struct tls_sock *k = tls_of(s);
	struct tls_piece pieces[TLS_PIECES];
	size_t taken, all = 0;
	int r = 1;

	if (k->closed)
		return -EBADF;
	if (k->phase != TLS_OPEN || (k->ended && k->end < 0))
		return k->ended ? k->end : -EAGAIN;
	bool whole = k->held || out_flush(k);
	if (k->write_err)
		return write_failed(k);
	for (int i = 0; i < n; i++)
		all += iov[i].iov_len;
	taken = k->done < all ? k->done : all;
	k->done -= taken;
	k->write_waits_for_read = false;
	while (whole && taken < all && r > 0) {
		uint32_t count = encrypt(k, iov, n, taken, all, pieces);
		if (count)
			taken += ship(k, pieces, count);
		else
			r = unblock(k);
		whole = !k->out || k->held;
		if (k->ended && k->end < 0)
			r = k->end;
		else if (k->write_err)
			r = taken ? 0 : write_failed(k);
		else if (r == 0)
			r = -EPIPE;
	}
	k->write_waits_for_read = r == -EAGAIN;
	if (r < 0 && r != -EAGAIN && taken == 0)
		return r;
	want_below(k);
	return taken || all == 0 ? (ssize_t)taken : -EAGAIN;
}

/* ---- events of the sock below ---------------------------------------------------------------------------------------------------------------- */

static void below_connected(void *user, int err)
{
	struct tls_sock *k = user;

	if (err)
		shake_failed(k, err);
	else if (k->started)
		shake(k, true);
}

static void below_readable(void *user)
{
	struct tls_sock *k = user;
	bool write = k->write_waits_for_read;

	if (k->phase == TLS_SHAKING) {
		if (k->started)
			shake(k, true);
		return;
	}
	if (k->phase == TLS_OPEN && k->s.want_read)
		k->s.ev->readable(k->s.user);
	if (write && !k->closed && k->s.want_write) {
		k->write_waits_for_read = false;
		k->s.ev->writable(k->s.user);
		want_below(k);
	}
}

static void below_writable(void *user)
{
	struct tls_sock *k = user;

	if (k->phase != TLS_OVER && !has_pieces(k))
		out_flush(k);
	if (k->phase == TLS_SHAKING && k->write_err) {
		shake(k, true); /* reads why, if the peer has said it */
		return;
	}
	if (k->phase == TLS_OPEN && k->s.want_write)
		k->s.ev->writable(k->s.user);
	want_below(k);
}

static const struct sock_events below_events = {.connected = below_connected, .readable = below_readable, .writable = below_writable};

/* ---- the beginning and the end ----------------------------------------------------------------------------------------------------------------- */

static void tls_bury(struct grave *g)
{
	struct tls_sock *k = container_of(g, struct tls_sock, grave);

	free(k->server_name);
	free(k);
}

/* OpenSSL's side and what is charged; the context last, for the library hangs on it. */
static void tls_drop(struct tls_sock *k)
{
	struct tls_lib *o = k->context->lib;

	if (k->ssl)
		o->SSL_free(k->ssl);
	o->ERR_clear_error();
	k->ssl = NULL;
	if (--o->wide_users == 0) {
		o->BUF_MEM_free(o->wide);
		o->wide = NULL;
	}
	if (k->in)
		in_free(k);
	if (k->out)
		out_free(k);
	tls_told_free(k);
	mem_give(k->account, TLS_COST);
	tls_context_unref(&k->context);
	sock_close(&k->under);
}

static void tls_close(struct sock *s)
{
	struct tls_sock *k = tls_of(s);
	const struct tls_lib *o;

	if (k->closed)
		return;
	o = lib(k);
	if (k->phase == TLS_OPEN)
		stat_dec(&k->s.loop->stats, k->server ? STAT_TLS_CONNS_DOWN : STAT_TLS_CONNS_UP);
	if (k->phase == TLS_OPEN && !k->write_err && (!k->out || k->held) && !(k->ended && k->end < 0)) {
		clean(o);
		o->SSL_shutdown(k->ssl); /* close_notify, as far as the sock below takes it */
		push(k);
	}
	k->closed = true;
	loop_undefer(&k->start);
	loop_undefer(&k->retell);
	loop_clean(&k->release);
	/* However it ended, what HTTP/2 needs was framed by HTTP/2: OpenSSL shall not spoil the session that others may resume. */
	o->SSL_set_shutdown(k->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	tls_drop(k);
	loop_bury(s->loop, &k->grave, tls_bury);
}

static const struct sock_ops tls_ops = {.recv = tls_recv, .writev = tls_writev, .want = tls_want, .close = tls_close};

static bool say_name(struct tls_sock *k)
{
	size_t n = strlen(k->server_name);
	char sni[TLS_NAME_MAX + 1];

	if (!n || addr_is_ip(str_of(k->server_name)))
		return true;
	memcpy(sni, k->server_name, n + 1);
	if (n > 1 && sni[n - 1] == '.') /* RFC 6066 3: without a trailing dot */
		sni[n - 1] = 0;
	return lib(k)->SSL_ctrl(k->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, sni) == 1;
}

static bool ssl_make(struct tls_sock *k)
{
	const struct tls_lib *o = lib(k);

	k->ssl = o->SSL_new(k->context->ssl);
	k->rbio = o->BIO_new(o->BIO_s_mem());
	k->wbio = o->BIO_new(o->BIO_s_mem());
	if (!o->wide || !k->ssl || !k->rbio || !k->wbio || o->SSL_set_ex_data(k->ssl, 0, k) != 1) {
		o->BIO_free(k->rbio);
		o->BIO_free(k->wbio);
		return false;
	}
	o->SSL_set_bio(k->ssl, k->rbio, k->wbio);
	o->BIO_ctrl(k->wbio, BIO_C_SET_BUF_MEM, BIO_NOCLOSE, o->wide);
	feed_set(k, NULL, 0);
	if (k->server) {
		o->SSL_set_accept_state(k->ssl);
		return true;
	}
	o->SSL_set_connect_state(k->ssl);
	if (!say_name(k))
		return false;
	SSL_SESSION *again = tls_session_take(k->context, k->session_key, k->verify.now, &k->showed, &k->verify.ends);
	if (again) {
		o->SSL_set_session(k->ssl, again);
		o->SSL_SESSION_free(again);
	}
	return true;
}

static bool take_first(struct tls_sock *k, const void *first, size_t n)
{
	if (n == 0)
		return true;
	k->in = acct_alloc(k->account, n);
	if (!k->in)
		return false;
	memcpy(k->in, first, n);
	feed_set(k, k->in, n);
	return true;
}

static int make(struct loop *l, struct tls_context *c, struct sock *under_taken, const struct tls_peer *peer, const void *first, size_t n, struct account *a, const struct sock_events *ev,
	void *user, struct sock **ret)
{
	struct tls_lib *o = c->lib;

	if (!mem_try(a, TLS_COST)) {
		sock_close(&under_taken);
		return -ENOMEM;
	}
	struct tls_sock *k = xnew(struct tls_sock);
	k->s = (struct sock){.ops = &tls_ops, .ev = ev, .user = user, .loop = l, .fd = -1, .peer = under_taken->peer, .cred = under_taken->cred, .since_boot_ns = under_taken->since_boot_ns};
	k->under = under_taken;
	k->context = tls_context_ref(c);
	k->account = a;
	k->server = c->server;
	k->server_name = xstrdup(!c->server && peer->server_name ? peer->server_name : "");
	k->verify = (struct tls_verify){.context = c, .peer = *peer, .now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000), .ends = INT64_MAX, .why = k->why, .why_cap = sizeof(k->why)};
	k->session_key = c->server ? 0 : session_key_of(peer, &k->s.peer);
	if (o->wide_users++ == 0)
		o->wide = o->BUF_MEM_new();
	if (!ssl_make(k) || !take_first(k, first, n)) {
		tls_drop(k);
		free(k->server_name);
		free(k);
		return -ENOMEM;
	}
	sock_set(k->under, &below_events, k);
	want_below(k);
	loop_defer(l, &k->start, start); /* never connected() before the caller has its sock; a connect below that fails at once is told first */
	*ret = &k->s;
	return 0;
}

/* What is wanted of the peer can be looked up in a certificate. */
static bool peer_is_sound(const struct tls_context *c, const struct tls_peer *p)
{
	const char *name = p->check_name ? p->check_name : p->server_name;

	if (!p->want || p->want->names == TLS_NAMES_SERVER)
		return name && name[0] && strlen(name) <= TLS_NAME_MAX && !c->server;
	return true;
}

int tls_client(struct loop *l, struct tls_context *c, struct sock *under_taken, const struct tls_peer *peer, struct account *a, const struct sock_events *ev, void *user, struct sock **ret)
{
	if (c->server || !peer_is_sound(c, peer) || (peer->server_name && strlen(peer->server_name) > TLS_NAME_MAX)) {
		sock_close(&under_taken);
		return -EINVAL;
	}
	return make(l, c, under_taken, peer, NULL, 0, a, ev, user, ret);
}

int tls_server(struct loop *l, struct tls_context *c, struct sock *under_taken, const struct tls_peer *peer, const void *first, size_t n, struct account *a, const struct sock_events *ev,
	void *user, struct sock **ret)
{
	if (!c->server || !peer_is_sound(c, peer)) {
		sock_close(&under_taken);
		return -EINVAL;
	}
	return make(l, c, under_taken, peer, first, n, a, ev, user, ret);
}

/* ---- looking -------------------------------------------------------------------------------------------------------------------------------------- */

struct tls_verify *tls_verify_of(const struct tls_lib *o, SSL *ssl)
{
	struct tls_sock *k = o->SSL_get_ex_data(ssl, 0);

	return &k->verify;
}
