/* sidecar/cli: options, sockets, what is said to a terminal; and help that knows every command. */
#include "sidecar/cli.h"
#include "sidecar/cli_int.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "tests/unit.h"

/* stderr of the commands under test is not the test's output. */
static void quiet(void)
{
	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
}

static const struct cli_option options[] = {{'s', "socket", true}, {'v', NULL, false}, {CLI_JSON, "json", false}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};

/* args: separated by '|'. told: what comes, "CODE=VALUE " each. */
static const struct { const char *args, *told; } lines[] = {
	{"", ""},
	{"a|b", "*=a *=b "},
	{"-s|x|a", "s=x *=a "},
	{"a|-sx", "*=a s=x "},
	{"--socket|x", "s=x "},
	{"--socket=x", "s=x "},
	{"--socket=", "s= "},
	{"-v|--json|-s|-", "v= j= s=- "},
	{"-", "*=- "},
	{"-s|--json", "s=--json "},
	{"--timeout=1s", "t=1s "},
	{"--|-s|--json|--", "*=-s *=--json *=-- "},
	{"-s", "bad"},
	{"--socket", "bad"},
	{"--json=yes", "bad"},
	{"--jso", "bad"},
	{"-x", "bad"},
	{"-vs", "bad"},
	{"a|--what|b", "*=a bad"},
};

START_TEST(options_come_in_every_usual_form)
{
	char *text = xstrdup(lines[_i].args), *argv[10] = {(char *)(uintptr_t) "call"}, *at = text;
	int argc = 1, code;
	struct sb told = {0};

	quiet();
	for (char *end; *at; at = end + 1) {
		end = strchr(at, '|');
		argv[argc++] = at;
		if (!end)
			break;
		*end = '\0';
	}
	struct cli_args a = {.command = "call", .argc = argc, .argv = argv, .at = 1};
	const char *value = "";
	while ((code = cli_next(&a, options, &value)) != CLI_END) {
		if (code == CLI_BAD) {
			sb_str(&told, "bad");
			break;
		}
		sb_fmt(&told, "%c=%s ", code == CLI_OPERAND ? '*' : code == CLI_JSON ? 'j' : code == CLI_TIMEOUT ? 't' : code, value);
		value = "";
	}
	ck_assert_str_eq(told.p ? told.p : "", lines[_i].told);
	sb_end(&told);
	free(text);
}
END_TEST

static const struct { const char *text, *meant; } addresses[] = {
	{"/run/thinmesh/shop.sock", "unix:/run/thinmesh/shop.sock"},
	{"unix:/run/shop.sock", "unix:/run/shop.sock"},
	{"unix:///run/shop.sock", "unix:/run/shop.sock"},
	{"@shop", "unix:@shop"},
	{"unix:@shop", "unix:@shop"},
	{"shop.sock", "unix:/tmp/shop.sock"},
	{"./a/shop.sock", "unix:/tmp/./a/shop.sock"},
	{"unix:shop.sock", "unix:/tmp/shop.sock"},
	{"127.0.0.1:15051", "127.0.0.1:15051"},
	{"[::1]:15051", "[::1]:15051"},
	{"", NULL},
	{"unix:", NULL},
	{"@", NULL},
	{"/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678", NULL},
};

START_TEST(a_socket_is_named_as_people_and_sdks_do)
{
	struct sb why = {0};
	struct addr a;
	char text[ADDR_TEXT];

	ck_assert_int_eq(chdir("/tmp"), 0);
	bool fine = cli_address(addresses[_i].text, &a, &why);
	ck_assert_msg(fine == (addresses[_i].meant != NULL), "'%s': %s", addresses[_i].text, why.p ? why.p : "");
	if (fine)
		ck_assert_str_eq(addr_text(&a, text), addresses[_i].meant);
	else
		ck_assert_ptr_nonnull(strstr(why.p, "socket"));
	sb_end(&why);
}
END_TEST

/* ---- a folder of sockets ---- */

struct folder { char path[64]; };

