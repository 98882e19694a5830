/* conf/declare_identity, conf/declare_tls: who apps are, what is wanted of TLS connections to services, from callers and to the control plane; and how a person is told what is wrong. */
#include "tests/unit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/conf.h"

#define APP "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n"
#define FILES "    identity: {cert: /c, key: /k}\n"
#define SERVICE(more) "services: [{name: a, endpoints: ['10.0.0.1:1'], " more "}]\n"
#define CA "ca: {server: 'istiod:15012', token_file: /t}"

struct vars { const char *account, *domain, *cluster, *bootstrap; };
static const char *env(void *ctx, const char *name)
{
	const struct vars *v = ctx;

	return !v ? NULL : strcmp(name, "SERVICE_ACCOUNT") == 0 ? v->account : strcmp(name, "TRUST_DOMAIN") == 0 ? v->domain : strcmp(name, "ISTIO_META_CLUSTER_ID") == 0 ? v->cluster
		: strcmp(name, "GRPC_XDS_BOOTSTRAP_CONFIG") == 0 ? v->bootstrap : NULL;
}

static struct conf *loaded_in(const char *text, const struct vars *v)
{
	struct err e = ERR_INIT;
	struct conf *c = conf_load_text("f.yaml", text, env, (void *)v, &e);

	ck_assert_msg(c != NULL, "%s\n%s", text, err_str(&e));
	return c;
}

static struct conf *loaded(const char *text)
{
	return loaded_in(text, NULL);
}

static void says(const struct conf *c, uint32_t app, const char *spiffe_id)
{
	char *id = conf_spiffe_id(&c->apps[app]);

	ck_assert_str_eq(id, spiffe_id);
	free(id);
}

/* ---- identities --------------------------------------------------------------------------------------------------------- */

START_TEST(an_app_is_nobody_unless_something_says_who_it_is)
{
	struct conf *c = loaded(APP);

	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_NONE);
	ck_assert_uint_eq(c->apps[0].identity.hash, 0);
	says(c, 0, "spiffe://cluster.local/ns/default/sa/default");
	conf_unref(&c);
}
END_TEST

START_TEST(the_sketch_of_the_product_is_read)
{
	struct conf *c = loaded("apps:\n  - name: shop\n    namespace: Mall\n    listen: [{unix: /run/shop.sock}]\n"
				"    identity: {service_account: shop, cert: /etc/certs/cert-chain.pem, key: /etc/certs/key.pem, roots: /etc/certs/root-cert.pem}   # or\n"
				"xds:\n  server: istiod.istio-system.svc:15010\n  tls: {roots: , cert: , key: , san: [], token_file: , server_name: }\n");
	const struct conf_identity *id = &c->apps[0].identity;

	ck_assert_int_eq(id->kind, IDENTITY_FILES);
	ck_assert_uint_ne(id->hash, 0);
	ck_assert_str_eq(id->files.cert, "/etc/certs/cert-chain.pem");
	ck_assert_str_eq(id->files.key, "/etc/certs/key.pem");
	ck_assert_str_eq(id->files.roots, "/etc/certs/root-cert.pem");
	ck_assert_ptr_null(id->files.crl);
	ck_assert_ptr_null(id->trust_domain);
	ck_assert_str_eq(id->place, "f.yaml:5");
	says(c, 0, "spiffe://cluster.local/ns/mall/sa/shop");
	ck_assert(c->xds.tls.on && c->xds.tls.identity && !c->xds.tls.identity_demanded);
	conf_unref(&c);
	c = loaded(APP "    identity: {service_account: shop, ca: {server: 'istiod:15012', token: /t}}\n");
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_CA);
	ck_assert_str_eq(c->apps[0].identity.ca.token_file, "/t");
	conf_unref(&c);
}
END_TEST

