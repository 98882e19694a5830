/* sidecar/grpc_health: what an app's SDK and a remote checker hear from grpc.health.v1.Health, and that a Watch lives through everything. */
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc_health_message.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define ONE "10.0.0.1:1"
#define TWO "10.0.0.2:1"
#define CHECK GRPC_HEALTH_CHECK
#define WATCH GRPC_HEALTH_WATCH
#define DEMO_YAML(endpoints) "services:\n  - {name: \"" DEMO "\", endpoints: [" endpoints "]}\n"

/* ---- asking ---- */

static struct call *ask_with(struct caller *c, const char *authority, const char *path, const char *service, const char *more)
{
	struct sb message = {0}, framed = {0};
	grpc_health_request_encode(str_of(service), &message);
	const char prefix[5] = {0, 0, 0, (char)(message.n >> 8), (char)message.n};
	sb_add(&framed, prefix, 5);
	sb_add(&framed, message.p ? message.p : "", message.n);
	struct call *k = call_begin(c, authority, path, more, false);
	call_data(k, framed.p, framed.n, true);
	rig_settle(c->rig);
	sb_end(&message);
	sb_end(&framed);
	return k;
}

static struct call *ask(struct caller *c, const char *authority, const char *path)
{
	return ask_with(c, authority, path, "", NULL);
}

/* All statuses that came, in order: "SERVING NOT_SERVING". */
static const char *heard(const struct call *k)
{
	static char text[2000];
	const uint8_t *p = (const uint8_t *)k->data.p;
	text[0] = 0;
	for (size_t at = 0; at + 5 <= k->data.n;) {
		size_t n = (size_t)p[at + 3] << 8 | p[at + 4];
		int status = -1;
		ck_assert(grpc_health_response_decode(str_n((const char *)p + at + 5, n), &status));
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? " " : "", grpc_health_name(status));
		at += 5 + n;
	}
	return text;
}

/* Its one status, or the grpc-status it failed with. */
static const char *answer(const struct call *k)
{
	static char text[64];
	if (!k->ends)
		return "(open)";
	if (k->grpc == GRPC_OK)
		return heard(k);
	snprintf(text, sizeof text, "%s", grpc_status_name(k->grpc));
	return text;
}

#define says_now(k, expected) ck_assert_str_eq(heard(k), expected)

/* ---- who is meant ---- */

static const char names_yaml[] =
	"apps:\n"
	"  - name: shop\n"
	"    listen: [{unix: /run/shop.sock}, {unix: /run/plain.sock, default: \"down:1\"}]\n"
	"    alias: {nick: \"" DEMO "\"}\n"
	"    paths: {org.x.Up: \"" DEMO "\", org.x.Down: \"down:1\", org.x.Nobody: \"nobody:1\"}\n"
	"services:\n"
	"  - {name: \"" DEMO "\", endpoints: [\"" ONE "\"]}\n"
	"  - {name: \"down.default.svc.cluster.local:1\", endpoints: []}\n";

