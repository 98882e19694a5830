/* conf/declare_health, conf/declare_check: what inbound, health and outlier of a configuration mean, and how a person is told what is wrong with them. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/conf.h"

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define APP "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"
#define SERVICE(more) APP "services: [{name: a, endpoints: ['10.0.0.1:1'], " more "}]\n"
#define CHECK(more) SERVICE("health: {" more "}")
#define OWN(more) APP "    health: {check: {" more "}}\n"

static const char *no_env(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return NULL;
}

static struct conf *loaded(const char *text)
{
	struct err e = ERR_INIT;
	struct conf *c = conf_load_text("f.yaml", text, no_env, NULL, &e);

	ck_assert_msg(c != NULL, "%s\n%s", text, err_str(&e));
	return c;
}

/* The one check of the one service; the conf is the caller's. */
static const struct health_check *check_of(struct conf *c)
{
	ck_assert_uint_eq(c->nservices, 1);
	ck_assert_uint_eq(c->services[0].spec->nchecks, 1);
	return &c->services[0].spec->checks[0];
}

/* ---- the app ------------------------------------------------------------------------------------------------------------ */

START_TEST(the_example_of_the_product_is_read)
{
	struct conf *c = loaded(APP "    inbound: [{tcp: 0.0.0.0:20880, to: \"unix:/run/shop/server.sock\"}]\n"
				    "    health: {listen: [{tcp: 0.0.0.0:15021}], check: {grpc: 127.0.0.1:20880, period: 10s}, allow: {uid: [1000, 0], gid: [7]}, gone_after: 3s, watch: false,\n      services: [demo.Greeter, red/org.x.Own:1.0.0], needs: {demo: 50, 'Other.:80': 0},\n"
				    "      passthrough: true, posts: 5}\n"
				    "services: [{name: demo:1, endpoints: [], health: {grpc: {}, interval: 5s}}]\n");
	const struct conf_app *a = &c->apps[0];
	const struct conf_inbound *in = &a->inbound[0];
	struct endpoint e;

	ck_assert_uint_eq(a->ninbound, 1);
	ck_assert(!in->is_unix && addr_port(&in->addr) == 20880);
	ck_assert_str_eq(in->text, "0.0.0.0:20880");
	ck_assert_str_eq(in->place, "f.yaml:4");
	ck_assert_str_eq(in->spec->name, "inbound|shop|0.0.0.0:20880");
	ck_assert_str_eq(in->action->cluster, "inbound|shop|0.0.0.0:20880");
	ck_assert_uint_ne(in->spec->hash, 0);
	ck_assert_uint_eq(in->action->retry.max, 0); /* one server: nobody else to try */
	ck_assert_uint_eq(endpoints_count(in->endpoints), 1);
	endpoint_get(in->endpoints, 0, &e);
	ck_assert(addr_is_unix(&e.addr));
	ck_assert_uint_eq(a->health.listens, 1);
	ck_assert_str_eq(a->health.listen[0].text, "0.0.0.0:15021");
	ck_assert_str_eq(a->health.listen[0].place, "f.yaml:5");
	ck_assert(!a->health.listen[0].is_unix && !a->health.listen[0].trusted);
	ck_assert_uint_eq(a->health.allow_uid.count, 2);
	ck_assert_uint_eq(a->health.allow_uid.ids[0], 1000);
	ck_assert_uint_eq(a->health.allow_gid.ids[0], 7);
	ck_assert_uint_eq(a->health.gone_after_ns, 3 * S);
	ck_assert(!a->health.watch && a->health.passthrough);
	ck_assert_uint_eq(a->health.posts, 5);
	ck_assert_uint_eq(a->health.nservices, 2);
	ck_assert_str_eq(a->health.services[1], "red/org.x.Own:1.0.0");
	ck_assert_uint_eq(a->health.nneeds, 2);
	ck_assert_str_eq(a->health.needs[0].name, "demo");
	ck_assert_uint_eq(a->health.needs[0].percent, 50);
	ck_assert_str_eq(a->health.needs[1].name, "other:80");
	ck_assert_int_eq(a->health.check->kind, CHECK_GRPC);
	ck_assert_str_eq(a->health.check->to, "127.0.0.1:20880");
	ck_assert(addr_eq(&a->health.check->to_addr, &e.addr)); /* the door is closed until the check passes: the server behind it is asked */
	ck_assert_uint_eq(a->health.check->interval_ns, 10 * S);
	ck_assert_int_eq(check_of(c)->kind, CHECK_GRPC);
	ck_assert_uint_eq(check_of(c)->interval_ns, 5 * S);
	conf_unref(&c);
}
END_TEST

START_TEST(an_app_begins_as_the_product_says)
{
	struct conf *c = loaded(APP);
	const struct conf_app_health *h = &c->apps[0].health;

	ck_assert(c->apps[0].ninbound == 0 && h->listens == 0 && !h->check && h->allow_uid.count == 0 && h->allow_gid.count == 0 && h->nservices == 0 && h->nneeds == 0);
	ck_assert_uint_eq(h->gone_after_ns, 0);
	ck_assert(h->watch && !h->passthrough);
	ck_assert_uint_eq(h->posts, 100);
	conf_unref(&c);
}
END_TEST

