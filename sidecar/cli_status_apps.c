/* sidecar/cli_status_apps: the apps of `thinmesh status`: a row an app, its other sockets below it, then what is out of the ordinary: why it is not open, who said so, who has not heard. */
#include "sidecar/cli_status_int.h"

struct app_row {
	struct cli_table *t;
	struct sb name, state, span, why, notes, registry, told, identity, lacks;
	uint64_t calls, parked, in_flight;
	bool told_ok, inbound;
	const char *what;          /* of the sockets that are being read: " (calls to it)" */
	bool first;
};

/* ---- notes ---- */

static void by(struct status *s, struct app_row *a)
{
	uint64_t uid = 0, pid = 0;

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "uid"))
			uid = json_u64(&s->r);
		else if (status_key_is(s, "pid"))
			pid = json_u64(&s->r);
		else
			json_skip(&s->r);
	}
	sb_fmt(&a->notes, "%ssaid by uid %llu, pid %llu", a->notes.n ? "; " : "", (unsigned long long)uid, (unsigned long long)pid);
}

static void check(struct status *s, struct app_row *a)
{
	struct sb kind = {0}, state = {0};

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "kind"))
			json_text(&s->r, &kind);
		else if (status_key_is(s, "state"))
			json_text(&s->r, &state);
		else
			json_skip(&s->r);
	}
	sb_fmt(&a->notes, "%sits %s check: %s", a->notes.n ? "; " : "", status_z(&kind), status_z(&state));
	sb_end(&kind);
	sb_end(&state);
}

struct identity_row {
	struct sb id, source, state, roots, why, last_root;
	uint64_t left_s, ended_s, age_s, renews_s, roots_left_s, roots_ended_s;
	bool has_end, ended, renews, roots_known, roots_ended, roots_ending;
};

