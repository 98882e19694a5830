/* xds/profile: which resources an authority leads to, in each way of asking. */
#include "tests/unit.h"

#include <errno.h>

#include "xds/profile.h"

START_TEST(each_profile_asks_for_the_names_that_its_control_plane_knows)
{
	static const struct {
		enum xds_profile profile;
		const char *template, *authority, *lds, *rds, *cluster;
	} rows[] = {
		{PROFILE_ISTIO, NULL, "demo.default.svc.cluster.local:50051", "", "demo.default.svc.cluster.local:50051", "outbound|50051||demo.default.svc.cluster.local"},
		{PROFILE_ISTIO, NULL, "[fd00::1]:80", "", "[fd00::1]:80", "outbound|80||fd00::1"},
		{PROFILE_ISTIO_GRPC, NULL, "demo.default.svc.cluster.local:50051", "demo.default.svc.cluster.local:50051", "outbound|50051||demo.default.svc.cluster.local",
			"outbound|50051||demo.default.svc.cluster.local"},
		{PROFILE_GENERIC, NULL, "demo:50051", "demo:50051", "", ""},
		{PROFILE_TEMPLATE, NULL, "demo.default:80", "", "", "outbound|80||demo.default"},
		{PROFILE_TEMPLATE, "outbound|{port}||{app}.DEFAULT-GROUP.public.nacos", "demo.default.svc.cluster.local:50051", "", "", "outbound|50051||demo.DEFAULT-GROUP.public.nacos"},
		{PROFILE_TEMPLATE, "{namespace}/{app}", "demo.shop.svc.cluster.local:1", "", "", "shop/demo"},
		{PROFILE_TEMPLATE, "{namespace}-{app}", "demo:1", "", "", "-demo"},
		{PROFILE_CONSUL, NULL, "demo.default.svc.cluster.local:50051", "demo", "", ""},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct conf_xds c = {.profile = rows[i].profile, .cluster_template = (char *)rows[i].template};
		struct profile_names n;

		ck_assert_int_eq(profile_names(&c, str_of(rows[i].authority), &n), 0);
		ck_assert_str_eq(n.lds, rows[i].lds);
		ck_assert_str_eq(n.rds, rows[i].rds);
		ck_assert_str_eq(n.cluster, rows[i].cluster);
	}
}
END_TEST

START_TEST(an_authority_without_port_or_beyond_all_length_leads_nowhere)
{
	struct conf_xds c = {.profile = PROFILE_ISTIO};
	struct profile_names n;
	char text[2048];

	ck_assert_int_eq(profile_names(&c, STR("demo"), &n), -EINVAL);
	ck_assert_int_eq(profile_names(&c, STR("demo:x"), &n), -EINVAL);
	memset(text, 'a', sizeof text);
	memcpy(text + 1000, ":80", 4);
	ck_assert_int_eq(profile_names(&c, str_of(text), &n), -ENAMETOOLONG);
	/* The expansion may be longer than what it is made of. */
	c = (struct conf_xds){.profile = PROFILE_TEMPLATE, .cluster_template = (char *)"{host}{host}{host}{host}"};
	memcpy(text + 250, ":80", 4);
	ck_assert_int_eq(profile_names(&c, str_of(text), &n), -ENAMETOOLONG);
}
END_TEST

START_TEST(a_cluster_of_istiod_names_the_authority_that_leads_to_it)
{
	static const struct { const char *cluster, *authority; } rows[] = {
		{"outbound|50051||demo.default.svc.cluster.local", "demo.default.svc.cluster.local:50051"},
		{"outbound|50051|v1|demo.default.svc.cluster.local", NULL}, /* a subset */
		{"inbound|50051||", NULL},
		{"PassthroughCluster", NULL},
		{"outbound|", NULL},
		{"outbound||", NULL},
		{"outbound|1||", NULL},
		{"outbound|1|", NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char out[256];
		bool is = profile_authority(str_of(rows[i].cluster), out, sizeof out);

		ck_assert_msg(is == (rows[i].authority != NULL), "%s", rows[i].cluster);
		if (is)
			ck_assert_str_eq(out, rows[i].authority);
	}
	char small[8];
	ck_assert(!profile_authority(STR("outbound|50051||demo.default.svc.cluster.local"), small, sizeof small));
}
END_TEST

UNIT_SUITE("profile", each_profile_asks_for_the_names_that_its_control_plane_knows, an_authority_without_port_or_beyond_all_length_leads_nowhere,
	a_cluster_of_istiod_names_the_authority_that_leads_to_it)
