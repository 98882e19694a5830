/* sidecar/expiry: see the header. What was told of a certificate is kept at its secret (secret.warned), which forgets it with the next one. */
#include "sidecar/expiry.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "sidecar/identities.h"
#include "sidecar/sidecar.h"

enum { FINE, QUARTER, TWENTIETH, OVER };
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

static void warn(const struct expiry *e, const struct secret *s, int stage, int64_t to)
{
	struct identity_info id = {.app = ""};
	char span[32], day[32] = "?";
	time_t at = (time_t)to;
	struct tm tm;
	bool owned = identities_own(e->sc->identities, s, &id);
	const char *why = owned && *id.last_error ? id.last_error : s->why;

	if (gmtime_r(&at, &tm))
		strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%SZ", &tm);
	text_span(span, sizeof span, to - e->now_s);
	if (stage == OVER && owned) /* sidecar/identities and xds/csr tell of it, and do something about it */
		return;
	if (stage == OVER)
		log_warn(e->sc->log, "certificate '%s' of %s has ended (%s) and no other has come: peers refuse it, what needs it fails until there is one%s%s", tls_cert_id(s->cert), s->source, day,
			why ? "; last failure: " : "", why ? why : "");
	else
		log_warn(e->sc->log, "%s%s%scertificate '%s' of %s ends in %s (%s) and no other has come; it is used to its end%s%s", owned ? "app '" : "", id.app, owned ? "': " : "",
			tls_cert_id(s->cert), s->source, span, day, why ? "; last failure: " : "", why ? why : "");
}

static void look(void *ctx, struct secret *s)
{
	struct expiry *e = ctx;
	int64_t from, to;
	int stage = FINE;

	if (!s->cert)
		return;
	tls_cert_times(s->cert, &from, &to);
	const int64_t life = to > from ? to - from : 0, due[] = {to - life / 4, to - life / 20, to};
	while (stage < OVER && e->now_s >= due[stage])
		stage++;
	if (stage > s->warned) {
		s->warned = (uint8_t)stage;
		warn(e, s, stage, to);
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
