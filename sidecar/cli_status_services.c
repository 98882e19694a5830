/* sidecar/cli_status_services: services and endpoints of `thinmesh status`: a row each; below it, where one does not serve, why and who says so. */
#include <stdio.h>
#include "sidecar/cli_status_int.h"

enum { TLS_COLUMN = 8 };
struct load_row { struct sb name, state, note, tls; uint64_t load, connections, calls, errors; };

static void load_end(struct load_row *l)
{
	sb_end(&l->name);
	sb_end(&l->state);
	sb_end(&l->note);
	sb_end(&l->tls);
}

static void rate_cell(struct cli_table *t, bool known, double rate, enum cli_tone tone)
{
	struct sb text = {0};

	if (known)
		rates_text(&text, rate);
	cli_table_add(t, tone, "%s", status_z(&text));
	sb_end(&text);
}

/* key: what the rates of this row are kept under. */
static void load_cells(struct status *s, struct cli_table *t, const struct load_row *l, const char *indent, enum cli_tone tone, struct str key)
{
	double calls = 0, errors = 0;
	bool known = s->rates && rates_take(s->rates, key, l->calls, l->errors, &calls, &errors);

	cli_table_add(t, *indent ? TONE_PLAIN : TONE_HEAD, "%s%s", indent, status_z(&l->name));
	cli_table_add(t, tone, "%s", status_z(&l->state));
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->load);
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->connections);
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)l->calls);
	rate_cell(t, known, calls, TONE_PLAIN);
	cli_table_add(t, l->errors ? TONE_BAD : TONE_PLAIN, "%llu", (unsigned long long)l->errors);
	rate_cell(t, known, errors, errors > 0 ? TONE_BAD : TONE_PLAIN);
	cli_table_add(t, TONE_PLAIN, "%s", status_z(&l->tls));
	cli_table_add(t, TONE_DIM, "%s", status_z(&l->note));
}

/* The keys that services and endpoints share. False: it is none of them. */
static bool load_key(struct status *s, struct load_row *l)
{
	uint64_t *number = status_key_is(s, "active") ? &l->load
		: status_key_is(s, "connections")     ? &l->connections
		: status_key_is(s, "calls")           ? &l->calls
		: status_key_is(s, "errors")          ? &l->errors
						      : NULL;
	if (number)
		*number = json_u64(&s->r);
	return number;
}

/* ---- endpoints ---- */

/* What is told below its row: of its connection, its check, its answers, and of the control plane. */
struct endpoint_row { struct load_row load; struct sb health, by, why, check, outlier, version, peer; };

/* "its grpc check failed 12s ago: connection refused (1 passed, 3 failed)"; nothing while it passes. */
static void endpoint_check(struct status *s, struct endpoint_row *e)
{
	struct sb kind = {0}, state = {0}, why = {0};
	uint64_t since_s = 0, successes = 0, failures = 0;

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "kind"))
			json_text(&s->r, &kind);
		else if (status_key_is(s, "state"))
			json_text(&s->r, &state);
		else if (status_key_is(s, "why"))
			json_text(&s->r, &why);
		else if (status_key_is(s, "since_s"))
			since_s = json_u64(&s->r);
		else if (status_key_is(s, "successes"))
			successes = json_u64(&s->r);
		else if (status_key_is(s, "failures"))
			failures = json_u64(&s->r);
		else
			json_skip(&s->r);
	}
	if (str_is(sb_view(&state), "passed") && !why.n) {
		status_note(&e->load.note, status_z(&kind), " check passed");
	} else {
		sb_fmt(&e->check, "its %s check: %s for ", status_z(&kind), status_z(&state));
		status_span(&e->check, since_s);
		sb_fmt(&e->check, "%s%s (%llu passed, %llu failed)", why.n ? ": " : "", status_z(&why), (unsigned long long)successes, (unsigned long long)failures);
	}
	sb_end(&kind);
	sb_end(&state);
	sb_end(&why);
}

