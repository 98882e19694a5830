/* sidecar/upgrade: see upgrade.h. */
#include "sidecar/upgrade.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "THINMESH_HANDOVER"
/* PREPARE: a control plane that does not answer must not keep an upgrade from happening; what is not known is asked call by call, as after any start.
 * GO: a predecessor that was stopped (SIGSTOP) does not answer either; it will find our "ready" when it goes on. */
#define PREPARE_NS UINT64_C(5000000000)
#define LOOK_NS UINT64_C(10000000)
#define GO_NS UINT64_C(3000000000)
#define LEND_NS UINT64_C(5000000000)

enum { WORD = 4096, WORDS_MAX = 64 /* in a turn */ };
enum state { IDLE, LENDING, STARTED, SERVED };
enum coming { NOT, FOLLOWS, READY, SERVES };

struct upgrade {
	struct upgrade_spec spec;
	/* the program */
	char *path;                    /* where it was started from; NULL: not known */
	struct stat began_as;          /* of the running program */
	/* as the one that goes */
	enum state state;
	int *given; uint32_t ngiven;   /* while describe runs */
	pid_t pid;                     /* of the successor; 0: none */
	int fd;                        /* our end of the pair; -1 */
	struct loop_fd *watch;
	struct timer timer;            /* LENDING: the next look; STARTED: its time is over */
	uint64_t until_ns, within_ns, begun_ns;
	bool bye, late;                /* the successor has said that it ends; it was ended because it took too long */
	/* as the one that comes */
	enum coming coming;
	struct handover handed;
	int up_fd;                     /* to the predecessor; -1: gone */
	struct loop_fd *up_watch;
	struct timer up_timer;
};

/* ---- the program ---- */

static char *own_program(void)
{
	char text[4096];
	ssize_t n = readlink("/proc/self/exe", text, sizeof text - 1);
	return n > 0 && n < (ssize_t)sizeof text - 1 ? xstrndup(text, (size_t)n) : NULL;
}

/* The path that people wrote is better than the kernel's: it may lead over a link that an installation turns to another version. */
static char *program_of(const char *argv0, const struct stat *own)
{
	struct stat st;
	char cwd[4096];
	char *path = NULL;
	if (argv0[0] == '/')
		path = xstrdup(argv0);
	else if (strchr(argv0, '/') && getcwd(cwd, sizeof cwd))
		path = xasprintf("%s/%s", cwd, argv0);
	if (path && stat(path, &st) == 0 && st.st_dev == own->st_dev && st.st_ino == own->st_ino)
		return path;
	free(path);
	return own_program();
}

bool upgrade_binary_is_new(const struct upgrade *u)
{
	const struct stat *was = &u->began_as;
	struct stat now;
	if (!u->path || stat(u->path, &now) != 0 || !S_ISREG(now.st_mode))
		return false;
	return now.st_dev != was->st_dev || now.st_ino != was->st_ino || now.st_size != was->st_size || now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
}

/* ---- words ---- */

