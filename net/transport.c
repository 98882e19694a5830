/* net/transport: see transport.h.
 *
 *   transport (want, whom to accept)  n --- 1 footing (two secrets, ALPN, versions, role, trust domain)  n --- 0..1 held (a tls_context, by content)
 *                                              watches both secrets, once for all transports on it             store (a tls_trust, by content): transport_int.h
 *
 * A transport is what two ends agree on, and costs some hundred bytes: clusters differ in SNI and names, and there may be a thousand of them. What is dear, the SSL_CTX, hangs on content alone.
 * A footing lets go of its context when a secret changes, and asks for the next one when somebody dials: a rotation that nobody uses costs nothing.
 *
 * Watches are told in a task: certificate and roots that come in one turn are one change. Roots that come and go faster than DRAIN_EACH_NS are told as `drain` once in that time: each drain makes all
 * connections anew, and one that is dialled again at each change never comes up. Owner of footings: their transports, counted; of held contexts: footings, counted. */
#include "net/transport.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "net/transport_int.h"

/* TRANSPORT_COST: with its place in the map. A control plane says how many there are. */
#define DRAIN_EACH_NS UINT64_C(1000000000)
enum { WHY_MAX = 600, REASONS_MAX = 8, TRANSPORT_COST = 320 };
static const uint64_t quiet_ns = UINT64_C(60) * 1000000000; /* the same reason is not told again sooner */

enum roots { ROOTS_NONE, ROOTS_SYSTEM, ROOTS_SECRET };
/* Compared as it is, never by hashes: who could make two of one hash would choose whom somebody else trusts. */
struct content { const struct tls_cert *cert; const struct tls_trust *trust; const char *alpn; uint16_t min, max; bool server, no_client_cert, expired_ok; };
struct held { struct list node; struct content content; /* borrowed from tls, which holds both; alpn: owned */ char *alpn; struct tls_context *tls; uint32_t uses; };

/* Compared as bytes: zeroed before it is filled. */
struct footing_key { const struct secret *cert, *roots; uint64_t alpn, domain; uint16_t min, max; uint8_t from; bool server, no_client_cert, expired_ok; };
struct footing {
	uint32_t refs;
	struct footing_key key;
	struct transports *all;
	struct secret *cert, *roots;             /* refs; NULL: nowhere, or the system's */
	struct secret_watch cert_watch, roots_watch;
	struct tls_cert *cert_seen;              /* refs: what `held` was made of, or was to be made of */
	struct tls_trust *trust_seen;
	char *who;                               /* tls_cert_id of the certificate that was used last: many may have come since, and none been used */
	char *alpn, *trust_domain, **aliases;    /* copies of the want's and of the space's; the domain only where names are judged by it */
	uint32_t naliases;
	struct held *held;
	struct list node, touched, transports;
	bool drain;                              /* to be told */
	struct timer patience;                   /* until drain may be told again */
	char why[WHY_MAX];                       /* in place: a text that was given out in this turn stays readable */
};
struct transport_key { const struct footing *footing; uint64_t want; };
/* reason: a hash, 0: unused. past: a handshake has succeeded since it was told. */
struct told { uint32_t untold; struct { uint32_t reason; bool past; uint64_t at_ns; } rows[REASONS_MAX]; };
struct transport {
	uint32_t refs;
	bool mapped;                             /* found by its key */
	struct transport_key key;
	struct footing *footing;                 /* a ref */
	struct tls_want *want;                   /* a ref */
	uint64_t peer_hash;
	struct list node, watches;
	struct told *told;                       /* failures that were told; NULL: none */
};

/* ---- content: stores and contexts ------------------------------------------------------------------------------------------------------ */

struct tls_trust *store_enter(struct transports *t, struct tls_trust *taken)
{
	list_each(at, next, &t->stores) {
		struct store *s = list_entry(at, struct store, node);
		if (tls_trust_same(s->trust, taken)) {
			s->uses++;
			tls_trust_unref(&taken);
			return s->trust;
		}
	}
	struct store *s = xnew(struct store);
	s->trust = taken;
	s->uses = 1;
	list_push(&t->stores, &s->node);
	t->nstores++;
	return taken;
}

