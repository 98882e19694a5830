/* What is scarce: memory, windows, stream ids, retries, time. Calls end all the same, and each once. */
#include "lb/cluster.h"
#include "lb/pool.h"
#include "tests/flow/rig.h"
#include "tests/unit.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"

struct world { struct rig *r; struct provider *p; struct caller *a; };

static struct world world(enum does does, const char *more, const char *top)
{
	struct world w = {.r = rig_demo(ONE, more, top)};

	w.p = provider_new(w.r, ONE, does);
	w.a = caller_new(w.r, DOOR);
	return w;
}

/* ---- memory ---- */

START_TEST(a_call_ends_even_if_there_is_no_memory_for_its_answer)
{
	enum { CALLS = 900 };
	struct world w = world(HOLDS, NULL, NULL);
	struct call *c[CALLS];

	for (int i = 0; i < CALLS; i++)
		c[i] = call_unary(w.a, DEMO, "grpc-timeout: 100m\n");
	rig_settle(w.r);
	size_t was = w.r->loop->memory.limit;
	w.r->loop->memory.limit = w.r->loop->memory.used;
	rig_advance(w.r, 300);
	for (int i = 0; i < CALLS; i++)
		ck_assert_msg(c[i]->ends == 1, "call %d: %u ends", i, c[i]->ends);
	w.r->loop->memory.limit = was;
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_ACTIVE), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(the_hard_mark_ends_the_largest_stream_and_no_other)
{
	struct world w = world(ANSWERS_EARLY, NULL, "limits: {memory: 2MiB, memory_soft: 45%, memory_hard: 50%, window_up: 1MiB, reader_budget: 0, stall: 1h}\n");
	struct call *c[4];

	for (int i = 0; i < 4; i++) {
		provider_next(w.p, (struct act){.does = ANSWERS_EARLY, .messages = 1, .bytes = i == 2 ? 900000 : 150000});
		c[i] = call_begin(w.a, DEMO, PATH, NULL, true);
		c[i]->hold = true;
	}
	rig_settle(w.r);
	struct call *watch = call_unary(w.a, DEMO, NULL); /* who is refused starts the watch */
	rig_advance(w.r, 3000);
	ck_assert_int_eq(watch->grpc, GRPC_RESOURCE_EXHAUSTED);
	ck_assert_uint_eq(rig_stat(w.r, STAT_MEMORY_HARD), 1);
	for (int i = 0; i < 4; i++) {
		ck_assert_uint_eq(c[i]->ends, i == 2);
		call_credit(c[i]);
	}
	ck_assert_uint_eq(c[2]->end.h2_code, H2_ENHANCE_YOUR_CALM);
	rig_advance(w.r, 1000);
	for (int i = 0; i < 4; i++)
		ck_assert(i == 2 || call_ok(c[i]));
	rig_free(&w.r);
}
END_TEST

