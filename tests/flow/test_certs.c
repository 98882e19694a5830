/* What people see of identities: /certs, /status and /stats of a sidecar whose certificate comes from an agent's socket, and what the log says when it comes to its end and no other comes. */
#include "tests/flow/rig_sds.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>

#define AGENT "unix:/run/sds.sock"
#define ID "spiffe://cluster.local/ns/default/sa/shop"
#define YAML "control: {unix: /run/control.sock}\nsnapshot: {dir: \"\"}\napps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    identity: {service_account: shop, sds: {server: \"" AGENT "\"}}\n  - {name: till, listen: [{unix: /run/till.sock}]}\n"
#define HOUR 3600

struct certs_world { struct rig *r; struct authority *mesh; struct sds_server *agent; struct said said; struct sb key; };

static struct certs_world *begin(void)
{
	struct certs_world *w = xnew(struct certs_world);

	w->r = rig_bare(7);
	w->mesh = authority_new("mesh", rig_now_s(w->r));
	w->agent = sds_server_new(w->r->net, &w->r->account, AGENT);
	said_begin(&w->said, w->r);
	rig_start(w->r, YAML);
	rig_settle(w->r);
	return w;
}

/* A certificate from an hour ago until `to_s` from now on, and the roots. */
static void gives(struct certs_world *w, int64_t to_s)
{
	struct sb chain = {0};
	struct paper paper = {.sans = "URI:" ID ",DNS:shop.default.svc", .from_s = -HOUR, .to_s = to_s};

	w->key.n = 0;
	authority_set_now(w->mesh, rig_now_s(w->r));
	authority_leaf(w->mesh, &paper, &chain, &w->key);
	sb_char(&chain, '\0');
	sb_char(&w->key, '\0');
	sds_server_cert(w->agent, "default", chain.p, w->key.p);
	sds_server_roots(w->agent, "ROOTCA", authority_pem(w->mesh));
	sb_end(&chain);
	rig_advance(w->r, 3000);
}

static void end(struct certs_world *w)
{
	said_end(&w->said, w->r);
	sidecar_free(&w->r->sc);
	sds_server_end(w->agent);
	rig_advance(w->r, 1000);
	sds_server_free(&w->agent);
	authority_free(&w->mesh);
	rig_free(&w->r);
	sb_end(&w->key);
	free(w);
}

static const char *page(struct certs_world *w, const char *path)
{
	return world_page(&(struct world){.r = w->r}, path);
}

#define SAYS(text, part) ck_assert_msg(strstr(text, part), "'%s' is not in:\n%.3000s", part, text)
#define SAYS_NOT(text, part) ck_assert_msg(!strstr(text, part), "'%s' is in:\n%.3000s", part, text)

START_TEST(certificates_and_roots_are_told_whose_they_are_and_until_when)
{
	struct certs_world *w = begin();

	const char *got = page(w, "/certs");
	SAYS(got, "\"kind\":\"certificate\",\"app\":\"shop\",\"name\":\"" ID "\",\"source\":\"sds " AGENT "\",\"state\":\"waiting\"");
	got = page(w, "/status");
	SAYS(got, "\"identity\":{\"id\":\"" ID "\",\"kind\":\"sds\",\"source\":\"sds " AGENT "\",\"state\":\"waiting\",\"roots\":\"waiting\"");
	gives(w, 3 * HOUR + 3);
	got = page(w, "/certs");
	SAYS(got, "\"state\":\"ready\",\"changes\":1,\"failures\":0,\"since_s\":");
	SAYS(got, "\"id\":\"" ID "\",\"subject\":\"");
	SAYS(got, "\"sans\":[\"" ID "\",\"shop.default.svc\"],\"not_before\":\"");
	SAYS(got, "\"issuer\":\"O=mesh\"");
	SAYS(got, "\"left_s\":10800}");
	SAYS(got, "\"kind\":\"roots\",\"app\":\"shop\"");
	SAYS(got, "\"roots\":[{\"subject\":\"O=mesh\",\"not_after\":\"");
	got = page(w, "/status");
	SAYS(got, "\"state\":\"ready\",\"roots\":\"ready\",\"age_s\":3603,\"expires_unix\":");
	SAYS(got, "\"left_s\":10800,");
	ck_assert_ptr_eq(strstr(strstr(got, "\"identity\"") + 1, "\"identity\""), NULL); /* the other app has none, and nothing is said of it */
	end(w);
}
END_TEST

