/* Encrypted calls to the app through the whole sidecar: its identity comes from an agent's socket (SDS), callers show theirs, the app is told who they are, lists say what they may call. What
 * happens at the door before that: test_inbound_handshakes; lists without certificates: test_inbound_allow. */
#include "sidecar/inbound.h"
#include "tests/flow/rig_sds.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>

#define IN "10.9.0.1:20880"
#define SERVER "unix:/run/shop/server.sock"
#define TD "spiffe://cluster.local/ns/default/sa/"
#define XFCC "x-forwarded-client-cert"
#define TOP "control: {unix: /run/control.sock}\nsnapshot: {dir: \"\"}\nlog: {access: text}\n"
#define SHOP(inbound, rest) TOP "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    identity: {sds: {server: \"unix:/run/sds.sock\"}}\n    inbound:\n      - {tcp: \"" IN "\", to: \"" SERVER "\"" inbound "}\n" rest
#define STRICT SHOP(", tls: strict", "")
#define PERMISSIVE SHOP(", tls: permissive", "")
static const struct paper shop_paper = {.sans = "URI:" TD "shop"}, cart_paper = {.sans = "URI:" TD "cart"}, till_paper = {.sans = "URI:" TD "till"};

struct mesh_world {
	struct rig *r;
	struct authority *mesh;
	struct sds_server *agent;
	struct provider *server;
	struct caller *app;
	struct rig_who cart, till, h1;
	struct said said;
};

/* The agent is there, and has nothing yet. */
static struct mesh_world *begin_bare(const char *yaml, enum does does)
{
	struct mesh_world *w = xnew(struct mesh_world);

	w->r = rig_bare(7);
	w->mesh = authority_new("mesh", rig_now_s(w->r));
	w->agent = sds_server_new(w->r->net, &w->r->account, "unix:/run/sds.sock");
	w->server = provider_new(w->r, SERVER, does);
	said_begin(&w->said, w->r);
	rig_who(&w->cart, w->mesh, &cart_paper, authority_pem(w->mesh), "istio-h2,istio,h2");
	rig_who(&w->till, w->mesh, &till_paper, authority_pem(w->mesh), "h2");
	rig_who(&w->h1, w->mesh, &cart_paper, authority_pem(w->mesh), "http/1.1");
	rig_start(w->r, yaml);
	rig_settle(w->r);
	return w;
}

static void agent_gives(struct mesh_world *w)
{
	sds_server_leaf(w->agent, "default", w->mesh, &shop_paper);
	sds_server_roots(w->agent, "ROOTCA", authority_pem(w->mesh));
	rig_advance(w->r, 3000); /* asked again by then */
}

static void says_ok(struct mesh_world *w)
{
	w->app = caller_new(w->r, DOOR);
	struct call *c = call_plain(w->app, "POST", "any", "/healthcheck/ok", NULL, true);
	rig_settle(w->r);
	ck_assert_int_eq(c->status, 200);
}

static struct mesh_world *begin(const char *yaml, enum does does)
{
	struct mesh_world *w = begin_bare(yaml, does);

	agent_gives(w);
	says_ok(w);
	return w;
}

static void end(struct mesh_world *w)
{
	rig_who_end(&w->cart);
	rig_who_end(&w->till);
	rig_who_end(&w->h1);
	said_end(&w->said, w->r);
	sidecar_free(&w->r->sc);
	sds_server_end(w->agent);
	rig_advance(w->r, 1000);
	sds_server_free(&w->agent);
	authority_free(&w->mesh);
	rig_free(&w->r);
	free(w);
}

/* What the server saw of the field, in all its spellings; "" nothing. */
static const char *told(const struct served *s)
{
	static char found[8192];
	struct str rest = sb_view(&s->head);
	size_t n = 0;

	found[0] = '\0';
	while (rest.n) {
		ptrdiff_t nl = str_find(rest, '\n');
		struct str line = str_cut(rest, 0, nl < 0 ? rest.n : (size_t)nl);
		if (memmem(line.p, line.n, "client", 6) && n + line.n + 2 < sizeof(found))
			n += (size_t)snprintf(found + n, sizeof(found) - n, "%.*s\n", (int)line.n, line.p);
		rest = str_cut(rest, line.n + 1, rest.n);
	}
	return found;
}

