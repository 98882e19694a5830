/* health/probe_grpc: grpc.health.v1.Health, Check and Watch. See health/probe_int.h; the verdicts: envoy.md 1e. Only grpc-status 0 with SERVING is well. No such service is a matter of
 * the check (unimplemented): a Dubbo provider without the switch for its built-in services is alive all the same.
 *
 * A watch says each status once, and nothing while all is well: that the provider still runs is asked by a PING each interval, on the connection that the watch has for itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "health/probe_int.h"
#include "net/grpc_health_message.h"

/* A status is a change, and who changes that often is not well; each one costs a look at the whole cluster. */
enum { WATCH_SAID_MAX = 100 };

/* ---- what is asked -------------------------------------------------------------------------------------------------------- */

/* 0; -EAGAIN: no stream can be opened on it now; -EINVAL: what is declared makes no request; -ENOMEM. */
static int grpc_ask(struct probe *p, struct h2_conn *on, const struct grpc_call_events *ev)
{
	const struct health_check *c = p->check;
	struct str metadata[CHECK_FIELDS_MAX][2];
	struct grpc_call_spec spec = {.scheme = p->tls ? "https" : "http", .authority = p->host, .path = p->watch ? GRPC_HEALTH_WATCH : GRPC_HEALTH_CHECK, .user_agent = "thinmesh/HC",
		.metadata = metadata, .timeout_ns = p->watch ? 0 : c->timeout_ns};
	struct sb names = {0}, message = {0};
	int r = 0;

	for (uint32_t i = 0; i < c->nadd && i < CHECK_FIELDS_MAX; i++)
		sb_str(&names, c->add[i].name);
	str_lower(names.p, names.n);
	for (size_t i = 0, at = 0; i < c->nadd && i < CHECK_FIELDS_MAX; i++) {
		size_t n = strlen(c->add[i].name);
		struct str name = str_n(names.p + at, n), value = str_of(c->add[i].value);

		at += n;
		if (n == 0 || name.p[0] == ':' || !field_name_valid(name.p, n) || !field_value_valid(value.p, value.n)) {
			r = -EINVAL;
			break;
		}
		if (str_is(name, "te") || str_is(name, "content-type") || str_is(name, "host") || field_flags(field_token(name.p, n)) & FF_HOP)
			continue; /* gRPC's own to say */
		if (str_is(name, "user-agent"))
			spec.user_agent = NULL;
		metadata[spec.nmetadata][0] = name;
		metadata[spec.nmetadata++][1] = value;
	}
	if (r == 0) {
		grpc_health_request_encode(str_of(c->service), &message);
		p->call = grpc_call_open(on, &spec, ev, p);
		r = !p->call ? -EAGAIN : grpc_call_send(p->call, message.n ? message.p : "", message.n);
		if (r == 0)
			grpc_call_half_close(p->call);
		else
			grpc_call_cancel(&p->call);
	}
	sb_end(&names);
	sb_end(&message);
	return r;
}

static void ask_failed(struct probe *p, int r)
{
	if (r == -EINVAL)
		probe_finish(p, PROBE_BAD, "%s", "initial_metadata has a name or a value that HTTP does not allow");
	else
		probe_finish(p, PROBE_VOID, "%s", r == -ENOMEM ? "no memory" : "the connection takes no stream");
}

/* ---- what is answered ----------------------------------------------------------------------------------------------------- */

static void grpc_head(void *user, struct fields *head)
{
	struct probe *p = user;

	p->failing = fields_get(head, FIELD_X_ENVOY_IMMEDIATE_HC_FAIL) != NULL;
	p->degraded = fields_get(head, FIELD_X_ENVOY_DEGRADED) != NULL;
}

static bool grpc_begin(void *user, uint32_t n)
{
	struct probe *p = user;
	uint8_t *grown;

	if (n > GRPC_HEALTH_RESPONSE_MAX)
		return false;
	p->message_n = 0;
	if (n <= p->message_cap)
		return true;
	grown = acct_realloc(p->account, p->message, n);
	if (!grown)
		return false;
	p->message = grown;
	p->message_cap = n;
	return true;
}