START_TEST(an_agent_is_named_by_its_path_or_by_a_map)
{
	static const struct { const char *sds, *server, *cert, *roots; } rows[] = {
		{"unix:/run/a.sock", "unix:/run/a.sock", "default", "ROOTCA"},
		{"'unix:///run/a.sock'", "unix:/run/a.sock", "default", "ROOTCA"},
		{"'unix:@agent'", "unix:@agent", "default", "ROOTCA"},
		{"{server: 'unix:/run/a.sock'}", "unix:/run/a.sock", "default", "ROOTCA"},
		{"{server: 'unix:/run/a.sock', cert: 'spiffe://a/b', roots: 'spiffe://a'}", "unix:/run/a.sock", "spiffe://a/b", "spiffe://a"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "    identity: {sds: %s, trust_domain: a.example, trust_domain_aliases: [b, c-1.example]}\n", rows[i].sds);
		struct conf *c = loaded(text);
		const struct conf_identity *id = &c->apps[0].identity;

		ck_assert_int_eq(id->kind, IDENTITY_SDS);
		ck_assert_str_eq(id->sds.server, rows[i].server);
		ck_assert_str_eq(id->sds.cert, rows[i].cert);
		ck_assert_str_eq(id->sds.roots, rows[i].roots);
		ck_assert_str_eq(id->trust_domain, "a.example");
		ck_assert_uint_eq(id->naliases, 2);
		ck_assert_str_eq(id->aliases[1], "c-1.example");
		conf_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(every_key_of_a_ca_reaches_its_place)
{
	struct conf *c = loaded(APP "    identity:\n      ca: {server: 'Istiod.istio-system.svc:15012', roots: /r, server_name: istiod, san: [a, 'spiffe://b'], token_file: /t, cert: /c, key: /k,\n"
				    "        cluster_id: one, signer: s, ttl: 1h, output: /o}\n");
	const struct conf_identity *id = &c->apps[0].identity;

	ck_assert_int_eq(id->kind, IDENTITY_CA);
	ck_assert_str_eq(id->ca.server, "istiod.istio-system.svc:15012");
	ck_assert_str_eq(id->ca.roots, "/r");
	ck_assert_str_eq(id->ca.server_name, "istiod");
	ck_assert_uint_eq(id->ca.nsan, 2);
	ck_assert_str_eq(id->ca.token_file, "/t");
	ck_assert_str_eq(id->ca.cert, "/c");
	ck_assert_str_eq(id->ca.key, "/k");
	ck_assert_str_eq(id->ca.cluster_id, "one");
	ck_assert_str_eq(id->ca.signer, "s");
	ck_assert_uint_eq(id->ca.ttl_ns, UINT64_C(3600000000000));
	ck_assert_str_eq(id->ca.output, "/o");
	conf_unref(&c);
	c = loaded(APP "    identity: {" CA "}\n");
	id = &c->apps[0].identity;
	ck_assert_str_eq(id->ca.cluster_id, "Kubernetes");
	ck_assert_uint_eq(id->ca.ttl_ns, UINT64_C(86400000000000));
	ck_assert(!id->ca.roots && !id->ca.server_name && !id->ca.signer && !id->ca.output && !id->ca.cert);
	conf_unref(&c);
}
END_TEST

START_TEST(the_environment_of_a_pod_says_what_the_map_does_not)
{
	const struct vars v = {.account = "till", .domain = "mesh.example", .cluster = "west"};
	struct conf *c = loaded_in(APP "    identity: {" CA "}\n", &v);

	says(c, 0, "spiffe://mesh.example/ns/default/sa/till");
	ck_assert_str_eq(c->apps[0].identity.ca.cluster_id, "west");
	conf_unref(&c);
	c = loaded_in(APP "    identity: {service_account: own, trust_domain: own.example, " CA "}\n", &v);
	says(c, 0, "spiffe://own.example/ns/default/sa/own");
	conf_unref(&c);
}
END_TEST

START_TEST(the_root_is_the_default_of_what_an_app_does_not_write)
{
	struct conf *c = loaded("apps:\n"
				"  - {name: a, listen: [{unix: /a}]}\n"
				"  - {name: b, listen: [{unix: /b}], identity: {service_account: till}}\n"
				"  - {name: c, listen: [{unix: /c}], identity: {cert: /c, key: /k, trust_domain: other.example}}\n"
				"  - {name: d, listen: [{unix: /d}], identity: none}\n"
				"identity: {service_account: all, trust_domain: mesh.example, trust_domain_aliases: [old], ca: {server: 'ca:1', token_file: /t, san: [x]}}\n");

	says(c, 0, "spiffe://mesh.example/ns/default/sa/all");
	says(c, 1, "spiffe://mesh.example/ns/default/sa/till");
	says(c, 2, "spiffe://other.example/ns/default/sa/all");
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_CA);
	ck_assert_int_eq(c->apps[1].identity.kind, IDENTITY_CA);
	ck_assert_str_eq(c->apps[1].identity.ca.server, "ca:1");
	ck_assert_str_eq(c->apps[1].identity.ca.san[0], "x");
	ck_assert_str_eq(c->apps[1].identity.aliases[0], "old");
	ck_assert_uint_ne(c->apps[0].identity.hash, c->apps[1].identity.hash);
	ck_assert_int_eq(c->apps[2].identity.kind, IDENTITY_FILES);
	ck_assert_ptr_null(c->apps[2].identity.ca.server);
	ck_assert_int_eq(c->apps[3].identity.kind, IDENTITY_NONE);
	conf_unref(&c);
	c = loaded("apps:\n  - {name: a, listen: [{unix: /a}]}\n  - {name: b, listen: [{unix: /b}], identity: {cert: /c, key: /k}}\nidentity: none\n");
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_NONE);
	ck_assert_int_eq(c->apps[1].identity.kind, IDENTITY_FILES);
	conf_unref(&c);
}
END_TEST

