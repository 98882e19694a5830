/* xds/ads: which server, when again, what is told of it; keepalive, GOAWAY, tokens. Virtual clock, planes in memory (tests/flow/rig_ads.h), the sub as its user. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/xds/xdsrig.h"

#define OTHER "10.9.0.2:15010"

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static struct xdsrig *prepared(void)
{
	struct xdsrig *r = xdsrig_new(PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW);

	plane_service(r->plane, DEMO, 50051, "10.0.0.1:1");
	return r;
}

static struct xdsrig *connected(void)
{
	struct xdsrig *r = prepared();

	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert(has(xdsrig_told(r), "up"));
	return r;
}

static void two_servers(struct xdsrig *r, const char *second)
{
	r->servers[1] = xstrdup(second);
	r->conf.nservers = 2;
}

static struct ads_info info_of(const struct xdsrig *r)
{
	struct ads_info i;

	ads_info(r->ads, &i);
	return i;
}

/* ---- beginning ---- */

START_TEST(a_stream_is_up_when_its_first_message_has_come)
{
	struct xdsrig *r = prepared();

	r->plane->quirks.slow_ms = 100;
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r, 50);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_str_eq(xdsrig_told(r), "");
	ck_assert_str_eq(ads_state_name(r->ads), "open");
	xdsrig_advance(r, 60);
	ck_assert_str_eq(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok; up");
	ck_assert_str_eq(ads_state_name(r->ads), "connected");
	ck_assert(info_of(r).up);
	ck_assert_uint_eq(info_of(r).messages, 1);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), ":scheme"), "http");
	ck_assert_str_eq(plane_field(plane_stream(r->plane), ":authority"), ISTIOD);
	ck_assert(has(plane_field(plane_stream(r->plane), "user-agent"), "thinmesh/"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_name_is_resolved_for_each_try)
{
	struct xdsrig *r = prepared();

	free(r->servers[0]);
	r->servers[0] = xstrdup("istiod.istio-system.svc:15010");
	dns_table_set(r->dns, "istiod.istio-system.svc", "10.9.0.1", 60 * SEC);
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r, 20);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	xdsrig_other(r, OTHER, PLANE_ISTIO);
	dns_table_set(r->dns, "istiod.istio-system.svc", "10.9.0.2", 60 * SEC);
	plane_cut(r->plane);
	xdsrig_advance(r, 20);
	ck_assert_uint_eq(plane_open(r->other), 1);
	plane_kill(r->other);
	dns_table_set(r->dns, "istiod.istio-system.svc", NULL, 0);
	xdsrig_advance(r, 5000);
	ck_assert_msg(has(ads_last_error(r->ads), "istiod.istio-system.svc:15010: "), "%s", ads_last_error(r->ads));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_unix_socket_is_a_server_too)
{
	struct xdsrig *r = prepared();

	free(r->servers[0]);
	r->servers[0] = xstrdup("unix:/run/agent.sock");
	xdsrig_other(r, "unix:/run/agent.sock", PLANE_ISTIO);
	xdsrig_start(r);
	ck_assert_uint_eq(plane_open(r->other), 1);
	ck_assert_str_eq(plane_field(plane_stream(r->other), ":authority"), "localhost");
	xdsrig_free(&r);
}
END_TEST

START_TEST(further_metadata_goes_with_each_stream)
{
	struct xdsrig *r = prepared();
	struct conf_pair pair = {.from = (char *)"clusterid", .to = (char *)"Kubernetes"};

	r->conf.headers = &pair;
	r->conf.nheaders = 1;
	xdsrig_start(r);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "clusterid"), "Kubernetes");
	ck_assert_ptr_null(plane_field(plane_stream(r->plane), "authorization"));
	xdsrig_free(&r);
}
END_TEST

/* ---- failing ---- */

START_TEST(tries_are_spread_and_grow_apart_to_half_a_minute)
{
	struct xdsrig *r = prepared();
	uint32_t in_first_minute, later;

	r->plane->quirks.refuse = 14;
	r->plane->quirks.refuse_text = "server is not ready to serve discovery information";
	xdsrig_start(r);
	xdsrig_advance(r, 60000);
	in_first_minute = r->plane->nstreams;
	ck_assert_uint_ge(in_first_minute, 4);
	ck_assert_uint_le(in_first_minute, 20);
	ck_assert_str_eq(ads_last_error(r->ads), ISTIOD ": UNAVAILABLE: server is not ready to serve discovery information");
	xdsrig_advance(r, 600000);
	later = r->plane->nstreams - in_first_minute;
	ck_assert_uint_ge(later, 20); /* never more than 30 s apart */
	ck_assert_uint_le(later, 100);
	ck_assert_str_eq(xdsrig_told(r), "down"); /* once */
	ck_assert_uint_gt(info_of(r).failures, 10);
	r->plane->quirks.refuse = 0;
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r, 30000);
	ck_assert(has(xdsrig_told(r), "up"));
	ck_assert_uint_eq(info_of(r).failures, 0);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_server_that_admits_nobody_at_first_is_asked_again)
{
	struct xdsrig *r = prepared();

	r->plane->quirks.refuse = 8;
	r->plane->quirks.refuse_text = "request rate limit exceeded";
	r->plane->quirks.refusals = 2;
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r, 4000);
	ck_assert_uint_eq(r->plane->nstreams, 3);
	ck_assert_str_eq(xdsrig_told(r), "down; +EDS " DEMO_CLUSTER "; EDS ok; up");
	xdsrig_free(&r);
}
END_TEST

