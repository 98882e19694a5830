/* Answers that give us certificates: the first byte chooses CreateCertificateResponse (and what net/tls makes of its PEM) or a DiscoveryResponse of an SDS server (and what decode_secret makes of
 * the secret in it). What is found lies inside of the bytes, is what a slow reader finds, and nothing is left. */
#include <stdio.h>
#include <stdlib.h>
#include "net/tls.h"
#include "xds/csr_message.h"
#include "xds/decode_secret.h"
#include "xds/guard.h"
#include "xds/sds_message.h"
#include "xds/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static bool inside(struct str part, struct str whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* The same with copies: all entries but the last, a newline behind each. False: refused. */
static bool slow_chain(struct str bytes, struct sb *chain, struct sb *last)
{
	struct wire w = wire_of(bytes);
	struct wire_field f;
	uint32_t n = 0;
	int more;

	while ((more = wire_next(&w, &f)) > 0) {
		if (f.number != 1)
			continue;
		if (f.type != WIRE_BYTES || memchr(f.bytes.p, 0, f.bytes.n) || ++n > CSR_ENTRIES_MAX)
			return false;
		if (n > 1) {
			sb_add(chain, last->p, last->n);
			sb_char(chain, '\n');
		}
		last->n = 0;
		sb_add(last, f.bytes.p, f.bytes.n);
	}
	return more == 0 && n >= 2;
}

static void make_something(const struct csr_answer *a)
{
	struct sb csr = {0};
	struct err err = ERR_INIT;
	struct tls_cert *cert = NULL;
	struct tls_trust *trust = NULL;
	char *key;
	size_t key_n;
	int64_t from, to;

	if (tls_trust_new("fuzz", a->roots, NULL, &trust, &err) == 0)
		tls_trust_expires(trust);
	tls_trust_unref(&trust);
	if (str_starts(a->chain, STR("-----BEGIN"))) {
		insist(tls_csr_new("spiffe://a/b", &csr, &key, &key_n, &err) == 0);
		if (tls_cert_new("fuzz", a->chain, str_n(key, key_n), &cert, &err) == 0)
			tls_cert_times(cert, &from, &to);
		tls_cert_unref(&cert);
		tls_wipe_free(&key, key_n);
		sb_end(&csr);
	}
	err_clear(&err);
}

static void answer(struct str bytes)
{
	struct sb chain = {0}, last = {0}, why = {0};
	struct csr_answer a;
	char *copy = xalloc(bytes.n + 1);
	bool good = slow_chain(bytes, &chain, &last);

	memcpy(copy, bytes.p, bytes.n);
	int r = csr_answer_read(copy, bytes.n, &a, &why);
	insist((r == 0) == good && (r == 0) == (why.n == 0));
	if (good) {
		insist(str_eq(a.chain, sb_view(&chain)) && str_eq(a.roots, sb_view(&last)));
		insist(inside(a.chain, str_n(copy, bytes.n)) && inside(a.roots, str_n(copy, bytes.n)));
		insist(a.entries >= 2 && a.entries <= CSR_ENTRIES_MAX);
		make_something(&a);
	}
	free(copy);
	sb_end(&chain);
	sb_end(&last);
	sb_end(&why);
}

static void discovery(struct str bytes)
{
	static const char name[] = "default";
	struct sb problem = {0};
	struct sds_message m;

	if (sds_message_read(bytes, STR("default"), &m, &problem) == 0) {
		insist(m.found == (problem.n == 0));
		insist(guard_text_valid(m.nonce) && guard_text_valid(m.version) && guard_text_valid(sb_view(&problem)));
		insist(inside(m.secret, bytes) || !m.found);
		for (int kind = 0; m.found && kind < 2; kind++) {
			struct tls_cert *cert = NULL;
			struct tls_trust *trust = NULL;
			struct str called;
			problem.n = 0;
			if (secret_decode(m.secret, kind ? SECRET_ROOTS : SECRET_CERT, &cert, &trust, &called, &problem, NULL) == 0)
				insist(str_is(called, name) && (kind ? trust && !cert : cert && !trust));
			else
				insist(!cert && !trust && problem.n > 0);
			tls_cert_unref(&cert);
			tls_trust_unref(&trust);
		}
	}
	sb_end(&problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		discovery(str_n((const char *)data + 1, size - 1));
	else
		answer(str_n((const char *)data + 1, size - 1));
	return 0;
}
