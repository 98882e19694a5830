/* tests/flow/rig_ads: a control plane on the in-memory network, in the shape of istiod (or go-control-plane, Consul, Nacos), with their quirks as switches.
 *
 *   plane 1 --- n plane_conn 1 --- n plane_stream (an ADS stream, either protocol form) 1 --- n plane_request (all that the client ever said)
 *   plane 1 --- n resource: (type, dialect, name) -> bytes
 *
 * Two ways to say what the mesh is:
 *   plane_service(p, "demo.default.svc.cluster.local", 50051, "10.0.0.1:1 10.0.0.2:1*50!unhealthy@b")   everything of a service, in the sidecar and the grpc dialect
 *   plane_put(p, XDS_EDS, name, bytes, n)                                                              one resource as bytes (make_* below builds them)
 * Changes of a turn go out together in the next one, as each kind of server would push them; a name is answered when it is asked for. What is right and wrong in
 * an answer follows reference istio.md (the lines are cited in rig_ads_answer.c).
 *
 * Knows a loop and an account, not the rig: unit tests of xds/ use it as well, and tests/plane makes a process of it. In a flow test rig_plane() makes one that ends with the rig. Owner: whoever made it. */
#pragma once
#include "base/map.h"
#include "net/h2_conn.h"
#include "net/tls.h"
#include "tests/sim/simnet.h"
#include "xds/sub.h"

enum plane_kind {
	PLANE_ISTIO,    /* sidecar dialect, or grpc where the node's metadata says GENERATOR */
	PLANE_GENERIC,  /* go-control-plane: every type by name or wildcard, full answers in state of the world */
	PLANE_CONSUL,   /* delta only; CDS, EDS, LDS, RDS, one after the other's ACK */
	PLANE_NACOS,    /* state of the world only; EDS sends all at first, names added later are not noticed */
};
enum plane_dialect { DIALECT_BOTH, DIALECT_SIDECAR, DIALECT_GRPC, DIALECTS };
enum { PLANE_OTHER = XDS_TYPES, PLANE_ANY };

/* What may be switched at any time. A zeroed one behaves well. */
struct plane_quirks {
	bool mute;                 /* takes everything, says nothing */
	bool deaf;                 /* reads nothing: gives no window */
	uint32_t slow_ms;          /* each answer and push comes so much later */
	uint32_t debounce_ms;      /* pushes wait so long for company */
	int refuse; const char *refuse_text; uint32_t refusals; /* grpc-status for each new stream, so often (0: as long as refuse is set) */
	bool no_delta, no_sotw;    /* UNIMPLEMENTED */
	uint32_t max_age_ms, grace_ms; /* GOAWAY by age; the connection is cut when the grace is over (0: 10 s) */
	bool no_stale_check;       /* default: a request with a stale nonce is dropped, names included */
	bool no_partial;           /* default in the sidecar dialect: names added are answered alone */
	bool no_absent;            /* default in Istio: unknown RDS and EDS names are answered by empty resources */
	bool no_force_eds;         /* default in Istio: EDS is answered once more after CDS was asked */
	bool no_churn;             /* default in Istio: a change anywhere pushes CDS, LDS, RDS unchanged */
	bool no_forget;            /* default in Istio's grpc dialect over delta: LDS and CDS remember the names of the last answer only */
	bool no_spellings;         /* default in Istio: of two RDS names for one service all but the first come empty */
	bool no_type_check;        /* default in Istio: an unknown type ends the stream */
	bool no_node_check;        /* default: a stream without node, or (Istio) a node id of another shape, ends with INVALID_ARGUMENT */
	bool silent_absent;        /* PLANE_GENERIC over delta: says nothing about names that do not exist, instead of removed_resources */
	bool wrap;                 /* state of the world: each Any is a Resource (resource-in-sotw) */
	bool twice;                /* each resource comes two times in its message */
	bool no_nonce;             /* answers carry none */
	bool agent;                /* istio-agent stands before it: health before a request for listeners is dropped */
};

