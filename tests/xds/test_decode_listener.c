/* xds/decode_listener: where a listener says that its routes come from, and what of it is refused. */
#include "tests/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "tests/xds/fieldtext.h"
#include "xds/decode.h"

#define HCM "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
#define TCP "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
#define API(manager) "19{1{1:'" HCM "' 2{" manager "}}}"
#define CHAIN(manager) "3{3{1:'envoy.filters.network.http_connection_manager' 4{1:'" HCM "' 2{" manager "}}}}"
#define TCP_CHAIN "3{3{1:'tcp' 4{1:'" TCP "' 2{1:'x'}}}}"
#define RDS "3{1{3{}} 2:'r'}"

static struct account root(size_t limit)
{
	struct account a;

	account_init(&a, NULL, "test", limit);
	return a;
}

START_TEST(routes_come_from_where_the_manager_says)
{
	static const struct {
		const char *text;
		const char *name, *rds, *bind;
		bool http, inline_routes;
		uint64_t duration_ns, idle_ns;
	} rows[] = {
		/* the gRPC dialect */
		{"1:'demo:50051' " API(RDS), "demo:50051", "r", "", true, false, 0, 0},
		{"1:'l' " API("3{1{3{} 6=1} 2:'r'}"), "l", "r", "", true, false, 0, 0}, /* resource_api_version V2 */
		{"1:'l' " API("3{1{5{}} 2:'r'}"), "l", "r", "", true, false, 0, 0},
		{"1:'l' " API("3{2:'r'}"), "l", "r", "", true, false, 0, 0},
		{"1:'l' " API("2:'stats' " RDS " 5{1:'fault'} 24{1=7} 35{1{1=1} 4{1=5}}"), "l", "r", "", true, false, UINT64_C(5000000000), UINT64_C(7000000000)},
		{"1:'l' " API("4{1:'in' 2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'}}}}"), "l", NULL, "", true, true, 0, 0},
		{"1:'l' " API("4{1:'in' 2{1:'h' 2:'*'}} " RDS), "l", "r", "", true, false, 0, 0}, /* the last of a oneof counts */
		{"1:'l' 19{1{1:'type.googleapis.com/envoy.config.filter.network.http_connection_manager.v2.HttpConnectionManager' 2{" RDS "}}}", "l", "r", "", true, false, 0, 0},
		/* istiod's sidecar mode */
		{"1:'0.0.0.0_50051' 2{1{2:'0.0.0.0' 3=50051}} 26{1=0} " CHAIN(RDS) " 25{3{1:'tcp' 4{1:'" TCP "'}}}", "0.0.0.0_50051", "r", "", true, false, 0, 0},
		{"1:'127.0.0.1_50051' 2{1{2:'127.0.0.1' 3=50051}} " CHAIN(RDS), "127.0.0.1_50051", "r", "127.0.0.1:50051", true, false, 0, 0},
		{"1:'l' 2{1{2:'::1' 3=0}} 26{1=1} " CHAIN(RDS), "l", "r", "[::1]:0", true, false, 0, 0},
		{"1:'l' 2{2{1:'/run/mesh/out.sock'}} " CHAIN(RDS), "l", "r", "unix:///run/mesh/out.sock", true, false, 0, 0},
		{"1:'l' 2{2{1:'@name' 2=511}} " CHAIN(RDS), "l", "r", "unix://@name", true, false, 0, 0},
		{"1:'l' 2{1{2:'0.0.0.0' 4:'http'}} " CHAIN(RDS), "l", "r", "", true, false, 0, 0},
		{"1:'l' 2{1{1=1 2:'0.0.0.0' 3=443}} " CHAIN(RDS), "l", "r", "", true, false, 0, 0}, /* UDP */
		{"1:'l' 2{3{1:'inside'}} " CHAIN(RDS), "l", "r", "", true, false, 0, 0},
		{"1:'l' " TCP_CHAIN, "l", NULL, "", false, false, 0, 0},
		{"1:'l' " TCP_CHAIN " " CHAIN(RDS) " " CHAIN("3{1{3{}} 2:'second'}"), "l", "r", "", true, false, 0, 0},
		{"1:'l' 25{3{4{1:'" HCM "' 2{" RDS "}}}}", "l", "r", "", true, false, 0, 0},
		{"1:'l' " CHAIN("4{1:'in'}"), "l", NULL, "", true, true, 0, 0},
		{"1:'l' " CHAIN("31{1:'s'}"), "l", NULL, "", true, false, 0, 0}, /* scoped routes of a proxy: none of ours */
		{"1:'l' " CHAIN("3{1{8{1:'/etc/r'}} 2:'r'}"), "l", NULL, "", true, false, 0, 0}, /* of a file: none of ours */
		{"1:'l' 3{3{1:'by discovery' 5{}}}", "l", NULL, "", false, false, 0, 0},
		{"1:'l' 3{}", "l", NULL, "", false, false, 0, 0},
		/* an api_listener is what counts beside chains */
		{"1:'l' " CHAIN("4{1:'in'}") " " API(RDS), "l", "r", "", true, false, 0, 0},
		{"1:'l' " API(RDS) " " CHAIN("4{1:'in'}"), "l", "r", "", true, false, 0, 0},
		{"9{1:'unknown filter'} 999:'x'", "", NULL, "", false, false, 0, 0},
		{"", "", NULL, "", false, false, 0, 0},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct account a = root(SIZE_MAX);
		struct listener_decoded *l = NULL;
		struct sb bytes = fieldtext(rows[i].text), why = {0};
		int rc = decode_listener(bytes.p, bytes.n, &a, &l, &why);

		ck_assert_msg(rc == 0, "%s: %.*s", rows[i].text, (int)why.n, why.p);
		ck_assert_str_eq(l->name, rows[i].name);
		ck_assert_msg(rows[i].rds ? l->rds_name && strcmp(l->rds_name, rows[i].rds) == 0 : !l->rds_name, "%s: rds %s", rows[i].text, l->rds_name);
		ck_assert_msg(strcmp(l->bind, rows[i].bind) == 0, "%s: bind %s", rows[i].text, l->bind);
		ck_assert_msg(l->has_http == rows[i].http && (l->inline_routes != NULL) == rows[i].inline_routes, "%s", rows[i].text);
		ck_assert_uint_eq(l->max_stream_duration_ns, rows[i].duration_ns);
		ck_assert_uint_eq(l->stream_idle_ns, rows[i].idle_ns);
		ck_assert_uint_gt(a.used, 0);
		listener_decoded_free(&l);
		ck_assert_uint_eq(a.used, 0);
		sb_end(&bytes);
		sb_end(&why);
	}
}
END_TEST

