/* Identities that change all the time, drawn from a seed: certificates and roots rotate as a careful mesh rotates them (both roots first, then certificates by the new one, then the new root
 * alone), while the agent dies, says nothing, or pushes what is no good, the CA answers garbage, never, or with another mesh's papers, and calls go on. What must hold:
 *
 *   - no call is lost, unless its provider's connections were cut while it ran;
 *   - each is seen by its provider under the identity of the app that the service names, in TLS;
 *   - a provider that speaks no TLS, and one that another mesh has signed, are never called;
 *   - what is no good replaces nothing; at the end the last good papers are there, and every account is at 0 (rig_free).
 *
 * Not part of tests/sim: keys and signatures differ in each run, so a seed gives the same events and not the same bytes. `make test` has time for a few; CHURN_SEEDS=1..200 runs more, and says how many. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sidecar/identities.h"
#include "tests/flow/rig_ca.h"
#include "tests/flow/rig_sds.h"
#include "tests/flow/rig_tls.h"
#include "tests/unit.h"

#define TD "spiffe://cluster.local/ns/default/sa/"
#define SDS_AT "unix:/run/sds.sock"
#define CA_AT "unix:/run/ca.sock"

enum { PROVIDERS = 3, CALLS = 4096, MINUTES = 6, LEAF_S = 200, TROUBLE_MS = 30000, CALM_MS = 50000, FIRST = 8, LAST = 15 /* 14 is one that a CA with another mesh's roots breaks where its answers are believed */ };
enum stage { BOTH_COME /* both roots are on their way to all */, LEAVES_COME /* certificates by the new root are */, OLD_GOES /* the new root alone is */, STAGES };
struct churn_call { struct call *call; bool trap; uint64_t named_ns; const char *wanted; };
struct churn {
	struct rig *r;
	uint64_t seed;
	char dir[64], token[96];
	struct authority *old, *now, *stranger; /* old: NULL but while roots rotate */
	struct sb bundle;
	struct tls_trust *trust, *alone;       /* of bundle; of now's root */
	struct sds_server *agent;
	struct ca *ca;
	struct provider *p[PROVIDERS], *plain, *impostor;
	struct tls_want *anybody;
	struct caller *app;
	struct churn_call calls[CALLS];
	uint32_t ncalls, rotations, troubles, renewals;
	enum stage stage;
	bool in_trouble, agent_bad, swapped;
	uint64_t changes_ns /* when trouble ends, or may begin */, fresh_ns /* when the agent's certificate is renewed */, cut_ns, reload_ns;
	struct sb yaml[2];
	int turn;
};

static uint64_t below(struct churn *c, uint64_t n)
{
	return simnet_random(c->r->net) % n;
}

static uint64_t now_ns(const struct churn *c)
{
	return simnet_now_ns(c->r->net);
}

/* ---- papers ---- */

static struct tls_trust *trust_in(const char *pem)
{
	struct tls_trust *t = NULL;
	struct err err = ERR_INIT;

	ck_assert_int_eq(tls_trust_new("mesh", str_of(pem), NULL, &t, &err), 0);
	return t;
}

static void bundle_is(struct churn *c)
{
	c->bundle.n = 0;
	if (c->old)
		sb_str(&c->bundle, authority_pem(c->old));
	sb_str(&c->bundle, authority_pem(c->now));
	sb_char(&c->bundle, '\0');
	tls_trust_unref(&c->trust);
	tls_trust_unref(&c->alone);
	c->trust = trust_in(c->bundle.p);
	c->alone = trust_in(authority_pem(c->now));
}

/* Who signs now: with two roots about, the old one until all have both. */
static struct authority *signer(struct churn *c)
{
	struct authority *a = c->old && c->stage == BOTH_COME ? c->old : c->now;

	authority_set_now(a, rig_now_s(c->r));
	return a;
}

static void agent_puts(struct churn *c, struct authority *by, int64_t from_s, int64_t to_s)
{
	authority_set_now(by, rig_now_s(c->r));
	sds_server_leaf(c->agent, "default", by, &(struct paper){.sans = "URI:" TD "shop", .from_s = from_s, .to_s = to_s});
}

/* What is good, to all that give papers. */
static void papers_go_out(struct churn *c)
{
	struct authority *by = signer(c);

	sds_server_roots(c->agent, "ROOTCA", c->bundle.p);
	agent_puts(c, by, -10, LEAF_S);
	c->agent_bad = false;
	c->fresh_ns = now_ns(c) + LEAF_S / 3 * SEC;
	c->ca->authority = by;
	c->ca->roots = c->bundle.p;
	for (int i = 0; i < PROVIDERS; i++)
		provider_tls(c->p[i], by, "URI:" TD "demo", c->bundle.p);
}

/* ---- rotation ---- */

