/* sidecar/cli_status: the page becomes a table that fits a screen, whatever names are in it. */
#include "sidecar/cli_status.h"
#include <stdio.h>
#include "sidecar/cli_rates.h"
#include "tests/unit.h"

#define DAEMON "\"version\":\"0.1.0\",\"pid\":42,\"uptime_s\":3725,\"ready\":true,\"draining\":false,\"memory_bytes\":1258291,\"calls\":9,\"calls_active\":1,\"calls_failed\":2"

static const char page[] = "{" DAEMON ",\"news\":[{\"of\":\"tomorrow\"}],\"apps\":["
	"{\"name\":\"shop\",\"state\":\"ok\",\"since_unix_ms\":1000,\"calls_active\":1,\"listen\":[{\"address\":\"/run/thinmesh/shop.sock\",\"connections\":3},"
	"{\"address\":\"127.0.0.1:15051\",\"connections\":0}]},"
	"{\"listen\":[{\"connections\":0,\"address\":\"@x\"}],\"calls_active\":0,\"name\":\"till\",\"state\":\"failing\",\"since_unix_ms\":61000}],"
	"\"services\":[{\"name\":\"demo:1\",\"lb\":\"random\",\"active\":1,\"pending\":4,\"connections\":1,\"calls\":7,\"errors\":2,\"endpoints\":["
	"{\"address\":\"10.0.0.1:1\",\"state\":\"up\",\"weight\":1,\"active\":1,\"connections\":1,\"calls\":5,\"errors\":0},"
	"{\"address\":\"10.0.0.2:1\",\"state\":\"backoff\",\"weight\":50,\"active\":0,\"connections\":0,\"calls\":2,\"errors\":2,\"zone\":\"b\",\"why\":\"connection refused\"}]},"
	"{\"name\":\"a-name-that-is-longer-than-what-a-column-may-take.svc:1\",\"lb\":\"random\",\"active\":0,\"pending\":0,\"connections\":0,\"calls\":0,\"errors\":0,\"endpoints\":[]}]}\n";

static const char shown[] =
	"thinmesh 0.1.0, pid 42: ready, up 1h 2m\n"
	"calls: 9, 1 open, 2 failed; memory: 1.2 MiB\n"
	"\n"
	"APP   STATE    FOR    OPEN  CONNS  LISTENS ON\n"
	"shop  ok       2m 0s     1      3  /run/thinmesh/shop.sock\n"
	"                                0  127.0.0.1:15051\n"
	"till  failing  1m 0s     0      0  @x\n"
	"\n"
	"SERVICE                                         STATE        LOAD  CONNS  CALLS  ERRORS\n"
	"demo:1                                          2 endpoints     1      1      7       2  random, 4 calls wait\n"
	"  10.0.0.1:1                                    up              1      1      5       0\n"
	"  10.0.0.2:1                                    backoff         0      0      2       2  weight 50, zone b\n"
	"    connection refused\n"
	"a-name-that-is-longer-than-what-a-column-may-take.svc:1\n"
	"                                                0 endpoints     0      0      0       0  random\n";

START_TEST(the_page_becomes_a_table)
{
	struct sb out = {0};

	ck_assert(cli_status_text(str_of(page), 121000, false, NULL, &out));
	ck_assert_str_eq(out.p, shown);
	sb_end(&out);
}
END_TEST

START_TEST(colours_add_nothing_but_colours)
{
	struct sb out = {0}, bare = {0};

	ck_assert(cli_status_text(str_of(page), 121000, true, NULL, &out));
	ck_assert_ptr_nonnull(strstr(out.p, "\033[32mok\033[0m"));
	ck_assert_ptr_nonnull(strstr(out.p, "\033[31mfailing\033[0m"));
	for (const char *p = out.p; *p; p++) {
		if (*p == '\033')
			p = strchr(p, 'm');
		else
			sb_char(&bare, *p);
	}
	ck_assert_str_eq(bare.p, shown);
	sb_end(&out);
	sb_end(&bare);
}
END_TEST

