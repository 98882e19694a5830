/* health/life_procs: the processes of an app that are watched. See health/life.h.
 *
 * Two ways lead here: a connection that carries calls (life_watch_caller; where apps[].health.watch allows it), and an app that asks for it (?watch=pid, ?pid=N). A post alone leads nowhere:
 * who posts for the app (curl, a postStart hook) ends at once and is not the app. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "health/life_int.h"

static void proc_free(struct life_proc *p)
{
	struct life *l = p->life;
	list_del(&p->node);
	l->nprocs--;
	stat_dec(&l->spec.loop->stats, STAT_PROCS_WATCHED);
	proc_unwatch(&p->watch);
	acct_free(l->spec.account, p);
}

static void proc_has_ended(void *user)
{
	struct life_proc *p = user;
	struct life *l = p->life;
	char why[LIFE_WHY];
	pid_t pid = p->pid;
	p->watch = NULL; /* it has gone by itself */
	proc_free(p);
	if (pid)
		l->ended[l->nended++ % LIFE_ENDED] = pid;
	if (l->nprocs) {
		log_info(l->spec.log, "app '%s': process %d has ended; %u others are watched", l->name, (int)pid, l->nprocs);
		return;
	}
	if (pid)
		snprintf(why, sizeof why, "its process %d has ended", (int)pid);
	else
		snprintf(why, sizeof why, "its process has ended");
	life_gone(l, why);
}

static void nobody_cares(void *user) { (void)user; }

/* Its words and its end come by different descriptors, in any order. Another process may have its number by now: that one is there, and heard. Who posts for an app without being watched (curl) ends
 * at once, and is heard all the same. */
bool life_poster_ended(struct life *l, const struct sock_cred *by)
{
	uint32_t n = l->nended < LIFE_ENDED ? l->nended : LIFE_ENDED;
	struct proc_watch *w = NULL;
	if (l->nprocs || !by || !by->known)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (l->ended[i] != by->pid)
			continue;
		if (proc_watch_pid(l->spec.loop, by->pid, nobody_cares, NULL, &w) < 0)
			return true;
		proc_unwatch(&w);
		return false;
	}
	return false;
}

static bool procs_have(const struct life *l, pid_t pid)
{
	list_each(n, tmp, &l->procs)
		if (list_entry(n, struct life_proc, node)->pid == pid)
			return true;
	return false;
}

static bool procs_have_key(const struct life *l, uint64_t key)
{
	list_each(n, tmp, &l->procs)
		if (list_entry(n, struct life_proc, node)->key == key)
			return true;
	return false;
}

/* One that has ended is no news to anybody: it was not watched. Everything else a person may want to mend. */
static int procs_refused(struct life *l, pid_t pid, int rc)
{
	if (rc == -ESRCH || rc == ERR_LIMIT || l->unwatchable_told)
		return rc;
	l->unwatchable_told = true;
	log_warn(l->spec.log, "app '%s': process %d can't be watched (%s): its end will not be noticed by itself", l->name, (int)pid, err_text(rc));
	return rc;
}

static int procs_watch(struct life *l, const struct sock *peer, pid_t pid)
{
	struct loop *loop = l->spec.loop;
	if (pid > 0 && procs_have(l, pid)) /* without a system call: each connection of an app comes here */
		return 0;
	struct life_proc *p = l->nprocs < LIFE_PIDS_MAX ? acct_alloc(l->spec.account, sizeof *p) : NULL;
	if (!p) {
		stat_inc(&loop->stats, STAT_PROCS_LIMIT);
		return ERR_LIMIT;
	}
	memset(p, 0, sizeof *p);
	p->life = l;
	int rc = peer ? proc_watch_peer(loop, peer, proc_has_ended, p, &p->watch) : proc_watch_pid(loop, pid, proc_has_ended, p, &p->watch);
	if (rc < 0) {
		acct_free(l->spec.account, p);
		return procs_refused(l, pid, rc);
	}
	p->pid = proc_watch_number(p->watch);
	p->key = proc_watch_key(p->watch);
	bool known = p->key && procs_have_key(l, p->key); /* of another PID namespace: only this tells it from others */
	list_push(&l->procs, &p->node);
	l->nprocs++;
	stat_inc(&loop->stats, STAT_PROCS_WATCHED);
	if (known)
		proc_free(p);
	else
		log_debug(l->spec.log, "app '%s': process %d is watched", l->name, (int)p->pid);
	return 0;
}

int life_watch_peer(struct life *l, const struct sock *peer)
{
	return procs_watch(l, peer, peer->cred.known ? peer->cred.pid : 0);
}

int life_watch_pid(struct life *l, pid_t pid)
{
	return pid > 0 ? procs_watch(l, NULL, pid) : -ESRCH;
}

int life_watch_caller(struct life *l, const struct sock *peer)
{
	return l->watch && peer->cred.known ? life_watch_peer(l, peer) : 0;
}

/* ---- for a daemon that takes over ---- */

/* With the number: which process it is. /proc may hide it from us, and older kernels have no key. */
static uint64_t proc_identity(const struct life_proc *p)
{
	return p->key ? p->key : proc_began(p->life->spec.loop, p->pid);
}

void life_procs_save(const struct life *l, struct sb *out)
{
	const char *comma = "";
	sb_str(out, " pids=");
	list_each(n, tmp, &l->procs) {
		const struct life_proc *p = list_entry(n, struct life_proc, node);
		uint64_t which = proc_identity(p);
		if (p->pid <= 0 || !which)
			continue; /* of another PID namespace: watched again with its next connection */
		sb_fmt(out, "%s%d:%llu", comma, (int)p->pid, (unsigned long long)which);
		comma = ",";
	}
}

static void procs_take_over(struct life *l, struct str one)
{
	uint64_t pid, which;
	ptrdiff_t colon = str_find(one, ':');
	if (colon < 0 || !str_u64(str_cut(one, 0, (size_t)colon), &pid) || !str_u64(str_cut(one, (size_t)colon + 1, one.n), &which) || !pid || pid > INT32_MAX)
		return;
	if (life_watch_pid(l, (pid_t)pid) != 0)
		return;
	list_each(n, tmp, &l->procs) {
		struct life_proc *p = list_entry(n, struct life_proc, node);
		if (p->pid == (pid_t)pid && proc_identity(p) != which)
			proc_free(p); /* another one has the number by now */
	}
}

/* Who ended while nobody was looking has ended all the same. */
void life_procs_restore(struct life *l, struct str pids)
{
	bool any = pids.n > 0;
	for (uint32_t i = 0; pids.n && i < LIFE_PIDS_MAX; i++) {
		ptrdiff_t comma = str_find(pids, ',');
		procs_take_over(l, comma < 0 ? pids : str_cut(pids, 0, (size_t)comma));
		pids = comma < 0 ? STR("") : str_cut(pids, (size_t)comma + 1, pids.n);
	}
	if (any && !l->nprocs)
		life_gone(l, "its last process ended while the daemon was replaced");
}

void life_procs_free(struct life *l)
{
	list_each(n, tmp, &l->procs)
		proc_free(list_entry(n, struct life_proc, node));
}
