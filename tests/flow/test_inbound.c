/* Calls that come in for the app (apps[].inbound): the gate, what the app's server sees, what a caller sees when the app closes, goes, or is not there. */
#include "sidecar/inbound.h"
#include "tests/flow/rig.h"
#include "tests/sim/simnet_proc.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN "10.9.0.1:20880"
#define SERVER "unix:/run/shop/server.sock"
#define OTHER "unix:/run/shop/other.sock"
#define SHOP(inbound, rest) "apps:\n  - name: shop\n    listen:\n      - unix: /run/shop.sock\n" inbound rest
#define LINE(at, to) "    inbound:\n      - {tcp: \"" at "\", to: \"" to "\"}\n"
#define LINES SHOP(LINE(IN, SERVER), "")
#define MARK "x-envoy-immediate-health-check-fail"

struct world { struct rig *r; struct provider *server; struct caller *app, *net; };

static void says(struct world *w, const char *word)
{
	char path[64];

	snprintf(path, sizeof(path), "/healthcheck/%s", word);
	struct call *c = call_plain(w->app, "POST", "any", path, NULL, true);
	rig_settle(w->r);
	ck_assert_int_eq(c->status, 200);
}

static struct world world_of(const char *yaml, enum does does)
{
	struct world w = {.r = rig_new(yaml)};

	w.server = provider_new(w.r, SERVER, does);
	w.app = caller_new(w.r, DOOR);
	w.net = caller_new(w.r, IN);
	return w;
}

/* An app that has said ok. */
static struct world world(enum does does)
{
	struct world w = world_of(LINES, does);

	says(&w, "ok");
	return w;
}

static struct life *life_of(const struct world *w)
{
	return list_entry(w->r->sc->apps.next, struct app, node)->life;
}

static struct call *answered(struct world *w, struct caller *from)
{
	struct call *c = call_unary(from, "shop", NULL);

	rig_settle(w->r);
	ck_assert_msg(call_ok(c), "cause %d grpc %d: %s", c->end.cause, c->grpc, call_text(c));
	return c;
}

static void refused(struct world *w, struct caller *from, const char *why)
{
	struct call *c = call_unary(from, "shop", NULL), *plain = call_plain(from, "GET", "shop", "/index.html", NULL, true);

	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_str_eq(call_field(c, MARK), "true");
	ck_assert_msg(strstr(call_text(c), "app 'shop'") && strstr(call_text(c), why), "%s", call_text(c));
	ck_assert_int_eq(plain->status, 503);
	ck_assert_str_eq(call_field(plain, MARK), "true");
	ck_assert_ptr_nonnull(strstr(call_text(plain), "\"flag\":\"LH\""));
}

/* ---- what goes in ---- */

START_TEST(the_apps_server_sees_what_the_caller_sent)
{
	struct world w = world(ECHOES);
	struct call *c = call_begin(w.net, "Shop.Example.org.:20880", PATH, "tri-consumer-appname: cart\nx-bin: 1\n", false);

	call_fill(c, 200000, false);
	call_fill(c, 100000, true);
	rig_settle(w.r);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	ck_assert_uint_eq(c->hash, c->sent_hash);
	struct served *s = provider_last(w.server);
	ck_assert_str_eq(served_field(s, ":authority"), "Shop.Example.org.:20880"); /* it is the app's name for the caller, none of ours */
	ck_assert_str_eq(served_field(s, ":path"), PATH);
	ck_assert_str_eq(served_field(s, "te"), "trailers");
	ck_assert_str_eq(served_field(s, "tri-consumer-appname"), "cart");
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_CALLS), 1);
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_REFUSED), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_only_a_proxy_may_say_does_not_reach_the_app_nor_steer_the_call)
{
	struct world w = world(RESETS);

	w.server->act.code = H2_INTERNAL_ERROR;
	struct call *c = call_unary(w.net, "shop",
		"x-envoy-retry-on: reset,5xx\nx-envoy-retry-grpc-on: unavailable\nx-envoy-max-retries: 5\nx-envoy-upstream-rq-timeout-ms: 1\n"
		"x-envoy-internal: true\nx-envoy-external-address: 10.1.1.1\nx-envoy-immediate-health-check-fail: true\nx-forwarded-client-cert: By=spiffe://a/b\nx-forwarded-for: 10.2.2.2\n");
	rig_advance(w.r, 1000);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE); /* and neither 4, nor tried again */
	ck_assert_uint_eq(w.server->requests, 1);
	const char *head = provider_last(w.server)->head.p;
	ck_assert_msg(!strstr(head, "x-envoy") && !strstr(head, "client-cert") && !strstr(head, "grpc-timeout"), "%s", head);
	ck_assert_str_eq(served_field(provider_last(w.server), "x-forwarded-for"), "10.2.2.2");
	rig_free(&w.r);
}
END_TEST