START_TEST(inbound_is_named_after_its_app_wherever_the_name_stands)
{
	struct conf *c = loaded("apps:\n  - inbound: [{unix: /run/in.sock, mode: '0600', to: 'app.local:80'}, {unix: '@in', to: '[::1]:80'}]\n"
				"    listen: [{unix: /run/shop.sock}]\n    name: shop\n");
	const struct conf_app *a = &c->apps[0];
	struct endpoint e;

	ck_assert_uint_eq(a->ninbound, 2);
	ck_assert(a->inbound[0].is_unix && a->inbound[0].mode == 0600);
	ck_assert_str_eq(a->inbound[0].spec->name, "inbound|shop|/run/in.sock");
	endpoint_get(a->inbound[0].endpoints, 0, &e);
	ck_assert_str_eq(e.host, "app.local");
	ck_assert_str_eq(a->inbound[1].spec->name, "inbound|shop|@in");
	conf_unref(&c);
}
END_TEST

START_TEST(an_app_is_asked_as_kubelet_asks)
{
	static const struct {
		const char *text;
		enum check_kind kind;
		const char *to, *path, *host, *service;
		bool is_unix;
	} rows[] = {
		{OWN("http: '127.0.0.1:8080/ready?x=1'"), CHECK_HTTP, "127.0.0.1:8080", "/ready?x=1", "127.0.0.1:8080", NULL, false},
		{OWN("http: '127.0.0.1:8080'"), CHECK_HTTP, "127.0.0.1:8080", "/", "127.0.0.1:8080", NULL, false},
		{OWN("http: 'http://[::1]:8080/ready'"), CHECK_HTTP, "[::1]:8080", "/ready", "[::1]:8080", NULL, false},
		{OWN("http: 'unix:/run/shop.http'"), CHECK_HTTP, "unix:/run/shop.http", "/", "localhost", NULL, true},
		{OWN("http: {address: '10.0.0.1:80'}"), CHECK_HTTP, "10.0.0.1:80", "/", "10.0.0.1:80", NULL, false},
		{OWN("http: {address: '10.0.0.1:80', path: /a, host: shop}"), CHECK_HTTP, "10.0.0.1:80", "/a", "shop", NULL, false},
		{OWN("grpc: '127.0.0.1:50051'"), CHECK_GRPC, "127.0.0.1:50051", "/", NULL, NULL, false},
		{OWN("grpc: {address: 'unix:/run/grpc.sock', service: greeter}"), CHECK_GRPC, "unix:/run/grpc.sock", "/", NULL, "greeter", true},
		{OWN("tcp: '127.0.0.1:3306'"), CHECK_TCP, "127.0.0.1:3306", "/", NULL, NULL, false},
		{OWN("unix: /run/shop.sock2"), CHECK_UNIX, "/run/shop.sock2", "/", NULL, NULL, true},
		{OWN("unix: 'unix:/run/shop.sock2'"), CHECK_UNIX, "/run/shop.sock2", "/", NULL, NULL, true},
		{OWN("unix: '@shop'"), CHECK_UNIX, "@shop", "/", NULL, NULL, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct conf *c = loaded(rows[i].text);
		const struct health_check *h = c->apps[0].health.check;

		ck_assert_int_eq(h->kind, rows[i].kind);
		ck_assert_str_eq(h->to, rows[i].to);
		ck_assert_str_eq(h->path, rows[i].path);
		ck_assert_pstr_eq(h->host, rows[i].host);
		ck_assert_pstr_eq(h->service, rows[i].service);
		ck_assert(h->to_addr.len && addr_is_unix(&h->to_addr) == rows[i].is_unix);
		ck_assert_uint_eq(h->interval_ns, 10 * S);
		ck_assert_uint_eq(h->timeout_ns, 1 * S);
		ck_assert_uint_eq(h->initial_delay_ns, 0);
		ck_assert_uint_eq(h->healthy_threshold, 1);
		ck_assert_uint_eq(h->unhealthy_threshold, 3);
		/* A period is a period, with calls or without, well or not. */
		ck_assert_uint_eq(h->no_traffic_interval_ns, 10 * S);
		ck_assert_uint_eq(h->no_traffic_healthy_interval_ns, 10 * S);
		ck_assert_uint_eq(h->unhealthy_interval_ns, 10 * S);
		ck_assert_uint_eq(h->unhealthy_edge_interval_ns, 10 * S);
		ck_assert_uint_eq(h->healthy_edge_interval_ns, 10 * S);
		if (h->kind == CHECK_HTTP)
			ck_assert(h->nexpected == 1 && h->expected[0].from == 200 && h->expected[0].to == 400);
		if (h->kind == CHECK_GRPC)
			ck_assert(h->unimplemented == UNIMPLEMENTED_FAILS && h->authority);
		conf_unref(&c);
	}
	struct conf *c = loaded(OWN("exec: [/bin/test, -e, ''], period: 50ms, timeout: 2s, initial_delay: 4s, success_threshold: 2, failure_threshold: 1"));
	const struct health_check *h = c->apps[0].health.check;
	ck_assert_int_eq(h->kind, CHECK_EXEC);
	ck_assert_uint_eq(h->nargv, 3);
	ck_assert_str_eq(h->argv[0], "/bin/test");
	ck_assert_str_eq(h->argv[2], "");
	ck_assert_ptr_null(h->argv[3]);
	ck_assert_uint_eq(h->interval_ns, 50 * MS);
	ck_assert_uint_eq(h->timeout_ns, 2 * S);
	ck_assert_uint_eq(h->initial_delay_ns, 4 * S);
	ck_assert_uint_eq(h->healthy_threshold, 2);
	ck_assert_uint_eq(h->unhealthy_threshold, 1);
	conf_unref(&c);
	c = loaded(OWN("http: {address: '10.0.0.1:80', expect: [204, '300-302']}"));
	h = c->apps[0].health.check;
	ck_assert(h->nexpected == 2 && h->expected[0].from == 204 && h->expected[0].to == 205 && h->expected[1].from == 300 && h->expected[1].to == 303);
	conf_unref(&c);
}
END_TEST

/* ---- services ----------------------------------------------------------------------------------------------------------- */

START_TEST(a_check_begins_as_its_rows_say)
{
	struct conf *c = loaded(CHECK("grpc: {}"));
	const struct health_check *h = check_of(c);

	ck_assert_int_eq(h->kind, CHECK_GRPC);
	ck_assert_uint_eq(h->timeout_ns, 1 * S);
	ck_assert_uint_eq(h->interval_ns, 5 * S);
	ck_assert_uint_eq(h->unhealthy_threshold, 2);
	ck_assert_uint_eq(h->healthy_threshold, 1);
	ck_assert_uint_eq(h->initial_jitter_ns + h->interval_jitter_ns + h->interval_jitter_percent, 0);
	ck_assert_uint_eq(h->no_traffic_interval_ns, 60 * S);
	ck_assert_uint_eq(h->no_traffic_healthy_interval_ns, 60 * S);
	ck_assert_uint_eq(h->unhealthy_interval_ns, 5 * S);
	ck_assert_uint_eq(h->unhealthy_edge_interval_ns, 5 * S);
	ck_assert_uint_eq(h->healthy_edge_interval_ns, 5 * S);
	ck_assert(!h->reuse_connection && !h->watch && !h->log_failures && !h->log_successes && !h->to && !h->authority && !h->service);
	ck_assert_int_eq(h->unimplemented, UNIMPLEMENTED_ALIVE);
	ck_assert_ptr_null(c->services[0].spec->outlier);
	conf_unref(&c);
	c = loaded(SERVICE("lb: random"));
	ck_assert_uint_eq(c->services[0].spec->nchecks, 0);
	conf_unref(&c);
}
END_TEST

START_TEST(every_word_of_a_check_lands_where_it_belongs)
{
	struct conf *c = loaded(CHECK("grpc: {service: greeter, authority: 'demo:1', metadata: {X-A: b, y: '1'}, unimplemented: connects}, timeout: 2s, interval: 3s, initial_jitter: 4s,\n"
				      "  interval_jitter: 5s, interval_jitter_percent: 6, unhealthy_threshold: 7, healthy_threshold: 8, reuse_connection: true, no_traffic_interval: 9s,\n"
				      "  no_traffic_healthy_interval: 10s, unhealthy_interval: 11s, unhealthy_edge_interval: 12s, healthy_edge_interval: 13s, log_failures: true,\n"
				      "  log_successes: true, watch: true"));
	const struct health_check *h = check_of(c);
	const uint64_t seen[] = {h->timeout_ns / S, h->interval_ns / S, h->initial_jitter_ns / S, h->interval_jitter_ns / S, h->interval_jitter_percent, h->unhealthy_threshold,
		h->healthy_threshold, h->no_traffic_interval_ns / S, h->no_traffic_healthy_interval_ns / S, h->unhealthy_interval_ns / S, h->unhealthy_edge_interval_ns / S,
		h->healthy_edge_interval_ns / S};

	for (size_t i = 0; i < UNIT_COUNT(seen); i++)
		ck_assert_uint_eq(seen[i], i + 2);
	ck_assert(h->reuse_connection && h->log_failures && h->log_successes && h->watch);
	ck_assert_str_eq(h->service, "greeter");
	ck_assert_str_eq(h->authority, "demo:1");
	ck_assert_int_eq(h->unimplemented, UNIMPLEMENTED_CONNECTS);
	ck_assert_uint_eq(h->nadd, 2);
	ck_assert_str_eq(h->add[0].name, "x-a");
	ck_assert_str_eq(h->add[0].value, "b");
	conf_unref(&c);

	c = loaded(CHECK("http: {path: /ready, host: shop, method: POST, http2: true, headers: {a: b}, remove_headers: [User-Agent], expect: [200, '201-299'], retriable: ['500-599'],\n"
			 "  send: 'hex:0001fF', receive: [ok, 'hex:0d0A'], response_buffer: 2KiB}"));
	h = check_of(c);
	ck_assert_int_eq(h->kind, CHECK_HTTP);
	ck_assert_str_eq(h->path, "/ready");
	ck_assert_str_eq(h->host, "shop");
	ck_assert_str_eq(h->method, "POST");
	ck_assert(h->http2 && h->nadd == 1 && h->nremove == 1);
	ck_assert_str_eq(h->remove[0], "user-agent");
	ck_assert(h->nexpected == 2 && h->expected[1].from == 201 && h->expected[1].to == 300 && h->nretriable == 1 && h->retriable[0].to == 600);
	ck_assert(h->send.n == 3 && memcmp(h->send.p, "\0\1\377", 3) == 0);
	ck_assert(h->nreceive == 2 && h->receive[0].n == 2 && memcmp(h->receive[1].p, "\r\n", 2) == 0);
	ck_assert_uint_eq(h->response_buffer, 2048);
	conf_unref(&c);

	c = loaded(CHECK("http: {response_buffer: 0}"));
	ck_assert_uint_eq(check_of(c)->response_buffer, CHECK_BYTES_MAX);
	ck_assert_str_eq(check_of(c)->method, "GET");
	conf_unref(&c);
	c = loaded(CHECK("tcp: {}"));
	ck_assert(check_of(c)->kind == CHECK_TCP && check_of(c)->send.n == 0 && check_of(c)->nreceive == 0);
	conf_unref(&c);
	c = loaded(CHECK("tcp: {send: PING, receive: PONG}"));
	ck_assert(check_of(c)->send.n == 4 && check_of(c)->nreceive == 1 && memcmp(check_of(c)->receive[0].p, "PONG", 4) == 0);
	conf_unref(&c);
}
END_TEST

START_TEST(every_word_of_outlier_detection_lands_where_it_belongs)
{
	struct conf *c = loaded(SERVICE("outlier: {consecutive_5xx: 1, enforcing_consecutive_5xx: 2, consecutive_gateway_failure: 3, enforcing_consecutive_gateway_failure: 4,\n"
					"  consecutive_local_origin_failure: 5, enforcing_consecutive_local_origin_failure: 6, interval: 7s, base_ejection_time: 8s, max_ejection_time: 9s,\n"
					"  max_ejection_time_jitter: 10s, max_ejection_percent: 11, enforcing_success_rate: 12, enforcing_local_origin_success_rate: 13, success_rate_minimum_hosts: 14,\n"
					"  success_rate_request_volume: 15, success_rate_stdev_factor: 16, failure_percentage_threshold: 17, enforcing_failure_percentage: 18,\n"
					"  enforcing_failure_percentage_local_origin: 19, failure_percentage_minimum_hosts: 20, failure_percentage_request_volume: 21,\n"
					"  split_external_local_origin_errors: true, always_eject_one_host: true, successful_active_health_check_uneject_host: false, detect_degraded_hosts: true}"));
	const struct outlier *o = c->services[0].spec->outlier;
	const uint64_t seen[] = {o->consecutive_5xx, o->enforcing_consecutive_5xx, o->consecutive_gateway, o->enforcing_consecutive_gateway, o->consecutive_local_origin,
		o->enforcing_consecutive_local_origin, o->interval_ns / S, o->base_ejection_ns / S, o->max_ejection_ns / S, o->max_ejection_jitter_ns / S, o->max_ejection_percent,
		o->enforcing_success_rate, o->enforcing_local_success_rate, o->success_rate_hosts, o->success_rate_volume, o->success_rate_stdev_factor, o->failure_percentage,
		o->enforcing_failure_percentage, o->enforcing_local_failure_percentage, o->failure_percentage_hosts, o->failure_percentage_volume};
	struct outlier plain;

	for (size_t i = 0; i < UNIT_COUNT(seen); i++)
		ck_assert_uint_eq(seen[i], i + 1);
	ck_assert(o->split_local_origin && o->always_eject_one && !o->uneject_on_check && o->detect_degraded);
	conf_unref(&c);
	/* The rows' defaults are those of the struct: the two are written in two places. */
	outlier_default(&plain);
	c = loaded(SERVICE("outlier: {}"));
	ck_assert_uint_eq(outlier_hash(c->services[0].spec->outlier), outlier_hash(&plain));
	conf_unref(&c);
	c = loaded(SERVICE("outlier: {base_ejection_time: 10m}"));
	ck_assert_uint_eq(c->services[0].spec->outlier->max_ejection_ns, 600 * S);
	conf_unref(&c);
}
END_TEST

START_TEST(a_change_of_any_key_is_another_app_or_service)
{
	static const char *const texts[] = {
		APP "services: [{name: a, endpoints: ['10.0.0.1:1']}]\n",
		APP "    inbound: [{tcp: 0.0.0.0:1, to: 'a:1'}]\n",
		APP "    inbound: [{tcp: 0.0.0.0:1, to: 'a:2'}]\n",
		APP "    inbound: [{tcp: 0.0.0.0:2, to: 'a:1'}]\n",
		APP "    inbound: [{unix: /a, to: 'a:1'}]\n",
		APP "    inbound: [{unix: /a, mode: '0600', to: 'a:1'}]\n",
		APP "    health: {listen: [{tcp: 0.0.0.0:1}]}\n",
		APP "    health: {listen: [{unix: /a}]}\n",
		APP "    health: {listen: [{unix: /a, mode: '0600'}]}\n",
		APP "    health: {listen: [{unix: /a, group: g}]}\n",
		APP "    health: {allow: {uid: [1]}}\n",
		APP "    health: {allow: {gid: [1]}}\n",
		APP "    health: {gone_after: 1s}\n",
		APP "    health: {watch: false}\n",
		APP "    health: {passthrough: true}\n",
		APP "    health: {posts: 1}\n",
		APP "    health: {services: [a]}\n",
		APP "    health: {services: [a, b]}\n",
		APP "    health: {needs: {a: 1}}\n",
		APP "    health: {needs: {a: 2}}\n",
		APP "    health: {needs: {b: 2}}\n",
		OWN("tcp: '127.0.0.1:1'"),
		OWN("tcp: '127.0.0.1:2'"),
		OWN("grpc: '127.0.0.1:2'"),
		OWN("tcp: '127.0.0.1:2', period: 1s"),
		OWN("tcp: '127.0.0.1:2', initial_delay: 1s"),
		OWN("exec: [a]"),
		OWN("exec: [a, b]"),
		OWN("exec: [ab]"),
		CHECK("grpc: {}"),
		CHECK("grpc: {unimplemented: fails}"),
		CHECK("grpc: {}, watch: true"),
		CHECK("tcp: {}"),
		CHECK("tcp: {send: a}"),
		CHECK("tcp: {receive: a}"),
		SERVICE("outlier: {}"),
		SERVICE("outlier: {consecutive_5xx: 4}"),
	};
	uint64_t seen[UNIT_COUNT(texts)];

	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct conf *c = loaded(texts[i]), *again = loaded(texts[i]);

		ck_assert_uint_eq(c->apps[0].hash, again->apps[0].hash);
		seen[i] = c->apps[0].hash ^ (c->nservices ? c->services[0].hash : 0);
		ck_assert_uint_eq(seen[i], again->apps[0].hash ^ (again->nservices ? again->services[0].hash : 0));
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(seen[k] != seen[i], "equal:\n%s\n%s", texts[k], texts[i]);
		conf_unref(&c);
		conf_unref(&again);
	}
}
END_TEST

