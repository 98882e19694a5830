/* sidecar/identities: who the apps are: of each apps[].identity the provider of its certificate and roots (files, SDS, CA, gRPC's bootstrap), and the spaces in which views and static services
 * find secrets by name.
 *
 *   identity (one for equal lines of the configuration) 1 --- 1 provider: net/secret_files | xds/sds | xds/csr
 *   space (one a view, and one for static services)  --get(ref)--> secret of an identity, of files, inline, of the view's ADS
 *
 * Owner: struct sidecar. Ends after views, clusters and doors, before transports. */
#pragma once
#include "conf/conf.h"
#include "net/transport.h"

struct sidecar;
struct identities;
struct identities *identities_new(struct sidecar *s, struct transports *t);
void identities_free(struct identities **i);
/* A reload, or the start: providers of lines that are there no more end once nobody holds their secrets; an app whose line changed keeps its secrets, which its new provider fills. */
void identities_apply(struct identities *i, struct conf *conf, struct err *err);
const struct secret_space *identities_static(struct identities *i);                      /* services[].tls; identity by the app's name */
const struct secret_space *identities_of(struct identities *i, const struct conf_app *app); /* of its views and doors. Lives as long as the app's line */
uint64_t identities_key(const struct conf_app *app);                                     /* equal: may share a view; 0: it has none */
void identities_thaw(struct identities *i);