/* Who said what, who keeps whom back, and what the mesh was told. */
static const char rich[] = "{" DAEMON ",\"uptime_ms\":3725000,\"freeze\":{\"frozen\":false,\"settling\":true,\"thaws\":2},\"upgrade\":{\"state\":\"left\",\"upgrades\":1},\"apps\":["
	"{\"name\":\"shop\",\"state\":\"failing\",\"since_unix_ms\":1000,\"why\":\"its grpc check fails: connection refused\",\"by\":{\"uid\":1000,\"pid\":7},\"lease_ms\":19001,"
	"\"check\":{\"kind\":\"grpc\",\"state\":\"failed\"},\"processes\":2,\"in_flight\":3,\"registry\":\"istio\",\"told\":true,\"told_ok\":false,\"calls_active\":1,"
	"\"listen\":[{\"address\":\"/run/shop.sock\",\"connections\":3}],\"inbound\":[{\"address\":\"0.0.0.0:20880\",\"connections\":4}],"
	"\"health\":[{\"address\":\"0.0.0.0:15021\",\"connections\":0}]},"
	"{\"name\":\"till\",\"state\":\"ok\",\"since_unix_ms\":1000,\"why\":\"\",\"processes\":0,\"in_flight\":0,\"registry\":\"istio\",\"told\":false,\"calls_active\":0,\"listen\":[],\"inbound\":[]}],"
	"\"services\":[{\"name\":\"demo:1\",\"lb\":\"random\",\"active\":1,\"pending\":0,\"connections\":1,\"calls\":7,\"errors\":2,\"truth\":\"not serving\",\"checked\":true,\"panic\":true,"
	"\"healthy\":0,\"degraded\":1,\"check_pending\":0,\"check_failed\":1,\"ejected\":1,\"held\":0,\"tls\":0,\"endpoints_total\":1200,\"endpoints\":["
	"{\"address\":\"10.0.0.1:1\",\"state\":\"check failed\",\"health\":\"check failed\",\"by\":\"check\",\"weight\":1,\"active\":0,\"connections\":0,\"calls\":5,\"errors\":0,"
	"\"check\":{\"kind\":\"grpc\",\"state\":\"failed\",\"why\":\"NOT_SERVING\",\"since_s\":61,\"successes\":4,\"failures\":3}},"
	"{\"address\":\"10.0.0.2:1\",\"state\":\"ejected\",\"health\":\"ejected\",\"by\":\"outlier\",\"weight\":1,\"active\":0,\"connections\":1,\"calls\":2,\"errors\":2,"
	"\"check\":{\"kind\":\"grpc\",\"state\":\"passed\",\"since_s\":9,\"successes\":1,\"failures\":0},"
	"\"outlier\":{\"ejected\":true,\"degraded\":false,\"left_ms\":12000,\"why\":\"consecutive_5xx\",\"success_rate\":12.5,\"ejections\":2}},"
	"{\"address\":\"10.0.0.3:1\",\"state\":\"draining\",\"health\":\"draining\",\"by\":\"mesh\",\"weight\":1,\"active\":0,\"connections\":0,\"calls\":0,\"errors\":0}]}],"
	"\"xds\":[{\"view\":\"shop\",\"server\":\"istiod:15010\",\"state\":\"connected\",\"up\":true,\"since_s\":5,\"profile\":\"istio\",\"protocol\":\"delta\",\"types\":[],"
	"\"snapshot\":{\"state\":\"off\",\"on_disk\":false},\"health\":{\"told\":\"sent\",\"ok\":false,\"sent\":2,\"sent_s_ago\":4,\"registers\":true}}]}\n";

