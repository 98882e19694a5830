/* lb/levels: priorities, degraded endpoints, panic, localities: the shares that Envoy's rules give. */
#include "tests/lb/lbrig.h"
#include "tests/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PICKS = 20000 };

/* How many of PICKS go to the endpoints whose port is `port`. */
struct tally {
	double port[10];
	uint32_t nobody;
	enum pick_result why;
};

static struct tally picks(struct lb_rig *r)
{
	struct tally t = {0};

	for (uint32_t i = 0; i < PICKS; i++) {
		struct host *h;
		enum pick_result got = cluster_pick(r->cluster, 0, NULL, &h);

		if (got != PICK_OK) {
			t.nobody++;
			t.why = got;
			continue;
		}
		t.port[addr_port(&h->addrs[0])] += 100.0 / PICKS;
		host_done(&h, HOST_OK);
	}
	return t;
}

/* n endpoints of the priority (its port too), the first `bad` of which have another health. */
static void add(char *text, size_t size, uint32_t priority, uint32_t n, uint32_t bad, char health)
{
	for (uint32_t i = 0; i < n; i++) {
		size_t at = strlen(text);

		if (i < bad)
			snprintf(text + at, size - at, "%s10.0.%u.%u:%u!%c^%u", at ? " " : "", priority, i + 1, priority + 1, health,
				priority);
		else
			snprintf(text + at, size - at, "%s10.0.%u.%u:%u^%u", at ? " " : "", priority, i + 1, priority + 1, priority);
	}
}

/* Healthy per cent of each priority, and the shares that Envoy's documentation gives for them. */
START_TEST(calls_fail_over_by_the_share_of_the_healthy)
{
	static const struct {
		uint32_t healthy[3], n;
		double share[3];
	} rows[] = {
		{{100, 100}, 2, {100, 0}}, {{72, 100}, 2, {100, 0}}, {{71, 100}, 2, {99, 1}}, {{50, 100}, 2, {70, 30}},
		{{25, 100}, 2, {35, 65}}, {{0, 100}, 2, {0, 100}},
		{{25, 25, 20}, 3, {37, 35, 28}}, /* 35, 35, 28 of 98, in whole numbers; what rounding leaves goes to the first */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = calloc(1, 16384);
		struct lb_rig *r = lb_rig_new();
		struct cluster_spec *spec = lb_rig_spec();
		struct tally t;

		spec->panic_percent = 0;
		spec->lb = LB_RANDOM;
		for (uint32_t p = 0; p < rows[i].n; p++)
			add(text, 16384, p, 100, 100 - rows[i].healthy[p], 'u');
		lb_rig_declare(r, spec, text);
		t = picks(r);
		ck_assert_uint_eq(t.nobody, 0);
		for (uint32_t p = 0; p < rows[i].n; p++) /* three standard deviations of the worst row */
			ck_assert_msg(fabs(t.port[p + 1] - rows[i].share[p]) < 1.1 && (t.port[p + 1] > 0) == (rows[i].share[p] > 0),
				"row %zu, priority %u: %f", i, p, t.port[p + 1]);
		lb_rig_free(&r);
		free(text);
	}
}
END_TEST

START_TEST(priorities_need_no_order_in_the_set_and_no_numbers_without_gaps)
{
	struct lb_rig *r = lb_rig_new();
	struct tally t;

	lb_rig_declare(r, NULL, "10.0.0.3:3^9 10.0.0.1:1^2 10.0.0.2:2^5 10.0.0.4:1^2 10.0.0.5:3^9");
	t = picks(r);
	ck_assert_double_eq_tol(t.port[1], 100, 1e-6);
	ck_assert_str_eq(lb_rig_host(r, 0).text, "10.0.0.1:1");
	ck_assert_str_eq(lb_rig_host(r, 1).text, "10.0.0.4:1");
	ck_assert_str_eq(lb_rig_host(r, 2).text, "10.0.0.2:2");
	lb_rig_declare(r, NULL, "10.0.0.3:3^9 10.0.0.1:1!u^2 10.0.0.2:2!d^5 10.0.0.4:1!u^2 10.0.0.5:3^9");
	t = picks(r);
	ck_assert_double_eq_tol(t.port[3], 100, 1e-6);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_thousand_priorities_are_bounded_and_all_are_reached)
{
	char *text = calloc(1, 65536);
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct tally t;

	spec->panic_percent = 0;
	for (uint32_t i = 0; i < 1000; i++)
		snprintf(text + strlen(text), 65536 - strlen(text), "%s10.0.%u.%u:%d%s^%u", i ? " " : "", i / 250, i % 250 + 1,
			i == 999 ? 7 : 1, i == 999 ? "" : "!u", (i * 7) % 1000);
	lb_rig_declare(r, spec, text);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 1000);
	t = picks(r);
	ck_assert_double_eq_tol(t.port[7], 100, 1e-6);
	lb_rig_free(&r);
	free(text);
}
END_TEST

