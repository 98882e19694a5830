/* tests/bench/backend: the provider of the benchmarks: HTTP/2 on loopback ports, one thread. The request comes back once it has ended,
 * with grpc-status 0 in the trailers. A path that ends in /hang is never answered. grpc.health.v1.Health/Check is answered SERVING.
 *
 *	backend [-j FILE] [-T CERT,KEY,ROOTS] [-t TICKETS] [-1] FIRST_PORT [COUNT]
 *
 * -j: the moment of each health check (ns, CLOCK_MONOTONIC) is a line of FILE.
 * -T: TLS, and callers must show a certificate; the files are read again at SIGHUP, for connections that come later. -t: tickets of a handshake (2); 0: no resumption.
 * -1: each connection carries one call, and ends with a GOAWAY once its answer was heard.
 */
#include "tests/bench/wire_tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct call {
	uint8_t *body;
	size_t n, cap, sent;
	bool hang, check;
	struct call *next; /* of the free ones, which keep their body's memory */
};

struct backend {
	struct wires wires;
	struct call *free;
	nghttp2_session_callbacks *callbacks;
	FILE *journal; /* of health checks; NULL */
	char *files[3]; /* certificate, key, roots */
	int tickets;
	SSL_CTX *tls;  /* NULL: plain */
	int hups;      /* signalfd */
	bool once;
};

struct client {
	struct wire wire; /* first: epoll knows the wire */
	struct backend *backend;
};

#define NV(name, value) \
	{(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct backend *b = ((struct client *)user)->backend;
	struct call *call = b->free;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (call)
		b->free = call->next;
	else
		call = must(calloc(1, sizeof(*call)));
	call->n = call->sent = 0;
	call->hang = call->check = false;
	nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
	return 0;
}

static bool ends_with(const uint8_t *value, size_t n, const char *end)
{
	size_t m = strlen(end);

	return n >= m && memcmp(value + n - m, end, m) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value, size_t value_n,
	uint8_t flags, void *user)
{
	struct call *call;

	(void)flags, (void)user;
	if (name_n != 5 || memcmp(name, ":path", 5) != 0 || !(call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)))
		return 0;
	call->hang = ends_with(value, value_n, "/hang");
	call->check = ends_with(value, value_n, "/grpc.health.v1.Health/Check");
	return 0;
}

static void body_add(struct call *call, const uint8_t *data, size_t n)
{
	if (call->n + n > call->cap)
		call->body = must(realloc(call->body, call->cap = (call->n + n) * 2));
	memcpy(call->body + call->n, data, n);
	call->n += n;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, id);

	(void)flags, (void)user;
	if (call)
		body_add(call, data, n);
	return 0;
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user)
{
	static const nghttp2_nv trailers[] = {NV("grpc-status", "0")};
	struct call *call = source->ptr;
	size_t n = call->n - call->sent;

	(void)user;
	if (n > room)
		n = room;
	memcpy(to, call->body + call->sent, n);
	call->sent += n;
	if (call->sent == call->n) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		nghttp2_submit_trailer(session, id, trailers, 1);
	}
	return (ssize_t)n;
}

/* What was asked is of no interest: all of this provider is well. */
static void check_answer(struct backend *b, struct call *call)
{
	static const uint8_t serving[] = {0, 0, 0, 0, 2, 8, 1};

	call->n = 0;
	body_add(call, serving, sizeof(serving));
	if (b->journal)
		fprintf(b->journal, "%llu\n", (unsigned long long)now_ns());
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	static const nghttp2_nv head[] = {NV(":status", "200"), NV("content-type", "application/grpc+proto")};
	struct call *call;

	if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) && ((struct client *)user)->backend->once) /* by now the answer has been heard */
		nghttp2_session_terminate_session(session, NGHTTP2_NO_ERROR);
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (call && call->check)
		check_answer(((struct client *)user)->backend, call);
	if (call && !call->hang) {
		nghttp2_data_provider body = {.source.ptr = call, .read_callback = give_body};

		nghttp2_submit_response(session, frame->hd.stream_id, head, 2, &body);
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct backend *b = ((struct client *)user)->backend;
	struct call *call = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	if (b->once)
		nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	if (call) {
		call->next = b->free;
		b->free = call;
	}
	return 0;
}