void store_leave(struct transports *t, struct tls_trust **trust)
{
	struct tls_trust *gone = *trust;

	*trust = NULL;
	if (!gone)
		return;
	list_each(at, next, &t->stores) {
		struct store *s = list_entry(at, struct store, node);
		if (s->trust != gone)
			continue;
		if (--s->uses == 0) {
			list_del(&s->node);
			t->nstores--;
			tls_trust_unref(&s->trust);
			free(s);
		}
		return;
	}
}

static bool text_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool content_eq(const struct content *a, const struct content *b)
{
	return a->min == b->min && a->max == b->max && a->server == b->server && a->no_client_cert == b->no_client_cert && a->expired_ok == b->expired_ok && text_eq(a->alpn, b->alpn) &&
		(a->cert && b->cert ? tls_cert_same(a->cert, b->cert) : a->cert == b->cert) && (a->trust && b->trust ? tls_trust_same(a->trust, b->trust) : a->trust == b->trust);
}

static struct held *held_find(struct transports *t, const struct content *content)
{
	list_each(at, next, &t->contexts) {
		struct held *h = list_entry(at, struct held, node);
		if (content_eq(&h->content, content)) {
			h->uses++;
			return h;
		}
	}
	return NULL;
}

static void held_leave(struct transports *t, struct held **at)
{
	struct held *h = *at;

	*at = NULL;
	if (!h || --h->uses > 0)
		return;
	list_del(&h->node);
	t->ncontexts--;
	tls_context_unref(&h->tls);
	free(h->alpn);
	free(h);
}

/* ---- footings ------------------------------------------------------------------------------------------------------------------------------ */

static void tell_transport(struct transport *t, bool drain)
{
	struct list left = LIST_INIT(left);
	struct transport *held = transport_ref(t);

	list_splice(&left, &t->watches);
	for (struct list *n; (n = list_pop(&left));) {
		struct transport_watch *w = list_entry(n, struct transport_watch, node);
		list_push(&t->watches, n);
		w->changed(w, drain);
	}
	transport_unref(&held);
}

static void footing_unref(struct footing **at);

static void footing_touch(struct footing *f);

static void patience_over(struct timer *timer)
{
	struct footing *f = container_of(timer, struct footing, patience);

	if (f->drain)
		footing_touch(f);
}

static bool may_drain(struct footing *f)
{
	if (!f->drain || timer_armed(&f->patience))
		return false;
	f->drain = false;
	timer_in(f->all->loop, &f->patience, DRAIN_EACH_NS, patience_over);
	return true;
}

/* Any watch may make and end transports, on this footing too: as in net/secret, each is taken off before it is told. */
static void told_later(struct task *task)
{
	struct transports *t = container_of(task, struct transports, told_later);

	for (struct list *n; (n = list_pop(&t->touched));) {
		struct footing *f = list_entry(n, struct footing, touched);
		struct list left = LIST_INIT(left);
		bool drain = may_drain(f);
		f->refs++;
		list_splice(&left, &f->transports);
		for (struct list *m; (m = list_pop(&left));) {
			list_push(&f->transports, m);
			tell_transport(list_entry(m, struct transport, node), drain);
		}
		footing_unref(&f);
	}
}

static void footing_touch(struct footing *f)
{
	if (!list_linked(&f->touched))
		list_push(&f->all->touched, &f->touched);
	loop_defer(f->all->loop, &f->all->told_later, told_later);
}

static void cert_changed(struct secret_watch *w)
{
	struct footing *f = container_of(w, struct footing, cert_watch);

	if (f->cert->cert != f->cert_seen) {
		/* The next certificate of the same one is for connections to come; who has become another one is not to be taken for the one before. */
		f->drain |= !f->key.server && f->who && f->cert->cert && strcmp(f->who, tls_cert_id(f->cert->cert)) != 0;
		held_leave(f->all, &f->held);
		tls_cert_unref(&f->cert_seen); /* the old key is wiped with the last connection that uses it */
	}
	footing_touch(f);
}

