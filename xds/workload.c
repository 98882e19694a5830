/* xds/workload: see the header.
 *
 *   struct workload: of its view. `taken`: the kernel has the last word, on a stream that is not known to have missed it.
 *
 * Three things make a word be said again: a new stream (sub does that), 30 s (istiod may lose one: it tries five times to write it down, istio.md 2.1.6), and an entry that
 * somebody has deleted under us. The last one makes no sound at all: the stream stays, and what is said on it vanishes. What can be seen is that our own address is missing among
 * the endpoints of a service that had it; then a new stream registers again. */
#include "xds/workload.h"

#include <stdlib.h>

#include "conf/spec.h"
#include "xds/ads.h"
#include "xds/wire.h"

static const char url[] = "type.googleapis.com/istio.v1.HealthInformation";
/* No host can be called so (RFC 6761 6.4). istiod answers any name of endpoints at once, with none (istio.md 1.7); names of listeners are not heeded at all in the sidecar dialect. */
static const char nobody_cluster[] = "outbound|1||workload.thinmesh.invalid", nobody_listener[] = "workload.thinmesh.invalid:1";
static const uint64_t second = UINT64_C(1000000000);
enum { AGAIN_S = 30, AGAIN_JITTER_S = 6, TEXT_MAX = 512, ERROR_CODE = 13 /* INTERNAL; istiod looks whether there is an error, not which */ };
enum { NODE_ID = 1, NODE_METADATA = 3, STRUCT_FIELDS = 1 };
/* An entry that vanished: its stream gets this much time to bring it back (a push may have crossed our word), then new streams, each after twice as long; then it is left as it is:
 * whoever deletes it again and again means it. */
enum { VANISHED_S = 2, VANISHED_MOST_S = 64, REGISTER_TRIES = 6 };

struct workload {
	struct workload_spec spec;
	bool registers, greeted;
	bool spoken, ok, taken, hushed;
	char text[TEXT_MAX];
	uint64_t sent, sent_ns;
	struct timer again;
	struct list waits;          /* xds_health_wait */
	/* our own endpoint, where a service that is subscribed has it */
	struct addr self;           /* the node's; len 0: nobody knows */
	char *own;                  /* the cluster that had it; NULL: none was seen */
	struct timer vanished;
	uint32_t tries;
	uint64_t registered_again;
};

const char *xds_told_name(enum xds_told t)
{
	static const char *const names[] = {"nothing", "nobody", "waits", "sent"};

	return names[t];
}

/* ---- who waits ------------------------------------------------------------------------------------------------------------------ */

static void wait_tell(struct task *t)
{
	struct xds_health_wait *w = container_of(t, struct xds_health_wait, task);

	w->fn(w, w->told);
}

static void wait_over(struct xds_health_wait *w, struct loop *l, bool told)
{
	timer_cancel(l, &w->timer);
	list_del(&w->node);
	w->view = NULL;
	w->told = told;
	loop_defer(l, &w->task, wait_tell);
}

static void wait_late(struct timer *t)
{
	struct xds_health_wait *w = container_of(t, struct xds_health_wait, timer);

	wait_over(w, ((struct workload *)w->view)->spec.loop, false);
}

static void waits_over(struct workload *w, bool told)
{
	list_each(n, tmp, &w->waits)
		wait_over(list_entry(n, struct xds_health_wait, node), w->spec.loop, told);
}

static enum xds_told told(const struct workload *w)
{
	if (!w->spec.is_istio)
		return XDS_TOLD_NOBODY;
	return !w->spoken ? XDS_TOLD_NOTHING : w->taken ? XDS_TOLD_SENT : XDS_TOLD_WAITS;
}

void workload_wait(struct workload *w, struct loop *loop, struct xds_health_wait *waiter, uint64_t max_ns, void (*fn)(struct xds_health_wait *w, bool told))
{
	workload_unwait(waiter);
	waiter->fn = fn;
	if (!w || told(w) != XDS_TOLD_WAITS) {
		wait_over(waiter, loop, w != NULL);
		return;
	}
	waiter->view = w;
	list_push(&w->waits, &waiter->node);
	timer_in(loop, &waiter->timer, max_ns, wait_late);
}

void workload_unwait(struct xds_health_wait *waiter)
{
	struct workload *w = waiter->view;

	loop_undefer(&waiter->task);
	if (!w)
		return;
	timer_cancel(w->spec.loop, &waiter->timer);
	list_del(&waiter->node);
	waiter->view = NULL;
}