static const char rich_shown[] =
	"thinmesh 0.1.0, pid 42: ready, up 1h 2m; thawed 2 times, the last one just now; another process has taken over\n"
	"calls: 9, 1 open, 2 failed; memory: 1.2 MiB\n"
	"\n"
	"APP   STATE    FOR    OPEN  IN  CONNS  LISTENS ON\n"
	"shop  failing  2m 0s     1   3      3  /run/shop.sock\n"
	"                                    4  0.0.0.0:20880 (calls to it)\n"
	"                                    0  0.0.0.0:15021 (its health)\n"
	"    its grpc check fails: connection refused\n"
	"    said by uid 1000, pid 7; for 20s more; its grpc check: failed; 2 processes watched; istio has been told\n"
	"till  ok       2m 0s     0          0  nowhere\n"
	"    istio has not been told\n"
	"\n"
	"SERVICE       STATE           LOAD  CONNS  CALLS  ERRORS\n"
	"demo:1        1200 endpoints     1      1      7       2  random, 0 healthy, 1 degraded, 1 check failed, 1 ejected, panic: all are used, not serving\n"
	"  10.0.0.1:1  check failed       0      0      5       0\n"
	"    its grpc check: failed for 1m 1s: NOT_SERVING (4 passed, 3 failed)\n"
	"  10.0.0.2:1  ejected            0      1      2       2  grpc check passed, ejected 2 times\n"
	"    by its answers: ejected (consecutive_5xx), for 12s more; success rate 12.5 %\n"
	"  10.0.0.3:1  draining           0      0      0       0  says the mesh\n"
	"    and 1197 more: thinmesh status --all SERVICE\n"
	"\n"
	"control plane istiod:15010: connected for 5s, istio, delta; view shop\n"
	"  names: 0 wanted, 0 not answered yet, 0 absent, 0 stale; snapshot off\n"
	"  health: told fail, 4s ago\n";

START_TEST(who_is_not_well_is_shown_with_who_says_so)
{
	struct sb out = {0};

	ck_assert(cli_status_text(str_of(rich), 121000, false, NULL, &out));
	ck_assert_str_eq(out.p, rich_shown);
	sb_end(&out);
}
END_TEST

/* Who answers and how, and who we are: nothing of it where all is in plain text (the pages above). */
static const char encrypted[] = "{" DAEMON ",\"apps\":["
	"{\"name\":\"shop\",\"state\":\"ok\",\"since_unix_ms\":1000,\"identity\":{\"id\":\"spiffe://td/ns/x/sa/shop\",\"kind\":\"ca\",\"source\":\"ca istiod:15012\",\"state\":\"ready\",\"roots\":\"ready\","
	"\"age_s\":7200,\"expires_unix\":1,\"left_s\":79200,\"roots_expire_unix\":1,\"roots_left_s\":600,\"last_root\":\"O=a\",\"roots_ending\":false,\"renews_unix\":1,\"renews_s\":36000,\"why\":\"UNAVAILABLE: not now\"},\"calls_active\":0,\"listen\":[{\"address\":\"/run/shop.sock\",\"connections\":3}]},"
	"{\"name\":\"till\",\"state\":\"ok\",\"since_unix_ms\":1000,\"identity\":{\"id\":\"spiffe://td/ns/x/sa/till\",\"kind\":\"sds\",\"source\":\"sds unix:/run/x\",\"state\":\"waiting\",\"roots\":\"failing\"},"
	"\"calls_active\":0,\"listen\":[{\"address\":\"@x\",\"connections\":0}]},"
	"{\"name\":\"cart\",\"state\":\"ok\",\"since_unix_ms\":1000,\"identity\":{\"id\":\"spiffe://td/ns/x/sa/cart\",\"kind\":\"files\",\"source\":\"files\",\"state\":\"ready\",\"roots\":\"ready\","
	"\"age_s\":90000,\"expires_unix\":1,\"left_s\":0,\"ended_s\":3600,\"roots_left_s\":90000,\"last_root\":\"O=b\",\"roots_ending\":true},\"calls_active\":0,\"listen\":[{\"address\":\"@y\",\"connections\":0}]}],"
	"\"services\":[{\"name\":\"demo:1\",\"lb\":\"random\",\"active\":0,\"pending\":0,\"connections\":1,\"calls\":7,\"errors\":0,\"endpoints\":["
	"{\"address\":\"10.0.0.1:1\",\"state\":\"up\",\"weight\":1,\"active\":0,\"connections\":1,\"calls\":5,\"errors\":0,\"tls\":\"mtls\",\"tls_version\":\"TLSv1.3\",\"peer\":\"spiffe://td/ns/x/sa/demo\"},"
	"{\"address\":\"10.0.0.2:1\",\"state\":\"up\",\"weight\":1,\"active\":0,\"connections\":1,\"calls\":2,\"errors\":0,\"tls\":\"plain\"},"
	"{\"address\":\"10.0.0.3:1\",\"state\":\"idle\",\"weight\":1,\"active\":0,\"connections\":0,\"calls\":0,\"errors\":0}]}]}\n";

