/* conf/endpoints, endpoints_build, endpoint_meta: what goes in comes out, what has not changed is shared, and every no is a clean one. */
#include "tests/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "conf/spec.h"

static struct addr addr_of(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(str_of(text), &a), 0);
	return a;
}

static struct addr nth_addr(uint32_t i)
{
	struct addr a = addr_of("10.0.0.1:80");

	a.in4.sin_addr.s_addr = htonl(0x0a000001 + i);
	return a;
}

static int end_group(struct endpoints_builder *b)
{
	return endpoints_group_end(b, STR("r"), STR("z"), STR("s"), 3, 1);
}

START_TEST(what_is_put_is_got_back)
{
	static const char *const rows[] = {"10.0.0.1:50051", "[2001:db8::7]:443", "unix:/run/demo.sock", "unix:@demo", "[fe80::1%1]:9"};
	struct endpoint_metas *metas = endpoint_metas_new(NULL, 7);
	const struct str pairs[] = {STR("tlsMode"), STR("istio")};
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	struct endpoint_set *s;
	struct addr a[2];
	uint32_t count = 0;

	ck_assert_int_eq(endpoints_group(b), 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		if (addr_parse(str_of(rows[i]), &a[0]) < 0) { /* a scope needs an interface; the address alone has one as well */
			a[0] = addr_of("[fe80::1]:9");
			a[0].in6.sin6_scope_id = 3;
		}
		ck_assert_int_eq(endpoints_put(b,
					 &(struct endpoint_item){.addrs = a,
						 .naddrs = 1,
						 .weight = 7 + count,
						 .health = EP_DRAINING,
						 .incarnation = 99,
						 .meta = i % 2 ? endpoint_meta_get(metas, pairs, 1) : NULL}),
			0);
		count++;
	}
	a[0] = addr_of("[::1]:1");
	a[1] = addr_of("127.0.0.1:1");
	ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.addrs = a, .naddrs = 2, .weight = 1}), 0);
	ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.host = STR("Demo.Example"), .port = 50051, .weight = 1}), 0);
	ck_assert_int_eq(end_group(b), 0);
	s = endpoints_done(&b, 150);
	ck_assert_uint_eq(endpoints_count(s), count + 2);
	ck_assert_uint_eq(endpoints_overprovisioning(s), 150);
	ck_assert(endpoints_has_names(s));
	for (uint32_t i = 0; i < count; i++) {
		struct endpoint e;

		endpoint_get(s, i, &e);
		if (addr_parse(str_of(rows[i]), &a[0]) == 0)
			ck_assert_msg(addr_eq(&e.addr, &a[0]), "%s", rows[i]);
		else
			ck_assert_uint_eq(e.addr.in6.sin6_scope_id, 3);
		ck_assert_uint_eq(e.naddrs, 1);
		ck_assert_uint_eq(e.weight, 7 + i);
		ck_assert_uint_eq(e.health, EP_DRAINING);
		ck_assert_uint_eq(e.incarnation, 99);
		ck_assert_uint_eq(e.priority, 1);
		ck_assert_str_eq(e.zone, "z");
		ck_assert_str_eq(e.locality->region, "r");
		ck_assert_str_eq(e.locality->sub_zone, "s");
		ck_assert_uint_eq(e.locality->weight, 3);
		if (i % 2)
			ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "istio");
		else
			ck_assert_ptr_null(e.meta);
	}
	ck_assert_uint_eq(endpoint_addrs(s, count, a, 1), 2);
	ck_assert_uint_eq(endpoint_addrs(s, count, a, 2), 2);
	ck_assert(addr_is_v6(&a[0]) && !addr_is_v6(&a[1]));
	struct endpoint e;
	endpoint_get(s, count + 1, &e);
	ck_assert_str_eq(e.host, "demo.example");
	ck_assert_uint_eq(e.port, 50051);
	ck_assert_uint_eq(e.naddrs, 0);
	ck_assert_uint_eq(e.addr.len, 0);
	struct endpoint_brief brief[ENDPOINT_BLOCK];
	endpoints_brief(s, 0, brief);
	for (uint32_t i = 0; i < count + 1; i++)
		ck_assert_uint_eq(brief[i].addrs_hash, endpoint_addrs_hash(a, endpoint_addrs(s, i, a, 2)));
	ck_assert(brief[count + 1].by_name);
	endpoint_metas_free(&metas);
	endpoint_get(s, 1, &e);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "istio"); /* the table has ended, the set has what it needs */
	endpoints_unref(&s);
	ck_assert_ptr_null(s);
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
	static const struct addr none;
	struct addr one = addr_of("10.0.0.1:1"), many[ENDPOINT_ADDRS + 1];
	char long_name[300];

	memset(long_name, 'a', sizeof(long_name));
	for (size_t i = 0; i < UNIT_COUNT(many); i++)
		many[i] = one;
	const struct endpoint_item rows[] = {
		{.addrs = &one, .naddrs = 1},
		{.weight = 1},
		{.addrs = &none, .naddrs = 1, .weight = 1},
		{.addrs = &one, .naddrs = 1, .weight = 1, .health = EP_DEGRADED + 1},
		{.addrs = many, .naddrs = UNIT_COUNT(many), .weight = 1},
		{.host = str_n(long_name, sizeof(long_name)), .port = 1, .weight = 1},
		{.host = STR("a"), .weight = 1},
		{.host = str_n("a\0b", 3), .port = 1, .weight = 1},
	};
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	struct endpoint_set *s;

	ck_assert_int_eq(
		endpoints_put(b, &(struct endpoint_item){.addrs = &one, .naddrs = 1, .weight = 1}), -EINVAL); /* outside of a group */
	ck_assert_int_eq(endpoints_block(b, 1), -EINVAL);
	ck_assert_int_eq(end_group(b), -EINVAL);
	ck_assert_int_eq(endpoints_group(b), 0);
	ck_assert_int_eq(endpoints_group(b), -EINVAL);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(endpoints_put(b, &rows[i]) == -EINVAL, "row %zu", i);
	ck_assert_int_eq(end_group(b), 0);
	s = endpoints_done(&b, 0);
	ck_assert_uint_eq(endpoints_count(s), 0);
	ck_assert(!endpoints_has_names(s));
	endpoints_unref(&s);
}
END_TEST

