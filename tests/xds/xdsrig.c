/* tests/xds/xdsrig: see xdsrig.h. */
#include "tests/xds/xdsrig.h"
#include <stdio.h>
#include <stdlib.h>
#include "conf/conf.h"

static const char node[] = "\x0a\x39sidecar~10.0.0.7~shop-1.default~default.svc.cluster.local";
/* The same with metadata that has a field GENERATOR, which is all that the plane looks for. */
static const char grpc_node[] = "\x0a\x39sidecar~10.0.0.7~shop-1.default~default.svc.cluster.local\x1a\x09GENERATOR";

static void tell(struct xdsrig *r, const char *text, struct str name)
{
	sb_fmt(&r->told, "%s%s%.*s", r->told.n ? "; " : "", text, (int)name.n, name.p);
}

static void tell_of(struct xdsrig *r, const char *sign, enum xds_type t, struct str name)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%s ", sign, xds_type_name[t]);
	tell(r, text, name);
}

/* Field 1 of the bytes, which is the name in all four types. */
static struct str name_of(const struct xdsrig *r)
{
	const uint8_t *p = (const uint8_t *)r->bytes.p;

	return r->bytes.n >= 2 && p[0] == 0x0a && p[1] < 128 && (size_t)p[1] + 2 <= r->bytes.n ? str_n((const char *)p + 2, p[1]) : STR("?");
}

static bool resource_begin(void *ctx, enum xds_type t, struct str name, size_t n, struct sb *problems)
{
	struct xdsrig *r = ctx;

	(void)name, (void)n;
	ck_assert(!r->reading);
	if (r->refuse_begin) {
		sb_str(problems, "too large");
		return false;
	}
	r->reading = true;
	r->type = t;
	r->bytes.n = 0;
	return true;
}

static void resource_bytes(void *ctx, const void *p, size_t n)
{
	struct xdsrig *r = ctx;

	ck_assert(r->reading);
	r->taken += n;
	if (r->bytes.n < 4096)
		sb_add(&r->bytes, p, n);
}

static void remember(struct xdsrig *r, struct str name)
{
	uint32_t i = 0;

	if (name.n >= sizeof(r->last[0].name))
		return;
	while (i < r->nlast && !(r->last[i].type == r->type && str_is(name, r->last[i].name)))
		i++;
	if (i == UNIT_COUNT(r->last))
		return;
	if (i == r->nlast) {
		r->nlast++;
		r->last[i].type = r->type;
		memcpy(r->last[i].name, name.p, name.n);
	}
	r->last[i].hash = str_hash(sb_view(&r->bytes));
}

uint64_t xdsrig_hash(const struct xdsrig *r, enum xds_type t, const char *name)
{
	for (uint32_t i = 0; i < r->nlast; i++)
		if (r->last[i].type == t && strcmp(r->last[i].name, name) == 0)
			return r->last[i].hash;
	return 0;
}

static int resource_end(void *ctx, struct sb *problems)
{
	struct xdsrig *r = ctx;
	struct str name = name_of(r);

	ck_assert(r->reading);
	r->reading = false;
	r->resources++;
	if (r->refuse && (str_is(name, r->refuse) || strcmp(r->refuse, "*") == 0)) {
		sb_fmt(problems, "%.*s: %s", (int)name.n, name.p, r->reason ? r->reason : "endpoints: bad");
		return -1;
	}
	remember(r, name);
	tell_of(r, "+", r->type, name);
	return 0;
}

static void resource_cut(void *ctx)
{
	struct xdsrig *r = ctx;

	r->reading = false;
	tell(r, "cut", str_n("", 0));
}

static void removed(void *ctx, enum xds_type t, struct str name)
{
	tell_of(ctx, "-", t, name);
}

static void answered(void *ctx, enum xds_type t, bool full, bool refused, struct str version)
{
	struct xdsrig *r = ctx;
	char text[32];

	(void)version;
	snprintf(text, sizeof(text), "%s %s%s", xds_type_name[t], refused ? "refused" : "ok", full ? " full" : "");
	tell(ctx, text, str_n("", 0));
	if (r->wants_then) {
		xdsrig_want(r, XDS_EDS, r->wants_then);
		r->wants_then = NULL;
	}
}

