/* tests/sim/simnet: see simnet.h.
 *
 *   sim_conn: two ends, each with the queue of what it has not read: segments that arrive at their time; the last may be a mark (end of
 *   stream or error). Freed by the morgue once both ends are closed and no event points to it (refs).
 *   sim_source: what can be ready (an end or a listener). It is `active` while it may be; a wait looks only at the active ones, and takes
 *   those that are not ready out. Readiness is level-triggered as with the kernel.
 *   sim_event: something at a time (a connect arrives, a connect is answered, bytes arrive), in a heap ordered by time, then by number. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/timer.h"
#include "tests/sim/simnet.h"
#include "tests/sim/simnet_proc.h"

enum { TURNS_AT_ONE_INSTANT = 200000 };

struct segment { struct list node; uint64_t at_ns; size_t n, off; int mark; char bytes[]; }; /* n 0: the mark */
struct sim_source { struct list node; bool active, is_listener; };

struct sim_end {
	struct sim_source source;
	struct sock s;
	struct sim_conn *conn;
	struct list in;          /* segments */
	size_t queued;           /* their bytes, unread */
	struct list pending;     /* node in the listener's queue until accepted */
	struct sim_listen *owner; /* that listener */
	int connect_result, fail_next;
	bool closed, connecting, answered, raw, stalled, marked;
};
struct sim_conn { struct list node; struct simnet *net; uint64_t id; struct addr to; struct sim_end end[2]; int refs; struct grave grave; };
struct sim_listen { struct sim_source source; struct sock_listen l; struct list node, pending; int backlog, waiting; struct grave grave; struct simnet *net; };
struct sim_rule { struct list node; struct addr to; int outcome; };
enum sim_kind { KIND_CONNECT = 1, KIND_ANSWER, KIND_ARRIVE, KIND_RECV, KIND_WRITE, KIND_CLOSE, KIND_CUT, KIND_ACCEPT, KIND_NOTE };
struct sim_event { uint64_t at_ns, number; enum sim_kind kind; struct sim_end *end; };

struct simnet {
	struct loop *loop;
	struct simnet_knobs knobs;
	uint64_t now_ns, frozen_ns, trace, chance[2], conn_ids, event_numbers;
	uint16_t next_port;
	struct list conns, listens, rules, active;
	struct sim_event *heap;
	size_t heap_n, heap_cap;
	struct sim_source **ready;
	size_t ready_cap;
	void (*after_turn)(void *ctx);
	void *after_turn_ctx;
	int open;
	struct sim_procs procs;
};

struct sim_procs *simnet_procs(struct simnet *n)
{
	return &n->procs;
}

/* ---- chance and trace -------------------------------------------------------------------------------------------------------- */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t simnet_random(struct simnet *n)
{
	return splitmix(&n->chance[0]);
}

static bool chance(struct simnet *n, uint32_t part, uint32_t of)
{
	return part && simnet_random(n) % of < part;
}

static void mix(struct simnet *n, uint64_t word)
{
	n->trace = (n->trace ^ word) * UINT64_C(0x9fb21c651e98df25);
	n->trace ^= n->trace >> 32;
}

static void trace(struct simnet *n, enum sim_kind kind, const struct sim_end *e, int64_t what)
{
	mix(n, n->now_ns);
	mix(n, (uint64_t)kind << 56 | (e ? e->conn->id << 1 | (e == &e->conn->end[1]) : 0));
	mix(n, (uint64_t)what);
}

static void trace_bytes(struct simnet *n, const char *p, size_t len)
{
	for (; len > 0;) {
		uint64_t word = 0;
		size_t take = len < 8 ? len : 8;
		memcpy(&word, p, take);
		mix(n, word);
		p += take;
		len -= take;
	}
}

void simnet_note(struct simnet *n, uint64_t what)
{
	trace(n, KIND_NOTE, NULL, (int64_t)what);
}

uint64_t simnet_trace(const struct simnet *n)
{
	return n->trace;
}

/* ---- small things ------------------------------------------------------------------------------------------------------------- */

static struct sim_end *end_of(struct sock *s)
{
	return container_of(s, struct sim_end, s);
}

static struct sim_end *other_of(struct sim_end *e)
{
	return &e->conn->end[e == &e->conn->end[0]];
}

static void activate(struct simnet *n, struct sim_source *s)
{
	if (s->active)
		return;
	s->active = true;
	list_push(&n->active, &s->node);
}

