/* Names, and answers of our own: who is meant by an authority; the app's and the control socket's paths; texts that an SDK understands. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"
#define CONTROL "unix:/run/thinmesh/control.sock"

static const char names_yaml[] =
	"control: {tcp: \"127.0.0.1:15020\"}\n"
	"apps:\n"
	"  - name: shop\n"
	"    namespace: default\n"
	"    listen:\n"
	"      - unix: /run/shop.sock\n"
	"      - {tcp: \"127.0.0.1:15051\", default: \"demo.default.svc.cluster.local:50051\"}\n"
	"    alias: {nick: \"demo.default.svc.cluster.local:50051\"}\n"
	"    paths: {org.apache.dubbo.demo.Mapped: \"other.shop.svc.cluster.local:80\"}\n"
	"services:\n"
	"  - {name: \"" DEMO "\", endpoints: [\"" ONE "\"]}\n"
	"  - {name: \"other.shop.svc.cluster.local\", endpoints: [\"" TWO "\"]}\n"
	"  - {name: \"10.1.2.3:77\", endpoints: [\"" TWO "\"]}\n";

START_TEST(an_authority_is_understood_in_all_its_forms)
{
	static const struct { const char *authority, *path; int to; const char *upstream; } rows[] = {
		{DEMO, PATH, 1, DEMO},
		{"DEMO.Default.SVC.cluster.local:50051", PATH, 1, DEMO},
		{"demo.default.svc.cluster.local.:50051", PATH, 1, DEMO},
		{"demo:50051", PATH, 1, DEMO},
		{"demo.default:50051", PATH, 1, DEMO},
		{"demo.default.svc:50051", PATH, 1, DEMO},
		{"demo.defaultsvccluster.local:50051", PATH, 1, DEMO},
		{"nick", PATH, 1, DEMO},
		{"other.shop:80", PATH, 2, NULL},
		{"other.shop.svc.cluster.local:8443", PATH, 2, NULL}, /* declared without a port: any */
		{"10.1.2.3:77", PATH, 2, NULL},
		{"localhost", "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{"run%2Fshop.sock", "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{"/run/shop.sock", "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{"", "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{NULL, "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{"127.0.0.1:15051", "/org.apache.dubbo.demo.Mapped/go", 2, NULL},
		{"localhost", PATH, 0, NULL},
		{"nobody:50051", PATH, 0, NULL},
		{"demo:50052", PATH, 0, NULL},
		{"10.9.9.9:1", PATH, 0, NULL},
	};
	struct rig *r = rig_new(names_yaml);
	struct provider *p[2] = {provider_new(r, ONE, ECHOES), provider_new(r, TWO, ECHOES)};
	struct caller *a = caller_new(r, DOOR);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint32_t before[2] = {p[0]->requests, p[1]->requests};
		struct call *c = call_begin(a, rows[i].authority, rows[i].path, NULL, true);
		rig_settle(r);
		int to = p[0]->requests > before[0] ? 1 : p[1]->requests > before[1] ? 2 : 0;
		ck_assert_msg(to == rows[i].to, "row %zu '%s' goes to %d: %s", i, rows[i].authority ? rows[i].authority : "(none)", to, call_text(c));
		if (!to) {
			ck_assert_msg(c->grpc == GRPC_UNIMPLEMENTED, "row %zu: %d", i, c->grpc);
			ck_assert_msg(strstr(call_text(c), rows[i].authority) != NULL, "row %zu: %s", i, call_text(c));
		}
		if (rows[i].upstream)
			ck_assert_str_eq(served_field(provider_last(p[to - 1]), ":authority"), rows[i].upstream);
	}
	rig_free(&r);
}
END_TEST

START_TEST(a_listener_has_its_default_for_calls_that_name_no_app)
{
	struct rig *r = rig_new(names_yaml);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *a = caller_new(r, "127.0.0.1:15051");
	struct call *c = call_unary(a, "127.0.0.1:15051", NULL);

	rig_settle(r);
	ck_assert(call_ok(c));
	ck_assert_str_eq(served_field(provider_last(p), ":authority"), DEMO);
	/* who names an app that is not there does not get the default */
	c = call_unary(a, "nobody.default.svc.cluster.local:1", NULL);
	rig_settle(r);
	ck_assert_int_eq(c->grpc, GRPC_UNIMPLEMENTED);
	rig_free(&r);
}
END_TEST

