/* xds/sds: see sds.h.
 *
 *   sds 1 --- n sds_name (a secret and the stream of its own) 1 --- 1 ads 1 --- 0..2 talk (a stream of it: what was said and heard there)
 *
 * What a stream says: the name with the node first; each answer acknowledged by its version and nonce, or refused by the last version that was good, its nonce and why. Each stream begins
 * without a version, so that it is answered: this is how we know that the server is back. One name a stream, never none: SPIRE answers an empty list with all that the caller may have.
 *
 * Owner of a name: its secret, as long as somebody holds that; its end waits for a task, since it may come from inside of one of the stream's events. An answer lies in memory whole
 * (one certificate, charged to the process), and is wiped behind its reading: there is a key in it. */
#include "xds/sds.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/grpc.h"
#include "net/watch.h"
#include "xds/ads.h"
#include "xds/decode_secret.h"
#include "xds/guard.h"
#include "xds/request.h"
#include "xds/sds_message.h"

static const uint64_t ms = 1000000;
/* An agent is mostly on its way up when we are: the first tries are close together. */
enum { BACKOFF_LEAST_MS = 50, BACKOFF_MOST_MS = 5000, CONNECT_MS = 5000 };
/* For so long a server that is not there yet is no failure (who needs the secret waits), and one that is there may think about its first answer. */
enum { PATIENCE_MS = 1000, ANSWER_MS = 10000 };
enum { PROBLEM_MAX = 2048, SAID_MOST = 6, SAID_PERIOD_MS = 60000 };
static const char path[] = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

struct talk {
	struct list node;
	struct ads_stream *stream;
	char *bytes;                  /* of the answer that is coming; acct_alloc; NULL: none */
	size_t n, size;
};
struct sds_name {
	struct list node;
	struct sds *sds;              /* NULL never: it ends all names before itself */
	struct secret *secret;        /* borrowed: it tells when nobody holds it; NULL from then on */
	enum secret_kind kind;
	char *name, *view;
	struct ads *ads;
	struct list talks;
	char *version;                /* the last one that was good; "" */
	bool heard;                   /* an answer came, ever */
	uint64_t begun_ns;
	struct timer patience;
	struct task end;
	struct log_every said;
};
struct sds {
	struct sds_spec spec;
	char *server, *node, *app, *source;
	struct conf_xds conf;         /* for the streams: one server */
	struct list names;
	struct watch *watch;          /* on the socket; while a stream is down; NULL: none */
};

/* ---- what is said ---- */

static void say(struct sds_name *n, struct ads_stream *s, const struct request *r)
{
	struct sb out = {0};

	request_write(r, &out);
	request_subscribe(&out, str_of(n->name));
	if (ads_send(s, out.p, out.n) < 0) /* a server that reads nothing */
		ads_stream_end(s, "no room for a request");
	sb_end(&out);
}

static void acknowledge(struct sds_name *n, struct ads_stream *s, const struct sds_message *m)
{
	free(n->version);
	n->version = xstrndup(m->version.p, m->version.n);
	say(n, s, &(struct request){.type_url = str_of(sds_type_url), .version = m->version, .nonce = m->nonce});
}

/* The reason goes into the log and back to the server, as text that must be UTF-8, while what it quotes may be anything. */
static void text_for_all(struct sb *problem)
{
	if (problem->n > PROBLEM_MAX)
		problem->n = PROBLEM_MAX;
	if (!guard_text_valid(sb_view(problem)))
		for (size_t i = 0; i < problem->n; i++)
			if (!problem->p[i] || (unsigned char)problem->p[i] > 127)
				problem->p[i] = '?';
	sb_char(problem, 0);
	problem->n--;
}

static void refuse(struct sds_name *n, struct ads_stream *s, const struct sds_message *m, struct sb *problem)
{
	struct sds *d = n->sds;

	text_for_all(problem);
	stat_inc(&d->spec.loop->stats, STAT_SDS_REJECTED);
	if (log_every(d->spec.log, &n->said, d->spec.loop->now_ns, SAID_MOST, SAID_PERIOD_MS))
		log_warn(d->spec.log, "sds '%s': the secret of %s is refused%s: %s", n->view, d->server, n->secret->state == SECRET_READY ? ", the last good one stays" : "", problem->p);
	say(n, s, &(struct request){.type_url = str_of(sds_type_url), .version = str_of(n->version), .nonce = m->nonce, .error = true, .error_code = GRPC_INVALID_ARGUMENT,
		.error_text = sb_view(problem)});
	if (n->secret)
		secret_fail(n->secret, problem->p);
}

/* ---- what is heard ---- */

/* 0, or why not in problem. */
static int take(struct sds_name *n, struct str bytes, struct sb *problem)
{
	struct tls_cert *cert = NULL;
	struct tls_trust *trust = NULL;
	const char *why = NULL;
	struct str name;
	int r = secret_decode(bytes, n->kind, &cert, &trust, &name, problem, NULL);

	if (r < 0) {
		if (!problem->n)
			sb_str(problem, err_text(r));
		return r;
	}
	r = n->kind == SECRET_CERT ? secret_put_cert(n->secret, cert, &why) : secret_put_trust(n->secret, trust, &why);
	if (r < 0)
		sb_str(problem, why ? why : err_text(r));
	return r;
}

