/* xds/csr, xds/csr_message, xds/csr_files, xds/token: our own certificate from a CA. Virtual clock, a CA in memory (tests/flow/rig_ca.h); files lie in a folder of the test. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/offload.h"
#include "tests/unit.h"
#include "tests/xds/ground.h"
#include "xds/csr.h"
#include "xds/csr_message.h"
#include "xds/token.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)
#define HOUR (3600 * UINT64_C(1000))  /* of advance() */
#define ISTIOD "istiod.istio-system.svc:15012"
#define PLAIN "unix:/run/ca.sock"
#define SHOP "spiffe://cluster.local/ns/default/sa/shop"
#define TILL "spiffe://cluster.local/ns/default/sa/till"

struct csrrig {
	struct ground g;
	struct offload *offload;
	struct reader *reader;
	struct ca *ca;
	struct conf_identity conf;
	struct secret_space space;
	struct secret *files[2];       /* what the space gives for SECRET_FILES: by kind */
	struct secret_watch watch;
	uint32_t told;
	struct csr *csr;
	struct secret *cert, *roots;
	char folder[32], token[64], output[64];
};

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static struct secret *space_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct csrrig *r = ctx;

	*why = "there are no files of this name";
	if (ref->from != SECRET_FILES || !r->files[ref->kind] || strcmp(r->files[ref->kind]->name, ref->name) != 0)
		return NULL;
	return secret_ref(r->files[ref->kind]);
}

static struct csrrig *rig_new(const char *server)
{
	struct csrrig *r = xnew(struct csrrig);

	ground_begin(&r->g);
	dns_table_set(r->g.dns, "istiod.istio-system.svc", "10.9.0.1", 60 * SEC);
	r->offload = offload_new(r->g.loop);
	r->reader = reader_new(r->g.loop);
	struct err err = ERR_INIT;
	struct tls_trust *trust;
	const char *why;
	ck_assert_int_eq(tls_trust_new("roots", str_of(authority_pem(r->g.authority)), NULL, &trust, &err), 0);
	r->files[SECRET_ROOTS] = secret_new(r->g.transports, SECRET_ROOTS, "/etc/ca.pem", "files", NULL, NULL);
	ck_assert_int_eq(secret_put_trust(r->files[SECRET_ROOTS], trust, &why), 0);
	r->space = (struct secret_space){.get = space_get, .ctx = r};
	if (strcmp(server, PLAIN) == 0) {
		r->ca = ca_new(r->g.loop, &r->g.account, PLAIN, r->g.authority, NULL);
	} else {
		struct tls_context *tls = ca_tls(r->g.authority, "DNS:istiod.istio-system.svc", authority_pem(r->g.authority));
		r->ca = ca_new(r->g.loop, &r->g.account, "10.9.0.1:15012", r->g.authority, tls);
		tls_context_unref(&tls);
	}
	snprintf(r->folder, sizeof(r->folder), "/tmp/test_csr-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->folder));
	snprintf(r->token, sizeof(r->token), "%s/token", r->folder);
	snprintf(r->output, sizeof(r->output), "%s/out", r->folder);
	write_file(r->token, "abc\n");
	r->conf = (struct conf_identity){.kind = IDENTITY_CA, .hash = 1, .ca = {.server = (char *)server, .roots = (char *)"/etc/ca.pem", .token_file = r->token, .cluster_id = (char *)"Kubernetes",
		.ttl_ns = 86400 * SEC}};
	return r;
}

static struct csr *csr_of(struct csrrig *r)
{
	return csr_new(&(struct csr_spec){.loop = r->g.loop, .log = r->g.log, .dns = r->g.dns, .limits = &r->g.limits, .transports = r->g.transports, .offload = r->offload, .reader = r->reader, .conf = &r->conf, .spiffe_id = SHOP,
		.app = "shop", .space = &r->space, .cert = r->cert, .roots = r->roots});
}

static void start(struct csrrig *r)
{
	r->csr = csr_of(r);
	r->cert = csr_cert(r->csr);
	r->roots = csr_roots(r->csr);
	ground_advance(&r->g, 50);
}

static void remove_folder(const char *folder)
{
	DIR *d = opendir(folder);

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[400];
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(folder);
}

static void rig_free(struct csrrig **pr)
{
	struct csrrig *r = *pr;

	*pr = NULL;
	csr_free(&r->csr);
	secret_unref(&r->cert);
	secret_unref(&r->roots);
	secret_unref(&r->files[0]);
	secret_unref(&r->files[1]);
	ca_end(r->ca);
	ground_advance(&r->g, 1000);
	ca_free(&r->ca);
	offload_free(&r->offload);
	reader_free(&r->reader);
	ground_end(&r->g);
	remove_folder(r->output);
	remove_folder(r->folder);
	free(r);
}

static struct csrrig *rig_ready(const char *server)
{
	struct csrrig *r = rig_new(server);