START_TEST(a_head_without_an_authority_gets_the_host_or_the_apps_name)
{
	static const struct { const char *more, *authority; } rows[] = {{NULL, "shop"}, {"host: here:1\n", "here:1"}};
	struct world w = world(ECHOES);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct call *c = call_begin(w.net, NULL, PATH, rows[i].more, true);
		rig_settle(w.r);
		ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
		ck_assert_str_eq(served_field(provider_last(w.server), ":authority"), rows[i].authority);
		ck_assert_ptr_null(served_field(provider_last(w.server), "host"));
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(a_name_of_the_mesh_is_no_way_out_of_the_inbound_door)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "services:\n  - {name: \"" DEMO "\", endpoints: [\"10.0.0.1:1\"]}\n"), ECHOES);
	struct provider *demo = provider_new(w.r, "10.0.0.1:1", ECHOES);

	says(&w, "ok");
	struct call *c = call_unary(w.net, DEMO, NULL);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(demo->requests, 0);
	c = call_unary(w.app, "inbound|shop|" IN, NULL); /* and the app's own door knows no inbound cluster */
	rig_settle(w.r);
	ck_assert_int_ne(c->grpc, 0);
	ck_assert_uint_eq(w.server->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_health_call_at_the_inbound_door_is_the_apps_to_answer)
{
	struct world w = world(ECHOES);
	struct call *c = call_begin(w.net, "shop", "/grpc.health.v1.Health/Check", NULL, false);

	call_data(c, "\0\0\0\0\0", 5, true);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(w.server->requests, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(nobody_outside_speaks_for_the_app)
{
	struct world w = world(PLAIN);
	static const char *const paths[] = {"/healthcheck/fail", "/healthcheck/ok", "/healthcheck", "/healthcheck/fail?wait=5s"};

	for (size_t i = 0; i < UNIT_COUNT(paths); i++) {
		struct call *c = call_plain(w.net, "POST", "shop", paths[i], NULL, true);
		rig_settle(w.r);
		ck_assert_int_eq(c->status, 200);
		ck_assert_str_eq(served_field(provider_last(w.server), ":path"), paths[i]); /* a call like any other */
	}
	ck_assert_int_eq(life_state(life_of(&w)), LIFE_OK);
	rig_free(&w.r);
}
END_TEST

/* ---- the gate ---- */

START_TEST(calls_come_in_only_while_the_app_is_ok)
{
	struct world w = world_of(LINES, ECHOES);

	refused(&w, w.net, "has not said ok yet");
	says(&w, "ok");
	answered(&w, w.net);
	says(&w, "fail");
	rig_advance(w.r, 1);
	ck_assert_int_ne(life_state(life_of(&w)), LIFE_OK);
	refused(&w, caller_new(w.r, IN), "it is ");
	says(&w, "ok");
	answered(&w, caller_new(w.r, IN));
	life_leave(life_of(&w));
	refused(&w, caller_new(w.r, IN), "it is ");
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_CALLS), 8);
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_REFUSED), 6);
	ck_assert_uint_eq(w.server->requests, 2);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_death_of_the_app_closes_the_gate_in_the_same_turn)
{
	struct world w = world(HOLDS);
	struct call *old = call_unary(w.net, "shop", NULL);

	ck_assert_int_eq(life_watch_pid(life_of(&w), 4711), 0);
	rig_settle(w.r);
	simnet_end_process(w.r->net, 4711);
	rig_settle(w.r);
	ck_assert_int_eq(life_state(life_of(&w)), LIFE_GONE);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_uint_eq(old->ends, 0); /* its server may be another process */
	refused(&w, caller_new(w.r, IN), "its process has ended");
	served_answer(provider_call(w.server, 0));
	rig_settle(w.r);
	ck_assert(call_ok(old));
	says(&w, "ok"); /* the next one is there */
	w.server->act.does = ECHOES;
	answered(&w, caller_new(w.r, IN));
	rig_free(&w.r);
}
END_TEST