START_TEST(degraded_endpoints_serve_what_the_healthy_ones_leave)
{
	static const struct {
		uint32_t degraded;
		double healthy_share;
	} rows[] = {{0, 100}, {20, 100}, {50, 70}, {90, 14}, {100, 0}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = calloc(1, 16384);
		struct lb_rig *r = lb_rig_new();
		double healthy = 0;

		add(text, 16384, 0, 100, rows[i].degraded, 'g');
		lb_rig_declare(r, NULL, text);
		for (uint32_t n = 0; n < PICKS; n++) {
			struct host *h;

			ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
			healthy += h->index >= rows[i].degraded ? 100.0 / PICKS : 0;
			host_done(&h, HOST_OK);
		}
		ck_assert_msg(fabs(healthy - rows[i].healthy_share) < 1.1, "%u degraded: %f", rows[i].degraded, healthy);
		lb_rig_free(&r);
		free(text);
	}
}
END_TEST

START_TEST(below_the_panic_threshold_all_are_used_whatever_is_said_of_them)
{
	static const struct {
		uint32_t bad, threshold;
		bool all;
	} rows[] = {{49, 50, false}, {50, 50, false}, {51, 50, true}, {100, 50, true}, {99, 0, false}, {90, 10, false}, {91, 10, true}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *text = calloc(1, 16384);
		struct cluster_spec *spec = lb_rig_spec();
		struct lb_rig *r = lb_rig_new();
		uint32_t bad = 0;

		spec->panic_percent = rows[i].threshold;
		add(text, 16384, 0, 100, rows[i].bad, i % 2 ? 'u' : 'd');
		lb_rig_declare(r, spec, text);
		for (uint32_t n = 0; n < 1000; n++) {
			struct host *h;

			ck_assert_int_eq(cluster_pick(r->cluster, 0, NULL, &h), PICK_OK);
			bad += h->index < rows[i].bad;
			host_done(&h, HOST_OK);
		}
		ck_assert_msg((bad > 0) == rows[i].all, "%u bad, threshold %u: %u picks of them", rows[i].bad, rows[i].threshold, bad);
		ck_assert(!rows[i].all || (bad > 10 * rows[i].bad - 200 && bad < 10 * rows[i].bad + 200));
		lb_rig_free(&r);
		free(text);
	}
}
END_TEST

/* Of two priorities the first is below the threshold, but the second carries all: no panic (Envoy: only while the sum of health is below 100). */
START_TEST(there_is_no_panic_while_another_priority_carries_the_calls)
{
	char *text = calloc(1, 16384);
	struct lb_rig *r = lb_rig_new();
	struct tally t;

	add(text, 16384, 0, 10, 9, 'u');
	add(text, 16384, 1, 10, 0, 'u');
	lb_rig_declare(r, NULL, text);
	t = picks(r);
	ck_assert_double_eq_tol(t.port[1], 14, 1.1);
	for (uint32_t i = 0; i < 9; i++)
		ck_assert_uint_eq(lb_rig_host(r, i).total, 0);
	lb_rig_free(&r);
	free(text);
}
END_TEST

START_TEST(with_all_priorities_in_panic_calls_go_by_the_number_of_endpoints)
{
	char *text = calloc(1, 16384);
	struct lb_rig *r = lb_rig_new();
	struct tally t;

	add(text, 16384, 0, 10, 10, 'u');
	add(text, 16384, 1, 30, 30, 'u');
	lb_rig_declare(r, NULL, text);
	t = picks(r);
	ck_assert_uint_eq(t.nobody, 0);
	ck_assert_double_eq_tol(t.port[1], 25, 1.1);
	ck_assert_double_eq_tol(t.port[2], 75, 1.1);
	lb_rig_free(&r);
	free(text);
}
END_TEST