static void accept_all(struct backend *b, int listener)
{
	nghttp2_option *option;
	int fd;

	nghttp2_option_new(&option);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_stream_reset_rate_limit(option, 1000000, 1000000); /* its default ends a connection at 33 cancelled calls a second */
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *client = must(calloc(1, sizeof(*client)));
		nghttp2_session *session;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		client->backend = b;
		if (nghttp2_session_server_new2(&session, b->callbacks, client, option) != 0)
			die("no session");
		if (b->tls)
			tls_wire(b->tls, &client->wire, fd);
		wire_begin(&b->wires, &client->wire, fd, session, 1 << 20, 1 << 24);
		client->wire.lingers = b->once;
		if (b->once) /* a second call would be lost to the end after the first */
			nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1}, 1);
	}
	nghttp2_option_del(option);
}

static void read_files(struct backend *b)
{
	if (b->tls)
		SSL_CTX_free(b->tls);
	b->tls = tls_serve(b->files[0], b->files[1], b->files[2], b->tickets);
}

static void serve_tls(struct backend *b)
{
	sigset_t hup;

	read_files(b);
	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	sigprocmask(SIG_BLOCK, &hup, NULL);
	b->hups = signalfd(-1, &hup, SFD_NONBLOCK | SFD_CLOEXEC);
	epoll_ctl(b->wires.epoll, EPOLL_CTL_ADD, b->hups, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &b->hups});
}

static void hear_hup(struct backend *b)
{
	struct signalfd_siginfo said;

	while (read(b->hups, &said, sizeof(said)) > 0)
		read_files(b);
}

int main(int argc, char **argv)
{
	struct backend b = {.wires.epoll = epoll_create1(EPOLL_CLOEXEC), .tickets = 2};
	struct epoll_event events[256];
	int option;

	signal(SIGPIPE, SIG_IGN);
	while ((option = getopt(argc, argv, "j:T:t:1")) > 0 && option != '?')
		if (option == 'j')
			b.journal = must(fopen(optarg, "w"));
		else if (option == 't')
			b.tickets = atoi(optarg);
		else if (option == '1')
			b.once = true;
		else
			for (int i = 0; i < 3; i++)
				b.files[i] = strtok(i ? NULL : optarg, ",");
	int first = argc > optind ? atoi(argv[optind]) : 0, count = argc > optind + 1 ? atoi(argv[optind + 1]) : 1;

	if (option != -1 || first < 1 || count < 1 || first + count > 65536)
		die("usage: backend [-j FILE] [-T CERT,KEY,ROOTS] [-t TICKETS] [-1] FIRST_PORT [COUNT]");
	if (b.files[2])
		serve_tls(&b);
	int *listeners = must(calloc((size_t)count, sizeof(int)));

	nghttp2_session_callbacks_new(&b.callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(b.callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(b.callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(b.callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(b.callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(b.callbacks, on_close);
	for (int i = 0; i < count; i++) {
		listeners[i] = wire_listen_tcp(first + i);
		epoll_ctl(b.wires.epoll, EPOLL_CTL_ADD, listeners[i], &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listeners[i]});
	}
	for (;;) {
		int n = epoll_wait(b.wires.epoll, events, 256, -1);

		for (int i = 0; i < n; i++) {
			int *listener = events[i].data.ptr;
			struct client *client = events[i].data.ptr;

			if (listener >= listeners && listener < listeners + count) {
				accept_all(&b, *listener);
			} else if (listener == &b.hups) {
				hear_hup(&b);
			} else if (((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !wire_read(&client->wire)) || client->wire.broken) {
				wire_end(&b.wires, &client->wire);
				free(client);
			} else {
				wire_mark(&b.wires, &client->wire);
			}
		}
		wire_sweep(&b.wires);
		if (b.journal)
			fflush(b.journal);
	}
}
