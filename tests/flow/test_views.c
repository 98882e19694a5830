/* Several apps, several nodes: whose stream is whose, what they share; a configuration that is read again under calls; what people are shown of all this. */
#include "tests/unit.h"

#include <stdio.h>

#include "sidecar/cli_json.h"
#include "tests/flow/rig_world.h"

#define OTHER_PLANE "10.9.9.8:15010"
#define TWO_APPS(more) \
	"apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]" more "}\n  - {name: cart, namespace: other, listen: [{unix: /run/cart.sock}]}\n" \
	"snapshot: {dir: \"\"}\ncontrol: {unix: /run/control.sock}\n"
#define CART "unix:/run/cart.sock"

/* ---- whose stream ---- */

START_TEST(each_node_has_a_stream_and_answers_of_its_own)
{
	struct world w = world_new(PLANE_ISTIO, TWO_APPS("") "xds: {server: \"" PLANE "\"}\n");
	struct caller *cart = caller_new(w.r, CART);
	struct sb b = {0};
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	plane_cluster(w.p, "outbound|50051|v2|" HOST, "10.0.0.2:1");
	ck_assert_uint_eq(plane_open(w.p), 2);
	k = call_unary(cart, DEMO, NULL);
	rig_advance(w.r, 50);
	ck_assert(call_ok(k) && w.one->requests == 1);
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(w.one->requests, 2);
	ck_assert_uint_eq(w.one->accepted, 1); /* one connection for both */
	const char *ids[2] = {"", ""};
	for (uint32_t i = 0; i < plane_count(w.p, PLANE_ANY); i++) {
		struct plane_request *q = plane_request(w.p, PLANE_ANY, i);

		if (q->has_node)
			ids[q->stream->number - 1] = q->node_id;
	}
	ck_assert_msg(says(ids[0], "shop.default~default.svc"), "'%s'", ids[0]);
	ck_assert_msg(says(ids[1], "cart.other~other.svc"), "'%s'", ids[1]);
	/* The newest stream alone is told another route: it is the second app's. */
	make_routes(&b, DEMO, "*", "outbound|50051|v2|" HOST);
	plane_say_bytes(w.p, plane_type_url[XDS_RDS], DEMO, b.p, b.n);
	sb_end(&b);
	rig_advance(w.r, 50);
	k = call_unary(cart, DEMO, NULL);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(k) && w.two->requests == 1, "'%s'", call_text(k));
	ck_assert(call_ok(world_call(&w, DEMO)));
	ck_assert_uint_eq(w.one->requests, 3);
	rig_free(&w.r);
}
END_TEST

#define SAME "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n  - {name: cart, listen: [{unix: /run/cart.sock}]}\n" \
	"snapshot: {dir: \"\"}\ncontrol: {unix: /run/control.sock}\n"