/* ---- saying ---------------------------------------------------------------------------------------------------------------------- */

static void again_due(struct timer *t);

/* Our being there is known by a question whose answer is empty. */
static void greet(struct workload *w)
{
	if (w->greeted || !w->spec.is_istio)
		return;
	w->greeted = true;
	if (w->spec.behind_agent)
		sub_want(w->spec.sub, XDS_LDS, STR(nobody_listener));
	else
		sub_want(w->spec.sub, XDS_EDS, STR(nobody_cluster));
}

static void say(struct workload *w)
{
	w->taken = false;
	if (w->hushed)
		return;
	sub_say(w->spec.sub, url, w->ok ? 0 : ERROR_CODE, w->ok ? NULL : w->text);
}

/* A new word that is an old one to istiod moves its times and nothing else (istio.md 2.1.3). It stays told while it is said once more. */
static void again_due(struct timer *t)
{
	struct workload *w = container_of(t, struct workload, again);

	sub_say(w->spec.sub, url, w->ok ? 0 : ERROR_CODE, w->ok ? NULL : w->text);
}

static void on_said(void *ctx, bool taken)
{
	struct workload *w = ctx;

	w->taken = taken;
	if (!taken) {
		timer_cancel(w->spec.loop, &w->again);
		return;
	}
	w->sent++;
	w->sent_ns = w->spec.loop->now_ns;
	/* Loose: many copies of one frozen machine shall not say it together. */
	timer_set_loose(w->spec.loop, &w->again,
		w->spec.loop->now_ns + (AGAIN_S - AGAIN_JITTER_S / 2) * second + loop_random_below(w->spec.loop, AGAIN_JITTER_S * second), again_due);
	waits_over(w, true);
}

/* An app's words: what is no printable ASCII would end the stream, for a Go server refuses a text that is not UTF-8. */
static void text_set(struct workload *w, const char *text)
{
	size_t n = 0;

	for (; text && text[n] && n + 1 < sizeof w->text; n++)
		w->text[n] = text[n] < ' ' || text[n] > '~' ? '?' : text[n];
	w->text[n] = '\0';
}

/* ---- our own entry ---------------------------------------------------------------------------------------------------------------- */

