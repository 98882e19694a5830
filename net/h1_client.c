/* net/h1_client: see the header.
 *
 *   struct h1_client   the connection. Owns its sock, the bytes of a head that is not complete, the bytes of a request that are not written. Freed by the morgue.
 *
 *   IDLE --send--> HEAD --head complete--> (1xx: HEAD again) BODY --body complete--> IDLE (reusable) | OVER
 *
 * Whatever is wrong ends it: OVER has no sock any more. Events come up from the readable event alone; a request is written by the flush at the end of the turn.
 * Bytes that nobody asked for (behind an answer, between two requests) make the connection unfit: they might be taken for the next answer. */
#include "net/h1_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/h1_parse.h"

enum { HEAD_MAX = 65536, FIELDS_MAX = 1000, INFORMATIONAL_MAX = 8 };
enum h1_client_state { CLIENT_IDLE, CLIENT_HEAD, CLIENT_BODY, CLIENT_OVER };

struct h1_client {
	struct loop *loop;
	struct sock *sock;               /* NULL: over */
	struct account *account;
	const struct h1_client_events *ev;
	void *user;
	enum h1_client_state state;
	bool to_head, closed;            /* closed: by its owner; nothing is told any more */
	uint8_t informational;
	char *in; uint32_t in_n, in_cap; /* of a head */
	struct h1_scan scan;
	struct h1_head head;
	struct h1_chunked chunked;
	uint64_t left;                   /* of a body with a length */
	char *out; size_t out_n, out_at; /* of a request */
	struct dirty dirty;
	struct grave grave;
};

/* ---- ends ----------------------------------------------------------------------------------------------------------------- */

static void client_bury(struct grave *g)
{
	struct h1_client *c = container_of(g, struct h1_client, grave);

	acct_free(c->account, c);
}

static void buffers_free(struct h1_client *c)
{
	acct_free(c->account, c->in);
	acct_free(c->account, c->out);
	c->in = c->out = NULL;
	c->in_n = c->in_cap = 0;
	c->out_n = c->out_at = 0;
}

static void client_over(struct h1_client *c)
{
	c->state = CLIENT_OVER;
	loop_clean(&c->dirty);
	sock_close(&c->sock);
	buffers_free(c);
}

void h1_client_close(struct h1_client **at)
{
	struct h1_client *c = *at;

	*at = NULL;
	if (!c || c->closed)
		return;
	client_over(c);
	c->closed = true;
	loop_bury(c->loop, &c->grave, client_bury);
}

static void client_fail(struct h1_client *c, int err, const char *why)
{
	bool asked = c->state == CLIENT_HEAD || c->state == CLIENT_BODY;

	client_over(c);
	if (asked)
		c->ev->on_done(c->user, err, why, false);
}

/* The answer is whole. more: bytes came behind it. */
static void client_done(struct h1_client *c, bool more)
{
	bool reusable = !more && c->head.keep_alive && c->head.body != H1_BODY_CLOSE && c->out_at == c->out_n;

	if (reusable) {
		buffers_free(c);
		c->state = CLIENT_IDLE;
	} else {
		client_over(c);
	}
	c->ev->on_done(c->user, 0, "", reusable);
}

/* ---- what comes in -------------------------------------------------------------------------------------------------------- */

static void body_piece(struct h1_client *c, const char *p, size_t n)
{
	if (n && c->ev->on_body)
		c->ev->on_body(c->user, p, n);
}

static void feed_chunked(struct h1_client *c, const char *p, size_t n)
{
	while (n && c->state == CLIENT_BODY) {
		struct str piece;
		size_t used = 0;

		switch (h1_chunked_step(&c->chunked, p, n, &used, &piece)) {
		case H1_STEP_DATA:
			body_piece(c, piece.p, piece.n);
			break;
		case H1_STEP_END:
			client_done(c, used < n);
			return;
		case H1_STEP_BAD:
			client_fail(c, -EBADMSG, "the chunks of the answer's body are malformed");
			return;
		case H1_STEP_MORE:
			return;
		}
		p += used;
		n -= used;
	}
}

static void feed_body(struct h1_client *c, const char *p, size_t n)
{
	size_t now;

	switch (c->head.body) {
	case H1_BODY_CHUNKED:
		feed_chunked(c, p, n);
		return;
	case H1_BODY_CLOSE:
		body_piece(c, p, n);
		return;
	default:
		now = c->left < n ? (size_t)c->left : n;
		c->left -= now;
		body_piece(c, p, now);
		if (c->left == 0 && c->state == CLIENT_BODY)
			client_done(c, now < n);
	}
}

