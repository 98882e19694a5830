/* tests/net/h2rig: see the header. */
#include "tests/net/h2rig.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char h2_get[] = ":method: GET\n:scheme: http\n:authority: demo:1\n:path: /a\n";
const char h2_post[] = ":method: POST\n:scheme: http\n:authority: demo:1\n:path: /s/m\ncontent-type: application/grpc\nte: trailers\n";

static void die(const char *what)
{
	fprintf(stderr, "h2rig: %s\n", what);
	abort();
}

/* ---- streams --------------------------------------------------------------------------------------------------------------- */

static void word(struct h2_talk *t, const char *w)
{
	size_t n = strlen(w);

	if (!t->s)
		t->after++;
	if (t->words.n >= n && memcmp(t->words.p + t->words.n - n, w, n) == 0)
		return;
	if (t->words.n)
		sb_char(&t->words, ' ');
	sb_str(&t->words, w);
}

static void keep_fields(struct sb *b, const struct fields *f)
{
	fields_each(e, f) {
		sb_add(b, e->name, e->name_len);
		sb_str(b, ": ");
		sb_add(b, e->value, e->value_len);
		sb_char(b, '\n');
	}
}

static void talk_head(void *user, struct fields *head, bool fin)
{
	struct h2_talk *t = user;

	word(t, "head");
	t->heads++;
	t->fin |= fin;
	keep_fields(&t->head, head);
	if (t->reset_at_head)
		h2_talk_reset(t, H2_CANCEL);
}

static void talk_data(void *user, struct chain *data, bool fin)
{
	struct h2_talk *t = user;
	char some[4096];

	if (data->bytes)
		word(t, "data");
	if (fin)
		word(t, "fin");
	t->fin |= fin;
	t->got += data->bytes;
	while (data->bytes) {
		size_t n = chain_peek(data, 0, some, sizeof(some));

		sb_add(&t->body, some, n);
		chain_drop(data, n);
		t->owed += n;
	}
	if (t->reset_at_data)
		h2_talk_reset(t, H2_CANCEL);
	else if (!t->hold)
		h2_talk_credit(t);
}

static void talk_trailers(void *user, struct fields *trailers)
{
	struct h2_talk *t = user;

	word(t, "trailers");
	t->fin = true;
	keep_fields(&t->trailers, trailers);
}

static void talk_sent(void *user, size_t n)
{
	struct h2_talk *t = user;

	word(t, "sent");
	t->sent += n;
}

static void talk_end(void *user, const struct stream_end *end)
{
	static const char *const causes[] = {"done", "refused", "unprocessed", "reset", "connect", "lost", "limit", "malformed", "deadline"};
	struct h2_talk *t = user;
	char text[32];

	snprintf(text, sizeof(text), "end:%s", causes[end->cause]);
	word(t, text);
	t->ends++;
	t->how = *end;
	t->s = NULL;
}

static const struct stream_events talk_events = {talk_head, talk_data, talk_trailers, talk_sent, talk_end};

static struct h2_talk *talk_new(struct h2_end *e)
{
	struct h2_talk *t = xnew(struct h2_talk);

	t->end = e;
	list_push(&e->rig->talks, &t->node);
	return t;
}

static void end_request(void *owner, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct h2_end *e = owner;
	struct h2_talk *t = talk_new(e);

	t->s = s;
	s->ev = &talk_events;
	s->user = t;
	e->requests++;
	e->refuse = refuse;
	talk_head(t, head, fin);
	if (fin && t->s)
		word(t, "fin");
	if (!e->rig->hold_heads)
		stream_forwarded(s);
	if (t->s && e->rig->on_request)
		e->rig->on_request(t);
}

static void end_closed(void *owner, int err)
{
	struct h2_end *e = owner;

	e->h2 = NULL;
	e->closed++;
	e->err = err;
}

static void end_closed_client(void *owner, int err, uint64_t carried)
{
	((struct h2_end *)owner)->carried = carried;
	end_closed(owner, err);
}

static void end_up(void *owner) { ((struct h2_end *)owner)->ups++; }
static void end_room(void *owner) { ((struct h2_end *)owner)->rooms++; }
static void end_goaway(void *owner) { ((struct h2_end *)owner)->goaways++; }

static const struct stream_server server_events = {end_request, end_closed};
static const struct h2_client_events client_events = {end_up, end_room, end_goaway, end_closed_client};

/* ---- the rig --------------------------------------------------------------------------------------------------------------- */

static struct h2_raw *raw_new(struct h2_rig *r, struct sock *s)
{
	struct h2_raw *w = xnew(struct h2_raw);

	w->rig = r;
	w->s = s;
	list_push(&r->raws, &w->node);
	return w;
}

