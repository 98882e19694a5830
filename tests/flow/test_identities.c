/* Who apps are when they call, through the whole sidecar: identities from files, from an agent (SDS) and from none; whose certificate a provider sees, who shares a connection with whom, what
 * a rotation and a reload do, and that nothing goes out in plain text where an identity misses. How secrets come by SDS and CSR: tests/xds; calls to the app: test_inbound_tls. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/transport.h"
#include "sidecar/identities.h"
#include "tests/flow/rig_ca.h"
#include "tests/flow/rig_sds.h"
#include "tests/flow/rig_tls.h"
#include "tests/flow/rig_world.h"
#include "tests/unit.h"

#define TD "spiffe://cluster.local/ns/default/sa/"
#define TOP "snapshot: {dir: \"\"}\n"
#define ONE "one.example:1"
#define TWO "two.example:1"

/* A folder of papers, an authority, one provider in TLS at 10.0.0.1:1 that demands a certificate. */
struct folk {
	struct rig *r;
	struct authority *mesh;
	struct provider *p;
	struct tls_want *anybody;
	struct caller *app;
	struct said said;
	char dir[64];
	struct sb yaml;
};

static void put_file(const struct folk *w, const char *name, struct str bytes)
{
	char path[128], fresh[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	snprintf(fresh, sizeof(fresh), "%s/.fresh", w->dir);
	f = fopen(fresh, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes.p, 1, bytes.n, f), bytes.n);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(rename(fresh, path), 0);
}

/* NAME.pem and NAME-key.pem, for sa/ACCOUNT. */
static void put_paper(const struct folk *w, const char *name, const char *account)
{
	char sans[160], file[64];
	struct sb chain = {0}, key = {0};

	snprintf(sans, sizeof(sans), "URI:" TD "%s", account);
	authority_leaf(w->mesh, &(struct paper){.sans = sans}, &chain, &key);
	snprintf(file, sizeof(file), "%s.pem", name);
	put_file(w, file, sb_view(&chain));
	snprintf(file, sizeof(file), "%s-key.pem", name);
	put_file(w, file, sb_view(&key));
	sb_end(&chain);
	sb_end(&key);
}

/* Of `text`, "@" becomes the folder. Lives until the next one. */
static const char *written(struct folk *w, const char *text)
{
	w->yaml.n = 0;
	for (; *text; text++) {
		if (*text == '@')
			sb_str(&w->yaml, w->dir);
		else
			sb_char(&w->yaml, *text);
	}
	sb_char(&w->yaml, '\0');
	return w->yaml.p;
}

static struct folk *folk_bare(void)
{
	struct folk *w = xnew(struct folk);

	w->r = rig_bare(7);
	snprintf(w->dir, sizeof(w->dir), "/tmp/thinmesh-folk-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	w->mesh = authority_new("mesh", rig_now_s(w->r));
	put_file(w, "roots.pem", str_of(authority_pem(w->mesh)));
	w->p = provider_new(w->r, "10.0.0.1:1", ANSWERS);
	w->anybody = tls_want_new();
	tls_want_seal(w->anybody);
	w->p->clients = w->anybody;
	provider_tls(w->p, w->mesh, "URI:" TD "demo,DNS:one.example,DNS:two.example", authority_pem(w->mesh));
	said_begin(&w->said, w->r);
	return w;
}

static struct folk *folk_start(struct folk *w, const char *yaml)
{
	rig_start(w->r, written(w, yaml));
	w->app = caller_new(w->r, DOOR);
	rig_settle(w->r);
	return w;
}

static void folk_end(struct folk *w)
{
	char command[128];

	said_end(&w->said, w->r);
	tls_context_unref(&w->p->tls);
	tls_want_unref(&w->anybody);
	rig_free(&w->r);
	authority_free(&w->mesh);
	snprintf(command, sizeof(command), "rm -r %s", w->dir);
	ck_assert_int_eq(system(command), 0);
	sb_end(&w->yaml);
	free(w);
}

static struct call *calls(struct folk *w, struct caller *from, const char *authority)
{
	struct call *k = call_unary(from, authority, NULL);