START_TEST(who_may_not_come_in_waits_long_and_keeps_the_servers_own_words)
{
	static const struct { int status; const char *name; } rows[] = {{16, "UNAUTHENTICATED"}, {7, "PERMISSION_DENIED"}, {3, "INVALID_ARGUMENT"}};

	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct xdsrig *r = prepared();
		char text[200];
		r->plane->quirks.refuse = rows[i].status;
		r->plane->quirks.refuse_text = "authorization failed: no identities ([spiffe://…]) matched default/consumer";
		xdsrig_start(r);
		snprintf(text, sizeof(text), ISTIOD ": %s: authorization failed: no identities ([spiffe://…]) matched default/consumer", rows[i].name);
		ck_assert_str_eq(ads_last_error(r->ads), text);
		ck_assert_str_eq(ads_state_name(r->ads), "back-off");
		xdsrig_advance(r, 14900);
		ck_assert_uint_eq(r->plane->nstreams, 1);
		xdsrig_advance(r, 15200);
		ck_assert_uint_eq(r->plane->nstreams, 2);
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(bad_news_of_another_kind_is_told_the_same_is_not)
{
	struct xdsrig *r = prepared();

	plane_listen(r->plane, false);
	xdsrig_start(r);
	xdsrig_advance(r, 100000);
	ck_assert_str_eq(xdsrig_told(r), "down");
	ck_assert(has(r->logged.p, ISTIOD ": connection refused; trying again"));
	plane_listen(r->plane, true);
	r->plane->quirks.refuse = 16;
	xdsrig_advance(r, 100000);
	ck_assert_str_eq(xdsrig_told(r), "down");
	ck_assert_uint_eq(r->plane->accepted > 2, true);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_server_that_answers_and_ends_each_stream_does_not_fill_the_log)
{
	struct xdsrig *r = prepared();
	uint32_t lines = 0;

	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	for (int i = 0; i < 40; i++) {
		xdsrig_advance(r, 1200);
		plane_cut(r->plane);
	}
	ck_assert_uint_gt(r->plane->nstreams, 20);
	for (const char *at = r->logged.p; (at = strstr(at, "xds '")); at++)
		lines++;
	ck_assert_msg(lines >= 4 && lines <= 12, "%u lines", lines);
	xdsrig_free(&r);
}
END_TEST

START_TEST(servers_are_tried_in_order_and_the_first_one_again_when_a_stream_ends)
{
	struct xdsrig *r = prepared();

	two_servers(r, OTHER);
	xdsrig_other(r, OTHER, PLANE_ISTIO);
	plane_listen(r->plane, false);
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r); /* at once: only when none works there is a back-off */
	ck_assert_uint_eq(plane_open(r->other), 1);
	ck_assert_str_eq(ads_server(r->ads), OTHER);
	plane_listen(r->plane, true);
	plane_cut(r->other);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_eq(plane_open(r->other), 0);
	ck_assert_str_eq(ads_server(r->ads), ISTIOD);
	/* A server that refuses the stream is no better than one that is not there. */
	r->plane->quirks.refuse = 14;
	plane_end_streams(r->plane, 14, "bye");
	xdsrig_advance(r, 1100);
	ck_assert_uint_eq(plane_open(r->other), 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(after_a_stream_that_answered_the_next_comes_at_once_but_not_twice_in_a_second)
{
	struct xdsrig *r = connected();

	plane_end_streams(r->plane, 14, "bye");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_eq(r->plane->nstreams, 2);
	ck_assert_str_eq(xdsrig_told(r), "down; +EDS " DEMO_CLUSTER "; EDS ok; up");
	/* A server that answers and ends the stream, again and again: as an unknown type makes istiod do. */
	for (int i = 0; i < 50; i++) {
		plane_end_streams(r->plane, 16, "the api generator requires an authenticated control-plane identity");
		xdsrig_advance(r, 100);
	}
	ck_assert_uint_le(r->plane->nstreams, 2 + 5 * 3);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_server_that_ends_each_stream_in_the_breath_of_its_answer_is_asked_ever_more_seldom)
{
	struct xdsrig *r = connected();

	xdsrig_advance(r, 5000);
	for (int i = 0; i < 12000; i++) { /* two minutes */
		if (plane_open(r->plane))
			plane_end_streams(r->plane, 0, "");
		xdsrig_advance(r, 10);
	}
	ck_assert_msg(r->plane->nstreams >= 8 && r->plane->nstreams <= 30, "%u streams", r->plane->nstreams);
	/* It has become another one: what was is forgotten. */
	xdsrig_advance(r, 31000);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	uint32_t was = r->plane->nstreams;
	plane_end_streams(r->plane, 0, "");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_eq(r->plane->nstreams, was + 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_stream_that_the_server_ends_in_order_is_lost_like_any_other)
{
	struct xdsrig *r = connected();

	plane_end_streams(r->plane, 0, "");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert(has(ads_last_error(r->ads), "the server ended the stream"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_message_of_2_GiB_is_refused_by_its_announcement)
{
	struct xdsrig *r = connected();
	static const uint8_t huge[5] = {0, 0x7f, 0xff, 0xff, 0xff};

	r->loop->memory.limit = 256 << 20;
	plane_raw(r->plane, huge, 5);
	xdsrig_settle(r);
	ck_assert_msg(has(ads_last_error(r->ads), "a message of 2147483647 bytes is too large"), "%s", ads_last_error(r->ads));
	ck_assert_uint_eq(r->plane->nstreams, 2); /* another try, without a storm */
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_message_of_64_MiB_is_taken_as_a_stream_whatever_little_memory_there_is)
{
	struct xdsrig *r = connected();
	struct sb m = {0}, any = {0};
	size_t n = 60 << 20;
	char *filler = xalloc(n);
	size_t before = r->taken;

	pb_text(&any, 1, plane_type_url[XDS_EDS]);
	pb_bytes(&any, 2, filler, n);
	pb_sub(&m, 2, &any);
	pb_text(&m, 4, plane_type_url[XDS_EDS]);
	pb_text(&m, 5, "big");
	r->loop->memory.limit = 8 << 20;
	r->loop->memory.peak = 0;
	plane_message(r->plane, m.p, m.n);
	xdsrig_advance(r, 1000);
	ck_assert_uint_eq(r->taken - before, n);
	ck_assert_str_eq(plane_last(r->plane, XDS_EDS)->nonce, "big");
	ck_assert_uint_lt(r->loop->memory.peak, 4 << 20);
	r->loop->memory.limit = SIZE_MAX;
	free(filler);
	sb_end(&m);
	xdsrig_free(&r);
}
END_TEST

/* ---- the token ---- */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(the_token_is_read_for_each_stream_and_without_one_none_is_opened)
{
	static const struct { const char *text, *why; } rows[] = {{NULL, "No such file or directory"}, {"", "the file is empty"}, {" \n\n", "the file is empty"},
		{"two words\n", "blanks or control characters inside"}, {"a\nb", "blanks or control characters inside"}, {"\xc3\xa4", "blanks or control characters inside"}};
	struct xdsrig *r = prepared();
	char dir[] = "/tmp/thinmesh-token-XXXXXX", path[64], text[200];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/token", dir);
	xdsrig_tls(r);
	r->plane->tls = NULL;
	r->conf.tls.token_file = path;
	xdsrig_start(r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		if (rows[i].text)
			write_file(path, rows[i].text);
		xdsrig_advance(r, 30000);
		snprintf(text, sizeof(text), ISTIOD ": token_file %s: ", path);
		ck_assert_msg(strncmp(ads_last_error(r->ads), text, strlen(text)) == 0 && has(ads_last_error(r->ads), rows[i].why), "row %zu: %s", i, ads_last_error(r->ads));
		ck_assert_uint_eq(r->plane->accepted, 0);
	}
	/* A good one: a connection is made (and the plane, which speaks no TLS, ends it). */
	write_file(path, "abc.def.ghi\n");
	xdsrig_advance(r, 30000);
	ck_assert_uint_gt(r->plane->accepted, 0);
	ck_assert_uint_eq(r->plane->nstreams, 0);
	ck_assert_msg(!has(ads_last_error(r->ads), "token"), "%s", ads_last_error(r->ads));
	xdsrig_free(&r);
	/* Sent with each stream as it is then (without TLS where conf lets it through). */
	r = prepared();
	r->conf.tls.token_file = path;
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "authorization"), "Bearer abc.def.ghi");
	write_file(path, "renewed");
	plane_cut(r->plane);
	xdsrig_settle(r);
	ck_assert_uint_eq(r->plane->nstreams, 2);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "authorization"), "Bearer renewed");
	unlink(path);
	rmdir(dir);
	xdsrig_free(&r);
}
END_TEST

/* ---- keepalive ---- */

START_TEST(an_idle_stream_is_pinged_and_stays)
{
	struct xdsrig *r = connected();

	xdsrig_advance(r, 600000);
	ck_assert_uint_eq(r->plane->nstreams, 1);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_server_that_answers_no_PING_is_left_after_20_seconds)
{
	struct xdsrig *r = connected();

	plane_stall(r->plane, true);
	xdsrig_advance(r, 49000);
	ck_assert_str_eq(xdsrig_told(r), "");
	xdsrig_advance(r, 1500);
	ck_assert_str_eq(xdsrig_told(r), "down; +EDS " DEMO_CLUSTER "; EDS ok; up"); /* the new connection is read */
	ck_assert_msg(has(ads_last_error(r->ads), "no answer to a PING"), "%s", ads_last_error(r->ads));
	ck_assert_uint_eq(r->plane->accepted, 2);
	plane_stall(r->plane, false);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_thaw_asks_at_once_and_waits_2_seconds)
{
	struct xdsrig *r = connected();

	xdsrig_advance(r, 20000);
	plane_stall(r->plane, true);
	ads_thaw(r->ads);
	xdsrig_advance(r, 1900);
	ck_assert_str_eq(xdsrig_told(r), "");
	xdsrig_advance(r, 200);
	ck_assert(has(xdsrig_told(r), "down"));
	xdsrig_free(&r);
	/* And who answers stays. */
	r = connected();
	ads_thaw(r->ads);
	xdsrig_advance(r, 10000);
	ck_assert_uint_eq(r->plane->nstreams, 1);
	/* A second one within 15 s waits for its turn: istiod ends who pings faster. */
	plane_stall(r->plane, true);
	ads_thaw(r->ads);
	xdsrig_advance(r, 4900);
	ck_assert_str_eq(xdsrig_told(r), "");
	xdsrig_advance(r, 2200);
	ck_assert(has(xdsrig_told(r), "down"));
	plane_stall(r->plane, false);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_thaw_ends_a_back_off)
{
	struct xdsrig *r = prepared();

	r->plane->quirks.refuse = 16;
	r->plane->quirks.refusals = 1;
	xdsrig_start(r);
	xdsrig_advance(r, 1000);
	ck_assert_uint_eq(r->plane->nstreams, 1);
	ads_thaw(r->ads);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	xdsrig_free(&r);
}
END_TEST

/* ---- GOAWAY ---- */

START_TEST(a_GOAWAY_makes_a_new_stream_before_the_old_one_ends)
{
	struct xdsrig *r = connected();

	r->plane->quirks.slow_ms = 200;
	plane_goaway(r->plane);
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(plane_open(r->plane), 2);
	/* The old one is read until the new one has answered. */
	struct plane_stream *old = plane_stream_nth(r->plane, 0);
	ck_assert(old->stream != NULL);
	xdsrig_advance(r, 150);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_ptr_null(old->stream);
	ck_assert_uint_eq(plane_stream(r->plane)->number, 2);
	const char *told = xdsrig_told(r);
	ck_assert_msg(!has(told, "down") && has(told, "+EDS " DEMO_CLUSTER), "%s", told);
	ck_assert_uint_eq(r->plane->accepted, 2);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_push_on_the_old_stream_is_taken_and_acknowledged_there)
{
	struct xdsrig *r = connected();
	struct plane_stream *old = plane_stream(r->plane);

	plane_goaway(r->plane);
	r->plane->quirks.mute = true; /* the new stream hears nothing */
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(plane_open(r->plane), 2);
	r->plane->quirks.mute = false;
	xdsrig_told(r);
	/* On the old one alone: it is the only one whose names the plane has seen. */
	plane_names_clear(&plane_stream(r->plane)->watch[XDS_EDS].names);
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.4:1");
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok");
	ck_assert_ptr_eq(plane_last(r->plane, XDS_EDS)->stream, old);
	ck_assert_str_eq(plane_last(r->plane, XDS_EDS)->names.p, DEMO_CLUSTER);
	xdsrig_free(&r);
}
END_TEST

START_TEST(connections_that_get_old_every_half_hour_cost_nothing)
{
	struct xdsrig *r = prepared();

	r->plane->quirks.max_age_ms = 30 * 60 * 1000;
	r->plane->quirks.grace_ms = 10000;
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_settle(r);
	xdsrig_told(r);
	for (int i = 0; i < 5; i++) {
		xdsrig_advance(r, 31 * 60 * 1000);
		const char *told = xdsrig_told(r);
		ck_assert_msg(!has(told, "down") && !has(told, "up"), "%s", told);
		ck_assert_uint_eq(plane_open(r->plane), 1);
		ck_assert_uint_eq(r->plane->nstreams, (uint32_t)i + 2);
	}
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_stream_that_could_not_be_replaced_in_time_is_down_and_comes_back)
{
	struct xdsrig *r = connected();

	plane_listen(r->plane, false);
	plane_goaway(r->plane);
	xdsrig_advance(r, 9000);
	ck_assert_str_eq(xdsrig_told(r), "");
	ck_assert_uint_eq(plane_open(r->plane), 1);
	/* Still subscribed, still changing. */
	plane_endpoints(r->plane, DEMO, 50051, "10.0.0.4:1");
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "+EDS " DEMO_CLUSTER "; EDS ok");
	xdsrig_advance(r, 2000);
	ck_assert_str_eq(xdsrig_told(r), "down");
	plane_listen(r->plane, true);
	xdsrig_advance(r, 31000);
	ck_assert(has(xdsrig_told(r), "up"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(the_one_that_was_to_take_over_fails_and_the_old_one_goes_on_with_new_names)
{
	struct xdsrig *r = connected();

	plane_service(r->plane, ECHO, 50051, "10.0.0.3:1");
	xdsrig_settle(r);
	r->plane->quirks.grace_ms = 600000;
	plane_goaway(r->plane);
	r->plane->quirks.mute = true;
	xdsrig_advance(r, 100);
	ck_assert_uint_eq(plane_open(r->plane), 2);
	xdsrig_want(r, XDS_EDS, ECHO_CLUSTER); /* goes to the new one */
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_last(r->plane, XDS_EDS)->stream->number, 2);
	r->plane->quirks.mute = false;
	r->plane->quirks.refuse = 14;
	xdsrig_told(r);
	plane_finish(plane_stream(r->plane), 14, "no");
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_stream(r->plane)->number, 1);
	const char *told = xdsrig_told(r);
	ck_assert_msg(has(told, "+EDS " ECHO_CLUSTER) && !has(told, "down"), "%s", told);
	xdsrig_free(&r);
}
END_TEST

START_TEST(while_two_streams_are_read_a_message_of_one_never_mixes_with_that_of_the_other)
{
	struct xdsrig *r = connected();
	struct sb m = {0}, any = {0}, value = {0};

	pb_text(&value, 1, DEMO_CLUSTER);
	for (int i = 0; i < 100; i++)
		pb_text(&value, 9, "filler, so that the half of it can be sent");
	pb_any(&any, 2, plane_type_url[XDS_EDS], &value);
	uint8_t prefix[5] = {0, 0, 0, (uint8_t)(any.n >> 8), (uint8_t)any.n};
	sb_add(&m, (const char *)prefix, 5);
	sb_add(&m, any.p, any.n);
	plane_raw(r->plane, m.p, m.n / 2);
	plane_goaway(r->plane);
	xdsrig_told(r);
	xdsrig_advance(r, 100);
	/* The new one answered while the old one was in the middle of a resource: that is given up, and nothing is lost. */
	ck_assert_str_eq(xdsrig_told(r), "cut; +EDS " DEMO_CLUSTER "; EDS ok");
	ck_assert_uint_eq(plane_open(r->plane), 1);
	sb_end(&m);
	sb_end(&any);
	xdsrig_free(&r);
}
END_TEST

/* ---- TLS ---- */

#define SHOP "spiffe://cluster.local/ns/default/sa/shop"
#define ISTIOD_NAME "istiod.istio-system.svc:15010"

static struct xdsrig *tls_prepared(const char *server)
{
	struct xdsrig *r = prepared();

	xdsrig_tls(r);
	free(r->servers[0]);
	r->servers[0] = xstrdup(server);
	dns_table_set(r->dns, "istiod.istio-system.svc", "10.9.0.1", 60 * SEC);
	return r;
}

static void tls_start(struct xdsrig *r)
{
	xdsrig_start(r);
	xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
	xdsrig_advance(r, 20);
}

START_TEST(without_a_token_a_stream_waits_for_the_certificate)
{
	struct xdsrig *r = tls_prepared(ISTIOD_NAME);

	tls_start(r);
	xdsrig_advance(r, 20000);
	ck_assert_uint_eq(r->plane->accepted, 0);
	ck_assert_msg(has(ads_last_error(r->ads), "'default' of the test has not come"), "%s", ads_last_error(r->ads));
	xdsrig_put_cert(r, SHOP);
	xdsrig_advance(r, 20); /* no back-off outlives it */
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_str_eq(r->plane->last_peer, SHOP);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), ":scheme"), "https");
	ck_assert_str_eq(plane_field(plane_stream(r->plane), ":authority"), ISTIOD_NAME);
	ck_assert(has(xdsrig_told(r), "up"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(first_the_token_then_the_certificate)
{
	struct xdsrig *r = tls_prepared(ISTIOD);
	char dir[] = "/tmp/thinmesh-token-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/token", dir);
	write_file(path, "abc");
	r->conf.tls.token_file = path;
	tls_start(r);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_str_eq(r->plane->last_peer, "");
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "authorization"), "Bearer abc");
	xdsrig_put_cert(r, SHOP);
	xdsrig_advance(r, 5000);
	ck_assert_uint_eq(r->plane->nstreams, 1); /* it goes on */
	plane_cut(r->plane);
	xdsrig_advance(r, 2000);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_str_eq(r->plane->last_peer, SHOP);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "authorization"), "Bearer abc");
	unlink(path);
	rmdir(dir);
	xdsrig_free(&r);
}
END_TEST