static void folder_make(struct folder *f)
{
	snprintf(f->path, sizeof(f->path), "/tmp/tm-cli-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->path));
}

static void folder_socket(const struct folder *f, const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", f->path, name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
}

static void folder_remove(const struct folder *f, const char *const *names)
{
	char path[128];

	for (; *names; names++) {
		snprintf(path, sizeof(path), "%s/%s", f->path, *names);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(f->path), 0);
}

START_TEST(the_only_socket_beside_the_control_socket_is_found)
{
	struct folder f;
	struct sb found = {0}, why = {0}, wanted = {0};
	char path[128];

	folder_make(&f);
	folder_socket(&f, "control.sock");
	ck_assert(!cli_find_socket(NULL, f.path, &found, &why));
	ck_assert_ptr_nonnull(strstr(why.p, "THINMESH_SOCKET"));
	folder_socket(&f, "shop.sock");
	snprintf(path, sizeof(path), "%s/file.sock", f.path);
	fclose(fopen(path, "w")); /* no socket, whatever its name */
	why.n = 0;
	ck_assert(cli_find_socket("", f.path, &found, &why));
	sb_fmt(&wanted, "%s/shop.sock", f.path);
	ck_assert_str_eq(found.p, wanted.p);
	found.n = 0;
	ck_assert(cli_find_socket("/other.sock", f.path, &found, &why));
	ck_assert_str_eq(found.p, "/other.sock");
	folder_socket(&f, "till.sock");
	found.n = why.n = 0;
	ck_assert(!cli_find_socket(NULL, f.path, &found, &why));
	ck_assert_ptr_nonnull(strstr(why.p, "shop.sock"));
	ck_assert_ptr_nonnull(strstr(why.p, "till.sock"));
	ck_assert_ptr_null(strstr(why.p, "control.sock"));
	folder_remove(&f, (const char *const[]){"control.sock", "shop.sock", "till.sock", "file.sock", NULL});
	sb_end(&found);
	sb_end(&why);
	sb_end(&wanted);
}
END_TEST

START_TEST(a_folder_that_is_not_there_has_no_sockets)
{
	struct sb found = {0}, why = {0};

	ck_assert(!cli_find_socket(NULL, "/tmp/no such folder", &found, &why));
	ck_assert_ptr_nonnull(strstr(why.p, "-s SOCKET"));
	sb_end(&why);
}
END_TEST

/* ---- command lines ---- */

static const struct { const char *command, *args[6]; int code; } commands[] = {
	{"call", {NULL}, 2},
	{"call", {"demo:1"}, 2},
	{"call", {"demo:1/"}, 2},
	{"call", {"a/b/c", "d/e/f"}, 2},
	{"call", {"a/b /c"}, 2},
	{"call", {"-d", "xyz", "a/b/c"}, 2},
	{"call", {"-d", "abc", "a/b/c"}, 2},
	{"call", {"-d", "@/no/such/file", "a/b/c"}, 2},
	{"call", {"-H", "no colon", "a/b/c"}, 2},
	{"call", {"-H", ": empty", "a/b/c"}, 2},
	{"call", {"-H", ":path: /x", "a/b/c"}, 2},
	{"call", {"-H", "connection: close", "a/b/c"}, 2},
	{"call", {"-H", "a b: c", "a/b/c"}, 2},
	{"call", {"-H", "a: b\nc", "a/b/c"}, 2},
	{"call", {"--timeout", "5", "a/b/c"}, 2},
	{"call", {"-s", "/no/such.sock", "a/b/c"}, 1},
	{"ok", {"now"}, 2},
	{"ok", {"--wait", "1s"}, 2},
	{"ok", {"-s", "/no/such.sock"}, 1},
	{"ok", {"-s", "/no/such.sock", "--ttl", "30s", "--pid=1"}, 1},
	{"ok", {"-s", "/no/such.sock", "--watch"}, 1},
	{"ok", {"--ttl", "30"}, 2},
	{"ok", {"--pid", "0"}, 2},
	{"ok", {"--pid", "me"}, 2},
	{"ok", {"--pid", "99999999999"}, 2},
	{"ok", {"--pid", "1", "--watch"}, 2},
	{"ok", {"--watch=1"}, 2},
	{"fail", {"--ttl", "1s"}, 2},
	{"fail", {"--pid", "1"}, 2},
	{"fail", {"--wait", "soon"}, 2},
	{"fail", {"-s", "/no/such.sock", "--wait=1s"}, 1},
	{"ready", {"--json"}, 2},
	{"ready", {"-s", "/no/such.sock"}, 1},
	{"status", {"demo", "all"}, 2},
	{"status", {"--watch=often"}, 2},
	{"status", {"--watch=-1"}, 2},
	{"status", {"--json=yes"}, 2},
	{"status", {"-s", "/no/such.sock", "--json"}, 1},
	{"run", {NULL}, -1},
	{"rum", {NULL}, -1},
};

START_TEST(a_wrong_line_is_2_and_nobody_there_is_1)
{
	char *argv[8] = {(char *)(uintptr_t)commands[_i].command};
	int argc = 1;

	quiet();
	for (; argc <= 6 && commands[_i].args[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)commands[_i].args[argc - 1];
	ck_assert_int_eq(cli_main(commands[_i].command, argc, argv), commands[_i].code);
}
END_TEST

START_TEST(help_names_every_command_and_each_has_its_own)
{
	static const char *const names[] = {"run", "check", "call", "ok", "fail", "ready", "status"};
	char *all = NULL, *one = NULL, line[32];
	size_t n = 0;

	FILE *f = open_memstream(&all, &n);
	cli_help(f, NULL);
	fclose(f);
	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		snprintf(line, sizeof(line), "\n  %s ", names[i]);
		ck_assert_msg(strstr(all, line) != NULL, "%s is not in the list", names[i]);
		f = open_memstream(&one, &n);
		cli_help(f, names[i]);
		fclose(f);
		snprintf(line, sizeof(line), "Usage: thinmesh %s ", names[i]);
		ck_assert_msg(strstr(one, line) != NULL, "%s has no help", names[i]);
		for (const char *p = one; *p; p = strchr(p, '\n') + 1)
			ck_assert_msg(strcspn(p, "\n") <= 110, "too long: %.*s", (int)strcspn(p, "\n"), p);
		free(one);
	}
	free(all);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("cli");
	TCase *t = tcase_create("cli");
	tcase_add_loop_test(t, options_come_in_every_usual_form, 0, UNIT_COUNT(lines));
	tcase_add_loop_test(t, a_socket_is_named_as_people_and_sdks_do, 0, UNIT_COUNT(addresses));
	tcase_add_test(t, the_only_socket_beside_the_control_socket_is_found);
	tcase_add_test(t, a_folder_that_is_not_there_has_no_sockets);
	tcase_add_loop_test(t, a_wrong_line_is_2_and_nobody_there_is_1, 0, UNIT_COUNT(commands));
	tcase_add_test(t, help_names_every_command_and_each_has_its_own);
	suite_add_tcase(s, t);
	return s;
}
