/* What is alive follows what is declared: who keeps its host, who is picked, what DNS says, how much may be retried. */
#include "tests/lb/lbrig.h"
#include "tests/unit.h"
#include "base/err.h"

/* ---- members -------------------------------------------------------------------------------------------------------------- */

START_TEST(nothing_is_live_before_it_is_declared)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	ck_assert_ptr_null(cluster_live(r->clusters, &r->decl));
	lb_rig_declare(r, NULL, "");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_NONE);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_host_is_born_at_its_first_pick)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	lb_rig_declare(r, NULL, "10.0.0.1:1%b");
	ck_assert_uint_eq(lb_rig_host(r, 0).total, 0);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert_str_eq(h->text, "10.0.0.1:1");
	ck_assert_str_eq(h->zone, "b");
	ck_assert_uint_eq(h->active, 1);
	ck_assert_uint_eq(lb_rig_host(r, 0).active, 1);
	host_done(&h, HOST_ERROR);
	ck_assert_ptr_null(h);
	ck_assert_uint_eq(lb_rig_host(r, 0).active, 0);
	ck_assert_uint_eq(lb_rig_host(r, 0).total, 1);
	ck_assert_uint_eq(lb_rig_host(r, 0).errors, 1);
	ck_assert_uint_eq(lb_rig_view(r).errors, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(the_same_address_keeps_host_load_and_connections)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, "10.0.0.1:1", HOLDS);
	struct call c, d;
	struct host *before;

	lb_rig_declare(r, NULL, "10.0.0.1:1*10");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	before = c.host;
	/* Another place, another weight, another zone, neighbours: still it. */
	lb_rig_declare(r, NULL, "10.0.0.7:1 10.0.0.8:1 10.0.0.1:1*50%z");
	ck_assert_ptr_eq(c.host, before);
	ck_assert_uint_eq(c.host->index, 2);
	ck_assert_str_eq(c.host->zone, "z");
	ck_assert_uint_eq(lb_rig_host(r, 2).active, 1);
	ck_assert_uint_eq(lb_rig_host(r, 2).weight, 50);
	ck_assert_uint_eq(lb_rig_host(r, 2).connections, 1);
	lb_rig_declare(r, NULL, "10.0.0.1:1");
	ck_assert_int_eq(call_start(r, &d), CALL_OPEN);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 1);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(lb_rig_host(r, 0).active, 0);
	ck_assert_uint_eq(lb_rig_host(r, 0).total, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_removed_host_serves_its_calls_to_their_end_and_is_picked_no_more)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *old = provider_new(r, "10.0.0.1:1", HOLDS), *new = provider_new(r, "10.0.0.2:1", ANSWERS);
	struct call c, d;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	lb_rig_declare(r, NULL, "10.0.0.2:1");
	ck_assert_uint_eq(c.host->index, UINT32_MAX);
	for (int i = 0; i < 5; i++) {
		call_start(r, &d);
		lb_rig_advance(r, 0);
	}
	ck_assert_uint_eq(new->requests, 5);
	ck_assert_uint_eq(old->requests, 1);
	ck_assert_uint_eq(provider_conns(old), 1);
	provider_answer(old);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_uint_eq(provider_conns(old), 0);
	ck_assert_uint_eq(lb_rig_view(r).connections, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_removed_host_that_comes_back_is_the_same_one)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, "10.0.0.1:1", HOLDS);
	struct call c;
	struct host *before;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	before = c.host;
	lb_rig_declare(r, NULL, "10.0.0.2:1");
	lb_rig_declare(r, NULL, "10.0.0.1:1");
	ck_assert_ptr_eq(before, c.host);
	ck_assert_uint_eq(c.host->index, 0);
	ck_assert_uint_eq(lb_rig_host(r, 0).active, 1);
	provider_answer(p);
	lb_rig_advance(r, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_address_that_is_listed_twice_counts_twice_and_loses_nothing)
{
	struct lb_rig *r = lb_rig_new();
	struct call c[4];

	provider_new(r, "10.0.0.1:1", ANSWERS);
	lb_rig_declare(r, NULL, "10.0.0.1:1 10.0.0.1:1");
	for (int i = 0; i < 4; i++)
		call_start(r, &c[i]);
	lb_rig_declare(r, NULL, "10.0.0.1:1 10.0.0.1:1 10.0.0.1:1");
	lb_rig_advance(r, 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(c[i].cause, END_DONE);
	ck_assert_uint_eq(lb_rig_host(r, 0).total + lb_rig_host(r, 1).total, 4);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_withdrawn_cluster_ends_with_its_last_call)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, "10.0.0.1:1", HOLDS);
	struct call c;
	struct host *h;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	lb_rig_withdraw(r);
	ck_assert_ptr_nonnull(r->decl.live);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_NONE);
	provider_answer(p);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.cause, END_DONE);
	ck_assert_ptr_null(r->decl.live);
	ck_assert_uint_eq(provider_conns(p), 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_cluster_that_is_declared_again_goes_on_with_its_hosts)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *p = provider_new(r, "10.0.0.1:1", HOLDS);
	struct call c, d;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	call_start(r, &c);
	lb_rig_advance(r, SEC);
	lb_rig_withdraw(r);
	lb_rig_declare(r, lb_rig_spec(), "10.0.0.1:1");
	ck_assert_int_eq(call_start(r, &d), CALL_OPEN);
	ck_assert_ptr_eq(c.host, d.host);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(p->accepted, 1);
	call_cancel(&c);
	call_cancel(&d);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_call_between_two_attempts_holds_its_cluster)
{
	struct lb_rig *r = lb_rig_new();
	struct cluster *held;
	struct host *h;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	held = r->cluster;
	cluster_hold(held);
	lb_rig_withdraw(r);
	lb_rig_advance(r, SEC);
	ck_assert_ptr_eq(r->decl.live, held);
	ck_assert_int_eq(cluster_pick(held, 0, NULL, &h), PICK_NONE);
	ck_assert_str_eq(cluster_name(held), "demo");
	cluster_release(&held);
	ck_assert_ptr_null(held);
	ck_assert_ptr_null(r->decl.live);
	cluster_release(&held);
	lb_rig_free(&r);
}
END_TEST

