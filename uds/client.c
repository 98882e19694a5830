/* uds/client: see uds/client.h. */
#include "uds/client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whoever has been let in by a process that goes may make his first call. */
#define FIRST_CALL_NS UINT64_C(1000000000)

/* The first byte of every TLS connection: a record of type handshake. No method of HTTP begins so. */
enum { TLS_HANDSHAKE = 0x16 };

static void client_bury(struct grave *g)
{
	struct uds_client *c = container_of(g, struct uds_client, grave);
	if (c->tls && c->tls->identity)
		acct_free(c->tls->account, c->tls->identity);
	free(c->tls);
	free(c);
}

static void client_gone(struct uds_client *c)
{
	if (c->gone)
		return;
	c->gone = true;
	struct loop *l = uds_listener_loop(c->listener);
	timer_cancel(l, &c->timer);
	sock_close(&c->sock);
	if (c->tls)
		handshakes_left(uds_listener_handshakes(c->listener), c->tls);
	c->peer = NULL;
	list_del(&c->node);
	uds_listener_forget(c->listener, c);
	loop_bury(l, &c->grave, client_bury);
}

static void on_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct uds_client *c = owner;
	c->called = true;
	uds_listener_request(c->listener, c, s, head, fin, refuse);
}

static void on_closed(void *owner, int err)
{
	(void)err;
	struct uds_client *c = owner;
	c->h2 = NULL;
	c->h1 = NULL;
	c->peer = NULL;
	client_gone(c);
}

static const struct stream_server server_events = {on_request, on_closed};

/* A first line of three words whose last is no version of HTTP, "INVALID CONNECTION PREFACE": somebody who meant HTTP/2 or quite another
 * protocol, whom a text of HTTP/1 would not help (RFC 9113 3.4). Everything else that is wrong is told by HTTP/1 with 400. */
static bool greets_otherwise(const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n), *word = p;
	int words = 1;
	if (!end)
		return false;
	for (const char *at = p; at < end; at++)
		if (*at == ' ') {
			words++;
			word = at + 1;
		}
	return words == 3 && (end - word < 5 || memcmp(word, "HTTP/", 5) != 0);
}

/* "PRI" begins the HTTP/2 preface and no HTTP/1 request. Fewer bytes that agree so far: wait for more. What ALPN chose is what it is. */
static void client_sniffed(struct uds_client *c, const char *p, size_t n)
{
	struct loop *l = uds_listener_loop(c->listener);
	size_t cmp = n < 3 ? n : 3;
	const char *chosen = c->tls ? tls_alpn(c->sock) : "";
	bool h2 = *chosen ? strcmp(chosen, "http/1.1") != 0 : memcmp(p, "PRI", cmp) == 0;
	if (h2 && n < 3) {
		memcpy(c->seen, p, n);
		c->nseen = (uint32_t)n;
		return;
	}
	if (!h2 && greets_otherwise(p, n)) {
		stat_inc(&l->stats, STAT_H2_PROTOCOL_ERRORS);
		client_gone(c);
		return;
	}
	/* Here and not where it is accepted: many that wait for their first bytes cost little, and become what costs all at once. */
	if (uds_listener_spares(c->listener)) {
		stat_inc(&l->stats, STAT_CONNS_REFUSED_MEMORY);
		client_gone(c);
		return;
	}
	timer_cancel(l, &c->timer);
	struct sock *s = c->sock;
	c->sock = NULL;
	if (h2)
		c->h2 = h2_conn_server(l, s, uds_listener_limits(c->listener), uds_listener_account(c->listener), &server_events, c, p, n);
	else
		c->h1 = h1_conn_server(l, s, uds_listener_limits(c->listener), uds_listener_account(c->listener), &server_events, c, p, n);
	if (!c->h2 && !c->h1) {
		stat_inc(&l->stats, STAT_MEMORY_SOFT);
		client_gone(c);
	} else if (c->draining) {
		uds_client_drain(c, true);
	} else if (c->leaving) {
		uds_client_leave(c);
	}
}

/* ---- TLS: what comes before ---- */

static void client_hello(struct uds_client *c)
{
	c->tls = xnew(struct uds_tls);
	c->tls->client = c;
	sock_want(c->sock, false, false);
	handshakes_add(uds_listener_handshakes(c->listener), c->tls);
}

