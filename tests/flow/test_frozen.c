/* The process stands still, and goes on: what calls, connections, checks and the control plane make of it. Each sentence of "freeze and thaw" is a test. */
#include <stdio.h>
#include <string.h>
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define HOLDERS "    retries: {max: 0}\n    lb: round_robin\n"
#define WITH_CONTROL "control: {unix: /run/control.sock, tcp: \"127.0.0.1:15020\"}\n"

struct one { struct rig *r; struct provider *p; struct caller *a; };

static struct one one_new(enum does does, const char *more)
{
	struct one w = {.r = rig_demo("10.0.0.1:1", more, WITH_CONTROL)};

	w.p = provider_new(w.r, "10.0.0.1:1", does);
	w.a = caller_new(w.r, DOOR);
	return w;
}

static void stop_for(struct rig *r, uint64_t ns)
{
	uint64_t thaws = rig_stat(r, STAT_THAWS);

	simnet_freeze(r->net, ns);
	rig_advance(r, 1);
	ck_assert_uint_eq(rig_stat(r, STAT_THAWS), thaws + 1);
}

static struct call *post(struct rig *r, const char *door, const char *path)
{
	struct caller *c = caller_new(r, door);
	struct call *k = call_plain(c, "POST", "thinmesh", path, NULL, true);

	rig_settle(r);
	ck_assert_uint_eq(k->ends, 1);
	sb_char(&k->data, '\0');
	k->data.n--;
	caller_close(c);
	rig_settle(r);
	return k;
}

/* ---- calls keep their time ------------------------------------------------------------------------------------------------------- */

