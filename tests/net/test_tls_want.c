/* net/tls_want: what is declared of TLS is equal where it asks for the same, and different in each thing that it may ask for. */
#include <stdlib.h>
#include "base/mem.h"
#include "net/tls_want.h"
#include "tests/unit.h"

enum { CHANGES = 23 };

/* The nth change that makes it another. */
static void change(struct tls_want *w, int n)
{
	switch (n) {
	case 0: secret_ref_set(&w->cert, SECRET_CERT, SECRET_SDS, STR("default")); break;
	case 1: secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, STR("other")); break;
	case 2: secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_SYSTEM, STR("")); break;
	case 3: secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_IDENTITY, STR("x")); break;
	case 4: free(w->sni); w->sni = NULL; break;
	case 5: free(w->sni); w->sni = xstrdup(""); break;
	case 6: free(w->alpn); w->alpn = NULL; break;
	case 7: w->names = TLS_NAMES_ANY; break;
	case 8: tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, STR("a")); break;
	case 9: tls_want_rule(w, TLS_NAME_DNS, TLS_EXACT, STR("a")); break;
	case 10: tls_want_rule(w, TLS_NAME_URI, TLS_PREFIX, STR("a")); break;
	case 11: tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, STR("a")); w->rules[0].ignore_case = true; break;
	case 12: tls_want_rule(w, TLS_NAME_URI, TLS_EXACT, STR("ab")); break;
	case 13: w->pins = xnew(char *); w->pins[0] = xstrdup("sha256:00"); w->npins = 1; break;
	case 14: w->min = 0x0304; break;
	case 15: w->max = 0x0303; break;
	case 16: w->no_client_cert = true; break;
	case 17: w->expired_ok = true; break;
	case 18: w->unbuilt = xstrdup("custom_validator_config"); break;
	case 19: free(w->alpn); w->alpn = xstrdup("h2"); break;
	case 20: w->issuers = 1; break;
	case 21: w->issuers = 2; break;
	case 22: w->host_sni = true; break;
	}
}

START_TEST(each_thing_that_may_be_asked_for_makes_another_and_the_same_makes_none)
{
	struct tls_want *plain = tls_want_mesh("a.b"), *w[CHANGES];

	tls_want_seal(plain);
	for (int i = 0; i < CHANGES; i++) {
		struct tls_want *again = tls_want_mesh("a.b");
		w[i] = tls_want_mesh("a.b");
		change(w[i], i);
		change(again, i);
		tls_want_seal(w[i]);
		tls_want_seal(again);
		ck_assert_msg(tls_want_eq(w[i], again) && w[i]->hash == again->hash, "change %d", i);
		ck_assert_msg(!tls_want_eq(w[i], plain) && w[i]->hash != plain->hash, "change %d", i);
		for (int j = 0; j < i; j++)
			ck_assert_msg(!tls_want_eq(w[i], w[j]) && w[i]->hash != w[j]->hash, "changes %d and %d", i, j);
		tls_want_unref(&again);
	}
	for (int i = 0; i < CHANGES; i++) {
		uint64_t hash = w[i]->hash;
		w[i]->hash = plain->hash; /* and the hash alone is not believed */
		ck_assert_msg(!tls_want_eq(w[i], plain), "change %d", i);
		w[i]->hash = hash;
		tls_want_unref(&w[i]);
		ck_assert_ptr_null(w[i]);
	}
	tls_want_unref(&plain);
	tls_want_unref(&plain);
}
END_TEST

START_TEST(a_new_one_shows_and_verifies_nothing_and_a_mesh_one_is_what_istio_means)
{
	struct tls_want *w = tls_want_new(), *m = tls_want_mesh(NULL);

	ck_assert(w->cert.from == SECRET_NOWHERE && w->roots.from == SECRET_NOWHERE && w->names == TLS_NAMES_ANY);
	ck_assert_str_eq(w->cert.name, "");
	ck_assert_str_eq(w->alpn, "h2");
	ck_assert(m->cert.from == SECRET_IDENTITY && m->cert.kind == SECRET_CERT && m->roots.from == SECRET_IDENTITY && m->roots.kind == SECRET_ROOTS);
	ck_assert(m->names == TLS_NAMES_DOMAIN && !m->sni);
	ck_assert_str_eq(m->alpn, "istio-h2,istio,h2");
	tls_want_unref(&w);
	tls_want_unref(&m);
}
END_TEST

static void forget(void *regex)
{
	(*(int *)regex)++;
}

START_TEST(the_last_holder_frees_it_with_its_regexes)
{
	struct tls_want *w = tls_want_new(), *second = tls_want_ref(w);
	int freed = 0;

	tls_want_rule(w, TLS_NAME_ANY, TLS_REGEX, STR("a.*"));
	tls_want_rule(w, TLS_NAME_ANY, TLS_EXACT, STR("a"));
	w->rules[0].regex = &freed;
	w->regex_free = forget;
	tls_want_unref(&w);
	ck_assert_int_eq(freed, 0);
	tls_want_unref(&second);
	ck_assert_int_eq(freed, 1);
}
END_TEST

START_TEST(sources_have_names)
{
	for (int i = SECRET_NOWHERE; i <= SECRET_INLINE; i++) {
		ck_assert_str_ne(secret_from_name(i), "?");
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(secret_from_name(i), secret_from_name(j));
	}
	ck_assert_str_eq(secret_from_name(SECRET_INLINE + 1), "?");
}
END_TEST

UNIT_SUITE("tls_want", each_thing_that_may_be_asked_for_makes_another_and_the_same_makes_none, a_new_one_shows_and_verifies_nothing_and_a_mesh_one_is_what_istio_means,
	the_last_holder_frees_it_with_its_regexes, sources_have_names)