START_TEST(an_update_that_memory_refuses_leaves_the_old_endpoints)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;
	size_t limit;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	limit = r->loop->memory.limit;
	r->loop->memory.limit = r->loop->memory.used;
	/* More than the granule that the cluster's account has at hand: built by hand, as text would take long. */
	lb_rig_publish(r, set_range(3000, UINT32_MAX, NULL));
	ck_assert_uint_eq(lb_rig_view(r).updates_refused, 1);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	host_done(&h, HOST_OK);
	r->loop->memory.limit = limit;
	r->decl.changed(&r->decl);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 3000);
	lb_rig_free(&r);
}
END_TEST

START_TEST(in_a_large_set_hosts_without_connections_are_given_up)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct call c;
	uint32_t born = 0;

	spec->idle_timeout_ns = SEC;
	spec->verify_after_ns = 0;
	lb_rig_declare(r, spec, "");
	lb_rig_publish(r, set_range(1000, UINT32_MAX, NULL));
	for (int i = 0; i < 50; i++) {
		call_start(r, &c); /* nobody listens: refused, then backed off */
		lb_rig_advance(r, 0);
		ck_assert_int_eq(c.state, CALL_FAILED);
	}
	for (uint32_t i = 0; i < 1000; i++)
		born += lb_rig_host(r, i).flags & HOT_BACKOFF ? 1 : 0;
	ck_assert_uint_eq(born, 50);
	lb_rig_advance(r, SEC);
	for (uint32_t i = 0; i < 1000; i++) {
		ck_assert_uint_eq(lb_rig_host(r, i).flags, HOT_USABLE);
		ck_assert_uint_eq(lb_rig_host(r, i).total, 0); /* hot records only */
	}
	lb_rig_free(&r);
}
END_TEST

