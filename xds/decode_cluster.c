/* xds/decode_cluster: one Cluster to a cluster_spec and what belongs to it. Unpacked by protobuf-c within a guard, then read part by part; the first thing that
 * breaks a rule of the API refuses the whole. What is understood and has no effect in this version is told in the notes; what nobody declared is not even seen.
 *
 * The assignment inside of a cluster (STATIC and DNS) goes through the same push parser as EDS.
 * Owner of a cluster_decoded: the caller; it holds the one ref of its spec and of its endpoints, and the charge for all texts of both. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/err.h"
#include "xds/decode_cluster.h"

enum { AGGREGATE_MAX = 256 };
enum { TYPE_STATIC, TYPE_STRICT_DNS, TYPE_LOGICAL_DNS, TYPE_EDS, TYPE_ORIGINAL_DST }; /* Cluster.DiscoveryType */
static const uint64_t MS_NS = 1000000;

/* ---- what the parts use ---- */

int cluster_refuse(struct cluster_reading *r, int code, const char *field, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sb_fmt(r->problems, "%s: %s", field, text);
	return code;
}

void cluster_note(struct cluster_reading *r, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sb_fmt(&r->notes, "%s%s", r->notes.n ? "; " : "", text);
}

char *cluster_keep(struct cluster_reading *r, const char *text)
{
	size_t n = strlen(text);
	r->kept += n + 1;
	return xstrndup(text, n);
}

int cluster_duration(struct cluster_reading *r, const Pb__Duration *d, const char *field, int64_t above_ns, uint64_t *ret_ns)
{
	uint64_t ns;
	if (!d)
		return 0;
	if (d->seconds < 0 || d->seconds > INT64_C(315576000000) || d->nanos < 0 || d->nanos > 999999999)
		return cluster_refuse(r, -ERANGE, field, "%lld.%09d s is no duration", (long long)d->seconds, (int)d->nanos);
	if (__builtin_mul_overflow((uint64_t)d->seconds, UINT64_C(1000000000), &ns) || __builtin_add_overflow(ns, (uint64_t)d->nanos, &ns))
		ns = UINT64_MAX;
	if (above_ns >= 0 && ns <= (uint64_t)above_ns)
		return cluster_refuse(r, -ERANGE, field, "%lld.%09d s is not above %s", (long long)d->seconds, (int)d->nanos, above_ns ? "1 ms" : "0");
	if (ret_ns)
		*ret_ns = ns;
	return 0;
}

int cluster_u64(struct cluster_reading *r, const Pb__UInt64Value *v, const char *field, uint64_t least, uint64_t most, uint64_t *ret)
{
	if (!v)
		return 0;
	if (v->value < least)
		return cluster_refuse(r, -ERANGE, field, "%llu is below %llu", (unsigned long long)v->value, (unsigned long long)least);
	if (v->value > most)
		return cluster_refuse(r, -ERANGE, field, "%llu is above %llu", (unsigned long long)v->value, (unsigned long long)most);
	if (ret)
		*ret = v->value;
	return 0;
}

int cluster_u32(struct cluster_reading *r, const Pb__UInt32Value *v, const char *field, uint32_t least, uint32_t most, uint32_t *ret)
{
	if (!v)
		return 0;
	if (v->value < least)
		return cluster_refuse(r, -ERANGE, field, "%u is below %u", v->value, least);
	if (v->value > most)
		return cluster_refuse(r, -ERANGE, field, "%u is above %u", v->value, most);
	if (ret)
		*ret = v->value;
	return 0;
}

void *cluster_unpack(struct cluster_reading *r, const ProtobufCMessageDescriptor *d, const Pb__Any *any, const char *field, int *ret_code)
{
	const char *why = "";
	void *tree = guard_unpack(&r->guard, d, str_n((const char *)any->value.data, any->value.len), ret_code, &why);
	if (!tree)
		cluster_refuse(r, *ret_code, field, "%s", why);
	return tree;
}

bool cluster_any_is(const Pb__Any *any, const char *type)
{
	struct str url = str_of(any ? any->type_url : "");
	ptrdiff_t slash = str_rfind(url, '/');
	return slash >= 0 && str_is(str_cut(url, (size_t)slash + 1, url.n), type);
}

/* ---- discovery ---- */

