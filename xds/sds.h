/* xds/sds: secrets from an SDS server over a Unix socket (istio-agent, SPIRE): envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets, state of the world, one name a stream
 * (istio.md 3.2: what the servers do). A stream that breaks is opened again with back-off, and what it brought stays.
 *
 *   secret (made by sds_get) 1 --- 1 xds/ads stream --answers--> decode_secret --> secret_put_cert, secret_put_trust
 *
 * Owner: sidecar/identities; secrets end their stream when nobody holds them (secret.gone). */
#pragma once
#include "conf/conf.h"
#include "net/dns.h"
#include "net/transport.h"

struct sds;
struct sds_spec {
	struct loop *loop; struct log *log; struct dns *dns; const struct limits *limits; struct transports *transports; /* borrowed */
	const char *server;          /* "unix:/path"; copied */
	const void *node; size_t node_n; /* the serialised Node: its id is demanded; copied */
	const char *app;             /* for the log */
};
struct sds *sds_new(const struct sds_spec *spec);
void sds_free(struct sds **s);       /* secrets stay with what they have; ends the streams */
/* Counted; the same secret for the same kind and name. */
struct secret *sds_get(struct sds *s, enum secret_kind kind, const char *name);
/* A secret that another provider had until now (a reload) is this one's: it is asked for by `name`, and keeps what it has until an answer comes. */
void sds_take(struct sds *s, struct secret *secret, const char *name);
void sds_thaw(struct sds *s);
void sds_again(struct sds *s, const char *why); /* streams that stand end, and what is held is asked for as if for the first time */