START_TEST(the_authority_decides_then_the_service_then_the_doors_default)
{
	static const struct { const char *door, *authority, *service, *check, *watch; } rows[] = {
		{DOOR, DEMO, "", "SERVING", "SERVING"},
		{DOOR, "demo:50051", "", "SERVING", "SERVING"},
		{DOOR, "nick", "whatever", "SERVING", "SERVING"}, /* the authority names an app: its service is its own matter */
		{DOOR, "down:1", "", "NOT_SERVING", "NOT_SERVING"},
		{DOOR, "down:1", "org.x.Up", "NOT_SERVING", "NOT_SERVING"},
		{DOOR, "nobody:1", "", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{DOOR, "localhost", "org.x.Up", "SERVING", "SERVING"},
		{DOOR, "%2Frun%2Fshop.sock", "org.x.Down", "NOT_SERVING", "NOT_SERVING"},
		{DOOR, "localhost", "org.x.Nobody", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{DOOR, "127.0.0.1:15051", "red/org.x.Up:1.0.0", "SERVING", "SERVING"}, /* as dubbo-go names what it refers to (dubbo.md 0.2): group/interface:version */
		{DOOR, "localhost", "org.x.Up:1.0.0", "SERVING", "SERVING"},
		{DOOR, "localhost", "red/org.x.Down", "NOT_SERVING", "NOT_SERVING"},
		{DOOR, "localhost", "red/org.x.Nobody:1.0.0", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{DOOR, "localhost", "red/:1.0.0", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{DOOR, "localhost", "", "SERVING", "SERVING"}, /* the daemon */
		{DOOR, NULL, "", "SERVING", "SERVING"},
		{DOOR, "localhost", "org.x.Unheard", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{"unix:/run/plain.sock", "localhost", "", "NOT_SERVING", "NOT_SERVING"},
		{"unix:/run/plain.sock", "localhost", "org.x.Up", "SERVING", "SERVING"},
		{"unix:/run/plain.sock", "localhost", "org.x.Unheard", "NOT_SERVING", "NOT_SERVING"},
		{DOOR, "a..b:1", "", "INVALID_ARGUMENT", "INVALID_ARGUMENT"},
	};
	struct rig *r = rig_new(names_yaml);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct caller *c = caller_new(r, rows[i].door);
		struct call *k = ask_with(c, rows[i].authority, CHECK, rows[i].service, NULL);
		ck_assert_msg(strcmp(answer(k), rows[i].check) == 0, "row %zu: Check: %s: %s", i, answer(k), call_text(k));
		k = ask_with(c, rows[i].authority, WATCH, rows[i].service, NULL);
		ck_assert_msg(strcmp(k->ends ? answer(k) : heard(k), rows[i].watch) == 0, "row %zu: Watch: %s", i, heard(k));
		ck_assert_int_eq(!k->ends, strcmp(rows[i].watch, "INVALID_ARGUMENT") != 0);
		caller_close(c);
	}
	ck_assert_uint_eq(rig_stat(r, STAT_HEALTH_ASKED), 2 * UNIT_COUNT(rows));
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_WATCHES), 0);
	rig_free(&r);
}
END_TEST

START_TEST(the_refusal_names_what_was_asked)
{
	struct rig *r = rig_new(names_yaml);
	struct caller *c = caller_new(r, DOOR);
	struct call *k = ask_with(c, "nobody:1", CHECK, "some.Service", NULL);

	ck_assert_int_eq(k->grpc, GRPC_NOT_FOUND);
	ck_assert_ptr_nonnull(strstr(call_text(k), "no such service: 'nobody:1', service 'some.Service'"));
	rig_free(&r);
}
END_TEST

/* All that a List has said: "'' SERVING; 'x' NOT_SERVING; ". */
static const char *listed(const struct call *k)
{
	static char text[512];
	struct str rest = str_n(k->data.p + 5, k->data.n - 5), service;
	int status;

	ck_assert_int_eq(k->grpc, 0);
	text[0] = 0;
	while (grpc_health_list_next(&rest, &service, &status) > 0)
		snprintf(text + strlen(text), sizeof text - strlen(text), "'%.*s' %s; ", (int)service.n, service.n ? service.p : "", grpc_health_name(status));
	return text;
}

START_TEST(a_list_tells_of_the_paths)
{
	struct rig *r = rig_new(names_yaml);
	struct caller *c = caller_new(r, DOOR);

	ck_assert_str_eq(listed(ask(c, "localhost", GRPC_HEALTH_LIST)), "'' SERVING; 'org.x.Down' NOT_SERVING; 'org.x.Nobody' SERVICE_UNKNOWN; 'org.x.Up' SERVING; ");
	rig_free(&r);
}
END_TEST

START_TEST(passthrough_asks_the_provider_itself)
{
	struct rig *r = rig_new("apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}], health: {passthrough: true}}\n" DEMO_YAML("\"" ONE "\""));
	struct provider *p = provider_new(r, ONE, ANSWERS);
	struct caller *c = caller_new(r, DOOR);
	struct call *k = ask(c, DEMO, CHECK);

	rig_advance(r, 50);
	ck_assert_int_eq(k->grpc, 0);
	ck_assert_uint_eq(p->requests, 1);
	ck_assert_str_eq(served_field(provider_last(p), ":path"), CHECK);
	rig_free(&r);
}
END_TEST

START_TEST(what_is_not_ours_goes_to_the_provider)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct provider *p = provider_new(r, ONE, ANSWERS);
	struct caller *c = caller_new(r, DOOR);

	call_begin(c, DEMO, "/grpc.health.v1.Health/Other", NULL, true);
	call_begin(c, DEMO, "/grpc.health.v1.Health/Checks", NULL, true);
	call_begin(c, DEMO, "/grpc.health.v1.Health/", NULL, true);
	call_plain(c, "GET", DEMO, CHECK, NULL, true);
	rig_advance(r, 50);
	ck_assert_uint_eq(p->requests, 4);
	rig_free(&r);
}
END_TEST

/* ---- what makes no sense ---- */

START_TEST(bad_questions_get_the_answers_that_grpc_knows)
{
	static const struct { const char *bytes; size_t n; const char *status; } rows[] = {
		{"", 0, "INTERNAL"},
		{"\0\0\0", 3, "INTERNAL"},
		{"\0\0\0\0\5abc", 8, "INTERNAL"},
		{"\0\0\0\0\0\0\0\0\0\0", 10, "INTERNAL"},       /* two messages */
		{"\1\0\0\0\0", 5, "UNIMPLEMENTED"},              /* compressed */
		{"\2\0\0\0\0", 5, "INTERNAL"},
		{"\0\0\0\x10\1", 5, "RESOURCE_EXHAUSTED"},       /* 4097 bytes are announced */
		{"\0\xff\xff\xff\xff", 5, "RESOURCE_EXHAUSTED"},
		{"\0\0\0\0\3\x0a\5x", 8, "INVALID_ARGUMENT"},
		{"\0\0\0\0\3\x0a\1\0", 8, "INVALID_ARGUMENT"},   /* a NUL */
		{"\0\0\0\0\2\x10\1", 7, "SERVING"},              /* a field of a later version */
	};
	struct rig *r = rig_demo(ONE, NULL, NULL);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int piecemeal = 0; piecemeal < 2; piecemeal++) {
			struct caller *c = caller_new(r, DOOR);
			struct call *k = call_begin(c, DEMO, i & 1 ? WATCH : CHECK, NULL, false);
			for (size_t at = 0; piecemeal && at < rows[i].n; at++) {
				call_data(k, rows[i].bytes + at, 1, false);
				rig_settle(r);
			}
			call_data(k, rows[i].bytes, piecemeal ? 0 : rows[i].n, true);
			rig_settle(r);
			ck_assert_msg(strcmp(answer(k), rows[i].status) == 0, "row %zu: %s: %s", i, answer(k), call_text(k));
			caller_close(c);
		}
	rig_free(&r);
}
END_TEST

