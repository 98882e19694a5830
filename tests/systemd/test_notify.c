/*
 * systemd/notify against a manager made of one datagram socket: what it hears, byte for byte, and what a deaf one costs.
 */
#include "systemd/notify.h"
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct manager {
	int fd;
	char name[64]; /* what stands in NOTIFY_SOCKET */
};

static void manager_listen(struct manager *m, const char *name)
{
	struct addr at;

	snprintf(m->name, sizeof(m->name), "%s", name);
	ck_assert_int_eq(addr_unix(str_of(m->name), &at), 0);
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(m->fd, 0);
	ck_assert_int_eq(bind(m->fd, &at.sa, at.len), 0);
}

static void manager_start(struct manager *m)
{
	char name[64];

	snprintf(name, sizeof(name), "@thinmesh-test-notify-%d", (int)getpid());
	manager_listen(m, name);
}

/* The next datagram; "" when there is none. */
static const char *manager_hears(struct manager *m, char out[1024])
{
	ssize_t n = recv(m->fd, out, 1023, 0);

	out[n > 0 ? n : 0] = '\0';
	return out;
}

static size_t manager_ignores_until_full(struct manager *m, struct notify *n)
{
	size_t before = n->dropped, count = 0;

	(void)m;
	while (n->dropped == before) {
		ck_assert_uint_lt(count++, 100000);
		notify_watchdog(n);
	}
	return count - 1;
}

START_TEST(every_state_is_one_datagram_of_assignments)
{
	struct manager m;
	struct notify n;
	char text[1024];

	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	notify_extend_timeout(&n, 5000000);
	ck_assert_str_eq(manager_hears(&m, text), "EXTEND_TIMEOUT_USEC=5000000\n");
	notify_ready(&n);
	ck_assert_str_eq(manager_hears(&m, text), "READY=1\n");
	notify_reloading(&n, 123456789);
	ck_assert_str_eq(manager_hears(&m, text), "RELOADING=1\nMONOTONIC_USEC=123456789\n");
	notify_watchdog(&n);
	ck_assert_str_eq(manager_hears(&m, text), "WATCHDOG=1\n");
	notify_status(&n, "%d apps, %d services", 2, 3);
	ck_assert_str_eq(manager_hears(&m, text), "STATUS=2 apps, 3 services\n");
	notify_errno(&n, -EADDRINUSE);
	ck_assert_str_eq(manager_hears(&m, text), "ERRNO=98\n");
	notify_stopping(&n);
	ck_assert_str_eq(manager_hears(&m, text), "STOPPING=1\n");
	ck_assert_str_eq(manager_hears(&m, text), "");
	ck_assert_uint_eq(n.sent, 7);
	ck_assert_uint_eq(n.dropped, 0);
	notify_close(&n);
	close(m.fd);
}
END_TEST

START_TEST(a_socket_in_the_file_system_is_reached_too)
{
	struct manager m;
	struct notify n;
	char text[1024], folder[] = "/tmp/thinmesh-test-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/notify", folder);
	manager_listen(&m, path);
	ck_assert_int_eq(notify_open(&n, path), 0);
	notify_ready(&n);
	ck_assert_str_eq(manager_hears(&m, text), "READY=1\n");

	/* The manager is executed again: another socket at the same place. */
	close(m.fd);
	unlink(path);
	notify_watchdog(&n);
	ck_assert_uint_eq(n.dropped, 1);
	manager_listen(&m, path);
	notify_watchdog(&n);
	ck_assert_str_eq(manager_hears(&m, text), "WATCHDOG=1\n");
	notify_close(&n);
	close(m.fd);
	unlink(path);
	rmdir(folder);
}
END_TEST

START_TEST(without_a_manager_nothing_is_done)
{
	const char *nobody[] = {NULL, ""};

	for (size_t i = 0; i < UNIT_COUNT(nobody); i++) {
		struct notify n;

		ck_assert_int_eq(notify_open(&n, nobody[i]), 0);
		ck_assert_int_eq(n.fd, -1);
		notify_ready(&n);
		notify_status(&n, "unheard");
		notify_stopping(&n);
		ck_assert_uint_eq(n.sent + n.dropped, 0);
		ck_assert_str_eq(n.owed, "");
		notify_close(&n);
	}
}
END_TEST

START_TEST(an_address_that_is_none_is_told_and_harmless)
{
	static const struct {
		const char *value;
		int rc;
	} rows[] = {
		{"relative/path", -EINVAL},
		{"@", -EINVAL},
		{"vsock:2:1234", -EAFNOSUPPORT},
		{"/a/path/that/is/much/longer/than/the/hundred/and/seven/bytes/that/fit/into/the/address/of/a/unix/socket/whatever/one/does",
			-ENAMETOOLONG},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct notify n;

		ck_assert_msg(notify_open(&n, rows[i].value) == rows[i].rc, "%s", rows[i].value);
		notify_ready(&n);
		ck_assert_uint_eq(n.sent + n.dropped, 0);
		notify_close(&n);
	}
}
END_TEST

START_TEST(a_status_cannot_smuggle_another_assignment)
{
	struct manager m;
	struct notify n;
	char text[1024];

	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	notify_status(&n, "app '%s' is up", "x\nREADY=1\r\x7f");
	ck_assert_str_eq(manager_hears(&m, text), "STATUS=app 'x READY=1  ' is up\n");
	notify_close(&n);
	close(m.fd);
}
END_TEST

