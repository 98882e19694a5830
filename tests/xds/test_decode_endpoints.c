/* xds/decode_endpoints: assignments as control planes send them become sets; every rule of the API is kept with the place told; the pieces in which the bytes come
 * change nothing; what is known already is shared; what the account refuses is given back. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include "base/err.h"
#include "tests/unit.h"
#include "tests/xds/edsrig.h"
#include "tests/xds/wiretext.h"

struct rig {
	struct account account;
	struct endpoint_metas *metas;
	struct endpoint_set *old;   /* what find answers; a loan */
	struct str asked;
	uint32_t finds;
	char name[256];             /* of the last one decoded */
	char why[512];
	char notes[256];
};

static void rig_begin(struct rig *r)
{
	*r = (struct rig){0};
	account_init(&r->account, NULL, "test", SIZE_MAX);
	r->metas = endpoint_metas_new(&r->account, 7);
}

static void rig_end(struct rig *r)
{
	endpoint_metas_free(&r->metas);
	ck_assert_uint_eq(r->account.used, 0);
	account_end(&r->account);
}

static struct endpoint_set *find(void *ctx, struct str name)
{
	struct rig *r = ctx;
	r->asked = name;
	r->finds++;
	return r->old;
}

/* In pieces of that size; NULL: refused, r->why says why. */
static struct endpoint_set *decode_pieces(struct rig *r, struct str bytes, size_t piece, int *ret_code)
{
	struct endpoint_set *set = NULL;
	struct sb problems = {0};
	struct str name;
	struct eds_decoder *d = eds_decoder_new(&r->account, r->metas, find, r);
	if (!d) {
		*ret_code = -ENOMEM;
		snprintf(r->why, sizeof(r->why), "new");
		return NULL;
	}
	for (size_t at = 0; at < bytes.n; at += piece) {
		size_t n = bytes.n - at < piece ? bytes.n - at : piece;
		uint8_t *exact = malloc(n); /* a read behind the piece is seen by AddressSanitizer */
		memcpy(exact, bytes.p + at, n);
		eds_decoder_bytes(d, exact, n);
		free(exact);
	}
	*ret_code = eds_decoder_end(d, &set, &name, &problems);
	ck_assert((*ret_code == 0) == (set != NULL));
	ck_assert((*ret_code == 0) == (problems.n == 0));
	snprintf(r->name, sizeof(r->name), "%.*s", (int)name.n, name.p);
	snprintf(r->why, sizeof(r->why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	snprintf(r->notes, sizeof(r->notes), "%s", eds_decoder_notes(d) ? eds_decoder_notes(d) : "");
	sb_end(&problems);
	eds_decoder_free(&d);
	return set;
}

static struct endpoint_set *decode(struct rig *r, const struct sb *m)
{
	int code;
	struct endpoint_set *s = decode_pieces(r, sb_view(m), m->n ? m->n : 1, &code);
	ck_assert_msg(s != NULL, "refused: %s", r->why);
	return s;
}

/* Two localities, two priorities, every kind of address. */
static struct sb mixed(void)
{
	struct sb m = {0}, g = {0};
	eds_put_name(&m, "outbound|50051||demo.default.svc.cluster.local");
	eds_put_locality(&g, "eu", "eu-a", "rack-1");
	eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 50051, .weight = 3, .health = 1, .workload = "demo-0;default;demo;v1;K", .tls_mode = "istio"});
	eds_put_ep(&g, &(struct eds_ep){.address = "fd00::1", .port = 1, .health = 2, .also = "10.0.0.2"});
	eds_put_ep(&g, &(struct eds_ep){.address = "/run/demo.sock", .health = 3, .lb_key = "hash_key", .lb_value = "a"});
	eds_put_weight(&g, 7);
	eds_put_group(&m, &g);
	eds_put_ep(&g, &(struct eds_ep){.address = "Demo.Example.test", .port = 65535, .weight = UINT32_MAX - 1, .health = 5});
	eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.3", .port = 9, .health = 4, .tls_mode = "disabled", .lb_key = "v", .lb_value = "2"});
	eds_put_priority(&g, 1);
	eds_put_group(&m, &g);
	return m;
}

