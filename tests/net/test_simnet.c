/* tests/sim/simnet: the network that the flow tests trust must itself be trusted. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000;

/* A peer that sends `left` bytes of a pattern and checks the same pattern in what it reads. */
struct peer { struct sock *s; int connected; uint64_t sent, got, left; int end; bool closed; };
struct server { struct sock_listen *l; struct peer peers[64]; int count, most; };

static char pattern(uint64_t at)
{
	return (char)(at * 31 + at / 251);
}

static void peer_close(struct peer *p, int end)
{
	p->end = end;
	p->closed = true;
	sock_close(&p->s);
}

static void peer_want(struct peer *p)
{
	sock_want(p->s, true, p->left > 0);
}

static void peer_connected(void *user, int err)
{
	struct peer *p = user;

	p->connected = err ? err : 1;
	if (err)
		peer_close(p, err);
	else
		peer_want(p);
}

static void peer_readable(void *user)
{
	struct peer *p = user;
	char buf[1500];
	ssize_t n = sock_recv(p->s, buf, sizeof(buf));

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		peer_close(p, (int)n);
		return;
	}
	int wrong = 0; /* one assert a read: each costs a message to the test's parent */
	for (ssize_t i = 0; i < n; i++)
		wrong += buf[i] != pattern(p->got + (uint64_t)i);
	ck_assert_int_eq(wrong, 0);
	p->got += (uint64_t)n;
}

static void peer_writable(void *user)
{
	struct peer *p = user;
	char buf[4000];
	size_t n = p->left < sizeof(buf) ? p->left : sizeof(buf);

	for (size_t i = 0; i < n; i++)
		buf[i] = pattern(p->sent + i);
	struct iovec iov[2] = {{buf, n / 3}, {buf + n / 3, n - n / 3}};
	ssize_t took = sock_writev(p->s, iov, 2);
	if (took == -EAGAIN)
		return;
	if (took < 0) {
		peer_close(p, (int)took);
		return;
	}
	p->sent += (uint64_t)took;
	p->left -= (uint64_t)took;
	peer_want(p);
}

static const struct sock_events peer_events = {.connected = peer_connected, .readable = peer_readable, .writable = peer_writable};

static bool accepted(void *user, struct sock *taken)
{
	struct server *sv = user;
	struct peer *p = &sv->peers[sv->count++];

	p->s = taken;
	p->left = 100000;
	sock_set(taken, &peer_events, p);
	peer_want(p);
	return sv->count != sv->most;
}

static void serve(struct simnet *n, struct server *sv, const char *at)
{
	static const struct sock_listen_events events = {.accepted = accepted};
	struct addr a = simnet_addr(at);

	ck_assert_int_eq(sock_listen(simnet_loop(n), -1, &a, &events, sv, &sv->l), 0);
}

static void dial(struct simnet *n, struct peer *p, const char *to)
{
	struct addr a = simnet_addr(to);

	ck_assert_int_eq(sock_connect(simnet_loop(n), &a, &peer_events, p, &p->s), 0);
	ck_assert_int_eq(p->connected, 0);
}

static void server_end(struct server *sv)
{
	for (int i = 0; i < sv->count; i++)
		sock_close(&sv->peers[i].s);
	sock_listen_close(&sv->l);
}

START_TEST(bytes_arrive_whole_and_in_order_under_every_kind_of_chance)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct simnet *n = simnet_new(seed);
		struct server sv = {0};
		struct peer c[8] = {0};
		*simnet_knobs(n) = (struct simnet_knobs){.capacity = 7000, .shuffle = true, .hold_percent = 30, .short_percent = 50, .again_percent = 30,
			.latency_ns = (seed % 3) * ms};
		serve(n, &sv, "10.0.0.1:80");
		for (int i = 0; i < 8; i++) {
			c[i].left = 50000;
			dial(n, &c[i], "10.0.0.1:80");
		}
		simnet_advance(n, 10000 * ms);
		ck_assert_int_eq(sv.count, 8);
		for (int i = 0; i < 8; i++) {
			ck_assert_uint_eq(c[i].got, 100000);
			ck_assert_uint_eq(sv.peers[i].got, 50000);
			sock_close(&c[i].s);
		}
		simnet_advance(n, 100 * ms);
		for (int i = 0; i < 8; i++)
			ck_assert(sv.peers[i].closed && sv.peers[i].end == 0);
		ck_assert_int_eq(simnet_open(n), 0);
		server_end(&sv);
		simnet_free(&n);
	}
}
END_TEST

