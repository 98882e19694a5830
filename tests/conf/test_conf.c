/* conf/conf with conf.def: what a configuration means, and how a person is told what is wrong with it. */
#include "tests/unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf.h"

#define APP "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"

static const char *no_env(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return NULL;
}

static const char *pod_env(void *ctx, const char *name)
{
	(void)ctx;
	return strcmp(name, "POD_NAMESPACE") == 0     ? "Prod"
		: strcmp(name, "CLUSTER_DOMAIN") == 0 ? "Mesh.Corp."
		: strcmp(name, "N") == 0              ? "7"
						      : NULL;
}

static struct conf *loaded(const char *text, yaml_env_fn *env)
{
	struct err e = ERR_INIT;
	struct conf *c = conf_load_text("f.yaml", text, env, NULL, &e);

	ck_assert_msg(c != NULL, "%s", err_str(&e));
	ck_assert_int_eq(e.count, 0);
	return c;
}

/* Each of `said` (up to a NULL) is told. */
static void refused_with(const char *text, int count, ...)
{
	struct err e = ERR_INIT;
	va_list args;

	ck_assert_msg(conf_load_text("f.yaml", text, no_env, NULL, &e) == NULL, "accepted: %s", text);
	va_start(args, count);
	for (const char *said; (said = va_arg(args, const char *));)
		ck_assert_msg(strstr(err_str(&e), said) != NULL, "%s\nsaid:\n%sexpected: %s", text, err_str(&e), said);
	va_end(args);
	if (count)
		ck_assert_msg(e.count == count, "%s\n%d problems, expected %d:\n%s", text, e.count, count, err_str(&e));
	err_clear(&e);
}

/* ---- what it means ------------------------------------------------------------------------------------------------------ */

static struct endpoint endpoint_of(const struct conf_service *v, uint32_t i)
{
	struct endpoint e;

	endpoint_get(v->endpoints, i, &e);
	return e;
}

START_TEST(without_a_file_the_embedded_default_is_a_static_directory)
{
	struct err e = ERR_INIT;
	struct conf *c = conf_load(NULL, 0, no_env, NULL, &e);

	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->napps, 1);
	ck_assert_str_eq(c->apps[0].name, "shop");
	ck_assert_str_eq(c->apps[0].namespace_, "default");
	ck_assert_uint_eq(c->apps[0].listens, 1);
	ck_assert_str_eq(c->apps[0].listen[0].text, "/run/thinmesh/shop.sock");
	ck_assert(c->apps[0].listen[0].is_unix);
	ck_assert(c->apps[0].listen[0].trusted);
	ck_assert_uint_eq(c->apps[0].listen[0].mode, 0660);
	ck_assert_ptr_null(c->apps[0].listen[0].group);
	ck_assert_ptr_null(c->apps[0].listen[0].default_authority);
	ck_assert_uint_eq(c->nservices, 1);
	ck_assert_str_eq(c->services[0].name, "demo.default.svc.cluster.local:50051");
	ck_assert_str_eq(c->services[0].action->cluster, c->services[0].name);
	ck_assert_uint_eq(endpoints_count(c->services[0].endpoints), 2);
	ck_assert_str_eq(c->control.unix_path, "/run/thinmesh/control.sock");
	ck_assert(!c->control.has_tcp);
	ck_assert_str_eq(c->mesh_domain, "cluster.local");
	ck_assert_uint_eq(c->park.time_ns, 5000000000);
	ck_assert_uint_eq(c->park.calls, 1024);
	ck_assert_uint_eq(c->park.bytes, 16 << 20);
	ck_assert_uint_eq(c->drain.announce_ns, 0);
	ck_assert_uint_eq(c->drain.deadline_ns, 30000000000);
	ck_assert_int_eq(c->log.level, LOG_INFO);
	ck_assert_int_eq(c->log.access, ACCESS_OFF);
	ck_assert_ptr_null(c->log.file);
	ck_assert_uint_eq(c->xds.nservers, 0);
	ck_assert_str_eq(c->snapshot_dir, "/var/lib/thinmesh");
	conf_unref(&c);
	ck_assert_ptr_null(c);
	conf_unref(&c);
}
END_TEST

START_TEST(print_conf_is_a_file_that_means_what_no_file_means)
{
	struct err e = ERR_INIT;
	struct sb out = {0};
	struct conf *embedded = conf_load(NULL, 0, no_env, NULL, &e), *printed;

	conf_print_defaults(&out);
	printed = loaded(out.p, no_env);
	ck_assert_uint_eq(printed->hash, embedded->hash);
	ck_assert_uint_eq(printed->napps, 1);
	ck_assert_uint_eq(printed->apps[0].hash, embedded->apps[0].hash);
	ck_assert_uint_eq(printed->nservices, 1);
	ck_assert_uint_eq(printed->services[0].hash, embedded->services[0].hash);
	/* And it tells every key, with help. */
	ck_assert_ptr_nonnull(strstr(out.p, "\n        # trusted: true"));
	ck_assert_ptr_nonnull(strstr(out.p, "\n  connections_per_uid: 4096 "));
	ck_assert_ptr_nonnull(strstr(out.p, "# then REFUSED_STREAM") ? out.p : strstr(out.p, "then REFUSED_STREAM"));
	sb_end(&out);
	conf_unref(&embedded);
	conf_unref(&printed);
}
END_TEST

