/* The app's life on its own doors: posts over both versions of HTTP, leases, waits, processes, limits; and the mesh, which hears of it in the same turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/healthcheck.h"
#include "sidecar/local.h"
#include "tests/flow/rig_world.h"
#include "tests/sim/simnet_proc.h"
#include "tests/unit.h"

#define SHOP(more) "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}, {tcp: \"127.0.0.1:15051\"}]\n" more
#define DEMO_AT "services: [{name: \"" DEMO "\", endpoints: [\"10.0.0.1:1\"]}]\n"
#define TCP "127.0.0.1:15051"

static struct app *app_of(const struct rig *r) { return list_entry(r->sc->apps.next, struct app, node); }
static enum life_state state(const struct rig *r) { return life_state(app_of(r)->life); }

/* A caller that is process `pid` of user `uid`. */
static struct caller *caller_as(struct rig *r, const char *at, uid_t uid, pid_t pid)
{
	struct sock_cred *c = &simnet_knobs(r->net)->cred;
	c->uid = uid;
	c->gid = uid;
	c->pid = pid;
	return caller_new(r, at);
}

static struct call *ask(struct rig *r, struct caller *c, const char *method, const char *path)
{
	struct call *k = call_plain(c, method, "any", path, NULL, true);
	rig_settle(r);
	return k;
}

static void ok(struct rig *r, struct caller *c, const char *path)
{
	struct call *k = ask(r, c, "POST", path);
	ck_assert_msg(k->status == 200, "%s: %d %s", path, k->status, call_text(k));
}

/* ---- words ---- */

START_TEST(posts_are_heard_over_both_versions_of_http_and_as_calls_of_grpc_whatever_the_authority)
{
	static const char *const authorities[] = {"localhost", "demo.default", "10.1.2.3:99", "%2Frun%2Fshop.sock", "", NULL};
	struct rig *r = rig_new(SHOP(""));
	struct caller *c = caller_new(r, DOOR);
	for (size_t i = 0; i < UNIT_COUNT(authorities); i++) {
		struct call *k = call_plain(c, "POST", authorities[i], "/healthcheck/ok", NULL, true);
		rig_settle(r);
		ck_assert_int_eq(k->status, 200);
		ck_assert_str_eq(call_field(k, "content-type"), "application/json");
		ck_assert_ptr_nonnull(strstr(call_text(k), "{\"app\":\"shop\",\"state\":\"ok\",\"why\":\"\",\"since\":\"2026-01-01T00:00:0"));
		ck_assert_int_eq(state(r), LIFE_OK);
		ok(r, c, "/healthcheck/fail");
		ck_assert_int_eq(state(r), LIFE_DRAINED); /* no mesh, nobody inside: there is nothing to wait for */
	}
	struct raw *w = raw_new(r, DOOR);
	raw_text(w, "POST /healthcheck/ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_settle(r);
	sb_char(&w->in, '\0');
	ck_assert_msg(strncmp(w->in.p, "HTTP/1.1 200", 12) == 0, "%s", w->in.p);
	ck_assert_ptr_nonnull(strstr(strstr(w->in.p + 12, "HTTP/1.1 200"), "\"state\":\"ok\""));
	struct call *g = call_begin(c, "shop", "/healthcheck/fail", NULL, false); /* a unary call: an empty message each way */
	call_data(g, "\0\0\0\0", 5, true);
	rig_settle(r);
	ck_assert(call_ok(g));
	ck_assert_uint_eq(g->bytes, 5);
	ck_assert_int_eq(state(r), LIFE_DRAINED);
	ck_assert_uint_eq(c->goaways, 0);
	rig_free(&r);
}
END_TEST

START_TEST(what_is_known_of_an_app_is_told)
{
	struct rig *r = rig_new(SHOP("    inbound: [{tcp: \"10.9.0.1:20880\", to: \"unix:/run/server.sock\"}]\n"));
	struct caller *c = caller_as(r, DOOR, 1000, 55);
	struct call *k = ask(r, c, "GET", "/healthcheck");
	static const char unknown[] = "{\"app\":\"shop\",\"state\":\"unknown\",\"why\":\"\",\"since\":\"2026-01-01T00:00:01.000Z\",\"since_unix_ms\":1767225601000,\"in_flight\":0,"
		"\"wait\":\"nothing inbound is in flight\",\"registry\":\"none\",\"told\":null,\"lease_ms\":null,\"processes\":0,\"check\":null,\"calls_active\":1}\n";
	ck_assert_str_eq(call_text(k), unknown);
	rig_advance(r, 2500);
	ok(r, c, "/healthcheck/ok?ttl=30s&watch=pid");
	rig_advance(r, 1000);
	k = ask(r, c, "GET", "/healthcheck");
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"state\":\"ok\",\"why\":\"\",\"since\":\"2026-01-01T00:00:03.500Z\",\"since_unix_ms\":1767225603500,"));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"lease_ms\":29000,\"processes\":1,\"check\":null,\"asked_by\":{\"uid\":1000,\"pid\":55},"));
	rig_free(&r);
}
END_TEST

