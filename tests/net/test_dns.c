/* net/dns: the table of the simulation, and c-ares against a name server of the test's own. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "net/dns.h"
#include "tests/sim/simnet.h"
#include "tests/unit.h"

static const uint64_t ms = 1000000;

struct asker { struct dns_query *q; int told, err; size_t count, v4, v6; uint64_t ttl_ns; char first[ADDR_TEXT]; };

static void answer(void *user, const struct dns_answer *a)
{
	struct asker *k = user;

	k->q = NULL;
	k->told++;
	k->err = a->err;
	k->count = a->count;
	k->ttl_ns = a->ttl_ns;
	for (size_t i = 0; i < a->count; i++) {
		k->v4 += a->addrs[i].sa.sa_family == AF_INET;
		k->v6 += addr_is_v6(&a->addrs[i]);
	}
	if (a->count)
		addr_text(&a->addrs[0], k->first);
}

static void ask(struct dns *d, struct asker *k, const char *name)
{
	*k = (struct asker){0};
	ck_assert_int_eq(dns_ask(d, name, answer, k, &k->q), 0);
	ck_assert_int_eq(k->told, 0);
}

START_TEST(the_table_answers_after_its_delay)
{
	struct simnet *n = simnet_new(1);
	struct dns *d = dns_new_table(simnet_loop(n), 20 * ms);
	struct asker k, none;

	dns_table_set(d, "demo.example", "10.0.0.1, 10.0.0.2,::1", 30000 * ms);
	ask(d, &k, "demo.example");
	ask(d, &none, "other.example");
	simnet_advance(n, 19 * ms);
	ck_assert_int_eq(k.told, 0);
	simnet_advance(n, 2 * ms);
	ck_assert_int_eq(k.told, 1);
	ck_assert_uint_eq(k.v4, 2);
	ck_assert_uint_eq(k.v6, 1);
	ck_assert_uint_eq(k.ttl_ns, 30000 * ms);
	ck_assert_str_eq(k.first, "10.0.0.1:0");
	ck_assert_int_eq(none.err, ERR_NAME);
	dns_table_set(d, "demo.example", NULL, 0);
	ask(d, &k, "demo.example");
	simnet_advance(n, 30 * ms);
	ck_assert_int_eq(k.err, ERR_NAME);
	dns_free(&d);
	simnet_free(&n);
}
END_TEST

START_TEST(a_cancelled_question_is_never_answered)
{
	struct simnet *n = simnet_new(1);
	struct dns *d = dns_new_table(simnet_loop(n), 20 * ms);
	struct asker a, b;

	dns_table_set(d, "demo.example", "10.0.0.1", 0);
	ask(d, &a, "demo.example");
	ask(d, &b, "127.0.0.1");
	dns_cancel(&a.q);
	dns_cancel(&b.q);
	dns_cancel(&b.q);
	simnet_advance(n, 100 * ms);
	ck_assert_int_eq(a.told + b.told, 0);
	dns_free(&d);
	simnet_free(&n);
}
END_TEST

START_TEST(numbers_and_localhost_need_no_server)
{
	static const struct { const char *name, *first; size_t v4, v6; } rows[] = {
		{"10.1.2.3", "10.1.2.3:0", 1, 0},
		{"fd00::1", "[fd00::1]:0", 0, 1},
		{"[::1]", "[::1]:0", 0, 1},
		{"localhost", "[::1]:0", 1, 1},
		{"LocalHost", "[::1]:0", 1, 1},
		{"app.localhost", "[::1]:0", 1, 1},
	};
	struct simnet *n = simnet_new(1);
	struct dns *d = dns_new(simnet_loop(n)); /* c-ares would say -ENOSYS here */
	struct asker k;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		ask(d, &k, rows[i].name);
		simnet_advance(n, 0);
		ck_assert_int_eq(k.told, 1);
		ck_assert_str_eq(k.first, rows[i].first);
		ck_assert_uint_eq(k.v4, rows[i].v4);
		ck_assert_uint_eq(k.v6, rows[i].v6);
	}
	ck_assert_int_eq(dns_ask(d, "demo.example", answer, &k, &k.q), -ENOSYS);
	dns_free(&d);
	simnet_free(&n);
}
END_TEST

/* ---- a name server on loopback, driven by the same loop -------------------------------------------------------------------------- */

struct name_server { int fd, asked; struct loop_fd *ready; bool silent; };

