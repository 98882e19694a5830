/* xds/decode_route: what of a RouteConfiguration is refused and why, and what becomes of the rest: which route, which cluster, how. */
#include "tests/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "tests/xds/fieldtext.h"
#include "xds/decode.h"
#include "xds/wire.h"

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct account root(size_t limit)
{
	struct account a;

	account_init(&a, NULL, "test", limit);
	return a;
}

/* One virtual host 'h' for `*`, with these routes; freed by the caller. */
static char *in_host(const char *routes)
{
	return xasprintf("2{1:'h' 2:'*' %s}", routes);
}

/* One route: match '/', and this action (a RouteAction's fields beside the cluster). */
static char *in_action(const char *fields)
{
	return xasprintf("2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c' %s}}}", fields);
}

static struct route_config *decode(const char *text)
{
	struct route_config *c = NULL;
	struct sb bytes = fieldtext(text), why = {0};
	int rc = decode_routes(bytes.p, bytes.n, NULL, &c, &why);

	sb_char(&why, '\0');
	ck_assert_msg(rc == 0, "%s: %d %s", text, rc, why.p);
	ck_assert_ptr_nonnull(c);
	sb_end(&bytes);
	sb_end(&why);
	return c;
}

static struct route_action *only_action(const struct route_config *c)
{
	ck_assert_uint_eq(route_config_hosts(c), 1);
	struct route_table *t = route_config_host(c, 0);
	ck_assert_uint_eq(t->count, 1);
	return t->routes[0].action;
}

/* ---- refusals ----------------------------------------------------------------------------------------------------------- */

struct refusal { const char *text, *why; };

static void refused(const char *text, const char *why)
{
	struct account a = root(SIZE_MAX);
	struct route_config *c = NULL;
	struct sb bytes = fieldtext(text), said = {0};
	int rc = decode_routes(bytes.p, bytes.n, &a, &c, &said);

	sb_char(&said, '\0');
	ck_assert_msg(rc < 0 && !c, "taken: %s", text);
	ck_assert_msg(strstr(said.p, why) != NULL, "%s\n  said: %s\n  expected: %s", text, said.p, why);
	ck_assert_uint_eq(a.used, 0);
	sb_end(&bytes);
	sb_end(&said);
}

