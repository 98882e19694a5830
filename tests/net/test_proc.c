/* net/proc: real processes that end, and real children, on the real loop; numbers in the simulation. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "net/proc.h"
#include "net/timer.h"
#include "tests/sim/simnet.h"
#include "tests/sim/simnet_proc.h"
#include "tests/unit.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)

struct told { int times, code; };
static void ended(void *user) { ((struct told *)user)->times++; }
static void done(void *user, int code)
{
	struct told *t = user;
	t->times++;
	t->code = code;
}

/* Bounded by the loop's own clock, so that a fault is a failed test and no hang. */
static void turn_until(struct loop *l, const int *times, int wanted)
{
	for (uint64_t until = l->now_ns + 20 * SEC; *times < wanted && l->now_ns < until;)
		loop_turn(l, (int64_t)(100 * MS));
}

/* A child that lives until its pipe is closed, or until it is killed. */
static pid_t child_new(int *ret_pipe)
{
	int p[2];
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		close(p[1]);
		_exit(read(p[0], &c, 1) == 0 ? 0 : 1);
	}
	close(p[0]);
	*ret_pipe = p[1];
	return pid;
}

START_TEST(the_end_of_a_process_is_told_once)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_watch *w;
	int hold;
	pid_t pid = child_new(&hold);
	ck_assert_int_eq(proc_watch_pid(l, pid, ended, &t, &w), 0);
	ck_assert_int_eq(proc_watch_number(w), pid);
	loop_turn(l, (int64_t)MS);
	ck_assert_int_eq(t.times, 0);
	kill(pid, SIGKILL);
	turn_until(l, &t.times, 1);
	ck_assert_int_eq(t.times, 1); /* though nobody has reaped it yet */
	loop_turn(l, (int64_t)(5 * MS));
	ck_assert_int_eq(t.times, 1);
	waitpid(pid, NULL, 0);
	close(hold);
	loop_free(&l);
}
END_TEST

START_TEST(nothing_is_told_of_a_process_that_is_watched_no_more)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0}, other = {0};
	struct proc_watch *w, *v;
	int hold;
	pid_t pid = child_new(&hold);
	ck_assert_int_eq(proc_watch_pid(l, pid, ended, &t, &w), 0);
	ck_assert_int_eq(proc_watch_pid(l, pid, ended, &other, &v), 0);
	ck_assert(proc_watch_key(w) == proc_watch_key(v));
	proc_unwatch(&w);
	ck_assert_ptr_null(w);
	proc_unwatch(&w);
	close(hold);
	turn_until(l, &other.times, 1);
	ck_assert_int_eq(other.times, 1);
	ck_assert_int_eq(t.times, 0);
	waitpid(pid, NULL, 0);
	loop_free(&l);
}
END_TEST

static void *thread(void *user)
{
	int *tid_and_pipe = user;
	char byte;
	tid_and_pipe[0] = (int)gettid();
	if (write(tid_and_pipe[2], "x", 1) != 1 || read(tid_and_pipe[3], &byte, 1) < 0)
		abort();
	return NULL;
}

START_TEST(the_number_of_a_thread_is_no_process)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_watch *w = NULL;
	int said[2], hold[2];
	char byte;
	pthread_t other;
	ck_assert(pipe(said) == 0 && pipe(hold) == 0);
	int shared[] = {0, 0, said[1], hold[0]};
	ck_assert_int_eq(pthread_create(&other, NULL, thread, shared), 0);
	ck_assert_int_eq(read(said[0], &byte, 1), 1);
	ck_assert_int_eq(proc_watch_pid(l, shared[0], ended, &t, &w), -ESRCH);
	ck_assert_ptr_null(w);
	close(hold[1]);
	pthread_join(other, NULL);
	close(hold[0]);
	close(said[0]);
	close(said[1]);
	loop_free(&l);
}
END_TEST

START_TEST(who_has_ended_before_cannot_be_watched)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_watch *w = NULL;
	int hold;
	pid_t pid = child_new(&hold);
	close(hold);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(proc_watch_pid(l, pid, ended, &t, &w), -ESRCH);
	ck_assert_int_eq(proc_watch_pid(l, 0, ended, &t, &w), -ESRCH);
	ck_assert_int_eq(proc_watch_pid(l, -1, ended, &t, &w), -ESRCH);
	ck_assert_ptr_null(w);
	ck_assert_uint_eq(proc_began(l, pid), 0);
	ck_assert_uint_gt(proc_began(l, getpid()), 0);
	uid_t owner = (uid_t)-1;
	ck_assert_int_eq(proc_owner(l, getpid(), &owner), 0);
	ck_assert_uint_eq(owner, geteuid());
	ck_assert_int_eq(proc_owner(l, pid, &owner), -ESRCH);
	loop_free(&l);
}
END_TEST

