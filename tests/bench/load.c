/* tests/bench/load: calls gRPC-shaped methods over a Unix socket (or loopback TCP) and tells, as one JSON line, how they ended and how long
 * each took.
 *
 *	load (-u SOCKET | -t PORT) [-c CONNECTIONS] [-m STREAMS] [-n CALLS] [-s BYTES] [-r RATE] [-k unary|chat|mixed] [-x MS] [-i] [-f FILE]
 *	     [-A AUTHORITY] [-p PATH] [-w SECONDS]
 *
 * Closed loop (no -r): CONNECTIONS x STREAMS calls are open at all times until CALLS have been begun. Open loop (-r): the calls have a plan,
 * a Poisson process of RATE calls a second from a fixed seed; a call's time runs from its planned moment, whether or not this program, its
 * connection or the other side was ready for it then. What waits for a free stream waits on the call's clock. (A generator that measures
 * from the send leaves out exactly the calls that suffered.)
 * -k chat: a bidirectional stream of CHAT_ROUNDS messages to the method `chat`, each sent when the echo of the one before has come;
 * -k mixed: every other call is one.
 * -x: the call goes to the method `hang` and is cancelled after MS; each tenth call is an ordinary one that must succeed.
 * -i: each call carries its number as `call-id`; -f: one line for each call that failed: number, status, begin and end (ns), text.
 *
 * Success is grpc-status 0 and every byte back. A connection that ends is counted (`closed`), its calls have failed, and another is opened.
 * Objects: struct load (all of it), struct conn (-c of them), struct call (-c x -m at most, recycled). */
#include "tests/bench/wire.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
	CHAT_ROUNDS = 3,
	HEADERS_MAX = 16,
	STATUSES = 17,
	LOST = -1,          /* the connection ended */
	RESET = -2,         /* the stream was reset, or ended without a grpc-status */
	SHORT = -3,         /* status 0, but not all bytes came back */
	RECONNECTS_MAX = 100000,
	SUB_BITS = 7,       /* histogram: 128 steps a power of two, better than 1 % */
	BUCKETS = 64 << SUB_BITS
};

struct call {
	struct conn *conn;
	int32_t id;
	uint32_t number;
	uint64_t begun_ns;          /* open loop: the planned moment */
	size_t sent, wanted, got;   /* bytes; wanted: what is to be sent by now */
	int status;
	uint8_t rounds, rounds_left; /* messages; left: that are to go yet, the present one included */
	bool deferred, hang, reset;
	char text[160];
	struct call *next;
};

struct conn {
	struct wire wire; /* first: epoll knows the wire */
	struct load *load;
	uint32_t open;
	uint64_t *waiting; /* open loop: planned moments of calls that no stream was free for; a ring of one slot a call */
	uint32_t waiting_at, waiting_n, waiting_cap;
};

struct cancel { struct conn *conn; int32_t id; uint64_t at_ns; };

struct load {
	/* what was asked for */
	const char *socket, *authority, *path, *hang_path, *chat_path;
	int port, conns, streams, wait_s;
	uint32_t calls, chat_every; /* each how manieth call is a chat; 0: none */
	size_t bytes;
	double rate;
	uint64_t cancel_ns;
	bool ids, tell_buckets;
	FILE *failures;
	nghttp2_nv head[HEADERS_MAX];
	size_t head_n, path_at, id_at;
	/* what is */
	struct wires wires;
	struct conn *conn;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	uint8_t *message; /* 5 bytes of prefix and the body; a chat sends it again and again */
	size_t message_n;
	struct call *free;
	struct cancel *cancels; /* in order of time: each waits equally long */
	uint32_t cancels_at, cancels_n;
	uint64_t seed, next_ns;
	/* what was */
	uint32_t begun, done, ok, closed, cancelled, reconnects, turn_conn;
	uint32_t by_status[STATUSES], lost, was_reset, was_short;
	uint64_t max_ns, sum_ns;
	uint32_t bucket[BUCKETS];
};

/* ---- how long: a log-linear histogram ---- */

static uint32_t bucket_of(uint64_t ns)
{
	int high = ns >> SUB_BITS ? 63 - __builtin_clzll(ns) - SUB_BITS : 0;

	return ((uint32_t)high << SUB_BITS) + (uint32_t)(ns >> high);
}

static double bucket_us(uint32_t b)
{
	uint32_t high = b >> SUB_BITS;

	if (high)
		high--;
	return (double)(((uint64_t)(b - (high << SUB_BITS)) << high) + ((1ull << high) / 2)) / 1000;
}

