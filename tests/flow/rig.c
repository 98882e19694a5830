/* tests/flow/rig: the world: simnet, the sidecar, the clock, and the check at the end that nothing is left. See rig.h. */
#include "tests/flow/rig.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/flow/rig_ads.h"
#include "tests/flow/rig_int.h"

void rig_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("rig: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	abort();
}

static const char *env(void *ctx, const char *name)
{
	const struct rig *r = ctx;

	return strcmp(name, "GRPC_XDS_BOOTSTRAP_CONFIG") == 0 ? r->bootstrap : NULL;
}

static struct conf *rig_conf(struct rig *r, const char *yaml)
{
	struct err err = ERR_INIT;
	struct conf *c = conf_load_text("rig.yaml", yaml, env, r, &err);

	snprintf(r->err, sizeof(r->err), "%s", c ? "" : err_str(&err));
	err_clear(&err);
	return c;
}

static struct conf *on_reload(void *ctx, struct err *err)
{
	struct rig *r = ctx;

	return conf_load_text("rig.yaml", r->yaml, env, r, err);
}

static void on_log(void *ctx, enum log_level level, const char *line, size_t n)
{
	(void)ctx, (void)level;
	fwrite(line, 1, n, stderr);
}

struct rig *rig_bare(uint64_t seed)
{
	struct rig *r = xnew(struct rig);

	r->net = simnet_new(seed);
	r->loop = simnet_loop(r->net);
	r->log = log_new(LOG_INFO, 16384);
	if (getenv("RIG_LOG"))
		log_set_sink(r->log, on_log, NULL);
	r->loop->log = r->log;
	r->dns = dns_new_table(r->loop, 5 * MS);
	account_init(&r->account, NULL, "fakes", SIZE_MAX);
	conf_limits_default(&r->lim);
	/* The fakes are patient and wide, so that what is counted on the loop they share is the sidecar's. */
	r->lim.header_bytes = r->lim.header_wire_bytes = 1 << 20;
	r->lim.header_budget = 1 << 30;
	r->lim.field_count = 1000;
	r->lim.continuations = 1000;
	r->lim.streams_per_connection = 100000;
	r->lim.control_frames = r->lim.premature_resets = 1 << 20;
	r->lim.outbound_queue = 1 << 20;
	r->lim.stall_ns = r->lim.preface_time_ns = r->lim.header_time_ns = 1000000 * SEC;
	r->lim.window_down = r->lim.window_up = 65535;
	list_init(&r->callers);
	list_init(&r->calls);
	list_init(&r->providers);
	list_init(&r->raws);
	list_init(&r->planes);
	return r;
}

void rig_start(struct rig *r, const char *yaml)
{
	struct err err = ERR_INIT;
	struct conf *c = rig_conf(r, yaml);

	if (!c)
		rig_die("the configuration is refused:\n%s", r->err);
	struct sidecar_spec spec = {.loop = r->loop, .log = r->log, .dns = r->dns, .conf = c, .reload = on_reload, .ctx = r};
	if (sidecar_new(&spec, &r->sc, &err) != 0)
		rig_die("the sidecar does not start: %s", err_str(&err));
	/* All limits are tried with the same memory, whatever machine this is. */
	rig_settle(r);
}

struct rig *rig_new_seeded(const char *yaml, uint64_t seed)
{
	struct rig *r = rig_bare(seed);

	rig_start(r, yaml);
	return r;
}

struct rig *rig_new(const char *yaml)
{
	return rig_new_seeded(yaml, 7);
}

struct rig *rig_demo(const char *endpoints, const char *more, const char *top)
{
	struct sb b = {0};

	sb_fmt(&b, "apps:\n  - name: shop\n    listen:\n      - unix: /run/shop.sock\nservices:\n  - name: " DEMO "\n    endpoints: [");
	/* Quoted one by one: an address has a colon, which YAML would take for a map. */
	for (const char *p = endpoints; *p;) {
		size_t n = strcspn(p, " ");
		sb_fmt(&b, "%s\"%.*s\"", p == endpoints ? "" : ", ", (int)n, p);
		p += n + (p[n] == ' ');
	}
	sb_fmt(&b, "]\n%s%s", more ? more : "", top ? top : "");
	struct rig *r = rig_new(b.p);
	sb_end(&b);
	return r;
}

struct plane *rig_plane(struct rig *r, const char *at, int kind)
{
	struct plane *p = plane_new(r->net, &r->account, at, (enum plane_kind)kind);

	list_push(&r->planes, &p->node);
	return p;
}

void rig_advance(struct rig *r, uint64_t ms)
{
	simnet_advance(r->net, ms * MS);
}

void rig_settle(struct rig *r)
{
	simnet_advance(r->net, 0);
}

