/* health/life: every way from one state to another, in whatever order words, processes, checks and the daemon's end come. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "health/life.h"
#include "tests/sim/simnet.h"
#include "tests/sim/simnet_proc.h"
#include "tests/unit.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)

struct seen { int changes, closes, idles; enum life_state was, now; };
struct world { struct simnet *net; struct loop *loop; struct log *log; struct account account; struct limits limits; struct life *life; struct seen seen; struct sb said; struct health_check check; };

static void changed(void *ctx, struct life *l, enum life_state was)
{
	struct seen *s = ctx;
	s->changes++;
	s->was = was;
	s->now = life_state(l);
}
static void closed(void *ctx, struct life *l)
{
	(void)l;
	((struct seen *)ctx)->closes++;
}
static void idle(void *ctx, struct life *l)
{
	(void)l;
	((struct seen *)ctx)->idles++;
}
static void sink(void *ctx, enum log_level level, const char *line, size_t len)
{
	(void)level;
	sb_add(&((struct world *)ctx)->said, line, len);
}

static void life_begin(struct world *w)
{
	struct life_spec spec = {.loop = w->loop, .log = w->log, .limits = &w->limits, .account = &w->account, .name = "shop", .changed = changed, .closed = closed, .idle = idle, .ctx = &w->seen};
	w->life = life_new(&spec);
}

/* An exec check whose program says what a test wants: period 10 s, three failures, one success. */
static void check_begin(struct health_check *c)
{
	health_check_default(c);
	c->kind = CHECK_EXEC;
	c->argv = xalloc(2 * sizeof *c->argv);
	c->argv[0] = xstrdup("probe");
	c->nargv = 1;
	c->interval_ns = 10 * SEC;
	c->timeout_ns = 1 * SEC;
	c->unhealthy_threshold = 3;
	c->healthy_threshold = 1;
	health_check_settle(c);
}

static struct world *world_new(void)
{
	struct world *w = xnew(struct world);
	w->net = simnet_new(1);
	w->loop = simnet_loop(w->net);
	w->log = log_new(LOG_DEBUG, 0);
	log_set_sink(w->log, sink, w);
	account_init(&w->account, &w->loop->memory, "app", SIZE_MAX);
	check_begin(&w->check);
	life_begin(w);
	return w;
}

static void world_free(struct world *w)
{
	life_free(&w->life);
	simnet_advance(w->net, 0);
	ck_assert_uint_eq(simnet_watches(w->net), 0);
	ck_assert_uint_eq(simnet_running(w->net), 0);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_PROCS_WATCHED), 0);
	account_end(&w->account);
	health_check_end(&w->check);
	log_free(&w->log);
	simnet_free(&w->net);
	sb_end(&w->said);
	free(w);
}

static const struct sock_cred poster = {.known = true, .uid = 1000, .gid = 1000, .pid = 77};

static void conf(struct world *w, const struct health_check *check, uint64_t gone_after_ns)
{
	struct life_conf c = {.check = check, .gone_after_ns = gone_after_ns, .watch = true};
	life_conf(w->life, &c);
}

/* A process says ok itself, perhaps with its last breath; where its word is not heard, that is told. */
static void late(struct world *w, pid_t pid)
{
	const struct sock_cred by = {.known = true, .uid = 1000, .gid = 1000, .pid = pid};
	struct life_view was, is;
	life_view(w->life, &was);
	int rc = life_ok(w->life, &by, 0);
	life_view(w->life, &is);
	ck_assert(rc == 0 || rc == -ESRCH);
	ck_assert_int_eq(is.pid, rc == 0 ? pid : was.pid);
	ck_assert(rc == 0 || is.state == was.state);
}

/* The words of a row, one letter each:
 *   o ok    t ok with a lease of 30 s    f fail    L the daemon goes    a announced
 *   w process 20 is watched    W process 21    x 20 ends    X 21 ends    y 20 begins    p 20 says ok    P 21
 *   + one call comes in    - one ends    c a connection    n none any more
 *   K the check is declared (its program passes)    k it is taken away    B its program fails from now on    G it passes
 *   . a second    s a minute */