START_TEST(the_hard_mark_finds_the_largest_stream_behind_connections_that_only_have_many)
{
	enum { MANY = 900 };
	struct world w = world(ANSWERS_EARLY, NULL, "limits: {memory: 16MiB, window_up: 1MiB, stall: 1h}\n");
	struct caller *busy = caller_new(w.r, DOOR);
	struct call *many[MANY], *big;

	w.p->act = (struct act){.does = ANSWERS_EARLY, .messages = 1, .bytes = 300000};
	big = call_begin(w.a, DEMO, PATH, NULL, true);
	big->hold = true;
	rig_settle(w.r);
	w.p->act = (struct act){.does = HOLDS};
	for (int i = 0; i < MANY; i++)
		many[i] = call_unary(busy, DEMO, NULL);
	rig_settle(w.r);
	ck_assert_uint_eq(many[MANY - 1]->ends, 0);
	/* What the machine has, was: above the hard mark by a little. */
	w.r->sc->memory_soft = w.r->sc->memory_hard = rig_memory(w.r) - 100000;
	call_unary(w.a, DEMO, NULL); /* who is refused starts the watch */
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(big->ends, 1);
	for (int i = 0; i < MANY; i++)
		ck_assert_uint_eq(many[i]->ends, 0);
	ck_assert_uint_eq(rig_stat(w.r, STAT_MEMORY_HARD), 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(what_callers_invent_as_authorities_is_not_kept)
{
	struct world w = world(ECHOES, NULL, NULL);
	struct app *shop = list_entry(w.r->sc->apps.next, struct app, node);
	char long_one[8000];

	for (int i = 0; i < 20; i++) {
		memset(long_one, 'a', sizeof(long_one));
		snprintf(long_one + sizeof(long_one) - 20, 20, "%d.example", i);
		struct call *c = call_unary(w.a, long_one, NULL);
		rig_settle(w.r);
		ck_assert_int_eq(c->grpc, GRPC_INTERNAL);
		ck_assert_ptr_nonnull(strstr(call_text(c), "authority"));
	}
	ck_assert_uint_eq(map_count(&shop->names.cache), 0);
	for (int i = 0; i < 3000; i++) {
		snprintf(long_one, sizeof(long_one), "x%d.example", i);
		struct call *c = call_unary(w.a, long_one, NULL);
		rig_settle(w.r);
		ck_assert_int_eq(c->grpc, GRPC_UNIMPLEMENTED);
	}
	ck_assert_uint_le(map_count(&shop->names.cache), 1024);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_map_of_paths_is_asked_once_a_service_and_follows_reloads)
{
	struct sb yaml[2] = {{0}, {0}};

	for (int k = 0; k < 2; k++) {
		sb_str(&yaml[k], "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}, {tcp: 127.0.0.1:15051, default: \"b:1\"}]\n    paths:\n");
		for (int i = 0; i < 500; i++)
			sb_fmt(&yaml[k], "      pkg.Service%d: \"%s\"\n", i, (i & 1) == k ? "a:1" : "b:1");
		sb_str(&yaml[k], "services:\n  - {name: \"a:1\", endpoints: [\"" ONE "\"]}\n  - {name: \"b:1\", endpoints: [\"" TWO "\"]}\n");
	}
	struct rig *r = rig_new(yaml[0].p);
	struct provider *p[2] = {provider_new(r, ONE, ECHOES), provider_new(r, TWO, ECHOES)};
	struct caller *door[2] = {caller_new(r, DOOR), caller_new(r, "127.0.0.1:15051")};
	struct app *shop = list_entry(r->sc->apps.next, struct app, node);
	char path[400];

	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 40; i++) {
			uint32_t was[2] = {p[0]->requests, p[1]->requests};
			snprintf(path, sizeof(path), "/pkg.Service%d/Do", i);
			struct call *c = call_begin(door[i % 3 == 0], "localhost", path, NULL, true);
			rig_settle(r);
			ck_assert(call_ok(c));
			int to = (i & 1) == (round >= 2) ? 0 : 1;
			ck_assert_msg(p[to]->requests == was[to] + 1, "round %d: service %d", round, i);
		}
		if (!(round & 1))
			ck_assert_uint_eq(map_count(&shop->names.cache), 1 + 40);
		for (int i = 0; i < 2500 * (round & 1); i++) { /* invented ones, of all lengths */
			int n = snprintf(path, sizeof(path), "/x.%d", i);
			memset(path + n, 'y', (size_t)(i % 330));
			strcpy(path + n + i % 330, "/Do");
			struct call *c = call_begin(door[i & 1], "localhost", path, NULL, true);
			rig_settle(r);
			ck_assert_int_eq(c->grpc, i & 1 ? GRPC_OK : GRPC_UNIMPLEMENTED);
		}
		ck_assert_uint_le(map_count(&shop->names.cache), 1024);
		if (round == 1)
			ck_assert_int_eq(rig_reload(r, yaml[1].p), 0);
	}
	sb_end(&yaml[0]);
	sb_end(&yaml[1]);
	rig_free(&r);
}
END_TEST