START_TEST(a_configuration_that_breaks_a_rule_is_refused_by_the_place_and_the_rule)
{
	static const struct refusal rows[] = {
		{"1:'a\\0b'", "name: not UTF-8, or with a NUL"},
		{"1=3", "name: wrong wire type"},
		{"2=3", "virtual_hosts: wrong wire type"},
		{"2{2:'*'}", "virtual_hosts[0].name: empty"},
		{"2{1:'a' 2:'a'} 2{1:'h'}", "virtual_hosts[1].domains: none"},
		{"2{1:'h' 2:''}", "virtual_hosts[0].domains: [0]: empty"},
		{"2{1:'h' 2:'a' 2:'b\\n'}", "virtual_hosts[0].domains: [1]: a line break"},
		{"2{1:'h' 2:'a\\xff'}", "virtual_hosts[0].domains: not UTF-8, or with a NUL"},
		{"2{1:'h' 2:'*' 4=3}", "virtual_hosts[0].require_tls: 3, expected 0 to 2"},
		{"2{1:'a' 2:'x' 2:'y'} 2{1:'b' 2:'z' 2:'Y'}", "virtual_hosts[1].domains: 'y' is there already, in virtual_hosts[0]"},
		{"2{1:'a' 2:'*'} 2{1:'b' 2:'z' 2:'*'}", "virtual_hosts[1].domains: '*' is there already, in virtual_hosts[0]"},
		{"2{1:'a' 2:'*.x'} 2{1:'b' 2:'*.x'}", "virtual_hosts[1].domains: '*.x' is there already, in virtual_hosts[0]"},
		{"2{1:'a' 2:'x.*'} 2{1:'b' 2:'x.*'}", "virtual_hosts[1].domains: 'x.*' is there already, in virtual_hosts[0]"},
		{"2{1:'a' 2:'x' 2:'x'}", "virtual_hosts[0].domains: 'x' is there already, in virtual_hosts[0]"},
		{"4{}", "response_headers_to_add: [0].header: missing"},
		{"6{1{1:''}}", "request_headers_to_add: [0].header.key: no header's name"},
		{"6{1{1:'a' 2:'x\\ny'}}", "request_headers_to_add: [0].header.value: too long, or with a line break"},
		{"6{1{1:'a'} 3=4}", "request_headers_to_add: [0].append_action: 4, expected 0 to 3"},
		{"2{1:'h' 2:'*' 7{}}", "virtual_hosts[0].request_headers_to_add: [0].header: missing"},
		{"2{1:'h' 2:'*' 10{}}", "virtual_hosts[0].response_headers_to_add: [0].header: missing"},
		{"2{1:'h' 2:'*' 16{} 16{}}", "virtual_hosts[0].retry_policy: given twice"},
		{"2{1:'h' 2:'*' 16=1}", "virtual_hosts[0].retry_policy: wrong wire type"},
		{"11:'\\xff'", "max_direct_response_body_size_bytes: malformed wire"},
		{"2:'\\xff'", "virtual_hosts[0]: malformed wire"},
		{"2{1:'h' 2:'*' 3:'\\xff'}", "virtual_hosts[0].routes[0]: malformed wire"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		refused(rows[i].text, rows[i].why);
}
END_TEST

START_TEST(a_route_that_breaks_a_rule_is_refused_by_the_place_and_the_rule)
{
	static const struct refusal rows[] = {
		{"3{2{1:'c'}}", "virtual_hosts[0].routes[0].match: missing"},
		{"3{1{1:'/'}}", "virtual_hosts[0].routes[0].action: missing"},
		{"3{1{1:'/'} 2{1:'c'}} 3{1{} 2{1:'c'}}", "virtual_hosts[0].routes[1].match: path_specifier: missing"},
		{"3{1{10{}} 2{1:'c'}}", "routes[0].match: safe_regex: empty"},
		{"3{1{10{2:'a(?=b)'}} 2{1:'c'}}", "routes[0].match: safe_regex 'a(?=b)': look-ahead"},
		{"3{1{10{2:'(a'}} 2{1:'c'}}", "missing closing parenthesis"},
		{"3{1{14:'/'} 2{1:'c'}}", "path_separated_prefix: '/', expected"},
		{"3{1{14:'/a/'} 2{1:'c'}}", "path_separated_prefix: '/a/', expected"},
		{"3{1{14:'/a?b'} 2{1:'c'}}", "path_separated_prefix: '/a?b', expected"},
		{"3{1{1:'/' 9{}} 2{1:'c'}}", "match.runtime_fraction: default_value: missing"},
		{"3{1{1:'/' 9{1{1=5 2=3}}} 2{1:'c'}}", "match.runtime_fraction: denominator: 3, expected 0 to 2"},
		{"3{1{1:'/' 6{}} 2{1:'c'}}", "match.headers[0]: name: no header's name"},
		{"3{1{1:'/' 6{1:'a\\n'}} 2{1:'c'}}", "match.headers[0]: name: no header's name"},
		{"3{1{1:'/' 6{1:'a'} 6{1:'b' 9:''}} 2{1:'c'}}", "match.headers[1]: prefix: empty"},
		{"3{1{1:'/' 6{1:'b' 10:''}} 2{1:'c'}}", "match.headers[0]: suffix: empty"},
		{"3{1{1:'/' 6{1:'b' 12:''}} 2{1:'c'}}", "match.headers[0]: contains: empty"},
		{"3{1{1:'/' 6{1:'b' 11{}}} 2{1:'c'}}", "match.headers[0]: safe_regex: empty"},
		{"3{1{1:'/' 6{1:'b' 13{}}} 2{1:'c'}}", "match.headers[0]: match_pattern: missing"},
		{"3{1{1:'/' 6{1:'b' 13{2:''}}} 2{1:'c'}}", "match.headers[0]: prefix: empty"},
		{"3{1{1:'/' 6{1:'b' 13{3:''}}} 2{1:'c'}}", "match.headers[0]: suffix: empty"},
		{"3{1{1:'/' 6{1:'b' 13{7:''}}} 2{1:'c'}}", "match.headers[0]: contains: empty"},
		{"3{1{1:'/' 6{1:'b' 13{5{2:'[z'}}}} 2{1:'c'}}", "match.headers[0]: safe_regex '[z': a class without its ]"},
		{"3{1{1:'/' 7{}} 2{1:'c'}}", "match.query_parameters[0]: name: 0 bytes, expected 1 to 1024"},
		{"3{1{1:'/' 7{1:'q' 5{}}} 2{1:'c'}}", "match.query_parameters[0]: match_pattern: missing"},
		{"3{1{1:'/' 17{}} 2{1:'c'}}", "match.cookies[0]: name: 0 bytes, expected 1 to 1024"},
		{"3{1{1:'/' 17{1:'k'}} 2{1:'c'}}", "match.cookies[0]: string_match: missing"},
		{"3{1{1:'/'} 2{}}", "route: cluster_specifier: missing"},
		{"3{1{1:'/'} 2{1:''}}", "route: cluster: empty"},
		{"3{1{1:'/'} 2{2:''}}", "route: cluster_header: no header's name"},
		{"3{1{1:'/'} 2{3{}}}", "route.weighted_clusters: clusters: none"},
		{"3{1{1:'/'} 2{3{1{2{1=1}}}}}", "route.weighted_clusters.clusters[0]: neither name nor cluster_header"},
		{"3{1{1:'/'} 2{3{1{1:'a' 2{1=1}} 1{1:'a' 12:'b' 2{1=1}}}}}", "route.weighted_clusters.clusters[1]: both name and cluster_header"},
		{"3{1{1:'/'} 2{3{1{12:'b\\n' 2{1=1}}}}}", "clusters[0]: cluster_header: no header's name"},
		{"3{1{1:'/'} 2{3{1{1:'a'} 1{1:'b' 2{1=0}}}}}", "the weights add up to 0, expected 1 to 4294967295"},
		{"3{1{1:'/'} 2{3{1{1:'a' 2{1=4294967295}} 1{1:'b' 2{1=1}}}}}", "the weights add up to 4294967296, expected 1 to 4294967295"},
		{"3{1{1:'/'} 2{3{1{1:'a' 2{1=1} 4{}}}}}", "clusters[0]: [0].header: missing"},
		{"3{1{1:'/'} 2{1:'c' 11=2}}", "route: priority: 2, expected 0 or 1"},
		{"3{1{1:'/'} 2{1:'c' 8{1=-1}}}", "route.timeout: -1 s and 0 ns is no duration"},
		{"3{1{1:'/'} 2{1:'c' 8{1=315576000001}}}", "is no duration"},
		{"3{1{1:'/'} 2{1:'c' 8{2=1000000000}}}", "route.timeout: 0 s and 1000000000 ns is no duration"},
		{"3{1{1:'/'} 2{1:'c' 24{2=-1}}}", "route.idle_timeout: "},
		{"3{1{1:'/'} 2{1:'c' 36{1{1=-1}}}}", "route.max_stream_duration: "},
		{"3{1{1:'/'} 2{1:'c' 36{2{1=-1}}}}", "route.max_stream_duration.grpc_timeout_header_max: "},
		{"3{1{1:'/'} 2{1:'c' 36{3{1=-1}}}}", "route.max_stream_duration.grpc_timeout_header_offset: "},
		{"3{1{1:'/'} 2{1:'c' 23{1=-1}}}", "route.max_grpc_timeout: "},
		{"3{1{1:'/'} 2{1:'c' 9{3{1=-1}}}}", "retry_policy.per_try_timeout: "},
		{"3{1{1:'/'} 2{1:'c' 9{8{}}}}", "retry_policy.retry_back_off: base_interval: missing"},
		{"3{1{1:'/'} 2{1:'c' 9{8{1{}}}}}", "retry_policy.retry_back_off: an interval of 0"},
		{"3{1{1:'/'} 2{1:'c' 9{8{1{1=1} 2{}}}}}", "retry_policy.retry_back_off: an interval of 0"},
		{"3{1{1:'/'} 2{1:'c' 9{8{1{1=2} 2{1=1}}}}}", "retry_policy.retry_back_off: max_interval: shorter than base_interval"},
		{"3{1{1:'/'} 7{1=199}}", "direct_response: status: 199, expected 200 to 599"},
		{"3{1{1:'/'} 7{1=600}}", "direct_response: status: 600, expected 200 to 599"},
		{"3{1{1:'/'} 7{1=200 2{}}}", "direct_response: body: nothing in it"},
		{"3{1{1:'/'} 3{3=5}}", "redirect: response_code: 5, expected 0 to 4"},
		{"3{1{1:'/'} 3{8=65536}}", "redirect: port_redirect: 65536"},
		{"3{1{1:'/'} 3{1:'a\\nb'}}", "redirect: a line break"},
		{"3{1{1:'/'} 3{2:'/a\\nb'}}", "redirect: a line break"},
		{"3{1{1:'/'} 2{1:'c'} 9{}}", "routes[0].request_headers_to_add: [0].header: missing"},
		{"3{1{1:'/'} 2{1:'c'} 10{1{1:'a'} 3=-1}}", "routes[0].response_headers_to_add: [0].append_action: -1, expected 0 to 3"},
		{"3{1{1:'/'} 2{1=4}}", "routes[0]: a field has the wrong wire type"},
		{"3{1{1:'/'} 2{1:'c\\0d'}}", "routes[0]: a text is not UTF-8, or holds a NUL"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = in_host(rows[i].text);

		refused(text, rows[i].why);
		free(text);
	}
}
END_TEST

START_TEST(lists_of_a_thousand_headers_are_fine_and_one_more_is_not)
{
	for (unsigned n = 1000; n <= 1001; n++)
		for (unsigned where = 0; where < 3; where++) {
			struct sb list = {0};
			struct route_config *c = NULL;

			sb_str(&list, where == 0 ? "" : where == 1 ? "2{1:'h' 2:'*' " : "2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'} ");
			for (unsigned i = 0; i < n; i++)
				sb_fmt(&list, "%d{1{1:'a'}}", where == 0 ? 4 : where == 1 ? 7 : 9);
			sb_str(&list, where == 0 ? "" : where == 1 ? "}" : "}}");
			sb_char(&list, '\0');
			struct sb bytes = fieldtext(list.p), why = {0};
			int rc = decode_routes(bytes.p, bytes.n, NULL, &c, &why);
			ck_assert_msg(rc == (n == 1000 ? 0 : ERR_MALFORMED), "%u at %u: %d %.*s", n, where, rc, (int)why.n, why.p);
			route_config_unref(&c);
			sb_end(&list);
			sb_end(&bytes);
			sb_end(&why);
		}
}
END_TEST

/* ---- what becomes of it ------------------------------------------------------------------------------------------------- */

START_TEST(timeouts_are_what_the_action_says_and_the_newer_words_win)
{
	static const struct {
		const char *fields;
		uint64_t timeout_ns;
		bool has, heeded;
		uint64_t max_ns, offset_ns;
	} rows[] = {
		{"", 15 * S, false, false, 0, 0},
		{"8{}", 0, false, false, 0, 0},
		{"8{1=3 2=5}", 3 * S + 5, false, false, 0, 0},
		{"8{1=315576000000}", UINT64_C(100) * 366 * 86400 * S, false, false, 0, 0},
		{"8{} 23{}", 0, false, true, 0, 0}, /* istiod's */
		{"8{1=3} 23{1=4} 28{2=1000000}", 3 * S, false, true, 4 * S, 1 * MS},
		{"8{1=3} 36{}", 0, false, false, 0, 0},
		{"8{1=3} 36{1{1=7}}", 7 * S, true, false, 0, 0},
		{"8{1=3} 36{1{}}", 0, true, false, 0, 0},
		{"36{1{1=7} 2{} 3{2=1000000}}", 7 * S, true, true, 0, 1 * MS},
		{"36{2{1=9}} 23{1=4}", 0, false, true, 9 * S, 0},
		{"36{1{1=9}} 23{1=4}", 9 * S, true, true, 4 * S, 0},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = in_action(rows[i].fields);
		struct route_config *c = decode(text);
		const struct route_action *a = only_action(c);

		ck_assert_msg(a->timeout_ns == rows[i].timeout_ns && a->has_timeout == rows[i].has, "'%s': %llu", rows[i].fields, (unsigned long long)a->timeout_ns);
		ck_assert_msg(a->grpc_timeout_heeded == rows[i].heeded && a->grpc_timeout_max_ns == rows[i].max_ns && a->grpc_timeout_offset_ns == rows[i].offset_ns,
			"'%s': %d %llu", rows[i].fields, a->grpc_timeout_heeded, (unsigned long long)a->grpc_timeout_max_ns);
		ck_assert(!a->has_idle_timeout);
		route_config_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(retries_are_the_routes_or_else_the_virtual_hosts_never_both)
{
	struct route_config *c = decode("2{1:'h' 2:'*' 16{1:'5xx' 2{1=7} 7=500}"
		"3{1{1:'/a'} 2{1:'a'}}"
		"3{1{1:'/b'} 2{1:'b' 8{1=10} 9{1:'connect-failure,unavailable,nonsense,retriable-status-codes' 3{1=2} 6=5 7=503 7=429 8{1{2=1000} 2{1=1}}}}}"
		"3{1{1:'/c'} 2{1:'c' 8{1=2} 9{3{1=2} 8{1{2=20000000}}}}}"
		"3{1{1:'/d'} 2{1:'d' 9{1:'5xx' 2{} 6=-1 7=1 7=500 7=501 7=502 7=503 7=504 7=505 7=506 7=507 7=508}}}}");
	const struct route *r = route_config_host(c, 0)->routes;

	ck_assert_uint_eq(r[0].action->retry.on, RETRY_5XX);
	ck_assert_uint_eq(r[0].action->retry.max, 7);
	ck_assert_uint_eq(r[0].action->retry.status_count, 1);
	ck_assert_uint_eq(r[0].action->retry.base_ns, 25 * MS);
	ck_assert_uint_eq(r[0].action->retry.cap_ns, 250 * MS);

	ck_assert_uint_eq(r[1].action->retry.on, RETRY_CONNECT_FAILURE | RETRY_UNAVAILABLE | RETRY_STATUSES);
	ck_assert_uint_eq(r[1].action->retry.max, 1); /* Envoy's default */
	ck_assert_uint_eq(r[1].action->retry.per_try_timeout_ns, 2 * S);
	ck_assert_uint_eq(r[1].action->retry.host_selection_attempts, 5);
	ck_assert_uint_eq(r[1].action->retry.status_count, 2);
	ck_assert_uint_eq(r[1].action->retry.statuses[1], 429);
	ck_assert_uint_eq(r[1].action->retry.base_ns, 1 * MS); /* shorter ones are a millisecond */
	ck_assert_uint_eq(r[1].action->retry.cap_ns, 1 * S);

	ck_assert_uint_eq(r[2].action->retry.per_try_timeout_ns, 0); /* it would not end before the whole */
	ck_assert_uint_eq(r[2].action->retry.base_ns, 20 * MS);
	ck_assert_uint_eq(r[2].action->retry.cap_ns, 200 * MS);

	ck_assert_uint_eq(r[3].action->retry.max, 0);
	ck_assert_uint_eq(r[3].action->retry.status_count, 8);
	ck_assert_uint_eq(r[3].action->retry.statuses[0], 500);
	ck_assert_uint_eq(r[3].action->retry.host_selection_attempts, 0);
	ck_assert_str_eq(r[3].action->notes, "retry_policy.retriable_status_codes beyond the eighth");
	route_config_unref(&c);
}
END_TEST

START_TEST(what_would_send_a_call_elsewhere_is_an_action_that_says_so)
{
	static const struct {
		const char *route, *name;
	} rows[] = {
		{"1{1:'/'} 2{1:'c' 5:'/x'}", "prefix_rewrite"},
		{"1{1:'/'} 2{1:'c' 32{1{2:'a'} 2:'b'}}", "regex_rewrite"},
		{"1{1:'/'} 2{1:'c' 41{1:'x'}}", "path_rewrite_policy"},
		{"1{1:'/'} 2{1:'c' 45:'/x'}", "path_rewrite"},
		{"1{1:'/'} 2{1:'c' 6:'host'}", "host_rewrite_literal"},
		{"1{1:'/'} 2{1:'c' 7{1=1}}", "auto_host_rewrite"},
		{"1{1:'/'} 2{1:'c' 29:'x-host'}", "host_rewrite_header"},
		{"1{1:'/'} 2{1:'c' 35{1{2:'a'} 2:'b'}}", "host_rewrite_path_regex"},
		{"1{1:'/'} 2{1:'c' 44:'x'}", "host_rewrite"},
		{"1{1:'/'} 2{1:'c' 4{1{1:'envoy.lb'}}}", "metadata_match"},
		{"1{1:'/'} 2{37:'plugin'}", "cluster_specifier_plugin"},
		{"1{1:'/'} 2{39{}}", "inline_cluster_specifier_plugin"},
		{"1{1:'/'} 2{3{1{1:'c' 2{1=1} 11:'host'}}}", "weighted_clusters.host_rewrite_literal"},
		{"1{1:'/'} 2{3{1{1:'c' 2{1=1} 3{1{1:'x'}}}}}", "weighted_clusters.metadata_match"},
		{"1{1:'/'} 17{}", "filter_action"},
		{"1{1:'/'} 18{}", "non_forwarding_action"},
		{"1{1:'/'} 3{9{1{2:'a'}}}", "redirect.regex_rewrite"},
		{"1{1:'/'} 3{10:'/x'}", "redirect.path_rewrite"},
		{"1{15{1:'x'}} 2{1:'c'}", "match.path_match_policy"},
		{"1{1:'/' 6{1:'a' 13{8{1:'x'}}}} 2{1:'c'}", "a custom string_match"},
		/* said, and empty: nothing is asked for */
		{"1{1:'/'} 2{1:'c' 5:'' 6:'' 4{}}", NULL},
		{"1{1:'/'} 2{1:'c' 7{}}", NULL},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = xasprintf("2{1:'h' 2:'*' 3{%s}}", rows[i].route);
		struct route_config *c = decode(text);
		const struct route_action *a = only_action(c);

		if (!rows[i].name) {
			ck_assert_msg(a->kind == ROUTE_CLUSTER && !a->unsupported, "%s: %s", rows[i].route, a->unsupported);
		} else {
			ck_assert_msg(a->kind == ROUTE_UNSUPPORTED && a->unsupported && strcmp(a->unsupported, rows[i].name) == 0, "%s: %s", rows[i].route, a->unsupported);
			ck_assert_ptr_null(route_action_cluster(a, 0, NULL).p);
		}
		route_config_unref(&c);
		free(text);
	}
}
END_TEST

START_TEST(a_host_chosen_by_matcher_or_by_a_header_refuses_its_calls)
{
	struct route_config *c = decode("2{1:'h' 2:'*' 21{} 3{1{1:'/'} 2{1:'c'}}}");

	ck_assert_str_eq(only_action(c)->unsupported, "virtual host's matcher");
	ck_assert_ptr_eq(route_match(route_config_host(c, 0), NULL, 0), only_action(c));
	route_config_unref(&c);
	c = decode("18:'x-host' 2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'}}}");
	ck_assert_str_eq(only_action(c)->unsupported, "vhost_header");
	route_config_unref(&c);
	c = decode("2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'}}} 18:''");
	ck_assert_ptr_null(only_action(c)->unsupported);
	route_config_unref(&c);
}
END_TEST

START_TEST(what_has_no_effect_yet_stands_in_the_notes_once)
{
	static const struct {
		const char *text, *notes;
	} rows[] = {
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'} 5{1:'decorated'} 14:'named' 19:'stats'}}", NULL},
		{"2{1:'h' 2:'*' 14=1 3{1{1:'/'} 2{1:'c' 30{1:'m'} 15{1{1:'x'}}}}}", "request_mirror_policies; hash_policy"},
		{"6{1{1:'a'}} 2{1:'h' 2:'*' 7{1{1:'b'}} 3{1{1:'/'} 2{1:'c'} 9{1{1:'c'}}}}", "request_headers_to_add"},
		{"4{1{1:'a'}} 5:'x' 8:'y' 9{} 2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'}}}", "request_headers_to_remove; response_headers_to_add; response_headers_to_remove; vhds"},
		{"2{1:'h' 2:'*' 10{1{1:'a'}} 11:'x' 13:'y' 3{1{1:'/'} 2{1:'c'}}}", "request_headers_to_remove; response_headers_to_add; response_headers_to_remove"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'} 10{1{1:'a'}} 11:'x' 12:'y'}}", "request_headers_to_remove; response_headers_to_add; response_headers_to_remove"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c'} 13{1:'envoy.filters.http.fault' 2{}}}}", "fault"},
		{"16{1:'envoy.filters.http.cors' 2{}} 2{1:'h' 2:'*' 15{1:'other' 2{}} 3{1{1:'/'} 2{1:'c'}}}", "cors; typed_per_filter_config"},
		{"2{1:'h' 2:'*' 15{1:'envoy.filters.http.local_ratelimit'} 3{1{1:'/'} 2{1:'c'}}}", "rate_limits"},
		{"13{1:'m'} 2{1:'h' 2:'*' 22{1:'n'} 3{1{1:'/'} 2{1:'c'}}}", "request_mirror_policies"},
		{"2{1:'h' 2:'*' 4=2 6{} 8{} 17{} 3{1{1:'/'} 2{1:'c'}}}", "cors; rate_limits; hedge_policy; require_tls"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c' 11=1 13{} 17{} 25{1:'websocket'} 27{} 34{}}}}",
			"cors; rate_limits; hedge_policy; internal_redirect_policy; upgrade_configs; priority"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{1:'c' 26=1}}}", "internal_redirect_policy"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{3{1{1:'c' 2{1=1} 4{1{1:'a'}} 10{1:'envoy.filters.http.fault'}} 4:'x-pick'}}}}",
			"request_headers_to_add; fault; weighted_clusters.header_name"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 2{3{1{1:'c' 2{1=1}} 5{1=1}}}}}", "weighted_clusters.use_hash_policy"},
		{"2{1:'h' 2:'*' 16{4{1:'p'} 9{1:'a'} 10{1:'b'} 11{} 12{} 13{1=1}} 3{1{1:'/'} 2{1:'c'}}}",
			"retry_policy.retry_priority; retry_policy.retriable_headers; retry_policy.retriable_request_headers; retry_policy.rate_limited_retry_back_off; "
			"retry_policy.retry_options_predicates; retry_policy.per_try_idle_timeout"},
		{"2{1:'h' 2:'*' 3{1{1:'/'} 7{1=200 2{1:'/etc/passwd'} 3{}}}}", "direct_response.body_format; direct_response.body from a file or a variable"},
		{"2{1:'h' 2:'*' 3{1{12{}} 2{1:'c'}}}", "match.connect_matcher"},
		{"2{1:'h' 2:'*' 3{1{1:'/' 13{1:'x'}} 2{1:'c'}}}", "match.dynamic_metadata"},
		{"2{1:'h' 2:'*' 3{1{1:'/' 16{}} 2{1:'c'}}}", "match.filter_state"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct route_config *c = decode(rows[i].text);
		const char *notes = only_action(c)->notes;

		if (rows[i].notes)
			ck_assert_msg(notes && strcmp(notes, rows[i].notes) == 0, "%s\n  said: %s\n  expected: %s", rows[i].text, notes, rows[i].notes);
		else
			ck_assert_msg(!notes, "%s: %s", rows[i].text, notes);
		route_config_unref(&c);
	}
}
END_TEST

START_TEST(direct_responses_and_redirects_are_decoded_whole)
{
	struct route_config *c = decode("11{1=5} 2{1:'h' 2:'*' 3{1{1:'/'} 7{1=503 2{3:'gone!'}} 14:'out'} 3{1{1:'/'} 7{1=204}} 3{1{1:'/'} 7{1=200 2{2:'a\\0b'}}}"
		"3{1{2:'/old'} 3{1:'there' 3=4 4=1 5:'/new' 6=1 8=8443}} 3{1{10{2:'/x.*'}} 3{5:'/y'}} 3{1{1:'/'} 3{7:'wss' 2:'/p?q=1'}} 3{1{1:'/'} 3{}}}");
	const struct route *r = route_config_host(c, 0)->routes;

	ck_assert_int_eq(r[0].action->kind, ROUTE_DIRECT);
	ck_assert_uint_eq(r[0].action->direct.status, 503);
	ck_assert_str_eq(r[0].action->direct.body, "gone!");
	ck_assert_str_eq(r[0].action->name, "out");
	ck_assert_uint_eq(r[1].action->direct.status, 204);
	ck_assert_ptr_null(r[1].action->direct.body);
	ck_assert_uint_eq(r[2].action->direct.body_n, 3);
	ck_assert_int_eq(memcmp(r[2].action->direct.body, "a\0b", 3), 0);

	const struct route_redirect *x = r[3].action->redirect;
	ck_assert_int_eq(r[3].action->kind, ROUTE_REDIRECT);
	ck_assert_uint_eq(x->status, 308);
	ck_assert_str_eq(x->host, "there");
	ck_assert(x->https && x->strip_query);
	ck_assert_uint_eq(x->port, 8443);
	ck_assert_str_eq(x->prefix, "/new");
	ck_assert_uint_eq(x->prefix_n, 4);
	ck_assert_uint_eq(r[4].action->redirect->prefix_n, UINT32_MAX);
	ck_assert_str_eq(r[5].action->redirect->scheme, "wss");
	ck_assert_str_eq(r[5].action->redirect->path, "/p?q=1");
	ck_assert_uint_eq(r[6].action->redirect->status, 301);
	ck_assert(!r[6].action->redirect->host && !r[6].action->redirect->path && !r[6].action->redirect->prefix && !r[6].action->redirect->https);
	route_config_unref(&c);

	refused("11{1=4} 2{1:'h' 2:'*' 3{1{1:'/'} 7{1=503 2{3:'gone!'}}}}", "direct_response: body: 5 bytes, at most 4 are allowed");
	refused("2{1:'h' 2:'*' 3{1{1:'/'} 7{1=503 2{3:'gone!'}}}} 11{}", "direct_response: body: 5 bytes, at most 0 are allowed");
}
END_TEST

/* ---- which route, which cluster ----------------------------------------------------------------------------------------- */

static struct fields *head_of(struct fields_pool *pool, const char *const *lines)
{
	struct fields *h = fields_new(pool, NULL);

	for (; *lines; lines++) {
		const char *sep = strstr(*lines, ": ");

		ck_assert_int_eq(fields_add(h, str_n(*lines, (size_t)(sep - *lines)), str_of(sep + 2)), 0);
	}
	return h;
}

START_TEST(matchers_of_all_kinds_come_through_the_wire)
{
	static const char *const text = "2{1:'h' 2:'*'"
		"3{1{2:'/exact'} 2{1:'exact'}}"
		"3{1{14:'/sep'} 2{1:'separated'}}"
		"3{1{10{2:'/re[0-9]+'}} 2{1:'regex'}}"
		"3{1{1:'/CASE' 4{1=0}} 2{1:'case'}}"
		"3{1{1:'/strict' 4{1=1}} 2{1:'strict'}}"
		"3{1{1:'/q' 7{1:'v' 5{1:'1'}}} 2{1:'query'}}"
		"3{1{1:'/q' 7{1:'there'}} 2{1:'query-there'}}"
		"3{1{1:'/q' 7{1:'gone' 6=0} 7{1:'z' 6=1}} 2{1:'query-gone'}}"
		"3{1{1:'/k' 17{1:'user' 2{1:'x'}}} 2{1:'cookie'}}"
		"3{1{1:'/k' 17{1:'user' 2{1:'y'} 3=1}} 2{1:'cookie-not'}}"
		"3{1{1:'/g' 8{}} 2{1:'grpc'}}"
		"3{1{1:'/none' 9{1{1=0}}} 2{1:'never'}}"
		"3{1{1:'/none' 9{1{1=1000000 2=2}}} 2{1:'always'}}"
		"3{1{1:'/tls' 11{1{1=1}}} 2{1:'with-cert'}}"
		"3{1{1:'/tls' 11{1{1=0}}} 2{1:'without-cert'}}"
		"3{1{1:'/meta' 13{1:'x'}} 2{1:'with-metadata'}}"
		"3{1{1:'/meta' 13{1:'x' 4=1}} 2{1:'without-metadata'}}"
		"3{1{1:'/h' 6{1:'X-A' 4:'old-exact'}} 2{1:'h-exact'}}"
		"3{1{1:'/h' 6{1:'x-a' 9:'old-pre'}} 2{1:'h-prefix'}}"
		"3{1{1:'/h' 6{1:'x-a' 10:'old-suf'}} 2{1:'h-suffix'}}"
		"3{1{1:'/h' 6{1:'x-a' 12:'old-has'}} 2{1:'h-contains'}}"
		"3{1{1:'/h' 6{1:'x-a' 11{2:'r+'}}} 2{1:'h-regex'}}"
		"3{1{1:'/h' 6{1:'x-n' 6{1=-5 2=10}}} 2{1:'h-range'}}"
		"3{1{1:'/h' 6{1:'x-p' 7=1}} 2{1:'h-present'}}"
		"3{1{1:'/h' 6{1:'x-s' 13{1:'NEW' 6=1}}} 2{1:'h-string'}}"
		"3{1{1:'/h' 6{1:'x-e' 13{1:''} 14=1} 6{1:'x-m' 7=1}} 2{1:'h-empty'}}"
		"3{1{1:'/h' 6{1:'x-i' 13{1:'v'} 8=1}} 2{1:'h-invert'}}"
		"3{1{1:'/h' 6{1:'x-a' 7=0}} 2{1:'h-absent'}}"
		"3{1{1:'/'} 2{1:'rest'}}}";
	static const struct {
		const char *cluster;
		const char *const lines[5];
	} rows[] = {
		{"exact", {":path: /exact"}}, {"exact", {":path: /exact?a=b"}}, {"rest", {":path: /exactly"}},
		{"separated", {":path: /sep"}}, {"separated", {":path: /sep/a"}}, {"rest", {":path: /separate"}},
		{"regex", {":path: /re12"}}, {"regex", {":path: /re12?x"}}, {"rest", {":path: /re12x"}},
		{"case", {":path: /case/a"}}, {"strict", {":path: /strict"}}, {"rest", {":path: /STRICT"}},
		{"query", {":path: /q?v=1"}}, {"query-there", {":path: /q?v=2&there"}}, {"rest", {":path: /q?v=2&v=1"}},
		{"query-gone", {":path: /q?z=1"}}, {"rest", {":path: /q?z=1&gone=2"}},
		{"cookie", {":path: /k", "cookie: a=b; user=x"}}, {"cookie", {":path: /k", "cookie: a=b", "cookie: user=\"x\""}},
		{"cookie-not", {":path: /k", "cookie: user=z"}}, {"rest", {":path: /k", "cookie: user=y"}},
		{"grpc", {":path: /g", "content-type: application/grpc+proto"}}, {"rest", {":path: /g", "content-type: application/grpc-web"}},
		{"always", {":path: /none"}}, {"without-cert", {":path: /tls"}}, {"without-metadata", {":path: /meta"}},
		{"h-exact", {":path: /h", "x-a: old-exact"}}, {"h-prefix", {":path: /h", "x-a: old-prefixed"}}, {"h-suffix", {":path: /h", "x-a: an-old-suf"}},
		{"h-contains", {":path: /h", "x-a: it-old-has-it"}}, {"h-regex", {":path: /h", "x-a: rrr"}}, {"rest", {":path: /h", "x-a: rrrs", "x-i: v"}},
		{"h-range", {":path: /h", "x-n: -5", "x-a: z"}}, {"h-range", {":path: /h", "x-n: 9", "x-a: z"}}, {"rest", {":path: /h", "x-n: 10", "x-a: z"}},
		{"h-present", {":path: /h", "x-p: ", "x-a: z"}}, {"h-string", {":path: /h", "x-s: new", "x-a: z"}}, {"h-empty", {":path: /h", "x-m: 1", "x-a: z"}},
		{"rest", {":path: /h", "x-m: 1", "x-e: full", "x-a: z"}}, {"h-invert", {":path: /h", "x-i: w", "x-a: z"}}, {"h-absent", {":path: /h"}},
		{"rest", {":path: /h", "x-a: z"}}, {"rest", {":path: /other"}}, {NULL, {":path: *"}}, {NULL, {":method: GET"}},
	};
	struct fields_pool *pool = fields_pool_new();
	struct route_config *c = decode(text);
	struct route_table *t = route_config_host(c, 0);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct fields *h = head_of(pool, rows[i].lines);
		struct route_action *a = route_match(t, h, 7);

		ck_assert_msg(rows[i].cluster ? a && strcmp(a->cluster, rows[i].cluster) == 0 : !a, "%s %s: %s, expected %s", rows[i].lines[0],
			rows[i].lines[1] ? rows[i].lines[1] : "", a ? a->cluster : "none", rows[i].cluster);
		fields_unref(&h);
	}
	route_config_unref(&c);
	fields_pool_free(&pool);
}
END_TEST

