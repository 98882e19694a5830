/* What others ask about the app (apps[].health.listen): kubelet's probes, Envoy's health checks; when it is ready. What grpc.health.v1 says is told in test_grpc_health. */
#include "health/life.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>

#define ASK "10.9.0.1:15021"
#define IN "10.9.0.1:20880"
#define SHOP(health, rest) "apps:\n  - name: shop\n    namespace: web\n    listen: [{unix: /run/shop.sock}]\n" health rest "control: {unix: /run/control.sock}\nsnapshot: {dir: \"\"}\n"
#define HEALTH(at) "    health: {listen: [{tcp: \"" at "\"}]}\n"
#define LINES SHOP(HEALTH(ASK), "")
#define MARK "x-envoy-immediate-health-check-fail"
#define CHECKED "x-envoy-upstream-healthchecked-cluster"

struct seat { struct rig *r; struct caller *app, *net; };

static struct seat seat(const char *yaml)
{
	struct seat s = {.r = rig_new(yaml)};

	s.app = caller_new(s.r, DOOR);
	s.net = caller_new(s.r, ASK);
	return s;
}

static void app_says(struct caller *app, const char *word)
{
	char path[64];

	snprintf(path, sizeof(path), "/healthcheck/%s", word);
	struct call *c = call_plain(app, "POST", "any", path, NULL, true);
	rig_settle(app->rig);
	ck_assert_int_eq(c->status, 200);
}

static struct call *asks(struct caller *from, const char *method, const char *path)
{
	struct call *c = call_plain(from, method, "10.9.0.1", path, NULL, true);

	rig_settle(from->rig);
	ck_assert_uint_eq(c->ends, 1);
	return c;
}

/* What each question is answered with while the app is open and while it is not. */
static const struct { const char *method, *path; int open, closed; bool body; const char *says_open, *says_closed; } questions[] = {
	{"GET", "/healthz/ready", 200, 503, true, "\"ready\":true", "\"ready\":false"},
	{"GET", "/ready", 200, 503, true, "\"ready\":true", "\"ready\":false"},
	{"GET", "/ready?verbose", 200, 503, true, "\"ready\":true", "\"ready\":false"},
	{"HEAD", "/healthz/ready", 200, 503, false, NULL, NULL},
	{"GET", "/healthz/live", 200, 200, true, "live", "live"},
	{"GET", "/live", 200, 200, true, "live", "live"},
	{"HEAD", "/live", 200, 200, false, NULL, NULL},
	{"POST", "/ready", 405, 405, true, NULL, NULL},
	{"GET", "/", 200, 503, true, "ok", "\"flag\":\"LH\""},
	{"GET", "/healthcheck", 200, 503, true, "ok", "\"flag\":\"LH\""},
	{"HEAD", "/any/thing", 200, 503, false, NULL, NULL},
	{"POST", "/any/thing?x=1", 200, 503, true, "ok", "app 'shop'"},
	{"POST", "/healthcheck/ok", 200, 503, true, "ok", "app 'shop'"}, /* no word from here is the app's */
	{"POST", "/healthcheck/fail", 200, 503, true, "ok", "app 'shop'"},
};

static void all_questions(struct seat *s, bool open)
{
	for (size_t i = 0; i < UNIT_COUNT(questions); i++) {
		struct call *c = asks(s->net, questions[i].method, questions[i].path);
		int expected = open ? questions[i].open : questions[i].closed;
		const char *text = open ? questions[i].says_open : questions[i].says_closed;
		ck_assert_msg(c->status == expected, "%s %s: %d, %s", questions[i].method, questions[i].path, c->status, call_text(c));
		ck_assert_msg((c->bytes > 0) == questions[i].body, "%s %s", questions[i].method, questions[i].path);
		ck_assert_msg(!text || strstr(call_text(c), text), "%s %s: %s", questions[i].method, questions[i].path, call_text(c));
		ck_assert_str_eq(call_field(c, CHECKED), "shop.web");
		ck_assert_msg(open ? !call_field(c, MARK) : strcmp(call_field(c, MARK), "true") == 0, "%s %s", questions[i].method, questions[i].path);
	}
}