static int eds(struct cluster_reading *r)
{
	const Pb__Cluster__EdsClusterConfig *e = r->pb->eds_cluster_config;
	r->out->type = CLUSTER_EDS;
	if (!e)
		return cluster_refuse(r, -EINVAL, "eds_cluster_config", "missing in a cluster of type EDS");
	if (!e->eds_config)
		return cluster_refuse(r, -EINVAL, "eds_cluster_config.eds_config", "missing");
	if (e->eds_config->resource_api_version < 0 || e->eds_config->resource_api_version > 2)
		return cluster_refuse(r, -EINVAL, "eds_cluster_config.eds_config.resource_api_version", "%d", e->eds_config->resource_api_version);
	switch (e->eds_config->config_source_specifier_case) {
	case PB__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS:
	case PB__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_SELF: break;
	case PB__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER__NOT_SET:
		return cluster_refuse(r, -EINVAL, "eds_cluster_config.eds_config", "says no source");
	default: cluster_note(r, "eds_config names another source: the same stream is asked");
	}
	bool own = e->service_name[0];
	if (!own && str_starts(str_of(r->pb->name), STR("xdstp:")))
		return cluster_refuse(r, -EINVAL, "eds_cluster_config.service_name", "missing in a cluster with an xdstp name");
	r->out->eds_name = cluster_keep(r, own ? e->service_name : r->pb->name);
	return 0;
}

static int aggregate(struct cluster_reading *r, const Pb__Any *any)
{
	static const char field[] = "cluster_type.typed_config.clusters";
	int code = 0;
	Pb__AggregateCluster *a = cluster_unpack(r, &pb__aggregate_cluster__descriptor, any, "cluster_type.typed_config", &code);
	if (!a)
		return code;
	r->out->type = CLUSTER_AGGREGATE;
	if (a->n_clusters == 0)
		code = cluster_refuse(r, -EINVAL, field, "empty");
	else if (a->n_clusters > AGGREGATE_MAX)
		code = cluster_refuse(r, ERR_LIMIT, field, "%zu, more than %d", a->n_clusters, AGGREGATE_MAX);
	for (size_t i = 0; code == 0 && i < a->n_clusters; i++)
		if (!a->clusters[i][0])
			code = cluster_refuse(r, -EINVAL, field, "an empty name");
	if (code == 0) {
		r->out->aggregate = xalloc(a->n_clusters * sizeof(*r->out->aggregate));
		r->kept += a->n_clusters * sizeof(*r->out->aggregate);
		for (size_t i = 0; i < a->n_clusters; i++)
			r->out->aggregate[r->out->naggregate++] = cluster_keep(r, a->clusters[i]);
	}
	guard_free(&r->guard, a);
	return code;
}

static int dns_cluster(struct cluster_reading *r, const Pb__Any *any)
{
	int code = 0;
	Pb__DnsCluster *d = cluster_unpack(r, &pb__dns_cluster__descriptor, any, "cluster_type.typed_config", &code);
	if (!d)
		return code;
	r->out->type = d->all_addresses_in_single_endpoint ? CLUSTER_LOGICAL_DNS : CLUSTER_STRICT_DNS;
	code = cluster_duration(r, d->dns_refresh_rate, "cluster_type.typed_config.dns_refresh_rate", (int64_t)MS_NS, NULL);
	if (code == 0 && d->dns_refresh_rate && !d->respect_dns_ttl)
		cluster_note(r, "dns_refresh_rate: the answer's own time to live counts");
	guard_free(&r->guard, d);
	return code;
}

static int custom(struct cluster_reading *r)
{
	const Pb__Cluster__CustomClusterType *t = r->pb->cluster_type;
	if (!t->name[0])
		return cluster_refuse(r, -EINVAL, "cluster_type.name", "empty");
	if (cluster_any_is(t->typed_config, "envoy.extensions.clusters.aggregate.v3.ClusterConfig"))
		return aggregate(r, t->typed_config);
	if (cluster_any_is(t->typed_config, "envoy.extensions.clusters.dns.v3.DnsCluster"))
		return dns_cluster(r, t->typed_config);
	return cluster_refuse(r, -ENOTSUP, "cluster_type", "'%.64s' is not supported", t->name);
}

static int discovery(struct cluster_reading *r)
{
	if (r->pb->cluster_discovery_type_case == PB__CLUSTER__CLUSTER_DISCOVERY_TYPE_CLUSTER_TYPE)
		return custom(r);
	int32_t type = r->pb->cluster_discovery_type_case == PB__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE ? r->pb->type : TYPE_STATIC;
	switch (type) {
	case TYPE_STATIC: r->out->type = CLUSTER_STATIC; return 0;
	case TYPE_STRICT_DNS: r->out->type = CLUSTER_STRICT_DNS; return 0;
	case TYPE_LOGICAL_DNS: r->out->type = CLUSTER_LOGICAL_DNS; return 0;
	case TYPE_EDS: return eds(r);
	case TYPE_ORIGINAL_DST: break;
	default: return cluster_refuse(r, -EINVAL, "type", "%d is none", (int)type);
	}
	/* There is no original destination where calls come by name. Istio sends this type for headless services, and answers EDS by the cluster's name. */
	r->out->type = CLUSTER_ORIGINAL_DST;
	r->out->eds_name = cluster_keep(r, r->pb->name);
	if (r->pb->lb_config_case == PB__CLUSTER__LB_CONFIG_ORIGINAL_DST_LB_CONFIG)
		return cluster_u32(r, r->pb->original_dst_lb_config->upstream_port_override, "original_dst_lb_config.upstream_port_override", 0, 65535, NULL);
	return 0;
}