START_TEST(token_and_certificate_stand_in_for_each_other)
{
	struct xdsrig *r = tls_prepared(ISTIOD);
	char dir[] = "/tmp/thinmesh-token-XXXXXX", path[64];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/token", dir);
	write_file(path, "abc");
	r->conf.tls.token_file = path;
	xdsrig_put_cert_for(r, SHOP, 3600);
	tls_start(r);
	ck_assert_str_eq(r->plane->last_peer, SHOP);
	/* The token is gone: who we are is known all the same. */
	unlink(path);
	for (int i = 0; i < 2; i++) {
		plane_cut(r->plane);
		xdsrig_advance(r, 5000);
		ck_assert_uint_eq(plane_open(r->plane), 1);
		ck_assert_str_eq(r->plane->last_peer, SHOP);
		ck_assert_ptr_null(plane_field(plane_stream(r->plane), "authorization"));
	}
	ck_assert(has(r->logged.p, "No such file or directory; the certificate speaks for us"));
	/* The certificate has ended: a server that is shown it says no, whatever the token is worth. */
	write_file(path, "abc");
	xdsrig_advance(r, 3600 * 1000);
	plane_cut(r->plane);
	xdsrig_advance(r, 5000);
	ck_assert_msg(plane_open(r->plane) == 1, "%s", ads_last_error(r->ads));
	ck_assert_str_eq(r->plane->last_peer, "");
	ck_assert_str_eq(plane_field(plane_stream(r->plane), "authorization"), "Bearer abc");
	/* The next one is shown again. */
	authority_set_now(r->authority, (int64_t)(r->loop->ops->wall_ns(r->loop->ops_ctx) / 1000000000));
	xdsrig_put_cert_for(r, SHOP, 3600);
	plane_cut(r->plane);
	xdsrig_advance(r, 5000);
	ck_assert_str_eq(r->plane->last_peer, SHOP);
	/* Neither is any good: nobody is asked. */
	unlink(path);
	xdsrig_advance(r, 3600 * 1000);
	uint32_t before = r->plane->accepted;
	plane_cut(r->plane);
	xdsrig_advance(r, 60000);
	ck_assert_uint_eq(r->plane->accepted, before);
	ck_assert(has(ads_last_error(r->ads), "No such file or directory"));
	rmdir(dir);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_certificate_that_is_renewed_is_for_the_next_stream)
{
	struct xdsrig *r = tls_prepared(ISTIOD);

	xdsrig_put_cert(r, SHOP);
	tls_start(r);
	for (int i = 0; i < 20; i++) {
		xdsrig_put_cert(r, SHOP);
		xdsrig_advance(r, 1000);
	}
	ck_assert_uint_eq(r->plane->nstreams, 1);
	ck_assert_uint_eq(r->plane->accepted, 1);
	ck_assert(!has(xdsrig_told(r), "down"));
	plane_cut(r->plane);
	xdsrig_advance(r, 2000);
	ck_assert_uint_eq(r->plane->nstreams, 2);
	/* Who has become another one is not to be heard as the one before: a new stream, before the old one ends. */
	(void)xdsrig_told(r);
	xdsrig_put_cert(r, SHOP "-3");
	xdsrig_advance(r, 2000);
	ck_assert_str_eq(r->plane->last_peer, SHOP "-3");
	ck_assert_uint_eq(r->plane->nstreams, 3);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert(!has(xdsrig_told(r), "down"));
	xdsrig_free(&r);
}
END_TEST

