/* xds/sub: what is said to a control plane, turn by turn, in both forms, and what its answers become. The plane is tests/flow/rig_ads.h, whose quirks are istiod's. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/xds/xdsrig.h"

#define ROUTE DEMO ":50051"
#define ROUTE_ECHO ECHO ":50051"

static struct xdsrig *istio(enum xds_protocol protocol)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, protocol);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1 10.0.0.2:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.3:1");
	xdsrig_start(r);
	return r;
}

static struct xdsrig *generic(enum xds_protocol protocol)
{
	struct xdsrig *r = xdsrig_new(PLANE_GENERIC, PROFILE_GENERIC, protocol);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.3:1");
	xdsrig_start(r);
	return r;
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

/* ---- both forms ---- */

START_TEST(names_of_a_turn_go_out_together_and_the_node_only_in_the_first_message)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), 0);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
		xdsrig_want(r, XDS_RDS, ROUTE);
		xdsrig_want(r, XDS_RDS, ROUTE);
		xdsrig_settle(r);
		ck_assert_str_eq(plane_request(r->plane, XDS_EDS, 0)->names.p, i ? "+" DEMO_CLUSTER " +" ECHO_CLUSTER : DEMO_CLUSTER " " ECHO_CLUSTER);
		ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 2); /* and its ACK */
		ck_assert_uint_eq(plane_count(r->plane, XDS_RDS), 2);
		ck_assert(plane_request(r->plane, PLANE_ANY, 0)->has_node);
		for (uint32_t n = 1; n < plane_count(r->plane, PLANE_ANY); n++)
			ck_assert(!plane_request(r->plane, PLANE_ANY, n)->has_node);
		ck_assert_uint_eq(r->plane->acks, 2);
		ck_assert_uint_eq(r->plane->nacks, 0);
		const char *told = xdsrig_told(r);
		ck_assert_msg(has(told, "+EDS " DEMO_CLUSTER) && has(told, "+EDS " ECHO_CLUSTER) && has(told, "+RDS " ROUTE) && has(told, "EDS ok") && has(told, "up"), "%s", told);
		ck_assert(xdsrig_answered(r, XDS_RDS, ROUTE));
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(what_is_wanted_twice_stays_until_it_is_unwanted_twice)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	uint32_t n = plane_count(r->plane, XDS_EDS);
	xdsrig_unwant(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), n);
	xdsrig_unwant(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), n + 1);
	ck_assert_str_eq(plane_names(r->plane, XDS_EDS), DEMO_CLUSTER);
	xdsrig_unwant(r, XDS_EDS, ECHO_CLUSTER); /* a third one is nobody's */
	xdsrig_unwant(r, XDS_EDS, "never wanted");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), n + 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_dropped_and_wanted_again_within_a_turn_says_nothing)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		uint32_t n = plane_count(r->plane, PLANE_ANY);
		xdsrig_unwant(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
		xdsrig_unwant(r, XDS_EDS, ECHO_CLUSTER);
		xdsrig_settle(r);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), n);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(a_bad_resource_is_refused_with_its_reason_and_the_good_ones_of_the_answer_stay)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		char *good = xstrdup(plane_last(r->plane, XDS_EDS)->version);
		xdsrig_told(r);
		r->refuse = ECHO_CLUSTER;
		r->plane->version++;
		plane_say(r->plane, XDS_EDS, DEMO_CLUSTER " " ECHO_CLUSTER);
		xdsrig_settle(r);
		struct plane_request *q = plane_last(r->plane, XDS_EDS);
		ck_assert(q->has_error);
		ck_assert_int_eq(q->error_code, 3);
		ck_assert_str_eq(q->error_text, ECHO_CLUSTER ": endpoints: bad");
		ck_assert(q->nonce[0]);
		if (!i) /* the version of the last good answer, never the refused one's */
			ck_assert_str_eq(q->version, good);
		const char *told = xdsrig_told(r);
		ck_assert_msg(has(told, "EDS refused") && has(told, "+EDS " DEMO_CLUSTER) && !has(told, "+EDS " ECHO_CLUSTER), "%s", told);
		struct sub_info info;
		sub_info(r->sub, XDS_EDS, &info);
		ck_assert_uint_eq(info.rejected, 1);
		ck_assert_str_eq(info.last_reject, ECHO_CLUSTER ": endpoints: bad");
		/* The next good answer is accepted as ever. */
		r->refuse = NULL;
		plane_say(r->plane, XDS_EDS, ECHO_CLUSTER);
		xdsrig_settle(r);
		ck_assert(has(xdsrig_told(r), "+EDS " ECHO_CLUSTER "; EDS ok"));
		ck_assert(!plane_last(r->plane, XDS_EDS)->has_error);
		free(good);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(all_reasons_of_an_answer_are_one_text_of_4_KiB_at_most_in_ASCII)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);
	char reason[300];

	memset(reason, 'r', sizeof(reason));
	reason[0] = '\xff'; /* a Go server ends the stream on a string that is not UTF-8 */
	reason[sizeof(reason) - 1] = 0;
	r->refuse = "*";
	r->reason = reason;
	for (int i = 0; i < 20; i++) {
		char name[64];
		snprintf(name, sizeof(name), "outbound|%d||x", i);
		xdsrig_want(r, XDS_EDS, name);
	}
	xdsrig_settle(r);
	struct plane_request *q = plane_last(r->plane, XDS_EDS);
	ck_assert(q->has_error);
	ck_assert_uint_le(strlen(q->error_text), 4096);
	ck_assert_uint_gt(strlen(q->error_text), 4000);
	ck_assert(has(q->error_text, "; outbound|"));
	ck_assert(!strchr(q->error_text, '\xff'));
	xdsrig_free(&r);
}
END_TEST

