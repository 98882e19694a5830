/* net/dial: see dial.h.
 *
 *   struct dial: owned by its caller until fn is called: (waiting for secrets ->) trying -> over.
 *   struct attempt: one address of it: connecting -> (TLS handshake ->) waiting for SETTINGS -> won or lost.
 *
 * The addresses are tried in the order of RFC 8305 4: families in turn, IPv6 first; the next one 250 ms after the last, or at once when one
 * failed. An attempt has won when the peer's SETTINGS came, not when TCP was connected: a balancer in front of a dead server connects, too.
 * With TLS that is also when the peer has accepted us: in TLS 1.3 it judges our certificate after our side of the handshake is done.
 * What TLS found wrong lies in the sock, which goes first: it is copied into the dial, whose fn is told at the end of all attempts.
 * When the roots change under way, what was begun by the old ones is begun again: nobody else would drain it.
 * Connections belong to the dial until then, and get their owner when they win. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/dial.h"

enum { ADDRS_MAX = 16, WHY_MAX = 600 };
static const uint64_t stagger_ns = UINT64_C(250) * 1000000;

struct attempt {
	struct dial *dial;
	struct sock *sock;        /* owned until it is handed to conn */
	struct h2_conn *conn;     /* owned until it wins, loses or closes */
	struct sock *tls;         /* borrowed: sock, then conn's, where it speaks TLS */
	struct transport_meeting *meeting; /* NULL: plaintext, or not there yet */
	bool open, shaking;
};
struct dial {
	struct loop *loop;
	const struct limits *limits;
	struct account *account;
	struct transport *transport; /* a ref; NULL: plaintext */
	struct transport_watch watch;
	struct transport_asker asker;
	char *host_name;
	const struct h2_client_events *ev;
	void *owner;
	void (*fn)(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why);
	struct timer deadline, stagger;
	struct task failed;       /* nothing is left to be tried: told later, for it may be so inside dial_start */
	struct grave grave;
	int err;                  /* of the attempt that failed last */
	const char *why;          /* static, or why_text */
	char why_text[WHY_MAX];
	bool over, waiting;       /* waiting: a secret has not come yet */
	size_t count, next;
	struct addr addrs[ADDRS_MAX];
	struct attempt attempts[ADDRS_MAX];
};

static const char *why_of(int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "connection refused";
	case -ETIMEDOUT:
	case ERR_TIMEOUT:
		return "connection timeout";
	case -ECONNRESET:
		return "connection reset";
	case -ENOENT:
		return "no such socket";
	case -EACCES:
	case -EPERM:
		return "permission denied";
	case -EAGAIN:
		return "the backlog of the socket is full";
	case -ENETUNREACH:
	case -EHOSTUNREACH:
	case -EADDRNOTAVAIL:
	case -EAFNOSUPPORT:
		return "no route to host";
	case -EMFILE:
	case -ENFILE:
		return "no file descriptor left";
	case -ENOMEM:
	case -ENOBUFS:
		return "out of memory";
	default:
		return "connection failed";
	}
}

/* ---- ends -------------------------------------------------------------------------------------------------------------------------- */

static void silent(void *owner)
{
	(void)owner;
}

static void nothing_yet(void *user)
{
	(void)user;
}

static void silent_closed(void *owner, int err, uint64_t streams_carried)
{
	(void)owner, (void)err, (void)streams_carried;
}

static void attempt_drop(struct attempt *a)
{
	static const struct h2_client_events nobody = {.on_up = silent, .on_room = silent, .on_goaway = silent, .on_closed = silent_closed};
	struct h2_conn *conn = a->conn;

	a->open = a->shaking = false;
	sock_close(&a->sock);
	a->conn = NULL;
	a->tls = NULL;
	if (conn) {
		h2_conn_set_owner(conn, &nobody, NULL);
		h2_conn_close(conn, H2_NO_ERROR);
	}
}

static void dial_bury(struct grave *g)
{
	struct dial *d = container_of(g, struct dial, grave);

	for (size_t i = 0; i < d->count; i++)
		free(d->attempts[i].meeting);
	free(d->host_name);
	transport_unref(&d->transport);
	free(d);
}

static void dial_end(struct dial *d)
{
	d->over = true;
	timer_cancel(d->loop, &d->deadline);
	timer_cancel(d->loop, &d->stagger);
	loop_undefer(&d->failed);
	for (size_t i = 0; i < d->next; i++)
		attempt_drop(&d->attempts[i]);
	if (d->transport)
		transport_unwatch(&d->watch);
	loop_bury(d->loop, &d->grave, dial_bury);
}

static void dial_fail(struct dial *d, int err, const char *why)
{
	dial_end(d);
	d->fn(d->owner, d, NULL, err, why);
}

