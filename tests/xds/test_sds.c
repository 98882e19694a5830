/* xds/sds, xds/sds_message: secrets from an SDS server over a Unix socket. Virtual clock, servers in memory (tests/flow/rig_sds.h), papers by OpenSSL (tests/flow/rig_ca.h). */
#include <stdio.h>
#include <stdlib.h>
#include "tests/flow/rig_sds.h"
#include "tests/unit.h"
#include "tests/xds/ground.h"
#include "xds/sds.h"
#include "xds/sds_message.h"

#define MS UINT64_C(1000000)
#define SOCKET "unix:/run/agent/sds.sock"
#define SHOP "spiffe://cluster.local/ns/default/sa/shop"
static const char node[] = "\x0a\x06shop-1";

struct sdsrig {
	struct ground g;
	struct sds_server *server;
	struct sds *sds;
	struct secret_watch watch;
	struct secret *dropped;        /* a ref that the watch gives up, once */
	uint32_t told;
};

/* Nobody serves yet. */
static struct sdsrig *rig_alone(void)
{
	struct sdsrig *r = xnew(struct sdsrig);

	ground_begin(&r->g);
	struct sds_spec spec = {.loop = r->g.loop, .log = r->g.log, .dns = r->g.dns, .limits = &r->g.limits, .transports = r->g.transports, .server = SOCKET, .node = node, .node_n = sizeof(node) - 1, .app = "shop"};
	r->sds = sds_new(&spec);
	return r;
}

static void serve(struct sdsrig *r)
{
	r->server = sds_server_new(r->g.net, &r->g.account, SOCKET);
}

static struct sdsrig *rig_new(void)
{
	struct sdsrig *r = rig_alone();

	serve(r);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	sds_server_roots(r->server, "ROOTCA", authority_pem(r->g.authority));
	return r;
}

static void rig_free(struct sdsrig **pr)
{
	struct sdsrig *r = *pr;

	*pr = NULL;
	sds_free(&r->sds);
	if (r->server)
		sds_server_end(r->server);
	ground_advance(&r->g, 1000);
	sds_server_free(&r->server);
	ground_end(&r->g);
	free(r);
}

static struct secret *cert_of(struct sdsrig *r)
{
	struct secret *s = sds_get(r->sds, SECRET_CERT, "default");

	ground_advance(&r->g, 0);
	return s;
}

/* ---- the usual way ---- */

START_TEST(a_certificate_is_asked_for_by_its_name_with_the_node_and_acknowledged)
{
	struct sdsrig *r = rig_new();
	struct secret *s = sds_get(r->sds, SECRET_CERT, "default");

	ck_assert_int_eq(s->state, SECRET_WAITING);
	ck_assert_str_eq(s->source, "sds " SOCKET);
	ground_advance(&r->g, 0);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_str_eq(tls_cert_id(s->cert), SHOP);
	struct plane_request *first = plane_request(r->server->plane, PLANE_ANY, 0), *second = plane_request(r->server->plane, PLANE_ANY, 1);
	ck_assert_str_eq(first->names.p, "default");
	ck_assert_str_eq(first->node_id, "shop-1");
	ck_assert_str_eq(first->version, "");
	ck_assert_str_eq(first->nonce, "");
	ck_assert_str_eq(second->names.p, "default");
	ck_assert_str_eq(second->nonce, "n1");
	ck_assert_str_ne(second->version, "");
	ck_assert(!second->has_error && !second->has_node);
	ck_assert_str_eq(first->type_url, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
	ck_assert_uint_eq(r->server->acks, 1);
	ck_assert_uint_eq(ground_stat(&r->g, STAT_SDS_UPDATES), 1);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(each_name_has_a_stream_and_who_asks_again_gets_the_same_secret)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r), *again = cert_of(r), *roots = sds_get(r->sds, SECRET_ROOTS, "ROOTCA");

	ground_advance(&r->g, 0);
	ck_assert_ptr_eq(s, again);
	ck_assert_ptr_ne(s, roots);
	ck_assert_int_eq(roots->state, SECRET_READY);
	ck_assert_ptr_nonnull(roots->trust);
	ck_assert_uint_eq(plane_open(r->server->plane), 2);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
	ck_assert_uint_eq(sds_server_streams(r->server, "ROOTCA"), 1);
	secret_unref(&s);
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1); /* `again` holds it */
	secret_unref(&again);
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 0);
	ck_assert_uint_eq(plane_open(r->server->plane), 1);
	again = cert_of(r);
	ck_assert_int_eq(again->state, SECRET_READY);
	secret_unref(&again);
	secret_unref(&roots);
	rig_free(&r);
}
END_TEST

