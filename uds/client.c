/* uds/client: see uds/client.h. */
#include "uds/client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whoever has been let in by a process that goes may make his first call. */
#define FIRST_CALL_NS UINT64_C(1000000000)

static void client_bury(struct grave *g)
{
	free(container_of(g, struct uds_client, grave));
}

static void client_gone(struct uds_client *c)
{
	if (c->gone)
		return;
	c->gone = true;
	struct loop *l = uds_listener_loop(c->listener);
	timer_cancel(l, &c->timer);
	sock_close(&c->sock);
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

/* "PRI" begins the HTTP/2 preface and no HTTP/1 request. Fewer bytes that agree so far: wait for more. */
static void client_sniffed(struct uds_client *c, const char *p, size_t n)
{
	struct loop *l = uds_listener_loop(c->listener);
	size_t cmp = n < 3 ? n : 3;
	bool h2 = memcmp(p, "PRI", cmp) == 0;
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

static void client_readable(void *user)
{
	struct uds_client *c = user;
	struct loop *l = uds_listener_loop(c->listener);
	if (c->gone || !c->sock)
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
	stat_inc(&uds_listener_loop(c->listener)->stats, STAT_PREFACE_TIME);
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

const struct sock_cred *uds_client_cred(const struct uds_client *c) { return &c->cred; }
struct uds_listener *uds_client_listener(const struct uds_client *c) { return c->listener; }
const struct sock *uds_client_peer(const struct uds_client *c) { return c->peer; }

bool uds_client_carries(const struct uds_client *c) { return c->carries; }
void uds_client_carry(struct uds_client *c) { c->carries = true; }

bool uds_client_is_h1(const struct uds_client *c) { return c->h1 != NULL; }
