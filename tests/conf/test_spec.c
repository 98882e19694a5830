/* conf/spec: what is declared of a cluster, and when it counts as the same. */
#include "tests/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "conf/spec.h"

START_TEST(endpoints_are_read_from_text)
{
	static const struct {
		const char *text;
		int code;
		const char *addr, *host;
		int port;
	} rows[] = {
		{"10.0.0.1:50051", 0, "10.0.0.1:50051", NULL, 0},
		{"[::1]:1", 0, "[::1]:1", NULL, 0},
		{"unix:/run/demo.sock", 0, "unix:/run/demo.sock", NULL, 0},
		{"unix:@demo", 0, "unix:@demo", NULL, 0},
		{"demo:50051", 0, NULL, "demo", 50051},
		{"Demo.Example.COM:443", 0, NULL, "demo.example.com", 443},
		{"demo.example.com.:443", 0, NULL, "demo.example.com.", 443},
		{"a_b-c.d1:1", 0, NULL, "a_b-c.d1", 1},
		{"localhost:1", 0, NULL, "localhost", 1},
		{"", -EINVAL, NULL, NULL, 0},
		{"demo", -EINVAL, NULL, NULL, 0},
		{"demo:", -EINVAL, NULL, NULL, 0},
		{"demo:0", -EINVAL, NULL, NULL, 0},
		{"demo:65536", -EINVAL, NULL, NULL, 0},
		{"10.0.0.1", -EINVAL, NULL, NULL, 0},
		{"10.0.0.1:0", -EINVAL, NULL, NULL, 0},
		{"10.0.0.300:80", -EINVAL, NULL, NULL, 0},
		{"1.2.3:80", -EINVAL, NULL, NULL, 0},
		{"::1:80", -EINVAL, NULL, NULL, 0},
		{"[::1]", -EINVAL, NULL, NULL, 0},
		{"[::1:80", -EINVAL, NULL, NULL, 0},
		{".:80", -EINVAL, NULL, NULL, 0},
		{"a..b:80", -EINVAL, NULL, NULL, 0},
		{"a b:80", -EINVAL, NULL, NULL, 0},
		{"a/b:80", -EINVAL, NULL, NULL, 0},
		{"http://demo:80", -EINVAL, NULL, NULL, 0},
		{"unix:", -EINVAL, NULL, NULL, 0},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct endpoint_set *s = endpoints_new(1, NULL);
		int code = endpoints_add_text(s, str_of(rows[i].text), 1, NULL);
		char text[ADDR_TEXT];

		ck_assert_msg(code == rows[i].code, "'%s': %d, expected %d", rows[i].text, code, rows[i].code);
		ck_assert_uint_eq(s->count, code == 0);
		if (rows[i].addr) {
			ck_assert_uint_eq(s->e[0].naddrs, 1);
			ck_assert_str_eq(addr_text(s->e[0].addrs, text), rows[i].addr);
			ck_assert_ptr_null(s->e[0].host);
		} else if (rows[i].host) {
			ck_assert_str_eq(s->e[0].host, rows[i].host);
			ck_assert_int_eq(s->e[0].port, rows[i].port);
			ck_assert_uint_eq(s->e[0].naddrs, 0);
		}
		endpoints_seal(s);
		ck_assert_int_eq(s->has_names, rows[i].host != NULL);
		endpoints_unref(&s);
		ck_assert_ptr_null(s);
	}
}
END_TEST

START_TEST(names_of_dns_have_their_bounds)
{
	struct endpoint_set *s = endpoints_new(9, NULL);
	char text[400];

	memset(text, 'a', sizeof(text));
	memcpy(text + 63, ":1", 3);
	ck_assert_int_eq(endpoints_add_text(s, str_of(text), 1, NULL), 0);
	memcpy(text + 63, "a:1", 4);
	ck_assert_int_eq(endpoints_add_text(s, str_of(text), 1, NULL), -EINVAL);
	for (int i = 0; i < 300; i++)
		text[i] = i % 2 ? '.' : 'a';
	memcpy(text + 253, ":1", 3);
	ck_assert_int_eq(endpoints_add_text(s, str_of(text), 1, NULL), 0);
	memcpy(text + 253, ".a:1", 5);
	ck_assert_int_eq(endpoints_add_text(s, str_of(text), 1, NULL), -EINVAL);
	memcpy(text, "unix:/", 6);
	memset(text + 6, 'x', 200);
	text[206] = '\0';
	ck_assert_int_eq(endpoints_add_text(s, str_of(text), 1, NULL), -ENAMETOOLONG);
	ck_assert_int_eq(endpoints_add_text(s, str_n("a\0b:1", 5), 1, NULL), -EINVAL);
	endpoints_unref(&s);
}
END_TEST

START_TEST(a_set_takes_no_more_than_its_cap_and_no_weight_of_zero)
{
	struct endpoint_set *s = endpoints_new(1, NULL);

	ck_assert_int_eq(endpoints_add_text(s, STR("a:1"), 0, NULL), -EINVAL);
	ck_assert_int_eq(endpoints_add_text(s, STR("a:1"), 7, "z"), 0);
	ck_assert_int_eq(endpoints_add_text(s, STR("b:1"), 1, NULL), -ENOSPC);
	ck_assert_uint_eq(s->count, 1);
	ck_assert_uint_eq(s->e[0].weight, 7);
	ck_assert_str_eq(s->e[0].zone, "z");
	endpoints_unref(&s);
}
END_TEST