START_TEST(spire_gives_bundles_needs_no_node_and_is_never_asked_for_everything)
{
	struct sdsrig *r = rig_new();
	struct sb key = {0}, chain = {0};

	r->server->spire = true;
	sds_server_leaf(r->server, SHOP, r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	sds_server_bundles(r->server, "ROOTCA", (const char *const[]){"cluster.local", authority_pem(r->g.authority), "other.domain", authority_pem(r->g.authority), NULL});
	struct secret *s = sds_get(r->sds, SECRET_CERT, SHOP), *roots = sds_get(r->sds, SECRET_ROOTS, "ROOTCA");
	ground_advance(&r->g, 0);
	ck_assert_str_eq(tls_cert_id(s->cert), SHOP);
	ck_assert_int_eq(roots->state, SECRET_READY);
	for (uint32_t i = 0; i < r->server->plane->nrequests; i++)
		ck_assert_uint_eq(plane_request(r->server->plane, PLANE_ANY, i)->nsub, 1);
	secret_unref(&s);
	secret_unref(&roots);
	sb_end(&key);
	sb_end(&chain);
	rig_free(&r);
}
END_TEST

static void on_told(struct secret_watch *w)
{
	struct sdsrig *r = container_of(w, struct sdsrig, watch);

	r->told++;
	secret_unref(&r->dropped);
}

START_TEST(a_rotation_is_pushed_told_and_acknowledged)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	uint64_t was = tls_cert_hash(s->cert), generation = s->generation;

	secret_watch(s, &r->watch, on_told);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 10);
	ck_assert_uint_ne(tls_cert_hash(s->cert), was);
	ck_assert_uint_eq(r->told, 1);
	ck_assert_uint_gt(s->generation, generation);
	ck_assert_uint_eq(r->server->acks, 2);
	sds_server_say(r->server, "default"); /* the same once more */
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(r->told, 1);
	ck_assert_uint_eq(r->server->acks, 3);
	secret_unwatch(&r->watch);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_thousand_rotations_leave_nothing_behind)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	size_t used = 0;

	for (int i = 0; i < 1000; i++) {
		sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
		ground_advance(&r->g, 100);
		if (i == 100)
			used = r->g.loop->memory.used;
	}
	ck_assert_uint_eq(s->puts, 1001);
	ck_assert_uint_le(r->g.loop->memory.used, used + 4096);
	ck_assert_uint_eq(r->server->plane->nstreams, 1);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(a_bad_secret_is_refused_with_its_reason_and_the_last_good_one_stays)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	uint64_t was = tls_cert_hash(s->cert);
	struct sb chain = {0}, key = {0}, other = {0}, none = {0};

	authority_leaf(r->g.authority, &(struct paper){.sans = "URI:" SHOP}, &chain, &key);
	authority_leaf(r->g.authority, &(struct paper){.sans = "URI:" SHOP}, &none, &other);
	sds_server_cert(r->server, "default", chain.p, other.p); /* a key of another certificate */
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(r->server->nacks, 1);
	ck_assert_str_ne(r->server->last_error, "");
	struct plane_request *nack = plane_last(r->server->plane, PLANE_ANY);
	ck_assert_str_eq(nack->nonce, "n2");
	ck_assert_str_ne(nack->version, ""); /* of the last good one */
	ck_assert_str_eq(nack->version, plane_request(r->server->plane, PLANE_ANY, 1)->version);
	ck_assert_uint_eq(tls_cert_hash(s->cert), was);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_ptr_nonnull(s->why);
	ck_assert_uint_eq(ground_stat(&r->g, STAT_SDS_REJECTED), 1);
	ck_assert(ground_logged(&r->g, "the last good one stays"));
	sds_server_cert(r->server, "default", chain.p, key.p);
	ground_advance(&r->g, 10);
	ck_assert_uint_ne(tls_cert_hash(s->cert), was);
	ck_assert_ptr_null(s->why);
	sb_end(&chain);
	sb_end(&key);
	sb_end(&other);
	sb_end(&none);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_certificate_that_has_expired_or_not_begun_is_refused_while_there_is_a_good_one)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	uint64_t was = tls_cert_hash(s->cert);

	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP, .from_s = -7200, .to_s = -3600});
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(tls_cert_hash(s->cert), was);
	ck_assert_uint_eq(r->server->nacks, 1);
	ck_assert(strstr(r->server->last_error, "has expired already"));
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP, .from_s = 3600, .to_s = 7200});
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(tls_cert_hash(s->cert), was);
	ck_assert_uint_eq(r->server->nacks, 2);
	ck_assert(strstr(r->server->last_error, "not valid yet"));
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(what_comes_under_another_name_is_refused)
{
	struct sdsrig *r = rig_new();

	r->server->as = "other";
	struct secret *s = cert_of(r);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_str_eq(r->server->last_error, "'other' came, 'default' was asked");
	ck_assert(strstr(s->why, "'other' came, 'default' was asked"));
	r->server->as = NULL;
	sds_server_say(r->server, "default");
	ground_advance(&r->g, 10);
	ck_assert_int_eq(s->state, SECRET_READY);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(roots_under_the_name_of_a_certificate_are_refused)
{
	struct sdsrig *r = rig_new();

	sds_server_roots(r->server, "default", authority_pem(r->g.authority));
	struct secret *s = cert_of(r);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_uint_eq(r->server->nacks, 1);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(an_answer_that_is_no_protobuf_ends_the_stream_and_another_one_is_opened)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);

	plane_message(r->server->plane, "\xff\xff\xff", 3);
	ground_advance(&r->g, 3000);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(r->server->plane->nstreams, 2);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_message_that_is_too_large_is_not_read)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	size_t used = r->g.loop->memory.used;

	plane_raw(r->server->plane, "\0\x40\0\0\0", 5); /* a gigabyte is announced */
	ground_advance(&r->g, 10);
	ck_assert_uint_le(r->g.loop->memory.used, used + 65536);
	ground_advance(&r->g, 3000);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(memory_that_is_refused_costs_the_answer_and_not_the_secret)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	size_t limit = r->g.loop->memory.limit;
	struct sb big = {0};

	for (int i = 0; i < 300; i++)
		sb_str(&big, authority_pem(r->g.authority));
	r->g.loop->memory.limit = r->g.loop->memory.used + 131072;
	sds_server_roots(r->server, "default", big.p);
	ground_advance(&r->g, 100);
	ck_assert_int_eq(s->state, SECRET_READY);
	r->g.loop->memory.limit = limit;
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 6000);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
	ck_assert_ptr_null(s->why);
	sb_end(&big);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

