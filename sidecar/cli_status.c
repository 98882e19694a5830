/* sidecar/cli_status: `thinmesh status`. Reads the page once, front to back: what comes first is shown first (the daemon, apps, services with their
 * endpoints, control planes); keys that this version does not know are skipped, so that an older client may look at a newer daemon. */
#include "sidecar/cli_status.h"
#include "sidecar/cli_client.h"
#include "sidecar/cli_int.h"
#include "sidecar/cli_json.h"
#include "sidecar/cli_table.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint64_t patience_ns = UINT64_C(5) * 1000000000;
/* So that a row of the services' table fits into 100 columns beside its numbers. */
enum { NAME_MOST = 46 };

struct status {
	struct json r;
	struct sb key, text, value; /* scratch: the key just read, a text, another */
	struct sb *out;             /* borrowed */
	uint64_t now_ms;
	bool colour;
};

/* ---- words ------------------------------------------------------------------------------------------------------------------- */

static void span(struct sb *out, uint64_t s)
{
	if (s < 60)
		sb_fmt(out, "%llus", (unsigned long long)s);
	else if (s < 3600)
		sb_fmt(out, "%llum %llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
	else if (s < 86400)
		sb_fmt(out, "%lluh %llum", (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60));
	else
		sb_fmt(out, "%llud %lluh", (unsigned long long)(s / 86400), (unsigned long long)(s / 3600 % 24));
}

static void size(struct sb *out, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB"};
	double v = (double)bytes / 1024;
	int i = 0;

	for (; v >= 1024 && i < 2; i++)
		v /= 1024;
	if (bytes < 1024)
		sb_fmt(out, "%llu bytes", (unsigned long long)bytes);
	else
		sb_fmt(out, "%.1f %s", v, units[i]);
}

static enum cli_tone tone_of(struct str state)
{
	static const char *const good[] = {"ok", "up", "healthy"}, *const bad[] = {"failing", "backoff", "unhealthy", "ejected"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (str_is(state, good[i]))
			return TONE_GOOD;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (str_is(state, bad[i]))
			return TONE_BAD;
	return TONE_PLAIN;
}

/* A text cut back to 0 bytes still has its old ones: n says whether there is any. */
static const char *z(const struct sb *b)
{
	return b->p && b->n ? b->p : "";
}

static bool next_key(struct status *s)
{
	return json_key(&s->r, &s->key);
}

static bool key_is(const struct status *s, const char *name)
{
	return str_is(sb_view(&s->key), name);
}

/* ---- apps -------------------------------------------------------------------------------------------------------------------- */

struct app_row { struct sb name, state, span; uint64_t calls, parked; };

/* The first listener stands in the app's row, the others below it. */
static void app_listener(struct status *s, struct cli_table *t, struct app_row *a, bool first)
{
	uint64_t connections = 0;

	s->text.n = 0;
	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "address"))
			json_text(&s->r, &s->text);
		else if (key_is(s, "connections"))
			connections = json_u64(&s->r);
		else
			json_skip(&s->r);
	}
	cli_table_add(t, TONE_PLAIN, "%s", first ? z(&a->name) : "");
	cli_table_add(t, tone_of(sb_view(&a->state)), "%s", first ? z(&a->state) : "");
	cli_table_add(t, TONE_PLAIN, "%s", first ? z(&a->span) : "");
	if (first && a->parked) /* they wait for a name: seldom, and then worth to be seen */
		cli_table_add(t, TONE_BAD, "%llu, %llu parked", (unsigned long long)a->calls, (unsigned long long)a->parked);
	else if (first)
		cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)a->calls);
	else
		cli_table_add(t, TONE_PLAIN, "%s", "");
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)connections);
	cli_table_add(t, TONE_PLAIN, "%s", z(&s->text));
}

