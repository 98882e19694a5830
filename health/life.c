/* health/life: see health/life.h. What an app says and what is seen of it are kept side by side, and one function (life_judge) makes the state of all of it:
 *
 *   said       nothing | ok (for good, or a lease) | fail           POST /healthcheck/..., a lease that ran out, no connection for gone_after
 *   gone       its last watched process has ended                   life_procs.c
 *   checked    no check | pending | passed | failed                 life_check.c
 *   leaving    the daemon goes
 *
 * So the order in which these come does not matter, and nothing can be forgotten in a corner of a table of transitions. */
#include "health/life.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "health/life_int.h"

const char *life_state_name(enum life_state s)
{
	static const char *const names[] = {"unknown", "ok", "failing", "gone", "drained"};
	return names[s];
}

enum life_state life_state(const struct life *l) { return l->state; }
bool life_is_open(const struct life *l) { return life_is_open_state(l->state); }
uint32_t life_in_flight(const struct life *l) { return l->in_flight; }

/* ---- the state ---- */

/* Closed on purpose: drained once nobody is inside any more and everybody outside knows. */
static enum life_state life_closed(const struct life *l, const char **ret_why)
{
	*ret_why = l->leaving ? "the daemon is going" : l->said_why;
	return l->announced && !l->in_flight ? LIFE_DRAINED : LIFE_FAILING;
}

/* A check that has not passed yet opens nothing; one that a reload brought along does not close either what ok has opened, until it fails. */
static enum life_state life_unproven(const struct life *l, const char **ret_why)
{
	if (l->state == LIFE_OK || l->state == LIFE_UNKNOWN)
		return l->state;
	*ret_why = "its check has not passed yet";
	return LIFE_FAILING;
}

static enum life_state life_judge(const struct life *l, const char **ret_why)
{
	*ret_why = "";
	if (l->gone) {
		*ret_why = l->said_why;
		return LIFE_GONE;
	}
	if (l->leaving || l->said == SAID_FAIL)
		return life_closed(l, ret_why);
	switch (l->checked) {
	case CHECKED_NONE:
		return l->said == SAID_OK ? LIFE_OK : LIFE_UNKNOWN;
	case CHECKED_PENDING:
		return life_unproven(l, ret_why);
	case CHECKED_PASSED:
		return LIFE_OK;
	case CHECKED_FAILED:
		break;
	}
	*ret_why = l->check_why;
	return LIFE_FAILING;
}

static void life_count(struct life *l, enum life_state s)
{
	static const enum stat_id ids[LIFE_STATES] = {
		[LIFE_UNKNOWN] = STAT_APP_UNKNOWN, [LIFE_OK] = STAT_APP_OK, [LIFE_FAILING] = STAT_APP_FAILING, [LIFE_GONE] = STAT_APP_GONE, [LIFE_DRAINED] = STAT_APP_DRAINED};
	l->transitions[s]++;
	stat_inc(&l->spec.loop->stats, ids[s]);
}

static void life_log(struct life *l, enum life_state was, const struct sock_cred *by)
{
	char who[64] = "";
	if (by && by->known)
		snprintf(who, sizeof who, " (asked by uid %u, pid %d)", (unsigned)by->uid, (int)by->pid);
	bool bad = l->state == LIFE_GONE || (l->state == LIFE_FAILING && !(by && by->known) && !l->leaving);
	log_at(l->spec.log, bad ? LOG_WARN : LOG_INFO, "app '%s': %s -> %s%s%s%s", l->name, life_state_name(was), life_state_name(l->state), who, *l->why ? ": " : "", l->why);
}

void life_settle(struct life *l, const struct sock_cred *by)
{
	const char *why;
	enum life_state was = l->state, now = life_judge(l, &why);
	snprintf(l->why, sizeof l->why, "%s", why);
	if (now == was)
		return;
	struct loop *loop = l->spec.loop;
	l->state = now;
	l->since_ns = loop->now_ns;
	l->since_wall_ns = loop->ops->wall_ns(loop->ops_ctx);
	life_count(l, now);
	life_log(l, was, by);
	if (l->spec.changed)
		l->spec.changed(l->spec.ctx, l, was);
}

/* ---- what the app says ---- */

static void life_heard(struct life *l, const struct sock_cred *by)
{
	l->known = by && by->known;
	l->uid = l->known ? by->uid : 0;
	l->pid = l->known ? by->pid : 0;
}

