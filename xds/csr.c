/* xds/csr: see csr.h.
 *
 *   csr 1 --- 2 secrets (filled here)    1 --- 0..1 try: key -> token -> transport -> DNS -> dial -> call -> answer
 *
 * One try at a time, and one timer for when the next one begins; each with a key of its own, which nobody has seen before the answer has come. A try ends in one place: try_over, which
 * wipes and closes; what follows from it is decided by took() or failed(). Owner of all: the csr. */
#include "xds/csr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/dial.h"
#include "net/grpc_call.h"
#include "xds/csr_files.h"
#include "xds/csr_message.h"
#include "xds/token.h"

static const uint64_t ms = 1000000, second = UINT64_C(1000000000);
static const uint64_t backoff_least_ns = UINT64_C(100000000), backoff_most_ns = UINT64_C(30000000000);
enum { PATIENCE_MS = 1000 };          /* for so long a CA that is not there yet is no failure: who needs the certificate waits */
enum { TRY_S = 10, APART_S = 1 /* failures back off beyond it */, LOOK_S = 3600 /* how long the wall's clock is trusted to go with ours */ };
enum { LIFE_MOST_S = INT32_MAX };     /* beyond it: never renewed in our time */
enum { UNHEARD = 0 /* not GRPC_OK: that does not fail */, UNUSABLE = -1, TOLD_NOTHING = -2 };
enum { ADDRS_MAX = 16, TEXT_MAX = 512, SAID_MOST = 6, SAID_PERIOD_MS = 60000 };
static const char path[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

struct csr {
	struct csr_spec spec;
	const struct conf_identity *conf;
	char *spiffe_id, *app, *source;
	struct secret *cert, *roots;  /* counted */
	struct secret_space space;    /* ours: the given one, and our own certificate */
	/* the present try */
	bool trying, with_token;
	char *key; size_t key_n;
	struct sb pem;
	struct token_ask *asking;
	char *token;
	struct transport *transport;  /* counted; NULL: plain text */
	struct dns_query *query;
	int port;
	struct dial *dial;
	struct h2_conn *conn;
	struct grpc_call *call;
	char *answer; size_t answer_n, answer_size; bool whole;   /* acct_alloc */
	/* when again */
	struct timer due, ends;
	uint64_t began_ns, retry_ns;  /* retry_ns: the end of the back-off; 0: none */
	uint64_t renew_wall_ns;
	uint32_t failures;            /* in a row */
	bool token_refused;           /* the CA did not take it, though we have a certificate: that is shown too */
	char error[2 * TEXT_MAX];
	int told_status;              /* TOLD_NOTHING: since the last answer */
	bool told_end;
	char *odd_id;                 /* the name that the CA gave instead of ours, told once */
	struct csr_files *files;      /* being written; NULL: none, or forgotten */
	struct log_every said, said_files;
};

static void try_begin(struct csr *c);

static uint64_t wall_ns(const struct csr *c)
{
	return c->spec.loop->ops->wall_ns(c->spec.loop->ops_ctx);
}

/* ---- when ---- */

static void due(struct timer *t)
{
	struct csr *c = container_of(t, struct csr, due);
	uint64_t wall = wall_ns(c);

	if (c->retry_ns || wall >= c->renew_wall_ns) {
		try_begin(c);
		return;
	}
	uint64_t left = c->renew_wall_ns - wall;
	timer_in(c->spec.loop, &c->due, left < LOOK_S * second ? left : LOOK_S * second, due);
}

/* It was used to its end. */
static void ended(struct timer *t)
{
	struct csr *c = container_of(t, struct csr, ends);
	int64_t from, to, now = (int64_t)(wall_ns(c) / second);
	char text[3 * TEXT_MAX];

	tls_cert_times(c->cert->cert, &from, &to);
	if (now < to) {
		uint64_t left = (uint64_t)(to - now);
		timer_in(c->spec.loop, &c->ends, (left < LOOK_S ? left : LOOK_S) * second, ended);
		return;
	}
	if (c->told_end)
		return;
	c->told_end = true;
	snprintf(text, sizeof(text), "the certificate has expired, and there is no other one%s%s", *c->error ? ": " : "", c->error);
	log_error(c->spec.log, "identity '%s': %s; asking on", c->app, text);
	secret_fail(c->cert, text);
}

static int64_t life_s(int64_t from, int64_t to)
{
	int64_t life;

	return __builtin_sub_overflow(to, from, &life) || life > LIFE_MOST_S ? LIFE_MOST_S : life;
}

/* At half of what is left of its life, give or take 1 %: many that began together shall not come back together. Not of all of its life: CAs date back by minutes, and of a short one
 * nothing would be left then. */
static uint64_t renewal_ns(struct csr *c, int64_t to, uint64_t wall)
{
	uint64_t left = (uint64_t)life_s((int64_t)(wall / second), to) * second, hundredth = left / 100;
	uint64_t at = wall + left / 2 - hundredth + loop_random_below(c->spec.loop, 2 * hundredth + 1);

	return at > wall + APART_S * second ? at : wall + APART_S * second;
}

static void settled(struct csr *c, int64_t to)
{
	uint64_t wall = wall_ns(c);

	c->failures = 0;
	c->retry_ns = 0;
	c->error[0] = 0;
	c->told_status = TOLD_NOTHING;
	c->token_refused = c->told_end = false;
	c->renew_wall_ns = renewal_ns(c, to, wall);
	timer_in(c->spec.loop, &c->due, 0, due);
	timer_in(c->spec.loop, &c->ends, 0, ended);
}

/* ---- the end of a try ---- */

static void nothing(void *owner)
{
	(void)owner;
}

static void nothing_closed(void *owner, int err, uint64_t carried)
{
	(void)owner, (void)err, (void)carried;
}

static void answer_forget(struct csr *c)
{
	acct_free(&c->spec.loop->memory, c->answer);
	c->answer = NULL;
	c->answer_n = c->answer_size = 0;
	c->whole = false;
}

static void try_over(struct csr *c)
{
	static const struct h2_client_events nobody = {.on_up = nothing, .on_room = nothing, .on_goaway = nothing, .on_closed = nothing_closed};

	c->trying = false;
	token_forget(&c->asking);
	dns_cancel(&c->query);
	dial_cancel(&c->dial);
	grpc_call_cancel(&c->call);
	if (c->conn) {
		h2_conn_set_owner(c->conn, &nobody, NULL);
		h2_conn_close(c->conn, H2_NO_ERROR);
	}
	c->conn = NULL;
	transport_unref(&c->transport);
	tls_wipe_free(&c->key, c->key_n);
	token_free(&c->token);
	answer_forget(c);
	sb_end(&c->pem);
}

static const char *or_stays(const struct csr *c)
{
	return c->cert->state == SECRET_READY ? ", the present certificate stays" : "";
}

/* status: what the CA said; UNHEARD: nothing; UNUSABLE: an answer that cannot be used. */
static void failed(struct csr *c, int status, const char *why)
{
	struct loop *l = c->spec.loop;
	bool patient = status == UNHEARD && c->cert->state == SECRET_WAITING && l->now_ns - c->began_ns < PATIENCE_MS * ms;
	uint64_t most = backoff_least_ns;

	snprintf(c->error, sizeof(c->error), "CA %s: %s", c->conf->ca.server, why);
	stat_inc(&l->stats, STAT_CSR_FAILURES);
	c->token_refused = c->with_token && (status == GRPC_UNAUTHENTICATED || status == GRPC_PERMISSION_DENIED);
	try_over(c);
	c->failures++;
	for (uint32_t i = 1; i < c->failures && most < backoff_most_ns; i++)
		most *= 2;
	c->retry_ns = l->now_ns + 1 + loop_random_below(l, most < backoff_most_ns ? most : backoff_most_ns);
	if (patient && c->retry_ns > c->began_ns + PATIENCE_MS * ms) /* who waits is told when the second is over, however far the back-off has gone */
		c->retry_ns = c->began_ns + PATIENCE_MS * ms;
	timer_set(l, &c->due, c->retry_ns, due);
	if (!patient && c->told_status != status) { /* the same bad news each second tells nobody anything */
		c->told_status = status;
		if (log_every(c->spec.log, &c->said, l->now_ns, SAID_MOST, SAID_PERIOD_MS))
			log_warn(c->spec.log, "identity '%s': %s; trying again%s", c->app, c->error, or_stays(c));
	}
	if (patient)
		return;
	secret_fail(c->cert, c->error);
	secret_fail(c->roots, c->error);
}

/* ---- an answer ---- */

static void files_told(void *user, int err, const char *what)
{
	struct csr *c = user;

	c->files = NULL;
	if (err && log_every(c->spec.log, &c->said_files, c->spec.loop->now_ns, 1, SAID_PERIOD_MS))
		log_warn(c->spec.log, "identity '%s': output: %s: %s; the certificate is used all the same", c->app, what, strerror(-err));
}

static void files_write(struct csr *c, const struct csr_answer *a)
{
	if (!c->conf->ca.output)
		return;
	csr_files_forget(&c->files); /* jobs run in order: the newer one is written last */
	c->files = csr_files_write(c->spec.offload, &c->spec.loop->memory, c->conf->ca.output, a->chain, str_n(c->key, c->key_n), a->roots, files_told, c);
	if (!c->files)
		files_told(c, -ENOMEM, c->conf->ca.output);
}

/* Istio's CA gives the name of who asks, whatever the request says: a token of another service account, mostly. */
static void tell_name(struct csr *c, const char *given)
{
	if (strcmp(given, c->spiffe_id) == 0) {
		free(c->odd_id);
		c->odd_id = NULL;
		return;
	}
	if (c->odd_id && strcmp(c->odd_id, given) == 0)
		return;
	free(c->odd_id);
	c->odd_id = xstrdup(given);
	log_warn(c->spec.log, "identity '%s': the CA %s gave a certificate of '%s', '%s' was asked for; it is used", c->app, c->conf->ca.server, given, c->spiffe_id);
}

static bool times_are_good(struct csr *c, int64_t from, int64_t to, struct sb *why)
{
	int64_t now = (int64_t)(wall_ns(c) / second);

	if (to <= now)
		sb_fmt(why, "the certificate that it gave has expired already: it ended at %" PRId64 ", now is %" PRId64 " (seconds since 1970)", to, now);
	else if (from > now && from - now > SECRET_EARLY_S)
		sb_fmt(why, "the certificate that it gave is not valid yet: it begins at %" PRId64 ", now is %" PRId64 " (seconds since 1970)", from, now);
	else
		return true;
	return false;
}

/* Problems of several lines become one. */
static void add_problems(struct sb *why, struct err *err)
{
	for (const char *p = err_str(err); *p; p++)
		if (*p != '\n')
			sb_char(why, *p);
		else if (p[1])
			sb_str(why, "; ");
	err_clear(err);
}

/* By its own roots: what they do not stand for is refused by all who have them, and would take the place of one that is not. A clock that is behind the CA's is no failure. */
static bool chain_is_good(struct csr *c, const struct tls_cert *cert, const struct tls_trust *trust, int64_t from, struct sb *why)
{
	int64_t now = (int64_t)(wall_ns(c) / second);
	struct err err = ERR_INIT;
	int r = tls_trust_verifies(trust, cert, from > now ? from : now, &err);

	if (r < 0) {
		sb_fmt(why, "the roots in cert_chain do not stand for the certificate of '%s': ", tls_cert_id(cert));
		add_problems(why, &err);
	}
	err_clear(&err);
	return r == 0;
}

/* The roots first: whoever is told of the certificate has them. Why not, in `why`. */
static void give(struct csr *c, struct tls_cert *cert_taken, struct tls_trust *trust_taken, struct sb *why)
{
	const char *text = NULL;

	if (secret_put_trust(c->roots, trust_taken, &text) < 0)
		tls_cert_unref(&cert_taken);
	else if (secret_put_cert(c->cert, cert_taken, &text) >= 0)
		return;
	sb_str(why, text ? text : "it cannot be used");
}

static void took(struct csr *c, struct sb *why)
{
	struct err err = ERR_INIT;
	struct csr_answer a;
	struct tls_cert *cert = NULL;
	struct tls_trust *trust = NULL;
	int64_t from, to;

	if (csr_answer_read(c->answer, c->answer_n, &a, why) < 0)
		return;
	if (tls_cert_new("cert_chain", a.chain, str_n(c->key, c->key_n), &cert, &err) < 0 || tls_trust_new("the roots in cert_chain", a.roots, NULL, &trust, &err) < 0) {
		add_problems(why, &err);
		goto out;
	}
	tls_cert_times(cert, &from, &to);
	if (!times_are_good(c, from, to, why) || !chain_is_good(c, cert, trust, from, why))
		goto out;
	tell_name(c, tls_cert_id(cert));
	struct tls_cert *kept = tls_cert_ref(cert);
	give(c, cert, trust, why);
	cert = NULL;
	trust = NULL;
	if (!why->n) {
		log_debug(c->spec.log, "identity '%s': the CA %s gave a certificate of '%s' for %" PRId64 " s", c->app, c->conf->ca.server, tls_cert_id(kept), life_s(from, to)); /* its user tells it */
		files_write(c, &a);
		settled(c, to);
	}
	tls_cert_unref(&kept);
out:
	tls_cert_unref(&cert);
	tls_trust_unref(&trust);
	err_clear(&err);
}

static bool on_begin(void *user, uint32_t n)
{
	struct csr *c = user;

	if (c->answer || n > CSR_ANSWER_MAX) /* a second message: it is a unary call */
		return false;
	c->answer = acct_alloc(&c->spec.loop->memory, (size_t)n + 1);
	c->answer_size = n;
	return c->answer != NULL;
}

static void on_bytes(void *user, const void *p, size_t n, bool whole)
{
	struct csr *c = user;

	if (n > c->answer_size - c->answer_n)
		return;
	memcpy(c->answer + c->answer_n, p, n);
	c->answer_n += n;
	c->whole = whole;
}

static void on_end(void *user, int status, const char *message, bool has_answered)
{
	struct csr *c = user;
	struct sb why = {0};

	(void)has_answered;
	c->call = NULL;
	if (status == GRPC_OK && c->whole)
		took(c, &why);
	else if (status == GRPC_OK)
		sb_str(&why, "it answered without a message");
	else
		sb_fmt(&why, "%s%s%.*s", grpc_status_name(status), *message ? ": " : "", TEXT_MAX, message);
	if (why.n) {
		sb_char(&why, 0);
		failed(c, status == GRPC_OK ? UNUSABLE : status, why.p);
	} else {
		try_over(c);
	}
	sb_end(&why);
}

/* ---- a try ---- */

static bool is_plain(const struct csr *c)
{
	return strncmp(c->conf->ca.server, "unix:", 5) == 0;
}

static const struct h2_client_events conn_events = {.on_up = nothing, .on_room = nothing, .on_goaway = nothing, .on_closed = nothing_closed};

static struct grpc_call *ask(struct csr *c)
{
	static const struct grpc_call_events events = {.on_begin = on_begin, .on_bytes = on_bytes, .on_end = on_end};
	struct str metadata[2][2];
	uint32_t n = 0;
	struct sb out = {0};

	if (c->token) {
		metadata[n][0] = STR("authorization");
		metadata[n++][1] = str_of(c->token);
	}
	metadata[n][0] = STR("clusterid");
	metadata[n++][1] = str_of(c->conf->ca.cluster_id ? c->conf->ca.cluster_id : "Kubernetes");
	struct grpc_call_spec spec = {.scheme = is_plain(c) ? "http" : "https", .authority = is_plain(c) ? "localhost" : c->conf->ca.server, .path = path, .user_agent = "thinmesh/" TM_VERSION,
		.metadata = (const struct str (*)[2])metadata, .nmetadata = n, .timeout_ns = TRY_S * second};
	struct grpc_call *call = grpc_call_open(c->conn, &spec, &events, c);
	if (!call)
		return NULL;
	csr_request_write(&(struct csr_request){.pem = sb_view(&c->pem), .validity_s = c->conf->ca.ttl_ns / second, .signer = c->conf->ca.signer ? str_of(c->conf->ca.signer) : STR("")}, &out);
	if (grpc_call_send(call, out.p, out.n) < 0)
		grpc_call_cancel(&call);
	else
		grpc_call_half_close(call);
	sb_end(&out);
	return call;
}

static void dialed(void *owner, struct dial *d, struct h2_conn *conn, int err, const char *why)
{
	struct csr *c = owner;

	(void)d, (void)err;
	c->dial = NULL;
	if (!conn) {
		failed(c, UNHEARD, why);
		return;
	}
	c->conn = conn;
	c->call = ask(c);
	if (!c->call)
		failed(c, UNHEARD, "no room for the call");
}

static void asker_name(const void *ctx, struct sb *out)
{
	const struct csr *c = ctx;

	sb_fmt(out, "the CA '%.200s' of app '%.80s'", c->conf->ca.server, c->app);
}

static void try_dial(struct csr *c, const struct addr *addrs, size_t count)
{
	struct dial_spec spec = {.addrs = addrs, .count = count, .timeout_ns = TRY_S * second, .limits = c->spec.limits, .account = &c->spec.loop->memory, .transport = c->transport,
		.asker = {.name = asker_name, .ctx = c}};
	int r = dial_start(c->spec.loop, &spec, &conn_events, c, dialed, &c->dial);

	if (r < 0)
		failed(c, UNHEARD, err_text(r));
}

static void resolved(void *user, const struct dns_answer *answer)
{
	struct csr *c = user;
	struct addr addrs[ADDRS_MAX];
	size_t n = answer->count < ADDRS_MAX ? answer->count : ADDRS_MAX;

	c->query = NULL;
	if (answer->err || n == 0) {
		failed(c, UNHEARD, answer->err ? err_text(answer->err) : "the name has no address");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		addrs[i] = answer->addrs[i];
		if (addr_is_v6(&addrs[i]))
			addrs[i].in6.sin6_port = htons((uint16_t)c->port);
		else
			addrs[i].in4.sin_port = htons((uint16_t)c->port);
	}
	try_dial(c, addrs, n);
}

static void try_find(struct csr *c)
{
	struct str host;
	struct addr addr;
	char name[256];
	int r;

	if (addr_parse(str_of(c->conf->ca.server), &addr) == 0) {
		try_dial(c, &addr, 1);
		return;
	}
	r = addr_split(str_of(c->conf->ca.server), &host, &c->port);
	if (r == 0 && (c->port < 0 || host.n >= sizeof(name)))
		r = -EINVAL;
	if (r == 0) {
		snprintf(name, sizeof(name), "%.*s", (int)host.n, host.p);
		r = dns_ask(c->spec.dns, name, resolved, c, &c->query);
	}
	if (r < 0)
		failed(c, UNHEARD, err_text(r));
}

/* Ours, where it is good now; else the one for beginners, where the configuration has one. */
static void show(struct csr *c, struct tls_want *w)
{
	int64_t from, to = 0;

	if (c->cert->state == SECRET_READY)
		tls_cert_times(c->cert->cert, &from, &to);
	if (to > (int64_t)(wall_ns(c) / second)) {
		secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, STR(""));
	} else if (c->conf->ca.cert && c->conf->ca.key) {
		struct sb name = {0};
		sb_fmt(&name, "%s\n%s", c->conf->ca.cert, c->conf->ca.key);
		secret_ref_set(&w->cert, SECRET_CERT, SECRET_FILES, sb_view(&name));
		sb_end(&name);
	}
}