#define QUESTIONS_DOOR "10.9.0.1:15021"
#define QUESTIONS_YAML "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    inbound: [{tcp: \"10.9.0.1:20880\", to: \"unix:/run/server.sock\"}]\n    health: {listen: [{tcp: \"" QUESTIONS_DOOR "\"}]}\n"

START_TEST(every_question_is_answered_by_the_state_of_the_app)
{
	struct seat s = seat(LINES);

	all_questions(&s, false);
	ck_assert_ptr_nonnull(strstr(call_text(asks(s.net, "GET", "/ready")), "\"state\":\"unknown\",\"why\":\"it has not said ok yet\""));
	app_says(s.app, "ok");
	all_questions(&s, true);
	app_says(s.app, "fail");
	all_questions(&s, false);
	app_says(s.app, "ok");
	all_questions(&s, true);
	ck_assert_uint_eq(s.net->goaways, 0); /* who watches is not sent away */
	rig_free(&s.r);
}
END_TEST

START_TEST(a_grpc_call_of_another_service_is_answered_in_its_own_words)
{
	struct seat s = seat(LINES);
	struct call *c = call_unary(s.net, "shop", NULL);

	rig_settle(s.r);
	ck_assert_int_eq(c->status, 200);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_str_eq(call_field(c, MARK), "true");
	rig_free(&s.r);
}
END_TEST

START_TEST(http_1_asks_too_and_keeps_its_connection)
{
	struct seat s = seat(LINES);
	struct raw *w = raw_new(s.r, ASK);

	raw_text(w, "GET /healthz/ready HTTP/1.1\r\nhost: 10.9.0.1:15021\r\nuser-agent: kube-probe/1.31\r\nconnection: close\r\n\r\n");
	rig_settle(s.r);
	ck_assert_ptr_nonnull(strstr(w->in.p, "HTTP/1.1 503"));
	ck_assert(w->eof);
	app_says(s.app, "ok");
	w = raw_new(s.r, ASK);
	for (int i = 0; i < 3; i++) {
		raw_text(w, "GET /healthz/ready HTTP/1.1\r\nhost: x\r\n\r\n");
		rig_settle(s.r);
	}
	ck_assert(!w->eof);
	ck_assert_ptr_nonnull(strstr(w->in.p, "HTTP/1.1 200"));
	app_says(s.app, "fail");
	raw_text(w, "GET /healthz/ready HTTP/1.1\r\nhost: x\r\n\r\n");
	rig_settle(s.r);
	ck_assert_ptr_nonnull(strstr(w->in.p, "HTTP/1.1 503"));
	rig_free(&s.r);
}
END_TEST

START_TEST(an_app_is_not_ready_before_its_control_plane_has_answered)
{
	struct world w = world_bare(PLANE_ISTIO);
	const char *yaml = SHOP(HEALTH(ASK), "xds: {server: \"" PLANE "\", prefetch: [\"" HOST ":50051\"], node: {cluster: front}}\n");

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	plane_listen(w.p, false);
	world_start(&w, yaml);
	struct caller *net = caller_new(w.r, ASK);
	app_says(w.app, "ok");
	rig_advance(w.r, 3000);
	struct call *c = asks(net, "GET", "/ready");
	ck_assert_int_eq(c->status, 503);
	ck_assert_ptr_nonnull(strstr(call_text(c), "the control plane has not answered yet"));
	ck_assert_int_eq(asks(net, "GET", "/live")->status, 200);
	plane_listen(w.p, true);
	rig_advance(w.r, 60000);
	c = asks(net, "GET", "/ready");
	ck_assert_msg(c->status == 200, "%s", call_text(c));
	ck_assert_str_eq(call_field(c, CHECKED), "front");
	plane_kill(w.p); /* what is known stays known */
	rig_advance(w.r, 60000);
	ck_assert_int_eq(asks(net, "GET", "/ready")->status, 200);
	rig_free(&w.r);
}
END_TEST