	rig_advance(w->r, 50);
	return k;
}

/* Whose certificate the provider saw with the last call. */
static const char *saw(const struct folk *w)
{
	const struct served *s = provider_last(w->p);

	return s && s->conn ? s->conn->peer : "";
}

#define APP(name, identity) "  - name: " name "\n    listen: [{unix: /run/" name ".sock}]\n" identity
#define FILES(name) "    identity: {cert: @/" name ".pem, key: @/" name "-key.pem, roots: @/roots.pem}\n"
#define SERVICE(name, tls) "  - {name: \"" name "\", endpoints: [\"10.0.0.1:1\"], tls: {roots: @/roots.pem, sni: demo, san: [\"" TD "demo\"]" tls "}}\n"

START_TEST(a_provider_sees_the_certificate_of_the_app_that_is_named)
{
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(w->r->sc->ready);
	for (int i = 0; i < 3; i++) {
		struct call *k = calls(w, w->app, ONE);
		ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
		ck_assert_str_eq(saw(w), TD "shop");
	}
	ck_assert_uint_eq(w->p->accepted, 1);
	ck_assert_uint_eq(said_count(&w->said, "app 'shop': certificate '" TD "shop' until "), 1);
	folk_end(w);
}
END_TEST

START_TEST(two_identities_never_share_a_connection_and_two_services_with_one_identity_do)
{
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	put_paper(w, "till", "till");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) APP("till", FILES("till")) "services:\n" SERVICE(ONE, ", identity: shop") SERVICE(TWO, ", identity: shop") SERVICE("three.example:1", ", identity: till"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "shop");
	ck_assert(call_ok(calls(w, w->app, TWO)));
	ck_assert_str_eq(saw(w), TD "shop");
	ck_assert_uint_eq(w->p->accepted, 1);
	ck_assert(call_ok(calls(w, w->app, "three.example:1")));
	ck_assert_str_eq(saw(w), TD "till");
	ck_assert_uint_eq(w->p->accepted, 2);
	folk_end(w);
}
END_TEST

START_TEST(equal_lines_are_one_identity)
{
	struct folk *w = folk_bare();
	struct identity_info a, b;

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) APP("till", FILES("shop")) APP("nobody", "") "services: []\n");
	ck_assert(identities_info(w->r->sc->identities, "shop", &a) && identities_info(w->r->sc->identities, "till", &b));
	ck_assert_ptr_eq(a.cert, b.cert);
	ck_assert_ptr_eq(a.roots, b.roots);
	ck_assert(!identities_info(w->r->sc->identities, "nobody", &a));
	folk_end(w);
}
END_TEST

START_TEST(without_a_certificate_a_call_is_unavailable_and_nothing_goes_out)
{
	struct folk *w = folk_bare();
	struct call *k;

	/* No such file. It says so, at once, and calls that need it say why. */
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(w->r->sc->ready); /* waiting for what failed would be in vain */
	k = calls(w, w->app, ONE);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && strstr(call_text(k), "shop.pem"), "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(w->p->handshakes, 0);
	ck_assert_uint_eq(w->p->requests, 0);
	ck_assert_uint_eq(said_count(&w->said, "what needs it fails until it is there"), 1);
	/* Somebody puts it there. */
	put_paper(w, "shop", "shop");
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 2000);
	k = calls(w, w->app, ONE);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_str_eq(saw(w), TD "shop");
	folk_end(w);
}
END_TEST

START_TEST(a_provider_that_is_not_who_it_should_be_is_told_once_in_the_log_with_both_names)
{
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n"
			"  - {name: \"" ONE "\", endpoints: [\"10.0.0.1:1\"], connect_timeout: 200ms, tls: {roots: @/roots.pem, san: [\"" TD "somebody\"], identity: shop}}\n");
	for (int i = 0; i < 3; i++) {
		struct call *k = calls(w, w->app, ONE);
		rig_advance(w->r, 3000);
		ck_assert_int_eq(k->grpc, GRPC_UNAVAILABLE);
		ck_assert_msg(strstr(call_text(k), TD "somebody") && strstr(call_text(k), TD "demo"), "'%s'", call_text(k));
	}
	ck_assert_uint_eq(w->p->requests, 0);
	ck_assert_uint_eq(said_count(&w->said, "TLS to service '" ONE "' (10.0.0.1:1) as app 'shop' failed: "), 1);
	ck_assert_uint_ge(said_count(&w->said, TD "somebody"), 1);
	folk_end(w);
}
END_TEST