START_TEST(a_deadline_is_extended_by_the_time_that_was_lost)
{
	struct one w = one_new(HOLDS, HOLDERS);
	struct call *answered = call_unary(w.a, DEMO, "grpc-timeout: 2S\n"), *late = call_unary(w.a, DEMO, "grpc-timeout: 2S\n");

	rig_advance(w.r, 500);
	stop_for(w.r, 60 * SEC);
	ck_assert_uint_eq(answered->ends + late->ends, 0);
	served_answer(provider_call(w.p, 0));
	rig_advance(w.r, 1400);
	ck_assert(call_ok(answered));
	ck_assert_uint_eq(late->ends, 0);
	rig_advance(w.r, 200);
	ck_assert_uint_eq(late->ends, 1);
	ck_assert_int_eq(late->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_is_left_is_what_the_provider_is_told_when_the_call_was_not_sent_yet)
{
	struct one w = one_new(ANSWERS, HOLDERS "    connect_timeout: 3s\n");
	struct addr at = simnet_addr("10.0.0.1:1");
	uint64_t told_ns;

	simnet_on_connect(w.r->net, &at, SIMNET_HANG);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 8S\n");
	rig_advance(w.r, 1000);
	stop_for(w.r, 60 * SEC);
	simnet_on_connect(w.r->net, &at, SIMNET_NORMAL);
	rig_advance(w.r, 3000); /* the first connect is over after 3 s, the second one stands */
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	const char *text = served_field(provider_last(w.p), "grpc-timeout");
	ck_assert(grpc_timeout_parse(str_of(text), &told_ns));
	ck_assert_msg(told_ns > 4 * SEC && told_ns < 5 * SEC, "%s", text);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_provider_that_saw_the_deadline_pass_is_believed)
{
	struct one w = one_new(HOLDS, HOLDERS);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 2S\n");

	rig_advance(w.r, 500);
	stop_for(w.r, 60 * SEC);
	served_reset(provider_last(w.p), H2_CANCEL); /* as grpc-go does when it is over */
	rig_settle(w.r);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_call_that_waits_for_its_name_keeps_its_time)
{
	struct world w = world_bare(PLANE_ISTIO);

	w.p->quirks.slow_ms = 3000;
	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	world_start(&w, XDS(""));
	struct call *c = call_unary(w.app, DEMO, "grpc-timeout: 4S\n");
	rig_advance(w.r, 1000);
	stop_for(w.r, 60 * SEC);
	w.p->quirks.slow_ms = 0;
	w.one->act = (struct act){.does = HOLDS};
	rig_advance(w.r, 2500);
	ck_assert_msg(c->ends == 0, "%d %s", c->grpc, call_text(c));
	ck_assert_ptr_nonnull(provider_last(w.one));
	served_answer(provider_last(w.one));
	rig_settle(w.r);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_peer_that_was_frozen_with_us_is_not_late)
{
	struct one w = one_new(ECHOES, HOLDERS);
	struct raw *half = raw_new(w.r, DOOR), *silent = raw_new(w.r, DOOR);
	struct sb block = {0};

	raw_preface(half);
	rig_settle(w.r);
	hpack_fields(&block, raw_request);
	raw_frame(half, F_HEADERS, FL_END_STREAM, 1, block.p, 20); /* the rest of the block comes after the freeze */
	rig_advance(w.r, 1000);
	stop_for(w.r, 600 * SEC);
	rig_advance(w.r, 1000);
	ck_assert(!half->eof && !silent->eof);
	raw_frame(half, F_CONTINUATION, FL_END_HEADERS, 1, block.p + 20, block.n - 20);
	rig_settle(w.r);
	ck_assert(raw_find(half, F_HEADERS, 1, NULL));
	rig_advance(w.r, 4000);
	ck_assert(silent->eof); /* the preface's five seconds are over by now */
	sb_end(&block);
	rig_free(&w.r);
}
END_TEST

/* ---- connections --------------------------------------------------------------------------------------------------------------------- */

START_TEST(an_idle_connection_is_asked_before_it_carries_a_call_and_one_that_lives_stays)
{
	struct one w = one_new(ECHOES, HOLDERS);
	struct call *c = call_unary(w.a, DEMO, NULL);

	rig_advance(w.r, 10);
	ck_assert(call_ok(c));
	stop_for(w.r, 2 * SEC);
	rig_advance(w.r, 10);
	c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	ck_assert(call_ok(c));
	ck_assert_uint_eq(w.p->accepted, 1);
	ck_assert_uint_eq(rig_stat(w.r, STAT_THAW_CONNS), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(one_that_answers_no_ping_is_given_up_and_the_call_moves)
{
	struct rig *r = rig_demo("10.0.0.1:1 10.0.0.2:1", HOLDERS, NULL);
	struct provider *one = provider_new(r, "10.0.0.1:1", ECHOES), *two = provider_new(r, "10.0.0.2:1", ECHOES);
	struct caller *a = caller_new(r, DOOR);
	struct call *c[10];

	for (int i = 0; i < 4; i++)
		call_unary(a, DEMO, NULL);
	rig_advance(r, 10);
	ck_assert(provider_conns(one) == 1 && provider_conns(two) == 1);
	provider_stall(one, true);
	stop_for(r, 2 * SEC);
	for (int i = 0; i < 10; i++)
		c[i] = call_unary(a, DEMO, "grpc-timeout: 1S\n");
	rig_advance(r, 700);
	for (int i = 0; i < 10; i++)
		ck_assert_msg(call_ok(c[i]), "call %d: %d %s", i, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(rig_stat(r, STAT_THAW_CONNS), 1);
	ck_assert_uint_ge(rig_stat(r, STAT_MOVED), 1);
	rig_free(&r);
}
END_TEST

START_TEST(streams_of_a_connection_that_is_slow_to_answer_go_on)
{
	struct one w = one_new(HOLDS, HOLDERS "    connect_timeout: 2s\n");
	struct call *c = call_unary(w.a, DEMO, NULL);

	rig_advance(w.r, 10);
	provider_stall(w.p, true);
	stop_for(w.r, 2 * SEC);
	rig_advance(w.r, 1000);
	provider_stall(w.p, false);
	rig_advance(w.r, 3000);
	ck_assert_uint_eq(c->ends, 0);
	served_answer(provider_last(w.p));
	rig_settle(w.r);
	ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
	rig_free(&w.r);
}
END_TEST

/* ---- all providers are others --------------------------------------------------------------------------------------------------------- */

enum { MANY = 10 };
static void list(char *out, size_t n, int net)
{
	*out = '\0';
	for (int i = 1; i <= MANY; i++)
		snprintf(out + strlen(out), n - strlen(out), "%s10.0.%d.%d:1", i > 1 ? " " : "", net, i);
}

/* Each of the old providers carries a connection, then the process stops and they are gone: their addresses refuse (or swallow) connections. */
static void replace(struct rig *r, struct provider *old[MANY], bool swallow)
{
	for (int i = 0; i < MANY; i++) {
		struct addr at = old[i]->at;

		provider_stall(old[i], true);
		provider_listen(old[i], false);
		simnet_on_connect(r->net, &at, swallow ? SIMNET_HANG : SIMNET_NORMAL);
	}
}

static void all_replaced(bool swallow, uint64_t told_after_ms)
{
	struct world w = world_bare(PLANE_ISTIO);
	struct provider *old[MANY], *fresh[MANY];
	struct call *c[60];
	char text[512];
	int n = 0;

	for (int i = 0; i < MANY; i++) {
		char at[24];

		snprintf(at, sizeof(at), "10.0.1.%d:1", i + 1);
		old[i] = provider_new(w.r, at, ECHOES);
		snprintf(at, sizeof(at), "10.0.2.%d:1", i + 1);
		fresh[i] = provider_new(w.r, at, ECHOES);
	}
	list(text, sizeof(text), 1);
	plane_service(w.p, HOST, 50051, text);
	world_start(&w, XDS(""));
	for (int i = 0; i < 200; i++) {
		call_unary(w.app, DEMO, NULL);
		rig_advance(w.r, 10);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(provider_conns(old[i]), 1);
	replace(w.r, old, swallow);
	stop_for(w.r, 60 * SEC);
	for (; n < 40; n++)
		c[n] = call_unary(w.app, DEMO, NULL);
	for (; n < 60; n++) {
		rig_advance(w.r, told_after_ms / 20);
		c[n] = call_unary(w.app, DEMO, NULL);
	}
	list(text, sizeof(text), 2);
	plane_endpoints(w.p, HOST, 50051, text);
	rig_advance(w.r, 2000);
	for (int i = 0; i < n; i++)
		ck_assert_msg(call_ok(c[i]), "call %d: %u %d %s", i, c[i]->ends, c[i]->grpc, call_text(c[i]));
	ck_assert_uint_eq(rig_stat(w.r, STAT_RETRY_BUDGET_EMPTY), 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_THAW_CONNS), MANY);
	if (told_after_ms)
		ck_assert_uint_gt(rig_stat(w.r, swallow ? STAT_TURNED_AWAY : STAT_THAW_HELD), 0);
	uint32_t served = 0;
	for (int i = 0; i < MANY; i++)
		served += fresh[i]->requests;
	ck_assert_uint_eq(served, (uint32_t)n);
	rig_free(&w.r);
}

START_TEST(calls_after_the_thaw_find_the_new_providers_where_the_old_ones_refuse) { all_replaced(false, 1500); }
END_TEST
START_TEST(calls_after_the_thaw_find_the_new_providers_where_the_old_ones_swallow) { all_replaced(true, 1500); }
END_TEST
START_TEST(calls_after_the_thaw_find_the_new_providers_that_are_told_at_once) { all_replaced(true, 0); }
END_TEST

START_TEST(names_are_asked_of_dns_again_at_the_thaw)
{
	struct rig *r = rig_bare(7);
	char yaml[512];

	dns_table_set(r->dns, "prov.test", "10.0.0.1", 3600 * SEC);
	snprintf(yaml, sizeof(yaml), APPS "services:\n  - name: %s\n    endpoints: [\"prov.test:1\"]\n", DEMO);
	struct provider *one = provider_new(r, "10.0.0.1:1", ECHOES), *two = provider_new(r, "10.0.0.2:1", ECHOES);
	rig_start(r, yaml);
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL);
	rig_advance(r, 50);
	ck_assert(call_ok(c));
	dns_table_set(r->dns, "prov.test", "10.0.0.2", 3600 * SEC);
	provider_stall(one, true);
	provider_listen(one, false);
	stop_for(r, 60 * SEC);
	c = call_unary(a, DEMO, NULL);
	rig_advance(r, 1000);
	ck_assert_msg(call_ok(c), "%u %d %s", c->ends, c->grpc, call_text(c));
	ck_assert_uint_eq(two->requests, 1);
	rig_free(&r);
}
END_TEST

START_TEST(a_call_that_finds_nobody_fails_when_its_time_to_wait_is_over)
{
	struct one w = one_new(ECHOES, HOLDERS);

	call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	provider_stall(w.p, true);
	provider_listen(w.p, false);
	stop_for(w.r, 60 * SEC);
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 4900);
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_ge(rig_stat(w.r, STAT_THAW_HELD), 1);
	rig_advance(w.r, 600);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	rig_advance(w.r, 6000);
	c = call_unary(w.a, DEMO, NULL); /* it is long over: as ever */
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(c->ends, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_service_that_comes_back_at_its_address_is_found)
{
	struct one w = one_new(ECHOES, HOLDERS);

	call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	provider_stall(w.p, true);
	provider_listen(w.p, false);
	stop_for(w.r, 60 * SEC);
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 2000);
	provider_cut(w.p);
	provider_stall(w.p, false);
	provider_listen(w.p, true);
	rig_advance(w.r, 1000);
	ck_assert_msg(call_ok(c), "%u %d %s", c->ends, c->grpc, call_text(c));
	rig_free(&w.r);
}
END_TEST

/* ---- checks and the control plane ------------------------------------------------------------------------------------------------------ */

START_TEST(no_check_fails_for_a_standstill)
{
	struct one w = one_new(ECHOES, HOLDERS "    health: {grpc: {}, interval: 5s, timeout: 1s, unhealthy_threshold: 1}\n");

	w.p->act = (struct act){.does = ANSWERS, .messages = 0, .grpc = GRPC_UNIMPLEMENTED}; /* alive, without a health service */
	rig_advance(w.r, 10);
	call_unary(w.a, DEMO, NULL); /* from now on each 5 s */
	rig_advance(w.r, 10000); /* the first one came before there was a provider */
	uint64_t failed = rig_stat(w.r, STAT_CHECK_FAILURE);
	ck_assert_uint_gt(rig_stat(w.r, STAT_CHECK_SUCCESS), 0);
	for (int i = 0; i < 20; i++) {
		w.p->act = (struct act){.does = HOLDS}; /* whatever is under way is not answered before the freeze */
		rig_advance(w.r, 437);
		w.p->act = (struct act){.does = ANSWERS, .grpc = GRPC_UNIMPLEMENTED};
		stop_for(w.r, 10 * SEC);
		rig_advance(w.r, 1500);
		ck_assert_uint_eq(rig_stat(w.r, STAT_CHECK_FAILURE), failed);
	}
	ck_assert_uint_gt(rig_stat(w.r, STAT_CHECK_VOID), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_control_plane_is_asked_at_once)
{
	struct world w = world_istio(XDS(""));

	ck_assert(call_ok(world_call(&w, DEMO)));
	plane_stall(w.p, true); /* the old connection is dead, and nobody has said so */
	stop_for(w.r, 60 * SEC);
	rig_advance(w.r, 2500);
	plane_stall(w.p, false);
	rig_advance(w.r, 2000);
	ck_assert_uint_eq(w.p->nstreams, 2);
	ck_assert_uint_eq(plane_open(w.p), 1);
	rig_free(&w.r);
}
END_TEST

/* ---- announced ------------------------------------------------------------------------------------------------------------------------- */

START_TEST(a_freeze_that_is_announced_begins_nothing_and_extends_deadlines)
{
	struct one w = one_new(HOLDS, HOLDERS "    health: {grpc: {}, interval: 1s}\n");
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 2S\n");

	rig_advance(w.r, 500);
	struct call *k = post(w.r, CONTROL, "/freeze");
	ck_assert_int_eq(k->status, 200);
	ck_assert(says(k->data.p, "\"frozen\":true,\"again\":false"));
	ck_assert(says(post(w.r, CONTROL, "/freeze")->data.p, "\"again\":true"));
	ck_assert_uint_eq(rig_stat(w.r, STAT_FREEZES), 1);
	uint32_t seen = w.p->requests;
	rig_advance(w.r, 10000); /* nothing stops us, but nothing happens either */
	ck_assert_uint_eq(w.p->requests, seen);
	ck_assert_uint_eq(c->ends, 0);
	k = post(w.r, CONTROL, "/thaw");
	ck_assert_int_eq(k->status, 200);
	ck_assert(says(k->data.p, "\"frozen\":false,\"announced\":true,\"was_frozen\":true,\"stood_ms\":10"));
	ck_assert_uint_eq(rig_stat(w.r, STAT_THAWS), 1);
	rig_advance(w.r, 1400);
	ck_assert_uint_eq(c->ends, 0);
	rig_advance(w.r, 200);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_uint_gt(w.p->requests, seen);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_thaw_verifies_connections_even_if_no_clock_has_moved)
{
	struct one w = one_new(ECHOES, HOLDERS);

	call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 10);
	provider_stall(w.p, true);
	struct call *k = post(w.r, CONTROL, "/thaw");
	ck_assert(says(k->data.p, "\"announced\":false,\"was_frozen\":false,\"stood_ms\":0"));
	rig_advance(w.r, 600);
	ck_assert_uint_eq(rig_stat(w.r, STAT_THAW_CONNS), 1);
	post(w.r, CONTROL, "/thaw");
	provider_stall(w.p, false);
	rig_advance(w.r, 2000);
	struct call *c = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 200);
	ck_assert(call_ok(c));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_freeze_that_comes_and_is_not_said_to_be_over_is_seen)
{
	struct one w = one_new(HOLDS, HOLDERS);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 2S\n");

	rig_advance(w.r, 500);
	post(w.r, CONTROL, "/freeze");
	stop_for(w.r, 60 * SEC);
	ck_assert(!w.r->loop->frozen);
	rig_advance(w.r, 1400);
	ck_assert_uint_eq(c->ends, 0);
	rig_advance(w.r, 200);
	ck_assert_uint_eq(c->ends, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_freeze_that_never_comes_is_given_up)
{
	struct one w = one_new(HOLDS, HOLDERS);
	struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 2S\n");

	rig_advance(w.r, 500);
	post(w.r, CONTROL, "/freeze");
	rig_advance(w.r, 29000);
	ck_assert(w.r->loop->frozen);
	ck_assert_uint_eq(c->ends, 0);
	rig_advance(w.r, 3000);
	ck_assert(!w.r->loop->frozen);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_int_eq(c->grpc, GRPC_DEADLINE_EXCEEDED);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_read_only_door_freezes_nothing)
{
	struct one w = one_new(ECHOES, HOLDERS);

	ck_assert_int_ne(post(w.r, "127.0.0.1:15020", "/freeze")->status, 200);
	ck_assert_int_ne(post(w.r, "127.0.0.1:15020", "/thaw")->status, 200);
	ck_assert(!w.r->loop->frozen);
	ck_assert_uint_eq(rig_stat(w.r, STAT_FREEZES) + rig_stat(w.r, STAT_THAWS), 0);
	struct caller *a = caller_new(w.r, CONTROL);
	struct call *k = call_plain(a, "GET", "thinmesh", "/freeze", NULL, true);
	rig_settle(w.r);
	ck_assert_int_eq(k->status, 405);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_daemon_that_ends_is_not_frozen)
{
	struct one w = one_new(ECHOES, HOLDERS);

	post(w.r, CONTROL, "/freeze");
	sidecar_stop(w.r->sc);
	ck_assert(!w.r->loop->frozen);
	rig_advance(w.r, 100);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("frozen", a_deadline_is_extended_by_the_time_that_was_lost, what_is_left_is_what_the_provider_is_told_when_the_call_was_not_sent_yet,
	a_provider_that_saw_the_deadline_pass_is_believed, a_call_that_waits_for_its_name_keeps_its_time, a_peer_that_was_frozen_with_us_is_not_late,
	an_idle_connection_is_asked_before_it_carries_a_call_and_one_that_lives_stays, one_that_answers_no_ping_is_given_up_and_the_call_moves,
	streams_of_a_connection_that_is_slow_to_answer_go_on, calls_after_the_thaw_find_the_new_providers_where_the_old_ones_refuse,
	calls_after_the_thaw_find_the_new_providers_where_the_old_ones_swallow, calls_after_the_thaw_find_the_new_providers_that_are_told_at_once,
	names_are_asked_of_dns_again_at_the_thaw, a_call_that_finds_nobody_fails_when_its_time_to_wait_is_over, a_service_that_comes_back_at_its_address_is_found,
	no_check_fails_for_a_standstill, the_control_plane_is_asked_at_once, a_freeze_that_is_announced_begins_nothing_and_extends_deadlines,
	a_thaw_verifies_connections_even_if_no_clock_has_moved, a_freeze_that_comes_and_is_not_said_to_be_over_is_seen, a_freeze_that_never_comes_is_given_up,
	the_read_only_door_freezes_nothing, a_daemon_that_ends_is_not_frozen)