/* ---- pauses and windows ---- */

START_TEST(a_connection_that_is_paused_for_two_reasons_waits_without_turning)
{
	struct world w = world(ECHOES, "    connect_timeout: 8s\n", "limits: {control_frames: 100, header_bytes: 4KiB, header_budget: 8KiB}\n");
	struct addr one = simnet_addr(ONE);
	struct raw *raw = raw_new(w.r, DOOR);
	char lines[4000];
	struct sb b = {0};

	simnet_on_connect(w.r->net, &one, SIMNET_HANG);
	int n = snprintf(lines, sizeof(lines), "%sx-big: ", raw_request);
	memset(lines + n, 'x', 3000);
	strcpy(lines + n + 3000, "\n");
	raw_preface(raw);
	for (int i = 0; i < 200; i++)
		frame_add(&b, F_PING, 0, 0, "12345678", 8);
	raw_send(raw, b.p, b.n);
	for (uint32_t i = 0; i < 3; i++)
		raw_headers(raw, 1 + 2 * i, lines, true);
	rig_settle(w.r);
	ck_assert_uint_ge(rig_stat(w.r, STAT_HEADER_BUDGET), 1);
	ck_assert_uint_ge(rig_stat(w.r, STAT_CONTROL_PACED), 1);
	uint64_t before = rig_stat(w.r, STAT_TURNS);
	rig_advance(w.r, 6000);
	ck_assert_uint_lt(rig_stat(w.r, STAT_TURNS) - before, 100);
	ck_assert_uint_eq(raw_count(raw, F_HEADERS, -1), 0);
	rig_advance(w.r, 4000); /* the connect is over, and with it the calls */
	ck_assert_uint_eq(raw_count(raw, F_HEADERS, -1), 3);
	ck_assert(!raw->eof);
	sb_end(&b);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_connection_full_of_stalled_answers_gets_no_more_window_and_later_all_of_it_back)
{
	enum { STREAMS = 8, BYTES = 300000 };
	struct world w = world(ANSWERS_EARLY, NULL, "limits: {window_up: 64KiB, connection_window_up: 128KiB, reader_budget: 0, stall: 1h}\n");
	struct call *c[STREAMS];

	w.p->act.bytes = BYTES / 10;
	w.p->act.messages = 10;
	for (int i = 0; i < STREAMS; i++) {
		c[i] = call_begin(w.a, DEMO, PATH, NULL, true);
		c[i]->hold = true;
	}
	rig_advance(w.r, 1000);
	/* Each has had its own window from the app's side; beyond that the connection's window and once more what had been given back before. */
	ck_assert_uint_lt(rig_memory(w.r), 2 * 128 * 1024 + 512 * 1024);
	ck_assert_uint_eq(w.p->accepted, 1);
	for (int i = 0; i < STREAMS; i++) { /* one reader after the other comes back */
		ck_assert_uint_eq(c[i]->ends, 0);
		call_credit(c[i]);
		rig_advance(w.r, 100);
	}
	for (int i = 0; i < STREAMS; i++)
		ck_assert_msg(call_ok(c[i]) && c[i]->bytes == 10 * (BYTES / 10 + 5), "stream %d: %llu bytes", i, (unsigned long long)c[i]->bytes);
	for (int i = 0; i < 20; i++) { /* and nothing of the window has got lost */
		struct call *more = call_begin(w.a, DEMO, PATH, NULL, true);
		rig_advance(w.r, 100);
		ck_assert_msg(call_ok(more), "round %d: %llu bytes", i, (unsigned long long)more->bytes);
	}
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

START_TEST(stalled_answers_that_are_cancelled_give_their_window_back)
{
	struct world w = world(ANSWERS_EARLY, NULL, "limits: {window_up: 64KiB, connection_window_up: 64KiB, stall: 1h}\n");

	w.p->act.bytes = 200000;
	for (int i = 0; i < 30; i++) {
		struct call *c[4];
		for (int k = 0; k < 4; k++) {
			c[k] = call_begin(w.a, DEMO, PATH, NULL, true);
			c[k]->hold = true;
		}
		rig_advance(w.r, 50);
		for (int k = 0; k < 4; k++)
			call_cancel(c[k]);
		rig_advance(w.r, 50);
	}
	struct call *last = call_begin(w.a, DEMO, PATH, NULL, true);
	rig_advance(w.r, 1000);
	ck_assert_msg(call_ok(last), "%llu bytes", (unsigned long long)last->bytes);
	ck_assert_uint_eq(w.p->accepted, 1);
	rig_free(&w.r);
}
END_TEST

/* ---- readers that do not read ---- */

/* As many slow answers as an app asked for stay within the first windows and limits.reader_budget, whether it does not read at all or gives no window. */
static void slow_reader(bool hangs, const char *budget, uint32_t streams, size_t bound)
{
	enum { BYTES = 1000000 };
	char top[200];
	snprintf(top, sizeof(top), "limits: {memory: 64MiB, stall: 1h%s}\n", budget);
	struct world w = world(ANSWERS_EARLY, NULL, top);
	struct caller *slow = caller_new(w.r, DOOR);
	struct call **c = xalloc(streams * sizeof(*c));

	w.p->lim.streams_per_connection = 100000;
	w.p->act.messages = 10;
	w.p->act.bytes = BYTES / 10;
	rig_settle(w.r);
	caller_stall(slow, hangs);
	for (uint32_t i = 0; i < streams; i++) {
		c[i] = call_begin(slow, DEMO, PATH, NULL, true);
		c[i]->hold = true;
	}
	rig_advance(w.r, 2000);
	if (hangs) { /* what it wrote was read: it is only its own reading that stands still */
		caller_stall(slow, false);
		rig_advance(w.r, 100);
		caller_stall(slow, true);
		rig_advance(w.r, 1000);
	}
	ck_assert_msg(rig_memory(w.r) < bound, "%u streams: %zu bytes", streams, rig_memory(w.r));
	ck_assert_uint_gt(rig_memory(w.r), bound / 4); /* they are really held */
	w.p->act = (struct act){.does = ECHOES};
	for (int i = 0; i < 50; i++) { /* nobody else feels it, not even beside it on the way to the same provider */
		struct call *other = call_unary(w.a, DEMO, NULL);
		rig_advance(w.r, 10);
		ck_assert_msg(call_ok(other), "call %d beside it: %d %s", i, other->grpc, call_text(other));
	}
	ck_assert_uint_eq(rig_stat(w.r, STAT_MEMORY_SOFT), 0);
	caller_stall(slow, false);
	for (uint32_t i = 0; i < streams; i++) { /* and a stream whose reader reads gets on */
		call_credit(c[i]);
		rig_advance(w.r, 50);
		ck_assert_msg(call_ok(c[i]) && c[i]->bytes == BYTES + 50, "stream %u: %llu bytes", i, (unsigned long long)c[i]->bytes);
	}
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_FAILED), 0);
	free(c);
	rig_free(&w.r);
}

