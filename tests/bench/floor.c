/* tests/bench/floor: a measuring stick: what a relay from a Unix socket to one HTTP/2 provider costs at least, if it is built on nghttp2.
 * It knows no routes, no limits, no back-pressure and no failures: what was decoded on one session is encoded on the other. What the daemon
 * costs above it is the price of all that it does. Never a product.
 *
 *	floor SOCKET PORT
 *
 *   app ---- side[DOWN] of a relay ---- side[UP] ---- the one connection to the provider
 *
 * A struct relay is one call; a struct flow is the bytes of one direction; the fields of a head wait in the relay as rcbuf refs. */
#include "tests/bench/wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { DOWN, UP, FIELDS_MAX = 64 };

struct flow {
	uint8_t *p;
	size_t n, cap, sent;
	bool waiting; /* its reader was told: nothing yet */
	bool whole;
	bool trailers;
};

struct relay {
	struct side *down;
	int32_t id[2];
	struct flow flow[2]; /* by where it goes: flow[UP] is the request */
	nghttp2_nv nv[FIELDS_MAX];
	nghttp2_rcbuf *held[2 * FIELDS_MAX];
	size_t fields;
	bool answered;
	struct relay *next; /* of the free ones */
};

struct side {
	struct wire wire; /* first: epoll knows the wire */
	struct stick *stick;
	int which;
};

struct stick {
	struct wires wires;
	struct side *up;
	struct relay *free;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
};

static struct side *relay_side(struct relay *r, int which) { return which == UP ? r->down->stick->up : r->down; }

static void relay_drop_fields(struct relay *r)
{
	for (size_t i = 0; i < 2 * r->fields; i++)
		nghttp2_rcbuf_decref(r->held[i]);
	r->fields = 0;
}

static struct relay *relay_new(struct side *down, int32_t id)
{
	struct relay *r = down->stick->free;

	if (r)
		down->stick->free = r->next;
	else
		r = must(calloc(1, sizeof(*r)));
	for (int i = 0; i < 2; i++)
		r->flow[i] = (struct flow){.p = r->flow[i].p, .cap = r->flow[i].cap};
	r->down = down;
	r->id[DOWN] = id;
	r->id[UP] = 0;
	r->answered = false;
	return r;
}

static ssize_t flow_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct relay *r = source->ptr;
	struct side *side = user;
	struct flow *f = &r->flow[side->which];
	size_t n = f->n - f->sent;

	if (n == 0 && !f->whole) {
		f->waiting = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > room)
		n = room;
	memcpy(to, f->p + f->sent, n);
	f->sent += n;
	if (f->sent < f->n)
		return (ssize_t)n;
	f->sent = f->n = 0;
	if (f->whole) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (f->trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(session, id, r->nv, r->fields);
			relay_drop_fields(r);
		}
	}
	return (ssize_t)n;
}

static void flow_wake(struct relay *r, int which)
{
	struct side *to = relay_side(r, which);

	if (r->flow[which].waiting) {
		r->flow[which].waiting = false;
		nghttp2_session_resume_data(to->wire.session, r->id[which]);
	}
	wire_mark(&to->stick->wires, &to->wire);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, relay_new(user, frame->hd.stream_id));
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	struct relay *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);

	(void)flags, (void)user;
	if (!r || r->fields == FIELDS_MAX)
		return 0;
	nghttp2_rcbuf_incref(name);
	nghttp2_rcbuf_incref(value);
	r->held[2 * r->fields] = name;
	r->held[2 * r->fields + 1] = value;
	r->nv[r->fields++] = (nghttp2_nv){n.base, v.base, n.len, v.len, NGHTTP2_NV_FLAG_NONE};
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
	struct relay *r = nghttp2_session_get_stream_user_data(session, id);
	struct side *from = user;

	(void)flags;
	if (!r)
		return 0;
	struct flow *f = &r->flow[!from->which];

	if (f->n + n > f->cap)
		f->p = must(realloc(f->p, f->cap = (f->n + n) * 2));
	memcpy(f->p + f->n, data, n);
	f->n += n;
	return 0;
}

static void relay_head(struct relay *r, int to, bool fin)
{
	nghttp2_data_provider body = {.source.ptr = r, .read_callback = flow_read}, *provider = fin ? NULL : &body;
	struct side *side = relay_side(r, to);

	if (to == UP)
		r->id[UP] = nghttp2_submit_request(side->wire.session, NULL, r->nv, r->fields, provider, r);
	else
		nghttp2_submit_response(side->wire.session, r->id[DOWN], r->nv, r->fields, provider);
	relay_drop_fields(r);
	wire_mark(&side->stick->wires, &side->wire);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct side *from = user;
	struct relay *r;
	bool fin = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (!(r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)))
		return 0;
	r->flow[!from->which].whole |= fin;
	if (frame->hd.type == NGHTTP2_DATA) {
		flow_wake(r, !from->which);
	} else if (from->which == DOWN || !r->answered) {
		r->answered = from->which == UP;
		relay_head(r, !from->which, fin);
	} else {
		r->flow[DOWN].trailers = true;
		flow_wake(r, DOWN);
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct side *side = user;
	struct relay *r = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	if (side->which == UP || !r)
		return 0;
	nghttp2_session_set_stream_user_data(side->stick->up->wire.session, r->id[UP], NULL);
	relay_drop_fields(r);
	r->next = side->stick->free;
	side->stick->free = r;
	return 0;
}

static struct side *side_new(struct stick *s, int which, int fd)
{
	struct side *side = must(calloc(1, sizeof(*side)));
	nghttp2_session *session;

	side->stick = s;
	side->which = which;
	if ((which == UP ? nghttp2_session_client_new2 : nghttp2_session_server_new2)(&session, s->callbacks, side, s->option) != 0)
		die("no session");
	wire_begin(&s->wires, &side->wire, fd, session, 1 << 20, 1 << 24);
	return side;
}

int main(int argc, char **argv)
{
	struct stick s = {.wires.epoll = epoll_create1(EPOLL_CLOEXEC)};
	struct epoll_event events[64];
	int provider, listener, fd;

	if (argc != 3)
		die("usage: floor SOCKET PORT");
	nghttp2_session_callbacks_new(&s.callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(s.callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback2(s.callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(s.callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(s.callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(s.callbacks, on_close);
	nghttp2_option_new(&s.option);
	nghttp2_option_set_no_closed_streams(s.option, 1);
	if ((provider = wire_dial_tcp(atoi(argv[2]))) < 0)
		die("no provider on port %s", argv[2]);
	s.up = side_new(&s, UP, provider);
	listener = wire_listen_unix(argv[1]);
	epoll_ctl(s.wires.epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listener});
	for (;;) {
		wire_sweep(&s.wires);
		int n = epoll_wait(s.wires.epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			struct side *side = events[i].data.ptr;

			if (events[i].data.ptr == &listener) {
				while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
					side_new(&s, DOWN, fd);
			} else if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !wire_read(&side->wire)) {
				if (side->which == UP)
					die("the provider is gone");
				wire_end(&s.wires, &side->wire);
				free(side);
			} else {
				wire_mark(&s.wires, &side->wire);
			}
		}
	}
}