START_TEST(weights_of_a_group_stay_below_two_to_the_32)
{
	struct addr a = addr_of("10.0.0.1:1");

	for (uint32_t more = 0; more < 2; more++) {
		struct endpoints_builder *b = endpoints_build(NULL, NULL);

		ck_assert_int_eq(endpoints_group(b), 0);
		ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.addrs = &a, .naddrs = 1, .weight = UINT32_MAX - 5}), 0);
		ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.addrs = &a, .naddrs = 1, .weight = 5 + more}), 0);
		ck_assert_int_eq(end_group(b), more ? -EINVAL : 0);
		endpoints_drop(&b);
	}
}
END_TEST

/* Groups of endpoints by the first octets, each a block of its own with the hash that is given. */
struct made {
	uint32_t first, count;
	uint64_t hash;
};

static struct endpoint_set *make(
	struct account *a, const struct endpoint_set *old, const struct made *blocks, uint32_t nblocks, uint32_t *ret_shared)
{
	struct endpoints_builder *b = endpoints_build(a, old);
	int err = endpoints_group(b);

	*ret_shared = 0;
	for (uint32_t k = 0; k < nblocks && !err; k++) {
		if (endpoints_share(b, blocks[k].hash)) {
			++*ret_shared;
			continue;
		}
		err = endpoints_block(b, blocks[k].hash);
		for (uint32_t i = 0; i < blocks[k].count && !err; i++) {
			struct addr at = nth_addr(blocks[k].first + i);

			err = endpoints_put(b, &(struct endpoint_item){.addrs = &at, .naddrs = 1, .weight = 1});
		}
	}
	if (!err)
		err = end_group(b);
	if (err) {
		endpoints_drop(&b);
		return NULL;
	}
	return endpoints_done(&b, 0);
}

