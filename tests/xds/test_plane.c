/* tests/flow/rig_ads itself: the control plane of the flow tests says what istiod would, so that who passes there passes at istiod. What its resources mean is asked of the decoders. */
#include <stdlib.h>
#include "tests/xds/xdsrig.h"
#include "xds/decode.h"

#define ROUTE DEMO ":50051"

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static struct xdsrig *at(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol)
{
	struct xdsrig *r = xdsrig_new(kind, profile, protocol);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1 10.0.0.2:1*5!unhealthy@b^1 unix:/run/x.sock [::1]:7@b^1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.3:1");
	xdsrig_start(r);
	return r;
}

static const struct plane_resource *stored(const struct xdsrig *r, enum plane_dialect d, enum xds_type t, const char *name)
{
	struct plane_resource *found = map_get(&r->plane->resources[d][t], str_of(name));

	ck_assert_msg(found != NULL, "no %s '%s'", xds_type_name[t], name);
	return found;
}

START_TEST(what_a_service_is_made_of_can_be_decoded)
{
	struct xdsrig *r = at(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);
	struct account a;
	struct sb problems = {0};
	struct endpoint_metas *metas;

	account_init(&a, NULL, "decoded", SIZE_MAX);
	metas = endpoint_metas_new(&a, 1);
	for (int d = DIALECT_SIDECAR; d <= DIALECT_GRPC; d++) {
		struct listener_decoded *listener;
		struct route_config *routes;
		struct cluster_decoded *cluster;
		const struct plane_resource *l = stored(r, d, XDS_LDS, d == DIALECT_GRPC ? ROUTE : "127.0.0.1_50051");
		ck_assert_msg(decode_listener(l->bytes.p, l->bytes.n, &a, &listener, &problems) == 0, "%s", problems.p);
		ck_assert_str_eq(listener->rds_name, d == DIALECT_GRPC ? DEMO_CLUSTER : "50051");
		listener_decoded_free(&listener);
		const struct plane_resource *q = stored(r, d, XDS_RDS, d == DIALECT_GRPC ? DEMO_CLUSTER : ROUTE);
		ck_assert_msg(decode_routes(q->bytes.p, q->bytes.n, &a, &routes, &problems) == 0, "%s", problems.p);
		route_config_unref(&routes);
		const struct plane_resource *c = stored(r, d, XDS_CDS, DEMO_CLUSTER);
		ck_assert_msg(decode_cluster(c->bytes.p, c->bytes.n, &a, metas, PROFILE_ISTIO, &cluster, &problems) == 0, "%s", problems.p);
		ck_assert_int_eq(cluster->type, CLUSTER_EDS);
		ck_assert_str_eq(cluster->eds_name, DEMO_CLUSTER);
		cluster_decoded_free(&cluster);
	}
	const struct plane_resource *e = stored(r, DIALECT_BOTH, XDS_EDS, DEMO_CLUSTER);
	struct eds_decoder *eds = eds_decoder_new(&a, metas, NULL, NULL);
	struct endpoint_set *set;
	struct str name;
	ck_assert_int_eq(eds_decoder_bytes(eds, e->bytes.p, e->bytes.n), 0);
	ck_assert_msg(eds_decoder_end(eds, &set, &name, &problems) == 0, "%s", problems.p);
	ck_assert(str_is(name, DEMO_CLUSTER));
	ck_assert_uint_eq(endpoints_count(set), 4);
	endpoints_unref(&set);
	eds_decoder_free(&eds);
	endpoint_metas_free(&metas);
	account_end(&a);
	sb_end(&problems);
	xdsrig_free(&r);
}
END_TEST

START_TEST(the_sidecar_dialect_answers_added_names_alone_and_unknown_ones_empty)
{
	struct xdsrig *r = at(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	xdsrig_want(r, XDS_RDS, ROUTE);
	xdsrig_settle(r);
	xdsrig_told(r);
	xdsrig_want(r, XDS_RDS, "nobody.default.svc.cluster.local:50051");
	xdsrig_want(r, XDS_EDS, "outbound|1||nobody");
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "+EDS outbound|1||nobody; EDS ok; +RDS nobody.default.svc.cluster.local:50051; RDS ok");
	ck_assert_uint_lt(r->bytes.n, 120); /* 0 virtual hosts */
	xdsrig_free(&r);
}
END_TEST

