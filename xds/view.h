/* xds/view: what makes up one view, for xds.c and dump.c. See xds/xds.h for the picture. Owner: struct xds. */
#pragma once
#include "xds/ads.h"
#include "xds/node.h"
#include "xds/secrets.h"
#include "xds/store.h"
#include "xds/workload.h"
#include "xds/xds.h"

struct view {
	struct list node;
	struct xds *xds;             /* borrowed: the owner */
	char *name, *node_id;        /* the first app's name */
	struct sb node_bytes;        /* the serialised Node */
	uint64_t identity;           /* of its apps; 0: they have none */
	const struct secret_space *space; /* borrowed: xds_view; the mesh's view has it too */
	struct mesh_view *mesh;      /* owned, all below too */
	struct archive *archive;
	struct resources *resources;
	struct ads *ads;
	struct sub *sub;
	struct store *store;
	struct secrets *secrets;     /* that come over its stream */
	struct workload *workload;
	char source[300], why[300];  /* borrowed by names of the mesh */
};
/* What TLS of its stream is: with the certificate of its app, where that has one, or where that is demanded. NULL: none. */
static inline struct tls_want *view_tls(const struct view *v, const struct conf_xds *c)
{
	return v->identity || c->tls.identity_demanded ? c->tls.want : c->tls.bare;
}
struct xds {
	struct xds_spec spec;
	struct conf *conf;           /* counted */
	struct node_env env;
	struct list views;
	uint32_t unfinished;         /* streams (xds_finish) */
	struct task finished;
	void (*over)(void *ctx);
	void *over_ctx;
	struct account *account;     /* the process's: sets of endpoints outlive us */
};
