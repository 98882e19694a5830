/* xds/secrets: secrets over a view's own stream: asked for while somebody holds them, in both forms of the protocol; what is refused, late, lost or taken away leaves what there was. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/flow/rig_ca.h"
#include "tests/xds/xdsrig.h"
#include "xds/secrets.h"

struct srig { struct xdsrig *x; struct transports *transports; struct secrets *secrets; struct authority *a; };

static struct srig begin(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol)
{
	struct srig r = {.x = xdsrig_new(kind, profile, protocol)};

	r.a = authority_new("a", (int64_t)(r.x->loop->ops->wall_ns(r.x->loop->ops_ctx) / SEC));
	r.transports = transports_new(r.x->loop);
	xdsrig_start(r.x);
	r.secrets = secrets_new(&(struct secrets_spec){.loop = r.x->loop, .log = r.x->log, .sub = r.x->sub, .transports = r.transports, .account = &r.x->loop->memory, .view = "shop",
		.source = "xds " ISTIOD});
	return r;
}

static void end(struct srig *r)
{
	secrets_free(&r->secrets);
	transports_free(&r->transports);
	authority_free(&r->a);
	xdsrig_free(&r->x);
}

static struct secret *get(struct srig *r, enum secret_kind kind, const char *name)
{
	const char *why = NULL;
	struct secret *s = secrets_get(r->secrets, kind, name, &why);

	ck_assert_msg(s != NULL, "%s", why);
	return s;
}

static void data(struct sb *b, uint32_t field, struct str text)
{
	struct sb source = {0};

	pb_bytes(&source, 2, text.p, text.n);
	pb_sub(b, field, &source);
}

/* A certificate of that name; from_s, to_s: as rig_ca has them. */
static void put_cert(struct srig *r, const char *name, const char *uri, int64_t from_s, int64_t to_s)
{
	struct sb chain = {0}, key = {0}, body = {0}, m = {0};

	authority_leaf(r->a, &(struct paper){.sans = uri, .from_s = from_s, .to_s = to_s}, &chain, &key);
	data(&body, 1, sb_view(&chain));
	data(&body, 2, sb_view(&key));
	pb_text(&m, 1, name);
	pb_sub(&m, 2, &body);
	plane_put(r->x->plane, XDS_SDS, name, m.p, m.n);
	sb_end(&chain);
	sb_end(&key);
	sb_end(&m);
}

static void put_roots(struct srig *r, const char *name)
{
	struct sb body = {0}, m = {0};

	data(&body, 1, str_of(authority_pem(r->a)));
	pb_text(&m, 1, name);
	pb_sub(&m, 4, &body);
	plane_put(r->x->plane, XDS_SDS, name, m.p, m.n);
	sb_end(&m);
}

static void put_bad(struct srig *r, const char *name)
{
	struct sb body = {0}, m = {0};

	data(&body, 1, STR("no certificate"));
	data(&body, 2, STR("no key"));
	pb_text(&m, 1, name);
	pb_sub(&m, 2, &body);
	plane_put(r->x->plane, XDS_SDS, name, m.p, m.n);
	sb_end(&m);
}

static const struct { enum plane_kind kind; enum xds_profile profile; enum xds_protocol protocol; } forms[] = {
	{PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW}, {PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_DELTA}, {PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW}, {PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_DELTA}};

