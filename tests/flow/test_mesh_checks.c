/* Active checks and outlier detection as a control plane says them (CDS health_checks, outlier_detection), through the whole sidecar: the EnvoyFilter of the Dubbo proposal (dubbo.md R6) over
 * mTLS, and what becomes of providers when the mesh takes its checks back. What each field means is test_checks' and test_ejected's, how it is read is tests/xds/test_decode_cluster_health.c's. */
#include <stdio.h>
#include <string.h>

#include "net/grpc_health_message.h"
#include "net/transport.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define NAME HOST ":50051"
#define TD "spiffe://cluster.local/"
#define YAML "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\nxds: {server: \"" PLANE "\", profile: generic}\n"
#define TLS_TYPE "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

/* Two providers: who has been asked by a check, by whom, and what each of them says. */
struct stage {
	struct world w;
	struct authority *mesh;
	struct tls_want *anybody;
	uint32_t asked[2], calls[2];
	bool fails[2];
	char peer[256], authority[64], timeout[16];
};

static void served(void *ctx, void *of, int what)
{
	static const uint8_t says[2][7] = {{0, 0, 0, 0, 2, 8, GRPC_HEALTH_SERVING}, {0, 0, 0, 0, 2, 8, GRPC_HEALTH_NOT_SERVING}};
	struct stage *s = ctx;
	struct served *k = of;
	const char *path = served_field(k, ":path");
	int who = k->p == s->w.two;

	if (what == 2 || !path)
		return;
	if (strcmp(path, GRPC_HEALTH_CHECK) != 0) {
		s->calls[who]++;
		return;
	}
	s->asked[who]++;
	snprintf(s->peer, sizeof(s->peer), "%s", k->conn->peer);
	snprintf(s->authority, sizeof(s->authority), "%s", served_field(k, ":authority"));
	snprintf(s->timeout, sizeof(s->timeout), "%s", served_field(k, "grpc-timeout"));
	k->act = (struct act){.does = HOLDS};
	served_head(k, 200, "content-type: application/grpc\n", false);
	served_data(k, says[s->fails[who]], sizeof(says[0]), false);
	served_trailers(k, 0, NULL);
}

/* ---- what the mesh says ---- */

static void number(struct sb *b, uint32_t field, uint64_t v) /* a Duration's seconds, a UInt32Value, a BoolValue */
{
	struct sb m = {0};

	pb_num(&m, 1, v);
	pb_sub(b, field, &m);
}

static void use_mtls(struct sb *b, uint32_t field) /* google.protobuf.Struct {useMTLS: true} */
{
	struct sb value = {0}, entry = {0}, all = {0};

	pb_num(&value, 4, 1);
	pb_text(&entry, 1, "useMTLS");
	pb_sub(&entry, 2, &value);
	pb_sub(&all, 1, &entry);
	pb_sub(b, field, &all);
}

/* The proposal's numbers as they stand there; threshold 1, or the sample's 20. */
static void put_check(struct sb *b)
{
	struct sb c = {0}, grpc = {0}, alpn = {0};

	number(&c, 1, 5), number(&c, 2, 5), number(&c, 3, 1), number(&c, 4, 1), number(&c, 5, 1), number(&c, 7, 1);
	pb_text(&grpc, 2, HOST);
	pb_sub(&c, 11, &grpc);
	number(&c, 12, 2), number(&c, 14, 5), number(&c, 15, 10), number(&c, 16, 10);
	pb_num(&c, 18, 50);
	number(&c, 20, 1);
	pb_text(&alpn, 1, "http1.1");
	pb_text(&alpn, 1, "h2");
	pb_sub(&c, 21, &alpn);
	use_mtls(&c, 23);
	number(&c, 24, 4);
	pb_sub(b, 8, &c);
}

static void sds_config(struct sb *b, uint32_t field, const char *name)
{
	struct sb source = {0}, config = {0};

	pb_bytes(&source, 3, "", 0); /* ads */
	pb_text(&config, 1, name);
	pb_sub(&config, 2, &source);
	pb_sub(b, field, &config);
}

static void tls_socket(struct sb *b, uint32_t field, const char *san)
{
	struct sb name = {0}, fallback = {0}, both = {0}, common = {0}, context = {0}, socket = {0};

	pb_text(&name, 1, san);
	pb_sub(&fallback, 9, &name);
	pb_sub(&both, 1, &fallback);
	sds_config(&both, 2, "trusted");
	sds_config(&common, 6, "mine");
	pb_sub(&common, 8, &both);
	pb_sub(&context, 1, &common);
	pb_text(&socket, 1, "envoy.transport_sockets.tls");
	pb_any(&socket, 3, TLS_TYPE, &context);
	pb_sub(b, field, &socket);
}