static void play(struct world *w, const char *words)
{
	for (; *words; words++) {
		switch (*words) {
		case 'o': life_ok(w->life, &poster, 0); break;
		case 't': life_ok(w->life, &poster, 30 * SEC); break;
		case 'f': life_fail(w->life, &poster, ""); break;
		case 'L': life_leave(w->life); break;
		case 'a': life_announced(w->life); break;
		case 'w': ck_assert_int_eq(life_watch_pid(w->life, 20), 0); break;
		case 'W': ck_assert_int_eq(life_watch_pid(w->life, 21), 0); break;
		case 'x': simnet_end_process(w->net, 20); break;
		case 'X': simnet_end_process(w->net, 21); break;
		case 'p': late(w, 20); break;
		case 'P': late(w, 21); break;
		case 'y': simnet_begin_process(w->net, 20); break;
		case '+': life_inbound(w->life, 1); break;
		case '-': life_inbound(w->life, -1); break;
		case 'c': life_connections(w->life, 1); break;
		case 'n': life_connections(w->life, 0); break;
		case 'K': conf(w, &w->check, 20 * SEC); break;
		case 'k': conf(w, NULL, 20 * SEC); break;
		case 'B': simnet_program(w->net, "probe", 1, 0); break;
		case 'G': simnet_program(w->net, "probe", 0, 0); break;
		case '.': simnet_advance(w->net, 1 * SEC); break;
		case 's': simnet_advance(w->net, 60 * SEC); break;
		default: ck_abort_msg("%c", *words);
		}
		simnet_advance(w->net, 0);
	}
}