START_TEST(path_parameters_are_cut_where_the_configuration_says_so)
{
	static const char *const lines[] = {":path: /a;v=1/b", NULL};
	struct fields_pool *pool = fields_pool_new();
	struct fields *h = head_of(pool, lines);
	struct route_config *c = decode("15=1 2{1:'h' 2:'*' 3{1{2:'/a'} 2{1:'cut'}} 3{1{1:'/'} 2{1:'rest'}}}");

	ck_assert_str_eq(route_match(route_config_host(c, 0), h, 0)->cluster, "cut");
	route_config_unref(&c);
	c = decode("2{1:'h' 2:'*' 3{1{2:'/a'} 2{1:'cut'}} 3{1{1:'/'} 2{1:'rest'}}}");
	ck_assert_str_eq(route_match(route_config_host(c, 0), h, 0)->cluster, "rest");
	route_config_unref(&c);
	fields_unref(&h);
	fields_pool_free(&pool);
}
END_TEST

START_TEST(clusters_are_chosen_by_weight_and_by_header)
{
	static const char *const lines[] = {":path: /", "x-to: by-header", NULL};
	struct fields_pool *pool = fields_pool_new();
	struct fields *h = head_of(pool, lines), *bare = head_of(pool, (const char *const[]){":path: /", NULL});
	struct route_config *c = decode("2{1:'h' 2:'*' 3{1{1:'/'} 2{3{1{1:'a' 2{1=10}} 1{1:'zero'} 1{1:'b' 2{1=20}} 1{12:'X-To' 2{1=70}} 3{1=7}}}}}");
	const struct route_action *a = only_action(c);
	unsigned na = 0, nb = 0, nh = 0;

	ck_assert_uint_eq(a->total_weight, 100);
	for (uint64_t random = 0; random < 1000; random++) {
		struct str to = route_action_cluster(a, random, h);

		na += str_is(to, "a");
		nb += str_is(to, "b");
		nh += str_is(to, "by-header");
	}
	ck_assert_uint_eq(na, 100);
	ck_assert_uint_eq(nb, 200);
	ck_assert_uint_eq(nh, 700);
	ck_assert_ptr_null(route_action_cluster(a, 99, bare).p);
	route_config_unref(&c);

	c = decode("2{1:'h' 2:'*' 3{1{1:'/'} 2{2:'X-To'}}}");
	a = only_action(c);
	ck_assert_int_eq(a->kind, ROUTE_CLUSTER_HEADER);
	ck_assert(str_is(route_action_cluster(a, 0, h), "by-header"));
	ck_assert_ptr_null(route_action_cluster(a, 0, bare).p);
	route_config_unref(&c);
	fields_unref(&h);
	fields_unref(&bare);
	fields_pool_free(&pool);
}
END_TEST

