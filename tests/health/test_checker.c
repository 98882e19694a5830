/* health/checker over lb and fake peers: what one whole sidecar of a few providers (tests/flow/test_checks.c) does not show: several checks of a cluster, endpoints that are asked elsewhere,
 * a thousand of them, and what all of that costs. */
#include "health/checker.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/health.h"
#include "tests/health/fake.h"
#include "tests/unit.h"

static struct fakes *f;
static struct dns *dns;
static struct clusters *clusters;
static struct checker *checker;
static struct mesh_cluster decl;
static struct endpoint_metas *metas;
static struct cluster *cluster;

static void setup(void)
{
	f = fakes_new();
	dns = dns_new_table(f->loop, MS);
	clusters = clusters_new(f->loop, &f->lim, NULL, dns, NULL);
	checker = checker_new(f->loop, NULL, &f->lim, clusters);
	metas = endpoint_metas_new(&f->loop->memory, 1);
	decl = (struct mesh_cluster){.name = xstrdup("demo")};
	cluster = NULL;
}

static void undeclare(void)
{
	struct cluster_spec *spec = decl.spec;
	struct endpoint_set *set = decl.endpoints;

	decl.spec = NULL;
	decl.endpoints = NULL;
	if (decl.changed)
		decl.changed(&decl);
	spec_unref(&spec);
	endpoints_unref(&set);
}

static void teardown(void)
{
	undeclare();
	fakes_advance(f, MS);
	checker_free(&checker);
	clusters_free(&clusters);
	fakes_advance(f, 10 * MS);
	dns_free(&dns);
	endpoint_metas_free(&metas);
	free(decl.name);
	fakes_free(&f);
}

struct item { const char *at, *check_host, *check_port, *check_address, *off; };

static struct endpoint_set *set_of(const struct item *items, uint32_t n)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);

	ck_assert_int_eq(endpoints_group(b), 0);
	for (uint32_t i = 0; i < n; i++) {
		const struct { const char *key, *value; } all[] = {{ENDPOINT_CHECK_HOST, items[i].check_host}, {ENDPOINT_CHECK_PORT, items[i].check_port},
			{ENDPOINT_CHECK_ADDRESS, items[i].check_address}, {ENDPOINT_CHECK_OFF, items[i].off}};
		struct str pairs[8];
		struct addr at = simnet_addr(items[i].at);
		struct endpoint_item item = {.addrs = &at, .naddrs = 1, .weight = 1};
		uint32_t pn = 0;

		for (size_t k = 0; k < UNIT_COUNT(all); k++)
			if (all[k].value) {
				pairs[2 * pn] = str_of(all[k].key);
				pairs[2 * pn++ + 1] = str_of(all[k].value);
			}
		if (pn)
			item.meta = endpoint_meta_get(metas, pairs, pn);
		if (i % ENDPOINT_BLOCK == 0)
			ck_assert_int_eq(endpoints_block(b, i + 1), 0);
		ck_assert_int_eq(endpoints_put(b, &item), 0);
	}
	ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
	return endpoints_done(&b, 0);
}

static struct cluster_spec *spec_of_checks(uint32_t n, const struct health_check *checks)
{
	struct cluster_spec *s = spec_new("demo");

	s->lb = LB_ROUND_ROBIN;
	s->nchecks = n;
	s->checks = xalloc(n * sizeof(*s->checks));
	for (uint32_t i = 0; i < n; i++)
		health_check_copy(&s->checks[i], &checks[i]);
	return s;
}

static void declare(struct cluster_spec *spec_taken, struct endpoint_set *set_taken)
{
	struct cluster_spec *spec = decl.spec;
	struct endpoint_set *set = decl.endpoints;

	spec_seal(spec_taken);
	decl.spec = spec_taken;
	decl.endpoints = set_taken;
	if (decl.changed)
		decl.changed(&decl);
	spec_unref(&spec);
	endpoints_unref(&set);
	cluster = cluster_live(clusters, &decl);
	fakes_advance(f, 10 * MS);
}

static struct health_check check_of(enum check_kind kind)
{
	struct health_check c;