START_TEST(an_assignment_becomes_a_set)
{
	struct rig r;
	struct endpoint e;
	struct addr more[ENDPOINT_ADDRS];
	char text[ADDR_TEXT];
	struct sb m = mixed();
	rig_begin(&r);
	struct endpoint_set *s = decode(&r, &m);
	ck_assert_str_eq(r.name, "outbound|50051||demo.default.svc.cluster.local");
	ck_assert_uint_eq(endpoints_count(s), 5);
	ck_assert_uint_eq(endpoints_overprovisioning(s), 0);
	ck_assert(endpoints_has_names(s));

	endpoint_get(s, 0, &e);
	ck_assert_str_eq(addr_text(&e.addr, text), "10.0.0.1:50051");
	ck_assert_uint_eq(e.weight, 3);
	ck_assert_uint_eq(e.health, EP_HEALTHY);
	ck_assert_uint_ne(e.incarnation, 0);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "istio");
	ck_assert_str_eq(e.locality->region, "eu");
	ck_assert_str_eq(e.locality->zone, "eu-a");
	ck_assert_str_eq(e.locality->sub_zone, "rack-1");
	ck_assert_uint_eq(e.locality->weight, 7);
	ck_assert_uint_eq(e.priority, 0);

	endpoint_get(s, 1, &e);
	ck_assert_uint_eq(e.naddrs, 2);
	ck_assert_uint_eq(e.weight, 1);
	ck_assert_uint_eq(e.health, EP_UNHEALTHY);
	ck_assert_uint_eq(e.incarnation, 0);
	ck_assert(e.meta == NULL);
	ck_assert_uint_eq(endpoint_addrs(s, 1, more, ENDPOINT_ADDRS), 2);
	ck_assert_str_eq(addr_text(&more[0], text), "[fd00::1]:1");
	ck_assert_str_eq(addr_text(&more[1], text), "10.0.0.2:1");

	endpoint_get(s, 2, &e);
	ck_assert_str_eq(addr_text(&e.addr, text), "unix:/run/demo.sock");
	ck_assert_uint_eq(e.health, EP_DRAINING);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "envoy.lb/hash_key"), "a");

	endpoint_get(s, 3, &e);
	ck_assert_str_eq(e.host, "demo.example.test");
	ck_assert_uint_eq(e.port, 65535);
	ck_assert_uint_eq(e.weight, UINT32_MAX - 1);
	ck_assert_uint_eq(e.health, EP_DEGRADED);
	ck_assert_uint_eq(e.priority, 1);

	endpoint_get(s, 4, &e);
	ck_assert_uint_eq(e.health, EP_UNHEALTHY); /* TIMEOUT */
	ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "disabled");
	ck_assert_str_eq(endpoint_meta_value(e.meta, "envoy.lb/v"), "2");
	endpoints_unref(&s);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(the_pieces_in_which_it_comes_change_nothing)
{
	struct rig r;
	int code;
	struct sb m = mixed();
	rig_begin(&r);
	struct endpoint_set *whole = decode(&r, &m);
	for (size_t piece = 1; piece <= m.n; piece++) {
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), piece, &code);
		ck_assert_msg(s != NULL, "pieces of %zu: %s", piece, r.why);
		ck_assert_uint_eq(endpoints_hash(s), endpoints_hash(whole));
		endpoints_unref(&s);
	}
	endpoints_unref(&whole);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(a_message_that_is_cut_is_refused_wherever_it_is_cut)
{
	struct rig r;
	int code;
	struct sb m = mixed();
	struct wire w = wire_of(sb_view(&m));
	struct wire_field f;
	bool whole[4096] = {false}; /* behind a field of the message itself it is whole */
	rig_begin(&r);
	ck_assert_uint_lt(m.n, sizeof(whole));
	while (wire_next(&w, &f) > 0)
		whole[(const char *)w.at - m.p] = true;
	for (size_t n = 0; n < m.n; n++) {
		struct endpoint_set *s = decode_pieces(&r, str_n(m.p, n), n ? n : 1, &code);
		ck_assert_msg((s != NULL) == (whole[n] && n > 0), "%zu bytes: %s", n, r.why);
		struct endpoint_set *slowly = decode_pieces(&r, str_n(m.p, n), 1, &code);
		ck_assert((s != NULL) == (slowly != NULL));
		if (s)
			endpoints_unref(&s);
		if (slowly)
			endpoints_unref(&slowly);
	}
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* Each row is a message of one group, whose bytes it gives; its reason begins like that. */
START_TEST(what_breaks_a_rule_is_refused_with_its_place)
{
	static const struct { struct eds_ep ep; const char *why; } eps[] = {
		{{.address = "10.0.0.1", .port = 70000}, "endpoints[0].lb_endpoints[1].endpoint.address: port 70000"},
		{{.address = "10.0.0.1", .port = 0}, "endpoints[0].lb_endpoints[1].endpoint.address: port 0"},
		{{.address = "", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: empty"},
		{{.address = "10.0.0.256", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: '10.0.0.256' is neither"},
		{{.address = "10.0.0.1.", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: '10.0.0.1.' is neither"},
		{{.address = "10.0.01.1", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: '10.0.01.1' is neither"},
		{{.address = "10.0.0.1x", .port = 1, .also = "a b"}, "endpoints[0].lb_endpoints[1].endpoint.additional_addresses: beside a host name"},
		{{.address = "10.0.0.1", .port = 1, .also = "a b"}, "endpoints[0].lb_endpoints[1].endpoint.additional_addresses: 'a b' is neither"},
		{{.address = "10.0.0.1", .port = 1, .also = "name"}, "endpoints[0].lb_endpoints[1].endpoint.additional_addresses: not an IP address"},
		{{.address = "a..b", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: 'a..b' is neither"},
		{{.address = "a/b", .port = 1}, "endpoints[0].lb_endpoints[1].endpoint.address: 'a/b' is neither"},
		{{.address = "@"}, "endpoints[0].lb_endpoints[1].endpoint.address: pipe '@': not an absolute path"},
		{{.address = "/a234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"},
			"endpoints[0].lb_endpoints[1].endpoint.address: pipe '/a23456789"},
		{{.address = NULL}, "endpoints[0].lb_endpoints[1].endpoint.address: missing"},
	};
	struct rig r;
	int code;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(eps); i++) {
		struct sb m = {0}, g = {0};
		eds_put_name(&m, "demo");
		eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.9", .port = 1});
		eds_put_ep(&g, &eps[i].ep);
		eds_put_group(&m, &g);
		ck_assert_msg(decode_pieces(&r, sb_view(&m), m.n, &code) == NULL, "row %zu", i);
		ck_assert_msg(!strncmp(r.why, eps[i].why, strlen(eps[i].why)), "row %zu: '%s'", i, r.why);
		ck_assert_str_eq(r.name, "demo");
		ck_assert_int_lt(code, 0);
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

/* The same for raw bytes: of an LbEndpoint, of a group, of the message behind its name. */
START_TEST(raw_bytes_that_break_a_rule_are_refused_with_their_place)
{
#define OK_EP "\x12\x13\x0a\x11\x0a\x0f\x0a\x0d\x12\x08" "10.0.0.1\x18\x01"
	static const struct { int where; struct str bytes; const char *why; } rows[] = {
		{0, STR(""), "endpoints[0].lb_endpoints[0].endpoint: missing"},
		{0, STR("\x0a\x00"), "endpoints[0].lb_endpoints[0].endpoint.address: missing"},
		{0, STR("\x0a\x05"), "endpoints[0].lb_endpoints[0]: malformed"},
		{0, STR("\x0a\x02\x0a\x05"), "endpoints[0].lb_endpoints[0].endpoint: malformed"},
		{0, STR("\x0a\x06\x0a\x04\x0a\x02\x08\x01"), "endpoints[0].lb_endpoints[0].endpoint.address: protocol 1 is not TCP"},
		{0, STR("\x0a\x0a\x0a\x08\x0a\x06\x12\x01x\x22\x01y"), "endpoints[0].lb_endpoints[0].endpoint.address: named_port is not supported"},
		{0, STR("\x0a\x09\x0a\x07\x12\x05\x0a\x00\x10\x80\x10"), "endpoints[0].lb_endpoints[0].endpoint.address: pipe without a path"},
		{0, STR("\x0a\x0b\x0a\x09\x12\x07\x0a\x02/a\x10\x80\x10"), "endpoints[0].lb_endpoints[0].endpoint.address: pipe mode 2048"},
		{0, STR("\x22\x00"), "endpoints[0].lb_endpoints[0].load_balancing_weight: 0"},
		{0, STR("\x22\x06\x08\x80\x80\x80\x80\x10"), "endpoints[0].lb_endpoints[0].load_balancing_weight: 4294967296"},
		{0, STR("\x22\x01\x08"), "endpoints[0].lb_endpoints[0].load_balancing_weight: malformed"},
		{0, STR("\x1a\x02\x0a\x00"), "endpoints[0].lb_endpoints[0].metadata.filter_metadata: empty key"},
		{0, STR("\x1a\x03\x0a\x01\x0a"), "endpoints[0].lb_endpoints[0].metadata.filter_metadata: malformed"},
		{0, STR("\x1a\x12\x0a\x10\x0a\x08" "envoy.lb\x12\x04\x0a\x02\x0a\x05"), "endpoints[0].lb_endpoints[0].metadata.filter_metadata: malformed"},
		{0, STR("\x1a\x16\x0a\x14\x0a\x08" "envoy.lb\x12\x08\x0a\x06\x0a\x01\x00\x12\x01\x1a"), "endpoints[0].lb_endpoints[0].metadata.filter_metadata: "},
		{1, STR("\x1a\x00"), "endpoints[0].load_balancing_weight: 0"},
		{1, STR("\x1a\x06\x08\x80\x80\x80\x80\x10"), "endpoints[0].load_balancing_weight: 4294967296"},
		{1, STR("\x28\x81\x01"), "endpoints[0].priority: 129 is above 128"},
		{1, STR("\x28\x01"), "endpoints.priority: 1 is there and 0 is not"},
		{1, STR("\x0a\x01\x0a"), "endpoints[0].locality: malformed"},
		{1, STR("\x0a\x03\x0a\x01\x00"), "endpoints[0].locality: a text is not UTF-8, or holds a NUL"},
		{1, STR("\x0a\x03\x0a\x01\xff"), "endpoints[0].locality: a text is not UTF-8, or holds a NUL"},
		{1, STR("\x12\x05"), "endpoints[0]: a field of 5 bytes does not fit"},
		{1, STR("\x12\x80\x80\x80\x80\x01"), "endpoints[0]: a field of 268435456 bytes does not fit"},
		{1, STR("\x0b\x0c"), "endpoints[0]: malformed at byte"},
		{1, STR("\x00\x00"), "endpoints[0]: malformed at byte"},
		{1, STR("\x28"), "endpoints[0]: malformed at byte"},
		{1, STR("\x11\x01\x02\x03"), "endpoints[0]: a field of 8 bytes does not fit"},
		{2, STR("\x22\x02\x1a\x00"), "policy.overprovisioning_factor: 0"},
		{2, STR("\x22\x02\x12\x00"), "policy.drop_overloads.category: empty"},
		{2, STR("\x22\x02\x22\x00"), "policy.endpoint_stale_after: not above 0"},
		{2, STR("\x22\x0d\x22\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "policy.endpoint_stale_after: not above 0"},
		{2, STR("\x22\x01\x1a"), "policy: malformed"},
		{2, STR("\x12\x00\x12\x00"), "endpoints[1].locality: '' is there twice with priority 0"},
		{2, STR("\x0a\x01\xff"), "cluster_name: not UTF-8, or with a NUL"},
		{2, STR("\x0a\x00"), "cluster_name: empty"},
		{2, STR("\x0a\x81\x20"), "cluster_name: 4097 bytes, more than 4096"},
		{2, STR("\x22\x81\x80\x01"), "policy: 16385 bytes, more than 16384"},
		{2, STR("\x12\x05"), "endpoints[0]: cut at byte"},
		{2, STR("\x80"), "endpoints[0]: cut at byte"},
	};
	struct rig r;
	int code;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		for (int slowly = 0; slowly < 2; slowly++) {
			struct sb m = {0}, g = {0};
			eds_put_name(&m, "demo");
			if (rows[i].where == 0)
				wire_put_bytes(&g, 2, rows[i].bytes);
			if (rows[i].where == 1)
				sb_add(&g, rows[i].bytes.p, rows[i].bytes.n);
			if (rows[i].where < 2)
				eds_put_group(&m, &g);
			else
				sb_add(&m, rows[i].bytes.p, rows[i].bytes.n);
			ck_assert_msg(decode_pieces(&r, sb_view(&m), slowly ? 1 : m.n, &code) == NULL, "row %zu", i);
			ck_assert_msg(!strncmp(r.why, rows[i].why, strlen(rows[i].why)), "row %zu: '%s'", i, r.why);
			sb_end(&m);
		}
	rig_end(&r);
#undef OK_EP
}
END_TEST

START_TEST(what_is_not_known_is_tolerated)
{
	struct rig r;
	struct sb m = {0}, g = {0}, named = {0}, inside = {0}, list = {0};
	rig_begin(&r);
	wire_put_bytes(&m, 5, STR("named_endpoints, whatever is in it"));
	wire_put_varint(&m, 999, 1);
	sb_add(&m, "\x3d\x01\x02\x03\x04", 5); /* 7: fixed32 */
	eds_put_name(&m, "demo");
	wire_put_bytes(&g, 8, STR("leds_cluster_locality_config"));
	wire_put_bytes(&g, 9, STR("metadata of the locality"));
	wire_put_fixed64(&g, 6, 3);
	wire_put_bytes(&named, 5, STR("an endpoint of named_endpoints"));
	wire_put_bytes(&g, 2, sb_view(&named));
	/* Istio's ambient mode: a listener inside of Envoy, which nobody else can dial. */
	wire_put_bytes(&g, 2, STR("\x0a\x0c\x0a\x0a\x1a\x08\x0a\x06" "inside"));
	eds_put_ep(&inside, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
	eds_put_ep(&list, &(struct eds_ep){.address = "10.0.0.2", .port = 2}); /* as 2; in a list endpoints are 1 */
	struct wire w = wire_of(sb_view(&list));
	struct wire_field f;
	ck_assert_int_eq(wire_next(&w, &f), 1);
	struct sb ones = {0};
	wire_put_bytes(&ones, 1, f.bytes);
	wire_put_bytes(&ones, 77, STR("?"));
	sb_add(&g, inside.p, inside.n);
	wire_put_bytes(&g, 7, sb_view(&ones)); /* load_balancer_endpoints */
	eds_put_group(&m, &g);
	wire_put_bytes(&m, 4, STR("\x12\x03\x0a\x01x\x1a\x03\x08\xc8\x01\x30\x01")); /* drop_overloads, overprovisioning 200, weighted_priority_health */
	struct endpoint_set *s = decode(&r, &m);
	ck_assert_uint_eq(endpoints_count(s), 2);
	ck_assert_uint_eq(endpoints_overprovisioning(s), 200);
	ck_assert_str_eq(r.notes, "policy.drop_overloads: no call is dropped");
	endpoints_unref(&s);
	sb_end(&named);
	sb_end(&inside);
	sb_end(&list);
	sb_end(&ones);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* The decoder has a short way for what messages look like mostly. Any other order, what nobody knows, repeated fields: it is the same endpoint. */
START_TEST(the_usual_shape_and_any_other_mean_the_same)
{
#define WORKLOAD "3:{1:{1:'istio' 2:{1:{1:'workload' 2:{3:'w'}}}}}"
	static const char *const same[][5] = {
		{"1:{1:{1:{2:'10.0.0.1' 3:50051}}} 2:1 " WORKLOAD " 4:{1:3}", "4:{1:3} " WORKLOAD " 2:1 1:{1:{1:{3:50051 2:'10.0.0.1'}}}",
			"1:{1:{1:{2:'10.0.0.1' 3:50051 9:1} 9:1} 9:1} 2:1 3:{1:{1:'istio' 2:{1:{1:'workload' 2:{3:'w' 9:1} 9:1} 9:1} 9:1} 9:1} 4:{1:3 9:1} 9:1",
			"1:{1:{1:{2:'x' 2:'10.0.0.1' 3:1 3:50051}}} 2:3 2:1 " WORKLOAD " 4:{1:9 1:3}",
			"1:{1:{1:{1:0 2:'10.0.0.1' 3:50051}}} 2:1 3:{1:{2:{1:{2:{3:'w'} 1:'workload'}} 1:'istio'}} 4:{1:3}"},
		{"1:{1:{1:{2:'10.0.0.1' 3:1}}}", "1:{1:{1:{3:1 2:'10.0.0.1'}}}", "1:{1:{1:{2:'10.0.0.1' 3:1 8:''}}}", "2:0 1:{1:{1:{2:'10.0.0.1' 3:1}}} 4:{1:1}", NULL},
		{"1:{1:{1:{2:'10.0.0.1' 3:8080}}}", "1:{1:{1:{3:8080 2:'10.0.0.1'}}}", "1:{1:{1:{2:'10.0.0.1' 3:8080 6:1}}}", NULL, NULL},
		{"1:{1:{1:{2:'255.255.255.255' 3:65535}}}", "1:{1:{1:{3:65535 2:'255.255.255.255'}}}", "1:{1:{1:{2:'::ffff:1.2.3.4'} 1:{2:'255.255.255.255' 3:65535}}}", NULL, NULL},
		{"1:{1:{1:{2:'a234567890123456789012345678901234567890.b234567890123456789012345678901234567890.c234567890123456789012345678901234567890.test' 3:5}}}",
			"1:{1:{1:{3:5 2:'a234567890123456789012345678901234567890.b234567890123456789012345678901234567890.c234567890123456789012345678901234567890.test'}}}",
			NULL, NULL, NULL},
	};
	struct rig r;
	int code;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(same); i++) {
		uint64_t hash = 0;
		for (size_t k = 0; k < 5 && same[i][k]; k++) {
			struct sb m = {0}, g = {0}, ep = {0};
			eds_put_name(&m, "demo");
			wiretext(&ep, same[i][k]);
			wire_put_bytes(&g, 2, sb_view(&ep));
			eds_put_group(&m, &g);
			struct endpoint_set *s = decode_pieces(&r, sb_view(&m), m.n, &code);
			ck_assert_msg(s != NULL, "%s: %s", same[i][k], r.why);
			ck_assert_msg(k == 0 || endpoints_hash(s) == hash, "%s", same[i][k]);
			hash = endpoints_hash(s);
			endpoints_unref(&s);
			sb_end(&ep);
			sb_end(&m);
		}
	}
	rig_end(&r);
}
END_TEST

static void expect_back(struct rig *r, const struct endpoint_set *s, size_t max);

/* Recorded from a real istiod; the corpus of the fuzz target has them. */
START_TEST(what_istiod_sends_is_taken)
{
	struct dirent *e;
	struct rig r;
	uint32_t count = 0, endpoints = 0;
	DIR *dir = opendir("tests/fuzz/corpus/eds");
	ck_assert_ptr_nonnull(dir);
	rig_begin(&r);
	while ((e = readdir(dir))) {
		char path[600];
		static char bytes[1 << 18];
		int code;
		if (strncmp(e->d_name, "istiod-", 7) != 0)
			continue;
		snprintf(path, sizeof(path), "tests/fuzz/corpus/eds/%s", e->d_name);
		FILE *f = fopen(path, "rb");
		ck_assert_ptr_nonnull(f);
		size_t n = fread(bytes, 1, sizeof(bytes), f);
		fclose(f);
		struct endpoint_set *s = decode_pieces(&r, str_n(bytes, n), 100, &code);
		ck_assert_msg(s != NULL, "%s: %s", path, r.why);
		endpoints += endpoints_count(s);
		expect_back(&r, s, 200);
		endpoints_unref(&s);
		count++;
	}
	closedir(dir);
	ck_assert_uint_gt(count, 20);
	ck_assert_uint_gt(endpoints, count);
	rig_end(&r);
}
END_TEST

START_TEST(an_assignment_without_endpoints_is_an_empty_set)
{
	struct rig r;
	struct sb m = {0}, g = {0};
	rig_begin(&r);
	eds_put_name(&m, "demo");
	struct endpoint_set *none = decode(&r, &m);
	eds_put_locality(&g, "eu", "a", "");
	eds_put_weight(&g, 100); /* a share of nothing, as istiod sends it */
	eds_put_group(&m, &g);
	struct endpoint_set *s = decode(&r, &m);
	ck_assert_uint_eq(endpoints_count(s), 0);
	ck_assert_uint_eq(endpoints_groups(s), 0);
	ck_assert_uint_eq(endpoints_hash(s), endpoints_hash(none));
	endpoints_unref(&s);
	endpoints_unref(&none);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* A group of them is no group: found by fuzzing, for the set did not come back from the snapshot as it was. */
START_TEST(endpoints_that_nobody_can_use_are_none)
{
	struct rig r;
	struct sb m = {0}, g = {0};
	rig_begin(&r);
	eds_put_name(&m, "demo");
	eds_put_locality(&g, "eu", "a", "");
	wiretext(&g, "2:{5:'named'} 2:{1:{1:{3:{1:'inside'}}}}");
	eds_put_group(&m, &g);
	struct endpoint_set *s = decode(&r, &m);
	ck_assert_uint_eq(endpoints_count(s), 0);
	ck_assert_uint_eq(endpoints_groups(s), 0);
	expect_back(&r, s, 100);
	endpoints_unref(&s);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(a_thousand_localities_are_taken_and_no_more)
{
	struct rig r;
	int code;
	struct sb m = {0};
	rig_begin(&r);
	eds_put_name(&m, "demo");
	for (int i = 0; i <= 1000; i++) {
		struct sb g = {0};
		char zone[16];
		snprintf(zone, sizeof(zone), "z%d", i);
		if (i == 1000) {
			struct endpoint_set *s = decode(&r, &m);
			ck_assert_uint_eq(endpoints_groups(s), 1000);
			endpoints_unref(&s);
		}
		eds_put_locality(&g, "", zone, "");
		eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
		eds_put_group(&m, &g);
	}
	ck_assert(decode_pieces(&r, sb_view(&m), m.n, &code) == NULL);
	ck_assert_int_eq(code, ERR_LIMIT);
	ck_assert_str_eq(r.why, "endpoints: more than 1000 localities");
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(the_same_locality_may_stand_in_two_priorities_but_not_in_one)
{
	struct rig r;
	int code;
	rig_begin(&r);
	for (uint32_t second = 0; second < 2; second++) {
		struct sb m = {0}, g = {0};
		eds_put_name(&m, "demo");
		for (uint32_t i = 0; i < 2; i++) {
			eds_put_locality(&g, "r", "z", "s");
			eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
			eds_put_priority(&g, i * second);
			eds_put_group(&m, &g);
		}
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), m.n, &code);
		ck_assert((s != NULL) == (second == 1));
		if (s)
			endpoints_unref(&s);
		else
			ck_assert_str_eq(r.why, "endpoints[1].locality: 'rzs' is there twice with priority 0");
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

START_TEST(weights_are_summed_up_to_32_bits)
{
	struct rig r;
	int code;
	rig_begin(&r);
	for (uint32_t beyond = 0; beyond < 2; beyond++) {
		struct sb m = {0}, g = {0};
		eds_put_name(&m, "demo");
		eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 1, .weight = UINT32_MAX - 1});
		eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.2", .port = 1, .weight = 1 + beyond});
		eds_put_group(&m, &g);
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), m.n, &code);
		ck_assert((s != NULL) == (beyond == 0));
		if (s)
			endpoints_unref(&s);
		else
			ck_assert_str_eq(r.why, "endpoints[0].lb_endpoints: the sum of load_balancing_weight is beyond 4294967295");
		sb_end(&m);
		/* and of localities, in each priority */
		m = (struct sb){0};
		eds_put_name(&m, "demo");
		for (uint32_t i = 0; i < 3; i++) {
			eds_put_locality(&g, "", i ? "b" : "a", "");
			eds_put_weight(&g, i ? 1 + beyond : UINT32_MAX - 1);
			eds_put_priority(&g, i == 2);
			eds_put_group(&m, &g);
		}
		s = decode_pieces(&r, sb_view(&m), m.n, &code);
		ck_assert((s != NULL) == (beyond == 0));
		if (s)
			endpoints_unref(&s);
		else
			ck_assert_str_eq(r.why, "endpoints[1].load_balancing_weight: the sum of priority 0 is beyond 4294967295");
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

START_TEST(an_endpoint_beyond_16_kib_is_refused)
{
	struct rig r;
	int code;
	rig_begin(&r);
	for (size_t pad = 16300; pad <= 16400; pad += 100) {
		struct sb m = {0}, g = {0}, ep = {0}, all = {0};
		eds_put_name(&m, "demo");
		eds_ep_write(&ep, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
		char *fill = calloc(1, pad);
		wire_put_bytes(&ep, 99, str_n(fill, pad));
		wire_put_bytes(&g, 2, sb_view(&ep));
		eds_put_group(&m, &g);
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), 1000, &code);
		ck_assert((s != NULL) == (ep.n <= 16384));
		if (s)
			endpoints_unref(&s);
		else
			ck_assert(strstr(r.why, "endpoints[0].lb_endpoints[0]: ") && strstr(r.why, "more than 16384"));
		free(fill);
		sb_end(&ep);
		sb_end(&all);
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

START_TEST(an_endpoint_has_at_most_sixteen_addresses)
{
	struct rig r;
	int code;
	rig_begin(&r);
	for (int more = 15; more <= 16; more++) {
		struct sb m = {0}, g = {0}, one = {0}, ep = {0}, inside = {0};
		eds_put_name(&m, "demo");
		eds_ep_write(&one, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
		struct wire w = wire_of(sb_view(&one));
		struct wire_field f;
		ck_assert_int_eq(wire_next(&w, &f), 1);
		sb_add(&inside, f.bytes.p, f.bytes.n); /* Endpoint { 1 address }: as an AdditionalAddress has it too */
		for (int i = 0; i < more; i++)
			wire_put_bytes(&inside, 4, f.bytes);
		wire_put_bytes(&ep, 1, sb_view(&inside));
		wire_put_bytes(&g, 2, sb_view(&ep));
		eds_put_group(&m, &g);
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), m.n, &code);
		ck_assert((s != NULL) == (more == 15));
		if (s)
			endpoints_unref(&s);
		else
			ck_assert_str_eq(r.why, "endpoints[0].lb_endpoints[0].endpoint.additional_addresses: more than 15");
		sb_end(&one);
		sb_end(&inside);
		sb_end(&ep);
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

/* A tree of structs in a value, a thousand deep: not entered, not kept. */
START_TEST(deep_metadata_costs_nothing)
{
	struct rig r;
	struct endpoint e;
	struct sb value = {0}, m = {0}, g = {0}, ep = {0}, field = {0}, fields = {0}, entry = {0}, metadata = {0};
	rig_begin(&r);
	wire_put_bytes(&value, 3, STR("bottom"));
	for (int i = 0; i < 1000; i++) {
		struct sb up = {0};
		wire_put_bytes(&up, 5, sb_view(&value));
		sb_end(&value);
		value = up;
	}
	wire_put_bytes(&field, 1, STR("deep"));
	wire_put_bytes(&field, 2, sb_view(&value));
	wire_put_bytes(&fields, 1, sb_view(&field));
	wire_put_bytes(&fields, 1, STR("\x0a\x04" "flag\x12\x02\x20\x01"));
	wire_put_bytes(&fields, 1, STR("\x0a\x03" "num\x12\x09\x11\x00\x00\x00\x00\x00\x00\xf8\x3f"));
	wire_put_bytes(&fields, 1, STR("\x0a\x04" "none\x12\x02\x08\x00"));
	wire_put_bytes(&entry, 1, STR("envoy.transport_socket_match"));
	wire_put_bytes(&entry, 2, sb_view(&fields));
	wire_put_bytes(&metadata, 1, sb_view(&entry));
	eds_ep_write(&ep, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
	wire_put_bytes(&ep, 3, sb_view(&metadata));
	eds_put_name(&m, "demo");
	wire_put_bytes(&g, 2, sb_view(&ep));
	eds_put_group(&m, &g);
	struct endpoint_set *s = decode(&r, &m);
	endpoint_get(s, 0, &e);
	ck_assert(endpoint_meta_value(e.meta, "deep") == NULL);
	ck_assert(endpoint_meta_value(e.meta, "none") == NULL);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "flag"), "true");
	ck_assert_str_eq(endpoint_meta_value(e.meta, "num"), "1.5");
	endpoints_unref(&s);
	sb_end(&value);
	sb_end(&field);
	sb_end(&fields);
	sb_end(&entry);
	sb_end(&metadata);
	sb_end(&ep);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* envoy.lb with so many keys, each with a value of that length. */
static struct sb with_pairs(int keys, size_t length)
{
	struct sb m = {0}, g = {0}, ep = {0}, fields = {0}, entry = {0}, metadata = {0};
	char *value = xalloc(length + 1);
	memset(value, 'v', length);
	for (int i = 0; i < keys; i++) {
		struct sb text = {0}, field = {0};
		char key[16];
		snprintf(key, sizeof(key), "k%d", i);
		wire_put_bytes(&text, 3, str_n(value, length));
		wire_put_bytes(&field, 1, str_of(key));
		wire_put_bytes(&field, 2, sb_view(&text));
		wire_put_bytes(&fields, 1, sb_view(&field));
		sb_end(&text);
		sb_end(&field);
	}
	wire_put_bytes(&entry, 1, STR("envoy.lb"));
	wire_put_bytes(&entry, 2, sb_view(&fields));
	wire_put_bytes(&metadata, 1, sb_view(&entry));
	eds_ep_write(&ep, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
	wire_put_bytes(&ep, 3, sb_view(&metadata));
	eds_put_name(&m, "demo");
	wire_put_bytes(&g, 2, sb_view(&ep));
	eds_put_group(&m, &g);
	free(value);
	sb_end(&ep);
	sb_end(&fields);
	sb_end(&entry);
	sb_end(&metadata);
	return m;
}

START_TEST(metadata_is_bounded)
{
	static const struct { int keys; size_t length; bool good; } rows[] = {{32, 10, true}, {33, 10, false}, {32, 240, true}, {32, 256, false}, {1, 8000, true}, {1, 8192, false}};
	struct rig r;
	int code;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct sb m = with_pairs(rows[i].keys, rows[i].length);
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), m.n, &code);
		ck_assert_msg((s != NULL) == rows[i].good, "row %zu: %s", i, r.why);
		if (s) {
			struct endpoint e;
			endpoint_get(s, 0, &e);
			ck_assert_uint_eq(endpoint_meta_pairs(e.meta, NULL, 0), (uint32_t)rows[i].keys);
			expect_back(&r, s, 1000);
			endpoints_unref(&s);
		} else {
			ck_assert_str_eq(r.why, "endpoints[0].lb_endpoints[0].metadata.filter_metadata: more than 32 texts, or too long");
		}
		sb_end(&m);
	}
	rig_end(&r);
}
END_TEST

/* In one namespace the later value counts; between the two namespaces nothing can be taken for the other. */
START_TEST(keys_of_two_namespaces_stay_apart)
{
	struct rig r;
	struct endpoint e;
	struct sb m = {0}, g = {0}, ep = {0};
	rig_begin(&r);
	eds_put_name(&m, "demo");
	wiretext(&ep, "1:{1:{1:{2:'10.0.0.1' 3:1}}} 3:{"
		"1:{1:'envoy.transport_socket_match' 2:{1:{1:'a' 2:{3:'1'}} 1:{1:'a' 2:{3:'2'}} 1:{1:'envoy.lb/b' 2:{3:'forged'}}}} "
		"1:{1:'envoy.lb' 2:{1:{1:'a' 2:{3:'3'}}}}}");
	wire_put_bytes(&g, 2, sb_view(&ep));
	eds_put_group(&m, &g);
	struct endpoint_set *s = decode(&r, &m);
	endpoint_get(s, 0, &e);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "a"), "2");
	ck_assert_str_eq(endpoint_meta_value(e.meta, "envoy.lb/a"), "3");
	ck_assert(endpoint_meta_value(e.meta, "envoy.lb/b") == NULL);
	expect_back(&r, s, 1000);
	endpoints_unref(&s);
	sb_end(&ep);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* ---- sharing ---- */

static struct sb many(uint32_t n, uint32_t changed, uint32_t left_out)
{
	struct sb m = {0}, g = {0};
	eds_put_name(&m, "demo");
	eds_put_locality(&g, "r", "z", "");
	for (uint32_t i = 0; i < n; i++)
		if (i != left_out)
			eds_put_usual(&g, i, i == changed);
	eds_put_weight(&g, 1);
	eds_put_group(&m, &g);
	return m;
}

/* Blocks of b that a has not. */
static uint32_t new_blocks(const struct endpoint_set *a, const struct endpoint_set *b)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < endpoints_spans(b); i++) {
		bool known = false;
		for (uint32_t k = 0; k < endpoints_spans(a) && !known; k++)
			known = endpoints_span(a, k).block == endpoints_span(b, i).block;
		n += !known;
	}
	return n;
}

START_TEST(a_change_makes_new_only_what_is_beside_it)
{
	enum { N = 5000 };
	struct rig r;
	int code;
	rig_begin(&r);
	struct sb m = many(N, UINT32_MAX, UINT32_MAX);
	struct endpoint_set *first = decode(&r, &m);
	ck_assert_uint_gt(endpoints_spans(first), N / 256);
	ck_assert_uint_lt(endpoints_spans(first), N / 64);
	ck_assert_uint_eq(r.finds, 1);
	r.old = first;
	/* Nothing has changed: the same blocks, whatever the pieces. */
	struct endpoint_set *same = decode_pieces(&r, sb_view(&m), 77, &code);
	ck_assert_uint_eq(new_blocks(first, same), 0);
	ck_assert_uint_eq(endpoints_hash(first), endpoints_hash(same));
	ck_assert_uint_lt(endpoints_memory(same), 4096);
	ck_assert(str_is(r.asked, "demo") || r.asked.n == 4);
	endpoints_unref(&same);
	/* One is another, one is gone: at the begin, within, at the end. */
	static const uint32_t places[] = {0, 1, 100, 2500, N - 1};
	for (size_t i = 0; i < UNIT_COUNT(places); i++)
		for (int gone = 0; gone < 2; gone++) {
			struct sb other = many(N, gone ? UINT32_MAX : places[i], gone ? places[i] : UINT32_MAX);
			struct endpoint_set *s = decode(&r, &other);
			ck_assert_uint_eq(endpoints_count(s), (uint32_t)(N - gone));
			ck_assert_uint_ne(endpoints_hash(s), endpoints_hash(first));
			ck_assert_msg(new_blocks(first, s) <= 3, "place %u, gone %d: %u blocks are new", places[i], gone, new_blocks(first, s));
			endpoints_unref(&s);
			sb_end(&other);
		}
	endpoints_unref(&first);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* The set before may be replaced and freed while its successor still comes in. */
START_TEST(the_set_before_may_go_while_bytes_come)
{
	struct rig r;
	struct sb m = many(2000, UINT32_MAX, UINT32_MAX), problems = {0};
	struct endpoint_set *set = NULL;
	struct str name;
	rig_begin(&r);
	r.old = decode(&r, &m);
	struct eds_decoder *d = eds_decoder_new(&r.account, r.metas, find, &r);
	eds_decoder_bytes(d, m.p, m.n / 2);
	endpoints_unref(&r.old);
	eds_decoder_bytes(d, m.p + m.n / 2, m.n - m.n / 2);
	ck_assert_int_eq(eds_decoder_end(d, &set, &name, &problems), 0);
	eds_decoder_free(&d);
	ck_assert_uint_eq(endpoints_count(set), 2000);
	endpoints_unref(&set);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(a_name_that_comes_last_costs_the_sharing_and_nothing_else)
{
	struct rig r;
	struct sb m = {0}, g = {0};
	rig_begin(&r);
	eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
	eds_put_group(&m, &g);
	eds_put_name(&m, "last");
	struct endpoint_set *s = decode(&r, &m);
	ck_assert_str_eq(r.name, "last");
	ck_assert_uint_eq(r.finds, 0);
	ck_assert_uint_eq(endpoints_count(s), 1);
	endpoints_unref(&s);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

START_TEST(at_most_one_chunk_of_raw_bytes_is_held)
{
	struct rig r;
	struct sb m = many(4000, UINT32_MAX, UINT32_MAX), problems = {0};
	struct endpoint_set *set = NULL;
	struct str name;
	rig_begin(&r);
	r.old = decode(&r, &m); /* so nothing new is built: what is charged is the decoder's */
	size_t before = r.account.used;
	r.account.peak = before;
	struct eds_decoder *d = eds_decoder_new(&r.account, r.metas, find, &r);
	for (size_t at = 0; at < m.n; at += 333)
		eds_decoder_bytes(d, m.p + at, m.n - at < 333 ? m.n - at : 333);
	ck_assert_uint_lt(r.account.peak - before, 64 * 1024 + 16 * 1024);
	ck_assert_uint_gt(m.n, 500000);
	ck_assert_int_eq(eds_decoder_end(d, &set, &name, &problems), 0);
	eds_decoder_free(&d);
	endpoints_unref(&set);
	endpoints_unref(&r.old);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* ---- memory ---- */

/* The account ends at every amount below what is needed: refused, told, all given back. */
START_TEST(what_the_account_refuses_is_given_back)
{
	struct rig r;
	int code, refused = 0;
	struct sb m = mixed();
	rig_begin(&r);
	for (size_t limit = 64;; limit += 64) {
		r.account.limit = limit;
		struct endpoint_set *s = decode_pieces(&r, sb_view(&m), 50, &code);
		if (s) {
			endpoints_unref(&s);
			break;
		}
		ck_assert_int_eq(code, -ENOMEM);
		ck_assert_uint_lt(limit, 1 << 20);
		refused++;
	}
	ck_assert_int_gt(refused, 20);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* ---- and back ---- */

static void expect_back(struct rig *r, const struct endpoint_set *s, size_t max)
{
	struct sb m = {0};
	struct eds_encoder state = {0};
	int code, calls = 0;
	bool more;
	do {
		size_t was = m.n;
		more = endpoints_encode(s, "demo", &state, max, &m);
		ck_assert_uint_le(m.n - was, max + 64 * 1024);
		calls++;
	} while (more);
	struct endpoint_set *back = decode_pieces(r, sb_view(&m), 1024, &code);
	ck_assert_msg(back != NULL, "%s", r->why);
	ck_assert_str_eq(r->name, "demo");
	ck_assert_uint_eq(endpoints_count(back), endpoints_count(s));
	ck_assert_uint_eq(endpoints_hash(back), endpoints_hash(s));
	if (max < 10000 && endpoints_count(s) > 1000)
		ck_assert_int_gt(calls, 4);
	endpoints_unref(&back);
	sb_end(&m);
}

START_TEST(what_is_encoded_decodes_to_an_equal_set)
{
	struct rig r;
	rig_begin(&r);
	struct sb m = mixed();
	struct endpoint_set *s = decode(&r, &m);
	expect_back(&r, s, 1);
	expect_back(&r, s, 1 << 20);
	endpoints_unref(&s);
	sb_end(&m);

	m = many(3000, UINT32_MAX, UINT32_MAX);
	s = decode(&r, &m);
	expect_back(&r, s, 1000);
	expect_back(&r, s, 1 << 20);
	endpoints_unref(&s);
	sb_end(&m);

	/* Odd bytes in paths, found by fuzzing; abstract sockets, the longest path. */
	m = (struct sb){0};
	struct sb pipes = {0};
	eds_put_name(&m, "demo");
	eds_put_ep(&pipes, &(struct eds_ep){.address = "/run/de\x1ao.sock"});
	eds_put_ep(&pipes, &(struct eds_ep){.address = "@abstract\xff"});
	eds_put_ep(&pipes, &(struct eds_ep){.address = "/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"});
	eds_put_group(&m, &pipes);
	s = decode(&r, &m);
	expect_back(&r, s, 100);
	endpoints_unref(&s);
	sb_end(&m);

	m = (struct sb){0};
	eds_put_name(&m, "demo");
	s = decode(&r, &m);
	expect_back(&r, s, 100);
	endpoints_unref(&s);
	/* Priority 0 is empty: its group is no group, its priority must come back all the same. */
	struct sb g = {0};
	eds_put_priority(&g, 0);
	eds_put_group(&m, &g);
	eds_put_ep(&g, &(struct eds_ep){.address = "10.0.0.1", .port = 1});
	eds_put_priority(&g, 1);
	eds_put_group(&m, &g);
	wire_put_bytes(&m, 4, STR("\x1a\x02\x08\x64"));
	s = decode(&r, &m);
	expect_back(&r, s, 100);
	endpoints_unref(&s);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

/* A set from the snapshot, then the same assignment from the control plane: its blocks are found again, although their bytes are others. */
START_TEST(a_set_that_was_read_back_shares_with_the_wire)
{
	struct rig r;
	int code;
	struct sb m = many(3000, UINT32_MAX, UINT32_MAX), out = {0};
	struct eds_encoder state = {0};
	rig_begin(&r);
	struct endpoint_set *first = decode(&r, &m);
	while (endpoints_encode(first, "demo", &state, 5000, &out)) {
	}
	endpoints_unref(&first);
	struct endpoint_set *back = decode_pieces(&r, sb_view(&out), out.n, &code);
	ck_assert_msg(back != NULL, "%s", r.why);
	r.old = back;
	struct endpoint_set *fresh = decode(&r, &m);
	ck_assert_uint_eq(new_blocks(back, fresh), 0);
	ck_assert_uint_eq(endpoints_hash(back), endpoints_hash(fresh));
	endpoints_unref(&fresh);
	endpoints_unref(&back);
	sb_end(&out);
	sb_end(&m);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("decode_endpoints", an_assignment_becomes_a_set, the_pieces_in_which_it_comes_change_nothing, a_message_that_is_cut_is_refused_wherever_it_is_cut,
	what_breaks_a_rule_is_refused_with_its_place, raw_bytes_that_break_a_rule_are_refused_with_their_place, what_is_not_known_is_tolerated,
	the_usual_shape_and_any_other_mean_the_same, what_istiod_sends_is_taken, endpoints_that_nobody_can_use_are_none,
	an_assignment_without_endpoints_is_an_empty_set, a_thousand_localities_are_taken_and_no_more,
	the_same_locality_may_stand_in_two_priorities_but_not_in_one, weights_are_summed_up_to_32_bits, an_endpoint_beyond_16_kib_is_refused,
	an_endpoint_has_at_most_sixteen_addresses, deep_metadata_costs_nothing, metadata_is_bounded, keys_of_two_namespaces_stay_apart, a_change_makes_new_only_what_is_beside_it,
	the_set_before_may_go_while_bytes_come, a_name_that_comes_last_costs_the_sharing_and_nothing_else, at_most_one_chunk_of_raw_bytes_is_held,
	what_the_account_refuses_is_given_back, what_is_encoded_decodes_to_an_equal_set, a_set_that_was_read_back_shares_with_the_wire)