/* ---- the same again, and memory ------------------------------------------------------------------------------------------ */

START_TEST(equal_content_has_equal_hashes_and_any_change_another)
{
	static const char *const base = "1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}";
	static const char *const others[] = {
		"1:'rd' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'i' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'ab' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{2:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'z'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 9:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y' 8=1}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'} 8{}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'d' 8{1=3} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=4} 9{1:'5xx'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'reset'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'} 5:'/z'}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'} 30{1:'m'}}}}",
		"1:'rc' 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 7{1=200}}}",
		"1:'rc' 15=1 2{1:'h' 2:'a' 2:'b' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{1:'c' 8{1=3} 9{1:'5xx'}}}}",
	};
	/* other bytes, the same content: another order, a field that nobody reads */
	static const char *const same = "2{3{2{9{1:'5xx'} 8{1=3} 1:'c'} 1{6{4:'y' 1:'x'} 1:'/'} 5{1:'op'}} 2:'a' 2:'B' 1:'h' 99:'x'} 1:'rc'";
	struct route_config *a = decode(base), *b = decode(same);

	ck_assert(route_config_eq(a, b));
	ck_assert(route_table_eq(route_config_host(a, 0), route_config_host(b, 0)));
	route_config_unref(&b);
	for (size_t i = 0; i < UNIT_COUNT(others); i++) {
		b = decode(others[i]);
		ck_assert_msg(!route_config_eq(a, b), "%s", others[i]);
		route_config_unref(&b);
	}
	route_config_unref(&a);
}
END_TEST