static double percentile_us(const struct load *l, double p)
{
	uint64_t seen = 0, all = 0;

	for (uint32_t b = 0; b < BUCKETS; b++)
		all += l->bucket[b];
	for (uint32_t b = 0; b < BUCKETS; b++) {
		seen += l->bucket[b];
		if (seen && (double)seen >= p * (double)all)
			return bucket_us(b);
	}
	return 0;
}

/* ---- one call ---- */

static void call_begin(struct load *l, struct conn *c, uint64_t planned_ns);

static ssize_t give_message(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct call *call = source->ptr;
	struct load *l = ((struct conn *)user)->load;
	size_t n = call->wanted - call->sent, at = call->sent % l->message_n;

	(void)session, (void)id;
	if (n == 0) {
		call->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > room)
		n = room;
	if (n > l->message_n - at)
		n = l->message_n - at;
	memcpy(to, l->message + at, n);
	call->sent += n;
	if (call->sent == call->wanted && call->rounds_left <= 1 && !call->hang)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void call_send(struct load *l, struct call *call)
{
	struct conn *c = call->conn;
	nghttp2_data_provider body = {.source.ptr = call, .read_callback = give_message};
	nghttp2_nv head[HEADERS_MAX];
	char number[16];

	memcpy(head, l->head, sizeof(head));
	if (call->hang || call->rounds > 1) {
		const char *path = call->hang ? l->hang_path : l->chat_path;

		head[l->path_at].value = (uint8_t *)(uintptr_t)path;
		head[l->path_at].valuelen = strlen(path);
	}
	if (l->ids) { /* copied by nghttp2: this text is gone soon */
		head[l->id_at].value = (uint8_t *)number;
		head[l->id_at].valuelen = (size_t)snprintf(number, sizeof(number), "%08u", call->number);
	}
	call->id = nghttp2_submit_request(c->wire.session, NULL, head, l->head_n, &body, call);
	if (call->id < 0)
		die("no stream: %s", nghttp2_strerror(call->id));
	wire_mark(&l->wires, &c->wire);
}

static void call_begin(struct load *l, struct conn *c, uint64_t planned_ns)
{
	struct call *call = l->free;

	if (call)
		l->free = call->next;
	else
		call = must(malloc(sizeof(*call)));
	*call = (struct call){.conn = c, .number = l->begun++, .begun_ns = planned_ns, .status = RESET, .rounds = 1};
	call->wanted = l->message_n;
	call->hang = l->cancel_ns && call->number % 10;
	if (!call->hang && l->chat_every && call->number % l->chat_every == 0)
		call->rounds = CHAT_ROUNDS;
	call->rounds_left = call->rounds;
	c->open++;
	call_send(l, call);
	if (call->hang)
		l->cancels[(l->cancels_at + l->cancels_n++) % l->calls] = (struct cancel){c, call->id, now_ns() + l->cancel_ns};
}

static void call_end(struct load *l, struct call *call)
{
	struct conn *c = call->conn;
	uint64_t now = now_ns(), took = now - call->begun_ns;

	if (call->status == 0 && call->got != l->message_n * call->rounds)
		call->status = SHORT;
	l->done++;
	c->open--;
	if (call->hang && call->reset) {
		l->cancelled++;
	} else if (call->status == 0) {
		l->ok++;
		l->bucket[bucket_of(took)]++;
		l->sum_ns += took;
		if (took > l->max_ns)
			l->max_ns = took;
	} else {
		if (call->status == LOST)
			l->lost++;
		else if (call->status == RESET)
			l->was_reset++;
		else if (call->status == SHORT)
			l->was_short++;
		else
			l->by_status[call->status < STATUSES ? call->status : 2]++;
		if (l->failures)
			fprintf(l->failures, "%u %d %llu %llu %s\n", call->number, call->status, (unsigned long long)call->begun_ns,
				(unsigned long long)now, call->text);
	}
	call->next = l->free;
	l->free = call;
}

/* A stream is free on c: whoever waited for it longest, or in the closed loop the next call. */
static void conn_refill(struct load *l, struct conn *c)
{
	while (c->open < (uint32_t)l->streams && !c->wire.broken) {
		if (l->rate > 0) {
			if (c->waiting_n == 0)
				return;
			uint64_t planned = c->waiting[c->waiting_at];

			c->waiting_at = (c->waiting_at + 1) % c->waiting_cap;
			c->waiting_n--;
			call_begin(l, c, planned);
		} else if (l->begun < l->calls) {
			call_begin(l, c, now_ns());
		} else {
			return;
		}
	}
}

/* ---- what nghttp2 tells ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value, size_t value_n,
	uint8_t flags, void *user)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags, (void)user;
	if (!call)
		return 0;
	if (name_n == 11 && memcmp(name, "grpc-status", 11) == 0)
		call->status = value_n ? atoi((const char *)value) : RESET; /* nghttp2 ends its values with a NUL */
	else if (name_n == 12 && memcmp(name, "grpc-message", 12) == 0)
		snprintf(call->text, sizeof(call->text), "%.*s", (int)value_n, (const char *)value);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *user)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, id);
	struct load *l = ((struct conn *)user)->load;

	(void)flags, (void)data;
	if (!call)
		return 0;
	call->got += n;
	if (call->got >= call->wanted && call->rounds_left > 1) {
		call->rounds_left--;
		call->wanted += l->message_n;
		if (call->deferred) {
			call->deferred = false;
			nghttp2_session_resume_data(session, id);
		}
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct conn *c = user;
	struct call *call = nghttp2_session_get_stream_user_data(session, id);

	if (!call)
		return 0;
	if (code != NGHTTP2_NO_ERROR && call->status >= 0 && !call->hang)
		call->status = call->status ? call->status : RESET;
	if (call->status == RESET && !call->text[0])
		snprintf(call->text, sizeof(call->text), "stream ended by %s", nghttp2_http2_strerror(code));
	call_end(c->load, call);
	return 0;
}

