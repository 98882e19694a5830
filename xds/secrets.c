/* xds/secrets: see the header. The bytes of a secret are gathered once, in a block that is wiped before it is given back, whatever became of it; so is what it lay in as it
 * was received (net/grpc_call). */
#include "xds/secrets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/map.h"
#include "xds/decode.h"
#include "xds/decode_secret.h"

enum { NAME_MAX_BYTES = 4096, PEEK = NAME_MAX_BYTES + 16, KINDS = 2 };

/* A name that somebody holds; owned by secrets, ended by its secret's last holder. */
struct entry {
	struct secrets *all;
	struct list node;
	struct secret *secret;       /* borrowed: it has us as its ctx */
	char *name;                  /* the map's key */
	char version[64];
	bool noted;
};
struct secrets {
	struct secrets_spec spec;
	bool begun;                  /* somebody asked for one: before that nothing is drawn or made */
	struct map by_name[KINDS];   /* by kind */
	struct list entries;
	bool down;
	char why[256];
	/* what is being read */
	char *buf;                   /* charged */
	size_t whole, n, at;         /* of the resource; of buf: less where it is too large, enough to know whose it is; so far */
	struct sb came;              /* names of this answer that were accepted, NUL behind each: their version comes at its end */
};

/* ---- who is wanted ---- */

static void entry_free(struct entry *e)
{
	struct secrets *s = e->all;

	map_del(&s->by_name[e->secret->kind], str_of(e->name));
	list_del(&e->node);
	free(e->name);
	free(e);
}

static void on_gone(void *ctx, struct secret *secret)
{
	struct entry *e = ctx;

	(void)secret;
	sub_unwant(e->all->spec.sub, XDS_SDS, str_of(e->name));
	entry_free(e);
}

struct secrets *secrets_new(const struct secrets_spec *spec)
{
	struct secrets *s = xnew(struct secrets);

	s->spec = *spec;
	list_init(&s->entries);
	sub_route(spec->sub, XDS_SDS, &secrets_events, s);
	return s;
}

static void reading_drop(struct secrets *s)
{
	if (s->buf) {
		explicit_bzero(s->buf, s->n);
		acct_free(s->spec.account, s->buf);
	}
	s->buf = NULL;
	s->whole = s->n = s->at = 0;
}

void secrets_free(struct secrets **at)
{
	struct secrets *s = *at;

	*at = NULL;
	if (!s)
		return;
	sub_route(s->spec.sub, XDS_SDS, NULL, NULL);
	reading_drop(s);
	for (struct list *n; (n = s->entries.next) != &s->entries;) {
		struct entry *e = list_entry(n, struct entry, node);
		struct secret *secret = secret_ref(e->secret);

		sub_unwant(s->spec.sub, XDS_SDS, str_of(e->name));
		entry_free(e);
		secret_hand(secret, s->spec.source, NULL, NULL);
		if (secret->state != SECRET_READY)
			secret_fail(secret, "the control plane that had it is not asked any more");
		secret_unref(&secret);
	}
	for (int k = 0; s->begun && k < KINDS; k++)
		map_end(&s->by_name[k]);
	sb_end(&s->came);
	free(s);
}

struct secret *secrets_get(struct secrets *s, enum secret_kind kind, const char *name, const char **why)
{
	struct str key = str_of(name);

	for (int k = 0; !s->begun && k < KINDS; k++)
		map_init_borrowed(&s->by_name[k], loop_random(s->spec.loop));
	s->begun = true;
	struct entry *e = map_get(&s->by_name[kind], key);
	if (e)
		return secret_ref(e->secret);
	*why = !s->spec.transports ? "secrets of the control plane are not taken here" : !key.n || key.n > NAME_MAX_BYTES ? "a secret without a name, or with one that is too long" :
		map_count(&s->by_name[SECRET_CERT]) + map_count(&s->by_name[SECRET_ROOTS]) >= SECRETS_MAX ? "the control plane names too many secrets" : NULL;
	if (*why)
		return NULL;
	e = xnew(struct entry);
	e->all = s;
	e->name = xstrdup(name);
	e->secret = secret_new(s->spec.transports, kind, name, s->spec.source, on_gone, e);
	list_push(&s->entries, &e->node);
	map_put(&s->by_name[kind], str_of(e->name), e);
	sub_want(s->spec.sub, XDS_SDS, key);
	if (s->down)
		secret_fail(e->secret, s->why);
	return e->secret;
}

