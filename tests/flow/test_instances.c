/* Clusters that name a certificate provider of gRPC's bootstrap (SECRET_INSTANCE: file_watcher), through the whole sidecar: its files are shown and trusted, and other ones when they are
 * swapped; a provider that is not there or not built is told. The bootstrap itself: tests/conf/test_bootstrap; files: tests/net/test_secret_files. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/transport.h"
#include "sidecar/identities.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define NAME HOST ":50051"
#define TD "spiffe://cluster.local/"

/* A provider in TLS that demands a certificate of `mesh`, and a folder of ours in which `..data` leads to the files of the moment, as Kubernetes mounts them. */
struct stage { struct world w; struct authority *mesh, *other; struct tls_want *anybody; char dir[64]; struct sb bootstrap; int swaps; };

static void put_file(const struct stage *s, const char *folder, const char *name, const char *text, size_t n)
{
	char path[192];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s", s->dir, folder, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(text, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

/* uri NULL: no certificate and no key. The sidecar is told of it: on a virtual clock watches do not fire. */
static void swap(struct stage *s, const char *uri, const char *roots)
{
	char folder[16], path[192], to[192];
	struct sb chain = {0}, key = {0};

	snprintf(folder, sizeof(folder), "..%d", ++s->swaps);
	snprintf(path, sizeof(path), "%s/%s", s->dir, folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	if (uri) {
		authority_leaf(s->mesh, &(struct paper){.sans = uri}, &chain, &key);
		put_file(s, folder, "cert.pem", chain.p, chain.n);
		put_file(s, folder, "key.pem", key.p, key.n);
	}
	put_file(s, folder, "roots.pem", roots, strlen(roots));
	snprintf(path, sizeof(path), "%s/..fresh", s->dir);
	snprintf(to, sizeof(to), "%s/..data", s->dir);
	ck_assert_int_eq(symlink(folder, path), 0);
	ck_assert_int_eq(rename(path, to), 0);
	sb_end(&chain);
	sb_end(&key);
	if (s->w.r->sc)
		identities_thaw(s->w.r->sc->identities);
	rig_advance(s->w.r, 100);
}

static void instance(struct sb *b, uint32_t field, const char *name)
{
	struct sb i = {0};

	pb_text(&i, 1, name);
	pb_sub(b, field, &i);
}

/* HOST's cluster, to be called with what `cert` and `roots` of the bootstrap have, by a peer that is TD "demo". */
static void send_cluster(struct stage *s, const char *cert, const char *roots)
{
	struct sb b = {0}, san = {0}, validation = {0}, common = {0}, context = {0}, socket = {0};

	pb_text(&san, 1, TD "demo");
	pb_sub(&validation, 9, &san);
	instance(&validation, 13, roots);
	pb_sub(&common, 3, &validation);
	instance(&common, 14, cert);
	pb_sub(&context, 1, &common);
	pb_text(&socket, 1, "envoy.transport_sockets.tls");
	pb_any(&socket, 3, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", &context);
	make_cluster(&b, CLUSTER, &(struct make_cluster){.type = 3, .plain = true});
	pb_sub(&b, 24, &socket);
	plane_put(s->w.p, XDS_CDS, CLUSTER, b.p, b.n);
	sb_end(&b);
}

static struct stage *begin(void)
{
	struct stage *s = xnew(struct stage);
	struct sb chain = {0}, key = {0};
	struct tls_spec spec = {.alpn = "h2", .server = true};
	struct err err = ERR_INIT;

	s->w = world_bare(PLANE_GENERIC);
	snprintf(s->dir, sizeof(s->dir), "/tmp/thinmesh-instances-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s->dir));
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {"cert.pem", "key.pem", "roots.pem"};
		char to[32], path[192];
		snprintf(to, sizeof(to), "..data/%s", names[i]);
		snprintf(path, sizeof(path), "%s/%s", s->dir, names[i]);
		ck_assert_int_eq(symlink(to, path), 0);
	}
	sb_fmt(&s->bootstrap, "{\"certificate_providers\":{\"files\":{\"plugin_name\":\"file_watcher\",\"config\":{\"certificate_file\":\"%s/cert.pem\",\"private_key_file\":\"%s/key.pem\","
		"\"ca_certificate_file\":\"%s/roots.pem\",\"refresh_interval\":\"900s\"}},\"vault\":{\"plugin_name\":\"vault\",\"config\":{}},"
		"\"spiffe\":{\"plugin_name\":\"file_watcher\",\"config\":{\"spiffe_trust_bundle_map_file\":\"/b.json\"}}}}", s->dir, s->dir, s->dir);
	s->w.r->bootstrap = s->bootstrap.p;
	s->mesh = authority_new("mesh", rig_now_s(s->w.r));
	s->other = authority_new("other", rig_now_s(s->w.r));
	s->anybody = tls_want_new();
	tls_want_seal(s->anybody);
	authority_leaf(s->mesh, &(struct paper){.sans = "URI:" TD "demo"}, &chain, &key);
	ck_assert_int_eq(tls_cert_new("provider", sb_view(&chain), sb_view(&key), &spec.cert, &err), 0);
	ck_assert_int_eq(tls_trust_new("mesh", str_of(authority_pem(s->mesh)), NULL, &spec.trust, &err), 0);
	ck_assert_int_eq(tls_context_new(&spec, &s->w.one->tls, &err), 0);
	tls_cert_unref(&spec.cert);
	tls_trust_unref(&spec.trust);
	sb_end(&chain);
	sb_end(&key);
	s->w.one->clients = s->anybody;
	plane_service(s->w.p, HOST, 50051, "10.0.0.1:1");
	send_cluster(s, "files", "files");
	return s;
}

static void start(struct stage *s)
{
	world_start(&s->w, "apps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\nsnapshot: {dir: \"\"}\nxds: {server: \"" PLANE "\", profile: generic}\n");
}

static void end(struct stage *s)
{
	char command[128];

	tls_context_unref(&s->w.one->tls);
	tls_want_unref(&s->anybody);
	rig_free(&s->w.r);
	authority_free(&s->mesh);
	authority_free(&s->other);
	snprintf(command, sizeof(command), "rm -r %s", s->dir);
	ck_assert_int_eq(system(command), 0);
	sb_end(&s->bootstrap);
	free(s);
}

static struct call *called(struct stage *s, uint64_t ms)
{
	struct call *k = call_unary(s->w.app, NAME, NULL);

	rig_advance(s->w.r, ms);
	return k;
}

static const char *saw(const struct stage *s)
{
	const struct served *served = provider_last(s->w.one);

	return served && served->conn ? served->conn->peer : "";
}

#define ck_sees(s, uri) do { \
	const struct call *k_ = called(s, 500); \
	ck_assert_msg(call_ok(k_), "%d '%s'", k_->grpc, call_text(k_)); \
	ck_assert_str_eq(saw(s), uri); \
} while (0)

START_TEST(what_the_files_hold_is_shown_and_other_ones_when_they_are_swapped)
{
	struct stage *s = begin();

	swap(s, "URI:" TD "shop", authority_pem(s->mesh));
	start(s);
	ck_sees(s, TD "shop");
	ck_sees(s, TD "shop");
	ck_assert_uint_eq(s->w.one->accepted, 1);
	swap(s, "URI:" TD "shop", authority_pem(s->mesh)); /* renewed: for the next connection */
	ck_sees(s, TD "shop");
	ck_assert_uint_eq(s->w.one->accepted, 1);
	provider_cut(s->w.one);
	rig_advance(s->w.r, 100);
	ck_sees(s, TD "shop");
	ck_assert_uint_eq(s->w.one->accepted, 2);
	swap(s, "URI:" TD "till", authority_pem(s->mesh)); /* another one */
	ck_sees(s, TD "till");
	swap(s, NULL, authority_pem(s->mesh)); /* none: what there was stays */
	provider_cut(s->w.one);
	rig_advance(s->w.r, 100);
	ck_sees(s, TD "till");
	ck_assert_uint_eq(s->w.p->nacks, 0);
	end(s);
}
END_TEST

START_TEST(whom_the_new_roots_do_not_stand_for_gets_no_call)
{
	struct stage *s = begin();

	swap(s, "URI:" TD "shop", authority_pem(s->mesh));
	start(s);
	ck_sees(s, TD "shop");
	swap(s, "URI:" TD "shop", authority_pem(s->other));
	uint32_t served = s->w.one->requests;
	const struct call *k = called(s, 30000);
	ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "no root of"), "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(s->w.one->requests, served);
	swap(s, "URI:" TD "shop", authority_pem(s->mesh));
	rig_advance(s->w.r, 30000);
	ck_sees(s, TD "shop");
	end(s);
}
END_TEST

START_TEST(files_that_come_late_are_found_and_until_then_calls_say_what_misses)
{
	struct stage *s = begin();

	swap(s, NULL, authority_pem(s->mesh));
	start(s);
	const struct call *k = called(s, 30000);
	ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE && says(call_text(k), "cert.pem"), "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(s->w.one->requests, 0);
	swap(s, "URI:" TD "shop", authority_pem(s->mesh));
	rig_advance(s->w.r, 30000);
	ck_sees(s, TD "shop");
	end(s);
}
END_TEST

START_TEST(a_provider_that_is_not_there_or_not_built_is_told_and_nothing_goes_out_without)
{
	static const struct { const char *cert, *roots, *why; } rows[] = {
		{"nobody", "files", "no certificate provider 'nobody' in the bootstrap of gRPC"}, {"files", "nobody", "no certificate provider 'nobody' in the bootstrap of gRPC"},
		{"vault", "files", "certificate provider 'vault' is a 'vault', which is not built; file_watcher is"},
		{"files", "spiffe", "certificate provider 'spiffe' has a spiffe_trust_bundle_map_file, which is not built, and no ca_certificate_file beside it"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct stage *s = begin();
		swap(s, "URI:" TD "shop", authority_pem(s->mesh));
		send_cluster(s, rows[i].cert, rows[i].roots);
		start(s);
		const struct call *k = called(s, 30000);
		ck_assert_msg(k->ends && k->grpc == GRPC_UNAVAILABLE && says(call_text(k), rows[i].why), "row %zu: %d '%s'", i, k->grpc, call_text(k));
		ck_assert_uint_eq(s->w.one->requests, 0);
		send_cluster(s, "files", "files"); /* the control plane mends it */
		rig_advance(s->w.r, 5000);
		ck_sees(s, TD "shop");
		end(s);
	}
}
END_TEST

UNIT_SUITE("instances", what_the_files_hold_is_shown_and_other_ones_when_they_are_swapped, whom_the_new_roots_do_not_stand_for_gets_no_call,
	files_that_come_late_are_found_and_until_then_calls_say_what_misses, a_provider_that_is_not_there_or_not_built_is_told_and_nothing_goes_out_without)
