/* Any bytes as what an HTTP/1.1 server says to a probe: in reads as large as they come, and byte by byte. Both must be understood alike, the request ends exactly once, what comes up is
 * valid and all memory comes back. The first byte says how it is asked: by GET or HEAD, and with how much memory. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "base/err.h"
#include "net/h1_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
	uint64_t now_ns;
	struct loop *loop;
	struct account account;
	struct sock sock;
	struct h1_client *client;
	const uint8_t *said;
	size_t said_n, said_at, piece;
	bool open;
	uint32_t heads, dones;
	struct sb told;
	size_t body_at;
};

static uint64_t play_now(void *ctx)
{
	return ((struct play *)ctx)->now_ns;
}

static void play_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	memset(out, 1, n);
}

static int play_wait(void *ctx, int64_t timeout_ns)
{
	struct play *p = ctx;

	if (p->open && p->sock.want_read)
		p->sock.ev->readable(p->sock.user);
	else if (timeout_ns > 0)
		p->now_ns += (uint64_t)timeout_ns;
	return 0;
}

static const struct loop_ops play_loop_ops = {.now_ns = play_now, .wall_ns = play_now, .random = play_random, .wait = play_wait};

static ssize_t play_recv(struct sock *s, void *buf, size_t n)
{
	struct play *p = container_of(s, struct play, sock);
	size_t left = p->said_n - p->said_at;

	assert(p->open && n > 0);
	n = n < left ? n : left;
	n = n < p->piece ? n : p->piece;
	memcpy(buf, p->said + p->said_at, n);
	p->said_at += n;
	return (ssize_t)n;
}

static ssize_t play_writev(struct sock *s, const struct iovec *iov, int n)
{
	size_t took = 0;

	assert(container_of(s, struct play, sock)->open && n > 0);
	for (int i = 0; i < n; i++)
		took += iov[i].iov_len;
	return (ssize_t)took;
}

static void play_want(struct sock *s, bool read, bool write)
{
	s->want_read = read;
	s->want_write = write;
}

static void play_close(struct sock *s)
{
	struct play *p = container_of(s, struct play, sock);

	assert(p->open);
	p->open = false;
}

static const struct sock_ops play_sock_ops = {.recv = play_recv, .writev = play_writev, .want = play_want, .close = play_close};

static void on_head(void *user, int status, struct fields *head)
{
	struct play *p = user;

	assert(++p->heads == 1 && !p->dones);
	assert(status >= 200 && status <= 999);
	assert(!fields_check(head, FIELDS_RESPONSE));
	fields_each(e, head)
	{
		assert(field_name_valid(e->name, e->name_len) && field_value_valid(e->value, e->value_len) && !(e->flags & FF_HOP));
		sb_fmt(&p->told, "%.*s=%.*s\n", (int)e->name_len, e->name, (int)e->value_len, e->value);
	}
	p->body_at = p->told.n;
}

static void on_body(void *user, const char *bytes, size_t n)
{
	struct play *p = user;

	assert(p->heads == 1 && !p->dones && n > 0);
	sb_add(&p->told, bytes, n);
}

static void on_done(void *user, int err, const char *why, bool reusable)
{
	struct play *p = user;

	assert(++p->dones == 1);
	assert(err ? *why && !reusable : p->heads == 1);
	assert(reusable == h1_client_is_open(p->client));
	if (err) /* how much of a body came up before it broke depends on the reads, and may */
		p->told.n = p->body_at;
	sb_fmt(&p->told, "end %d\n", err);
}

static struct sb play(const uint8_t *said, size_t n, size_t piece, bool head, size_t room)
{
	static const struct h1_client_events events = {.on_head = on_head, .on_body = on_body, .on_done = on_done};
	struct play *p = calloc(1, sizeof(*p));
	struct sb told;

	p->now_ns = 1;
	p->loop = loop_new(&play_loop_ops, p, NULL);
	account_init(&p->account, &p->loop->memory, "fuzz", room);
	p->sock = (struct sock){.ops = &play_sock_ops, .loop = p->loop, .fd = -1};
	p->said = said;
	p->said_n = n;
	p->piece = piece;
	p->open = true;
	p->client = h1_client_new(p->loop, &p->sock, &p->account);
	if (p->client && h1_client_send(p->client, head ? "HEAD" : "GET", "/", "demo", NULL, 0, NULL, 0, &events, p) == 0) {
		for (size_t i = 0; i < 2 * n + 64 && p->open; i++)
			loop_turn(p->loop, 0);
		assert(p->dones == 1);
	}
	h1_client_close(&p->client);
	loop_turn(p->loop, 0);
	loop_turn(p->loop, 0);
	assert(!p->open && p->account.used == 0);
	account_end(&p->account);
	loop_free(&p->loop);
	told = p->told;
	free(p);
	return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sb whole, dripping;
	bool head;

	if (size < 1 || size > 16384)
		return 0;
	head = data[0] & 1;
	if (data[0] & 2) { /* tight: when it breaks depends on the reads */
		whole = play(data + 1, size - 1, SIZE_MAX, head, (size_t)(data[0] >> 2) * 128);
		sb_end(&whole);
		return 0;
	}
	whole = play(data + 1, size - 1, SIZE_MAX, head, SIZE_MAX);
	dripping = play(data + 1, size - 1, 1, head, SIZE_MAX);
	assert(str_eq(sb_view(&whole), sb_view(&dripping)));
	sb_end(&whole);
	sb_end(&dripping);
	return 0;
}
