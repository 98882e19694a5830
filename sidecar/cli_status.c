/* sidecar/cli_status: `thinmesh status`: one page, or one every few seconds until somebody has seen enough (--watch). What the page says as text: cli_status_page.c.
 *
 * On a terminal a watched page is drawn over the one before, and what does not fit on it is left out; elsewhere each is a block below a line with the time, and with --json a line of
 * its own. A daemon that cannot be reached is told as such and tried again: a restart or a hot upgrade ends no watch. */
#include "sidecar/cli_status.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "sidecar/cli_client.h"
#include "sidecar/cli_int.h"
#include "sidecar/cli_rates.h"

static const uint64_t patience_ns = UINT64_C(5) * 1000000000, watch_ns = UINT64_C(2) * 1000000000, watch_min_ns = UINT64_C(100) * 1000000, watch_max_ns = UINT64_C(86400) * 1000000000;

struct view {
	const char *command;
	const char *socket;            /* in words */
	struct cli_request rq;
	struct sb path;
	struct sb service;             /* "": all */
	uint64_t timeout_ns, every_ns; /* every 0: once */
	bool json, all, certs, colour;
	bool (*text)(struct str json, uint64_t now_unix_ms, bool colour, struct rates *rates, struct sb *out);
	const char *page; /* "/status", "/certs" */
	/* --watch */
	struct loop *loop;
	struct rates rates;
	bool stop, due, terminal, away, shown;
	struct timer timer;
};

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR"); /* no-color.org */

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no && *no);
}

static uint64_t now_unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void not_understood(const struct view *v, struct sb *out)
{
	sb_fmt(out, "what '%s' answers to GET %s is not understood; is it a control socket of this version? --json shows it", v->socket, v->page);
}

/* ---- once -------------------------------------------------------------------------------------------------------------------- */

static int show(const struct view *v, const struct sb *page)
{
	struct sb out = {0}, why = {0};
	int r = CLI_NO;

	if (v->json)
		return cli_print(v->command, sb_view(page), CLI_OK);
	if (v->text(sb_view(page), now_unix_ms(), v->colour, NULL, &out)) {
		r = cli_print(v->command, sb_view(&out), CLI_OK);
	} else {
		not_understood(v, &why);
		cli_say(v->command, "%.*s", (int)why.n, why.p);
	}
	sb_end(&out);
	sb_end(&why);
	return r;
}

static int status_once(struct view *v)
{
	struct sb page = {0};
	int r = CLI_NO, status = cli_ask(v->command, v->socket, &v->rq.to, "GET", v->path.p, v->timeout_ns, &page);

	if (status == 200)
		r = show(v, &page);
	else if (status >= 0)
		cli_say(v->command, "'%s' answered %d to GET %s; is it a control socket?", v->socket, status, v->page);
	sb_end(&page);
	return r;
}

/* ---- watching ------------------------------------------------------------------------------------------------------------------ */

static void time_line(struct sb *out)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[32];

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	sb_str(out, text);
}

/* Over what stands there, line by line, so that nothing flickers; lines are cut by the terminal and not wrapped, for a wrapped one would move those below it. */
static void draw(const struct sb *text, struct sb *out)
{
	struct winsize w = {0};
	uint32_t rows = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 2 ? w.ws_row : UINT32_MAX, row = 1, lines = 0;

	for (size_t i = 0; i < text->n; i++)
		lines += text->p[i] == '\n';
	sb_str(out, "\033[?7l\033[H");
	for (size_t from = 0; from < text->n; row++) {
		const char *end = memchr(text->p + from, '\n', text->n - from);
		size_t n = end ? (size_t)(end - text->p) - from : text->n - from;

		if (row == rows - 1 && lines > row) { /* the last row is the cursor's */
			sb_fmt(out, "... %u more lines\033[0m\033[K\n", lines - row + 1);
			break;
		}
		sb_add(out, text->p + from, n);
		sb_str(out, "\033[K\n");
		from += n + 1;
	}
	sb_str(out, "\033[J\033[?7h");
}