START_TEST(a_secret_is_asked_for_by_name_while_somebody_holds_it)
{
	for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
		struct srig r = begin(forms[i].kind, forms[i].profile, forms[i].protocol);
		bool delta = forms[i].protocol == PROTOCOL_DELTA;

		put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
		put_roots(&r, "mine-ca");
		xdsrig_advance(r.x, 1000);
		ck_assert_uint_eq(plane_count(r.x->plane, XDS_SDS), 0); /* nobody asks a control plane for secrets that needs none */
		struct secret *cert = get(&r, SECRET_CERT, "mine"), *roots = get(&r, SECRET_ROOTS, "mine-ca"), *again = get(&r, SECRET_CERT, "mine");
		ck_assert_ptr_eq(cert, again);
		ck_assert_int_eq(cert->state, SECRET_WAITING);
		xdsrig_advance(r.x, 1000);
		ck_assert_str_eq(plane_request(r.x->plane, XDS_SDS, 0)->names.p, delta ? "+mine +mine-ca" : "mine mine-ca");
		ck_assert_msg(cert->state == SECRET_READY && roots->state == SECRET_READY, "form %zu: %s, %s", i, cert->why, roots->why);
		ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/x");
		ck_assert_str_eq(cert->source, "xds " ISTIOD);
		ck_assert_ptr_nonnull(roots->trust);
		ck_assert_uint_eq(r.x->plane->nacks, 0);
		ck_assert_uint_gt(r.x->plane->acks, 0);
		/* another one takes its place */
		put_cert(&r, "mine", "URI:spiffe://a/y", 0, 0);
		xdsrig_advance(r.x, 1000);
		ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/y");
		ck_assert_uint_eq(cert->generation, 2);
		/* the last one that holds it lets go */
		secret_unref(&again);
		secret_unref(&cert);
		xdsrig_advance(r.x, 1000);
		ck_assert_str_eq(plane_names(r.x->plane, XDS_SDS), delta ? "-mine" : "mine-ca");
		secret_unref(&roots);
		struct secrets_counts counts;
		secrets_count(r.secrets, &counts);
		ck_assert(counts.wanted == 0 && counts.present == 0);
		ck_assert_str_eq(xdsrig_told(r.x), "up"); /* nothing of it went where other resources go */
		end(&r);
	}
}
END_TEST

START_TEST(a_bad_one_is_refused_and_the_last_good_one_stays)
{
	for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
		struct srig r = begin(forms[i].kind, forms[i].profile, forms[i].protocol);
		struct secret *cert = get(&r, SECRET_CERT, "mine"), *bad = get(&r, SECRET_CERT, "bad");

		put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
		put_bad(&r, "bad");
		xdsrig_advance(r.x, 1000);
		ck_assert_int_eq(cert->state, SECRET_READY);
		ck_assert_int_eq(bad->state, SECRET_FAILING);
		ck_assert_msg(strncmp(bad->why, "tls_certificate: ", 17) == 0, "%s", bad->why);
		const struct plane_request *said = plane_last(r.x->plane, XDS_SDS);
		for (uint32_t n = 0; n < plane_count(r.x->plane, XDS_SDS); n++)
			if (plane_request(r.x->plane, XDS_SDS, n)->has_error)
				said = plane_request(r.x->plane, XDS_SDS, n);
		ck_assert_msg(said->has_error && strncmp(said->error_text, "bad: tls_certificate: ", 22) == 0, "form %zu: %s", i, said->error_text);
		put_bad(&r, "mine");
		xdsrig_advance(r.x, 1000);
		ck_assert_int_eq(cert->state, SECRET_READY);
		ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/x");
		ck_assert_ptr_nonnull(cert->why);
		/* expired, while the one in use is not */
		put_cert(&r, "mine", "URI:spiffe://a/old", -7200, -3600);
		xdsrig_advance(r.x, 1000);
		ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/x");
		put_cert(&r, "bad", "URI:spiffe://a/good", 0, 0);
		put_cert(&r, "mine", "URI:spiffe://a/z", 0, 0);
		xdsrig_advance(r.x, 1000);
		ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/z");
		ck_assert_int_eq(bad->state, SECRET_READY);
		ck_assert_ptr_null(cert->why);
		secret_unref(&cert);
		secret_unref(&bad);
		end(&r);
	}
}
END_TEST

/* A name that is asked for as what it is not: refused for who asked so, taken for who asked right. */
START_TEST(a_name_may_be_asked_for_as_two_things_and_is_one)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW);
	struct secret *cert = get(&r, SECRET_CERT, "mine"), *roots = get(&r, SECRET_ROOTS, "mine");

	ck_assert_ptr_ne(cert, roots);
	put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
	xdsrig_advance(r.x, 1000);
	ck_assert_int_eq(cert->state, SECRET_READY);
	ck_assert_int_eq(roots->state, SECRET_FAILING);
	ck_assert_str_eq(roots->why, "tls_certificate: it is a certificate, where roots were asked for");
	ck_assert_uint_eq(r.x->plane->nacks, 0);
	secret_unref(&roots);
	xdsrig_advance(r.x, 1000);
	ck_assert(plane_asks(r.x->plane, XDS_SDS, "mine"));
	secret_unref(&cert);
	end(&r);
}
END_TEST

