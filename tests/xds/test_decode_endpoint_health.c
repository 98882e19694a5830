/* xds/decode_endpoint, xds/encode_endpoints: Endpoint.hostname and Endpoint.health_check_config: where they are kept, that nobody else writes there, that they come
 * back from a snapshot, and that they cost nothing where they are not. */
#include <stdio.h>
#include "base/err.h"
#include "tests/unit.h"
#include "tests/xds/wiretext.h"
#include "xds/decode.h"

#define ADDRESS(host, port) "1:{1:{2:'" host "' 3:" port "}}"
#define EP(fields) "1:'demo' 2:{2:{1:{" ADDRESS("10.0.0.1", "50051") " " fields "}}}"
#define WITH_META(fields, metadata) "1:'demo' 2:{2:{1:{" ADDRESS("10.0.0.1", "50051") " " fields "} 3:{" metadata "}}}"
#define MATCH(pairs) "1:{1:'envoy.transport_socket_match' 2:{" pairs "}} "
#define LB(pairs) "1:{1:'envoy.lb' 2:{" pairs "}} "
#define PAIR(key, value) "1:{1:'" key "' 2:{3:'" value "'}} "

struct rig {
	struct account account;
	struct endpoint_metas *metas;
	char why[256];
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

static struct endpoint_set *decode_bytes(struct rig *r, struct str bytes)
{
	struct eds_decoder *d = eds_decoder_new(&r->account, r->metas, NULL, NULL);
	struct endpoint_set *set = NULL;
	struct sb problems = {0};
	struct str name;
	eds_decoder_bytes(d, bytes.p, bytes.n);
	int code = eds_decoder_end(d, &set, &name, &problems);
	snprintf(r->why, sizeof(r->why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	ck_assert((code == 0) == (set != NULL));
	sb_end(&problems);
	eds_decoder_free(&d);
	return set;
}

static struct endpoint_set *decode(struct rig *r, const char *text)
{
	struct sb m = {0};
	wiretext(&m, text);
	struct endpoint_set *set = decode_bytes(r, sb_view(&m));
	sb_end(&m);
	return set;
}

static struct endpoint_set *good(struct rig *r, const char *text)
{
	struct endpoint_set *set = decode(r, text);
	ck_assert_msg(set != NULL, "%s: %s", text, r->why);
	return set;
}

/* All five, of one endpoint. NULL: not there. */
struct kept { const char *hostname, *host, *port, *address, *off; };

static void is_kept(const char *text, const struct endpoint_set *set, uint32_t i, struct kept k)
{
	struct endpoint e;
	endpoint_get(set, i, &e);
	const struct { const char *key, *value; } rows[] = {{ENDPOINT_HOSTNAME, k.hostname}, {ENDPOINT_CHECK_HOST, k.host}, {ENDPOINT_CHECK_PORT, k.port},
		{ENDPOINT_CHECK_ADDRESS, k.address}, {ENDPOINT_CHECK_OFF, k.off}};
	for (size_t n = 0; n < UNIT_COUNT(rows); n++) {
		const char *value = endpoint_meta_value(e.meta, rows[n].key);
		ck_assert_msg((value == NULL) == (rows[n].value == NULL) && (!value || strcmp(value, rows[n].value) == 0), "%s: %s is '%s', expected '%s'", text, rows[n].key + 1,
			value ? value : "(none)", rows[n].value ? rows[n].value : "(none)");
	}
}

START_TEST(what_is_said_of_an_endpoints_check_is_kept)
{
	static const struct { const char *text; struct kept kept; } rows[] = {
		{EP(""), {0}},
		{EP("2:{} 3:''"), {0}},
		{EP("2:{1:0 2:'' 4:0}"), {0}},
		{EP("3:'shop-1.example'"), {.hostname = "shop-1.example"}},
		{EP("2:{1:8080}"), {.port = "8080"}},
		{EP("2:{1:65535}"), {.port = "65535"}},
		{EP("2:{2:'health.example'}"), {.host = "health.example"}},
		{EP("2:{3:{1:{2:'10.9.9.9' 3:81}}}"), {.address = "10.9.9.9:81"}},
		{EP("2:{3:{1:{2:'fd00::1' 3:81}}}"), {.address = "[fd00::1]:81"}},
		{EP("2:{3:{2:{1:'/run/health.sock'}}}"), {.address = "unix:/run/health.sock"}},
		{EP("2:{3:{2:{1:'@health'}}}"), {.address = "unix:@health"}},
		{EP("2:{3:{3:{1:'internal'}}}"), {0}}, /* a listener inside of Envoy: nobody dials that */
		{EP("2:{4:1}"), {.off = "1"}},
		{EP("2:{1:80 2:'h' 3:{1:{2:'10.9.9.9' 3:81}} 4:1} 3:'n'"), {"n", "h", "80", "10.9.9.9:81", "1"}},
		/* beside metadata, and by name */
		{WITH_META("3:'n'", MATCH(PAIR("tlsMode", "istio"))), {.hostname = "n"}},
		{"1:'demo' 2:{2:{1:{" ADDRESS("a.example", "50051") " 2:{1:80} 3:'n'}}}", {.hostname = "n", .port = "80"}},
		/* in another order, and twice: the last counts */
		{"1:'demo' 2:{2:{1:{3:'x' 3:'n' " ADDRESS("10.0.0.1", "1") "}}}", {.hostname = "n"}},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct endpoint_set *set = good(&r, rows[i].text), *back;
		ck_assert_uint_eq(endpoints_count(set), 1);
		is_kept(rows[i].text, set, 0, rows[i].kept);
		struct endpoint e;
		endpoint_get(set, 0, &e);
		const struct kept none = {0};
		if (memcmp(&rows[i].kept, &none, sizeof(none)) == 0)
			ck_assert_ptr_null(e.meta); /* costs nothing */
		/* there and back again */
		struct sb m = {0};
		struct eds_encoder state = {0};
		while (endpoints_encode(set, "demo", &state, 100, &m)) {
		}
		back = decode_bytes(&r, sb_view(&m));
		ck_assert_msg(back != NULL, "%s: %s", rows[i].text, r.why);
		is_kept(rows[i].text, back, 0, rows[i].kept);
		ck_assert_uint_eq(endpoints_hash(set), endpoints_hash(back));
		sb_end(&m);
		endpoints_unref(&back);
		endpoints_unref(&set);
	}
	rig_end(&r);
}
END_TEST

START_TEST(the_metadata_beside_it_stays_what_it_is)
{
	struct rig r;
	rig_begin(&r);
	struct endpoint_set *set = good(&r, WITH_META("2:{1:80} 3:'n'", MATCH(PAIR("tlsMode", "istio")) LB(PAIR("version", "v1")) "1:{1:'istio' 2:{" PAIR("workload", "w") "}}"));
	struct endpoint e;
	struct str pairs[2 * ENDPOINT_META_PAIRS];
	endpoint_get(set, 0, &e);
	ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "istio");
	ck_assert_str_eq(endpoint_meta_value(e.meta, "envoy.lb/version"), "v1");
	ck_assert_uint_ne(e.incarnation, 0);
	ck_assert_uint_eq(endpoint_meta_pairs(e.meta, pairs, ENDPOINT_META_PAIRS), 4);
	endpoints_unref(&set);
	rig_end(&r);
}
END_TEST

/* A control plane that writes our keys into metadata would choose where we dial without the rules of the fields. */
START_TEST(keys_of_ours_in_metadata_are_nobodys)
{
	static const char *const texts[] = {
		WITH_META("", MATCH(PAIR("\001hostname", "evil") PAIR("\001check.port", "1") PAIR("\001check.off", "1") PAIR("tlsMode", "istio"))),
		WITH_META("", MATCH(PAIR("\001check.address", "unix:/run/secret") PAIR("tlsMode", "istio"))),
		WITH_META("", MATCH(PAIR("\001", "x") PAIR("tlsMode", "istio"))),
		/* under a prefix they are keys like others */
		WITH_META("", LB(PAIR("\001hostname", "x")) MATCH(PAIR("tlsMode", "istio"))),
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
		struct endpoint_set *set = good(&r, texts[i]);
		struct endpoint e;
		is_kept(texts[i], set, 0, (struct kept){0});
		endpoint_get(set, 0, &e);
		ck_assert_str_eq(endpoint_meta_value(e.meta, "tlsMode"), "istio");
		endpoints_unref(&set);
	}
	rig_end(&r);
}
END_TEST

START_TEST(one_endpoints_check_is_not_the_next_ones)
{
	static const char text[] = "1:'demo' 2:{2:{1:{" ADDRESS("10.0.0.1", "1") " 3:'a'}} 2:{1:{" ADDRESS("10.0.0.2", "1") " 3:'a'}} 2:{1:{" ADDRESS("10.0.0.3", "1") "}} "
				   "2:{1:{" ADDRESS("10.0.0.4", "1") " 2:{2:'a'}}} 2:{1:{" ADDRESS("10.0.0.5", "1") " 3:'ab'}} 2:{1:{" ADDRESS("10.0.0.6", "1") " 3:'a' 2:{2:'b'}}} "
				   "2:{1:{" ADDRESS("10.0.0.7", "1") "} 3:{" MATCH(PAIR("k", "v")) "}} 2:{1:{" ADDRESS("10.0.0.8", "1") " 3:'a'}} "
				   /* the same bytes, in another field */
				   "2:{1:{" ADDRESS("10.0.0.9", "1") " 2:{2:'a'}}} 2:{1:{" ADDRESS("10.0.0.10", "1") " 3:'\x12\x01" "a'}}}";
	static const struct kept kept[] = {{.hostname = "a"}, {.hostname = "a"}, {0}, {.host = "a"}, {.hostname = "ab"}, {.hostname = "a", .host = "b"}, {0}, {.hostname = "a"},
		{.host = "a"}, {.hostname = "\x12\x01" "a"}};
	struct rig r;
	struct endpoint first, second, last;
	rig_begin(&r);
	struct endpoint_set *set = good(&r, text);
	for (uint32_t i = 0; i < UNIT_COUNT(kept); i++)
		is_kept(text, set, i, kept[i]);
	endpoint_get(set, 0, &first);
	endpoint_get(set, 1, &second);
	endpoint_get(set, 7, &last);
	ck_assert(first.meta == second.meta && first.meta == last.meta); /* once in memory */
	endpoints_unref(&set);
	rig_end(&r);
}
END_TEST

START_TEST(what_breaks_a_rule_is_refused_with_its_field)
{
	static const struct { const char *text, *why; } rows[] = {
		{EP("2:{1:65536}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config.port_value: 65536 is above 65535"},
		{EP("2:{3:{}} "), NULL}, /* an empty message is none */
		{EP("2:{3:{1:{2:'health.example' 3:80}}}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config.address: a name, where an address is dialed"},
		{EP("2:{3:{1:{2:'10.0.0.1'}}}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config.address: port 0"},
		{EP("2:{3:{1:{1:1 2:'10.0.0.1' 3:1}}}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config.address: protocol 1 is not TCP"},
		{EP("2:{3:{2:{1:'run'}}}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config.address: pipe 'run'"},
		{EP("2:{2:'\xff'}"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config: a text is not UTF-8, or holds a NUL"},
		{EP("3:'\xff'"), "endpoints[0].lb_endpoints[0].endpoint.hostname: not UTF-8, or with a NUL"},
		{EP("2:'\x08'"), "endpoints[0].lb_endpoints[0].endpoint.health_check_config: malformed"},
	};
	struct rig r;
	rig_begin(&r);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		struct endpoint_set *set = decode(&r, rows[i].text);
		ck_assert_msg((set == NULL) == (rows[i].why != NULL), "%s: %s", rows[i].text, r.why);
		ck_assert_msg(set || strncmp(r.why, rows[i].why, strlen(rows[i].why)) == 0, "%s: %s", rows[i].text, r.why);
		if (set)
			endpoints_unref(&set);
	}
	/* Texts are bounded, and what is not forbidden is not cut. */
	for (int more = 0; more < 2; more++) {
		struct sb text = {0};
		sb_fmt(&text, "1:'demo' 2:{2:{1:{" ADDRESS("10.0.0.1", "1") " 3:'%0*d'}}}", 8192 + more, 7);
		struct endpoint_set *set = decode(&r, text.p);
		ck_assert_msg((set == NULL) == more, "%s", r.why);
		ck_assert_msg(!more || strstr(r.why, "endpoint.hostname: too long"), "%s", r.why);
		if (set)
			endpoints_unref(&set);
		sb_end(&text);
	}
	rig_end(&r);
}
END_TEST

/* 32 pairs of metadata were allowed before there were such keys, and still are beside them. */
START_TEST(metadata_keeps_its_room)
{
	struct rig r;
	rig_begin(&r);
	for (int count = 32; count <= 33; count++) {
		struct sb text = {0};
		sb_str(&text, "1:'demo' 2:{2:{1:{" ADDRESS("10.0.0.1", "1") " 3:'n' 2:{1:1 2:'h' 3:{2:{1:'/a'}} 4:1}} 3:{1:{1:'envoy.transport_socket_match' 2:{");
		for (int i = 0; i < count; i++)
			sb_fmt(&text, PAIR("k%d", "v"), i);
		sb_str(&text, "}}}}}");
		sb_char(&text, '\0');
		struct endpoint_set *set = decode(&r, text.p);
		ck_assert_msg((set != NULL) == (count == 32), "%d: %s", count, r.why);
		if (set) {
			is_kept("32 pairs", set, 0, (struct kept){"n", "h", "1", "unix:/a", "1"});
			struct sb m = {0};
			struct eds_encoder state = {0};
			while (endpoints_encode(set, "demo", &state, 100, &m)) {
			}
			struct endpoint_set *back = decode_bytes(&r, sb_view(&m));
			ck_assert_msg(back && endpoints_hash(back) == endpoints_hash(set), "%s", r.why);
			endpoints_unref(&back);
			endpoints_unref(&set);
			sb_end(&m);
		}
		sb_end(&text);
	}
	rig_end(&r);
}
END_TEST

START_TEST(what_the_account_refuses_is_given_back)
{
	struct rig r;
	struct endpoint_set *set = NULL;
	int refused = 0;
	rig_begin(&r);
	for (size_t limit = r.account.used; !set; limit += 64) {
		r.account.limit = limit;
		struct eds_decoder *d = eds_decoder_new(&r.account, r.metas, NULL, NULL);
		if (d) {
			struct sb m = {0}, problems = {0};
			struct str name;
			wiretext(&m, EP("2:{1:80 2:'health.example'} 3:'shop-1.example'"));
			eds_decoder_bytes(d, m.p, m.n);
			eds_decoder_end(d, &set, &name, &problems);
			sb_end(&m);
			sb_end(&problems);
			eds_decoder_free(&d);
		}
		refused += set == NULL;
		ck_assert_uint_lt(limit, 1 << 20);
	}
	ck_assert_int_gt(refused, 2);
	endpoints_unref(&set);
	rig_end(&r);
}
END_TEST

UNIT_SUITE("decode_endpoint_health", what_is_said_of_an_endpoints_check_is_kept, the_metadata_beside_it_stays_what_it_is, keys_of_ours_in_metadata_are_nobodys,
	one_endpoints_check_is_not_the_next_ones, what_breaks_a_rule_is_refused_with_its_field, metadata_keeps_its_room, what_the_account_refuses_is_given_back)