/* ---- picking -------------------------------------------------------------------------------------------------------------- */

START_TEST(a_host_that_cannot_be_reached_is_passed_over_until_its_backoff_ends)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *b = provider_new(r, "10.0.0.2:1", ANSWERS);
	struct call c;

	lb_rig_declare(r, NULL, "10.0.0.1:1 10.0.0.2:1");
	for (int i = 0; i < 2; i++) {
		call_start(r, &c);
		lb_rig_advance(r, 0);
	}
	ck_assert_uint_eq(lb_rig_host(r, 0).flags, HOT_BACKOFF);
	for (int i = 0; i < 10; i++) {
		call_start(r, &c);
		lb_rig_advance(r, 0);
		ck_assert_int_eq(c.cause, END_DONE);
	}
	ck_assert_uint_eq(b->requests, 11);
	provider_new(r, "10.0.0.1:1", ANSWERS);
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(lb_rig_host(r, 0).flags, HOT_USABLE);
	for (int i = 0; i < 2; i++) {
		call_start(r, &c);
		lb_rig_advance(r, 0);
	}
	ck_assert_uint_eq(b->requests, 12);
	lb_rig_free(&r);
}
END_TEST

START_TEST(after_a_backoff_one_call_finds_out_for_all)
{
	struct lb_rig *r = lb_rig_new();
	struct provider *b = provider_new(r, "10.0.0.2:1", ANSWERS);
	struct addr dead = simnet_addr("10.0.0.1:1");
	struct call c[20];
	uint32_t waiting = 0;

	lb_rig_declare(r, NULL, "10.0.0.1:1 10.0.0.2:1");
	for (int i = 0; i < 2; i++) {
		call_start(r, &c[i]);
		lb_rig_advance(r, 0);
	}
	simnet_on_connect(r->net, &dead, SIMNET_HANG);
	lb_rig_advance(r, SEC);
	for (int i = 0; i < 20; i++)
		call_start(r, &c[i]);
	lb_rig_advance(r, SEC);
	for (int i = 0; i < 20; i++)
		waiting += c[i].state == CALL_WAITS;
	ck_assert_uint_eq(waiting, 1);
	ck_assert_uint_eq(b->requests, 20);
	for (int i = 0; i < 20; i++)
		if (c[i].state == CALL_WAITS)
			call_cancel(&c[i]);
	lb_rig_free(&r);
}
END_TEST

START_TEST(draining_and_unhealthy_endpoints_are_not_picked_even_if_all_are)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	spec->panic_percent = 0;
	lb_rig_declare(r, spec, "10.0.0.1:1!u 10.0.0.2:1!d 10.0.0.3:1!g");
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
		ck_assert_str_eq(h->text, "10.0.0.3:1");
		host_done(&h, HOST_OK);
	}
	lb_rig_declare(r, NULL, "10.0.0.1:1!u 10.0.0.2:1!d 10.0.0.3:1!u");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_UNHEALTHY);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_moved_call_goes_to_each_host_once)
{
	struct lb_rig *r = lb_rig_new();
	struct tried tried = {.count = 0};
	struct host *h;

	lb_rig_declare(r, NULL, "10.0.0.1:1 10.0.0.2:1 10.0.0.3:1");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(cluster_pick(r->cluster, 0, i ? &tried : NULL, &h), PICK_OK);
		for (uint32_t t = 0; t < tried.count; t++)
			ck_assert_ptr_ne(h, tried.host[t]);
		tried.host[tried.count++] = h;
		host_done(&h, HOST_CONNECT);
	}
	ck_assert_int_eq(cluster_pick(r->cluster, 0, &tried, &h), PICK_NONE);
	ck_assert_uint_eq(lb_rig_view(r).calls, 1);
	lb_rig_free(&r);
}
END_TEST