static int dns(struct cluster_reading *r)
{
	const Pb__Cluster *c = r->pb;
	int code = cluster_duration(r, c->dns_refresh_rate, "dns_refresh_rate", (int64_t)MS_NS, NULL);
	if (code == 0)
		code = cluster_duration(r, c->dns_jitter, "dns_jitter", ANY_DURATION, NULL);
	if (code == 0)
		code = cluster_duration(r, c->cleanup_interval, "cleanup_interval", 0, NULL);
	if (code == 0 && c->dns_failure_refresh_rate) {
		const Pb__Cluster__RefreshRate *rate = c->dns_failure_refresh_rate;
		if (!rate->base_interval)
			return cluster_refuse(r, -EINVAL, "dns_failure_refresh_rate.base_interval", "missing");
		code = cluster_duration(r, rate->base_interval, "dns_failure_refresh_rate.base_interval", (int64_t)MS_NS, NULL);
		if (code == 0)
			code = cluster_duration(r, rate->max_interval, "dns_failure_refresh_rate.max_interval", (int64_t)MS_NS, NULL);
	}
	if (code < 0)
		return code;
	if (c->dns_lookup_family < 0 || c->dns_lookup_family > 4)
		return cluster_refuse(r, -EINVAL, "dns_lookup_family", "%d is none", (int)c->dns_lookup_family);
	bool by_dns = r->out->type == CLUSTER_STRICT_DNS || r->out->type == CLUSTER_LOGICAL_DNS;
	if (by_dns && (c->dns_lookup_family == 1 || c->dns_lookup_family == 2))
		cluster_note(r, "dns_lookup_family: both families are asked");
	if (by_dns && c->dns_refresh_rate && !c->respect_dns_ttl)
		cluster_note(r, "dns_refresh_rate: the answer's own time to live counts");
	r->spec->one_address = r->out->type == CLUSTER_LOGICAL_DNS;
	return 0;
}

/* ---- endpoints in the cluster itself ---- */

static bool one_name(const struct endpoint_set *s)
{
	struct endpoint e;
	if (!s || endpoints_count(s) != 1)
		return false;
	endpoint_get(s, 0, &e);
	return e.host != NULL;
}

static int assignment(struct cluster_reading *r, struct endpoint_metas *metas)
{
	struct str bytes = str_n((const char *)r->pb->load_assignment.data, r->pb->load_assignment.len), name;
	int code = 0;
	if (r->out->type == CLUSTER_EDS || r->out->type == CLUSTER_ORIGINAL_DST || r->out->type == CLUSTER_AGGREGATE) {
		if (bytes.n)
			cluster_note(r, "load_assignment: endpoints come from elsewhere");
		return 0;
	}
	if (bytes.n) {
		struct eds_decoder *d = eds_decoder_new(&r->guard.account, metas, NULL, NULL); /* what it makes climbs to the parent at guard_end */
		if (!d)
			return cluster_refuse(r, -ENOMEM, "load_assignment", "no memory");
		struct sb why = {0};
		eds_decoder_bytes(d, bytes.p, bytes.n);
		code = eds_decoder_end(d, &r->out->endpoints, &name, &why);
		if (code < 0)
			sb_fmt(r->problems, "load_assignment.%.*s", (int)why.n, why.p);
		else if (eds_decoder_notes(d))
			cluster_note(r, "load_assignment.%s", eds_decoder_notes(d));
		sb_end(&why);
		eds_decoder_free(&d);
	}
	if (code == 0 && r->out->type == CLUSTER_LOGICAL_DNS && !one_name(r->out->endpoints))
		return cluster_refuse(r, -EINVAL, "load_assignment", "a LOGICAL_DNS cluster has one endpoint, and that by name");
	return code;
}

/* ---- limits ---- */