START_TEST(where_nobody_has_asked_for_a_name_the_stream_that_stands_is_answer_enough)
{
	struct world w = world_bare(PLANE_ISTIO);

	plane_listen(w.p, false);
	world_start(&w, SHOP(HEALTH(ASK), "xds: {server: \"" PLANE "\"}\n"));
	struct caller *net = caller_new(w.r, ASK);
	app_says(w.app, "ok");
	rig_advance(w.r, 1000);
	ck_assert_int_eq(asks(net, "GET", "/ready")->status, 503);
	plane_listen(w.p, true);
	rig_advance(w.r, 60000);
	struct call *c = asks(net, "GET", "/ready");
	ck_assert_msg(c->status == 200, "%s", call_text(c));
	rig_free(&w.r);
}
END_TEST

START_TEST(doors_follow_a_reload_and_the_life_of_the_app_stays)
{
	struct seat s = seat(LINES);

	app_says(s.app, "ok");
	ck_assert_int_eq(rig_reload(s.r, SHOP(HEALTH(ASK), "log: {level: warn}\n")), 0);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 200); /* the same connection */
	ck_assert_int_eq(rig_reload(s.r, SHOP(HEALTH("10.9.0.1:15022"), "")), 0);
	rig_advance(s.r, 10);
	ck_assert_ptr_null(s.net->h2);
	ck_assert_ptr_null(caller_new(s.r, ASK)->h2);
	ck_assert_int_eq(asks(caller_new(s.r, "10.9.0.1:15022"), "GET", "/ready")->status, 200);
	ck_assert_int_eq(rig_reload(s.r, SHOP("", "")), 0);
	rig_advance(s.r, 10);
	ck_assert_ptr_null(caller_new(s.r, "10.9.0.1:15022")->h2);
	ck_assert_int_eq(rig_reload(s.r, LINES), 0);
	ck_assert_int_eq(asks(caller_new(s.r, ASK), "GET", "/ready")->status, 200);
	ck_assert_int_eq(rig_reload(s.r, "apps: [{name: bag, listen: [{unix: /run/bag.sock}]}]\n"), 0);
	rig_advance(s.r, 10);
	ck_assert(list_empty(&s.r->sc->walking));
	ck_assert_ptr_null(caller_new(s.r, ASK)->h2);
	rig_free(&s.r);
}
END_TEST

START_TEST(a_daemon_that_goes_says_so_here_while_it_serves_on)
{
	struct seat s = seat(SHOP(HEALTH(ASK) "    inbound: [{tcp: \"" IN "\", to: \"10.0.0.1:1\"}]\n", "drain: {announce: 5s, deadline: 5s}\n"));
	struct provider *server = provider_new(s.r, "10.0.0.1:1", ECHOES);
	struct caller *in = caller_new(s.r, IN);

	app_says(s.app, "ok");
	sidecar_stop(s.r->sc);
	rig_advance(s.r, 1000);
	struct call *c = call_unary(in, "shop", NULL);
	rig_settle(s.r);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c)); /* who has not heard yet is served */
	ck_assert_str_eq(call_field(c, MARK), "true");
	all_questions(&s, false);
	ck_assert_ptr_nonnull(strstr(call_text(asks(s.net, "GET", "/ready")), "going away"));
	ck_assert_uint_eq(in->goaways + s.net->goaways, 0);
	rig_advance(s.r, 5000);
	ck_assert(!in->h2 && !s.net->h2);
	ck_assert_uint_eq(server->requests, 1);
	rig_free(&s.r);
}
END_TEST

/* A Watch of the app as a whole; its last status: 1 serving, 2 not. */
static struct call *watches(struct caller *from)
{
	struct call *c = call_begin(from, "shop", "/grpc.health.v1.Health/Watch", NULL, false);