struct plane;
struct plane_stream;
struct plane_conn { struct list node; struct plane *plane; struct h2_conn *h2 /* NULL: a handshake */; struct sock *sock /* of the network */, *tls; uint32_t number; struct timer age; bool leaving; struct grave grave; };
struct plane_request {
	struct list node;
	struct plane_stream *stream;
	uint64_t at_ns;
	int type;                   /* enum xds_type, or PLANE_OTHER */
	char *type_url, *version, *nonce;
	struct sb names;            /* "a b" as sent; delta: "+a -b =c" (initial_resource_versions) */
	char **sub; uint32_t nsub;
	char **unsub; uint32_t nunsub;
	char **have, **have_version; uint32_t nhave;
	int error_code;             /* 0: none */
	char *error_text;           /* "" */
	bool has_error;             /* error_detail is there */
	struct sb node_bytes; bool has_node;
	char *node_id;
};
struct plane_names { char **name; uint32_t n, cap; };
struct plane_watch {            /* of a type on a stream */
	bool asked, wildcard, force;
	struct plane_names names;
	char nonce[64];             /* of the last answer */
	uint32_t unacked;
};
struct plane_stream {
	struct list node;
	struct plane *plane;
	struct plane_conn *conn;    /* NULL once gone */
	struct stream *stream;      /* NULL once ended */
	uint32_t number;            /* of the plane, from 1 */
	bool delta, grpc, has_node, ordinary, headed;
	struct sb head;             /* the request's fields, "name: value\n" each */
	struct sb in;
	struct plane_watch watch[XDS_TYPES];
	struct list waiting;        /* answers that are slow, or wait for an ACK (Consul) */
	uint64_t owed;
	uint32_t answers;
};
struct plane {
	struct list node;           /* the rig's */
	struct simnet *net;         /* NULL: on the real loop */
	struct loop *loop;
	struct account *account;    /* borrowed */
	struct limits lim;
	struct addr at;
	enum plane_kind kind;
	struct plane_quirks quirks;
	struct sock_listen *listen;
	struct sock_path path;      /* of a Unix path on the real loop */
	struct list conns, streams, requests; /* streams and requests: all there ever were, oldest first */
	struct map resources[DIALECTS][XDS_TYPES];
	struct list changes;
	struct timer push;
	uint64_t version, config_version, nonces;
	uint32_t accepted, nstreams, nrequests, acks, nacks, pushes;
	/* HealthInformation (istio.md 2.1), as the last one that counted said it: on a stream that an ordinary request had gone by. early: those that came before one, and were dropped. */
	struct { uint32_t count, early; bool ok; char text[600]; uint64_t at_ns; uint32_t stream; } health;
	uint64_t bytes;             /* of messages that were sent, with their five bytes each */
	bool held;
	const char *domain;         /* of the client: "default.svc.cluster.local" */
	/* TLS: whom it accepts (any client whose chain is good, or who shows nothing, where no_client_cert). Borrowed; NULL: plain text. last_peer: the URI of the certificate that the newest one showed. */
	struct tls_context *tls; struct tls_want *clients;
	char last_peer[256];
	uint32_t handshakes, unshaken;
	/* Something else than a control plane (tests/flow/rig_sds): another path, and requests are its own. NULL: as usual. */
	const char *serves;
	void (*heard)(void *ctx, struct plane_stream *s, struct plane_request *q);
	void *ctx;
};

/* ---- a life ---- */
struct plane *plane_new(struct simnet *net, struct account *account, const char *at, enum plane_kind kind); /* listens */
/* The same on any loop: over kernel sockets on the real one (tests/plane). NULL: it cannot listen there. */
struct plane *plane_on(struct loop *loop, struct account *account, const struct addr *at, enum plane_kind kind);
void plane_end(struct plane *p);             /* closes all; what dies needs some turns */
void plane_free(struct plane **p);           /* after them */
void plane_listen(struct plane *p, bool on); /* off: connections are refused; those that are there stay. On again where somebody else listens now: it stays off */
void plane_cut(struct plane *p);             /* connections die as by kill -9 */
void plane_kill(struct plane *p);            /* both: and forgets nothing */
void plane_stall(struct plane *p, bool stalled); /* in memory only: a process is stopped by SIGSTOP */
void plane_goaway(struct plane *p);          /* GOAWAY to all; streams go on until quirks.grace_ms is over */
void plane_end_streams(struct plane *p, int grpc_status, const char *text);

/* ---- what there is ---- */
void plane_put(struct plane *p, enum xds_type t, const char *name, const void *bytes, size_t n);
void plane_put_in(struct plane *p, enum plane_dialect d, enum xds_type t, const char *name, const void *bytes, size_t n);
void plane_del(struct plane *p, enum xds_type t, const char *name);
void plane_hold(struct plane *p, bool held);  /* held: changes wait; false: they go out together */
/* A service as istiod (PLANE_CONSUL and _GENERIC: the gRPC dialect by name; PLANE_NACOS: CDS and EDS) shows it: called again, changes what differs. endpoints: see make_assignment; "": none. */
void plane_service(struct plane *p, const char *host, uint16_t port, const char *endpoints);
void plane_endpoints(struct plane *p, const char *host, uint16_t port, const char *endpoints); /* EDS alone */
void plane_service_gone(struct plane *p, const char *host, uint16_t port);
/* The route of a service to other clusters: "outbound|50051|v1|demo...=90 outbound|50051|v2|demo...=10"; NULL: its own again. */
void plane_route(struct plane *p, const char *host, uint16_t port, const char *clusters);
void plane_cluster(struct plane *p, const char *name, const char *endpoints); /* a cluster and its assignment alone (a subset) */

