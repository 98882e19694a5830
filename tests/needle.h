/* tests/needle: is a private key anywhere in our memory? Who looks must never have seen it: the key is made in another process, which tells what to look for with each byte turned over. */
#pragma once
#include <stdio.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include "tests/unit.h"

enum { NEEDLE_SCALAR = 32 /* P-256 */ };
struct needle { unsigned char scalar[NEEDLE_SCALAR]; char text[32]; };
struct needle_found { int as_number /* big-endian bytes, or as OpenSSL computes */, as_text /* PEM */; };

/* In the other process. */
static inline bool needle_of(const char *key_pem, struct needle *ret)
{
	BIO *b = BIO_new_mem_buf(key_pem, -1);
	EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
	BIGNUM *d = NULL;
	bool ok = key && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1 && BN_bn2binpad(d, ret->scalar, NEEDLE_SCALAR) == NEEDLE_SCALAR;

	memcpy(ret->text, strchr(key_pem, '\n') + 1 + 60 / 2, sizeof(ret->text)); /* of the first line, where the key's own bytes are */
	for (size_t i = 0; i < sizeof(*ret); i++)
		((unsigned char *)ret)[i] ^= 0xff;
	BN_clear_free(d);
	EVP_PKEY_free(key);
	BIO_free(b);
	return ok;
}

static inline bool needle_is_here(const unsigned char *at, const unsigned char *needle, size_t n, bool backwards)
{
	for (size_t i = 0; i < n; i++)
		if ((at[i] ^ needle[backwards ? n - 1 - i : i]) != 0xff)
			return false;
	return true;
}

/* In all that we may write. Not under AddressSanitizer, which does not let memory be read that is nobody's. */
static inline struct needle_found needle_look(const struct needle *nd)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], perms[8], *text;
	unsigned long from, to;
	struct needle_found found = {0};

	ck_assert_ptr_nonnull(maps);
	while ((text = fgets(line, sizeof(line), maps))) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3 || strncmp(perms, "rw", 2) != 0 || to - from > (64ul << 20))
			continue;
		for (const unsigned char *p = (const unsigned char *)from; p + NEEDLE_SCALAR <= (const unsigned char *)to; p++) {
			found.as_number += needle_is_here(p, nd->scalar, NEEDLE_SCALAR, false) || needle_is_here(p, nd->scalar, NEEDLE_SCALAR, true);
			found.as_text += needle_is_here(p, (const unsigned char *)nd->text, sizeof(nd->text), false);
		}
	}
	fclose(maps);
	return found;
}
