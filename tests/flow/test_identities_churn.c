/* Identities that come, go, break and change in any order, while calls are made and doors are knocked at: nothing is lost or used after its end, nothing goes out in plain text or as nobody, and when
 * all is well again calls are answered. Each seed is another order; SEEDS=FROM,N runs others than those of every day. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sidecar/identities.h"
#include "tests/flow/rig_sds.h"
#include "tests/flow/rig_tls.h"
#include "tests/unit.h"

#define TD "spiffe://cluster.local/ns/default/sa/"
#define ONE "one.example:1"
#define IN "10.9.0.1:20880"
enum { STEPS = 250, CALLS = 400, DOORS = 64 };

struct churn {
	struct rig *r;
	uint64_t chance;
	struct authority *mesh, *other;
	struct provider *secure, *plain, *server;
	struct tls_want *anybody;
	struct sds_server *agent;
	struct rig_who cart, stranger;
	struct caller *app, *doors[DOORS];
	struct call *calls[CALLS];
	uint32_t ndoors, ncalls;
	char dir[64];
	struct sb yaml;
};

static uint32_t pick(struct churn *w, uint32_t n)
{
	w->chance ^= w->chance << 13;
	w->chance ^= w->chance >> 7;
	w->chance ^= w->chance << 17;
	return (uint32_t)((w->chance >> 16) % n);
}

/* ---- papers ---- */

static void put(const struct churn *w, const char *name, struct str bytes)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", w->dir, name);
	f = fopen(path, "w"); /* in place: half-written files are among what is seen */
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes.p, 1, bytes.n, f), bytes.n);
	ck_assert_int_eq(fclose(f), 0);
}

static void leaf(struct churn *w, struct authority *by, struct sb *chain, struct sb *key)
{
	static const char *const accounts[] = {"shop", "shop", "shop", "till"};
	char sans[160];
	struct paper how = {.sans = sans};

	snprintf(sans, sizeof sans, "URI:" TD "%s", accounts[pick(w, 4)]);
	if (pick(w, 6) == 0)
		how = (struct paper){.sans = sans, .from_s = -100, .to_s = (int64_t)pick(w, 60) - 20};
	authority_leaf(by, &how, chain, key);
	sb_char(chain, '\0');
	sb_char(key, '\0');
}

static const char *roots(struct churn *w, uint32_t which, struct sb *out)
{
	sb_fmt(out, "%s%s", which != 1 ? authority_pem(w->mesh) : "", which != 0 ? authority_pem(w->other) : "");
	return out->p;
}

static void files_change(struct churn *w, uint32_t how)
{
	struct sb chain = {0}, key = {0}, pem = {0};
	char path[128];

	leaf(w, how == 1 ? w->other : w->mesh, &chain, &key);
	if (how == 2)
		chain.n /= 2;
	if (how != 3)
		put(w, "shop.pem", str_n(chain.p, chain.n - 1));
	if (how != 4)
		put(w, "shop-key.pem", str_n(key.p, key.n - 1));
	if (how == 5) {
		snprintf(path, sizeof path, "%s/shop-key.pem", w->dir);
		ck_assert_int_eq(unlink(path), 0);
	}
	if (how >= 6)
		put(w, "roots.pem", how == 9 ? STR("no roots") : str_of(roots(w, how - 6, &pem)));
	identities_thaw(w->r->sc->identities);
	sb_end(&chain);
	sb_end(&key);
	sb_end(&pem);
}

static void agent_changes(struct churn *w, uint32_t how)
{
	struct sb chain = {0}, key = {0}, pem = {0};

	leaf(w, how == 1 ? w->other : w->mesh, &chain, &key);
	if (how <= 2)
		sds_server_cert(w->agent, "default", how == 2 ? "garbage" : chain.p, key.p);
	else if (how <= 5)
		sds_server_roots(w->agent, "ROOTCA", roots(w, how - 3, &pem));
	else if (how == 6)
		sds_server_bytes(w->agent, pick(w, 2) ? "default" : "ROOTCA", "\xff\xff\xff", 3);
	else if (how == 7)
		plane_cut(w->agent->plane);
	else
		w->agent->mute = !w->agent->mute && pick(w, 3) == 0;
	sb_end(&chain);
	sb_end(&key);
	sb_end(&pem);
}

/* ---- what is declared ---- */

