/* Doors that speak TLS, before anybody calls: who is let in by which first byte, who shakes hands and who does not, how many at once, and what becomes of connections when certificates and roots
 * change. A listener of uds/ alone, with secrets that the test holds; the whole sidecar: test_inbound_tls.c. */
#include "sidecar/xfcc.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>

#define IN "10.9.0.1:20880"
#define TD "spiffe://cluster.local/ns/default/sa/"
static const struct paper shop_paper = {.sans = "URI:" TD "shop"}, cart_paper = {.sans = "URI:" TD "cart"};

struct hall {
	struct rig *r;
	struct authority *mesh, *other;
	struct rig_keep keep;
	struct tls_want *want;
	struct transport *transport;
	struct account account;
	struct uds_doors *doors;
	struct uds_listener *listener;
	struct rig_who cart, nobody;
	struct said said;
	uint32_t told; char why[512];   /* what transports told of handshakes that failed */
	uint32_t requests;
};

/* ---- the door ---- */

static void no_data(void *user, struct chain *data, bool fin) { (void)user; (void)fin; chain_clear(data); }
static void no_fields(void *user, struct fields *trailers) { (void)user; (void)trailers; }
static void no_sent(void *user, size_t n) { (void)user; (void)n; }
static void no_end(void *user, const struct stream_end *end) { (void)user; (void)end; }
static const struct stream_events ignored = {.on_data = no_data, .on_trailers = no_fields, .on_sent = no_sent, .on_end = no_end};

static void hall_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse)
{
	struct hall *h = user;
	const struct uds_identity *who = uds_client_identity(client);
	struct fields *f = fields_new(h->r->loop->fields, NULL);
	char text[XFCC_MAX];

	(void)head;
	(void)fin;
	(void)refuse;
	h->requests++;
	s->ev = &ignored;
	fields_add_token(f, FIELD_STATUS, STR("200"));
	fields_add_token(f, FIELD_CONTENT_LENGTH, STR("0"));
	fields_add(f, STR("x-kind"), str_of(tls_kind(uds_client_peer(client))));
	fields_add(f, STR("x-proto"), uds_client_is_h1(client) ? STR("h1") : STR("h2"));
	fields_add(f, STR("x-resumed"), tls_resumed(uds_client_peer(client)) ? STR("yes") : STR("no"));
	if (who)
		fields_add(f, STR("x-who"), str_n(text, xfcc_text(who, text)));
	stream_send_head(s, f, true);
	fields_unref(&f);
}

static const struct uds_events hall_events = {.on_request = hall_request};

static void hall_told(void *ctx, const struct transport_failure *f)
{
	struct hall *h = ctx;

	h->told++;
	snprintf(h->why, sizeof(h->why), "%s", f->why);
}

static struct tls_want *hall_want(void)
{
	struct tls_want *w = tls_want_new();

	secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, STR(""));
	secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_IDENTITY, STR(""));
	free(w->alpn);
	w->alpn = xstrdup("h2,http/1.1");
	w->names = TLS_NAMES_DOMAIN;
	return w;
}

/* Nothing is in the secrets yet. */
static struct hall *hall_bare(bool permissive, struct tls_want *want_taken)
{
	struct hall *h = xnew(struct hall);
	struct uds_door door = {.addr = simnet_addr(IN), .fd = -1, .anybody = true, .permissive = permissive};
	char why[256] = "";

	h->r = rig_bare(7);
	h->mesh = authority_new("mesh", rig_now_s(h->r));
	h->other = authority_new("other", rig_now_s(h->r));
	account_init(&h->account, &h->r->loop->memory, "hall", SIZE_MAX);
	rig_keep_new(&h->keep, h->r->loop);
	transports_set_tell(h->keep.all, hall_told, h);
	h->want = want_taken;
	tls_want_seal(h->want);
	h->transport = rig_keep_server(&h->keep, h->want);
	h->r->lim.preface_time_ns = 5 * SEC;
	h->doors = uds_doors_new(h->r->loop, &h->r->lim);
	door.transport = h->transport;
	if (uds_listen(h->doors, &door, &h->account, &hall_events, h, &h->listener, why, sizeof(why)) != 0)
		rig_die("no door: %s", why);
	rig_who(&h->cart, h->mesh, &cart_paper, authority_pem(h->mesh), "h2");
	rig_who(&h->nobody, NULL, NULL, authority_pem(h->mesh), "h2");
	return h;
}