/* The one byte that tells, and no more: the rest stays with the kernel until it is this connection's turn. True: plaintext that is let in. */
static bool client_first_byte(struct uds_client *c, struct handshakes *h)
{
	ssize_t n = sock_recv(c->sock, c->seen, 1);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		client_gone(c);
		return false;
	}
	c->nseen = 1;
	if (c->seen[0] == TLS_HANDSHAKE) {
		client_hello(c);
		return false;
	}
	if (!h->permissive) { /* not a word: whoever scans learns nothing */
		h->refused++;
		stat_inc(&uds_listener_loop(c->listener)->stats, STAT_INBOUND_PLAINTEXT_REFUSED);
		client_gone(c);
		return false;
	}
	c->plain = true;
	return true;
}

static const struct sock_events client_sock_events, client_tls_events;

static void client_timer(struct timer *t);

void uds_client_shake(struct uds_client *c, struct tls_context *context)
{
	struct sock *under = c->sock;
	struct addr peer = under->peer;
	c->sock = c->peer = NULL;
	int rc = tls_server(uds_listener_loop(c->listener), context, under, &c->tls->peer, c->seen, c->nseen, uds_listener_account(c->listener), &client_tls_events, c, &c->sock);
	if (rc < 0) {
		handshakes_failed(uds_listener_handshakes(c->listener), c->tls, &peer, err_text(rc));
		client_gone(c);
		return;
	}
	c->nseen = 0;
	c->peer = c->sock;
}

/* Texts of the certificate, in one block: a caller has as many names as its CA likes. NULL with false: the account says no. */
static bool client_know(struct uds_client *c)
{
	const struct sock *s = c->sock;
	struct account *a = uds_listener_account(c->listener);
	uint32_t nuris = tls_peer_uris(s);
	size_t size = sizeof(struct uds_identity) + nuris * sizeof(char *), own_n = strlen(tls_own_uri(s)) + 1, hash_n = strlen(tls_peer_hash(s)) + 1, subject_n = strlen(tls_peer_subject(s)) + 1;
	size_t texts = own_n + hash_n + subject_n;
	const char *from = tls_peer_uri(s), *end = from; /* one behind the other */
	for (uint32_t i = 0; i < nuris; i++)
		end += strlen(end) + 1;
	texts += (size_t)(end - from);
	struct uds_identity *id = acct_alloc(a, size + texts);
	if (!id)
		return false;
	const char **uris = (const char **)(id + 1);
	char *at = (char *)id + size;
	*id = (struct uds_identity){.own_uri = at, .hash = at + own_n, .subject = at + own_n + hash_n, .uris = uris, .nuris = nuris};
	memcpy(at, tls_own_uri(s), own_n);
	memcpy(at + own_n, tls_peer_hash(s), hash_n);
	memcpy(at + own_n + hash_n, tls_peer_subject(s), subject_n);
	at += own_n + hash_n + subject_n;
	memcpy(at, from, (size_t)(end - from));
	for (uint32_t i = 0; i < nuris; i++, at += strlen(at) + 1)
		uris[i] = at;
	c->tls->identity = id;
	c->tls->account = a;
	return true;
}

/* A chain that nobody verified says nothing about who it is. */
static bool client_was_verified(const struct uds_client *c)
{
	return *tls_peer_hash(c->sock) && transport_want(c->tls->transport)->roots.from != SECRET_NOWHERE;
}

/* A certificate came and there is no memory to say of whom: nobody comes in as somebody less than he is. */
static bool client_is_told(const struct uds_client *c)
{
	return *tls_peer_hash(c->sock) || strcmp(tls_kind(c->sock), "mtls") != 0;
}

static void client_up(struct uds_client *c)
{
	struct loop *l = uds_listener_loop(c->listener);
	struct handshakes *h = uds_listener_handshakes(c->listener);
	h->done++;
	stat_inc(&l->stats, STAT_INBOUND_TLS_HANDSHAKES);
	transport_succeeded(c->tls->transport);
	if (!client_is_told(c) || (client_was_verified(c) && !client_know(c))) {
		stat_inc(&l->stats, STAT_MEMORY_HARD);
		client_gone(c);
		return;
	}
	handshakes_left(h, c->tls);
	c->tls->state = UDS_TLS_UP;
	sock_set(c->sock, &client_sock_events, c);
	sock_want(c->sock, true, false);
	timer_in(l, &c->timer, uds_listener_limits(c->listener)->preface_time_ns, client_timer); /* for the first bytes inside */
}

