/* lb/outlier: see the header. What is judged, and when:
 *
 *   in a row, at each answer:  5xx, gateway (502, 503, 504), local origin (only where that is split off)
 *   at the end of an interval: success rate (below mean - factor x deviation of all hosts with enough calls), failure percentage; twins of both for local origin
 *
 * An ejection lasts base x multiplier (at most max, and a jitter on top); the multiplier rises with each and falls by one for each interval that the host stood
 * since. It falls by arithmetic, when somebody looks, so that it keeps no timer. Unlike Envoy, which looks once an interval, a host returns when its time is over.
 *
 * Objects: a struct outliers of a cluster (owned by it) with the list of its struct outlier_host, each owned by its host. Who ends first unhooks itself. */
#include "lb/outlier.h"
#include <stdlib.h>
#include "conf/health.h"
#include "lb/cluster_int.h"

enum origin { EXTERNAL, LOCAL, ORIGINS };
enum { IN_A_ROW = OUTLIER_LOCAL_ORIGIN + 1 };
#define NO_RATE (-1.0)

struct outliers {
	struct cluster *cluster;    /* borrowed: owner */
	struct list hosts;
	uint32_t ejected, degraded; /* of them */
	uint64_t interval_ends_ns;  /* 0: no answer has come since the last one */
	struct timer timer;
};
struct tally { uint32_t calls, good; };
/* Time away from (or, degraded, behind) the others. */
struct sentence {
	bool serving;
	uint32_t multiplier;
	uint64_t until_ns;          /* while it serves */
	uint64_t free_since_ns;     /* afterwards; what the multiplier has decayed by is added */
};
struct outlier_host {
	struct outliers *of;        /* borrowed; NULL: the cluster has ended */
	struct host *host;          /* borrowed: owner */
	struct list node;
	uint32_t in_a_row[IN_A_ROW];
	struct tally tally[ORIGINS];
	double rate[ORIGINS];       /* of the last whole interval */
	bool sentenced;             /* `last` means something */
	enum outlier_kind last;
	uint32_t ejections;
	struct sentence ejected, degraded;
};

static const struct {
	const char *name;
	size_t enforcing;           /* of struct outlier: a percentage */
	enum stat_id detected, enforced;
} kinds[OUTLIER_KINDS] = {
#define KIND(id, name, field) [OUTLIER_##id] = {name, offsetof(struct outlier, field), STAT_OUTLIER_DETECTED_##id, STAT_OUTLIER_ENFORCED_##id}
	KIND(5XX, "consecutive_5xx", enforcing_consecutive_5xx),
	KIND(GATEWAY, "consecutive_gateway_failure", enforcing_consecutive_gateway),
	KIND(LOCAL_ORIGIN, "consecutive_local_origin_failure", enforcing_consecutive_local_origin),
	KIND(SUCCESS_RATE, "success_rate", enforcing_success_rate),
	KIND(LOCAL_SUCCESS_RATE, "local_origin_success_rate", enforcing_local_success_rate),
	KIND(FAILURE_PERCENTAGE, "failure_percentage", enforcing_failure_percentage),
	KIND(LOCAL_FAILURE_PERCENTAGE, "local_origin_failure_percentage", enforcing_local_failure_percentage),
#undef KIND
	[OUTLIER_DEGRADED] = {.name = "degraded"},
};

const char *outlier_kind_name(enum outlier_kind k)
{
	return kinds[k].name;
}

void clusters_set_outlier_tell(struct clusters *all, outlier_tell_fn *fn, void *ctx)
{
	all->outlier_tell = fn;
	all->outlier_ctx = ctx;
}

static void tell(struct outlier_host *o, struct outlier_tale tale)
{
	struct cluster *c = o->of->cluster;

	if (c->all->outlier_tell)
		c->all->outlier_tell(c->all->outlier_ctx, c, o->host->text, &tale);
}

/* ---- sentences --------------------------------------------------------------------------------------------------------------- */

/* Neither a division by nothing nor an overflow, whatever is declared: 1 ms to a hundred years. */
static uint64_t bounded(uint64_t ns)
{
	const uint64_t least = UINT64_C(1000000), most = UINT64_C(3155760000) * UINT64_C(1000000000);

	return ns < least ? least : ns > most ? most : ns;
}

