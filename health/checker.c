/* health/checker: see the header; the intervals and the state machine are Envoy's (envoy.md 1e), the deviations are told at their lines.
 *
 *   checker 1 --- n group (a cluster with checks; holds its spec) 1 --- n checked (a host: host.checks) 1 --- n check (in the order of the spec)
 *
 *   WAITING (timer) --due--> QUEUED --pump--> ASKING (a probe) --checker_done--> WAITING
 *                                  '--watch--> WATCHING (a stream) --lost--> WAITING (back-off) ; no such method --> polling from then on
 *
 * At most SLICE probes (a quarter of that where each makes a connection) begin in a turn and at most FLIGHT are in flight, whoever has how many endpoints: the first round of a thousand is no burst, and what is queued is asked in its
 * order. After a first round that had no initial_jitter the second one is spread over the interval, and each check keeps its place in it from then on.
 *
 * Owners: the checker owns all of these; a host knows its `checked` (host.checks) and says when it goes, a cluster its group. Nothing here is freed later than it is said: a probe that
 * was cancelled tells nothing more. Memory is charged to the process: a probe's connection may outlive the checker by some turns. */
#include "health/checker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "health/probe.h"

enum {
	FLIGHT_MAX = 128,
	SLICE = 64,           /* probes begun in a turn */
	CONNECT_COSTS = 4,    /* of them: a connection of its own is some 60 us of system calls, a stream on a lent one 5 */
	WALK = 512,           /* endpoints of a new set looked at in a turn */
	SPREAD_FROM = 16,     /* fewer endpoints than that are checked when their intervals say, to the millisecond */
	VOIDS_MAX = 3,        /* in a row, asked again at once */
	WHY_MAX = 200,
	STEP_MAX_NS = 100000000
};
static const uint64_t second_ns = UINT64_C(1000000000);

enum transition { UNCHANGED, CHANGE_PENDING, CHANGED };

struct check {
	struct timer timer;
	struct list queued;
	struct checked *of;
	struct probe *probe;
	struct probe_keep *keep;
	char *why;                 /* of its last failure; NULL: it passed, or was never asked */
	uint64_t since_ns;
	uint32_t successes, failures;        /* all of them */
	uint32_t passed_in_row, failed_in_row;
	uint8_t state;             /* enum host_check */
	uint8_t voids;             /* in a row */
	uint8_t losses;            /* of a watch, in a row: its back-off */
	bool degraded;
	bool own;                  /* the next probe makes a connection of its own: on the one that was lent nobody answered */
	bool lent;                 /* the present one is on a lent one */
	bool watching;             /* probe is a watch */
	bool opening;              /* one that has said nothing yet: it counts as in flight */
	bool no_watch;             /* there is no such method: it is polled */
	bool settled;              /* its place in the interval is found */
};
struct checked {
	struct list node;          /* in its group */
	struct group *group;
	struct host *host;
	struct addr *addr;         /* health_check_config: who is asked instead; NULL: the host itself */
	char *host_name;           /* health_check_config.hostname; NULL */
	uint64_t key;              /* of these two */
	bool healthy, degraded;    /* as it is counted */
	uint32_t n;
	struct check check[];
};
struct group {
	struct list node;
	struct checker *checker;
	struct cluster *cluster;
	struct cluster_spec *spec; /* counted: the checks lie in it */
	struct list hosts;
	uint32_t count;
	uint32_t spread;           /* how many have found their place in the interval */
	uint32_t walked;           /* endpoints of the present set that were looked at */
	struct log_every told, told_each;
	struct task walk;
};
struct checker {
	struct loop *loop;
	struct log *log;
	const struct limits *limits;
	struct clusters *clusters;
	struct list groups;
	struct list queue;
	struct task pump;
	uint64_t turn;
	uint32_t begun;            /* in that turn */
	uint32_t flight;
	uint32_t endpoints;
	bool full;                 /* said once until the queue is empty */
};

static struct loop *loop_of(const struct check *c) { return c->of->group->checker->loop; }
static const struct health_check *spec_of(const struct check *c) { return &c->of->group->spec->checks[c - c->of->check]; }