START_TEST(an_unknown_name_is_told_in_the_callers_language)
{
	struct rig *r = rig_new(names_yaml);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, "nobody:1", NULL);

	rig_settle(r);
	ck_assert_int_eq(c->status, 200);
	ck_assert_str_eq(call_field(c, "content-type"), "application/grpc");
	ck_assert_uint_eq(c->bytes, 0);
	c = call_plain(a, "GET", "nobody:1", "/page", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 404);
	ck_assert_str_eq(call_field(c, "content-type"), "application/json");
	ck_assert_ptr_nonnull(strstr(call_text(c), "nobody:1"));
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"flag\":\"NR\""));
	c = call_plain(a, "HEAD", "nobody:1", "/page", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 404);
	ck_assert_int_eq(c->end.cause, END_DONE);
	ck_assert_uint_eq(c->bytes, 0);
	ck_assert_ptr_nonnull(call_field(c, "content-length"));
	rig_free(&r);
}
END_TEST

START_TEST(a_bad_authority_is_not_a_name)
{
	struct rig *r = rig_new(names_yaml);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_plain(a, "GET", "demo:99999999", "/page", NULL, true);

	rig_settle(r);
	ck_assert_int_eq(c->status, 400);
	rig_free(&r);
}
END_TEST

START_TEST(the_apps_health_is_one_post_on_its_socket)
{
	struct rig *r = rig_new(names_yaml);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_plain(a, "GET", "any", "/healthcheck", NULL, true);

	rig_settle(r);
	ck_assert_int_eq(c->status, 200);
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"state\":\"unknown\""));
	c = call_plain(a, "POST", "x", "/healthcheck/ok", NULL, false);
	call_data(c, "{}", 2, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 200);
	c = call_plain(a, "GET", "any", "/healthcheck", NULL, true);
	rig_settle(r);
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"state\":\"ok\""));
	c = call_plain(a, "POST", "x", "/healthcheck/fail", NULL, true);
	rig_settle(r);
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"state\":\"failing\""));
	c = call_plain(a, "GET", "any", "/healthcheck", NULL, true);
	rig_settle(r);
	ck_assert_ptr_nonnull(strstr(call_text(c), "\"state\":\"drained\"")); /* there is nobody who had to be told */
	c = call_plain(a, "GET", "any", "/healthcheck/ok", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 405);
	ck_assert_uint_eq(a->goaways, 0);
	ck_assert_uint_eq(rig_stat(r, STAT_CALLS_LOCAL), 6);
	rig_free(&r);
}
END_TEST

static char *http1(struct rig *r, const char *door, const char *request)
{
	struct raw *w = raw_new(r, door);

	raw_text(w, request);
	rig_settle(r);
	sb_char(&w->in, 0);
	return w->in.p;
}

