/* sidecar/page_certs: see the header. A mesh has a handful of secrets; a control plane may name thousands, of which the first CERTS_MOST are told, and how many there are.
 *
 *   secrets (net/transport's list) --whose (sidecar/identities)--> rows of /certs, lines of /stats */
#include "sidecar/page_certs.h"
#include <stdlib.h>
#include "sidecar/identities.h"
#include "sidecar/pages.h"
#include "sidecar/page_stats.h"
#include "sidecar/sidecar.h"

enum { CERTS_MOST = 256 };
static const uint64_t second_ns = UINT64_C(1000000000);

struct certs {
	struct sidecar *sc;    /* borrowed */
	struct sb *b;          /* borrowed */
	int64_t now_s;
	uint32_t told, left;
	const struct metric *metric;
	uint64_t seen[CERTS_MOST]; /* of /stats: hashes of what samples say of themselves, told of them */
};

static int64_t now_s_of(const struct sidecar *sc)
{
	return (int64_t)(sc->loop->ops->wall_ns(sc->loop->ops_ctx) / second_ns);
}

static const char *state_name(enum secret_state s)
{
	return s == SECRET_READY ? "ready" : s == SECRET_FAILING ? "failing" : "waiting";
}

static void member(struct sb *b, const char *key, const char *text)
{
	sb_fmt(b, ",\"%s\":", key);
	sb_json(b, str_of(text));
}

static void number(struct sb *b, const char *key, int64_t n)
{
	sb_fmt(b, ",\"%s\":%lld", key, (long long)n);
}

/* Unix time of its end; 0: unknown. Of roots: of the last of them, from when on nobody is trusted. */
static int64_t ends_s(const struct secret *s)
{
	struct tls_last_root last;
	int64_t from, to = 0;

	if (s->cert)
		tls_cert_times(s->cert, &from, &to);
	else if (s->trust && tls_trust_last_root(s->trust, &last))
		to = last.ends;
	return to;
}

static int64_t first_ends_s(const struct secret *s)
{
	return s->trust ? tls_trust_expires(s->trust) : 0;
}

/* left_s and ended_s: whole numbers from now on, so that nobody has to know what the time is there. */
static void json_end(struct sb *b, int64_t ends, int64_t now)
{
	number(b, "expires_unix", ends);
	number(b, "left_s", ends > now ? ends - now : 0);
	if (ends <= now)
		number(b, "ended_s", now - ends);
}

static void json_last_root(struct sb *b, const struct secret *s)
{
	struct tls_last_root last;

	if (!tls_trust_last_root(s->trust, &last))
		return;
	member(b, "last_root", last.subject);
	if (last.domain)
		member(b, "last_root_of", last.domain);
	number(b, "first_expires_unix", first_ends_s(s));
}

/* In how long a CA is asked again: 0: now. Nobody says when files and agents give the next one. */
static void json_renews(struct sb *b, const struct identity_info *id, int64_t now)
{
	int64_t at = (int64_t)(id->renews_wall_ns / second_ns);

	if (id->kind != IDENTITY_CA)
		return;
	number(b, "renews_unix", at > now ? at : now);
	number(b, "renews_s", at > now ? at - now : 0);
}

/* ---- /certs ---- */

static void json_secret(void *ctx, struct secret *s)
{
	struct certs *c = ctx;
	struct sb *b = c->b;
	struct identity_info id;
	bool own = identities_own(c->sc->identities, s, &id);

	if (c->told == CERTS_MOST) {
		c->left++;
		return;
	}
	sb_fmt(b, "%s{\"kind\":\"%s\"", c->told++ ? "," : "", s->kind == SECRET_CERT ? "certificate" : "roots");
	member(b, "app", own ? id.app : "");
	member(b, "name", own ? id.name : s->name);
	member(b, "source", s->source);
	member(b, "state", state_name(s->state));
	number(b, "changes", (int64_t)s->generation);
	number(b, "failures", (int64_t)s->failures);
	if (s->put_wall_ns)
		number(b, "since_s", c->now_s - (int64_t)(s->put_wall_ns / second_ns));
	if (s->why || (own && *id.last_error && s == id.cert))
		member(b, "why", s->why ? s->why : id.last_error);
	if (s->cert) {
		member(b, "id", tls_cert_id(s->cert));
		sb_char(b, ',');
		tls_cert_text(s->cert, b);
	} else if (s->trust) {
		sb_char(b, ',');
		tls_trust_text(s->trust, b);
		json_last_root(b, s);
	}
	if (ends_s(s))
		json_end(b, ends_s(s), c->now_s);
	if (own && s == id.cert)
		json_renews(b, &id, c->now_s);
	sb_char(b, '}');
}

