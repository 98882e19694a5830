/* Any bytes as what an HTTP/1.1 client says: served once in reads as large as the connection wants them, and once byte by byte. Both
 * must be understood alike (two readers that differ are what smuggling needs), each call ends at most once, and all memory comes back.
 *
 * The relayer answers each request when it is complete, with a body of unknown length and trailers. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "net/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
	uint64_t now_ns;
	struct loop *loop;
	struct account account;
	struct sock sock;
	struct h1_conn *conn;
	const uint8_t *said;
	size_t said_n, said_at, piece;
	bool open, closed;
	struct stream *s; /* the present call */
	struct sb told;   /* what came up, in order */
	size_t body_at;   /* where in it the body of the present call begins */
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

static struct play *play_of(struct sock *s)
{
	return container_of(s, struct play, sock);
}

static ssize_t play_recv(struct sock *s, void *buf, size_t n)
{
	struct play *p = play_of(s);
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

	assert(play_of(s)->open && n > 0);
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
	assert(play_of(s)->open);
	play_of(s)->open = false;
}

static const struct sock_ops play_sock_ops = {.recv = play_recv, .writev = play_writev, .want = play_want, .close = play_close};

static void answer(struct play *p)
{
	struct fields *head = fields_new(p->loop->fields, NULL), *trailers = fields_new(p->loop->fields, NULL);
	struct chain body = CHAIN_INIT;
	struct stream *s = p->s;

	fields_add_token(head, FIELD_STATUS, STR("200"));
	fields_add_token(trailers, FIELD_GRPC_STATUS, STR("0"));
	(void)chain_copy_in(&body, &p->loop->bufs, NULL, "hello", 5);
	(void)stream_send_head(s, head, false);
	stream_send_data(s, &body, false);
	(void)stream_send_trailers(s, trailers);
	fields_unref(&head);
	fields_unref(&trailers);
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct play *p = user;
	char text[512];

	while (data->bytes) {
		size_t n = chain_peek(data, 0, text, sizeof(text));

		sb_add(&p->told, text, n);
		chain_drop(data, n);
		stream_credit(p->s, n);
	}
	if (fin) {
		sb_str(&p->told, "\nfin\n");
		answer(p);
	}
}

static void on_sent(void *user, size_t n)
{
	(void)user;
	assert(n > 0);
}

static void on_end(void *user, const struct stream_end *end)
{
	struct play *p = user;

	assert(p->s);
	p->s = NULL;
	/* How much of a body that never becomes whole comes up depends on the reads, and may. */
	if (end->cause != END_DONE)
		p->told.n = p->body_at;
	sb_fmt(&p->told, "end %d\n", (int)end->cause);
}

static const struct stream_events events = {.on_data = on_data, .on_sent = on_sent, .on_end = on_end};

static void on_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct play *p = owner;

	assert(!refuse && !p->s);
	p->s = s;
	s->ev = &events;
	s->user = p;
	assert(!fields_check(head, FIELDS_REQUEST));
	fields_each(e, head) {
		assert(field_name_valid(e->name, e->name_len) && field_value_valid(e->value, e->value_len));
		assert(!(e->flags & FF_HOP) && e->token != FIELD_HOST && e->token != FIELD_EXPECT);
		sb_add(&p->told, e->name, e->name_len);
		sb_str(&p->told, "=");
		sb_add(&p->told, e->value, e->value_len);
		sb_str(&p->told, "\n");
	}
	p->body_at = p->told.n;
	if (fin) {
		sb_str(&p->told, "fin\n");
		answer(p);
	}
}

static void on_closed(void *owner, int err)
{
	struct play *p = owner;

	(void)err;
	assert(!p->closed && !p->s);
	p->closed = true;
}

static const struct stream_server server = {.on_request = on_request, .on_closed = on_closed};

/* What was understood; the caller frees it. */
static struct sb play(const uint8_t *said, size_t n, size_t piece)
{
	static const struct limits limits = {.header_bytes = 4096, .field_count = 20, .header_wire_bytes = 8192, .window_down = 1024,
		.header_time_ns = 5000000000, .stall_ns = 30000000000, .stall_bytes = 1024};
	struct play *p = calloc(1, sizeof(*p));
	struct sb told;

	p->now_ns = 1;
	p->loop = loop_new(&play_loop_ops, p, NULL);
	account_init(&p->account, &p->loop->memory, "fuzz", SIZE_MAX);
	p->sock = (struct sock){.ops = &play_sock_ops, .loop = p->loop, .fd = -1};
	p->said = said;
	p->said_n = n;
	p->piece = piece;
	p->open = true;
	p->conn = h1_conn_server(p->loop, &p->sock, &limits, &p->account, &server, p, "", 0);
	/* A turn reads a byte, or answers a request: then the end of the stream closes it. */
	for (size_t i = 0; i < 4 * n + 64 && !p->closed; i++)
		loop_turn(p->loop, 0);
	assert(p->closed && !p->open);
	loop_turn(p->loop, 0);
	loop_turn(p->loop, 0);
	assert(p->account.used == 0);
	account_end(&p->account);
	loop_free(&p->loop);
	told = p->told;
	free(p);
	return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sb whole, dripping;

	if (size > 16384)
		return 0;
	whole = play(data, size, SIZE_MAX);
	dripping = play(data, size, 1);
	assert(str_eq(sb_view(&whole), sb_view(&dripping)));
	sb_end(&whole);
	sb_end(&dripping);
	return 0;
}
