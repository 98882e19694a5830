/* tests/bench/dialer: the least that a health check on a connection of its own costs: connect, one write with all that HTTP/2 and grpc.health.v1.Health/Check need, reads until the stream
 * has ended, the acknowledgement of the peer's SETTINGS, close. The bytes are made once; nothing is decoded. What it takes beyond that is the kernel's TCP, of which loopback charges both
 * ends of a handshake to whoever connects.
 *
 *	dialer FIRST_PORT COUNT CHECKS      one JSON line: CPU a check
 */
#include "tests/bench/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SAID_MAX = 4096, BATCH = 10, PAUSE_NS = 50000000 };

struct said { uint8_t bytes[SAID_MAX]; size_t n; };

#define NV(name, value) \
	{(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE}

static ssize_t give_nothing(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user)
{
	(void)session, (void)id, (void)room, (void)source, (void)user;
	memset(to, 0, 5); /* an empty message */
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	return 5;
}

static void said_make(struct said *s)
{
	static const nghttp2_nv head[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":path", "/grpc.health.v1.Health/Check"), NV(":authority", "demo.default.svc.cluster.local:50051"),
		NV("content-type", "application/grpc"), NV("te", "trailers")};
	nghttp2_data_provider body = {.read_callback = give_nothing};
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	const uint8_t *frame;
	ssize_t n;

	nghttp2_session_callbacks_new(&callbacks);
	if (nghttp2_session_client_new(&session, callbacks, NULL) != 0)
		die("no session");
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
	nghttp2_submit_request(session, NULL, head, sizeof(head) / sizeof(*head), &body, NULL);
	while ((n = nghttp2_session_mem_send(session, &frame)) > 0) {
		if (s->n + (size_t)n > SAID_MAX)
			die("too long");
		memcpy(s->bytes + s->n, frame, (size_t)n);
		s->n += (size_t)n;
	}
	nghttp2_session_del(session);
	nghttp2_session_callbacks_del(callbacks);
}

/* True: the trailers have come. Frames that are cut by a read do not happen with answers of a hundred bytes; one would be a check without an end, and told. */
static bool has_ended(const uint8_t *in, size_t n)
{
	for (size_t at = 0; at + 9 <= n; at += 9 + (((size_t)in[at] << 16) | ((size_t)in[at + 1] << 8) | in[at + 2]))
		if (in[at + 3] == NGHTTP2_HEADERS && in[at + 4] & NGHTTP2_FLAG_END_STREAM)
			return true;
	return false;
}

/* Reads that are there; -1: nothing more will come. */
static int heard(int fd)
{
	static const uint8_t acknowledged[9] = {0, 0, 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK};
	uint8_t in[SAID_MAX];
	ssize_t n = recv(fd, in, sizeof(in), 0);

	if (n <= 0)
		return -1;
	if (n >= 9 && in[3] == NGHTTP2_SETTINGS && !(in[4] & NGHTTP2_FLAG_ACK) && send(fd, acknowledged, sizeof(acknowledged), MSG_NOSIGNAL) < 0)
		return -1;
	return has_ended(in, (size_t)n);
}

/* As many at once as the daemon begins at once. */
static void batch(const struct said *s, int epoll, const int *ports, int n)
{
	struct epoll_event events[BATCH];
	int left = n;

	for (int i = 0; i < n; i++) {
		int fd = wire_dial_tcp(ports[i]);

		if (fd < 0 || send(fd, s->bytes, s->n, MSG_NOSIGNAL) != (ssize_t)s->n)
			die("port %d: nobody there", ports[i]);
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
	}
	while (left > 0) {
		int ready = epoll_wait(epoll, events, BATCH, 5000);

		if (ready <= 0)
			die("no answer");
		for (int i = 0; i < ready; i++) {
			int r = heard(events[i].data.fd);

			if (r < 0)
				die("a connection was closed");
			if (r > 0) {
				close(events[i].data.fd);
				left--;
			}
		}
	}
}

int main(int argc, char **argv)
{
	int first = argc > 1 ? atoi(argv[1]) : 0, count = argc > 2 ? atoi(argv[2]) : 0, checks = argc > 3 ? atoi(argv[3]) : 0, epoll = epoll_create1(EPOLL_CLOEXEC);
	struct said s = {.n = 0};
	struct rusage used;

	if (first < 1 || count < 1 || checks < 1)
		die("usage: dialer FIRST_PORT COUNT CHECKS");
	said_make(&s);
	for (int done = 0; done < checks; done += BATCH) {
		int ports[BATCH];

		for (int i = 0; i < BATCH; i++)
			ports[i] = first + (done + i) % count;
		batch(&s, epoll, ports, BATCH);
		nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
	}
	getrusage(RUSAGE_SELF, &used);
	printf("{\"checks\": %d, \"us_a_check\": %.1f}\n", checks,
		((double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec)) / checks);
	return 0;
}