START_TEST(other_roots_make_a_new_stream_before_the_old_one_ends)
{
	struct xdsrig *r = tls_prepared(ISTIOD);
	struct authority *other = authority_new("other", (int64_t)(r->loop->ops->wall_ns(r->loop->ops_ctx) / SEC));
	struct sb both = {0};

	sb_fmt(&both, "%s%s", authority_pem(r->authority), authority_pem(other));
	xdsrig_put_cert(r, SHOP);
	tls_start(r);
	ck_assert(has(xdsrig_told(r), "up"));
	xdsrig_advance(r, 5000);
	xdsrig_put_roots(r, both.p); /* the more of them take nothing back */
	xdsrig_advance(r, 2000);
	ck_assert_uint_eq(r->plane->nstreams, 1);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert(!has(xdsrig_told(r), "down"));
	/* Roots that the server's certificate does not come from: the stream that stands is not taken away, for the next one might fail; it is told. */
	xdsrig_put_roots(r, authority_pem(other));
	xdsrig_advance(r, 5000);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_gt(r->plane->unshaken, 0);
	xdsrig_put_roots(r, authority_pem(r->authority));
	xdsrig_advance(r, 50);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_uint_eq(r->plane->nstreams, 2);
	ck_assert(!has(xdsrig_told(r), "down"));
	xdsrig_free(&r);
	authority_free(&other);
	sb_end(&both);
}
END_TEST

