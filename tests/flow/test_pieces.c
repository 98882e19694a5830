/* A DATA frame goes on as it came. HTTP/2 does not ask for it, but Dubbo Java as a provider loses messages of a client stream whose frames a hop has merged;
 * so frames stay apart in every queue that a call has: while a connection opens, in what is sent again to another provider, behind a closed window. */
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <stdio.h>
#include <string.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"

/* In one read and over many; below and above what is copied, what is kept in the exchange, and a quarter of a chunk. */
static const uint32_t sizes[] = {5, 1, 1, 10, 300, 7, 2000, 5, 16384, 7, 2048, 100, 16000, 3, 9000, 5, 5, 5};
enum { PIECES = UNIT_COUNT(sizes) };

static char pattern[17000];

static void send_pieces(struct raw *w, uint32_t id, bool each_in_a_turn_of_its_own)
{
	struct sb b = {0};

	for (uint32_t i = 0; i < PIECES; i++) {
		memset(pattern, 'a' + (int)(i % 26), sizeof(pattern));
		frame_add(&b, F_DATA, 0, id, pattern, sizes[i]);
		if (each_in_a_turn_of_its_own || i + 1 == PIECES) {
			raw_send(w, b.p, b.n);
			b.n = 0;
			rig_settle(w->rig);
		}
	}
	sb_end(&b);
}

static void has_pieces(struct raw *w, uint32_t id, const char *what)
{
	struct frame f;
	uint32_t n = 0;

	w->at = 0;
	while (raw_next(w, &f)) {
		if (f.type != F_DATA || f.id != id || !f.n)
			continue;
		ck_assert_msg(n < PIECES, "%s: more than came", what);
		ck_assert_msg(f.n == sizes[n], "%s: frame %u has %u bytes, it came with %u", what, n, f.n, sizes[n]);
		for (uint32_t i = 0; i < f.n; i++)
			ck_assert_msg(f.p[i] == 'a' + n % 26, "%s: byte %u of frame %u", what, i, n);
		n++;
	}
	ck_assert_msg(n == PIECES, "%s: %u frames", what, n);
}

static struct raw *raw_app(struct rig *r)
{
	struct raw *app = raw_new(r, DOOR);

	raw_preface(app);
	raw_headers(app, 1, raw_request, false);
	return app;
}

START_TEST(frames_of_a_stream_arrive_as_they_were_sent_both_ways)
{
	static const char head[] = ":status: 200\ncontent-type: application/grpc\n";
	for (int apart = 0; apart < 2; apart++) {
		struct rig *r = rig_demo(ONE, NULL, NULL);
		struct raw *p = raw_provider(r, ONE), *app = raw_app(r);
		rig_settle(r);
		struct raw *to = p->accepted[0];
		raw_frame(to, F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		send_pieces(app, 1, apart);
		has_pieces(to, 1, apart ? "request, one a turn" : "request, in one read");
		raw_headers(to, 1, head, false);
		send_pieces(to, 1, apart);
		has_pieces(app, 1, apart ? "answer, one a turn" : "answer, in one read");
		rig_free(&r);
	}
}
END_TEST

START_TEST(frames_that_wait_for_a_connection_stay_apart)
{
	for (int apart = 0; apart < 2; apart++) {
		struct rig *r = rig_demo(ONE, NULL, NULL);
		struct raw *p = raw_provider(r, ONE), *app = raw_app(r);
		send_pieces(app, 1, apart);
		ck_assert_uint_eq(raw_count(p->accepted[0], F_HEADERS, -1), 0); /* no SETTINGS yet: it is not up */
		raw_frame(p->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		has_pieces(p->accepted[0], 1, apart ? "held, one a turn" : "held, in one read");
		rig_free(&r);
	}
}
END_TEST

START_TEST(frames_that_are_sent_again_to_another_provider_stay_apart)
{
	for (int apart = 0; apart < 2; apart++) {
		struct rig *r = rig_demo(ONE " " TWO, "    lb: round_robin\n", NULL);
		struct raw *p[2] = {raw_provider(r, ONE), raw_provider(r, TWO)}, *app = raw_app(r);
		rig_settle(r);
		int first = p[0]->naccepted ? 0 : 1;
		raw_frame(p[first]->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		send_pieces(app, 1, apart);
		has_pieces(p[first]->accepted[0], 1, "the first time");
		raw_rst(p[first]->accepted[0], 1, H2_REFUSED_STREAM);
		rig_settle(r);
		ck_assert_uint_eq(p[1 - first]->naccepted, 1);
		raw_frame(p[1 - first]->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
		rig_settle(r);
		ck_assert_uint_eq(rig_stat(r, STAT_MOVED), 1);
		has_pieces(p[1 - first]->accepted[0], 1, apart ? "again, one a turn" : "again, in one read");
		rig_free(&r);
	}
}
END_TEST

START_TEST(frames_that_wait_for_a_window_stay_apart)
{
	static const char no_window[] = "\0\4\0\0\0\0", more[] = "\0\1\0\0"; /* SETTINGS_INITIAL_WINDOW_SIZE 0; WINDOW_UPDATE of 64 KiB */
	for (int apart = 0; apart < 2; apart++) {
		struct rig *r = rig_demo(ONE, NULL, NULL);
		struct raw *p = raw_provider(r, ONE), *app = raw_app(r);
		rig_settle(r);
		struct raw *to = p->accepted[0];
		raw_frame(to, F_SETTINGS, 0, 0, no_window, 6);
		rig_settle(r);
		send_pieces(app, 1, apart);
		ck_assert_uint_eq(raw_count(to, F_DATA, 1), 0);
		raw_frame(to, F_WINDOW, 0, 1, more, 4);
		rig_settle(r);
		has_pieces(to, 1, apart ? "queued, one a turn" : "queued, in one read");
		rig_free(&r);
	}
}
END_TEST

/* A frame that is cut by a read arrives in two; what waits anyway is put together again. */
START_TEST(a_frame_that_came_in_two_reads_and_waits_is_one_again)
{
	struct rig *r = rig_demo(ONE, NULL, NULL);
	struct raw *p = raw_provider(r, ONE), *app = raw_app(r);
	struct sb b = {0};
	struct frame f;

	memset(pattern, 'x', sizeof(pattern));
	frame_add(&b, F_DATA, 0, 1, pattern, 1000);
	frame_add(&b, F_DATA, FL_END_STREAM, 1, pattern, 10);
	raw_send(app, b.p, 400);
	rig_settle(r);
	raw_send(app, b.p + 400, b.n - 400);
	rig_settle(r);
	raw_frame(p->accepted[0], F_SETTINGS, 0, 0, NULL, 0);
	rig_settle(r);
	ck_assert(raw_find(p->accepted[0], F_DATA, 1, &f));
	ck_assert_uint_eq(f.n, 1000);
	ck_assert_uint_eq(raw_count(p->accepted[0], F_DATA, 1), 2);
	sb_end(&b);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("pieces", frames_of_a_stream_arrive_as_they_were_sent_both_ways, frames_that_wait_for_a_connection_stay_apart,
	frames_that_are_sent_again_to_another_provider_stay_apart, frames_that_wait_for_a_window_stay_apart,
	a_frame_that_came_in_two_reads_and_waits_is_one_again)
