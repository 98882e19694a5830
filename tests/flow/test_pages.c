/* The pages of the control socket that grow with the mesh: what /status, /clusters and /stats say of apps, checks and ejections, that /stats is what Prometheus reads, and that a page of a
 * hundred thousand endpoints is bounded, comes in slices, and leaves nothing behind. */
#include <ctype.h>
#include <stdio.h>
#include "sidecar/pages.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define TOP "control: {unix: /run/control.sock}\n"
#define WORLD(r) ((struct world){.r = (r)})

static const char *page(struct rig *r, const char *path)
{
	struct world w = WORLD(r);

	return world_page(&w, path);
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
		n++;
	return n;
}

#define SAYS(text, part) ck_assert_msg(says(text, part), "'%s' is not in:\n%s", part, text)

/* ---- what is said ---- */

START_TEST(an_app_is_told_with_its_state_its_reason_and_who_asked)
{
	struct rig *r = rig_new("apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    inbound: [{tcp: \"10.9.0.1:20880\", to: \"10.9.0.2:1\"}]\n"
		"    health: {listen: [{tcp: \"10.9.0.1:15021\"}], check: {tcp: \"10.9.0.2:1\", period: 1s}}\n" TOP);
	struct provider *server = provider_new(r, "10.9.0.2:1", ANSWERS);
	struct caller *a = caller_new(r, DOOR);
	const char *got;

	rig_advance(r, 1500);
	got = page(r, "/status");
	SAYS(got, "\"name\":\"shop\",\"state\":\"ok\"");
	SAYS(got, "\"check\":{\"kind\":\"tcp\",\"state\":\"passed\"},\"processes\":0,");
	SAYS(got, "\"registry\":\"none\",\"told\":null");
	SAYS(got, "\"in_flight\":0,\"inbound\":[{\"address\":\"10.9.0.1:20880\",\"connections\":0}],\"health\":[{\"address\":\"10.9.0.1:15021\",\"connections\":0}]");
	SAYS(got, "\"transitions\":{\"unknown\":0,\"ok\":1,\"failing\":0,\"gone\":0,\"drained\":0}");
	SAYS(got, "\"freeze\":{\"frozen\":false,\"settling\":false,\"thaws\":0,\"stood_ms\":0},\"upgrade\":{\"state\":\"none\"");
	ck_assert(!says(got, "lease_ms"));
	call_plain(a, "POST", "x", "/healthcheck/ok?ttl=30s", NULL, true);
	rig_advance(r, 1000);
	got = page(r, "/status");
	SAYS(got, "\"lease_ms\":29");
	SAYS(got, "\"by\":{\"uid\":");
	provider_listen(server, false);
	provider_cut(server);
	rig_advance(r, 4000);
	got = page(r, "/status");
	SAYS(got, "\"state\":\"failing\"");
	SAYS(got, "\"why\":\"its tcp check fails: ");
	got = page(r, "/stats");
	SAYS(got, "\nthinmesh_app_state{app=\"shop\"} 2\n");
	SAYS(got, "\nthinmesh_app_transitions_total{app=\"shop\",state=\"ok\"} 1\n");
	SAYS(got, "\nthinmesh_app_transitions_total{app=\"shop\",state=\"failing\"} 1\n");
	SAYS(got, "\nthinmesh_app_check_passed{app=\"shop\"} 0\n");
	SAYS(got, "\nthinmesh_app_inbound_in_flight{app=\"shop\"} 0\n");
	rig_free(&r);
}
END_TEST