	health_check_default(&c);
	c.kind = kind;
	c.no_traffic_interval_ns = c.interval_ns = 5 * SEC;
	health_check_settle(&c);
	return c;
}

static const char *state_of(uint32_t i)
{
	struct check_view v;

	return checker_host(cluster_host_at(cluster, i), &v) ? v.state : "unchecked";
}

static uint64_t stat(enum stat_id id)
{
	return stat_get(&f->loop->stats, id);
}

START_TEST(all_checks_of_a_cluster_must_pass)
{
	static const struct item items[] = {{.at = "10.0.0.1:80"}};
	struct health_check checks[2] = {check_of(CHECK_GRPC), check_of(CHECK_TCP)};
	struct fake *k = fake_new(f, "10.0.0.1:80", true);
	struct check_view v;

	k->hold = true; /* the first says nothing yet, the second passes: not yet */
	declare(spec_of_checks(2, checks), set_of(items, 1));
	ck_assert_str_eq(state_of(0), "pending");
	ck_assert_int_eq(cluster_host_at(cluster, 0)->check, HOST_PENDING);
	k->hold = false;
	fake_serves(k, 1);
	fakes_advance(f, 7 * SEC); /* it timed out, which was the first answer; the next one passes */
	ck_assert_str_eq(state_of(0), "passed");
	ck_assert_int_eq(cluster_host_at(cluster, 0)->check, HOST_PASSED);
	fake_serves(k, 2);
	fakes_advance(f, 5 * SEC);
	ck_assert_int_eq(cluster_host_at(cluster, 0)->check, HOST_FAILED);
	ck_assert(checker_host(cluster_host_at(cluster, 0), &v)); /* the one that keeps it out is shown */
	ck_assert_str_eq(v.kind, "grpc");
	ck_assert_str_eq(v.state, "failed");
	ck_assert_str_eq(v.why, "it says NOT_SERVING");
	ck_assert_uint_eq(v.failures, 2);
	ck_assert_uint_eq(checker_count(checker), 1);
	for (int i = 0; i < 2; i++)
		health_check_end(&checks[i]);
}
END_TEST

