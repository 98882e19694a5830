/* sidecar/health_door: what others ask about the app (apps[].health.listen): kubelet's GET /healthz/ready and /healthz/live (and /ready, /live), grpc.health.v1.Health for remote checkers
 * (Check, Watch, List; service "" and each service that health.services or the app's paths name), and any other request with the semantics of Envoy's health_check filter: 200 while the app is open, 503 with flag LH else,
 * x-envoy-immediate-health-check-fail: true while it is failing, x-envoy-upstream-healthchecked-cluster: the node's cluster (app.namespace without a mesh).
 * Ready: the control plane (if there is one) has answered once, the app is open, and of the services in health.needs so many percent of the providers are healthy as stands there. Live: the process turns.
 * One an app. Owner: its app. */
#pragma once
#include "sidecar/app.h"

struct health_door;
struct local_row;
struct health_door *health_door_new(struct app *a);
void health_door_apply(struct health_door *d, struct conf *whole, const struct conf_app *conf);
void health_door_open(struct health_door *d, struct err *err);
void health_door_drain(struct health_door *d);  /* NULL is fine here and below */
void health_door_close(struct health_door *d);
void health_door_free(struct health_door **d);
void health_door_json(const struct health_door *d, struct sb *out); /* for /status: its doors, as members of an array */
bool health_door_is_idle(const struct health_door *d);   /* nobody is connected, and no door is leaving */
extern const struct local_row health_door_open_row;      /* any request while the app is open */
void health_door_mark(const struct app *a, struct fields *head); /* what each answer here says of who answers */