static void endpoint_outlier(struct status *s, struct endpoint_row *e)
{
	struct sb why = {0}, rate = {0};
	uint64_t left_ms = 0, ejections = 0;
	bool ejected = false, degraded = false;

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "ejected"))
			ejected = json_bool(&s->r);
		else if (status_key_is(s, "degraded"))
			degraded = json_bool(&s->r);
		else if (status_key_is(s, "left_ms"))
			left_ms = json_u64(&s->r);
		else if (status_key_is(s, "why"))
			json_text(&s->r, &why);
		else if (status_key_is(s, "success_rate"))
			json_text(&s->r, &rate);
		else if (status_key_is(s, "ejections"))
			ejections = json_u64(&s->r);
		else
			json_skip(&s->r);
	}
	if (ejected || degraded) {
		sb_fmt(&e->outlier, "by its answers: %s (%s), for ", ejected ? "ejected" : "degraded", status_z(&why));
		status_span(&e->outlier, (left_ms + 999) / 1000);
		sb_str(&e->outlier, " more");
		if (rate.n)
			sb_fmt(&e->outlier, "; success rate %s %%", status_z(&rate));
	}
	if (ejections > (ejected ? 1 : 0)) {
		sb_fmt(&e->load.note, "%sejected %llu time%s", e->load.note.n ? ", " : "", (unsigned long long)ejections, ejections == 1 ? "" : "s");
	}
	sb_end(&why);
	sb_end(&rate);
}

static bool endpoint_key(struct status *s, struct endpoint_row *e)
{
	if (status_key_is(s, "address")) {
		json_text(&s->r, &e->load.name);
	} else if (status_key_is(s, "state")) {
		json_text(&s->r, &e->load.state);
	} else if (status_key_is(s, "health")) {
		json_text(&s->r, &e->health);
	} else if (status_key_is(s, "by")) {
		json_text(&s->r, &e->by);
	} else if (status_key_is(s, "weight")) {
		json_text(&s->r, &s->value);
		if (!str_is(sb_view(&s->value), "1"))
			status_note(&e->load.note, "weight ", status_z(&s->value));
	} else if (status_key_is(s, "zone")) {
		json_text(&s->r, &s->value);
		status_note(&e->load.note, "zone ", status_z(&s->value));
	} else if (status_key_is(s, "why")) {
		json_text(&s->r, &e->why);
	} else if (status_key_is(s, "tls")) {
		json_text(&s->r, &e->load.tls);
	} else if (status_key_is(s, "tls_version")) {
		json_text(&s->r, &e->version);
	} else if (status_key_is(s, "peer")) {
		json_text(&s->r, &e->peer);
	} else if (status_key_is(s, "check")) {
		endpoint_check(s, e);
	} else if (status_key_is(s, "outlier")) {
		endpoint_outlier(s, e);
	} else {
		return false;
	}
	return true;
}

static void endpoint(struct status *s, struct cli_table *t, struct str service)
{
	struct endpoint_row e = {0};
	struct sb key = {0};

	json_open(&s->r, '{');
	while (status_key(s))
		if (!endpoint_key(s, &e) && !load_key(s, &e.load))
			json_skip(&s->r);
	/* The state is that of its connection, unless somebody keeps it back. */
	if (str_is(sb_view(&e.health), "degraded"))
		status_note(&e.load.note, "", "degraded");
	if (str_is(sb_view(&e.by), "mesh"))
		status_note(&e.load.note, "", "says the mesh");
	if (e.version.n)
		status_note(&e.load.note, "", status_z(&e.version));
	if (e.peer.n)
		status_note(&e.load.note, "", status_z(&e.peer));
	sb_add(&key, service.p, service.n);
	sb_char(&key, '\n');
	sb_add(&key, e.load.name.p ? e.load.name.p : "", e.load.name.n);
	load_cells(s, t, &e.load, "  ", status_tone(sb_view(&e.load.state)), sb_view(&key));
	struct sb *texts[] = {&e.why, &e.check, &e.outlier};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i]->n)
			status_below(t, TONE_DIM, status_z(texts[i]));
		sb_end(texts[i]);
	}
	sb_end(&e.health);
	sb_end(&e.by);
	sb_end(&e.version);
	sb_end(&e.peer);
	sb_end(&key);
	load_end(&e.load);
}

/* ---- services ---- */

struct service_row {
	struct load_row load;
	struct cli_table *t;
	size_t shown;
	uint64_t total, healthy, degraded, pending, failed, ejected, held, unusable;
	bool has_total, has_healthy, panic;
	struct sb truth;
};

static void count_items(struct status *s, void *user)
{
	struct service_row *row = user;

	json_open(&s->r, '[');
	for (; json_item(&s->r); row->shown++)
		json_skip(&s->r);
}

static void endpoints(struct status *s, void *user)
{
	struct service_row *row = user;

	json_open(&s->r, '[');
	while (json_item(&s->r))
		endpoint(s, row->t, sb_view(&row->load.name));
}