START_TEST(an_app_that_does_not_read_holds_no_more_than_first_windows_and_its_budget)
{
	/* A stream's window of 80 KiB, the budget, and twice that because a chunk is kept for a quarter of it. Without the budget: 104 MiB. */
	slow_reader(false, "", 100, 2 * (100 * 80 * 1024 + (4 << 20)));
	slow_reader(true, "", 100, 2 * (100 * 80 * 1024 + (4 << 20)));
	slow_reader(false, ", reader_budget: 100KiB", 100, 2 * (100 * 80 * 1024 + 100 * 1024));
}
END_TEST

START_TEST(more_stalled_answers_than_a_providers_connection_has_window_for_stop_nobody_who_reads)
{
	slow_reader(false, ", connection_window_up: 1MiB", 100, 2 * (100 * 80 * 1024 + (4 << 20)));
}
END_TEST

/* Readers that read get wide windows, as many of them as the budget allows; the others are counted and go on with what they have. */
START_TEST(windows_are_widened_for_those_who_read_within_the_budget)
{
	static const struct { const char *budget; uint32_t denied; bool wide; } rows[] = {
		{"4MiB", 0, true}, {"2147418111", 0, true}, {"1200KiB", 1, true}, {"100KiB", 2, false}, {"0", 0, true},
	};
	static const char grpc[] = ":status: 200\ncontent-type: application/grpc\n", widest[] = "\0\4\0\x7f\xff\xff";
	static char bytes[16384];
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char top[200];
		snprintf(top, sizeof(top), "limits: {reader_budget: %s}\n", rows[i].budget);
		struct rig *r = rig_demo(ONE, NULL, top);
		struct raw *p = raw_provider(r, ONE), *app = raw_new(r, DOOR);
		raw_preface(app);
		raw_frame(app, F_SETTINGS, 0, 0, widest, 6);
		raw_frame(app, F_WINDOW, 0, 0, "\x7f\0\0\0", 4);
		raw_headers(app, 1, raw_request, true);
		raw_headers(app, 3, raw_request, true);
		rig_settle(r);
		struct raw *to = p->accepted[0];
		raw_frame(to, F_SETTINGS, 0, 0, NULL, 0);
		raw_frame(to, F_SETTINGS, FL_ACK, 0, NULL, 0);
		rig_settle(r);
		int64_t window[2], sent[2] = {0, 0};
		for (uint32_t k = 0; k < 2; k++)
			raw_headers(to, 1 + 2 * k, grpc, false);
		for (int n = 0; n < 300; n++) { /* both send as fast as their windows allow */
			struct frame f;
			window[0] = window[1] = strcmp(rows[i].budget, "0") == 0 ? 1 << 20 : H2_FIRST_WINDOW;
			to->at = 0;
			while (raw_next(to, &f))
				if (f.type == F_WINDOW && f.id)
					window[f.id / 2] += (f.p[0] << 24 | f.p[1] << 16 | f.p[2] << 8 | f.p[3]);
			for (uint32_t k = 0; k < 2; k++) {
				if (window[k] - sent[k] < (int64_t)sizeof(bytes))
					continue;
				raw_frame(to, F_DATA, 0, 1 + 2 * k, bytes, sizeof(bytes));
				sent[k] += (int64_t)sizeof(bytes);
			}
			rig_settle(r);
		}
		ck_assert_int_ge(sent[0], 4 << 20);
		ck_assert_int_ge(sent[1], 4 << 20);
		int64_t most = window[0] - sent[0] > window[1] - sent[1] ? window[0] - sent[0] : window[1] - sent[1];
		ck_assert_msg((most > 500000) == rows[i].wide, "row %zu: a window of %lld", i, (long long)most);
		ck_assert_msg(rig_stat(r, STAT_READER_BUDGET) == rows[i].denied, "row %zu: %llu denied", i, (unsigned long long)rig_stat(r, STAT_READER_BUDGET));
		raw_frame(to, F_DATA, FL_END_STREAM, 1, NULL, 0);
		raw_frame(to, F_DATA, FL_END_STREAM, 3, NULL, 0);
		rig_settle(r);
		struct app *shop = list_entry(r->sc->apps.next, struct app, node);
		ck_assert_uint_eq(shop->calls, 0);
		rig_free(&r);
	}
}
END_TEST

