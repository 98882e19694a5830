/* Log: what reaches the sink and the ring, and what is left out. */
#include "base/log.h"
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "tests/unit.h"

struct seen { char text[8192]; size_t n; int lines; enum log_level level; };

static void sink(void *ctx, enum log_level level, const char *line, size_t len)
{
	struct seen *s = ctx;
	ck_assert_uint_gt(len, 0);
	ck_assert_int_eq(line[len - 1], '\n');
	ck_assert_uint_lt(s->n + len, sizeof(s->text));
	memcpy(s->text + s->n, line, len);
	s->n += len;
	s->text[s->n] = '\0';
	s->lines++;
	s->level = level;
}

static uint64_t clock_fixed(void *ctx)
{
	return *(uint64_t *)ctx;
}

START_TEST(only_what_the_level_allows_is_said)
{
	struct seen s = {0};
	struct log *l = log_new(LOG_WARN, 0);
	log_set_sink(l, sink, &s);
	log_error(l, "e%d", 1);
	log_warn(l, "w");
	log_info(l, "i");
	log_debug(l, "d");
	ck_assert_str_eq(s.text, "error e1\nwarn w\n");
	ck_assert_int_eq(s.level, LOG_WARN);
	log_set_level(l, LOG_DEBUG);
	ck_assert_int_eq(log_get_level(l), LOG_DEBUG);
	log_debug(l, "d");
	ck_assert_str_eq(s.text, "error e1\nwarn w\ndebug d\n");
	log_set_level(l, LOG_OFF);
	log_error(l, "e");
	ck_assert_int_eq(s.lines, 3);
	log_free(&l);
	ck_assert_ptr_null(l);
	log_free(&l);
}
END_TEST

START_TEST(nobody_to_speak_to_is_no_error)
{
	struct log *l = log_new(LOG_TRACE, 0);
	struct log_every e = {0};
	char out[8];
	log_error(NULL, "x");
	log_error(l, "no sink and no ring");
	ck_assert(log_every(NULL, &e, 1, 1, 1000));
	ck_assert(!log_every(NULL, &e, 2, 1, 1000));
	ck_assert_uint_eq(log_ring_copy(NULL, out, 8), 0);
	ck_assert_uint_eq(log_ring_copy(l, out, 8), 0);
	ck_assert_uint_eq(log_dropped(NULL), 0);
	ck_assert_int_eq(log_get_level(NULL), LOG_OFF);
	log_free(&l);
}
END_TEST

START_TEST(levels_have_names_both_ways)
{
	for (int i = LOG_OFF; i <= LOG_TRACE; i++)
		ck_assert_int_eq(log_level_parse(log_level_name((enum log_level)i)), i);
	ck_assert_int_eq((int)log_level_parse("INFO"), -1);
	ck_assert_int_eq((int)log_level_parse(""), -1);
	ck_assert_int_eq((int)log_level_parse(NULL), -1);
	ck_assert_str_eq(log_level_name((enum log_level)99), "unknown");
}
END_TEST

START_TEST(a_clock_puts_utc_with_microseconds_in_front)
{
	struct seen s = {0};
	uint64_t wall = 1700000000ULL * 1000000000 + 1234567;
	struct log *l = log_new(LOG_INFO, 0);
	log_set_sink(l, sink, &s);
	log_set_clock(l, clock_fixed, &wall);
	log_info(l, "x");
	ck_assert_str_eq(s.text, "2023-11-14T22:13:20.001234Z info x\n");
	log_free(&l);
}
END_TEST

START_TEST(what_a_peer_sent_cannot_forge_a_line)
{
	struct seen s = {0};
	struct log *l = log_new(LOG_INFO, 0);
	log_set_sink(l, sink, &s);
	log_info(l, "path '%s'", "/a\nerror forged\x1b[31m\x7f gr\xc3\xbcn");
	ck_assert_str_eq(s.text, "info path '/a\\x0aerror forged\\x1b[31m\\x7f gr\xc3\xbcn'\n");
	log_free(&l);
}
END_TEST

START_TEST(a_long_record_is_cut_and_says_so)
{
	static const int lengths[] = {LOG_LINE - 20, LOG_LINE - 9, LOG_LINE - 8, LOG_LINE - 1, LOG_LINE, LOG_LINE + 1, 3 * LOG_LINE};
	for (size_t i = 0; i < UNIT_COUNT(lengths); i++) {
		for (int control = 0; control < 2; control++) {
			struct seen s = {0};
			struct log *l = log_new(LOG_INFO, 0);
			char *text = xalloc((size_t)lengths[i] + 1);
			memset(text, control ? '\1' : 'x', (size_t)lengths[i]);
			log_set_sink(l, sink, &s);
			log_info(l, "%s", text);
			ck_assert_uint_le(s.n, LOG_LINE);
			bool whole = !control && s.n == (size_t)lengths[i] + 6;
			ck_assert(whole || strcmp(s.text + s.n - 4, "...\n") == 0);
			ck_assert(whole == (!control && lengths[i] <= LOG_LINE - 9));
			free(text);
			log_free(&l);
		}
	}
}
END_TEST