static const char *seen(struct mesh_world *w, struct call *c)
{
	rig_settle(w->r);
	ck_assert_msg(call_ok(c) || c->status == 200, "%d %d cause %d: %s", c->status, c->grpc, c->end.cause, call_text(c));
	return told(provider_last(w->server));
}

static void is_cart(const char *line)
{
	const char *hash = strstr(line, ";Hash=");

	ck_assert_msg(strncmp(line, XFCC ": By=" TD "shop;Hash=", sizeof(XFCC ": By=" TD "shop;Hash=") - 1) == 0, "%s", line);
	ck_assert_uint_eq(strspn(hash + 6, "0123456789abcdef"), 64);
	ck_assert_msg(strncmp(hash + 6 + 64, ";Subject=\"", 10) == 0 && strstr(line, ";URI=" TD "cart\n"), "%s", line);
	ck_assert_ptr_null(strstr(line, "evil"));
	ck_assert_uint_eq(strcspn(line, "\n") + 1, strlen(line)); /* one, and no other spelling */
}

/* ---- who calls ---- */

#define FORGED XFCC ": By=spiffe://evil/a;URI=spiffe://evil/b\n" XFCC ": URI=spiffe://evil/c\nx_forwarded_client_cert: URI=spiffe://evil/d\n"

START_TEST(the_app_is_told_who_calls_and_by_nobody_else)
{
	struct mesh_world *w = begin(PERMISSIVE, ECHOES);
	struct caller *mtls = caller_tls(w->r, IN, &w->cart), *plain = caller_new(w->r, IN);

	is_cart(seen(w, call_unary(mtls, "shop", NULL)));
	is_cart(seen(w, call_unary(mtls, "shop", FORGED)));
	ck_assert_str_eq(seen(w, call_unary(plain, "shop", FORGED)), "");
	w->server->act.does = PLAIN;
	struct raw *h1 = raw_tls(w->r, IN, &w->h1);
	raw_text(h1, "GET /x HTTP/1.1\r\nhost: shop\r\nX-Forwarded-Client-Cert: URI=spiffe://evil/b\r\nX_Forwarded_Client_Cert: URI=spiffe://evil/c\r\nconnection: x-forwarded-client-cert\r\n\r\n");
	rig_settle(w->r);
	sb_char(&h1->in, '\0');
	ck_assert_msg(strncmp(h1->in.p, "HTTP/1.1 200", 12) == 0, "%s", h1->in.p);
	is_cart(told(provider_last(w->server)));
	raw_close(h1);
	end(w);
}
END_TEST

START_TEST(a_strict_door_lets_in_the_mesh_alone)
{
	struct mesh_world *w = begin(STRICT, ECHOES);
	struct rig_who nobody;

	rig_who(&nobody, NULL, NULL, authority_pem(w->mesh), "h2");
	is_cart(seen(w, call_unary(caller_tls(w->r, IN, &w->cart), "shop", NULL)));
	struct caller *plain = caller_new(w->r, IN), *anonymous = caller_tls(w->r, IN, &nobody);
	ck_assert_ptr_null(plain->h2);
	if (anonymous->h2)
		call_unary(anonymous, "shop", NULL);
	rig_settle(w->r);
	ck_assert_ptr_null(anonymous->h2);
	ck_assert_uint_eq(w->server->requests, 1);
	ck_assert_uint_eq(rig_stat(w->r, STAT_INBOUND_PLAINTEXT_REFUSED), 1);
	ck_assert_uint_eq(rig_stat(w->r, STAT_INBOUND_TLS_HANDSHAKES), 1);
	ck_assert_uint_eq(rig_stat(w->r, STAT_INBOUND_TLS_FAILURES), 1);
	const char *page = world_page(&(struct world){.r = w->r}, "/status");
	ck_assert_msg(strstr(page, "\"address\":\"" IN "\",\"connections\":1,\"tls\":\"strict\",\"handshakes\":1,\"handshakes_failed\":1,\"handshakes_in_flight\":0,\"plaintext_refused\":1}"), "%s", page);
	rig_who_end(&nobody);
	end(w);
}
END_TEST

