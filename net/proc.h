/* net/proc: processes of others that are watched until they end, and children of our own that are run to a deadline. Behind the seam: in simulation processes are numbers
 * that a test starts and ends (simnet).
 *
 * Watching is by pidfd, so a number that is given to another process later cannot be mistaken. Where the kernel hands out the peer's own pidfd (SO_PEERPIDFD, Linux 6.5) that is used, from
 * whatever PID namespace; else pidfd_open of the number that SO_PEERCRED told, and only where /proc shows that this process began before its connection did. */
#pragma once
#include "net/loop.h"
#include "net/sock.h"

struct proc_watch;
/* fn once, when the process has ended; the watch is then gone. 0, -ESRCH (it has ended already, or another one has its number), -ENOSYS, -EPERM, -EMFILE. */
int proc_watch_peer(struct loop *l, const struct sock *peer, void (*fn)(void *user), void *user, struct proc_watch **ret);
int proc_watch_pid(struct loop *l, pid_t pid, void (*fn)(void *user), void *user, struct proc_watch **ret);
void proc_unwatch(struct proc_watch **w);   /* accepts NULL */
pid_t proc_watch_number(const struct proc_watch *w);  /* 0: of another PID namespace, where it has none that we could say */
uint64_t proc_watch_key(const struct proc_watch *w);  /* no two processes have the same, ever; 0: this kernel (before 6.9) has none */
int proc_owner(struct loop *l, pid_t pid, uid_t *ret); /* whose it is; -ESRCH: it is not there, or not to be seen from here */
uint64_t proc_began(struct loop *l, pid_t pid);       /* with the number: which process that is, for another process of ours (hot upgrade); 0: not known */
/* A child: argv[0] is a path or found in PATH; no shell, stdin and stdout are /dev/null, stderr too, no descriptor of ours. done once: exit code >= 0, or negative: -ETIMEDOUT (it was killed, and with
 * it what it started), -ECHILD (ended by a signal), errno of the start. Never before return. -EAGAIN: too many run already (counted); done is not called then. */
struct proc_child;
int proc_run(struct loop *l, char *const *argv, uint64_t timeout_ns, void (*done)(void *user, int code), void *user, struct proc_child **ret);
void proc_kill(struct proc_child **c);      /* SIGKILL, reaped later; done is not called; accepts NULL */