static void counted(struct check *c, enum stat_id all, enum cluster_counter one)
{
	stat_inc(&loop_of(c)->stats, all);
	cluster_count(c->of->group->cluster, one);
}

/* ---- when ----------------------------------------------------------------------------------------------------------------- */

static uint64_t jittered(struct loop *l, const struct health_check *hc, uint64_t base_ns)
{
	uint64_t part = base_ns / 100 * hc->interval_jitter_percent, ns = base_ns;

	if (part)
		ns += loop_random_below(l, part);
	if (hc->interval_jitter_ns)
		ns += loop_random_below(l, hc->interval_jitter_ns);
	return ns < 1000000 ? 1000000 : ns;
}

/* Of the result that has just come, and what it changed. */
static uint64_t interval_base(const struct check *c, bool passed, enum transition t)
{
	const struct health_check *hc = spec_of(c);

	if (!cluster_has_traffic(c->of->group->cluster))
		return passed && t != CHANGE_PENDING ? hc->no_traffic_healthy_interval_ns : hc->no_traffic_interval_ns;
	if (passed)
		return t == CHANGE_PENDING ? hc->healthy_edge_interval_ns : hc->interval_ns;
	return t == CHANGE_PENDING ? hc->unhealthy_edge_interval_ns : hc->unhealthy_interval_ns;
}

static void check_due(struct timer *t);

/* Who has many endpoints is woken for some of them together: to the nearest hundredth of the interval, and at most a tenth of a second. A thousand every 5 s are 20 wake-ups a second, not 200. */
static uint64_t in_steps(uint64_t at_ns, uint64_t base_ns)
{
	uint64_t step = base_ns / 100 < STEP_MAX_NS ? base_ns / 100 : STEP_MAX_NS;

	return step > 1 ? (at_ns + step / 2) / step * step : at_ns;
}

static void check_again(struct check *c, bool passed, enum transition t)
{
	struct group *g = c->of->group;
	uint64_t now = loop_of(c)->now_ns, was = c->timer.at_ns, base = interval_base(c, passed, t), in = jittered(loop_of(c), spec_of(c), base), at = now + in;

	/* All began together: each takes the next place, and keeps it: who is counted from his answer joins those behind him each time that a turn is late, and never leaves them again. */
	if (!c->settled && g->count >= SPREAD_FROM && !spec_of(c)->initial_jitter_ns)
		at = now + base / g->count * (g->spread++ % g->count + 1);
	else if (c->settled && g->count >= SPREAD_FROM && in == base && was <= now && now - was < base / 2)
		at = was + base;
	c->settled = true;
	timer_set(loop_of(c), &c->timer, g->count >= SPREAD_FROM ? in_steps(at, base) : at, check_due);
}

/* ---- what is known of a host ------------------------------------------------------------------------------------------------ */

static const char *state_name(const struct check *c)
{
	return c->state == HOST_PENDING ? "pending" : c->state == HOST_FAILED ? "failed" : c->degraded ? "degraded" : "passed";
}

/* All must pass. */
static enum host_check verdict_of(const struct checked *h, bool *ret_degraded)
{
	enum host_check all = HOST_PASSED;

	*ret_degraded = false;
	for (uint32_t i = 0; i < h->n; i++) {
		const struct check *c = &h->check[i];

		if (c->state == HOST_FAILED)
			return HOST_FAILED;
		if (c->state == HOST_PENDING)
			all = HOST_PENDING;
		*ret_degraded |= c->degraded;
	}
	*ret_degraded &= all == HOST_PASSED;
	return all;
}

static void count(struct checker *ck, struct checked *h, bool healthy, bool degraded)
{
	struct stats *s = &ck->loop->stats;

	stat_add(s, STAT_CHECK_HEALTHY, (uint64_t)healthy - h->healthy);
	stat_add(s, STAT_CHECK_DEGRADED, (uint64_t)degraded - h->degraded);
	h->healthy = healthy;
	h->degraded = degraded;
}

