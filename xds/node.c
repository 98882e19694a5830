/* xds/node: see the header. The least that a control plane takes: an id, and the dialect that is wanted. */
#include "xds/node.h"

#include "xds/wire.h"

static const char *of_env(const struct node_env *env, const char *name, const char *otherwise)
{
	const char *value = env->get ? env->get(env->ctx, name) : NULL;

	return value && *value ? value : otherwise;
}

int node_build(const struct conf_xds *c, const struct conf_app *app, const char *domain, const struct node_env *env, struct sb *out, struct sb *id, struct err *err)
{
	const char *ns = app->namespace_ ? app->namespace_ : "default";

	(void)err;
	if (c->node.id)
		sb_str(id, c->node.id);
	else
		sb_fmt(id, "sidecar~%s~%s.%s~%s.svc.%s", of_env(env, "INSTANCE_IP", "127.0.0.1"), of_env(env, "POD_NAME", app->name), ns, ns, domain);
	sb_char(out, 0x0a);
	sb_char(out, (char)id->n);
	sb_add(out, id->p, id->n);
	return 0;
}
