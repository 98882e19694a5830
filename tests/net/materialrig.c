/* tests/net/materialrig: see the header. */
#include "tests/net/materialrig.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit.h"

char *rig_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = xalloc(65536);
	ssize_t n = read(fd, text, 65535);

	ck_assert_int_gt(n, 0);
	close(fd);
	return text;
}

void rig_put_cert(struct secret *s, const struct tls_paper *p)
{
	const char *why = "";
	int r = secret_put_cert(s, tls_cert_of(p), &why);

	ck_assert_msg(r == 0, "%s", why);
}

void rig_put_trust(struct secret *s, const struct tls_ca *ca)
{
	const char *why = "";
	int r = secret_put_trust(s, tls_trust_of(ca), &why);

	ck_assert_msg(r == 0, "%s", why);
}

static struct secret *space_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct rig_space *r = ctx;
	struct secret *s = ref->kind == SECRET_CERT ? r->cert : r->roots;

	if (!s)
		*why = "the app has no identity";
	return s ? secret_ref(s) : NULL;
}

void rig_space(struct rig_space *r, struct secret *cert, struct secret *roots)
{
	*r = (struct rig_space){.cert = cert, .roots = roots, .space = {.get = space_get, .ctx = r}};
}

struct tls_want *rig_want(bool shows)
{
	struct tls_want *w = tls_want_new();

	secret_ref_set(&w->cert, SECRET_CERT, shows ? SECRET_IDENTITY : SECRET_NOWHERE, STR(""));
	secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_IDENTITY, STR(""));
	return w;
}
