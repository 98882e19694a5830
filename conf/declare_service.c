/* conf/declare_service: services with their endpoints and retries, out of their YAML. What is declared of one becomes a cluster_spec, an
 * endpoint_set and a route_action, which the mesh table then shares; the draft on the stack ends here. */
#include "conf/declare.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- services ----------------------------------------------------------------------------------------------------------- */

enum { RETRY_WORDS_MAX = 32 }; /* more than there are */

static const char *next_retry_word(void *ctx, uint32_t i)
{
	(void)ctx;
	return retry_on_name(i);
}

void conf_take_retry_on(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_service *d = base;
	size_t i = 0;

	if (!schema_is_list(s, node, "words such as unavailable"))
		return;
	if (node->count > RETRY_WORDS_MAX) {
		schema_problem(s, node, "%zu words, expected at most %d", node->count, RETRY_WORDS_MAX);
		return;
	}
	d->retry.on = 0;
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		struct str word;
		char near[80];

		if (!c->bad && schema_text(s, c, &word)) {
			uint32_t on = retry_on_word(word);
			if (!on) {
				struct sb known = {0};
				for (uint32_t k = 0; retry_on_name(k); k++)
					sb_fmt(&known, "%s%s", k ? ", " : "", retry_on_name(k));
				schema_nearest(word, next_retry_word, NULL, near, sizeof(near));
				schema_problem(s, c, "'%.40s' is not known, expected one of %.*s%s", word.p, (int)known.n, known.p, near);
				sb_end(&known);
			}
			d->retry.on |= on;
		}
		schema_pop(s, mark);
	}
}

void conf_take_statuses(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_service *d = base;
	const uint32_t max = sizeof(d->retry.statuses) / sizeof(d->retry.statuses[0]);
	uint64_t status;
	size_t i = 0;

	if (!schema_is_list(s, node, "HTTP statuses"))
		return;
	if (node->count > max) {
		schema_problem(s, node, "%zu statuses, expected at most %u", node->count, max);
		return;
	}
	d->retry.status_count = 0;
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		if (!c->bad && schema_count(s, c, 200, 599, &status))
			d->retry.statuses[d->retry.status_count++] = (uint16_t)status;
		schema_pop(s, mark);
	}
}

/* Zones come in runs: a run is a group of the set. */
struct run {
	struct endpoints_builder *b;
	char *zone; /* NULL: none */
	bool open;
};

static int run_end(struct run *r)
{
	int code = r->open ? endpoints_group_end(r->b, STR(""), str_of(r->zone), STR(""), 0, 0) : 0;

	r->open = false;
	return code;
}

static int run_put(struct run *r, const char *text, uint32_t weight, const char *zone)
{
	int code = 0;

	if (!r->open || strcmp(r->zone ? r->zone : "", zone ? zone : "") != 0) {
		code = run_end(r);
		if (!code)
			code = endpoints_group(r->b);
		if (code)
			return code;
		free(r->zone);
		r->zone = zone ? xstrdup(zone) : NULL;
		r->open = true;
	}
	return endpoints_put_text(r->b, str_of(text), weight);
}

static void take_endpoint(struct schema *s, const struct yaml *node, struct run *run)
{
	struct draft_endpoint d = {0};
	const struct yaml *at = node;
	size_t mark = s->path.n;
	int code;

	if (node->kind == YAML_MAP) {
		schema_init(s, MAP_ENDPOINT, &d);
		schema_read(s, MAP_ENDPOINT, node, &d);
		at = yaml_get(node, "address");
		if (!at || yaml_is_null(at))
			schema_problem(s, node, "has no address, expected address: HOST:PORT");
		else
			schema_push(s, "address");
	} else if (node->kind == YAML_SCALAR && !yaml_is_null(node)) {
		d.address = xstrndup(node->scalar.p, node->scalar.n);
		d.weight = 1;
	} else {
		schema_problem(s, node, "expected HOST:PORT, or a map with address, weight, zone");
	}
	if (d.address && at) {
		code = run_put(run, d.address, d.weight, d.zone);
		if (code == -ENAMETOOLONG)
			schema_problem(s, at, "the path is too long, expected at most %zu bytes: the kernel takes no more",
				sizeof(((struct addr *)0)->un.sun_path) - 1);
		else if (code == -ENOMEM)
			schema_problem(s, at, "no memory for this endpoint");
		else if (code < 0)
			schema_problem(s, at, "'%.60s' is no endpoint, expected HOST:PORT, [IPV6]:PORT or unix:/PATH", d.address);
	}
	schema_pop(s, mark);
	free(d.address);
	free(d.zone);
}

void conf_take_endpoints(struct schema *s, const struct yaml *node, void *base)
{
	struct draft_service *d = base;
	struct run run = {0};
	size_t i = 0;

	if (!schema_is_list(s, node, "HOST:PORT"))
		return;
	if (node->count > CONF_ENDPOINTS_MAX - s->endpoints) {
		schema_problem(s, node, "%zu endpoints, expected at most %d in all", node->count + s->endpoints, CONF_ENDPOINTS_MAX);
		return;
	}
	s->endpoints += (uint32_t)node->count;
	endpoints_unref(&d->endpoints);
	run.b = endpoints_build(NULL, NULL);
	for (const struct yaml *c = node->first; c; c = c->next, i++) {
		size_t mark = schema_push_index(s, i);
		if (!c->bad)
			take_endpoint(s, c, &run);
		schema_pop(s, mark);
	}
	if (run_end(&run) < 0)
		schema_problem(s, node, "their weights are too much, expected at most %u in all", UINT32_MAX);
	free(run.zone);
	d->endpoints = endpoints_done(&run.b, 0);
}

