/* net/tls_cert, net/tls_trust, net/tls_csr: texts that are material and texts that are not, each problem told; what is equal; our own key; and that no key stays in memory, nor in a core. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "net/tls_int.h"
#include "tests/needle.h"
#include "tests/net/tlsrig.h"
#include "tests/unit.h"

enum { DAY = 86400, NOW = 1767225601 };

static char *both(const char *a, const char *b)
{
	return xasprintf("%s%s", a, b);
}

static bool has(const struct err *err, const char *text)
{
	return strstr(err_str(err), text) != NULL;
}

START_TEST(each_problem_of_a_certificate_is_told)
{
	static const char broken[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", begun[] = "-----BEGIN CERTIFICATE-----\nAAAA\n";
	struct tls_ca ca;
	struct tls_paper p, q, coder;
	char *encrypted;

	tls_ca_new(&ca, "authority", NOW);
	tls_paper_new(&p, &ca, "p", "", -DAY, DAY);
	tls_paper_new(&q, &ca, "q", "", -DAY, DAY);
	tls_paper_use(&coder, &ca, "coder", "", -DAY, DAY, "codeSigning");
	char *cert = tls_text(p.cert_fd), *key = tls_text(p.key_fd), *other = tls_text(q.key_fd), *code = tls_text(coder.cert_fd), *code_key = tls_text(coder.key_fd);
	BIO *b = BIO_new(BIO_s_mem());
	ck_assert_int_eq(PEM_write_bio_PrivateKey(b, p.key, EVP_aes_128_cbc(), (unsigned char *)"secret", 6, NULL, NULL), 1);
	long n = BIO_get_mem_data(b, &encrypted);
	encrypted = xstrndup(encrypted, (size_t)n);
	BIO_free(b);
	struct sb many = {0}, huge = {0};
	for (int i = 0; i < 34; i++)
		sb_str(&many, cert);
	while (huge.n <= 4 << 20)
		sb_str(&huge, cert);
	const struct { const char *chain, *key; int count; const char *says[2]; } rows[] = {
		{"", "", 2, {"WHAT: there is no certificate in it", "there is no private key in it"}}, {"garbage\n", key, 1, {"there is no certificate in it"}},
		{broken, key, 1, {"certificate 1 cannot be read"}}, {begun, key, 1, {"certificate 1 cannot be read"}}, {key, key, 1, {"there is no certificate in it"}},
		{cert, cert, 1, {"there is no private key in it (PEM: -----BEGIN PRIVATE KEY-----)"}}, {cert, NULL, 1, {"there is no private key in it"}}, {cert, other, 1, {"the key does not fit the certificate"}},
		{cert, encrypted, 1, {"the key is encrypted: a daemon has nobody to ask for the password"}}, {code, code_key, 1, {"allows neither a TLS client nor a TLS server"}},
		{many.p, key, 1, {"the chain is longer than 32 certificates"}}, {huge.p, key, 1, {"larger than 4 MiB"}}, {cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 1, {"the private key cannot be read"}},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_cert *c = NULL;
		struct err err = ERR_INIT;
		ck_assert_int_eq(tls_cert_new("WHAT", str_of(rows[i].chain), str_of(rows[i].key), &c, &err), -EINVAL);
		ck_assert_ptr_null(c);
		ck_assert_msg(err.count == rows[i].count, "row %zu: %s", i, err_str(&err));
		for (int s = 0; s < 2 && rows[i].says[s]; s++)
			ck_assert_msg(has(&err, rows[i].says[s]), "row %zu: %s", i, err_str(&err));
		err_clear(&err);
	}
	ck_assert_ptr_null(tls_lib_found()); /* and nothing is held */
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	char *const texts[] = {cert, key, other, code, code_key, encrypted};
	for (size_t i = 0; i < UNIT_COUNT(texts); i++)
		free(texts[i]);
	sb_end(&many);
	sb_end(&huge);
	tls_paper_end(&p);
	tls_paper_end(&q);
	tls_paper_end(&coder);
	tls_ca_end(&ca);
}
END_TEST