/* What is changed, inserted or deleted makes its block new; the others are the same memory, wherever they stand. */
START_TEST(blocks_that_have_not_changed_are_shared)
{
	static const struct made first[] = {{0, 100, 1}, {100, 100, 2}, {200, 100, 3}, {300, 100, 4}};
	static const struct {
		const char *what;
		struct made blocks[5];
		uint32_t n, shared;
	} rows[] = {
		{"the same", {{0, 100, 1}, {100, 100, 2}, {200, 100, 3}, {300, 100, 4}}, 4, 4},
		{"one changed", {{0, 100, 1}, {100, 100, 22}, {200, 100, 3}, {300, 100, 4}}, 4, 3},
		{"one inserted", {{0, 100, 1}, {100, 101, 22}, {200, 100, 3}, {300, 100, 4}}, 4, 3},
		{"one deleted", {{0, 100, 1}, {100, 99, 22}, {200, 100, 3}, {300, 100, 4}}, 4, 3},
		{"a block before all", {{900, 7, 5}, {0, 100, 1}, {100, 100, 2}, {200, 100, 3}, {300, 100, 4}}, 5, 4},
		{"another order", {{300, 100, 4}, {200, 100, 3}, {100, 100, 2}, {0, 100, 1}}, 4, 4},
		{"one twice", {{0, 100, 1}, {0, 100, 1}}, 2, 2},
		{"hash 0 is nobody's", {{0, 100, 0}, {100, 100, 0}}, 2, 0},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct account a;
		struct endpoint_set *old, *s, *alone;
		uint32_t shared, none, at = 0;

		account_init(&a, NULL, "test", SIZE_MAX);
		old = make(&a, NULL, first, UNIT_COUNT(first), &shared);
		s = make(&a, old, rows[i].blocks, rows[i].n, &shared);
		alone = make(&a, NULL, rows[i].blocks, rows[i].n, &none);
		ck_assert_msg(shared == rows[i].shared, "%s: %u shared", rows[i].what, shared);
		ck_assert_msg(endpoints_hash(s) == endpoints_hash(alone), "%s: shared or not, equal content is equal", rows[i].what);
		ck_assert_uint_eq(none, 0);
		for (uint32_t k = 0; k < rows[i].n; k++)
			for (uint32_t e = 0; e < rows[i].blocks[k].count; e++, at++) {
				struct addr expect = nth_addr(rows[i].blocks[k].first + e);
				struct endpoint seen;

				endpoint_get(s, at, &seen);
				ck_assert_msg(addr_eq(&seen.addr, &expect), "%s: endpoint %u", rows[i].what, at);
			}
		ck_assert_uint_eq(endpoints_count(s), at);
		ck_assert_uint_eq(endpoints_memory(s) < endpoints_memory(alone), shared > 0);
		endpoints_unref(&old); /* what is shared lives on */
		for (uint32_t e = 0; e < endpoints_count(s); e++) {
			struct endpoint seen;

			endpoint_get(s, e, &seen);
		}
		endpoints_unref(&s);
		endpoints_unref(&alone);
		ck_assert_uint_eq(a.used, 0);
		account_end(&a);
	}
}
END_TEST

START_TEST(a_block_that_runs_over_is_never_shared)
{
	static const struct made big[] = {{0, ENDPOINT_BLOCK + 1, 77}};
	uint32_t shared;
	struct endpoint_set *old = make(NULL, NULL, big, 1, &shared), *s = make(NULL, old, big, 1, &shared);

	ck_assert_uint_eq(shared, 0);
	ck_assert_uint_eq(endpoints_count(s), ENDPOINT_BLOCK + 1);
	ck_assert_uint_eq(endpoints_spans(s), 2);
	ck_assert_uint_eq(endpoints_hash(s), endpoints_hash(old));
	endpoints_unref(&s);
	endpoints_unref(&old);
}
END_TEST