/* --print-conf with every comment sign in front of a sample taken away still parses, key by key: no sample is a lie. */
START_TEST(the_samples_of_print_conf_are_keys_that_exist)
{
	struct sb out = {0}, bare = {0};
	struct err e = ERR_INIT;
	struct conf *c;

	conf_print_defaults(&out);
	for (char *line = strtok(out.p, "\n"); line; line = strtok(NULL, "\n")) {
		size_t indent = strspn(line, " ");
		bool sample = indent && strncmp(line + indent, "# ", 2) == 0;

		/* `tcp` beside `unix`, and endpoints once more as maps, would be errors of their own. */
		if (sample && (strstr(line, "# tcp: 127.0.0.1:15051") || strstr(line, "# or maps") || strstr(line, "#   ")))
			continue;
		sb_fmt(&bare, "%.*s%s\n", (int)indent, line, line + indent + (sample ? 2 : 0));
	}
	c = conf_load_text("bare", bare.p, no_env, NULL, &e);
	ck_assert_msg(c != NULL, "%s\n%s", err_str(&e), bare.p);
	ck_assert_uint_eq(c->apps[0].aliases, 1);
	ck_assert_uint_eq(c->apps[0].listen[0].allow_gid.count, 1);
	ck_assert(c->control.has_tcp);
	conf_unref(&c);
	sb_end(&out);
	sb_end(&bare);
}
END_TEST

START_TEST(limits_begin_as_the_product_says)
{
	struct limits l;

	conf_limits_default(&l);
	ck_assert_uint_eq(l.streams_per_connection, 1000);
	ck_assert_uint_eq(l.header_bytes, 32 << 10);
	ck_assert_uint_eq(l.field_count, 200);
	ck_assert_uint_eq(l.header_wire_bytes, 40 << 10);
	ck_assert_uint_eq(l.continuations, 64);
	ck_assert_uint_eq(l.header_budget, 256 << 10);
	ck_assert_uint_eq(l.premature_resets, 2000);
	ck_assert_uint_eq(l.control_frames, 10000);
	ck_assert_uint_eq(l.empty_frames, 100);
	ck_assert_uint_eq(l.outbound_queue, 1000);
	ck_assert_uint_eq(l.window_down, 256 << 10);
	ck_assert_uint_eq(l.window_up, 1 << 20);
	ck_assert_uint_eq(l.window_down_conn, 1 << 20);
	ck_assert_uint_eq(l.window_up_conn, 16 << 20);
	ck_assert_uint_eq(l.replay_bytes, 64 << 10);
	ck_assert_uint_eq(l.stall_ns, 30000000000);
	ck_assert_uint_eq(l.stall_bytes, 1024);
	ck_assert_uint_eq(l.preface_time_ns, 5000000000);
	ck_assert_uint_eq(l.header_time_ns, 5000000000);
	ck_assert_uint_eq(l.connections, 10000);
	ck_assert_uint_eq(l.connections_per_listener, 10000);
	ck_assert_uint_eq(l.connections_per_uid, 4096);
	ck_assert_uint_eq(l.memory, 0);
	ck_assert_uint_eq(l.memory_soft_percent, 60);
	ck_assert_uint_eq(l.memory_hard_percent, 80);
}
END_TEST

START_TEST(a_service_begins_as_specs_and_routes_begin)
{
	struct conf *c = loaded(APP "services: [{name: demo:1, endpoints: []}]\n", no_env);
	struct cluster_spec *spec = spec_new("demo:1");
	struct route_action *action = route_action_new("demo:1");

	spec_seal(spec);
	ck_assert_uint_eq(c->services[0].spec->hash, spec->hash);
	/* Istio's default. */
	action->retry.max = 2;
	action->retry.on = RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_UNAVAILABLE | RETRY_CANCELLED;
	ck_assert(route_action_eq(c->services[0].action, action));
	ck_assert_uint_eq(endpoints_count(c->services[0].endpoints), 0);
	spec_unref(&spec);
	route_action_unref(&action);
	conf_unref(&c);
}
END_TEST

START_TEST(every_value_reaches_its_place)
{
	struct err e = ERR_INIT;
	char *path = (char *)"examples/all.yaml";
	struct conf *c = conf_load(&path, 1, no_env, NULL, &e);
	const struct conf_app *a;
	const struct conf_service *v;

	ck_assert_msg(c != NULL, "%s", err_str(&e));
	ck_assert_str_eq(c->control.group, "0");
	ck_assert(c->control.has_tcp);
	ck_assert_uint_eq(addr_port(&c->control.tcp), 15020);
	a = &c->apps[0];
	ck_assert_uint_eq(a->listens, 3);
	ck_assert_str_eq(a->listen[0].group, "thinmesh");
	ck_assert_uint_eq(a->listen[0].allow_uid.count, 1);
	ck_assert_uint_eq(a->listen[0].allow_uid.ids[0], 1000);
	ck_assert_uint_eq(a->listen[0].allow_gid.count, 2);
	ck_assert_uint_eq(a->listen[0].allow_gid.ids[1], 2000);
	ck_assert_str_eq(a->listen[1].text, "@shop");
	ck_assert(a->listen[1].is_unix);
	ck_assert(!a->listen[2].is_unix);
	ck_assert(!a->listen[2].trusted);
	ck_assert_uint_eq(addr_port(&a->listen[2].addr), 15051);
	ck_assert_str_eq(a->listen[2].default_authority, "demo.default.svc.cluster.local:50051");
	ck_assert_uint_eq(a->aliases, 1);
	ck_assert_str_eq(a->alias[0].from, "demo");
	ck_assert_str_eq(a->paths[0].from, "org.apache.dubbo.demo.GreeterService");
	ck_assert_uint_eq(a->ninbound, 2);
	ck_assert_uint_eq(a->health.listens, 2);
	ck_assert_str_eq(a->health.check->path, "/ready");
	v = &c->services[0];
	ck_assert_uint_eq(v->spec->nchecks, 1);
	ck_assert_uint_eq(v->spec->outlier->consecutive_5xx, 5);
	ck_assert_uint_eq(endpoints_count(v->endpoints), 5);
	ck_assert_uint_eq(endpoint_of(v, 1).weight, 50);
	ck_assert_str_eq(endpoint_of(v, 1).zone, "b");
	ck_assert_str_eq(endpoint_of(v, 2).host, "demo-v2.example.com");
	ck_assert(endpoints_has_names(v->endpoints));
	ck_assert_uint_eq(v->action->timeout_ns, 15000000000);
	ck_assert_uint_eq(v->action->retry.max, 2);
	ck_assert(v->action->retry.on & RETRY_STATUSES);
	ck_assert_uint_eq(v->action->retry.status_count, 1);
	ck_assert_uint_eq(v->action->retry.statuses[0], 503);
	ck_assert_uint_eq(v->action->retry.per_try_timeout_ns, 5000000000);
	ck_assert_uint_eq(v->spec->verify_after_ns, 10000000000);
	ck_assert_uint_eq(c->limits.memory, 64 << 20);
	ck_assert_uint_eq(c->limits.memory_hard_percent, 80);
	ck_assert_int_eq(c->log.access, ACCESS_JSON);
	ck_assert_str_eq(c->log.access_file, "/var/log/thinmesh/access.log");
	conf_unref(&c);
}
END_TEST