static void answered(struct sds_name *n, struct ads_stream *s, struct str bytes)
{
	struct sb problem = {0};
	struct sds_message m;

	if (sds_message_read(bytes, str_of(n->name), &m, &problem) < 0) {
		stat_inc(&n->sds->spec.loop->stats, STAT_SDS_REJECTED);
		ads_stream_end(s, "an answer that is no DiscoveryResponse");
		sb_end(&problem);
		return;
	}
	n->heard = true;
	timer_cancel(n->sds->spec.loop, &n->patience);
	if (!m.found || take(n, m.secret, &problem) < 0) {
		if (n->secret)
			refuse(n, s, &m, &problem);
	} else {
		stat_inc(&n->sds->spec.loop->stats, STAT_SDS_UPDATES);
		acknowledge(n, s, &m);
	}
	sb_end(&problem);
}

static void talk_forget(struct sds_name *n, struct talk *t)
{
	if (t->bytes) {
		explicit_bzero(t->bytes, t->n);
		acct_free(&n->sds->spec.loop->memory, t->bytes);
	}
	t->bytes = NULL;
	t->n = t->size = 0;
}

static bool on_begin(void *user, struct ads_stream *s, uint32_t size)
{
	struct sds_name *n = user;
	struct talk *t = ads_stream_data(s);

	talk_forget(n, t);
	if (size > SDS_ANSWER_MAX)
		return false;
	t->bytes = acct_alloc(&n->sds->spec.loop->memory, size + 1);
	t->size = size;
	return t->bytes != NULL;
}

static void on_bytes(void *user, struct ads_stream *s, const void *p, size_t size, bool whole)
{
	struct sds_name *n = user;
	struct talk *t = ads_stream_data(s);

	if (!n->secret || !t->bytes || size > t->size - t->n)
		return;
	memcpy(t->bytes + t->n, p, size);
	t->n += size;
	if (!whole)
		return;
	/* The talk may end inside: what is read is taken out of it. */
	struct talk was = *t;
	t->bytes = NULL;
	answered(n, s, str_n(was.bytes, was.n));
	talk_forget(n, &was);
}

/* ---- streams ---- */

static void talk_end(struct sds_name *n, struct talk *t)
{
	talk_forget(n, t);
	list_del(&t->node);
	free(t);
}

static void on_open(void *user, struct ads_stream *s)
{
	struct sds_name *n = user;
	struct talk *t = xnew(struct talk);

	t->stream = s;
	list_push(&n->talks, &t->node);
	ads_stream_set(s, t);
	say(n, s, &(struct request){.node = str_n(n->sds->node, n->sds->spec.node_n), .type_url = str_of(sds_type_url)});
}

static void on_closed(void *user, struct ads_stream *s, int status, const char *why)
{
	struct sds_name *n = user;
	struct talk *t = ads_stream_data(s);

	(void)why;
	if (status != GRPC_OK)
		stat_inc(&n->sds->spec.loop->stats, STAT_SDS_STREAMS_LOST);
	if (t)
		talk_end(n, t);
}

static void socket_changed(void *user)
{
	struct sds *d = user;

	list_each(at, tmp, &d->names)
		ads_retry(list_entry(at, struct sds_name, node)->ads);
}

static bool is_up(const struct sds_name *n)
{
	struct ads_info i;

	ads_info(n->ads, &i);
	return i.up;
}

/* The folder is watched only while there is something to wait for: a folder of a volume may be busy with other things. */
static void watch_as_needed(struct sds *d)
{
	bool needed = false;

	list_each(at, tmp, &d->names)
		needed |= !is_up(list_entry(at, struct sds_name, node));
	if (!needed)
		watch_free(&d->watch);
	else if (!d->watch && d->server[strlen("unix:")] == '/' && watch_new(d->spec.loop, d->server + strlen("unix:"), socket_changed, d, &d->watch) < 0)
		d->watch = NULL; /* no such folder yet: the back-off finds it */
}

static void patience_over(struct timer *t)
{
	struct sds_name *n = container_of(t, struct sds_name, patience);
	struct loop *l = n->sds->spec.loop;
	bool last = l->now_ns - n->begun_ns >= ANSWER_MS * ms;
	char text[128];

	if (!last) /* the second look */
		timer_set(l, &n->patience, n->begun_ns + ANSWER_MS * ms, patience_over);
	if (*ads_last_error(n->ads) && strcmp(ads_state_name(n->ads), "open") != 0) {
		secret_fail(n->secret, ads_last_error(n->ads));
	} else if (last) {
		snprintf(text, sizeof(text), "%.80s has not answered for %d s", n->sds->server, ANSWER_MS / 1000);
		secret_fail(n->secret, text);
	}
}

