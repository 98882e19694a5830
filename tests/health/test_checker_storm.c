/* health/checker in a world without order: sets, specs, priorities and checks that change under probes in flight, hosts that go and are born again in one turn, peers that answer
 * garbage for ever, hang, reset and say GOAWAY, standstills, ejections, memory that says no. Nobody is asked what he would answer: only that the books are right
 * after each step, that what goes on is bounded, and that nothing is left in the end. A seed is a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "conf/health.h"
#include "health/checker.h"
#include "tests/health/fake.h"
#include "tests/unit.h"

enum { HOSTS = 10, STEPS = 600, CALLS = 16 };

struct storm {
	struct fakes *f;
	struct dns *dns;
	struct clusters *clusters;
	struct checker *checker;
	struct mesh_cluster decl;
	struct endpoint_metas *metas;
	struct cluster *cluster;
	struct fake *fake[HOSTS];
	struct host *call[CALLS];
	uint64_t rng;
};

static uint32_t below(struct storm *s, uint32_t n)
{
	s->rng = s->rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(s->rng >> 33) % n;
}

static uint64_t stat(const struct storm *s, enum stat_id id)
{
	return stat_get(&s->f->loop->stats, id);
}

static void set_name(uint32_t i, char out[32])
{
	snprintf(out, 32, "10.0.0.%u:80", i + 1);
}

/* Some of them, each in one of three priorities, some asked elsewhere or not at all. */
static struct endpoint_set *some(struct storm *s)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	uint32_t level[HOSTS];

	for (uint32_t i = 0; i < HOSTS; i++)
		level[i] = below(s, 5); /* 3, 4: not in it */
	for (uint32_t l = 0; l < 3; l++) {
		uint32_t n = 0;

		ck_assert_int_eq(endpoints_group(b), 0);
		for (uint32_t i = 0; i < HOSTS; i++) {
			struct endpoint_item item = {.naddrs = 1, .weight = 1};
			struct addr at;
			char text[32];

			if (level[i] != l)
				continue;
			set_name(i, text);
			at = simnet_addr(text);
			item.addrs = &at;
			switch (below(s, 8)) {
			case 0:
				item.meta = endpoint_meta_get(s->metas, (struct str[]){STR(ENDPOINT_CHECK_PORT), STR("81")}, 1);
				break;
			case 1:
				item.meta = endpoint_meta_get(s->metas, (struct str[]){STR(ENDPOINT_CHECK_ADDRESS), STR("10.0.0.1:80")}, 1);
				break;
			case 2:
				item.meta = endpoint_meta_get(s->metas, (struct str[]){STR(ENDPOINT_CHECK_OFF), STR("1")}, 1);
				break;
			}
			if (n % ENDPOINT_BLOCK == 0)
				ck_assert_int_eq(endpoints_block(b, n + 1), 0);
			ck_assert_int_eq(endpoints_put(b, &item), 0);
			n++;
		}
		ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, l), 0);
	}
	return endpoints_done(&b, 0);
}

static struct cluster_spec *spec(struct storm *s)
{
	static const enum check_kind kinds[] = {CHECK_GRPC, CHECK_GRPC, CHECK_HTTP, CHECK_TCP};
	struct cluster_spec *p = spec_new("demo");

	p->lb = LB_ROUND_ROBIN;
	p->removal_hold_ns = below(s, 2) * 3 * SEC;
	p->nchecks = below(s, 4);
	p->checks = p->nchecks ? xalloc(p->nchecks * sizeof(*p->checks)) : NULL;
	for (uint32_t i = 0; i < p->nchecks; i++) {
		struct health_check *c = &p->checks[i];

		health_check_default(c);
		c->kind = kinds[below(s, UNIT_COUNT(kinds))];
		c->watch = below(s, 3) == 0;
		c->http2 = below(s, 2);
		c->reuse_connection = below(s, 2);
		c->timeout_ns = (1 + below(s, 3)) * 300 * MS;
		c->interval_ns = c->no_traffic_interval_ns = (1 + below(s, 3)) * SEC;
		c->healthy_threshold = 1 + below(s, 3);
		c->unhealthy_threshold = 1 + below(s, 3);
		c->unimplemented = below(s, 3);
		health_check_settle(c);
	}
	if (below(s, 2)) {
		p->outlier = xnew(struct outlier);
		outlier_default(p->outlier);
		p->outlier->max_ejection_percent = 60;
		p->outlier->base_ejection_ns = 2 * SEC;
		p->outlier->detect_degraded = true;
	}
	spec_seal(p);
	return p;
}

