/* sidecar/identity: one identity: who an app is, by the certificate and the roots of one provider (files, an agent's SDS, a CA), and what the log says of them. See identities_int.h.
 *
 *   identity_new --> provider_begin --> its two secrets are filled --> cert_came, roots_came (told; who waits goes on)
 *   identity_change: provider_end, provider_begin: the secrets stay, with what they have
 *   the certificate ends --> told, the provider is asked anew (xds/csr does so itself) */
#include "sidecar/identities_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/secret_files.h"
#include "sidecar/advice.h"
#include "xds/csr.h"
#include "xds/node.h"
#include "xds/sds.h"

enum { LOOK_S = 3600 /* how long the wall's clock is trusted to go with ours */ };

/* ---- the log ---------------------------------------------------------------------------------------------------------------- */

/* It was used to its end. An agent may have had another one that could not be taken then: it is asked anew. */
static void cert_ended(struct timer *t)
{
	struct identity *id = container_of(t, struct identity, ends);
	struct loop *l = id->all->sc->loop;
	int64_t from, to, now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000);
	char day[32], text[WHY_MAX];
	if (id->csr || !id->cert->cert) /* xds/csr does so itself */
		return;
	tls_cert_times(id->cert->cert, &from, &to);
	if (now <= to) {
		uint64_t left = (uint64_t)(to - now) + 1;
		timer_in(l, &id->ends, (left < LOOK_S ? left : LOOK_S) * UINT64_C(1000000000), cert_ended);
		return;
	}
	if (id->end_told == id->cert->generation)
		return;
	id->end_told = id->cert->generation;
	snprintf(text, sizeof text, "the certificate has expired at %s, and no other one has come from %s%s%.300s", tls_time_text(to, day), id->cert->source, id->cert->why ? ": " : "",
		id->cert->why ? id->cert->why : "");
	log_error(id->all->sc->log, "app '%s': %s; peers will refuse it", id->app, text);
	secret_fail(id->cert, text);
	if (id->sds)
		sds_again(id->sds, "what it brought has expired");
	if (id->all->files)
		secret_files_look(id->all->files);
}

void identity_watch_end(struct identity *id)
{
	if (id->key && !id->csr && id->cert->cert)
		timer_in(id->all->sc->loop, &id->ends, 0, cert_ended);
}

static void advise(void *ctx, const char *place, const char *whose, const char *text)
{
	const struct identity *id = ctx;
	(void)place;
	log_warn(id->all->sc->log, "%s: %s", whose, text);
}

/* Not at each renewal. */
void identity_advise(struct identity *id)
{
	uint64_t name = id->key && id->cert->cert ? str_hash(str_of(tls_cert_id(id->cert->cert))) : 0;
	if (id->advised == name)
		return;
	id->advised = name;
	if (!name)
		return;
	advice_cert(id->conf, id->app, id->spiffe_id, id->cert->cert, &(struct advice){.say = advise, .ctx = id});
}

static void cert_came(struct secret_watch *w)
{
	struct identity *id = container_of(w, struct identity, cert_watch);
	const struct secret *s = id->cert;
	int64_t from, to;
	char day[32];
	if (s->cert && s->generation != id->cert_told) {
		id->cert_told = s->generation;
		tls_cert_times(s->cert, &from, &to);
		log_info(id->all->sc->log, "app '%s': certificate '%s' until %s, of %s", id->app, tls_cert_id(s->cert), tls_time_text(to, day), s->source);
		identity_advise(id);
		identity_watch_end(id);
	}
	identities_prepared_maybe(id->all);
}

static void roots_came(struct secret_watch *w)
{
	struct identity *id = container_of(w, struct identity, roots_watch);
	const struct secret *s = id->roots;
	if (s->trust && s->generation != id->roots_told) {
		if (id->roots_told)
			log_info(id->all->sc->log, "app '%s': other roots, of %s", id->app, s->source);
		id->roots_told = s->generation;
	}
	identities_prepared_maybe(id->all);
}