/* A complete head of n bytes, and `rest` bytes behind it. True: it was a 1xx, and these are still to be read. */
static bool got_head(struct h1_client *c, char *p, size_t n, const char *rest, size_t rest_n)
{
	static const struct limits within = {.header_bytes = HEAD_MAX, .field_count = FIELDS_MAX};
	struct fields *f = fields_new(c->loop->fields, c->account);
	const char *why = "no memory for the answer";
	int r = f ? h1_answer_parse(p, n, &within, c->to_head, f, &c->head, &why) : -ENOMEM;
	uint64_t status = 0;

	if (r < 0) {
		fields_unref(&f);
		client_fail(c, r, why);
		return false;
	}
	str_u64(fields_value(f, FIELD_STATUS), &status);
	if (status < 200) {
		fields_unref(&f);
		stat_inc(&c->loop->stats, STAT_H2_INFORMATIONAL);
		/* 101 would change the protocol, which nobody asked for. */
		if (status == 101 || ++c->informational > INFORMATIONAL_MAX)
			client_fail(c, -EBADMSG, status == 101 ? "the answer changes the protocol unasked" : "too many 1xx answers");
		return c->state == CLIENT_HEAD;
	}
	c->state = CLIENT_BODY;
	c->chunked = (struct h1_chunked){0};
	c->left = c->head.length;
	c->ev->on_head(c->user, (int)status, f);
	fields_unref(&f);
	if (c->state != CLIENT_BODY)
		return false;
	if (c->head.body == H1_BODY_NONE)
		client_done(c, rest_n > 0);
	else if (rest_n)
		feed_body(c, rest, rest_n);
	return false;
}

static bool in_add(struct h1_client *c, const char *p, size_t n)
{
	uint32_t cap = c->in_cap ? c->in_cap : 1024;
	char *grown;

	while (cap < c->in_n + n)
		cap *= 2;
	if (cap > c->in_cap) {
		grown = acct_realloc(c->account, c->in, cap);
		if (!grown)
			return false;
		c->in = grown;
		c->in_cap = cap;
	}
	memcpy(c->in + c->in_n, p, n);
	c->in_n += (uint32_t)n;
	return true;
}

/* A head is gathered; what lies behind it stays in `in` only as long as this call. */
static void feed_head(struct h1_client *c, const char *p, size_t n)
{
	/* What goes beyond the limit of a head is its body: looked at once the head is complete. n is one read's, so `in` has a bound, too. */
	if (!in_add(c, p, n)) {
		client_fail(c, -ENOMEM, "no memory for the answer");
		return;
	}
	while (c->state == CLIENT_HEAD && c->in_n) {
		ptrdiff_t end = h1_head_end(&c->scan, c->in, c->in_n);
		char *bytes = c->in;
		uint32_t have = c->in_n;

		if (end < 0 || (end == 0 && !c->scan.started && c->scan.line)) {
			client_fail(c, -EBADMSG, "the answer is not HTTP/1.1");
			return;
		}
		if ((end == 0 && have > HEAD_MAX) || end > HEAD_MAX) {
			client_fail(c, ERR_LIMIT, "the head of the answer is larger than 64 KiB");
			return;
		}
		if (end == 0)
			return;
		/* Taken out: what is called from here may send again, or close. */
		c->in = NULL;
		c->in_n = 0;
		c->in_cap = 0;
		c->scan = (struct h1_scan){0};
		bool more = got_head(c, bytes, (size_t)end, bytes + end, have - (size_t)end);
		if (more && have > (size_t)end && !in_add(c, bytes + end, have - (size_t)end))
			client_fail(c, -ENOMEM, "no memory for the answer");
		acct_free(c->account, bytes);
	}
}

/* Early refusal of what does not even begin like an answer: a peer of another protocol may never send a line's end. */
static bool begins_well(const struct h1_client *c)
{
	static const char begin[] = "HTTP/1.";
	size_t n = c->in_n < sizeof(begin) - 1 ? c->in_n : sizeof(begin) - 1;

	return !c->in || memcmp(c->in, begin, n) == 0;
}

static void got_end(struct h1_client *c, int err)
{
	if (err == 0 && c->state == CLIENT_BODY && c->head.body == H1_BODY_CLOSE) {
		client_done(c, false);
		return;
	}
	client_fail(c, err ? err : ERR_CLOSED, c->state == CLIENT_BODY ? "the connection ended inside the answer" : "the connection ended without an answer");
}

static void client_readable(void *user)
{
	struct h1_client *c = user;
	struct chunk *chunk;
	char *p;

	if (!c->sock)
		return;
	ssize_t n = sock_read(c->sock, &chunk, &p);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		got_end(c, (int)n);
		return;
	}
	switch (c->state) {
	case CLIENT_HEAD:
		feed_head(c, p, (size_t)n);
		if (c->state == CLIENT_HEAD && !begins_well(c))
			client_fail(c, -EBADMSG, "the answer is not HTTP/1.1");
		break;
	case CLIENT_BODY:
		feed_body(c, p, (size_t)n);
		break;
	case CLIENT_IDLE:
		client_over(c);
		break;
	case CLIENT_OVER:
		break;
	}
}