static bool identity_key(struct status *s, struct identity_row *d)
{
	const struct { const char *name; struct sb *text; } texts[] = {{"id", &d->id}, {"source", &d->source}, {"state", &d->state}, {"roots", &d->roots}, {"why", &d->why}, {"last_root", &d->last_root}};
	const struct { const char *name; uint64_t *number; bool *has; } numbers[] = {{"left_s", &d->left_s, &d->has_end}, {"ended_s", &d->ended_s, &d->ended}, {"age_s", &d->age_s, &d->has_end},
		{"renews_s", &d->renews_s, &d->renews}, {"roots_left_s", &d->roots_left_s, &d->roots_known}, {"roots_ended_s", &d->roots_ended_s, &d->roots_ended}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (status_key_is(s, texts[i].name)) {
			json_text(&s->r, texts[i].text);
			return true;
		}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (status_key_is(s, numbers[i].name)) {
			*numbers[i].number = json_u64(&s->r);
			return *numbers[i].has = true;
		}
	if (!status_key_is(s, "roots_ending"))
		return false;
	d->roots_ending = json_bool(&s->r);
	return true;
}

static void roots_note(struct app_row *a, struct identity_row *d)
{
	if (!d->roots_ending)
		return;
	sb_fmt(&a->lacks, "%sthe last of its roots, '%s', %s ", a->lacks.n ? "; " : "", status_z(&d->last_root), d->roots_ended ? "has ended" : "ends in");
	status_span(&a->lacks, d->roots_ended ? d->roots_ended_s : d->roots_left_s);
	if (d->roots_ended)
		sb_str(&a->lacks, " ago");
}

/* "spiffe://..., sds unix:/run/x: 2m 0s old, ends in 23h 58m"; what is wrong with it is told in a line of its own. */
static void identity(struct status *s, struct app_row *a)
{
	struct identity_row d = {0};

	json_open(&s->r, '{');
	while (status_key(s))
		if (!identity_key(s, &d))
			json_skip(&s->r);
	sb_fmt(&a->identity, "%s, %s: ", status_z(&d.id), status_z(&d.source));
	if (d.ended) {
		sb_str(&a->lacks, "its certificate has ended, ");
		status_span(&a->lacks, d.ended_s);
		sb_str(&a->lacks, " ago");
	} else if (!d.has_end) {
		sb_fmt(&a->lacks, "no certificate yet (%s)", status_z(&d.state));
	}
	if (d.has_end) {
		status_span(&a->identity, d.age_s);
		sb_str(&a->identity, " old");
	} else {
		sb_str(&a->identity, "none yet");
	}
	if (d.has_end && !d.ended) {
		sb_str(&a->identity, ", ends in ");
		status_span(&a->identity, d.left_s);
	}
	if (d.has_end && d.renews) {
		sb_str(&a->identity, d.renews_s ? ", renewed in " : ", is being renewed");
		if (d.renews_s)
			status_span(&a->identity, d.renews_s);
	}
	if (!str_is(sb_view(&d.roots), "ready"))
		sb_fmt(&a->lacks, "%sno roots yet (%s)", a->lacks.n ? "; " : "", status_z(&d.roots));
	roots_note(a, &d);
	if (d.why.n)
		sb_fmt(&a->lacks, "%s%s", a->lacks.n ? ": " : "its certificate: last failure: ", status_z(&d.why));
	struct sb *ends[] = {&d.id, &d.source, &d.state, &d.roots, &d.why, &d.last_root};
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		sb_end(ends[i]);
}

/* What the mesh was told is worth a word when it differs from what is. */
static void told_note(struct app_row *a)
{
	bool ok = str_is(sb_view(&a->state), "ok");

	if (str_is(sb_view(&a->told), "false"))
		sb_fmt(&a->notes, "%s%s has not been told", a->notes.n ? "; " : "", status_z(&a->registry));
	else if (str_is(sb_view(&a->told), "true") && a->told_ok == ok)
		sb_fmt(&a->notes, "%s%s has been told", a->notes.n ? "; " : "", status_z(&a->registry));
	else if (str_is(sb_view(&a->told), "true"))
		sb_fmt(&a->notes, "%s%s was told %s", a->notes.n ? "; " : "", status_z(&a->registry), a->told_ok ? "ok" : "fail");
}

/* ---- the row ---- */

static void app_cells(struct app_row *a, const char *address, enum cli_tone tone, uint64_t connections)
{
	struct cli_table *t = a->t;

	cli_table_add(t, TONE_PLAIN, "%s", a->first ? status_z(&a->name) : "");
	cli_table_add(t, status_tone(sb_view(&a->state)), "%s", a->first ? status_z(&a->state) : "");
	cli_table_add(t, TONE_PLAIN, "%s", a->first ? status_z(&a->span) : "");
	if (a->first && a->parked) /* they wait for a name: seldom, and then worth to be seen */
		cli_table_add(t, TONE_BAD, "%llu, %llu parked", (unsigned long long)a->calls, (unsigned long long)a->parked);
	else if (a->first)
		cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)a->calls);
	else
		cli_table_add(t, TONE_PLAIN, "%s", "");
	if (a->first && a->inbound)
		cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)a->in_flight);
	else
		cli_table_add(t, TONE_PLAIN, "%s", "");
	cli_table_add(t, TONE_PLAIN, "%llu", (unsigned long long)connections);
	cli_table_add(t, tone, "%s%s", address, a->what);
	a->first = false;
}

/* The first socket stands in the app's row, the others below it. */
static void sockets(struct status *s, void *user)
{
	struct app_row *a = user;

	json_open(&s->r, '[');
	while (json_item(&s->r)) {
		uint64_t connections = 0;

		s->text.n = 0;
		json_open(&s->r, '{');
		while (status_key(s)) {
			if (status_key_is(s, "address"))
				json_text(&s->r, &s->text);
			else if (status_key_is(s, "connections"))
				connections = json_u64(&s->r);
			else
				json_skip(&s->r);
		}
		app_cells(a, status_z(&s->text), TONE_PLAIN, connections);
	}
}

static void has_any(struct status *s, void *user)
{
	json_open(&s->r, '[');
	while (json_item(&s->r)) {
		*(bool *)user = true;
		json_skip(&s->r);
	}
}