START_TEST(an_app_with_a_check_of_its_own_is_closed_until_it_has_passed)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "    health: {check: {tcp: \"127.0.0.1:9\", period: 1000s, initial_delay: 1000s}}\n"), ECHOES);

	refused(&w, w.net, "check has not passed yet");
	rig_free(&w.r);
}
END_TEST

START_TEST(a_check_at_the_apps_own_inbound_door_asks_its_server_and_not_the_gate)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER) "    health: {check: {tcp: \"" IN "\", period: 1s}}\n", ""), ANSWERS);

	says(&w, "ok");
	rig_advance(w.r, 2500);
	struct life_view v;
	life_view(life_of(&w), &v);
	ck_assert_msg(v.state == LIFE_OK, "%s", v.why);
	ck_assert_uint_ge(w.server->accepted, 2);
	ck_assert_uint_eq(inbound_connections(list_entry(w.r->sc->apps.next, struct app, node)->inbound), 1);
	provider_listen(w.server, false);
	provider_cut(w.server);
	rig_advance(w.r, 5000); /* a door that accepts all the time says nothing about the app */
	ck_assert_int_eq(life_state(life_of(&w)), LIFE_FAILING);
	rig_free(&w.r);
}
END_TEST

START_TEST(who_is_connected_when_the_app_closes_is_told_to_go_and_its_calls_end_in_order)
{
	struct world w = world(HOLDS);
	struct caller *idle = caller_new(w.r, IN);
	struct call *waits = call_unary(w.net, "shop", NULL), *streams = call_begin(w.net, "shop", PATH, NULL, false);

	rig_settle(w.r);
	served_head(provider_call(w.server, 1), 200, "content-type: application/grpc\n", false);
	rig_settle(w.r);
	ck_assert_ptr_null(call_field(streams, MARK));
	says(&w, "fail");
	rig_advance(w.r, 10);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_uint_eq(idle->goaways, 1); /* its last id is said at once */
	ck_assert_uint_eq(w.app->goaways, 0); /* the app itself is never sent one */
	ck_assert(w.net->h2 && !idle->h2);
	ck_assert_uint_eq(waits->ends + streams->ends, 0);
	/* The stream goes on both ways, minutes later too. */
	rig_advance(w.r, 120000);
	call_fill(streams, 100000, true);
	rig_settle(w.r);
	ck_assert_uint_eq(provider_call(w.server, 1)->bytes, 100000);
	served_fill(provider_call(w.server, 1), 100000, false);
	served_trailers(provider_call(w.server, 1), 0, NULL);
	served_answer(provider_call(w.server, 0));
	rig_advance(w.r, 100);
	ck_assert(call_ok(streams) && call_ok(waits));
	ck_assert_str_eq(call_field(waits, MARK), "true"); /* its head came after the fail */
	ck_assert_ptr_null(w.net->h2); /* and with its last call the connection is over */
	rig_free(&w.r);
}
END_TEST