START_TEST(every_example_loads)
{
	struct dirent **names;
	int n = scandir("examples", &names, NULL, alphasort), loads = 0;

	ck_assert_int_gt(n, 0);
	for (int i = 0; i < n; i++) {
		if (str_ends(str_of(names[i]->d_name), STR(".yaml"))) {
			struct err e = ERR_INIT;
			char *path = xasprintf("examples/%s", names[i]->d_name);
			struct conf *c = conf_load(&path, 1, no_env, NULL, &e);
			ck_assert_msg(c != NULL, "%s", err_str(&e));
			ck_assert_uint_gt(c->napps, 0);
			conf_unref(&c);
			free(path);
			loads++;
		}
		free(names[i]);
	}
	free(names);
	ck_assert_int_ge(loads, 3);
}
END_TEST

START_TEST(namespace_and_domain_come_from_the_environment_unless_written)
{
	struct conf *c = loaded(APP "  - {name: b, namespace: own, listen: [{unix: /b}]}\n", pod_env);

	ck_assert_str_eq(c->apps[0].namespace_, "prod");
	ck_assert_str_eq(c->apps[1].namespace_, "own");
	ck_assert_str_eq(c->mesh_domain, "mesh.corp");
	conf_unref(&c);
}
END_TEST

START_TEST(numbers_from_the_environment_may_stand_in_quotes)
{
	struct conf *c = loaded(
		APP "services:\n- {name: a:1, endpoints: [{address: \"b:1\", weight: \"${N}\"}]}\npark: {calls: \"${N}\"}\n", pod_env);

	ck_assert_uint_eq(endpoint_of(&c->services[0], 0).weight, 7);
	ck_assert_uint_eq(c->park.calls, 7);
	conf_unref(&c);
}
END_TEST

START_TEST(modes_are_octal_with_and_without_quotes)
{
	static const struct {
		const char *text;
		uint32_t mode;
	} rows[] = {{"0660", 0660}, {"\"0660\"", 0660}, {"660", 0660}, {"0o600", 0600}, {"'0777'", 0777}, {"0", 0}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf("apps: [{name: a, listen: [{unix: /a, mode: %s}]}]\n", rows[i].text);
		struct conf *c = loaded(text, no_env);
		ck_assert_uint_eq(c->apps[0].listen[0].mode, rows[i].mode);
		conf_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(a_key_with_nothing_behind_it_means_its_default)
{
	struct conf *c = loaded(APP "control:\n  unix:\nlimits:\nlog: {level: , access: ~}\nservices:\npark: {}\n", no_env);

	ck_assert_str_eq(c->control.unix_path, "/run/thinmesh/control.sock");
	ck_assert_int_eq(c->log.level, LOG_INFO);
	ck_assert_uint_eq(c->limits.field_count, 200);
	conf_unref(&c);
	c = loaded(APP "control: {unix: \"\"}\n", no_env);
	ck_assert_ptr_null(c->control.unix_path);
	conf_unref(&c);
}
END_TEST

START_TEST(names_of_services_and_aliases_are_cleaned)
{
	struct conf *c = loaded(
		"apps: [{name: a, listen: [{unix: /a, default: Demo.}], alias: {B.: X, A: Y:1}}]\n"
		"services: [{name: Demo.Default.:80, endpoints: []}, {name: 10.0.0.1, endpoints: []}, {name: \"localhost:80\", endpoints: []}]\n",
		no_env);

	ck_assert_str_eq(c->services[0].name, "demo.default:80");
	ck_assert_str_eq(c->services[1].name, "10.0.0.1");
	ck_assert_str_eq(c->services[2].name, "localhost:80");
	ck_assert_str_eq(c->apps[0].listen[0].default_authority, "demo");
	ck_assert_str_eq(c->apps[0].alias[0].from, "a");
	ck_assert_str_eq(conf_pair_find(c->apps[0].alias, c->apps[0].aliases, STR("b"))->to, "x");
	ck_assert_ptr_null(conf_pair_find(c->apps[0].alias, c->apps[0].aliases, STR("bb")));
	ck_assert_ptr_null(conf_pair_find(c->apps[0].alias, c->apps[0].aliases, STR("")));
	conf_unref(&c);
}
END_TEST

START_TEST(a_reload_sees_by_hashes_what_has_changed)
{
	static const char before[] = APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\n";
	static const struct {
		const char *text;
		bool rest, app, a, b;
	} rows[] = {
		{before, true, true, true, true},
		{"# moved\n\n" APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\n", true, true, true, true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:2]}\n", true, true, true, false},
		{APP "services:\n- {name: a, endpoints: [x:1], timeout: 1s}\n- {name: b, endpoints: [y:1]}\n", true, true, false, true},
		{APP "services:\n- {name: a, endpoints: [x:1], lb: random}\n- {name: b, endpoints: [y:1]}\n", true, true, false, true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1], retries: {max: 1}}\n", true, true, true,
			false},
		{APP "    alias: {p: q}\nservices:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\n", true, false, true,
			true},
		{APP "    paths: {p: q}\nservices:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\n", true, false, true,
			true},
		{APP "    namespace: n\nservices:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\n", true, false, true,
			true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\nlog: {access: text}\n", false, true, true,
			true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\nlimits: {stall: 31s}\n", false, true, true,
			true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\nsnapshot: {dir: ''}\n", false, true, true,
			true},
		{APP "services:\n- {name: a, endpoints: [x:1]}\n- {name: b, endpoints: [y:1]}\nxds: {server: a:1}\n", false, true, true,
			true},
	};
	struct conf *old = loaded(before, no_env);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct conf *c = loaded(rows[i].text, no_env);
		ck_assert_msg((c->hash == old->hash) == rows[i].rest, "row %zu: rest", i);
		ck_assert_msg((c->apps[0].hash == old->apps[0].hash) == rows[i].app, "row %zu: app", i);
		ck_assert_msg((c->services[0].hash == old->services[0].hash) == rows[i].a, "row %zu: a", i);
		ck_assert_msg((c->services[1].hash == old->services[1].hash) == rows[i].b, "row %zu: b", i);
		conf_unref(&c);
	}
	conf_unref(&old);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------------------------- */

