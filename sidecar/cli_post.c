/* sidecar/cli_post: `ok`, `fail` and `ready`: one post or one question, for hooks (postStart, preStop, ExecStopPost=) and probes. */
#include "sidecar/cli_client.h"
#include "sidecar/cli_int.h"
#include "sidecar/cli_json.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beyond what the daemon was asked to wait: a hook that hangs is killed without a word, so it had better say something itself. */
static const uint64_t patience_ns = UINT64_C(5) * 1000000000;

/* The first line of a page, for a sentence. */
static void first_line(struct sb *out, const struct sb *body)
{
	struct str s = sb_view(body);
	ptrdiff_t end = str_find(s, '\n');

	cli_printable(out, str_cut(s, 0, end < 0 ? (s.n < 200 ? s.n : 200) : (size_t)end));
}

/* The time was over before all was: no failure of the hook (a unit that stops would be told as failed), but a person wants to know. */
static void say_undrained(const char *command, const struct sb *page)
{
	struct json r = json_of(sb_view(page));
	struct sb key = {0}, in_flight = {0}, state = {0};
	bool drained = true;

	json_open(&r, '{');
	while (json_key(&r, &key)) {
		if (str_is(sb_view(&key), "drained"))
			drained = json_bool(&r);
		else if (str_is(sb_view(&key), "in_flight"))
			json_text(&r, &in_flight);
		else if (str_is(sb_view(&key), "state"))
			json_text(&r, &state);
		else
			json_skip(&r);
	}
	if (!r.bad && !drained && in_flight.n)
		cli_say(command, "told, but the time of --wait was over before all calls had ended: %.*s in flight, state %.*s", (int)in_flight.n, in_flight.p, (int)state.n, state.p);
	else if (!r.bad && !drained)
		cli_say(command, "told, but the time of --wait was over before the mesh had heard of it (and drain.announce was over): state %.*s", (int)state.n, state.p ? state.p : "");
	sb_end(&key);
	sb_end(&in_flight);
	sb_end(&state);
}

static int post(const char *command, const char *socket, const struct addr *to, const char *path, uint64_t timeout_ns)
{
	struct sb body = {0}, line = {0};
	int status = cli_ask(command, socket, to, "POST", path, timeout_ns, &body);

	if (status == 200)
		say_undrained(command, &body);
	else if (status >= 0)
		first_line(&line, &body);
	if (status == 400 || status == 403 || status == 429 || (status == 404 && strstr(path, "pid=")))
		cli_say(command, "'%s' refused: %.*s", socket, (int)line.n, line.n ? line.p : "");
	else if (status >= 0 && status != 200)
		cli_say(command, "'%s' answered %d to POST %s (%.*s); is it the socket of an app?", socket, status, path, (int)line.n, line.n ? line.p : "");
	sb_end(&line);
	sb_end(&body);
	return status == 200 ? CLI_OK : CLI_NO;
}

/* What the options of a post make of its query. */
struct post_words { const char *socket; struct sb query; uint64_t wait_ns, timeout_ns; bool names_process; };

static void query_add(struct post_words *w, const char *key, const char *value)
{
	sb_fmt(&w->query, "%c%s=%s", w->query.n ? '&' : '?', key, value);
}

/* Our own number goes along: a daemon that knows us by another one lives in another PID namespace, and would watch somebody else. */
static int add_process(const char *command, struct post_words *w, uint64_t pid)
{
	char text[24];

	if (w->names_process)
		return cli_usage(command, "--pid and --watch name one process, once");
	w->names_process = true;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)pid);
	query_add(w, "pid", text);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	query_add(w, "self", text);
	return CLI_OK;
}

/* CLI_OK, or CLI_USAGE: told. */
static int post_option(const char *command, int code, const char *value, struct post_words *w)
{
	uint64_t n;

	switch (code) {
	case 's':
		w->socket = value;
		return CLI_OK;
	case CLI_TIMEOUT:
		return cli_duration(command, "--timeout", value, &w->timeout_ns) ? CLI_OK : CLI_USAGE;
	case CLI_WAIT:
		if (!cli_duration(command, "--wait", value, &w->wait_ns))
			return CLI_USAGE;
		query_add(w, "wait", value);
		return CLI_OK;
	case CLI_TTL:
		if (!cli_duration(command, "--ttl", value, &n))
			return CLI_USAGE;
		query_add(w, "ttl", value);
		return CLI_OK;
	case CLI_PID:
		if (!str_u64(str_of(value), &n) || n == 0 || n > INT32_MAX)
			return cli_usage(command, "--pid: '%.60s' is no process, expected a number such as $MAINPID", value);
		return add_process(command, w, n);
	case CLI_WATCH:
		return add_process(command, w, (uint64_t)getppid());
	case CLI_OPERAND:
		return cli_usage(command, "'%.100s' is one word too many", value);
	default:
		return CLI_USAGE;
	}
}

static int post_command(const struct cli_option *options, const char *path, int argc, char **argv)
{
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	struct post_words w = {0};
	struct sb text = {0}, whole = {0};
	struct addr to;
	const char *value;
	int code, r = CLI_OK;

	while (r == CLI_OK && (code = cli_next(&a, options, &value)) != CLI_END)
		r = post_option(argv[0], code, value, &w);
	if (r == CLI_OK) {
		r = CLI_NO;
		sb_fmt(&whole, "%s%.*s", path, (int)w.query.n, w.query.p ? w.query.p : "");
		if (cli_app_socket(argv[0], w.socket, &text, &to))
			r = post(argv[0], text.p, &to, whole.p, w.timeout_ns ? w.timeout_ns : w.wait_ns + patience_ns);
	}
	sb_end(&text);
	sb_end(&whole);
	sb_end(&w.query);
	return r;
}

int cli_ok(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_TTL, "ttl", true}, {CLI_PID, "pid", true}, {CLI_WATCH, "watch", false}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};

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