START_TEST(every_transition_follows_from_what_was_said_and_seen)
{
	static const struct { const char *words; enum life_state state; const char *why; } rows[] = {
		/* words */
		{"", LIFE_UNKNOWN, ""},
		{"o", LIFE_OK, ""},
		{"oo", LIFE_OK, ""},
		{"f", LIFE_FAILING, ""},
		{"of", LIFE_FAILING, ""},
		{"ofo", LIFE_OK, ""},
		{"ofa", LIFE_DRAINED, ""},
		{"of+a", LIFE_FAILING, ""},
		{"o+fa-", LIFE_DRAINED, ""},
		{"o+f-", LIFE_FAILING, ""},
		{"ofao", LIFE_OK, ""},
		{"ofaf", LIFE_DRAINED, ""},
		{"ofaof", LIFE_FAILING, ""},   /* announced before, but not this one */
		{"oa", LIFE_OK, ""},
		{"ofs", LIFE_FAILING, ""},
		/* leases */
		{"t.", LIFE_OK, ""},
		{"ts", LIFE_FAILING, "its lease has run out"},
		{"tso", LIFE_OK, ""},
		{"t....................t....................", LIFE_OK, ""},
		{"tos", LIFE_OK, ""},          /* ok without a lease takes the lease away */
		{"ots", LIFE_FAILING, "its lease has run out"},
		{"tfs", LIFE_FAILING, ""},
		{"tsa", LIFE_DRAINED, "its lease has run out"},
		/* processes */
		{"owx", LIFE_GONE, "its process 20 has ended"},
		{"wox", LIFE_GONE, "its process 20 has ended"},
		{"owWx", LIFE_OK, ""},
		{"owWxX", LIFE_GONE, "its process 21 has ended"},
		{"owwx", LIFE_GONE, "its process 20 has ended"},
		{"owxo", LIFE_OK, ""},
		{"owxf", LIFE_FAILING, ""},    /* the last word counts: ExecStopPost= */
		{"owxfa", LIFE_DRAINED, ""},
		{"ofwx", LIFE_GONE, "its process 20 has ended"},
		{"ofawx", LIFE_GONE, "its process 20 has ended"},
		{"wx", LIFE_UNKNOWN, ""},      /* a consumer that never said a word comes and goes */
		{"wxo", LIFE_OK, ""},
		{"twxs", LIFE_GONE, "its process 20 has ended"}, /* its lease ended with it */
		{"owxoywx", LIFE_GONE, "its process 20 has ended"},
		/* a process posts and ends, and its end is seen first */
		{"pwx", LIFE_GONE, "its process 20 has ended"},
		{"owxp", LIFE_GONE, "its process 20 has ended"},
		{"owxpp", LIFE_GONE, "its process 20 has ended"},
		{"wxp", LIFE_UNKNOWN, ""},
		{"owxfp", LIFE_FAILING, ""},
		{"owWxpX", LIFE_GONE, "its process 21 has ended"}, /* heard while another one lives */
		{"owWxXp", LIFE_GONE, "its process 21 has ended"},
		{"owWxXP", LIFE_GONE, "its process 21 has ended"},
		{"owxP", LIFE_OK, ""},         /* another one, which nobody watches */
		{"oxp", LIFE_OK, ""},          /* who was never watched may have posted for another one */
		{"owxyp", LIFE_OK, ""},        /* another process has the number */
		{"owxop", LIFE_OK, ""},
		{"owxypwxp", LIFE_GONE, "its process 20 has ended"},
		/* connections: gone_after 20 s */
		{"kocns", LIFE_FAILING, "it has had no connection for 20000 ms"},
		{"kocn..........", LIFE_OK, ""},
		{"kocn..........cs", LIFE_OK, ""},
		{"kos", LIFE_OK, ""},          /* there was none that could be gone */
		{"kcns", LIFE_UNKNOWN, ""},
		{"kocnso", LIFE_OK, ""},
		{"kocnfs", LIFE_FAILING, ""},
		{"ocns", LIFE_OK, ""},         /* off */
		/* checks */
		{"GK", LIFE_OK, ""},
		{"BK", LIFE_UNKNOWN, ""},
		{"BK..........", LIFE_UNKNOWN, ""},
		{"BKs", LIFE_FAILING, "its exec check fails: "},
		{"BKsGs", LIFE_OK, ""},
		{"GKBs", LIFE_FAILING, "its exec check fails: "},
		{"GKB....................G..........", LIFE_OK, ""}, /* two failures are not three */
		{"GKf", LIFE_FAILING, ""},     /* what was said stays, whatever the check says */
		{"GKfs", LIFE_FAILING, ""},
		{"GKfo", LIFE_OK, ""},
		{"GKfBs", LIFE_FAILING, ""},
		{"GKfBso", LIFE_FAILING, "its exec check fails: "},
		{"GKfBsoGs", LIFE_OK, ""},
		{"BKsfa", LIFE_DRAINED, ""},
		{"BKsa", LIFE_FAILING, "its exec check fails: "}, /* a check's failure is no leaving */
		{"GKB.oGs", LIFE_OK, ""},
		{"oBK", LIFE_OK, ""},          /* one that a reload brings closes nothing until it fails */
		{"oBKs", LIFE_FAILING, "its exec check fails: "},
		{"oBKsk", LIFE_OK, ""},
		{"BKsk", LIFE_UNKNOWN, ""},
		{"GKkk", LIFE_UNKNOWN, ""},
		{"GKowx", LIFE_GONE, "its process 20 has ended"},
		{"GKowxs", LIFE_GONE, "its process 20 has ended"}, /* it said ok once: it has to say it again */
		{"GKowxo.", LIFE_OK, ""},
		{"GKBowxo", LIFE_FAILING, "its check has not passed yet"},
		{"GKwBx", LIFE_GONE, "its process 20 has ended"},
		{"GKwBxGs", LIFE_OK, ""},      /* who never speaks: the check speaks for him */
		{"GKs", LIFE_OK, ""},
		/* the daemon goes */
		{"oL", LIFE_FAILING, "the daemon is going"},
		{"oLa", LIFE_DRAINED, "the daemon is going"},
		{"oLo", LIFE_FAILING, "the daemon is going"},
		{"oLao", LIFE_DRAINED, "the daemon is going"},
		{"oLaf", LIFE_DRAINED, "the daemon is going"},
		{"o+La", LIFE_FAILING, "the daemon is going"},
		{"o+La-", LIFE_DRAINED, "the daemon is going"},
		{"ofL", LIFE_FAILING, "the daemon is going"},
		{"ofaL", LIFE_DRAINED, "the daemon is going"},
		{"L", LIFE_FAILING, "the daemon is going"},
		{"tLs", LIFE_FAILING, "the daemon is going"},
		{"owLx", LIFE_GONE, "its process 20 has ended"},
		{"GKLs", LIFE_FAILING, "the daemon is going"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		struct life_view v;
		play(w, rows[i].words);
		life_view(w->life, &v);
		ck_assert_msg(v.state == rows[i].state, "'%s': %s, expected %s", rows[i].words, life_state_name(v.state), life_state_name(rows[i].state));
		ck_assert_msg(strncmp(v.why, rows[i].why, strlen(rows[i].why)) == 0 && (*rows[i].why || !*v.why), "'%s': '%s', expected '%s'", rows[i].words, v.why, rows[i].why);
		ck_assert_msg(life_is_open(w->life) == (v.state == LIFE_OK), "'%s'", rows[i].words);
		world_free(w);
	}
}
END_TEST

static int count_of(const struct sb *b, const char *text)
{
	int n = 0;
	for (size_t i = 0; b->n >= strlen(text) && i <= b->n - strlen(text); i++)
		n += memcmp(b->p + i, text, strlen(text)) == 0;
	return n;
}

START_TEST(a_transition_is_told_once_counted_once_and_logged_once_with_who_asked)
{
	struct world *w = world_new();
	struct life_view v;
	life_ok(w->life, &poster, 0);
	ck_assert_int_eq(w->seen.changes, 1); /* before it returned: the mesh hears of it in this turn */
	ck_assert_int_eq(w->seen.was, LIFE_UNKNOWN);
	ck_assert_int_eq(w->seen.now, LIFE_OK);
	simnet_advance(w->net, 5 * SEC);
	life_ok(w->life, &poster, 0);
	life_ok(w->life, NULL, 0);
	ck_assert_int_eq(w->seen.changes, 1);
	ck_assert_int_eq(count_of(&w->said, "app 'shop': unknown -> ok (asked by uid 1000, pid 77)"), 1);
	life_view(w->life, &v);
	ck_assert_uint_eq(v.since_ns, 1 * SEC); /* of the transition, not of the last post */
	ck_assert_uint_eq(v.since_wall_ns, w->loop->ops->wall_ns(w->loop->ops_ctx) - 5 * SEC);
	ck_assert(!v.known);
	life_fail(w->life, &poster, "");
	life_fail(w->life, &poster, "");
	life_view(w->life, &v);
	ck_assert(v.known);
	ck_assert_uint_eq(v.uid, 1000);
	ck_assert_int_eq(v.pid, 77);
	ck_assert_int_eq(w->seen.changes, 2);
	ck_assert_int_eq(count_of(&w->said, "app 'shop': ok -> failing (asked by uid 1000, pid 77)"), 1);
	life_ok(w->life, &poster, 0);
	play(w, "wx");
	ck_assert_int_eq(count_of(&w->said, "app 'shop': ok -> gone: its process 20 has ended\n"), 1);
	life_view(w->life, &v);
	ck_assert_uint_eq(v.transitions[LIFE_OK], 2);
	ck_assert_uint_eq(v.transitions[LIFE_FAILING], 1);
	ck_assert_uint_eq(v.transitions[LIFE_GONE], 1);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_APP_OK), 2);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_APP_GONE), 1);
	ck_assert_int_eq(w->seen.changes, 4);
	world_free(w);
}
END_TEST