START_TEST(a_key_is_on_no_page)
{
	struct certs_world *w = begin();
	char body[33];

	gives(w, HOUR);
	const char *line = strchr(w->key.p, '\n') + 1;
	snprintf(body, sizeof(body), "%.32s", line);
	static const char *const paths[] = {"/certs", "/status", "/stats", "/log", "/config_dump", "/clusters"};
	for (size_t i = 0; i < UNIT_COUNT(paths); i++) {
		const char *got = page(w, paths[i]);
		SAYS_NOT(got, body);
		SAYS_NOT(got, "PRIVATE");
	}
	end(w);
}
END_TEST

START_TEST(prometheus_hears_when_a_certificate_ends_and_how_often_another_came)
{
	struct certs_world *w = begin();
	char line[300];

	SAYS(page(w, "/stats"), "\nthinmesh_certificate_ready{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} 0\n");
	SAYS_NOT(page(w, "/stats"), "\nthinmesh_certificate_expires_seconds{");
	gives(w, HOUR);
	gives(w, 2 * HOUR);
	snprintf(line, sizeof(line), "\nthinmesh_certificate_expires_seconds{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} %lld\n", (long long)rig_now_s(w->r) - 3 + 2 * HOUR);
	const char *got = page(w, "/stats");
	SAYS(got, line);
	SAYS(got, "\nthinmesh_certificate_ready{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} 1\n");
	SAYS(got, "\nthinmesh_certificate_changes_total{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} 2\n");
	SAYS(got, "\nthinmesh_roots_changes_total{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} 1\n");
	SAYS(got, "\nthinmesh_roots_expires_seconds{app=\"shop\"");
	end(w);
}
END_TEST

/* One hour old when it comes, three to go: a life of four. */
START_TEST(the_end_of_a_certificate_is_told_three_times_and_a_renewal_begins_anew)
{
	struct certs_world *w = begin();

	gives(w, 3 * HOUR);
	rig_advance(w->r, (2 * HOUR - 10) * 1000ull);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 0);
	rig_advance(w->r, 20 * 1000);
	ck_assert_msg(said_count(&w->said, "app 'shop': certificate '" ID "' of sds " AGENT " ends in 1h 0m ") == 1, "%s", w->said.lines.p);
	rig_advance(w->r, 40 * 60 * 1000);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 1);
	rig_advance(w->r, 15 * 60 * 1000); /* five minutes are left of it, of twelve that are a twentieth */
	ck_assert_uint_eq(said_count(&w->said, "ends in 12m 0s "), 1);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 2);
	rig_advance(w->r, 3 * HOUR * 1000ull);
	ck_assert_uint_eq(said_count(&w->said, "the certificate has expired at "), 1);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 2);
	SAYS(page(w, "/status"), "\"left_s\":0,\"ended_s\":");
	gives(w, 3 * HOUR);
	rig_advance(w->r, (2 * HOUR - 20) * 1000ull);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 2);
	gives(w, 30 * HOUR);
	rig_advance(w->r, 20 * HOUR * 1000ull);
	ck_assert_uint_eq(said_count(&w->said, "no other has come"), 2);
	end(w);
}
END_TEST

