/* Certificates and roots that a control plane sends over its own stream (SECRET_ADS), through the whole sidecar: a cluster names them, a call waits for them, a provider sees them; they change
 * under calls; and they are seen nowhere else. */
#include <stdio.h>
#include <stdlib.h>

#include "net/transport.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define NAME HOST ":50051"
#define TD "spiffe://cluster.local/"
#define YAML "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\ncontrol: {unix: /run/control.sock}\nxds: {server: \"" PLANE "\", profile: generic"

struct stage { struct world w; struct authority *mesh; struct tls_want *anybody; struct sb key; /* PEM of the last one sent */ };

static void data(struct sb *b, uint32_t field, struct str text)
{
	struct sb source = {0};

	pb_bytes(&source, 2, text.p, text.n);
	pb_sub(b, field, &source);
}

static void send_cert(struct stage *s, const char *uri)
{
	struct sb chain = {0}, body = {0}, m = {0};

	s->key.n = 0;
	authority_leaf(s->mesh, &(struct paper){.sans = uri}, &chain, &s->key);
	data(&body, 1, sb_view(&chain));
	data(&body, 2, sb_view(&s->key));
	pb_text(&m, 1, "mine");
	pb_sub(&m, 2, &body);
	plane_put(s->w.p, XDS_SDS, "mine", m.p, m.n);
	sb_end(&chain);
	sb_end(&m);
}

static void send_roots(struct stage *s, const char *pem)
{
	struct sb body = {0}, m = {0};

	data(&body, 1, str_of(pem));
	pb_text(&m, 1, "trusted");
	pb_sub(&m, 4, &body);
	plane_put(s->w.p, XDS_SDS, "trusted", m.p, m.n);
	sb_end(&m);
}

static void sds_config(struct sb *b, uint32_t field, const char *name)
{
	struct sb source = {0}, config = {0};

	pb_bytes(&source, 3, "", 0); /* ads */
	pb_text(&config, 1, name);
	pb_sub(&config, 2, &source);
	pb_sub(b, field, &config);
}

/* HOST's cluster, to be called with "mine" and "trusted" of this stream, by a peer that is TD "demo". */
static void send_cluster(struct stage *s)
{
	struct sb b = {0}, san = {0}, fallback = {0}, both = {0}, common = {0}, context = {0}, socket = {0};

	pb_text(&san, 1, TD "demo");
	pb_sub(&fallback, 9, &san);
	pb_sub(&both, 1, &fallback);
	sds_config(&both, 2, "trusted");
	sds_config(&common, 6, "mine");
	pb_sub(&common, 8, &both);
	pb_sub(&context, 1, &common);
	pb_text(&socket, 1, "envoy.transport_sockets.tls");
	pb_any(&socket, 3, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", &context);
	make_cluster(&b, CLUSTER, &(struct make_cluster){.type = 3, .plain = true});
	pb_sub(&b, 24, &socket);
	plane_put(s->w.p, XDS_CDS, CLUSTER, b.p, b.n);
	sb_end(&b);
}

/* A provider in TLS that demands a certificate of the same authority; nothing is sent of secrets yet. */
static struct stage begin(const char *yaml)
{
	struct stage s = {.w = world_bare(PLANE_GENERIC)};

	s.mesh = authority_new("mesh", rig_now_s(s.w.r));
	s.anybody = tls_want_new();
	tls_want_seal(s.anybody);
	provider_tls(s.w.one, s.mesh, "URI:" TD "demo", authority_pem(s.mesh));
	s.w.one->clients = s.anybody;
	plane_service(s.w.p, HOST, 50051, "10.0.0.1:1");
	send_cluster(&s);
	world_start(&s.w, yaml);
	return s;
}

static void end(struct stage *s)
{
	tls_context_unref(&s->w.one->tls);
	tls_want_unref(&s->anybody);
	rig_free(&s->w.r);
	authority_free(&s->mesh);
	sb_end(&s->key);
}

static const char *saw(const struct stage *s)
{
	const struct served *served = provider_last(s->w.one);

	return served && served->conn ? served->conn->peer : "";
}

static const char *const forms[] = {YAML ", protocol: sotw}\nsnapshot: {dir: \"\"}\n", YAML ", protocol: delta}\nsnapshot: {dir: \"\"}\n"};

START_TEST(a_call_waits_for_what_the_control_plane_sends_and_a_provider_sees_it)
{
	for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
		struct stage s = begin(forms[i]);
		s.w.p->quirks.silent_absent = true; /* delta: it does not say at once that there is none */
		struct call *k = call_unary(s.w.app, NAME, NULL);

		rig_advance(s.w.r, 500);
		ck_assert_msg(k->ends == 0, "form %zu: '%s'", i, call_text(k));
		ck_assert(plane_asks(s.w.p, XDS_SDS, "mine") && plane_asks(s.w.p, XDS_SDS, "trusted"));
		ck_assert_uint_eq(s.w.one->requests, 0);
		send_cert(&s, "URI:" TD "shop");
		rig_advance(s.w.r, 500);
		ck_assert_uint_eq(k->ends, 0); /* one of two */
		send_roots(&s, authority_pem(s.mesh));
		rig_advance(s.w.r, 500);
		ck_assert_msg(call_ok(k), "form %zu: '%s'", i, call_text(k));
		ck_assert_str_eq(saw(&s), TD "shop");
		ck_assert_uint_eq(s.w.p->nacks, 0);
		end(&s);
	}
}
END_TEST

