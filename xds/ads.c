/* xds/ads: see ads.h.
 *
 *   struct ads: of its view. One try at a time (timer -> token -> DNS -> dial), which becomes a stream.
 *   struct ads_stream: of its ads while it is `now` or `next`; afterwards it belongs to its connection, and dies when that has closed.
 *
 *             retry timer                    dialed                     first message
 *   BACK-OFF ------------> CONNECTING ----------------> now (or next) ----------------> up; an older `now` ends
 *      ^------ all servers failed ----'                    | ended, lost, GOAWAY
 *      ^---------------------------------------------------'   at once if it had answered, else the next server, else back-off
 *
 * GOAWAY (a server's maximum age, a changed configuration): the stream is read on while a try makes `next`; when that has answered it takes over. */
#include "xds/ads.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/dial.h"
#include "net/grpc_call.h"
#include "xds/token.h"

static const uint64_t second = UINT64_C(1000000000), brief_ns = UINT64_C(100000000);
static const uint64_t backoff_least_ns = UINT64_C(1000000000), backoff_most_ns = UINT64_C(30000000000);
static const uint64_t idle_ns = UINT64_C(30000000000);       /* istiod pings after as long; a NAT forgets later */
static const uint64_t ping_apart_ns = UINT64_C(15000000000); /* grpc-go's MinTime at istiod: faster ones are answered by GOAWAY too_many_pings */
static const uint64_t ping_answer_ns = UINT64_C(20000000000), thaw_answer_ns = UINT64_C(2000000000);
enum { UNSENT_MAX = 65536, TEXT_MAX = 512, ADDRS_MAX = 16 };

struct ads_stream {
	struct ads *ads;            /* NULL once it is neither now nor next */
	struct loop *loop;
	struct h2_conn *conn;       /* NULL once closed */
	struct grpc_call *call;     /* NULL once ended */
	void *data;
	uint32_t server;            /* index in the configuration */
	bool answered;              /* a whole message came */
	bool tls;
	bool leaving;               /* the server wants it gone: no new streams there */
	struct timer alive, late;   /* when to look whether it is idle; when the PING's answer is overdue */
	bool pinging;
	uint64_t pinged_ns, patience_ns;
	struct grave grave;
};

enum phase { IDLE, BACKOFF, CONNECTING, SETTLED };
enum told { TOLD_NOTHING, TOLD_UP, TOLD_DOWN };
enum { TOLD_MOST = 6, TOLD_PERIOD_MS = 60000 };

struct ads {
	struct loop *loop;
	struct log *log;
	struct dns *dns;
	const struct limits *limits;
	const struct conf_xds *conf;
	const struct ads_events *ev;
	void *user;
	const char *path, *view, *word;
	uint64_t backoff_least_ns, backoff_most_ns;
	bool path_changed;
	struct ads_stream *now, *next;
	/* the present try */
	enum phase phase;
	uint32_t at;                /* which server */
	bool held, owed;          /* no new stream is opened (hot upgrade); one would have been */
	struct timer retry;
	struct dns_query *query;
	struct dial *dial;
	struct ads_stream *making;  /* what the dial is for */
	int port;
	struct reader *reader;      /* borrowed */
	struct token_ask *asking;   /* the token of this try is being read; NULL */
	char *token;                /* "Bearer ..."; NULL: none */
	bool token_told;            /* that the certificate speaks for us without it */
	struct transports *transports;
	const struct secret_space *space;
	struct transport *transport; /* counted; of the present try and of the streams: by it we hear of other roots. NULL: none of them is TLS */
	struct transport *with_cert; /* counted; the same with our certificate, where it is not there yet and the token speaks for us; NULL */
	struct transport_watch changed, came;
	uint32_t failures, brief;   /* brief: streams one after the other that ended as soon as they had answered */
	uint64_t failed;            /* all there ever were, and streams that were lost */
	bool refused;               /* a server of this round said no for good: the long end of the back-off */
	uint64_t at_once_ns;        /* when a try was last made without back-off */
	enum told told;
	int told_status;
	void (*over)(void *ctx);    /* not NULL: finishing */
	void *over_ctx;
	struct log_every said_up, said_down; /* a server that answers and ends each stream must not fill the log */
	uint64_t since_ns, up_ns /* when it came up last */, connects, messages;
	char last_error[2 * TEXT_MAX];
};