START_TEST(a_certificate_is_known_by_its_content_and_says_who_it_is)
{
	static const struct { const char *sans, *id; } rows[] = {{"DNS:a.b URI:spiffe://m/x URI:spiffe://m/y", "spiffe://m/x"}, {"IP:10.0.0.1 DNS:a.b", "a.b"}, {"", "CN=p"}};
	struct tls_ca ca;
	uint64_t seen[UNIT_COUNT(rows)];

	tls_ca_new(&ca, "authority", NOW);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct tls_paper p;
		struct tls_cert *a, *c;
		struct err err = ERR_INIT;
		struct sb text = {0};
		int64_t from, to;
		tls_paper_new(&p, &ca, "p", rows[i].sans, -DAY, DAY);
		char *cert = tls_text(p.cert_fd), *key = tls_text(p.key_fd), *one = both(key, cert);
		ck_assert_int_eq(tls_cert_new("a", str_of(cert), str_of(key), &a, &err), 0);
		ck_assert_int_eq(tls_cert_new("b", str_of(one), str_n(NULL, 0), &c, &err), 0); /* one text, in any order */
		ck_assert_uint_eq(tls_cert_hash(a), tls_cert_hash(c));
		seen[i] = tls_cert_hash(a);
		for (size_t j = 0; j < i; j++)
			ck_assert_uint_ne(seen[i], seen[j]);
		tls_cert_times(a, &from, &to);
		ck_assert(from == NOW - DAY && to == NOW + DAY);
		ck_assert_str_eq(tls_cert_id(a), rows[i].id);
		const char *json = tls_cert_text(a, &text);
		ck_assert_msg(strstr(json, "\"subject\":\"CN=p\",\"issuer\":\"CN=authority\",\"serial\":\"") && strstr(json, "\"not_before\":\"2025-12-31T00:00:01Z\",\"not_after\":\"2026-01-02T00:00:01Z\"") &&
			strstr(json, "\"key\":\"EC 256\",\"chain\":1"), "%s", json);
		ck_assert_msg(i != 0 || strstr(json, "\"sans\":[\"a.b\",\"spiffe://m/x\",\"spiffe://m/y\"]"), "%s", json);
		sb_end(&text);
		tls_cert_unref(&a);
		tls_cert_unref(&c);
		free(cert);
		free(key);
		free(one);
		tls_paper_end(&p);
	}
	tls_ca_end(&ca);
}
END_TEST

START_TEST(roots_are_equal_in_any_order_and_however_often_they_are_there)
{
	struct tls_ca a, b;
	struct err err = ERR_INIT;
	uint64_t hash[6];

	tls_ca_new(&a, "a", NOW);
	tls_ca_new(&b, "b", NOW + DAY);
	char *ta = tls_text(a.fd), *tb = tls_text(b.fd), *crl = tls_crl_text(&a, NULL, DAY), *ab = both(ta, tb), *ba = both(tb, ta), *aba = both(ab, ta), *abc = both(ab, crl);
	const char *const texts[6] = {ab, ba, aba, ta, abc, ab};
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct tls_trust *t;
		struct sb text = {0};
		ck_assert_msg(tls_trust_new("t", str_of(texts[i]), i == 5 ? "m" : NULL, &t, &err) == 0, "%s", err_str(&err));
		hash[i] = tls_trust_hash(t);
		ck_assert_int_eq(tls_trust_expires(t), NOW + 10 * DAY);
		struct tls_last_root last;
		ck_assert(tls_trust_last_root(t, &last));
		ck_assert_int_eq(last.ends, NOW + (i == 3 ? 10 : 11) * DAY);
		ck_assert_str_eq(last.subject, i == 3 ? "CN=a" : "CN=b");
		ck_assert(i == 5 ? strcmp(last.domain, "m") == 0 : !last.domain);
		tls_trust_text(t, &text);
		if (i == 4)
			ck_assert_str_eq(text.p, "\"roots\":[{\"subject\":\"CN=a\",\"not_after\":\"2026-01-11T00:00:01Z\"},{\"subject\":\"CN=b\",\"not_after\":\"2026-01-12T00:00:01Z\"}],\"count\":2,\"crls\":1,"
				"\"trust_domains\":[]");
		ck_assert(i != 2 || strstr(text.p, "\"count\":2"));
		ck_assert(i != 5 || strstr(text.p, "\"trust_domains\":[\"m\"]"));
		if (i == 5) { /* of two domains it is the one that is over first */
			ck_assert_int_eq(tls_trust_more(t, "t", str_of(ta), "n", &err), 0);
			ck_assert(tls_trust_last_root(t, &last) && last.ends == NOW + 10 * DAY && strcmp(last.domain, "n") == 0);
			ck_assert_str_eq(last.subject, "CN=a");
		}
		sb_end(&text);
		tls_trust_unref(&t);
	}
	ck_assert(hash[0] == hash[1] && hash[0] == hash[2]);
	for (int i = 3; i < 6; i++)
		for (int j = 2; j < i; j++)
			ck_assert_uint_ne(hash[i], hash[j]);
	char *const all[] = {ta, tb, crl, ab, ba, aba, abc};
	for (size_t i = 0; i < UNIT_COUNT(all); i++)
		free(all[i]);
	tls_ca_end(&a);
	tls_ca_end(&b);
}
END_TEST