START_TEST(names_that_are_new_when_an_answer_is_refused_go_in_a_request_of_their_own)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.2:1");
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	r->refuse = DEMO_CLUSTER;
	r->reason = "no";
	r->wants_then = ECHO_CLUSTER; /* in the turn of the refusal: istiod ignores the names of a NACK */
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.3:1");
	xdsrig_told(r);
	xdsrig_settle(r);
	ck_assert_uint_eq(r->plane->nacks, 1);
	ck_assert(has(xdsrig_told(r), "+EDS " ECHO_CLUSTER));
	ck_assert(plane_asks(r->plane, XDS_EDS, ECHO_CLUSTER) && plane_asks(r->plane, XDS_EDS, DEMO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(names_that_were_asked_while_an_answer_that_is_refused_was_under_way_are_asked_again)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.2:1");
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	simnet_knobs(r->net)->latency_ns = 20 * MS;
	r->refuse = DEMO_CLUSTER;
	r->reason = "no";
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.3:1");
	xdsrig_advance(r, 1);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER); /* with an old nonce: istiod drops it, and the names of the NACK that follows */
	xdsrig_told(r);
	xdsrig_advance(r, 200);
	ck_assert_uint_eq(r->plane->nacks, 1);
	ck_assert(has(xdsrig_told(r), "+EDS " ECHO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_that_is_wanted_again_before_its_server_heard_that_it_was_dropped_is_answered)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	plane_service(r->plane, ECHO, 50051, "10.0.0.2:1");
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	simnet_knobs(r->net)->latency_ns = 20 * MS;
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.3:1");
	xdsrig_advance(r, 1); /* the push is under way: what is said now has an old nonce */
	xdsrig_unwant(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_advance(r, 1);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_told(r);
	xdsrig_advance(r, 200);
	ck_assert(has(xdsrig_told(r), "+EDS " ECHO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_resource_too_large_for_us_is_refused_without_being_taken)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	r->refuse_begin = true;
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_uint_eq(r->taken, 0);
	ck_assert_str_eq(plane_last(r->plane, XDS_EDS)->error_text, "too large");
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_that_comes_twice_in_an_answer_is_refused_and_the_first_one_counts)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		r->plane->quirks.twice = true;
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		sub_wildcard(r->sub, XDS_CDS, true);
		xdsrig_settle(r);
		const char *told = xdsrig_told(r);
		ck_assert_msg(has(told, "+EDS " DEMO_CLUSTER "; cut; EDS refused"), "%s", told);
		ck_assert(has(told, "CDS refused")); /* names that nobody wanted by name, too */
		ck_assert_uint_gt(r->plane->nacks, 1);
		ck_assert(has(plane_last(r->plane, XDS_EDS)->error_text, DEMO_CLUSTER ": comes twice in one answer"));
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(answers_of_types_that_are_unknown_or_were_not_asked_are_neither_taken_nor_acknowledged)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		uint32_t n = plane_count(r->plane, PLANE_ANY);
		xdsrig_told(r);
		plane_say_bytes(r->plane, "type.googleapis.com/istio.networking.nds.v1.NameTable", "x", "\x0a\x01x", 3);
		plane_say(r->plane, XDS_LDS, "127.0.0.1_50051");
		xdsrig_settle(r);
		ck_assert_str_eq(xdsrig_told(r), "");
		ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), n);
		ck_assert_uint_eq(plane_open(r->plane), 1);
		struct sub_info info;
		sub_info(r->sub, XDS_LDS, &info);
		ck_assert_uint_eq(info.ignored, 1);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(an_answer_that_makes_no_sense_ends_the_stream_and_a_new_one_is_told_everything)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	xdsrig_told(r);
	plane_message(r->plane, "\x12\x05\x0a\x7f", 4);
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(r->plane->nstreams, 2);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert(has(ads_last_error(r->ads), "makes no sense"));
	ck_assert(xdsrig_answered(r, XDS_EDS, DEMO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(two_answers_in_a_turn_are_both_acknowledged)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		r->plane->quirks.no_stale_check = true;
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		uint32_t n = plane_count(r->plane, XDS_EDS);
		plane_say(r->plane, XDS_EDS, DEMO_CLUSTER);
		char *first = xstrdup(plane_nonce(plane_stream(r->plane), XDS_EDS));
		plane_say(r->plane, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), n + 2);
		ck_assert_str_eq(plane_request(r->plane, XDS_EDS, n)->nonce, first);
		ck_assert_str_eq(plane_request(r->plane, XDS_EDS, n + 1)->nonce, plane_nonce(plane_stream(r->plane), XDS_EDS));
		free(first);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(an_answer_without_a_nonce_is_taken_and_not_acknowledged)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	r->plane->quirks.no_nonce = true;
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "+EDS " DEMO_CLUSTER));
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 1); /* an empty nonce would ask for all again, without an end */
	xdsrig_free(&r);
}
END_TEST