static void deactivate(struct sim_source *s)
{
	if (!s->active)
		return;
	s->active = false;
	list_del(&s->node);
}

static void drop_segments(struct sim_end *e)
{
	for (struct list *at; (at = list_pop(&e->in));)
		free(list_entry(at, struct segment, node));
	e->queued = 0;
}

static void conn_free(struct sim_conn *c)
{
	drop_segments(&c->end[0]);
	drop_segments(&c->end[1]);
	list_del(&c->node);
	free(c);
}

static void conn_bury(struct grave *g)
{
	conn_free(container_of(g, struct sim_conn, grave));
}

static void conn_unref(struct sim_conn *c)
{
	if (--c->refs == 0)
		loop_bury(c->net->loop, &c->grave, conn_bury);
}

/* ---- events in time ------------------------------------------------------------------------------------------------------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void event_add(struct simnet *n, uint64_t at_ns, enum sim_kind kind, struct sim_end *e)
{
	struct sim_event made = {at_ns, n->event_numbers++, kind, e};
	size_t i = n->heap_n++;

	if (n->heap_n > n->heap_cap) {
		n->heap_cap = n->heap_cap ? n->heap_cap * 2 : 64;
		n->heap = xrealloc(n->heap, n->heap_cap * sizeof(*n->heap));
	}
	for (; i > 0 && before(&made, &n->heap[(i - 1) / 2]); i = (i - 1) / 2)
		n->heap[i] = n->heap[(i - 1) / 2];
	n->heap[i] = made;
	e->conn->refs++;
}

static struct sim_event event_take(struct simnet *n)
{
	struct sim_event first = n->heap[0], last = n->heap[--n->heap_n];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < n->heap_n; i = child) {
		if (child + 1 < n->heap_n && before(&n->heap[child + 1], &n->heap[child]))
			child++;
		if (!before(&n->heap[child], &last))
			break;
		n->heap[i] = n->heap[child];
	}
	n->heap[i] = last;
	return first;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------------------ */

static void push_segment(struct sim_end *to, struct segment *seg)
{
	struct simnet *n = to->conn->net;

	seg->at_ns = n->now_ns + n->knobs.latency_ns;
	/* A latency that was lowered meanwhile must not let bytes overtake. */
	if (!list_empty(&to->in) && list_entry(to->in.prev, struct segment, node)->at_ns > seg->at_ns)
		seg->at_ns = list_entry(to->in.prev, struct segment, node)->at_ns;
	list_push(&to->in, &seg->node);
	to->queued += seg->n;
	if (seg->at_ns <= n->now_ns)
		activate(n, &to->source);
	else
		event_add(n, seg->at_ns, KIND_ARRIVE, to);
}

static void push_mark(struct sim_end *to, int err)
{
	if (to->closed || to->marked)
		return;
	struct segment *seg = xalloc(sizeof(*seg));
	seg->mark = err;
	to->marked = true;
	push_segment(to, seg);
}

static struct segment *arrived(const struct sim_end *e)
{
	if (list_empty(&e->in))
		return NULL;
	struct segment *seg = list_entry(e->in.next, struct segment, node);
	return seg->at_ns <= e->conn->net->now_ns ? seg : NULL;
}

/* Chance before each recv and writev: a negative errno, or 0. */
static int trouble(struct simnet *n, struct sim_end *e)
{
	int err = e->fail_next;

	e->fail_next = 0;
	if (err)
		return err;
	if (e->raw)
		return 0;
	if (chance(n, n->knobs.cut_ppm, 1000000)) {
		simnet_cut(&e->s, -ECONNRESET);
		return -ECONNRESET;
	}
	return chance(n, n->knobs.again_percent, 100) ? -EAGAIN : 0;
}

static size_t a_part(struct simnet *n, const struct sim_end *e, size_t all)
{
	if (all < 2 || e->raw || !chance(n, n->knobs.short_percent, 100))
		return all;
	return 1 + simnet_random(n) % (all - 1);
}