static bool service_number(struct status *s, struct service_row *row)
{
	const struct { const char *name; uint64_t *number; } numbers[] = {{"endpoints_total", &row->total}, {"healthy", &row->healthy}, {"degraded", &row->degraded}, {"check_pending", &row->pending},
		{"check_failed", &row->failed}, {"ejected", &row->ejected}, {"held", &row->held}, {"unusable", &row->unusable}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (status_key_is(s, numbers[i].name)) {
			*numbers[i].number = json_u64(&s->r);
			row->has_total |= i == 0;
			row->has_healthy |= i == 1;
			return true;
		}
	return false;
}

static bool service_key(struct status *s, struct service_row *row)
{
	if (status_key_is(s, "name")) {
		json_text(&s->r, &row->load.name);
	} else if (status_key_is(s, "lb")) {
		json_text(&s->r, &s->value);
		status_note(&row->load.note, "", status_z(&s->value));
	} else if (status_key_is(s, "pending")) {
		json_text(&s->r, &s->value);
		if (!str_is(sb_view(&s->value), "0"))
			status_note(&row->load.note, status_z(&s->value), " calls wait");
	} else if (status_key_is(s, "truth")) {
		json_text(&s->r, &row->truth);
	} else if (status_key_is(s, "panic")) {
		row->panic = json_bool(&s->r);
	} else {
		return service_number(s, row);
	}
	return true;
}

/* All is well: not a word. */
static void service_notes(struct service_row *row)
{
	const struct { uint64_t n; const char *what; } counts[] = {{row->degraded, "degraded"}, {row->pending, "check pending"}, {row->failed, "check failed"}, {row->ejected, "ejected"},
		{row->held, "held"}, {row->unusable, "without TLS"}};
	char number[32];

	if (row->has_healthy && row->healthy != row->total) {
		snprintf(number, sizeof(number), "%llu healthy", (unsigned long long)row->healthy);
		status_note(&row->load.note, "", number);
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (counts[i].n) {
			snprintf(number, sizeof(number), "%llu ", (unsigned long long)counts[i].n);
			status_note(&row->load.note, number, counts[i].what);
		}
	if (row->panic)
		status_note(&row->load.note, "", "panic: all are used");
	if (row->truth.n && row->total && !str_is(sb_view(&row->truth), "serving"))
		status_note(&row->load.note, str_is(sb_view(&row->truth), "unknown") ? "not known yet" : "", str_is(sb_view(&row->truth), "unknown") ? "" : status_z(&row->truth));
}

static void service(struct status *s, struct cli_table *t)
{
	struct service_row row = {.t = t};
	struct json at = {0};

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (service_key(s, &row) || load_key(s, &row.load))
			continue;
		if (status_key_is(s, "endpoints"))
			at = s->r;
		json_skip(&s->r);
	}
	status_again(s, at, count_items, &row);
	if (!row.has_total)
		row.total = row.shown;
	service_notes(&row);
	sb_fmt(&row.load.state, "%llu endpoint%s", (unsigned long long)row.total, row.total == 1 ? "" : "s");
	load_cells(s, t, &row.load, "", row.total && !str_is(sb_view(&row.truth), "not serving") ? TONE_PLAIN : TONE_BAD, sb_view(&row.load.name));
	status_again(s, at, endpoints, &row);
	if (row.total > row.shown) {
		s->text.n = 0;
		sb_fmt(&s->text, "and %llu more: thinmesh status --all SERVICE", (unsigned long long)(row.total - row.shown));
		status_below(t, TONE_DIM, status_z(&s->text));
	}
	sb_end(&row.truth);
	load_end(&row.load);
}

/* Where all is in plain text there is no word of TLS, and no column of it. */
static void plain_unsaid(struct cli_table *t)
{
	for (size_t i = TLS_COLUMN; i < t->used; i += t->count)
		if (*t->cells[i].text && !str_is(str_of(t->cells[i].text), "plain"))
			return;
	for (size_t i = TLS_COLUMN; i < t->used; i += t->count)
		t->cells[i].text[0] = '\0';
}

void status_services(struct status *s)
{
	static const struct cli_column columns[] = {{"SERVICE", false, STATUS_NAME_MOST}, {"STATE", false, 0}, {"LOAD", true, 0}, {"CONNS", true, 0}, {"CALLS", true, 0}, {"/S", true, 0},
		{"ERRORS", true, 0}, {"/S", true, 0}, {"TLS", false, 0}, {"", false, 0}};
	struct cli_table t = TABLE_OF(columns);

	json_open(&s->r, '[');
	while (json_item(&s->r))
		service(s, &t);
	plain_unsaid(&t);
	sb_str(s->out, t.used ? "\n" : "\nno services\n");
	if (t.used)
		cli_table_print(&t, s->colour, s->out);
}