START_TEST(calls_beyond_max_requests_are_told_so)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct host *a, *b, *c;

	spec->max_requests = 2;
	lb_rig_declare(r, spec, "10.0.0.1:1");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &a), PICK_OK);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &b), PICK_OK);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &c), PICK_FULL);
	ck_assert_uint_eq(lb_rig_view(r).full, 1);
	host_done(&a, HOST_OK);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &c), PICK_OK);
	host_done(&b, HOST_OK);
	host_done(&c, HOST_NEUTRAL);
	ck_assert_uint_eq(lb_rig_view(r).errors, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(retries_are_paid_by_calls_and_by_time)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;
	int taken = 0;

	lb_rig_declare(r, NULL, "10.0.0.1:1");
	for (; cluster_retry_take(r->cluster); taken++)
		;
	ck_assert_int_eq(taken, 1000);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_RETRY_BUDGET_EMPTY), 1);
	/* A call brings a fifth. */
	for (int i = 0; i < 10; i++) {
		cluster_pick(r->cluster, 0, NULL, &h);
		host_done(&h, HOST_OK);
	}
	for (taken = 0; cluster_retry_take(r->cluster); taken++)
		;
	ck_assert_int_eq(taken, 2);
	lb_rig_advance(r, 2 * SEC);
	for (taken = 0; cluster_retry_take(r->cluster); taken++)
		;
	ck_assert_int_eq(taken, 20);
	/* Neither time nor calls bring more than it holds. */
	lb_rig_advance(r, 1000 * SEC);
	for (taken = 0; cluster_retry_take(r->cluster); taken++)
		;
	ck_assert_int_eq(taken, 1000);
	for (int i = 0; i < 10000; i++) {
		cluster_pick(r->cluster, 0, NULL, &h);
		host_done(&h, HOST_OK);
	}
	for (taken = 0; cluster_retry_take(r->cluster); taken++)
		;
	ck_assert_int_eq(taken, 1000);
	lb_rig_free(&r);
}
END_TEST

/* ---- names ---------------------------------------------------------------------------------------------------------------- */

struct waiting {
	struct cluster_wait w;
	int woken;
};

static void woken(struct cluster_wait *w)
{
	container_of(w, struct waiting, w)->woken++;
}

START_TEST(a_name_is_asked_at_the_first_pick_and_who_waits_is_woken_by_the_answer)
{
	struct lb_rig *r = lb_rig_new();
	struct waiting w = {.woken = 0};
	struct host *h;

	dns_table_set(r->dns, "db.example", "10.0.0.1,10.0.0.2", 60 * SEC);
	lb_rig_declare(r, NULL, "db.example:5*3%z");
	lb_rig_advance(r, SEC);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 0);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_WAIT);
	ck_assert_str_eq(lb_rig_view(r).names, "asked");
	cluster_wait(r->cluster, &w.w, woken);
	lb_rig_advance(r, 4 * MS);
	ck_assert_int_eq(w.woken, 0);
	lb_rig_advance(r, 2 * MS);
	ck_assert_int_eq(w.woken, 1);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 2);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert_uint_eq(lb_rig_host(r, 0).weight, 3);
	ck_assert_str_eq(h->zone, "z");
	ck_assert_uint_eq(addr_port(&h->addrs[0]), 5);
	host_done(&h, HOST_OK);
	ck_assert_str_eq(lb_rig_view(r).names, "resolved");
	lb_rig_free(&r);
}
END_TEST

