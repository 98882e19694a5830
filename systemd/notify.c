/*
 * The sender of sd_notify datagrams; see notify.h for what is promised.
 *
 * The socket is never connected: a manager that was re-executed listens on a new socket at the old address, and sendto finds it.
 */
#include "systemd/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int notify_open(struct notify *n, const char *notify_socket)
{
	struct str where = str_of(notify_socket);
	int rc;

	*n = (struct notify){.fd = -1};
	if (where.n == 0)
		return 0;
	if (str_starts(where, STR("vsock:")))
		return -EAFNOSUPPORT;
	rc = addr_unix(where, &n->to);
	if (rc < 0)
		return rc;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return n->fd < 0 ? -errno : 0;
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	n->owed[0] = '\0';
}

static bool send_text(struct notify *n, const char *text)
{
	ssize_t rc;

	do
		rc = sendto(n->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, &n->to.sa, n->to.len);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		n->dropped++;
	else
		n->sent++;
	return rc >= 0;
}

/* What is owed goes first: the manager must not hear of a READY before the RELOADING that it ends. */
static bool pay(struct notify *n)
{
	if (n->fd < 0)
		return false;
	if (n->owed[0]) {
		if (!send_text(n, n->owed))
			return false;
		n->owed[0] = '\0';
	}
	return true;
}

static void tell(struct notify *n, const char *text)
{
	if (pay(n))
		send_text(n, text);
}

/* A later state replaces an earlier one that never arrived: only where the daemon stands now matters. */
static void tell_state(struct notify *n, const char *text)
{
	if (n->fd < 0)
		return;
	if (pay(n) && send_text(n, text))
		return;
	snprintf(n->owed, sizeof(n->owed), "%s", text);
}

void notify_ready(struct notify *n)
{
	tell_state(n, "READY=1\n");
}

void notify_reloading(struct notify *n, uint64_t now_us)
{
	char text[64];

	/* Without MONOTONIC_USEC a Type=notify-reload manager (253 and later) waits until its time-out. */
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", now_us);
	tell_state(n, text);
}

void notify_stopping(struct notify *n)
{
	tell_state(n, "STOPPING=1\n");
}

void notify_status(struct notify *n, const char *fmt, ...)
{
	char text[NOTIFY_MESSAGE_MAX] = "STATUS=";
	size_t head = strlen(text);
	va_list args;

	if (n->fd < 0)
		return;
	va_start(args, fmt);
	vsnprintf(text + head, sizeof(text) - head - 1, fmt, args);
	va_end(args);
	/* A line end would begin another assignment: names from configurations must not be able to say READY=1. */
	for (char *c = text + head; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	strncat(text, "\n", sizeof(text) - strlen(text) - 1);
	tell(n, text);
}

void notify_errno(struct notify *n, int error)
{
	char text[32];

	snprintf(text, sizeof(text), "ERRNO=%d\n", error < 0 ? -error : error);
	tell(n, text);
}

void notify_watchdog(struct notify *n)
{
	tell(n, "WATCHDOG=1\n");
}

void notify_extend_timeout(struct notify *n, uint64_t us)
{
	char text[64];

	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n", us);
	tell(n, text);
}

void notify_main_pid(struct notify *n, pid_t pid)
{
	char text[64];

	snprintf(text, sizeof(text), "MAINPID=%d\n", (int)pid);
	tell_state(n, text);
}

bool notify_store(struct notify *n, const char *name, int fd)
{
	char text[NOTIFY_MESSAGE_MAX], control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {.iov_base = text};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	ssize_t rc;

	if (!pay(n))
		return false;
	/* FDPOLL=0: a listener that is readable or was reset by nobody is no reason to forget it. */
	iov.iov_len = (size_t)snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0\n", name);
	m.msg_name = &n->to.sa;
	m.msg_namelen = n->to.len;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	do
		rc = sendmsg(n->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		n->dropped++;
	else
		n->sent++;
	return rc >= 0;
}

void notify_unstore(struct notify *n, const char *name)
{
	char text[NOTIFY_MESSAGE_MAX];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
	tell(n, text);
}

int notify_watchdog_interval(const char *watchdog_usec, const char *watchdog_pid, pid_t self, uint64_t *ret_us)
{
	uint64_t us, pid;

	if (!watchdog_usec || !*watchdog_usec) {
		*ret_us = 0;
		return 0;
	}
	/* sd_watchdog_enabled(3): without a pid it is meant for whoever reads it. */
	if (watchdog_pid && *watchdog_pid) {
		if (!str_u64(str_of(watchdog_pid), &pid) || pid == 0)
			return -EINVAL;
		if (pid != (uint64_t)self) {
			*ret_us = 0;
			return 0;
		}
	}
	if (!str_u64(str_of(watchdog_usec), &us) || us == 0 || us == UINT64_MAX)
		return -EINVAL;
	*ret_us = us / 2 ? us / 2 : 1;
	return 0;
}