static bool app_text(struct status *s, struct app_row *a)
{
	const struct { const char *name; struct sb *text; } texts[] = {{"name", &a->name}, {"state", &a->state}, {"why", &a->why}, {"registry", &a->registry}, {"told", &a->told}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (status_key_is(s, texts[i].name)) {
			json_text(&s->r, texts[i].text);
			return true;
		}
	return false;
}

static bool app_number(struct status *s, struct app_row *a)
{
	const struct { const char *name; uint64_t *number; } numbers[] = {{"calls_active", &a->calls}, {"calls_parked", &a->parked}, {"in_flight", &a->in_flight}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (status_key_is(s, numbers[i].name)) {
			*numbers[i].number = json_u64(&s->r);
			return true;
		}
	return false;
}

static void app_life(struct status *s, struct app_row *a)
{
	uint64_t n;

	if (status_key_is(s, "since_unix_ms")) {
		n = json_u64(&s->r);
		status_span(&a->span, s->now_ms > n ? (s->now_ms - n) / 1000 : 0);
	} else if (status_key_is(s, "by")) {
		by(s, a);
	} else if (status_key_is(s, "check")) {
		check(s, a);
	} else if (status_key_is(s, "identity")) {
		identity(s, a);
	} else if (status_key_is(s, "told_ok")) {
		a->told_ok = json_bool(&s->r);
	} else if (status_key_is(s, "lease_ms")) {
		sb_fmt(&a->notes, "%sfor ", a->notes.n ? "; " : "");
		status_span(&a->notes, (json_u64(&s->r) + 999) / 1000);
		sb_str(&a->notes, " more");
	} else if (status_key_is(s, "processes")) {
		if ((n = json_u64(&s->r)))
			sb_fmt(&a->notes, "%s%llu process%s watched", a->notes.n ? "; " : "", (unsigned long long)n, n == 1 ? "" : "es");
	} else {
		json_skip(&s->r);
	}
}

/* Keys come in any order; sockets need the app's own first, so they are read a second time once the rest is known. */
static void app(struct status *s, struct cli_table *t)
{
	struct app_row a = {.t = t, .first = true, .what = ""};
	struct json listen = {0}, inbound = {0}, health = {0};

	json_open(&s->r, '{');
	while (status_key(s)) {
		struct json *at = status_key_is(s, "listen") ? &listen : status_key_is(s, "inbound") ? &inbound : status_key_is(s, "health") ? &health : NULL;

		if (at) {
			*at = s->r;
			json_skip(&s->r);
		} else if (!app_text(s, &a) && !app_number(s, &a)) {
			app_life(s, &a);
		}
	}
	status_again(s, inbound, has_any, &a.inbound);
	status_again(s, listen, sockets, &a);
	a.what = " (calls to it)";
	status_again(s, inbound, sockets, &a);
	a.what = " (its health)";
	status_again(s, health, sockets, &a);
	a.what = "";
	if (a.first) /* it listens nowhere yet, and is told all the same */
		app_cells(&a, "nowhere", TONE_BAD, 0);
	told_note(&a);
	if (a.why.n)
		status_below(t, str_is(sb_view(&a.state), "ok") ? TONE_DIM : TONE_PLAIN, status_z(&a.why));
	if (a.notes.n)
		status_below(t, TONE_DIM, status_z(&a.notes));
	if (a.identity.n)
		status_below(t, TONE_DIM, status_z(&a.identity));
	if (a.lacks.n)
		status_below(t, TONE_BAD, status_z(&a.lacks));
	struct sb *texts[] = {&a.identity, &a.lacks, &a.name, &a.state, &a.span, &a.why, &a.notes, &a.registry, &a.told};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		sb_end(texts[i]);
}

void status_apps(struct status *s)
{
	static const struct cli_column columns[] = {{"APP", false, STATUS_NAME_MOST}, {"STATE", false, 0}, {"FOR", false, 0}, {"OPEN", true, 0}, {"IN", true, 0}, {"CONNS", true, 0},
		{"LISTENS ON", false, 0}};
	struct cli_table t = TABLE_OF(columns);

	json_open(&s->r, '[');
	while (json_item(&s->r))
		app(s, &t);
	sb_str(s->out, t.used ? "\n" : "\nno apps\n");
	if (t.used)
		cli_table_print(&t, s->colour, s->out);
}
