/* health/probe_tls: TLS on a connection of a probe's own that is not net/dial's: raw TCP, HTTP/1.1, HTTP/2 that does not wait for SETTINGS. See health/probe_int.h.
 *
 *   probe_tls_ready (the secrets are there, or come) --> connect --> probe_tls_shake --connected--> probe_tls_passed | probe_tls_failed
 *
 * Sessions are kept by address, as net/dial keeps them: each provider has keys of its own for its tickets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "health/probe_int.h"

void probe_tls_begin(struct probe *p, const struct probe_spec *spec)
{
	if (!spec->transport)
		return;
	p->tls = xnew(struct probe_tls);
	p->tls->probe = p;
	p->tls->transport = transport_ref(spec->transport);
	p->tls->host = spec->tls_host && *spec->tls_host ? xstrdup(spec->tls_host) : NULL;
	p->tls->asker = spec->asker;
}

/* With the probe: the meetings are borrowed by handshakes that have ended by then. */
void probe_tls_end(struct probe *p)
{
	struct probe_tls *t = p->tls;

	p->tls = NULL;
	if (!t)
		return;
	for (uint32_t i = 0; i < p->naddrs; i++)
		free(p->ways[i].meeting);
	transport_unwatch(&t->watch);
	transport_unref(&t->transport);
	free(t->host);
	free(t);
}

static void secrets_changed(struct transport_watch *w, bool drain)
{
	struct probe_tls *t = container_of(w, struct probe_tls, watch);

	(void)drain;
	if (!t->probe->over)
		t->probe->secrets(t->probe);
}

int probe_tls_ready(struct probe *p, void (*then)(struct probe *p), const char **why)
{
	struct probe_tls *t = p->tls;
	int err = 0;

	if (transport_context(t->transport, &err, why)) {
		transport_unwatch(&t->watch);
		t->waits = NULL;
		return 0;
	}
	if (err != -EAGAIN) {
		transport_count(p->loop, NULL, err);
		return err;
	}
	snprintf(t->why, sizeof(t->why), "%s", *why);
	t->waits = t->why;
	p->secrets = then;
	if (!t->watch.transport)
		transport_watch(t->transport, &t->watch, secrets_changed);
	return -EAGAIN;
}

int probe_tls_shake(struct probe_way *w, const struct addr *at, const struct sock_events *ev, const char **why)
{
	struct probe *p = w->probe;
	struct sock *under = w->sock;
	int err = 0;
	struct tls_context *c = transport_context(p->tls->transport, &err, why);

	if (!c)
		return err;
	*why = "no name to verify the peer by";
	w->meeting = xnew(struct transport_meeting);
	if (!transport_meet(p->tls->transport, p->tls->host, at, w->meeting))
		return -EINVAL;
	w->sock = NULL;
	err = tls_client(p->loop, c, under, &w->meeting->peer, p->account, ev, w, &w->sock);
	if (err == -ENOMEM)
		*why = "no memory";
	return err;
}

void probe_tls_passed(struct probe *p, const struct sock *s)
{
	p->tls->sock = s;
	transport_count(p->loop, s, 0);
	transport_succeeded(p->tls->transport);
}

const char *probe_tls_failed(struct probe *p, const struct addr *at, const struct sock *s, int err)
{
	const char *why = s && tls_is(s) ? tls_why(s) : "";

	if (!*why)
		return NULL;
	transport_count(p->loop, s, err);
	transport_failed(p->tls->transport, at, &p->tls->asker, why);
	return why;
}
