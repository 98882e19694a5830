/* Addresses: tables of texts, and that each address survives its own forms. */
#include "base/addr.h"
#include <errno.h>
#include <stdlib.h>
#include "tests/unit.h"

/* 107 bytes are the longest path, 108 with the '@' the longest abstract name */
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const struct { const char *text; int result; const char *back; } parses[] = {
	{"10.0.0.1:80", 0, NULL}, {"0.0.0.0:0", 0, NULL}, {"255.255.255.255:65535", 0, NULL},
	{"[::1]:80", 0, NULL}, {"[2001:db8::1]:443", 0, NULL}, {"[2001:DB8:0:0::1]:443", 0, "[2001:db8::1]:443"},
	{"[::ffff:10.0.0.1]:80", 0, NULL},
	{"unix:/run/x.sock", 0, NULL}, {"unix:@name", 0, NULL}, {"unix:/" HUNDRED "012345", 0, NULL}, {"unix:@" HUNDRED "0123456", 0, NULL},
	{"unix:/" HUNDRED "0123456", -ENAMETOOLONG, NULL}, {"unix:@" HUNDRED "01234567", -ENAMETOOLONG, NULL},
	{"unix:", -EINVAL, NULL}, {"unix:@", -EINVAL, NULL}, {"unix:run/x", -EINVAL, NULL}, {"", -EINVAL, NULL}, {":", -EINVAL, NULL},
	{":80", -EINVAL, NULL}, {"10.0.0.1", -EINVAL, NULL}, {"10.0.0.1:", -EINVAL, NULL}, {"10.0.0.1:65536", -EINVAL, NULL},
	{"10.0.0.1:-1", -EINVAL, NULL}, {"10.0.0.1:80 ", -EINVAL, NULL}, {"10.0.0.1:000080", -EINVAL, NULL}, {"10.0.0.01:80", -EINVAL, NULL},
	{"10.0.0:80", -EINVAL, NULL}, {"10.0.0.256:80", -EINVAL, NULL}, {"0x7f.1:80", -EINVAL, NULL}, {"::1", -EINVAL, NULL},
	{"::1:80", -EINVAL, NULL}, {"[::1]", -EINVAL, NULL}, {"[::1]80", -EINVAL, NULL}, {"[::1:80", -EINVAL, NULL}, {"::1]:80", -EINVAL, NULL},
	{"[10.0.0.1]:80", -EINVAL, NULL}, {"[fe80::1%eth0]:80", -EINVAL, NULL}, {"[]:80", -EINVAL, NULL}, {"localhost:80", -EINVAL, NULL},
};

START_TEST(addresses_are_read_strictly_and_written_back)
{
	for (size_t i = 0; i < UNIT_COUNT(parses); i++) {
		char out[ADDR_TEXT];
		struct addr a = {.len = 99};
		ck_assert_msg(addr_parse(str_of(parses[i].text), &a) == parses[i].result, "'%s'", parses[i].text);
		if (parses[i].result)
			ck_assert_uint_eq(a.len, 99); /* untouched */
		else
			ck_assert_str_eq(addr_text(&a, out), parses[i].back ? parses[i].back : parses[i].text);
	}
	struct addr a;
	ck_assert_int_eq(addr_parse(str_n("unix:/a\0b", 9), &a), -EINVAL);
	ck_assert_int_eq(addr_parse(str_n("10.0.0.1\0:80", 12), &a), -EINVAL);
	ck_assert_int_eq(addr_parse(str_n("10.0.0.1:8099", 11), &a), 0);
	ck_assert_uint_eq(addr_port(&a), 80);
}
END_TEST