START_TEST(every_mistake_is_told_with_its_place_and_what_was_expected)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		/* unknown keys */
		{"apps:\n  - name: shop\n    listn: []\n", "f.yaml:3:5: apps[0].listn: unknown key; did you mean 'listen'?"},
		{APP "sevices: []\n", "f.yaml:4:1: sevices: unknown key; did you mean 'services'?"},
		{APP "zzzzzz: 1\n", "f.yaml:4:1: zzzzzz: unknown key, expected one of control, mesh, apps, services, park"},
		{APP "limits: {conections: 1}\n", "limits.conections: unknown key; did you mean 'connections'?"},
		{APP "limits: {Window_Up: 1}\n", "did you mean 'window_up'?"},
		{"- a\n", "f.yaml:1:1: a list, expected a map of keys"},
		{"text\n", "f.yaml:1:1: a text, expected a map of keys"},
		/* types */
		{APP "park: 5s\n", "f.yaml:4:7: park: a text, expected a map of keys"},
		{APP "park: {time: 5}\n", "f.yaml:4:14: park.time: '5' is no time, expected a number with its unit"},
		{APP "park: {time: []}\n", "park.time: a list, expected a time"},
		{APP "park: {time: 11m}\n", "park.time: '11m' is too large, expected 0s to 10m"},
		{APP "park: {calls: many}\n", "park.calls: 'many' is no number, expected a whole one from 0 to 1000000"},
		{APP "park: {calls: -1}\n", "park.calls: '-1' is no number"},
		{APP "park: {calls: 1.5}\n", "park.calls: '1.5' is no number"},
		{APP "park: {calls: 1000001}\n", "park.calls: '1000001' is too large, expected 0 to 1000000"},
		{APP "park: {calls: 99999999999999999999}\n", "park.calls: "},
		{APP "park: {calls: \"5\"}\n", "park.calls: the text '5', expected a number without quotes"},
		{APP "park: {bytes: 1XiB}\n", "park.bytes: '1XiB' is no size, expected bytes such as 512, 64KiB or 1MiB"},
		{APP "park: {bytes: 5GiB}\n", "park.bytes: '5GiB' is too large, expected 0 to 4GiB"},
		{APP "limits: {window_up: 2147483647}\n", "limits.window_up: '2147483647' is too large, expected 1KiB to 2147418111"},
		{APP "limits: {connection_window_up: 2GiB}\n", "is too large"},
		{APP "limits: {memory_soft: 101%}\n", "limits.memory_soft: '101' is too large, expected 1 to 100"},
		{APP "limits: {memory_soft: 90}\n", "f.yaml:4:1: limits.memory_soft: above memory_hard (80 %)"},
		{APP "limits: {header_bytes: 1MiB}\n", "f.yaml:4:1: limits.header_budget: below header_bytes"},
		{APP "limits: {memory: 4KiB}\n", "limits.memory: below 1MiB"},
		{APP "log: {level: wran}\n",
			"log.level: 'wran' is not known, expected one of off, error, warn, info, debug, trace; did you mean 'warn'?"},
		{APP "log: {access: yes}\n", "log.access: 'yes' is not known, expected one of off, text, json"},
		{APP "mesh: {domain: a b}\n", "f.yaml:4:1: mesh.domain: 'a b' is no domain"},
		{APP "control: {unix: run/x}\n", "f.yaml:4:1: control.unix: 'run/x' is no socket"},
		{APP "control: {unix: /run/shop.sock}\n", "control.unix: an app listens on /run/shop.sock too (f.yaml:3)"},
		{APP "control: {tcp: localhost:1}\n", "control.tcp: 'localhost:1' is no address, expected IP:PORT"},
		{APP "control: {mode: 888}\n", "control.mode: '888' is no mode"},
		/* apps */
		{"apps: {}\n", "f.yaml:1:7: apps: a map, expected a list of apps"},
		{"apps: [shop]\n", "f.yaml:1:8: apps[0]: expected a map with name: TEXT"},
		{"apps: [{listen: [{unix: /a}]}]\n", "apps[0]: has no name"},
		{"apps: [{name: a/b, listen: [{unix: /a}]}]\n", "apps[0].name: 'a/b' is no name"},
		{"apps: [{name: a, namespace: a.b, listen: [{unix: /a}]}]\n", "apps[0].namespace: 'a.b' is no namespace"},
		{"apps: [{name: a}]\n", "apps[0].listen: no socket, expected at least one"},
		{"apps: [{name: a, listen: []}]\n", "apps[0].listen: no socket"},
		{"apps: [{name: a, listen: {unix: /a}}]\n", "apps[0].listen: a map, expected a list of maps"},
		{"apps: [{name: a, listen: [/a]}]\n", "apps[0].listen[0]: expected a map with unix or tcp"},
		{"apps: [{name: a, listen: [{}]}]\n", "apps[0].listen[0]: neither unix nor tcp, expected exactly one"},
		{"apps: [{name: a, listen: [{unix: /a, tcp: 127.0.0.1:1}]}]\n", "apps[0].listen[0]: both unix and tcp"},
		{"apps: [{name: a, listen: [{unix: a.sock}]}]\n",
			"f.yaml:1:34: apps[0].listen[0].unix: 'a.sock' is no socket, expected an absolute path"},
		{"apps: [{name: a, listen: [{unix: '@'}]}]\n", "apps[0].listen[0].unix: '@' is no socket"},
		{"apps: [{name: a, listen: [{unix: /0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		 "01234567}]}]\n",
			"apps[0].listen[0].unix: too long (109 bytes), expected at most 107"},
		{"apps: [{name: a, listen: [{tcp: 0.0.0.0:1}]}]\n",
			"apps[0].listen[0].tcp: '0.0.0.0:1' can be reached from outside, expected a loopback address"},
		{"apps: [{name: a, listen: [{tcp: 10.0.0.1:1}]}]\n", "can be reached from outside"},
		{"apps: [{name: a, listen: [{tcp: \"[::]:1\"}]}]\n", "can be reached from outside"},
		{"apps: [{name: a, listen: [{tcp: localhost:1}]}]\n", "'localhost:1' is no address, expected 127.0.0.1:PORT or [::1]:PORT"},
		{"apps: [{name: a, listen: [{tcp: 127.0.0.1}]}]\n", "is no address"},
		{"apps: [{name: a, listen: [{tcp: 127.0.0.1:0}]}]\n", "is no address"},
		{"apps: [{name: a, listen: [{tcp: 127.0.0.1:1, mode: 0660}]}]\n", "apps[0].listen[0].mode: only for a unix socket"},
		{"apps: [{name: a, listen: [{unix: /a, allow: {uid: []}}]}]\n", "apps[0].listen[0].allow.uid: an empty list"},
		{"apps: [{name: a, listen: [{unix: /a, allow: {uid: [root]}}]}]\n", "apps[0].listen[0].allow.uid[0]: 'root' is no number"},
		{"apps: [{name: a, listen: [{unix: /a, allow: {user: [1]}}]}]\n", "apps[0].listen[0].allow.user: unknown key"},
		{"apps: [{name: a, listen: [{unix: /a, trusted: maybe}]}]\n",
			"apps[0].listen[0].trusted: 'maybe' is neither, expected true or false"},
		{"apps: [{name: a, listen: [{unix: /a, default: /x}]}]\n", "apps[0].listen[0].default: '/x' is no authority"},
		{"apps: [{name: a, listen: [{unix: /a}], alias: [x]}]\n", "apps[0].alias: expected a map of authority to authority"},
		{"apps: [{name: a, listen: [{unix: /a}], alias: {b: 'c d'}}]\n", "apps[0].alias.b: 'c d' is no authority"},
		{"apps: [{name: a, listen: [{unix: /a}], alias: {b: c, B: d}}]\n", "apps[0].alias: 'b' stands in it twice"},
		{"apps: [{name: a, listen: [{unix: /a}], paths: {a/b: c}}]\n", "no service of a path"},
		{"apps: [{name: a, listen: [{unix: /a}], paths: {a: ''}}]\n", "is no authority"},
		{"apps: [{name: &a a, listen: [{unix: /a}]}]\n", "f.yaml:1:15: apps[0].name: anchors"},
		{"apps: [{name: a, listen: [{unix: &a /a}]}]\n", "unix: anchors"},
		{"apps: [{name: a, listen: [{unx: /a}]}]\n", "apps[0].listen[0].unx: unknown key; did you mean 'unix'?"},
		/* services */
		{APP "services: [{endpoints: []}]\n", "services[0]: has no name"},
		{APP "services: [{name: a}]\n", "services[0].endpoints: missing"},
		{APP "services: [{name: 'a b', endpoints: []}]\n", "services[0].name: 'a b' is no authority"},
		{APP "services: [{name: a, endpoints: x:1}]\n", "services[0].endpoints: a text, expected a list of HOST:PORT"},
		{APP "services: [{name: a, endpoints: [x]}]\n",
			"services[0].endpoints[0]: 'x' is no endpoint, expected HOST:PORT, [IPV6]:PORT or unix:/PATH"},
		{APP "services: [{name: a, endpoints: [[]]}]\n", "services[0].endpoints[0]: expected HOST:PORT, or a map"},
		{APP "services: [{name: a, endpoints: [{weight: 1}]}]\n", "services[0].endpoints[0]: has no address"},
		{APP "services: [{name: a, endpoints: [{address: 'x:70000'}]}]\n",
			"f.yaml:4:44: services[0].endpoints[0].address: 'x:70000' is no endpoint"},
		{APP "services: [{name: a, endpoints: [{address: 'x:1', weight: 0}]}]\n",
			"services[0].endpoints[0].weight: '0' is too small, expected 1 to 1000000"},
		{APP "services: [{name: a, endpoints: [], lb: ring_hash}]\n",
			"services[0].lb: 'ring_hash' is not in this version, expected one of round_robin, random"},
		{APP "services: [{name: a, endpoints: [], lb: least_reqest}]\n", "did you mean 'least_request'?"},
		{APP "services: [{name: a, endpoints: [], timeout: soon}]\n", "services[0].timeout: 'soon' is no time"},
		{APP "services: [{name: a, endpoints: [], connect_timeout: 0s}]\n",
			"services[0].connect_timeout: '0s' is too small, expected 1ms to 10m"},
		{APP "services: [{name: a, endpoints: [], retries: 2}]\n", "services[0].retries: a text, expected a map of keys"},
		{APP "services: [{name: a, endpoints: [], retries: {on: [unavailible]}}]\n",
			"services[0].retries.on[0]: 'unavailible' is not known, expected one of"},
		{APP "services: [{name: a, endpoints: [], retries: {on: [unavailible]}}]\n", "did you mean 'unavailable'?"},
		{APP "services: [{name: a, endpoints: [], retries: {on: [retriable-status-codes]}}]\n", "names none, expected statuses"},
		{APP "services: [{name: a, endpoints: [], retries: {statuses: [99]}}]\n",
			"services[0].retries.statuses[0]: '99' is too small"},
		{APP "services: [{name: a, endpoints: [], retries: {statuses: [500, 501, 502, 503, 504, 505, 506, 507, 508]}}]\n",
			"9 statuses, expected at most 8"},
		{APP "services: [{name: a, endpoints: [], retries: {backoff: {base: 1s}}}]\n",
			"services[0].retries.backoff: its max is below its base"},
		{APP "services: [{name: a, endpoints: [], limits: {connections: 0}}]\n",
			"services[0].limits.connections: '0' is too small"},
		{APP "services: [{name: a, endpoints: [], retries: {on: 5xx}}]\n",
			"services[0].retries.on: a text, expected a list of words"},
		{APP "services: [{name: a, endpoints: [], retries: {statuses: 503}}]\n",
			"services[0].retries.statuses: a text, expected a list of HTTP statuses"},
		{APP "services: [a]\n", "services[0]: expected a map with name: TEXT"},
		{APP "services: [{name: a, endpoints: ['unix:/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
		     "01234567']}]\n",
			"services[0].endpoints[0]: the path is too long, expected at most 107 bytes"},
		{APP "tls: {}\n", "f.yaml:4:1: tls: unknown key"},
		{APP "snapshot: {dir: var/lib}\n", "f.yaml:4:1: snapshot.dir: 'var/lib' is no folder, expected an absolute path"},
		/* YAML's own, told beside the others */
		{APP "park: &p {time: 5}\n", "park: anchors and aliases are not read"},
		{APP "mesh: {domain: \"${NOT_SET}\"}\n", "f.yaml:4:16: mesh.domain: the environment has no NOT_SET"},
		{"apps: [{name: shop, listen: [{unix: /run/a.sock}, {unix: \"${NOT_SET}\"}]}]\n", "f.yaml:1:58: apps[0].listen[1].unix: the environment has no NOT_SET"},
		{APP "services: [{name: a:1, endpoints: [\"b:1\", \"${NOT_SET}:1\"]}]\n", "services[0].endpoints[1]: the environment has no NOT_SET"},
		{APP "services: [{name: a:1, endpoints: []}, {name: b:1, endpoints: [], name: c:1}]\n", "services[1].name: duplicate key"},
		{APP "xds: {server: a:1, tls: !!map {}}\n", "xds.tls: tags are not read"},
		{APP "log: {}\nlog: {}\n", "f.yaml:5:1: log: duplicate key"},
		{"", "apps: none is declared"},
		{"services: []\n", "apps: none is declared"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		refused_with(rows[i].text, 1, rows[i].said, NULL);
}
END_TEST

