/* Every way in which a call can end, at every level of the log, with each kind of access log: who tells must not change what is told, nor touch what is gone. */
#include "tests/flow/rig.h"
#include "sidecar/access.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE "10.0.0.1:50051"
#define TWO "10.0.0.2:50051"

static const struct { const char *name; struct act act; const char *more; bool open; int grpc; } ways[] = {
	{"answered", {.does = ECHOES}, NULL, false, 0},
	{"trailers only", {.does = TRAILERS_ONLY, .grpc = 7}, NULL, false, 7},
	{"refused", {.does = RESETS, .code = H2_REFUSED_STREAM}, NULL, false, 14},
	{"reset", {.does = RESETS, .code = H2_INTERNAL_ERROR}, NULL, false, 14},
	{"reset late", {.does = RESETS_LATE, .code = H2_CANCEL}, NULL, false, 14},
	{"crash", {.does = CRASHES}, NULL, false, 14},
	{"crash late", {.does = CRASHES_LATE}, NULL, true, 14},
	{"deadline", {.does = HOLDS}, "grpc-timeout: 20m\n", true, 4},
	{"deadline within the answer", {.does = HEAD_ONLY}, "grpc-timeout: 20m\n", true, 4},
	{"no time at all", {.does = ECHOES}, "grpc-timeout: 0m\n", false, 4},
	{"no name", {.does = ECHOES}, ":authority: nobody.example\n", false, 12},
	{"no app", {.does = ECHOES}, ":authority: localhost\n", false, 12},
	{"bad authority", {.does = ECHOES}, ":authority: a..b\n", false, 13},
	{"bytes beyond ASCII", {.does = ECHOES}, "tri-consumer-appname: \xff\xfe \"x\" =1\n", false, 0},
	{"early answer", {.does = ANSWERS_EARLY, .messages = 1, .bytes = 10}, NULL, true, 0},
	{"plain 503", {.does = PLAIN, .status = 503, .bytes = 20}, NULL, false, -1},
	{"leaves", {.does = LEAVES, .messages = 1, .bytes = 5}, NULL, false, 0},
};

static uint32_t lines_of(const char *path, struct sb *text)
{
	uint32_t n = 0;
	int c;
	FILE *f = fopen(path, "r");

	while (f && (c = getc(f)) != EOF) {
		ck_assert_msg(c == '\n' || (c >= 0x20 && c != 0x7f), "a byte %02x in the access log", c);
		sb_char(text, (char)c);
		n += c == '\n';
	}
	if (f)
		fclose(f);
	return n;
}

static void all_ways(enum log_level level, const char *access, const char *service)
{
	char top[300], path[] = "/tmp/test_spoken.XXXXXX";
	struct sb text = {0};

	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(top, sizeof(top), "log: {access: %s, access_file: \"%s\"}\n", access, path);
	struct rig *r = rig_demo(ONE, service, top);
	struct provider *p = provider_new(r, ONE, ECHOES);
	uint32_t calls = 0;
	log_set_level(r->log, level);

	for (size_t i = 0; i < UNIT_COUNT(ways); i++)
		for (int plain = 0; plain < 3; plain++) { /* gRPC, plain, HEAD */
			struct caller *a = caller_new(r, DOOR);
			p->act = ways[i].act;
			struct call *c = plain ? call_plain(a, plain == 2 ? "HEAD" : "POST", DEMO, PATH, ways[i].more, plain == 2)
					       : call_begin(a, DEMO, PATH, ways[i].more, false);
			if (plain < 2)
				call_fill(c, 100, !ways[i].open);
			rig_advance(r, 3000);
			calls++;
			ck_assert_msg(c->ends == 1, "%s: %u ends", ways[i].name, c->ends);
			if (!plain)
				ck_assert_msg(c->grpc == ways[i].grpc, "%s: grpc-status %d: %s", ways[i].name, c->grpc, call_text(c));
			else if (!c->data.n && plain == 2 && c->status >= 400)
				ck_assert_msg(c->fin, "%s: HEAD is not whole", ways[i].name);
			caller_close(a);
			rig_advance(r, 1000);
		}
	/* And the app that goes in the middle. */
	p->act = (struct act){.does = HOLDS};
	for (int i = 0; i < 2; i++) {
		struct caller *a = caller_new(r, DOOR);
		struct call *c = call_begin(a, DEMO, PATH, NULL, false);
		rig_settle(r);
		if (i)
			caller_close(a);
		else
			call_cancel(c);
		calls++;
		rig_advance(r, 10);
	}
	ck_assert_uint_eq(rig_stat(r, STAT_CALLS_ACTIVE), 0);
	ck_assert_uint_eq(rig_stat(r, STAT_CALLS), calls);
	rig_free(&r);
	ck_assert_uint_eq(lines_of(path, &text), strcmp(access, "off") ? calls : 0);
	sb_end(&text);
	unlink(path);
}