/* The last thing that is done with a check: lb may do with its host whatever follows. A failure that changes nothing yet is not told: a host that is ejected would return for it. */
static void tell_host(struct checked *h, bool passed)
{
	bool degraded;
	enum host_check all = verdict_of(h, &degraded);

	count(h->group->checker, h, all == HOST_PASSED, degraded);
	if (all == HOST_FAILED || (all == HOST_PASSED && passed))
		host_set_check(h->host, all, degraded);
}

static void why_set(struct check *c, const char *why)
{
	free(c->why);
	c->why = *why ? xstrndup(why, strnlen(why, WHY_MAX)) : NULL;
}

static void log_transition(struct check *c, enum host_check was, const char *why)
{
	struct group *g = c->of->group;
	struct checker *ck = g->checker;
	const char *kind = check_kind_name(spec_of(c)->kind), *name = cluster_name(g->cluster), *host = c->of->host->text;

	/* That a thousand endpoints are well to begin with is no news. */
	if (was == HOST_PENDING && c->state == HOST_PASSED)
		log_debug(ck->log, "cluster '%s': %s passes its %s check", name, host, kind);
	else if (log_every(ck->log, &g->told, ck->loop->now_ns, 20, 10000)) {
		if (c->state == HOST_FAILED)
			log_warn(ck->log, "cluster '%s': %s fails its %s check: %s; calls go to others, where enough of them are well, until it passes", name, host, kind, why);
		else
			log_info(ck->log, "cluster '%s': %s passes its %s check%s%s; used again", name, host, kind, *why ? ": " : "", why);
	}
}

static void log_each(struct check *c, bool passed, const char *why)
{
	const struct health_check *hc = spec_of(c);
	struct group *g = c->of->group;
	struct checker *ck = g->checker;

	if (!(passed ? hc->log_successes : hc->log_failures) || !log_every(ck->log, &g->told_each, ck->loop->now_ns, 100, 10000))
		return;
	log_info(ck->log, "cluster '%s': %s: %s check %s%s%s", cluster_name(g->cluster), c->of->host->text, check_kind_name(hc->kind), passed ? "passed" : "failed", *why ? ": " : "", why);
}

/* ---- the one exit ------------------------------------------------------------------------------------------------------------ */

static void state_set(struct check *c, enum host_check state, const char *why)
{
	enum host_check was = (enum host_check)c->state;

	if (was == state)
		return;
	c->state = state;
	c->since_ns = loop_of(c)->now_ns;
	c->no_watch &= state != HOST_PASSED || was == HOST_PENDING; /* another process may be there now */
	log_transition(c, was, why);
}

/* definite: a threshold is not asked. */
static enum transition took_success(struct check *c, bool degraded, bool definite, const char *why)
{
	enum host_check was = (enum host_check)c->state;

	counted(c, STAT_CHECK_SUCCESS, COUNT_CHECK_SUCCESS);
	c->successes++;
	c->failed_in_row = 0;
	c->degraded = degraded;
	why_set(c, degraded ? why : "");
	if (was == HOST_FAILED && !definite && ++c->passed_in_row < spec_of(c)->healthy_threshold)
		return CHANGE_PENDING;
	c->passed_in_row = 0;
	state_set(c, HOST_PASSED, why);
	return was == HOST_PASSED ? UNCHANGED : CHANGED;
}

static enum transition took_failure(struct check *c, bool definite, const char *why)
{
	enum host_check was = (enum host_check)c->state;

	counted(c, STAT_CHECK_FAILURE, COUNT_CHECK_FAILURE);
	c->failures++;
	c->passed_in_row = 0;
	why_set(c, why);
	if (was == HOST_FAILED)
		return UNCHANGED;
	/* The first answer decides, whatever it is. */
	if (!definite && was == HOST_PASSED && ++c->failed_in_row < spec_of(c)->unhealthy_threshold)
		return CHANGE_PENDING;
	c->failed_in_row = 0;
	c->degraded = false;
	state_set(c, HOST_FAILED, why);
	return CHANGED;
}

static void check_queue(struct check *c);
static void watch_again(struct check *c);

/* It says nothing, so it is asked again at once, but not for ever: a provider that says GOAWAY to each probe keeps what is known of it, and where nothing is, nobody waits for it any longer.
 * True: it was dealt with. */
