/* health/probe_connect: one byte stream to the first of a probe's addresses that takes it: each 250 ms the next one is tried beside those before, at once where one failed (RFC 8305,
 * as net/dial does it for HTTP/2 where there are several). See health/probe_int.h. */
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "health/probe_int.h"

static const uint64_t stagger_ns = UINT64_C(250) * 1000000;

void probe_connect_end(struct probe *p)
{
	timer_cancel(p->loop, &p->stagger);
	for (uint32_t i = 0; i < p->next_way; i++)
		sock_close(&p->ways[i].sock);
}

static bool ways_open(const struct probe *p)
{
	for (uint32_t i = 0; i < p->next_way; i++)
		if (p->ways[i].sock)
			return true;
	return false;
}

static int try_next(struct probe *p);

/* why: what TLS found; NULL: as err says. It may lie in the sock, which outlives its closing by this turn. */
static void way_failed(struct probe_way *w, int err, const char *why)
{
	struct probe *p = w->probe;
	int r;

	sock_close(&w->sock);
	r = try_next(p);
	if (ways_open(p))
		return;
	if (r)
		probe_finish(p, probe_verdict_of(r), "%s", probe_text_of(r));
	else
		probe_finish(p, probe_verdict_of(err), "%s", why ? why : probe_text_of(err));
}

static void way_won(struct probe_way *w)
{
	struct probe *p = w->probe;
	struct sock *taken = w->sock;

	w->sock = NULL;
	probe_connect_end(p);
	p->got_sock(p, taken);
}

static void nothing(void *user)
{
	(void)user;
}

static const struct addr *way_addr(const struct probe_way *w)
{
	return &w->probe->addrs[w - w->probe->ways];
}

static void way_shaken(void *user, int err)
{
	struct probe_way *w = user;

	if (err) {
		way_failed(w, err, probe_tls_failed(w->probe, way_addr(w), w->sock, err));
		return;
	}
	probe_tls_passed(w->probe, w->sock);
	way_won(w);
}

static void way_connected(void *user, int err)
{
	static const struct sock_events shaking = {.connected = way_shaken, .readable = nothing, .writable = nothing};
	struct probe_way *w = user;
	const char *why = NULL;

	if (err == 0 && !w->probe->tls) {
		way_won(w);
		return;
	}
	if (err == 0)
		err = probe_tls_shake(w, way_addr(w), &shaking, &why);
	if (err)
		way_failed(w, err, why);
}

static void stagger_due(struct timer *t)
{
	(void)try_next(container_of(t, struct probe, stagger));
}

/* 0; a negative errno: of the last one, and there are no more. */
static int try_next(struct probe *p)
{
	static const struct sock_events events = {.connected = way_connected, .readable = nothing, .writable = nothing};
	int r = 0;

	timer_cancel(p->loop, &p->stagger);
	while (p->next_way < p->naddrs) {
		struct probe_way *w = &p->ways[p->next_way];

		free(w->meeting);
		*w = (struct probe_way){.probe = p};
		r = sock_connect(p->loop, &p->addrs[p->next_way++], &events, w, &w->sock);
		if (r == 0) {
			if (p->next_way < p->naddrs)
				timer_in(p->loop, &p->stagger, stagger_ns, stagger_due);
			return 0;
		}
		w->sock = NULL;
	}
	return r;
}

/* With TLS not before its secrets are there: who cannot show a certificate need not knock. */
static void connect_begin(struct probe *p)
{
	const char *why = NULL;
	int r = p->tls ? probe_tls_ready(p, connect_begin, &why) : 0;

	if (r == -EAGAIN)
		return;
	if (r == 0)
		r = p->naddrs ? try_next(p) : ERR_NAME;
	if (r < 0)
		probe_finish(p, why ? PROBE_FAILED : probe_verdict_of(r), "%s", why ? why : probe_text_of(r));
}

void probe_connect(struct probe *p, void (*got)(struct probe *p, struct sock *taken))
{
	p->got_sock = got;
	p->next_way = 0;
	connect_begin(p);
}
