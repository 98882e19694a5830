/* What istiod does beside its protocol (reference istio.md 1.3, 1.8), seen by the app: nothing. */
#include "tests/unit.h"

#include <stdio.h>

#include "tests/flow/rig_world.h"

static const char *const forms[] = {XDS(", protocol: sotw"), XDS(", protocol: delta"), XDS(", profile: istio-grpc")};

static void service_name(char out[64], int i)
{
	snprintf(out, 64, "svc%d.default.svc.cluster.local", i);
}

static void services(struct world *w, int n)
{
	char name[64];

	for (int i = 0; i < n; i++) {
		service_name(name, i);
		plane_service(w->p, name, 50051, i % 2 ? "10.0.0.2:1" : "10.0.0.1:1");
	}
	rig_advance(w->r, 100);
}

static struct call *call_service(struct world *w, int i)
{
	char authority[64];

	snprintf(authority, sizeof authority, "svc%d:50051", i);
	return call_unary(w->app, authority, NULL);
}

START_TEST(names_asked_between_pushes_are_not_lost_with_a_stale_nonce)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_istio(forms[f]);
		struct call *k[24];

		services(&w, 24);
		ck_assert(call_ok(world_call(&w, DEMO)));
		w.p->quirks.slow_ms = 15; /* each answer crosses requests, and each request that answers an older one is dropped with its names */
		for (int i = 0; i < 24; i++) {
			k[i] = call_service(&w, i);
			plane_service(w.p, HOST, 50051, i % 2 ? "10.0.0.2:1" : "10.0.0.1:1");
			rig_advance(w.r, 7);
		}
		rig_advance(w.r, 1000);
		for (int i = 0; i < 24; i++)
			ck_assert_msg(call_ok(k[i]), "form %zu, %d: %u %d '%s'", f, i, k[i]->ends, k[i]->grpc, call_text(k[i]));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(an_answer_with_some_names_takes_none_of_the_others_away)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_istio(forms[f]);

		services(&w, 8);
		for (int i = 0; i < 8; i++) {
			struct call *k = call_service(&w, i);

			rig_advance(w.r, 50);
			ck_assert_msg(call_ok(k), "form %zu, %d: '%s'", f, i, call_text(k));
			for (int j = 0; j <= i; j++) {
				k = call_service(&w, j);
				rig_settle(w.r); /* known: nothing is waited for */
				ck_assert_msg(call_ok(k), "form %zu, %d after %d: '%s'", f, j, i, call_text(k));
			}
		}
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_host_of_the_world_may_look_like_a_short_name)
{
	for (size_t f = 0; f < 2; f++) {
		struct world w = world_istio(forms[f]);
		struct call *k;

		plane_service(w.p, "example.com", 50051, "10.0.0.1:1");
		rig_advance(w.r, 100);
		k = world_call(&w, "example.com:50051");
		ck_assert_msg(call_ok(k), "form %zu: %d '%s'", f, k->grpc, call_text(k));
		plane_service(w.p, "other.default.svc.cluster.local", 50051, "10.0.0.1:1"); /* pushes all that is subscribed again */
		rig_advance(w.r, 100);
		k = world_call(&w, "example.com:50051");
		ck_assert_msg(call_ok(k), "form %zu: %d '%s'", f, k->grpc, call_text(k));
		/* The mesh's own comes: it counts from then on, and while both are asked no push finds neither. */
		plane_service(w.p, "example.com.svc.cluster.local", 50051, "10.0.0.2:1");
		rig_advance(w.r, 100);
		for (int i = 0; i < 10; i++) {
			plane_service(w.p, HOST, 50051, i % 2 ? "10.0.0.2:1" : "10.0.0.1:1");
			rig_advance(w.r, 10);
			k = world_call(&w, "example.com:50051");
			ck_assert_msg(call_ok(k), "form %zu, %d: %d '%s'", f, i, k->grpc, call_text(k));
		}
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(churn_elsewhere_publishes_nothing_and_costs_no_memory)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_istio(forms[f]);
		char name[64];

		services(&w, 4);
		ck_assert(call_ok(world_call(&w, DEMO)));
		service_name(name, 0);
		plane_service(w.p, name, 50051, "10.0.0.2:1");
		rig_advance(w.r, 100);
		uint64_t generation = mesh_generation(w.r->sc->mesh);
		uint32_t pushes = w.p->pushes;
		size_t memory = rig_memory(w.r);
		for (int i = 0; i < 200; i++) {
			service_name(name, i % 4);
			plane_route(w.p, name, 50051, i / 4 % 2 ? NULL : CLUSTER);
			rig_advance(w.r, 10);
		}
		ck_assert_uint_gt(w.p->pushes, pushes + 200);
		ck_assert_msg(mesh_generation(w.r->sc->mesh) == generation, "form %zu", f);
		ck_assert_msg(rig_memory(w.r) <= memory + 4096, "form %zu: %zu more", f, rig_memory(w.r) - memory);
		ck_assert_uint_eq(w.p->nacks, 0);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_control_plane_that_admits_nobody_for_a_while_is_asked_again)
{
	struct world w = world_bare(PLANE_ISTIO);
	struct call *k;

	w.p->quirks.refuse = GRPC_RESOURCE_EXHAUSTED;
	w.p->quirks.refuse_text = "request rate limit exceeded";
	w.p->quirks.refusals = 2;
	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	world_start(&w, XDS(""));
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 4900);
	ck_assert_msg(call_ok(k), "%u %d '%s'", k->ends, k->grpc, call_text(k));
	/* For good: who waits is told who said what. */
	w.p->quirks.refuse = GRPC_RESOURCE_EXHAUSTED;
	w.p->quirks.refusals = 0;
	plane_end_streams(w.p, GRPC_RESOURCE_EXHAUSTED, "request rate limit exceeded");
	rig_advance(w.r, 20000);
	k = call_unary(w.app, "late:50051", NULL);
	rig_advance(w.r, 5100);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "request rate limit exceeded"), "%d '%s'", k->grpc, call_text(k));
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_free(&w.r);
}
END_TEST

