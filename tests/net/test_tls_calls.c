/* net/tls, a client's side: what its handshake asks of the sock below, whose calls are system calls. Client and server are ours; a sock between counts, and may be narrow. */
#include <errno.h>
#include <stdio.h>
#include "tests/net/tlspair.h"
#include "tests/unit.h"

enum { DAY = 86400 };
static const char preface[] = "what a connection says first";
static const uint64_t second_ns = 1000000000;

/* The sock between: its owner is the TLS sock above it, its memory the test's. */
struct between { struct sock s; struct sock *under; int writes, reads_in_vain, wants; size_t room /* what it takes from now on */; };
enum speaks { AT_ONCE, AT_THE_FLUSH, NEVER, CLOSES };
struct user { struct tls_pair *p; struct between b; enum speaks speaks; struct dirty dirty; size_t taken; int wants_when_connected; size_t room_when_connected; };
struct rig { struct tls_pair p; struct tls_ca ca; struct tls_paper server, caller; struct tls_want *callers; };

static struct between *between_of(struct sock *s)
{
	return container_of(s, struct between, s);
}

static ssize_t between_recv(struct sock *s, void *buf, size_t n)
{
	ssize_t got = sock_recv(between_of(s)->under, buf, n);

	between_of(s)->reads_in_vain += got == -EAGAIN;
	return got;
}

static ssize_t between_writev(struct sock *s, const struct iovec *iov, int n)
{
	struct between *b = between_of(s);
	struct iovec cut[8];
	size_t left = b->room;
	int count = 0;

	b->writes++;
	for (; count < n && count < 8 && left; count++) {
		cut[count] = (struct iovec){iov[count].iov_base, iov[count].iov_len < left ? iov[count].iov_len : left};
		left -= cut[count].iov_len;
	}
	ssize_t took = count ? sock_writev(b->under, cut, count) : -EAGAIN;
	if (took > 0 && b->room != SIZE_MAX)
		b->room -= (size_t)took;
	sock_want(b->under, s->want_read, s->want_write && b->room);
	return took;
}

static void between_want(struct sock *s, bool read, bool write)
{
	struct between *b = between_of(s);

	s->want_read = read;
	s->want_write = write;
	b->wants++;
	sock_want(b->under, read, write && b->room);
}

static void between_close(struct sock *s)
{
	sock_close(&between_of(s)->under);
}

static void below_connected(void *user, int err)
{
	(void)user; /* before there is TLS */
	ck_assert_int_eq(err, 0);
}

static void below_readable(void *user)
{
	struct between *b = user;

	b->s.ev->readable(b->s.user);
}

static void below_writable(void *user)
{
	struct between *b = user;

	b->s.ev->writable(b->s.user);
}

static void widen(struct between *b, size_t room)
{
	b->room = room;
	if (b->under)
		sock_want(b->under, b->s.want_read, b->s.want_write && room);
}

/* ---- who uses it ---- */

static void speak(struct user *u)
{
	while (u->taken < sizeof(preface) - 1) {
		struct iovec iov = {(char *)(uintptr_t)preface + u->taken, sizeof(preface) - 1 - u->taken};
		ssize_t took = sock_writev(u->p->c.s, &iov, 1);
		if (took == -EAGAIN)
			break;
		ck_assert_int_gt(took, 0);
		u->taken += (size_t)took;
	}
	sock_want(u->p->c.s, true, u->taken < sizeof(preface) - 1);
}

static void flush(struct dirty *d)
{
	speak(container_of(d, struct user, dirty));
}

static void user_connected(void *user, int err)
{
	struct user *u = user;

	ck_assert_int_eq(err, 0);
	u->p->c.connected = 1;
	u->wants_when_connected = u->b.wants;
	widen(&u->b, u->room_when_connected);
	if (u->speaks == CLOSES) {
		sock_close(&u->p->c.s);
		return;
	}
	sock_want(u->p->c.s, true, false);
	if (u->speaks == AT_ONCE)
		speak(u);
	if (u->speaks == AT_THE_FLUSH)
		loop_dirty(u->p->l, &u->dirty, flush);
}

static void user_readable(void *user)
{
	struct user *u = user;
	char buf[4096];

	ck_assert_int_eq(sock_recv(u->p->c.s, buf, sizeof(buf)), -EAGAIN); /* tickets: nothing of the server's own */
}

static void user_writable(void *user)
{
	speak(user);
}

static void meet(struct user *u, struct tls_pair *p, enum speaks speaks, size_t room_when_connected)
{
	static const struct sock_ops ops = {.recv = between_recv, .writev = between_writev, .want = between_want, .close = between_close};
	static const struct sock_events below = {.connected = below_connected, .readable = below_readable, .writable = below_writable};
	static const struct sock_events events = {.connected = user_connected, .readable = user_readable, .writable = user_writable};
	static const struct sock_events none = {0};
	struct addr at = simnet_addr("10.0.0.1:443");

	tls_pair_part(p);
	*u = (struct user){.p = p, .speaks = speaks, .room_when_connected = room_when_connected};
	u->b = (struct between){.room = SIZE_MAX};
	ck_assert_int_eq(sock_connect(p->l, &at, &none, NULL, &u->b.under), 0);
	u->b.s = (struct sock){.ops = &ops, .loop = p->l, .fd = -1, .peer = u->b.under->peer};
	sock_set(u->b.under, &below, &u->b);
	simnet_advance(p->sim, second_ns / 1000);
	ck_assert_int_eq(tls_client(p->l, p->client, &u->b.s, &p->of_client, &p->account, &events, u, &p->c.s), 0);
	simnet_advance(p->sim, second_ns);
	ck_assert_int_eq(p->c.connected, 1);
}

