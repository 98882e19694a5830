/* net/watch: see watch.h.
 *
 * The folder is watched, never the file: editors and Kubernetes replace files, and a watch on the old inode would tell nothing. Kubernetes
 * mounts show `..data` -> a folder with a date; an update renames a new `..data` over it, while the names people configured do not change.
 * Owner of a watch: the caller. One inotify descriptor each: there are few (configuration folders, certificates). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/watch.h"

enum { GATHER_MS = 100, AGAIN_MS = 1000 };
enum { CHANGES = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF | IN_ONLYDIR };

struct watch {
	struct loop *loop;
	char *folder;
	char *name;               /* the file in it; NULL: all of the folder counts */
	int fd;                   /* -1: simulation */
	struct loop_fd *ready;
	struct timer gather, again;
	struct grave grave;
	void (*fn)(void *user);
	void *user;
};

static void gathered(struct timer *t)
{
	struct watch *w = container_of(t, struct watch, gather);

	w->fn(w->user);
}

/* The first event starts the clock and later ones do not move it: a folder that never rests is still told of. */
void watch_poke(struct watch *w)
{
	if (!timer_armed(&w->gather))
		timer_in(w->loop, &w->gather, (uint64_t)GATHER_MS * 1000000, gathered);
}

/* The folder went away (a volume mounted anew): it is looked for until it is back. */
static void look_again(struct timer *t)
{
	struct watch *w = container_of(t, struct watch, again);

	if (inotify_add_watch(w->fd, w->folder, CHANGES) >= 0)
		watch_poke(w);
	else
		timer_in(w->loop, &w->again, (uint64_t)AGAIN_MS * 1000000, look_again);
}

static bool concerns_us(const struct watch *w, const struct inotify_event *e)
{
	if (!w->name || e->len == 0)
		return true;
	return strcmp(e->name, w->name) == 0 || strcmp(e->name, "..data") == 0;
}

static void events_came(void *user, int fd, int what)
{
	struct watch *w = user;
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(const void *)(buf + at);
		at += (ssize_t)sizeof(*e) + e->len;
		if (e->mask & IN_MOVE_SELF) {
			/* The watch follows the inode to its new place; what matters is the path. */
			inotify_rm_watch(w->fd, e->wd);
		} else if (e->mask & IN_IGNORED) {
			watch_poke(w);
			timer_in(w->loop, &w->again, (uint64_t)AGAIN_MS * 1000000, look_again);
		} else if (concerns_us(w, e)) {
			watch_poke(w);
		}
	}
}

static int start(struct watch *w)
{
	int r;

	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0)
		return -errno;
	if (inotify_add_watch(w->fd, w->folder, CHANGES) < 0)
		return -errno;
	r = loop_fd_add(w->loop, w->fd, 1, events_came, w, &w->ready);
	return r;
}

static void split(struct watch *w, const char *path, bool entry)
{
	struct stat st;
	const char *slash = strrchr(path, '/');

	if (!entry && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		w->folder = xstrdup(path);
		return;
	}
	w->name = xstrdup(slash ? slash + 1 : path);
	w->folder = !slash ? xstrdup(".") : slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

static int make(struct loop *l, const char *path, bool entry, void (*fn)(void *user), void *user, struct watch **ret)
{
	struct watch *w = xnew(struct watch);
	int r = 0;

	w->loop = l;
	w->fd = -1;
	w->fn = fn;
	w->user = user;
	split(w, path, entry);
	if (loop_is_real(l))
		r = start(w);
	if (r < 0) {
		watch_free(&w);
		return r;
	}
	*ret = w;
	return 0;
}

int watch_new(struct loop *l, const char *path, void (*fn)(void *user), void *user, struct watch **ret)
{
	return make(l, path, false, fn, user, ret);
}

int watch_new_entry(struct loop *l, const char *path, void (*fn)(void *user), void *user, struct watch **ret)
{
	return make(l, path, true, fn, user, ret);
}

static void watch_bury(struct grave *g)
{
	struct watch *w = container_of(g, struct watch, grave);

	free(w->folder);
	free(w->name);
	free(w);
}

void watch_free(struct watch **at)
{
	struct watch *w = *at;

	if (!w)
		return;
	*at = NULL;
	timer_cancel(w->loop, &w->gather);
	timer_cancel(w->loop, &w->again);
	loop_fd_del(&w->ready);
	if (w->fd >= 0)
		close(w->fd);
	loop_bury(w->loop, &w->grave, watch_bury);
}
