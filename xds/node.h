/* xds/node: who asks: the serialised envoy.config.core.v3.Node of an app. */
#pragma once
#include "base/err.h"
#include "conf/conf.h"

/* The environment; each: the i-th variable, false behind the last. Either may be NULL. */
struct node_env { const char *(*get)(void *ctx, const char *name); bool (*each)(void *ctx, uint32_t i, struct str *ret_name, struct str *ret_value); void *ctx; };
/* 0, or a negative code with the problem in err. out: the message; id: its id as text. */
int node_build(const struct conf_xds *c, const struct conf_app *app, const char *domain, const struct node_env *env, struct sb *out, struct sb *id, struct err *err);