#define PROVIDERS(list) "{\"xds_servers\":[{\"server_uri\":\"unix:///x\"}],\"certificate_providers\":{" list "}}"
#define WATCHER(name, files) "\"" name "\":{\"plugin_name\":\"file_watcher\",\"config\":{" files "}}"

START_TEST(behind_an_agent_the_bootstraps_certificate_is_the_apps)
{
	static const char two[] = PROVIDERS(WATCHER("roots", "\"ca_certificate_file\":\"/r0\"") "," WATCHER("own", "\"certificate_file\":\"/c\",\"private_key_file\":\"/k\",\"ca_certificate_file\":\"/r\","
		"\"refresh_interval\":\"900s\"") "," "\"mesh\":{\"plugin_name\":\"mesh_ca\",\"config\":{}}," WATCHER("spiffe", "\"spiffe_trust_bundle_map_file\":\"/b\""));
	const struct vars v = {.bootstrap = two};
	struct conf *c = loaded_in(APP "xds: {}\n", &v);
	const struct conf_identity *id = &c->apps[0].identity;

	ck_assert_int_eq(id->kind, IDENTITY_FILES);
	ck_assert_str_eq(id->files.cert, "/c");
	ck_assert_str_eq(id->files.key, "/k");
	ck_assert_str_eq(id->files.roots, "/r");
	ck_assert_uint_eq(c->ninstances, 4);
	ck_assert_str_eq(conf_instance_find(c, "roots")->roots, "/r0");
	ck_assert_ptr_null(conf_instance_find(c, "roots")->cert);
	ck_assert_str_eq(conf_instance_find(c, "mesh")->plugin, "mesh_ca");
	ck_assert_str_eq(conf_instance_find(c, "spiffe")->bundle_map, "/b");
	ck_assert_ptr_null(conf_instance_find(c, "default"));
	conf_unref(&c);
	/* Another server: its certificates are known, and are nobody's identity; what is written counts more. */
	c = loaded_in(APP "xds: {server: 'a:1'}\n", &v);
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_NONE);
	ck_assert_uint_eq(c->ninstances, 4);
	conf_unref(&c);
	c = loaded_in(APP "    identity: {sds: 'unix:/s'}\nxds: {}\n", &v);
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_SDS);
	conf_unref(&c);
	c = loaded_in(APP "    identity: {service_account: shop}\nxds: {}\n", &v);
	ck_assert_int_eq(c->apps[0].identity.kind, IDENTITY_FILES);
	conf_unref(&c);
	c = loaded_in(APP, &v);
	ck_assert_uint_eq(c->ninstances, 0);
	conf_unref(&c);
}
END_TEST