void page_certs(struct local_call *c)
{
	struct transports_info info;
	struct certs all = {.sc = c->sc, .b = &c->body, .now_s = now_s_of(c->sc)};

	c->type = "application/json";
	sb_str(&c->body, "{\"secrets\":[");
	transports_each_secret(c->sc->transports, json_secret, &all);
	transports_info(c->sc->transports, &info);
	sb_fmt(&c->body, "],\"more\":%u,\"transports\":%u,\"contexts\":%u,\"stores\":%u}\n", all.left, info.transports, info.contexts, info.stores);
}

/* ---- /status ---- */

/* roots_ending: the log has warned of it. */
static void json_roots(struct sb *b, const struct secret *roots, int64_t now)
{
	struct tls_last_root last;

	if (!roots->trust || !tls_trust_last_root(roots->trust, &last))
		return;
	number(b, "roots_expire_unix", last.ends);
	number(b, "roots_left_s", last.ends > now ? last.ends - now : 0);
	if (last.ends <= now)
		number(b, "roots_ended_s", now - last.ends);
	member(b, "last_root", last.subject);
	sb_fmt(b, ",\"roots_ending\":%s", roots->warned ? "true" : "false");
}

void page_certs_identity(const struct sidecar *sc, const char *app, struct sb *b)
{
	struct identity_info id;
	int64_t from, to, now = now_s_of(sc);

	if (!identities_info(sc->identities, app, &id))
		return;
	sb_str(b, ",\"identity\":{\"id\":");
	sb_json(b, str_of(id.name));
	member(b, "kind", identity_kind_name(id.kind));
	member(b, "source", id.cert->source);
	member(b, "state", state_name(id.cert->state));
	member(b, "roots", state_name(id.roots->state));
	if (id.cert->cert) {
		tls_cert_times(id.cert->cert, &from, &to);
		number(b, "age_s", now > from ? now - from : 0);
		json_end(b, to, now);
	}
	json_roots(b, id.roots, now);
	json_renews(b, &id, now);
	if (*id.last_error)
		member(b, "why", id.last_error);
	sb_char(b, '}');
}

/* ---- /stats ---- */

struct metric { const char *name, *kind, *help; enum secret_kind of; int64_t (*value)(const struct secret *s); };
static int64_t is_ready(const struct secret *s) { return s->state == SECRET_READY; }
static int64_t changes(const struct secret *s) { return (int64_t)s->generation; }
static int64_t failures(const struct secret *s) { return (int64_t)s->failures; }
static const struct metric metrics[] = {
	{"certificate_expires_seconds", "gauge", "When a certificate of ours ends, as Unix time", SECRET_CERT, ends_s},
	{"certificate_ready", "gauge", "1 while there is a certificate, 0 while it is waited for or cannot be had", SECRET_CERT, is_ready},
	{"certificate_changes_total", "counter", "Certificates that came, the first one included", SECRET_CERT, changes},
	{"certificate_failures_total", "counter", "Times a certificate could not be had, renewed or taken over", SECRET_CERT, failures},
	{"roots_expires_seconds", "gauge", "When the first root of a bundle ends, as Unix time", SECRET_ROOTS, first_ends_s},
	{"roots_last_expires_seconds", "gauge", "When the last root of a bundle ends and nobody is trusted by it any more (of several trust domains: the soonest), as Unix time", SECRET_ROOTS, ends_s},
	{"roots_changes_total", "counter", "Bundles of roots that came, the first one included", SECRET_ROOTS, changes},
	{"roots_failures_total", "counter", "Times a bundle of roots could not be had or taken over", SECRET_ROOTS, failures},
};

static void metric_secret(void *ctx, struct secret *s)
{
	struct certs *c = ctx;
	struct identity_info id;
	const struct metric *m = c->metric;

	if (s->kind != m->of || c->told == CERTS_MOST || ((m->value == ends_s || m->value == first_ends_s) && !m->value(s)))
		return;
	bool own = identities_own(c->sc->identities, s, &id);
	const char *app = own ? id.app : "", *name = own ? id.name : s->name;
	uint64_t hash = str_hash_seeded(str_of(app), str_hash_seeded(str_of(name), str_hash(str_of(s->source))));
	/* Two views may have a secret of one name from one server. A sample that is there twice makes Prometheus refuse the whole page. */
	for (uint32_t i = 0; i < c->told; i++)
		if (c->seen[i] == hash)
			return;
	c->seen[c->told++] = hash;
	sb_fmt(c->b, "thinmesh_%s{", m->name);
	page_label(c->b, "app", app);
	sb_char(c->b, ',');
	page_label(c->b, "name", name);
	sb_char(c->b, ',');
	page_label(c->b, "source", s->source);
	sb_fmt(c->b, "} %lld\n", (long long)m->value(s));
}

void page_certs_stats(struct sidecar *sc, struct sb *b)
{
	for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
		struct certs c = {.sc = sc, .b = b, .metric = &metrics[i]};

		sb_fmt(b, "# HELP thinmesh_%s %s\n# TYPE thinmesh_%s %s\n", metrics[i].name, metrics[i].help, metrics[i].name, metrics[i].kind);
		transports_each_secret(sc->transports, metric_secret, &c);
	}
}
