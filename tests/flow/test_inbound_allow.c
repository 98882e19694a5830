/* Who may call the app (apps[].inbound[].allow), from a caller's first byte to what the app's server sees; callers whom nobody knows. Those with a certificate: test_inbound_tls. */
#include "sidecar/inbound.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>

#define IN "10.9.0.1:20880"
#define SERVER "unix:/run/shop/server.sock"
#define SHOP "log: {access: text}\napps:\n  - name: shop\n    listen:\n      - unix: /run/shop.sock\n    inbound:\n      - {tcp: \"" IN "\", to: \"" SERVER "\"}\n"

struct door_world { struct rig *r; struct provider *server; struct caller *app, *net; };

/* The lists of the only door, as the configuration would have them. */
static void allow(struct rig *r, struct conf_allow_peer *lists, uint32_t n)
{
	const struct app *a = list_entry(r->sc->apps.next, struct app, node);
	struct conf_inbound *in = &a->conf->inbound[0];

	in->allow = lists;
	in->nallow = n;
}

static struct door_world begin(enum does does)
{
	struct door_world w = {.r = rig_new(SHOP)};

	w.server = provider_new(w.r, SERVER, does);
	w.app = caller_new(w.r, DOOR);
	w.net = caller_new(w.r, IN);
	struct call *c = call_plain(w.app, "POST", "any", "/healthcheck/ok", NULL, true);
	rig_settle(w.r);
	ck_assert_int_eq(c->status, 200);
	return w;
}

static void end(struct door_world *w)
{
	allow(w->r, NULL, 0);
	rig_free(&w->r);
}

START_TEST(who_is_not_let_in_is_told_as_envoy_tells_it_and_the_app_sees_nothing)
{
	struct door_world w = begin(ECHOES);
	char *ids[] = {"spiffe://cluster.local/ns/shop/*"};
	struct conf_allow_peer lists[] = {{.ids = ids, .nids = 1}};

	allow(w.r, lists, 1);
	struct call *c = call_unary(w.net, "shop", NULL), *plain = call_plain(w.net, "GET", "shop", "/index.html", NULL, true);
	rig_settle(w.r);
	ck_assert_int_eq(c->status, 200);
	ck_assert_int_eq(c->grpc, GRPC_PERMISSION_DENIED);
	ck_assert_str_eq(call_text(c), "RBAC: access denied");
	ck_assert_int_eq(plain->status, 403);
	ck_assert_ptr_nonnull(strstr(call_text(plain), "\"message\":\"RBAC: access denied\""));
	ck_assert_uint_eq(w.server->requests, 0);
	ck_assert_uint_eq(w.net->goaways, 0); /* the connection is good for what is allowed */
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_DENIED), 2);
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_CALLS), 2);
	ck_assert_uint_eq(rig_stat(w.r, STAT_INBOUND_REFUSED), 0);
	allow(w.r, NULL, 0); /* judged by the call, not by the connection */
	c = call_unary(w.net, "shop", NULL);
	rig_settle(w.r);
	ck_assert(call_ok(c));
	end(&w);
}
END_TEST

START_TEST(a_closed_app_is_not_told_to_whom_it_is_not_open)
{
	struct door_world w = begin(ECHOES);
	char *paths[] = {"/open.Service/*"};
	struct conf_allow_peer lists[] = {{.paths = paths, .npaths = 1}};

	allow(w.r, lists, 1);
	call_plain(w.app, "POST", "any", "/healthcheck/fail", NULL, true);
	rig_settle(w.r);
	struct caller *net = caller_new(w.r, IN);
	struct call *c = call_unary(net, "shop", NULL), *open = call_begin(net, "shop", "/open.Service/x", NULL, true);
	rig_settle(w.r);
	ck_assert_int_eq(c->grpc, GRPC_PERMISSION_DENIED);
	ck_assert_int_eq(open->grpc, GRPC_UNAVAILABLE);
	end(&w);
}
END_TEST