START_TEST(each_part_of_an_identity_makes_another_one)
{
	static const char *const rows[] = {"cert: /c, key: /k", "cert: /C, key: /k", "cert: /c, key: /K", "cert: /c, key: /k, roots: /r", "cert: /c, key: /k, roots: /r, crl: /x", "cert: /c, key: /k, service_account: x",
		"cert: /c, key: /k, trust_domain: x", "cert: /c, key: /k, trust_domain_aliases: [x]", "sds: 'unix:/a'", "sds: 'unix:/b'", "sds: {server: 'unix:/a', cert: x}", "sds: {server: 'unix:/a', roots: x}",
		"ca: {server: 'a:1', token: /t}", "ca: {server: 'a:2', token: /t}", "ca: {server: 'a:1', token: /u}", "ca: {server: 'a:1', token: /t, ttl: 1h}", "ca: {server: 'a:1', token: /t, san: [a]}",
		"ca: {server: 'a:1', token: /t, signer: a}", "ca: {server: 'a:1', token: /t, output: /a}", "ca: {server: 'a:1', cert: /t, key: /k}"};
	uint64_t ids[UNIT_COUNT(rows)], apps[UNIT_COUNT(rows)];

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "    identity: {%s}\n", rows[i]);
		struct conf *c = loaded(text), *again = loaded(text);

		ids[i] = c->apps[0].identity.hash;
		apps[i] = c->apps[0].hash;
		ck_assert_uint_eq(ids[i], again->apps[0].identity.hash);
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(ids[k] != ids[i] && apps[k] != apps[i], "rows %zu and %zu", k, i);
		conf_unref(&c);
		conf_unref(&again);
		free(text);
	}
}
END_TEST

/* ---- wants -------------------------------------------------------------------------------------------------------------- */

static struct tls_want *want_of(struct conf *c)
{
	ck_assert_uint_eq(c->nservices, 1);
	return c->services[0].spec->want;
}

START_TEST(a_service_is_in_plain_text_unless_tls_is_written)
{
	struct conf *c = loaded(APP SERVICE(""));

	ck_assert_ptr_null(want_of(c));
	ck_assert_ptr_null(c->services[0].spec->want);
	conf_unref(&c);
}
END_TEST

START_TEST(tls_with_nothing_in_it_is_that_of_https)
{
	struct conf *c = loaded(APP SERVICE("tls: {}"));
	const struct tls_want *w = want_of(c);

	ck_assert_ptr_nonnull(c->services[0].spec->want);
	ck_assert_int_eq(w->cert.from, SECRET_NOWHERE);
	ck_assert_int_eq(w->roots.from, SECRET_SYSTEM);
	ck_assert_int_eq(w->names, TLS_NAMES_SERVER);
	ck_assert_str_eq(w->alpn, "h2");
	ck_assert_ptr_null(w->sni);
	ck_assert_uint_eq(w->nrules, 0);
	ck_assert_uint_ne(w->hash, 0);
	conf_unref(&c);
}
END_TEST

