/* conf/spec: what is declared of a cluster, and when it counts as the same. */
#include "tests/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "conf/regex.h"
#include "conf/spec.h"

/* One group, open. */
static struct endpoints_builder *begun(struct account *a, const struct endpoint_set *old)
{
	struct endpoints_builder *b = endpoints_build(a, old);

	ck_assert_int_eq(endpoints_group(b), 0);
	return b;
}

static struct endpoint_set *ended(struct endpoints_builder *b)
{
	ck_assert_int_eq(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0), 0);
	return endpoints_done(&b, 0);
}

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
		struct endpoints_builder *b = begun(NULL, NULL);
		int code = endpoints_put_text(b, str_of(rows[i].text), 1);
		struct endpoint_set *s = ended(b);
		char text[ADDR_TEXT];
		struct endpoint e;

		ck_assert_msg(code == rows[i].code, "'%s': %d, expected %d", rows[i].text, code, rows[i].code);
		ck_assert_uint_eq(endpoints_count(s), code == 0);
		if (!code)
			endpoint_get(s, 0, &e);
		if (rows[i].addr) {
			ck_assert_uint_eq(e.naddrs, 1);
			ck_assert_str_eq(addr_text(&e.addr, text), rows[i].addr);
			ck_assert_ptr_null(e.host);
		} else if (rows[i].host) {
			ck_assert_str_eq(e.host, rows[i].host);
			ck_assert_int_eq(e.port, rows[i].port);
			ck_assert_uint_eq(e.naddrs, 0);
		}
		ck_assert_int_eq(endpoints_has_names(s), rows[i].host != NULL);
		endpoints_unref(&s);
		ck_assert_ptr_null(s);
	}
}
END_TEST

START_TEST(names_of_dns_have_their_bounds)
{
	struct endpoints_builder *b = begun(NULL, NULL);
	char text[400];

	memset(text, 'a', sizeof(text));
	memcpy(text + 63, ":1", 3);
	ck_assert_int_eq(endpoints_put_text(b, str_of(text), 1), 0);
	memcpy(text + 63, "a:1", 4);
	ck_assert_int_eq(endpoints_put_text(b, str_of(text), 1), -EINVAL);
	for (int i = 0; i < 300; i++)
		text[i] = i % 2 ? '.' : 'a';
	memcpy(text + 253, ":1", 3);
	ck_assert_int_eq(endpoints_put_text(b, str_of(text), 1), 0);
	memcpy(text + 253, ".a:1", 5);
	ck_assert_int_eq(endpoints_put_text(b, str_of(text), 1), -EINVAL);
	memcpy(text, "unix:/", 6);
	memset(text + 6, 'x', 200);
	text[206] = '\0';
	ck_assert_int_eq(endpoints_put_text(b, str_of(text), 1), -ENAMETOOLONG);
	ck_assert_int_eq(endpoints_put_text(b, str_n("a\0b:1", 5), 1), -EINVAL);
	endpoints_drop(&b);
	ck_assert_ptr_null(b);
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
	ck_assert_str_eq(lb_kind_name(LB_RING_HASH), "ring_hash");
	ck_assert_str_eq(lb_kind_name(LB_MAGLEV), "maglev");
	ck_assert_str_eq(lb_kind_name((enum lb_kind)99), "?");
	ck_assert(lb_kind_is_built(LB_LEAST_REQUEST) && !lb_kind_is_built(LB_RING_HASH) && !lb_kind_is_built(LB_MAGLEV));
}
END_TEST

