/* health/checker: active checks of providers: when each endpoint is asked, and what becomes of the answers. The state machine is Envoy's (envoy.md 1e); the probe is
 * health/probe's, what hosts are is lb's.
 *
 *   lb: switched ---> a struct check a host, its timer somewhere in its first interval   --timer--> probe --verdict--> thresholds --> host_set_check
 *   lb: traffic  ---> the no-traffic intervals end                                          probes share the data connection where one stands (pool_lend)
 *
 * One exit: checker_done(check, verdict, why), where everything that is counted, logged and decided stands. A thaw makes all probes in flight void.
 * Owner: sidecar; it sets itself as lb's clusters_events. Ends before clusters. */
#pragma once
#include "lb/cluster.h"

struct checker;
struct checker *checker_new(struct loop *l, struct log *log, const struct limits *lim, struct clusters *clusters);
void checker_free(struct checker **c);
void checker_thaw(struct checker *c);         /* the process stood still: nothing that is in flight counts against anybody; timers are spread anew */
/* For people. */
struct check_view { const char *kind; const char *state /* "pending", "passed", "failed", "degraded" */; const char *why; uint64_t since_ns, successes, failures; };
bool checker_host(const struct host *h, struct check_view *ret);  /* false: it is not checked */
uint32_t checker_count(const struct checker *c);                  /* endpoints under check */