	call_data(c, "\0\0\0\0\0", 5, true);
	rig_settle(from->rig);
	ck_assert_uint_eq(c->ends, 0);
	return c;
}

static int last_status(const struct call *c)
{
	return c->data.n ? c->data.p[c->data.n - 1] : -1;
}

#define ADDRESSES "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"
#define NEEDS(needs) SHOP("    health: {listen: [{tcp: \"" ASK "\"}], needs: {" needs "}}\n    alias: {nick: \"demo:1\"}\n", \
	"services:\n" \
	"  - {name: \"demo.web.svc.cluster.local:1\", endpoints: [\"10.0.0.1:1\", \"10.0.0.2:1\", \"10.0.0.3:1\"], health: {tcp: {}, interval: 1s, no_traffic_interval: 1s, timeout: 500ms, unhealthy_threshold: 1}}\n" \
	"  - {name: empty.web.svc.cluster.local, endpoints: []}\n")

/* Of three providers so many live. */
START_TEST(an_app_is_ready_with_the_providers_that_it_needs)
{
	static const struct { const char *yaml; int alive; const char *misses; } rows[] = {
		{NEEDS("\"demo:1\": 100"), 3, NULL},
		{NEEDS("\"demo:1\": 67"), 2, "service 'demo.web.svc.cluster.local:1': 2 of 3 providers are healthy, 67 % are needed"},
		{NEEDS("\"demo:1\": 66"), 2, NULL}, /* 66.7 */
		{NEEDS("\"demo:1\": 34"), 1, "1 of 3 providers are healthy, 34 % are needed"},
		{NEEDS("nick: 33"), 1, NULL},
		{NEEDS("nick: 1"), 0, "0 of 3 providers are healthy, 1 % are needed"},
		{NEEDS("\"demo:1\": 0"), 0, NULL},
		{NEEDS("empty: 0"), 3, NULL},
		{NEEDS("empty: 1"), 3, "service 'empty.web.svc.cluster.local': 0 of 0 providers are healthy, 1 % are needed"},
		{NEEDS("nobody: 0"), 3, "there is no service 'nobody'"}, /* as Envoy: one that is not there is never enough */
		{NEEDS("\"demo:1\": 50, empty: 1"), 3, "service 'empty.web.svc.cluster.local'"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct seat s = seat(rows[i].yaml);
		for (int n = 0; n < rows[i].alive; n++)
			provider_new(s.r, (const char *const[]){ADDRESSES}[n], ANSWERS);
		asks(s.net, "GET", "/ready");
		ck_assert_ptr_nonnull(strstr(call_text(asks(s.net, "GET", "/ready")), "it has not said ok yet")); /* its own life first */
		app_says(s.app, "ok");
		asks(s.net, "GET", "/ready"); /* makes it look at the providers */
		rig_advance(s.r, 5000);
		struct call *ready = asks(s.net, "GET", "/healthz/ready"), *any = asks(s.net, "GET", "/any"), *grpc = call_unary(s.net, "shop", NULL);
		rig_settle(s.r);
		ck_assert_msg(ready->status == (rows[i].misses ? 503 : 200), "row %zu: %s", i, call_text(ready));
		ck_assert_msg(any->status == (rows[i].misses ? 503 : 200), "row %zu: %s", i, call_text(any));
		ck_assert_msg(!rows[i].misses || (strstr(call_text(ready), rows[i].misses) && strstr(call_text(any), rows[i].misses)), "row %zu: %s %s", i, call_text(ready), call_text(any));
		if (rows[i].misses)
			ck_assert_int_eq(grpc->grpc, GRPC_UNAVAILABLE);
		ck_assert(!call_field(ready, MARK) && !call_field(any, MARK)); /* the app itself is well: nobody takes it for failing */
		ck_assert_int_eq(asks(s.net, "GET", "/live")->status, 200);
		ck_assert_int_eq(last_status(watches(s.net)), 1);
		rig_free(&s.r);
	}
}
END_TEST

START_TEST(what_an_app_needs_is_counted_anew_with_each_question_and_reload)
{
	struct seat s = seat(NEEDS("\"demo:1\": 100"));
	struct provider *p[3];

	for (int n = 0; n < 3; n++)
		p[n] = provider_new(s.r, (const char *const[]){ADDRESSES}[n], ANSWERS);
	app_says(s.app, "ok");
	asks(s.net, "GET", "/ready");
	rig_advance(s.r, 5000);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 200);
	provider_listen(p[0], false);
	provider_cut(p[0]);
	rig_advance(s.r, 5000);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 503);
	ck_assert_int_eq(rig_reload(s.r, NEEDS("\"demo:1\": 50")), 0);
	rig_settle(s.r);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 200);
	ck_assert_int_eq(rig_reload(s.r, NEEDS("\"demo:1\": 100")), 0);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 503);
	provider_listen(p[0], true);
	rig_advance(s.r, 5000);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 200);
	ck_assert_int_eq(rig_reload(s.r, SHOP(HEALTH(ASK), "")), 0); /* nothing is needed any more, and nothing is held */
	rig_advance(s.r, 1000);
	ck_assert_int_eq(asks(s.net, "GET", "/ready")->status, 200);
	rig_free(&s.r);
}
END_TEST