static const char encrypted_shown[] =
	"thinmesh 0.1.0, pid 42: ready, up 1h 2m\n"
	"calls: 9, 1 open, 2 failed; memory: 1.2 MiB\n"
	"\n"
	"APP   STATE  FOR    OPEN  CONNS  LISTENS ON\n"
	"shop  ok     2m 0s     0      3  /run/shop.sock\n"
	"    spiffe://td/ns/x/sa/shop, ca istiod:15012: 2h 0m old, ends in 22h 0m, renewed in 10h 0m\n"
	"    its certificate: last failure: UNAVAILABLE: not now\n"
	"till  ok     2m 0s     0      0  @x\n"
	"    spiffe://td/ns/x/sa/till, sds unix:/run/x: none yet\n"
	"    no certificate yet (waiting); no roots yet (failing)\n"
	"cart  ok     2m 0s     0      0  @y\n"
	"    spiffe://td/ns/x/sa/cart, files: 1d 1h old\n"
	"    its certificate has ended, 1h 0m ago; the last of its roots, 'O=b', ends in 1d 1h\n"
	"\n"
	"SERVICE       STATE        LOAD  CONNS  CALLS  ERRORS  TLS\n"
	"demo:1        3 endpoints     0      1      7       0         random\n"
	"  10.0.0.1:1  up              0      1      5       0  mtls   TLSv1.3, spiffe://td/ns/x/sa/demo\n"
	"  10.0.0.2:1  up              0      1      2       0  plain\n"
	"  10.0.0.3:1  idle            0      0      0       0\n";

START_TEST(who_is_encrypted_is_shown_with_who_answers_and_who_we_are)
{
	struct sb out = {0};

	ck_assert(cli_status_text(str_of(encrypted), 121000, false, NULL, &out));
	ck_assert_str_eq(out.p, encrypted_shown);
	sb_end(&out);
}
END_TEST

static const char certs[] = "{\"secrets\":["
	"{\"kind\":\"certificate\",\"app\":\"shop\",\"name\":\"default\",\"source\":\"ca istiod:15012\",\"state\":\"ready\",\"changes\":2,\"failures\":1,\"since_s\":60,\"why\":\"UNAVAILABLE: not\\nnow\","
	"\"id\":\"spiffe://td/ns/x/sa/shop\",\"subject\":\"O=shop\",\"issuer\":\"O=mesh\",\"serial\":\"01\",\"sans\":[\"spiffe://td/ns/x/sa/shop\",\"shop.x\"],\"not_before\":\"2026-01-01T00:00:00Z\","
	"\"not_after\":\"2026-01-02T00:00:00Z\",\"key\":\"EC 256\",\"chain\":1,\"expires_unix\":9,\"left_s\":7200,\"renews_unix\":1,\"renews_s\":0},"
	"{\"kind\":\"certificate\",\"app\":\"\",\"name\":\"old\",\"source\":\"files\",\"state\":\"ready\",\"changes\":1,\"failures\":0,\"since_s\":60,\"id\":\"old\",\"issuer\":\"O=mesh\",\"sans\":[],"
	"\"not_after\":\"2026-01-01T00:00:00Z\",\"expires_unix\":9,\"left_s\":0,\"ended_s\":61},"
	"{\"kind\":\"roots\",\"app\":\"shop\",\"name\":\"ROOTCA\",\"source\":\"sds unix:/run/x\",\"state\":\"waiting\",\"changes\":0,\"failures\":0},"
	"{\"kind\":\"roots\",\"app\":\"\",\"name\":\"/r.pem\",\"source\":\"files\",\"state\":\"ready\",\"changes\":1,\"failures\":0,\"since_s\":5,\"roots\":[{\"subject\":\"O=a\",\"not_after\":\"x\"},{\"subject\":\"O=b\"}],"
	"\"count\":2,\"crls\":0,\"trust_domains\":[],\"expires_unix\":9,\"left_s\":86400}],\"more\":3,\"transports\":1}\n";