START_TEST(an_endpoint_is_told_with_its_health_and_who_says_so)
{
	struct rig *r = rig_demo("10.0.0.1:1 10.0.0.2:1", "    health: {tcp: {}, interval: 1s, unhealthy_threshold: 1}\n", TOP);
	struct provider *one = provider_new(r, "10.0.0.1:1", ANSWERS), *two = provider_new(r, "10.0.0.2:1", ANSWERS);
	struct caller *a = caller_new(r, DOOR);
	const char *got;

	call_unary(a, DEMO, NULL);
	rig_advance(r, 3000);
	got = page(r, "/status");
	SAYS(got, "\"truth\":\"serving\",\"checked\":true,\"panic\":false,\"healthy\":2,\"degraded\":0,\"check_pending\":0,\"check_failed\":0,\"ejected\":0,\"held\":0");
	SAYS(got, "\"endpoints_total\":2,\"endpoints\":[");
	SAYS(got, "\"check\":{\"kind\":\"tcp\",\"state\":\"passed\",\"since_s\":");
	ck_assert_uint_eq(count(got, "\"health\":\"healthy\""), 2);
	provider_listen(two, false);
	provider_cut(two);
	rig_advance(r, 5000);
	got = page(r, "/status");
	SAYS(got, "\"healthy\":1,\"degraded\":0,\"check_pending\":0,\"check_failed\":1");
	/* Who is not well comes first. */
	SAYS(got, "\"endpoints\":[{\"address\":\"10.0.0.2:1\",\"state\":\"check failed\",\"health\":\"check failed\",\"by\":\"check\"");
	SAYS(got, "\"check\":{\"kind\":\"tcp\",\"state\":\"failed\",\"why\":\"");
	got = page(r, "/clusters");
	SAYS(got, DEMO "  least_request, serving, 2 endpoints, 1 healthy, 1 check failed, active 0");
	SAYS(got, "says check, tcp check failed: ");
	got = page(r, "/stats");
	SAYS(got, "\nthinmesh_cluster_membership_total{service=\"" DEMO "\"} 2\n");
	SAYS(got, "\nthinmesh_cluster_membership_healthy{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_health_check_failed{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_health_check_healthy{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_serving{service=\"" DEMO "\"} 1\n");
	/* One service: its counters are the sums. */
	static const struct { enum stat_id id; const char *name; } sums[] = {{STAT_CHECK_ATTEMPT, "attempt"}, {STAT_CHECK_SUCCESS, "success"}, {STAT_CHECK_FAILURE, "failure"},
		{STAT_CHECK_NETWORK_FAILURE, "network_failure"}, {STAT_CHECK_PASSIVE_FAILURE, "passive_failure"}};
	for (size_t i = 0; i < UNIT_COUNT(sums); i++) {
		char line[200];
		snprintf(line, sizeof(line), "\nthinmesh_cluster_health_check_%s_total{service=\"" DEMO "\"} %llu\n", sums[i].name, (unsigned long long)rig_stat(r, sums[i].id));
		SAYS(got, line);
		ck_assert(i == 4 || rig_stat(r, sums[i].id) > 0);
	}
	ck_assert(!says(got, "outlier_detection_ejections_active{"));
	provider_listen(one, false);
	provider_cut(one);
	rig_advance(r, 5000);
	call_unary(a, DEMO, NULL);
	rig_advance(r, 100);
	got = page(r, "/status");
	SAYS(got, "\"truth\":\"not serving\",\"checked\":true,\"panic\":true");
	got = page(r, "/stats");
	SAYS(got, "\nthinmesh_cluster_serving{service=\"" DEMO "\"} 0\n");
	ck_assert(!says(got, "\nthinmesh_cluster_lb_healthy_panic_total{service=\"" DEMO "\"} 0\n"));
	rig_free(&r);
}
END_TEST

START_TEST(an_ejection_is_told_until_it_is_over)
{
	struct rig *r = rig_demo("10.0.0.1:1 10.0.0.2:1 10.0.0.3:1", "    lb: round_robin\n    outlier: {max_ejection_percent: 67, base_ejection_time: 30s}\n    retries: {max: 0}\n", TOP);
	struct provider *bad = provider_new(r, "10.0.0.1:1", ANSWERS);
	struct caller *a = caller_new(r, DOOR);
	const char *got;

	provider_new(r, "10.0.0.2:1", ANSWERS);
	provider_new(r, "10.0.0.3:1", ANSWERS);
	bad->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_UNAVAILABLE};
	for (int i = 0; i < 15; i++) {
		call_unary(a, DEMO, NULL);
		rig_advance(r, 10);
	}
	got = page(r, "/status");
	SAYS(got, "\"ejected\":1,");
	SAYS(got, "\"endpoints\":[{\"address\":\"10.0.0.1:1\",\"state\":\"ejected\",\"health\":\"ejected\",\"by\":\"outlier\"");
	SAYS(got, "\"outlier\":{\"ejected\":true,\"degraded\":false,\"left_ms\":29");
	SAYS(got, "\"why\":\"consecutive_5xx\"");
	got = page(r, "/stats");
	SAYS(got, "\nthinmesh_cluster_outlier_detection_ejections_active{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_outlier_detection_ejections_enforced_total{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_outlier_detection_ejections_enforced_consecutive_5xx_total{service=\"" DEMO "\"} 1\n");
	SAYS(got, "\nthinmesh_cluster_outlier_detection_ejections_enforced_success_rate_total{service=\"" DEMO "\"} 0\n");
	rig_advance(r, 31000);
	got = page(r, "/status");
	SAYS(got, "\"ejected\":0,");
	SAYS(got, "\"outlier\":{\"ejected\":false,\"degraded\":false,\"why\":\"consecutive_5xx\"");
	SAYS(got, "\"ejections\":1}");
	rig_free(&r);
}
END_TEST