static ssize_t sim_recv(struct sock *s, void *buf, size_t cap)
{
	struct sim_end *e = end_of(s);
	struct simnet *n = e->conn->net;
	size_t got = 0;

	if (e->closed)
		return -EBADF;
	if (!arrived(e))
		return -EAGAIN;
	int err = trouble(n, e);
	if (err)
		return err;
	cap = a_part(n, e, cap);
	for (struct segment *seg; got < cap && (seg = arrived(e)) && seg->n;) {
		size_t take = seg->n - seg->off < cap - got ? seg->n - seg->off : cap - got;
		memcpy((char *)buf + got, seg->bytes + seg->off, take);
		got += take;
		seg->off += take;
		if (seg->off == seg->n) {
			list_del(&seg->node);
			free(seg);
		}
	}
	e->queued -= got;
	if (got && !other_of(e)->closed)
		activate(n, &other_of(e)->source);
	trace(n, KIND_RECV, e, (int64_t)got);
	trace_bytes(n, buf, got);
	return got || cap == 0 ? (ssize_t)got : arrived(e)->mark;
}

static ssize_t sim_writev(struct sock *s, const struct iovec *iov, int iov_n)
{
	struct sim_end *e = end_of(s), *to = other_of(e);
	struct simnet *n = e->conn->net;
	size_t all = 0;

	if (e->closed)
		return -EBADF;
	int err = e->connecting ? -EAGAIN : trouble(n, e);
	if (err)
		return err;
	if (to->closed || to->marked)
		return -EPIPE;
	for (int i = 0; i < iov_n; i++)
		all += iov[i].iov_len;
	if (all == 0)
		return 0;
	size_t room = to->queued < n->knobs.capacity ? n->knobs.capacity - to->queued : 0;
	if (room == 0)
		return -EAGAIN;
	size_t take = a_part(n, e, all < room ? all : room), put = 0;
	struct segment *seg = xalloc(sizeof(*seg) + take);
	for (int i = 0; put < take; i++) {
		size_t part = iov[i].iov_len < take - put ? iov[i].iov_len : take - put;
		if (part)
			memcpy(seg->bytes + put, iov[i].iov_base, part);
		put += part;
	}
	seg->n = take;
	trace(n, KIND_WRITE, e, (int64_t)take);
	push_segment(to, seg);
	return (ssize_t)take;
}

static void sim_want(struct sock *s, bool read, bool write)
{
	struct sim_end *e = end_of(s);

	s->want_read = read;
	s->want_write = write;
	if (!e->closed)
		activate(e->conn->net, &e->source);
}

/* As Unix sockets do it: who closes with bytes unread tells the peer ECONNRESET, after what is on its way. */
static void sim_close(struct sock *s)
{
	struct sim_end *e = end_of(s), *peer = other_of(e);
	struct simnet *n = e->conn->net;

	if (e->closed)
		return;
	trace(n, KIND_CLOSE, e, 0);
	e->closed = true;
	n->open--;
	deactivate(&e->source);
	if (!peer->closed) {
		push_mark(peer, e->queued ? -ECONNRESET : 0);
		activate(n, &peer->source);
	}
	drop_segments(e);
	conn_unref(e->conn);
}

static const struct sock_ops sim_sock_ops = {.recv = sim_recv, .writev = sim_writev, .want = sim_want, .close = sim_close};

/* ---- connecting --------------------------------------------------------------------------------------------------------------------- */

static void end_init(struct sim_conn *c, int which, const struct addr *peer)
{
	struct sim_end *e = &c->end[which];

	e->s.ops = &sim_sock_ops;
	e->s.loop = c->net->loop;
	e->s.fd = -1;
	e->s.peer = *peer;
	e->closed = false;
	c->refs++;
	c->net->open++;
}

static struct sim_conn *conn_new(struct simnet *n, const struct addr *to)
{
	struct sim_conn *c = xnew(struct sim_conn);

	c->net = n;
	c->id = ++n->conn_ids;
	c->to = *to;
	list_push(&n->conns, &c->node);
	for (int i = 0; i < 2; i++) {
		c->end[i].conn = c;
		c->end[i].closed = true; /* until it is there */
		list_init(&c->end[i].in);
	}
	end_init(c, 0, to);
	return c;
}

static struct sim_listen *listen_find(const struct simnet *n, const struct addr *at)
{
	list_each(pos, next, &n->listens) {
		struct sim_listen *k = list_entry(pos, struct sim_listen, node);
		if (addr_eq(&k->l.at, at))
			return k;
	}
	return NULL;
}

static int rule_for(const struct simnet *n, const struct addr *to)
{
	list_each(pos, next, &n->rules) {
		struct sim_rule *r = list_entry(pos, struct sim_rule, node);
		if (addr_eq(&r->to, to))
			return r->outcome;
	}
	return SIMNET_NORMAL;
}