START_TEST(each_window_that_stops_a_sender_is_counted)
{
	static const struct { const char *what; bool app; uint32_t streams, each; enum stat_id stat; uint32_t want; } rows[] = {
		{"an app's stream", true, 1, 65535, STAT_WINDOW_DOWN, 1}, {"an app's stream, not quite", true, 1, 65534, STAT_WINDOW_DOWN, 0},
		{"two of them", true, 2, 65535, STAT_WINDOW_DOWN, 2}, {"an app's connection", true, 4, 65535, STAT_WINDOW_DOWN_CONN, 1},
		{"an app's connection, not quite", true, 3, 65535, STAT_WINDOW_DOWN_CONN, 0},
		{"a provider's stream", false, 1, 65536, STAT_WINDOW_UP, 1}, {"a provider's stream, not quite", false, 1, 65535, STAT_WINDOW_UP, 0},
		{"a provider's connection", false, 5, 65536, STAT_WINDOW_UP_CONN, 1}, {"a provider's connection, not quite", false, 3, 65536, STAT_WINDOW_UP_CONN, 0},
	};
	static const char grpc[] = ":status: 200\ncontent-type: application/grpc\n", none[] = "\0\4\0\0\0\0";
	static char bytes[16384];
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_demo(ONE, NULL, "limits: {window_down: 64KiB, window_up: 64KiB, connection_window_down: 128KiB, connection_window_up: 128KiB, reader_budget: 0, stall: 1h}\n");
		struct raw *p = raw_provider(r, ONE), *app = raw_new(r, DOOR);
		raw_preface(app);
		raw_frame(app, F_SETTINGS, 0, 0, none, 6); /* neither side takes any body */
		for (uint32_t k = 0; k < rows[i].streams; k++)
			raw_headers(app, 1 + 2 * k, raw_request, !rows[i].app);
		rig_settle(r);
		struct raw *to = p->accepted[0], *from = rows[i].app ? app : to;
		raw_frame(to, F_SETTINGS, 0, 0, none, 6);
		raw_frame(to, F_SETTINGS, FL_ACK, 0, NULL, 0);
		rig_settle(r);
		for (uint32_t k = 0; k < rows[i].streams && !rows[i].app; k++)
			raw_headers(to, 1 + 2 * k, grpc, false);
		int64_t whole = 0;
		for (uint32_t k = 0; k < rows[i].streams; k++)
			for (uint32_t sent = 0, n; sent < rows[i].each; sent += n) {
				int64_t window = 65535 - whole;
				struct frame f;
				for (from->at = 0; raw_next(from, &f);)
					if (f.type == F_WINDOW && f.id == 0)
						window += (f.p[0] << 24 | f.p[1] << 16 | f.p[2] << 8 | f.p[3]);
				n = rows[i].each - sent < sizeof(bytes) ? rows[i].each - sent : sizeof(bytes);
				if (window < n)
					n = (uint32_t)window;
				if (!n)
					break;
				whole += n;
				raw_frame(from, F_DATA, 0, 1 + 2 * k, bytes, n);
				rig_settle(r);
			}
		ck_assert_msg(raw_count(from, F_GOAWAY, -1) == 0 && raw_count(from, F_RST, -1) == 0, "%s: sent too much", rows[i].what);
		ck_assert_msg(rig_stat(r, rows[i].stat) == rows[i].want, "%s: %llu", rows[i].what, (unsigned long long)rig_stat(r, rows[i].stat));
		rig_free(&r);
	}
}
END_TEST