/* As istiod writes a port of a mesh: 2000 services, each with its domains. */
static struct sb big_mesh(unsigned hosts)
{
	struct sb out = {0};

	for (unsigned i = 0; i < hosts; i++) {
		char *text = xasprintf("2{1:'svc%u.default.svc.cluster.local:50051' 2:'svc%u.default.svc.cluster.local' 2:'svc%u.default.svc.cluster.local.' 2:'svc%u' 2:'svc%u.default.svc'"
			"2:'svc%u.default' 2:'10.0.%u.%u' 3{1{1:'/'} 2{1:'outbound|50051||svc%u.default.svc.cluster.local' 8{} 23{} 9{1:'connect-failure,refused-stream,unavailable,cancelled,"
			"retriable-status-codes' 2{1=2} 5{1:'envoy.retry_host_predicates.previous_hosts' 3{1:'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'}} 6=5}}"
			"5{1:'svc%u.default.svc.cluster.local:50051/*'} 14:'default'} 14=1}", i, i, i, i, i, i, i / 256, i % 256, i, i);
		struct sb one = fieldtext(text);

		sb_add(&out, one.p, one.n);
		sb_end(&one);
		free(text);
	}
	return out;
}

START_TEST(a_mesh_of_two_thousand_services_fits_into_its_budget_and_is_given_back)
{
	struct account a = root(SIZE_MAX);
	struct sb bytes = big_mesh(2000), why = {0};
	struct route_config *c = NULL;

	ck_assert_uint_gt(bytes.n, 1000000);
	ck_assert_int_eq(decode_routes(bytes.p, bytes.n, &a, &c, &why), 0);
	ck_assert_uint_le(a.peak, 2 * bytes.n + 1024 * 1024);
	ck_assert_uint_gt(a.used, 0);
	ck_assert_uint_le(a.used, 2 * bytes.n);
	ck_assert_uint_eq(route_config_hosts(c), 2000);
	ck_assert_str_eq(route_config_find(c, STR("svc1234.default.svc.cluster.local:50051"))->name, "svc1234.default.svc.cluster.local:50051");
	ck_assert_str_eq(route_config_find(c, STR("SVC7"))->name, "svc7.default.svc.cluster.local:50051");
	ck_assert_ptr_null(route_config_find(c, STR("svc2000")));
	/* A table outlives its configuration, and goes on being paid for. */
	struct route_table *kept = route_table_ref(route_config_find(c, STR("svc7")));
	route_config_unref(&c);
	ck_assert_uint_gt(a.used, 0);
	ck_assert_uint_lt(a.used, 2048);
	route_table_unref(&kept);
	ck_assert_uint_eq(a.used, 0);
	sb_end(&bytes);
	sb_end(&why);
}
END_TEST