static void hall_open(struct hall *h)
{
	rig_keep_cert(&h->keep, h->mesh, &shop_paper);
	rig_keep_roots(&h->keep, authority_pem(h->mesh));
	rig_settle(h->r);
}

static struct hall *hall(bool permissive)
{
	struct hall *h = hall_bare(permissive, hall_want());

	hall_open(h);
	return h;
}

static void hall_end(struct hall *h)
{
	uds_listener_close(&h->listener);
	rig_advance(h->r, 100);
	uds_doors_free(&h->doors);
	transport_unref(&h->transport);
	tls_want_unref(&h->want);
	rig_keep_end(&h->keep);
	account_end(&h->account);
	rig_who_end(&h->cart);
	rig_who_end(&h->nobody);
	authority_free(&h->mesh);
	authority_free(&h->other);
	rig_free(&h->r);
	free(h);
}

static struct call *asks(struct hall *h, struct caller *c)
{
	ck_assert_msg(c->h2 != NULL, "not connected: %d %s", c->err, c->why);
	struct call *k = call_plain(c, "GET", "shop", "/", NULL, true);
	rig_settle(h->r);
	return k;
}

static struct call *served(struct hall *h, struct caller *c)
{
	struct call *k = asks(h, c);

	ck_assert_msg(k->status == 200, "%d, cause %d", k->status, k->end.cause);
	return k;
}

static uint32_t in_flight(const struct hall *h)
{
	struct uds_tls_info i;

	uds_listener_tls_info(h->listener, &i);
	return i.in_flight;
}

/* ---- who is let in ---- */

START_TEST(a_caller_of_the_mesh_is_known_by_its_certificate)
{
	struct hall *h = hall(false);
	struct call *k = served(h, caller_tls(h->r, IN, &h->cart));
	const char *who = call_field(k, "x-who");

	ck_assert_str_eq(call_field(k, "x-kind"), "mtls");
	ck_assert_str_eq(call_field(k, "x-proto"), "h2");
	ck_assert_ptr_nonnull(who);
	ck_assert_msg(strncmp(who, "By=" TD "shop;Hash=", sizeof("By=" TD "shop;Hash=") - 1) == 0 && strstr(who, ";URI=" TD "cart"), "%s", who);
	ck_assert_uint_eq(strcspn(strstr(who, "Hash=") + 5, ";"), 64);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_HANDSHAKES), 1);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 0);
	ck_assert_uint_eq(h->told, 0);
	ck_assert_uint_eq(in_flight(h), 0);
	hall_end(h);
}
END_TEST

/* Under TLS 1.3 a client takes itself for connected before its certificate was looked at: so it is asked, and has to be refused then at the latest. */
static void is_refused(struct hall *h, struct rig_who *who, const char *why)
{
	uint64_t failed = rig_stat(h->r, STAT_INBOUND_TLS_FAILURES);
	uint32_t requests = h->requests;
	struct caller *c = caller_tls(h->r, IN, who);

	if (c->h2) {
		struct call *k = asks(h, c);
		ck_assert_int_ne(k->status, 200);
	}
	ck_assert_ptr_null(c->h2);
	ck_assert_uint_eq(h->requests, requests);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), failed + 1);
	ck_assert_msg(strstr(h->why, why) != NULL, "'%s' does not say '%s'", h->why, why);
}

START_TEST(who_may_not_come_in_is_refused_and_told_of_once)
{
	static const struct paper expired = {.sans = "URI:" TD "cart", .from_s = -7200, .to_s = -3600}, early = {.sans = "URI:" TD "cart", .from_s = 3600, .to_s = 7200},
		foreign = {.sans = "URI:spiffe://elsewhere/ns/default/sa/cart"}, nameless = {.sans = "DNS:cart"}, almost = {.sans = "URI:spiffe://cluster.local.evil/ns/default/sa/cart"},
		server = {.sans = "URI:" TD "cart", .usage = PAPER_SERVER};
	struct hall *h = hall(false);
	const struct { const struct paper *how; bool other; const char *why; } rows[] = {
		{&expired, false, "expired"}, {&early, false, "not yet valid"}, {&foreign, false, "elsewhere"}, {&nameless, false, "cluster.local"}, {&almost, false, "cluster.local.evil"},
		{&cart_paper, true, ""}, {&server, false, ""},
	};

	is_refused(h, &h->nobody, "");
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig_who who;
		uint32_t told = h->told;

		rig_who(&who, rows[i].other ? h->other : h->mesh, rows[i].how, authority_pem(h->mesh), "h2");
		is_refused(h, &who, rows[i].why);
		ck_assert_uint_eq(h->told, told + 1);
		is_refused(h, &who, rows[i].why);
		ck_assert_msg(h->told == told + 1, "row %zu is told again", i);
		rig_who_end(&who);
	}
	served(h, caller_tls(h->r, IN, &h->cart));
	hall_end(h);
}
END_TEST