/* ---- by a connection ---- */

struct door { struct sock *taken; struct sock_listen *listen; struct loop *loop; };

static bool taken(void *user, struct sock *s)
{
	static const struct sock_events none = {NULL, NULL, NULL};
	((struct door *)user)->taken = s;
	sock_set(s, &none, NULL);
	return true;
}

static const struct sock_listen_events door_events = {taken};

static struct door *door_new(struct loop *l)
{
	struct door *d = xnew(struct door);
	char name[64];
	struct addr at;
	snprintf(name, sizeof name, "@tm-test-proc-%d", (int)getpid());
	ck_assert_int_eq(addr_unix(str_of(name), &at), 0);
	d->loop = l;
	ck_assert_int_eq(sock_listen(l, -1, &at, &door_events, d, &d->listen), 0);
	return d;
}

static void door_free(struct door *d)
{
	sock_close(&d->taken);
	sock_listen_close(&d->listen);
	free(d);
}

/* A process that connects, and waits until its pipe is closed. */
static pid_t visitor_new(struct door *d, int *ret_pipe)
{
	int p[2];
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		int s = socket(AF_UNIX, SOCK_STREAM, 0);
		close(p[1]);
		int rc = connect(s, &d->listen->at.sa, d->listen->at.len);
		_exit(rc == 0 && read(p[0], &c, 1) == 0 ? 0 : 1);
	}
	close(p[0]);
	*ret_pipe = p[1];
	for (int i = 0; i < 200 && !d->taken; i++)
		loop_turn(d->loop, (int64_t)(100 * MS));
	ck_assert_ptr_nonnull(d->taken);
	return pid;
}

START_TEST(the_process_behind_a_connection_is_watched)
{
	struct loop *l = loop_new_real(NULL);
	struct door *d = door_new(l);
	struct told t = {0};
	struct proc_watch *w;
	int hold;
	pid_t pid = visitor_new(d, &hold);
	ck_assert_int_eq(proc_watch_peer(l, d->taken, ended, &t, &w), 0);
	ck_assert_int_eq(proc_watch_number(w), pid);
	loop_turn(l, (int64_t)MS);
	ck_assert_int_eq(t.times, 0);
	kill(pid, SIGKILL);
	turn_until(l, &t.times, 1);
	ck_assert_int_eq(t.times, 1);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(proc_watch_peer(l, d->taken, ended, &t, &w), -ESRCH); /* the connection is there still, it is not */
	close(hold);
	door_free(d);
	loop_free(&l);
}
END_TEST

/* The kernel of the time before SO_PEERPIDFD: a sock without a descriptor has but the number that was told at connect. */
START_TEST(without_the_peers_own_pidfd_a_number_is_believed_if_its_process_began_before_the_connection)
{
	struct loop *l = loop_new_real(NULL);
	struct door *d = door_new(l);
	struct told t = {0};
	struct proc_watch *w = NULL;
	int hold;
	pid_t pid = visitor_new(d, &hold);
	struct sock old = {.loop = l, .fd = -1, .cred = d->taken->cred, .since_boot_ns = d->taken->since_boot_ns};
	ck_assert_uint_gt(old.since_boot_ns, 0);
	ck_assert_int_eq(proc_watch_peer(l, &old, ended, &t, &w), 0);
	proc_unwatch(&w);
	old.since_boot_ns = 1; /* a connection of the boot's first moment: whoever has the number now came later */
	ck_assert_int_eq(proc_watch_peer(l, &old, ended, &t, &w), -ESRCH);
	old.since_boot_ns = 0; /* nobody knows when */
	ck_assert_int_eq(proc_watch_peer(l, &old, ended, &t, &w), -ESRCH);
	old.since_boot_ns = d->taken->since_boot_ns;
	old.cred.known = false;
	ck_assert_int_eq(proc_watch_peer(l, &old, ended, &t, &w), -EPERM);
	close(hold);
	waitpid(pid, NULL, 0);
	old.cred.known = true;
	ck_assert_int_eq(proc_watch_peer(l, &old, ended, &t, &w), -ESRCH);
	ck_assert_int_eq(t.times, 0);
	door_free(d);
	loop_free(&l);
}
END_TEST

/* ---- children ---- */