/* HOST's cluster: calls by the socket for peers called `san`, checks by the one that useMTLS matches. */
static void put_cluster(struct stage *s, const char *san, bool checks, void (*more)(struct sb *b))
{
	struct sb b = {0}, match = {0};

	make_cluster(&b, CLUSTER, &(struct make_cluster){.type = 3, .plain = true});
	if (san) {
		pb_text(&match, 1, "mtls");
		use_mtls(&match, 2);
		tls_socket(&match, 3, TD "demo");
		pb_sub(&b, 43, &match);
		tls_socket(&b, 24, san);
	}
	if (checks)
		put_check(&b);
	if (more)
		more(&b);
	plane_put(s->w.p, XDS_CDS, CLUSTER, b.p, b.n);
	sb_end(&b);
}

static void data(struct sb *b, uint32_t field, struct str text)
{
	struct sb source = {0};

	pb_bytes(&source, 2, text.p, text.n);
	pb_sub(b, field, &source);
}

static void put_secrets(struct stage *s)
{
	struct sb chain = {0}, key = {0}, cert = {0}, roots = {0}, m = {0};

	authority_leaf(s->mesh, &(struct paper){.sans = "URI:" TD "shop"}, &chain, &key);
	data(&cert, 1, sb_view(&chain));
	data(&cert, 2, sb_view(&key));
	pb_text(&m, 1, "mine");
	pb_sub(&m, 2, &cert);
	plane_put(s->w.p, XDS_SDS, "mine", m.p, m.n);
	m.n = 0;
	data(&roots, 1, str_of(authority_pem(s->mesh)));
	pb_text(&m, 1, "trusted");
	pb_sub(&m, 4, &roots);
	plane_put(s->w.p, XDS_SDS, "trusted", m.p, m.n);
	sb_end(&m);
	sb_end(&chain);
	sb_end(&key);
}

/* ---- the stage ---- */

static void begin(struct stage *s, bool tls)
{
	*s = (struct stage){.w = world_bare(PLANE_GENERIC)};
	s->w.r->on_served = served;
	s->w.r->ctx = s;
	s->mesh = authority_new("mesh", rig_now_s(s->w.r));
	s->anybody = tls_want_new();
	tls_want_seal(s->anybody);
	if (tls) {
		struct sb chain = {0}, key = {0};
		struct tls_spec spec = {.alpn = "h2", .server = true};
		struct err err = ERR_INIT;

		authority_leaf(s->mesh, &(struct paper){.sans = "URI:" TD "demo"}, &chain, &key);
		ck_assert_int_eq(tls_cert_new("provider", sb_view(&chain), sb_view(&key), &spec.cert, &err), 0);
		ck_assert_int_eq(tls_trust_new("mesh", str_of(authority_pem(s->mesh)), NULL, &spec.trust, &err), 0);
		ck_assert_int_eq(tls_context_new(&spec, &s->w.one->tls, &err), 0);
		s->w.two->tls = s->w.one->tls;
		s->w.one->clients = s->w.two->clients = s->anybody;
		tls_cert_unref(&spec.cert);
		tls_trust_unref(&spec.trust);
		sb_end(&chain);
		sb_end(&key);
	}
	plane_service(s->w.p, HOST, 50051, "10.0.0.1:1 10.0.0.2:1");
	put_secrets(s);
}

static void end(struct stage *s)
{
	tls_context_unref(&s->w.one->tls);
	tls_want_unref(&s->anybody);
	rig_free(&s->w.r);
	authority_free(&s->mesh);
}

static struct call *a_call(struct stage *s)
{
	struct call *k = call_unary(s->w.app, NAME, NULL);

	rig_advance(s->w.r, 20);
	return k;
}

/* n calls; how many ended well. What each provider got: s->calls. */
static uint32_t calls(struct stage *s, uint32_t n)
{
	uint32_t well = 0;

	s->calls[0] = s->calls[1] = 0;
	while (n--)
		well += call_ok(a_call(s));
	return well;
}

/* ---- the proposal's checks ---- */

