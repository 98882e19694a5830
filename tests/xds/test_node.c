/* xds/node: who asks, out of the configuration, gRPC's bootstrap and the environment of a pod; decoded by protobuf-c, as a control plane would. */
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "xds/node.h"
#include "xds/proto/discovery.pb-c.h"

/* The environment: "NAME=VALUE", up to a NULL. */
static const char *env(void *ctx, const char *name)
{
	const char *const *all = ctx;
	size_t n = strlen(name);

	for (; *all; all++)
		if (strncmp(*all, name, n) == 0 && (*all)[n] == '=')
			return *all + n + 1;
	return NULL;
}

static bool each(void *ctx, uint32_t i, struct str *name, struct str *value)
{
	const char *const *all = ctx;

	while (*all && i--)
		all++;
	if (!*all)
		return false;
	*name = str_n(*all, strcspn(*all, "="));
	*value = str_of(*all + name->n + 1);
	return true;
}

static struct node_env env_of(const char *const *all)
{
	return (struct node_env){.get = env, .each = each, .ctx = (void *)(uintptr_t)all};
}

/* ---- a node as a line -------------------------------------------------------------------------------------------------------------- */

static void say_struct(struct sb *out, const Pb__Struct *s);

static void say_value(struct sb *out, const Pb__Value *v)
{
	switch (v->kind_case) {
	case PB__VALUE__KIND_NULL_VALUE:
		sb_str(out, "null");
		break;
	case PB__VALUE__KIND_NUMBER_VALUE:
		sb_fmt(out, "%g", v->number_value);
		break;
	case PB__VALUE__KIND_STRING_VALUE:
		sb_fmt(out, "'%s'", v->string_value);
		break;
	case PB__VALUE__KIND_BOOL_VALUE:
		sb_str(out, v->bool_value ? "true" : "false");
		break;
	case PB__VALUE__KIND_STRUCT_VALUE:
		say_struct(out, v->struct_value);
		break;
	case PB__VALUE__KIND_LIST_VALUE:
		sb_char(out, '[');
		for (size_t i = 0; i < v->list_value->n_values; i++) {
			sb_str(out, i ? " " : "");
			say_value(out, v->list_value->values[i]);
		}
		sb_char(out, ']');
		break;
	default:
		ck_abort_msg("a value without a kind");
	}
}

static void say_struct(struct sb *out, const Pb__Struct *s)
{
	sb_char(out, '{');
	for (size_t i = 0; i < s->n_fields; i++) {
		sb_fmt(out, "%s%s:", i ? " " : "", s->fields[i]->key);
		say_value(out, s->fields[i]->value);
	}
	sb_char(out, '}');
}

static void say_node(struct sb *out, const struct sb *bytes)
{
	Pb__Node *n = pb__node__unpack(NULL, bytes->n, (const uint8_t *)bytes->p);

	ck_assert_ptr_nonnull(n);
	sb_fmt(out, "%s | %s | ", n->id, n->cluster);
	if (n->metadata)
		say_struct(out, n->metadata);
	sb_str(out, " | ");
	if (n->locality)
		sb_fmt(out, "%s/%s/%s", n->locality->region, n->locality->zone, n->locality->sub_zone);
	ck_assert_str_eq(n->user_agent_name, "thinmesh");
	ck_assert_str_eq(n->user_agent_version, TM_VERSION);
	ck_assert_uint_eq(n->n_client_features, 1);
	ck_assert_str_eq(n->client_features[0], "xds.config.resource-in-sotw");
	pb__node__free_unpacked(n, NULL);
}

static struct conf *conf_of(const char *app, const char *xds, const char *const *all)
{
	struct err e = ERR_INIT;
	char *text = xasprintf("apps: [{name: shop, listen: [{unix: /a}]%s}]\nxds: {%s}\n", app, xds);
	struct conf *c = conf_load_text("f.yaml", text, env, (void *)(uintptr_t)all, &e);

	ck_assert_msg(c != NULL, "%s\n%s", text, err_str(&e));
	free(text);
	return c;
}