START_TEST(ring_keeps_the_newest_whole_lines)
{
	char out[256];
	struct log *l = log_new(LOG_INFO, 40);
	for (int i = 0; i < 1000; i++) {
		log_info(l, "%d", i); /* "info N\n" */
		size_t n = log_ring_copy(l, out, sizeof(out));
		ck_assert_uint_le(n, 40);
		ck_assert_int_eq(out[n - 1], '\n');
		ck_assert_int_eq(memcmp(out, "info ", 5), 0);
	}
	size_t n = log_ring_copy(l, out, sizeof(out));
	out[n] = '\0';
	ck_assert_str_eq(out, "info 996\ninfo 997\ninfo 998\ninfo 999\n");
	n = log_ring_copy(l, out, 20);
	out[n] = '\0';
	ck_assert_str_eq(out, "info 998\ninfo 999\n");
	ck_assert_uint_eq(log_ring_copy(l, out, 3), 0);
	log_info(l, "a line that is longer than the whole ring is not kept");
	ck_assert_uint_eq(log_ring_copy(l, out, sizeof(out)), 36);
	log_free(&l);
}
END_TEST

START_TEST(ring_takes_lines_that_a_level_of_the_sink_would_not_change)
{
	char out[64];
	struct log *l = log_new(LOG_INFO, 100);
	log_debug(l, "not on");
	ck_assert_uint_eq(log_ring_copy(l, out, sizeof(out)), 0);
	log_info(l, "on");
	ck_assert_uint_eq(log_ring_copy(l, out, sizeof(out)), 8);
	log_free(&l);
}
END_TEST

enum { MS = 1000000 };

START_TEST(log_every_tells_with_the_next_record_how_many_were_left_out)
{
	struct seen s = {0};
	struct log_every e = {0};
	struct log *l = log_new(LOG_INFO, 0);
	log_set_sink(l, sink, &s);
	for (int i = 0; i < 10; i++)
		if (log_every(l, &e, (uint64_t)(100 + i) * MS, 2, 1000))
			log_info(l, "r%d", i);
	ck_assert_str_eq(s.text, "info r0\ninfo r1\n");
	ck_assert_uint_eq(log_dropped(l), 8);
	if (log_every(l, &e, 1099 * MS, 2, 1000))
		log_info(l, "too early");
	ck_assert(log_every(l, &e, 1100 * MS, 2, 1000));
	log_info(l, "later");
	log_info(l, "another");
	ck_assert_str_eq(s.text, "info r0\ninfo r1\ninfo later (9 like it were left out)\ninfo another\n");
	ck_assert(log_every(l, &e, 1101 * MS, 2, 1000));
	log_info(l, "second of the window");
	ck_assert(!log_every(l, &e, 1102 * MS, 2, 1000));
	log_free(&l);
}
END_TEST

START_TEST(log_every_does_not_lend_its_number_to_another_record)
{
	struct seen s = {0};
	struct log_every e = {0};
	struct log *l = log_new(LOG_WARN, 0);
	log_set_sink(l, sink, &s);
	ck_assert(log_every(l, &e, 0, 1, 10));
	log_info(l, "not on");
	ck_assert(!log_every(l, &e, 1, 1, 10));
	ck_assert(log_every(l, &e, 10 * MS, 1, 10));
	log_info(l, "not on either");
	log_warn(l, "something else");
	ck_assert_str_eq(s.text, "warn something else\n");
	log_free(&l);
}
END_TEST

START_TEST(log_every_opens_a_new_window_when_time_went_back)
{
	struct log_every e = {0};
	ck_assert(log_every(NULL, &e, 5000ULL * MS, 1, 1000));
	ck_assert(!log_every(NULL, &e, 5001ULL * MS, 1, 1000));
	ck_assert(log_every(NULL, &e, 10 * MS, 1, 1000));
	struct log_every never = {0};
	ck_assert(!log_every(NULL, &never, 0, 0, 1000));
}
END_TEST

UNIT_SUITE("log", only_what_the_level_allows_is_said, nobody_to_speak_to_is_no_error, levels_have_names_both_ways,
	   a_clock_puts_utc_with_microseconds_in_front, what_a_peer_sent_cannot_forge_a_line, a_long_record_is_cut_and_says_so,
	   ring_keeps_the_newest_whole_lines, ring_takes_lines_that_a_level_of_the_sink_would_not_change,
	   log_every_tells_with_the_next_record_how_many_were_left_out, log_every_does_not_lend_its_number_to_another_record,
	   log_every_opens_a_new_window_when_time_went_back)
