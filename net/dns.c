/* net/dns: see dns.h. C-ares with its sockets in our poll set and its timeouts on our wheel.
 *
 * Objects: one struct dns a process, whose c-ares channel is made at the first query (a daemon with numeric endpoints never pays for it) and
 * made anew, with a fresh look at resolv.conf, once no server answered. One struct dns_query a question: owned by the asker until its answer is
 * told; a cancelled one lives on, silent, until c-ares lets go of it, for c-ares cannot cancel a single question.
 * Answers are told by the deferred work of the turn: c-ares may answer inside the call (hosts file), and must not be called back into.
 * The table (simulation) is the same with a map and a timer in the place of c-ares. */
#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/map.h"
#include "net/dns.h"

enum { TRY_MS = 2000, TRIES = 3, ADDRS_MAX = 256 };
/* The hosts file says 0, and so do some servers: nobody shall be asked more often than this. */
static const uint64_t ttl_least_ns = UINT64_C(5) * 1000000000, ttl_most_ns = UINT64_C(86400) * 1000000000;

struct dns_fd { struct list node; int fd; struct loop_fd *watched; };
struct dns_row { struct addr *addrs; size_t count; uint64_t ttl_ns; bool exists; };
struct dns {
	struct loop *loop;
	ares_channel channel;
	bool open, stale, is_table;
	uint32_t asked;            /* questions that c-ares holds */
	struct list fds;           /* struct dns_fd, owned */
	char *servers;             /* NULL: resolv.conf's */
	struct timer tick;
	struct map rows;           /* table: name to struct dns_row, owned */
	uint64_t delay_ns;
};
struct dns_query {
	struct dns *dns;           /* NULL: it ended first */
	struct loop *loop;
	void (*fn)(void *user, const struct dns_answer *a); /* NULL: cancelled */
	void *user;
	char *name;
	bool held;                 /* by c-ares */
	struct task told;
	struct timer delay;
	struct grave grave;
	int err;
	struct addr *addrs;
	size_t count;
	uint64_t ttl_ns;
};

/* ---- a question's end --------------------------------------------------------------------------------------------------------- */

static void query_bury(struct grave *g)
{
	struct dns_query *q = container_of(g, struct dns_query, grave);

	free(q->addrs);
	free(q->name);
	free(q);
}

static void query_tell(struct task *t)
{
	struct dns_query *q = container_of(t, struct dns_query, told);
	struct dns_answer a = {.err = q->err, .addrs = q->addrs, .count = q->count, .ttl_ns = q->ttl_ns};

	if (q->err && q->dns)
		stat_inc(&q->loop->stats, STAT_DNS_FAILED);
	loop_bury(q->loop, &q->grave, query_bury);
	q->fn(q->user, &a);
}

void dns_cancel(struct dns_query **at)
{
	struct dns_query *q = *at;

	if (!q)
		return;
	*at = NULL;
	q->fn = NULL;
	loop_undefer(&q->told);
	timer_cancel(q->loop, &q->delay);
	if (!q->held)
		loop_bury(q->loop, &q->grave, query_bury);
}

static void query_take(struct dns_query *q, const struct addr *addrs, size_t count, uint64_t ttl_ns)
{
	if (count) {
		q->addrs = xalloc(count * sizeof(*addrs));
		memcpy(q->addrs, addrs, count * sizeof(*addrs));
	}
	q->count = count;
	q->ttl_ns = ttl_ns < ttl_least_ns ? ttl_least_ns : ttl_ns > ttl_most_ns ? ttl_most_ns : ttl_ns;
	q->err = count ? 0 : ERR_NAME;
}

/* ---- c-ares ---------------------------------------------------------------------------------------------------------------------- */

static int code_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_EBADNAME:
		return ERR_NAME;
	case ARES_ETIMEOUT:
		return ERR_TIMEOUT;
	case ARES_ECONNREFUSED:
		return -ECONNREFUSED;
	case ARES_ENOMEM:
		return -ENOMEM;
	case ARES_ESERVFAIL:
	case ARES_EREFUSED:
	case ARES_ENOTIMP:
		return ERR_REFUSED;
	default:
		return ERR_MALFORMED;
	}
}