START_TEST(a_question_that_never_ends_is_not_gathered)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct caller *c = caller_new(r, DOOR);
	struct call *k = call_begin(c, DEMO, CHECK, NULL, false);

	call_data(k, "\0\0\1\0\0", 5, false);
	rig_settle(r);
	ck_assert_str_eq(answer(k), "RESOURCE_EXHAUSTED"); /* before its body has come */
	struct call *l = call_begin(c, DEMO, CHECK, NULL, false);
	call_data(l, "\0\0\0\0\0", 5, false);
	size_t before = rig_memory(r);
	for (int i = 0; i < 200; i++) {
		call_fill(l, 16384, false);
		rig_settle(r);
	}
	ck_assert_uint_lt(rig_memory(r), before + 300000);
	call_data(l, "", 0, true);
	rig_settle(r);
	ck_assert_str_eq(answer(l), "INTERNAL");
	rig_free(&r);
}
END_TEST

START_TEST(who_speaks_no_grpc_is_told_415)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct caller *c = caller_new(r, DOOR);
	struct call *k = call_plain(c, "POST", DEMO, CHECK, "content-type: application/json\n", true);
	struct call *l = call_plain(c, "POST", DEMO, WATCH, NULL, true);

	rig_settle(r);
	ck_assert_int_eq(k->status, 415);
	ck_assert_int_eq(l->status, 415);
	rig_free(&r);
}
END_TEST

#define HEALTH_DOOR "10.0.0.7:15021"
static const char app_yaml[] =
	"apps:\n"
	"  - name: shop\n"
	"    listen: [{unix: /run/shop.sock}]\n"
	"    paths: {org.x.Mine: \"x:1\"}\n"
	"    health: {listen: [{tcp: \"" HEALTH_DOOR "\"}]}\n";

/* ---- a Watch's life ---- */

static const char *const alive = "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n" DEMO_YAML("\"" ONE "\", \"" TWO "\"");

