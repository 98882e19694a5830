/* Any bytes as a RouteConfiguration. Refused with a reason, or taken: then the same bytes give an equal configuration, it is found by domain, a call is matched, and
 * its clusters are told. Memory stays within 2 x wire + 1 MiB, and comes back. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "xds/decode.h"
#include "xds/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void see(void *ctx, const char *cluster)
{
	insist(cluster != NULL);
	(*(unsigned *)ctx)++;
}

static void call(const struct route_table *t, const struct fields *head)
{
	for (uint64_t random = 1; random < 4; random++) {
		struct route_action *a = route_match(t, head, random * UINT64_C(0x9e3779b97f4a7c15));

		if (!a)
			continue;
		insist(a->kind != ROUTE_UNSUPPORTED || a->unsupported);
		insist(a->kind != ROUTE_CLUSTER || route_action_cluster(a, random, head).n > 0);
		insist(a->kind != ROUTE_DIRECT || (a->direct.status >= 200 && a->direct.status < 600));
		insist(a->kind != ROUTE_REDIRECT || a->redirect);
		(void)route_action_cluster(a, random, head);
	}
}

static void use(const struct route_config *c)
{
	struct fields_pool *pool = fields_pool_new();
	struct fields *head = fields_new(pool, NULL);
	unsigned clusters = 0;

	fields_add_token(head, FIELD_METHOD, STR("POST"));
	fields_add_token(head, FIELD_PATH, STR("/demo.Greeter/SayHello?a=1&b"));
	fields_add_token(head, FIELD_AUTHORITY, STR("demo.default.svc.cluster.local:50051"));
	fields_add_token(head, FIELD_CONTENT_TYPE, STR("application/grpc"));
	fields_add_token(head, FIELD_COOKIE, STR("user=x; a=b"));
	fields_add(head, STR("x-version"), STR("2"));
	fields_add(head, STR("x-version"), STR("3"));
	for (uint32_t i = 0; i < route_config_hosts(c); i++) {
		struct route_table *t = route_config_host(c, i);

		insist(t && t->hash);
		call(t, head);
		route_table_clusters(t, see, &clusters);
	}
	call(route_config_find(c, STR("demo.default.svc.cluster.local:50051")), head);
	call(route_config_find(c, STR("")), head);
	fields_unref(&head);
	fields_pool_free(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct account a;
	struct route_config *c = NULL, *again = NULL;
	struct sb why = {0};

	account_init(&a, NULL, "fuzz", SIZE_MAX);
	int rc = decode_routes(data, size, &a, &c, &why);
	insist(a.peak <= 2 * size + 1024 * 1024);
	insist((rc == 0) == (c != NULL) && (rc == 0 || why.n > 0));
	if (c) {
		insist(decode_routes(data, size, &a, &again, NULL) == 0 && route_config_eq(c, again));
		use(c);
	}
	route_config_unref(&c);
	route_config_unref(&again);
	insist(a.used == 0);
	sb_end(&why);
	return 0;
}