static void files_tell(void *ctx, const struct secret *s, const char *why)
{
	struct identities *i = ctx;
	const char *of = "";
	list_each(n, tmp, &i->identities) {
		const struct identity *id = list_entry(n, struct identity, node);
		if (id->cert == s || id->roots == s)
			of = id->app;
	}
	char name[160];
	snprintf(name, sizeof name, "%s", s->name);
	for (char *p = name; *p; p++)
		if (*p == '\n')
			*p = ' ';
	const char *what = s->kind == SECRET_CERT ? "certificate" : "roots";
	if (why)
		log_warn(i->sc->log, "%s%s%s%s '%s': %s; %s", *of ? "app '" : "", of, *of ? "': " : "", what, name, why,
			s->state == SECRET_READY ? "what there was stays in use" : "what needs it fails until it is there");
	else
		log_info(i->sc->log, "%s%s%s%s '%s': well again", *of ? "app '" : "", of, *of ? "': " : "", what, name);
}

/* ---- providers --------------------------------------------------------------------------------------------------------------- */

static struct secret_ref ref_of(enum secret_kind kind, enum secret_from from, char *name)
{
	return (struct secret_ref){.kind = kind, .from = from, .name = name};
}

/* Made with the first who asks: where there is no TLS, nothing of it is there, and no chance is drawn. */
struct secret_files *identities_files(struct identities *i)
{
	if (!i->files) {
		i->files = secret_files_new(i->sc->loop, i->transports, sidecar_reader(i->sc));
		secret_files_set_tell(i->files, files_tell, i);
	}
	return i->files;
}

void identities_files_look(struct identities *i)
{
	if (i->files)
		secret_files_look(i->files);
}

static void fill_files(struct identities *i, enum secret_kind kind, const char *a, const char *b, struct secret *s)
{
	char *name = xasprintf("%s%s%s", a, b ? "\n" : "", b ? b : "");
	struct secret_ref ref = ref_of(kind, SECRET_FILES, name);
	secret_files_fill(identities_files(i), &ref, s);
	free(name);
}

void identities_fill_system(struct secret *s)
{
	struct err err = ERR_INIT;
	struct tls_trust *trust = tls_trust_system(&err);
	const char *why;
	char text[SECRET_WHY];
	secret_hand(s, "the system", NULL, NULL);
	if (trust)
		(void)secret_put_trust(s, trust, &why);
	else
		secret_fail(s, secret_why(&err, text));
	err_clear(&err);
}

static void begin_sds(struct identity *id, const struct conf_app *app)
{
	struct sidecar *sc = id->all->sc;
	struct node_env env = {.get = sc->spec.env, .each = sc->spec.env_each, .ctx = sc->spec.ctx};
	struct sb node = {0}, name = {0};
	struct err err = ERR_INIT;
	/* An agent that wants to be told who asks does not take no node; SPIRE needs none. */
	if (node_build(&id->whole->xds, app, id->whole->mesh_domain, &env, &node, &name, &err) < 0)
		log_warn(sc->log, "app '%s': asks its agent without a node: %.*s", app->name, (int)strcspn(err_str(&err), "\n"), err_str(&err));
	err_clear(&err);
	struct sds_spec spec = {.loop = sc->loop, .log = sc->log, .dns = sc->dns, .limits = &sc->limits, .transports = id->all->transports, .server = id->conf->sds.server,
		.node = node.p, .node_n = node.n, .app = id->app};
	id->sds = sds_new(&spec);
	sds_take(id->sds, id->cert, id->conf->sds.cert);
	sds_take(id->sds, id->roots, id->conf->sds.roots);
	sb_end(&node);
	sb_end(&name);
}

static void begin_csr(struct identity *id)
{
	struct sidecar *sc = id->all->sc;
	struct csr_spec spec = {.loop = sc->loop, .log = sc->log, .dns = sc->dns, .limits = &sc->limits, .transports = id->all->transports, .offload = sidecar_offload(sc), .reader = sidecar_reader(sc),
		.conf = id->conf, .spiffe_id = id->spiffe_id, .app = id->app, .space = &id->all->fixed->is, .cert = id->cert, .roots = id->roots};
	id->csr = csr_new(&spec);
}