START_TEST(a_watch_outlives_every_provider)
{
	struct rig *r = rig_new(alive);
	struct provider *p[2] = {provider_new(r, ONE, ANSWERS), provider_new(r, TWO, ANSWERS)};
	struct caller *c = caller_new(r, DOOR);
	struct call *w = ask(c, DEMO, WATCH);

	call_unary(c, DEMO, NULL);
	rig_advance(r, 100);
	says_now(w, "SERVING");
	for (int i = 0; i < 2; i++) {
		provider_listen(p[i], false);
		provider_cut(p[i]);
		rig_advance(r, 10);
		for (int n = 0; n < 4; n++) {
			call_unary(c, DEMO, NULL);
			rig_advance(r, 20);
		}
		if (!i)
			says_now(w, "SERVING"); /* one of two is gone: calls go to the other */
	}
	ck_assert_ptr_nonnull(strstr(heard(w), "SERVING NOT_SERVING")); /* and SERVING again with the end of each back-off: somebody may be there by then */
	ck_assert_uint_eq(w->ends, 0);
	provider_listen(p[1], true);
	rig_advance(r, 60000);
	struct call *last = call_unary(c, DEMO, NULL);
	rig_advance(r, 60000);
	ck_assert(call_ok(last));
	const char *all = heard(w);
	ck_assert_str_eq(all + strlen(all) - strlen("NOT_SERVING SERVING"), "NOT_SERVING SERVING");
	ck_assert_ptr_null(strstr(all, "NOT_SERVING NOT_SERVING"));
	ck_assert_ptr_null(strstr(all, " SERVING SERVING"));
	ck_assert_uint_eq(w->ends, 0);
	call_cancel(w);
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_WATCHES), 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_watch_follows_what_a_reload_makes_of_its_name)
{
	struct rig *r = rig_new(alive);
	struct caller *c = caller_new(r, DOOR);
	struct call *w = ask(c, DEMO, WATCH), *a = ask(c, "nick", WATCH);

	says_now(w, "SERVING");
	says_now(a, "SERVICE_UNKNOWN");
	ck_assert_int_eq(rig_reload(r, "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}], alias: {nick: \"" DEMO "\"}}\n" DEMO_YAML("")), 0);
	rig_advance(r, 60000); /* who vanished is held for a while */
	says_now(w, "SERVING NOT_SERVING");
	says_now(a, "SERVICE_UNKNOWN NOT_SERVING");
	ck_assert_int_eq(rig_reload(r, "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n"), 0);
	rig_settle(r);
	says_now(w, "SERVING NOT_SERVING SERVICE_UNKNOWN");
	ck_assert_int_eq(rig_reload(r, alive), 0);
	rig_settle(r);
	says_now(w, "SERVING NOT_SERVING SERVICE_UNKNOWN SERVING");
	says_now(a, "SERVICE_UNKNOWN NOT_SERVING SERVICE_UNKNOWN");
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(rig_reload(r, alive), 0);
	rig_advance(r, 1000);
	says_now(w, "SERVING NOT_SERVING SERVICE_UNKNOWN SERVING"); /* each status once */
	ck_assert_uint_eq(w->ends + a->ends, 0);
	rig_free(&r);
}
END_TEST

START_TEST(who_reads_slowly_is_told_what_is_true_when_he_reads)
{
	enum { FLIPS = 20001 };
	struct rig *r = rig_new(app_yaml);
	struct caller *c = caller_new(r, HEALTH_DOOR);
	struct life *life = list_entry(r->sc->apps.next, struct app, node)->life;
	struct call *k = ask(c, "x", WATCH);

	says_now(k, "NOT_SERVING");
	k->hold = true; /* its stream's window fills up */
	size_t before = rig_memory(r);
	for (int i = 0; i < FLIPS; i++) {
		if (i & 1)
			life_fail(life, NULL, "");
		else
			life_ok(life, NULL, 0);
		loop_turn(r->loop, 0);
	}
	rig_advance(r, 100);
	ck_assert_uint_lt(k->data.n, FLIPS * 7 / 2); /* the rest was never said */
	ck_assert_uint_lt(rig_memory(r), before + 200000);
	call_credit(k);
	rig_advance(r, 100);
	const uint8_t *end = (const uint8_t *)k->data.p + k->data.n;
	ck_assert_uint_eq(end[-1], GRPC_HEALTH_SERVING);
	ck_assert_uint_lt(k->data.n, FLIPS * 7 / 2);
	rig_free(&r);
}
END_TEST

