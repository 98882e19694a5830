/* tests/flow/rig_raw: peers that speak bytes: an app or a provider that says what no library would. */
#include <errno.h>
#include <stdlib.h>
#include "tests/flow/rig_int.h"

const char raw_request[] = ":method: POST\n:scheme: http\n:authority: " DEMO "\n:path: " PATH "\ncontent-type: application/grpc\nte: trailers\n";

/* ---- bytes ---- */

static void raw_readable(void *user)
{
	struct raw *w = user;
	char buf[16384];

	for (int i = 0; i < 64 && w->sock; i++) {
		ssize_t n = sock_recv(w->sock, buf, sizeof(buf));
		if (n > 0) {
			sb_add(&w->in, buf, (size_t)n);
			continue;
		}
		if (n != -EAGAIN) {
			w->eof = true;
			w->err = (int)n;
			sock_want(w->sock, false, false);
		}
		return;
	}
}

static void raw_write(struct raw *w)
{
	while (w->sock && w->out.n) {
		struct iovec iov = {w->out.p, w->out.n};
		ssize_t n = sock_writev(w->sock, &iov, 1);
		if (n < 0 && n != -EAGAIN) {
			w->eof = true;
			w->err = (int)n;
			w->out.n = 0;
		}
		if (n <= 0)
			break;
		memmove(w->out.p, w->out.p + n, w->out.n - (size_t)n);
		w->out.n -= (size_t)n;
	}
	if (w->sock)
		sock_want(w->sock, !w->deaf && !w->eof, w->out.n > 0);
}

static void raw_writable(void *user)
{
	raw_write(user);
}

static const struct sock_events raw_events = {.readable = raw_readable, .writable = raw_writable};

static struct raw *raw_make(struct rig *r, struct sock *s)
{
	struct raw *w = xnew(struct raw);

	w->rig = r;
	w->sock = s;
	list_push(&r->raws, &w->node);
	if (s) {
		sock_set(s, &raw_events, w);
		sock_want(s, true, false);
	}
	return w;
}

struct raw *raw_new(struct rig *r, const char *at)
{
	struct addr to = simnet_addr(at);
	struct sock *s = simnet_connect(r->net, &to);

	if (!s)
		rig_die("nobody listens on %s", at);
	return raw_make(r, s);
}

static bool raw_accepted(void *user, struct sock *taken)
{
	struct raw *w = user;
	struct raw *c = raw_make(w->rig, taken);

	if (w->naccepted < 16)
		w->accepted[w->naccepted++] = c;
	return true;
}

static const struct sock_listen_events raw_listen_events = {raw_accepted};

struct raw *raw_provider(struct rig *r, const char *at)
{
	struct raw *w = raw_make(r, NULL);
	struct addr to = simnet_addr(at);

	if (sock_listen(r->loop, -1, &to, &raw_listen_events, w, &w->listen) < 0)
		rig_die("a raw provider cannot listen");
	return w;
}

void raw_send(struct raw *w, const void *bytes, size_t n)
{
	sb_add(&w->out, bytes, n);
	raw_write(w);
}

void raw_text(struct raw *w, const char *text)
{
	raw_send(w, text, strlen(text));
}

void raw_close(struct raw *w)
{
	sock_close(&w->sock);
}

void raw_deaf(struct raw *w, bool deaf)
{
	w->deaf = deaf;
	raw_write(w);
}

/* ---- frames ---- */

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void frame_add(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	uint8_t hd[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags};

	put32(hd + 5, id);
	sb_add(b, (char *)hd, 9);
	if (n)
		sb_add(b, payload, n);
}

void raw_frame(struct raw *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	struct sb b = {0};

	frame_add(&b, type, flags, id, payload, n);
	raw_send(w, b.p, b.n);
	sb_end(&b);
}