/* ---- what Prometheus reads ---- */

/* One line of the exposition format 0.0.4; family: the name of the last # TYPE. NULL, or what is wrong with it. */
static const char *line_is_bad(const char *line, const char *family, bool histogram)
{
	const char *p = line;
	size_t n;

	if (!isalpha((unsigned char)*p) && *p != '_')
		return "no name";
	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	n = (size_t)(p - line);
	if (strncmp(line, family, strlen(family)) != 0 || (n != strlen(family) && !histogram))
		return "not under its own # TYPE";
	if (*p == '{')
		for (p++; *p != '}'; p++) {
			while (isalpha((unsigned char)*p) || *p == '_')
				p++;
			if (*p++ != '=' || *p++ != '"')
				return "a label";
			for (; *p && *p != '"'; p++)
				if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
					return "an escape";
			if (*p++ != '"')
				return "an open label";
			if (*p == '}')
				break;
			if (*p != ',')
				return "labels";
		}
	if (*p == '}')
		p++;
	if (*p++ != ' ')
		return "no value";
	char *end;
	strtod(p, &end);
	return end == p || *end ? "a value" : NULL;
}

static void check_stats(const char *text)
{
	char family[200] = "", seen[65536] = "", line[4096];
	bool histogram = false;

	ck_assert(text[strlen(text) - 1] == '\n');
	for (const char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
		snprintf(line, sizeof(line), "%.*s", (int)(end - p), p);
		if (strncmp(line, "# HELP ", 7) == 0) {
			char key[210];
			snprintf(key, sizeof(key), "\n%.*s ", (int)strcspn(line + 7, " "), line + 7);
			ck_assert_msg(!strstr(seen, key), "told twice: %s", line);
			ck_assert(strlen(seen) + strlen(key) < sizeof(seen));
			strcat(seen, key);
			snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			const char *kind = line + 7 + strlen(family) + 1;
			ck_assert_msg(strncmp(line + 7, family, strlen(family)) == 0, "%s below %s", line, family);
			ck_assert_msg(strcmp(kind, "counter") == 0 || strcmp(kind, "gauge") == 0 || strcmp(kind, "histogram") == 0, "%s", line);
			/* membership_total is Envoy's word, and a gauge. */
			ck_assert_msg(str_ends(str_of(family), STR("_membership_total")) || (strcmp(kind, "counter") == 0) == str_ends(str_of(family), STR("_total")), "%s", line);
			histogram = strcmp(kind, "histogram") == 0;
		} else {
			ck_assert_msg(!line_is_bad(line, family, histogram), "%s: %s", line, line_is_bad(line, family, histogram));
		}
	}
}