START_TEST(what_costs_more_than_its_budget_is_refused_and_nothing_is_left)
{
	/* small on the wire, big as a table: a hundred thousand times the smallest host with a direct response */
	struct account a = root(SIZE_MAX);
	struct sb bytes = {0}, why = {0};
	struct route_config *c = NULL;

	sb_str(&bytes, "\x12");
	for (unsigned i = 0; i < 100000; i++) {
		static const char route[] = "\x1a\x0a\x0a\x03\x0a\x01/\x3a\x03\x08\xc8\x01"; /* 3{1{1:'/'} 7{1=200}} */
		sb_add(&bytes, route, sizeof(route) - 1);
	}
	struct sb host = {0};
	wire_put_bytes(&host, 1, STR("h"));
	wire_put_bytes(&host, 2, STR("*"));
	sb_add(&host, bytes.p + 1, bytes.n - 1);
	struct sb all = {0};
	wire_put_bytes(&all, 2, sb_view(&host));
	ck_assert_int_eq(decode_routes(all.p, all.n, &a, &c, &why), -ENOMEM);
	ck_assert_uint_le(a.peak, 2 * all.n + 1024 * 1024);
	ck_assert_uint_eq(a.used, 0);
	sb_char(&why, '\0');
	ck_assert_ptr_nonnull(strstr(why.p, "it would need too much memory"));
	sb_end(&bytes);
	sb_end(&host);
	sb_end(&all);
	sb_end(&why);
}
END_TEST