START_TEST(who_stopped_waiting_is_not_woken)
{
	struct lb_rig *r = lb_rig_new();
	struct waiting w = {.woken = 0};
	struct host *h;

	dns_table_set(r->dns, "db.example", "10.0.0.1", 60 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	cluster_pick(r->cluster, 0, NULL, &h);
	cluster_wait(r->cluster, &w.w, woken);
	cluster_unwait(&w.w);
	lb_rig_advance(r, SEC);
	ck_assert_int_eq(w.woken, 0);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_name_that_does_not_resolve_makes_the_cluster_unhealthy_and_is_asked_again)
{
	struct lb_rig *r = lb_rig_new();
	struct waiting w = {.woken = 0};
	struct host *h;

	dns_table_set(r->dns, "db.example", NULL, 0);
	lb_rig_declare(r, NULL, "db.example:5");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_WAIT);
	cluster_wait(r->cluster, &w.w, woken);
	lb_rig_advance(r, 10 * MS);
	ck_assert_int_eq(w.woken, 1);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_UNHEALTHY);
	ck_assert_str_eq(lb_rig_view(r).names, "failed");
	dns_table_set(r->dns, "db.example", "10.0.0.1", 60 * SEC);
	lb_rig_advance(r, 1100 * MS);
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	host_done(&h, HOST_OK);
	lb_rig_free(&r);
}
END_TEST

/* Picks once a step for so long. */
static void use_for(struct lb_rig *r, uint64_t ns, uint64_t step_ns)
{
	struct host *h;

	for (uint64_t at = 0; at < ns; at += step_ns) {
		if (cluster_pick(r->cluster, 0, NULL, &h) == PICK_OK)
			host_done(&h, HOST_OK);
		lb_rig_advance(r, step_ns);
	}
}

START_TEST(a_used_name_is_asked_again_after_its_ttl_and_changed_answers_change_the_members)
{
	struct lb_rig *r = lb_rig_new();

	dns_table_set(r->dns, "db.example", "10.0.0.1,10.0.0.2", 10 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, SEC, 100 * MS);
	ck_assert_uint_eq(lb_rig_host(r, 0).total + lb_rig_host(r, 1).total, 9);
	/* Rotated: the same members, with their history. */
	dns_table_set(r->dns, "db.example", "10.0.0.2,10.0.0.1", 10 * SEC);
	use_for(r, 12 * SEC, SEC);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 2);
	ck_assert_uint_eq(lb_rig_host(r, 0).total + lb_rig_host(r, 1).total, 21);
	dns_table_set(r->dns, "db.example", "10.0.0.2,10.0.0.3,10.0.0.4", 10 * SEC);
	use_for(r, 12 * SEC, SEC);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 3);
	ck_assert_str_eq(lb_rig_host(r, 2).text, "10.0.0.4:5");
	ck_assert_uint_gt(lb_rig_host(r, 0).total, 10);
	lb_rig_free(&r);
}
END_TEST

START_TEST(ttls_are_kept_between_a_second_and_an_hour)
{
	struct lb_rig *r = lb_rig_new();

	dns_table_set(r->dns, "db.example", "10.0.0.1", 0);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, 10 * SEC, 100 * MS);
	ck_assert_uint_ge(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 2); /* net/dns has a floor of its own, of 5 s */
	ck_assert_uint_le(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 11);
	lb_rig_free(&r);
	r = lb_rig_new();
	dns_table_set(r->dns, "db.example", "10.0.0.1", 100 * 3600 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, 3700 * SEC, 60 * SEC);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(the_last_good_answer_stays_while_dns_fails_and_it_is_asked_less_and_less_often)
{
	struct lb_rig *r = lb_rig_new();
	uint64_t asked;

	dns_table_set(r->dns, "db.example", "10.0.0.1", SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, SEC, 100 * MS);
	dns_table_set(r->dns, "db.example", NULL, 0);
	use_for(r, 100 * SEC, SEC);
	ck_assert_str_eq(lb_rig_view(r).names, "failed");
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	ck_assert_uint_gt(lb_rig_host(r, 0).total, 100);
	asked = stat_get(&r->loop->stats, STAT_DNS_QUERIES);
	use_for(r, 300 * SEC, SEC);
	asked = stat_get(&r->loop->stats, STAT_DNS_QUERIES) - asked;
	ck_assert_uint_ge(asked, 10);
	ck_assert_uint_le(asked, 20);
	lb_rig_free(&r);
}
END_TEST