START_TEST(a_hundred_and_fifty_watches_and_two_hundred_calls_fit_one_connection)
{
	struct rig *r = rig_demo(ONE, NULL, "limits: {streams_per_connection: 200, watches_per_connection: 160}\n");
	struct provider *p = provider_new(r, ONE, HOLDS);
	struct caller *c = caller_new(r, DOOR);
	struct call *watch[150], *calls[200];

	rig_settle(r);
	ck_assert_uint_eq(h2_conn_room(c->h2), 200);
	for (int i = 0; i < 150; i++)
		watch[i] = ask(c, DEMO, WATCH);
	for (int i = 0; i < 200; i++)
		calls[i] = call_unary(c, DEMO, NULL);
	rig_advance(r, 50);
	ck_assert_uint_eq(p->requests, 200);
	for (int i = 0; i < 150; i++)
		says_now(watch[i], "SERVING");
	ck_assert_uint_eq(rig_stat(r, STAT_STREAMS_REFUSED), 0);
	ck_assert_uint_eq(rig_stat(r, STAT_WATCHES), 150);
	/* The last ones, and one beyond the bound of Watches. */
	for (int i = 0; i < 11; i++) {
		call_cancel(calls[i]);
		rig_settle(r);
		struct call *k = ask(c, DEMO, WATCH);
		ck_assert_str_eq(i < 10 ? heard(k) : answer(k), i < 10 ? "SERVING" : "RESOURCE_EXHAUSTED");
	}
	ck_assert_uint_eq(rig_stat(r, STAT_WATCHES_LIMIT), 1);
	for (int i = 0; i < 150; i++)
		call_cancel(watch[i]);
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_WATCHES), 10);
	struct call *again = ask(c, DEMO, WATCH);
	says_now(again, "SERVING");
	rig_free(&r);
}
END_TEST

START_TEST(a_peer_that_heeds_no_setting_is_refused_at_the_bound)
{
	struct rig *r = rig_demo(ONE, NULL, "limits: {streams_per_connection: 4, watches_per_connection: 2}\n");
	provider_new(r, ONE, HOLDS);
	struct raw *w = raw_new(r, DOOR);
	struct frame f;

	raw_preface(w);
	for (uint32_t i = 0; i < 30; i++)
		raw_headers(w, 1 + 2 * i, raw_request, true);
	rig_advance(r, 50);
	ck_assert(raw_find(w, F_RST, 1 + 2 * 4, &f));
	ck_assert_uint_eq(raw_count(w, F_RST, -1), 26);
	rig_free(&r);
}
END_TEST

START_TEST(deadlines_end_a_check_and_a_watch)
{
	struct world w = world_istio(XDS(""));

	w.p->quirks.mute = true;
	struct call *k = ask_with(w.app, HOST ":50051", CHECK, "", "grpc-timeout: 200m\n"), *l = ask_with(w.app, HOST ":50051", WATCH, "", "grpc-timeout: 300m\n");
	says_now(l, "SERVICE_UNKNOWN");
	rig_advance(w.r, 250);
	ck_assert_int_eq(k->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(l->ends, 0);
	rig_advance(w.r, 100);
	ck_assert_int_eq(l->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_WATCHES), 0);
	rig_free(&w.r);
}
END_TEST

/* ---- names of a mesh ---- */