START_TEST(the_metrics_are_what_prometheus_reads)
{
	struct rig *r = rig_new("apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n" TOP);

	check_stats(page(r, "/stats")); /* not one service */
	rig_free(&r);
	r = rig_new("apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n  - {name: till, listen: [{unix: /run/till.sock}]}\n"
		"services:\n  - {name: \"" DEMO "\", endpoints: [\"10.0.0.1:1\"], outlier: {}, health: {tcp: {}}}\n  - {name: \"b:1\", endpoints: [\"10.0.0.2:1\"]}\n" TOP);
	page(r, "/status");
	check_stats(page(r, "/stats"));
	ck_assert_uint_eq(count(page(r, "/stats"), "\nthinmesh_cluster_membership_total{"), 2);
	ck_assert_uint_eq(count(page(r, "/stats"), "\nthinmesh_cluster_health_check_attempt_total{"), 1); /* only who is checked */
	rig_free(&r);
	struct world w = world_istio(XDS(""));
	world_call(&w, HOST ":50051");
	check_stats(world_page(&w, "/stats"));
	rig_free(&w.r);
}
END_TEST

/* ---- large ones ---- */

/* Two services: one of n endpoints, and a small one. */
static struct rig *large(uint32_t n)
{
	struct sb b = {0};
	struct rig *r;

	sb_str(&b, "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\nservices:\n  - {name: \"small.x:1\", endpoints: [\"10.0.0.1:1\"]}\n  - name: large:1\n    endpoints: [");
	for (uint32_t i = 0; i < n; i++)
		sb_fmt(&b, "%s\"10.%u.%u.%u:1\"", i ? "," : "", 1 + (i >> 16), i >> 8 & 255, i & 255);
	sb_str(&b, "]\n" TOP);
	r = rig_new(b.p);
	sb_end(&b);
	page(r, "/status?endpoints=0"); /* they are live once somebody has looked */
	rig_settle(r);
	return r;
}

START_TEST(a_large_service_is_told_in_part_and_whole_when_asked)
{
	struct rig *r = large(3000);
	const char *got = page(r, "/status");

	SAYS(got, "\"endpoints_total\":3000,");
	ck_assert_uint_eq(count(got, "{\"address\":\"10."), PAGE_ENDPOINTS + 1);
	got = page(r, "/clusters");
	ck_assert_uint_eq(count(got, "\n  10."), PAGE_ENDPOINTS + 1);
	SAYS(got, "\n  and 2000 more\n");
	ck_assert_uint_eq(count(page(r, "/status?endpoints=7"), "{\"address\":\"10."), 7);
	got = page(r, "/status?service=large&endpoints=all");
	ck_assert_uint_eq(count(got, "{\"address\":\"10."), 3000);
	ck_assert(!says(got, "small.x:1"));
	for (uint32_t i = 0; i < 3000; i += 499) {
		char address[64];
		snprintf(address, sizeof(address), "{\"address\":\"10.1.%u.%u:1\"", i >> 8, i & 255);
		ck_assert_uint_eq(count(got, address), 1);
	}
	ck_assert(str_ends(str_of(got), STR("]}],\"xds\":[]}\n")));
	got = page(r, "/status?service=small%2ex&endpoints=all");
	ck_assert_uint_eq(count(got, "{\"name\":\"small.x:1\""), 1);
	ck_assert_uint_eq(count(got, "large:1"), 0);
	SAYS(page(r, "/status?service=nobody"), "\"services\":[]");
	rig_free(&r);
}
END_TEST

START_TEST(who_is_not_well_is_among_those_who_are_told)
{
	struct sb yaml = {0};
	struct rig *r;

	sb_str(&yaml, "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\nservices:\n  - name: large:1\n    health: {tcp: {}, interval: 1s, no_traffic_interval: 1s}\n    endpoints: [");
	for (int i = 0; i < 40; i++)
		sb_fmt(&yaml, "%s\"10.0.1.%d:1\"", i ? "," : "", i);
	sb_str(&yaml, "]\n" TOP);
	r = rig_new(yaml.p);
	for (int i = 0; i < 40; i++)
		if (i != 17 && i != 39) {
			char at[24];
			snprintf(at, sizeof(at), "10.0.1.%d:1", i);
			provider_new(r, at, ANSWERS);
		}
	page(r, "/status");
	rig_advance(r, 5000);
	const char *got = page(r, "/status?endpoints=3");
	SAYS(got, "\"endpoints\":[{\"address\":\"10.0.1.17:1\",\"state\":\"check failed\"");
	SAYS(got, ",{\"address\":\"10.0.1.39:1\",\"state\":\"check failed\"");
	SAYS(got, ",{\"address\":\"10.0.1.0:1\"");
	ck_assert_uint_eq(count(got, "{\"address\":\"10."), 3);
	sb_end(&yaml);
	rig_free(&r);
}
END_TEST