/* ---- what was asked and said ---- */
struct plane_request *plane_last(const struct plane *p, int type);            /* the last of a type (or PLANE_ANY); NULL: none */
struct plane_request *plane_request(const struct plane *p, int type, uint32_t n); /* the n-th of them, from 0 */
uint32_t plane_count(const struct plane *p, int type);
const char *plane_names(const struct plane *p, int type);                     /* of the last request; "(none)" */
struct plane_stream *plane_stream(const struct plane *p);                     /* the newest that is open; NULL */
struct plane_stream *plane_stream_nth(const struct plane *p, uint32_t n);     /* from 0, closed ones too */
uint32_t plane_open(const struct plane *p);                                   /* streams that are open */
bool plane_asks(const struct plane *p, enum xds_type t, const char *name);    /* watched on the newest open stream */
const char *plane_field(const struct plane_stream *s, const char *name);      /* of the stream's head; NULL */
const char *plane_nonce(const struct plane_stream *s, enum xds_type t);

/* ---- by hand ---- */
/* One answer with these resources, whatever was asked; names as in the store ("" and NULL: none). To the newest open stream. */
void plane_say(struct plane *p, enum xds_type t, const char *names_space_separated);
void plane_say_bytes(struct plane *p, const char *type_url, const char *name, const void *bytes, size_t n); /* one resource of any type */
void plane_message(struct plane *p, const void *message, size_t n);           /* a DiscoveryResponse or DeltaDiscoveryResponse as it stands */
void plane_raw(struct plane *p, const void *bytes, size_t n);                 /* bytes of the body: framing is yours */

/* ---- resources as istiod makes them ---- */
/* protobuf by hand, independent of the daemon's own writer: fields in the order given. */
void pb_varint(struct sb *b, uint64_t v);
void pb_num(struct sb *b, uint32_t field, uint64_t v);
void pb_bytes(struct sb *b, uint32_t field, const void *p, size_t n);
void pb_text(struct sb *b, uint32_t field, const char *z);
void pb_sub(struct sb *b, uint32_t field, struct sb *taken);                  /* a message; `taken` is freed */
void pb_any(struct sb *b, uint32_t field, const char *type_url, struct sb *taken);
/* endpoints: "ADDRESS[*WEIGHT][!HEALTH][@ZONE][^PRIORITY]" separated by spaces: "10.0.0.1:1*50!unhealthy@b^1", "unix:/run/x.sock", "[::1]:1". HEALTH: healthy, unhealthy, draining, timeout, degraded. */
void make_assignment(struct sb *b, const char *cluster, const char *endpoints, bool tls);
struct make_cluster { bool plain /* grpc dialect: no extras */, tls /* transport_socket_matches */, v2; int type /* 3 EDS */, lb; const char *endpoints; /* inline, for types 0-2 */ };
void make_cluster(struct sb *b, const char *name, const struct make_cluster *how);
void make_routes(struct sb *b, const char *name, const char *domains, const char *clusters); /* one virtual host; domains NULL: no virtual host */
void make_listener(struct sb *b, const char *name, const char *rds_name);                    /* api_listener */
void make_listener_http(struct sb *b, const char *name, uint16_t port, const char *rds_name);/* a socket's, as in the sidecar dialect */

/* For rig_ads_*.c. */
struct plane_resource { struct sb bytes; char *name; };
struct plane_resource *plane_find(const struct plane *p, const struct plane_stream *s, enum xds_type t, struct str name);
void plane_heard(struct plane_stream *s, struct plane_request *q);            /* rig_ads_answer.c: a request was read */
void plane_push_now(struct plane *p);
void plane_changed(struct plane *p, enum plane_dialect d, enum xds_type t, const char *name, bool gone);
void plane_forget_changes(struct plane *p);
void plane_send(struct plane_stream *s, int type, struct sb *message_taken);  /* through slow and Consul's order */
void plane_acked(struct plane_stream *s);
void plane_finish(struct plane_stream *s, int grpc_status, const char *text);
void plane_names_add(struct plane_names *l, const char *name);
void plane_names_del(struct plane_names *l, const char *name);
bool plane_names_has(const struct plane_names *l, const char *name);
void plane_names_clear(struct plane_names *l);
extern const char *const plane_type_url[XDS_TYPES];
