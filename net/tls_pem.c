/* net/tls_pem: PEM texts cut into blocks, and what people read of certificates.
 * OpenSSL's own PEM readers skip what they do not look for, decoding it into memory that they do not wipe: where certificates and a key lie in one text, that would be the key. So blocks are
 * found here, and each is given to the reader of its kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "net/tls_int.h"

enum { LABEL_MAX = 64 };

static bool find_text(struct str s, struct str what, size_t *ret)
{
	const char *at = s.n ? memmem(s.p, s.n, what.p, what.n) : NULL;

	if (at)
		*ret = (size_t)(at - s.p);
	return at != NULL;
}

bool tls_pem_next(struct str *left, struct str *label, struct str *block)
{
	size_t begin, dashes, end, tail;

	while (find_text(*left, STR("-----BEGIN "), &begin)) {
		struct str from = str_cut(*left, begin, left->n), after = str_cut(from, 11, from.n);
		if ((begin > 0 && left->p[begin - 1] != '\n') || !find_text(after, STR("-----"), &dashes) || dashes > LABEL_MAX) {
			*left = after;
			continue;
		}
		*label = str_n(after.p, dashes);
		if (!find_text(after, STR("-----END "), &end) || !find_text(str_cut(after, end + 9, after.n), STR("-----"), &tail)) {
			*block = from; /* cut off: the reader of its kind will say so */
			*left = str_n(NULL, 0);
			return true;
		}
		size_t whole = 11 + end + 9 + tail + 5;
		*block = str_cut(from, 0, whole);
		*left = str_cut(from, whole, from.n);
		return true;
	}
	return false;
}

int tls_pem_no_password(char *buf, int size, int writing, void *asked)
{
	(void)buf, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

const char *tls_pem_reason(const struct tls_lib *o)
{
	unsigned long e = o->ERR_peek_last_error();
	const char *text = e ? o->ERR_reason_error_string(e) : NULL;

	return text ? text : "unknown reason";
}

int64_t tls_time(const struct tls_lib *o, const ASN1_TIME *t)
{
	struct tm tm = {0};

	return t && o->ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

const char *tls_time_text(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		memcpy(out, "?", 2);
	return out;
}

const char *tls_subject(const struct tls_lib *o, const X509_NAME *name, char *out, size_t cap)
{
	BIO *b = o->BIO_new(o->BIO_s_mem());
	int n = 0;

	/* XN_FLAG_RFC2253 escapes what is not printable. */
	if (b && name && o->X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) >= 0)
		n = o->BIO_read(b, out, (int)cap - 1);
	out[n > 0 ? n : 0] = 0;
	if (b)
		o->BIO_free(b);
	return out;
}

void tls_add_clean(char *out, size_t cap, struct str s)
{
	size_t n = strlen(out);

	for (size_t i = 0; i < s.n; i++) {
		if (n + 4 >= cap) {
			memcpy(out + n, "...", 4 <= cap - n ? 4 : 1);
			break;
		}
		out[n++] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?';
		out[n] = 0;
	}
}

struct tls_id tls_x509_id(const struct tls_lib *o, const X509 *x)
{
	unsigned char md[EVP_MAX_MD_SIZE];
	struct tls_id id = {{0}};
	unsigned n = 0;

	if (o->X509_digest(x, o->EVP_sha256(), md, &n) == 1 && n == sizeof(id.sha))
		memcpy(id.sha, md, sizeof(id.sha));
	return id;
}