START_TEST(an_account_that_says_no_at_any_point_leaves_nothing)
{
	struct sb bytes = fieldtext("1:'rc' 2{1:'h' 2:'a' 2:'*.b' 16{1:'5xx'} 3{1{10{2:'/x+'} 6{1:'x' 4:'y'} 6{1:'z' 13{5{2:'q'}}} 7{1:'q' 5{2:'p'}} 17{1:'k' 2{3:'s'}}}"
		"2{3{1{1:'a' 2{1=1}} 1{12:'b' 2{1=2}}} 30{1:'m'}} 14:'name'} 3{1{1:'/'} 3{1:'there' 5:'/p'}} 3{1{2:'/d'} 7{1=200 2{3:'body'}}}} 2{1:'i' 2:'c' 21{}}");
	bool whole = false;

	for (size_t limit = 0; limit < 64 * 1024 && !whole; limit += 16) {
		struct account a = root(limit);
		struct route_config *c = NULL;
		struct sb why = {0};
		int rc = decode_routes(bytes.p, bytes.n, &a, &c, &why);

		whole = rc == 0;
		ck_assert(rc == 0 || rc == -ENOMEM);
		route_config_unref(&c);
		ck_assert_uint_eq(a.used, 0);
		sb_end(&why);
	}
	ck_assert(whole);
	sb_end(&bytes);
}
END_TEST