static struct tls_want *want_of(struct csr *c)
{
	const struct conf_identity *i = c->conf;
	struct tls_want *w = tls_want_new();
	struct str host;
	int port;

	secret_ref_set(&w->roots, SECRET_ROOTS, i->ca.roots ? SECRET_FILES : SECRET_SYSTEM, str_of(i->ca.roots ? i->ca.roots : ""));
	if (!c->token || c->token_refused)
		show(c, w);
	if (i->ca.server_name)
		w->sni = xstrdup(i->ca.server_name);
	else if (addr_split(str_of(i->ca.server), &host, &port) == 0)
		w->sni = xstrndup(host.p, host.n);
	w->names = i->ca.nsan ? TLS_NAMES_RULES : TLS_NAMES_SERVER;
	for (uint32_t n = 0; n < i->ca.nsan; n++)
		tls_want_rule(w, TLS_NAME_ANY, TLS_EXACT, str_of(i->ca.san[n]));
	tls_want_seal(w);
	return w;
}

static struct secret *space_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct csr *c = ctx;

	if (ref->from == SECRET_IDENTITY)
		return secret_ref(c->cert);
	return c->spec.space->get(c->spec.space->ctx, ref, why);
}

static bool transport_make(struct csr *c, const char **why)
{
	if (is_plain(c))
		return true;
	struct tls_want *w = want_of(c);
	c->transport = transport_get(c->spec.transports, w, &c->space, false, why);
	tls_want_unref(&w);
	return c->transport != NULL;
}

