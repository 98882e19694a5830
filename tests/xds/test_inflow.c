/* xds/inflow: what an answer of a control plane means, however it is cut; what is refused, and that nothing of it is kept. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "tests/flow/rig_ads.h"
#include "tests/unit.h"
#include "xds/inflow.h"

#define EDS_URL "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
#define WRAP_URL "type.googleapis.com/envoy.service.discovery.v3.Resource"

/* What was told, as text: "[name@version url n bytes]" a resource, "-name" a removal. */
struct seen { struct sb text, bytes; bool refuses; size_t most; };

static bool on_begin(void *ctx, struct str url, struct str name, size_t n)
{
	struct seen *s = ctx;
	ptrdiff_t dot = str_rfind(url, '.');

	(void)name;
	sb_fmt(&s->text, "[%.*s %zu", (int)(url.n - (size_t)(dot + 1)), url.p + dot + 1, n);
	s->bytes.n = 0;
	if (s->refuses)
		sb_str(&s->text, " refused]");
	return !s->refuses;
}

static void on_bytes(void *ctx, const void *p, size_t n)
{
	struct seen *s = ctx;

	s->most = n > s->most ? n : s->most;
	sb_add(&s->bytes, p, n);
}

static void on_end(void *ctx, struct str name, struct str version)
{
	struct seen *s = ctx;

	sb_fmt(&s->text, " %.*s@%.*s %zu]", (int)name.n, name.p, (int)version.n, version.p, s->bytes.n);
}

static void on_removed(void *ctx, struct str name)
{
	sb_fmt(&((struct seen *)ctx)->text, "-%.*s", (int)name.n, name.p);
}

static const struct inflow_events events = {on_begin, on_bytes, on_end, on_removed};

/* Feeds m in pieces of `piece` bytes; the result and what was told stand in `seen`: "... | version nonce type". */
static int feed(struct seen *seen, bool delta, const struct sb *m, size_t piece)
{
	struct inflow *f = inflow_new(delta, &events, seen);
	struct inflow_result result;
	const char *why = "";
	size_t at = 0;
	int r;

	seen->text.n = 0;
	inflow_begin(f, (uint32_t)m->n);
	do {
		size_t n = m->n - at < piece ? m->n - at : piece;
		r = inflow_bytes(f, m->p + at, n, at + n == m->n, &result, &why);
		at += n;
	} while (r == 0 && at < m->n);
	if (r == 0)
		sb_fmt(&seen->text, " | %.*s %.*s %.*s %u", (int)result.version.n, result.version.p, (int)result.nonce.n, result.nonce.p, (int)result.type_url.n, result.type_url.p, result.resources);
	else
		sb_fmt(&seen->text, " ! %s", why);
	inflow_free(&f);
	return r;
}

static void seen_end(struct seen *s)
{
	sb_end(&s->text);
	sb_end(&s->bytes);
}

static void any_of(struct sb *out, uint32_t field, const char *name, size_t filler)
{
	struct sb value = {0};
	char *bytes = xalloc(filler + 1);

	pb_text(&value, 1, name);
	if (filler)
		pb_bytes(&value, 9, bytes, filler);
	pb_any(out, field, EDS_URL, &value);
	free(bytes);
}

static void resource_of(struct sb *out, const char *name, const char *version, const char *inner)
{
	struct sb r = {0};

	if (version)
		pb_text(&r, 1, version);
	if (inner)
		any_of(&r, 2, inner, 0);
	pb_text(&r, 3, name);
	pb_sub(out, 2, &r);
}

static void tail_of(struct sb *m)
{
	pb_text(m, 4, "T");
	pb_text(m, 5, "N");
}