/* ---- what comes ---- */

static struct entry *find(const struct secrets *s, int kind, struct str name)
{
	return s->begun && name.n ? map_get(&s->by_name[kind], name) : NULL;
}

static bool on_begin(void *ctx, enum xds_type t, struct str name, size_t n, struct sb *problems)
{
	struct secrets *s = ctx;

	(void)t;
	reading_drop(s);
	if (name.n && !find(s, SECRET_CERT, name) && !find(s, SECRET_ROOTS, name))
		return false; /* an answer to what was asked a moment ago */
	s->whole = s->n = n;
	if (n <= SECRET_BYTES_MAX)
		s->buf = acct_alloc(s->spec.account, n ? n : 1);
	if (!s->buf && n > PEEK)
		s->buf = acct_alloc(s->spec.account, s->n = PEEK);
	if (!s->buf)
		sb_fmt(problems, "%.*s: no memory for its %zu bytes", name.n ? (int)name.n : 1, name.n ? name.p : "?", n);
	return s->buf;
}

static void on_bytes(void *ctx, const void *p, size_t n)
{
	struct secrets *s = ctx;

	if (n > s->n - s->at)
		n = s->n - s->at;
	if (!s->buf || !n)
		return;
	memcpy(s->buf + s->at, p, n);
	s->at += n;
}

static int put(struct entry *e, struct tls_cert *cert, struct tls_trust *trust, struct sb *problems)
{
	const char *why = "it cannot be used";
	int code = cert ? secret_put_cert(e->secret, cert, &why) : secret_put_trust(e->secret, trust, &why);

	if (code < 0)
		sb_str(problems, why);
	return code;
}

/* What the secret is asked for is known by who asks. Its holders may let go of it, and of others, when they are told. */
static int take(struct entry *e, struct sb *problems)
{
	struct secrets *s = e->all;
	struct secret *held = secret_ref(e->secret);
	struct tls_cert *cert;
	struct tls_trust *trust;
	struct str name;
	struct sb notes = {0};
	size_t from = problems->n;
	int code = secret_decode(str_n(s->buf, s->at), held->kind, &cert, &trust, &name, problems, &notes);

	if (code == 0 && notes.n && !e->noted) {
		log_info(s->spec.log, "view '%s': SDS '%s': without effect in this version: %.*s", s->spec.view, e->name, (int)notes.n, notes.p);
		e->noted = true;
	}
	if (code == 0)
		code = put(e, cert, trust, problems);
	if (code < 0) {
		char *why = xstrndup(problems->p + from, problems->n - from);
		secret_fail(held, why);
		free(why);
	}
	sb_end(&notes);
	secret_unref(&held);
	return code;
}

static void fail(struct secrets *s, struct str name, const char *why);

static int too_large(struct secrets *s, struct str name, struct sb *problems)
{
	char why[64];

	snprintf(why, sizeof why, "%s %zu bytes", s->whole > SECRET_BYTES_MAX ? "it has" : "no memory for its", s->whole);
	sb_fmt(problems, "%.*s: %s", name.n < 256 ? (int)name.n : 256, name.p, why);
	fail(s, name, why);
	reading_drop(s);
	return -ENOMEM;
}