START_TEST(closing_is_announced_for_each_fail_that_is_new_and_for_no_other)
{
	static const struct { const char *words; int closes; } rows[] = {
		{"o", 0}, {"of", 1}, {"off", 2 /* not announced yet: asked again, which is harmless */}, {"ofaf", 1}, {"ofaof", 2}, {"ts", 1}, {"owx", 0}, {"BKs", 0}, {"BKsf", 1}, {"oL", 1}, {"oLL", 1},
		{"ofaL", 0 + 1}, {"owxf", 1},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		play(w, rows[i].words);
		ck_assert_msg(w->seen.closes == rows[i].closes, "'%s': %d, expected %d", rows[i].words, w->seen.closes, rows[i].closes);
		world_free(w);
	}
}
END_TEST

/* ---- who waits ---- */

struct waiting { struct life_wait w; int times; bool drained; };
static void waited(struct life_wait *w, bool drained)
{
	struct waiting *x = container_of(w, struct waiting, w);
	x->times++;
	x->drained = drained;
}

START_TEST(who_waits_is_told_when_nothing_is_in_flight_or_the_time_is_over)
{
	struct world *w = world_new();
	struct waiting now = {0}, soon = {0}, late = {0}, never = {0};
	life_wait(w->life, &now.w, 5 * SEC, waited);
	ck_assert_int_eq(now.times, 0); /* never before it returned */
	simnet_advance(w->net, 0);
	ck_assert_int_eq(now.times, 1);
	ck_assert(now.drained);
	play(w, "+++");
	ck_assert_uint_eq(life_in_flight(w->life), 3);
	life_wait(w->life, &late.w, 1 * SEC, waited);
	life_wait(w->life, &soon.w, 10 * SEC, waited);
	life_wait(w->life, &never.w, 10 * SEC, waited);
	simnet_advance(w->net, 2 * SEC);
	ck_assert_int_eq(late.times, 1);
	ck_assert(!late.drained);
	life_unwait(&never.w);
	life_unwait(&never.w);
	play(w, "--");
	ck_assert_int_eq(soon.times, 0);
	play(w, "-");
	ck_assert_int_eq(soon.times, 1);
	ck_assert(soon.drained);
	ck_assert_int_eq(w->seen.idles, 1);
	simnet_advance(w->net, 60 * SEC);
	ck_assert_int_eq(never.times, 0);
	ck_assert_int_eq(soon.times + late.times + now.times, 3);
	play(w, "+");
	life_wait(w->life, &never.w, 10 * SEC, waited);
	world_free(w); /* with one who waits still */
}
END_TEST

