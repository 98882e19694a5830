/* conf/declare_health: an app's inbound sockets and what is declared of its life, out of their YAML: apps[].inbound, apps[].health. What a map says is read into
 * a draft, judged, and becomes a conf_inbound or a conf_listen of the conf_app. Checks, here and of services: declare_check.c.
 *
 * An inbound cluster is named after its app, whose name may stand below it in the file: so it is made once the whole app is read (conf_app_health_settle). */
#include "conf/declare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/authority.h"

/* ---- sockets of ours ---------------------------------------------------------------------------------------------------- */

/* Exactly one of unix and tcp, any address. False: told. told: something of this map is told already; what misses may be it, in another spelling
 * (declare_misses does not help here: `to` is near to `tcp`). */
static bool take_socket(struct schema *s, const struct yaml *node, bool told, const char *unix_path, const char *tcp, struct addr *ret)
{
	static const char *const unix_only[] = {"mode", "group"};
	bool both = declare_has(node, "unix") && declare_has(node, "tcp");
	bool neither = !declare_has(node, "unix") && !declare_has(node, "tcp");

	if (both || (neither && !told)) {
		schema_problem(s, node, "%s, expected exactly one of unix, tcp", both ? "both unix and tcp" : "neither unix nor tcp");
		return false;
	}
	if (unix_path)
		return declare_unix(s, node, unix_path, ret);
	if (!tcp)
		return false;
	for (size_t i = 0; i < sizeof(unix_only) / sizeof(unix_only[0]); i++)
		if (declare_has(node, unix_only[i]))
			declare_problem(s, node, unix_only[i], "only for a unix socket, expected no such key beside tcp");
	if (addr_parse(str_of(tcp), ret) == 0 && !addr_is_unix(ret) && addr_port(ret))
		return true;
	declare_problem(s, node, "tcp", "'%.60s' is no address, expected IP:PORT such as 0.0.0.0:15021", tcp);
	return false;
}

/* take() for each map of the list. */
static void each(struct schema *s, const struct yaml *node, uint32_t max, struct conf_app *a, void (*take)(struct schema *, const struct yaml *, struct conf_app *))
{
	size_t i = 0;

	for (const struct yaml *c = node->first; c && i < max; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);

		if (!c->bad && c->kind == YAML_MAP)
			take(s, c, a);
		else if (!c->bad)
			schema_problem(s, c, "expected a map with unix or tcp");
		schema_pop(s, mark);
	}
}

static bool is_short_list(struct schema *s, const struct yaml *node, uint32_t max)
{
	if (!schema_is_list(s, node, "maps, each with unix or tcp"))
		return false;
	if (node->count > max) {
		schema_problem(s, node, "%zu sockets, expected at most %u an app", node->count, max);
		return false;
	}
	return true;
}

/* ---- calls to the app ---------------------------------------------------------------------------------------------------- */

static struct endpoint_set *one_endpoint(struct schema *s, const struct yaml *node, const char *to)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);
	int code = endpoints_group(b);

	if (code == 0)
		code = endpoints_put_text(b, str_of(to), 1);
	if (code == 0)
		code = endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0);
	if (code == 0)
		return endpoints_done(&b, 0);
	endpoints_drop(&b);
	if (code == -ENAMETOOLONG)
		declare_problem(s, node, "to", "the path is too long, expected at most %zu bytes: the kernel takes no more",
			sizeof(((struct addr *)0)->un.sun_path) - 1);
	else
		declare_problem(s, node, "to", "'%.60s' is no server, expected HOST:PORT, [IPV6]:PORT or unix:/PATH", to);
	return NULL;
}

static void take_inbound(struct schema *s, const struct yaml *node, struct conf_app *a)
{
	struct conf_inbound *in = &a->inbound[a->ninbound];
	struct draft_inbound d = {.in = in};
	const uint32_t problems = s->problems->count;
	bool sound, told;

	schema_init(s, MAP_INBOUND, &d);
	schema_read(s, MAP_INBOUND, node, &d);
	told = s->problems->count != problems;
	if (!told)
		conf_inbound_tls_settle(s, node, in);
	sound = take_socket(s, node, told, d.unix_path, d.tcp, &in->addr);
	if (!declare_has(node, "to") && !told)
		schema_problem(s, node, "has no `to`, expected to: HOST:PORT or unix:/PATH of the app's own server");
	if (d.to)
		in->endpoints = one_endpoint(s, node, d.to);
	if (sound && in->endpoints) {
		in->is_unix = d.unix_path != NULL;
		in->mode = d.mode;
		in->text = xstrdup(in->is_unix ? d.unix_path : d.tcp);
		in->place = schema_place(s, node);
		a->ninbound++;
		declare_claim_address(s, node, &in->addr, in->place);
	} else {
		endpoints_unref(&in->endpoints);
		conf_inbound_tls_end(in);
	}
	free(d.tcp);
	free(d.unix_path);
	free(d.to);
}