START_TEST(every_key_of_a_services_tls_reaches_its_place)
{
	struct conf *c = loaded(APP FILES SERVICE("tls: {roots: /r, crl: /x, sni: demo.example.com, identity: shop, alpn: 'istio-h2,h2', min_version: 1.3, max_version: 1.3,\n"
		"  san: [a.example, {prefix: 'spiffe://a/', on: uri}, {suffix: .b, on: dns}, {contains: c}, {regex: 'spiffe://[a-z]+/x', on: uri}, {exact: 10.0.0.1, on: ip}]}"));
	const struct tls_want *w = want_of(c);

	ck_assert_int_eq(w->cert.from, SECRET_IDENTITY);
	ck_assert_str_eq(w->cert.name, "shop");
	ck_assert_int_eq(w->roots.from, SECRET_FILES);
	ck_assert_str_eq(w->roots.name, "/r\n/x");
	ck_assert_str_eq(w->sni, "demo.example.com");
	ck_assert_str_eq(w->alpn, "istio-h2,h2");
	ck_assert_uint_eq(w->min, 0x0304);
	ck_assert_uint_eq(w->max, 0x0304);
	ck_assert_int_eq(w->names, TLS_NAMES_RULES);
	ck_assert_uint_eq(w->nrules, 6);
	ck_assert(w->rules[0].on == TLS_NAME_ANY && w->rules[0].kind == TLS_EXACT);
	ck_assert(w->rules[1].on == TLS_NAME_URI && w->rules[1].kind == TLS_PREFIX);
	ck_assert(w->rules[2].on == TLS_NAME_DNS && w->rules[2].kind == TLS_SUFFIX);
	ck_assert(w->rules[3].kind == TLS_CONTAINS);
	ck_assert(w->rules[4].kind == TLS_REGEX && w->rules[4].regex);
	ck_assert_int_eq(w->regex_match(w->rules[4].regex, STR("spiffe://abc/x")), 1);
	ck_assert_int_eq(w->regex_match(w->rules[4].regex, STR("spiffe://abc/xy")), 0);
	ck_assert(w->rules[5].on == TLS_NAME_IP && w->rules[5].kind == TLS_EXACT);
	conf_unref(&c);
	c = loaded(APP FILES SERVICE("tls: {roots: identity, identity: shop, alpn: ''}"));
	ck_assert_int_eq(want_of(c)->roots.from, SECRET_IDENTITY);
	ck_assert_str_eq(want_of(c)->roots.name, "shop");
	ck_assert_ptr_null(want_of(c)->alpn);
	conf_unref(&c);
	c = loaded(APP SERVICE("tls: {insecure: true}"));
	ck_assert_int_eq(want_of(c)->roots.from, SECRET_NOWHERE);
	ck_assert_int_eq(want_of(c)->names, TLS_NAMES_ANY);
	conf_unref(&c);
}
END_TEST