START_TEST(health_is_never_the_first_message_and_is_said_again_after_a_reconnect)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};
	static const char url[] = "type.googleapis.com/istio.v1.HealthInformation";

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		sub_say(r->sub, url, 0, NULL);
		xdsrig_settle(r);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), 0);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		ck_assert_str_eq(plane_request(r->plane, PLANE_ANY, 1)->type_url, url);
		ck_assert(!plane_last(r->plane, PLANE_OTHER)->has_error);
		sub_say(r->sub, url, 500, "the app said fail");
		xdsrig_settle(r);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_OTHER), 2);
		ck_assert_int_eq(plane_last(r->plane, PLANE_OTHER)->error_code, 500);
		ck_assert_str_eq(plane_last(r->plane, PLANE_OTHER)->error_text, "the app said fail");
		plane_cut(r->plane);
		xdsrig_advance(r, 100);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_OTHER), 3);
		ck_assert_uint_eq(plane_last(r->plane, PLANE_OTHER)->stream->number, 2);
		ck_assert_int_eq(plane_last(r->plane, PLANE_OTHER)->error_code, 500);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(a_peer_that_does_not_read_gets_only_the_newest_state_when_it_reads_again)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);
	char name[2000];

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	r->plane->quirks.deaf = true;
	/* Each request names all: 200 of them would be 40 MB in a queue without a bound. */
	for (int i = 0; i < 200; i++) {
		memset(name, 'n', sizeof(name));
		snprintf(name, 32, "outbound|%d||", i);
		name[strlen(name)] = 'n';
		name[sizeof(name) - 1] = 0;
		xdsrig_want(r, XDS_EDS, name);
		xdsrig_advance(r, 1);
	}
	ck_assert_uint_lt(r->loop->memory.used, 4 << 20);
	uint32_t before = plane_count(r->plane, XDS_EDS);
	r->plane->quirks.deaf = false;
	struct plane_stream *s = plane_stream(r->plane);
	stream_credit(s->stream, s->owed);
	s->owed = 0;
	xdsrig_advance(r, 1000);
	ck_assert_uint_eq(plane_last(r->plane, XDS_EDS)->nsub, 201);
	ck_assert_uint_lt(plane_count(r->plane, XDS_EDS) - before, 150);
	ck_assert_uint_eq(s->watch[XDS_EDS].names.n, 201);
	xdsrig_free(&r);
}
END_TEST