START_TEST(roots_stand_for_a_certificate_or_it_is_said_why_not)
{
	struct tls_ca ca, other, sub;
	struct tls_paper p, q;
	struct err err = ERR_INIT;
	struct tls_trust *domain = NULL;

	tls_ca_new(&ca, "authority", NOW);
	tls_ca_new(&other, "other", NOW);
	tls_ca_below(&sub, &ca, "between");
	tls_paper_new(&p, &ca, "p", "URI:spiffe://a/b", -DAY, DAY);
	tls_paper_use(&q, &sub, "q", "URI:spiffe://a/b", -DAY, DAY, "clientAuth");
	char *root = tls_text(ca.fd), *between = tls_text(sub.fd), *leaf = tls_text(q.cert_fd), *key = tls_text(q.key_fd), *whole = both(leaf, between);
	struct tls_trust *t = tls_trust_of(&ca), *o = tls_trust_of(&other);
	struct tls_cert *direct = tls_cert_of(&p), *alone = tls_cert_of(&q), *chain = NULL;
	ck_assert_int_eq(tls_cert_new("t", str_of(whole), str_of(key), &chain, &err), 0);
	ck_assert_int_eq(tls_trust_new("t", str_of(root), "elsewhere", &domain, &err), 0);
	const struct { const struct tls_trust *trust; const struct tls_cert *cert; int64_t now; const char *says; } rows[] = {
		{t, direct, NOW, NULL}, {t, chain, NOW, NULL}, {t, alone, NOW, "unable to get"}, {o, direct, NOW, "unable to get"}, {o, chain, NOW, "CN=between"},
		{t, direct, NOW + 2 * DAY, "expired"}, {t, direct, NOW - 2 * DAY, "not yet valid"}, {domain, direct, NOW, "no bundle for the trust domain of 'spiffe://a/b'"},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		int r = tls_trust_verifies(rows[i].trust, rows[i].cert, rows[i].now, &err);
		ck_assert_msg(r == (rows[i].says ? -EKEYREJECTED : 0) && (!rows[i].says || has(&err, rows[i].says)), "row %zu: %d '%s'", i, r, err_str(&err));
		err_clear(&err);
	}
	ck_assert_int_eq(tls_trust_more(domain, "t", str_of(root), "a", &err), 0);
	ck_assert_int_eq(tls_trust_verifies(domain, direct, NOW, &err), 0);
	tls_trust_unref(&t), tls_trust_unref(&o), tls_trust_unref(&domain);
	tls_cert_unref(&direct), tls_cert_unref(&alone), tls_cert_unref(&chain);
	free(root), free(between), free(leaf), free(key), free(whole);
	tls_paper_end(&p), tls_paper_end(&q);
	tls_ca_end(&ca), tls_ca_end(&other), tls_ca_end(&sub);
}
END_TEST

