/*
 * systemd/activation: real sockets laid at FIRST_FD as a manager would, and the three variables as strings.
 */
#include "systemd/activation.h"
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Far from what libcheck and the test itself have open. */
enum { FIRST_FD = 100, SELF = 4321 };

static struct addr address(const char *text)
{
	struct addr at;

	ck_assert_int_eq(addr_parse(str_of(text), &at), 0);
	return at;
}

static void place(int fd, int slot)
{
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, FIRST_FD + slot), FIRST_FD + slot);
	close(fd);
}

/* A listening socket on slot; text of an address, @ names get the process's number so that two runs do not meet. */
static struct addr lay(int slot, const char *text)
{
	char unique[128];
	struct addr at;
	int fd;

	snprintf(unique, sizeof(unique), strncmp(text, "unix:@", 6) ? "%s" : "%s-%d", text, (int)getpid());
	at = address(unique);
	fd = socket(at.sa.sa_family, SOCK_STREAM, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, &at.sa, at.len), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(getsockname(fd, &at.sa, &(socklen_t){sizeof(at.un)}), 0);
	place(fd, slot);
	return at;
}

static int parse(struct activation *a, const char *fds, const char *names)
{
	return activation_parse(a, SELF, "4321", fds, names, FIRST_FD);
}

START_TEST(a_socket_is_found_by_its_address_before_any_name)
{
	struct addr first, second;
	struct activation a;

	first = lay(0, "unix:@tm-first");
	second = lay(1, "unix:@tm-second");
	/* The names are crossed on purpose. */
	ck_assert_int_eq(parse(&a, "2", "second:first"), 0);
	ck_assert_int_eq(activation_take_addr(&a, &second, "app 'second'"), FIRST_FD + 1);
	ck_assert_int_eq(activation_take_addr(&a, &first, "app 'first'"), FIRST_FD);
	ck_assert_str_eq(a.sockets[1].taker, "app 'second'");
	ck_assert_int_eq(activation_take_addr(&a, &first, "again"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "first", AF_UNIX, "again"), -ENOENT);
	ck_assert_uint_eq(activation_close_unclaimed(&a, NULL, NULL), 0);
	activation_free(&a);
	ck_assert_msg(fcntl(FIRST_FD, F_GETFD) >= 0, "what was taken belongs to the taker");
}
END_TEST

START_TEST(a_path_and_a_tcp_address_are_compared_as_configured)
{
	char folder[] = "/tmp/thinmesh-test-XXXXXX", path[64], text[80];
	struct activation a;
	struct addr tcp, other;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/shop.sock", folder);
	snprintf(text, sizeof(text), "unix:%s", path);
	lay(0, text);
	tcp = lay(1, "127.0.0.1:0");
	ck_assert_int_eq(parse(&a, "2", NULL), 0);
	other = address(text);
	ck_assert_int_eq(activation_take_addr(&a, &other, "shop"), FIRST_FD);
	other = tcp;
	other.in4.sin_addr.s_addr = htonl(0x7f000002);
	ck_assert_int_eq(activation_take_addr(&a, &other, "shop"), -ENOENT);
	other = tcp;
	other.in4.sin_port = (in_port_t)~tcp.in4.sin_port;
	ck_assert_int_eq(activation_take_addr(&a, &other, "shop"), -ENOENT);
	ck_assert_int_eq(activation_take_addr(&a, &tcp, "shop"), FIRST_FD + 1);
	activation_free(&a);
	unlink(path);
	rmdir(folder);
}
END_TEST

START_TEST(a_name_is_taken_once_each_and_only_in_its_family)
{
	struct activation a;

	lay(0, "127.0.0.1:0");
	lay(1, "unix:@tm-a");
	lay(2, "unix:@tm-b");
	ck_assert_int_eq(parse(&a, "3", "shop:shop:shop"), 0);
	ck_assert_int_eq(activation_take_name(&a, "sho", AF_UNIX, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "shop", AF_UNIX, "x"), FIRST_FD + 1);
	ck_assert_int_eq(activation_take_name(&a, "shop", AF_UNIX, "x"), FIRST_FD + 2);
	ck_assert_int_eq(activation_take_name(&a, "shop", AF_UNIX, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "shop", AF_INET6, "x"), FIRST_FD);
	activation_free(&a);
}
END_TEST

