/* sidecar/local: the streams of local answers. What is answered stands in tables: the apps' own sockets' in healthcheck.c, the control socket's in control.c. */
#include "sidecar/local.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/grpc.h"

/* Nobody reads a body here, so nobody waits long for one: what is posted is heard, and a drain goes on, though a caller stalls in the middle. */
static const uint64_t body_max_ns = UINT64_C(1000000000);

struct local_stream {
	struct stream s;
	struct grave grave;
	struct task task;
	struct timer late;                /* armed while the request's body has not ended */
	struct sidecar *sc;               /* borrowed */
	struct app *app;
	const struct local_row *row;
	struct fields *head;              /* counted */
	struct sock_cred cred;
	struct uds_client *client;        /* borrowed: outlives the exchange's down end, and so this */
	size_t body;                      /* bytes of the request's */
	bool read_only, ended, queued, is_grpc;
	bool deferred;                    /* a handler answers later */
	void (*cancelled)(void *user); void *user;
};

static struct local_stream *local_of(struct stream *s) { return container_of(s, struct local_stream, s); }

static void local_bury(struct grave *g)
{
	struct local_stream *ls = container_of(g, struct local_stream, grave);
	fields_unref(&ls->head);
	free(ls);
}

static void local_end(struct local_stream *ls)
{
	ls->ended = true;
	loop_undefer(&ls->task);
	timer_cancel(ls->sc->loop, &ls->late);
	loop_bury(ls->sc->loop, &ls->grave, local_bury);
}

static const char allow_get[] = "GET, HEAD", allow_post[] = "POST";
static void wrong_method(struct local_call *c);
static const struct local_row row_only_get = {allow_get, "", wrong_method, false, ""}, row_only_post = {allow_post, "", wrong_method, false, ""};