static const char certs_shown[] =
	"NAME                      APP   KIND         STATE    FOR    ENDS IN    RENEWED IN  FROM\n"
	"spiffe://td/ns/x/sa/shop  shop  certificate  ready    1m 0s  2h 0m      now         ca istiod:15012\n"
	"    until 2026-01-02T00:00:00Z, issued by O=mesh, also shop.x\n"
	"    UNAVAILABLE: not\\x0anow\n"
	"old                             certificate  ended    1m 0s  1m 1s ago              files\n"
	"    until 2026-01-01T00:00:00Z, issued by O=mesh\n"
	"ROOTCA                    shop  roots        waiting                                sds unix:/run/x\n"
	"/r.pem                          roots        ready    5s     1d 0h                  files\n"
	"    O=a, O=b\n"
	"and 3 more\n";

START_TEST(certificates_and_roots_become_a_table)
{
	struct sb out = {0};

	ck_assert(cli_certs_text(str_of(certs), 121000, false, NULL, &out));
	ck_assert_str_eq(out.p, certs_shown);
	out.n = 0;
	ck_assert(cli_certs_text(STR("{\"secrets\":[],\"more\":0}\n"), 0, false, NULL, &out));
	sb_char(&out, '\0');
	ck_assert_str_eq(out.p, "no certificates and no roots: nothing is encrypted here\n");
	out.n = 0;
	for (size_t n = 0; n < sizeof(certs) - 3; n++) /* cut anywhere: told, and nothing read beyond it */
		ck_assert(!cli_certs_text(str_n(certs, n), 0, false, NULL, &out));
	sb_end(&out);
}
END_TEST

/* A page of one service and one endpoint, as `--watch` sees it. */
static bool watched(struct rates *rates, unsigned pid, unsigned uptime_ms, unsigned calls, unsigned errors, struct sb *out)
{
	char json[700];

	snprintf(json, sizeof(json), "{\"pid\":%u,\"uptime_ms\":%u,\"calls\":%u,\"calls_failed\":%u,\"apps\":[],\"services\":[{\"name\":\"demo:1\",\"calls\":%u,\"errors\":%u,"
		"\"endpoints\":[{\"address\":\"10.0.0.1:1\",\"calls\":%u,\"errors\":%u}]}]}", pid, uptime_ms, 2 * calls, errors, calls, errors, calls, errors);
	out->n = 0;
	return cli_status_text(str_of(json), 0, false, rates, out);
}

START_TEST(two_pages_tell_how_much_a_second)
{
	struct rates rates;
	struct sb out = {0};

	rates_init(&rates);
	ck_assert(watched(&rates, 1, 1000, 100, 10, &out));
	ck_assert_msg(!strstr(out.p, "/s") && !strstr(out.p, "/S"), "%s", out.p); /* of one page nobody knows */
	ck_assert(watched(&rates, 1, 3000, 340, 11, &out));
	ck_assert_msg(strstr(out.p, "calls: 680, 0 open, 11 failed, 240/s, failed 0.5/s; "), "%s", out.p);
	ck_assert_msg(strstr(out.p, "  CALLS   /S  ERRORS   /S\n"), "%s", out.p);
	ck_assert_msg(strstr(out.p, "    340  120      11  0.5\n"), "%s", out.p);
	/* Nothing has come. */
	ck_assert(watched(&rates, 1, 5000, 340, 11, &out));
	ck_assert_msg(strstr(out.p, "    340   0      11   0\n"), "%s", out.p);
	/* Another process counts anew. */
	ck_assert(watched(&rates, 2, 6000, 400, 11, &out));
	ck_assert_msg(!strstr(out.p, "/S"), "%s", out.p);
	ck_assert(watched(&rates, 2, 6500, 401, 11, &out));
	ck_assert_msg(strstr(out.p, "    401  2.0      11   0\n"), "%s", out.p);
	/* A service that was given up as idle and born anew; a clock that did not move. */
	ck_assert(watched(&rates, 2, 7500, 3, 0, &out));
	ck_assert_msg(!strstr(out.p, "/S"), "%s", out.p);
	ck_assert(watched(&rates, 2, 7500, 4, 0, &out));
	ck_assert_msg(!strstr(out.p, "/S"), "%s", out.p);
	rates_end(&rates);
	sb_end(&out);
}
END_TEST