void dial_cancel(struct dial **d)
{
	if (!*d)
		return;
	dial_end(*d);
	*d = NULL;
}

/* ---- attempts ------------------------------------------------------------------------------------------------------------------------ */

static void try_next(struct dial *d);

static void stagger_due(struct timer *t)
{
	try_next(container_of(t, struct dial, stagger));
}

static void failed_told(struct task *t)
{
	struct dial *d = container_of(t, struct dial, failed);

	dial_fail(d, d->err, d->why);
}

static size_t attempts_open(const struct dial *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->next; i++)
		n += d->attempts[i].open;
	return n;
}

/* What the caller is told when it was the last: the text is copied where it will not last. */
static void why_is(struct dial *d, int err, const char *text)
{
	d->err = err;
	snprintf(d->why_text, sizeof(d->why_text), "%s", text);
	d->why = d->why_text;
}

static void attempt_failed(struct attempt *a, int err, const char *why)
{
	struct dial *d = a->dial;
	const char *known = a->tls ? tls_why(a->tls) : "";

	d->err = err;
	d->why = why;
	if (known[0]) /* it knows better than the floors above it */
		why_is(d, err, known);
	if (a->tls && (known[0] || a->shaking)) {
		transport_failed(d->transport, &d->addrs[a - d->attempts], &d->asker, d->why);
		transport_count(d->loop, a->tls, err);
	}
	attempt_drop(a);
	if (d->next < d->count)
		try_next(d);
	else if (attempts_open(d) == 0)
		loop_defer(d->loop, &d->failed, failed_told);
}

static void conn_up(void *owner)
{
	struct attempt *a = owner;
	struct dial *d = a->dial;
	struct h2_conn *won = a->conn;

	a->conn = NULL;
	if (d->transport)
		transport_succeeded(d->transport);
	h2_conn_set_owner(won, d->ev, d->owner);
	dial_end(d);
	d->fn(d->owner, d, won, 0, NULL);
}

static void conn_goaway(void *owner)
{
	struct attempt *a = owner;

	attempt_failed(a, ERR_REFUSED, "GOAWAY instead of SETTINGS");
}

static void conn_closed(void *owner, int err, uint64_t streams_carried)
{
	struct attempt *a = owner;

	(void)streams_carried;
	a->conn = NULL;
	/* 0: the peer neither closed nor failed, so we ended it for what it sent. */
	if (err == 0 || err == ERR_MALFORMED)
		attempt_failed(a, ERR_MALFORMED, "the peer does not speak HTTP/2");
	else
		attempt_failed(a, err, a->dial->transport ? "closed before SETTINGS" : "closed before SETTINGS (does it want TLS?)");
}

static void speak(struct attempt *a)
{
	static const struct h2_client_events events = {.on_up = conn_up, .on_room = silent, .on_goaway = conn_goaway, .on_closed = conn_closed};
	struct dial *d = a->dial;
	struct sock *taken = a->sock;

	a->sock = NULL;
	a->conn = h2_conn_client(d->loop, taken, d->limits, d->account, &events, a);
	if (!a->conn)
		attempt_failed(a, -ENOMEM, "the memory limit is reached");
	else if (d->next < d->count) /* it deserves its time for SETTINGS before another connection is opened */
		timer_in(d->loop, &d->stagger, stagger_ns, stagger_due);
}

static void tls_connected(void *user, int err)
{
	struct attempt *a = user;

	if (err) {
		attempt_failed(a, err, why_of(err));
		return;
	}
	a->shaking = false;
	transport_count(a->dial->loop, a->tls, 0);
	speak(a);
}

static void shake(struct attempt *a)
{
	static const struct sock_events events = {.connected = tls_connected, .readable = nothing_yet, .writable = nothing_yet};
	struct dial *d = a->dial;
	struct sock *taken = a->sock;
	const char *why;
	int r;
	struct tls_context *c = transport_context(d->transport, &r, &why);

	if (!c) { /* what was there when it began is there no more: memory */
		attempt_failed(a, r, why);
		return;
	}
	if (!a->meeting)
		a->meeting = xnew(struct transport_meeting);
	if (!transport_meet(d->transport, d->host_name, &d->addrs[a - d->attempts], a->meeting)) {
		attempt_failed(a, -EINVAL, "no name to verify the peer by");
		return;
	}
	a->sock = NULL;
	r = tls_client(d->loop, c, taken, &a->meeting->peer, d->account, &events, a, &a->sock);
	if (r < 0) {
		attempt_failed(a, r, r == -ENOMEM ? "the memory limit is reached" : "no name to verify the peer by");
		return;
	}
	a->tls = a->sock;
	a->shaking = true;
	if (d->next < d->count) /* it deserves its time for the handshake, too */
		timer_in(d->loop, &d->stagger, stagger_ns, stagger_due);
}