START_TEST(a_call_that_crosses_the_goaway_is_refused_as_not_begun)
{
	struct world w = world(ECHOES);
	struct call *crosses;

	answered(&w, w.net);
	crosses = call_unary(w.net, "shop", NULL);
	life_fail(life_of(&w), NULL, "it goes");
	rig_advance(w.r, 10);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_uint_eq(crosses->ends, 1);
	ck_assert_int_eq(crosses->end.cause, END_REFUSED);
	ck_assert_uint_eq(w.server->requests, 1);
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_REFUSED), 1);
	refused(&w, caller_new(w.r, IN), "it is "); /* who comes anew is told why */
	rig_free(&w.r);
}
END_TEST

START_TEST(the_same_doors_serve_again_after_ok)
{
	struct world w = world(ECHOES);

	for (int round = 0; round < 3; round++) {
		struct caller *before = caller_new(w.r, IN);
		answered(&w, before);
		says(&w, "fail");
		rig_advance(w.r, 10);
		ck_assert_ptr_null(before->h2);
		struct caller *meanwhile = caller_new(w.r, IN);
		refused(&w, meanwhile, "it is ");
		ck_assert_uint_eq(meanwhile->goaways, 0); /* it knows; to send it away with each answer would only make it dial */
		says(&w, "fail");
		rig_advance(w.r, 10);
		ck_assert_uint_eq(meanwhile->goaways, 0);
		says(&w, "ok");
		answered(&w, meanwhile);
	}
	rig_free(&w.r);
}
END_TEST

/* ---- HTTP/1.1 ---- */

#define H1_POST "POST " PATH " HTTP/1.1\r\nhost: shop:1\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"

static bool in_text(const struct raw *w, const char *part)
{
	return w->in.n && memmem(w->in.p, w->in.n, part, strlen(part));
}

START_TEST(http_1_is_served_at_the_same_door_and_closes_in_order)
{
	struct world w = world(PLAIN);
	struct raw *a = raw_new(w.r, IN), *idle = raw_new(w.r, IN), *busy = raw_new(w.r, IN);

	w.server->act.bytes = 7;
	raw_text(a, H1_POST);
	raw_text(idle, H1_POST);
	rig_settle(w.r);
	ck_assert(in_text(a, "HTTP/1.1 200") && !in_text(a, "connection: close") && !in_text(a, MARK));
	ck_assert_str_eq(served_field(provider_last(w.server), ":authority"), "shop:1");
	w.server->act.does = HOLDS;
	raw_text(busy, H1_POST);
	rig_settle(w.r);
	says(&w, "fail");
	rig_advance(w.r, 1);
	ck_assert(idle->eof && !busy->eof);
	ck_assert_uint_eq(life_in_flight(life_of(&w)), 1);
	served_head(provider_last(w.server), 200, "content-type: text/plain\n", true);
	rig_advance(w.r, 1);
	ck_assert(in_text(busy, "HTTP/1.1 200") && in_text(busy, "connection: close") && in_text(busy, MARK ": true"));
	ck_assert(busy->eof);
	struct raw *late = raw_new(w.r, IN);
	raw_text(late, H1_POST);
	rig_settle(w.r);
	ck_assert(in_text(late, "HTTP/1.1 503") && in_text(late, MARK ": true") && in_text(late, "\"flag\":\"LH\""));
	rig_free(&w.r);
}
END_TEST

/* ---- in flight ---- */