/* ---- stream ids ---- */

START_TEST(stream_ids_that_run_out_lose_no_call)
{
	struct world w = {.r = rig_demo(ONE, NULL, NULL)};
	uint32_t ok = 0;

	pools_ids(clusters_pools(w.r->sc->clusters), 0x7fffff01, 0x7fffff81);
	w.p = provider_new(w.r, ONE, ANSWERS);
	w.a = caller_new(w.r, DOOR);
	w.p->act.delay_ms = 3;
	for (int round = 0; round < 100; round++) {
		struct call *c[10];
		for (int i = 0; i < 10; i++)
			c[i] = call_unary(w.a, DEMO, NULL);
		rig_advance(w.r, 20);
		for (int i = 0; i < 10; i++)
			ok += call_ok(c[i]);
	}
	ck_assert_uint_eq(ok, 1000);
	ck_assert_uint_ge(w.p->accepted, 1000 / 64);
	ck_assert_uint_le(provider_conns(w.p), 2);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_FAILED), 0);
	rig_free(&w.r);
}
END_TEST

START_TEST(a_replacement_that_cannot_be_dialled_fails_no_call_that_has_a_stream)
{
	struct world w = {.r = rig_demo(ONE, NULL, NULL)};
	struct addr one = simnet_addr(ONE);

	pools_ids(clusters_pools(w.r->sc->clusters), 0x7fffff01, 0x7fffff03);
	w.p = provider_new(w.r, ONE, HOLDS);
	w.p->lim.streams_per_connection = 1;
	w.a = caller_new(w.r, DOOR);
	struct call *first = call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 200);
	ck_assert_uint_eq(w.p->requests, 1);
	simnet_on_connect(w.r->net, &one, -EMFILE);
	struct call *second = call_unary(w.a, DEMO, NULL), *third = call_unary(w.a, DEMO, NULL);
	rig_settle(w.r);
	served_answer(provider_call(w.p, 0));
	rig_advance(w.r, 2000);
	ck_assert(call_ok(first));
	for (uint32_t i = 1; i < w.p->requests; i++)
		served_answer(provider_call(w.p, i));
	rig_advance(w.r, 1000);
	ck_assert_uint_eq(second->ends, 1);
	ck_assert_uint_eq(third->ends, 1);
	ck_assert_int_eq(third->grpc, GRPC_UNAVAILABLE);
	rig_free(&w.r);
}
END_TEST