START_TEST(all_problems_of_a_file_are_told_at_once_from_top_to_bottom)
{
	struct err e = ERR_INIT;
	static const char text[] = "apps:\n"
				   "  - name: shop\n"
				   "    listen:\n"
				   "      - unix: relative\n"
				   "      - tcp: 8.8.8.8:80\n"
				   "    alais: {}\n"
				   "    alias: {x: ${NOPE}}\n"
				   "services:\n"
				   "  - name: a\n"
				   "    name: b\n"
				   "    endpoints: [bad, \"10.0.0.1:1\", worse]\n"
				   "limits: {memory_soft: 99}\n"
				   "xds: {}\n"; /* without a server */
	static const char *const expected[] = {"f.yaml:4:", "f.yaml:5:", "f.yaml:6:5:", "f.yaml:7:", "f.yaml:10:5:", "f.yaml:11:17:",
		"f.yaml:11:36:", "f.yaml:12:1:", "f.yaml:13:6:"};
	const char *at;

	/* `{x: ${NOPE}}` without quotes is broken YAML: libyaml stops there, and that alone is told. */
	ck_assert_ptr_null(conf_load_text("f.yaml", text, no_env, NULL, &e));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "f.yaml:7:"));
	err_clear(&e);

	char *sound = xstrdup(text), *brace = strstr(sound, "{x: ${NOPE}}");
	memcpy(brace, "{x: 'a b' } ", 12);
	ck_assert_ptr_null(conf_load_text("f.yaml", sound, no_env, NULL, &e));
	at = err_str(&e);
	for (size_t i = 0; i < UNIT_COUNT(expected); i++) {
		at = strstr(at, expected[i]);
		ck_assert_msg(at != NULL, "%s is missing or in the wrong order:\n%s", expected[i], err_str(&e));
	}
	ck_assert_msg(e.count == (int)UNIT_COUNT(expected), "%d problems:\n%s", e.count, err_str(&e));
	err_clear(&e);
	free(sound);
}
END_TEST

