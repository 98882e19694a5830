/* conf/route: the words for "retry on", actions that are equal by what they declare, routes in their order, virtual hosts by domain. */
#include "tests/unit.h"

#include <errno.h>

#include "conf/route.h"

START_TEST(retry_words_are_read_by_the_list_they_belong_to)
{
	static const struct {
		const char *list;
		bool grpc;
		uint32_t on;
	} rows[] = {
		{"5xx", false, RETRY_5XX},
		{"gateway-error, connect-failure", false, RETRY_GATEWAY | RETRY_CONNECT_FAILURE},
		{"refused-stream,reset ,\tretriable-4xx", false, RETRY_REFUSED_STREAM | RETRY_RESET | RETRY_4XX},
		{"reset-before-request", false, RETRY_CONNECT_FAILURE},
		{"retriable-status-codes", false, RETRY_STATUSES},
		{"cancelled,deadline-exceeded,internal,resource-exhausted,unavailable", true,
			RETRY_CANCELLED | RETRY_DEADLINE | RETRY_INTERNAL | RETRY_EXHAUSTED | RETRY_UNAVAILABLE},
		{"unavailable", false, 0},
		{"5xx", true, 0},
		{"no-such-word,,5xx,", false, RETRY_5XX},
		{"5XX", false, 0},
		{"5xxx", false, 0},
		{"", false, 0},
		{",", true, 0},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(retry_on_parse(str_of(rows[i].list), rows[i].grpc) == rows[i].on, "'%s': %u", rows[i].list,
			retry_on_parse(str_of(rows[i].list), rows[i].grpc));
}
END_TEST

START_TEST(every_named_word_is_known)
{
	uint32_t i, all = 0;

	for (i = 0; retry_on_name(i); i++)
		all |= retry_on_word(str_of(retry_on_name(i)));
	ck_assert_uint_eq(i, 13);
	ck_assert_uint_eq(all, 2 * RETRY_4XX - 1);
	ck_assert_uint_eq(retry_on_word(STR("x")), 0);
}
END_TEST

START_TEST(actions_are_equal_by_content)
{
	struct route_action *a = route_action_new("demo"), *b = route_action_new("demo"), *c = route_action_new("other");

	ck_assert_uint_eq(a->retry.max, 0);
	ck_assert_uint_eq(a->retry.base_ns, 25000000);
	ck_assert_uint_eq(a->retry.cap_ns, 250000000);
	ck_assert(route_action_eq(a, b));
	ck_assert(!route_action_eq(a, c));
	ck_assert(!route_action_eq(a, NULL));
	ck_assert(route_action_eq(NULL, NULL));
	b->timeout_ns = 1;
	ck_assert(!route_action_eq(a, b));
	b->timeout_ns = 0;
	b->retry.status_count = 1;
	b->retry.statuses[0] = 503;
	ck_assert(!route_action_eq(a, b));
	a->retry.status_count = 1;
	a->retry.statuses[0] = 504;
	ck_assert(!route_action_eq(a, b));
	a->retry.statuses[0] = 503;
	ck_assert(route_action_eq(a, b));
	b->retry.on = RETRY_5XX;
	ck_assert(!route_action_eq(a, b));
	route_action_unref(&a);
	route_action_unref(&b);
	route_action_unref(&c);
	route_action_unref(&c);
}
END_TEST

START_TEST(a_single_table_gives_its_action_whatever_is_asked)
{
	struct route_action *a = route_action_new("demo"), *kept;
	struct route_table *t = route_table_single(a), *other = route_table_single(route_action_new("demo"));

	ck_assert_ptr_eq(route_match(t, NULL, 0), a);
	ck_assert_ptr_null(route_match(NULL, NULL, 0));
	ck_assert(route_table_eq(t, other));
	ck_assert(!route_table_eq(t, NULL));
	/* An exchange holds the action longer than anybody holds the table. */
	kept = route_action_ref(a);
	route_table_ref(t);
	route_table_unref(&other);
	other = t;
	route_table_unref(&other);
	route_table_unref(&t);
	ck_assert_str_eq(kept->cluster, "demo");
	route_action_unref(&kept);
}
END_TEST

/* ---- tables and configurations as a decoder builds them ---- */

/* A virtual host named `name` whose one route goes to a cluster of that name. */
static struct route_table *host(struct ration *r, const char *name)
{
	struct route_table *t = route_table_new(r, str_of(name));
	struct match m = {.form = PATH_ANY};

	ck_assert(route_table_add(r, t, &m, route_action_new(name)));
	ck_assert(route_table_seal(r, t));
	return t;
}

START_TEST(a_virtual_host_is_found_by_the_longest_domain_that_fits)
{
	static const struct { const char *host; const char *domains[4]; } hosts[] = {
		{"demo", {"demo.default.svc.cluster.local", "Demo", "10.0.0.1"}},
		{"ported", {"demo:50051", "[::1]:80", "::2"}},
		{"suffix", {"*.com", "*-bar.foo.com"}},
		{"longer", {"*.foo.com"}},
		{"prefix", {"www.*", "foo-*"}},
		{"wider", {"www.a*"}},
		{"odd", {"*in*"}},
		{"any", {"*"}},
	};
	static const struct { const char *asked, *host; } rows[] = {
		{"demo", "demo"}, {"DEMO", "demo"}, {"demo.default.svc.cluster.local", "demo"}, {"demo.default.svc.cluster.local:50051", "demo"}, {"demo:1", "demo"},
		{"demo:50051", "ported"}, {"10.0.0.1:7", "demo"}, {"[::1]:80", "ported"}, {"::2", "ported"}, {"[::1]:81", "any"},
		{"a.com", "suffix"}, {"a.com:443", "suffix"}, {".com", "any"}, {"x-bar.foo.com", "suffix"} /* nine characters beat eight */, {"-bar.foo.com", "longer"}, {"a.foo.com", "longer"},
		{"foo.com", "suffix"}, {"www.b.org", "prefix"}, {"www.abc", "wider"}, {"www.a", "prefix"}, {"www.", "any"}, {"foo-x", "prefix"}, {"foo-", "any"},
		{"www.x.com", "suffix"} /* a suffix comes before a prefix */, {"xin*", "odd"}, {"xinx", "any"}, {"demo.", "any"}, {"", "any"}, {"other:80", "any"}, {"demo:x", "any"},
	};
	struct ration r = {0};
	struct route_twice twice;
	struct route_config *c = route_config_new(&r, STR("config"));

	for (size_t i = 0; i < UNIT_COUNT(hosts); i++) {
		struct ration one = {0};

		ck_assert(route_config_add(&r, c, host(&one, hosts[i].host)));
		for (size_t k = 0; k < 4 && hosts[i].domains[k]; k++)
			ck_assert(route_config_domain(&r, c, str_of(hosts[i].domains[k])));
	}
	ck_assert_int_eq(route_config_seal(&r, c, &twice), 0);
	ck_assert_uint_eq(route_config_hosts(c), UNIT_COUNT(hosts));
	ck_assert_str_eq(route_config_name(c), "config");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct route_table *t = route_config_find(c, str_of(rows[i].asked));

		ck_assert_msg(t && strcmp(t->name, rows[i].host) == 0, "%s: %s, expected %s", rows[i].asked, t ? t->name : "none", rows[i].host);
	}
	route_config_unref(&c);
}
END_TEST