static const struct secret *secret_of(struct churn *c, const char *app, enum secret_kind kind)
{
	struct identity_info i;

	ck_assert(identities_info(c->r->sc->identities, app, &i));
	return kind == SECRET_CERT ? i.cert : i.roots;
}

/* Has the last stage arrived at both apps? */
static bool has_arrived(struct churn *c)
{
	static const char *const apps[] = {"shop", "till"};
	bool all = true;

	for (size_t i = 0; i < UNIT_COUNT(apps) && all; i++) {
		const struct secret *cert = secret_of(c, apps[i], SECRET_CERT), *roots = secret_of(c, apps[i], SECRET_ROOTS);
		struct err err = ERR_INIT;
		all = roots->trust && cert->cert && tls_trust_hash(roots->trust) == tls_trust_hash(c->trust);
		if (all && c->stage != BOTH_COME)
			all = tls_trust_verifies(c->alone, cert->cert, rig_now_s(c->r), &err) == 0;
		err_clear(&err);
	}
	return all;
}

static void rotate(struct churn *c)
{
	c->stage = (c->stage + 1) % STAGES;
	if (c->stage == BOTH_COME) {
		c->old = c->now;
		c->now = authority_new("mesh", rig_now_s(c->r)); /* of the same name */
	} else if (c->stage == OLD_GOES) {
		authority_free(&c->old);
		c->rotations++;
	}
	bundle_is(c);
	papers_go_out(c);
}

/* ---- trouble ---- */

