/* xds/decode_cluster_health: what of Cluster.health_checks and outlier_detection becomes a spec's, field by field; what breaks a rule, with its field; what has no
 * effect; the numbers of the Dubbo proposal as they stand there. */
#include <errno.h>
#include <stdio.h>
#include "base/err.h"
#include "conf/health.h"
#include "conf/match.h"
#include "tests/unit.h"
#include "tests/xds/wiretext.h"
#include "xds/decode.h"

#define S UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define EDS "1:'demo' 2:3 3:{1:{3:{}}} "
/* timeout 1 s, interval 2 s, thresholds 3 and 4 */
#define USUAL "1:{1:1} 2:{1:2} 4:{1:3} 5:{1:4} "
#define CHECK(fields) EDS "8:{" USUAL fields "}"
#define HTTP(fields) CHECK("8:{2:'/ready' " fields "}")
#define TCP(fields) CHECK("9:{" fields "}")
#define GRPC(fields) CHECK("11:{" fields "}")

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

static int decode(struct rig *r, const char *text, struct cluster_decoded **ret)
{
	struct sb m = {0}, problems = {0};
	wiretext(&m, text);
	*ret = NULL;
	int code = decode_cluster(m.p, m.n, &r->account, r->metas, PROFILE_ISTIO, ret, &problems);
	snprintf(r->why, sizeof(r->why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	ck_assert((code == 0) == (*ret != NULL) && (code == 0) == (problems.n == 0));
	sb_end(&problems);
	sb_end(&m);
	return code;
}

static struct cluster_decoded *good(struct rig *r, const char *text)
{
	struct cluster_decoded *c;
	decode(r, text, &c);
	ck_assert_msg(c != NULL, "%s: %s", text, r->why);
	return c;
}

/* The one check of it; *ret is the caller's to free. */
static const struct health_check *check_of(struct rig *r, const char *text, struct cluster_decoded **ret)
{
	*ret = good(r, text);
	ck_assert_uint_eq((*ret)->spec->nchecks, 1);
	return &(*ret)->spec->checks[0];
}

/* ---- what is taken ---- */

START_TEST(the_numbers_of_the_dubbo_proposal_come_out_as_they_stand_there)
{
	/* timeout 5s, interval 5s, interval_jitter 1s, thresholds, reuse_connection, grpc {authority}, no_traffic 2s, unhealthy 5s, edges 10s, jitter 50 %, initial_jitter 1s,
	 * tls_options alpn http1.1 and h2, transport_socket_match_criteria useMTLS, no_traffic_healthy 4s */
#define R6(unhealthy) EDS "8:{1:{1:5} 2:{1:5} 3:{1:1} 4:{1:" unhealthy "} 5:{1:1} 7:{1:1} 11:{2:'demo.default.svc.cluster.local'} 12:{1:2} 14:{1:5} 15:{1:10} 16:{1:10} 18:50 " \
			"20:{1:1} 21:{1:'http1.1' 1:'h2'} 23:{1:{1:'useMTLS' 2:{4:1}}} 24:{1:4}}"
	static const struct { const char *text; uint32_t threshold; } rows[] = {{R6("1"), 1}, {R6("20"), 20}};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *d;
		const struct health_check *c = check_of(&r, rows[i].text, &d);
		ck_assert_int_eq(c->kind, CHECK_GRPC);
		ck_assert_uint_eq(c->timeout_ns, 5 * S);
		ck_assert_uint_eq(c->interval_ns, 5 * S);
		ck_assert_uint_eq(c->initial_jitter_ns, 1 * S);
		ck_assert_uint_eq(c->interval_jitter_ns, 1 * S);
		ck_assert_uint_eq(c->interval_jitter_percent, 50);
		ck_assert_uint_eq(c->unhealthy_threshold, rows[i].threshold);
		ck_assert_uint_eq(c->healthy_threshold, 1);
		ck_assert(c->reuse_connection);
		ck_assert_uint_eq(c->no_traffic_interval_ns, 2 * S);
		ck_assert_uint_eq(c->no_traffic_healthy_interval_ns, 4 * S);
		ck_assert_uint_eq(c->unhealthy_interval_ns, 5 * S);
		ck_assert_uint_eq(c->unhealthy_edge_interval_ns, 10 * S);
		ck_assert_uint_eq(c->healthy_edge_interval_ns, 10 * S);
		ck_assert_str_eq(c->authority, "demo.default.svc.cluster.local");
		ck_assert_ptr_null(c->service);
		ck_assert_int_eq(c->unimplemented, UNIMPLEMENTED_ALIVE);
		ck_assert(!c->watch && !c->log_failures && !c->log_successes);
		ck_assert_str_eq(c->alpn, "http1.1,h2");
		ck_assert_uint_eq(c->ncriteria, 1);
		ck_assert_str_eq(c->criteria[0].key, "useMTLS");
		ck_assert_str_eq(c->criteria[0].value, "true");
		ck_assert_ptr_null(d->notes);
		cluster_decoded_free(&d);
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_nobody_says_of_a_check_follows_from_what_is_said)
{
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	const struct health_check *c = check_of(&r, GRPC(""), &d);
	ck_assert_uint_eq(c->timeout_ns, 1 * S);
	ck_assert_uint_eq(c->interval_ns, 2 * S);
	ck_assert_uint_eq(c->unhealthy_threshold, 3);
	ck_assert_uint_eq(c->healthy_threshold, 4);
	ck_assert_uint_eq(c->initial_jitter_ns + c->interval_jitter_ns + c->interval_jitter_percent, 0);
	ck_assert_uint_eq(c->no_traffic_interval_ns, 60 * S);
	ck_assert_uint_eq(c->no_traffic_healthy_interval_ns, 60 * S);
	ck_assert_uint_eq(c->unhealthy_interval_ns, 2 * S);
	ck_assert_uint_eq(c->unhealthy_edge_interval_ns, 2 * S);
	ck_assert_uint_eq(c->healthy_edge_interval_ns, 2 * S);
	ck_assert(!c->reuse_connection); /* Envoy's default is not an order */
	ck_assert(!d->spec->ignore_health_on_removal && !d->notes);
	cluster_decoded_free(&d);
	c = check_of(&r, CHECK("7:{} 9:{} 14:{1:7} 12:{2:5000000} 19:1 26:1"), &d);
	ck_assert(!c->reuse_connection);
	ck_assert_uint_eq(c->unhealthy_edge_interval_ns, 7 * S);
	ck_assert_uint_eq(c->no_traffic_healthy_interval_ns, 5 * MS);
	ck_assert(c->log_failures && c->log_successes);
	cluster_decoded_free(&d);
	/* A threshold of 0 can be no other than 1; what lasts longer than for ever is cut, so that sums stay numbers. */
	c = check_of(&r, EDS "8:{1:{1:1} 2:{1:315576000000} 3:{1:315576000000} 4:{} 5:{} 18:4294967295 9:{}}", &d);
	ck_assert_uint_eq(c->unhealthy_threshold, 1);
	ck_assert_uint_eq(c->healthy_threshold, 1);
	ck_assert_uint_eq(c->interval_ns, 365 * 86400 * S);
	ck_assert_uint_eq(c->interval_jitter_ns, 365 * 86400 * S);
	ck_assert_uint_eq(c->interval_jitter_percent, 10000);
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

START_TEST(an_http_check_has_all_its_words)
{
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	const struct health_check *c = check_of(&r, HTTP(""), &d);
	ck_assert_int_eq(c->kind, CHECK_HTTP);
	ck_assert_str_eq(c->path, "/ready");
	ck_assert_str_eq(c->method, "GET");
	ck_assert_ptr_null(c->host);
	ck_assert(!c->http2 && c->nexpected == 0 && c->nretriable == 0 && c->send.n == 0 && c->nreceive == 0 && !c->cluster_matcher);
	ck_assert_uint_eq(c->response_buffer, 1024);
	cluster_decoded_free(&d);

	c = check_of(&r,
		HTTP("1:'shop' 3:{1:'70696e67'} 4:{1:'706F'} 4:{2:'ng'} 4:{2:''} 6:{1:{1:'X-A' 2:'b'} 2:{}} 6:{1:{1:'x-raw' 3:'c'}} 6:{1:{1:'x-o' 2:'d'} 3:2} 8:'User-Agent' "
		     "9:{1:200 2:300} 9:{1:404 2:405} 10:1 11:{2:'shop'} 12:{1:503 2:600} 13:3 14:{1:7}"),
		&d);
	ck_assert_str_eq(c->host, "shop");
	ck_assert_str_eq(c->method, "POST");
	ck_assert(c->http2);
	ck_assert(c->send.n == 4 && memcmp(c->send.p, "ping", 4) == 0);
	ck_assert_uint_eq(c->nreceive, 2); /* what is empty is found everywhere */
	ck_assert(c->receive[0].n == 2 && memcmp(c->receive[0].p, "po", 2) == 0);
	ck_assert(c->receive[1].n == 2 && memcmp(c->receive[1].p, "ng", 2) == 0);
	ck_assert_uint_eq(c->nadd, 3);
	ck_assert_str_eq(c->add[0].name, "x-a");
	ck_assert_str_eq(c->add[0].value, "b");
	ck_assert(!c->add[0].append);
	ck_assert_str_eq(c->add[1].value, "c");
	ck_assert(c->add[1].append && !c->add[2].append);
	ck_assert_uint_eq(c->nremove, 1);
	ck_assert_str_eq(c->remove[0], "user-agent");
	ck_assert(c->nexpected == 2 && c->expected[0].from == 200 && c->expected[0].to == 300 && c->expected[1].from == 404 && c->expected[1].to == 405);
	ck_assert(c->nretriable == 1 && c->retriable[0].from == 503 && c->retriable[0].to == 600);
	ck_assert_uint_eq(c->response_buffer, 7);
	ck_assert_int_eq(match_text_fits(c->cluster_matcher, STR("shop.default")), 1);
	ck_assert_int_eq(match_text_fits(c->cluster_matcher, STR("cart.default")), 0);
	cluster_decoded_free(&d);

	static const struct { const char *text, *method; } methods[] = {{HTTP("13:0"), "GET"}, {HTTP("13:1"), "GET"}, {HTTP("13:2"), "HEAD"}, {HTTP("13:4"), "PUT"},
		{HTTP("13:5"), "DELETE"}, {HTTP("13:7"), "OPTIONS"}, {HTTP("13:8"), "TRACE"}, {HTTP("13:9"), "PATCH"}};
	for (size_t i = 0; i < UNIT_COUNT(methods); i++) {
		ck_assert_str_eq(check_of(&r, methods[i].text, &d)->method, methods[i].method);
		cluster_decoded_free(&d);
	}
	static const struct { const char *text; uint32_t bytes; } buffers[] = {{HTTP("14:{}"), 65536}, {HTTP("14:{1:65537}"), 65536}, {HTTP("14:{1:18446744073709551615}"), 65536}};
	for (size_t i = 0; i < UNIT_COUNT(buffers); i++) {
		ck_assert_uint_eq(check_of(&r, buffers[i].text, &d)->response_buffer, buffers[i].bytes);
		cluster_decoded_free(&d);
	}
	rig_end(&r);
}
END_TEST

START_TEST(the_name_of_a_service_is_matched_in_all_ways)
{
	static const struct { const char *text, *yes, *no; } rows[] = {
		{HTTP("11:{1:'shop'}"), "shop", "shop2"},
		{HTTP("11:{1:'Shop' 6:1}"), "sHOP", "shopp"},
		{HTTP("11:{2:'sh'}"), "shop", "cart"},
		{HTTP("11:{3:'op'}"), "shop", "open"},
		{HTTP("11:{7:'ho'}"), "shop", "cart"},
		{HTTP("11:{5:{2:'sh.p|cart'}}"), "ship", "shoop"},
	};
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct health_check *c = check_of(&r, rows[i].text, &d);
		struct health_check copy;
		health_check_copy(&copy, c);
		ck_assert_uint_eq(health_check_hash(&copy), health_check_hash(c));
		ck_assert_int_eq(match_text_fits(c->cluster_matcher, str_of(rows[i].yes)), 1);
		cluster_decoded_free(&d);
		ck_assert_int_eq(match_text_fits(copy.cluster_matcher, str_of(rows[i].yes)), 1);
		ck_assert_int_eq(match_text_fits(copy.cluster_matcher, str_of(rows[i].no)), 0);
		health_check_end(&copy);
		health_check_end(&copy);
	}
	rig_end(&r);
}
END_TEST

/* append_action: 0 append, 1 add if absent, 2 overwrite or add, 3 overwrite if it exists. Of its own a question has a user-agent alone. */
START_TEST(each_header_is_added_as_its_action_says)
{
	static const struct { const char *text, *fields; } rows[] = {
		{HTTP("6:{1:{1:'a' 2:'1'}} 6:{1:{1:'A' 2:'2'} 3:0}"), " a+1 a+2"},
		{HTTP("6:{1:{1:'a' 2:'1'}} 6:{1:{1:'a' 2:'2'} 3:1} 6:{1:{1:'b' 2:'3'} 3:1}"), " a+1 b=3"},
		{HTTP("6:{1:{1:'a' 2:'1'}} 6:{1:{1:'b' 2:'2'}} 6:{1:{1:'a' 2:'3'}} 6:{1:{1:'A' 2:'4'} 3:2}"), " b+2 a=4"},
		{HTTP("6:{1:{1:'a' 2:'1'} 3:3} 6:{1:{1:'b' 2:'2'}} 6:{1:{1:'b' 2:'3'} 3:3}"), " b=3"},
		{HTTP("6:{1:{1:'user-agent' 2:'1'} 3:1}"), ""},
		{HTTP("6:{1:{1:'user-agent' 2:'1'} 3:1} 8:'User-Agent'"), " user-agent=1"},
		{HTTP("6:{1:{1:'user-agent' 2:'1'} 3:3}"), " user-agent=1"},
		{HTTP("6:{1:{1:'user-agent' 2:'1'} 3:3} 8:'user-agent'"), ""},
		{HTTP("6:{1:{1:'a' 2:'1'} 3:3 2:{1:1}}"), " a+1"}, /* append, the older word, counts more */
		{HTTP("6:{1:{1:'a' 2:'1'}} 6:{1:{1:'a' 2:'2'} 2:{}}"), " a=2"},
		{GRPC("3:{1:{1:'a' 2:'1'}} 3:{1:{1:'a' 2:'2'} 3:2}"), " a=2"},
		{GRPC("3:{1:{1:'a' 2:'1'}} 3:{1:{1:'a' 2:'2'} 3:1}"), " a+1"},
	};
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct health_check *c = check_of(&r, rows[i].text, &d);
		struct sb said = {0};
		for (uint32_t k = 0; k < c->nadd; k++)
			sb_fmt(&said, " %s%c%s", c->add[k].name, c->add[k].append ? '+' : '=', c->add[k].value);
		sb_char(&said, '\0');
		ck_assert_msg(strcmp(said.p, rows[i].fields) == 0, "row %zu:%s", i, said.p);
		ck_assert(!d->notes || !*d->notes);
		sb_end(&said);
		cluster_decoded_free(&d);
	}
	rig_end(&r);
}
END_TEST

START_TEST(tcp_and_grpc_have_theirs)
{
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	const struct health_check *c = check_of(&r, TCP("1:{2:'PING'} 2:{1:'504f'} 2:{2:'NG'}"), &d);
	ck_assert_int_eq(c->kind, CHECK_TCP);
	ck_assert(c->send.n == 4 && c->nreceive == 2 && memcmp(c->receive[0].p, "PO", 2) == 0);
	cluster_decoded_free(&d);
	c = check_of(&r, TCP(""), &d);
	ck_assert(c->send.n == 0 && c->nreceive == 0); /* that it can be connected to */
	cluster_decoded_free(&d);
	/* who takes connections from proxies alone is told in front that this is nobody's */
	c = check_of(&r, TCP("1:{2:'PING'} 2:{2:'PONG'} 3:{}"), &d);
	ck_assert(c->send.n == 19 && memcmp(c->send.p, "PROXY UNKNOWN\r\nPING", 19) == 0 && c->nreceive == 1);
	cluster_decoded_free(&d);
	c = check_of(&r, TCP("3:{1:1}"), &d);
	ck_assert(c->send.n == 16 && memcmp(c->send.p, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16) == 0 && c->nreceive == 0);
	ck_assert(!d->notes || !*d->notes);
	cluster_decoded_free(&d);
	c = check_of(&r, GRPC("1:'greeter' 2:'demo:50051' 3:{1:{1:'x-probe' 2:'1'}}"), &d);
	ck_assert_int_eq(c->kind, CHECK_GRPC);
	ck_assert_str_eq(c->service, "greeter");
	ck_assert_str_eq(c->authority, "demo:50051");
	ck_assert_uint_eq(c->nadd, 1);
	ck_assert_str_eq(c->add[0].name, "x-probe");
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

START_TEST(a_cluster_may_have_several_and_ignore_them_on_removal)
{
	struct rig r;
	rig_begin(&r);
	struct cluster_decoded *d = good(&r, EDS "8:{" USUAL "9:{}} 8:{" USUAL "13:{1:'envoy.health_checkers.redis'}} 8:{" USUAL "11:{}} 32:1");
	ck_assert_uint_eq(d->spec->nchecks, 2); /* nobody here speaks Redis: told, and the others go on */
	ck_assert_int_eq(d->spec->checks[0].kind, CHECK_TCP);
	ck_assert_int_eq(d->spec->checks[1].kind, CHECK_GRPC);
	ck_assert(d->spec->ignore_health_on_removal);
	ck_assert_str_eq(d->notes, "health_checks.custom_health_check 'envoy.health_checkers.redis': nobody is asked so");
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

START_TEST(outlier_detection_begins_with_envoys_numbers)
{
	struct rig r;
	struct outlier plain;
	rig_begin(&r);
	struct cluster_decoded *d = good(&r, EDS "19:{}");
	outlier_default(&plain);
	ck_assert_ptr_nonnull(d->spec->outlier);
	ck_assert_uint_eq(outlier_hash(d->spec->outlier), outlier_hash(&plain));
	ck_assert_uint_eq(plain.consecutive_5xx, 5);
	ck_assert_uint_eq(plain.enforcing_consecutive_5xx, 100);
	ck_assert_uint_eq(plain.consecutive_gateway, 5);
	ck_assert_uint_eq(plain.enforcing_consecutive_gateway, 0);
	ck_assert_uint_eq(plain.consecutive_local_origin, 5);
	ck_assert_uint_eq(plain.enforcing_consecutive_local_origin, 100);
	ck_assert(!plain.split_local_origin && !plain.always_eject_one && plain.uneject_on_check && !plain.detect_degraded);
	ck_assert_uint_eq(plain.interval_ns, 10 * S);
	ck_assert_uint_eq(plain.base_ejection_ns, 30 * S);
	ck_assert_uint_eq(plain.max_ejection_ns, 300 * S);
	ck_assert_uint_eq(plain.max_ejection_jitter_ns, 0);
	ck_assert_uint_eq(plain.max_ejection_percent, 10);
	ck_assert_uint_eq(plain.enforcing_success_rate, 100);
	ck_assert_uint_eq(plain.enforcing_local_success_rate, 100);
	ck_assert_uint_eq(plain.success_rate_hosts, 5);
	ck_assert_uint_eq(plain.success_rate_volume, 100);
	ck_assert_uint_eq(plain.success_rate_stdev_factor, 1900);
	ck_assert_uint_eq(plain.failure_percentage, 85);
	ck_assert_uint_eq(plain.enforcing_failure_percentage, 0);
	ck_assert_uint_eq(plain.enforcing_local_failure_percentage, 0);
	ck_assert_uint_eq(plain.failure_percentage_hosts, 5);
	ck_assert_uint_eq(plain.failure_percentage_volume, 50);
	cluster_decoded_free(&d);
	d = good(&r, EDS);
	ck_assert_ptr_null(d->spec->outlier);
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

START_TEST(each_number_of_outlier_detection_lands_where_it_belongs)
{
	struct rig r;
	rig_begin(&r);
	struct cluster_decoded *d = good(&r, EDS "19:{1:{1:11} 2:{1:12} 3:{1:13} 4:{1:14} 5:{1:15} 6:{1:16} 7:{1:17} 8:{1:18} 9:{1:19} 10:{1:20} 11:{1:21} 12:1 13:{1:23} 14:{1:24} "
						 "15:{1:25} 16:{1:26} 17:{1:27} 18:{1:28} 19:{1:29} 20:{1:30} 21:{1:31} 22:{1:32} 23:{} 25:{1:1} 26:{1:1}}");
	const struct outlier *o = d->spec->outlier;
	const uint64_t seen[] = {o->consecutive_5xx, o->interval_ns / S, o->base_ejection_ns / S, o->max_ejection_percent, o->enforcing_consecutive_5xx, o->enforcing_success_rate,
		o->success_rate_hosts, o->success_rate_volume, o->success_rate_stdev_factor, o->consecutive_gateway, o->enforcing_consecutive_gateway, 22, o->consecutive_local_origin,
		o->enforcing_consecutive_local_origin, o->enforcing_local_success_rate, o->failure_percentage, o->enforcing_failure_percentage,
		o->enforcing_local_failure_percentage, o->failure_percentage_hosts, o->failure_percentage_volume, o->max_ejection_ns / S, o->max_ejection_jitter_ns / S};
	for (size_t i = 0; i < UNIT_COUNT(seen); i++)
		ck_assert_msg(seen[i] == 11 + i, "field %zu: %llu", i + 1, (unsigned long long)seen[i]);
	ck_assert(o->split_local_origin && !o->uneject_on_check && o->always_eject_one && o->detect_degraded);
	cluster_decoded_free(&d);
	/* "or base_ejection_time, whatever is larger" */
	d = good(&r, EDS "19:{3:{1:600}}");
	ck_assert_uint_eq(d->spec->outlier->max_ejection_ns, 600 * S);
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

/* ---- what is not ---- */

START_TEST(what_breaks_a_rule_is_refused_with_its_field)
{
	static const struct { const char *text, *why; } rows[] = {
		{EDS "8:{}", "health_checks.unhealthy_threshold: missing"},
		{EDS "8:{1:{1:1} 2:{1:1} 5:{1:1} 9:{}}", "health_checks.unhealthy_threshold: missing"},
		{EDS "8:{1:{1:1} 2:{1:1} 4:{1:1} 9:{}}", "health_checks.healthy_threshold: missing"},
		{EDS "8:{2:{1:1} 4:{1:1} 5:{1:1} 9:{}}", "health_checks.timeout: missing"},
		{EDS "8:{1:{1:1} 4:{1:1} 5:{1:1} 9:{}}", "health_checks.interval: missing"},
		{EDS "8:{1:{} 2:{1:1} 4:{1:1} 5:{1:1} 9:{}}", "health_checks.timeout: 0.000000000 s is not above 0"},
		{EDS "8:{1:{1:1} 2:{} 4:{1:1} 5:{1:1} 9:{}}", "health_checks.interval: 0.000000000 s is not above 0"},
		{CHECK(""), "health_checks: says no health_checker"},
		{CHECK("9:{} 12:{}"), "health_checks.no_traffic_interval: 0.000000000 s is not above 0"},
		{CHECK("9:{} 14:{}"), "health_checks.unhealthy_interval: 0.000000000 s is not above 0"},
		{CHECK("9:{} 15:{}"), "health_checks.unhealthy_edge_interval: 0.000000000 s is not above 0"},
		{CHECK("9:{} 16:{}"), "health_checks.healthy_edge_interval: 0.000000000 s is not above 0"},
		{CHECK("9:{} 24:{}"), "health_checks.no_traffic_healthy_interval: 0.000000000 s is not above 0"},
		{CHECK("9:{} 3:{1:-1}"), "health_checks.interval_jitter: -1.000000000 s is no duration"},
		{CHECK("9:{} 20:{2:-1}"), "health_checks.initial_jitter: "},
		{CHECK("8:{}"), "health_checks.http_health_check.path: empty"},
		{CHECK("8:{2:'/a\n'}"), "health_checks.http_health_check.path: a blank or a line break"},
		{CHECK("8:{2:'/a HTTP/1.1'}"), "health_checks.http_health_check.path: a blank or a line break"},
		{HTTP("1:'a\r'"), "health_checks.http_health_check.host: a blank or a line break"},
		{HTTP("3:{}"), "health_checks.http_health_check.send: payload: missing"},
		{HTTP("3:{2:'x'}"), "health_checks.http_health_check.send: a body with GET"},
		{HTTP("3:{2:'x'} 13:5"), "health_checks.http_health_check.send: a body with DELETE"},
		{HTTP("4:{1:''}"), "health_checks.http_health_check.receive: text: empty"},
		{HTTP("4:{1:'abc'}"), "health_checks.http_health_check.receive: text: 'abc' is not hexadecimal"},
		{HTTP("4:{1:'0x'}"), "health_checks.http_health_check.receive: text: '0x' is not hexadecimal"},
		{HTTP("6:{}"), "health_checks.http_health_check.request_headers_to_add: header: missing"},
		{HTTP("6:{1:{1:'a\nb'}}"), "health_checks.http_health_check.request_headers_to_add: header.key: 'a\nb'"},
		{HTTP("6:{1:{}}"), "health_checks.http_health_check.request_headers_to_add: header.key: ''"},
		{HTTP("6:{1:{1:'a' 2:'b\n'}}"), "health_checks.http_health_check.request_headers_to_add: header.value: "},
		{HTTP("6:{1:{1:'a' 3:'b\n'}}"), "health_checks.http_health_check.request_headers_to_add: header.raw_value: "},
		{HTTP("6:{1:{1:'a'} 3:4}"), "health_checks.http_health_check.request_headers_to_add: append_action: 4 is none"},
		{HTTP("8:'a\rb'"), "health_checks.http_health_check.request_headers_to_remove: 'a\rb'"},
		{HTTP("9:{1:99 2:200}"), "health_checks.http_health_check.expected_statuses: [99, 200) is no range"},
		{HTTP("9:{1:200 2:601}"), "health_checks.http_health_check.expected_statuses: [200, 601) is no range"},
		{HTTP("9:{1:200 2:200}"), "health_checks.http_health_check.expected_statuses: [200, 200) is no range"},
		{HTTP("12:{1:300 2:200}"), "health_checks.http_health_check.retriable_statuses: [300, 200) is no range"},
		{HTTP("9:{1:-5 2:200}"), "health_checks.http_health_check.expected_statuses: [-5, 200)"},
		{HTTP("10:3"), "health_checks.http_health_check.codec_client_type: 3 is none"},
		{HTTP("13:6"), "health_checks.http_health_check.method: 6 is none"}, /* CONNECT */
		{HTTP("13:10"), "health_checks.http_health_check.method: 10 is none"},
		{HTTP("11:{}"), "health_checks.http_health_check.service_name_matcher: match_pattern: missing"},
		{HTTP("11:{2:''}"), "health_checks.http_health_check.service_name_matcher: empty"},
		{HTTP("11:{5:{2:'('}}"), "health_checks.http_health_check.service_name_matcher: safe_regex '('"},
		{TCP("1:{}"), "health_checks.tcp_health_check.send: payload: missing"},
		{TCP("3:{1:2}"), "health_checks.tcp_health_check.proxy_protocol_config: version: 2 is none"},
		{TCP("2:{1:'z'}"), "health_checks.tcp_health_check.receive: text: 'z' is not hexadecimal"},
		{GRPC("2:'a\n'"), "health_checks.grpc_health_check.authority: a blank or a line break"},
		{GRPC("3:{1:{}}"), "health_checks.grpc_health_check.initial_metadata: header.key"},
		{CHECK("13:{}"), "health_checks.custom_health_check.name: empty"},
		{CHECK("13:{1:'x'} 16:{}"), "health_checks.healthy_edge_interval"},
		{EDS "19:{3:{1:60} 21:{1:30}}", "outlier_detection.max_ejection_time: below base_ejection_time"},
		{EDS "19:{22:{1:-1}}", "outlier_detection.max_ejection_time_jitter: -1.000000000 s is no duration"},
		{EDS "36:{1:'envoy.extensions.upstreams.http.v3.HttpProtocolOptions' "
		     "2:{1:'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions' 2:{3:{2:{}} 8:{}}}}",
			"typed_extension_protocol_options.outlier_detection.error_matcher: missing"},
	};
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		decode(&r, rows[i].text, &d);
		ck_assert_msg(d == NULL, "taken: %s", rows[i].text);
		ck_assert_msg(strncmp(r.why, rows[i].why, strlen(rows[i].why)) == 0, "%s\nsaid: %s\nexpected: %s", rows[i].text, r.why, rows[i].why);
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_has_no_effect_is_told)
{
	static const struct { const char *text, *notes; } rows[] = {
		{CHECK("6:{1:8080} 9:{}"), "health_checks.alt_port: the endpoint's own port, or its health_check_config"},
		{CHECK("17:'/var/log' 9:{}"), "health_checks.event_logger: events are in our own log"},
		{CHECK("22:{} 9:{}"), "health_checks.event_logger: events are in our own log"},
		{CHECK("25:{1:'x'} 9:{}"), "health_checks.event_logger: events are in our own log"},
		{HTTP("10:2"), "health_checks.http_health_check.codec_client_type: HTTP/2 instead of HTTP/3"},
		{HTTP("11:{8:{1:'x'}}"), "health_checks.http_health_check.service_name_matcher: a custom matcher: any name fits"},
		/* the API takes them, no wire does */
		{HTTP("6:{1:{1:':path' 2:'/b'}}"), "health_checks.http_health_check.request_headers_to_add: ':path' is left out"},
		{GRPC("3:{1:{1:'A b'}}"), "health_checks.grpc_health_check.initial_metadata: 'a b' is left out"},
		{GRPC("3:{1:{1:'a' 2:' b'}}"), "health_checks.grpc_health_check.initial_metadata: 'a' is left out"},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_decoded *d = good(&r, rows[i].text);
		ck_assert_pstr_eq(d->notes, rows[i].notes);
		cluster_decoded_free(&d);
	}
	rig_end(&r);
}
END_TEST

/* `most` of it are taken, one more is refused. */
static void bounded(const char *head, const char *one, const char *tail, uint32_t most, const char *why)
{
	struct rig r;
	struct cluster_decoded *d;
	rig_begin(&r);
	for (uint32_t more = 0; more < 2; more++) {
		struct sb text = {0};
		sb_str(&text, head);
		for (uint32_t i = 0; i < most + more; i++)
			sb_str(&text, one);
		sb_str(&text, tail);
		sb_char(&text, '\0');
		int code = decode(&r, text.p, &d);
		ck_assert_msg(code == (more ? ERR_LIMIT : 0), "%u of %s: %d, %s", most + more, one, code, r.why);
		ck_assert_msg(!more || strstr(r.why, why), "%s", r.why);
		cluster_decoded_free(&d);
		sb_end(&text);
	}
	rig_end(&r);
}

START_TEST(lists_are_bounded)
{
	bounded(EDS, "8:{" USUAL "9:{}}", "", CHECKS_MAX, "health_checks: 9, more than 8");
	bounded(EDS "8:{" USUAL "9:{", "2:{2:'x'}", "}}", CHECK_PAYLOADS_MAX, "health_checks.tcp_health_check.receive: 33, more than 32");
	bounded(EDS "8:{" USUAL "11:{", "3:{1:{1:'a'}}", "}}", CHECK_FIELDS_MAX, "health_checks.grpc_health_check.initial_metadata: 65, more than 64");
	bounded(EDS "8:{" USUAL "8:{2:'/'", " 8:'a'", "}}", CHECK_FIELDS_MAX, "request_headers_to_remove: 65");
	bounded(EDS "8:{" USUAL "8:{2:'/'", " 9:{1:200 2:201}", "}}", CHECK_RANGES_MAX, "expected_statuses: 65");
	/* bytes: as they are, and as hexadecimal */
	bounded(EDS "8:{" USUAL "9:{1:{2:'", "x", "'}}}", CHECK_BYTES_MAX, "send: 65537 bytes");
	bounded(EDS "8:{" USUAL "9:{1:{1:'", "7a", "'}}}", CHECK_BYTES_MAX, "send: 65537 bytes");
	bounded(EDS "8:{" USUAL "9:{3:{1:1} 1:{2:'", "x", "'}}}", CHECK_BYTES_MAX - 16, "proxy_protocol_config: 65537 bytes with send");
}
END_TEST

static const char whole[] = EDS "8:{" USUAL "8:{1:'shop' 2:'/ready' 3:{1:'70696e67'} 4:{2:'pong'} 6:{1:{1:'X-A' 2:'b'}} 8:'User-Agent' 9:{1:200 2:300} 11:{5:{2:'a+b'}} 12:{1:503 2:504} 13:3}} "
			    "8:{" USUAL "11:{1:'greeter' 2:'demo' 3:{1:{1:'x' 3:'y'}}}} 19:{1:{1:3}}";

START_TEST(a_change_of_any_field_is_another_spec)
{
	static const char *const texts[] = {EDS, EDS "19:{}", EDS "19:{1:{1:4}}", EDS "32:1", TCP(""), GRPC(""), GRPC("1:'a'"), GRPC("2:'a'"), GRPC("3:{1:{1:'a'}}"),
		CHECK("9:{} 7:{1:1}"), CHECK("9:{} 3:{1:1}"), CHECK("9:{} 20:{1:1}"), CHECK("9:{} 18:1"), CHECK("9:{} 12:{1:1}"), CHECK("9:{} 14:{1:1}"), CHECK("9:{} 15:{1:1}"),
		CHECK("9:{} 16:{1:1}"), CHECK("9:{} 24:{1:1}"), CHECK("9:{} 19:1"), CHECK("9:{} 26:1"), TCP("1:{2:'a'}"), TCP("2:{2:'a'}"), TCP("2:{2:'a'} 2:{2:'b'}"), TCP("2:{2:'ab'}"), TCP("3:{}"), TCP("3:{1:1}"),
		HTTP(""), HTTP("1:'a'"), HTTP("10:1"), HTTP("13:2"), HTTP("14:{1:1}"), HTTP("9:{1:200 2:201}"), HTTP("12:{1:200 2:201}"), HTTP("8:'a'"), HTTP("11:{1:'a'}"),
		HTTP("11:{1:'b'}"), HTTP("11:{1:'b' 6:1}"), HTTP("6:{1:{1:'a' 2:'b'}}"), HTTP("6:{1:{1:'a' 2:'c'}}"), HTTP("6:{1:{1:'a' 2:'c'} 3:2}"), whole};
	uint64_t seen[UNIT_COUNT(texts)];
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct cluster_decoded *a = good(&r, texts[i]), *b = good(&r, texts[i]);
		ck_assert_uint_eq(a->spec->hash, b->spec->hash);
		seen[i] = a->spec->hash;
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(seen[k] != seen[i], "equal: %s and %s", texts[k], texts[i]);
		cluster_decoded_free(&a);
		cluster_decoded_free(&b);
	}
	rig_end(&r);
}
END_TEST

START_TEST(a_cluster_that_is_cut_is_refused_or_a_smaller_one)
{
	struct rig r;
	struct sb m = {0}, problems = {0};
	rig_begin(&r);
	wiretext(&m, whole);
	for (size_t n = 0; n <= m.n; n++) {
		struct cluster_decoded *d = NULL;
		int code = decode_cluster(m.p, n, &r.account, r.metas, PROFILE_ISTIO, &d, &problems);
		ck_assert((code == 0) == (d != NULL) && (n < m.n || d != NULL));
		cluster_decoded_free(&d);
	}
	sb_end(&m);
	sb_end(&problems);
	rig_end(&r);
}
END_TEST

START_TEST(what_the_account_refuses_is_given_back)
{
	struct rig r;
	struct cluster_decoded *d;
	int refused = 0;
	rig_begin(&r);
	for (size_t limit = 32;; limit += 64) {
		r.account.limit = limit;
		int code = decode(&r, whole, &d);
		if (d)
			break;
		ck_assert_msg(code == -ENOMEM, "%zu bytes: %d, %s", limit, code, r.why);
		refused++;
		ck_assert_uint_lt(limit, 1 << 20);
	}
	ck_assert_int_gt(refused, 10);
	cluster_decoded_free(&d);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("decode_cluster_health", the_numbers_of_the_dubbo_proposal_come_out_as_they_stand_there, what_nobody_says_of_a_check_follows_from_what_is_said,
	an_http_check_has_all_its_words, the_name_of_a_service_is_matched_in_all_ways, each_header_is_added_as_its_action_says, tcp_and_grpc_have_theirs, a_cluster_may_have_several_and_ignore_them_on_removal,
	outlier_detection_begins_with_envoys_numbers, each_number_of_outlier_detection_lands_where_it_belongs, what_breaks_a_rule_is_refused_with_its_field,
	what_has_no_effect_is_told, lists_are_bounded, a_change_of_any_field_is_another_spec, a_cluster_that_is_cut_is_refused_or_a_smaller_one,
	what_the_account_refuses_is_given_back)
