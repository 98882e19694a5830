/* xds/sub: see sub.h and sub_int.h.
 *
 *   sub_want --> changed --(end of the turn: flush)--> form.request --> ads_send        per type, in the order CDS, EDS, LDS, RDS (Consul's, and the one that spares istiod's
 *                                                                                       second EDS answer after CDS)
 *   ads bytes --> inflow --> resource by resource --> the events; the message's end: version, nonce, ACK or NACK
 *
 * While one stream takes over from another both are read. Their messages never mix: who begins one while the other is in the middle of one ends the older stream, which was to
 * end anyway; the newer one is told everything anew. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc.h"
#include "xds/sub_int.h"

static const uint64_t ms = 1000000;
enum { REASONS_MAX = 4096, REMOVED_MAX = 65536, AGAIN_MS = 20, SILENT_MS = 15000, CROSSED_MS = 250, BARRED_MS = 600000 };
static const size_t message_least = (size_t)64 << 20; /* may always come, as a stream: nothing of it is kept here */

const char *const xds_type_url[XDS_TYPES] = {
	[XDS_LDS] = "type.googleapis.com/envoy.config.listener.v3.Listener",
	[XDS_RDS] = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	[XDS_CDS] = "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	[XDS_EDS] = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	[XDS_SDS] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};
const char *const xds_type_name[XDS_TYPES] = {[XDS_LDS] = "LDS", [XDS_RDS] = "RDS", [XDS_CDS] = "CDS", [XDS_EDS] = "EDS", [XDS_SDS] = "SDS"};
static const enum xds_type request_order[XDS_TYPES] = {XDS_CDS, XDS_EDS, XDS_LDS, XDS_RDS, XDS_SDS};

int xds_type_of(struct str url)
{
	for (int t = 0; t < XDS_TYPES; t++)
		if (str_is(url, xds_type_url[t]))
			return t;
	return -1;
}

static const struct sub_events *events(const struct sub *s, enum xds_type t)
{
	return s->route[t].ev ? s->route[t].ev : s->ev;
}

static void *events_ctx(const struct sub *s, enum xds_type t)
{
	return s->route[t].ev ? s->route[t].ctx : s->ctx;
}

void sub_route(struct sub *s, enum xds_type t, const struct sub_events *ev, void *ctx)
{
	s->route[t].ev = ev;
	s->route[t].ctx = ctx;
}

static void set_text(char **at, struct str s)
{
	free(*at);
	*at = xstrndup(s.p ? s.p : "", s.n);
}

/* ---- names ---------------------------------------------------------------------------------------------------------------------------- */

static void flush(struct task *t);

static void name_free(struct sub_name *n)
{
	struct sub *s = n->sub;

	map_del(&s->kind[n->type].names, str_of(n->name));
	list_del(&n->order);
	list_del(&n->changed);
	timer_cancel(s->loop, &n->silent);
	if (n->charged)
		mem_give(&s->account, n->charged);
	free(n->version);
	free(n->name);
	free(n);
}

static struct sub_name *name_find(const struct sub *s, enum xds_type t, struct str name)
{
	return map_get(&s->kind[t].names, name);
}

static struct sub_name *name_new(struct sub *s, enum xds_type t, struct str name)
{
	struct sub_name *n = xnew(struct sub_name);

	n->sub = s;
	n->type = t;
	n->name = xstrndup(name.p, name.n);
	list_init(&n->changed);
	list_push(&s->kind[t].order, &n->order);
	map_put(&s->kind[t].names, str_of(n->name), n);
	return n;
}

static void name_changed(struct sub_name *n)
{
	if (!list_linked(&n->changed))
		list_push(&n->sub->kind[n->type].changed, &n->changed);
	loop_defer(n->sub->loop, &n->sub->flush, flush);
}

void sub_want(struct sub *s, enum xds_type t, struct str name)
{
	struct sub_name *n = name_find(s, t, name);

	if (!n)
		n = name_new(s, t, name);
	if (n->wants++)
		return;
	s->kind[t].wanted++;
	name_changed(n);
}

void sub_unwant(struct sub *s, enum xds_type t, struct str name)
{
	struct sub_name *n = name_find(s, t, name);

	if (!n || !n->wants || --n->wants)
		return;
	s->kind[t].wanted--;
	timer_cancel(s->loop, &n->silent);
	name_changed(n);
}

void sub_wildcard(struct sub *s, enum xds_type t, bool on)
{
	if (s->kind[t].wildcard == on)
		return;
	s->kind[t].wildcard = on;
	if (on)
		loop_defer(s->loop, &s->flush, flush);
}

void sub_again(struct sub *s, enum xds_type t)
{
	if (!s->current || s->current->form->delta)
		return;
	s->current->asked[t].again = true;
	loop_defer(s->loop, &s->flush, flush);
}

bool sub_is_answered(const struct sub *s, enum xds_type t, struct str name)
{
	const struct sub_name *n = name_find(s, t, name);

	return n && s->current && n->answered == s->current->number;
}

static void silent_due(struct timer *t)
{
	struct sub_name *n = container_of(t, struct sub_name, silent);
	struct sub *s = n->sub;

	if (!s->current)
		return;
	n->answered = s->current->number;
	n->known = true;
	events(s, n->type)->silent(events_ctx(s, n->type), n->type, str_of(n->name));
}

static void name_answered(struct sub_stream *st, struct sub_name *n)
{
	timer_cancel(st->sub->loop, &n->silent);
	n->answered = st->number;
	n->known = true;
}

/* Delta: what initial_resource_versions will say. A server that gives none (istiod) costs nothing. */
static void name_version(struct sub_stream *st, enum xds_type t, struct str name, struct str version)
{
	struct sub *s = st->sub;
	struct sub_name *n = name_find(s, t, name);

	if (!version.n) {
		if (n) {
			free(n->version);
			n->version = NULL;
		}
		return;
	}
	if (!n) {
		size_t cost = sizeof(*n) + 2 * name.n + 64 + version.n;
		if (!s->kind[t].wildcard || !mem_try(&s->account, cost))
			return;
		n = name_new(s, t, name);
		n->charged = cost;
		n->message = st->message;
	}
	set_text(&n->version, version);
}

/* ---- for the forms -------------------------------------------------------------------------------------------------------------------------- */

struct sub_kind *sub_kind_of(struct sub_stream *st, enum xds_type t)
{
	return &st->sub->kind[t];
}

struct request sub_request(struct sub_stream *st, enum xds_type t)
{
	const struct sub_asked *a = &st->asked[t];
	struct request r = {.delta = st->form->delta, .type_url = str_of(xds_type_url[t]), .version = str_of(st->sub->kind[t].version)};

	if (!st->node_said)
		r.node = sb_view(&st->sub->node);
	if (a->nonce)
		r.nonce = str_of(a->nonce);
	if (a->ack && a->reasons) {
		r.error = true;
		r.error_code = GRPC_INVALID_ARGUMENT;
		r.error_text = str_of(a->reasons);
	}
	return r;
}

int sub_send(struct sub_stream *st, enum xds_type t, struct sb *taken)
{
	int rc = ads_send(st->ads, taken->p ? taken->p : "", taken->n);

	sb_end(taken);
	if (rc < 0)
		return rc;
	st->node_said = true;
	st->asked[t].asked = true;
	st->asked[t].requests++;
	return 0;
}

void sub_acked(struct sub_stream *st, enum xds_type t)
{
	struct sub_asked *a = &st->asked[t];

	a->ack = false;
	free(a->reasons);
	a->reasons = NULL;
}

void sub_subscribed(struct sub_stream *st, struct sub_name *n)
{
	struct sub *s = st->sub;

	n->stream = st->number;
	n->request = st->asked[n->type].requests;
	/* A name that was answered once stays as it was said to be, whatever a new stream is silent about (gRFC A57: sent, connected, never received). */
	if ((s->conf->profile != PROFILE_ISTIO || n->type == XDS_SDS) && !n->known)
		timer_in(s->loop, &n->silent, SILENT_MS * ms, silent_due);
}

void sub_settle(struct sub_stream *st, enum xds_type t)
{
	struct sub_kind *k = &st->sub->kind[t];

	for (struct list *at; (at = list_pop(&k->changed));) {
		struct sub_name *n = list_entry(at, struct sub_name, changed);
		if (n->wants)
			continue;
		if (n->stream == st->number)
			st->asked[t].dropped[st->asked[t].ndropped++ % DROPPED_MAX] = str_hash(str_of(n->name));
		n->stream = 0;
		if (!n->version || !k->wildcard)
			name_free(n);
	}
}

/* ---- saying ---------------------------------------------------------------------------------------------------------------------------------- */

static bool has_asked(const struct sub_stream *st)
{
	for (int t = 0; t < XDS_TYPES; t++)
		if (st->asked[t].asked)
			return true;
	return false;
}

/* Never the first message of a stream: istiod drops it there, and the node with it (istio.md 1.2). */
static int say(struct sub_stream *st)
{
	struct sub *s = st->sub;
	struct sb out = {0};

	if (!s->say.url || !*s->say.url || st->said || st != s->current || !has_asked(st) || (s->say.after >= 0 && !st->asked[s->say.after].asked))
		return 0;
	struct request r = {.delta = st->form->delta, .type_url = str_of(s->say.url), .error = s->say.error, .error_code = s->say.code, .error_text = str_of(s->say.text)};
	request_write(&r, &out);
	int rc = ads_send(st->ads, out.p, out.n);
	sb_end(&out);
	st->said = rc == 0;
	st->say_unsent = rc == 0 ? ads_unsent(st->ads) : 0;
	return rc;
}

/* Bytes leave in the order in which they were queued. */
static void on_sent(void *user, struct ads_stream *ads, size_t n)
{
	struct sub *s = user;
	struct sub_stream *st = ads_stream_data(ads);

	if (!st || !st->say_unsent)
		return;
	st->say_unsent -= n < st->say_unsent ? n : st->say_unsent;
	if (!st->say_unsent && st->said && s->say.fn)
		s->say.fn(s->say.ctx, true);
}

static void again_due(struct timer *t)
{
	struct sub *s = container_of(t, struct sub, again);

	flush(&s->flush);
}

static bool is_barred(const struct sub *s)
{
	return s->barred_until_ns > s->loop->now_ns;
}

static int flush_stream(struct sub_stream *st)
{
	int rc = 0;

	for (int i = 0; i < XDS_TYPES && rc == 0; i++)
		if (request_order[i] != XDS_SDS || !is_barred(st->sub))
			rc = st->form->request(st, request_order[i]);
	return rc == 0 ? say(st) : rc;
}

/* What cannot be said now is not queued: it is worked out anew from what is wanted then, so only the newest state waits. */
static void flush(struct task *task)
{
	struct sub *s = container_of(task, struct sub, flush);
	bool later = false;

	list_each(at, tmp, &s->streams) {
		int rc = flush_stream(list_entry(at, struct sub_stream, node));
		later |= rc == -EAGAIN || rc == -ENOMEM;
	}
	if (later && !timer_armed(&s->again))
		timer_in(s->loop, &s->again, AGAIN_MS * ms, again_due);
	if (s->current)
		return;
	for (int t = 0; t < XDS_TYPES; t++) { /* nobody to tell: a new stream is told what is wanted then */
		list_each(at, tmp, &s->kind[t].changed) {
			struct sub_name *n = list_entry(at, struct sub_name, changed);
			list_del(&n->changed);
			if (!n->wants && (!n->version || !s->kind[t].wildcard))
				name_free(n);
		}
	}
}

static void say_now(struct dirty *d)
{
	flush(&container_of(d, struct sub, word)->flush);
}

/* Not by the task: a post is heard in one, and a task of a task waits for the next turn. What is dirty is flushed twice a turn: the words, then the connection. */
void sub_say(struct sub *s, const char *type_url, int error_code, const char *error_text)
{
	set_text(&s->say.url, str_of(type_url));
	set_text(&s->say.text, str_of(error_text ? error_text : ""));
	s->say.code = error_code;
	s->say.error = error_code != 0;
	list_each(at, tmp, &s->streams)
		list_entry(at, struct sub_stream, node)->said = false;
	loop_dirty(s->loop, &s->word, say_now);
}

void sub_say_after(struct sub *s, int type)
{
	s->say.after = type;
}

void sub_on_said(struct sub *s, void (*fn)(void *ctx, bool taken), void *ctx)
{
	s->say.fn = fn;
	s->say.ctx = ctx;
}

/* ---- a resource ------------------------------------------------------------------------------------------------------------------------------- */

static void seen_end(struct sub_stream *st)
{
	if (st->seen.slots)
		acct_free(&st->sub->account, st->seen.slots);
	st->seen = (struct sub_seen){.slots = NULL};
}

static bool seen_grow(struct sub_stream *st)
{
	struct sub_seen old = st->seen, wide = {.cap = old.cap ? old.cap * 2 : 64};

	wide.slots = acct_alloc(&st->sub->account, wide.cap * sizeof(*wide.slots));
	if (!wide.slots)
		return false;
	memset(wide.slots, 0, wide.cap * sizeof(*wide.slots));
	for (uint32_t i = 0; i < old.cap; i++) {
		if (!old.slots[i])
			continue;
		uint32_t at = (uint32_t)old.slots[i] & (wide.cap - 1);
		while (wide.slots[at])
			at = (at + 1) & (wide.cap - 1);
		wide.slots[at] = old.slots[i];
	}
	wide.n = old.n;
	seen_end(st);
	st->seen = wide;
	return true;
}

/* Names that nobody wanted, by their hashes. Where no memory is left for it doubles are not noticed: the last one counts then. */
static bool seen_before(struct sub_stream *st, struct str name)
{
	struct sub_seen *seen = &st->seen;
	uint64_t h = str_hash_seeded(name, st->sub->kind[0].names.seed) | 1;

	if (seen->n * 2 >= seen->cap && !seen_grow(st))
		return false;
	seen = &st->seen;
	uint32_t at = (uint32_t)h & (seen->cap - 1);
	for (; seen->slots[at]; at = (at + 1) & (seen->cap - 1))
		if (seen->slots[at] == h)
			return true;
	seen->slots[at] = h;
	seen->n++;
	return false;
}

/* Of 100,000 bad resources the first reasons are told, not all of them kept. */
static void add_reason(struct sub_stream *st, struct str text)
{
	size_t room = st->reasons.n < REASONS_MAX ? REASONS_MAX - st->reasons.n : 0;

	if (!room || !text.n)
		return;
	if (st->reasons.n) {
		sb_add(&st->reasons, "; ", room < 2 ? room : 2);
		room -= room < 2 ? room : 2;
	}
	size_t n = text.n < room ? text.n : room;
	while (n && n < text.n && ((uint8_t)text.p[n] & 0xc0) == 0x80) /* not inside of a character: the text has to stay UTF-8 */
		n--;
	sb_add(&st->reasons, text.p, n);
}

/* Both protocol strings have to be UTF-8, or a Go server refuses the whole request, and ends the stream. Names come from whoever made the bad resource. */
static void make_printable(struct sb *b)
{
	for (size_t i = 0; i < b->n; i++)
		if ((uint8_t)b->p[i] < ' ' || (uint8_t)b->p[i] > '~')
			b->p[i] = '?';
}

static bool in_begin(void *ctx, struct str url, struct str name, size_t n)
{
	struct sub_stream *st = ctx;
	struct sub *s = st->sub;
	int t = xds_type_of(url);

	if (t < 0 || !st->asked[t].asked) /* told apart by the message's own type at its end */
		return false;
	if (st->first_type < 0)
		st->first_type = t;
	else if (st->first_type != t)
		st->mixed = true;
	st->type = (enum xds_type)t;
	st->why.n = 0;
	st->resource = !st->mixed && events(s, st->type)->resource_begin(events_ctx(s, st->type), st->type, name, n, &st->why) ? TAKING : DROPPING;
	return true;
}

static void in_bytes(void *ctx, const void *p, size_t n)
{
	struct sub_stream *st = ctx;

	if (st->resource == TAKING)
		events(st->sub, st->type)->resource_bytes(events_ctx(st->sub, st->type), p, n);
}

static void in_end(void *ctx, struct str name, struct str version)
{
	struct sub_stream *st = ctx;
	struct sub *s = st->sub;
	struct sub_name *n = name.n ? name_find(s, st->type, name) : NULL;
	bool taken = st->resource == TAKING, twice = name.n && (n ? n->message == st->message : seen_before(st, name));

	st->resource = NO_RESOURCE;
	if (n) {
		n->message = st->message;
		name_answered(st, n);
	}
	if (twice) {
		if (taken)
			events(s, st->type)->resource_cut(events_ctx(s, st->type));
		st->why.n = 0;
		sb_fmt(&st->why, "%.*s: comes twice in one answer", (int)name.n, name.p);
	} else if (taken) {
		if (events(s, st->type)->resource_end(events_ctx(s, st->type), &st->why) == 0) {
			st->why.n = 0;
			if (st->form->delta)
				name_version(st, st->type, name, version);
		} else if (!st->why.n) {
			sb_fmt(&st->why, "%.*s: refused", (int)name.n, name.p);
		}
	}
	add_reason(st, sb_view(&st->why));
}

static void removed(struct sub_stream *st, enum xds_type t, struct str name)
{
	struct sub *s = st->sub;
	struct sub_name *n = name_find(s, t, name);

	if (!st->asked[t].asked)
		return;
	if (n) {
		name_answered(st, n);
		free(n->version);
		n->version = NULL;
	}
	events(s, t)->removed(events_ctx(s, t), t, name);
	n = name_find(s, t, name); /* the event may have dropped it */
	if (n && !n->wants && !list_linked(&n->changed))
		name_free(n);
}

static void in_removed(void *ctx, struct str name)
{
	struct sub_stream *st = ctx;
	struct str url = inflow_type(st->inflow);
	int t = url.n ? xds_type_of(url) : st->first_type;

	if (t >= 0) {
		removed(st, (enum xds_type)t, name);
	} else if (!url.n && st->removed.n + name.n < REMOVED_MAX && !memchr(name.p, 0, name.n)) {
		sb_add(&st->removed, name.p, name.n);
		sb_add(&st->removed, "", 1);
	}
}

static const struct inflow_events inflow_events = {in_begin, in_bytes, in_end, in_removed};

/* ---- a message --------------------------------------------------------------------------------------------------------------------------------- */

static void message_drop(struct sub_stream *st)
{
	if (st->resource == TAKING)
		events(st->sub, st->type)->resource_cut(events_ctx(st->sub, st->type));
	st->resource = NO_RESOURCE;
	st->reading = false;
	st->removed.n = 0;
	seen_end(st);
}

/* State of the world, LDS and CDS: what was named and is missing does not exist (envoy.md 1h 4); where it was named in the one request that this answers. Any other answer may
 * have crossed the request: the next ones will have it, or time tells. */
static void find_absent(struct sub_stream *st, enum xds_type t)
{
	struct sub *s = st->sub;
	const struct sub_asked *a = &st->asked[t];
	bool sure = a->responses == 1 && a->requests == 1;

	list_each(at, tmp, &s->kind[t].order) {
		struct sub_name *n = list_entry(at, struct sub_name, order);
		if (!n->wants || n->stream != st->number || n->message == st->message || n->answered == st->number)
			continue;
		if (sure)
			name_answered(st, n);
		else if (s->conf->profile != PROFILE_ISTIO && (!timer_armed(&n->silent) || n->silent.at_ns > s->loop->now_ns + CROSSED_MS * ms))
			timer_in(s->loop, &n->silent, CROSSED_MS * ms, silent_due);
	}
}

static bool is_full(struct sub_stream *st, enum xds_type t)
{
	struct sub_asked *a = &st->asked[t];
	bool whole = a->whole;

	a->whole = false;

	if (t != XDS_LDS && t != XDS_CDS)
		return false;
	if (st->sub->conf->profile == PROFILE_TEMPLATE) /* Nacos pushes what changed alone (istio.md 5) */
		return whole;
	/* istiod's first answer is the whole, in one message (istio.md 1.3), and its resources have no versions by which it could tell us what is gone. */
	return st->form->delta ? st->sub->conf->profile == PROFILE_ISTIO && a->wildcard && a->responses == 1 && !a->versions : true;
}

static void count(struct sub_stream *st, struct sub_kind *k, struct str version, bool refused)
{
	char text[sizeof(k->last_reject)];

	if (!refused) {
		k->success++;
		k->rejecting = false;
		set_text(&k->version, version);
		return;
	}
	k->rejected++;
	make_printable(&st->reasons);
	snprintf(text, sizeof(text), "%.*s", (int)st->reasons.n, st->reasons.p);
	/* A server that repeats itself is told of once, one that changes its mind not without end. */
	if ((!k->rejecting || strcmp(text, k->last_reject) != 0) && log_every(st->sub->log, &k->said, st->sub->loop->now_ns, 20, 10000))
		log_warn(st->sub->log, "xds '%s': %s refused, the last good ones stay: %s", st->sub->view, xds_type_name[k - st->sub->kind], text);
	memcpy(k->last_reject, text, sizeof(text));
	k->rejecting = true;
}

static void message_over(struct sub_stream *st, const struct inflow_result *result)
{
	struct sub *s = st->sub;
	int at = result->type_url.n ? xds_type_of(result->type_url) : st->first_type;
	enum xds_type t = (enum xds_type)at;

	st->reading = false;
	if (at >= 0)
		s->kind[t].bytes += st->size;
	if (at < 0 || !st->asked[t].asked) { /* never asked: never acknowledged */
		if (at >= 0)
			s->kind[t].ignored++;
		st->removed.n = 0;
		seen_end(st);
		return;
	}
	struct sub_asked *a = &st->asked[t];
	if (st->mixed || (st->first_type >= 0 && st->first_type != at))
		add_reason(st, STR("resources of more than one type in one answer"));
	for (size_t i = 0; i < st->removed.n; i += strlen(st->removed.p + i) + 1)
		removed(st, t, str_of(st->removed.p + i));
	st->removed.n = 0;
	/* Two answers in one turn: each gets its own word. */
	if (a->ack)
		(void)(st->form->acknowledge ? st->form->acknowledge : st->form->request)(st, t);
	a->responses++;
	bool refused = st->reasons.n > 0, full = is_full(st, t);
	count(st, &s->kind[t], result->version, refused);
	set_text(&a->nonce, result->nonce);
	free(a->reasons);
	a->reasons = refused ? xstrndup(st->reasons.p, st->reasons.n) : NULL;
	/* An answer without a nonce cannot be acknowledged: an empty one would ask for everything again, and again. */
	a->ack = result->nonce.n > 0;
	/* Consul sends nothing more while an ACK is missing, so it goes before the work that the answer makes. Over state of the world it waits for the turn's end: it carries names. */
	if (st->form->acknowledge && a->ack)
		(void)st->form->acknowledge(st, t);
	if (!st->form->delta && full)
		find_absent(st, t);
	seen_end(st);
	events(s, t)->answered(events_ctx(s, t), t, full, refused, result->version);
	loop_defer(s->loop, &s->flush, flush);
}

/* ---- streams ------------------------------------------------------------------------------------------------------------------------------------ */

static bool on_begin(void *user, struct ads_stream *ads, uint32_t n)
{
	struct sub *s = user;
	struct sub_stream *st = ads_stream_data(ads);
	const struct account *memory = &s->loop->memory;
	size_t left = memory->limit > memory->used ? memory->limit - memory->used : 0;

	if (n > message_least && n > left)
		return false;
	list_each(at, tmp, &s->streams) {
		struct sub_stream *other = list_entry(at, struct sub_stream, node);
		if (other == st || !other->reading)
			continue;
		bool older = st->number < other->number;
		ads_stream_end(older ? ads : other->ads, "another stream took over");
		if (older)
			return false;
		break;
	}
	st->reading = true;
	st->message = ++s->messages;
	st->size = n;
	st->first_type = -1;
	st->mixed = false;
	st->reasons.n = 0;
	inflow_begin(st->inflow, n);
	if (s->ev->begins)
		s->ev->begins(s->ctx);
	return true;
}

static void on_bytes(void *user, struct ads_stream *ads, const void *p, size_t n, bool whole)
{
	struct sub_stream *st = ads_stream_data(ads);
	struct inflow_result result;
	const char *why;
	char text[160];

	(void)user;
	if (!st->reading)
		return;
	int r = inflow_bytes(st->inflow, p, n, whole, &result, &why);
	if (r < 0) {
		snprintf(text, sizeof(text), "the server's answer makes no sense: %s", why);
		ads_stream_end(ads, text);
	} else if (whole) {
		message_over(st, &result);
	}
}

static void on_open(void *user, struct ads_stream *ads)
{
	struct sub *s = user;
	struct sub_stream *st = xnew(struct sub_stream);

	st->sub = s;
	st->ads = ads;
	st->form = s->form;
	st->number = ++s->streams_ever;
	st->first_type = -1;
	st->inflow = inflow_new(s->form->delta, &inflow_events, st);
	list_push(&s->streams, &st->node);
	ads_stream_set(ads, st);
	s->current = st;
	for (int t = 0; t < XDS_TYPES; t++)
		list_each(at, tmp, &s->kind[t].order) {
			struct sub_name *n = list_entry(at, struct sub_name, order);
			timer_cancel(s->loop, &n->silent);
			if (n->wants)
				name_changed(n);
		}
	flush(&s->flush);
}

static void stream_free(struct sub_stream *st)
{
	message_drop(st);
	list_del(&st->node);
	inflow_free(&st->inflow);
	for (int t = 0; t < XDS_TYPES; t++) {
		free(st->asked[t].nonce);
		free(st->asked[t].reasons);
	}
	sb_end(&st->why);
	sb_end(&st->reasons);
	sb_end(&st->removed);
	free(st);
}

/* The one that was to take over is gone: the older one goes on, and is told all names again, for nobody knows which of them it was told. */
static void go_back_to(struct sub *s, struct sub_stream *st)
{
	s->current = st;
	for (int t = 0; t < XDS_TYPES; t++)
		list_each(at, tmp, &s->kind[t].order) {
			struct sub_name *n = list_entry(at, struct sub_name, order);
			n->stream = 0;
			name_changed(n);
		}
}

/* It was asked for them, served everything else, and said no. */
static bool bars_secrets(const struct sub_stream *st, int status)
{
	const struct sub_asked *a = &st->asked[XDS_SDS];

	return a->asked && !a->responses && st->sub->route[XDS_SDS].ev && ads_stream_has_answered(st->ads) &&
		(status == GRPC_UNAUTHENTICATED || status == GRPC_PERMISSION_DENIED || status == GRPC_INVALID_ARGUMENT || status == GRPC_UNKNOWN);
}

static void on_closed(void *user, struct ads_stream *ads, int status, const char *why)
{
	struct sub *s = user;
	struct sub_stream *st = ads_stream_data(ads);
	bool was_current = st == s->current, unheard = was_current && st->said && !ads_stream_has_answered(ads);

	if (bars_secrets(st, status)) {
		s->barred_until_ns = s->loop->now_ns + BARRED_MS * ms;
		log_warn(s->log, "xds '%s': %s ended the stream that asked it for secrets; it is not asked for them any more: %s", s->view, ads_server(s->ads), why);
		events(s, XDS_SDS)->state(events_ctx(s, XDS_SDS), false, why);
	}
	ads_stream_set(ads, NULL);
	stream_free(st);
	if (was_current) {
		s->current = NULL;
		for (int t = 0; t < XDS_TYPES; t++)
			list_each(at, tmp, &s->kind[t].order)
				timer_cancel(s->loop, &list_entry(at, struct sub_name, order)->silent);
		if (!list_empty(&s->streams))
			go_back_to(s, list_entry(s->streams.prev, struct sub_stream, node));
	}
	if (unheard && s->say.fn)
		s->say.fn(s->say.ctx, false);
	if (unheard && s->current) {
		s->current->said = false;
		loop_defer(s->loop, &s->flush, flush);
	}
	if (status == GRPC_UNIMPLEMENTED && s->form->delta && s->conf->protocol == PROTOCOL_AUTO && s->conf->profile == PROFILE_ISTIO) {
		log_info(s->log, "xds '%s': %s does not speak the incremental protocol: state of the world from now on", s->view, ads_server(s->ads));
		s->form = &sub_sotw;
		ads_set_path(s->ads, s->form->path);
	}
}

static void on_state(void *user, bool up, const char *why)
{
	struct sub *s = user;

	s->ev->state(s->ctx, up, why);
	for (int t = 0; t < XDS_TYPES; t++)
		if (s->route[t].ev)
			s->route[t].ev->state(s->route[t].ctx, up, why);
}

static const struct ads_events ads_events = {.open = on_open, .begin = on_begin, .bytes = on_bytes, .closed = on_closed, .state = on_state, .sent = on_sent};

/* ---- a life -------------------------------------------------------------------------------------------------------------------------------------- */

/* istiod forgets names of its grpc dialect over delta, Nacos breaks its delta stream, Consul has nothing else (istio.md 1.6, 5). */
static const struct sub_form *form_of(const struct conf_xds *c)
{
	switch (c->profile) {
	case PROFILE_CONSUL:
		return &sub_delta;
	case PROFILE_ISTIO_GRPC:
	case PROFILE_TEMPLATE:
		return &sub_sotw;
	case PROFILE_ISTIO:
		return c->protocol == PROTOCOL_SOTW ? &sub_sotw : &sub_delta;
	default:
		return c->protocol == PROTOCOL_DELTA ? &sub_delta : &sub_sotw;
	}
}

void sub_conf(struct sub *s, const struct conf_xds *conf, const void *node, size_t node_n)
{
	s->conf = conf;
	s->form = form_of(conf);
	s->node.n = 0;
	sb_add(&s->node, node, node_n);
	ads_set_path(s->ads, s->form->path);
}

struct sub *sub_new(const struct sub_spec *spec, const struct sub_events *ev, void *ctx)
{
	struct sub *s = xnew(struct sub);

	s->loop = spec->loop;
	s->log = spec->log;
	s->ads = spec->ads;
	s->view = spec->view;
	s->ev = ev;
	s->ctx = ctx;
	account_init(&s->account, &s->loop->memory, "xds subscriptions", SIZE_MAX);
	s->say.after = -1;
	list_init(&s->streams);
	for (int t = 0; t < XDS_TYPES; t++) {
		map_init_borrowed(&s->kind[t].names, loop_random(s->loop));
		list_init(&s->kind[t].order);
		list_init(&s->kind[t].changed);
		s->kind[t].version = xstrdup("");
	}
	sub_conf(s, spec->conf, spec->node, spec->node_n);
	ads_user(s->ads, &ads_events, s);
	return s;
}

void sub_free(struct sub **ps)
{
	struct sub *s = *ps;

	if (!s)
		return;
	*ps = NULL;
	loop_undefer(&s->flush);
	loop_clean(&s->word);
	timer_cancel(s->loop, &s->again);
	list_each(at, tmp, &s->streams) {
		ads_stream_set(list_entry(at, struct sub_stream, node)->ads, NULL);
		stream_free(list_entry(at, struct sub_stream, node));
	}
	for (int t = 0; t < XDS_TYPES; t++) {
		list_each(at, tmp, &s->kind[t].order)
			name_free(list_entry(at, struct sub_name, order));
		map_end(&s->kind[t].names);
		free(s->kind[t].version);
	}
	ads_user(s->ads, NULL, NULL);
	account_end(&s->account);
	sb_end(&s->node);
	free(s->say.url);
	free(s->say.text);
	free(s);
}

const char *sub_protocol(const struct sub *s)
{
	return s->form->name;
}

void sub_info(const struct sub *s, enum xds_type t, struct sub_info *ret)
{
	const struct sub_kind *k = &s->kind[t];

	*ret = (struct sub_info){.wanted = k->wanted, .wildcard = k->wildcard, .success = k->success, .rejected = k->rejected, .bytes = k->bytes, .ignored = k->ignored};
	snprintf(ret->version, sizeof(ret->version), "%s", k->version);
	snprintf(ret->last_reject, sizeof(ret->last_reject), "%s", k->last_reject);
}