static bool took_void(struct check *c)
{
	stat_inc(&loop_of(c)->stats, STAT_CHECK_VOID);
	if (++c->voids <= VOIDS_MAX) {
		check_queue(c);
		return true;
	}
	c->voids = 0;
	if (c->state == HOST_PENDING)
		return false;
	check_again(c, c->state == HOST_PASSED, UNCHANGED);
	return true;
}

/* Where everything that is counted, logged and decided stands. c is not to be touched any more afterwards. */
static void checker_done(struct check *c, enum probe_verdict v, const char *why)
{
	bool passed = v == PROBE_PASSED || v == PROBE_DEGRADED || v == PROBE_ALIVE;
	enum transition t;

	if (v == PROBE_VOID) {
		if (took_void(c))
			return;
		v = PROBE_FAILED;
	}
	c->voids = 0;
	log_each(c, passed, why);
	if (v == PROBE_FAILED)
		counted(c, STAT_CHECK_NETWORK_FAILURE, COUNT_CHECK_NETWORK_FAILURE);
	t = passed ? took_success(c, v == PROBE_DEGRADED, false, why) : took_failure(c, v == PROBE_BAD, why);
	check_again(c, passed, t);
	tell_host(c->of, passed);
}

/* ---- asking ------------------------------------------------------------------------------------------------------------------ */

static void pump(struct task *t);

static void flight_end(struct checker *ck)
{
	ck->flight--;
	stat_dec(&ck->loop->stats, STAT_CHECK_ACTIVE);
	if (!list_empty(&ck->queue))
		loop_defer(ck->loop, &ck->pump, pump);
}

static void probe_is_done(void *user, enum probe_verdict v, const char *why)
{
	struct check *c = user;

	c->probe = NULL;
	/* Nobody answered where calls go as well: is it the connection, or the provider? The next one finds out. */
	c->own = c->lent && (v == PROBE_FAILED || v == PROBE_VOID);
	flight_end(c->of->group->checker);
	checker_done(c, v, why);
}

static void watch_opened(struct check *c)
{
	if (c->opening)
		flight_end(c->of->group->checker);
	c->opening = false;
}

static void watch_says(void *user, enum probe_verdict v, const char *why)
{
	struct check *c = user;

	watch_opened(c);
	if (v == PROBE_PASSED || v == PROBE_BAD) { /* a status is a change: there is nothing to count up to a threshold */
		c->losses = 0;
		c->voids = 0;
		log_each(c, v == PROBE_PASSED, why);
		if (v == PROBE_PASSED)
			took_success(c, false, true, why);
		else
			took_failure(c, true, why);
		tell_host(c->of, v == PROBE_PASSED);
		return;
	}
	c->probe = NULL;
	c->watching = false;
	if (v == PROBE_ALIVE) {
		c->no_watch = true;
		check_queue(c);
		return;
	}
	if (v == PROBE_VOID)
		stat_inc(&loop_of(c)->stats, STAT_CHECK_VOID);
	watch_again(c);
	if (v == PROBE_VOID && (c->state != HOST_PENDING || c->losses <= VOIDS_MAX))
		return;
	log_each(c, false, why);
	counted(c, STAT_CHECK_NETWORK_FAILURE, COUNT_CHECK_NETWORK_FAILURE);
	took_failure(c, false, why);
	tell_host(c->of, false);
}

/* Half of it is chance, so that a thousand watches of one provider that was started again do not come back together. */
static void watch_again(struct check *c)
{
	uint64_t base = interval_base(c, false, UNCHANGED), back_off = second_ns;

	for (unsigned i = 0; i < c->losses && back_off < base; i++)
		back_off *= 2;
	if (back_off > base)
		back_off = base;
	if (c->losses < UINT8_MAX)
		c->losses++;
	timer_in(loop_of(c), &c->timer, back_off / 2 + loop_random_below(loop_of(c), back_off / 2 + 1), check_due);
}

/* As the pool of its host says it: calls and checks that fail for one reason are told once. */
static void asker_name(const void *ctx, struct sb *out)
{
	sb_fmt(out, "service '%.200s'", cluster_name(ctx));
}

