/* sidecar/answer: see answer.h. */
#include "sidecar/answer.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "sidecar/health_door.h"
#include "sidecar/sidecar.h"

static void fault_text(const struct exchange *x, enum fault f, const char *why, struct sb *out)
{
	const struct fault_row *row = fault_row(f);
	sb_str(out, row->text);
	if (f == FAULT_DENIED) /* in Envoy's words, and not one more: whoever may not come in learns nothing about what is inside */
		return;
	bool names_it = f == FAULT_NO_NAME || f == FAULT_NAMES_FULL || (!x->action && (f == FAULT_PARK_TIME || f == FAULT_PARK_FULL || f == FAULT_DEADLINE));
	if (x->head && (names_it || f == FAULT_NO_APP || f == FAULT_BAD_AUTHORITY || f == FAULT_NO_ROUTE)) {
		struct str a = fields_value(x->head, FIELD_AUTHORITY), p = fields_value(x->head, FIELD_PATH);
		sb_str(out, ": '");
		sb_add(out, a.p, a.n < 256 ? a.n : 256);
		sb_str(out, "'");
		if (!names_it) {
			sb_str(out, " for path '");
			sb_add(out, p.p, p.n < 256 ? p.n : 256);
			sb_str(out, "'");
		}
	} else if (x->inbound || x->health) {
		sb_fmt(out, ": app '%s'", x->app->conf->name);
	} else if (x->cluster || (x->action && x->action->cluster)) {
		sb_fmt(out, ": service '%s'", x->cluster ? cluster_name(x->cluster) : x->action->cluster);
	}
	if (x->host[0])
		sb_fmt(out, x->inbound ? ", at %s" : ", provider %s", x->host);
	if (why && *why)
		sb_fmt(out, ": %s", why);
}

/* What Envoy's health_check filter adds to answers of a server: callers and checkers take the endpoint out at once, whatever else the answer says. */
void answer_mark(const struct exchange *x, struct fields *head)
{
	if ((x->inbound || x->health) && !life_is_open(x->app->life))
		fields_set(head, FIELD_X_ENVOY_IMMEDIATE_HC_FAIL, STR("true"));
	if (x->health)
		health_door_mark(x->app, head);
}

/* A whole answer: trailers-only for gRPC content, status and a body for the rest (promise 1). location: of a redirect, or NULL. */
int answer_whole(struct exchange *x, int http, int grpc, struct str message, struct str body, const char *type, const struct sb *location)
{
	struct loop *l = x->sc->loop;
	struct fields *h = fields_new(l->fields, NULL); /* small and ours: not charged */
	struct sb encoded = {0};
	char num[24];
	int rc;
	x->http_status = x->is_grpc ? 200 : http;
	if (x->is_grpc) {
		x->grpc_status = grpc;
		fields_add_token(h, FIELD_STATUS, STR("200"));
		fields_add_token(h, FIELD_CONTENT_TYPE, STR("application/grpc"));
		snprintf(num, sizeof num, "%d", grpc);
		fields_add_token(h, FIELD_GRPC_STATUS, str_of(num));
		grpc_message_encode(message, &encoded);
		fields_add_token(h, FIELD_GRPC_MESSAGE, sb_view(&encoded));
		answer_mark(x, h);
		rc = stream_send_head(x->down, h, true);
	} else {
		snprintf(num, sizeof num, "%d", http);
		fields_add_token(h, FIELD_STATUS, str_of(num));
		if (body.n)
			fields_add_token(h, FIELD_CONTENT_TYPE, str_of(type));
		if (location)
			fields_add(h, STR("location"), sb_view(location));
		snprintf(num, sizeof num, "%zu", body.n);
		fields_add_token(h, FIELD_CONTENT_LENGTH, str_of(num));
		answer_mark(x, h);
		bool alone = x->is_head || !body.n;
		rc = stream_send_head(x->down, h, alone);
		struct chain data = CHAIN_INIT;
		if (rc == 0 && !alone && chain_copy_in(&data, &l->bufs, NULL, body.p, body.n) == 0)
			stream_send_data(x->down, &data, true);
	}
	fields_unref(&h);
	sb_end(&encoded);
	return rc;
}

int answer_fault(struct exchange *x, enum fault f, const char *why)
{
	const struct fault_row *row = fault_row(f);
	struct sb text = {0}, body = {0};
	fault_text(x, f, why, &text);
	if (!x->is_grpc) {
		sb_fmt(&body, "{\"status\":%d,\"message\":", row->http);
		sb_json(&body, sb_view(&text));
		sb_fmt(&body, ",\"flag\":\"%s\"}\n", row->flag);
	}
	int rc = answer_whole(x, row->http, row->grpc, sb_view(&text), sb_view(&body), "application/json", NULL);
	sb_end(&text);
	sb_end(&body);
	return rc;
}

/* The provider's head is with the app already: gRPC callers are told by trailers, others by a reset (envoy.md 1c does only the latter). */
int answer_break_off(struct exchange *x, enum fault f, const char *why)
{
	struct loop *l = x->sc->loop;
	if (!x->is_grpc)
		return -EPROTO;
	struct sb text = {0}, enc = {0};
	char num[16];
	struct fields *t = fields_new(l->fields, NULL);
	fault_text(x, f, why, &text);
	grpc_message_encode(sb_view(&text), &enc);
	x->grpc_status = fault_row(f)->grpc;
	snprintf(num, sizeof num, "%d", x->grpc_status);
	fields_add_token(t, FIELD_GRPC_STATUS, str_of(num));
	fields_add_token(t, FIELD_GRPC_MESSAGE, sb_view(&enc));
	int rc = stream_send_trailers(x->down, t);
	fields_unref(&t);
	sb_end(&text);
	sb_end(&enc);
	return rc;
}

/* Where a redirect leads: scheme, host and port, path; what the route does not say is as the caller wrote it. */
void answer_location(const struct exchange *x, const struct route_redirect *r, struct sb *out)
{
	struct str scheme = fields_value(x->head, FIELD_SCHEME), authority = fields_value(x->head, FIELD_AUTHORITY), path = fields_value(x->head, FIELD_PATH), host;
	int port = -1;
	if (r->https)
		scheme = STR("https");
	else if (r->scheme)
		scheme = str_of(r->scheme);
	else if (!scheme.n)
		scheme = STR("http");
	sb_add(out, scheme.p, scheme.n);
	sb_str(out, "://");
	if (addr_split(authority, &host, &port) != 0)
		host = authority;
	if (r->host)
		sb_str(out, r->host);
	else
		sb_add(out, host.p, host.n);
	if (r->port)
		sb_fmt(out, ":%u", r->port);
	else if (port >= 0 && !r->host && !r->https && !r->scheme)
		sb_fmt(out, ":%d", port);
	ptrdiff_t query = str_find(path, '?');
	if (r->strip_query && query >= 0)
		path = str_cut(path, 0, (size_t)query);
	if (r->path) {
		sb_str(out, r->path);
		if (!r->strip_query && query >= 0 && !strchr(r->path, '?'))
			sb_add(out, path.p + query, path.n - (size_t)query);
	} else if (r->prefix) {
		sb_str(out, r->prefix);
		path = str_cut(path, r->prefix_n, path.n);
		sb_add(out, path.p, path.n);
	} else {
		sb_add(out, path.p, path.n);
	}
}
