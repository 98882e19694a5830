/*
 * The table of passed sockets; see activation.h.
 *
 * The variables are parsed strictly: a descriptor number that is wrong by one would make us accept on, or close, something else.
 * So everything is checked before the first descriptor is touched.
 */
#include "systemd/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How many names the colon-separated list has, -EINVAL where one is longer than systemd allows. */
static int names_count(const char *list)
{
	int count = 1;

	for (const char *c = list;; c++) {
		size_t n = strcspn(c, ":");

		if (n >= ACTIVATION_NAME)
			return -EINVAL;
		c += n;
		if (!*c)
			return count;
		count++;
	}
}

static void names_give(struct activation *a, const char *list)
{
	for (size_t i = 0; i < a->count; i++) {
		size_t n = list ? strcspn(list, ":") : 0;

		if (n)
			snprintf(a->sockets[i].name, sizeof(a->sockets[i].name), "%.*s", (int)n, list);
		else
			snprintf(a->sockets[i].name, sizeof(a->sockets[i].name), "unknown");
		if (list)
			list += n + (list[n] == ':');
	}
}

static int socket_option(int fd, int option, int *ret)
{
	socklen_t size = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, option, ret, &size) < 0 ? -errno : 0;
}

/* Why `s` is not a listening stream socket, and its address if it is one. */
static const char *socket_inspect(struct activation_socket *s)
{
	int type, listening, flags;

	if (fcntl(s->fd, F_GETFD) < 0)
		return "is not open";
	if (fcntl(s->fd, F_SETFD, FD_CLOEXEC) < 0)
		return "cannot be kept from children";
	if (socket_option(s->fd, SO_TYPE, &type) < 0)
		return "is not a socket";
	s->addr.len = sizeof(s->addr.un);
	if (getsockname(s->fd, &s->addr.sa, &s->addr.len) < 0 || s->addr.len > sizeof(s->addr.un)) {
		s->addr.len = 0;
		return "has no address of a kind that we serve";
	}
	if (s->addr.sa.sa_family != AF_UNIX && s->addr.sa.sa_family != AF_INET && s->addr.sa.sa_family != AF_INET6)
		return "has no address of a kind that we serve";
	if (type != SOCK_STREAM)
		return "is not a stream socket (ListenStream=)";
	if (socket_option(s->fd, SO_ACCEPTCONN, &listening) < 0 || !listening)
		return "does not listen (Accept=no)";
	flags = fcntl(s->fd, F_GETFL);
	if (flags < 0 || fcntl(s->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return "cannot be made non-blocking";
	return NULL;
}

/* ---- names in the manager's store: "unix%3A/run/x.sock@INODE"; a colon would end a name in LISTEN_FDNAMES ---- */

bool activation_store_name(char out[ACTIVATION_NAME], const struct addr *addr, uint64_t ino)
{
	char text[ADDR_TEXT];
	int n = 0;

	addr_text(addr, text);
	for (const unsigned char *c = (const unsigned char *)text; *c && n < ACTIVATION_NAME - 4; c++) {
		if (*c <= ' ' || *c >= 0x7f || *c == ':' || *c == '%' || *c == '@')
			n += snprintf(out + n, (size_t)(ACTIVATION_NAME - n), "%%%02X", *c);
		else
			out[n++] = (char)*c;
	}
	if (n > ACTIVATION_NAME - 24)
		return false;
	snprintf(out + n, (size_t)(ACTIVATION_NAME - n), "@%" PRIu64, ino);
	return true;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_store_name(const char *name, struct addr *ret_addr, uint64_t *ret_ino)
{
	char text[ACTIVATION_NAME];
	struct str s = str_of(name);
	ptrdiff_t at = str_find(s, '@');
	size_t n = 0;

	if (at < 0 || !str_u64(str_cut(s, (size_t)at + 1, s.n), ret_ino))
		return false;
	for (ptrdiff_t i = 0; i < at; i++) {
		if (name[i] == '%') {
			if (at - i < 3 || hex(name[i + 1]) < 0 || hex(name[i + 2]) < 0)
				return false;
			text[n++] = (char)(hex(name[i + 1]) * 16 + hex(name[i + 2]));
			i += 2;
		} else {
			text[n++] = name[i];
		}
	}
	return addr_parse(str_n(text, n), ret_addr) == 0;
}

static void look_into_name(struct activation_socket *s)
{
	struct addr addr;
	uint64_t ino;

	if (s->refused || !read_store_name(s->name, &addr, &ino) || addr.sa.sa_family != s->addr.sa.sa_family)
		return;
	s->stored = true;
	s->ino = ino;
	s->name[0] = '\0'; /* it is no app's */
	if (ino)
		s->addr = addr;
}

int activation_parse(struct activation *a, pid_t self, const char *listen_pid, const char *listen_fds, const char *listen_fdnames,
	int first_fd)
{
	uint64_t pid, count;

	*a = (struct activation){0};
	if (!listen_pid && !listen_fds)
		return 0;
	if (!listen_pid || !str_u64(str_of(listen_pid), &pid) || pid == 0 || pid > INT_MAX)
		return -EINVAL;
	/* Meant for a process between the manager and us; its descriptors are not ours to touch. */
	if (pid != (uint64_t)self)
		return 0;
	if (!listen_fds || !str_u64(str_of(listen_fds), &count))
		return -EINVAL;
	if (count > ACTIVATION_MAX)
		return -E2BIG;
	if (count == 0)
		return 0;
	if (listen_fdnames && names_count(listen_fdnames) != (int)count)
		return -EINVAL;

	a->sockets = calloc(count, sizeof(*a->sockets));
	if (!a->sockets)
		return -ENOMEM;
	a->count = count;
	names_give(a, listen_fdnames);
	for (size_t i = 0; i < a->count; i++) {
		a->sockets[i].fd = first_fd + (int)i;
		a->sockets[i].refused = socket_inspect(&a->sockets[i]);
		look_into_name(&a->sockets[i]);
	}
	return 0;
}

int activation_add(struct activation *a, int fd, const struct addr *addr, const char *name)
{
	struct activation_socket *all = realloc(a->sockets, (a->count + 1) * sizeof(*all)), *s;

	if (!all) {
		close(fd);
		return -ENOMEM;
	}
	a->sockets = all;
	s = &all[a->count++];
	*s = (struct activation_socket){.fd = fd};
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->refused = socket_inspect(s);
	s->addr = *addr;
	return 0;
}

const struct activation_socket *activation_find(const struct activation *a, const struct addr *addr)
{
	for (size_t i = 0; i < a->count; i++)
		if (!a->sockets[i].refused && addr_eq(&a->sockets[i].addr, addr))
			return &a->sockets[i];
	return NULL;
}

static bool socket_is_free(const struct activation_socket *s)
{
	return s->fd >= 0 && !s->refused;
}

static int socket_take(struct activation_socket *s, const char *taker)
{
	int fd = s->fd;

	s->fd = -1;
	snprintf(s->taker, sizeof(s->taker), "%s", taker);
	return fd;
}

int activation_take_addr(struct activation *a, const struct addr *addr, const char *taker)
{
	for (size_t i = 0; i < a->count; i++)
		if (socket_is_free(&a->sockets[i]) && addr_eq(&a->sockets[i].addr, addr))
			return socket_take(&a->sockets[i], taker);
	return -ENOENT;
}

static bool family_fits(int have, int want)
{
	return want == AF_UNSPEC || (have == AF_UNIX) == (want == AF_UNIX);
}

int activation_take_name(struct activation *a, const char *name, int family, const char *taker)
{
	for (size_t i = 0; i < a->count; i++) {
		struct activation_socket *s = &a->sockets[i];

		if (socket_is_free(s) && strcmp(s->name, name) == 0 && family_fits(s->addr.sa.sa_family, family))
			return socket_take(s, taker);
	}
	return -ENOENT;
}

size_t activation_close_unclaimed(struct activation *a, void (*told)(void *ctx, const struct activation_socket *s), void *ctx)
{
	size_t closed = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct activation_socket *s = &a->sockets[i];

		if (s->fd < 0)
			continue;
		if (told)
			told(ctx, s);
		close(s->fd);
		s->fd = -1;
		closed++;
	}
	return closed;
}

void activation_free(struct activation *a)
{
	activation_close_unclaimed(a, NULL, NULL);
	free(a->sockets);
	*a = (struct activation){0};
}