START_TEST(a_configuration_cut_anywhere_is_refused_or_shorter_and_never_worse)
{
	struct sb bytes = fieldtext("1:'rc' 2{1:'h' 2:'a' 3{1{1:'/' 6{1:'x' 4:'y'}} 2{3{1{1:'a' 2{1=1}}} 9{1:'5xx' 7=503}}}} 2{1:'i' 2:'b' 3{1{1:'/'} 2{1:'c'}}}");

	for (size_t n = 0; n < bytes.n; n++) {
		char *cut = malloc(n ? n : 1); /* exactly as long: a read beyond it is seen */
		struct account a = root(SIZE_MAX);
		struct route_config *c = NULL;
		struct sb why = {0};

		memcpy(cut, bytes.p, n);
		int rc = decode_routes(cut, n, &a, &c, &why);
		if (rc < 0)
			ck_assert_uint_gt(why.n, 0);
		route_config_unref(&c);
		ck_assert_uint_eq(a.used, 0);
		sb_end(&why);
		free(cut);
	}
	sb_end(&bytes);
}
END_TEST

START_TEST(an_empty_configuration_has_no_hosts)
{
	struct route_config *c = decode("1:'nobody'");

	ck_assert_uint_eq(route_config_hosts(c), 0);
	ck_assert_str_eq(route_config_name(c), "nobody");
	ck_assert_ptr_null(route_config_find(c, STR("nobody")));
	ck_assert_ptr_null(route_config_host(c, 0));
	route_config_unref(&c);
}
END_TEST

UNIT_SUITE("decode_route", a_configuration_that_breaks_a_rule_is_refused_by_the_place_and_the_rule, a_route_that_breaks_a_rule_is_refused_by_the_place_and_the_rule,
	lists_of_a_thousand_headers_are_fine_and_one_more_is_not, timeouts_are_what_the_action_says_and_the_newer_words_win,
	retries_are_the_routes_or_else_the_virtual_hosts_never_both, what_would_send_a_call_elsewhere_is_an_action_that_says_so,
	a_host_chosen_by_matcher_or_by_a_header_refuses_its_calls, what_has_no_effect_yet_stands_in_the_notes_once, direct_responses_and_redirects_are_decoded_whole,
	matchers_of_all_kinds_come_through_the_wire, path_parameters_are_cut_where_the_configuration_says_so, clusters_are_chosen_by_weight_and_by_header,
	equal_content_has_equal_hashes_and_any_change_another, a_mesh_of_two_thousand_services_fits_into_its_budget_and_is_given_back,
	what_costs_more_than_its_budget_is_refused_and_nothing_is_left, an_account_that_says_no_at_any_point_leaves_nothing,
	a_configuration_cut_anywhere_is_refused_or_shorter_and_never_worse, an_empty_configuration_has_no_hosts)