START_TEST(a_query_that_nobody_understands_is_told_and_changes_nothing)
{
	static const struct { const char *method, *path; int status; const char *text; } rows[] = {
		{"POST", "/healthcheck/ok?ttl=30", 400, "ttl=30 is not understood, expected 100ms to 744h"},
		{"POST", "/healthcheck/ok?ttl=1ms", 400, "ttl=1ms"},
		{"POST", "/healthcheck/ok?ttl=745h", 400, "ttl=745h"},
		{"POST", "/healthcheck/ok?ttl=", 400, "ttl= "},
		{"POST", "/healthcheck/ok?ttl=1s&ttl=2s", 400, "expected it once"},
		{"POST", "/healthcheck/ok?wait=1s", 400, "'wait' is no key of this path, expected ttl watch pid self"},
		{"POST", "/healthcheck/ok?TTL=1s", 400, "'TTL' is no key"},
		{"POST", "/healthcheck/ok?tl=1s", 400, "'tl' is no key"},
		{"POST", "/healthcheck/ok?d=20", 400, "'d' is no key"},
		{"POST", "/healthcheck/fail?t=5s", 400, "'t' is no key of this path, expected wait"},
		{"POST", "/healthcheck/ok?watch=me", 400, "expected watch=pid"},
		{"POST", "/healthcheck/ok?watch=pid&pid=20", 400, "expected one of them"},
		{"POST", "/healthcheck/ok?pid=0", 400, "pid=0"},
		{"POST", "/healthcheck/ok?pid=99999999999", 400, "pid=99999999999"},
		{"POST", "/healthcheck/ok?pid=x", 400, "the number of a process"},
		{"POST", "/healthcheck/ok?=1", 400, "'' is no key"},
		{"POST", "/healthcheck/ok?a-key-that-is-longer-than-any-other-one=1", 400, "is no key"},
		{"POST", "/healthcheck/fail?wait=2h", 400, "expected 0 to 1h"},
		{"POST", "/healthcheck/fail?ttl=1s", 400, "'ttl' is no key of this path, expected wait"},
		{"GET", "/healthcheck?x=1", 400, "expected none"},
		{"GET", "/healthcheck/ok", 405, "not under GET"},
		{"PUT", "/healthcheck/fail", 405, "not under PUT"},
		{"POST", "/healthcheck", 405, "not under POST"},
		{"DELETE", "/healthcheck", 405, "not under DELETE"},
	};
	struct rig *r = rig_new(SHOP(""));
	struct caller *c = caller_new(r, DOOR);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct call *k = ask(r, c, rows[i].method, rows[i].path);
		ck_assert_msg(k->status == rows[i].status && strstr(call_text(k), rows[i].text), "%s: %d %s", rows[i].path, k->status, call_text(k));
		if (k->status == 405)
			ck_assert_str_eq(call_field(k, "allow"), rows[i].path[12] == '/' ? "POST" : "GET, HEAD");
		ck_assert_int_eq(state(r), LIFE_UNKNOWN);
	}
	ck_assert_uint_eq(rig_stat(r, STAT_POSTS_BAD), 20);
	ck_assert_uint_eq(rig_stat(r, STAT_POSTS), 0);
	struct call *g = call_begin(c, "shop", "/healthcheck/ok?ttl=x", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(g->grpc, GRPC_INVALID_ARGUMENT);
	ck_assert_ptr_nonnull(strstr(call_text(g), "ttl=x is not understood"));
	rig_free(&r);
}
END_TEST

