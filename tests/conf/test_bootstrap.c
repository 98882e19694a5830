/* conf/bootstrap: what gRPC's bootstrap gives to `xds:`, and only what it does not say itself. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/bootstrap.h"
#include "conf/conf.h"

#define APP "apps: [{name: shop, listen: [{unix: /a}]}]\n"

/* As an istio-agent writes it. */
static const char agent[] = "{\n\t\"xds_servers\": [\n\t\t{\n\t\t\t\"server_uri\": \"unix:///etc/istio/proxy/XDS\",\n"
			    "\t\t\t\"channel_creds\": [{\"type\": \"insecure\"}],\n\t\t\t\"server_features\": [\"xds_v3\"]\n\t\t}\n\t],\n"
			    "\t\"node\": {\"id\": \"sidecar~1.2.3.4~a.b~b.svc.cluster.local\", \"metadata\": {\"X\": \"a\\/b \\u00e9 ${Y}\"}, \"locality\": {}},\n"
			    "\t\"certificate_providers\": {\n\t\t\"default\": {\n\t\t\t\"plugin_name\": \"file_watcher\",\n"
			    "\t\t\t\"config\": {\"certificate_file\": \"/c\", \"private_key_file\": \"/k\", \"ca_certificate_file\": \"/r\", \"refresh_interval\": \"900s\"}\n"
			    "\t\t}\n\t},\n\t\"server_listener_resource_name_template\": \"xds.istio.io/grpc/lds/inbound/%s\"\n}\n";
static const char secure[] = "{\"xds_servers\":[{\"server_uri\":\"dns:///td.example:443\",\"channel_creds\":[{\"type\":\"google_default\"},"
			     "{\"type\":\"tls\",\"config\":{\"ca_certificate_file\":\"/r\"}}]}]}";

struct vars { const char *file, *text; };
static const char *env(void *ctx, const char *name)
{
	const struct vars *v = ctx;

	return strcmp(name, "GRPC_XDS_BOOTSTRAP") == 0 ? v->file : strcmp(name, "GRPC_XDS_BOOTSTRAP_CONFIG") == 0 ? v->text : NULL;
}

START_TEST(a_bootstrap_is_read_from_its_file_or_its_text)
{
	char path[] = "/tmp/thinmesh-bootstrap-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, agent, strlen(agent)), (ssize_t)strlen(agent));
	close(fd);
	for (int i = 0; i < 2; i++) {
		struct vars v = {i ? NULL : path, i ? agent : secure}; /* the file counts more than the text */
		struct err e = ERR_INIT;
		struct bootstrap b;

		ck_assert_msg(bootstrap_read(env, &v, &e, &b) == 1, "%s", err_str(&e));
		ck_assert_str_eq(b.server, "unix:///etc/istio/proxy/XDS");
		ck_assert(!b.tls);
		ck_assert_str_eq(b.id, "sidecar~1.2.3.4~a.b~b.svc.cluster.local");
		ck_assert_ptr_null(b.cluster);
		ck_assert_ptr_null(b.region);
		ck_assert_str_eq(yaml_get(b.metadata, "X")->scalar.p, "a/b \xc3\xa9 ${Y}");
		ck_assert_str_eq(b.cert, "/c");
		ck_assert_str_eq(b.key, "/k");
		ck_assert_str_eq(b.roots, "/r");
		bootstrap_end(&b);
		ck_assert_ptr_null(b.server);
	}
	unlink(path);
}
END_TEST

START_TEST(where_xds_names_no_server_the_bootstraps_is_meant)
{
	static const struct {
		const char *xds, *text;
		const char *server;
		bool tls;
		const char *roots;
	} rows[] = {
		{"xds: {}\n", agent, "unix:/etc/istio/proxy/XDS", false, NULL},
		{"xds: {profile: istio-grpc}\n", agent, "unix:/etc/istio/proxy/XDS", false, NULL},
		{"xds: {server: \"a:1\"}\n", agent, "a:1", false, NULL},
		{"xds: {}\n", secure, "td.example:443", true, "/r"},
		{"xds: {tls: {roots: /own}}\n", secure, "td.example:443", true, "/own"},
		/* Nothing is asked of a mesh that the configuration does not name. */
		{"", agent, NULL, false, NULL},
		{"xds:\n", agent, NULL, false, NULL},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct vars v = {NULL, rows[i].text};
		struct err e = ERR_INIT;
		char *text = xasprintf(APP "%s", rows[i].xds);
		struct conf *c = conf_load_text("f.yaml", text, env, &v, &e);

		ck_assert_msg(c != NULL, "row %zu: %s", i, err_str(&e));
		ck_assert_uint_eq(c->xds.nservers, rows[i].server != NULL);
		if (rows[i].server)
			ck_assert_str_eq(c->xds.servers[0], rows[i].server);
		ck_assert_int_eq(c->xds.tls.on, rows[i].tls);
		if (rows[i].roots)
			ck_assert_str_eq(c->xds.tls.roots, rows[i].roots);
		else
			ck_assert_ptr_null(c->xds.tls.roots);
		conf_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(a_bootstrap_that_helps_nobody_is_told_at_its_place)
{
	static const struct {
		const char *file, *text, *said;
	} rows[] = {
		{NULL, "{}", "f.yaml:2:6: xds: has no server, nor has the bootstrap of gRPC in the environment"},
		{NULL, "[]", "xds: has no server, and the bootstrap of gRPC in the environment cannot be read: GRPC_XDS_BOOTSTRAP_CONFIG:1:1: no bootstrap"},
		{NULL, "{\"xds_servers\":", "cannot be read: GRPC_XDS_BOOTSTRAP_CONFIG:2:1: not YAML"},
		{NULL, "{\"xds_servers\":[{\"server_uri\":\"https://x\"}]}", "f.yaml:2:6: xds: 'https://x' is a URL"},
		{NULL, "{\"xds_servers\":[{\"server_uri\":\"trafficdirector\"}]}", "xds: 'trafficdirector' has no port"},
		{"/nowhere/b.json", NULL, "cannot be read: /nowhere/b.json: cannot be read: No such file or directory"},
		{NULL, NULL, "f.yaml:2:6: xds: has no server, expected server: HOST:PORT"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct vars v = {rows[i].file, rows[i].text};
		struct err e = ERR_INIT;

		ck_assert_ptr_null(conf_load_text("f.yaml", APP "xds: {}\n", env, &v, &e));
		ck_assert_msg(strstr(err_str(&e), rows[i].said) != NULL, "row %zu: %s", i, err_str(&e));
		ck_assert_int_eq(e.count, 1);
		err_clear(&e);
	}
}
END_TEST

UNIT_SUITE("bootstrap", a_bootstrap_is_read_from_its_file_or_its_text, where_xds_names_no_server_the_bootstraps_is_meant,
	a_bootstrap_that_helps_nobody_is_told_at_its_place)
