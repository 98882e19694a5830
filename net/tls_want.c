/* net/tls_want: see the header. What is declared is compared by content: two clusters that ask for the same have equal hashes, whatever way they were written.
 * A rule's regex counts by its text: who compiled it, and whether, does not change what it asks for. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "net/tls_want.h"

static uint64_t add_number(uint64_t h, uint64_t n)
{
	return str_hash_seeded(str_n((const char *)&n, sizeof(n)), h);
}

/* NULL and "" are two things: no SNI, and an empty one. */
static uint64_t add_text(uint64_t h, const char *text)
{
	return text ? str_hash_seeded(str_of(text), add_number(h, strlen(text) + 1)) : add_number(h, 0);
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

void secret_ref_set(struct secret_ref *r, enum secret_kind kind, enum secret_from from, struct str name)
{
	char *copy = xstrndup(name.n ? name.p : "", name.n); /* before the old one goes: it may be a part of it */

	free(r->name);
	*r = (struct secret_ref){kind, from, copy};
}

const char *secret_from_name(enum secret_from f)
{
	static const char *const names[] = {[SECRET_NOWHERE] = "nowhere", [SECRET_SYSTEM] = "system", [SECRET_IDENTITY] = "identity", [SECRET_SDS] = "sds", [SECRET_ADS] = "ads",
		[SECRET_INSTANCE] = "instance", [SECRET_FILES] = "files", [SECRET_INLINE] = "inline"};

	return (size_t)f < sizeof(names) / sizeof(*names) ? names[f] : "?";
}

struct tls_want *tls_want_new(void)
{
	struct tls_want *w = xnew(struct tls_want);

	w->refs = 1;
	secret_ref_set(&w->cert, SECRET_CERT, SECRET_NOWHERE, STR(""));
	secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_NOWHERE, STR(""));
	w->alpn = xstrdup("h2");
	w->names = TLS_NAMES_ANY;
	return w;
}

struct tls_want *tls_want_mesh(const char *sni)
{
	struct tls_want *w = tls_want_new();

	secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, STR(""));
	secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_IDENTITY, STR(""));
	free(w->alpn);
	w->alpn = xstrdup("istio-h2,istio,h2");
	w->sni = sni ? xstrdup(sni) : NULL;
	w->names = TLS_NAMES_DOMAIN;
	return w;
}

void tls_want_rule(struct tls_want *w, enum tls_name on, enum tls_rule_kind kind, struct str text)
{
	w->rules = xrealloc(w->rules, (w->nrules + 1) * sizeof(*w->rules));
	w->rules[w->nrules++] = (struct tls_rule){.on = on, .kind = kind, .text = xstrndup(text.n ? text.p : "", text.n)};
}

void tls_want_unref(struct tls_want **at)
{
	struct tls_want *w = *at;

	*at = NULL;
	if (!w || --w->refs)
		return;
	for (uint32_t i = 0; i < w->nrules; i++) {
		if (w->rules[i].regex && w->regex_free)
			w->regex_free(w->rules[i].regex);
		free(w->rules[i].text);
	}
	for (uint32_t i = 0; i < w->npins; i++)
		free(w->pins[i]);
	free(w->rules);
	free(w->pins);
	if (w->cert.from == SECRET_INLINE) /* a private key is part of it */
		explicit_bzero(w->cert.name, strlen(w->cert.name));
	free(w->cert.name);
	free(w->roots.name);
	free(w->sni);
	free(w->alpn);
	free(w->unbuilt);
	free(w);
}

void tls_want_seal(struct tls_want *w)
{
	const uint64_t all[] = {w->cert.from, w->roots.from, w->names, w->nrules, w->npins, w->min, w->max, w->no_client_cert, w->expired_ok, w->host_sni, w->issuers};
	uint64_t h = str_hash(str_n((const char *)all, sizeof(all)));

	h = add_text(add_text(h, w->cert.name), w->roots.name);
	h = add_text(add_text(add_text(h, w->sni), w->alpn), w->unbuilt);
	for (uint32_t i = 0; i < w->nrules; i++)
		h = add_text(add_number(h, (uint64_t)w->rules[i].on << 16 | (uint64_t)w->rules[i].kind << 1 | w->rules[i].ignore_case), w->rules[i].text);
	for (uint32_t i = 0; i < w->npins; i++)
		h = add_text(h, w->pins[i]);
	w->hash = h;
}

bool tls_want_eq(const struct tls_want *a, const struct tls_want *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->hash != b->hash || a->cert.from != b->cert.from || a->roots.from != b->roots.from || a->names != b->names || a->nrules != b->nrules || a->npins != b->npins ||
		a->min != b->min || a->max != b->max || a->no_client_cert != b->no_client_cert || a->expired_ok != b->expired_ok || a->host_sni != b->host_sni || a->issuers != b->issuers)
		return false;
	if (!same(a->cert.name, b->cert.name) || !same(a->roots.name, b->roots.name) || !same(a->sni, b->sni) || !same(a->alpn, b->alpn) || !same(a->unbuilt, b->unbuilt))
		return false;
	for (uint32_t i = 0; i < a->nrules; i++)
		if (a->rules[i].on != b->rules[i].on || a->rules[i].kind != b->rules[i].kind || a->rules[i].ignore_case != b->rules[i].ignore_case || !same(a->rules[i].text, b->rules[i].text))
			return false;
	for (uint32_t i = 0; i < a->npins; i++)
		if (!same(a->pins[i], b->pins[i]))
			return false;
	return true;
}
