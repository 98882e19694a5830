/* health/probe: a probe's life. See health/probe.h and, for what lies in which file, health/probe_int.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "health/probe_int.h"

/* ---- connections that are kept, and those that are not --------------------------------------------------------------------- */

static void conn_nothing(void *owner)
{
	(void)owner;
}

static void conn_gone(void *owner, int err, uint64_t streams_carried)
{
	(void)owner, (void)err, (void)streams_carried;
}

static void conn_drop(struct h2_conn **conn)
{
	static const struct h2_client_events nobody = {.on_up = conn_nothing, .on_room = conn_nothing, .on_goaway = conn_nothing, .on_closed = conn_gone};
	struct h2_conn *c = *conn;

	*conn = NULL;
	if (!c)
		return;
	h2_conn_set_owner(c, &nobody, NULL);
	h2_conn_abandon(c); /* an acknowledgement that is due is of no use to anybody now */
}

static void keep_goaway(void *owner)
{
	struct probe_keep *k = owner;

	conn_drop(&k->h2); /* no stream is on it: a probe takes it out of here while it uses it */
}

static void keep_closed(void *owner, int err, uint64_t streams_carried)
{
	struct probe_keep *k = owner;

	(void)err, (void)streams_carried;
	k->h2 = NULL;
}

/* Its connections were judged by roots that are trusted no more. */
static void keep_changed(struct transport_watch *w, bool drain)
{
	struct probe_keep *k = container_of(w, struct probe_keep, watch);

	if (!drain)
		return;
	conn_drop(&k->h2);
	h1_client_close(&k->h1);
}

/* Of names, only that which TLS asks for. */
static const char *name_that_matters(const struct transport *t, const char *host)
{
	return t && host && *host && transport_asks_host(t) ? host : NULL;
}

bool probe_keep_fits(const struct probe_keep *k, const struct probe_spec *spec)
{
	const char *host = name_that_matters(spec->transport, spec->tls_host);

	return k->transport == spec->transport && (host && k->tls_host ? strcmp(host, k->tls_host) == 0 : host == k->tls_host);
}

static struct probe_keep *keep_new(struct transport *t, const char *host)
{
	struct probe_keep *k = xnew(struct probe_keep);

	host = name_that_matters(t, host);
	k->tls_host = host ? xstrdup(host) : NULL;
	if (t) {
		k->transport = transport_ref(t);
		transport_watch(t, &k->watch, keep_changed);
	}
	return k;
}

void probe_keep_close(struct probe_keep **at)
{
	struct probe_keep *k = *at;

	*at = NULL;
	if (!k)
		return;
	conn_drop(&k->h2);
	h1_client_close(&k->h1);
	transport_unwatch(&k->watch);
	transport_unref(&k->transport);
	free(k->tls_host);
	free(k);
}

/* What a probe leaves behind for the next one. */
static void keep_put(struct probe *p)
{
	static const struct h2_client_events kept = {.on_up = conn_nothing, .on_room = conn_nothing, .on_goaway = keep_goaway, .on_closed = keep_closed};
	bool h2 = p->conn && h2_conn_room(p->conn) > 0, h1 = p->h1 && h1_client_is_open(p->h1);

	if (!p->fit || !p->keep || (!h2 && !h1))
		return;
	if (!*p->keep)
		*p->keep = keep_new(p->tls ? p->tls->transport : NULL, p->tls ? p->tls->host : NULL);
	if (h2 && !(*p->keep)->h2) {
		(*p->keep)->h2 = p->conn;
		h2_conn_set_owner(p->conn, &kept, *p->keep);
		p->conn = NULL;
	}
	if (h1 && !(*p->keep)->h1) {
		(*p->keep)->h1 = p->h1;
		p->h1 = NULL;
	}
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------ */

static void probe_bury(struct grave *g)
{
	struct probe *p = container_of(g, struct probe, grave);

	probe_tls_end(p);
	acct_free(p->account, p->host);
	acct_free(p->account, p);
}

static void probe_end(struct probe *p)
{
	p->over = true;
	timer_cancel(p->loop, &p->deadline);
	loop_undefer(&p->told);
	probe_watch_end(p);
	probe_connect_end(p);
	if (p->tls)
		transport_unwatch(&p->tls->watch);
	dial_cancel(&p->dial);
	grpc_call_cancel(&p->call);
	if (p->stream)
		stream_reset(p->stream, H2_CANCEL);
	p->stream = NULL;
	keep_put(p);
	conn_drop(&p->conn);
	h1_client_close(&p->h1);
	sock_close(&p->sock);
	proc_kill(&p->child);
	payload_end(&p->receive);
	acct_free(p->account, p->message);
	p->message = NULL;
	loop_bury(p->loop, &p->grave, probe_bury);
}

static void told(struct task *t)
{
	struct probe *p = container_of(t, struct probe, told);

	probe_end(p);
	p->done(p->user, p->verdict, p->why);
}

void probe_finish(struct probe *p, enum probe_verdict v, const char *fmt, ...)
{
	char why[PROBE_WHY];
	va_list args;

	if (p->over || p->told.queued)
		return;
	/* The text may lie in what ends here. */
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	memcpy(p->why, why, sizeof(why));
	p->verdict = v;
	if (p->starting)
		loop_defer(p->loop, &p->told, told);
	else
		told(&p->told);
}

void probe_cancel(struct probe **at)
{
	struct probe *p = *at;

	*at = NULL;
	if (p && !p->over)
		probe_end(p);
}

static void deadline_due(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, deadline);
	const char *secret = p->tls ? p->tls->waits : NULL;
	bool waiting = p->call || p->stream || p->h1 || p->sock || p->child;

	probe_finish(p, PROBE_FAILED, "%s within %llu ms", secret ? secret : !waiting ? "no connection" : p->early ? "no SETTINGS from the peer" : p->child ? "the program did not end" : "no answer", (unsigned long long)(p->check->timeout_ns / 1000000));
}