/* Two services whose TLS is alike in all, of one provider: the log says of each that it fails, and that checks are told with calls. */
START_TEST(a_failed_handshake_names_each_service_that_it_was_for_and_calls_and_checks_are_one)
{
	struct folk *w = folk_bare();
	const char *want = "connect_timeout: 200ms, tls: {roots: @/roots.pem, san: [\"" TD "somebody\"], sni: same.example, identity: shop}";

	put_paper(w, "shop", "shop");
	char *yaml = xasprintf(TOP "apps:\n" APP("shop", FILES("shop")) "services:\n"
			"  - {name: \"" ONE "\", endpoints: [\"10.0.0.1:1\"], health: {tcp: {}, interval: 1s}, %s}\n"
			"  - {name: \"" TWO "\", endpoints: [\"10.0.0.2:1\"], %s}\n", want, want);
	struct provider *other = provider_new(w->r, "10.0.0.2:1", ANSWERS);
	other->tls = w->p->tls;
	other->clients = w->anybody;
	folk_start(w, yaml);
	free(yaml);
	rig_advance(w->r, 5000);
	ck_assert_uint_eq(said_count(&w->said, "TLS to service '" ONE "' (10.0.0.1:1, sni same.example, health check) as app 'shop' failed: "), 1);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(calls(w, w->app, ONE)->grpc, GRPC_UNAVAILABLE);
		ck_assert_int_eq(calls(w, w->app, TWO)->grpc, GRPC_UNAVAILABLE);
		rig_advance(w->r, 3000);
	}
	ck_assert_uint_eq(said_count(&w->said, "TLS to service '" TWO "' (10.0.0.2:1, sni same.example) as app 'shop' failed: "), 1);
	ck_assert_uint_eq(said_count(&w->said, "TLS to "), 2);
	folk_end(w);
}
END_TEST

START_TEST(a_rotated_certificate_is_shown_by_the_next_connection)
{
	struct folk *w = folk_bare();
	struct identity_info i;

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	put_paper(w, "shop", "shop");
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 500);
	ck_assert(identities_info(w->r->sc->identities, "shop", &i));
	ck_assert_uint_eq(i.cert->generation, 2);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_uint_eq(w->p->accepted, 1); /* what stands, stands: it is the same one */
	provider_cut(w->p);
	rig_advance(w->r, 50);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_uint_eq(w->p->accepted, 2);
	ck_assert_str_eq(saw(w), TD "shop");
	folk_end(w);
}
END_TEST

START_TEST(who_becomes_another_one_is_not_taken_for_the_one_before)
{
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "shop");
	put_paper(w, "shop", "renamed");
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 500);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "renamed");
	folk_end(w);
}
END_TEST

START_TEST(a_reload_changes_who_an_app_is_and_keeps_the_old_one_until_the_new_one_has_come)
{
	struct folk *w = folk_bare();
	struct identity_info before, after;

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert(identities_info(w->r->sc->identities, "shop", &before));
	/* The files of the new one are not there yet. */
	ck_assert_int_eq(rig_reload(w->r, written(w, TOP "apps:\n" APP("shop", FILES("new")) "services:\n" SERVICE(ONE, ", identity: shop"))), 0);
	rig_advance(w->r, 100);
	ck_assert(identities_info(w->r->sc->identities, "shop", &after));
	ck_assert_ptr_eq(before.cert, after.cert);
	provider_cut(w->p);
	rig_advance(w->r, 50);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "shop");
	put_paper(w, "new", "new");
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 500);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "new");
	folk_end(w);
}
END_TEST