START_TEST(a_body_is_not_read_and_has_an_end)
{
	struct rig *r = rig_new(SHOP(""));
	struct caller *c = caller_new(r, DOOR);
	struct call *k = call_plain(c, "POST", "x", "/healthcheck/ok", NULL, false);
	call_fill(k, LOCAL_BODY_MAX, true);
	rig_advance(r, 100);
	ck_assert_int_eq(k->status, 200);
	k = call_plain(c, "POST", "x", "/healthcheck/fail", NULL, false);
	call_fill(k, LOCAL_BODY_MAX + 1, false); /* and more could come: the answer does not wait for it */
	rig_advance(r, 100);
	ck_assert_int_eq(k->status, 413);
	ck_assert_uint_eq(k->ends, 1);
	ck_assert_int_eq(state(r), LIFE_OK);
	k = call_begin(c, "shop", "/healthcheck/fail", NULL, false);
	call_fill(k, 200000, false);
	rig_advance(r, 100);
	ck_assert_int_eq(k->grpc, GRPC_RESOURCE_EXHAUSTED);
	struct raw *w = raw_new(r, DOOR);
	char *big = xalloc(70001);
	memset(big, 'x', 70000);
	raw_text(w, "POST /healthcheck/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
	raw_text(w, big);
	rig_advance(r, 100);
	sb_char(&w->in, '\0');
	ck_assert_msg(strncmp(w->in.p, "HTTP/1.1 413", 12) == 0, "%s", w->in.p);
	ck_assert(w->eof); /* the rest of the body is nobody's request */
	free(big);
	ck_assert_uint_eq(rig_stat(r, STAT_LOCAL_BODY), 3);
	ck_assert_int_eq(state(r), LIFE_OK);
	ck_assert_uint_eq(c->goaways, 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_body_that_does_not_come_holds_up_neither_the_word_nor_a_drain)
{
	static const char stalled[] = "POST /healthcheck/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
	struct rig *r = rig_new(SHOP("drain: {deadline: 60s}\n"));
	struct caller *c = caller_new(r, DOOR);
	struct raw *one = raw_new(r, DOOR), *two = raw_new(r, DOOR), *gone = raw_new(r, DOOR);
	char text[128];
	snprintf(text, sizeof text, stalled, "ok");
	raw_text(gone, text);
	rig_settle(r);
	raw_close(gone); /* who leaves instead has said nothing */
	rig_advance(r, 1500);
	ck_assert_int_eq(state(r), LIFE_UNKNOWN);
	raw_text(one, text);
	rig_advance(r, 900);
	ck_assert_int_eq(state(r), LIFE_UNKNOWN);
	rig_advance(r, 200);
	ck_assert_int_eq(state(r), LIFE_OK);
	sb_char(&one->in, '\0');
	ck_assert_msg(strncmp(one->in.p, "HTTP/1.1 200", 12) == 0, "%s", one->in.p);
	ck_assert(one->eof); /* the rest of the body is nobody's request */
	struct call *wait = call_plain(c, "POST", "x", "/healthcheck/fail?wait=1h", NULL, false);
	rig_advance(r, 1100);
	ck_assert_int_eq(state(r), LIFE_DRAINED);
	ck_assert_int_eq(wait->status, 200);
	ck_assert_uint_eq(wait->ends, 1);
	snprintf(text, sizeof text, stalled, "fail");
	raw_text(two, text);
	struct call *k = call_plain(c, "POST", "x", "/healthcheck/fail", NULL, false);
	call_data(k, "abc", 3, false);
	rig_settle(r);
	ck_assert_uint_eq(k->ends, 0);
	sidecar_stop(r->sc);
	rig_advance(r, 2000);
	ck_assert_int_eq(k->status, 200);
	sb_char(&two->in, '\0');
	ck_assert_msg(strncmp(two->in.p, "HTTP/1.1 200", 12) == 0, "%s", two->in.p);
	ck_assert(r->sc->stopped);
	ck_assert_uint_eq(rig_stat(r, STAT_DRAIN_ENDED), 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_lease_that_is_not_renewed_fails_and_calls_go_on)
{
	struct rig *r = rig_new(SHOP(DEMO_AT));
	struct provider *p = provider_new(r, "10.0.0.1:1", ECHOES);
	struct caller *c = caller_new(r, DOOR);
	for (int i = 0; i < 3; i++) {
		ok(r, c, "/healthcheck/ok?ttl=30s");
		rig_advance(r, 29000);
	}
	ck_assert_int_eq(state(r), LIFE_OK);
	rig_advance(r, 1001);
	ck_assert_int_eq(state(r), LIFE_DRAINED);
	ck_assert_ptr_nonnull(strstr(call_text(ask(r, c, "GET", "/healthcheck")), "\"why\":\"its lease has run out\""));
	struct call *k = call_unary(c, DEMO, NULL);
	rig_settle(r);
	ck_assert(call_ok(k));
	ck_assert_uint_eq(p->requests, 1);
	ck_assert_uint_eq(c->goaways, 0);
	rig_free(&r);
}
END_TEST

/* ---- who may, and how often ---- */

START_TEST(posts_by_those_whom_allow_does_not_name_are_refused)
{
	struct rig *r = rig_new(SHOP("    health: {allow: {uid: [1000], gid: [50]}}\n"));
	struct caller *good = caller_as(r, DOOR, 1000, 20), *group = caller_as(r, DOOR, 50, 21), *bad = caller_as(r, DOOR, 0, 22), *tcp = caller_new(r, TCP);
	ck_assert_int_eq(ask(r, bad, "POST", "/healthcheck/ok")->status, 403);
	ck_assert_int_eq(ask(r, tcp, "POST", "/healthcheck/ok")->status, 403);
	ck_assert_int_eq(state(r), LIFE_UNKNOWN);
	struct call *g = call_begin(bad, "shop", "/healthcheck/ok", NULL, true);
	rig_settle(r);
	ck_assert_int_eq(g->grpc, GRPC_PERMISSION_DENIED);
	ck_assert_int_eq(ask(r, bad, "GET", "/healthcheck")->status, 200);
	ok(r, group, "/healthcheck/ok");
	ck_assert_int_eq(state(r), LIFE_OK);
	ck_assert_int_eq(ask(r, bad, "POST", "/healthcheck/fail?wait=5s")->status, 403);
	ck_assert_int_eq(state(r), LIFE_OK);
	ok(r, good, "/healthcheck/fail");
	ck_assert_uint_eq(rig_stat(r, STAT_POSTS_DENIED), 4);
	rig_free(&r);
}
END_TEST

START_TEST(a_flood_of_posts_costs_no_more_than_its_limit)
{
	struct world w = world_istio(APPS "xds: {server: \"" PLANE "\"}\n");
	struct caller *c = w.app;
	uint32_t fine = 0, much = 0;
	ok(w.r, c, "/healthcheck/ok");
	rig_advance(w.r, 2000);
	uint32_t before = w.p->health.count;
	for (int i = 0; i < 2000; i++) {
		struct call *k = call_plain(c, "POST", "x", i & 1 ? "/healthcheck/ok" : "/healthcheck/fail", NULL, true);
		rig_settle(w.r);
		fine += k->status == 200;
		much += k->status == 429;
	}
	ck_assert_uint_eq(fine, 100);
	ck_assert_uint_eq(much, 1900);
	ck_assert_uint_le(w.p->health.count - before, 100);
	ck_assert_uint_eq(rig_stat(w.r, STAT_POSTS_LIMIT), 1900);
	rig_advance(w.r, 50);
	ok(w.r, c, "/healthcheck/ok"); /* five more are paid for */
	rig_free(&w.r);
}
END_TEST

/* ---- waiting ---- */

START_TEST(wait_without_inbound_doors_is_until_announce_is_over)
{
	struct rig *r = rig_new(SHOP("drain: {announce: 3s}\n"));
	struct caller *c = caller_new(r, DOOR);
	ok(r, c, "/healthcheck/ok");
	struct call *k = ask(r, c, "POST", "/healthcheck/fail?wait=10s"), *short_one = ask(r, c, "POST", "/healthcheck/fail?wait=1s"), *none = ask(r, c, "POST", "/healthcheck/fail?wait=0");
	ck_assert_int_eq(state(r), LIFE_FAILING);
	ck_assert_int_eq(none->status, 200);
	ck_assert_ptr_nonnull(strstr(call_text(none), "\"in_flight\":null,\"wait\":\"the mesh has been told and drain.announce is over\""));
	ck_assert_ptr_nonnull(strstr(call_text(none), "\"drained\":false,\"waited_ms\":0}"));
	rig_advance(r, 1100);
	ck_assert_ptr_nonnull(strstr(call_text(short_one), "\"state\":\"failing\""));
	ck_assert_ptr_nonnull(strstr(call_text(short_one), "\"drained\":false,\"waited_ms\":1000}"));
	ck_assert_uint_eq(k->ends, 0);
	rig_advance(r, 2000);
	ck_assert_int_eq(k->status, 200);
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"state\":\"drained\""));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"drained\":true,\"waited_ms\":3000}"));
	k = ask(r, c, "POST", "/healthcheck/fail?wait=10s"); /* it is drained already */
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"drained\":true,\"waited_ms\":0}"));
	rig_free(&r);
}
END_TEST