/* ---- servers that come and go ---- */

START_TEST(a_stream_that_ends_keeps_the_secret_and_is_opened_again)
{
	static const struct { int status; const char *text; } rows[] = {{2, "failed to generate secret for default"}, {3, "workload is not authorized"}, {12, "not implemented"}, {14, "away"}, {0, ""}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sdsrig *r = rig_new();
		struct secret *s = cert_of(r);
		uint64_t was = tls_cert_hash(s->cert);
		plane_end_streams(r->server->plane, rows[i].status, rows[i].text);
		ground_advance(&r->g, 0);
		ck_assert_int_eq(s->state, SECRET_READY);
		ck_assert_uint_eq(tls_cert_hash(s->cert), was);
		ck_assert_uint_eq(ground_stat(&r->g, STAT_SDS_STREAMS_LOST), 1);
		ground_advance(&r->g, 5100);
		ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
		struct plane_request *again = plane_request(r->server->plane, PLANE_ANY, 2);
		ck_assert_str_eq(again->version, ""); /* so that it is answered */
		ck_assert(again->has_node);
		ck_assert_ptr_null(s->why);
		secret_unref(&s);
		rig_free(&r);
	}
}
END_TEST

START_TEST(a_server_that_dies_and_comes_back_with_another_secret_is_heard)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	uint64_t was = tls_cert_hash(s->cert);

	plane_kill(r->server->plane);
	ground_advance(&r->g, 60000);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(tls_cert_hash(s->cert), was);
	ck_assert_ptr_nonnull(s->why);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	plane_listen(r->server->plane, true);
	ground_advance(&r->g, 5100);
	ck_assert_uint_ne(tls_cert_hash(s->cert), was);
	ck_assert_ptr_null(s->why);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_server_that_starts_a_little_later_than_we_do_is_no_failure)
{
	struct sdsrig *r = rig_alone();
	struct secret *s = cert_of(r);

	ground_advance(&r->g, 600);
	ck_assert_int_eq(s->state, SECRET_WAITING); /* who needs it waits */
	serve(r);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 900);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_ptr_null(s->why);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_told_after_a_second_and_found_when_it_comes)
{
	struct sdsrig *r = rig_alone();
	struct secret *s = cert_of(r);

	ground_advance(&r->g, 1100);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_msg(strstr(s->why, SOCKET ": "), "%s", s->why);
	ground_advance(&r->g, 300000);
	serve(r);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 5100); /* never further apart */
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert(ground_logged(&r->g, "sds 'shop/default': " SOCKET ": "));
	ck_assert(ground_logged(&r->g, "sds 'shop/default': connected to " SOCKET));
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_server_that_has_no_certificate_yet_is_asked_again_soon)
{
	struct sdsrig *r = rig_alone();

	serve(r);
	r->server->spire = true; /* the registration entry comes later: INVALID_ARGUMENT until then */
	struct secret *s = cert_of(r);
	ground_advance(&r->g, 20000);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_msg(strstr(s->why, "workload is not authorized"), "%s", s->why);
	uint32_t before = r->server->plane->nstreams;
	ck_assert_uint_ge(before, 4);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 5100);
	ck_assert_int_eq(s->state, SECRET_READY);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(who_hears_nothing_says_so_and_listens_on)
{
	struct sdsrig *r = rig_new();

	r->server->mute = true;
	struct secret *s = cert_of(r);
	ground_advance(&r->g, 9900);
	ck_assert_int_eq(s->state, SECRET_WAITING);
	ground_advance(&r->g, 200);
	ck_assert_int_eq(s->state, SECRET_FAILING);
	ck_assert_str_eq(s->why, SOCKET " has not answered for 10 s");
	ck_assert_uint_eq(sds_server_streams(r->server, "default"), 1);
	r->server->mute = false;
	sds_server_say(r->server, "default");
	ground_advance(&r->g, 10);
	ck_assert_int_eq(s->state, SECRET_READY);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(the_node_is_said_on_each_new_stream)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);

	plane_goaway(r->server->plane);
	ground_advance(&r->g, 3000);
	sds_server_leaf(r->server, "default", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	ground_advance(&r->g, 10);
	ck_assert_uint_ge(r->server->plane->nstreams, 2);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_eq(r->server->nacks, 0);
	ck_assert_ptr_null(s->why);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

START_TEST(a_server_that_stood_still_is_given_up_after_a_thaw)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);

	plane_stall(r->server->plane, true);
	simnet_freeze(r->g.net, 3600 * 1000 * MS);
	ground_advance(&r->g, 1000);
	sds_thaw(r->sds);
	ground_advance(&r->g, 10000);
	ck_assert_int_eq(s->state, SECRET_READY);
	ck_assert_uint_ge(r->server->plane->nstreams, 2);
	secret_unref(&s);
	rig_free(&r);
}
END_TEST

