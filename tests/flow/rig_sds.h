/* tests/flow/rig_sds: an SDS server on the in-memory network (or, by sds_server_on, on real sockets), in the shape of istio-agent or of SPIRE (istio.md 3.2). A plane (rig_ads) that serves
 * StreamSecrets: what was asked is in its requests, and what planes can do (cut, GOAWAY, slow, refuse, mute) it can too.
 *
 *   s = sds_server_new(net, account, "unix:/run/sds.sock");  sds_server_cert(s, "default", chain, key);  sds_server_roots(s, "ROOTCA", pem);
 *
 * A put of a name that somebody asked for is pushed. Owner: whoever made it. */
#pragma once
#include "tests/flow/rig_ads.h"
#include "tests/flow/rig_ca.h"

struct sds_server {
	struct plane *plane;       /* owned */
	struct map secrets;        /* name -> struct sb: the Secret's bytes */
	uint64_t version, nonces;
	uint32_t acks, nacks;
	char last_error[2048];     /* of the last NACK */
	/* quirks */
	bool spire;                /* no node needed, an empty list is everything, unknown names end with INVALID_ARGUMENT */
	bool mute;                 /* hears, and says nothing */
	const char *as;            /* answers under this name, whatever was asked; NULL */
};
struct sds_server *sds_server_new(struct simnet *net, struct account *account, const char *at);
struct sds_server *sds_server_on(struct loop *loop, struct account *account, const struct addr *at); /* on real sockets; NULL: it cannot listen */
void sds_server_end(struct sds_server *s);             /* closes all; what dies needs some turns */
void sds_server_free(struct sds_server **s);
void sds_server_cert(struct sds_server *s, const char *name, const char *chain_pem, const char *key_pem);
void sds_server_leaf(struct sds_server *s, const char *name, struct authority *by, const struct paper *how); /* a new one, with its key */
void sds_server_roots(struct sds_server *s, const char *name, const char *pem);
/* As SPIRE: SPIFFECertValidatorConfig. domains_and_pems: name, PEM, name, PEM ..., NULL. */
void sds_server_bundles(struct sds_server *s, const char *name, const char *const *domains_and_pems);
void sds_server_bytes(struct sds_server *s, const char *name, const void *secret, size_t n);
void sds_server_say(struct sds_server *s, const char *name);    /* once more, to all who asked */
uint32_t sds_server_streams(const struct sds_server *s, const char *name); /* open ones that asked for it */
