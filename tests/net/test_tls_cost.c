/* net/tls: what a connection costs that does nothing: measured in the heap, 1,000 at once, each side with a certificate of its own and an intermediate. What is charged to accounts is no less. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/tls_int.h"
#include "tests/net/tlspair.h"
#include "tests/unit.h"

enum { DAY = 86400, MANY = 1000 };

struct crowd { struct tls_pair p; struct tls_half c[MANY], d[MANY]; int n; };

static void connected(void *user, int err)
{
	struct tls_half *h = user;

	h->connected = err ? err : 1;
	if (!err)
		sock_want(h->s, true, false);
}

static void readable(void *user)
{
	struct tls_half *h = user;
	char buf[65536];

	while (sock_recv(h->s, buf, sizeof(buf)) > 0)
		;
}

static void nothing(void *user)
{
	(void)user;
}

static const struct sock_events events = {.connected = connected, .readable = readable, .writable = nothing};

static bool accepted(void *user, struct sock *taken)
{
	struct crowd *w = user;
	struct tls_half *h = &w->d[w->n++];

	ck_assert_int_eq(tls_server(w->p.l, w->p.server, taken, &w->p.of_server, NULL, 0, &w->p.account, &events, h, &h->s), 0);
	return true;
}

static struct tls_cert *with_middle(const struct tls_paper *p, const struct tls_ca *middle)
{
	char *leaf = tls_text(p->cert_fd), *mid = tls_text(middle->fd), *key = tls_text(p->key_fd), *chain = xasprintf("%s%s", leaf, mid);
	struct err err = ERR_INIT;
	struct tls_cert *c;

	ck_assert_int_eq(tls_cert_new("c", str_of(chain), str_of(key), &c, &err), 0);
	free(leaf);
	free(mid);
	free(key);
	free(chain);
	return c;
}

START_TEST(an_idle_connection_costs_less_than_60_kib_and_no_more_than_is_charged)
{
	static const struct sock_listen_events door = {.accepted = accepted};
	static const struct sock_events none = {0};
	for (uint16_t version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		struct crowd *w = xnew(struct crowd);
		struct tls_ca ca, middle;
		struct tls_paper a, b;
		struct err err = ERR_INIT;
		struct tls_want *want = tls_want_new();
		struct addr at = simnet_addr("10.0.0.3:443");
		struct sock_listen *listen;
		tls_pair_new(&w->p);
		tls_ca_new(&ca, "authority", w->p.now);
		tls_ca_below(&middle, &ca, "middle");
		tls_paper_new(&a, &middle, "server", "DNS:a.b URI:spiffe://cluster.local/ns/default/sa/server", -DAY, DAY);
		tls_paper_new(&b, &middle, "caller", "URI:spiffe://cluster.local/ns/default/sa/caller", -DAY, DAY);
		struct tls_trust *trust = tls_trust_of(&ca);
		struct tls_spec server = {.cert = with_middle(&a, &middle), .trust = trust, .alpn = "h2", .server = true, .min = version, .max = version};
		struct tls_spec client = {.cert = with_middle(&b, &middle), .trust = trust, .alpn = "h2", .min = version, .max = version};
		ck_assert_int_eq(tls_context_new(&server, &w->p.server, &err), 0);
		ck_assert_int_eq(tls_context_new(&client, &w->p.client, &err), 0);
		w->p.of_server.want = want;
		ck_assert_int_eq(sock_listen(w->p.l, -1, &at, &door, w, &listen), 0);
		size_t before = 0;
		const int many = version == TLS1_3_VERSION ? MANY : 200;
		for (int i = 0; i < many; i++) {
			struct sock *below;
			if (i == 100) { /* what grows once has grown */
				simnet_advance(w->p.sim, 1000000000);
				before = mallinfo2().uordblks;
			}
			ck_assert_int_eq(sock_connect(w->p.l, &at, &none, NULL, &below), 0);
			w->p.of_client.hash = (uint64_t)i % 100; /* sessions are bounded anyway */
			ck_assert_int_eq(tls_client(w->p.l, w->p.client, below, &w->p.of_client, &w->p.account, &events, &w->c[i], &w->c[i].s), 0);
			simnet_advance(w->p.sim, 1000000);
		}
		simnet_advance(w->p.sim, 1000000000);
		size_t each = (mallinfo2().uordblks - before) / (size_t)(many - 100) / 2, charged = w->p.account.used / (size_t)many / 2;
		fprintf(stderr, "test_tls_cost: TLS 1.%d: %zu bytes a connection, %zu charged\n", version == TLS1_2_VERSION ? 2 : 3, each, charged);
		for (int i = 0; i < many; i++)
			ck_assert(w->c[i].connected == 1 && w->d[i].connected == 1);
		ck_assert_uint_le(charged, 60 * 1024);
#if !defined(__SANITIZE_ADDRESS__)
		ck_assert_uint_le(each, charged);
		ck_assert_uint_ge(each, charged / 2); /* nor is much more charged than is used */
#endif
		for (int i = 0; i < many; i++) {
			sock_close(&w->c[i].s);
			sock_close(&w->d[i].s);
		}
		sock_listen_close(&listen);
		tls_cert_unref(&server.cert);
		tls_cert_unref(&client.cert);
		tls_trust_unref(&trust);
		tls_pair_free(&w->p);
		tls_want_unref(&want);
		tls_paper_end(&a);
		tls_paper_end(&b);
		tls_ca_end(&ca);
		tls_ca_end(&middle);
		free(w);
	}
}
END_TEST

START_TEST(a_thousand_rotations_leave_nothing)
{
	struct tls_ca ca;
	struct tls_paper p;
	size_t before = 0;

	tls_ca_new(&ca, "authority", 1767225601);
	tls_paper_new(&p, &ca, "p", "URI:spiffe://m/x", -DAY, DAY);
	for (int i = 0; i < 1000; i++) {
		if (i == 500) /* by then libc's own caches, which count as used, are full */
			before = mallinfo2().uordblks;
		struct tls_context *c = tls_client_new(&ca, &p, "h2");
		tls_context_unref(&c);
	}
	size_t after = mallinfo2().uordblks;
#if defined(__SANITIZE_ADDRESS__)
	after = before; /* its heap keeps what was freed; leaks it tells itself */
#endif
	tls_paper_end(&p);
	tls_ca_end(&ca);
	ck_assert_uint_le(after, before + 16384);
}
END_TEST

UNIT_SUITE("tls_cost", a_thousand_rotations_leave_nothing, an_idle_connection_costs_less_than_60_kib_and_no_more_than_is_charged)
