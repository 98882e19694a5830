/* sidecar/exchange_inbound: what others than the app begin: calls to it (sidecar/inbound), and questions about it (sidecar/health_door, sidecar/grpc_health). Let in by the app's life and
 * by who calls; from 5 PICK on the way is any call's. */
#include "sidecar/allow.h"
#include "sidecar/attempt.h"
#include "sidecar/exchange_int.h"
#include "sidecar/health_door.h"
#include "sidecar/inbound.h"
#include "sidecar/xfcc.h"

enum { QUESTIONS_MAX = 1024 };

static bool exchange_is_let_in(struct exchange *x)
{
	const char *closed = x->health ? app_is_unwell(x->app) : inbound_closed(x->app);
	if (!closed)
		return true;
	exchange_fail(x, FAULT_APP_CLOSED, closed);
	return false;
}

/* RBAC, as the mesh calls it. The detail is Envoy's where there is one. */
static bool exchange_is_allowed(struct exchange *x, const struct conf_inbound *to)
{
	enum allow_answer a = allow_ask(to->allow, to->nallow, x->caller, fields_value(x->head, FIELD_PATH));
	if (a == ALLOW_YES)
		return true;
	stat_inc(&x->sc->loop->stats, STAT_INBOUND_DENIED);
	exchange_fail(x, FAULT_DENIED, a == ALLOW_UNSAFE ? "the path has more than one reading, and there are rules about paths" : "rbac_access_denied_matched_policy[none]");
	return false;
}

void exchange_inbound(struct exchange *x, const struct conf_inbound *to)
{
	struct sidecar *sc = x->sc;
	if (!exchange_is_allowed(x, to)) /* and before anything is said about the app */
		return;
	if (!exchange_is_let_in(x)) {
		stat_inc(&sc->loop->stats, STAT_INBOUND_REFUSED);
		return;
	}
	life_inbound(x->app->life, 1);
	x->in_flight = true;
	if (exchange_is_too_much(x))
		return;
	x->action = route_action_ref(to->action);
	if (exchange_holds(x, mesh_cluster_find(sc->mesh, NULL, str_of(to->spec->name)), NULL))
		exchange_go(x, NULL);
}

/* What the app sees of a call that comes in: the authority as it is, and nothing that only a proxy in front of it may say: anybody may have written this head. */
bool exchange_dress_inbound(struct exchange *x)
{
	if (!fields_get(x->head, FIELD_AUTHORITY)) {
		struct str host = fields_value(x->head, FIELD_HOST);
		if (!exchange_give_authority(x, host.n ? host : str_of(x->app->conf->name)))
			return false;
	}
	fields_each(f, x->head)
		if (f->token == FIELD_EXPECT || f->token == FIELD_HOST || str_starts(str_n(f->name, f->name_len), STR("x-envoy-")))
			fields_del_field(x->head, f);
	return xfcc_set(x->head, x->caller) == 0;
}

/* ---- questions ---- */

void exchange_health(struct exchange *x, const struct exchange_door *door)
{
	if (!exchange_is_let_in(x))
		return;
	x->is_local = true;
	attempt_local(x, &health_door_open_row, NULL, door->cred, true);
}

/* Anybody may begin to ask, and not go on. The oldest of too many is answered as it is: who asks in earnest has ended his question long since. */
void exchange_asks(struct exchange *x)
{
	struct app *a = x->app;
	list_push(&a->questions, &x->question);
	if (++a->nquestions <= QUESTIONS_MAX)
		return;
	stat_inc(&x->sc->loop->stats, STAT_QUESTIONS_DROPPED);
	exchange_fail(list_entry(a->questions.next, struct exchange, question), FAULT_OVERFLOW, "the question has not ended, and too many others have begun");
}

/* Is it well? The caller's deadline counts as for a call; what is asked of the app itself is answered in any case. */
void exchange_ask(struct exchange *x, const struct exchange_door *door)
{
	if (!door->health && exchange_is_too_much(x))
		return;
	if (!exchange_is_in_time(x, 0))
		return;
	exchange_set_deadline(x);
	x->is_local = true;
	stat_inc(&x->sc->loop->stats, STAT_CALLS_LOCAL);
	attempt_ask(x, door->default_authority);
}