START_TEST(wait_with_inbound_doors_is_until_nothing_is_in_flight)
{
	struct rig *r = rig_new(SHOP("    inbound: [{tcp: \"10.9.0.1:20880\", to: \"10.0.0.9:1\"}]\n"));
	struct provider *server = provider_new(r, "10.0.0.9:1", HOLDS);
	struct caller *c = caller_new(r, DOOR), *net = caller_new(r, "10.9.0.1:20880");
	ok(r, c, "/healthcheck/ok");
	struct call *in = call_unary(net, "shop", NULL);
	rig_settle(r);
	ck_assert_ptr_nonnull(strstr(call_text(ask(r, c, "GET", "/healthcheck")), "\"in_flight\":1,"));
	struct call *k = ask(r, c, "POST", "/healthcheck/fail?wait=10s"), *late = ask(r, c, "POST", "/healthcheck/fail?wait=2s");
	rig_advance(r, 2500);
	ck_assert_ptr_nonnull(strstr(call_text(late), "\"in_flight\":1,"));
	ck_assert_ptr_nonnull(strstr(call_text(late), "\"drained\":false,\"waited_ms\":2000}"));
	ck_assert_uint_eq(k->ends, 0);
	ck_assert_int_eq(state(r), LIFE_FAILING);
	served_answer(provider_last(server));
	rig_settle(r);
	ck_assert(call_ok(in));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"in_flight\":0,"));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"drained\":true,\"waited_ms\":2500}"));
	ck_assert_int_eq(state(r), LIFE_DRAINED);
	rig_free(&r);
}
END_TEST

START_TEST(who_waits_in_vain_is_answered_and_who_goes_leaves_nothing)
{
	struct rig *r = rig_new(SHOP("drain: {announce: 60s}\n"));
	struct caller *c = caller_new(r, DOOR), *other = caller_new(r, DOOR);
	ok(r, c, "/healthcheck/ok");
	struct call *back = ask(r, c, "POST", "/healthcheck/fail?wait=30s");
	ok(r, c, "/healthcheck/ok"); /* it comes back */
	ck_assert_ptr_nonnull(strstr(call_text(back), "\"state\":\"ok\""));
	ck_assert_ptr_nonnull(strstr(call_text(back), "\"drained\":false"));
	struct call *cancelled = ask(r, c, "POST", "/healthcheck/fail?wait=30s"), *timed = call_begin(c, "x", "/healthcheck/fail?wait=30s", "grpc-timeout: 2S\n", true);
	ask(r, other, "POST", "/healthcheck/fail?wait=30s");
	rig_settle(r);
	ck_assert_uint_eq(app_of(r)->healthcheck.nwaits, 3);
	call_cancel(cancelled);
	rig_settle(r);
	ck_assert_uint_eq(app_of(r)->healthcheck.nwaits, 2);
	caller_close(other);
	rig_advance(r, 2100);
	ck_assert_int_eq(timed->grpc, GRPC_DEADLINE_EXCEEDED);
	ck_assert_uint_eq(app_of(r)->healthcheck.nwaits, 0);
	for (int i = 0; i < HEALTH_WAITS_MAX; i++)
		ask(r, c, "POST", "/healthcheck/fail?wait=30s");
	struct call *k = ask(r, c, "POST", "/healthcheck/fail?wait=30s");
	ck_assert_int_eq(k->status, 429);
	ck_assert_uint_eq(rig_stat(r, STAT_POSTS_LIMIT), 1);
	ck_assert_int_eq(state(r), LIFE_FAILING);
	rig_free(&r); /* with 64 who wait still */
}
END_TEST

START_TEST(where_memory_is_refused_a_wait_is_refused_and_the_fail_is_heard)
{
	struct rig *r = rig_new(SHOP("drain: {announce: 60s}\n"));
	struct caller *c = caller_new(r, DOOR);
	ok(r, c, "/healthcheck/ok");
	struct account *a = &app_of(r)->account;
	struct call *k = call_plain(c, "POST", "any", "/healthcheck/fail?wait=30s", NULL, false);
	rig_settle(r);
	a->limit = a->used;
	call_data(k, "", 0, true);
	rig_settle(r);
	a->limit = SIZE_MAX;
	rig_settle(r);
	ck_assert_int_eq(k->status, 429);
	ck_assert_int_eq(state(r), LIFE_FAILING);
	rig_free(&r);
}
END_TEST

/* ---- processes ---- */

START_TEST(the_end_of_a_process_that_asked_for_it_is_a_fail_at_once)
{
	struct rig *r = rig_new(SHOP(""));
	struct caller *c = caller_as(r, DOOR, 1000, 20);
	ok(r, c, "/healthcheck/ok?watch=pid");
	caller_close(c); /* its connection alone says nothing */
	rig_advance(r, 60000);
	ck_assert_int_eq(state(r), LIFE_OK);
	simnet_end_process(r->net, 20);
	loop_turn(r->loop, 0);
	ck_assert_int_eq(state(r), LIFE_GONE);
	struct call *late = ask(r, caller_as(r, DOOR, 1000, 20), "POST", "/healthcheck/ok"); /* its last word, seen after its end */
	ck_assert_int_eq(late->status, 404);
	ck_assert_str_eq(call_text(late), "process 20 has ended, or is not to be seen from here\n");
	ck_assert_int_eq(state(r), LIFE_GONE);
	c = caller_as(r, DOOR, 1000, 21);
	ck_assert_ptr_nonnull(strstr(call_text(ask(r, c, "GET", "/healthcheck")), "\"state\":\"gone\",\"why\":\"its process 20 has ended\""));
	ok(r, c, "/healthcheck/ok");
	ck_assert_int_eq(state(r), LIFE_OK);
	rig_free(&r);
}
END_TEST