START_TEST(apps_of_one_node_share_its_stream_and_what_it_said)
{
	struct world w = world_new(PLANE_ISTIO, SAME "xds: {server: \"" PLANE "\", node: {id: \"sidecar~10.0.0.7~pod.default~default.svc.cluster.local\", cluster: pod}}\n");
	struct caller *cart = caller_new(w.r, CART);
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	ck_assert(call_ok(world_call(&w, DEMO)));
	w.p->quirks.mute = true;
	k = call_unary(cart, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	ck_assert_uint_eq(w.p->nstreams, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(behind_an_agent_there_is_one_stream_in_all)
{
	struct world w = {.r = rig_bare(7)};
	struct caller *cart;
	struct call *k;

	w.p = rig_plane(w.r, "unix:/run/agent.sock", PLANE_ISTIO);
	w.one = provider_new(w.r, "10.0.0.1:1", ANSWERS);
	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	world_start(&w, TWO_APPS("") "xds: {server: \"unix:/run/agent.sock\"}\n");
	cart = caller_new(w.r, CART);
	ck_assert(call_ok(world_call(&w, DEMO)));
	k = call_unary(cart, DEMO, NULL);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	ck_assert_uint_eq(w.p->nstreams, 1);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

/* ---- SIGHUP ---- */

struct ways { struct call *running, *parked; };

/* A call that runs and one whose name nobody has answered. */
static struct ways ways(struct world *w)
{
	struct ways c;

	w->one->act.does = ECHOES;
	c.running = call_begin(w->app, DEMO, PATH, NULL, false);
	rig_advance(w->r, 50);
	ck_assert_uint_eq(w->one->requests, 1);
	w->one->act.does = ANSWERS;
	w->p->quirks.mute = true;
	c.parked = call_unary(w->app, "late:50051", NULL);
	rig_advance(w->r, 50);
	ck_assert_int_eq(c.parked->ends, 0);
	return c;
}

static void running_goes_on(struct world *w, struct ways *c)
{
	call_data(c->running, "still", 5, true);
	rig_advance(w->r, 50);
	ck_assert_msg(call_ok(c->running) && c->running->data.n == 5, "%d '%s'", c->running->grpc, call_text(c->running));
}

START_TEST(a_control_plane_that_is_added_answers_from_then_on)
{
	struct world w = world_new(PLANE_ISTIO, APPS);
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	k = world_call(&w, DEMO);
	ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(another_control_plane_takes_over_parked_calls_and_running_ones_go_on)
{
	struct world w = world_istio(XDS(", removal_hold: 0s"));
	struct plane *next = rig_plane(w.r, OTHER_PLANE, PLANE_ISTIO);
	struct ways c = ways(&w);
	struct call *k;

	plane_service(next, HOST, 50051, "10.0.0.2:1");
	plane_service(next, "late.default.svc.cluster.local", 50051, "10.0.0.2:1");
	ck_assert_int_eq(rig_reload(w.r, APPS "xds: {server: \"" OTHER_PLANE "\", removal_hold: 0s}\n"), 0);
	rig_advance(w.r, 100);
	ck_assert_msg(call_ok(c.parked), "%d '%s'", c.parked->grpc, call_text(c.parked));
	ck_assert_uint_eq(w.two->requests, 1);
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k) && w.two->requests == 2, "%d '%s'", k->grpc, call_text(k));
	running_goes_on(&w, &c);
	rig_advance(w.r, 5000);
	ck_assert_uint_eq(plane_open(w.p), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_control_plane_that_is_taken_away_leaves_no_call_behind)
{
	struct world w = world_istio(XDS(""));
	struct ways c = ways(&w);
	struct call *k;

	ck_assert_int_eq(rig_reload(w.r, APPS), 0);
	rig_advance(w.r, 100);
	ck_assert_msg(c.parked->ends == 1 && c.parked->grpc == GRPC_UNIMPLEMENTED, "%u %d '%s'", c.parked->ends, c.parked->grpc, call_text(c.parked));
	k = world_call(&w, DEMO);
	ck_assert_int_eq(k->grpc, GRPC_UNIMPLEMENTED);
	running_goes_on(&w, &c);
	ck_assert_uint_eq(plane_open(w.p), 0);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0); /* and comes back */
	w.p->quirks.mute = false;
	k = world_call(&w, DEMO);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	rig_free(&w.r);
}
END_TEST

START_TEST(what_is_the_same_is_not_asked_again)
{
	struct world w = world_istio(XDS(""));
	struct ways c = ways(&w);

	w.p->quirks.mute = false;
	uint32_t asked = plane_count(w.p, PLANE_ANY);
	ck_assert_int_eq(rig_reload(w.r, XDS("") "log: {level: debug}\n"), 0);
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(w.p->nstreams, 1);
	ck_assert_uint_eq(plane_count(w.p, PLANE_ANY), asked);
	w.p->quirks.mute = true;
	ck_assert(call_ok(world_call(&w, DEMO)));
	running_goes_on(&w, &c);
	rig_free(&w.r);
}
END_TEST

START_TEST(reloads_without_end_under_calls_lose_none_that_has_a_provider)
{
	static const char *const yaml[] = {XDS(""), XDS(", idle: 5m"), XDS(", protocol: sotw"), XDS(", profile: istio-grpc"), XDS(", cds: off")};
	struct world w = world_istio(XDS(""));

	for (int i = 0; i < 100; i++) {
		struct call *k[8];

		ck_assert_int_eq(rig_reload(w.r, yaml[i % 5]), 0);
		for (int n = 0; n < 8; n++) {
			k[n] = call_unary(w.app, DEMO, NULL);
			rig_advance(w.r, (uint64_t)((i * 7 + n) % 5));
		}
		rig_advance(w.r, 20);
		for (int n = 0; n < 8; n++)
			ck_assert_msg(call_ok(k[n]), "%d.%d: %u %d '%s'", i, n, k[n]->ends, k[n]->grpc, call_text(k[n]));
	}
	rig_advance(w.r, 5000);
	ck_assert_uint_eq(plane_open(w.p), 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_view_ends_with_the_last_of_its_apps_and_their_last_call)
{
	struct world w = world_new(PLANE_ISTIO, TWO_APPS("") "xds: {server: \"" PLANE "\"}\n");
	struct caller *cart = caller_new(w.r, CART);
	struct call *k;

	plane_service(w.p, HOST, 50051, "10.0.0.1:1");
	w.one->act.does = ECHOES;
	k = call_begin(cart, DEMO, PATH, NULL, false);
	rig_advance(w.r, 50);
	ck_assert_uint_eq(plane_open(w.p), 2);
	ck_assert_int_eq(rig_reload(w.r, XDS("")), 0);
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(plane_open(w.p), 2); /* its call runs */
	call_data(k, "still", 5, true);
	rig_advance(w.r, 50);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	caller_close(cart);
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(plane_open(w.p), 1);
	ck_assert(!says(world_page(&w, "/status"), "\"view\":\"cart\""));
	w.one->act.does = ANSWERS;
	ck_assert(call_ok(world_call(&w, DEMO)));
	rig_free(&w.r);
}
END_TEST

/* ---- for people ---- */

static bool is_json(const char *text)
{
	struct json r = json_of(str_of(text));

	json_skip(&r);
	while (r.p < r.end && (*r.p == '\n' || *r.p == ' '))
		r.p++;
	return !r.bad && r.p == r.end;
}

START_TEST(the_dump_is_json_whatever_the_control_plane_calls_things)
{
	static const char evil[] = "outbound|1|\"},{\\|\n\t\x01";
	struct world w = world_istio(XDS(""));
	struct sb b = {0};
	const char *page;

	ck_assert_msg(is_json(world_page(&w, "/config_dump")), "%s", world_page(&w, "/config_dump"));
	plane_cluster(w.p, evil, "10.0.0.1:1*7!healthy@zone\"a 10.0.0.2:1!draining");
	make_routes(&b, DEMO, "*", evil);
	world_put(&w, XDS_RDS, DEMO, &b);
	ck_assert(call_ok(world_call(&w, DEMO)));
	world_call(&w, "nobody:1");
	plane_endpoints(w.p, "nobody.default.svc.cluster.local", 1, "nowhere");
	rig_advance(w.r, 50);
	page = world_page(&w, "/config_dump");
	ck_assert_msg(is_json(page), "%s", page);
	static const char *const parts[] = {"\"view\":\"shop\"", "\"server\":\"" PLANE "\"", "\"state\":\"connected\"", "{\"name\":\"" DEMO "\",\"state\":\"present\"",
		"{\"name\":\"nobody.default.svc.cluster.local:1\",\"state\":\"absent\"", "\"address\":\"10.0.0.1:1\",\"weight\":7", "\"health\":\"draining\"",
		"\"zone\":\"zone\\\"a\"", "\"type\":\"EDS\"", "\"endpoint_count\":2", "\\\"},{\\\\|"};
	for (size_t i = 0; i < UNIT_COUNT(parts); i++)
		ck_assert_msg(says(page, parts[i]), "%s is not in %s", parts[i], page);
	rig_free(&w.r);
}
END_TEST

START_TEST(status_and_metrics_tell_of_the_stream)
{
	struct world w = world_istio(XDS(""));
	const char *page;

	world_call(&w, DEMO);
	world_call(&w, "nobody:1");
	page = world_page(&w, "/status");
	ck_assert_msg(is_json(page), "%s", page);
	ck_assert_msg(says(page, "\"names\":2,\"names_unknown\":0,\"names_absent\":1"), "%s", page);
	ck_assert_msg(says(page, "\"up\":true"), "%s", page);
	page = world_page(&w, "/stats");
	static const char *const rows[] = {"thinmesh_control_plane_connected_state{view=\"shop\"} 1\n", "thinmesh_xds_names{view=\"shop\"} 2\n",
		"thinmesh_xds_names_absent{view=\"shop\"} 1\n", "thinmesh_xds_update_success_total{view=\"shop\",type=\"RDS\"} ", "thinmesh_control_plane_connects_total{view=\"shop\"} 1\n"};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(says(page, rows[i]), "%s is not in %s", rows[i], page);
	plane_kill(w.p);
	rig_advance(w.r, 10000);
	page = world_page(&w, "/stats");
	ck_assert_msg(says(page, "thinmesh_control_plane_connected_state{view=\"shop\"} 0\n"), "%s", page);
	ck_assert(!says(page, "thinmesh_xds_update_failure_total{view=\"shop\"} 0\n"));
	page = world_page(&w, "/status");
	ck_assert_msg(says(page, "\"up\":false") && !says(page, "\"last_error\":\"\""), "%s", page);
	rig_free(&w.r);
}
END_TEST

START_TEST(calls_that_wait_for_a_name_are_seen)
{
	struct world w = world_istio(XDS(""));

	w.p->quirks.slow_ms = 100;
	for (int i = 0; i < 3; i++)
		call_unary(w.app, DEMO, NULL);
	rig_advance(w.r, 20);
	ck_assert(says(world_page(&w, "/status"), "\"calls_active\":3,\"calls_parked\":3"));
	ck_assert(says(world_page(&w, "/status"), "\"names\":1,\"names_unknown\":1"));
	rig_advance(w.r, 400);
	ck_assert(says(world_page(&w, "/status"), "\"calls_active\":0,\"calls_parked\":0"));
	rig_free(&w.r);
}
END_TEST

START_TEST(a_profile_that_has_met_no_real_server_says_so)
{
	struct world w = world_new(PLANE_CONSUL, XDS(", profile: consul"));

	ck_assert(says(world_page(&w, "/status"), "\"profile\":\"consul\",\"experimental\":true"));
	rig_free(&w.r);
	w = world_istio(XDS(""));
	ck_assert(says(world_page(&w, "/status"), "\"profile\":\"istio\",\"experimental\":false"));
	rig_free(&w.r);
}
END_TEST

UNIT_SUITE("views", each_node_has_a_stream_and_answers_of_its_own, apps_of_one_node_share_its_stream_and_what_it_said, behind_an_agent_there_is_one_stream_in_all,
	a_control_plane_that_is_added_answers_from_then_on, another_control_plane_takes_over_parked_calls_and_running_ones_go_on,
	a_control_plane_that_is_taken_away_leaves_no_call_behind, what_is_the_same_is_not_asked_again, reloads_without_end_under_calls_lose_none_that_has_a_provider,
	a_view_ends_with_the_last_of_its_apps_and_their_last_call, the_dump_is_json_whatever_the_control_plane_calls_things, status_and_metrics_tell_of_the_stream,
	calls_that_wait_for_a_name_are_seen, a_profile_that_has_met_no_real_server_says_so)