static const char *declared(struct churn *w)
{
	bool sds = pick(w, 2), nobody = pick(w, 12) == 0;
	static const char *const tls[] = {"", ", tls: strict", ", tls: permissive", ", tls: strict"};
	static const char *const names[] = {"", ", san: [\"" TD "demo\"]", ", san: [\"" TD "demo\", \"" TD "x\"]", ", san: [\"" TD "nobody\"]"};

	w->yaml.n = 0;
	sb_fmt(&w->yaml, "snapshot: {dir: \"\"}\napps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n");
	if (nobody)
		sb_str(&w->yaml, "");
	else if (sds)
		sb_str(&w->yaml, "    identity: {sds: {server: \"unix:/run/sds.sock\"}}\n");
	else
		sb_fmt(&w->yaml, "    identity: {cert: %s/shop.pem, key: %s/shop-key.pem, roots: %s/roots.pem}\n", w->dir, w->dir, w->dir);
	if (!nobody)
		sb_fmt(&w->yaml, "    inbound:\n      - {tcp: \"" IN "\", to: \"unix:/run/server.sock\"%s}\n", tls[pick(w, 4)]);
	sb_fmt(&w->yaml, "services:\n  - {name: \"two.example:1\", endpoints: [\"10.0.0.2:1\"], tls: {roots: %s/roots.pem, sni: demo}}\n", w->dir);
	if (!nobody)
		sb_fmt(&w->yaml, "  - {name: \"" ONE "\", endpoints: [\"10.0.0.1:1\"], tls: {roots: %s/roots.pem, sni: demo, identity: shop%s}}\n", w->dir, names[pick(w, 4)]);
	sb_char(&w->yaml, '\0');
	return w->yaml.p;
}

static const char *well(struct churn *w)
{
	w->yaml.n = 0;
	sb_fmt(&w->yaml, "snapshot: {dir: \"\"}\napps:\n  - name: shop\n    listen: [{unix: /run/shop.sock}]\n    identity: {cert: %s/shop.pem, key: %s/shop-key.pem, roots: %s/roots.pem}\n", w->dir, w->dir, w->dir);
	sb_fmt(&w->yaml, "services:\n  - {name: \"" ONE "\", endpoints: [\"10.0.0.1:1\"], tls: {roots: %s/roots.pem, sni: demo, identity: shop, san: [\"" TD "demo\"]}}\n", w->dir);
	sb_char(&w->yaml, '\0');
	return w->yaml.p;
}

/* ---- what happens ---- */

static void knocks(struct churn *w)
{
	struct caller *c;

	if (w->ndoors == DOORS)
		return;
	c = pick(w, 3) == 0 ? caller_start(w->r, IN) : caller_tls_start(w->r, IN, pick(w, 4) ? &w->cart : &w->stranger);
	if (c)
		w->doors[w->ndoors++] = c;
}

static void door_call(struct churn *w)
{
	struct caller *c = w->ndoors ? w->doors[pick(w, w->ndoors)] : NULL;

	if (c && c->h2 && c->up && w->ncalls < CALLS)
		w->calls[w->ncalls++] = call_unary(c, "any", NULL);
}

static void app_calls(struct churn *w, const char *authority)
{
	if (!w->app || !w->app->h2)
		w->app = caller_new(w->r, DOOR);
	if (w->app && w->app->h2 && w->app->up && w->ncalls < CALLS)
		w->calls[w->ncalls++] = call_unary(w->app, authority, NULL);
}

static void step(struct churn *w)
{
	switch (pick(w, 16)) {
	case 0: case 1: files_change(w, pick(w, 10)); break;
	case 2: case 3: agent_changes(w, pick(w, 9)); break;
	case 4: case 5: case 6: app_calls(w, ONE); break;
	case 7: app_calls(w, "two.example:1"); break;
	case 8: case 9: knocks(w); break;
	case 10: door_call(w); break;
	case 11:
		if (w->ncalls && w->calls[w->ncalls - 1]->stream)
			call_cancel(w->calls[w->ncalls - 1]);
		break;
	case 12: provider_cut(w->secure); break;
	case 13: provider_listen(w->secure, pick(w, 2)); break;
	case 14: provider_stall(w->secure, pick(w, 3) == 0); break;
	case 15: rig_reload(w->r, declared(w)); break;
	}
	rig_advance(w->r, pick(w, 3) ? pick(w, 5) : pick(w, 1500));
	ck_assert_uint_eq(w->plain->requests, 0);
	ck_assert_uint_eq(w->plain->handshakes, 0);
	const struct served *s = provider_last(w->secure);
	ck_assert_msg(!s || !s->conn || strncmp(s->conn->peer, TD, strlen(TD)) == 0, "a call as '%s'", s && s->conn ? s->conn->peer : "");
}

