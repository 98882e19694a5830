/* sidecar/cli_post: `ok`, `fail` and `ready`: one post or one question, for hooks (postStart, preStop, ExecStopPost=) and probes. */
#include "sidecar/cli_client.h"
#include "sidecar/cli_int.h"
#include "base/mem.h"
#include <stdlib.h>

/* Beyond what the daemon was asked to wait: a hook that hangs is killed without a word, so it had better say something itself. */
static const uint64_t patience_ns = UINT64_C(5) * 1000000000;

/* The first line of a page, for a sentence. */
static void first_line(struct sb *out, const struct sb *body)
{
	struct str s = sb_view(body);
	ptrdiff_t end = str_find(s, '\n');

	cli_printable(out, str_cut(s, 0, end < 0 ? (s.n < 200 ? s.n : 200) : (size_t)end));
}

static int post(const char *command, const char *socket, const struct addr *to, const char *path, uint64_t timeout_ns)
{
	struct sb body = {0}, line = {0};
	int status = cli_ask(command, socket, to, "POST", path, timeout_ns, &body);

	if (status >= 0 && status != 200) {
		first_line(&line, &body);
		cli_say(command, "'%s' answered %d to POST %s (%.*s); is it the socket of an app?", socket, status, path, (int)line.n, line.n ? line.p : "");
	}
	sb_end(&line);
	sb_end(&body);
	return status == 200 ? CLI_OK : CLI_NO;
}

static int post_command(const struct cli_option *options, const char *path, int argc, char **argv)
{
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	const char *value, *socket = NULL, *wait = NULL;
	uint64_t wait_ns = 0, timeout_ns = 0;
	int code;

	while ((code = cli_next(&a, options, &value)) != CLI_END) {
		switch (code) {
		case 's':
			socket = value;
			break;
		case CLI_WAIT:
			wait = value;
			if (!cli_duration(argv[0], "--wait", value, &wait_ns))
				return CLI_USAGE;
			break;
		case CLI_TIMEOUT:
			if (!cli_duration(argv[0], "--timeout", value, &timeout_ns))
				return CLI_USAGE;
			break;
		case CLI_OPERAND:
			return cli_usage(argv[0], "'%.100s' is one word too many", value);
		default:
			return CLI_USAGE;
		}
	}
	struct sb text = {0};
	struct addr to;
	int r = CLI_NO;
	if (cli_app_socket(argv[0], socket, &text, &to)) {
		char *whole = wait ? xasprintf("%s?wait=%s", path, wait) : xstrdup(path);
		r = post(argv[0], text.p, &to, whole, timeout_ns ? timeout_ns : wait_ns + patience_ns);
		free(whole);
	}
	sb_end(&text);
	return r;
}

int cli_ok(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};

	return post_command(options, "/healthcheck/ok", argc, argv);
}

int cli_fail(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_WAIT, "wait", true}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};

	return post_command(options, "/healthcheck/fail", argc, argv);
}

int cli_ready(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	const char *value, *socket = NULL;
	uint64_t timeout_ns = patience_ns;
	int code;

	while ((code = cli_next(&a, options, &value)) != CLI_END) {
		switch (code) {
		case 's':
			socket = value;
			break;
		case CLI_TIMEOUT:
			if (!cli_duration(argv[0], "--timeout", value, &timeout_ns))
				return CLI_USAGE;
			break;
		case CLI_OPERAND:
			return cli_usage(argv[0], "'%.100s' is one word too many", value);
		default:
			return CLI_USAGE;
		}
	}
	struct sb text = {0}, body = {0}, line = {0};
	struct addr to;
	int status = -1;
	if (cli_control_socket(argv[0], socket, &text, &to))
		status = cli_ask(argv[0], text.p, &to, "GET", "/ready", timeout_ns, &body);
	int r = status == 200 ? CLI_OK : CLI_NO;
	if (status == 200 || status == 503) { /* "ready", or what is the matter: probes show it when they fail */
		first_line(&line, &body);
		sb_char(&line, '\n');
		r = cli_print(argv[0], sb_view(&line), r);
	} else if (status >= 0) {
		cli_say(argv[0], "'%s' answered %d to GET /ready; is it a control socket?", text.p, status);
	}
	sb_end(&line);
	sb_end(&body);
	sb_end(&text);
	return r;
}