/* ---- retries ---- */

START_TEST(retries_do_not_bring_retries)
{
	enum { CALLS = 300 };
	struct world w = world(TRAILERS_ONLY, "    retries: {max: 5, on: [unavailable], backoff: {base: 1ms, max: 1ms}}\n", NULL);

	w.p->act.grpc = GRPC_UNAVAILABLE;
	for (int i = 0; i < CALLS; i++)
		call_unary(w.a, DEMO, NULL);
	rig_advance(w.r, 500);
	ck_assert_uint_eq(rig_stat(w.r, STAT_CALLS_ACTIVE), 0);
	/* Of 1500 that were asked for: 1000 in the beginning (the bucket is full: calls bring nothing), ten a second. */
	ck_assert_uint_le(rig_stat(w.r, STAT_RETRIES), 1000 + 5);
	ck_assert_uint_ge(rig_stat(w.r, STAT_RETRIES), 1000);
	rig_free(&w.r);
}
END_TEST

START_TEST(more_refusing_providers_than_are_remembered_end_the_call_once)
{
	char endpoints[400] = "";
	struct provider *p[12];
	struct rig *r;

	for (int i = 0; i < 12; i++)
		snprintf(endpoints + strlen(endpoints), 32, "%s10.0.1.%d:1", i ? " " : "", i + 1);
	r = rig_demo(endpoints, "    retries: {max: 3, on: [refused-stream, connect-failure]}\n", NULL);
	struct caller *a = caller_new(r, DOOR);
	for (int i = 0; i < 12; i++) {
		char at[32];
		snprintf(at, sizeof(at), "10.0.1.%d:1", i + 1);
		p[i] = provider_new(r, at, RESETS);
		p[i]->act.code = H2_REFUSED_STREAM;
		if (i % 3 == 0)
			provider_listen(p[i], false);
	}
	for (int round = 0; round < 10; round++) {
		struct call *c = call_begin(a, DEMO, PATH, NULL, false);
		call_fill(c, 2000, round & 1);
		rig_advance(r, 3000);
		ck_assert_uint_eq(c->ends, 1);
		ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	}
	ck_assert_uint_eq(rig_stat(r, STAT_CALLS_ACTIVE), 0);
	rig_free(&r);
}
END_TEST