START_TEST(what_callers_must_show_is_the_inbound_sockets)
{
	static const struct { const char *tls; enum inbound_tls mode; bool optional; } rows[] = {
		{"strict", INBOUND_STRICT, false}, {"permissive", INBOUND_PERMISSIVE, false}, {"{}", INBOUND_STRICT, false},
		{"{mode: permissive, client_certificate: optional}", INBOUND_PERMISSIVE, true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', tls: %s}]\n", rows[i].tls);
		struct conf *c = loaded(text);
		const struct conf_inbound *in = &c->apps[0].inbound[0];

		ck_assert_int_eq(in->tls, rows[i].mode);
		ck_assert_int_eq(in->want->cert.from, SECRET_IDENTITY);
		ck_assert_int_eq(in->want->roots.from, SECRET_IDENTITY);
		ck_assert_str_eq(in->want->cert.name, "");
		ck_assert_int_eq(in->want->names, TLS_NAMES_DOMAIN);
		ck_assert_str_eq(in->want->alpn, "h2,http/1.1");
		ck_assert_int_eq(in->want->no_client_cert, rows[i].optional);
		conf_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(an_allow_list_names_ids_and_paths)
{
	struct conf *c = loaded(APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', tls: strict,\n      allow: [{ids: ['spiffe://a/ns/x/sa/y', 'spiffe://a/*']}, {paths: ['/svc/*', '*']}, {ids: ['*', 'spiff*'], paths: [/a/b]}]}]\n");
	const struct conf_inbound *in = &c->apps[0].inbound[0];

	ck_assert_uint_eq(in->nallow, 3);
	ck_assert_uint_eq(in->allow[0].nids, 2);
	ck_assert_uint_eq(in->allow[0].npaths, 0);
	ck_assert_str_eq(in->allow[0].ids[1], "spiffe://a/*");
	ck_assert_uint_eq(in->allow[1].nids, 0);
	ck_assert_str_eq(in->allow[1].paths[0], "/svc/*");
	ck_assert_str_eq(in->allow[2].paths[0], "/a/b");
	conf_unref(&c);
}
END_TEST

START_TEST(the_control_plane_is_shown_an_identity_where_there_is_one)
{
	static const struct { const char *identity, *tls; enum secret_from from; const char *name; bool demanded; } rows[] = {
		{FILES, "{}", SECRET_IDENTITY, "", false},
		{FILES, "{token_file: /t}", SECRET_IDENTITY, "", false},
		{FILES, "{identity: true}", SECRET_IDENTITY, "", true},
		{FILES, "{identity: shop}", SECRET_IDENTITY, "shop", true},
		{FILES, "{identity: false}", SECRET_NOWHERE, "", false},
		{FILES, "{cert: /xc, key: /xk}", SECRET_FILES, "/xc\n/xk", false},
		{"", "{}", SECRET_NOWHERE, "", false},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf(APP "%sxds: {server: 'a:1', tls: %s}\n", rows[i].identity, rows[i].tls);
		struct conf *c = loaded(text);
		const struct conf_xds *x = &c->xds;

		ck_assert_int_eq(x->tls.want->cert.from, rows[i].from);
		ck_assert_str_eq(x->tls.want->cert.name ? x->tls.want->cert.name : "", rows[i].name);
		ck_assert_int_eq(x->tls.identity_demanded, rows[i].demanded);
		ck_assert_int_eq(x->tls.identity, rows[i].from == SECRET_IDENTITY);
		ck_assert_int_eq(x->tls.bare->cert.from, rows[i].from == SECRET_FILES ? SECRET_FILES : SECRET_NOWHERE);
		ck_assert_int_eq(x->tls.want->roots.from, SECRET_SYSTEM);
		ck_assert_int_eq(x->tls.want->names, TLS_NAMES_SERVER);
		ck_assert_str_eq(x->tls.want->alpn, "h2");
		conf_unref(&c);
		free(text);
	}
	struct conf *c = loaded(APP "xds: {server: 'a:1', tls: {roots: /r, san: [x, y], server_name: z}}\n");
	ck_assert_int_eq(c->xds.tls.want->roots.from, SECRET_FILES);
	ck_assert_str_eq(c->xds.tls.want->roots.name, "/r");
	ck_assert_int_eq(c->xds.tls.want->names, TLS_NAMES_RULES);
	ck_assert_uint_eq(c->xds.tls.want->nrules, 2);
	ck_assert_str_eq(c->xds.tls.want->sni, "z");
	conf_unref(&c);
	c = loaded(APP "xds: {server: 'a:1'}\n");
	ck_assert(!c->xds.tls.want && !c->xds.tls.bare);
	conf_unref(&c);
}
END_TEST

/* ---- mistakes ----------------------------------------------------------------------------------------------------------- */

START_TEST(a_mistake_is_told_with_its_place)
{
	static const struct { const char *text, *said; } rows[] = {
		{APP "    identity: {cert: /c}\n", "f.yaml:4:22: apps[0].identity.cert: has no key, expected key: /PATH beside it"},
		{APP "    identity: {key: /k}\n", "apps[0].identity.key: has no certificate"},
		{APP "    identity: {cert: c, key: /k}\n", "apps[0].identity.cert: 'c' is no file, expected an absolute path"},
		{APP "    identity: {cert: /c, key: \"/a\\n/b\"}\n", "apps[0].identity.key: '/a\n/b' is no file"},
		{APP "    identity: {cert: /c, key: /k, crl: /x}\n", "apps[0].identity.crl: without roots"},
		{APP "    identity: {roots: /r}\n", "apps[0].identity.roots: only beside cert and key"},
		{APP "    identity: {cert: /c, key: /k, sds: 'unix:/a'}\n", "apps[0].identity.sds: beside cert, expected exactly one of cert (with key), sds, ca"},
		{APP "    identity: {sds: 'unix:/a', " CA "}\n", "apps[0].identity.ca: beside sds, expected exactly one"},
		{APP "    identity: {sds: 'unix:/a', roots: /r}\n", "apps[0].identity.roots: only beside cert and key"},
		{APP "    identity: {sds: /run/a}\n", "f.yaml:4:21: apps[0].identity.sds: '/run/a' is no Unix socket, expected unix:/PATH"},
		{APP "    identity: {sds: 'a:1'}\n", "apps[0].identity.sds: 'a:1' is no Unix socket"},
		{APP "    identity: {sds: {server: 'a:1'}}\n", "apps[0].identity.sds.server: 'a:1' is no Unix socket"},
		{APP "    identity: {sds: {}}\n", "apps[0].identity.sds: has no server"},
		{APP "    identity: {sds: {server: 'unix:/a', cert: ''}}\n", "apps[0].identity.sds.cert: '' is no name of a secret"},
		{APP "    identity: {ca: {token: /t}}\n", "apps[0].identity.ca: has no server, expected server: HOST:PORT"},
		{APP "    identity: {ca: {server: 'a:1'}}\n", "apps[0].identity.ca: has neither token_file nor cert and key"},
		{APP "    identity: {ca: {server: a, token: /t}}\n", "apps[0].identity.ca.server: 'a' has no port"},
		{APP "    identity: {ca: {server: 'https://a', token: /t}}\n", "apps[0].identity.ca.server: 'https://a' is a URL"},
		{APP "    identity: {ca: {server: 'a:1', token: t}}\n", "apps[0].identity.ca.token: 't' is no file"},
		{APP "    identity: {ca: {server: 'a:1', token: /t, token_file: /t}}\n", "apps[0].identity.ca.token: beside token_file"},
		{APP "    identity: {ca: {server: 'a:1', cert: /t}}\n", "apps[0].identity.ca.cert: has no key"},
		{APP "    identity: {ca: {server: 'a:1', token: /t, ttl: 1}}\n", "apps[0].identity.ca.ttl: '1' is no time"},
		{APP "    identity: {ca: 'a:1'}\n", "apps[0].identity.ca: expected a map with server and token_file"},
		{APP "    identity: {service_account: 'a/b', cert: /c, key: /k}\n", "apps[0].identity.service_account: 'a/b' is no service account"},
		{APP "    identity: {trust_domain: 'Cluster.Local', cert: /c, key: /k}\n", "apps[0].identity.trust_domain: 'Cluster.Local' is no trust domain"},
		{APP "    identity: {trust_domain_aliases: [a, a], cert: /c, key: /k}\n", "trust_domain_aliases[1]: 'a' stands in it twice"},
		{APP "    identity: {trust_domain_aliases: ['spiffe://a'], cert: /c, key: /k}\n", "trust_domain_aliases[0]: 'spiffe://a' is no trust domain"},
		{APP "    identity: {service_account: shop}\n", "f.yaml:4: apps[0].identity: names no source, expected one of cert (with key), sds, ca"},
		{APP "    identity: somebody\n", "apps[0].identity: expected a map with cert and key, sds, or ca; or none"},
		{APP "identity: {sds: x}\n", "f.yaml:4:17: identity.sds: 'x' is no Unix socket"},
		{APP "identity: {service_account: x}\n", "f.yaml:4:1: identity: names no source"},
		{APP "    identity: {crt: /c, key: /k}\n", "apps[0].identity.crt: unknown key; did you mean 'cert'?"},
		{APP SERVICE("tls: true"), "services[0].tls: expected a map; {} will do"},
		{APP SERVICE("tls: {roots: r}"), "services[0].tls.roots: 'r' is no file"},
		{APP SERVICE("tls: {crl: /x}"), "services[0].tls.crl: without a file of roots"},
		{APP SERVICE("tls: {roots: identity}"), "services[0].tls.roots: identity means the roots of `identity`"},
		{APP SERVICE("tls: {insecure: true, roots: /r}"), "services[0].tls.insecure: beside roots"},
		{APP SERVICE("tls: {insecure: true, san: [a]}"), "services[0].tls.insecure: beside san"},
		{APP SERVICE("tls: {san: []}"), "services[0].tls.san: an empty list"},
		{APP SERVICE("tls: {san: ['']}"), "services[0].tls.san[0]: empty"},
		{APP SERVICE("tls: {san: [{}]}"), "services[0].tls.san[0]: says nothing"},
		{APP SERVICE("tls: {san: [{on: uri}]}"), "services[0].tls.san[0]: says nothing"},
		{APP SERVICE("tls: {san: [{exact: a, prefix: b}]}"), "services[0].tls.san[0].prefix: a second condition"},
		{APP SERVICE("tls: {san: [{exact: a, on: mail}]}"), "services[0].tls.san[0].on: 'mail' is not known, expected one of uri, dns, ip, email"},
		{APP SERVICE("tls: {san: [{equals: a}]}"), "services[0].tls.san[0].equals: unknown key"},
		{APP SERVICE("tls: {san: [{regex: '('}]}"), "services[0].tls.san[0].regex: '(' is no regular expression of RE2"},
		{APP SERVICE("tls: {sni: 'a:1'}"), "services[0].tls.sni: 'a:1' is no name of a server"},
		{APP SERVICE("tls: {alpn: 'h2,'}"), "services[0].tls.alpn: 'h2,' is no list of protocols"},
		{APP SERVICE("tls: {min_version: 1.3, max_version: 1.2}"), "services[0].tls.min_version: above max_version"},
		{APP SERVICE("tls: {min_version: 1.1}"), "services[0].tls.min_version: '1.1' is not known, expected one of 1.2, 1.3"},
		{APP SERVICE("tls: {identity: shop}"), "f.yaml:4: services[0].tls.identity: 'shop': that app has no identity"},
		{APP SERVICE("tls: {identity: till}"), "services[0].tls.identity: 'till': no app has that name"},
		{APP "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', tls: strict}]\n", "f.yaml:4: apps[0].inbound[0].tls: the app has no identity"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', tls: mutual}]\n", "apps[0].inbound[0].tls: 'mutual' is not known, expected strict, permissive, or a map"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', tls: {mode: off}}]\n", "apps[0].inbound[0].tls.mode: 'off' is not known"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: []}]\n", "apps[0].inbound[0].allow: an empty list"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{paths: [/a]}, {ids: ['spiffe://a/b']}]}]\n", "apps[0].inbound[0].allow: ids would fit nobody, expected tls:"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{}]}]\n", "apps[0].inbound[0].allow[0]: allows everything"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{ids: []}]}]\n", "apps[0].inbound[0].allow[0].ids: an empty list"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{ids: [shop]}]}]\n", "allow[0].ids[0]: 'shop' would fit nothing, expected a SPIFFE id"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{ids: ['spiffe://*/a']}]}]\n", "allow[0].ids[0]: 'spiffe://*/a': '*' stands for any rest"},
		{APP FILES "    inbound: [{tcp: '0.0.0.0:1', to: '127.0.0.1:2', allow: [{paths: [a/b]}]}]\n", "allow[0].paths[0]: 'a/b' would fit nothing"},
		{APP "xds: {server: 'a:1', tls: {identity: true}}\n", "f.yaml:4:1: xds.tls.identity: no app has an identity"},
		{APP FILES "xds: {server: 'a:1', tls: {identity: till}}\n", "xds.tls.identity: 'till': no app has that name"},
		{APP FILES "xds: {server: 'a:1', tls: {identity: true, cert: /c, key: /k}}\n", "xds.tls.identity: beside cert and key"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct err e = ERR_INIT;
		struct conf *c = conf_load_text("f.yaml", rows[i].text, env, NULL, &e);

		ck_assert_msg(c == NULL, "row %zu was taken: %s", i, rows[i].text);
		ck_assert_msg(strstr(err_str(&e), rows[i].said) != NULL, "row %zu: %s\nexpected: %s", i, err_str(&e), rows[i].said);
		ck_assert_msg(e.count == 1, "row %zu: one mistake, one line: %s", i, err_str(&e));
		err_clear(&e);
	}
}
END_TEST

UNIT_SUITE("conf_tls", an_app_is_nobody_unless_something_says_who_it_is, the_sketch_of_the_product_is_read, an_agent_is_named_by_its_path_or_by_a_map, every_key_of_a_ca_reaches_its_place,
	the_environment_of_a_pod_says_what_the_map_does_not, the_root_is_the_default_of_what_an_app_does_not_write, behind_an_agent_the_bootstraps_certificate_is_the_apps,
	each_part_of_an_identity_makes_another_one, a_service_is_in_plain_text_unless_tls_is_written, tls_with_nothing_in_it_is_that_of_https, every_key_of_a_services_tls_reaches_its_place,
	what_callers_must_show_is_the_inbound_sockets, an_allow_list_names_ids_and_paths, the_control_plane_is_shown_an_identity_where_there_is_one, a_mistake_is_told_with_its_place)
