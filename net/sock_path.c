/* net/sock_path: the file of a Unix path socket.
 *
 * The way to it (each step can fail, and says why):
 *   the parent directory is looked at  ->  PATH.lock is taken (one daemon a path)  ->  what lies at PATH must be a socket nobody serves
 *   ->  bound as PATH.new, owner and mode set, listening  ->  renamed to PATH
 * So whoever waits for the file to appear can connect at once, with the mode that it keeps. The lock is what makes the taking over of a
 * stale socket safe: without it, two daemons could both find it stale and unlink each other's.
 * The lock file is removed by its holder; whoever gets the lock of a removed file notices (another inode) and tries again.
 * Owner of a struct sock_path: the listener's owner. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/sock.h"

enum { PATH_MAX_UNIX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1, LOCK_TRIES = 8 };

/* What is gathered on the way; all of it is let go at one place. */
struct making {
	const char *path, *name;  /* name: the last component, within path */
	char *new_name, *lock_name;
	int dir_fd, lock_fd, fd;
	bool new_made, locked;
	char *why;
	size_t why_len;
};

static int refuse(struct making *m, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int refuse(struct making *m, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (m->why_len)
		vsnprintf(m->why, m->why_len, fmt, args);
	va_end(args);
	return code;
}

static int check_name(struct making *m)
{
	size_t n = strlen(m->path);

	if (n > PATH_MAX_UNIX)
		return refuse(m, -ENAMETOOLONG, "the path is %zu bytes long, a Unix socket's path may have at most %d", n, PATH_MAX_UNIX);
	if (!*m->name)
		return refuse(m, -EINVAL, "the path names a directory, not a socket");
	return 0;
}

/* Whoever may write into the directory may put another socket in our place. */
static int open_dir(struct making *m)
{
	struct stat st;
	size_t n = (size_t)(m->name - m->path);
	char *dir = n ? xstrndup(m->path, n) : xstrdup(".");
	int r = 0;

	m->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->dir_fd < 0 || fstat(m->dir_fd, &st) < 0) {
		r = -errno;
		refuse(m, r, "the directory %s: %s", dir, strerror(-r));
	} else if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
		/* Whoever made such a directory (a volume that containers share, say) may want just that: told, not refused. */
		snprintf(m->why, m->why_len, "the directory %s is writable by everybody (mode %04o): others could replace the socket; use chmod o-w or +t",
			dir, (unsigned)(st.st_mode & 07777));
	}
	free(dir);
	return r;
}