/* Any child of ours, dead or alive. It is not reaped: that is what is being tested. */
static bool have_children(void)
{
	siginfo_t si = {0};
	return waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void turn_until_reaped(struct loop *l)
{
	for (uint64_t until = l->now_ns + 20 * SEC; have_children() && l->now_ns < until;)
		loop_turn(l, (int64_t)(20 * MS));
	ck_assert(!have_children()); /* no zombie, nobody left */
}

static int run(char *const *argv, uint64_t timeout_ns)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_child *c;
	ck_assert_int_eq(proc_run(l, argv, timeout_ns, done, &t, &c), 0);
	ck_assert_int_eq(t.times, 0); /* never before return */
	turn_until(l, &t.times, 1);
	ck_assert_int_eq(t.times, 1);
	turn_until_reaped(l);
	loop_free(&l);
	return t.code;
}

START_TEST(a_program_is_run_and_its_exit_code_told)
{
	static const struct { const char *argv[4]; int code; } rows[] = {
		{{"true"}, 0},
		{{"/bin/false"}, 1},
		{{"sh", "-c", "exit 7"}, 7},
		{{"sh", "-c", "kill -TERM $$"}, -ECHILD},
		{{"/nowhere/at/all"}, -ENOENT},
		{{"/etc/passwd"}, -EACCES},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_int_eq(run((char *const *)(uintptr_t)rows[i].argv, 20 * SEC), rows[i].code);
}
END_TEST

START_TEST(a_program_that_hangs_is_killed_at_its_deadline_with_what_it_started)
{
	char *argv[] = {"sh", "-c", "sleep 1000 & sleep 1000; exit 0", NULL};
	ck_assert_int_eq(run(argv, 30 * MS), -ETIMEDOUT);
}
END_TEST

START_TEST(a_program_gets_no_descriptor_and_no_blocked_signal_of_ours)
{
	/* Exit 0: nothing but 0, 1, 2 (and the folder that is being listed) is open; stdin has ended; TERM, which we block, ends it. */
	char *argv[] = {"sh", "-c", "test \"$(ls /proc/self/fd | tr '\\n' ' ')\" = '0 1 2 3 ' && test -z \"$(cat)\" && exit 0; exit 9", NULL};
	char *term[] = {"sh", "-c", "kill -TERM $$; exit 0", NULL};
	sigset_t blocked, before;
	int leaky = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as a library would */
	ck_assert_int_eq(fcntl(leaky, F_DUPFD, 57), 57);
	ck_assert_int_eq(run(argv, 20 * SEC), 0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	signal(SIGTERM, SIG_IGN);
	ck_assert_int_eq(run(term, 20 * SEC), -ECHILD);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
}
END_TEST

START_TEST(children_are_heard_of_though_our_parent_ignored_them)
{
	char *argv[] = {"sh", "-c", "exit 3", NULL};
	signal(SIGCHLD, SIG_IGN);
	ck_assert_int_eq(run(argv, 20 * SEC), 3);
}
END_TEST

START_TEST(where_no_descriptor_is_left_a_child_is_asked_after)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_child *c;
	char *argv[] = {"sh", "-c", "exit 5", NULL};
	struct rlimit before, now;
	int hold[256], n = 0;
	getrlimit(RLIMIT_NOFILE, &before);
	now = before;
	now.rlim_cur = 128;
	setrlimit(RLIMIT_NOFILE, &now);
	while (n < 256 && (hold[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c), 0);
	turn_until(l, &t.times, 1);
	ck_assert_int_eq(t.code, 5);
	while (n > 0)
		close(hold[--n]);
	setrlimit(RLIMIT_NOFILE, &before);
	loop_free(&l);
}
END_TEST

START_TEST(a_child_that_is_killed_tells_nothing_and_is_reaped)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_child *c;
	char *argv[] = {"sleep", "1000", NULL}, *never[] = {"/nowhere", NULL};
	ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c), 0);
	proc_kill(&c);
	ck_assert_ptr_null(c);
	proc_kill(&c);
	ck_assert_int_eq(proc_run(l, never, 20 * SEC, done, &t, &c), 0);
	proc_kill(&c);
	turn_until_reaped(l);
	ck_assert_int_eq(t.times, 0);
	loop_free(&l);
}
END_TEST

START_TEST(a_loop_that_ends_leaves_no_child_running)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_child *c;
	char *argv[] = {"sleep", "1000", NULL};
	ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c), 0);
	loop_free(&l);
	while (waitpid(-1, NULL, 0) > 0) /* dead, if not reaped: this ends */
		;
	ck_assert_int_eq(t.times, 0);
}
END_TEST