static void sentence_decay(struct sentence *s, uint64_t now_ns, uint64_t interval_ns)
{
	uint64_t stood;

	if (s->serving || !s->multiplier || now_ns < s->free_since_ns)
		return;
	stood = (now_ns - s->free_since_ns) / interval_ns;
	s->multiplier -= stood < s->multiplier ? (uint32_t)stood : s->multiplier;
	s->free_since_ns += stood * interval_ns;
}

/* Returns how long it lasts. */
static uint64_t sentence_begin(struct sentence *s, struct loop *l, const struct outlier *rules)
{
	uint64_t base = bounded(rules->base_ejection_ns), max = bounded(rules->max_ejection_ns > base ? rules->max_ejection_ns : base), lasts;

	sentence_decay(s, l->now_ns, bounded(rules->interval_ns));
	if (base * s->multiplier < max + base) /* beyond that it would only take longer to decay */
		s->multiplier++;
	lasts = base * s->multiplier < max ? base * s->multiplier : max;
	if (rules->max_ejection_jitter_ns)
		lasts += loop_random_below(l, bounded(rules->max_ejection_jitter_ns) + 1);
	s->serving = true;
	s->until_ns = l->now_ns + lasts;
	return lasts;
}

static void sentence_end(struct sentence *s, uint64_t now_ns)
{
	s->serving = false;
	s->until_ns = 0;
	s->free_since_ns = now_ns;
}

/* ---- the timer --------------------------------------------------------------------------------------------------------------- */

static void outliers_due(struct timer *t);

static void outliers_arm(struct outliers *o)
{
	struct loop *l = o->cluster->all->loop;
	uint64_t first = o->interval_ends_ns ? o->interval_ends_ns : UINT64_MAX;

	if (o->ejected || o->degraded)
		for (struct list *n = o->hosts.next; n != &o->hosts; n = n->next) {
			const struct outlier_host *h = list_entry(n, struct outlier_host, node);

			if (h->ejected.serving && h->ejected.until_ns < first)
				first = h->ejected.until_ns;
			if (h->degraded.serving && h->degraded.until_ns < first)
				first = h->degraded.until_ns;
		}
	if (first == UINT64_MAX)
		timer_cancel(l, &o->timer);
	else
		timer_set(l, &o->timer, first, outliers_due);
}

/* ---- out and back ------------------------------------------------------------------------------------------------------------- */

static void ejected_less(struct outliers *o)
{
	o->ejected--;
	stat_dec(&o->cluster->all->loop->stats, STAT_OUTLIER_ACTIVE);
}

static void host_return(struct outlier_host *o, enum outlier_told why)
{
	struct cluster *c = o->of->cluster;

	sentence_end(&o->ejected, c->all->loop->now_ns);
	ejected_less(o->of);
	/* What it did before is paid for: else the first new failure might eject it again. */
	for (int i = 0; i < IN_A_ROW; i++)
		o->in_a_row[i] = 0;
	if (o->host->index != UINT32_MAX)
		cluster_flag(c, o->host->index, 0, HOT_EJECTED);
	tell(o, (struct outlier_tale){.what = why, .kind = o->last, .rate = NO_RATE, .mean = NO_RATE});
	cluster_wake(c);
}

static void host_undegrade(struct outlier_host *o)
{
	sentence_end(&o->degraded, o->of->cluster->all->loop->now_ns);
	o->of->degraded--;
	if (o->host->index != UINT32_MAX)
		cluster_flag(o->host->cluster, o->host->index, 0, HOT_DEGRADED_OUTLIER); /* the control plane's word for it stays */
	tell(o, (struct outlier_tale){.what = TOLD_NOT_DEGRADED, .kind = OUTLIER_DEGRADED, .rate = NO_RATE, .mean = NO_RATE});
}

static bool may_eject(const struct outliers *o, const struct outlier *rules)
{
	if (rules->always_eject_one && !o->ejected)
		return true;
	return ((uint64_t)o->ejected + 1) * 100 <= (uint64_t)rules->max_ejection_percent * o->cluster->m.count;
}

