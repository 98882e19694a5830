/* sidecar/cli_status_certs: `thinmesh status --certs`: a row a certificate and a bundle of roots; below it the names it has, and why there is none or no newer one. */
#include "sidecar/cli_status_int.h"

struct cert_row {
	struct sb kind, app, name, source, state, id, issuer, why, sans, until;
	uint64_t left_s, ended_s, since_s, renews_s, count;
	bool has_end, ended, renews, since;
};

/* The names that it has beside its first; or, of roots, who they are. Bounded by the daemon. */
static void names(struct status *s, struct cert_row *c, const char *member)
{
	json_open(&s->r, '[');
	while (json_item(&s->r)) {
		if (!member) {
			json_text(&s->r, &s->value);
			if (!str_eq(sb_view(&s->value), sb_view(&c->id)))
				status_note(&c->sans, "", status_z(&s->value));
			continue;
		}
		json_open(&s->r, '{');
		while (status_key(s))
			if (status_key_is(s, member)) {
				json_text(&s->r, &s->value);
				status_note(&c->sans, "", status_z(&s->value));
			} else {
				json_skip(&s->r);
			}
	}
}

static bool cert_text(struct status *s, struct cert_row *c)
{
	const struct { const char *name; struct sb *text; } texts[] = {{"kind", &c->kind}, {"app", &c->app}, {"name", &c->name}, {"source", &c->source}, {"state", &c->state}, {"id", &c->id},
		{"issuer", &c->issuer}, {"why", &c->why}, {"not_after", &c->until}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (status_key_is(s, texts[i].name)) {
			json_text(&s->r, texts[i].text);
			return true;
		}
	return false;
}

static bool cert_number(struct status *s, struct cert_row *c)
{
	const struct { const char *name; uint64_t *number; bool *has; } numbers[] = {{"left_s", &c->left_s, &c->has_end}, {"ended_s", &c->ended_s, &c->ended}, {"since_s", &c->since_s, &c->since},
		{"renews_s", &c->renews_s, &c->renews}, {"count", &c->count, NULL}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (status_key_is(s, numbers[i].name)) {
			*numbers[i].number = json_u64(&s->r);
			if (numbers[i].has)
				*numbers[i].has = true;
			return true;
		}
	return false;
}

static void span_cell(struct cli_table *t, enum cli_tone tone, bool known, uint64_t s, const char *behind)
{
	struct sb text = {0};

	if (known)
		status_span(&text, s);
	cli_table_add(t, tone, "%s%s", status_z(&text), known ? behind : "");
	sb_end(&text);
}

static void cert_cells(struct cert_row *c, struct cli_table *t)
{
	bool ready = str_is(sb_view(&c->state), "ready");

	cli_table_add(t, TONE_PLAIN, "%s", c->id.n ? status_z(&c->id) : status_z(&c->name));
	cli_table_add(t, TONE_PLAIN, "%s", status_z(&c->app));
	cli_table_add(t, TONE_PLAIN, "%s", status_z(&c->kind));
	cli_table_add(t, ready && !c->ended ? TONE_GOOD : TONE_BAD, "%s", c->ended ? "ended" : status_z(&c->state));
	span_cell(t, TONE_PLAIN, c->since, c->since_s, "");
	span_cell(t, c->ended ? TONE_BAD : TONE_PLAIN, c->has_end, c->ended ? c->ended_s : c->left_s, c->ended ? " ago" : "");
	if (c->renews && !c->renews_s)
		cli_table_add(t, TONE_PLAIN, "now");
	else
		span_cell(t, TONE_PLAIN, c->renews, c->renews_s, "");
	cli_table_add(t, TONE_DIM, "%s", status_z(&c->source));
}

static void cert(struct status *s, struct cli_table *t)
{
	struct cert_row c = {0};
	struct sb line = {0};

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (cert_text(s, &c) || cert_number(s, &c))
			continue;
		if (status_key_is(s, "sans"))
			names(s, &c, NULL);
		else if (status_key_is(s, "roots"))
			names(s, &c, "subject");
		else
			json_skip(&s->r);
	}
	cert_cells(&c, t);
	if (c.issuer.n)
		sb_fmt(&line, "until %s, issued by %s", status_z(&c.until), status_z(&c.issuer));
	if (c.sans.n)
		status_note(&line, c.issuer.n ? "also " : "", status_z(&c.sans));
	if (line.n)
		status_below(t, TONE_DIM, status_z(&line));
	if (c.why.n)
		status_below(t, TONE_BAD, status_z(&c.why));
	struct sb *ends[] = {&c.kind, &c.app, &c.name, &c.source, &c.state, &c.id, &c.issuer, &c.why, &c.sans, &c.until, &line};
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sb_end(ends[i]);
}

bool cli_certs_text(struct str json, uint64_t now_unix_ms, bool colour, struct rates *rates, struct sb *out)
{
	static const struct cli_column columns[] = {{"NAME", false, STATUS_NAME_MOST}, {"APP", false, 0}, {"KIND", false, 0}, {"STATE", false, 0}, {"FOR", false, 0}, {"ENDS IN", false, 0},
		{"RENEWED IN", false, 0}, {"FROM", false, 0}};
	struct status s = {.r = json_of(json), .out = out, .now_ms = now_unix_ms, .colour = colour};
	struct cli_table t = TABLE_OF(columns);
	uint64_t more = 0;
	bool seen = false;

	(void)rates;
	json_open(&s.r, '{');
	while (status_key(&s)) {
		if (status_key_is(&s, "more")) {
			more = json_u64(&s.r);
		} else if (status_key_is(&s, "secrets")) {
			seen = true;
			json_open(&s.r, '[');
			while (json_item(&s.r))
				cert(&s, &t);
		} else {
			json_skip(&s.r);
		}
	}
	if (!t.used)
		sb_str(out, "no certificates and no roots: nothing is encrypted here\n");
	else
		cli_table_print(&t, colour, out);
	if (more)
		sb_fmt(out, "and %llu more\n", (unsigned long long)more);
	sb_end(&s.key);
	sb_end(&s.text);
	sb_end(&s.value);
	return !s.r.bad && seen;
}
