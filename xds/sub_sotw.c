/* xds/sub_sotw: subscriptions in state of the world: each request carries all the names of its type, an ACK too: istiod forgets what is left out (istio.md 1.3). */
#include "xds/sub_int.h"
#include <string.h>

/* Has anything changed since the last request of this stream? */
static bool changed(const struct sub_stream *st, const struct sub_kind *k, const struct sub_asked *a)
{
	if (k->wildcard && !a->wildcard)
		return true;
	list_each(at, tmp, &k->changed) {
		const struct sub_name *n = list_entry(at, struct sub_name, changed);
		if ((n->wants > 0) != (n->stream == st->number))
			return true;
	}
	return false;
}

static void write_names(const struct sub_kind *k, const struct sub_asked *a, enum xds_type t, bool all, struct sb *out)
{
	if (all && (k->wanted || a->named || t == XDS_RDS || t == XDS_EDS))
		request_subscribe(out, STR("*"));
	list_each(at, tmp, &k->order) {
		const struct sub_name *n = list_entry(at, struct sub_name, order);
		if (n->wants)
			request_subscribe(out, str_of(n->name));
	}
}

/* As if it were the first one of the stream: without a nonce. A server that takes every request with one for an acknowledgement (Nacos, istio.md 5) answers this; the others answer
 * twice, and equal bytes cost nothing. */
static int ask_again(struct sub_stream *st, enum xds_type t)
{
	struct sub_kind *k = sub_kind_of(st, t);
	struct sub_asked *a = &st->asked[t];
	struct request r = sub_request(st, t);
	struct sb out = {0};

	r.nonce = r.version = STR("");
	r.error = false;
	request_write(&r, &out);
	write_names(k, a, t, a->wildcard, &out);
	int rc = sub_send(st, t, &out);
	if (rc < 0)
		return rc;
	a->again = false;
	a->whole = true;
	return 0;
}

/* Of a request that refuses a server may ignore the names (istiod does, istio.md 1.3): it has the ones that were said before, and what is new goes in a request of its own. */
static int refuse(struct sub_stream *st, enum xds_type t)
{
	struct sub_kind *k = sub_kind_of(st, t);
	struct sub_asked *a = &st->asked[t];
	struct request r = sub_request(st, t);
	struct sb out = {0};

	request_write(&r, &out);
	if (a->wildcard && (a->named || t == XDS_RDS || t == XDS_EDS))
		request_subscribe(&out, STR("*"));
	list_each(at, tmp, &k->order) {
		const struct sub_name *n = list_entry(at, struct sub_name, order);
		if (n->stream == st->number)
			request_subscribe(&out, str_of(n->name));
	}
	int rc = sub_send(st, t, &out);
	if (rc == 0)
		sub_acked(st, t);
	return rc;
}

/* A name that was dropped on this stream and is wanted again: a push that crossed the dropping made the server ignore it, so it may see no change, and answer nothing. */
static bool was_dropped(const struct sub_asked *a, const struct sub_name *n)
{
	uint64_t h = str_hash(str_of(n->name));

	for (uint32_t i = 0; i < DROPPED_MAX; i++)
		if (a->dropped[i] == h)
			return true;
	return false;
}

static int sotw_request(struct sub_stream *st, enum xds_type t)
{
	struct sub_kind *k = sub_kind_of(st, t);
	struct sub_asked *a = &st->asked[t];
	bool current = st == st->sub->current, all = a->wildcard || (current && k->wildcard), differs = current && changed(st, k, a);

	if (!a->ack && !differs) {
		if (current)
			sub_settle(st, t);
		return current && a->again && a->asked ? ask_again(st, t) : 0;
	}
	/* An empty list is a word of its own: everything, where it is the first one for LDS and CDS; else "no more". So it is never said but for these two. */
	if (!a->ack && !all && k->wanted == 0 && !a->listed) {
		sub_settle(st, t);
		return 0;
	}
	bool acknowledges = a->ack && !a->reasons;
	if (a->ack && a->reasons && (differs || (current && a->unsure))) {
		int refused = refuse(st, t);
		if (refused < 0)
			return refused;
	}
	struct request r = sub_request(st, t);
	struct sb out = {0};
	bool first = !a->asked, added = false, again = false;
	request_write(&r, &out);
	write_names(k, a, t, all, &out);
	int rc = sub_send(st, t, &out);
	if (rc < 0)
		return rc;
	sub_acked(st, t);
	if (!current)
		return 0;
	if (!a->listed) /* an empty list is heard by every server: the next names are new to it */
		memset(a->dropped, 0, sizeof(a->dropped));
	a->wildcard = all;
	a->listed = k->wanted > 0;
	a->named |= a->listed;
	list_each(at, tmp, &k->order) {
		struct sub_name *n = list_entry(at, struct sub_name, order);
		if (n->wants && n->stream != st->number) {
			sub_subscribed(st, n);
			added = true;
			again |= was_dropped(a, n);
		}
	}
	sub_settle(st, t);
	a->unsure = !acknowledges && (a->unsure || (added && !first));
	a->whole |= first;
	a->again |= again || (added && !first && st->sub->conf->profile == PROFILE_TEMPLATE);
	return a->again ? ask_again(st, t) : 0;
}

const struct sub_form sub_sotw = {.delta = false, .name = "sotw", .path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", .request = sotw_request};