void conf_take_inbound(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app *a = base;

	if (!is_short_list(s, node, CONF_INBOUND_MAX))
		return;
	a->inbound = xalloc((node->count + 1) * sizeof(*a->inbound));
	each(s, node, CONF_INBOUND_MAX, a, take_inbound);
}

void conf_app_health_settle(struct conf_app *a)
{
	for (uint32_t i = 0; i < a->ninbound; i++) {
		struct conf_inbound *in = &a->inbound[i];
		char *name = xasprintf("inbound|%s|%s", a->name ? a->name : "", in->text);

		in->spec = spec_new(name);
		/* There is one server, and it is the app: where it does not answer, nobody else would. */
		in->spec->panic_percent = 0;
		spec_seal(in->spec);
		in->action = route_action_new(name);
		free(name);
	}
}

/* Whoever asks there is answered by that door. A door for all addresses of the machine: which those are is not known here, and nobody's app is on another one. */
static bool inbound_is_at(const struct conf_inbound *in, const struct addr *at)
{
	if (addr_eq(&in->addr, at))
		return true;
	return !in->is_unix && !addr_is_unix(at) && addr_is_v6(&in->addr) == addr_is_v6(at) && addr_port(&in->addr) == addr_port(at) &&
		(declare_is_wildcard(&in->addr) || declare_is_wildcard(at));
}

/* The app's own check at the app's own inbound door would wait for the gate that waits for it: the server behind the door is asked. Other doors of ours say nothing about the app. */
static void check_finish(struct schema *s, struct conf_app *a, uint32_t i)
{
	struct health_check *c = a->health.check;
	char text[ADDR_TEXT];
	const char *other;

	if (!c || !c->to_addr.len)
		return;
	for (uint32_t k = 0; k < a->ninbound; k++) {
		struct endpoint e;

		endpoint_get(a->inbound[k].endpoints, 0, &e);
		if (!inbound_is_at(&a->inbound[k], &c->to_addr))
			continue;
		if (!e.host)
			c->to_addr = e.addr;
		else
			problems_add(s->problems, a->inbound[k].place, 0, 0, "apps[%u].health.check: %s is the inbound door, which is closed until the check passes; expected the address of '%s' itself", i,
				addr_text(&c->to_addr, text), e.host);
		return;
	}
	other = declare_listened(s, &c->to_addr);
	if (other)
		problems_add(s->problems, a->place, 0, 0, "apps[%u].health.check: %s is listened on by ourselves (%s), expected the app's own server", i, addr_text(&c->to_addr, text), other);
}

/* What would come back to us for ever. */
void conf_inbound_finish(struct schema *s)
{
	const struct conf *c = s->conf;

	for (uint32_t i = 0; i < c->napps; i++)
		check_finish(s, &c->apps[i], i);
	for (uint32_t i = 0; i < c->napps; i++)
		for (uint32_t k = 0; k < c->apps[i].ninbound; k++) {
			const struct conf_inbound *in = &c->apps[i].inbound[k];
			struct endpoint e;
			char text[ADDR_TEXT];
			const char *other;

			endpoint_get(in->endpoints, 0, &e);
			other = e.host ? NULL : declare_listened(s, &e.addr);
			if (other)
				problems_add(s->problems, in->place, 0, 0,
					"apps[%u].inbound[%u].to: %s is listened on by ourselves (%s), expected the app's own server", i, k,
					addr_text(&e.addr, text), other);
		}
}

/* ---- answers for others --------------------------------------------------------------------------------------------------- */

static void take_listen(struct schema *s, const struct yaml *node, struct conf_app *a)
{
	struct conf_listen *l = &a->health.listen[a->health.listens];
	struct draft_listen d = {.trusted = 0};
	const uint32_t problems = s->problems->count;

	schema_init(s, MAP_HEALTH_LISTEN, &d);
	schema_read(s, MAP_HEALTH_LISTEN, node, &d);
	if (take_socket(s, node, s->problems->count != problems, d.unix_path, d.tcp, &l->addr)) {
		l->is_unix = d.unix_path != NULL;
		l->mode = d.mode;
		l->text = xstrdup(l->is_unix ? d.unix_path : d.tcp);
		l->place = schema_place(s, node);
		if (d.group && *d.group) {
			l->group = d.group;
			d.group = NULL;
		}
		a->health.listens++;
		declare_claim_address(s, node, &l->addr, l->place);
	}
	free(d.unix_path);
	free(d.tcp);
	free(d.group);
}

void conf_take_health_listens(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app *a = base;

	if (!is_short_list(s, node, CONF_LISTENS_MAX))
		return;
	a->health.listen = xalloc((node->count + 1) * sizeof(*a->health.listen));
	each(s, node, CONF_LISTENS_MAX, a, take_listen);
}