/* ---- time ---- */

START_TEST(a_freeze_is_not_taken_from_the_time_that_goes_upstream)
{
	struct rig *r = rig_demo("late.example:50051", NULL, NULL);
	struct provider *p = provider_new(r, ONE, ECHOES);
	struct caller *a = caller_new(r, DOOR);
	uint64_t left = 0;

	dns_table_set(r->dns, "late.example", "10.0.0.1", 60 * SEC);
	struct call *c = call_unary(a, DEMO, "grpc-timeout: 10S\n");
	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 1);
	simnet_freeze(r->net, 600 * SEC);
	rig_advance(r, 100);
	ck_assert_uint_ge(rig_stat(r, STAT_THAWS), 1);
	rig_advance(r, 100); /* DNS froze with us, and has the rest of its time to answer */
	ck_assert_uint_eq(p->requests, 1);
	ck_assert(grpc_timeout_parse(str_of(served_field(provider_last(p), "grpc-timeout")), &left));
	ck_assert_msg(left > 9 * SEC && left <= 10 * SEC, "%llu ns", (unsigned long long)left);
	ck_assert(call_ok(c));
	rig_free(&r);
}
END_TEST

START_TEST(a_providers_cancel_at_the_deadline_is_the_deadline_and_before_it_is_not)
{
	static const struct { uint64_t at_ms; int grpc; } rows[] = {{20, GRPC_UNAVAILABLE}, {97, GRPC_UNAVAILABLE}, {99, GRPC_DEADLINE_EXCEEDED}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct world w = world(HOLDS, NULL, NULL);
		call_cancel(call_unary(w.a, DEMO, NULL));
		rig_settle(w.r);
		struct call *c = call_unary(w.a, DEMO, "grpc-timeout: 100m\n");
		rig_advance(w.r, rows[i].at_ms);
		ck_assert_uint_eq(c->ends, 0);
		served_reset(provider_last(w.p), H2_CANCEL);
		rig_settle(w.r);
		ck_assert_uint_eq(c->ends, 1);
		ck_assert_msg(c->grpc == rows[i].grpc, "after %llu ms: %d", (unsigned long long)rows[i].at_ms, c->grpc);
		rig_free(&w.r);
	}
}
END_TEST

UNIT_SUITE("pressure", a_call_ends_even_if_there_is_no_memory_for_its_answer, the_hard_mark_ends_the_largest_stream_and_no_other,
	the_hard_mark_finds_the_largest_stream_behind_connections_that_only_have_many,
	what_callers_invent_as_authorities_is_not_kept, a_map_of_paths_is_asked_once_a_service_and_follows_reloads,
	a_connection_that_is_paused_for_two_reasons_waits_without_turning,
	a_connection_full_of_stalled_answers_gets_no_more_window_and_later_all_of_it_back, stalled_answers_that_are_cancelled_give_their_window_back,
	an_app_that_does_not_read_holds_no_more_than_first_windows_and_its_budget,
	more_stalled_answers_than_a_providers_connection_has_window_for_stop_nobody_who_reads,
	windows_are_widened_for_those_who_read_within_the_budget, each_window_that_stops_a_sender_is_counted,
	stream_ids_that_run_out_lose_no_call, a_replacement_that_cannot_be_dialled_fails_no_call_that_has_a_stream, retries_do_not_bring_retries,
	more_refusing_providers_than_are_remembered_end_the_call_once, a_freeze_is_not_taken_from_the_time_that_goes_upstream,
	a_providers_cancel_at_the_deadline_is_the_deadline_and_before_it_is_not)
