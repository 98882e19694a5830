/* xds/secrets: certificates and roots over a view's own stream (SECRET_ADS): resources of the type Secret, subscribed by name while somebody holds the secret.
 *
 *   xds_secret_get --secret_new--> secret 1 --- 1 name in xds/sub (XDS_SDS) --answers--> decode_secret --> secret_put_cert, secret_put_trust
 *                                    \--gone: nobody holds it--> unsubscribed
 *
 * What came goes nowhere else: not into resources, archive or dump, for it holds keys. A refused answer is a NACK, and what there was stays; so does it when the stream or the view ends.
 * Owner: a view of xds/xds. For sidecar/identities: xds_secret_get alone. */
#pragma once
#include "net/transport.h"
#include "xds/sub.h"

struct xds;
struct mesh_view;
/* Counted; the same secret for the same view, kind and name. NULL with *why (static): there is no such view, xds_spec.transports is not set, too many, or the name is none. */
struct secret *xds_secret_get(struct xds *x, const struct mesh_view *v, enum secret_kind kind, const char *name, const char **why);

/* ---- for the view ---- */
enum { SECRETS_MAX = 1024 /* names of a view */, SECRET_BYTES_MAX = 5 << 20 /* of one: net/tls takes 4 MiB */ };
struct secrets;
struct secrets_spec {
	struct loop *loop; struct log *log; struct sub *sub; struct transports *transports; struct account *account; /* borrowed; transports may be NULL: none can be had */
	const char *view;            /* for log lines; borrowed */
	const char *source;          /* "xds istiod:15010", as secrets show it; borrowed while one is made */
};
struct secrets *secrets_new(const struct secrets_spec *spec);
void secrets_free(struct secrets **s);  /* those that are held stay with what they have, and get nothing any more. Before its sub */
struct secret *secrets_get(struct secrets *s, enum secret_kind kind, const char *name, const char **why);
extern const struct sub_events secrets_events; /* of XDS_SDS, with the secrets as their ctx (sub_route) */
struct secrets_counts { uint32_t wanted, present; };
/* version: of the last answer that had it. */
void secrets_each(const struct secrets *s, void (*fn)(void *ctx, const struct secret *q, struct str version), void *ctx);
void secrets_count(const struct secrets *s, struct secrets_counts *ret);