static void declare(struct storm *s, struct cluster_spec *spec_taken, struct endpoint_set *set_taken)
{
	struct cluster_spec *old_spec = s->decl.spec;
	struct endpoint_set *old_set = s->decl.endpoints;

	s->decl.spec = spec_taken ? spec_taken : old_spec;
	s->decl.endpoints = set_taken ? set_taken : old_set;
	if (s->decl.changed)
		s->decl.changed(&s->decl);
	if (spec_taken)
		spec_unref(&old_spec);
	if (set_taken)
		endpoints_unref(&old_set);
	s->cluster = cluster_live(s->clusters, &s->decl);
}

static void withdraw(struct storm *s)
{
	struct cluster_spec *old_spec = s->decl.spec;
	struct endpoint_set *old_set = s->decl.endpoints;

	s->decl.spec = NULL;
	s->decl.endpoints = NULL;
	if (s->decl.changed)
		s->decl.changed(&s->decl);
	spec_unref(&old_spec);
	endpoints_unref(&old_set);
	s->cluster = NULL;
}

static void misbehave(struct storm *s, struct fake *k)
{
	k->hold = k->hold_end = k->reset = k->cut = k->goaway = false;
	switch (below(s, 12)) {
	case 0:
		k->hold = true;
		break;
	case 1:
		k->hold_end = true;
		break;
	case 2:
		k->reset = true;
		k->code = below(s, 14);
		break;
	case 3:
		k->cut = true;
		break;
	case 4:
		k->goaway = true;
		break;
	case 5:
		fake_says_grpc(k, below(s, 2) ? "grpc-status: 12\n" : "grpc-status: 5\n");
		break;
	case 6:
		fake_serves(k, 2);
		break;
	case 7:
		fake_cut(k);
		break;
	case 8:
		fake_goaway(k);
		break;
	case 9:
		fake_listen(k, false);
		break;
	case 10:
		fake_push(k, "\0\0\0\0\2\10\1", 7);
		fake_push(k, "\0\0\0\0\2\10\2", 7);
		break;
	default:
		fake_listen(k, true);
		fake_serves(k, 1);
		break;
	}
}

static void calls(struct storm *s)
{
	uint32_t i = below(s, CALLS);
	struct host_outcome o = {.http_status = below(s, 3) ? 503 : 200, .degraded = below(s, 9) == 0};

	if (s->call[i]) {
		host_outcome(s->call[i], &o);
		if (below(s, 10) == 0)
			host_fail_now(s->call[i]);
		host_done(&s->call[i], HOST_ERROR);
	} else if (s->cluster) {
		struct host *h;

		if (cluster_pick(s->cluster, 0, NULL, &h) == PICK_OK)
			s->call[i] = h;
	}
}

static void books(struct storm *s)
{
	uint32_t under = 0, healthy = 0;

	ck_assert_uint_eq(stat(s, STAT_CHECK_ENDPOINTS), checker_count(s->checker));
	ck_assert_uint_le(stat(s, STAT_CHECK_ACTIVE), 128);
	ck_assert_uint_le(stat(s, STAT_CHECK_HEALTHY), checker_count(s->checker));
	ck_assert_uint_le(stat(s, STAT_CHECK_DEGRADED), stat(s, STAT_CHECK_HEALTHY));
	ck_assert_uint_le(checker_count(s->checker), 2 * HOSTS);
	for (uint32_t i = 0; s->cluster && i < cluster_endpoints(s->cluster); i++) {
		struct host *h = cluster_host_at(s->cluster, i);
		struct check_view v;

		if (!h || !checker_host(h, &v))
			continue;
		under++;
		healthy += h->check == HOST_PASSED;
		/* What lb believes is what the checker says. */
		ck_assert_int_ne(h->check, HOST_UNCHECKED);
	}
	ck_assert_uint_le(under, checker_count(s->checker));
	ck_assert_uint_le(healthy, under);
}

static void step(struct storm *s)
{
	switch (below(s, 14)) {
	case 0:
		declare(s, spec(s), s->decl.endpoints ? NULL : some(s));
		break;
	case 1:
	case 2:
		declare(s, s->decl.spec ? NULL : spec(s), some(s));
		break;
	case 3: /* gone and back before anything ran */
		declare(s, s->decl.spec ? NULL : spec(s), some(s));
		declare(s, NULL, some(s));
		break;
	case 4:
		if (below(s, 4) == 0 && s->decl.spec)
			withdraw(s);
		if (below(s, 2))
			declare(s, s->decl.spec ? NULL : spec(s), some(s));
		break;
	case 5:
		if (below(s, 4) == 0)
			checker_thaw(s->checker);
		break;
	case 6:
	case 7:
	case 8:
		misbehave(s, s->fake[below(s, HOSTS)]);
		break;
	case 9: /* for a moment there is no memory */
		if (below(s, 3) == 0)
			s->f->loop->memory.limit = below(s, 2) ? s->f->loop->memory.used + 2000 : SIZE_MAX;
		break;
	default:
		calls(s);
		break;
	}
	fakes_advance(s->f, below(s, 4) ? below(s, 50) * MS : below(s, 5000) * MS);
	books(s);
}