static bool may_go_without_token(const struct csr *c)
{
	return !is_plain(c) && (c->cert->state == SECRET_READY || c->conf->ca.cert);
}

/* why: the token cannot be had. */
static void try_with_token(struct csr *c, const char *why)
{
	struct err err = ERR_INIT;
	char text[TEXT_MAX];

	c->with_token = c->token != NULL;
	if (why) {
		snprintf(text, sizeof(text), "token %s: %s", c->conf->ca.token_file, why);
		if (!may_go_without_token(c)) {
			failed(c, UNHEARD, text);
			return;
		}
		if (log_every(c->spec.log, &c->said, c->spec.loop->now_ns, SAID_MOST, SAID_PERIOD_MS))
			log_warn(c->spec.log, "identity '%s': %s; the CA is asked with the certificate that there is", c->app, text);
	}
	if (tls_csr_new(c->spiffe_id, &c->pem, &c->key, &c->key_n, &err) < 0) {
		struct sb problems = {0};
		add_problems(&problems, &err);
		snprintf(text, sizeof(text), "no request can be made: %.*s", (int)problems.n, problems.p);
		sb_end(&problems);
		failed(c, UNHEARD, text);
	} else if (!transport_make(c, &why)) {
		failed(c, UNHEARD, why);
	} else {
		try_find(c);
	}
	err_clear(&err);
}