START_TEST(of_two_apps_with_one_identity_one_may_become_another_and_the_other_stays)
{
	struct folk *w = folk_bare();
	struct identity_info a, b;

	put_paper(w, "shop", "shop");
	put_paper(w, "till", "till");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) APP("till", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop") SERVICE(TWO, ", identity: till"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert(call_ok(calls(w, w->app, TWO)));
	ck_assert_int_eq(rig_reload(w->r, written(w, TOP "apps:\n" APP("shop", FILES("shop")) APP("till", FILES("till")) "services:\n" SERVICE(ONE, ", identity: shop") SERVICE(TWO, ", identity: till"))), 0);
	rig_advance(w->r, 100);
	ck_assert(identities_info(w->r->sc->identities, "shop", &a) && identities_info(w->r->sc->identities, "till", &b));
	ck_assert_ptr_ne(a.cert, b.cert);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_str_eq(saw(w), TD "shop");
	ck_assert(call_ok(calls(w, w->app, TWO)));
	ck_assert_str_eq(saw(w), TD "till");
	/* And back: one again. */
	ck_assert_int_eq(rig_reload(w->r, written(w, TOP "apps:\n" APP("shop", FILES("shop")) APP("till", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop") SERVICE(TWO, ", identity: till"))), 0);
	rig_advance(w->r, 100);
	ck_assert(identities_info(w->r->sc->identities, "shop", &a) && identities_info(w->r->sc->identities, "till", &b));
	ck_assert_ptr_eq(a.cert, b.cert);
	ck_assert(call_ok(calls(w, w->app, TWO)));
	ck_assert_str_eq(saw(w), TD "shop");
	folk_end(w);
}
END_TEST

static void agent_gives_for(struct folk *w, struct sds_server *agent, const char *account, int64_t from_s, int64_t to_s)
{
	char sans[160];

	snprintf(sans, sizeof(sans), "URI:" TD "%s", account);
	sds_server_leaf(agent, "default", w->mesh, &(struct paper){.sans = sans, .from_s = from_s, .to_s = to_s});
	sds_server_roots(agent, "ROOTCA", authority_pem(w->mesh));
}

static void agent_gives(struct folk *w, struct sds_server *agent, const char *account)
{
	agent_gives_for(w, agent, account, 0, 0);
}

#define AGENT "    identity: {sds: \"unix:/run/sds.sock\"}\n"

START_TEST(ready_waits_for_the_first_certificate_but_not_for_ever)
{
	for (int comes = 0; comes < 2; comes++) {
		struct folk *w = folk_bare();
		struct sds_server *agent = sds_server_new(w->r->net, &w->r->account, "unix:/run/sds.sock");
		struct call *k;

		agent_gives(w, agent, "shop");
		agent->mute = true;
		folk_start(w, TOP "park: {time: 3s}\napps:\n" APP("shop", AGENT) "services:\n" SERVICE(ONE, ", identity: shop"));
		rig_advance(w->r, 1000);
		ck_assert(!w->r->sc->ready);
		ck_assert(!sidecar_is_prepared(w->r->sc));
		k = call_unary(w->app, ONE, NULL); /* whoever calls already waits with us */
		rig_advance(w->r, 100);
		ck_assert_uint_eq(k->ends, 0);
		if (comes) {
			agent->mute = false;
			sds_server_say(agent, "default");
			sds_server_say(agent, "ROOTCA");
			rig_advance(w->r, 100);
			ck_assert(w->r->sc->ready);
			ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
			ck_assert_str_eq(saw(w), TD "shop");
		} else {
			rig_advance(w->r, 2000);
			ck_assert(w->r->sc->ready);
			ck_assert_uint_eq(said_count(&w->said, "its certificate has not come yet; ready without it"), 1);
			rig_advance(w->r, 5000);
			ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && strstr(call_text(k), "no certificate yet: 'default' of sds unix:/run/sds.sock has not come"), "%d '%s'", k->grpc, call_text(k));
			ck_assert_uint_eq(w->p->requests, 0);
		}
		sds_server_end(agent);
		rig_settle(w->r);
		sds_server_free(&agent);
		folk_end(w);
	}
}
END_TEST

START_TEST(from_files_to_an_agent_and_back_no_call_fails)
{
	struct folk *w = folk_bare();
	struct sds_server *agent = sds_server_new(w->r->net, &w->r->account, "unix:/run/sds.sock");
	static const char files[] = TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop");
	static const char sds[] = TOP "apps:\n" APP("shop", AGENT) "services:\n" SERVICE(ONE, ", identity: shop");

	put_paper(w, "shop", "shop");
	agent_gives(w, agent, "agent");
	folk_start(w, files);
	for (int i = 0; i < 3; i++) {
		ck_assert(call_ok(calls(w, w->app, ONE)));
		ck_assert_str_eq(saw(w), i % 2 ? TD "agent" : TD "shop");
		ck_assert_int_eq(rig_reload(w->r, written(w, i % 2 ? files : sds)), 0);
		ck_assert(call_ok(calls(w, w->app, ONE)));
		rig_advance(w->r, 1000);
	}
	sds_server_end(agent);
	rig_settle(w->r);
	sds_server_free(&agent);
	folk_end(w);
}
END_TEST

START_TEST(a_certificate_is_used_to_its_end_which_is_told_and_another_one_is_asked_for)
{
	struct folk *w = folk_bare();
	struct sds_server *agent = sds_server_new(w->r->net, &w->r->account, "unix:/run/sds.sock");
	struct identity_info i;
	struct call *k;

	agent_gives_for(w, agent, "shop", -60, 500);
	folk_start(w, TOP "apps:\n" APP("shop", AGENT) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	agent_gives_for(w, agent, "next", 400, 5000); /* its clock is not ours */
	rig_advance(w->r, 1000);
	ck_assert_uint_eq(agent->nacks, 1);
	provider_cut(w->p);
	rig_advance(w->r, 50);
	k = calls(w, w->app, ONE);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_str_eq(saw(w), TD "shop");
	rig_advance(w->r, 495 * 1000);
	ck_assert_uint_eq(said_count(&w->said, "has expired"), 0);
	rig_advance(w->r, 10 * 1000);
	ck_assert_uint_eq(said_count(&w->said, "app 'shop': the certificate has expired at "), 1);
	ck_assert(identities_info(w->r->sc->identities, "shop", &i));
	ck_assert_str_eq(tls_cert_id(i.cert->cert), TD "next");
	ck_assert_str_eq(i.last_error, "");
	k = calls(w, w->app, ONE);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_str_eq(saw(w), TD "next");
	sds_server_end(agent);
	rig_settle(w->r);
	sds_server_free(&agent);
	folk_end(w);
}
END_TEST

START_TEST(files_that_nobody_renews_are_told_at_their_end_and_calls_say_so)
{
	struct folk *w = folk_bare();
	struct sb chain = {0}, key = {0};
	struct identity_info i;
	struct call *k;

	authority_leaf(w->mesh, &(struct paper){.sans = "URI:" TD "shop", .from_s = -60, .to_s = 7200}, &chain, &key);
	put_file(w, "shop.pem", sb_view(&chain));
	put_file(w, "shop-key.pem", sb_view(&key));
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"));
	ck_assert(call_ok(calls(w, w->app, ONE)));
	rig_advance(w->r, 7199 * 1000);
	ck_assert_uint_eq(said_count(&w->said, "has expired"), 0);
	rig_advance(w->r, 7200 * 1000);
	ck_assert_uint_eq(said_count(&w->said, "app 'shop': the certificate has expired at "), 1);
	ck_assert(identities_info(w->r->sc->identities, "shop", &i));
	ck_assert(strstr(i.last_error, "has expired at "));
	provider_cut(w->p);
	rig_advance(w->r, 50);
	k = calls(w, w->app, ONE);
	rig_advance(w->r, 10000);
	ck_assert_msg(k->grpc == GRPC_UNAVAILABLE && strstr(call_text(k), "which has expired at "), "%d '%s'", k->grpc, call_text(k));
	ck_assert_uint_eq(w->p->requests, 1);
	sb_end(&chain);
	sb_end(&key);
	folk_end(w);
}
END_TEST

#define BY_CA(n) "    identity: {service_account: shop, ca: {server: \"unix:/run/ca" n ".sock\", token_file: @/token}}\n"

/* The second one is mute at first: what the first one gave is shown until there is another. */
START_TEST(from_one_ca_to_another_no_call_fails)
{
	struct folk *w = folk_bare();
	struct ca *one = ca_new(simnet_loop(w->r->net), &w->r->account, "unix:/run/ca1.sock", w->mesh, NULL), *two = ca_new(simnet_loop(w->r->net), &w->r->account, "unix:/run/ca2.sock", w->mesh, NULL);
	struct call *k;

	put_file(w, "token", STR("abc"));
	one->identity = TD "first";
	two->identity = TD "second";
	two->quirks.mute = true;
	folk_start(w, TOP "apps:\n" APP("shop", BY_CA("1")) "services:\n" SERVICE(ONE, ", identity: shop"));
	k = calls(w, w->app, ONE);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_str_eq(saw(w), TD "first");
	ck_assert_int_eq(rig_reload(w->r, written(w, TOP "apps:\n" APP("shop", BY_CA("2")) "services:\n" SERVICE(ONE, ", identity: shop"))), 0);
	rig_advance(w->r, 3000);
	ck_assert_uint_eq(two->requests, 1);
	provider_cut(w->p);
	rig_advance(w->r, 50);
	k = calls(w, w->app, ONE);
	ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	ck_assert_str_eq(saw(w), TD "first");
	two->quirks.mute = false;
	ca_cut(two);
	for (int i = 0; i < 20; i++) {
		rig_advance(w->r, 100);
		k = calls(w, w->app, ONE);
		ck_assert_msg(call_ok(k), "%d '%s'", k->grpc, call_text(k));
	}
	ck_assert_str_eq(saw(w), TD "second");
	ck_assert_uint_eq(one->requests, 1);
	ca_end(one);
	ca_end(two);
	rig_settle(w->r);
	ca_free(&one);
	ca_free(&two);
	folk_end(w);
}
END_TEST

/* Takes requests and says nothing; takes connections and says nothing; is not there. */
enum silence { SILENT_MUTE, SILENT_STALLED, SILENT_AWAY, SILENCES };

static void ca_silent(struct ca *ca, enum silence how, bool silent)
{
	ca->quirks.mute = silent && how == SILENT_MUTE;
	ca->stalled = silent && how == SILENT_STALLED;
	if (how == SILENT_AWAY)
		ca_listen(ca, !silent);
	ca_cut(ca);
}

/* How many times more it was tried: what the sidecar counts, for who is away sees nothing. */
static uint64_t tries(struct folk *w)
{
	return rig_stat(w->r, STAT_CSR_REQUESTS);
}

START_TEST(a_ca_that_never_answers_is_named_by_calls_that_end_in_time_and_asked_until_it_does)
{
	for (enum silence how = 0; how < SILENCES; how++) {
		struct folk *w = folk_bare();
		struct ca *ca = ca_new(simnet_loop(w->r->net), &w->r->account, "unix:/run/ca1.sock", w->mesh, NULL);
		struct call *k;

		put_file(w, "token", STR("abc"));
		ca_silent(ca, how, true);
		folk_start(w, TOP "apps:\n" APP("shop", BY_CA("1")) "services:\n" SERVICE(ONE, ", identity: shop"));
		for (int i = 0; i < 40; i++) { /* at any time of ten minutes */
			uint64_t before = tries(w);
			k = call_unary(w->app, ONE, NULL);
			rig_advance(w->r, 6000);
			ck_assert_msg(k->ends == 1 && k->grpc == GRPC_UNAVAILABLE, "%d/%d: %u '%s'", how, i, k->ends, call_text(k));
			ck_assert_msg(strstr(call_text(k), "unix:/run/ca1.sock"), "%d/%d: '%s'", how, i, call_text(k));
			rig_advance(w->r, 44000); /* a try of ten seconds, and thirty behind it, at most */
			ck_assert_uint_gt(tries(w), before);
		}
		ck_assert(w->r->sc->ready);
		ck_assert_uint_eq(w->p->handshakes, 0);
		ck_assert_uint_lt(said_count(&w->said, "trying again"), 10);
		ca_silent(ca, how, false);
		rig_advance(w->r, 45000);
		k = calls(w, w->app, ONE);
		ck_assert_msg(call_ok(k), "%d: %d '%s'", how, k->grpc, call_text(k));
		ck_assert_str_eq(saw(w), TD "shop");
		ca_end(ca);
		rig_settle(w->r);
		ca_free(&ca);
		folk_end(w);
	}
}
END_TEST

START_TEST(while_a_ca_does_not_answer_the_certificate_in_use_stays_to_its_end)
{
	for (enum silence how = 0; how < SILENCES; how++) {
		struct folk *w = folk_bare();
		struct ca *ca = ca_new(simnet_loop(w->r->net), &w->r->account, "unix:/run/ca1.sock", w->mesh, NULL);
		struct call *k;

		put_file(w, "token", STR("abc"));
		ca->quirks.from_s = -60;
		ca->quirks.to_s = 600;
		folk_start(w, TOP "apps:\n" APP("shop", BY_CA("1")) "services:\n" SERVICE(ONE, ", identity: shop"));
		ck_assert(call_ok(calls(w, w->app, ONE)));
		ca_silent(ca, how, true);
		uint64_t before = tries(w);
		for (int i = 0; i < 59; i++) { /* beyond its renewal, with a new connection each time */
			rig_advance(w->r, 10000);
			provider_cut(w->p);
			rig_advance(w->r, 20);
			k = calls(w, w->app, ONE);
			ck_assert_msg(call_ok(k), "%d/%d: %d '%s'", how, i, k->grpc, call_text(k));
		}
		ck_assert_uint_gt(tries(w), before + 5);
		ck_assert_uint_eq(said_count(&w->said, "the present certificate stays") > 0, 1);
		ck_assert_uint_eq(said_count(&w->said, "has expired"), 0);
		rig_advance(w->r, 30000);
		ck_assert_uint_eq(said_count(&w->said, "the certificate has expired, and there is no other one: CA unix:/run/ca1.sock"), 1);
		provider_cut(w->p);
		rig_advance(w->r, 20);
		k = call_unary(w->app, ONE, NULL);
		rig_advance(w->r, 6000);
		ck_assert_msg(k->ends == 1 && k->grpc == GRPC_UNAVAILABLE && strstr(call_text(k), "has expired"), "%d: %u %d '%s'", how, k->ends, k->grpc, call_text(k));
		authority_set_now(w->mesh, rig_now_s(w->r));
		ca_silent(ca, how, false);
		rig_advance(w->r, 45000);
		k = calls(w, w->app, ONE);
		ck_assert_msg(call_ok(k), "%d: %d '%s'", how, k->grpc, call_text(k));
		ca_end(ca);
		rig_settle(w->r);
		ca_free(&ca);
		folk_end(w);
	}
}
END_TEST

/* An agent serves one stream: of two apps that are not the same one, the second calls what the mesh says as the first. Said once, and again only after it was well. */
START_TEST(apps_that_an_agent_does_not_tell_apart_are_told_of_once)
{
	static const char both[] = TOP "xds: {server: \"unix:/run/agent.sock\"}\napps:\n" APP("shop", FILES("shop")) APP("till", FILES("till"));
	static const char alike[] = TOP "xds: {server: \"unix:/run/agent.sock\"}\napps:\n" APP("shop", FILES("shop")) APP("till", FILES("shop"));
	static const char warning[] = "apps 'shop' and 'till' have different identities, but the agent 'unix:/run/agent.sock' serves one stream";
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	put_paper(w, "till", "till");
	folk_start(w, both);
	ck_assert_uint_eq(said_count(&w->said, warning), 1);
	ck_assert_int_eq(rig_reload(w->r, written(w, both)), 0);
	rig_advance(w->r, 100);
	ck_assert_uint_eq(said_count(&w->said, warning), 1);
	ck_assert_int_eq(rig_reload(w->r, written(w, alike)), 0);
	rig_advance(w->r, 100);
	ck_assert_uint_eq(said_count(&w->said, warning), 1);
	ck_assert_int_eq(rig_reload(w->r, written(w, both)), 0);
	rig_advance(w->r, 100);
	ck_assert_uint_eq(said_count(&w->said, warning), 2);
	folk_end(w);
}
END_TEST

START_TEST(insecure_is_said_aloud)
{
	struct folk *w = folk_bare();

	put_paper(w, "shop", "shop");
	folk_start(w, TOP "apps:\n" APP("shop", FILES("shop")) "services:\n  - {name: \"" ONE "\", endpoints: [\"10.0.0.1:1\"], tls: {insecure: true, identity: shop}}\n");
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_uint_eq(said_count(&w->said, "service '" ONE "': tls.insecure: its endpoints are NOT verified"), 1);
	folk_end(w);
}
END_TEST

/* What `thinmesh check` warns of (e2e: test_tls_seen), the daemon says too. */
START_TEST(a_certificate_of_somebody_else_than_configured_is_said_at_start_at_each_reload_and_when_it_comes)
{
	struct folk *w = folk_bare();
	const char *yaml = TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop"),
		*other = TOP "apps:\n" APP("shop", FILES("shop")) "services:\n" SERVICE(ONE, ", identity: shop") SERVICE(TWO, ", identity: shop");
	const char *shop = "app 'shop': the certificate is of '" TD "shop'; by service_account, trust_domain and the namespace, or their defaults, the app is '" TD "default'";

	put_paper(w, "shop", "shop");
	folk_start(w, yaml);
	ck_assert_uint_eq(said_count(&w->said, shop), 1);
	rig_advance(w->r, 5000);
	ck_assert(call_ok(calls(w, w->app, ONE)));
	ck_assert_uint_eq(said_count(&w->said, shop), 1);
	rig_reload(w->r, written(w, other));
	rig_advance(w->r, 100);
	ck_assert_uint_eq(said_count(&w->said, shop), 2);
	put_paper(w, "shop", "shop"); /* renewed */
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(said_count(&w->said, shop), 2);
	put_paper(w, "shop", "default"); /* it is who it should be */
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(said_count(&w->said, "the certificate is of"), 2);
	put_paper(w, "shop", "cart");
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 2000);
	ck_assert_uint_eq(said_count(&w->said, "app 'shop': the certificate is of '" TD "cart'"), 1);
	folk_end(w);
}
END_TEST

UNIT_SUITE("identities", a_provider_sees_the_certificate_of_the_app_that_is_named, two_identities_never_share_a_connection_and_two_services_with_one_identity_do, equal_lines_are_one_identity,
	without_a_certificate_a_call_is_unavailable_and_nothing_goes_out, a_provider_that_is_not_who_it_should_be_is_told_once_in_the_log_with_both_names,
	a_failed_handshake_names_each_service_that_it_was_for_and_calls_and_checks_are_one, a_rotated_certificate_is_shown_by_the_next_connection,
	who_becomes_another_one_is_not_taken_for_the_one_before, a_reload_changes_who_an_app_is_and_keeps_the_old_one_until_the_new_one_has_come,
	of_two_apps_with_one_identity_one_may_become_another_and_the_other_stays, ready_waits_for_the_first_certificate_but_not_for_ever, from_files_to_an_agent_and_back_no_call_fails,
	a_certificate_is_used_to_its_end_which_is_told_and_another_one_is_asked_for, a_ca_that_never_answers_is_named_by_calls_that_end_in_time_and_asked_until_it_does,
	while_a_ca_does_not_answer_the_certificate_in_use_stays_to_its_end, files_that_nobody_renews_are_told_at_their_end_and_calls_say_so, from_one_ca_to_another_no_call_fails,
	apps_that_an_agent_does_not_tell_apart_are_told_of_once, insecure_is_said_aloud,
	a_certificate_of_somebody_else_than_configured_is_said_at_start_at_each_reload_and_when_it_comes)