START_TEST(a_call_counts_as_in_flight_from_its_head_to_its_end_however_it_ends)
{
	struct world w = world(HOLDS);
	struct life *life = life_of(&w);
	struct caller *other = caller_new(w.r, IN);
	struct call *c[4];

	for (int i = 0; i < 4; i++)
		c[i] = call_unary(i < 3 ? w.net : other, "shop", NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(life_in_flight(life), 4);
	call_unary(w.app, "nobody:1", NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(life_in_flight(life), 4); /* the app's own calls are none */
	served_answer(provider_call(w.server, 0));
	rig_settle(w.r);
	ck_assert_uint_eq(life_in_flight(life), 3);
	call_cancel(c[1]);
	rig_settle(w.r);
	ck_assert_uint_eq(life_in_flight(life), 2);
	caller_close(other);
	rig_settle(w.r);
	ck_assert_uint_eq(life_in_flight(life), 1);
	says(&w, "fail");
	refused(&w, caller_new(w.r, IN), "it is ");
	ck_assert_uint_eq(life_in_flight(life), 1);
	provider_cut(w.server);
	rig_settle(w.r);
	ck_assert_int_eq(c[2]->grpc, GRPC_UNAVAILABLE);
	ck_assert_uint_eq(life_in_flight(life), 0);
	rig_free(&w.r);
}
END_TEST

/* ---- the app's own server ---- */

START_TEST(a_server_that_is_not_there_is_told_as_such)
{
	struct world w = world(ECHOES);

	provider_listen(w.server, false);
	struct call *c = call_unary(w.net, "shop", NULL), *plain = call_plain(w.net, "GET", "shop", "/", NULL, true);
	rig_advance(w.r, 700);
	ck_assert_uint_eq(c->ends, 0); /* it may be starting again */
	rig_advance(w.r, 1300);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	ck_assert_msg(strstr(call_text(c), "own server is not there: app 'shop', at "), "%s", call_text(c));
	ck_assert_int_eq(plain->status, 503);
	ck_assert_ptr_nonnull(strstr(call_text(plain), "\"flag\":\"UF\""));
	ck_assert_ptr_null(call_field(c, MARK)); /* it has not said that it fails */
	ck_assert_uint_eq(life_in_flight(life_of(&w)), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_server_that_starts_again_within_a_second_costs_no_call)
{
	struct world w = world(ECHOES);
	struct call *c[300];

	answered(&w, w.net);
	provider_listen(w.server, false);
	provider_cut(w.server);
	for (int i = 0; i < 300; i++) { /* more than the retry budget has: one dial is made for all of them */
		c[i] = call_unary(w.net, "shop", NULL);
		rig_advance(w.r, 1);
	}
	rig_advance(w.r, 200);
	provider_listen(w.server, true);
	rig_advance(w.r, 400);
	for (int i = 0; i < 300; i++)
		ck_assert_msg(call_ok(c[i]) && c[i]->bytes == 10, "call %d: %d %s", i, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(w.server->requests, 301);
	ck_assert_uint_lt(rig_stat(w.r, STAT_CONNECT_FAILED), 60);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_caller_waits_for_the_server_no_longer_than_its_deadline)
{
	struct world w = world(ECHOES);

	provider_listen(w.server, false);
	struct call *c = call_unary(w.net, "shop", "grpc-timeout: 100m\n");
	rig_advance(w.r, 150);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_the_server_has_begun_or_refuses_does_not_go_to_it_twice)
{
	static const struct { struct act act; const char *text; } rows[] = {
		{{.does = CRASHES}, "lost"},
		{{.does = RESETS, .code = H2_INTERNAL_ERROR}, "reset"},
		{{.does = RESETS, .code = H2_REFUSED_STREAM}, "refused"}, /* it is full: the same again at once would not help */
	};
	struct world w = world(ECHOES);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		provider_next(w.server, rows[i].act);
		struct call *c = call_unary(w.net, "shop", NULL);
		rig_advance(w.r, 1500);
		ck_assert_msg(c->grpc == GRPC_UNAVAILABLE && strstr(call_text(c), rows[i].text), "row %zu: %d %s", i, c->grpc, call_text(c));
		ck_assert_uint_eq(w.server->requests, i + 1);
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(a_goaway_of_the_server_costs_no_call)
{
	struct world w = world(ANSWERS);
	struct call *c[50];

	for (int i = 0; i < 50; i++) {
		if (i % 10 == 5)
			provider_goaway(w.server);
		c[i] = call_unary(w.net, "shop", NULL);
		rig_advance(w.r, i % 3);
	}
	rig_advance(w.r, 100);
	for (int i = 0; i < 50; i++)
		ck_assert_msg(call_ok(c[i]), "call %d: %d %s", i, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(w.server->requests, 50);
	rig_free(&w.r);
}
END_TEST

/* ---- reload ---- */

START_TEST(a_reload_keeps_the_doors_whose_lines_are_the_same_and_takes_the_others_leave)
{
	struct world w = world(HOLDS);
	struct provider *other = provider_new(w.r, OTHER, ECHOES);
	struct call *old = call_unary(w.net, "shop", NULL);

	rig_settle(w.r);
	ck_assert_int_eq(rig_reload(w.r, LINES "log: {level: warn}\n"), 0);
	ck_assert(w.net->h2 && !w.net->goaways && !old->ends);
	/* The app's server is elsewhere now: the door stays, what comes goes there, what is there goes on. */
	ck_assert_int_eq(rig_reload(w.r, SHOP(LINE(IN, OTHER), "")), 0);
	answered(&w, w.net);
	ck_assert_uint_eq(other->requests, 1);
	ck_assert(!w.net->goaways && !old->ends);
	/* Another address. */
	ck_assert_int_eq(rig_reload(w.r, SHOP(LINE("10.9.0.1:20881", OTHER), "")), 0);
	rig_advance(w.r, 10);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_ptr_null(caller_new(w.r, IN)->h2);
	answered(&w, caller_new(w.r, "10.9.0.1:20881"));
	served_answer(provider_call(w.server, 0));
	rig_advance(w.r, 10);
	ck_assert(call_ok(old));
	ck_assert_ptr_null(w.net->h2);
	/* None at all, and one again. */
	ck_assert_int_eq(rig_reload(w.r, SHOP("", "")), 0);
	rig_advance(w.r, 10);
	ck_assert_ptr_null(caller_new(w.r, "10.9.0.1:20881")->h2);
	ck_assert(!inbound_is_there(list_entry(w.r->sc->apps.next, struct app, node)->inbound));
	ck_assert_int_eq(rig_reload(w.r, SHOP(LINE(IN, OTHER), "")), 0);
	ck_assert_int_eq(life_state(life_of(&w)), LIFE_OK); /* what the app has said holds over all of this */
	answered(&w, caller_new(w.r, IN));
	rig_free(&w.r);
}
END_TEST

START_TEST(an_app_that_is_removed_ends_what_came_in_and_may_come_back_meanwhile)
{
	struct world w = world(HOLDS);
	struct call *old = call_unary(w.net, "shop", NULL);

	rig_settle(w.r);
	ck_assert_int_eq(rig_reload(w.r, "apps: [{name: bag, listen: [{unix: /run/bag.sock}]}]\n"), 0);
	rig_advance(w.r, 10);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_uint_eq(old->ends, 0);
	ck_assert_int_eq(rig_reload(w.r, LINES), 0);
	struct world again = {.r = w.r, .app = caller_new(w.r, DOOR), .net = caller_new(w.r, IN)};
	refused(&again, again.net, "has not said ok yet"); /* it is another one */
	says(&again, "ok");
	served_answer(provider_call(w.server, 0));
	rig_advance(w.r, 10);
	ck_assert(call_ok(old));
	ck_assert(list_empty(&w.r->sc->walking)); /* the old one is gone, and has not taken the new one's cluster along */
	w.server->act.does = ECHOES;
	answered(&w, again.net);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_end_of_the_process_says_goodbye_and_lets_calls_end)
{
	struct world w = world(HOLDS);
	struct call *old = call_unary(w.net, "shop", NULL);

	rig_settle(w.r);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 100);
	ck_assert_uint_ge(w.net->goaways, 1);
	ck_assert_uint_eq(old->ends, 0);
	ck_assert_ptr_null(caller_new(w.r, IN)->h2);
	served_answer(provider_call(w.server, 0));
	caller_close(w.app);
	rig_advance(w.r, 100);
	ck_assert(call_ok(old));
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_status_page_tells_who_is_connected_and_what_is_in_flight)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "control: {unix: /run/control.sock}\n"), HOLDS);

	says(&w, "ok");
	call_unary(w.net, "shop", NULL);
	call_unary(w.net, "shop", NULL);
	struct call *c = call_plain(caller_new(w.r, "unix:/run/control.sock"), "GET", "x", "/status", NULL, true);
	rig_settle(w.r);
	ck_assert_msg(strstr(call_text(c), "\"in_flight\":2,\"inbound\":[{\"address\":\"" IN "\",\"connections\":1}],\"health\":[]"), "%s", call_text(c));
	rig_free(&w.r);
}
END_TEST

/* ---- limits ---- */

START_TEST(callers_are_bounded_by_door_and_not_by_user)
{
	struct world w = world_of(SHOP("    inbound:\n      - {unix: /run/shop/in.sock, to: \"" SERVER "\"}\n", "limits: {connections_per_uid: 3, connections_per_listener: 5}\n"), ECHOES);
	struct caller *c[7];

	says(&w, "ok");
	for (int i = 0; i < 7; i++)
		c[i] = caller_new(w.r, "unix:/run/shop/in.sock");
	for (int i = 0; i < 5; i++)
		answered(&w, c[i]);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CONNS_REFUSED_UID), 0);
	ck_assert_uint_ge(rig_stat(w.r, STAT_CONNS_REFUSED_LISTENER), 1);
	caller_close(c[0]);
	rig_advance(w.r, 10);
	answered(&w, c[5]);
	ck_assert_uint_eq(inbound_connections(list_entry(w.r->sc->apps.next, struct app, node)->inbound), 5);
	rig_free(&w.r);
}
END_TEST