/* Keys come in any order; listeners need the app's own first, so they are read a second time once the rest is known. */
static void app(struct status *s, struct cli_table *t)
{
	struct app_row a = {0};
	struct json listeners = {0};
	bool first = true;

	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "name")) {
			json_text(&s->r, &a.name);
		} else if (key_is(s, "state")) {
			json_text(&s->r, &a.state);
		} else if (key_is(s, "since_unix_ms")) {
			uint64_t since = json_u64(&s->r);
			span(&a.span, s->now_ms > since ? (s->now_ms - since) / 1000 : 0);
		} else if (key_is(s, "calls_active")) {
			a.calls = json_u64(&s->r);
		} else if (key_is(s, "calls_parked")) {
			a.parked = json_u64(&s->r);
		} else {
			if (key_is(s, "listen"))
				listeners = s->r;
			json_skip(&s->r);
		}
	}
	if (listeners.p && !s->r.bad) {
		struct json after = s->r;
		s->r = listeners;
		json_open(&s->r, '[');
		for (; json_item(&s->r); first = false)
			app_listener(s, t, &a, first);
		after.bad = s->r.bad;
		s->r = after;
	}
	if (first) { /* it listens nowhere yet, and is told all the same */
		cli_table_add(t, TONE_PLAIN, "%s", z(&a.name));
		cli_table_add(t, tone_of(sb_view(&a.state)), "%s", z(&a.state));
		cli_table_add(t, TONE_PLAIN, "%s", z(&a.span));
		cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)a.calls);
		cli_table_add(t, TONE_PLAIN, "0");
		cli_table_add(t, TONE_BAD, "nowhere");
	}
	sb_end(&a.name);
	sb_end(&a.state);
	sb_end(&a.span);
}

static void apps(struct status *s)
{
	static const struct cli_column columns[] = {{"APP", false, NAME_MOST}, {"STATE", false, 0}, {"FOR", false, 0}, {"OPEN", true, 0}, {"CONNS", true, 0},
		{"LISTENS ON", false, 0}};
	struct cli_table t = TABLE_OF(columns);

	json_open(&s->r, '[');
	while (json_item(&s->r))
		app(s, &t);
	sb_str(s->out, t.used ? "\n" : "\nno apps\n");
	if (t.used)
		cli_table_print(&t, s->colour, s->out);
}

/* ---- services ------------------------------------------------------------------------------------------------------------------ */

struct load_row { struct sb name, state, note; uint64_t load, connections, calls, errors; };

static void load_end(struct load_row *l)
{
	sb_end(&l->name);
	sb_end(&l->state);
	sb_end(&l->note);
}

static void load_cells(struct cli_table *t, const struct load_row *l, const char *indent, enum cli_tone tone)
{
	cli_table_add(t, *indent ? TONE_PLAIN : TONE_HEAD, "%s%s", indent, z(&l->name));
	cli_table_add(t, tone, "%s", z(&l->state));
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->load);
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->connections);
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->calls);
	cli_table_add(t, l->errors ? TONE_BAD : TONE_PLAIN, "%llu", (unsigned long long)l->errors);
	cli_table_add(t, TONE_DIM, "%s", z(&l->note));
}

/* The keys that services and endpoints share. False: it is none of them. */
static bool load_key(struct status *s, struct load_row *l)
{
	uint64_t *number = key_is(s, "active") ? &l->load
		: key_is(s, "connections")     ? &l->connections
		: key_is(s, "calls")           ? &l->calls
		: key_is(s, "errors")          ? &l->errors
					       : NULL;
	if (number)
		*number = json_u64(&s->r);
	return number;
}

static void note(struct sb *out, const char *before, const char *text)
{
	sb_fmt(out, "%s%s%s", out->n ? ", " : "", before, text);
}

/* Why it is not up stands below it: in its row the line would be too long for a screen. */
static void reason(struct cli_table *t, const char *why)
{
	cli_table_add(t, TONE_DIM, "    %s", why);
	for (uint32_t i = 1; i < t->count; i++)
		cli_table_add(t, TONE_PLAIN, "%s", "");
}

static void endpoint(struct status *s, struct cli_table *t)
{
	struct load_row e = {0};
	struct sb why = {0};

	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "address")) {
			json_text(&s->r, &e.name);
		} else if (key_is(s, "state")) {
			json_text(&s->r, &e.state);
		} else if (key_is(s, "weight")) {
			json_text(&s->r, &s->value);
			if (!str_is(sb_view(&s->value), "1"))
				note(&e.note, "weight ", z(&s->value));
		} else if (key_is(s, "zone")) {
			json_text(&s->r, &s->value);
			note(&e.note, "zone ", z(&s->value));
		} else if (key_is(s, "why")) {
			json_text(&s->r, &why);
		} else if (!load_key(s, &e)) {
			json_skip(&s->r);
		}
	}
	load_cells(t, &e, "  ", tone_of(sb_view(&e.state)));
	load_end(&e);
	if (why.n)
		reason(t, z(&why));
	sb_end(&why);
}

