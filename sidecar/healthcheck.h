/* sidecar/healthcheck: what an app says of itself on its own doors, over HTTP/1.1 and HTTP/2, whatever the authority:
 *
 *   POST /healthcheck/ok[?ttl=30s][&watch=pid | &pid=N[&self=M]]     POST /healthcheck/fail[?wait=5s]     GET /healthcheck
 *
 * Every answer of 200 is the same JSON: the state, and what is known of it. Here are who may post, how often, and what a query may say; what follows is health/life's. */
#pragma once
#include "health/life.h"

struct app;

/* An app's part. Owner: the app. */
struct healthcheck {
	uint64_t full_ns;              /* apps[].health.posts: when all that was posted is paid for */
	struct list waits;             /* posts of ?wait= that are not answered yet */
	uint32_t nwaits;
};
enum { HEALTH_WAITS_MAX = 64 };
void healthcheck_init(struct healthcheck *h);
/* The app's life has changed: who waits for it to be drained, or waits for what does not come any more, is answered. */
void healthcheck_changed(struct app *a);