START_TEST(what_is_passed_becomes_close_on_exec_and_non_blocking)
{
	struct activation a;

	lay(0, "unix:@tm-flags");
	ck_assert_int_eq(fcntl(FIRST_FD, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(parse(&a, "1", "shop"), 0);
	ck_assert_int_eq(fcntl(FIRST_FD, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(FIRST_FD, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	activation_free(&a);
	ck_assert_msg(fcntl(FIRST_FD, F_GETFD) < 0, "what nobody took is closed");
}
END_TEST

struct told {
	size_t count;
	char names[4][ACTIVATION_NAME];
	const char *refused[4];
};

static void hear(void *ctx, const struct activation_socket *s)
{
	struct told *told = ctx;

	ck_assert_uint_lt(told->count, 4);
	snprintf(told->names[told->count], ACTIVATION_NAME, "%s", s->name);
	told->refused[told->count++] = s->refused;
}

START_TEST(what_nobody_claims_is_told_and_closed)
{
	struct told told = {0};
	struct activation a;

	lay(0, "unix:@tm-used");
	lay(1, "unix:@tm-left");
	ck_assert_int_eq(parse(&a, "2", "used:left"), 0);
	ck_assert_int_eq(activation_take_name(&a, "used", AF_UNSPEC, "x"), FIRST_FD);
	ck_assert_uint_eq(activation_close_unclaimed(&a, hear, &told), 1);
	ck_assert_uint_eq(told.count, 1);
	ck_assert_str_eq(told.names[0], "left");
	ck_assert_ptr_null(told.refused[0]);
	ck_assert_int_lt(fcntl(FIRST_FD + 1, F_GETFD), 0);
	ck_assert_uint_eq(activation_close_unclaimed(&a, hear, &told), 0);
	activation_free(&a);
	activation_free(&a);
}
END_TEST

START_TEST(only_listening_stream_sockets_are_handed_out)
{
	struct told told = {0};
	struct activation a;
	int pair[2];

	place(open("/dev/null", O_RDONLY), 0);
	place(socket(AF_INET, SOCK_DGRAM, 0), 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	place(pair[0], 2);
	close(FIRST_FD + 3);
	ck_assert_int_eq(parse(&a, "4", "file:udp:pair:gone"), 0);
	ck_assert_int_eq(activation_take_name(&a, "file", AF_UNSPEC, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "udp", AF_UNSPEC, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "pair", AF_UNSPEC, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "gone", AF_UNSPEC, "x"), -ENOENT);
	activation_close_unclaimed(&a, hear, &told);
	ck_assert_uint_eq(told.count, 4);
	ck_assert_str_eq(told.refused[0], "is not a socket");
	ck_assert_str_eq(told.refused[1], "is not a stream socket (ListenStream=)");
	ck_assert_str_eq(told.refused[2], "does not listen (Accept=no)");
	ck_assert_str_eq(told.refused[3], "is not open");
	activation_free(&a);
	close(pair[1]);
}
END_TEST

START_TEST(variables_are_parsed_strictly_and_a_bad_one_touches_no_descriptor)
{
	static const struct {
		const char *pid, *fds, *names;
		int rc;
	} rows[] = {
		{NULL, NULL, NULL, 0},
		{"4322", "1", "shop", 0},
		{"4322", "garbage", NULL, 0},
		{"4321", "0", "", 0},
		{NULL, "1", NULL, -EINVAL},
		{"4321", NULL, NULL, -EINVAL},
		{"", "1", NULL, -EINVAL},
		{"0", "1", NULL, -EINVAL},
		{"+4321", "1", NULL, -EINVAL},
		{"4321 ", "1", NULL, -EINVAL},
		{"99999999999", "1", NULL, -EINVAL},
		{"4321", "", NULL, -EINVAL},
		{"4321", "-1", NULL, -EINVAL},
		{"4321", "1x", NULL, -EINVAL},
		{"4321", "0x1", NULL, -EINVAL},
		{"4321", "129", NULL, -E2BIG},
		{"4321", "18446744073709551615", NULL, -E2BIG},
		{"4321", "99999999999999999999", NULL, -EINVAL},
		{"4321", "1", "one:two", -EINVAL},
		{"4321", "2", "one", -EINVAL},
	};

	lay(0, "unix:@tm-untouched");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct activation a;
		int rc = activation_parse(&a, SELF, rows[i].pid, rows[i].fds, rows[i].names, FIRST_FD);

		ck_assert_msg(rc == rows[i].rc, "row %zu: %d instead of %d", i, rc, rows[i].rc);
		ck_assert_uint_eq(a.count, 0);
		activation_free(&a);
		ck_assert_msg(fcntl(FIRST_FD, F_GETFD) == 0, "row %zu: the descriptor was touched", i);
	}
}
END_TEST

START_TEST(names_may_be_missing_or_empty_but_not_endless)
{
	char endless[ACTIVATION_NAME + 1];
	struct activation a;

	lay(0, "unix:@tm-n0");
	lay(1, "unix:@tm-n1");
	ck_assert_int_eq(parse(&a, "2", ":b"), 0);
	ck_assert_str_eq(a.sockets[0].name, "unknown");
	ck_assert_str_eq(a.sockets[1].name, "b");
	free(a.sockets);
	memset(endless, 'n', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	ck_assert_int_eq(parse(&a, "1", endless), -EINVAL);
	endless[ACTIVATION_NAME - 1] = '\0';
	ck_assert_int_eq(parse(&a, "1", endless), 0);
	ck_assert_str_eq(a.sockets[0].name, endless);
	activation_free(&a);
	ck_assert_int_eq(parse(&a, "1", NULL), 0);
	ck_assert_str_eq(a.sockets[0].name, "unknown");
	activation_free(&a);
}
END_TEST

/* ---- what was ours ---- */

START_TEST(what_the_manager_kept_is_found_by_the_address_in_its_name)
{
	struct addr bound, path = address("unix:/run/a:b %.sock"), other = address("unix:/run/other.sock");
	struct activation a;
	char name[ACTIVATION_NAME], names[3 * ACTIVATION_NAME], tcp_name[ACTIVATION_NAME];

	bound = lay(0, "unix:@tm-bound"); /* a path is bound under another name than the one it has then, as this is */
	struct addr tcp = lay(1, "127.0.0.1:0");
	ck_assert(activation_store_name(name, &path, 99));
	ck_assert_ptr_null(strchr(name, ':'));
	ck_assert_ptr_null(strchr(name, ' '));
	ck_assert(activation_store_name(tcp_name, &tcp, 0));
	snprintf(names, sizeof(names), "%s:%s", name, tcp_name);
	ck_assert_int_eq(parse(&a, "2", names), 0);
	ck_assert(a.sockets[0].stored && a.sockets[1].stored);
	ck_assert_uint_eq(a.sockets[0].ino, 99);
	ck_assert_str_eq(a.sockets[0].name, "");
	ck_assert_int_eq(activation_take_addr(&a, &bound, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_addr(&a, &other, "x"), -ENOENT);
	ck_assert_int_eq(activation_take_name(&a, "", AF_UNIX, "x"), FIRST_FD); /* an app is never called so */
	ck_assert_ptr_eq(activation_find(&a, &path), &a.sockets[0]);            /* taken, and known */
	ck_assert_int_eq(activation_take_addr(&a, &tcp, "x"), FIRST_FD + 1);
	ck_assert_ptr_null(activation_find(&a, &other));
	close(FIRST_FD);
	close(FIRST_FD + 1);
	activation_free(&a);
}
END_TEST

START_TEST(a_name_that_is_none_of_ours_stays_a_name)
{
	static const char *const names[] = {"shop", "shop@1", "unix%3A/run/x.sock", "unix%3A/run/x.sock@", "unix%3A/run/x.sock@x", "unix%3/run@1", "%@1", "127.0.0.1%3A80@0", "@"};

	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		struct activation a;
		lay(0, "unix:@tm-name");
		ck_assert_int_eq(parse(&a, "1", names[i]), 0);
		ck_assert_msg(!a.sockets[0].stored, "%s", names[i]);
		ck_assert_str_eq(a.sockets[0].name, names[i]);
		activation_free(&a);
	}
}
END_TEST

START_TEST(a_path_that_no_name_has_room_for_is_not_stored)
{
	char name[ACTIVATION_NAME], text[128] = "unix:/";
	struct addr at;

	memset(text + 6, ' ', 100);
	at = address(text);
	ck_assert(!activation_store_name(name, &at, 1));
	memset(text + 6, 'x', 100);
	at = address(text);
	ck_assert(activation_store_name(name, &at, UINT64_MAX));
}
END_TEST

START_TEST(what_another_process_of_ours_hands_over_is_taken_as_if_the_manager_had)
{
	struct addr path = address("unix:/run/x.sock");
	struct activation a = {0};

	lay(0, "unix:@tm-handed");
	ck_assert_int_eq(activation_add(&a, FIRST_FD, &path, ""), 0);
	ck_assert_int_ne(fcntl(FIRST_FD, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq(activation_take_addr(&a, &path, "app"), FIRST_FD);
	close(FIRST_FD);
	/* One that does not listen is not handed out, and closed with the rest. */
	place(socket(AF_UNIX, SOCK_STREAM, 0), 1);
	path = address("unix:/run/y.sock");
	ck_assert_int_eq(activation_add(&a, FIRST_FD + 1, &path, ""), 0);
	ck_assert_int_eq(activation_take_addr(&a, &path, "app"), -ENOENT);
	ck_assert_uint_eq(activation_close_unclaimed(&a, NULL, NULL), 1);
	activation_free(&a);
}
END_TEST

UNIT_SUITE("activation", a_socket_is_found_by_its_address_before_any_name, a_path_and_a_tcp_address_are_compared_as_configured,
	a_name_is_taken_once_each_and_only_in_its_family, what_is_passed_becomes_close_on_exec_and_non_blocking,
	what_nobody_claims_is_told_and_closed, only_listening_stream_sockets_are_handed_out,
	what_the_manager_kept_is_found_by_the_address_in_its_name, a_name_that_is_none_of_ours_stays_a_name, a_path_that_no_name_has_room_for_is_not_stored,
	what_another_process_of_ours_hands_over_is_taken_as_if_the_manager_had, variables_are_parsed_strictly_and_a_bad_one_touches_no_descriptor, names_may_be_missing_or_empty_but_not_endless)