static int node_of(const char *app, const char *xds, const char *const *all, struct sb *line, struct err *e)
{
	struct conf *c = conf_of(app, xds, all);
	struct node_env vars = env_of(all);
	struct sb bytes = {0}, id = {0};
	int code = node_build(&c->xds, &c->apps[0], c->mesh_domain, &vars, &bytes, &id, e);

	if (code == 0) {
		say_node(line, &bytes);
		ck_assert(str_starts(sb_view(line), sb_view(&id)));
	} else {
		ck_assert_uint_eq(bytes.n + id.n, 0);
	}
	sb_char(line, '\0');
	conf_unref(&c);
	sb_end(&bytes);
	sb_end(&id);
	return code;
}

#define BASE "CLUSTER_ID:'Kubernetes' DISABLE_HBONE_SEND:'true'"
static const char bootstrap[] =
	"GRPC_XDS_BOOTSTRAP_CONFIG={\"xds_servers\":[{\"server_uri\":\"dns:///agent:15010\",\"channel_creds\":[{\"type\":\"google_default\"},{\"type\":\"insecure\"}],"
	"\"server_features\":[\"xds_v3\"]}],\"node\":{\"id\":\"sidecar~9.9.9.9~p.n~n.svc.d\",\"cluster\":\"boot\",\"metadata\":{\"GENERATOR\":\"grpc\",\"N\":1.5,\"A\":\"${X} boot\","
	"\"D\":{\"E\":[true,null,\"1\"]}},\"locality\":{\"region\":\"r\",\"zone\":\"z\"}},\"certificate_providers\":{}}";