/* Though the state may be what it was: a check had closed it before. */
static void life_closing(struct life *l)
{
	if (l->spec.closed)
		l->spec.closed(l->spec.ctx, l);
}

static void life_say_fail(struct life *l, const struct sock_cred *by, const char *why)
{
	struct loop *loop = l->spec.loop;
	timer_cancel(loop, &l->lease);
	timer_cancel(loop, &l->lonely);
	if ((l->said != SAID_FAIL || l->gone) && !l->leaving) /* a new silence: the mesh has not heard of it yet */
		l->announced = false;
	bool closes = !l->announced;
	l->said = SAID_FAIL;
	l->gone = false;
	snprintf(l->said_why, sizeof l->said_why, "%s", why ? why : "");
	life_settle(l, by);
	if (closes)
		life_closing(l);
}

static void lease_over(struct timer *t)
{
	life_say_fail(container_of(t, struct life, lease), NULL, "its lease has run out");
}

static void life_lonely(struct life *l);

int life_ok(struct life *l, const struct sock_cred *by, uint64_t ttl_ns)
{
	struct loop *loop = l->spec.loop;
	if (life_poster_ended(l, by))
		return -ESRCH;
	life_heard(l, by);
	l->nended = 0;
	l->said = SAID_OK;
	l->said_why[0] = '\0';
	l->gone = false;
	if (!l->leaving)
		l->announced = false;
	timer_cancel(loop, &l->lease);
	if (ttl_ns)
		timer_in(loop, &l->lease, ttl_ns, lease_over);
	life_settle(l, by);
	return 0;
}

void life_fail(struct life *l, const struct sock_cred *by, const char *why)
{
	life_heard(l, by);
	life_say_fail(l, by, why);
}

/* ---- what is seen ---- */

/* Who has never said a word and has no check was never open: nobody misses it, and a consumer that comes and goes is none of the mesh's business. */
void life_gone(struct life *l, const char *why)
{
	if (l->said == SAID_NOTHING && l->checked == CHECKED_NONE)
		return;
	struct loop *loop = l->spec.loop;
	timer_cancel(loop, &l->lease);
	timer_cancel(loop, &l->lonely);
	l->gone = true;
	snprintf(l->said_why, sizeof l->said_why, "%s", why);
	life_check_again(l);
	life_settle(l, NULL);
}

static void lonely_over(struct timer *t)
{
	struct life *l = container_of(t, struct life, lonely);
	char why[LIFE_WHY];
	snprintf(why, sizeof why, "it has had no connection for %llu ms", (unsigned long long)(l->gone_after_ns / 1000000));
	life_say_fail(l, NULL, why);
}

/* Of one that said ok: who never said anything is judged by its check alone, and fail would silence it for good. */
static void life_lonely(struct life *l)
{
	struct loop *loop = l->spec.loop;
	if (l->connections || !l->gone_after_ns || l->said != SAID_OK || l->gone)
		timer_cancel(loop, &l->lonely);
	else if (!timer_armed(&l->lonely))
		timer_in(loop, &l->lonely, l->gone_after_ns, lonely_over);
}

void life_connections(struct life *l, uint32_t count)
{
	bool had = l->connections > 0;
	l->connections = count;
	l->had_connections |= count > 0;
	if (had || count)
		life_lonely(l);
}

/* ---- calls that came in ---- */

static void idle_due(struct task *t)
{
	struct life *l = container_of(t, struct life, idle_task);
	if (l->in_flight)
		return;
	if (l->spec.idle)
		l->spec.idle(l->spec.ctx, l);
	life_settle(l, NULL);
}

static void wait_end(struct life_wait *w)
{
	timer_cancel(w->life->spec.loop, &w->timer);
	loop_undefer(&w->task);
	list_del(&w->node);
}

static void wait_drained(struct task *t)
{
	struct life_wait *w = container_of(t, struct life_wait, task);
	wait_end(w);
	w->fn(w, true);
}

static void wait_over(struct timer *t)
{
	struct life_wait *w = container_of(t, struct life_wait, timer);
	wait_end(w);
	w->fn(w, w->life->in_flight == 0);
}

void life_inbound(struct life *l, int by)
{
	struct loop *loop = l->spec.loop;
	l->in_flight = (uint32_t)((int64_t)l->in_flight + by);
	if (l->in_flight)
		return;
	list_each(n, tmp, &l->waits)
		loop_defer(loop, &list_entry(n, struct life_wait, node)->task, wait_drained);
	loop_defer(loop, &l->idle_task, idle_due);
}