START_TEST(what_is_asked_badly_is_answered_400)
{
	static const char *const paths[] = {"/status?endpoints=many", "/clusters?endpoints=-1", "/status?endpoints=99999999999"};
	struct rig *r = rig_demo("10.0.0.1:1", NULL, TOP);
	struct caller *c = caller_new(r, CONTROL);

	for (size_t i = 0; i < UNIT_COUNT(paths); i++) {
		struct call *k = call_plain(c, "GET", "x", paths[i], NULL, true);
		rig_settle(r);
		ck_assert_msg(k->status == 400, "%s: %d", paths[i], k->status);
	}
	rig_free(&r);
}
END_TEST

START_TEST(a_page_that_nobody_waits_for_ends_and_one_beyond_memory_is_refused)
{
	struct rig *r = large(60000);
	struct caller *c = caller_new(r, CONTROL);
	size_t before = rig_memory(r);
	uint64_t turn = r->loop->turn;
	struct call *k = call_plain(c, "GET", "x", "/status?endpoints=all", NULL, true);

	/* It comes in slices, and others are answered in between. */
	for (int i = 0; i < 50; i++)
		loop_turn(r->loop, 0);
	ck_assert_int_eq(k->status, -1);
	struct call *other = call_plain(c, "GET", "x", "/live", NULL, true);
	for (int i = 0; i < 20; i++)
		loop_turn(r->loop, 0);
	ck_assert_int_eq(other->status, 200);
	ck_assert_int_eq(k->status, -1);
	ck_assert(rig_memory(r) > before + 100000);
	/* The caller goes. */
	call_cancel(k);
	rig_settle(r);
	ck_assert_msg(rig_memory(r) < before + 20000, "%zu, %zu before", rig_memory(r), before);
	/* No memory for all of it. */
	size_t limit = r->loop->memory.limit;
	r->loop->memory.limit = r->loop->memory.used + 1000000;
	k = call_plain(c, "GET", "x", "/status?endpoints=all", NULL, true);
	rig_settle(r);
	r->loop->memory.limit = limit;
	ck_assert_int_eq(k->status, 503);
	SAYS(call_text(k), "?endpoints=");
	ck_assert_msg(rig_memory(r) < before + 20000, "%zu, %zu before", rig_memory(r), before);
	k = call_plain(c, "GET", "x", "/status?service=large&endpoints=all", NULL, true);
	turn = r->loop->turn;
	rig_settle(r);
	ck_assert_int_eq(k->status, 200);
	ck_assert_uint_ge(r->loop->turn - turn, 60000 / PAGE_SLICE);
	rig_free(&r);
}
END_TEST

START_TEST(a_page_outlives_a_reload_under_it)
{
	struct rig *r = large(20000);
	struct caller *c = caller_new(r, CONTROL);
	struct call *k = call_plain(c, "GET", "x", "/status?endpoints=all", NULL, true), *s = call_plain(c, "GET", "x", "/stats", NULL, true);

	for (int i = 0; i < 10; i++)
		loop_turn(r->loop, 0);
	ck_assert_int_eq(k->status, -1);
	ck_assert_int_eq(rig_reload(r, "apps:\n  - {name: shop, listen: [{unix: /run/shop.sock}]}\n" TOP), 0); /* no service is left */
	rig_settle(r);
	ck_assert_int_eq(k->status, 200);
	ck_assert_int_eq(s->status, 200);
	SAYS(page(r, "/status"), "\"services\":[]");
	rig_free(&r);
}
END_TEST

UNIT_SUITE("pages", an_app_is_told_with_its_state_its_reason_and_who_asked, an_endpoint_is_told_with_its_health_and_who_says_so, an_ejection_is_told_until_it_is_over,
	the_metrics_are_what_prometheus_reads, a_large_service_is_told_in_part_and_whole_when_asked, who_is_not_well_is_among_those_who_are_told, what_is_asked_badly_is_answered_400,
	a_page_that_nobody_waits_for_ends_and_one_beyond_memory_is_refused, a_page_outlives_a_reload_under_it)
