/* Any bytes as a Listener. Refused with a reason, or taken whole; memory stays within 2 x wire + 1 MiB, and comes back. */
#include <stdint.h>
#include <stdlib.h>

#include "xds/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct account a;
	struct listener_decoded *l = NULL;
	struct sb why = {0};

	account_init(&a, NULL, "fuzz", SIZE_MAX);
	int rc = decode_listener(data, size, &a, &l, &why);
	insist(a.peak <= 2 * size + 1024 * 1024);
	insist((rc == 0) == (l != NULL) && (rc == 0 || why.n > 0));
	if (l) {
		insist(l->name && l->bind);
		insist(l->has_http || (!l->rds_name && !l->inline_routes));
		insist(!(l->rds_name && l->inline_routes));
		insist(!l->rds_name || l->rds_name[0] != '\0');
		if (l->inline_routes)
			(void)route_config_find(l->inline_routes, STR("demo:50051"));
	}
	listener_decoded_free(&l);
	insist(a.used == 0);
	sb_end(&why);
	return 0;
}
