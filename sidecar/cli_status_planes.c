/* sidecar/cli_status_planes: the control planes of `thinmesh status`. */
#include <string.h>
#include "sidecar/cli_int.h"
#include "sidecar/cli_status_int.h"

struct plane_row {
	struct sb view, server, state, profile, protocol, error, snapshot, types, told, ok, ago;
	uint64_t since_s, names, unknown, absent, stale;
	bool up, experimental, on_disk;
};

/* "CDS 3/3 2026-01-01T00:00:00Z/7" */
static void plane_type(struct status *s, struct plane_row *p)
{
	uint64_t wanted = 0, present = 0, rejected = 0;
	struct sb version = {0}, reject = {0}, type = {0};

	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "type"))
			json_text(&s->r, &type);
		else if (status_key_is(s, "wanted"))
			wanted = json_u64(&s->r);
		else if (status_key_is(s, "present"))
			present = json_u64(&s->r);
		else if (status_key_is(s, "update_rejected"))
			rejected = json_u64(&s->r);
		else if (status_key_is(s, "version"))
			json_text(&s->r, &version);
		else if (status_key_is(s, "last_reject"))
			json_text(&s->r, &reject);
		else
			json_skip(&s->r);
	}
	if (wanted || version.n || rejected) {
		sb_fmt(&p->types, "  %s %llu of %llu", status_z(&type), (unsigned long long)present, (unsigned long long)wanted);
		if (version.n)
			sb_fmt(&p->types, ", version %s", status_z(&version));
		if (rejected)
			sb_fmt(&p->types, ", %llu answers refused, the last for: %s", (unsigned long long)rejected, status_z(&reject));
		sb_char(&p->types, '\n');
	}
	sb_end(&version);
	sb_end(&reject);
	sb_end(&type);
}

static void plane_snapshot(struct status *s, struct plane_row *p)
{
	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "state"))
			json_text(&s->r, &p->snapshot);
		else if (status_key_is(s, "on_disk"))
			p->on_disk = json_bool(&s->r);
		else
			json_skip(&s->r);
	}
}

/* What it was told of the health of the app. */
static void plane_health(struct status *s, struct plane_row *p)
{
	json_open(&s->r, '{');
	while (status_key(s)) {
		if (status_key_is(s, "told"))
			json_text(&s->r, &p->told);
		else if (status_key_is(s, "ok"))
			json_text(&s->r, &p->ok);
		else if (status_key_is(s, "sent_s_ago"))
			json_text(&s->r, &p->ago);
		else
			json_skip(&s->r);
	}
}

static void plane_health_say(struct status *s, const struct plane_row *p)
{
	const char *word = str_is(sb_view(&p->ok), "true") ? "ok" : "fail";

	if (str_is(sb_view(&p->told), "sent")) {
		sb_fmt(s->out, "  health: told %s", word);
		if (p->ago.n)
			sb_fmt(s->out, ", %ss ago", p->ago.p);
		sb_char(s->out, '\n');
	} else if (str_is(sb_view(&p->told), "waits")) {
		sb_fmt(s->out, "  health: %s, to be told as soon as it is there\n", word);
	}
}

static void plane_say(struct status *s, const struct plane_row *p)
{
	struct sb *out = s->out, line = {0};

	sb_str(out, "\ncontrol plane ");
	cli_printable(out, sb_view(&p->server));
	sb_str(out, ": ");
	cli_tone(out, s->colour, p->up ? TONE_GOOD : strcmp(status_z(&p->state), "back-off") == 0 ? TONE_BAD : TONE_PLAIN, status_z(&p->state));
	sb_str(out, " for ");
	status_span(out, p->since_s);
	if (strcmp(status_z(&p->state), "open") == 0)
		sb_str(out, p->names ? ", has not answered yet" : ", nothing was asked yet");
	sb_fmt(out, ", %s%s, %s; view ", status_z(&p->profile), p->experimental ? " (experimental)" : "", status_z(&p->protocol));
	cli_printable(out, sb_view(&p->view));
	sb_fmt(out, "\n  names: %llu wanted, %llu not answered yet, %llu absent, %llu stale; snapshot %s%s\n", (unsigned long long)p->names, (unsigned long long)p->unknown,
		(unsigned long long)p->absent, (unsigned long long)p->stale, p->on_disk ? "on disk, " : "", status_z(&p->snapshot));
	plane_health_say(s, p);
	for (const char *at = status_z(&p->types); *at;) {
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
	while (status_key(s)) {
		bool found = false;

		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !found; i++)
			if ((found = status_key_is(s, texts[i].name)))
				json_text(&s->r, texts[i].text);
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !found; i++)
			if ((found = status_key_is(s, numbers[i].name)))
				*numbers[i].number = json_u64(&s->r);
		if (found)
			continue;
		if (status_key_is(s, "up")) {
			p.up = json_bool(&s->r);
		} else if (status_key_is(s, "experimental")) {
			p.experimental = json_bool(&s->r);
		} else if (status_key_is(s, "health")) {
			plane_health(s, &p);
		} else if (status_key_is(s, "snapshot")) {
			plane_snapshot(s, &p);
		} else if (status_key_is(s, "types")) {
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
	struct sb *rest[] = {&p.snapshot, &p.types, &p.told, &p.ok, &p.ago};
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		sb_end(rest[i]);
}

void status_planes(struct status *s)
{
	json_open(&s->r, '[');
	while (json_item(&s->r))
		plane(s);
}
