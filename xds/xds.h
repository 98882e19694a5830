/* xds/xds: the mesh's names, on demand. The only header of this floor that sidecar/ includes.
 *
 *   sidecar --xds_view(app)--> view (one a node and identity) --mesh_view--> conf/mesh      who calls wants names there, xds answers them there
 *                                |1
 *                                |1  sub (what is subscribed) --1 ads (the stream to the control plane)
 *                                |1  store (what was accepted, and what follows from it)  --1 archive (the snapshot: raw bytes, on disk)
 *
 * Apps with the same node and the same identity share a view; behind an agent (a Unix socket as server) all apps share one, for an agent serves one stream only.
 * Writes to conf/mesh and nowhere else. Owner: sidecar. */
#pragma once
#include "conf/conf.h"
#include "conf/mesh.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/offload.h"
#include "net/reader.h"

struct xds;
struct secret_space; struct transports; /* net/secret.h, net/transport.h */
struct xds_spec {
	struct loop *loop;            /* borrowed, all of them */
	struct log *log;
	struct mesh *mesh;
	struct dns *dns;
	struct offload *offload;
	struct reader *reader;
	const struct limits *limits;
	bool takeover;                /* snapshots that another process holds are our predecessor's (hot upgrade), until xds_settle */
	struct transports *transports; /* TLS of streams, secrets that come over them; NULL: there is none of either */
	struct endpoint_metas *metas;  /* sets of endpoints outlive a control plane that was configured away: lb still has calls on them */
	const char *(*env)(void *ctx, const char *name); void *env_ctx; /* POD_NAME, ISTIO_META_*, GRPC_XDS_BOOTSTRAP; NULL: none is set */
	bool (*env_each)(void *ctx, uint32_t i, struct str *ret_name, struct str *ret_value); /* for ISTIO_META_*; may be NULL */
};
/* conf: with a control plane (conf->xds.nservers); counted. */
struct xds *xds_new(const struct xds_spec *spec, struct conf *conf);
void xds_free(struct xds **x);        /* ends the streams; views and their names leave the mesh. Hosts that calls are on stay with lb until those end */
/* A reload. True: it goes on; other servers, TLS or headers make new streams by make before break while all that is known stays. False: what is asked, or by whom, is another thing now (profile, node, snapshot ...): a new one is to take its place. */
bool xds_apply(struct xds *x, struct conf *conf);
/* Ends the views that no app uses any more. */
void xds_sweep(struct xds *x, bool (*used)(void *ctx, const struct mesh_view *v), void *ctx);
/* The view of that app; made (and its stream begun) with the first. NULL with the problem in err: files of TLS or of a bootstrap that can't be read. Apps with the same node share one while
 * `identity` is the same too (sidecar/identities; 0: it has none), behind an agent all do: an agent has one identity. space: where the view's clusters, and its stream, find their secrets;
 * borrowed while the view is, or until xds_view_space gives another one with the same secrets. May be NULL: there are none. */
struct mesh_view *xds_view(struct xds *x, const struct conf_app *app, uint64_t identity, const struct secret_space *space, struct err *err);
void xds_view_space(struct xds *x, struct mesh_view *v, const struct secret_space *space);
/* Hot upgrade. The one that goes: lend: true once all snapshots are written, which from then on stay as they are; hush: another process speaks for the apps; retake: it has died. The one
 * that comes: settle: it serves. */
bool xds_lend(struct xds *x);
void xds_hush(struct xds *x, bool hushed);
void xds_retake(struct xds *x);
void xds_settle(struct xds *x);
/* All views know something: from the snapshot, or because their stream is up. */
bool xds_is_prepared(const struct xds *x);
/* The clock jumped (a frozen container): streams are checked at once. */
void xds_thaw(struct xds *x);

/* The health of the workload that the view's node is (istio.md 2.1): HealthInformation on the stream, within the turn where a stream is up and has been asked something; again after each
 * reconnect and every 30 s with jitter. Only profiles of Istio know it; elsewhere it is kept and told to nobody. text: why not ok; copied. The first call switches it on. */
void xds_health_say(struct xds *x, struct mesh_view *v, bool ok, const char *text);
enum xds_told { XDS_TOLD_NOTHING /* nothing was said yet */, XDS_TOLD_NOBODY /* this control plane has no use for it */, XDS_TOLD_WAITS /* no stream is up */, XDS_TOLD_SENT /* the kernel has it */ };
struct xds_health { enum xds_told told; bool ok; uint64_t sent_ns; uint64_t sent; };
void xds_health_get(const struct xds *x, const struct mesh_view *v, struct xds_health *ret);
/* fn once, when what was said last has been given to the kernel, or is of no use, or after max_ns (told false); deferred. */
struct xds_health_wait { struct list node; struct timer timer; struct task task; void (*fn)(struct xds_health_wait *w, bool told); void *view; bool told; };
void xds_health_wait(struct xds *x, struct mesh_view *v, struct xds_health_wait *w, uint64_t max_ns, void (*fn)(struct xds_health_wait *w, bool told));
void xds_health_unwait(struct xds_health_wait *w);

/* The end: over (deferred) once the control planes that were told something have heard all of it, the last word too, and have ended their streams. False: there is none, over does not come.
 * Nothing is said afterwards. Whoever calls it bounds the time. over NULL: it is not to come any more. */
bool xds_finish(struct xds *x, void (*over)(void *ctx), void *ctx);

/* ---- for people ---- */
enum { XDS_INFO_TYPES = 5 };
struct xds_stream_info {
	const char *view, *server, *state; /* ads_state_name */
	const char *profile, *protocol, *node, *last_error; /* "" none */
	bool experimental;                /* the profile has met no real server */
	bool up;
	uint64_t since_ns, connects, messages, failures;
	uint32_t names, names_unknown, names_stale, names_absent, clusters;
	struct { const char *type; uint32_t wanted, present; bool wildcard; char version[64]; uint64_t success, rejected, bytes; char last_reject[160]; } type[XDS_INFO_TYPES]; /* LDS, RDS, CDS, EDS, SDS */
	bool snapshot; const char *snapshot_state; uint64_t snapshot_bytes; uint32_t snapshot_records;
	struct xds_health health; bool registers; /* it enters itself into the mesh (AUTO_REGISTER_GROUP, WORKLOAD_ENTRY) */ uint64_t registered_again;
};
const char *xds_told_name(enum xds_told t);       /* "nothing", "nobody", "waits", "sent" */
void xds_each(struct xds *x, void (*fn)(void *ctx, const struct xds_stream_info *i), void *ctx);
/* /config_dump: JSON, whole. */
void xds_dump(struct xds *x, struct sb *out);
