/* sidecar/handover: what one process writes the next one reads; and what it never does with a text that is broken, hostile, or of another version. */
#include "sidecar/handover.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tests/unit.h"

#define HEAD "thinmesh-handover 1\n"

static struct addr at(const char *text)
{
	struct addr a;
	ck_assert_int_eq(addr_parse(str_of(text), &a), 0);
	return a;
}

START_TEST(what_is_written_is_read_again)
{
	static const char *const places[] = {"unix:/run/x.sock", "unix:@shop", "127.0.0.1:80", "[::1]:8080", "unix:/run/a b%c.sock"};
	struct sb b = {0};
	struct handover h;
	handover_write_head(&b, 312, 4, 1);
	for (int i = 0; i < 5; i++) {
		struct handover_door d = {.fd = 10 + i, .lock_fd = i ? -1 : 40, .dev = UINT64_MAX, .ino = 77, .addr = at(places[i])};
		snprintf(d.name, sizeof d.name, "%s", i ? "" : "a name %=\n");
		handover_write_door(&b, &d);
	}
	handover_write_life(&b, "shop", STR("v1 state=ok why=a b\nc\xff%"));
	ck_assert_int_eq(handover_parse(&h, sb_view(&b)), 0);
	ck_assert_int_eq(h.pid, 312);
	ck_assert_uint_eq(h.upgrades, 4);
	ck_assert_uint_eq(h.failed, 1);
	ck_assert_uint_eq(h.ndoors, 5);
	ck_assert_uint_eq(h.unknown + h.bad, 0);
	for (int i = 0; i < 5; i++) {
		struct addr a = at(places[i]);
		ck_assert_int_eq(h.doors[i].fd, 10 + i);
		ck_assert_int_eq(h.doors[i].lock_fd, i ? -1 : 40);
		ck_assert_uint_eq(h.doors[i].dev, UINT64_MAX);
		ck_assert_uint_eq(h.doors[i].ino, 77);
		ck_assert(addr_eq(&h.doors[i].addr, &a));
		ck_assert_str_eq(h.doors[i].name, i ? "" : "a name %=\n");
	}
	ck_assert_uint_eq(h.nlives, 1);
	ck_assert_str_eq(h.lives[0].app, "shop");
	ck_assert_str_eq(h.lives[0].text, "v1 state=ok why=a b\nc\xff%");
	/* What is read is written the same. */
	struct sb again = {0};
	handover_write_head(&again, h.pid, h.upgrades, h.failed);
	for (uint32_t i = 0; i < h.ndoors; i++)
		handover_write_door(&again, &h.doors[i]);
	handover_write_life(&again, h.lives[0].app, str_of(h.lives[0].text));
	ck_assert(str_eq(sb_view(&b), sb_view(&again)));
	handover_end(&h);
	sb_end(&b);
	sb_end(&again);
}
END_TEST

static const struct { const char *text; int rc; uint32_t doors, lives, unknown, bad; } rows[] = {
	/* heads */
	{"", -EPROTO, 0, 0, 0, 0},
	{"thinmesh-handover", -EPROTO, 0, 0, 0, 0},
	{"thinmesh-handover 2\ndoor fd=5 at=1.2.3.4:5\n", -EPROTO, 0, 0, 0, 0},
	{"thinmesh-handover 1x\n", -EPROTO, 0, 0, 0, 0},
	{"thinmesh-handover 1", 0, 0, 0, 0, 0},
	{HEAD, 0, 0, 0, 0, 0},
	/* what a later version may add */
	{HEAD "colour red\nweather\n\n", 0, 0, 0, 2, 0},
	{HEAD "door fd=5 mood=good at=1.2.3.4:5 extra\n", 0, 1, 0, 0, 0},
	{HEAD "life app=a colour=red text=v1\n", 0, 0, 1, 0, 0},
	{HEAD "from pid=1 colour=2\n", 0, 0, 0, 0, 0},
	/* descriptors */
	{HEAD "door fd=5 lock=6 at=unix:/a\n", 0, 1, 0, 0, 0},
	{HEAD "door fd=5 lock=-1 at=unix:/a", 0, 1, 0, 0, 0},
	{HEAD "door fd=2 at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=0 at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=-1 at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=2147483648 at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=99999999999999999999 at=1.2.3.4:5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 lock=5 at=unix:/a\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 lock=1 at=unix:/a\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 lock=x at=unix:/a\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 at=1.2.3.4:5\ndoor fd=5 at=1.2.3.4:6\n", 0, 1, 0, 0, 1},
	{HEAD "door fd=5 lock=6 at=unix:/a\ndoor fd=6 at=1.2.3.4:6\n", 0, 1, 0, 0, 1},
	{HEAD "door fd=5 lock=6 at=unix:/a\ndoor fd=7 lock=6 at=unix:/b\n", 0, 1, 0, 0, 1},
	/* addresses */
	{HEAD "door fd=5\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 at=\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 at=localhost:80\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 at=unix:%2\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 at=unix:/a%00b\n", 0, 0, 0, 0, 1},
	{HEAD "door fd=5 ino=x at=unix:/a\n", 0, 0, 0, 0, 1},
	/* lives */
	{HEAD "life\n", 0, 0, 0, 0, 1},
	{HEAD "life app=a\n", 0, 0, 0, 0, 1},
	{HEAD "identity app=a\nidentity app=b%20c age=3\n", 0, 0, 0, 0, 0},
	{HEAD "identity\nidentity app=%z\n", 0, 0, 0, 0, 2},
	{HEAD "life app=a app=b text=x text=y\n", 0, 0, 1, 0, 0},
	{HEAD "life app=a text=%\n", 0, 0, 0, 0, 1},
	{HEAD "life app=%zz text=x\n", 0, 0, 0, 0, 1},
	{HEAD "from pid=-1\n", 0, 0, 0, 0, 1},
	{HEAD "from pid=1 upgrades=99999999999\n", 0, 0, 0, 0, 1},
};