START_TEST(every_cut_of_a_rich_page_is_told_as_such)
{
	for (size_t n = 0; n < sizeof(rich) - 2; n++) {
		struct sb out = {0};
		ck_assert_msg(!cli_status_text(str_n(rich, n), 0, false, NULL, &out), "%zu bytes of it", n);
		sb_end(&out);
	}
}
END_TEST

START_TEST(a_daemon_with_nothing_says_so)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"draining\":true,\"apps\":[],\"services\":[]}"), 0, false, NULL, &out));
	ck_assert_ptr_nonnull(strstr(out.p, ": draining, "));
	ck_assert_ptr_nonnull(strstr(out.p, "\nno apps\n"));
	ck_assert_ptr_nonnull(strstr(out.p, "\nno services\n"));
	sb_end(&out);
}
END_TEST

START_TEST(an_app_that_listens_nowhere_is_shown)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"apps\":[{\"name\":\"shop\",\"state\":\"unknown\",\"listen\":[]}],\"services\":[]}"), 0, false, NULL, &out));
	ck_assert_ptr_nonnull(strstr(out.p, "shop  unknown"));
	ck_assert_ptr_nonnull(strstr(out.p, "nowhere\n"));
	sb_end(&out);
}
END_TEST

START_TEST(a_name_cannot_move_the_cursor)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"apps\":[{\"name\":\"a\\u001b[2J\\u009b\\n\",\"listen\":[]}],\"services\":[]}"), 0, false, NULL, &out));
	ck_assert_ptr_nonnull(strstr(out.p, "a\\x1b[2J\\u009b\\x0a  "));
	ck_assert_ptr_null(strchr(out.p, '\033'));
	sb_end(&out);
}
END_TEST

static const char *const strange[] = {"", "no such page\n", "[]", "{}", "{\"apps\":[]}", "{\"apps\":{},\"services\":[]}", "{\"apps\":[1],\"services\":[]}",
	"{\"apps\":[],\"services\":[{\"name\":\"x\",\"endpoints\":7}]}", "{\"pid\":\"me\",\"apps\":[],\"services\":[]}"};

START_TEST(another_page_is_told_as_such)
{
	struct sb out = {0};

	ck_assert_msg(!cli_status_text(str_of(strange[_i]), 0, false, NULL, &out), "%s", strange[_i]);
	sb_end(&out);
}
END_TEST

START_TEST(every_cut_of_the_page_is_told_as_such)
{
	for (size_t n = 0; n < sizeof(page) - 2; n++) {
		struct sb out = {0};
		ck_assert_msg(!cli_status_text(str_n(page, n), 0, false, NULL, &out), "%zu bytes of it", n);
		sb_end(&out);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("cli_status");
	TCase *t = tcase_create("cli_status");
	tcase_add_test(t, the_page_becomes_a_table);
	tcase_add_test(t, who_is_not_well_is_shown_with_who_says_so);
	tcase_add_test(t, who_is_encrypted_is_shown_with_who_answers_and_who_we_are);
	tcase_add_test(t, certificates_and_roots_become_a_table);
	tcase_add_test(t, two_pages_tell_how_much_a_second);
	tcase_add_test(t, every_cut_of_a_rich_page_is_told_as_such);
	tcase_add_test(t, colours_add_nothing_but_colours);
	tcase_add_test(t, a_daemon_with_nothing_says_so);
	tcase_add_test(t, an_app_that_listens_nowhere_is_shown);
	tcase_add_test(t, a_name_cannot_move_the_cursor);
	tcase_add_loop_test(t, another_page_is_told_as_such, 0, UNIT_COUNT(strange));
	tcase_add_test(t, every_cut_of_the_page_is_told_as_such);
	suite_add_tcase(s, t);
	return s;
}