START_TEST(a_name_or_an_address_that_is_taken_is_told_with_both_places)
{
	refused_with("apps:\n- {name: a, listen: [{unix: /a}]}\n- {name: a, listen: [{unix: /b}]}\n", 1,
		"f.yaml:3:10: apps[1].name: the app 'a' is defined twice, expected once (it stands in f.yaml:2 already)", NULL);
	refused_with(APP "services:\n- {name: a, endpoints: []}\n- {name: A., endpoints: []}\n", 1,
		"f.yaml:6:10: services[1].name: the service 'a' is defined twice, expected once (it stands in f.yaml:5 already)", NULL);
	refused_with("apps:\n- name: a\n  listen:\n  - unix: /a\n- name: b\n  listen:\n  - unix: /a\n", 1,
		"f.yaml:7:5: apps[1].listen[0]: ", "(it stands in f.yaml:4 already)", NULL);
	refused_with("apps:\n- name: a\n  listen:\n  - tcp: 127.0.0.1:1\n  - tcp: 127.0.0.1:1\n", 1,
		"f.yaml:5:5: ", "127.0.0.1:1 is listened on twice", NULL);
	refused_with("apps: [{name: a, listen: [{tcp: 127.0.0.1:1}]}]\ncontrol: {tcp: 127.0.0.1:1}\n", 1,
		"f.yaml:2:1: control.tcp: an app listens on 127.0.0.1:1 too (f.yaml:1)", NULL);
}
END_TEST