START_TEST(blocks_of_one_hash_are_found_without_a_search)
{
	enum { BLOCKS = 20000 };
	struct made *many = calloc(BLOCKS, sizeof(*many));
	struct endpoint_set *old, *s;
	uint32_t shared;

	for (uint32_t i = 0; i < BLOCKS; i++)
		many[i] = (struct made){i, 1, 1000 + i};
	old = make(NULL, NULL, many, BLOCKS, &shared);
	for (uint32_t i = 0; i < BLOCKS; i++) /* backwards: the hint never helps; a search of all for each would be 4 * 10^8 steps */
		many[i] = (struct made){BLOCKS - i, 1, 1000 + BLOCKS - 1 - i};
	s = make(NULL, old, many, BLOCKS, &shared);
	ck_assert_uint_eq(shared, BLOCKS);
	endpoints_unref(&s);
	endpoints_unref(&old);
	free(many);
}
END_TEST

START_TEST(whatever_memory_is_refused_everything_is_given_back)
{
	static const struct made blocks[] = {{0, 100, 1}, {100, 200, 2}, {300, 256, 3}};
	uint32_t made = 0, refused = 0, shared;

	for (size_t limit = 0; limit < 65536; limit += 64) {
		struct account a;
		struct endpoint_metas *metas;
		struct endpoint_set *s, *t = NULL;

		account_init(&a, NULL, "test", limit);
		metas = endpoint_metas_new(&a, 1);
		for (char c = 'a'; c < 'd'; c++)
			endpoint_meta_get(metas, (struct str[]){STR("key"), str_n(&c, 1)}, 1);
		s = make(&a, NULL, blocks, UNIT_COUNT(blocks), &shared);
		if (s)
			t = make(&a, s, blocks, UNIT_COUNT(blocks), &shared);
		made += t != NULL;
		refused += !t;
		endpoints_unref(&s);
		endpoints_unref(&t);
		endpoint_metas_free(&metas);
		ck_assert_uint_eq(a.used, 0);
		account_end(&a);
	}
	ck_assert_uint_gt(made, 100);
	ck_assert_uint_gt(refused, 100);
}
END_TEST

START_TEST(a_set_may_outlive_the_account_it_was_built_with)
{
	static const struct made blocks[] = {{0, 100, 1}};
	struct account root, a;
	struct endpoint_set *s;
	uint32_t shared;

	account_init(&root, NULL, "root", SIZE_MAX);
	account_init(&a, &root, "one stream", SIZE_MAX);
	s = make(&a, NULL, blocks, 1, &shared);
	account_end(&a);
	ck_assert_uint_gt(root.used, 3200);
	endpoints_unref(&s);
	ck_assert_uint_eq(root.used, 0);
	account_end(&root);
}
END_TEST

START_TEST(equal_metadata_is_kept_once_in_any_order_and_goes_with_its_last_set)
{
	const struct str ab[] = {STR("a"), STR("1"), STR("b"), STR("2")}, ba[] = {STR("b"), STR("2"), STR("a"), STR("1")},
			 other[] = {STR("a"), STR("12"), STR("b"), STR("")};
	struct addr at = addr_of("10.0.0.1:1");
	struct account a;
	struct endpoint_metas *metas;
	struct endpoint_meta *m;
	struct endpoints_builder *b;
	struct endpoint_set *s;
	size_t one;

	account_init(&a, NULL, "test", SIZE_MAX);
	metas = endpoint_metas_new(&a, 1);
	m = endpoint_meta_get(metas, ab, 2);
	one = a.used;
	ck_assert_ptr_eq(endpoint_meta_get(metas, ba, 2), m);
	ck_assert_uint_eq(a.used, one);
	ck_assert_ptr_ne(endpoint_meta_get(metas, other, 2), m);
	ck_assert_str_eq(endpoint_meta_value(m, "a"), "1");
	ck_assert_str_eq(endpoint_meta_value(m, "b"), "2");
	ck_assert_ptr_null(endpoint_meta_value(m, "c"));
	ck_assert_ptr_null(endpoint_meta_value(NULL, "a"));
	b = endpoints_build(&a, NULL);
	ck_assert_int_eq(endpoints_group(b), 0);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(endpoints_put(b, &(struct endpoint_item){.addrs = &at, .naddrs = 1, .weight = 1, .meta = m}), 0);
	ck_assert_int_eq(end_group(b), 0);
	s = endpoints_done(&b, 0);
	/* A stream of others, which nobody puts into a set: they go by themselves, ours stays. */
	for (uint32_t i = 0; i < 10 * ENDPOINT_META_FRESH; i++) {
		char text[16];
		struct str pair[] = {STR("n"), {text, (size_t)snprintf(text, sizeof(text), "%u", i)}};

		ck_assert_ptr_nonnull(endpoint_meta_get(metas, pair, 1));
	}
	ck_assert_uint_lt(a.used, endpoints_memory(s) + (ENDPOINT_META_FRESH + 1) * 2 * one);
	ck_assert_ptr_eq(endpoint_meta_get(metas, ba, 2), m);
	endpoints_unref(&s);
	endpoint_metas_free(&metas);
	ck_assert_uint_eq(a.used, 0);
	account_end(&a);
}
END_TEST