/* ---- connections ---- */

static void conn_open(struct load *l, struct conn *c)
{
	nghttp2_session *session;
	int fd = -1;

	for (int tries = 0; fd < 0; tries++) {
		fd = l->socket ? wire_dial_unix(l->socket) : wire_dial_tcp(l->port);
		if (fd < 0 && tries >= 1000)
			die("nobody listens on %s%d: %s", l->socket ? l->socket : "port ", l->port, strerror(errno));
		if (fd < 0)
			usleep(1000);
	}
	if (nghttp2_session_client_new2(&session, l->callbacks, c, l->option) != 0)
		die("no session");
	wire_begin(&l->wires, &c->wire, fd, session, 1 << 20, 1 << 24);
}

/* Its calls end with it, as lost; the streams of a deleted session are not told one by one. */
static void conn_lost(struct load *l, struct conn *c, struct call **all, uint32_t n)
{
	l->closed++;
	if (++l->reconnects > RECONNECTS_MAX)
		die("connections are closed without end");
	for (uint32_t i = 0; i < n; i++) {
		all[i]->status = all[i]->hang && all[i]->reset ? RESET : LOST;
		snprintf(all[i]->text, sizeof(all[i]->text), "the connection was closed");
		call_end(l, all[i]);
	}
	for (uint32_t i = 0; i < l->cancels_n; i++)
		if (l->cancels[(l->cancels_at + i) % l->calls].conn == c)
			l->cancels[(l->cancels_at + i) % l->calls].id = 0;
	wire_end(&l->wires, &c->wire);
	conn_open(l, c);
	conn_refill(l, c);
}

static void conn_check(struct load *l, struct conn *c, bool gone)
{
	struct call **all;
	uint32_t n = 0;

	if (!gone && !c->wire.broken && nghttp2_session_check_request_allowed(c->wire.session)) {
		conn_refill(l, c);
		return;
	}
	if (!gone && !c->wire.broken && c->open) /* a GOAWAY: what is open may end */
		return;
	all = must(calloc(c->open + 1, sizeof(*all)));
	for (int32_t id = 1; n < c->open && id > 0 && (uint32_t)id < nghttp2_session_get_next_stream_id(c->wire.session); id += 2) {
		struct call *call = nghttp2_session_get_stream_user_data(c->wire.session, id);

		if (call)
			all[n++] = call;
	}
	conn_lost(l, c, all, n);
	free(all);
}

/* ---- the plan ---- */

static double random_unit(struct load *l) /* splitmix64: (0, 1] */
{
	uint64_t z = l->seed += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return ((double)((z ^ (z >> 31)) >> 11) + 1) / 9007199254740992.0;
}