START_TEST(a_watch_follows_the_app_and_holds_neither_a_door_nor_the_process)
{
	struct seat s = seat(LINES);
	struct call *w = watches(s.net);

	ck_assert_int_eq(last_status(w), 2);
	app_says(s.app, "ok");
	ck_assert_int_eq(last_status(w), 1);
	app_says(s.app, "fail");
	ck_assert_int_eq(last_status(w), 2);
	ck_assert_uint_eq(s.net->goaways, 0);
	ck_assert_int_eq(rig_reload(s.r, SHOP(HEALTH("10.9.0.1:15022"), "")), 0);
	rig_advance(s.r, 10);
	ck_assert_int_eq(w->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_null(s.net->h2);
	s.net = caller_new(s.r, "10.9.0.1:15022");
	w = watches(s.net);
	ck_assert_int_eq(last_status(w), 2);
	sidecar_stop(s.r->sc);
	caller_close(s.app);
	rig_advance(s.r, 1000);
	ck_assert_int_eq(w->grpc, GRPC_UNAVAILABLE);
	ck_assert(s.r->sc->stopped);
	rig_free(&s.r);
}
END_TEST

START_TEST(a_check_says_the_same_as_the_other_answers)
{
	struct seat s = seat(LINES);

	for (int open = 0; open < 2; open++) {
		if (open)
			app_says(s.app, "ok");
		struct call *c = call_begin(s.net, "10.9.0.1:15021", "/grpc.health.v1.Health/Check", NULL, false);
		call_data(c, "\0\0\0\0\0", 5, true);
		rig_settle(s.r);
		ck_assert(call_ok(c));
		ck_assert_int_eq(last_status(c), open ? 1 : 2);
		ck_assert_str_eq(call_field(c, CHECKED), "shop.web");
		ck_assert_int_eq(call_field(c, MARK) != NULL, !open);
	}
	rig_free(&s.r);
}
END_TEST

START_TEST(a_body_is_read_and_forgotten_and_a_flood_of_questions_holds_nothing)
{
	struct seat s = seat(LINES);

	app_says(s.app, "ok");
	struct call *c = call_plain(s.net, "POST", "x", "/any", NULL, false);
	size_t before = rig_memory(s.r);
	for (int i = 0; i < 20; i++) {
		call_fill(c, 100000, i == 19);
		rig_advance(s.r, 1);
	}
	rig_advance(s.r, 10);
	ck_assert_int_eq(c->status, 200);
	ck_assert_uint_eq(c->on_sent, 2000000);
	for (int i = 0; i < 5000; i++) {
		asks(s.net, "GET", i & 1 ? "/ready" : "/x");
		if (i % 500 == 0)
			rig_advance(s.r, 10);
	}
	rig_advance(s.r, 2000);
	ck_assert_uint_le(rig_memory(s.r), before + 262144);
	rig_free(&s.r);
}
END_TEST

START_TEST(questions_that_never_end_make_room_for_those_that_do)
{
	enum { MANY = 1100, EACH = 100 };
	static struct call *k[MANY];
	struct rig *r = rig_new(QUESTIONS_YAML);
	struct caller *c = NULL;
	uint32_t ended = 0;

	call_plain(caller_new(r, DOOR), "POST", "x", "/healthcheck/ok", NULL, true);
	rig_settle(r);

	for (int i = 0; i < MANY; i++) {
		if (i % EACH == 0)
			c = caller_new(r, QUESTIONS_DOOR);
		k[i] = i % 2 ? call_begin(c, "x", "/grpc.health.v1.Health/Watch", NULL, false) : call_plain(c, "POST", "x", "/any", NULL, false);
		if (i % 2)
			call_data(k[i], "\0\0\0\x0f\xff", 5, false);
		rig_settle(r);
	}
	for (int i = 0; i < MANY; i++)
		ended += k[i]->ends > 0 || k[i]->status == 503 || k[i]->grpc == GRPC_UNAVAILABLE;
	ck_assert_uint_eq(rig_stat(r, STAT_QUESTIONS_DROPPED), ended);
	ck_assert_int_eq(k[1]->grpc, GRPC_UNAVAILABLE);
	ck_assert_msg(strstr(call_text(k[1]), "app 'shop': the question has not ended, and too many others have begun"), "%s", call_text(k[1]));
	ck_assert_uint_eq(ended, MANY - 1024);
	struct call *good = call_plain(caller_new(r, QUESTIONS_DOOR), "GET", "x", "/healthz/live", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(good->status, 200);
	for (int i = 0; i < MANY; i++)
		if (!k[i]->ends)
			call_cancel(k[i]);
	rig_settle(r);
	ck_assert_uint_eq(list_entry(r->sc->apps.next, struct app, node)->nquestions, 0);
	rig_free(&r);
}
END_TEST

START_TEST(who_only_connects_leaves_memory_for_the_app)
{
	struct rig *r = rig_new("limits: {memory: 4MiB}\n" QUESTIONS_YAML "services: [{name: \"" DEMO "\", endpoints: [\"10.0.0.1:1\"]}]\n");
	struct caller *app = caller_new(r, DOOR);

	provider_new(r, "10.0.0.1:1", ECHOES);
	for (int i = 0; i < 400; i++)
		caller_start(r, i % 2 ? QUESTIONS_DOOR : "10.9.0.1:20880");
	rig_advance(r, 100);
	ck_assert_uint_ge(rig_stat(r, STAT_CONNS_REFUSED_MEMORY), 1);
	struct call *mine = call_unary(app, DEMO, NULL);
	rig_settle(r);
	ck_assert_msg(call_ok(mine), "%d %s", mine->grpc, call_text(mine));
	rig_free(&r);
}
END_TEST

UNIT_SUITE("health_door", every_question_is_answered_by_the_state_of_the_app, a_grpc_call_of_another_service_is_answered_in_its_own_words, http_1_asks_too_and_keeps_its_connection,
	an_app_is_not_ready_before_its_control_plane_has_answered, where_nobody_has_asked_for_a_name_the_stream_that_stands_is_answer_enough,
	doors_follow_a_reload_and_the_life_of_the_app_stays, a_daemon_that_goes_says_so_here_while_it_serves_on,
	an_app_is_ready_with_the_providers_that_it_needs, what_an_app_needs_is_counted_anew_with_each_question_and_reload,
	a_watch_follows_the_app_and_holds_neither_a_door_nor_the_process, a_check_says_the_same_as_the_other_answers, a_body_is_read_and_forgotten_and_a_flood_of_questions_holds_nothing, questions_that_never_end_make_room_for_those_that_do, who_only_connects_leaves_memory_for_the_app)