START_TEST(an_app_without_an_identity_shows_nothing_unless_one_is_demanded)
{
	for (int demanded = 0; demanded < 2; demanded++) {
		struct xdsrig *r = tls_prepared(ISTIOD);
		secret_unref(&r->cert);
		r->conf.tls.identity_demanded = demanded;
		tls_start(r);
		ck_assert_uint_eq(plane_open(r->plane), !demanded);
		ck_assert_str_eq(r->plane->last_peer, "");
		if (demanded)
			ck_assert_str_eq(ads_last_error(r->ads), ISTIOD ": the app has no identity");
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(a_server_of_another_name_is_told_with_both_names)
{
	struct xdsrig *r = tls_prepared("other.svc:15010");

	dns_table_set(r->dns, "other.svc", "10.9.0.1", 60 * SEC);
	xdsrig_put_cert(r, SHOP);
	tls_start(r);
	ck_assert_uint_eq(r->plane->nstreams, 0);
	ck_assert_msg(has(ads_last_error(r->ads), "other.svc") && has(ads_last_error(r->ads), "istiod.istio-system.svc"), "%s", ads_last_error(r->ads));
	xdsrig_free(&r);
}
END_TEST

START_TEST(an_agents_socket_is_spoken_to_in_plain_text_beside_servers_over_tls)
{
	struct xdsrig *r = tls_prepared("unix:/run/agent.sock");

	xdsrig_other(r, "unix:/run/agent.sock", PLANE_ISTIO);
	two_servers(r, ISTIOD);
	xdsrig_put_cert(r, SHOP);
	tls_start(r);
	ck_assert_uint_eq(plane_open(r->other), 1);
	ck_assert_str_eq(plane_field(plane_stream(r->other), ":scheme"), "http");
	plane_kill(r->other);
	xdsrig_advance(r, 3000);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	ck_assert_str_eq(plane_field(plane_stream(r->plane), ":scheme"), "https");
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_try_over_tls_may_be_ended_in_every_stage)
{
	for (uint64_t us = 0; us < 10000; us += 500) {
		struct xdsrig *r = tls_prepared(ISTIOD_NAME);
		simnet_knobs(r->net)->latency_ns = MS;
		xdsrig_put_cert(r, SHOP);
		xdsrig_start(r);
		simnet_advance(r->net, us * 1000);
		if (us % 1000)
			xdsrig_put_roots(r, authority_pem(r->authority));
		xdsrig_free(&r);
	}
}
END_TEST

START_TEST(another_configuration_makes_a_new_stream_before_the_old_one_ends)
{
	struct xdsrig *r = connected();
	struct conf_xds next = r->conf;
	char *servers[1] = {(char *)OTHER};

	xdsrig_other(r, OTHER, PLANE_ISTIO);
	plane_service(r->other, DEMO, 50051, "10.0.0.1:1");
	next.servers = servers;
	sub_conf(r->sub, &next, "\x0a\x0bsidecar~a~~", 13);
	ads_conf(r->ads, &next);
	xdsrig_settle(r);
	ck_assert_uint_eq(plane_open(r->plane), 0);
	ck_assert_uint_eq(plane_open(r->other), 1);
	ck_assert_str_eq(plane_field(plane_stream(r->other), ":authority"), OTHER); /* not that of the one it replaces */
	ck_assert_str_eq(plane_request(r->other, PLANE_ANY, 0)->node_id, "sidecar~a~~");
	ck_assert(!has(xdsrig_told(r), "down"));
	/* TLS that cannot be had: told, and what there is goes on; never the other one in plain text. */
	struct conf_xds bad = next;
	bad.tls.on = true;
	ads_conf(r->ads, &bad);
	xdsrig_advance(r, 30000);
	ck_assert_str_eq(ads_last_error(r->ads), OTHER ": TLS is not to be had here");
	ck_assert_uint_eq(r->other->accepted, 1);
	ck_assert_uint_eq(plane_open(r->other), 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(a_restart_ends_the_stream_and_opens_another_one)
{
	struct xdsrig *r = connected();

	ads_restart(r->ads, "asked for");
	xdsrig_settle(r);
	ck_assert_str_eq(xdsrig_told(r), "down; +EDS " DEMO_CLUSTER "; EDS ok; up");
	ck_assert_uint_eq(r->plane->nstreams, 2);
	ads_restart(r->ads, "asked for"); /* not twice in a second */
	xdsrig_settle(r);
	ck_assert_uint_le(r->plane->nstreams, 3);
	xdsrig_advance(r, 1100);
	ck_assert_uint_eq(plane_open(r->plane), 1);
	xdsrig_free(&r);
}
END_TEST

START_TEST(it_can_be_freed_at_any_moment)
{
	for (uint64_t us = 0; us < 40000; us += 500) {
		struct xdsrig *r = prepared();
		free(r->servers[0]);
		r->servers[0] = xstrdup("istiod.istio-system.svc:15010");
		dns_table_set(r->dns, "istiod.istio-system.svc", "10.9.0.1", 60 * SEC);
		simnet_knobs(r->net)->latency_ns = 5 * MS;
		xdsrig_start(r);
		xdsrig_want(r, XDS_EDS, DEMO_CLUSTER);
		simnet_advance(r->net, us * 1000);
		if (us % 2000 == 0)
			plane_goaway(r->plane);
		if (us % 3000 == 0)
			plane_cut(r->plane);
		simnet_advance(r->net, us * 500);
		xdsrig_free(&r);
	}
}
END_TEST

UNIT_SUITE("ads", a_stream_is_up_when_its_first_message_has_come, a_name_is_resolved_for_each_try, a_unix_socket_is_a_server_too, further_metadata_goes_with_each_stream,
	tries_are_spread_and_grow_apart_to_half_a_minute, a_server_that_admits_nobody_at_first_is_asked_again,
	who_may_not_come_in_waits_long_and_keeps_the_servers_own_words, bad_news_of_another_kind_is_told_the_same_is_not, a_server_that_answers_and_ends_each_stream_does_not_fill_the_log,
	servers_are_tried_in_order_and_the_first_one_again_when_a_stream_ends, after_a_stream_that_answered_the_next_comes_at_once_but_not_twice_in_a_second,
	a_server_that_ends_each_stream_in_the_breath_of_its_answer_is_asked_ever_more_seldom,
	a_stream_that_the_server_ends_in_order_is_lost_like_any_other, a_message_of_2_GiB_is_refused_by_its_announcement,
	a_message_of_64_MiB_is_taken_as_a_stream_whatever_little_memory_there_is, the_token_is_read_for_each_stream_and_without_one_none_is_opened,
	an_idle_stream_is_pinged_and_stays, a_server_that_answers_no_PING_is_left_after_20_seconds, a_thaw_asks_at_once_and_waits_2_seconds, a_thaw_ends_a_back_off,
	a_GOAWAY_makes_a_new_stream_before_the_old_one_ends, a_push_on_the_old_stream_is_taken_and_acknowledged_there, connections_that_get_old_every_half_hour_cost_nothing,
	a_stream_that_could_not_be_replaced_in_time_is_down_and_comes_back, the_one_that_was_to_take_over_fails_and_the_old_one_goes_on_with_new_names,
	while_two_streams_are_read_a_message_of_one_never_mixes_with_that_of_the_other, another_configuration_makes_a_new_stream_before_the_old_one_ends,
	without_a_token_a_stream_waits_for_the_certificate, first_the_token_then_the_certificate, token_and_certificate_stand_in_for_each_other, a_certificate_that_is_renewed_is_for_the_next_stream,
	other_roots_make_a_new_stream_before_the_old_one_ends, an_app_without_an_identity_shows_nothing_unless_one_is_demanded, a_server_of_another_name_is_told_with_both_names,
	an_agents_socket_is_spoken_to_in_plain_text_beside_servers_over_tls, a_try_over_tls_may_be_ended_in_every_stage,
	a_restart_ends_the_stream_and_opens_another_one, it_can_be_freed_at_any_moment)
