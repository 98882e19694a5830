/* conf/health: the life of what is declared of checks: defaults, what follows from others, copies, hashes, ends. Who fills them: conf/declare_health (YAML) and
 * xds/decode_cluster_health; who owns them: the cluster_spec or conf_app that they hang on. */
#include "conf/health.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/match.h"
#include "conf/spec.h"

static const uint64_t second_ns = 1000000000;

void health_check_default(struct health_check *c)
{
	*c = (struct health_check){
		.timeout_ns = second_ns,
		.interval_ns = 5 * second_ns,
		.no_traffic_interval_ns = 60 * second_ns,
		.unhealthy_threshold = 1,
		.healthy_threshold = 1,
		.path = xstrdup("/"),
		.method = xstrdup("GET"),
		.response_buffer = 1024,
	};
}

static void follow(uint64_t *ns, uint64_t other)
{
	if (*ns == 0)
		*ns = other;
}

void health_check_settle(struct health_check *c)
{
	follow(&c->no_traffic_healthy_interval_ns, c->no_traffic_interval_ns);
	follow(&c->unhealthy_interval_ns, c->interval_ns);
	follow(&c->unhealthy_edge_interval_ns, c->unhealthy_interval_ns);
	follow(&c->healthy_edge_interval_ns, c->interval_ns);
}

/* ---- its end ------------------------------------------------------------------------------------------------------------ */

void health_check_end(struct health_check *c)
{
	for (uint32_t i = 0; i < c->nadd; i++) {
		free(c->add[i].name);
		free(c->add[i].value);
	}
	for (uint32_t i = 0; i < c->nremove; i++)
		free(c->remove[i]);
	for (uint32_t i = 0; i < c->nreceive; i++)
		free(c->receive[i].p);
	for (uint32_t i = 0; i < c->nargv; i++)
		free(c->argv[i]);
	for (uint32_t i = 0; i < c->ncriteria; i++) {
		free(c->criteria[i].key);
		free(c->criteria[i].value);
	}
	free(c->criteria);
	free(c->alpn);
	if (c->cluster_matcher)
		match_text_end(c->cluster_matcher);
	free(c->cluster_matcher);
	free(c->add);
	free(c->remove);
	free(c->receive);
	free(c->argv);
	free(c->expected);
	free(c->retriable);
	free(c->send.p);
	free(c->host);
	free(c->path);
	free(c->method);
	free(c->service);
	free(c->authority);
	free(c->to);
	*c = (struct health_check){0};
}

/* ---- a copy ------------------------------------------------------------------------------------------------------------- */

static char *copy_text(const char *z)
{
	return z ? xstrdup(z) : NULL;
}

static void *copy_array(const void *p, uint32_t n, size_t size)
{
	return n ? memcpy(xalloc(n * size), p, n * size) : NULL;
}

static char **copy_texts(char *const *texts, uint32_t n)
{
	char **all = xalloc((n + 1) * sizeof(*all)); /* with room for the NULL that ends an argv */

	for (uint32_t i = 0; i < n; i++)
		all[i] = xstrdup(texts[i]);
	return all;
}

void health_check_copy(struct health_check *to, const struct health_check *from)
{
	struct health_check c = *from; /* numbers and counts; all that is owned follows */

	c.host = copy_text(from->host);
	c.path = copy_text(from->path);
	c.method = copy_text(from->method);
	c.service = copy_text(from->service);
	c.authority = copy_text(from->authority);
	c.to = copy_text(from->to);
	c.alpn = copy_text(from->alpn);
	c.criteria = copy_array(from->criteria, from->ncriteria, sizeof(*c.criteria));
	for (uint32_t i = 0; i < c.ncriteria; i++)
		c.criteria[i] = (struct tls_pair){xstrdup(from->criteria[i].key), xstrdup(from->criteria[i].value)};
	c.add = copy_array(from->add, from->nadd, sizeof(*c.add));
	for (uint32_t i = 0; i < c.nadd; i++) {
		c.add[i].name = xstrdup(from->add[i].name);
		c.add[i].value = xstrdup(from->add[i].value);
	}
	c.remove = from->remove ? copy_texts(from->remove, from->nremove) : NULL;
	c.argv = from->argv ? copy_texts(from->argv, from->nargv) : NULL;
	c.expected = copy_array(from->expected, from->nexpected, sizeof(*c.expected));
	c.retriable = copy_array(from->retriable, from->nretriable, sizeof(*c.retriable));
	c.send.p = copy_array(from->send.p, from->send.n, 1);
	c.receive = copy_array(from->receive, from->nreceive, sizeof(*c.receive));
	for (uint32_t i = 0; i < c.nreceive; i++)
		c.receive[i].p = copy_array(from->receive[i].p, from->receive[i].n, 1);
	if (from->cluster_matcher) {
		c.cluster_matcher = xnew(struct match_text);
		match_text_copy(c.cluster_matcher, from->cluster_matcher);
	}
	*to = c;
}

/* ---- hashes ------------------------------------------------------------------------------------------------------------- */

