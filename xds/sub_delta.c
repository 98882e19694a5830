/* xds/sub_delta: subscriptions over the incremental protocol. An acknowledgement says nothing but its nonce, a change of subscriptions nothing but the change: istiod takes a
 * change on an ACK for an error (istio.md 1.3). The first request of a type on a stream names all, with the versions that we have. */
#include "xds/sub_int.h"

static int acknowledge(struct sub_stream *st, enum xds_type t)
{
	struct request r = sub_request(st, t);
	struct sb out = {0};

	request_write(&r, &out);
	int rc = sub_send(st, t, &out);
	if (rc == 0)
		sub_acked(st, t);
	return rc;
}

/* All that is wanted; true: there is something. */
static bool write_all(struct sub_stream *st, enum xds_type t, struct sb *out)
{
	struct sub_kind *k = sub_kind_of(st, t);
	bool any = k->wildcard;

	if (k->wildcard)
		request_subscribe(out, STR("*"));
	list_each(at, tmp, &k->order) {
		const struct sub_name *n = list_entry(at, struct sub_name, order);
		if (n->wants)
			request_subscribe(out, str_of(n->name));
		any |= n->wants > 0;
	}
	if (!any)
		return false;
	list_each(at, tmp, &k->order) {
		const struct sub_name *n = list_entry(at, struct sub_name, order);
		if (!n->version || (!n->wants && !k->wildcard))
			continue;
		request_initial(out, str_of(n->name), str_of(n->version));
		st->asked[t].versions = true;
	}
	return true;
}

static bool write_changes(struct sub_stream *st, enum xds_type t, struct sb *out)
{
	struct sub_kind *k = sub_kind_of(st, t);
	bool any = k->wildcard && !st->asked[t].wildcard;

	if (any)
		request_subscribe(out, STR("*"));
	list_each(at, tmp, &k->changed) {
		const struct sub_name *n = list_entry(at, struct sub_name, changed);
		if (n->wants && n->stream != st->number)
			request_subscribe(out, str_of(n->name));
		else if (!n->wants && n->stream == st->number)
			request_unsubscribe(out, str_of(n->name));
		else
			continue;
		any = true;
	}
	return any;
}

static int delta_request(struct sub_stream *st, enum xds_type t)
{
	struct sub_kind *k = sub_kind_of(st, t);
	struct sub_asked *a = &st->asked[t];
	int rc = a->ack ? acknowledge(st, t) : 0;
	bool first = !a->asked;

	if (rc < 0 || st != st->sub->current)
		return rc;
	struct request r = sub_request(st, t);
	struct sb out = {0};
	r.nonce = str_n("", 0);
	request_write(&r, &out);
	if (!(first ? write_all(st, t, &out) : write_changes(st, t, &out))) {
		sb_end(&out);
		sub_settle(st, t);
		return 0;
	}
	rc = sub_send(st, t, &out);
	if (rc < 0)
		return rc;
	a->wildcard |= k->wildcard;
	list_each(at, tmp, first ? &k->order : &k->changed) {
		struct sub_name *n = first ? list_entry(at, struct sub_name, order) : list_entry(at, struct sub_name, changed);
		if (n->wants && n->stream != st->number)
			sub_subscribed(st, n);
	}
	sub_settle(st, t);
	return 0;
}

const struct sub_form sub_delta = {.delta = true, .name = "delta", .path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", .request = delta_request,
	.acknowledge = acknowledge};
