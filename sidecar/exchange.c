/* sidecar/exchange: a call's way. Read this first.
 *
 *   app (thin SDK)                        thinmesh                                  provider
 *  connect ----->| uds_listener -> uds_client -> h2_conn (server role)             |
 *  HEADERS ----->|   h2_stream begins = the DOWN end (struct stream)               |
 *                |   exchange_start          one down end, 1..N attempts           |
 *                |   1 LOCAL?   local_find(method, path) ---> a local stream       |
 *                |   2 NAME     names_find: authority -> mesh_name                 |
 *                |   3 WANT     not answered yet: parked, holds no table           |
 *                |   4 ROUTE    route_match -> action ; its cluster                |
 *                |   5 PICK     cluster_pick(cluster, hash, tried) -> host         |
 *                |   6 OPEN     attempt_start: host_open -> UP end, or pending     |
 *                |   7 RELAY    up.send_head(fields, fin) ---- h2_conn (client) -->| HEADERS
 *  DATA   ------>|     down.on_data -> replay keeps a share -> up.send_data ------>| DATA
 *  WINDOW <------|     down.credit(n)  only after up.on_sent(n)                    |
 *  HEADERS<------|     up.on_head  -> verdict? (refused: again from 5) -> relay <--| HEADERS
 *  DATA   <------|     up.on_data  -> down.send_data ; up.credit after down sent <-| DATA
 *  TRAILERS<-----|     up.on_trailers (grpc-status) -> stats, retry             <--| TRAILERS
 *                |   8 FINISH   host_done(result), access line, into the morgue    |
 *
 * This file is the way and the end; beside it lie exchange_park (3, and what 5 may wait for), exchange_relay (7), exchange_again (from 6 and 7 back to 5) and exchange_inbound
 * (calls to the app, and questions about it).
 *
 * After OPEN the exchange holds the route's action, not the table. States are the fields answering (the provider's answer has begun: no more
 * moves), head_down (a head went to the app), done_down (an end went to the app), over (finished, in the morgue). */
#include "sidecar/exchange.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sidecar/access.h"
#include "sidecar/answer.h"
#include "sidecar/attempt.h"
#include "sidecar/drain.h"
#include "sidecar/exchange_int.h"
#include "sidecar/grpc_health.h"

/* ---- the end ---- */

static void exchange_bury(struct grave *g)
{
	struct exchange *x = container_of(g, struct exchange, grave);
	struct sidecar *sc = x->sc;
	if (--sc->nexchanges == 0)
		drain_emptied(sc);
	free(x->why_own);
	pool_mem_put(&sc->exchanges, x);
}

void exchange_finish(struct exchange *x)
{
	if (x->over)
		return;
	x->over = true;
	struct sidecar *sc = x->sc;
	struct loop *l = sc->loop;
	if (x->parked)
		exchange_unpark(x);
	if (x->deadline_ns)
		timer_cancel(l, &x->deadline);
	if (x->waited)
		timer_cancel(l, &x->backoff);
	attempt_end(&x->attempt, HOST_NEUTRAL);
	exchange_drop_body(x);
	if (x->sampled && x->up_open_ns && x->up_last_ns >= x->up_open_ns) {
		uint64_t all = l->ops->now_ns(l->ops_ctx) - x->begun_ns, there = x->up_last_ns - x->up_open_ns;
		hist_add(&sc->added, all > there ? all - there : 0);
	}
	if (access_on(sc->access))
		access_line(sc->access, x);
	if (x->app)
		stat_dec(&l->stats, STAT_CALLS_ACTIVE);
	if (x->parking)
		parking_free(&x->parking);
	fields_unref(&x->head);
	fields_unref(&x->request_trailers);
	route_action_unref(&x->action);
	cluster_release(&x->cluster);
	list_del(&x->node);
	exchange_asked(x);
	if (x->in_flight)
		life_inbound(x->app->life, -1);
	if (x->app) {
		x->app->calls--;
		if (x->app->removed && x->app->calls == 0)
			loop_defer(l, &x->app->end_task, x->app->end_task.fn);
	}
	loop_bury(l, &x->grave, exchange_bury);
}

void exchange_drop_down(struct exchange *x)
{
	struct stream *down = x->down;
	x->down = NULL;
	stream_reset(down, H2_INTERNAL_ERROR);
	exchange_finish(x);
}

/* ---- answers of our own ---- */

void exchange_flag(struct exchange *x, const char *flag)
{
	snprintf(x->flag, sizeof x->flag, "%s", flag);
}

const char *exchange_why(struct exchange *x, const char *why)
{
	char *own = why ? xstrdup(why) : NULL; /* first: it may be the old one */

	free(x->why_own);
	x->why_own = own;
	return own;
}