START_TEST(callers_may_come_without_a_certificate_where_the_door_says_so_and_are_nobody)
{
	struct tls_want *want = hall_want();
	want->no_client_cert = true;
	struct hall *h = hall_bare(false, want);

	hall_open(h);
	struct call *k = served(h, caller_tls(h->r, IN, &h->nobody));
	ck_assert_ptr_null(call_field(k, "x-who"));
	k = served(h, caller_tls(h->r, IN, &h->cart));
	ck_assert_ptr_nonnull(call_field(k, "x-who"));
	hall_end(h);
}
END_TEST

START_TEST(a_chain_that_nobody_verifies_makes_nobody_known)
{
	struct tls_want *want = hall_want();
	secret_ref_set(&want->roots, SECRET_ROOTS, SECRET_NOWHERE, STR(""));
	want->names = TLS_NAMES_ANY;
	struct hall *h = hall_bare(false, want);
	struct rig_who forged;

	hall_open(h);
	rig_who(&forged, h->other, &cart_paper, authority_pem(h->mesh), "h2");
	struct caller *c = caller_tls(h->r, IN, &forged);
	if (c->h2)
		ck_assert_ptr_null(call_field(served(h, c), "x-who"));
	rig_who_end(&forged);
	hall_end(h);
}
END_TEST

/* ---- the first byte ---- */

START_TEST(a_strict_door_says_nothing_to_plaintext)
{
	static const char *const first[] = {"GET / HTTP/1.1\r\nhost: shop\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "P", "\x15\x03\x01", "\x80\x2e\x01", "\n"};
	struct hall *h = hall(false);

	for (size_t i = 0; i < UNIT_COUNT(first); i++) {
		struct raw *w = raw_new(h->r, IN);

		raw_send(w, first[i], strlen(first[i]));
		rig_settle(h->r);
		ck_assert_msg(w->eof && w->in.n == 0, "%zu: %zu bytes came", i, w->in.n);
		ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_PLAINTEXT_REFUSED), i + 1);
	}
	ck_assert_uint_eq(h->requests, 0);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 0);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 0);
	served(h, caller_tls(h->r, IN, &h->cart));
	hall_end(h);
}
END_TEST