/* Stores are shared by content: the same pointer is the same trust. */
static void roots_changed(struct secret_watch *w)
{
	struct footing *f = container_of(w, struct footing, roots_watch);

	if (f->roots->trust != f->trust_seen) {
		held_leave(f->all, &f->held);
		/* Roots that have only grown accept whoever was accepted. */
		f->drain |= f->trust_seen && !(f->roots->trust && tls_trust_includes(f->roots->trust, f->trust_seen));
		tls_trust_unref(&f->trust_seen);
		f->trust_seen = f->roots->trust ? tls_trust_ref(f->roots->trust) : NULL;
	}
	footing_touch(f);
}

static const char *kind_text(const struct secret *s)
{
	return s->kind == SECRET_CERT ? "certificate" : "roots";
}

/* What has not come yet. */
static int lacks(struct footing *f, const struct secret *s)
{
	if (s->state == SECRET_WAITING)
		snprintf(f->why, sizeof(f->why), "no %s yet: '%s' of %s has not come", kind_text(s), s->asked ? s->asked : s->name, s->source);
	else
		snprintf(f->why, sizeof(f->why), "no %s yet: '%s' of %s: %s", kind_text(s), s->asked ? s->asked : s->name, s->source, s->why ? s->why : "it is of another kind");
	return s->state == SECRET_WAITING ? -EAGAIN : -ENOKEY;
}

/* 0: all is there. What fails comes before what may still come: waiting for that would be in vain. */
static int footing_lacks(struct footing *f)
{
	const struct secret *cert = f->cert && !f->cert->cert ? f->cert : NULL, *roots = f->roots && !f->roots->trust ? f->roots : NULL;

	if (cert && (cert->state != SECRET_WAITING || !roots || roots->state == SECRET_WAITING))
		return lacks(f, cert);
	return roots ? lacks(f, roots) : 0;
}

static int footing_fails(struct footing *f, int r, const char *what, struct err *err)
{
	char text[SECRET_WHY];

	snprintf(f->why, sizeof(f->why), "%s: %s", what, err_any(err) ? secret_why(err, text) : err_text(r));
	err_clear(err);
	return r;
}

static int held_make(struct footing *f, const struct content *content, struct tls_trust *trust)
{
	struct tls_spec spec = {.cert = f->cert_seen, .trust = trust, .alpn = f->alpn, .min = f->key.min, .max = f->key.max, .server = f->key.server,
		.no_client_cert = f->key.no_client_cert, .expired_ok = f->key.expired_ok};
	struct tls_context *made = NULL;
	struct err err = ERR_INIT;
	int r = tls_context_new(&spec, &made, &err);

	if (r < 0)
		return footing_fails(f, r, "TLS cannot be set up", &err);
	err_clear(&err);
	struct held *h = xnew(struct held);
	h->content = *content;
	h->content.alpn = h->alpn = f->alpn ? xstrdup(f->alpn) : NULL;
	h->tls = made;
	h->uses = 1;
	list_push(&f->all->contexts, &h->node);
	f->all->ncontexts++;
	f->held = h;
	return 0;
}

static int footing_build(struct footing *f)
{
	struct tls_trust *trust = f->roots ? f->roots->trust : NULL;
	struct err err = ERR_INIT;
	int r = footing_lacks(f);

	if (r < 0)
		return r;
	if (f->key.from == ROOTS_SYSTEM) {
		if (!f->all->system)
			f->all->system = tls_trust_system(&err);
		trust = f->all->system;
		if (!trust)
			return footing_fails(f, -ENOKEY, "the system's roots cannot be had", &err);
		err_clear(&err);
	}
	tls_cert_unref(&f->cert_seen);
	f->cert_seen = f->cert ? tls_cert_ref(f->cert->cert) : NULL;
	free(f->who);
	f->who = f->cert_seen ? xstrdup(tls_cert_id(f->cert_seen)) : NULL;
	struct content content = {.cert = f->cert_seen, .trust = trust, .alpn = f->alpn, .min = f->key.min, .max = f->key.max, .server = f->key.server,
		.no_client_cert = f->key.no_client_cert, .expired_ok = f->key.expired_ok};
	f->held = held_find(f->all, &content);
	return f->held ? 0 : held_make(f, &content, trust);
}