static uint64_t story(uint64_t seed)
{
	struct simnet *n = simnet_new(seed);
	struct server sv = {0};
	struct peer c[8] = {0};

	*simnet_knobs(n) = (struct simnet_knobs){.capacity = 9000, .shuffle = true, .hold_percent = 20, .short_percent = 50, .again_percent = 20,
		.latency_ns = 3 * ms, .cut_ppm = 20000, .refuse_ppm = 100000};
	serve(n, &sv, "unix:/run/x.sock");
	for (int i = 0; i < 8; i++) {
		c[i].left = 50000;
		dial(n, &c[i], "unix:/run/x.sock");
	}
	simnet_advance(n, 5000 * ms);
	uint64_t hash = simnet_trace(n);
	for (int i = 0; i < 8; i++)
		sock_close(&c[i].s);
	server_end(&sv);
	simnet_free(&n);
	return hash;
}

START_TEST(the_same_seed_gives_the_same_hash_and_another_one_another)
{
	for (uint64_t seed = 1; seed < 10; seed++) {
		ck_assert_uint_eq(story(seed), story(seed));
		ck_assert_uint_ne(story(seed), story(seed + 100));
	}
}
END_TEST

START_TEST(latency_is_kept_both_ways_and_no_time_passes_without_it)
{
	struct simnet *n = simnet_new(1);
	struct server sv = {0};
	struct peer c = {.left = 10};
	uint64_t began_ns = simnet_now_ns(n);

	serve(n, &sv, "10.0.0.1:80");
	simnet_knobs(n)->latency_ns = 20 * ms;
	dial(n, &c, "10.0.0.1:80");
	simnet_advance(n, 39 * ms);
	ck_assert_int_eq(c.connected, 0);
	simnet_advance(n, 1 * ms);
	ck_assert_int_eq(c.connected, 1);
	simnet_advance(n, 19 * ms);
	ck_assert_uint_eq(sv.peers[0].got, 0);
	simnet_advance(n, 1 * ms);
	ck_assert_uint_eq(sv.peers[0].got, 10);
	ck_assert_uint_eq(simnet_now_ns(n), began_ns + 60 * ms);
	simnet_knobs(n)->latency_ns = 0;
	c.left = 10;
	peer_want(&c);
	simnet_advance(n, 0);
	ck_assert_uint_eq(sv.peers[0].got, 20);
	ck_assert_uint_eq(simnet_now_ns(n), began_ns + 60 * ms);
	sock_close(&c.s);
	server_end(&sv);
	simnet_free(&n);
}
END_TEST

START_TEST(a_reader_that_stands_still_stops_the_writer_at_the_capacity)
{
	struct simnet *n = simnet_new(1);
	struct server sv = {0};
	struct peer c = {.left = 1000000};

	serve(n, &sv, "10.0.0.1:80");
	dial(n, &c, "10.0.0.1:80");
	simnet_advance(n, 0);
	uint64_t before = sv.peers[0].got;
	ck_assert_uint_eq(before, 1000000);
	c.left = 1000000;
	peer_want(&c);
	simnet_stall(sv.peers[0].s, true);
	simnet_advance(n, 1000 * ms);
	ck_assert_uint_eq(c.sent, 1000000 + 65536);
	simnet_stall(sv.peers[0].s, false);
	simnet_advance(n, 1000 * ms);
	ck_assert_uint_eq(sv.peers[0].got, 2000000);
	sock_close(&c.s);
	server_end(&sv);
	simnet_free(&n);
}
END_TEST

START_TEST(connects_end_as_the_network_says)
{
	static const struct { const char *to; int rule, want; } rows[] = {
		{"10.0.0.1:80", SIMNET_NORMAL, 1},
		{"10.0.0.2:80", SIMNET_NORMAL, -ECONNREFUSED},
		{"unix:/run/none.sock", SIMNET_NORMAL, -ENOENT},
		{"10.0.0.1:80", SIMNET_HANG, 0},
		{"10.0.0.1:80", -EHOSTUNREACH, -EHOSTUNREACH},
		{"10.0.0.1:80", SIMNET_NORMAL, 1},
	};
	struct simnet *n = simnet_new(1);
	struct server sv = {0};

	serve(n, &sv, "10.0.0.1:80");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct peer c = {0};
		struct addr a = simnet_addr(rows[i].to);
		simnet_on_connect(n, &a, rows[i].rule);
		dial(n, &c, rows[i].to);
		simnet_advance(n, 60000 * ms);
		ck_assert_int_eq(c.connected, rows[i].want);
		sock_close(&c.s);
	}
	server_end(&sv);
	simnet_free(&n);
}
END_TEST

