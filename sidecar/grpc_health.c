/* sidecar/grpc_health: see the header. What is true is sidecar/health_truth's matter; here is the conversation.
 *
 *   head, one message, end --> ask_run --+-- Check  one look; parked while the answer is not known; one message, trailers
 *                                        +-- Watch  a look now and whenever something may have changed; a message where the status is another one than was said last
 *                                        +-- List   what is known at this moment
 *
 *   struct ask: the up end of an exchange, from grpc_health_open to its end or reset; on its app's list while it may be told something. At most one message of a Watch is under way:
 *   whoever reads slowly gets the status that is true when he reads. Everything happens in its task: marks may come from anywhere. */
#include "sidecar/grpc_health.h"
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc_health_message.h"
#include "sidecar/health_truth.h"
#include "sidecar/sidecar.h"

enum { PREFIX = 5, MESSAGE_MAX = 4096, LIST_MAX = 100 /* health.proto: a server that has more may say RESOURCE_EXHAUSTED */ };
#define AGAIN_NS UINT64_C(1000000000)

enum method { CHECK, WATCH, LIST };
struct ask {
	struct stream s;
	struct grave grave;
	struct task task;
	struct timer timer;               /* of a parked Check, or a Watch that looks again */
	struct list node;
	struct sidecar *sc;               /* borrowed */
	struct app *app;                  /* borrowed: it outlives its exchanges */
	struct fields *head;              /* counted */
	char *default_authority;          /* NULL */
	char *service;                    /* NULL until the message was read */
	struct truth truth;
	struct sb in;                     /* of the request, PREFIX + MESSAGE_MAX at most */
	enum method method;
	bool of_app, fin, ended, headed, parked, counted, going, late, no_memory, has_told;
	enum grpc_health told;
	size_t owed;                      /* bytes of the answer that the reader has not taken */
	size_t charged;                   /* to the process: itself, and what the other side makes it keep */
};

static void ask_run(struct task *task);

static struct ask *ask_of(struct stream *s) { return container_of(s, struct ask, s); }

bool grpc_health_is(struct str method, struct str path)
{
	if (path.n < sizeof GRPC_HEALTH_LIST - 1 || path.p[1] != 'g' || path.p[2] != 'r' || !str_is(method, "POST"))
		return false;
	return str_is(path, GRPC_HEALTH_CHECK) || str_is(path, GRPC_HEALTH_WATCH) || str_is(path, GRPC_HEALTH_LIST);
}

/* ---- what is kept ---- */

/* False: there is no memory for n bytes more, and that is what it will be told. */
static bool ask_charge(struct ask *k, size_t n)
{
	if (k->no_memory || !mem_try(&k->sc->loop->memory, n)) {
		k->no_memory = true;
		return false;
	}
	k->charged += n;
	return true;
}

static void ask_discharge(struct ask *k, size_t n)
{
	k->charged -= n;
	mem_give(&k->sc->loop->memory, n);
}

static void ask_gather(struct ask *k, const char *bytes, size_t n)
{
	size_t was = k->in.cap;
	sb_add(&k->in, bytes, n);
	if (k->in.cap > was)
		ask_charge(k, k->in.cap - was);
}

/* ---- the end ---- */

static void ask_bury(struct grave *g)
{
	struct ask *k = container_of(g, struct ask, grave);
	mem_give(&k->sc->loop->memory, k->charged);
	fields_unref(&k->head);
	sb_end(&k->in);
	free(k->default_authority);
	free(k->service);
	free(k);
}

static void ask_unpark(struct ask *k)
{
	if (!k->parked)
		return;
	k->parked = false;
	app_unpark(k->app);
	timer_cancel(k->sc->loop, &k->timer);
}

static void ask_end(struct ask *k)
{
	k->ended = true;
	ask_unpark(k);
	if (k->counted) {
		k->app->nwatches--;
		stat_dec(&k->sc->loop->stats, STAT_WATCHES);
	}
	list_del(&k->node);
	timer_cancel(k->sc->loop, &k->timer);
	truth_end(&k->truth);
	loop_undefer(&k->task);
	loop_bury(k->sc->loop, &k->grave, ask_bury);
}