START_TEST(the_second_spelling_of_a_host_on_a_stream_is_answered_empty_at_the_next_push)
{
	struct xdsrig *r = at(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	xdsrig_want(r, XDS_RDS, ROUTE);
	xdsrig_settle(r);
	xdsrig_want(r, XDS_RDS, "demo:50051");
	xdsrig_settle(r);
	ck_assert_uint_gt(r->bytes.n, 150); /* alone it is answered, and named as asked */
	ck_assert(has(xdsrig_told(r), "+RDS demo:50051"));
	plane_service(r->plane, "more.default.svc.cluster.local", 50051, "10.0.0.8:1");
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "+RDS " ROUTE "; +RDS demo:50051; RDS ok"));
	ck_assert_uint_lt(r->bytes.n, 100);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_change_anywhere_pushes_what_it_pushes_at_istiod)
{
	static const struct { enum xds_profile profile; enum xds_protocol protocol; const char *endpoint, *service; } rows[] = {
		{PROFILE_ISTIO, PROTOCOL_SOTW, "EDS", "CDS RDS"}, {PROFILE_ISTIO, PROTOCOL_DELTA, "EDS", "CDS RDS"}, {PROFILE_ISTIO_GRPC, PROTOCOL_SOTW, "CDS EDS RDS", "CDS RDS"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct xdsrig *r = at(PLANE_ISTIO, rows[i].profile, rows[i].protocol);
		char got[64];
		bool grpc = rows[i].profile == PROFILE_ISTIO_GRPC;
		if (grpc)
			xdsrig_want(r, XDS_CDS, DEMO_CLUSTER);
		else
			sub_wildcard(r->sub, XDS_CDS, true);
		xdsrig_want(r, XDS_RDS, grpc ? DEMO_CLUSTER : ROUTE);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		for (int service = 0; service < 2; service++) {
			xdsrig_told(r);
			if (service)
				plane_service(r->plane, "more.default.svc.cluster.local", 50051, "10.0.0.8:1");
			else
				plane_endpoints(r->plane, DEMO, 50051, "10.0.0.9:1");
			xdsrig_settle(r);
			const char *told = xdsrig_told(r), *types[] = {"CDS", "EDS", "RDS"};
			got[0] = 0;
			for (int t = 0; t < 3; t++) {
				char ok[16] = {types[t][0], 'D', 'S', ' ', 'o', 'k', 0};
				if (has(told, ok)) {
					strcat(got, got[0] ? " " : "");
					strcat(got, types[t]);
				}
			}
			ck_assert_msg(strcmp(got, service ? rows[i].service : rows[i].endpoint) == 0, "row %zu: %s: %s", i, got, told);
		}
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(delta_in_the_grpc_dialect_forgets_all_but_the_names_of_the_last_answer)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO_GRPC, PROTOCOL_SOTW);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.3:1");
	xdsrig_start(r);
	/* The profile never speaks it, so it is asked for behind its back. */
	plane_stream(r->plane)->delta = plane_stream(r->plane)->grpc = true;
	struct plane_request q = {.stream = plane_stream(r->plane), .type = XDS_CDS, .type_url = (char *)plane_type_url[XDS_CDS], .version = (char *)"", .nonce = (char *)"", .node_id = (char *)""};
	char *demo = (char *)DEMO_CLUSTER, *echo = (char *)ECHO_CLUSTER;
	plane_stream(r->plane)->has_node = true;
	r->plane->quirks.mute = true;
	q.nsub = 1;
	q.sub = &demo;
	plane_heard(plane_stream(r->plane), &q);
	ck_assert(plane_asks(r->plane, XDS_CDS, DEMO_CLUSTER));
	q.sub = &echo;
	plane_heard(plane_stream(r->plane), &q);
	ck_assert(plane_asks(r->plane, XDS_CDS, ECHO_CLUSTER));
	ck_assert(!plane_asks(r->plane, XDS_CDS, DEMO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(versions_run_backwards_on_one_stream)
{
	struct xdsrig *r = at(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.9:1");
	xdsrig_settle(r);
	char *pushed = xstrdup(plane_last(r->plane, XDS_EDS)->version);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_int_lt(strcmp(plane_last(r->plane, XDS_EDS)->version, pushed), 0);
	free(pushed);
	xdsrig_free(&r);
}
END_TEST

START_TEST(nacos_sends_all_endpoints_at_first_and_does_not_notice_names_on_an_ACK)
{
	struct xdsrig *r = xdsrig_new(PLANE_NACOS, PROFILE_TEMPLATE, PROTOCOL_AUTO);

	plane_service(r->plane, "demo", 50051, "10.0.0.1:1");
	plane_service(r->plane, "echo", 50051, "10.0.0.2:1");
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, "outbound|50051||demo.DEFAULT-GROUP.public.nacos");
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "+EDS outbound|50051||echo.DEFAULT-GROUP.public.nacos"));
	xdsrig_want(r, XDS_EDS, "outbound|50051||echo.DEFAULT-GROUP.public.nacos");
	xdsrig_settle(r);
	/* The question, its ACK, the names on a nonce, which are not noticed; then all once more without one, which is answered, alone. */
	ck_assert_str_ne(plane_request(r->plane, XDS_EDS, 2)->nonce, "");
	ck_assert_uint_eq(plane_request(r->plane, XDS_EDS, 2)->nsub, 2);
	ck_assert_str_eq(plane_request(r->plane, XDS_EDS, 3)->nonce, "");
	ck_assert_uint_eq(plane_request(r->plane, XDS_EDS, 3)->nsub, 2);
	ck_assert_uint_eq(plane_stream(r->plane)->answers, 2);
	ck_assert(has(xdsrig_told(r), "+EDS outbound|50051||echo.DEFAULT-GROUP.public.nacos"));
	xdsrig_free(&r);
}
END_TEST

UNIT_SUITE("plane", what_a_service_is_made_of_can_be_decoded, the_sidecar_dialect_answers_added_names_alone_and_unknown_ones_empty,
	the_second_spelling_of_a_host_on_a_stream_is_answered_empty_at_the_next_push, a_change_anywhere_pushes_what_it_pushes_at_istiod,
	delta_in_the_grpc_dialect_forgets_all_but_the_names_of_the_last_answer, versions_run_backwards_on_one_stream,
	nacos_sends_all_endpoints_at_first_and_does_not_notice_names_on_an_ACK)