static void silent(void *ctx, enum xds_type t, struct str name)
{
	tell_of(ctx, "silent ", t, name);
}

static void state(void *ctx, bool up, const char *why)
{
	(void)why;
	tell(ctx, up ? "up" : "down", str_n("", 0));
}

static const struct sub_events events = {.resource_begin = resource_begin, .resource_bytes = resource_bytes, .resource_end = resource_end, .resource_cut = resource_cut, .removed = removed,
	.answered = answered, .silent = silent, .state = state};

static void on_log(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct xdsrig *r = ctx;

	(void)level;
	sb_add(&r->logged, line, n);
	if (getenv("RIG_LOG"))
		fwrite(line, 1, n, stderr);
}

struct xdsrig *xdsrig_new(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol)
{
	return xdsrig_new_seeded(kind, profile, protocol, 7);
}

struct xdsrig *xdsrig_new_seeded(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol, uint64_t seed)
{
	struct xdsrig *r = xnew(struct xdsrig);

	r->net = simnet_new(seed);
	r->loop = simnet_loop(r->net);
	r->log = log_new(LOG_INFO, 0);
	log_set_sink(r->log, on_log, r);
	r->loop->log = r->log;
	r->dns = dns_new_table(r->loop, 5 * MS);
	r->reader = reader_new(r->loop);
	account_init(&r->account, NULL, "planes", SIZE_MAX);
	conf_limits_default(&r->limits);
	r->plane = plane_new(r->net, &r->account, ISTIOD, kind);
	r->servers[0] = xstrdup(ISTIOD);
	r->conf = (struct conf_xds){.servers = r->servers, .nservers = 1, .profile = profile, .protocol = protocol, .connect_timeout_ns = 5 * SEC, .cds = true};
	return r;
}

struct plane *xdsrig_other(struct xdsrig *r, const char *at, enum plane_kind kind)
{
	r->other = plane_new(r->net, &r->account, at, kind);
	return r->other;
}

void xdsrig_start(struct xdsrig *r)
{
	bool grpc = r->conf.profile == PROFILE_ISTIO_GRPC;
	struct ads_spec spec = {.loop = r->loop, .log = r->log, .dns = r->dns, .limits = &r->limits, .conf = &r->conf, .path = "", .view = "shop",
		.transports = r->transports, .reader = r->reader, .space = &r->space};

	r->ads = ads_new(&spec, NULL, NULL);
	struct sub_spec sub = {.loop = r->loop, .log = r->log, .ads = r->ads, .conf = &r->conf, .node = grpc ? grpc_node : node, .node_n = (grpc ? sizeof(grpc_node) : sizeof(node)) - 1, .view = "shop"};
	r->sub = sub_new(&sub, &events, r);
	ads_start(r->ads);
	xdsrig_settle(r);
}

/* ---- TLS ---- */

static struct secret *space_get(void *ctx, const struct secret_ref *ref, const char **why)
{
	struct xdsrig *r = ctx;
	struct secret *s = ref->kind == SECRET_CERT ? r->cert : r->roots;

	*why = "the app has no identity";
	return s ? secret_ref(s) : NULL;
}

struct tls_want *xdsrig_want_tls(bool identity)
{
	struct tls_want *w = tls_want_new();

	secret_ref_set(&w->roots, SECRET_ROOTS, SECRET_FILES, STR("/etc/roots.pem"));
	if (identity)
		secret_ref_set(&w->cert, SECRET_CERT, SECRET_IDENTITY, STR(""));
	w->names = TLS_NAMES_SERVER;
	tls_want_seal(w);
	return w;
}

void xdsrig_put_roots(struct xdsrig *r, const char *pem)
{
	struct tls_trust *trust;
	struct err err = ERR_INIT;
	const char *why;

	ck_assert_msg(tls_trust_new("roots", str_of(pem), NULL, &trust, &err) == 0, "%s", err_str(&err));
	ck_assert_int_eq(secret_put_trust(r->roots, trust, &why), 0);
}