static struct h2_end *end_new(struct h2_rig *r, struct sock *s)
{
	struct h2_end *e = xnew(struct h2_end);

	e->rig = r;
	e->sock = s;
	list_push(&r->ends, &e->node);
	return e;
}

static bool rig_accepted(void *user, struct sock *taken)
{
	struct h2_rig *r = user;

	if (r->accept_raw) {
		r->raw_server = raw_new(r, taken);
		return true;
	}
	struct h2_end *e = end_new(r, taken);
	e->h2 = h2_conn_server(r->loop, taken, &r->lim, &r->account, &server_events, e, NULL, 0);
	if (!e->h2)
		e->closed++;
	r->server = e;
	return true;
}

static const struct sock_listen_events listen_events = {rig_accepted};

struct h2_rig *h2_rig_new(void)
{
	struct h2_rig *r = xnew(struct h2_rig);

	r->net = simnet_new(11);
	r->loop = simnet_loop(r->net);
	r->lim = (struct limits){
		.streams_per_connection = 100,
		.header_bytes = 32768,
		.field_count = 200,
		.header_wire_bytes = 40960,
		.continuations = 64,
		.header_budget = 262144,
		.premature_resets = 2000,
		.control_frames = 10000,
		.empty_frames = 100,
		.outbound_queue = 1000,
		.window_down = 262144,
		.window_up = 1 << 20,
		.window_down_conn = 1 << 20,
		.window_up_conn = 16 << 20,
		.replay_bytes = 65536,
		.stall_ns = 30 * SEC,
		.stall_bytes = 1024,
		.preface_time_ns = 5 * SEC,
		.header_time_ns = 5 * SEC,
	};
	account_init(&r->account, NULL, "rig", SIZE_MAX);
	list_init(&r->ends);
	list_init(&r->raws);
	list_init(&r->talks);
	r->at = simnet_addr("10.0.0.1:1");
	if (sock_listen(r->loop, -1, &r->at, &listen_events, r, &r->listen) < 0)
		die("cannot listen");
	return r;
}

void h2_rig_free(struct h2_rig **at)
{
	struct h2_rig *r = *at;

	*at = NULL;
	list_each(n, tmp, &r->ends) {
		struct h2_end *e = list_entry(n, struct h2_end, node);
		if (e->h2)
			h2_conn_close(e->h2, 0);
	}
	list_each(n, tmp, &r->raws)
		sock_close(&list_entry(n, struct h2_raw, node)->s);
	simnet_advance(r->net, 0);
	simnet_advance(r->net, 1 * MS);
	sock_listen_close(&r->listen);
	list_each(n, tmp, &r->ends) {
		struct h2_end *e = list_entry(n, struct h2_end, node);
		if (e->h2 || e->closed != 1)
			die("a connection did not end exactly once");
		free(e);
	}
	list_each(n, tmp, &r->raws) {
		struct h2_raw *w = list_entry(n, struct h2_raw, node);
		sb_end(&w->in);
		sb_end(&w->out);
		free(w);
	}
	list_each(n, tmp, &r->talks) {
		struct h2_talk *t = list_entry(n, struct h2_talk, node);
		if (t->s || t->ends > 1 || t->after)
			die("a stream did not end exactly once, or was told something after its end");
		sb_end(&t->words);
		sb_end(&t->head);
		sb_end(&t->trailers);
		sb_end(&t->body);
		free(t);
	}
	if (r->account.used)
		die("something is still charged");
	account_end(&r->account);
	if (simnet_open(r->net))
		die("an end is still open");
	simnet_free(&r->net);
	free(r);
}

/* Raw peers have no events: they take and give whenever the network has come to rest. */
static bool raw_pump(struct h2_raw *w)
{
	bool moved = false;

	while (w->s && w->out.n) {
		struct iovec iov = {w->out.p, w->out.n};
		ssize_t n = sock_writev(w->s, &iov, 1);
		if (n < 0 && n != -EAGAIN)
			w->out.n = 0;
		if (n <= 0)
			break;
		memmove(w->out.p, w->out.p + n, w->out.n - (size_t)n);
		w->out.n -= (size_t)n;
		moved = true;
	}
	while (w->s && !w->eof) {
		char buf[16384];
		ssize_t n = sock_recv(w->s, buf, sizeof(buf));
		if (n > 0) {
			sb_add(&w->in, buf, (size_t)n);
			moved = true;
			continue;
		}
		if (n != -EAGAIN) {
			w->eof = true;
			w->err = (int)n;
		}
		break;
	}
	return moved;
}

static void rig_settle(struct h2_rig *r)
{
	for (int i = 0; i < 100000; i++) {
		bool moved = false;

		simnet_advance(r->net, 0);
		list_each(n, tmp, &r->raws)
			moved |= raw_pump(list_entry(n, struct h2_raw, node));
		if (!moved)
			return;
	}
	die("the network does not come to rest");
}

