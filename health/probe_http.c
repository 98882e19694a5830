/* health/probe_http: a request over HTTP/1.1 or HTTP/2, and what its answer means. See health/probe_int.h; the verdicts: envoy.md 1e.
 *
 *   head: status, fields --> body: receive is looked for in its first response_buffer bytes --> whole: the verdict
 *
 * The answer must come whole, as with Envoy: a server that hangs inside of its health page is not well. */
#include <errno.h>
#include <stdio.h>
#include "base/err.h"
#include "conf/match.h"
#include "health/probe_int.h"

enum { FIELDS = CHECK_FIELDS_MAX + 2 };

/* ---- what is asked -------------------------------------------------------------------------------------------------------- */

static void field_drop(struct str (*f)[2], uint32_t *n, struct str name)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < *n; i++)
		if (!str_eq_nocase(f[i][0], name)) {
			f[kept][0] = f[i][0];
			f[kept++][1] = f[i][1];
		}
	*n = kept;
}

/* Removed is first, added then, as Envoy's header parser has it. */
static uint32_t request_fields(const struct health_check *c, struct str (*out)[2])
{
	uint32_t n = 0;

	out[n][0] = STR("user-agent");
	out[n++][1] = STR("thinmesh/HC");
	for (uint32_t i = 0; i < c->nremove; i++)
		field_drop(out, &n, str_of(c->remove[i]));
	for (uint32_t i = 0; i < c->nadd && n < FIELDS; i++) {
		if (!c->add[i].append)
			field_drop(out, &n, str_of(c->add[i].name));
		out[n][0] = str_of(c->add[i].name);
		out[n++][1] = str_of(c->add[i].value);
	}
	return n;
}

static const char *method_of(const struct health_check *c)
{
	return c->method && *c->method ? c->method : "GET";
}

static const char *path_of(const struct health_check *c)
{
	return c->path && *c->path ? c->path : "/";
}

/* ---- what is answered ----------------------------------------------------------------------------------------------------- */

static bool among(const struct check_range *r, uint32_t n, int status)
{
	for (uint32_t i = 0; i < n; i++)
		if (status >= 0 && (uint32_t)status >= r[i].from && (uint32_t)status < r[i].to)
			return true;
	return false;
}

static void answer_head(struct probe *p, int status, const struct fields *head)
{
	struct str cluster = fields_value(head, FIELD_X_ENVOY_HEALTHCHECKED_CLUSTER);

	p->status = status;
	p->degraded = fields_get(head, FIELD_X_ENVOY_DEGRADED) != NULL;
	p->failing = fields_get(head, FIELD_X_ENVOY_IMMEDIATE_HC_FAIL) != NULL;
	if (p->check->cluster_matcher) {
		stat_inc(&p->loop->stats, STAT_CHECK_VERIFY_CLUSTER);
		p->other_cluster = match_text_fits(p->check->cluster_matcher, cluster.p ? cluster : STR("")) <= 0;
		snprintf(p->why, sizeof(p->why), "%.*s", cluster.n < 100 ? (int)cluster.n : 100, cluster.n ? cluster.p : "");
	}
}

/* False: it is over. */
static bool answer_body(struct probe *p, const char *bytes, size_t n)
{
	uint64_t within = p->check->response_buffer ? p->check->response_buffer : CHECK_BYTES_MAX;

	if (p->body < within)
		payload_feed(&p->receive, bytes, n < within - p->body ? n : (size_t)(within - p->body));
	p->body += n;
	if (p->body <= PROBE_BODY_MAX)
		return true;
	probe_finish(p, PROBE_BAD, "%s", "the answer's body is larger than 1 MiB");
	return false;
}

static void answer_whole(struct probe *p)
{
	const struct health_check *c = p->check;
	bool expected = c->nexpected ? among(c->expected, c->nexpected, p->status) : p->status == 200;
	char cluster[PROBE_WHY];

	p->fit = true;
	snprintf(cluster, sizeof(cluster), "%s", p->why);
	if (!expected)
		probe_finish(p, among(c->retriable, c->nretriable, p->status) ? PROBE_FAILED : PROBE_BAD, "status %d", p->status);
	else if (p->failing)
		probe_finish(p, PROBE_BAD, "%s", "it says x-envoy-immediate-health-check-fail");
	else if (!payload_is_found(&p->receive))
		probe_finish(p, PROBE_BAD, "%s", "the answer's body does not have what is expected");
	else if (p->other_cluster)
		probe_finish(p, PROBE_BAD, "it says that it belongs to '%s'", cluster);
	else
		probe_finish(p, p->degraded ? PROBE_DEGRADED : PROBE_PASSED, "%s", p->degraded ? "it says x-envoy-degraded" : "");
}