static int on_end(void *ctx, struct sb *problems)
{
	struct secrets *s = ctx;
	struct sb why = {0};
	struct str name = STR("");
	int code = -EINVAL, asked = 0;

	if (!decode_name(s->buf, s->at, &name)) {
		sb_str(problems, "?: name: it has none");
		reading_drop(s);
		return code;
	}
	if (s->whole > s->n)
		return too_large(s, name, problems);
	for (int k = 0; k < KINDS; k++) {
		struct entry *e = find(s, k, name);

		if (!e)
			continue;
		asked++;
		if (why.n)
			sb_str(&why, ", ");
		if (take(e, &why) == 0)
			code = 0;
	}
	if (asked && code < 0)
		sb_fmt(problems, "%.*s: %.*s", name.n < 256 ? (int)name.n : 256, name.p, (int)why.n, why.n ? why.p : "");
	else if (asked && s->came.n + name.n < NAME_MAX_BYTES * 4)
		sb_add(&s->came, name.p, name.n), sb_char(&s->came, '\0');
	sb_end(&why);
	reading_drop(s);
	return asked ? code : 0;
}

static void on_cut(void *ctx)
{
	reading_drop(ctx);
}

static void on_answered(void *ctx, enum xds_type t, bool full, bool refused, struct str version)
{
	struct secrets *s = ctx;

	(void)t, (void)full, (void)refused;
	for (size_t i = 0; i < s->came.n; i += strlen(s->came.p + i) + 1)
		for (int k = 0; k < KINDS; k++) {
			struct entry *e = find(s, k, str_of(s->came.p + i));

			if (e)
				snprintf(e->version, sizeof e->version, "%.*s", (int)version.n, version.n ? version.p : "");
		}
	s->came.n = 0;
}

/* ---- what does not ---- */

/* Nothing is taken away: what there is serves to its end. */
static void fail(struct secrets *s, struct str name, const char *why)
{
	for (int k = 0; k < KINDS; k++) {
		struct entry *e = find(s, k, name);

		if (e)
			secret_fail(e->secret, why);
	}
}

/* Delta says so of what never was, too. */
static void on_removed(void *ctx, enum xds_type t, struct str name)
{
	struct entry *cert = find(ctx, SECRET_CERT, name), *roots = find(ctx, SECRET_ROOTS, name);
	bool was = (cert && cert->secret->state == SECRET_READY) || (roots && roots->secret->state == SECRET_READY);

	(void)t;
	fail(ctx, name, was ? "the control plane has it no more" : "the control plane has none of that name");
}

static void on_silent(void *ctx, enum xds_type t, struct str name)
{
	(void)t;
	fail(ctx, name, "the control plane has not answered for it");
}

static struct entry *first_waiting(const struct secrets *s)
{
	list_each(n, tmp, &s->entries)
		if (list_entry(n, struct entry, node)->secret->state == SECRET_WAITING)
			return list_entry(n, struct entry, node);
	return NULL;
}

/* Who waits is told why; each failing may make others go. */
static void on_state(void *ctx, bool up, const char *why)
{
	struct secrets *s = ctx;

	s->down = !up;
	snprintf(s->why, sizeof s->why, "the control plane cannot be asked for it: %s", why ? why : "");
	if (!up)
		reading_drop(s);
	for (struct entry *e; !up && (e = first_waiting(s));)
		secret_fail(e->secret, s->why);
}

const struct sub_events secrets_events = {
	.resource_begin = on_begin,
	.resource_bytes = on_bytes,
	.resource_end = on_end,
	.resource_cut = on_cut,
	.removed = on_removed,
	.answered = on_answered,
	.silent = on_silent,
	.state = on_state,
};

/* ---- for people ---- */

void secrets_each(const struct secrets *s, void (*fn)(void *ctx, const struct secret *q, struct str version), void *ctx)
{
	list_each(n, tmp, &s->entries) {
		const struct entry *e = list_entry(n, struct entry, node);

		fn(ctx, e->secret, str_of(e->version));
	}
}

void secrets_count(const struct secrets *s, struct secrets_counts *ret)
{
	*ret = (struct secrets_counts){0};
	list_each(n, tmp, &s->entries) {
		ret->wanted++;
		ret->present += list_entry(n, struct entry, node)->secret->state == SECRET_READY;
	}
}