static bool is_enforced(struct loop *l, const struct outlier *rules, enum outlier_kind kind)
{
	uint32_t percent = *(const uint32_t *)((const char *)rules + kinds[kind].enforcing);

	return percent >= 100 || (percent && loop_random_below(l, 100) < percent);
}

/* May end a host that is held. */
static void host_eject(struct outlier_host *o, enum outlier_kind kind, double rate, double mean)
{
	struct outliers *of = o->of;
	struct cluster *c = of->cluster;
	struct loop *l = c->all->loop;
	const struct outlier *rules = c->spec->outlier;
	struct outlier_tale tale = {.what = TOLD_EJECTED, .kind = kind, .rate = rate, .mean = mean};

	stat_inc(&l->stats, kinds[kind].detected);
	if (host_is_held(o->host)) {
		/* Not listed any more, and fails: that was the last reason to keep it. */
		if (is_enforced(l, rules, kind))
			held_drop(c, TOLD_ENDED, o->host);
		return;
	}
	if (o->host->index == UINT32_MAX)
		return;
	if (!may_eject(of, rules)) {
		stat_inc(&l->stats, STAT_OUTLIER_OVERFLOW);
		cluster_count(c, COUNT_EJECTIONS_OVERFLOW);
		return;
	}
	if (!is_enforced(l, rules, kind)) {
		tale.what = TOLD_NOT_ENFORCED;
		tell(o, tale);
		return;
	}
	stat_inc(&l->stats, kinds[kind].enforced);
	stat_inc(&l->stats, STAT_OUTLIER_ENFORCED);
	cluster_count(c, COUNT_EJECTED);
	cluster_count(c, (enum cluster_counter)(COUNT_EJECTED_FOR + kind));
	stat_inc(&l->stats, STAT_OUTLIER_ACTIVE);
	of->ejected++;
	o->ejections++;
	o->last = kind;
	o->sentenced = true;
	tale.for_ns = sentence_begin(&o->ejected, l, rules);
	cluster_flag(c, o->host->index, HOT_EJECTED, 0);
	tell(o, tale);
}

static void host_degrade(struct outlier_host *o)
{
	struct cluster *c = o->of->cluster;
	struct outlier_tale tale = {.what = TOLD_DEGRADED, .kind = OUTLIER_DEGRADED, .rate = NO_RATE, .mean = NO_RATE};

	if (o->degraded.serving || o->host->index == UINT32_MAX)
		return;
	stat_inc(&c->all->loop->stats, STAT_OUTLIER_DEGRADED);
	o->of->degraded++;
	o->last = OUTLIER_DEGRADED;
	o->sentenced = true;
	tale.for_ns = sentence_begin(&o->degraded, c->all->loop, c->spec->outlier);
	cluster_flag(c, o->host->index, HOT_DEGRADED_OUTLIER, 0);
	tell(o, tale);
}

/* ---- at each answer ------------------------------------------------------------------------------------------------------------ */

static void row_fails(struct outlier_host *o, enum outlier_kind kind, uint32_t limit)
{
	if (!limit || o->ejected.serving || ++o->in_a_row[kind] < limit)
		return;
	o->in_a_row[kind] = 0; /* so that the next bout is noticed too, if nothing came of this one */
	host_eject(o, kind, NO_RATE, NO_RATE);
}

static void count(struct outlier_host *o, enum origin origin, bool good)
{
	o->tally[origin].calls++;
	o->tally[origin].good += good;
}

static void judge_status(struct outlier_host *o, const struct outlier *rules, int status)
{
	bool failed = status >= 500 && status <= 599, gateway = status >= 502 && status <= 504;

	count(o, EXTERNAL, !failed);
	if (!gateway)
		o->in_a_row[OUTLIER_GATEWAY] = 0;
	if (!failed)
		o->in_a_row[OUTLIER_5XX] = 0;
	if (gateway)
		row_fails(o, OUTLIER_GATEWAY, rules->consecutive_gateway);
	if (failed)
		row_fails(o, OUTLIER_5XX, rules->consecutive_5xx);
}