START_TEST(the_account_may_refuse_a_set_and_gets_everything_back)
{
	struct account a;
	struct endpoint_set *s;
	int code = 0, added = 0;

	account_init(&a, NULL, "test", 256 * 1024);
	ck_assert_ptr_null(endpoints_new(100000, &a));
	ck_assert_uint_eq(a.used, 0);
	s = endpoints_new(2000, &a);
	ck_assert_ptr_nonnull(s);
	for (; added < 2000 && code == 0; added++) {
		char text[40];
		snprintf(text, sizeof(text), "10.0.%d.%d:1", added / 250, added % 250 + 1);
		code = endpoints_add_text(s, str_of(text), 1, NULL);
	}
	ck_assert_int_eq(code, -ENOMEM);
	endpoints_unref(&s);
	ck_assert_uint_eq(a.used, 0);
	account_end(&a);
}
END_TEST

static uint64_t set_hash(const char *one, uint32_t weight, const char *zone, const char *two)
{
	struct endpoint_set *s = endpoints_new(2, NULL);
	uint64_t h;

	ck_assert_int_eq(endpoints_add_text(s, str_of(one), weight, zone), 0);
	if (two)
		ck_assert_int_eq(endpoints_add_text(s, str_of(two), 1, NULL), 0);
	endpoints_seal(s);
	h = s->hash;
	endpoints_unref(&s);
	return h;
}

START_TEST(the_hash_of_a_set_is_over_all_that_is_declared)
{
	uint64_t h = set_hash("10.0.0.1:1", 1, NULL, "10.0.0.2:1");

	ck_assert_uint_eq(h, set_hash("10.0.0.1:1", 1, NULL, "10.0.0.2:1"));
	ck_assert_uint_ne(h, set_hash("10.0.0.2:1", 1, NULL, "10.0.0.1:1"));
	ck_assert_uint_ne(h, set_hash("10.0.0.1:2", 1, NULL, "10.0.0.2:1"));
	ck_assert_uint_ne(h, set_hash("10.0.0.1:1", 2, NULL, "10.0.0.2:1"));
	ck_assert_uint_ne(h, set_hash("10.0.0.1:1", 1, "z", "10.0.0.2:1"));
	ck_assert_uint_ne(h, set_hash("10.0.0.1:1", 1, NULL, NULL));
	ck_assert_uint_ne(set_hash("a:1", 1, NULL, NULL), set_hash("b:1", 1, NULL, NULL));
	ck_assert_uint_ne(set_hash("a:1", 1, NULL, NULL), set_hash("a:2", 1, NULL, NULL));
	ck_assert_uint_eq(set_hash("A:1", 1, NULL, NULL), set_hash("a:1", 1, NULL, NULL));
}
END_TEST

START_TEST(alternates_belong_to_one_endpoint)
{
	struct endpoint_set *s = endpoints_new(1, NULL);
	struct addr both[2];

	ck_assert_int_eq(addr_parse(STR("[::1]:1"), &both[0]), 0);
	ck_assert_int_eq(addr_parse(STR("127.0.0.1:1"), &both[1]), 0);
	ck_assert_int_eq(endpoints_add_addrs(s, both, 0, 1, 0, NULL), -EINVAL);
	ck_assert_int_eq(endpoints_add_addrs(s, both, 2, 3, 1, "z"), 0);
	ck_assert_uint_eq(s->e[0].naddrs, 2);
	ck_assert(addr_eq(&s->e[0].addrs[1], &both[1]));
	ck_assert_uint_eq(s->e[0].priority, 1);
	endpoints_unref(&s);
}
END_TEST

START_TEST(a_spec_begins_with_its_defaults_and_is_equal_by_content)
{
	struct cluster_spec *a = spec_new("demo"), *b = spec_new("demo"), *c = spec_new("other");

	ck_assert_int_eq(a->lb, LB_LEAST_REQUEST);
	ck_assert_uint_eq(a->choices, 2);
	ck_assert_uint_eq(a->connect_timeout_ns, 5000000000);
	spec_seal(a);
	spec_seal(b);
	spec_seal(c);
	ck_assert_uint_eq(a->hash, b->hash);
	ck_assert_uint_ne(a->hash, c->hash);
	b->max_pending++;
	spec_seal(b);
	ck_assert_uint_ne(a->hash, b->hash);
	spec_ref(a);
	spec_unref(&b);
	b = a;
	spec_unref(&b);
	ck_assert_ptr_null(b);
	ck_assert_str_eq(a->name, "demo");
	spec_unref(&a);
	spec_unref(&a);
	spec_unref(&c);
}
END_TEST

START_TEST(policies_have_the_names_of_the_configuration)
{
	ck_assert_str_eq(lb_kind_name(LB_ROUND_ROBIN), "round_robin");
	ck_assert_str_eq(lb_kind_name(LB_RANDOM), "random");
	ck_assert_str_eq(lb_kind_name(LB_LEAST_REQUEST), "least_request");
	ck_assert_str_eq(lb_kind_name((enum lb_kind)99), "?");
}
END_TEST

UNIT_SUITE("spec", endpoints_are_read_from_text, names_of_dns_have_their_bounds, a_set_takes_no_more_than_its_cap_and_no_weight_of_zero,
	the_account_may_refuse_a_set_and_gets_everything_back, the_hash_of_a_set_is_over_all_that_is_declared,
	alternates_belong_to_one_endpoint, a_spec_begins_with_its_defaults_and_is_equal_by_content,
	policies_have_the_names_of_the_configuration)