START_TEST(a_process_is_named_by_whoever_may_end_it)
{
	static const struct { uid_t uid; pid_t pid; const char *at, *path; int status; } rows[] = {
		{1000, 20, DOOR, "/healthcheck/ok?pid=30", 200},
		{1000, 20, DOOR, "/healthcheck/ok?pid=30&self=20", 200},
		{1000, 20, DOOR, "/healthcheck/ok?pid=30&self=4", 400},   /* it knows itself by another number than we do */
		{1000, 20, DOOR, "/healthcheck/ok?pid=31", 404},          /* has ended */
		{1000, 20, DOOR, "/healthcheck/ok?pid=5", 403},           /* root's */
		{0, 20, DOOR, "/healthcheck/ok?pid=30", 200},
		{0, 20, TCP, "/healthcheck/ok?pid=30", 403},
		{0, 20, TCP, "/healthcheck/ok?watch=pid", 400},
		{1000, 31, DOOR, "/healthcheck/ok?watch=pid", 404},       /* it posted, and ended before it was heard */
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_new(SHOP(""));
		simnet_end_process(r->net, 31);
		struct caller *c = caller_as(r, rows[i].at, rows[i].uid, rows[i].pid);
		simnet_knobs(r->net)->cred.uid = 1000; /* whose the processes are */
		struct call *k = ask(r, c, "POST", rows[i].path);
		ck_assert_msg(k->status == rows[i].status, "%s by %u: %d %s", rows[i].path, (unsigned)rows[i].uid, k->status, call_text(k));
		ck_assert_int_eq(state(r), k->status == 200 ? LIFE_OK : LIFE_UNKNOWN);
		caller_close(c);
		simnet_end_process(r->net, 30);
		rig_settle(r);
		ck_assert_int_eq(state(r), k->status == 200 ? LIFE_GONE : LIFE_UNKNOWN);
		rig_free(&r);
	}
}
END_TEST

START_TEST(the_process_whose_connection_carries_calls_is_the_app_and_who_only_posts_is_not)
{
	struct rig *r = rig_new(SHOP(DEMO_AT));
	provider_new(r, "10.0.0.1:1", ECHOES);
	struct caller *app = caller_as(r, DOOR, 1000, 20), *curl = caller_as(r, DOOR, 1000, 21), *tool = caller_as(r, DOOR, 1000, 22), *checker = caller_as(r, DOOR, 1000, 23), *tcp = caller_new(r, TCP);
	ok(r, curl, "/healthcheck/ok");
	struct call *k = call_unary(tool, DEMO, "user-agent: thinmesh-call/0.1.0\n");
	struct call *check = call_begin(checker, DEMO, "/grpc.health.v1.Health/Check", NULL, false);
	call_data(check, "\0\0\0\0", 5, true);
	call_unary(tcp, DEMO, NULL);
	rig_settle(r);
	ck_assert(call_ok(k));
	ck_assert_uint_eq(simnet_watches(r->net), 0);
	struct caller *lost = caller_as(r, DOOR, 1000, 25);
	call_plain(lost, "POST", "localhost", "/healthcheck/okay", NULL, true); /* not answered by a provider, nor on its way to one */
	call_unary(lost, "nobody:1", NULL);
	rig_settle(r);
	ck_assert_uint_eq(simnet_watches(r->net), 0);
	for (int i = 0; i < 3; i++)
		call_unary(app, DEMO, NULL);
	struct caller *again = caller_as(r, DOOR, 1000, 20), *worker = caller_as(r, DOOR, 1000, 24);
	call_unary(again, DEMO, NULL);
	call_unary(worker, DEMO, NULL);
	rig_settle(r);
	ck_assert_uint_eq(simnet_watches(r->net), 2);
	for (pid_t pid = 21; pid <= 23; pid++)
		simnet_end_process(r->net, pid);
	rig_settle(r);
	ck_assert_int_eq(state(r), LIFE_OK);
	simnet_end_process(r->net, 20);
	rig_settle(r);
	ck_assert_int_eq(state(r), LIFE_OK); /* one of two */
	simnet_end_process(r->net, 24);
	rig_settle(r);
	ck_assert_int_eq(state(r), LIFE_GONE);
	ck_assert_uint_eq(app->goaways, 0);
	rig_free(&r);
}
END_TEST

START_TEST(watching_can_be_switched_off_and_a_consumer_that_never_said_a_word_may_end)
{
	for (int on = 0; on < 2; on++) {
		struct rig *r = rig_new(on ? SHOP(DEMO_AT) : SHOP("    health: {watch: false}\n" DEMO_AT));
		provider_new(r, "10.0.0.1:1", ECHOES);
		struct caller *c = caller_as(r, DOOR, 1000, 20);
		call_unary(c, DEMO, NULL);
		rig_settle(r);
		ck_assert_uint_eq(simnet_watches(r->net), on);
		if (!on)
			ok(r, c, "/healthcheck/ok");
		simnet_end_process(r->net, 20);
		rig_settle(r);
		ck_assert_int_eq(state(r), on ? LIFE_UNKNOWN : LIFE_OK);
		rig_free(&r);
	}
}
END_TEST

