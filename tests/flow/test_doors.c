/* Doors across reloads and the end: a door that stays, one that changes while apps are connected, one that goes to another app. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <string.h>

#define ONE "10.0.0.1:50051"
#define SERVICES "services:\n  - {name: \"a.b:1\", endpoints: [\"" ONE "\"]}\n"
#define SHOP(more) "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock" more "}]}\n"
#define TWO_APPS(first, one, second, two) "apps:\n  - {name: " first ", listen: [{unix: " one "}]}\n  - {name: " second ", listen: [{unix: " two "}]}\n"

struct world { struct rig *r; struct provider *p; };

static struct world world(const char *yaml)
{
	struct world w = {.r = rig_new(yaml)};

	w.p = provider_new(w.r, ONE, ECHOES);
	return w;
}

static void answered(struct world *w, struct caller *a)
{
	struct call *c = call_unary(a, "a.b:1", NULL);

	rig_settle(w->r);
	ck_assert_msg(call_ok(c), "cause %d grpc %d: %s", c->end.cause, c->grpc, call_text(c));
}

START_TEST(who_is_allowed_stays_so_over_reloads)
{
	static const char yaml[] = SHOP(", allow: {uid: [1000, 7], gid: [8]}") SERVICES;
	struct world w = world(yaml);
	struct simnet_knobs *k = simnet_knobs(w.r->net);

	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(rig_reload(w.r, yaml), 0);
		k->cred.uid = i & 1 ? 7 : 1000;
		answered(&w, caller_new(w.r, DOOR));
		k->cred.uid = 9;
		ck_assert(!caller_new(w.r, DOOR)->up);
	}
	rig_free(&w.r);
}
END_TEST

START_TEST(an_app_that_is_removed_says_so_to_the_connections_of_a_door_it_had_before)
{
	for (int calling = 0; calling < 2; calling++) {
		struct world w = world(SHOP("") SERVICES);
		struct caller *old = caller_new(w.r, DOOR);
		struct call *held = NULL;

		answered(&w, old);
		ck_assert_int_eq(rig_reload(w.r, SHOP(", mode: \"0600\"") SERVICES), 0); /* another door; the connection goes on */
		answered(&w, old);
		ck_assert_uint_eq(old->goaways, 0);
		if (calling) {
			w.p->act.does = HOLDS;
			held = call_unary(old, "a.b:1", NULL);
			rig_settle(w.r);
		}
		ck_assert_int_eq(rig_reload(w.r, "apps:\n  - {name: till, listen: [{unix: /run/till.sock}]}\n" SERVICES), 0);
		rig_settle(w.r);
		ck_assert_uint_ge(old->goaways, 1);
		if (held) {
			ck_assert_uint_eq(held->ends, 0);
			served_answer(provider_last(w.p));
			rig_settle(w.r);
			ck_assert(call_ok(held));
		}
		rig_advance(w.r, 100);
		ck_assert_ptr_null(old->h2);
		ck_assert(list_empty(&w.r->sc->walking));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_drain_says_goodbye_to_the_connections_of_a_door_that_leaves_too)
{
	struct world w = world(SHOP("") "drain: {deadline: 10s}\n" SERVICES);
	struct caller *old = caller_new(w.r, DOOR);

	answered(&w, old);
	ck_assert_int_eq(rig_reload(w.r, SHOP(", mode: \"0600\"") "drain: {deadline: 10s}\n" SERVICES), 0);
	answered(&w, old);
	sidecar_stop(w.r->sc);
	rig_advance(w.r, 100);
	ck_assert_uint_ge(old->goaways, 1);
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_path_goes_from_one_app_to_another_in_one_reload_whichever_is_named_first)
{
	static const char *const rows[] = {
		TWO_APPS("shop", "/run/b.sock", "till", "/run/a.sock") SERVICES,
		TWO_APPS("till", "/run/a.sock", "shop", "/run/b.sock") SERVICES,
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(TWO_APPS("shop", "/run/a.sock", "till", "/run/b.sock") SERVICES);
		struct caller *was = caller_new(w.r, "unix:/run/a.sock");
		answered(&w, was);
		ck_assert_int_eq(rig_reload(w.r, rows[i]), 0);
		struct caller *a = caller_new(w.r, "unix:/run/a.sock"), *b = caller_new(w.r, "unix:/run/b.sock");
		ck_assert_msg(a->up && b->up, "row %zu", i);
		struct call *c = call_plain(a, "GET", "x", "/healthcheck", NULL, true);
		rig_settle(w.r);
		ck_assert_msg(strstr(call_text(c), "\"till\"") != NULL, "row %zu: %s", i, call_text(c));
		answered(&w, b);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_door_that_waits_for_room_goes_on_when_a_reload_makes_some)
{
	struct world w = world(SHOP("") SERVICES "limits: {connections: 2}\n");
	struct caller *c[4];

	for (int i = 0; i < 4; i++)
		c[i] = caller_start(w.r, DOOR);
	rig_advance(w.r, 100);
	ck_assert(c[1]->up && !c[2]->up);
	ck_assert_int_eq(rig_reload(w.r, SHOP("") SERVICES "limits: {connections: 3}\n"), 0);
	rig_advance(w.r, 100);
	ck_assert(c[2]->up && !c[3]->up);
	answered(&w, c[2]);
	rig_free(&w.r);
}
END_TEST

START_TEST(who_has_connected_and_not_spoken_yet_is_served_by_a_door_that_changes)
{
	struct world w = world(SHOP("") SERVICES);
	struct raw *quiet = raw_new(w.r, DOOR);

	rig_settle(w.r);
	ck_assert_int_eq(rig_reload(w.r, SHOP(", mode: \"0600\"") SERVICES), 0);
	rig_settle(w.r);
	ck_assert(!quiet->eof);
	raw_preface(quiet);
	raw_headers(quiet, 1, ":method: POST\n:scheme: http\n:path: /healthcheck/ok\n:authority: x\n", true);
	rig_settle(w.r);
	ck_assert_uint_eq(raw_count(quiet, F_HEADERS, 1), 1);
	ck_assert_uint_eq(raw_count(quiet, F_GOAWAY, -1), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(an_announced_drain_serves_everybody_and_is_not_ready_meanwhile)
{
	struct world w = world(SHOP("") SERVICES "drain: {announce: 2s, deadline: 10s}\ncontrol: {unix: /run/control.sock}\n");
	struct caller *a = caller_new(w.r, DOOR), *control = caller_new(w.r, "unix:/run/control.sock");
	struct call *ready;

	answered(&w, a);
	sidecar_stop(w.r->sc);
	for (int ms = 0; ms < 1900; ms += 100) {
		rig_advance(w.r, 100);
		ready = call_plain(control, "GET", "x", "/ready", NULL, true);
		rig_settle(w.r);
		ck_assert_int_eq(ready->status, 503);
		answered(&w, a);
		answered(&w, caller_new(w.r, DOOR)); /* who comes now is served too */
	}
	ck_assert_uint_eq(a->goaways, 0);
	rig_advance(w.r, 500);
	ck_assert_uint_ge(a->goaways, 1);
	ck_assert(w.r->sc->stopped);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("doors", who_is_allowed_stays_so_over_reloads, an_app_that_is_removed_says_so_to_the_connections_of_a_door_it_had_before,
	a_drain_says_goodbye_to_the_connections_of_a_door_that_leaves_too, a_path_goes_from_one_app_to_another_in_one_reload_whichever_is_named_first,
	a_door_that_waits_for_room_goes_on_when_a_reload_makes_some, who_has_connected_and_not_spoken_yet_is_served_by_a_door_that_changes,
	an_announced_drain_serves_everybody_and_is_not_ready_meanwhile)