START_TEST(dns_sleeps_with_the_cluster_and_wakes_with_its_next_call)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;
	uint64_t turns;

	dns_table_set(r->dns, "db.example", "10.0.0.1", 10 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, SEC, 100 * MS);
	lb_rig_advance(r, 30 * SEC);
	turns = stat_get(&r->loop->stats, STAT_TURNS);
	lb_rig_advance(r, 10000 * SEC);
	ck_assert_uint_le(stat_get(&r->loop->stats, STAT_TURNS) - turns, 2);
	ck_assert_uint_le(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 2);
	dns_table_set(r->dns, "db.example", "10.0.0.9", 10 * SEC);
	/* The old answer serves until the new one is there. */
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert_str_eq(h->text, "10.0.0.1:5");
	host_done(&h, HOST_OK);
	lb_rig_advance(r, 10 * MS);
	ck_assert_str_eq(lb_rig_host(r, 0).text, "10.0.0.9:5");
	lb_rig_free(&r);
}
END_TEST

START_TEST(v6_and_v4_answers_of_a_name_are_alternates_pairwise)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	dns_table_set(r->dns, "db.example", "10.0.0.2,fd00::1,10.0.0.1,fd00::2,10.0.0.3", 60 * SEC);
	lb_rig_declare(r, NULL, "db.example:5 10.9.9.9:9");
	cluster_pick(r->cluster, 0, NULL, &h);
	host_done(&h, HOST_OK);
	lb_rig_advance(r, 10 * MS);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 4);
	ck_assert_str_eq(lb_rig_host(r, 0).text, "[fd00::1]:5");
	ck_assert_str_eq(lb_rig_host(r, 1).text, "[fd00::2]:5");
	ck_assert_str_eq(lb_rig_host(r, 2).text, "10.0.0.3:5");
	ck_assert_str_eq(lb_rig_host(r, 3).text, "10.9.9.9:9");
	for (int i = 0; i < 4; i++) {
		char text[ADDR_TEXT];

		ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
		if (strcmp(h->text, "[fd00::2]:5") == 0) {
			ck_assert_uint_eq(h->addr_count, 2);
			ck_assert_str_eq(addr_text(&h->addrs[1], text), "10.0.0.2:5");
		} else if (strcmp(h->text, "10.0.0.3:5") == 0) {
			ck_assert_uint_eq(h->addr_count, 1);
		}
		host_done(&h, HOST_OK);
	}
	lb_rig_free(&r);
}
END_TEST