static void judge_origin(struct outlier_host *o, const struct outlier *rules, bool failed)
{
	count(o, LOCAL, !failed);
	if (failed)
		row_fails(o, OUTLIER_LOCAL_ORIGIN, rules->consecutive_local_origin);
	else
		o->in_a_row[OUTLIER_LOCAL_ORIGIN] = 0;
}

static struct outliers *outliers_of(struct cluster *c)
{
	if (!c->outliers) {
		c->outliers = xnew(struct outliers);
		c->outliers->cluster = c;
		list_init(&c->outliers->hosts);
	}
	return c->outliers;
}

/* NULL: no memory for it, so it is not judged. */
static struct outlier_host *judged(struct host *h)
{
	struct outlier_host *o = h->outlier;

	if (o)
		return o;
	o = acct_alloc(&h->cluster->all->account, sizeof(*o));
	if (!o) {
		stat_inc(&h->cluster->all->loop->stats, STAT_OUTLIER_UNJUDGED);
		return NULL;
	}
	*o = (struct outlier_host){.of = outliers_of(h->cluster), .host = h, .rate = {NO_RATE, NO_RATE}};
	list_push(&o->of->hosts, &o->node);
	return h->outlier = o;
}

static void host_judge(struct outlier_host *o, const struct outlier *rules, const struct host_outcome *outcome)
{
	struct outliers *of = o->of;

	if (!of->interval_ends_ns)
		of->interval_ends_ns = of->cluster->all->loop->now_ns + bounded(rules->interval_ns);
	if (rules->split_local_origin)
		judge_origin(o, rules, outcome->local_origin);
	if (!outcome->local_origin || !rules->split_local_origin)
		judge_status(o, rules, outcome->http_status ? outcome->http_status : 503);
}

void host_outcome(struct host *h, const struct host_outcome *outcome)
{
	const struct outlier *rules = h->cluster->spec->outlier;
	struct outlier_host *o;
	uint32_t serving;

	if (__builtin_expect(!rules, 1) || !(o = judged(h)))
		return;
	serving = o->of->ejected + o->of->degraded;
	if (outcome->degraded && rules->detect_degraded)
		host_degrade(o);
	if (outcome->http_status || outcome->local_origin)
		host_judge(o, rules, outcome);
	if (!timer_armed(&o->of->timer) || o->of->ejected + o->of->degraded != serving)
		outliers_arm(o->of);
}

/* ---- at the end of an interval --------------------------------------------------------------------------------------------------- */

static bool has_volume(const struct outlier_host *o, enum origin origin, uint32_t volume)
{
	return !o->ejected.serving && o->tally[origin].calls && o->tally[origin].calls >= volume;
}

static double rate_of(const struct outlier_host *o, enum origin origin)
{
	return o->tally[origin].good * 100.0 / o->tally[origin].calls;
}

/* Who lies further below the mean than sqrt(square) is an outlier. Squares are compared: no libm for one root in ten seconds. */
struct spread { bool known; double mean, square; };

static struct spread success_spread(const struct outliers *of, const struct outlier *rules, enum origin origin)
{
	double sum = 0, squares = 0, mean, factor = rules->success_rate_stdev_factor / 1000.0;
	uint32_t n = 0;

	for (struct list *at = of->hosts.next; at != &of->hosts; at = at->next) {
		const struct outlier_host *o = list_entry(at, struct outlier_host, node);

		if (!has_volume(o, origin, rules->success_rate_volume))
			continue;
		sum += rate_of(o, origin);
		n++;
	}
	if (!n || n < rules->success_rate_hosts) /* too few to say what is usual */
		return (struct spread){0};
	mean = sum / n;
	for (struct list *at = of->hosts.next; at != &of->hosts; at = at->next) {
		const struct outlier_host *o = list_entry(at, struct outlier_host, node);

		if (has_volume(o, origin, rules->success_rate_volume))
			squares += (rate_of(o, origin) - mean) * (rate_of(o, origin) - mean);
	}
	return (struct spread){.known = true, .mean = mean, .square = squares / n * factor * factor};
}

static bool is_outside(const struct spread *s, double rate)
{
	return s->known && rate < s->mean && (s->mean - rate) * (s->mean - rate) > s->square;
}