/* ---- connections ----------------------------------------------------------------------------------------------------------- */

enum probe_verdict probe_verdict_of(int err)
{
	switch (err) {
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -ENOBUFS:
		return PROBE_VOID; /* what we lack is not the peer's fault */
	case ERR_REFUSED:
		return PROBE_VOID; /* GOAWAY before the first SETTINGS: it is about to leave, and says so itself */
	case ERR_MALFORMED:
		return PROBE_BAD;
	default:
		return PROBE_FAILED;
	}
}

const char *probe_text_of(int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "connection refused";
	case -ENOENT:
		return "no such socket";
	case -ECONNRESET:
		return "connection reset";
	case -ETIMEDOUT:
		return "connection timeout";
	default:
		return err_text(err);
	}
}

static void own_goaway(void *owner)
{
	struct probe *p = owner;

	/* A call that is under way ends in its own way. A watch never ends: it would keep the server from leaving. */
	if (p->watch)
		probe_finish(p, PROBE_VOID, "%s", "it says GOAWAY");
}

static void own_up(void *owner)
{
	struct probe *p = owner;

	p->early = false;
}

static void own_closed(void *owner, int err, uint64_t streams_carried)
{
	struct probe *p = owner;

	(void)streams_carried;
	p->conn = NULL;
	if (p->got_sock) /* it has told what it had to; another one is on its way (UNIMPLEMENTED_CONNECTS) */
		return;
	if (p->early && p->tls) { /* in TLS 1.3 a peer refuses our certificate when our side of the handshake is done */
		const char *tls = probe_tls_failed(p, &p->addrs[0], p->tls->sock, err);

		if (tls) {
			probe_finish(p, PROBE_FAILED, "%s", tls);
			return;
		}
	}
	if (p->early && err == 0) /* the peer neither closed nor failed, so it was ended for what it sent */
		err = ERR_MALFORMED;
	if (p->early)
		probe_finish(p, probe_verdict_of(err), "%s", err == ERR_MALFORMED ? "the peer does not speak HTTP/2" : err == -ENOMEM ? "no memory" : p->tls ? "closed before SETTINGS" : "closed before SETTINGS (does it want TLS?)");
	else
		probe_finish(p, p->fresh ? PROBE_FAILED : PROBE_VOID, "%s", "the connection was lost");
}

static const struct h2_client_events own = {.on_up = own_up, .on_room = conn_nothing, .on_goaway = own_goaway, .on_closed = own_closed};

static void dialled(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	struct probe *p = owner;

	(void)d;
	p->dial = NULL;
	if (!conn) {
		probe_finish(p, probe_verdict_of(err), "%s", why);
		return;
	}
	p->conn = conn;
	p->fresh = true;
	p->up(p);
}

static void connected(struct probe *p, struct sock *taken)
{
	p->got_sock = NULL;
	p->fresh = true;
	p->conn = h2_conn_client(p->loop, taken, p->limits, p->account, &own, p);
	if (!p->conn) {
		probe_finish(p, PROBE_VOID, "%s", "no memory");
		return;
	}
	p->early = true;
	h2_conn_early(p->conn);
	p->up(p);
}