START_TEST(who_waits_is_told_after_15_seconds_of_silence_and_served_when_it_comes)
{
	for (size_t i = 0; i < UNIT_COUNT(forms); i++) {
		struct srig r = begin(forms[i].kind, forms[i].profile, forms[i].protocol);
		struct secret *cert = get(&r, SECRET_CERT, "late");

		r.x->plane->quirks.silent_absent = true;
		xdsrig_advance(r.x, 14000);
		ck_assert_msg(cert->state == SECRET_WAITING || forms[i].protocol == PROTOCOL_DELTA, "form %zu", i); /* a server may say at once that there is none */
		xdsrig_advance(r.x, 2000);
		ck_assert_msg(cert->state == SECRET_FAILING, "form %zu: %s", i, cert->why);
		put_cert(&r, "late", "URI:spiffe://a/x", 0, 0);
		xdsrig_advance(r.x, 1000);
		ck_assert_int_eq(cert->state, SECRET_READY);
		secret_unref(&cert);
		end(&r);
	}
}
END_TEST

START_TEST(a_lost_stream_fails_who_waits_and_takes_nothing_away)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW);
	struct secret *cert = get(&r, SECRET_CERT, "mine"), *late = get(&r, SECRET_CERT, "late");

	put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
	xdsrig_advance(r.x, 1000);
	plane_kill(r.x->plane);
	xdsrig_advance(r.x, 5000);
	ck_assert_int_eq(cert->state, SECRET_READY);
	ck_assert_int_eq(late->state, SECRET_FAILING);
	ck_assert_msg(strncmp(late->why, "the control plane cannot be asked for it: ", 42) == 0, "%s", late->why);
	struct secret *then = get(&r, SECRET_CERT, "then"); /* asked for meanwhile */
	ck_assert_int_eq(then->state, SECRET_FAILING);
	put_cert(&r, "late", "URI:spiffe://a/late", 0, 0);
	put_cert(&r, "then", "URI:spiffe://a/then", 0, 0);
	plane_listen(r.x->plane, true);
	xdsrig_advance(r.x, 60000);
	ck_assert_int_eq(late->state, SECRET_READY);
	ck_assert_int_eq(then->state, SECRET_READY);
	secret_unref(&cert);
	secret_unref(&late);
	secret_unref(&then);
	end(&r);
}
END_TEST

START_TEST(what_is_removed_serves_to_its_end)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_DELTA);
	struct secret *cert = get(&r, SECRET_CERT, "mine");

	put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
	xdsrig_advance(r.x, 1000);
	plane_del(r.x->plane, XDS_SDS, "mine");
	xdsrig_advance(r.x, 1000);
	ck_assert_int_eq(cert->state, SECRET_READY);
	ck_assert_str_eq(cert->why, "the control plane has it no more");
	secret_unref(&cert);
	end(&r);
}
END_TEST

