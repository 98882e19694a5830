/* xds/node: who asks: the serialised envoy.config.core.v3.Node of an app, for the first message of each stream.
 *
 *   what `xds.node` says  >  gRPC's bootstrap (GRPC_XDS_BOOTSTRAP)  >  ISTIO_META_X, ISTIO_METAJSON_X  >  what a pod's environment and the app give
 *
 * Equal words give equal bytes (metadata is sorted), so apps with the same node share a view. Pure but for the bootstrap's file. */
#pragma once
#include "base/err.h"
#include "conf/conf.h"

/* The environment; each: the i-th variable, false behind the last. Either may be NULL. */
struct node_env { const char *(*get)(void *ctx, const char *name); bool (*each)(void *ctx, uint32_t i, struct str *ret_name, struct str *ret_value); void *ctx; };
/* 0, and both are added to: the message, and its id as text. err may then hold what was passed over (a variable that is no JSON): the caller logs it.
 * Negative: told in err, nothing is added. */
int node_build(const struct conf_xds *x, const struct conf_app *app, const char *domain, const struct node_env *env, struct sb *out, struct sb *id, struct err *err);
