/* conf/declare_xds: what `xds:` and `snapshot:` mean, and how a person is told what does not fit together in them. */
#include "tests/unit.h"

#include "base/mem.h"
#include "conf/conf.h"

#define APP "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"

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

START_TEST(five_lines_are_enough_for_a_mesh)
{
	struct conf *c = loaded(APP "xds:\n  server: istiod.istio-system.svc:15010\n");
	const struct conf_xds *x = &c->xds;

	ck_assert_uint_eq(c->nservices, 0);
	ck_assert_uint_eq(x->nservers, 1);
	ck_assert_str_eq(x->servers[0], "istiod.istio-system.svc:15010");
	ck_assert_int_eq(x->profile, PROFILE_ISTIO);
	ck_assert_int_eq(x->protocol, PROTOCOL_AUTO);
	ck_assert(!x->tls.on);
	ck_assert(!x->wildcard);
	ck_assert(x->cds);
	ck_assert(!x->template_eds_only);
	ck_assert_ptr_null(x->cluster_template);
	ck_assert_ptr_null(x->node.id);
	ck_assert_ptr_null(x->node.metadata);
	ck_assert_uint_eq(x->idle_ns, 600000000000);
	ck_assert_uint_eq(x->removal_hold_ns, 30000000000);
	ck_assert_uint_eq(x->connect_timeout_ns, 5000000000);
	ck_assert_str_eq(c->snapshot_dir, "/var/lib/thinmesh");
	conf_unref(&c);
	c = loaded(APP "snapshot: {dir: \"\"}\n");
	ck_assert_ptr_null(c->snapshot_dir);
	conf_unref(&c);
	c = loaded(APP "xds:\n");
	ck_assert_uint_eq(c->xds.nservers, 0);
	conf_unref(&c);
}
END_TEST

START_TEST(every_key_of_xds_reaches_its_place)
{
	struct conf *c = loaded(APP
		"xds:\n"
		"  servers: [Istiod-A.Istio-System.svc.:15012, \"unix:///etc/istio/proxy/XDS\", \"dns:///b:1\", \"[::1]:15010\", \"unix:@agent\"]\n"
		"  profile: template\n"
		"  protocol: sotw\n"
		"  tls: {roots: /r, cert: /c, key: /k, san: [a.b, \"spiffe://x/y\"], token_file: /t, server_name: istiod}\n"
		"  headers: {ClusterID: Kubernetes, x-empty: \"\"}\n"
		"  node:\n"
		"    id: me\n"
		"    cluster: us\n"
		"    locality: {region: r, zone: z, sub_zone: s}\n"
		"    metadata: {A: 1, B: \"1\", C: [true, ~, -0.5e3, 007, x\"y], D: {E: {}}, F: 1.2.3, G: yes}\n"
		"  prefetch: [Demo.default.svc.cluster.local:50051, \"b:80\"]\n"
		"  idle: 1m\n"
		"  removal_hold: 0s\n"
		"  wildcard: true\n"
		"  template: outbound|{port}||{app}.DEFAULT-GROUP.public.nacos\n"
		"  template_eds_only: yes\n"
		"  connect_timeout: 250ms\n"
		"snapshot: {dir: /s}\n");
	const struct conf_xds *x = &c->xds;
	static const char *const servers[] = {
		"istiod-a.istio-system.svc:15012", "unix:/etc/istio/proxy/XDS", "b:1", "[::1]:15010", "unix:@agent"};

	ck_assert_uint_eq(x->nservers, UNIT_COUNT(servers));
	for (size_t i = 0; i < UNIT_COUNT(servers); i++)
		ck_assert_str_eq(x->servers[i], servers[i]);
	ck_assert_int_eq(x->profile, PROFILE_TEMPLATE);
	ck_assert_int_eq(x->protocol, PROTOCOL_SOTW);
	ck_assert(x->tls.on);
	ck_assert_str_eq(x->tls.roots, "/r");
	ck_assert_str_eq(x->tls.cert, "/c");
	ck_assert_str_eq(x->tls.key, "/k");
	ck_assert_str_eq(x->tls.token_file, "/t");
	ck_assert_str_eq(x->tls.server_name, "istiod");
	ck_assert_uint_eq(x->tls.nsan, 2);
	ck_assert_str_eq(x->tls.san[1], "spiffe://x/y");
	ck_assert_uint_eq(x->nheaders, 2);
	ck_assert_str_eq(x->headers[0].from, "clusterid");
	ck_assert_str_eq(x->headers[0].to, "Kubernetes");
	ck_assert_str_eq(x->headers[1].to, "");
	ck_assert_str_eq(x->node.id, "me");
	ck_assert_str_eq(x->node.cluster, "us");
	ck_assert_str_eq(x->node.region, "r");
	ck_assert_str_eq(x->node.zone, "z");
	ck_assert_str_eq(x->node.sub_zone, "s");
	ck_assert_str_eq(x->node.metadata,
		"{\"A\":1,\"B\":\"1\",\"C\":[true,null,-0.5e3,\"007\",\"x\\\"y\"],\"D\":{\"E\":{}},\"F\":\"1.2.3\",\"G\":\"yes\"}");
	ck_assert_uint_eq(x->nprefetch, 2);
	ck_assert_str_eq(x->prefetch[0], "demo.default.svc.cluster.local:50051");
	ck_assert_uint_eq(x->idle_ns, 60000000000);
	ck_assert_uint_eq(x->removal_hold_ns, 0);
	ck_assert(x->wildcard);
	ck_assert_str_eq(x->cluster_template, "outbound|{port}||{app}.DEFAULT-GROUP.public.nacos");
	ck_assert(x->template_eds_only);
	ck_assert_uint_eq(x->connect_timeout_ns, 250000000);
	ck_assert_str_eq(c->snapshot_dir, "/s");
	conf_unref(&c);
}
END_TEST

