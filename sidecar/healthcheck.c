/* sidecar/healthcheck: see healthcheck.h. */
#include "sidecar/healthcheck.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "sidecar/inbound.h"
#include "sidecar/local.h"
#include "sidecar/readiness.h"
#include "sidecar/sidecar.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)
/* A lease shorter than a turn's jitter says nothing; one longer than a month is none. */
static const uint64_t ttl_min_ns = 100 * MS, ttl_max_ns = 31 * 24 * HOUR, wait_max_ns = HOUR;

/* A post that is answered when the app is drained, or its time is over. Owner: the app's list, until it is answered or its stream has ended. */
struct wait_post {
	struct list node;
	struct app *app;               /* borrowed: it outlives its calls */
	struct local_later *later;
	struct life_wait inbound;      /* with inbound doors: nothing is in flight */
	struct timer timer;            /* without: as long as it may take */
	uint64_t begun_ns;
	bool drained;
};

/* ---- the answer ---- */

static void add_time(struct sb *b, uint64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / SECOND);
	struct tm tm;
	char text[32];
	gmtime_r(&s, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	sb_fmt(b, "\"%s.%03uZ\"", text, (unsigned)(wall_ns % SECOND / MS));
}

/* registry: which kind of control plane; told: null where it has no use for it, or there is none. */
static void add_registry(struct sb *b, const struct app *a)
{
	struct xds_health h;
	sb_fmt(b, ",\"registry\":\"%s\"", readiness_registry(a));
	if (!readiness_get(a, &h)) {
		sb_str(b, ",\"told\":null");
		return;
	}
	sb_fmt(b, ",\"told\":%s,\"told_state\":\"%s\"", h.told == XDS_TOLD_SENT ? "true" : "false", xds_told_name(h.told));
	if (h.told == XDS_TOLD_SENT)
		sb_fmt(b, ",\"told_ok\":%s,\"told_ms_ago\":%llu", h.ok ? "true" : "false", (unsigned long long)((a->sc->loop->now_ns - h.sent_ns) / MS));
}

static void health_json(struct local_call *c, const struct wait_post *w)
{
	struct app *a = c->app;
	struct sb *b = &c->body;
	uint64_t now = a->sc->loop->now_ns;
	struct life_view v;
	life_view(a->life, &v);
	c->type = "application/json";
	c->as_grpc = c->is_grpc;
	sb_str(b, "{\"app\":");
	sb_json(b, str_of(a->conf->name));
	sb_fmt(b, ",\"state\":\"%s\",\"why\":", life_state_name(v.state));
	sb_json(b, str_of(v.why));
	sb_str(b, ",\"since\":");
	add_time(b, v.since_wall_ns);
	sb_fmt(b, ",\"since_unix_ms\":%llu", (unsigned long long)(v.since_wall_ns / MS));
	if (inbound_is_there(a->inbound))
		sb_fmt(b, ",\"in_flight\":%u,\"wait\":\"nothing inbound is in flight\"", v.in_flight);
	else
		sb_str(b, ",\"in_flight\":null,\"wait\":\"the mesh has been told and drain.announce is over\"");
	add_registry(b, a);
	if (v.lease_until_ns)
		sb_fmt(b, ",\"lease_ms\":%llu", (unsigned long long)(v.lease_until_ns > now ? (v.lease_until_ns - now) / MS : 0));
	else
		sb_str(b, ",\"lease_ms\":null");
	sb_fmt(b, ",\"processes\":%u,\"check\":", v.processes);
	if (v.check)
		sb_fmt(b, "\"%s\"", v.check);
	else
		sb_str(b, "null");
	if (v.known)
		sb_fmt(b, ",\"asked_by\":{\"uid\":%u,\"pid\":%d}", v.uid, v.pid);
	sb_fmt(b, ",\"calls_active\":%u", a->calls);
	if (w)
		sb_fmt(b, ",\"drained\":%s,\"waited_ms\":%llu", w->drained ? "true" : "false", (unsigned long long)((now - w->begun_ns) / MS));
	sb_str(b, "}\n");
}