void exchange_fail(struct exchange *x, enum fault f, const char *why)
{
	if (x->over || x->done_down)
		return;
	struct sidecar *sc = x->sc;
	exchange_asked(x);
	x->fault = f;
	x->why = why;
	exchange_flag(x, fault_row(f)->flag);
	stat_inc(&sc->loop->stats, STAT_CALLS_FAILED);
	if (f == FAULT_DEADLINE)
		stat_inc(&sc->loop->stats, STAT_DEADLINE);
	exchange_unpark(x);
	timer_cancel(sc->loop, &x->backoff);
	attempt_end(&x->attempt, f == FAULT_DEADLINE ? HOST_ERROR : HOST_NEUTRAL);
	exchange_drop_body(x);
	if (!x->down) {
		exchange_finish(x);
		return;
	}
	x->done_down = true;
	if (log_on(sc->log, LOG_DEBUG)) {
		struct str a = fields_value(x->head, FIELD_AUTHORITY), p = fields_value(x->head, FIELD_PATH);
		log_debug(sc->log, "call '%.*s%.*s': %s %s%s%s", (int)a.n, a.p, (int)p.n, p.p, fault_row(f)->flag, fault_row(f)->text, why ? ": " : "", why ? why : "");
	}
	bool begun = x->head_down;
	x->head_down = true;
	if ((begun ? answer_break_off(x, f, why) : answer_fault(x, f, why)) != 0)
		exchange_drop_down(x);
}

void exchange_shut(struct exchange *x, enum fault f)
{
	exchange_fail(x, f, NULL);
}

/* Its timers were moved with all others; begun in the very turn that saw the thaw, it has lost nothing. */
void exchange_thaw(struct exchange *x, uint64_t stood_ns)
{
	if (x->begun_ns + stood_ns > x->sc->loop->now_ns)
		return;
	x->begun_ns += stood_ns;
	if (x->deadline_ns)
		x->deadline_ns += stood_ns;
	if (x->up_open_ns) {
		x->up_open_ns += stood_ns;
		x->up_last_ns += x->up_last_ns ? stood_ns : 0;
	}
}

/* ---- 5 PICK, 6 OPEN ---- */

/* DNS was asked for its providers, and has none of them. */
static bool has_no_address(struct cluster *c)
{
	struct cluster_view v;

	cluster_view(c, &v);
	return v.hosts == 0 && strcmp(v.names, "failed") == 0;
}

void exchange_pick_for(struct exchange *x, bool retry)
{
	struct host *host;
	const struct tried *tried = x->picked ? &x->tried : NULL; /* NULL: a call that is new to the cluster */
	x->picked = true;
	enum pick_result picked = cluster_pick(x->cluster, 0, tried, &host);
	if (picked != PICK_WAIT) /* the time for waiting runs on: it is one for all that is waited for */
		timer_cancel(x->sc->loop, &x->backoff);
	switch (picked) {
	case PICK_OK:
		attempt_start(x, host);
		return;
	case PICK_WAIT:
		exchange_wait(x);
		return;
	case PICK_FULL:
		exchange_fail(x, FAULT_OVERFLOW, "the service's request limit is reached");
		return;
	case PICK_NONE:
		if (retry && x->tried.count) {
			x->tried.count = 0;
			exchange_pick(x);
			return;
		}
		if (exchange_hold(x))
			return;
		if (x->tried.count) { /* all of them refused: the last one's reason is what to tell */
			exchange_fail(x, x->fault ? x->fault : FAULT_CONNECT, x->why);
			return;
		}
		exchange_fail(x, FAULT_NO_HOST, "it has no endpoints");
		return;
	case PICK_UNHEALTHY:
		if (exchange_hold(x))
			return;
		exchange_fail(x, has_no_address(x->cluster) ? FAULT_NOT_RESOLVED : FAULT_NO_HOST, NULL);
		return;
	case PICK_UNUSABLE: /* never in plaintext what the mesh wants encrypted */
		exchange_fail(x, FAULT_UNUSABLE, exchange_why(x, cluster_unusable(x->cluster)));
		return;
	}
}

/* ---- 2 NAME, 4 ROUTE ---- */

void exchange_deadline_over(struct timer *t)
{
	struct exchange *x = container_of(t, struct exchange, deadline);
	exchange_fail(x, FAULT_DEADLINE, NULL);
}

