/* conf/declare_health: what is declared of health and of calls to the app, out of its YAML: apps[].inbound, apps[].health, services[].health and
 * services[].outlier. What a map says is read into a draft, judged, and becomes a conf_inbound, a conf_app_health, or the checks and outlier of a spec. */
#include "conf/declare.h"

#include <stdlib.h>

#include "base/mem.h"

/* ---- ends and hashes ------------------------------------------------------------------------------------------------------ */

void conf_app_health_end(struct conf_app *a)
{
	struct conf_app_health *h = &a->health;

	for (uint32_t i = 0; i < a->ninbound; i++) {
		struct conf_inbound *in = &a->inbound[i];
		spec_unref(&in->spec);
		endpoints_unref(&in->endpoints);
		route_action_unref(&in->action);
		free(in->text);
		free(in->place);
	}
	free(a->inbound);
	for (uint32_t i = 0; i < h->listens; i++)
		conf_listen_end(&h->listen[i]);
	free(h->listen);
	if (h->check)
		health_check_end(h->check);
	free(h->check);
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

		h = str_hash_seeded(str_n((const char *)of, sizeof(of)), declare_hash_text(h, in->text));
	}
	for (uint32_t i = 0; i < x->listens; i++)
		h = declare_hash_listen(h, &x->listen[i]);
	return declare_hash_ids(declare_hash_ids(h, &x->allow_uid), &x->allow_gid);
}