/* Each of the events may end it: the reader resets what it has no use for. */
static void ask_done(struct ask *k)
{
	const struct stream_events *ev = k->s.ev;
	void *user = k->s.user;
	struct stream_end end = {.cause = END_DONE};
	ask_end(k);
	ev->on_end(user, &end);
}

/* ---- answers ---- */

static struct fields *status_fields(struct ask *k, int status, const char *message, bool head)
{
	struct fields *f = fields_new(k->sc->loop->fields, NULL); /* small and ours: not charged */
	struct sb encoded = {0};
	char num[16];
	if (head) {
		fields_add_token(f, FIELD_STATUS, STR("200"));
		fields_add_token(f, FIELD_CONTENT_TYPE, STR("application/grpc"));
	}
	snprintf(num, sizeof num, "%d", status);
	fields_add_token(f, FIELD_GRPC_STATUS, str_of(num));
	if (message && *message) {
		grpc_message_encode(str_of(message), &encoded);
		fields_add_token(f, FIELD_GRPC_MESSAGE, sb_view(&encoded));
	}
	if (head && status == GRPC_UNIMPLEMENTED)
		fields_add(f, STR("grpc-accept-encoding"), STR("identity"));
	sb_end(&encoded);
	return f;
}

static void ask_finish(struct ask *k, int status, const char *message)
{
	bool headed = k->headed;
	struct fields *f = status_fields(k, status, message, !headed);
	k->headed = true;
	if (headed)
		k->s.ev->on_trailers(k->s.user, f);
	else
		k->s.ev->on_head(k->s.user, f, true);
	fields_unref(&f);
	if (!k->ended)
		ask_done(k);
}

/* PROTOCOL-HTTP2: "If Content-Type does not begin with application/grpc, gRPC servers SHOULD respond with HTTP status of 415": whoever speaks something else understands that. */
static void ask_is_not_grpc(struct ask *k)
{
	struct fields *f = fields_new(k->sc->loop->fields, NULL);
	fields_add_token(f, FIELD_STATUS, STR("415"));
	fields_add_token(f, FIELD_CONTENT_LENGTH, STR("0"));
	k->headed = true;
	k->s.ev->on_head(k->s.user, f, true);
	fields_unref(&f);
	if (!k->ended)
		ask_done(k);
}

static void ask_head(struct ask *k)
{
	if (k->headed)
		return;
	struct fields *f = fields_new(k->sc->loop->fields, NULL);
	fields_add_token(f, FIELD_STATUS, STR("200"));
	fields_add_token(f, FIELD_CONTENT_TYPE, STR("application/grpc"));
	k->headed = true;
	k->s.ev->on_head(k->s.user, f, false);
	fields_unref(&f);
}

static void ask_message(struct ask *k, const void *bytes, size_t n)
{
	struct chain data = CHAIN_INIT;
	struct sb framed = {0};
	const char prefix[PREFIX] = {0, 0, (char)(n >> 16), (char)(n >> 8), (char)n};
	ask_head(k);
	if (k->ended)
		return;
	sb_add(&framed, prefix, PREFIX);
	sb_add(&framed, bytes, n);
	k->owed += framed.n;
	chain_copy_in(&data, &k->sc->loop->bufs, NULL, framed.p, framed.n);
	chain_seal(&data);
	k->s.ev->on_data(k->s.user, &data, false);
	chain_clear(&data);
	sb_end(&framed);
}

static void ask_status(struct ask *k, enum grpc_health status)
{
	uint8_t bytes[GRPC_HEALTH_STATUS_BYTES];
	ask_message(k, bytes, grpc_health_response_encode(status, bytes));
}

/* ---- the request ---- */

static const char no_memory[] = "the sidecar has no memory left";