START_TEST(a_text_is_read_as_far_as_it_can_be_understood)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct handover h;
		ck_assert_msg(handover_parse(&h, str_of(rows[i].text)) == rows[i].rc, "row %zu: %s", i, rows[i].text);
		ck_assert_msg(h.ndoors == rows[i].doors && h.nlives == rows[i].lives && h.unknown == rows[i].unknown && h.bad == rows[i].bad, "row %zu: %u doors, %u lives, %u unknown, %u bad: %s", i, h.ndoors,
			h.nlives, h.unknown, h.bad, rows[i].text);
		handover_end(&h);
	}
}
END_TEST

START_TEST(identities_are_read_as_they_were_written)
{
	struct sb b = {0};
	struct handover h;
	sb_str(&b, HEAD);
	handover_write_identity(&b, "shop");
	handover_write_identity(&b, "a b%");
	ck_assert_int_eq(handover_parse(&h, sb_view(&b)), 0);
	ck_assert_uint_eq(h.nidentities, 2);
	ck_assert_str_eq(h.identities[0], "shop");
	ck_assert_str_eq(h.identities[1], "a b%");
	handover_end(&h);
	sb_end(&b);
}
END_TEST

START_TEST(a_line_that_is_bad_takes_nothing_else_along)
{
	struct handover h;
	ck_assert_int_eq(handover_parse(&h, STR(HEAD "from pid=9 upgrades=x\ndoor fd=1 at=unix:/a\ndoor fd=9 at=unix:/b\n")), 0);
	ck_assert_int_eq(h.pid, 0);
	ck_assert_uint_eq(h.bad, 2);
	ck_assert_uint_eq(h.ndoors, 1);
	ck_assert_int_eq(h.doors[0].lock_fd, -1);
	handover_end(&h);
}
END_TEST

START_TEST(what_is_beyond_its_bounds_is_refused)
{
	struct sb b = {0};
	struct handover h;
	sb_str(&b, HEAD);
	for (int i = 0; i < HANDOVER_DOORS_MAX + 10; i++)
		sb_fmt(&b, "door fd=%d at=1.2.3.4:5\n", 10 + i);
	ck_assert_int_eq(handover_parse(&h, sb_view(&b)), 0);
	ck_assert_uint_eq(h.ndoors, HANDOVER_DOORS_MAX);
	ck_assert_uint_eq(h.bad, 10);
	handover_end(&h);
	while (b.n <= HANDOVER_TEXT_MAX)
		sb_str(&b, "a line that nobody knows, again and again and again and again\n");
	ck_assert_int_eq(handover_parse(&h, sb_view(&b)), -EPROTO);
	ck_assert_uint_eq(h.ndoors, 0);
	handover_end(&h);
	sb_end(&b);
}
END_TEST

UNIT_SUITE("handover", what_is_written_is_read_again, a_text_is_read_as_far_as_it_can_be_understood, a_line_that_is_bad_takes_nothing_else_along,
	what_is_beyond_its_bounds_is_refused, identities_are_read_as_they_were_written)
