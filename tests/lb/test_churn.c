/* Everything at once, by a seed: calls come, are cancelled, endpoints and options change, providers die, hang, refuse and come back.
 * Whatever happens, each call ends, and in the end all counts are what they were in the beginning. */
#include "tests/lb/lbrig.h"
#include "tests/unit.h"
#include "base/err.h"
#include <stdio.h>

enum { PROVIDERS = 5, CALLS = 64, STEPS = 1500 };
static const char *const addresses[PROVIDERS] = {"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[fd00::4]:1", "unix:/run/p5.sock"};

static uint32_t below(struct lb_rig *r, uint32_t n)
{
	return (uint32_t)(simnet_random(r->net) % n);
}

static bool is_over(const struct call *c)
{
	return c->state == CALL_NEW || c->state >= CALL_ENDED;
}

static void redeclare(struct lb_rig *r)
{
	struct cluster_spec *spec = lb_rig_spec();
	char text[512] = "";
	uint32_t subset = below(r, 1 << PROVIDERS);

	spec->lb = (enum lb_kind)below(r, 3);
	spec->max_streams = below(r, 4);
	spec->max_connections_per_host = 1 + below(r, 3);
	spec->max_connections = 1 + below(r, 8);
	spec->max_pending = 1 + below(r, 40);
	spec->idle_timeout_ns = below(r, 2) ? SEC : 0;
	spec->removal_hold_ns = below(r, 2) ? below(r, 2000) * MS : 0;
	spec->locality_weighted = below(r, 2);
	spec->one_address = below(r, 2);
	for (uint32_t i = 0; i < PROVIDERS; i++)
		if (subset >> i & 1)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s*%u%s%%z%u~%u^%u#%u", *text ? " " : "", addresses[i],
				1 + below(r, 5), below(r, 6) ? "" : &"!d\0!u\0!g"[3 * below(r, 3)], below(r, 2), below(r, 3), below(r, 2), below(r, 8) ? 7 : 8);
	if (subset % 3 == 0)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%sdb.example:1", *text ? " " : "");
	lb_rig_declare(r, spec, text);
}

static void something_happens(struct lb_rig *r, struct provider **p)
{
	struct provider *some = p[below(r, PROVIDERS)];

	switch (below(r, 12)) {
	case 0:
		redeclare(r);
		break;
	case 1:
		provider_cut(some);
		break;
	case 2:
		provider_goaway(some);
		break;
	case 3:
		provider_close(some);
		break;
	case 4:
	case 5:
		provider_open(some);
		break;
	case 6:
		some->behave = (enum behave)below(r, REFUSES + 1);
		break;
	case 7:
		some->behave = ANSWERS;
		break;
	case 8:
		provider_answer(some);
		break;
	case 9:
		provider_stall(some, below(r, 2));
		break;
	case 10:
		simnet_freeze(r->net, below(r, 30) * SEC);
		break;
	case 11:
		if (below(r, 8) == 0) {
			lb_rig_withdraw(r);
			redeclare(r);
		}
		break;
	}
}

static void check_counts(struct lb_rig *r, const struct call *calls)
{
	uint32_t waiting = 0, active = 0, streams = 0;
	struct cluster_view v = lb_rig_view(r);

	for (int i = 0; i < CALLS; i++) {
		waiting += calls[i].state == CALL_WAITS;
		streams += calls[i].stream != NULL;
		active += calls[i].host != NULL;
	}
	ck_assert_uint_eq(v.pending, waiting);
	ck_assert_uint_eq(v.active, active);
	ck_assert_uint_eq(active, waiting + streams);
}

static void churn(uint32_t seed)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p[PROVIDERS];
	struct call calls[CALLS] = {0};
	uint32_t done = 0;

	for (uint32_t i = 0; i < seed; i++)
		simnet_random(r->net);
	simnet_knobs(r->net)->shuffle = true;
	simnet_knobs(r->net)->short_percent = 20;
	simnet_knobs(r->net)->hold_percent = 20;
	for (int i = 0; i < PROVIDERS; i++) {
		p[i] = provider_new(r, addresses[i], ANSWERS);
		p[i]->lim.streams_per_connection = 1 + below(r, 8);
	}
	dns_table_set(r->dns, "db.example", "10.0.0.1,fd00::4", SEC);
	redeclare(r);
	for (int step = 0; step < STEPS; step++) {
		for (int i = 0; i < 4; i++) {
			struct call *c = &calls[below(r, CALLS)];

			if (is_over(c)) {
				done += c->state == CALL_ENDED && c->cause == END_DONE;
				call_start(r, c);
			} else if (below(r, 4) == 0) {
				call_cancel(c);
			}
		}
		if (below(r, 3) == 0)
			something_happens(r, p);
		lb_rig_advance(r, below(r, 4) ? 0 : below(r, 200) * MS);
		check_counts(r, calls);
	}
	/* All is well again: what is on its way comes to its end. */
	for (int i = 0; i < PROVIDERS; i++) {
		provider_stall(p[i], false);
		p[i]->behave = ANSWERS;
		provider_open(p[i]);
	}
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < PROVIDERS; i++)
			provider_answer(p[i]);
		lb_rig_advance(r, SEC);
	}
	for (int i = 0; i < CALLS; i++)
		ck_assert_msg(is_over(&calls[i]), "seed %u: call %d is in state %d for ever, host %s %s", seed, i, calls[i].state,
			calls[i].host ? calls[i].host->text : "-", calls[i].host ? pool_state(calls[i].host->pool) : "-");
	check_counts(r, calls);
	ck_assert_uint_gt(done, 300);
	/* And when nobody wants it any more, nothing is left. */
	lb_rig_withdraw(r);
	lb_rig_advance(r, SEC);
	ck_assert_ptr_null(r->decl.live);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_CONNS_UP), 0);
	lb_rig_free(&r);
}

START_TEST(whatever_happens_each_call_ends_and_the_counts_balance)
{
	churn((uint32_t)_i);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("churn");
	TCase *t = tcase_create("churn");

	tcase_add_loop_test(t, whatever_happens_each_call_ends_and_the_counts_balance, 0, 12);
	suite_add_tcase(s, t);
	return s;
}