START_TEST(paths_are_ruled_as_they_came)
{
	static const struct { const char *path; int status; } rows[] = {
		{"/shop.Cart/add", 200}, {"/shop.Cart/add?to=1", 200}, {"/public/a/b", 200}, {"/public/", 200}, {"/public/a?x=/../", 200},
		{"/shop.Cart/drop", 403}, {"/shop.Cart/add/", 403}, {"/public", 403}, {"/", 403}, {"/x?/public/", 403},
		{"/public/../shop.Cart/drop", 403}, {"/public/./x", 403}, {"//public/x", 403}, {"/public//x", 403}, {"/public/%2e%2e/x", 403}, {"/public%2fx", 403}, {"/public/..;/x", 403},
		{"/public/..%5Cx", 403}, {"/public/%252e%252e/x", 403},
	};
	struct door_world w = begin(PLAIN);
	char *paths[] = {"/shop.Cart/add", "/public/*"};
	struct conf_allow_peer lists[] = {{.paths = paths, .npaths = 2}};
	uint32_t served = 0;

	allow(w.r, lists, 1);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct call *c = call_plain(w.net, "GET", "shop", rows[i].path, NULL, true);

		rig_settle(w.r);
		ck_assert_msg(c->status == rows[i].status, "'%s': %d", rows[i].path, c->status);
		served += c->status == 200;
		ck_assert_uint_eq(w.server->requests, served);
	}
	end(&w);
}
END_TEST

/* HTTP/1.1 has forms of its own to say a path. */
START_TEST(paths_of_http1_are_ruled_likewise)
{
	static const struct { const char *line; bool in; } rows[] = {
		{"GET /public/x", true}, {"GET http://shop/public/x", true}, {"GET /public/../x", false}, {"GET http://shop/x", false}, {"GET //public/x", false}, {"OPTIONS *", false},
	};
	struct door_world w = begin(PLAIN);
	char *paths[] = {"/public/*"}, text[256];
	struct conf_allow_peer lists[] = {{.paths = paths, .npaths = 1}};

	allow(w.r, lists, 1);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct raw *raw = raw_new(w.r, IN);
		uint32_t before = w.server->requests;

		snprintf(text, sizeof text, "%s HTTP/1.1\r\nhost: shop\r\n\r\n", rows[i].line);
		raw_text(raw, text);
		rig_settle(w.r);
		sb_char(&raw->in, '\0');
		ck_assert_msg(w.server->requests - before == rows[i].in, "%s: %s", rows[i].line, raw->in.p);
		ck_assert_msg(rows[i].in || strncmp(raw->in.p, "HTTP/1.1 4", 10) == 0, "%s: %s", rows[i].line, raw->in.p);
		raw_close(raw);
	}
	end(&w);
}
END_TEST

START_TEST(a_forged_client_certificate_lets_nobody_in_and_reaches_nobody)
{
	static const char *const names[] = {"x-forwarded-client-cert", "x_forwarded_client_cert", "x-forwarded-client_cert"};
	struct door_world w = begin(ECHOES);
	char *ids[] = {"*"}, more[128];
	struct conf_allow_peer lists[] = {{.ids = ids, .nids = 1}};

	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		snprintf(more, sizeof more, "%s: URI=spiffe://cluster.local/ns/shop/sa/cart\nx-other: 1\n", names[i]);
		struct call *c = call_begin(w.net, "shop", PATH, more, false);
		call_data(c, "\0\0\0\0\0", 5, false);
		call_trailers(c, more);
		rig_settle(w.r);
		ck_assert_msg(call_ok(c), "%d %s", c->grpc, call_text(c));
		struct served *s = provider_last(w.server);
		sb_char(&s->head, '\0');
		sb_char(&s->trailers, '\0');
		ck_assert(!strstr(s->head.p, "client") && !strstr(s->trailers.p, "client") && strstr(s->trailers.p, "x-other"));
		allow(w.r, lists, 1);
		c = call_begin(w.net, "shop", PATH, more, true);
		rig_settle(w.r);
		ck_assert_int_eq(c->grpc, GRPC_PERMISSION_DENIED);
		allow(w.r, NULL, 0);
	}
	end(&w);
}
END_TEST

UNIT_SUITE("inbound allow", who_is_not_let_in_is_told_as_envoy_tells_it_and_the_app_sees_nothing, a_closed_app_is_not_told_to_whom_it_is_not_open, paths_are_ruled_as_they_came,
	paths_of_http1_are_ruled_likewise, a_forged_client_certificate_lets_nobody_in_and_reaches_nobody)