static void token_came(void *user, char *token_taken, const char *why)
{
	struct csr *c = user;

	c->asking = NULL;
	c->token = token_taken;
	try_with_token(c, why);
}

static void try_begin(struct csr *c)
{
	c->retry_ns = 0;
	c->trying = true;
	stat_inc(&c->spec.loop->stats, STAT_CSR_REQUESTS);
	if (c->conf->ca.token_file)
		c->asking = token_ask(c->spec.reader, c->conf->ca.token_file, token_came, c);
	else
		try_with_token(c, NULL);
}

static void try_now(struct csr *c)
{
	try_over(c);
	c->renew_wall_ns = 0;
	c->retry_ns = 0;
	timer_in(c->spec.loop, &c->due, 0, due);
}

/* ---- for the owner ---- */

struct secret *csr_cert(struct csr *c)
{
	return secret_ref(c->cert);
}

struct secret *csr_roots(struct csr *c)
{
	return secret_ref(c->roots);
}

const char *csr_last_error(const struct csr *c)
{
	return c->error;
}

uint64_t csr_renews_wall_ns(const struct csr *c)
{
	if (c->trying)
		return 0;
	return c->retry_ns ? wall_ns(c) + (c->retry_ns > c->spec.loop->now_ns ? c->retry_ns - c->spec.loop->now_ns : 0) : c->renew_wall_ns;
}