/* What it costs. c is not to be touched any more afterwards: what could not even begin is done with. */
static uint32_t check_begin(struct check *c)
{
	struct checked *h = c->of;
	struct checker *ck = h->group->checker;
	const struct health_check *hc = spec_of(c);
	bool h2 = hc->kind == CHECK_GRPC || (hc->kind == CHECK_HTTP && hc->http2);
	struct probe_spec spec = {.loop = ck->loop, .limits = ck->limits, .account = &ck->loop->memory, .check = hc, .addrs = h->addr ? h->addr : h->host->addrs,
		.naddrs = h->addr ? 1 : h->host->addr_count, .host = cluster_name(h->group->cluster), .endpoint_host = h->host_name, .keep = hc->reuse_connection ? &c->keep : NULL, .tls_host = host_name(h->host),
		.asker = {.name = asker_name, .ctx = h->group->cluster, .what = "health check"}};
	const char *why = "";

	c->watching = hc->kind == CHECK_GRPC && hc->watch && !c->no_watch;
	if (host_check_transport(h->host, hc, &spec.transport, &why) < 0) { /* never in plaintext what is to be encrypted */
		c->lent = c->watching = false;
		counted(c, STAT_CHECK_ATTEMPT, COUNT_CHECK_ATTEMPT);
		checker_done(c, PROBE_FAILED, why);
		return 1;
	}
	if (c->keep && !probe_keep_fits(c->keep, &spec))
		probe_keep_close(&c->keep);
	if (h2 && !c->watching && !h->addr && !c->own && spec.transport == pool_transport(h->host->pool))
		spec.lent = pool_lend(h->host->pool);
	c->lent = spec.lent != NULL;
	counted(c, STAT_CHECK_ATTEMPT, COUNT_CHECK_ATTEMPT);
	c->probe = c->watching ? probe_watch(&spec, watch_says, c) : probe_start(&spec, probe_is_done, c);
	if (!c->probe) { /* no memory: that is our trouble, and none of the provider's */
		stat_inc(&ck->loop->stats, STAT_CHECK_VOID);
		c->watching = false;
		check_again(c, c->state != HOST_FAILED, UNCHANGED);
		return 1;
	}
	c->opening = c->watching;
	ck->flight++;
	stat_inc(&ck->loop->stats, STAT_CHECK_ACTIVE);
	return c->lent ? 1 : CONNECT_COSTS;
}

static void pump(struct task *t)
{
	struct checker *ck = container_of(t, struct checker, pump);

	if (ck->turn != ck->loop->turn) {
		ck->turn = ck->loop->turn;
		ck->begun = 0;
	}
	while (!list_empty(&ck->queue) && ck->flight < FLIGHT_MAX) {
		if (ck->begun >= SLICE) {
			loop_defer(ck->loop, &ck->pump, pump);
			return;
		}
		struct check *c = list_entry(list_pop(&ck->queue), struct check, queued);

		ck->begun += check_begin(c);
	}
	if (list_empty(&ck->queue))
		ck->full = false;
	else if (!ck->full) {
		ck->full = true;
		stat_inc(&ck->loop->stats, STAT_CHECK_WAITED);
	}
}

static void check_queue(struct check *c)
{
	struct checker *ck = c->of->group->checker;

	timer_cancel(ck->loop, &c->timer);
	list_push(&ck->queue, &c->queued);
	loop_defer(ck->loop, &ck->pump, pump);
}

static void check_due(struct timer *t)
{
	check_queue(container_of(t, struct check, timer));
}

/* What it is about right now is forgotten; what is known stays. */
static void check_stop(struct check *c)
{
	timer_cancel(loop_of(c), &c->timer);
	list_del(&c->queued);
	if (c->probe && (!c->watching || c->opening))
		flight_end(c->of->group->checker);
	probe_cancel(&c->probe);
	c->watching = c->opening = false;
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------------- */

static uint64_t endpoint_key(const struct endpoint *e)
{
	static const char *const keys[] = {ENDPOINT_CHECK_HOST, ENDPOINT_CHECK_PORT, ENDPOINT_CHECK_ADDRESS};
	uint64_t key = 0;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *v = endpoint_meta_value(e->meta, keys[i]);

		key = str_hash_seeded(str_of(v ? v : ""), key + i);
	}
	return key;
}