static void footing_unref(struct footing **at)
{
	struct footing *f = *at;

	*at = NULL;
	if (!f || --f->refs > 0)
		return;
	map_del(&f->all->footing_by_key, str_n((const char *)&f->key, sizeof(f->key)));
	list_del(&f->node);
	list_del(&f->touched);
	timer_cancel(f->all->loop, &f->patience);
	secret_unwatch(&f->cert_watch);
	secret_unwatch(&f->roots_watch);
	held_leave(f->all, &f->held);
	tls_cert_unref(&f->cert_seen);
	tls_trust_unref(&f->trust_seen);
	secret_unref(&f->cert);
	secret_unref(&f->roots);
	for (uint32_t i = 0; i < f->naliases; i++)
		free(f->aliases[i]);
	free(f->aliases);
	free(f->trust_domain);
	free(f->alpn);
	free(f->who);
	free(f);
}

/* Length and text, so that no two lists look the same. */
static uint64_t domain_hash(const struct secret_space *space)
{
	struct sb b = {0};
	uint64_t hash;

	for (uint32_t i = 0; i <= space->naliases; i++) {
		const char *one = i == 0 ? space->trust_domain : space->aliases[i - 1];
		sb_fmt(&b, "%zu:%s", one ? strlen(one) : 0, one ? one : "");
	}
	hash = str_hash(sb_view(&b));
	sb_end(&b);
	return hash;
}

static bool footing_fits(const struct footing *f, const struct tls_want *want, const struct secret_space *space)
{
	if (!text_eq(f->alpn, want->alpn) || !text_eq(f->trust_domain, space ? space->trust_domain : NULL) || f->naliases != (space ? space->naliases : 0))
		return false;
	for (uint32_t i = 0; i < f->naliases; i++)
		if (!text_eq(f->aliases[i], space->aliases[i]))
			return false;
	return true;
}

/* Takes the secrets over. */
static struct footing *footing_get(struct transports *t, const struct tls_want *want, const struct secret_space *space, bool server, enum roots from,
	struct secret *taken_cert, struct secret *taken_roots)
{
	bool domain = want->names == TLS_NAMES_DOMAIN && space;
	struct footing_key key;

	memset(&key, 0, sizeof(key));
	key.cert = taken_cert;
	key.roots = taken_roots;
	key.alpn = want->alpn ? str_hash(str_of(want->alpn)) : 0;
	key.domain = domain ? domain_hash(space) : 0;
	key.min = want->min;
	key.max = want->max;
	key.from = (uint8_t)from;
	key.server = server;
	key.no_client_cert = server && want->no_client_cert;
	key.expired_ok = want->expired_ok;
	struct footing *f;
	while ((f = map_get(&t->footing_by_key, str_n((const char *)&key, sizeof(key)))) && !footing_fits(f, want, domain ? space : NULL))
		key.domain++; /* another text of the same hash */
	if (f) {
		secret_unref(&taken_cert);
		secret_unref(&taken_roots);
		f->refs++;
		return f;
	}
	f = xnew(struct footing);
	f->refs = 1;
	f->key = key;
	f->all = t;
	f->cert = taken_cert;
	f->roots = taken_roots;
	f->alpn = want->alpn ? xstrdup(want->alpn) : NULL;
	list_init(&f->transports);
	if (domain) {
		f->trust_domain = space->trust_domain ? xstrdup(space->trust_domain) : NULL;
		f->aliases = space->naliases ? xalloc(space->naliases * sizeof(*f->aliases)) : NULL;
		for (; f->naliases < space->naliases; f->naliases++)
			f->aliases[f->naliases] = xstrdup(space->aliases[f->naliases]);
	}
	if (f->cert)
		secret_watch(f->cert, &f->cert_watch, cert_changed);
	if (f->roots) {
		secret_watch(f->roots, &f->roots_watch, roots_changed);
		f->trust_seen = f->roots->trust ? tls_trust_ref(f->roots->trust) : NULL;
	}
	list_push(&t->footings, &f->node);
	map_put(&t->footing_by_key, str_n((const char *)&f->key, sizeof(f->key)), f);
	return f;
}