int rig_reload(struct rig *r, const char *yaml)
{
	r->yaml = yaml;
	int rc = sidecar_reload(r->sc);
	rig_settle(r);
	return rc;
}

uint64_t rig_stat(const struct rig *r, enum stat_id id)
{
	return stat_get(&r->loop->stats, id);
}

size_t rig_memory(const struct rig *r)
{
	return r->loop->memory.used;
}

/* ---- the end ---- */

static void must_be_zero(const char *what, uint64_t n)
{
	if (n)
		rig_die("at the end %llu %s are left", (unsigned long long)n, what);
}

void rig_free(struct rig **pr)
{
	struct rig *r = *pr;

	if (!r)
		return;
	*pr = NULL;
	r->on_call_end = NULL;
	r->on_served = NULL;
	sidecar_free(&r->sc);
	must_be_zero("calls", rig_stat(r, STAT_CALLS_ACTIVE));
	must_be_zero("parked calls", rig_stat(r, STAT_PARKED));
	rig_end_apps(r);
	rig_end_providers(r);
	rig_end_raws(r);
	list_each(n, tmp, &r->planes)
		plane_end(list_entry(n, struct plane, node));
	rig_advance(r, 1000); /* what is on its way arrives, and dies */
	rig_end_apps(r);
	for (struct list *n; (n = list_pop(&r->planes));) {
		struct plane *p = list_entry(n, struct plane, node);
		plane_free(&p);
	}
	dns_free(&r->dns);
	rig_settle(r);
	must_be_zero("connections of apps", rig_stat(r, STAT_CONNS_DOWN));
	must_be_zero("connections to providers", rig_stat(r, STAT_CONNS_UP));
	must_be_zero("open ends", (uint64_t)simnet_open(r->net));
	must_be_zero("bytes of the process's account", r->loop->memory.used);
	must_be_zero("bytes of the fakes' account", r->account.used);
	account_end(&r->account);
	rig_bury_apps(r);
	rig_bury_providers(r);
	rig_bury_raws(r);
	r->loop->log = NULL;
	simnet_free(&r->net);
	log_free(&r->log);
	free(r);
}

/* ---- what callers and providers share ---- */

struct fields *rig_fields(struct rig *r, const char *lines)
{
	struct fields *f = fields_new(r->loop->fields, &r->account);

	rig_add_fields(f, lines);
	return f;
}

void rig_add_fields(struct fields *f, const char *lines)
{
	while (lines && *lines) {
		const char *end = strchr(lines, '\n');
		size_t n = end ? (size_t)(end - lines) : strlen(lines);
		const char *colon = memchr(lines + 1, ':', n - 1); /* a pseudo-header begins with one */
		if (!colon)
			rig_die("'%.*s' is no field", (int)n, lines);
		struct str name = str_n(lines, (size_t)(colon - lines)), value = str_trim(str_n(colon + 1, n - (size_t)(colon - lines) - 1));
		fields_add(f, name, value);
		lines += n + (end ? 1 : 0);
	}
}

void rig_keep_fields(struct sb *b, const struct fields *f)
{
	fields_each(e, f) {
		sb_add(b, e->name, e->name_len);
		sb_str(b, ": ");
		sb_add(b, e->value, e->value_len);
		sb_char(b, '\n');
	}
}

const char *rig_find_field(const struct sb *b, const char *name)
{
	static char found[8][65536]; /* a test looks at a few at a time */
	static int turn;
	size_t len = strlen(name);

	for (const char *p = b->p, *end = b->p + b->n; p && p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((nl ? nl : end) - p);
		if (n >= len + 2 && memcmp(p, name, len) == 0 && p[len] == ':' && p[len + 1] == ' ') {
			char *out = found[turn = (turn + 1) % 8];
			snprintf(out, sizeof(found[0]), "%.*s", (int)(n - len - 2), p + len + 2);
			return out;
		}
		p += n + 1;
	}
	return NULL;
}

/* FNV-1a: goes on from where it was, so chunks do not matter. */
uint64_t rig_hash(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	if (!h)
		h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(1099511628211);
	return h;
}

void rig_take(struct chain *data, struct sb *keep, uint64_t *bytes, uint64_t *hash)
{
	struct chain mine = CHAIN_INIT;

	chain_move(&mine, data);
	for (struct slice *s = mine.head; s; s = s->next) {
		*hash = rig_hash(*hash, s->p, s->n);
		*bytes += s->n;
		if (keep->n < 1 << 20)
			sb_add(keep, s->p, s->n);
	}
	chain_clear(&mine);
}

/* Bytes by their place: a byte lost, doubled or moved changes the hash. */
void rig_pattern(char *out, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t at = from + i;
		out[i] = (char)(at * 131 + (at >> 8) * 7 + (at >> 16));
	}
}