START_TEST(a_permissive_door_serves_both)
{
	struct hall *h = hall(true);
	struct call *k = served(h, caller_tls(h->r, IN, &h->cart)), *plain = served(h, caller_new(h->r, IN));
	struct raw *w = raw_new(h->r, IN), *slow = raw_new(h->r, IN);

	ck_assert_str_eq(call_field(k, "x-kind"), "mtls");
	ck_assert_str_eq(call_field(plain, "x-kind"), "plain");
	ck_assert_ptr_null(call_field(plain, "x-who"));
	raw_text(w, "GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
	for (const char *p = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; *p; p++) { /* a byte a turn */
		raw_send(slow, p, 1);
		rig_settle(h->r);
	}
	raw_frame(slow, F_SETTINGS, 0, 0, "", 0);
	raw_headers(slow, 1, raw_request, true);
	rig_settle(h->r);
	sb_char(&w->in, '\0');
	ck_assert(strncmp(w->in.p, "HTTP/1.1 200", 12) == 0 && strstr(w->in.p, "x-proto: h1"));
	ck_assert(raw_find(slow, F_HEADERS, 1, NULL));
	is_refused(h, &h->nobody, ""); /* TLS is judged as at a strict door */
	hall_end(h);
}
END_TEST

START_TEST(alpn_says_which_http_and_without_it_the_first_bytes_do)
{
	static const struct { const char *alpn; bool h2; bool ok; } rows[] = {
		{"h2", true, true}, {"istio-h2,istio,h2", true, true}, {"h2,http/1.1", true, true}, {NULL, true, true}, {"istio", true, true},
		{"http/1.1", false, true}, {"istio-http/1.1,istio,http/1.1", false, true}, {NULL, false, true},
		{"http/1.1", true, false}, {"h2", false, false}, /* who speaks otherwise than was agreed */
	};
	struct hall *h = hall(false);

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct rig_who who;
		bool ok;

		h->requests = 0;
		rig_who(&who, h->mesh, &cart_paper, authority_pem(h->mesh), rows[i].alpn);
		struct raw *w = raw_tls(h->r, IN, &who);
		if (rows[i].h2) {
			raw_preface(w);
			raw_headers(w, 1, raw_request, true);
		} else {
			raw_text(w, "GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
		}
		rig_settle(h->r);
		sb_char(&w->in, '\0');
		ok = h->requests == 1 && (rows[i].h2 ? raw_find(w, F_HEADERS, 1, NULL) : strncmp(w->in.p, "HTTP/1.1 200", 12) == 0);
		ck_assert_msg(ok == rows[i].ok, "row %zu: %u requests, %zu bytes", i, h->requests, w->in.n);
		raw_close(w);
		rig_settle(h->r);
		rig_who_end(&who);
	}
	hall_end(h);
}
END_TEST

/* ---- time, and how many at once ---- */

static struct raw *begins(struct hall *h)
{
	struct raw *w = raw_new(h->r, IN);

	raw_send(w, "\x16", 1);
	rig_settle(h->r);
	return w;
}

START_TEST(a_handshake_that_never_ends_is_ended)
{
	static const uint8_t hello[] = {0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3};
	struct hall *h = hall(false);
	struct raw *w = raw_new(h->r, IN), *drips = raw_new(h->r, IN), *silent = raw_new(h->r, IN);
	uint64_t ms = h->r->lim.preface_time_ns / 1000000;

	raw_send(w, hello, sizeof(hello));
	for (uint64_t i = 0; i < ms / 100 + 1; i++) { /* a byte now and then does not make it longer */
		raw_send(drips, i < sizeof(hello) ? (const void *)&hello[i] : "\0", 1);
		rig_advance(h->r, 100);
	}
	rig_advance(h->r, 200);
	ck_assert(w->eof && drips->eof && silent->eof);
	ck_assert_uint_eq(in_flight(h), 0);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 0);
	ck_assert_uint_eq(rig_stat(h->r, STAT_PREFACE_TIME), 3);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 2); /* who said nothing began none */
	hall_end(h);
}
END_TEST

START_TEST(who_has_shaken_hands_and_says_nothing_is_ended_too)
{
	struct hall *h = hall(false);
	struct raw *w = raw_tls(h->r, IN, &h->cart);

	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_HANDSHAKES), 1);
	rig_advance(h->r, h->r->lim.preface_time_ns / 1000000 - 100);
	ck_assert(!w->eof);
	rig_advance(h->r, 200);
	ck_assert(w->eof);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 0);
	hall_end(h);
}
END_TEST

START_TEST(garbage_behind_the_first_byte_is_a_failure_and_no_more)
{
	static const char *const rest[] = {"\x16\x03\x01\x00\x05hello", "\x16GET / HTTP/1.1\r\n\r\n", "\x16\x03\x03\xff\xff\x01\x02"};
	struct hall *h = hall(true);

	for (size_t i = 0; i < UNIT_COUNT(rest); i++) {
		struct raw *w = raw_new(h->r, IN);
		raw_send(w, rest[i], i == 2 ? 7 : i == 0 ? 10 : strlen(rest[i]));
		rig_settle(h->r);
		raw_close(w);
		rig_settle(h->r);
		ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), i + 1);
	}
	ck_assert_uint_eq(h->requests, 0);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 0);
	hall_end(h);
}
END_TEST