START_TEST(an_app_whose_last_connection_is_gone_for_long_fails)
{
	struct rig *r = rig_new(SHOP("    health: {watch: false, gone_after: 20s}\n" DEMO_AT));
	provider_new(r, "10.0.0.1:1", ECHOES);
	struct caller *curl = caller_as(r, DOOR, 1000, 20), *one = caller_as(r, DOOR, 1000, 21), *two = caller_new(r, TCP);
	ok(r, curl, "/healthcheck/ok");
	caller_close(curl);
	rig_advance(r, 60000);
	ck_assert_int_eq(state(r), LIFE_OK); /* a connection that carries nothing is none of the app's */
	call_unary(one, DEMO, NULL);
	call_unary(two, DEMO, NULL);
	rig_settle(r);
	ck_assert_uint_eq(app_of(r)->callers, 2);
	caller_close(one);
	rig_advance(r, 60000);
	ck_assert_int_eq(state(r), LIFE_OK);
	caller_close(two);
	rig_advance(r, 15000);
	one = caller_as(r, DOOR, 1000, 21);
	call_unary(one, DEMO, NULL);
	rig_advance(r, 60000);
	ck_assert_int_eq(state(r), LIFE_OK);
	caller_close(one);
	rig_advance(r, 19000);
	ck_assert_int_eq(state(r), LIFE_OK);
	rig_advance(r, 1100);
	ck_assert_int_eq(state(r), LIFE_DRAINED);
	ck_assert_uint_eq(app_of(r)->callers, 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_reload_keeps_an_apps_life)
{
	struct rig *r = rig_new(SHOP(DEMO_AT));
	provider_new(r, "10.0.0.1:1", ECHOES);
	struct caller *c = caller_as(r, DOOR, 1000, 20);
	call_unary(c, DEMO, NULL);
	ok(r, c, "/healthcheck/ok?ttl=60s");
	rig_advance(r, 5000);
	ck_assert_int_eq(rig_reload(r, "apps:\n  - name: shop\n    listen: [{unix: /run/other.sock}]\n    health: {gone_after: 30s}\n" DEMO_AT), 0);
	rig_advance(r, 1000);
	struct caller *d = caller_as(r, "unix:/run/other.sock", 1000, 20);
	struct call *k = ask(r, d, "GET", "/healthcheck");
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"state\":\"ok\",\"why\":\"\",\"since\":\"2026-01-01T00:00:01.000Z\""));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"lease_ms\":54000,\"processes\":1,"));
	ck_assert_uint_eq(rig_stat(r, STAT_APP_OK), 1);
	simnet_end_process(r->net, 20);
	rig_settle(r);
	ck_assert_int_eq(state(r), LIFE_GONE);
	ck_assert_int_eq(rig_reload(r, "apps:\n  - name: bag\n    listen: [{unix: /run/bag.sock}]\n"), 0);
	rig_advance(r, 1000);
	ck_assert_int_eq(state(r), LIFE_UNKNOWN); /* another app: another life */
	rig_free(&r);
}
END_TEST

START_TEST(an_app_is_removed_while_it_is_watched_checked_and_waited_for)
{
	struct rig *r = rig_new(SHOP("    health: {check: {exec: [probe], period: 1s}, gone_after: 5s}\ndrain: {announce: 60s}\n"));
	simnet_program(r->net, "probe", 0, 500 * MS);
	struct caller *c = caller_as(r, DOOR, 1000, 20);
	rig_advance(r, 1200);
	ok(r, c, "/healthcheck/ok?watch=pid&ttl=10s");
	ask(r, c, "POST", "/healthcheck/fail?wait=50s");
	ck_assert_int_eq(rig_reload(r, "apps:\n  - name: bag\n    listen: [{unix: /run/bag.sock}]\n"), 0);
	rig_advance(r, 1000);
	caller_close(c);
	rig_advance(r, 60000);
	ck_assert(list_empty(&r->sc->walking));
	ck_assert_uint_eq(simnet_watches(r->net), 0);
	ck_assert_uint_eq(simnet_running(r->net), 0);
	rig_free(&r);
}
END_TEST

START_TEST(the_apps_own_check_decides_beside_its_words)
{
	struct rig *r = rig_new(SHOP("    health: {check: {grpc: {address: \"10.0.0.9:1\"}, period: 10s, failure_threshold: 1}}\n"));
	struct caller *c = caller_new(r, DOOR);
	rig_settle(r);
	ok(r, c, "/healthcheck/ok");
	rig_advance(r, 3000);
	ck_assert_int_eq(state(r), LIFE_FAILING); /* nobody listens there */
	struct provider *p = provider_new(r, "10.0.0.9:1", ANSWERS);
	p->act.messages = 1;
	rig_advance(r, 10000);
	struct call *k = ask(r, c, "GET", "/healthcheck");
	ck_assert_uint_ge(p->requests, 1);
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"check\":\""));
	rig_free(&r);
}
END_TEST

/* Until the next check's connection is there. */
static struct raw *checked(struct rig *r, const struct raw *page, uint32_t n)
{
	for (int i = 0; i < 100 && page->naccepted <= n; i++)
		rig_advance(r, 100);
	ck_assert_uint_eq(page->naccepted, n + 1);
	return page->accepted[n];
}