static bool enough_for_percentage(const struct outliers *of, const struct outlier *rules, enum origin origin)
{
	uint32_t n = 0;

	for (struct list *at = of->hosts.next; at != &of->hosts; at = at->next)
		n += has_volume(list_entry(at, struct outlier_host, node), origin, rules->failure_percentage_volume);
	return n && n >= rules->failure_percentage_hosts;
}

static void judge_interval(struct outliers *of, const struct outlier *rules, enum origin origin)
{
	struct spread usual = success_spread(of, rules, origin);
	bool by_percentage = enough_for_percentage(of, rules, origin);

	list_each(n, tmp, &of->hosts)
	{
		struct outlier_host *o = list_entry(n, struct outlier_host, node);
		double rate;

		if (!has_volume(o, origin, 0))
			continue;
		rate = rate_of(o, origin);
		if (has_volume(o, origin, rules->success_rate_volume) && is_outside(&usual, rate))
			host_eject(o, origin == LOCAL ? OUTLIER_LOCAL_SUCCESS_RATE : OUTLIER_SUCCESS_RATE, rate, usual.mean);
		if (by_percentage && has_volume(o, origin, rules->failure_percentage_volume) && 100 - rate >= rules->failure_percentage)
			host_eject(o, origin == LOCAL ? OUTLIER_LOCAL_FAILURE_PERCENTAGE : OUTLIER_FAILURE_PERCENTAGE, rate, NO_RATE);
	}
}

/* Rates are for people, of hosts that had enough calls for one of the two ways to judge by them. */
static void next_interval(struct outliers *of, const struct outlier *rules)
{
	uint32_t volume = rules->success_rate_volume < rules->failure_percentage_volume ? rules->success_rate_volume : rules->failure_percentage_volume;

	of->interval_ends_ns = 0;
	for (struct list *n = of->hosts.next; n != &of->hosts; n = n->next) {
		struct outlier_host *o = list_entry(n, struct outlier_host, node);

		for (enum origin i = EXTERNAL; i < ORIGINS; i++) {
			o->rate[i] = o->tally[i].calls && o->tally[i].calls >= volume ? rate_of(o, i) : NO_RATE;
			o->tally[i] = (struct tally){0};
		}
	}
}

static void end_held(struct cluster *c)
{
	for (uint32_t i = c->host_count; i-- > 0;)
		if (i < c->host_count && c->hosts[i]->outlier && c->hosts[i]->index == UINT32_MAX && !host_is_held(c->hosts[i]) && !c->hosts[i]->refs)
			host_end(c->hosts[i]);
}

static void outliers_due(struct timer *t)
{
	struct outliers *of = container_of(t, struct outliers, timer);
	struct cluster *c = of->cluster;
	const struct outlier *rules = c->spec->outlier;
	uint64_t now_ns = c->all->loop->now_ns;

	cluster_hold(c);
	list_each(n, tmp, &of->hosts)
	{
		struct outlier_host *o = list_entry(n, struct outlier_host, node);

		if (o->ejected.serving && o->ejected.until_ns <= now_ns)
			host_return(o, TOLD_RETURNED);
		if (o->degraded.serving && o->degraded.until_ns <= now_ns)
			host_undegrade(o);
	}
	if (!rules) { /* taken back, but the set that goes with it does not serve yet, or never will: no memory, or an empty one */
		of->interval_ends_ns = 0;
	} else if (of->interval_ends_ns && of->interval_ends_ns <= now_ns) {
		uint32_t held = c->held_count;

		judge_interval(of, rules, EXTERNAL);
		judge_interval(of, rules, LOCAL);
		next_interval(of, rules);
		if (c->held_count < held)
			end_held(c);
	}
	outliers_arm(of);
	cluster_release(&c);
}

/* ---- what happens around it ------------------------------------------------------------------------------------------------------- */

void outlier_checked(struct host *h, bool passed)
{
	struct outlier_host *o = h->outlier;

	if (!passed || !o || !o->of || !o->ejected.serving || !h->cluster->spec->outlier || !h->cluster->spec->outlier->uneject_on_check)
		return;
	host_return(o, TOLD_RETURNED_CHECKED);
	outliers_arm(o->of);
}