START_TEST(names_wait_while_there_is_no_memory_to_say_them)
{
	static const enum xds_protocol forms[] = {PROTOCOL_SOTW, PROTOCOL_DELTA};

	for (int i = 0; i < 2; i++) {
		struct xdsrig *r = istio(forms[i]);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		xdsrig_settle(r);
		uint32_t n = plane_count(r->plane, PLANE_ANY);
		r->loop->memory.limit = r->loop->memory.used;
		for (int k = 0; k < 200; k++) { /* more than what accounts below have in hand */
			char name[128];
			snprintf(name, sizeof(name), "outbound|%d||a name that has to be said in a chunk, sooner or later, however many are said before", k);
			xdsrig_want(r, XDS_EDS, name);
		}
		xdsrig_advance(r, 200);
		ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), n);
		r->loop->memory.limit = SIZE_MAX;
		xdsrig_advance(r, 50);
		ck_assert(plane_asks(r->plane, XDS_EDS, "outbound|199||a name that has to be said in a chunk, sooner or later, however many are said before"));
		ck_assert_uint_eq(plane_stream(r->plane)->watch[XDS_EDS].names.n, 201);
		ck_assert_uint_eq(r->plane->nstreams, 1);
		xdsrig_free(&r);
	}
}
END_TEST

/* ---- state of the world ---- */