/* ---- transports ------------------------------------------------------------------------------------------------------------------------------ */

struct transports *transports_new(struct loop *l)
{
	struct transports *t = xnew(struct transports);

	t->loop = l;
	list_init(&t->secrets);
	list_init(&t->footings);
	list_init(&t->contexts);
	list_init(&t->stores);
	list_init(&t->touched);
	map_init_borrowed(&t->by_key, 0);
	map_init_borrowed(&t->footing_by_key, 0);
	return t;
}

void transports_free(struct transports **at)
{
	struct transports *t = *at;

	*at = NULL;
	if (!t)
		return;
	/* They point here. */
	assert(list_empty(&t->secrets) && list_empty(&t->footings));
	loop_undefer(&t->told_later);
	tls_trust_unref(&t->system);
	map_end(&t->by_key);
	map_end(&t->footing_by_key);
	free(t);
}

/* The secret that a ref leads to, counted. False with *why: there can be none. */
static bool secret_find(const struct secret_space *space, const struct secret_ref *ref, struct secret **ret, const char **why)
{
	*ret = NULL;
	if (ref->from == SECRET_NOWHERE || ref->from == SECRET_SYSTEM)
		return true;
	*why = "nobody knows here where a certificate or roots come from";
	if (space && space->get)
		*ret = space->get(space->ctx, ref, why);
	return *ret != NULL;
}

struct transport *transport_get(struct transports *t, struct tls_want *want, const struct secret_space *space, bool server, const char **why)
{
	enum roots from = want->roots.from == SECRET_NOWHERE ? ROOTS_NONE : want->roots.from == SECRET_SYSTEM ? ROOTS_SYSTEM : ROOTS_SECRET;
	struct secret *cert, *roots;

	if (!t->used) { /* chance is drawn once TLS is used: a seed's run without it stays what it was */
		t->used = true;
		map_init_borrowed(&t->by_key, loop_random(t->loop));
		map_init_borrowed(&t->footing_by_key, loop_random(t->loop));
	}
	if (want->unbuilt) {
		*why = want->unbuilt;
		return NULL;
	}
	if (server && want->cert.from == SECRET_NOWHERE) {
		*why = "a door that speaks TLS needs a certificate, and none is declared";
		return NULL;
	}
	if (!secret_find(space, &want->cert, &cert, why))
		return NULL;
	if (!secret_find(space, &want->roots, &roots, why)) {
		secret_unref(&cert);
		return NULL;
	}
	struct footing *f = footing_get(t, want, space, server, from, cert, roots);
	struct transport_key key = {.footing = f, .want = want->hash};
	struct transport *x = map_get(&t->by_key, str_n((const char *)&key, sizeof(key)));
	bool other = x && !tls_want_eq(x->want, want); /* two lists of names of one hash: whoever made them, neither gets the other's connections */
	if (x && !other) {
		footing_unref(&f);
		return transport_ref(x);
	}
	if (!mem_try(&t->loop->memory, TRANSPORT_COST)) {
		footing_unref(&f);
		*why = "the memory limit is reached";
		return NULL;
	}
	x = xnew(struct transport);
	x->refs = 1;
	x->key = key;
	x->footing = f;
	x->want = tls_want_ref(want);
	x->mapped = !other;
	x->peer_hash = other ? loop_random(t->loop) : str_hash_seeded(str_n((const char *)&want->hash, sizeof(want->hash)), f->key.domain);
	list_init(&x->watches);
	list_push(&f->transports, &x->node);
	t->ntransports++;
	if (x->mapped)
		map_put(&t->by_key, str_n((const char *)&x->key, sizeof(x->key)), x);
	return x;
}