START_TEST(tls_is_on_where_it_is_written_but_a_token_alone_needs_none_on_this_machine)
{
	static const struct {
		const char *xds;
		bool on;
	} rows[] = {
		{"server: a:1", false},
		{"server: a:1, tls: ", false},
		{"server: a:1, tls: {}", true},
		{"server: a:1, tls: {roots: \"\"}", true},
		{"server: a:1, tls: {token_file: /t}", true}, /* never in the clear */
		{"server: \"127.0.0.1:1\", tls: {token_file: /t}", false},
		{"server: \"[::1]:1\", tls: {token_file: /t}", false},
		{"server: \"localhost:1\", tls: {token_file: /t}", false},
		{"server: \"unix:/a\", tls: {token_file: /t}", false},
		{"servers: [\"unix:/a\", \"10.0.0.1:1\"], tls: {token_file: /t}", true},
		{"server: \"127.0.0.1:1\", tls: {}", true},
		{"server: \"127.0.0.1:1\", tls: {token_file: /t, roots: /r}", true},
		{"server: \"127.0.0.1:1\", headers: {Authorization: x}", false},
		{"server: a:1, tls: {}, headers: {authorization: x}", true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "xds: {%s}\n", rows[i].xds);
		struct conf *c = loaded(text);
		ck_assert_msg(c->xds.tls.on == rows[i].on, "%s", rows[i].xds);
		conf_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(what_does_not_fit_together_is_told_with_its_place_and_the_reason)
{
	static const struct {
		const char *xds, *said;
	} rows[] = {
		{"{}", "f.yaml:4:6: xds: has no server, expected server: HOST:PORT"},
		{"a:1", "xds: a text, expected a map of keys"},
		{"{profile: istio}", "xds: has no server"},
		{"{sever: a:1}", "f.yaml:4:7: xds.sever: unknown key; did you mean 'server'?"},
		{"{server: istiod}", "f.yaml:4:15: xds.server: 'istiod' has no port, expected HOST:PORT"},
		{"{server: \"istiod:0\"}", "xds.server: 'istiod:0' is no server"},
		{"{server: \"istiod:70000\"}", "xds.server: 'istiod:70000' is no server"},
		{"{server: \":15010\"}", "xds.server: ':15010' is no server"},
		{"{server: \"a b:1\"}", "is no server"},
		{"{server: \"https://istiod:15012\"}", "xds.server: 'https://istiod:15012' is a URL"},
		{"{server: \"unix:run/x\"}", "xds.server: 'unix:run/x' is no socket, expected unix:/PATH"},
		{"{server: \"unix:\"}", "is no socket"},
		{"{server: [a:1]}", "xds.server: a list, expected a text"},
		{"{server: a:1, servers: [b:1]}", "f.yaml:4:29: xds.servers: beside server, expected one of the two"},
		{"{servers: []}", "f.yaml:4:16: xds.servers: an empty list"},
		{"{servers: a:1}", "xds.servers: a text, expected a list of HOST:PORT"},
		{"{servers: [a:1, b]}", "f.yaml:4:22: xds.servers[1]: 'b' has no port"},
		{"{servers: [a:1, A.:1]}", "xds.servers[1]: 'a:1' stands in it twice"},
		{"{server: a:1, profile: isto}",
			"f.yaml:4:29: xds.profile: 'isto' is not known, expected one of istio, istio-grpc, generic, template, consul; did you mean "
			"'istio'?"},
		{"{server: a:1, protocol: ads}", "xds.protocol: 'ads' is not known, expected one of auto, sotw, delta"},
		{"{server: a:1, tls: {cert: /c}}", "f.yaml:4:32: xds.tls.cert: has no key, expected tls.key beside it"},
		{"{server: a:1, tls: {key: /c}}", "xds.tls.key: has no certificate"},
		{"{server: a:1, tls: {san: a}}", "xds.tls.san: a text, expected a list of names"},
		{"{server: a:1, tls: {san: ['']}}", "xds.tls.san[0]: '' is no name of a certificate"},
		{"{server: a:1, tls: on}", "xds.tls: a text, expected a map"},
		{"{server: a:1, headers: {authorization: x}}",
			"f.yaml:4:29: xds.headers: authorization would go out in the clear, expected a section xds.tls"},
		{"{servers: [\"127.0.0.1:1\", a:1], headers: {authorization: x}}", "would go out in the clear"},
		{"{server: a:1, headers: [x]}", "xds.headers: expected a map"},
		{"{server: a:1, headers: {grpc-timeout: 1S}}", "xds.headers.grpc-timeout: no header of yours"},
		{"{server: a:1, headers: {\":path\": x}}", "no header of yours"},
		{"{server: a:1, headers: {\"a b\": x}}", "no header of yours"},
		{"{server: a:1, headers: {a: \"x\\ny\"}}", "xds.headers.a: no value of a header"},
		{"{server: a:1, headers: {a: [x]}}", "xds.headers.a: a list, expected a text"},
		{"{server: a:1, profile: consul, protocol: sotw}", "f.yaml:4:47: xds.protocol: consul speaks delta only"},
		{"{server: a:1, profile: istio-grpc, protocol: delta}", "xds.protocol: istiod forgets names there"},
		{"{server: a:1, profile: template, template: \"{host}\", protocol: delta}", "xds.protocol: its servers do not speak it"},
		{"{server: a:1, profile: template}", "f.yaml:4:6: xds.template: missing with profile template"},
		{"{server: a:1, profile: template, template: \"outbound|{port}\"}",
			"f.yaml:4:49: xds.template: neither {host} nor {app}: every name would be one cluster"},
		{"{server: a:1, profile: template, template: \"{host}{prt}\"}", "something in braces that is none of"},
		{"{server: a:1, profile: template, template: \"{host\"}", "something in braces that is none of"},
		{"{server: a:1, profile: template, template: \"host}\"}", "a '}' without its '{'"},
		{"{server: a:1, template: \"{host}\"}", "xds.template: only for profile template"},
		{"{server: a:1, template_eds_only: true}", "xds.template_eds_only: only for profile template"},
		{"{server: a:1, template_eds_only: maybe}", "xds.template_eds_only: 'maybe' is neither, expected true or false"},
		{"{server: a:1, profile: generic, cds: off}", "xds.cds: off only with profile istio"},
		{"{server: a:1, prefetch: [demo]}", "f.yaml:4:31: xds.prefetch[0]: 'demo' has no port, expected NAME:PORT"},
		{"{server: a:1, prefetch: ['/x']}", "xds.prefetch[0]: '/x' is no authority"},
		{"{server: a:1, idle: 0s}", "xds.idle: '0s' is too small, expected 1s to 720h"},
		{"{server: a:1, node: {metadata: [a]}}", "xds.node.metadata: expected a map"},
		{"{server: a:1, node: {locality: eu}}", "xds.node.locality: a text, expected a map"},
		{"{server: a:1, node: {locality: {subzone: a}}}", "xds.node.locality.subzone: unknown key; did you mean 'sub_zone'?"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "xds: %s\n", rows[i].xds);
		struct err e = ERR_INIT;

		ck_assert_msg(conf_load_text("f.yaml", text, no_env, NULL, &e) == NULL, "accepted: %s", text);
		ck_assert_msg(strstr(err_str(&e), rows[i].said) != NULL, "%s\nsaid:\n%sexpected: %s", text, err_str(&e), rows[i].said);
		ck_assert_msg(e.count == 1, "%s\n%d problems:\n%s", text, e.count, err_str(&e));
		err_clear(&e);
		free(text);
	}
}
END_TEST

START_TEST(each_value_of_xds_changes_its_hash)
{
	static const char *const rows[] = {"server: a:1", "server: a:2", "servers: [a:1, a:2]", "server: a:1, profile: generic",
		"server: a:1, protocol: delta", "server: a:1, tls: {}", "server: a:1, tls: {roots: /a}", "server: a:1, tls: {server_name: /a}",
		"server: a:1, tls: {san: [a]}", "server: a:1, headers: {a: b}", "server: a:1, headers: {a: c}", "server: a:1, node: {id: a}",
		"server: a:1, node: {cluster: a}", "server: a:1, node: {metadata: {a: 1}}", "server: a:1, node: {metadata: {a: \"1\"}}",
		"server: a:1, node: {locality: {zone: a}}", "server: a:1, node: {locality: {region: a}}", "server: a:1, prefetch: [\"a:1\"]",
		"server: a:1, idle: 1m", "server: a:1, removal_hold: 1m", "server: a:1, wildcard: on", "server: a:1, cds: off",
		"server: a:1, connect_timeout: 1s", "server: a:1, profile: template, template: \"{host}\"",
		"server: a:1, profile: template, template: \"{host}\", template_eds_only: on"};
	uint64_t hashes[UNIT_COUNT(rows)];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "xds: {%s}\n", rows[i]);
		struct conf *c = loaded(text), *again = loaded(text);

		hashes[i] = c->xds.hash;
		ck_assert_uint_eq(again->xds.hash, c->xds.hash);
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(hashes[k] != hashes[i], "'%s' is as '%s'", rows[k], rows[i]);
		conf_unref(&c);
		conf_unref(&again);
		free(text);
	}
}
END_TEST

