/* tests/net/tlspair: see the header. */
#include "tests/net/tlspair.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit.h"

static const uint64_t ms = 1000000;

static void note(struct tls_half *h)
{
	snprintf(h->why, sizeof(h->why), "%s", tls_why(h->s));
}

static void half_connected(void *user, int err)
{
	struct tls_half *h = user;

	ck_assert_int_eq(h->connected, 0);
	h->connected = err ? err : 1;
	if (err) {
		note(h);
		sock_close(&h->s);
		return;
	}
	sock_want(h->s, true, false);
}

static void half_readable(void *user)
{
	struct tls_half *h = user;
	char buf[65536];
	ssize_t n = sock_recv(h->s, buf, sizeof(buf));

	if (n > 0) {
		sb_add(&h->got, buf, (size_t)n);
	} else if (n != -EAGAIN) {
		h->ended = true;
		h->end = (int)n;
		note(h);
		sock_want(h->s, false, false);
	}
}

static void half_writable(void *user)
{
	(void)user;
}

static const struct sock_events half_events = {.connected = half_connected, .readable = half_readable, .writable = half_writable};

/* What is read before TLS begins, as a door does that looks at the first byte. */
struct early { struct tls_pair *p; struct sock *s; struct sb got; };

static void early_begin(struct early *e)
{
	struct tls_pair *p = e->p;
	struct sock *taken = e->s;

	ck_assert_int_eq(tls_server(p->l, p->server, taken, &p->of_server, e->got.p, e->got.n, &p->account, &half_events, &p->d, &p->d.s), 0);
	ck_assert_int_eq(p->d.connected, 0);
	sb_end(&e->got);
	free(e);
}

static void early_readable(void *user)
{
	struct early *e = user;
	char buf[4096];
	ssize_t n = sock_recv(e->s, buf, e->p->first - e->got.n);

	if (n > 0)
		sb_add(&e->got, buf, (size_t)n);
	if (n == 0 || e->got.n >= e->p->first)
		early_begin(e);
}

static bool accepted(void *user, struct sock *taken)
{
	static const struct sock_events events = {.readable = early_readable, .writable = half_writable};
	struct tls_pair *p = user;
	struct early *e = xnew(struct early);

	e->p = p;
	e->s = taken;
	if (p->first == 0) {
		early_begin(e);
		return true;
	}
	sock_set(taken, &events, e);
	sock_want(taken, true, false);
	return true;
}

void tls_pair_new(struct tls_pair *p)
{
	static const struct sock_listen_events events = {.accepted = accepted};
	struct addr at = simnet_addr("10.0.0.1:443");

	*p = (struct tls_pair){.sim = simnet_new(7), .of_client = {.server_name = "a.b"}};
	p->l = simnet_loop(p->sim);
	p->now = (int64_t)(p->l->ops->wall_ns(p->l->ops_ctx) / 1000000000);
	account_init(&p->account, NULL, "pair", SIZE_MAX);
	ck_assert_int_eq(sock_listen(p->l, -1, &at, &events, p, &p->listen), 0);
}

static void half_end(struct tls_half *h)
{
	sock_close(&h->s);
	sb_end(&h->got);
	*h = (struct tls_half){0};
}

void tls_pair_part(struct tls_pair *p)
{
	half_end(&p->c);
	half_end(&p->d);
	simnet_advance(p->sim, 100 * ms);
}

void tls_pair_meet(struct tls_pair *p)
{
	static const struct sock_events none = {0};
	struct addr at = simnet_addr("10.0.0.1:443");
	struct sock *below;

	tls_pair_part(p);
	ck_assert_int_eq(sock_connect(p->l, &at, &none, NULL, &below), 0);
	ck_assert_int_eq(tls_client(p->l, p->client, below, &p->of_client, &p->account, &half_events, &p->c, &p->c.s), 0);
	simnet_advance(p->sim, 1000 * ms);
	ck_assert_int_ne(p->c.connected, 0);
}

void tls_half_say(struct tls_half *h, const char *text)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	ck_assert_int_eq(sock_writev(h->s, &iov, 1), (ssize_t)iov.iov_len);
}

void tls_pair_free(struct tls_pair *p)
{
	tls_pair_part(p);
	tls_context_unref(&p->client);
	tls_context_unref(&p->server);
	sock_listen_close(&p->listen);
	simnet_advance(p->sim, 100 * ms);
	ck_assert_int_eq(simnet_open(p->sim), 0);
	simnet_free(&p->sim);
	ck_assert_uint_eq(p->account.used, 0);
	account_end(&p->account);
}