START_TEST(the_checks_of_the_dubbo_proposal_come_with_a_cluster_and_ask_over_its_mtls)
{
	struct stage s;

	begin(&s, true);
	put_cluster(&s, TD "demo", true, NULL);
	world_start(&s.w, YAML);
	struct call *first = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 1500); /* initial_jitter: a second at most */
	ck_assert_msg(call_ok(first), "'%s'", call_text(first));
	ck_assert(s.asked[0] >= 1 && s.asked[1] >= 1);
	ck_assert_str_eq(s.peer, TD "shop");
	ck_assert_str_eq(s.authority, HOST);
	ck_assert_str_eq(s.timeout, "5000m");
	ck_assert_uint_eq(rig_stat(s.w.r, STAT_CHECK_HEALTHY), 2);
	ck_assert_uint_eq(s.w.p->nacks, 0);
	ck_assert_uint_eq(calls(&s, 20), 20);
	ck_assert(s.calls[0] && s.calls[1]);
	/* The next question is 5 to 8.5 s after the one before, or 10 to 16 after it became healthy; one answer is enough. */
	s.fails[0] = true;
	rig_advance(s.w.r, 16100);
	ck_assert_uint_eq(rig_stat(s.w.r, STAT_CHECK_HEALTHY), 1);
	ck_assert_uint_eq(calls(&s, 20), 20);
	ck_assert(!s.calls[0] && s.calls[1] == 20);
	/* unhealthy_edge_interval, unhealthy_interval; threshold 1 */
	s.fails[0] = false;
	rig_advance(s.w.r, 16100);
	ck_assert_uint_eq(calls(&s, 20), 20);
	ck_assert(s.calls[0] && s.calls[1]);
	/* reuse_connection, and an ALPN of their own: calls have one connection each, checks another. */
	ck_assert(s.w.one->accepted <= 3 && s.w.two->accepted <= 2);
	end(&s);
}
END_TEST

START_TEST(a_check_goes_by_the_socket_that_its_criteria_match_and_calls_by_theirs)
{
	struct stage s;

	begin(&s, true);
	put_cluster(&s, TD "somebody-else", true, NULL);
	world_start(&s.w, YAML);
	struct call *k = call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 7000);
	ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(call_text(k), "the peer is '" TD "demo', wanted '" TD "somebody-else'"));
	ck_assert_uint_eq(rig_stat(s.w.r, STAT_CHECK_HEALTHY), 2);
	ck_assert(!s.calls[0] && !s.calls[1]);
	put_cluster(&s, TD "demo", true, NULL);
	rig_advance(s.w.r, 2000);
	ck_assert_uint_eq(calls(&s, 4), 4);
	end(&s);
}
END_TEST

START_TEST(who_failed_is_called_again_when_the_mesh_takes_its_checks_back)
{
	struct stage s;

	begin(&s, true);
	s.fails[0] = true;
	put_cluster(&s, TD "demo", true, NULL);
	world_start(&s.w, YAML);
	call_unary(s.w.app, NAME, NULL);
	rig_advance(s.w.r, 1500);
	ck_assert_uint_eq(calls(&s, 10), 10);
	ck_assert(!s.calls[0] && s.calls[1] == 10);
	put_cluster(&s, TD "demo", false, NULL);
	rig_advance(s.w.r, 500);
	s.asked[0] = s.asked[1] = 0;
	ck_assert_uint_eq(calls(&s, 20), 20);
	ck_assert(s.calls[0] && s.calls[1]);
	rig_advance(s.w.r, 60000);
	ck_assert_uint_eq(s.asked[0] + s.asked[1], 0);
	/* And again. */
	put_cluster(&s, TD "demo", true, NULL);
	rig_advance(s.w.r, 20000);
	ck_assert_uint_eq(calls(&s, 10), 10);
	ck_assert(!s.calls[0] && s.asked[0] && s.asked[1]);
	end(&s);
}
END_TEST

/* ---- outlier detection ---- */

static void put_outlier(struct sb *b)
{
	struct sb o = {0};

	number(&o, 1, 2), number(&o, 3, 30), number(&o, 4, 100); /* two in a row, for 30 s, all of them if need be */
	pb_sub(b, 19, &o);
}

START_TEST(who_answers_badly_is_ejected_as_the_cluster_says_and_returns_when_it_says_no_more)
{
	struct stage s;

	begin(&s, false);
	put_cluster(&s, NULL, false, put_outlier);
	world_start(&s.w, YAML);
	ck_assert(call_ok(a_call(&s)));
	s.w.one->act = (struct act){.does = TRAILERS_ONLY, .grpc = GRPC_INTERNAL};
	calls(&s, 20);
	ck_assert_uint_eq(s.calls[0], 2);
	ck_assert_uint_eq(rig_stat(s.w.r, STAT_OUTLIER_ACTIVE), 1);
	ck_assert_uint_eq(calls(&s, 20), 20);
	s.w.one->act = (struct act){.does = ANSWERS, .messages = 1, .bytes = 5};
	put_cluster(&s, NULL, false, NULL);
	rig_advance(s.w.r, 500);
	ck_assert_uint_eq(rig_stat(s.w.r, STAT_OUTLIER_ACTIVE), 0);
	ck_assert_uint_eq(calls(&s, 20), 20);
	ck_assert(s.calls[0]);
	end(&s);
}
END_TEST

UNIT_SUITE("mesh_checks", the_checks_of_the_dubbo_proposal_come_with_a_cluster_and_ask_over_its_mtls, a_check_goes_by_the_socket_that_its_criteria_match_and_calls_by_theirs,
	who_failed_is_called_again_when_the_mesh_takes_its_checks_back, who_answers_badly_is_ejected_as_the_cluster_says_and_returns_when_it_says_no_more)
