/* sidecar/expiry: see the header. What was told of a certificate or of roots is kept at its secret (secret.warned), which forgets it with the next one. */
#include "sidecar/expiry.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "sidecar/identities.h"
#include "sidecar/sidecar.h"

enum { FINE, QUARTER, TWENTIETH, OVER };
enum { WEEK_S = 7 * 86400, MONTH_S = 30 * 86400 };
/* The wall's clock may be set, and no timer hears of it: looked at again at least so often. */
enum { LOOK_MAX_S = 3600 };
static const uint64_t second_ns = UINT64_C(1000000000);

struct expiry {
	struct sidecar *sc;    /* borrowed: the owner */
	struct task task;
	struct timer timer;
	int64_t now_s, next_s; /* of the sweep that is on; next_s: when something is due, INT64_MAX: never */
};

static void text_span(char *out, size_t n, int64_t s)
{
	if (s >= 86400)
		snprintf(out, n, "%lldd %lldh", (long long)(s / 86400), (long long)(s / 3600 % 24));
	else if (s >= 3600)
		snprintf(out, n, "%lldh %lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
	else if (s >= 60)
		snprintf(out, n, "%lldm %llds", (long long)(s / 60), (long long)(s % 60));
	else
		snprintf(out, n, "%llds", (long long)s);
}

/* When and in words: of a certificate, or of the last root of a bundle. */
struct end { int64_t from, to; char what[700]; };

static bool end_of(const struct secret *s, struct end *ret)
{
	struct tls_last_root last;

	if (s->cert) {
		tls_cert_times(s->cert, &ret->from, &ret->to);
		snprintf(ret->what, sizeof ret->what, "certificate '%.500s' of %.150s", tls_cert_id(s->cert), s->source);
		return true;
	}
	if (!s->trust || !tls_trust_last_root(s->trust, &last))
		return false;
	ret->from = last.begins;
	ret->to = last.ends;
	snprintf(ret->what, sizeof ret->what, "the last of the roots of %.150s%s%.150s, '%.250s',", s->source, last.domain ? " for trust domain " : "", last.domain ? last.domain : "", last.subject);
	return true;
}

static void warn(const struct expiry *e, const struct secret *s, int stage, const struct end *end)
{
	struct identity_info id = {.app = ""};
	char span[32], day[32] = "?", whose[128] = "", last[SECRET_WHY + 32] = "";
	time_t at = (time_t)end->to;
	struct tm tm;
	bool owned = identities_own(e->sc->identities, s, &id);
	const char *why = owned && *id.last_error ? id.last_error : s->why;

	if (gmtime_r(&at, &tm))
		strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%SZ", &tm);
	text_span(span, sizeof span, end->to - e->now_s);
	if (owned)
		snprintf(whose, sizeof whose, "app '%.100s': ", id.app);
	if (why)
		snprintf(last, sizeof last, "; last failure: %s", why);
	if (stage == OVER && s->cert && owned) /* sidecar/identities and xds/csr tell of it, and do something about it */
		return;
	if (stage == OVER && s->cert)
		log_warn(e->sc->log, "%s%s has ended (%s) and no other has come: peers refuse it, what needs it fails until there is one%s", whose, end->what, day, last);
	else if (stage == OVER)
		log_warn(e->sc->log, "%s%s has ended (%s) and no others have come: nobody is trusted by them, what needs them fails until there are others%s", whose, end->what, day, last);
	else if (s->cert)
		log_warn(e->sc->log, "%s%s ends in %s (%s) and no other has come; it is used to its end%s", whose, end->what, span, day, last);
	else
		log_warn(e->sc->log, "%s%s ends in %s (%s) and no others have come; nobody is trusted by them afterwards%s", whose, end->what, span, day, last);
}

/* Roots live for years, and who hands them out needs weeks. */
static int64_t before(const struct secret *s, int64_t part, int64_t most)
{
	return !s->cert && part > most ? most : part;
}

static void look(void *ctx, struct secret *s)
{
	struct expiry *e = ctx;
	struct end end;
	int stage = FINE;

	if (!end_of(s, &end))
		return;
	const int64_t life = end.to > end.from ? end.to - end.from : 0;
	const int64_t due[] = {end.to - before(s, life / 4, MONTH_S), end.to - before(s, life / 20, WEEK_S), end.to};
	while (stage < OVER && e->now_s >= due[stage])
		stage++;
	if (stage > s->warned) {
		s->warned = (uint8_t)stage;
		warn(e, s, stage, &end);
	}
	if (stage < OVER && due[stage] < e->next_s)
		e->next_s = due[stage];
}

static void on_timer(struct timer *t);

static void sweep(struct task *t)
{
	struct expiry *e = container_of(t, struct expiry, task);
	struct loop *l = e->sc->loop;

	e->now_s = (int64_t)(l->ops->wall_ns(l->ops_ctx) / second_ns);
	e->next_s = INT64_MAX;
	transports_each_secret(e->sc->transports, look, e);
	timer_cancel(l, &e->timer);
	if (e->next_s == INT64_MAX)
		return;
	int64_t in_s = e->next_s - e->now_s;
	timer_in(l, &e->timer, (uint64_t)(in_s > LOOK_MAX_S ? LOOK_MAX_S : in_s) * second_ns, on_timer);
}

static void on_timer(struct timer *t)
{
	sweep(&container_of(t, struct expiry, timer)->task);
}

/* In a task: a certificate that comes with the one before it in the same turn has nothing to say. */
static void look_later(void *ctx)
{
	struct expiry *e = ctx;

	loop_defer(e->sc->loop, &e->task, sweep);
}

void expiry_thaw(struct expiry *e)
{
	if (timer_armed(&e->timer))
		look_later(e);
}

struct expiry *expiry_new(struct sidecar *sc)
{
	struct expiry *e = xnew(struct expiry);

	e->sc = sc;
	transports_set_look(sc->transports, look_later, e);
	return e;
}

void expiry_free(struct expiry **at)
{
	struct expiry *e = *at;

	*at = NULL;
	if (!e)
		return;
	transports_set_look(e->sc->transports, NULL, NULL);
	loop_undefer(&e->task);
	timer_cancel(e->sc->loop, &e->timer);
	free(e);
}