static void rig_new(struct rig *r, uint16_t version)
{
	struct err err = ERR_INIT;

	*r = (struct rig){.callers = tls_want_new()};
	tls_pair_new(&r->p);
	tls_ca_new(&r->ca, "authority", r->p.now);
	tls_paper_new(&r->server, &r->ca, "server", "DNS:a.b", -DAY, DAY);
	tls_paper_new(&r->caller, &r->ca, "caller", "DNS:c.d", -DAY, DAY);
	r->p.of_server.want = r->callers;
	struct tls_spec client = {.trust = tls_trust_of(&r->ca), .cert = tls_cert_of(&r->caller), .min = version, .max = version};
	struct tls_spec server = {.trust = client.trust, .cert = tls_cert_of(&r->server), .server = true};
	ck_assert_msg(tls_context_new(&client, &r->p.client, &err) == 0, "%s", err_str(&err));
	ck_assert_msg(tls_context_new(&server, &r->p.server, &err) == 0, "%s", err_str(&err));
	tls_cert_unref(&client.cert);
	tls_cert_unref(&server.cert);
	tls_trust_unref(&client.trust);
}

static void rig_free(struct rig *r)
{
	tls_pair_free(&r->p);
	tls_want_unref(&r->callers);
	tls_paper_end(&r->server);
	tls_paper_end(&r->caller);
	tls_ca_end(&r->ca);
}

static bool server_heard_the_preface(const struct tls_pair *p)
{
	return p->d.connected == 1 && str_is(sb_view(&p->d.got), preface);
}

/* TLS 1.3, and resumed TLS 1.2: the client's word is the last. */
START_TEST(the_end_of_the_handshake_and_what_is_said_first_are_one_write_and_nothing_is_read_in_vain)
{
	for (enum speaks speaks = AT_ONCE; speaks <= AT_THE_FLUSH; speaks++)
		for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
			struct rig r;
			struct user u;
			rig_new(&r, version);
			for (int i = 0; i < 3; i++) {
				meet(&u, &r.p, speaks, SIZE_MAX);
				ck_assert(server_heard_the_preface(&r.p));
				ck_assert_int_eq(tls_resumed(r.p.c.s), i > 0);
				ck_assert_int_eq(u.b.writes, version == TLS1_2_VERSION && i == 0 ? 3 : 2);
				ck_assert_int_eq(u.b.reads_in_vain, 0);
				ck_assert_int_eq(u.b.wants, u.wants_when_connected);
			}
			rig_free(&r);
		}
}
END_TEST

/* One that closes is looked at with TLS 1.2 only: with 1.3 the server has tickets to send to whom has gone. */
START_TEST(who_says_nothing_or_closes_holds_the_handshake_back_from_nobody)
{
	static const struct { enum speaks speaks; uint16_t version; } rows[] = {{NEVER, TLS1_2_VERSION}, {NEVER, TLS1_3_VERSION}, {CLOSES, TLS1_2_VERSION}};

	for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++) {
		struct rig r;
		struct user u;
		rig_new(&r, rows[row].version);
		for (int i = 0; i < 2; i++) {
			meet(&u, &r.p, rows[row].speaks, SIZE_MAX);
			ck_assert_int_eq(r.p.d.connected, 1);
			ck_assert(i == 0 || u.b.writes == 2);
			ck_assert_int_eq(u.b.reads_in_vain, 0);
			ck_assert(r.p.d.ended == (rows[row].speaks == CLOSES) && r.p.d.end == 0);
			ck_assert_uint_eq(r.p.d.got.n, 0);
		}
		rig_free(&r);
	}
}
END_TEST

/* However much of both goes out: what was not taken is not with the peer, and in the end it has all of it once. */
START_TEST(a_narrow_way_out_takes_what_is_said_first_whole_or_not_at_all)
{
	bool waited = false, taken_at_once = false;
	struct rig r;
	struct user u;

	rig_new(&r, TLS1_3_VERSION);
	meet(&u, &r.p, AT_ONCE, SIZE_MAX); /* the others are resumed */
	for (enum speaks speaks = AT_ONCE; speaks <= NEVER; speaks++)
		for (size_t room = 0; room < 160; room++) {
			meet(&u, &r.p, speaks, room);
			ck_assert(u.taken == 0 || u.taken == sizeof(preface) - 1);
			ck_assert(server_heard_the_preface(&r.p) == (u.taken > 0));
			waited |= u.taken == 0 && r.p.d.connected == 1 && speaks == AT_ONCE;
			taken_at_once |= u.taken > 0;
			for (int more = 0; more < 160; more += 9) {
				widen(&u.b, u.b.room + 9);
				simnet_advance(r.p.sim, second_ns / 1000);
				ck_assert(server_heard_the_preface(&r.p) == (u.taken > 0));
			}
			ck_assert_int_eq(r.p.d.connected, 1);
			ck_assert(server_heard_the_preface(&r.p) == (speaks != NEVER));
			ck_assert_uint_eq(u.taken, speaks != NEVER ? sizeof(preface) - 1 : 0);
		}
	ck_assert(waited && taken_at_once);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("tls_calls", the_end_of_the_handshake_and_what_is_said_first_are_one_write_and_nothing_is_read_in_vain,
	who_says_nothing_or_closes_holds_the_handshake_back_from_nobody, a_narrow_way_out_takes_what_is_said_first_whole_or_not_at_all)