static bool count_items(struct json r, size_t *ret)
{
	size_t n = 0;

	json_open(&r, '[');
	for (; json_item(&r); n++)
		json_skip(&r);
	*ret = n;
	return !r.bad;
}

static void service(struct status *s, struct cli_table *t)
{
	struct load_row l = {0};
	struct json endpoints = {0};

	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "name")) {
			json_text(&s->r, &l.name);
		} else if (key_is(s, "lb")) {
			json_text(&s->r, &s->value);
			note(&l.note, "", z(&s->value));
		} else if (key_is(s, "pending")) {
			json_text(&s->r, &s->value);
			if (!str_is(sb_view(&s->value), "0"))
				note(&l.note, z(&s->value), " calls wait");
		} else if (!load_key(s, &l)) {
			if (key_is(s, "endpoints"))
				endpoints = s->r;
			json_skip(&s->r);
		}
	}
	size_t n = 0;
	if (endpoints.p && !s->r.bad)
		s->r.bad = !count_items(endpoints, &n);
	sb_fmt(&l.state, "%zu endpoint%s", n, n == 1 ? "" : "s");
	load_cells(t, &l, "", n ? TONE_PLAIN : TONE_BAD);
	load_end(&l);
	if (n && !s->r.bad) {
		struct json after = s->r;
		s->r = endpoints;
		json_open(&s->r, '[');
		while (json_item(&s->r))
			endpoint(s, t);
		after.bad = s->r.bad;
		s->r = after;
	}
}

static void services(struct status *s)
{
	static const struct cli_column columns[] = {{"SERVICE", false, NAME_MOST}, {"STATE", false, 0}, {"LOAD", true, 0}, {"CONNS", true, 0}, {"CALLS", true, 0},
		{"ERRORS", true, 0}, {"", false, 0}};
	struct cli_table t = TABLE_OF(columns);

	json_open(&s->r, '[');
	while (json_item(&s->r))
		service(s, &t);
	sb_str(s->out, t.used ? "\n" : "\nno services\n");
	if (t.used)
		cli_table_print(&t, s->colour, s->out);
}

/* ---- the control plane --------------------------------------------------------------------------------------------------------- */

struct plane_row {
	struct sb view, server, state, profile, protocol, error, snapshot, types;
	uint64_t since_s, names, unknown, absent, stale;
	bool up, experimental, on_disk;
};

/* "CDS 3/3 2026-01-01T00:00:00Z/7" */
static void plane_type(struct status *s, struct plane_row *p)
{
	uint64_t wanted = 0, present = 0, rejected = 0;
	struct sb version = {0}, reject = {0}, type = {0};

	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "type"))
			json_text(&s->r, &type);
		else if (key_is(s, "wanted"))
			wanted = json_u64(&s->r);
		else if (key_is(s, "present"))
			present = json_u64(&s->r);
		else if (key_is(s, "update_rejected"))
			rejected = json_u64(&s->r);
		else if (key_is(s, "version"))
			json_text(&s->r, &version);
		else if (key_is(s, "last_reject"))
			json_text(&s->r, &reject);
		else
			json_skip(&s->r);
	}
	if (wanted || version.n || rejected) {
		sb_fmt(&p->types, "  %s %llu of %llu", z(&type), (unsigned long long)present, (unsigned long long)wanted);
		if (version.n)
			sb_fmt(&p->types, ", version %s", z(&version));
		if (rejected)
			sb_fmt(&p->types, ", %llu answers refused, the last for: %s", (unsigned long long)rejected, z(&reject));
		sb_char(&p->types, '\n');
	}
	sb_end(&version);
	sb_end(&reject);
	sb_end(&type);
}

static void plane_snapshot(struct status *s, struct plane_row *p)
{
	json_open(&s->r, '{');
	while (next_key(s)) {
		if (key_is(s, "state"))
			json_text(&s->r, &p->snapshot);
		else if (key_is(s, "on_disk"))
			p->on_disk = json_bool(&s->r);
		else
			json_skip(&s->r);
	}
}

