/* sidecar/xfcc: what the app is told of a caller's certificate, whatever stands in it; and that nobody else says it. */
#include "sidecar/xfcc.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
#define SHOP "spiffe://cluster.local/ns/default/sa/shop"
#define CART "spiffe://cluster.local/ns/default/sa/cart"
#define XFCC "x-forwarded-client-cert"

static struct fields_pool *pool;

static void setup(void) { pool = fields_pool_new(); }
static void teardown(void) { fields_pool_free(&pool); }

static const char *text_of(const char *own, const char *subject, const char *const *uris, uint32_t nuris)
{
	static char out[XFCC_MAX + 1];
	struct uds_identity who = {.own_uri = own, .hash = HASH, .subject = subject, .uris = uris, .nuris = nuris};

	out[xfcc_text(&who, out)] = '\0';
	return out;
}

/* ---- the text ---- */

START_TEST(a_mesh_certificate_is_told_as_envoy_tells_it)
{
	static const char *const cart[] = {CART}, *const both[] = {CART, "spiffe://b/c"};

	ck_assert_str_eq(text_of(SHOP, "", cart, 1), "By=" SHOP ";Hash=" HASH ";Subject=\"\";URI=" CART);
	ck_assert_str_eq(text_of(SHOP, "", both, 2), "By=" SHOP ";Hash=" HASH ";Subject=\"\";URI=" CART ";URI=spiffe://b/c");
	ck_assert_str_eq(text_of("", "CN=cart,O=acme", NULL, 0), "Hash=" HASH ";Subject=\"CN=cart,O=acme\"");
}
END_TEST