/* Header, question, and by the name's first letter: g(ood), n(one), s(ervfail). */
static void serve(void *user, int fd, int what)
{
	struct name_server *ns = user;
	unsigned char q[512], *p;
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(fd, q, sizeof(q) - 64, 0, (struct sockaddr *)&from, &from_len);
	size_t at = 12;

	(void)what;
	if (n < 17)
		return;
	ns->asked++;
	if (ns->silent)
		return;
	while (at < (size_t)n && q[at])
		at += q[at] + 1u;
	bool v6 = q[at + 2] == 28;
	at += 5;
	q[2] = 0x81;
	q[3] = q[13] == 'n' ? 0x83 : q[13] == 's' ? 0x82 : 0x80;
	memset(q + 6, 0, 6);
	if (q[13] == 'g') {
		static const unsigned char head[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4};
		q[7] = 1;
		p = q + at;
		memcpy(p, head, sizeof(head));
		p[3] = v6 ? 28 : 1;
		p[9] = v6 ? 77 : 99; /* the least TTL counts */
		p[11] = v6 ? 16 : 4;
		at += sizeof(head);
		memset(q + at, 0, 16);
		inet_pton(v6 ? AF_INET6 : AF_INET, v6 ? "fd00::5" : "10.0.0.5", q + at);
		at += v6 ? 16 : 4;
	}
	ck_assert_int_gt(sendto(fd, q, at, 0, (struct sockaddr *)&from, from_len), 0);
}

static void name_server_start(struct name_server *ns, struct loop *l, struct dns *d)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	char server[64];

	ns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(ns->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(getsockname(ns->fd, (struct sockaddr *)&a, &len), 0);
	ck_assert_int_eq(loop_fd_add(l, ns->fd, 1, serve, ns, &ns->ready), 0);
	snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(a.sin_port));
	dns_servers(d, server);
}

static void turn_until_told(struct loop *l, struct asker *k)
{
	for (int i = 0; i < 1000 && !k->told; i++)
		loop_turn(l, 100 * (int64_t)ms);
	ck_assert_int_eq(k->told, 1);
}

START_TEST(a_server_is_asked_for_both_families_and_the_least_ttl_counts)
{
	struct loop *l = loop_new_real(NULL);
	struct dns *d = dns_new(l);
	struct name_server ns = {0};
	struct asker k;

	name_server_start(&ns, l, d);
	ask(d, &k, "good.example.");
	turn_until_told(l, &k);
	ck_assert_int_eq(k.err, 0);
	ck_assert_uint_eq(k.v4, 1);
	ck_assert_uint_eq(k.v6, 1);
	ck_assert_uint_eq(k.ttl_ns, 77000 * ms);
	ck_assert_int_eq(ns.asked, 2);
	dns_free(&d);
	loop_fd_del(&ns.ready);
	close(ns.fd);
	loop_free(&l);
}
END_TEST

START_TEST(a_name_that_does_not_exist_is_not_a_server_that_fails)
{
	struct loop *l = loop_new_real(NULL);
	struct dns *d = dns_new(l);
	struct name_server ns = {0};
	struct asker k;

	name_server_start(&ns, l, d);
	ask(d, &k, "none.example.");
	turn_until_told(l, &k);
	ck_assert_int_eq(k.err, ERR_NAME);
	ask(d, &k, "sick.example.");
	turn_until_told(l, &k);
	ck_assert_int_ne(k.err, ERR_NAME);
	ck_assert_int_ne(k.err, 0);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_DNS_FAILED), 2);
	ck_assert_uint_eq(stat_get(&l->stats, STAT_DNS_QUERIES), 2);
	dns_free(&d);
	loop_fd_del(&ns.ready);
	close(ns.fd);
	loop_free(&l);
}
END_TEST

START_TEST(questions_that_hang_can_be_cancelled_and_outlive_their_resolver)
{
	struct loop *l = loop_new_real(NULL);
	struct dns *d = dns_new(l);
	struct name_server ns = {.silent = true};
	struct asker a, b;

	name_server_start(&ns, l, d);
	ask(d, &a, "good.example.");
	ask(d, &b, "good.example.");
	for (int i = 0; i < 100 && ns.asked < 4; i++)
		loop_turn(l, 100 * (int64_t)ms);
	ck_assert_int_eq(ns.asked, 4);
	dns_cancel(&a.q);
	dns_free(&d);
	loop_turn(l, 0);
	ck_assert_int_eq(a.told + b.told, 0);
	dns_cancel(&b.q);
	loop_fd_del(&ns.ready);
	close(ns.fd);
	loop_free(&l);
}
END_TEST

UNIT_SUITE("dns", the_table_answers_after_its_delay, a_cancelled_question_is_never_answered, numbers_and_localhost_need_no_server,
	a_server_is_asked_for_both_families_and_the_least_ttl_counts, a_name_that_does_not_exist_is_not_a_server_that_fails,
	questions_that_hang_can_be_cancelled_and_outlive_their_resolver)
