/* xds/profile: how a kind of control plane is asked: which resources answer an authority, which of them can be guessed and asked in the same flight, and what
 * it never says. One row a profile (xds.profile). Sources: istio.md 1.4-1.7, 5; envoy.md 2 (gRFC A27). */
#pragma once
#include "conf/conf.h"

struct profile {
	const char *name;
	bool lds, rds;            /* the name is looked up by these; without both: by the cluster template */
	bool cds;
	bool cds_all;             /* CDS comes whole, whatever is asked ("*"); else by name */
	bool lds_all;             /* LDS too: a listener is found by the name that it begins with */
	bool empty_is_absent;     /* a RouteConfiguration without virtual hosts is "does not exist", at once */
	bool silence_is_absent;   /* state of the world, LDS: an answer without the name is "does not exist" */
	bool experimental;        /* has met no real server of its kind */
};
extern const struct profile profiles[];   /* by enum xds_profile */
const char *xds_profile_name(enum xds_profile p);

enum { PROFILE_NAME = 640 };
/* Names of the resources that an authority ("host:port", normalised) leads to; those that are not asked, or can't be known before another answered, are "". */
struct profile_names { char lds[PROFILE_NAME], rds[PROFILE_NAME], cluster[PROFILE_NAME]; };
/* -EINVAL: no port; -ENAMETOOLONG. */
int profile_names(const struct conf_xds *conf, struct str authority, struct profile_names *ret);
/* "outbound|50051||demo.default.svc.cluster.local" -> "demo.default.svc.cluster.local:50051" (subset empty only); false: not such a name. */
bool profile_authority(struct str cluster, char *out, size_t cap);
