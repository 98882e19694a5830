/* sidecar/local: the streams of local answers, and the table of what the apps' own sockets serve. The control socket's table is in control.c. */
#include "sidecar/local.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct local_stream {
	struct stream s;
	struct grave grave;
	struct task task;
	struct sidecar *sc;               /* borrowed */
	struct app *app;
	const struct local_row *row;
	struct fields *head;              /* counted */
	struct sock_cred cred;
	bool read_only, fin, ended, queued;
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
	loop_bury(ls->sc->loop, &ls->grave, local_bury);
}

static void local_allow(const struct local_call *c, struct fields *h)
{
	if (c->status != 405)
		return;
	fields_add(h, STR("allow"), STR("GET, POST"));
}

static void local_answer(struct local_stream *ls, struct local_call *c)
{
	struct loop *l = ls->sc->loop;
	struct fields *h = fields_new(l->fields, NULL);
	char num[24];
	bool no_body = str_is(c->method, "HEAD");
	snprintf(num, sizeof num, "%d", c->status);
	fields_add_token(h, FIELD_STATUS, str_of(num));
	fields_add_token(h, FIELD_CONTENT_TYPE, str_of(c->type));
	snprintf(num, sizeof num, "%zu", c->body.n);
	fields_add_token(h, FIELD_CONTENT_LENGTH, str_of(num));
	local_allow(c, h);
	const struct stream_events *ev = ls->s.ev;
	void *user = ls->s.user;
	ev->on_head(user, h, no_body);
	fields_unref(&h);
	if (ls->ended)
		return;
	if (!no_body) {
		struct chain data = CHAIN_INIT;
		chain_copy_in(&data, &l->bufs, NULL, c->body.p, c->body.n); /* our own pages: not charged */
		ev->on_data(user, &data, true);
		chain_clear(&data);
		if (ls->ended)
			return;
	}
	struct stream_end end = {.cause = END_DONE};
	local_end(ls);
	ev->on_end(user, &end);
}

static void local_run(struct task *t)
{
	struct local_stream *ls = container_of(t, struct local_stream, task);
	struct str whole = fields_value(ls->head, FIELD_PATH), query = {0};
	ptrdiff_t mark = str_find(whole, '?');
	if (mark >= 0) {
		query = str_cut(whole, (size_t)mark + 1, whole.n);
		whole = str_cut(whole, 0, (size_t)mark);
	}
	struct local_call c = {.sc = ls->sc, .app = ls->app, .method = fields_value(ls->head, FIELD_METHOD), .path = whole, .query = query, .cred = &ls->cred,
		.read_only = ls->read_only, .status = 200, .type = "text/plain; charset=utf-8"};
	if (ls->row->changes && ls->read_only) {
		c.status = 405;
		sb_str(&c.body, "this door is read-only\n");
	} else {
		ls->row->fn(&c);
	}
	local_answer(ls, &c);
	sb_end(&c.body);
}

static void local_body_over(struct local_stream *ls)
{
	if (ls->queued || ls->ended)
		return;
	ls->queued = true;
	loop_defer(ls->sc->loop, &ls->task, local_run);
}

static int local_send_head(struct stream *s, struct fields *head, bool fin)
{
	struct local_stream *ls = local_of(s);
	ls->head = fields_ref(head);
	if (fin)
		local_body_over(ls);
	return 0;
}

static void local_send_data(struct stream *s, struct chain *moved, bool fin)
{
	struct local_stream *ls = local_of(s);
	size_t n = moved->bytes;
	chain_clear(moved);
	if (ls->ended)
		return;
	if (n)
		s->ev->on_sent(s->user, n); /* read and forgotten */
	if (fin)
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
	if (!ls->ended)
		local_end(ls);
}

static void local_credit(struct stream *s, size_t n) { (void)s, (void)n; }

static const struct stream_ops local_ops = {local_send_head, local_send_data, local_send_trailers, local_reset, local_credit, NULL, NULL, NULL};

struct stream *local_open(struct sidecar *sc, const struct local_row *row, struct app *app, const struct sock_cred *cred, bool read_only,
	const struct stream_events *ev, void *user)
{
	struct local_stream *ls = xnew(struct local_stream);
	ls->s = (struct stream){.ops = &local_ops, .ev = ev, .user = user, .account = &sc->loop->memory};
	ls->sc = sc;
	ls->app = app;
	ls->row = row;
	ls->read_only = read_only;
	if (cred)
		ls->cred = *cred;
	return &ls->s;
}

/* ---- finding ---- */

static void wrong_method(struct local_call *c)
{
	c->status = 405;
	sb_fmt(&c->body, "%.*s is there, but not under %.*s\n", (int)c->path.n, c->path.p, (int)c->method.n, c->method.p);
}

static const struct local_row row_wrong_method = {"", "", wrong_method, false, ""};

const struct local_row *local_find(const struct local_row *rows, struct str method, struct str path)
{
	/* Almost every call is not for us: two bytes tell. */
	if (path.n < 2 || path.p[0] != '/' || memchr("hlrscde", path.p[1], 7) == NULL)
		return NULL;
	ptrdiff_t mark = str_find(path, '?');
	if (mark >= 0)
		path = str_cut(path, 0, (size_t)mark);
	bool there = false;
	for (const struct local_row *r = rows; r->path; r++) {
		if (!str_is(path, r->path))
			continue;
		there = true;
		if (str_is(method, r->method) || (str_is(method, "HEAD") && strcmp(r->method, "GET") == 0))
			return r;
	}
	return there ? &row_wrong_method : NULL;
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

/* ---- the apps' own paths ---- */

static void app_json(struct local_call *c)
{
	struct app *a = c->app;
	struct life_view v;
	life_view(a->life, &v);
	c->type = "application/json";
	sb_fmt(&c->body, "{\"app\":");
	sb_json(&c->body, str_of(a->conf->name));
	sb_fmt(&c->body, ",\"state\":\"%s\",\"since_unix_ms\":%llu,\"calls_active\":%u}\n", life_state_name(v.state), (unsigned long long)(v.since_wall_ns / 1000000), a->calls);
}

static void health_ok(struct local_call *c)
{
	life_ok(c->app->life, c->cred, 0);
	app_json(c);
}

static void health_fail(struct local_call *c)
{
	life_fail(c->app->life, c->cred, "");
	app_json(c);
}

const struct local_row local_app_rows[] = {
	{"POST", "/healthcheck/ok", health_ok, false, "the app is ready"},
	{"POST", "/healthcheck/fail", health_fail, false, "the app goes"},
	{"GET", "/healthcheck", app_json, false, "the app's state"},
	{NULL, NULL, NULL, false, NULL},
};
