/* tests/flow/rig_tls: callers that speak TLS, and secrets that a test holds in its hand.
 *
 *   who   what one shows and trusts as a client:  rig_who(&w, r, mesh, "URI:spiffe://td/ns/x/sa/cart", authority_pem(mesh), "h2")
 *   keep  secrets of a door by kind, put by the test; a space for transport_get
 *
 * Papers: rig_ca.h. Owner of all: the test. */
#pragma once
#include "net/transport.h"
#include "tests/flow/rig.h"
#include "tests/flow/rig_ca.h"

struct rig_who { struct tls_context *context; struct tls_want *want; struct tls_peer peer; };
/* from NULL: shows nothing. roots: PEM; NULL: believes anybody. */
void rig_who(struct rig_who *w, struct authority *from, const struct paper *how, const char *roots, const char *alpn);
void rig_who_end(struct rig_who *w);
struct caller *caller_tls(struct rig *r, const char *at, struct rig_who *who);       /* caller->why: why it did not come up */
struct caller *caller_tls_start(struct rig *r, const char *at, struct rig_who *who); /* as caller_start */
struct raw *raw_tls(struct rig *r, const char *at, struct rig_who *who);             /* what it says and hears is inside */
/* It speaks TLS from now on (connections to come): as a leaf of `by`, to clients that roots stand for. What p->tls was is given back; the last one is the test's to give back. */
void provider_tls(struct provider *p, struct authority *by, const char *sans, const char *roots);
int64_t rig_now_s(const struct rig *r);                                              /* by the wall's clock */

struct rig_keep { struct transports *all; struct secret *cert, *roots; struct secret_space space; };
void rig_keep_new(struct rig_keep *k, struct loop *l);
void rig_keep_cert(struct rig_keep *k, struct authority *from, const struct paper *how);
void rig_keep_roots(struct rig_keep *k, const char *pem);
struct transport *rig_keep_server(struct rig_keep *k, struct tls_want *want); /* counted */
void rig_keep_end(struct rig_keep *k); /* who had transports of it is gone */