/* True: a message is whole, and p->serving is what it says (-1: it is malformed). */
static bool grpc_gather(struct probe *p, const void *bytes, size_t n, bool whole)
{
	if (n)
		memcpy(p->message + p->message_n, bytes, n);
	p->message_n += (uint32_t)n;
	if (whole && !grpc_health_response_decode(str_n((const char *)p->message, p->message_n), &p->serving))
		p->serving = -1;
	return whole;
}

static void grpc_bytes(void *user, const void *bytes, size_t n, bool whole)
{
	struct probe *p = user;

	if (!grpc_gather(p, bytes, n, whole))
		return;
	if (p->has_message || p->serving == -1)
		probe_finish(p, PROBE_BAD, "%s", p->serving == -1 ? "the answer is no HealthCheckResponse" : "more than one answer");
	else
		p->has_message = true;
}

static void connects(struct probe *p, struct sock *taken)
{
	sock_close(&taken);
	probe_finish(p, PROBE_ALIVE, "%s", "it has no health service, but can be connected to");
}

static void no_service(struct probe *p)
{
	switch (p->check->unimplemented) {
	case UNIMPLEMENTED_FAILS:
		probe_finish(p, PROBE_BAD, "%s", "it has no health service (UNIMPLEMENTED)");
		return;
	case UNIMPLEMENTED_CONNECTS:
		if (!p->fresh) {
			probe_connect(p, connects);
			return;
		}
		break;
	case UNIMPLEMENTED_ALIVE:
		break;
	}
	probe_finish(p, PROBE_ALIVE, "%s", "it has no health service (UNIMPLEMENTED)");
}

/* The stream was not answered in order: nobody said a status. */
static void grpc_broken(struct probe *p, enum stream_cause cause, const char *message)
{
	if (probe_was_early(p, cause)) {
		probe_finish(p, PROBE_VOID, "%s", "the connection takes no stream");
		return;
	}
	switch (cause) {
	case END_UNPROCESSED:
		probe_finish(p, PROBE_VOID, "%s", message);
		return;
	case END_LOST:
		probe_finish(p, p->fresh ? PROBE_FAILED : PROBE_VOID, "%s", message);
		return;
	case END_MALFORMED:
		probe_finish(p, PROBE_BAD, "%s", message);
		return;
	default:
		probe_finish(p, PROBE_FAILED, "%s", message);
	}
}

static void said_status(struct probe *p, int status, const char *message)
{
	char cut[128];

	snprintf(cut, sizeof(cut), "%s", message);
	probe_finish(p, PROBE_BAD, "grpc-status %d %s%s%s", status, grpc_status_name(status), *cut ? ": " : "", cut);
}

static void check_end(void *user, int status, const char *message, bool answered)
{
	struct probe *p = user;
	enum stream_cause cause = grpc_call_cause(p->call);

	(void)answered;
	p->call = NULL;
	p->fit = cause == END_DONE;
	if (probe_waits_for_close(p, cause))
		return;
	if (cause != END_DONE)
		grpc_broken(p, cause, message);
	else if (status == GRPC_UNIMPLEMENTED)
		no_service(p);
	else if (status != GRPC_OK)
		said_status(p, status, message);
	else if (!p->has_message)
		probe_finish(p, PROBE_BAD, "%s", "grpc-status 0 without an answer");
	else if (p->serving != GRPC_HEALTH_SERVING)
		probe_finish(p, PROBE_BAD, "it says %s", grpc_health_name(p->serving));
	else if (p->failing)
		probe_finish(p, PROBE_BAD, "%s", "it says x-envoy-immediate-health-check-fail");
	else
		probe_finish(p, p->degraded ? PROBE_DEGRADED : PROBE_PASSED, "%s", p->degraded ? "it says x-envoy-degraded" : "");
}

static const struct grpc_call_events check_events = {.on_head = grpc_head, .on_begin = grpc_begin, .on_bytes = grpc_bytes, .on_end = check_end};

