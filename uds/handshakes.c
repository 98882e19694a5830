/* uds/handshakes: see uds/handshakes.h. Nobody begins in the turn's reading: a task does, so that a hundred who come at once are begun one after the other, and a failure that closes one
 * does not reach into the walk that began it. */
#include "uds/handshakes.h"
#include <errno.h>
#include <string.h>
#include "uds/client.h"

/* A handshake in earnest takes two round trips. */
#define HANDSHAKE_FAIR_NS UINT64_C(1000000000)

static struct loop *loop_of(const struct handshakes *h) { return uds_listener_loop(h->listener); }

static void handshakes_look(struct task *t);
static void handshakes_crowded(struct timer *t);

static void handshakes_soon(struct handshakes *h)
{
	if (!list_empty(&h->waiting))
		loop_defer(loop_of(h), &h->task, handshakes_look);
}

/* ---- who may begin ---- */

static struct uds_tls *first_of(const struct list *l)
{
	return list_entry(l->next, struct uds_tls, node);
}

void handshakes_failed(struct handshakes *h, const struct uds_tls *t, const struct addr *peer, const char *why)
{
	struct transport *transport = t->transport ? t->transport : h->transport;
	h->failed++;
	stat_inc(&loop_of(h)->stats, STAT_INBOUND_TLS_FAILURES);
	const struct transport_asker asker = {.name = uds_listener_name, .ctx = h->listener};
	if (transport)
		transport_failed(transport, peer, &asker, why);
}

static void handshakes_refuse(struct handshakes *h, struct uds_tls *t, const char *why)
{
	handshakes_failed(h, t, &t->client->sock->peer, why);
	uds_client_close(t->client);
}

/* The place is theirs from here on, also where it fails at once. */
static void handshakes_begin(struct handshakes *h, struct uds_tls *t, struct tls_context *context)
{
	list_del(&t->node);
	list_push(&h->shaking, &t->node);
	h->nshaking++;
	t->state = UDS_TLS_SHAKES;
	t->began_ns = loop_of(h)->now_ns;
	t->transport = transport_ref(h->transport);
	transport_peer(t->transport, &t->peer);
	uds_client_shake(t->client, context);
}

static void handshakes_wait_for_place(struct handshakes *h)
{
	list_each(n, tmp, &h->waiting) {
		struct uds_tls *t = list_entry(n, struct uds_tls, node);
		if (!t->limited) {
			t->limited = true;
			stat_inc(&loop_of(h)->stats, STAT_LIMIT_INBOUND_HANDSHAKES);
		}
	}
	timer_set(loop_of(h), &h->timer, first_of(&h->shaking)->began_ns + HANDSHAKE_FAIR_NS, handshakes_crowded);
}

static void handshakes_look(struct task *task)
{
	struct handshakes *h = container_of(task, struct handshakes, task);
	while (!list_empty(&h->waiting)) {
		struct tls_context *context;
		const char *why = "the door is not encrypted any more";
		int err = -ENOTCONN;
		if (h->nshaking >= HANDSHAKES_MAX) {
			handshakes_wait_for_place(h);
			return;
		}
		context = h->transport ? transport_context(h->transport, &err, &why) : NULL;
		if (!context && err == -EAGAIN)
			return; /* the watch tells */
		if (context)
			handshakes_begin(h, first_of(&h->waiting), context);
		else
			handshakes_refuse(h, first_of(&h->waiting), why);
	}
}

/* The one that has shaken longest makes room; the next only when it has had its second, too. */
static void handshakes_crowded(struct timer *timer)
{
	struct handshakes *h = container_of(timer, struct handshakes, timer);
	if (!list_empty(&h->waiting) && h->nshaking >= HANDSHAKES_MAX)
		handshakes_refuse(h, first_of(&h->shaking), "it took longer than a second, and others wait");
}

/* ---- its clients ---- */

void handshakes_add(struct handshakes *h, struct uds_tls *t)
{
	list_push(&h->waiting, &t->node);
	handshakes_soon(h);
}

void handshakes_left(struct handshakes *h, struct uds_tls *t)
{
	if (!list_linked(&t->node))
		return;
	list_del(&t->node);
	h->nshaking -= t->state == UDS_TLS_SHAKES;
	transport_unref(&t->transport);
	handshakes_soon(h);
}

const char *handshakes_waits_for(const struct handshakes *h, const struct uds_tls *t)
{
	const char *why = NULL;
	int err = 0;
	if (t->state != UDS_TLS_WAITS)
		return "it did not come to its end in time";
	if (!h->transport || transport_context(h->transport, &err, &why) || !why)
		return "too many others shook hands at the same time";
	return why;
}

/* ---- its transport ---- */

static void handshakes_changed(struct transport_watch *w, bool drain)
{
	struct handshakes *h = container_of(w, struct handshakes, watch);
	if (drain)
		uds_listener_judged_anew(h->listener, true, false);
	handshakes_soon(h);
}

void handshakes_init(struct handshakes *h, struct uds_listener *l)
{
	h->listener = l;
	list_init(&h->waiting);
	list_init(&h->shaking);
}

void handshakes_set(struct handshakes *h, struct transport *transport, bool permissive)
{
	struct transport *was = h->transport;
	h->permissive = permissive;
	if (transport == was)
		return;
	transport_unwatch(&h->watch);
	h->transport = transport ? transport_ref(transport) : NULL;
	if (transport)
		transport_watch(transport, &h->watch, handshakes_changed);
	transport_unref(&was);
	handshakes_soon(h);
}

void handshakes_end(struct handshakes *h)
{
	handshakes_set(h, NULL, false);
	loop_undefer(&h->task);
	timer_cancel(loop_of(h), &h->timer);
}

static bool texts_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool rules_eq(const struct tls_want *v, const struct tls_want *w)
{
	if (v->names != w->names || v->nrules != w->nrules || v->npins != w->npins)
		return false;
	for (uint32_t i = 0; i < v->nrules; i++) {
		const struct tls_rule *a = &v->rules[i], *b = &w->rules[i];
		if (a->on != b->on || a->kind != b->kind || a->ignore_case != b->ignore_case || strcmp(a->text, b->text) != 0)
			return false;
	}
	for (uint32_t i = 0; i < v->npins; i++)
		if (strcmp(v->pins[i], w->pins[i]) != 0)
			return false;
	return true;
}

static bool domains_eq(const struct transport *a, const struct transport *b)
{
	struct tls_peer p, q;
	transport_peer(a, &p);
	transport_peer(b, &q);
	if (!texts_eq(p.trust_domain, q.trust_domain) || p.naliases != q.naliases)
		return false;
	for (uint32_t i = 0; i < p.naliases; i++)
		if (strcmp(p.aliases[i], q.aliases[i]) != 0)
			return false;
	return true;
}

bool handshakes_judge_alike(const struct transport *a, const struct transport *b)
{
	if (!a || !b || a == b)
		return a == b;
	const struct tls_want *v = transport_want(a), *w = transport_want(b);
	/* The roots themselves, not what they are called: the same name may lead elsewhere now. */
	return transport_trusts_alike(a, b) && rules_eq(v, w) && domains_eq(a, b) && v->no_client_cert == w->no_client_cert && v->expired_ok == w->expired_ok;
}