static void try_at(struct ads *a, uint64_t in_ns);

/* ---- what is told ---------------------------------------------------------------------------------------------------------------------- */

static const char *server_at(const struct ads *a, uint32_t at)
{
	return at < a->conf->nservers ? a->conf->servers[at] : "";
}

const char *ads_server(const struct ads *a)
{
	return server_at(a, a->now && a->phase == SETTLED ? a->now->server : a->at);
}

static void tell_up(struct ads *a)
{
	a->failures = 0;
	a->refused = false;
	if (a->told == TOLD_UP)
		return;
	a->told = TOLD_UP;
	a->since_ns = a->up_ns = a->loop->now_ns;
	if (log_every(a->log, &a->said_up, a->loop->now_ns, TOLD_MOST, TOLD_PERIOD_MS))
		log_info(a->log, "%s '%s': connected to %s", a->word, a->view, ads_server(a));
	if (a->ev->state)
		a->ev->state(a->user, true, "");
}

/* status: what the server said; 0: nothing was heard of it. */
static void tell_down(struct ads *a, int status)
{
	/* The same bad news each second tells nobody anything: only a no of another kind is told again. */
	if (a->told == TOLD_DOWN && a->told_status == status)
		return;
	if (a->told != TOLD_DOWN)
		a->since_ns = a->loop->now_ns;
	a->told = TOLD_DOWN;
	a->told_status = status;
	if (log_every(a->log, &a->said_down, a->loop->now_ns, TOLD_MOST, TOLD_PERIOD_MS))
		log_warn(a->log, "%s '%s': %s; trying again, what is known stays in use", a->word, a->view, a->last_error);
	if (a->ev->state)
		a->ev->state(a->user, false, a->last_error);
}

static void error_set(struct ads *a, uint32_t server, const char *why)
{
	snprintf(a->last_error, sizeof(a->last_error), "%s: %s", server_at(a, server), why);
}

/* ---- the end of a stream ------------------------------------------------------------------------------------------------------------------ */

static void stream_bury(struct grave *g)
{
	free(container_of(g, struct ads_stream, grave));
}

/* It is nobody's from now on; its connection closes, and takes it along. */
static void stream_leave(struct ads_stream *s)
{
	s->ads = NULL;
	timer_cancel(s->loop, &s->alive);
	timer_cancel(s->loop, &s->late);
	grpc_call_cancel(&s->call);
	if (s->conn)
		h2_conn_close(s->conn, H2_NO_ERROR);
	else
		loop_bury(s->loop, &s->grave, stream_bury);
}

static void on_closed(void *owner, int err, uint64_t carried)
{
	struct ads_stream *s = owner;

	(void)err, (void)carried; /* the call has ended before, and said so */
	s->conn = NULL;
	if (!s->ads)
		loop_bury(s->loop, &s->grave, stream_bury);
}

/* Full jitter: a fleet that lost its control plane shall not come back to it at one moment. */
static uint64_t backoff_ns(struct ads *a)
{
	uint64_t most = a->backoff_least_ns;

	for (uint32_t i = 1; i < a->failures && most < a->backoff_most_ns; i++)
		most *= 2;
	if (a->refused)
		return a->backoff_most_ns / 2 + loop_random_below(a->loop, a->backoff_most_ns / 2);
	return loop_random_below(a->loop, most < a->backoff_most_ns ? most : a->backoff_most_ns);
}

/* After a stream that had answered (gRFC A57): at once, unless that was tried within this second: a server that answers and ends the stream, again and again. Each answer begins the
 * back-off anew, so who ends his streams in the same breath, as one that is no server of this kind at all, is waited for by how often he did. */