START_TEST(localities_have_shares_by_weight_and_by_what_is_available)
{
	static const struct {
		const char *text;
		bool weighted;
		double share[3];
	} rows[] = {
		{"10.0.0.1:1%a~1 10.0.0.2:2%b~3", true, {25, 75}},
		{"10.0.0.1:1%a~1 10.0.0.2:2%b~3", false, {50, 50}},
		{"10.0.0.1:1*9%a~1 10.0.0.2:2%b~3 10.0.0.3:2%b~3", true,
			{25, 75}}, /* weights of endpoints count inside of their locality only */
		{"10.0.0.1:1%a~1 10.0.0.2:2%b 10.0.0.3:3%c~1", true, {50, 0, 50}}, /* beside others that have one, no weight is no share */
		{"10.0.0.1:1%a 10.0.0.2:2%b", true, {50, 50}},
		/* half of b is unhealthy: 3 x min(100, 140 x 1/2) against 1 x 100 */
		{"10.0.0.1:1%a~1 10.0.0.2:2!u%b~3 10.0.0.3:2%b~3", true, {32.26, 67.74}},
		{"10.0.0.1:1%a~1 10.0.0.2:2!u%b~3 10.0.0.3:2!u%b~3 10.0.0.4:1%a~1 10.0.0.5:1%a~1", true, {100, 0}},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct cluster_spec *spec = lb_rig_spec();
		struct lb_rig *r = lb_rig_new();
		struct tally t;

		spec->locality_weighted = rows[i].weighted;
		spec->lb = LB_RANDOM;
		lb_rig_declare(r, spec, rows[i].text);
		t = picks(r);
		ck_assert_uint_eq(t.nobody, 0);
		for (int k = 0; k < 3; k++)
			ck_assert_msg(fabs(t.port[k + 1] - rows[i].share[k]) < 1.3, "'%s': %f %f %f", rows[i].text, t.port[1], t.port[2],
				t.port[3]);
		lb_rig_free(&r);
	}
}
END_TEST

START_TEST(ten_thousand_localities_keep_their_shares)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	struct cluster_spec *spec = lb_rig_spec();
	struct lb_rig *r = lb_rig_new();
	struct tally t;
	struct addr a = simnet_addr("10.0.0.1:1");
	double heavy = 0, all = 0;

	for (uint32_t i = 0; i < 10000; i++) {
		char zone[16];
		size_t n = (size_t)snprintf(zone, sizeof(zone), "z%u", i);
		uint32_t weight = i % 100 == 0 ? 100 : 1;

		a.in4.sin_addr.s_addr = htonl(0x0a000001 + i);
		a.in4.sin_port = htons(weight == 1 ? 1 : 2);
		ck_assert_int_eq(endpoints_group(b), 0);
		ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.addrs = &a, .naddrs = 1, .weight = 1}), 0);
		ck_assert_int_eq(endpoints_group_end(b, STR(""), str_n(zone, n), STR(""), weight, 0), 0);
		heavy += weight == 1 ? 0 : weight;
		all += weight;
	}
	spec->locality_weighted = true;
	lb_rig_declare(r, spec, "10.0.0.1:1");
	lb_rig_publish(r, endpoints_done(&b, 0));
	for (int i = 0; i < 200; i++)
		lb_rig_advance(r, 0);
	ck_assert_uint_eq(lb_rig_view(r).hosts, 10000);
	t = picks(r);
	ck_assert_double_eq_tol(t.port[2], 100 * heavy / all, 1.1);
	lb_rig_free(&r);
}
END_TEST

/* Nobody can connect to the first priority: its calls go on, without a detector of outliers. */
START_TEST(an_endpoint_in_back_off_is_not_available_but_no_reason_for_panic)
{
	struct lb_rig *r = lb_rig_new();
	struct tally t;
	struct call c;

	provider_new(r, "10.0.0.2:2", ANSWERS);
	lb_rig_declare(r, NULL, "10.0.0.1:1^0 10.0.0.2:2^1");
	call_start(r, &c); /* nobody listens at the first */
	lb_rig_advance(r, 0);
	ck_assert_int_eq(c.state, CALL_FAILED);
	t = picks(r);
	ck_assert_double_eq_tol(t.port[2], 100, 1e-6);
	lb_rig_advance(r, SEC); /* the back-off is over */
	t = picks(r);
	ck_assert_double_eq_tol(t.port[1], 100, 1e-6);
	lb_rig_free(&r);
}
END_TEST

START_TEST(a_call_that_was_tried_everywhere_in_a_priority_goes_to_the_next)
{
	struct lb_rig *r = lb_rig_new();
	struct tried tried = {0};

	lb_rig_declare(r, NULL, "10.0.0.1:1^0 10.0.0.2:1^0 10.0.0.3:3^1 10.0.0.4:4!g^1");
	for (uint32_t i = 0; i < 4; i++) {
		static const uint16_t ports[] = {1, 1, 3, 4};
		struct host *h;

		ck_assert_int_eq(cluster_pick(r->cluster, 0, &tried, &h), PICK_OK);
		ck_assert_uint_eq(addr_port(&h->addrs[0]), ports[i]);
		tried.host[tried.count++] = h;
		host_done(&h, HOST_CONNECT);
	}
	struct host *h;
	ck_assert_int_eq(cluster_pick(r->cluster, 0, &tried, &h), PICK_NONE);
	lb_rig_free(&r);
}
END_TEST

