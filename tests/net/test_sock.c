/* net/sock, net/sock_listen: kernel sockets over loopback and abstract addresses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "net/sock.h"
#include "tests/unit.h"

enum { MANY = 200 };
static const int64_t short_wait_ns = 1000000000; /* far more than anything here takes: a test that needs it all has failed */

struct end { struct sock *s; int connected, readable, writable; ssize_t last; size_t got; bool keep_reading; };
struct server { struct sock_listen *l; struct end ends[MANY]; int count, calls, refuse_at; };

static void connected(void *user, int err)
{
	struct end *e = user;

	e->connected = err ? err : 1;
}

static void readable(void *user)
{
	struct end *e = user;
	char buf[65536];

	e->readable++;
	if (!e->keep_reading)
		return;
	e->last = sock_recv(e->s, buf, sizeof(buf));
	if (e->last > 0)
		e->got += (size_t)e->last;
	else if (e->last != -EAGAIN)
		sock_close(&e->s);
}

static void writable(void *user)
{
	struct end *e = user;

	e->writable++;
	sock_want(e->s, e->s->want_read, false);
}

static const struct sock_events end_events = {.connected = connected, .readable = readable, .writable = writable};

static bool accepted(void *user, struct sock *taken)
{
	struct server *sv = user;
	struct end *e = &sv->ends[sv->count++];

	ck_assert_int_le(sv->count, MANY);
	e->s = taken;
	e->keep_reading = true;
	sock_set(taken, &end_events, e);
	sock_want(taken, true, false);
	return sv->count != sv->refuse_at;
}

static struct addr abstract_addr(void)
{
	struct addr a;
	char text[64];

	snprintf(text, sizeof(text), "@tm-sock-%d", getpid());
	ck_assert_int_eq(addr_unix(str_of(text), &a), 0);
	return a;
}

static struct addr serve(struct loop *l, struct server *sv, struct addr at)
{
	static const struct sock_listen_events events = {.accepted = accepted};

	ck_assert_int_eq(sock_listen(l, -1, &at, &events, sv, &sv->l), 0);
	return sv->l->at;
}

static struct addr loopback(void)
{
	struct addr a;

	ck_assert_int_eq(addr_ip(STR("127.0.0.1"), 0, &a), 0);
	return a;
}

static void dial(struct loop *l, struct end *e, const struct addr *to)
{
	ck_assert_int_eq(sock_connect(l, to, &end_events, e, &e->s), 0);
	ck_assert_int_eq(e->connected, 0); /* never before the return */
}

/* Turns until the count at `watched` has reached `want`; the bound only ends a test that has failed. */
static void turn_until(struct loop *l, const int *watched, int want)
{
	for (int i = 0; i < 3000 && *watched < want; i++)
		loop_turn(l, short_wait_ns / 100);
	ck_assert_int_ge(*watched, want);
}

static void server_end(struct server *sv)
{
	for (int i = 0; i < sv->count; i++)
		sock_close(&sv->ends[i].s);
	sock_listen_close(&sv->l);
}

START_TEST(bytes_go_both_ways_over_tcp_and_over_unix)
{
	for (int local = 0; local < 2; local++) {
		struct loop *l = loop_new_real(NULL);
		struct server sv = {0};
		struct end c = {.keep_reading = true};
		struct addr at = serve(l, &sv, local ? abstract_addr() : loopback());
		struct iovec iov[2] = {{"hello", 5}, {" you", 4}};
		ck_assert(local || addr_port(&at) != 0);
		dial(l, &c, &at);
		turn_until(l, &sv.count, 1);
		turn_until(l, &c.connected, 1);
		ck_assert_int_eq(sock_writev(c.s, iov, 2), 9);
		turn_until(l, &sv.ends[0].readable, 1);
		ck_assert_uint_eq(sv.ends[0].got, 9);
		ck_assert_int_eq(sv.ends[0].s->cred.known, local);
		if (local) {
			ck_assert_uint_eq(sv.ends[0].s->cred.uid, getuid());
			ck_assert_int_eq(sv.ends[0].s->cred.pid, getpid());
		}
		sock_want(c.s, true, false);
		ck_assert_int_eq(sock_writev(sv.ends[0].s, iov, 1), 5);
		turn_until(l, &c.readable, 1);
		ck_assert_uint_eq(c.got, 5);
		sock_close(&c.s);
		turn_until(l, &sv.ends[0].readable, 2);
		ck_assert_int_eq(sv.ends[0].last, 0);
		ck_assert_ptr_null(sv.ends[0].s);
		server_end(&sv);
		loop_free(&l);
	}
}
END_TEST