START_TEST(a_check_waits_for_its_name_like_a_call)
{
	struct world w = world_istio(XDS(""));
	w.p->quirks.slow_ms = 10;
	struct call *k = ask(w.app, HOST ":50051", CHECK), *no = ask(w.app, "nobody.default.svc.cluster.local:1", CHECK);

	ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 2);
	rig_advance(w.r, 50);
	ck_assert_str_eq(answer(k), "SERVING");
	ck_assert_str_eq(answer(no), "NOT_FOUND");
	ck_assert_ptr_nonnull(strstr(call_text(no), PLANE)); /* who said so */
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARKED), 0);
	w.p->quirks.mute = true;
	struct call *late = ask(w.app, "late.default.svc.cluster.local:1", CHECK);
	rig_advance(w.r, 6000);
	ck_assert_str_eq(answer(late), "UNAVAILABLE");
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARK_TIMEOUT), 1);
	ck_assert_uint_eq(w.one->requests, 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(checks_that_wait_have_a_bound)
{
	struct world w = world_istio(XDS("") "park: {calls: 3}\n");

	w.p->quirks.mute = true;
	for (int i = 0; i < 5; i++) {
		struct call *k = ask(w.app, HOST ":50051", CHECK);
		ck_assert_str_eq(answer(k), i < 3 ? "(open)" : "UNAVAILABLE");
	}
	ck_assert_uint_eq(rig_stat(w.r, STAT_PARK_LIMIT), 2);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_watch_of_a_mesh_says_first_that_it_does_not_know_and_then_what_is)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));
	w.p->quirks.slow_ms = 10;
	struct call *k = ask(w.app, HOST ":50051", WATCH), *no = ask(w.app, "later.default.svc.cluster.local:1", WATCH);

	says_now(k, "SERVICE_UNKNOWN");
	rig_advance(w.r, 50);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_endpoints(w.p, HOST, 50051, ONE "!unhealthy " TWO);
	rig_advance(w.r, 50);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_endpoints(w.p, HOST, 50051, ONE "!unhealthy");
	rig_advance(w.r, 2000);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING");
	plane_endpoints(w.p, HOST, 50051, TWO);
	rig_advance(w.r, 50);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING SERVING");
	says_now(no, "SERVICE_UNKNOWN"); /* it was unknown, then absent: the same word */
	plane_service(w.p, "later.default.svc.cluster.local", 1, TWO);
	rig_advance(w.r, 2000);
	says_now(no, "SERVICE_UNKNOWN SERVING");
	plane_service_gone(w.p, "later.default.svc.cluster.local", 1);
	rig_advance(w.r, 40000);
	says_now(no, "SERVICE_UNKNOWN SERVING SERVICE_UNKNOWN");
	ck_assert_uint_eq(k->ends + no->ends, 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_watch_lives_without_its_control_plane_and_through_another_one)
{
	struct world w = world_istio(XDS(""));
	struct plane *other = rig_plane(w.r, "10.9.9.8:15010", PLANE_ISTIO);
	struct call *k = ask(w.app, HOST ":50051", WATCH);

	rig_advance(w.r, 50);
	plane_kill(w.p);
	rig_advance(w.r, 60000);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_service(other, HOST, 50051, TWO);
	ck_assert_int_eq(rig_reload(w.r, APPS "xds: {server: \"10.9.9.8:15010\", profile: istio-grpc}\n"), 0); /* all is asked anew */
	rig_advance(w.r, 3000);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_endpoints(other, HOST, 50051, TWO "!unhealthy");
	rig_advance(w.r, 3000);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING");
	ck_assert_int_eq(rig_reload(w.r, APPS), 0);
	rig_advance(w.r, 3000);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN");
	ck_assert_uint_eq(k->ends, 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(an_open_watch_keeps_its_name)
{
	struct world w = world_istio(XDS(", idle: 10s"));
	struct call *k = ask(w.app, HOST ":50051", WATCH);

	rig_advance(w.r, 60000);
	ck_assert(plane_asks(w.p, XDS_RDS, HOST ":50051"));
	says_now(k, "SERVICE_UNKNOWN SERVING");
	call_cancel(k);
	rig_advance(w.r, 60000);
	ck_assert(!plane_asks(w.p, XDS_RDS, HOST ":50051"));
	rig_free(&w.r);
}
END_TEST

START_TEST(where_a_route_has_several_clusters_one_that_serves_is_enough)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));

	plane_cluster(w.p, "outbound|50051|v1|" HOST, ONE);
	plane_cluster(w.p, "outbound|50051|v2|" HOST, TWO);
	plane_route(w.p, HOST, 50051, "outbound|50051|v1|" HOST "=90 outbound|50051|v2|" HOST "=10");
	struct call *k = ask(w.app, HOST ":50051", WATCH);
	rig_advance(w.r, 2000);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_cluster(w.p, "outbound|50051|v1|" HOST, ONE "!unhealthy");
	rig_advance(w.r, 2000);
	says_now(k, "SERVICE_UNKNOWN SERVING");
	plane_cluster(w.p, "outbound|50051|v2|" HOST, TWO "!unhealthy");
	rig_advance(w.r, 2000);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING");
	plane_route(w.p, HOST, 50051, NULL); /* its own cluster again, which has a provider */
	rig_advance(w.r, 2000);
	says_now(k, "SERVICE_UNKNOWN SERVING NOT_SERVING SERVING");
	rig_free(&w.r);
}
END_TEST

/* ---- the app itself ---- */

START_TEST(a_checker_hears_the_apps_own_life)
{
	struct rig *r = rig_new(app_yaml);
	struct caller *c = caller_new(r, HEALTH_DOOR), *app = caller_new(r, DOOR);
	struct call *all = ask_with(c, "10.0.0.7:15021", WATCH, "", NULL), *mine = ask_with(c, "x", WATCH, "org.x.Mine", NULL), *no = ask_with(c, "x", WATCH, "org.x.Other", NULL);

	says_now(all, "NOT_SERVING");
	call_plain(app, "POST", "x", "/healthcheck/ok", NULL, true);
	rig_settle(r);
	says_now(all, "NOT_SERVING SERVING");
	says_now(mine, "NOT_SERVING SERVING");
	says_now(no, "SERVICE_UNKNOWN");
	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "", NULL)), "SERVING");
	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "org.x.Mine", NULL)), "SERVING");
	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "red/org.x.Mine:1.0.0", NULL)), "SERVING"); /* as Dubbo says it */
	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "org.x.Other", NULL)), "NOT_FOUND");
	call_plain(app, "POST", "x", "/healthcheck/fail", NULL, true);
	rig_settle(r);
	says_now(all, "NOT_SERVING SERVING NOT_SERVING");
	struct call *k = ask_with(c, "x", CHECK, "", NULL);
	ck_assert_str_eq(answer(k), "NOT_SERVING");
	ck_assert_ptr_nonnull(call_field(k, "x-envoy-immediate-health-check-fail"));
	ck_assert_uint_eq(all->ends + mine->ends + no->ends, 0);
	rig_free(&r);
}
END_TEST

