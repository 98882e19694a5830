/* sidecar/allow: who may call what. The lists are the tests' own: how they are written is conf's. */
#include "sidecar/allow.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CART "spiffe://cluster.local/ns/shop/sa/cart"
#define NOBODY NULL
#define NAMELESS ""

enum { WORDS = 4 };
/* "a b | c": an entry's ids, and its paths behind the bar. */
struct lists { struct conf_allow_peer e[WORDS]; char *ids[WORDS][WORDS], *paths[WORDS][WORDS]; char text[WORDS][512]; uint32_t n; };

static void lists_add(struct lists *l, const char *text)
{
	uint32_t i = l->n++;
	struct conf_allow_peer *e = &l->e[i];
	bool paths = false;
	char *save;

	e->ids = l->ids[i];
	e->paths = l->paths[i];
	snprintf(l->text[i], sizeof l->text[i], "%s", text);
	for (char *w = strtok_r(l->text[i], " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (strcmp(w, "|") == 0)
			paths = true;
		else if (paths)
			e->paths[e->npaths++] = w;
		else
			e->ids[e->nids++] = w;
	}
}

/* uris: blanks between; NAMELESS: a certificate without one; NOBODY: none. The path is not NUL-terminated: who reads behind it is caught by ASan. */
static enum allow_answer asked(const struct lists *l, const char *uris, const char *path)
{
	char text[512];
	const char *list[WORDS];
	struct uds_identity who = {.own_uri = "", .hash = "00", .subject = "", .uris = list};
	size_t n = strlen(path);
	char *copy = malloc(n ? n : 1), *save;

	memcpy(copy, path, n);
	snprintf(text, sizeof text, "%s", uris ? uris : "");
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		list[who.nuris++] = w;
	enum allow_answer a = allow_ask(l->e, l->n, uris ? &who : NULL, str_n(copy, n));
	free(copy);
	return a;
}

/* ---- whom ---- */

START_TEST(an_id_is_meant_exactly_or_as_a_prefix)
{
	static const struct { const char *entry, *caller; bool in; } rows[] = {
		{CART, CART, true},
		{CART, NOBODY, false},
		{CART, NAMELESS, false},
		{CART, CART "2", false},
		{CART, "spiffe://cluster.local/ns/shop/sa/car", false},
		{CART, "spiffe://cluster.local/ns/shop/sa/Cart", false},
		{CART, "spiffe://other/ns/shop/sa/cart", false},
		{"spiffe://cluster.local/ns/shop/*", CART, true},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop/", true},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop", false},
		{"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop2/sa/cart", false},
		{"spiffe://cluster.local/*", "spiffe://cluster.local.evil/ns/shop/sa/cart", false},
		{"*", CART, true},
		{"*", NAMELESS, true}, /* a certificate that was verified, by whatever name */
		{"*", NOBODY, false},
		{"spiffe://*", NAMELESS, false},
		{"spiffe://x/*/sa/cart", "spiffe://x/ns/sa/cart", false}, /* a star elsewhere is a star */
		{"", NOBODY, true},
		{"", CART, true},
		{"spiffe://a/b " CART, CART, true},
		{CART, "spiffe://a/b " CART, true}, /* one of several names is enough */
		{CART, "spiffe://a/b spiffe://c/d", false},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct lists l = {.n = 0};

		lists_add(&l, rows[i].entry);
		ck_assert_msg((asked(&l, rows[i].caller, "/a.B/c") == ALLOW_YES) == rows[i].in, "row %zu: '%s' for '%s'", i, rows[i].entry, rows[i].caller ? rows[i].caller : "nobody");
	}
}
END_TEST

START_TEST(without_lists_everybody_may_call_everything)
{
	struct lists none = {.n = 0};

	ck_assert_int_eq(asked(&none, NOBODY, "/a/../b"), ALLOW_YES);
	ck_assert_int_eq(asked(&none, CART, "*"), ALLOW_YES);
}
END_TEST

/* ---- what ---- */

START_TEST(a_path_is_compared_without_its_query)
{
	static const struct { const char *entry, *path; bool in; } rows[] = {
		{"| /shop.Cart/add", "/shop.Cart/add", true},
		{"| /shop.Cart/add", "/shop.Cart/add?x=1", true},
		{"| /shop.Cart/add", "/shop.Cart/add?", true},
		{"| /shop.Cart/add", "/shop.Cart/add?x=//../%2f", true}, /* a query is no path */
		{"| /shop.Cart/add", "/shop.Cart/addAll", false},
		{"| /shop.Cart/add", "/shop.Cart/ad", false},
		{"| /shop.Cart/add", "/shop.Cart/Add", false},
		{"| /shop.Cart/add", "/shop.Cart/%61dd", false}, /* another spelling is another path */
		{"| /shop.Cart/add", "/shop.Cart/add/", false},
		{"| /shop.Cart/*", "/shop.Cart/add", true},
		{"| /shop.Cart/*", "/shop.Cart/", true},
		{"| /shop.Cart/*", "/shop.Cart", false},
		{"| /shop.Cart/*", "/shop.CartAdmin/drop", false},
		{"| /a /b/*", "/b/c", true},
		{"| /a /b/*", "/c", false},
		{"| *", "/whatever", true},
		{"| /*", "/", true},
		{"| /caf%C3%A9/*", "/caf%C3%A9/x", true},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct lists l = {.n = 0};

		lists_add(&l, rows[i].entry);
		ck_assert_msg(asked(&l, NOBODY, rows[i].path) == (rows[i].in ? ALLOW_YES : ALLOW_NO), "row %zu: %s for %s", i, rows[i].path, rows[i].entry);
	}
}
END_TEST

