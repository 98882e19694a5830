/* health/probe_tcp: can it be connected to; and where something is to be sent or received: does it take that, does it say this? See health/probe_int.h.
 *
 * What comes is only searched (health/payload); a peer that says other things counts as one that said nothing until the time is over, as with Envoy: the right bytes might still come. */
#include <errno.h>
#include "base/err.h"
#include "health/probe_int.h"

static void tcp_passed(struct probe *p)
{
	probe_finish(p, PROBE_PASSED, "%s", "");
}

/* False: it is over. */
static bool tcp_send(struct probe *p)
{
	const struct check_bytes *out = &p->check->send;

	while (p->sent < out->n) {
		struct iovec v = {out->p + p->sent, out->n - p->sent};
		ssize_t n = sock_writev(p->sock, &v, 1);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {
			probe_finish(p, PROBE_FAILED, "%s", "the connection was lost");
			return false;
		}
		p->sent += (size_t)n;
	}
	if (p->sent == out->n && payload_is_found(&p->receive)) {
		tcp_passed(p);
		return false;
	}
	sock_want(p->sock, true, p->sent < out->n);
	return true;
}

static void tcp_writable(void *user)
{
	struct probe *p = user;

	if (!p->over)
		(void)tcp_send(p);
}

static void tcp_readable(void *user)
{
	struct probe *p = user;
	struct chunk *chunk;
	char *bytes;

	if (p->over)
		return;
	ssize_t n = sock_read(p->sock, &chunk, &bytes);
	if (n == -EAGAIN)
		return;
	if (n == -ENOMEM) {
		probe_finish(p, PROBE_VOID, "%s", "no memory");
		return;
	}
	if (n <= 0) {
		probe_finish(p, PROBE_FAILED, "%s", n < 0 ? "the connection was lost" : p->body ? "it closed the connection and had said something else than what is expected" : "it closed the connection without a word");
		return;
	}
	p->body += (uint64_t)n;
	if (payload_feed(&p->receive, bytes, (size_t)n))
		tcp_passed(p);
	else if (p->body > PROBE_BODY_MAX)
		probe_finish(p, PROBE_BAD, "%s", "1 MiB came, and what is expected was not in it");
}

static void tcp_connected(struct probe *p, struct sock *taken)
{
	static const struct sock_events events = {.readable = tcp_readable, .writable = tcp_writable};

	p->sock = taken;
	sock_set(taken, &events, p);
	(void)tcp_send(p);
}

void probe_tcp_start(struct probe *p)
{
	if (payload_begin(&p->receive, p->check->receive, p->check->nreceive, p->account) < 0)
		probe_finish(p, PROBE_VOID, "%s", "no memory");
	else
		probe_connect(p, tcp_connected);
}