static void on_state(void *user, bool up, const char *why)
{
	struct sds_name *n = user;

	/* What there is goes on; before anything came, a server that starts beside us is given its time. */
	if (!up && n->secret && (n->heard || n->sds->spec.loop->now_ns - n->begun_ns >= PATIENCE_MS * ms))
		secret_fail(n->secret, why);
	watch_as_needed(n->sds);
}

static const struct ads_events events = {.open = on_open, .begin = on_begin, .bytes = on_bytes, .closed = on_closed, .state = on_state};

/* ---- names ---- */

static void name_free(struct sds_name *n)
{
	struct sds *d = n->sds;

	ads_free(&n->ads);
	list_each(at, tmp, &n->talks)
		talk_end(n, list_entry(at, struct talk, node));
	timer_cancel(d->spec.loop, &n->patience);
	loop_undefer(&n->end);
	list_del(&n->node);
	free(n->version);
	free(n->view);
	free(n->name);
	free(n);
	watch_as_needed(d);
}

static void name_over(struct task *t)
{
	name_free(container_of(t, struct sds_name, end));
}

/* Nobody holds the secret any more. */
static void secret_gone(void *ctx, struct secret *s)
{
	struct sds_name *n = ctx;

	(void)s;
	n->secret = NULL;
	timer_cancel(n->sds->spec.loop, &n->patience);
	loop_defer(n->sds->spec.loop, &n->end, name_over);
}

static struct sds_name *name_new(struct sds *d, enum secret_kind kind, const char *name)
{
	struct sds_name *n = xnew(struct sds_name);

	n->sds = d;
	n->kind = kind;
	n->name = xstrdup(name);
	n->view = xasprintf("%s/%s", d->app, name);
	n->version = xstrdup("");
	n->begun_ns = d->spec.loop->now_ns;
	list_init(&n->talks);
	list_push(&d->names, &n->node);
	struct ads_spec spec = {.loop = d->spec.loop, .log = d->spec.log, .dns = d->spec.dns, .limits = d->spec.limits, .conf = &d->conf, .path = path, .view = n->view, .word = "sds",
		.backoff_least_ns = BACKOFF_LEAST_MS * ms, .backoff_most_ns = BACKOFF_MOST_MS * ms};
	n->ads = ads_new(&spec, &events, n);
	return n;
}

static void name_start(struct sds_name *n)
{
	timer_in(n->sds->spec.loop, &n->patience, PATIENCE_MS * ms, patience_over);
	ads_start(n->ads);
	watch_as_needed(n->sds);
}

struct secret *sds_get(struct sds *d, enum secret_kind kind, const char *name)
{
	list_each(at, tmp, &d->names) {
		struct sds_name *n = list_entry(at, struct sds_name, node);
		if (n->secret && n->kind == kind && strcmp(n->name, name) == 0)
			return secret_ref(n->secret);
	}
	struct sds_name *n = name_new(d, kind, name);
	n->secret = secret_new(d->spec.transports, kind, name, d->source, secret_gone, n);
	name_start(n);
	return n->secret;
}

void sds_take(struct sds *d, struct secret *secret, const char *name)
{
	struct sds_name *n = name_new(d, secret->kind, name);

	n->secret = secret;
	n->heard = secret->state == SECRET_READY;
	secret_ask_as(secret, name); /* whoever reads that it misses looks for this one at the agent, not for an id that nobody knows yet */
	secret_hand(secret, d->source, secret_gone, n);
	name_start(n);
}

/* ---- a life ---- */

struct sds *sds_new(const struct sds_spec *spec)
{
	struct sds *d = xnew(struct sds);

	d->spec = *spec;
	d->server = xstrdup(spec->server);
	d->node = xalloc(spec->node_n + 1);
	memcpy(d->node, spec->node, spec->node_n);
	d->app = xstrdup(spec->app);
	d->source = xasprintf("sds %s", spec->server);
	d->conf = (struct conf_xds){.servers = &d->server, .nservers = 1, .connect_timeout_ns = CONNECT_MS * ms};
	list_init(&d->names);
	return d;
}

void sds_free(struct sds **pd)
{
	struct sds *d = *pd;

	if (!d)
		return;
	*pd = NULL;
	list_each(at, tmp, &d->names) {
		struct sds_name *n = list_entry(at, struct sds_name, node);
		if (n->secret)
			secret_hand(n->secret, d->source, NULL, NULL);
		name_free(n);
	}
	watch_free(&d->watch);
	free(d->source);
	free(d->app);
	free(d->node);
	free(d->server);
	free(d);
}

void sds_thaw(struct sds *d)
{
	list_each(at, tmp, &d->names)
		ads_thaw(list_entry(at, struct sds_name, node)->ads);
}

void sds_again(struct sds *d, const char *why)
{
	list_each(at, tmp, &d->names)
		ads_restart(list_entry(at, struct sds_name, node)->ads, why);
}
