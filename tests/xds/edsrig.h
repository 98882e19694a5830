/* tests/xds/edsrig: writes ClusterLoadAssignments, field by field, in the order in which istiod's Go writes them, and reads sets back. */
#pragma once
#include "xds/decode.h"
#include "xds/wire.h"

struct eds_ep {
	const char *address; uint32_t port; /* address "/..." is a pipe; NULL: no address at all */
	uint32_t weight;                    /* 0: not given */
	uint32_t health;                    /* core.v3.HealthStatus */
	const char *workload;               /* istio.workload; NULL: none */
	const char *tls_mode;               /* envoy.transport_socket_match.tlsMode; NULL: none */
	const char *lb_key, *lb_value;      /* of envoy.lb; NULL: none */
	const char *also;                   /* an additional address */
};
void eds_ep_write(struct sb *out, const struct eds_ep *e); /* an LbEndpoint */
/* Into a group's bytes. */
void eds_put_locality(struct sb *group, const char *region, const char *zone, const char *sub_zone);
void eds_put_ep(struct sb *group, const struct eds_ep *e);
void eds_put_weight(struct sb *group, uint32_t weight);
void eds_put_priority(struct sb *group, uint32_t priority);
/* Into the message; the group is ended (freed). */
void eds_put_group(struct sb *message, struct sb *group);
void eds_put_name(struct sb *message, const char *name);

/* The endpoint that the mesh of the benchmark has at place i: IPv4, weight, health, istio's metadata; about 100 bytes. */
void eds_put_usual(struct sb *group, uint32_t i, uint32_t revision);