START_TEST(a_long_status_is_cut_and_still_ends_its_line)
{
	struct manager m;
	struct notify n;
	char text[1024], wide[2000];

	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	notify_status(&n, "%s", wide);
	manager_hears(&m, text);
	ck_assert_uint_eq(strlen(text), NOTIFY_MESSAGE_MAX - 1);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	notify_close(&n);
	close(m.fd);
}
END_TEST

START_TEST(a_deaf_manager_blocks_nobody_and_hears_the_last_state_later)
{
	struct manager m;
	struct notify n;
	char text[1024];
	size_t queued;

	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	queued = manager_ignores_until_full(&m, &n);
	notify_reloading(&n, 1);
	notify_ready(&n);
	notify_status(&n, "lost: nobody waits for it");
	for (size_t i = 0; i < queued; i++)
		ck_assert_str_eq(manager_hears(&m, text), "WATCHDOG=1\n");
	ck_assert_str_eq(manager_hears(&m, text), "");
	notify_watchdog(&n);
	ck_assert_str_eq(manager_hears(&m, text), "READY=1\n");
	ck_assert_str_eq(manager_hears(&m, text), "WATCHDOG=1\n");
	ck_assert_str_eq(manager_hears(&m, text), "");
	notify_close(&n);
	close(m.fd);
}
END_TEST

START_TEST(the_socket_is_not_inherited_by_children)
{
	struct manager m;
	struct notify n;

	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	ck_assert_int_eq(fcntl(n.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	notify_close(&n);
	notify_close(&n);
	close(m.fd);
}
END_TEST

START_TEST(the_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_names)
{
	static const struct {
		const char *usec, *pid;
		int rc;
		uint64_t us;
	} rows[] = {
		{NULL, NULL, 0, 0},
		{"", "77", 0, 0},
		{"30000000", NULL, 0, 15000000},
		{"30000000", "", 0, 15000000},
		{"30000000", "77", 0, 15000000},
		{"30000000", "78", 0, 0},
		{"1", "77", 0, 1},
		{"0", "77", -EINVAL, 9},
		{"-1", "77", -EINVAL, 9},
		{"30s", NULL, -EINVAL, 9},
		{" 30", NULL, -EINVAL, 9},
		{"18446744073709551615", NULL, -EINVAL, 9},
		{"18446744073709551616", NULL, -EINVAL, 9},
		{"30000000", "seven", -EINVAL, 9},
		{"30000000", "0", -EINVAL, 9},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint64_t us = 9;
		int rc = notify_watchdog_interval(rows[i].usec, rows[i].pid, 77, &us);

		ck_assert_msg(rc == rows[i].rc && us == rows[i].us, "row %zu: %d, %llu", i, rc, (unsigned long long)us);
	}
}
END_TEST

START_TEST(a_descriptor_goes_into_the_store_under_a_name_and_out_of_it)
{
	struct manager m;
	struct notify n;
	char text[1024], control[256];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof(text) - 1};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int pipes[2], got;
	ssize_t len;

	manager_start(&m);
	ck_assert_int_eq(notify_open(&n, m.name), 0);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert(notify_store(&n, "unix%3A/run/x.sock@7", pipes[1]));
	len = recvmsg(m.fd, &h, 0);
	ck_assert_int_gt(len, 0);
	text[len] = '\0';
	ck_assert_str_eq(text, "FDSTORE=1\nFDNAME=unix%3A/run/x.sock@7\nFDPOLL=0\n");
	ck_assert_ptr_nonnull(CMSG_FIRSTHDR(&h));
	ck_assert_int_eq(CMSG_FIRSTHDR(&h)->cmsg_type, SCM_RIGHTS);
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(got));
	/* It is that descriptor, and ours is still open. */
	ck_assert_int_eq(write(got, "x", 1), 1);
	ck_assert_int_eq(write(pipes[1], "y", 1), 1);
	ck_assert_int_eq(read(pipes[0], text, 9), 2);
	notify_unstore(&n, "unix%3A/run/x.sock@7");
	ck_assert_str_eq(manager_hears(&m, text), "FDSTOREREMOVE=1\nFDNAME=unix%3A/run/x.sock@7\n");
	notify_main_pid(&n, 4711);
	ck_assert_str_eq(manager_hears(&m, text), "MAINPID=4711\n");
	close(got);
	close(pipes[0]);
	close(pipes[1]);
	/* Nobody there: told, and nothing else. */
	close(m.fd);
	ck_assert(!notify_store(&n, "x", STDERR_FILENO));
	ck_assert_uint_eq(n.dropped, 1);
	notify_close(&n);
	ck_assert(!notify_store(&n, "x", STDERR_FILENO));
	ck_assert_str_eq(n.owed, "");
}
END_TEST

UNIT_SUITE("notify", every_state_is_one_datagram_of_assignments, a_socket_in_the_file_system_is_reached_too,
	a_descriptor_goes_into_the_store_under_a_name_and_out_of_it, without_a_manager_nothing_is_done, an_address_that_is_none_is_told_and_harmless, a_status_cannot_smuggle_another_assignment,
	a_long_status_is_cut_and_still_ends_its_line, a_deaf_manager_blocks_nobody_and_hears_the_last_state_later,
	the_socket_is_not_inherited_by_children, the_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_names)