START_TEST(connections_that_end_by_age_are_not_seen_by_calls_and_miss_no_change)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_bare(PLANE_ISTIO);

		w.p->quirks.max_age_ms = 3000;
		w.p->quirks.grace_ms = 200;
		plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		world_start(&w, forms[f]);
		ck_assert(call_ok(world_call(&w, DEMO)));
		for (int i = 0; i < 60; i++) {
			bool second = i & 1;

			plane_endpoints(w.p, HOST, 50051, second ? "10.0.0.2:1 10.0.0.1:1!draining" : "10.0.0.1:1 10.0.0.2:1!draining");
			rig_advance(w.r, 330);
			uint32_t before = (second ? w.two : w.one)->requests;
			struct call *k = world_call(&w, DEMO);
			ck_assert_msg(call_ok(k), "form %zu, %d: %d '%s'", f, i, k->grpc, call_text(k));
			ck_assert_msg((second ? w.two : w.one)->requests == before + 1, "form %zu, %d: an old set", f, i);
		}
		ck_assert_uint_gt(w.p->nstreams, 4);
		ck_assert_uint_eq(plane_open(w.p), 1);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_stream_that_ends_well_is_opened_again_and_all_is_asked_for)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_istio(forms[f]);

		services(&w, 3);
		ck_assert(call_ok(world_call(&w, DEMO)));
		call_service(&w, 1);
		rig_advance(w.r, 50);
		plane_end_streams(w.p, 0, "");
		rig_advance(w.r, 2000);
		ck_assert_uint_eq(plane_open(w.p), 1);
		plane_endpoints(w.p, HOST, 50051, "10.0.0.2:1 10.0.0.1:1!draining");
		rig_advance(w.r, 50);
		uint32_t two = w.two->requests;
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_msg(w.two->requests == two + 1, "form %zu: nothing is followed any more", f);
		ck_assert(plane_asks(w.p, XDS_EDS, "outbound|50051||svc1.default.svc.cluster.local"));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_subset_that_no_route_names_any_more_is_not_watched)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++) {
		struct world w = world_istio(forms[f]);
		static const char subset[] = "outbound|50051|v1|" HOST;

		plane_cluster(w.p, subset, "10.0.0.2:1");
		plane_route(w.p, HOST, 50051, subset);
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_uint_eq(w.two->requests, 1);
		ck_assert(plane_asks(w.p, XDS_EDS, subset));
		plane_route(w.p, HOST, 50051, NULL);
		rig_advance(w.r, 100);
		ck_assert(call_ok(world_call(&w, DEMO)));
		ck_assert_uint_eq(w.one->requests, 1);
		/* In EDS it would become all endpoints of the service from now on (istio.md 1.8.6). */
		ck_assert_msg(!plane_asks(w.p, XDS_EDS, subset), "form %zu", f);
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(an_answer_of_a_type_that_nobody_asked_for_is_let_pass)
{
	for (size_t f = 0; f < 2; f++) {
		struct world w = world_istio(forms[f]);

		ck_assert(call_ok(world_call(&w, DEMO)));
		uint32_t said = plane_count(w.p, PLANE_ANY);
		plane_say_bytes(w.p, "type.googleapis.com/istio.networking.nds.v1.NameTable", "x", "abc", 3);
		plane_say_bytes(w.p, plane_type_url[XDS_LDS], "x", "abc", 3);
		rig_advance(w.r, 1000);
		ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), said); /* neither ACK nor NACK: each would subscribe */
		ck_assert_uint_eq(plane_open(w.p), 1);
		ck_assert(call_ok(world_call(&w, DEMO)));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_server_without_the_incremental_protocol_is_spoken_to_in_the_other)
{
	struct world w = world_bare(PLANE_ISTIO);
	struct call *k;

	w.p->quirks.no_delta = true;
	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	world_start(&w, XDS(""));
	k = call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 2000);
	ck_assert_msg(call_ok(k), "%u %d '%s'", k->ends, k->grpc, call_text(k));
	ck_assert(says(world_page(&w, "/status"), "\"protocol\":\"sotw\""));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_service_that_is_created_after_its_refusal_is_never_half_there)
{
	for (size_t f = 0; f < UNIT_COUNT(forms); f++)
		for (uint32_t slow = 0; slow < 3; slow++) {
			struct world w = world_istio(forms[f]);
			struct call *k[100];
			uint32_t served = 0;

			w.p->quirks.slow_ms = slow * 7;
			ck_assert(call_ok(world_call(&w, DEMO))); /* all clusters are known */
			call_service(&w, 0);
			rig_advance(w.r, 200);
			services(&w, 0);
			plane_service(w.p, "svc0.default.svc.cluster.local", 50051, "10.0.0.2:1");
			for (int i = 0; i < 100; i++) {
				k[i] = call_service(&w, 0);
				rig_advance(w.r, 2);
			}
			rig_advance(w.r, 100);
			for (int i = 0; i < 100; i++) {
				/* Not yet is "does not exist", at once; there is nothing between that and an answer. */
				ck_assert_msg(call_ok(k[i]) || (k[i]->grpc == GRPC_UNIMPLEMENTED && !served), "form %zu, slow %u, %d: %u %d '%s'", f, slow, i, k[i]->ends, k[i]->grpc, call_text(k[i]));
				served += call_ok(k[i]);
			}
			ck_assert_uint_gt(served, 50);
			rig_free(&w.r);
		}
}
END_TEST

