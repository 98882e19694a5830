/* sidecar/cli_status_page: the page as text: the daemon, then its apps, services and control planes. */
#include <stdlib.h>
#include "sidecar/cli_int.h"
#include "sidecar/cli_status_int.h"

/* ---- words ------------------------------------------------------------------------------------------------------------------- */

void status_span(struct sb *out, uint64_t s)
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

enum cli_tone status_tone(struct str state)
{
	static const char *const good[] = {"ok", "up", "healthy"}, *const bad[] = {"failing", "gone", "backoff", "unhealthy", "ejected", "check failed", "no TLS"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (str_is(state, good[i]))
			return TONE_GOOD;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (str_is(state, bad[i]))
			return TONE_BAD;
	return TONE_PLAIN;
}

void status_note(struct sb *out, const char *before, const char *text)
{
	sb_fmt(out, "%s%s%s", out->n ? ", " : "", before, text);
}

void status_below(struct cli_table *t, enum cli_tone tone, const char *text)
{
	cli_table_add(t, tone, "    %s", text);
	for (uint32_t i = 1; i < t->count; i++)
		cli_table_add(t, TONE_PLAIN, "%s", "");
}

void status_again(struct status *s, struct json at, void (*fn)(struct status *s, void *user), void *user)
{
	struct json after = s->r;

	if (!at.p || after.bad)
		return;
	s->r = at;
	fn(s, user);
	after.bad = s->r.bad;
	s->r = after;
}

/* ---- the daemon ---------------------------------------------------------------------------------------------------------------- */

struct daemon_row {
	struct sb version, upgrade;
	uint64_t pid, uptime_s, uptime_ms, memory, calls, active, failed, thaws;
	bool ready, draining, frozen, settling;
};

static void freeze(struct status *s, struct daemon_row *d)
{
	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "frozen"))
			d->frozen = json_bool(&s->r);
		else if (status_key_is(s, "settling"))
			d->settling = json_bool(&s->r);
		else if (status_key_is(s, "thaws"))
			d->thaws = json_u64(&s->r);
		else
			json_skip(&s->r);
	}
}

static void upgrade(struct status *s, struct daemon_row *d)
{
	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "state"))
			json_text(&s->r, &d->upgrade);
		else
			json_skip(&s->r);
	}
}

static bool daemon_key(struct status *s, struct daemon_row *d)
{
	const struct { const char *name; uint64_t *number; } rows[] = {{"pid", &d->pid}, {"uptime_s", &d->uptime_s}, {"uptime_ms", &d->uptime_ms}, {"memory_bytes", &d->memory},
		{"calls", &d->calls}, {"calls_active", &d->active}, {"calls_failed", &d->failed}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (status_key_is(s, rows[i].name)) {
			*rows[i].number = json_u64(&s->r);
			return true;
		}
	if (status_key_is(s, "version"))
		json_text(&s->r, &d->version);
	else if (status_key_is(s, "ready"))
		d->ready = json_bool(&s->r);
	else if (status_key_is(s, "draining"))
		d->draining = json_bool(&s->r);
	else if (status_key_is(s, "freeze"))
		freeze(s, d);
	else if (status_key_is(s, "upgrade"))
		upgrade(s, d);
	else
		return false;
	return true;
}

/* What is not every day's. */
static void head_notes(struct status *s, const struct daemon_row *d)
{
	static const struct { const char *state, *text; } upgrades[] = {{"waiting", "follows another process, which serves yet"}, {"lending", "a hot upgrade begins"},
		{"left", "another process has taken over"}};

	if (d->frozen)
		sb_str(s->out, "; frozen");
	else if (d->thaws)
		sb_fmt(s->out, "; thawed %llu time%s%s", (unsigned long long)d->thaws, d->thaws == 1 ? "" : "s", d->settling ? ", the last one just now" : "");
	for (size_t i = 0; i < sizeof(upgrades) / sizeof(upgrades[0]); i++)
		if (str_is(sb_view(&d->upgrade), upgrades[i].state))
			sb_fmt(s->out, "; %s", upgrades[i].text);
}

static void head(struct status *s, const struct daemon_row *d)
{
	struct sb *out = s->out;
	double calls, failed;

	sb_str(out, "thinmesh ");
	cli_printable(out, sb_view(&d->version));
	sb_fmt(out, ", pid %llu: ", (unsigned long long)d->pid);
	cli_tone(out, s->colour, d->ready && !d->draining ? TONE_GOOD : TONE_BAD, d->draining ? "draining" : d->ready ? "ready" : "starting");
	sb_str(out, ", up ");
	status_span(out, d->uptime_s);
	head_notes(s, d);
	sb_fmt(out, "\ncalls: %llu, %llu open, ", (unsigned long long)d->calls, (unsigned long long)d->active);
	s->text.n = 0;
	sb_fmt(&s->text, "%llu failed", (unsigned long long)d->failed);
	cli_tone(out, s->colour, d->failed ? TONE_BAD : TONE_PLAIN, s->text.p);
	if (s->rates && rates_take(s->rates, STR("\n"), d->calls, d->failed, &calls, &failed)) {
		sb_str(out, ", ");
		rates_text(out, calls);
		sb_str(out, "/s, failed ");
		rates_text(out, failed);
		sb_str(out, "/s");
	}
	sb_str(out, "; memory: ");
	size(out, d->memory);
	sb_char(out, '\n');
}

/* ---- the page ------------------------------------------------------------------------------------------------------------------ */

bool cli_status_text(struct str json, uint64_t now_unix_ms, bool colour, struct rates *rates, struct sb *out)
{
	struct status s = {.r = json_of(json), .out = out, .rates = rates, .now_ms = now_unix_ms, .colour = colour};
	struct daemon_row d = {0};
	struct json apps_at = {0}, services_at = {0}, xds_at = {0};

	json_open(&s.r, '{');
	while (status_key(&s)) {
		if (daemon_key(&s, &d))
			continue;
		if (status_key_is(&s, "apps"))
			apps_at = s.r;
		else if (status_key_is(&s, "services"))
			services_at = s.r;
		else if (status_key_is(&s, "xds"))
			xds_at = s.r;
		json_skip(&s.r);
	}
	bool fine = !s.r.bad && apps_at.p && services_at.p;
	if (fine) {
		if (rates)
			rates_begin(rates, d.pid, d.uptime_ms);
		head(&s, &d);
		s.r = apps_at;
		status_apps(&s);
		fine = !s.r.bad;
		s.r = services_at;
		status_services(&s);
		fine = fine && !s.r.bad;
		if (fine && xds_at.p) {
			s.r = xds_at;
			status_planes(&s);
			fine = !s.r.bad;
		}
	}
	sb_end(&d.version);
	sb_end(&d.upgrade);
	sb_end(&s.key);
	sb_end(&s.text);
	sb_end(&s.value);
	return fine;
}