START_TEST(what_changes_is_shown_to_the_next_connection_and_a_bad_one_changes_nothing)
{
	struct stage s = begin(forms[0]);

	send_cert(&s, "URI:" TD "shop");
	send_roots(&s, authority_pem(s.mesh));
	rig_advance(s.w.r, 100);
	struct call *k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 500);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	send_cert(&s, "URI:" TD "till");
	rig_advance(s.w.r, 500);
	provider_cut(s.w.one);
	rig_advance(s.w.r, 100);
	k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 500);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	ck_assert_str_eq(saw(&s), TD "till");
	send_roots(&s, "garbage");
	rig_advance(s.w.r, 500);
	ck_assert_uint_eq(s.w.p->nacks, 1);
	k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 500);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	end(&s);
}
END_TEST

/* Other roots, and nobody who is of them: never without. */
START_TEST(a_provider_that_the_roots_do_not_stand_for_gets_no_call)
{
	struct stage s = begin(forms[1]);
	struct authority *other = authority_new("other", rig_now_s(s.w.r));

	send_cert(&s, "URI:" TD "shop");
	send_roots(&s, authority_pem(other));
	struct call *k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 30000);
	ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE, "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(s.w.one->requests, 0);
	authority_free(&other);
	end(&s);
}
END_TEST

START_TEST(who_never_gets_them_says_so)
{
	struct stage s = begin(forms[0]);
	struct call *k = call_unary(s.w.app, NAME, NULL);

	rig_advance(s.w.r, 60000);
	ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE, "%d '%s'", k->grpc, call_text(k));
	k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 10000);
	ck_assert_msg(says(call_text(k), "the control plane has not answered for it"), "'%s'", call_text(k));
	ck_assert_uint_eq(s.w.one->requests, 0);
	end(&s);
}
END_TEST

/* A control plane that asks for more than can be had: its words reach whoever calls, and nobody goes out with less. */
static void is_told(struct stage *s, const char *why, const char *row)
{
	struct call *k = call_unary(s->w.app, NAME, NULL);

	rig_advance(s->w.r, 60000);
	ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE && says(call_text(k), why), "%s: %d '%s'", row, k->grpc, call_text(k));
	ck_assert_uint_eq(s->w.one->requests, 0);
}