static void refuse(struct local_call *c, enum stat_id counter, int status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void refuse(struct local_call *c, enum stat_id counter, int status, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	stat_inc(&c->sc->loop->stats, counter);
	c->status = status;
	c->as_grpc = c->is_grpc;
	sb_fmt(&c->body, "%s\n", text);
}

/* ---- who may, and how often ---- */

static bool ids_have(const struct conf_allow *a, uint32_t id)
{
	for (uint32_t i = 0; i < a->count; i++)
		if (a->ids[i] == id)
			return true;
	return false;
}

static bool post_is_allowed(struct local_call *c)
{
	const struct conf_app_health *h = &c->app->conf->health;
	if (!h->allow_uid.count && !h->allow_gid.count)
		return true;
	if (c->cred->known && (ids_have(&h->allow_uid, c->cred->uid) || ids_have(&h->allow_gid, c->cred->gid)))
		return true;
	if (c->cred->known)
		refuse(c, STAT_POSTS_DENIED, 403, "uid %u, gid %u may not post for app '%s': apps[].health.allow does not name them", (unsigned)c->cred->uid, (unsigned)c->cred->gid, c->app->conf->name);
	else
		refuse(c, STAT_POSTS_DENIED, 403, "app '%s' takes posts from those whom apps[].health.allow names: who calls over TCP is known to nobody", c->app->conf->name);
	return false;
}

/* A bucket of one second's posts. */
static bool post_is_paid(struct local_call *c)
{
	struct healthcheck *h = &c->app->healthcheck;
	uint64_t now = c->sc->loop->now_ns, posts = c->app->conf->health.posts, from = h->full_ns > now ? h->full_ns : now;
	uint64_t until = from + SECOND / (posts ? posts : 1);
	if (until - now > SECOND) {
		refuse(c, STAT_POSTS_LIMIT, 429, "more than %llu posts a second (apps[].health.posts)", (unsigned long long)posts);
		return false;
	}
	h->full_ns = until;
	return true;
}

static bool post_may(struct local_call *c)
{
	return post_is_allowed(c) && post_is_paid(c);
}

/* ---- what a query says ---- */

struct post_query { uint64_t ttl_ns, wait_ns; bool has_ttl, has_wait, watch, has_pid; uint64_t pid, self; };

static bool bad_value(struct local_call *c, struct str key, struct str value, const char *wanted)
{
	refuse(c, STAT_POSTS_BAD, 400, "%.*s=%.*s is not understood, expected %s", (int)key.n, key.p, value.n < 60 ? (int)value.n : 60, value.p ? value.p : "", wanted);
	return false;
}

static bool take_duration(struct local_call *c, struct str key, struct str value, uint64_t min_ns, uint64_t max_ns, const char *wanted, bool *has, uint64_t *ret)
{
	if (*has || !str_duration_ns(value, ret) || *ret < min_ns || *ret > max_ns)
		return bad_value(c, key, value, *has ? "it once" : wanted);
	return *has = true;
}

static bool take_number(struct local_call *c, struct str key, struct str value, uint64_t *ret)
{
	if (*ret || !str_u64(value, ret) || !*ret || *ret > INT32_MAX)
		return bad_value(c, key, value, "the number of a process, once");
	return true;
}

/* keys: those that this path knows, with a blank between. */
static bool is_key_of(struct str key, const char *keys)
{
	for (const char *at = keys; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");
		if (str_eq(key, str_n((char *)at, n)))
			return true;
		at += n;
	}
	return false;
}

/* False: answered. */
static bool query_read(struct local_call *c, const char *keys, struct post_query *q)
{
	struct str left = c->query, key, value;
	*q = (struct post_query){0};
	while (local_query_next(&left, &key, &value)) {
		if (!is_key_of(key, keys)) {
			refuse(c, STAT_POSTS_BAD, 400, "'%.*s' is no key of this path, expected %s", key.n < 60 ? (int)key.n : 60, key.p, *keys ? keys : "none");
			return false;
		}
		if (str_is(key, "ttl") && !take_duration(c, key, value, ttl_min_ns, ttl_max_ns, "100ms to 744h", &q->has_ttl, &q->ttl_ns))
			return false;
		if (str_is(key, "wait") && !take_duration(c, key, value, 0, wait_max_ns, "0 to 1h", &q->has_wait, &q->wait_ns))
			return false;
		if (str_is(key, "watch") && !str_is(value, "pid"))
			return bad_value(c, key, value, "watch=pid");
		q->watch |= str_is(key, "watch");
		q->has_pid |= str_is(key, "pid");
		if ((str_is(key, "pid") && !take_number(c, key, value, &q->pid)) || (str_is(key, "self") && !take_number(c, key, value, &q->self)))
			return false;
	}
	return true;
}

/* ---- ok ---- */

/* False: answered. One that has ended already cannot be ready: nothing was said then. Where watching is not possible at all, ok is ok all the same. */
static bool watch_is_well(struct local_call *c, int rc, uint64_t pid)
{
	if (rc != -ESRCH)
		return true;
	refuse(c, STAT_POSTS_BAD, 404, "process %llu has ended, or is not to be seen from here", (unsigned long long)pid);
	return false;
}

static bool watch_poster(struct local_call *c)
{
	const struct sock *peer = c->client ? uds_client_peer(c->client) : NULL;
	if (c->cred->known && peer)
		return watch_is_well(c, life_watch_peer(c->app->life, peer), (uint64_t)c->cred->pid);
	refuse(c, STAT_POSTS_BAD, 400, "watch=pid is for Unix sockets: who calls over TCP is known to nobody");
	return false;
}

/* Whoever may end a process may say that it matters. self: the number by which the poster knows himself; where we know him by another one, his numbers are not ours. */
static bool watch_other(struct local_call *c, const struct post_query *q)
{
	uid_t owner;
	if (!c->cred->known) {
		refuse(c, STAT_POSTS_DENIED, 403, "pid= is for Unix sockets: who calls over TCP is known to nobody");
		return false;
	}
	if (q->self && q->self != (uint64_t)c->cred->pid) {
		refuse(c, STAT_POSTS_BAD, 400, "the poster lives in another PID namespace than the daemon: pid= would mean somebody else; the process itself can post watch=pid");
		return false;
	}
	if (c->cred->uid == 0) /* where /proc is hidden from us (ProtectProc=) nobody has to be asked */
		owner = 0;
	else if (proc_owner(c->sc->loop, (pid_t)q->pid, &owner) != 0)
		return watch_is_well(c, -ESRCH, q->pid);
	if (c->cred->uid != owner) {
		refuse(c, STAT_POSTS_DENIED, 403, "process %llu belongs to uid %u: uid %u may not have it watched", (unsigned long long)q->pid, (unsigned)owner, (unsigned)c->cred->uid);
		return false;
	}
	return watch_is_well(c, life_watch_pid(c->app->life, (pid_t)q->pid), q->pid);
}

static void post_ok(struct local_call *c)
{
	struct post_query q;
	if (!post_may(c) || !query_read(c, "ttl watch pid self", &q))
		return;
	if (q.watch && q.has_pid) {
		refuse(c, STAT_POSTS_BAD, 400, "watch=pid and pid= together, expected one of them");
		return;
	}
	if ((q.watch && !watch_poster(c)) || (q.has_pid && !watch_other(c, &q)))
		return;
	if (!watch_is_well(c, life_ok(c->app->life, c->cred, q.ttl_ns), (uint64_t)c->cred->pid))
		return;
	stat_inc(&c->sc->loop->stats, STAT_POSTS);
	sidecar_said(c->app);
	health_json(c, NULL);
}

/* ---- fail ---- */

static void wait_free(struct wait_post *w)
{
	struct app *a = w->app;
	list_del(&w->node);
	a->healthcheck.nwaits--;
	life_unwait(&w->inbound);
	timer_cancel(a->sc->loop, &w->timer);
	acct_free(&a->account, w);
}

static void wait_fill(struct local_call *c, void *user)
{
	health_json(c, user);
}

static void wait_over(struct wait_post *w, bool drained)
{
	w->drained = drained;
	local_call_answer(w->later, wait_fill, w);
	wait_free(w);
}

static void wait_cancelled(void *user)
{
	wait_free(user);
}

static void wait_inbound(struct life_wait *i, bool drained)
{
	wait_over(container_of(i, struct wait_post, inbound), drained);
}

static void wait_late(struct timer *t)
{
	struct wait_post *w = container_of(t, struct wait_post, timer);
	wait_over(w, life_state(w->app->life) == LIFE_DRAINED);
}

/* With inbound doors, drained means that nobody is inside; without, that everybody outside knows (the state says so then). */
static void wait_begin(struct local_call *c, uint64_t wait_ns)
{
	struct app *a = c->app;
	struct wait_post *w = a->healthcheck.nwaits < HEALTH_WAITS_MAX ? acct_alloc(&a->account, sizeof *w) : NULL;
	if (!w) {
		refuse(c, STAT_POSTS_LIMIT, 429, "%u posts with wait= are open already: this one was heeded, but is not waited for", a->healthcheck.nwaits);
		return;
	}
	*w = (struct wait_post){.app = a, .begun_ns = c->sc->loop->now_ns};
	w->later = local_call_defer(c, wait_cancelled, w);
	list_push(&a->healthcheck.waits, &w->node);
	a->healthcheck.nwaits++;
	if (inbound_is_there(a->inbound))
		life_wait(a->life, &w->inbound, wait_ns, wait_inbound);
	else
		timer_in(c->sc->loop, &w->timer, life_state(a->life) == LIFE_DRAINED ? 0 : wait_ns, wait_late);
}

void healthcheck_changed(struct app *a)
{
	enum life_state s = life_state(a->life);
	if (s == LIFE_FAILING)
		return;
	list_each(n, tmp, &a->healthcheck.waits) {
		struct wait_post *w = list_entry(n, struct wait_post, node);
		if (s != LIFE_DRAINED || !inbound_is_there(a->inbound)) /* else its own wait tells it */
			wait_over(w, s == LIFE_DRAINED);
	}
}

static void post_fail(struct local_call *c)
{
	struct post_query q;
	if (!post_may(c) || !query_read(c, "wait", &q))
		return;
	stat_inc(&c->sc->loop->stats, STAT_POSTS);
	life_fail(c->app->life, c->cred, "");
	sidecar_said(c->app);
	if (q.has_wait)
		wait_begin(c, q.wait_ns);
	else
		health_json(c, NULL);
}

static void get_health(struct local_call *c)
{
	struct post_query q;
	if (query_read(c, "", &q))
		health_json(c, NULL);
}

void healthcheck_init(struct healthcheck *h)
{
	list_init(&h->waits);
}

const struct local_row local_app_rows[] = {
	{"POST", "/healthcheck/ok", post_ok, false, "the app is ready; ?ttl=30s: for so long, ?watch=pid: until the poster ends, ?pid=N: until that process ends"},
	{"POST", "/healthcheck/fail", post_fail, false, "the app goes; ?wait=5s: answered when it is drained, or after so long"},
	{"GET", "/healthcheck", get_health, false, "the app's state"},
	{NULL, NULL, NULL, false, NULL},
};