START_TEST(children_are_bounded)
{
	struct loop *l = loop_new_real(NULL);
	struct told t = {0};
	struct proc_child *c[65];
	char *argv[] = {"sleep", "1000", NULL};
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c[i]), 0);
	ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c[64]), -EAGAIN);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_CHILDREN_LIMIT), 1);
	for (int i = 0; i < 64; i++)
		proc_kill(&c[i]);
	turn_until_reaped(l);
	ck_assert_int_eq(proc_run(l, argv, 20 * SEC, done, &t, &c[64]), 0); /* there is room again */
	proc_kill(&c[64]);
	loop_free(&l);
	while (waitpid(-1, NULL, 0) > 0)
		;
	ck_assert_int_eq(t.times, 0);
}
END_TEST

/* ---- in the simulation ---- */

START_TEST(in_the_simulation_a_test_ends_processes)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct told t = {0}, u = {0};
	struct proc_watch *w, *v;
	struct sock peer = {.loop = l, .fd = -1, .cred = {.known = true, .pid = 7}};
	ck_assert_int_eq(proc_watch_pid(l, 7, ended, &t, &w), 0);
	ck_assert_int_eq(proc_watch_peer(l, &peer, ended, &u, &v), 0);
	ck_assert_uint_eq(simnet_watches(n), 2);
	uint64_t began = proc_began(l, 7);
	simnet_end_process(n, 7);
	proc_unwatch(&v);
	simnet_advance(n, 0);
	ck_assert_int_eq(t.times, 1);
	ck_assert_int_eq(u.times, 0);
	ck_assert_int_eq(proc_watch_pid(l, 7, ended, &t, &w), -ESRCH);
	simnet_begin_process(n, 7);
	ck_assert_int_eq(proc_watch_pid(l, 7, ended, &t, &w), 0);
	ck_assert(proc_began(l, 7) != began);
	proc_unwatch(&w);
	ck_assert_uint_eq(simnet_watches(n), 0);
	simnet_free(&n);
}
END_TEST

START_TEST(in_the_simulation_programs_take_their_time)
{
	struct simnet *n = simnet_new(1);
	struct loop *l = simnet_loop(n);
	struct told t = {0}, hung = {0}, none = {0};
	struct proc_child *c, *d, *e;
	char *quick[] = {"quick", NULL}, *hangs[] = {"hangs", NULL}, *nowhere[] = {"nowhere", NULL};
	simnet_program(n, "quick", 3, 2 * SEC);
	simnet_program(n, "hangs", -1, 0);
	ck_assert_int_eq(proc_run(l, quick, 5 * SEC, done, &t, &c), 0);
	ck_assert_int_eq(proc_run(l, hangs, 5 * SEC, done, &hung, &d), 0);
	ck_assert_int_eq(proc_run(l, nowhere, 5 * SEC, done, &none, &e), 0);
	simnet_advance(n, 0);
	ck_assert_int_eq(none.code, -ENOENT);
	simnet_advance(n, 1999 * MS);
	ck_assert_int_eq(t.times, 0);
	simnet_advance(n, 2 * MS);
	ck_assert_int_eq(t.times, 1);
	ck_assert_int_eq(t.code, 3);
	simnet_advance(n, 4 * SEC);
	ck_assert_int_eq(hung.code, -ETIMEDOUT);
	ck_assert_uint_eq(simnet_runs(n), 2);
	ck_assert_uint_eq(simnet_running(n), 0);
	simnet_free(&n);
}
END_TEST

UNIT_SUITE("proc", the_end_of_a_process_is_told_once, nothing_is_told_of_a_process_that_is_watched_no_more, who_has_ended_before_cannot_be_watched, the_number_of_a_thread_is_no_process,
	the_process_behind_a_connection_is_watched, without_the_peers_own_pidfd_a_number_is_believed_if_its_process_began_before_the_connection,
	a_program_is_run_and_its_exit_code_told, a_program_that_hangs_is_killed_at_its_deadline_with_what_it_started, a_program_gets_no_descriptor_and_no_blocked_signal_of_ours,
	children_are_heard_of_though_our_parent_ignored_them, where_no_descriptor_is_left_a_child_is_asked_after, a_child_that_is_killed_tells_nothing_and_is_reaped,
	a_loop_that_ends_leaves_no_child_running, children_are_bounded, in_the_simulation_a_test_ends_processes, in_the_simulation_programs_take_their_time)
