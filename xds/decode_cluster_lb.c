/* xds/decode_cluster_lb: which policy picks, with which parameters. load_balancing_policy, a list of which the first known one counts, stands above lb_policy;
 * a policy that weighs localities wraps the one that picks inside of them. */
#include <errno.h>
#include "base/err.h"
#include "xds/decode_cluster.h"

/* WRAPS: gRFC A52. CHOICES_MAX: gRFC A48, and what a pick may cost. */
enum { WRAPS = 16, CHOICES_MAX = 10, RING_MAX = 8388608, MAGLEV_MAX = 5000011 };
enum { RING_HASHING_POLICY = 2 /* ring_hash.v3: MURMUR_HASH_2 */, RING_HASHING_CLUSTER = 1 };

/* ---- parameters ---- */

static int ring(struct cluster_reading *r, const Pb__UInt64Value *min, const Pb__UInt64Value *max, uint64_t least, const char *min_field, const char *max_field)
{
	uint64_t low = r->spec->ring_min, high = r->spec->ring_max;
	int code = cluster_u64(r, min, min_field, least, RING_MAX, &low);
	if (code == 0)
		code = cluster_u64(r, max, max_field, 0, RING_MAX, &high);
	if (code == 0 && low > high)
		code = cluster_refuse(r, -ERANGE, min_field, "%llu is above the maximum of %llu", (unsigned long long)low, (unsigned long long)high);
	if (code < 0)
		return code;
	r->spec->ring_min = (uint32_t)low;
	r->spec->ring_max = (uint32_t)high;
	return 0;
}

static bool is_prime(uint64_t n)
{
	if (n < 2)
		return false;
	for (uint64_t i = 2; i * i <= n; i++) /* n <= MAGLEV_MAX: 2,237 steps at most */
		if (n % i == 0)
			return false;
	return true;
}

static int maglev(struct cluster_reading *r, const Pb__UInt64Value *size, const char *field)
{
	int code = cluster_u64(r, size, field, 0, MAGLEV_MAX, NULL);
	if (code == 0 && size && !is_prime(size->value))
		code = cluster_refuse(r, -EINVAL, field, "%llu is not a prime", (unsigned long long)size->value);
	return code;
}

static int choices(struct cluster_reading *r, const Pb__UInt32Value *count, const char *field)
{
	int code = cluster_u32(r, count, field, 2, UINT32_MAX, &r->spec->choices);
	if (r->spec->choices > CHOICES_MAX)
		r->spec->choices = CHOICES_MAX;
	return code;
}

static int hash_function(struct cluster_reading *r, int32_t function, int32_t murmur, const char *field)
{
	if (function < 0 || function > murmur)
		return cluster_refuse(r, -EINVAL, field, "%d is none", (int)function);
	if (function == murmur)
		cluster_note(r, "hash_function: xxHash instead of MurmurHash2");
	return 0;
}

static int balance(struct cluster_reading *r, const Pb__UInt32Value *factor, const char *field)
{
	int code = cluster_u32(r, factor, field, 100, UINT32_MAX, NULL);
	if (code == 0 && factor)
		cluster_note(r, "hash_balance_factor: loads are not balanced");
	return code;
}

static int locality(struct cluster_reading *r, const Pb__LocalityLbConfig *l)
{
	if (!l)
		return 0;
	switch (l->locality_config_specifier_case) {
	case PB__LOCALITY_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG: r->spec->locality_weighted = true; return 0;
	case PB__LOCALITY_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_ZONE_AWARE_LB_CONFIG: cluster_note(r, "zone_aware_lb_config: no zone is preferred"); return 0;
	default: return cluster_refuse(r, -EINVAL, "load_balancing_policy.locality_lb_config", "says nothing");
	}
}

/* ---- the policies of load_balancing_policy ---- */

#define POLICY "load_balancing_policy.typed_config"

static int round_robin(struct cluster_reading *r, const void *config)
{
	const Pb__RoundRobin *c = config;
	r->spec->lb = LB_ROUND_ROBIN;
	if (c->slow_start_config)
		cluster_note(r, "slow_start_config: new endpoints get their whole share");
	return locality(r, c->locality_lb_config);
}

