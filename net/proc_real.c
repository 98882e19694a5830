/* net/proc_real: processes of the kernel behind the seam: pidfds, /proc where it takes the place of what an older kernel does not say, and posix_spawn.
 *
 * A child's pidfd is opened while it is not reaped, so its number is its own. Where there is no pidfd (an old kernel, no descriptor left) a child is asked after
 * by a timer; a process of others is then not watched at all. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "net/loop_real.h"
#include "net/proc_int.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; the same on all machines that Debian 12 builds this for */
#endif
enum { PIDFS_MAGIC = 0x50494446 };
/* Children at once: each check has one, and those that a SIGKILL does not end (they sleep in the kernel) stay for a while. */
enum { CHILDREN_MAX = 64 };
static const uint64_t poll_ns = UINT64_C(20000000);

/* ---- /proc --------------------------------------------------------------------------------------------------------------------- */

/* The 22nd word of /proc/PID/stat: clock ticks from the boot to its start. The name in parentheses may hold anything. */
static uint64_t stat_began(const char *text)
{
	const char *at = strrchr(text, ')');
	for (int word = 2; at && word < 22; word++) {
		at = strchr(at + 1, ' ');
	}
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

/* Somebody else's /proc (a bind mount of the host's) has other numbers. */
static bool proc_is_ours(void)
{
	char self[32];
	ssize_t n = readlink("/proc/self", self, sizeof self - 1);
	if (n <= 0)
		return false;
	self[n] = '\0';
	return strtol(self, NULL, 10) == (long)getpid();
}

uint64_t proc_real_began(void *ctx, pid_t pid)
{
	char path[48], text[1024];
	(void)ctx;
	if (pid <= 0 || !proc_is_ours())
		return 0;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return stat_began(text);
}

/* Linux 6.13: where /proc hides the processes of others (ProtectProc= of our own unit) the kernel still says whose they are. */
static int owner_by_pidfd(pid_t pid, uid_t *ret)
{
	struct pidfd_creds { uint64_t mask, cgroup; uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid, exit_code; } info = {.mask = 2 /* PIDFD_INFO_CREDS */};
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return -ESRCH;
	int rc = ioctl(fd, _IOWR(0xFF, 11, struct pidfd_creds) /* PIDFD_GET_INFO, its first size */, &info);
	close(fd);
	if (rc != 0 || !(info.mask & 2))
		return -ESRCH;
	*ret = info.euid;
	return 0;
}

int proc_real_owner(void *ctx, pid_t pid, uid_t *ret)
{
	char path[48];
	struct stat st;
	(void)ctx;
	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	if (pid <= 0)
		return -ESRCH;
	if (!proc_is_ours() || stat(path, &st) != 0)
		return owner_by_pidfd(pid, ret);
	*ret = st.st_uid; /* root's for one that may not be dumped: then root alone may speak of it */
	return 0;
}

/* It began before its connection did, to a tick: that is how coarse /proc is. */
static bool began_before(pid_t pid, uint64_t since_boot_ns)
{
	uint64_t ticks = proc_real_began(NULL, pid);
	long hz = sysconf(_SC_CLK_TCK);
	return ticks && hz > 0 && ticks * (1000000000 / (uint64_t)hz) <= since_boot_ns;
}

/* ---- watching ------------------------------------------------------------------------------------------------------------------- */

static bool pidfd_ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) != 0;
}

/* The number that the kernel told at connect may be another process's by now. The pidfd pins whom it names today; if that one began before the connection did and is still
 * there after we have looked, it has had the number all the time. */
static int open_by_number(const struct sock *peer, pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno; /* a thread's number (ENOENT since Linux 6.15): there is no such process */
	if (!peer)
		return fd;
	if (began_before(pid, peer->since_boot_ns)) /* and is there still: proc_real_watch looks */
		return fd;
	close(fd);
	return proc_is_ours() ? -ESRCH : -EPERM;
}

static int open_peer(const struct sock *peer, pid_t pid)
{
	int fd = -1;
	socklen_t n = sizeof fd;
	if (peer->fd >= 0) {
		if (getsockopt(peer->fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &n) == 0)
			return fd;
		if (errno != ENOPROTOOPT) /* ESRCH: it has ended and was reaped; ENODATA: not a Unix socket */
			return errno == ESRCH || errno == EMFILE || errno == ENFILE ? -errno : -EPERM;
	}
	return pid > 0 ? open_by_number(peer, pid) : -EPERM;
}