START_TEST(three_hundred_half_open_handshakes_hold_256_places_and_give_them_up_for_others)
{
	enum { MANY = 300, PLACES = 256 };
	struct hall *h = hall(false);
	struct raw *half[MANY];
	uint32_t closed = 0;

	for (int i = 0; i < MANY; i++)
		half[i] = begins(h);
	ck_assert_uint_eq(in_flight(h), PLACES);
	ck_assert_uint_eq(uds_listener_clients(h->listener), MANY);
	ck_assert_uint_eq(rig_stat(h->r, STAT_LIMIT_INBOUND_HANDSHAKES), MANY - PLACES);
	size_t held = h->account.used;
	struct caller *c = caller_tls_start(h->r, IN, &h->cart); /* in earnest: behind 44 who wait */
	rig_advance(h->r, 900);
	ck_assert(!c->h2 && !c->err);
	ck_assert_uint_eq(h->account.used, held); /* who waits holds nothing of TLS */
	rig_advance(h->r, 300); /* the oldest have had their second */
	ck_assert(c->h2 != NULL);
	served(h, c);
	for (int i = 0; i < MANY; i++)
		closed += half[i]->eof;
	ck_assert_uint_eq(closed, MANY - PLACES + 1);
	for (int i = 0; i < MANY - PLACES; i++)
		ck_assert(half[i]->eof); /* the oldest of them, and nobody who came later */
	rig_advance(h->r, 5000);
	ck_assert_uint_eq(in_flight(h), 0);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 1);
	served(h, c);
	hall_end(h);
}
END_TEST

START_TEST(many_who_come_at_once_are_all_served)
{
	enum { MANY = 300 };
	struct hall *h = hall(false);
	struct caller *c[MANY];

	for (int i = 0; i < MANY; i++)
		c[i] = caller_tls_start(h->r, IN, &h->cart);
	rig_settle(h->r);
	for (int i = 0; i < MANY; i++)
		served(h, c[i]);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_HANDSHAKES), MANY);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 0);
	hall_end(h);
}
END_TEST

START_TEST(a_handshake_without_memory_is_closed_and_counted)
{
	struct hall *h = hall(false);

	h->account.limit = h->account.used + 1024;
	struct caller *c = caller_tls(h->r, IN, &h->cart);
	ck_assert_ptr_null(c->h2);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 1);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 0);
	h->account.limit = SIZE_MAX;
	served(h, caller_tls(h->r, IN, &h->cart));
	hall_end(h);
}
END_TEST

/* ---- secrets that come late, or never ---- */

START_TEST(callers_wait_for_a_certificate_that_has_not_come_yet)
{
	struct hall *h = hall_bare(true, hall_want());
	struct caller *c = caller_tls_start(h->r, IN, &h->cart);

	served(h, caller_new(h->r, IN)); /* plaintext has nothing to wait for */
	rig_advance(h->r, 2000);
	ck_assert(!c->h2 && !c->err);
	rig_keep_cert(&h->keep, h->mesh, &shop_paper);
	rig_advance(h->r, 100);
	ck_assert(!c->h2 && !c->err); /* and for roots */
	rig_keep_roots(&h->keep, authority_pem(h->mesh));
	rig_settle(h->r);
	served(h, c);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 0);
	hall_end(h);
}
END_TEST

START_TEST(callers_do_not_wait_for_ever_for_a_certificate)
{
	struct hall *h = hall_bare(false, hall_want());
	struct caller *c = caller_tls_start(h->r, IN, &h->cart);

	rig_advance(h->r, h->r->lim.preface_time_ns / 1000000 + 100);
	ck_assert(c->err != 0);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 1);
	ck_assert_uint_eq(h->told, 1);
	ck_assert_uint_eq(uds_listener_clients(h->listener), 0);
	hall_end(h);
}
END_TEST

START_TEST(a_certificate_that_cannot_be_had_closes_at_once_with_its_reason)
{
	struct hall *h = hall_bare(false, hall_want());
	struct caller *waits = caller_tls_start(h->r, IN, &h->cart);

	rig_advance(h->r, 1000);
	secret_fail(h->keep.cert, "the agent says: no such identity");
	rig_settle(h->r);
	ck_assert(waits->err != 0);
	for (int i = 0; i < 3; i++)
		ck_assert(caller_tls(h->r, IN, &h->cart)->err != 0);
	ck_assert_uint_eq(rig_stat(h->r, STAT_INBOUND_TLS_FAILURES), 4);
	ck_assert_uint_eq(h->told, 1);
	ck_assert_msg(strstr(h->why, "no such identity") != NULL, "%s", h->why);
	hall_open(h);
	served(h, caller_tls(h->r, IN, &h->cart));
	hall_end(h);
}
END_TEST