static const char named_yaml[] =
	"apps:\n"
	"  - name: shop\n"
	"    listen: [{unix: /run/shop.sock}]\n"
	"    paths: {org.x.Mine: \"x:1\"}\n"
	"    health: {listen: [{tcp: \"" HEALTH_DOOR "\"}], services: [demo.Greeter, org.x.Mine, red/org.x.Own:1.0.0]}\n";

START_TEST(a_service_that_the_app_names_is_its_own_to_checkers_alone)
{
	static const struct { const char *service, *check, *watch; } rows[] = {
		{"demo.Greeter", "SERVING", "SERVING"},
		{"red/demo.Greeter:1.0.0", "SERVING", "SERVING"},
		{"org.x.Mine", "SERVING", "SERVING"},
		{"red/org.x.Own:1.0.0", "SERVING", "SERVING"},
		{"org.x.Own", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{"demo.Greete", "NOT_FOUND", "SERVICE_UNKNOWN"},
		{"DEMO.Greeter", "NOT_FOUND", "SERVICE_UNKNOWN"},
	};
	struct rig *r = rig_new(named_yaml);
	struct caller *c = caller_new(r, HEALTH_DOOR), *app = caller_new(r, DOOR);

	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "demo.Greeter", NULL)), "NOT_SERVING");
	call_plain(app, "POST", "x", "/healthcheck/ok", NULL, true);
	rig_settle(r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		ck_assert_str_eq(answer(ask_with(c, "x", CHECK, rows[i].service, NULL)), rows[i].check);
		ck_assert_str_eq(heard(ask_with(c, "x", WATCH, rows[i].service, NULL)), rows[i].watch);
	}
	struct call *w = ask_with(c, "x", WATCH, "demo.Late", NULL);
	ck_assert_str_eq(listed(ask(c, "x", GRPC_HEALTH_LIST)), "'' SERVING; 'demo.Greeter' SERVING; 'red/org.x.Own:1.0.0' SERVING; 'org.x.Mine' SERVING; ");
	ck_assert_str_eq(listed(ask(app, "localhost", GRPC_HEALTH_LIST)), "'' SERVING; 'org.x.Mine' SERVICE_UNKNOWN; "); /* the app's own sockets tell of what it calls */
	ck_assert_str_eq(answer(ask_with(app, "localhost", CHECK, "demo.Greeter", NULL)), "NOT_FOUND");
	says_now(w, "SERVICE_UNKNOWN");
	ck_assert_int_eq(rig_reload(r, "apps: [{name: shop, listen: [{unix: /run/shop.sock}], health: {listen: [{tcp: \"" HEALTH_DOOR "\"}], services: [demo.Late]}}]\n"), 0);
	rig_settle(r);
	says_now(w, "SERVICE_UNKNOWN SERVING");
	ck_assert_str_eq(answer(ask_with(c, "x", CHECK, "demo.Greeter", NULL)), "NOT_FOUND");
	rig_free(&r);
}
END_TEST

/* ---- the end ---- */

START_TEST(a_drain_ends_watches_so_that_it_can_end_itself)
{
	struct rig *r = rig_new(alive);
	struct caller *c = caller_new(r, DOOR);
	struct call *k = ask(c, DEMO, WATCH);

	sidecar_stop(r->sc);
	rig_advance(r, 100);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	says_now(k, "SERVING");
	rig_free(&r);
}
END_TEST

START_TEST(above_the_soft_mark_of_memory_no_watch_begins)
{
	struct rig *r = rig_demo(ONE, NULL, "limits: {memory: 1MiB, memory_soft: 1}\n");
	struct caller *c = caller_new(r, DOOR);
	struct call *k = ask(c, DEMO, WATCH);

	ck_assert_str_eq(answer(k), "RESOURCE_EXHAUSTED");
	rig_free(&r);
}
END_TEST