static struct addr *addr_own(struct addr a)
{
	struct addr *own = xnew(struct addr);

	*own = a;
	return own;
}

/* health_check_config: an address of its own, or another port at the same one. */
static void endpoint_take(struct checked *h, const struct endpoint *e)
{
	const char *host = endpoint_meta_value(e->meta, ENDPOINT_CHECK_HOST), *address = endpoint_meta_value(e->meta, ENDPOINT_CHECK_ADDRESS);
	const char *port = endpoint_meta_value(e->meta, ENDPOINT_CHECK_PORT);
	struct addr a;
	uint64_t n;

	free(h->addr);
	free(h->host_name);
	h->addr = NULL;
	h->host_name = host && *host ? xstrdup(host) : NULL;
	if (address && addr_parse(str_of(address), &a) == 0) {
		h->addr = addr_own(a);
	} else if (port && str_u64(str_of(port), &n) && n > 0 && n <= 65535 && h->host->addr_count && !addr_is_unix(&h->host->addrs[0])) {
		a = h->host->addrs[0];
		if (addr_is_v6(&a))
			a.in6.sin6_port = htons((uint16_t)n);
		else
			a.in4.sin_port = htons((uint16_t)n);
		h->addr = addr_own(a);
	}
}

static void checked_free(struct checked *h)
{
	struct checker *ck = h->group->checker;

	for (uint32_t i = 0; i < h->n; i++) {
		check_stop(&h->check[i]);
		probe_keep_close(&h->check[i].keep);
		free(h->check[i].why);
	}
	count(ck, h, false, false);
	list_del(&h->node);
	h->group->count--;
	ck->endpoints--;
	stat_dec(&ck->loop->stats, STAT_CHECK_ENDPOINTS);
	free(h->addr);
	free(h->host_name);
	acct_free(&ck->loop->memory, h);
}

static void first_check(struct check *c)
{
	uint64_t jitter = spec_of(c)->initial_jitter_ns;

	if (jitter)
		timer_in(loop_of(c), &c->timer, 1000000 + loop_random_below(loop_of(c), jitter), check_due);
	else
		check_queue(c);
}

static void checked_new(struct group *g, struct host *host, const struct endpoint *e)
{
	struct checker *ck = g->checker;
	uint32_t n = g->spec->nchecks;
	size_t size = sizeof(struct checked) + n * sizeof(struct check);
	struct checked *h = acct_alloc(&ck->loop->memory, size);

	if (!h) { /* lb counts as passed who cannot be checked; so do we */
		stat_inc(&ck->loop->stats, STAT_CHECK_UNAFFORDABLE);
		if (host->check == HOST_PENDING)
			host_set_check(host, HOST_PASSED, false);
		return;
	}
	memset(h, 0, size);
	h->group = g;
	h->host = host;
	h->n = n;
	list_push(&g->hosts, &h->node);
	g->count++;
	ck->endpoints++;
	stat_inc(&ck->loop->stats, STAT_CHECK_ENDPOINTS);
	if (e) {
		h->key = endpoint_key(e);
		endpoint_take(h, e);
	}
	host->checks = h;
	for (uint32_t i = 0; i < n; i++) {
		struct check *c = &h->check[i];

		c->of = h;
		c->state = (uint8_t)host->check;
		c->since_ns = ck->loop->now_ns;
		first_check(c);
	}
	count(ck, h, host->check == HOST_PASSED, false);
}

/* It stays, but who is to be asked may be told otherwise. */
static void checked_refresh(struct checked *h, const struct endpoint *e)
{
	uint64_t key = endpoint_key(e);

	if (key == h->key)
		return;
	h->key = key;
	endpoint_take(h, e);
	for (uint32_t i = 0; i < h->n; i++) {
		check_stop(&h->check[i]);
		probe_keep_close(&h->check[i].keep);
		first_check(&h->check[i]);
	}
}

/* ---- clusters ---------------------------------------------------------------------------------------------------------------- */

