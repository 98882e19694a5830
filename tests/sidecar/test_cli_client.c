/* sidecar/cli_client: one exchange, over the network in memory, with a server of net/h2_conn on the other side. */
#include "sidecar/cli_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "net/h2_conn.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const struct limits limits = {
	.streams_per_connection = 10, .header_bytes = 32768, .field_count = 200, .header_wire_bytes = 40960, .continuations = 64, .header_budget = 262144,
	.premature_resets = 100, .control_frames = 10000, .empty_frames = 100, .outbound_queue = 1000, .window_down = 65536, .window_up = 65536,
	.window_down_conn = 262144, .window_up_conn = 262144, .stall_ns = 30000000000, .stall_bytes = 1024, .preface_time_ns = 5000000000, .header_time_ns = 5000000000,
};

/* ---- the other side ---- */

enum behaviour { ANSWER, SILENCE, RESET, LOSE, HALF };
struct server {
	struct simnet *net;
	struct loop *loop;
	struct sock_listen *listen;
	struct h2_conn *conn;
	struct stream *stream;
	enum behaviour behaviour;
	bool closed, ended;
	enum stream_cause cause;   /* how the call ended as the server saw it */
	uint32_t h2_code;
	char head[1024];           /* the request's, "name: value\n" */
	size_t body;
};

static void answer(struct server *s)
{
	struct fields *f = fields_new(s->loop->fields, &s->loop->memory);
	struct chain data = CHAIN_INIT;

	fields_add_token(f, FIELD_STATUS, STR("200"));
	ck_assert_int_eq(stream_send_head(s->stream, f, false), 0);
	fields_unref(&f);
	chain_copy_in(&data, &s->loop->bufs, &s->loop->memory, "hello", 5);
	stream_send_data(s->stream, &data, false);
	if (s->behaviour == HALF)
		return;
	f = fields_new(s->loop->fields, &s->loop->memory);
	fields_add_token(f, FIELD_GRPC_STATUS, STR("0"));
	ck_assert_int_eq(stream_send_trailers(s->stream, f), 0);
	fields_unref(&f);
}

static void asked(struct server *s)
{
	if (s->behaviour == ANSWER || s->behaviour == HALF)
		answer(s);
	else if (s->behaviour == RESET)
		stream_reset(s->stream, H2_ENHANCE_YOUR_CALM);
	else if (s->behaviour == LOSE)
		h2_conn_close(s->conn, 0);
}

static void s_data(void *user, struct chain *data, bool fin)
{
	struct server *s = user;

	s->body += data->bytes;
	if (fin)
		asked(s);
}

static void s_trailers(void *user, struct fields *trailers) { (void)user, (void)trailers; }
static void s_sent(void *user, size_t n) { (void)user, (void)n; }
static void s_head(void *user, struct fields *head, bool fin) { (void)user, (void)head, (void)fin; }

static void s_end(void *user, const struct stream_end *end)
{
	struct server *s = user;

	s->ended = true;
	s->cause = end->cause;
	s->h2_code = end->h2_code;
	s->stream = NULL;
}

static void s_request(void *owner, struct stream *stream, struct fields *head, bool fin, const char *refuse)
{
	static const struct stream_events events = {.on_head = s_head, .on_data = s_data, .on_trailers = s_trailers, .on_sent = s_sent, .on_end = s_end};
	struct server *s = owner;
	size_t n = 0;

	ck_assert_ptr_null(refuse);
	stream->ev = &events;
	stream->user = s;
	s->stream = stream;
	fields_each(e, head)
		n += (size_t)snprintf(s->head + n, sizeof(s->head) - n, "%.*s: %.*s\n", (int)e->name_len, e->name, (int)e->value_len, e->value);
	if (fin)
		asked(s);
}

static void s_closed(void *owner, int err)
{
	(void)err;
	struct server *s = owner;
	s->closed = true;
	s->conn = NULL;
}