START_TEST(callers_from_outside_leave_room_for_the_app)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "limits: {connections: 10}\n"), ECHOES);
	struct caller *c[12];

	says(&w, "ok");
	for (int i = 0; i < 12; i++)
		c[i] = caller_new(w.r, IN);
	ck_assert_uint_eq(inbound_connections(list_entry(w.r->sc->apps.next, struct app, node)->inbound), 8);
	ck_assert_uint_ge(rig_stat(w.r, STAT_CONNS_REFUSED_LIMIT), 1);
	struct world second = {.r = w.r, .app = caller_new(w.r, DOOR)};
	says(&second, "ok"); /* as many as like to may wait outside: the app comes in */
	caller_close(w.net);
	rig_advance(w.r, 10);
	answered(&w, c[7]);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_head_beyond_the_limit_is_refused_and_not_counted_in_flight)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "limits: {field_count: 20}\n"), ECHOES);
	struct sb many = {0};

	says(&w, "ok");
	for (int i = 0; i < 30; i++)
		sb_fmt(&many, "x-%d: y\n", i);
	struct call *c = call_unary(w.net, "shop", many.p);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_uint_eq(life_in_flight(life_of(&w)), 0);
	ck_assert_uint_eq(w.server->requests, 0);
	sb_end(&many);
	rig_free(&w.r);
}
END_TEST