static int least_request(struct cluster_reading *r, const void *config)
{
	const Pb__LeastRequest *c = config;
	r->spec->lb = LB_LEAST_REQUEST;
	if (c->selection_method < 0 || c->selection_method > 1)
		return cluster_refuse(r, -EINVAL, POLICY ".selection_method", "%d is none", (int)c->selection_method);
	if (c->selection_method == 1)
		cluster_note(r, "selection_method FULL_SCAN: some are compared, not all");
	if (c->slow_start_config)
		cluster_note(r, "slow_start_config: new endpoints get their whole share");
	int code = choices(r, c->choice_count, POLICY ".choice_count");
	return code < 0 ? code : locality(r, c->locality_lb_config);
}

static int by_chance(struct cluster_reading *r, const void *config)
{
	r->spec->lb = LB_RANDOM;
	return locality(r, ((const Pb__Random *)config)->locality_lb_config);
}

static int ring_hash(struct cluster_reading *r, const void *config)
{
	const Pb__RingHash *c = config;
	r->spec->lb = LB_RING_HASH;
	r->spec->locality_weighted = c->locality_weighted_lb_config != NULL;
	int code = hash_function(r, c->hash_function, RING_HASHING_POLICY, POLICY ".hash_function");
	if (code == 0)
		code = ring(r, c->minimum_ring_size, c->maximum_ring_size, 1, POLICY ".minimum_ring_size", POLICY ".maximum_ring_size");
	if (code == 0)
		code = balance(r, c->hash_balance_factor, POLICY ".hash_balance_factor");
	if (code == 0 && c->consistent_hashing_lb_config)
		code = balance(r, c->consistent_hashing_lb_config->hash_balance_factor, POLICY ".consistent_hashing_lb_config.hash_balance_factor");
	return code;
}

static int maglev_policy(struct cluster_reading *r, const void *config)
{
	const Pb__Maglev *c = config;
	r->spec->lb = LB_MAGLEV;
	r->spec->locality_weighted = c->locality_weighted_lb_config != NULL;
	int code = maglev(r, c->table_size, POLICY ".table_size");
	if (code == 0 && c->consistent_hashing_lb_config)
		code = balance(r, c->consistent_hashing_lb_config->hash_balance_factor, POLICY ".consistent_hashing_lb_config.hash_balance_factor");
	return code;
}

static int list(struct cluster_reading *r, const Pb__LoadBalancingPolicy *l, unsigned depth);

static int first_of(struct cluster_reading *r, const Pb__Any *any, unsigned depth);

static int list(struct cluster_reading *r, const Pb__LoadBalancingPolicy *l, unsigned depth)
{
	if (depth > WRAPS)
		return cluster_refuse(r, -ELOOP, "load_balancing_policy", "more than %d policies in each other", WRAPS);
	for (size_t i = 0; i < l->n_policies; i++) {
		const Pb__TypedExtensionConfig *c = l->policies[i]->typed_extension_config;
		if (!c || !c->typed_config)
			return cluster_refuse(r, -EINVAL, "load_balancing_policy.policies.typed_extension_config", "missing");
		int code = first_of(r, c->typed_config, depth);
		if (code != -ENOTSUP)
			return code;
	}
	return cluster_refuse(r, -EINVAL, "load_balancing_policy.policies", "none of the %zu is known", l->n_policies);
}

static int wrr_locality(struct cluster_reading *r, const Pb__WrrLocality *w, unsigned depth)
{
	if (!w->endpoint_picking_policy)
		return cluster_refuse(r, -EINVAL, "load_balancing_policy.endpoint_picking_policy", "missing");
	int code = list(r, w->endpoint_picking_policy, depth + 1);
	r->spec->locality_weighted = true;
	return code;
}

/* -ENOTSUP, and nothing said: not a policy of ours, the next one counts. */
static int first_of(struct cluster_reading *r, const Pb__Any *any, unsigned depth)
{
	static const struct { const char *type; const ProtobufCMessageDescriptor *d; int (*read)(struct cluster_reading *r, const void *config); } known[] = {
		{"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin", &pb__round_robin__descriptor, round_robin},
		{"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", &pb__least_request__descriptor, least_request},
		{"envoy.extensions.load_balancing_policies.random.v3.Random", &pb__random__descriptor, by_chance},
		{"envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash", &pb__ring_hash__descriptor, ring_hash},
		{"envoy.extensions.load_balancing_policies.maglev.v3.Maglev", &pb__maglev__descriptor, maglev_policy},
		{"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality", &pb__wrr_locality__descriptor, NULL},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		int code = 0;
		if (!cluster_any_is(any, known[i].type))
			continue;
		void *config = cluster_unpack(r, known[i].d, any, POLICY, &code);
		if (!config)
			return code;
		code = known[i].read ? known[i].read(r, config) : wrr_locality(r, config, depth);
		guard_free(&r->guard, config);
		return code;
	}
	return -ENOTSUP;
}