static void say(int fd, const char *word)
{
	if (fd >= 0)
		(void)!send(fd, word, strlen(word), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One word; false: there is none now. *ret_end: nor will there ever be. Descriptors that come along are closed by the kernel: there is no room for them. */
static bool hear(int fd, char word[WORD], bool *ret_end)
{
	ssize_t n;
	do
		n = recv(fd, word, WORD - 1, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	*ret_end = n == 0 || (n < 0 && errno != EAGAIN);
	word[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void hang_up(int *fd, struct loop_fd **watch)
{
	loop_fd_del(watch);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- the one that goes ---- */

static void give_up(struct upgrade *u)
{
	u->state = IDLE;
	u->bye = false;
	u->pid = 0;
	timer_cancel(u->spec.loop, &u->timer);
	hang_up(&u->fd, &u->watch);
	stat_inc(&u->spec.loop->stats, STAT_UPGRADES_FAILED);
	u->spec.failed(u->spec.ctx);
}

static const char *how_it_ended(int status, char out[64])
{
	if (WIFEXITED(status))
		snprintf(out, 64, "exit status %d", WEXITSTATUS(status));
	else
		snprintf(out, 64, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return out;
}

static void ended(struct upgrade *u, pid_t pid, int status)
{
	char how[64];
	struct log *log = u->spec.log;
	if (u->state == STARTED) {
		log_error(log, "upgrade: process %d %s (%s); this process goes on serving", (int)pid, u->late ? "was not ready in time and was ended" : "ended before it was ready", how_it_ended(status, how));
		give_up(u);
		return;
	}
	u->pid = 0;
	timer_cancel(u->spec.loop, &u->timer);
	hang_up(&u->fd, &u->watch);
	if (u->state != SERVED)
		return; /* broken off */
	if (u->bye) {
		log_info(log, "upgrade: process %d, which had taken over, has ended (%s)", (int)pid, how_it_ended(status, how));
		return;
	}
	log_error(log, "upgrade: process %d, which had taken over, has died (%s); this process serves again", (int)pid, how_it_ended(status, how));
	u->state = IDLE;
	stat_inc(&u->spec.loop->stats, STAT_UPGRADES_FAILED);
	u->spec.died(u->spec.ctx);
}

/* Before that our end would leave nobody, should it die in between. */
static void is_here(struct upgrade *u)
{
	if (u->state != SERVED)
		return;
	timer_cancel(u->spec.loop, &u->timer);
	u->spec.here(u->spec.ctx);
}

/* It said that it is ready, and hangs: nobody would accept once our end came. We are still here. */
static void not_here(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, timer);
	log_error(u->spec.log, "upgrade: process %d was told to go and does not answer; it is ended", (int)u->pid);
	kill(u->pid, SIGKILL); /* child_ended follows */
}

static void heard(void *user, int fd, int what)
{
	(void)what;
	struct upgrade *u = user;
	char word[WORD];
	bool end = false;
	for (int i = 0; i < WORDS_MAX && u->fd == fd && hear(fd, word, &end); i++) {
		if (strcmp(word, "ready") == 0 && u->state == STARTED && !u->late) {
			timer_cancel(u->spec.loop, &u->timer);
			u->state = SERVED;
			stat_inc(&u->spec.loop->stats, STAT_UPGRADES);
			log_info(u->spec.log, "upgrade: process %d is ready after %llu ms and takes over", (int)u->pid, (unsigned long long)((u->spec.loop->now_ns - u->begun_ns) / 1000000));
			u->spec.served(u->spec.ctx, u->pid);
			say(u->fd, "go");
			timer_in(u->spec.loop, &u->timer, GO_NS, not_here);
			say(u->up_fd, "bye"); /* where ours still drains: our own end will be meant */
		} else if (strcmp(word, "here") == 0) {
			is_here(u);
		} else if (strcmp(word, "bye") == 0 && !u->bye) {
			u->bye = true;
			is_here(u);
			if (u->state == SERVED)
				u->spec.bye(u->spec.ctx);
		}
	}
	if (u->fd == fd && end)
		hang_up(&u->fd, &u->watch); /* how it ended, SIGCHLD tells */
}

static void child_ended(void *user, int signo)
{
	(void)signo;
	struct upgrade *u = user;
	int status;
	if (u->pid <= 0 || waitpid(u->pid, &status, WNOHANG) != u->pid)
		return;
	if (u->fd >= 0) /* its last word may be "ready" or "bye" */
		heard(u, u->fd, 1);
	ended(u, u->pid, status);
}

static void too_late(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, timer);
	u->late = true;
	kill(u->pid, SIGKILL); /* child_ended follows */
}

static bool is_passed_on(const char *variable)
{
	static const char *const ours[] = {"LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID=", VARIABLE "="};
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (strncmp(variable, ours[i], strlen(ours[i])) == 0)
			return false;
	return true;
}

static char **environment(int pair, int text)
{
	size_t n = 0, k = 0;
	while (environ[n])
		n++;
	char **env = xalloc((n + 2) * sizeof *env);
	env[k++] = xasprintf(VARIABLE "=%d,%d", pair, text); /* the first one is ours, the others are borrowed */
	for (size_t i = 0; i < n; i++)
		if (is_passed_on(environ[i]))
			env[k++] = environ[i];
	return env;
}

/* dup2 onto itself takes close-on-exec away, in the child alone. */
static int spawn(struct upgrade *u, int pair, int text, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, usual;
	int rc = posix_spawn_file_actions_init(&files);
	if (rc != 0)
		return -rc;
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigemptyset(&usual);
	sigaddset(&usual, SIGPIPE);
	sigaddset(&usual, SIGXFSZ);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &usual);
	for (uint32_t i = 0; i < u->ngiven && rc == 0; i++)
		rc = posix_spawn_file_actions_adddup2(&files, u->given[i], u->given[i]);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&files, pair, pair);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&files, text, text);
	char **env = environment(pair, text);
	if (rc == 0)
		rc = posix_spawn(ret, u->path, &files, &attr, u->spec.argv, env);
	free(env[0]);
	free(env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -rc;
}

static int write_text(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int start(struct upgrade *u)
{
	struct sb text = {0};
	int pair[2] = {-1, -1}, rc = 0;
	int memory = memfd_create("thinmesh-handover", MFD_CLOEXEC);
	if (memory < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		rc = -errno;
	if (rc == 0) {
		handover_write_head(&text, getpid(), stat_get(&u->spec.loop->stats, STAT_UPGRADES) + 1, stat_get(&u->spec.loop->stats, STAT_UPGRADES_FAILED));
		u->spec.describe(u->spec.ctx, u, &text);
		rc = text.n <= HANDOVER_TEXT_MAX ? write_text(memory, text.p, text.n) : -E2BIG;
	}
	if (rc == 0)
		rc = loop_fd_add(u->spec.loop, pair[0], 1, heard, u, &u->watch);
	if (rc == 0)
		rc = spawn(u, pair[1], memory, &u->pid);
	if (rc == 0) {
		u->fd = pair[0];
		pair[0] = -1;
	} else {
		loop_fd_del(&u->watch);
	}
	free(u->given);
	u->given = NULL;
	u->ngiven = 0;
	sb_end(&text);
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
	if (memory >= 0)
		close(memory);
	return rc;
}

static void lend_or_start(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, timer);
	struct loop *l = u->spec.loop;
	if (!u->spec.lend(u->spec.ctx)) {
		if (l->now_ns < u->until_ns) {
			timer_in(l, t, LOOK_NS, lend_or_start);
			return;
		}
		log_error(u->spec.log, "upgrade: the snapshot could not be written out in time; this process goes on serving");
		give_up(u);
		return;
	}
	int rc = start(u);
	if (rc != 0) {
		log_error(u->spec.log, "upgrade: '%s' can't be started: %s; this process goes on serving", u->path, strerror(-rc));
		give_up(u);
		return;
	}
	u->state = STARTED;
	log_info(u->spec.log, "upgrade: '%s' is started as process %d", u->path, (int)u->pid);
	timer_in(l, &u->timer, u->within_ns, too_late);
}

int upgrade_begin(struct upgrade *u, uint64_t within_ns)
{
	struct log *log = u->spec.log;
	struct loop *l = u->spec.loop;
	if (u->state == SERVED || u->bye)
		log_info(log, "upgrade: process %d has taken over already: ask that one", (int)u->pid);
	else if (u->state != IDLE || (u->coming != NOT && u->coming != SERVES))
		log_info(log, "upgrade: one is under way; asked again, ignored");
	if (u->state != IDLE || u->bye || (u->coming != NOT && u->coming != SERVES))
		return -EBUSY;
	if (getpid() == 1) {
		log_error(log, "upgrade: refused: this is PID 1, with whose end its container ends; run it under an init (docker run --init), or start the container anew");
		stat_inc(&l->stats, STAT_UPGRADES_FAILED);
		return -EPERM;
	}
	if (!u->path) {
		log_error(log, "upgrade: refused: nobody knows where this program was started from (no /proc)");
		stat_inc(&l->stats, STAT_UPGRADES_FAILED);
		return -ENOENT;
	}
	u->state = LENDING;
	u->late = false;
	u->begun_ns = l->now_ns;
	u->until_ns = l->now_ns + LEND_NS;
	u->within_ns = within_ns;
	timer_in(l, &u->timer, 0, lend_or_start);
	return 0;
}

void upgrade_give(struct upgrade *u, int fd)
{
	if (fd < 0)
		return;
	u->given = xrealloc(u->given, (u->ngiven + 1) * sizeof *u->given);
	u->given[u->ngiven++] = fd;
}

bool upgrade_is_under_way(const struct upgrade *u)
{
	return u->state == LENDING || u->state == STARTED;
}

void upgrade_say_life(struct upgrade *u, const char *app, struct str text)
{
	struct sb line = {0};
	handover_write_life(&line, app, text);
	if (u->state == SERVED && line.n < WORD)
		say(u->fd, line.p);
	sb_end(&line);
}

void upgrade_abort(struct upgrade *u)
{
	say(u->up_fd, "bye");
	timer_cancel(u->spec.loop, &u->timer);
	if (u->state == STARTED)
		kill(u->pid, SIGKILL);
	if (upgrade_is_under_way(u)) {
		log_info(u->spec.log, "upgrade: broken off, this process is told to end");
		u->state = IDLE;
	}
	u->bye = true; /* from now on the end of a successor is nothing to us */
}

/* ---- the one that comes ---- */

static int read_text(int fd, struct sb *out)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > HANDOVER_TEXT_MAX)
		return -E2BIG;
	for (;;) {
		char buf[4096];
		ssize_t n = pread(fd, buf, sizeof buf, (off_t)out->n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		sb_add(out, buf, (size_t)n);
		if (out->n > HANDOVER_TEXT_MAX)
			return -E2BIG;
	}
}

static bool is_socket(int fd)
{
	int type;
	socklen_t n = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

/* Children of ours (checks) must not inherit what we have inherited. One that is not open is a lie of the text: it is not ours to close either. */
static void keep_from_children(struct handover *h)
{
	for (uint32_t i = 0; i < h->ndoors; i++) {
		struct handover_door *d = &h->doors[i];
		if (fcntl(d->fd, F_SETFD, FD_CLOEXEC) < 0)
			d->fd = -1;
		if (d->lock_fd >= 0 && fcntl(d->lock_fd, F_SETFD, FD_CLOEXEC) < 0)
			d->lock_fd = -1;
	}
}

/* The variable may have come to us by mistake (a shell that was started from a daemon): then this is a start like any other. */
static void be_handed(struct upgrade *u, const char *variable)
{
	struct str s = str_of(variable);
	ptrdiff_t comma = str_find(s, ',');
	struct sb text = {0};
	uint64_t pair, memory;
	int rc = -EINVAL;
	if (comma > 0 && str_u64(str_cut(s, 0, (size_t)comma), &pair) && str_u64(str_cut(s, (size_t)comma + 1, s.n), &memory) && pair > 2 && pair < INT32_MAX && memory > 2 &&
		memory < INT32_MAX && pair != memory && is_socket((int)pair) && fcntl((int)pair, F_SETFD, FD_CLOEXEC) == 0)
		rc = read_text((int)memory, &text);
	if (rc == 0) {
		close((int)memory);
		rc = handover_parse(&u->handed, sb_view(&text));
	}
	sb_end(&text);
	if (rc != 0) {
		log_warn(u->spec.log, "upgrade: " VARIABLE " can't be used: %s; an ordinary start", strerror(-rc));
		return;
	}
	keep_from_children(&u->handed);
	if (u->handed.bad)
		log_warn(u->spec.log, "upgrade: %u lines of the hand-over say nothing that could be used", u->handed.bad);
	u->up_fd = (int)pair;
	u->coming = FOLLOWS;
	stat_add(&u->spec.loop->stats, STAT_UPGRADES, u->handed.upgrades);
	stat_add(&u->spec.loop->stats, STAT_UPGRADES_FAILED, u->handed.failed);
	log_info(u->spec.log, "upgrade: takes over from process %d: %u doors, %u apps", (int)u->handed.pid, u->handed.ndoors, u->handed.nlives);
}

static void serve(struct upgrade *u, bool alone)
{
	if (u->coming == SERVES)
		return;
	u->coming = SERVES;
	timer_cancel(u->spec.loop, &u->up_timer);
	u->spec.go(u->spec.ctx, alone);
	say(u->up_fd, "here");
}

static void no_answer(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, up_timer);
	log_warn(u->spec.log, "upgrade: process %d does not answer; serves beside it", (int)u->handed.pid);
	serve(u, true);
}

static void up_said(struct upgrade *u, const char *line)
{
	struct handover h;
	struct sb text = {0};
	handover_write_head(&text, 0, 0, 0);
	sb_str(&text, line);
	if (handover_parse(&h, sb_view(&text)) == 0)
		for (uint32_t i = 0; i < h.nlives; i++)
			u->spec.said(u->spec.ctx, h.lives[i].app, h.lives[i].text);
	handover_end(&h);
	sb_end(&text);
}

static void up_heard(void *user, int fd, int what)
{
	(void)what;
	struct upgrade *u = user;
	char word[WORD];
	bool end = false;
	for (int i = 0; i < WORDS_MAX && u->up_fd == fd && hear(fd, word, &end); i++)
		if (strcmp(word, "go") == 0 && u->coming == READY)
			serve(u, false);
		else if (strncmp(word, "life ", 5) == 0)
			up_said(u, word);
	if (u->up_fd != fd || !end)
		return;
	hang_up(&u->up_fd, &u->up_watch);
	if (u->coming == SERVES)
		return; /* it has drained */
	log_warn(u->spec.log, "upgrade: process %d has ended before it handed over; goes on alone", (int)u->handed.pid);
	serve(u, true); /* prepared or not: nobody else serves */
}

static void look(struct timer *t)
{
	struct upgrade *u = container_of(t, struct upgrade, up_timer);
	struct loop *l = u->spec.loop;
	if (!u->spec.able(u->spec.ctx) || (!u->spec.prepared(u->spec.ctx) && l->now_ns < u->until_ns)) {
		timer_in(l, t, LOOK_NS, look);
		return;
	}
	u->coming = READY;
	say(u->up_fd, "ready");
	timer_in(l, t, GO_NS, no_answer);
}

void upgrade_prepare(struct upgrade *u)
{
	struct loop *l = u->spec.loop;
	if (u->coming != FOLLOWS)
		return;
	if (loop_fd_add(l, u->up_fd, 1, up_heard, u, &u->up_watch) != 0) { /* no memory for it: then by the clock */
		hang_up(&u->up_fd, &u->up_watch);
		timer_in(l, &u->up_timer, 0, no_answer);
		return;
	}
	u->until_ns = l->now_ns + PREPARE_NS;
	timer_in(l, &u->up_timer, 0, look);
}

const struct handover *upgrade_handed(const struct upgrade *u)
{
	return u->coming == NOT ? NULL : &u->handed;
}

/* ---- both ---- */

struct upgrade *upgrade_new(const struct upgrade_spec *spec)
{
	struct upgrade *u = xnew(struct upgrade);
	const char *variable = getenv(VARIABLE);
	u->spec = *spec;
	u->fd = u->up_fd = -1;
	if (stat("/proc/self/exe", &u->began_as) == 0)
		u->path = program_of(spec->argv[0], &u->began_as);
	if (variable)
		be_handed(u, variable);
	unsetenv(VARIABLE);
	loop_signal(spec->loop, SIGCHLD, child_ended, u);
	return u;
}

void upgrade_free(struct upgrade **upgrade)
{
	struct upgrade *u = *upgrade;
	if (!u)
		return;
	*upgrade = NULL;
	if (u->state == STARTED && u->pid > 0)
		kill(u->pid, SIGKILL);
	timer_cancel(u->spec.loop, &u->timer);
	timer_cancel(u->spec.loop, &u->up_timer);
	hang_up(&u->fd, &u->watch);
	hang_up(&u->up_fd, &u->up_watch);
	handover_end(&u->handed);
	free(u->given);
	free(u->path);
	free(u);
}