START_TEST(what_breaks_a_rule_is_refused_by_its_place)
{
	static const struct { const char *text, *why; } rows[] = {
		{"1=4", "name: not UTF-8"},
		{"1:'a\\0'", "name: not UTF-8, or with a NUL"},
		{"2=1", "address: malformed, or of the wrong wire type"},
		{"2{}", "address: neither socket_address nor pipe"},
		{"2{1{3=1}}", "address.socket_address.address: empty"},
		{"2{1{2:'a'}}", "address.socket_address.port_specifier: missing"},
		{"2{1{2:'a' 3=65536}}", "address.socket_address.port_value: beyond 65535"},
		{"2{1{1=2 2:'a' 3=1}}", "address.socket_address.protocol: expected 0 or 1"},
		{"2{2{}}", "address.pipe.path: empty"},
		{"2{2{1:'/a' 2=512}}", "address.pipe.mode: expected at most 0777"},
		{"2{2{1:'\\xff'}}", "address: a text is not UTF-8, or holds a NUL"},
		{"26=1", "bind_to_port: malformed, or of the wrong wire type"},
		{"19=1", "api_listener.api_listener: malformed, or of the wrong wire type"},
		{"19{1{1:'" TCP "'}}", "api_listener.api_listener: type '" TCP "', expected an HttpConnectionManager"},
		{"19{}", "api_listener.api_listener: type '', expected an HttpConnectionManager"},
		{API(RDS) API(RDS), "api_listener: given twice"},
		{API(""), "api_listener.route_specifier: missing"},
		{API("31{}"), "api_listener.scoped_routes: not supported"},
		{API("3{}"), "api_listener.rds.route_config_name: empty"},
		{API("3{2:'\\xff'}"), "api_listener.rds.route_config_name: not UTF-8, or with a NUL"},
		{API("3{1{1:'/path'} 2:'r'}"), "api_listener.rds.config_source: not ads"},
		{API("3{1{2{}} 2:'r'}"), "api_listener.rds.config_source: not ads"},
		{API("3=1"), "api_listener.route_specifier: malformed, or of the wrong wire type"},
		{API("1=4 " RDS), "api_listener.codec_type: expected 0 to 3"},
		{API(RDS "24{1=-1}"), "api_listener.stream_idle_timeout: no duration"},
		{API(RDS "35{4{2=-1}}"), "api_listener.common_http_protocol_options.max_stream_duration: no duration"},
		{API(RDS "35=1"), "api_listener.common_http_protocol_options: malformed"},
		{API("4{2{1:'h'}}"), "api_listener.route_config.virtual_hosts[0].domains: none"},
		{TCP_CHAIN CHAIN("4{2{1:'h' 2:'*' 3{}}}"), "filter_chains[1].filters[0].route_config.virtual_hosts[0].routes[0].match: missing"},
		{"3=1", "filter_chains[0].filters: malformed, or of the wrong wire type"},
		{"3{3=1}", "filter_chains[0].filters[0].typed_config: malformed, or of the wrong wire type"},
		{CHAIN(""), "filter_chains[0].filters[0].route_specifier: missing"},
		{"25{3{4{1:'" HCM "'}}}", "default_filter_chain.filters[0].route_specifier: missing"},
		{"3{3{4:'\\xff'}}", "filter_chains[0].filters[0].typed_config: malformed wire"},
		{"3:'\\xff'", "filter_chains[0]: malformed wire"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct account a = root(SIZE_MAX);
		struct listener_decoded *l = NULL;
		struct sb bytes = fieldtext(rows[i].text), why = {0};
		int rc = decode_listener(bytes.p, bytes.n, &a, &l, &why);

		sb_char(&why, '\0');
		ck_assert_msg(rc < 0 && !l, "taken: %s", rows[i].text);
		ck_assert_msg(strstr(why.p, rows[i].why) != NULL, "%s\n  said: %s\n  expected: %s", rows[i].text, why.p, rows[i].why);
		ck_assert_uint_eq(a.used, 0);
		sb_end(&bytes);
		sb_end(&why);
	}
}
END_TEST

START_TEST(a_listener_cut_anywhere_or_short_of_memory_leaves_nothing)
{
	struct sb bytes = fieldtext("1:'l' 2{1{2:'0.0.0.0' 3=1}} " TCP_CHAIN CHAIN("4{1:'in' 2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'}}}} 35{4{1=1}}"));
	bool whole = false;

	for (size_t n = 0; n <= bytes.n; n++) {
		char *cut = malloc(n ? n : 1);
		struct account a = root(SIZE_MAX);
		struct listener_decoded *l = NULL;
		struct sb why = {0};

		memcpy(cut, bytes.p, n);
		int rc = decode_listener(cut, n, &a, &l, &why);
		ck_assert(rc == 0 || why.n > 0);
		listener_decoded_free(&l);
		ck_assert_uint_eq(a.used, 0);
		sb_end(&why);
		free(cut);
	}
	for (size_t limit = 0; limit < 64 * 1024 && !whole; limit += 16) {
		struct account a = root(limit);
		struct listener_decoded *l = NULL;
		int rc = decode_listener(bytes.p, bytes.n, &a, &l, NULL);

		whole = rc == 0;
		ck_assert(rc == 0 || rc == -ENOMEM);
		listener_decoded_free(&l);
		ck_assert_uint_eq(a.used, 0);
	}
	ck_assert(whole);
	sb_end(&bytes);
}
END_TEST

START_TEST(inline_routes_outlive_their_listener_when_someone_holds_them)
{
	struct account a = root(SIZE_MAX);
	struct listener_decoded *l = NULL;
	struct sb bytes = fieldtext("1:'l' " API("4{1:'in' 2{1:'h' 2:'demo' 3{1{1:'/'} 2{1:'c'}}}}"));

	ck_assert_int_eq(decode_listener(bytes.p, bytes.n, &a, &l, NULL), 0);
	struct route_config *kept = route_config_ref(l->inline_routes);
	listener_decoded_free(&l);
	ck_assert_str_eq(route_config_find(kept, STR("demo:50051"))->name, "h");
	ck_assert_uint_gt(a.used, 0);
	route_config_unref(&kept);
	ck_assert_uint_eq(a.used, 0);
	sb_end(&bytes);
}
END_TEST

UNIT_SUITE("decode_listener", routes_come_from_where_the_manager_says, what_breaks_a_rule_is_refused_by_its_place,
	a_listener_cut_anywhere_or_short_of_memory_leaves_nothing, inline_routes_outlive_their_listener_when_someone_holds_them)