/* NULL: it is whole and good, and k->service is what it says. */
static const char *ask_read(struct ask *k, int *ret_status)
{
	const uint8_t *p = (const uint8_t *)k->in.p;
	size_t n = k->in.n < PREFIX ? 0 : (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	struct str service;
	*ret_status = GRPC_INTERNAL;
	if (k->in.n < PREFIX)
		return k->in.n ? "the request ends inside a message" : "the request has no message";
	if (p[0] > 1)
		return "a message with unknown flags";
	*ret_status = GRPC_UNIMPLEMENTED;
	if (p[0])
		return "compressed messages are not read here: grpc-encoding identity is";
	*ret_status = GRPC_RESOURCE_EXHAUSTED;
	if (n > MESSAGE_MAX)
		return "a message of more than 4096 bytes";
	*ret_status = GRPC_INTERNAL;
	if (k->in.n != PREFIX + n)
		return k->in.n < PREFIX + n ? "the request ends inside a message" : "more than one message";
	*ret_status = GRPC_INVALID_ARGUMENT;
	if (k->method == LIST)
		service = STR(""); /* HealthListRequest has no fields */
	else if (!grpc_health_request_decode(str_n(k->in.p + PREFIX, n), &service))
		return "the message is no HealthCheckRequest";
	if (service.n && memchr(service.p, 0, service.n))
		return "a service with a NUL in its name";
	*ret_status = GRPC_RESOURCE_EXHAUSTED;
	if (!ask_charge(k, service.n + 1))
		return no_memory;
	k->service = xstrndup(service.n ? service.p : "", service.n);
	ask_discharge(k, k->in.cap);
	sb_end(&k->in);
	return NULL;
}

/* What the first five bytes say may be enough to say no. */
static bool ask_is_hopeless(const struct ask *k)
{
	const uint8_t *p = (const uint8_t *)k->in.p;
	return k->in.n >= PREFIX && (p[0] || ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]) > MESSAGE_MAX);
}

/* ---- Check ---- */

static enum truth_says ask_look(struct ask *k)
{
	if (k->of_app)
		return truth_of_app(k->app, str_of(k->service));
	return truth_look(&k->truth, k->head, str_of(k->service), k->default_authority);
}

static void ask_refuse(struct ask *k, enum truth_says says)
{
	struct str authority = fields_value(k->head, FIELD_AUTHORITY);
	char text[800];
	snprintf(text, sizeof text, "%s: '%.*s', service '%.256s'%s%s", says == SAYS_UNKNOWN ? "no such service" : says == SAYS_BAD ? "the authority is not a name" :
		says == SAYS_FULL ? "too many names are wanted from the control plane at once" : "the name was not resolved", authority.n < 256 ? (int)authority.n : 256,
		authority.n ? authority.p : "", k->service, k->truth.why[0] ? ": " : "", k->truth.why);
	ask_finish(k, says == SAYS_UNKNOWN ? GRPC_NOT_FOUND : says == SAYS_BAD ? GRPC_INVALID_ARGUMENT : says == SAYS_FULL ? GRPC_RESOURCE_EXHAUSTED : GRPC_UNAVAILABLE, text);
}

static void timer_due(struct timer *t)
{
	struct ask *k = container_of(t, struct ask, timer);
	k->late = true;
	if (k->parked)
		stat_inc(&k->sc->loop->stats, STAT_PARK_TIMEOUT);
	loop_defer(k->sc->loop, &k->task, ask_run);
}

/* Like any call that waits for its name. */
static void ask_park(struct ask *k)
{
	struct sidecar *sc = k->sc;
	if (k->parked)
		return;
	if (!app_park(k->app)) {
		ask_finish(k, GRPC_UNAVAILABLE, "too many calls wait for their names");
		return;
	}
	k->parked = true;
	timer_in(sc->loop, &k->timer, sc->conf->park.time_ns, timer_due);
}

static void ask_check(struct ask *k)
{
	enum truth_says says = ask_look(k);
	if (says == SAYS_WAIT && k->late && k->truth.named) /* its providers are not known: a call would have waited as long, in vain */
		says = SAYS_NOT_SERVING;
	if (says == SAYS_WAIT && !k->late) {
		ask_park(k);
		return;
	}
	ask_unpark(k);
	if (says != SAYS_SERVING && says != SAYS_NOT_SERVING) {
		ask_refuse(k, says);
		return;
	}
	ask_status(k, says == SAYS_SERVING ? GRPC_HEALTH_SERVING : GRPC_HEALTH_NOT_SERVING);
	if (!k->ended)
		ask_finish(k, GRPC_OK, NULL);
}

/* ---- Watch ---- */

static void ask_tell(struct ask *k, enum grpc_health status)
{
	if (k->has_told && k->told == status)
		return;
	k->has_told = true;
	k->told = status;
	ask_status(k, status);
}