static void try_again(struct ads *a)
{
	a->at = 0;
	a->brief = a->loop->now_ns - a->up_ns < brief_ns ? a->brief + 1 : 0;
	if (a->brief > 1 || (a->at_once_ns && a->loop->now_ns - a->at_once_ns < second)) {
		a->failures = a->brief > a->failures ? a->brief : a->failures + 1;
		try_at(a, backoff_ns(a));
		return;
	}
	a->at_once_ns = a->loop->now_ns;
	try_at(a, 0);
}

static bool is_final(int status)
{
	return status == GRPC_UNAUTHENTICATED || status == GRPC_PERMISSION_DENIED || status == GRPC_INVALID_ARGUMENT;
}

/* This server does not work: the next one, or all of them later. */
static void try_failed(struct ads *a, int status, const char *why)
{
	error_set(a, a->at, why);
	a->failed++;
	a->refused |= is_final(status);
	if (!a->now)
		tell_down(a, status);
	if (a->at + 1 < a->conf->nservers) {
		a->at++;
		try_at(a, 0);
		return;
	}
	a->failures++;
	try_at(a, backoff_ns(a));
	a->at = 0;
	a->refused = false;
}

static void stream_drop(struct ads *a, struct ads_stream **at, const char *why)
{
	struct ads_stream *s = *at;

	if (!s)
		return;
	*at = NULL;
	s->ads = NULL;
	if (a->ev->closed)
		a->ev->closed(a->user, s, GRPC_OK, why);
	stream_leave(s);
}

static void stream_finished(struct ads_stream *s)
{
	struct ads *a = s->ads;

	stream_drop(a, s == a->now ? &a->now : &a->next, "it is over");
	a->over(a->over_ctx);
}

/* status 0: we ended it. */
static void stream_ended(struct ads_stream *s, int status, const char *why)
{
	struct ads *a = s->ads;
	bool was_next = s == a->next, answered = s->answered;
	char text[TEXT_MAX];

	if (a->over) {
		stream_finished(s);
		return;
	}
	snprintf(text, sizeof(text), "%s", why);
	if (!was_next)
		a->now = a->next;
	a->next = NULL;
	error_set(a, s->server, text);
	a->failed += answered && status != GRPC_OK;
	s->ads = NULL; /* sends from inside of the event find it closed */
	a->path_changed = false;
	if (a->ev->closed)
		a->ev->closed(a->user, s, status, a->last_error);
	stream_leave(s);
	if (status == GRPC_UNIMPLEMENTED && a->path_changed && !answered && a->phase == SETTLED) {
		a->at = s->server;
		try_at(a, 0);
		return;
	}
	if (!was_next && a->now) /* the one that takes over is there */
		return;
	if (!was_next && a->phase != SETTLED) { /* or on its way */
		tell_down(a, status);
		return;
	}
	if (!answered) {
		a->at = s->server;
		try_failed(a, status, text);
		return;
	}
	if (!a->now)
		tell_down(a, status);
	try_again(a);
}

void ads_stream_end(struct ads_stream *s, const char *why)
{
	if (!s->ads)
		return;
	grpc_call_cancel(&s->call);
	stream_ended(s, GRPC_OK, why);
}

/* ---- keepalive ---------------------------------------------------------------------------------------------------------------------------- */

static void alive_due(struct timer *t);

static void alive_arm(struct ads_stream *s)
{
	uint64_t at = h2_conn_last_read_ns(s->conn) + idle_ns;

	if (at < s->pinged_ns + ping_apart_ns)
		at = s->pinged_ns + ping_apart_ns;
	timer_set(s->loop, &s->alive, at, alive_due);
}

static void late_due(struct timer *t)
{
	struct ads_stream *s = container_of(t, struct ads_stream, late);

	grpc_call_cancel(&s->call);
	stream_ended(s, GRPC_UNAVAILABLE, "no answer to a PING");
}

static void ponged(void *user, bool acked)
{
	struct ads_stream *s = user;

	s->pinging = false;
	if (!s->ads)
		return;
	timer_cancel(s->loop, &s->late);
	if (acked)
		alive_arm(s);
}