START_TEST(connects_that_fail_are_told_with_their_reason)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct end none = {0}, tcp = {0};
	struct addr gone = abstract_addr(), port = serve(l, &sv, loopback());

	sock_listen_close(&sv.l);
	dial(l, &none, &gone);
	dial(l, &tcp, &port);
	for (int i = 0; i < 100 && (!none.connected || !tcp.connected); i++)
		loop_turn(l, short_wait_ns);
	ck_assert_int_eq(none.connected, -ECONNREFUSED);
	ck_assert_int_eq(tcp.connected, -ECONNREFUSED);
	sock_close(&none.s);
	sock_close(&tcp.s);
	loop_free(&l);
}
END_TEST

START_TEST(a_full_unix_backlog_is_told_as_eagain)
{
	struct loop *l = loop_new_real(NULL);
	struct addr at = abstract_addr();
	struct end c[4] = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), full = 0;

	ck_assert_int_eq(bind(fd, &at.sa, at.len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	for (int i = 0; i < 4; i++)
		dial(l, &c[i], &at);
	loop_turn(l, 0);
	for (int i = 0; i < 4; i++) {
		full += c[i].connected == -EAGAIN;
		ck_assert(c[i].connected == 1 || c[i].connected == -EAGAIN);
		sock_close(&c[i].s);
	}
	ck_assert_int_eq(full, 2); /* the kernel lets one more in than the backlog says */
	close(fd);
	loop_free(&l);
}
END_TEST

START_TEST(what_is_unread_is_told_again_and_what_is_unwanted_never)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct end c = {0};
	struct addr at = serve(l, &sv, abstract_addr());
	struct iovec iov = {"x", 1};

	dial(l, &c, &at);
	turn_until(l, &sv.count, 1);
	sv.ends[0].keep_reading = false;
	ck_assert_int_eq(sock_writev(c.s, &iov, 1), 1);
	turn_until(l, &sv.ends[0].readable, 3);
	int before = sv.ends[0].readable;
	sock_want(sv.ends[0].s, false, false);
	loop_turn(l, 0);
	loop_turn(l, 0);
	ck_assert_int_eq(sv.ends[0].readable, before);
	sock_want(sv.ends[0].s, true, true);
	loop_turn(l, short_wait_ns);
	ck_assert_int_gt(sv.ends[0].readable, before);
	ck_assert_int_eq(sv.ends[0].writable, 1);
	sock_close(&c.s);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(writing_to_a_peer_that_has_gone_is_an_error_and_no_signal)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct end c = {0};
	struct addr at = serve(l, &sv, abstract_addr());
	struct iovec iov = {"x", 1};

	dial(l, &c, &at);
	turn_until(l, &sv.count, 1);
	sock_close(&sv.ends[0].s);
	ck_assert_int_eq(sock_writev(c.s, &iov, 1), -EPIPE);
	sock_close(&c.s);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(a_full_socket_says_eagain_and_tells_when_there_is_room)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct end c = {0};
	struct addr at = serve(l, &sv, abstract_addr());
	char *big = calloc(1, 65536);
	struct iovec iov = {big, 65536};
	size_t sent = 0;
	ssize_t n;

	dial(l, &c, &at);
	turn_until(l, &sv.count, 1);
	turn_until(l, &c.connected, 1);
	sock_want(sv.ends[0].s, false, false);
	for (int i = 0; i < 1000 && (n = sock_writev(c.s, &iov, 1)) >= 0; i++)
		sent += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	sock_want(c.s, false, true);
	loop_turn(l, 0);
	ck_assert_int_eq(c.writable, 0);
	sock_want(sv.ends[0].s, true, false);
	turn_until(l, &c.writable, 1);
	for (int i = 0; i < 1000 && sv.ends[0].got < sent; i++)
		loop_turn(l, short_wait_ns);
	ck_assert_uint_eq(sv.ends[0].got, sent);
	free(big);
	sock_close(&c.s);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(at_most_64_connections_are_accepted_in_a_turn)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct end *c = calloc(150, sizeof(*c));
	struct addr at = serve(l, &sv, abstract_addr());

	for (int i = 0; i < 150; i++)
		dial(l, &c[i], &at);
	loop_turn(l, short_wait_ns);
	ck_assert_int_eq(sv.count, SOCK_ACCEPT_MAX);
	turn_until(l, &sv.count, 150);
	for (int i = 0; i < 150; i++)
		sock_close(&c[i].s);
	free(c);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(a_callee_that_says_no_pauses_the_listener_until_it_is_resumed)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {.refuse_at = 2};
	struct end c[4] = {0};
	struct addr at = serve(l, &sv, abstract_addr());

	for (int i = 0; i < 4; i++)
		dial(l, &c[i], &at);
	turn_until(l, &sv.count, 2);
	for (int i = 0; i < 5; i++)
		loop_turn(l, 0);
	ck_assert_int_eq(sv.count, 2);
	sock_listen_resume(sv.l);
	turn_until(l, &sv.count, 4);
	for (int i = 0; i < 4; i++)
		sock_close(&c[i].s);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

/* The highest descriptor that is open, so that a limit can be set right above it. */
static int highest_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* A client that needs no descriptor while the limit holds: it was opened before. */
static int early_client(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

START_TEST(without_descriptors_the_listener_rests_and_comes_back)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct addr at = serve(l, &sv, abstract_addr());
	struct rlimit old, low;
	int clients[3];

	for (int i = 0; i < 3; i++)
		clients[i] = early_client();
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)highest_fd() + 1; /* room for one */
	setrlimit(RLIMIT_NOFILE, &low);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(connect(clients[i], &at.sa, at.len), 0);
	loop_turn(l, short_wait_ns);
	ck_assert_int_eq(sv.count, 1);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_ACCEPT_PAUSED_FD), 1);
	/* 200 ms at the limit: one try each 50 ms, and no turn in between. */
	uint64_t until_ns = l->now_ns + 200000000, turns = l->turn;
	while (l->now_ns < until_ns)
		loop_turn(l, (int64_t)(until_ns - l->now_ns));
	ck_assert_uint_le(l->turn - turns, 20);
	ck_assert_uint_le(stat_get(&l->stats, STAT_ACCEPT_PAUSED_FD), 6);
	ck_assert_int_eq(sv.count, 1);
	/* One goes, and the next is served without waiting for the timer. */
	sock_close(&sv.ends[0].s);
	loop_turn(l, short_wait_ns);
	ck_assert_int_eq(sv.count, 2);
	setrlimit(RLIMIT_NOFILE, &old);
	turn_until(l, &sv.count, 3);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(a_vital_listener_and_a_connect_live_on_the_reserve)
{
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct addr at = serve(l, &sv, abstract_addr());
	struct rlimit old, low;
	struct end c = {0};
	int client = early_client(), next = early_client();

	sv.l->vital = true;
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)highest_fd();
	setrlimit(RLIMIT_NOFILE, &low);
	ck_assert_int_eq(connect(client, &at.sa, at.len), 0);
	turn_until(l, &sv.count, 1);
	/* The accept loop has looked for more and found nothing: the second reserve is left for a connect. */
	ck_assert_int_eq(sock_connect(l, &at, &end_events, &c, &c.s), 0);
	struct end d = {0};
	ck_assert_int_eq(sock_connect(l, &at, &end_events, &d, &d.s), -EMFILE);
	/* What is closed fills the reserve again before anybody else gets it. */
	sock_close(&sv.ends[0].s);
	sock_close(&c.s);
	close(client);
	ck_assert_int_eq(connect(next, &at.sa, at.len), 0);
	for (int i = 0; i < 20 && sv.count < 3; i++)
		loop_turn(l, short_wait_ns / 20);
	ck_assert_int_ge(sv.count, 2);
	setrlimit(RLIMIT_NOFILE, &old);
	close(next);
	server_end(&sv);
	loop_free(&l);
}
END_TEST