static void plan_go(struct load *l)
{
	uint32_t planned = l->begun;

	for (int i = 0; i < l->conns; i++)
		planned += l->conn[i].waiting_n;
	while (planned < l->calls && l->next_ns <= now_ns()) {
		struct conn *c = &l->conn[l->turn_conn++ % (uint32_t)l->conns];

		c->waiting[(c->waiting_at + c->waiting_n++) % c->waiting_cap] = l->next_ns;
		planned++;
		conn_refill(l, c);
		l->next_ns += (uint64_t)(-log(random_unit(l)) / l->rate * 1e9);
	}
	if (planned == l->calls)
		l->next_ns = UINT64_MAX;
}

static void cancels_go(struct load *l)
{
	uint64_t now = l->cancels_n ? now_ns() : 0;

	while (l->cancels_n && l->cancels[l->cancels_at].at_ns <= now) {
		struct cancel *k = &l->cancels[l->cancels_at];
		struct call *call = k->id ? nghttp2_session_get_stream_user_data(k->conn->wire.session, k->id) : NULL;

		if (call) {
			call->reset = true;
			nghttp2_submit_rst_stream(k->conn->wire.session, NGHTTP2_FLAG_NONE, k->id, NGHTTP2_CANCEL);
			wire_mark(&l->wires, &k->conn->wire);
		}
		l->cancels_at = (l->cancels_at + 1) % l->calls;
		l->cancels_n--;
	}
}

static int turn_wait(struct load *l, struct epoll_event *events, int max)
{
	uint64_t next = l->rate > 0 ? l->next_ns : UINT64_MAX, now;

	if (l->cancels_n && l->cancels[l->cancels_at].at_ns < next)
		next = l->cancels[l->cancels_at].at_ns;
	if (next == UINT64_MAX)
		return epoll_wait(l->wires.epoll, events, max, l->wait_s * 1000);
	now = now_ns();
	next = next > now ? next - now : 0;
	return epoll_pwait2(l->wires.epoll, events, max, &(struct timespec){(time_t)(next / 1000000000u), (long)(next % 1000000000u)}, NULL);
}

static void load_run(struct load *l)
{
	struct epoll_event events[256];
	uint64_t moved_ns = now_ns();
	uint32_t done = 0;

	l->next_ns = moved_ns;
	for (int i = 0; i < l->conns; i++)
		conn_open(l, &l->conn[i]);
	for (int i = 0; i < l->conns; i++)
		conn_refill(l, &l->conn[i]);
	while (l->done < l->calls) {
		if (l->rate > 0)
			plan_go(l);
		cancels_go(l);
		wire_sweep(&l->wires);
		if (l->done == l->calls) /* a reset ends its call once it is written */
			return;
		int n = turn_wait(l, events, 256);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			conn_check(l, c, (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !wire_read(&c->wire));
			wire_mark(&l->wires, &c->wire);
		}
		if (l->done != done) {
			done = l->done;
			moved_ns = now_ns();
		} else if (now_ns() - moved_ns > (uint64_t)l->wait_s * 1000000000u) { /* a stall is a result too */
			for (int i = 0; i < l->conns; i++)
				l->lost += l->conn[i].open;
			fprintf(stderr, "load: no call has ended for %d s, %u of %u are done\n", l->wait_s, l->done, l->calls);
			return;
		}
	}
}

/* ---- the beginning and the end ---- */