/* ---- processes ---- */

START_TEST(an_app_has_so_many_processes_and_memory_may_be_refused)
{
	struct world *w = world_new();
	struct life_view v;
	for (pid_t pid = 100; pid < 100 + LIFE_PIDS_MAX; pid++)
		ck_assert_int_eq(life_watch_pid(w->life, pid), 0);
	ck_assert_int_eq(life_watch_pid(w->life, 99), ERR_LIMIT);
	ck_assert_int_eq(life_watch_pid(w->life, 100), 0); /* known */
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_PROCS_LIMIT), 1);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_PROCS_WATCHED), LIFE_PIDS_MAX);
	life_view(w->life, &v);
	ck_assert_uint_eq(v.processes, LIFE_PIDS_MAX);
	life_ok(w->life, NULL, 0);
	for (pid_t pid = 100; pid < 100 + LIFE_PIDS_MAX; pid++)
		simnet_end_process(w->net, pid);
	simnet_advance(w->net, 0);
	ck_assert_int_eq(life_state(w->life), LIFE_GONE);
	w->account.limit = w->account.used;
	ck_assert_int_eq(life_watch_pid(w->life, 200), ERR_LIMIT);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_PROCS_LIMIT), 2);
	ck_assert_uint_eq(simnet_watches(w->net), 0);
	world_free(w);
}
END_TEST

START_TEST(connections_are_watched_by_their_process_once_and_only_where_that_is_wanted)
{
	struct world *w = world_new();
	struct life_conf off = {.watch = false}, on = {.watch = true};
	struct sock peer = {.loop = w->loop, .fd = -1, .cred = {.known = true, .pid = 20}}, hidden = {.loop = w->loop, .fd = -1, .cred = {.known = true, .pid = 0}}, tcp = {.loop = w->loop, .fd = -1};
	life_conf(w->life, &off);
	ck_assert_int_eq(life_watch_caller(w->life, &peer), 0);
	ck_assert_uint_eq(simnet_watches(w->net), 0);
	life_conf(w->life, &on);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(life_watch_caller(w->life, &peer), 0);
		ck_assert_int_eq(life_watch_caller(w->life, &hidden), 0); /* of another PID namespace: told apart by what the kernel calls it */
	}
	ck_assert_uint_eq(simnet_watches(w->net), 2);
	ck_assert_int_eq(life_watch_caller(w->life, &tcp), 0);
	ck_assert_uint_eq(simnet_watches(w->net), 2);
	simnet_end_process(w->net, 30);
	peer.cred.pid = 30;
	ck_assert(life_watch_caller(w->life, &peer) < 0);
	ck_assert_int_eq(count_of(&w->said, "can't be watched"), 0); /* it has ended: nobody has to be told */
	tcp.cred.known = false;
	ck_assert(life_watch_peer(w->life, &tcp) < 0);
	ck_assert(life_watch_peer(w->life, &tcp) < 0);
	ck_assert_int_eq(count_of(&w->said, "can't be watched"), 1);
	world_free(w);
}
END_TEST