START_TEST(without_a_star_who_is_not_named_is_not_found)
{
	struct ration r = {0}, one = {0};
	struct route_twice twice;
	struct route_config *c = route_config_new(&r, STR(""));

	ck_assert(route_config_add(&r, c, host(&one, "h")));
	ck_assert(route_config_domain(&r, c, STR("a")) && route_config_domain(&r, c, STR("b")));
	ck_assert_int_eq(route_config_seal(&r, c, &twice), 0);
	ck_assert_ptr_nonnull(route_config_find(c, STR("b:1")));
	ck_assert_ptr_null(route_config_find(c, STR("c")));
	ck_assert_ptr_null(route_config_find(c, STR("")));
	ck_assert_ptr_null(route_config_find(c, STR(":1")));
	route_config_unref(&c);
}
END_TEST

START_TEST(a_domain_that_two_hosts_have_is_told)
{
	struct ration r = {0}, one = {0}, two = {0};
	struct route_twice twice;
	struct route_config *c = route_config_new(&r, STR(""));

	ck_assert(route_config_add(&r, c, host(&one, "h")));
	ck_assert(route_config_domain(&r, c, STR("x")) && route_config_domain(&r, c, STR("*.Y")));
	ck_assert(route_config_add(&r, c, host(&two, "i")));
	ck_assert(route_config_domain(&r, c, STR("z")) && route_config_domain(&r, c, STR("*.y")));
	ck_assert_int_eq(route_config_seal(&r, c, &twice), -EEXIST);
	ck_assert_uint_eq(twice.host, 1);
	ck_assert_uint_eq(twice.first, 0);
	ck_assert_str_eq(twice.domain, "*.y");
	route_config_unref(&c);
}
END_TEST

