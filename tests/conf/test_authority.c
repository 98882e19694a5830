/* conf/authority: every shape of :authority that SDKs were seen to send, and what attackers send. */
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

#include "conf/authority.h"

#define FQDN "demo.default.svc.cluster.local"

static struct conf_pair aliases[] = {
	{(char *)"10.9.9.9", (char *)"by-ip.default.svc.cluster.local:1"},
	{(char *)"both", (char *)"by-host"},
	{(char *)"both:50051", (char *)"by-whole:7"},
	{(char *)"circle", (char *)"circle"},
	{(char *)"greeter", (char *)"demo.default.svc.cluster.local:50051"},
	{(char *)"portless", (char *)"demo.prod"},
};
static const struct conf_app app = {.namespace_ = (char *)"default", .alias = aliases, .aliases = UNIT_COUNT(aliases)};
static const struct conf_app shop = {.namespace_ = (char *)"shops"};

struct row {
	const char *raw;
	enum authority_kind kind;
	const char *out;
};

static void check_rows(const struct row *rows, size_t n, const struct conf_app *of, const char *domain)
{
	for (size_t i = 0; i < n; i++) {
		char out[AUTHORITY_MAX];
		size_t len = 999;
		enum authority_kind kind = authority_normalise(of, domain, str_of(rows[i].raw), out, &len);

		ck_assert_msg(kind == rows[i].kind, "'%s': kind %d, expected %d (out '%s')", rows[i].raw, kind, rows[i].kind, out);
		ck_assert_msg(strcmp(out, rows[i].out) == 0, "'%s': '%s', expected '%s'", rows[i].raw, out, rows[i].out);
		ck_assert_uint_eq(len, strlen(out));
	}
}