void h2_rig_run(struct h2_rig *r, uint64_t ms)
{
	rig_settle(r);
	for (uint64_t at = 0; at < ms;) { /* in steps, so that raw peers are no slower than others */
		uint64_t step = ms - at < 10 ? ms - at : 10;

		simnet_advance(r->net, step * MS);
		at += step;
		rig_settle(r);
	}
}

static void client_connected(void *user, int err)
{
	*(int *)user = err ? err : 1;
}

struct h2_end *h2_rig_client(struct h2_rig *r)
{
	static const struct sock_events dialing = {.connected = client_connected};
	int state = 0;
	struct sock *s;

	if (sock_connect(r->loop, &r->at, &dialing, &state, &s) < 0)
		die("cannot connect");
	simnet_advance(r->net, 0);
	if (state != 1)
		die("not connected");
	struct h2_end *e = end_new(r, s);
	e->h2 = h2_conn_client(r->loop, s, &r->lim, &r->account, &client_events, e);
	if (!e->h2)
		e->closed++;
	simnet_advance(r->net, 0);
	return e;
}

struct h2_end *h2_rig_server_for_raw(struct h2_rig *r, struct h2_raw **ret)
{
	struct sock *s = simnet_connect(r->net, &r->at);

	if (!s)
		die("nobody listens");
	*ret = raw_new(r, s);
	simnet_advance(r->net, 0);
	return r->server;
}

/* ---- talking --------------------------------------------------------------------------------------------------------------- */

struct fields *h2_fields(struct h2_rig *r, const char *lines)
{
	struct fields *f = fields_new(r->loop->fields, NULL);

	while (*lines) {
		const char *end = strchr(lines, '\n'), *colon = strstr(lines, ": ");

		fields_add(f, str_n(lines, (size_t)(colon - lines)), str_n(colon + 2, (size_t)(end - colon - 2)));
		lines = end + 1;
	}
	return f;
}

struct h2_talk *h2_talk_open(struct h2_end *e, const char *lines, bool fin)
{
	struct stream *s = e->h2 ? h2_conn_open(e->h2, &talk_events, NULL) : NULL;

	if (!s)
		return NULL;
	struct h2_talk *t = talk_new(e);
	t->s = s;
	s->user = t;
	h2_talk_head(t, lines ? lines : h2_post, fin);
	return t;
}

void h2_talk_head(struct h2_talk *t, const char *lines, bool fin)
{
	struct fields *f = h2_fields(t->end->rig, lines);

	if (t->s && stream_send_head(t->s, f, fin) < 0)
		h2_talk_reset(t, H2_INTERNAL_ERROR);
	fields_unref(&f);
}

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)(at * 131 + (at >> 8) * 7);
}

void h2_talk_fill(struct h2_talk *t, size_t n, bool fin)
{
	struct h2_rig *r = t->end->rig;
	struct chain c = CHAIN_INIT;
	/* where the pattern goes on: what was given before */
	uint64_t at = t->how.bytes_sent;

	for (size_t left = n; left && t->s;) {
		size_t piece = left < 60000 ? left : 60000;
		struct chunk *chunk = chunk_new(&r->loop->bufs, NULL, piece);

		for (size_t i = 0; i < piece; i++)
			chunk->data[i] = (char)pattern(at++);
		chain_add(&c, chunk, chunk->data, piece);
		chunk_unref(chunk);
		left -= piece;
	}
	if (t->s) {
		t->how.bytes_sent = at;
		stream_send_data(t->s, &c, fin);
	}
	chain_clear(&c);
}

bool h2_talk_pattern(const struct h2_talk *t)
{
	for (size_t i = 0; i < t->body.n; i++)
		if ((unsigned char)t->body.p[i] != pattern(i))
			return false;
	return true;
}

void h2_talk_trailers(struct h2_talk *t, const char *lines)
{
	struct fields *f = h2_fields(t->end->rig, lines);

	if (t->s && stream_send_trailers(t->s, f) < 0)
		h2_talk_reset(t, H2_INTERNAL_ERROR);
	fields_unref(&f);
}

void h2_talk_reset(struct h2_talk *t, uint32_t code)
{
	struct stream *s = t->s;

	t->s = NULL;
	if (s)
		stream_reset(s, code);
}

void h2_talk_credit(struct h2_talk *t)
{
	size_t n = t->owed;

	t->hold = false;
	t->owed = 0;
	if (t->s)
		stream_credit(t->s, n);
}