/* False: nobody reads any more. */
static bool put(const struct view *v, struct sb *text)
{
	struct sb drawn = {0};
	struct str all = sb_view(text);

	if (v->terminal) {
		draw(text, &drawn);
		all = sb_view(&drawn);
	}
	bool fine = fwrite(all.p, 1, all.n, stdout) == all.n && fflush(stdout) == 0;
	if (!fine && errno != EPIPE) /* `| head` has seen enough */
		cli_say(v->command, "cannot write to the standard output: %s", strerror(errno));
	sb_end(&drawn);
	return fine;
}

/* Once for each time that it goes away, but on a terminal, where it stands until it is back. */
static bool put_away(struct view *v, const struct sb *why)
{
	struct sb text = {0};
	bool fine = true;

	if (v->json && !v->away)
		cli_say(v->command, "not reachable, trying again: %.*s", (int)why->n, why->p);
	if (!v->json && (v->terminal || !v->away)) {
		time_line(&text);
		sb_str(&text, "  not reachable, trying again\n");
		cli_printable(&text, sb_view(why));
		sb_str(&text, v->terminal ? "\n" : "\n\n");
		fine = put(v, &text);
	}
	v->away = true;
	sb_end(&text);
	return fine;
}

static bool put_page(struct view *v, const struct sb *page)
{
	struct sb text = {0}, why = {0};
	bool fine;

	if (v->json) {
		size_t n = page->n;

		while (n && page->p[n - 1] == '\n')
			n--;
		sb_add(&text, page->p, n);
		sb_char(&text, '\n');
		fine = put(v, &text);
	} else {
		time_line(&text);
		sb_char(&text, '\n');
		if (v->text(sb_view(page), now_unix_ms(), v->colour, &v->rates, &text)) {
			if (!v->terminal)
				sb_char(&text, '\n');
			fine = put(v, &text);
		} else {
			not_understood(v, &why);
			fine = put_away(v, &why);
		}
	}
	v->shown |= !why.n;
	v->away = why.n != 0;
	sb_end(&text);
	sb_end(&why);
	return fine;
}

static bool look(struct view *v)
{
	struct sb page = {0}, why = {0};
	bool fine = true;
	int status = cli_fetch(v->loop, &v->rq, &page, &why);

	if (v->stop) {
		/* it ended the question */
	} else if (status == 200) {
		fine = put_page(v, &page);
	} else {
		if (status >= 0)
			sb_fmt(&why, "'%s' answered %d to GET %s; is it a control socket?", v->socket, status, v->page);
		fine = put_away(v, &why);
	}
	sb_end(&page);
	sb_end(&why);
	return fine;
}

static void on_signal(void *user, int signo)
{
	(void)signo;
	((struct view *)user)->stop = true;
}

static void on_due(struct timer *t)
{
	struct view *v = container_of(t, struct view, timer);

	v->due = true;
}

static int status_watch(struct view *v)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	bool fine = true;

	v->loop = loop_new_real(NULL);
	if (!v->loop) {
		cli_say(v->command, "the kernel refuses an event loop: %s", strerror(errno));
		return CLI_NO;
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		loop_signal(v->loop, signals[i], on_signal, v);
	rates_init(&v->rates);
	v->terminal = !v->json && isatty(STDOUT_FILENO);
	v->rq.stop = &v->stop;
	if (v->terminal)
		fputs("\033[H\033[2J", stdout);
	while (!v->stop && (fine = look(v))) {
		v->due = false;
		timer_in(v->loop, &v->timer, v->every_ns, on_due);
		while (!v->stop && !v->due)
			if (loop_turn(v->loop, -1) < 0)
				v->stop = true;
	}
	timer_cancel(v->loop, &v->timer);
	rates_end(&v->rates);
	loop_free(&v->loop);
	return v->shown ? CLI_OK : CLI_NO;
}

/* ---- the command ----------------------------------------------------------------------------------------------------------------- */

