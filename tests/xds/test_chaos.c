/* xds/sub and xds/ads against control planes that push, restart, leave, end streams and lose connections, over a network with latency, short reads and pauses, by seeds: when it is calm
 * again exactly the wanted names are subscribed, and what was seen last of each is what the plane has. */
#include <stdio.h>
#include <stdlib.h>
#include "tests/xds/xdsrig.h"

enum { NAMES = 10, STEPS = 150 };
struct chaos { struct xdsrig *r; uint32_t wants[XDS_TYPES][NAMES]; uint64_t pushed; bool refuses; }; /* refuses: some answers are refused or never sent, and pushed anew in the calm */

static uint64_t below(struct chaos *c, uint64_t n)
{
	return simnet_random(c->r->net) % n;
}

static const char *name_at(uint64_t i)
{
	static const char *const names[NAMES] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"};

	return names[i];
}

static void change(struct chaos *c, enum xds_type t, uint64_t i)
{
	struct sb b = {0};
	char text[64];

	if (t == XDS_EDS) {
		snprintf(text, sizeof(text), "10.0.%u.%u:1", (unsigned)(c->pushed >> 8 & 255), (unsigned)(c->pushed & 255));
		make_assignment(&b, name_at(i), text, false);
	} else {
		snprintf(text, sizeof(text), "cluster-%u", (unsigned)c->pushed);
		make_routes(&b, name_at(i), "*", text);
	}
	c->pushed++;
	plane_put(c->r->plane, t, name_at(i), b.p, b.n);
	sb_end(&b);
}

static void step(struct chaos *c)
{
	struct plane *p = c->r->plane;
	enum xds_type t = below(c, 2) ? XDS_EDS : XDS_RDS;
	uint64_t i = below(c, NAMES);

	switch (below(c, 24)) {
	case 0: plane_cut(p); break;
	case 1: plane_goaway(p); break;
	case 2: plane_end_streams(p, 14, "chaos"); break;
	case 3: plane_listen(p, false); break;
	case 4: case 5: plane_listen(p, true); break;
	case 6: p->quirks.slow_ms = (uint32_t)below(c, 30); break;
	case 7: p->quirks.mute = c->refuses && below(c, 4) == 0; break;
	case 8: plane_stall(p, true); break;
	case 9: plane_stall(p, false); break;
	case 10: ads_restart(c->r->ads, "chaos"); break;
	case 11: ads_thaw(c->r->ads); break;
	case 12: c->r->refuse = below(c, 3) || !c->refuses ? NULL : name_at(i); break;
	case 13: case 14: case 15: case 16: change(c, t, i); break;
	case 17: case 18: case 19: case 20:
		sub_want(c->r->sub, t, str_of(name_at(i)));
		c->wants[t][i]++;
		break;
	default:
		if (!c->wants[t][i])
			break;
		c->wants[t][i]--;
		sub_unwant(c->r->sub, t, str_of(name_at(i)));
	}
	simnet_advance(c->r->net, below(c, 3) ? below(c, 20) * MS : below(c, 20) ? 0 : below(c, 60) * SEC);
	xdsrig_told(c->r);
}

static void calm(struct chaos *c)
{
	struct simnet_knobs *k = simnet_knobs(c->r->net);

	k->again_percent = k->short_percent = k->hold_percent = 0;
	c->r->plane->quirks = (struct plane_quirks){.mute = false};
	c->r->refuse = NULL;
	plane_stall(c->r->plane, false);
	plane_listen(c->r->plane, true);
	xdsrig_advance(c->r, 120000); /* a back-off, a keepalive, a grace */
	/* What was refused in the chaos is refused no more, but nobody says it again by himself. Nor what a mute plane kept to itself. */
	for (int t = 0; t < 2 && c->refuses; t++)
		for (uint64_t i = 0; i < NAMES; i++)
			change(c, t ? XDS_EDS : XDS_RDS, i);
	xdsrig_advance(c->r, 1000);
}

static void play(uint64_t seed, enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol)
{
	struct chaos c = {.r = xdsrig_new_seeded(kind, profile, protocol, seed)};
	struct simnet_knobs *k = simnet_knobs(c.r->net);

	c.refuses = seed % 2;
	for (uint64_t i = 0; i < NAMES; i++) {
		change(&c, XDS_EDS, i);
		change(&c, XDS_RDS, i);
	}
	k->latency_ns = below(&c, 5) * MS;
	k->shuffle = true;
	k->again_percent = k->short_percent = k->hold_percent = (uint32_t)below(&c, 30);
	xdsrig_start(c.r);
	for (int i = 0; i < STEPS; i++)
		step(&c);
	calm(&c);
	ck_assert_msg(plane_open(c.r->plane) == 1, "seed %u: %u streams are open", (unsigned)seed, plane_open(c.r->plane));
	const struct plane_stream *s = plane_stream(c.r->plane);
	for (int n = 0; n < 2; n++) {
		enum xds_type t = n ? XDS_EDS : XDS_RDS;
		for (uint64_t i = 0; i < NAMES; i++) {
			const struct plane_resource *r = map_get(&c.r->plane->resources[DIALECT_BOTH][t], str_of(name_at(i)));
			bool watched = plane_names_has(&s->watch[t].names, name_at(i)) && s->watch[t].asked;
			ck_assert_msg(watched == (c.wants[t][i] > 0), "seed %u: %s %s is wanted %u times, watched %d", (unsigned)seed, xds_type_name[t], name_at(i), c.wants[t][i], watched);
			if (watched)
				ck_assert_msg(xdsrig_hash(c.r, t, name_at(i)) == str_hash(sb_view(&r->bytes)), "seed %u: %s %s is stale", (unsigned)seed, xds_type_name[t], name_at(i));
		}
	}
	xdsrig_free(&c.r);
}

START_TEST(after_any_trouble_the_wanted_names_are_subscribed_and_new)
{
	static const struct { enum plane_kind kind; enum xds_profile profile; enum xds_protocol protocol; } rows[] = {
		{PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_SOTW}, {PLANE_ISTIO, PROFILE_ISTIO, PROTOCOL_DELTA}, {PLANE_ISTIO, PROFILE_ISTIO_GRPC, PROTOCOL_AUTO},
		{PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_SOTW}, {PLANE_GENERIC, PROFILE_GENERIC, PROTOCOL_DELTA}, {PLANE_CONSUL, PROFILE_CONSUL, PROTOCOL_AUTO}};
	const char *more = getenv("SEEDS");
	uint64_t seeds = more ? strtoull(more, NULL, 10) : 8;

	play(seeds + (uint64_t)_i, rows[_i % 6].kind, rows[_i % 6].profile, rows[_i % 6].protocol);
	for (uint64_t seed = 1; seed < seeds; seed++)
		play(seed * 6 + (uint64_t)_i, rows[_i].kind, rows[_i].profile, rows[_i].protocol);
}
END_TEST

Suite *suite(void)
{
	Suite *s = suite_create("chaos");
	TCase *t = tcase_create("chaos");

	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, after_any_trouble_the_wanted_names_are_subscribed_and_new, 0, 6);
	suite_add_tcase(s, t);
	return s;
}