void probe_dial(struct probe *p, void (*up)(struct probe *p))
{
	struct probe_keep *k = p->keep && !p->watch ? *p->keep : NULL;
	struct dial_spec spec = {.addrs = p->addrs, .count = p->naddrs, .timeout_ns = p->check->timeout_ns, .limits = p->limits, .account = p->account,
		.transport = p->tls ? p->tls->transport : NULL, .host_name = p->tls ? p->tls->host : NULL};

	if (p->tls)
		spec.asker = p->tls->asker;
	int r;

	if (k && k->h2 && h2_conn_room(k->h2)) {
		p->conn = k->h2;
		k->h2 = NULL;
		h2_conn_set_owner(p->conn, &own, p);
		up(p);
		return;
	}
	p->up = up;
	/* One address, as nearly always: everything leaves in one write, without a round trip for the peer's SETTINGS. Of several the first one that speaks is wanted, and asked. */
	if (p->naddrs == 1 && !p->watch) {
		probe_connect(p, connected);
		return;
	}
	r = dial_start(p->loop, &spec, &own, p, dialled, &p->dial);
	if (r < 0)
		probe_finish(p, PROBE_FAILED, "%s", "it has no address");
}

/* ---- the beginning --------------------------------------------------------------------------------------------------------- */

static const char *host_of(const struct probe_spec *spec)
{
	const struct health_check *c = spec->check;
	const char *said = c->kind == CHECK_GRPC ? c->authority : c->host;

	if (spec->endpoint_host && *spec->endpoint_host)
		return spec->endpoint_host;
	return said && *said ? said : spec->host ? spec->host : "";
}

static struct probe *probe_new(const struct probe_spec *spec, probe_done_fn *done, void *user)
{
	uint32_t n = spec->naddrs < PROBE_ADDRS_MAX ? spec->naddrs : PROBE_ADDRS_MAX;
	size_t head = sizeof(struct probe) + n * sizeof(struct addr), size, host_n = strlen(host_of(spec)) + 1;
	struct probe *p;

	head = (head + 7) & ~(size_t)7;
	size = head + n * sizeof(struct probe_way);
	p = acct_alloc(spec->account, size);
	if (!p)
		return NULL;
	memset(p, 0, size);
	p->host = acct_alloc(spec->account, host_n);
	if (!p->host) {
		acct_free(spec->account, p);
		return NULL;
	}
	memcpy(p->host, host_of(spec), host_n);
	p->loop = spec->loop;
	p->limits = spec->limits;
	p->account = spec->account;
	p->check = spec->check;
	p->keep = spec->keep;
	p->done = done;
	p->user = user;
	p->naddrs = n;
	p->ways = (struct probe_way *)((char *)p + head);
	if (n)
		memcpy(p->addrs, spec->addrs, n * sizeof(struct addr));
	probe_tls_begin(p, spec);
	timer_in(p->loop, &p->deadline, p->check->timeout_ns, deadline_due);
	return p;
}

struct probe *probe_start(const struct probe_spec *spec, probe_done_fn *done, void *user)
{
	struct probe *p = probe_new(spec, done, user);

	if (!p)
		return NULL;
	p->starting = true;
	switch (p->check->kind) {
	case CHECK_HTTP:
		probe_http_start(p, spec->lent);
		break;
	case CHECK_GRPC:
		probe_grpc_start(p, spec->lent);
		break;
	case CHECK_TCP:
	case CHECK_UNIX:
		probe_tcp_start(p);
		break;
	case CHECK_EXEC:
		probe_exec_start(p);
		break;
	}
	p->starting = false;
	return p;
}

/* It stays for hours: on a connection whose peer is trusted still. */
static void roots_changed(struct transport_watch *w, bool drain)
{
	struct probe *p = container_of(w, struct probe_tls, watch)->probe;

	if (drain && !p->over)
		probe_finish(p, PROBE_VOID, "%s", "other roots are trusted now");
}

struct probe *probe_watch(const struct probe_spec *spec, probe_done_fn *changed, void *user)
{
	struct probe *p = probe_new(spec, changed, user);

	if (!p)
		return NULL;
	p->watch = p->starting = true;
	if (p->tls)
		transport_watch(p->tls->transport, &p->tls->watch, roots_changed);
	probe_grpc_start(p, NULL);
	p->starting = false;
	return p;
}
