/* A whole configuration from bytes: libyaml, the tree, the schema, the declared things. It is accepted whole or refused with at least one
 * problem, never both, and what is accepted is sound enough to be published. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "conf/authority.h"
#include "conf/conf.h"
#include "conf/mesh.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static const char *env(void *ctx, const char *name)
{
	(void)ctx;
	return name[0] == 'E' ? "" : name[0] == 'V' ? "value:1" : NULL;
}

static void publish(struct conf *c)
{
	struct mesh *m = mesh_new(1);

	for (uint32_t i = 0; i < c->nservices; i++) {
		struct conf_service *v = &c->services[i];

		insist(v->spec->hash && endpoints_hash(v->endpoints) && v->action->cluster);
		for (uint32_t k = 0; k < endpoints_count(v->endpoints); k++) {
			struct endpoint e;

			endpoint_get(v->endpoints, k, &e);
			insist(e.weight && (e.naddrs || e.host));
		}
		mesh_put_service(
			m, v->name, route_table_single(route_action_ref(v->action)), spec_ref(v->spec), endpoints_ref(v->endpoints));
		insist(mesh_find(m, str_of(v->name)) && mesh_cluster_find(m, NULL, str_of(v->name)));
	}
	for (uint32_t i = 0; i < c->napps; i++) {
		struct conf_app *a = &c->apps[i];

		insist(a->listens > 0 && a->name && a->namespace_);
		for (uint32_t k = 0; k < a->aliases; k++) {
			struct authority found;
			authority_candidates(a, c->mesh_domain, str_of(a->alias[k].from), &found);
			insist(found.kind != AUTHORITY_BAD);
		}
	}
	mesh_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	char *text = xstrndup((const char *)data, size);
	struct conf *c = conf_load_text("fuzz", text, env, NULL, &e);

	insist((c == NULL) == err_any(&e));
	if (c)
		publish(c);
	conf_unref(&c);
	err_clear(&e);
	free(text);
	return 0;
}