void life_wait(struct life *l, struct life_wait *w, uint64_t max_ns, void (*fn)(struct life_wait *w, bool drained))
{
	struct loop *loop = l->spec.loop;
	w->life = l;
	w->fn = fn;
	list_push(&l->waits, &w->node);
	if (!l->in_flight)
		loop_defer(loop, &w->task, wait_drained);
	else
		timer_in(loop, &w->timer, max_ns, wait_over);
}

void life_unwait(struct life_wait *w)
{
	if (list_linked(&w->node))
		wait_end(w);
}

void life_announced(struct life *l)
{
	if (!l->leaving && l->said != SAID_FAIL)
		return;
	l->announced = true;
	life_settle(l, NULL);
}

void life_leave(struct life *l)
{
	if (l->leaving)
		return;
	l->leaving = true;
	if (l->said != SAID_FAIL)
		l->announced = false;
	timer_cancel(l->spec.loop, &l->lease);
	timer_cancel(l->spec.loop, &l->lonely);
	life_settle(l, NULL);
	if (!l->announced)
		life_closing(l);
}

/* The state of the process before us. `checked` begins anew: life_unproven keeps what is open open until the check fails. */
void life_take_over(struct life *l, enum life_state s, uint64_t since_wall_ns, uint64_t lease_ns)
{
	struct loop *loop = l->spec.loop;
	uint64_t wall = loop->ops->wall_ns(loop->ops_ctx), ago = wall > since_wall_ns ? wall - since_wall_ns : 0;
	enum life_state was = l->state;
	const char *why;
	l->state = s;
	l->state = life_judge(l, &why);
	snprintf(l->why, sizeof l->why, "%s", why);
	l->since_wall_ns = wall - ago;
	l->since_ns = loop->now_ns > ago ? loop->now_ns - ago : 0;
	timer_cancel(loop, &l->lease);
	if (lease_ns && l->said == SAID_OK)
		timer_in(loop, &l->lease, lease_ns, lease_over);
	log_info(l->spec.log, "app '%s': %s, taken over%s%s", l->name, life_state_name(l->state), *why ? ": " : "", why);
	if (l->state != was && l->spec.changed)
		l->spec.changed(l->spec.ctx, l, was);
	if (l->said == SAID_FAIL && !l->announced)
		life_closing(l);
}

/* ---- for people ---- */

void life_view(const struct life *l, struct life_view *ret)
{
	static const char *const checked[] = {NULL, "pending", "passed", "failed"};
	*ret = (struct life_view){.state = l->state, .since_ns = l->since_ns, .since_wall_ns = l->since_wall_ns, .why = l->why, .uid = l->uid, .pid = l->pid, .known = l->known,
		.lease_until_ns = timer_armed(&l->lease) ? l->lease.at_ns : 0, .in_flight = l->in_flight, .processes = l->nprocs, .check = checked[l->checked]};
	memcpy(ret->transitions, l->transitions, sizeof ret->transitions);
}

/* ---- beginning and end ---- */

void life_conf(struct life *l, const struct life_conf *c)
{
	l->watch = c->watch;
	l->gone_after_ns = c->gone_after_ns;
	timer_cancel(l->spec.loop, &l->lonely);
	if (l->said == SAID_OK && l->had_connections)
		life_lonely(l);
	life_check_conf(l, c->check);
	life_settle(l, NULL);
}

struct life *life_new(const struct life_spec *spec)
{
	struct life *l = xnew(struct life);
	l->spec = *spec;
	l->name = xstrdup(spec->name);
	l->spec.name = l->name;
	l->since_ns = spec->loop->now_ns;
	l->since_wall_ns = spec->loop->ops->wall_ns(spec->loop->ops_ctx);
	list_init(&l->waits);
	list_init(&l->procs);
	return l;
}

void life_close(struct life *l)
{
	struct loop *loop = l->spec.loop;
	list_each(n, tmp, &l->waits)
		wait_end(list_entry(n, struct life_wait, node));
	timer_cancel(loop, &l->lease);
	timer_cancel(loop, &l->lonely);
	loop_undefer(&l->idle_task);
	life_procs_free(l);
	life_check_free(l);
}

void life_free(struct life **at)
{
	struct life *l = *at;
	if (!l)
		return;
	*at = NULL;
	life_close(l);
	free(l->name);
	free(l);
}
