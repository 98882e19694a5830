/* sidecar/sidecar: the wiring: which rooms there are, who tells whom. One a process (or a flow test).
 *
 *   sidecar --owns--> loop? (main's) conf mesh dns transports identities clusters doors apps control; metas and xds where there is a control plane, offload and reader where something needs them
 *
 * It is the only room that knows all floors; events of the lower ones end here. */
#pragma once
#include "conf/conf.h"
#include "conf/mesh.h"
#include "lb/cluster.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/watch.h"
#include "sidecar/app.h"
#include "uds/listener.h"
#include "xds/xds.h"
#include "sidecar/freeze.h"

struct access;
struct control;
struct drain;
struct identities;
struct sidecar;

/* How the daemon is told of the world outside; main fills it, flow tests fill what they need. */
struct sidecar_spec {
	struct loop *loop;                     /* borrowed, outlives the sidecar */
	struct log *log;                       /* borrowed */
	struct dns *dns;                       /* borrowed; NULL: dns_new(loop) */
	struct conf *conf;                     /* taken */
	/* A reload: reads the configuration again. NULL with err filled: refused. ctx is the caller's. */
	struct conf *(*reload)(void *ctx, struct err *err);
	/* An inherited listening descriptor for that address (socket activation), or -1. */
	int (*inherit)(void *ctx, const struct addr *at, const char *app);
	/* The file that an inherited descriptor belongs to, where we have (or had) made it: true with ret filled, which is taken. May be NULL. */
	bool (*inherit_path)(void *ctx, const struct addr *at, struct sock_path *ret);
	/* What an app says to us after another process has taken over (on a connection that has not gone yet) is for that one: health/life's line. May be NULL. */
	void (*said)(void *ctx, const char *app, struct str text);
	bool takeover;                         /* another process of this daemon serves yet: sidecar_go says when it is our turn */
	/* Progress for the service manager: "READY", "RELOADING", "STOPPING", "DRAINING" (each second), with a text for people. May be NULL. */
	void (*tell)(void *ctx, const char *what, const char *text);
	/* The environment, for the node that a control plane sees; NULL: none. env_each: the i-th variable, false behind the last. */
	const char *(*env)(void *ctx, const char *name);
	bool (*env_each)(void *ctx, uint32_t i, struct str *ret_name, struct str *ret_value);
	void *ctx;
};
struct sidecar {
	struct loop *loop;
	struct log *log;
	struct conf *conf;                     /* counted */
	struct limits limits;                  /* a copy with a stable address: the lower floors point here */
	struct mesh *mesh;
	struct dns *dns; bool own_dns;
	struct clusters *clusters;
	struct checker *checker;  /* of providers; health/checker.h */
	struct transports *transports;         /* all TLS there is */
	struct expiry *expiry;                 /* warns of certificates that end */
	struct identities *identities;         /* who the apps are */
	struct offload *offload;
	struct reader *reader;
	struct endpoint_metas *metas;
	struct xds *xds;                       /* NULL: no control plane */
	struct uds_doors *doors;
	struct list apps;
	struct control *control;
	struct access *access;
	struct sidecar_spec spec;
	struct pool_mem exchanges, attempts;
	uint32_t nexchanges, parked; size_t parked_bytes;
	struct list walking;                   /* removed apps that still end their calls */
	uint64_t memory_soft, memory_hard;
	uint64_t memory_outside, memory_asked; /* eight and nine tenths of the soft mark: above these nobody from outside calls the app, or connects to ask about it */
	uint64_t started_ns, started_wall_ns;
	bool ready, draining, stopped;
	bool waiting;                          /* takeover: everything is open, sidecar_go has not come */
	bool lent, left, followed;             /* hot upgrade: a successor begins; it is to serve, and we finish what we have; it does serve */
	bool reload_owed;                      /* asked while we were waiting or lent */
	struct drain *drain;                   /* sidecar/drain */
	struct timer memory_timer;
	struct task mesh_task;
	struct hist added;                     /* own added time of calls, sampled */
	struct watch **watches; uint32_t nwatches;
	struct log_every removal_log;
	struct log_every outlier_log;
	struct freeze freeze;
};
/* 0: everything in conf is open and READY was told; else a negative code with every problem in err. */
int sidecar_new(const struct sidecar_spec *spec, struct sidecar **ret, struct err *err);
/* Reads the configuration again; a broken one changes nothing. */
int sidecar_reload(struct sidecar *sc);
/* ---- how it goes: sidecar/drain.h has the picture ---- */
/* Tells the mesh, announces, stops accepting, two-phase GOAWAY, ends what is left at drain.deadline; `stopped` is set (and the loop stopped) at the end. Again: now. */
void sidecar_stop(struct sidecar *sc);
/* Hot upgrade, the one that goes: lend until it says true; then either leave (another process serves: finishes what there is, descriptors and locks stay) or take_back; take_back after leave, too. */
bool sidecar_lend(struct sidecar *sc);
void sidecar_each_life(struct sidecar *sc, void (*fn)(void *ctx, const char *app, struct str text), void *ctx);
void sidecar_leave(struct sidecar *sc);
void sidecar_said(struct app *a);              /* it has posted something */
void sidecar_followed(struct sidecar *sc);     /* it accepts: nothing keeps us but what is left */
void sidecar_take_back(struct sidecar *sc);
/* The one that comes (spec.takeover): what was known of an app, before the first turn; is there reason to wait; serve. */
bool sidecar_restore_life(struct sidecar *sc, const char *app, struct str text);
bool sidecar_is_prepared(const struct sidecar *sc);
bool sidecar_is_who_it_was(const struct sidecar *sc, const char *app); /* its identity is good, or it has none (any more) */
void sidecar_each_identity(const struct sidecar *sc, void (*fn)(void *ctx, const char *app), void *ctx); /* apps whose identity is good: the one that goes */
void sidecar_go(struct sidecar *sc);
void sidecar_reopen_logs(struct sidecar *sc);
void sidecar_free(struct sidecar **sc);      /* ends everything; needs a few turns of the loop before: see sidecar_close */
void sidecar_close(struct sidecar *sc);      /* closes all connections; loop turns bury them */
struct offload *sidecar_offload(struct sidecar *sc); /* made with the first who needs it */
struct reader *sidecar_reader(struct sidecar *sc);   /* likewise */
void sidecar_views_left(struct sidecar *sc);   /* an app has ended: what the control plane told it alone goes too */
void sidecar_memory_check(struct sidecar *sc); /* above the soft mark a timer looks for the hard one; below it nothing ticks */
bool sidecar_idle(const struct sidecar *sc);
void sidecar_request(void *user, struct uds_client *client, struct stream *s, struct fields *head, bool fin, const char *refuse); /* uds_events; user: app_door */