START_TEST(a_full_backlog_is_eagain_for_unix_and_a_paused_listener_wakes_again)
{
	struct simnet *n = simnet_new(1);
	struct server sv = {.most = 1};
	struct peer c[4] = {0};

	simnet_knobs(n)->backlog = 2;
	serve(n, &sv, "unix:/run/x.sock");
	dial(n, &c[0], "unix:/run/x.sock");
	simnet_advance(n, 0);
	ck_assert(sv.l->paused);
	for (int i = 1; i < 4; i++)
		dial(n, &c[i], "unix:/run/x.sock");
	simnet_advance(n, 0);
	ck_assert_int_eq(c[2].connected, 1);
	ck_assert_int_eq(c[3].connected, -EAGAIN);
	ck_assert_int_eq(sv.count, 1);
	sock_listen_resume(sv.l);
	simnet_advance(n, 0);
	ck_assert_int_eq(sv.count, 3);
	ck_assert(sv.peers[2].s->cred.known);
	ck_assert_uint_eq(sv.peers[2].s->cred.uid, 1000);
	for (int i = 0; i < 4; i++)
		sock_close(&c[i].s);
	server_end(&sv);
	simnet_free(&n);
}
END_TEST

START_TEST(a_cut_reaches_both_ends_and_a_closed_listener_resets_who_waits)
{
	struct simnet *n = simnet_new(1);
	struct server sv = {0};
	struct peer c = {0}, waits = {0};
	struct addr a = simnet_addr("10.0.0.1:80");

	serve(n, &sv, "10.0.0.1:80");
	dial(n, &c, "10.0.0.1:80");
	simnet_advance(n, 0);
	ck_assert_int_eq(simnet_cut_all(n, &a, -ECONNRESET), 1);
	simnet_advance(n, 0);
	ck_assert_int_eq(c.end, -ECONNRESET);
	ck_assert_int_eq(sv.peers[0].end, -ECONNRESET);
	sock_listen_pause(sv.l);
	dial(n, &waits, "10.0.0.1:80");
	simnet_advance(n, 0);
	ck_assert_int_eq(waits.connected, 1);
	server_end(&sv);
	simnet_advance(n, 0);
	ck_assert_int_eq(waits.end, -ECONNRESET);
	ck_assert_int_eq(simnet_open(n), 0);
	simnet_free(&n);
}
END_TEST

START_TEST(a_raw_end_speaks_by_hand_and_sees_the_end)
{
	struct simnet *n = simnet_new(1);
	struct server sv = {0};
	struct addr a = simnet_addr("10.0.0.1:80"), none = simnet_addr("10.0.0.9:80");
	char bytes[3] = {pattern(0), pattern(1), pattern(2)}, back[200000];
	struct iovec iov = {bytes, 3};

	serve(n, &sv, "10.0.0.1:80");
	ck_assert_ptr_null(simnet_connect(n, &none));
	struct sock *raw = simnet_connect(n, &a);
	ck_assert_int_eq(sock_writev(raw, &iov, 1), 3);
	simnet_advance(n, 0);
	ck_assert_uint_eq(sv.peers[0].got, 3);
	ck_assert_int_eq(sock_recv(raw, back, sizeof(back)), 65536);
	ck_assert_int_eq(sock_recv(raw, back, sizeof(back)), -EAGAIN);
	simnet_advance(n, 0);
	ck_assert_int_eq(sock_recv(raw, back, sizeof(back)), 100000 - 65536);
	simnet_fail_next(raw, -ENOBUFS);
	ck_assert_int_eq(sock_writev(raw, &iov, 1), -ENOBUFS);
	sock_close(&sv.peers[0].s);
	ck_assert_int_eq(sock_recv(raw, back, sizeof(back)), 0);
	ck_assert_int_eq(sock_writev(raw, &iov, 1), -EPIPE);
	sock_close(&raw);
	server_end(&sv);
	simnet_free(&n);
}
END_TEST

UNIT_SUITE("simnet", bytes_arrive_whole_and_in_order_under_every_kind_of_chance, the_same_seed_gives_the_same_hash_and_another_one_another,
	latency_is_kept_both_ways_and_no_time_passes_without_it, a_reader_that_stands_still_stops_the_writer_at_the_capacity,
	connects_end_as_the_network_says, a_full_backlog_is_eagain_for_unix_and_a_paused_listener_wakes_again,
	a_cut_reaches_both_ends_and_a_closed_listener_resets_who_waits, a_raw_end_speaks_by_hand_and_sees_the_end)