/* ---- secrets that change ---- */

START_TEST(a_new_certificate_is_for_connections_to_come)
{
	static const struct paper renewed = {.sans = "URI:" TD "shop2"};
	struct hall *h = hall(false);
	struct caller *old = caller_tls(h->r, IN, &h->cart);

	served(h, old);
	rig_keep_cert(&h->keep, h->mesh, &renewed);
	rig_advance(h->r, 2000);
	ck_assert_uint_eq(old->goaways, 0);
	ck_assert_ptr_nonnull(strstr(call_field(served(h, old), "x-who"), "By=" TD "shop;"));
	ck_assert_ptr_nonnull(strstr(call_field(served(h, caller_tls(h->r, IN, &h->cart)), "x-who"), "By=" TD "shop2;"));
	hall_end(h);
}
END_TEST

START_TEST(other_roots_send_off_who_was_let_in_by_the_old_ones)
{
	struct hall *h = hall(true);
	struct caller *old = caller_tls(h->r, IN, &h->cart), *fresh = caller_tls(h->r, IN, &h->cart), *plain = caller_new(h->r, IN);
	struct raw *half = raw_tls(h->r, IN, &h->cart); /* up, and has not spoken */
	struct rig_who theirs;

	served(h, old);
	served(h, plain);
	rig_keep_roots(&h->keep, authority_pem(h->other));
	rig_advance(h->r, 100);
	ck_assert_uint_gt(old->goaways, 0);
	raw_preface(half);
	rig_advance(h->r, 3000);
	ck_assert_uint_gt(fresh->goaways, 0);
	ck_assert_ptr_null(old->h2);
	ck_assert(raw_find(half, F_GOAWAY, 0, NULL));
	ck_assert_uint_eq(plain->goaways, 0); /* nobody had judged it */
	served(h, plain);
	is_refused(h, &h->cart, ""); /* also not by the session of before */
	rig_who(&theirs, h->other, &cart_paper, authority_pem(h->mesh), "h2");
	served(h, caller_tls(h->r, IN, &theirs));
	rig_who_end(&theirs);
	hall_end(h);
}
END_TEST

START_TEST(who_comes_back_is_resumed_and_known_again)
{
	struct hall *h = hall(false);
	struct caller *c = caller_tls(h->r, IN, &h->cart);
	struct call *first = served(h, c);
	char *who = xstrdup(call_field(first, "x-who"));

	ck_assert_str_eq(call_field(first, "x-resumed"), "no");
	caller_close(c);
	rig_settle(h->r);
	struct call *again = served(h, caller_tls(h->r, IN, &h->cart));
	ck_assert_str_eq(call_field(again, "x-resumed"), "yes");
	ck_assert_str_eq(call_field(again, "x-who"), who);
	ck_assert_str_eq(call_field(again, "x-kind"), "mtls");
	free(who);
	hall_end(h);
}
END_TEST

/* ---- a reload ---- */