/* ---- HTTP/1.1 ------------------------------------------------------------------------------------------------------------- */

static void h1_head(void *user, int status, struct fields *head)
{
	answer_head(user, status, head);
}

static void h1_body(void *user, const char *bytes, size_t n)
{
	(void)answer_body(user, bytes, n);
}

static void h1_done(void *user, int err, const char *why, bool reusable)
{
	struct probe *p = user;

	(void)reusable; /* h1_client_is_open tells the same */
	if (err == 0)
		answer_whole(p);
	else if (err == -EBADMSG || err == ERR_LIMIT)
		probe_finish(p, PROBE_BAD, "%s", why);
	else if (err == -ENOMEM)
		probe_finish(p, PROBE_VOID, "%s", why);
	else
		/* A kept connection that ends when it is used again was closed for its age: that says nothing. */
		probe_finish(p, p->fresh ? PROBE_FAILED : PROBE_VOID, "%s", why);
}

/* 0 or what h1_client_send says. */
static int h1_ask(struct probe *p)
{
	static const struct h1_client_events events = {.on_head = h1_head, .on_body = h1_body, .on_done = h1_done};
	const struct health_check *c = p->check;
	struct str fields[FIELDS][2];
	uint32_t n = request_fields(c, fields);

	return h1_client_send(p->h1, method_of(c), path_of(c), p->host, fields, n, c->send.p, c->send.n, &events, p);
}

static void h1_refused(struct probe *p, int r)
{
	probe_finish(p, r == -ENOMEM ? PROBE_VOID : PROBE_BAD, "%s", r == -ENOMEM ? "no memory" : "what is declared makes no request: a byte that none may have");
}

static void h1_connected(struct probe *p, struct sock *taken)
{
	int r = -ENOMEM;

	p->fresh = true;
	p->h1 = h1_client_new(p->loop, taken, p->account);
	if (p->h1)
		r = h1_ask(p);
	if (r < 0)
		h1_refused(p, r);
}

static bool h1_again(struct probe *p)
{
	struct probe_keep *k = p->keep ? *p->keep : NULL;

	if (!k || !k->h1)
		return false;
	p->h1 = k->h1;
	k->h1 = NULL;
	if (h1_client_is_open(p->h1) && h1_ask(p) == 0)
		return true;
	h1_client_close(&p->h1);
	return false;
}

/* ---- HTTP/2 --------------------------------------------------------------------------------------------------------------- */

static void h2_head(void *user, struct fields *head, bool fin)
{
	uint64_t status = 0;

	(void)fin;
	str_u64(fields_value(head, FIELD_STATUS), &status);
	answer_head(user, (int)status, head);
}

static void h2_data(void *user, struct chain *data, bool fin)
{
	struct probe *p = user;
	struct stream *s = p->stream;
	struct chain mine = CHAIN_INIT;
	size_t n = data->bytes;

	(void)fin;
	chain_move(&mine, data);
	for (const struct slice *at = mine.head; at && answer_body(p, at->p, at->n); at = at->next)
		;
	chain_clear(&mine);
	if (!p->over)
		stream_credit(s, n);
}

static void h2_trailers(void *user, struct fields *trailers)
{
	(void)user, (void)trailers;
}

