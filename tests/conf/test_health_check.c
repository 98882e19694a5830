/* conf/health: the life of what is declared of checks. Its fields one by one: tests/conf/test_conf_health.c (YAML), tests/xds/test_decode_cluster_health.c. */
#include "tests/unit.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/health.h"
#include "conf/match.h"
#include "conf/spec.h"

#define S UINT64_C(1000000000)

/* With something in every field that owns. */
static void filled(struct health_check *c)
{
	health_check_default(c);
	c->kind = CHECK_HTTP;
	c->host = xstrdup("host");
	c->service = xstrdup("service");
	c->authority = xstrdup("authority");
	c->to = xstrdup("127.0.0.1:1");
	ck_assert_int_eq(addr_parse(str_of(c->to), &c->to_addr), 0);
	c->add = xalloc(sizeof(*c->add));
	c->add[c->nadd++] = (struct check_field){xstrdup("a"), xstrdup("b"), true};
	c->remove = xalloc(sizeof(*c->remove));
	c->remove[c->nremove++] = xstrdup("r");
	c->argv = xalloc(3 * sizeof(*c->argv));
	c->argv[c->nargv++] = xstrdup("x");
	c->argv[c->nargv++] = xstrdup("y");
	c->expected = xalloc(sizeof(*c->expected));
	c->expected[c->nexpected++] = (struct check_range){200, 300};
	c->retriable = xalloc(sizeof(*c->retriable));
	c->retriable[c->nretriable++] = (struct check_range){500, 600};
	c->send = (struct check_bytes){(uint8_t *)xstrdup("ping"), 4};
	c->receive = xalloc(sizeof(*c->receive));
	c->receive[c->nreceive++] = (struct check_bytes){(uint8_t *)xstrdup("pong"), 4};
	c->cluster_matcher = xnew(struct match_text);
	*c->cluster_matcher = (struct match_text){.form = TEXT_PREFIX, .n = 1, .p = xstrdup("s")};
}

START_TEST(a_check_begins_with_its_defaults_and_what_follows_from_them)
{
	struct health_check c;

	health_check_default(&c);
	ck_assert_uint_eq(c.timeout_ns, S);
	ck_assert_uint_eq(c.interval_ns, 5 * S);
	ck_assert_uint_eq(c.no_traffic_interval_ns, 60 * S);
	ck_assert(c.unhealthy_threshold == 1 && c.healthy_threshold == 1);
	ck_assert_str_eq(c.path, "/");
	ck_assert_str_eq(c.method, "GET");
	c.interval_ns = 7 * S;
	c.unhealthy_interval_ns = 9 * S;
	health_check_settle(&c);
	ck_assert_uint_eq(c.no_traffic_healthy_interval_ns, 60 * S);
	ck_assert_uint_eq(c.unhealthy_interval_ns, 9 * S);
	ck_assert_uint_eq(c.unhealthy_edge_interval_ns, 9 * S);
	ck_assert_uint_eq(c.healthy_edge_interval_ns, 7 * S);
	health_check_end(&c);
	health_check_end(&c);
}
END_TEST

START_TEST(a_copy_is_equal_and_lives_on_its_own)
{
	struct health_check c, copy;
	uint64_t hash;

	filled(&c);
	hash = health_check_hash(&c);
	health_check_copy(&copy, &c);
	ck_assert_uint_eq(health_check_hash(&copy), hash);
	health_check_end(&c);
	ck_assert_uint_eq(health_check_hash(&copy), hash); /* nothing of it was the other's */
	ck_assert_ptr_null(copy.argv[2]);
	ck_assert_str_eq(copy.add[0].value, "b");
	ck_assert_int_eq(match_text_fits(copy.cluster_matcher, STR("shop")), 1);
	ck_assert(addr_port(&copy.to_addr) == 1);
	health_check_end(&copy);
	/* of an empty one too */
	health_check_default(&c);
	health_check_copy(&copy, &c);
	ck_assert_uint_eq(health_check_hash(&copy), health_check_hash(&c));
	health_check_end(&copy);
	health_check_end(&c);
}
END_TEST

START_TEST(texts_that_touch_are_told_apart)
{
	struct health_check a, b;

	filled(&a);
	filled(&b);
	free(a.host);
	free(a.service);
	a.host = xstrdup("hosts");
	a.service = xstrdup("ervice");
	ck_assert_uint_ne(health_check_hash(&a), health_check_hash(&b));
	free(b.host);
	b.host = NULL;
	free(a.host);
	a.host = xstrdup("");
	free(a.service);
	a.service = xstrdup("service");
	ck_assert_uint_ne(health_check_hash(&a), health_check_hash(&b)); /* "" is not nobody */
	health_check_end(&a);
	health_check_end(&b);
}
END_TEST

START_TEST(a_spec_owns_its_checks_and_has_them_in_its_hash)
{
	struct cluster_spec *plain = spec_new("a"), *checked = spec_new("a"), *watched = spec_new("a"), *ejecting = spec_new("a"), *ignoring = spec_new("a");
	struct cluster_spec *all[] = {plain, checked, watched, ejecting, ignoring};

	for (int i = 1; i <= 2; i++) {
		all[i]->checks = xalloc(sizeof(*all[i]->checks));
		all[i]->nchecks = 1;
		filled(&all[i]->checks[0]);
	}
	watched->checks[0].watch = true;
	ejecting->outlier = xnew(struct outlier);
	outlier_default(ejecting->outlier);
	ignoring->ignore_health_on_removal = true;
	for (size_t i = 0; i < UNIT_COUNT(all); i++) {
		spec_seal(all[i]);
		for (size_t k = 0; k < i; k++)
			ck_assert_uint_ne(all[i]->hash, all[k]->hash);
	}
	for (size_t i = 0; i < UNIT_COUNT(all); i++)
		spec_unref(&all[i]);
}
END_TEST

START_TEST(kinds_have_names)
{
	ck_assert_str_eq(check_kind_name(CHECK_HTTP), "http");
	ck_assert_str_eq(check_kind_name(CHECK_GRPC), "grpc");
	ck_assert_str_eq(check_kind_name(CHECK_TCP), "tcp");
	ck_assert_str_eq(check_kind_name(CHECK_UNIX), "unix");
	ck_assert_str_eq(check_kind_name(CHECK_EXEC), "exec");
	ck_assert_str_eq(check_kind_name((enum check_kind)99), "?");
}
END_TEST

UNIT_SUITE("health_check", a_check_begins_with_its_defaults_and_what_follows_from_them, a_copy_is_equal_and_lives_on_its_own, texts_that_touch_are_told_apart,
	a_spec_owns_its_checks_and_has_them_in_its_hash, kinds_have_names)