START_TEST(the_first_row_that_matches_says_which_tls_is_wanted)
{
	struct tls_pair istio[] = {{(char *)"tlsMode", (char *)"istio"}}, both[] = {{(char *)"tlsMode", (char *)"istio"}, {(char *)"v", (char *)"2"}};
	struct tls_want *mesh = tls_want_mesh("m"), *plain = NULL, *other = tls_want_mesh("o");
	struct tls_row by_mode[] = {{.name = (char *)"tlsMode-istio", .pairs = istio, .npairs = 1, .want = mesh}, {.name = (char *)"tlsMode-disabled"}};
	struct tls_row two[] = {{.name = (char *)"both", .pairs = both, .npairs = 2, .want = mesh}};
	const struct {
		struct tls_row *rows;
		uint32_t n;
		struct tls_want *otherwise;
		const char *mode;
		struct tls_want *want;
		const char *name;
	} rows[] = {
		{by_mode, 2, NULL, "istio", mesh, "tlsMode-istio"},
		{by_mode, 2, other, "disabled", plain, "tlsMode-disabled"},
		{by_mode, 2, other, NULL, plain, "tlsMode-disabled"},
		{by_mode, 1, NULL, NULL, plain, NULL},
		{by_mode, 1, other, NULL, other, "tls"},
		{two, 1, NULL, "istio", plain, NULL},
		{NULL, 0, other, "istio", other, "tls"},
		{NULL, 0, NULL, "istio", plain, NULL},
	};
	struct endpoint_metas *metas = endpoint_metas_new(NULL, 7);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct str pair[] = {STR("tlsMode"), str_of(rows[i].mode)};
		const struct tls_pair criteria[] = {{(char *)"tlsMode", (char *)rows[i].mode}};
		struct endpoint_meta *m = rows[i].mode ? endpoint_meta_get(metas, pair, 1) : NULL;
		const struct cluster_spec spec = {.tls = rows[i].rows, .ntls = rows[i].n, .want = rows[i].otherwise, .tls_name = rows[i].otherwise ? (char *)"tls" : NULL};

		for (int by_check = 0; by_check < 2; by_check++) { /* what a check says instead of the endpoint is read in the same way */
			const char *name = "?";

			ck_assert_msg((by_check ? endpoint_want_by(&spec, criteria, rows[i].mode != NULL, &name) : endpoint_want(&spec, m, &name)) == rows[i].want, "row %zu", i);
			if (rows[i].name)
				ck_assert_str_eq(name, rows[i].name);
			else
				ck_assert_ptr_null(name);
		}
	}
	endpoint_metas_free(&metas);
	tls_want_unref(&mesh);
	tls_want_unref(&other);
}
END_TEST