static int circuit_breakers(struct cluster_reading *r)
{
	const Pb__CircuitBreakers *b = r->pb->circuit_breakers;
	struct cluster_spec *s = r->spec;
	bool found = false;
	int code = 0;
	/* Enforced even where nobody set them (gRFC A32); 4294967295 is how istiod says "none". */
	s->max_connections = s->max_pending = s->max_requests = 1024;
	for (size_t i = 0; b && i < b->n_thresholds; i++) {
		const Pb__CircuitBreakers__Thresholds *t = b->thresholds[i];
		if (t->priority < 0 || t->priority > 1)
			return cluster_refuse(r, -EINVAL, "circuit_breakers.thresholds.priority", "%d is none", (int)t->priority);
		if (t->priority != 0 || found)
			continue;
		found = true;
		code = cluster_u32(r, t->max_connections, "circuit_breakers.thresholds.max_connections", 0, UINT32_MAX, &s->max_connections);
		if (code == 0)
			code = cluster_u32(r, t->max_pending_requests, "circuit_breakers.thresholds.max_pending_requests", 0, UINT32_MAX, &s->max_pending);
		if (code == 0)
			code = cluster_u32(r, t->max_requests, "circuit_breakers.thresholds.max_requests", 0, UINT32_MAX, &s->max_requests);
		if (code < 0)
			return code;
		if (s->max_connections == 0)
			s->max_connections = 1; /* as Envoy: the first HTTP/2 connection is always allowed */
		if (t->retry_budget || (t->max_retries && t->max_retries->value != UINT32_MAX))
			cluster_note(r, "circuit_breakers: retries have a budget of our own");
	}
	for (size_t i = 0; b && i < b->n_per_host_thresholds; i++)
		if (b->per_host_thresholds[i]->priority == 0) /* gRFC A105 */
			return cluster_u32(r, b->per_host_thresholds[i]->max_connections, "circuit_breakers.per_host_thresholds.max_connections", 1, UINT32_MAX,
				&s->max_connections_per_host);
	return 0;
}

static int connections(struct cluster_reading *r)
{
	const Pb__UpstreamConnectionOptions *o = r->pb->upstream_connection_options;
	int code = cluster_duration(r, r->pb->connect_timeout, "connect_timeout", 0, &r->spec->connect_timeout_ns);
	if (code == 0 && o && o->happy_eyeballs_config)
		code = cluster_u32(r, o->happy_eyeballs_config->first_address_family_count,
			"upstream_connection_options.happy_eyeballs_config.first_address_family_count", 1, UINT32_MAX, NULL);
	if (code < 0)
		return code;
	if (r->pb->max_requests_per_connection)
		cluster_note(r, "max_requests_per_connection: no limit");
	if (r->pb->lb_subset_config)
		cluster_note(r, "lb_subset_config: all endpoints are one set");
	return 0;
}

/* ---- the calls ---- */

static int read_all(struct cluster_reading *r, struct endpoint_metas *metas)
{
	int code = discovery(r);
	if (code == 0)
		code = dns(r);
	if (code == 0)
		code = connections(r);
	if (code == 0)
		code = circuit_breakers(r);
	if (code == 0)
		code = cluster_lb(r);
	if (code == 0)
		code = cluster_health(r);
	if (code == 0)
		code = cluster_http(r);
	if (code == 0)
		code = cluster_sockets(r);
	return code < 0 ? code : assignment(r, metas);
}

static int build(struct cluster_reading *r, struct endpoint_metas *metas)
{
	r->out = xnew(struct cluster_decoded);
	if (!r->pb->name[0])
		return cluster_refuse(r, -EINVAL, "name", "empty");
	r->spec = r->out->spec = spec_new(r->pb->name);
	r->kept = sizeof(*r->out) + sizeof(*r->spec) + strlen(r->pb->name) + 1;
	int code = read_all(r, metas);
	if (code < 0)
		return code;
	if (r->notes.n)
		r->out->notes = cluster_keep(r, r->notes.p);
	if (!mem_try(&r->guard.account, r->kept))
		return cluster_refuse(r, -ENOMEM, "name", "no memory for its texts");
	charge_begin(&r->out->charge, &r->guard.account, r->kept);
	spec_seal(r->spec);
	return 0;
}

int decode_cluster(const void *p, size_t n, struct account *a, struct endpoint_metas *metas, enum xds_profile profile, struct cluster_decoded **ret, struct sb *problems)
{
	struct cluster_reading r = {.problems = problems, .profile = profile};
	const char *why = "";
	int code = 0;
	guard_begin(&r.guard, a, n);
	Pb__Cluster *pb = guard_unpack(&r.guard, &pb__cluster__descriptor, str_n(p, n), &code, &why);
	if (pb) {
		r.pb = pb;
		code = build(&r, metas);
	} else {
		sb_fmt(problems, "cluster: %s", why);
	}
	if (code == 0)
		*ret = r.out;
	else
		cluster_decoded_free(&r.out);
	sb_end(&r.notes);
	guard_free(&r.guard, pb);
	guard_end(&r.guard);
	return code;
}

void cluster_decoded_free(struct cluster_decoded **pc)
{
	struct cluster_decoded *c = *pc;
	*pc = NULL;
	if (!c)
		return;
	spec_unref(&c->spec);
	if (c->endpoints)
		endpoints_unref(&c->endpoints);
	for (uint32_t i = 0; i < c->naggregate; i++)
		free(c->aggregate[i]);
	free(c->aggregate);
	free(c->eds_name);
	free(c->notes);
	charge_end(&c->charge);
	free(c);
}