void csr_thaw(struct csr *c)
{
	/* A try that was under way waits for a peer that has long forgotten it; a back-off says what was before. */
	if (c->trying || c->retry_ns)
		try_now(c);
	else
		timer_in(c->spec.loop, &c->due, 0, due);
	if (c->cert->state == SECRET_READY)
		timer_in(c->spec.loop, &c->ends, 0, ended);
}

static void names_set(struct csr *c, const struct conf_identity *conf, const char *spiffe_id)
{
	char *id = xstrdup(spiffe_id);

	free(c->spiffe_id);
	free(c->source);
	c->conf = conf;
	c->spiffe_id = id;
	c->source = xasprintf("ca %s", conf->ca.server);
}

void csr_conf(struct csr *c, const struct conf_identity *conf, const char *spiffe_id)
{
	bool same = conf->hash == c->conf->hash && strcmp(spiffe_id, c->spiffe_id) == 0;

	if (same) {
		c->conf = conf;
		return;
	}
	names_set(c, conf, spiffe_id);
	secret_hand(c->cert, c->source, NULL, NULL);
	secret_hand(c->roots, c->source, NULL, NULL);
	c->failures = 0;
	c->token_refused = false;
	c->began_ns = c->spec.loop->now_ns;
	try_now(c);
}

static struct secret *adopt(struct csr *c, struct secret *given, enum secret_kind kind, const char *name)
{
	if (!given)
		return secret_new(c->spec.transports, kind, name, c->source, NULL, NULL);
	secret_ask_as(given, name);
	secret_hand(given, c->source, NULL, NULL);
	return secret_ref(given);
}