static void agent_trouble(struct churn *c)
{
	switch (below(c, 7)) {
	case 0:
		plane_kill(c->agent->plane);
		break;
	case 1:
		c->agent->mute = true;
		plane_cut(c->agent->plane);
		break;
	case 2:
		agent_puts(c, signer(c), -7200, -60);
		break;
	case 3:
		agent_puts(c, signer(c), 3600, 7200);
		break;
	case 4:
		sds_server_bytes(c->agent, "default", "\x0a\x07" "default\x12\x02\x0a\xff", 13);
		break;
	case 5:
		sds_server_roots(c->agent, "ROOTCA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
		break;
	case 6:
		plane_end_streams(c->agent->plane, GRPC_UNAVAILABLE, "later");
		break;
	}
	c->agent_bad = true;
}

static void ca_trouble(struct churn *c)
{
	static const struct ca_quirks rows[] = {{.mute = true}, {.refuse = 14, .refuse_text = "later"}, {.refuse = 16, .refuse_text = "who are you"}, {.garbage = "\xff\xff", .garbage_n = 2},
		{.other_key = true}, {.one_entry = true}, {.no_roots = true}, {.huge = 1 << 30}, {.from_s = -7200, .to_s = -60}, {.from_s = 3600, .to_s = 7200}, {.no_message = true}};
	size_t which = below(c, UNIT_COUNT(rows) + 3);

	if (which < UNIT_COUNT(rows))
		c->ca->quirks = rows[which];
	else if (which == UNIT_COUNT(rows))
		c->ca->roots = authority_pem(c->stranger); /* not those of who signs */
	else if (which == UNIT_COUNT(rows) + 1)
		ck_assert_int_eq(unlink(c->token), 0);
	else
		ca_listen(c->ca, false), ca_cut(c->ca);
}

static void put_token(struct churn *c)
{
	FILE *f = fopen(c->token, "w");

	ck_assert_ptr_nonnull(f);
	fputs("token\n", f);
	ck_assert_int_eq(fclose(f), 0);
}

static void trouble_over(struct churn *c)
{
	c->agent->mute = false;
	plane_listen(c->agent->plane, true);
	c->ca->quirks = (struct ca_quirks){.from_s = -10, .to_s = LEAF_S};
	c->ca->roots = c->bundle.p;
	put_token(c);
	ca_listen(c->ca, true);
	plane_cut(c->agent->plane); /* as an agent that starts anew */
	papers_go_out(c);
}

static void look_at_trouble(struct churn *c)
{
	if (now_ns(c) < c->changes_ns)
		return;
	c->in_trouble = !c->in_trouble;
	c->changes_ns = now_ns(c) + (c->in_trouble ? 1000 + below(c, TROUBLE_MS) : CALM_MS + below(c, CALM_MS)) * MS;
	if (!c->in_trouble) {
		trouble_over(c);
		return;
	}
	c->troubles++;
	if (below(c, 2))
		agent_trouble(c);
	else
		ca_trouble(c);
}

/* ---- what is declared ---- */

#define SERVICE(name, at, app) "  - {name: \"" name "\", endpoints: [" at "], tls: {roots: identity, san: [\"" TD "demo\"], identity: " app "}}\n"
static const char *yaml_of(struct churn *c)
{
	struct sb *b = &c->yaml[c->turn ^= 1];
	const char *one = c->swapped ? "till" : "shop", *two = c->swapped ? "shop" : "till";

	b->n = 0;
	sb_fmt(b, "snapshot: {dir: \"\"}\napps:\n"
		"  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    identity: {service_account: shop, sds: \"" SDS_AT "\"}\n"
		"  - name: till\n    listen: [{unix: /run/till.sock}]\n    identity: {service_account: till, ca: {server: \"" CA_AT "\", token_file: %s}}\nservices:\n", c->token);
	sb_fmt(b, SERVICE("one.example:1", "\"10.0.0.1:1\", \"10.0.0.2:1\"", "%s") SERVICE("two.example:1", "\"10.0.0.2:1\", \"10.0.0.3:1\"", "%s"), one, two);
	sb_str(b, SERVICE("plain.example:1", "\"10.0.0.4:1\"", "shop") SERVICE("impostor.example:1", "\"10.0.0.5:1\"", "till"));
	sb_char(b, '\0');
	return b->p;
}

/* ---- calls ---- */

static void a_call(struct churn *c)
{
	static const char *const names[] = {"one.example:1", "two.example:1", "plain.example:1", "impostor.example:1"};
	size_t to = below(c, 20) ? below(c, 2) : 2 + below(c, 2);
	char more[32];

	if (c->ncalls == CALLS)
		return;
	snprintf(more, sizeof(more), "x-id: %u\n", c->ncalls);
	struct churn_call *k = &c->calls[c->ncalls++];
	k->call = call_unary(c->app, names[to], more);
	k->trap = to > 1;
	k->wanted = (to == 0) != c->swapped ? TD "shop" : TD "till";
	k->named_ns = now_ns(c);
}

static void call_is_over(void *ctx, void *call)
{
	struct churn *c = ctx;
	const struct call *k = call;
	const struct churn_call *what = NULL;

	for (uint32_t i = c->ncalls; i-- > 0 && !what;)
		if (c->calls[i].call == k)
			what = &c->calls[i];
	if (!what) /* it ended inside of its beginning */
		what = &c->calls[c->ncalls - 1];
	if (what->trap ? k->grpc == GRPC_UNAVAILABLE : call_ok(k) || (c->cut_ns && c->cut_ns >= k->begun_ns))
		return;
	rig_die("seed %llu: call %u (%s) ended at %llu ms with %d '%s'; stage %d, %s, certificate of shop '%s', of till '%s'", (unsigned long long)c->seed, (unsigned)(what - c->calls), what->wanted,
		(unsigned long long)(now_ns(c) / MS), k->grpc, call_text(k), c->stage, c->in_trouble ? "trouble" : "calm", secret_of(c, "shop", SECRET_CERT)->why, secret_of(c, "till", SECRET_CERT)->why);
}

static void call_is_served(void *ctx, void *served, int what)
{
	struct churn *c = ctx;
	const struct served *v = served;
	const char *id = served_field(v, "x-id");

	if (what != 1)
		return;
	if (v->p == c->plain || v->p == c->impostor)
		rig_die("seed %llu: a provider is called that is none of the mesh", (unsigned long long)c->seed);
	const struct churn_call *k = &c->calls[id ? strtoul(id, NULL, 10) : 0];
	if (!tls_is(v->conn->sock))
		rig_die("seed %llu: a call in plain text", (unsigned long long)c->seed);
	if (strcmp(v->conn->peer, k->wanted) != 0)
		rig_die("seed %llu: call %u is seen as '%s', it is of '%s'", (unsigned long long)c->seed, (unsigned)(k - c->calls), v->conn->peer, k->wanted);
}

/* ---- a run ---- */

static void churn_begin(struct churn *c, uint64_t seed)
{
	*c = (struct churn){.r = rig_bare(seed), .seed = seed, .stage = OLD_GOES};
	struct rig *r = c->r;

	snprintf(c->dir, sizeof(c->dir), "/tmp/thinmesh-churn-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(c->dir));
	snprintf(c->token, sizeof(c->token), "%s/token", c->dir);
	put_token(c);
	c->now = authority_new("mesh", rig_now_s(r));
	c->stranger = authority_new("mesh", rig_now_s(r));
	c->agent = sds_server_new(r->net, &r->account, SDS_AT);
	c->ca = ca_new(r->loop, &r->account, CA_AT, c->now, NULL);
	c->ca->quirks = (struct ca_quirks){.from_s = -10, .to_s = LEAF_S};
	c->anybody = tls_want_new();
	tls_want_seal(c->anybody);
	for (int i = 0; i < PROVIDERS + 1; i++) {
		char at[32];
		snprintf(at, sizeof(at), "10.0.0.%d:1", i < PROVIDERS ? i + 1 : 5);
		struct provider *p = provider_new(r, at, ANSWERS);
		p->act.delay_ms = below(c, 3) ? 0 : below(c, 3000);
		p->clients = c->anybody;
		*(i < PROVIDERS ? &c->p[i] : &c->impostor) = p;
	}
	c->plain = provider_new(r, "10.0.0.4:1", ANSWERS);
	bundle_is(c);
	provider_tls(c->impostor, c->stranger, "URI:" TD "demo", authority_pem(c->stranger));
	papers_go_out(c);
	c->changes_ns = now_ns(c) + below(c, CALM_MS) * MS;
	rig_start(r, yaml_of(c));
	c->app = caller_new(r, "unix:/run/shop.sock");
	r->ctx = c;
	r->on_call_end = call_is_over;
	r->on_served = call_is_served;
	rig_advance(r, 1000);
}

static void churn_step(struct churn *c)
{
	look_at_trouble(c);
	if (!c->in_trouble && now_ns(c) >= c->fresh_ns) {
		papers_go_out(c);
		c->renewals++;
	}
	if (!c->in_trouble && below(c, 15) == 0 && has_arrived(c))
		rotate(c);
	if (below(c, 400) == 0) {
		provider_cut(c->p[below(c, PROVIDERS)]);
		c->cut_ns = now_ns(c);
	}
	if (below(c, 300) == 0) {
		provider_goaway(c->p[below(c, PROVIDERS)]);
	}
	if (below(c, 400) == 0 && now_ns(c) > c->reload_ns + 10 * SEC) { /* the services change whose they are, once nothing runs that was the other's */
		for (int i = 0; i < 20; i++)
			rig_advance(c->r, 500);
		c->swapped = !c->swapped;
		c->reload_ns = now_ns(c);
		ck_assert_int_eq(rig_reload(c->r, yaml_of(c)), 0);
	}
	a_call(c);
	rig_advance(c->r, below(c, 700));
}

static void churn_end(struct churn *c)
{
	if (c->in_trouble)
		trouble_over(c);
	c->in_trouble = false;
	for (int i = 0; i < 200; i++) { /* of the CA's: at half of a life, and with the back-off */
		if (now_ns(c) >= c->fresh_ns)
			papers_go_out(c);
		rig_advance(c->r, 2000);
	}
	ck_assert_msg(has_arrived(c), "seed %llu: the last good papers have not arrived", (unsigned long long)c->seed);
	for (uint32_t i = 0; i < c->ncalls; i++)
		ck_assert_msg(c->calls[i].call->ends == 1, "seed %llu: call %u has ended %u times", (unsigned long long)c->seed, i, c->calls[i].call->ends);
	ck_assert_uint_eq(c->plain->requests + c->impostor->requests, 0);
	ck_assert_uint_eq(rig_stat(c->r, STAT_PARKED), 0);
	c->r->on_call_end = NULL;
	c->r->on_served = NULL;
	sds_server_end(c->agent);
	ca_end(c->ca);
	rig_settle(c->r);
	sds_server_free(&c->agent);
	ca_free(&c->ca);
	for (int i = 0; i < PROVIDERS; i++)
		tls_context_unref(&c->p[i]->tls);
	tls_context_unref(&c->impostor->tls);
	rig_free(&c->r);
	tls_want_unref(&c->anybody);
	tls_trust_unref(&c->trust);
	tls_trust_unref(&c->alone);
	authority_free(&c->old);
	authority_free(&c->now);
	authority_free(&c->stranger);
	ck_assert_int_eq(unlink(c->token), 0);
	ck_assert_int_eq(rmdir(c->dir), 0);
	sb_end(&c->bundle);
	sb_end(&c->yaml[0]);
	sb_end(&c->yaml[1]);
}

START_TEST(no_call_is_lost_or_in_the_open_whatever_becomes_of_who_gives_papers)
{
	const char *text = getenv("CHURN_SEEDS");
	unsigned long from = text ? strtoul(text, NULL, 10) : FIRST, to = text && strstr(text, "..") ? strtoul(strstr(text, "..") + 2, NULL, 10) : text ? from : LAST;
	struct churn *c = xnew(struct churn);
	uint32_t rotations = 0, troubles = 0, calls = 0;

	for (unsigned long seed = from; seed <= to; seed++) {
		churn_begin(c, seed);
		while (now_ns(c) < (uint64_t)MINUTES * 60 * SEC + SEC)
			churn_step(c);
		churn_end(c);
		rotations += c->rotations;
		troubles += c->troubles;
		calls += c->ncalls;
	}
	if (text)
		printf("%u rotations of roots, %u troubles, %u calls\n", rotations, troubles, calls);
	ck_assert_uint_gt(rotations, 0);
	ck_assert_uint_gt(troubles, 0);
	free(c);
}
END_TEST

UNIT_SUITE("identity_churn", no_call_is_lost_or_in_the_open_whatever_becomes_of_who_gives_papers)
