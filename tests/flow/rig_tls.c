/* tests/flow/rig_tls: see rig_tls.h. */
#include "tests/flow/rig_tls.h"
#include <stdlib.h>

int64_t rig_now_s(const struct rig *r)
{
	return (int64_t)(r->loop->ops->wall_ns(r->loop->ops_ctx) / 1000000000);
}

/* ---- callers ---- */

static void must(int rc, struct err *err)
{
	if (rc < 0)
		rig_die("tls: %s: %s", err_text(rc), err_str(err));
	err_clear(err);
}

static struct tls_cert *cert_of(struct authority *from, const struct paper *how)
{
	struct sb chain = {0}, key = {0};
	struct tls_cert *cert = NULL;
	struct err err = {0};

	authority_leaf(from, how, &chain, &key);
	must(tls_cert_new("a paper", sb_view(&chain), sb_view(&key), &cert, &err), &err);
	sb_end(&chain);
	sb_end(&key);
	return cert;
}

static struct tls_trust *trust_of(const char *pem)
{
	struct tls_trust *trust = NULL;
	struct err err = {0};

	must(tls_trust_new("roots", str_of(pem), NULL, &trust, &err), &err);
	return trust;
}

void rig_who(struct rig_who *w, struct authority *from, const struct paper *how, const char *roots, const char *alpn)
{
	struct tls_spec spec = {.cert = from ? cert_of(from, how) : NULL, .trust = roots ? trust_of(roots) : NULL, .alpn = alpn};
	struct err err = {0};

	*w = (struct rig_who){.want = tls_want_new()};
	tls_want_seal(w->want);
	w->peer = (struct tls_peer){.want = w->want, .hash = w->want->hash};
	must(tls_context_new(&spec, &w->context, &err), &err);
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
}

void rig_who_end(struct rig_who *w)
{
	tls_context_unref(&w->context);
	tls_want_unref(&w->want);
}

void provider_tls(struct provider *p, struct authority *by, const char *sans, const char *roots)
{
	struct tls_spec spec = {.cert = cert_of(by, &(struct paper){.sans = sans}), .trust = trust_of(roots), .alpn = "h2", .server = true};
	struct err err = {0};

	tls_context_unref(&p->tls);
	must(tls_context_new(&spec, &p->tls, &err), &err);
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
}

static int dress(void *ctx, struct caller *c, const struct sock_events *ev)
{
	struct rig_who *who = ctx;

	return tls_client(c->rig->loop, who->context, c->sock, &who->peer, &c->rig->account, ev, c, &c->sock);
}

struct caller *caller_tls_start(struct rig *r, const char *at, struct rig_who *who)
{
	struct caller *c = caller_start(r, at);

	c->dress = dress;
	c->dress_ctx = who;
	return c;
}

struct caller *caller_tls(struct rig *r, const char *at, struct rig_who *who)
{
	struct caller *c = caller_tls_start(r, at, who);

	rig_settle(r);
	return c;
}

static void raw_connected(void *user, int err)
{
	(void)user;
	(void)err;
}

static void raw_silence(void *user)
{
	(void)user;
}

static const struct sock_events raw_shaking = {raw_connected, raw_silence, raw_silence};

struct raw *raw_tls(struct rig *r, const char *at, struct rig_who *who)
{
	struct raw *w = raw_new(r, at);
	struct sock *under = w->sock;
	const struct sock_events *inside = under->ev;

	if (tls_client(r->loop, who->context, under, &who->peer, &r->account, &raw_shaking, w, &w->sock) < 0)
		rig_die("no TLS for raw bytes");
	rig_settle(r);
	sock_set(w->sock, inside, w);
	sock_want(w->sock, true, false);
	return w;
}

/* ---- secrets ---- */

static struct secret *keep_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct rig_keep *k = ctx;

	(void)why;
	return secret_ref(ref->kind == SECRET_CERT ? k->cert : k->roots);
}

void rig_keep_new(struct rig_keep *k, struct loop *l)
{
	*k = (struct rig_keep){.all = transports_new(l)};
	k->cert = secret_new(k->all, SECRET_CERT, "default", "the test", NULL, NULL);
	k->roots = secret_new(k->all, SECRET_ROOTS, "ROOTCA", "the test", NULL, NULL);
	k->space = (struct secret_space){.get = keep_get, .ctx = k};
}

void rig_keep_cert(struct rig_keep *k, struct authority *from, const struct paper *how)
{
	const char *why = "";

	if (secret_put_cert(k->cert, cert_of(from, how), &why) < 0)
		rig_die("no certificate: %s", why);
}

void rig_keep_roots(struct rig_keep *k, const char *pem)
{
	const char *why = "";

	if (secret_put_trust(k->roots, trust_of(pem), &why) < 0)
		rig_die("no roots: %s", why);
}

struct transport *rig_keep_server(struct rig_keep *k, struct tls_want *want)
{
	const char *why = "";
	struct transport *t = transport_get(k->all, want, &k->space, true, &why);

	if (!t)
		rig_die("no transport: %s", why);
	return t;
}

void rig_keep_end(struct rig_keep *k)
{
	secret_unref(&k->cert);
	secret_unref(&k->roots);
	transports_free(&k->all);
}