static void group_hosts_free(struct group *g)
{
	list_each(n, tmp, &g->hosts) checked_free(list_entry(n, struct checked, node));
}

static void group_free(struct group *g)
{
	group_hosts_free(g);
	loop_undefer(&g->walk);
	list_del(&g->node);
	spec_unref(&g->spec);
	free(g);
}

/* A set of a hundred thousand is looked at in slices, as lb makes it. */
static void walk(struct task *t)
{
	struct group *g = container_of(t, struct group, walk);
	uint32_t n = cluster_endpoints(g->cluster), until = n - g->walked > WALK ? g->walked + WALK : n;

	if (g->walked >= n)
		return;
	for (; g->walked < until; g->walked++) {
		struct host *h = cluster_host_at(g->cluster, g->walked);
		struct endpoint e;
		bool known = h && h->check != HOST_UNCHECKED && host_endpoint(h, &e);

		if (!known)
			continue;
		if (h->checks)
			checked_refresh(h->checks, &e);
		else
			checked_new(g, h, &e);
	}
	if (g->walked < n)
		loop_defer(g->checker->loop, &g->walk, walk);
}

static bool same_checks(const struct cluster_spec *a, const struct cluster_spec *b)
{
	bool same = a->nchecks == b->nchecks;

	for (uint32_t i = 0; same && i < a->nchecks; i++)
		same = health_check_hash(&a->checks[i]) == health_check_hash(&b->checks[i]);
	return same;
}

/* Other checks: what is known of each host stays until they say otherwise. */
static void group_respec(struct group *g, const struct cluster_spec *spec)
{
	struct checked **all = xalloc((g->count + 1) * sizeof(*all));
	uint32_t n = 0;

	list_each(at, tmp, &g->hosts) all[n++] = list_entry(at, struct checked, node);
	struct cluster_spec *was = g->spec;
	for (uint32_t i = 0; i < n; i++) {
		struct host *h = all[i]->host;

		checked_free(all[i]);
		h->checks = NULL;
		all[i] = (struct checked *)h;
	}
	g->spec = spec_ref((struct cluster_spec *)spec);
	spec_unref(&was);
	for (uint32_t i = 0; i < n; i++) {
		struct host *h = (struct host *)all[i];
		struct endpoint e;

		checked_new(g, h, host_endpoint(h, &e) ? &e : NULL);
	}
	free(all);
}

static void switched(void *ctx, struct cluster *c)
{
	struct checker *ck = ctx;
	const struct cluster_spec *spec = cluster_spec(c);
	struct group *g = cluster_checks(c);

	if (!spec || !spec->nchecks) {
		if (g)
			group_free(g);
		cluster_set_checks(c, NULL);
		return;
	}
	if (!g) {
		g = xnew(struct group);
		g->checker = ck;
		g->cluster = c;
		g->spec = spec_ref((struct cluster_spec *)spec);
		list_init(&g->hosts);
		list_push(&ck->groups, &g->node);
		cluster_set_checks(c, g);
	} else if (!same_checks(g->spec, spec)) {
		group_respec(g, spec);
	}
	g->walked = 0;
	g->spread = 0;
	loop_undefer(&g->walk);
	walk(&g->walk);
}

static void ended(void *ctx, struct cluster *c)
{
	struct group *g = cluster_checks(c);

	(void)ctx;
	if (g)
		group_free(g);
	cluster_set_checks(c, NULL);
}

static void host_is_gone(void *ctx, struct host *h)
{
	(void)ctx;
	checked_free(h->checks);
}

static void failed_now(void *ctx, struct host *host)
{
	struct checker *ck = ctx;
	struct checked *h = host->checks;

	stat_inc(&ck->loop->stats, STAT_CHECK_PASSIVE_FAILURE);
	cluster_count(host->cluster, COUNT_CHECK_PASSIVE_FAILURE);
	for (uint32_t i = 0; i < h->n; i++) {
		struct check *c = &h->check[i];

		/* Each answer may say so; only the first one moves the checks, else they would never come. What is in flight was asked before, and may have been answered before; and a watch that
		 * has said "serving" says it again only when it is opened anew. */
		if (took_failure(c, true, "an answer to a call says x-envoy-immediate-health-check-fail") == UNCHANGED)
			continue;
		check_stop(c);
		check_again(c, false, CHANGED);
	}
	tell_host(h, false);
}