static const struct { const char *text, *host; int port, result; } splits[] = {
	{"demo:80", "demo", 80, 0}, {"demo", "demo", -1, 0}, {"demo.default.svc:65535", "demo.default.svc", 65535, 0}, {"", "", -1, 0},
	{":80", "", 80, 0}, {"[::1]:80", "::1", 80, 0}, {"[::1]", "::1", -1, 0}, {"::1", "::1", -1, 0}, {"2001:db8::80", "2001:db8::80", -1, 0},
	{"10.0.0.1:0", "10.0.0.1", 0, 0}, {"%2Frun%2Fs.sock", "%2Frun%2Fs.sock", -1, 0}, {"demo:00080", "demo", 80, 0},
	{"demo:", NULL, 0, -EINVAL}, {"demo:x", NULL, 0, -EINVAL}, {"demo:65536", NULL, 0, -EINVAL}, {"demo:80x", NULL, 0, -EINVAL},
	{"demo:123456", NULL, 0, -EINVAL}, {"demo:+80", NULL, 0, -EINVAL}, {"a:b:c", NULL, 0, -EINVAL}, {"a:80:80", NULL, 0, -EINVAL},
	{"[::1", NULL, 0, -EINVAL}, {"[::1]x", NULL, 0, -EINVAL}, {"[::1]:", NULL, 0, -EINVAL}, {"[demo]:80", NULL, 0, -EINVAL},
	{"de]mo:80", NULL, 0, -EINVAL}, {"de[mo", NULL, 0, -EINVAL}, {"[[::1]]:80", NULL, 0, -EINVAL}, {"[", NULL, 0, -EINVAL}, {"[]", NULL, 0, -EINVAL},
};

START_TEST(authorities_are_split_at_their_port)
{
	for (size_t i = 0; i < UNIT_COUNT(splits); i++) {
		struct str host = STR("untouched");
		int port = 4711;
		ck_assert_msg(addr_split(str_of(splits[i].text), &host, &port) == splits[i].result, "'%s'", splits[i].text);
		ck_assert_msg(str_is(host, splits[i].host ? splits[i].host : "untouched"), "'%s'", splits[i].text);
		ck_assert_int_eq(port, splits[i].host ? splits[i].port : 4711);
	}
}
END_TEST