struct h2_talk *h2_talk_of(struct h2_end *e, uint32_t n)
{
	list_each(node, tmp, &e->rig->talks) {
		struct h2_talk *t = list_entry(node, struct h2_talk, node);
		if (t->end == e && n-- == 0)
			return t;
	}
	return NULL;
}

const char *h2_talk_words(const struct h2_talk *t)
{
	static char text[8][512];
	static unsigned at;
	char *to = text[at++ % 8];

	snprintf(to, sizeof(text[0]), "%.*s", (int)t->words.n, t->words.p ? t->words.p : "");
	return to;
}

void h2_answer(void *talk)
{
	struct h2_talk *t = talk;
	struct chain c = CHAIN_INIT;

	h2_talk_head(t, ":status: 200\ncontent-type: application/grpc\n", false);
	if (chain_copy_in(&c, &t->end->rig->loop->bufs, NULL, "hello", 5) < 0)
		die("no room for five bytes");
	if (t->s)
		stream_send_data(t->s, &c, false);
	chain_clear(&c);
	h2_talk_trailers(t, "grpc-status: 0\n");
}

/* ---- bytes ----------------------------------------------------------------------------------------------------------------- */

void h2_put(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	const unsigned char head[9] = {(unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n, type, flags, (unsigned char)(id >> 24),
		(unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};

	sb_add(b, (const char *)head, 9);
	if (n)
		sb_add(b, payload, n);
}

void h2_put_u32(struct sb *b, uint8_t type, uint8_t flags, uint32_t id, uint32_t v)
{
	const unsigned char p[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};

	h2_put(b, type, flags, id, p, 4);
}

static void hpack_text(struct sb *b, const char *p, size_t n)
{
	if (n < 127) {
		sb_char(b, (char)n);
	} else { /* RFC 7541 5.1 */
		sb_char(b, 127);
		size_t left = n - 127;
		for (; left >= 128; left >>= 7)
			sb_char(b, (char)(left & 127) | (char)0x80);
		sb_char(b, (char)left);
	}
	sb_add(b, p, n);
}

void h2_hpack(struct sb *b, const char *lines)
{
	while (*lines) {
		const char *end = strchr(lines, '\n'), *colon = strstr(lines + 1, ": ");

		sb_char(b, 0x10); /* a literal that is never indexed: no state to lose */
		hpack_text(b, lines, (size_t)(colon - lines));
		hpack_text(b, colon + 2, (size_t)(end - colon - 2));
		lines = end + 1;
	}
}

void h2_put_head(struct sb *b, uint32_t id, const char *lines, uint8_t flags)
{
	struct sb block = {0};

	h2_hpack(&block, lines);
	h2_put(b, F_HEADERS, flags, id, block.p, block.n);
	sb_end(&block);
}

void h2_put_preface(struct sb *b)
{
	sb_str(b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	h2_put(b, F_SETTINGS, 0, 0, NULL, 0);
}

void h2_say(struct h2_raw *w, struct sb *b)
{
	sb_add(&w->out, b->p, b->n);
	b->n = 0;
	h2_rig_run(w->rig, 0);
}

uint32_t h2_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool h2_next(struct h2_raw *w, struct h2_frame *f)
{
	const uint8_t *p = (const uint8_t *)w->in.p;

	if (w->at == 0 && w->in.n >= 24 && memcmp(p, "PRI * ", 6) == 0)
		w->at = 24;
	if (w->in.n < w->at + 9)
		return false;
	p += w->at;
	f->n = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	if (w->in.n - w->at - 9 < f->n)
		return false;
	f->type = p[3];
	f->flags = p[4];
	f->id = h2_u32(p + 5) & 0x7fffffff;
	f->p = p + 9;
	w->at += 9 + f->n;
	return true;
}

bool h2_find(struct h2_raw *w, int type, int64_t id, struct h2_frame *ret)
{
	struct h2_frame f;
	size_t was = w->at;
	bool found = false;

	for (w->at = 0; !found && h2_next(w, &f);)
		found = f.type == type && (id < 0 || f.id == id);
	w->at = was;
	if (found && ret)
		*ret = f;
	return found;
}

uint32_t h2_count(struct h2_raw *w, int type, int64_t id)
{
	struct h2_frame f;
	size_t was = w->at;
	uint32_t n = 0;

	for (w->at = 0; h2_next(w, &f);)
		n += f.type == type && (id < 0 || f.id == id);
	w->at = was;
	return n;
}

uint32_t h2_code_of(struct h2_raw *w, uint32_t id)
{
	struct h2_frame f;

	if (id == 0)
		return h2_find(w, F_GOAWAY, 0, &f) ? h2_u32(f.p + 4) : UINT32_MAX;
	return h2_find(w, F_RST, id, &f) ? h2_u32(f.p) : UINT32_MAX;
}