static uint64_t hash_value(uint64_t h, uint64_t v)
{
	return str_hash_seeded(str_n((const char *)&v, sizeof(v)), h);
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n)
{
	return str_hash_seeded(str_n(p ? p : "", n), hash_value(h, n)); /* the length too: "ab","c" is not "a","bc" */
}

/* NULL differs from "". */
static uint64_t hash_text(uint64_t h, const char *z)
{
	return z ? hash_bytes(h, z, strlen(z)) : hash_value(h, UINT64_MAX);
}

static uint64_t hash_ranges(uint64_t h, const struct check_range *r, uint32_t n)
{
	return hash_bytes(h, r, n * sizeof(*r)); /* two words, no padding */
}

uint64_t health_check_hash(const struct health_check *c)
{
	const uint64_t numbers[] = {c->kind, c->timeout_ns, c->interval_ns, c->initial_jitter_ns, c->interval_jitter_ns, c->interval_jitter_percent,
		c->no_traffic_interval_ns, c->no_traffic_healthy_interval_ns, c->unhealthy_interval_ns, c->unhealthy_edge_interval_ns,
		c->healthy_edge_interval_ns, c->unhealthy_threshold, c->healthy_threshold, c->reuse_connection, c->log_failures, c->log_successes,
		c->watch, c->http2, c->response_buffer, c->unimplemented, c->initial_delay_ns, c->nadd, c->nremove, c->nreceive, c->nargv,
		c->cluster_matcher != NULL, c->ncriteria};
	const char *const texts[] = {c->host, c->path, c->method, c->service, c->authority, c->to, c->alpn};
	uint64_t h = hash_bytes(1, numbers, sizeof(numbers));

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		h = hash_text(h, texts[i]);
	for (uint32_t i = 0; i < c->nadd; i++)
		h = hash_value(hash_text(hash_text(h, c->add[i].name), c->add[i].value), c->add[i].append);
	for (uint32_t i = 0; i < c->nremove; i++)
		h = hash_text(h, c->remove[i]);
	for (uint32_t i = 0; i < c->nargv; i++)
		h = hash_text(h, c->argv[i]);
	if (c->to_addr.len) { /* where `to` is a door of ours it is not what is asked */
		char at[ADDR_TEXT];
		h = hash_text(h, addr_text(&c->to_addr, at));
	}
	h = hash_ranges(hash_ranges(h, c->expected, c->nexpected), c->retriable, c->nretriable);
	for (uint32_t i = 0; i < c->ncriteria; i++)
		h = hash_text(hash_text(h, c->criteria[i].key), c->criteria[i].value);
	h = hash_bytes(h, c->send.p, c->send.n);
	for (uint32_t i = 0; i < c->nreceive; i++)
		h = hash_bytes(h, c->receive[i].p, c->receive[i].n);
	return c->cluster_matcher ? match_text_hash(c->cluster_matcher, h) : h;
}

const char *check_kind_name(enum check_kind k)
{
	static const char *const names[] = {"http", "grpc", "tcp", "unix", "exec"};

	return (unsigned)k < sizeof(names) / sizeof(names[0]) ? names[k] : "?";
}

/* ---- outlier detection ---------------------------------------------------------------------------------------------------- */

void outlier_default(struct outlier *o)
{
	*o = (struct outlier){
		.consecutive_5xx = 5,
		.enforcing_consecutive_5xx = 100,
		.consecutive_gateway = 5,
		.enforcing_consecutive_gateway = 0,
		.consecutive_local_origin = 5,
		.enforcing_consecutive_local_origin = 100,
		.interval_ns = 10 * second_ns,
		.base_ejection_ns = 30 * second_ns,
		.max_ejection_ns = 300 * second_ns,
		.max_ejection_percent = 10,
		.uneject_on_check = true,
		.enforcing_success_rate = 100,
		.enforcing_local_success_rate = 100,
		.success_rate_hosts = 5,
		.success_rate_volume = 100,
		.success_rate_stdev_factor = 1900,
		.failure_percentage = 85,
		.failure_percentage_hosts = 5,
		.failure_percentage_volume = 50,
	};
}

uint64_t outlier_hash(const struct outlier *o)
{
	/* Value by value: a struct has padding. */
	const uint64_t numbers[] = {o->consecutive_5xx, o->enforcing_consecutive_5xx, o->consecutive_gateway, o->enforcing_consecutive_gateway,
		o->consecutive_local_origin, o->enforcing_consecutive_local_origin, o->split_local_origin, o->interval_ns, o->base_ejection_ns,
		o->max_ejection_ns, o->max_ejection_jitter_ns, o->max_ejection_percent, o->always_eject_one, o->uneject_on_check,
		o->enforcing_success_rate, o->enforcing_local_success_rate, o->success_rate_hosts, o->success_rate_volume,
		o->success_rate_stdev_factor, o->failure_percentage, o->enforcing_failure_percentage, o->enforcing_local_failure_percentage,
		o->failure_percentage_hosts, o->failure_percentage_volume, o->detect_degraded};

	return hash_bytes(2, numbers, sizeof(numbers));
}