static void provider_begin(struct identity *id, const struct conf_app *app)
{
	const struct conf_identity *c = id->conf;
	secret_ask_as(id->cert, NULL);
	secret_ask_as(id->roots, NULL);
	switch (c->kind) {
	case IDENTITY_NONE:
		break;
	case IDENTITY_FILES:
		fill_files(id->all, SECRET_CERT, c->files.cert, c->files.key, id->cert);
		if (c->files.roots)
			fill_files(id->all, SECRET_ROOTS, c->files.roots, c->files.crl, id->roots);
		else
			identities_fill_system(id->roots);
		break;
	case IDENTITY_SDS:
		begin_sds(id, app);
		break;
	case IDENTITY_CA:
		begin_csr(id);
		break;
	}
	identity_watch_end(id);
}

/* What there is stays. Files need no end: whoever takes a secret over tells them that it is gone. */
static void provider_end(struct identity *id)
{
	sds_free(&id->sds);
	csr_free(&id->csr);
}

/* ---- its life ---------------------------------------------------------------------------------------------------------------- */

/* Two lines may have had one key, at two times. */
static uint64_t free_id(struct identities *i, uint64_t id)
{
	bool taken = id != 0;
	while (taken) {
		taken = false;
		list_each(n, tmp, &i->identities)
			taken |= list_entry(n, struct identity, node)->id == id;
		if (taken && ++id == 0)
			id = 1;
	}
	return id;
}

void identity_borrow(struct identity *id, struct conf *whole, const struct conf_app *app)
{
	struct conf *was = id->whole;
	id->whole = conf_ref(whole);
	id->conf = &app->identity;
	free(id->spiffe_id);
	id->spiffe_id = conf_spiffe_id(app);
	if (id->csr)
		csr_conf(id->csr, id->conf, id->spiffe_id);
	conf_unref(&was);
}

struct identity *identity_new(struct identities *i, struct conf *whole, const struct conf_app *app)
{
	struct identity *id = xnew(struct identity);
	id->all = i;
	id->key = identities_key(app);
	id->id = free_id(i, id->key);
	id->app = xstrdup(app->name);
	list_push(&i->identities, &id->node);
	identity_borrow(id, whole, app);
	if (!id->key)
		return id;
	char *source = xasprintf("identity of '%s'", app->name);
	id->cert = secret_new(i->transports, SECRET_CERT, id->spiffe_id, source, NULL, NULL);
	id->roots = secret_new(i->transports, SECRET_ROOTS, id->spiffe_id, source, NULL, NULL);
	free(source);
	secret_watch(id->cert, &id->cert_watch, cert_came);
	secret_watch(id->roots, &id->roots_watch, roots_came);
	provider_begin(id, app);
	return id;
}

void identity_change(struct identity *id, struct conf *whole, const struct conf_app *app)
{
	log_info(id->all->sc->log, "app '%s': its identity is another one from now on (%s); what there is of the old one stays until the new one has come", app->name,
		identity_kind_name(app->identity.kind));
	bool asks_on = id->csr && app->identity.kind == IDENTITY_CA;
	if (!asks_on)
		provider_end(id);
	id->key = identities_key(app);
	identity_borrow(id, whole, app);
	if (!asks_on)
		provider_begin(id, app);
}

void identity_unref(struct identity **at)
{
	struct identity *id = *at;
	*at = NULL;
	if (!id || --id->refs > 0)
		return;
	list_del(&id->node);
	timer_cancel(id->all->sc->loop, &id->ends);
	secret_unwatch(&id->cert_watch);
	secret_unwatch(&id->roots_watch);
	provider_end(id);
	secret_unref(&id->cert);
	secret_unref(&id->roots);
	conf_unref(&id->whole);
	free(id->app);
	free(id->spiffe_id);
	free(id);
}

void identity_thaw(struct identity *id)
{
	if (id->sds)
		sds_thaw(id->sds);
	if (id->csr)
		csr_thaw(id->csr);
	identity_watch_end(id);
}