/* ---- checks ---- */

START_TEST(a_check_keeps_its_delay_its_period_and_its_thresholds)
{
	struct world *w = world_new();
	struct health_check *c = &w->check;
	c->initial_delay_ns = 15 * SEC;
	c->healthy_threshold = 2;
	play(w, "o");
	simnet_program(w->net, "probe", 0, 500 * MS);
	conf(w, c, 0);
	simnet_advance(w->net, 14 * SEC);
	ck_assert_uint_eq(simnet_runs(w->net), 0);
	simnet_advance(w->net, 2 * SEC);
	ck_assert_uint_eq(simnet_runs(w->net), 1);
	simnet_advance(w->net, 90 * SEC); /* a period is counted from a probe's beginning */
	ck_assert_uint_eq(simnet_runs(w->net), 10);
	simnet_program(w->net, "probe", -1, 0); /* hangs: killed at its timeout */
	simnet_advance(w->net, 30 * SEC + 500 * MS);
	ck_assert_int_eq(life_state(w->life), LIFE_FAILING);
	simnet_program(w->net, "probe", 0, 0);
	simnet_advance(w->net, 10 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_FAILING); /* one success of two */
	simnet_advance(w->net, 10 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_OK);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_APP_CHECKS_FAILED), 1);
	world_free(w);
}
END_TEST

START_TEST(an_equal_check_goes_on_over_a_reload_and_another_one_begins_anew)
{
	struct world *w = world_new();
	struct health_check *c = &w->check;
	play(w, "oB");
	conf(w, c, 0);
	simnet_advance(w->net, 11 * SEC); /* two failures */
	conf(w, c, 0);
	simnet_advance(w->net, 10 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_FAILING);
	c->interval_ns = 5 * SEC;
	conf(w, c, 0);
	ck_assert_int_eq(life_state(w->life), LIFE_FAILING);
	play(w, "G");
	simnet_advance(w->net, 5 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_OK);
	world_free(w);
}
END_TEST

START_TEST(a_process_that_stood_still_has_no_failed_check)
{
	struct world *w = world_new();
	struct health_check *c = &w->check;
	c->unhealthy_threshold = 1;
	simnet_program(w->net, "probe", 0, 900 * MS);
	conf(w, c, 0);
	simnet_advance(w->net, 2 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_OK);
	simnet_advance(w->net, 8500 * MS); /* one is in flight */
	simnet_freeze(w->net, 3600 * SEC);
	simnet_advance(w->net, 30 * SEC);
	ck_assert_int_eq(life_state(w->life), LIFE_OK);
	ck_assert_uint_eq(stat_get(&w->loop->stats, STAT_APP_CHECKS_FAILED), 0);
	world_free(w);
}
END_TEST

/* ---- another process of this daemon takes over ---- */