struct csr *csr_new(const struct csr_spec *spec)
{
	struct csr *c = xnew(struct csr);

	c->spec = *spec;
	c->app = xstrdup(spec->app);
	c->told_status = TOLD_NOTHING;
	names_set(c, spec->conf, spec->spiffe_id);
	c->space = (struct secret_space){.get = space_get, .ctx = c};
	c->cert = adopt(c, spec->cert, SECRET_CERT, "default");
	c->roots = adopt(c, spec->roots, SECRET_ROOTS, "ROOTCA");
	c->spec.cert = c->spec.roots = NULL; /* borrowed during this call only */
	c->began_ns = spec->loop->now_ns;
	if (c->cert->state == SECRET_READY)
		timer_in(spec->loop, &c->ends, 0, ended);
	timer_in(spec->loop, &c->due, 0, due);
	return c;
}

void csr_free(struct csr **pc)
{
	struct csr *c = *pc;

	if (!c)
		return;
	*pc = NULL;
	try_over(c);
	timer_cancel(c->spec.loop, &c->due);
	timer_cancel(c->spec.loop, &c->ends);
	csr_files_forget(&c->files);
	secret_unref(&c->cert);
	secret_unref(&c->roots);
	free(c->odd_id);
	free(c->spiffe_id);
	free(c->source);
	free(c->app);
	free(c);
}