START_TEST(a_check_of_the_app_at_its_own_inbound_door_asks_the_server_behind_it)
{
	static const struct { const char *door, *check; bool behind; } rows[] = {
		{"tcp: '0.0.0.0:1'", "tcp: '127.0.0.1:1'", true},
		{"tcp: '0.0.0.0:1'", "tcp: '10.1.2.3:1'", true}, /* the pod's own, from the environment */
		{"tcp: '127.0.0.1:1'", "grpc: '127.0.0.1:1'", true},
		{"tcp: '127.0.0.1:1'", "tcp: '0.0.0.0:1'", true},
		{"tcp: '[::]:1'", "http: {address: '[::1]:1'}", true},
		{"unix: /in", "unix: /in", true},
		{"tcp: '127.0.0.1:1'", "tcp: '127.0.0.2:1'", false},
		{"tcp: '0.0.0.0:1'", "tcp: '127.0.0.1:2'", false},
		{"tcp: '0.0.0.0:1'", "unix: /in", false},
		{"unix: /in", "tcp: '127.0.0.1:1'", false},
	};
	struct addr server;

	ck_assert_int_eq(addr_unix(STR("/server"), &server), 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char text[512];

		snprintf(text, sizeof(text), APP "    inbound: [{%s, to: 'unix:/server'}]\n    health: {check: {%s}}\n", rows[i].door, rows[i].check);
		struct conf *c = loaded(text);
		ck_assert_msg(addr_eq(&c->apps[0].health.check->to_addr, &server) == rows[i].behind, "%zu", i);
		conf_unref(&c);
	}
}
END_TEST