START_TEST(an_inherited_descriptor_must_be_a_listening_stream)
{
	static const struct sock_listen_events events = {.accepted = accepted};
	struct loop *l = loop_new_real(NULL);
	struct server sv = {0};
	struct addr at = abstract_addr();
	struct end c = {0};
	int dgram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_eq(sock_listen(l, dgram, &at, &events, &sv, &sv.l), -EINVAL);
	ck_assert_int_eq(sock_listen(l, fd, &at, &events, &sv, &sv.l), -EINVAL);
	ck_assert_int_eq(bind(fd, &at.sa, at.len), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(sock_listen(l, fd, &at, &events, &sv, &sv.l), 0);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	dial(l, &c, &at);
	turn_until(l, &sv.count, 1);
	sock_close(&c.s);
	server_end(&sv);
	close(dgram);
	loop_free(&l);
}
END_TEST

UNIT_SUITE("sock", bytes_go_both_ways_over_tcp_and_over_unix, connects_that_fail_are_told_with_their_reason,
	a_full_unix_backlog_is_told_as_eagain, what_is_unread_is_told_again_and_what_is_unwanted_never,
	writing_to_a_peer_that_has_gone_is_an_error_and_no_signal, a_full_socket_says_eagain_and_tells_when_there_is_room,
	at_most_64_connections_are_accepted_in_a_turn, a_callee_that_says_no_pauses_the_listener_until_it_is_resumed,
	without_descriptors_the_listener_rests_and_comes_back, a_vital_listener_and_a_connect_live_on_the_reserve,
	an_inherited_descriptor_must_be_a_listening_stream)