START_TEST(a_path_that_a_server_may_take_for_another_one_is_refused_where_paths_are_ruled)
{
	static const char *const unsafe[] = {
		"", "*", "a.B/c", "http://host/public/x",
		"//", "//public/x", "/public//admin", "/public//", "/public/./x", "/public/.", "/./public/x", "/public/../admin", "/public/..", "/..", "/.",
		"/public/..;/admin", "/public/..;x=1/admin", "/public/.;/x", "/public/..;",
		"/public/%2e%2e/admin", "/public/%2E./admin", "/public/.%2e/admin", "/public%2f..%2fadmin", "/public/x%2Fy", "/public/..%5cadmin", "/public/..\\admin", "/public\\..\\admin",
		"/public/%252e%252e/admin", "/public/%00", "/public/%c0%af", "/public/%C0%ae%C0%AE/x", "/public/..%3b/admin", "/public/%e0%80%ae%E0%80%ae/admin", "/public/%f0%80%80%af", "/public/\xc0\xae\xc0\xae/admin", "/public/.\t./admin", "/public/. ./admin", "/public/\x7f", "/public/caf\xc3\xa9",
		"/public/%", "/public/%2", "/public/%zz", "/public/%u002e", "/public/x#/../admin",
	};
	static const char *const plain[] = {"/public/x", "/public/", "/public/.well-known/x", "/public/..x", "/public/x..", "/public/...", "/public/a;b=c/d", "/public/%20%61", "/public/;/x", "/public/%e2%82%ac/%E0%A4%85/%f0%9f%98%80/%e0", "/"};

	for (size_t i = 0; i < UNIT_COUNT(unsafe); i++) {
		struct lists l = {.n = 0}, ids = {.n = 0};

		lists_add(&l, "| /public/* *");
		ck_assert_msg(asked(&l, CART, unsafe[i]) == ALLOW_UNSAFE, "'%s' was not refused", unsafe[i]);
		lists_add(&ids, "*");
		ck_assert_msg(asked(&ids, CART, unsafe[i]) == ALLOW_YES, "'%s': no rule is about paths", unsafe[i]);
		lists_add(&ids, "spiffe://nobody | /x"); /* one rule is enough, whomever it is for */
		ck_assert_msg(asked(&ids, CART, unsafe[i]) == ALLOW_UNSAFE, "'%s' was not refused", unsafe[i]);
	}
	for (size_t i = 0; i < UNIT_COUNT(plain); i++) {
		struct lists l = {.n = 0};

		lists_add(&l, "| /public/* /");
		ck_assert_msg(asked(&l, CART, plain[i]) == ALLOW_YES, "'%s' was refused", plain[i]);
	}
}
END_TEST

/* ---- both ---- */

START_TEST(the_first_entry_that_fits_in_both_lets_in)
{
	static const struct { const char *caller, *path; bool in; } rows[] = {
		{CART, "/shop.Cart/add", true},
		{CART, "/shop.Admin/drop", false}, /* its own entry has not this path, the admin's not its id */
		{"spiffe://cluster.local/ns/ops/sa/root", "/shop.Admin/drop", true},
		{"spiffe://cluster.local/ns/ops/sa/root", "/shop.Cart/add", false},
		{NOBODY, "/grpc.health.v1.Health/Check", true},
		{CART, "/grpc.health.v1.Health/Check", true},
		{NOBODY, "/shop.Cart/add", false},
	};
	struct lists l = {.n = 0};

	lists_add(&l, CART " | /shop.Cart/*");
	lists_add(&l, "spiffe://cluster.local/ns/ops/* | /shop.Admin/*");
	lists_add(&l, "| /grpc.health.v1.Health/*");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg((asked(&l, rows[i].caller, rows[i].path) == ALLOW_YES) == rows[i].in, "row %zu", i);
}
END_TEST

UNIT_SUITE("allow", an_id_is_meant_exactly_or_as_a_prefix, without_lists_everybody_may_call_everything, a_path_is_compared_without_its_query,
	a_path_that_a_server_may_take_for_another_one_is_refused_where_paths_are_ruled, the_first_entry_that_fits_in_both_lets_in)