/* "2", "0.5", "2s", "500ms" */
static bool read_every(const char *text, uint64_t *ret_ns)
{
	char *end;
	double n = strtod(text, &end);

	if (*text && !*end && n >= 0 && n <= (double)watch_max_ns / 1e9) {
		*ret_ns = (uint64_t)(n * 1e9);
		return true;
	}
	return str_duration_ns(str_of(text), ret_ns) && *ret_ns <= watch_max_ns;
}

static bool take_every(struct view *v, const char *text)
{
	v->every_ns = watch_ns;
	if (!text)
		return true;
	if (!read_every(text, &v->every_ns)) {
		cli_usage(v->command, "--watch: '%.40s' is no duration; expected 2, 0.5, 500ms or the like", text);
		return false;
	}
	if (v->every_ns < watch_min_ns)
		v->every_ns = watch_min_ns;
	return true;
}

static void make_path(struct view *v)
{
	sb_fmt(&v->path, "%s%s", v->page, v->service.n || v->all ? "?" : "");
	if (v->service.n)
		sb_str(&v->path, "service=");
	for (size_t i = 0; i < v->service.n; i++) {
		unsigned char c = (unsigned char)v->service.p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~:", c))
			sb_char(&v->path, (char)c);
		else
			sb_fmt(&v->path, "%%%02X", c);
	}
	if (v->all)
		sb_str(&v->path, v->service.n ? "&endpoints=all" : "endpoints=all");
	v->rq.path = sb_view(&v->path);
}

static int status_run(struct view *v, const char *socket)
{
	struct sb text = {0};
	int r = CLI_NO;

	if (cli_control_socket(v->command, socket, &text, &v->rq.to)) {
		v->socket = v->rq.socket = text.p;
		v->rq.method = "GET";
		v->rq.authority = STR("localhost");
		v->rq.timeout_ns = v->timeout_ns;
		v->colour = wants_colour();
		make_path(v);
		r = v->every_ns ? status_watch(v) : status_once(v);
	}
	sb_end(&text);
	return r;
}

int cli_status(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_JSON, "json", false}, {CLI_ALL, "all", false}, {CLI_CERTS, "certs", false}, {CLI_WATCH, "watch", CLI_MAYBE}, {CLI_TIMEOUT, "timeout", true},
		{0, NULL, false}};
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	struct view v = {.command = argv[0], .timeout_ns = patience_ns, .text = cli_status_text, .page = "/status"};
	const char *value, *socket = NULL;
	bool every_said = false;
	uint64_t ns;
	int code, r = CLI_OK;

	while (r == CLI_OK && (code = cli_next(&a, options, &value)) != CLI_END) {
		switch (code) {
		case 's':
			socket = value;
			break;
		case CLI_JSON:
			v.json = true;
			break;
		case CLI_ALL:
			v.all = true;
			break;
		case CLI_CERTS:
			v.certs = true;
			v.text = cli_certs_text;
			v.page = "/certs";
			break;
		case CLI_WATCH:
			if (!take_every(&v, value))
				r = CLI_USAGE;
			every_said = value != NULL;
			break;
		case CLI_TIMEOUT:
			if (!cli_duration(argv[0], "--timeout", value, &v.timeout_ns))
				r = CLI_USAGE;
			break;
		case CLI_OPERAND:
			if (v.service.n)
				r = cli_usage(argv[0], "'%.100s' is one word too many", value);
			else
				sb_str(&v.service, value);
			break;
		default:
			r = CLI_USAGE;
		}
	}
	/* Taken for a word, it would show "no services" again and again. */
	if (r == CLI_OK && v.every_ns && !every_said && v.service.n && read_every(v.service.p, &ns))
		r = cli_usage(argv[0], "'%.40s' would be a word of a service's name; for the time between two pages write --watch=%.40s", v.service.p, v.service.p);
	if (r == CLI_OK && v.certs && (v.all || v.service.n))
		r = cli_usage(argv[0], "--certs shows all certificates and roots; it goes with no %s", v.all ? "--all" : "SERVICE");
	if (r == CLI_OK)
		r = status_run(&v, socket);
	sb_end(&v.path);
	sb_end(&v.service);
	return r;
}