/* ---- what goes out -------------------------------------------------------------------------------------------------------- */

static void client_flush(struct dirty *d)
{
	struct h1_client *c = container_of(d, struct h1_client, dirty);

	while (c->sock && c->out_at < c->out_n) {
		struct iovec v = {c->out + c->out_at, c->out_n - c->out_at};
		ssize_t n = sock_writev(c->sock, &v, 1);

		/* A peer that refuses to read may have answered already: the read side tells, and its owner's time is bounded. */
		if (n <= 0) {
			sock_want(c->sock, true, n == -EAGAIN || n == 0);
			return;
		}
		c->out_at += (size_t)n;
	}
	if (c->sock)
		sock_want(c->sock, true, false);
}

static void client_writable(void *user)
{
	struct h1_client *c = user;

	if (c->sock)
		loop_dirty(c->loop, &c->dirty, client_flush);
}

/* A token, or a target without blanks: neither may end its line, nor a field's. */
static bool line_part_valid(const char *s)
{
	for (const char *p = s; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	return *s != '\0';
}

static bool field_valid(const struct str f[2])
{
	char name[256];

	if (f[0].n == 0 || f[0].n > sizeof(name) || f[0].p[0] == ':')
		return false;
	memcpy(name, f[0].p, f[0].n);
	str_lower(name, f[0].n);
	if (!field_name_valid(name, f[0].n))
		return false;
	for (size_t i = 0; i < f[1].n; i++) {
		unsigned char b = (unsigned char)f[1].p[i];

		if ((b < ' ' && b != '\t') || b == 0x7f)
			return false;
	}
	return true;
}

static bool is_one_of(struct str name, struct str a, struct str b)
{
	return str_eq_nocase(name, a) || str_eq_nocase(name, b);
}

static size_t request_size(const char *method, const char *target, const char *host, const struct str (*fields)[2], uint32_t nfields, size_t n)
{
	size_t size = strlen(method) + strlen(target) + strlen(host) + n + 96;

	for (uint32_t i = 0; i < nfields; i++)
		size += fields[i][0].n + fields[i][1].n + 4;
	return size;
}

/* host, content-length and what frames are ours to say: a field that the caller has of these is left out. */
static size_t request_write(char *out, size_t cap, const char *method, const char *target, const char *host, const struct str (*fields)[2], uint32_t nfields, const void *body, size_t n)
{
	size_t at = (size_t)snprintf(out, cap, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host);

	for (uint32_t i = 0; i < nfields; i++) {
		if (is_one_of(fields[i][0], STR("host"), STR("content-length")) || is_one_of(fields[i][0], STR("transfer-encoding"), STR("connection")))
			continue;
		at += (size_t)snprintf(out + at, cap - at, "%.*s: %.*s\r\n", (int)fields[i][0].n, fields[i][0].p, (int)fields[i][1].n, fields[i][1].n ? fields[i][1].p : "");
	}
	if (n || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
		at += (size_t)snprintf(out + at, cap - at, "Content-Length: %zu\r\n", n);
	memcpy(out + at, "\r\n", 2);
	at += 2;
	if (n)
		memcpy(out + at, body, n);
	return at + n;
}

int h1_client_send(struct h1_client *c, const char *method, const char *target, const char *host, const struct str (*fields)[2], uint32_t nfields, const void *body, size_t n,
	const struct h1_client_events *ev, void *user)
{
	size_t cap;

	if (!h1_client_is_open(c))
		return ERR_CLOSED;
	if (!line_part_valid(method) || !line_part_valid(target) || (*host && !line_part_valid(host)))
		return -EINVAL;
	for (uint32_t i = 0; i < nfields; i++)
		if (!field_valid(fields[i]))
			return -EINVAL;
	cap = request_size(method, target, host, fields, nfields, n);
	c->out = acct_alloc(c->account, cap);
	if (!c->out)
		return -ENOMEM;
	c->out_n = request_write(c->out, cap, method, target, host, fields, nfields, body, n);
	c->out_at = 0;
	c->scan = (struct h1_scan){0};
	c->informational = 0;
	c->to_head = strcmp(method, "HEAD") == 0;
	c->ev = ev;
	c->user = user;
	c->state = CLIENT_HEAD;
	loop_dirty(c->loop, &c->dirty, client_flush);
	return 0;
}

bool h1_client_is_open(const struct h1_client *c)
{
	return c->sock && c->state == CLIENT_IDLE;
}

struct h1_client *h1_client_new(struct loop *l, struct sock *taken, struct account *a)
{
	static const struct sock_events events = {.readable = client_readable, .writable = client_writable};
	struct h1_client *c = acct_alloc(a, sizeof(*c));

	if (!c) {
		sock_close(&taken);
		return NULL;
	}
	*c = (struct h1_client){.loop = l, .sock = taken, .account = a};
	sock_set(taken, &events, c);
	sock_want(taken, true, false);
	return c;
}