START_TEST(curl_can_speak_to_every_door)
{
	struct rig *r = rig_new(names_yaml);
	struct provider *p = provider_new(r, ONE, PLAIN);
	char *got;

	p->act.bytes = 5;
	got = http1(r, DOOR, "POST /healthcheck/ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
	ck_assert_msg(strncmp(got, "HTTP/1.1 200", 12) == 0, "%s", got);
	got = http1(r, DOOR, "POST /hello HTTP/1.1\r\nHost: demo:50051\r\nContent-Length: 3\r\n\r\nabc");
	ck_assert_msg(strncmp(got, "HTTP/1.1 200", 12) == 0, "%s", got);
	ck_assert_uint_eq(p->requests, 1);
	ck_assert_uint_eq(provider_last(p)->bytes, 3);
	ck_assert_str_eq(served_field(provider_last(p), ":authority"), DEMO);
	got = http1(r, DOOR, "GET /nothing HTTP/1.1\r\nHost: nobody\r\n\r\n");
	ck_assert_msg(strncmp(got, "HTTP/1.1 404", 12) == 0, "%s", got);
	got = http1(r, DOOR, "GET / HTTP/1.1\r\nHost : x\r\n\r\n");
	ck_assert_msg(strncmp(got, "HTTP/1.1 400", 12) == 0, "%s", got);
	ck_assert_uint_eq(rig_stat(r, STAT_H1_BAD), 1);
	got = http1(r, CONTROL, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_msg(strncmp(got, "HTTP/1.1 200", 12) == 0, "%s", got);
	rig_free(&r);
}
END_TEST

START_TEST(the_control_socket_tells_and_its_tcp_twin_only_tells)
{
	static const struct { const char *method, *path; int status, twin; const char *text; } rows[] = {
		{"GET", "/live", 200, 200, "live"},
		{"GET", "/ready", 200, 200, "ready"},
		{"GET", "/stats", 200, 200, "thinmesh_calls_total"},
		{"GET", "/certs", 200, 200, "{\"secrets\":["},
		{"GET", "/clusters", 200, 404, DEMO},
		{"GET", "/status", 200, 404, "\"services\":["},
		{"GET", "/log", 200, 404, "level "},
		{"POST", "/log?level=debug", 200, 404, NULL},
		{"POST", "/log?level=loud", 400, 404, NULL},
		{"DELETE", "/live", 405, 405, NULL},
		{"GET", "/nothing", 404, 404, NULL},
		{"GET", "/help", 200, 404, "/stats"},
	};
	struct rig *r = rig_new(names_yaml);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *a = caller_new(r, DOOR);
	struct caller *control = caller_new(r, CONTROL), *twin = caller_new(r, "127.0.0.1:15020");

	call_unary(a, DEMO, NULL);
	rig_settle(r);
	(void)p;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct call *c = call_plain(control, rows[i].method, "x", rows[i].path, NULL, true);
		struct call *t = call_plain(twin, rows[i].method, "x", rows[i].path, NULL, true);
		rig_settle(r);
		ck_assert_msg(c->status == rows[i].status, "%s: %d", rows[i].path, c->status);
		ck_assert_msg(t->status == rows[i].twin, "%s: %d on TCP", rows[i].path, t->status);
		sb_char(&c->data, 0);
		if (rows[i].text)
			ck_assert_msg(strstr(c->data.p, rows[i].text) != NULL, "%s: %s", rows[i].path, c->data.p);
	}
	/* An app's socket serves none of it. */
	struct call *c = call_plain(a, "GET", "nobody", "/stats", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(c->status, 404);
	rig_free(&r);
}
END_TEST

START_TEST(the_access_log_tells_the_call_in_text_and_json)
{
	for (int json = 0; json < 2; json++) {
		char file[] = "/tmp/flow-access-XXXXXX", top[200], text[8192] = "";
		int fd = mkstemp(file);
		snprintf(top, sizeof(top), "log: {access: %s, access_file: \"%s\"}\n", json ? "json" : "text", file);
		struct rig *r = rig_demo(ONE, NULL, top);
		struct provider *p = provider_new(r, ONE, ECHOES);
		struct caller *a = caller_new(r, DOOR);
		p->act.delay_ms = 20;
		call_unary(a, DEMO, "tri-consumer-appname: till\n");
		call_unary(a, "no body:1", NULL);
		call_unary(a, "nobody:1", NULL);
		rig_advance(r, 30);
		ck_assert(read(fd, text, sizeof(text) - 1) > 0);
		unlink(file);
		close(fd);
		static const char *const words[2][8] = {
			{" app=shop", " grpc_status=0", " flag=-", " upstream_host=" ONE, " consumer=till", " added_us=", " duration_us=20000", " flag=NR"},
			{"\"app\":\"shop\"", "\"grpc_status\":0", "\"flag\":\"-\"", "\"upstream_host\":\"" ONE "\"", "\"consumer\":\"till\"", "\"added_us\":0", "\"duration_us\":20000",
				"\"flag\":\"NR\""},
		};
		for (int i = 0; i < 8; i++)
			ck_assert_msg(strstr(text, words[json][i]) != NULL, "'%s' is not in:\n%s", words[json][i], text);
		rig_free(&r);
	}
}
END_TEST

UNIT_SUITE("local", an_authority_is_understood_in_all_its_forms, a_listener_has_its_default_for_calls_that_name_no_app,
	an_unknown_name_is_told_in_the_callers_language, a_bad_authority_is_not_a_name, the_apps_health_is_one_post_on_its_socket,
	curl_can_speak_to_every_door, the_control_socket_tells_and_its_tcp_twin_only_tells, the_access_log_tells_the_call_in_text_and_json)
