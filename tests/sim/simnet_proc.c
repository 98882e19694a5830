/* tests/sim/simnet_proc: see simnet_proc.h. */
#include "tests/sim/simnet_proc.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/simnet.h"

struct sim_ended { struct list node; pid_t pid; uint32_t times; bool now; };
struct sim_program { struct list node; char *argv0; int code; uint64_t takes_ns; };

void sim_procs_init(struct sim_procs *p)
{
	list_init(&p->watches);
	list_init(&p->ended);
	list_init(&p->programs);
}

void sim_procs_end(struct sim_procs *p)
{
	for (struct list *n; (n = list_pop(&p->ended));)
		free(list_entry(n, struct sim_ended, node));
	for (struct list *n; (n = list_pop(&p->programs));) {
		struct sim_program *g = list_entry(n, struct sim_program, node);
		free(g->argv0);
		free(g);
	}
}

/* ---- processes ---- */

static struct sim_ended *ended_of(struct sim_procs *p, pid_t pid)
{
	list_each(n, tmp, &p->ended)
		if (list_entry(n, struct sim_ended, node)->pid == pid)
			return list_entry(n, struct sim_ended, node);
	return NULL;
}

static void ended_told(struct task *t)
{
	proc_ended(container_of(t, struct proc_watch, task));
}

void simnet_end_process(struct simnet *net, pid_t pid)
{
	struct sim_procs *p = simnet_procs(net);
	struct sim_ended *e = ended_of(p, pid);
	if (!e) {
		e = xnew(struct sim_ended);
		e->pid = pid;
		list_push(&p->ended, &e->node);
	}
	e->now = true;
	e->times++;
	simnet_note(net, (uint64_t)pid);
	list_each(n, tmp, &p->watches) {
		struct proc_watch *w = list_entry(n, struct proc_watch, node);
		if (w->pid == pid)
			loop_defer(w->loop, &w->task, ended_told);
	}
}

void simnet_begin_process(struct simnet *net, pid_t pid)
{
	struct sim_ended *e = ended_of(simnet_procs(net), pid);
	if (e)
		e->now = false;
}

uint32_t simnet_watches(const struct simnet *n) { return simnet_procs((struct simnet *)(uintptr_t)n)->nwatches; }

int sim_proc_watch(void *ctx, struct proc_watch *w, const struct sock *peer)
{
	struct sim_procs *p = simnet_procs(ctx);
	if (peer && !peer->cred.known)
		return -EPERM;
	struct sim_ended *e = ended_of(p, w->pid);
	if (e && e->now)
		return -ESRCH;
	w->key = (uint64_t)(uint32_t)w->pid << 32 | ((e ? e->times : 0) + 1);
	list_push(&p->watches, &w->node);
	p->nwatches++;
	return 0;
}

void sim_proc_unwatch(void *ctx, struct proc_watch *w)
{
	loop_undefer(&w->task);
	list_del(&w->node);
	simnet_procs(ctx)->nwatches--;
}

uint64_t sim_proc_began(void *ctx, pid_t pid)
{
	struct sim_ended *e = ended_of(simnet_procs(ctx), pid);
	return e && e->now ? 0 : (e ? e->times : 0) + 1;
}

int sim_proc_owner(void *ctx, pid_t pid, uid_t *ret)
{
	struct sim_ended *e = ended_of(simnet_procs(ctx), pid);
	if (e && e->now)
		return -ESRCH;
	*ret = pid < 10 ? 0 : simnet_knobs(ctx)->cred.uid;
	return 0;
}

/* ---- programs ---- */

void simnet_program(struct simnet *net, const char *argv0, int code, uint64_t takes_ns)
{
	struct sim_procs *p = simnet_procs(net);
	struct sim_program *g = NULL;
	list_each(n, tmp, &p->programs)
		if (strcmp(list_entry(n, struct sim_program, node)->argv0, argv0) == 0)
			g = list_entry(n, struct sim_program, node);
	if (!g) {
		g = xnew(struct sim_program);
		g->argv0 = xstrdup(argv0);
		list_push(&p->programs, &g->node);
	}
	g->code = code;
	g->takes_ns = takes_ns;
}

uint32_t simnet_runs(const struct simnet *n) { return simnet_procs((struct simnet *)(uintptr_t)n)->runs; }
uint32_t simnet_running(const struct simnet *n) { return simnet_procs((struct simnet *)(uintptr_t)n)->running; }

static void program_over(struct timer *t)
{
	struct proc_child *c = container_of(t, struct proc_child, poll);
	simnet_procs(c->loop->ops_ctx)->running--;
	proc_child_ended(c, c->code);
}

int sim_proc_run(void *ctx, struct proc_child *c, char *const *argv)
{
	struct sim_procs *p = simnet_procs(ctx);
	if (p->running >= SIMNET_CHILDREN_MAX)
		return -EAGAIN;
	list_each(n, tmp, &p->programs) {
		struct sim_program *g = list_entry(n, struct sim_program, node);
		if (strcmp(g->argv0, argv[0]) != 0)
			continue;
		c->code = g->code;
		p->runs++;
		p->running++;
		if (g->code >= 0)
			timer_in(c->loop, &c->poll, g->takes_ns, program_over);
		return 0;
	}
	return -ENOENT;
}

void sim_proc_kill(void *ctx, struct proc_child *c)
{
	(void)ctx;
	c->code = -ECHILD;
	timer_in(c->loop, &c->poll, 0, program_over);
}
