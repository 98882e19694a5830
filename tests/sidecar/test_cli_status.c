/* sidecar/cli_status: the page becomes a table that fits a screen, whatever names are in it. */
#include "sidecar/cli_status.h"
#include <stdio.h>
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

	ck_assert(cli_status_text(str_of(page), 121000, false, &out));
	ck_assert_str_eq(out.p, shown);
	sb_end(&out);
}
END_TEST

START_TEST(colours_add_nothing_but_colours)
{
	struct sb out = {0}, bare = {0};

	ck_assert(cli_status_text(str_of(page), 121000, true, &out));
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

START_TEST(a_daemon_with_nothing_says_so)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"draining\":true,\"apps\":[],\"services\":[]}"), 0, false, &out));
	ck_assert_ptr_nonnull(strstr(out.p, ": draining, "));
	ck_assert_ptr_nonnull(strstr(out.p, "\nno apps\n"));
	ck_assert_ptr_nonnull(strstr(out.p, "\nno services\n"));
	sb_end(&out);
}
END_TEST

START_TEST(an_app_that_listens_nowhere_is_shown)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"apps\":[{\"name\":\"shop\",\"state\":\"unknown\",\"listen\":[]}],\"services\":[]}"), 0, false, &out));
	ck_assert_ptr_nonnull(strstr(out.p, "shop  unknown"));
	ck_assert_ptr_nonnull(strstr(out.p, "nowhere\n"));
	sb_end(&out);
}
END_TEST

START_TEST(a_name_cannot_move_the_cursor)
{
	struct sb out = {0};

	ck_assert(cli_status_text(STR("{\"apps\":[{\"name\":\"a\\u001b[2J\\u009b\\n\",\"listen\":[]}],\"services\":[]}"), 0, false, &out));
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

	ck_assert_msg(!cli_status_text(str_of(strange[_i]), 0, false, &out), "%s", strange[_i]);
	sb_end(&out);
}
END_TEST

START_TEST(every_cut_of_the_page_is_told_as_such)
{
	for (size_t n = 0; n < sizeof(page) - 2; n++) {
		struct sb out = {0};
		ck_assert_msg(!cli_status_text(str_n(page, n), 0, false, &out), "%zu bytes of it", n);
		sb_end(&out);
	}
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("cli_status");
	TCase *t = tcase_create("cli_status");
	tcase_add_test(t, the_page_becomes_a_table);
	tcase_add_test(t, colours_add_nothing_but_colours);
	tcase_add_test(t, a_daemon_with_nothing_says_so);
	tcase_add_test(t, an_app_that_listens_nowhere_is_shown);
	tcase_add_test(t, a_name_cannot_move_the_cursor);
	tcase_add_loop_test(t, another_page_is_told_as_such, 0, UNIT_COUNT(strange));
	tcase_add_test(t, every_cut_of_the_page_is_told_as_such);
	suite_add_tcase(s, t);
	return s;
}
