/* xds/decode_cluster: what of a cluster becomes its spec, row by row; what breaks a rule of the API, with the field told; what has no effect yet is told too. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "base/err.h"
#include "tests/unit.h"
#include "tests/xds/wiretext.h"
#include "xds/decode.h"

#define T "type.googleapis.com/envoy."
#define LB T "extensions.load_balancing_policies."
#define EDS "2:3 3:{1:{3:{}}} "
#define HTTP_KEY "'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'"
#define HTTP_TYPE "'" T "extensions.upstreams.http.v3.HttpProtocolOptions'"
#define HTTP(config) "36:{1:" HTTP_KEY " 2:{1:" HTTP_TYPE " 2:{" config "}}}"
#define POLICY(type, config) "1:{4:{1:'x' 2:{1:'" type "' 2:{" config "}}}}"
#define TLS(config) "1:'envoy.transport_sockets.tls' 3:{1:'" T "extensions.transport_sockets.tls.v3.UpstreamTlsContext' 2:{" config "}}"
#define RAW "1:'envoy.transport_sockets.raw_buffer' 3:{1:'" T "extensions.transport_sockets.raw_buffer.v3.RawBuffer'}"
#define PAIR(key, value) "1:{1:'" key "' 2:{3:'" value "'}}"
#define ENDPOINT(address) "2:{1:{1:{1:{2:'" address "' 3:50051}}}}"
#define LOAD(address) "33:{1:'demo' 2:{" ENDPOINT(address) "}}"

struct rig {
	struct account account;
	struct endpoint_metas *metas;
	char why[512];
};

static void rig_begin(struct rig *r)
{
	*r = (struct rig){0};
	account_init(&r->account, NULL, "test", SIZE_MAX);
	r->metas = endpoint_metas_new(&r->account, 7);
}

static void rig_end(struct rig *r)
{
	endpoint_metas_free(&r->metas);
	ck_assert_uint_eq(r->account.used, 0);
	account_end(&r->account);
}

static int decode_bytes(struct rig *r, struct str bytes, struct cluster_decoded **ret)
{
	struct sb problems = {0};
	*ret = NULL;
	char *exact = malloc(bytes.n ? bytes.n : 1); /* a read behind the end is seen by AddressSanitizer */
	memcpy(exact, bytes.p ? bytes.p : "", bytes.n);
	int code = decode_cluster(exact, bytes.n, &r->account, r->metas, PROFILE_ISTIO, ret, &problems);
	free(exact); /* what was decoded borrows nothing of it */
	snprintf(r->why, sizeof(r->why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	ck_assert((code == 0) == (*ret != NULL));
	ck_assert((code == 0) == (problems.n == 0));
	sb_end(&problems);
	return code;
}

/* A cluster "demo" with those fields behind its name. */
static int decode(struct rig *r, const char *text, struct cluster_decoded **ret)
{
	struct sb m = {0};
	wiretext(&m, "1:'demo'");
	wiretext(&m, text);
	int code = decode_bytes(r, sb_view(&m), ret);
	sb_end(&m);
	return code;
}

static struct cluster_decoded *good(struct rig *r, const char *text)
{
	struct cluster_decoded *c;
	decode(r, text, &c);
	ck_assert_msg(c != NULL, "%s: %s", text, r->why);
	ck_assert_uint_ne(c->spec->hash, 0);
	ck_assert_str_eq(c->spec->name, "demo");
	return c;
}

START_TEST(what_nobody_says_is_as_in_envoy)
{
	struct rig r;
	rig_begin(&r);
	struct cluster_decoded *c = good(&r, EDS);
	ck_assert_int_eq(c->type, CLUSTER_EDS);
	ck_assert_str_eq(c->eds_name, "demo");
	ck_assert(c->endpoints == NULL && c->naggregate == 0 && c->notes == NULL && !c->h2);
	ck_assert_int_eq(c->spec->lb, LB_ROUND_ROBIN);
	ck_assert_uint_eq(c->spec->connect_timeout_ns, UINT64_C(5000000000));
	ck_assert_uint_eq(c->spec->idle_timeout_ns, UINT64_C(3600000000000));
	ck_assert_uint_eq(c->spec->max_connections, 1024);
	ck_assert_uint_eq(c->spec->max_pending, 1024);
	ck_assert_uint_eq(c->spec->max_requests, 1024);
	ck_assert_uint_eq(c->spec->max_connections_per_host, 8);
	ck_assert_uint_eq(c->spec->panic_percent, 50);
	ck_assert(!c->has_panic);
	ck_assert_uint_eq(c->spec->max_streams, 0);
	ck_assert(!c->spec->locality_weighted && !c->spec->want && c->spec->ntls == 0 && !c->spec->one_address);
	cluster_decoded_free(&c);
	rig_end(&r);
}
END_TEST

START_TEST(the_type_says_where_endpoints_come_from)
{
	static const struct { const char *text; enum cluster_type type; const char *eds_name; uint32_t endpoints; bool one; } rows[] = {
		{"", CLUSTER_STATIC, NULL, 0, false},
		{"2:0 " LOAD("10.0.0.1"), CLUSTER_STATIC, NULL, 1, false},
		{"2:1 " LOAD("a.test"), CLUSTER_STRICT_DNS, NULL, 1, false},
		{"2:2 " LOAD("a.test"), CLUSTER_LOGICAL_DNS, NULL, 1, true},
		{"2:3 3:{1:{3:{} 6:1} 2:'service'}", CLUSTER_EDS, "service", 0, false}, /* resource_api_version V2 */
		{"2:3 3:{1:{5:{}}}", CLUSTER_EDS, "demo", 0, false},
		{"2:4 6:6", CLUSTER_ORIGINAL_DST, "demo", 0, false},
		{"38:{1:'envoy.clusters.aggregate' 2:{1:'" T "extensions.clusters.aggregate.v3.ClusterConfig' 2:{1:'a' 1:'b'}}} 6:6", CLUSTER_AGGREGATE, NULL, 0, false},
		{"38:{1:'dns' 2:{1:'" T "extensions.clusters.dns.v3.DnsCluster' 2:{5:1}}} " LOAD("a.test"), CLUSTER_STRICT_DNS, NULL, 1, false},
		{"38:{1:'dns' 2:{1:'" T "extensions.clusters.dns.v3.DnsCluster' 2:{9:1}}} " LOAD("a.test"), CLUSTER_LOGICAL_DNS, NULL, 1, true},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c = good(&r, rows[i].text);
		ck_assert_msg(c->type == rows[i].type, "%s: type %d", rows[i].text, c->type);
		ck_assert_pstr_eq(c->eds_name, rows[i].eds_name);
		ck_assert_uint_eq(c->endpoints ? endpoints_count(c->endpoints) : 0, rows[i].endpoints);
		ck_assert_int_eq(c->spec->one_address, rows[i].one);
		if (rows[i].type == CLUSTER_AGGREGATE) {
			ck_assert_uint_eq(c->naggregate, 2);
			ck_assert_str_eq(c->aggregate[0], "a");
			ck_assert_str_eq(c->aggregate[1], "b");
		}
		cluster_decoded_free(&c);
	}
	rig_end(&r);
}
END_TEST

START_TEST(the_policy_is_the_first_that_is_known)
{
	static const struct { const char *text; enum lb_kind lb; uint32_t choices; bool localities; uint32_t ring_min, ring_max; const char *notes; } rows[] = {
		{EDS, LB_ROUND_ROBIN, 2, false, 1024, 8388608, NULL},
		{EDS "6:1", LB_LEAST_REQUEST, 2, false, 1024, 8388608, NULL},
		{EDS "6:1 37:{1:{1:5}}", LB_LEAST_REQUEST, 5, false, 1024, 8388608, NULL},
		{EDS "6:1 37:{1:{1:4000000000}}", LB_LEAST_REQUEST, 10, false, 1024, 8388608, NULL},
		{EDS "6:2 23:{1:{1:64} 4:{1:128}}", LB_RING_HASH, 2, false, 64, 128, NULL},
		{EDS "6:2 23:{3:1}", LB_RING_HASH, 2, false, 1024, 8388608, "hash_function: xxHash instead of MurmurHash2"},
		{EDS "6:3", LB_RANDOM, 2, false, 1024, 8388608, NULL},
		{EDS "6:5 52:{1:{1:65537}}", LB_MAGLEV, 2, false, 1024, 8388608, NULL},
		{EDS "6:1 27:{3:{}}", LB_LEAST_REQUEST, 2, true, 1024, 8388608, NULL},
		{EDS "27:{2:{}}", LB_ROUND_ROBIN, 2, false, 1024, 8388608, "zone_aware_lb_config: no zone is preferred"},
		{EDS "56:{1:{}}", LB_ROUND_ROBIN, 2, false, 1024, 8388608, "slow_start_config: new endpoints get their whole share"},
		/* load_balancing_policy stands above lb_policy */
		{EDS "6:2 41:{" POLICY(LB "random.v3.Random", "") "}", LB_RANDOM, 2, false, 1024, 8388608, NULL},
		{EDS "41:{" POLICY(LB "round_robin.v3.RoundRobin", "2:{2:{}}") "}", LB_ROUND_ROBIN, 2, true, 1024, 8388608, NULL},
		{EDS "41:{" POLICY(LB "least_request.v3.LeastRequest", "1:{1:3} 6:1") "}", LB_LEAST_REQUEST, 3, false, 1024, 8388608,
			"selection_method FULL_SCAN: some are compared, not all"},
		{EDS "41:{" POLICY(LB "ring_hash.v3.RingHash", "1:1 2:{1:9} 3:{1:10} 7:{}") "}", LB_RING_HASH, 2, true, 9, 10, NULL},
		{EDS "41:{" POLICY(LB "maglev.v3.Maglev", "1:{1:5000011} 3:{}") "}", LB_MAGLEV, 2, true, 1024, 8388608, NULL},
		{EDS "41:{" POLICY("type.googleapis.com/someone.Else", "1:1") POLICY(LB "subset.v3.Subset", "") POLICY(LB "least_request.v3.LeastRequest", "") "}",
			LB_LEAST_REQUEST, 2, false, 1024, 8388608, NULL},
		{EDS "41:{" POLICY(LB "wrr_locality.v3.WrrLocality", "1:{" POLICY("x/Unknown", "") POLICY(LB "least_request.v3.LeastRequest", "") "}") "}",
			LB_LEAST_REQUEST, 2, true, 1024, 8388608, NULL},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c = good(&r, rows[i].text);
		ck_assert_msg(c->spec->lb == rows[i].lb, "%s: %s", rows[i].text, lb_kind_name(c->spec->lb));
		ck_assert_uint_eq(c->spec->choices, rows[i].choices);
		ck_assert_int_eq(c->spec->locality_weighted, rows[i].localities);
		ck_assert_uint_eq(c->spec->ring_min, rows[i].ring_min);
		ck_assert_uint_eq(c->spec->ring_max, rows[i].ring_max);
		char notes[256]; /* a policy that is declared and not built has one more */
		snprintf(notes, sizeof(notes), "%s%s%s%s", rows[i].notes ? rows[i].notes : "", !lb_kind_is_built(rows[i].lb) && rows[i].notes ? "; " : "",
			lb_kind_is_built(rows[i].lb) ? "" : lb_kind_name(rows[i].lb), lb_kind_is_built(rows[i].lb) ? "" : ": random instead");
		ck_assert_str_eq(c->notes ? c->notes : "", notes);
		cluster_decoded_free(&c);
	}
	rig_end(&r);
}
END_TEST

START_TEST(limits_and_times_are_taken_over)
{
	struct rig r;
	rig_begin(&r);
	struct cluster_decoded *c = good(&r, EDS "4:{1:10 2:5} 10:{1:{1:1 4:{1:9}} 1:{2:{1:100} 3:{1:200} 4:{1:300} 5:{1:4294967295}} 1:{4:{1:7}} 2:{2:{1:3}}} 27:{1:{}}");
	ck_assert_uint_eq(c->spec->connect_timeout_ns, UINT64_C(10000000005));
	ck_assert_uint_eq(c->spec->max_connections, 100); /* the first of priority DEFAULT */
	ck_assert_uint_eq(c->spec->max_pending, 200);
	ck_assert_uint_eq(c->spec->max_requests, 300);
	ck_assert_uint_eq(c->spec->max_connections_per_host, 3);
	ck_assert_uint_eq(c->spec->panic_percent, 0);
	ck_assert(c->has_panic);
	ck_assert(c->notes == NULL);
	cluster_decoded_free(&c);
	c = good(&r, EDS "10:{1:{2:{1:4294967295} 3:{1:4294967295} 4:{1:4294967295}}} 27:{1:{1:d12.9}}");
	ck_assert_uint_eq(c->spec->max_connections, UINT32_MAX);
	ck_assert_uint_eq(c->spec->max_pending, UINT32_MAX);
	ck_assert_uint_eq(c->spec->max_requests, UINT32_MAX);
	ck_assert_uint_eq(c->spec->panic_percent, 12);
	cluster_decoded_free(&c);
	c = good(&r, EDS "10:{1:{2:{1:0}}}");
	ck_assert_uint_eq(c->spec->max_connections, 1);
	ck_assert_uint_eq(c->spec->max_requests, 1024);
	cluster_decoded_free(&c);
	rig_end(&r);
}
END_TEST

START_TEST(http_options_of_all_times_are_read)
{
	static const struct { const char *text; bool h2; uint32_t streams; uint64_t idle_ns, verify_ns; const char *notes; } rows[] = {
		{HTTP("3:{2:{}}"), true, 0, 3600000000000, 10000000000, NULL},
		{HTTP("1:{1:{1:30}} 3:{2:{2:{1:100}}}"), true, 100, 30000000000, 10000000000, NULL},
		{HTTP("1:{1:{}} 3:{2:{15:{4:{1:3}}}}"), true, 0, 0, 3000000000, NULL},
		{HTTP("5:{2:{2:{1:7}}}"), false, 7, 3600000000000, 10000000000, NULL},
		{HTTP("4:{}"), false, 0, 3600000000000, 10000000000, NULL},
		{HTTP("3:{1:{}}"), false, 0, 3600000000000, 10000000000, "HTTP/1.1 is asked for: HTTP/2 is spoken"},
		{"14:{2:{1:50}} 29:{1:{1:9}}", true, 50, 9000000000, 10000000000, NULL},
		{"14:{2:{1:50}} " HTTP("3:{2:{2:{1:60}}}"), true, 60, 3600000000000, 10000000000, NULL}, /* the newer one counts */
		{"36:{1:'some.other.Extension' 2:{1:'x/Some' 2:'?'}}", false, 0, 3600000000000, 10000000000, NULL},
		{HTTP("3:{2:{3:{1:65535} 4:{1:2147483647}}}"), true, 0, 3600000000000, 10000000000, "http2_protocol_options: windows are those of limits"},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c = good(&r, rows[i].text);
		ck_assert_msg(c->h2 == rows[i].h2, "%s", rows[i].text);
		ck_assert_uint_eq(c->spec->max_streams, rows[i].streams);
		ck_assert_uint_eq(c->spec->idle_timeout_ns, rows[i].idle_ns);
		ck_assert_uint_eq(c->spec->verify_after_ns, rows[i].verify_ns);
		ck_assert_pstr_eq(c->notes, rows[i].notes);
		cluster_decoded_free(&c);
	}
	rig_end(&r);
}
END_TEST

/* Who asks for TLS: an endpoint with these pairs of metadata, and the row or socket that said so. */
START_TEST(transport_sockets_say_who_wants_tls)
{
	static const struct { const char *text; const char *key, *value; bool tls; const char *row; } rows[] = {
		{EDS, NULL, NULL, false, NULL},
		{EDS "24:{" RAW "}", NULL, NULL, false, NULL},
		{EDS "24:{1:'envoy.transport_sockets.raw_buffer'}", NULL, NULL, false, NULL},
		{EDS "24:{" TLS("2:'sni.test'") "}", NULL, NULL, true, "envoy.transport_sockets.tls"},
		{EDS "24:{1:'envoy.transport_sockets.tls'}", NULL, NULL, true, "envoy.transport_sockets.tls"},
		{EDS "24:{1:'some.alts' 3:{1:'x/Alts'}}", NULL, NULL, true, "some.alts"},
		{EDS "59:{1:{}}", NULL, NULL, true, "transport_socket_matcher"},
		/* as istiod sends them */
#define ISTIO EDS "43:{1:'tlsMode-istio' 2:{" PAIR("tlsMode", "istio") "} 3:{" TLS("") "}} 43:{1:'tlsMode-disabled' 2:{} 3:{" RAW "}}"
		{ISTIO, "tlsMode", "istio", true, "tlsMode-istio"},
		{ISTIO, "tlsMode", "disabled", false, "tlsMode-disabled"},
		{ISTIO, NULL, NULL, false, "tlsMode-disabled"},
		/* the first row that fits; none: the socket of the cluster */
		{EDS "43:{1:'a' 2:{" PAIR("x", "1") PAIR("y", "2") "} 3:{" RAW "}} 24:{" TLS("") "}", "x", "1", true, "envoy.transport_sockets.tls"},
		{EDS "43:{1:'a' 2:{" PAIR("x", "1") "} 3:{" RAW "}} 24:{" TLS("") "}", "x", "1", false, "a"},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c = good(&r, rows[i].text);
		struct str pair[2] = {str_of(rows[i].key), str_of(rows[i].value)};
		struct endpoint_meta *meta = rows[i].key ? endpoint_meta_get(r.metas, pair, 1) : NULL;
		const char *row = NULL;
		ck_assert_msg((endpoint_want(c->spec, meta, &row) != NULL) == rows[i].tls, "row %zu", i);
		ck_assert_pstr_eq(row, rows[i].row);
		cluster_decoded_free(&c);
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_has_no_effect_yet_is_told)
{
	static const struct { const char *text, *notes; } rows[] = {
		{EDS "19:{1:{1:5} 24:{1:'m'}}", "outlier_detection.monitors: not used"},
		{EDS HTTP("3:{2:{}} 8:{1:{}}"), "typed_extension_protocol_options.outlier_detection.error_matcher: answers are judged by their status"},
		{EDS "9:{1:1}", "max_requests_per_connection: no limit"},
		{EDS "22:{1:1}", "lb_subset_config: all endpoints are one set"},
		{EDS "10:{1:{5:{1:3}}}", "circuit_breakers: retries have a budget of our own"},
		{EDS "33:{1:'demo'}", "load_assignment: endpoints come from elsewhere"},
		{"2:3 3:{1:{8:{1:'/etc/eds'}}}", "eds_config names another source: the same stream is asked"},
		{"2:1 16:{1:60} " LOAD("a.test"), "dns_refresh_rate: the answer's own time to live counts"},
		{"2:1 16:{1:60} 39:1 " LOAD("a.test"), NULL},
		{"2:1 17:1 " LOAD("a.test"), "dns_lookup_family: both families are asked"},
		{"2:1 17:4 " LOAD("a.test"), NULL},
		{"33:{1:'demo' 4:{2:{1:'x'}}}", "load_assignment.policy.drop_overloads: no call is dropped"},
		{EDS "25:{1:{}} 28:'stat' 40:{1:'istio.metadata_exchange'} 61:{} 9999:1", NULL}, /* nobody reads them */
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *c = good(&r, rows[i].text);
		ck_assert_msg((c->notes == NULL) == (rows[i].notes == NULL), "%s: %s", rows[i].text, c->notes);
		ck_assert_pstr_eq(c->notes, rows[i].notes);
		cluster_decoded_free(&c);
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_breaks_a_rule_is_refused_with_its_field)
{
	static const struct { const char *text, *why; } rows[] = {
		{"2:5", "type: 5 is none"},
		{"2:-1", "type: -1 is none"},
		{"2:3", "eds_cluster_config: missing"},
		{"2:3 3:{}", "eds_cluster_config.eds_config: missing"},
		{"2:3 3:{1:{}}", "eds_cluster_config.eds_config: says no source"},
		{"2:3 3:{1:{3:{} 6:3}}", "eds_cluster_config.eds_config.resource_api_version: 3"},
		{"2:4 34:{3:{1:65536}}", "original_dst_lb_config.upstream_port_override: 65536 is above 65535"},
		{"38:{2:{1:'x/y'}}", "cluster_type.name: empty"},
		{"38:{1:'envoy.clusters.redis' 2:{1:'x/y'}}", "cluster_type: 'envoy.clusters.redis' is not supported"},
		{"38:{1:'a' 2:{1:'" T "extensions.clusters.aggregate.v3.ClusterConfig'}}", "cluster_type.typed_config.clusters: empty"},
		{"38:{1:'a' 2:{1:'" T "extensions.clusters.aggregate.v3.ClusterConfig' 2:{1:''}}}", "cluster_type.typed_config.clusters: an empty name"},
		{"38:{1:'a' 2:{1:'" T "extensions.clusters.aggregate.v3.ClusterConfig' 2:'?'}}", "cluster_type.typed_config: malformed wire"},
		{"4:{}", "connect_timeout: 0.000000000 s is not above 0"},
		{"4:{1:-1}", "connect_timeout: -1.000000000 s is no duration"},
		{"4:{1:315576000001}", "connect_timeout: 315576000001.000000000 s is no duration"},
		{"4:{2:1000000000}", "connect_timeout: 0.1000000000 s is no duration"},
		{"6:4", "lb_policy: 4 is none"},
		{"6:8", "lb_policy: 8 is none"},
		{"6:7", "load_balancing_policy: missing"},
		{"37:{1:{1:1}}", "least_request_lb_config.choice_count: 1 is below 2"},
		{"23:{1:{1:8388609}}", "ring_hash_lb_config.minimum_ring_size: 8388609 is above 8388608"},
		{"23:{4:{1:8388609}}", "ring_hash_lb_config.maximum_ring_size: 8388609 is above 8388608"},
		{"23:{1:{1:2000} 4:{1:1999}}", "ring_hash_lb_config.minimum_ring_size: 2000 is above the maximum of 1999"},
		{"23:{3:2}", "ring_hash_lb_config.hash_function: 2 is none"},
		{"52:{1:{1:5000012}}", "maglev_lb_config.table_size: 5000012 is above 5000011"},
		{"52:{1:{1:65536}}", "maglev_lb_config.table_size: 65536 is not a prime"},
		{"41:{}", "load_balancing_policy.policies: none of the 0 is known"},
		{"41:{" POLICY("x/y", "") "}", "load_balancing_policy.policies: none of the 1 is known"},
		{"41:{1:{}}", "load_balancing_policy.policies.typed_extension_config: missing"},
		{"41:{" POLICY(LB "least_request.v3.LeastRequest", "1:{1:1}") "}", "load_balancing_policy.typed_config.choice_count: 1 is below 2"},
		{"41:{" POLICY(LB "least_request.v3.LeastRequest", "6:2") "}", "load_balancing_policy.typed_config.selection_method: 2 is none"},
		{"41:{" POLICY(LB "ring_hash.v3.RingHash", "2:{}") "}", "load_balancing_policy.typed_config.minimum_ring_size: 0 is below 1"},
		{"41:{" POLICY(LB "ring_hash.v3.RingHash", "1:3") "}", "load_balancing_policy.typed_config.hash_function: 3 is none"},
		{"41:{" POLICY(LB "ring_hash.v3.RingHash", "5:{1:99}") "}", "load_balancing_policy.typed_config.hash_balance_factor: 99 is below 100"},
		{"41:{" POLICY(LB "maglev.v3.Maglev", "2:{2:{1:99}}") "}", "load_balancing_policy.typed_config.consistent_hashing_lb_config.hash_balance_factor: 99"},
		{"41:{" POLICY(LB "wrr_locality.v3.WrrLocality", "") "}", "load_balancing_policy.endpoint_picking_policy: missing"},
		{"41:{" POLICY(LB "random.v3.Random", "1:{}") "}", "load_balancing_policy.locality_lb_config: says nothing"},
		{"27:{1:{1:d100.5}}", "common_lb_config.healthy_panic_threshold: 100.5 is not 0 to 100"},
		{"27:{1:{1:d-1}}", "common_lb_config.healthy_panic_threshold: -1 is not 0 to 100"},
		{"27:{1:{1:dnan}}", "common_lb_config.healthy_panic_threshold: nan is not 0 to 100"},
		{"27:{7:{2:{1:99}}}", "common_lb_config.consistent_hashing_lb_config.hash_balance_factor: 99 is below 100"},
		{"10:{1:{1:2}}", "circuit_breakers.thresholds.priority: 2 is none"},
		{"10:{2:{2:{}}}", "circuit_breakers.per_host_thresholds.max_connections: 0 is below 1"},
		{"16:{2:1000000}", "dns_refresh_rate: 0.001000000 s is not above 1 ms"},
		{"17:5", "dns_lookup_family: 5 is none"},
		{"20:{}", "cleanup_interval: 0.000000000 s is not above 0"},
		{"44:{}", "dns_failure_refresh_rate.base_interval: missing"},
		{"44:{1:{2:5}}", "dns_failure_refresh_rate.base_interval: 0.000000005 s is not above 1 ms"},
		{"58:{1:-1}", "dns_jitter: -1.000000000 s is no duration"},
		{"30:{3:{2:{}}}", "upstream_connection_options.happy_eyeballs_config.first_address_family_count: 0 is below 1"},
		{"19:{4:{1:101}}", "outlier_detection.max_ejection_percent: 101 is above 100"},
		{"19:{5:{1:101}}", "outlier_detection.enforcing_consecutive_5xx: 101 is above 100"},
		{"19:{6:{1:101}}", "outlier_detection.enforcing_success_rate: 101 is above 100"},
		{"19:{11:{1:101}}", "outlier_detection.enforcing_consecutive_gateway_failure: 101 is above 100"},
		{"19:{14:{1:101}}", "outlier_detection.enforcing_consecutive_local_origin_failure: 101 is above 100"},
		{"19:{15:{1:101}}", "outlier_detection.enforcing_local_origin_success_rate: 101 is above 100"},
		{"19:{16:{1:101}}", "outlier_detection.failure_percentage_threshold: 101 is above 100"},
		{"19:{17:{1:101}}", "outlier_detection.enforcing_failure_percentage: 101 is above 100"},
		{"19:{18:{1:101}}", "outlier_detection.enforcing_failure_percentage_local_origin: 101 is above 100"},
		{"19:{2:{}}", "outlier_detection.interval: 0.000000000 s is not above 0"},
		{"19:{3:{}}", "outlier_detection.base_ejection_time: 0.000000000 s is not above 0"},
		{"19:{21:{}}", "outlier_detection.max_ejection_time: 0.000000000 s is not above 0"},
		{HTTP(""), "typed_extension_protocol_options: HttpProtocolOptions says no protocol"},
		{HTTP("3:{}"), "typed_extension_protocol_options.explicit_http_config: says no protocol"},
		{HTTP("3:{2:{2:{}}}"), "http2_protocol_options.max_concurrent_streams: 0 is below 1"},
		{HTTP("3:{2:{2:{1:2147483648}}}"), "http2_protocol_options.max_concurrent_streams: 2147483648 is above 2147483647"},
		{HTTP("3:{2:{3:{1:65534}}}"), "http2_protocol_options.initial_stream_window_size: 65534 is below 65535"},
		{HTTP("3:{2:{4:{1:65534}}}"), "http2_protocol_options.initial_connection_window_size: 65534 is below 65535"},
		{HTTP("1:{1:{1:-5}} 3:{2:{}}"), "common_http_protocol_options.idle_timeout: -5.000000000 s is no duration"},
		{"36:{1:" HTTP_KEY " 2:{1:'x/Other'}}", "typed_extension_protocol_options: envoy.extensions.upstreams.http.v3.HttpProtocolOptions holds a 'x/Other'"},
		{"36:{1:" HTTP_KEY " 2:{1:" HTTP_TYPE " 2:'?'}}", "typed_extension_protocol_options: malformed wire"},
		{"24:{3:{}}", "transport_socket: name: empty"},
		{"24:{" TLS("2:'" "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
			"01234567890123456789012345678901234567890123456789012345" "'") "}", "transport_socket.sni: longer than 255 bytes"},
		{"43:{2:{}}", "transport_socket_matches.name: empty"},
		{"43:{1:'a' 2:'?'}", "transport_socket_matches.match: malformed"},
		{"43:{1:'a' 2:{1:{1:'k' 2:{6:{}}}}}", "transport_socket_matches.match: a list or a struct as value"},
		{"43:{1:'a' 3:{}}", "transport_socket_matches.transport_socket: name: empty"},
		{LOAD("bad address"), "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: 'bad address' is neither"},
		{"33:{2:{}}", "load_assignment.cluster_name: empty"},
		{"33:{1:'demo' 2:{5:1}}", "load_assignment.endpoints.priority: 1 is there and 0 is not"},
		{"2:2", "load_assignment: a LOGICAL_DNS cluster has one endpoint"},
		{"2:2 " LOAD("10.0.0.1"), "load_assignment: a LOGICAL_DNS cluster has one endpoint, and that by name"},
		{"2:2 33:{1:'demo' 2:{" ENDPOINT("a.test") ENDPOINT("b.test") "}}", "load_assignment: a LOGICAL_DNS cluster has one endpoint"},
	};
	struct rig r;
	struct cluster_decoded *c;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		ck_assert_msg(decode(&r, rows[i].text, &c) < 0, "taken: %s", rows[i].text);
		ck_assert_msg(!strncmp(r.why, rows[i].why, strlen(rows[i].why)), "%s: '%s'", rows[i].text, r.why);
	}
	struct sb m = {0};
	wiretext(&m, "2:0");
	ck_assert_int_lt(decode_bytes(&r, sb_view(&m), &c), 0);
	ck_assert_str_eq(r.why, "name: empty");
	sb_end(&m);
	wiretext(&m, "1:'xdstp://a/b' " EDS);
	ck_assert_int_lt(decode_bytes(&r, sb_view(&m), &c), 0);
	ck_assert_str_eq(r.why, "eds_cluster_config.service_name: missing in a cluster with an xdstp name");
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* Recorded from a real istiod; the corpus of the fuzz target has them. */
START_TEST(what_istiod_sends_is_taken)
{
	struct dirent *e;
	struct rig r;
	uint32_t count = 0, h2 = 0, tls = 0;
	DIR *dir = opendir("tests/fuzz/corpus/cds");
	ck_assert_ptr_nonnull(dir);
	rig_begin(&r);
	while ((e = readdir(dir))) {
		char path[600];
		static char bytes[1 << 16];
		struct cluster_decoded *c;
		if (strncmp(e->d_name, "istiod-", 7) != 0)
			continue;
		snprintf(path, sizeof(path), "tests/fuzz/corpus/cds/%s", e->d_name);
		FILE *f = fopen(path, "rb");
		ck_assert_ptr_nonnull(f);
		size_t n = fread(bytes, 1, sizeof(bytes), f);
		fclose(f);
		decode_bytes(&r, str_n(bytes, n), &c);
		ck_assert_msg(c != NULL, "%s: %s", path, r.why);
		h2 += c->h2;
		tls += c->spec->ntls > 0;
		cluster_decoded_free(&c);
		count++;
	}
	closedir(dir);
	ck_assert_uint_gt(count, 30);
	ck_assert_uint_gt(h2, 10);
	ck_assert_uint_gt(tls, 5);
	rig_end(&r);
}
END_TEST

START_TEST(policies_are_wrapped_sixteen_deep_at_most)
{
	struct rig r;
	struct cluster_decoded *c;
	rig_begin(&r);
	for (int deep = 15; deep <= 16; deep++) {
		struct sb in = {0};
		wiretext(&in, POLICY(LB "random.v3.Random", ""));
		for (int i = 0; i < deep; i++) {
			struct sb wrr = {0}, any = {0}, config = {0}, policy = {0}, list = {0};
			wire_put_bytes(&wrr, 1, sb_view(&in));
			wire_put_bytes(&any, 1, STR(LB "wrr_locality.v3.WrrLocality"));
			wire_put_bytes(&any, 2, sb_view(&wrr));
			wire_put_bytes(&config, 1, STR("x"));
			wire_put_bytes(&config, 2, sb_view(&any));
			wire_put_bytes(&policy, 4, sb_view(&config));
			wire_put_bytes(&list, 1, sb_view(&policy));
			sb_end(&in);
			sb_end(&wrr);
			sb_end(&any);
			sb_end(&config);
			sb_end(&policy);
			in = list;
		}
		struct sb m = {0};
		wiretext(&m, "1:'demo' " EDS);
		wire_put_bytes(&m, 41, sb_view(&in));
		int code = decode_bytes(&r, sb_view(&m), &c);
		ck_assert_int_eq(code, deep == 15 ? 0 : -ELOOP);
		cluster_decoded_free(&c);
		sb_end(&in);
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

START_TEST(lists_are_bounded)
{
	static const struct { int least, most; const char *one, *why; bool aggregate; } rows[] = {
		{64, 65, "43:{1:'row' 3:{" RAW "}}", "transport_socket_matches: 65, more than 64", false},
		{256, 257, "1:'child'", "cluster_type.typed_config.clusters: 257, more than 256", true},
	};
	struct rig r;
	struct cluster_decoded *c;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int n = rows[i].least; n <= rows[i].most; n++) {
			struct sb m = {0}, list = {0};
			for (int k = 0; k < n; k++)
				wiretext(&list, rows[i].one);
			wiretext(&m, "1:'demo'");
			if (rows[i].aggregate) {
				struct sb any = {0}, type = {0};
				wiretext(&any, "1:'" T "extensions.clusters.aggregate.v3.ClusterConfig'");
				wire_put_bytes(&any, 2, sb_view(&list));
				wiretext(&type, "1:'x'");
				wire_put_bytes(&type, 2, sb_view(&any));
				wire_put_bytes(&m, 38, sb_view(&type));
				sb_end(&any);
				sb_end(&type);
			} else {
				sb_add(&m, list.p, list.n);
			}
			decode_bytes(&r, sb_view(&m), &c);
			ck_assert((c != NULL) == (n == rows[i].least));
			if (!c)
				ck_assert_str_eq(r.why, rows[i].why);
			cluster_decoded_free(&c);
			sb_end(&m);
			sb_end(&list);
		}
	rig_end(&r);
}
END_TEST

START_TEST(equal_bytes_make_equal_specs_and_a_change_another)
{
	struct rig r;
	rig_begin(&r);
	struct cluster_decoded *a = good(&r, ISTIO " 6:1"), *b = good(&r, ISTIO " 6:1"), *c = good(&r, ISTIO " 6:3");
	ck_assert_uint_eq(a->spec->hash, b->spec->hash);
	ck_assert_uint_ne(a->spec->hash, c->spec->hash);
	cluster_decoded_free(&a);
	cluster_decoded_free(&b);
	cluster_decoded_free(&c);
	rig_end(&r);
}
END_TEST

static const char whole[] = EDS "4:{1:10} 6:1 10:{1:{2:{1:4294967295}}} 19:{1:{1:5}} " HTTP("3:{2:{}}") " 24:{" TLS("2:'sni'") "} 27:{1:{}} 25:{1:{1:'istio'}} "
	"43:{1:'tlsMode-istio' 2:{" PAIR("tlsMode", "istio") "} 3:{" TLS("") "}} 41:{" POLICY(LB "least_request.v3.LeastRequest", "1:{1:3}") "}";

START_TEST(a_cluster_that_is_cut_is_refused_or_a_smaller_one)
{
	struct rig r;
	struct cluster_decoded *c;
	struct sb m = {0};
	rig_begin(&r);
	wiretext(&m, "1:'demo' ");
	wiretext(&m, whole);
	for (size_t n = 0; n <= m.n; n++) {
		decode_bytes(&r, str_n(m.p, n), &c);
		ck_assert(n < m.n || c != NULL);
		cluster_decoded_free(&c);
	}
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(what_the_account_refuses_is_given_back)
{
	static const char *const texts[] = {whole, "2:1 " LOAD("a.test")};
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct rig r;
		struct cluster_decoded *c;
		int refused = 0;
		rig_begin(&r);
		for (size_t limit = 32;; limit += 32) {
			r.account.limit = limit;
			int code = decode(&r, texts[i], &c);
			if (c)
				break;
			ck_assert_msg(code == -ENOMEM, "%zu bytes: %d, %s", limit, code, r.why);
			refused++;
			ck_assert_uint_lt(limit, 1 << 20);
		}
		ck_assert_int_gt(refused, 10);
		cluster_decoded_free(&c);
		rig_end(&r);
	}
}
END_TEST

/* Two bytes of wire each that unfold to fifty times as much. */
START_TEST(what_unfolds_beyond_twice_its_size_and_a_mebibyte_is_refused)
{
	struct rig r;
	struct cluster_decoded *c;
	struct sb m = {0};
	rig_begin(&r);
	wiretext(&m, "1:'demo'");
	for (int i = 0; i < 200000; i++)
		sb_add(&m, "\x42\x00", 2); /* health_checks */
	ck_assert_int_eq(decode_bytes(&r, sb_view(&m), &c), -ENOMEM);
	ck_assert_uint_lt(r.account.peak, 2 * m.n + (1 << 20) + 65536);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* The assignment inside counts too: its bytes, and the set that comes of them. */
START_TEST(an_inline_assignment_is_bounded_as_well)
{
	static const uint32_t counts[] = {1000, 10000, 100000};
	for (size_t i = 0; i < UNIT_COUNT(counts); i++) {
		struct rig r;
		struct cluster_decoded *c;
		struct sb m = {0}, load = {0}, group = {0};
		rig_begin(&r);
		wiretext(&m, "1:'demo'");
		wiretext(&load, "1:'demo'");
		for (uint32_t k = 0; k < counts[i]; k++) {
			char text[64];
			snprintf(text, sizeof(text), "2:{1:{1:{1:{2:'10.%u.%u.%u' 3:80}}}}", k >> 16, k >> 8 & 255, k & 255);
			wiretext(&group, text);
		}
		wire_put_bytes(&load, 2, sb_view(&group));
		wire_put_bytes(&m, 33, sb_view(&load));
		int code = decode_bytes(&r, sb_view(&m), &c);
		ck_assert_uint_le(r.account.peak, 2 * m.n + (1 << 20) + 4 * MEM_GRANULE);
		ck_assert_msg(code == 0 || (code == -ENOMEM && counts[i] == 100000), "%u: %s", counts[i], r.why);
		if (c)
			ck_assert_uint_eq(endpoints_count(c->endpoints), counts[i]);
		cluster_decoded_free(&c);
		sb_end(&m);
		sb_end(&load);
		sb_end(&group);
		rig_end(&r);
	}
}
END_TEST

UNIT_SUITE("decode_cluster", what_nobody_says_is_as_in_envoy, the_type_says_where_endpoints_come_from, the_policy_is_the_first_that_is_known,
	limits_and_times_are_taken_over, http_options_of_all_times_are_read, transport_sockets_say_who_wants_tls, what_has_no_effect_yet_is_told,
	what_breaks_a_rule_is_refused_with_its_field, what_istiod_sends_is_taken, policies_are_wrapped_sixteen_deep_at_most, lists_are_bounded, equal_bytes_make_equal_specs_and_a_change_another,
	a_cluster_that_is_cut_is_refused_or_a_smaller_one, what_the_account_refuses_is_given_back,
	what_unfolds_beyond_twice_its_size_and_a_mebibyte_is_refused, an_inline_assignment_is_bounded_as_well)