START_TEST(an_endpoint_may_be_asked_elsewhere_by_another_name_or_not_at_all)
{
	static const struct item items[] = {{.at = "10.0.0.1:80", .check_port = "8080"}, {.at = "10.0.0.2:80", .check_address = "10.9.9.9:99", .check_port = "1"}, {.at = "10.0.0.3:80", .check_host = "three.example"},
		{.at = "10.0.0.4:80", .off = "1"}, {.at = "10.0.0.5:80", .check_port = "70000"}};
	static const struct item later[] = {{.at = "10.0.0.1:80", .check_port = "8081"}, {.at = "10.0.0.2:80"}};
	struct health_check check = check_of(CHECK_GRPC);
	const char *ats[] = {"10.0.0.1:8080", "10.9.9.9:99", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:8081"};
	struct fake *k[8];

	check.authority = xstrdup("said.example");
	for (size_t i = 0; i < UNIT_COUNT(ats); i++)
		k[i] = fake_new(f, ats[i], true);
	declare(spec_of_checks(1, &check), set_of(items, 5));
	ck_assert_uint_eq(k[0]->requests, 1);
	ck_assert_uint_eq(k[1]->requests, 1);
	ck_assert_uint_eq(k[2]->requests, 1);
	ck_assert_uint_eq(k[3]->requests, 0);
	ck_assert_uint_eq(k[4]->requests, 1); /* no port: the endpoint's own */
	ck_assert_uint_eq(k[5]->requests + k[6]->requests, 0);
	ck_assert_ptr_nonnull(memmem(k[2]->got.p, k[2]->got.n, "three.example", 13));
	ck_assert_ptr_nonnull(memmem(k[0]->got.p, k[0]->got.n, "said.example", 12));
	ck_assert_str_eq(state_of(3), "unchecked");
	ck_assert_uint_eq(checker_count(checker), 4);
	/* told otherwise: asked at once, and what is known stays */
	declare(spec_ref(decl.spec), set_of(later, 2));
	ck_assert_uint_eq(k[7]->requests, 1);
	ck_assert_uint_eq(k[6]->requests, 1);
	ck_assert_uint_eq(checker_count(checker), 2);
	ck_assert_str_eq(state_of(0), "passed");
	health_check_end(&check);
}
END_TEST

enum { MANY = 1000 };

static struct endpoint_set *many(void)
{
	struct item *items = xalloc(MANY * sizeof(*items));
	char (*text)[32] = xalloc(MANY * sizeof(*text));

	for (uint32_t i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		items[i].at = text[i];
	}
	struct endpoint_set *set = set_of(items, MANY);
	free(items);
	free(text);
	return set;
}

static uint32_t most_in_flight, most_begun;
static uint64_t attempts_before;

static void look(void *ctx)
{
	uint32_t active = (uint32_t)stat(STAT_CHECK_ACTIVE), begun = (uint32_t)(stat(STAT_CHECK_ATTEMPT) - attempts_before);

	(void)ctx;
	attempts_before = stat(STAT_CHECK_ATTEMPT);
	most_in_flight = active > most_in_flight ? active : most_in_flight;
	most_begun = begun > most_begun ? begun : most_begun;
}

START_TEST(a_thousand_endpoints_are_no_burst_and_are_spread_over_the_interval_afterwards)
{
	struct health_check check = check_of(CHECK_TCP);
	uint64_t least = UINT64_MAX, most = 0;
	struct fake **k = xalloc(MANY * sizeof(struct fake *));

	for (uint32_t i = 0; i < MANY; i++) {
		char at[32];

		snprintf(at, sizeof(at), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		k[i] = fake_new(f, at, false);
	}
	simnet_knobs(f->net)->latency_ns = 5 * MS;
	most_in_flight = most_begun = 0;
	attempts_before = 0;
	simnet_after_turn(f->net, look, NULL);
	declare(spec_of_checks(1, &check), many());
	fakes_advance(f, 500 * MS);
	ck_assert_uint_ge(stat(STAT_CHECK_SUCCESS), MANY); /* all of them within half a second, and the first ones again: their places in the interval */
	ck_assert_uint_le(most_begun, 64);
	ck_assert_uint_le(most_in_flight, 128);
	ck_assert_uint_eq(stat(STAT_CHECK_HEALTHY), MANY);
	fakes_advance(f, 10 * SEC);
	for (int i = 0; i < 25; i++) { /* each fifth of a second its twenty-fifth */
		uint64_t before = stat(STAT_CHECK_ATTEMPT);

		fakes_advance(f, 200 * MS);
		uint64_t n = stat(STAT_CHECK_ATTEMPT) - before;
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	ck_assert_msg(least >= 15 && most <= 65, "between %llu and %llu in 200 ms", (unsigned long long)least, (unsigned long long)most);
	/* few wake-ups: whoever has many endpoints is woken for some of them together */
	uint64_t turns = f->loop->turn;
	fakes_advance(f, 10 * SEC);
	ck_assert_uint_le(f->loop->turn - turns, 10 * 10 * 12);
	simnet_after_turn(f->net, NULL, NULL);
	free(k);
	health_check_end(&check);
}
END_TEST

START_TEST(checks_that_a_late_turn_has_brought_together_part_again)
{
	struct health_check check = check_of(CHECK_TCP);
	uint64_t most = 0;

	for (uint32_t i = 0; i < MANY; i++) {
		char at[32];

		snprintf(at, sizeof(at), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		fake_new(f, at, false);
	}
	simnet_knobs(f->net)->latency_ns = MS;
	declare(spec_of_checks(1, &check), many());
	fakes_advance(f, 10 * SEC);
	for (int i = 0; i < 12; i++) { /* others have the core for so long: too short to be a standstill */
		simnet_freeze(f->net, 600 * MS);
		fakes_advance(f, SEC);
	}
	fakes_advance(f, 5 * SEC);
	for (int i = 0; i < 50; i++) { /* a tenth of a second is twenty of them */
		uint64_t before = stat(STAT_CHECK_ATTEMPT), n;

		fakes_advance(f, 100 * MS);
		n = stat(STAT_CHECK_ATTEMPT) - before;
		most = n > most ? n : most;
	}
	ck_assert_msg(most <= 40, "%llu in 100 ms", (unsigned long long)most);
	health_check_end(&check);
}
END_TEST

START_TEST(dead_ones_hold_no_more_than_their_share_and_the_living_are_asked_all_the_same)
{
	struct health_check check = check_of(CHECK_TCP);
	struct addr at;

	check.timeout_ns = SEC;
	for (uint32_t i = 0; i < MANY; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		at = simnet_addr(text);
		if (i % 2)
			simnet_on_connect(f->net, &at, SIMNET_HANG);
		else
			fake_new(f, text, false);
	}
	most_in_flight = most_begun = 0;
	simnet_after_turn(f->net, look, NULL);
	declare(spec_of_checks(1, &check), many());
	fakes_advance(f, 5 * SEC);
	ck_assert_uint_eq(stat(STAT_CHECK_HEALTHY), MANY / 2);
	ck_assert_uint_ge(stat(STAT_CHECK_NETWORK_FAILURE), MANY / 2);
	ck_assert_uint_le(most_in_flight, 128);
	ck_assert_uint_ge(stat(STAT_CHECK_WAITED), 1);
	uint64_t passed = stat(STAT_CHECK_SUCCESS);
	fakes_advance(f, 60 * SEC);
	ck_assert_uint_ge(stat(STAT_CHECK_SUCCESS) - passed, 500 * 10);
	simnet_after_turn(f->net, NULL, NULL);
	health_check_end(&check);
}
END_TEST

START_TEST(a_thousand_checked_endpoints_cost_little)
{
	struct health_check check = check_of(CHECK_TCP);
	size_t before = f->loop->memory.used, held;

	for (uint32_t i = 0; i < MANY; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		fake_new(f, text, false);
	}
	declare(spec_of_checks(1, &check), many());
	fakes_advance(f, SEC);
	held = f->loop->memory.used - before;
	ck_assert_uint_eq(stat(STAT_CHECK_HEALTHY), MANY);
	ck_assert_msg(held <= 4 << 20, "%zu bytes", held);
	health_check_end(&check);
}
END_TEST

START_TEST(without_memory_an_endpoint_counts_as_passed_and_nobody_waits)
{
	static const struct item items[] = {{.at = "10.0.0.1:80"}, {.at = "10.0.0.2:80"}};
	struct health_check check = check_of(CHECK_GRPC);

	for (size_t room = 0; room < 30000; room += 997) {
		struct cluster_spec *spec = spec_of_checks(1, &check);
		struct endpoint_set *set = set_of(items, 2);

		f->loop->memory.limit = f->loop->memory.used + room;
		declare(spec, set);
		fakes_advance(f, 2 * SEC);
		f->loop->memory.limit = SIZE_MAX;
		for (uint32_t i = 0; i < cluster_endpoints(cluster); i++) {
			struct host *h = cluster_host_at(cluster, i);

			ck_assert_msg(!h || h->check != HOST_PENDING || h->checks, "with %zu", room);
		}
		fakes_advance(f, 10 * SEC);
		undeclare();
		fakes_advance(f, SEC);
		ck_assert_uint_eq(checker_count(checker), 0);
	}
	health_check_end(&check);
}
END_TEST

START_TEST(after_a_standstill_everything_is_asked_again_within_an_interval_and_nothing_counts)
{
	struct health_check check = check_of(CHECK_TCP);

	for (uint32_t i = 0; i < MANY; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.1.%u.%u:80", i / 250, i % 250 + 1);
		fake_new(f, text, false);
	}
	declare(spec_of_checks(1, &check), many());
	fakes_advance(f, 20 * SEC);
	uint64_t asked = stat(STAT_CHECK_ATTEMPT);
	checker_thaw(checker);
	fakes_advance(f, 5100 * MS);
	ck_assert_uint_ge(stat(STAT_CHECK_ATTEMPT) - asked, MANY);
	ck_assert_uint_le(stat(STAT_CHECK_ATTEMPT) - asked, 2 * MANY + 100);
	ck_assert_uint_eq(stat(STAT_CHECK_FAILURE), 0);
	health_check_end(&check);
}
END_TEST

START_TEST(a_failure_below_the_threshold_brings_no_ejected_host_back_and_a_pass_does)
{
	static const struct item items[] = {{.at = "10.0.0.1:80"}, {.at = "10.0.0.2:80"}};
	struct health_check check = check_of(CHECK_GRPC);
	struct cluster_spec *spec;
	struct fake *k[2];
	struct host *h;

	for (int i = 0; i < 2; i++)
		fake_serves(k[i] = fake_new(f, items[i].at, true), 1);
	check.unhealthy_threshold = 3;
	check.unhealthy_edge_interval_ns = 5 * SEC;
	spec = spec_of_checks(1, &check);
	spec->outlier = xnew(struct outlier);
	outlier_default(spec->outlier);
	spec->outlier->max_ejection_percent = 100;
	spec->outlier->base_ejection_ns = 1000 * SEC;
	spec->outlier->max_ejection_ns = 1000 * SEC;
	declare(spec, set_of(items, 2));
	h = cluster_host_at(cluster, 0);
	for (int i = 0; i < 5; i++)
		host_outcome(h, &(struct host_outcome){.http_status = 503});
	ck_assert(host_is_ejected(h));
	k[0]->reset = true; /* nobody answers: twice, and thrice would be failed */
	fakes_advance(f, 10 * SEC + SEC);
	ck_assert_uint_eq(stat(STAT_CHECK_FAILURE), 2);
	ck_assert_int_eq(h->check, HOST_PASSED);
	ck_assert(host_is_ejected(h));
	k[0]->reset = false;
	fakes_advance(f, 5 * SEC);
	ck_assert(!host_is_ejected(h));
	health_check_end(&check);
}
END_TEST

START_TEST(a_checker_may_go_while_it_asks)
{
	static const struct item items[] = {{.at = "10.0.0.1:80"}, {.at = "10.0.0.2:80"}};
	struct health_check checks[3] = {check_of(CHECK_GRPC), check_of(CHECK_TCP), check_of(CHECK_GRPC)};
	struct fake *k = fake_new(f, "10.0.0.1:80", true);

	checks[0].reuse_connection = true;
	checks[2].watch = true;
	k->hold_end = true;
	declare(spec_of_checks(3, checks), set_of(items, 2));
	ck_assert_uint_gt(stat(STAT_CHECK_ACTIVE), 0);
	checker_free(&checker);
	fakes_advance(f, SEC);
	ck_assert_uint_eq(stat(STAT_CHECK_ACTIVE), 0);
	ck_assert_uint_eq(stat(STAT_CHECK_ENDPOINTS), 0);
	ck_assert_uint_eq(stat(STAT_CHECK_HEALTHY), 0);
	ck_assert_uint_eq(k->open, 0);
	for (int i = 0; i < 3; i++)
		health_check_end(&checks[i]);
}
END_TEST

Suite *suite(void)
{
	const TTest *const tests[] = {all_checks_of_a_cluster_must_pass, an_endpoint_may_be_asked_elsewhere_by_another_name_or_not_at_all,
		a_thousand_endpoints_are_no_burst_and_are_spread_over_the_interval_afterwards, checks_that_a_late_turn_has_brought_together_part_again, dead_ones_hold_no_more_than_their_share_and_the_living_are_asked_all_the_same,
		a_thousand_checked_endpoints_cost_little, without_memory_an_endpoint_counts_as_passed_and_nobody_waits, after_a_standstill_everything_is_asked_again_within_an_interval_and_nothing_counts,
		a_failure_below_the_threshold_brings_no_ejected_host_back_and_a_pass_does, a_checker_may_go_while_it_asks};
	Suite *made = suite_create("checker");
	TCase *t = tcase_create("checker");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	for (size_t i = 0; i < UNIT_COUNT(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(made, t);
	return made;
}
