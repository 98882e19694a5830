/* conf/route: the words for "retry on", and actions that are equal by what they declare. */
#include "tests/unit.h"

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

UNIT_SUITE("route", retry_words_are_read_by_the_list_they_belong_to, every_named_word_is_known, actions_are_equal_by_content,
	a_single_table_gives_its_action_whatever_is_asked)