START_TEST(a_node_is_made_of_what_is_there)
{
	static const struct {
		const char *app, *xds;
		const char *env[8];
		const char *node;
	} rows[] = {
		{"", "server: a:1", {NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {" BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default'} | "},
		{"", "server: a:1", {"POD_NAME=shop-1", "POD_NAMESPACE=prod", "INSTANCE_IP=10.0.0.7", "SERVICE_ACCOUNT=sa", "CLUSTER_DOMAIN=corp", NULL},
			"sidecar~10.0.0.7~shop-1.prod~prod.svc.corp | shop.prod | {" BASE
			" INSTANCE_IPS:'10.0.0.7' INTERCEPTION_MODE:'NONE' NAME:'shop-1' NAMESPACE:'prod' SERVICE_ACCOUNT:'sa'} | "},
		/* The app's own namespace counts more than the pod's; of several addresses the first is in the id, none that is no address. */
		{", namespace: own", "server: a:1", {"POD_NAMESPACE=prod", "POD_IP= nonsense, fd00::7,10.0.0.8", NULL},
			"sidecar~fd00::7~shop.own~own.svc.cluster.local | shop.own | {" BASE
			" INSTANCE_IPS:'fd00::7,10.0.0.8' INTERCEPTION_MODE:'NONE' NAMESPACE:'own'} | "},
		{"", "server: a:1, profile: istio-grpc", {NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {" BASE
			" GENERATOR:'grpc' INTERCEPTION_MODE:'NONE' NAMESPACE:'default'} | "},
		{"", "server: a:1, profile: generic", {"POD_IP=10.0.0.7", NULL},
			"sidecar~10.0.0.7~shop.default~default.svc.cluster.local | shop.default |  | "},
		/* ISTIO_META_: texts, but for what must be a map; METAJSON: JSON, without ${...} of ours. */
		{"", "server: a:1, profile: generic",
			{"ISTIO_META_NETWORK=n1", "ISTIO_META_N=1", "ISTIO_METAJSON_LABELS={\"app\":\"shop\",\"v\":\"${V}\"}", "ISTIO_METAJSON_L=[1,\"1\",false]",
				"ISTIO_META_PROXY_CONFIG={\"concurrency\":2}", "ISTIO_META_=x", "OTHER=1", NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | "
			"{L:[1 '1' false] LABELS:{app:'shop' v:'${V}'} N:'1' NETWORK:'n1' PROXY_CONFIG:{concurrency:2}} | "},
		{"", "server: a:1", {"PROXY_CONFIG={\"discoveryAddress\":\"x:1\"}", "ISTIO_META_CLUSTER_ID=c2", "ISTIO_META_INTERCEPTION_MODE=REDIRECT", "ISTIO_META_GENERATOR=grpc", NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {CLUSTER_ID:'c2' DISABLE_HBONE_SEND:'true' "
			"INTERCEPTION_MODE:'REDIRECT' NAMESPACE:'default' PROXY_CONFIG:{discoveryAddress:'x:1'}} | "},
		/* Who enters itself is unhealthy until it says otherwise: a probe switches that on, unless somebody has said what he wants. */
		{"", "server: a:1", {"ISTIO_META_AUTO_REGISTER_GROUP=g", NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {AUTO_REGISTER_GROUP:'g' " BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default' "
			"PROXY_CONFIG:{readinessProbe:{}}} | "},
		{"", "server: a:1, profile: istio-grpc, node: {metadata: {AUTO_REGISTER_GROUP: g}}", {"PROXY_CONFIG={\"concurrency\":2}", NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {AUTO_REGISTER_GROUP:'g' " BASE " GENERATOR:'grpc' INTERCEPTION_MODE:'NONE' NAMESPACE:'default' "
			"PROXY_CONFIG:{concurrency:2 readinessProbe:{}}} | "},
		{"", "server: a:1, node: {metadata: {AUTO_REGISTER_GROUP: g, PROXY_CONFIG: {readinessProbe: ~, a: 1}}}", {NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {AUTO_REGISTER_GROUP:'g' " BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default' "
			"PROXY_CONFIG:{readinessProbe:null a:1}} | "},
		{"", "server: a:1", {"ISTIO_META_AUTO_REGISTER_GROUP=g", "ISTIO_META_PROXY_CONFIG={\"readinessProbe\":{\"periodSeconds\":3}}", NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {AUTO_REGISTER_GROUP:'g' " BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default' "
			"PROXY_CONFIG:{readinessProbe:{periodSeconds:3}}} | "},
		{"", "server: a:1, node: {metadata: {WORKLOAD_ENTRY: shop-1}}", {NULL},
			"sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {" BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default' WORKLOAD_ENTRY:'shop-1'} | "},
		{"", "server: a:1, profile: generic, node: {id: me, cluster: us, metadata: {AUTO_REGISTER_GROUP: g}}", {NULL}, "me | us | {AUTO_REGISTER_GROUP:'g'} | "},
		/* What is written counts most. */
		{"", "server: a:1, profile: generic, node: {id: me, cluster: us, locality: {region: r, zone: z, sub_zone: s}, metadata: {A: 1, B: {C: [~, x]}, NETWORK: mine}}",
			{"ISTIO_META_NETWORK=n1", "POD_IP=1.2.3.4", NULL}, "me | us | {A:1 B:{C:[null 'x']} NETWORK:'mine'} | r/z/s"},
		{"", "server: a:1, node: {id: me}", {"POD_IP=1.2.3.4", NULL},
			"me | shop.default | {" BASE " INTERCEPTION_MODE:'NONE' NAMESPACE:'default'} | "},
		/* Then gRPC's bootstrap, but for the generator, which is the profile's. */
		{"", "profile: generic", {bootstrap, "ISTIO_META_A=env", "ISTIO_META_Z=env", NULL},
			"sidecar~9.9.9.9~p.n~n.svc.d | boot | {A:'${X} boot' D:{E:[true null '1']} GENERATOR:'grpc' N:1.5 Z:'env'} | r/z/"},
		{"", "profile: istio, node: {cluster: us, locality: {zone: mine}, metadata: {A: me}}", {bootstrap, "POD_IP=1.2.3.4", NULL},
			"sidecar~9.9.9.9~p.n~n.svc.d | us | {A:'me' CLUSTER_ID:'Kubernetes' D:{E:[true null '1']} DISABLE_HBONE_SEND:'true' "
			"INTERCEPTION_MODE:'NONE' N:1.5 NAMESPACE:'default'} | /mine/"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct err e = ERR_INIT;
		struct sb line = {0};
		ck_assert_int_eq(node_of(rows[i].app, rows[i].xds, rows[i].env, &line, &e), 0);
		ck_assert_msg(strcmp(line.p, rows[i].node) == 0, "row %zu:\n%s\nexpected:\n%s", i, line.p, rows[i].node);
		ck_assert_str_eq(err_str(&e), "");
		sb_end(&line);
	}
}
END_TEST

START_TEST(a_variable_that_is_no_json_is_passed_over_and_told)
{
	static const char *const all[] = {"ISTIO_METAJSON_A={\"x\":", "ISTIO_METAJSON_LABELS=\"text\"", "PROXY_CONFIG=[1]", "ISTIO_META_B=1", NULL};
	struct err e = ERR_INIT;
	struct sb line = {0};

	ck_assert_int_eq(node_of("", "server: a:1", all, &line, &e), 0);
	ck_assert_str_eq(line.p, "sidecar~127.0.0.1~shop.default~default.svc.cluster.local | shop.default | {B:'1' " BASE
		" INTERCEPTION_MODE:'NONE' NAMESPACE:'default'} | ");
	ck_assert_ptr_nonnull(strstr(err_str(&e), "ISTIO_METAJSON_A:2:1: not YAML"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "ISTIO_METAJSON_LABELS: no map, which LABELS must be: left out"));
	ck_assert_ptr_nonnull(strstr(err_str(&e), "PROXY_CONFIG: no map"));
	err_clear(&e);
	sb_end(&line);
}
END_TEST

START_TEST(what_istiod_would_end_the_stream_for_is_refused_where_a_person_wrote_it)
{
	static const char *const none[] = {NULL}, *const broken[] = {"GRPC_XDS_BOOTSTRAP=/nowhere/bootstrap.json", NULL};
	struct err e = ERR_INIT;
	struct sb line = {0};

	ck_assert_int_lt(node_of("", "server: a:1, node: {metadata: {PROXY_CONFIG: text}}", none, &line, &e), 0);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "xds.node.metadata.PROXY_CONFIG: expected a map"));
	err_clear(&e);
	ck_assert_int_lt(node_of("", "server: a:1", broken, &line, &e), 0);
	ck_assert_ptr_nonnull(strstr(err_str(&e), "/nowhere/bootstrap.json: cannot be read: No such file or directory"));
	err_clear(&e);
	sb_end(&line);
}
END_TEST

START_TEST(equal_words_give_equal_bytes_whatever_their_order)
{
	static const char *const one[] = {"ISTIO_META_A=1", "ISTIO_META_B=2", "POD_IP=1.2.3.4", NULL};
	static const char *const two[] = {"POD_IP=1.2.3.4", "ISTIO_META_B=2", "ISTIO_META_A=1", NULL};
	struct node_env envs[] = {env_of(one), env_of(two), {0}};
	struct conf *c = conf_of("", "server: a:1", one);
	struct sb bytes[3] = {{0}}, id = {0};
	struct err e = ERR_INIT;

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(node_build(&c->xds, &c->apps[0], "d", &envs[i], &bytes[i], &id, &e), 0);
	ck_assert(str_eq(sb_view(&bytes[0]), sb_view(&bytes[1])));
	ck_assert(!str_eq(sb_view(&bytes[0]), sb_view(&bytes[2])));
	for (int i = 0; i < 3; i++)
		sb_end(&bytes[i]);
	sb_end(&id);
	conf_unref(&c);
}
END_TEST

UNIT_SUITE("node", a_node_is_made_of_what_is_there, a_variable_that_is_no_json_is_passed_over_and_told,
	what_istiod_would_end_the_stream_for_is_refused_where_a_person_wrote_it, equal_words_give_equal_bytes_whatever_their_order)