/* ---- files and folders -------------------------------------------------------------------------------------------------- */

static char *folder_new(void)
{
	char *folder = xstrdup("/tmp/thinmesh-conf-XXXXXX");

	ck_assert_ptr_nonnull(mkdtemp(folder));
	return folder;
}

static void folder_put(const char *folder, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", folder, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	free(path);
}

static void folder_end(char *folder)
{
	struct dirent **names;
	int n = scandir(folder, &names, NULL, NULL);

	for (int i = 0; i < n; i++) {
		char *path = xasprintf("%s/%s", folder, names[i]->d_name);
		if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0)
			remove(path);
		free(path);
		free(names[i]);
	}
	free(names);
	rmdir(folder);
	free(folder);
}

START_TEST(of_a_folder_yaml_files_are_read_in_the_order_of_their_names)
{
	char *folder = folder_new();
	struct err e = ERR_INIT;
	struct conf *c;

	folder_put(folder, "20-b.yaml", "services: [{name: b, endpoints: []}]\n");
	folder_put(folder, "10-a.yaml", APP "services: [{name: a, endpoints: []}]\n");
	folder_put(folder, "30-log.yaml", "log: {level: debug}\n");
	folder_put(folder, ".hidden.yaml", "broken: [\n");
	folder_put(folder, "a.yaml~", "broken: [\n");
	folder_put(folder, "README", "broken: [\n");
	char *dir = xasprintf("%s/dir.yaml", folder), *fifo = xasprintf("%s/pipe.yaml", folder), *gone = xasprintf("%s/gone.yaml", folder);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ck_assert_int_eq(symlink("/nowhere/at/all", gone), 0);
	c = conf_load(&folder, 1, no_env, NULL, &e);
	ck_assert_msg(c != NULL, "%s", err_str(&e));
	ck_assert_uint_eq(c->nservices, 2);
	ck_assert_str_eq(c->services[0].name, "a");
	ck_assert_str_eq(c->services[1].name, "b");
	ck_assert_int_eq(c->log.level, LOG_DEBUG);
	ck_assert_uint_eq(c->nfolders, 1);
	ck_assert_str_eq(c->folders[0], folder);
	ck_assert_ptr_nonnull(strstr(c->services[1].place, "/20-b.yaml:1"));
	conf_unref(&c);
	free(dir);
	free(fifo);
	free(gone);
	folder_end(folder);
}
END_TEST

START_TEST(files_append_apps_and_services_and_share_nothing_else)
{
	char *folder = folder_new();
	struct err e = ERR_INIT;

	folder_put(folder, "a.yaml", APP "services: [{name: s, endpoints: []}]\nlog: {level: debug}\n");
	folder_put(folder, "b.yaml",
		"apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\nservices: [{name: s, endpoints: []}]\nlog: {access: text}\n");
	folder_put(folder, "c.yaml", "nonsense: 1\n");
	ck_assert_ptr_null(conf_load(&folder, 1, no_env, NULL, &e));
	ck_assert_int_eq(e.count, 5);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "b.yaml:1:15: apps[0].name: the app 'shop' is defined twice"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "/a.yaml:2 already)"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "/run/shop.sock is listened on twice"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "b.yaml:2:19: services[0].name: the service 's' is defined twice"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "b.yaml:3:1: log: set twice"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "/a.yaml:5 already)"));
	/* In the order in which the files are read. */
	ck_assert(strstr(err_str(&e), "b.yaml:3:1") < strstr(err_str(&e), "c.yaml:1:1"));
	err_clear(&e);
	folder_end(folder);
}
END_TEST