static void check_up(struct probe *p)
{
	int r = grpc_ask(p, p->conn, &check_events);

	if (r < 0)
		ask_failed(p, r);
}

/* ---- Watch ---------------------------------------------------------------------------------------------------------------- */

/* A PING that is out may outlive its probe: the connection answers for it in the end, whoever still listens. Owner: the PING. */
struct probe_ping { struct probe *probe; };

void probe_watch_end(struct probe *p)
{
	if (p->ping)
		p->ping->probe = NULL;
	p->ping = NULL;
}

static void watch_silent(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, deadline);

	probe_finish(p, PROBE_FAILED, "%s", "no answer to a PING");
}

static void watch_ping(struct timer *t);

static void watch_ponged(void *user, bool acked)
{
	struct probe_ping *ping = user;
	struct probe *p = ping->probe;

	free(ping);
	if (!p)
		return;
	p->ping = NULL;
	p->said = 0;
	if (acked) /* else the end of the stream tells */
		timer_in(p->loop, &p->deadline, p->check->interval_ns, watch_ping);
}

static void watch_ping(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, deadline);
	struct probe_ping *ping = xnew(struct probe_ping);

	ping->probe = p;
	if (!p->conn || h2_conn_ping(p->conn, watch_ponged, ping) < 0) {
		free(ping);
		timer_in(p->loop, &p->deadline, p->check->interval_ns, watch_ping);
		return;
	}
	p->ping = ping;
	timer_in(p->loop, &p->deadline, p->check->timeout_ns, watch_silent);
}

static void watch_bytes(void *user, const void *bytes, size_t n, bool whole)
{
	struct probe *p = user;

	if (!grpc_gather(p, bytes, n, whole))
		return;
	if (p->serving == -1) {
		probe_finish(p, PROBE_FAILED, "%s", "what it says is no HealthCheckResponse");
		return;
	}
	if (++p->said > WATCH_SAID_MAX) {
		probe_finish(p, PROBE_FAILED, "%s", "it says more than 100 statuses in one interval");
		return;
	}
	if (!p->ping) /* it lives: the next question is due an interval from now */
		timer_in(p->loop, &p->deadline, p->check->interval_ns, watch_ping);
	p->has_message = true;
	snprintf(p->why, sizeof(p->why), "it says %s", grpc_health_name(p->serving));
	if (p->serving == GRPC_HEALTH_SERVING)
		p->done(p->user, PROBE_PASSED, "");
	else
		p->done(p->user, PROBE_BAD, p->why);
}

static void watch_end(void *user, int status, const char *message, bool answered)
{
	struct probe *p = user;
	enum stream_cause cause = grpc_call_cause(p->call);
	char cut[128];

	(void)answered;
	p->call = NULL;
	snprintf(cut, sizeof(cut), "%s", message);
	if (cause == END_UNPROCESSED)
		probe_finish(p, PROBE_VOID, "%s", cut);
	else if (cause == END_DONE && status == GRPC_UNIMPLEMENTED)
		probe_finish(p, PROBE_ALIVE, "%s", "it has no Watch (UNIMPLEMENTED)");
	else if (cause == END_DONE)
		probe_finish(p, PROBE_FAILED, "it ended the watch with grpc-status %d %s%s%s", status, grpc_status_name(status), *cut ? ": " : "", cut);
	else
		probe_finish(p, PROBE_FAILED, "%s", cut);
}

static const struct grpc_call_events watch_events = {.on_begin = grpc_begin, .on_bytes = watch_bytes, .on_end = watch_end};

static void watch_up(struct probe *p)
{
	int r = grpc_ask(p, p->conn, &watch_events);

	if (r < 0)
		ask_failed(p, r);
}

void probe_grpc_start(struct probe *p, struct h2_conn *lent)
{
	if (p->watch)
		probe_dial(p, watch_up);
	else if (!lent || grpc_ask(p, lent, &check_events) < 0)
		probe_dial(p, check_up);
}