START_TEST(the_first_route_that_fits_wins_and_none_is_none)
{
	struct ration r = {0};
	struct fields_pool *pool = fields_pool_new();
	struct fields *h = fields_new(pool, NULL);
	struct route_table *t = route_table_new(&r, STR("h"));
	struct match first = {.form = PATH_PREFIX, .path = strdup("/a"), .n = 2}, second = {.form = PATH_PREFIX, .path = strdup("/"), .n = 1};
	struct route_action *a = route_action_new("a"), *b = route_action_new("b");

	ck_assert(route_table_add(&r, t, &first, a) && route_table_add(&r, t, &second, b));
	ck_assert_ptr_null(first.path); /* moved */
	ck_assert(route_table_seal(&r, t));
	ck_assert_int_eq(fields_add_token(h, FIELD_PATH, STR("/a/x")), 0);
	ck_assert_ptr_eq(route_match(t, h, 0), a);
	ck_assert_int_eq(fields_set(h, FIELD_PATH, STR("/b")), 0);
	ck_assert_ptr_eq(route_match(t, h, 0), b);
	ck_assert_int_eq(fields_set(h, FIELD_PATH, STR("*")), 0);
	ck_assert_ptr_null(route_match(t, h, 0));
	ck_assert_ptr_null(route_match(t, NULL, 0));
	ck_assert_ptr_null(t->undecided);
	route_table_unref(&t);
	t = route_table_new(&r, STR(""));
	ck_assert(route_table_seal(&r, t));
	ck_assert_ptr_null(route_match(t, h, 0)); /* no routes at all */
	route_table_unref(&t);
	fields_unref(&h);
	fields_pool_free(&pool);
}
END_TEST

START_TEST(where_an_expression_gives_up_the_call_does_not_go_to_the_next_route)
{
	struct ration r = {0};
	struct fields_pool *pool = fields_pool_new();
	struct fields *h = fields_new(pool, NULL);
	struct route_table *t = route_table_new(&r, STR("h"));
	struct match regex = {.form = PATH_REGEX}, rest = {.form = PATH_ANY};
	char why[REGEX_WHY];

	ck_assert_int_eq(regex_new(&r, STR("/(a?){1000}[bd]"), &regex.regex, why), 0);
	ck_assert(route_table_add(&r, t, &regex, route_action_new("a")) && route_table_add(&r, t, &rest, route_action_new("b")));
	ck_assert(route_table_seal(&r, t));
	ck_assert_int_eq(fields_add_token(h, FIELD_PATH, STR("x")), 0);
	ck_assert_str_eq(route_match(t, h, 0)->cluster, "b");
	ck_assert_int_eq(fields_set(h, FIELD_PATH, STR("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac")), 0);
	ck_assert_int_eq(route_match(t, h, 0)->kind, ROUTE_UNSUPPORTED);
	ck_assert_ptr_eq(route_match(t, h, 0), t->undecided);
	route_table_unref(&t);
	fields_unref(&h);
	fields_pool_free(&pool);
}
END_TEST

static void gather(void *ctx, const char *cluster)
{
	struct sb *b = ctx;

	sb_fmt(b, "%s ", cluster);
}

START_TEST(each_cluster_of_a_table_is_told_once)
{
	struct ration r = {0};
	struct route_table *t = route_table_new(&r, STR("h"));
	struct route_action *w = route_action_new(NULL), *d = route_action_new(NULL), *by = route_action_new("x-header");
	struct sb b = {0};

	w->kind = ROUTE_WEIGHTED;
	w->nweighted = 4;
	w->weighted = xalloc(4 * sizeof(*w->weighted));
	w->weighted[0] = (struct route_weighted){.cluster = xstrdup("two"), .weight = 1};
	w->weighted[1] = (struct route_weighted){.cluster = xstrdup("three"), .weight = 1};
	w->weighted[2] = (struct route_weighted){.cluster = xstrdup("weightless")};
	w->weighted[3] = (struct route_weighted){.cluster = xstrdup("x-header"), .weight = 1, .by_header = true};
	w->total_weight = 3;
	d->kind = ROUTE_DIRECT;
	by->kind = ROUTE_CLUSTER_HEADER;
	struct route_action *const all[] = {route_action_new("one"), w, d, by, route_action_new("two"), route_action_new("one")};
	for (size_t i = 0; i < UNIT_COUNT(all); i++) {
		struct match m = {.form = PATH_ANY};
		ck_assert(route_table_add(&r, t, &m, all[i]));
	}
	ck_assert(route_table_seal(&r, t));
	route_table_clusters(t, gather, &b);
	ck_assert(str_is(sb_view(&b), "one two three "));
	sb_end(&b);
	route_table_unref(&t);
}
END_TEST

UNIT_SUITE("route", retry_words_are_read_by_the_list_they_belong_to, every_named_word_is_known, actions_are_equal_by_content,
	a_single_table_gives_its_action_whatever_is_asked, a_virtual_host_is_found_by_the_longest_domain_that_fits, without_a_star_who_is_not_named_is_not_found,
	a_domain_that_two_hosts_have_is_told, the_first_route_that_fits_wins_and_none_is_none, where_an_expression_gives_up_the_call_does_not_go_to_the_next_route,
	each_cluster_of_a_table_is_told_once)