START_TEST(what_a_question_makes_us_keep_is_charged_and_may_be_refused)
{
	enum { MANY = 50, LONG = 4000 };
	struct rig *r = rig_new(app_yaml);
	struct caller *c = caller_new(r, HEALTH_DOOR);
	struct call *k[MANY];
	char service[LONG + 1];
	size_t before;

	memset(service, 's', LONG);
	service[LONG] = 0;
	ask_with(c, "x", CHECK, service, NULL);
	before = rig_memory(r);
	for (int i = 0; i < MANY; i++)
		k[i] = ask_with(c, "x", WATCH, service, NULL);
	ck_assert_uint_ge(rig_memory(r), before + (size_t)MANY * LONG);
	for (int i = 0; i < MANY; i++)
		call_cancel(k[i]);
	rig_advance(r, 100);
	ck_assert_uint_lt(rig_memory(r), before + (size_t)MANY * LONG / 4);
	for (int i = 0; i < MANY; i++) { /* begun, and not ended */
		k[i] = call_begin(c, "x", WATCH, NULL, false);
		call_data(k[i], "\0\0\0\x0f\xff", 5, false);
		call_fill(k[i], LONG, false);
	}
	rig_settle(r);
	ck_assert_uint_ge(rig_memory(r), before + (size_t)MANY * LONG);
	for (int i = 0; i < MANY; i++)
		call_cancel(k[i]);
	rig_advance(r, 100);
	ck_assert_uint_lt(rig_memory(r), before + (size_t)MANY * LONG / 4);
	rig_free(&r);
}
END_TEST

START_TEST(watches_from_outside_leave_memory_for_the_app)
{
	char yaml[2048], service[4001];
	struct call *k = NULL, *mine;
	struct caller *c = NULL;
	int open = 0;

	memset(service, 's', 4000);
	service[4000] = 0;
	snprintf(yaml, sizeof yaml, "%slimits: {memory: 4MiB}\n" DEMO_YAML("\"" ONE "\""), app_yaml);
	struct rig *r = rig_new(yaml);
	provider_new(r, ONE, ANSWERS);
	struct caller *app = caller_new(r, DOOR);
	for (int i = 0; i < 900 && (!k || !k->ends); i++, open++) {
		if (i % 50 == 0)
			c = caller_new(r, HEALTH_DOOR);
		k = ask_with(c, "x", WATCH, service, NULL);
	}
	ck_assert_str_eq(answer(k), "RESOURCE_EXHAUSTED");
	ck_assert_int_gt(open, 50);
	ck_assert_str_eq(answer(ask_with(caller_new(r, HEALTH_DOOR), "x", CHECK, "", NULL)), "NOT_SERVING"); /* who only asks is answered */
	mine = call_unary(app, DEMO, NULL);
	rig_settle(r);
	ck_assert_msg(call_ok(mine), "%d %s", mine->grpc, call_text(mine));
	rig_free(&r);
}
END_TEST

UNIT_SUITE("grpc_health", the_authority_decides_then_the_service_then_the_doors_default, the_refusal_names_what_was_asked, a_list_tells_of_the_paths, passthrough_asks_the_provider_itself,
	what_is_not_ours_goes_to_the_provider, bad_questions_get_the_answers_that_grpc_knows, a_question_that_never_ends_is_not_gathered, who_speaks_no_grpc_is_told_415,
	a_watch_outlives_every_provider, a_watch_follows_what_a_reload_makes_of_its_name, who_reads_slowly_is_told_what_is_true_when_he_reads,
	a_hundred_and_fifty_watches_and_two_hundred_calls_fit_one_connection, a_peer_that_heeds_no_setting_is_refused_at_the_bound, deadlines_end_a_check_and_a_watch,
	a_check_waits_for_its_name_like_a_call, checks_that_wait_have_a_bound, a_watch_of_a_mesh_says_first_that_it_does_not_know_and_then_what_is,
	a_watch_lives_without_its_control_plane_and_through_another_one, an_open_watch_keeps_its_name, where_a_route_has_several_clusters_one_that_serves_is_enough,
	a_checker_hears_the_apps_own_life, a_service_that_the_app_names_is_its_own_to_checkers_alone, a_drain_ends_watches_so_that_it_can_end_itself, above_the_soft_mark_of_memory_no_watch_begins, what_a_question_makes_us_keep_is_charged_and_may_be_refused, watches_from_outside_leave_memory_for_the_app)