START_TEST(a_secret_of_a_kind_that_is_not_taken_is_told_to_the_caller)
{
	static const struct { uint32_t field; const char *why; } rows[] = {{3, "tls_certificate.password: not supported"}, {8, "tls_certificate.pkcs12: not supported"}, {6, "tls_certificate.private_key_provider: not supported"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct stage s = begin(forms[0]);
		struct sb chain = {0}, body = {0}, m = {0};
		authority_leaf(s.mesh, &(struct paper){.sans = "URI:" TD "shop"}, &chain, &s.key);
		data(&body, 1, sb_view(&chain));
		data(&body, 2, sb_view(&s.key));
		data(&body, rows[i].field, STR("word"));
		pb_text(&m, 1, "mine");
		pb_sub(&m, 2, &body);
		plane_put(s.w.p, XDS_SDS, "mine", m.p, m.n);
		send_roots(&s, authority_pem(s.mesh));
		is_told(&s, rows[i].why, rows[i].why);
		ck_assert_uint_ge(s.w.p->nacks, 1);
		send_cert(&s, "URI:" TD "shop");
		rig_advance(s.w.r, 10000);
		struct call *k = call_unary(s.w.app, NAME, NULL);
		rig_advance(s.w.r, 10000);
		ck_assert_msg(call_ok(k), "'%s'", call_text(k));
		sb_end(&chain);
		sb_end(&m);
		end(&s);
	}
}
END_TEST

/* HOST's cluster, with what is not built written into itself. */
static void send_unbuilt(struct stage *s, uint32_t cert_field, const char *const *domains, uint32_t ndomains)
{
	struct sb b = {0}, common = {0}, context = {0}, socket = {0};

	if (cert_field) {
		struct sb cert = {0};
		data(&cert, 1, STR("chain"));
		data(&cert, 2, STR("key"));
		data(&cert, cert_field, STR("word"));
		pb_sub(&common, 2, &cert);
	}
	if (ndomains) {
		struct sb validation = {0}, extension = {0}, config = {0};
		for (uint32_t i = 0; i < ndomains; i++) {
			struct sb domain = {0};
			pb_text(&domain, 1, domains[i]);
			data(&domain, 2, str_of(authority_pem(s->mesh)));
			pb_sub(&config, 1, &domain);
		}
		pb_text(&extension, 1, "envoy.tls.cert_validator.spiffe");
		pb_any(&extension, 2, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig", &config);
		pb_sub(&validation, 12, &extension);
		pb_sub(&common, 3, &validation);
	}
	pb_sub(&context, 1, &common);
	pb_text(&socket, 1, "envoy.transport_sockets.tls");
	pb_any(&socket, 3, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", &context);
	make_cluster(&b, CLUSTER, &(struct make_cluster){.type = 3, .plain = true});
	pb_sub(&b, 24, &socket);
	plane_put(s->w.p, XDS_CDS, CLUSTER, b.p, b.n);
	sb_end(&b);
}

START_TEST(what_a_cluster_asks_for_and_is_not_built_is_told_to_the_caller_by_its_name)
{
	static const char *const three[] = {"a.test", "b.test", "c.test"};
	static const struct { uint32_t cert_field, domains; const char *why; } rows[] = {
		{3, 0, "tls_certificates.password is not built"},
		{8, 0, "tls_certificates.pkcs12 is not built"},
		{6, 0, "tls_certificates.private_key_provider is not built"},
		{0, 2, "custom_validator_config: several trust_domains ('a.test', 'b.test') inside of a cluster, instead of in a secret, is not built"},
		{0, 3, "custom_validator_config: several trust_domains ('a.test', 'b.test', ...) inside of a cluster"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct stage s = begin(forms[0]);
		send_unbuilt(&s, rows[i].cert_field, three, rows[i].domains);
		rig_advance(s.w.r, 1000);
		is_told(&s, rows[i].why, rows[i].why);
		end(&s);
	}
}
END_TEST

/* What a snapshot would hold are the resources of /config_dump, and it is none of them. */
START_TEST(a_key_is_on_no_page_and_a_secret_is_no_resource)
{
	struct stage s = begin(forms[0]);
	static const char *const pages[] = {"/config_dump", "/status", "/clusters", "/stats"};
	char line[48]; /* a piece of the key that no line break cuts */

	send_cert(&s, "URI:" TD "shop");
	send_roots(&s, authority_pem(s.mesh));
	struct call *k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 5000);
	ck_assert_msg(call_ok(k), "'%s'", call_text(k));
	memcpy(line, strchr(s.key.p, '\n') + 1, sizeof(line));
	for (size_t i = 0; i < UNIT_COUNT(pages); i++) {
		const char *page = world_page(&s.w, pages[i]);
		ck_assert_msg(!memmem(page, strlen(page), line, sizeof(line)) && !says(page, "PRIVATE KEY"), "%s", pages[i]);
	}
	const char *dump = world_page(&s.w, "/config_dump"), *secrets = strstr(dump, "\"secrets\":[");
	ck_assert_ptr_nonnull(secrets);
	ck_assert_msg(says(secrets, "{\"name\":\"mine\",\"kind\":\"certificate\",\"state\":\"ready\",\"version\":\""), "%s", secrets);
	ck_assert_msg(strstr(dump, "\"mine\"") > secrets && !says(dump, "\"type\":\"SDS\""), "%s", dump);
	end(&s);
}
END_TEST

UNIT_SUITE("stream_secrets", a_call_waits_for_what_the_control_plane_sends_and_a_provider_sees_it, what_changes_is_shown_to_the_next_connection_and_a_bad_one_changes_nothing,
	a_provider_that_the_roots_do_not_stand_for_gets_no_call, who_never_gets_them_says_so, a_secret_of_a_kind_that_is_not_taken_is_told_to_the_caller,
	what_a_cluster_asks_for_and_is_not_built_is_told_to_the_caller_by_its_name, a_key_is_on_no_page_and_a_secret_is_no_resource)