void simnet_on_connect(struct simnet *n, const struct addr *to, int outcome)
{
	list_each(pos, next, &n->rules) {
		struct sim_rule *r = list_entry(pos, struct sim_rule, node);
		if (addr_eq(&r->to, to)) {
			r->outcome = outcome;
			return;
		}
	}
	struct sim_rule *r = xnew(struct sim_rule);
	r->to = *to;
	r->outcome = outcome;
	list_push(&n->rules, &r->node);
}

/* The connection meets its listener: 0, SIMNET_HANG or what the client is told. */
static int meet(struct simnet *n, struct sim_conn *c)
{
	struct sim_listen *k = listen_find(n, &c->to);
	int backlog, outcome = rule_for(n, &c->to);

	if (outcome != SIMNET_NORMAL)
		return outcome;
	if (!k)
		return addr_is_unix(&c->to) ? -ENOENT : -ECONNREFUSED;
	if (!c->end[0].raw && chance(n, n->knobs.refuse_ppm, 1000000))
		return -ECONNREFUSED;
	backlog = n->knobs.backlog ? (int)n->knobs.backlog : k->backlog;
	if (k->waiting >= backlog)
		return addr_is_unix(&c->to) ? -EAGAIN : SIMNET_HANG;
	struct addr from = {0};
	if (addr_is_unix(&c->to)) {
		from.sa.sa_family = AF_UNIX;
		from.len = sizeof(sa_family_t);
	} else {
		addr_ip(addr_is_v6(&c->to) ? STR("::1") : STR("127.0.0.1"), (uint16_t)(32768 + c->id % 28000), &from);
	}
	end_init(c, 1, &from);
	if (addr_is_unix(&c->to))
		c->end[1].s.cred = n->knobs.cred;
	c->end[1].owner = k;
	list_push(&k->pending, &c->end[1].pending);
	k->waiting++;
	if (c->end[0].closed)
		push_mark(&c->end[1], 0); /* gave up on its way */
	activate(n, &k->source);
	return 0;
}

static int sim_connect(void *ctx, struct loop *l, const struct addr *to, struct sock **ret)
{
	struct simnet *n = ctx;
	struct sim_conn *c = conn_new(n, to);

	(void)l;
	c->end[0].connecting = true;
	event_add(n, n->now_ns + n->knobs.latency_ns, KIND_CONNECT, &c->end[0]);
	*ret = &c->end[0].s;
	return 0;
}

static void raw_silence(void *user)
{
	(void)user;
}

static void raw_connected(void *user, int err)
{
	(void)user, (void)err;
}

struct sock *simnet_connect(struct simnet *n, const struct addr *to)
{
	static const struct sock_events none = {.connected = raw_connected, .readable = raw_silence, .writable = raw_silence};
	struct sim_conn *c = conn_new(n, to);
	struct sock *s = &c->end[0].s;

	c->end[0].raw = true;
	sock_set(s, &none, NULL);
	int r = meet(n, c);
	trace(n, KIND_CONNECT, &c->end[0], r);
	if (r != 0)
		sock_close(&s);
	return s;
}

struct addr simnet_addr(const char *text)
{
	struct addr a;
	int r = addr_parse(str_of(text), &a);

	if (r < 0) {
		fprintf(stderr, "simnet: bad address '%s': %s\n", text, err_text(r));
		abort();
	}
	return a;
}

/* ---- listening ------------------------------------------------------------------------------------------------------------------------ */

static void listen_resume(struct sock_listen *l)
{
	struct sim_listen *k = container_of(l, struct sim_listen, l);

	activate(k->net, &k->source);
}

static void listen_bury(struct grave *g)
{
	free(container_of(g, struct sim_listen, grave));
}

static void listen_close(struct sock_listen *l)
{
	struct sim_listen *k = container_of(l, struct sim_listen, l);

	deactivate(&k->source);
	list_del(&k->node);
	/* As measured: who waits in the backlog is reset when the last copy of the listening socket goes. */
	for (struct list *at; (at = list_pop(&k->pending));) {
		struct sim_end *e = list_entry(at, struct sim_end, pending);
		e->owner = NULL;
		push_mark(other_of(e), -ECONNRESET);
		sim_close(&e->s);
	}
	loop_bury(k->net->loop, &k->grave, listen_bury);
}