static void plane_say(struct status *s, const struct plane_row *p)
{
	struct sb *out = s->out, line = {0};

	sb_str(out, "\ncontrol plane ");
	cli_printable(out, sb_view(&p->server));
	sb_str(out, ": ");
	cli_tone(out, s->colour, p->up ? TONE_GOOD : strcmp(z(&p->state), "back-off") == 0 ? TONE_BAD : TONE_PLAIN, z(&p->state));
	sb_str(out, " for ");
	span(out, p->since_s);
	if (strcmp(z(&p->state), "open") == 0)
		sb_str(out, p->names ? ", has not answered yet" : ", nothing was asked yet");
	sb_fmt(out, ", %s%s, %s; view ", z(&p->profile), p->experimental ? " (experimental)" : "", z(&p->protocol));
	cli_printable(out, sb_view(&p->view));
	sb_fmt(out, "\n  names: %llu wanted, %llu not answered yet, %llu absent, %llu stale; snapshot %s%s\n", (unsigned long long)p->names, (unsigned long long)p->unknown,
		(unsigned long long)p->absent, (unsigned long long)p->stale, p->on_disk ? "on disk, " : "", z(&p->snapshot));
	for (const char *at = z(&p->types); *at;) {
		const char *end = strchr(at, '\n');

		cli_printable(out, str_n(at, (size_t)(end - at)));
		sb_char(out, '\n');
		at = end + 1;
	}
	if (p->error.n) {
		sb_str(&line, "  last error: ");
		cli_printable(&line, sb_view(&p->error));
		cli_tone(out, s->colour, p->up ? TONE_DIM : TONE_BAD, line.p);
		sb_char(out, '\n');
	}
	sb_end(&line);
}

static void plane(struct status *s)
{
	struct plane_row p = {0};
	const struct { const char *name; struct sb *text; } texts[] = {{"view", &p.view}, {"server", &p.server}, {"state", &p.state}, {"profile", &p.profile},
		{"protocol", &p.protocol}, {"last_error", &p.error}};
	const struct { const char *name; uint64_t *number; } numbers[] = {{"since_s", &p.since_s}, {"names", &p.names}, {"names_unknown", &p.unknown},
		{"names_absent", &p.absent}, {"names_stale", &p.stale}};

	json_open(&s->r, '{');
	while (next_key(s)) {
		bool found = false;

		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !found; i++)
			if ((found = key_is(s, texts[i].name)))
				json_text(&s->r, texts[i].text);
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !found; i++)
			if ((found = key_is(s, numbers[i].name)))
				*numbers[i].number = json_u64(&s->r);
		if (found)
			continue;
		if (key_is(s, "up")) {
			p.up = json_bool(&s->r);
		} else if (key_is(s, "experimental")) {
			p.experimental = json_bool(&s->r);
		} else if (key_is(s, "snapshot")) {
			plane_snapshot(s, &p);
		} else if (key_is(s, "types")) {
			json_open(&s->r, '[');
			while (json_item(&s->r))
				plane_type(s, &p);
		} else {
			json_skip(&s->r);
		}
	}
	if (!s->r.bad)
		plane_say(s, &p);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		sb_end(texts[i].text);
	sb_end(&p.snapshot);
	sb_end(&p.types);
}

static void planes(struct status *s)
{
	json_open(&s->r, '[');
	while (json_item(&s->r))
		plane(s);
}

/* ---- the page ------------------------------------------------------------------------------------------------------------------ */

struct daemon_row { struct sb version; uint64_t pid, uptime_s, memory, calls, active, failed; bool ready, draining; };

static void head(struct status *s, const struct daemon_row *d)
{
	struct sb *out = s->out;

	sb_str(out, "thinmesh ");
	cli_printable(out, sb_view(&d->version));
	sb_fmt(out, ", pid %llu: ", (unsigned long long)d->pid);
	cli_tone(out, s->colour, d->ready && !d->draining ? TONE_GOOD : TONE_BAD, d->draining ? "draining" : d->ready ? "ready" : "starting");
	sb_str(out, ", up ");
	span(out, d->uptime_s);
	sb_fmt(out, "\ncalls: %llu, %llu open, ", (unsigned long long)d->calls, (unsigned long long)d->active);
	s->text.n = 0;
	sb_fmt(&s->text, "%llu failed", (unsigned long long)d->failed);
	cli_tone(out, s->colour, d->failed ? TONE_BAD : TONE_PLAIN, s->text.p);
	sb_str(out, "; memory: ");
	size(out, d->memory);
	sb_char(out, '\n');
}