/* What a checker may write into a HealthCheckRequest, and a log line can show. "" is the app as a whole, and always known. */
static char *make_service(struct schema *s, const struct yaml *node)
{
	struct str text;
	bool well;

	if (!schema_text(s, node, &text))
		return NULL;
	well = text.n > 0 && text.n <= CONF_HEALTH_SERVICE_BYTES;
	for (size_t i = 0; i < text.n && well; i++)
		well = text.p[i] > ' ' && text.p[i] < 0x7f;
	if (well)
		return xstrndup(text.p, text.n);
	schema_problem(s, node, "'%.60s' is no name of a service, expected one such as org.apache.dubbo.demo.GreeterService, at most %u bytes, no blank in it", text.p,
		CONF_HEALTH_SERVICE_BYTES);
	return NULL;
}

void conf_take_health_services(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app_health *h = &((struct conf_app *)base)->health;

	declare_texts(s, node, "names of services", CONF_HEALTH_SERVICES_MAX, &h->services, &h->nservices, make_service);
}

/* The key is read as the authority of a call would be. */
static bool take_need(struct schema *s, const struct yaml *node, struct conf_need *ret)
{
	char out[AUTHORITY_MAX];
	size_t n;
	uint64_t percent;

	if (authority_clean(str_of(node->key), out, &n) == AUTHORITY_BAD || n == 0 || out[0] == ':' || memchr(out, '/', n)) {
		schema_problem(s, node, "no authority, expected a name such as demo or demo:50051");
		return false;
	}
	if (!schema_count(s, node, 0, 100, &percent))
		return false;
	*ret = (struct conf_need){.name = xstrndup(out, n), .percent = (uint32_t)percent};
	return true;
}

void conf_take_health_needs(struct schema *s, const struct yaml *node, void *base)
{
	struct conf_app_health *h = &((struct conf_app *)base)->health;

	if (node->kind != YAML_MAP || node->count > CONF_HEALTH_NEEDS_MAX) {
		schema_problem(s, node, "expected a map of authority to percent, at most %d, such as {demo: 50}", CONF_HEALTH_NEEDS_MAX);
		return;
	}
	h->needs = xalloc((node->count + 1) * sizeof(*h->needs));
	for (const struct yaml *c = node->first; c; c = c->next) {
		size_t mark = schema_push(s, c->key);

		if (!c->bad && take_need(s, c, &h->needs[h->nneeds]))
			h->nneeds++;
		schema_pop(s, mark);
	}
}

void conf_take_health_uids(struct schema *s, const struct yaml *node, void *base)
{
	declare_ids(s, node, &((struct conf_app *)base)->health.allow_uid);
}

void conf_take_health_gids(struct schema *s, const struct yaml *node, void *base)
{
	declare_ids(s, node, &((struct conf_app *)base)->health.allow_gid);
}

/* ---- ends and hashes ------------------------------------------------------------------------------------------------------ */

void conf_app_health_end(struct conf_app *a)
{
	struct conf_app_health *h = &a->health;

	for (uint32_t i = 0; i < a->ninbound; i++) {
		struct conf_inbound *in = &a->inbound[i];
		spec_unref(&in->spec);
		endpoints_unref(&in->endpoints);
		route_action_unref(&in->action);
		conf_inbound_tls_end(in);
		free(in->text);
		free(in->place);
	}
	free(a->inbound);
	for (uint32_t i = 0; i < h->listens; i++)
		conf_listen_end(&h->listen[i]);
	free(h->listen);
	declare_texts_end(&h->services, &h->nservices);
	for (uint32_t i = 0; i < h->nneeds; i++)
		free(h->needs[i].name);
	free(h->needs);
	if (h->check)
		health_check_end(h->check);
	free(h->check);
	free(h->check_place);
	free(h->allow_uid.ids);
	free(h->allow_gid.ids);
}

uint64_t conf_app_health_hash(const struct conf_app *a, uint64_t h)
{
	const struct conf_app_health *x = &a->health;
	const uint64_t numbers[] = {a->ninbound, x->listens, x->gone_after_ns, x->watch, x->passthrough, x->posts, x->check ? health_check_hash(x->check) : 0};

	h = str_hash_seeded(str_n((const char *)numbers, sizeof(numbers)), h);
	for (uint32_t i = 0; i < a->ninbound; i++) {
		const struct conf_inbound *in = &a->inbound[i];
		const uint64_t of[] = {in->is_unix, in->mode, in->spec->hash, endpoints_hash(in->endpoints), in->action->timeout_ns};

		h = str_hash_seeded(str_n((const char *)of, sizeof(of)), conf_inbound_tls_hash(in, declare_hash_text(h, in->text)));
	}
	for (uint32_t i = 0; i < x->listens; i++)
		h = declare_hash_listen(h, &x->listen[i]);
	for (uint32_t i = 0; i < x->nneeds; i++)
		h = declare_hash_text(declare_hash_value(h, x->needs[i].percent), x->needs[i].name);
	return declare_hash_ids(declare_hash_ids(declare_hash_texts(h, x->services, x->nservices), &x->allow_uid), &x->allow_gid);
}