/* A head without :authority gets one: pseudo-headers come before all others (RFC 9113 8.3), so the list is made anew. False: no memory for it. */
bool exchange_give_authority(struct exchange *x, struct str authority)
{
	struct fields *made = fields_new(x->sc->loop->fields, x->down->account);
	int rc = made ? fields_add_token(made, FIELD_AUTHORITY, authority) : -ENOMEM;
	if (rc == 0)
		fields_each(f, x->head)
			rc |= fields_add(made, str_n(f->name, f->name_len), str_n(f->value, f->value_len));
	if (rc != 0) {
		fields_unref(&made);
		return false;
	}
	fields_unref(&x->head);
	x->head = made;
	return true;
}

/* What the provider sees of the caller's head: our own headers are consumed, the authority is the normalised one. */
static bool exchange_dress(struct exchange *x, const struct name_hit *hit)
{
	struct fields *h = x->head;
	if ((h->flags_seen & FF_STRIP_UP) || fields_get(h, FIELD_EXPECT) || fields_get(h, FIELD_HOST))
		fields_each(f, h)
			if ((f->flags & FF_STRIP_UP) || f->token == FIELD_EXPECT || f->token == FIELD_HOST)
				fields_del_field(h, f);
	if (!fields_get(h, FIELD_AUTHORITY))
		return exchange_give_authority(x, str_of(hit->authority));
	if (hit->rewrite)
		fields_set(h, FIELD_AUTHORITY, str_of(hit->authority));
	return true;
}

/* The route answers by itself. No failure: it is what was configured. */
static void exchange_answer(struct exchange *x, int http, struct str body, const struct sb *location)
{
	struct str message = body;
	x->done_down = x->head_down = true;
	exchange_drop_body(x);
	if (!message.n && location)
		message = sb_view(location);
	if (answer_whole(x, http, grpc_from_http(http), message, body, "text/plain", location) != 0)
		exchange_drop_down(x);
}

/* Nothing here may look at the table behind its match: the action is what the call holds. */
static bool exchange_answers_itself(struct exchange *x, const struct route_action *a)
{
	struct sb location = {0};
	switch (a->kind) {
	case ROUTE_DIRECT:
		exchange_answer(x, a->direct.status, str_n(a->direct.body ? a->direct.body : "", a->direct.body ? a->direct.body_n : 0), NULL);
		return true;
	case ROUTE_REDIRECT:
		answer_location(x, a->redirect, &location);
		exchange_answer(x, a->redirect->status, STR(""), &location);
		sb_end(&location);
		return true;
	case ROUTE_UNSUPPORTED:
		exchange_fail(x, FAULT_UNSUPPORTED, a->unsupported);
		return true;
	default:
		return false;
	}
}

/* The route's own time, and the most that it grants to a caller's grpc-timeout (the caller's own is read with the deadline). 0: none. */
static uint64_t route_timeout(const struct route_action *a)
{
	uint64_t t = a->timeout_ns;
	if (a->grpc_timeout_heeded && a->grpc_timeout_max_ns && (!t || a->grpc_timeout_max_ns < t))
		t = a->grpc_timeout_max_ns;
	return t;
}

bool exchange_holds(struct exchange *x, struct mesh_cluster *mc, const char *why)
{
	x->cluster = mc ? cluster_live(x->sc->clusters, mc) : NULL;
	if (!x->cluster) {
		exchange_fail(x, FAULT_NO_CLUSTER, why);
		return false;
	}
	cluster_hold(x->cluster);
	return true;
}

void exchange_go(struct exchange *x, const struct name_hit *hit)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	struct route_action *action = x->action;
	if (x->client && x->down) /* and not before: who only gets a refusal from us (a curl with a wrong path) is not taken for the app */
		app_carries(x->app, x->client, h);
	retry_init(&x->retry, &action->retry, h, x->trusted);
	uint64_t timeout = x->retry.has_rq_timeout ? x->retry.rq_timeout_ns : route_timeout(action);
	if (!exchange_is_in_time(x, timeout))
		return;
	if (!(hit ? exchange_dress(x, hit) : exchange_dress_inbound(x))) {
		exchange_fail(x, FAULT_MEMORY, NULL);
		return;
	}
	exchange_set_deadline(x);
	if (x->sampled)
		x->up_open_ns = sc->loop->ops->now_ns(sc->loop->ops_ctx);
	exchange_pick(x);
}

static void exchange_route(struct exchange *x, const struct name_hit *hit)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	/* A name of the configuration has one route: nothing there is left to chance. */
	struct route_action *action = route_match(hit->name->routes, h, hit->name->view ? loop_random(sc->loop) : 0);
	if (!action) {
		exchange_fail(x, FAULT_NO_ROUTE, NULL);
		return;
	}
	x->action = route_action_ref(action);
	if (exchange_answers_itself(x, action))
		return;
	/* A number of its own: a fraction that chose the route says nothing about its weights. */
	struct str to = route_action_cluster(action, action->kind == ROUTE_WEIGHTED ? loop_random(sc->loop) : 0, h);
	if (exchange_holds(x, to.p ? mesh_cluster_find(sc->mesh, hit->name->view, to) : NULL, to.p ? NULL : "the header that names it is missing"))
		exchange_go(x, hit);
}