/* The long intervals of an idle cluster are over: each check comes as soon as it would have, had there always been calls. */
static void traffic(void *ctx, struct cluster *cl)
{
	struct checker *ck = ctx;
	struct group *g = cluster_checks(cl);

	if (!g)
		return;
	list_each(n, tmp, &g->hosts)
	{
		struct checked *h = list_entry(n, struct checked, node);

		for (uint32_t i = 0; i < h->n; i++) {
			struct check *c = &h->check[i];
			uint64_t base = interval_base(c, c->state != HOST_FAILED, c->passed_in_row || c->failed_in_row ? CHANGE_PENDING : UNCHANGED);
			uint64_t at = ck->loop->now_ns + (g->count > 1 ? 1 + loop_random_below(ck->loop, base) : base);

			if (timer_armed(&c->timer) && c->state != HOST_PENDING && at < c->timer.at_ns)
				timer_set(ck->loop, &c->timer, g->count >= SPREAD_FROM ? in_steps(at, base) : at, check_due);
		}
	}
}

/* ---- the checker itself ------------------------------------------------------------------------------------------------------ */

void checker_thaw(struct checker *ck)
{
	list_each(n, tmp, &ck->groups)
	{
		struct group *g = list_entry(n, struct group, node);

		list_each(m, tmp2, &g->hosts)
		{
			struct checked *h = list_entry(m, struct checked, node);

			for (uint32_t i = 0; i < h->n; i++) {
				struct check *c = &h->check[i];
				uint64_t within = spec_of(c)->interval_ns, left = timer_armed(&c->timer) && c->timer.at_ns > ck->loop->now_ns ? c->timer.at_ns - ck->loop->now_ns : 0;

				/* What was asked before is old, be it a watch: its stream may be long dead, and nobody would tell. All of it is asked again, soon, and not at once. */
				if (c->probe) {
					stat_inc(&ck->loop->stats, STAT_CHECK_VOID);
					within = within < second_ns ? within : second_ns;
				} else if (left && left < within) {
					within = left;
				}
				check_stop(c);
				probe_keep_close(&c->keep);
				timer_in(ck->loop, &c->timer, 1 + loop_random_below(ck->loop, within), check_due);
			}
		}
	}
}

bool checker_host(const struct host *host, struct check_view *ret)
{
	const struct checked *h = host->checks;
	const struct check *c;

	if (!h)
		return false;
	c = &h->check[0];
	for (uint32_t i = 1; i < h->n && c->state != HOST_FAILED; i++) /* the one that keeps it out, if there is one */
		if (h->check[i].state == HOST_FAILED || (h->check[i].state == HOST_PENDING && c->state != HOST_PENDING))
			c = &h->check[i];
	*ret = (struct check_view){.kind = check_kind_name(spec_of(c)->kind), .state = state_name(c), .why = c->why ? c->why : "", .since_ns = c->since_ns,
		.successes = c->successes, .failures = c->failures};
	return true;
}

uint32_t checker_count(const struct checker *ck)
{
	return ck->endpoints;
}

struct checker *checker_new(struct loop *l, struct log *log, const struct limits *lim, struct clusters *clusters)
{
	static const struct clusters_events events = {.switched = switched, .ended = ended, .host_gone = host_is_gone, .failed_now = failed_now, .traffic = traffic};
	struct checker *ck = xnew(struct checker);

	ck->loop = l;
	ck->log = log;
	ck->limits = lim;
	ck->clusters = clusters;
	list_init(&ck->groups);
	list_init(&ck->queue);
	clusters_set_events(clusters, &events, ck);
	return ck;
}

void checker_free(struct checker **at)
{
	struct checker *ck = *at;

	*at = NULL;
	if (!ck)
		return;
	clusters_set_events(ck->clusters, NULL, NULL); /* from here on no host knows us */
	list_each(n, tmp, &ck->groups) group_free(list_entry(n, struct group, node));
	loop_undefer(&ck->pump);
	free(ck);
}
