/* sidecar/app: one application: its doors, its life, its names.
 * Owner: sidecar (list `apps`). A reload replaces `conf` and keeps what did not change; an app that was removed drains its doors and is freed when
 * its last call has ended. */
#pragma once
#include "conf/conf.h"
#include "health/life.h"
#include "sidecar/healthcheck.h"
#include "sidecar/names.h"
#include "sidecar/readiness.h"
#include "uds/listener.h"

struct inbound; struct health_door; struct secret_space;
/* A door that leaves (its lines were changed or removed by a reload) serves the connections it has until they end. */
struct app_door { struct uds_listener *listener; const struct conf_listen *conf; struct conf *whole; /* counted: conf lies in it */ uint64_t key; struct app *app; struct list node; struct task end_task; };
struct app {
	struct sidecar *sc;            /* borrowed: the owner */
	struct list node;
	struct conf *whole;            /* counted: what conf lies in */
	const struct conf_app *conf;
	struct account account;        /* child of the process's */
	struct app_door **doors; uint32_t ndoors;
	struct list leaving;           /* doors */
	struct names names;
	const struct secret_space *space; /* borrowed from sidecar/identities: where its view and its doors find certificates and roots */
	struct life *life;             /* health/life; owned */
	struct healthcheck healthcheck;
	struct readiness readiness;
	uint32_t callers;              /* connections of its own doors that have carried a call */
	struct inbound *inbound;       /* owned; NULL: no such doors */
	struct health_door *health_door; /* owned; NULL: no such doors */
	struct list exchanges;         /* all calls of this app, the parked too */
	struct list questions; uint32_t nquestions; /* at its health doors: exchanges whose request has not ended yet, oldest first */
	struct list asks; uint32_t nwatches; bool watches_over; /* sidecar/grpc_health's */
	uint32_t calls;
	uint32_t parked; size_t parked_bytes; /* calls (and questions) that wait for a name */
	bool removed;
	bool serves_on;                /* the daemon goes, and told the mesh so: calls for the app are taken until the doors close */
	struct task end_task;
	struct grave grave;
};
struct app *app_new(struct sidecar *sc, struct conf *whole, const struct conf_app *conf);
/* A new conf, in two steps: first all apps leave the doors that they have no more, then they open those they have not yet: a path may go from one to another.
 * Between the two an app's table of doors has holes. Problems are told in err, and counted. */
void app_apply(struct app *a, struct conf *whole, const struct conf_app *conf);
void app_open(struct app *a, struct err *err);
void app_drain(struct app *a);         /* all its doors, those that leave too */
void app_remove(struct app *a);        /* drains; freed when idle */
void app_close(struct app *a);         /* ends its calls and connections now; a few turns later app_free is allowed */
void app_free(struct app **a);
/* One more that waits for a name, or for a cluster's addresses. park.calls is an app's; all apps together have PARK_APPS times as much. False: there is no place, which is counted. */
enum { PARK_APPS = 4 };
bool app_park(struct app *a);
void app_unpark(struct app *a);
/* A call that has a way to a provider came through that connection: the process behind it is (a part of) the app. Cheap: a flag, once it is known. */
void app_carries(struct app *a, struct uds_client *client, struct fields *head);