static struct churn *churn_new(uint64_t seed)
{
	struct churn *w = xnew(struct churn);

	w->r = rig_bare(seed);
	w->chance = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	snprintf(w->dir, sizeof w->dir, "/tmp/thinmesh-churn-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
	w->mesh = authority_new("mesh", rig_now_s(w->r));
	w->other = authority_new("other", rig_now_s(w->r));
	put(w, "shop.pem", STR("")); /* nothing is well at first */
	put(w, "shop-key.pem", STR(""));
	put(w, "roots.pem", str_of(authority_pem(w->mesh)));
	w->agent = sds_server_new(w->r->net, &w->r->account, "unix:/run/sds.sock");
	w->secure = provider_new(w->r, "10.0.0.1:1", ANSWERS);
	w->plain = provider_new(w->r, "10.0.0.2:1", ANSWERS);
	w->server = provider_new(w->r, "unix:/run/server.sock", ANSWERS);
	w->anybody = tls_want_new();
	tls_want_seal(w->anybody);
	w->secure->clients = w->anybody;
	provider_tls(w->secure, w->mesh, "URI:" TD "demo,DNS:demo", authority_pem(w->mesh));
	rig_who(&w->cart, w->mesh, &(struct paper){.sans = "URI:" TD "cart"}, NULL, "h2");
	rig_who(&w->stranger, w->other, &(struct paper){.sans = "URI:" TD "cart"}, NULL, "h2");
	rig_start(w->r, declared(w));
	w->app = caller_new(w->r, DOOR);
	rig_settle(w->r);
	return w;
}

static void churn_end(struct churn *w)
{
	char command[128];

	rig_who_end(&w->cart);
	rig_who_end(&w->stranger);
	sidecar_free(&w->r->sc);
	sds_server_end(w->agent);
	rig_advance(w->r, 1000);
	sds_server_free(&w->agent);
	tls_context_unref(&w->secure->tls);
	tls_want_unref(&w->anybody);
	rig_free(&w->r);
	authority_free(&w->mesh);
	authority_free(&w->other);
	snprintf(command, sizeof command, "rm -r %s", w->dir);
	ck_assert_int_eq(system(command), 0);
	sb_end(&w->yaml);
	free(w);
}

/* All is well again: so are the calls. */
static void is_well(struct churn *w, uint64_t seed)
{
	struct sb chain = {0}, key = {0};
	struct call *k;

	authority_leaf(w->mesh, &(struct paper){.sans = "URI:" TD "shop"}, &chain, &key);
	put(w, "shop.pem", sb_view(&chain));
	put(w, "shop-key.pem", sb_view(&key));
	put(w, "roots.pem", str_of(authority_pem(w->mesh)));
	sb_end(&chain);
	sb_end(&key);
	provider_listen(w->secure, true);
	provider_stall(w->secure, false);
	ck_assert_msg(rig_reload(w->r, well(w)) == 0, "%s", w->r->err);
	identities_thaw(w->r->sc->identities);
	rig_advance(w->r, 40000);
	w->app = caller_new(w->r, DOOR);
	rig_settle(w->r);
	k = call_unary(w->app, ONE, NULL);
	rig_advance(w->r, 10000);
	ck_assert_msg(call_ok(k), "seed %llu: %d '%s'", (unsigned long long)seed, k->grpc, call_text(k));
}

START_TEST(whatever_happens_to_identities_nothing_is_lost_and_calls_are_well_when_they_are)
{
	const char *seeds = getenv("SEEDS");
	unsigned long from = seeds ? strtoul(seeds, NULL, 10) : 1, n = seeds && strchr(seeds, ',') ? strtoul(strchr(seeds, ',') + 1, NULL, 10) : 3;

	for (unsigned long seed = from; seed < from + n; seed++) {
		struct churn *w = churn_new(seed);
		if (seeds)
			fprintf(stderr, "seed %lu\n", seed);
		for (int i = 0; i < STEPS; i++)
			step(w);
		if (seed % 3) /* else it ends in the middle of everything */
			is_well(w, seed);
		churn_end(w);
	}
}
END_TEST

UNIT_SUITE("identities churn", whatever_happens_to_identities_nothing_is_lost_and_calls_are_well_when_they_are)