START_TEST(each_problem_of_roots_is_told)
{
	static const char bad_cert[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", bad_crl[] = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
	struct tls_ca ca;
	struct err err = ERR_INIT;
	struct tls_trust *t = NULL;

	tls_ca_new(&ca, "authority", NOW);
	char *good = tls_text(ca.fd), *crl = tls_crl_text(&ca, NULL, DAY), *two = both(bad_cert, bad_crl);
	struct sb huge = {0}, many = {0};
	while (huge.n <= 4 << 20)
		sb_str(&huge, good);
	for (int i = 0; i < 4097; i++)
		sb_str(&many, bad_cert);
	const struct { const char *text; const char *says[2]; } rows[] = {
		{"", {"t: there is no certificate in it"}}, {crl, {"there is no certificate in it"}}, {two, {"certificate 1 cannot be read", "CRL 1 cannot be read"}},
		{huge.p, {"larger than 4 MiB"}}, {many.p, {"more than 4096 certificates and CRLs"}},
	};
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		ck_assert_int_eq(tls_trust_new("t", str_of(rows[i].text), NULL, &t, &err), -EINVAL);
		ck_assert_ptr_null(t);
		for (int s = 0; s < 2 && rows[i].says[s]; s++)
			ck_assert_msg(has(&err, rows[i].says[s]) || err.count > 100, "row %zu: %s", i, err_str(&err));
		err_clear(&err);
	}
	ck_assert_int_eq(tls_trust_new("t", str_of(good), "d0", &t, &err), 0);
	for (int i = 1; i < TRUST_DOMAINS_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "d%d", i);
		ck_assert_int_eq(tls_trust_more(t, "t", str_of(good), name, &err), 0);
	}
	ck_assert_int_eq(tls_trust_more(t, "t", str_of(good), "one more", &err), -EINVAL);
	ck_assert(has(&err, "more than 128 trust domains"));
	err_clear(&err);
	tls_trust_unref(&t);
	free(good);
	free(crl);
	free(two);
	sb_end(&huge);
	sb_end(&many);
	tls_ca_end(&ca);
}
END_TEST

/* ---- our own key ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(a_request_carries_the_uri_and_fits_its_key)
{
	struct sb csr = {0};
	struct err err = ERR_INIT;
	char *key = NULL;
	size_t n = 0;

	ck_assert_int_eq(tls_csr_new("spiffe://cluster.local/ns/default/sa/shop", &csr, &key, &n, &err), 0);
	BIO *b = BIO_new_mem_buf(csr.p, (int)csr.n), *k = BIO_new_mem_buf(key, (int)n);
	X509_REQ *req = PEM_read_bio_X509_REQ(b, NULL, NULL, NULL);
	EVP_PKEY *priv = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
	ck_assert(req && priv && X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) == 1);
	ck_assert_int_eq(EVP_PKEY_eq(priv, X509_REQ_get0_pubkey(req)), 1);
	ck_assert_int_eq(EVP_PKEY_get_bits(priv), 256);
	ck_assert_int_eq(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
	ck_assert(strncmp(key, "-----BEGIN PRIVATE KEY-----", 27) == 0);
	STACK_OF(X509_EXTENSION) *ext = X509_REQ_get_extensions(req);
	int critical;
	GENERAL_NAMES *sans = X509V3_get_d2i(ext, NID_subject_alt_name, &critical, NULL);
	ck_assert(sk_GENERAL_NAME_num(sans) == 1 && critical == 1);
	const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, 0);
	ck_assert_int_eq(san->type, GEN_URI);
	ck_assert(str_is(str_n((const char *)ASN1_STRING_get0_data(san->d.ia5), (size_t)ASN1_STRING_length(san->d.ia5)), "spiffe://cluster.local/ns/default/sa/shop"));
	GENERAL_NAMES_free(sans);
	sk_X509_EXTENSION_pop_free(ext, X509_EXTENSION_free);
	X509_REQ_free(req);
	EVP_PKEY_free(priv);
	BIO_free(b);
	BIO_free(k);
	tls_wipe_free(&key, n);
	ck_assert_ptr_null(key);
	sb_end(&csr);
	ck_assert_ptr_null(tls_lib_found());
}
END_TEST

START_TEST(while_a_key_is_held_anywhere_no_core_is_dumped)
{
	struct tls_ca ca;
	struct tls_paper p;
	struct sb csr = {0};
	struct err err = ERR_INIT;
	char *key, *plain = xstrdup("no key of ours");
	size_t n;

	tls_ca_new(&ca, "authority", NOW);
	tls_paper_new(&p, &ca, "p", "", -DAY, DAY);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	struct tls_trust *t = tls_trust_of(&ca);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1); /* roots are no secret */
	struct tls_cert *a = tls_cert_of(&p), *b = tls_cert_of(&p), *again = tls_cert_ref(a);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
	ck_assert_int_eq(tls_csr_new("spiffe://m/x", &csr, &key, &n, &err), 0);
	tls_cert_unref(&a);
	tls_cert_unref(&b);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
	struct tls_context *c;
	ck_assert_int_eq(tls_context_new(&(struct tls_spec){.cert = again, .trust = t}, &c, &err), 0);
	tls_cert_unref(&again);
	tls_wipe_free(&plain, 14); /* what is not one of ours counts for nothing */
	tls_wipe_free(&key, n);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0); /* the context holds it */
	tls_context_unref(&c);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	prctl(PR_SET_DUMPABLE, 0); /* an administrator's, or a service manager's, wish is kept */
	a = tls_cert_of(&p);
	tls_cert_unref(&a);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
	prctl(PR_SET_DUMPABLE, 1);
	tls_trust_unref(&t);
	sb_end(&csr);
	tls_paper_end(&p);
	tls_ca_end(&ca);
}
END_TEST