/* ---- what is wrong ------------------------------------------------------------------------------------------------------ */

START_TEST(what_is_wrong_is_told_with_its_place_and_what_was_expected)
{
	static const struct { const char *text, *said; } rows[] = {
		/* inbound */
		{APP "    inbound: x\n", "f.yaml:4:14: apps[0].inbound: a text, expected a list of maps, each with unix or tcp"},
		{APP "    inbound: [x]\n", "apps[0].inbound[0]: expected a map with unix or tcp"},
		{APP "    inbound: [{to: 'a:1'}]\n", "apps[0].inbound[0]: neither unix nor tcp, expected exactly one of unix, tcp"},
		{APP "    inbound: [{tcp: 0.0.0.0:1, unix: /a, to: 'a:1'}]\n", "apps[0].inbound[0]: both unix and tcp"},
		{APP "    inbound: [{tcp: 0.0.0.0:1}]\n", "apps[0].inbound[0]: has no `to`, expected to: HOST:PORT"},
		{APP "    inbound: [{tcp: 0.0.0.0:1, to: x}]\n", "f.yaml:4:36: apps[0].inbound[0].to: 'x' is no server, expected HOST:PORT"},
		{APP "    inbound: [{tcp: shop:1, to: 'a:1'}]\n", "apps[0].inbound[0].tcp: 'shop:1' is no address, expected IP:PORT"},
		{APP "    inbound: [{tcp: 0.0.0.0:0, to: 'a:1'}]\n", "apps[0].inbound[0].tcp: '0.0.0.0:0' is no address"},
		{APP "    inbound: [{unix: a, to: 'a:1'}]\n", "apps[0].inbound[0].unix: 'a' is no socket"},
		{APP "    inbound: [{tcp: 0.0.0.0:1, mode: '0600', to: 'a:1'}]\n", "apps[0].inbound[0].mode: only for a unix socket"},
		{APP "    inbound: [{tpc: 0.0.0.0:1, to: 'a:1'}]\n", "apps[0].inbound[0].tpc: unknown key; did you mean 'tcp'?"},
		{APP "    inbound: [{tcp: 0.0.0.0:1, to: 'unix:/run/shop.sock'}]\n",
			"f.yaml:4: apps[0].inbound[0].to: unix:/run/shop.sock is listened on by ourselves (f.yaml:3), expected the app's own server"},
		{APP "    inbound: [{tcp: 127.0.0.1:1, to: '127.0.0.1:1'}]\n", "apps[0].inbound[0].to: 127.0.0.1:1 is listened on by ourselves (f.yaml:4)"},
		{APP "    inbound: [{tcp: 0.0.0.0:1, to: '127.0.0.1:1'}]\n", "apps[0].inbound[0].to: 127.0.0.1:1 is listened on by ourselves (f.yaml:4)"},
		/* the app's health */
		{APP "    inbound: [{tcp: 0.0.0.0:1, to: 'a:1'}]\n    health: {check: {tcp: '127.0.0.1:1'}}\n",
			"f.yaml:4: apps[0].health.check: 127.0.0.1:1 is the inbound door, which is closed until the check passes; expected the address of 'a' itself"},
		{APP "    health: {listen: [{tcp: 0.0.0.0:1}], check: {http: {address: '127.0.0.1:1'}}}\n",
			"apps[0].health.check: 127.0.0.1:1 is listened on by ourselves (f.yaml:4), expected the app's own server"},
		{APP "    health: {check: {unix: /run/shop.sock}}\n", "apps[0].health.check: unix:/run/shop.sock is listened on by ourselves (f.yaml:3), expected the app's own server"},
		{APP "    health: x\n", "apps[0].health: a text, expected a map of keys"},
		{APP "    health: {chek: {tcp: 1}}\n", "apps[0].health.chek: unknown key; did you mean 'check'?"},
		{APP "    health: {listen: [{tcp: localhost:1}]}\n", "apps[0].health.listen[0].tcp: 'localhost:1' is no address, expected IP:PORT such as 0.0.0.0:15021"},
		{APP "    health: {listen: [{tcp: 0.0.0.0:1, group: x}]}\n", "apps[0].health.listen[0].group: only for a unix socket"},
		{APP "    health: {posts: 0}\n", "apps[0].health.posts: '0' is too small, expected 1 to 1000000"},
		{APP "    health: {watch: maybe}\n", "apps[0].health.watch: 'maybe' is neither, expected true or false"},
		{APP "    health: {gone_after: 1}\n", "apps[0].health.gone_after: '1' is no time"},
		{APP "    health: {allow: {uid: []}}\n", "apps[0].health.allow.uid: an empty list"},
		{APP "    health: {allow: {uid: [root]}}\n", "apps[0].health.allow.uid[0]: 'root' is no number"},
		{APP "    health: {needs: demo}\n", "apps[0].health.needs: expected a map of authority to percent, at most 64, such as {demo: 50}"},
		{APP "    health: {needs: {demo: 101}}\n", "apps[0].health.needs.demo: '101' is too large, expected 0 to 100"},
		{APP "    health: {needs: {demo: half}}\n", "apps[0].health.needs.demo: 'half' is no number"},
		{APP "    health: {needs: {'a b': 1}}\n", "apps[0].health.needs.a b: no authority, expected a name such as demo or demo:50051"},
		{APP "    health: {services: demo}\n", "apps[0].health.services: "},
		{APP "    health: {services: ['']}\n", "apps[0].health.services[0]: '' is no name of a service, expected one such as org.apache.dubbo.demo.GreeterService, at most 256 bytes, no blank in it"},
		{APP "    health: {services: [a, 'a b']}\n", "apps[0].health.services[1]: 'a b' is no name of a service"},
		{APP "    health: {services: [a, b, a]}\n", "apps[0].health.services[2]: 'a' stands in it twice, expected once"},
		{APP "    health: {check: tcp}\n", "apps[0].health.check: expected a map with one of http, grpc, tcp, unix, exec"},
		{APP "    health: {check: {}}\n", "apps[0].health.check: none of them, expected exactly one of http, grpc, tcp, unix, exec"},
		{OWN("tcp: '127.0.0.1:1', unix: /a"), "apps[0].health.check: more than one of them, expected exactly one of"},
		{OWN("tpc: '127.0.0.1:1'"), "apps[0].health.check.tpc: unknown key; did you mean 'tcp'?"},
		{OWN("http: /healthz"), "apps[0].health.check.http: '/healthz' is no address, expected IP:PORT"},
		{OWN("http: {address: ''}"), "apps[0].health.check.http.address: '' is no address"},
		{OWN("http: 'localhost:80'"), "apps[0].health.check.http: 'localhost:80' is no address, expected IP:PORT"},
		{OWN("http: {path: /a}"), "apps[0].health.check.http: has no address"},
		{OWN("http: {address: 'x'}"), "apps[0].health.check.http.address: 'x' is no address"},
		{OWN("http: {address: '127.0.0.1:1', path: a}"), "apps[0].health.check.http.path: 'a' is no path, expected one that begins with '/'"},
		{OWN("http: '127.0.0.1:1/a b'"), "'/a b' is no path"},
		{OWN("http: {address: '127.0.0.1:1', host: 'a b'}"), "apps[0].health.check.http.host: 'a b' is no authority"},
		{OWN("http: []"), "apps[0].health.check.http: expected IP:PORT, or a map with address"},
		{OWN("grpc: '127.0.0.1:0'"), "apps[0].health.check.grpc: '127.0.0.1:0' is no address"},
		{OWN("tcp: 'unix:/a'"), "apps[0].health.check.tcp: 'unix:/a' is no IP:PORT, expected the key unix"},
		{OWN("unix: a"), "apps[0].health.check.unix: 'a' is no socket"},
		{OWN("exec: test"), "apps[0].health.check.exec: a text, expected a list of a program and its arguments"},
		{OWN("exec: []"), "apps[0].health.check.exec: 0 texts, expected a program and at most 63 arguments"},
		{OWN("exec: ['']"), "apps[0].health.check.exec[0]: empty, expected a text"},
		{OWN("exec: [a, \"b\\0c\"]"), "holds a NUL"},
		{OWN("exec: [a], period: 1ms"), "apps[0].health.check.period: '1ms' is too small, expected 10ms to 24h"},
		/* checks of services */
		{SERVICE("health: grpc"), "services[0].health: expected a map with one of grpc, http, tcp"},
		{CHECK(""), "services[0].health: none of them, expected exactly one of http, grpc, tcp"},
		{CHECK("grpc: {}, tcp: {}"), "services[0].health: more than one of them"},
		{CHECK("gprc: {}"), "services[0].health.gprc: unknown key; did you mean 'grpc'?"},
		{CHECK("grpc: {servise: a}"), "services[0].health.grpc.servise: unknown key; did you mean 'service'?"},
		{CHECK("grpc: {unimplemented: alife}"), "'alife' is not known, expected one of alive, fails, connects; did you mean 'alive'?"},
		{CHECK("grpc: {authority: ''}"), "services[0].health.grpc.authority: '' is no authority"},
		{CHECK("grpc: {metadata: [a]}"), "services[0].health.grpc.metadata: expected a map of at most 64 names and texts"},
		{CHECK("grpc: {metadata: {'a b': c}}"), "no name of a header"},
		{CHECK("grpc: {metadata: {':path': /}}"), "no name of a header"},
		{CHECK("grpc: {metadata: {a: \"b\\n\"}}"), "no value of a header"},
		{CHECK("grpc: {}, interval: 0s"), "services[0].health.interval: '0s' is too small"},
		{CHECK("grpc: {}, unhealthy_threshold: 0"), "services[0].health.unhealthy_threshold: '0' is too small, expected 1 to"},
		{CHECK("http: {}, watch: true"), "services[0].health.watch: http has nothing to watch, expected grpc beside it"},
		{CHECK("http: x"), "services[0].health.http: a text, expected a map of keys"},
		{CHECK("http: {path: ready}"), "services[0].health.http.path: 'ready' is no path"},
		{CHECK("http: {method: GETT}"), "services[0].health.http.method: 'GETT' is none, expected one of GET, HEAD"},
		{CHECK("http: {method: CONNECT}"), "services[0].health.http.method: 'CONNECT' is none"},
		{CHECK("http: {send: x}"), "services[0].health.http.send: GET has no body"},
		{CHECK("http: {send: 'hex:0'}"), "services[0].health.http.send: 'hex:0' is no bytes, expected pairs of hexadecimal digits"},
		{CHECK("http: {send: 'hex:zz'}"), "'hex:zz' is no bytes"},
		{CHECK("http: {receive: []}"), "services[0].health.http.receive: 0 texts, expected 1 to 32"},
		{CHECK("http: {receive: ['']}"), "services[0].health.http.receive[0]: 0 bytes, expected 1 to 65536"},
		{CHECK("http: {expect: 200}"), "services[0].health.http.expect: a text, expected a list of statuses"},
		{CHECK("http: {expect: []}"), "services[0].health.http.expect: 0 statuses, expected 1 to 64"},
		{CHECK("http: {expect: [99]}"), "services[0].health.http.expect[0]: '99' is no status"},
		{CHECK("http: {expect: ['300-200']}"), "'300-200' is no status"},
		{CHECK("http: {expect: ['200-']}"), "'200-' is no status"},
		{CHECK("http: {retriable: [ok]}"), "services[0].health.http.retriable[0]: 'ok' is no status"},
		{CHECK("http: {response_buffer: 65KiB}"), "services[0].health.http.response_buffer: '65KiB' is too large"},
		{CHECK("http: {remove_headers: ['a b']}"), "services[0].health.http.remove_headers[0]: no name of a header"},
		/* outlier detection */
		{SERVICE("outlier: on"), "services[0].outlier: expected a map; {} takes Envoy's numbers"},
		{SERVICE("outlier: {consecutive_5x: 1}"), "services[0].outlier.consecutive_5x: unknown key; did you mean 'consecutive_5xx'?"},
		{SERVICE("outlier: {max_ejection_percent: 101}"), "services[0].outlier.max_ejection_percent: '101' is too large, expected 0 to 100"},
		{SERVICE("outlier: {max_ejection_time: 10s}"), "services[0].outlier.max_ejection_time: below base_ejection_time, expected at least that"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct err e = ERR_INIT;

		ck_assert_msg(conf_load_text("f.yaml", rows[i].text, no_env, NULL, &e) == NULL, "accepted: %s", rows[i].text);
		ck_assert_msg(strstr(err_str(&e), rows[i].said) != NULL, "%s\nsaid:\n%sexpected: %s", rows[i].text, err_str(&e), rows[i].said);
		ck_assert_msg(e.count == 1, "%s: one mistake is one line:\n%s", rows[i].text, err_str(&e));
		err_clear(&e);
	}
}
END_TEST

START_TEST(a_socket_that_is_taken_is_told_with_both_places)
{
	static const struct { const char *text, *said; } rows[] = {
		{"apps:\n- name: a\n  listen: [{unix: /a}]\n  inbound:\n  - {tcp: 10.0.0.1:1, to: 'x:1'}\n  health:\n    listen:\n    - tcp: 10.0.0.1:1\n",
			"f.yaml:8:7: apps[0].health.listen[0]: 10.0.0.1:1 is listened on twice, expected once (it stands in f.yaml:5 already)"},
		{"apps:\n- {name: a, listen: [{unix: /a}], inbound: [{unix: /x, to: 'x:1'}]}\n- {name: b, listen: [{unix: /b}], inbound: [{unix: /x, to: 'x:1'}]}\n",
			"f.yaml:3:45: apps[1].inbound[0]: unix:/x is listened on twice, expected once (it stands in f.yaml:2 already)"},
		{"apps:\n- {name: a, listen: [{unix: /a}]}\n- {name: b, listen: [{unix: /b}], inbound: [{unix: /a, to: 'x:1'}]}\n", "(it stands in f.yaml:2 already)"},
		/* a port of all addresses, and the same one of one address */
		{"apps:\n- name: a\n  listen: [{tcp: 127.0.0.1:1}]\n  inbound:\n  - {tcp: 0.0.0.0:1, to: 'x:1'}\n", "f.yaml:5:5: apps[0].inbound[0]: 0.0.0.0:1 is listened on twice"},
		{"apps:\n- name: a\n  inbound:\n  - {tcp: 0.0.0.0:1, to: 'x:1'}\n  listen: [{tcp: 127.0.0.1:1}]\n", "f.yaml:5:12: apps[0].listen[0]: 127.0.0.1:1 is listened on twice"},
		{"apps:\n- name: a\n  listen: [{unix: /a}]\n  inbound: [{tcp: '[::]:1', to: 'x:1'}, {tcp: '[::1]:1', to: 'x:1'}]\n", "[::1]:1 is listened on twice"},
		{APP "    inbound: [{tcp: 127.0.0.1:1, to: 'x:1'}]\ncontrol: {tcp: 127.0.0.1:1}\n", "control.tcp: an app listens on 127.0.0.1:1 too (f.yaml:4)"},
		{APP "    health: {listen: [{unix: /run/c.sock}]}\ncontrol: {unix: /run/c.sock}\n", "control.unix: an app listens on /run/c.sock too (f.yaml:4)"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct err e = ERR_INIT;

		ck_assert_msg(conf_load_text("f.yaml", rows[i].text, no_env, NULL, &e) == NULL, "accepted: %s", rows[i].text);
		ck_assert_msg(strstr(err_str(&e), rows[i].said) != NULL, "%s\nsaid:\n%sexpected: %s", rows[i].text, err_str(&e), rows[i].said);
		ck_assert_int_eq(e.count, 1);
		err_clear(&e);
	}
	/* One port at two addresses is two sockets, and so are the same port of both families. */
	struct conf *c = loaded("apps:\n- name: a\n  listen: [{tcp: 127.0.0.1:1}]\n  inbound: [{tcp: 10.0.0.1:1, to: 'x:1'}, {tcp: '[::]:1', to: 'x:1'}, {tcp: 0.0.0.0:2, to: 'x:1'}]\n");
	ck_assert_uint_eq(c->apps[0].ninbound, 3);
	conf_unref(&c);
}
END_TEST

/* `head`, `one` so often, `tail`: taken up to `most`. */
static void bounded(const char *head, const char *one, const char *tail, unsigned most, const char *said)
{
	for (unsigned more = 0; more < 2; more++) {
		struct err e = ERR_INIT;
		struct sb text = {0};
		struct conf *c;

		sb_str(&text, head);
		for (unsigned i = 0; i < most + more; i++)
			sb_fmt(&text, one, i + 1);
		sb_str(&text, tail);
		c = conf_load_text("f.yaml", text.p, no_env, NULL, &e);
		ck_assert_msg((c == NULL) == more, "%u: %s", most + more, err_str(&e));
		ck_assert_msg(!more || strstr(err_str(&e), said), "%s", err_str(&e));
		conf_unref(&c);
		err_clear(&e);
		sb_end(&text);
	}
}

START_TEST(lists_are_bounded)
{
	bounded(APP "    inbound: [", "{tcp: '0.0.0.0:%u', to: 'a:1'}, ", "]\n", 64, "apps[0].inbound: 65 sockets, expected at most 64 an app");
	bounded(APP "    health: {listen: [", "{tcp: '0.0.0.0:%u'}, ", "]}\n", 64, "apps[0].health.listen: 65 sockets");
	bounded(APP "    health: {needs: {", "a%u: 1, ", "}}\n", 64, "apps[0].health.needs: expected a map of authority to percent, at most 64");
	bounded(APP "    health: {services: [", "a%u, ", "]}\n", 64, "apps[0].health.services: 65 entries, expected at most 64");
	bounded(APP "    health: {check: {exec: [", "a%u, ", "]}}\n", CHECK_ARGS_MAX, "exec: 65 texts, expected a program and at most 63 arguments");
	bounded(APP "services: [{name: a, endpoints: [], health: {tcp: {receive: [", "a%u, ", "]}}}]\n", CHECK_PAYLOADS_MAX, "receive: 33 texts");
	bounded(APP "services: [{name: a, endpoints: [], health: {grpc: {metadata: {", "a%u: b, ", "}}}}]\n", CHECK_FIELDS_MAX, "metadata: expected a map of at most 64");
	bounded(APP "services: [{name: a, endpoints: [], health: {http: {remove_headers: [", "a%u, ", "]}}}]\n", CHECK_FIELDS_MAX, "remove_headers: 65 names");
	bounded(APP "services: [{name: a, endpoints: [], health: {http: {expect: [200", ", \"200-2%02u\"", "]}}}]\n", CHECK_RANGES_MAX - 1, "expect: 65 statuses");
	bounded(APP "services: [{name: a, endpoints: [], health: {tcp: {send: '", "z", "'}}}]\n", CHECK_BYTES_MAX, "send: 65537 bytes, expected at most 65536");
}
END_TEST

UNIT_SUITE("conf_health", the_example_of_the_product_is_read, an_app_begins_as_the_product_says, inbound_is_named_after_its_app_wherever_the_name_stands,
	an_app_is_asked_as_kubelet_asks, a_check_begins_as_its_rows_say, every_word_of_a_check_lands_where_it_belongs,
	every_word_of_outlier_detection_lands_where_it_belongs, a_change_of_any_key_is_another_app_or_service, a_check_of_the_app_at_its_own_inbound_door_asks_the_server_behind_it, what_is_wrong_is_told_with_its_place_and_what_was_expected,
	a_socket_that_is_taken_is_told_with_both_places, lists_are_bounded)