/* LOGICAL_DNS: one of many, and the one that is connected stays until it is not, whatever is answered meanwhile. */
START_TEST(of_a_name_that_is_one_address_only_one_is_used_and_stays_while_it_is_connected)
{
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct provider *a = provider_new(r, "10.0.0.1:1", ANSWERS), *b = provider_new(r, "10.0.0.2:1", ANSWERS);
	struct provider *c = provider_new(r, "10.0.0.3:1", ANSWERS), *used;
	struct call call;

	spec->one_address = true;
	dns_table_set(r->dns, "db.example", "10.0.0.1,10.0.0.2", SEC);
	lb_rig_declare(r, spec, "db.example:1");
	call_start(r, &call); /* asks */
	lb_rig_advance(r, 10 * MS);
	for (int i = 0; i < 20; i++) {
		call_start(r, &call);
		lb_rig_advance(r, 0);
		ck_assert_int_eq(call.state, CALL_ENDED);
	}
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	ck_assert_uint_eq(a->accepted + b->accepted, 1);
	used = a->accepted ? a : b;
	/* It is not answered any more, but connected. */
	dns_table_set(r->dns, "db.example", "10.0.0.3", SEC);
	for (int i = 0; i < 5; i++) {
		lb_rig_advance(r, SEC);
		call_start(r, &call);
		lb_rig_advance(r, 0);
		ck_assert_int_eq(call.state, CALL_ENDED);
	}
	ck_assert_uint_eq(used->accepted, 1);
	ck_assert_uint_eq(c->accepted, 0);
	provider_cut(used);
	lb_rig_advance(r, 5 * MS);
	call_start(r, &call);
	lb_rig_advance(r, 0);
	ck_assert_int_eq(call.state, CALL_ENDED);
	ck_assert_uint_eq(c->accepted, 1);
	/* More answers, ours among them: it stays. */
	dns_table_set(r->dns, "db.example", "10.0.0.1,10.0.0.2,10.0.0.3", SEC);
	lb_rig_advance(r, 2 * SEC);
	provider_cut(c);
	lb_rig_advance(r, 5 * MS);
	call_start(r, &call);
	lb_rig_advance(r, 0);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1);
	ck_assert_uint_eq(c->accepted, 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_reload_keeps_the_answers_of_names_that_are_still_there)
{
	struct lb_rig *r = lb_rig_new();
	struct host *h;

	dns_table_set(r->dns, "db.example", "10.0.0.1", 60 * SEC);
	dns_table_set(r->dns, "other.example", "10.0.0.2", 60 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	use_for(r, SEC, 100 * MS);
	lb_rig_declare(r, NULL, "other.example:5 db.example:5*7");
	ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
	ck_assert_str_eq(h->text, "10.0.0.1:5");
	host_done(&h, HOST_OK);
	lb_rig_advance(r, 10 * MS);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 2);
	ck_assert_uint_eq(stat_get(&r->loop->stats, STAT_DNS_QUERIES), 2);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_cluster_may_be_withdrawn_while_dns_is_asked_and_calls_wait)
{
	struct lb_rig *r = lb_rig_new();
	struct waiting w = {.woken = 0};
	struct host *h;

	dns_table_set(r->dns, "db.example", "10.0.0.1", 60 * SEC);
	lb_rig_declare(r, NULL, "db.example:5");
	cluster_pick(r->cluster, 0, NULL, &h);
	cluster_wait(r->cluster, &w.w, woken);
	lb_rig_withdraw(r);
	lb_rig_advance(r, SEC);
	ck_assert_int_eq(w.woken, 1);
	ck_assert_ptr_null(r->decl.live);
	lb_rig_free(&r);
}
END_TEST

UNIT_SUITE("cluster", nothing_is_live_before_it_is_declared, a_host_is_born_at_its_first_pick,
	the_same_address_keeps_host_load_and_connections, a_removed_host_serves_its_calls_to_their_end_and_is_picked_no_more,
	a_removed_host_that_comes_back_is_the_same_one, an_address_that_is_listed_twice_counts_twice_and_loses_nothing,
	a_withdrawn_cluster_ends_with_its_last_call, a_cluster_that_is_declared_again_goes_on_with_its_hosts,
	a_call_between_two_attempts_holds_its_cluster, an_update_that_memory_refuses_leaves_the_old_endpoints,
	in_a_large_set_hosts_without_connections_are_given_up, a_host_that_cannot_be_reached_is_passed_over_until_its_backoff_ends,
	after_a_backoff_one_call_finds_out_for_all, draining_and_unhealthy_endpoints_are_not_picked_even_if_all_are,
	a_moved_call_goes_to_each_host_once, calls_beyond_max_requests_are_told_so, retries_are_paid_by_calls_and_by_time,
	a_name_is_asked_at_the_first_pick_and_who_waits_is_woken_by_the_answer, who_stopped_waiting_is_not_woken,
	a_name_that_does_not_resolve_makes_the_cluster_unhealthy_and_is_asked_again,
	a_used_name_is_asked_again_after_its_ttl_and_changed_answers_change_the_members, ttls_are_kept_between_a_second_and_an_hour,
	the_last_good_answer_stays_while_dns_fails_and_it_is_asked_less_and_less_often,
	dns_sleeps_with_the_cluster_and_wakes_with_its_next_call, v6_and_v4_answers_of_a_name_are_alternates_pairwise,
	of_a_name_that_is_one_address_only_one_is_used_and_stays_while_it_is_connected, a_reload_keeps_the_answers_of_names_that_are_still_there, a_cluster_may_be_withdrawn_while_dns_is_asked_and_calls_wait)