static void head_add(struct load *l, const char *name, const char *value)
{
	if (l->head_n == HEADERS_MAX)
		die("too many headers");
	l->head[l->head_n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void head_build(struct load *l)
{
	head_add(l, ":method", "POST");
	head_add(l, ":scheme", "http");
	l->path_at = l->head_n;
	head_add(l, ":path", l->path);
	head_add(l, ":authority", l->authority);
	head_add(l, "user-agent", "thinmesh-bench");
	head_add(l, "content-type", "application/grpc+proto");
	head_add(l, "te", "trailers");
	head_add(l, "tri-consumer-appname", "thinmesh-bench-consumer");
	head_add(l, "grpc-accept-encoding", "gzip");
	if (l->ids) {
		l->id_at = l->head_n;
		head_add(l, "call-id", "");
		l->head[l->id_at].flags = NGHTTP2_NV_FLAG_NO_INDEX;
	}
}

static void load_build(struct load *l)
{
	if (!l->socket == !l->port || l->conns < 1 || l->streams < 1 || l->calls < 1)
		die("usage: load (-u SOCKET | -t PORT) [-c CONNECTIONS] [-m STREAMS] [-n CALLS] [-s BYTES] [-r RATE] [-k unary|chat|mixed] [-x MS] [-i] "
		    "[-f FILE] [-A AUTHORITY] [-p PATH] [-w SECONDS] [-b]");
	l->message_n = l->bytes + 5;
	l->message = must(malloc(l->message_n));
	memset(l->message, 'x', l->message_n);
	l->message[0] = 0;
	for (int i = 0; i < 4; i++)
		l->message[1 + i] = (uint8_t)(l->bytes >> (24 - 8 * i));
	l->conn = must(calloc((size_t)l->conns, sizeof(*l->conn)));
	l->cancels = l->cancel_ns ? must(calloc(l->calls, sizeof(*l->cancels))) : NULL;
	for (int i = 0; i < l->conns; i++) {
		l->conn[i].load = l;
		l->conn[i].waiting_cap = l->rate > 0 ? l->calls : 1;
		l->conn[i].waiting = must(calloc(l->conn[i].waiting_cap, sizeof(uint64_t)));
	}
	nghttp2_option_new(&l->option);
	nghttp2_option_set_peer_max_concurrent_streams(l->option, 1000);
	nghttp2_session_callbacks_new(&l->callbacks);
	nghttp2_session_callbacks_set_on_header_callback(l->callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(l->callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(l->callbacks, on_close);
	l->wires.epoll = epoll_create1(EPOLL_CLOEXEC);
	prctl(PR_SET_TIMERSLACK, 1);
}

static void load_tell(const struct load *l, double seconds)
{
	printf("{\"calls\": %u, \"ok\": %u, \"cancelled\": %u, \"closed\": %u, \"lost\": %u, \"reset\": %u, \"short\": %u, \"status\": {", l->calls, l->ok,
		l->cancelled, l->closed, l->lost, l->was_reset, l->was_short);
	for (int i = 0, n = 0; i < STATUSES; i++)
		if (l->by_status[i])
			printf("%s\"%d\": %u", n++ ? ", " : "", i, l->by_status[i]);
	printf("}, \"seconds\": %.3f, \"rate\": %.0f, \"mean_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f",
		seconds, l->done / seconds, l->ok ? (double)l->sum_ns / l->ok / 1000 : 0, percentile_us(l, 0.5), percentile_us(l, 0.9),
		percentile_us(l, 0.99), percentile_us(l, 0.999), (double)l->max_ns / 1000);
	if (l->tell_buckets) { /* for who puts several runs together */
		printf(", \"buckets\": [");
		for (uint32_t b = 0, n = 0; b < BUCKETS; b++)
			if (l->bucket[b])
				printf("%s[%.3f, %u]", n++ ? ", " : "", bucket_us(b), l->bucket[b]);
		printf("]");
	}
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct load *l = must(calloc(1, sizeof(*l)));
	uint64_t begun;
	int o;

	*l = (struct load){.authority = "demo.default.svc.cluster.local:50051", .path = "/org.apache.dubbo.demo.GreeterService/sayHello",
		.hang_path = "/org.apache.dubbo.demo.GreeterService/hang", .chat_path = "/org.apache.dubbo.demo.GreeterService/chat", .conns = 1, .streams = 1, .calls = 1000, .bytes = 100, .seed = 1, .wait_s = 10};
	while ((o = getopt(argc, argv, "u:t:c:m:n:s:r:k:x:if:A:p:w:b")) != -1) {
		switch (o) {
		case 'u': l->socket = optarg; break;
		case 't': l->port = atoi(optarg); break;
		case 'c': l->conns = atoi(optarg); break;
		case 'm': l->streams = atoi(optarg); break;
		case 'n': l->calls = (uint32_t)atoi(optarg); break;
		case 's': l->bytes = (size_t)atol(optarg); break;
		case 'r': l->rate = atof(optarg); break;
		case 'k': l->chat_every = strcmp(optarg, "chat") == 0 ? 1 : strcmp(optarg, "mixed") == 0 ? 2 : 0; break;
		case 'x': l->cancel_ns = (uint64_t)(atof(optarg) * 1e6); break;
		case 'i': l->ids = true; break;
		case 'f': l->failures = must(fopen(optarg, "w")); break;
		case 'A': l->authority = optarg; break;
		case 'p': l->path = optarg; break;
		case 'w': l->wait_s = atoi(optarg); break;
		case 'b': l->tell_buckets = true; break;
		default: return 2;
		}
	}
	load_build(l);
	head_build(l);
	begun = now_ns();
	load_run(l);
	load_tell(l, (double)(now_ns() - begun) / 1e9);
	if (l->failures)
		fclose(l->failures);
	return 0;
}