START_TEST(ids_and_paths_say_who_may_call_what)
{
	struct mesh_world *w = begin(SHOP(", tls: permissive, allow: [{ids: [\"" TD "cart\"], paths: [/shop.Cart/*]}, {ids: [\"spiffe://cluster.local/ns/default/*\"], paths: [/shop.Price/get]}, "
		"{ids: [\"*\"], paths: [/any.Known/x]}, {paths: [/open.Service/*]}]", ""), TRAILERS_ONLY);
	struct caller *cart = caller_tls(w->r, IN, &w->cart), *till = caller_tls(w->r, IN, &w->till), *plain = caller_new(w->r, IN);
	const struct { const char *path; bool cart, till, plain; } rows[] = {
		{"/shop.Cart/add", true, false, false}, {"/shop.Price/get", true, true, false}, {"/shop.Price/set", false, false, false}, {"/any.Known/x", true, true, false},
		{"/open.Service/x", true, true, true}, {"/open.Service/../shop.Cart/add", false, false, false}, {"/shop.Cart/%2e%2e/x", false, false, false},
	};
	uint32_t denied = 0;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct caller *from[] = {cart, till, plain};
		const bool in[] = {rows[i].cart, rows[i].till, rows[i].plain};

		for (size_t k = 0; k < 3; k++) {
			uint32_t before = w->server->requests;
			struct call *c = call_begin(from[k], "shop", rows[i].path, FORGED, true);

			rig_settle(w->r);
			ck_assert_msg((c->grpc == 0) == in[k] && (c->grpc == GRPC_PERMISSION_DENIED) == !in[k], "row %zu, caller %zu: %d", i, k, c->grpc);
			ck_assert_uint_eq(w->server->requests - before, in[k]);
			denied += !in[k];
		}
	}
	ck_assert_uint_eq(rig_stat(w->r, STAT_INBOUND_DENIED), denied);
	ck_assert_uint_eq(cart->goaways + till->goaways + plain->goaways, 0);
	end(w);
}
END_TEST

/* ---- a reload ---- */

START_TEST(lists_change_without_a_connection_noticing_and_the_door_becomes_strict)
{
	struct mesh_world *w = begin(SHOP(", tls: permissive", ""), TRAILERS_ONLY);
	struct caller *cart = caller_tls(w->r, IN, &w->cart), *plain = caller_new(w->r, IN);
	struct call *c = call_unary(cart, "shop", NULL);

	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, 0);
	ck_assert_int_eq(rig_reload(w->r, SHOP(", tls: permissive, allow: [{ids: [\"" TD "till\"]}]", "")), 0);
	c = call_unary(cart, "shop", NULL);
	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, GRPC_PERMISSION_DENIED);
	ck_assert_int_eq(rig_reload(w->r, SHOP(", tls: permissive, allow: [{ids: [\"*\"]}]", "")), 0);
	c = call_unary(cart, "shop", NULL);
	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, 0);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(cart->goaways + plain->goaways, 0);
	ck_assert_int_eq(rig_reload(w->r, STRICT), 0);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(cart->goaways, 0);
	ck_assert_ptr_null(plain->h2);
	ck_assert_ptr_null(caller_new(w->r, IN)->h2);
	c = call_unary(cart, "shop", NULL);
	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, 0);
	ck_assert_uint_eq(rig_stat(w->r, STAT_INBOUND_TLS_HANDSHAKES), 1);
	end(w);
}
END_TEST

/* ---- the app's life ---- */

