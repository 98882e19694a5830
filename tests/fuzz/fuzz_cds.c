/* A cluster from bytes: taken whole or refused with one reason; twice the same; never more memory than twice the wire and a mebibyte; all of it comes back. */
#include <stdint.h>
#include <stdlib.h>

#include "conf/health.h"
#include "xds/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLACK = 4 * MEM_GRANULE }; /* accounts take in granules */

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void check_is_sound(const struct health_check *c)
{
	struct health_check copy;

	insist(c->kind <= CHECK_TCP && c->timeout_ns && c->interval_ns && c->no_traffic_interval_ns && c->no_traffic_healthy_interval_ns && c->unhealthy_interval_ns &&
	       c->unhealthy_edge_interval_ns && c->healthy_edge_interval_ns && c->unhealthy_threshold && c->healthy_threshold);
	insist(c->path && c->path[0] && c->method && c->method[0] && c->response_buffer && c->response_buffer <= CHECK_BYTES_MAX);
	insist(c->nadd <= CHECK_FIELDS_MAX && c->nremove <= CHECK_FIELDS_MAX && c->nreceive <= CHECK_PAYLOADS_MAX && c->nexpected <= CHECK_RANGES_MAX);
	insist(!c->to && !c->argv && !c->watch);
	health_check_copy(&copy, c);
	insist(health_check_hash(&copy) == health_check_hash(c));
	health_check_end(&copy);
}

static struct cluster_decoded *decode(struct account *a, struct endpoint_metas *metas, const uint8_t *data, size_t size)
{
	struct cluster_decoded *c = NULL;
	struct sb problems = {0};
	size_t before = a->used;
	a->peak = before;
	int code = decode_cluster(data, size, a, metas, PROFILE_ISTIO, &c, &problems);

	insist((code == 0) == (c != NULL) && (code == 0) == (problems.n == 0) && code <= 0);
	insist(a->peak - before <= 3 * size + 1024 * 1024 + SLACK); /* interned metadata is the mesh's, at most what came */
	sb_end(&problems);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct account a;

	account_init(&a, NULL, "fuzz", SIZE_MAX);
	struct endpoint_metas *metas = endpoint_metas_new(&a, 1);
	struct cluster_decoded *first = decode(&a, metas, data, size), *second = decode(&a, metas, data, size);
	insist((first != NULL) == (second != NULL));
	if (first) {
		const struct cluster_spec *s = first->spec;

		insist(s->hash && s->hash == second->spec->hash && s->name[0] && s->connect_timeout_ns && s->choices >= 2 && s->choices <= 10);
		insist(s->ring_min <= s->ring_max && s->panic_percent <= 100 && s->max_connections);
		insist((first->eds_name != NULL) == (first->type == CLUSTER_EDS || first->type == CLUSTER_ORIGINAL_DST));
		insist((first->naggregate > 0) == (first->type == CLUSTER_AGGREGATE));
		insist(s->nchecks <= CHECKS_MAX);
		for (uint32_t i = 0; i < s->nchecks; i++)
			check_is_sound(&s->checks[i]);
		insist(!s->outlier || (s->outlier->interval_ns && s->outlier->base_ejection_ns && s->outlier->max_ejection_ns >= s->outlier->base_ejection_ns &&
					      s->outlier->max_ejection_percent <= 100 && s->outlier->failure_percentage <= 100));
		insist(!first->endpoints || endpoints_hash(first->endpoints) == endpoints_hash(second->endpoints));
	}
	cluster_decoded_free(&first);
	cluster_decoded_free(&second);
	endpoint_metas_free(&metas);
	insist(a.used == 0);
	account_end(&a);
	return 0;
}