START_TEST(every_end_is_told_once_at_every_level)
{
	static const enum log_level levels[] = {LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_ERROR};
	static const char *const access[] = {"off", "text", "json"},
				 *const service[] = {NULL, "    retries: {max: 2, on: [5xx, unavailable, reset], per_try_timeout: 1s}\n"};

	for (size_t i = 0; i < UNIT_COUNT(levels); i++)
		for (size_t k = 0; k < UNIT_COUNT(access); k++)
			for (size_t n = 0; n < UNIT_COUNT(service); n++)
				all_ways(levels[i], access[k], service[n]);
}
END_TEST

START_TEST(a_service_that_goes_while_its_calls_are_parked_answers_them)
{
	static const char with[] = "apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\nservices: [{name: \"" DEMO "\", endpoints: [\"late.example:1\"]}]\n",
			  without[] = "apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\nservices: [{name: x, endpoints: [\"" ONE "\"]}]\n",
			  other[] = "apps: [{name: shop, listen: [{unix: /run/shop.sock}]}]\nservices: [{name: \"" DEMO "\", endpoints: [\"" ONE "\"]}]\n",
			  no_app[] = "apps: [{name: till, listen: [{unix: /run/till.sock}]}]\nservices: [{name: \"" DEMO "\", endpoints: [\"late.example:1\"]}]\n";
	static const struct { const char *yaml; int grpc; } rows[] = {{without, GRPC_UNAVAILABLE}, {other, GRPC_OK}, {no_app, GRPC_UNAVAILABLE}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig *r = rig_new(with);
		provider_new(r, ONE, ECHOES);
		struct caller *a = caller_new(r, DOOR);
		struct call *c[5];
		for (int k = 0; k < 5; k++)
			c[k] = call_unary(a, DEMO, NULL);
		rig_settle(r);
		ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 5);
		ck_assert_int_eq(rig_reload(r, rows[i].yaml), 0);
		if (rows[i].yaml == without)
			ck_assert_int_eq(rig_reload(r, without), 0);
		rig_advance(r, 6000);
		for (int k = 0; k < 5; k++)
			ck_assert_msg(c[k]->ends == 1 && c[k]->grpc == rows[i].grpc, "row %zu: %d %s", i, c[k]->grpc, call_text(c[k]));
		ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 0);
		ck_assert_uint_eq(r->sc->parked_bytes, 0);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_drain_with_parked_calls_ends_them_at_its_deadline)
{
	struct rig *r = rig_demo("late.example:1", NULL, "drain: {deadline: 2s}\npark: {time: 60s}\n");
	struct caller *a = caller_new(r, DOOR);
	struct call *c = call_unary(a, DEMO, NULL);

	rig_settle(r);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 1);
	sidecar_stop(r->sc);
	ck_assert_int_lt(rig_reload(r, "apps: []\n"), 0); /* who goes does not begin anew */
	rig_advance(r, 2100);
	ck_assert(r->sc->stopped);
	sidecar_close(r->sc);
	rig_settle(r);
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_uint_eq(rig_stat(r, STAT_PARKED), 0);
	rig_free(&r);
}
END_TEST

UNIT_SUITE("spoken", every_end_is_told_once_at_every_level, a_service_that_goes_while_its_calls_are_parked_answers_them,
	a_drain_with_parked_calls_ends_them_at_its_deadline)
