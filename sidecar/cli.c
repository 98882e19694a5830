/* sidecar/cli: finds the command, and what all of them share: reading options, finding a socket, telling what is wrong. */
#include "sidecar/cli.h"
#include "sidecar/cli_int.h"
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

/* thinmesh.yaml's and the units' places (product.md, "Names that are fixed"). */
static const char run_dir[] = "/run/thinmesh";
static const char control_path[] = "/run/thinmesh/control.sock";

int cli_main(const char *command, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} rows[] = {{"call", cli_call}, {"ok", cli_ok}, {"fail", cli_fail}, {"ready", cli_ready}, {"status", cli_status}};

	if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
		cli_help(stdout, argc > 1 ? argv[1] : NULL);
		return cli_print("help", STR(""), CLI_OK);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(command, rows[i].name) != 0)
			continue;
		/* Asked for help, whatever else is wrong with the line. */
		for (int k = 1; k < argc && strcmp(argv[k], "--") != 0; k++)
			if (strcmp(argv[k], "--help") == 0 || strcmp(argv[k], "-h") == 0) {
				cli_help(stdout, command);
				return cli_print(command, STR(""), CLI_OK);
			}
		return rows[i].fn(argc, argv);
	}
	return -1;
}

/* ---- saying ------------------------------------------------------------------------------------------------------------------ */

static void say(const char *command, const char *fmt, va_list ap)
{
	fprintf(stderr, "thinmesh %s: ", command);
	vfprintf(stderr, fmt, ap);
}

void cli_say(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(command, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int cli_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(command, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see 'thinmesh %s --help'\n", command);
	return CLI_USAGE;
}

void cli_printable(struct sb *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c < 0x20 || c == 0x7f)
			sb_fmt(out, "\\x%02x", c);
		else if (c == 0xc2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xa0) /* C1 controls, which terminals obey as well */
			sb_fmt(out, "\\u00%02x", (unsigned char)text.p[++i]);
		else
			sb_char(out, (char)c);
	}
}

int cli_print(const char *command, struct str text, int exit_code)
{
	if ((text.n == 0 || fwrite(text.p, 1, text.n, stdout) == text.n) && fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	cli_say(command, "cannot write to the standard output: %s", strerror(errno));
	return exit_code ? exit_code : CLI_NO;
}

/* ---- options ----------------------------------------------------------------------------------------------------------------- */

static int bad(const struct cli_args *a, const char *fmt, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), fmt, what);
	cli_usage(a->command, "%s", text);
	return CLI_BAD;
}

static int next_long(struct cli_args *a, const struct cli_option *options, const char *arg, const char **ret_value)
{
	const char *equals = strchr(arg, '=');
	struct str name = equals ? str_n(arg + 2, (size_t)(equals - arg) - 2) : str_of(arg + 2);

	for (const struct cli_option *o = options; o->code; o++) {
		if (!o->name || !str_is(name, o->name))
			continue;
		if (!o->takes)
			return equals ? bad(a, "'%.100s' takes no value", arg) : o->code;
		if (o->takes == CLI_MAYBE) {
			*ret_value = equals ? equals + 1 : NULL;
			return o->code;
		}
		if (!equals && a->at >= a->argc)
			return bad(a, "'%.100s' needs a value", arg);
		*ret_value = equals ? equals + 1 : a->argv[a->at++];
		return o->code;
	}
	return bad(a, "there is no option '%.100s'", arg);
}

static int next_letter(struct cli_args *a, const struct cli_option *options, const char *arg, const char **ret_value)
{
	for (const struct cli_option *o = options; o->code; o++) {
		if (o->code != (unsigned char)arg[1])
			continue;
		if (!o->takes)
			return arg[2] ? bad(a, "'%.100s': letters are not joined here", arg) : o->code;
		if (!arg[2] && a->at >= a->argc)
			return bad(a, "'%.100s' needs a value", arg);
		*ret_value = arg[2] ? arg + 2 : a->argv[a->at++];
		return o->code;
	}
	return bad(a, "there is no option '%.100s'", arg);
}