START_TEST(an_ACK_carries_all_names_the_version_and_the_nonce_of_the_answer)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_request(r->plane, XDS_EDS, 0)->version, "");
	ck_assert_str_eq(plane_request(r->plane, XDS_EDS, 0)->nonce, "");
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	/* istiod answers the added name alone; the ACK has both all the same. */
	struct plane_request *ack = plane_last(r->plane, XDS_EDS);
	ck_assert_str_eq(ack->names.p, DEMO_CLUSTER " " ECHO_CLUSTER);
	ck_assert_str_eq(ack->nonce, plane_nonce(plane_stream(r->plane), XDS_EDS));
	ck_assert(ack->version[0]);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 4);
	/* A partial answer takes nothing away, and is not said to be full. */
	ck_assert(!has(xdsrig_told(r), "full"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_that_comes_with_an_answer_rides_on_the_ACK)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	uint32_t n = plane_count(r->plane, XDS_EDS);
	r->wants_then = ECHO_CLUSTER;
	plane_say(r->plane, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_request(r->plane, XDS_EDS, n)->names.p, DEMO_CLUSTER " " ECHO_CLUSTER);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), n + 2); /* and the ACK of the answer to it */
	ck_assert(xdsrig_answered(r, XDS_EDS, ECHO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(the_last_name_dropped_unsubscribes_and_a_type_never_named_is_not_asked)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_LDS, "a");
	xdsrig_unwant(r, XDS_LDS, "a");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, PLANE_ANY), 0); /* an empty first list would ask LDS for everything */
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	xdsrig_unwant(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_names(r->plane, XDS_EDS), "");
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 3);
	ck_assert(!plane_asks(r->plane, XDS_EDS, DEMO_CLUSTER));
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.7:1");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 3);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_told(r);
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok");
	/* And nothing of it is left for a new stream. */
	xdsrig_unwant(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	plane_cut(r->plane);
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_eq(plane_last(r->plane, PLANE_ANY)->stream->number, 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_wildcard_is_the_empty_list_and_with_names_a_star)
{
	struct xdsrig *r = generic(PROTOCOL_SOTW);

	sub_wildcard(r->sub, XDS_CDS, true);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_request(r->plane, XDS_CDS, 0)->names.p, "");
	const char *told = xdsrig_told(r);
	ck_assert_msg(has(told, "+CDS " DEMO_CLUSTER) && has(told, "+CDS " ECHO_CLUSTER) && has(told, "CDS ok full"), "%s", told);
	ck_assert_str_eq(plane_names(r->plane, XDS_CDS), ""); /* the ACK keeps it so */
	xdsrig_want(r, XDS_CDS, "extra");
	xdsrig_settle(r);
	ck_assert_str_eq(plane_names(r->plane, XDS_CDS), "* extra");
	xdsrig_unwant(r, XDS_CDS, "extra");
	xdsrig_settle(r);
	ck_assert_str_eq(plane_names(r->plane, XDS_CDS), "*"); /* an empty list would now be the end of it */
	plane_cluster(r->plane, "new", "10.0.0.1:1");
	xdsrig_settle(r);
	ck_assert_str_eq(plane_names(r->plane, XDS_CDS), "*");
	ck_assert(has(xdsrig_told(r), "+CDS new"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(after_a_reconnect_the_version_is_kept_the_nonce_is_not_and_all_names_are_said)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_want(r, XDS_RDS, ROUTE);
	xdsrig_settle(r);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	char *version = xstrdup(plane_last(r->plane, XDS_EDS)->version);
	plane_cut(r->plane);
	xdsrig_settle(r);
	uint32_t n = 0;
	while (plane_request(r->plane, XDS_EDS, n)->stream->number == 1)
		n++;
	struct plane_request *q = plane_request(r->plane, XDS_EDS, n);
	ck_assert_str_eq(q->version, version);
	ck_assert_str_eq(q->nonce, "");
	ck_assert_str_eq(q->names.p, DEMO_CLUSTER " " ECHO_CLUSTER);
	ck_assert(q->has_node);
	ck_assert_int_eq(plane_last(r->plane, XDS_RDS)->stream->number, 2);
	free(version);
	xdsrig_free(&r);
}
END_TEST

START_TEST(cds_is_asked_before_eds_so_that_istiod_does_not_answer_eds_twice)
{
	struct xdsrig *r = istio(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_RDS, ROUTE);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	sub_wildcard(r->sub, XDS_CDS, true);
	xdsrig_settle(r);
	ck_assert_int_eq(plane_request(r->plane, PLANE_ANY, 0)->type, XDS_CDS);
	ck_assert_int_eq(plane_request(r->plane, PLANE_ANY, 1)->type, XDS_EDS);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 2);
	xdsrig_free(&r);
	/* Where CDS is wanted later, the second answer costs an ACK and nothing else. */
	r = istio(PROTOCOL_SOTW);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	sub_wildcard(r->sub, XDS_CDS, true);
	xdsrig_settle(r);
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.5:1");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), 4);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_missing_in_the_answer_to_its_request_does_not_exist)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO_GRPC, PROTOCOL_AUTO);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	xdsrig_start(r);
	xdsrig_want(r, XDS_LDS, "nobody:1");
	xdsrig_want(r, XDS_LDS, ROUTE);
	xdsrig_settle(r);
	ck_assert(xdsrig_answered(r, XDS_LDS, "nobody:1"));
	ck_assert_str_eq(xdsrig_told(r), "+LDS " ROUTE "; LDS ok full; up");
	/* Asked later it may be on its way: only time tells, and not much of it. */
	xdsrig_want(r, XDS_LDS, "other:1");
	xdsrig_settle(r);
	ck_assert(!xdsrig_answered(r, XDS_LDS, "other:1"));
	ck_assert_str_eq(xdsrig_told(r), "+LDS " ROUTE "; LDS ok full");
	xdsrig_advance(r, 300);
	ck_assert_str_eq(xdsrig_told(r), "silent LDS other:1");
	ck_assert(xdsrig_answered(r, XDS_LDS, "other:1"));
	plane_service(r->plane, "other", 1, "10.0.0.1:1");
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "+LDS other:1"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_that_gets_no_answer_in_15_seconds_does_not_exist_but_never_in_the_istio_profile)
{
	static const struct { enum plane_kind kind; enum xds_profile profile; bool silent; } rows[] = {{PLANE_GENERIC, PROFILE_GENERIC, true}, {PLANE_ISTIO, PROFILE_ISTIO, false}, {PLANE_GENERIC, PROFILE_TEMPLATE, true}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct xdsrig *r = xdsrig_new(rows[i].kind, rows[i].profile, PROTOCOL_SOTW);
		r->plane->quirks.mute = true;
		plane_listen(r->plane, false); /* the time runs from when it was asked, not from when it was wanted */
		xdsrig_start(r);
		xdsrig_want(r, XDS_EDS, "nobody");
		xdsrig_advance(r, 60000);
		ck_assert(!has(xdsrig_told(r), "silent"));
		plane_listen(r->plane, true);
		simnet_advance(r->net, 31 * SEC); /* the back-off's end, at most */
		ck_assert_uint_eq(plane_open(r->plane), 1);
		xdsrig_advance(r, 15000);
		if (rows[i].silent)
			ck_assert(has(xdsrig_told(r), "silent EDS nobody"));
		else
			ck_assert(!has(xdsrig_told(r), "silent"));
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(a_name_once_answered_stays_so_though_a_new_stream_is_silent)
{
	struct xdsrig *r = generic(PROTOCOL_SOTW);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	r->plane->quirks.mute = true;
	plane_cut(r->plane);
	xdsrig_told(r);
	xdsrig_advance(r, 40000);
	ck_assert_uint_eq(plane_last(r->plane, XDS_EDS)->stream->number, 2);
	ck_assert(!has(xdsrig_told(r), "silent"));
	ck_assert(!xdsrig_answered(r, XDS_EDS, DEMO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_wrapped_resource_is_taken_like_a_plain_one)
{
	struct xdsrig *r = generic(PROTOCOL_SOTW);

	r->plane->quirks.wrap = true;
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok"));
	xdsrig_free(&r);
}
END_TEST

/* ---- delta ---- */

START_TEST(delta_acknowledges_by_the_nonce_alone_and_changes_by_the_change_alone)
{
	struct xdsrig *r = istio(PROTOCOL_DELTA);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	xdsrig_unwant(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	static const struct { const char *names; bool nonce; } rows[] = {{"+" DEMO_CLUSTER, false}, {"", true}, {"+" ECHO_CLUSTER, false}, {"", true}, {"-" DEMO_CLUSTER, false}};
	ck_assert_uint_eq(plane_count(r->plane, XDS_EDS), UNIT_COUNT(rows));
	for (uint32_t i = 0; i < UNIT_COUNT(rows); i++) {
		ck_assert_str_eq(plane_request(r->plane, XDS_EDS, i)->names.p, rows[i].names);
		ck_assert_int_eq(plane_request(r->plane, XDS_EDS, i)->nonce[0] != 0, rows[i].nonce);
	}
	ck_assert(!plane_asks(r->plane, XDS_EDS, DEMO_CLUSTER));
	xdsrig_free(&r);
}
END_TEST

START_TEST(delta_wildcard_is_a_star_and_removed_resources_are_told)
{
	struct xdsrig *r = istio(PROTOCOL_DELTA);

	sub_wildcard(r->sub, XDS_CDS, true);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_request(r->plane, XDS_CDS, 0)->names.p, "+*");
	const char *told = xdsrig_told(r);
	ck_assert_msg(has(told, "+CDS " DEMO_CLUSTER) && has(told, "+CDS BlackHoleCluster") && has(told, "CDS ok full"), "%s", told);
	plane_service_gone(r->plane, DEMO, 50051);
	xdsrig_settle(r);
	told = xdsrig_told(r);
	ck_assert_msg(has(told, "-CDS " DEMO_CLUSTER) && !has(told, "full"), "%s", told);
	xdsrig_free(&r);
}
END_TEST

START_TEST(delta_says_after_a_reconnect_what_it_has_where_versions_are_known)
{
	struct xdsrig *r = generic(PROTOCOL_DELTA);

	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	sub_wildcard(r->sub, XDS_CDS, true);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_request(r->plane, XDS_CDS, 0)->nhave, 0);
	plane_listen(r->plane, false);
	plane_cut(r->plane);
	xdsrig_settle(r);
	plane_del(r->plane, XDS_CDS, ECHO_CLUSTER);
	xdsrig_settle(r);
	plane_listen(r->plane, true);
	xdsrig_told(r);
	xdsrig_advance(r, 5000);
	struct plane_request *cds = NULL, *eds = NULL;
	for (uint32_t i = 0; !cds || !eds; i++) {
		struct plane_request *q = plane_request(r->plane, PLANE_ANY, i);
		ck_assert_ptr_nonnull(q);
		if (q->stream->number == 2 && q->type == XDS_CDS && !cds)
			cds = q;
		if (q->stream->number == 2 && q->type == XDS_EDS && !eds)
			eds = q;
	}
	ck_assert_str_eq(eds->names.p, "+" DEMO_CLUSTER " =" DEMO_CLUSTER);
	ck_assert(eds->have_version[0][0]);
	ck_assert(has(cds->names.p, "+*") && has(cds->names.p, "=" DEMO_CLUSTER) && has(cds->names.p, "=" ECHO_CLUSTER));
	/* So the server can say what is gone meanwhile. */
	const char *told = xdsrig_told(r);
	ck_assert_msg(has(told, "-CDS " ECHO_CLUSTER), "%s", told);
	xdsrig_free(&r);
	/* istiod's resources have no versions: nothing to say. */
	r = istio(PROTOCOL_DELTA);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	plane_cut(r->plane);
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(plane_last(r->plane, XDS_EDS)->stream->number, 2);
	for (uint32_t i = 0; i < plane_count(r->plane, XDS_EDS); i++)
		ck_assert_uint_eq(plane_request(r->plane, XDS_EDS, i)->nhave, 0);
	xdsrig_free(&r);
}
END_TEST

START_TEST(delta_not_existing_comes_as_a_removal_at_once)
{
	struct xdsrig *r = generic(PROTOCOL_DELTA);

	xdsrig_want(r, XDS_CDS, "nobody");
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "-CDS nobody; CDS ok; up");
	ck_assert(xdsrig_answered(r, XDS_CDS, "nobody"));
	xdsrig_advance(r, 20000);
	ck_assert_str_eq(xdsrig_told(r), "");
	xdsrig_free(&r);
}
END_TEST

START_TEST(consul_gets_its_order_and_its_acknowledgements_at_once)
{
	struct xdsrig *r = xdsrig_new(PLANE_CONSUL, PROFILE_CONSUL, PROTOCOL_AUTO);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	xdsrig_start(r);
	ck_assert_str_eq(sub_protocol(r->sub), "delta");
	sub_wildcard(r->sub, XDS_CDS, true);
	sub_wildcard(r->sub, XDS_LDS, true);
	xdsrig_want(r, XDS_RDS, DEMO_CLUSTER);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	static const enum xds_type order[] = {XDS_CDS, XDS_EDS, XDS_LDS, XDS_RDS};
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(plane_request(r->plane, PLANE_ANY, i)->type, (int)order[i]);
	const char *told = xdsrig_told(r);
	ck_assert_msg(has(told, "+CDS " DEMO_CLUSTER) && has(told, "+EDS " DEMO_CLUSTER) && has(told, "+LDS " ROUTE) && has(told, "+RDS " DEMO_CLUSTER), "%s", told);
	ck_assert_uint_eq(r->plane->acks, 4);
	xdsrig_free(&r);
}
END_TEST

START_TEST(each_profile_speaks_the_form_that_its_servers_understand)
{
	static const struct { enum xds_profile profile; enum xds_protocol protocol; const char *form; } rows[] = {
		{PROFILE_ISTIO, PROTOCOL_AUTO, "delta"}, {PROFILE_ISTIO, PROTOCOL_SOTW, "sotw"}, {PROFILE_ISTIO_GRPC, PROTOCOL_AUTO, "sotw"}, {PROFILE_ISTIO_GRPC, PROTOCOL_DELTA, "sotw"},
		{PROFILE_GENERIC, PROTOCOL_AUTO, "sotw"}, {PROFILE_GENERIC, PROTOCOL_DELTA, "delta"}, {PROFILE_TEMPLATE, PROTOCOL_AUTO, "sotw"}, {PROFILE_TEMPLATE, PROTOCOL_DELTA, "sotw"},
		{PROFILE_CONSUL, PROTOCOL_AUTO, "delta"}, {PROFILE_CONSUL, PROTOCOL_SOTW, "delta"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct xdsrig *r = xdsrig_new(PLANE_GENERIC, rows[i].profile, rows[i].protocol);
		xdsrig_start(r);
		ck_assert_str_eq(sub_protocol(r->sub), rows[i].form);
		ck_assert_int_eq(plane_stream(r->plane)->delta, rows[i].form[0] == 'd');
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(auto_falls_back_to_state_of_the_world_where_delta_is_not_implemented)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_AUTO);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	r->plane->quirks.no_delta = true;
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r); /* at once: no back-off, no bad news */
	ck_assert_str_eq(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok; up");
	ck_assert_str_eq(sub_protocol(r->sub), "sotw");
	ck_assert(has(r->logged.p, "does not speak the incremental protocol"));
	xdsrig_free(&r);
}
END_TEST

UNIT_SUITE("sub", names_of_a_turn_go_out_together_and_the_node_only_in_the_first_message, what_is_wanted_twice_stays_until_it_is_unwanted_twice,
	a_name_dropped_and_wanted_again_within_a_turn_says_nothing, a_bad_resource_is_refused_with_its_reason_and_the_good_ones_of_the_answer_stay,
	names_that_are_new_when_an_answer_is_refused_go_in_a_request_of_their_own, names_that_were_asked_while_an_answer_that_is_refused_was_under_way_are_asked_again, a_name_that_is_wanted_again_before_its_server_heard_that_it_was_dropped_is_answered,
	all_reasons_of_an_answer_are_one_text_of_4_KiB_at_most_in_ASCII, a_resource_too_large_for_us_is_refused_without_being_taken,
	a_name_that_comes_twice_in_an_answer_is_refused_and_the_first_one_counts, answers_of_types_that_are_unknown_or_were_not_asked_are_neither_taken_nor_acknowledged,
	an_answer_that_makes_no_sense_ends_the_stream_and_a_new_one_is_told_everything, two_answers_in_a_turn_are_both_acknowledged,
	an_answer_without_a_nonce_is_taken_and_not_acknowledged, health_is_never_the_first_message_and_is_said_again_after_a_reconnect,
	a_peer_that_does_not_read_gets_only_the_newest_state_when_it_reads_again,
	names_wait_while_there_is_no_memory_to_say_them, an_ACK_carries_all_names_the_version_and_the_nonce_of_the_answer,
	a_name_that_comes_with_an_answer_rides_on_the_ACK, the_last_name_dropped_unsubscribes_and_a_type_never_named_is_not_asked, a_wildcard_is_the_empty_list_and_with_names_a_star,
	after_a_reconnect_the_version_is_kept_the_nonce_is_not_and_all_names_are_said, cds_is_asked_before_eds_so_that_istiod_does_not_answer_eds_twice,
	a_name_missing_in_the_answer_to_its_request_does_not_exist, a_name_that_gets_no_answer_in_15_seconds_does_not_exist_but_never_in_the_istio_profile,
	a_name_once_answered_stays_so_though_a_new_stream_is_silent, a_wrapped_resource_is_taken_like_a_plain_one,
	delta_acknowledges_by_the_nonce_alone_and_changes_by_the_change_alone, delta_wildcard_is_a_star_and_removed_resources_are_told,
	delta_says_after_a_reconnect_what_it_has_where_versions_are_known, delta_not_existing_comes_as_a_removal_at_once,
	consul_gets_its_order_and_its_acknowledgements_at_once, each_profile_speaks_the_form_that_its_servers_understand,
	auto_falls_back_to_state_of_the_world_where_delta_is_not_implemented)