static int sim_listen(void *ctx, struct loop *l, int fd, const struct addr *at, int backlog, struct sock_listen **ret)
{
	struct simnet *n = ctx;
	struct addr there = *at;

	(void)fd;
	if (!addr_is_unix(at) && addr_port(at) == 0) {
		if (addr_is_v6(at))
			there.in6.sin6_port = htons(n->next_port++);
		else
			there.in4.sin_port = htons(n->next_port++);
	}
	if (listen_find(n, &there))
		return -EADDRINUSE;
	struct sim_listen *k = xnew(struct sim_listen);
	k->net = n;
	k->source.is_listener = true;
	k->backlog = backlog;
	k->l.loop = l;
	k->l.at = there;
	k->l.fd = -1;
	k->l.resume = listen_resume;
	k->l.close = listen_close;
	list_init(&k->pending);
	list_push(&n->listens, &k->node);
	*ret = &k->l;
	return 0;
}

/* ---- the wait --------------------------------------------------------------------------------------------------------------------------- */

static bool end_readable(const struct sim_end *e)
{
	return e->s.want_read && arrived(e);
}

static bool end_writable(struct sim_end *e)
{
	struct sim_end *to = other_of(e);

	return e->s.want_write && (to->closed || to->marked || to->queued < e->conn->net->knobs.capacity);
}

static bool is_ready(struct sim_source *s)
{
	if (s->is_listener) {
		struct sim_listen *k = container_of(s, struct sim_listen, source);
		return !list_empty(&k->pending) && !k->l.paused;
	}
	struct sim_end *e = container_of(s, struct sim_end, source);
	if (e->closed || e->stalled || e->owner)
		return false;
	return e->connecting ? e->answered : end_readable(e) || end_writable(e);
}

/* Fills n->ready; what is not ready leaves the active list. */
static size_t collect(struct simnet *n)
{
	size_t count = 0;

	list_each(pos, next, &n->active) {
		struct sim_source *s = list_entry(pos, struct sim_source, node);
		if (!is_ready(s)) {
			deactivate(s);
			continue;
		}
		if (count == n->ready_cap) {
			n->ready_cap = n->ready_cap ? n->ready_cap * 2 : 64;
			n->ready = xrealloc(n->ready, n->ready_cap * sizeof(*n->ready));
		}
		n->ready[count++] = s;
	}
	return count;
}

static void serve_listener(struct simnet *n, struct sim_listen *k)
{
	for (int i = 0; i < SOCK_ACCEPT_MAX && k->source.active && !k->l.paused; i++) {
		struct list *at = list_pop(&k->pending);
		if (!at)
			return;
		struct sim_end *e = list_entry(at, struct sim_end, pending);
		k->waiting--;
		e->owner = NULL;
		trace(n, KIND_ACCEPT, e, 0);
		activate(n, &e->source);
		if (!k->l.ev->accepted(k->l.user, &e->s))
			k->l.paused = true;
	}
}

static void serve_end(struct simnet *n, struct sim_end *e)
{
	if (e->connecting) {
		e->connecting = false;
		e->s.ev->connected(e->s.user, e->connect_result);
		return;
	}
	bool write_first = n->knobs.shuffle && (simnet_random(n) & 1);
	for (int i = 0; i < 2 && e->source.active; i++) {
		if ((i == 0) == write_first) {
			if (end_writable(e))
				e->s.ev->writable(e->s.user);
		} else if (end_readable(e)) {
			e->s.ev->readable(e->s.user);
		}
	}
}

static void happen(struct simnet *n, const struct sim_event *ev)
{
	struct sim_end *e = ev->end;
	int r;

	switch (ev->kind) {
	case KIND_CONNECT:
		r = meet(n, e->conn);
		trace(n, KIND_CONNECT, e, r);
		if (r != SIMNET_HANG && !e->closed) {
			e->connect_result = r;
			event_add(n, n->now_ns + n->knobs.latency_ns, KIND_ANSWER, e);
		}
		break;
	case KIND_ANSWER:
		e->answered = true;
		/* fall through */
	default:
		if (!e->closed)
			activate(n, &e->source);
	}
	conn_unref(e->conn);
}

static void happen_due(struct simnet *n)
{
	while (n->heap_n && n->heap[0].at_ns <= n->now_ns) {
		struct sim_event ev = event_take(n);
		happen(n, &ev);
	}
}