int cli_next(struct cli_args *a, const struct cli_option *options, const char **ret_value)
{
	if (a->at >= a->argc)
		return CLI_END;
	const char *arg = a->argv[a->at++];
	if (!a->raw && strcmp(arg, "--") == 0) {
		a->raw = true;
		return cli_next(a, options, ret_value);
	}
	if (!a->raw && arg[0] == '-' && arg[1] == '-')
		return next_long(a, options, arg, ret_value);
	if (!a->raw && arg[0] == '-' && arg[1])
		return next_letter(a, options, arg, ret_value);
	*ret_value = arg;
	return CLI_OPERAND;
}

bool cli_duration(const char *command, const char *option, const char *text, uint64_t *ret_ns)
{
	if (str_duration_ns(str_of(text), ret_ns))
		return true;
	cli_usage(command, "%s: '%.40s' is no duration; expected 500ms, 5s, 2m or the like", option, text);
	return false;
}

/* ---- sockets ----------------------------------------------------------------------------------------------------------------- */

bool cli_address(const char *text, struct addr *ret, struct sb *why)
{
	struct str s = str_of(text);
	int r;

	if (addr_parse(s, ret) == 0 && !addr_is_unix(ret))
		return true;
	if (str_starts(s, STR("unix:")))
		s = str_cut(s, 5, s.n);
	while (str_starts(s, STR("//"))) /* unix:///run/x.sock, as gRPC writes it */
		s = str_cut(s, 1, s.n);
	if (s.n == 0) {
		sb_str(why, "no socket is named by ''");
		return false;
	}
	if (s.p[0] == '/' || s.p[0] == '@') {
		r = addr_unix(s, ret);
	} else {
		char *here = getcwd(NULL, 0), *path = xasprintf("%s/%.*s", here ? here : "", (int)s.n, s.p);
		r = here ? addr_unix(str_of(path), ret) : -errno;
		free(path);
		free(here);
	}
	if (r == 0)
		return true;
	sb_fmt(why, r == -ENAMETOOLONG ? "the socket's path '%s' is too long: at most 107 bytes" : "'%s' is no socket: expected a path, @name or IP:PORT", text);
	return false;
}

enum { NAMES_TOLD = 5, ENTRIES_MAX = 100000 };

bool cli_find_socket(const char *env, const char *dir, struct sb *ret, struct sb *why)
{
	if (env && *env) {
		sb_str(ret, env);
		return true;
	}
	DIR *d = opendir(dir);
	struct sb names = {0};
	size_t count = 0;
	struct dirent *e;
	for (int i = 0; d && i < ENTRIES_MAX && (e = readdir(d)); i++) {
		struct str name = str_of(e->d_name);
		struct stat st;
		if (!str_ends(name, STR(".sock")) || name.p[0] == '.' || str_is(name, "control.sock") || fstatat(dirfd(d), e->d_name, &st, 0) < 0 ||
			!S_ISSOCK(st.st_mode))
			continue;
		if (++count <= NAMES_TOLD)
			sb_fmt(&names, "%s%s/%s", count > 1 ? ", " : "", dir, e->d_name);
	}
	if (d)
		closedir(d);
	if (count == 1)
		sb_add(ret, names.p, names.n);
	else if (count)
		sb_fmt(why, "%zu sockets are in %s (%.*s%s): say which with -s SOCKET or THINMESH_SOCKET", count, dir, (int)names.n, names.p,
			count > NAMES_TOLD ? ", ..." : "");
	else
		sb_fmt(why, "no app's socket is in %s: say where it is with -s SOCKET or THINMESH_SOCKET", dir);
	sb_end(&names);
	return count == 1;
}

static bool told(const char *command, struct sb *why, bool fine)
{
	if (!fine)
		cli_say(command, "%.*s", (int)why->n, why->p);
	sb_end(why);
	return fine;
}

bool cli_app_socket(const char *command, const char *given, struct sb *ret_text, struct addr *ret)
{
	struct sb why = {0};

	if (given)
		sb_str(ret_text, given);
	else if (!cli_find_socket(getenv("THINMESH_SOCKET"), run_dir, ret_text, &why))
		return told(command, &why, false);
	return told(command, &why, cli_address(ret_text->p ? ret_text->p : "", ret, &why));
}

bool cli_control_socket(const char *command, const char *given, struct sb *ret_text, struct addr *ret)
{
	const char *env = getenv("THINMESH_CONTROL");
	struct sb why = {0};

	sb_str(ret_text, given ? given : env && *env ? env : control_path);
	return told(command, &why, cli_address(ret_text->p ? ret_text->p : "", ret, &why));
}