/* Asked again when a name that was waited for is known: it may be another one now (a service that came by a reload). */
void exchange_name(struct exchange *x, const char *default_authority)
{
	struct sidecar *sc = x->sc;
	struct fields *h = x->head;
	struct str authority = fields_value(h, FIELD_AUTHORITY);
	if (!authority.p)
		authority = fields_value(h, FIELD_HOST);
	const struct name_hit *hit = names_find(&x->app->names, x->app->conf, sc->conf->mesh_domain, default_authority, authority, fields_value(h, FIELD_PATH));
	struct mesh_name *n = hit->name;
	if (!n) {
		if (hit->fault == FAULT_NAMES_FULL)
			stat_inc(&sc->loop->stats, STAT_NAMES_LIMIT);
		exchange_fail(x, hit->fault, NULL);
		return;
	}
	mesh_name_use(n, sc->loop->now_ns);
	switch (n->state) {
	case MESH_PRESENT:
		exchange_route(x, hit);
		return;
	case MESH_ABSENT:
		exchange_fail(x, FAULT_NO_NAME, exchange_reason(x, n));
		return;
	case MESH_UNKNOWN:
		if (n->failed)
			exchange_fail(x, FAULT_PARK_TIME, exchange_reason(x, n));
		else
			exchange_want(x, n, default_authority);
		return;
	}
}

/* ---- 1 LOCAL? ---- */

static void exchange_forward(struct exchange *x, const struct exchange_door *door)
{
	if (!exchange_is_too_much(x))
		exchange_name(x, door->default_authority);
}

static bool exchange_is_asked(const struct exchange *x, const struct exchange_door *door)
{
	return !door->inbound && grpc_health_is(fields_value(x->head, FIELD_METHOD), fields_value(x->head, FIELD_PATH)) && (door->health || !x->app->conf->health.passthrough);
}

void exchange_start(const struct exchange_door *door, struct stream *down, struct fields *head, bool fin, const char *refuse)
{
	struct sidecar *sc = door->sc;
	struct loop *l = sc->loop;
	struct exchange *x = pool_mem_get_raw(&sc->exchanges);
	memset(x, 0, offsetof(struct exchange, host));
	x->host[0] = '\0';
	x->sc = sc;
	x->app = door->app;
	x->trusted = door->trusted;
	x->inbound = door->inbound != NULL;
	x->health = door->health;
	x->caller = door->caller;
	x->down = down;
	x->head = fields_ref(head);
	x->begun_ns = l->now_ns;
	x->fin_in = fin;
	x->replayable = true;
	x->http_status = x->grpc_status = -1;
	x->is_grpc = fields_is_grpc(head);
	x->is_head = str_is(fields_value(head, FIELD_METHOD), "HEAD");
	memcpy(x->flag, "-", 2);
	down->ev = &exchange_down_events;
	down->user = x;
	sc->nexchanges++;
	if (x->app) { /* a scrape of the control socket does not see itself */
		stat_inc(&l->stats, STAT_CALLS);
		stat_inc(&l->stats, STAT_CALLS_ACTIVE);
		if (x->inbound)
			stat_inc(&l->stats, STAT_INBOUND_CALLS);
	}
	x->sampled = access_on(sc->access) || (l->stats.v[STAT_CALLS] & 15) == 0;
	if (x->app) {
		list_push(&x->app->exchanges, &x->node);
		x->app->calls++;
	}
	if (refuse) {
		exchange_fail(x, FAULT_HEADERS, refuse);
		return;
	}
	if (x->health && !fin)
		exchange_asks(x);
	const struct local_row *row = !door->rows ? NULL : local_find(door->rows, fields_value(head, FIELD_METHOD), fields_value(head, FIELD_PATH));
	if (row) {
		x->is_local = true;
		stat_inc(&l->stats, STAT_CALLS_LOCAL);
		if (!exchange_is_in_time(x, 0))
			return;
		exchange_set_deadline(x); /* an answer may take its time (?wait=) */
		attempt_local(x, row, door->client, door->cred, door->read_only);
		return;
	}
	if (!x->app) {
		exchange_fail(x, FAULT_NO_ROUTE, "this is the control socket");
		return;
	}
	if (exchange_is_asked(x, door))
		exchange_ask(x, door);
	else if (door->health)
		exchange_health(x, door);
	else if (door->inbound)
		exchange_inbound(x, door->inbound);
	else {
		x->client = door->client;
		exchange_forward(x, door);
	}
}