static int sim_wait(void *ctx, int64_t timeout_ns)
{
	struct simnet *n = ctx;

	happen_due(n);
	if (n->frozen_ns) {
		/* It froze while it waited: for its timer, unless something was to come before that. */
		uint64_t waited_ns = timeout_ns > 0 && collect(n) == 0 ? (uint64_t)timeout_ns : 0;
		if (n->heap_n && n->heap[0].at_ns < n->now_ns + waited_ns)
			waited_ns = n->heap[0].at_ns - n->now_ns;
		n->now_ns += n->frozen_ns + waited_ns;
		n->frozen_ns = 0;
	} else if (timeout_ns != 0 && collect(n) == 0) {
		uint64_t until_ns = timeout_ns < 0 ? UINT64_MAX : n->now_ns + (uint64_t)timeout_ns;
		if (n->heap_n && n->heap[0].at_ns < until_ns)
			until_ns = n->heap[0].at_ns;
		if (until_ns == UINT64_MAX)
			return -EDEADLK; /* nothing will ever happen */
		n->now_ns = until_ns;
	}
	happen_due(n);
	loop_wake(n->loop);
	size_t count = collect(n);
	if (n->knobs.shuffle)
		for (size_t i = count; i > 1; i--) {
			size_t j = simnet_random(n) % i;
			struct sim_source *swapped = n->ready[i - 1];
			n->ready[i - 1] = n->ready[j];
			n->ready[j] = swapped;
		}
	for (size_t i = 0; i < count; i++) {
		struct sim_source *s = n->ready[i];
		if (!s->active || chance(n, n->knobs.hold_percent, 100))
			continue;
		if (s->is_listener)
			serve_listener(n, container_of(s, struct sim_listen, source));
		else
			serve_end(n, container_of(s, struct sim_end, source));
	}
	return 0;
}

/* ---- trouble on purpose -------------------------------------------------------------------------------------------------------------------- */

/* A reset overtakes what is on its way, but not what has arrived. */
static void cut_end(struct sim_end *e, int err)
{
	struct simnet *n = e->conn->net;

	if (e->closed || e->marked)
		return;
	list_each(pos, next, &e->in) {
		struct segment *seg = list_entry(pos, struct segment, node);
		if (seg->at_ns > n->now_ns) {
			e->queued -= seg->n - seg->off;
			list_del(pos);
			free(seg);
		}
	}
	uint64_t latency_ns = n->knobs.latency_ns;
	n->knobs.latency_ns = 0;
	push_mark(e, err);
	n->knobs.latency_ns = latency_ns;
	if (e->connecting && !e->answered) {
		e->answered = true;
		e->connect_result = err ? err : -ECONNRESET;
	}
	activate(n, &e->source);
}

void simnet_cut(struct sock *s, int err)
{
	struct sim_end *e = end_of(s);

	trace(e->conn->net, KIND_CUT, e, err);
	cut_end(&e->conn->end[0], err);
	cut_end(&e->conn->end[1], err);
}

int simnet_cut_all(struct simnet *n, const struct addr *to, int err)
{
	int count = 0;

	list_each(pos, next, &n->conns) {
		struct sim_conn *c = list_entry(pos, struct sim_conn, node);
		if (!addr_eq(&c->to, to) || (c->end[0].closed && c->end[1].closed))
			continue;
		simnet_cut(&c->end[0].s, err);
		count++;
	}
	return count;
}

void simnet_fail_next(struct sock *s, int err)
{
	end_of(s)->fail_next = err;
}

void simnet_stall(struct sock *s, bool stalled)
{
	struct sim_end *e = end_of(s);

	e->stalled = stalled;
	if (!e->closed)
		activate(e->conn->net, &e->source);
}

void simnet_freeze(struct simnet *n, uint64_t ns)
{
	n->frozen_ns += ns;
}

/* ---- driving ---------------------------------------------------------------------------------------------------------------------------------- */

static bool has_work(struct simnet *n)
{
	struct loop *l = n->loop;

	return !list_empty(&l->dirty) || !list_empty(&l->tasks) || !list_empty(&l->graves) || collect(n) > 0 ||
		(n->heap_n && n->heap[0].at_ns <= n->now_ns) ||
		(l->frozen ? l->frozen_tick_ns : wheel_next_ns(l->wheel)) <= n->now_ns;
}