/* Of many that end on the way, one stands for all: from when it ends nobody is trusted. */
START_TEST(the_end_of_the_last_root_is_told_three_times_by_its_name_and_that_of_the_others_not)
{
	enum { DAY = 24 * HOUR };
	const uint64_t day_ms = DAY * UINT64_C(1000), slack_ms = 2 * HOUR * UINT64_C(1000);
	struct certs_world *w = begin();
	const int64_t now = rig_now_s(w->r), years = 5 * 365 * (int64_t)DAY;
	struct authority *late = authority_new("late", now - years + 40 * DAY), *early = authority_new("early", now - years + 20 * DAY);
	char *both = xasprintf("%s%s", authority_pem(early), authority_pem(late)), line[300];

	gives(w, 100 * DAY);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 0);
	sds_server_roots(w->agent, "ROOTCA", both);
	rig_advance(w->r, 9 * day_ms);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 0);
	SAYS(page(w, "/status"), "\"last_root\":\"O=late\",\"roots_ending\":false");
	rig_advance(w->r, day_ms + slack_ms);
	ck_assert_msg(said_count(&w->said, "app 'shop': the last of the roots of sds " AGENT ", 'O=late', ends in 30d ") + said_count(&w->said, "'O=late', ends in 29d 23h ") == 1, "%s", w->said.lines.p);
	SAYS(page(w, "/status"), "\"last_root\":\"O=late\",\"roots_ending\":true");
	snprintf(line, sizeof(line), "\nthinmesh_roots_last_expires_seconds{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} %lld\n", (long long)(now + 40 * DAY));
	SAYS(page(w, "/stats"), line);
	snprintf(line, sizeof(line), "\nthinmesh_roots_expires_seconds{app=\"shop\",name=\"" ID "\",source=\"sds " AGENT "\"} %lld\n", (long long)(now + 20 * DAY));
	SAYS(page(w, "/stats"), line);
	snprintf(line, sizeof(line), "\"last_root\":\"O=late\",\"first_expires_unix\":%lld,\"expires_unix\":%lld,\"left_s\":", (long long)(now + 20 * DAY), (long long)(now + 40 * DAY));
	SAYS(page(w, "/certs"), line);
	rig_advance(w->r, 22 * day_ms);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 1); /* the other one has ended meanwhile */
	rig_advance(w->r, day_ms);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 2);
	ck_assert_uint_eq(said_count(&w->said, "'O=late', ends in 7d 0h ") + said_count(&w->said, "'O=late', ends in 6d 23h "), 1);
	rig_advance(w->r, 8 * day_ms);
	ck_assert_uint_eq(said_count(&w->said, "'O=late', has ended ("), 1);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 3);
	SAYS(page(w, "/status"), "\"roots_ended_s\":");
	sds_server_roots(w->agent, "ROOTCA", authority_pem(w->mesh));
	rig_advance(w->r, 3000);
	ck_assert_uint_eq(said_count(&w->said, "the last of the roots"), 3);
	SAYS(page(w, "/status"), "\"last_root\":\"O=mesh\",\"roots_ending\":false");
	free(both);
	authority_free(&late);
	authority_free(&early);
	end(w);
}
END_TEST

START_TEST(a_sidecar_without_identities_says_nothing_of_them)
{
	struct rig *r = rig_demo("10.0.0.1:1", "", "control: {unix: /run/control.sock}\n");
	struct world w = {.r = r};

	ck_assert_str_eq(world_page(&w, "/certs"), "{\"secrets\":[],\"more\":0,\"transports\":0,\"contexts\":0,\"stores\":0}\n");
	SAYS_NOT(world_page(&w, "/status"), "\"identity\"");
	SAYS_NOT(world_page(&w, "/stats"), "\nthinmesh_certificate_expires_seconds{");
	rig_free(&r);
}
END_TEST

UNIT_SUITE("certs", certificates_and_roots_are_told_whose_they_are_and_until_when, a_key_is_on_no_page, prometheus_hears_when_a_certificate_ends_and_how_often_another_came,
	the_end_of_a_certificate_is_told_three_times_and_a_renewal_begins_anew,
	the_end_of_the_last_root_is_told_three_times_by_its_name_and_that_of_the_others_not, a_sidecar_without_identities_says_nothing_of_them)