void raw_preface(struct raw *w)
{
	raw_text(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	raw_frame(w, F_SETTINGS, 0, 0, NULL, 0);
}

/* RFC 7541 5.1, with a prefix of 7 bits (strings without Huffman). */
static void hpack_text(struct sb *b, const char *p, size_t n)
{
	size_t left = n;

	if (left < 127) {
		sb_char(b, (char)left);
	} else {
		sb_char(b, 127);
		for (left -= 127; left >= 128; left >>= 7)
			sb_char(b, (char)(0x80 | (left & 0x7f)));
		sb_char(b, (char)left);
	}
	sb_add(b, p, n);
}

void hpack_fields(struct sb *b, const char *lines)
{
	while (*lines) {
		const char *end = strchr(lines, '\n');
		size_t n = end ? (size_t)(end - lines) : strlen(lines);
		const char *colon = memchr(lines + 1, ':', n - 1);
		const char *value = colon + 1 + (colon[1] == ' ');
		sb_char(b, 0x10);
		hpack_text(b, lines, (size_t)(colon - lines));
		hpack_text(b, value, (size_t)(lines + n - value));
		lines += n + (end ? 1 : 0);
	}
}

void raw_headers(struct raw *w, uint32_t id, const char *lines, bool fin)
{
	struct sb block = {0};

	hpack_fields(&block, lines);
	raw_frame(w, F_HEADERS, (uint8_t)(FL_END_HEADERS | (fin ? FL_END_STREAM : 0)), id, block.p, block.n);
	sb_end(&block);
}

void raw_rst(struct raw *w, uint32_t id, uint32_t code)
{
	uint8_t p[4];

	put32(p, code);
	raw_frame(w, F_RST, 0, id, p, 4);
}

void raw_goaway(struct raw *w, uint32_t last, uint32_t code)
{
	uint8_t p[8];

	put32(p, last);
	put32(p + 4, code);
	raw_frame(w, F_GOAWAY, 0, 0, p, 8);
}

/* ---- looking ---- */

static bool frame_at(const struct raw *w, size_t *at, struct frame *f)
{
	const uint8_t *p = (uint8_t *)w->in.p;

	if (*at == 0 && w->in.n >= 24 && memcmp(p, "PRI * ", 6) == 0)
		*at = 24;
	if (w->in.n < *at + 9)
		return false;
	p += *at;
	*f = (struct frame){.type = p[3], .flags = p[4], .id = get32(p + 5) & 0x7fffffff, .n = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2], .p = p + 9};
	if (w->in.n < *at + 9 + f->n)
		return false;
	*at += 9 + f->n;
	return true;
}

bool raw_next(struct raw *w, struct frame *f)
{
	return frame_at(w, &w->at, f);
}

bool raw_find(const struct raw *w, int type, uint32_t id, struct frame *ret)
{
	struct frame f;

	for (size_t at = 0; frame_at(w, &at, &f);)
		if (f.type == type && f.id == id) {
			if (ret)
				*ret = f;
			return true;
		}
	return false;
}

uint32_t raw_count(const struct raw *w, int type, int64_t id)
{
	struct frame f;
	uint32_t n = 0;

	for (size_t at = 0; frame_at(w, &at, &f);)
		n += f.type == type && (id < 0 || f.id == (uint32_t)id);
	return n;
}

uint32_t raw_code(const struct raw *w, uint32_t id)
{
	struct frame f;

	return raw_find(w, F_RST, id, &f) && f.n == 4 ? get32(f.p) : UINT32_MAX;
}

/* ---- the end ---- */

void rig_end_raws(struct rig *r)
{
	list_each(n, tmp, &r->raws) {
		struct raw *w = list_entry(n, struct raw, node);
		sock_listen_close(&w->listen);
		raw_close(w);
	}
}

void rig_bury_raws(struct rig *r)
{
	for (struct list *n; (n = list_pop(&r->raws));) {
		struct raw *w = list_entry(n, struct raw, node);
		sb_end(&w->in);
		sb_end(&w->out);
		free(w);
	}
}