START_TEST(a_door_becomes_strict_and_plain_again_while_it_is_open)
{
	struct hall *h = hall(true);
	struct caller *tls = caller_tls(h->r, IN, &h->cart), *plain = caller_new(h->r, IN);

	served(h, tls);
	served(h, plain);
	uds_listener_tls(h->listener, h->transport, true); /* the same once more */
	rig_advance(h->r, 2000);
	ck_assert_uint_eq(tls->goaways + plain->goaways, 0);
	uds_listener_tls(h->listener, h->transport, false);
	rig_advance(h->r, 2000);
	ck_assert_uint_eq(tls->goaways, 0);
	ck_assert_ptr_null(plain->h2);
	served(h, tls);
	struct raw *late = raw_new(h->r, IN);
	raw_text(late, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
	rig_settle(h->r);
	ck_assert(late->eof && !late->in.n);
	uds_listener_tls(h->listener, NULL, false);
	rig_advance(h->r, 2000);
	served(h, tls); /* stays */
	served(h, caller_new(h->r, IN));
	hall_end(h);
}
END_TEST

START_TEST(another_judgement_sends_off_whom_it_would_not_let_in)
{
	struct tls_want *open = hall_want(), *alike = hall_want(), *names = hall_want();
	open->no_client_cert = true;
	alike->no_client_cert = true;
	alike->min = 0x0304;
	names->names = TLS_NAMES_RULES;
	tls_want_rule(names, TLS_NAME_URI, TLS_EXACT, STR(TD "till"));
	tls_want_seal(alike);
	tls_want_seal(names);
	struct hall *h = hall_bare(false, open);
	struct transport *t;

	hall_open(h);
	struct caller *c = caller_tls(h->r, IN, &h->cart);
	served(h, c);
	t = rig_keep_server(&h->keep, alike);
	ck_assert(t != h->transport);
	uds_listener_tls(h->listener, t, false);
	transport_unref(&t);
	rig_advance(h->r, 2000);
	ck_assert_uint_eq(c->goaways, 0); /* the version is no matter of trust */
	t = rig_keep_server(&h->keep, names);
	uds_listener_tls(h->listener, t, false);
	transport_unref(&t);
	rig_advance(h->r, 2000);
	ck_assert_ptr_null(c->h2);
	is_refused(h, &h->cart, TD "till");
	tls_want_unref(&alike);
	tls_want_unref(&names);
	hall_end(h);
}
END_TEST

START_TEST(roots_of_the_same_name_from_elsewhere_send_off_also_where_the_want_is_another)
{
	struct tls_want *other = hall_want();
	other->min = 0x0304;
	tls_want_seal(other);
	struct hall *h = hall_bare(false, hall_want());
	struct secret *roots = secret_new(h->keep.all, SECRET_ROOTS, h->keep.roots->name, "another agent", NULL, NULL), *was = h->keep.roots;

	hall_open(h);
	struct caller *c = caller_tls(h->r, IN, &h->cart);
	served(h, c);
	h->keep.roots = roots;
	struct transport *t = rig_keep_server(&h->keep, other);
	uds_listener_tls(h->listener, t, false);
	transport_unref(&t);
	rig_advance(h->r, 2000);
	ck_assert_ptr_null(c->h2);
	secret_unref(&was);
	tls_want_unref(&other);
	hall_end(h);
}
END_TEST

START_TEST(a_door_that_closes_ends_handshakes_at_every_stage)
{
	struct hall *h = hall_bare(true, hall_want());
	struct raw *fresh = raw_new(h->r, IN), *waits = begins(h);

	hall_open(h);
	struct raw *shakes = begins(h), *up = raw_tls(h->r, IN, &h->cart);
	struct caller *c = caller_tls(h->r, IN, &h->cart);
	served(h, c);
	uds_listener_close(&h->listener);
	rig_advance(h->r, 100);
	ck_assert(fresh->eof && waits->eof && shakes->eof && up->eof && !c->h2);
	hall_end(h);
}
END_TEST

UNIT_SUITE("inbound handshakes", a_caller_of_the_mesh_is_known_by_its_certificate, who_may_not_come_in_is_refused_and_told_of_once,
	callers_may_come_without_a_certificate_where_the_door_says_so_and_are_nobody, a_chain_that_nobody_verifies_makes_nobody_known, a_strict_door_says_nothing_to_plaintext,
	a_permissive_door_serves_both, alpn_says_which_http_and_without_it_the_first_bytes_do, a_handshake_that_never_ends_is_ended, who_has_shaken_hands_and_says_nothing_is_ended_too,
	garbage_behind_the_first_byte_is_a_failure_and_no_more, three_hundred_half_open_handshakes_hold_256_places_and_give_them_up_for_others, many_who_come_at_once_are_all_served,
	a_handshake_without_memory_is_closed_and_counted, callers_wait_for_a_certificate_that_has_not_come_yet, callers_do_not_wait_for_ever_for_a_certificate,
	a_certificate_that_cannot_be_had_closes_at_once_with_its_reason, a_new_certificate_is_for_connections_to_come, other_roots_send_off_who_was_let_in_by_the_old_ones,
	who_comes_back_is_resumed_and_known_again, a_door_becomes_strict_and_plain_again_while_it_is_open,
	another_judgement_sends_off_whom_it_would_not_let_in, roots_of_the_same_name_from_elsewhere_send_off_also_where_the_want_is_another, a_door_that_closes_ends_handshakes_at_every_stage)