/* The block that --print-conf comments out says, without its comment signs, what a server alone says. */
START_TEST(the_printed_block_means_the_defaults)
{
	struct sb out = {0}, bare = {0};
	struct conf *c, *least = loaded(APP "xds: {server: istiod.istio-system.svc:15010}\n");
	bool inside = false;
	int lines = 0;

	conf_print_defaults(&out);
	sb_str(&bare, APP);
	for (char *line = strtok(out.p, "\n"); line; line = strtok(NULL, "\n")) {
		inside = strncmp(line, "# xds:", 6) == 0 || (inside && strncmp(line, "#   ", 4) == 0);
		if (inside) {
			sb_fmt(&bare, "%s\n", line + 2);
			lines++;
		}
	}
	ck_assert_int_gt(lines, 20);
	c = loaded(bare.p);
	ck_assert_uint_eq(c->xds.hash, least->xds.hash);
	conf_unref(&c);
	conf_unref(&least);
	sb_end(&out);
	sb_end(&bare);
}
END_TEST

UNIT_SUITE("conf xds", five_lines_are_enough_for_a_mesh, every_key_of_xds_reaches_its_place,
	tls_is_on_where_it_is_written_but_a_token_alone_needs_none_on_this_machine,
	what_does_not_fit_together_is_told_with_its_place_and_the_reason, each_value_of_xds_changes_its_hash,
	the_printed_block_means_the_defaults)