START_TEST(a_life_is_taken_over_by_another_process_as_it_is)
{
	static const struct { const char *words; enum life_state after; const char *why; } rows[] = {
		{"", LIFE_UNKNOWN, ""},
		{"ow", LIFE_OK, ""},
		{"t", LIFE_OK, ""},
		{"of", LIFE_FAILING, ""},
		{"ofa", LIFE_DRAINED, ""},
		{"owx", LIFE_GONE, "its process 20 has ended"},
		{"ts", LIFE_FAILING, "its lease has run out"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		struct life_view before, after;
		struct sb line = {0}, again = {0};
		play(w, rows[i].words);
		simnet_advance(w->net, 7 * SEC);
		life_view(w->life, &before);
		life_save(w->life, &line);
		life_free(&w->life);
		simnet_advance(w->net, 2 * SEC);
		w->seen = (struct seen){0};
		life_begin(w);
		ck_assert_msg(life_restore(w->life, sb_view(&line)), "%s", line.p);
		life_view(w->life, &after);
		ck_assert_msg(after.state == rows[i].after, "'%s': %s", rows[i].words, life_state_name(after.state));
		ck_assert_str_eq(after.why, rows[i].why);
		ck_assert_uint_eq(after.since_wall_ns, before.since_wall_ns);
		ck_assert_uint_eq(after.processes, before.processes);
		ck_assert_uint_eq(after.transitions[after.state], 0); /* it came about in the other process */
		ck_assert_int_eq(w->seen.changes, after.state != LIFE_UNKNOWN);
		if (before.lease_until_ns)
			ck_assert_uint_eq(after.lease_until_ns, before.lease_until_ns + 2 * SEC);
		life_save(w->life, &again);
		sb_end(&line);
		sb_end(&again);
		world_free(w);
	}
}
END_TEST

START_TEST(processes_that_ended_while_nobody_looked_are_missed)
{
	struct world *w = world_new();
	struct sb line = {0};
	play(w, "owW");
	life_save(w->life, &line);
	life_free(&w->life);
	simnet_end_process(w->net, 20);
	simnet_begin_process(w->net, 20); /* another one has its number */
	life_begin(w);
	ck_assert(life_restore(w->life, sb_view(&line)));
	ck_assert_uint_eq(simnet_watches(w->net), 1);
	ck_assert_int_eq(life_state(w->life), LIFE_OK);
	life_free(&w->life);
	simnet_end_process(w->net, 21);
	life_begin(w);
	ck_assert(life_restore(w->life, sb_view(&line)));
	ck_assert_int_eq(life_state(w->life), LIFE_GONE);
	sb_end(&line);
	world_free(w);
}
END_TEST

START_TEST(a_line_that_is_not_understood_changes_nothing)
{
	static const char *const rows[] = {
		"", "\n", "v1", "v2 state=ok said=ok gone=0 announced=0 since=1 lease=0 pids= why=\n",
		"v1 state=fine said=ok gone=0 announced=0 since=1 lease=0 pids= why=\n", "v1 state=ok said=maybe gone=0 announced=0 since=1 lease=0 pids= why=\n",
		"v1 state=ok said=ok gone=2 announced=0 since=1 lease=0 pids= why=\n", "v1 state=ok said=ok gone=0 announced=-1 since=1 lease=0 pids= why=\n",
		"v1 state=ok said=ok gone=0 announced=0 since=x lease=0 pids= why=\n", "v1 state=ok said=ok gone=0 announced=0 since=1 lease=0 why=\n", "v1 state=ok said=ok gone=0",
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world *w = world_new();
		ck_assert_msg(!life_restore(w->life, str_of(rows[i])), "%s", rows[i]);
		ck_assert_int_eq(life_state(w->life), LIFE_UNKNOWN);
		ck_assert_int_eq(w->seen.changes, 0);
		world_free(w);
	}
	/* Processes that make no sense are none. */
	struct world *w = world_new();
	ck_assert(life_restore(w->life, STR("v1 state=ok said=ok gone=0 announced=0 since=1 lease=0 pids=x,1:,:2,99999999999:1,31:5,30:128849018881 why=\n")));
	ck_assert_uint_eq(simnet_watches(w->net), 1);
	world_free(w);
}
END_TEST

UNIT_SUITE("life_states", every_transition_follows_from_what_was_said_and_seen, a_transition_is_told_once_counted_once_and_logged_once_with_who_asked,
	closing_is_announced_for_each_fail_that_is_new_and_for_no_other, who_waits_is_told_when_nothing_is_in_flight_or_the_time_is_over, an_app_has_so_many_processes_and_memory_may_be_refused,
	connections_are_watched_by_their_process_once_and_only_where_that_is_wanted, a_check_keeps_its_delay_its_period_and_its_thresholds,
	an_equal_check_goes_on_over_a_reload_and_another_one_begins_anew, a_process_that_stood_still_has_no_failed_check, a_life_is_taken_over_by_another_process_as_it_is,
	processes_that_ended_while_nobody_looked_are_missed, a_line_that_is_not_understood_changes_nothing)