struct transport *transport_ref(struct transport *t)
{
	t->refs++;
	return t;
}

void transport_unref(struct transport **at)
{
	struct transport *t = *at;

	*at = NULL;
	if (!t || --t->refs > 0)
		return;
	struct transports *all = t->footing->all;
	if (t->mapped)
		map_del(&all->by_key, str_n((const char *)&t->key, sizeof(t->key)));
	all->ntransports--;
	mem_give(&all->loop->memory, TRANSPORT_COST);
	list_del(&t->node);
	for (struct list *n; (n = list_pop(&t->watches));)
		list_entry(n, struct transport_watch, node)->transport = NULL;
	footing_unref(&t->footing);
	tls_want_unref(&t->want);
	free(t->told);
	free(t);
}

struct tls_context *transport_context(struct transport *t, int *err, const char **why)
{
	struct footing *f = t->footing;
	int r = f->held ? 0 : footing_build(f);

	if (r < 0) {
		*err = r;
		*why = f->why;
		return NULL;
	}
	return f->held->tls;
}

bool transport_serves(const struct transport *t)
{
	return t->footing->key.server;
}

const struct tls_want *transport_want(const struct transport *t)
{
	return t->want;
}

void transport_peer(const struct transport *t, struct tls_peer *ret)
{
	const struct footing *f = t->footing;

	*ret = (struct tls_peer){.server_name = t->want->sni, .want = t->want, .trust_domain = f->trust_domain, .aliases = (const char *const *)f->aliases,
		.naliases = f->naliases, .hash = t->peer_hash};
}

bool transport_trusts_alike(const struct transport *a, const struct transport *b)
{
	return a->footing->key.from == b->footing->key.from && a->footing->roots == b->footing->roots;
}

bool transport_asks_host(const struct transport *t)
{
	return t->want->host_sni || (t->want->names == TLS_NAMES_SERVER && !t->want->sni);
}

/* The host of an address; "" of a Unix socket, which has none. */
static const char *ip_of(const struct addr *at, char out[ADDR_TEXT])
{
	char text[ADDR_TEXT];
	struct str host;
	int port;

	out[0] = 0;
	if (!addr_is_unix(at) && addr_split(str_of(addr_text(at, text)), &host, &port) == 0)
		snprintf(out, ADDR_TEXT, "%.*s", (int)host.n, host.p);
	return out;
}

bool transport_meet(const struct transport *t, const char *host, const struct addr *at, struct transport_meeting *ret)
{
	transport_peer(t, &ret->peer);
	if (host && *host && transport_asks_host(t))
		ret->peer.server_name = host;
	if (t->want->names != TLS_NAMES_SERVER || ret->peer.server_name)
		return true;
	ret->peer.server_name = ip_of(at, ret->ip);
	return ret->peer.server_name[0] != 0;
}

bool transport_shows(const struct transport *t)
{
	return t->footing->cert != NULL;
}

int64_t transport_ends(const struct transport *t)
{
	const struct secret *s = t->footing->cert;
	int64_t from, to = 0;

	if (s && s->cert)
		tls_cert_times(s->cert, &from, &to);
	return to;
}

void transport_watch(struct transport *t, struct transport_watch *w, void (*changed)(struct transport_watch *w, bool drain))
{
	transport_unwatch(w);
	w->transport = t;
	w->changed = changed;
	list_push(&t->watches, &w->node);
}

void transport_unwatch(struct transport_watch *w)
{
	if (w->transport)
		list_del(&w->node);
	w->transport = NULL;
}

/* ---- for people ------------------------------------------------------------------------------------------------------------------------------------ */

/* Digits do not count: times, addresses and serials make a new text of each handshake. */
static uint32_t reason_of(const char *why, struct str whom)
{
	char text[256];
	size_t n = 0;
	uint64_t hash;

	for (; *why && n < sizeof(text); why++)
		if (*why < '0' || *why > '9')
			text[n++] = *why;
	hash = str_hash_seeded(whom, str_hash(str_n(text, n)));
	return (uint32_t)hash ? (uint32_t)hash : 1;
}

