/* tests/lb/lbrig: a loop on a virtual clock, one cluster, providers that are h2_conn in the server role, and calls.
 *
 * lb_rig owns all. A cluster is declared by hand (struct mesh_cluster), so that each test says in one line what its endpoints are. */
#pragma once
#include "lb/cluster.h"
#include "tests/lb/setrig.h"
#include "tests/sim/simnet.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)

/* What a provider does; may be changed at any time. */
enum behave {
	ANSWERS,          /* each request at once: 200 and the end */
	HOLDS,            /* requests stay open until provider_answer */
	HANGS_UP,         /* takes the connection and closes it */
	GOES_AT_ONCE,     /* SETTINGS, then GOAWAY */
	CRASHES,          /* closes the connection at the first request */
	REFUSES,          /* RST_STREAM(REFUSED_STREAM) */
};
struct provider {
	struct list node;
	struct lb_rig *rig;
	struct addr at;
	struct sock_listen *listen;
	enum behave behave;
	struct limits lim;
	struct tls_context *tls;   /* borrowed; NULL: plaintext. Takes effect for connections to come */
	struct tls_peer callers;   /* whom it accepts */
	uint32_t plain, shaken, unshaken; /* connections that spoke plaintext to one with TLS; handshakes that were done, that failed */
	struct list conns;
	uint32_t accepted, requests, held, cancelled;
};
struct lb_rig {
	struct simnet *net;
	struct loop *loop;
	struct limits lim;
	struct dns *dns;
	struct mesh *mesh;           /* empty: whose space of secrets the cluster has */
	struct transports *transports;
	struct clusters *clusters;
	struct mesh_cluster decl;
	struct cluster *cluster;
	struct list providers;
	char text[ADDR_TEXT]; /* of lb_rig_host */
};

enum call_state { CALL_NEW, CALL_WAITS, CALL_OPEN, CALL_HEAD, CALL_ENDED, CALL_REFUSED /* host_open said no */, CALL_FAILED /* waited in vain */ };
struct call {
	struct lb_rig *rig;
	struct pool_wait wait;
	struct host *host;
	struct stream *stream;
	enum call_state state;
	enum pick_result picked;
	enum stream_cause cause;
	int err;
	char why[512];
};

struct lb_rig *lb_rig_new(void);
void lb_rig_free(struct lb_rig **r);
void lb_rig_advance(struct lb_rig *r, uint64_t ns);
struct cluster_spec *lb_rig_spec(void);            /* round robin, the defaults else */
struct endpoint_set *lb_rig_set(const char *text); /* see tests/lb/setrig.h; "": none */
void lb_rig_publish(struct lb_rig *r, struct endpoint_set *taken); /* as mesh does it, once something is declared */
void lb_rig_declare(struct lb_rig *r, struct cluster_spec *spec_taken /* NULL: as before */, const char *endpoints);
void lb_rig_withdraw(struct lb_rig *r);

struct provider *provider_new(struct lb_rig *r, const char *at, enum behave behave);
void provider_close(struct provider *p);           /* no new connections: refused */
void provider_open(struct provider *p);
void provider_cut(struct provider *p);             /* its connections die */
void provider_goaway(struct provider *p);          /* on all of its connections, gracefully */
void provider_answer(struct provider *p);          /* what it holds */
void provider_stall(struct provider *p, bool stalled);
uint32_t provider_conns(const struct provider *p); /* open now */

enum call_state call_start(struct lb_rig *r, struct call *c);
void call_cancel(struct call *c);
void call_clear(struct call *c);                   /* gives the host back if it is still held */
struct cluster_view lb_rig_view(struct lb_rig *r);
struct host_view lb_rig_host(struct lb_rig *r, uint32_t index); /* its text lives until the next one */