START_TEST(above_the_soft_mark_of_memory_new_callers_are_refused_and_old_calls_go_on)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "limits: {memory: 4MiB, memory_soft: 10%, memory_hard: 90%, window_up: 1MiB, stall: 1h}\n"), ANSWERS_EARLY);
	struct call *big[2];

	says(&w, "ok");
	w.server->act.bytes = 700000;
	for (int i = 0; i < 2; i++) {
		big[i] = call_begin(w.net, "shop", PATH, NULL, true);
		big[i]->hold = true;
	}
	rig_advance(w.r, 100);
	struct call *c = call_unary(w.net, "shop", NULL);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_uint_eq(life_in_flight(life_of(&w)), 2);
	for (int i = 0; i < 2; i++)
		call_credit(big[i]);
	rig_advance(w.r, 1000);
	ck_assert(call_ok(big[0]) && call_ok(big[1]));
	rig_free(&w.r);
}
END_TEST

START_TEST(what_callers_hold_leaves_memory_for_the_apps_own_calls)
{
	struct world w = world_of(SHOP(LINE(IN, SERVER), "limits: {memory: 4MiB}\nservices:\n  - {name: \"" DEMO "\", endpoints: [\"10.0.0.1:1\"]}\n"), HOLDS);
	struct call *k = NULL;

	provider_new(w.r, "10.0.0.1:1", ECHOES);
	says(&w, "ok");
	for (int i = 0; i < 4000 && (!k || !k->ends); i++) {
		if (i % 100 == 0)
			w.net = caller_new(w.r, IN);
		k = call_begin(w.net, "shop", PATH, NULL, false);
		rig_settle(w.r);
	}
	ck_assert_int_eq(k->grpc, GRPC_RESOURCE_EXHAUSTED);
	struct call *mine = call_unary(w.app, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_msg(call_ok(mine), "%d %s", mine->grpc, call_text(mine));
	rig_free(&w.r);
}
END_TEST

START_TEST(the_access_log_tells_inbound_from_outbound)
{
	char file[] = "/tmp/flow-inbound-XXXXXX", yaml[1024], text[8192] = "";
	int fd = mkstemp(file);

	ck_assert_int_ge(fd, 0);
	snprintf(yaml, sizeof(yaml), SHOP(LINE(IN, SERVER), "log: {access: text, access_file: \"%s\"}\n"), file);
	struct world w = world_of(yaml, ECHOES);
	says(&w, "ok");
	answered(&w, w.net);
	says(&w, "fail");
	refused(&w, caller_new(w.r, IN), "it is ");
	call_unary(w.app, "nobody:1", NULL);
	rig_settle(w.r);
	rig_free(&w.r);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	unlink(file);
	ck_assert_ptr_nonnull(strstr(text, "app=shop direction=inbound method=POST authority=shop"));
	ck_assert_ptr_nonnull(strstr(text, "flag=LH"));
	ck_assert_ptr_nonnull(strstr(text, "direction=outbound method=POST authority=nobody:1"));
	ck_assert_ptr_nonnull(strstr(text, "direction=local method=POST authority=any"));
}
END_TEST

UNIT_SUITE("inbound", the_apps_server_sees_what_the_caller_sent, what_only_a_proxy_may_say_does_not_reach_the_app_nor_steer_the_call,
	a_head_without_an_authority_gets_the_host_or_the_apps_name, a_name_of_the_mesh_is_no_way_out_of_the_inbound_door, a_health_call_at_the_inbound_door_is_the_apps_to_answer, nobody_outside_speaks_for_the_app,
	calls_come_in_only_while_the_app_is_ok, the_death_of_the_app_closes_the_gate_in_the_same_turn, an_app_with_a_check_of_its_own_is_closed_until_it_has_passed,
	a_check_at_the_apps_own_inbound_door_asks_its_server_and_not_the_gate, who_is_connected_when_the_app_closes_is_told_to_go_and_its_calls_end_in_order, a_call_that_crosses_the_goaway_is_refused_as_not_begun, the_same_doors_serve_again_after_ok,
	http_1_is_served_at_the_same_door_and_closes_in_order, a_call_counts_as_in_flight_from_its_head_to_its_end_however_it_ends,
	a_server_that_is_not_there_is_told_as_such, a_server_that_starts_again_within_a_second_costs_no_call, a_caller_waits_for_the_server_no_longer_than_its_deadline,
	what_the_server_has_begun_or_refuses_does_not_go_to_it_twice, a_goaway_of_the_server_costs_no_call,
	a_reload_keeps_the_doors_whose_lines_are_the_same_and_takes_the_others_leave, an_app_that_is_removed_ends_what_came_in_and_may_come_back_meanwhile,
	the_end_of_the_process_says_goodbye_and_lets_calls_end, the_status_page_tells_who_is_connected_and_what_is_in_flight, callers_are_bounded_by_door_and_not_by_user, callers_from_outside_leave_room_for_the_app, a_head_beyond_the_limit_is_refused_and_not_counted_in_flight,
	above_the_soft_mark_of_memory_new_callers_are_refused_and_old_calls_go_on, what_callers_hold_leaves_memory_for_the_apps_own_calls, the_access_log_tells_inbound_from_outbound)