START_TEST(names_that_come_and_go_leave_nothing_behind)
{
	static const char *const yaml[] = {XDS(", idle: 5s, protocol: sotw"), XDS(", idle: 5s, protocol: delta"), XDS(", idle: 5s, profile: istio-grpc")};

	for (size_t f = 0; f < UNIT_COUNT(yaml); f++) {
		struct world w = world_istio(yaml[f]);
		size_t memory[4];

		services(&w, 60);
		for (int round = 0; round < 4; round++) {
			for (int i = 0; i < 60; i++) {
				struct call *k = call_service(&w, i);

				rig_advance(w.r, 10);
				ck_assert_msg(call_ok(k), "form %zu, %d.%d: '%s'", f, round, i, call_text(k));
			}
			rig_advance(w.r, 60000);
			for (int t = 0; t < XDS_TYPES; t++)
				ck_assert_msg(t == XDS_CDS || plane_stream(w.p)->watch[t].names.n <= 1, "form %zu: %u of %s", f, plane_stream(w.p)->watch[t].names.n, xds_type_name[t]);
			memory[round] = rig_memory(w.r);
		}
		ck_assert_msg(memory[3] <= memory[1] + 1024, "form %zu: %zu, %zu, %zu, %zu", f, memory[0], memory[1], memory[2], memory[3]);
		ck_assert(says(world_page(&w, "/status"), "\"names\":0,"));
		rig_free(&w.r);
	}
}
END_TEST

START_TEST(a_control_plane_that_cannot_make_up_its_mind_fills_no_log)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));
	struct said log;
	uint32_t ok = 0;

	said_begin(&log, w.r);
	ck_assert(call_ok(world_call(&w, DEMO)));
	for (int i = 0; i < 600; i++) {
		if (i % 3 == 0)
			plane_endpoints(w.p, HOST, 50051, "nowhere");
		else if (i % 3 == 1)
			plane_service_gone(w.p, HOST, 50051);
		else
			plane_service(w.p, HOST, 50051, "10.0.0.1:1");
		rig_advance(w.r, 10);
		if (i % 3 == 2)
			ok += call_ok(world_call(&w, DEMO));
	}
	ck_assert_uint_eq(ok, 200);
	ck_assert_uint_gt(said_count(&log, "is refused"), 0);
	ck_assert_uint_gt(said_count(&log, "is gone"), 0);
	ck_assert_msg(said_count(&log, "\n") < 250, "%u lines in %u s", said_count(&log, "\n"), 600 * 10 / 1000 + 10);
	said_end(&log, w.r);
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("quirks", a_control_plane_that_cannot_make_up_its_mind_fills_no_log, names_that_come_and_go_leave_nothing_behind, names_asked_between_pushes_are_not_lost_with_a_stale_nonce, an_answer_with_some_names_takes_none_of_the_others_away,
	a_host_of_the_world_may_look_like_a_short_name, churn_elsewhere_publishes_nothing_and_costs_no_memory,
	a_control_plane_that_admits_nobody_for_a_while_is_asked_again, connections_that_end_by_age_are_not_seen_by_calls_and_miss_no_change,
	a_stream_that_ends_well_is_opened_again_and_all_is_asked_for, a_subset_that_no_route_names_any_more_is_not_watched,
	an_answer_of_a_type_that_nobody_asked_for_is_let_pass, a_server_without_the_incremental_protocol_is_spoken_to_in_the_other,
	a_service_that_is_created_after_its_refusal_is_never_half_there)
