/* sidecar/identities: who the apps are: of each apps[].identity the provider of its certificate and roots (files, SDS, CA, gRPC's bootstrap), and the spaces in which views and static services
 * find secrets by name.
 *
 *   identity (one for equal lines of the configuration) 1 --- 1 provider: net/secret_files | xds/sds | xds/csr
 *      |1
 *      |n  space (one an app, for its views and doors; one for static services)  --get(ref)--> secret of an identity, of files, inline, of the view's ADS
 *
 * An identity has two secrets of its own, a certificate and roots, for all of its life: a reload that changes its lines changes its provider, and what there is stays until that has better.
 * Owner: struct sidecar. Ends after views, clusters and doors, before transports. */
#pragma once
#include "conf/conf.h"
#include "net/transport.h"

struct sidecar;
struct identities;
struct identities *identities_new(struct sidecar *s, struct transports *t);
void identities_free(struct identities **i);
/* A reload, or the start: providers of lines that are there no more end once nobody holds their secrets; an app whose line changed keeps its secrets, which its new provider fills. */
void identities_apply(struct identities *i, struct conf *conf);
const struct secret_space *identities_static(struct identities *i);                      /* services[].tls; identity by the app's name */
const struct secret_space *identities_of(struct identities *i, const struct conf_app *app); /* of its views and doors. Lives while the app's line does, or an app has it as its `space` */
void identities_sweep(struct identities *i);                                             /* an app has ended */
uint64_t identities_key(const struct conf_app *app);                                     /* of its line; equal: the same identity; 0: it has none */
uint64_t identities_view(const struct secret_space *of_app);                             /* equal: may share a view; 0: it has no identity */
void identities_thaw(struct identities *i);
/* All who are asked for have come, or cannot be had for now, or were waited for long enough (park.time, of the start). */
bool identities_prepared(struct identities *i);
void identities_on_prepared(struct identities *i, void (*fn)(void *ctx), void *ctx);     /* fn once, in a turn of its own, as soon as that is so; NULL: not any more */
/* For people. */
struct identity_info {
	const char *app;                  /* the first that has it */
	enum identity_kind kind;
	const char *name;                 /* who it is, to its peers and on all pages: what the certificate says; as declared while there is none */
	const struct secret *cert, *roots;
	uint64_t renews_wall_ns;          /* of a CA: when it is asked next; 0: now, or never */
	const char *last_error;           /* "" */
};
bool identities_good(const struct identities *i, const char *app);  /* it has a certificate that has not ended, and roots; false also where it has no identity */
bool identities_info(const struct identities *i, const char *app, struct identity_info *ret); /* false: it has none */
void identities_each(const struct identities *i, void (*fn)(void *ctx, const struct identity_info *info), void *ctx); /* each once, whoever has it */
bool identities_own(const struct identities *i, const struct secret *s, struct identity_info *ret);    /* whose own it is; false: nobody's, it was asked for by a name */
const char *identity_kind_name(enum identity_kind k);  /* "none", "files", "sds", "ca" */
