/* net/secret: see secret.h. A secret is a place that others look at: what is put into it, is told; who puts it, is the provider's matter.
 *
 * Watches are told from inside of the provider's call. Any of them may unwatch any other, put, or let go of the last ref: so each is taken off the list before it is told
 * and hung back at once, and the secret is held meanwhile. */
#include "net/secret.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "net/transport_int.h"

static uint64_t wall_ns(const struct secret *s)
{
	const struct loop *l = s->all->loop;

	return l->ops->wall_ns(l->ops_ctx);
}

static void tell(struct secret *s)
{
	struct list left = LIST_INIT(left);
	struct secret *held = secret_ref(s);

	list_splice(&left, &s->watches);
	for (struct list *n; (n = list_pop(&left));) {
		struct secret_watch *w = list_entry(n, struct secret_watch, node);
		list_push(&s->watches, n);
		w->fn(w);
	}
	secret_unref(&held);
}

static void why_is(struct secret *s, const char *why)
{
	char *old = s->why; /* why may be it */

	s->why = why ? xstrndup(why, strnlen(why, SECRET_WHY - 1)) : NULL; /* a provider may quote its peer */
	free(old);
}

static void state_is(struct secret *s, enum secret_state state)
{
	if (s->state == state)
		return;
	s->state = state;
	tell(s);
}

struct secret *secret_new(struct transports *all, enum secret_kind kind, const char *name, const char *source, void (*gone)(void *ctx, struct secret *s), void *ctx)
{
	struct secret *s = xnew(struct secret);

	s->refs = 1;
	s->kind = kind;
	s->name = xstrdup(name);
	s->source = xstrdup(source);
	s->all = all;
	s->guard = kind == SECRET_CERT ? tls_key_awaited() : NULL;
	s->gone = gone;
	s->ctx = ctx;
	list_init(&s->watches);
	list_push(&all->secrets, &s->node);
	all->nsecrets++;
	return s;
}

void secret_unref(struct secret **at)
{
	struct secret *s = *at;

	*at = NULL;
	if (!s || --s->refs > 0)
		return;
	if (s->gone)
		s->gone(s->ctx, s);
	for (struct list *n; (n = list_pop(&s->watches));)
		list_entry(n, struct secret_watch, node)->secret = NULL;
	list_del(&s->node);
	s->all->nsecrets--;
	tls_cert_unref(&s->cert);
	tls_key_over(&s->guard);
	store_leave(s->all, &s->trust);
	free(s->name);
	free(s->asked);
	free(s->source);
	free(s->why);
	free(s);
}

void secret_watch(struct secret *s, struct secret_watch *w, void (*fn)(struct secret_watch *w))
{
	secret_unwatch(w);
	w->secret = s;
	w->fn = fn;
	list_push(&s->watches, &w->node);
}

void secret_unwatch(struct secret_watch *w)
{
	if (w->secret)
		list_del(&w->node);
	w->secret = NULL;
}

/* ---- for providers ---------------------------------------------------------------------------------------------------------------- */

/* It is the same, or it is new: in any case the provider works. */
static void put_done(struct secret *s, bool changed)
{
	why_is(s, NULL);
	s->puts++;
	if (!changed)
		return;
	s->put_wall_ns = wall_ns(s);
	s->generation++;
	s->warned = 0;
	s->state = SECRET_READY;
	if (s->all->look)
		s->all->look(s->all->look_ctx);
	tell(s);
}

int secret_put_cert(struct secret *s, struct tls_cert *taken, const char **why)
{
	int64_t from, to, old_from = 0, old_to = 0, now = (int64_t)(wall_ns(s) / 1000000000);
	bool equal = s->cert && tls_cert_same(s->cert, taken);

	if (s->kind != SECRET_CERT) {
		tls_cert_unref(&taken);
		*why = "a certificate where roots belong";
		return -EINVAL;
	}
	tls_cert_times(taken, &from, &to);
	if (s->cert)
		tls_cert_times(s->cert, &old_from, &old_to);
	if (!equal && old_to >= now && (to < now || from - now > SECRET_EARLY_S)) {
		tls_cert_unref(&taken);
		*why = to < now ? "the certificate has expired already; the one in use has not and stays" : "the certificate is not valid yet; the one in use is and stays";
		return -EKEYEXPIRED;
	}
	if (!equal) {
		tls_cert_unref(&s->cert);
		s->cert = taken;
	} else {
		tls_cert_unref(&taken);
	}
	put_done(s, !equal);
	return 0;
}

int secret_put_trust(struct secret *s, struct tls_trust *taken, const char **why)
{
	bool equal = s->trust && tls_trust_same(s->trust, taken);

	if (s->kind != SECRET_ROOTS) {
		tls_trust_unref(&taken);
		*why = "roots where a certificate belongs";
		return -EINVAL;
	}
	if (!equal) {
		struct tls_trust *kept = store_enter(s->all, taken);
		store_leave(s->all, &s->trust);
		s->trust = kept;
	} else {
		tls_trust_unref(&taken);
	}
	put_done(s, !equal);
	return 0;
}

void secret_fail(struct secret *s, const char *why)
{
	s->failures++;
	why_is(s, why);
	if (s->state == SECRET_WAITING)
		state_is(s, SECRET_FAILING);
}

void secret_ask_as(struct secret *s, const char *name)
{
	free(s->asked);
	s->asked = name ? xstrdup(name) : NULL;
}

void secret_hand(struct secret *s, const char *source, void (*gone)(void *ctx, struct secret *s), void *ctx)
{
	char *old = s->source;
	bool let_go = !gone && strcmp(old, source) == 0;
	void (*old_gone)(void *ctx, struct secret *s) = let_go ? NULL : s->gone;
	void *old_ctx = s->ctx;

	s->source = xstrdup(source);
	free(old);
	s->gone = gone;
	s->ctx = ctx;
	if (old_gone)
		old_gone(old_ctx, s);
	why_is(s, NULL);
	if (s->state == SECRET_FAILING)
		state_is(s, SECRET_WAITING);
}

const char *secret_why(const struct err *err, char out[SECRET_WHY])
{
	size_t n = 0;

	for (const char *p = err_str(err); *p && n + 3 < SECRET_WHY; p++) {
		if (*p != '\n') {
			out[n++] = *p;
		} else if (p[1]) {
			out[n++] = ';';
			out[n++] = ' ';
		}
	}
	out[n] = 0;
	return out;
}