static void h2_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static void h2_end(void *user, const struct stream_end *end)
{
	struct probe *p = user;

	p->stream = NULL;
	if (probe_waits_for_close(p, end->cause))
		return;
	if (probe_was_early(p, end->cause)) {
		probe_finish(p, PROBE_VOID, "%s", "the connection takes no stream");
		return;
	}
	switch (end->cause) {
	case END_DONE:
		answer_whole(p);
		return;
	case END_UNPROCESSED:
		probe_finish(p, PROBE_VOID, "%s", "the connection goes away, the request was not processed");
		return;
	case END_LOST:
		probe_finish(p, p->fresh ? PROBE_FAILED : PROBE_VOID, "%s", "the connection was lost");
		return;
	case END_MALFORMED:
		probe_finish(p, PROBE_BAD, "%s", end->detail ? end->detail : "the answer is malformed");
		return;
	case END_REFUSED:
	case END_RESET:
		probe_finish(p, PROBE_FAILED, "it reset the stream (HTTP/2 code %u)", end->cause == END_REFUSED ? (unsigned)H2_REFUSED_STREAM : (unsigned)end->h2_code);
		return;
	case END_CONNECT:
	case END_LIMIT:
	case END_DEADLINE:
		break;
	}
	probe_finish(p, PROBE_FAILED, "%s", end->detail ? end->detail : "the stream was ended");
}

static int field_lower(struct fields *f, struct str name, struct str value)
{
	char lower[256];

	if (name.n == 0 || name.n > sizeof(lower))
		return -EINVAL;
	memcpy(lower, name.p, name.n);
	str_lower(lower, name.n);
	if (lower[0] == ':' || !field_name_valid(lower, name.n) || !field_value_valid(value.p, value.n))
		return -EINVAL;
	if (str_is(str_n(lower, name.n), "host") || field_flags(field_token(lower, name.n)) & FF_HOP)
		return 0; /* they are said by :authority and by the frames */
	return fields_add(f, str_n(lower, name.n), value);
}

static int h2_request(struct probe *p, struct fields *f)
{
	const struct health_check *c = p->check;
	struct str fields[FIELDS][2];
	uint32_t n = request_fields(c, fields);
	char length[24];
	int r = fields_add_token(f, FIELD_METHOD, str_of(method_of(c)));

	r = r < 0 ? r : fields_add_token(f, FIELD_SCHEME, p->tls ? STR("https") : STR("http"));
	r = r < 0 ? r : fields_add_token(f, FIELD_AUTHORITY, str_of(p->host));
	r = r < 0 ? r : fields_add_token(f, FIELD_PATH, str_of(path_of(c)));
	for (uint32_t i = 0; i < n && r == 0; i++)
		r = field_lower(f, fields[i][0], fields[i][1]);
	if (r == 0 && c->send.n) {
		snprintf(length, sizeof(length), "%u", c->send.n);
		r = fields_set(f, FIELD_CONTENT_LENGTH, str_of(length));
	}
	return r < 0 ? r : fields_check(f, FIELDS_REQUEST) ? -EINVAL : 0;
}

/* 0; -EAGAIN: no stream can be opened on it now; -EINVAL, -ENOMEM. */
static int h2_ask(struct probe *p, struct h2_conn *on)
{
	static const struct stream_events events = {.on_head = h2_head, .on_data = h2_data, .on_trailers = h2_trailers, .on_sent = h2_sent, .on_end = h2_end};
	struct stream *s = h2_conn_open(on, &events, p);
	struct chain body = CHAIN_INIT;
	bool has_body = p->check->send.n > 0;

	if (!s)
		return -EAGAIN;
	struct fields *head = fields_new(p->loop->fields, s->account);
	int r = head ? h2_request(p, head) : -ENOMEM;
	r = r < 0 ? r : stream_send_head(s, head, !has_body);
	fields_unref(&head);
	if (r == 0 && has_body)
		r = chain_copy_in(&body, &p->loop->bufs, s->account, p->check->send.p, p->check->send.n);
	if (r < 0) {
		stream_reset(s, H2_CANCEL);
		return r;
	}
	if (has_body)
		stream_send_data(s, &body, true);
	p->stream = s;
	return 0;
}

static void h2_up(struct probe *p)
{
	int r = h2_ask(p, p->conn);

	if (r == -EAGAIN)
		probe_finish(p, PROBE_VOID, "%s", "the connection takes no stream");
	else if (r < 0)
		h1_refused(p, r);
}

void probe_http_start(struct probe *p, struct h2_conn *lent)
{
	if (payload_begin(&p->receive, p->check->receive, p->check->nreceive, p->account) < 0)
		probe_finish(p, PROBE_VOID, "%s", "no memory");
	else if (p->check->http2 && lent && h2_ask(p, lent) == 0)
		return;
	else if (p->check->http2)
		probe_dial(p, h2_up);
	else if (!h1_again(p))
		probe_connect(p, h1_connected);
}