START_TEST(an_answer_means_the_same_however_it_is_cut)
{
	struct sb sotw = {0}, delta = {0};
	struct seen s = {.refuses = false}, t = {.refuses = false};

	pb_text(&sotw, 1, "V");
	any_of(&sotw, 2, "a", 0);
	any_of(&sotw, 2, "b", 300);
	tail_of(&sotw);
	pb_text(&delta, 1, "V");
	resource_of(&delta, "a", "1", "a");
	resource_of(&delta, "b", NULL, "other");
	tail_of(&delta);
	pb_text(&delta, 6, "gone");
	pb_text(&delta, 6, "lost");
	for (size_t piece = 1; piece < 64; piece++) {
		ck_assert_int_eq(feed(&s, false, &sotw, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 3 a@ 3][ClusterLoadAssignment 306 b@ 306] | V N T 2");
		ck_assert_int_eq(feed(&t, true, &delta, piece), 0);
		ck_assert_str_eq(t.text.p, "[ClusterLoadAssignment 3 a@1 3][ClusterLoadAssignment 7 b@ 7]-gone-lost | V N T 2");
	}
	sb_end(&sotw);
	sb_end(&delta);
	seen_end(&s);
	seen_end(&t);
}
END_TEST

START_TEST(unknown_fields_of_all_wire_types_are_skipped)
{
	struct sb m = {0};
	struct seen s = {.refuses = false};

	pb_num(&m, 3, 1);                        /* canary */
	pb_varint(&m, 99 << 3 | 1);              /* a fixed64 */
	sb_add(&m, "12345678", 8);
	pb_varint(&m, 99 << 3 | 5);              /* a fixed32 */
	sb_add(&m, "1234", 4);
	pb_text(&m, 6, "control_plane");
	pb_text(&m, 536870911, "the highest number");
	any_of(&m, 2, "a", 0);
	for (size_t piece = 1; piece < 9; piece++) {
		ck_assert_int_eq(feed(&s, false, &m, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 3 a@ 3] |    1");
	}
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(a_wrapped_resource_of_state_of_the_world_is_unwrapped)
{
	struct sb m = {0}, r = {0};
	struct seen s = {.refuses = false};

	pb_text(&r, 1, "7");
	any_of(&r, 2, "inner", 0);
	pb_text(&r, 3, "outer");
	pb_any(&m, 2, WRAP_URL, &r);
	any_of(&m, 2, "plain", 0);
	for (size_t piece = 1; piece < 9; piece++) {
		ck_assert_int_eq(feed(&s, false, &m, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 7 outer@7 7][ClusterLoadAssignment 7 plain@ 7] |    2");
	}
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(a_type_behind_its_value_is_waited_for_within_a_bound)
{
	struct sb m = {0}, any = {0}, value = {0};
	struct seen s = {.refuses = false};
	char *much = xalloc(INFLOW_GATHER_MAX + 1);

	pb_text(&value, 1, "late");
	pb_sub(&any, 2, &value);
	pb_text(&any, 1, EDS_URL);
	pb_sub(&m, 2, &any);
	for (size_t piece = 1; piece < 9; piece++) {
		ck_assert_int_eq(feed(&s, false, &m, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 6 late@ 6] |    1");
	}
	m.n = 0;
	pb_bytes(&any, 2, much, INFLOW_GATHER_MAX + 1);
	pb_text(&any, 1, EDS_URL);
	pb_sub(&m, 2, &any);
	ck_assert_int_eq(feed(&s, false, &m, 1000), -EMSGSIZE);
	ck_assert_str_eq(s.text.p, " ! a resource whose type_url stands behind its value is too large");
	free(much);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(a_delta_resource_without_a_body_is_a_heartbeat_and_an_empty_body_is_a_resource)
{
	struct sb m = {0}, r = {0}, any = {0};
	struct seen s = {.refuses = false};

	resource_of(&m, "beat", "3", NULL);
	pb_text(&any, 1, EDS_URL);
	pb_sub(&r, 2, &any);
	pb_text(&r, 3, "empty");
	pb_sub(&m, 2, &r);
	for (size_t piece = 1; piece < 9; piece++) {
		ck_assert_int_eq(feed(&s, true, &m, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 0 empty@ 0] |    1");
	}
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(a_refused_resource_is_skipped_and_the_next_one_is_taken)
{
	struct sb m = {0};
	struct seen s = {.refuses = true};

	any_of(&m, 2, "a", 100000);
	any_of(&m, 2, "b", 0);
	ck_assert_int_eq(feed(&s, false, &m, 16384), 0);
	ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 100007 refused][ClusterLoadAssignment 3 refused] |    2");
	ck_assert_uint_eq(s.bytes.n, 0);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(the_bytes_go_through_in_the_pieces_in_which_they_came)
{
	struct sb m = {0};
	struct seen s = {.refuses = false};

	any_of(&m, 2, "big", 10000000);
	ck_assert_int_eq(feed(&s, false, &m, 16384), 0);
	ck_assert_uint_le(s.most, 16384);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(the_name_is_found_wherever_it_stands_in_the_resource)
{
	static const char *const fixed = "\x39" "12345678"; /* field 7, fixed64 */
	struct sb m = {0}, value = {0};
	struct seen s = {.refuses = false};

	pb_num(&value, 3, 300);
	sb_add(&value, fixed, 9);
	pb_text(&value, 2, "no name");
	pb_text(&value, 1, "found");
	pb_text(&value, 4, "behind");
	pb_any(&m, 2, EDS_URL, &value);
	for (size_t piece = 1; piece < 9; piece++) {
		ck_assert_int_eq(feed(&s, false, &m, piece), 0);
		ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 36 found@ 36] |    1");
	}
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(what_is_no_answer_is_refused_with_a_reason)
{
	static const struct { const char *bytes; size_t n; bool delta; int code; const char *why; } rows[] = {
		{"\x0a\x05" "ab", 4, false, -EPROTO, "a field is longer than its message"},
		{"\x12\x04\x0a\x03" "ab", 6, false, -EPROTO, "a field is longer than its message"}, /* beyond the Any, not beyond the message */
		{"\x12\x02\x0a\x80\x01", 5, false, -EPROTO, "a field is longer than its message"},  /* a length that goes on behind its Any */
		{"\x0a", 1, false, -EPROTO, "the message ends in the middle of a field"},
		{"\x00\x00", 2, false, -EPROTO, "malformed protobuf"},                               /* field 0 */
		{"\x0b\x00", 2, false, -EPROTO, "malformed protobuf"},                               /* a group */
		{"\x0f\x00", 2, false, -EPROTO, "malformed protobuf"},                               /* no wire type */
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, false, -EPROTO, "malformed protobuf"},
		{"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, false, -EPROTO, "a field is longer than its message"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, false, -EPROTO, "malformed protobuf"},
		{"\x12\x08\x0a\x01x\x12\x00\x12\x01y", 10, false, -EPROTO, "an Any with two values"},
		{"\x12\x08\x0a\x01x\x12\x00\x0a\x01y", 10, false, -EPROTO, "an Any with two types"},
		{"\x12\x0a\x12\x03\x0a\x01x\x12\x03\x0a\x01x", 12, true, -EPROTO, "a Resource with two values"},
	};
	struct seen s = {.refuses = false};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (size_t piece = 1; piece < 12; piece++) {
			struct sb m = {0};
			sb_add(&m, rows[i].bytes, rows[i].n);
			ck_assert_msg(feed(&s, rows[i].delta, &m, piece) == rows[i].code, "row %zu: %s", i, s.text.p);
			ck_assert_msg(strstr(s.text.p, rows[i].why) != NULL, "row %zu: %s", i, s.text.p);
			sb_end(&m);
		}
	seen_end(&s);
}
END_TEST

START_TEST(a_name_of_any_length_is_refused_before_it_is_kept)
{
	struct sb m = {0};
	struct seen s = {.refuses = false};
	char *name = xalloc(INFLOW_NAME_MAX + 2);

	memset(name, 'x', INFLOW_NAME_MAX + 1);
	pb_text(&m, 5, name);
	ck_assert_int_eq(feed(&s, false, &m, 100), -EMSGSIZE);
	m.n = 0;
	pb_text(&m, 6, name);
	ck_assert_int_eq(feed(&s, true, &m, 100), -EMSGSIZE);
	m.n = 0;
	any_of(&m, 2, name, 0); /* its own name: not needed here, so not refused here */
	ck_assert_int_eq(feed(&s, false, &m, 100), 0);
	ck_assert_str_eq(s.text.p, "[ClusterLoadAssignment 4100 @ 4100] |    1");
	free(name);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(a_wrapper_in_a_wrapper_is_refused)
{
	struct sb m = {0}, inner = {0}, outer = {0};
	struct seen s = {.refuses = false};

	pb_any(&inner, 2, WRAP_URL, &(struct sb){0});
	pb_any(&m, 2, WRAP_URL, &inner);
	ck_assert_int_eq(feed(&s, false, &m, 1000), -EPROTO);
	m.n = 0;
	any_of(&inner, 2, "a", 0);
	pb_any(&outer, 2, WRAP_URL, &inner);
	pb_any(&m, 2, WRAP_URL, &outer);
	ck_assert_int_eq(feed(&s, false, &m, 1000), -EPROTO);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

START_TEST(after_a_refusal_nothing_more_is_taken_until_the_next_message)
{
	struct seen s = {.refuses = false};
	struct inflow *f = inflow_new(false, &events, &s);
	struct inflow_result result;
	struct sb m = {0};
	const char *why;

	ck_assert_int_eq(inflow_bytes(f, "", 0, true, &result, &why), -EPROTO);
	inflow_begin(f, 4);
	ck_assert_int_eq(inflow_bytes(f, "\x00\x00", 2, false, &result, &why), -EPROTO);
	ck_assert_int_eq(inflow_bytes(f, "\x0a\x00", 2, true, &result, &why), -EPROTO);
	any_of(&m, 2, "a", 0);
	inflow_begin(f, (uint32_t)m.n);
	ck_assert_int_eq(inflow_bytes(f, m.p, m.n, true, &result, &why), 0);
	ck_assert_uint_eq(result.resources, 1);
	inflow_begin(f, 0);
	ck_assert_int_eq(inflow_bytes(f, "", 0, true, &result, &why), 0);
	ck_assert_uint_eq(result.resources, 0);
	inflow_begin(f, 2);
	ck_assert_int_eq(inflow_bytes(f, "\x0a\x01x", 3, true, &result, &why), -EPROTO);
	inflow_free(&f);
	inflow_free(&f);
	sb_end(&m);
	seen_end(&s);
}
END_TEST

UNIT_SUITE("inflow", an_answer_means_the_same_however_it_is_cut, unknown_fields_of_all_wire_types_are_skipped,
	a_wrapped_resource_of_state_of_the_world_is_unwrapped, a_type_behind_its_value_is_waited_for_within_a_bound,
	a_delta_resource_without_a_body_is_a_heartbeat_and_an_empty_body_is_a_resource, a_refused_resource_is_skipped_and_the_next_one_is_taken,
	the_bytes_go_through_in_the_pieces_in_which_they_came, the_name_is_found_wherever_it_stands_in_the_resource, what_is_no_answer_is_refused_with_a_reason,
	a_name_of_any_length_is_refused_before_it_is_kept, a_wrapper_in_a_wrapper_is_refused, after_a_refusal_nothing_more_is_taken_until_the_next_message)