static void ping(struct ads_stream *s, uint64_t patience_ns)
{
	s->patience_ns = ping_answer_ns;
	if (s->pinging || h2_conn_ping(s->conn, ponged, s) < 0)
		return;
	s->pinging = true;
	s->pinged_ns = s->loop->now_ns;
	timer_in(s->loop, &s->late, patience_ns, late_due);
}

static void alive_due(struct timer *t)
{
	struct ads_stream *s = container_of(t, struct ads_stream, alive);

	if (s->patience_ns != thaw_answer_ns && s->loop->now_ns - h2_conn_last_read_ns(s->conn) < idle_ns) {
		alive_arm(s);
		return;
	}
	ping(s, s->patience_ns);
}

static void stream_thaw(struct ads_stream *s)
{
	uint64_t at = s->pinged_ns ? s->pinged_ns + ping_apart_ns : 0;

	if (s->pinging) { /* nobody can know whether the answer was lost while we were frozen: little time is left for it */
		timer_in(s->loop, &s->late, thaw_answer_ns, late_due);
		return;
	}
	s->patience_ns = thaw_answer_ns;
	if (at > s->loop->now_ns) {
		timer_set(s->loop, &s->alive, at, alive_due);
		return;
	}
	timer_cancel(s->loop, &s->alive);
	ping(s, thaw_answer_ns);
}

void ads_thaw(struct ads *a)
{
	if (a->now)
		stream_thaw(a->now);
	if (a->next)
		stream_thaw(a->next);
	if (a->phase == BACKOFF) /* what the server was before the frost says nothing */
		try_at(a, 0);
}

void ads_retry(struct ads *a)
{
	if (a->phase != BACKOFF)
		return;
	a->failures = 0;
	try_at(a, 0);
}

/* ---- a stream ------------------------------------------------------------------------------------------------------------------------------ */

static bool on_begin(void *user, uint32_t n)
{
	struct ads_stream *s = user;

	return s->ads->ev->begin(s->ads->user, s, n);
}

static void on_sent(void *user, size_t n)
{
	struct ads_stream *s = user;

	if (s->ads && s->ads->ev->sent)
		s->ads->ev->sent(s->ads->user, s, n);
}

/* The first answer: it is the one from now on. */
static void stream_answered(struct ads_stream *s)
{
	struct ads *a = s->ads;
	struct ads_stream *old = a->now;

	s->answered = true;
	if (s == a->next) {
		a->now = s;
		a->next = NULL;
		old->ads = NULL;
		if (a->ev->closed)
			a->ev->closed(a->user, old, GRPC_OK, "another stream took over");
		stream_leave(old);
	}
	tell_up(a);
	if (s->leaving && !a->next && a->phase == SETTLED)
		try_again(a);
}

static void on_bytes(void *user, const void *p, size_t n, bool whole)
{
	struct ads_stream *s = user;
	struct ads *a = s->ads;

	a->ev->bytes(a->user, s, p, n, whole);
	if (!whole || s->ads != a) /* the event may have ended it */
		return;
	a->messages++;
	if (!s->answered)
		stream_answered(s);
}

static void on_end(void *user, int status, const char *message, bool answered)
{
	struct ads_stream *s = user;
	char text[TEXT_MAX];

	(void)answered; /* its head only; a message is what counts */
	s->call = NULL;
	if (!s->ads)
		return;
	/* istiod ends with OK when it wants to be rid of a stream: for us a loss like others. */
	if (status == GRPC_OK)
		snprintf(text, sizeof(text), "the server ended the stream");
	else
		snprintf(text, sizeof(text), "%s%s%s", grpc_status_name(status), *message ? ": " : "", message);
	stream_ended(s, status == GRPC_OK ? GRPC_UNAVAILABLE : status, text);
}

static void on_room(void *owner)
{
	(void)owner;
}

static void on_goaway(void *owner)
{
	struct ads_stream *s = owner;
	struct ads *a = s->ads;

	if (!a || s->leaving)
		return;
	s->leaving = true;
	if (s == a->now && !a->next && a->phase == SETTLED)
		try_again(a);
}