/* hash of a set of one endpoint, with one thing changed */
static uint64_t hash_but(int field)
{
	struct endpoint_metas *metas = endpoint_metas_new(NULL, 1);
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	struct addr a = addr_of(field == 1 ? "10.0.0.2:1" : field == 2 ? "10.0.0.1:2" : field == 3 ? "[::1]:1" : "10.0.0.1:1");
	struct endpoint_item item = {
		.addrs = &a, .naddrs = 1, .weight = 1 + (field == 4), .health = field == 5 ? EP_DRAINING : 0, .incarnation = field == 6};
	struct endpoint_set *s;
	uint64_t hash;

	if (field == 7 || field == 8)
		item.meta = endpoint_meta_get(metas, (struct str[]){STR("a"), field == 7 ? STR("1") : STR("2")}, 1);
	ck_assert_int_eq(endpoints_group(b), 0);
	ck_assert_int_eq(endpoints_put(b, &item), 0);
	if (field == 9)
		ck_assert_int_eq(endpoints_put(b, &item), 0);
	ck_assert_int_eq(endpoints_group_end(b, field == 10 ? STR("x") : STR(""), field == 11 ? STR("x") : STR(""),
				 field == 12 ? STR("x") : STR(""), field == 13, field == 14),
		0);
	if (field == 15) {
		ck_assert_int_eq(endpoints_group(b), 0);
		ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
	}
	s = endpoints_done(&b, field == 16 ? 200 : 0);
	hash = endpoints_hash(s);
	endpoints_unref(&s);
	endpoint_metas_free(&metas);
	return hash;
}

START_TEST(the_hash_of_a_set_is_over_all_that_is_declared)
{
	uint64_t seen[17];

	for (int i = 0; i < 17; i++) {
		seen[i] = hash_but(i);
		ck_assert_uint_ne(seen[i], 0);
		ck_assert_uint_eq(seen[i], hash_but(i));
		for (int k = 0; k < i; k++)
			ck_assert_msg(seen[i] != seen[k], "fields %d and %d", i, k);
	}
}
END_TEST

START_TEST(a_hundred_thousand_ipv4_endpoints_cost_less_than_35_bytes_each)
{
	enum { COUNT = 100000, PER_BLOCK = 128 };
	struct made *blocks = calloc(COUNT / PER_BLOCK + 1, sizeof(*blocks));
	struct account a;
	struct endpoint_set *s, *t;
	uint32_t n = 0, shared;

	account_init(&a, NULL, "test", SIZE_MAX);
	for (uint32_t i = 0; i < COUNT; i += PER_BLOCK)
		blocks[n++] = (struct made){i, COUNT - i < PER_BLOCK ? COUNT - i : PER_BLOCK, 1 + i};
	s = make(&a, NULL, blocks, n, &shared);
	ck_assert_uint_lt(endpoints_memory(s) / COUNT, 35);
	ck_assert_uint_eq(endpoints_memory(s), a.used);
	blocks[n / 2].hash = 7;
	t = make(&a, s, blocks, n, &shared);
	ck_assert_uint_eq(shared, n - 1);
	ck_assert_uint_lt(endpoints_memory(t), 40000); /* a list of blocks, and one of them */
	endpoints_unref(&s);
	endpoints_unref(&t);
	account_end(&a);
	free(blocks);
}
END_TEST

UNIT_SUITE("endpoints", what_is_put_is_got_back, what_makes_no_sense_is_refused, weights_of_a_group_stay_below_two_to_the_32,
	blocks_that_have_not_changed_are_shared, a_block_that_runs_over_is_never_shared, blocks_of_one_hash_are_found_without_a_search,
	whatever_memory_is_refused_everything_is_given_back, a_set_may_outlive_the_account_it_was_built_with,
	equal_metadata_is_kept_once_in_any_order_and_goes_with_its_last_set, the_first_row_that_matches_says_which_tls_is_wanted,
	the_hash_of_a_set_is_over_all_that_is_declared, a_hundred_thousand_ipv4_endpoints_cost_less_than_35_bytes_each)