/* pidfs numbers processes and never again; older kernels give all pidfds one inode. */
static uint64_t pidfd_key(int fd)
{
	struct statfs fs;
	struct stat st;
	return fstatfs(fd, &fs) == 0 && fs.f_type == PIDFS_MAGIC && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void watch_ready(void *user, int fd, int what)
{
	(void)fd, (void)what;
	proc_ended(user);
}

int proc_real_watch(void *ctx, struct proc_watch *w, const struct sock *peer)
{
	(void)ctx;
	int fd = peer ? open_peer(peer, w->pid) : open_by_number(NULL, w->pid);
	if (fd < 0)
		return fd;
	if (pidfd_ended(fd)) { /* newer kernels hand out the pidfd of one that was reaped, too */
		close(fd);
		return -ESRCH;
	}
	int rc = loop_fd_add(w->loop, fd, 1, watch_ready, w, &w->ready);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	w->fd = fd;
	w->key = pidfd_key(fd);
	return 0;
}

static void fd_end(struct loop *l, struct loop_fd **ready, int *fd)
{
	loop_fd_del(ready);
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	sock_real_fd_freed(l);
}

void proc_real_unwatch(void *ctx, struct proc_watch *w)
{
	(void)ctx;
	fd_end(w->loop, &w->ready, &w->fd);
}

/* ---- children ------------------------------------------------------------------------------------------------------------------- */

/* True: it is reaped. */
static bool child_reap(struct proc_child *c, int *ret_code)
{
	siginfo_t si = {0};
	int rc = waitid(P_PID, (id_t)c->pid, &si, WEXITED | WNOHANG);
	if (rc < 0 && errno == EINTR)
		return false;
	if (rc == 0 && si.si_pid == 0)
		return false;
	*ret_code = rc == 0 && si.si_code == CLD_EXITED ? si.si_status : -ECHILD;
	return true;
}

static void child_look(struct proc_child *c)
{
	int code;
	if (!child_reap(c, &code))
		return;
	struct loop *l = c->loop;
	timer_cancel(l, &c->poll);
	fd_end(l, &c->ready, &c->fd);
	list_del(&c->node);
	loop_real(l)->nchildren--;
	proc_child_ended(c, code);
}

static void child_ready(void *user, int fd, int what)
{
	(void)fd, (void)what;
	child_look(user);
}

static void child_poll(struct timer *t)
{
	struct proc_child *c = container_of(t, struct proc_child, poll);
	timer_in(c->loop, &c->poll, poll_ns, child_poll);
	child_look(c);
}

/* A parent that ignored SIGCHLD has handed this down: the kernel would reap behind our back, and every check would have failed. */
static void heed_children(void)
{
	struct sigaction now;
	if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN && !(now.sa_flags & SA_SIGINFO))
		signal(SIGCHLD, SIG_DFL);
}

/* A group of its own, so that what a script has started ends with it; all signals as a fresh program expects them. */
static int spawn(pid_t *ret, char *const *argv)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int rc = posix_spawn_file_actions_init(&files);
	if (rc)
		return -rc;
	rc = posix_spawnattr_init(&attr);
	if (rc) {
		posix_spawn_file_actions_destroy(&files);
		return -rc;
	}
	rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	for (int fd = 1; fd <= 2 && !rc; fd++)
		rc = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_WRONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (!rc)
		rc = posix_spawnp(ret, argv[0], &files, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

int proc_real_run(void *ctx, struct proc_child *c, char *const *argv)
{
	struct loop_real *r = ctx;
	if (r->nchildren >= CHILDREN_MAX)
		return -EAGAIN;
	heed_children();
	int rc = spawn(&c->pid, argv);
	if (rc < 0)
		return rc == -EAGAIN ? -ENOMEM : rc; /* the kernel's EAGAIN (too many processes) is no limit of ours */
	r->nchildren++;
	list_push(&r->children, &c->node);
	c->fd = pidfd_open(c->pid, 0);
	if (c->fd < 0 || loop_fd_add(c->loop, c->fd, 1, child_ready, c, &c->ready) < 0) {
		fd_end(c->loop, &c->ready, &c->fd);
		timer_in(c->loop, &c->poll, poll_ns, child_poll);
	}
	return 0;
}

void proc_real_kill(void *ctx, struct proc_child *c)
{
	(void)ctx;
	kill(-c->pid, SIGKILL); /* not reaped: the number, and the group's, are still its own */
}

void proc_real_end(struct loop_real *r)
{
	for (struct list *n; (n = list_pop(&r->children));) {
		struct proc_child *c = list_entry(n, struct proc_child, node);
		int code;
		kill(-c->pid, SIGKILL);
		child_reap(c, &code); /* one that does not die at once is init's, once we have ended */
		loop_fd_drop(&c->ready);
		if (c->fd >= 0)
			close(c->fd);
		free(c);
	}
}
