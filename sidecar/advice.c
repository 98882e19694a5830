/* sidecar/advice: see the header. */
#include "sidecar/advice.h"
#include <stdio.h>
#include <string.h>

enum { WHOSE_MAX = 300, TEXT_MAX = 1000 };

static void insecure(const struct conf_service *s, const struct advice *to)
{
	char whose[WHOSE_MAX];
	if (!s->spec || !s->spec->want || s->spec->want->roots.from != SECRET_NOWHERE)
		return;
	snprintf(whose, sizeof whose, "service '%.200s'", s->name);
	to->say(to->ctx, s->place, whose, "tls.insecure: its endpoints are NOT verified, whoever answers there is believed and can read all calls");
}

void advice_conf(const struct conf *c, const struct advice *to)
{
	for (uint32_t i = 0; i < c->nservices; i++)
		insecure(&c->services[i], to);
}

/* Files say who the app is, whatever is configured. An agent and a CA are asked for a name, and say themselves what they gave instead. */
void advice_cert(const struct conf_identity *id, const char *app, const char *wanted, const struct tls_cert *cert, const struct advice *to)
{
	const char *is = tls_cert_id(cert);
	char whose[WHOSE_MAX], text[TEXT_MAX];
	if (id->kind != IDENTITY_FILES || !str_starts(str_of(is), STR("spiffe://")) || strcmp(is, wanted) == 0)
		return;
	snprintf(whose, sizeof whose, "app '%.200s'", app);
	snprintf(text, sizeof text, "the certificate is of '%.300s'; by service_account, trust_domain and the namespace, or their defaults, the app is '%.300s'", is, wanted);
	to->say(to->ctx, id->place, whose, text);
}