static bool addr_of(const struct ares_addrinfo_node *node, struct addr *ret)
{
	if (node->ai_family == AF_INET && node->ai_addrlen >= sizeof(ret->in4)) {
		memcpy(&ret->in4, node->ai_addr, sizeof(ret->in4));
		ret->len = sizeof(ret->in4);
	} else if (node->ai_family == AF_INET6 && node->ai_addrlen >= sizeof(ret->in6)) {
		memcpy(&ret->in6, node->ai_addr, sizeof(ret->in6));
		ret->len = sizeof(ret->in6);
	} else {
		return false;
	}
	return true;
}

static void read_answer(struct dns_query *q, const struct ares_addrinfo *info)
{
	struct addr *found = xalloc(ADDRS_MAX * sizeof(*found));
	uint64_t ttl_s = UINT64_MAX;
	size_t count = 0;

	for (const struct ares_addrinfo_node *node = info->nodes; node && count < ADDRS_MAX; node = node->ai_next) {
		if (!addr_of(node, &found[count]))
			continue;
		count++;
		if (node->ai_ttl >= 0 && (uint64_t)node->ai_ttl < ttl_s)
			ttl_s = (uint64_t)node->ai_ttl;
	}
	query_take(q, found, count, ttl_s > ttl_most_ns / 1000000000 ? ttl_most_ns : ttl_s * 1000000000);
	free(found);
}

static void answered(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_query *q = user;

	(void)timeouts;
	q->held = false;
	if (q->dns)
		q->dns->asked--;
	if (status == ARES_SUCCESS && q->fn)
		read_answer(q, info);
	else
		q->err = code_of(status);
	if (info)
		ares_freeaddrinfo(info);
	if (q->dns && (status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED))
		q->dns->stale = true;
	if (!q->fn)
		loop_bury(q->loop, &q->grave, query_bury);
	else if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		q->dns = NULL; /* nothing is told; the asker still cancels it */
	else
		loop_defer(q->loop, &q->told, query_tell);
}

static void rearm(struct dns *d);

static void tick(struct timer *t)
{
	struct dns *d = container_of(t, struct dns, tick);

	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	rearm(d);
}

static void rearm(struct dns *d)
{
	struct timeval tv, *left = ares_timeout(d->channel, NULL, &tv);

	if (left)
		timer_in(d->loop, &d->tick, (uint64_t)left->tv_sec * 1000000000 + (uint64_t)left->tv_usec * 1000, tick);
	else
		timer_cancel(d->loop, &d->tick);
}

static void fd_ready(void *user, int fd, int what)
{
	struct dns *d = user;

	ares_process_fd(d->channel, what & 1 ? fd : ARES_SOCKET_BAD, what & 2 ? fd : ARES_SOCKET_BAD);
	rearm(d);
}

static void fd_wanted(void *user, ares_socket_t fd, int read, int write)
{
	struct dns *d = user;
	struct dns_fd *f = NULL;

	list_each(pos, next, &d->fds)
		if (list_entry(pos, struct dns_fd, node)->fd == fd)
			f = list_entry(pos, struct dns_fd, node);
	if (!f) {
		f = xnew(struct dns_fd);
		f->fd = fd;
		list_push(&d->fds, &f->node);
	}
	loop_fd_del(&f->watched);
	/* Should the poll set refuse, the question runs into its timeout and says so. */
	if ((read || write) && loop_fd_add(d->loop, fd, (read ? 1 : 0) | (write ? 2 : 0), fd_ready, d, &f->watched) == 0)
		return;
	list_del(&f->node);
	free(f);
}

static void channel_close(struct dns *d)
{
	if (!d->open)
		return;
	d->open = false;
	timer_cancel(d->loop, &d->tick);
	ares_destroy(d->channel);
	ares_library_cleanup();
	while (!list_empty(&d->fds)) {
		struct dns_fd *f = list_entry(list_pop(&d->fds), struct dns_fd, node);
		loop_fd_del(&f->watched);
		free(f);
	}
}