	start(r);
	ck_assert_msg(r->cert->state == SECRET_READY, "%s", csr_last_error(r->csr));
	return r;
}

/* ---- the first one ---- */

START_TEST(a_certificate_is_asked_for_with_a_token_over_tls)
{
	struct csrrig *r = rig_new(ISTIOD);

	r->ca->token = "abc";
	r->ca->demands = true;
	r->conf.ca.signer = (char *)"clusterissuers.cert-manager.io/mesh";
	r->csr = csr_of(r);
	r->cert = csr_cert(r->csr);
	r->roots = csr_roots(r->csr);
	ck_assert_int_eq(r->cert->state, SECRET_WAITING);
	ck_assert_str_eq(r->cert->source, "ca " ISTIOD);
	ground_advance(&r->g, 50);
	ck_assert_msg(r->cert->state == SECRET_READY, "%s", csr_last_error(r->csr));
	ck_assert_int_eq(r->roots->state, SECRET_READY);
	ck_assert_str_eq(tls_cert_id(r->cert->cert), SHOP);
	ck_assert_str_eq(r->ca->last_token, "Bearer abc");
	ck_assert_str_eq(r->ca->last_uri, SHOP);
	ck_assert_str_eq(r->ca->last_cluster, "Kubernetes");
	ck_assert_str_eq(r->ca->last_signer, "CertSigner=clusterissuers.cert-manager.io/mesh");
	ck_assert_str_eq(r->ca->last_peer, ""); /* a token speaks for itself */
	ck_assert_uint_eq(r->ca->last_validity_s, 86400);
	ck_assert(strstr(r->ca->last_head, ":scheme: https\n"));
	ck_assert(strstr(r->ca->last_head, ":authority: " ISTIOD "\n"));
	ck_assert_uint_eq(ground_stat(&r->g, STAT_CSR_REQUESTS), 1);
	ck_assert_uint_eq(ground_stat(&r->g, STAT_CSR_FAILURES), 0);
	ground_advance(&r->g, 1000);
	ck_assert_uint_eq(r->ca->accepted, 1);
	ck_assert(list_empty(&r->ca->conns)); /* nothing stays open */
	rig_free(&r);
}
END_TEST

START_TEST(a_unix_socket_is_spoken_to_in_plain_text)
{
	struct csrrig *r = rig_ready(PLAIN);

	ck_assert(strstr(r->ca->last_head, ":scheme: http\n"));
	ck_assert(strstr(r->ca->last_head, ":authority: localhost\n"));
	ck_assert_str_eq(r->ca->last_signer, "CertSigner=");
	rig_free(&r);
}
END_TEST

START_TEST(a_ca_that_shows_another_name_is_told_nothing)
{
	struct csrrig *r = rig_new(ISTIOD);

	r->conf.ca.server_name = (char *)"other.svc";
	start(r);
	ground_advance(&r->g, 3000);
	ck_assert_int_eq(r->cert->state, SECRET_FAILING);
	ck_assert_uint_eq(r->ca->requests, 0);
	ck_assert_msg(strstr(r->cert->why, "other.svc"), "%s", r->cert->why);
	rig_free(&r);
}
END_TEST

START_TEST(a_ca_may_be_known_by_a_name_of_its_own)
{
	struct csrrig *r = rig_new(ISTIOD);
	char *san[] = {(char *)"istiod.istio-system.svc"};

	r->conf.ca.server_name = (char *)"ca.example";
	r->conf.ca.san = san;
	r->conf.ca.nsan = 1;
	start(r);
	ck_assert_msg(r->cert->state == SECRET_READY, "%s", csr_last_error(r->csr));
	rig_free(&r);
}
END_TEST

START_TEST(an_intermediate_comes_along_and_the_roots_are_the_last_entry)
{
	struct csrrig *r = rig_new(PLAIN);
	struct authority *below = authority_below(r->g.authority, "below");
	struct sb text = {0};

	r->ca->authority = below;
	r->ca->above = authority_pem(below);
	start(r);
	ck_assert_msg(r->cert->state == SECRET_READY, "%s", csr_last_error(r->csr));
	ck_assert(strstr(tls_trust_text(r->roots->trust, &text), "mesh"));
	rig_free(&r);
	authority_free(&below);
	sb_end(&text);
}
END_TEST

START_TEST(the_name_that_the_ca_gives_is_used_and_told_once)
{
	struct csrrig *r = rig_new(PLAIN);

	r->ca->identity = TILL;
	start(r);
	ck_assert_str_eq(tls_cert_id(r->cert->cert), TILL);
	ck_assert(ground_logged(&r->g, "gave a certificate of '" TILL "', '" SHOP "' was asked for"));
	r->g.logged.n = 0;
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_uint_eq(r->ca->requests, 2);
	sb_char(&r->g.logged, 0);
	ck_assert(!ground_logged(&r->g, "was asked for"));
	rig_free(&r);
}
END_TEST

/* ---- again ---- */

static void on_told(struct secret_watch *w)
{
	container_of(w, struct csrrig, watch)->told++;
}

START_TEST(it_is_renewed_at_half_of_its_life)
{
	struct csrrig *r = rig_ready(PLAIN);
	uint64_t was = tls_cert_hash(r->cert->cert), key = r->ca->last_key_hash;
	int64_t from, to;

	tls_cert_times(r->cert->cert, &from, &to);
	int64_t left = to - ground_now_s(&r->g), half = ground_now_s(&r->g) + left / 2, at = (int64_t)(csr_renews_wall_ns(r->csr) / 1000000000);
	ck_assert_int_ge(at, half - left / 100);
	ck_assert_int_le(at, half + left / 100);
	secret_watch(r->cert, &r->watch, on_told);
	ground_advance(&r->g, (uint64_t)(at - ground_now_s(&r->g) - 60) * 1000);
	ck_assert_uint_eq(r->ca->requests, 1);
	ck_assert_uint_eq(r->told, 0);
	ground_advance(&r->g, 62000);
	ck_assert_uint_eq(r->ca->requests, 2);
	ck_assert_uint_eq(r->told, 1);
	ck_assert_uint_ne(tls_cert_hash(r->cert->cert), was);
	ck_assert_uint_ne(r->ca->last_key_hash, key); /* a new key each time */
	secret_unwatch(&r->watch);
	rig_free(&r);
}
END_TEST

START_TEST(renewals_of_many_are_spread)
{
	uint64_t least = UINT64_MAX, most = 0;

	for (int i = 0; i < 12; i++) {
		struct csrrig *r = rig_new(PLAIN);
		for (int k = 0; k <= i; k++)
			loop_random(r->g.loop);
		start(r);
		uint64_t at = csr_renews_wall_ns(r->csr);
		least = at < least ? at : least;
		most = at > most ? at : most;
		rig_free(&r);
	}
	ck_assert_uint_gt(most - least, 300 * SEC);
	ck_assert_uint_le(most - least, 1740 * SEC); /* 2 % of a day */
}
END_TEST

/* A CA of Istio's kind dates back by two minutes: all that counts is what is left. */
START_TEST(of_a_short_life_too_there_is_always_something_left)
{
	static const struct { int life_s; uint32_t least, most; } rows[] = {
		{30, 4, 5},   /* in a minute */
		{4, 29, 31},
		{1, 58, 61},  /* once a second is enough for anybody */
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct csrrig *r = rig_new(PLAIN);

		r->ca->quirks.from_s = -120;
		r->ca->quirks.to_s = rows[i].life_s;
		start(r);
		for (int s = 0; s < 60; s++) {
			int64_t from, to;

			ground_advance(&r->g, 1000);
			tls_cert_times(r->cert->cert, &from, &to);
			if (rows[i].life_s > 2) /* at the latest in its second half, and what is there is not used up */
				ck_assert_msg(to - ground_now_s(&r->g) >= rows[i].life_s / 2 - 1, "of %d s are left: %d", rows[i].life_s, (int)(to - ground_now_s(&r->g)));
		}
		ck_assert_msg(r->ca->requests >= rows[i].least && r->ca->requests <= rows[i].most, "%d s: asked %u times", rows[i].life_s, r->ca->requests);
		ck_assert_uint_eq(ground_stat(&r->g, STAT_CSR_FAILURES), 0);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_thousand_renewals_leave_nothing_behind)
{
	struct csrrig *r = rig_new(PLAIN);
	size_t used = 0;

	r->ca->quirks.from_s = -10;
	r->ca->quirks.to_s = 20;
	start(r);
	for (int i = 0; i < 1000; i++) {
		ground_advance(&r->g, 10100);
		if (i == 10)
			used = r->g.loop->memory.used;
	}
	ck_assert_uint_ge(r->cert->puts, 990);
	ck_assert_uint_eq(ground_stat(&r->g, STAT_CSR_FAILURES), 0);
	ck_assert_uint_eq(r->g.loop->memory.used, used);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	rig_free(&r);
}
END_TEST

START_TEST(roots_that_change_come_with_the_next_certificate)
{
	struct csrrig *r = rig_ready(PLAIN);
	struct authority *other = authority_new("other", ground_now_s(&r->g));
	struct sb both = {0};
	uint64_t was = tls_trust_hash(r->roots->trust);

	sb_fmt(&both, "%s%s", authority_pem(r->g.authority), authority_pem(other));
	r->ca->roots = both.p;
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_uint_ne(tls_trust_hash(r->roots->trust), was);
	ck_assert_uint_eq(r->roots->generation, 2);
	rig_free(&r);
	authority_free(&other);
	sb_end(&both);
}
END_TEST

START_TEST(what_is_due_is_asked_at_a_thaw)
{
	struct csrrig *r = rig_ready(PLAIN);

	simnet_freeze(r->g.net, 20 * HOUR * MS);
	ground_advance(&r->g, 1000);
	ck_assert_uint_eq(r->ca->requests, 1);
	csr_thaw(r->csr);
	ground_advance(&r->g, 50);
	ck_assert_uint_eq(r->ca->requests, 2);
	csr_thaw(r->csr); /* nothing is due */
	ground_advance(&r->g, 50);
	ck_assert_uint_eq(r->ca->requests, 2);
	rig_free(&r);
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(a_ca_that_is_not_there_yet_is_waited_for_a_second_and_then_told)
{
	struct csrrig *r = rig_new(PLAIN);

	ca_listen(r->ca, false);
	start(r);
	ground_advance(&r->g, 700);
	ck_assert_int_eq(r->cert->state, SECRET_WAITING);
	ck_assert_uint_ge(ground_stat(&r->g, STAT_CSR_FAILURES), 2);
	ground_advance(&r->g, 5000);
	ck_assert_int_eq(r->cert->state, SECRET_FAILING);
	ck_assert_int_eq(r->roots->state, SECRET_FAILING);
	ck_assert_str_eq(r->cert->why, "CA " PLAIN ": no such socket");
	ck_assert(ground_logged(&r->g, "identity 'shop': CA " PLAIN ": no such socket; trying again"));
	ground_advance(&r->g, 600000);
	uint64_t tries = ground_stat(&r->g, STAT_CSR_REQUESTS);
	ck_assert_uint_le(tries, 100);
	ck_assert_uint_ge(tries, 25); /* never more than half a minute apart */
	ca_listen(r->ca, true);
	ground_advance(&r->g, 30000);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	ck_assert_ptr_null(r->cert->why);
	rig_free(&r);
}
END_TEST

START_TEST(a_renewal_that_fails_leaves_the_old_one_to_its_end)
{
	struct csrrig *r = rig_new(PLAIN);

	r->ca->quirks.from_s = -1;
	r->ca->quirks.to_s = 1200;
	start(r);
	uint64_t was = tls_cert_hash(r->cert->cert);
	ca_listen(r->ca, false);
	ground_advance(&r->g, 700000);
	ck_assert_uint_gt(ground_stat(&r->g, STAT_CSR_FAILURES), 0);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	ck_assert_uint_eq(tls_cert_hash(r->cert->cert), was);
	ck_assert_ptr_nonnull(r->cert->why);
	ck_assert(ground_logged(&r->g, "trying again, the present certificate stays"));
	ck_assert(!ground_logged(&r->g, "has expired"));
	ground_advance(&r->g, 502000);
	ck_assert(ground_logged(&r->g, "identity 'shop': the certificate has expired"));
	ca_listen(r->ca, true);
	ground_advance(&r->g, 31000);
	ck_assert_uint_ne(tls_cert_hash(r->cert->cert), was);
	ck_assert_ptr_null(r->cert->why);
	rig_free(&r);
}
END_TEST

START_TEST(answers_that_are_no_good_are_refused_with_their_reason)
{
	static const struct { struct ca_quirks quirks; const char *why; } rows[] = {
		{{.one_entry = true}, "cert_chain has 1 entry, at least 2 are needed"},
		{{.no_entry = true, .one_entry = true}, "cert_chain has 0 entries"},
		{{.garbage = "\xff\xff", .garbage_n = 2}, "the bytes are no CertificateResponse"},
		{{.no_message = true}, "it answered without a message"},
		{{.garbage = "\x0a\x01\0\x0a\x01" "b", .garbage_n = 6}, "an entry of cert_chain is no text"},
		{{.garbage = "\x0a\x01" "a\x0a\x01" "b", .garbage_n = 6}, "cert_chain"},
		{{.other_key = true}, "key"},
		{{.no_roots = true}, "roots"},
		{{.from_s = -7200, .to_s = -3600}, "has expired already"},
		{{.from_s = 3600, .to_s = 7200}, "is not valid yet"},
		{{.huge = 1 << 30}, "RESOURCE_EXHAUSTED"},
		{{.two_messages = true}, "RESOURCE_EXHAUSTED"},
		{{.refuse = 16, .refuse_text = "request authenticate failure"}, "UNAUTHENTICATED: request authenticate failure"},
		{{.refuse = 7, .refuse_text = "no"}, "PERMISSION_DENIED: no"},
		{{.refuse = 14, .refuse_text = "signing key not ready"}, "UNAVAILABLE: signing key not ready"},
		{{.mute = true}, "DEADLINE_EXCEEDED"},
	};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct csrrig *r = rig_new(PLAIN);
		r->ca->quirks = rows[i].quirks;
		start(r);
		ground_advance(&r->g, 12000);
		ck_assert_msg(r->cert->state == SECRET_FAILING, "row %zu", i);
		ck_assert_msg(r->roots->state == SECRET_FAILING, "row %zu: no roots without a certificate", i);
		ck_assert_msg(strstr(r->cert->why, rows[i].why) && strstr(r->cert->why, "CA " PLAIN ": "), "row %zu: %s", i, r->cert->why);
		r->ca->quirks = (struct ca_quirks){0};
		ground_advance(&r->g, 30000);
		ck_assert_msg(r->cert->state == SECRET_READY && !*csr_last_error(r->csr), "row %zu: %s", i, csr_last_error(r->csr));
		r->ca->quirks = rows[i].quirks;
		uint64_t was = tls_cert_hash(r->cert->cert);
		simnet_advance(r->g.net, csr_renews_wall_ns(r->csr) - r->g.loop->ops->wall_ns(r->g.loop->ops_ctx) + 60 * SEC);
		ck_assert_msg(r->cert->state == SECRET_READY && tls_cert_hash(r->cert->cert) == was && strstr(r->cert->why, rows[i].why), "row %zu: the old one stays", i);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_certificate_that_the_cas_own_roots_do_not_stand_for_is_refused)
{
	struct csrrig *r = rig_new(PLAIN);
	struct authority *other = authority_new("other", ground_now_s(&r->g)), *namesake = authority_new("mesh", ground_now_s(&r->g)), *between = authority_below(r->g.authority, "between");

	r->ca->roots = authority_pem(other);
	start(r);
	ck_assert_int_eq(r->cert->state, SECRET_FAILING);
	ck_assert_int_eq(r->roots->state, SECRET_FAILING); /* its roots are not taken either */
	ck_assert(strstr(r->cert->why, "CA " PLAIN ": the roots in cert_chain do not stand for the certificate of '" SHOP "': unable to get "));
	ck_assert(ground_logged(&r->g, "the roots in cert_chain do not stand for the certificate"));
	r->ca->roots = authority_pem(namesake); /* of the same name, but it has not signed */
	ground_advance(&r->g, 10000);
	ck_assert(strstr(r->cert->why, "do not stand for the certificate"));
	r->ca->roots = authority_pem(r->g.authority);
	r->ca->authority = between; /* and does not send the one between */
	ground_advance(&r->g, 30000);
	ck_assert(strstr(r->cert->why, "unable to get "));
	r->ca->above = authority_pem(between);
	ground_advance(&r->g, 31000);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	/* While there is one that works, such an answer takes nothing away. */
	uint64_t cert = tls_cert_hash(r->cert->cert), roots = tls_trust_hash(r->roots->trust);
	r->ca->roots = authority_pem(other);
	simnet_advance(r->g.net, csr_renews_wall_ns(r->csr) - r->g.loop->ops->wall_ns(r->g.loop->ops_ctx) + 60 * SEC);
	ck_assert(r->cert->state == SECRET_READY && tls_cert_hash(r->cert->cert) == cert && tls_trust_hash(r->roots->trust) == roots);
	rig_free(&r);
	authority_free(&other);
	authority_free(&namesake);
	authority_free(&between);
}
END_TEST

START_TEST(bad_news_of_another_kind_is_told_too)
{
	struct csrrig *r = rig_new(PLAIN);

	ca_listen(r->ca, false);
	start(r);
	ground_advance(&r->g, 5000);
	ck_assert(ground_logged(&r->g, "no such socket; trying again"));
	r->ca->quirks = (struct ca_quirks){.garbage = "\xff\xff", .garbage_n = 2};
	ca_listen(r->ca, true);
	ground_advance(&r->g, 60000);
	ck_assert(ground_logged(&r->g, "the bytes are no CertificateResponse; trying again"));
	rig_free(&r);
}
END_TEST

START_TEST(a_clock_that_is_a_little_behind_the_cas_is_no_failure)
{
	struct csrrig *r = rig_new(PLAIN);

	r->ca->quirks.from_s = 240;
	r->ca->quirks.to_s = 86400;
	start(r);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	rig_free(&r);
}
END_TEST

START_TEST(memory_that_is_refused_is_a_failure_like_others)
{
	struct csrrig *r = rig_new(PLAIN);
	struct sb big = {0};
	size_t limit = r->g.loop->memory.limit;

	for (int i = 0; i < 1000; i++)
		sb_str(&big, authority_pem(r->g.authority));
	r->ca->roots = big.p;
	r->g.loop->memory.limit = 400000;
	start(r);
	ground_advance(&r->g, 2000);
	ck_assert_int_ne(r->cert->state, SECRET_READY);
	r->g.loop->memory.limit = limit;
	r->ca->roots = authority_pem(r->g.authority);
	ground_advance(&r->g, 31000);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	rig_free(&r);
	sb_end(&big);
}
END_TEST

/* ---- tokens ---- */

START_TEST(a_token_is_read_again_each_time)
{
	struct csrrig *r = rig_ready(PLAIN);

	write_file(r->token, "def");
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_str_eq(r->ca->last_token, "Bearer def");
	rig_free(&r);
}
END_TEST

START_TEST(without_a_token_and_a_certificate_nobody_is_asked)
{
	static const struct { const char *text, *why; } rows[] = {{NULL, "No such file or directory"}, {"", "the file is empty"}, {" \n", "the file is empty"},
		{"a b", "the file holds no token"}, {"a\x01", "the file holds no token"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct csrrig *r = rig_new(ISTIOD);
		unlink(r->token);
		if (rows[i].text)
			write_file(r->token, rows[i].text);
		start(r);
		ground_advance(&r->g, 5000);
		ck_assert_int_eq(r->cert->state, SECRET_FAILING);
		ck_assert_msg(strstr(r->cert->why, rows[i].why) && strstr(r->cert->why, r->token), "%s", r->cert->why);
		ck_assert_uint_eq(r->ca->accepted, 0);
		write_file(r->token, "abc");
		ground_advance(&r->g, 30000);
		ck_assert_int_eq(r->cert->state, SECRET_READY);
		rig_free(&r);
	}
}
END_TEST

/* The back-off may have grown beyond the second by then: whoever waits for the certificate is told all the same. */
START_TEST(the_second_of_patience_has_an_end_whatever_the_back_off)
{
	for (int i = 0; i < 48; i++) {
		struct csrrig *r = rig_new(PLAIN);
		for (int k = 0; k < i; k++)
			loop_random(r->g.loop);
		unlink(r->token);
		start(r);
		ground_advance(&r->g, 900);
		ck_assert_int_eq(r->cert->state, SECRET_WAITING);
		ground_advance(&r->g, 51);
		ck_assert_msg(r->cert->state == SECRET_FAILING && r->roots->state == SECRET_FAILING, "seed %d: still waiting", i);
		rig_free(&r);
	}
}
END_TEST

START_TEST(when_the_token_is_gone_the_certificate_speaks_for_us)
{
	struct csrrig *r = rig_new(ISTIOD);

	r->ca->demands = true;
	start(r);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	unlink(r->token);
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_uint_eq(r->ca->requests, 2);
	ck_assert_uint_eq(r->ca->signed_n, 2);
	ck_assert_str_eq(r->ca->last_token, "");
	ck_assert_str_eq(r->ca->last_peer, SHOP);
	ck_assert(ground_logged(&r->g, "the CA is asked with the certificate that there is"));
	rig_free(&r);
}
END_TEST

START_TEST(a_token_that_is_refused_is_helped_by_the_certificate)
{
	struct csrrig *r = rig_new(ISTIOD);

	r->ca->token = "abc";
	r->ca->demands = true;
	start(r);
	write_file(r->token, "old");
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_uint_eq(r->ca->signed_n, 2);
	ck_assert_str_eq(r->ca->last_peer, SHOP);
	ck_assert_str_eq(r->ca->last_token, "Bearer old");
	rig_free(&r);
}
END_TEST

START_TEST(a_machine_without_tokens_begins_with_a_certificate_from_files)
{
	struct csrrig *r = rig_new(ISTIOD);
	struct sb chain = {0}, key = {0};
	struct tls_cert *cert;
	struct err err = ERR_INIT;
	const char *why;

	authority_leaf(r->g.authority, &(struct paper){.sans = "URI:" TILL}, &chain, &key);
	ck_assert_int_eq(tls_cert_new("vm", sb_view(&chain), sb_view(&key), &cert, &err), 0);
	r->files[SECRET_CERT] = secret_new(r->g.transports, SECRET_CERT, "/etc/vm.pem\n/etc/vm.key", "files", NULL, NULL);
	ck_assert_int_eq(secret_put_cert(r->files[SECRET_CERT], cert, &why), 0);
	r->conf.ca.token_file = NULL;
	r->conf.ca.cert = (char *)"/etc/vm.pem";
	r->conf.ca.key = (char *)"/etc/vm.key";
	r->ca->demands = true;
	start(r);
	ck_assert_msg(r->cert->state == SECRET_READY, "%s", csr_last_error(r->csr));
	ck_assert_str_eq(r->ca->last_peer, TILL);
	ck_assert_str_eq(r->ca->last_token, "");
	ground_advance(&r->g, 13 * HOUR);
	ck_assert_str_eq(r->ca->last_peer, SHOP); /* our own by now */
	sb_end(&chain);
	sb_end(&key);
	rig_free(&r);
}
END_TEST

START_TEST(files_that_the_space_does_not_know_are_told)
{
	struct csrrig *r = rig_new(ISTIOD);

	r->conf.ca.roots = (char *)"/etc/nothing.pem";
	start(r);
	ground_advance(&r->g, 5000);
	ck_assert_int_eq(r->cert->state, SECRET_FAILING);
	ck_assert_msg(strstr(r->cert->why, "there are no files of this name"), "%s", r->cert->why);
	rig_free(&r);
}
END_TEST

/* ---- changes ---- */

START_TEST(another_configuration_is_asked_at_once_and_the_certificate_stays_until_then)
{
	struct csrrig *r = rig_ready(PLAIN);
	struct conf_identity other = r->conf, same = r->conf;
	uint64_t was = tls_cert_hash(r->cert->cert);

	csr_conf(r->csr, &same, SHOP);
	ground_advance(&r->g, 100);
	ck_assert_uint_eq(r->ca->requests, 1);
	other.hash = 2;
	r->ca->delay_ms = 50;
	csr_conf(r->csr, &other, TILL);
	ck_assert_uint_eq(tls_cert_hash(r->cert->cert), was);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	ground_advance(&r->g, 100);
	ck_assert_str_eq(tls_cert_id(r->cert->cert), TILL);
	ck_assert_uint_eq(r->ca->requests, 2);
	rig_free(&r);
}
END_TEST

START_TEST(a_try_in_every_stage_may_be_ended)
{
	for (uint64_t us = 0; us < 12000; us += 250) {
		struct csrrig *r = rig_new(ISTIOD);
		simnet_knobs(r->g.net)->latency_ns = MS;
		r->csr = csr_of(r);
		simnet_advance(r->g.net, us * 1000);
		csr_free(&r->csr);
		rig_free(&r);
	}
}
END_TEST

START_TEST(secrets_of_another_provider_are_filled)
{
	struct csrrig *r = rig_ready(PLAIN);
	uint64_t was = tls_cert_hash(r->cert->cert);
	struct secret *cert = r->cert;

	csr_free(&r->csr);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	r->csr = csr_of(r);
	ground_advance(&r->g, 50);
	ck_assert_uint_ne(tls_cert_hash(r->cert->cert), was);
	struct secret *mine = csr_cert(r->csr);
	ck_assert_ptr_eq(mine, cert);
	secret_unref(&mine);
	rig_free(&r);
}
END_TEST

/* ---- files for others ---- */

static char *read_file(const char *folder, const char *name, mode_t *ret_mode)
{
	char path[400], *text = xalloc(65536);
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s", path);
	ck_assert_int_eq(fstat(fileno(f), &st), 0);
	*ret_mode = st.st_mode & 0777;
	text[fread(text, 1, 65535, f)] = 0;
	fclose(f);
	return text;
}

static int files_in(const char *folder)
{
	DIR *d = opendir(folder);
	int n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

START_TEST(what_is_written_for_others_fits_together_and_the_key_is_nobodys_business)
{
	struct csrrig *r = rig_new(PLAIN);
	mode_t mode[3];

	ck_assert_int_eq(mkdir(r->output, 0755), 0);
	r->conf.ca.output = r->output;
	start(r);
	for (int round = 0; round < 2; round++) {
		char *chain = read_file(r->output, "cert-chain.pem", &mode[0]), *key = read_file(r->output, "key.pem", &mode[1]), *roots = read_file(r->output, "root-cert.pem", &mode[2]);
		struct tls_cert *cert;
		struct err err = ERR_INIT;
		ck_assert_msg(tls_cert_new("written", str_of(chain), str_of(key), &cert, &err) == 0, "%s", err_str(&err));
		ck_assert_uint_eq(tls_cert_hash(cert), tls_cert_hash(r->cert->cert));
		tls_cert_unref(&cert);
		ck_assert_str_eq(roots, authority_pem(r->g.authority));
		ck_assert_uint_eq(mode[0], 0644);
		ck_assert_uint_eq(mode[1], 0600);
		ck_assert_uint_eq(mode[2], 0644);
		ck_assert_int_eq(files_in(r->output), 3); /* nothing is left beside them */
		free(chain);
		free(key);
		free(roots);
		ground_advance(&r->g, 13 * HOUR);
		ck_assert_uint_eq(r->ca->requests, 2 + (uint32_t)round);
	}
	rig_free(&r);
}
END_TEST

START_TEST(a_folder_that_cannot_be_written_is_told_and_nothing_else_happens)
{
	struct csrrig *r = rig_new(PLAIN);

	r->conf.ca.output = r->output; /* not made */
	start(r);
	ck_assert_int_eq(r->cert->state, SECRET_READY);
	ck_assert(ground_logged(&r->g, "No such file or directory; the certificate is used all the same"));
	rig_free(&r);
}
END_TEST

START_TEST(without_output_nothing_is_written)
{
	struct csrrig *r = rig_ready(PLAIN);

	ck_assert_int_eq(files_in(r->folder), 1); /* the token */
	rig_free(&r);
}
END_TEST

/* ---- the bytes ---- */

START_TEST(a_chain_is_read_in_place)
{
	char bytes[] = "\x0a\x03one\x52\x02xx\x0a\x03two\x0a\x05three";
	struct csr_answer a;
	struct sb why = {0};

	ck_assert_int_eq(csr_answer_read(bytes, sizeof(bytes) - 1, &a, &why), 0);
	ck_assert_uint_eq(a.entries, 3);
	ck_assert(str_is(a.chain, "one\ntwo\n"));
	ck_assert(str_is(a.roots, "three"));
	sb_end(&why);
}
END_TEST

START_TEST(more_entries_than_a_chain_has_are_refused)
{
	char bytes[2 * (CSR_ENTRIES_MAX + 1)];
	struct csr_answer a;
	struct sb why = {0};

	for (size_t more = 0; more < 2; more++) { /* reading moves the bytes */
		for (size_t i = 0; i < sizeof(bytes); i += 2) {
			bytes[i] = 0x0a;
			bytes[i + 1] = 0;
		}
		ck_assert_int_eq(csr_answer_read(bytes, sizeof(bytes) - 2 + 2 * more, &a, &why), more ? ERR_MALFORMED : 0);
	}
	ck_assert_str_eq(why.p, "cert_chain has more than 64 entries");
	sb_end(&why);
}
END_TEST

UNIT_SUITE("csr", a_certificate_is_asked_for_with_a_token_over_tls, a_unix_socket_is_spoken_to_in_plain_text, a_ca_that_shows_another_name_is_told_nothing,
	a_ca_may_be_known_by_a_name_of_its_own, an_intermediate_comes_along_and_the_roots_are_the_last_entry, the_name_that_the_ca_gives_is_used_and_told_once, it_is_renewed_at_half_of_its_life,
	renewals_of_many_are_spread, of_a_short_life_too_there_is_always_something_left, a_thousand_renewals_leave_nothing_behind, roots_that_change_come_with_the_next_certificate,
	what_is_due_is_asked_at_a_thaw, a_ca_that_is_not_there_yet_is_waited_for_a_second_and_then_told, a_renewal_that_fails_leaves_the_old_one_to_its_end,
	answers_that_are_no_good_are_refused_with_their_reason, a_certificate_that_the_cas_own_roots_do_not_stand_for_is_refused, bad_news_of_another_kind_is_told_too, a_clock_that_is_a_little_behind_the_cas_is_no_failure, memory_that_is_refused_is_a_failure_like_others,
	a_token_is_read_again_each_time, without_a_token_and_a_certificate_nobody_is_asked, the_second_of_patience_has_an_end_whatever_the_back_off,
	when_the_token_is_gone_the_certificate_speaks_for_us, a_token_that_is_refused_is_helped_by_the_certificate, a_machine_without_tokens_begins_with_a_certificate_from_files, files_that_the_space_does_not_know_are_told,
	another_configuration_is_asked_at_once_and_the_certificate_stays_until_then, a_try_in_every_stage_may_be_ended, secrets_of_another_provider_are_filled,
	what_is_written_for_others_fits_together_and_the_key_is_nobodys_business, a_folder_that_cannot_be_written_is_told_and_nothing_else_happens, without_output_nothing_is_written,
	a_chain_is_read_in_place, more_entries_than_a_chain_has_are_refused)
