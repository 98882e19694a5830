/* A Secret from whoever serves secrets, as a certificate and as roots: taken whole or refused with one reason, twice the same, its name inside of the bytes, and nothing of a key in any text.
 * The keys of the corpus were made for it, and are of nobody. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xds/decode_secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

/* The first bytes of a key, anywhere in a text. */
static bool tells_key(struct str bytes, struct str text)
{
	static const char begins[] = "PRIVATE KEY-----\n";
	enum { ENOUGH = 24 };
	const char *key = bytes.n ? memmem(bytes.p, bytes.n, begins, sizeof(begins) - 1) : NULL;

	if (!key || (size_t)(bytes.p + bytes.n - key) < sizeof(begins) - 1 + ENOUGH)
		return false;
	return memmem(text.p, text.n, key + sizeof(begins) - 1, ENOUGH);
}

static uint64_t decode(const uint8_t *data, size_t size, enum secret_kind want)
{
	struct tls_cert *cert = NULL;
	struct tls_trust *trust = NULL;
	struct sb problems = {0}, notes = {0};
	struct str name = STR("");
	uint64_t hash = 0;
	int code = secret_decode(str_n((const char *)data, size), want, &cert, &trust, &name, &problems, &notes);

	insist(code <= 0 && (code == 0) == (problems.n == 0));
	insist((cert != NULL) == (code == 0 && want == SECRET_CERT) && (trust != NULL) == (code == 0 && want == SECRET_ROOTS));
	insist(name.n == 0 || ((const uint8_t *)name.p >= data && (const uint8_t *)name.p + name.n <= data + size));
	if (cert) {
		int64_t from, to;
		tls_cert_times(cert, &from, &to);
		insist(tls_cert_id(cert) != NULL);
		hash = tls_cert_hash(cert);
	} else if (trust) {
		hash = tls_trust_hash(trust);
	}
	insist(!problems.n || (!memchr(problems.p, '\n', problems.n) && !tells_key(str_n((const char *)data, size), sb_view(&problems))));
	tls_cert_unref(&cert);
	tls_trust_unref(&trust);
	sb_end(&problems);
	sb_end(&notes);
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int kind = SECRET_CERT; kind <= SECRET_ROOTS; kind++)
		insist(decode(data, size, (enum secret_kind)kind) == decode(data, size, (enum secret_kind)kind));
	return 0;
}