static bool s_accepted(void *user, struct sock *taken)
{
	static const struct stream_server events = {.on_request = s_request, .on_closed = s_closed};
	struct server *s = user;

	s->conn = h2_conn_server(s->loop, taken, &limits, &s->loop->memory, &events, s, NULL, 0);
	return true;
}

static const struct sock_listen_events listen_events = {.accepted = s_accepted};

static void server_begin(struct server *s, enum behaviour b)
{
	struct addr at = simnet_addr("unix:/run/thinmesh/shop.sock");

	*s = (struct server){.behaviour = b};
	s->net = simnet_new(7);
	s->loop = simnet_loop(s->net);
	ck_assert_int_eq(sock_listen(s->loop, -1, &at, &listen_events, s, &s->listen), 0);
}

static void server_end(struct server *s)
{
	simnet_advance(s->net, 1000000000);
	ck_assert(!s->conn || s->closed); /* the client has hung up */
	sock_listen_close(&s->listen);
	ck_assert_int_eq(simnet_open(s->net), 0);
	simnet_free(&s->net);
}

/* ---- this side ---- */

struct got { char head[16], status[16]; struct sb body; size_t enough; };

static void g_head(void *user, struct fields *head)
{
	struct got *g = user;
	struct str v = fields_value(head, FIELD_STATUS);
	snprintf(g->head, sizeof(g->head), "%.*s", (int)v.n, v.p);
}

static bool g_bytes(void *user, const char *p, size_t n)
{
	struct got *g = user;
	sb_add(&g->body, p, n);
	return !g->enough || g->body.n < g->enough;
}

static void g_trailers(void *user, struct fields *trailers)
{
	struct got *g = user;
	struct str v = fields_value(trailers, FIELD_GRPC_STATUS);
	snprintf(g->status, sizeof(g->status), "%.*s", (int)v.n, v.p);
}

static int ask(struct server *s, struct got *g, struct sb *why, struct str body)
{
	static const struct cli_events events = {.on_head = g_head, .on_bytes = g_bytes, .on_trailers = g_trailers};
	static const struct cli_field fields[] = {{{"te", 2}, {"trailers", 8}}, {{"x-a", 3}, {"1", 1}}, {{"x-a", 3}, {"2", 1}}};
	struct cli_request rq = {.to = simnet_addr("unix:/run/thinmesh/shop.sock"), .socket = "/run/thinmesh/shop.sock", .method = "POST", .authority = STR("demo:1"),
		.path = STR("/svc/m"), .fields = fields, .nfields = 3, .body = body, .timeout_ns = 3000000000};

	return cli_exchange(s->loop, &rq, &events, g, why);
}

static void got_end(struct got *g, struct sb *why)
{
	sb_end(&g->body);
	sb_end(why);
}

START_TEST(what_is_asked_arrives_and_the_answer_comes_back_whole)
{
	struct server s;
	struct got g = {0};
	struct sb why = {0};

	server_begin(&s, ANSWER);
	ck_assert_int_eq(ask(&s, &g, &why, STR("12345678")), 0);
	ck_assert_str_eq(s.head, ":method: POST\n:scheme: http\n:authority: demo:1\n:path: /svc/m\nte: trailers\nx-a: 1\nx-a: 2\n");
	ck_assert_uint_eq(s.body, 8);
	ck_assert_str_eq(g.head, "200");
	ck_assert_str_eq(g.body.p, "hello");
	ck_assert_str_eq(g.status, "0");
	got_end(&g, &why);
	server_end(&s);
	ck_assert(s.ended && s.cause == END_DONE);
}
END_TEST

START_TEST(a_request_without_body_ends_with_its_head)
{
	struct server s;
	struct got g = {0};
	struct sb why = {0};

	server_begin(&s, ANSWER);
	ck_assert_int_eq(ask(&s, &g, &why, STR("")), 0);
	ck_assert_uint_eq(s.body, 0);
	ck_assert_str_eq(g.body.p, "hello");
	got_end(&g, &why);
	server_end(&s);
}
END_TEST