/* istiod ends the stream of who asks it for secrets without having shown a certificate: everything else would go with it, over and over. */
START_TEST(a_server_that_ends_the_stream_for_it_is_not_asked_again)
{
	struct srig r = begin(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	plane_service(r.x->plane, DEMO, 50051, "10.0.0.1:1");
	xdsrig_want(r.x, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r.x, 1000);
	r.x->plane->quirks.slow_ms = 100;
	struct secret *cert = get(&r, SECRET_CERT, "kubernetes://mine");
	xdsrig_advance(r.x, 50);
	ck_assert_uint_eq(plane_count(r.x->plane, XDS_SDS), 1);
	plane_end_streams(r.x->plane, 16, "the api generator requires an authenticated control-plane identity");
	r.x->plane->quirks.slow_ms = 0;
	xdsrig_advance(r.x, 30000);
	ck_assert_uint_eq(plane_count(r.x->plane, XDS_SDS), 1);
	ck_assert_uint_eq(plane_open(r.x->plane), 1);
	ck_assert(plane_asks(r.x->plane, XDS_EDS, DEMO_CLUSTER));
	ck_assert_int_eq(cert->state, SECRET_FAILING);
	ck_assert_msg(strstr(cert->why, "authenticated control-plane identity") != NULL, "%s", cert->why);
	/* a stream of a later time is asked */
	put_cert(&r, "kubernetes://mine", "URI:spiffe://a/x", 0, 0);
	xdsrig_advance(r.x, 600000);
	plane_cut(r.x->plane);
	xdsrig_advance(r.x, 60000);
	ck_assert_int_eq(cert->state, SECRET_READY);
	secret_unref(&cert);
	end(&r);
}
END_TEST

START_TEST(who_still_holds_one_keeps_what_it_has_when_the_view_is_gone)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW);
	struct secret *cert = get(&r, SECRET_CERT, "mine"), *never = get(&r, SECRET_CERT, "never");

	put_cert(&r, "mine", "URI:spiffe://a/x", 0, 0);
	xdsrig_advance(r.x, 1000);
	secrets_free(&r.secrets);
	ck_assert_int_eq(cert->state, SECRET_READY);
	ck_assert_str_eq(tls_cert_id(cert->cert), "spiffe://a/x");
	ck_assert_int_eq(never->state, SECRET_FAILING);
	secret_unref(&cert);
	secret_unref(&never);
	end(&r);
}
END_TEST

START_TEST(names_are_bounded_and_need_somebody_who_lists_them)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW);
	struct secret *held[SECRETS_MAX];
	const char *why = NULL;
	char name[32];

	for (uint32_t i = 0; i < SECRETS_MAX; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		held[i] = get(&r, i % 2 ? SECRET_CERT : SECRET_ROOTS, name);
	}
	ck_assert_ptr_null(secrets_get(r.secrets, SECRET_CERT, "one more", &why));
	ck_assert_str_eq(why, "the control plane names too many secrets");
	ck_assert_ptr_null(secrets_get(r.secrets, SECRET_CERT, "", &why));
	for (uint32_t i = 0; i < SECRETS_MAX; i++)
		secret_unref(&held[i]);
	end(&r);
}
END_TEST

/* One of five MiB and more is not taken; nor one for which there is no memory: both are refused by name, and nothing is charged afterwards. */
START_TEST(what_is_too_large_is_refused)
{
	struct srig r = begin(PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_DELTA);
	struct secret *cert = get(&r, SECRET_CERT, "huge");
	struct sb body = {0}, m = {0}, text = {0};

	for (uint32_t i = 0; i <= SECRET_BYTES_MAX / 64; i++)
		sb_str(&text, "0123456789012345678901234567890123456789012345678901234567890123");
	data(&body, 1, sb_view(&text));
	pb_text(&m, 1, "huge");
	pb_sub(&m, 2, &body);
	plane_put(r.x->plane, XDS_SDS, "huge", m.p, m.n);
	xdsrig_advance(r.x, 5000);
	ck_assert_uint_eq(r.x->plane->nacks, 1);
	const struct plane_request *said = plane_last(r.x->plane, XDS_SDS);
	ck_assert_msg(said->has_error && strncmp(said->error_text, "huge: it has 52", 15) == 0, "%s", said->error_text);
	ck_assert_int_eq(cert->state, SECRET_FAILING);
	ck_assert_msg(strncmp(cert->why, "it has 52", 9) == 0, "%s", cert->why);
	secret_unref(&cert);
	sb_end(&m);
	sb_end(&text);
	end(&r);
}
END_TEST

UNIT_SUITE("secrets", a_secret_is_asked_for_by_name_while_somebody_holds_it, a_bad_one_is_refused_and_the_last_good_one_stays, a_name_may_be_asked_for_as_two_things_and_is_one,
	who_waits_is_told_after_15_seconds_of_silence_and_served_when_it_comes, a_lost_stream_fails_who_waits_and_takes_nothing_away, what_is_removed_serves_to_its_end,
	a_server_that_ends_the_stream_for_it_is_not_asked_again, who_still_holds_one_keeps_what_it_has_when_the_view_is_gone, names_are_bounded_and_need_somebody_who_lists_them,
	what_is_too_large_is_refused)