static void storm(uint64_t seed)
{
	struct storm s = {.rng = seed};

	s.f = fakes_new();
	s.dns = dns_new_table(s.f->loop, MS);
	s.clusters = clusters_new(s.f->loop, &s.f->lim, NULL, s.dns, NULL);
	s.checker = checker_new(s.f->loop, NULL, &s.f->lim, s.clusters);
	s.metas = endpoint_metas_new(&s.f->loop->memory, 1);
	s.decl = (struct mesh_cluster){.name = xstrdup("demo")};
	for (uint32_t i = 0; i < HOSTS; i++) {
		char text[32];

		set_name(i, text);
		s.fake[i] = fake_new(s.f, text, true);
		fake_serves(s.fake[i], 1);
	}
	for (int i = 0; i < STEPS; i++)
		step(&s);
	s.f->loop->memory.limit = SIZE_MAX;
	/* And when the peers are well again and have been asked, so they are known. */
	if (!s.decl.spec)
		declare(&s, spec(&s), some(&s));
	for (uint32_t i = 0; i < HOSTS; i++) {
		s.fake[i]->hold = s.fake[i]->hold_end = s.fake[i]->reset = s.fake[i]->cut = s.fake[i]->goaway = false;
		fake_listen(s.fake[i], true);
		fake_serves(s.fake[i], 1);
	}
	struct cluster_spec *last = spec(&s);
	while (last->nchecks != 1 || last->checks->kind != CHECK_GRPC || last->checks->watch) { /* the fakes end a watch with their first word */
		spec_unref(&last);
		last = spec(&s);
	}
	declare(&s, last, NULL);
	fakes_advance(s.f, 400 * SEC);
	for (uint32_t i = 0; i < cluster_endpoints(s.cluster); i++) {
		struct host *h = cluster_host_at(s.cluster, i);
		struct endpoint e;
		struct check_view v;

		if (!h || h->check == HOST_UNCHECKED || !host_endpoint(h, &e) || endpoint_meta_value(e.meta, ENDPOINT_CHECK_PORT))
			continue;
		ck_assert_msg(checker_host(h, &v), "seed %llu: %s is checked by nobody", (unsigned long long)seed, h->text);
		ck_assert_msg(h->check == HOST_PASSED, "seed %llu: %s: lb %d, checker %s: %s", (unsigned long long)seed, h->text, h->check, v.state, v.why);
		ck_assert_str_ne(v.state, "failed");
	}
	for (uint32_t i = 0; i < CALLS; i++)
		host_done(&s.call[i], HOST_OK);
	withdraw(&s);
	fakes_advance(s.f, MS);
	ck_assert_uint_eq(checker_count(s.checker), 0);
	ck_assert_uint_eq(stat(&s, STAT_CHECK_ACTIVE), 0);
	ck_assert_uint_eq(stat(&s, STAT_CHECK_HEALTHY), 0);
	ck_assert_uint_eq(stat(&s, STAT_CHECK_DEGRADED), 0);
	ck_assert_uint_eq(stat(&s, STAT_OUTLIER_ACTIVE), 0);
	checker_free(&s.checker);
	clusters_free(&s.clusters);
	fakes_advance(s.f, 10 * MS);
	dns_free(&s.dns);
	endpoint_metas_free(&s.metas);
	free(s.decl.name);
	fakes_free(&s.f);
}

START_TEST(whatever_happens_around_it_the_books_are_right_and_nothing_is_left)
{
	const char *n = getenv("STORMS");
	uint64_t from = 1, to = n ? strtoull(n, NULL, 10) : 12;

	for (uint64_t seed = from; seed <= to; seed++)
		storm(seed);
}
END_TEST

Suite *suite(void)
{
	Suite *made = suite_create("checker_storm");
	TCase *t = tcase_create("storm");

	tcase_set_timeout(t, 600);
	tcase_add_test(t, whatever_happens_around_it_the_books_are_right_and_nothing_is_left);
	suite_add_tcase(made, t);
	return made;
}