START_TEST(ip_addresses_are_told_from_names)
{
	static const struct { const char *text; bool ip; } rows[] = {
		{"10.0.0.1", true}, {"::1", true}, {"[::1]", true}, {"2001:db8::1", true}, {"::ffff:1.2.3.4", true},
		{"[10.0.0.1]", false}, {"demo", false}, {"1", false}, {"10.0.0", false}, {"10.0.0.1.", false}, {"10.0.0.1:80", false}, {"", false},
		{"[]", false}, {"[::1", false}, {"::1]", false}, {"1:2:3:4:5:6:7:8:9", false},
		{"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", false},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(addr_is_ip(str_of(rows[i].text)) == rows[i].ip, "'%s'", rows[i].text);
	struct addr a;
	ck_assert_int_eq(addr_ip(STR("[::1]"), 8080, &a), 0);
	ck_assert(addr_is_v6(&a));
	ck_assert_uint_eq(addr_port(&a), 8080);
	ck_assert_int_eq(addr_ip(STR("demo"), 80, &a), -EINVAL);
}
END_TEST

START_TEST(addresses_are_equal_by_what_they_mean)
{
	static const char *texts[] = {"10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "[::1]:80", "[::2]:80", "[::ffff:10.0.0.1]:80",
				      "unix:/a", "unix:/ab", "unix:@a", "unix:@ab"};
	for (size_t i = 0; i < UNIT_COUNT(texts); i++)
		for (size_t j = 0; j < UNIT_COUNT(texts); j++) {
			struct addr a, b;
			memset(&b, 0xff, sizeof(b));
			addr_parse(str_of(texts[i]), &a);
			addr_parse(str_of(texts[j]), &b);
			ck_assert(addr_eq(&a, &b) == (i == j));
			ck_assert((addr_hash(&a, 5) == addr_hash(&b, 5)) == (i == j));
		}
	struct addr a, b;
	addr_parse(STR("unix:/a"), &a);
	b = a;
	b.len--; /* without the NUL, as some fill it in */
	ck_assert(addr_eq(&a, &b));
	ck_assert_uint_ne(addr_hash(&a, 1), addr_hash(&a, 2));
	addr_parse(STR("[fe80::1]:80"), &a);
	b = a;
	b.in6.sin6_flowinfo = 7;
	ck_assert(addr_eq(&a, &b));
	b.in6.sin6_scope_id = 2;
	ck_assert(!addr_eq(&a, &b));
}
END_TEST

START_TEST(packed_addresses_come_back_and_garbage_does_not)
{
	static const struct { const char *text; size_t n; } rows[] = {
		{"10.0.0.1:80", 7}, {"[2001:db8::1]:443", 19}, {"unix:/a", 4}, {"unix:@a", 4}, {"unix:@" HUNDRED "0123456", 110},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		uint8_t packed[ADDR_PACKED];
		struct addr a, b;
		addr_parse(str_of(rows[i].text), &a);
		ck_assert_uint_eq(addr_pack(&a, packed), rows[i].n);
		ck_assert_int_eq(addr_unpack(packed, sizeof(packed), &b), (int)rows[i].n);
		ck_assert(addr_eq(&a, &b));
		ck_assert_uint_eq(a.len, b.len); /* what connect() is given is the same, too */
		ck_assert_int_eq(memcmp(&a.sa, &b.sa, a.len), 0);
		for (size_t n = 0; n < rows[i].n; n++) {
			uint8_t *exact = malloc(n ? n : 1); /* a read behind the end is seen by the sanitizer */
			memcpy(exact, packed, n);
			ck_assert_int_eq(addr_unpack(exact, n, &b), -EINVAL);
			free(exact);
		}
	}
	struct addr a = {0}, b;
	uint8_t packed[ADDR_PACKED] = {99}, long_path[] = {1, 109};
	ck_assert_uint_eq(addr_pack(&a, packed), 0);
	ck_assert_int_eq(addr_unpack(packed, sizeof(packed), &b), -EINVAL);
	ck_assert_int_eq(addr_unpack(long_path, sizeof(long_path), &b), -EINVAL);
	addr_parse(STR("[fe80::1]:80"), &a);
	a.in6.sin6_scope_id = 3;
	ck_assert_uint_eq(addr_pack(&a, packed), 23);
	ck_assert_int_eq(addr_unpack(packed, 23, &b), 23);
	ck_assert_uint_eq(b.in6.sin6_scope_id, 3);
}
END_TEST

START_TEST(odd_addresses_of_the_kernel_have_a_text)
{
	char out[ADDR_TEXT];
	struct addr a = {0};
	ck_assert_str_eq(addr_text(&a, out), "none");
	a.sa.sa_family = AF_UNIX; /* an unnamed peer */
	a.len = sizeof(sa_family_t);
	ck_assert_str_eq(addr_text(&a, out), "unix:");
	ck_assert(addr_is_unix(&a));
	memcpy(a.un.sun_path, "\0a\0\n", 4);
	a.len = sizeof(sa_family_t) + 4;
	ck_assert_str_eq(addr_text(&a, out), "unix:@a@?");
	memset(a.un.sun_path, 'x', sizeof(a.un.sun_path)); /* full, without a NUL */
	a.len = sizeof(a.un);
	ck_assert_uint_eq(strlen(addr_text(&a, out)), 5 + sizeof(a.un.sun_path));
	a.sa.sa_family = AF_NETLINK;
	ck_assert_str_eq(addr_text(&a, out), "family 16");
	addr_parse(STR("[fe80::1]:80"), &a);
	a.in6.sin6_scope_id = 2;
	ck_assert_str_eq(addr_text(&a, out), "[fe80::1%2]:80");
}
END_TEST

START_TEST(loopback_is_known_in_both_families)
{
	static const struct { const char *text; bool loop; } rows[] = {
		{"127.0.0.1:1", true}, {"127.255.0.1:1", true}, {"128.0.0.1:1", false}, {"0.0.0.0:1", false}, {"[::1]:1", true}, {"[::2]:1", false},
		{"[::]:1", false}, {"[::ffff:127.0.0.1]:1", true}, {"[::ffff:10.0.0.1]:1", false}, {"unix:/x", false},
	};
	struct addr a = {0};
	ck_assert(!addr_is_loopback(&a));
	ck_assert_uint_eq(addr_port(&a), 0);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		ck_assert_int_eq(addr_parse(str_of(rows[i].text), &a), 0);
		ck_assert_msg(addr_is_loopback(&a) == rows[i].loop, "%s", rows[i].text);
		ck_assert_uint_eq(addr_port(&a), addr_is_unix(&a) ? 0 : 1);
	}
}
END_TEST

UNIT_SUITE("addr", addresses_are_read_strictly_and_written_back, authorities_are_split_at_their_port, ip_addresses_are_told_from_names,
	   addresses_are_equal_by_what_they_mean, packed_addresses_come_back_and_garbage_does_not, odd_addresses_of_the_kernel_have_a_text,
	   loopback_is_known_in_both_families)
