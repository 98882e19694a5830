/* conf/spec: cluster specs: built by one, sealed, then shared and never changed. Endpoint sets: conf/endpoints. See the header. */
#include "conf/spec.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "conf/health.h"
#include "conf/regex.h"

static const uint64_t second_ns = 1000000000;

struct cluster_spec *spec_new(const char *name)
{
	struct cluster_spec *s = xnew(struct cluster_spec);

	s->refs = 1;
	s->name = xstrdup(name);
	s->lb = LB_LEAST_REQUEST;
	s->choices = 2;
	s->connect_timeout_ns = 5 * second_ns;
	s->idle_timeout_ns = 3600 * second_ns;
	s->verify_after_ns = 10 * second_ns;
	s->max_connections = 1024;
	s->max_pending = 1024;
	s->max_requests = 1000000;
	s->max_connections_per_host = 8;
	s->max_streams = 0;
	s->panic_percent = 50;
	s->overprovisioning = 140;
	s->ring_min = 1024;
	s->ring_max = 8388608;
	return s;
}

void spec_unref(struct cluster_spec **s)
{
	struct cluster_spec *old = *s;

	*s = NULL;
	if (!old || --old->refs > 0)
		return;
	for (uint32_t i = 0; i < old->ntls; i++) {
		for (uint32_t k = 0; k < old->tls[i].npairs; k++) {
			free(old->tls[i].pairs[k].key);
			free(old->tls[i].pairs[k].value);
		}
		free(old->tls[i].pairs);
		free(old->tls[i].name);
		tls_want_unref(&old->tls[i].want);
	}
	for (uint32_t i = 0; i < old->nchecks; i++)
		health_check_end(&old->checks[i]);
	free(old->checks);
	free(old->outlier);
	free(old->tls);
	free(old->tls_name);
	tls_want_unref(&old->want);
	free(old->name);
	free(old);
}

const char *lb_kind_name(enum lb_kind k)
{
	static const char *const names[] = {"round_robin", "random", "least_request", "ring_hash", "maglev"};

	return (unsigned)k < sizeof(names) / sizeof(names[0]) ? names[k] : "?";
}

bool lb_kind_is_built(enum lb_kind k)
{
	return k == LB_ROUND_ROBIN || k == LB_RANDOM || k == LB_LEAST_REQUEST;
}

/* 0 means "not sealed": no content may have it. */
static uint64_t never_zero(uint64_t hash)
{
	return hash ? hash : 1;
}

/* With its NUL, so that "ab", "c" and "a", "bc" differ; NULL is like nothing else. */
static uint64_t text_hash(const char *text, uint64_t seed)
{
	return text ? str_hash_seeded(str_n(text, strlen(text) + 1), seed) : str_hash_seeded(str_n("", 0), seed);
}

struct tls_want *spec_want_alpn(const struct tls_want *from, const char *alpn)
{
	struct ration nobody = {.account = NULL};
	struct tls_want *w = tls_want_new();
	char why[REGEX_WHY];

	secret_ref_set(&w->cert, SECRET_CERT, from->cert.from, str_of(from->cert.name));
	secret_ref_set(&w->roots, SECRET_ROOTS, from->roots.from, str_of(from->roots.name));
	free(w->alpn);
	w->alpn = xstrdup(alpn);
	w->sni = from->sni ? xstrdup(from->sni) : NULL;
	w->host_sni = from->host_sni;
	w->names = from->names;
	w->min = from->min;
	w->max = from->max;
	w->no_client_cert = from->no_client_cert;
	w->issuers = from->issuers;
	w->expired_ok = from->expired_ok;
	w->unbuilt = from->unbuilt ? xstrdup(from->unbuilt) : NULL;
	w->regex_match = from->regex_match;
	w->regex_free = from->regex_free;
	for (uint32_t i = 0; i < from->nrules; i++) {
		const struct tls_rule *rule = &from->rules[i];
		struct regex *regex = NULL;

		tls_want_rule(w, rule->on, rule->kind, str_of(rule->text));
		w->rules[i].ignore_case = rule->ignore_case;
		/* It was compiled once, so nothing is wrong with it; should there be no memory for it twice, it fits nobody. */
		if (rule->regex && regex_new(&nobody, str_of(rule->text), &regex, why) == 0)
			w->rules[i].regex = regex;
	}
	w->pins = from->npins ? xalloc(from->npins * sizeof(*w->pins)) : NULL;
	for (w->npins = 0; w->npins < from->npins; w->npins++)
		w->pins[w->npins] = xstrdup(from->pins[w->npins]);
	tls_want_seal(w);
	return w;
}

void spec_seal(struct cluster_spec *s)
{
	const uint64_t all[] = {s->lb, s->choices, s->connect_timeout_ns, s->idle_timeout_ns, s->verify_after_ns, s->max_connections,
		s->max_pending, s->max_requests, s->max_connections_per_host, s->max_streams, s->panic_percent, s->overprovisioning,
		s->locality_weighted, s->one_address, s->ring_min, s->ring_max, s->removal_hold_ns, s->want ? s->want->hash : 0, s->ntls,
		s->ignore_health_on_removal, s->nchecks, s->outlier ? outlier_hash(s->outlier) : 0};
	uint64_t h = text_hash(s->tls_name, text_hash(s->name, str_hash(str_n((const char *)all, sizeof(all)))));

	for (uint32_t i = 0; i < s->ntls; i++) {
		const struct tls_row *row = &s->tls[i];
		const uint64_t head[] = {row->want ? row->want->hash : 0, row->npairs};

		h = text_hash(row->name, str_hash_seeded(str_n((const char *)head, sizeof(head)), h));
		for (uint32_t k = 0; k < row->npairs; k++)
			h = text_hash(row->pairs[k].value, text_hash(row->pairs[k].key, h));
	}
	for (uint32_t i = 0; i < s->nchecks; i++) {
		const uint64_t check = health_check_hash(&s->checks[i]);

		h = str_hash_seeded(str_n((const char *)&check, sizeof(check)), h);
	}
	s->hash = never_zero(h);
}