static void host_forget(struct outlier_host *o)
{
	if (o->ejected.serving)
		ejected_less(o->of);
	o->of->degraded -= o->degraded.serving;
	o->ejected.serving = o->degraded.serving = false;
	o->ejected.until_ns = o->degraded.until_ns = 0;
}

void outlier_switched(struct cluster *c)
{
	struct outliers *of = c->outliers;

	if (!of)
		return;
	list_each(n, tmp, &of->hosts)
	{
		struct outlier_host *o = list_entry(n, struct outlier_host, node);

		if (o->host->index == UINT32_MAX) {
			host_forget(o);
			continue;
		}
		if (!c->spec->outlier && o->ejected.serving)
			host_return(o, TOLD_RETURNED);
		if ((!c->spec->outlier || !c->spec->outlier->detect_degraded) && o->degraded.serving)
			host_undegrade(o);
		/* The hot record may be a new one. */
		cluster_flag(c, o->host->index, (o->ejected.serving ? HOT_EJECTED : 0) | (o->degraded.serving ? HOT_DEGRADED_OUTLIER : 0), 0);
	}
	if (!c->spec->outlier)
		outlier_end(c);
	else
		outliers_arm(of);
}

void outlier_host_free(struct outlier_host **at)
{
	struct outlier_host *o = *at;

	if (!o)
		return;
	*at = NULL;
	if (o->of)
		host_forget(o);
	list_del(&o->node);
	acct_free(&o->host->cluster->all->account, o);
}

void outlier_end(struct cluster *c)
{
	struct outliers *of = c->outliers;

	if (!of)
		return;
	list_each(n, tmp, &of->hosts) outlier_host_free(&list_entry(n, struct outlier_host, node)->host->outlier);
	timer_cancel(c->all->loop, &of->timer);
	c->outliers = NULL;
	free(of);
}

void outlier_thaw(struct cluster *c)
{
	struct outliers *of = c->outliers;

	if (!of)
		return;
	for (struct list *n = of->hosts.next; n != &of->hosts; n = n->next) {
		struct outlier_host *o = list_entry(n, struct outlier_host, node);

		for (int i = 0; i < IN_A_ROW; i++)
			o->in_a_row[i] = 0;
		for (enum origin i = EXTERNAL; i < ORIGINS; i++)
			o->tally[i] = (struct tally){0};
	}
	of->interval_ends_ns = 0;
	outliers_arm(of);
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

bool host_is_ejected(const struct host *h)
{
	return h->outlier && h->outlier->ejected.serving;
}

bool outlier_degraded(const struct host *h)
{
	return h->outlier && h->outlier->degraded.serving;
}

bool outlier_keeps(const struct host *h)
{
	const struct outlier_host *o = h->outlier;

	return o && (o->ejected.serving || o->degraded.serving || o->tally[EXTERNAL].calls || o->tally[LOCAL].calls);
}

uint32_t outlier_ejected(const struct cluster *c)
{
	return c->outliers ? c->outliers->ejected : 0;
}

static uint64_t left_ns(const struct sentence *s, uint64_t now_ns)
{
	return s->serving && s->until_ns > now_ns ? s->until_ns - now_ns : 0;
}

bool outlier_host_view(const struct host *h, struct outlier_view *ret)
{
	const struct outlier_host *o = h->outlier;
	const struct outlier *rules = h->cluster->spec->outlier;
	uint64_t now_ns = h->cluster->all->loop->now_ns;
	struct sentence ejected;

	if (!o || !rules)
		return false;
	ejected = o->ejected;
	sentence_decay(&ejected, now_ns, bounded(rules->interval_ns));
	*ret = (struct outlier_view){
		.ejected = ejected.serving,
		.degraded = o->degraded.serving,
		.left_ns = left_ns(ejected.serving ? &ejected : &o->degraded, now_ns),
		.why = o->sentenced ? kinds[o->last].name : NULL,
		.success_rate = o->rate[EXTERNAL],
		.local_success_rate = o->rate[LOCAL],
		.ejections = o->ejections,
		.multiplier = ejected.multiplier,
	};
	return true;
}