static const struct h2_client_events conn_events = {.on_up = on_room, .on_room = on_room, .on_goaway = on_goaway, .on_closed = on_closed};

/* "host" of "host:port", for people's headers: the authority of a Unix socket is localhost. */
static bool is_unix(const char *server)
{
	return strncmp(server, "unix:", 5) == 0;
}

static const char *authority_of(const char *server)
{
	return is_unix(server) ? "localhost" : server;
}

static struct grpc_call *call_open(struct ads *a, struct h2_conn *conn, struct ads_stream *s)
{
	static const struct grpc_call_events events = {.on_begin = on_begin, .on_bytes = on_bytes, .on_end = on_end, .on_sent = on_sent};
	const struct conf_xds *c = a->conf;
	uint32_t n = 0;
	struct str (*metadata)[2] = xalloc((c->nheaders + 1) * sizeof(*metadata));
	struct grpc_call *call;

	if (a->token) {
		metadata[n][0] = STR("authorization");
		metadata[n++][1] = str_of(a->token);
	}
	for (uint32_t i = 0; i < c->nheaders; i++) {
		metadata[n][0] = str_of(c->headers[i].from);
		metadata[n++][1] = str_of(c->headers[i].to);
	}
	struct grpc_call_spec spec = {.scheme = s->tls ? "https" : "http", .authority = authority_of(server_at(a, s->server)), .path = a->path, .user_agent = "thinmesh/" TM_VERSION,
		.metadata = (const struct str (*)[2])metadata, .nmetadata = n, .wipes = true /* a key may be in any answer: as a secret, or inline in a cluster */};
	call = grpc_call_open(conn, &spec, &events, s);
	free(metadata);
	return call;
}

static void dialed(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	struct ads_stream *s = owner;
	struct ads *a = s->ads;

	(void)d, (void)err;
	a->dial = NULL;
	a->making = NULL;
	a->phase = SETTLED;
	s->conn = conn;
	if (conn)
		s->call = call_open(a, conn, s);
	if (!s->call) {
		char text[TEXT_MAX];
		snprintf(text, sizeof(text), "%s", conn ? "no room for the stream" : why);
		stream_leave(s);
		try_failed(a, 0, text);
		return;
	}
	a->connects++;
	if (a->now)
		a->next = s;
	else
		a->now = s;
	s->patience_ns = ping_answer_ns;
	alive_arm(s);
	a->ev->open(a->user, s);
}

/* ---- a try --------------------------------------------------------------------------------------------------------------------------------- */

static void asker_name(const void *ctx, struct sb *out)
{
	sb_fmt(out, "control plane '%.200s'", ads_server(ctx));
}

static void try_dial(struct ads *a, const struct addr *addrs, size_t count)
{
	struct ads_stream *s = xnew(struct ads_stream);
	struct str host;
	int port;
	char name[256];

	s->ads = a;
	s->loop = a->loop;
	s->server = a->at;
	struct dial_spec spec = {.addrs = addrs, .count = count, .timeout_ns = a->conf->connect_timeout_ns, .limits = a->limits, .account = &a->loop->memory,
		.asker = {.name = asker_name, .ctx = a}};
	/* An agent's socket is on this machine and speaks in plain text, whatever other servers of the list want. */
	if (!is_unix(server_at(a, s->server))) {
		spec.transport = a->transport;
		s->tls = a->transport != NULL;
	}
	if (s->tls && addr_split(str_of(server_at(a, s->server)), &host, &port) == 0) {
		snprintf(name, sizeof(name), "%.*s", (int)host.n, host.p);
		spec.host_name = name;
	}
	int r = dial_start(a->loop, &spec, &conn_events, s, dialed, &a->dial);
	if (r < 0) {
		stream_leave(s);
		a->phase = SETTLED;
		try_failed(a, 0, err_text(r));
		return;
	}
	a->making = s;
}

static void addr_set_port(struct addr *at, int port)
{
	if (addr_is_v6(at))
		at->in6.sin6_port = htons((uint16_t)port);
	else
		at->in4.sin_port = htons((uint16_t)port);
}