static int channel_open(struct dns *d)
{
	struct ares_options o = {.timeout = TRY_MS, .tries = TRIES, .sock_state_cb = fd_wanted, .sock_state_cb_data = d};

	if (d->open && d->stale && d->asked == 0)
		channel_close(d);
	if (d->open)
		return 0;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	if (ares_init_options(&d->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	d->open = true;
	d->stale = false;
	if (d->servers && ares_set_servers_ports_csv(d->channel, d->servers) != ARES_SUCCESS) {
		channel_close(d);
		return -EINVAL;
	}
	return 0;
}

void dns_servers(struct dns *d, const char *servers_comma)
{
	free(d->servers);
	d->servers = xstrdup(servers_comma);
	d->stale = true;
}

/* ---- the table --------------------------------------------------------------------------------------------------------------------- */

static void table_answer(struct timer *t)
{
	struct dns_query *q = container_of(t, struct dns_query, delay);
	const struct dns_row *row = q->dns ? map_get(&q->dns->rows, str_of(q->name)) : NULL;

	if (row && row->exists)
		query_take(q, row->addrs, row->count, row->ttl_ns);
	else
		q->err = ERR_NAME;
	query_tell(&q->told);
}

void dns_table_set(struct dns *d, const char *name, const char *addrs_comma, uint64_t ttl_ns)
{
	struct dns_row *row = xnew(struct dns_row), *old;
	struct str left = str_of(addrs_comma);

	row->ttl_ns = ttl_ns;
	row->exists = addrs_comma != NULL;
	while (left.n) {
		ptrdiff_t comma = str_find(left, ',');
		struct str one = str_trim(comma < 0 ? left : str_cut(left, 0, (size_t)comma));
		row->addrs = xrealloc(row->addrs, (row->count + 1) * sizeof(*row->addrs));
		if (addr_ip(one, 0, &row->addrs[row->count]) == 0)
			row->count++;
		left = comma < 0 ? str_n(NULL, 0) : str_cut(left, (size_t)comma + 1, left.n);
	}
	old = map_put(&d->rows, str_of(name), row);
	if (old) {
		free(old->addrs);
		free(old);
	}
}

/* ---- asking -------------------------------------------------------------------------------------------------------------------------- */

/* RFC 6761 6.3: these never go to a server, whatever the hosts file has or lacks. */
static bool is_localhost(struct str name)
{
	return str_eq_nocase(name, STR("localhost")) || (name.n > 10 && str_eq_nocase(str_cut(name, name.n - 10, name.n), STR(".localhost")));
}

static bool answer_by_itself(struct dns_query *q, struct str name)
{
	struct addr found[2];

	if (addr_ip(name, 0, &found[0]) == 0) {
		query_take(q, found, 1, ttl_most_ns);
		return true;
	}
	if (!is_localhost(name))
		return false;
	addr_ip(STR("::1"), 0, &found[0]);
	addr_ip(STR("127.0.0.1"), 0, &found[1]);
	query_take(q, found, 2, ttl_most_ns);
	return true;
}

int dns_ask(struct dns *d, const char *name, void (*fn)(void *user, const struct dns_answer *a), void *user, struct dns_query **ret)
{
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
	struct dns_query *q = xnew(struct dns_query);
	int r;

	q->dns = d;
	q->loop = d->loop;
	q->fn = fn;
	q->user = user;
	q->name = xstrdup(name);
	stat_inc(&d->loop->stats, STAT_DNS_QUERIES);
	if (d->is_table && map_get(&d->rows, str_of(name))) {
		timer_in(d->loop, &q->delay, d->delay_ns, table_answer);
	} else if (answer_by_itself(q, str_of(name))) {
		loop_defer(d->loop, &q->told, query_tell);
	} else if (d->is_table) {
		timer_in(d->loop, &q->delay, d->delay_ns, table_answer);
	} else {
		r = loop_is_real(d->loop) ? channel_open(d) : -ENOSYS;
		if (r < 0) {
			query_bury(&q->grave);
			return r;
		}
		q->held = true;
		d->asked++;
		ares_getaddrinfo(d->channel, q->name, NULL, &hints, answered, q);
		rearm(d);
	}
	*ret = q;
	return 0;
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------------------------- */

struct dns *dns_new(struct loop *l)
{
	struct dns *d = xnew(struct dns);

	d->loop = l;
	list_init(&d->fds);
	map_init(&d->rows, loop_random(l));
	return d;
}

struct dns *dns_new_table(struct loop *l, uint64_t delay_ns)
{
	struct dns *d = dns_new(l);

	d->is_table = true;
	d->delay_ns = delay_ns;
	return d;
}

void dns_free(struct dns **at)
{
	struct dns *d = *at;
	struct str name;
	void *row;

	if (!d)
		return;
	*at = NULL;
	channel_close(d);
	for (uint32_t i = 0; map_next(&d->rows, &i, &name, &row);) {
		free(((struct dns_row *)row)->addrs);
		free(row);
	}
	map_end(&d->rows);
	free(d->servers);
	free(d);
}