static void ask_watch(struct ask *k)
{
	if (k->owed) /* it comes again when that has been read */
		return;
	enum truth_says says = ask_look(k);
	if (k->truth.again && !timer_armed(&k->timer))
		timer_in(k->sc->loop, &k->timer, AGAIN_NS, timer_due);
	switch (says) {
	case SAYS_SERVING:
		ask_tell(k, GRPC_HEALTH_SERVING);
		return;
	case SAYS_NOT_SERVING:
		ask_tell(k, GRPC_HEALTH_NOT_SERVING);
		return;
	case SAYS_WAIT: /* what was said last may still be true, and is said no more often than it must */
		if (!k->has_told)
			ask_tell(k, GRPC_HEALTH_SERVICE_UNKNOWN);
		return;
	case SAYS_UNKNOWN:
	case SAYS_UNREACHED:
		ask_tell(k, GRPC_HEALTH_SERVICE_UNKNOWN);
		return;
	case SAYS_FULL:
	case SAYS_BAD:
		ask_refuse(k, says);
		return;
	}
}

/* False: it was refused. */
static bool ask_begin_watch(struct ask *k)
{
	if (k->app->watches_over) {
		ask_finish(k, GRPC_UNAVAILABLE, "the sidecar is going away");
		return false;
	}
	if (k->of_app && account_above(&k->sc->loop->memory, k->sc->memory_outside)) { /* a Check is answered and gone; this one would stay, and anybody may open it */
		stat_inc(&k->sc->loop->stats, STAT_MEMORY_SOFT);
		ask_finish(k, GRPC_RESOURCE_EXHAUSTED, no_memory);
		return false;
	}
	if (k->s.reader && !stream_uncount(k->s.reader)) {
		ask_finish(k, GRPC_RESOURCE_EXHAUSTED, "too many Watches on this connection (limits.watches_per_connection)");
		return false;
	}
	k->counted = true;
	k->app->nwatches++;
	stat_inc(&k->sc->loop->stats, STAT_WATCHES);
	return true;
}

/* ---- List ---- */

static enum grpc_health listed(enum truth_says says)
{
	return says == SAYS_SERVING ? GRPC_HEALTH_SERVING : says == SAYS_NOT_SERVING ? GRPC_HEALTH_NOT_SERVING : GRPC_HEALTH_SERVICE_UNKNOWN;
}

/* Of the app itself: those of health.services that the path map does not have as well. */
static uint32_t list_own(struct ask *k, struct sb *out)
{
	const struct conf_app *conf = k->app->conf;
	uint32_t n = 0;
	for (uint32_t i = 0; i < conf->health.nservices && k->of_app; i++) {
		struct str service = str_of(conf->health.services[i]);
		if (conf_pair_find(conf->paths, conf->npaths, service))
			continue;
		n++;
		if (out)
			grpc_health_list_add(out, service, listed(truth_of_app(k->app, service)));
	}
	return n;
}

/* "", health.services, and what the path map has. It waits for nobody: of what was never called it says that it is not known, and has asked for it, as a call would. */
static void ask_list(struct ask *k)
{
	const struct conf_app *conf = k->app->conf;
	struct sb out = {0};
	if (conf->npaths + list_own(k, NULL) >= LIST_MAX) {
		ask_finish(k, GRPC_RESOURCE_EXHAUSTED, "more than 100 services");
		return;
	}
	grpc_health_list_add(&out, STR(""), listed(ask_look(k)));
	list_own(k, &out);
	for (uint32_t i = 0; i < conf->npaths; i++) {
		struct str service = str_of(conf->paths[i].from);
		enum truth_says says = k->of_app ? truth_of_app(k->app, service) : truth_look(&k->truth, k->head, service, k->default_authority);
		grpc_health_list_add(&out, service, listed(says));
	}
	ask_message(k, out.p, out.n);
	sb_end(&out);
	if (!k->ended)
		ask_finish(k, GRPC_OK, NULL);
}

/* ---- running ---- */