static void resolved(void *user, const struct dns_answer *answer)
{
	struct ads *a = user;
	struct addr addrs[ADDRS_MAX];
	size_t n = answer->count < ADDRS_MAX ? answer->count : ADDRS_MAX;

	a->query = NULL;
	if (answer->err || n == 0) {
		a->phase = SETTLED;
		try_failed(a, 0, answer->err ? err_text(answer->err) : "the name has no address");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		addrs[i] = answer->addrs[i];
		addr_set_port(&addrs[i], a->port);
	}
	try_dial(a, addrs, n);
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------------------ */

static void try_cancel(struct ads *a);

/* What was judged by roots that are not trusted any more is made anew, beside what goes on until then. */
static void roots_changed(struct ads *a)
{
	if (a->now && a->now->tls)
		a->now->leaving = true;
	if (a->next && a->next->tls)
		a->next->leaving = true;
	if (a->phase == CONNECTING) { /* nobody knows by which roots */
		try_cancel(a);
		try_at(a, 0);
	} else if (a->phase == SETTLED && a->now && a->now->leaving && !a->next) {
		try_again(a);
	} else {
		ads_retry(a);
	}
}

static void transport_changed(struct transport_watch *w, bool drain)
{
	struct ads *a = container_of(w, struct ads, changed);

	if (drain)
		roots_changed(a);
	else
		ads_retry(a); /* what was missing may have come */
}

/* Our certificate, while the token went without: the next stream shows it. A try that failed for want of it need not wait. */
static void cert_came(struct transport_watch *w, bool drain)
{
	(void)drain;
	ads_retry(container_of(w, struct ads, came));
}

static void transport_set(struct transport **at, struct transport *taken, struct transport_watch *w, void (*fn)(struct transport_watch *w, bool drain))
{
	if (*at == taken) {
		transport_unref(&taken);
		return;
	}
	transport_unwatch(w);
	transport_unref(at);
	*at = taken;
	if (taken)
		transport_watch(taken, w, fn);
}

static void transports_drop(struct ads *a)
{
	transport_set(&a->transport, NULL, &a->changed, NULL);
	transport_set(&a->with_cert, NULL, &a->came, NULL);
}

static struct transport *transport_by(struct ads *a, struct tls_want *want, const char **why)
{
	*why = "TLS is not to be had here";
	return a->transports && want ? transport_get(a->transports, want, a->space, false, why) : NULL;
}

/* With a certificate that is good now, where one is to be shown: who shows one that has ended is refused, however good its token is. */
static bool is_there(struct ads *a, struct transport *t)
{
	const char *why;
	int err;
	int64_t ends = transport_ends(t), now = (int64_t)(a->loop->ops->wall_ns(a->loop->ops_ctx) / second);

	return transport_context(t, &err, &why) != NULL && (!ends || now < ends);
}

/* A token that cannot be read is no reason to stay away from a server that knows us by our certificate. */
static bool may_go_without_token(struct ads *a)
{
	const char *why;
	struct transport *t = a->conf->tls.on && !is_unix(ads_server(a)) ? transport_by(a, a->conf->tls.want, &why) : NULL;
	bool may = t && transport_shows(t) && is_there(a, t);

	transport_unref(&t);
	return may;
}

/* Asked of the space for each try: an identity may have come meanwhile. NULL, or why there is none. */
static const char *transport_fresh(struct ads *a)
{
	const struct conf_xds *c = a->conf;
	const char *why = NULL;

	if (!c->tls.on || is_unix(ads_server(a)))
		return NULL; /* what streams that stand were judged by is watched on */
	struct transport *full = transport_by(a, c->tls.want, &why);
	bool without = full ? a->token && c->tls.bare && transport_shows(full) && !is_there(a, full) : c->tls.identity && !c->tls.identity_demanded;
	struct transport *bare = without ? transport_by(a, c->tls.bare, &why) : NULL;
	if (!full && !bare)
		return why;
	transport_set(&a->with_cert, bare ? full : NULL, &a->came, cert_came);
	transport_set(&a->transport, bare ? bare : full, &a->changed, transport_changed);
	return NULL;
}

/* why: the token cannot be had. */
static void try_with_token(struct ads *a, const char *why)
{
	const char *server = ads_server(a);
	struct addr addr;
	struct str host;

	a->token_told &= why != NULL;
	if (why && may_go_without_token(a)) {
		if (!a->token_told)
			log_warn(a->log, "%s '%s': token_file %s: %s; the certificate speaks for us", a->word, a->view, a->conf->tls.token_file, why);
		a->token_told = true;
	} else if (why) {
		char text[TEXT_MAX];
		snprintf(text, sizeof(text), "token_file %s: %s", a->conf->tls.token_file, why);
		a->phase = SETTLED;
		try_failed(a, 0, text);
		return;
	}
	why = transport_fresh(a);
	if (why) {
		a->phase = SETTLED;
		try_failed(a, 0, why);
		return;
	}
	if (addr_parse(str_of(server), &addr) == 0) {
		try_dial(a, &addr, 1);
		return;
	}
	char name[256];
	int r = addr_split(str_of(server), &host, &a->port);
	if (r == 0 && a->port < 0)
		r = -EINVAL;
	snprintf(name, sizeof(name), "%.*s", r == 0 ? (int)host.n : 0, r == 0 ? host.p : "");
	if (r == 0)
		r = dns_ask(a->dns, name, resolved, a, &a->query);
	if (r < 0) {
		a->phase = SETTLED;
		try_failed(a, 0, err_text(r));
	}
}

static void token_came(void *user, char *token_taken, const char *why)
{
	struct ads *a = user;

	a->asking = NULL;
	a->token = token_taken;
	try_with_token(a, why);
}

/* Without TLS conf has a token only where every server is on this machine. */
static void try_now(struct timer *t)
{
	struct ads *a = container_of(t, struct ads, retry);
	const char *path = a->conf->tls.token_file;

	a->phase = CONNECTING;
	token_forget(&a->asking);
	token_free(&a->token);
	if (path)
		a->asking = token_ask(a->reader, path, token_came, a);
	else
		try_with_token(a, NULL);
}

static void try_at(struct ads *a, uint64_t in_ns)
{
	if (a->over)
		return;
	a->owed = a->held;
	if (a->held)
		return;
	a->phase = in_ns ? BACKOFF : CONNECTING;
	timer_in(a->loop, &a->retry, in_ns, try_now);
}

static void try_cancel(struct ads *a)
{
	timer_cancel(a->loop, &a->retry);
	token_forget(&a->asking);
	dns_cancel(&a->query);
	dial_cancel(&a->dial);
	if (a->making)
		stream_leave(a->making);
	a->making = NULL;
	a->phase = IDLE;
}

/* ---- a life -------------------------------------------------------------------------------------------------------------------------------- */

void ads_start(struct ads *a)
{
	if (a->phase == IDLE && a->conf->nservers)
		try_at(a, 0);
}

void ads_set_path(struct ads *a, const char *path)
{
	a->path_changed |= strcmp(path, a->path) != 0;
	a->path = path;
}

uint32_t ads_finish(struct ads *a, void (*over)(void *ctx), void *ctx)
{
	struct ads_stream *both[] = {a->now, a->next};
	uint32_t n = 0;

	try_cancel(a);
	a->over = over;
	a->over_ctx = ctx;
	for (int i = 0; i < 2; i++) {
		if (!both[i])
			continue;
		grpc_call_half_close(both[i]->call);
		n++;
	}
	return n;
}

void ads_hold(struct ads *a, bool held)
{
	a->held = held;
	if (held && timer_armed(&a->retry)) {
		timer_cancel(a->loop, &a->retry);
		a->owed = true;
	} else if (!held && a->owed) {
		try_at(a, 0);
	}
}

void ads_restart(struct ads *a, const char *why)
{
	if (!a->now || a->over)
		return;
	error_set(a, a->now->server, why);
	try_cancel(a);
	stream_drop(a, &a->next, why);
	stream_drop(a, &a->now, why);
	tell_down(a, 0);
	try_again(a);
}

void ads_conf(struct ads *a, const struct conf_xds *conf)
{
	a->conf = conf;
	a->at = 0;
	a->failures = 0;
	a->refused = false;
	if (a->phase == IDLE) /* not started */
		return;
	try_cancel(a);
	stream_drop(a, &a->next, "the configuration changed");
	transports_drop(a);
	try_at(a, 0);
}

void ads_space(struct ads *a, const struct secret_space *space)
{
	a->space = space;
}

static void nobody_open(void *user, struct ads_stream *s)
{
	(void)user, (void)s;
}

static bool nobody_begin(void *user, struct ads_stream *s, uint32_t n)
{
	(void)user, (void)s, (void)n;
	return false;
}

static void nobody_bytes(void *user, struct ads_stream *s, const void *p, size_t n, bool whole)
{
	(void)user, (void)s, (void)p, (void)n, (void)whole;
}

void ads_user(struct ads *a, const struct ads_events *ev, void *user)
{
	static const struct ads_events nobody = {.open = nobody_open, .begin = nobody_begin, .bytes = nobody_bytes};

	a->ev = ev ? ev : &nobody;
	a->user = user;
}

struct ads *ads_new(const struct ads_spec *spec, const struct ads_events *ev, void *user)
{
	struct ads *a = xnew(struct ads);

	a->loop = spec->loop;
	a->log = spec->log;
	a->dns = spec->dns;
	a->limits = spec->limits;
	a->conf = spec->conf;
	a->path = spec->path;
	a->view = spec->view;
	a->word = spec->word ? spec->word : "xds";
	a->backoff_least_ns = spec->backoff_least_ns ? spec->backoff_least_ns : backoff_least_ns;
	a->backoff_most_ns = spec->backoff_most_ns ? spec->backoff_most_ns : backoff_most_ns;
	a->transports = spec->transports;
	a->reader = spec->reader;
	a->space = spec->space;
	ads_user(a, ev, user);
	a->since_ns = a->loop->now_ns;
	return a;
}


void ads_free(struct ads **pa)
{
	struct ads *a = *pa;

	if (!a)
		return;
	*pa = NULL;
	try_cancel(a);
	if (a->now)
		stream_leave(a->now);
	if (a->next)
		stream_leave(a->next);
	transports_drop(a);
	token_free(&a->token);
	free(a);
}

/* ---- for the user --------------------------------------------------------------------------------------------------------------------------- */

int ads_send(struct ads_stream *s, const void *message, size_t n)
{
	if (!s->ads || !s->call || s->ads->over)
		return ERR_CLOSED;
	if (grpc_call_unsent(s->call) >= UNSENT_MAX)
		return -EAGAIN;
	return grpc_call_send(s->call, message, n);
}

size_t ads_unsent(const struct ads_stream *s)
{
	return s->call ? grpc_call_unsent(s->call) : 0;
}

bool ads_stream_has_answered(const struct ads_stream *s)
{
	return s->answered;
}

void ads_stream_set(struct ads_stream *s, void *data)
{
	s->data = data;
}

void *ads_stream_data(const struct ads_stream *s)
{
	return s->data;
}

const char *ads_state_name(const struct ads *a)
{
	if (a->told == TOLD_UP)
		return "connected";
	if (a->phase == IDLE)
		return "idle";
	if (a->phase == SETTLED)
		return "open"; /* where nobody calls, nothing is asked, and nothing is answered: that is well */
	return a->phase == BACKOFF ? "back-off" : "connecting";
}

const char *ads_last_error(const struct ads *a)
{
	return a->last_error;
}

void ads_info(const struct ads *a, struct ads_info *ret)
{
	*ret = (struct ads_info){.since_ns = a->since_ns, .connects = a->connects, .messages = a->messages, .failures = a->failures, .failed = a->failed, .up = a->told == TOLD_UP};
}