static int take_lock(struct making *m)
{
	struct stat ours, there;

	for (int i = 0; i < LOCK_TRIES; i++) {
		m->lock_fd = openat(m->dir_fd, m->lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (m->lock_fd < 0) {
			int r = -errno;
			return refuse(m, r, "the lock file %s.lock: %s", m->path, strerror(-r));
		}
		if (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0) {
			int r = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
			return refuse(m, r, r == -EADDRINUSE ? "another process holds the lock file %s.lock" : "cannot lock %s.lock", m->path);
		}
		/* A holder that ends removes the file first: then this is the lock of a file that nobody else will find. */
		if (fstat(m->lock_fd, &ours) == 0 && fstatat(m->dir_fd, m->lock_name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
			ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
			m->locked = true;
			return 0;
		}
		close(m->lock_fd);
		m->lock_fd = -1;
	}
	return refuse(m, -EAGAIN, "the lock file %s.lock is removed again and again", m->path);
}

static void unix_address(struct sockaddr_un *un, const char *path)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
}

/* Is somebody there? A socket whose listener is gone refuses; everything else that connect says, a full backlog included, is life or doubt. */
static int check_stale(struct making *m)
{
	struct sockaddr_un un;
	struct stat st;
	int r = 0;

	if (fstatat(m->dir_fd, m->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : refuse(m, -errno, "cannot look at it");
	if (!S_ISSOCK(st.st_mode))
		return refuse(m, -EEXIST, "there is a file that is no socket");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refuse(m, -errno, "no socket to be had: %s", strerror(errno));
	unix_address(&un, m->path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 || errno == EAGAIN || errno == EPROTOTYPE)
		r = refuse(m, -EADDRINUSE, "another process serves this socket");
	else if (errno != ECONNREFUSED && errno != ENOENT)
		r = refuse(m, -errno, "cannot tell whether another process serves this socket: %s", strerror(errno));
	close(fd);
	return r;
}

/* PATH.new may be longer than an address can be: then the way leads through the open directory. */
static int new_address(struct making *m, struct sockaddr_un *un)
{
	char text[PATH_MAX_UNIX + 64];
	int n = snprintf(text, sizeof(text), "%.*s%s", (int)(m->name - m->path), m->path, m->new_name);

	if (n > PATH_MAX_UNIX) {
		free(m->new_name);
		m->new_name = xstrdup(".thinmesh.new");
		n = snprintf(text, sizeof(text), "/proc/self/fd/%d/%s", m->dir_fd, m->new_name);
	}
	if (n > PATH_MAX_UNIX)
		return refuse(m, -ENAMETOOLONG, "the path is too long by %d bytes", n - PATH_MAX_UNIX);
	unix_address(un, text);
	return 0;
}

/* bind(2) makes the file with the socket's own mode less the umask: with mode 0 nobody gets in before it is as it should be. */
static int make_new(struct making *m, mode_t mode, gid_t group, int backlog)
{
	struct sockaddr_un un;
	int r = new_address(m, &un);

	if (r < 0)
		return r;
	m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (m->fd < 0 || fchmod(m->fd, 0) < 0)
		return refuse(m, -errno, "no socket to be had: %s", strerror(errno));
	if (unlinkat(m->dir_fd, m->new_name, 0) < 0 && errno != ENOENT) /* left by a crash; the lock says that it is nobody's */
		return refuse(m, -errno, "cannot remove an old %s: %s", m->new_name, strerror(errno));
	if (bind(m->fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return refuse(m, -errno, "cannot bind: %s", strerror(errno));
	m->new_made = true;
	if (group != (gid_t)-1 && fchownat(m->dir_fd, m->new_name, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(m, -errno, "cannot give it to the group %u: %s", (unsigned)group, strerror(errno));
	if (fchmodat(m->dir_fd, m->new_name, mode, 0) < 0)
		return refuse(m, -errno, "cannot set its mode %04o: %s", (unsigned)mode, strerror(errno));
	if (listen(m->fd, backlog) < 0)
		return refuse(m, -errno, "cannot listen: %s", strerror(errno));
	return 0;
}

static int put_in_place(struct making *m, struct sock_path *made)
{
	struct stat st;

	if (fstatat(m->dir_fd, m->new_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || renameat(m->dir_fd, m->new_name, m->dir_fd, m->name) < 0)
		return refuse(m, -errno, "cannot rename it into place: %s", strerror(errno));
	m->new_made = false;
	made->dev = st.st_dev;
	made->ino = st.st_ino;
	return 0;
}

int sock_path_bind(const char *path, mode_t mode, gid_t group, int backlog, struct sock_path *ret, int *ret_fd, char *why, size_t why_len)
{
	const char *slash = strrchr(path, '/');
	struct making m = {.path = path, .name = slash ? slash + 1 : path, .dir_fd = -1, .lock_fd = -1, .fd = -1, .why = why, .why_len = why_len};
	struct sock_path made = {.lock_fd = -1};
	int r;

	if (why_len)
		why[0] = '\0';
	if ((r = check_name(&m)) < 0)
		return r;
	m.new_name = xasprintf("%s.new", m.name);
	m.lock_name = xasprintf("%s.lock", m.name);
	if ((r = open_dir(&m)) < 0 || (r = take_lock(&m)) < 0 || (r = check_stale(&m)) < 0 || (r = make_new(&m, mode, group, backlog)) < 0 ||
		(r = put_in_place(&m, &made)) < 0)
		goto end;
	made.path = xstrdup(path);
	made.lock_fd = m.lock_fd;
	*ret = made;
	*ret_fd = m.fd;
	m.lock_fd = m.fd = -1;
end:
	if (m.new_made)
		unlinkat(m.dir_fd, m.new_name, 0);
	if (m.fd >= 0)
		close(m.fd);
	if (m.locked && m.lock_fd >= 0)
		unlinkat(m.dir_fd, m.lock_name, 0);
	if (m.lock_fd >= 0)
		close(m.lock_fd);
	if (m.dir_fd >= 0)
		close(m.dir_fd);
	free(m.new_name);
	free(m.lock_name);
	return r;
}

int sock_path_adopt(const char *path, uint64_t ino, struct sock_path *ret, char *why, size_t why_len)
{
	const char *slash = strrchr(path, '/');
	struct making m = {.path = path, .name = slash ? slash + 1 : path, .dir_fd = -1, .lock_fd = -1, .fd = -1, .why = why, .why_len = why_len};
	struct stat st;
	int r;

	if (why_len)
		why[0] = '\0';
	if ((r = check_name(&m)) < 0)
		return r;
	m.lock_name = xasprintf("%s.lock", m.name);
	if ((r = open_dir(&m)) < 0 || (r = take_lock(&m)) < 0)
		goto end;
	if (fstatat(m.dir_fd, m.name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode) || (ino && st.st_ino != ino)) {
		r = refuse(&m, -ESTALE, "its file is not there any more");
		goto end;
	}
	*ret = (struct sock_path){.path = xstrdup(path), .lock_fd = m.lock_fd, .dev = st.st_dev, .ino = st.st_ino};
	m.lock_fd = -1;
end:
	if (m.locked && m.lock_fd >= 0)
		unlinkat(m.dir_fd, m.lock_name, 0);
	if (m.lock_fd >= 0)
		close(m.lock_fd);
	if (m.dir_fd >= 0)
		close(m.dir_fd);
	free(m.lock_name);
	return r;
}

void sock_path_forget(struct sock_path *p)
{
	if (p->lock_fd >= 0)
		close(p->lock_fd);
	free(p->path);
	*p = (struct sock_path){.lock_fd = -1};
}

/* Only what is still ours goes: an administrator, or a daemon that was given another lock directory, may have put a new socket there. */
void sock_path_unbind(struct sock_path *p)
{
	struct stat st;

	if (!p->path)
		return;
	if (lstat(p->path, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino)
		unlink(p->path);
	if (p->lock_fd >= 0) {
		char *lock = xasprintf("%s.lock", p->path);
		unlink(lock);
		free(lock);
		close(p->lock_fd);
	}
	free(p->path);
	*p = (struct sock_path){.lock_fd = -1};
}