/* A peer that fails in ever new ways is told of REASONS_MAX times. */
static void told_maybe(struct transport *t, const struct addr *peer, const struct transport_asker *asker, struct str whom, const char *why)
{
	struct transports *all = t->footing->all;
	uint64_t now_ns = all->loop->now_ns;
	uint32_t reason = reason_of(why, whom), untold;
	int at = -1;

	if (!t->told)
		t->told = xnew(struct told);
	for (int i = 0; i < REASONS_MAX; i++) {
		bool is_over = t->told->rows[i].past && now_ns - t->told->rows[i].at_ns >= quiet_ns;
		bool is_same = t->told->rows[i].reason == reason;
		if (is_same && !is_over) {
			at = -1;
			break;
		}
		if (is_same || ((!t->told->rows[i].reason || is_over) && at < 0))
			at = i;
	}
	if (at < 0) {
		t->told->untold += t->told->untold < UINT32_MAX;
		return;
	}
	t->told->rows[at].reason = reason;
	t->told->rows[at].past = false;
	t->told->rows[at].at_ns = now_ns;
	untold = t->told->untold;
	t->told->untold = 0;
	struct transport_failure f = {.transport = t, .peer = peer, .whom = whom.n ? whom.p : "", .what = asker && asker->what ? asker->what : "", .why = why, .untold = untold};
	if (all->tell)
		all->tell(all->tell_ctx, &f);
}

void transport_failed(struct transport *t, const struct addr *peer, const struct transport_asker *asker, const char *why)
{
	struct sb whom = {0};

	if (asker && asker->name)
		asker->name(asker->ctx, &whom);
	told_maybe(t, peer, asker, sb_view(&whom), why);
	sb_end(&whom);
}

void transport_succeeded(struct transport *t)
{
	for (int i = 0; t->told && i < REASONS_MAX; i++)
		t->told->rows[i].past = true;
}

void transport_count(struct loop *l, const struct sock *s, int err)
{
	static const enum stat_id rows[] = {[TLS_FINE] = STAT_TLS_FAILED_PROTOCOL, [TLS_EXPIRED] = STAT_TLS_FAILED_EXPIRED, [TLS_UNTRUSTED] = STAT_TLS_FAILED_UNTRUSTED,
		[TLS_WRONG_NAME] = STAT_TLS_FAILED_NAME, [TLS_REVOKED] = STAT_TLS_FAILED_REVOKED, [TLS_REFUSED] = STAT_TLS_FAILED_REFUSED, [TLS_PROTOCOL] = STAT_TLS_FAILED_PROTOCOL};

	if (err == 0) {
		stat_inc(&l->stats, STAT_TLS_HANDSHAKES);
		if (tls_resumed(s))
			stat_inc(&l->stats, STAT_TLS_RESUMED);
		return;
	}
	stat_inc(&l->stats, STAT_TLS_FAILURES);
	stat_inc(&l->stats, !s ? STAT_TLS_FAILED_SECRET : err == ERR_TIMEOUT ? STAT_TLS_FAILED_TIMEOUT : rows[tls_reason(s)]);
}

void transports_set_tell(struct transports *t, void (*fn)(void *ctx, const struct transport_failure *f), void *ctx)
{
	t->tell = fn;
	t->tell_ctx = ctx;
}

void transports_set_look(struct transports *t, void (*fn)(void *ctx), void *ctx)
{
	t->look = fn;
	t->look_ctx = ctx;
}

void transports_each_secret(struct transports *t, void (*fn)(void *ctx, struct secret *s), void *ctx)
{
	list_each(at, next, &t->secrets)
		fn(ctx, list_entry(at, struct secret, node));
}

void transports_info(const struct transports *t, struct transports_info *ret)
{
	*ret = (struct transports_info){.transports = t->ntransports, .contexts = t->ncontexts, .stores = t->nstores + (t->system != NULL), .secrets = t->nsecrets};
}
