/* net/tls_session: what servers gave us to come back with. Kept as they come: serialised they would be smaller, but OpenSSL takes as long to parse
 * a certificate as half of a handshake does that needs none. Bounded by TLS_SESSIONS a context, the oldest goes.
 * A session is found by the rules that its peer was judged by (tls_peer.hash, names), its name and its address: tickets of one replica mean nothing to another.
 * TLS 1.3 tickets are used once (RFC 8446 C.4: who sees two uses of one knows that it is the same client), those of TLS 1.2 again and again. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "net/tls_int.h"

static struct list *list_of(struct tls_context *c, uint64_t key)
{
	return &c->sessions[key % TLS_SESSION_LISTS];
}

void tls_session_begin(struct tls_context *c)
{
	list_init(&c->by_age);
	for (size_t i = 0; i < TLS_SESSION_LISTS; i++)
		list_init(&c->sessions[i]);
}

static void session_free(struct tls_context *c, struct tls_session *s)
{
	list_del(&s->node);
	list_del(&s->by_age);
	c->nsessions--;
	c->lib->SSL_SESSION_free(s->session);
	free(s);
}

void tls_session_forget(struct tls_context *c, uint64_t key)
{
	list_each(at, next, key ? list_of(c, key) : &c->by_age) {
		struct tls_session *s = key ? list_entry(at, struct tls_session, node) : list_entry(at, struct tls_session, by_age);
		if (s->key == key || !key)
			session_free(c, s);
	}
}

/* Room for one more of that key; the oldest of all goes where there are too many. */
static void make_room(struct tls_context *c, uint64_t key, uint32_t each)
{
	struct list *those = list_of(c, key);
	uint32_t have = 0;

	for (struct list *at = those->prev, *before; at != those; at = before) { /* the newest first */
		struct tls_session *s = list_entry(at, struct tls_session, node);
		before = at->prev;
		if (s->key == key && ++have >= each)
			session_free(c, s);
	}
	if (c->nsessions == TLS_SESSIONS)
		session_free(c, list_entry(c->by_age.next, struct tls_session, by_age));
}

void tls_session_keep(struct tls_context *c, uint64_t key, bool showed, SSL_SESSION *session, const struct tls_verify *v)
{
	const struct tls_lib *o = c->lib;
	const X509 *peer = o->SSL_SESSION_get0_peer(session);
	const unsigned char *ticket;
	size_t n = 0;

	o->SSL_SESSION_get0_ticket(session, &ticket, &n);
	if (n > TLS_TICKET_MAX || !peer || !o->SSL_SESSION_is_resumable(session))
		return;
	bool once = o->SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
	int64_t ends = tls_time(o, o->X509_get0_notAfter(peer));
	if (ends > v->ends)
		ends = v->ends;
	if (!c->expired_ok && ends < v->now)
		return;
	make_room(c, key, once ? TLS_SESSIONS_EACH : 1);
	struct tls_session *s = xnew(struct tls_session);
	s->key = key;
	s->ends = c->expired_ok ? INT64_MAX : ends;
	s->once = once;
	s->showed = showed;
	o->SSL_SESSION_up_ref(session);
	s->session = session;
	list_push(list_of(c, key), &s->node);
	list_push(&c->by_age, &s->by_age);
	c->nsessions++;
}

/* A resumed handshake shows no certificate, so that one which has ended meanwhile would be refused only when it is done: without a session it is told like any other. */
SSL_SESSION *tls_session_take(struct tls_context *c, uint64_t key, int64_t now, bool *ret_showed, int64_t *ret_ends)
{
	struct list *those = list_of(c, key);

	for (struct list *at = those->prev, *before; at != those; at = before) {
		struct tls_session *s = list_entry(at, struct tls_session, node);
		before = at->prev;
		if (s->key != key)
			continue;
		SSL_SESSION *session = s->ends >= now ? s->session : NULL;
		if (session) {
			c->lib->SSL_SESSION_up_ref(session);
			*ret_showed = s->showed;
			*ret_ends = s->ends;
		}
		if (!session || s->once)
			session_free(c, s);
		if (session)
			return session;
	}
	return NULL;
}