/* A field each, so that none is forgotten in the hash. */
START_TEST(each_field_of_a_spec_is_in_its_hash)
{
	struct cluster_spec *first = spec_new("demo");
	uint64_t seen[32];
	uint32_t n = 0;

	spec_seal(first);
	seen[n++] = first->hash;
	for (int field = 0; field < 24; field++) {
		struct cluster_spec *s = spec_new("demo");

		switch (field) {
		case 0: s->lb = LB_MAGLEV; break;
		case 1: s->choices++; break;
		case 2: s->connect_timeout_ns++; break;
		case 3: s->idle_timeout_ns++; break;
		case 4: s->verify_after_ns++; break;
		case 5: s->max_connections++; break;
		case 6: s->max_pending++; break;
		case 7: s->max_requests++; break;
		case 8: s->max_connections_per_host++; break;
		case 9: s->max_streams++; break;
		case 10: s->panic_percent++; break;
		case 11: s->overprovisioning++; break;
		case 12: s->locality_weighted = true; break;
		case 13: s->one_address = true; break;
		case 14: s->ring_min++; break;
		case 15: s->ring_max++; break;
		case 16: s->removal_hold_ns++; break;
		case 17: s->want = tls_want_mesh(NULL); tls_want_seal(s->want); break;
		case 23: s->want = tls_want_mesh("c"); tls_want_seal(s->want); break;
		case 18: s->tls_name = xstrdup("t"); break;
		default:
			s->tls = xnew(struct tls_row);
			s->ntls = 1;
			s->tls[0].want = field != 19 ? tls_want_mesh(field == 22 ? "b" : "a") : NULL;
			if (s->tls[0].want)
				tls_want_seal(s->tls[0].want);
			if (field == 21) {
				s->tls[0].pairs = xnew(struct tls_pair);
				s->tls[0].npairs = 1;
				s->tls[0].pairs[0] = (struct tls_pair){xstrdup("tlsMode"), xstrdup("istio")};
			}
		}
		spec_seal(s);
		for (uint32_t i = 0; i < n; i++)
			ck_assert_msg(seen[i] != s->hash, "field %d", field);
		seen[n++] = s->hash;
		spec_unref(&s);
	}
	spec_unref(&first);
}
END_TEST

static int fits(const void *regex, struct str text)
{
	return regex_match(regex, text);
}

static void ends(void *regex)
{
	struct regex *re = regex;

	regex_free(&re);
}

START_TEST(a_check_may_offer_another_alpn_and_accepts_the_same_peers)
{
	struct ration nobody = {.account = NULL};
	struct tls_want *w = tls_want_mesh("sni"), *other;
	struct regex *re;
	char why[REGEX_WHY];

	tls_want_rule(w, TLS_NAME_URI, TLS_REGEX, STR("spiffe://a/.*"));
	tls_want_rule(w, TLS_NAME_DNS, TLS_EXACT, STR("b"));
	w->rules[1].ignore_case = true;
	w->regex_match = fits;
	w->regex_free = ends;
	ck_assert_int_eq(regex_new(&nobody, STR("spiffe://a/.*"), &re, why), 0);
	w->rules[0].regex = re;
	w->pins = xalloc(sizeof(*w->pins));
	w->pins[w->npins++] = xstrdup("sha256:00");
	w->issuers = 3;
	w->host_sni = true;
	tls_want_seal(w);
	other = spec_want_alpn(w, "istio-h2,istio,h2");
	ck_assert(tls_want_eq(w, other));
	tls_want_unref(&other);
	other = spec_want_alpn(w, "http/1.1");
	ck_assert(!tls_want_eq(w, other));
	ck_assert_str_eq(other->alpn, "http/1.1");
	tls_want_unref(&w);
	ck_assert_int_eq(other->regex_match(other->rules[0].regex, STR("spiffe://a/b")), 1); /* its own, not the one that went */
	tls_want_unref(&other);
}
END_TEST

UNIT_SUITE("spec", a_check_may_offer_another_alpn_and_accepts_the_same_peers, endpoints_are_read_from_text, names_of_dns_have_their_bounds, a_spec_begins_with_its_defaults_and_is_equal_by_content,
	each_field_of_a_spec_is_in_its_hash, policies_have_the_names_of_the_configuration)