/* ---- the fields of the cluster itself ---- */

static int lb_config(struct cluster_reading *r)
{
	const Pb__Cluster *c = r->pb;
	const Pb__Cluster__RingHashLbConfig *hash;
	switch (c->lb_config_case) {
	case PB__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG:
		hash = c->ring_hash_lb_config;
		if (ring(r, hash->minimum_ring_size, hash->maximum_ring_size, 0, "ring_hash_lb_config.minimum_ring_size", "ring_hash_lb_config.maximum_ring_size") < 0)
			return -ERANGE;
		return hash_function(r, hash->hash_function, RING_HASHING_CLUSTER, "ring_hash_lb_config.hash_function");
	case PB__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG: return maglev(r, c->maglev_lb_config->table_size, "maglev_lb_config.table_size");
	case PB__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG:
		if (c->least_request_lb_config->slow_start_config)
			cluster_note(r, "slow_start_config: new endpoints get their whole share");
		return choices(r, c->least_request_lb_config->choice_count, "least_request_lb_config.choice_count");
	case PB__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG:
		if (c->round_robin_lb_config->slow_start_config)
			cluster_note(r, "slow_start_config: new endpoints get their whole share");
		return 0;
	default: return 0;
	}
}

static int lb_policy(struct cluster_reading *r)
{
	switch (r->pb->lb_policy) {
	case 0: r->spec->lb = LB_ROUND_ROBIN; break;
	case 1: r->spec->lb = LB_LEAST_REQUEST; break;
	case 2: r->spec->lb = LB_RING_HASH; break;
	case 3: r->spec->lb = LB_RANDOM; break;
	case 5: r->spec->lb = LB_MAGLEV; break;
	case 6: r->spec->lb = LB_LEAST_REQUEST; break; /* CLUSTER_PROVIDED, by a cluster that here gets its endpoints by EDS: Istio's default */
	case 7: return cluster_refuse(r, -EINVAL, "load_balancing_policy", "missing, although lb_policy points to it");
	default: return cluster_refuse(r, -EINVAL, "lb_policy", "%d is none", (int)r->pb->lb_policy);
	}
	return lb_config(r);
}

static int common(struct cluster_reading *r)
{
	const Pb__Cluster__CommonLbConfig *c = r->pb->common_lb_config;
	if (!c)
		return 0;
	if (c->healthy_panic_threshold) {
		double percent = c->healthy_panic_threshold->value;
		if (!(percent >= 0 && percent <= 100)) /* NaN too */
			return cluster_refuse(r, -ERANGE, "common_lb_config.healthy_panic_threshold", "%g is not 0 to 100", percent);
		r->spec->panic_percent = (uint32_t)percent;
		r->out->has_panic = true;
	}
	if (c->locality_config_specifier_case == PB__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_LOCALITY_WEIGHTED_LB_CONFIG)
		r->spec->locality_weighted = true;
	else if (c->locality_config_specifier_case == PB__CLUSTER__COMMON_LB_CONFIG__LOCALITY_CONFIG_SPECIFIER_ZONE_AWARE_LB_CONFIG)
		cluster_note(r, "zone_aware_lb_config: no zone is preferred");
	return c->consistent_hashing_lb_config ?
		balance(r, c->consistent_hashing_lb_config->hash_balance_factor, "common_lb_config.consistent_hashing_lb_config.hash_balance_factor") : 0;
}

int cluster_lb(struct cluster_reading *r)
{
	int code = common(r);
	if (code == 0)
		code = r->pb->load_balancing_policy ? list(r, r->pb->load_balancing_policy, 1) : lb_policy(r);
	if (code == 0 && !lb_kind_is_built(r->spec->lb))
		cluster_note(r, "%s: random instead", lb_kind_name(r->spec->lb));
	return code;
}