START_TEST(a_health_page_of_the_app_opens_and_closes_it)
{
	static const struct { const char *at, *request, *more; } pages[] = {
		{"10.0.0.9:8080", "GET /live?deep=1 HTTP/1.1\r\nhost: 10.0.0.9:8080\r\n", ""},
		{"unix:/run/page.sock", "GET /live?deep=1 HTTP/1.1\r\nhost: me\r\n", ", host: me"},
	};
	static const struct { int status; /* 0: it hangs up; -1: silence */ enum life_state state; } rows[] = {
		{200, LIFE_OK}, {503, LIFE_OK}, {500, LIFE_FAILING}, {404, LIFE_FAILING}, {302, LIFE_OK}, {-1, LIFE_OK}, {204, LIFE_OK}, {0, LIFE_OK}, {-1, LIFE_FAILING}, {399, LIFE_OK}, {400, LIFE_OK}, {101, LIFE_FAILING},
	};
	char text[512];
	for (size_t i = 0; i < UNIT_COUNT(pages); i++) {
		snprintf(text, sizeof text, SHOP("    health: {check: {http: {address: \"%s\", path: \"/live?deep=1\"%s}, period: 5s, timeout: 1s, failure_threshold: 2}}\n"), pages[i].at, pages[i].more);
		struct rig *r = rig_new("apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\n");
		struct raw *page = raw_provider(r, pages[i].at);
		ck_assert_int_eq(rig_reload(r, text), 0);
		for (size_t n = 0; n < UNIT_COUNT(rows); n++) {
			struct raw *w = checked(r, page, (uint32_t)n);
			rig_settle(r);
			sb_char(&w->in, '\0');
			ck_assert_msg(strncasecmp(w->in.p, pages[i].request, strlen(pages[i].request)) == 0, "%s", w->in.p);
			snprintf(text, sizeof text, "HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n", rows[n].status);
			if (rows[n].status > 0)
				raw_text(w, text);
			else if (rows[n].status == 0)
				raw_close(w);
			rig_advance(r, 1100);
			ck_assert_msg(state(r) == rows[n].state, "%s %zu: %s", pages[i].at, n, life_state_name(state(r)));
		}
		struct life_view v;
		life_view(app_of(r)->life, &v);
		ck_assert_ptr_nonnull(strstr(v.why, "check"));
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_socket_of_the_app_that_takes_connections_opens_it)
{
	struct rig *r = rig_new(SHOP("    health: {check: {unix: /run/server.sock, period: 5s, failure_threshold: 2}}\n"));
	rig_advance(r, 20000);
	ck_assert_int_eq(state(r), LIFE_FAILING); /* nothing is there */
	struct provider *p = provider_new(r, "unix:/run/server.sock", ANSWERS);
	rig_advance(r, 5000);
	ck_assert_int_eq(state(r), LIFE_OK);
	ck_assert_uint_ge(p->accepted, 1);
	ck_assert_uint_eq(p->requests, 0);
	provider_listen(p, false);
	rig_advance(r, 5000);
	ck_assert_int_eq(state(r), LIFE_OK); /* one of two */
	rig_advance(r, 5000);
	ck_assert_int_eq(state(r), LIFE_FAILING);
	struct caller *c = caller_new(r, DOOR);
	ok(r, c, "/healthcheck/ok");
	rig_advance(r, 5000);
	ck_assert_int_eq(state(r), LIFE_FAILING); /* its word alone does not open it */
	provider_listen(p, true);
	rig_advance(r, 5000);
	ck_assert_int_eq(state(r), LIFE_OK);
	ok(r, c, "/healthcheck/fail");
	rig_advance(r, 20000);
	ck_assert_int_eq(state(r), LIFE_DRAINED); /* and no check opens what has said fail */
	rig_free(&r);
}
END_TEST

/* ---- the mesh ---- */

START_TEST(the_mesh_hears_of_a_fail_in_the_turn_in_which_it_is_posted)
{
	struct world w = world_istio(XDS(""));
	struct xds_health h;
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert_uint_eq(w.p->health.count, 1);
	ck_assert(w.p->health.ok);
	call_plain(w.app, "POST", "x", "/healthcheck/fail", NULL, true);
	for (int i = 0; i < 100 && state(w.r) == LIFE_OK; i++)
		loop_turn(w.r->loop, 0);
	ck_assert(state(w.r) != LIFE_OK);
	xds_health_get(w.r->sc->xds, app_of(w.r)->names.view, &h);
	ck_assert_int_eq(h.told, XDS_TOLD_SENT); /* the kernel has it: not a turn later */
	ck_assert(!h.ok);
	rig_settle(w.r);
	ck_assert(!w.p->health.ok);
	ck_assert_str_eq(w.p->health.text, "app 'shop' is failing");
	ck_assert_int_eq(state(w.r), LIFE_DRAINED);
	ck_assert_ptr_nonnull(strstr(call_text(ask(w.r, w.app, "GET", "/healthcheck")), "\"registry\":\"istio\",\"told\":true,\"told_state\":\"sent\",\"told_ok\":false,\"told_ms_ago\":0,"));
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert(w.p->health.ok);
	ck_assert_uint_eq(w.p->health.count, 3);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_mesh_hears_of_a_death_in_the_turn_in_which_it_is_seen)
{
	struct world w = world_istio(XDS(""));
	struct xds_health h;
	struct caller *c = caller_as(w.r, DOOR, 1000, 20);
	ok(w.r, c, "/healthcheck/ok?watch=pid");
	simnet_end_process(w.r->net, 20);
	loop_turn(w.r->loop, 0);
	xds_health_get(w.r->sc->xds, app_of(w.r)->names.view, &h);
	ck_assert_int_eq(h.told, XDS_TOLD_SENT);
	rig_settle(w.r);
	ck_assert_str_eq(w.p->health.text, "app 'shop' is gone: its process 20 has ended");
	rig_free(&w.r);
}
END_TEST

START_TEST(an_app_that_goes_is_drained_when_the_mesh_has_heard_of_it)
{
	struct world w = world_istio(XDS(""));
	ok(w.r, w.app, "/healthcheck/ok");
	plane_kill(w.p);
	rig_advance(w.r, 1000);
	struct call *k = ask(w.r, w.app, "POST", "/healthcheck/fail?wait=1h"), *late = ask(w.r, w.app, "POST", "/healthcheck/fail?wait=5s");
	rig_advance(w.r, 10000);
	ck_assert_int_eq(state(w.r), LIFE_FAILING);
	ck_assert_ptr_nonnull(strstr(call_text(late), "\"told\":false,\"told_state\":\"waits\""));
	ck_assert_ptr_nonnull(strstr(call_text(late), "\"drained\":false"));
	ck_assert_uint_eq(k->ends, 0);
	plane_listen(w.p, true);
	rig_advance(w.r, 60000);
	ck_assert(!w.p->health.ok);
	ck_assert_int_eq(state(w.r), LIFE_DRAINED);
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"drained\":true"));
	rig_free(&w.r);
}
END_TEST