static bool daemon_key(struct status *s, struct daemon_row *d)
{
	const struct { const char *name; uint64_t *number; } rows[] = {{"pid", &d->pid}, {"uptime_s", &d->uptime_s}, {"memory_bytes", &d->memory},
		{"calls", &d->calls}, {"calls_active", &d->active}, {"calls_failed", &d->failed}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (key_is(s, rows[i].name)) {
			*rows[i].number = json_u64(&s->r);
			return true;
		}
	if (key_is(s, "version"))
		json_text(&s->r, &d->version);
	else if (key_is(s, "ready"))
		d->ready = json_bool(&s->r);
	else if (key_is(s, "draining"))
		d->draining = json_bool(&s->r);
	else
		return false;
	return true;
}

bool cli_status_text(struct str json, uint64_t now_unix_ms, bool colour, struct sb *out)
{
	struct status s = {.r = json_of(json), .out = out, .now_ms = now_unix_ms, .colour = colour};
	struct daemon_row d = {0};
	struct json apps_at = {0}, services_at = {0}, xds_at = {0};

	json_open(&s.r, '{');
	while (next_key(&s)) {
		if (daemon_key(&s, &d))
			continue;
		if (key_is(&s, "apps"))
			apps_at = s.r;
		else if (key_is(&s, "services"))
			services_at = s.r;
		else if (key_is(&s, "xds"))
			xds_at = s.r;
		json_skip(&s.r);
	}
	bool fine = !s.r.bad && apps_at.p && services_at.p;
	if (fine) {
		head(&s, &d);
		s.r = apps_at;
		apps(&s);
		fine = !s.r.bad;
		s.r = services_at;
		services(&s);
		fine = fine && !s.r.bad;
		if (fine && xds_at.p) {
			s.r = xds_at;
			planes(&s);
			fine = !s.r.bad;
		}
	}
	sb_end(&d.version);
	sb_end(&s.key);
	sb_end(&s.text);
	sb_end(&s.value);
	return fine;
}

static bool wants_colour(void)
{
	const char *term = getenv("TERM"), *no = getenv("NO_COLOR"); /* no-color.org */

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no && *no);
}

static int show(const char *command, const char *socket, const struct sb *page, bool json)
{
	struct timespec now;
	struct sb out = {0};
	int r = CLI_NO;

	if (json)
		return cli_print(command, sb_view(page), CLI_OK);
	clock_gettime(CLOCK_REALTIME, &now);
	if (cli_status_text(sb_view(page), (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, wants_colour(), &out))
		r = cli_print(command, sb_view(&out), CLI_OK);
	else
		cli_say(command, "what '%s' answers to GET /status is not understood; is it a control socket of this version? --json shows it", socket);
	sb_end(&out);
	return r;
}

int cli_status(int argc, char **argv)
{
	static const struct cli_option options[] = {{'s', "socket", true}, {CLI_JSON, "json", false}, {CLI_TIMEOUT, "timeout", true}, {0, NULL, false}};
	struct cli_args a = {.command = argv[0], .argc = argc, .argv = argv, .at = 1};
	const char *value, *socket = NULL;
	uint64_t timeout_ns = patience_ns;
	bool json = false;
	int code;

	while ((code = cli_next(&a, options, &value)) != CLI_END) {
		switch (code) {
		case 's':
			socket = value;
			break;
		case CLI_JSON:
			json = true;
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
	struct sb text = {0}, page = {0};
	struct addr to;
	int r = CLI_NO;
	if (cli_control_socket(argv[0], socket, &text, &to)) {
		int status = cli_ask(argv[0], text.p, &to, "GET", "/status", timeout_ns, &page);
		if (status == 200)
			r = show(argv[0], text.p, &page, json);
		else if (status >= 0)
			cli_say(argv[0], "'%s' answered %d to GET /status; is it a control socket?", text.p, status);
	}
	sb_end(&page);
	sb_end(&text);
	return r;
}