START_TEST(a_body_beyond_every_window_arrives_whole)
{
	enum { N = 3000000 };
	struct server s;
	struct got g = {0};
	struct sb why = {0};
	char *body = calloc(1, N);

	server_begin(&s, ANSWER);
	ck_assert_int_eq(ask(&s, &g, &why, str_n(body, N)), 0);
	ck_assert_uint_eq(s.body, N);
	got_end(&g, &why);
	server_end(&s);
	free(body);
}
END_TEST

START_TEST(who_has_had_enough_cancels)
{
	struct server s;
	struct got g = {.enough = 3};
	struct sb why = {0};

	server_begin(&s, HALF);
	ck_assert_int_eq(ask(&s, &g, &why, STR("x")), 0);
	got_end(&g, &why);
	server_end(&s);
	ck_assert(s.ended && s.cause == END_RESET && s.h2_code == H2_CANCEL);
}
END_TEST

static const struct { enum behaviour behaviour; const char *said; bool told_cancel; } failures[] = {
	{SILENCE, "no whole answer from '/run/thinmesh/shop.sock' within 3000 ms", true},
	{HALF, "no whole answer from '/run/thinmesh/shop.sock' within 3000 ms", true},
	{RESET, "'/run/thinmesh/shop.sock' reset the call: ENHANCE_YOUR_CALM", false},
	{LOSE, "'/run/thinmesh/shop.sock' closed the connection before the answer was whole", false},
};

START_TEST(a_failure_is_one_sentence)
{
	struct server s;
	struct got g = {0};
	struct sb why = {0};

	server_begin(&s, failures[_i].behaviour);
	ck_assert_int_eq(ask(&s, &g, &why, STR("x")), -1);
	ck_assert_str_eq(why.p, failures[_i].said);
	got_end(&g, &why);
	server_end(&s);
	if (failures[_i].told_cancel)
		ck_assert(s.ended && s.cause == END_RESET && s.h2_code == H2_CANCEL);
}
END_TEST

static const struct { int outcome; const char *said; } refusals[] = {
	{-ECONNREFUSED, "cannot connect to '/run/thinmesh/shop.sock': connection refused; is thinmesh running?"},
	{-ENOENT, "cannot connect to '/run/thinmesh/shop.sock': no such socket; is thinmesh running?"},
	{-EACCES, "cannot connect to '/run/thinmesh/shop.sock': permission denied; see mode and group of the listener; this is uid "},
	{SIMNET_HANG, "no connection from '/run/thinmesh/shop.sock' within 3000 ms"},
};

START_TEST(who_cannot_connect_is_told_what_to_try)
{
	struct server s;
	struct got g = {0};
	struct sb why = {0};
	struct addr at = simnet_addr("unix:/run/thinmesh/shop.sock");

	server_begin(&s, ANSWER);
	simnet_on_connect(s.net, &at, refusals[_i].outcome);
	ck_assert_int_eq(ask(&s, &g, &why, STR("x")), -1);
	ck_assert_msg(str_starts(sb_view(&why), str_of(refusals[_i].said)), "'%s'", why.p);
	got_end(&g, &why);
	server_end(&s);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("cli_client");
	TCase *t = tcase_create("cli_client");
	tcase_add_test(t, what_is_asked_arrives_and_the_answer_comes_back_whole);
	tcase_add_test(t, a_request_without_body_ends_with_its_head);
	tcase_add_test(t, a_body_beyond_every_window_arrives_whole);
	tcase_add_test(t, who_has_had_enough_cancels);
	tcase_add_loop_test(t, a_failure_is_one_sentence, 0, UNIT_COUNT(failures));
	tcase_add_loop_test(t, who_cannot_connect_is_told_what_to_try, 0, UNIT_COUNT(refusals));
	suite_add_tcase(s, t);
	return s;
}