START_TEST(names_come_out_lower_case_without_trailing_dot_and_with_their_port)
{
	static const struct row rows[] = {
		{FQDN, AUTHORITY_NAME, FQDN},
		{FQDN ":50051", AUTHORITY_NAME, FQDN ":50051"},
		{FQDN ".", AUTHORITY_NAME, FQDN},
		{FQDN ".:50051", AUTHORITY_NAME, FQDN ":50051"},
		{"Demo.Default.SVC.Cluster.Local:50051", AUTHORITY_NAME, FQDN ":50051"},
		{FQDN ":", AUTHORITY_NAME, FQDN},
		{FQDN ":080", AUTHORITY_NAME, FQDN ":80"},
		{FQDN ":65535", AUTHORITY_NAME, FQDN ":65535"},
		{"demo_x.default.svc.cluster.local:1", AUTHORITY_NAME, "demo_x.default.svc.cluster.local:1"},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(short_names_are_expanded_by_namespace_and_domain)
{
	static const struct row rows[] = {
		{"demo", AUTHORITY_NAME, "demo.shops.svc.mesh.corp"},
		{"demo:50051", AUTHORITY_NAME, "demo.shops.svc.mesh.corp:50051"},
		{"demo.", AUTHORITY_NAME, "demo.shops.svc.mesh.corp"},
		{"DEMO.:80", AUTHORITY_NAME, "demo.shops.svc.mesh.corp:80"},
		{"demo.default", AUTHORITY_NAME, "demo.default.svc.mesh.corp"},
		{"demo.default:50051", AUTHORITY_NAME, "demo.default.svc.mesh.corp:50051"},
		{"demo.default.svc", AUTHORITY_NAME, "demo.default.svc.mesh.corp"},
		{"demo.default.svc:50051", AUTHORITY_NAME, "demo.default.svc.mesh.corp:50051"},
		{"demo.default.svc.mesh", AUTHORITY_NAME, "demo.default.svc.mesh.corp"},
		{"demo.default.svc.mesh.corp:1", AUTHORITY_NAME, "demo.default.svc.mesh.corp:1"},
	};
	check_rows(rows, UNIT_COUNT(rows), &shop, "mesh.corp");
}
END_TEST

START_TEST(names_of_the_world_stay_as_they_are)
{
	static const struct row rows[] = {
		{"api.example.com:443", AUTHORITY_NAME, "api.example.com:443"},
		{"api.example.com", AUTHORITY_NAME, "api.example.com"},
		{"a.b.c.d.example", AUTHORITY_NAME, "a.b.c.d.example"},
		{"demo.default.svc.other.domain:1", AUTHORITY_NAME, "demo.default.svc.other.domain:1"},
		{"demo.default.svc.clus", AUTHORITY_NAME, "demo.default.svc.clus"},
		{"demo.default.svc.cluster.localx", AUTHORITY_NAME, "demo.default.svc.cluster.localx"},
		{"demo.default.svcx", AUTHORITY_NAME, "demo.default.svcx"},
		{"pod.demo.default.svc.cluster.local", AUTHORITY_NAME, "pod.demo.default.svc.cluster.local"},
		{"x.cluster.local", AUTHORITY_NAME, "x.cluster.local"},
		{"a,b.c.d", AUTHORITY_NAME, "a,b.c.d"},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(a_host_of_two_labels_has_both_readings_literal_first)
{
	struct authority a;

	authority_candidates(&app, "cluster.local", STR("Example.com:443"), &a);
	ck_assert_int_eq(a.kind, AUTHORITY_NAME);
	ck_assert_uint_eq(a.count, 4);
	ck_assert(str_is(a.candidate[0], "example.com:443"));
	ck_assert(str_is(a.candidate[1], "example.com.svc.cluster.local:443"));
	ck_assert(str_is(a.candidate[2], "example.com"));
	ck_assert(str_is(a.candidate[3], "example.com.svc.cluster.local"));
	ck_assert(str_is(a.best, "example.com.svc.cluster.local:443"));
}
END_TEST

START_TEST(candidates_repeat_nothing_and_paths_have_none)
{
	struct authority a;

	authority_candidates(&app, "cluster.local", STR(FQDN), &a);
	ck_assert_uint_eq(a.count, 1);
	authority_candidates(&app, "cluster.local", STR(FQDN ":1"), &a);
	ck_assert_uint_eq(a.count, 2);
	ck_assert(str_is(a.candidate[1], FQDN));
	/* An IP or localhost names no app, but an exact service may. */
	authority_candidates(&app, "cluster.local", STR("10.0.0.1:80"), &a);
	ck_assert_int_eq(a.kind, AUTHORITY_NONE);
	ck_assert_uint_eq(a.count, 2);
	ck_assert(str_is(a.candidate[0], "10.0.0.1:80"));
	ck_assert(str_is(a.candidate[1], "10.0.0.1"));
	authority_candidates(&app, "cluster.local", STR("%2Frun%2Fs.sock"), &a);
	ck_assert_uint_eq(a.count, 0);
	authority_candidates(&app, "cluster.local", STR(""), &a);
	ck_assert_uint_eq(a.count, 0);
	authority_candidates(&app, "cluster.local", STR("a b"), &a);
	ck_assert_int_eq(a.kind, AUTHORITY_BAD);
	ck_assert_uint_eq(a.count, 0);
}
END_TEST

START_TEST(what_sdks_say_of_a_socket_names_no_app)
{
	static const struct row rows[] = {
		{"", AUTHORITY_NONE, ""},
		{"localhost", AUTHORITY_NONE, "localhost"},
		{"localhost:80", AUTHORITY_NONE, "localhost:80"},
		{"LocalHost.", AUTHORITY_NONE, "localhost"},
		{"127.0.0.1:15051", AUTHORITY_NONE, "127.0.0.1:15051"},
		{"10.0.0.1", AUTHORITY_NONE, "10.0.0.1"},
		{"[::1]:80", AUTHORITY_NONE, "[::1]:80"},
		{"[FE80::1]", AUTHORITY_NONE, "[fe80::1]"},
		{"[fe80::1%25eth0]:80", AUTHORITY_NONE, "[fe80::1%25eth0]:80"},
		{"::1", AUTHORITY_NONE, "::1"},
		{":50051", AUTHORITY_NONE, ":50051"},
		{"/run/s.sock", AUTHORITY_NONE, "/run/s.sock"},
		{"run%2Fs.sock", AUTHORITY_NONE, "run%2Fs.sock"},
		{"%2Frun%2Fs.sock", AUTHORITY_NONE, "%2Frun%2Fs.sock"},
		{"%2frun%2fMy%20App.sock", AUTHORITY_NONE, "%2frun%2fMy%20App.sock"},
		{"unix:/tmp/x.sock", AUTHORITY_NONE, "unix:/tmp/x.sock"},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(dubbo_go_gets_its_dots_back)
{
	static const struct row rows[] = {
		{"demo.defaultsvccluster.local:80", AUTHORITY_NAME, FQDN ":80"},
		{"demo.defaultsvccluster.local", AUTHORITY_NAME, FQDN},
		{"Demo.DefaultSvcCluster.Local:80", AUTHORITY_NAME, FQDN ":80"},
		{"demo.svccluster.local:80", AUTHORITY_NAME, "demo.svccluster.local:80"},
		{"demosvccluster.local:80", AUTHORITY_NAME, "demosvccluster.local.svc.cluster.local:80"},
		{".svccluster.local", AUTHORITY_BAD, ""},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(aliases_come_first_whole_then_by_host_and_never_in_circles)
{
	static const struct row rows[] = {
		{"greeter", AUTHORITY_NAME, FQDN ":50051"},
		{"GREETER.", AUTHORITY_NAME, FQDN ":50051"},
		{"greeter:9", AUTHORITY_NAME, FQDN ":50051"},
		{"portless:9", AUTHORITY_NAME, "demo.prod.svc.cluster.local:9"},
		{"portless", AUTHORITY_NAME, "demo.prod.svc.cluster.local"},
		{"both:50051", AUTHORITY_NAME, "by-whole.default.svc.cluster.local:7"},
		{"both:50052", AUTHORITY_NAME, "by-host.default.svc.cluster.local:50052"},
		{"circle", AUTHORITY_NAME, "circle.default.svc.cluster.local"},
		{"10.9.9.9:80", AUTHORITY_NAME, "by-ip.default.svc.cluster.local:1"},
		{"greeter.default", AUTHORITY_NAME, "greeter.default.svc.cluster.local"},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(attacks_are_bad_and_leave_nothing)
{
	static const struct row rows[] = {
		{"user@demo", AUTHORITY_BAD, ""},
		{"user:secret@demo:80", AUTHORITY_BAD, ""},
		{"@demo", AUTHORITY_BAD, ""},
		{"a b", AUTHORITY_BAD, ""},
		{" demo", AUTHORITY_BAD, ""},
		{"demo\t", AUTHORITY_BAD, ""},
		{"demo\r\nhost: x", AUTHORITY_BAD, ""},
		{"demo\x7f", AUTHORITY_BAD, ""},
		{"\xc3\xbc.test", AUTHORITY_BAD, ""},
		{"demo#f", AUTHORITY_BAD, ""},
		{"demo?q", AUTHORITY_BAD, ""},
		{"demo\\x", AUTHORITY_BAD, ""},
		{"\"demo\"", AUTHORITY_BAD, ""},
		{"demo%00", AUTHORITY_BAD, ""},
		{"%2Frun%0d%0as.sock", AUTHORITY_BAD, ""},
		{"%2", AUTHORITY_BAD, ""},
		{"%zz", AUTHORITY_BAD, ""},
		{"demo:notaport", AUTHORITY_BAD, ""},
		{"demo:99999", AUTHORITY_BAD, ""},
		{"demo:0", AUTHORITY_BAD, ""},
		{"demo:-1", AUTHORITY_BAD, ""},
		{"demo:000080", AUTHORITY_BAD, ""},
		{"demo:80:80", AUTHORITY_BAD, ""},
		{"[::1", AUTHORITY_BAD, ""},
		{"[::1]x", AUTHORITY_BAD, ""},
		{"[demo]:80", AUTHORITY_BAD, ""},
		{"::1]", AUTHORITY_BAD, ""},
		{"demo]", AUTHORITY_BAD, ""},
		{"demo..default", AUTHORITY_BAD, ""},
		{"demo..", AUTHORITY_BAD, ""},
		{".demo", AUTHORITY_BAD, ""},
		{".", AUTHORITY_BAD, ""},
	};
	check_rows(rows, UNIT_COUNT(rows), &app, "cluster.local");
}
END_TEST

START_TEST(a_nul_byte_is_a_control)
{
	char out[AUTHORITY_MAX];
	size_t n;

	ck_assert_int_eq(authority_normalise(&app, "cluster.local", str_n("demo\0x", 6), out, &n), AUTHORITY_BAD);
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(length_is_bounded_in_and_out)
{
	char raw[2 * AUTHORITY_MAX], out[AUTHORITY_MAX];
	size_t n;

	memset(raw, 'a', sizeof(raw));
	ck_assert_int_eq(authority_normalise(NULL, "cluster.local", str_n(raw, AUTHORITY_MAX), out, &n), AUTHORITY_BAD);
	for (size_t len = 1; len < AUTHORITY_MAX; len++) {
		ck_assert_int_eq(authority_normalise(NULL, "cluster.local", str_n(raw, len), out, &n), AUTHORITY_NAME);
		ck_assert_uint_lt(n, AUTHORITY_MAX);
		ck_assert_uint_eq(out[n], 0);
	}
	/* Too long to be expanded: it stays, port and all. */
	memcpy(raw + 312, ":65535", 6);
	ck_assert_int_eq(authority_normalise(NULL, "cluster.local", str_n(raw, 318), out, &n), AUTHORITY_NAME);
	ck_assert_uint_eq(n, 318);
}
END_TEST

START_TEST(without_an_app_the_namespace_is_default)
{
	static const struct row rows[] = {{"demo", AUTHORITY_NAME, FQDN}};
	check_rows(rows, 1, NULL, "cluster.local");
}
END_TEST

START_TEST(cleaning_expands_nothing)
{
	char out[AUTHORITY_MAX];
	size_t n;

	ck_assert_int_eq(authority_clean(STR("Demo.:80"), out, &n), AUTHORITY_NAME);
	ck_assert_str_eq(out, "demo:80");
	ck_assert_uint_eq(n, 7);
}
END_TEST

START_TEST(the_service_stands_before_the_method_in_a_path)
{
	static const struct {
		const char *path, *service;
	} rows[] = {
		{"/org.apache.dubbo.demo.GreeterService/sayHello", "org.apache.dubbo.demo.GreeterService"},
		{"/ctx/pkg.Service/Method", "pkg.Service"},
		{"/a/b/pkg.Service/Method?x=/y/z", "pkg.Service"},
		{"pkg.Service/Method", ""},
		{"/healthcheck", ""},
		{"/", ""},
		{"", ""},
		{"/pkg.Service/", ""},
		{"//Method", ""},
		{"?/a/b", ""},
		{"*", ""},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct str s = authority_path_service(str_of(rows[i].path));
		ck_assert_msg(str_is(s, rows[i].service), "'%s': '%.*s'", rows[i].path, (int)s.n, s.p);
	}
}
END_TEST

UNIT_SUITE("authority", names_come_out_lower_case_without_trailing_dot_and_with_their_port,
	short_names_are_expanded_by_namespace_and_domain, names_of_the_world_stay_as_they_are,
	a_host_of_two_labels_has_both_readings_literal_first, candidates_repeat_nothing_and_paths_have_none,
	what_sdks_say_of_a_socket_names_no_app, dubbo_go_gets_its_dots_back, aliases_come_first_whole_then_by_host_and_never_in_circles,
	attacks_are_bad_and_leave_nothing, a_nul_byte_is_a_control, length_is_bounded_in_and_out, without_an_app_the_namespace_is_default,
	cleaning_expands_nothing, the_service_stands_before_the_method_in_a_path)