/* ---- no key stays ------------------------------------------------------------------------------------------------------------------------- */

/* In a process of its own, so that this one has never seen the key. Gives memfds: certificate and key in one text; the needle. */
static void made_elsewhere(int *pem_fd, int *needle_fd)
{
	char path[32];

	tls_file("", 0, pem_fd, path);
	tls_file("", 0, needle_fd, path);
	pid_t pid = fork();
	if (pid == 0) {
		struct tls_ca ca;
		struct tls_paper p;
		struct needle nd;
		tls_ca_new(&ca, "authority", NOW);
		tls_paper_new(&p, &ca, "p", "DNS:a.b", -DAY, DAY);
		char *cert = tls_text(p.cert_fd), *key = tls_text(p.key_fd);
		bool ok = needle_of(key, &nd);
		ok = ok && write(*pem_fd, cert, strlen(cert)) > 0 && write(*pem_fd, key, strlen(key)) > 0 && write(*needle_fd, &nd, sizeof(nd)) == sizeof(nd);
		_exit(ok ? 0 : 1);
	}
	int status;
	ck_assert(waitpid(pid, &status, 0) == pid && status == 0);
}

START_TEST(a_key_that_was_freed_is_nowhere_in_memory)
{
#if defined(__SANITIZE_ADDRESS__)
	return; /* it does not let memory be read that is nobody's */
#endif
	struct needle nd;
	struct err err = ERR_INIT;
	struct tls_cert *c;
	struct tls_context *context;
	int pem_fd, needle_fd;

	made_elsewhere(&pem_fd, &needle_fd);
	ck_assert_int_eq(pread(needle_fd, &nd, sizeof(nd), 0), sizeof(nd));
	off_t n = lseek(pem_fd, 0, SEEK_END);
	char *pem = xalloc((size_t)n + 1);
	ck_assert_int_eq(pread(pem_fd, pem, (size_t)n, 0), n);
	ck_assert_int_eq(tls_cert_new("p", str_n(pem, (size_t)n), str_n(NULL, 0), &c, &err), 0);
	ck_assert_int_eq(tls_context_new(&(struct tls_spec){.cert = c}, &context, &err), 0);
	struct needle_found found = needle_look(&nd);
	ck_assert(found.as_text >= 1 && found.as_number >= 1); /* so the search finds them */
	tls_wipe_free(&pem, (size_t)n);
	tls_cert_unref(&c);
	tls_context_unref(&context);
	found = needle_look(&nd);
	ck_assert_int_eq(found.as_text, 0);
	ck_assert_int_eq(found.as_number, 0);
	close(pem_fd);
	close(needle_fd);
}
END_TEST

UNIT_SUITE("tls_material", each_problem_of_a_certificate_is_told, a_certificate_is_known_by_its_content_and_says_who_it_is, roots_are_equal_in_any_order_and_however_often_they_are_there,
	each_problem_of_roots_is_told, roots_stand_for_a_certificate_or_it_is_said_why_not, a_request_carries_the_uri_and_fits_its_key, while_a_key_is_held_anywhere_no_core_is_dumped, a_key_that_was_freed_is_nowhere_in_memory)