START_TEST(a_subject_stays_within_its_quotes)
{
	static const struct { const char *subject, *told; } rows[] = {
		{"CN=a\\,b\\;c", "CN=a\\,b\\;c"},
		{"CN=a\\\"\\;URI=spiffe://evil", "CN=a\\\"\\;URI=spiffe://evil"},
		{"CN=a\";URI=spiffe://evil;X=\"", "CN=a\\\";URI=spiffe://evil;X=\\\""}, /* not RFC 2253, and not believed */
		{"CN=a\\\\", "CN=a\\5C"},               /* ends in a backslash: it must not swallow the closing quote */
		{"CN=a\\", "CN=a\\5C"},
		{"CN=a\\\\\\\"b", "CN=a\\5C\\\"b"},     /* a backslash and a quote: the quote stays escaped for everybody */
		{"CN=a\\\\\";X=\"", "CN=a\\5C\\\";X=\\\""},
		{"CN=caf\\C3\\A9", "CN=caf\\C3\\A9"},
		{"CN=caf\xc3\xa9", "CN=caf\\C3\\A9"},
		{"CN=a\r\nx-admin: 1", "CN=a\\0D\\0Ax-admin: 1"},
		{"CN=\\\n\x7f", "CN=\\5C\\0A\\7F"},
		{"#1303", "#1303"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *wanted = NULL;

		ck_assert_int_ge(asprintf(&wanted, "Hash=" HASH ";Subject=\"%s\"", rows[i].told), 0);
		ck_assert_str_eq(text_of("", rows[i].subject, NULL, 0), wanted);
		ck_assert(field_value_valid(wanted, strlen(wanted)));
		free(wanted);
	}
}
END_TEST

START_TEST(a_uri_that_holds_a_divider_stands_in_quotes)
{
	static const struct { const char *uri, *told; } rows[] = {
		{"spiffe://a/b", "spiffe://a/b"},
		{"http://h/x%20y?z", "http://h/x%20y?z"},
		{"urn:a;URI=spiffe://evil", "\"urn:a;URI=spiffe://evil\""},
		{"urn:a,By=b", "\"urn:a,By=b\""},
		{"urn:a=b", "\"urn:a=b\""},
		{"urn:a b", "\"urn:a b\""},
		{"urn:\";URI=spiffe://evil;X=\"", "\"urn:\\\";URI=spiffe://evil;X=\\\"\""},
		{"urn:a\\\";URI=x", "\"urn:a%5C\\\";URI=x\""},
		{"urn:a\\", "urn:a%5C"},
		{"urn:\r\n\x01\xc3\xa9", "urn:%0D%0A%01%C3%A9"},
		{"", ""},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		char *wanted = NULL;

		ck_assert_int_ge(asprintf(&wanted, "By=" SHOP ";Hash=" HASH ";Subject=\"\";URI=%s", rows[i].told), 0);
		ck_assert_str_eq(text_of(SHOP, "", &(const char *const){rows[i].uri}, 1), wanted);
		free(wanted);
	}
}
END_TEST

START_TEST(what_does_not_fit_is_left_out_whole)
{
	char *huge = malloc(XFCC_MAX + 2);
	const char *uris[300];

	memset(huge, 'u', XFCC_MAX + 1);
	huge[XFCC_MAX + 1] = '\0';
	for (size_t i = 0; i < UNIT_COUNT(uris); i++)
		uris[i] = CART;
	uris[1] = huge;
	ck_assert_str_eq(text_of(huge, huge, uris, 2), "Hash=" HASH ";Subject=\"\";URI=" CART);
	const char *all = text_of(SHOP, "", uris, UNIT_COUNT(uris));
	size_t n = strlen(all);
	ck_assert(n <= XFCC_MAX && n > XFCC_MAX - sizeof ";URI=" CART);
	ck_assert_str_eq(all + n - strlen(";URI=" CART), ";URI=" CART);
	for (size_t k = XFCC_MAX - XFCC_SUBJECT_MAX - 200; k < XFCC_MAX; k++) { /* wherever our own name ends, the hash and the subject are there */
		huge[k] = '\0';
		all = text_of(huge, "CN=x", uris, 1);
		ck_assert_ptr_nonnull(strstr(all, "Hash=" HASH ";Subject=\"CN=x\""));
		huge[k] = 'u';
	}
	memset(huge, '"', XFCC_SUBJECT_MAX);
	huge[XFCC_SUBJECT_MAX / 2 + 1] = '\0';
	ck_assert_str_eq(text_of("", huge, NULL, 0), "Hash=" HASH ";Subject=\"\""); /* half an escape is never told */
	free(huge);
}
END_TEST

/* ---- in a head ---- */

START_TEST(what_a_caller_wrote_is_gone_in_every_spelling_and_what_we_know_stands_alone)
{
	static const char *const forged[] = {XFCC, XFCC, "x_forwarded_client_cert", "x-forwarded_client-cert", "x-forwarded-client_cert", "x.forwarded.client.cert", "x-forwarded~client-cert"};
	static const char *const kept[] = {"x-forwarded-for", "x-forwarded-client-certs", "x-forwarded-client-cer", "y-forwarded-client-cert"};
	static const char *const cart[] = {CART};
	struct uds_identity who = {.own_uri = SHOP, .hash = HASH, .subject = "", .uris = cart, .nuris = 1};

	for (int known = 0; known < 2; known++) {
		struct fields *h = fields_new(pool, NULL);

		for (size_t i = 0; i < UNIT_COUNT(forged); i++)
			fields_add(h, str_of(forged[i]), STR("URI=spiffe://evil"));
		for (size_t i = 0; i < UNIT_COUNT(kept); i++)
			fields_add(h, str_of(kept[i]), STR("stays"));
		ck_assert_int_eq(xfcc_set(h, known ? &who : NULL), 0);
		uint32_t n = 0;
		fields_each(f, h) {
			bool ours = f->token == FIELD_X_FORWARDED_CLIENT_CERT;

			n++;
			ck_assert(str_is(str_n(f->value, f->value_len), ours ? "By=" SHOP ";Hash=" HASH ";Subject=\"\";URI=" CART : "stays"));
		}
		ck_assert_uint_eq(n, UNIT_COUNT(kept) + (unsigned)known);
		fields_unref(&h);
	}
}
END_TEST

START_TEST(a_head_for_which_there_is_no_memory_says_so)
{
	struct account account;
	static const char *const cart[] = {CART};
	struct uds_identity who = {.own_uri = SHOP, .hash = HASH, .subject = "", .uris = cart, .nuris = 1};
	int rc = 0;

	account_init(&account, NULL, "test", 65536);
	struct fields *h = fields_new(pool, &account);
	for (int i = 0; i < 1000 && rc == 0; i++)
		rc = fields_add(h, STR("x-other"), STR("0123456789012345678901234567890123456789"));
	ck_assert_int_lt(rc, 0);
	for (int i = 0; i < 10 && rc == 0; i++)
		rc = fields_add(h, STR("a"), STR("b"));
	ck_assert_int_lt(xfcc_set(h, &who), 0);
	ck_assert_ptr_null(fields_get(h, FIELD_X_FORWARDED_CLIENT_CERT));
	fields_unref(&h);
	account_end(&account);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("xfcc");
	TCase *t = tcase_create("xfcc");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_mesh_certificate_is_told_as_envoy_tells_it);
	tcase_add_test(t, a_subject_stays_within_its_quotes);
	tcase_add_test(t, a_uri_that_holds_a_divider_stands_in_quotes);
	tcase_add_test(t, what_does_not_fit_is_left_out_whole);
	tcase_add_test(t, what_a_caller_wrote_is_gone_in_every_spelling_and_what_we_know_stands_alone);
	tcase_add_test(t, a_head_for_which_there_is_no_memory_says_so);
	suite_add_tcase(s, t);
	return s;
}
