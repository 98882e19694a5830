/* sidecar/health_truth: is what somebody asks about well, and tell me when that may have changed. What sidecar/grpc_health answers from.
 *
 *   struct truth: part of a question. set: what it looked at last, held and watched until the next look: the name (which keeps it from being given up as idle), the clusters of its route.
 *
 * `changed` says no more than that another look may give another answer; it comes from tasks and watches, so it may only mark. */
#pragma once
#include "sidecar/app.h"

enum truth_says {
	SAYS_SERVING,
	SAYS_NOT_SERVING,
	SAYS_WAIT,       /* not known yet: `named` tells whether it is the name that is awaited (no), or its providers (yes) */
	SAYS_UNKNOWN,    /* there is no such service */
	SAYS_UNREACHED,  /* nobody can say: the control plane is not there */
	SAYS_FULL,       /* xds.names is reached */
	SAYS_BAD,        /* the authority is none */
};
struct truth_set;
struct truth {
	struct app *app;                      /* borrowed */
	void (*changed)(struct truth *t);
	struct truth_set *set;                /* owned; NULL: nothing is watched */
	bool named, again;                    /* again: nobody tells of what is missing; look once more in a second */
	char why[200];                        /* "" or what the name's source says */
};
/* The app's own: "", what `health.services` names, and the services of its `paths`. Watches nothing: who asks is told by the app. */
enum truth_says truth_of_app(const struct app *a, struct str service);
/* What a call would meet that has this head. Where its authority names nobody, `service` decides as a path would, then default_authority (may be NULL); where that names nobody
 * either, "" is the daemon itself. */
enum truth_says truth_look(struct truth *t, const struct fields *head, struct str service, const char *default_authority);
/* After a look: has each cluster that it found so many percent of its providers healthy (degraded ones count)? As Envoy counts: truncated, and nobody is enough for 0 % alone.
 * False: *ret_why, for people; to be freed. */
bool truth_has(const struct truth *t, uint32_t percent, char **ret_why);
void truth_end(struct truth *t);              /* forgets all; may be looked at again */