static void turn(struct simnet *n, uint64_t max_ns, int *at_one_instant)
{
	uint64_t before_ns = n->now_ns;

	loop_turn(n->loop, max_ns > INT64_MAX ? INT64_MAX : (int64_t)max_ns);
	if (n->after_turn)
		n->after_turn(n->after_turn_ctx);
	*at_one_instant = n->now_ns == before_ns ? *at_one_instant + 1 : 0;
	if (*at_one_instant > TURNS_AT_ONE_INSTANT) {
		fprintf(stderr, "simnet: the loop does not come to rest at %llu ns: somebody spins\n", (unsigned long long)n->now_ns);
		abort();
	}
}

bool simnet_run_until(struct simnet *n, bool (*pred)(void *ctx), void *ctx, uint64_t max_ns)
{
	uint64_t end_ns = n->now_ns + max_ns;
	int at_one_instant = 0;

	for (;;) {
		if (pred && pred(ctx))
			return true;
		if (n->now_ns >= end_ns && !has_work(n)) {
			/* One more for timers that are due at this very instant. */
			turn(n, 0, &at_one_instant);
			if (!has_work(n))
				return pred && pred(ctx);
			continue;
		}
		turn(n, n->now_ns < end_ns ? end_ns - n->now_ns : 0, &at_one_instant);
	}
}

void simnet_advance(struct simnet *n, uint64_t ns)
{
	simnet_run_until(n, NULL, NULL, ns);
}

/* ---- beginning and end --------------------------------------------------------------------------------------------------------------------------- */

static uint64_t sim_now_ns(void *ctx)
{
	return ((struct simnet *)ctx)->now_ns;
}

static uint64_t sim_wall_ns(void *ctx)
{
	return UINT64_C(1767225600000000000) + sim_now_ns(ctx); /* 2026 begins */
}

static void sim_random(void *ctx, void *out, size_t size)
{
	struct simnet *n = ctx;

	for (char *p = out; size > 0;) {
		uint64_t word = splitmix(&n->chance[1]);
		size_t take = size < sizeof(word) ? size : sizeof(word);
		memcpy(p, &word, take);
		p += take;
		size -= take;
	}
}

static void sim_end_all(void *ctx)
{
	struct simnet *n = ctx;

	list_each(pos, next, &n->listens)
		free(list_entry(pos, struct sim_listen, node));
	list_each(pos, next, &n->conns)
		conn_free(list_entry(pos, struct sim_conn, node));
	list_each(pos, next, &n->rules)
		free(list_entry(pos, struct sim_rule, node));
	sim_procs_end(&n->procs);
	free(n->heap);
	free(n->ready);
	free(n);
}

static const struct loop_ops sim_ops = {
	.now_ns = sim_now_ns,
	.wall_ns = sim_wall_ns,
	.random = sim_random,
	.wait = sim_wait,
	.sock_connect = sim_connect,
	.sock_listen = sim_listen,
	.proc_watch = sim_proc_watch,
	.proc_unwatch = sim_proc_unwatch,
	.proc_began = sim_proc_began,
	.proc_owner = sim_proc_owner,
	.proc_run = sim_proc_run,
	.proc_kill = sim_proc_kill,
	.end = sim_end_all,
};

struct simnet *simnet_new(uint64_t seed)
{
	struct simnet *n = xnew(struct simnet);

	n->knobs = (struct simnet_knobs){.capacity = 65536, .cred = {.known = true, .uid = 1000, .gid = 1000, .pid = 1}};
	n->now_ns = 1000000000;
	n->chance[0] = seed;
	n->chance[1] = splitmix(&seed);
	n->trace = 0x7468696e6d657368; /* any odd beginning would do */
	n->next_port = 20001;
	list_init(&n->conns);
	list_init(&n->listens);
	list_init(&n->rules);
	list_init(&n->active);
	sim_procs_init(&n->procs);
	n->loop = loop_new(&sim_ops, n, NULL);
	return n;
}

void simnet_free(struct simnet **n)
{
	if (!*n)
		return;
	struct loop *l = (*n)->loop;
	*n = NULL;
	loop_free(&l);
}

struct loop *simnet_loop(struct simnet *n)
{
	return n->loop;
}

struct simnet_knobs *simnet_knobs(struct simnet *n)
{
	return &n->knobs;
}

uint64_t simnet_now_ns(const struct simnet *n)
{
	return n->now_ns;
}

int simnet_open(const struct simnet *n)
{
	return n->open;
}

void simnet_after_turn(struct simnet *n, void (*fn)(void *ctx), void *ctx)
{
	n->after_turn = fn;
	n->after_turn_ctx = ctx;
}