#define TWO(more) "apps:\n  - {name: shop, namespace: default, listen: [{unix: /run/shop.sock}]}\n" more REST
#define REST "snapshot: {dir: \"\"}\ncontrol: {unix: /run/control.sock}\nxds: {server: \"" PLANE "\", node: {id: \"sidecar~10.0.0.7~shop-1.default~default.svc.cluster.local\", cluster: shop}}\n"
#define BAG "  - {name: bag, namespace: default, listen: [{unix: /run/bag.sock}]}\n"

START_TEST(apps_of_one_node_are_one_workload_that_is_well_while_all_who_spoke_are)
{
	struct world w = world_istio(TWO(BAG));
	struct caller *bag = caller_new(w.r, "unix:/run/bag.sock");
	struct app *second = list_entry(w.r->sc->apps.prev, struct app, node);
	ck_assert_ptr_eq(app_of(w.r)->names.view, second->names.view);
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert(w.p->health.ok); /* the other one may be a consumer that never says a word */
	ok(w.r, bag, "/healthcheck/fail");
	ck_assert(!w.p->health.ok);
	ck_assert_str_eq(w.p->health.text, "app 'bag' is failing");
	ok(w.r, w.app, "/healthcheck/fail");
	ck_assert_uint_eq(w.p->health.count, 2); /* no news */
	ok(w.r, bag, "/healthcheck/ok");
	ck_assert_uint_eq(w.p->health.count, 2);
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert(w.p->health.ok);
	ok(w.r, bag, "/healthcheck/fail");
	ck_assert(!w.p->health.ok);
	ck_assert_int_eq(rig_reload(w.r, TWO("")), 0); /* who was removed says nothing any more */
	rig_advance(w.r, 100);
	ck_assert(w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

/* The node is well by the word of an app that is none any more: nobody there would let a call in. */
START_TEST(a_workload_whose_word_has_gone_is_not_well)
{
	struct world w = world_istio(TWO(""));
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert(w.p->health.ok);
	ck_assert_int_eq(rig_reload(w.r, TWO(BAG)), 0);
	rig_advance(w.r, 100);
	ck_assert(w.p->health.ok);
	ck_assert_int_eq(rig_reload(w.r, "apps:\n" BAG REST), 0);
	rig_advance(w.r, 100);
	ck_assert(!w.p->health.ok);
	ck_assert_str_eq(w.p->health.text, "app 'shop' was removed, and no other one has said ok");
	ok(w.r, caller_new(w.r, "unix:/run/bag.sock"), "/healthcheck/ok");
	ck_assert(w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_comes_by_a_reload_is_told)
{
	struct world w = world_bare(PLANE_ISTIO);
	world_start(&w, APPS);
	ok(w.r, w.app, "/healthcheck/ok");
	ck_assert_uint_eq(w.p->health.count, 0);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(w.p->health.count, 1);
	ck_assert(w.p->health.ok);
	ck_assert_int_eq(rig_reload(w.r, APPS), 0);
	rig_advance(w.r, 1000);
	ok(w.r, w.app, "/healthcheck/fail");
	rig_advance(w.r, 1000);
	ck_assert_int_eq(state(w.r), LIFE_DRAINED);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	rig_advance(w.r, 1000);
	ck_assert(!w.p->health.ok);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_has_no_use_for_it_holds_nobody_up)
{
	struct world w = world_new(PLANE_GENERIC, XDS(", profile: generic"));
	ok(w.r, w.app, "/healthcheck/ok");
	struct call *k = ask(w.r, w.app, "POST", "/healthcheck/fail?wait=5s");
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"registry\":\"generic\",\"told\":null,"));
	ck_assert_ptr_nonnull(strstr(call_text(k), "\"drained\":true"));
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("app_life", posts_are_heard_over_both_versions_of_http_and_as_calls_of_grpc_whatever_the_authority, what_is_known_of_an_app_is_told,
	a_query_that_nobody_understands_is_told_and_changes_nothing, a_body_is_not_read_and_has_an_end, a_body_that_does_not_come_holds_up_neither_the_word_nor_a_drain, a_lease_that_is_not_renewed_fails_and_calls_go_on,
	posts_by_those_whom_allow_does_not_name_are_refused, a_flood_of_posts_costs_no_more_than_its_limit, wait_without_inbound_doors_is_until_announce_is_over,
	wait_with_inbound_doors_is_until_nothing_is_in_flight, who_waits_in_vain_is_answered_and_who_goes_leaves_nothing, where_memory_is_refused_a_wait_is_refused_and_the_fail_is_heard,
	the_end_of_a_process_that_asked_for_it_is_a_fail_at_once, a_process_is_named_by_whoever_may_end_it,
	the_process_whose_connection_carries_calls_is_the_app_and_who_only_posts_is_not, watching_can_be_switched_off_and_a_consumer_that_never_said_a_word_may_end,
	an_app_whose_last_connection_is_gone_for_long_fails, a_reload_keeps_an_apps_life, an_app_is_removed_while_it_is_watched_checked_and_waited_for,
	the_apps_own_check_decides_beside_its_words, a_health_page_of_the_app_opens_and_closes_it, a_socket_of_the_app_that_takes_connections_opens_it,
	the_mesh_hears_of_a_fail_in_the_turn_in_which_it_is_posted, the_mesh_hears_of_a_death_in_the_turn_in_which_it_is_seen,
	an_app_that_goes_is_drained_when_the_mesh_has_heard_of_it, apps_of_one_node_are_one_workload_that_is_well_while_all_who_spoke_are, a_workload_whose_word_has_gone_is_not_well, a_control_plane_that_comes_by_a_reload_is_told,
	a_control_plane_that_has_no_use_for_it_holds_nobody_up)