static void sock_connected(void *user, int err)
{
	struct attempt *a = user;

	if (err)
		attempt_failed(a, err, why_of(err));
	else if (a->dial->transport)
		shake(a);
	else
		speak(a);
}

static void try_next(struct dial *d)
{
	static const struct sock_events events = {.connected = sock_connected, .readable = nothing_yet, .writable = nothing_yet};

	while (d->next < d->count) {
		struct attempt *a = &d->attempts[d->next];
		const struct addr *to = &d->addrs[d->next++];
		int r;
		a->dial = d;
		r = sock_connect(d->loop, to, &events, a, &a->sock);
		if (r == 0) {
			a->open = true;
			if (d->next < d->count)
				timer_in(d->loop, &d->stagger, stagger_ns, stagger_due);
			return;
		}
		d->err = r;
		d->why = why_of(r);
	}
	timer_cancel(d->loop, &d->stagger);
	if (attempts_open(d) == 0)
		loop_defer(d->loop, &d->failed, failed_told);
}

/* What the handshake still waits for is told as what it waits for. */
static void deadline_due(struct timer *t)
{
	struct dial *d = container_of(t, struct dial, deadline);
	const char *why = "connection timeout";
	int r = 0;

	if (d->waiting)
		transport_context(d->transport, &r, &why);
	for (size_t i = 0; i < d->next; i++) {
		struct attempt *a = &d->attempts[i];
		if (a->conn) {
			why = "no SETTINGS from the peer";
		} else if (a->shaking) {
			why = "the peer does not finish the TLS handshake";
			transport_count(d->loop, a->tls, ERR_TIMEOUT);
			transport_failed(d->transport, &d->addrs[i], &d->asker, why);
		}
	}
	if (d->waiting)
		transport_count(d->loop, NULL, -ENOKEY);
	dial_fail(d, ERR_TIMEOUT, why);
}

/* ---- secrets ------------------------------------------------------------------------------------------------------------------------ */

/* Begins when certificate and roots are there; what cannot be had fails at once. */
static void begin(struct dial *d)
{
	const char *why;
	int r = 0;

	if (d->transport && !transport_context(d->transport, &r, &why)) {
		d->waiting = r == -EAGAIN;
		if (d->waiting)
			return;
		transport_count(d->loop, NULL, r);
		why_is(d, r, why);
		loop_defer(d->loop, &d->failed, failed_told);
		return;
	}
	d->waiting = false;
	try_next(d);
}

static void transport_changed(struct transport_watch *w, bool drain)
{
	struct dial *d = container_of(w, struct dial, watch);

	if (d->failed.queued)
		return;
	if (d->waiting) {
		begin(d);
		return;
	}
	if (!drain)
		return;
	for (size_t i = 0; i < d->next; i++)
		attempt_drop(&d->attempts[i]);
	timer_cancel(d->loop, &d->stagger);
	d->next = 0;
	begin(d);
}

/* ---- the beginning --------------------------------------------------------------------------------------------------------------------- */

/* Families in turn, IPv6 first, each in the order given. */
static size_t in_order(const struct addr *from, size_t count, struct addr out[ADDRS_MAX])
{
	size_t at[2] = {0, 0}, n = 0;
	int family = 0; /* 0: IPv6, 1: the rest */

	while (n < ADDRS_MAX && (at[0] < count || at[1] < count)) {
		size_t *i = &at[family];
		while (*i < count && addr_is_v6(&from[*i]) != (family == 0))
			(*i)++;
		if (*i < count)
			out[n++] = from[(*i)++];
		family = !family;
	}
	return n;
}

int dial_start(struct loop *l, const struct dial_spec *spec, const struct h2_client_events *ev, void *owner,
	void (*fn)(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why), struct dial **ret)
{
	if (spec->count == 0)
		return -EINVAL;
	struct dial *d = xnew(struct dial);
	d->loop = l;
	d->limits = spec->limits;
	d->account = spec->account;
	d->transport = spec->transport ? transport_ref(spec->transport) : NULL;
	d->host_name = spec->host_name && spec->host_name[0] ? xstrdup(spec->host_name) : NULL;
	d->asker = spec->asker;
	d->ev = ev;
	d->owner = owner;
	d->fn = fn;
	d->count = in_order(spec->addrs, spec->count, d->addrs);
	timer_in(l, &d->deadline, spec->timeout_ns, deadline_due);
	*ret = d;
	if (d->transport)
		transport_watch(d->transport, &d->watch, transport_changed);
	begin(d);
	return 0;
}