START_TEST(an_app_that_fails_sends_off_encrypted_callers_too)
{
	struct mesh_world *w = begin(STRICT, ECHOES);
	struct caller *cart = caller_tls(w->r, IN, &w->cart);

	is_cart(seen(w, call_unary(cart, "shop", NULL)));
	call_plain(w->app, "POST", "any", "/healthcheck/fail", NULL, true);
	rig_settle(w->r);
	ck_assert_uint_gt(cart->goaways, 0);
	struct call *c = call_unary(caller_tls(w->r, IN, &w->cart), "shop", NULL);
	rig_settle(w->r);
	ck_assert_int_eq(c->grpc, GRPC_UNAVAILABLE);
	end(w);
}
END_TEST

START_TEST(the_apps_own_check_at_its_strict_door_asks_its_server)
{
	struct mesh_world *w = begin_bare(SHOP(", tls: strict", "    health: {check: {grpc: \"" IN "\"}}\n"), HOLDS);

	rig_advance(w->r, 500);
	struct served *check = provider_last(w->server); /* with no certificate there yet: it goes round the door */
	ck_assert_ptr_nonnull(check);
	ck_assert_str_eq(served_field(check, ":path"), "/grpc.health.v1.Health/Check");
	served_head(check, 200, "content-type: application/grpc\n", false);
	served_data(check, "\0\0\0\0\2\x08\1", 7, false);
	served_trailers(check, 0, NULL);
	agent_gives(w);
	w->server->act.does = ECHOES;
	is_cart(seen(w, call_unary(caller_tls(w->r, IN, &w->cart), "shop", NULL)));
	end(w);
}
END_TEST

START_TEST(a_door_whose_certificate_cannot_be_had_serves_nobody_until_it_can)
{
	struct mesh_world *w = begin_bare(PERMISSIVE, ECHOES);

	says_ok(w);
	rig_advance(w->r, 1000);
	for (int i = 0; i < 3; i++)
		ck_assert_msg(caller_tls(w->r, IN, &w->cart)->err != 0, "%d: %s", i, w->said.lines.p);
	ck_assert_uint_eq(said_count(&w->said, "no certificate yet"), 1); /* the log names it once */
	ck_assert_uint_eq(said_count(&w->said, "TLS to app 'shop' inbound '" IN "' from "), 1);
	ck_assert_str_eq(seen(w, call_unary(caller_new(w->r, IN), "shop", FORGED)), ""); /* plaintext needs none */
	agent_gives(w);
	is_cart(seen(w, call_unary(caller_tls(w->r, IN, &w->cart), "shop", NULL)));
	end(w);
}
END_TEST

START_TEST(other_roots_send_callers_off_once_and_they_come_back_under_the_new_ones)
{
	struct mesh_world *w = begin(STRICT, ECHOES);
	struct authority *next = authority_new("next", rig_now_s(w->r));
	struct caller *old = caller_tls(w->r, IN, &w->cart);
	struct rig_who renewed;

	is_cart(seen(w, call_unary(old, "shop", NULL)));
	sds_server_roots(w->agent, "ROOTCA", authority_pem(next));
	rig_advance(w->r, 3000);
	ck_assert_ptr_null(old->h2);
	struct caller *again = caller_tls(w->r, IN, &w->cart); /* by its session, if that counted */
	if (again->h2)
		call_unary(again, "shop", NULL);
	rig_advance(w->r, 100);
	ck_assert_ptr_null(again->h2);
	ck_assert_uint_eq(w->server->requests, 1);
	rig_who(&renewed, next, &cart_paper, authority_pem(w->mesh), "h2");
	is_cart(seen(w, call_unary(caller_tls(w->r, IN, &renewed), "shop", NULL)));
	rig_who_end(&renewed);
	authority_free(&next);
	end(w);
}
END_TEST

UNIT_SUITE("inbound tls", the_app_is_told_who_calls_and_by_nobody_else, a_strict_door_lets_in_the_mesh_alone, ids_and_paths_say_who_may_call_what,
	lists_change_without_a_connection_noticing_and_the_door_becomes_strict, an_app_that_fails_sends_off_encrypted_callers_too, the_apps_own_check_at_its_strict_door_asks_its_server,
	a_door_whose_certificate_cannot_be_had_serves_nobody_until_it_can, other_roots_send_callers_off_once_and_they_come_back_under_the_new_ones)