static void client_connected(void *user, int err)
{
	struct uds_client *c = user;
	if (c->gone)
		return;
	if (err == 0) {
		client_up(c);
		return;
	}
	const char *why = tls_why(c->sock);
	handshakes_failed(uds_listener_handshakes(c->listener), c->tls, &c->sock->peer, *why ? why : err_text(err));
	client_gone(c);
}

static void client_silent(void *user)
{
	(void)user;
}

static const struct sock_events client_tls_events = {client_connected, client_silent, client_silent};

static void client_readable(void *user)
{
	struct uds_client *c = user;
	struct loop *l = uds_listener_loop(c->listener);
	if (c->gone || !c->sock)
		return;
	struct handshakes *h = uds_listener_handshakes(c->listener);
	if (h->transport && !c->plain && !c->tls && !client_first_byte(c, h))
		return;
	/* The read chunk and not the scratch: what follows may use the scratch. */
	struct chunk *chunk = chunk_new(&l->bufs, &l->memory, LOOP_READ_MAX);
	if (!chunk) {
		stat_inc(&l->stats, STAT_MEMORY_HARD);
		client_gone(c);
		return;
	}
	memcpy(chunk->data, c->seen, c->nseen);
	ssize_t n = sock_recv(c->sock, chunk->data + c->nseen, chunk->cap - c->nseen);
	if (n > 0)
		client_sniffed(c, chunk->data, (size_t)n + c->nseen);
	else if (n != -EAGAIN)
		client_gone(c);
	chunk_unref(chunk);
}

static void client_timer(struct timer *t)
{
	struct uds_client *c = container_of(t, struct uds_client, timer);
	struct handshakes *h = uds_listener_handshakes(c->listener);
	stat_inc(&uds_listener_loop(c->listener)->stats, STAT_PREFACE_TIME);
	if (c->tls && c->tls->state != UDS_TLS_UP)
		handshakes_failed(h, c->tls, &c->sock->peer, handshakes_waits_for(h, c->tls));
	client_gone(c);
}

static const struct sock_events client_sock_events = {.readable = client_readable};

struct uds_client *uds_client_new(struct uds_listener *l, struct sock *taken)
{
	struct uds_client *c = xnew(struct uds_client);
	c->listener = l;
	c->sock = c->peer = taken;
	c->cred = taken->cred;
	sock_set(taken, &client_sock_events, c);
	sock_want(taken, true, false);
	timer_in(uds_listener_loop(l), &c->timer, uds_listener_limits(l)->preface_time_ns, client_timer);
	return c;
}

void uds_client_drain(struct uds_client *c, bool goaway)
{
	if (c->sock && !goaway)
		return;
	c->draining = true;
	if (c->h1)
		h1_conn_drain(c->h1);
	else if (c->h2 && goaway)
		h2_conn_drain(c->h2);
	else if (c->sock)
		client_gone(c);
}

static void client_leaves(struct timer *t)
{
	struct uds_client *c = container_of(t, struct uds_client, timer);
	uds_client_drain(c, true);
}

/* Somebody who has connected and whose first call is on its way would take a connection that is closed, or says GOAWAY before it has carried anything, for a provider that is down. */
void uds_client_leave(struct uds_client *c)
{
	if (c->sock)
		c->leaving = true; /* its timer is that of the preface */
	else if (!c->called && timer_armed(&c->timer))
		return; /* told so already */
	else if (!c->called)
		timer_in(uds_listener_loop(c->listener), &c->timer, FIRST_CALL_NS, client_leaves);
	else
		uds_client_drain(c, true);
}

void uds_client_close(struct uds_client *c)
{
	if (c->h1)
		h1_conn_close(c->h1);
	else if (c->h2)
		h2_conn_close(c->h2, 0);
	else
		client_gone(c);
}

const struct uds_identity *uds_client_identity(const struct uds_client *c) { return c->tls ? c->tls->identity : NULL; }
const struct sock_cred *uds_client_cred(const struct uds_client *c) { return &c->cred; }
const struct sock *uds_client_peer(const struct uds_client *c) { return c->peer; }

bool uds_client_carries(const struct uds_client *c) { return c->carries; }
void uds_client_carry(struct uds_client *c) { c->carries = true; }

bool uds_client_is_h1(const struct uds_client *c) { return c->h1 != NULL; }
bool uds_client_was_sent_off(const struct uds_client *c) { return c->h2 && c->draining; }