static int grpc_status_of(int http)
{
	static const struct { int http, grpc; } rows[] = {{200, 0}, {400, 3}, {403, 7}, {404, 5}, {405, 12}, {413, 8}, {429, 8}, {503, 14}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (rows[i].http == http)
			return rows[i].grpc;
	return 2;
}

/* Everything is told: the exchange hears of the end. */
static void local_done(struct local_stream *ls)
{
	const struct stream_events *ev = ls->s.ev;
	void *user = ls->s.user;
	struct stream_end end = {.cause = END_DONE};
	if (ls->ended)
		return;
	local_end(ls);
	ev->on_end(user, &end);
}

static void local_data(struct local_stream *ls, const void *bytes, size_t n, bool fin)
{
	struct chain data = CHAIN_INIT;
	if (ls->ended)
		return;
	chain_copy_in(&data, &ls->sc->loop->bufs, NULL, bytes, n); /* our own pages: not charged */
	ls->s.ev->on_data(ls->s.user, &data, fin);
	chain_clear(&data);
}

/* A call of google.protobuf.Empty to google.protobuf.Empty, for thin SDKs whose only client is gRPC's. */
static void local_answer_grpc(struct local_stream *ls, struct local_call *c)
{
	struct loop *l = ls->sc->loop;
	struct fields *h = fields_new(l->fields, NULL), *t = c->status == 200 ? fields_new(l->fields, NULL) : h;
	struct str text = str_trim(sb_view(&c->body));
	struct sb message = {0};
	char num[16];
	if (text.n && text.p[text.n - 1] == '\n')
		text.n--;
	snprintf(num, sizeof num, "%d", grpc_status_of(c->status));
	grpc_message_encode(text, &message);
	fields_add_token(h, FIELD_STATUS, STR("200"));
	fields_add_token(h, FIELD_CONTENT_TYPE, STR("application/grpc"));
	fields_add_token(t, FIELD_GRPC_STATUS, str_of(num));
	if (c->status != 200)
		fields_add_token(t, FIELD_GRPC_MESSAGE, sb_view(&message));
	ls->s.ev->on_head(ls->s.user, h, t == h);
	if (t != h) {
		local_data(ls, "\0\0\0\0", 5, false);
		if (!ls->ended)
			ls->s.ev->on_trailers(ls->s.user, t);
		fields_unref(&t);
	}
	fields_unref(&h);
	sb_end(&message);
	local_done(ls);
}

static void local_answer(struct local_stream *ls, struct local_call *c)
{
	if (c->as_grpc) {
		local_answer_grpc(ls, c);
		return;
	}
	struct fields *h = fields_new(ls->sc->loop->fields, NULL);
	char num[24];
	bool no_body = str_is(c->method, "HEAD");
	snprintf(num, sizeof num, "%d", c->status);
	fields_add_token(h, FIELD_STATUS, str_of(num));
	fields_add_token(h, FIELD_CONTENT_TYPE, str_of(c->type));
	snprintf(num, sizeof num, "%zu", c->body.n);
	fields_add_token(h, FIELD_CONTENT_LENGTH, str_of(num));
	if (c->status == 405) /* the read-only door's rows take POST elsewhere: there is nothing here that would do */
		fields_add(h, STR("allow"), str_of(ls->row == &row_only_post ? allow_post : allow_get));
	ls->s.ev->on_head(ls->s.user, h, no_body);
	fields_unref(&h);
	if (!no_body)
		local_data(ls, c->body.p, c->body.n, true);
	local_done(ls);
}

/* ---- the handler's turn ---- */

static struct local_call local_call_of(struct local_stream *ls)
{
	struct str whole = fields_value(ls->head, FIELD_PATH), query = {0};
	ptrdiff_t mark = str_find(whole, '?');
	if (mark >= 0) {
		query = str_cut(whole, (size_t)mark + 1, whole.n);
		whole = str_cut(whole, 0, (size_t)mark);
	}
	return (struct local_call){.sc = ls->sc, .app = ls->app, .method = fields_value(ls->head, FIELD_METHOD), .path = whole, .query = query, .cred = &ls->cred, .client = ls->client,
		.is_grpc = ls->is_grpc, .read_only = ls->read_only, .status = 200, .type = "text/plain; charset=utf-8", .later = (struct local_later *)ls};
}

/* On an app's own doors. Of what else is asked, bodies of any size are read and forgotten: a checker of others may send what it likes. */
static bool local_is_too_much(const struct local_stream *ls)
{
	return ls->client && ls->body > LOCAL_BODY_MAX;
}

static void local_run(struct task *t)
{
	struct local_stream *ls = container_of(t, struct local_stream, task);
	struct local_call c = local_call_of(ls);
	if (local_is_too_much(ls)) {
		stat_inc(&ls->sc->loop->stats, STAT_LOCAL_BODY);
		c.status = 413;
		c.as_grpc = ls->is_grpc;
		sb_fmt(&c.body, "a body is not read here, and more than %d bytes of one are too many\n", LOCAL_BODY_MAX);
	} else if (ls->row->changes && ls->read_only) {
		c.status = 405;
		sb_str(&c.body, "this door is read-only\n");
	} else {
		ls->row->fn(&c);
	}
	if (!ls->deferred)
		local_answer(ls, &c);
	sb_end(&c.body);
}

struct local_later *local_call_defer(struct local_call *c, void (*cancelled)(void *user), void *user)
{
	struct local_stream *ls = (struct local_stream *)c->later;
	ls->deferred = true;
	ls->cancelled = cancelled;
	ls->user = user;
	return c->later;
}

void local_call_answer(struct local_later *later, void (*fill)(struct local_call *c, void *user), void *user)
{
	struct local_stream *ls = (struct local_stream *)later;
	struct local_call c = local_call_of(ls);
	ls->deferred = false;
	fill(&c, user);
	local_answer(ls, &c);
	sb_end(&c.body);
}

static void local_body_over(struct local_stream *ls)
{
	if (ls->queued || ls->ended)
		return;
	ls->queued = true;
	timer_cancel(ls->sc->loop, &ls->late);
	loop_defer(ls->sc->loop, &ls->task, local_run);
}

static void local_body_late(struct timer *t)
{
	local_body_over(container_of(t, struct local_stream, late));
}

static int local_send_head(struct stream *s, struct fields *head, bool fin)
{
	struct local_stream *ls = local_of(s);
	ls->head = fields_ref(head);
	ls->is_grpc = fields_is_grpc(head);
	if (fin)
		local_body_over(ls);
	else
		timer_in(ls->sc->loop, &ls->late, body_max_ns, local_body_late);
	return 0;
}

static void local_send_data(struct stream *s, struct chain *moved, bool fin)
{
	struct local_stream *ls = local_of(s);
	size_t n = moved->bytes;
	chain_clear(moved);
	if (ls->ended)
		return;
	ls->body += n;
	if (n)
		s->ev->on_sent(s->user, n); /* read and forgotten */
	if (fin || local_is_too_much(ls)) /* the answer ends the stream: what is still to come is dropped */
		local_body_over(ls);
}

static int local_send_trailers(struct stream *s, struct fields *trailers)
{
	(void)trailers;
	local_body_over(local_of(s));
	return 0;
}

static void local_reset(struct stream *s, uint32_t code)
{
	(void)code;
	struct local_stream *ls = local_of(s);
	if (ls->ended)
		return;
	local_end(ls);
	if (ls->deferred)
		ls->cancelled(ls->user);
}

static void local_credit(struct stream *s, size_t n) { (void)s, (void)n; }

static const struct stream_ops local_ops = {local_send_head, local_send_data, local_send_trailers, local_reset, local_credit, NULL, NULL, NULL, NULL};

struct stream *local_open(struct sidecar *sc, const struct local_row *row, struct app *app, struct uds_client *client, const struct sock_cred *cred, bool read_only,
	const struct stream_events *ev, void *user)
{
	struct local_stream *ls = xnew(struct local_stream);
	ls->s = (struct stream){.ops = &local_ops, .ev = ev, .user = user, .account = &sc->loop->memory};
	ls->sc = sc;
	ls->app = app;
	ls->row = row;
	ls->read_only = read_only;
	ls->client = client;
	if (cred)
		ls->cred = *cred;
	return &ls->s;
}

/* ---- finding ---- */

static void wrong_method(struct local_call *c)
{
	c->status = 405;
	c->as_grpc = c->is_grpc && c->app;
	sb_fmt(&c->body, "%.*s is there, but not under %.*s\n", (int)c->path.n, c->path.p, (int)c->method.n, c->method.p);
}

const struct local_row *local_find(const struct local_row *rows, struct str method, struct str path)
{
	/* Almost every call is not for us: two bytes tell. */
	if (path.n < 2 || path.p[0] != '/' || memchr("hlrscdeft", path.p[1], 9) == NULL)
		return NULL;
	ptrdiff_t mark = str_find(path, '?');
	if (mark >= 0)
		path = str_cut(path, 0, (size_t)mark);
	const struct local_row *there = NULL;
	for (const struct local_row *r = rows; r->path; r++) {
		if (!str_is(path, r->path))
			continue;
		there = strcmp(r->method, "POST") == 0 ? &row_only_post : &row_only_get;
		if (str_is(method, r->method) || (str_is(method, "HEAD") && strcmp(r->method, "GET") == 0))
			return r;
	}
	return there;
}

bool local_query_next(struct str *query, struct str *ret_key, struct str *ret_value)
{
	while (query->n) {
		ptrdiff_t amp = str_find(*query, '&');
		struct str one = amp < 0 ? *query : str_cut(*query, 0, (size_t)amp);
		*query = amp < 0 ? STR("") : str_cut(*query, (size_t)amp + 1, query->n);
		if (!one.n)
			continue;
		ptrdiff_t is = str_find(one, '=');
		*ret_key = is < 0 ? one : str_cut(one, 0, (size_t)is);
		*ret_value = is < 0 ? STR("") : str_cut(one, (size_t)is + 1, one.n);
		return true;
	}
	return false;
}

struct str local_query(struct str query, const char *key)
{
	size_t n = strlen(key);
	while (query.n) {
		ptrdiff_t amp = str_find(query, '&');
		struct str one = amp < 0 ? query : str_cut(query, 0, (size_t)amp);
		if (one.n > n && memcmp(one.p, key, n) == 0 && one.p[n] == '=')
			return str_cut(one, n + 1, one.n);
		if (amp < 0)
			break;
		query = str_cut(query, (size_t)amp + 1, query.n);
	}
	return (struct str){0};
}
