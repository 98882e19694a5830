/* Statistics: is what /stats prints what Prometheus reads? */
#include "base/stats.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit.h"

static bool name_is_valid(const char *z)
{
	if (!isalpha((unsigned char)*z))
		return false;
	for (; *z; z++)
		if (!islower((unsigned char)*z) && !isdigit((unsigned char)*z) && *z != '_')
			return false;
	return true;
}

START_TEST(each_row_has_a_name_of_its_own_and_a_help_text_of_one_line)
{
	for (int i = 0; i < STAT_COUNT; i++) {
		const char *name = stat_name((enum stat_id)i), *help = stat_help((enum stat_id)i);
		ck_assert(str_starts(str_of(name), STR("thinmesh_")));
		ck_assert_msg(name_is_valid(name), "%s", name);
		ck_assert_msg(!str_ends(str_of(name), STR("_total")), "%s", name); /* it would become _total_total */
		ck_assert_msg(*help && !strpbrk(help, "\n\\"), "%s", name);
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(name, stat_name((enum stat_id)j));
	}
}
END_TEST

START_TEST(counters_end_in_total_and_gauges_do_not)
{
	struct stats s = {0};
	struct sb b = {0};
	stat_add(&s, STAT_CALLS, 41);
	stat_inc(&s, STAT_CALLS);
	stat_add(&s, STAT_CONNS_DOWN, 3);
	stat_dec(&s, STAT_CONNS_DOWN);
	stat_dec(&s, STAT_PARKED); /* a bug elsewhere: seen, not hidden behind a huge number */
	ck_assert_uint_eq(stat_get(&s, STAT_CALLS), 42);
	ck_assert(stat_is_gauge(STAT_CONNS_DOWN));
	ck_assert(!stat_is_gauge(STAT_CALLS));
	stats_print(&s, &b);
	ck_assert_ptr_nonnull(strstr(b.p, "# HELP thinmesh_calls_total Calls begun (exchanges)\n# TYPE thinmesh_calls_total counter\nthinmesh_calls_total 42\n"));
	ck_assert_ptr_nonnull(strstr(b.p, "# TYPE thinmesh_down_connections gauge\nthinmesh_down_connections 2\n"));
	ck_assert_ptr_nonnull(strstr(b.p, "\nthinmesh_parked_calls -1\n"));
	size_t lines = 0;
	for (size_t i = 0; i < b.n; i++)
		lines += b.p[i] == '\n';
	ck_assert_uint_eq(lines, 3 * STAT_COUNT);
	sb_end(&b);
}
END_TEST

START_TEST(a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed)
{
	static const struct { uint64_t ns; int bucket; } rows[] = {
		{0, 0}, {1, 0}, {999, 0}, {1000, 0}, {1001, 1}, {2000, 1}, {2001, 2}, {4000, 2}, {4001, 3}, {1000000, 10}, {1024000, 10},
		{1024001, 11}, {8388608000, 23}, {8388608001, -1}, {UINT64_MAX / 2, -1},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct hist h = {0};
		hist_add(&h, rows[i].ns);
		ck_assert_uint_eq(h.count, 1);
		ck_assert_uint_eq(h.sum_ns, rows[i].ns);
		for (int j = 0; j < HIST_BUCKETS; j++)
			ck_assert_msg(h.bucket[j] == (j == rows[i].bucket), "%lu ns", (unsigned long)rows[i].ns);
	}
}
END_TEST

START_TEST(buckets_are_cumulative_and_end_with_the_count)
{
	struct hist h = {0};
	struct sb b = {0};
	hist_add(&h, 500);
	hist_add(&h, 1500);
	hist_add(&h, 1500000000);
	hist_add(&h, 100000000000);
	hist_print(&h, &b, "thinmesh_x_seconds", "cluster=\"demo\"", "How long");
	ck_assert(str_starts(sb_view(&b), STR("# HELP thinmesh_x_seconds How long\n# TYPE thinmesh_x_seconds histogram\n"
					      "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"0.000001\"} 1\n"
					      "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"0.000002\"} 2\n")));
	ck_assert(str_ends(sb_view(&b), STR("le=\"1.048576\"} 2\n"
					    "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"2.097152\"} 3\n"
					    "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"4.194304\"} 3\n"
					    "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"8.388608\"} 3\n"
					    "thinmesh_x_seconds_bucket{cluster=\"demo\",le=\"+Inf\"} 4\n"
					    "thinmesh_x_seconds_sum{cluster=\"demo\"} 101.500002000\n"
					    "thinmesh_x_seconds_count{cluster=\"demo\"} 4\n")));
	sb_end(&b);
	hist_print(&h, &b, "y", NULL, NULL); /* a further label set has no second header */
	ck_assert(str_starts(sb_view(&b), STR("y_bucket{le=\"0.000001\"} 1\n")));
	ck_assert(str_ends(sb_view(&b), STR("\ny_sum 101.500002000\ny_count 4\n")));
	sb_end(&b);
}
END_TEST

UNIT_SUITE("stats", each_row_has_a_name_of_its_own_and_a_help_text_of_one_line, counters_end_in_total_and_gauges_do_not,
	   a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed, buckets_are_cumulative_and_end_with_the_count)