static struct tls_want *not_built(const char *what)
{
	struct tls_want *w = tls_want_new();

	w->unbuilt = xstrdup(what);
	tls_want_seal(w);
	return w;
}

static struct cluster_spec *tls_spec(void)
{
	struct cluster_spec *spec = lb_rig_spec();

	spec->ntls = 1;
	spec->tls = xnew(struct tls_row);
	spec->tls[0] = (struct tls_row){.name = xstrdup("istio"), .pairs = xnew(struct tls_pair), .npairs = 1, .want = not_built("quic is not built")};
	spec->tls[0].pairs[0] = (struct tls_pair){xstrdup("tlsMode"), xstrdup("istio")};
	spec_seal(spec);
	return spec;
}

START_TEST(what_wants_tls_that_cannot_be_had_is_never_picked_not_even_in_panic)
{
	struct endpoint_metas *metas = endpoint_metas_new(NULL, 1);
	struct lb_rig *r = lb_rig_new();
	struct tally t;

	lb_rig_declare(r, tls_spec(), "10.0.0.1:1");
	lb_rig_publish(r, set_text("10.0.0.1:1+istio 10.0.0.2:2+disabled 10.0.0.3:3+istio^1 10.0.0.4:4^1", metas, NULL));
	t = picks(r);
	ck_assert_double_eq_tol(t.port[2], 100, 1e-6);
	ck_assert_uint_eq(lb_rig_view(r).unusable, 2);
	ck_assert_str_eq(lb_rig_host(r, 0).state, "no TLS");
	lb_rig_publish(r, set_text("10.0.0.1:1+istio 10.0.0.2:2!u+istio", metas, NULL));
	t = picks(r);
	ck_assert_uint_eq(t.nobody, PICKS);
	ck_assert_int_eq(t.why, PICK_UNUSABLE);
	ck_assert_str_eq(cluster_unusable(r->cluster), "'demo' wants TLS ('istio'): quic is not built");
	lb_rig_publish(r, set_text("10.0.0.1:1+istio 10.0.0.2:2!u+disabled", metas, NULL));
	t = picks(r);
	ck_assert_double_eq_tol(t.port[2], 100, 1e-6); /* panic: the only one that may be spoken to */
	/* The same endpoints under a spec that asks all for TLS. */
	struct cluster_spec *all = lb_rig_spec(), *old = r->decl.spec;
	all->want = not_built("quic is not built");
	spec_seal(all);
	r->decl.spec = all;
	r->decl.changed(&r->decl);
	spec_unref(&old);
	t = picks(r);
	ck_assert_int_eq(t.why, PICK_UNUSABLE);
	lb_rig_free(&r);
	endpoint_metas_free(&metas);
}
END_TEST

START_TEST(policies_that_are_not_built_are_random_and_say_so)
{
	static const enum lb_kind kinds[] = {LB_RING_HASH, LB_MAGLEV, LB_RANDOM};

	for (size_t i = 0; i < UNIT_COUNT(kinds); i++) {
		struct cluster_spec *spec = lb_rig_spec();
		struct lb_rig *r = lb_rig_new();

		spec->lb = kinds[i];
		lb_rig_declare(r, spec, "10.0.0.1:1 10.0.0.2:2");
		ck_assert_str_eq(lb_rig_view(r).lb, "random");
		ck_assert_int_eq(lb_rig_view(r).note != NULL, kinds[i] != LB_RANDOM);
		ck_assert_double_eq_tol(picks(r).port[1], 50, 1.3);
		lb_rig_free(&r);
	}
}
END_TEST

UNIT_SUITE("levels", calls_fail_over_by_the_share_of_the_healthy, priorities_need_no_order_in_the_set_and_no_numbers_without_gaps,
	a_thousand_priorities_are_bounded_and_all_are_reached, degraded_endpoints_serve_what_the_healthy_ones_leave,
	below_the_panic_threshold_all_are_used_whatever_is_said_of_them, there_is_no_panic_while_another_priority_carries_the_calls,
	with_all_priorities_in_panic_calls_go_by_the_number_of_endpoints, localities_have_shares_by_weight_and_by_what_is_available,
	ten_thousand_localities_keep_their_shares, an_endpoint_in_back_off_is_not_available_but_no_reason_for_panic,
	a_call_that_was_tried_everywhere_in_a_priority_goes_to_the_next, what_wants_tls_that_cannot_be_had_is_never_picked_not_even_in_panic,
	policies_that_are_not_built_are_random_and_say_so)