/* What Istio retries; without `max` it says nothing. */
enum { RETRY_ON_DEFAULT = RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_UNAVAILABLE | RETRY_CANCELLED };

static void check_retries(struct schema *s, const struct yaml *node, struct draft_service *d)
{
	const struct yaml *retries = yaml_get(node, "retries");
	size_t mark = schema_push(s, "retries");

	if (retries && (d->retry.on & RETRY_STATUSES) && d->retry.status_count == 0)
		declare_problem(s, retries, "on", "retriable-status-codes names none, expected statuses: [503, ...] beside it");
	if (retries && d->retry.cap_ns < d->retry.base_ns)
		declare_problem(s, retries, "backoff", "its max is below its base, expected base <= max");
	if (d->retry.status_count)
		d->retry.on |= RETRY_STATUSES;
	schema_pop(s, mark);
}

static struct endpoint_set *no_endpoints(void)
{
	struct endpoints_builder *b = endpoints_build(NULL, NULL);

	return endpoints_done(&b, 0);
}

static void draft_to_service(struct draft_service *d, struct conf_service *v)
{
	struct cluster_spec *spec = spec_new(v->name);
	struct route_action *action = route_action_new(v->name);

	spec->lb = d->spec.lb;
	spec->connect_timeout_ns = d->spec.connect_timeout_ns;
	spec->idle_timeout_ns = d->spec.idle_timeout_ns;
	spec->verify_after_ns = d->spec.verify_after_ns;
	spec->max_connections = d->spec.max_connections;
	spec->max_pending = d->spec.max_pending;
	spec->max_requests = d->spec.max_requests;
	spec->max_connections_per_host = d->spec.max_connections_per_host;
	spec->max_streams = d->spec.max_streams;
	spec->checks = d->spec.checks;
	spec->nchecks = d->spec.nchecks;
	spec->outlier = d->spec.outlier;
	d->spec.checks = NULL;
	d->spec.nchecks = 0;
	d->spec.outlier = NULL;
	spec->want = d->want;
	d->want = NULL;
	spec_seal(spec);
	action->timeout_ns = d->timeout_ns;
	action->retry = d->retry;
	v->spec = spec;
	v->action = action;
	v->endpoints = d->endpoints ? endpoints_ref(d->endpoints) : no_endpoints();
}

static uint64_t service_hash(const struct conf_service *v)
{
	const struct retry_policy *r = &v->action->retry;
	uint64_t h = declare_hash_value(declare_hash_value(declare_hash_text(2, v->name), v->spec->hash), endpoints_hash(v->endpoints));
	const uint64_t route[] = {v->action->timeout_ns, r->max, r->on, r->per_try_timeout_ns, r->base_ns, r->cap_ns, r->status_count};

	h = str_hash_seeded(str_n((const char *)route, sizeof(route)), h);
	return str_hash_seeded(str_n((const char *)r->statuses, r->status_count * sizeof(r->statuses[0])), h);
}

void conf_service_end(struct conf_service *v)
{
	spec_unref(&v->spec);
	endpoints_unref(&v->endpoints);
	route_action_unref(&v->action);
	free(v->name);
	free(v->place);
}

static void take_service(struct schema *s, const struct yaml *node)
{
	struct draft_service d = {.retry.on = RETRY_ON_DEFAULT};
	struct conf *c = s->conf;
	struct conf_service *v;
	size_t mark;

	schema_init(s, MAP_SERVICE, &d);
	schema_read(s, MAP_SERVICE, node, &d);
	check_retries(s, node, &d);
	if (declare_misses(node, "endpoints"))
		declare_problem(s, node, "endpoints", "missing, expected a list of HOST:PORT (it may be empty: [])");
	if (declare_misses(node, "name")) {
		schema_problem(s, node, "has no name, expected name: AUTHORITY");
	} else if (d.name) {
		mark = schema_push(s, "name");
		char *name = NULL;
		bool sound = declare_authority(s, yaml_get(node, "name"), &name);
		schema_pop(s, mark);
		if (sound) {
			declare_grow((void **)&c->services, &s->services_cap, c->nservices, sizeof(*c->services));
			v = &c->services[c->nservices++];
			*v = (struct conf_service){.name = name, .place = schema_place(s, node)};
			declare_claim_name(s, node, &s->services, "the service", v->name, v->place);
			draft_to_service(&d, v);
			v->hash = service_hash(v);
		}
	}
	for (uint32_t i = 0; i < d.spec.nchecks; i++)
		health_check_end(&d.spec.checks[i]);
	free(d.spec.checks);
	free(d.spec.outlier);
	tls_want_unref(&d.want);
	endpoints_unref(&d.endpoints);
	free(d.name);
}

void conf_take_services(struct schema *s, const struct yaml *node, void *base)
{
	(void)base;
	declare_each(s, node, "services", s->conf->nservices, CONF_SERVICES_MAX, take_service);
}