START_TEST(an_empty_folder_waits_for_its_apps)
{
	char *folder = folder_new();
	struct err e = ERR_INIT;
	struct conf *c = conf_load(&folder, 1, no_env, NULL, &e);

	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->napps, 0);
	conf_unref(&c);
	folder_end(folder);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_told)
{
	struct err e = ERR_INIT;
	char *paths[] = {(char *)"/nowhere/thinmesh.yaml", (char *)"/nowhere/else.yaml"};

	ck_assert_ptr_null(conf_load(paths, 2, no_env, NULL, &e));
	ck_assert_int_eq(e.count, 2);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "/nowhere/thinmesh.yaml: cannot be read: No such file or directory"));
	err_clear(&e);
}
END_TEST

/* ---- bounds ------------------------------------------------------------------------------------------------------------- */

START_TEST(apps_listeners_and_endpoints_are_bounded)
{
	struct sb b = {0};
	struct err e = ERR_INIT;
	char *folder = folder_new();

	sb_str(&b, "apps:\n");
	for (int i = 0; i < 1001; i++)
		sb_fmt(&b, "- {name: a%d, listen: [{unix: /a%d}]}\n", i, i);
	refused_with(b.p, 1, "apps: 1001 apps, expected at most 1000 in all", NULL);

	b.n = 0;
	sb_str(&b, "apps: [{name: a, listen: [");
	for (int i = 0; i < 65; i++)
		sb_fmt(&b, "{unix: /a%d}, ", i);
	sb_str(&b, "]}]\n");
	refused_with(b.p, 1, "apps[0].listen: 65 listeners, expected at most 64 an app", NULL);

	/* Over all files together: each alone would pass. */
	for (int file = 0; file < 3; file++) {
		char name[20];
		b.n = 0;
		sb_fmt(&b, "services: [{name: s%d, endpoints: [", file);
		for (int i = 0; i < 40000; i++)
			sb_str(&b, "'a:1',");
		sb_str(&b, "]}]\n");
		snprintf(name, sizeof(name), "%d.yaml", file);
		folder_put(folder, name, b.p);
	}
	ck_assert_ptr_null(conf_load(&folder, 1, no_env, NULL, &e));
	ck_assert_int_eq(e.count, 1);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "2.yaml:1:34: services[0].endpoints: 120000 endpoints, expected at most 100000 in all"));
	err_clear(&e);
	folder_end(folder);
	sb_end(&b);
}
END_TEST

START_TEST(a_file_full_of_mistakes_is_told_of_in_bounds)
{
	struct sb b = {0};
	struct err e = ERR_INIT;

	for (int i = 0; i < 50000; i++)
		sb_fmt(&b, "key%d: 1\n", i);
	ck_assert_ptr_null(conf_load_text("f.yaml", b.p, no_env, NULL, &e));
	ck_assert_int_gt(e.count, ERR_MAX_KEPT);
	ck_assert_uint_lt(e.len, 200000);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "f.yaml:1:1: key0: unknown key"));
	err_clear(&e);
	b.n = 0;
	sb_str(&b, APP "services: [{name: a, endpoints: [], retries: {on: [");
	for (int i = 0; i < 33; i++)
		sb_str(&b, "5xx, ");
	sb_str(&b, "]}}]\n");
	refused_with(b.p, 1, "services[0].retries.on: 33 words, expected at most 32", NULL);
	b.n = 0;
	sb_str(&b, "apps: [{name: a, listen: [{unix: /a, allow: {uid: [");
	for (int i = 0; i < 1025; i++)
		sb_fmt(&b, "%d, ", i);
	sb_str(&b, "]}}]}]\n");
	refused_with(b.p, 1, "allow.uid: 1025 numbers, expected at most 1024", NULL);
	b.n = 0;
	sb_str(&b, "apps: [{name: a, listen: [{unix: /a}], alias: {");
	for (int i = 0; i < 10001; i++)
		sb_fmt(&b, "a%d: b, ", i);
	sb_str(&b, "}}]\n");
	refused_with(b.p, 1, "apps[0].alias: 10001 entries, expected at most 10000", NULL);
	sb_end(&b);
}
END_TEST

UNIT_SUITE("conf", without_a_file_the_embedded_default_is_a_static_directory, print_conf_is_a_file_that_means_what_no_file_means,
	the_samples_of_print_conf_are_keys_that_exist, limits_begin_as_the_product_says, a_service_begins_as_specs_and_routes_begin,
	every_value_reaches_its_place, every_example_loads, namespace_and_domain_come_from_the_environment_unless_written,
	numbers_from_the_environment_may_stand_in_quotes, modes_are_octal_with_and_without_quotes,
	a_key_with_nothing_behind_it_means_its_default, names_of_services_and_aliases_are_cleaned, a_reload_sees_by_hashes_what_has_changed,
	every_mistake_is_told_with_its_place_and_what_was_expected, all_problems_of_a_file_are_told_at_once_from_top_to_bottom,
	a_name_or_an_address_that_is_taken_is_told_with_both_places, of_a_folder_yaml_files_are_read_in_the_order_of_their_names,
	files_append_apps_and_services_and_share_nothing_else, an_empty_folder_waits_for_its_apps, a_file_that_is_not_there_is_told,
	apps_listeners_and_endpoints_are_bounded, a_file_full_of_mistakes_is_told_of_in_bounds)