void xdsrig_put_cert_for(struct xdsrig *r, const char *uri, int64_t life_s)
{
	struct sb chain = {0}, key = {0}, sans = {0};
	struct tls_cert *cert;
	struct err err = ERR_INIT;
	const char *why;

	sb_fmt(&sans, "URI:%s", uri);
	authority_leaf(r->authority, &(struct paper){.sans = sans.p, .from_s = -120, .to_s = life_s}, &chain, &key);
	ck_assert_msg(tls_cert_new("cert", sb_view(&chain), sb_view(&key), &cert, &err) == 0, "%s", err_str(&err));
	ck_assert_int_eq(secret_put_cert(r->cert, cert, &why), 0);
	sb_end(&chain);
	sb_end(&key);
	sb_end(&sans);
}

void xdsrig_put_cert(struct xdsrig *r, const char *uri)
{
	xdsrig_put_cert_for(r, uri, 86400);
}

void xdsrig_tls(struct xdsrig *r)
{
	r->transports = transports_new(r->loop);
	r->authority = authority_new("mesh", (int64_t)(r->loop->ops->wall_ns(r->loop->ops_ctx) / SEC));
	r->server = ca_tls(r->authority, "DNS:istiod.istio-system.svc,IP:10.9.0.1", authority_pem(r->authority));
	r->clients = tls_want_new();
	r->clients->no_client_cert = true;
	tls_want_seal(r->clients);
	r->plane->tls = r->server;
	r->plane->clients = r->clients;
	r->space = (struct secret_space){.get = space_get, .ctx = r};
	r->cert = secret_new(r->transports, SECRET_CERT, "default", "the test", NULL, NULL);
	r->roots = secret_new(r->transports, SECRET_ROOTS, "/etc/roots.pem", "the test", NULL, NULL);
	xdsrig_put_roots(r, authority_pem(r->authority));
	r->conf.tls.on = r->conf.tls.identity = true;
	r->conf.tls.want = xdsrig_want_tls(true);
	r->conf.tls.bare = xdsrig_want_tls(false);
}

static void tls_end(struct xdsrig *r)
{
	tls_want_unref(&r->conf.tls.want);
	tls_want_unref(&r->conf.tls.bare);
	tls_want_unref(&r->clients);
	secret_unref(&r->cert);
	secret_unref(&r->roots);
	tls_context_unref(&r->server);
	authority_free(&r->authority);
	if (r->transports)
		transports_free(&r->transports);
}

void xdsrig_free(struct xdsrig **pr)
{
	struct xdsrig *r = *pr;

	*pr = NULL;
	sub_free(&r->sub);
	ads_free(&r->ads);
	plane_end(r->plane);
	if (r->other)
		plane_end(r->other);
	xdsrig_advance(r, 1000);
	plane_free(&r->plane);
	plane_free(&r->other);
	dns_free(&r->dns);
	reader_free(&r->reader);
	xdsrig_settle(r);
	tls_end(r);
	ck_assert_uint_eq(r->loop->memory.used, 0);
	ck_assert_uint_eq(r->account.used, 0);
	ck_assert_int_eq(simnet_open(r->net), 0);
	account_end(&r->account);
	r->loop->log = NULL;
	simnet_free(&r->net);
	log_free(&r->log);
	for (size_t i = 0; i < UNIT_COUNT(r->servers); i++)
		free(r->servers[i]);
	sb_end(&r->told);
	sb_end(&r->last_told);
	sb_end(&r->logged);
	sb_end(&r->bytes);
	free(r);
}

void xdsrig_advance(struct xdsrig *r, uint64_t ms)
{
	simnet_advance(r->net, ms * MS);
}

void xdsrig_settle(struct xdsrig *r)
{
	simnet_advance(r->net, 0);
}

/* Two lives: the text of the last one stays until the next is asked for. */
const char *xdsrig_told(struct xdsrig *r)
{
	struct sb was = r->last_told;

	r->last_told = r->told;
	r->told = was;
	r->told.n = 0;
	if (!r->last_told.n)
		return "";
	sb_add(&r->last_told, "", 1);
	return r->last_told.p;
}

void xdsrig_want(struct xdsrig *r, enum xds_type t, const char *name)
{
	sub_want(r->sub, t, str_of(name));
}

void xdsrig_unwant(struct xdsrig *r, enum xds_type t, const char *name)
{
	sub_unwant(r->sub, t, str_of(name));
}

bool xdsrig_answered(struct xdsrig *r, enum xds_type t, const char *name)
{
	return sub_is_answered(r->sub, t, str_of(name));
}