static bool same_ip(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
	return a->sa.sa_family == AF_INET6 && memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

static bool has_self(const struct workload *w, const struct resource *q)
{
	uint32_t n = q->endpoints ? endpoints_count(q->endpoints) : 0;

	for (uint32_t i = 0; i < n; i++) {
		struct endpoint e;

		endpoint_get(q->endpoints, i, &e);
		if (e.addr.len && same_ip(&e.addr, &w->self))
			return true;
	}
	return false;
}

static void own_forget(struct workload *w)
{
	timer_cancel(w->spec.loop, &w->vanished);
	free(w->own);
	w->own = NULL;
}

static void own_find(void *ctx, struct resource *q)
{
	struct workload *w = ctx;

	if (!w->own && q->state == RESOURCE_PRESENT && has_self(w, q))
		w->own = xstrdup(q->name);
}

/* Is a service there that had us and has us no more? One that is not subscribed any more says nothing. */
static bool own_is_gone(struct workload *w)
{
	const struct resource *q = w->own ? resource_find(w->spec.resources, XDS_EDS, str_of(w->own)) : NULL;

	if (q && q->state == RESOURCE_ASKED)
		return false;
	if (q && !has_self(w, q))
		return true;
	if (!q) {
		own_forget(w);
		resources_each(w->spec.resources, XDS_EDS, own_find, w);
	}
	return false;
}

static void vanished_due(struct timer *t)
{
	struct workload *w = container_of(t, struct workload, vanished);

	if (!w->taken || w->hushed || !own_is_gone(w))
		return;
	w->tries++;
	w->registered_again++;
	log_warn(w->spec.log, "xds '%s': '%s' has lost our own endpoint though we are well: a new stream registers it again%s", w->spec.view, w->own,
		w->tries == REGISTER_TRIES ? "; this was the last try" : "");
	ads_restart(w->spec.ads, "our own endpoint has vanished");
}

static void on_answered(void *ctx, enum xds_type t)
{
	struct workload *w = ctx;
	uint64_t wait_s = VANISHED_S;

	if (t != XDS_EDS || !w->spoken || !w->ok || !w->self.len || w->hushed)
		return;
	if (!own_is_gone(w)) {
		timer_cancel(w->spec.loop, &w->vanished);
		if (w->own)
			w->tries = 0;
		return;
	}
	for (uint32_t i = 0; i < w->tries && wait_s < VANISHED_MOST_S; i++)
		wait_s *= 2;
	if (w->tries < REGISTER_TRIES && !timer_armed(&w->vanished))
		timer_in(w->spec.loop, &w->vanished, wait_s * second + loop_random_below(w->spec.loop, second), vanished_due);
}

/* ---- what the app says -------------------------------------------------------------------------------------------------------------- */

void workload_say(struct workload *w, bool ok, const char *text)
{
	if (!ok || !w->ok) { /* whoever was not well is not among the endpoints, and comes back in his own time */
		own_forget(w);
		w->tries = 0;
	}
	w->spoken = true;
	w->ok = ok;
	text_set(w, text);
	if (!w->spec.is_istio)
		return;
	greet(w);
	say(w);
	if (ok && w->self.len)
		(void)own_is_gone(w); /* it may be there already */
}

void workload_hush(struct workload *w, bool hushed)
{
	if (w->hushed == hushed)
		return;
	w->hushed = hushed;
	if (!w->spoken || !w->spec.is_istio)
		return;
	if (hushed) {
		timer_cancel(w->spec.loop, &w->again);
		timer_cancel(w->spec.loop, &w->vanished);
		sub_say(w->spec.sub, NULL, 0, NULL);
	} else {
		say(w);
	}
}

/* ---- a life ---------------------------------------------------------------------------------------------------------------------- */

/* Node.metadata is a Struct: a map of names to values. */
static bool node_has(struct str node, const char *key)
{
	struct str metadata = {0}, name;
	struct wire_field f;

	wire_last_bytes(node, NODE_METADATA, &metadata);
	for (struct wire w = wire_of(metadata); wire_next(&w, &f) > 0;)
		if (f.number == STRUCT_FIELDS && f.type == WIRE_BYTES && wire_last_bytes(f.bytes, 1, &name) == 0 && str_is(name, key))
			return true;
	return false;
}

/* "sidecar~10.0.0.7~..." */
static void self_of(struct str node, struct addr *ret)
{
	struct str id = {0};
	ptrdiff_t at;

	*ret = (struct addr){.len = 0};
	if (wire_last_bytes(node, NODE_ID, &id) != 0 || (at = str_find(id, '~')) < 0)
		return;
	id = str_cut(id, (size_t)at + 1, id.n);
	at = str_find(id, '~');
	id = str_cut(id, 0, at > 0 ? (size_t)at : 0);
	if (str_is(id, "127.0.0.1") || addr_ip(id, 0, ret) != 0) /* 127.0.0.1: nobody said who we are (xds/node); others of 127/8 are as good as any */
		ret->len = 0;
}

struct workload *workload_new(const struct workload_spec *spec)
{
	struct workload *w = xnew(struct workload);

	w->spec = *spec;
	list_init(&w->waits);
	if (!spec->is_istio)
		return w;
	sub_on_said(spec->sub, on_said, w);
	sub_say_after(spec->sub, spec->behind_agent ? XDS_LDS : -1);
	w->registers = node_has(spec->node, "AUTO_REGISTER_GROUP") || node_has(spec->node, "WORKLOAD_ENTRY");
	if (w->registers)
		greet(w);
	if (node_has(spec->node, "AUTO_REGISTER_GROUP")) { /* an entry of somebody else is his to make again */
		self_of(spec->node, &w->self);
		resources_on_answered(spec->resources, on_answered, w);
	}
	return w;
}

void workload_free(struct workload **pw)
{
	struct workload *w = *pw;

	if (!w)
		return;
	*pw = NULL;
	waits_over(w, false);
	timer_cancel(w->spec.loop, &w->again);
	own_forget(w);
	resources_on_answered(w->spec.resources, NULL, NULL);
	sub_on_said(w->spec.sub, NULL, NULL);
	free(w);
}

/* ---- for people -------------------------------------------------------------------------------------------------------------------- */

void workload_get(const struct workload *w, struct xds_health *ret)
{
	*ret = (struct xds_health){.told = told(w), .ok = w->ok, .sent_ns = w->sent_ns, .sent = w->sent};
}

void workload_info(const struct workload *w, struct xds_stream_info *ret)
{
	workload_get(w, &ret->health);
	ret->registers = w->registers;
	ret->registered_again = w->registered_again;
}
