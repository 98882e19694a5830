/* conf/health: what is declared of checks. A struct health_check says how something is asked whether it is well: a provider (Cluster.health_checks, services[].health)
 * or the app itself (apps[].health.check); a struct outlier says what is made of the answers that calls get (Cluster.outlier_detection, services[].outlier).
 * Plain values with owned texts; part of a cluster_spec or of a conf_app and as immutable as these. Times are resolved: what is written nowhere has its default here
 * (envoy.md 1e, 1f), so whoever reads them asks for no defaults. */
#pragma once
#include "base/addr.h"
#include "base/str.h"

struct match_text;    /* conf/match.h */
struct tls_pair;      /* conf/spec.h */

enum check_kind { CHECK_HTTP, CHECK_GRPC, CHECK_TCP, CHECK_UNIX /* can be connected to */, CHECK_EXEC };
enum check_unimplemented { UNIMPLEMENTED_ALIVE, UNIMPLEMENTED_FAILS, UNIMPLEMENTED_CONNECTS /* alive, if it can be connected to anew */ };
enum { CHECKS_MAX = 8 /* of a cluster */, CHECK_PAYLOADS_MAX = 32, CHECK_BYTES_MAX = 65536, CHECK_FIELDS_MAX = 64, CHECK_ARGS_MAX = 64, CHECK_RANGES_MAX = 64, CHECK_CRITERIA_MAX = 64 };
struct check_bytes { uint8_t *p; uint32_t n; };
struct check_range { uint32_t from, to; };      /* HTTP statuses [from, to) */
struct check_field { char *name, *value; bool append; };
struct health_check {
	enum check_kind kind;
	uint64_t timeout_ns, interval_ns;           /* > 0 */
	uint64_t initial_jitter_ns, interval_jitter_ns;
	uint32_t interval_jitter_percent;
	uint64_t no_traffic_interval_ns, no_traffic_healthy_interval_ns; /* until the cluster has carried a call */
	uint64_t unhealthy_interval_ns, unhealthy_edge_interval_ns, healthy_edge_interval_ns;
	uint32_t unhealthy_threshold, healthy_threshold; /* >= 1 */
	bool reuse_connection;                      /* asked for: the probe's own connection stays open between two. Not written: no, unlike Envoy */
	bool log_failures, log_successes;           /* each of them, not the transitions alone */
	bool watch;                                 /* gRPC: grpc.health.v1.Health/Watch instead of polling */
	/* How it connects, where that is not as the cluster's calls do. */
	char *alpn;                                 /* tls_options.alpn_protocols, "a,b": offered instead of the cluster's; NULL: as the cluster's */
	struct tls_pair *criteria; uint32_t ncriteria; /* transport_socket_match_criteria: choose among tls_row instead of the endpoint's metadata */
	/* http */
	char *host, *path, *method;                 /* host NULL: the endpoint's host name, else the cluster's name; "/", "GET": never NULL */
	bool http2;
	struct check_field *add; uint32_t nadd;     /* gRPC: initial_metadata */
	char **remove; uint32_t nremove;
	struct check_range *expected; uint32_t nexpected;   /* none: 200 alone */
	struct check_range *retriable; uint32_t nretriable; /* count against the threshold; other unexpected ones fail at once */
	struct match_text *cluster_matcher;         /* service_name_matcher, of x-envoy-upstream-healthchecked-cluster; owned; NULL: any */
	uint32_t response_buffer;                   /* of the body that receive is looked for in: 1024 */
	/* http: the body; tcp: send empty: connecting is enough */
	struct check_bytes send, *receive; uint32_t nreceive; /* receive: each after the one before, anything in between */
	/* grpc */
	char *service, *authority;                  /* NULL: ""; NULL: the endpoint's host name, else the cluster's name */
	enum check_unimplemented unimplemented;
	/* the app's own checks */
	char *to; struct addr to_addr;              /* http, grpc, tcp, unix: whom; NULL: an endpoint's check */
	char **argv; uint32_t nargv;                /* exec: NULL-terminated */
	uint64_t initial_delay_ns;
};
/* All zero but the defaults: interval and timeout 5 s and 1 s, thresholds 1, path "/"; no_traffic_interval 60 s. health_check_settle fills what follows from others
 * (no_traffic_healthy_interval = no_traffic_interval, unhealthy_interval = interval, unhealthy_edge_interval = unhealthy_interval, healthy_edge_interval = interval) where it is 0. */
void health_check_default(struct health_check *c);
void health_check_settle(struct health_check *c);
void health_check_end(struct health_check *c);               /* what it owns; harmless twice */
void health_check_copy(struct health_check *to, const struct health_check *from); /* deep */
uint64_t health_check_hash(const struct health_check *c);
const char *check_kind_name(enum check_kind k);              /* "http" ... */

/* Outlier detection; percents 0 to 100. */
struct outlier {
	uint32_t consecutive_5xx, enforcing_consecutive_5xx;                       /* 5, 100; a count of 0: off */
	uint32_t consecutive_gateway, enforcing_consecutive_gateway;               /* 5, 0 */
	uint32_t consecutive_local_origin, enforcing_consecutive_local_origin;     /* 5, 100; only with split */
	bool split_local_origin;                                                   /* connect failures, resets and timeouts are counted apart */
	uint64_t interval_ns, base_ejection_ns, max_ejection_ns, max_ejection_jitter_ns; /* 10 s, 30 s, 300 s (or base if that is more), 0 */
	uint32_t max_ejection_percent;                                             /* 10 */
	bool always_eject_one;
	bool uneject_on_check;                                                     /* successful_active_health_check_uneject_host: true */
	uint32_t enforcing_success_rate, enforcing_local_success_rate;             /* 100, 100 */
	uint32_t success_rate_hosts, success_rate_volume, success_rate_stdev_factor; /* 5, 100, 1900 */
	uint32_t failure_percentage, enforcing_failure_percentage, enforcing_local_failure_percentage; /* 85, 0, 0 */
	uint32_t failure_percentage_hosts, failure_percentage_volume;              /* 5, 50 */
	bool detect_degraded;                                                      /* x-envoy-degraded in an answer */
};
void outlier_default(struct outlier *o);
uint64_t outlier_hash(const struct outlier *o);