/* ---- ends ---- */

START_TEST(a_secret_may_be_dropped_while_it_is_being_told)
{
	struct sdsrig *r = rig_new();

	r->dropped = sds_get(r->sds, SECRET_CERT, "default");
	secret_watch(r->dropped, &r->watch, on_told);
	ground_advance(&r->g, 100);
	ck_assert_ptr_null(r->dropped);
	ck_assert_uint_eq(r->told, 1);
	ck_assert_uint_eq(plane_open(r->server->plane), 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_secret_outlives_its_server_and_may_be_given_to_another)
{
	struct sdsrig *r = rig_new();
	struct secret *s = cert_of(r);
	uint64_t was = tls_cert_hash(s->cert);

	sds_free(&r->sds);
	ground_advance(&r->g, 100);
	ck_assert_uint_eq(plane_open(r->server->plane), 0);
	ck_assert_uint_eq(tls_cert_hash(s->cert), was);
	struct sds_spec spec = {.loop = r->g.loop, .log = r->g.log, .dns = r->g.dns, .limits = &r->g.limits, .transports = r->g.transports, .server = SOCKET, .node = node, .node_n = sizeof(node) - 1, .app = "till"};
	r->sds = sds_new(&spec);
	sds_server_leaf(r->server, "till", r->g.authority, &(struct paper){.sans = "URI:" SHOP});
	sds_take(r->sds, s, "till");
	ck_assert_int_eq(s->state, SECRET_READY);
	ground_advance(&r->g, 10);
	ck_assert_uint_ne(tls_cert_hash(s->cert), was);
	struct secret *same = sds_get(r->sds, SECRET_CERT, "till");
	ck_assert_ptr_eq(same, s);
	secret_unref(&same);
	secret_unref(&s);
	ground_advance(&r->g, 10);
	ck_assert_uint_eq(plane_open(r->server->plane), 0);
	rig_free(&r);
}
END_TEST

/* ---- the bytes ---- */

static void add_resource(struct sb *b, const char *url, const char *name)
{
	struct sb secret = {0}, any = {0};

	pb_text(&secret, 1, name);
	pb_text(&any, 1, url);
	pb_sub(&any, 2, &secret);
	pb_sub(b, 2, &any);
}

START_TEST(of_several_secrets_the_one_that_was_asked_is_found)
{
	struct sb b = {0}, problem = {0};
	struct sds_message m;

	pb_text(&b, 1, "v1");
	add_resource(&b, sds_type_url, "other");
	add_resource(&b, sds_type_url, "default");
	pb_text(&b, 5, "n1");
	ck_assert_int_eq(sds_message_read(sb_view(&b), STR("default"), &m, &problem), 0);
	ck_assert(m.found && str_is(m.version, "v1") && str_is(m.nonce, "n1"));
	ck_assert_uint_eq(problem.n, 0);
	ck_assert_uint_eq(m.resources, 2);
	sb_end(&b);
	sb_end(&problem);
}
END_TEST

START_TEST(a_secret_inside_of_a_Resource_is_found)
{
	struct sb b = {0}, problem = {0}, secret = {0}, any = {0}, resource = {0}, outer = {0};
	struct sds_message m;

	pb_text(&secret, 1, "default");
	pb_text(&any, 1, sds_type_url);
	pb_sub(&any, 2, &secret);
	pb_text(&resource, 3, "default");
	pb_sub(&resource, 2, &any);
	pb_text(&outer, 1, "type.googleapis.com/envoy.service.discovery.v3.Resource");
	pb_sub(&outer, 2, &resource);
	pb_sub(&b, 2, &outer);
	ck_assert_int_eq(sds_message_read(sb_view(&b), STR("default"), &m, &problem), 0);
	ck_assert(m.found);
	ck_assert_uint_eq(problem.n, 0);
	sb_end(&b);
	sb_end(&problem);
}
END_TEST

START_TEST(an_answer_says_what_is_missing_in_it)
{
	struct sb b = {0}, problem = {0};
	struct sds_message m;

	ck_assert_int_eq(sds_message_read(sb_view(&b), STR("default"), &m, &problem), 0);
	ck_assert(!m.found);
	ck_assert_str_eq(problem.p, "an answer without any secret, 'default' was asked");
	problem.n = 0;
	add_resource(&b, "type.googleapis.com/envoy.config.cluster.v3.Cluster", "default");
	add_resource(&b, sds_type_url, "a");
	ck_assert_int_eq(sds_message_read(sb_view(&b), STR("default"), &m, &problem), 0);
	ck_assert(!m.found);
	ck_assert_str_eq(problem.p, "a resource of type 'type.googleapis.com/envoy.config.cluster.v3.Cluster' is no secret; 'a' came, 'default' was asked");
	/* A secret that is no message is the secret's fault, not the answer's: it has a nonce to be refused by. */
	struct sb any = {0};
	problem.n = b.n = 0;
	pb_text(&any, 1, sds_type_url);
	pb_text(&any, 2, "\xff\xff");
	pb_sub(&b, 2, &any);
	pb_text(&b, 5, "n7");
	ck_assert_int_eq(sds_message_read(sb_view(&b), STR("default"), &m, &problem), 0);
	ck_assert(!m.found && str_is(m.nonce, "n7"));
	ck_assert_str_eq(problem.p, "a secret that is no message, 'default' was asked");
	sb_end(&b);
	sb_end(&problem);
}
END_TEST

START_TEST(malformed_answers_are_told_apart)
{
	static const struct { const char *bytes; size_t n; } rows[] = {
		{"\xff", 1}, {"\x12\x05", 2}, {"\x12\x01\xff", 3}, {"\x0a\x02\xff\xfe", 4}, {"\x0a\x01\0", 3}, {"\x08\x01", 2}, {"\x10\x01", 2}, {"\x2a\x02\xc0\x80", 4}, {"\x0b", 1},
		{"\x12\x04\x0a\x02\xff\xfe", 6},
	};
	struct sb problem = {0};
	struct sds_message m;

	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		ck_assert_msg(sds_message_read(str_n(rows[i].bytes, rows[i].n), STR("default"), &m, &problem) == ERR_MALFORMED, "row %zu", i);
	sb_end(&problem);
}
END_TEST

UNIT_SUITE("sds", a_certificate_is_asked_for_by_its_name_with_the_node_and_acknowledged, each_name_has_a_stream_and_who_asks_again_gets_the_same_secret,
	spire_gives_bundles_needs_no_node_and_is_never_asked_for_everything, a_rotation_is_pushed_told_and_acknowledged, a_thousand_rotations_leave_nothing_behind,
	a_bad_secret_is_refused_with_its_reason_and_the_last_good_one_stays, a_certificate_that_has_expired_or_not_begun_is_refused_while_there_is_a_good_one, what_comes_under_another_name_is_refused,
	roots_under_the_name_of_a_certificate_are_refused, an_answer_that_is_no_protobuf_ends_the_stream_and_another_one_is_opened, a_message_that_is_too_large_is_not_read,
	memory_that_is_refused_costs_the_answer_and_not_the_secret, a_stream_that_ends_keeps_the_secret_and_is_opened_again, a_server_that_dies_and_comes_back_with_another_secret_is_heard,
	a_server_that_starts_a_little_later_than_we_do_is_no_failure, a_server_that_is_not_there_is_told_after_a_second_and_found_when_it_comes,
	a_server_that_has_no_certificate_yet_is_asked_again_soon, who_hears_nothing_says_so_and_listens_on, the_node_is_said_on_each_new_stream,
	a_server_that_stood_still_is_given_up_after_a_thaw, a_secret_may_be_dropped_while_it_is_being_told, a_secret_outlives_its_server_and_may_be_given_to_another,
	of_several_secrets_the_one_that_was_asked_is_found, a_secret_inside_of_a_Resource_is_found, an_answer_says_what_is_missing_in_it, malformed_answers_are_told_apart)
