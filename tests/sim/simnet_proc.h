/* tests/sim/simnet_proc: processes of a simulation: numbers that a test ends and begins again, and programs that take their time and say a code. Part of simnet: the
 * seam of net/proc.
 *
 * Every number is a process that is alive until simnet_end_process; a watch by a connection is one of its cred.pid (pid 0: of another PID namespace, and every
 * connection of it the same process). */
#pragma once
#include "net/proc_int.h"

struct simnet;
void simnet_end_process(struct simnet *n, pid_t pid);    /* who watches it hears of it in the next turn */
void simnet_begin_process(struct simnet *n, pid_t pid);  /* another one of that number */
uint32_t simnet_watches(const struct simnet *n);         /* processes that are watched, each as often as it is */
/* What argv[0] does from now on: ends with code (< 0: never) after so long. Other programs cannot be started (-ENOENT). */
void simnet_program(struct simnet *n, const char *argv0, int code, uint64_t takes_ns);
uint32_t simnet_runs(const struct simnet *n);            /* programs that were started */
uint32_t simnet_running(const struct simnet *n);
enum { SIMNET_CHILDREN_MAX = 64 };

/* simnet.c's */
struct sim_procs { struct list watches, ended, programs; uint32_t nwatches, runs, running; };
void sim_procs_init(struct sim_procs *p);
void sim_procs_end(struct sim_procs *p);
struct sim_procs *simnet_procs(struct simnet *n);
int sim_proc_watch(void *ctx, struct proc_watch *w, const struct sock *peer);
void sim_proc_unwatch(void *ctx, struct proc_watch *w);
uint64_t sim_proc_began(void *ctx, pid_t pid);
int sim_proc_owner(void *ctx, pid_t pid, uid_t *ret); /* the uid of knobs.cred; those of pids below 10 are root's */
int sim_proc_run(void *ctx, struct proc_child *c, char *const *argv);
void sim_proc_kill(void *ctx, struct proc_child *c);