/* False: it is over. */
static bool ask_begin(struct ask *k)
{
	int status;
	stat_inc(&k->sc->loop->stats, STAT_HEALTH_ASKED);
	if (!fields_is_grpc(k->head)) {
		ask_is_not_grpc(k);
		return false;
	}
	if (k->no_memory) {
		ask_finish(k, GRPC_RESOURCE_EXHAUSTED, no_memory);
		return false;
	}
	const char *wrong = ask_read(k, &status);
	if (wrong) {
		ask_finish(k, status, wrong);
		return false;
	}
	list_push(&k->app->asks, &k->node);
	return k->method != WATCH || ask_begin_watch(k);
}

static void ask_run(struct task *task)
{
	struct ask *k = container_of(task, struct ask, task);
	if (!k->service && !ask_begin(k))
		return;
	if (k->going) {
		ask_finish(k, GRPC_UNAVAILABLE, "the sidecar is going away");
		return;
	}
	if (k->method == CHECK)
		ask_check(k);
	else if (k->method == WATCH)
		ask_watch(k);
	else
		ask_list(k);
}

static void ask_mark(struct ask *k)
{
	if (!k->ended)
		loop_defer(k->sc->loop, &k->task, ask_run);
}

static void truth_changed(struct truth *t)
{
	ask_mark(container_of(t, struct ask, truth));
}

/* ---- the stream ---- */

static void ask_body_over(struct ask *k)
{
	if (!k->fin && !k->ended) {
		k->fin = true;
		ask_mark(k);
	}
}

static int ask_send_head(struct stream *s, struct fields *head, bool fin)
{
	struct ask *k = ask_of(s);
	struct str path = fields_value(head, FIELD_PATH);
	k->head = fields_ref(head);
	k->method = str_is(path, GRPC_HEALTH_CHECK) ? CHECK : str_is(path, GRPC_HEALTH_WATCH) ? WATCH : LIST;
	if (fin || !fields_is_grpc(head) || k->no_memory)
		ask_body_over(k);
	return 0;
}

static void ask_send_data(struct stream *s, struct chain *moved, bool fin)
{
	struct ask *k = ask_of(s);
	size_t n = moved->bytes, room = PREFIX + MESSAGE_MAX + 1 - k->in.n; /* one more tells that it is too much */
	for (const struct slice *at = moved->head; at && room && !k->fin && !k->no_memory; at = at->next) {
		size_t part = at->n < room ? at->n : room;
		ask_gather(k, at->p, part);
		room -= part;
	}
	chain_clear(moved);
	if (n && !k->ended)
		s->ev->on_sent(s->user, n);
	if (fin || k->no_memory || ask_is_hopeless(k))
		ask_body_over(k);
}

static int ask_send_trailers(struct stream *s, struct fields *trailers)
{
	(void)trailers;
	ask_body_over(ask_of(s));
	return 0;
}

static void ask_reset(struct stream *s, uint32_t code)
{
	(void)code;
	struct ask *k = ask_of(s);
	if (!k->ended)
		ask_end(k);
}

static void ask_credit(struct stream *s, size_t n)
{
	struct ask *k = ask_of(s);
	k->owed -= n < k->owed ? n : k->owed;
	if (!k->owed && k->method == WATCH && k->service)
		ask_mark(k);
}

static const struct stream_ops ask_ops = {.send_head = ask_send_head, .send_data = ask_send_data, .send_trailers = ask_send_trailers, .reset = ask_reset, .credit = ask_credit};

struct stream *grpc_health_open(struct sidecar *sc, struct app *app, bool app_truth, const char *default_authority, const struct stream_events *ev, void *user)
{
	struct ask *k = xnew(struct ask);
	k->s = (struct stream){.ops = &ask_ops, .ev = ev, .user = user, .account = &sc->loop->memory};
	k->sc = sc;
	ask_charge(k, sizeof *k);
	k->app = app;
	k->of_app = app_truth;
	k->default_authority = default_authority ? xstrdup(default_authority) : NULL;
	k->truth = (struct truth){.app = app, .changed = truth_changed};
	return &k->s;
}

/* ---- for others ---- */

void grpc_health_life(struct app *a)
{
	list_each(n, tmp, &a->asks)
		ask_mark(list_entry(n, struct ask, node));
}

void grpc_health_end(struct app *a)
{
	a->watches_over = true;
	list_each(n, tmp, &a->asks) {
		struct ask *k = list_entry(n, struct ask, node);
		if (k->method != WATCH)
			continue;
		k->going = true;
		ask_mark(k);
	}
}
